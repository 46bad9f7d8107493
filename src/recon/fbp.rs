//! `fbp`: filtered back-projection, term by term in f64: slow, and what `gridrec` is held against.
//!
//! ```text
//! image(X, Y) = Σ_θ w_θ q_θ(X cos θ + Y sin θ + c)                                    θ in the order of the projections
//! q_θ(s)      = (1/P) Σ_k B_k F_θ[k] e^(2πi ks/P),   k = −P/2 … P/2, the two ends with half weight each
//! F_θ[k]      = Σ_j p[θ][j] e^(−2πi jk/P)
//! ```
//!
//! p: sinogram; c: axis; w: angle weights; B: [`Filter::response`]; P: smallest even 2^a 3^b 5^c ≥ 2N − 1, so that
//! the filter acts as a linear convolution of the N samples. q has the period P, and the corners of the image, which
//! look past the detector's ends, take it as it is. Orientation: [`axis_pixel`]; values per detector pixel.
//!
//! **Interpolation.** q is no table to be interpolated linearly but a trigonometric polynomial of degree P/2. It is
//! computed exactly at [`UPSAMPLING`] points per pixel, by padding its spectrum with zeros, and taken between them by
//! the polynomial of degree 5 through the 6 nearest. Bernstein's inequality bounds the sixth derivative by π⁶ max|q|,
//! so that
//!
//! ```text
//! |error| ≤ π⁶ max|q| / 6! · (½ · ³⁄₂ · ⁵⁄₂)² / 16⁶ = 2.8e-7 max|q|
//! ```
//!
//! The transforms are this file's own, so that the oracle shares no arithmetic with what it judges.
//!
//! **Cost.** N² T interpolations of 6 points: seconds for 640 columns × 1500 angles. **Memory.** 8 bytes per pixel and
//! [`BATCH`] upsampled projections. A NaN or infinity in a slice makes all of its image NaN.

use super::filter::Filter;
use super::geometry::{Angles, axis_pixel};
use super::gridrec::check_columns;
use crate::error::Result;
use crate::fft::{Direction, next_even_smooth, root_of_unity};
use rayon::prelude::*;

/// Points per detector pixel at which q is computed exactly.
pub const UPSAMPLING: usize = 16;
/// Bound of the interpolation's error relative to max|q|, derived in the [module](self).
pub const INTERPOLATION_ERROR: f64 = 2.8e-7;
/// Upsampled projections held at a time; even.
const BATCH: usize = 64;
/// Image rows that use one table before the next is loaded.
const ROWS: usize = 16;
/// Points of a table before its first interval's left end, and after its last interval's left end.
const BEFORE: usize = 2;
const AFTER: usize = 3;

/// Filtered back-projection for one geometry.
pub struct Fbp {
    columns: usize,
    padded: usize,
    /// cos θ, sin θ, w by angle.
    directions: Vec<[f64; 3]>,
    response: Vec<f64>,
    forward: Transform,
    inverse: Transform,
}

impl Fbp {
    /// Prepares `columns` detector columns, one projection per angle.
    ///
    /// # Errors
    /// If there are fewer than 2 or too many columns.
    pub fn new(columns: usize, angles: &Angles, filter: &Filter) -> Result<Fbp> {
        check_columns(columns)?;
        let padded = next_even_smooth(2 * columns - 1);
        let directions =
            (0..angles.len()).map(|i| [angles.cosines()[i], angles.sines()[i], angles.weights()[i]]).collect();
        Ok(Fbp {
            columns,
            padded,
            directions,
            response: filter.response(padded),
            forward: Transform::new(padded, Direction::Forward),
            inverse: Transform::new(padded * UPSAMPLING, Direction::Inverse),
        })
    }

    /// Number of projections.
    pub fn angles(&self) -> usize {
        self.directions.len()
    }

    /// Bytes of tables, and of what one slice takes while it is computed.
    pub fn bytes(&self) -> [usize; 2] {
        let (long, pixels) = (self.padded * UPSAMPLING, self.columns * self.columns);
        [40 * long, BATCH * (long + BEFORE + AFTER) * 8 + 12 * pixels + 4 * self.angles() * self.columns]
    }

    /// Reconstructs one slice with the axis `center` (pixel index) into `image` (N × N, row-major); column j of
    /// projection θ is `data[θ·angle_stride + j]`.
    ///
    /// # Panics
    /// If a length does not fit the geometry: a caller's bug.
    pub fn run(&self, data: &[f32], angle_stride: usize, center: f64, image: &mut [f32]) {
        let n = self.columns;
        let needed = (self.directions.len() - 1) * angle_stride + n;
        assert!(data.len() >= needed, "sinogram of {} values, {needed} needed", data.len());
        assert_eq!(image.len(), n * n, "an image of {n} × {n}");
        // A pixel lies less than 0.71 N from the axis: s stays within 0 … 3P, where `at` wants it.
        let center = center.rem_euclid(self.padded as f64) + self.padded as f64;
        let (axis_row, axis_column) = axis_pixel(n);
        let mut sums = vec![0.0f64; n * n];
        for (batch, directions) in self.directions.chunks(BATCH).enumerate() {
            let row = |i: usize| (i < directions.len()).then(|| &data[(batch * BATCH + i) * angle_stride..][..n]);
            let pairs: Vec<[Vec<f64>; 2]> = (0..directions.len().div_ceil(2))
                .into_par_iter()
                .map(|pair| self.filtered(row(2 * pair).unwrap_or(&[]), row(2 * pair + 1).unwrap_or(&[])))
                .collect();
            sums.par_chunks_mut(ROWS * n).enumerate().for_each(|(block, sums)| {
                for (&[cos, sin, weight], table) in directions.iter().zip(pairs.iter().flatten()) {
                    for (i, sums) in sums.chunks_exact_mut(n).enumerate() {
                        let y = axis_row as f64 - (block * ROWS + i) as f64;
                        let s_y = y * sin + center;
                        for (column, sum) in sums.iter_mut().enumerate() {
                            let x = column as f64 - axis_column as f64;
                            *sum += weight * at(table, x * cos + s_y);
                        }
                    }
                }
            });
        }
        for (value, &sum) in image.iter_mut().zip(&sums) {
            *value = sum as f32;
        }
    }

    /// Two filtered projections, `table[BEFORE + i]` = q(i/16) over one period and a few points to either side.
    ///
    /// The two rows are the real and the imaginary part of one complex row: filter and transforms are linear and the
    /// filter is real and even, so the parts stay apart.
    fn filtered(&self, real: &[f32], imaginary: &[f32]) -> [Vec<f64>; 2] {
        let (p, length) = (self.padded, self.padded * UPSAMPLING);
        let value = |row: &[f32], j: usize| row.get(j).map_or(0.0, |&v| f64::from(v));
        let samples: Vec<[f64; 2]> = (0..p).map(|j| [value(real, j), value(imaginary, j)]).collect();
        let mut spectrum = vec![[0.0; 2]; p];
        self.forward.run(&samples, &mut spectrum);

        let mut wide = vec![[0.0; 2]; length];
        let half = p / 2;
        for k in 0..=half {
            let ends = if k == half { 0.5 } else { 1.0 };
            let scale = ends * self.response[k] / p as f64;
            let scaled = |[re, im]: [f64; 2]| [scale * re, scale * im];
            wide[k] = scaled(spectrum[k]);
            if k > 0 {
                wide[length - k] = scaled(spectrum[p - k]);
            }
        }
        let mut fine = vec![[0.0; 2]; length];
        self.inverse.run(&wide, &mut fine);
        [0, 1].map(|part| (0..BEFORE + length + AFTER).map(|i| fine[(i + length - BEFORE) % length][part]).collect())
    }
}

/// q(s) from its table, 0 ≤ s < 3P, by the polynomial through the points i − 2 … i + 3 for i ≤ 16 s < i + 1.
///
/// With t = 16 s − i the weight of point m is Π (t − m')/(m − m') over the other five points m'.
#[inline(always)]
fn at(table: &[f64], s: f64) -> f64 {
    let period = table.len() - BEFORE - AFTER;
    let position = s * UPSAMPLING as f64;
    // Truncation is the floor of what is not negative, and costs less.
    let mut i = position as usize;
    let t = position - i as f64;
    while i >= period {
        i -= period;
    }
    let q = &table[i..i + BEFORE + 1 + AFTER];
    let (a, b, c, d, e, f) = (t + 2.0, t + 1.0, t, t - 1.0, t - 2.0, t - 3.0);
    let (ab, cd, ef) = (a * b, c * d, e * f);
    (q[5] * (ab * cd * e) - q[0] * (b * cd * ef)) / 120.0
        + (q[1] * (a * cd * ef) - q[4] * (ab * cd * f)) / 24.0
        + (q[3] * (ab * c * ef) - q[2] * (ab * d * ef)) / 12.0
}

/// `X[k] = Σ_j x[j] e^(∓2πi jk/n)` for complex f64 `[re, im]`, n = 2^a 3^b 5^c, not normalised.
struct Transform {
    /// Radices, the first splits the whole length.
    radices: Vec<usize>,
    /// e^(∓2πi k/n).
    roots: Vec<[f64; 2]>,
}

impl Transform {
    fn new(n: usize, direction: Direction) -> Transform {
        let mut radices = Vec::new();
        let mut rest = n;
        for radix in [4, 2, 3, 5] {
            while rest.is_multiple_of(radix) {
                radices.push(radix);
                rest /= radix;
            }
        }
        assert_eq!(rest, 1, "a length of 2^a 3^b 5^c");
        let sign = if direction == Direction::Forward { -1.0 } else { 1.0 };
        let roots = (0..n).map(|k| root_of_unity(k, n)).map(|[c, s]| [c, sign * s]).collect();
        Transform { radices, roots }
    }

    fn run(&self, from: &[[f64; 2]], to: &mut [[f64; 2]]) {
        self.split(&self.radices, from, 1, to);
    }

    /// Decimation in time: the transform of every `stride`-th value of `from`. With n = r·m, the r transforms of
    /// length m of the values j ≡ i (mod r) come first, then
    ///
    /// ```text
    /// X[k + q m] = Σ_i e^(∓2πi iq/r) · (e^(∓2πi ik/n) X_i[k]),   k = 0 … m − 1, q = 0 … r − 1
    /// ```
    fn split(&self, radices: &[usize], from: &[[f64; 2]], stride: usize, to: &mut [[f64; 2]]) {
        let Some((&radix, rest)) = radices.split_first() else {
            to[0] = from[0];
            return;
        };
        let m = to.len() / radix;
        for (i, part) in to.chunks_exact_mut(m).enumerate() {
            self.split(rest, &from[i * stride..], stride * radix, part);
        }
        let mut turned = [[0.0; 2]; 5];
        let of_radix: [[f64; 2]; 5] = std::array::from_fn(|i| self.roots[i % radix * (self.roots.len() / radix)]);
        for k in 0..m {
            for i in 0..radix {
                // roots belong to the whole length n·stride.
                turned[i] = multiply(to[i * m + k], self.roots[i * k * stride]);
            }
            for q in 0..radix {
                let mut sum = turned[0];
                for i in 1..radix {
                    let [re, im] = multiply(turned[i], of_radix[i * q % radix]);
                    sum = [sum[0] + re, sum[1] + im];
                }
                to[q * m + k] = sum;
            }
        }
    }
}

fn multiply(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::fft::dft::dft;
    use crate::num::elementary::{cos_pi, sincos};
    use crate::phantom::discs::{Disc, Sampling, mean_inside, sinogram};
    use std::f64::consts::PI;

    /// Numbers in −1 … 1 without a pattern (a linear congruence, Knuth's constants).
    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((state >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
            })
            .collect()
    }

    /// q(s) as the sum stands, with no fast transform and no symmetry.
    fn exact(row: &[f32], response: &[f64], p: usize, s: f64) -> f64 {
        let x: Vec<[f64; 2]> = (0..p).map(|j| [row.get(j).map_or(0.0, |&v| f64::from(v)), 0.0]).collect();
        let spectrum = dft(&x, Direction::Forward);
        let half = (p / 2) as i64;
        (-half..=half)
            .map(|k| {
                let [re, im] = spectrum[k.rem_euclid(p as i64) as usize];
                let (sin, cos) = sincos(2.0 * PI * k as f64 * s / p as f64);
                let ends = if k.abs() == half { 0.5 } else { 1.0 };
                ends * response[k.unsigned_abs() as usize] * (re * cos - im * sin) / p as f64
            })
            .sum()
    }

    #[test]
    fn the_transform_is_its_definition() {
        for n in [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 30, 36, 48, 60, 64, 75, 80, 135, 240, 1280] {
            let x: Vec<[f64; 2]> =
                noise(n, 3).iter().zip(noise(n, 4)).map(|(&a, b)| [f64::from(a), f64::from(b)]).collect();
            for direction in [Direction::Forward, Direction::Inverse] {
                let mut got = vec![[f64::NAN; 2]; n];
                Transform::new(n, direction).run(&x, &mut got);
                // Both sum n terms of size about 1 in f64; the fast one in log n steps.
                let tolerance = 1e-15 * (n as f64 + 2.0);
                for (k, (g, w)) in got.iter().zip(dft(&x, direction)).enumerate() {
                    let far = (g[0] - w[0]).abs().max((g[1] - w[1]).abs());
                    assert!(far < tolerance, "n {n} k {k}: {g:?} {w:?}");
                }
            }
        }
    }

    #[test]
    fn a_filtered_projection_is_its_trigonometric_sum_everywhere() {
        // White noise holds as much of the highest frequency as a row can.
        for (columns, name) in [(2, "ramlak"), (13, "ramlak"), (16, "none"), (37, "shepp"), (40, "ramlak")] {
            let angles = Angles::half_turn(3).unwrap();
            let fbp = Fbp::new(columns, &angles, &Filter::parse(name, &[]).unwrap()).unwrap();
            let p = fbp.padded;
            assert!(p >= 2 * columns - 1);
            let rows = [noise(columns, 5), noise(columns, 6)];
            let tables = fbp.filtered(&rows[0], &rows[1]);
            let alone = fbp.filtered(&rows[0], &[]);
            let (mut worst, mut largest) = (0.0f64, 0.0f64);
            for i in 0..160 {
                // Three periods, a different place within the pixel and between two points of the table each time.
                let s = 3.0 * p as f64 * (f64::from(i) + 0.37) / 160.0;
                for (row, table) in rows.iter().zip(&tables) {
                    let want = exact(row, &fbp.response, p, s);
                    worst = worst.max((at(table, s) - want).abs());
                    largest = largest.max(want.abs());
                }
                assert!((at(&tables[0], s) - at(&alone[0], s)).abs() < 1e-13, "the partner does not matter");
            }
            assert!(worst <= INTERPOLATION_ERROR * largest, "{name} {columns}: {worst:e} of {largest}");
            assert!(alone[1].iter().all(|v| v.abs() < 1e-13));
        }
        let bound = PI.powi(6) / 720.0 * (0.5f64 * 1.5 * 2.5).powi(2) / (UPSAMPLING as f64).powi(6);
        assert!(bound <= INTERPOLATION_ERROR && INTERPOLATION_ERROR < 1.01 * bound, "{bound}");
    }

    #[test]
    fn the_interpolation_is_as_wrong_as_its_bound_allows() {
        // The bound is met by the highest frequency, cos πs, half-way between two points near its peak: a lower order
        // or coarser table would show here.
        let p = 48;
        let length = p * UPSAMPLING;
        let q = |i: usize| cos_pi((i + length - BEFORE) as f64 / UPSAMPLING as f64);
        let table: Vec<f64> = (0..BEFORE + length + AFTER).map(q).collect();
        let worst = (0..20 * length)
            .map(|i| (f64::from(i as u32) + 0.5) / (20 * UPSAMPLING) as f64)
            .map(|s| (at(&table, s) - cos_pi(s)).abs())
            .fold(0.0, f64::max);
        assert!(worst <= INTERPOLATION_ERROR && worst > 0.9 * INTERPOLATION_ERROR, "{worst:e}");
    }

    #[test]
    fn at_the_detectors_pixels_the_filter_is_a_linear_convolution() {
        // q(s) = Σ_j p[j] r[s − j] with r the ramp's samples in space: no period, no transform.
        let columns = 32;
        let fbp = Fbp::new(columns, &Angles::half_turn(2).unwrap(), &Filter::parse("ramlak", &[]).unwrap()).unwrap();
        let row = noise(columns, 8);
        let table = &fbp.filtered(&row, &[])[0];
        for s in 0..columns {
            let want: f64 = (0..columns)
                .map(|j| {
                    let n = s.abs_diff(j);
                    let r = match n {
                        0 => 0.25,
                        _ if n % 2 == 1 => -1.0 / (PI * n as f64).powi(2),
                        _ => 0.0,
                    };
                    f64::from(row[j]) * r
                })
                .sum();
            assert!((at(table, s as f64) - want).abs() < 1e-13);
        }
    }

    #[test]
    fn the_image_is_the_double_sum() {
        // Angles with unequal gaps, odd and even widths, an axis off centre and one off the detector, strided rows.
        let angles = Angles::new(&[0.1, 0.5, 0.7, 1.6, 2.2, 2.9, 3.1], Some(crate::units::AngleUnit::Radian));
        let angles = angles.unwrap();
        for (columns, center) in [(12, 5.5), (13, 6.0), (12, 7.81), (13, -20.0), (2, 0.5)] {
            let stride = columns + 3;
            let data = noise(angles.len() * stride, 9);
            let fbp = Fbp::new(columns, &angles, &Filter::default()).unwrap();
            let mut image = vec![f32::NAN; columns * columns];
            fbp.run(&data, stride, center, &mut image);
            let (axis_row, axis_column) = axis_pixel(columns);
            for r in 0..columns {
                for c in 0..columns {
                    let (x, y) = (c as f64 - axis_column as f64, axis_row as f64 - r as f64);
                    let want: f64 = (0..angles.len())
                        .map(|i| {
                            let s = x * angles.cosines()[i] + y * angles.sines()[i] + center;
                            let row = &data[i * stride..i * stride + columns];
                            angles.weights()[i] * exact(row, &fbp.response, fbp.padded, s)
                        })
                        .sum();
                    // Σ w max|q| is about π; f32 rounds the result.
                    let far = (f64::from(image[r * columns + c]) - want).abs();
                    assert!(far < PI * INTERPOLATION_ERROR + 1e-7, "{columns} ({r}, {c}): {far:e}");
                }
            }
        }
    }

    #[test]
    fn a_disc_comes_out_at_its_place_with_its_attenuation() {
        let disc = Disc { x: 9.0, y: -14.0, radius: 8.0, mu: 0.01 };
        let angles = Angles::half_turn(180).unwrap();
        let columns = 64;
        let rows = sinogram(&[disc], angles.radians(), columns, 30.2, Sampling::Pixel);
        let rows: Vec<f32> = rows.iter().map(|&v| v as f32).collect();
        let mut image = vec![0.0; columns * columns];
        Fbp::new(columns, &angles, &Filter::parse("ramlak", &[]).unwrap())
            .unwrap()
            .run(&rows, columns, 30.2, &mut image);
        let mean = mean_inside(&image, columns, &disc, 6.0).unwrap();
        assert!((mean / disc.mu - 1.0).abs() < 0.005, "{mean}");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let angles = Angles::half_turn(BATCH + 3).unwrap();
        let columns = 30;
        let data = noise(angles.len() * columns, 10);
        let fbp = Fbp::new(columns, &angles, &Filter::default()).unwrap();
        let image = |threads: usize| -> Vec<u32> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut image = vec![0.0; columns * columns];
            pool.install(|| fbp.run(&data, columns, 14.3, &mut image));
            image.iter().map(|v| v.to_bits()).collect()
        };
        let one = image(1);
        assert!(one == image(2) && one == image(5));
    }

    #[test]
    fn what_is_not_a_number_fills_its_image_and_odd_detectors_are_refused() {
        let angles = Angles::half_turn(5).unwrap();
        let fbp = Fbp::new(8, &angles, &Filter::default()).unwrap();
        let mut image = [0.0; 64];
        let mut data = [1.0; 40];
        data[11] = f32::NAN;
        fbp.run(&data, 8, 4.0, &mut image);
        assert!(image.iter().all(|v| v.is_nan()));
        fbp.run(&[1.0; 40], 8, f64::INFINITY, &mut image);
        assert!(image.iter().all(|v| v.is_nan()));
        for columns in [0, 1, usize::MAX] {
            let refused = Fbp::new(columns, &angles, &Filter::default()).err();
            assert_eq!(refused.map(|e| e.fault()), Some(Fault::Data));
        }
    }
}
