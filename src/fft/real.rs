//! Real signals of even length n through a complex transform of h = n/2 points.
//!
//! With z[j] = x[2j] + i·x[2j+1], Z its transform and Z[h] = Z[0],
//!
//! ```text
//! forward   X[k] = (Z[k] + Z*[h−k])/2 − (i/2) w^k (Z[k] − Z*[h−k]),        w = e^(−2πi/n), k = 0 … h
//! inverse   Z[k] = (X[k] + X*[h−k])   + i w^(−k) (X[k] − X*[h−k]),         x[2j], x[2j+1] = Re, Im of z[j]
//! ```
//!
//! The inverse is not normalised: forward then inverse multiplies by n. A pair of neighbouring real lanes *is* a
//! [`ComplexLane`], so packing costs nothing.

use super::complex::{ComplexPlan, Direction};
use super::root_of_unity;
use crate::error::{Error, Result};
use crate::num::lanes::{Complex, ComplexLane, F32x16, Isa, Kernel};

/// A planned real transform, both directions.
pub struct RealPlan {
    n: usize,
    forward: ComplexPlan,
    inverse: ComplexPlan,
    /// `e^(−2πi k/n)` for k = 0 … h.
    roots: Vec<[f32; 2]>,
}

impl RealPlan {
    /// Plans transforms of `n` real points.
    ///
    /// # Errors
    /// If `n` is odd, zero, or has a prime factor above 5.
    pub fn new(n: usize) -> Result<RealPlan> {
        if !n.is_multiple_of(2) {
            return Err(Error::usage(format!("a real transform of odd length {n}")).help("pad to an even length"));
        }
        Ok(RealPlan {
            n,
            forward: ComplexPlan::new(n / 2, Direction::Forward)?,
            inverse: ComplexPlan::new(n / 2, Direction::Inverse)?,
            roots: (0..=n / 2)
                .map(|k| {
                    let [c, s] = root_of_unity(k, n);
                    [c as f32, -s as f32]
                })
                .collect(),
        })
    }

    /// Number of real points.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Where pair j = (x[2j], x[2j+1]) lies after the inverse's complex transform.
    #[inline(always)]
    pub fn pair_position(&self, j: usize) -> usize {
        self.inverse.positions()[j] as usize
    }

    /// In a kernel: the complex transform of the packed signal (h cells), output scrambled.
    #[inline(always)]
    pub fn forward_packed<V: F32x16>(&self, z: &mut [ComplexLane]) {
        self.forward.run_scrambled::<V>(z);
    }

    /// In a kernel, after [`forward_packed`](Self::forward_packed): X[k] and X[h−k] for k = 0 … h/2.
    #[inline(always)]
    pub fn spectrum_pair<V: F32x16>(&self, z: &[ComplexLane], k: usize) -> [Complex<V>; 2] {
        let h = self.n / 2;
        let place = self.forward.positions();
        let a = Complex::<V>::load(&z[place[k % h] as usize]);
        let b = Complex::<V>::load(&z[place[(h - k) % h] as usize]);
        let half = V::splat(0.5);
        // even = (Z[k] + Z*[h−k])/2, odd = (Z[k] − Z*[h−k])/(2i), X[k] = even + w^k·odd, X[h−k] = (even − w^k·odd)*.
        let even = Complex { re: a.re.add(b.re).mul(half), im: a.im.sub(b.im).mul(half) };
        let odd = Complex { re: a.im.add(b.im).mul(half), im: b.re.sub(a.re).mul(half) };
        let turned = odd.scale_by(self.roots[k]);
        [even.add(turned), even.sub(turned).conj()]
    }

    /// In a kernel: packs X[k] and X[h−k] (k = 0 … h/2) for the inverse, at cells k and h−k of `z`.
    #[inline(always)]
    pub fn pack_pair<V: F32x16>(&self, z: &mut [ComplexLane], k: usize, x_k: Complex<V>, x_hk: Complex<V>) {
        let h = self.n / 2;
        let mirrored = x_hk.conj();
        let (even, difference) = (x_k.add(mirrored), x_k.sub(mirrored));
        let [c, s] = self.roots[k];
        let odd = difference.scale_by([c, -s]);
        // Z[k] = even + i·odd; Z[h−k] = even* + i·odd*.
        Complex { re: even.re.sub(odd.im), im: even.im.add(odd.re) }.store(&mut z[k]);
        if k > 0 && k < h - k {
            Complex { re: even.re.add(odd.im), im: odd.re.sub(even.im) }.store(&mut z[h - k]);
        }
    }

    /// In a kernel: the inverse complex transform of the packed spectrum; pair j lies at
    /// [`pair_position`](Self::pair_position).
    #[inline(always)]
    pub fn inverse_packed<V: F32x16>(&self, z: &mut [ComplexLane]) {
        self.inverse.run_scrambled::<V>(z);
    }

    /// Forward transform of sixteen real signals, packed as pairs in `packed` (h cells, destroyed), into `spectrum`
    /// (h + 1 cells).
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn forward(&self, isa: Isa, packed: &mut [ComplexLane], spectrum: &mut [ComplexLane]) {
        assert_eq!((packed.len(), spectrum.len()), (self.n / 2, self.n / 2 + 1), "real transform of {}", self.n);
        isa.run(Forward { plan: self, packed, spectrum });
    }

    /// Inverse transform of `spectrum` (h + 1 cells) into `packed` (h cells of pairs), natural order; `scratch` h cells.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn inverse(&self, isa: Isa, spectrum: &[ComplexLane], packed: &mut [ComplexLane], scratch: &mut [ComplexLane]) {
        let h = self.n / 2;
        assert_eq!((packed.len(), spectrum.len(), scratch.len()), (h, h + 1, h), "real transform of {}", self.n);
        isa.run(Inverse { plan: self, packed: scratch, spectrum });
        for (j, to) in packed.iter_mut().enumerate() {
            *to = scratch[self.pair_position(j)];
        }
    }
}

struct Forward<'a> {
    plan: &'a RealPlan,
    packed: &'a mut [ComplexLane],
    spectrum: &'a mut [ComplexLane],
}

impl Kernel for Forward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let h = self.plan.n / 2;
        self.plan.forward_packed::<V>(self.packed);
        for k in 0..=h / 2 {
            let [x_k, x_hk] = self.plan.spectrum_pair::<V>(self.packed, k);
            x_k.store(&mut self.spectrum[k]);
            x_hk.store(&mut self.spectrum[h - k]);
        }
    }
}

struct Inverse<'a> {
    plan: &'a RealPlan,
    packed: &'a mut [ComplexLane],
    spectrum: &'a [ComplexLane],
}

impl Kernel for Inverse<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let h = self.plan.n / 2;
        for k in 0..=h / 2 {
            let x_k = Complex::<V>::load(&self.spectrum[k]);
            let x_hk = Complex::<V>::load(&self.spectrum[h - k]);
            self.plan.pack_pair(self.packed, k, x_k, x_hk);
        }
        self.plan.inverse_packed::<V>(self.packed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::dft::dft;
    use super::*;
    use crate::num::lanes::Lane;

    #[test]
    fn real_transforms_match_the_definition_and_invert() {
        for n in [2, 4, 6, 10, 12, 30, 64, 90, 640, 1280, 4096, 5120] {
            let h = n / 2;
            let value = |j: usize, lane: usize| (((j * 16 + lane) * 7919 + 13) % 1009) as f32 / 504.5 - 1.0;
            let lane = |j: usize| Lane(std::array::from_fn(|l| value(j, l)));
            let signal: Vec<ComplexLane> =
                (0..h).map(|j| ComplexLane { re: lane(2 * j), im: lane(2 * j + 1) }).collect();
            let plan = RealPlan::new(n).unwrap();
            let poison = ComplexLane { re: Lane([f32::NAN; 16]), im: Lane([f32::NAN; 16]) };
            let (mut packed, mut spectrum) = (signal.clone(), vec![poison; h + 1]);
            plan.forward(Isa::detect(), &mut packed, &mut spectrum);
            let one: Vec<[f64; 2]> = (0..n).map(|j| [value(j, 9) as f64, 0.0]).collect();
            let expected = dft(&one, Direction::Forward);
            let norm = (expected.iter().map(|z| z[0] * z[0] + z[1] * z[1]).sum::<f64>() / n as f64).sqrt();
            for k in 0..=h {
                let got = [spectrum[k].re.0[9] as f64, spectrum[k].im.0[9] as f64];
                let error = (got[0] - expected[k][0]).hypot(got[1] - expected[k][1]) / norm;
                assert!(error < 1e-6 * (1.0 + (n as f64).log2()), "n {n} k {k}: {error:.2e}");
            }
            let (mut back, mut scratch) = (vec![poison; h], vec![poison; h]);
            plan.inverse(Isa::detect(), &spectrum, &mut back, &mut scratch);
            for j in 0..h {
                for l in 0..16 {
                    let error = (back[j].re.0[l] / n as f32 - signal[j].re.0[l]).abs()
                        + (back[j].im.0[l] / n as f32 - signal[j].im.0[l]).abs();
                    assert!(error < 4e-6, "n {n} j {j} lane {l}: {error:.2e}");
                }
            }
        }
    }
}
