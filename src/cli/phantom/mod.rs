//! `tomolith phantom …`: specimens and scans with known truth.

pub mod cell;
pub mod counts;
pub mod discs;
pub mod folder;
pub mod given;
pub mod memory;
pub mod radiographs;
pub mod scan;
pub mod secret;
pub mod series;
