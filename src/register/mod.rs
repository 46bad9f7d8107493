//! L3. Registration: where a sample was in another scan, how well that is known, and the scan on the first one's grid.
//!
//! ```text
//! two volumes ── choose blocks ── search ── climb 8 · 4 · 2 · 1 ── judge ── join ── one motion per body ── resample ── volume
//!                (information)    (lattice)  (Gauss–Newton)        (covariance,   (least squares,                      and mask
//!                                                                   refusals)      rejection)
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`rigid`] | rotations about a centre; the motion nearest to several |
//! | [`flatten`] | what does not change along the layers, taken off |
//! | [`field`] | a volume with a border: values, or coefficients of the cubic B-spline through them |
//! | [`interpolate`] | values and slopes between voxels, sixteen neighbours at a time |
//! | [`level`] | a pair of blocks at one scale |
//! | [`pass`] | all sums that correlation, slope and curvature need, in one look |
//! | [`gauss_newton`] | the climb on one scale |
//! | [`search`] | the coarse start |
//! | [`rival`] | whether another motion explains a pair of blocks as well |
//! | [`streaks`] | whether the motion found is that of streaks of few views |
//! | [`block`] | one pair of blocks: motion, covariance, refusals |
//! | [`choice`] | which blocks of a body hold its motion best |
//! | [`claim`] | what a block of a body may claim to know |
//! | [`body`] | several blocks of one rigid body: joint fit, rejection |
//! | [`closure`] | three motions that should close |
//! | [`orient`] | planes through the faces of a layered sample, and the rotation that levels it |
//! | [`resample`] | one interpolation through the motion, slab by slab, with a mask |
//!
//! One current segment of the cell is 0.91 voxel of lithium, so that a motion is told with its covariance, and what cannot be
//! registered is an error with the reason: never a motion that nobody should use. Bits depend on the volumes and the
//! settings, not on threads, instruction set or slabs.
//!
//! The paper registers sub-volumes with ITK and averages the results. What is done otherwise: the objective is climbed by
//! its own curvature instead of a gradient descent on samples (no jitter, no seed); blocks are joined by least squares with
//! their covariances, because averaged angles and translations about a far centre mean nothing; blocks of different bodies
//! are refused; and volumes are interpolated once. Left out: deformations, which are measured as residuals and not removed.

use crate::units::Degree;

pub mod block;
pub mod body;
pub mod choice;
pub mod claim;
pub mod closure;
pub mod field;
pub mod flatten;
pub mod gauss_newton;
pub mod interpolate;
pub mod level;
pub mod orient;
pub mod pass;
pub mod resample;
pub mod rigid;
pub mod rival;
pub mod search;
mod streaks;

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
    /// Voxels over which both volumes are [flattened](flatten) first; 0: not at all.
    pub flatten: usize,
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
            flatten: 0,
        }
    }
}
