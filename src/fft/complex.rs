//! Complex transforms of 2^a 3^b 5^c points, in place, sixteen signals at a time.
//!
//! **Decimation in frequency.** With n = r·m and w = e^(∓2πi/n), one pass over the block makes
//!
//! ```text
//! for j in 0..m:  (b_0 … b_(r−1)) = DFT_r(x[j], x[j+m], …, x[j+(r−1)m]);   x[j+qm] = b_q · w^(jq)
//! ```
//!
//! after which block q (cells qm … qm+m−1) holds a signal whose transform is X[q], X[q+r], X[q+2r], …: the same
//! again on r blocks of m. Blocks are finished one after the other, depth first, so that all passes but the
//! first one or two run inside the first-level cache. Output: X[r·k' + q] lies where k' lies in block q.

use super::butterfly::{Butterfly, Radix2, Radix3, Radix4, Radix5, Radix8};
use super::{check_length, root_of_unity};
use crate::error::Result;
use crate::num::lanes::{Complex, ComplexLane, F32x16, Isa, Kernel};

/// Sign of the exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `e^(−2πi jk/n)`.
    Forward,
    /// `e^(+2πi jk/n)`, not normalised.
    Inverse,
}

/// One pass: radix, block length, and the twiddles `w^(jq)`, j-major, q = 1 … r−1.
struct Pass {
    radix: usize,
    twiddles: Vec<[f32; 2]>,
}

/// A planned complex transform.
pub struct ComplexPlan {
    n: usize,
    direction: Direction,
    passes: Vec<Pass>,
    position: Vec<u32>,
}

/// Radices of a length in the order of the passes: odd ones first, on long strides; eights last, inside the cache.
fn radices(n: usize) -> Vec<usize> {
    let (mut rest, mut order, mut twos) = (n, Vec::new(), 0);
    for odd in [5, 3] {
        while rest.is_multiple_of(odd) {
            order.push(odd);
            rest /= odd;
        }
    }
    while rest > 1 {
        twos += 1;
        rest /= 2;
    }
    // 2^twos = 4^a · 8^b, or a single 2.
    match twos % 3 {
        1 if twos >= 4 => order.extend([4, 4]),
        1 => order.push(2),
        2 => order.push(4),
        _ => {}
    }
    let eights = if twos % 3 == 1 && twos >= 4 { (twos - 4) / 3 } else { twos / 3 };
    order.extend(std::iter::repeat_n(8, eights));
    order
}

impl ComplexPlan {
    /// Plans a transform of `n` points.
    ///
    /// # Errors
    /// If `n` is zero or has a prime factor above 5.
    pub fn new(n: usize, direction: Direction) -> Result<ComplexPlan> {
        check_length(n)?;
        let radices = radices(n);
        let mut passes = Vec::new();
        let mut block = n;
        for &radix in &radices {
            let m = block / radix;
            let mut twiddles = Vec::with_capacity(m * (radix - 1));
            for j in 0..m {
                for q in 1..radix {
                    let [c, s] = root_of_unity(j * q, block);
                    twiddles.push([c as f32, if direction == Direction::Forward { -s } else { s } as f32]);
                }
            }
            passes.push(Pass { radix, twiddles });
            block = m;
        }
        let position = (0..n)
            .map(|k| {
                let (mut rest, mut block, mut place) = (k, n, 0);
                for &radix in &radices {
                    block /= radix;
                    place += rest % radix * block;
                    rest /= radix;
                }
                place as u32
            })
            .collect();
        Ok(ComplexPlan { n, direction, passes, position })
    }

    /// Number of points.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Where output `k` lies after [`run_scrambled`](Self::run_scrambled).
    pub fn positions(&self) -> &[u32] {
        &self.position
    }

    /// Transforms `x` (n cells) and leaves output `k` in natural order; `scratch` has n cells.
    ///
    /// # Panics
    /// If a slice has not n cells.
    pub fn run(&self, isa: Isa, x: &mut [ComplexLane], scratch: &mut [ComplexLane]) {
        assert_eq!((x.len(), scratch.len()), (self.n, self.n), "transform of {} points", self.n);
        isa.run(Scrambled { plan: self, x });
        scratch.copy_from_slice(x);
        for (to, &place) in x.iter_mut().zip(&self.position) {
            *to = scratch[place as usize];
        }
    }

    /// Transforms `x` in place, inside a [`Kernel`]; output `k` lies at `positions()[k]`.
    #[inline(always)]
    pub fn run_scrambled<V: F32x16>(&self, x: &mut [ComplexLane]) {
        V::call(Scrambled { plan: self, x });
    }
}

struct Scrambled<'a> {
    plan: &'a ComplexPlan,
    x: &'a mut [ComplexLane],
}

impl Kernel for Scrambled<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let x = &mut self.x[..self.plan.n];
        match self.plan.direction {
            Direction::Forward => recurse::<V, false>(&self.plan.passes, x),
            Direction::Inverse => recurse::<V, true>(&self.plan.passes, x),
        }
    }
}

/// Cells of a block that is finished pass by pass instead of depth first: 256 cells are 32 KiB.
const CACHED_BLOCK: usize = 256;

/// All passes on one block: depth first while it is large, then pass by pass.
#[inline(always)]
fn recurse<V: F32x16, const INVERSE: bool>(passes: &[Pass], x: &mut [ComplexLane]) {
    // Written as loops over levels, not as a recursive call, so that everything inlines into the caller's
    // instruction set. A transform has at most three levels above the cached block: 8·8·8·256 = 131072 points.
    let n = x.len();
    let above = |mut block: usize| {
        let mut levels = 0;
        for pass in passes {
            if block <= CACHED_BLOCK {
                break;
            }
            block /= pass.radix;
            levels += 1;
        }
        levels
    };
    let levels = above(n);
    depth_first::<V, INVERSE>(passes, x, levels);
}

#[inline(always)]
fn depth_first<V: F32x16, const INVERSE: bool>(passes: &[Pass], x: &mut [ComplexLane], levels: usize) {
    // The counter `block` enumerates the blocks of the deepest level; a pass of level l runs when the counter
    // enters a new block of that level. This is the recursion, unrolled.
    let mut blocks_below = vec_of_blocks(passes, levels);
    let total = blocks_below.first().copied().unwrap_or(1);
    blocks_below.push(1);
    let leaf = x.len() / total;
    for b in 0..total {
        for level in 0..levels {
            if b % blocks_below[level] == 0 {
                let length = leaf * blocks_below[level];
                one_pass::<V, INVERSE>(&passes[level], &mut x[b * leaf..b * leaf + length]);
            }
        }
        let mut length = leaf;
        for pass in &passes[levels..] {
            for part in x[b * leaf..(b + 1) * leaf].chunks_exact_mut(length) {
                one_pass::<V, INVERSE>(pass, part);
            }
            length /= pass.radix;
        }
    }
}

/// For each of the upper levels, how many blocks of the deepest level one of its blocks holds.
fn vec_of_blocks(passes: &[Pass], levels: usize) -> Vec<usize> {
    let mut counts = vec![1; levels];
    for level in (0..levels).rev() {
        counts[level] = passes[level].radix * counts.get(level + 1).copied().unwrap_or(1);
    }
    counts
}

#[inline(always)]
fn one_pass<V: F32x16, const INVERSE: bool>(pass: &Pass, x: &mut [ComplexLane]) {
    let twiddles = &pass.twiddles[..];
    match pass.radix {
        2 => radix::<V, Radix2, 2, 1, INVERSE>(x, twiddles),
        3 => radix::<V, Radix3, 3, 2, INVERSE>(x, twiddles),
        4 => radix::<V, Radix4, 4, 3, INVERSE>(x, twiddles),
        5 => radix::<V, Radix5, 5, 4, INVERSE>(x, twiddles),
        _ => radix::<V, Radix8, 8, 7, INVERSE>(x, twiddles),
    }
}

/// One pass of radix `R` over one block (`T` = R − 1 twiddles for each j).
#[inline(always)]
fn radix<V: F32x16, B: Butterfly<R>, const R: usize, const T: usize, const INVERSE: bool>(
    x: &mut [ComplexLane],
    twiddles: &[[f32; 2]],
) {
    let mut a = [Complex { re: V::splat(0.0), im: V::splat(0.0) }; R];
    if let Ok(x) = <&mut [ComplexLane; R]>::try_from(&mut *x) {
        // The last pass: j is 0 and every twiddle is 1.
        for p in 0..R {
            a[p] = Complex::load(&x[p]);
        }
        let b = B::dft::<V, INVERSE>(a);
        for p in 0..R {
            b[p].store(&mut x[p]);
        }
        return;
    }
    let m = x.len() / R;
    let mut parts = x.chunks_exact_mut(m);
    let parts: [&mut [ComplexLane]; R] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    for (j, w) in twiddles.as_chunks::<T>().0.iter().enumerate().take(m) {
        for p in 0..R {
            a[p] = Complex::load(&parts[p][j]);
        }
        let b = B::dft::<V, INVERSE>(a);
        b[0].store(&mut parts[0][j]);
        for q in 1..R {
            b[q].scale_by(w[q - 1]).store(&mut parts[q][j]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dft::dft;
    use super::*;

    /// Lane 5 and lane 11 hold two different signals; both are compared with the oracle.
    fn relative_error(n: usize, direction: Direction, isa: Isa) -> f64 {
        let value = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0;
        let mut x = vec![ComplexLane::ZERO; n];
        for j in 0..n {
            for lane in 0..16 {
                x[j].re.0[lane] = value(j * 32 + lane);
                x[j].im.0[lane] = value(j * 32 + lane + 16);
            }
        }
        let signals = [5, 11].map(|lane| {
            let s: Vec<_> = x.iter().map(|c| [c.re.0[lane] as f64, c.im.0[lane] as f64]).collect();
            (lane, dft(&s, direction))
        });
        let mut scratch = vec![ComplexLane { re: crate::num::lanes::Lane([f32::NAN; 16]), ..ComplexLane::ZERO }; n];
        ComplexPlan::new(n, direction).unwrap().run(isa, &mut x, &mut scratch);
        let (mut error, mut norm) = (0.0, 0.0);
        for (lane, expected) in signals {
            for (got, want) in x.iter().zip(expected) {
                error += (got.re.0[lane] as f64 - want[0]).powi(2) + (got.im.0[lane] as f64 - want[1]).powi(2);
                norm += want[0].powi(2) + want[1].powi(2);
            }
        }
        (error / norm).sqrt()
    }

    #[test]
    fn every_smooth_length_to_400_and_the_large_ones_match_the_definition() {
        let lengths = (1..=400).filter(|&n| super::super::is_smooth(n)).chain([640, 1280, 2048, 2560, 3000, 4096]);
        for n in lengths {
            for direction in [Direction::Forward, Direction::Inverse] {
                let bound = 1.0e-7 * (1.0 + (n as f64).log2());
                let error = relative_error(n, direction, Isa::detect());
                assert!(error < bound, "n {n} {direction:?}: {error:.2e} > {bound:.2e}");
            }
        }
    }

    #[test]
    fn positions_are_a_permutation() {
        for n in [1, 2, 8, 60, 2560] {
            let plan = ComplexPlan::new(n, Direction::Forward).unwrap();
            let mut seen = vec![false; n];
            plan.positions().iter().for_each(|&p| seen[p as usize] = true);
            assert!(seen.iter().all(|&s| s), "{n}");
        }
    }

    #[test]
    fn lengths_with_other_primes_are_refused() {
        for n in [0, 7, 14, 1022] {
            assert!(ComplexPlan::new(n, Direction::Forward).is_err(), "{n}");
        }
    }
}
