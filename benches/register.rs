//! Registration of one pair of cubes, and resampling of one cube.
//!
//!     cargo bench -p benches --bench register
//!     REGISTER --once FIXED.raw MOVING.raw        f32 cubes: prints seconds, matrix and digest as JSON
//!     REGISTER --resample MOVING.raw OUT.raw M..  cubic, through the 16 numbers of a matrix: prints seconds as JSON
//!
//! Without files: 300³, Gaussian texture made of waves, motion of 4 voxels and 0.02 rad, noise of 0.3. Each time is the
//! whole of it, from values in memory to the motion; each round must give the same bits.
#![allow(clippy::print_stdout)] // A bench is there to print.

use rayon::prelude::*;
use std::time::Instant;
use tomolith::error::Result;
use tomolith::num::elementary::cos;
use tomolith::num::lanes::Isa;
use tomolith::num::philox::Stream;
use tomolith::provenance::Digest;
use tomolith::register::interpolate::Interpolation;
use tomolith::register::resample::{Grid, Plan, resample};
use tomolith::register::{Match, Piece, Rigid, Settings, register};
use tomolith::volume::{Collect, Dims, Memory};

/// Rounds; the median counts.
const ROUNDS: usize = 5;
/// Side of the cube.
const SIDE: usize = 300;
/// Waves of the texture, and its σ in voxels.
const WAVES: u64 = 24;
const SIGMA: f64 = 3.0;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = std::env::var("TOMOLITH_BENCH_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    if arguments.first().is_some_and(|a| a == "--once") {
        let pieces = [cube(&arguments[1]), cube(&arguments[2])];
        // The first run meets cold memory; the second counts, as for a series.
        once(&pieces)?;
        let (found, seconds) = once(&pieces)?;
        let rows: Vec<String> = found.motion.matrix().iter().map(|row| format!("{row:?}")).collect();
        println!(
            "{{\"seconds\":{seconds:.4},\"matrix\":[{}],\"sigma\":{:.6},\"correlation\":{:.6},\"digest\":\"{}\"}}",
            rows.join(","),
            found.corner_sigma,
            found.correlation[1],
            digest(&found)
        );
        return Ok(());
    }
    if arguments.first().is_some_and(|a| a == "--resample") {
        return resample_once(&arguments[1..]);
    }
    if !arguments.iter().any(|a| a == "--bench") {
        println!("nothing to test; measure with: cargo bench -p benches --bench register");
        return Ok(());
    }
    let dims = Dims::new(SIDE, SIDE, SIDE)?;
    let middle = [(SIDE as f64 - 1.0) / 2.0; 3];
    let truth = Rigid::new([0.01, -0.012, 0.011], middle, [2.3, -2.6, 1.9]);
    let pieces = [texture(dims, &Rigid::identity(middle), 1), texture(dims, &truth.inverse(), 2)];
    let mut seconds = Vec::new();
    let mut digests = Vec::new();
    for _ in 0..ROUNDS {
        let (found, time) = once(&pieces)?;
        let (mean, worst) = found.motion.corner_distance(&truth, [0.0; 3], dims);
        println!(
            "{time:.3} s, corner error {mean:.5} (worst {worst:.5}), predicted {:.5}, {} steps, {}",
            found.corner_sigma,
            found.iterations(),
            digest(&found)
        );
        seconds.push(time);
        digests.push(digest(&found));
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "rounds with different bits");
    seconds.sort_by(f64::total_cmp);
    println!("register {SIDE}^3, {threads} threads, {}: median {:.3} s", Isa::detect().name(), seconds[ROUNDS / 2]);
    Ok(())
}

fn resample_once(arguments: &[String]) -> Result<()> {
    let numbers: Vec<f64> = arguments[2..].iter().map(|a| a.parse().expect("a number")).collect();
    let matrix = std::array::from_fn(|i| std::array::from_fn(|j| numbers[4 * i + j]));
    let Piece { dims, values, .. } = cube(&arguments[0]);
    let source = Memory::new(dims, values)?;
    let motion = Rigid::from_matrix(&matrix, [0.0; 3])?;
    let plan = Plan { motion, grid: Grid::whole(dims), how: Interpolation::Cubic, memory: 4 << 30 };
    let mut seconds = Vec::new();
    let mut values = Vec::new();
    for _ in 0..ROUNDS {
        let mut out = Collect::new(dims);
        let start = Instant::now();
        resample(Isa::detect(), &source, &plan, &mut out, None, &mut |_, _| {})?;
        seconds.push(start.elapsed().as_secs_f64());
        values = out.values;
    }
    seconds.sort_by(f64::total_cmp);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(&arguments[1], bytes).expect("a writable file");
    println!("{{\"seconds\":{:.4}}}", seconds[ROUNDS / 2]);
    Ok(())
}

fn once(pieces: &[Piece; 2]) -> Result<(Match, f64)> {
    let start = Instant::now();
    let guess = Rigid::identity([0.0; 3]);
    let found = register(Isa::detect(), &pieces[0], &pieces[1], &guess, &Settings::default())?;
    Ok((found, start.elapsed().as_secs_f64()))
}

/// Of the bits of the motion and its covariance.
fn digest(found: &Match) -> String {
    let numbers = found.motion.matrix().into_iter().flatten().chain(found.covariance.into_iter().flatten());
    let bytes: Vec<u8> = numbers.flat_map(f64::to_le_bytes).collect();
    Digest::of(&bytes).hex()[..16].to_string()
}

fn cube(path: &str) -> Piece {
    let bytes = std::fs::read(path).expect("a readable file");
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let side = (1..).find(|n| n * n * n >= values.len()).unwrap_or(0);
    let dims = Dims::new(side, side, side).expect("a cube");
    Piece::whole(dims, values).expect("a cube of f32")
}

fn texture(dims: Dims, map: &Rigid, seed: u64) -> Piece {
    let (s, noise) = (Stream::new(7, 77), Stream::new(seed, 5));
    let waves: Vec<([f64; 3], f64)> = (0..WAVES)
        .map(|w| {
            let k = std::array::from_fn(|i| s.normal(4 * w + i as u64) / (2f64.sqrt() * SIGMA));
            (k, std::f64::consts::TAU * s.uniform_f64(4 * w + 3))
        })
        .collect();
    let value = |i: usize| {
        let p = map.apply(&[i % dims.nx, i / dims.nx % dims.ny, i / dims.slice()].map(|v| v as f64));
        let sum: f64 = waves.iter().map(|(k, phase)| cos(k[0] * p[0] + k[1] * p[1] + k[2] * p[2] + phase)).sum();
        (sum * (2.0 / WAVES as f64).sqrt() + 0.3 * noise.normal(i as u64)) as f32
    };
    let values = (0..dims.voxels()).into_par_iter().map(value).collect();
    Piece::whole(dims, values).expect("as many values as voxels")
}
