//! Phase retrieval from projections at one distance (Paganin), on transmission, before −ln.
//!
//! ```text
//! T ← F⁻¹ [ H(ν) F[T] ],   H(ν) = 1 / (1 + π λ z (δ/β) |ν|²)          see `optics`
//! ```
//!
//! ν on the bins of the transform: ν = k / (n · pixel), k = −n/2 … n/2. H is 1 at ν = 0, so air stays 1. The
//! projection is continued by its edge values over [`DECAYS`] decay lengths of H's kernel on each side, and further to a
//! length that transforms fast: what wraps around has fallen by e^−17 < 2⁻²⁴.
//!
//! H is real and even, so two projections go as real and imaginary part through one complex transform and do not meet.
//!
//! **Deviations from TomoPy's `retrieve_phase`.** There the frequencies are evenly spaced *inclusive* of both ends,
//! ν_k = (k/(n−1) − ½)/pixel, half a bin off and not symmetric: no bin has ν = 0, the image shifts phase and the largest
//! factor is normalised to 1 instead of that of ν = 0. There `alpha` has no unit; here δ/β, and the equivalent
//! α = 1/(4π² δ/β) is recorded. There lengths are bare centimetres. [`Grid::Inclusive`] is theirs, for comparison.
//!
//! **Cost.** Two projections of 2048 × 2048 (about 2400 × 2400 padded): two complex 2-D transforms on all threads.
//! **Memory.** 16 bytes for every padded pixel, whatever the number of threads.

use crate::error::{Error, Result};
use crate::fft::plane::PlanePlan;
use crate::fft::{Direction, next_even_smooth};
use crate::json::Json;
use crate::num::lanes::Isa;
use crate::optics;
use crate::units::{KiloElectronVolt, Micrometre};
use rayon::prelude::*;

/// What the retrieval assumes of beam and sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paganin {
    /// Photon energy.
    pub energy: KiloElectronVolt,
    /// From sample to detector.
    pub distance: Micrometre,
    /// δ/β of the one material.
    pub delta_beta: f64,
    /// Pixel size at the sample.
    pub pixel: Micrometre,
}

impl Paganin {
    /// Length, in pixels, over which the kernel decays by e: rows this near to an end know less of what lies beyond it.
    pub fn decay(&self) -> f64 {
        optics::paganin_decay(self.area()).0
    }
}

/// Decay lengths of padding on each side: e^−17 < 2⁻²⁴.
const DECAYS: f64 = 17.0;
/// Widest padding on one side, in pixels: beyond, the parameters are wrong.
const WIDEST: f64 = 16_384.0;

/// Which frequencies the response is taken at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Those of the transform's bins.
    Bins,
    /// TomoPy's.
    Inclusive,
}

impl Paganin {
    /// π λ z (δ/β) in pixels².
    fn area(&self) -> f64 {
        optics::paganin_area(self.energy, self.distance, self.delta_beta) / (self.pixel.0 * self.pixel.0)
    }

    /// Every value that decides the bits, and TomoPy's name for one of them.
    pub fn params(&self) -> Json {
        Json::obj([
            ("method", Json::from("paganin")),
            ("energy_kev", self.energy.0.into()),
            ("distance_um", self.distance.0.into()),
            ("delta_beta", self.delta_beta.into()),
            ("tomopy_alpha", optics::alpha_of(self.delta_beta).into()),
            ("pixel_um", self.pixel.0.into()),
            ("version", 1u64.into()),
        ])
    }
}

/// A retrieval planned for projections of one size.
pub struct PhasePlan {
    rows: usize,
    columns: usize,
    /// Padded rows and columns, and what of it comes first.
    padded: [usize; 2],
    before: [usize; 2],
    forward: PlanePlan,
    inverse: PlanePlan,
    /// π λ z (δ/β) ν² by row and by column; the response is scale / (1 + sum).
    terms: [Vec<f32>; 2],
    scale: f32,
}

/// What two projections at a time are worked on in.
pub struct PhaseWork {
    re: Vec<f32>,
    im: Vec<f32>,
}

impl PhasePlan {
    /// Plans for projections of `rows` × `columns`.
    ///
    /// # Errors
    /// Usage: parameters that are not positive, or whose kernel is wider than any detector.
    pub fn new(paganin: &Paganin, rows: usize, columns: usize) -> Result<PhasePlan> {
        let values = [paganin.energy.0, paganin.distance.0, paganin.delta_beta, paganin.pixel.0];
        if values.iter().any(|v| !(*v > 0.0 && v.is_finite())) {
            return Err(Error::usage(format!(
                "phase retrieval with {} keV, {} um, delta/beta {} and pixels of {} um",
                values[0], values[1], values[2], values[3]
            ))
            .help("all are positive, for example --energy 27.5keV --distance 6cm --delta-beta 500 --pixel 1.33um"));
        }
        let area = paganin.area();
        let margin = (DECAYS * paganin.decay()).ceil();
        if margin > WIDEST {
            return Err(Error::usage(format!("phase retrieval that reaches {margin} pixels far"))
                .help("check the units of --energy, --distance and --pixel, and --delta-beta"));
        }
        let padded = [rows, columns].map(|n| next_even_smooth(n + 2 * margin as usize));
        let before = [(padded[0] - rows) / 2, (padded[1] - columns) / 2];
        PhasePlan::with(area, [rows, columns], padded, before, Grid::Bins)
    }

    fn with(area: f64, size: [usize; 2], padded: [usize; 2], before: [usize; 2], grid: Grid) -> Result<PhasePlan> {
        let [ny, nx] = padded;
        let term = |n: usize| -> Vec<f64> {
            let bin = |k: usize| if 2 * k < n { k as f64 } else { k as f64 - n as f64 };
            (0..n)
                .map(|k| {
                    let nu = match grid {
                        Grid::Bins => bin(k) / n as f64,
                        Grid::Inclusive => (bin(k) + (n / 2) as f64) / (n as f64 - 1.0) - 0.5,
                    };
                    area * nu * nu
                })
                .collect()
        };
        let terms = padded.map(term);
        let [least_y, least_x] = [&terms[0], &terms[1]].map(|t| t.iter().copied().fold(f64::MAX, f64::min));
        Ok(PhasePlan {
            rows: size[0],
            columns: size[1],
            padded,
            before,
            forward: PlanePlan::new(ny, nx, Direction::Forward)?,
            inverse: PlanePlan::new(ny, nx, Direction::Inverse)?,
            scale: ((1.0 + least_y + least_x) / (ny * nx) as f64) as f32,
            terms: terms.map(|t| t.into_iter().map(|v| v as f32).collect()),
        })
    }

    /// Buffers for two projections.
    pub fn work(&self) -> PhaseWork {
        let n = self.padded[0] * self.padded[1];
        PhaseWork { re: vec![0.0; n], im: vec![0.0; n] }
    }

    /// Bytes of tables, and of work with what the transform takes.
    pub fn bytes(&self) -> [usize; 2] {
        let [ny, nx] = self.padded;
        [4 * (ny + nx), 8 * ny * nx + 8 * ny * nx.next_multiple_of(16)]
    }

    /// Retrieves one projection, or two at the cost of one, in place, on all threads.
    ///
    /// # Panics
    /// If a projection has another size.
    pub fn run(&self, isa: Isa, work: &mut PhaseWork, first: &mut [f32], second: Option<&mut [f32]>) {
        self.spread(first, &mut work.re);
        match &second {
            Some(second) => self.spread(second, &mut work.im),
            None => work.im.fill(0.0),
        }
        self.forward.run(isa, &mut work.re, &mut work.im);
        let nx = self.padded[1];
        let [along_y, along_x] = &self.terms;
        work.re.par_chunks_mut(nx).zip(work.im.par_chunks_mut(nx)).zip(along_y).for_each(|((re, im), &y)| {
            for ((re, im), &x) in re.iter_mut().zip(im).zip(along_x) {
                let response = self.scale / (1.0 + (y + x));
                (*re, *im) = (*re * response, *im * response);
            }
        });
        self.inverse.run(isa, &mut work.re, &mut work.im);
        self.cut(&work.re, first);
        if let Some(second) = second {
            self.cut(&work.im, second);
        }
    }

    /// A projection with its edges continued.
    fn spread(&self, projection: &[f32], padded: &mut [f32]) {
        assert_eq!(projection.len(), self.rows * self.columns, "a projection of the size planned for");
        let [top, left] = self.before;
        padded.par_chunks_mut(self.padded[1]).enumerate().for_each(|(y, line)| {
            let row = y.max(top).min(top + self.rows - 1) - top;
            let values = &projection[row * self.columns..][..self.columns];
            line[..left].fill(values[0]);
            line[left..left + self.columns].copy_from_slice(values);
            line[left + self.columns..].fill(values[self.columns - 1]);
        });
    }

    fn cut(&self, padded: &[f32], projection: &mut [f32]) {
        let [top, left] = self.before;
        for (line, out) in
            padded[top * self.padded[1]..].chunks_exact(self.padded[1]).zip(projection.chunks_exact_mut(self.columns))
        {
            out.copy_from_slice(&line[left..left + self.columns]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::elementary::exp;
    use crate::testing::fixture;

    const PAPER: Paganin = Paganin {
        energy: KiloElectronVolt(27.5),
        distance: Micrometre(6e4),
        delta_beta: 500.0,
        pixel: Micrometre(1.33),
    };

    /// `retrieve_phase` at its defaults: 1e-4 cm, 50 cm, 20 keV, alpha 1e-3; 8 × 48 padded to 16 × 64.
    #[test]
    fn the_same_frequencies_give_tomopys_numbers() {
        let (Some(input), Some(want)) = (fixture("proj.npy"), fixture("retrieve_phase.npy")) else { return };
        let wavelength = 2.0 * std::f64::consts::PI * 6.58211928e-19 * 299_792_458e2 / 20.0;
        let area = wavelength * 50.0 / (4.0 * std::f64::consts::PI) / 1e-3 / 1e-8;
        let pad = |n: usize| {
            let reach = (std::f64::consts::PI * wavelength * 50.0 / 1e-8).ceil() as usize;
            let long = (n + reach).next_power_of_two();
            [long, (long - n) / 2]
        };
        let [y, x] = [pad(8), pad(48)];
        let plan = PhasePlan::with(area, [8, 48], [y[0], x[0]], [y[1], x[1]], Grid::Inclusive).unwrap();
        let mut got = input.clone();
        let mut work = plan.work();
        // Their response is not even: it would mix a pair.
        for projection in got.chunks_mut(8 * 48) {
            plan.run(Isa::detect(), &mut work, projection, None);
        }
        let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let worst = got.iter().zip(&want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst <= 1e-6 * largest, "{worst:e} of {largest}");
    }

    /// A Gaussian of one material, propagated by the transport of intensity,
    /// I = (1 − (z δ / μ) ∇²) e^(−μT), z δ/μ = λ z (δ/β) / 4π, comes back.
    #[test]
    fn a_homogeneous_object_comes_back() {
        let (rows, columns) = (90, 120);
        let reach = PAPER.area() / (4.0 * std::f64::consts::PI * std::f64::consts::PI);
        // Smooth on the scale of a pixel, so that sampling is no matter.
        let width = 9.0;
        let absorbed = |y: usize, x: usize| {
            let (dy, dx) = (y as f64 - 44.0, x as f64 - 61.0);
            let r2 = (dy * dy + dx * dx) / (width * width);
            let contact = 1.0 - 0.3 * exp(-r2 / 2.0);
            // ∇² of the Gaussian.
            let laplace = -0.3 * exp(-r2 / 2.0) * (r2 - 2.0) / (width * width);
            [contact, contact - reach * laplace]
        };
        let at = |kind: usize| -> Vec<f32> {
            (0..rows * columns).map(|i| absorbed(i / columns, i % columns)[kind] as f32).collect()
        };
        let (contact, mut seen) = (at(0), at(1));
        let off = |a: &[f32]| a.iter().zip(&contact).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(off(&seen) > 0.1, "propagation is seen: {}", off(&seen));
        let plan = PhasePlan::new(&PAPER, rows, columns).unwrap();
        plan.run(Isa::detect(), &mut plan.work(), &mut seen, None);
        // The Gaussian is 1e-5 at the nearest edge.
        assert!(off(&seen) < 2e-5, "{}", off(&seen));
    }

    #[test]
    fn pairs_do_not_meet_and_every_instruction_set_agrees() {
        let (rows, columns) = (20, 33);
        let plan = PhasePlan::new(&Paganin { delta_beta: 20.0, ..PAPER }, rows, columns).unwrap();
        let image = |seed: usize| -> Vec<f32> {
            (0..rows * columns).map(|i| 0.5 + ((i * 7919 + seed) % 101) as f32 / 202.0).collect()
        };
        let mut want: Option<Vec<u32>> = None;
        for isa in Isa::available() {
            for other in [1, 5] {
                let (mut a, mut b) = (image(0), image(other));
                plan.run(isa, &mut plan.work(), &mut a, Some(&mut b));
                let mut c = image(0);
                plan.run(isa, &mut plan.work(), &mut c, None);
                let apart = a.iter().zip(&c).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(apart < 1e-6, "{apart}");
                let bits: Vec<u32> = c.iter().map(|v| v.to_bits()).collect();
                assert_eq!(&bits, want.get_or_insert(bits.clone()));
            }
        }
        let mut air = vec![1.0f32; rows * columns];
        plan.run(Isa::detect(), &mut plan.work(), &mut air, None);
        assert!(air.iter().all(|v| (v - 1.0).abs() < 1e-6));
    }

    #[test]
    fn impossible_parameters_are_refused() {
        for wrong in [
            Paganin { delta_beta: -1.0, ..PAPER },
            Paganin { energy: KiloElectronVolt(f64::NAN), ..PAPER },
            Paganin { distance: Micrometre(6e12), ..PAPER },
        ] {
            assert_eq!(PhasePlan::new(&wrong, 10, 10).map(|_| ()).unwrap_err().fault().exit_code(), 2);
        }
        assert!(PAPER.params().to_line().contains("tomopy_alpha"));
    }
}
