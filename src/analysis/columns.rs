//! One pass over a scan: how many voxels of each class there are, in all and per column, where in the column, and how
//! many faces two classes share.
//!
//! ```text
//! n_c       = #{(x, y, z): L = c}                   V_c = n_c v³          T_c = V_c / A, the effective thickness
//! n_c(x, z) = #{y: L(x, y, z) = c}                  M_c = v n_c(x, z), the column's thickness
//! n_c(x, y) = #{z: L(x, y, z) = c}                  the same through the field, for cross-sections
//! first_c, last_c (x, z)                            least and greatest y with L = c
//! f_ab^d    = faces across axis d between a voxel of class a and one of class b ≠ a
//! ```
//!
//! All of it whole numbers: no order of slabs or threads shows. Memory: 6 bytes per column and class, 4 per voxel of a slice,
//! and a slab.
//!
//! Labels are mostly like their neighbours, so a voxel is looked at by itself only where one of a few differs from the
//! line before it: there a run ends, and is counted as a whole.

use super::labels::{Grid, Labels};
use crate::error::Result;
use rayon::prelude::*;

/// Voxels that are compared at once.
const TOGETHER: usize = 32;

/// No voxel of the class in the column.
pub const NONE: u16 = u16::MAX;

/// Counts of one scan.
pub struct Columns {
    /// Shape and voxels.
    pub grid: Grid,
    /// Classes.
    pub classes: usize,
    /// n_c.
    pub voxels: Vec<u64>,
    /// `[z][class][x]`: n_c(x, z).
    count: Vec<u16>,
    first: Vec<u16>,
    last: Vec<u16>,
    /// `[y][class][x]`: n_c(x, y).
    across: Vec<u32>,
    /// `[axis x, y, z][a][b]`, both orders.
    faces: [Vec<u64>; 3],
}

impl Columns {
    /// Counts.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of(labels: &Labels, classes: usize) -> Result<Columns> {
        let grid = labels.grid();
        let d = grid.dims;
        let n = d.nz * classes * d.nx;
        let mut all = Columns {
            grid,
            classes,
            voxels: vec![0; classes],
            count: vec![0; n],
            first: vec![NONE; n],
            last: vec![NONE; n],
            across: vec![0; d.ny * classes * d.nx],
            faces: std::array::from_fn(|_| vec![0; classes * classes]),
        };
        let row = classes * d.nx;
        let mut before: Vec<u8> = Vec::new();
        // Where along z the run of a (x, y) began.
        let mut since = vec![0u32; d.slice()];
        labels.slabs(|z0, slab| {
            let rows = z0 * row..(z0 + slab.len() / d.slice()) * row;
            let (count, first) = (&mut all.count[rows.clone()], &mut all.first[rows.clone()]);
            let owned = count.par_chunks_mut(row).zip(first.par_chunks_mut(row));
            let owned = owned.zip(all.last[rows].par_chunks_mut(row)).enumerate();
            let faces: Vec<[Vec<u64>; 2]> = owned
                .map(|(i, ((count, first), last))| {
                    let slice = &slab[i * d.slice()..][..d.slice()];
                    count_slice(slice, d.nx, classes, (count, first, last))
                })
                .collect();
            let lines = all.across.par_chunks_mut(row).zip(since.par_chunks_mut(d.nx)).enumerate();
            let through: Vec<Vec<u64>> = lines
                .map(|(y, (across, since))| {
                    let mut faces = vec![0; classes * classes];
                    let mut line = before.get(y * d.nx..(y + 1) * d.nx);
                    for (i, slice) in slab.chunks_exact(d.slice()).enumerate() {
                        let next = &slice[y * d.nx..][..d.nx];
                        if let Some(line) = line {
                            where_different(line, next, |x| {
                                let (a, b) = (usize::from(line[x]), usize::from(next[x]));
                                face(&mut faces, classes, a, b);
                                let z = (z0 + i) as u32;
                                across[a * d.nx + x] += z - since[x];
                                since[x] = z;
                            });
                        }
                        line = Some(next);
                    }
                    faces
                })
                .collect();
            let add = |sum: &mut Vec<u64>, part: &[u64]| sum.iter_mut().zip(part).for_each(|(a, b)| *a += b);
            for [x, y] in &faces {
                add(&mut all.faces[0], x);
                add(&mut all.faces[1], y);
            }
            through.iter().for_each(|z| add(&mut all.faces[2], z));
            before.clear();
            before.extend_from_slice(&slab[slab.len() - d.slice()..]);
            Ok(())
        })?;
        // Runs end with the volume.
        for (y, across) in all.across.chunks_exact_mut(row).enumerate() {
            for x in 0..d.nx {
                let i = y * d.nx + x;
                across[usize::from(before[i]) * d.nx + x] += d.nz as u32 - since[i];
            }
        }
        for rows in all.count.chunks_exact(row) {
            for (sum, line) in all.voxels.iter_mut().zip(rows.chunks_exact(d.nx)) {
                *sum += line.iter().map(|&n| u64::from(n)).sum::<u64>();
            }
        }
        Ok(all)
    }

    fn map<'a>(&'a self, of: &'a [u16], class: u8) -> impl Iterator<Item = u16> + 'a {
        let (row, nx) = (self.classes * self.grid.dims.nx, self.grid.dims.nx);
        of.chunks_exact(row).flat_map(move |rows| rows[usize::from(class) * nx..][..nx].iter().copied())
    }
    /// n_c(x, z), `[z][x]`.
    pub fn counts(&self, class: u8) -> Vec<u16> {
        self.map(&self.count, class).collect()
    }
    /// Σ n_c(x, z) over several classes, `[z][x]`.
    pub fn counts_of(&self, classes: &[u8]) -> Vec<u16> {
        let mut sum = vec![0; self.grid.columns()];
        for &class in classes {
            sum.iter_mut().zip(self.map(&self.count, class)).for_each(|(a, b)| *a += b);
        }
        sum
    }
    /// Σ n_c(x, y) over several classes, `[y][x]`.
    pub fn across(&self, classes: &[u8]) -> Vec<u32> {
        let nx = self.grid.dims.nx;
        let rows = self.across.chunks_exact(self.classes * nx);
        rows.flat_map(|row| (0..nx).map(move |x| classes.iter().map(|&c| row[usize::from(c) * nx + x]).sum::<u32>()))
            .collect()
    }
    /// Least y of a class, `[z][x]`; [`NONE`] where there is none.
    pub fn first(&self, class: u8) -> Vec<u16> {
        self.map(&self.first, class).collect()
    }
    /// Greatest y of a class, `[z][x]`; [`NONE`] where there is none.
    pub fn last(&self, class: u8) -> Vec<u16> {
        self.map(&self.last, class).collect()
    }
    /// n of several classes.
    pub fn voxels_of(&self, classes: &[u8]) -> u64 {
        classes.iter().map(|&c| self.voxels[usize::from(c)]).sum()
    }
    /// V, µm³.
    pub fn volume(&self, classes: &[u8]) -> f64 {
        self.voxels_of(classes) as f64 * self.grid.voxel_volume()
    }
    /// T, µm.
    pub fn thickness(&self, classes: &[u8]) -> f64 {
        self.voxels_of(classes) as f64 * self.grid.depth() / self.grid.columns() as f64
    }
    /// Part of the columns in which a class occurs.
    pub fn occupied(&self, class: u8) -> f64 {
        self.map(&self.count, class).filter(|&n| n > 0).count() as f64 / self.grid.columns() as f64
    }
    /// Faces across x, y, z between voxels of `a` and voxels of `b`; the two share no class.
    pub fn faces(&self, a: &[u8], b: &[u8]) -> [u64; 3] {
        let one = |axis: &Vec<u64>| {
            a.iter()
                .flat_map(|&i| b.iter().map(move |&j| usize::from(i) * self.classes + usize::from(j)))
                .map(|k| axis[k])
                .sum()
        };
        std::array::from_fn(|i| one(&self.faces[i]))
    }
    /// Faces between these classes and all others.
    pub fn surface(&self, classes: &[u8]) -> [u64; 3] {
        let others: Vec<u8> = (0..self.classes as u8).filter(|c| !classes.contains(c)).collect();
        self.faces(classes, &others)
    }
    /// Area of some faces, µm²: as counted.
    pub fn area(&self, [x, y, z]: [u64; 3]) -> f64 {
        let [vx, vy, vz] = self.grid.voxel;
        x as f64 * vy * vz + y as f64 * vx * vz + z as f64 * vx * vy
    }
}

/// Calls `f` with every x at which two lines differ.
fn where_different(a: &[u8], b: &[u8], mut f: impl FnMut(usize)) {
    let n = a.len().min(b.len());
    let ((whole, rest), (other, last)) = (a[..n].as_chunks::<TOGETHER>(), b[..n].as_chunks::<TOGETHER>());
    let mut one = |from: usize, p: &[u8], q: &[u8]| {
        p.iter().zip(q).enumerate().filter(|(_, (a, b))| a != b).for_each(|(x, _)| f(from + x));
    };
    for (k, (p, q)) in whole.iter().zip(other).enumerate() {
        if p != q {
            one(k * TOGETHER, p, q);
        }
    }
    one(n - rest.len(), rest, last);
}

fn face(faces: &mut [u64], classes: usize, a: usize, b: usize) {
    faces[a * classes + b] += 1;
    faces[b * classes + a] += 1;
}

/// Counts the runs along y of a slice; its faces across x and y.
fn count_slice(
    slice: &[u8],
    nx: usize,
    classes: usize,
    (count, first, last): (&mut [u16], &mut [u16], &mut [u16]),
) -> [Vec<u64>; 2] {
    let mut faces = [vec![0; classes * classes], vec![0; classes * classes]];
    let mut since = vec![0u16; nx];
    let mut ended = |class: u8, x: usize, from: u16, to: u16| {
        let k = usize::from(class) * nx + x;
        count[k] += to - from;
        first[k] = first[k].min(from);
        last[k] = to - 1;
    };
    let mut line = &slice[..nx];
    for (y, next) in slice.chunks_exact(nx).enumerate() {
        where_different(next, &next[1..], |x| face(&mut faces[0], classes, next[x].into(), next[x + 1].into()));
        where_different(line, next, |x| {
            face(&mut faces[1], classes, line[x].into(), next[x].into());
            ended(line[x], x, since[x], y as u16);
            since[x] = y as u16;
        });
        line = next;
    }
    let depth = (slice.len() / nx) as u16;
    (0..nx).for_each(|x| ended(line[x], x, since[x], depth));
    faces
}

#[cfg(test)]
mod tests {
    use super::super::labels::tests::cell;
    use super::*;

    #[test]
    fn a_hand_worked_block() {
        // Two slices of 3 deep, 2 wide; classes 4, 3, 0.
        let labels = cell((2, 3, 2), &[4, 4, 3, 0, 0, 0, /* z 1 */ 4, 0, 4, 3, 3, 3]);
        let c = Columns::of(&labels, 7).unwrap();
        assert_eq!(c.voxels, [4, 0, 0, 4, 4, 0, 0]);
        assert_eq!(c.counts(3), [1, 0, 1, 2]);
        assert_eq!(c.counts_of(&[3, 4]), [2, 1, 3, 2]);
        assert_eq!((c.across(&[3]), c.across(&[3, 4])), (vec![0, 0, 1, 1, 1, 1], vec![2, 1, 2, 1, 1, 1]));
        assert_eq!((c.first(3), c.last(3)), (vec![1, NONE, 2, 1], vec![1, NONE, 2, 2]));
        assert_eq!((c.occupied(3), c.occupied(4)), (0.75, 0.75));
        // 4 voxels of 2 um in 4 columns; 8 um3 each.
        assert_eq!((c.thickness(&[3]), c.volume(&[3])), (2.0, 32.0));
        // x: z0 y1 (3|0), z1 y0 (4|0), y1 (4|3). y: z0 (4|3), (4|0), (3|0); z1 (0|3) and (4|3). z: (4|0), (3|4), (0|3), (0|3), (0|3).
        assert_eq!(c.faces(&[3], &[4]), [1, 2, 1]);
        assert_eq!(c.faces(&[4], &[3]), [1, 2, 1]);
        assert_eq!(c.surface(&[3]), [2, 4, 4]);
        assert_eq!(c.area(c.faces(&[3], &[4])), 16.0);
    }

    #[test]
    fn slabs_and_threads_do_not_show() {
        // Slices of 3 Mi voxels: slabs of two.
        let dims = (5, 1536, 2048);
        let labels: Vec<u8> =
            (0..5 * 1536 * 2048u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 7).collect();
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Columns::of(&cell(dims, &labels), 7).unwrap())
        };
        let (a, b) = (of(1), of(3));
        assert!(
            a.count == b.count && a.first == b.first && a.last == b.last && a.faces == b.faces && a.across == b.across
        );
        let z = |i: usize| {
            labels
                .iter()
                .zip(&labels[1536 * 2048..])
                .filter(|(a, b)| **a == i as u8 && **b != i as u8 || **b == i as u8 && **a != i as u8)
                .count() as u64
        };
        assert_eq!((0..7).map(z).collect::<Vec<_>>(), (0..7).map(|i| a.surface(&[i])[2]).collect::<Vec<_>>());
    }
}
