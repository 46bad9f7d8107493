//! L2. The gradient of a convolution by its weights.
//!
//! ```text
//! dw[co, tap, ci] = Σ_chunks ( Σ_pixels dy[n, co, o] · x[n, ci, s·o + offset(tap)] )
//! ```
//!
//! In a transposed convolution x is taken at o and dy at 2·o + offset.
//!
//! **Order.** A chunk is 4096 pixels of one sample (whole rows, at least one) in row order, begun with 0, one fused
//! multiply-add per pixel; chunks are added to 0 in the order of samples and rows.
//!
//! **Fast version.** 8 input × 32 output channels stay in registers while 64 pixels pass; large gradients are split
//! among threads by weights, small ones by chunks.

use super::conv::{Plane, planes_of};
use super::filter::FilterShape;
use super::maps::{BORDER, Maps, Pixel};
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use crate::num::sum::BLOCK;
use rayon::prelude::*;

/// The gradient of a convolution by its weights.
#[derive(Clone, Copy)]
pub struct WeightGradient<'a, P: Pixel> {
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
    pub(super) fn extent(&self) -> (usize, usize) {
        let s = if self.filter.window.transposed { self.sources[0].shape() } else { self.dy.shape() };
        (s.h, s.w)
    }
    /// Rows of a chunk.
    pub(super) fn chunk_rows(&self) -> usize {
        (BLOCK / self.extent().1).max(1)
    }
    /// Pixels of x and of dy from an o to the next.
    pub(super) fn steps(&self) -> [usize; 2] {
        let window = self.filter.window;
        if window.transposed { [1, window.stride] } else { [window.stride, 1] }
    }
    fn walks(&self, n: usize) -> (Walk<'a, P>, Walk<'a, Lane>) {
        let [x, dy] = self.steps();
        (
            Walk { planes: planes_of(self.sources, n), step: x, pitch: self.sources[0].shape().pitch() },
            Walk { planes: planes_of(&[self.dy], n), step: dy, pitch: self.dy.shape().pitch() },
        )
    }
    /// Offsets of x and dy at each tap.
    pub(super) fn offsets(&self) -> Vec<([usize; 2], [usize; 2])> {
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

struct Chunk<'a, P: Pixel> {
    gradient: &'a WeightGradient<'a, P>,
    x: &'a Walk<'a, P>,
    dy: &'a Walk<'a, Lane>,
    offsets: &'a [([usize; 2], [usize; 2])],
    plane: usize,
    group: usize,
    row: usize,
}

/// One chunk of the slots of a plane and of C groups of output channels: \[group\]\[tap\]\[slot of the plane\].
struct ChunkOf<'a, P: Pixel, const C: usize>(Chunk<'a, P>);

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
