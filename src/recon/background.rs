//! Air at both ends of a row is made 1: what the beam did between the flats and this projection.
//!
//! ```text
//! a = mean of the first n columns, b = mean of the last n
//! T[x] ← T[x] / (a + (b − a) x / (columns − 1))
//! ```
//!
//! As TomoPy's `normalize_bg`, but that a mean that is not positive is counted, and the row left as it is, where TomoPy
//! takes it for 1. Sums in f64 from the outside in.

use rayon::prelude::*;

/// Normalises every row of a block of transmission, `[…][column]`, by `air` columns at either end. Returns how many rows
/// have no air that could be divided by.
pub fn normalize(block: &mut [f32], columns: usize, air: usize) -> u64 {
    let refused: Vec<bool> = block.par_chunks_mut(columns).map(|row| !normalize_row(row, air)).collect();
    refused.iter().filter(|&&r| r).count() as u64
}

fn normalize_row(row: &mut [f32], air: usize) -> bool {
    let n = row.len();
    let air = air.clamp(1, n);
    let left = row[..air].iter().map(|&v| f64::from(v)).sum::<f64>() / air as f64;
    let right = row[n - air..].iter().rev().map(|&v| f64::from(v)).sum::<f64>() / air as f64;
    let usable = |v: f64| v > 0.0 && v.is_finite();
    if !(usable(left) && usable(right)) {
        return false;
    }
    let slope = (right - left) / (n.max(2) - 1) as f64;
    for (x, value) in row.iter_mut().enumerate() {
        *value = (f64::from(*value) / (left + slope * x as f64)) as f32;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TomoPy's `normalize_bg(tomo)`, air = 1. Rows that end in a count of 0 are divided by 1 there; here they are refused.
    #[test]
    fn tomopys_fixture_is_matched_where_there_is_air() {
        let (Some(mut rows), Some(want)) =
            (crate::testing::fixture("tomo.npy"), crate::testing::fixture("normalize_bg.npy"))
        else {
            return;
        };
        let before = rows.clone();
        let refused = normalize(&mut rows, 46, 1);
        let mut without = 0;
        for ((got, want), before) in rows.chunks(46).zip(want.chunks(46)).zip(before.chunks(46)) {
            if before[0] > 0.0 && before[45] > 0.0 {
                let off = got.iter().zip(want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(off <= 1e-6, "{off:e}");
            } else {
                assert_eq!(got, before);
                without += 1;
            }
        }
        assert_eq!(refused, without);
    }

    #[test]
    fn a_tilted_beam_becomes_even() {
        let beam = |x: usize| 0.8 + 0.01 * x as f32;
        let mut rows: Vec<f32> = (0..3 * 41).map(|i| beam(i % 41) * if i % 41 == 20 { 0.5 } else { 1.0 }).collect();
        rows[2 * 41] = -5.0;
        let last = rows[2 * 41..].to_vec();
        assert_eq!(normalize(&mut rows, 41, 1), 1);
        for (x, value) in rows[..41].iter().enumerate() {
            assert!((value - if x == 20 { 0.5 } else { 1.0 }).abs() < 1e-6);
        }
        assert_eq!(rows[2 * 41..], last);
        assert_eq!(normalize(&mut [f32::NAN, 1.0], 2, 1), 1);
        assert_eq!(normalize(&mut [4.0], 1, 10), 0);
    }
}
