//! L3. Reconstruction: from counts to attenuation slices.

pub mod engine;
pub mod fbp;
pub mod filter;
pub mod geometry;
pub mod gridrec;
pub mod gridrec_compat;
pub mod kernel;
pub mod normalize;
pub mod samples;

pub use normalize::InputKind;
