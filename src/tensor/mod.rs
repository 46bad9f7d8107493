//! L3. Tensors that can be learnt, and the tape on which a network's calculus is written.
//!
//! | file | what |
//! |---|---|
//! | [`parameter`] | named numbers of the network, in the kernels' order, and as PyTorch writes them |
//! | [`pool`] | memory for feature maps, used again |
//! | [`tape`] | what was computed, and all of its derivatives |

pub mod parameter;
pub mod pool;
pub mod tape;
