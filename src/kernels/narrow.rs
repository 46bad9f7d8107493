//! L2. Convolutions of few outputs. In [`super::conv`] lanes are output channels; with five classes eleven of sixteen
//! would idle. Here lanes are pixels of a row. Every output is the same sum in the same order.
//!
//! ```text
//! turned[slot][x] = row[x][slot]                               input rows, once each
//! y[k][x … x + 15] = b[k] + Σ_taps Σ_slots w[tap][slot][k] · turned[slot][x + offset … ]
//! ```
//!
//! **Fast.** A task keeps the three input rows that its taps reach, turned; 32 pixels of K outputs stay in registers.

use super::conv::{Add, Convolution};
use super::maps::{BORDER, Maps, Pixel, Shape};
use super::stencil::Stencil;
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use rayon::prelude::*;

/// Most outputs: half the lanes.
const MOST: usize = 8;
/// Input rows that taps reach.
const REACH: usize = 2 * BORDER + 1;
/// Output pixels of a task, about: the rows that two tasks turn both are few beside them.
const TASK_PIXELS: usize = 8192;

/// Whether a convolution is one of these.
pub(super) fn fits<P: Pixel>(call: &Convolution<P>, out: Shape) -> bool {
    P::CHANNELS == LANES && out.c <= MOST && call.stencils.iter().all(|s| s.stride == 1)
}

/// Computes a convolution that [`fits`].
pub(super) fn run<P: Pixel>(call: &Convolution<P>, isa: Isa, out: &mut Maps<Lane>) {
    let shape = out.shape();
    let (plane, pitch) = (shape.plane(), shape.pitch());
    let planes = |n: usize| -> Vec<(&[Lane], usize)> {
        call.planes(n).into_iter().filter_map(|(plane, channels)| Some((P::lanes(plane)?, channels))).collect()
    };
    let planes: Vec<_> = (0..shape.n).map(planes).collect();
    // An even number of rows, for the two row phases of a transposed convolution.
    let rows = (TASK_PIXELS / shape.w).next_multiple_of(2).max(2);
    let inside = BORDER * pitch..(BORDER + shape.h) * pitch;
    let samples = out.data_mut().chunks_mut(plane).enumerate();
    let tasks: Vec<_> = samples
        .flat_map(|(n, plane)| {
            plane[inside.clone()].chunks_mut(rows * pitch).enumerate().map(move |(band, to)| (n, band * rows, to))
        })
        .collect();
    tasks.into_par_iter().with_max_len(1).for_each(|(n, row, to)| {
        let at = At { call, planes: &planes[n], out: shape, n, row };
        match shape.c {
            1 => isa.run(Band::<P, 1> { at, to }),
            2 => isa.run(Band::<P, 2> { at, to }),
            3 => isa.run(Band::<P, 3> { at, to }),
            4 => isa.run(Band::<P, 4> { at, to }),
            5 => isa.run(Band::<P, 5> { at, to }),
            6 => isa.run(Band::<P, 6> { at, to }),
            7 => isa.run(Band::<P, 7> { at, to }),
            _ => isa.run(Band::<P, MOST> { at, to }),
        }
    });
}

/// Where a band of output rows lies.
struct At<'a, P: Pixel> {
    call: &'a Convolution<'a, P>,
    planes: &'a [(&'a [Lane], usize)],
    out: Shape,
    n: usize,
    row: usize,
}

/// Some rows of K outputs.
struct Band<'a, P: Pixel, const K: usize> {
    at: At<'a, P>,
    to: &'a mut [Lane],
}

/// Input rows with the pixels of a channel side by side: \[row % 3\]\[slot\]\[x\].
struct Turned {
    data: Vec<f32>,
    slots: usize,
    width: usize,
}

impl Turned {
    /// All slots of an input row.
    fn rows(&self, row: usize) -> &[f32] {
        let size = self.slots * self.width;
        &self.data[row % REACH * size..][..size]
    }
    #[inline(always)]
    fn fill<V: F32x16>(&mut self, row: usize, pitch: usize, planes: &[(&[Lane], usize)]) {
        let start = row % REACH * self.slots * self.width;
        for (g, &(plane, channels)) in planes.iter().enumerate() {
            let Some(from) = plane.get(row * pitch..(row + 1) * pitch) else { continue };
            for (block, from) in from.chunks(LANES).enumerate() {
                let mut turned = [Lane::ZERO; LANES];
                turned[..from.len()].copy_from_slice(from);
                V::transpose(&mut turned);
                for (channel, turned) in turned.iter().enumerate().take(channels) {
                    let to = start + (g * LANES + channel) * self.width + block * LANES;
                    self.data[to..to + LANES].copy_from_slice(&turned.0);
                }
            }
        }
    }
}

impl<P: Pixel, const K: usize> Kernel for Band<'_, P, K> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(mut self) {
        let pitch = self.at.call.sources[0].shape().pitch();
        let slots = self.at.planes.len() * LANES;
        // What is read beyond the last pixel is not kept.
        let width = pitch.next_multiple_of(LANES) + 3 * LANES;
        let mut turned = Turned { data: vec![0.0; REACH * slots * width], slots, width };
        let step = self.at.call.stencils.first().map_or(1, |s| s.step);
        let (first, last) = (self.at.row, self.at.row + self.to.len() / self.at.out.pitch());
        let mut next = first / step;
        for coarse in first / step..last.div_ceil(step) {
            while next < coarse + REACH {
                turned.fill::<V>(next, pitch, self.at.planes);
                next += 1;
            }
            // Sixteen registers hold one vector of pixels of each output, and more do two.
            if V::REGISTERS > 16 {
                self.lines::<V, 2>(&turned, coarse, first, last);
            } else {
                self.lines::<V, 1>(&turned, coarse, first, last);
            }
        }
    }
}

impl<P: Pixel, const K: usize> Band<'_, P, K> {
    /// The output rows of coarse row `coarse` that lie in the band, T vectors of coarse pixels at a time: what the taps of
    /// all stencils read stays in the first-level cache.
    #[inline(always)]
    fn lines<V: F32x16, const T: usize>(&mut self, turned: &Turned, coarse: usize, first: usize, last: usize) {
        let stencils = self.at.call.stencils;
        for x in (0..turned.width - 3 * LANES).step_by(T * LANES) {
            for s in stencils {
                let y = s.step * coarse + s.phase[0];
                let w = (self.at.out.w - s.phase[1].min(self.at.out.w)).div_ceil(s.step);
                if y < last && x < w {
                    self.tile::<V, T>(s, turned, coarse, y - first, x, w);
                }
            }
        }
    }

    /// T vectors of pixels from x on, of row `y` of the band, which has w.
    #[inline(always)]
    fn tile<V: F32x16, const T: usize>(
        &mut self,
        s: &Stencil,
        turned: &Turned,
        coarse: usize,
        y: usize,
        x: usize,
        w: usize,
    ) {
        let At { call, planes, out, n, row } = self.at;
        let mut sums = [[V::splat(0.0); T]; K];
        if let Some(bias) = call.bias.slice().first() {
            for k in 0..K {
                sums[k] = [V::splat(bias.0[k]); T];
            }
        }
        for tap in &s.taps {
            let at = x + tap.offset[1];
            let (lines, weights) =
                (turned.rows(coarse + tap.offset[0]), &call.weights.slice()[tap.weight * turned.slots..]);
            let groups = lines.chunks(LANES * turned.width).zip(weights.chunks(LANES));
            for (&(_, channels), (lines, weights)) in planes.iter().zip(groups) {
                for (line, weights) in lines.chunks_exact(turned.width).zip(weights).take(channels) {
                    let from = line[at..at + T * LANES].as_chunks::<LANES>().0;
                    let mut pixels = [V::splat(0.0); T];
                    for t in 0..T {
                        pixels[t] = V::load_array(&from[t]);
                    }
                    for k in 0..K {
                        let w = V::splat(weights.0[k]);
                        for t in 0..T {
                            sums[k][t] = pixels[t].mul_add(w, sums[k][t]);
                        }
                    }
                }
            }
        }
        for t in 0..T {
            let mut block = [Lane::ZERO; LANES];
            for k in 0..K {
                sums[k][t].store(&mut block[k]);
            }
            V::transpose(&mut block);
            for (j, v) in block.iter().enumerate().take(w.saturating_sub(x + t * LANES)) {
                let column = s.step * (x + t * LANES + j) + s.phase[1] + BORDER;
                let to = &mut self.to[y * out.pitch() + column];
                let mut v = V::load(v);
                if let Some(slope) = call.slope {
                    v = v.select_less(V::splat(0.0), V::splat(slope).mul(v), v);
                }
                match call.add {
                    Add::Nothing => {}
                    Add::Maps(maps) => {
                        v = v.add(V::load(&maps.plane(n, 0)[(row + y + BORDER) * out.pitch() + column]));
                    }
                    Add::Output => v = v.add(V::load(to)),
                }
                v.store(to);
            }
        }
    }
}

impl<P: Pixel> Clone for At<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Pixel> Copy for At<'_, P> {}
