//! L3. Whether a pair of blocks holds streaks of few views, and whether the motion found is theirs.
//!
//! Projections are the volume's spectrum along lines through the middle, one line for each view. Where views are few, the
//! spectrum is high on N lines and low between: the mean of its logarithm over a ring of frequencies, as a function of the
//! direction φ in [0, π), has the period π/N,
//!
//! ```text
//! p(φ) = mean over ρ of ln S(ρ, φ), less its mean over φ at that ρ     S = Σ over slices |F[hann · slice]|²
//! c_k  = 2/n Σ_j p(φ_j) e^(−2ikφ_j)        depth = max |c_k|, k = 24 … 128, where it is alone among k = 16 … 128
//! ```
//!
//! Measured: 45 views of 160 columns have a depth of 1.1, a square half as wide about the rod 0.02, 91 views 0.05. What a
//! sample has of directions, a mesh or layers, falls with k: lower harmonics are as strong. Fewer than 24 views are not looked for.
//!
//! Streaks turn with the views and not with the sample, and fit better than it does. Where both blocks have streaks of the
//! same number of views, and the turn found brings those of one onto those of the other, nothing tells whether the motion is
//! the sample's: it is refused. A sample that truly did not turn between two such scans is refused with it, and can be
//! measured around what is dense, where streaks are weak.

use super::level::Piece;
use super::rigid::Rigid;
use crate::error::{Error, Result};
use crate::fft::plane::PlanePlan;
use crate::fft::{Direction, root_of_unity};
use crate::num::elementary::{atan2, cos_pi, ln};
use crate::num::lanes::Isa;
use std::f64::consts::{PI, TAU};
use std::ops::RangeInclusive;

/// Slices that are looked at, two in a transform.
const SLICES: usize = 8;
/// Directions in half a turn, and frequencies of the ring, cycles per voxel.
const DIRECTIONS: usize = 1024;
const RING: [f64; 2] = [0.1, 0.4];
const RADII: usize = 24;
/// Numbers of views that are looked for, and harmonics that may speak for a sample instead.
const VIEWS: RangeInclusive<usize> = 24..=128;
const RIVALS: RangeInclusive<usize> = 16..=128;
/// Depth from which streaks may lead, in natural logarithms of the spectrum; the next harmonic that is none of its
/// neighbours or multiples is weaker by this.
const DEPTH: f64 = 0.2;
const ALONE: f64 = 3.0;
/// Streaks fall onto each other where they are within a tenth of the angle between views.
const ONTO: f64 = 0.8;

/// Streaks of a block: views in half a turn, depth, and phase of the harmonic.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Streaks {
    views: usize,
    depth: f64,
    phase: f64,
}

/// S over the plane, `[ky][kx]` of n·n.
fn spectrum(isa: Isa, piece: &Piece, n: usize) -> Result<Vec<f64>> {
    let d = piece.dims;
    let plan = PlanePlan::new(n, n, Direction::Forward)?;
    let hann = |i: usize, n: usize| 0.5 - 0.5 * cos_pi(2.0 * (i as f64 + 0.5) / n as f64);
    let slices = SLICES.min(d.nz / 2 * 2);
    let mut total = vec![0.0; n * n];
    for pair in 0..slices / 2 {
        let mut planes = [vec![0.0f32; n * n], vec![0.0f32; n * n]];
        for (k, plane) in planes.iter_mut().enumerate() {
            let z = (2 * (2 * pair + k) + 1) * d.nz / (2 * slices);
            let slice = &piece.values[z * d.slice()..][..d.slice()];
            let mean = crate::num::sum::sum_wide(slice) / d.slice() as f64;
            for (y, row) in slice.chunks_exact(d.nx).enumerate() {
                let across = hann(y, d.ny);
                for (x, &v) in row.iter().enumerate() {
                    plane[y * n + x] = ((f64::from(v) - mean) * across * hann(x, d.nx)) as f32;
                }
            }
        }
        let [re, im] = &mut planes;
        plan.run(isa, re, im);
        // |Z(k)|² + |Z(−k)|² is twice the sum over the two slices.
        for (i, total) in total.iter_mut().enumerate() {
            let opposite = (n - i / n) % n * n + (n - i % n) % n;
            let power = |i: usize| f64::from(re[i]) * f64::from(re[i]) + f64::from(im[i]) * f64::from(im[i]);
            *total += power(i) + power(opposite);
        }
    }
    Ok(total)
}

/// p(φ), bilinear between frequencies.
fn by_direction(spectrum: &[f64], n: usize) -> Vec<f64> {
    let top = spectrum.iter().fold(0.0f64, |a, &b| a.max(b));
    let log: Vec<f64> = spectrum.iter().map(|&s| ln(s + 1e-12 * top)).collect();
    let mut profile = vec![0.0; DIRECTIONS];
    for radius in 0..RADII {
        let rho = (RING[0] + (RING[1] - RING[0]) * radius as f64 / (RADII - 1) as f64) * n as f64;
        let values: Vec<f64> = (0..DIRECTIONS)
            .map(|j| {
                let [c, s] = root_of_unity(j, 2 * DIRECTIONS);
                let (x, y) = (rho * c + n as f64, rho * s + n as f64);
                let (x0, y0) = (x as usize, y as usize);
                let (u, v) = (x - x0 as f64, y - y0 as f64);
                let at = |y: usize, x: usize| log[y % n * n + x % n];
                (1.0 - v) * ((1.0 - u) * at(y0, x0) + u * at(y0, x0 + 1))
                    + v * ((1.0 - u) * at(y0 + 1, x0) + u * at(y0 + 1, x0 + 1))
            })
            .collect();
        let mean = values.iter().fold(0.0, |sum, v| sum + v) / DIRECTIONS as f64;
        profile.iter_mut().zip(&values).for_each(|(p, v)| *p += (v - mean) / RADII as f64);
    }
    profile
}

/// The streaks of a block, if they may lead.
fn streaks(isa: Isa, piece: &Piece) -> Result<Option<Streaks>> {
    let n = piece.dims.nx.max(piece.dims.ny).next_power_of_two();
    let profile = by_direction(&spectrum(isa, piece, n)?, n);
    let harmonic = |k: usize| {
        let (re, im) = profile.iter().enumerate().fold((0.0, 0.0), |(re, im), (j, p)| {
            let [c, s] = root_of_unity(j * k, DIRECTIONS);
            (re + p * c, im - p * s)
        });
        ((re * re + im * im).sqrt() * 2.0 / DIRECTIONS as f64, atan2(im, re))
    };
    let all: Vec<(usize, (f64, f64))> = RIVALS.map(|k| (k, harmonic(k))).collect();
    let lead = all.iter().filter(|(k, _)| VIEWS.contains(k)).max_by(|a, b| a.1.0.total_cmp(&b.1.0));
    let Some(&(views, (depth, phase))) = lead else { return Ok(None) };
    let other = |k: usize| k.abs_diff(views) > 2 && k.abs_diff(2 * views) > 2 && k.abs_diff(3 * views) > 2;
    let next = all.iter().filter(|(k, _)| other(*k)).fold(0.0f64, |most, (_, h)| most.max(h.0));
    Ok((depth >= DEPTH && depth > ALONE * next).then_some(Streaks { views, depth, phase }))
}

/// Refuses a motion that brings the streaks of few views onto each other.
///
/// # Errors
/// Data: it does, with the numbers.
pub fn refuse(isa: Isa, fixed: &Piece, moving: &Piece, motion: &Rigid) -> Result<()> {
    let Some(own) = streaks(isa, fixed)? else { return Ok(()) };
    let Some(other) = streaks(isa, moving)? else { return Ok(()) };
    // Phases of different harmonics are no angle.
    if own.views != other.views {
        return Ok(());
    }
    let turn = motion.rotation_vector()[2];
    // What turns by θ turns the phase of its harmonic by −2kθ.
    let off = (other.phase - own.phase + 2.0 * own.views as f64 * turn) / TAU;
    let off = (off - off.round()) * 180.0 / own.views as f64;
    let between = 180.0 / own.views as f64;
    if cos_pi(2.0 * off / between) < ONTO {
        return Ok(());
    }
    Err(Error::data(format!(
        "streaks of {} views are in both blocks (depth {:.2} and {:.2}), and the turn found, {:.2}°, brings one onto the other \
         within {:.2}°, with {between:.1}° from view to view: it may be theirs and not the sample's",
        own.views,
        own.depth,
        other.depth,
        turn * 180.0 / PI,
        off.abs()
    ))
    .help("name the region around what is dense, where streaks are weak: --columns, --bodies; or reconstruct from more views"))
}

#[cfg(test)]
mod tests {
    use super::super::block::tests::Texture;
    use super::*;
    use crate::num::elementary::cos;
    use crate::num::philox::Stream;
    use crate::units::{Degree, Radian};
    use crate::volume::Dims;

    const DIMS: Dims = Dims { nz: 8, ny: 90, nx: 96 };
    const VIEWS: usize = 24;

    /// Noise of `VIEWS` views from `turn` on, each spread along its own direction, and a sample that has none.
    fn spread(turn: f64, strength: f64, seed: u64) -> Piece {
        let (noise, sample) = (Stream::new(seed, 7), Texture::new(2.0, seed));
        let directions: Vec<[f64; 2]> = (0..VIEWS)
            .map(|v| turn + PI * v as f64 / VIEWS as f64)
            .map(|phi| [cos(phi), cos(phi - PI / 2.0)])
            .collect();
        let value = |i: usize| {
            let (x, y, z) = (i % DIMS.nx, i / DIMS.nx % DIMS.ny, i / DIMS.slice());
            let p = [x, y, z].map(|v| v as f64);
            let streaks = directions.iter().enumerate().fold(0.0, |sum, (v, [c, s])| {
                let t = c * (p[0] - 48.0) + s * (p[1] - 45.0) + 128.0;
                let (at, part) = (t as usize, t - t.floor());
                let value = |at: usize| noise.normal(((z * VIEWS + v) * 256 + at) as u64);
                sum + (1.0 - part) * value(at) + part * value(at + 1)
            });
            (strength * streaks + sample.at(&p)) as f32
        };
        Piece::whole(DIMS, (0..DIMS.voxels()).map(value).collect()).unwrap()
    }

    fn turned(by: f64) -> Rigid {
        Rigid::new([0.0, 0.0, Radian::from(Degree(by)).0], [40.0, 50.0, 4.0], [3.0, -1.0, 0.5])
    }

    #[test]
    fn a_turn_that_brings_streaks_onto_streaks_is_refused() {
        let isa = Isa::detect();
        let (fixed, moving) = (spread(0.1, 0.2, 1), spread(0.1 + 1.3 * PI / 180.0, 0.2, 2));
        let found = streaks(isa, &fixed).unwrap().unwrap();
        assert!(found.views == VIEWS && found.depth > 0.3, "{found:?}");
        for lock in [1.3, 1.3 - 7.5, 1.3 + 15.0] {
            let text = refuse(isa, &fixed, &moving, &turned(lock)).unwrap_err().to_string();
            assert!(text.contains("streaks of 24 views are in both blocks"), "{text}");
        }
        for free in [0.0, 1.3 + 3.75, -1.2] {
            refuse(isa, &fixed, &moving, &turned(free)).unwrap();
        }
    }

    /// A lattice of period 14 turned by `turn` and layers across it, with `noise`: a sample with directions and no views.
    fn lattice(turn: f64, noise: f64) -> Piece {
        let stream = Stream::new(3, 7);
        let [c, s] = [cos(turn), cos(turn - PI / 2.0)];
        let value = |i: usize| {
            let [x, y] = [i % DIMS.nx, i / DIMS.nx % DIMS.ny].map(|v| v as f64);
            let bar = |t: f64| f64::from(u8::from(cos(TAU * t / 14.0) > 0.6));
            let sample = bar(c * x + s * y).max(bar(c * y - s * x)) + f64::from(u8::from((30.0..60.0).contains(&y)));
            (sample + noise * stream.normal(i as u64)) as f32
        };
        Piece::whole(DIMS, (0..DIMS.voxels()).map(value).collect()).unwrap()
    }

    #[test]
    fn a_sample_with_directions_is_no_streaks() {
        let isa = Isa::detect();
        for i in 0..25 {
            let turn = PI / 2.0 * f64::from(i) / 25.0;
            for noise in [0.0, 0.01, 0.1] {
                assert_eq!(streaks(isa, &lattice(turn, noise)).unwrap(), None, "{turn} {noise}");
            }
        }
    }

    #[test]
    fn weak_streaks_and_a_sample_of_its_own_are_left_alone() {
        let isa = Isa::detect();
        assert_eq!(streaks(isa, &spread(0.1, 0.0, 1)).unwrap(), None);
        let (fixed, moving) = (spread(0.1, 0.2, 1), spread(0.1, 0.0, 2));
        refuse(isa, &fixed, &moving, &turned(0.0)).unwrap();
    }
}
