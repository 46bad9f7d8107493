//! L1. Random numbers as a function `f(seed, stream, index)`: no state, no order, so a mask or a noise field is
//! recomputed wherever it is needed and is the same for any number of threads.
//!
//! Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A block of four
//! u32 is a bijection of a 128-bit counter under a 64-bit key; per round
//!
//! ```text
//! c0' = high(M1·c2) ^ c1 ^ k0      c1' = low(M1·c2)
//! c2' = high(M0·c0) ^ c3 ^ k1      c3' = low(M0·c0)      then k0 += W0, k1 += W1
//! ```
//!
//! | input | where it goes |
//! |---|---|
//! | seed, u64 | the key, low word first |
//! | index, u64 | counter words 0, 1 |
//! | stream, u32 | counter word 2: one per purpose (dropout of a layer, photon noise, …) |
//! | draw, u32 | counter word 3: further blocks of one index, for methods that reject |
//!
//! Every distribution below says which blocks and words it takes.

use super::elementary::{ln, ln_gamma, sincos_pi};

pub(crate) const M0: u32 = 0xd251_1f53;
pub(crate) const M1: u32 = 0xcd9e_8d57;
/// Golden ratio and √3 − 1 in 32 bits.
pub(crate) const W0: u32 = 0x9e37_79b9;
pub(crate) const W1: u32 = 0xbb67_ae85;
pub(crate) const ROUNDS: usize = 10;

/// Philox4x32-10 of a counter under a key.
#[inline(always)]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let wide = |a: u32, b: u32| -> (u32, u32) {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for _ in 0..ROUNDS {
        let (high0, low0) = wide(M0, counter[0]);
        let (high1, low1) = wide(M1, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(W0), key[1].wrapping_add(W1)];
    }
    counter
}

/// The random numbers of one seed and one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    stream: u32,
}

impl Stream {
    /// Stream `stream` of `seed`.
    pub fn new(seed: u64, stream: u32) -> Stream {
        Stream { seed, stream }
    }

    /// Four u32 of an index: block `draw` of it.
    #[inline(always)]
    pub fn block(self, index: u64, draw: u32) -> [u32; 4] {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        philox4x32([index as u32, (index >> 32) as u32, self.stream, draw], key)
    }

    /// Four u32 of an index: block 0.
    #[inline(always)]
    pub fn u32x4(self, index: u64) -> [u32; 4] {
        self.block(index, 0)
    }

    /// Uniform on 0 ≤ u < 1, a multiple of 2^−24: word 0 of block 0.
    pub fn uniform_f32(self, index: u64) -> f32 {
        (self.u32x4(index)[0] >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform on 0 ≤ u < 1, a multiple of 2^−53: words 0 (high) and 1 of block 0.
    pub fn uniform_f64(self, index: u64) -> f64 {
        let [high, low, ..] = self.u32x4(index);
        unit(high, low)
    }

    /// Uniform on 0 ≤ k < n, exactly: words of blocks 0, 1, … in order, each a 32-bit fraction multiplied by n, those
    /// in the incomplete last interval rejected (Lemire, ACM TOMACS 29, 2019).
    ///
    /// # Panics
    /// If n is 0.
    pub fn below(self, index: u64, n: u32) -> u32 {
        assert!(n > 0, "no number is below 0");
        let incomplete = n.wrapping_neg() % n;
        let mut draw = 0;
        loop {
            for word in self.block(index, draw) {
                let product = u64::from(word) * u64::from(n);
                if product as u32 >= incomplete {
                    return (product >> 32) as u32;
                }
            }
            draw += 1;
        }
    }

    /// Two independent normal numbers, mean 0, variance 1, by Box and Muller from block 0:
    ///
    ///   u = (words 0, 1) in (0, 1],  v = (words 2, 3) in [0, 1)
    ///   √(−2 ln u) · (cos 2πv, sin 2πv)
    ///
    /// |x| ≤ √(2·53·ln 2) = 8.57.
    #[inline(always)]
    pub fn normal_pair(self, index: u64) -> (f64, f64) {
        let [a, b, c, d] = self.u32x4(index);
        let (u, v) = (1.0 - unit(a, b), unit(c, d));
        let radius = (-2.0 * ln(u)).sqrt();
        let (sin, cos) = sincos_pi(2.0 * v);
        (radius * cos, radius * sin)
    }

    /// The first of [`Stream::normal_pair`].
    pub fn normal(self, index: u64) -> f64 {
        self.normal_pair(index).0
    }

    /// A Poisson count of expectation `mean`; 0 ≤ mean ≤ 2^31.
    ///
    /// - mean < 10: inversion. One uniform (words 0, 1 of block 0); k is the number of times that the cumulated
    ///   probabilities p₀ = e^−mean, p_k = p_{k−1}·mean/k stay at or below it.
    /// - else: transformed rejection, PTRS (Hörmann, Insurance: Mathematics and Economics 12, 1993). Attempt n takes
    ///   block n: u from words 0, 1, v from words 2, 3.
    ///
    /// # Panics
    /// If the mean is NaN or out of range: expected counts are checked where they enter.
    pub fn poisson(self, index: u64, mean: f64) -> u64 {
        assert!((0.0..=2_147_483_648.0).contains(&mean), "a Poisson mean of {mean} is out of range");
        if mean < 10.0 { self.poisson_by_inversion(index, mean) } else { self.poisson_by_rejection(index, mean) }
    }

    fn poisson_by_inversion(self, index: u64, mean: f64) -> u64 {
        let u = self.uniform_f64(index);
        let mut p = super::elementary::exp(-mean);
        let (mut k, mut cumulated) = (0, p);
        // From some k on, p no longer changes the sum, which may have rounded below 1 and below u.
        while u >= cumulated && p > 0.0 {
            k += 1;
            p *= mean / k as f64;
            let next = cumulated + p;
            if next == cumulated && k as f64 > mean {
                break;
            }
            cumulated = next;
        }
        k
    }

    fn poisson_by_rejection(self, index: u64, mean: f64) -> u64 {
        // The constants are Hörmann's.
        let ln_mean = ln(mean);
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let v_accept = 0.9277 - 3.6224 / (b - 2.0);
        let mut attempt = 0;
        loop {
            let [w0, w1, w2, w3] = self.block(index, attempt);
            attempt += 1;
            let (u, v) = (unit(w0, w1) - 0.5, 1.0 - unit(w2, w3));
            let side = 0.5 - u.abs();
            let k = ((2.0 * a / side + b) * u + mean + 0.43).floor();
            if side >= 0.07 && v <= v_accept {
                return k as u64;
            }
            if k < 0.0 || (side < 0.013 && v > side) {
                continue;
            }
            let hat = ln(v * inverse_alpha / (a / (side * side) + b));
            if hat <= k * ln_mean - mean - ln_gamma(k + 1.0) {
                return k as u64;
            }
        }
    }
}

/// The upper 53 of 64 bits as a fraction.
fn unit(high: u32, low: u32) -> f64 {
    let bits = u64::from(high) << 32 | u64::from(low);
    (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // kat_vectors of Random123, the authors' own implementation.
        let all = u32::MAX;
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([all; 4], [all; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(philox4x32(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
        // The same through a stream: pi again, split as documented.
        let stream = Stream::new(0x299f_31d0_a409_3822, pi[2]);
        assert_eq!(stream.block(0x85a3_08d3_243f_6a88, pi[3]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    /// Mean and variance of n values of f.
    fn moments(n: u64, f: impl Fn(u64) -> f64) -> (f64, f64) {
        let mean = (0..n).map(&f).sum::<f64>() / n as f64;
        (mean, (0..n).map(|i| (f(i) - mean).powi(2)).sum::<f64>() / (n - 1) as f64)
    }

    /// Five standard deviations: these tests are deterministic, the bound says what luck was allowed.
    const SIGMAS: f64 = 5.0;
    const N: u64 = 100_000;

    #[test]
    fn uniforms_fill_their_interval_evenly() {
        let s = Stream::new(1, 2);
        for f in [&(|i| s.uniform_f64(i)) as &dyn Fn(u64) -> f64, &|i| f64::from(s.uniform_f32(i))] {
            let mut bins = [0u32; 100];
            (0..N).for_each(|i| bins[(f(i) * 100.0) as usize] += 1);
            // χ² of 99 degrees of freedom: mean 99, variance 198.
            let expected = N as f64 / 100.0;
            let chi2: f64 = bins.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
            assert!((chi2 - 99.0).abs() < SIGMAS * 198f64.sqrt(), "χ² {chi2}");
        }
        assert_eq!(unit(u32::MAX, u32::MAX), 1.0 - f64::EPSILON / 2.0);
    }

    #[test]
    fn whole_numbers_below_a_bound_are_even() {
        let s = Stream::new(3, 0);
        let mut bins = [0u32; 7];
        (0..70_000).for_each(|i| bins[s.below(i, 7) as usize] += 1);
        assert!(bins.iter().all(|&n| (f64::from(n) - 1e4).abs() < SIGMAS * (1e4 * 6.0 / 7.0f64).sqrt()), "{bins:?}");
        // Half of all words are rejected here: further words and blocks are taken, and all results are in range.
        assert!((0..1000).all(|i| s.below(i, 0x8000_0001) <= 0x8000_0000));
        assert_eq!(s.below(9, 1), 0);
    }

    #[test]
    fn normals_have_their_moments_and_tails() {
        let s = Stream::new(4, 1);
        let n = N as f64;
        for f in [&(|i| s.normal_pair(i).0) as &dyn Fn(u64) -> f64, &|i| s.normal_pair(i).1] {
            let (mean, variance) = moments(N, f);
            assert!(mean.abs() < SIGMAS / n.sqrt() && (variance - 1.0).abs() < SIGMAS * (2.0 / n).sqrt());
            // P(|x| > 1.96) = 0.05.
            let outside = (0..N).filter(|&i| f(i).abs() > 1.959964).count() as f64;
            assert!((outside - 0.05 * n).abs() < SIGMAS * (n * 0.05 * 0.95).sqrt());
        }
        let together = (0..N).map(|i| s.normal_pair(i).0 * s.normal_pair(i).1).sum::<f64>() / n;
        assert!(together.abs() < SIGMAS / n.sqrt(), "the two are correlated: {together}");
    }

    #[test]
    fn counts_follow_poisson() {
        for (stream, mean) in [0.3, 3.0, 9.99, 10.0, 40.0, 1000.0, 2e6].into_iter().enumerate() {
            let s = Stream::new(5, stream as u32);
            let n = N as f64;
            let (m, variance) = moments(N, |i| s.poisson(i, mean) as f64);
            // Var(sample variance) = (µ₄ − σ⁴)/n with µ₄ = mean + 3 mean².
            assert!((m - mean).abs() < SIGMAS * (mean / n).sqrt(), "mean {m} for {mean}");
            assert!(
                (variance - mean).abs() < SIGMAS * ((mean + 2.0 * mean * mean) / n).sqrt(),
                "{variance} for {mean}"
            );
            if mean < 100.0 {
                // Every probability p with n·p ≥ 25 against its frequency.
                let mut counts = [0u32; 200];
                (0..N).for_each(|i| counts[s.poisson(i, mean) as usize] += 1);
                for (k, &count) in counts.iter().enumerate() {
                    let p = super::super::elementary::exp(k as f64 * ln(mean) - mean - ln_gamma(k as f64 + 1.0));
                    let deviation = (f64::from(count) - n * p).abs();
                    assert!(n * p < 25.0 || deviation < SIGMAS * (n * p).sqrt(), "P({k}) for mean {mean}: {count}");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_poisson() {
        let s = Stream::new(6, 0);
        assert_eq!(s.poisson(0, 0.0), 0);
        assert!(s.poisson(1, 2_147_483_648.0).abs_diff(1 << 31) < 300_000);
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(std::panic::catch_unwind(|| s.poisson(0, bad)).is_err());
        }
    }

    #[test]
    fn a_number_depends_on_seed_stream_and_index_only() {
        // Fixed values: a change of these bits changes every phantom and every trained network.
        let s = Stream::new(42, 7);
        let now = (s.u32x4(3), s.normal(3).to_bits(), s.poisson(3, 4.0), s.poisson(3, 400.0));
        let words = [2_489_043_674, 2_118_309_240, 2_269_631_881, 4_242_002_894];
        assert_eq!(now, (words, 0xbff4_b9dd_3252_3e39, 4, 404));
        assert_ne!(s.u32x4(3), Stream::new(43, 7).u32x4(3));
        assert_ne!(s.u32x4(3), Stream::new(42, 8).u32x4(3));
        assert_ne!(s.u32x4(3), s.u32x4(4));
    }
}
