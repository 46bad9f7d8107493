//! L4. The network of the paper: a Residual U-Net, its training, and its inference.
//!
//! | file | what |
//! |---|---|
//! | [`config`] | every choice of the architecture as a named field; the variants `monai` and `paper` |
//! | [`network`] | the network as a list of steps, its parameters and their names; initial weights |
//! | [`infer`] | inference: BatchNorm folded into the convolutions |
//! | [`workspace`] | its memory, planned once |
//! | [`fast`] | inference in bf16, where the machine has it |
//! | [`train`] | a training step |
//! | [`recording`] | the same where a device computes it by itself |
//! | [`scale`] | the scale of its loss, where maps keep 16 bits |
//! | [`fit`] | a training from its first batch to its last: epochs, validation, pausing |
//! | [`epoch`] | what an epoch did |
//! | [`schedule`] | when to learn slower, when to stop |
//! | [`checkpoint`] | a training that can be taken up again |
//! | [`export`] | the network as an ONNX graph |
//! | [`state`] | the network from and to a state dict, and its architecture from its names |
//! | [`weights`] | files of weights |

pub mod checkpoint;
pub mod config;
pub mod epoch;
pub mod export;
pub mod fast;
pub mod fit;
#[cfg(test)]
mod golden_tests;
pub mod infer;
pub mod network;
pub mod recording;
pub mod scale;
pub mod schedule;
pub mod state;
#[cfg(test)]
mod tests;
pub mod train;
pub mod weights;
pub mod workspace;
