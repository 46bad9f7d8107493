//! A cell at one step, as what looks at it needs it: voxels in the cell's own frame, the bodies that move as one, the
//! markers on them, and the layers that go on outside the field.
//!
//! The frame: voxel-centre indices (x, y, z); y runs through the stack from the plating to the stripping side, z is the
//! rotation axis. The stripping side stays where it is over the series.

use super::matter::{Fill, Voxel};
use crate::json::Json;
use crate::volume::Dims;

/// What moves as one rigid piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Body {
    /// The plating electrode, what grows on it, and the packaging outside it.
    Plating,
    /// The membranes between: they move with neither and deform.
    Membrane,
    /// The stripping electrode, what grows on it, and the packaging outside it.
    Stripping,
}

impl Body {
    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        ["plating", "membrane", "stripping"][self as usize]
    }

    /// Voxels by which it lies farther out when the plating side has moved by `shift`.
    pub fn moved(self, shift: usize) -> usize {
        [shift, shift / 2, 0][self as usize]
    }
}

/// An ellipsoid that stays on its body: a true target for registration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marker {
    /// Centre (x, y, z), voxels, in the cell's frame at this step.
    pub centre: [f64; 3],
    /// Half axes along x, y, z, voxels.
    pub radii: [f64; 3],
    /// What it rides on.
    pub body: Body,
    /// What it is made of.
    pub fill: Fill,
}

impl Marker {
    /// What and where it is, for the truth.
    pub fn to_json(&self) -> Vec<(&'static str, Json)> {
        vec![
            ("body", self.body.name().into()),
            ("fill", self.fill.name().into()),
            ("radii", Json::from(self.radii)),
            ("cell", Json::from(self.centre)),
        ]
    }
}

/// A flat layer of the stack, for what lies outside the field: y from `y[0]` to `y[1]` (voxel edges are at halves),
/// |x − middle| at most `half_width`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Its begin and end, voxels.
    pub y: [f64; 2],
    /// Half its width, voxels.
    pub half_width: f64,
    /// What it is made of; the label is ignored.
    pub voxel: Voxel,
}

/// The cell at one step.
pub struct Specimen {
    /// Shape.
    pub dims: Dims,
    /// Voxels `[z][y][x]`, see [`Voxel`].
    pub voxels: Vec<u16>,
    /// Up to this y (voxel index) everything rides on the plating side …
    pub plating_until: f64,
    /// … and from this y on, on the stripping side. In between the membranes deform.
    pub stripping_from: f64,
    /// Targets.
    pub markers: Vec<Marker>,
    /// The stack outside the field, from small to large y, without overlap.
    pub layers: Vec<Layer>,
}
