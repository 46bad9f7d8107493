//! L3. How a layered sample leans: planes through its faces, and the rotation that levels them.
//!
//! A face crosses every column (x, z) at the depth y where the grey value changes most. Through these depths a plane is
//! laid that outliers (pits, dendrites, grains, columns without a face) do not pull:
//!
//! ```text
//! y(x, z) = a (x − x̄) + b (z − z̄) + c          minimising Σ ρ(y_i − y(x_i, z_i))
//! ```
//!
//! first through the three columns, of many threes, that leave the least median residual, then by weights w = (1 − (r/k)²)²
//! (Tukey), k = 4.685 · 1.4826 · median |r|, until nothing moves. As the paper did by eye the volume is turned in x-y by
//! atan a, then in y-z, after which the normal (−a, 1, −b)/√(1 + a² + b²) is the axis y:
//!
//! ```text
//! R = R_z(atan a) R_x(−asin(b/√(1 + a² + b²)))          O(p) = R (p − m) + m,   m the middle of the volume
//! ```
//!
//! O takes points of the level grid to points of the volume, so it is composed with a registration's motion and volumes
//! are interpolated once. What the plane leaves, y_i − y(x_i, z_i), is the face's waviness.
//!
//! **Depth.** Means of [`CELL`]² columns are smoothed along y by (1, 4, 6, 4, 1)/16 and differenced; the place of the
//! greatest step up (or, separately, down) is refined by the parabola through the logarithms of three differences. Of
//! rising and falling the one with the less wavy plane is taken. What is wavier than [`WAVIEST`], or holds fewer than
//! [`LEAST_HELD`] of the columns, is no face: an error, so that nobody levels a volume that has none.

use super::rigid::{Point, Rigid, middle, rotation};
use crate::error::{Error, Result};
use crate::num::elementary::{atan2, ln};
use crate::num::linalg::{Matrix, apply, inverse, product};
use crate::num::philox::Stream;
use crate::os::check_interrupt;
use crate::units::{Degree, Radian};
use crate::volume::{Dims, Source};
use std::array::from_fn;
use std::ops::Range;

/// Columns and slices of a cell: one depth.
pub const CELL: usize = 4;
/// Least part of the cells that a plane must hold within its own waviness.
pub const LEAST_HELD: f64 = 0.5;
/// Threes of columns that are tried: with a half of the columns wrong, one of 200 is right but for 3e-12.
const THREES: u64 = 200;
/// Tukey's constant, for 95 % efficiency; and the median of |normal| by its deviation.
const CUT: f64 = 4.685;
const MEDIAN: f64 = 1.4826;
/// A deviation below this is sampling, voxels.
const LEAST_DEVIATION: f64 = 0.1;
/// The waviest face, voxels: 10 µm at 1.33 µm.
const WAVIEST: f64 = 8.0;
/// Weighted fits.
const FITS: usize = 50;

/// A plane through a face.
#[derive(Clone, Debug)]
pub struct Face {
    /// Where it was looked for.
    pub depths: Range<usize>,
    /// a, b, c: voxels per voxel along x and z, and the depth in the middle.
    pub plane: Point,
    /// Of (a, b, c).
    pub covariance: Matrix<3>,
    /// Whether the grey value rises along y.
    pub rises: bool,
    /// Part of the cells that the plane holds: those within `k` of it.
    pub held: f64,
    /// 1.4826 · median |r|, voxels.
    pub deviation: f64,
    /// Cells along z and x.
    pub shape: [usize; 2],
    /// r of every cell `[z][x]`, voxels; not a number where the depth lies at an end of `depths`.
    pub waviness: Vec<f32>,
}

/// Lays a plane through the face that lies within `depths` in all columns.
///
/// # Errors
/// What reading says. Usage: a range that leaves the volume or is shorter than five voxels; data: values that are not
/// finite, or no plane holds half of the columns, with what was found.
pub fn face(source: &dyn Source, depths: Range<usize>) -> Result<Face> {
    let dims = source.dims();
    if depths.end > dims.ny || depths.len() < 5 {
        return Err(Error::usage(format!("depths {depths:?} of {} voxels along y", dims.ny))
            .help("give at least five voxels that the volume has"));
    }
    let shape = [dims.nz / CELL, dims.nx / CELL];
    if shape[0] < 3 || shape[1] < 3 {
        return Err(Error::data(format!("{} by {} columns are too few for a plane", dims.nx, dims.nz)));
    }
    let steps = steps(source, &depths, shape)?;
    let mut best: Option<Face> = None;
    for rises in [true, false] {
        let sign = if rises { 1.0 } else { -1.0 };
        let found = steps.iter().map(|d| depth(d, sign).map(|y| y + depths.start as f64)).collect::<Vec<_>>();
        let Some(face) = plane(&found, shape, dims) else { continue };
        if best.as_ref().is_none_or(|b| face.deviation < b.deviation) {
            best = Some(Face { depths: depths.clone(), rises, ..face });
        }
    }
    let best =
        best.ok_or_else(|| Error::data(format!("no face within depths {depths:?}: the grey value is constant")))?;
    if best.held < LEAST_HELD || best.deviation > WAVIEST {
        return Err(Error::data(format!(
            "no face within depths {depths:?}: the best plane holds {:.0} % of the columns within {:.1} voxels, at least \
             {:.0} % within {WAVIEST} are needed",
            100.0 * best.held,
            best.deviation,
            100.0 * LEAST_HELD
        ))
        .help("name depths in which one face lies, or give the angles"));
    }
    Ok(best)
}

/// The differences along y of every cell's smoothed means.
fn steps(source: &dyn Source, depths: &Range<usize>, [nz, nx]: [usize; 2]) -> Result<Vec<Vec<f64>>> {
    let width = source.dims().nx;
    let n = depths.len();
    let mut slice = vec![0f32; n * width];
    let mut all = Vec::with_capacity(nz * nx);
    for z in 0..nz {
        check_interrupt()?;
        let mut sums = vec![vec![0f64; n]; nx];
        for k in 0..CELL {
            source.read(z * CELL + k..z * CELL + k + 1, depths.clone(), &mut slice)?;
            for (y, row) in slice.chunks_exact(width).enumerate() {
                for (sums, group) in sums.iter_mut().zip(row.chunks_exact(CELL)) {
                    group.iter().for_each(|&v| sums[y] += f64::from(v));
                }
            }
        }
        for sums in sums {
            if sums.iter().any(|v| !v.is_finite()) {
                return Err(Error::data(format!("values that are not finite near slice {}", z * CELL))
                    .help("replace them first, or leave them out"));
            }
            let at = |y: isize| sums[y.clamp(0, n as isize - 1) as usize];
            let smooth = |y: usize| {
                let y = y as isize;
                (at(y - 2) + 4.0 * at(y - 1) + 6.0 * at(y) + 4.0 * at(y + 1) + at(y + 2)) / 16.0
            };
            all.push((0..n - 1).map(|y| smooth(y + 1) - smooth(y)).collect());
        }
    }
    Ok(all)
}

/// Where the greatest step lies, voxels from the first; `None` at an end, or where nothing changes.
fn depth(steps: &[f64], sign: f64) -> Option<f64> {
    let best = (0..steps.len()).fold(0, |m, i| if sign * steps[i] > sign * steps[m] { i } else { m });
    if best == 0 || best + 1 == steps.len() || sign * steps[best] <= 0.0 {
        return None;
    }
    // The smoothed step is nearly a Gaussian, and a Gaussian's logarithm is a parabola.
    let [a, b, c] =
        [steps[best - 1], steps[best], steps[best + 1]].map(|v| ln((sign * v).max(1e-6 * sign * steps[best])));
    let bend = a - 2.0 * b + c;
    let off = if bend < 0.0 { 0.5 * (a - c) / bend } else { 0.0 };
    // Step i lies between voxels i and i + 1.
    Some(best as f64 + 0.5 + off)
}

/// (x − x̄, z − z̄) of cell i.
fn place(i: usize, [_, nx]: [usize; 2], dims: Dims) -> [f64; 2] {
    let at = |k: usize, n: usize| (k * CELL) as f64 + (CELL as f64 - 1.0) / 2.0 - (n as f64 - 1.0) / 2.0;
    [at(i % nx, dims.nx), at(i / nx, dims.nz)]
}

/// Weighted least squares: the plane and the inverse of its normal matrix.
fn fit(points: &[([f64; 2], f64)], weight: impl Fn(usize) -> f64) -> Option<(Point, Matrix<3>)> {
    let (mut n, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (i, ([x, z], y)) in points.iter().enumerate() {
        let (w, row) = (weight(i), [*x, *z, 1.0]);
        for k in 0..3 {
            right[k] += w * row[k] * y;
            (0..3).for_each(|l| n[k][l] += w * row[k] * row[l]);
        }
    }
    let inverse = inverse(&n)?;
    Some((apply(&inverse, &right), inverse))
}

fn median(mut values: Vec<f64>) -> f64 {
    let at = values.len() / 2;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

/// The robust plane; `None` if fewer than half of the cells have a depth.
fn plane(found: &[Option<f64>], shape: [usize; 2], dims: Dims) -> Option<Face> {
    let points: Vec<([f64; 2], f64)> =
        found.iter().enumerate().filter_map(|(i, y)| y.map(|y| (place(i, shape, dims), y))).collect();
    let n = points.len();
    if n < 3 || (n as f64) < LEAST_HELD * found.len() as f64 {
        return None;
    }
    let left = |p: &Point, ([x, z], y): &([f64; 2], f64)| y - (p[0] * x + p[1] * z + p[2]);
    let spread = |p: &Point| median(points.iter().map(|q| left(p, q).abs()).collect());
    let s = Stream::new(0, 0);
    let threes = (0..THREES).filter_map(|t| {
        let three: Vec<_> = (0..3).map(|k| points[s.below(3 * t + k, n as u32) as usize]).collect();
        let (plane, _) = fit(&three, |_| 1.0)?;
        let spread = spread(&plane);
        spread.is_finite().then_some((plane, spread))
    });
    let (mut best, mut deviation) = threes.reduce(|a, b| if b.1 < a.1 { b } else { a })?;
    let mut covariance = [[0.0; 3]; 3];
    for _ in 0..FITS {
        deviation = (MEDIAN * spread(&best)).max(LEAST_DEVIATION);
        let cut = CUT * deviation;
        let weight = |i: usize| {
            let u = left(&best, &points[i]) / cut;
            if u.abs() < 1.0 { (1.0 - u * u) * (1.0 - u * u) } else { 0.0 }
        };
        let (next, inverse) = fit(&points, weight)?;
        let moved = (0..3).fold(0.0, |m: f64, k| m.max((next[k] - best[k]).abs()));
        covariance = inverse.map(|row| row.map(|v| v * deviation * deviation));
        best = next;
        if moved < 1e-9 {
            break;
        }
    }
    let rest: Vec<f32> = found
        .iter()
        .enumerate()
        .map(|(i, y)| y.map_or(f32::NAN, |y| left(&best, &(place(i, shape, dims), y)) as f32))
        .collect();
    let held = rest.iter().filter(|r| f64::from(r.abs()) < CUT * deviation).count() as f64 / found.len() as f64;
    Some(Face { depths: 0..0, plane: best, covariance, rises: true, held, deviation, shape, waviness: rest })
}

/// The slopes a, b that faces have in common: their mean, weighted by how well each is known.
pub fn common(faces: &[Face]) -> Option<[f64; 2]> {
    let mut slopes = [0.0; 2];
    for (k, slope) in slopes.iter_mut().enumerate() {
        let weight = |f: &Face| 1.0 / f.covariance[k][k];
        let total = faces.iter().fold(0.0, |sum, f| sum + weight(f));
        *slope = faces.iter().fold(0.0, |sum, f| sum + weight(f) * f.plane[k]) / total;
    }
    slopes.iter().all(|v| v.is_finite()).then_some(slopes)
}

/// The angles by which the volume leans in x-y and in y-z for slopes a and b.
pub fn angles([a, b]: [f64; 2]) -> [Degree; 2] {
    [atan2(a, 1.0), atan2(b, (1.0 + a * a).sqrt())].map(|v| Degree::from(Radian(v)))
}

/// O: from the level grid to the volume.
pub fn level(dims: Dims, [in_xy, in_yz]: [Degree; 2]) -> Rigid {
    let radians = |angle: Degree| Radian::from(angle).0;
    // x-y: e_y goes to (−sin, cos, 0). y-z: to (0, cos, −sin).
    let turn = product(&rotation([0.0, 0.0, radians(in_xy)]), &rotation([-radians(in_yz), 0.0, 0.0]));
    Rigid { rotation: turn, centre: middle(dims), translation: from_fn(|_| 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::rigid::sub;
    use crate::volume::Memory;

    const DIMS: Dims = Dims { nz: 96, ny: 80, nx: 120 };

    /// Lithium below the plane y = a x + b z + c, electrolyte above, pits of eight voxels in a fifth of it, noise.
    fn cell([a, b, c]: Point, noise: f64) -> Memory {
        let s = Stream::new(5, 1);
        let value = |i: usize| {
            let (x, y, z) = (i % DIMS.nx, i / DIMS.nx % DIMS.ny, i / DIMS.nx / DIMS.ny);
            let [u, v] = [x as f64 - 59.5, z as f64 - 47.5];
            let pit = if x / 12 % 5 == 2 { 8.0 } else { 0.0 };
            let part = (y as f64 - (a * u + b * v + c - pit) + 0.5).clamp(0.0, 1.0);
            (0.09 + 0.54 * part + noise * s.normal(i as u64)) as f32
        };
        Memory::new(DIMS, (0..DIMS.voxels()).map(value).collect()).unwrap()
    }

    #[test]
    fn a_plane_is_found_through_pits_and_noise() {
        for (truth, noise, slope, depth) in
            [([0.03, -0.05, 41.3], 0.0, 2e-4, 0.02), ([-0.08, 0.02, 38.0], 0.3, 1e-3, 0.1)]
        {
            let found = face(&cell(truth, noise), 10..70).unwrap();
            let off = sub(&found.plane, &truth);
            assert!(found.rises && found.held > 0.7, "{}", found.held);
            assert!(off[0].abs() < slope && off[1].abs() < slope && off[2].abs() < depth, "{off:?}");
            // Pits show in the waviness.
            let pits = found.waviness.iter().filter(|r| (**r + 8.0).abs() < 1.5).count() as f64;
            assert!((0.12..0.24).contains(&(pits / found.waviness.len() as f64)), "{pits}");
        }
    }

    #[test]
    fn the_level_grid_has_its_faces_across_y() {
        let slopes = [0.08, -0.03];
        let o = level(DIMS, angles(slopes));
        let normal = apply(&o.rotation, &[0.0, 1.0, 0.0]);
        let length = (1.0f64 + 0.08 * 0.08 + 0.03 * 0.03).sqrt();
        let want = [-0.08 / length, 1.0 / length, 0.03 / length];
        (0..3).for_each(|i| assert!((normal[i] - want[i]).abs() < 1e-12, "{normal:?}"));
        // Points of one depth in the grid lie on a plane of these slopes.
        let [p, q] = [[3.0, 40.0, 9.0], [100.0, 40.0, 80.0]].map(|p| o.apply(&p));
        let rise = slopes[0] * (q[0] - p[0]) + slopes[1] * (q[2] - p[2]);
        assert!((q[1] - p[1] - rise).abs() < 1e-9);
        // The common slopes of two faces are those of the one that is known.
        let faces = [face(&cell([0.03, -0.05, 41.3], 0.0), 10..70), face(&cell([0.05, -0.05, 41.3], 0.5), 10..70)];
        let faces = faces.map(Result::unwrap);
        let [a, _] = common(&faces).unwrap();
        assert!((0.03..0.04).contains(&a), "{a}");
    }

    #[test]
    fn what_has_no_face_is_refused() {
        let s = Stream::new(9, 0);
        let noise = (0..DIMS.voxels()).map(|i| s.normal(i as u64) as f32).collect();
        let text = face(&Memory::new(DIMS, noise).unwrap(), 0..80).unwrap_err().to_string();
        assert!(text.contains("no face within depths 0..80"), "{text}");
        let flat = Memory::new(DIMS, vec![1.0; DIMS.voxels()]).unwrap();
        assert!(face(&flat, 0..80).unwrap_err().to_string().contains("constant"));
        assert!(face(&flat, 70..81).is_err() && face(&flat, 10..14).is_err());
        let mut bad = vec![0.0; DIMS.voxels()];
        bad[7] = f32::NAN;
        assert!(face(&Memory::new(DIMS, bad).unwrap(), 0..80).unwrap_err().to_string().contains("finite"));
    }
}
