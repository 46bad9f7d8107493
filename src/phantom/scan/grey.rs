//! A grey volume of a scan, made without projecting: what a reconstruction would look like, at a stated contrast.
//!
//! ```text
//! grey = G ⊗ (mean of µ over the voxel's box) + σ n + a ρ        1/cm, on the specimen's box, `[z][y][x]`
//! σ = |µ(Li) − µ(electrolyte)| / CNR,  a = rings · |µ(Li) − µ(electrolyte)|
//! ```
//!
//! G is a sampled Gaussian, separable, cut where its weight falls below 2⁻²⁴ of the largest. n is noise as the ramp filter of a
//! reconstruction leaves it, of variance 1: power ∝ |ν| in the plane up to the Nyquist circle |ν| = ½ and nothing
//! beyond, white along z. For a plane of M frequencies k with normal numbers α_k, β_k,
//!
//! ```text
//! n₁ + i n₂ = Σ_k A_k (α_k + i β_k) e^(2πi k·p),   A_k = √|ν_k| / √(Σ |ν|)
//! ```
//!
//! are the noises of two slices: independent, because the α and β are, and of variance Σ A² = 1 exactly. (It is periodic
//! over a plane that may be a little larger than the slice.) ρ are rings about the axis, one normal number per detector
//! column, interpolated linearly between columns; those on one side of the axis make the half circles on that side, as
//! in a scan over 180°. Along z a ring changes smoothly over [`RING_ROWS`] rows, its variance the same everywhere.
//!
//! Left out: streaks, cupping, and noise that varies over the slice.

use super::lab::{Mean, Sampler, axis};
use super::motion::Pose;
use crate::error::{Error, Result};
use crate::fft::plane::PlanePlan;
use crate::fft::{Direction, next_even_smooth};
use crate::num::elementary::exp;
use crate::num::lanes::{Isa, LANES, Lane};
use crate::num::philox::Stream;
use crate::num::sum::sum_f64;
use crate::phantom::matter::{Fill, LITHIUM, optical_table};
use crate::phantom::specimen::Specimen;
use crate::volume::Dims;
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// Streams: index = step · 2⁴⁰ + the rest.
const NOISE: u32 = 0x6e6f_6973;
const RINGS: u32 = 0x7269_6e67;
const STEP_BITS: u32 = 40;
/// Rows over which a ring becomes another.
pub const RING_ROWS: usize = 16;
/// ln 2²⁴: where the blur is cut.
const TAIL: f64 = 16.635_532_333_438_686;

/// What the grey volume looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GreySettings {
    /// Contrast of lithium and electrolyte over the standard deviation of the noise; infinite for none.
    pub cnr: f64,
    /// Standard deviation of the blur, voxels.
    pub blur: f64,
    /// Standard deviation of the rings, as a part of the contrast.
    pub rings: f64,
    /// Whether the cell goes on outside its box in x and z.
    pub surround: bool,
}

impl Default for GreySettings {
    fn default() -> Self {
        GreySettings { cnr: 5.0, blur: 0.6, rings: 0.05, surround: true }
    }
}

/// |µ(Li) − µ(electrolyte)|, 1/cm.
pub fn contrast() -> f64 {
    (LITHIUM.mu - Fill::Electrolyte.optical().mu).abs()
}

impl GreySettings {
    /// Refuses what is no volume.
    ///
    /// # Errors
    /// Usage: a setting is negative or not a number, or the contrast-to-noise ratio is 0.
    pub fn check(&self) -> Result<()> {
        let GreySettings { cnr, blur, rings, .. } = *self;
        if !(cnr > 0.0 && (0.0..=100.0).contains(&blur) && (0.0..=100.0).contains(&rings)) {
            return Err(Error::usage(format!("contrast-to-noise ratio {cnr}, blur {blur}, rings {rings}"))
                .help("the first is above 0, the others are at least 0"));
        }
        Ok(())
    }
}

/// The grey volume of one scan, made a slab at a time.
pub struct Grey<'a> {
    isa: Isa,
    dims: Dims,
    settings: GreySettings,
    sampler: Sampler<'a>,
    /// 1/cm by voxel code, and nothing.
    mu: Vec<[f32; 2]>,
    /// The blur's weights, 2 · margin + 1 of sum 1.
    weights: Vec<f32>,
    noise: Noise,
    rings: Stream,
    /// Where the indices of this step begin.
    step: u64,
}

impl<'a> Grey<'a> {
    /// Prepares the volume of scan `step` of series `seed`.
    ///
    /// # Errors
    /// If a setting is negative or not a number, or the contrast-to-noise ratio is 0.
    pub fn new(
        specimen: &'a Specimen,
        pose: &'a Pose,
        settings: GreySettings,
        isa: Isa,
        seed: u64,
        step: u32,
    ) -> Result<Grey<'a>> {
        settings.check()?;
        let GreySettings { blur, surround, .. } = settings;
        let dims = specimen.dims;
        let margin = (blur * (2.0 * TAIL).sqrt()) as usize;
        let weight = |i: usize| {
            let t = (i as f64 - margin as f64) / blur;
            if i == margin { 1.0 } else { exp(-0.5 * t * t) }
        };
        let weights: Vec<f64> = (0..=2 * margin).map(weight).collect();
        let sum = sum_f64(&weights);
        let xs = (0..dims.nx + 2 * margin).map(|i| i as f64 - margin as f64);
        Ok(Grey {
            isa,
            dims,
            settings,
            sampler: Sampler::new(specimen, pose, xs, surround).for_means(specimen.dims),
            mu: optical_table().iter().map(|o| [o.mu as f32, 0.0]).collect(),
            weights: weights.iter().map(|w| (w / sum) as f32).collect(),
            noise: Noise::new(dims, Stream::new(seed, NOISE))?,
            rings: Stream::new(seed, RINGS),
            step: u64::from(step) << STEP_BITS,
        })
    }

    /// The slices `z` of the volume, `[z][y][x]` in 1/cm. A slice has the same bits in any slab.
    ///
    /// # Panics
    /// If `out` has another length than the slices.
    pub fn run(&self, z: Range<usize>, out: &mut [f32]) {
        let Dims { ny, nx, .. } = self.dims;
        assert_eq!(out.len(), z.len() * nx * ny, "{} slices of {nx} x {ny}", z.len());
        // Rows of the padded box, blurred along z and x: `[x][z]`.
        let rows: Vec<Vec<f32>> =
            (0..ny + self.weights.len() - 1).into_par_iter().map(|y| self.row(y, z.clone())).collect();
        let gain = (contrast() / self.settings.cnr) as f32;
        let (mut drawn, mut noise) = (usize::MAX, [Vec::new(), Vec::new()]);
        for (k, plane) in out.chunks_mut(nx * ny).enumerate() {
            if gain > 0.0 && drawn != (z.start + k) / 2 {
                drawn = (z.start + k) / 2;
                noise = self.noise.pair(self.isa, self.step, drawn as u64);
            }
            let noise = &noise[(z.start + k) % 2];
            let rings = self.ring_columns(z.start + k);
            plane.par_chunks_mut(nx).enumerate().for_each(|(y, row)| {
                for (x, value) in row.iter_mut().enumerate() {
                    let near = rows[y..].iter().zip(&self.weights);
                    *value = near.fold(0.0, |sum, (row, w)| sum + w * row[x * z.len() + k]);
                    if gain > 0.0 {
                        *value += gain * noise[y * self.noise.nx + x];
                    }
                    if !rings.is_empty() {
                        *value += self.ring(&rings, x, y);
                    }
                }
            });
        }
    }

    /// Row y of the padded box at the slices z, blurred along z and x, `[x][z]`.
    fn row(&self, y: usize, z: Range<usize>) -> Vec<f32> {
        let (nx, width) = (self.dims.nx, self.weights.len());
        let (margin, padded, nz) = ((width - 1) / 2, nx + width - 1, z.len());
        let depth = (nz + width - 1).next_multiple_of(LANES);
        let mut means = vec![0.0f32; padded * depth];
        let mut cells = vec![Lane::ZERO; padded];
        for first in (0..depth).step_by(LANES) {
            let zs = from_fn(|lane| (z.start + first + lane) as f64 - margin as f64);
            let mean = Mean::new(1.0, &self.mu, &mut cells, None);
            self.sampler.row(self.isa, y as f64 - margin as f64, zs, 0..padded, mean);
            for (column, cell) in means.chunks_exact_mut(depth).zip(&cells) {
                column[first..first + LANES].copy_from_slice(&cell.0);
            }
        }
        let blurred = |of: &dyn Fn(usize) -> f32| (0..width).fold(0.0, |sum, j| sum + self.weights[j] * of(j));
        let along_z: Vec<f32> = (0..padded * nz).map(|i| blurred(&|j| means[i / nz * depth + i % nz + j])).collect();
        (0..nx * nz).map(|i| blurred(&|j| along_z[i + j * nz])).collect()
    }

    /// The rings' columns in slice z, in 1/cm: from the axis up, then from the axis down; empty if there are none.
    fn ring_columns(&self, z: usize) -> Vec<f32> {
        if self.settings.rings == 0.0 {
            return Vec::new();
        }
        // Every radius in the box, and one more to interpolate.
        let half = self.dims.nx + self.dims.ny + 2;
        let (knot, part) = (z / RING_ROWS, (z % RING_ROWS) as f64 / RING_ROWS as f64);
        let at = |knot: usize, column: usize| self.rings.normal(self.step + (knot * 2 * half + column) as u64);
        let mix = |column| (1.0 - part).sqrt() * at(knot, column) + part.sqrt() * at(knot + 1, column);
        (0..2 * half).map(|column| (self.settings.rings * contrast() * mix(column)) as f32).collect()
    }

    /// The ring at a voxel.
    fn ring(&self, columns: &[f32], x: usize, y: usize) -> f32 {
        let [axis_x, axis_y] = axis(self.dims);
        let (dx, dy) = (x as f64 - axis_x, axis_y - y as f64);
        let radius = (dx * dx + dy * dy).sqrt();
        let (whole, part) = (radius as usize, (radius - radius.floor()) as f32);
        let side = &columns[if dy > 0.0 { 0 } else { columns.len() / 2 }..];
        (1.0 - part) * side[whole] + part * side[whole + 1]
    }
}

/// Noise of variance 1 for pairs of slices.
struct Noise {
    plan: PlanePlan,
    /// A `[ky][kx]`.
    amplitude: Vec<f32>,
    nx: usize,
    stream: Stream,
}

impl Noise {
    fn new(dims: Dims, stream: Stream) -> Result<Noise> {
        let [nx, ny] = [dims.nx, dims.ny].map(next_even_smooth);
        let frequency = |k: usize, n: usize| k.min(n - k) as f64 / n as f64;
        let power: Vec<f64> = (0..nx * ny)
            .map(|i| {
                let (fx, fy) = (frequency(i % nx, nx), frequency(i / nx, ny));
                let nu = (fx * fx + fy * fy).sqrt();
                if nu <= 0.5 { nu } else { 0.0 }
            })
            .collect();
        let sum = sum_f64(&power);
        let amplitude = power.iter().map(|p| (p / sum).sqrt() as f32).collect();
        Ok(Noise { plan: PlanePlan::new(ny, nx, Direction::Inverse)?, amplitude, nx, stream })
    }

    /// The noise of slices 2·pair and 2·pair + 1, rows of `self.nx`.
    fn pair(&self, isa: Isa, step: u64, pair: u64) -> [Vec<f32>; 2] {
        let cells = self.amplitude.len();
        let (mut re, mut im) = (vec![0.0; cells], vec![0.0; cells]);
        let rows = re.par_chunks_mut(self.nx).zip(im.par_chunks_mut(self.nx)).enumerate();
        rows.for_each(|(row, (re, im))| {
            for k in 0..self.nx {
                let cell = row * self.nx + k;
                let a = self.amplitude[cell];
                if a > 0.0 {
                    let (alpha, beta) = self.stream.normal_pair(step + pair * cells as u64 + cell as u64);
                    (re[k], im[k]) = (a * alpha as f32, a * beta as f32);
                }
            }
        });
        self.plan.run(isa, &mut re, &mut im);
        [re, im]
    }
}

#[cfg(test)]
mod tests {
    use super::super::motion::MotionSettings;
    use super::*;
    use crate::phantom::matter::{Label, Voxel};

    const SILENT: GreySettings = GreySettings { cnr: f64::INFINITY, blur: 0.6, rings: 0.0, surround: true };

    /// Electrolyte, with lithium from x = `lithium` on.
    fn specimen(dims: Dims, lithium: usize) -> Specimen {
        let voxel = |i: usize| {
            let full = if i % dims.nx >= lithium { 255 } else { 0 };
            Voxel::new(Fill::Electrolyte, Label::Background, full).0
        };
        Specimen {
            dims,
            voxels: (0..dims.voxels()).map(voxel).collect(),
            plating_until: 8.0,
            stripping_from: 16.0,
            markers: Vec::new(),
            layers: Vec::new(),
        }
    }

    fn volume(specimen: &Specimen, settings: GreySettings, motion: &MotionSettings, z: Range<usize>) -> Vec<f32> {
        let pose = Pose::draw(motion, specimen.dims, [specimen.plating_until, specimen.stripping_from], 5, 3).unwrap();
        let grey = Grey::new(specimen, &pose, settings, Isa::detect(), 11, 3).unwrap();
        let mut out = vec![f32::NAN; z.len() * specimen.dims.slice()];
        grey.run(z, &mut out);
        out
    }

    #[test]
    fn without_noise_materials_have_their_attenuation_and_edges_the_blur() {
        let s = specimen(Dims { nz: 3, ny: 24, nx: 24 }, 12);
        let grey = volume(&s, SILENT, &MotionSettings::STILL, 0..3);
        let row = &grey[(24 + 12) * 24..][..24];
        let (low, high) = (row[20], row[3]);
        assert!((f64::from(low) / 0.0896 - 1.0).abs() < 1e-6 && (f64::from(high) / 0.629 - 1.0).abs() < 1e-6);
        assert!((f64::from(high - low) / contrast() - 1.0).abs() < 1e-6);
        // The step's slope is the blur's line: 1, e^(-1/0.72), e^(-4/0.72) … at 0, ±1, ±2, of mean square width 0.3516.
        let line: Vec<f64> = row.windows(2).map(|w| f64::from(w[0] - w[1]) / contrast()).collect();
        let width: f64 = line.iter().enumerate().map(|(x, v)| v * (x as f64 - 11.0).powi(2)).sum();
        assert!((width - 0.3516).abs() < 1e-4, "{width}");
        let sharp = volume(&s, GreySettings { blur: 0.0, ..SILENT }, &MotionSettings::STILL, 1..2);
        assert!(sharp.chunks(24).all(|row| row[11] == 0.629 && row[12] == 0.0896));
    }

    #[test]
    fn noise_has_the_stated_size_and_the_colour_of_a_ramp() {
        // Extents that the transform takes as they are.
        let (nx, ny, nz) = (64, 60, 20);
        let s = specimen(Dims { nz, ny, nx }, nx);
        let grey = volume(&s, GreySettings { cnr: 4.0, ..SILENT }, &MotionSettings::STILL, 0..nz);
        let sigma = contrast() / 4.0;
        let silent = volume(&s, SILENT, &MotionSettings::STILL, 0..nz);
        let noise: Vec<f64> = grey.iter().zip(&silent).map(|(&v, &s)| f64::from(v - s) / sigma).collect();
        let variance = noise.iter().map(|v| v * v).sum::<f64>() / noise.len() as f64;
        // Power |ν| in a circle of π/4 of the plane: ΣS²/(ΣS)² = (1/8)/(1/9) / (π/4 n); the variance of a measured
        // variance is twice that.
        let error = (2.0 * 9.0 / 8.0 / (0.785 * noise.len() as f64)).sqrt();
        println!("variance {variance:.4} ± {error:.4}");
        assert!((variance - 1.0).abs() < 4.0 * error, "{variance} ± {error}");
        // Neighbouring slices, of one pair and of two, have nothing to do with each other.
        for first in [0, 1] {
            let product =
                |z: usize| (0..nx * ny).map(|i| noise[z * nx * ny + i] * noise[(z + 1) * nx * ny + i]).sum::<f64>();
            let mean = (first..nz - 1).step_by(2).map(product).sum::<f64>() / (nx * ny * 10) as f64;
            assert!(mean.abs() < 4.0 / (nx * ny * 9) as f64 * ((nx * ny * 9) as f64 * 1.5).sqrt(), "{mean}");
        }
        let (mut power, mut count) = ([0.0; 8], [0.0; 8]);
        let plan = PlanePlan::new(ny, nx, Direction::Forward).unwrap();
        for plane in noise.chunks(nx * ny) {
            let (mut re, mut im) = (plane.iter().map(|&v| v as f32).collect::<Vec<_>>(), vec![0.0; nx * ny]);
            plan.run(Isa::detect(), &mut re, &mut im);
            for i in 0..nx * ny {
                let f = |k: usize, n: usize| k.min(n - k) as f64 / n as f64;
                let nu = f(i % nx, nx).hypot(f(i / nx, ny));
                if nu <= 0.5 && nu > 0.0 {
                    let bin = ((nu * 16.0) as usize).min(7);
                    power[bin] += f64::from(re[i].powi(2) + im[i].powi(2)) / nu;
                    count[bin] += 1.0;
                } else {
                    assert!(f64::from(re[i].hypot(im[i])) < 1e-2, "nothing beyond Nyquist");
                }
            }
        }
        // Power over |ν| is the same in all bins: n·|A|²/|ν|, exponential, of relative error 1/√(half the count).
        let level = power.iter().sum::<f64>() / count.iter().sum::<f64>();
        for (p, n) in power.iter().zip(count) {
            assert!((p / n / level - 1.0).abs() < 5.0 / (n / 2.0f64).sqrt(), "{power:?} {count:?}");
        }
    }

    #[test]
    fn a_slice_has_the_same_bits_in_any_slab_and_on_any_machine() {
        let s = specimen(Dims { nz: 37, ny: 26, nx: 21 }, 9);
        let motion = MotionSettings { warp: [0.1, 0.2], tilt_deg: [2.0, 2.0], ..MotionSettings::STILL };
        let settings = GreySettings::default();
        let all = volume(&s, settings, &motion, 0..37);
        for z in [0..1, 3..20, 17..18, 20..37] {
            let slice = s.dims.slice();
            assert!(volume(&s, settings, &motion, z.clone()) == all[z.start * slice..z.end * slice], "{z:?}");
        }
        let pose = Pose::draw(&motion, s.dims, [s.plating_until, s.stripping_from], 5, 3).unwrap();
        for isa in Isa::available() {
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![0.0; all.len()];
                pool.install(|| Grey::new(&s, &pose, settings, isa, 11, 3).unwrap().run(0..37, &mut out));
                assert!(out == all, "{} {threads}", isa.name());
            }
        }
        let other = Grey::new(&s, &pose, settings, Isa::detect(), 11, 4).unwrap();
        let mut out = vec![0.0; all.len()];
        other.run(0..37, &mut out);
        assert!(out != all, "another step, the same noise");
    }

    #[test]
    fn rings_are_round_about_the_axis_and_change_slowly_along_it() {
        let (nx, ny, nz) = (40, 50, 64);
        let s = specimen(Dims { nz, ny, nx }, nx);
        let rings = volume(&s, GreySettings { rings: 0.1, ..SILENT }, &MotionSettings::STILL, 0..nz);
        let at = |x: usize, y: usize, z: usize| f64::from(rings[(z * ny + y) * nx + x]) - 0.629;
        // The axis is (20, 24): left and right of it, and where 3² + 4² = 5².
        for z in 0..nz {
            assert!((at(20 - 7, 24, z) - at(20 + 7, 24, z)).abs() < 1e-6);
            assert!((at(20 + 3, 24 - 4, z) - at(20, 24 - 5, z)).abs() < 1e-6);
            assert!((at(20 + 3, 24 + 4, z) - at(20 - 4, 24 + 3, z)).abs() < 1e-6);
        }
        assert!((at(20, 24 - 5, 0) - at(20, 24 + 5, 0)).abs() > 1e-3, "the two sides are different columns");
        // Whole radii are one column each; 19 above and below, knots 16 rows apart: 4 independent numbers each.
        let columns = || (1..20).flat_map(|r| [24 - r, 24 + r]);
        let square = |z: usize| columns().map(|y| at(20, y, z).powi(2)).sum::<f64>() / 38.0;
        let sigma = ((0..nz).map(square).sum::<f64>() / nz as f64).sqrt() / contrast();
        assert!((sigma / 0.1 - 1.0).abs() < 4.0 / (2.0 * 38.0 * 4.0f64).sqrt(), "{sigma}");
        let next = |d: usize| {
            (0..nz - d).map(|z| columns().map(|y| at(20, y, z) * at(20, y, z + d)).sum::<f64>()).sum::<f64>()
        };
        assert!(next(1) > 0.8 * next(0) && next(40).abs() < 0.4 * next(0));
    }

    #[test]
    fn impossible_settings_are_refused() {
        let s = specimen(Dims { nz: 3, ny: 24, nx: 24 }, 12);
        let pose = Pose::draw(&MotionSettings::STILL, s.dims, [8.0, 16.0], 5, 3).unwrap();
        for bad in [
            GreySettings { cnr: 0.0, ..SILENT },
            GreySettings { cnr: f64::NAN, ..SILENT },
            GreySettings { blur: -1.0, ..SILENT },
            GreySettings { rings: f64::NAN, ..SILENT },
        ] {
            assert_eq!(Grey::new(&s, &pose, bad, Isa::scalar(), 1, 1).err().unwrap().fault().exit_code(), 2);
        }
    }

    /// Time of a whole volume on one thread; run with `--ignored --nocapture`.
    #[test]
    #[ignore = "measures time"]
    fn time_of_a_volume() {
        let s = specimen(Dims { nz: 256, ny: 320, nx: 256 }, 128);
        let pose = Pose::draw(&MotionSettings::default(), s.dims, [100.0, 200.0], 5, 3).unwrap();
        let grey = Grey::new(&s, &pose, GreySettings::default(), Isa::detect(), 1, 3).unwrap();
        let mut out = vec![0.0; 32 * s.dims.slice()];
        let begin = std::time::Instant::now();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| (0..256).step_by(32).for_each(|z| grey.run(z..z + 32, &mut out)));
        println!("{:?}: {:.2} s", s.dims, begin.elapsed().as_secs_f64());
    }
}
