//! L3. Rigid motions ([`crate::num::rigid`]) of volumes: read back from a matrix, compared at corners, joined from several.
//!
//! x, y, c, t are voxel-centre indices (x, y, z), in voxels. A registration's motion takes points of the *fixed* volume to
//! points of the *moving* one; resampling looks up, for every voxel of the fixed grid, the moving volume there.
//!
//! **Means.** Euler angles must not be averaged (their mean depends on the order of the axes), nor translations about a
//! far centre (0.05° between two blocks times 2000 voxels is 1.7 voxels). [`fit`] takes what each block knows well, where
//! its own centre goes, and what it knows ten times worse, its rotation, and finds the one motion nearest to all:
//!
//! ```text
//! minimise  Σ w_i |R c_i + t − y_i|² + Σ u_i |R − R_i|²_F
//! M = Σ w_i (y_i − ȳ)(c_i − c̄)ᵀ + Σ u_i R_i,     R maximises tr(Rᵀ M),     t = ȳ − R c̄     (means weighted by w)
//! ```
//!
//! The maximum is the eigenvector of the greatest eigenvalue of Horn's 4 × 4 matrix (B. K. P. Horn, J. Opt. Soc. Am. A 4,
//! 629, 1987), a quaternion; it is a rotation always, never a reflection. With w = 0 it is the chordal L2 mean of the R_i.

use crate::error::{Error, Result};
use crate::num::linalg::{Matrix, cross, dot, identity, product, symmetric_eigen, transpose};
use crate::num::rigid::of_quaternion;
pub use crate::num::rigid::{Point, Rigid, add, length, rotation, rotation_vector, sub};
use crate::volume::Dims;
use std::array::from_fn;

/// The middle of a volume: half of its last index along x, y, z.
pub fn middle(dims: Dims) -> Point {
    [dims.nx, dims.ny, dims.nz].map(|n| (n as f64 - 1.0) / 2.0)
}

/// The eight outermost voxel centres of a box of the index `first` and `dims` voxels.
pub fn corners(first: Point, dims: Dims) -> [Point; 8] {
    let last = [dims.nx, dims.ny, dims.nz].map(|n| n as f64 - 1.0);
    from_fn(|k| from_fn(|axis| first[axis] + if k >> axis & 1 == 1 { last[axis] } else { 0.0 }))
}

/// P of (ω, τ) → (ω, τ + ω × arm): the same small motion told about a centre that is `arm` away.
pub fn carry(arm: &Point) -> Matrix<6> {
    let mut p = identity::<6>();
    for column in 0..3 {
        let unit: Point = from_fn(|i| f64::from(u8::from(i == column)));
        let moved = cross(&unit, arm);
        (0..3).for_each(|row| p[3 + row][column] = moved[row]);
    }
    p
}

impl Rigid {
    /// The rigid map of a 4 × 4 matrix, about `centre`.
    ///
    /// # Errors
    /// Data: a matrix that is not rigid within 1e-6, with what it is instead.
    pub fn from_matrix(m: &Matrix<4>, centre: Point) -> Result<Rigid> {
        /// Digits that a matrix typed by hand or written by another program is trusted to have.
        const DIGITS: f64 = 1e-6;
        let linear: Matrix<3> = from_fn(|i| from_fn(|j| m[i][j]));
        let square = product(&transpose(&linear), &linear);
        let mut worst =
            (0..3).fold(0f64, |w, i| (0..3).fold(w, |w, j| w.max((square[i][j] - identity::<3>()[i][j]).abs())));
        worst = (0..4).fold(worst, |w, j| w.max((m[3][j] - identity::<4>()[3][j]).abs()));
        let handed = dot(&linear[0], &cross(&linear[1], &linear[2]));
        if !(m.iter().flatten().all(|v| v.is_finite()) && worst <= DIGITS && handed > 0.0) {
            return Err(Error::data(format!(
                "the matrix is not rigid: RᵀR and the last row differ from the identity by {worst:.2e}, determinant {handed:.6}"
            ))
            .help("give a rotation and a shift: 4 rows of 4, column vectors, voxel indices x, y, z"));
        }
        // To the nearest rotation, so that rounding in the text does not stretch.
        let rotation = nearest_rotation(&linear).ok_or_else(|| Error::data("the matrix has no nearest rotation"))?;
        let image = from_fn(|i| dot(&linear[i], &centre) + m[i][3]);
        Ok(Rigid { rotation, centre, translation: sub(&image, &centre) })
    }

    /// How far apart two maps take the corners of a box: mean and greatest distance, voxels.
    pub fn corner_distance(&self, other: &Rigid, first: Point, dims: Dims) -> (f64, f64) {
        let apart = corners(first, dims).map(|p| length(&sub(&self.apply(&p), &other.apply(&p))));
        (apart.iter().sum::<f64>() / 8.0, apart.into_iter().fold(0.0, f64::max))
    }
}

/// The rotation that maximises tr(Rᵀ M); `None` if M does not single one out.
pub fn nearest_rotation(m: &Matrix<3>) -> Option<Matrix<3>> {
    /// Two rotations are told apart if the greatest eigenvalue is above the next by this part of it.
    const GAP: f64 = 1e-12;
    let trace = m[0][0] + m[1][1] + m[2][2];
    // tr(Rᵀ M) = qᵀ N q for the quaternion q = (w, x, y, z) of R.
    let mut n = [[0.0; 4]; 4];
    n[0] = [trace, m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]];
    for i in 0..3 {
        n[i + 1][0] = n[0][i + 1];
        for j in 0..3 {
            n[i + 1][j + 1] = m[i][j] + m[j][i] - if i == j { trace } else { 0.0 };
        }
    }
    let (values, vectors) = symmetric_eigen(&n)?;
    (values[3] - values[2] > GAP * values[3].abs()).then(|| of_quaternion(vectors[3]))
}

/// What one block says about a motion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// The block's motion; its centre is c_i and goes to y_i.
    pub motion: Rigid,
    /// w: of its centre's image, 1/voxel².
    pub weight: f64,
    /// u: of its rotation, 1/radian².
    pub turn_weight: f64,
}

/// The motion nearest to those of all blocks, about the weighted mean of their centres; `None` if they do not determine
/// it (a single point without a rotation, no weight). See the [module](self).
pub fn fit(blocks: &[Block]) -> Option<Rigid> {
    let total = blocks.iter().fold(0.0, |sum, b| sum + b.weight);
    if !(total > 0.0 && total.is_finite()) {
        return None;
    }
    let image = |b: &Block| add(&b.motion.centre, &b.motion.translation);
    let mean = |of: &dyn Fn(&Block) -> Point| {
        blocks.iter().fold([0.0; 3], |sum, b| from_fn(|i| sum[i] + b.weight / total * of(b)[i]))
    };
    let (from, to) = (mean(&|b| b.motion.centre), mean(&image));
    let mut m = [[0.0; 3]; 3];
    for b in blocks {
        let (c, y) = (sub(&b.motion.centre, &from), sub(&image(b), &to));
        for i in 0..3 {
            for j in 0..3 {
                m[i][j] += b.weight * y[i] * c[j] + b.turn_weight * b.motion.rotation[i][j];
            }
        }
    }
    Some(Rigid { rotation: nearest_rotation(&m)?, centre: from, translation: sub(&to, &from) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::rigid::tests::{motion, near, random};

    #[test]
    fn a_matrix_is_read_back() {
        for seed in 0..100 {
            let (a, p) = (motion(seed), random(seed + 7, 300.0));
            let read = Rigid::from_matrix(&a.matrix(), [1.0, 2.0, 3.0]).unwrap();
            near(&read.apply(&p), &a.apply(&p), 1e-10);
        }
    }

    #[test]
    fn what_is_not_rigid_is_refused() {
        let mut m = identity::<4>();
        m[0][0] = 1.001;
        assert!(Rigid::from_matrix(&m, [0.0; 3]).unwrap_err().to_string().contains("not rigid"));
        let mut mirror = identity::<4>();
        mirror[2][2] = -1.0;
        assert!(Rigid::from_matrix(&mirror, [0.0; 3]).unwrap_err().to_string().contains("determinant -1"));
        let mut row = identity::<4>();
        row[3][0] = 0.1;
        assert!(Rigid::from_matrix(&row, [0.0; 3]).is_err());
        row[3][0] = f64::NAN;
        assert!(Rigid::from_matrix(&row, [0.0; 3]).is_err());
    }

    #[test]
    fn corners_of_a_shifted_box_are_as_far_as_the_shift() {
        let dims = Dims { nz: 5, ny: 7, nx: 9 };
        let moved = Rigid::new([0.0; 3], [4.0, 3.0, 2.0], [1.0, 2.0, 2.0]);
        assert_eq!(Rigid::identity([0.0; 3]).corner_distance(&moved, [0.0; 3], dims), (3.0, 3.0));
        // A small angle about the middle moves a corner by the angle times its distance from the axis.
        let turned = Rigid::new([0.0, 0.0, 1e-6], middle(dims), [0.0; 3]);
        let (mean, worst) = turned.corner_distance(&Rigid::identity([0.0; 3]), [0.0; 3], dims);
        assert!((mean - 5e-6).abs() < 1e-14 && (worst - 5e-6).abs() < 1e-14);
    }

    /// Blocks of one motion, each a little off.
    fn blocks(truth: &Rigid, point_error: f64, turn_error: f64) -> Vec<Block> {
        (0..8)
            .map(|k| {
                let centre = random(k + 40, 1000.0);
                let off = Rigid::new(random(k + 60, turn_error), centre, random(k + 80, point_error));
                let motion = off.then(truth);
                Block { motion, weight: 1.0 + k as f64, turn_weight: 3.0 }
            })
            .collect()
    }

    #[test]
    fn blocks_of_one_motion_give_that_motion() {
        let truth = Rigid::new([0.03, -0.05, 0.02], [0.0; 3], [12.0, -7.0, 3.0]);
        let found = fit(&blocks(&truth, 0.0, 0.0)).unwrap();
        let dims = Dims { nz: 2000, ny: 700, nx: 1700 };
        assert!(found.corner_distance(&truth, [0.0; 3], dims).1 < 1e-9);
    }

    #[test]
    fn the_fit_is_the_minimum_of_what_it_minimises() {
        let truth = Rigid::new([0.3, -0.5, 0.2], [0.0; 3], [12.0, -7.0, 3.0]);
        let blocks = blocks(&truth, 2.0, 0.05);
        let cost = |r: &Rigid| -> f64 {
            let one = |b: &Block| {
                let off = length(&sub(&r.apply(&b.motion.centre), &b.motion.apply(&b.motion.centre)));
                let turn: f64 =
                    (0..9).map(|k| (r.rotation[k / 3][k % 3] - b.motion.rotation[k / 3][k % 3]).powi(2)).sum();
                b.weight * off * off + b.turn_weight * turn
            };
            blocks.iter().map(one).sum()
        };
        let best = fit(&blocks).unwrap();
        let least = cost(&best);
        for seed in 0..50 {
            let step = Rigid::new(random(seed, 1e-5), best.centre, random(seed + 9, 1e-3));
            assert!(cost(&best.then(&step)) > least, "{seed}");
        }
    }

    #[test]
    fn rotations_alone_have_their_chordal_mean() {
        // The mean of rotations about one axis by a and b is that by their half.
        let block = |angle: f64| Block {
            motion: Rigid::new([0.0, angle, 0.0], [5.0; 3], [0.0; 3]),
            weight: 1e-300,
            turn_weight: 1.0,
        };
        let mean = fit(&[block(0.02), block(0.05)]).unwrap();
        near(&mean.rotation_vector(), &[0.0, 0.035, 0.0], 1e-14);
        // One point without a rotation leaves the rotation open.
        let point = Block { turn_weight: 0.0, weight: 1.0, ..block(0.1) };
        assert!(fit(&[point]).is_none() && fit(&[]).is_none());
    }
}
