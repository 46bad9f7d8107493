//! # tomolith
//!
//! The architecture document (map, layers, invariants) grows here.

pub mod cli;
pub mod error;
pub mod exchange;
pub mod fft;
pub mod json;
pub mod num;
pub mod os;
pub mod phantom;
pub mod provenance;
pub mod recon;
#[doc(hidden)]
pub mod testing;
pub mod units;
pub mod volume;
