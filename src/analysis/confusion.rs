//! Volumes with a segmentation's confusion undone.
//!
//! ```text
//! P_tp = n_tp / Σ_p n_tp          part of the truth t that is called p, from `seg eval` on labelled slices
//! n_p = Σ_t P_tp N_t              what is counted of N: solved for N
//! interval                        the evaluated scans drawn again with replacement, P and N anew; 2.5 and 97.5 %
//! ```
//!
//! It holds where the analysed scans are confused like the evaluated ones; voxels of truth without a prediction are left
//! out. A confusion that cannot be undone (a class that is never called so) is unknown. One evaluated scan tells no
//! interval.
//!
//! Source: the classical matrix estimator of misclassified counts (Tenenbein 1970).

use crate::num::philox::Stream;
use crate::segment::bootstrap::quantile;

const STREAM: u32 = 0x616e_0003;

/// n_tp of each evaluated scan, rows truth.
pub type Counts = Vec<Vec<Vec<u64>>>;

/// N of one matrix; none if it cannot be undone.
fn undone(n: &[Vec<u64>], counted: &[f64]) -> Option<Vec<f64>> {
    let k = counted.len();
    // Row p of the system: Σ_t P_tp N_t = n_p.
    let mut a: Vec<Vec<f64>> = vec![vec![0.0; k + 1]; k];
    for (t, row) in n.iter().enumerate() {
        let sum: u64 = row.iter().sum();
        for (p, &v) in row.iter().enumerate() {
            // A class without truth is taken as called what it is.
            a[p][t] = if sum > 0 { v as f64 / sum as f64 } else { f64::from(u8::from(t == p)) };
        }
    }
    a.iter_mut().zip(counted).for_each(|(row, &c)| row[k] = c);
    for j in 0..k {
        let pivot = (j..k).fold(j, |best, i| if a[i][j].abs() > a[best][j].abs() { i } else { best });
        if a[pivot][j].abs() < 1e-6 {
            return None;
        }
        a.swap(j, pivot);
        for i in (0..k).filter(|&i| i != j) {
            let factor = a[i][j] / a[j][j];
            for c in j..k + 1 {
                a[i][c] -= factor * a[j][c];
            }
        }
    }
    Some((0..k).map(|j| a[j][k] / a[j][j]).collect())
}

/// N of every class with its interval.
pub fn correct(scans: &Counts, counted: &[f64], draws: usize, seed: u64) -> Option<Vec<(f64, Option<[f64; 2]>)>> {
    let k = counted.len();
    let sum = |times: &dyn Fn(usize) -> u64| -> Vec<Vec<u64>> {
        let at = |t: usize, p: usize| (0..scans.len()).map(|s| times(s) * scans[s][t][p]).sum();
        (0..k).map(|t| (0..k).map(|p| at(t, p)).collect()).collect()
    };
    let value = undone(&sum(&|_| 1), counted)?;
    let n = scans.len();
    let stream = Stream::new(seed, STREAM);
    let draw = |b: usize| {
        let mut times = vec![0u64; n];
        (0..n).for_each(|j| times[stream.below((b * n + j) as u64, n as u32) as usize] += 1);
        undone(&sum(&|s| times[s]), counted)
    };
    let drawn: Vec<Vec<f64>> = if n < 2 { Vec::new() } else { (0..draws).filter_map(draw).collect() };
    let interval = |class: usize| {
        let mut v: Vec<f64> = drawn.iter().map(|d| d[class]).collect();
        v.sort_by(f64::total_cmp);
        (!v.is_empty()).then(|| [quantile(&v, 0.025), quantile(&v, 0.975)])
    };
    Some(value.into_iter().enumerate().map(|(class, v)| (v, interval(class))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_confusion_is_undone() {
        // 10 % of class 0 called 1, 20 % of class 1 called 0; truth 1000 and 500.
        let matrix = vec![vec![90, 10], vec![20, 80]];
        let counted = [0.9 * 1000.0 + 0.2 * 500.0, 0.1 * 1000.0 + 0.8 * 500.0];
        let one = correct(&vec![matrix.clone()], &counted, 100, 1).unwrap();
        assert!((one[0].0 - 1000.0).abs() < 1e-9 && (one[1].0 - 500.0).abs() < 1e-9 && one[0].1.is_none());
        let other = vec![vec![94, 6], vec![14, 86]];
        let two = correct(&vec![matrix, other], &counted, 400, 1).unwrap();
        let [low, high] = two[1].1.unwrap();
        // Either scan alone: 500, and 0.06 · 1500 + 0.8 N = 500.
        assert!(
            (low - 500.0).abs() < 1e-9 && (high - 512.5).abs() < 1e-9 && low < two[1].0 && two[1].0 < high,
            "{two:?}"
        );
        // Two classes that are called alike cannot be told apart.
        assert_eq!(correct(&vec![vec![vec![5, 5], vec![5, 5]]], &counted, 10, 1), None);
        // A class that nobody evaluated stays as it is counted.
        let unseen = correct(&vec![vec![vec![10, 0], vec![0, 0]]], &[3.0, 4.0], 10, 1).unwrap();
        assert_eq!((unseen[0].0, unseen[1].0), (3.0, 4.0));
    }
}
