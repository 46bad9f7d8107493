//! L3. Objects whose projections and truth are known exactly: discs, and a lithium cell through one charge and discharge.
//!
//! [`cell`] says which voxel is what at each step, [`annotator`] how a person would draw it, [`scan`] how a beamline sees
//! it; [`matter`] is the vocabulary of materials and classes, [`specimen`] what a scan needs to know of a cell.

pub mod annotator;
pub mod cell;
pub mod discs;
pub mod matter;
pub mod scan;
pub mod specimen;
