//! L3. Reconstruction: from detector counts to slices of attenuation.
//!
//! | file | holds |
//! |---|---|
//! | [`geometry`] | angles and their weights, the rotation axis |
//! | [`field`] | the detector's columns in the reconstruction: padding, half acquisition |
//! | [`flat`], [`normalize`] | flat field, −ln, what is not finite |
//! | [`truncation`] | is the sample wider than the detector |
//! | [`select`] | binning, cropping, blocked views |
//! | [`zinger`], [`background`], [`phase`] | what is done to projections: stray photons, a drifting beam, phase retrieval |
//! | [`stripe`] | stripes of a sinogram, rings of a slice |
//! | [`passes`] | passes over a scan larger than memory |
//! | [`prepare`] | what is done to a block of projections, step by step |
//! | [`center`] | the rotation axis from a sinogram |
//! | [`filter`] | the ramp and its windows |
//! | [`gridrec`], [`kernel`] | the default: direct Fourier reconstruction, and its gridding kernel |
//! | [`gridrec_compat`] | the same as TomoPy computes it |
//! | [`engine`], [`samples`] | the machine behind both: sixteen slices in lanes |
//! | [`fbp`] | filtered back-projection in f64: the oracle |
//! | [`scan`] | a whole scan, slab by slab |
//! | [`stitch`] | several fields of view as one |
//! | [`trace`] | one slice, every step held against its definition: for teaching |
//!
//! One slice from a sinogram in memory (`[angle][column]`, absorption):
//!
//! ```
//! use tomolith::recon::{filter::Filter, geometry::Angles};
//! let (columns, angles) = (64, Angles::half_turn(90)?);
//! let sinogram = vec![0.5f32; angles.len() * columns];
//! let image = tomolith::recon::slice(&sinogram, &angles, 31.5, &Filter::default())?;
//! assert_eq!(image.len(), columns * columns);
//! # Ok::<(), tomolith::error::Error>(())
//! ```

pub mod background;
pub mod center;
pub mod engine;
pub mod fbp;
pub mod field;
pub mod filter;
pub mod flat;
pub mod geometry;
pub mod gridrec;
pub mod gridrec_compat;
pub mod kernel;
pub mod normalize;
pub mod passes;
pub mod phase;
pub mod prepare;
pub mod samples;
pub mod scan;
pub mod select;
pub mod stitch;
pub mod stripe;
pub mod trace;
pub mod truncation;
pub mod zinger;

use crate::error::{Error, Result};
use crate::num::lanes::Isa;

/// One slice by [`gridrec`] at its default error: N × N values, attenuation per detector pixel, row-major, oriented as
/// [`engine`] says. `sinogram` is `[angle][column]` absorption, `center` the axis as a pixel index.
///
/// For many slices plan once ([`scan::Plan`]) and run sixteen at a time.
///
/// # Errors
/// If the sinogram's length is no multiple of the number of angles, the axis lies outside the detector, or the
/// detector has fewer than 2 columns.
pub fn slice(sinogram: &[f32], angles: &geometry::Angles, center: f64, filter: &filter::Filter) -> Result<Vec<f32>> {
    let columns = sinogram.len() / angles.len();
    if columns * angles.len() != sinogram.len() {
        return Err(Error::usage(format!("a sinogram of {} values for {} angles", sinogram.len(), angles.len())));
    }
    geometry::Axis::Fixed(center).check(1, columns)?;
    let engine = gridrec::plan(columns, angles, filter, gridrec::DEFAULT_ERROR)?.engine;
    let mut image = vec![0.0; columns * columns];
    let sinograms = engine::Sinograms { data: sinogram, angle_stride: columns, slice_stride: 0, slices: 1 };
    engine.run(Isa::detect(), &mut engine.workspace(), sinograms, &[center], &mut image);
    Ok(image)
}
