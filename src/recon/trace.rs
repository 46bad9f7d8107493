//! One slice by [`gridrec`], every intermediate kept and held against its naive definition: for teaching, and for
//! whoever doubts a step.
//!
//! The arrays are what the engine's own kernels compute, in f32. The definitions are sums in f64, term by term, that
//! share no transform, no table and no symmetry with them:
//!
//! ```text
//! filter    B_k  = W(k/P) Σ_n r[n] e^(−2πi kn/P)                          r: samples of the band-limited ramp
//! spectrum  F_k  = (B_k/P) e^(2πi kc/P) Σ_j p[j] e^(−2πi jk/P)            both ends k = 0 and P/2 halved
//! grid      H_uv = Σ_θ w_θ Σ_±k F_k φ(u − ρk cos θ) φ(v − ρk sin θ)       F_−k = F_k*; u and v modulo M; ρ = M/P
//! columns   R_uy = d_y Σ_v H_uv e^(2πi vy/M)
//! d         d_x  = 1/∫ φ(t) cos(2πt x/M) dt
//! inverse   g_xy = Σ_u Σ_v H_uv e^(2πi (ux + vy)/M)
//! image     f_xy = d_x Σ_u R_uy e^(2πi ux/M)
//! exact     f_xy = Σ_θ w_θ Σ_±k F_k e^(2πi k(x cos θ + y sin θ)/P)        no grid at all
//! ```
//!
//! Every step but the last starts from what the engine handed to it, so that its error is its own: the rounding of f32.
//! The last one starts from the sinogram, so that its error is that of the whole: rounding and gridding.

use super::engine::Sinograms;
use super::filter::{Filter, FilterName};
use super::geometry::{Angles, Axis, axis_pixel};
use super::gridrec;
use super::kernel::{Choice, KaiserBessel};
use super::samples::{Image, Run};
use crate::error::{Error, Result};
use crate::fft::dft::dft;
use crate::fft::{Direction, root_of_unity};
use crate::num::elementary::{cos, sincos};
use crate::num::lanes::Isa;
use crate::os::check_interrupt;
use crate::units::Micrometre;
use rayon::prelude::*;
use std::f64::consts::PI;

/// Grid columns that are held against their definition, besides the last one.
const CHECKED_COLUMNS: usize = 32;
/// Image rows, and pixels of each, that are held against their definition.
const CHECKED_ROWS: usize = 17;
/// Intervals of Simpson's rule for φ̂: its error is below 1e-12 for the kernels' smooth integrands.
const INTERVALS: usize = 2048;

/// How far computed numbers are from their definition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// √(Σ |computed − defined|² / Σ |defined|²).
    pub l2: f64,
    /// max |computed − defined| / max |defined|.
    pub max: f64,
    /// Numbers compared.
    pub count: usize,
}

impl Deviation {
    /// Compares pairs (computed, defined) of complex numbers. Where all defined ones are 0, both figures are absolute.
    fn of(pairs: impl Iterator<Item = ([f64; 2], [f64; 2])>) -> Deviation {
        let (mut error, mut size, mut count) = (0.0f64, 0.0f64, 0);
        let (mut largest_error, mut largest) = (0.0f64, 0.0f64);
        for (got, want) in pairs {
            let e = square([got[0] - want[0], got[1] - want[1]]);
            let s = square(want);
            error += e;
            size += s;
            // A NaN stays: it is larger than anything.
            largest_error = if e > largest_error || e.is_nan() { e } else { largest_error };
            largest = largest.max(s);
            count += 1;
        }
        let relative = |e: f64, s: f64| if s > 0.0 { (e / s).sqrt() } else { e.sqrt() };
        Deviation { l2: relative(error, size), max: relative(largest_error, largest), count }
    }

    fn of_real(pairs: impl Iterator<Item = (f64, f64)>) -> Deviation {
        Deviation::of(pairs.map(|(got, want)| ([got, 0.0], [want, 0.0])))
    }
}

fn square([re, im]: [f64; 2]) -> f64 {
    re * re + im * im
}

/// A step and its error.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Which step.
    pub step: Step,
    /// What it was held against.
    pub definition: &'static str,
    /// Which of its numbers.
    pub compared: String,
    /// The error.
    pub deviation: Deviation,
}

/// The steps of the reconstruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// B_k.
    Filter,
    /// A projection with zeros behind it.
    PaddedRow,
    /// F_k.
    Spectrum,
    /// φ at the cells around a sample.
    Weights,
    /// The grid of samples that are all 1.
    Density,
    /// H.
    Grid,
    /// R.
    Columns,
    /// d.
    Deapodisation,
    /// The image before deapodisation.
    Inverse,
    /// The image.
    Image,
}

/// The taps of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// Index of the projection.
    pub angle: usize,
    /// k.
    pub sample: usize,
    /// Where the sample lies on the grid, (U, V); the opposite frequency where the projection is used reversed.
    pub position: [f64; 2],
    /// The first cell (u, v).
    pub first: [i32; 2],
    /// Weights along u (times the angle's weight), then along v; W each.
    pub weights: Vec<f32>,
}

/// Everything about one slice. N columns, A angles, P padded length, M grid length; complex values are
/// (real, imaginary).
pub struct Trace {
    /// N.
    pub columns: usize,
    /// P.
    pub padded: usize,
    /// Kernel and M.
    pub choice: Choice,
    /// Index of the projection that pictures and taps show.
    pub shown: usize,
    /// B_k, k = 0 … P/2.
    pub filter: Vec<f32>,
    /// Padded projections, `[angle][P]`.
    pub rows: Vec<f32>,
    /// F, `[angle][k]`, k = 0 … P/2.
    pub spectra: Vec<[f32; 2]>,
    /// The taps of one sample.
    pub taps: Taps,
    /// The grid of samples that are all 1: where the data lies, `[u][v]`, u = 0 … M/2, v = 0 … M − 1.
    pub density: Vec<f32>,
    /// H, `[u][v]`.
    pub grid: Vec<[f32; 2]>,
    /// R, `[u][image row]`.
    pub half_plane: Vec<[f32; 2]>,
    /// d by image column (times the unit), and by image row.
    pub deapodisation: [Vec<f32>; 2],
    /// The image before deapodisation, N × N.
    pub inverse: Vec<f32>,
    /// The image, N × N.
    pub image: Vec<f32>,
    /// The error of each step, in the order of the steps.
    pub checks: Vec<Check>,
}

/// What is traced.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Absorption, `[angle][column]`.
    pub sinogram: &'a [f32],
    /// One angle per projection.
    pub angles: &'a Angles,
    /// The axis as a pixel index.
    pub center: f64,
    /// The filter.
    pub filter: &'a Filter,
    /// The gridding error asked.
    pub error: f64,
    /// Pixel size; the image is in cm⁻¹ if it is known and per pixel if not.
    pub pixel: Option<Micrometre>,
}

/// Reconstructs one slice as a run does, to the bit, and keeps and checks every step.
///
/// # Errors
/// Those of [`gridrec::plan`]; a sinogram of another length than one row per angle; an axis outside the detector;
/// an interrupt.
pub fn trace(isa: Isa, subject: &Subject) -> Result<Trace> {
    let &Subject { sinogram, angles, center, filter, error, pixel } = subject;
    let columns = sinogram.len() / angles.len();
    if columns * angles.len() != sinogram.len() {
        return Err(Error::usage(format!("a sinogram of {} values for {} angles", sinogram.len(), angles.len())));
    }
    Axis::Fixed(center).check(1, columns)?;
    let gridrec::Gridrec { mut engine, choice } = gridrec::plan(columns, angles, filter, error)?;
    let unit = pixel.map_or(1.0, |p| 1.0 / p.centimetres());
    engine.scale(unit);
    let padded = engine.padded();
    let half = padded / 2;
    let input = Sinograms { data: sinogram, angle_stride: columns, slice_stride: 0, slices: 1 };
    let stages = engine.run_stages(isa, input, center);
    check_interrupt()?;

    let samples = engine.samples();
    let mut spectra = stages.spectra;
    for (row, &reversed) in spectra.chunks_exact_mut(half + 1).zip(&samples.reversed) {
        if reversed {
            row.iter_mut().for_each(|f| f[1] = -f[1]);
        }
    }
    // A third of the way: neither along a row nor along a column of the grid.
    let (angle, sample) = (angles.len() / 3, half / 2);
    let run = Run { angle: angle as u32, image: Image::Direct, samples: sample as u32..sample as u32 + 1 };
    let (first, weights) = samples.stored(&run);
    let radius = sample as f64 * choice.grid as f64 / padded as f64 * if samples.reversed[angle] { -1.0 } else { 1.0 };
    let taps = Taps {
        angle,
        sample,
        position: [radius * angles.cosines()[angle], radius * angles.sines()[angle]],
        first: first[0],
        weights: weights.to_vec(),
    };
    let scale = |(k, b): (usize, &f32)| *b * padded as f32 * if k == 0 || k == half { 2.0 } else { 1.0 };
    let mut trace = Trace {
        columns,
        padded,
        choice,
        shown: angle,
        filter: engine.response().iter().enumerate().map(scale).collect(),
        rows: stages.rows,
        spectra,
        taps,
        density: stages.density,
        grid: stages.grid,
        half_plane: stages.columns,
        deapodisation: engine.corrections().map(<[f32]>::to_vec),
        inverse: stages.inverse,
        image: stages.image,
        checks: Vec::new(),
    };
    trace.check(subject, unit, |angle, k| {
        let k = k as u32;
        samples.stored(&Run { angle: angle as u32, image: Image::Direct, samples: k..k + 1 }).1
    })?;
    Ok(trace)
}

impl Trace {
    fn note(&mut self, step: Step, definition: &'static str, compared: String, deviation: Deviation) {
        self.checks.push(Check { step, definition, compared, deviation });
    }

    /// Holds every step against its definition. `stored` are the weights of a sample, along u and v.
    fn check<'a>(&mut self, subject: &Subject, unit: f64, stored: impl Fn(usize, usize) -> &'a [f32]) -> Result<()> {
        let (n, p, m) = (self.columns, self.padded, self.choice.grid);
        let (half, angles, kernel) = (p / 2, subject.angles, self.choice.kernel);
        let wide = |z: [f32; 2]| z.map(f64::from);

        let response = response(subject.filter, p);
        let filter = Deviation::of_real(self.filter.iter().map(|&b| f64::from(b)).zip(response.iter().copied()));
        self.note(
            Step::Filter,
            "direct DFT of the ramp's samples, times the window",
            format!("all {} k", half + 1),
            filter,
        );

        let padded = |i: usize| if i % p < n { f64::from(subject.sinogram[i / p * n + i % p]) } else { 0.0 };
        let rows = Deviation::of_real(self.rows.iter().enumerate().map(|(i, &v)| (f64::from(v), padded(i))));
        self.note(Step::PaddedRow, "the projection, then zeros", format!("all {} rows", angles.len()), rows);

        let exact = exact_spectra(subject, &response, n, p);
        check_interrupt()?;
        let spectra = Deviation::of(self.spectra.iter().map(|&f| wide(f)).zip(exact.iter().copied()));
        self.note(
            Step::Spectrum,
            "direct DFT sum, times phase and filter",
            format!("all {} rows", angles.len()),
            spectra,
        );

        let rays = Rays { angles, kernel, m, step: m as f64 / p as f64, half };
        let shown: Vec<usize> = spread(angles.len(), CHECKED_ROWS);
        let taps = shown.iter().flat_map(|&angle| (0..=half).map(move |k| (angle, k)));
        let taps = taps.flat_map(|(angle, k)| {
            let want = rays.taps(angle, k);
            stored(angle, k).iter().map(|&w| f64::from(w)).zip(want).collect::<Vec<_>>()
        });
        let taps = Deviation::of_real(taps);
        self.note(Step::Weights, "the kernel's formula at each cell", format!("{} rows of samples", shown.len()), taps);

        let columns = spread(m / 2 + 1, CHECKED_COLUMNS + 1);
        let compared = format!("{} columns u of {}", columns.len(), m / 2 + 1);
        let density = rays.grid(&columns, |_, _| [1.0, 0.0]);
        let got = columns.iter().flat_map(|&u| &self.density[u * m..(u + 1) * m]).map(|&d| [f64::from(d), 0.0]);
        let density = Deviation::of(got.zip(density));
        self.note(Step::Density, "direct double sum over samples, all of them 1", compared.clone(), density);

        let spectra = &self.spectra;
        let grid = rays.grid(&columns, |angle, k| wide(spectra[angle * (half + 1) + k]));
        check_interrupt()?;
        let got = columns.iter().flat_map(|&u| &self.grid[u * m..(u + 1) * m]).map(|&h| wide(h));
        let grid = Deviation::of(got.zip(grid));
        self.note(Step::Grid, "direct double sum over samples", compared.clone(), grid);

        let (axis_row, axis_column) = axis_pixel(n);
        let x_of = |column: usize| column as f64 - axis_column as f64;
        let y_of = |row: usize| axis_row as f64 - row as f64;
        let transform = Transform::new(kernel);
        let d_x: Vec<f64> = (0..n).map(|c| unit / transform.at(x_of(c) / m as f64)).collect();
        let d_y: Vec<f64> = (0..n).map(|r| 1.0 / transform.at(y_of(r) / m as f64)).collect();

        let lines: Vec<Vec<[f64; 2]>> = columns
            .par_iter()
            .map(|&u| {
                let column: Vec<_> = self.grid[u * m..(u + 1) * m].iter().map(|&h| wide(h)).collect();
                let all = dft(&column, Direction::Inverse);
                (0..n).map(|r| all[(axis_row + m - r) % m].map(|v| v * d_y[r])).collect()
            })
            .collect();
        let got = columns.iter().flat_map(|&u| &self.half_plane[u * n..(u + 1) * n]).map(|&h| wide(h));
        let deviation = Deviation::of(got.zip(lines.into_iter().flatten()));
        self.note(Step::Columns, "direct DFT sum along v, times d by row", compared, deviation);

        let both = self.deapodisation.iter().flatten().map(|&d| f64::from(d));
        let deviation = Deviation::of_real(both.zip(d_x.iter().chain(&d_y).copied()));
        self.note(Step::Deapodisation, "1 / the kernel's Fourier integral", "every row and column".into(), deviation);

        let chosen = spread(n, CHECKED_ROWS);
        let pixels: Vec<[usize; 2]> = chosen.iter().flat_map(|&r| chosen.iter().map(move |&c| [r, c])).collect();
        let compared = format!("{} pixels", pixels.len());
        let at = |image: &[f32]| -> Vec<f64> { pixels.iter().map(|&[r, c]| f64::from(image[r * n + c])).collect() };
        let places: Vec<[f64; 2]> = pixels.iter().map(|&[r, c]| [x_of(c), y_of(r)]).collect();
        let inverse = inverse(&self.grid, m, &places);
        check_interrupt()?;
        let deviation = Deviation::of_real(at(&self.inverse).into_iter().zip(inverse));
        self.note(Step::Inverse, "direct double sum over the grid", compared.clone(), deviation);

        let lines: Vec<Vec<f64>> = chosen
            .par_iter()
            .map(|&r| {
                // R[−u] is R*[u], and the two ends are real.
                let cell = |u: usize| wide(self.half_plane[u.min(m - u) * n + r]);
                let line: Vec<_> =
                    (0..m).map(|u| if 2 * u > m { [cell(u)[0], -cell(u)[1]] } else { cell(u) }).collect();
                let all = dft(&line, Direction::Inverse);
                (0..n).map(|c| all[(c + m - axis_column) % m][0] * d_x[c]).collect()
            })
            .collect();
        let got = chosen.iter().flat_map(|&r| &self.image[r * n..(r + 1) * n]).map(|&v| f64::from(v));
        let deviation = Deviation::of_real(got.zip(lines.into_iter().flatten()));
        self.note(
            Step::Image,
            "direct DFT sum along u, times d by column",
            format!("{} rows", chosen.len()),
            deviation,
        );

        let exact: Vec<f64> = exact_image(angles, &exact, p, &places).into_iter().map(|v| v * unit).collect();
        let deviation = Deviation::of_real(at(&self.image).into_iter().zip(exact));
        self.note(Step::Image, "exact sum over projections, without a grid", compared, deviation);
        check_interrupt()
    }
}

/// Up to `count` of the indices 0 … n − 1, evenly spread, both ends among them.
fn spread(n: usize, count: usize) -> Vec<usize> {
    let count = count.min(n);
    (0..count).map(|i| i * (n - 1) / (count - 1).max(1)).collect()
}

/// B_k from the ramp's samples r in space: r[0] = 1/4, r[±n] = −1/(πn)² for odd n ≤ P/2.
fn response(filter: &Filter, padded: usize) -> Vec<f64> {
    if matches!(filter.name(), FilterName::None | FilterName::Custom) {
        return filter.response(padded);
    }
    let mut samples = vec![[0.0; 2]; padded];
    samples[0][0] = 0.25;
    for n in (1..=padded / 2).step_by(2) {
        let value = -1.0 / (PI * n as f64 * PI * n as f64);
        samples[n][0] = value;
        samples[padded - n][0] = value;
    }
    let ramp = dft(&samples, Direction::Forward);
    (0..=padded / 2).map(|k| ramp[k][0] * filter.window(k as f64 / padded as f64)).collect()
}

/// F_k of every projection, `[angle][k]`.
fn exact_spectra(subject: &Subject, response: &[f64], n: usize, p: usize) -> Vec<[f64; 2]> {
    let roots: Vec<[f64; 2]> = (0..p).map(|j| root_of_unity(j, p)).collect();
    let half = p / 2;
    let rows: Vec<Vec<[f64; 2]>> = subject
        .sinogram
        .par_chunks_exact(n)
        .map(|row| {
            let one = |k: usize| {
                let (mut re, mut im, mut place) = (0.0, 0.0, 0);
                for &value in row {
                    re += f64::from(value) * roots[place][0];
                    im -= f64::from(value) * roots[place][1];
                    place = (place + k) % p;
                }
                let ends = if k == 0 || k == half { 0.5 } else { 1.0 };
                let scale = ends * response[k] / p as f64;
                let (s, c) = sincos(2.0 * PI * (k as f64 * subject.center / p as f64));
                [scale * (re * c - im * s), scale * (re * s + im * c)]
            };
            (0..=half).map(one).collect()
        })
        .collect();
    rows.into_iter().flatten().collect()
}

/// Where the samples of all projections lie on the grid.
struct Rays<'a> {
    angles: &'a Angles,
    kernel: KaiserBessel,
    m: usize,
    /// Grid cells from k to k + 1.
    step: f64,
    half: usize,
}

impl Rays<'_> {
    /// (U, V) of sample k, on the side of the plane where U ≥ 0.
    fn position(&self, angle: usize, k: usize) -> [f64; 2] {
        let (c, s) = (self.angles.cosines()[angle], self.angles.sines()[angle]);
        let radius = k as f64 * self.step * if c < 0.0 { -1.0 } else { 1.0 };
        [radius * c, radius * s]
    }

    /// The weights of a sample at the W cells from ⌈position − W/2⌉ on, along u and along v.
    fn taps(&self, angle: usize, k: usize) -> Vec<f64> {
        let [u, v] = self.position(angle, k);
        let along = |position: f64, weight: f64| {
            let first = (position - self.kernel.width as f64 / 2.0).ceil();
            (0..self.kernel.width).map(move |i| weight * self.at(first + i as f64 - position))
        };
        along(u, self.angles.weights()[angle]).chain(along(v, 1.0)).collect()
    }

    /// φ(t); a cell that rounding puts just beyond the end of the support is at its end, where φ jumps to 0.
    fn at(&self, t: f64) -> f64 {
        let reach = self.kernel.width as f64 / 2.0;
        self.kernel.at(t.clamp(-reach, reach))
    }

    /// H at the columns `columns`, `[column][v]`: every sample and its conjugate at the opposite frequency, added to
    /// the W cells around it along either axis, in every period of the plane.
    fn grid(&self, columns: &[usize], value: impl Fn(usize, usize) -> [f64; 2] + Sync) -> Vec<[f64; 2]> {
        let (m, width, reach) = (self.m as i64, self.kernel.width as i64, self.kernel.width as f64 / 2.0);
        let column = |&u: &usize| {
            let mut cells = vec![[0.0; 2]; self.m];
            for angle in 0..self.angles.len() {
                let weight = self.angles.weights()[angle];
                let reversed = self.angles.cosines()[angle] < 0.0;
                for k in 0..=self.half {
                    let [pu, pv] = self.position(angle, k);
                    let [first_u, first_v] = [pu, pv].map(|p| (p - reach).ceil() as i64);
                    for (side, period) in [(1, -1), (1, 0), (1, 1), (-1, -1), (-1, 0), (-1, 1)] {
                        let cell = side * (u as i64 + period * m);
                        if !(first_u..first_u + width).contains(&cell) {
                            continue;
                        }
                        let [re, im] = value(angle, k);
                        // The sample is F where it lies at (U, V) itself, and F* at the opposite frequency.
                        let im = if reversed == (side > 0) { -im } else { im };
                        let a = weight * self.at(cell as f64 - pu);
                        for v in first_v..first_v + width {
                            let b = self.at(v as f64 - pv);
                            let to = &mut cells[(side * v).rem_euclid(m) as usize];
                            to[0] += a * b * re;
                            to[1] += a * b * im;
                        }
                    }
                }
            }
            cells
        };
        let lines: Vec<_> = columns.par_iter().map(column).collect();
        lines.into_iter().flatten().collect()
    }
}

/// φ̂ by Simpson's rule over the support.
struct Transform {
    /// (t, weight · φ(t)), t = 0 … W/2.
    terms: Vec<[f64; 2]>,
}

impl Transform {
    fn new(kernel: KaiserBessel) -> Transform {
        let step = kernel.width as f64 / 2.0 / INTERVALS as f64;
        let weight = |i: usize| match i {
            0 | INTERVALS => 1.0,
            i if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let term = |i: usize| {
            let t = i as f64 * step;
            // φ is even: twice the half.
            [t, 2.0 * weight(i) * step / 3.0 * kernel.at(t)]
        };
        Transform { terms: (0..=INTERVALS).map(term).collect() }
    }

    fn at(&self, x: f64) -> f64 {
        self.terms.iter().map(|&[t, weight]| weight * cos(2.0 * PI * x * t)).sum()
    }
}

/// g at the places (X, Y), whole numbers, from the half plane of H.
fn inverse(grid: &[[f32; 2]], m: usize, places: &[[f64; 2]]) -> Vec<f64> {
    let roots: Vec<[f64; 2]> = (0..m).map(|j| root_of_unity(j, m)).collect();
    let one = |&[x, y]: &[f64; 2]| {
        let (x, y) = ((x as i64).rem_euclid(m as i64) as usize, (y as i64).rem_euclid(m as i64) as usize);
        let mut sum = 0.0;
        for (u, column) in grid.chunks_exact(m).enumerate() {
            // H[−u][−v] is H*[u][v]: a column inside stands for two.
            let times = if u == 0 || 2 * u == m { 1.0 } else { 2.0 };
            let mut place = u * x % m;
            for &[re, im] in column {
                let [c, s] = roots[place];
                sum += times * (f64::from(re) * c - f64::from(im) * s);
                place = (place + y) % m;
            }
        }
        sum
    };
    places.par_iter().map(one).collect()
}

/// f at the places (X, Y), without a grid. The roots of a projection are powers of one, multiplied up in f64: their
/// error grows to about 1e-16 k.
fn exact_image(angles: &Angles, spectra: &[[f64; 2]], p: usize, places: &[[f64; 2]]) -> Vec<f64> {
    let one = |&[x, y]: &[f64; 2]| {
        let mut sum = 0.0;
        for (angle, spectrum) in spectra.chunks_exact(p / 2 + 1).enumerate() {
            let s = x * angles.cosines()[angle] + y * angles.sines()[angle];
            let (sin, cos) = sincos(2.0 * PI * s / p as f64);
            let (mut c, mut s, mut q) = (1.0, 0.0, 0.0);
            for &[re, im] in spectrum {
                // k and −k together.
                q += 2.0 * (re * c - im * s);
                (c, s) = (c * cos - s * sin, c * sin + s * cos);
            }
            sum += angles.weights()[angle] * q;
        }
        sum
    };
    places.par_iter().map(one).collect()
}

#[cfg(test)]
mod tests;
