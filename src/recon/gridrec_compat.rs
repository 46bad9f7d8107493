//! `gridrec-compat`: the algorithm as TomoPy computes it, defects included, for comparison with existing results.
//!
//! Written from its description (constants C = 7, λ = 0.99998546, kernel half-width 2 cells, 512 table entries,
//! nearest-neighbour look-up, all tables and positions in f32):
//!
//! ```text
//! M       smallest power of two ≥ max(16, N): no padding beyond it
//! A_k     = π/(M·T) · F(k/M) · e^(2πi kc/M) · P[k],  k = 1 … M/2 − 1       no DC, no Nyquist, no angle weights
//! w(t)    = W(⌊256|t| + ½⌋ / 512),  cells ⌈U−2⌉ … ⌊U+2⌋ in 1 … M−1,  U = k cos θ + M/2 in f32
//! d(X)    = √(π/(2Cλ)) / 1.2 / W(⌊512 |X+1| / (M/2 − ½) + ½⌋ / 512)        one pixel off centre
//! ```
//!
//! W is the prolate spheroidal wave function of order 0 by its Legendre series. Consequences, all reproduced: values
//! 11.9 % too high at the centre and rising outward, different gains at +X and −X, a negative background, wrap-around
//! when N is a power of two. TomoPy transforms slices in pairs, one as real and one as imaginary part, with the axis
//! of the first; the pair (2k, 2k+1) by absolute slice index shares an axis here too ([`super::scan`]), but each
//! slice is transformed alone, so that a NaN stays in its slice.
//!
//! Two things are undefined there and defined here: d(M/2 − 1) of a full-width image, beyond the end of its table,
//! is that of the table's last entry; images are as wide as the detector.

use super::engine::Engine;
use super::filter::Filter;
use super::geometry::{Angles, axis_pixel};
use super::gridrec::check_columns;
use super::samples::{Samples, Taps};
use crate::error::Result;

/// Bandwidth C of the prolate spheroidal wave function.
const BANDWIDTH: f64 = 7.0;
/// Its eigenvalue λ.
const EIGENVALUE: f64 = 0.999_985_46;
/// Coefficients of P_0, P_2 … P_20 in its Legendre series (Dowd et al. 1999, as in TomoPy).
const LEGENDRE: [f32; 11] = [
    0.5767616E+02,
    -0.8931343E+02,
    0.4167596E+02,
    -0.1053599E+02,
    0.1662374E+01,
    -0.1780527E-00,
    0.1372983E-01,
    -0.7963169E-03,
    0.3593372E-04,
    -0.1295941E-05,
    0.3817796E-07,
];
/// Entries of the kernel table, for arguments 0 … 1.
const TABLE: usize = 512;
/// Table entries per grid cell: 2·512 / ⌊2C/π⌋.
const PER_CELL: f32 = 256.0;
/// Kernel half-width in grid cells.
const HALF_WIDTH: f32 = 2.0;
/// The divisor left over from an oversampling of 1.2.
const OVERSAMPLING_LEFT_OVER: f64 = 1.2;

/// W(i/512), i = 0 … 512: the series by its three-term recurrence, in f32 as TomoPy evaluates it.
fn kernel_table() -> Vec<f32> {
    let at = |x: f32| -> f32 {
        let (mut before, mut last) = (1.0f32, x);
        let mut sum = LEGENDRE[0];
        for j in 2..=20u8 {
            let product = x * last;
            let next = 2.0 * product - before - (product - before) / f32::from(j);
            if j % 2 == 0 {
                sum += LEGENDRE[usize::from(j / 2)] * next;
            }
            (before, last) = (last, next);
        }
        sum
    };
    let peak = at(0.0);
    (0..=TABLE).map(|i| at(i as f32 / TABLE as f32) / peak).collect()
}

/// Plans `gridrec-compat` for `columns` detector columns.
///
/// # Errors
/// If there are fewer than 2 or too many columns, or a custom filter is too short.
pub fn plan(columns: usize, angles: &Angles, filter: &Filter) -> Result<Engine> {
    check_columns(columns)?;
    let m = columns.max(16).next_power_of_two();
    let half = m / 2;
    let table = kernel_table();
    // Angles and their sines in f32, as C's sinf and cosf of a float give them up to rounding.
    let direction: Vec<[f64; 2]> = angles
        .radians()
        .iter()
        .map(|&t| {
            let (sin, cos) = crate::num::elementary::sincos(f64::from(t as f32));
            [f64::from(cos as f32), f64::from(sin as f32)]
        })
        .collect();
    let position = |k: usize, cosine: f64| k as f32 * cosine as f32 + half as f32;
    let cells = |u: f32| {
        let first = (u - HALF_WIDTH).ceil() as i32;
        let last = (u + HALF_WIDTH).floor() as i32;
        (first, last)
    };
    // Five cells where a position is integral, four elsewhere.
    let widths: Vec<usize> = direction
        .iter()
        .map(|d| {
            let reach = |k: usize, d: f64| cells(position(k, d)).1 - cells(position(k, d)).0;
            if (1..half).any(|k| reach(k, d[0]).max(reach(k, d[1])) == 4) { 5 } else { 4 }
        })
        .collect();
    let samples = Samples::new(
        m,
        1..half,
        &direction,
        false,
        |angle| widths[angle],
        |angle, reversed, k, taps: &mut Taps| {
            let w = widths[angle];
            let along = |cosine: f64, weights: &mut Vec<f32>| -> i32 {
                let u = position(k, cosine);
                let (first, last) = cells(u);
                let mut of_cell: Vec<(i32, f32)> = (first..first + w as i32)
                    .map(|cell| {
                        let inside = cell <= last && (1..m as i32).contains(&cell);
                        let entry = (PER_CELL * (u - cell as f32).abs()).round() as usize;
                        // Relative to the centre of the grid.
                        (cell - half as i32, if inside { table[entry.min(TABLE)] } else { 0.0 })
                    })
                    .collect();
                if reversed {
                    // The sample at −(U, V), conjugated, has mirrored taps.
                    of_cell.reverse();
                    of_cell.iter_mut().for_each(|(cell, _)| *cell = -*cell);
                }
                weights.extend(of_cell.iter().map(|&(_, weight)| weight));
                of_cell[0].0
            };
            taps.first_u = along(direction[angle][0], &mut taps.weights);
            taps.first_v = along(direction[angle][1], &mut taps.weights);
        },
    );

    let scale = std::f64::consts::PI / (m as f64 * angles.len() as f64);
    let mut response: Vec<f32> = filter.compat_response(m)?.iter().map(|f| (f * scale) as f32).collect();
    response.push(0.0);
    let norm = (std::f64::consts::PI / (2.0 * BANDWIDTH * EIGENVALUE)).sqrt() / OVERSAMPLING_LEFT_OVER;
    let (axis_row, axis_column) = axis_pixel(columns);
    let inverse_table = |x: i64| -> f32 {
        let entry = ((x + 1).unsigned_abs() as f64 * TABLE as f64 / (half as f64 - 0.5)).round() as usize;
        (norm / f64::from(table[entry.min(TABLE)])) as f32
    };
    let correction_x = (0..columns).map(|i| inverse_table(i as i64 - axis_column as i64)).collect();
    let correction_y = (0..columns).map(|r| inverse_table(axis_row as i64 - r as i64)).collect();
    Engine::new(columns, m, samples, response, correction_x, correction_y)
}
