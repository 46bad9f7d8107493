//! L2. Softmax cross-entropy with class weights and pixels without a label.
//!
//! ```text
//! m = max_k l_k,  s = Σ_k e^(l_k − m),  p_k = e^(l_k − m)/s
//! loss = 1/W · Σ_pixels w_t·(m + ln s − l_t)         t: the pixel's label; W = Σ w_t over labelled pixels
//! dl_k = w_t/W · (p_k − δ_kt)                        0 where the label is −1
//! ```
//!
//! Without a labelled pixel, or where all weights are 0, loss and gradient are 0 (PyTorch gives NaN).
//!
//! **Order.** s: k ascending. The losses of a row are summed as [`crate::num::sum`] says, 0 where there is no label;
//! rows are added in f64 in the order of samples and rows. W: pixels per class are counted, counts are multiplied by
//! weights and added in f64, classes ascending. W is of the whole batch, also where its leaves are worked on one by one:
//! their losses and gradients add up to the batch's.

use super::labels::Part;
use super::maps::{BORDER, Maps};
use crate::num::elementary::{exp_f32, exp_lanes, ln_f32, ln_lanes};
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use crate::num::sum;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The label of a pixel without label.
pub const UNLABELLED: i16 = -1;
/// Rows of a task.
const ROWS: usize = 8;

/// Loss of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Weighted mean over labelled pixels; 0 without any.
    pub loss: f64,
    /// Labelled pixels.
    pub labelled: u64,
    /// Of those, where the largest logit (the first of equals) is the label's.
    pub correct: u64,
}

/// Sum over a task's rows, per row, and correct pixels.
type OfRows = (Vec<f64>, u64);

/// Loss, and its gradient by the logits; labels are \[sample\]\[row\]\[column\], −1 or below the number of weights,
/// which is that of the logits' channels. `total` is W: [`super::labels::Labels::weigh`].
pub fn cross_entropy(
    isa: Isa,
    logits: &Maps<Lane>,
    labels: Part,
    weights: &[f32],
    total: f64,
    gradient: &mut Maps<Lane>,
) -> Loss {
    let (shape, numbers) = (logits.shape(), labels.numbers.slice());
    let mut tasks: BTreeMap<(usize, usize), Vec<&mut [Lane]>> = BTreeMap::new();
    for (band, rows) in gradient.bands_mut(ROWS) {
        tasks.entry((band.n, band.first)).or_default().push(rows);
    }
    let task = |((n, first), mut out): ((usize, usize), Vec<&mut [Lane]>)| -> OfRows {
        let mut part = (Vec::new(), 0);
        let mut losses = vec![0f32; shape.w.next_multiple_of(LANES)];
        for y in first..shape.h.min(first + ROWS) {
            let labels = &numbers[(n * shape.h + y) * shape.w..][..shape.w];
            let from: Vec<&[Lane]> = (0..shape.groups::<Lane>()).map(|g| logits.row(n, g, y)).collect();
            let start = (y - first) * shape.pitch() + BORDER;
            let mut to: Vec<&mut [Lane]> = out.iter_mut().map(|o| &mut o[start..start + shape.w]).collect();
            part.1 += isa.run(Row { from: &from, to: &mut to, labels, weights, total, losses: &mut losses });
            part.0.push(f64::from(sum::sum(isa, &losses[..shape.w])));
        }
        part
    };
    let tasks: Vec<_> = tasks.into_iter().collect();
    join(tasks.into_par_iter().map(task).collect(), labels.labelled, total)
}

pub(super) fn join(parts: Vec<OfRows>, labelled: u64, total: f64) -> Loss {
    let sum = parts.iter().flat_map(|p| &p.0).fold(0.0, |sum, row| sum + row);
    Loss { loss: if total > 0.0 { sum / total } else { 0.0 }, labelled, correct: parts.iter().map(|p| p.1).sum() }
}

/// w_t/W, 0 without a label.
pub(super) fn factor(label: i16, weights: &[f32], total: f64) -> f32 {
    if label < 0 || total <= 0.0 { 0.0 } else { (f64::from(weights[label as usize]) / total) as f32 }
}

struct Row<'a, 'b> {
    from: &'a [&'a [Lane]],
    to: &'a mut [&'b mut [Lane]],
    labels: &'a [i16],
    weights: &'a [f32],
    total: f64,
    losses: &'a mut [f32],
}

impl Kernel for Row<'_, '_> {
    type Out = u64;
    #[inline(always)]
    fn run<V: F32x16>(self) -> u64 {
        let (classes, w) = (self.weights.len(), self.labels.len());
        let mut correct = 0;
        // [class][pixel], idle classes unused.
        let mut of_class = vec![Lane::ZERO; self.from.len() * LANES];
        let (blocks, _) = of_class.as_chunks_mut::<LANES>();
        for first in (0..w).step_by(LANES) {
            let count = LANES.min(w - first);
            for (block, from) in blocks.iter_mut().zip(self.from) {
                block[..count].copy_from_slice(&from[first..first + count]);
                V::transpose(block);
            }
            let at = |blocks: &[[Lane; LANES]], k: usize| blocks[k / LANES][k % LANES];
            let (mut label, mut factors, mut weights) = ([0usize; LANES], Lane::ZERO, Lane::ZERO);
            let mut of_label = Lane::ZERO;
            for l in 0..count {
                let t = self.labels[first + l];
                label[l] = t.max(0) as usize;
                factors.0[l] = factor(t, self.weights, self.total);
                weights.0[l] = if t < 0 { 0.0 } else { self.weights[label[l]] };
                of_label.0[l] = at(blocks, label[l]).0[l];
            }
            // The largest logit and the first class that has it.
            let (mut most, mut first_most) = (V::load(&at(blocks, 0)), V::splat(0.0));
            for k in 1..classes {
                let x = V::load(&at(blocks, k));
                first_most = most.select_less(x, V::splat(k as f32), first_most);
                most = most.select_less(x, x, most);
            }
            let mut found = Lane::ZERO;
            first_most.store(&mut found);
            let mut s = V::splat(0.0);
            for k in 0..classes {
                let e = exp_lanes(V::load(&at(blocks, k)).sub(most));
                s = s.add(e);
                e.store(&mut blocks[k / LANES][k % LANES]);
            }
            let mut losses = Lane::ZERO;
            let loss = V::load(&weights).mul(most.add(ln_lanes(s)).sub(V::load(&of_label)));
            loss.store(&mut losses);
            for k in 0..classes {
                let to = &mut blocks[k / LANES][k % LANES];
                V::load(to).div(s).store(to);
            }
            for l in 0..count {
                // Not 0 times a NaN or ∞ that nobody asked about.
                self.losses[first + l] = if self.labels[first + l] < 0 { 0.0 } else { losses.0[l] };
                correct += u64::from(self.labels[first + l] >= 0 && found.0[l] as usize == label[l]);
                blocks[label[l] / LANES][label[l] % LANES].0[l] -= 1.0;
            }
            let zero = V::splat(0.0);
            let f = V::load(&factors);
            for k in 0..blocks.len() * LANES {
                let to = &mut blocks[k / LANES][k % LANES];
                let d = if k < classes { V::load(to).mul(f) } else { zero };
                zero.select_less(f, d, zero).store(to);
            }
            for (block, to) in blocks.iter_mut().zip(self.to.iter_mut()) {
                V::transpose(block);
                to[first..first + count].copy_from_slice(&block[..count]);
            }
        }
        correct
    }
}

/// Loss and gradient by the definition.
pub fn cross_entropy_reference(
    logits: &Maps<Lane>,
    labels: Part,
    weights: &[f32],
    total: f64,
    gradient: &mut Maps<Lane>,
) -> Loss {
    let (shape, classes, numbers) = (logits.shape(), weights.len(), labels.numbers.slice());
    let mut parts = Vec::new();
    for (n, y) in (0..shape.n).flat_map(|n| (0..shape.h).map(move |y| (n, y))) {
        let (mut losses, mut correct) = (vec![0f32; shape.w], 0);
        for x in 0..shape.w {
            let label = numbers[(n * shape.h + y) * shape.w + x];
            let l = |k: usize| logits.at(n, k, y, x);
            let most = (1..classes).fold(l(0), |most, k| if most < l(k) { l(k) } else { most });
            let s = (0..classes).fold(0f32, |s, k| s + exp_f32(l(k) - most));
            let f = factor(label, weights, total);
            for k in 0..classes {
                let p = exp_f32(l(k) - most) / s - if label.max(0) as usize == k { 1.0 } else { 0.0 };
                gradient.row_mut(n, k / LANES, y)[x].0[k % LANES] = if 0.0 < f { p * f } else { 0.0 };
            }
            if label >= 0 {
                let t = label as usize;
                losses[x] = weights[t] * (most + ln_f32(s) - l(t));
                correct += u64::from(!(0..classes).any(|k| l(k) > l(t) || l(k) == l(t) && k < t));
            }
        }
        parts.push((vec![f64::from(sum::sum_definition(&losses))], correct));
    }
    join(parts, labels.labelled, total)
}
