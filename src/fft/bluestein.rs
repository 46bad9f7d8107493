//! Complex transforms of any length.
//!
//! A length 2^a 3^b 5^c is transformed directly. Any other becomes a convolution (Bluestein 1970): with the chirp
//! c_j = e^(∓πi j²/n),
//!
//! ```text
//! X[k] = c_k Σ_j (x_j c_j) · conj(c_(k−j))
//! ```
//!
//! computed as a circular convolution of length L ≥ 2n − 1. The angle of the chirp is reduced in integers
//! (j² mod 2n), so its accuracy does not depend on n. Costs about six times a smooth length.

use super::complex::{ComplexPlan, Direction};
use super::{next_even_smooth, root_of_unity};
use crate::error::Result;
use crate::num::lanes::{Complex, ComplexLane, F32x16, Isa, Kernel};

/// A planned complex transform of any length.
pub struct AnyPlan {
    n: usize,
    way: Way,
}

enum Way {
    Smooth(ComplexPlan),
    Chirp { chirp: Vec<[f32; 2]>, filter: Vec<[f32; 2]>, forward: ComplexPlan, inverse: ComplexPlan },
}

impl AnyPlan {
    /// Plans a transform of `n` ≥ 1 points.
    ///
    /// # Errors
    /// If `n` is zero.
    pub fn new(n: usize, direction: Direction) -> Result<AnyPlan> {
        if n == 0 || super::is_smooth(n) {
            return Ok(AnyPlan { n, way: Way::Smooth(ComplexPlan::new(n, direction)?) });
        }
        let length = next_even_smooth(2 * n - 1);
        let (forward, inverse) =
            (ComplexPlan::new(length, Direction::Forward)?, ComplexPlan::new(length, Direction::Inverse)?);
        // e^(−πi j²/n) = conj of the (j² mod 2n)-th of 2n roots.
        let chirp: Vec<[f32; 2]> = (0..n)
            .map(|j| {
                let [c, s] = root_of_unity((j as u128 * j as u128 % (2 * n) as u128) as usize, 2 * n);
                [c as f32, if direction == Direction::Forward { -s } else { s } as f32]
            })
            .collect();
        // conj(c_j) for j = −(n−1) … n−1, wrapped, transformed, and scaled by 1/L for the inverse.
        let mut wrapped = vec![ComplexLane::ZERO; length];
        for (j, c) in chirp.iter().enumerate() {
            for place in [j, (length - j) % length] {
                (wrapped[place].re.0[0], wrapped[place].im.0[0]) = (c[0], -c[1]);
            }
        }
        let mut scratch = wrapped.clone();
        forward.run(Isa::scalar(), &mut wrapped, &mut scratch);
        let scale = 1.0 / length as f32;
        let filter = wrapped.iter().map(|f| [f.re.0[0] * scale, f.im.0[0] * scale]).collect();
        Ok(AnyPlan { n, way: Way::Chirp { chirp, filter, forward, inverse } })
    }

    /// Number of points.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Cells of scratch that [`run`](Self::run) needs.
    pub fn scratch_len(&self) -> usize {
        match &self.way {
            Way::Smooth(_) => self.n,
            Way::Chirp { filter, .. } => 2 * filter.len(),
        }
    }

    /// Transforms `x` (n cells), output in natural order.
    ///
    /// # Panics
    /// If a slice is too short.
    pub fn run(&self, isa: Isa, x: &mut [ComplexLane], scratch: &mut [ComplexLane]) {
        match &self.way {
            Way::Smooth(plan) => plan.run(isa, x, &mut scratch[..self.n]),
            Way::Chirp { chirp, filter, forward, inverse } => {
                let (work, spare) = scratch[..2 * filter.len()].split_at_mut(filter.len());
                work[..self.n].copy_from_slice(x);
                work[self.n..].fill(ComplexLane::ZERO);
                isa.run(Multiply { cells: &mut work[..self.n], by: chirp });
                forward.run(isa, work, spare);
                isa.run(Multiply { cells: work, by: filter });
                inverse.run(isa, work, spare);
                x.copy_from_slice(&work[..self.n]);
                isa.run(Multiply { cells: x, by: chirp });
            }
        }
    }
}

/// `cells[i] *= by[i]`.
struct Multiply<'a> {
    cells: &'a mut [ComplexLane],
    by: &'a [[f32; 2]],
}

impl Kernel for Multiply<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        for (cell, &by) in self.cells.iter_mut().zip(self.by) {
            Complex::<V>::load(cell).scale_by(by).store(cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dft::dft;
    use super::*;

    #[test]
    fn any_length_matches_the_definition() {
        for n in [1, 7, 11, 14, 97, 181, 360, 362, 1021] {
            for direction in [Direction::Forward, Direction::Inverse] {
                let value = |j: usize| ((j * 7919 + 13) % 1009) as f32 / 504.5 - 1.0;
                let mut x = vec![ComplexLane::ZERO; n];
                for j in 0..n {
                    (x[j].re.0[3], x[j].im.0[3]) = (value(2 * j), value(2 * j + 1));
                }
                let signal: Vec<_> = x.iter().map(|c| [c.re.0[3] as f64, c.im.0[3] as f64]).collect();
                let expected = dft(&signal, direction);
                let plan = AnyPlan::new(n, direction).unwrap();
                plan.run(Isa::detect(), &mut x, &mut vec![ComplexLane::ZERO; plan.scratch_len()]);
                let (mut error, mut norm) = (0.0, 0.0);
                for (got, want) in x.iter().zip(expected) {
                    error += (got.re.0[3] as f64 - want[0]).powi(2) + (got.im.0[3] as f64 - want[1]).powi(2);
                    norm += want[0].powi(2) + want[1].powi(2);
                    assert_eq!(got.re.0[4], 0.0, "lanes meet");
                }
                // Two transforms of length L and two chirps instead of one transform.
                let bound = 4.0e-7 * (1.0 + (n as f64).log2());
                assert!((error / norm).sqrt() < bound, "n {n}: {:.2e}", (error / norm).sqrt());
            }
        }
    }
}
