//! L2. Batch normalisation, its dropout and its activation: everything between two convolutions, in as few passes as
//! can be. Letters of the field: N norm, D dropout, A activation (PReLU with one slope a).
//!
//! ```text
//! v = scale·x + shift,  scale = γ/√(var + ε),  shift = β − mean·scale      per channel
//! u = m·v                                                                  m: dropout's factor, 1 without
//! z = (u < 0 ? a·u : u) + r                                                r: the residual, if any
//!
//! g  = (u > 0 ? 1 : a)·m·dz                                                gradient by v
//! da = Σ (u > 0 ? 0 : u)·dz      dβ = Σ g      dγ = Σ g·(x − mean) / √(var + ε)
//! dx = scale·(g − dβ/n − (x − mean)/(var + ε)·Σ g·(x − mean)/n)            mean, var of the batch: n pixels
//! dx = scale·g                                                             mean, var fixed (evaluation)
//! dr = dz
//! ```
//!
//! **Order.** A row of a channel is summed in f32, x ascending; rows of a band of eight are added in f64, y
//! ascending; bands in the order of samples and rows. Variances: per band the sum of squares about the band's mean,
//! joined by
//!
//! ```text
//! n = nₐ + n_b,  δ = mean_b − meanₐ,  mean = meanₐ + δ·n_b/n,  M = Mₐ + M_b + δ²·nₐ·n_b/n
//! ```
//!
//! (Chan, Golub, LeVeque 1979), so a mean far from zero costs no digits.
//!
//! **Cost.** Training reads x twice and writes z once; backward reads x and dz twice and writes dx once. All are
//! bound by memory.

use super::dropout::{Dropout, RUN};
use super::maps::{Band, Maps, Shape};
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use rayon::prelude::*;

/// ε of PyTorch's BatchNorm.
pub const EPSILON: f64 = 1e-5;
/// Rows of a band: what its two passes read stays in the second-level cache.
const ROWS: usize = 8;

/// Count, mean and sum of squares about the mean of one channel; a device writes them in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Moments {
    /// Pixels.
    pub n: f64,
    /// Mean.
    pub mean: f64,
    /// Σ (x − mean)².
    pub m2: f64,
}

impl Moments {
    /// Both together.
    #[must_use]
    pub fn join(self, b: Moments) -> Moments {
        let n = self.n + b.n;
        let delta = b.mean - self.mean;
        Moments { n, mean: self.mean + delta * (b.n / n), m2: self.m2 + b.m2 + delta * delta * (self.n * b.n / n) }
    }
    /// Variance by n, which normalises.
    pub fn variance(self) -> f64 {
        self.m2 / self.n
    }
    /// Variance by n − 1, which the running variance takes; by 1 where there is one pixel.
    pub fn unbiased(self) -> f64 {
        self.m2 / (self.n - 1.0).max(1.0)
    }
}

/// The layer with its numbers of one step; lanes are channels, groups follow one another.
#[derive(Clone, Debug)]
pub struct Activation {
    /// γ/√(var + ε).
    pub scale: Vec<Lane>,
    /// β − mean·scale.
    pub shift: Vec<Lane>,
    /// Mean.
    pub mean: Vec<Lane>,
    /// a.
    pub slope: f32,
    /// None in evaluation.
    pub dropout: Option<Dropout>,
}

/// One number per channel, as lanes.
pub fn lanes_of(values: impl Iterator<Item = f64>) -> Vec<Lane> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    values.chunks(LANES).map(|c| Lane(std::array::from_fn(|l| c.get(l).copied().unwrap_or(0.0)))).collect()
}

impl Activation {
    /// Without normalisation: z = PReLU(m·x) + r.
    pub fn identity(channels: usize, slope: f32, dropout: Option<Dropout>) -> Activation {
        let all = |v: f32| vec![Lane([v; LANES]); channels.div_ceil(LANES)];
        Activation { scale: all(1.0), shift: all(0.0), mean: all(0.0), slope, dropout }
    }
    /// As [`Activation::new`], with the moments of what is normalised itself.
    pub fn of_moments(
        moments: &[Moments],
        gamma: &[Lane],
        beta: &[Lane],
        slope: f32,
        dropout: Option<Dropout>,
    ) -> Activation {
        let statistics: Vec<_> = moments.iter().map(|m| (m.mean, m.variance())).collect();
        Activation::new(&statistics, gamma, beta, slope, dropout)
    }
    /// From mean and variance by n, γ and β per channel.
    pub fn new(
        statistics: &[(f64, f64)],
        gamma: &[Lane],
        beta: &[Lane],
        slope: f32,
        dropout: Option<Dropout>,
    ) -> Activation {
        let of = |v: &[Lane], c: usize| f64::from(v[c / LANES].0[c % LANES]);
        let scale: Vec<f64> =
            statistics.iter().enumerate().map(|(c, s)| of(gamma, c) / (s.1 + EPSILON).sqrt()).collect();
        let shift = statistics.iter().enumerate().map(|(c, s)| of(beta, c) - s.0 * scale[c]);
        Activation {
            shift: lanes_of(shift),
            mean: lanes_of(statistics.iter().map(|s| s.0)),
            scale: lanes_of(scale.iter().copied()),
            slope,
            dropout,
        }
    }
}

/// Σ g, Σ g·(x − mean), Σ (u > 0 ? 0 : u)·dz of one channel.
pub type GradientSums = [f64; 3];

/// What dx takes: dx = scale·g + (by_x·(x − mean) + constant).
#[derive(Clone, Debug)]
pub struct Backward {
    /// −scale/(var + ε)·Σ g·(x − mean)/n; 0 in evaluation.
    pub by_x: Vec<Lane>,
    /// −scale·Σ g/n; 0 in evaluation.
    pub constant: Vec<Lane>,
}

impl Backward {
    /// Where mean and variance are fixed: dx = scale·g.
    pub fn fixed(channels: usize) -> Backward {
        let zeros = vec![Lane::ZERO; channels.div_ceil(LANES)];
        Backward { by_x: zeros.clone(), constant: zeros }
    }
    /// From the sums and the batch's moments per channel.
    pub fn new(activation: &Activation, sums: &[GradientSums], moments: &[Moments]) -> Backward {
        let scale = |c: usize| f64::from(activation.scale[c / LANES].0[c % LANES]);
        let per = |c: usize| moments[c].n * (moments[c].variance() + EPSILON);
        Backward {
            by_x: lanes_of((0..sums.len()).map(|c| -scale(c) * sums[c][1] / per(c))),
            constant: lanes_of((0..sums.len()).map(|c| -scale(c) * sums[c][0] / moments[c].n)),
        }
    }
}

/// Per channel K sums over pixels, by bands: `band` gives those of a band and group, added in order.
fn collect<const K: usize>(shape: Shape, band: impl Fn(Band) -> [[f64; LANES]; K] + Sync) -> Vec<[f64; K]> {
    let bands = shape.bands::<Lane>(ROWS);
    let sums: Vec<_> = bands.par_iter().map(|&b| band(b)).collect();
    let mut total = vec![[0.0; K]; shape.c];
    for (b, sums) in bands.iter().zip(sums) {
        for (l, total) in total[b.g * LANES..].iter_mut().take(LANES).enumerate() {
            (0..K).for_each(|k| total[k] += sums[k][l]);
        }
    }
    total
}

/// Adds the sums of a row, f32, to those of its band.
#[inline(always)]
fn add_row<V: F32x16, const K: usize>(band: &mut [[f64; LANES]; K], row: [V; K]) {
    for k in 0..K {
        let mut lanes = Lane::ZERO;
        row[k].store(&mut lanes);
        for l in 0..LANES {
            band[k][l] += f64::from(lanes.0[l]);
        }
    }
}

/// Σ x per channel: the gradient of a bias.
pub fn sums(isa: Isa, x: &Maps<Lane>) -> Vec<f64> {
    collect::<1>(x.shape(), |band| isa.run(Squares { x, band, about: None })).iter().map(|s| s[0]).collect()
}

/// Σ x per channel by the definition.
pub fn sums_reference(x: &Maps<Lane>) -> Vec<f64> {
    collect_reference(x.shape(), |n, c, y, x_at| [x.at(n, c, y, x_at)], |sum, [v]| [sum[0] + v])
        .iter()
        .map(|s| s[0])
        .collect()
}

/// The definition of sums per channel: `term` of each pixel, joined to a row by `add`.
fn collect_reference<const K: usize, const T: usize>(
    shape: Shape,
    term: impl Fn(usize, usize, usize, usize) -> [f32; T],
    add: impl Fn([f32; K], [f32; T]) -> [f32; K],
) -> Vec<[f64; K]> {
    let channel = |c: usize| {
        let mut total = [0.0; K];
        for n in 0..shape.n {
            for first in (0..shape.h).step_by(ROWS) {
                let mut band = [0.0; K];
                for y in first..shape.h.min(first + ROWS) {
                    let row = (0..shape.w).fold([0.0; K], |row, x| add(row, term(n, c, y, x)));
                    (0..K).for_each(|k| band[k] += f64::from(row[k]));
                }
                (0..K).for_each(|k| total[k] += band[k]);
            }
        }
        total
    };
    (0..shape.c).map(channel).collect()
}

/// Σ x of a band, or Σ (x − about)².
struct Squares<'a> {
    x: &'a Maps<Lane>,
    band: Band,
    about: Option<&'a Lane>,
}

impl Kernel for Squares<'_> {
    type Out = [[f64; LANES]; 1];
    #[inline(always)]
    fn run<V: F32x16>(self) -> [[f64; LANES]; 1] {
        let mut band = [[0.0; LANES]];
        for y in self.band.first..self.band.last {
            let mut sum = V::splat(0.0);
            let row = self.x.row(self.band.n, self.band.g, y);
            match self.about {
                None => {
                    for x in row {
                        sum = sum.add(V::load(x));
                    }
                }
                Some(about) => {
                    let about = V::load(about);
                    for x in row {
                        let d = V::load(x).sub(about);
                        sum = d.mul_add(d, sum);
                    }
                }
            }
            add_row(&mut band, [sum]);
        }
        band
    }
}

/// Moments of a band from Σ x and from Σ (x − about)², `about` being the mean rounded to f32.
fn band_moments(n: f64, sum: f64, squares: f64) -> Moments {
    let mean = sum / n;
    let off = mean - f64::from(mean as f32);
    Moments { n, mean, m2: (squares - n * off * off).max(0.0) }
}

/// Moments per channel.
pub fn moments(isa: Isa, x: &Maps<Lane>) -> Vec<Moments> {
    let shape = x.shape();
    let bands = shape.bands::<Lane>(ROWS);
    let of = |band: &Band| -> [Moments; LANES] {
        let n = ((band.last - band.first) * shape.w) as f64;
        let [sum] = isa.run(Squares { x, band: *band, about: None });
        let mean = Lane(std::array::from_fn(|l| (sum[l] / n) as f32));
        let [squares] = isa.run(Squares { x, band: *band, about: Some(&mean) });
        std::array::from_fn(|l| band_moments(n, sum[l], squares[l]))
    };
    let parts: Vec<_> = bands.par_iter().map(of).collect();
    let mut total = vec![Moments::default(); shape.c];
    for (band, parts) in bands.iter().zip(parts) {
        for (total, part) in total[band.g * LANES..].iter_mut().zip(parts) {
            *total = if total.n == 0.0 { part } else { total.join(part) };
        }
    }
    total
}

/// Moments per channel by the definition.
pub fn moments_reference(x: &Maps<Lane>) -> Vec<Moments> {
    let shape = x.shape();
    let channel = |c: usize| {
        let mut total = Moments::default();
        for n in 0..shape.n {
            for first in (0..shape.h).step_by(ROWS) {
                let ys = first..shape.h.min(first + ROWS);
                let count = (ys.len() * shape.w) as f64;
                let row = |y: usize| (0..shape.w).fold(0f32, |sum, i| sum + x.at(n, c, y, i));
                let sum = ys.clone().fold(0.0, |sum, y| sum + f64::from(row(y)));
                let about = (sum / count) as f32;
                let row = |y: usize| {
                    (0..shape.w).fold(0f32, |sum, i| {
                        let d = x.at(n, c, y, i) - about;
                        d.mul_add(d, sum)
                    })
                };
                let part = band_moments(count, sum, ys.fold(0.0, |sum, y| sum + f64::from(row(y))));
                total = if total.n == 0.0 { part } else { total.join(part) };
            }
        }
        total
    };
    (0..shape.c).map(channel).collect()
}

/// z of x.
pub fn activate(isa: Isa, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
    let shape = x.shape();
    z.bands_mut(ROWS)
        .into_par_iter()
        .for_each(|(band, out)| isa.run(Rows { a, x, shape, band, out, what: Forward { residual } }));
}

/// dx of dz.
pub fn gradient(isa: Isa, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
    let shape = x.shape();
    dx.bands_mut(ROWS)
        .into_par_iter()
        .for_each(|(band, out)| isa.run(Rows { a, x, shape, band, out, what: Gradient { b, dz } }));
}

/// The sums that the gradients take, per channel.
pub fn gradient_sums(isa: Isa, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
    let shape = x.shape();
    collect::<3>(shape, |band| isa.run(Rows { a, x, shape, band, out: &mut [], what: Sums { dz } }))
}

/// Something done to the rows of a band, with x, scale, shift and the dropout's factors at hand.
struct Rows<'a, W> {
    a: &'a Activation,
    x: &'a Maps<Lane>,
    shape: Shape,
    band: Band,
    out: &'a mut [Lane],
    what: W,
}

struct Forward<'a> {
    residual: Option<&'a Maps<Lane>>,
}
struct Gradient<'a> {
    b: &'a Backward,
    dz: &'a Maps<Lane>,
}
struct Sums<'a> {
    dz: &'a Maps<Lane>,
}

/// The constants of a group of channels, in registers.
#[derive(Clone, Copy)]
struct Group<V> {
    scale: V,
    shift: V,
    mean: V,
    slope: V,
}

impl<V: F32x16> Group<V> {
    #[inline(always)]
    fn load(a: &Activation, g: usize) -> Group<V> {
        Group {
            scale: V::load(&a.scale[g]),
            shift: V::load(&a.shift[g]),
            mean: V::load(&a.mean[g]),
            slope: V::splat(a.slope),
        }
    }
    /// u.
    #[inline(always)]
    fn dropped(self, x: V, m: V) -> V {
        x.mul_add(self.scale, self.shift).mul(m)
    }
    /// g and what dz adds to da.
    #[inline(always)]
    fn slopes(self, x: V, m: V, dz: V) -> (V, V) {
        let (u, zero) = (self.dropped(x, m), V::splat(0.0));
        let by_u = zero.select_less(u, V::splat(1.0), self.slope);
        (by_u.mul(m).mul(dz), zero.select_less(u, zero, u).mul(dz))
    }
}

/// The dropout's factors of each run of eight pixels of a row, ones without dropout.
macro_rules! runs {
    ($rows:ident, $y:expr, |$x:ident, $m:ident| $body:block) => {
        let w = $rows.shape.w;
        match &$rows.a.dropout {
            None => {
                let $m = V::splat(1.0);
                for $x in 0..w $body
            }
            Some(dropout) => {
                for first in (0..w).step_by(RUN) {
                    let factors = dropout.factors(dropout.index($rows.shape, $rows.band.n, $rows.band.g, $y, first));
                    for $x in first..w.min(first + RUN) {
                        let $m = V::load(&factors[$x % RUN]);
                        $body
                    }
                }
            }
        }
    };
}

impl Kernel for Rows<'_, Forward<'_>> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let (band, w, zero) = (self.band, self.shape.w, V::splat(0.0));
        let c = Group::<V>::load(self.a, band.g);
        for y in band.first..band.last {
            let x_row = &self.x.row(band.n, band.g, y)[..w];
            let z_row = &mut self.out[(y - band.first) * self.shape.pitch() + 1..][..w];
            match self.what.residual.map(|r| &r.row(band.n, band.g, y)[..w]) {
                None => {
                    runs!(self, y, |x, m| {
                        let u = c.dropped(V::load(&x_row[x]), m);
                        u.select_less(zero, c.slope.mul(u), u).store(&mut z_row[x]);
                    });
                }
                Some(r) => {
                    runs!(self, y, |x, m| {
                        let u = c.dropped(V::load(&x_row[x]), m);
                        u.select_less(zero, c.slope.mul(u), u).add(V::load(&r[x])).store(&mut z_row[x]);
                    });
                }
            }
        }
    }
}

impl Kernel for Rows<'_, Gradient<'_>> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let (band, w) = (self.band, self.shape.w);
        let c = Group::<V>::load(self.a, band.g);
        let (by_x, constant) = (V::load(&self.what.b.by_x[band.g]), V::load(&self.what.b.constant[band.g]));
        for y in band.first..band.last {
            let x_row = &self.x.row(band.n, band.g, y)[..w];
            let dz_row = &self.what.dz.row(band.n, band.g, y)[..w];
            let dx_row = &mut self.out[(y - band.first) * self.shape.pitch() + 1..][..w];
            runs!(self, y, |x, m| {
                let v = V::load(&x_row[x]);
                let (g, _) = c.slopes(v, m, V::load(&dz_row[x]));
                g.mul_add(c.scale, v.sub(c.mean).mul_add(by_x, constant)).store(&mut dx_row[x]);
            });
        }
    }
}

impl Kernel for Rows<'_, Sums<'_>> {
    type Out = [[f64; LANES]; 3];
    #[inline(always)]
    fn run<V: F32x16>(self) -> [[f64; LANES]; 3] {
        let (band, w) = (self.band, self.shape.w);
        let c = Group::<V>::load(self.a, band.g);
        let mut sums = [[0.0; LANES]; 3];
        for y in band.first..band.last {
            let x_row = &self.x.row(band.n, band.g, y)[..w];
            let dz_row = &self.what.dz.row(band.n, band.g, y)[..w];
            let (mut s, mut sx, mut sa) = (V::splat(0.0), V::splat(0.0), V::splat(0.0));
            runs!(self, y, |x, m| {
                let v = V::load(&x_row[x]);
                let (g, by_a) = c.slopes(v, m, V::load(&dz_row[x]));
                s = s.add(g);
                sx = g.mul_add(v.sub(c.mean), sx);
                sa = sa.add(by_a);
            });
            add_row(&mut sums, [s, sx, sa]);
        }
        sums
    }
}

/// The definition of one number: scale, shift, mean and the dropout's factor.
fn constants(a: &Activation, shape: Shape, n: usize, c: usize, y: usize, x: usize) -> [f32; 4] {
    let of = |v: &[Lane]| v[c / LANES].0[c % LANES];
    [of(&a.scale), of(&a.shift), of(&a.mean), a.dropout.map_or(1.0, |d| d.factor(shape, n, c, y, x))]
}

/// z of x by the definition.
pub fn activate_reference(a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
    z.fill_by(|n, c, y, i| {
        let [scale, shift, _, m] = constants(a, x.shape(), n, c, y, i);
        let u = x.at(n, c, y, i).mul_add(scale, shift) * m;
        let z = if u < 0.0 { a.slope * u } else { u };
        residual.map_or(z, |r| z + r.at(n, c, y, i))
    });
}

/// g and what dz adds to da, by the definition.
fn slopes_reference(
    a: &Activation,
    x: &Maps<Lane>,
    dz: &Maps<Lane>,
    n: usize,
    c: usize,
    y: usize,
    i: usize,
) -> [f32; 2] {
    let [scale, shift, _, m] = constants(a, x.shape(), n, c, y, i);
    let (u, dz) = (x.at(n, c, y, i).mul_add(scale, shift) * m, dz.at(n, c, y, i));
    [if u > 0.0 { 1.0 } else { a.slope } * m * dz, if u > 0.0 { 0.0 } else { u } * dz]
}

/// The sums by the definition.
pub fn gradient_sums_reference(a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
    let term = |n, c, y, i| {
        let [g, by_a] = slopes_reference(a, x, dz, n, c, y, i);
        [g, x.at(n, c, y, i) - constants(a, x.shape(), n, c, y, i)[2], by_a]
    };
    collect_reference(x.shape(), term, |s: [f32; 3], [g, d, by_a]| [s[0] + g, g.mul_add(d, s[1]), s[2] + by_a])
}

/// dx of dz by the definition.
pub fn gradient_reference(a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
    dx.fill_by(|n, c, y, i| {
        let [g, _] = slopes_reference(a, x, dz, n, c, y, i);
        let [scale, _, mean, _] = constants(a, x.shape(), n, c, y, i);
        let of = |v: &[Lane]| v[c / LANES].0[c % LANES];
        g.mul_add(scale, (x.at(n, c, y, i) - mean).mul_add(of(&b.by_x), of(&b.constant)))
    });
}
