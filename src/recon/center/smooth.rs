//! Gaussian smoothing, averaging and spline coefficients of sinograms, as `scipy.ndimage` defines them.

use crate::num::elementary::exp;
use rayon::prelude::*;

/// Where a Gaussian ends, in standard deviations.
const TRUNCATE: f64 = 4.0;

/// Sample −r … n+r−1 of a signal of n that is reflected about its ends, `d c b a | a b c d | d c b a`.
fn reflect(i: isize, n: usize) -> usize {
    let place = i.rem_euclid(2 * n as isize) as usize;
    if place < n { place } else { 2 * n - 1 - place }
}

/// Weights 0 … r of a Gaussian, w_j = e^(−j²/2σ²) / Σ_(−r … r), r = ⌊4σ + ½⌋.
fn gaussian(sigma: f64) -> Vec<f64> {
    let radius = (TRUNCATE * sigma + 0.5) as usize;
    let half: Vec<f64> = (0..=radius).map(|j| exp(-0.5 / (sigma * sigma) * (j * j) as f64)).collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    half.into_iter().map(|w| w / sum).collect()
}

/// Smooths `[angle][column]` along the angles, then along the columns, borders reflected; sums in f64, from the ends
/// of the kernel to its middle.
pub fn blur(sinogram: &[f32], columns: usize, sigma: [f64; 2]) -> Vec<f32> {
    let angles = sinogram.len() / columns;
    let [along_angles, along_columns] = sigma.map(gaussian);
    let mut out = vec![0.0f32; sinogram.len()];
    out.par_chunks_mut(columns).enumerate().for_each(|(angle, out)| {
        let row = |offset: isize| &sinogram[reflect(angle as isize + offset, angles) * columns..][..columns];
        let mut sum = vec![0.0f64; columns];
        for (j, &weight) in along_angles.iter().enumerate().skip(1).rev() {
            for ((sum, &a), &b) in sum.iter_mut().zip(row(-(j as isize))).zip(row(j as isize)) {
                *sum += weight * (f64::from(a) + f64::from(b));
            }
        }
        for ((sum, &a), out) in sum.iter().zip(row(0)).zip(&mut *out) {
            *out = (sum + along_angles[0] * f64::from(a)) as f32;
        }
        let radius = along_columns.len() - 1;
        let wide: Vec<f64> =
            (0..columns + 2 * radius).map(|i| out[reflect(i as isize - radius as isize, columns)].into()).collect();
        sum.fill(0.0);
        for (j, &weight) in along_columns.iter().enumerate().skip(1).rev() {
            for ((sum, &a), &b) in sum.iter_mut().zip(&wide[radius - j..]).zip(&wide[radius + j..]) {
                *sum += weight * (a + b);
            }
        }
        for ((sum, &a), out) in sum.iter().zip(&wide[radius..]).zip(out) {
            *out = (sum + along_columns[0] * a) as f32;
        }
    });
    out
}

/// Means of `bin` neighbouring columns; columns left over at the end are dropped.
pub fn average(sinogram: &[f32], columns: usize, bin: usize) -> Vec<f32> {
    let mean = |group: &[f32]| group.iter().sum::<f32>() / bin as f32;
    sinogram.chunks_exact(columns).flat_map(|row| row.chunks_exact(bin).map(mean)).collect()
}

/// Pole of the cubic B-spline's inverse filter, √3 − 2.
const POLE: f64 = -0.267_949_192_431_122_7;
/// POLE^36 < 1e-20: what lies further from the border does not reach it.
const POLE_REACH: usize = 36;

/// Coefficients c of the cubic spline through n samples, Σ_j c_j β³(x − j), the signal mirrored about its end samples
/// (`c b | a b c d | c b`): (c_(j−1) + 4c_j + c_(j+1))/6 = sample j. In `wide`, c_(−1) … c_n. n ≥ 2.
pub fn spline(samples: &[f32], wide: &mut [f32], work: &mut [f64]) {
    let n = samples.len();
    let period = 2 * n - 2;
    // Forward: c⁺_0 = Σ_k z^k s_k over the mirrored signal, c⁺_j = s_j + z c⁺_(j−1).
    let mut power = 1.0;
    let mut sum = 0.0;
    for k in 0..POLE_REACH {
        let place = k % period;
        sum += power * f64::from(samples[place.min(period - place)]);
        power *= POLE;
    }
    work[0] = sum;
    for j in 1..n {
        work[j] = f64::from(samples[j]) + POLE * work[j - 1];
    }
    // Backward: c_j = z (c_(j+1) − c⁺_j), times 6.
    work[n - 1] = POLE / (POLE * POLE - 1.0) * (work[n - 1] + POLE * work[n - 2]);
    for j in (0..n - 1).rev() {
        work[j] = POLE * (work[j + 1] - work[j]);
    }
    for (wide, c) in wide[1..].iter_mut().zip(&*work) {
        *wide = (6.0 * c) as f32;
    }
    (wide[0], wide[n + 1]) = (wide[2], wide[n - 1]);
}

/// β³ at 1 + t, t, 1 − t and 2 − t.
pub fn spline_weights(t: f64) -> [f32; 4] {
    let u = 1.0 - t;
    let inner = |t: f64| 2.0 / 3.0 - t * t * (2.0 - t) / 2.0;
    [u * u * u / 6.0, inner(t), inner(u), t * t * t / 6.0].map(|w| w as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: usize = 7;

    /// 5 × 7 whole numbers, (37 i + 11) mod 23.
    fn array() -> Vec<f32> {
        (0..35).map(|i| ((i * 37 + 11) % 23) as f32).collect()
    }

    #[test]
    fn smoothing_agrees_with_scipy() {
        // scipy 1.13.1, ndimage.gaussian_filter(array, sigma, mode='reflect'), row 3. The kernel is longer than the array.
        let expected = [
            ([3.0, 1.0], [9.494384, 10.547802, 11.6245165, 11.96817, 12.110819, 11.390241, 10.741457]),
            ([2.0, 2.0], [10.342959, 10.649575, 11.081971, 11.420326, 11.549827, 11.508111, 11.429339f32]),
        ];
        for (sigma, row) in expected {
            let got = blur(&array(), COLUMNS, sigma);
            for (g, w) in got[3 * COLUMNS..][..COLUMNS].iter().zip(row) {
                // Two roundings to f32 on either side.
                assert!((g - w).abs() <= 4.0 * f32::EPSILON * w, "{sigma:?}: {g} {w}");
            }
        }
    }

    #[test]
    fn smoothing_keeps_the_sum_and_a_constant() {
        let got: f64 = blur(&array(), COLUMNS, [3.0, 1.0]).iter().map(|&v| f64::from(v)).sum();
        let sum: f64 = array().iter().map(|&v| f64::from(v)).sum();
        assert!((got - sum).abs() < 1e-6 * sum, "{got} {sum}");
        assert!(blur(&[2.5; 35], COLUMNS, [2.0, 2.0]).iter().all(|v| (v - 2.5).abs() < 1e-6));
    }

    #[test]
    fn the_spline_passes_through_its_samples_and_agrees_with_scipy_between_them() {
        let row = &array()[COLUMNS..2 * COLUMNS];
        let mut wide = [f32::NAN; COLUMNS + 2];
        spline(row, &mut wide, &mut [f64::NAN; COLUMNS]);
        let at = |base: usize, t: f64| -> f32 { spline_weights(t).iter().zip(&wide[base..]).map(|(w, c)| w * c).sum() };
        for j in 0..COLUMNS - 1 {
            assert!((at(j, 0.0) - row[j]).abs() < 1e-5 && (at(j, 1.0) - row[j + 1]).abs() < 1e-5, "{j}");
        }
        // scipy 1.13.1, ndimage.shift(array, (0, s), order=3)[1] for s = 1.5, columns 2 … 6, and s = −2.25, columns 0 … 3.
        let half = [12.269231, 14.278846, 20.615385, 5.3846154, 11.721154];
        let quarter = [22.475962, 8.802885, 7.171875, 16.853365];
        for (j, want) in half.into_iter().enumerate() {
            assert!((at(j, 0.5) - want).abs() < 1e-5, "{j}: {} {want}", at(j, 0.5));
        }
        for (j, want) in quarter.into_iter().enumerate() {
            assert!((at(j + 2, 0.25) - want).abs() < 1e-5, "{j}: {} {want}", at(j + 2, 0.25));
        }
    }

    #[test]
    fn averaging_drops_what_is_left_over() {
        assert_eq!(average(&[1.0, 2.0, 9.0, 3.0, 5.0, 9.0], 3, 2), [1.5, 4.0]);
    }
}
