//! From the cell to what a beamline would have written: how the cell lies in a scan, and what of it is seen.
//!
//! | file | holds |
//! |---|---|
//! | [`motion`] | rigid motion of each body, warp, drift |
//! | [`lab`] | the cell in the scan's frame: fine grid, labels |
//! | [`grey`] | a grey volume without projecting |
//! | [`project`] | rays with exact lengths, and the layers outside the field of view |
//! | [`wave`] | free space behind the cell |
//! | [`detector`] | from intensity to counts |
//! | [`apparent`] | where a reconstruction shows what moved within a scan |
//! | [`radiograph`] | all of it, projection by projection |

pub mod apparent;
pub mod detector;
pub mod grey;
pub mod lab;
pub mod motion;
pub mod project;
pub mod radiograph;
pub mod wave;
