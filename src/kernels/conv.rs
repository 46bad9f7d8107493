//! L2. Convolution, and its gradient by x; plain, strided, transposed. The gradient by the weights is
//! [`super::weight_gradient`].
//!
//! ```text
//! y[n, co, p]     = b[co] + Σ_taps Σ_slots w[co, tap, slot] · x[n, slot, p ∘ tap]
//! y               ← y < 0 ? slope · y : y           if there is a slope
//! y               ← y + r   or   y + what was there
//! ```
//!
//! Which pixel `p ∘ tap` is: [`super::stencil`]. The gradient by x is the first line with the filter's roles exchanged
//! ([`super::filter::FilterShape::swapped`]).
//!
//! **Order.** One f32 accumulator per output, begun with the bias, one fused multiply-add per term; taps ascend, then
//! the channels of all sources; idle lanes are passed over. Padding, which is +0, is added like any other term.
//!
//! **Cost.** 2·k²·Cin·Cout flops per pixel of the coarser maps, each.
//!
//! **Fast version.** 8 pixels of a row × 32 output channels (or 16 × 16) stay in registers while taps and slots pass:
//! per slot two loads of weights, a broadcast per pixel, two multiply-adds per broadcast. Weights of 32 channels (590
//! KB at 512 inputs) stay in the second-level cache for the rows of a task. What an accumulator needs comes in one
//! order, so the tile's size changes no bit. Where there are few outputs: [`super::narrow`]; with less than f32:
//! [`super::halves`].

use super::buffer::View;
use super::maps::{BORDER, Blocked, Maps, Pixel, Shape};
use super::narrow;
use super::stencil::Stencil;
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use rayon::prelude::*;

/// A plane, and how many of its channels are none of the idle ones.
pub(super) type Plane<'a, P> = (&'a [P], usize);

/// The planes of sample `n`, all sources.
pub(super) fn planes_of<'a, P: Pixel>(sources: &[&'a Maps<P>], n: usize) -> Vec<Plane<'a, P>> {
    let of = |s: &&'a Maps<P>| {
        let (s, c) = (*s, s.shape().c);
        (0..s.shape().groups::<P>()).map(move |g| (s.plane(n, g), (c - g * P::CHANNELS).min(P::CHANNELS)))
    };
    sources.iter().flat_map(of).collect()
}

/// What an output is added to.
#[derive(Clone, Copy)]
pub enum Add<'a, A: Pixel = Lane> {
    /// Nothing.
    Nothing,
    /// These maps, of the output's shape.
    Maps(&'a Maps<A>),
    /// What is there.
    Output,
}

/// A convolution to be done.
#[derive(Clone, Copy)]
pub struct Convolution<'a, P: Pixel, A: Pixel = Lane> {
    /// Maps whose channels follow one another; samples, rows and columns are the same.
    pub sources: &'a [&'a Maps<P>],
    /// Which input an output sees.
    pub stencils: &'a [Stencil],
    /// Lanes of each group of output channels: \[tap\]\[slot\].
    pub weights: View<'a>,
    /// Per group of output channels; none is 0.
    pub bias: View<'a>,
    /// Slope below 0.
    pub slope: Option<f32>,
    /// Added last.
    pub add: Add<'a, A>,
}

impl<P: Pixel, A: Blocked> Convolution<'_, P, A> {
    /// The planes of sample `n`, all sources.
    pub(super) fn planes(&self, n: usize) -> Vec<Plane<'_, P>> {
        planes_of(self.sources, n)
    }
    fn slots(&self) -> usize {
        self.sources.iter().map(|s| s.shape().groups::<P>() * P::WORDS).sum()
    }
    pub(super) fn per_group(&self) -> usize {
        self.stencils.iter().map(|s| s.taps.len()).sum::<usize>() * self.slots()
    }
    /// On lanes and threads, by any arithmetic.
    pub(super) fn on<O: Blocked>(&self, runner: &impl Runner, out: &mut Maps<O>) {
        let shape = out.shape();
        let (plane, pitch, groups) = (shape.plane(), shape.pitch(), shape.groups::<O>());
        debug_assert_eq!(self.weights.len(), groups * self.per_group());
        let planes: Vec<_> = (0..shape.n).map(|n| self.planes(n)).collect();
        let (weights, bias) = (self.weights.slice(), self.bias.slice());
        // An even number of rows, for the two row phases of a transposed convolution.
        let rows = (TASK_PIXELS / shape.w).next_multiple_of(2).max(2);
        let inside = BORDER * pitch..(BORDER + shape.h) * pitch;
        let mut tasks = Vec::new();
        for (n, sample) in out.data_mut().chunks_mut(plane * groups).enumerate() {
            for (pair, out) in sample.chunks_mut(2 * plane).enumerate() {
                let (first, second) = out.split_at_mut(plane);
                let mut second = second.get_mut(inside.clone()).map(|p| p.chunks_mut(rows * pitch));
                for (band, first) in first[inside.clone()].chunks_mut(rows * pitch).enumerate() {
                    tasks.push((pair, n, band * rows, first, second.as_mut().and_then(Iterator::next)));
                }
            }
        }
        // Neighbours in the list, and so a thread's tasks, share their weights.
        tasks.sort_by_key(|task| task.0);
        tasks.into_par_iter().with_max_len(1).for_each(|(pair, n, row, first, second)| {
            let at = At { call: self, weights, bias, planes: &planes[n], out: shape, n, group: 2 * pair, row };
            let full = planes[n].iter().all(|p| p.1 == P::CHANNELS);
            match (second, full) {
                (Some(second), true) => runner.run(Band::<P, A, O, 2, true> { at, rows: [first, second] }),
                (None, true) => runner.run(Band::<P, A, O, 1, true> { at, rows: [first] }),
                (Some(second), false) => runner.run(Band::<P, A, O, 2, false> { at, rows: [first, second] }),
                (None, false) => runner.run(Band::<P, A, O, 1, false> { at, rows: [first] }),
            }
        });
    }
}

impl<P: Pixel> Convolution<'_, P> {
    /// The definition: one output after the other.
    pub fn reference(&self, out: &mut Maps<Lane>) {
        let (shape, pitch, slots) = (out.shape(), self.sources[0].shape().pitch(), self.slots());
        let (weights, bias) = (self.weights.slice(), self.bias.slice());
        for n in 0..shape.n {
            let planes = self.planes(n);
            for co in 0..shape.groups::<Lane>() * LANES {
                let (group, lane) = (co / LANES, co % LANES);
                for stencil in self.stencils {
                    for y in (stencil.phase[0]..shape.h).step_by(stencil.step) {
                        for x in (stencil.phase[1]..shape.w).step_by(stencil.step) {
                            let mut sum = bias.get(group).map_or(0.0, |b| b.0[lane]);
                            for tap in &stencil.taps {
                                let row = stencil.stride * (y / stencil.step) + tap.offset[0];
                                let at = row * pitch + stencil.stride * (x / stencil.step) + tap.offset[1];
                                for (g, (plane, channels)) in planes.iter().enumerate() {
                                    for k in 0..*channels {
                                        let w = tap.weight * slots + g * P::CHANNELS + k;
                                        let w = weights[group * self.per_group() + w].0[lane];
                                        sum = plane[at].channel(k).mul_add(w, sum);
                                    }
                                }
                            }
                            if let Some(slope) = self.slope {
                                sum = if sum < 0.0 { slope * sum } else { sum };
                            }
                            let add = match self.add {
                                Add::Nothing => None,
                                Add::Maps(maps) => Some(maps.row(n, group, y)[x].0[lane]),
                                Add::Output => Some(out.row(n, group, y)[x].0[lane]),
                            };
                            out.row_mut(n, group, y)[x].0[lane] = add.map_or(sum, |add| sum + add);
                        }
                    }
                }
            }
        }
    }

    /// The same on lanes and threads.
    pub fn run(&self, isa: Isa, out: &mut Maps<Lane>) {
        let shape = out.shape();
        if narrow::fits(self, shape) {
            return narrow::run(self, isa, out);
        }
        self.on(&Strict(isa), out);
    }
}

/// How the terms of an output are added.
pub(super) trait Multiply<V>: Copy {
    /// sum + x·w, in every lane.
    fn add(self, x: V, w: V, sum: V) -> V;
}

/// Where a band is computed, and by which arithmetic.
pub(super) trait Runner: Sync {
    fn run<P: Pixel, A: Blocked, O: Blocked, const C: usize, const FULL: bool>(&self, band: Band<P, A, O, C, FULL>);
}

/// One fused multiply-add per term, in f32: the definition's.
#[derive(Clone, Copy)]
pub(super) struct Strict(pub Isa);

#[derive(Clone, Copy)]
struct Fused;

impl<V: F32x16> Multiply<V> for Fused {
    #[inline(always)]
    fn add(self, x: V, w: V, sum: V) -> V {
        x.mul_add(w, sum)
    }
}

impl Runner for Strict {
    fn run<P: Pixel, A: Blocked, O: Blocked, const C: usize, const FULL: bool>(&self, band: Band<P, A, O, C, FULL>) {
        self.0.run(band);
    }
}

impl<P: Pixel, A: Blocked, O: Blocked, const C: usize, const FULL: bool> Kernel for Band<'_, P, A, O, C, FULL> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        self.by::<V, _>(Fused);
    }
}

/// Output pixels of a task, about: enough to reuse the weights, few enough for many threads.
const TASK_PIXELS: usize = 1024;
/// Pixels of a tile, twice as many where there is one group of outputs. 8 × 2 accumulators hide the latency of two
/// multiply-adds per cycle. (14 × 2 fill the 32 registers of AVX-512 and are no faster; where the compiler spills one
/// of them, a third is lost.)
const TILE: usize = 8;
/// Pixels of a tile of one group of outputs where there are eight registers for vectors.
const FEW: usize = 6;

/// Where a band of output rows lies.
struct At<'a, P: Pixel, A: Pixel> {
    call: &'a Convolution<'a, P, A>,
    weights: &'a [Lane],
    bias: &'a [Lane],
    planes: &'a [Plane<'a, P>],
    out: Shape,
    n: usize,
    group: usize,
    row: usize,
}

/// Some rows of C groups of output channels; FULL: no input channel is idle.
pub(super) struct Band<'a, P: Pixel, A: Pixel, O, const C: usize, const FULL: bool> {
    at: At<'a, P, A>,
    rows: [&'a mut [O]; C],
}

impl<P: Pixel, A: Blocked, O: Blocked, const C: usize, const FULL: bool> Band<'_, P, A, O, C, FULL> {
    #[inline(always)]
    pub(super) fn by<V: F32x16, M: Multiply<V>>(mut self, m: M) {
        for stencil in self.at.call.stencils {
            // A constant stride makes the tile's reads constant offsets.
            if stencil.stride == 1 { self.stencil::<V, M, 1>(m, stencil) } else { self.stencil::<V, M, 2>(m, stencil) }
        }
    }

    #[inline(always)]
    fn stencil<V: F32x16, M: Multiply<V>, const S: usize>(&mut self, m: M, s: &Stencil) {
        let pitch = self.at.call.sources[0].shape().pitch();
        let w = (self.at.out.w - s.phase[1].min(self.at.out.w)).div_ceil(s.step);
        for y in (s.phase[0]..self.rows[0].len() / self.at.out.pitch()).step_by(s.step) {
            let from = S * ((self.at.row + y) / s.step) * pitch;
            let mut x = 0;
            while x < w {
                let wide = V::REGISTERS > 2 * TILE;
                if wide && C == 1 && x + 2 * TILE <= w {
                    self.tile::<V, M, S, { 2 * TILE }, C>(m, s, pitch, from + S * x, y, x, 0);
                    x += 2 * TILE;
                } else if wide && x + TILE <= w {
                    self.tile::<V, M, S, TILE, C>(m, s, pitch, from + S * x, y, x, 0);
                    x += TILE;
                } else if !wide && x + FEW <= w {
                    for c in 0..C {
                        self.tile::<V, M, S, FEW, 1>(m, s, pitch, from + S * x, y, x, c);
                    }
                    x += FEW;
                } else {
                    self.tile::<V, M, S, 1, C>(m, s, pitch, from + S * x, y, x, 0);
                    x += 1;
                }
            }
        }
    }

    /// T pixels of one row and G groups of outputs, from `first` of the band's on.
    #[inline(always)]
    fn tile<V: F32x16, M: Multiply<V>, const S: usize, const T: usize, const G: usize>(
        &mut self,
        m: M,
        s: &Stencil,
        pitch: usize,
        from: usize,
        y: usize,
        x: usize,
        first: usize,
    ) {
        let At { call, weights: all, bias, planes, out, n, group, row } = self.at;
        let group = group + first;
        let per_group = all.len() / out.groups::<O>();
        let mut sums = [[V::splat(0.0); G]; T];
        if !bias.is_empty() {
            for j in 0..T {
                for c in 0..G {
                    sums[j][c] = V::load(&bias[group + c]);
                }
            }
        }
        let ahead = s.taps.last().map_or(0, |tap| tap.offset[0]);
        for tap in &s.taps {
            let at = from + tap.offset[0] * pitch + tap.offset[1];
            for (g, &(plane, channels)) in planes.iter().enumerate() {
                let x = &plane[at..at + (T - 1) * S + 1];
                // The row that comes next, while this one is at work.
                if tap.offset[0] == ahead
                    && tap.offset[1] == 0
                    && let Some(next) = plane.get(at + pitch..at + pitch + T * S)
                {
                    V::prefetch(next);
                }
                let mut weights: [&[Lane]; G] = [&[]; G];
                for c in 0..G {
                    let start = (group + c) * per_group + (tap.weight * planes.len() + g) * P::WORDS;
                    weights[c] = &all[start..start + P::WORDS];
                }
                // A constant count keeps the accumulators in registers.
                let used = (channels * P::WORDS).div_ceil(P::CHANNELS);
                let words = if FULL { P::WORDS } else { used.min(P::WORDS) };
                for k in 0..words {
                    let mut w = [V::splat(0.0); G];
                    for c in 0..G {
                        w[c] = V::load(&weights[c][k]);
                    }
                    for j in 0..T {
                        let x = V::splat(x[j * S].word(k));
                        for c in 0..G {
                            sums[j][c] = m.add(x, w[c], sums[j][c]);
                        }
                    }
                }
            }
        }
        // Through memory: accumulators that a loop indexes would not be registers.
        let mut done = [[Lane::ZERO; G]; T];
        for j in 0..T {
            for c in 0..G {
                sums[j][c].store(&mut done[j][c]);
            }
        }
        let column = s.step * x + s.phase[1] + BORDER;
        for c in 0..G {
            let to = &mut self.rows[first + c][y * out.pitch() + column..];
            for j in 0..T {
                let to = &mut to[j * s.step];
                let mut v = V::load(&done[j][c]);
                if let Some(slope) = call.slope {
                    v = v.select_less(V::splat(0.0), V::splat(slope).mul(v), v);
                }
                match call.add {
                    Add::Nothing => {}
                    Add::Maps(maps) => {
                        let at = (row + y + BORDER) * out.pitch() + column + j * s.step;
                        v = v.add(V::load(&maps.plane(n, group + c)[at].widen()));
                    }
                    Add::Output => v = v.add(V::load(&to.widen())),
                }
                let mut numbers = Lane::ZERO;
                v.store(&mut numbers);
                *to = O::keep(&numbers);
            }
        }
    }
}

impl<P: Pixel, A: Pixel> Clone for At<'_, P, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Pixel, A: Pixel> Copy for At<'_, P, A> {}
