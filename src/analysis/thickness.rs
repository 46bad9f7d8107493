//! Local thickness: at every voxel of a class the diameter of the largest ball inside the class that contains it.
//!
//! ```text
//! D²(p)   squared distance from p to the nearest voxel outside, between centres, in voxels: exact, in whole numbers
//! ball    of q: all p with |p − q|² < D²(q)                    D is the greatest of the balls that contain p
//! t(p)    v (2 D − 1): a surface lies half way between centres, so a slab of n voxels, n odd, is n thick
//! ```
//!
//! ImageJ's and BoneJ's local thickness is 2 D v, one voxel more. A voxel outside the box counts as inside nothing: the
//! box's rim is no surface, but beyond it nothing is known, and balls are cut there. A ball that lies in another one
//! (√D²(q) ≥ √D²(p) + |p − q| for a neighbour q) is not painted.
//!
//! Memory: 8 bytes per voxel of the box around the class; a box larger than allowed is left out, and that is said.
//! Source: Hildebrand and Rüegsegger 1997; the distance by parabolas, Felzenszwalb and Huttenlocher 2012.

use super::columns::{Columns, NONE};
use super::labels::Labels;
use crate::error::Result;
use crate::num::sum::sum_f64;
use crate::segment::bootstrap::quantile;
use rayon::prelude::*;

/// Farther than any voxel.
const FAR: u32 = u32::MAX / 4;

/// D² of a mask `[z][y][x]`: 0 outside.
pub fn distance(mask: &[bool], [nz, ny, nx]: [usize; 3]) -> Vec<u32> {
    let mut d: Vec<u32> = mask.iter().map(|&m| if m { FAR } else { 0 }).collect();
    // Along x, then y, then z; each line has one owner.
    d.par_chunks_mut(ny * nx).for_each(|slice| {
        let mut scratch = Scratch::new(nx.max(ny));
        slice.chunks_exact_mut(nx).for_each(|row| scratch.line(row));
        let mut column = vec![0; ny];
        for x in 0..nx {
            (0..ny).for_each(|y| column[y] = slice[y * nx + x]);
            scratch.line(&mut column);
            (0..ny).for_each(|y| slice[y * nx + x] = column[y]);
        }
    });
    let slice = ny * nx;
    let columns: Vec<Vec<u32>> = (0..slice)
        .into_par_iter()
        .map_init(
            || Scratch::new(nz),
            |scratch, k| {
                let mut column: Vec<u32> = (0..nz).map(|z| d[z * slice + k]).collect();
                scratch.line(&mut column);
                column
            },
        )
        .collect();
    for (k, column) in columns.iter().enumerate() {
        (0..nz).for_each(|z| d[z * slice + k] = column[z]);
    }
    d
}

/// The lower envelope of parabolas along a line.
struct Scratch {
    at: Vec<usize>,
    /// From where on each parabola is the lowest.
    from: Vec<i64>,
    value: Vec<u32>,
}

impl Scratch {
    fn new(n: usize) -> Scratch {
        Scratch { at: vec![0; n], from: vec![0; n], value: vec![0; n] }
    }
    /// f(i) ← min_j f(j) + (i − j)², at most [`FAR`].
    fn line(&mut self, f: &mut [u32]) {
        let mut count = 0;
        for j in (0..f.len()).filter(|&j| f[j] < FAR) {
            let of = |k: usize| i64::from(f[k]) + (k * k) as i64;
            // The first i at which j is below `last`.
            let cut = |last: usize| (of(j) - of(last)).div_euclid(2 * (j - last) as i64) + 1;
            while count > 0 && cut(self.at[count - 1]) <= self.from[count - 1] {
                count -= 1;
            }
            self.from[count] = if count == 0 { 0 } else { cut(self.at[count - 1]) };
            self.at[count] = j;
            count += 1;
        }
        if count == 0 {
            return;
        }
        let mut k = 0;
        for i in 0..f.len() {
            while k + 1 < count && self.from[k + 1] <= i as i64 {
                k += 1;
            }
            let j = self.at[k];
            self.value[i] = (f[j] + (i.abs_diff(j) * i.abs_diff(j)) as u32).min(FAR);
        }
        f.copy_from_slice(&self.value[..f.len()]);
    }
}

/// The greatest D² of the balls that contain each voxel; 0 outside.
pub fn largest_balls(mask: &[bool], dims: [usize; 3]) -> Vec<u32> {
    let [nz, ny, nx] = dims;
    let d = distance(mask, dims);
    let place = |k: usize| [k / (ny * nx), k / nx % ny, k % nx].map(|v| v as i64);
    let index = |p: [i64; 3]| (p[0] as usize * ny + p[1] as usize) * nx + p[2] as usize;
    let inside = |p: &[i64; 3]| (0..3).all(|a| (0..[nz, ny, nx][a] as i64).contains(&p[a]));
    let needed = |k: usize| -> bool {
        let (p, own) = (place(k), f64::from(d[k]).sqrt());
        (0..27).filter(|&i| i != 13).all(|i| {
            let step = [i / 9 - 1, i / 3 % 3 - 1, i % 3 - 1];
            let q = [p[0] + step[0], p[1] + step[1], p[2] + step[2]];
            let apart = (step.iter().map(|s| s * s).sum::<i64>() as f64).sqrt();
            !inside(&q) || f64::from(d[index(q)]).sqrt() < own + apart - 1e-9
        })
    };
    // Centres by slice: each slice looks at those that may reach it.
    let of_slice = |z: usize| -> Vec<usize> {
        (z * ny * nx..(z + 1) * ny * nx).filter(|&k| d[k] > 0 && d[k] < FAR && needed(k)).collect()
    };
    let centres: Vec<Vec<usize>> = (0..nz).into_par_iter().map(of_slice).collect();
    let largest = centres.iter().flatten().map(|&k| d[k]).max().unwrap_or(0);
    let far = f64::from(largest).sqrt() as usize;
    let mut out = vec![0u32; d.len()];
    out.par_chunks_mut(ny * nx).enumerate().for_each(|(z, slice)| {
        let near = centres[z.saturating_sub(far)..(z + far + 1).min(nz)].iter().flatten();
        let reaches = |k: &&usize| u64::from(d[**k]) > (z.abs_diff(**k / (ny * nx)) as u64).pow(2);
        let mut near: Vec<usize> = near.filter(reaches).copied().collect();
        // The largest first: a voxel keeps the first ball that reaches it.
        near.sort_unstable_by(|&a, &b| d[b].cmp(&d[a]).then(a.cmp(&b)));
        // The next voxel of the row that no ball has reached, nx if there is none: painted ones cost nothing.
        let mut next: Vec<u32> = (0..ny).flat_map(|_| 0..=nx as u32).collect();
        for k in near {
            let (p, square) = (place(k), i64::from(d[k]));
            let dz = (z as i64 - p[0]) * (z as i64 - p[0]);
            let reach = f64::from(d[k]).sqrt() as i64;
            for y in (p[1] - reach).max(0)..=(p[1] + reach).min(ny as i64 - 1) {
                let left = square - dz - (y - p[1]) * (y - p[1]);
                if left <= 0 {
                    continue;
                }
                // Half of the row's chord: the greatest h with h² < left.
                let half = ((left - 1) as f64).sqrt() as i64;
                let row = y as usize * (nx + 1);
                let to = (p[2] + half).min(nx as i64 - 1) as usize;
                let mut x = free(&mut next[row..row + nx + 1], (p[2] - half).max(0) as usize);
                while x <= to {
                    slice[y as usize * nx + x] = d[k];
                    next[row + x] = x as u32 + 1;
                    x = free(&mut next[row..row + nx + 1], x + 1);
                }
            }
        }
    });
    out
}

/// The first free place at `x` or after it, the way there halved.
fn free(next: &mut [u32], mut x: usize) -> usize {
    while next[x] as usize != x {
        next[x] = next[next[x] as usize];
        x = next[x] as usize;
    }
    x
}

/// Mean and 95th percentile of the local thickness of a class, µm; none without a voxel of it. The inner `Err` says why it
/// is not looked for.
///
/// # Errors
/// Those of reading.
pub fn of_class(
    labels: &Labels,
    columns: &Columns,
    class: u8,
    most: usize,
) -> Result<std::result::Result<Option<[f64; 2]>, &'static str>> {
    let grid = labels.grid();
    let d = grid.dims;
    if !grid.is_cubic() {
        return Ok(Err("voxels are no cubes"));
    }
    let (first, last) = (columns.first(class), columns.last(class));
    let top = first.iter().copied().filter(|&y| y != NONE).min();
    let Some(top) = top else { return Ok(Ok(None)) };
    let bottom = last.iter().copied().filter(|&y| y != NONE).max().unwrap_or(top);
    // A voxel more on either side, where the class is not.
    let y = usize::from(top).saturating_sub(1)..(usize::from(bottom) + 2).min(d.ny);
    if y.len() * d.nx * d.nz > most {
        return Ok(Err("the box around it has more voxels than --thickness-voxels allows"));
    }
    let mut mask = vec![false; d.nz * y.len() * d.nx];
    labels.slabs(|z0, slab| {
        for (i, slice) in slab.chunks_exact(d.slice()).enumerate() {
            let to = &mut mask[(z0 + i) * y.len() * d.nx..][..y.len() * d.nx];
            to.iter_mut().zip(&slice[y.start * d.nx..y.end * d.nx]).for_each(|(m, &c)| *m = c == class);
        }
        Ok(())
    })?;
    let balls = largest_balls(&mask, [d.nz, y.len(), d.nx]);
    let mut thick: Vec<f64> =
        balls.iter().filter(|b| **b > 0).map(|&b| grid.voxel[0] * (2.0 * f64::from(b).sqrt() - 1.0)).collect();
    thick.sort_by(f64::total_cmp);
    Ok(Ok((!thick.is_empty()).then(|| [sum_f64(&thick) / thick.len() as f64, quantile(&thick, 0.95)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;

    fn at(k: usize, [_, ny, nx]: [usize; 3]) -> [i64; 3] {
        [k / (ny * nx), k / nx % ny, k % nx].map(|v| v as i64)
    }
    fn square(a: [i64; 3], b: [i64; 3]) -> u32 {
        (0..3).map(|i| (a[i] - b[i]) * (a[i] - b[i])).sum::<i64>() as u32
    }

    #[test]
    fn distances_and_balls_are_those_of_the_definition() {
        let dims = [7, 8, 9];
        for seed in 0..20u64 {
            let stream = Stream::new(seed, 3);
            let part = [0.02, 0.1, 0.4][seed as usize % 3];
            let mask: Vec<bool> = (0..7 * 8 * 9).map(|i| stream.uniform_f64(i) >= part).collect();
            let outside: Vec<usize> = (0..mask.len()).filter(|&k| !mask[k]).collect();
            let want = |k: usize| outside.iter().map(|&o| square(at(k, dims), at(o, dims))).min().unwrap_or(FAR);
            let d = distance(&mask, dims);
            assert!((0..mask.len()).all(|k| d[k] == want(k)), "seed {seed}");
            let balls = largest_balls(&mask, dims);
            for k in 0..mask.len() {
                let want = (0..mask.len()).filter(|&q| square(at(k, dims), at(q, dims)) < d[q]).map(|q| d[q]).max();
                assert_eq!(balls[k], want.unwrap_or(0), "seed {seed}, {k}");
            }
        }
        assert!(distance(&[true; 8], [2, 2, 2]).iter().all(|&d| d == FAR));
    }

    #[test]
    fn sums_of_distances_are_scipys() {
        // i = np.arange(8000); m = ((i*i*17 + i*i*i*7919) % 1009 >= 20).reshape(20, 20, 20)
        // np.rint(scipy.ndimage.distance_transform_edt(m)**2).sum(), .max()
        let mask: Vec<bool> = (0..8000u64).map(|i| (i * i * 17 + i * i * i * 7919) % 1009 >= 20).collect();
        let d = distance(&mask, [20, 20, 20]);
        assert_eq!((d.iter().sum::<u32>(), d.iter().max()), (36_090, Some(&29)));
    }

    #[test]
    fn slab_ball_and_cylinder_have_their_thickness() {
        let n = 25;
        let thick = |inside: &dyn Fn([i64; 3]) -> bool| {
            let mask: Vec<bool> = (0..n * n * n).map(|k| inside(at(k, [n; 3]))).collect();
            let balls = largest_balls(&mask, [n; 3]);
            let t: Vec<f64> = balls.iter().filter(|b| **b > 0).map(|&b| 2.0 * f64::from(b).sqrt() - 1.0).collect();
            assert_eq!(t.len(), mask.iter().filter(|m| **m).count(), "every voxel is in a ball");
            (t.iter().sum::<f64>() / t.len() as f64, t.iter().copied().fold(0.0, f64::max))
        };
        // A slab of 7 across the box: exact.
        assert_eq!(thick(&|p| (9..16).contains(&p[1])), (7.0, 7.0));
        // A ball of diameter 15 (radius 7.5 about a voxel): within a voxel.
        let (mean, most) = thick(&|p| square(p, [12; 3]) <= 56);
        assert!((most - 15.0).abs() < 1.0 && (mean - 15.0).abs() < 1.0, "{mean} {most}");
        // A cylinder of diameter 11 along z, as long as the box.
        let (mean, most) = thick(&|p| square([0, p[1], p[2]], [0, 12, 12]) <= 30);
        assert!((most - 11.0).abs() < 1.0 && (mean - 11.0).abs() < 1.0, "{mean} {most}");
    }
}
