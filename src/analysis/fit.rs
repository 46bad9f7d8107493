//! Lines, decays and knees through few points, with 95 % intervals.
//!
//! ```text
//! line     y = a + b x                     b ± t s / √Σ(x − x̄)²,   s² = Σ r² / (n − 2),  t of n − 2 degrees of freedom
//! decay    y = a + b e^(−x/τ)              for each τ the best a, b; τ by golden section on ln τ;
//!                                          intervals from s² (JᵀJ)⁻¹, s² = Σ r² / (n − 3)
//! knee     y = a + b x + c max(0, x − k)   for each k the best a, b, c; k on a grid of 1/1000 of the range;
//!                                          interval: all k with S(k) ≤ S_min (1 + t² / (n − 4));
//!                                          of b and b + c from s² (JᵀJ)⁻¹ at that k, s² = Σ r² / (n − 4)
//! ```
//!
//! The intervals are those of points scattered independently about the curve: for few and smooth points they tell how well
//! the form fits. Sums run in ascending index in f64. A fit that the points do not determine is unknown, not a guess.
//!
//! Source: ordinary least squares; Student's t by the incomplete beta function (Numerical Recipes, §6.4, continued fraction
//! of Lentz).

use crate::num::elementary::{exp, ln, ln_gamma};
use crate::num::linalg::{Matrix, inverse};

/// A number and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The number.
    pub value: f64,
    /// Its interval, if the points tell one.
    pub interval: Option<[f64; 2]>,
}

impl Known {
    fn about(value: f64, half: Option<f64>) -> Known {
        Known { value, interval: half.map(|h| [value - h, value + h]) }
    }
}

/// Least squares of y on the columns of a design, N numbers per point: coefficients, (JᵀJ)⁻¹, Σ r².
fn least_squares<const N: usize>(rows: &[[f64; N]], y: &[f64]) -> Option<([f64; N], Matrix<N>, f64)> {
    let mut normal = [[0.0; N]; N];
    let mut right = [0.0; N];
    for (row, &y) in rows.iter().zip(y) {
        for i in 0..N {
            right[i] += row[i] * y;
            for j in 0..N {
                normal[i][j] += row[i] * row[j];
            }
        }
    }
    let inverse = inverse(&normal)?;
    let c: [f64; N] = std::array::from_fn(|i| (0..N).fold(0.0, |s, j| s + inverse[i][j] * right[j]));
    let residual = |row: &[f64; N], y: f64| (0..N).fold(y, |s, i| s - row[i] * c[i]);
    let sum = rows.iter().zip(y).fold(0.0, |s, (row, &y)| s + residual(row, y) * residual(row, y));
    Some((c, inverse, sum))
}

/// Slope of a line; unknown with fewer than two different x.
pub fn slope(x: &[f64], y: &[f64]) -> Option<Known> {
    let middle = x.iter().fold(0.0, |s, v| s + v) / x.len().max(1) as f64;
    let rows: Vec<[f64; 2]> = x.iter().map(|&x| [1.0, x - middle]).collect();
    let (c, inverse, sum) = least_squares(&rows, y)?;
    let free = x.len().saturating_sub(2);
    Some(Known::about(c[1], (free > 0).then(|| student(free) * (sum / free as f64 * inverse[1][1]).sqrt())))
}

/// A decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    /// a, what is left.
    pub rest: Known,
    /// b, what goes.
    pub amplitude: Known,
    /// τ, in units of x.
    pub time: Known,
}

/// A decay; unknown with fewer than four points, or where τ is not within the range of x but for a factor of 20.
pub fn decay(x: &[f64], y: &[f64]) -> Option<Decay> {
    let n = x.len();
    let first = *x.first()?;
    let range = x.last()? - first;
    if n < 4 || range <= 0.0 {
        return None;
    }
    let rows = |tau: f64| -> Vec<[f64; 2]> { x.iter().map(|&x| [1.0, exp(-(x - first) / tau)]).collect() };
    let misfit = |log: f64| least_squares(&rows(exp(log)), y).map_or(f64::INFINITY, |(_, _, sum)| sum);
    let (low, high) = (ln(range / n as f64 / 20.0), ln(20.0 * range));
    const STEPS: usize = 200;
    let at = |i: usize| low + (high - low) * i as f64 / STEPS as f64;
    let best = (0..=STEPS).fold((f64::INFINITY, 0), |best, i| {
        let s = misfit(at(i));
        if s < best.0 { (s, i) } else { best }
    });
    if best.1 == 0 || best.1 == STEPS {
        return None;
    }
    let tau = exp(golden(at(best.1 - 1), at(best.1 + 1), misfit));
    let (c, _, sum) = least_squares(&rows(tau), y)?;
    let jacobian: Vec<[f64; 3]> = x
        .iter()
        .map(|&x| {
            let (t, e) = (x - first, exp(-(x - first) / tau));
            [1.0, e, c[1] * e * t / (tau * tau)]
        })
        .collect();
    let (_, inverse, _) = least_squares(&jacobian, &vec![0.0; n])?;
    let free = n - 3;
    let half = |i: usize| Some(student(free) * (sum / free as f64 * inverse[i][i]).sqrt());
    Some(Decay {
        rest: Known::about(c[0], half(0)),
        amplitude: Known::about(c[1], half(1)),
        time: Known::about(tau, half(2)),
    })
}

/// The place of a least value between two.
fn golden(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let g = 0.5 * (5f64.sqrt() - 1.0);
    for _ in 0..80 {
        let (a, b) = (high - g * (high - low), low + g * (high - low));
        if f(a) <= f(b) { high = b } else { low = a }
    }
    0.5 * (low + high)
}

/// A bend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// k.
    pub at: Known,
    /// b, the slope before.
    pub before: Known,
    /// b + c, the slope after.
    pub after: Known,
}

/// A bend; unknown with fewer than five points.
pub fn knee(x: &[f64], y: &[f64]) -> Option<Knee> {
    let n = x.len();
    let (first, last) = (*x.first()?, *x.last()?);
    if n < 5 || first >= last {
        return None;
    }
    const STEPS: usize = 1000;
    // Two points on either side, or the slope there is no number.
    let (low, high) = (x[1], x[n - 2]);
    let at = |i: usize| low + (high - low) * i as f64 / STEPS as f64;
    let fit = |k: f64| {
        let rows: Vec<[f64; 3]> = x.iter().map(|&x| [1.0, x - first, (x - k).max(0.0)]).collect();
        least_squares(&rows, y)
    };
    let misfits: Vec<f64> = (0..=STEPS).map(|i| fit(at(i)).map_or(f64::INFINITY, |(_, _, sum)| sum)).collect();
    let best = (0..=STEPS).fold(0, |best, i| if misfits[i] < misfits[best] { i } else { best });
    let (c, inverse, sum) = fit(at(best))?;
    let slope = |value: f64, variance: f64| {
        Known::about(value, (n > 4).then(|| student(n - 4) * (sum / (n - 4) as f64 * variance).sqrt()))
    };
    let after = inverse[1][1] + 2.0 * inverse[1][2] + inverse[2][2];
    let interval = (n > 4).then(|| {
        let t = student(n - 4);
        let most = sum * (1.0 + t * t / (n - 4) as f64);
        let inside = |i: &usize| misfits[*i] <= most;
        let from = (0..=STEPS).find(inside).unwrap_or(best);
        let to = (0..=STEPS).rev().find(inside).unwrap_or(best);
        [at(from), at(to)]
    });
    Some(Knee {
        at: Known { value: at(best), interval },
        before: slope(c[1], inverse[1][1]),
        after: slope(c[1] + c[2], after),
    })
}

/// The t that 95 % of Student's distribution of `free` ≥ 1 degrees of freedom lies within: P(|T| > t) = I_x(ν/2, 1/2) with
/// x = ν / (ν + t²), halved until no f64 lies between.
pub fn student(free: usize) -> f64 {
    let nu = free as f64;
    let outside = |t: f64| incomplete_beta(0.5 * nu, 0.5, nu / (nu + t * t));
    let (mut low, mut high) = (0.0, 100.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if outside(middle) > 0.05 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// I_x(a, b), the regularised incomplete beta function.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = exp(ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * ln(x) + b * ln(1.0 - x));
    match x < (a + 1.0) / (a + b + 2.0) {
        true => front * fraction(a, b, x) / a,
        false => 1.0 - front * fraction(b, a, 1.0 - x) / b,
    }
}

/// The continued fraction of I_x.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut h = d;
    for m in 1..300 {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            h *= d * c;
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64, within: f64) {
        assert!((got - want).abs() <= within, "{got} for {want}");
    }

    #[test]
    fn students_t_is_scipys() {
        // scipy.stats.t.ppf(0.975, [1, 2, 3, 8, 22, 100])
        let want = [12.706204736, 4.302652730, 3.182446305, 2.306004135, 2.073873068, 1.983971519];
        for (free, want) in [1, 2, 3, 8, 22, 100].into_iter().zip(want) {
            close(student(free), want, 2e-9);
        }
    }

    #[test]
    fn a_line_is_scipys() {
        // r = scipy.stats.linregress([0, 1, 2, 3, 4], [1, 3, 2, 5, 4]); r.slope, r.stderr * t.ppf(0.975, 3)
        let k = slope(&[0.0, 1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 5.0, 4.0]).unwrap();
        close(k.value, 0.8, 1e-12);
        let [low, high] = k.interval.unwrap();
        close(high - low, 2.0 * 1.102431738622247, 1e-8);
        assert_eq!(slope(&[1.0, 2.0], &[0.0, 3.0]).unwrap(), Known { value: 3.0, interval: None });
        assert!(slope(&[1.0, 1.0], &[0.0, 3.0]).is_none() && slope(&[], &[]).is_none());
    }

    #[test]
    fn a_decay_finds_its_time_and_a_knee_its_place() {
        let x: Vec<f64> = (0..13).map(f64::from).collect();
        let clean: Vec<f64> = x.iter().map(|x| 2.0 + 30.0 * exp(-x / 3.0)).collect();
        let d = decay(&x, &clean).unwrap();
        close(d.time.value, 3.0, 1e-6);
        close(d.rest.value, 2.0, 1e-6);
        close(d.amplitude.value, 30.0, 1e-6);
        // scipy.optimize.curve_fit(lambda x, a, b, t: a + b*np.exp(-x/t), x, y, (1, 20, 2)) with y off by ±0.5 in turn:
        // popt 2.16054918 30.14073886 2.92460413, sqrt(diag(pcov)) * t.ppf(0.975, 10) 0.77472896 1.17245788 0.29178989
        let off: Vec<f64> = clean.iter().enumerate().map(|(i, y)| y + if i % 2 == 0 { 0.5 } else { -0.5 }).collect();
        let d = decay(&x, &off).unwrap();
        let want = [(2.16054918, 0.77472896), (30.14073886, 1.17245788), (2.92460413, 0.29178989)];
        for (known, (value, half)) in [d.rest, d.amplitude, d.time].into_iter().zip(want) {
            close(known.value, value, 1e-5);
            let [low, high] = known.interval.unwrap();
            close(high - low, 2.0 * half, 1e-4);
        }
        // A line has no time of decay.
        assert!(decay(&x, &x).is_none() && decay(&x[..3], &clean[..3]).is_none());

        let bent: Vec<f64> = x.iter().map(|&x| 1.0 + 2.0 * x - 1.5 * (x - 6.4).max(0.0)).collect();
        let k = knee(&x, &bent).unwrap();
        close(k.at.value, 6.4, 0.01);
        close(k.before.value, 2.0, 1e-2);
        close(k.after.value, 0.5, 1e-2);
        // With scatter the slopes are those of the lines apart, and so are their intervals but for the bend between them.
        let rough: Vec<f64> = bent.iter().enumerate().map(|(i, y)| y + if i % 2 == 0 { 0.1 } else { -0.1 }).collect();
        let k = knee(&x, &rough).unwrap();
        let [low, high] = k.before.interval.unwrap();
        assert!(low < 2.0 && 2.0 < high && high - low < 0.2, "{k:?}");
        let [low, high] = k.after.interval.unwrap();
        assert!(low < 0.5 && 0.5 < high && high - low < 0.2, "{k:?}");
        assert!(knee(&x[..4], &bent[..4]).is_none());
    }
}
