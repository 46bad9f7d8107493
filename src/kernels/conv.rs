//! L2. Convolution in every direction: y, its gradient by x, and by the weights; plain, strided, transposed.
//!
//! ```text
//! y[n, co, p]     = b[co] + Σ_taps Σ_slots w[co, tap, slot] · x[n, slot, p ∘ tap]
//! y               ← y < 0 ? slope · y : y           if there is a slope
//! y               ← y + r   or   y + what was there
//! dw[co, tap, ci] = Σ_chunks ( Σ_pixels dy[n, co, o] · x[n, ci, s·o + offset(tap)] )
//! ```
//!
//! Which pixel `p ∘ tap` is: [`super::stencil`]. The gradient by x is the first line with the filter's roles exchanged
//! ([`super::filter::FilterShape::swapped`]). In a transposed convolution the weights' gradient takes x at o and dy at
//! 2·o + offset.
//!
//! **Order.** One f32 accumulator per output, begun with the bias, one fused multiply-add per term; taps ascend, then
//! the channels of all sources; idle lanes are passed over. Padding, which is +0, is added like any other term. A
//! chunk of dw is 4096 pixels of one sample (whole rows, at least one) in row order, begun with 0; chunks are added
//! to 0 in the order of samples and rows.
//!
//! **Cost.** 2·k²·Cin·Cout flops per pixel of the coarser maps, each.
//!
//! **Fast version.** 8 pixels of a row × 32 output channels (or 16 × 16) stay in registers while taps and slots pass:
//! per slot two loads of weights, a broadcast per pixel, two multiply-adds per broadcast. Weights of 32 channels (590
//! KB at 512 inputs) stay in the second-level cache for the rows of a task. For dw it is 8 input × 32 output
//! channels, and 64 pixels pass. What an accumulator needs comes in one order, so the tile's size changes no bit. Where there are few outputs: [`super::narrow`].

use super::filter::FilterShape;
use super::maps::{BORDER, Maps, Pixel, Shape};
use super::narrow;
use super::stencil::Stencil;
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use crate::num::sum::BLOCK;
use rayon::prelude::*;

/// A plane, and how many of its channels are none of the idle ones.
type Plane<'a, P> = (&'a [P], usize);

/// The planes of sample `n`, all sources.
fn planes_of<'a, P: Pixel>(sources: &[&'a Maps<P>], n: usize) -> Vec<Plane<'a, P>> {
    let of = |s: &&'a Maps<P>| {
        let (s, c) = (*s, s.shape().c);
        (0..s.shape().groups::<P>()).map(move |g| (s.plane(n, g), (c - g * P::CHANNELS).min(P::CHANNELS)))
    };
    sources.iter().flat_map(of).collect()
}

/// What an output is added to.
#[derive(Clone, Copy)]
pub enum Add<'a> {
    /// Nothing.
    Nothing,
    /// These maps, of the output's shape.
    Maps(&'a Maps<Lane>),
    /// What is there.
    Output,
}

/// A convolution to be done.
#[derive(Clone, Copy)]
pub struct Convolution<'a, P> {
    /// Maps whose channels follow one another; samples, rows and columns are the same.
    pub sources: &'a [&'a Maps<P>],
    /// Which input an output sees.
    pub stencils: &'a [Stencil],
    /// Lanes of each group of output channels: \[tap\]\[slot\].
    pub weights: &'a [Lane],
    /// Per group of output channels; none is 0.
    pub bias: &'a [Lane],
    /// Slope below 0.
    pub slope: Option<f32>,
    /// Added last.
    pub add: Add<'a>,
}

impl<P: Pixel> Convolution<'_, P> {
    /// The planes of sample `n`, all sources.
    pub(super) fn planes(&self, n: usize) -> Vec<Plane<'_, P>> {
        planes_of(self.sources, n)
    }
    fn slots(&self) -> usize {
        self.sources.iter().map(|s| s.shape().groups::<P>() * P::CHANNELS).sum()
    }
    fn per_group(&self) -> usize {
        self.stencils.iter().map(|s| s.taps.len()).sum::<usize>() * self.slots()
    }
    /// The definition: one output after the other.
    pub fn reference(&self, out: &mut Maps<Lane>) {
        let (shape, pitch, slots) = (out.shape(), self.sources[0].shape().pitch(), self.slots());
        for n in 0..shape.n {
            let planes = self.planes(n);
            for co in 0..shape.groups::<Lane>() * LANES {
                let (group, lane) = (co / LANES, co % LANES);
                for stencil in self.stencils {
                    for y in (stencil.phase[0]..shape.h).step_by(stencil.step) {
                        for x in (stencil.phase[1]..shape.w).step_by(stencil.step) {
                            let mut sum = self.bias.get(group).map_or(0.0, |b| b.0[lane]);
                            for tap in &stencil.taps {
                                let row = stencil.stride * (y / stencil.step) + tap.offset[0];
                                let at = row * pitch + stencil.stride * (x / stencil.step) + tap.offset[1];
                                for (g, (plane, channels)) in planes.iter().enumerate() {
                                    for k in 0..*channels {
                                        let w = tap.weight * slots + g * P::CHANNELS + k;
                                        let w = self.weights[group * self.per_group() + w].0[lane];
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
        let (plane, pitch, groups) = (shape.plane(), shape.pitch(), shape.groups::<Lane>());
        debug_assert_eq!(self.weights.len(), groups * self.per_group());
        let planes: Vec<_> = (0..shape.n).map(|n| self.planes(n)).collect();
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
            let at = At { call: self, planes: &planes[n], out: shape, n, group: 2 * pair, row };
            let full = planes[n].iter().all(|p| p.1 == P::CHANNELS);
            match (second, full) {
                (Some(second), true) => isa.run(Band::<P, 2, true> { at, rows: [first, second] }),
                (None, true) => isa.run(Band::<P, 1, true> { at, rows: [first] }),
                (Some(second), false) => isa.run(Band::<P, 2, false> { at, rows: [first, second] }),
                (None, false) => isa.run(Band::<P, 1, false> { at, rows: [first] }),
            }
        });
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
struct At<'a, P> {
    call: &'a Convolution<'a, P>,
    planes: &'a [Plane<'a, P>],
    out: Shape,
    n: usize,
    group: usize,
    row: usize,
}

/// Some rows of C groups of output channels; FULL: no input channel is idle.
struct Band<'a, P, const C: usize, const FULL: bool> {
    at: At<'a, P>,
    rows: [&'a mut [Lane]; C],
}

impl<P: Pixel, const C: usize, const FULL: bool> Kernel for Band<'_, P, C, FULL> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(mut self) {
        for stencil in self.at.call.stencils {
            // A constant stride makes the tile's reads constant offsets.
            if stencil.stride == 1 { self.stencil::<V, 1>(stencil) } else { self.stencil::<V, 2>(stencil) }
        }
    }
}

impl<P: Pixel, const C: usize, const FULL: bool> Band<'_, P, C, FULL> {
    #[inline(always)]
    fn stencil<V: F32x16, const S: usize>(&mut self, s: &Stencil) {
        let pitch = self.at.call.sources[0].shape().pitch();
        let w = (self.at.out.w - s.phase[1].min(self.at.out.w)).div_ceil(s.step);
        for y in (s.phase[0]..self.rows[0].len() / self.at.out.pitch()).step_by(s.step) {
            let from = S * ((self.at.row + y) / s.step) * pitch;
            let mut x = 0;
            while x < w {
                let wide = V::REGISTERS > 2 * TILE;
                if wide && C == 1 && x + 2 * TILE <= w {
                    self.tile::<V, S, { 2 * TILE }, C>(s, pitch, from + S * x, y, x, 0);
                    x += 2 * TILE;
                } else if wide && x + TILE <= w {
                    self.tile::<V, S, TILE, C>(s, pitch, from + S * x, y, x, 0);
                    x += TILE;
                } else if !wide && x + FEW <= w {
                    for c in 0..C {
                        self.tile::<V, S, FEW, 1>(s, pitch, from + S * x, y, x, c);
                    }
                    x += FEW;
                } else {
                    self.tile::<V, S, 1, C>(s, pitch, from + S * x, y, x, 0);
                    x += 1;
                }
            }
        }
    }

    /// T pixels of one row and G groups of outputs, from `first` of the band's on.
    #[inline(always)]
    fn tile<V: F32x16, const S: usize, const T: usize, const G: usize>(
        &mut self,
        s: &Stencil,
        pitch: usize,
        from: usize,
        y: usize,
        x: usize,
        first: usize,
    ) {
        let At { call, planes, out, n, group, row } = self.at;
        let group = group + first;
        let per_group = call.weights.len() / out.groups::<Lane>();
        let mut sums = [[V::splat(0.0); G]; T];
        if !call.bias.is_empty() {
            for j in 0..T {
                for c in 0..G {
                    sums[j][c] = V::load(&call.bias[group + c]);
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
                    let start = (group + c) * per_group + (tap.weight * planes.len() + g) * P::CHANNELS;
                    weights[c] = &call.weights[start..start + P::CHANNELS];
                }
                // A constant count keeps the accumulators in registers.
                let channels = if FULL { P::CHANNELS } else { channels.min(P::CHANNELS) };
                for k in 0..channels {
                    let mut w = [V::splat(0.0); G];
                    for c in 0..G {
                        w[c] = V::load(&weights[c][k]);
                    }
                    for j in 0..T {
                        let x = V::splat(x[j * S].channel(k));
                        for c in 0..G {
                            sums[j][c] = x.mul_add(w[c], sums[j][c]);
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
                        v = v.add(V::load(&maps.plane(n, group + c)[at]));
                    }
                    Add::Output => v = v.add(V::load(to)),
                }
                v.store(to);
            }
        }
    }
}

impl<P> Clone for At<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for At<'_, P> {}

/// The gradient of a convolution by its weights.
#[derive(Clone, Copy)]
pub struct WeightGradient<'a, P> {
    /// What was convolved.
    pub sources: &'a [&'a Maps<P>],
    /// Gradient by y.
    pub dy: &'a Maps<Lane>,
    /// The filter.
    pub filter: &'a FilterShape,
}

/// The two maps of a product, o ↦ step·o + offset each.
struct Walk<'a, P> {
    planes: Vec<Plane<'a, P>>,
    step: usize,
    pitch: usize,
}

impl<'a, P: Pixel> WeightGradient<'a, P> {
    /// Rows, columns of the coarser maps, over which is summed.
    fn extent(&self) -> (usize, usize) {
        let s = if self.filter.window.transposed { self.sources[0].shape() } else { self.dy.shape() };
        (s.h, s.w)
    }
    /// Rows of a chunk.
    fn chunk_rows(&self) -> usize {
        (BLOCK / self.extent().1).max(1)
    }
    fn walks(&self, n: usize) -> (Walk<'a, P>, Walk<'a, Lane>) {
        let window = self.filter.window;
        let (x, dy) = if window.transposed { (1, window.stride) } else { (window.stride, 1) };
        (
            Walk { planes: planes_of(self.sources, n), step: x, pitch: self.sources[0].shape().pitch() },
            Walk { planes: planes_of(&[self.dy], n), step: dy, pitch: self.dy.shape().pitch() },
        )
    }
    /// Offsets of x and dy at each tap.
    fn offsets(&self) -> Vec<([usize; 2], [usize; 2])> {
        let window = self.filter.window;
        let taps = window.gather(false).remove(0).taps;
        let centre = [BORDER; 2];
        taps.iter().map(|t| if window.transposed { (centre, t.offset) } else { (t.offset, centre) }).collect()
    }

    /// The definition: one weight after the other.
    pub fn reference(&self, dw: &mut [Lane]) {
        let ((h, w), f, offsets) = (self.extent(), self.filter, self.offsets());
        for (index, to) in dw.iter_mut().enumerate() {
            let (slot, tap, group) = (index % f.slots(), index / f.slots() % f.taps(), index / f.per_group());
            for lane in 0..LANES {
                let mut total = 0f32;
                for n in 0..self.dy.shape().n {
                    let (x, dy) = self.walks(n);
                    for first in (0..h).step_by(self.chunk_rows()) {
                        let mut sum = 0f32;
                        for row in first..h.min(first + self.chunk_rows()) {
                            for column in 0..w {
                                let at = |walk: (usize, usize), o: [usize; 2]| {
                                    (walk.0 * row + o[0]) * walk.1 + walk.0 * column + o[1]
                                };
                                let x_at = at((x.step, x.pitch), offsets[tap].0);
                                let dy_at = at((dy.step, dy.pitch), offsets[tap].1);
                                let x = x.planes[slot / P::CHANNELS].0[x_at].channel(slot % P::CHANNELS);
                                sum = x.mul_add(dy.planes[group].0[dy_at].0[lane], sum);
                            }
                        }
                        total += sum;
                    }
                }
                to.0[lane] = total;
            }
        }
    }

    /// The same on lanes and threads.
    pub fn run(&self, isa: Isa, dw: &mut [Lane]) {
        let (f, samples, (h, _)) = (self.filter, self.dy.shape().n, self.extent());
        let (taps, groups) = (f.taps(), f.slots() / P::CHANNELS);
        let pairs = f.groups().div_ceil(2);
        let walks: Vec<_> = (0..samples).map(|n| self.walks(n)).collect();
        let offsets = self.offsets();
        // A task owns the slots of one plane and of two groups of outputs: pieces of dw, taps of the first group,
        // then of the second.
        let mut tasks: Vec<(usize, usize, Vec<&mut [Lane]>)> = Vec::new();
        (0..pairs * groups).for_each(|t| tasks.push((t / groups, t % groups, Vec::with_capacity(2 * taps))));
        for (index, piece) in dw.chunks_mut(P::CHANNELS).enumerate() {
            tasks[index / groups / taps / 2 * groups + index % groups].2.push(piece);
        }
        let chunks: Vec<(usize, usize)> =
            (0..samples).flat_map(|n| (0..h).step_by(self.chunk_rows()).map(move |row| (n, row))).collect();
        let chunk = |pair: usize, plane: usize, two: bool, (n, row): (usize, usize)| -> Vec<Lane> {
            let (x, dy) = &walks[n];
            let at = Chunk { gradient: self, x, dy, offsets: &offsets, plane, group: 2 * pair, row };
            if two { isa.run(ChunkOf::<P, 2>(at)) } else { isa.run(ChunkOf::<P, 1>(at)) }
        };
        let add = |pieces: &mut [&mut [Lane]], sums: &[Lane]| {
            for (piece, sums) in pieces.iter_mut().zip(sums.chunks(P::CHANNELS)) {
                for (to, sum) in piece.iter_mut().zip(sums) {
                    (0..LANES).for_each(|l| to.0[l] += sum.0[l]);
                }
            }
        };
        tasks.iter_mut().for_each(|t| t.2.iter_mut().for_each(|p| p.fill(Lane::ZERO)));
        if tasks.len() >= ENOUGH {
            tasks.into_par_iter().with_max_len(1).for_each(|(pair, plane, mut pieces)| {
                let two = pieces.len() > taps;
                chunks.iter().for_each(|&at| add(&mut pieces, &chunk(pair, plane, two, at)));
            });
        } else {
            for (pair, plane, mut pieces) in tasks {
                let two = pieces.len() > taps;
                let sums: Vec<_> = chunks.par_iter().with_max_len(1).map(|&at| chunk(pair, plane, two, at)).collect();
                sums.iter().for_each(|sums| add(&mut pieces, sums));
            }
        }
    }
}

/// From so many tasks on, each adds its own chunks; below, chunks are computed side by side. The order of the sum is
/// the same.
const ENOUGH: usize = 64;
/// Pixels that pass a tile of weights at a time: they and 32 + 16 channels of them stay in the first-level cache.
const PASS: usize = 64;
/// Input channels of a tile of weights.
const INPUTS: usize = 8;

struct Chunk<'a, P> {
    gradient: &'a WeightGradient<'a, P>,
    x: &'a Walk<'a, P>,
    dy: &'a Walk<'a, Lane>,
    offsets: &'a [([usize; 2], [usize; 2])],
    plane: usize,
    group: usize,
    row: usize,
}

/// One chunk of the slots of a plane and of C groups of output channels: \[group\]\[tap\]\[slot of the plane\].
struct ChunkOf<'a, P, const C: usize>(Chunk<'a, P>);

impl<P: Pixel, const C: usize> Kernel for ChunkOf<'_, P, C> {
    type Out = Vec<Lane>;
    #[inline(always)]
    fn run<V: F32x16>(self) -> Vec<Lane> {
        let at = self.0;
        let (h, w) = at.gradient.extent();
        let last = h.min(at.row + at.gradient.chunk_rows());
        let mut sums = vec![Lane::ZERO; C * at.offsets.len() * P::CHANNELS];
        let channels = at.x.planes[at.plane].1;
        // Part of a row, or several rows.
        let (rows, columns) = ((PASS / w).max(1), w.min(PASS));
        for row in (at.row..last).step_by(rows) {
            for column in (0..w).step_by(columns) {
                let (rows, columns) = (row..last.min(row + rows), column..w.min(column + columns));
                for tap in 0..at.offsets.len() {
                    let strides = (at.x.step, at.dy.step);
                    if P::CHANNELS == 1 {
                        match strides {
                            (1, _) => at.pass::<V, C, 1, 1, 1>(&mut sums, tap, 0, rows.clone(), columns.clone()),
                            _ => at.pass::<V, C, 1, 2, 1>(&mut sums, tap, 0, rows.clone(), columns.clone()),
                        }
                    } else {
                        for first in (0..channels).step_by(INPUTS) {
                            match strides {
                                (1, 1) => {
                                    at.pass::<V, C, INPUTS, 1, 1>(&mut sums, tap, first, rows.clone(), columns.clone())
                                }
                                (2, 1) => {
                                    at.pass::<V, C, INPUTS, 2, 1>(&mut sums, tap, first, rows.clone(), columns.clone())
                                }
                                _ => {
                                    at.pass::<V, C, INPUTS, 1, 2>(&mut sums, tap, first, rows.clone(), columns.clone())
                                }
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}

impl<P: Pixel> Chunk<'_, P> {
    /// I input channels from `first` on at one tap, over some pixels; x goes by SX, dy by SY.
    #[inline(always)]
    fn pass<V: F32x16, const C: usize, const I: usize, const SX: usize, const SY: usize>(
        &self,
        sums: &mut [Lane],
        tap: usize,
        first: usize,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
    ) {
        let (x_offset, dy_offset) = self.offsets[tap];
        let taps = self.offsets.len();
        let mut tile = [[V::splat(0.0); C]; I];
        for i in 0..I {
            for c in 0..C {
                tile[i][c] = V::load(&sums[(c * taps + tap) * P::CHANNELS + first + i]);
            }
        }
        let count = columns.end - columns.start;
        for row in rows {
            let x_at = (SX * row + x_offset[0]) * self.x.pitch + SX * columns.start + x_offset[1];
            let dy_at = (SY * row + dy_offset[0]) * self.dy.pitch + SY * columns.start + dy_offset[1];
            let x = &self.x.planes[self.plane].0[x_at..x_at + SX * (count - 1) + 1];
            let mut dy: [&[Lane]; C] = [&[]; C];
            for c in 0..C {
                dy[c] = &self.dy.planes[self.group + c].0[dy_at..dy_at + SY * (count - 1) + 1];
            }
            for p in 0..count {
                let mut d = [V::splat(0.0); C];
                for c in 0..C {
                    d[c] = V::load(&dy[c][SY * p]);
                }
                let x = &x[SX * p];
                for i in 0..I {
                    let x = V::splat(x.channel((first + i) % P::CHANNELS));
                    for c in 0..C {
                        tile[i][c] = x.mul_add(d[c], tile[i][c]);
                    }
                }
            }
        }
        for i in 0..I {
            for c in 0..C {
                tile[i][c].store(&mut sums[(c * taps + tap) * P::CHANNELS + first + i]);
            }
        }
    }
}
