//! `gridrec`: direct Fourier reconstruction with the right numbers.
//!
//! The image is Σ_θ w_θ q_θ(X cos θ + Y sin θ + c), q_θ the filtered projection as a trigonometric polynomial of
//! period P ≥ 2N − 1, so that the filter acts as a linear, not a circular, convolution:
//!
//! ```text
//! q_θ(s) = (1/P) Σ_k B_k F_θ[k] e^(2πi ks/P),    k = −P/2 … P/2, the two ends with half weight each
//! ```
//!
//! `fbp` evaluates exactly this sum, slowly; here its samples are spread on a grid of M ≥ 1.125 N cells, M and the
//! kernel chosen together for the error asked ([`kernel::choose`]), and the grid is transformed ([`Engine`]).
//!
//! Against the algorithm as TomoPy ships it: the scale is 1 and not 1.119; the deapodisation belongs to the kernel,
//! so there is no radial gain; the filter has the DC of the sampled ramp, so there is no negative background; the
//! padding is twice the detector whatever its width; angle weights are the gaps between the angles; every slice has
//! its own axis. Source: Dowd et al., Proc. SPIE 3772, 227 (1999); Rivers, Proc. SPIE 8506 (2012);
//! Fessler and Sutton, IEEE Trans. Signal Process. 51, 560 (2003) for the kernel.

use super::engine::Engine;
use super::filter::Filter;
use super::geometry::{Angles, axis_pixel};
use super::kernel::{self, Choice};
use super::samples::{Samples, Taps};
use crate::error::{Error, Result};
use crate::fft::next_even_smooth;

/// The alias ratio at the edge of the field that is asked for by default; see [`kernel`].
pub const DEFAULT_ERROR: f64 = 1e-3;
/// Widest detector: grid coordinates and table sizes stay within their types.
pub const MAX_COLUMNS: usize = 1 << 15;

/// An engine for `gridrec`, and what was chosen for it.
pub struct Gridrec {
    /// The machine.
    pub engine: Engine,
    /// Kernel and grid.
    pub choice: Choice,
}

/// Plans `gridrec` for `columns` detector columns.
///
/// Values come out per detector pixel: a disc of attenuation µ per pixel reconstructs to µ.
///
/// # Errors
/// If there are fewer than 2 or more than [`MAX_COLUMNS`] columns, or no kernel reaches `error`.
pub fn plan(columns: usize, angles: &Angles, filter: &Filter, error: f64) -> Result<Gridrec> {
    check_columns(columns)?;
    let padded = next_even_smooth(2 * columns - 1);
    let half = padded / 2;
    let choice = kernel::choose(columns, angles.len() * (half + 1), error)?;
    let m = choice.grid;
    let width = choice.kernel.width;
    let table = choice.kernel.table();
    let step = m as f64 / padded as f64;

    let direction: Vec<[f64; 2]> = angles.cosines().iter().zip(angles.sines()).map(|(&c, &s)| [c, s]).collect();
    let samples = Samples::new(
        m,
        0..half + 1,
        &direction,
        true,
        |_| width,
        |angle, reversed, k, taps: &mut Taps| {
            let [c, s] = direction[angle];
            let sign = if reversed { -1.0 } else { 1.0 };
            let radius = k as f64 * step * sign;
            // The angle's weight rides on the taps along u.
            let (first_u, u) = taps_of(radius * c, width);
            let (first_v, v) = taps_of(radius * s, width);
            taps.first_u = first_u;
            taps.first_v = first_v;
            taps.weights.extend((0..width).map(|i| (angles.weights()[angle] * table.at(u + i as f64)) as f32));
            taps.weights.extend((0..width).map(|i| table.at(v + i as f64) as f32));
        },
    );

    // k = 0 and k = P/2 are their own conjugates: half of each goes to either image of the ray.
    let response = filter
        .response(padded)
        .iter()
        .enumerate()
        .map(|(k, b)| (b / padded as f64 * if k == 0 || k == half { 0.5 } else { 1.0 }) as f32)
        .collect();
    let (axis_row, axis_column) = axis_pixel(columns);
    let correction = |axis: usize| -> Vec<f32> {
        (0..columns).map(|i| (1.0 / choice.kernel.transform((i as f64 - axis as f64) / m as f64)) as f32).collect()
    };
    let engine = Engine::new(columns, padded, samples, response, correction(axis_column), correction(axis_row))?;
    Ok(Gridrec { engine, choice })
}

/// The first of the W cells around `position`, and its distance from it: cells ⌈position − W/2⌉ ….
fn taps_of(position: f64, width: usize) -> (i32, f64) {
    let first = (position - width as f64 / 2.0).ceil();
    (first as i32, first - position)
}

/// Refuses detectors that cannot be reconstructed.
pub(super) fn check_columns(columns: usize) -> Result<()> {
    if (2..=MAX_COLUMNS).contains(&columns) {
        return Ok(());
    }
    Err(Error::data(format!("a detector of {columns} columns"))
        .help(format!("reconstruction takes 2 to {MAX_COLUMNS} columns; crop or bin the projections")))
}
