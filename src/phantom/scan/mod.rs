//! How a scan sees the cell: rays, free space, detector.

pub mod detector;
pub mod project;
pub mod radiograph;
pub mod wave;
