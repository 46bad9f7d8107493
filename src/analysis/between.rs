//! What two scans of one grid have in common and what they have not, voxel by voxel and column by column: voids, pits that
//! are filled, what came and what went. Each definition has its own name: they differ.
//!
//! ```text
//! pit fill by thickness   U(x, z) = max(0, M_pit(half) − M_redep(t))      unfilled; fill = 1 − ΣU / ΣM_pit
//! pit fill by area                                                        fill = 1 − #[U > 0] / #[M_pit > 0]
//! voids by voxels         W = pit(half) ∧ ¬ redep(t)                      map v Σ_y W;  area mean[W > 0]; contact 1 − area
//! pit fill by voxels                                                      fill = 1 − ΣW / Σ pit(half)
//! decrease, increase      max(0, M(a) − M(b)),  max(0, M(b) − M(a))
//! ```
//!
//! The paper's "almost the entire pit area is filled" and "voids under 53.9 % of the field" are the first and the third.

use super::labels::{Labels, slabs_of};
use super::map::Map;
use crate::error::Result;
use rayon::prelude::*;

/// W of two scans: voxels per column, `[z][x]`: what is of class `of` in the first and of none of `not` in the second.
///
/// # Errors
/// Those of reading.
pub fn lost(a: &Labels, of: u8, b: &Labels, not: &[u8]) -> Result<Vec<u16>> {
    let d = a.grid().dims;
    let mut counts = vec![0u16; d.nz * d.nx];
    slabs_of([a, b], |z, [before, after]| {
        let slices = before.par_chunks_exact(d.slice()).zip(after.par_chunks_exact(d.slice()));
        counts[z * d.nx..].par_chunks_exact_mut(d.nx).zip(slices).for_each(|(counts, (a, b))| {
            let mut row = vec![0u8; d.nx];
            for (a, b) in a.chunks_exact(d.nx).zip(b.chunks_exact(d.nx)) {
                row.iter_mut().zip(a).for_each(|(lost, &a)| *lost = u8::from(a == of));
                for &class in not {
                    row.iter_mut().zip(b).for_each(|(lost, &b)| *lost &= u8::from(b != class));
                }
                counts.iter_mut().zip(&row).for_each(|(n, &lost)| *n += u16::from(lost));
            }
        });
        Ok(())
    })?;
    Ok(counts)
}

/// max(0, a − b).
pub fn decrease(a: &Map, b: &Map) -> Map {
    a.with(b, |a, b| (a - b).max(0.0))
}

/// 1 − part / whole; none of nothing.
pub fn fill(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| 1.0 - part / whole)
}

#[cfg(test)]
mod tests {
    use super::super::columns::Columns;
    use super::super::labels::tests::cell;
    use super::*;

    #[test]
    fn definitions_differ_on_a_hand_worked_field() {
        // One slice, 4 deep, 4 columns: pits of 2, 2, 1, 0 voxels, later redeposited 2 elsewhere, 1, 1 in place, 2.
        let half = cell((1, 4, 4), &[2, 2, 2, 0, 2, 2, 6, 0, 6, 6, 6, 6, 6, 6, 6, 6]);
        let later = cell((1, 4, 4), &[0, 5, 5, 5, 0, 2, 6, 5, 5, 6, 6, 6, 5, 6, 6, 6]);
        let counts = lost(&half, 2, &later, &[5]).unwrap();
        assert_eq!(counts, [2, 1, 0, 0]);
        let (pits, redeposited) = (Columns::of(&half, 7).unwrap(), Columns::of(&later, 7).unwrap());
        let grid = half.grid();
        let [pits, redeposited] = [pits.counts(2), redeposited.counts(5)].map(|c| Map::thickness(&grid, &c));
        let unfilled = decrease(&pits, &redeposited);
        assert_eq!(unfilled.values, [0.0, 2.0, 0.0, 0.0]);
        let sum = |m: &Map| m.values.iter().sum::<f64>();
        // By thickness 4/5, by area 2/3, by voxels 2/5; voids under half of the field.
        assert_eq!(fill(sum(&unfilled), sum(&pits)), Some(0.8));
        assert_eq!(fill(unfilled.occupied(), pits.occupied()), Some(1.0 - 0.25 / 0.75));
        assert_eq!(fill(3.0, 5.0), Some(0.4));
        assert_eq!(Map::thickness(&grid, &counts).occupied(), 0.5);
        assert_eq!(fill(0.0, 0.0), None);
    }
}
