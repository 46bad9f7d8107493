//! Exact numbers of voxels by rank: whichever voxels come first in a fixed order are taken, until there are enough.
//!
//! The voxels of a column c, counted from its foot, have the ranks (j + 1 − u_c) / w_c, j = 0, 1, …: w_c says how fast
//! the column grows and u_c in [0, 1) when its first voxel comes. Those of rank at most t are
//!
//! ```text
//! n_c(t) = min(cap_c, ⌊t w_c + u_c⌋),      Σ_c n_c(t) = N
//! ```
//!
//! and t is found by halving until no f64 lies between; what is still missing is taken in the order of the columns.
//! n_c never falls as N grows, so a structure that grows by these numbers never loses a voxel on the way.

use rayon::prelude::*;

/// Columns per task.
const CHUNK: usize = 1 << 14;

/// How a layer grows, column by column.
pub struct Growth<'a> {
    /// w_c ≥ 0.
    pub weight: &'a [f32],
    /// u_c in [0, 1).
    pub phase: &'a [f32],
}

fn taken(t: f64, weight: f32, phase: f32, cap: u16) -> u64 {
    let n = t * f64::from(weight) + f64::from(phase);
    // Saturates.
    (n as u64).min(cap.into())
}

/// n_c with Σ n_c = `total`, or less if the caps add up to less. Columns with a cap of 0 take no part.
pub fn apportion(growth: &Growth, cap: &[u16], total: u64) -> Vec<u16> {
    let Growth { weight, phase } = *growth;
    let sum = |t: f64| -> u64 {
        let chunks = weight.par_chunks(CHUNK).zip(phase.par_chunks(CHUNK)).zip(cap.par_chunks(CHUNK));
        chunks
            .map(|((w, u), cap)| w.iter().zip(u).zip(cap).map(|((&w, &u), &cap)| taken(t, w, u, cap)).sum::<u64>())
            .sum::<u64>()
    };
    let (mut low, mut high) = (0.0f64, 1.0f64);
    while sum(high) < total && high < 1e12 {
        (low, high) = (high, 2.0 * high);
    }
    // sum(low) ≤ total always holds for low = 0: phases are below 1.
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        match sum(middle) {
            n if n == total => {
                (low, high) = (middle, middle);
                break;
            }
            n if n < total => low = middle,
            _ => high = middle,
        }
    }
    let mut counts: Vec<u16> = Vec::with_capacity(weight.len());
    counts.extend((0..weight.len()).map(|c| taken(low, weight[c], phase[c], cap[c]) as u16));
    let mut missing = total.saturating_sub(counts.iter().map(|&n| u64::from(n)).sum::<u64>());
    for c in 0..counts.len() {
        if missing == 0 {
            break;
        }
        let more = (taken(high, weight[c], phase[c], cap[c]) - u64::from(counts[c])).min(missing);
        counts[c] += more as u16;
        missing -= more;
    }
    counts
}

/// The columns among those with `allowed` that have the `count` smallest priorities, as a mask; ties by index.
///
/// Priorities are finite.
pub fn first(priority: &[f32], allowed: Option<&[bool]>, count: u64) -> Vec<bool> {
    // f32 in the order of their bits, and the column below.
    let key = |c: usize| {
        let bits = priority[c].to_bits();
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        u64::from(ordered) << 32 | c as u64
    };
    let mut keys: Vec<u64> = (0..priority.len()).filter(|&c| allowed.is_none_or(|a| a[c])).map(key).collect();
    let mut mask = vec![false; priority.len()];
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(keys.len());
    if count > 0 {
        let (below, last, _) = keys.select_nth_unstable(count - 1);
        for &mut k in below {
            mask[k as u32 as usize] = true;
        }
        mask[*last as u32 as usize] = true;
    }
    mask
}

/// As [`apportion`], with at least one voxel in every column of `members` and none elsewhere; at most `cap` each.
pub fn cover(growth: &Growth, members: &[bool], cap: &[u16], total: u64) -> Vec<u16> {
    let covered: Vec<bool> = members.iter().zip(cap).map(|(&m, &c)| m && c > 0).collect();
    let base = covered.iter().filter(|&&m| m).count() as u64;
    let rest: Vec<u16> = covered.iter().zip(cap).map(|(&m, &c)| if m { c - 1 } else { 0 }).collect();
    let mut counts = apportion(growth, &rest, total.saturating_sub(base));
    counts.iter_mut().zip(&covered).for_each(|(n, &m)| *n += u16::from(m));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;

    #[test]
    fn counts_are_exact_bounded_and_never_fall() {
        let n = 5000;
        let s = Stream::new(1, 1);
        let weight: Vec<f32> = (0..n).map(|i| s.uniform_f32(i) * 3.0).collect();
        let phase: Vec<f32> = (0..n).map(|i| s.uniform_f32(i + n)).collect();
        let growth = Growth { weight: &weight, phase: &phase };
        let cap: Vec<u16> = (0..n).map(|i| (s.below(i + 2 * n, 40)) as u16).collect();
        let most: u64 = cap.iter().map(|&c| u64::from(c)).sum();
        let mut before = vec![0u16; n as usize];
        for total in [0, 1, 7, 4999, 5000, 30_000, 60_001, most] {
            let counts = apportion(&growth, &cap, total);
            assert_eq!(counts.iter().map(|&c| u64::from(c)).sum::<u64>(), total);
            assert!(counts.iter().zip(&cap).all(|(n, c)| n <= c));
            assert!(counts.iter().zip(&before).all(|(n, b)| n >= b), "a voxel was lost at {total}");
            before = counts;
        }
        assert_eq!(apportion(&growth, &cap, most + 5).iter().map(|&c| u64::from(c)).sum::<u64>(), most);
        // Equal columns, phases and all: ties are broken by index.
        let same = Growth { weight: &[1.0; 10], phase: &[0.5; 10] };
        assert_eq!(apportion(&same, &[9; 10], 13), [2, 2, 2, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn the_first_columns_are_a_growing_set() {
        let s = Stream::new(2, 1);
        let priority: Vec<f32> = (0..1000).map(|i| s.normal(i) as f32).collect();
        let mut before = vec![false; 1000];
        for count in [0u64, 1, 400, 999, 1000, 2000] {
            let mask = first(&priority, None, count);
            assert_eq!(mask.iter().filter(|&&m| m).count() as u64, count.min(1000));
            assert!(mask.iter().zip(&before).all(|(&now, &b)| now || !b));
            before = mask;
        }
        let even: Vec<bool> = (0..1000).map(|i| i % 2 == 0).collect();
        let mask = first(&priority, Some(&even), 100);
        let worst = (0..1000).filter(|&c| mask[c]).map(|c| priority[c]).fold(f32::MIN, f32::max);
        assert!((0..1000).all(|c| mask[c] == (even[c] && priority[c] <= worst)));
    }

    #[test]
    fn a_cover_has_one_everywhere_first() {
        let growth = Growth { weight: &[0.0, 5.0, 1.0, 1.0], phase: &[0.1, 0.2, 0.3, 0.4] };
        assert_eq!(cover(&growth, &[true, true, false, true], &[9; 4], 10), [1, 7, 0, 2]);
        assert_eq!(cover(&growth, &[true; 4], &[9; 4], 2), [1; 4]);
    }
}
