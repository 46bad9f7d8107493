//! `tomolith phantom …`: specimens and scans with known truth.

pub mod cell;
pub mod discs;
pub mod folder;
pub mod radiographs;
pub mod scan;
pub mod series;
