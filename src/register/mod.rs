//! L3. Registration.
use crate::units::Degree;

pub mod block;
pub mod body;
pub mod field;
pub mod gauss_newton;
pub mod interpolate;
pub mod level;
pub mod pass;
pub mod resample;
pub mod rigid;
pub mod search;

pub use block::{Match, register};
pub use gauss_newton::Step;
pub use level::Piece;
pub use rigid::Rigid;

/// How a pair of blocks is registered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Shifts along each axis that the coarse start must find, voxels.
    pub capture: f64,
    /// Turns about each axis that it must find.
    pub capture_turn: Degree,
    /// A step that moves no corner farther ends the climb, voxels of the rung.
    pub tolerance: f64,
    /// Most steps on a rung.
    pub iterations: usize,
    /// Least part of the fixed block that lies in the moving one.
    pub least_overlap: f64,
    /// Largest standard deviation of a corner, voxels.
    pub worst_sigma: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            capture: 20.0,
            capture_turn: Degree(3.0),
            tolerance: 1e-3,
            iterations: 40,
            least_overlap: 0.25,
            worst_sigma: 0.5,
        }
    }
}
