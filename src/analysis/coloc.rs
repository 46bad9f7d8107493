//! Whether two maps go together: Pearson and Spearman with a test that knows that neighbouring columns are alike, and the
//! measures of Fiji's Coloc 2 as it computes them.
//!
//! ```text
//! r          Σ (a − ā)(b − b̄) / √(Σ (a − ā)² Σ (b − b̄)²)            centred; Spearman: of ranks, ties the mean of theirs
//! null       r of a and b shifted around the field by (dz, dx): both keep their structure, what they have in common goes
//! p          (1 + #{|r_shifted| ≥ |r|}) / (1 + shifts)              two-sided
//! n_eff      1 + 1 / var(r_shifted)                                 columns that would be as informative if independent
//! ```
//!
//! Shifts are drawn among those of at least the correlation length along z or x, seeded. Of 3.9 million pixels that are alike
//! over 30, r itself says nothing. r is unknown where a map is constant.
//!
//! **Compatibility.** Coloc 2 takes whole numbers and treats pixels as independent:
//!
//! ```text
//! regression   m = (s₂² − s₁² + √((s₂² − s₁²)² + 4 c²)) / 2c, b = ā₂ − m ā₁            orthogonal; s² and c over n − 1
//! thresholds   from the greatest grey level down by one along the line, the other channel by it, rounded; stop where r of
//!              pixels with a < T₁ **or** b < T₂ is below 10⁻⁴, rises, or is unknown, or the threshold is below 1
//! M₁, M₂       Σ a where b > 0 / Σ a,  Σ b where a > 0 / Σ b
//! tM₁, tM₂     the same where b ≥ T₂, a ≥ T₁
//! ICQ          #{(ā − a)(b̄ − b) ≥ 0} / n − ½                         zeros count as together
//! ```
//!
//! Left out: Kendall, Costes' shuffled blocks (the shifts do what they are for, with a p that is one).
//! Source: Pearson; the behaviour of Coloc 2 (its source read, nothing taken); Costes 2004; Manders 1993; Li 2004.

use super::map::Map;
use crate::num::philox::Stream;
use crate::num::sum::sum_f64;
use crate::segment::bootstrap::quantile;
use rayon::prelude::*;

const STREAM: u32 = 0x616e_0002;

/// How two maps go together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Together {
    /// Pearson's r.
    pub pearson: f64,
    /// Spearman's.
    pub spearman: f64,
    /// p of r by shifts; none without a shift that is long enough.
    pub p: Option<f64>,
    /// 2.5 and 97.5 % quantiles of r under shifts: the band of no correlation.
    pub band: Option<[f64; 2]>,
    /// n_eff.
    pub effective: Option<f64>,
}

/// Values less their mean, and their root sum of squares; none for a constant.
fn centred(values: &[f64]) -> Option<(Vec<f64>, f64)> {
    let mean = sum_f64(values) / values.len() as f64;
    let d: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let squares = sum_f64(&d.iter().map(|v| v * v).collect::<Vec<_>>());
    // What rounding leaves of a constant is none.
    let least = (f64::EPSILON * mean) * (f64::EPSILON * mean) * values.len() as f64;
    (squares > 4.0 * least).then(|| (d, squares.sqrt()))
}

/// Pearson's r; none where one is constant.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let ((a, na), (b, nb)) = (centred(a)?, centred(b)?);
    let products: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a * b).collect();
    Some(sum_f64(&products) / (na * nb))
}

/// Ranks from 1, ties the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut i = 0;
    while i < order.len() {
        let tied = order[i..].iter().take_while(|&&k| values[k] == values[order[i]]).count();
        order[i..i + tied].iter().for_each(|&k| ranks[k] = i as f64 + 0.5 * (tied + 1) as f64);
        i += tied;
    }
    ranks
}

/// Spearman's r; none where one is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

/// Pearson, Spearman, and what shifts of the second map say of the first one; none where a map is constant.
pub fn together(a: &Map, b: &Map, shifts: usize, seed: u64) -> Option<Together> {
    let (r, rank) = (pearson(&a.values, &b.values)?, spearman(&a.values, &b.values)?);
    let ((da, na), (db, nb)) = (centred(&a.values)?, centred(&b.values)?);
    let (nz, nx) = (a.nz, a.nx);
    let length = a.correlation_length().max(b.correlation_length());
    let far = |d: usize, n: usize| d.min(n - d) >= length;
    let stream = Stream::new(seed, STREAM);
    let drawn: Vec<(usize, usize)> = (0..50 * shifts as u64)
        .map(|i| (stream.below(2 * i, nz as u32) as usize, stream.below(2 * i + 1, nx as u32) as usize))
        .filter(|&(dz, dx)| far(dz, nz) || far(dx, nx))
        .take(shifts)
        .collect();
    let of_shift = |&(dz, dx): &(usize, usize)| {
        let rows: Vec<f64> = (0..nz)
            .map(|z| {
                let (a, b) = (&da[z * nx..][..nx], &db[(z + dz) % nz * nx..][..nx]);
                let wrapped = b[dx..].iter().chain(&b[..dx]);
                a.iter().zip(wrapped).fold(0.0, |s, (a, b)| s + a * b)
            })
            .collect();
        sum_f64(&rows) / (na * nb)
    };
    let mut null: Vec<f64> = drawn.par_iter().map(of_shift).collect();
    if null.len() < shifts || shifts == 0 {
        return Some(Together { pearson: r, spearman: rank, p: None, band: None, effective: None });
    }
    let beyond = null.iter().filter(|v| v.abs() >= r.abs()).count();
    let variance = null.iter().fold(0.0, |s, v| s + v * v) / null.len() as f64;
    null.sort_by(f64::total_cmp);
    Some(Together {
        pearson: r,
        spearman: rank,
        p: Some((1 + beyond) as f64 / (1 + shifts) as f64),
        band: Some([0.025, 0.975].map(|q| quantile(&null, q))),
        effective: (variance > 0.0).then(|| 1.0 + 1.0 / variance),
    })
}

/// Coloc 2's measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coloc2 {
    /// m and b.
    pub line: Option<[f64; 2]>,
    /// T₁, T₂.
    pub thresholds: Option<[i64; 2]>,
    /// r of pixels below a threshold.
    pub below: Option<f64>,
    /// r of pixels above one.
    pub above: Option<f64>,
    /// M₁, M₂; none where a channel is empty.
    pub manders: [Option<f64>; 2],
    /// tM₁, tM₂.
    pub thresholded: [Option<f64>; 2],
    /// ICQ.
    pub icq: f64,
}

/// Coloc 2's r of the pixels that `keep`: the fast form on whole numbers, exact but for the last division.
fn fast(a: &[i64], b: &[i64], keep: impl Fn(i64, i64) -> bool) -> Option<f64> {
    let (mut n, mut s) = (0i128, [0i128; 5]);
    for (&x, &y) in a.iter().zip(b).filter(|&(&x, &y)| keep(x, y)) {
        let (x, y) = (i128::from(x), i128::from(y));
        n += 1;
        for (sum, v) in s.iter_mut().zip([x, y, x * y, x * x, y * y]) {
            *sum += v;
        }
    }
    let (cov, va, vb) = (n * s[2] - s[0] * s[1], n * s[3] - s[0] * s[0], n * s[4] - s[1] * s[1]);
    (va > 0 && vb > 0).then(|| cov as f64 / ((va as f64).sqrt() * (vb as f64).sqrt()))
}

/// The measures of two channels of whole numbers of at least 0.
pub fn coloc2(a: &[i64], b: &[i64]) -> Coloc2 {
    let n = a.len() as f64;
    let total = |v: &[i64]| v.iter().sum::<i64>() as f64;
    let mean = [total(a) / n, total(b) / n];
    let (mut s1, mut s2, mut c) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (x as f64 - mean[0], y as f64 - mean[1]);
        (s1, s2, c) = (s1 + x * x, s2 + y * y, c + x * y);
    }
    let (s1, s2, c) = (s1 / (n - 1.0), s2 / (n - 1.0), c / (n - 1.0));
    let line = (c != 0.0).then(|| {
        let m = (s2 - s1 + ((s2 - s1) * (s2 - s1) + 4.0 * c * c).sqrt()) / (2.0 * c);
        [m, mean[1] - m * mean[0]]
    });
    let thresholds = line.map(|[m, intercept]| step_down(a, b, m, intercept));
    let part = |of: &[i64], keep: &dyn Fn(usize) -> bool| {
        let all: i64 = of.iter().sum();
        let some: i64 = of.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, v)| v).sum();
        (all > 0).then(|| some as f64 / all as f64)
    };
    let together = a.iter().zip(b).filter(|&(&x, &y)| (mean[0] - x as f64) * (mean[1] - y as f64) >= 0.0).count();
    Coloc2 {
        line,
        thresholds,
        below: thresholds.and_then(|[t1, t2]| fast(a, b, |x, y| x < t1 || y < t2)),
        above: thresholds.and_then(|[t1, t2]| fast(a, b, |x, y| x > t1 || y > t2)),
        manders: [part(a, &|i| b[i] > 0), part(b, &|i| a[i] > 0)],
        thresholded: match thresholds {
            Some([t1, t2]) => [part(a, &|i| b[i] >= t2), part(b, &|i| a[i] >= t1)],
            None => [None; 2],
        },
        icq: together as f64 / n - 0.5,
    }
}

/// Thresholds by the classic walk.
fn step_down(a: &[i64], b: &[i64], m: f64, intercept: f64) -> [i64; 2] {
    // The channel with the smaller slope is walked: the other then moves by at most a level a step.
    let first = m.abs() <= 1.0;
    let walked = if first { a } else { b };
    let other = |t: i64| -> i64 {
        let t = t as f64;
        (if first { m * t + intercept } else { (t - intercept) / m }).round().max(0.0) as i64
    };
    let pair = |t: i64| if first { [t, other(t)] } else { [other(t), t] };
    let mut t = walked.iter().copied().max().unwrap_or(0);
    let mut last = f64::INFINITY;
    let mut best = pair(t);
    while t >= 1 {
        best = pair(t);
        match fast(a, b, |x, y| x < best[0] || y < best[1]) {
            Some(r) if r >= 1e-4 && r <= last => last = r,
            _ => break,
        }
        t -= 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: Option<f64>, want: f64) {
        assert!((got.unwrap() - want).abs() < 1e-9, "{got:?} for {want}");
    }

    #[test]
    fn pearson_and_spearman_are_scipys() {
        // a = [1, 2, 2, 5, 9, 3, 0, 0], b = [2, 1, 4, 4, 7, 3, 0, 1]
        // scipy.stats.pearsonr(a, b)[0], scipy.stats.spearmanr(a, b)[0]
        let (a, b) = ([1.0, 2.0, 2.0, 5.0, 9.0, 3.0, 0.0, 0.0], [2.0, 1.0, 4.0, 4.0, 7.0, 3.0, 0.0, 1.0]);
        close(pearson(&a, &b), 0.9161956337989496);
        close(spearman(&a, &b), 0.8597560975609758);
        assert_eq!(pearson(&a, &[0.1; 8]), None, "a constant");
    }

    #[test]
    fn p_is_uniform_where_alike_maps_have_nothing_in_common() {
        // White noise averaged over 4 x 4 columns, periodic: Σ ρ² over all lags is 2.75², so 135 of 1024 are independent.
        // As if all were, p would be below 0.05 in half of the cases.
        let map = |seed: u64| {
            let s = Stream::new(seed, 7);
            let noise = |z: usize, x: usize| s.normal((z % 32 * 32 + x % 32) as u64);
            let mean = |c: usize| (0..16).map(|k| noise(c / 32 + k / 4, c % 32 + k % 4)).sum::<f64>();
            Map { nz: 32, nx: 32, values: (0..1024).map(mean).collect() }
        };
        let tests: Vec<Together> = (0..300).map(|i| together(&map(2 * i), &map(2 * i + 1), 199, i).unwrap()).collect();
        for part in [0.05, 0.25, 0.5] {
            let below = tests.iter().filter(|t| t.p.unwrap() <= part).count() as f64;
            // Four standard deviations of a binomial.
            let sigma = (300.0 * part * (1.0 - part)).sqrt();
            assert!((below - 300.0 * part).abs() < 4.0 * sigma, "{part}: {below}");
        }
        let mean = tests.iter().map(|t| t.effective.unwrap()).sum::<f64>() / 300.0;
        assert!((110.0..160.0).contains(&mean), "{mean} for 135");
        let same = together(&map(1), &map(1), 199, 0).unwrap();
        assert_eq!((same.p, (same.pearson * 1e9).round()), (Some(0.005), 1e9));
    }

    #[test]
    fn coloc_2_by_hand() {
        // 4 x 4. Means 1.5 and 1; Σ(a − ā)² = 24, Σ(b − b̄)² = 18, Σ(a − ā)(b − b̄) = 16.
        let a = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 2, 2];
        let b = [0, 0, 0, 0, 0, 2, 0, 2, 1, 1, 1, 1, 3, 3, 2, 0];
        let c = coloc2(&a, &b);
        let m = (18.0 - 24.0 + (36.0f64 + 4.0 * 256.0).sqrt()) / 32.0;
        close(c.line.map(|l| l[0]), m);
        close(c.line.map(|l| l[1]), 1.0 - 1.5 * m);
        // The line is 0.83 a − 0.24: thresholds (4, 3), (3, 2), (2, 1), (1, 1). Of what is below by a or by b, r is 0.49, 0.49,
        // 0.27, and of a = 0 or b = 0 there is no r: the walk ends.
        assert_eq!(c.thresholds, Some([1, 1]));
        assert_eq!(c.below, None);
        // Σ a = 24, of which 20 where b > 0; Σ b = 16, all where a > 0.
        assert_eq!((c.manders, c.thresholded), ([Some(20.0 / 24.0), Some(1.0)], [Some(20.0 / 24.0), Some(1.0)]));
        // Both below the mean 4 + 2 times, both above 3 times; b is its mean, a zero that counts, 4 times: 13 of 16.
        assert_eq!(c.icq, 13.0 / 16.0 - 0.5);
        // Or, not and: below T = (2, 1): all but a ≥ 2 and b ≥ 1.
        close(fast(&[0, 1, 2, 3], &[3, 0, 1, 2], |x, y| x < 2 || y < 1), -1.0);
        assert_eq!(coloc2(&[1, 1, 1, 1], &[0, 0, 0, 0]).line, None);
    }
}
