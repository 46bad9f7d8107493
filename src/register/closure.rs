//! L3. Whether three motions close: a check of two registrations by a third that knows nothing of the fixed volume.
//!
//! ```text
//! e = max over the corners p of the region of |T_b(p) − T_ab(T_a(p))|          T_a, T_b from the fixed volume, T_ab from a to b
//! ```
//!
//! Where noise alone decides, e is what the covariances of the three say. What all three share, such as an artefact that
//! stands still, closes and is not seen; what differs, such as growth that was taken for motion, does not.

use super::Settings;
use super::body::{Cut, Region, register_body};
use super::level::Piece;
use super::rigid::Rigid;
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::volume::{Dims, Source};
use std::ops::Range;

/// e for a region of the fixed volume, voxels. The body of volume a is the box that the region falls into.
///
/// # Errors
/// As [`register_body`]; data: the body has left volume a.
pub fn closure(
    isa: Isa,
    [a, b]: [&dyn Source; 2],
    region: &Region,
    [to_a, to_b]: [&Rigid; 2],
    cut: Cut,
    settings: &Settings,
) -> Result<f64> {
    let dims = Dims { nx: region[0].len(), ny: region[1].len(), nz: region[2].len() };
    let first = [0, 1, 2].map(|i| region[i].start);
    let piece = Piece { first, dims, values: Vec::new() };
    let there = piece.image(to_a, 0.0, a.dims());
    if there.iter().any(Range::is_empty) {
        return Err(Error::data("the body has left the volume"));
    }
    let guess = to_a.inverse().then(to_b);
    let found = register_body(isa, [a, b], &there, cut, &guess, settings, &mut |_, _| ())?;
    Ok(to_b.corner_distance(&to_a.then(&found.motion), piece.origin(), dims).1)
}
