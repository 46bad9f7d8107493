//! L2. Convolutions of bf16 with sums in f32, for inference that may differ from the definition: twice the terms per
//! instruction and half the memory, where the machine multiplies pairs of bf16.
//!
//! ```text
//! y = bf16( b + Σ pairs ( bf16(x₀)·bf16(w₀) + bf16(x₁)·bf16(w₁) ) … )
//! |y − exact| ≤ ( 2·2⁻⁸ + 2⁻¹⁶ + n·2⁻²³ )·(Σ |x|·|w| + |b|)  before y is rounded, by 2⁻⁸·|y| at most
//! ```
//!
//! for n terms: x and w are each rounded by 2⁻⁸ of themselves or less (bf16 keeps 8 bits), and each of the n additions
//! by 2⁻²³ of the partial sum or less, whichever way the machine rounds. Numbers below 2⁻¹²⁶ may become 0.

use super::buffer::Number;
use super::conv::{Band, Convolution, Multiply, Runner, Strict};
use super::maps::{Blocked, Maps, Pixel};
use crate::num::lanes::{F32x16, HalfKernel, Halves, Isa, LANES, Lane};
use rayon::prelude::*;

/// Sixteen channels as bf16.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(32))]
pub struct Half(pub [u16; LANES]);

/// The nearest bf16, to even.
#[inline(always)]
fn round(v: f32) -> u16 {
    let bits = v.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    if v.is_nan() { 0x7fc0 } else { rounded }
}

impl Number for Half {
    const ZERO: Half = Half([0; LANES]);
}

impl Pixel for Half {
    const CHANNELS: usize = LANES;
    const WORDS: usize = LANES / 2;
    #[inline(always)]
    fn channel(&self, c: usize) -> f32 {
        f32::from_bits(u32::from(self.0[c]) << 16)
    }
    fn set(&mut self, c: usize, value: f32) {
        self.0[c] = round(value);
    }
    /// Two channels, the first in the low half.
    #[inline(always)]
    fn word(&self, k: usize) -> f32 {
        f32::from_bits(u32::from(self.0[2 * k]) | u32::from(self.0[2 * k + 1]) << 16)
    }
}

impl Blocked for Half {
    #[inline(always)]
    fn keep(numbers: &Lane) -> Half {
        Half(numbers.0.map(round))
    }
    #[inline(always)]
    fn widen(&self) -> Lane {
        Lane(self.0.map(|v| f32::from_bits(u32::from(v) << 16)))
    }
}

/// Weights of a convolution in pairs of input slots: \[group\]\[tap\]\[slot / 2\], the even slot in the low half.
pub fn pairs(weights: &[Lane]) -> Vec<Lane> {
    let pair = |w: &[Lane]| {
        let word = |l: usize| u32::from(round(w[0].0[l])) | u32::from(round(w[1].0[l])) << 16;
        Lane(std::array::from_fn(|l| f32::from_bits(word(l))))
    };
    weights.par_chunks_exact(2).map(pair).collect()
}

#[derive(Clone, Copy)]
struct Pairs<V>(Halves<V>);

impl<V: F32x16> Multiply<V> for Pairs<V> {
    #[inline(always)]
    fn add(self, x: V, w: V, sum: V) -> V {
        sum.add_pairs(x, w, self.0)
    }
}

struct ByPairs(Isa);

impl Runner for ByPairs {
    fn run<P: Pixel, A: Blocked, O: Blocked, const C: usize, const FULL: bool>(&self, band: Band<P, A, O, C, FULL>) {
        self.0.run_halves(band);
    }
}

impl<P: Pixel, A: Blocked, O: Blocked, const C: usize, const FULL: bool> HalfKernel for Band<'_, P, A, O, C, FULL> {
    #[inline(always)]
    fn run<V: F32x16>(self, proof: Halves<V>) {
        self.by::<V, _>(Pairs(proof));
    }
}

impl<A: Blocked> Convolution<'_, Half, A> {
    /// y, where weights are [`pairs`].
    pub fn run_halves<O: Blocked>(&self, isa: Isa, out: &mut Maps<O>) {
        self.on(&ByPairs(isa), out);
    }
}

impl Convolution<'_, f32, Half> {
    /// y of the grey image in f32, kept as bf16.
    pub fn run_to_halves(&self, isa: Isa, out: &mut Maps<Half>) {
        self.on(&Strict(isa), out);
    }
}

/// Every position of `out` from those of x and, if there, r, by sample and group.
pub fn each(
    x: &Maps<Half>,
    r: Option<&Maps<Half>>,
    out: &mut Maps<Half>,
    f: impl Fn(usize, Lane, Lane) -> Lane + Sync,
) {
    let groups = out.shape().groups::<Half>();
    out.bands_mut(1).into_par_iter().for_each(|(band, to)| {
        let border = super::maps::BORDER;
        let from = x.row(band.n, band.g, band.first);
        let residual = r.map(|r| r.row(band.n, band.g, band.first));
        for (i, to) in to[border..border + from.len()].iter_mut().enumerate() {
            let r = residual.map_or(Lane::ZERO, |r| r[i].widen());
            *to = Half::keep(&f(band.g % groups, from[i].widen(), r));
        }
    });
}

/// The largest of 2×2.
pub fn max_pool(x: &Maps<Half>, y: &mut Maps<Half>) {
    y.bands_mut(1).into_par_iter().for_each(|(band, to)| {
        let rows = [0, 1].map(|k| x.row(band.n, band.g, 2 * band.first + k));
        let width = rows[0].len() / 2;
        for (i, to) in to[super::maps::BORDER..][..width].iter_mut().enumerate() {
            let four = [rows[0][2 * i], rows[0][2 * i + 1], rows[1][2 * i], rows[1][2 * i + 1]].map(|v| v.widen());
            let most = |l: usize| four.iter().fold(four[0].0[l], |most, v| if most < v.0[l] { v.0[l] } else { most });
            *to = Half::keep(&Lane(std::array::from_fn(most)));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::buffer::View;
    use super::super::conv::Add;
    use super::super::filter::FilterShape;
    use super::super::maps::Shape;
    use super::super::stencil::Window;
    use super::*;
    use crate::num::philox::Stream;

    fn numbers(n: usize, purpose: u32) -> Vec<f32> {
        let stream = Stream::new(5, purpose);
        (0..n as u64).map(|i| stream.normal(i) as f32).collect()
    }

    #[test]
    fn rounding_is_to_the_nearest_and_to_even() {
        for v in numbers(1000, 1).into_iter().chain([0.0, -0.0, 1e-30, f32::INFINITY, 3.4e38]) {
            assert_eq!(round(v), half::bf16::from_f32_const(v).to_bits(), "{v}");
        }
        assert!(f32::from_bits(u32::from(round(f32::NAN)) << 16).is_nan());
        let half = Half::keep(&Lane(std::array::from_fn(|l| l as f32)));
        assert_eq!((half.channel(5), half.widen().0[7], half.word(1).to_bits()), (5.0, 7.0, 0x4040_4000));
    }

    #[test]
    fn convolutions_stay_within_their_bound() {
        let isa = Isa::detect();
        for (window, inputs, outputs) in [
            (Window::convolution(3, 1), vec![40], 33),
            (Window::convolution(3, 2), vec![16, 16], 5),
            (Window::convolution(1, 1), vec![7], 16),
            (Window::transposed(3), vec![20, 9], 48),
            (Window::transposed(2), vec![32], 20),
        ] {
            let shapes: Vec<Shape> = inputs.iter().map(|&c| Shape::new(2, c, 6, 19 & !1)).collect();
            let wide: Vec<Maps<Lane>> =
                shapes.iter().enumerate().map(|(i, &s)| Maps::from_nchw(s, &numbers(s.len(), 2 + i as u32))).collect();
            let halves: Vec<Maps<Half>> = wide.iter().map(|m| Maps::from_nchw(m.shape(), &m.to_nchw())).collect();
            let filter = FilterShape::new::<Lane>(window, &inputs, outputs);
            let torch = numbers(filter.torch().iter().product(), 9);
            let weights = filter.pack(&torch);
            let magnitudes = filter.pack(&torch.iter().map(|v| v.abs()).collect::<Vec<_>>());
            let out = Shape::new(2, outputs, window.output(6), window.output(18));
            let (stencils, paired) = (window.forward(), pairs(&weights));
            // Exact enough: f32 itself is thousands of times nearer than the bound.
            let of = |sources: &[&Maps<Lane>], weights: &[Lane]| {
                let mut y = Maps::zeros(out);
                let call = Convolution {
                    sources,
                    stencils: &stencils,
                    weights: weights.into(),
                    bias: View::nothing(),
                    slope: None,
                    add: Add::Nothing,
                };
                call.run(isa, &mut y);
                y.to_nchw()
            };
            let absolute: Vec<Maps<Lane>> = wide
                .iter()
                .map(|m| Maps::from_nchw(m.shape(), &m.to_nchw().iter().map(|v| v.abs()).collect::<Vec<_>>()))
                .collect();
            let exact = of(&wide.iter().collect::<Vec<_>>(), &weights);
            let sums = of(&absolute.iter().collect::<Vec<_>>(), &magnitudes);
            let sources: Vec<&Maps<Half>> = halves.iter().collect();
            let call = Convolution::<Half> {
                sources: &sources,
                stencils: &stencils,
                weights: (&paired).into(),
                bias: View::nothing(),
                slope: None,
                add: Add::Nothing,
            };
            let terms = (filter.taps() * inputs.iter().sum::<usize>()) as f32;
            let bound = 2.0 / 256.0 + 1.0 / 65536.0 + terms / 8_388_608.0;
            // By the machine's instruction and by the definition of pairs.
            for isa in [isa, Isa::scalar()] {
                let mut y = Maps::<Lane>::zeros(out);
                call.run_halves(isa, &mut y);
                let mut far = 0f32;
                for ((y, exact), sum) in y.to_nchw().iter().zip(&exact).zip(&sums) {
                    assert!((y - exact).abs() <= bound * sum + 1e-6, "{window:?}: {y} {exact} of {sum}");
                    far = far.max((y - exact).abs() / sum);
                }
                // Rounding is there: this is no f32.
                assert!(far > 1e-4, "{window:?}: {far}");
                let mut kept = Maps::<Half>::zeros(out);
                call.run_halves(isa, &mut kept);
                assert!(
                    kept.to_nchw()
                        .iter()
                        .zip(y.to_nchw())
                        .all(|(a, b)| *a == f32::from_bits(u32::from(round(b)) << 16))
                );
            }
        }
    }
}
