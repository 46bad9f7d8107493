//! L3. Registration.
pub mod field;
pub mod interpolate;
pub mod rigid;
