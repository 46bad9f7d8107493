//! L3. What does not change along z or x, taken off before two volumes are compared.
//!
//! ```text
//! v'(x, y, z) = v(x, y, z) − mean of v(x, y, z + k),  |k| ≤ N/2
//! v"(x, y, z) = v'(x, y, z) − mean of v'(x + k, y, z),  |k| ≤ N/2          (means of the voxels that there are)
//! ```
//!
//! The reconstruction of a layered cell is crossed by what is not the sample: foils that are seen edge-on and end beyond
//! the field draw streaks along x in all slices, rings are the same in all slices because flaws of scintillator and
//! camera are. Both are stronger than the grains and the roughness that hold a motion along the layers, and rings stand
//! still while the sample moves. They change slowly along x or along z, and those do not; what goes with them, the mean
//! height of a flat face, the grains on it know as well. Synthetic cell, truncated, real detector: blocks that could not be
//! registered or were half a voxel off are right within 0.1.
//!
//! Within half a window of a face of the volume along x or z means are of one side only. They stand still with the volume
//! while the sample moves, and pull its motion to none (0.1 voxel of 2.3, of a volume of 72 voxels): such voxels are not
//! looked at ([`whole`]).
//!
//! Sums in f32, k ascending.

use crate::volume::Dims;
use rayon::prelude::*;
use std::ops::Range;

/// The window of layered cells, voxels: above the size of most grains, and 41 µm at 1.33 µm.
pub const WINDOW: usize = 31;

/// Indices around i that there are.
fn around(i: usize, window: usize, n: usize) -> Range<usize> {
    i.saturating_sub(window / 2)..(i + window / 2 + 1).min(n)
}

/// The part of a range of x or z whose windows lie within a volume's extent n; empty if there is none.
pub fn whole(range: &Range<usize>, window: usize, n: usize) -> Range<usize> {
    let half = window / 2;
    range.start.max(half)..range.end.min(n.saturating_sub(half))
}

/// Flattens `[z][y][x]` in place; see the [module](self). `window` is odd, or one more is meant.
pub fn flatten(dims: Dims, values: &mut [f32], window: usize) {
    let Dims { nz, nx, .. } = dims;
    let slice = dims.slice();
    let mut flat = vec![0f32; values.len()];
    let from = &*values;
    flat.par_chunks_mut(slice).enumerate().for_each(|(z, out)| {
        let planes = around(z, window, nz);
        let part = 1.0 / planes.len() as f32;
        for (y, out) in out.chunks_exact_mut(nx).enumerate() {
            for k in planes.clone() {
                let row = &from[k * slice + y * nx..][..nx];
                out.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
            }
            let own = &from[z * slice + y * nx..][..nx];
            out.iter_mut().zip(own).for_each(|(sum, v)| *sum = v - part * *sum);
        }
    });
    values.par_chunks_mut(slice).zip(flat.par_chunks(slice)).for_each(|(out, flat)| {
        let mut sums = vec![0f32; nx];
        let half = window / 2;
        for (out, row) in out.chunks_exact_mut(nx).zip(flat.chunks_exact(nx)) {
            // One neighbour of all voxels after the other: for each in the same order, and many at a time.
            sums.fill(0.0);
            for k in 0..=2 * half {
                let (first, from) = (half.saturating_sub(k).min(nx), k.saturating_sub(half).min(nx));
                sums[first..].iter_mut().zip(&row[from..]).for_each(|(sum, v)| *sum += v);
            }
            for (x, (out, sum)) in out.iter_mut().zip(&sums).enumerate() {
                *out = row[x] - sum / around(x, window, nx).len() as f32;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;
    use crate::register::level::Piece;
    use crate::volume::Memory;

    const DIMS: Dims = Dims { nz: 45, ny: 3, nx: 50 };

    fn noise() -> Vec<f32> {
        let s = Stream::new(3, 0);
        (0..DIMS.voxels() as u64).map(|i| s.uniform_f32(i)).collect()
    }

    #[test]
    fn rings_and_streaks_go_and_grains_stay() {
        let at = |i: usize| (i % 50, i / 50 % 3, i / 150);
        let ring = |x: usize, y: usize| ((x * x + y) % 7) as f32;
        let streak = |y: usize, z: usize| ((z * z + y) % 5) as f32;
        let grain = |x: usize, z: usize| if (x, z) == (25, 22) { 100.0 } else { 0.0 };
        let mut values: Vec<f32> =
            (0..DIMS.voxels()).map(at).map(|(x, y, z)| ring(x, y) + streak(y, z) + grain(x, z)).collect();
        flatten(DIMS, &mut values, WINDOW);
        for (i, &v) in values.iter().enumerate() {
            let (x, _, z) = at(i);
            // Of the grain its part of a mean of 31 along each axis is gone.
            let want = match (x.abs_diff(25) <= 15, z.abs_diff(22) <= 15) {
                _ if (x, z) == (25, 22) => 100.0 * (30.0 / 31.0) * (30.0 / 31.0),
                (true, true) if x == 25 || z == 22 => continue,
                (true, true) => 100.0 / 961.0,
                _ => 0.0,
            };
            let near_end = [(x, 50), (z, 45)].iter().any(|&(i, n)| i < 15 || i + 15 >= n);
            assert!((v - want).abs() < 1e-3 || near_end && v.abs() < 5.0, "{:?}: {v} for {want}", at(i));
        }
    }

    #[test]
    fn a_voxel_is_the_same_from_any_piece() {
        let source = Memory::new(DIMS, noise()).unwrap();
        let all = Piece::read_flat(&source, [0..50, 0..3, 0..45], 9).unwrap();
        for (x, y, z) in [(0..50, 0..3, 0..45), (0..7, 1..2, 40..45), (20..40, 0..3, 3..30), (43..50, 2..3, 0..1)] {
            let piece = Piece::read_flat(&source, [x.clone(), y.clone(), z.clone()], 9).unwrap();
            assert_eq!((piece.first, piece.values), {
                let part = all.crop(&[x, y, z]);
                (part.first, part.values)
            });
        }
        let plain = Piece::read_flat(&source, [0..50, 0..3, 0..45], 0).unwrap();
        assert_eq!(plain.values, noise());
        assert_ne!(all.values, plain.values);
    }
}
