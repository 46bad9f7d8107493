//! From the cell to what a beamline would have written: how the cell lies in a scan, and what of it is seen.

pub mod grey;
pub mod lab;
pub mod motion;
