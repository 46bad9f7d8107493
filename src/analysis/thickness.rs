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
//! **Out of core.** The centres of the balls that are painted are looked for window by window along z, and painted slice by slice.
//! No D is above R, the largest distance to a voxel outside *in the same slice*: with R slices more on either side of a window, its
//! D are those of the whole, and no ball reaches farther. A class that fills a slice of its box has no such R: its window is the whole.
//!
//! Memory: 9 bytes per voxel of a window (the class's box, whole slices of it), 8 per centre; then, for a slice on each thread, 8 per
//! voxel of it and 12 per centre that may reach it. Where 3 R + 3 slices, or the centres, are more than the voxels allowed
//! it is left out, and that is said. The bits do not depend on the windows.
//! Source: Hildebrand and Rüegsegger 1997; the distance by parabolas, Felzenszwalb and Huttenlocher 2012.

use super::columns::{Columns, NONE};
use super::labels::{Labels, slab_ranges};
use crate::error::Result;
use crate::num::sum::sum_f64;
use crate::os::check_interrupt;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// Farther than any voxel.
const FAR: u32 = u32::MAX / 4;

/// D² of a mask `[z][y][x]`: 0 outside.
pub fn distance(mask: &[bool], [nz, ny, nx]: [usize; 3]) -> Vec<u32> {
    let mut d: Vec<u32> = mask.iter().map(|&m| if m { FAR } else { 0 }).collect();
    // Along x, then y, then z; each line has one owner; a line of one is itself.
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
    if nz == 1 {
        return d;
    }
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
            self.value[i] = (u64::from(f[j]) + (i.abs_diff(j) as u64).pow(2)).min(u64::from(FAR)) as u32;
        }
        f.copy_from_slice(&self.value[..f.len()]);
    }
}

/// Centres of the balls that are painted, slice by slice: place in the slice, D².
type Centres = Vec<Vec<(u32, u32)>>;

/// Those in the slices `inner` of a mask.
fn centres(mask: &[bool], dims: [usize; 3], inner: Range<usize>) -> Centres {
    let [nz, ny, nx] = dims;
    let d = distance(mask, dims);
    let index = |p: [i64; 3]| (p[0] as usize * ny + p[1] as usize) * nx + p[2] as usize;
    let inside = |p: &[i64; 3]| (0..3).all(|a| (0..[nz, ny, nx][a] as i64).contains(&p[a]));
    let needed = |k: usize| -> bool {
        let (p, own) = ([k / (ny * nx), k / nx % ny, k % nx].map(|v| v as i64), f64::from(d[k]).sqrt());
        (0..27).filter(|&i| i != 13).all(|i| {
            let step = [i / 9 - 1, i / 3 % 3 - 1, i % 3 - 1];
            let q = [p[0] + step[0], p[1] + step[1], p[2] + step[2]];
            let apart = (step.iter().map(|s| s * s).sum::<i64>() as f64).sqrt();
            !inside(&q) || f64::from(d[index(q)]).sqrt() < own + apart - 1e-9
        })
    };
    let of_slice = |z: usize| -> Vec<(u32, u32)> {
        let first = z * ny * nx;
        let places = (0..ny * nx).filter(|i| d[first + i] > 0 && d[first + i] < FAR && needed(first + i));
        places.map(|i| (i as u32, d[first + i])).collect()
    };
    inner.into_par_iter().map(of_slice).collect()
}

/// The greatest D² of the balls that contain each voxel of slice z; 0 where there is none. No D is above `far`.
fn balls(centres: &Centres, far: usize, z: usize, [ny, nx]: [usize; 2]) -> Vec<u32> {
    let mut slice = vec![0u32; ny * nx];
    let around = z.saturating_sub(far)..z.saturating_add(far + 1).min(centres.len());
    let mut near: Vec<(u32, u32, u32)> = Vec::new();
    for (other, centres) in around.clone().zip(&centres[around]) {
        let dz = (z.abs_diff(other) as u64).pow(2);
        near.extend(centres.iter().filter(|(_, d)| u64::from(*d) > dz).map(|&(place, d)| (d, dz as u32, place)));
    }
    // The largest first: a voxel keeps the first ball that reaches it.
    near.sort_unstable_by(|a, b| b.cmp(a));
    // The next voxel of the row that no ball has reached, nx if there is none: painted ones cost nothing.
    let mut next: Vec<u32> = (0..ny).flat_map(|_| 0..=nx as u32).collect();
    for (d, dz, place) in near {
        let (py, px) = ((place as usize / nx) as i64, (place as usize % nx) as i64);
        let reach = f64::from(d).sqrt() as i64;
        for y in (py - reach).max(0)..=(py + reach).min(ny as i64 - 1) {
            let left = i64::from(d) - i64::from(dz) - (y - py) * (y - py);
            if left <= 0 {
                continue;
            }
            // Half of the row's chord: the greatest h with h² < left.
            let half = ((left - 1) as f64).sqrt() as i64;
            let row = y as usize * (nx + 1);
            let to = (px + half).min(nx as i64 - 1) as usize;
            let mut x = free(&mut next[row..row + nx + 1], (px - half).max(0) as usize);
            while x <= to {
                slice[y as usize * nx + x] = d;
                next[row + x] = x as u32 + 1;
                x = free(&mut next[row..row + nx + 1], x + 1);
            }
        }
    }
    slice
}

/// The first free place at `x` or after it, the way there halved.
fn free(next: &mut [u32], mut x: usize) -> usize {
    while next[x] as usize != x {
        next[x] = next[next[x] as usize];
        x = next[x] as usize;
    }
    x
}

/// How many voxels have each D² of their greatest ball, of a mask of `nz` slices of ny × nx that `read` gives, in windows of at most
/// `most` voxels; none where they are too few.
fn histogram(
    [nz, ny, nx]: [usize; 3],
    most: usize,
    read: impl Fn(Range<usize>) -> Result<Vec<bool>>,
) -> Result<Option<BTreeMap<u32, u64>>> {
    let held = most / (ny * nx);
    let (mut reach, mut height) = (0, nz);
    if held < nz {
        for first in (0..nz).step_by(held.max(1)) {
            check_interrupt()?;
            let mask = read(first..(first + held.max(1)).min(nz))?;
            let of_slice = |slice: &[bool]| distance(slice, [1, ny, nx]).into_iter().max().unwrap_or(0);
            let largest = mask.par_chunks(ny * nx).map(of_slice).max().unwrap_or(0);
            reach = reach.max(if largest == FAR { nz } else { f64::from(largest).sqrt() as usize });
            // Lower windows than their rims would read every slice many times.
            if held < 3 * (reach + 1) {
                return Ok(None);
            }
        }
        // A neighbour more, whose distances say whether a ball lies in its.
        height = held - 2 * (reach + 1);
    }
    let (mut all, mut count) = (Centres::new(), 0);
    while all.len() < nz {
        check_interrupt()?;
        let inner = all.len()..(all.len() + height).min(nz);
        let window = inner.start.saturating_sub(reach + 1)..(inner.end + reach + 1).min(nz);
        let mask = read(window.clone())?;
        let inner = inner.start - window.start..inner.end - window.start;
        let found = centres(&mask, [window.len(), ny, nx], inner);
        count += found.iter().map(Vec::len).sum::<usize>();
        if count > most {
            return Ok(None);
        }
        all.extend(found);
    }
    let largest = all.iter().flatten().map(|&(_, d)| d).max().unwrap_or(0);
    let far = f64::from(largest).sqrt() as usize;
    let of_slice = |z: usize| -> Result<BTreeMap<u32, u64>> {
        check_interrupt()?;
        let mut counts = BTreeMap::new();
        for run in balls(&all, far, z, [ny, nx]).chunk_by(|a, b| a == b).filter(|run| run[0] > 0) {
            *counts.entry(run[0]).or_insert(0u64) += run.len() as u64;
        }
        Ok(counts)
    };
    let slices: Vec<BTreeMap<u32, u64>> = (0..nz).into_par_iter().map(of_slice).collect::<Result<_>>()?;
    let mut counts = BTreeMap::new();
    slices.into_iter().flatten().for_each(|(d, n)| *counts.entry(d).or_insert(0) += n);
    Ok(Some(counts))
}

/// Mean and 95th percentile of the local thickness of a class, µm; none without a voxel of it; of windows of at most `most` voxels.
/// The inner `Err` says why it is not looked for.
///
/// # Errors
/// Those of reading; an interrupt.
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
    let read = |z: Range<usize>| -> Result<Vec<bool>> {
        let (mut slab, mut mask) = (Vec::new(), Vec::with_capacity(z.len() * y.len() * d.nx));
        let height = slab_ranges(d).next().map_or(1, |slab| slab.len());
        for first in z.clone().step_by(height) {
            labels.read(first..(first + height).min(z.end), &mut slab)?;
            for slice in slab.chunks_exact(d.slice()) {
                mask.extend(slice[y.start * d.nx..y.end * d.nx].iter().map(|&c| c == class));
            }
        }
        Ok(mask)
    };
    let Some(counts) = histogram([d.nz, y.len(), d.nx], most, read)? else {
        return Ok(Err("it is too thick or too rough for as many voxels as --thickness-voxels allows"));
    };
    let thick = |square: u32| grid.voxel[0] * (2.0 * f64::from(square).sqrt() - 1.0);
    let n: u64 = counts.values().sum();
    let terms: Vec<f64> = counts.iter().map(|(&d, &n)| n as f64 * thick(d)).collect();
    // The value that i voxels are below.
    let at = |i: u64| {
        let mut below = 0;
        counts
            .iter()
            .find(|(_, n)| {
                below += **n;
                below > i
            })
            .map_or(0.0, |(&d, _)| thick(d))
    };
    let place = 0.95 * n.saturating_sub(1) as f64;
    let (low, high) = (at(place as u64), at((place as u64 + 1).min(n.saturating_sub(1))));
    let p95 = low + (place - place.floor()) * (high - low);
    Ok(Ok((n > 0).then(|| [sum_f64(&terms) / n as f64, p95])))
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

    /// The greatest balls of a whole mask.
    fn largest_balls(mask: &[bool], dims: [usize; 3]) -> Vec<u32> {
        let all = centres(mask, dims, 0..dims[0]);
        (0..dims[0]).flat_map(|z| balls(&all, dims.iter().sum(), z, [dims[1], dims[2]])).collect()
    }

    /// Windows of any height count what the whole does; where a ball has no room in one, none.
    #[test]
    fn windows_count_what_the_whole_does() {
        let dims = [40, 14, 15];
        for seed in 0..12u64 {
            let stream = Stream::new(seed, 4);
            let part = [0.1, 0.2, 0.4][seed as usize % 3];
            let mask: Vec<bool> = (0..40 * 14 * 15).map(|i| stream.uniform_f64(i) >= part).collect();
            let read = |z: Range<usize>| Ok(mask[z.start * 14 * 15..z.end * 14 * 15].to_vec());
            let whole = histogram(dims, usize::MAX, read).unwrap().unwrap();
            let mut want = BTreeMap::new();
            let found = largest_balls(&mask, dims).into_iter().filter(|d| *d > 0);
            found.for_each(|d| *want.entry(d).or_insert(0u64) += 1);
            assert_eq!(whole, want);
            let mut windows = 0;
            for held in 1..40 {
                if let Some(some) = histogram(dims, held * 14 * 15 + 3, read).unwrap() {
                    assert_eq!(some, whole, "seed {seed}, {held} slices");
                    windows += 1;
                }
            }
            assert!(windows > 3 && histogram(dims, 3 * 14 * 15, read).unwrap().is_none(), "{windows}");
        }
        // Rims as wide as they must be: a flat cylinder, whose balls end at its faces as at its side.
        let (dims, slice) = ([60, 17, 17], 17 * 17);
        let inside = |k: usize| {
            (20..32).contains(&(k / slice)) && (k / 17 % 17).abs_diff(8).pow(2) + (k % 17).abs_diff(8).pow(2) < 37
        };
        let mask: Vec<bool> = (0..60 * slice).map(inside).collect();
        let read = |z: Range<usize>| Ok(mask[z.start * slice..z.end * slice].to_vec());
        let whole = histogram(dims, usize::MAX, read).unwrap().unwrap();
        assert_eq!(whole.keys().max(), Some(&36));
        let windows = (1..60).filter_map(|held| histogram(dims, held * slice, read).unwrap());
        assert_eq!(windows.map(|some| assert_eq!(some, whole)).count(), 60 - 21);
        // Slices without a voxel outside: no window but the whole.
        let full = |z: Range<usize>| Ok(vec![true; z.len() * 4]);
        assert_eq!(histogram([9, 2, 2], 35, full).unwrap(), None);
        assert_eq!(histogram([9, 2, 2], 36, full).unwrap(), Some(BTreeMap::new()));
        // Nor if it is so in some.
        let some = |z: Range<usize>| Ok(z.flat_map(|z| [true, true, true, z != 4]).collect());
        assert_eq!(histogram([9, 2, 2], 35, some).unwrap(), None);
        assert!(histogram([9, 2, 2], 36, some).unwrap().is_some_and(|counts| counts.values().sum::<u64>() == 35));
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
