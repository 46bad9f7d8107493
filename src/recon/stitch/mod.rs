//! Several fields of view as one: volumes above one another ([`vertical`]), projections above one another ([`rows`]) or side by
//! side ([`side`]).
//!
//! All ask first how a field lies to its neighbour. In the overlap, with A and B cut to blocks that a whole number of
//! pixels has brought to within two pixels of each other,
//!
//! ```text
//! A(p) ≈ g · B(p − d) + o,      d (z, y, x), gain g and offset o by least squares
//! ```
//!
//! is solved by Gauss–Newton from d = 0: B is shifted by the current d, its gradient is taken by central differences, and
//! the normal equations give the step. At the end
//!
//! ```text
//! g = √(var A / var B(p − d)),   o = mean A − g mean B(p − d)
//! ```
//!
//! because least squares takes noise of B for structure that A lacks, and gives a gain that is too small by B's part of noise: 13 %
//! where noise makes the correlation 0.9, and a sample whose contrast would end at the seam. The ratio is right where both fields are
//! as noisy as each other for their gain, as scans of one detector are. Both blocks are smoothed before by 1 4 6 4 1 along each free axis: interpolation
//! smooths noise most half way between pixels, and without it the fit would be drawn there. Sums run in f64 along rows,
//! then over rows and slices in their order.
//!
//! Interpolation is by eight taps of a Lanczos window, which keeps 0.95 of white noise half way between pixels (cubic
//! convolution: 0.80), so that a field that had to be shifted looks like one that had not.

pub mod rows;
pub mod side;
pub mod vertical;

use crate::error::{Error, Result};
use crate::num::elementary::sin;
use crate::num::lanes::Isa;
use crate::num::linalg::{inverse, solve_positive};
use crate::num::sum::AddLines;
use rayon::prelude::*;
use std::f64::consts::PI;

/// How a field lies to its neighbour.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// d in pixels: z, y, x. Whole pixels included.
    pub shift: [f64; 3],
    /// g.
    pub gain: f64,
    /// o.
    pub offset: f64,
    /// Standard errors of the shift, from the residuals of unsmoothed, independent pixels.
    pub errors: [f64; 3],
    /// Correlation of A with the shifted B.
    pub correlation: f64,
}

/// Taps of the interpolation.
pub const TAPS: usize = 8;
/// Taps before the pixel below a position.
const BEFORE: usize = TAPS / 2 - 1;
/// Iterations of Gauss–Newton; it gains two digits in each.
const ITERATIONS: usize = 12;
/// A step below this is the end, pixels.
const CONVERGED: f64 = 1e-4;
/// Farther than this from the start the fit is lost, pixels.
const LOST: f64 = 2.5;
/// Correlation below this tells no offset.
pub const BELIEVABLE: f64 = 0.5;
/// Parameters: three shifts, gain, offset.
const N: usize = 5;

/// Weights of the values at −3 … 4 for a position `f` in 0 … 1 between 0 and 1; they add to 1.
pub fn lanczos(f: f64) -> [f32; TAPS] {
    let half = (TAPS / 2) as f64;
    let at = |t: f64| if t.abs() < 1e-9 { 1.0 } else { half * sin(PI * t) * sin(PI * t / half) / (PI * PI * t * t) };
    let weights: [f64; TAPS] = std::array::from_fn(|i| at(i as f64 - BEFORE as f64 - f));
    let sum: f64 = weights.iter().sum();
    weights.map(|w| (w / sum) as f32)
}

/// The line between [`TAPS`] lines.
fn interpolate(isa: Isa, lines: &[&[f32]; TAPS], weights: &[f32; TAPS], out: &mut [f32]) {
    out.fill(0.0);
    let terms: [_; TAPS] = std::array::from_fn(|i| (weights[i], lines[i]));
    isa.run(AddLines { terms: &terms, out });
}

/// What `line` has at `first` …, its ends repeated, for windows of `taps` to go along it.
fn repeated(line: &[f32], first: isize, taps: usize, out: &mut Vec<f32>) {
    let last = line.len() as isize - 1;
    out.clear();
    out.extend((0..(line.len() + taps - 1) as isize).map(|i| line[(first + i).clamp(0, last) as usize]));
}

/// Lines of `nx` values, moved along x: of `[z][y][x]` line y by `d[y]`.
pub(super) fn shift_lines(isa: Isa, values: &[f32], nx: usize, d: &[f64]) -> Vec<f32> {
    let taps: Vec<_> = d.iter().map(|d| ((-d).floor(), lanczos(-d - (-d).floor()))).collect();
    let mut moved = vec![0.0f32; values.len()];
    let lines = moved.par_chunks_mut(nx).zip(values.par_chunks(nx)).enumerate();
    lines.for_each_init(Vec::new, |along, (line, (to, from))| {
        let (whole, weights) = &taps[line % d.len()];
        repeated(from, *whole as isize - BEFORE as isize, TAPS, along);
        interpolate(isa, &std::array::from_fn(|i| &along[i..][..nx]), weights, to);
    });
    moved
}

/// A block `[z][y][x]`.
#[derive(Clone)]
pub(super) struct Block {
    pub size: [usize; 3],
    pub values: Vec<f32>,
}

impl Block {
    /// Every line along x from the K lines that lie `first`, `first` + 1 … of it along an axis, the block's ends repeated.
    fn along<const K: usize>(&self, axis: usize, first: isize, of: impl Fn([&[f32]; K], &mut [f32]) + Sync) -> Block {
        let [nz, ny, nx] = self.size;
        let near = |at: usize, n: usize, k: usize| (at as isize + first + k as isize).clamp(0, n as isize - 1) as usize;
        let mut values = vec![0.0f32; nz * ny * nx];
        values.par_chunks_mut(nx).enumerate().for_each_init(Vec::new, |moved, (row, out)| {
            let (z, y) = (row / ny, row % ny);
            let line = |z: usize, y: usize| &self.values[(z * ny + y) * nx..][..nx];
            let lines = match axis {
                0 => std::array::from_fn(|k| line(near(z, nz, k), y)),
                1 => std::array::from_fn(|k| line(z, near(y, ny, k))),
                _ => {
                    repeated(line(z, y), first, K, moved);
                    std::array::from_fn(|k| &moved[k..][..nx])
                }
            };
            of(lines, out);
        });
        Block { size: self.size, values }
    }

    /// B(p − d) for the free axes.
    fn shifted(&self, isa: Isa, d: [f64; 3], free: [bool; 3]) -> Block {
        let mut block = self.clone();
        for axis in (0..3).filter(|&a| free[a]) {
            let whole = (-d[axis]).floor();
            let weights = lanczos(-d[axis] - whole);
            let first = whole as isize - BEFORE as isize;
            block = block.along(axis, first, |lines, out| interpolate(isa, &lines, &weights, out));
        }
        block
    }

    fn smoothed(&self, free: [bool; 3]) -> Block {
        let mut block = self.clone();
        for axis in (0..3).filter(|&a| free[a] && self.size[a] > 1) {
            block = block.along(axis, -2, |[a, b, c, d, e], out| {
                for (x, value) in out.iter_mut().enumerate() {
                    *value = (a[x] + e[x] + 4.0 * (b[x] + d[x]) + 6.0 * c[x]) / 16.0;
                }
            });
        }
        block
    }
}

/// Pixels at the ends of a free axis that are not compared, where there are enough: interpolation there repeats the ends.
const MARGIN: usize = TAPS;
/// Least pixels of a free axis.
pub const LEAST: usize = 8;

/// The margin of an axis of `n` pixels: at least half of a small overlap is compared.
pub(super) fn margin(n: usize) -> usize {
    MARGIN.min(n / 4)
}

/// Fits B to A; `free` says along which axes B may move.
///
/// # Errors
/// Data: too small or too even an overlap; a fit that runs away; a correlation that nobody would believe.
pub(super) fn fit(isa: Isa, a: &Block, b: &Block, free: [bool; 3]) -> Result<Fit> {
    let lost = |what: String| {
        Error::data(what).help("check the order of the fields and their nominal offset, or widen --search")
    };
    if (0..3).any(|axis| free[axis] && a.size[axis] < LEAST) {
        return Err(lost(format!("an overlap of {:?} pixels is too small to fit", a.size)));
    }
    let (a, b) = (a.smoothed(free), b.smoothed(free));
    let mut p = [0.0, 0.0, 0.0, 1.0, 0.0];
    let (mut normal, mut sums) = ([[0.0; N]; N], [0.0; 7]);
    for _ in 0..ITERATIONS {
        let moved = b.shifted(isa, [p[0], p[1], p[2]], free);
        let (matrix, right, own) = equations(&a, &moved, p, free);
        (normal, sums) = (matrix, own);
        let Some(step) = solve_positive(&matrix, &right) else {
            return Err(lost("the overlap is too even to tell an offset".into()));
        };
        (0..N).for_each(|i| p[i] += step[i]);
        if p[..3].iter().any(|d| d.abs() > LOST || !d.is_finite()) {
            return Err(lost(format!("the fit of the overlap runs away from its start by more than {LOST} pixels")));
        }
        if step[..3].iter().all(|s| s.abs() < CONVERGED) {
            break;
        }
    }
    let ((gain, offset), correlation, [squares, count, ..]) = (ratio(&sums), pearson(&sums), sums);
    if correlation.is_nan() || correlation < BELIEVABLE || p[3].is_nan() || p[3] <= 0.0 || !gain.is_finite() {
        return Err(lost(format!("the fields are alike by {correlation:.2} only where they should overlap")));
    }
    // 1 4 6 4 1 along k axes leaves one independent value of about 3.66^k.
    let together: f64 = free.iter().filter(|f| **f).map(|_| 3.66).product();
    let variance = squares / (count - N as f64).max(1.0) * together;
    let covariance = inverse(&normal).unwrap_or([[0.0; N]; N]);
    let errors = std::array::from_fn(|i| if free[i] { (variance * covariance[i][i]).max(0.0).sqrt() } else { 0.0 });
    Ok(Fit { shift: [p[0], p[1], p[2]], gain, offset, errors, correlation })
}

/// Gain and offset that give B the mean and the variance of A, from the sums of [`pearson`].
fn ratio(s: &[f64; 7]) -> (f64, f64) {
    let [_, n, a, b, aa, bb, _] = *s;
    let gain = ((aa - a * a / n) / (bb - b * b / n)).sqrt();
    (gain, (a - gain * b) / n)
}

/// Correlation from Σr², n, Σa, Σb, Σaa, Σbb, Σab.
fn pearson(s: &[f64; 7]) -> f64 {
    let [_, n, a, b, aa, bb, ab] = *s;
    let product = (aa - a * a / n) * (bb - b * b / n);
    if product > 0.0 { (ab - a * b / n) / product.sqrt() } else { 0.0 }
}

/// Matrix and right side of normal equations, and the sums of [`pearson`].
type Equations = ([[f64; N]; N], [f64; N], [f64; 7]);

/// Normal equations for the step from `p`, and the sums of [`pearson`].
fn equations(a: &Block, moved: &Block, p: [f64; N], free: [bool; 3]) -> Equations {
    let [_, ny, nx] = a.size;
    let inner = |axis: usize| match (a.size[axis], free[axis]) {
        (n, true) => margin(n)..n - margin(n),
        (n, false) => 0..n,
    };
    let strides = [ny * nx, nx, 1];
    let rows: Vec<(usize, usize)> = inner(0).flat_map(|z| inner(1).map(move |y| (z, y))).collect();
    let partial: Vec<Equations> = rows
        .par_iter()
        .map(|&(z, y)| {
            let (mut matrix, mut right, mut sums) = ([[0.0; N]; N], [0.0; N], [0.0; 7]);
            for x in inner(2) {
                let at = (z * ny + y) * nx + x;
                let (va, vb) = (f64::from(a.values[at]), f64::from(moved.values[at]));
                let residual = va - p[3] * vb - p[4];
                let mut derivative = [0.0; N];
                for axis in (0..3).filter(|&axis| free[axis]) {
                    let (up, down) = (moved.values[at + strides[axis]], moved.values[at - strides[axis]]);
                    // ∂/∂d of g·B(p − d).
                    derivative[axis] = -p[3] * 0.5 * (f64::from(up) - f64::from(down));
                }
                (derivative[3], derivative[4]) = (vb, 1.0);
                for i in 0..N {
                    right[i] += derivative[i] * residual;
                    for j in 0..N {
                        matrix[i][j] += derivative[i] * derivative[j];
                    }
                }
                for (sum, v) in sums.iter_mut().zip([residual * residual, 1.0, va, vb, va * va, vb * vb, va * vb]) {
                    *sum += v;
                }
            }
            (matrix, right, sums)
        })
        .collect();
    let (mut matrix, mut right, mut sums) = ([[0.0; N]; N], [0.0; N], [0.0; 7]);
    for (m, r, s) in partial {
        for i in 0..N {
            right[i] += r[i];
            (0..N).for_each(|j| matrix[i][j] += m[i][j]);
        }
        (0..7).for_each(|i| sums[i] += s[i]);
    }
    for axis in (0..3).filter(|&axis| !free[axis]) {
        matrix[axis][axis] = 1.0;
    }
    (matrix, right, sums)
}

/// Pearson's correlation of two lists.
pub(super) fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; 7];
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        for (sum, v) in sums[1..].iter_mut().zip([1.0, a, b, a * a, b * b, a * b]) {
            *sum += v;
        }
    }
    pearson(&sums)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::num::philox::Stream;

    /// A smooth random field, defined everywhere: waves of random direction and phase, of
    /// variance 1.
    pub fn field(seed: u64, z: f64, y: f64, x: f64) -> f64 {
        let random = Stream::new(seed, 77);
        (0..24u64)
            .map(|k| {
                let u = |i: u64| 2.0 * random.uniform_f64(8 * k + i) - 1.0;
                let phase = u(0) * PI + 0.45 * (u(1) * z + u(2) * y + u(3) * x);
                crate::num::elementary::cos(phase)
            })
            .sum::<f64>()
            / 12.0f64.sqrt()
    }

    #[test]
    fn taps_reproduce_what_is_smooth() {
        for f in [0.0, 0.2, 0.5, 0.9] {
            let weights = lanczos(f);
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            let wave = |t: f64| crate::num::elementary::cos(0.7 * t);
            let line: Vec<f32> = (0..40).map(|i| wave(f64::from(i)) as f32).collect();
            let moved = shift_lines(Isa::detect(), &line, 40, &[-f]);
            let got = moved[20];
            assert!((f64::from(got) - wave(20.0 + f)).abs() < 2e-3, "{f}: {got}");
            let noise: f32 = weights.iter().map(|w| w * w).sum::<f32>().sqrt();
            assert!(noise > 0.9, "{f}: {noise}");
        }
        assert_eq!(lanczos(0.0)[BEFORE], 1.0);
    }

    /// The definition: along each axis in turn eight taps of the line through a voxel, its ends repeated, by multiply-add from 0.
    #[test]
    fn blocks_move_by_their_definition_on_every_instruction_set() {
        let (size, d) = ([5, 9, 37], [0.3f64, -1.6, 2.25]);
        let random = Stream::new(9, 9);
        let values: Vec<f32> = (0..5 * 9 * 37).map(|i| random.normal(i) as f32).collect();
        let mut want = values.clone();
        for (axis, stride) in [9 * 37, 37, 1].into_iter().enumerate() {
            let whole = (-d[axis]).floor();
            let from = want.clone();
            for (i, value) in want.iter_mut().enumerate() {
                let at = i / stride % size[axis];
                let tap = |k: usize| (at as isize + whole as isize + k as isize - 3).clamp(0, size[axis] as isize - 1);
                let near = |k: usize| from[i - at * stride + tap(k) as usize * stride];
                let weights = lanczos(-d[axis] - whole);
                *value = (0..TAPS).fold(0.0f32, |sum, k| weights[k].mul_add(near(k), sum));
            }
        }
        for isa in Isa::available() {
            let block = Block { size, values: values.clone() };
            let lines = shift_lines(isa, &block.shifted(isa, d, [true, true, false]).values, 37, &[d[2]; 9]);
            assert_eq!(block.shifted(isa, d, [true; 3]).values, want, "{}", isa.name());
            assert_eq!(lines, want, "{}", isa.name());
        }
    }

    #[test]
    fn planted_shifts_and_gains_are_found_in_noise() {
        let random = Stream::new(6, 6);
        for (d, gain, offset, noise) in [
            ([0.0, 0.0, 0.0], 1.0, 0.0, 0.0),
            ([0.37, -0.81, 1.24], 1.1, -0.05, 0.1),
            ([-0.5, 0.5, 0.5], 0.9, 0.02, 0.3),
            ([0.3, 0.5, -0.4], 1.2, 0.1, 2.0),
        ] {
            let size = [24, 40, 44];
            let block = |seed: u64, at: &dyn Fn(f64, f64, f64) -> f64| {
                let values = (0..size[0] * size[1] * size[2])
                    .map(|i| {
                        let (z, y, x) = (i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]);
                        let noise = noise * random.normal(seed << 32 | i as u64);
                        (at(z as f64, y as f64, x as f64) + if seed == 0 { noise } else { noise / gain }) as f32
                    })
                    .collect();
                Block { size, values }
            };
            // A(p) = g B(p − d) + o  ⇔  B(p) = (A(p + d) − o) / g
            let a = block(0, &|z, y, x| field(1, z, y, x));
            let b = block(1, &|z, y, x| (field(1, z + d[0], y + d[1], x + d[2]) - offset) / gain);
            let fit = fit(Isa::detect(), &a, &b, [true; 3]).unwrap();
            for axis in 0..3 {
                let bound = f64::max(0.03, 3.0 * fit.errors[axis]);
                assert!((fit.shift[axis] - d[axis]).abs() < bound, "{fit:?} for {d:?}");
            }
            // B is made as noisy for its gain as A; interpolation takes a little of its noise.
            assert!((fit.gain / gain - 1.0).abs() < 0.015 && (fit.offset - offset).abs() < 0.01, "{fit:?}");
        }
    }

    #[test]
    fn what_is_not_alike_is_refused() {
        let noise = |stream: u32| -> Block {
            let random = Stream::new(1, stream);
            Block { size: [24, 24, 24], values: (0..24 * 24 * 24).map(|i| random.normal(i) as f32).collect() }
        };
        assert!(fit(Isa::detect(), &noise(1), &noise(2), [true; 3]).is_err());
        let even = Block { size: [24, 24, 24], values: vec![1.0; 24 * 24 * 24] };
        assert!(fit(Isa::detect(), &even, &even, [true; 3]).is_err());
        let small = Block { size: [6, 24, 24], values: vec![1.0; 6 * 24 * 24] };
        assert!(fit(Isa::detect(), &small, &small, [true; 3]).is_err());
    }
}
