//! One pair of blocks whose motion is known: a texture that is a function of the point, not of a grid.

use super::super::rigid::middle;
use super::*;
use crate::num::elementary::cos;
use crate::num::philox::Stream;
use crate::units::Degree;
use crate::volume::Dims;
use rayon::prelude::*;

/// A Gaussian random field of correlation length like noise filtered with σ: a sum of waves
/// √(2/n) Σ cos(k·p + φ), k normal with deviation 1/(√2 σ) along each axis. Variance 1.
pub struct Texture {
    waves: Vec<([f64; 3], f64)>,
}

impl Texture {
    pub fn new(sigma: f64, seed: u64) -> Texture {
        const WAVES: u64 = 32;
        let s = Stream::new(seed, 77);
        let wave = |w: u64| {
            let k = from_fn(|i| s.normal(4 * w + i as u64) / (2f64.sqrt() * sigma));
            (k, std::f64::consts::TAU * s.uniform_f64(4 * w + 3))
        };
        Texture { waves: (0..WAVES).map(wave).collect() }
    }
    pub fn at(&self, p: &Point) -> f64 {
        let sum: f64 = self.waves.iter().map(|(k, phase)| cos(k[0] * p[0] + k[1] * p[1] + k[2] * p[2] + phase)).sum();
        sum * (2.0 / self.waves.len() as f64).sqrt()
    }
    /// Sampled on a grid whose points are taken to the texture by `map`, with white noise of deviation `noise`.
    pub fn piece(&self, dims: Dims, map: &Rigid, noise: f64, seed: u64) -> Piece {
        let s = Stream::new(seed, 5);
        let value = |i: usize| {
            let p = [i % dims.nx, i / dims.nx % dims.ny, i / dims.slice()].map(|v| v as f64);
            let noise = if noise > 0.0 { noise * s.normal(i as u64) } else { 0.0 };
            (self.at(&map.apply(&p)) + noise) as f32
        };
        Piece::whole(dims, (0..dims.voxels()).into_par_iter().map(value).collect()).unwrap()
    }
    /// A pair under a motion from fixed to moving, with gain and offset between the two.
    fn pair(&self, dims: Dims, motion: &Rigid, noise: f64, seed: u64) -> (Piece, Piece) {
        let fixed = self.piece(dims, &Rigid::identity([0.0; 3]), noise, seed);
        let mut moving = self.piece(dims, &motion.inverse(), noise, seed + 1);
        moving.values.iter_mut().for_each(|v| *v = 0.7 * *v + 3.0);
        (fixed, moving)
    }
}

const CUBE: Dims = Dims { nz: 64, ny: 64, nx: 64 };

fn motion(seed: u64, turn: f64, shift: f64) -> Rigid {
    let s = Stream::new(seed, 3);
    let random = |at: u64, size: f64| from_fn(|i| size * (2.0 * s.uniform_f64(at + i as u64) - 1.0));
    Rigid::new(random(0, turn), middle(CUBE), random(3, shift))
}

/// Starts nearby: most tests are not about the search.
const NEAR: Settings = Settings {
    capture: 6.0,
    capture_turn: Degree(1.0),
    tolerance: 1e-3,
    iterations: 40,
    least_overlap: 0.25,
    worst_sigma: 0.5,
    flatten: 0,
};

/// Registers a pair; mean and greatest corner error.
fn error(pair: &(Piece, Piece), truth: &Rigid, settings: &Settings) -> Result<(f64, f64, Match)> {
    let found = register(Isa::detect(), &pair.0, &pair.1, &Rigid::identity([0.0; 3]), settings)?;
    let (mean, worst) = found.motion.corner_distance(truth, pair.0.origin(), pair.0.dims);
    Ok((mean, worst, found))
}

#[test]
fn without_noise_the_motion_comes_back() {
    for seed in 0..4 {
        let truth = motion(seed, 0.02, 5.0);
        let pair = Texture::new(3.0, seed).pair(CUBE, &truth, 0.0, 0);
        let (mean, worst, found) = error(&pair, &truth, &NEAR).unwrap();
        assert!(worst < 0.005, "{seed}: {mean:.5} {worst:.5}");
        assert!(found.correlation[1] > 0.9999 && found.correlation[0] < found.correlation[1]);
    }
}

#[test]
fn noise_of_a_third_of_the_contrast_is_averaged_away() {
    let (mut worst_of_all, mut tilt_of_all) = (0f64, 0f64);
    for seed in 0..4 {
        let truth = motion(10 + seed, 0.02, 5.0);
        let pair = Texture::new(3.0, seed).pair(CUBE, &truth, 0.3, 2 * seed);
        let (mean, worst, found) = error(&pair, &truth, &NEAR).unwrap();
        let tilt = found.motion.then(&truth.inverse()).angle().0;
        println!("noise: mean {mean:.5} worst {worst:.5} predicted {:.5} tilt {tilt:.5}", found.corner_sigma);
        (worst_of_all, tilt_of_all) = (worst_of_all.max(worst), tilt_of_all.max(tilt));
    }
    // 64³ voxels hold a hundredth of a block of 300³, at a fifth of its lever arm: 0.02 voxel and 0.0025° there are
    // ten times that in voxels and fifty times in degrees here.
    assert!(worst_of_all < 0.1 && tilt_of_all < 0.1, "{worst_of_all} {tilt_of_all}");
}

#[test]
fn between_voxels_no_phase_is_preferred() {
    for noise in [0.0, 0.3] {
        let mut bias = Vec::new();
        for phase in 0..11 {
            let shift = phase as f64 / 10.0;
            let truth = Rigid::new([0.0; 3], middle(CUBE), [2.0 + shift, -1.0 + shift, shift]);
            let pair = Texture::new(2.0, 99).pair(CUBE, &truth, noise, 50);
            let found = register(Isa::detect(), &pair.0, &pair.1, &Rigid::identity([0.0; 3]), &NEAR);
            let off = sub(&found.unwrap().motion.translation, &truth.translation);
            bias.push(off);
        }
        // The same noise at every phase: what differs between phases is interpolation's.
        let spread = (0..3).fold(0f64, |spread, axis| {
            let values = bias.iter().map(|b| b[axis]);
            spread.max(values.clone().fold(f64::MIN, f64::max) - values.fold(f64::MAX, f64::min))
        });
        println!("noise {noise}: {bias:?} spread {spread:.5}");
        assert!(spread < 0.005, "noise {noise}: {spread:.5}");
    }
}

#[test]
fn the_capture_is_what_is_promised() {
    let dims = Dims { nz: 96, ny: 96, nx: 96 };
    for (k, (turn, shift)) in [
        ([3.0, 0.0, 0.0], [20.0, 0.0, 0.0]),
        ([-3.0, 3.0, -3.0], [0.0, -20.0, 20.0]),
        ([3.0, 3.0, 3.0], [-20.0, 20.0, 20.0]),
        ([0.0, -3.0, 1.0], [8.0, 8.0, -8.0]),
    ]
    .into_iter()
    .enumerate()
    {
        let turn = turn.map(|v: f64| v.to_radians());
        let truth = Rigid::new(turn, middle(dims), shift);
        let pair = Texture::new(3.0, k as u64).pair(dims, &truth, 0.1, 1);
        let (mean, worst, _) = error(&pair, &truth, &Settings::default()).unwrap();
        println!("capture {k}: {mean:.4} {worst:.4}");
        assert!(worst < 0.05, "{k}: {worst}");
    }
}

#[test]
fn the_covariance_is_that_of_the_errors() {
    // Noise of 0.5, white and smoothed over neighbours: the mean square error in units of the prediction is 6, the
    // number of parameters, on average. χ² of 6 N degrees of freedom has a relative deviation of √(2 / 6N).
    const N: u64 = 24;
    let texture = Texture::new(3.0, 5);
    let truth = motion(3, 0.01, 0.7);
    let (clean_fixed, clean_moving) = texture.pair(CUBE, &truth, 0.0, 0);
    let near = Settings { capture: 0.0, capture_turn: Degree(0.0), ..NEAR };
    for smooth in [false, true] {
        let sample = |seed: u64| {
            let noisy = |piece: &Piece, seed: u64, size: f64| {
                let s = Stream::new(seed, 9);
                let white: Vec<f64> = (0..CUBE.voxels() as u64).map(|i| s.normal(i)).collect();
                let blurred = |i: usize| {
                    let steps = [0, 1, CUBE.nx, CUBE.nx + 1, CUBE.slice(), CUBE.slice() + 1];
                    steps.iter().map(|d| white[(i + d) % white.len()]).sum::<f64>() / 6f64.sqrt()
                };
                let value = |i: usize| piece.values[i] + (size * if smooth { blurred(i) } else { white[i] }) as f32;
                Piece::whole(CUBE, (0..CUBE.voxels()).map(value).collect()).unwrap()
            };
            let pair = (noisy(&clean_fixed, 2 * seed, 0.5), noisy(&clean_moving, 2 * seed + 1, 0.35));
            let found = register(Isa::detect(), &pair.0, &pair.1, &truth, &near).unwrap();
            let off = found.motion.then(&truth.about(found.motion.centre).inverse());
            let (turn, shift) =
                (off.rotation_vector(), sub(&found.motion.translation, &truth.about(found.motion.centre).translation));
            let xi: [f64; 6] = from_fn(|i| if i < 3 { turn[i] } else { shift[i - 3] });
            let weight = inverse(&found.covariance).unwrap();
            (0..6).map(|i| (0..6).map(|l| xi[i] * weight[i][l] * xi[l]).sum::<f64>()).sum::<f64>()
        };
        let mean = (0..N).map(sample).sum::<f64>() / N as f64 / 6.0;
        println!("smooth {smooth}: mean square over prediction {mean:.3}");
        // Four deviations, and a tenth for the 100 cells from which B is estimated.
        let slack = 4.0 * (2.0 / (6.0 * N as f64)).sqrt() + 0.1;
        assert!((mean - 1.0).abs() < slack, "smooth {smooth}: {mean}");
    }
}

/// Error text of a pair.
fn refusal(fixed: &Piece, moving: &Piece, settings: &Settings) -> String {
    match register(Isa::detect(), fixed, moving, &Rigid::identity([0.0; 3]), settings) {
        Err(e) => e.to_string(),
        Ok(found) => panic!("accepted: {found:?}"),
    }
}

fn piece_of(f: impl Fn(Point) -> f64) -> Piece {
    let point = |i: usize| [i % CUBE.nx, i / CUBE.nx % CUBE.ny, i / CUBE.slice()].map(|v| v as f64);
    Piece::whole(CUBE, (0..CUBE.voxels()).map(|i| f(point(i)) as f32).collect()).unwrap()
}

#[test]
fn what_cannot_be_registered_is_refused_with_the_reason() {
    let usual = NEAR;
    let (fixed, _) = Texture::new(3.0, 1).pair(CUBE, &Rigid::identity([0.0; 3]), 0.1, 1);
    let constant = piece_of(|_| 0.25);
    assert!(refusal(&constant, &fixed, &usual).contains("constant"));
    assert!(refusal(&fixed, &constant, &usual).contains("constant"));
    let mut hole = fixed.clone();
    hole.values[1000..1100].fill(f32::NAN);
    assert!(refusal(&fixed, &hole, &usual).contains("100 of 262144 voxels of the moving block"));
    // Different samples: alike by chance only.
    let (other, _) = Texture::new(3.0, 2).pair(CUBE, &Rigid::identity([0.0; 3]), 0.1, 2);
    let text = refusal(&fixed, &other, &usual);
    println!("{text}");
    assert!(
        text.contains("chance")
            || text.contains("too little")
            || text.contains("no maximum")
            || text.contains("not hold")
    );
    // Far apart: the moving block begins where the fixed one ends.
    let away = Piece { first: [500, 0, 0], ..fixed.clone() };
    let text = refusal(&fixed, &away, &usual);
    println!("{text}");
    assert!(text.contains("alike"), "{text}");
}

#[test]
fn flat_layers_hold_three_parameters_of_six() {
    // Electrodes alone: y and two tilts are held, x, z and the third turn are not; with noise, too.
    let layers = |p: Point| if (20.0..30.0).contains(&p[1]) { 1.0 } else { 0.1 * (0.3 * p[1]).sin() };
    for noise in [0.0, 0.1] {
        let s = [Stream::new(1, 1), Stream::new(2, 1)];
        let piece = |k: usize| {
            let at = |p: Point| (p[0] + 64.0 * (p[1] + 64.0 * p[2])) as u64;
            piece_of(|p| layers(p) + if noise > 0.0 { noise * s[k].normal(at(p)) } else { 0.0 })
        };
        let text = refusal(&piece(0), &piece(1), &NEAR);
        println!("{text}");
        assert!(text.contains("structure") || text.contains("does not hold"), "{text}");
    }
}

#[test]
fn bits_are_the_same_for_any_threads_and_instruction_set() {
    let truth = motion(4, 0.02, 5.0);
    let dims = Dims { nz: 40, ny: 37, nx: 51 };
    let pair = Texture::new(2.5, 8).pair(dims, &truth, 0.2, 3);
    let run = |isa: Isa, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| register(isa, &pair.0, &pair.1, &Rigid::identity([0.0; 3]), &NEAR)).unwrap()
    };
    let first = run(Isa::detect(), 1);
    for isa in Isa::available() {
        for threads in [1, 3] {
            assert!(run(isa, threads) == first, "{} {threads}", isa.name());
        }
    }
}

#[test]
fn what_changed_between_the_scans_does_not_pull() {
    // A ball that came, one that went, and one that moved on, in a block that otherwise moved as a whole.
    let truth = motion(6, 0.01, 2.0);
    let (fixed, mut moving) = Texture::new(3.0, 12).pair(CUBE, &truth, 0.1, 5);
    let ball = |centre: Point, p: Point| if length(&sub(&p, &centre)) < 11.0 { 1.0 } else { 0.0 };
    for (i, v) in moving.values.iter_mut().enumerate() {
        let p = [i % 64, i / 64 % 64, i / 4096].map(|v| v as f64);
        *v += (3.0 * (ball([20.0, 20.0, 20.0], p) - ball([44.0, 40.0, 25.0], p) + ball([30.0, 44.0, 47.0], p))) as f32;
    }
    let (mean, worst, found) = error(&(fixed, moving), &truth, &NEAR).unwrap();
    println!("changed: {mean:.4} {worst:.4} predicted {:.4} fitting {:.3}", found.corner_sigma, found.fitting);
    // 6 % of the voxels are in a ball, and lose their weight.
    assert!(worst < 0.02 && (0.8..0.9).contains(&found.fitting), "{worst} {}", found.fitting);
}
