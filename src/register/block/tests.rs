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
struct Texture {
    waves: Vec<([f64; 3], f64)>,
}

impl Texture {
    fn new(sigma: f64, seed: u64) -> Texture {
        const WAVES: u64 = 48;
        let s = Stream::new(seed, 77);
        let wave = |w: u64| {
            let k = from_fn(|i| s.normal(4 * w + i as u64) / (2f64.sqrt() * sigma));
            (k, std::f64::consts::TAU * s.uniform_f64(4 * w + 3))
        };
        Texture { waves: (0..WAVES).map(wave).collect() }
    }
    fn at(&self, p: &Point) -> f64 {
        let sum: f64 = self.waves.iter().map(|(k, phase)| cos(k[0] * p[0] + k[1] * p[1] + k[2] * p[2] + phase)).sum();
        sum * (2.0 / self.waves.len() as f64).sqrt()
    }
    /// Sampled on a grid whose points are taken to the texture by `map`, with white noise of deviation `noise`.
    fn piece(&self, dims: Dims, map: &Rigid, noise: f64, seed: u64) -> Piece {
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

/// Registers a pair; mean and greatest corner error.
fn error(pair: &(Piece, Piece), truth: &Rigid, settings: &Settings) -> Result<(f64, f64, Match)> {
    let found = register(Isa::detect(), &pair.0, &pair.1, &Rigid::identity([0.0; 3]), settings)?;
    let (mean, worst) = found.motion.corner_distance(truth, pair.0.origin(), pair.0.dims);
    Ok((mean, worst, found))
}

#[test]
fn without_noise_the_motion_comes_back() {
    for seed in 0..6 {
        let truth = motion(seed, 0.02, 5.0);
        let pair = Texture::new(3.0, seed).pair(CUBE, &truth, 0.0, 0);
        let (mean, worst, found) = error(&pair, &truth, &Settings::default()).unwrap();
        assert!(worst < 0.005, "{seed}: {mean:.5} {worst:.5}");
        assert!(found.correlation[1] > 0.9999 && found.correlation[0] < found.correlation[1]);
    }
}
