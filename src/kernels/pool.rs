//! L2. Max-pooling 2×2, stride 2.
//!
//! ```text
//! y[n, c, i, j] = max of x[n, c, 2i + a, 2j + b],  a, b in 0, 1
//! dx = dy at the first maximum in row order, 0 elsewhere
//! ```
//!
//! Rows and columns of x are even. No sums. Cost: reads x once, backward x and dy.

use super::maps::{BORDER, Band, Maps};
use crate::num::lanes::{F32x16, Isa, Kernel, Lane};
use rayon::prelude::*;

/// Output rows of a task.
const ROWS: usize = 8;
/// The window, in row order.
const WINDOW: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// y of x.
pub fn max_pool(isa: Isa, x: &Maps<Lane>, y: &mut Maps<Lane>) {
    let (w, pitch) = (y.shape().w, y.shape().pitch());
    y.bands_mut(ROWS).into_par_iter().for_each(|(band, out)| isa.run(Forward { x, band, out, w, pitch }));
}

/// dx of dy.
pub fn gradient(isa: Isa, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
    dx.bands_mut(2 * ROWS).into_par_iter().for_each(|(band, out)| isa.run(Backward { x, dy, band, out }));
}

struct Forward<'a> {
    x: &'a Maps<Lane>,
    band: Band,
    out: &'a mut [Lane],
    w: usize,
    pitch: usize,
}

impl Kernel for Forward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let Band { n, g, first, last } = self.band;
        for y in first..last {
            let rows = [0, 1].map(|a| self.x.row(n, g, 2 * y + a));
            for i in 0..self.w {
                let mut most = V::load(&rows[0][2 * i]);
                for [a, b] in &WINDOW[1..] {
                    let x = V::load(&rows[*a][2 * i + b]);
                    most = most.select_less(x, x, most);
                }
                most.store(&mut self.out[(y - first) * self.pitch + BORDER + i]);
            }
        }
    }
}

struct Backward<'a> {
    x: &'a Maps<Lane>,
    dy: &'a Maps<Lane>,
    band: Band,
    out: &'a mut [Lane],
}

impl Kernel for Backward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let (Band { n, g, first, last }, zero) = (self.band, V::splat(0.0));
        let pitch = self.x.shape().pitch();
        for y in first / 2..last / 2 {
            let (rows, dy) = ([0, 1].map(|a| self.x.row(n, g, 2 * y + a)), self.dy.row(n, g, y));
            for i in 0..self.x.shape().w / 2 {
                let mut x = [zero; 4];
                for k in 0..4 {
                    x[k] = V::load(&rows[WINDOW[k][0]][2 * i + WINDOW[k][1]]);
                }
                let mut most = x[0];
                for k in 1..4 {
                    most = most.select_less(x[k], x[k], most);
                }
                let mut left = V::load(&dy[i]);
                for k in 0..4 {
                    let at = (2 * y - first + WINDOW[k][0]) * pitch + BORDER + 2 * i + WINDOW[k][1];
                    x[k].select_less(most, zero, left).store(&mut self.out[at]);
                    left = x[k].select_less(most, left, zero);
                }
            }
        }
    }
}

/// y of x by the definition.
pub fn max_pool_reference(x: &Maps<Lane>, y: &mut Maps<Lane>) {
    y.fill_by(|n, c, i, j| {
        let at = |k: usize| x.at(n, c, 2 * i + WINDOW[k][0], 2 * j + WINDOW[k][1]);
        (1..4).fold(at(0), |most, k| if most < at(k) { at(k) } else { most })
    });
}

/// dx of dy by the definition.
pub fn gradient_reference(x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
    dx.fill_by(|n, c, i, j| {
        let at = |k: usize| x.at(n, c, i / 2 * 2 + WINDOW[k][0], j / 2 * 2 + WINDOW[k][1]);
        let first = (1..4).fold(0, |most, k| if at(most) < at(k) { k } else { most });
        if WINDOW[first] == [i % 2, j % 2] { dy.at(n, c, i / 2, j / 2) } else { 0.0 }
    });
}
