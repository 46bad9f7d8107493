//! `fbp`: filtered back-projection in f64, evaluated as it is defined. Slow; the oracle of the others.
//!
//! ```text
//! image(X, Y) = Σ_θ w_θ q_θ(X cos θ + Y sin θ + c)
//! q_θ(s) = (1/P) Σ_k B_k F_θ[k] e^(2πi ks/P),    k = −P/2 … P/2, the two ends with half weight each
//! ```
//!
//! F_θ is the transform of the projection padded with zeros to P ≥ 2N − 1 samples (P even and 2^a 3^b 5^c), so B, the
//! filter, acts as a linear convolution; w_θ are the angle weights. q_θ is a trigonometric polynomial, known between
//! the samples as well as on them: nothing is interpolated linearly, which would blur.
//!
//! **Evaluation.** q_θ and its first derivatives are computed on R = 4 nodes per detector pixel, exactly, from the
//! spectrum; between nodes a Taylor series of 8 terms about the nearest one is summed. For the highest frequency,
//! half a cycle per pixel, the first term left out is (π/(2R))^8/8! = 1.4e-8 of its amplitude, so an image is within
//! 2e-8 of the sum above, relative to the sum of the amplitudes. A node's 8 coefficients are one cache line.
//!
//! Each pixel has one accumulator and adds the angles in order, so the bits do not depend on threads.
//! Units and orientation are those of `gridrec`; see [`super::geometry`].

use super::filter::Filter;
use super::geometry::{Angles, axis_pixel};
use crate::error::{Error, Result};
use crate::fft::{next_even_smooth, root_of_unity};
use rayon::prelude::*;
use std::f64::consts::PI;

/// Nodes per detector pixel.
const NODES: usize = 4;
/// Terms of the Taylor series about a node; even, for two are transformed together.
const TERMS: usize = 8;
/// Angles whose tables are held at a time: 16 × 1 MiB for 2048 columns.
const ANGLES: usize = 16;

/// Of the lengths that are transformed.
const LARGEST_PRIME: usize = 5;

/// Taylor coefficients of q about a node, by power of the distance in nodes.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Node([f64; TERMS]);

/// A planned reconstruction; everything that depends on the geometry only.
pub struct Fbp {
    columns: usize,
    padded: usize,
    angles: Angles,
    response: Vec<f64>,
    forward: Fourier,
    inverse: Fourier,
}

impl Fbp {
    /// Plans slices of `columns` × `columns` pixels.
    ///
    /// # Errors
    /// Bad data: fewer than 2 columns, or more than can be reconstructed.
    pub fn new(columns: usize, angles: &Angles, filter: &Filter) -> Result<Fbp> {
        super::gridrec::check_columns(columns)?;
        let padded = next_even_smooth(2 * columns - 1);
        Ok(Fbp {
            columns,
            padded,
            angles: angles.clone(),
            response: filter.response(padded),
            forward: Fourier::new(padded, -1.0),
            inverse: Fourier::new(padded * NODES, 1.0),
        })
    }

    /// Padded length P of a projection.
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// Reconstructs one slice into `image` (N × N, row-major) in units of the sinogram per detector pixel.
    ///
    /// The projection of angle i starts at `data[i · angle_stride]`; `center` is the axis, first pixel centre = 0.
    ///
    /// # Errors
    /// A caller's bug: a length that does not fit the geometry, or an axis that is not finite.
    pub fn run(&self, data: &[f32], angle_stride: usize, center: f64, image: &mut [f64]) -> Result<()> {
        let (n, angles) = (self.columns, self.angles.len());
        if image.len() != n * n || data.len() < (angles - 1) * angle_stride + n || !center.is_finite() {
            return Err(Error::bug(format!(
                "{} values, stride {angle_stride}, axis {center}, for {angles} angles and {n} columns",
                data.len()
            )));
        }
        image.fill(0.0);
        let (axis_row, axis_column) = axis_pixel(n);
        for first in (0..angles).step_by(ANGLES) {
            let block = first..(first + ANGLES).min(angles);
            let tables: Vec<Vec<Node>> =
                block.clone().into_par_iter().map(|i| self.table(&data[i * angle_stride..][..n])).collect();
            image.par_chunks_mut(n).enumerate().for_each(|(row, pixels)| {
                let y = axis_row as f64 - row as f64;
                for (table, i) in tables.iter().zip(block.clone()) {
                    let (cos, weight) = (self.angles.cos()[i], self.angles.weights()[i]);
                    let start = y * self.angles.sin()[i] + center;
                    for (column, pixel) in pixels.iter_mut().enumerate() {
                        let s = (column as f64 - axis_column as f64) * cos + start;
                        *pixel += weight * evaluate(table, s);
                    }
                }
            });
        }
        Ok(())
    }

    /// The nodes of q for one projection.
    fn table(&self, projection: &[f32]) -> Vec<Node> {
        let (p, half) = (self.padded, self.padded / 2);
        let mut row = vec![[0.0; 2]; p];
        row.iter_mut().zip(projection).for_each(|(r, &v)| r[0] = f64::from(v));
        let mut spectrum = vec![[0.0; 2]; p];
        self.forward.run(&row, &mut spectrum);

        let length = p * NODES;
        let mut nodes = vec![Node([0.0; TERMS]); length];
        let (mut pair, mut values) = (vec![[0.0; 2]; length], vec![[0.0; 2]; length]);
        // (B_k F_k / P) (iω)^m / m!, ω = 2πk/(P R) the phase per node, for two m at a time.
        let mut terms: Vec<[f64; 2]> = (0..=half)
            .map(|k| {
                let scale = self.response[k] / p as f64 * if k == half { 0.5 } else { 1.0 };
                [spectrum[k][0] * scale, spectrum[k][1] * scale]
            })
            .collect();
        let omega = 2.0 * PI / length as f64;
        for m in (0..TERMS).step_by(2) {
            pair.fill([0.0; 2]);
            for (k, term) in terms.iter_mut().enumerate() {
                // The next term: times iω/(m + 1); the one after: times iω/(m + 2) once more.
                let [re, im] = *term;
                let w = omega * k as f64;
                let next = [-im * w / (m + 1) as f64, re * w / (m + 1) as f64];
                *term = [-next[1] * w / (m + 2) as f64, next[0] * w / (m + 2) as f64];
                // Two real signals a, b in one transform: A + iB at k, and conj(A) + i conj(B) at −k.
                pair[k] = [re - next[1], im + next[0]];
                if k > 0 {
                    pair[length - k] = [re + next[1], next[0] - im];
                }
            }
            self.inverse.run(&pair, &mut values);
            for (node, v) in nodes.iter_mut().zip(&values) {
                node.0[m] = v[0];
                node.0[m + 1] = v[1];
            }
        }
        nodes
    }
}

/// q(s) from the nearest node; q has period P.
#[inline]
fn evaluate(nodes: &[Node], s: f64) -> f64 {
    let u = s * NODES as f64;
    // ⌊u + ½⌋ through the integers: on baseline x86-64 `floor` is a function call.
    let mut place = (u + 0.5) as isize;
    place -= isize::from(place as f64 > u + 0.5);
    let t = u - place as f64;
    let node = match nodes.get(place as usize) {
        Some(node) => node,
        None => &nodes[place.rem_euclid(nodes.len() as isize) as usize],
    };
    node.0[..TERMS - 1].iter().rev().fold(node.0[TERMS - 1], |sum, c| sum * t + c)
}

/// Complex transforms in f64, by recursion over the prime factors of the length: X[k] = Σ_j x[j] e^(±2πi jk/n).
///
/// Decimation in time: with n = p·m, the p subsequences x[pj + r] are transformed (length m), turned by
/// e^(±2πi rk/n), and combined by the p-point sum. Lengths are 2^a 3^b 5^c.
struct Fourier {
    roots: Vec<[f64; 2]>,
}

impl Fourier {
    fn new(n: usize, sign: f64) -> Fourier {
        Fourier {
            roots: (0..n)
                .map(|k| {
                    let [c, s] = root_of_unity(k, n);
                    [c, sign * s]
                })
                .collect(),
        }
    }

    fn run(&self, x: &[[f64; 2]], out: &mut [[f64; 2]]) {
        self.recurse(x, 1, out);
    }

    /// Transforms every `step`-th number of `x` into `out`; the roots of the shorter length are every `step`-th.
    fn recurse(&self, x: &[[f64; 2]], step: usize, out: &mut [[f64; 2]]) {
        let n = out.len();
        if n == 1 {
            out[0] = x[0];
            return;
        }
        let p = (2..).find(|p| n.is_multiple_of(*p)).unwrap_or(n);
        let m = n / p;
        for (r, part) in out.chunks_exact_mut(m).enumerate() {
            self.recurse(&x[r * step..], step * p, part);
        }
        let mut buffer = [[0.0; 2]; LARGEST_PRIME];
        let turned = &mut buffer[..p];
        for k in 0..m {
            for (r, t) in turned.iter_mut().enumerate() {
                *t = multiply(out[r * m + k], self.roots[r * k * step]);
            }
            if p == 2 {
                let [a, b] = [turned[0], turned[1]];
                out[k] = [a[0] + b[0], a[1] + b[1]];
                out[k + m] = [a[0] - b[0], a[1] - b[1]];
                continue;
            }
            for q in 0..p {
                let mut sum = turned[0];
                for (r, &t) in turned.iter().enumerate().skip(1) {
                    let v = multiply(t, self.roots[(r * q % p) * m * step]);
                    sum = [sum[0] + v[0], sum[1] + v[1]];
                }
                out[k + q * m] = sum;
            }
        }
    }
}

fn multiply(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

#[cfg(test)]
mod tests {
    use super::super::geometry::AngleUnit;
    use super::*;
    use crate::error::Fault;
    use crate::fft::{Direction, dft::dft};

    /// Numbers in −1 … 1 without a pattern.
    fn value(i: usize) -> f32 {
        ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0
    }

    #[test]
    fn the_transform_is_its_definition() {
        for n in [1usize, 2, 3, 4, 5, 30, 100, 128] {
            let x: Vec<[f64; 2]> = (0..n).map(|i| [value(i).into(), value(i + 500).into()]).collect();
            for (sign, direction) in [(-1.0, Direction::Forward), (1.0, Direction::Inverse)] {
                let mut got = vec![[0.0; 2]; n];
                Fourier::new(n, sign).run(&x, &mut got);
                for (g, w) in got.iter().zip(dft(&x, direction)) {
                    assert!((g[0] - w[0]).abs() + (g[1] - w[1]).abs() < 1e-13 * n as f64, "n {n}");
                }
            }
        }
    }

    /// q(s) as the sum in the head of this file.
    fn exact(fbp: &Fbp, projection: &[f32], s: f64) -> f64 {
        let p = fbp.padded;
        let mut row = vec![[0.0; 2]; p];
        row.iter_mut().zip(projection).for_each(|(r, &v)| r[0] = v.into());
        let f = dft(&row, Direction::Forward);
        let mut sum = 0.0;
        for k in 0..=p / 2 {
            // k and −k together; at the end each has half weight.
            let both = if k == 0 || 2 * k == p { 1.0 } else { 2.0 };
            let phase = 2.0 * PI * k as f64 * s / p as f64;
            sum += both * fbp.response[k] / p as f64 * (f[k][0] * phase.cos() - f[k][1] * phase.sin());
        }
        sum
    }

    #[test]
    fn between_the_samples_it_is_the_trigonometric_polynomial() {
        let angles = Angles::half_turn(3).unwrap();
        // `none` keeps the highest frequency at full strength: the worst case.
        for (n, name) in [(2, "none"), (16, "none"), (31, "ramlak"), (31, "none")] {
            let fbp = Fbp::new(n, &angles, &Filter::parse(name, &[]).unwrap()).unwrap();
            let projection: Vec<f32> = (0..n).map(value).collect();
            let table = fbp.table(&projection);
            // 1.4e-8 of the amplitude of each frequency, Σ|B_k F_k|/P ≤ √n for |x| ≤ 1 (Parseval, Cauchy-Schwarz).
            let tolerance = 2e-8 * (n as f64).sqrt();
            for i in 0..500 {
                let s = -1.5 * n as f64 + i as f64 * (4.0 * n as f64 / 500.0);
                let (got, want) = (evaluate(&table, s), exact(&fbp, &projection, s));
                assert!((got - want).abs() < tolerance, "{name} {n} at {s}: {got} {want}");
            }
        }
    }

    #[test]
    fn on_the_samples_it_is_the_linear_convolution_with_the_ramp() {
        let n = 21;
        let fbp = Fbp::new(n, &Angles::half_turn(2).unwrap(), &Filter::parse("ramlak", &[]).unwrap()).unwrap();
        let projection: Vec<f32> = (0..n).map(value).collect();
        let table = fbp.table(&projection);
        for i in 0..n {
            let mut want = 0.0;
            for (j, &v) in projection.iter().enumerate() {
                let d = i.abs_diff(j);
                let r = if d == 0 { 0.25 } else { -((d % 2) as f64) / (PI * d as f64).powi(2) };
                want += r * f64::from(v);
            }
            assert!((evaluate(&table, i as f64) - want).abs() < 1e-13, "{i}");
        }
    }

    #[test]
    fn the_image_is_the_weighted_sum_over_angles() {
        let (n, stride) = (9, 11);
        let degrees: Vec<f64> = [3.0, 20.0, 55.0, 90.0, 140.0, 141.0].to_vec();
        let angles = Angles::new(&degrees, Some(AngleUnit::Degree)).unwrap();
        let fbp = Fbp::new(n, &angles, &Filter::default()).unwrap();
        let data: Vec<f32> = (0..6 * stride).map(value).collect();
        let mut image = vec![f64::NAN; n * n];
        fbp.run(&data, stride, 3.3, &mut image).unwrap();
        let (axis_row, axis_column) = (3.0, 5.0);
        for row in 0..n {
            for column in 0..n {
                let (x, y) = (column as f64 - axis_column, axis_row - row as f64);
                let mut want = 0.0;
                for i in 0..6 {
                    let s = x * angles.cos()[i] + y * angles.sin()[i] + 3.3;
                    want += angles.weights()[i] * exact(&fbp, &data[i * stride..][..n], s);
                }
                let got = image[row * n + column];
                assert!((got - want).abs() < 2e-7, "{row} {column}: {got} {want}");
            }
        }
    }

    /// Pixel means of the projections of a disc at (x, y) of radius r, attenuation 1.
    fn disc(angles: &Angles, n: usize, center: f64, x: f64, y: f64, r: f64) -> Vec<f32> {
        let area = |t: f64| {
            let t = t.clamp(-r, r);
            t * (r * r - t * t).sqrt() + r * r * (t / r).asin()
        };
        let mut data = Vec::new();
        for (cos, sin) in angles.cos().iter().zip(angles.sin()) {
            let s0 = x * cos + y * sin + center;
            data.extend((0..n).map(|j| (area(j as f64 + 0.5 - s0) - area(j as f64 - 0.5 - s0)) as f32));
        }
        data
    }

    #[test]
    fn a_disc_has_its_attenuation_wherever_it_lies_and_nothing_lies_around_it() {
        let n = 128;
        for (degrees, count, center) in [(180.0, 202, 63.5), (360.0, 403, 60.2), (180.0, 203, 70.0)] {
            let theta: Vec<f64> = (0..count).map(|i| degrees * f64::from(i) / f64::from(count)).collect();
            let angles = Angles::new(&theta, Some(AngleUnit::Degree)).unwrap();
            let fbp = Fbp::new(n, &angles, &Filter::parse("ramlak", &[]).unwrap()).unwrap();
            for (x, y) in [(0.0, 0.0), (40.3, -20.0), (-10.0, 45.5)] {
                let mut image = vec![0.0; n * n];
                fbp.run(&disc(&angles, n, center, x, y, 8.0), n, center, &mut image).unwrap();
                let (mut inside, mut outside) = ((0.0, 0.0), (0.0, 0.0));
                for row in 0..n {
                    for column in 0..n {
                        let (px, py) = (column as f64 - 64.0, 63.0 - row as f64);
                        let distance = (px - x).hypot(py - y);
                        let mean = if distance < 5.0 {
                            &mut inside
                        } else if distance > 12.0 && px.hypot(py) < 55.0 {
                            &mut outside
                        } else {
                            continue;
                        };
                        *mean = (mean.0 + image[row * n + column], mean.1 + 1.0);
                    }
                }
                // What aliasing and the band limit leave after a mean over 5 px. A disc on the axis is seen at one
                // phase of the pixels by every view, so its aliasing adds up; elsewhere the phases differ.
                let tolerance = if x == 0.0 { 8e-3 } else { 1.5e-3 };
                let (inside, outside) = (inside.0 / inside.1, outside.0 / outside.1);
                assert!((inside - 1.0).abs() < tolerance, "({x}, {y}) in {degrees}: {inside}");
                assert!(outside.abs() < 1e-4, "({x}, {y}) in {degrees}: {outside}");
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let n = 33;
        let angles = Angles::half_turn(40).unwrap();
        let fbp = Fbp::new(n, &angles, &Filter::default()).unwrap();
        let data: Vec<f32> = (0..40 * n).map(value).collect();
        let run = |threads| {
            let mut image = vec![0.0; n * n];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fbp.run(&data, n, 16.0, &mut image)).unwrap();
            image.into_iter().map(f64::to_bits).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(run(2) == one && run(5) == one);
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let angles = Angles::half_turn(4).unwrap();
        assert_eq!(Fbp::new(1, &angles, &Filter::default()).err().unwrap().fault(), Fault::Data);
        let fbp = Fbp::new(8, &angles, &Filter::default()).unwrap();
        let run = |values: usize, center, pixels: usize| fbp.run(&vec![0.0; values], 8, center, &mut vec![0.0; pixels]);
        assert!(run(32, 3.0, 64).is_ok());
        for bad in [run(31, 3.0, 64), run(32, 3.0, 63), run(32, f64::NAN, 64)] {
            assert_eq!(bad.unwrap_err().fault(), Fault::Bug);
        }
    }
}
