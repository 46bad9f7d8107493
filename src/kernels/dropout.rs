//! L2. Dropout: which numbers are dropped is a function of seed, layer, step and place, so the mask is computed where
//! it is needed, forward and backward, and stored nowhere.
//!
//! ```text
//! factor(n, c, y, x) = 0 if bits < 2¹⁶·p else 1/(1 − p)
//! bits = 16 bits of the Philox block  ((n·groups + c/16)·h + y)·⌈w/8⌉ + x/8) · 16 + c%16:
//!        of word (x%8)/2 the low half for even x, the high half for odd x
//! ```
//!
//! The stream is the layer, the draw the step ([`crate::num::philox`]); n counts the samples of the
//! batch, so a mask does not depend on how the batch is cut. p is rounded to a multiple of 2⁻¹⁶. Cost: a block serves eight numbers, sixteen blocks are computed side by side.

use super::maps::Shape;
use crate::num::lanes::{LANES, Lane};
use crate::num::philox;

/// Pixels that sixteen blocks serve.
pub const RUN: usize = 8;
/// 2¹⁶.
const STEPS: f64 = 65536.0;

/// The dropout of one layer at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Words below are dropped.
    pub(super) threshold: u32,
    /// 1/(1 − p).
    pub(super) keep: f32,
    pub(super) key: [u32; 2],
    pub(super) stream: u32,
    pub(super) draw: u32,
    /// Samples of the batch in front of these.
    pub(super) before: usize,
    /// Whether a device counts the steps, and knows the draw.
    pub(super) counted: bool,
}

impl Dropout {
    /// Dropout with probability `p` in 0 ≤ p < 1 of layer `layer` at step `step`; none where p rounds to 0.
    pub fn new(p: f64, seed: u64, layer: u32, step: u32) -> Option<Dropout> {
        let threshold = (p * STEPS).round().min(STEPS - 1.0);
        let keep = (1.0 / (1.0 - threshold / STEPS)) as f32;
        let key = [seed as u32, (seed >> 32) as u32];
        (threshold > 0.0).then_some(Dropout {
            threshold: threshold as u32,
            keep,
            key,
            stream: layer,
            draw: step,
            before: 0,
            counted: false,
        })
    }

    /// The same for samples that follow `before` others of their batch.
    #[must_use]
    pub fn after(self, before: usize) -> Dropout {
        Dropout { before, ..self }
    }

    /// The same, at the step that a device counts ([`super::step::Dial::draw`]).
    #[must_use]
    pub fn counted(self) -> Dropout {
        Dropout { draw: 0, counted: true, ..self }
    }

    /// Number of the first block of a run of eight pixels from column x on.
    #[inline(always)]
    pub fn index(&self, shape: Shape, n: usize, g: usize, y: usize, x: usize) -> u64 {
        let rows = (((self.before + n) * shape.groups::<Lane>() + g) * shape.h + y) as u64;
        (rows * shape.w.div_ceil(RUN) as u64 + (x / RUN) as u64) * LANES as u64
    }

    /// The definition: the factor of one number.
    pub fn factor(&self, shape: Shape, n: usize, c: usize, y: usize, x: usize) -> f32 {
        let index = self.index(shape, n, c / LANES, y, x) + (c % LANES) as u64;
        let block = philox::philox4x32([index as u32, (index >> 32) as u32, self.stream, self.draw], self.key);
        let bits = block[x % RUN / 2] >> (16 * (x % 2)) & 0xffff;
        if bits < self.threshold { 0.0 } else { self.keep }
    }

    /// The factors of eight pixels × sixteen channels.
    #[inline(always)]
    pub fn factors(&self, index: u64) -> [Lane; RUN] {
        // Sixteen counters side by side; the compiler makes vectors of these loops.
        let mut c = [[0u32; LANES]; 4];
        for l in 0..LANES {
            let index = index + l as u64;
            c[0][l] = index as u32;
            c[1][l] = (index >> 32) as u32;
            c[2][l] = self.stream;
            c[3][l] = self.draw;
        }
        let mut key = self.key;
        for _ in 0..philox::ROUNDS {
            let mut next = [[0u32; LANES]; 4];
            for l in 0..LANES {
                let a = u64::from(philox::M0) * u64::from(c[0][l]);
                let b = u64::from(philox::M1) * u64::from(c[2][l]);
                next[0][l] = (b >> 32) as u32 ^ c[1][l] ^ key[0];
                next[1][l] = b as u32;
                next[2][l] = (a >> 32) as u32 ^ c[3][l] ^ key[1];
                next[3][l] = a as u32;
            }
            c = next;
            key = [key[0].wrapping_add(philox::W0), key[1].wrapping_add(philox::W1)];
        }
        let mut factors = [Lane::ZERO; RUN];
        for x in 0..RUN {
            for l in 0..LANES {
                let bits = c[x / 2][l] >> (16 * (x % 2)) & 0xffff;
                factors[x].0[l] = if bits < self.threshold { 0.0 } else { self.keep };
            }
        }
        factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_at_a_time_are_the_definition_and_the_rate_is_right() {
        let shape = Shape::new(3, 40, 5, 21);
        let dropout = Dropout::new(0.2, 7, 3, 9).unwrap();
        let (mut dropped, mut all) = (0, 0);
        for n in 0..3 {
            for (g, y, x) in (0..3).flat_map(|g| (0..5).flat_map(move |y| (0..21).map(move |x| (g, y, x)))) {
                let factors = dropout.factors(dropout.index(shape, n, g, y, x));
                for l in 0..LANES {
                    let factor = dropout.factor(shape, n, g * LANES + l, y, x);
                    assert_eq!(factors[x % RUN].0[l], factor);
                    assert!(factor == 0.0 || (factor - 1.25).abs() < 1e-4);
                    (dropped, all) = (dropped + usize::from(factor == 0.0), all + 1);
                }
            }
        }
        // Five standard deviations of a binomial count.
        let n = all as f64;
        assert!((dropped as f64 - 0.2 * n).abs() < 5.0 * (n * 0.2 * 0.8).sqrt(), "{dropped} of {all}");
        assert!(Dropout::new(0.0, 7, 3, 9).is_none());
    }
}
