//! Volumes with a segmentation's confusion undone.
//!
//! ```text
//! P_tp = n_tp / Σ_p n_tp          part of the truth t that is called p, from `seg eval` on labelled slices
//! n_p = Σ_t P_tp N_t              what is counted of N: solved for N
//! e_s = N̂_s − N_s                what is left of each evaluated scan s when the confusion of the *others* is undone in it,
//!                                as a part of its voxels
//! interval                        N ± t √(1 + 1/n) √(Σ e_s² / n) · voxels,   t of n − 1 degrees of freedom, n scans
//! ```
//!
//! The interval is that of one more scan, confused like the evaluated ones are like each other: it tells when scans differ
//! in how they are confused, which drawing them again would hide. Voxels of truth without a prediction are left out. A
//! confusion that cannot be undone (a class that is never called so) is unknown. Fewer than three evaluated scans tell no
//! interval.
//!
//! Source: the classical matrix estimator of misclassified counts (Tenenbein 1970).

use super::fit::student;

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
pub fn correct(scans: &Counts, counted: &[f64]) -> Option<Vec<(f64, Option<[f64; 2]>)>> {
    /// Fewer say nothing about their spread.
    const FEWEST: usize = 3;
    let (k, n) = (counted.len(), scans.len());
    let sum = |keep: &dyn Fn(usize) -> bool| -> Vec<Vec<u64>> {
        let at = |t: usize, p: usize| (0..n).filter(|&s| keep(s)).map(|s| scans[s][t][p]).sum();
        (0..k).map(|t| (0..k).map(|p| at(t, p)).collect()).collect()
    };
    let value = undone(&sum(&|_| true), counted)?;
    let left = |s: usize| -> Option<Vec<f64>> {
        let own = &scans[s];
        let all = own.iter().flatten().sum::<u64>() as f64;
        let called: Vec<f64> = (0..k).map(|p| own.iter().map(|row| row[p]).sum::<u64>() as f64).collect();
        let found = undone(&sum(&|other| other != s), &called)?;
        let truth = own.iter().map(|row| row.iter().sum::<u64>() as f64);
        (all > 0.0).then(|| found.iter().zip(truth).map(|(f, t)| (f - t) / all).collect())
    };
    let errors: Vec<Vec<f64>> = if n < FEWEST { Vec::new() } else { (0..n).filter_map(left).collect() };
    let (m, voxels) = (errors.len(), counted.iter().fold(0.0, |s, c| s + c));
    let interval = |class: usize, v: f64| {
        let square = errors.iter().fold(0.0, |s, e| s + e[class] * e[class]) / m as f64;
        let half = || student(m - 1) * ((1.0 + 1.0 / m as f64) * square).sqrt() * voxels;
        (m >= FEWEST).then(half).map(|h| [v - h, v + h])
    };
    Some(value.into_iter().enumerate().map(|(class, v)| (v, interval(class, v))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_confusion_is_undone() {
        // 10 % of class 0 called 1, 20 % of class 1 called 0; truth 1000 and 500.
        let matrix = vec![vec![90, 10], vec![20, 80]];
        let counted = [0.9 * 1000.0 + 0.2 * 500.0, 0.1 * 1000.0 + 0.8 * 500.0];
        let one = correct(&vec![matrix.clone()], &counted).unwrap();
        assert!((one[0].0 - 1000.0).abs() < 1e-9 && (one[1].0 - 500.0).abs() < 1e-9 && one[0].1.is_none());
        // Three scans of 200, confused by 10 ± 2 % and not at all. Of the others' 10 % mean error, each is left with
        // what it differs from them: for (a, b, c) = (8, 10, 12) of 100 called otherwise, a − 11, b − 10, c − 9 over
        // 1 − 0.11, 1 − 0.10, 1 − 0.09, of 200 voxels.
        let scans: Counts = [8, 10, 12].map(|n| vec![vec![100 - n, n], vec![0, 100]]).to_vec();
        let e = [3.0 / 0.89, 0.0, 3.0 / 0.91].map(|e: f64| e / 200.0);
        let spread = ((e[0] * e[0] + e[2] * e[2]) / 3.0).sqrt() * (4.0f64 / 3.0).sqrt() * student(2) * 1500.0;
        let found = correct(&scans, &[900.0, 600.0]).unwrap();
        assert!((found[0].0 - 1000.0).abs() < 1e-9, "{found:?}");
        let [low, high] = found[0].1.unwrap();
        assert!((high - 1000.0 - spread).abs() < 1e-9 && (1000.0 - low - spread).abs() < 1e-9, "{found:?} {spread}");
        // Two classes that are called alike cannot be told apart.
        assert_eq!(correct(&vec![vec![vec![5, 5], vec![5, 5]]], &counted), None);
        // A class that nobody evaluated stays as it is counted.
        let unseen = correct(&vec![vec![vec![10, 0], vec![0, 0]]], &[3.0, 4.0]).unwrap();
        assert_eq!((unseen[0].0, unseen[1].0), (3.0, 4.0));
    }
}
