//! L1. Sums in one fixed order: a function of the numbers and their count, never of threads, instruction set or
//! device.
//!
//! ```text
//! block b      elements b·4096 .. (b+1)·4096, the last one shorter
//! lane j       0 + x[j] + x[j+16] + x[j+32] + …        16 lanes per block, elements ascending
//! fold         l[j] += l[j+8] (j < 8),  l[j] += l[j+4] (j < 4),  l[j] += l[j+2],  l[0] += l[1]
//! total        0 + block 0 + block 1 + …               index order
//! ```
//!
//! A dot product does the same with `lane ← fma(a, b, lane)`. The rounding error is that of about 256 + 4 + n/4096
//! additions in a row, not of n.
//!
//! Blocks are independent: whoever runs them on many threads collects the block sums ([`block`], [`dot_block`]) and
//! adds them in index order, with the same bits. `*_definition` is the text above as a plain loop.

use super::lanes::{F32x16, Isa, Kernel, LANES};

/// Elements of a block.
pub const BLOCK: usize = 4096;

/// 16 lanes to one, 8-4-2-1.
macro_rules! fold {
    ($lanes:expr) => {{
        let mut lanes = $lanes;
        for half in [8, 4, 2, 1] {
            for j in 0..half {
                lanes[j] += lanes[j + half];
            }
        }
        lanes[0]
    }};
}

/// The lanes of a sum to one, 8-4-2-1.
#[inline(always)]
pub fn fold<V: F32x16>(v: V) -> f32 {
    let mut lanes = [0.0; LANES];
    v.store_array(&mut lanes);
    fold!(lanes)
}

/// Σ x by the definition, in f32.
pub fn sum_definition(x: &[f32]) -> f32 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut lanes = [0f32; LANES];
        for (i, &x) in block.iter().enumerate() {
            lanes[i % LANES] += x;
        }
        total += fold!(lanes);
    }
    total
}

/// Σ a·b by the definition, in f32. Both slices have one length.
pub fn dot_definition(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "a dot product needs two slices of one length");
    let mut total = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let mut lanes = [0f32; LANES];
        for i in 0..a.len() {
            lanes[i % LANES] = a[i].mul_add(b[i], lanes[i % LANES]);
        }
        total += fold!(lanes);
    }
    total
}

/// Σ x in f32.
pub fn sum(isa: Isa, x: &[f32]) -> f32 {
    x.chunks(BLOCK).fold(0.0, |total, x| total + block(isa, x))
}

/// Σ a·b in f32. Both slices have one length.
pub fn dot(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "a dot product needs two slices of one length");
    a.chunks(BLOCK).zip(b.chunks(BLOCK)).fold(0.0, |total, (a, b)| total + dot_block(isa, a, b))
}

/// The sum of one block of at most [`BLOCK`] numbers.
pub fn block(isa: Isa, x: &[f32]) -> f32 {
    debug_assert!(x.len() <= BLOCK);
    fold!(isa.run(SumBlock(x)))
}

/// The dot product of one block of at most [`BLOCK`] pairs.
pub fn dot_block(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    debug_assert!(a.len() <= BLOCK && a.len() == b.len());
    fold!(isa.run(DotBlock(a, b)))
}

/// The lanes of a block's sum. The missing elements of the last group are +0, which changes no lane: a lane starts
/// at +0 and so is never −0.
struct SumBlock<'a>(&'a [f32]);

impl Kernel for SumBlock<'_> {
    type Out = [f32; LANES];
    #[inline(always)]
    fn run<V: F32x16>(self) -> [f32; LANES] {
        let (groups, rest) = self.0.as_chunks::<LANES>();
        // Loops and not folds: closures lose the instruction set (see `lanes`).
        let mut lanes = V::splat(0.0);
        for x in groups {
            lanes = lanes.add(V::load_array(x));
        }
        let mut out = padded(rest);
        lanes.add(V::load_array(&out)).store_array(&mut out);
        out
    }
}

/// The lanes of a block's dot product. After an underflow a lane may be −0 and the padding may make it +0: the total,
/// which starts at +0, is the same.
struct DotBlock<'a>(&'a [f32], &'a [f32]);

impl Kernel for DotBlock<'_> {
    type Out = [f32; LANES];
    #[inline(always)]
    fn run<V: F32x16>(self) -> [f32; LANES] {
        let (a, a_rest) = self.0.as_chunks::<LANES>();
        let (b, b_rest) = self.1.as_chunks::<LANES>();
        let mut lanes = V::splat(0.0);
        for (a, b) in a.iter().zip(b) {
            lanes = V::load_array(a).mul_add(V::load_array(b), lanes);
        }
        let mut out = padded(a_rest);
        V::load_array(&out).mul_add(V::load_array(&padded(b_rest)), lanes).store_array(&mut out);
        out
    }
}

/// Up to 16 numbers, then +0.
#[inline(always)]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut group = [0.0; LANES];
    group[..rest.len()].copy_from_slice(rest);
    group
}

/// Σ x in f64, in the same order.
pub fn sum_f64(x: &[f64]) -> f64 {
    sum_with(x, |lane, &x| lane + x)
}

/// Σ x in f64 of f32 numbers, in the same order; widening is exact.
pub fn sum_wide(x: &[f32]) -> f64 {
    sum_with(x, |lane, &x| lane + f64::from(x))
}

/// Σ a·b in f64, in the same order. Both slices have one length.
pub fn dot_f64(isa: Isa, a: &[f64], b: &[f64]) -> f64 {
    isa.run(DotF64(a, b))
}

/// Entered through [`Isa::run`] only for the hardware's multiply-add: the lanes of `V` stay unused, and the sixteen
/// accumulators are the compiler's to vectorise, which moves no rounding.
struct DotF64<'a>(&'a [f64], &'a [f64]);

impl Kernel for DotF64<'_> {
    type Out = f64;
    #[inline(always)]
    fn run<V: F32x16>(self) -> f64 {
        let DotF64(a, b) = self;
        assert_eq!(a.len(), b.len(), "a dot product needs two slices of one length");
        let mut total = 0.0;
        for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
            let mut lanes = [0f64; LANES];
            for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
                for j in 0..a.len() {
                    lanes[j] = a[j].mul_add(b[j], lanes[j]);
                }
            }
            total += fold!(lanes);
        }
        total
    }
}

/// One accumulator per lane, blocks in index order.
#[inline(always)]
fn sum_with<T>(x: &[T], add: impl Fn(f64, &T) -> f64) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut lanes = [0f64; LANES];
        let (groups, rest) = block.as_chunks::<LANES>();
        for group in groups {
            for j in 0..LANES {
                lanes[j] = add(lanes[j], &group[j]);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane = add(*lane, x);
        }
        total += fold!(lanes);
    }
    total
}

/// The median of at least one number; of an even number of them the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n % 2 == 1 { values[n / 2] } else { 0.5 * (values[n / 2 - 1] + values[n / 2]) }
}

/// out(x) += Σ w · line(x) over the terms in their order, by multiply-add.
pub struct AddLines<'a> {
    /// Weights, and lines no shorter than `out`.
    pub terms: &'a [(f32, &'a [f32])],
    /// What is added to.
    pub out: &'a mut [f32],
}

impl Kernel for AddLines<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let done = self.out.len() / LANES * LANES;
        for (k, out) in self.out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let mut sum = V::load_array(out);
            for (w, line) in self.terms {
                sum = V::splat(*w).mul_add(V::load_array(&line.as_chunks::<LANES>().0[k]), sum);
            }
            sum.store_array(out);
        }
        for (x, out) in self.out.iter_mut().enumerate().skip(done) {
            *out = self.terms.iter().fold(*out, |sum, (w, line)| w.mul_add(line[x], sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths around groups and blocks, and odd ones.
    const LENGTHS: [usize; 14] = [0, 1, 15, 16, 17, 31, 100, 4095, 4096, 4097, 4111, 8192, 12_289, 50_000];

    /// Numbers of both signs over twelve binades, so that another order gives other bits.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        (0..n).map(|_| (next() as f32 / 16_777_216.0 - 0.5) * (1u32 << (next() % 12)) as f32).collect()
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_definition() {
        for n in LENGTHS {
            let (a, b) = (numbers(n, 1), numbers(n, 2));
            for isa in Isa::available() {
                assert_eq!(sum(isa, &a).to_bits(), sum_definition(&a).to_bits(), "sum of {n}, {}", isa.name());
                assert_eq!(dot(isa, &a, &b).to_bits(), dot_definition(&a, &b).to_bits(), "dot of {n}, {}", isa.name());
            }
        }
    }

    #[test]
    fn the_order_is_the_documented_one() {
        // 2^24 + 1 is a tie that rounds down in f32, so each order of these numbers has its own sum.
        let big = 16_777_216.0;
        let at = |places: &[(usize, f32)]| {
            let mut x = vec![0.0; 9000];
            places.iter().for_each(|&(i, v)| x[i] = v);
            sum_definition(&x)
        };
        // One lane: ascending, so each 1 is lost. Two lanes: the ones meet first.
        assert_eq!(at(&[(0, big), (16, 1.0), (32, 1.0)]), big);
        assert_eq!(at(&[(0, big), (1, 1.0), (17, 1.0)]), big + 2.0);
        // Fold by 8 first: lanes 0 and 8 meet before lanes 0 and 4; by 4 before 2; by 2 before 1.
        assert_eq!(at(&[(0, big), (4, 1.0), (12, 1.0)]), big + 2.0);
        assert_eq!(at(&[(0, big), (8, 1.0), (4, 1.0)]), big);
        assert_eq!(at(&[(0, big), (4, 1.0), (2, 1.0)]), big);
        assert_eq!(at(&[(0, big), (2, 1.0), (6, 1.0)]), big + 2.0);
        assert_eq!(at(&[(0, big), (1, 1.0), (3, 1.0)]), big + 2.0);
        // Blocks ascend: one in each of blocks 1 and 2 is lost, two in block 1 are not.
        assert_eq!(at(&[(0, big), (4096, 1.0), (8192, 1.0)]), big);
        assert_eq!(at(&[(0, big), (4096, 1.0), (4097, 1.0)]), big + 2.0);
    }

    #[test]
    fn f64_sums_take_the_same_order() {
        for n in LENGTHS {
            let (a, b) = (numbers(n, 3), numbers(n, 4));
            let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x) * (1.0 / 3.0)).collect::<Vec<f64>>();
            let (a64, b64) = (wide(&a), wide(&b));
            let (mut sums, mut dots) = (0.0, 0.0);
            for block in 0..n.div_ceil(BLOCK) {
                let (mut s, mut d) = ([0f64; LANES], [0f64; LANES]);
                for i in block * BLOCK..n.min((block + 1) * BLOCK) {
                    s[i % LANES] += a64[i];
                    d[i % LANES] = a64[i].mul_add(b64[i], d[i % LANES]);
                }
                sums += fold!(s);
                dots += fold!(d);
            }
            assert_eq!(sum_f64(&a64).to_bits(), sums.to_bits());
            for isa in Isa::available() {
                assert_eq!(dot_f64(isa, &a64, &b64).to_bits(), dots.to_bits(), "{n}, {}", isa.name());
            }
            assert_eq!(sum_wide(&a), sum_f64(&a.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn the_error_is_that_of_a_few_hundred_additions() {
        let x = numbers(50_000, 5);
        let exact = sum_wide(&x);
        let size: f64 = x.iter().map(|x| f64::from(x.abs())).sum();
        // |error| ≤ (256 + 4 + n/4096) · 2^−24 · Σ|x|, to first order.
        let bound = (256.0 + 4.0 + 50_000.0 / 4096.0) * f64::from(f32::EPSILON) / 2.0 * size;
        assert!((f64::from(sum_definition(&x)) - exact).abs() < bound);
    }

    #[test]
    fn a_sum_of_negative_zeros_is_positive_zero() {
        for isa in Isa::available() {
            assert_eq!(sum(isa, &[-0.0; 5]).to_bits(), 0);
            assert_eq!(sum(isa, &[]).to_bits(), 0);
        }
    }
}
