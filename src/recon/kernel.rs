//! The gridding kernel: Kaiser–Bessel of width W cells, chosen together with the grid for the error asked.
//!
//! ```text
//! φ(t) = I0(β √(1 − (2t/W)²)) / I0(β),  |t| ≤ W/2        t in grid cells
//! φ̂(x) = W · sinh(√(β² − (πWx)²)) / (√(β² − (πWx)²) · I0(β))   x in cycles per cell, = image coordinate / grid length
//! ```
//!
//! (sin for sinh where the root is imaginary.) A pixel at x = X/M receives, besides itself, what lies at x ± 1, x ± 2 …
//! weighted with φ̂(x+n)/φ̂(x): the alias ratio. β = π √(W²(1 − x_e)² − 0.8) with x_e = ⌈N/2⌉/M, the field's edge
//! (Beatty, Nishimura, Pauly, IEEE Trans. Med. Imaging 24, 799, 2005), makes it nearly as small as it can be.
//! What lies outside the field is streaks and noise, so the error of a measured image is far below the ratio.

use crate::error::{Error, Result};
use crate::fft::is_smooth;
use crate::num::elementary::{exp, sincos};
use std::f64::consts::PI;

/// Entries of the table of φ per grid cell; linear interpolation errs by at most 1/(8·4096²)·max|φ''| < 1e-7.
const TABLE_PER_CELL: usize = 4096;
/// Alias terms x ± 1 … x ± 4 that are counted; later ones are smaller by the kernel's decay.
const ALIASES: i32 = 4;
/// Widths that the gridding loops are compiled for.
pub const WIDTHS: std::ops::RangeInclusive<usize> = 4..=8;

/// Modified Bessel function I0 by its power series Σ ((x/2)^k / k!)², all terms positive.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

/// A Kaiser–Bessel kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KaiserBessel {
    /// Support in grid cells.
    pub width: usize,
    /// Shape parameter.
    pub beta: f64,
}

impl KaiserBessel {
    /// The kernel of `width` cells for a field whose edge lies at x = `edge` (in 0 … 0.5).
    pub fn new(width: usize, edge: f64) -> KaiserBessel {
        let reach = width as f64 * (1.0 - edge);
        KaiserBessel { width, beta: PI * (reach * reach - 0.8).sqrt() }
    }

    /// φ(t), t in cells.
    pub fn at(&self, t: f64) -> f64 {
        let r = 2.0 * t / self.width as f64;
        let inside = 1.0 - r * r;
        if inside < 0.0 { 0.0 } else { bessel_i0(self.beta * inside.sqrt()) / bessel_i0(self.beta) }
    }

    /// φ̂(x), x in cycles per cell.
    pub fn transform(&self, x: f64) -> f64 {
        let a = PI * self.width as f64 * x;
        let square = self.beta * self.beta - a * a;
        let root = square.abs().sqrt();
        let ratio = if root < 1e-6 {
            1.0
        } else if square > 0.0 {
            (exp(root) - exp(-root)) / (2.0 * root)
        } else {
            sincos(root).0 / root
        };
        self.width as f64 * ratio / bessel_i0(self.beta)
    }

    /// Σ_n |φ̂(x+n)| / φ̂(x), n = ±1 … ±4: the share of what lies outside that is folded onto x.
    pub fn alias(&self, x: f64) -> f64 {
        let outside: f64 =
            (1..=ALIASES).map(|n| self.transform(x + n as f64).abs() + self.transform(x - n as f64).abs()).sum();
        outside / self.transform(x)
    }

    /// φ on a grid of `TABLE_PER_CELL` points per cell, for t = 0 … W/2.
    pub fn table(&self) -> Table {
        let entries = self.width * TABLE_PER_CELL / 2;
        let i0 = bessel_i0(self.beta);
        let mut phi: Vec<f64> = (0..=entries)
            .map(|i| {
                let r = i as f64 / entries as f64;
                bessel_i0(self.beta * (1.0 - r * r).max(0.0).sqrt()) / i0
            })
            .collect();
        // Beyond the support, for positions that round to it.
        phi.extend([0.0, 0.0]);
        Table { phi }
    }
}

/// φ tabulated, see [`KaiserBessel::table`].
pub struct Table {
    phi: Vec<f64>,
}

impl Table {
    /// φ(t) by linear interpolation; |t| ≤ W/2.
    pub fn at(&self, t: f64) -> f64 {
        let place = t.abs() * TABLE_PER_CELL as f64;
        let i = (place as usize).min(self.phi.len() - 2);
        let f = place - i as f64;
        self.phi[i] + f * (self.phi[i + 1] - self.phi[i])
    }
}

/// A kernel and the grid that goes with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The kernel.
    pub kernel: KaiserBessel,
    /// Cells of the grid per axis: even, 2^a 3^b 5^c.
    pub grid: usize,
    /// Its alias ratio at the edge of the field, at most the error asked.
    pub alias: f64,
}

/// Time of one point of the half plane (both transforms and its way through memory) in units of that of one tap
/// (a sample's contribution to a cell). Fitted to widths 5 to 8 at 2048 columns × 1500 angles, one thread, AVX-512;
/// the minimum is flat.
const POINT_COST: f64 = 34.0;

/// The cheapest kernel width and grid length whose alias ratio at the edge of `columns` pixels is at most `error`.
///
/// `samples` is the number of spectral samples per slice, angles × (P/2 + 1).
///
/// # Errors
/// If `error` is not within 1e-7 … 0.1 (f32 sums end near 1e-7).
pub fn choose(columns: usize, samples: usize, error: f64) -> Result<Choice> {
    if !(1e-7..=0.1).contains(&error) {
        return Err(Error::usage(format!("a gridding error of {error}"))
            .help("ask for something between 1e-7 and 0.1, for example --gridding-error 1e-3"));
    }
    let first = (columns + columns / 8).next_multiple_of(2).max(16);
    let mut best: Option<(f64, Choice)> = None;
    for width in WIDTHS {
        // From an eighth of oversampling on, so that β stays real, to three times the field.
        let fitting = (first..=3 * columns + 32).step_by(2).filter(|&m| is_smooth(m)).find_map(|grid| {
            // The axis lies on column ⌈N/2⌉: for odd N column 0 is half a pixel farther from it than N/2.
            let edge = columns.div_ceil(2) as f64 / grid as f64;
            let kernel = KaiserBessel::new(width, edge);
            let alias = kernel.alias(edge);
            (alias <= error).then_some(Choice { kernel, grid, alias })
        });
        if let Some(choice) = fitting {
            let points = (choice.grid * choice.grid) as f64 / 2.0;
            let cost = (samples * width * width) as f64 + POINT_COST * points;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, choice));
            }
        }
    }
    best.map(|(_, choice)| choice).ok_or_else(|| {
        Error::usage(format!("no kernel reaches a gridding error of {error}")).help("ask for a larger --gridding-error")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_the_transform() {
        // φ̂(x) by the trapezoidal rule over the support; φ has a step of 1/I0(β) at its ends, hence the tolerance.
        let kernel = KaiserBessel::new(5, 0.4);
        let steps = 20_000;
        let h = 5.0 / steps as f64;
        for x in [0.0, 0.1, 0.25, 0.4, 0.6, 1.0, 1.3] {
            let sum: f64 = (0..=steps)
                .map(|i| {
                    let t = -2.5 + i as f64 * h;
                    let end = if i == 0 || i == steps { 0.5 } else { 1.0 };
                    end * kernel.at(t) * sincos(2.0 * PI * x * t).1
                })
                .sum();
            assert!((sum * h - kernel.transform(x)).abs() < 1e-7, "{x}: {} {}", sum * h, kernel.transform(x));
        }
    }

    #[test]
    fn the_table_is_the_kernel() {
        let kernel = KaiserBessel::new(6, 0.4);
        let table = kernel.table();
        for i in 0..=3000 {
            let t = i as f64 / 1000.0 - 1e-9;
            assert!((table.at(t) - kernel.at(t.abs())).abs() < 2e-7, "{t}");
        }
    }

    #[test]
    fn the_choice_keeps_its_promise_and_wider_costs_less_grid() {
        for error in [1e-2, 1e-3, 1e-4, 1e-5] {
            let choice = choose(640, 1500 * 641, error).unwrap();
            assert!(choice.alias <= error && choice.grid >= 640 && is_smooth(choice.grid), "{choice:?}");
        }
        assert!(choose(640, 1, 1e-9).is_err());
        assert!(choose(640, 1, f64::NAN).is_err());
    }
}
