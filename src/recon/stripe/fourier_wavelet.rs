//! Stripes by wavelets and Fourier (Münch, Trtik, Marone and Stampanoni, Opt. Express 17, 8567 (2009)).
//!
//! A stripe is constant along the angle and narrow along the column: in each level's band of (low along θ, high along
//! x) coefficients V it is the Fourier components along θ near zero, which are damped,
//!
//! ```text
//! V̂(f) ← (1 − e^(−f²/2σ²)) V̂(f),      f in cycles per length of the band
//! ```
//!
//! Only what the damping takes away matters, so only that is transformed back: with V⁻ = Σ_f e^(−f²/2σ²) V̂(f) e^(…),
//! where the Gaussian is above 2⁻²⁴, and all other bands zero, the synthesis gives the stripes, and the sinogram less
//! these is the result. What is no stripe is not even rounded.
//!
//! **Deviations from TomoPy's `remove_stripe_fw`.** There the component f is damped as if it were f + ½ wherever the
//! band's length is even, which leaves 1 − e^(−1/8σ²) of a stripe, 3.1 % for σ = 2 and 11.8 % for σ = 1; here the
//! zero component goes ([`Damping::Shifted`] is theirs). There the sinogram is padded with zeros along θ, which turns
//! a stripe into a box with all frequencies; here with its first and last row ([`Pad::Edge`]; [`Pad::Zero`] is
//! theirs). There the number of levels follows the largest extent of the chunk, rows included, and so the number of
//! threads; here it is 7, fewer for narrow sinograms, so that the last band has 16 columns: beyond, what is wide is
//! taken for a stripe. The defaults `sym16`, σ = 1 and 7 levels are those of the APS
//! command lines.

use super::wavelet::{Wavelet, analyse, coefficients, gather, scatter, synthesise, values};
use crate::num::elementary::{exp, sincos};
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use std::f64::consts::PI;

/// Which frequency a component is damped as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damping {
    /// Its own.
    Centred,
    /// Half a cycle more, for bands of even length, as TomoPy does.
    Shifted,
}

/// What is put before the first and after the last angle: a sixteenth of the angles each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pad {
    /// Nothing.
    None,
    /// The first and the last row.
    Edge,
    /// Zeros, as TomoPy does.
    Zero,
}

/// Gaussian factors below this do not change an f32.
const LEAST_FACTOR: f64 = 1.0 / (1u32 << 24) as f64;

/// The band of one level.
struct Level {
    /// Rows and columns of what is analysed.
    rows: usize,
    columns: usize,
    /// Rows and columns of its coefficients.
    bands: [usize; 2],
    /// cos and sin of 2πft/rows and the factor, by (f, t); f = 0 first.
    waves: Vec<[f32; 2]>,
    /// Number of components f.
    components: usize,
}

/// A planned removal.
pub struct FourierWavelet {
    angles: usize,
    before: usize,
    pad: Pad,
    analysis: [Vec<f32>; 2],
    synthesis: [Vec<f32>; 2],
    levels: Vec<Level>,
}

/// Lanes of `n` numbers.
fn lanes(n: usize) -> usize {
    n.div_ceil(LANES)
}

impl FourierWavelet {
    /// Plans for sinograms of `angles` × `columns`.
    pub fn new(
        angles: usize,
        columns: usize,
        wavelet: Wavelet,
        levels: usize,
        sigma: f64,
        pad: Pad,
        damping: Damping,
    ) -> FourierWavelet {
        let extra = if pad == Pad::None { 0 } else { angles / 8 };
        let length = wavelet.length();
        let (mut rows, mut width) = (angles + extra, columns);
        let mut plan = FourierWavelet {
            angles,
            before: extra / 2,
            pad,
            analysis: wavelet.analysis(),
            synthesis: wavelet.synthesis(),
            levels: Vec::new(),
        };
        for _ in 0..levels {
            let bands = [coefficients(rows, length), coefficients(width, length)];
            let (waves, components) = waves(bands[0], sigma, damping);
            plan.levels.push(Level { rows, columns: width, bands, waves, components });
            [rows, width] = bands;
        }
        plan
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(|l| l.waves.len() * 8).sum()
    }

    /// Lanes of the workspace: the image, the image analysed along θ, the V of every level, and rows on end.
    fn places(&self) -> ([usize; 2], Vec<usize>, usize) {
        let [first, second] = self.levels.iter().fold([0, 0], |[a, b], l| {
            let wide = lanes(l.columns.max(l.bands[1]).max(values(l.bands[1], self.analysis[0].len())));
            [a.max((l.rows.max(l.bands[0]) + 1) * wide), b.max(l.bands[0] * wide)]
        });
        let bands = self.levels.iter().map(|l| l.bands[0] * lanes(l.bands[1])).collect();
        let row = |l: &Level| lanes((2 * l.bands[1] + 2).max(l.columns).max(2 * l.components)) * LANES;
        let row = self.levels.iter().map(row).max().unwrap_or(0);
        ([first, second], bands, row)
    }

    /// Lanes that [`run`](Self::run) works in.
    pub fn workspace_lanes(&self) -> usize {
        let ([a, b], bands, row) = self.places();
        a + b + bands.iter().sum::<usize>() + 3 * row
    }

    /// Removes the stripes of `sinogram`, `[angle][column]`.
    pub fn run(&self, isa: Isa, work: &mut [Lane], sinogram: &mut [f32]) {
        isa.run(Remove { plan: self, work, sinogram });
    }
}

/// cos, sin with the factors of the components that are taken away from bands of `n` rows.
fn waves(n: usize, sigma: f64, damping: Damping) -> (Vec<[f32; 2]>, usize) {
    let taken = |f: f64| exp(-f * f / (2.0 * sigma * sigma));
    let factor = |f: usize| {
        let f = f as f64;
        match damping {
            // The shift is one-sided; of the complex result the real part is taken, the mean of f + ½ and −f + ½.
            Damping::Shifted if n.is_multiple_of(2) && 2.0 * f < n as f64 => 0.5 * (taken(f + 0.5) + taken(f - 0.5)),
            Damping::Shifted if n.is_multiple_of(2) => taken(f - 0.5),
            _ => taken(f),
        }
    };
    let mut waves = Vec::new();
    let mut components = 0;
    for f in 0..=n / 2 {
        if factor(f) < LEAST_FACTOR {
            break;
        }
        // Components f and n − f are one pair; 0 and n/2 stand alone.
        let pair = if f == 0 || 2 * f == n { 1.0 } else { 2.0 };
        let scale = (pair * factor(f) / n as f64).sqrt();
        for t in 0..n {
            let (sin, cos) = sincos(2.0 * PI * ((f * t) % n) as f64 / n as f64);
            waves.push([(scale * cos) as f32, (scale * sin) as f32]);
        }
        components += 1;
    }
    (waves, components)
}

struct Remove<'a> {
    plan: &'a FourierWavelet,
    work: &'a mut [Lane],
    sinogram: &'a mut [f32],
}

impl Kernel for Remove<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let Remove { plan, work, sinogram } = self;
        let Some(top) = plan.levels.first() else { return };
        let ([size, half], bands, row) = plan.places();
        let (image, work) = work.split_at_mut(size);
        let (theta, work) = work.split_at_mut(half);
        let (rows, mut detail) = work.split_at_mut(3 * row);
        let (cells, rest) = rows.split_at_mut(row);
        let (low, high) = rest.split_at_mut(row);

        let columns = top.columns;
        let stride = lanes(columns);
        for t in 0..top.rows {
            let angle = (t.max(plan.before) - plan.before).min(plan.angles - 1);
            let outside = t < plan.before || t - plan.before >= plan.angles;
            let line = &sinogram[angle * columns..(angle + 1) * columns];
            for (piece, cell) in image[t * stride..(t + 1) * stride].iter_mut().enumerate() {
                *cell = Lane::ZERO;
                if !(outside && plan.pad == Pad::Zero) {
                    let part = &line[piece * LANES..columns.min((piece + 1) * LANES)];
                    cell.0[..part.len()].copy_from_slice(part);
                }
            }
        }

        // Down: low along θ, then both along x; the next image and V.
        let mut taken: Vec<&mut [Lane]> = Vec::with_capacity(bands.len());
        for (level, &size) in plan.levels.iter().zip(&bands) {
            let (v, rest) = detail.split_at_mut(size);
            detail = rest;
            V::call(AlongTheta { level, filter: &plan.analysis[0], image, theta });
            V::call(AlongX { level, filters: &plan.analysis, theta, image, v, cells, low, high });
            V::call(Take { level, v, components: cells });
            taken.push(v);
        }
        // Up: what was taken away, all else zero.
        let Some(last) = plan.levels.last() else { return };
        image[..last.bands[0] * lanes(last.bands[1])].fill(Lane::ZERO);
        let mut stride = lanes(last.bands[1]);
        for (level, v) in plan.levels.iter().zip(&taken).rev() {
            let width = values(level.bands[1], plan.synthesis[0].len());
            V::call(BackX { level, filters: &plan.synthesis, image, stride, v, theta, width, cells, low, high });
            V::call(BackTheta { level, filter: &plan.synthesis[0], theta, image, width });
            stride = lanes(width);
        }
        for (angle, line) in sinogram.chunks_exact_mut(columns).enumerate() {
            let stripes = &image[(angle + plan.before) * stride..][..stride];
            for (values, stripe) in line.chunks_mut(LANES).zip(stripes) {
                for (value, s) in values.iter_mut().zip(&stripe.0) {
                    *value -= s;
                }
            }
        }
    }
}

struct AlongTheta<'a> {
    level: &'a Level,
    filter: &'a [f32],
    image: &'a [Lane],
    theta: &'a mut [Lane],
}

impl Kernel for AlongTheta<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let stride = lanes(self.level.columns);
        for (k, line) in self.theta.chunks_exact_mut(stride).take(self.level.bands[0]).enumerate() {
            for (piece, cell) in line.iter_mut().enumerate() {
                analyse::<V>(self.filter, &self.image[piece..], stride, self.level.rows, k).store(cell);
            }
        }
    }
}

struct AlongX<'a> {
    level: &'a Level,
    filters: &'a [Vec<f32>; 2],
    theta: &'a [Lane],
    image: &'a mut [Lane],
    v: &'a mut [Lane],
    cells: &'a mut [Lane],
    low: &'a mut [Lane],
    high: &'a mut [Lane],
}

impl Kernel for AlongX<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let [rows, width] = self.level.bands;
        let (from, to) = (lanes(self.level.columns), lanes(width));
        for first in (0..rows).step_by(LANES) {
            let held = LANES.min(rows - first);
            gather::<V>(&self.theta[first * from..], from, held, self.level.columns, self.cells);
            for k in 0..width {
                analyse::<V>(&self.filters[0], self.cells, 1, self.level.columns, k).store(&mut self.low[k]);
                analyse::<V>(&self.filters[1], self.cells, 1, self.level.columns, k).store(&mut self.high[k]);
            }
            // Numbers beyond the width are other rows' leavings: zero, lest they overflow somewhere.
            self.low[width..to * LANES].fill(Lane::ZERO);
            self.high[width..to * LANES].fill(Lane::ZERO);
            scatter::<V>(self.low, &mut self.image[first * to..], to, held, width);
            scatter::<V>(self.high, &mut self.v[first * to..], to, held, width);
        }
    }
}

/// V ← what the damping takes away of it.
struct Take<'a> {
    level: &'a Level,
    v: &'a mut [Lane],
    components: &'a mut [Lane],
}

impl Kernel for Take<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let [rows, width] = self.level.bands;
        let stride = lanes(width);
        let waves = &self.level.waves;
        for piece in 0..stride {
            let count = self.level.components;
            for f in 0..count {
                let (mut cos, mut sin) = (V::splat(0.0), V::splat(0.0));
                for (t, wave) in waves[f * rows..(f + 1) * rows].iter().enumerate() {
                    let value = V::load(&self.v[t * stride + piece]);
                    cos = value.mul_add(V::splat(wave[0]), cos);
                    sin = value.mul_add(V::splat(wave[1]), sin);
                }
                cos.store(&mut self.components[2 * f]);
                sin.store(&mut self.components[2 * f + 1]);
            }
            for t in 0..rows {
                let mut sum = V::splat(0.0);
                for f in 0..count {
                    let wave = waves[f * rows + t];
                    sum = V::load(&self.components[2 * f]).mul_add(V::splat(wave[0]), sum);
                    sum = V::load(&self.components[2 * f + 1]).mul_add(V::splat(wave[1]), sum);
                }
                sum.store(&mut self.v[t * stride + piece]);
            }
        }
    }
}

struct BackX<'a> {
    level: &'a Level,
    filters: &'a [Vec<f32>; 2],
    image: &'a [Lane],
    stride: usize,
    v: &'a [Lane],
    theta: &'a mut [Lane],
    width: usize,
    cells: &'a mut [Lane],
    low: &'a mut [Lane],
    high: &'a mut [Lane],
}

impl Kernel for BackX<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let [rows, count] = self.level.bands;
        let (from, to) = (lanes(count), lanes(self.width));
        for first in (0..rows).step_by(LANES) {
            let held = LANES.min(rows - first);
            gather::<V>(&self.image[first * self.stride..], self.stride, held, count, self.low);
            gather::<V>(&self.v[first * from..], from, held, count, self.high);
            for i in 0..self.width {
                let sum = synthesise::<V>(&self.filters[0], self.low, 1, count, i, V::splat(0.0));
                synthesise::<V>(&self.filters[1], self.high, 1, count, i, sum).store(&mut self.cells[i]);
            }
            self.cells[self.width..to * LANES].fill(Lane::ZERO);
            scatter::<V>(self.cells, &mut self.theta[first * to..], to, held, self.width);
        }
    }
}

struct BackTheta<'a> {
    level: &'a Level,
    filter: &'a [f32],
    theta: &'a [Lane],
    image: &'a mut [Lane],
    width: usize,
}

impl Kernel for BackTheta<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let stride = lanes(self.width);
        // One row more than there were, where their number is odd.
        for (i, line) in self.image.chunks_exact_mut(stride).take(self.level.rows).enumerate() {
            for (piece, cell) in line.iter_mut().enumerate() {
                let bands = self.level.bands[0];
                synthesise::<V>(self.filter, &self.theta[piece..], stride, bands, i, V::splat(0.0)).store(cell);
            }
        }
    }
}
