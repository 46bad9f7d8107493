//! Random shapes over the field: rough surfaces, the sites of dendrites and pits, the pores' texture.
//!
//! ```text
//! rough(x, z)   F⁻¹[ F[white] e^(−2π² σ² |ν|²) ], mean 0, standard deviation 1      correlation length σ √2
//! wavy(x, z)    Σ_i a_i cos(2π (x fx_i + z fz_i) + φ_i), mean 0                      wavelengths of 1 to 2 mm
//! reach(x, z)   min over sites i of (distance to i, stretched and turned) / r_i      1 on the rim of a footprint
//! ```

use crate::error::Result;
use crate::fft::plane::PlanePlan;
use crate::fft::{Direction, root_of_unity};
use crate::num::elementary::{cos_pi, exp, sincos};
use crate::num::lanes::Isa;
use crate::num::philox::Stream;
use crate::num::sum::sum_wide;
use rayon::prelude::*;
use std::f64::consts::PI;

/// The field: columns along x and z, and the seed of the cell.
#[derive(Clone, Copy)]
pub struct Field {
    /// Columns along x.
    pub nx: usize,
    /// Columns along z.
    pub nz: usize,
    /// Edge of a voxel, µm.
    pub voxel: f64,
    /// Seed.
    pub seed: u64,
    /// Instruction set; the bits are the same.
    pub isa: Isa,
}

/// A place where something grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Site {
    /// Place in columns.
    pub x: f64,
    /// See [`Site::x`].
    pub z: f64,
    /// Radius of the footprint, columns.
    pub radius: f64,
    /// Height relative to the others.
    pub height: f64,
    /// Footprints are ellipses: ratio of the axes and direction in radians.
    pub stretch: f64,
    /// See [`Site::stretch`].
    pub turn: f64,
    /// A number in [0, 1) for what else differs between sites.
    pub fate: f64,
}

impl Field {
    /// Columns.
    pub fn columns(&self) -> usize {
        self.nx * self.nz
    }
    /// Area, mm².
    pub fn area(&self) -> f64 {
        self.columns() as f64 * self.voxel * self.voxel * 1e-6
    }

    /// A rough surface squeezed into (0, 1), `[z][x]`: when the first voxel of a column comes. Smooth over a few columns,
    /// or every surface would be serrated.
    ///
    /// # Errors
    /// As [`Field::rough`].
    pub fn phase(&self, stream: u32) -> Result<Vec<f32>> {
        let mut map = self.rough(stream, 2.5)?;
        map.iter_mut().for_each(|v| *v = 0.5 + 0.499 * *v / (1.0 + *v * *v).sqrt());
        Ok(map)
    }

    /// A rough surface `[z][x]` of mean 0 and standard deviation 1, smoothed by a Gaussian of `sigma` µm.
    ///
    /// # Errors
    /// Those of the plan: none for a field with columns.
    pub fn rough(&self, stream: u32, sigma: f64) -> Result<Vec<f32>> {
        let s = Stream::new(self.seed, stream);
        let n = self.columns();
        let mut re: Vec<f32> = (0..n as u64).into_par_iter().map(|i| s.normal(i) as f32).collect();
        let mut im = vec![0.0f32; n];
        PlanePlan::new(self.nz, self.nx, Direction::Forward)?.run(self.isa, &mut re, &mut im);
        // A field smaller than the structure keeps the structures that it can hold.
        let sigma = (sigma / self.voxel).min(0.1 * self.nx.min(self.nz) as f64);
        let gauss = |k: usize, n: usize| {
            let nu = k.min(n - k) as f64 / n as f64;
            exp(-2.0 * PI * PI * sigma * sigma * nu * nu) as f32
        };
        let along_x: Vec<f32> = (0..self.nx).map(|k| gauss(k, self.nx)).collect();
        for (z, (re, im)) in re.chunks_exact_mut(self.nx).zip(im.chunks_exact_mut(self.nx)).enumerate() {
            let along_z = gauss(z, self.nz);
            for (g, (re, im)) in along_x.iter().zip(re.iter_mut().zip(im)) {
                *re *= g * along_z;
                *im *= g * along_z;
            }
        }
        (re[0], im[0]) = (0.0, 0.0);
        PlanePlan::new(self.nz, self.nx, Direction::Inverse)?.run(self.isa, &mut re, &mut im);
        let squares: Vec<f32> = re.iter().map(|v| v * v).collect();
        let deviation = (sum_wide(&squares) / n as f64).sqrt();
        let scale = if deviation > 0.0 { (1.0 / deviation) as f32 } else { 0.0 };
        re.iter_mut().for_each(|v| *v *= scale);
        Ok(re)
    }

    /// A wavy surface `[z][x]`, amplitude in µm, mean 0 over the field.
    pub fn wavy(&self, stream: u32, amplitude: f64) -> Vec<f32> {
        const WAVES: u64 = 3;
        let s = Stream::new(self.seed, stream);
        let waves: Vec<[f64; 3]> = (0..WAVES)
            .map(|i| {
                let per_voxel = self.voxel / (1000.0 + 1000.0 * s.uniform_f64(3 * i));
                let (sin, cos) = sincos(2.0 * PI * s.uniform_f64(3 * i + 1));
                [per_voxel * cos, per_voxel * sin, 2.0 * s.uniform_f64(3 * i + 2)]
            })
            .collect();
        let height = |x: usize, z: usize| -> f64 {
            waves.iter().map(|[fx, fz, phase]| cos_pi(2.0 * (x as f64 * fx + z as f64 * fz) + phase)).sum()
        };
        let mut map: Vec<f32> = (0..self.columns())
            .into_par_iter()
            .map(|c| (height(c % self.nx, c / self.nx) * amplitude / WAVES as f64) as f32)
            .collect();
        let mean = (sum_wide(&map) / self.columns() as f64) as f32;
        map.iter_mut().for_each(|v| *v -= mean);
        map
    }

    /// About `per_mm2` sites per mm², at least `least`, clustered where `density` (a [rough](Field::rough) surface) is
    /// high, with footprints of about `radius` µm. With probability `follow` a site takes the place of one of `others`.
    pub fn sites(
        &self,
        stream: u32,
        density: &[f32],
        per_mm2: f64,
        least: usize,
        radius: f64,
        follow: (f64, &[Site]),
    ) -> Vec<Site> {
        const CLUSTERING: f64 = 0.8;
        // A place of exp(CLUSTERING · 3) is certain; rarer ones are.
        const MOST: f64 = 3.0;
        let s = Stream::new(self.seed, stream);
        let count = ((per_mm2 * self.area()).round() as usize).max(least);
        let mut sites = Vec::with_capacity(count);
        let mut index = 0u64;
        while sites.len() < count {
            let at = 8 * index;
            index += 1;
            let u = |i: u64| s.uniform_f64(at + i);
            let (mut x, mut z) = (u(0) * self.nx as f64 - 0.5, u(1) * self.nz as f64 - 0.5);
            let column = (z.max(0.0).round() as usize).min(self.nz - 1) * self.nx
                + (x.max(0.0).round() as usize).min(self.nx - 1);
            if u(2) > exp(CLUSTERING * (f64::from(density[column]) - MOST)) {
                continue;
            }
            let (probability, others) = follow;
            if !others.is_empty() && u(3) < probability {
                let other = &others[(u(4) * others.len() as f64) as usize];
                (x, z) = (other.x, other.z);
            }
            let (a, b) = s.normal_pair(at + 5);
            sites.push(Site {
                x,
                z,
                radius: radius / self.voxel * exp(0.35 * a),
                height: exp(0.3 * b),
                stretch: 1.0 + 0.5 * u(6),
                turn: PI * u(7),
                fate: s.uniform_f64(at + 4),
            });
        }
        sites
    }

    /// For every column `[z][x]` the smallest distance to a site in units of its radius, and the site's number.
    pub fn reach(&self, sites: &[Site]) -> (Vec<f32>, Vec<u16>) {
        let turned: Vec<(f64, f64)> = sites.iter().map(|s| sincos(s.turn)).collect();
        (0..self.columns())
            .into_par_iter()
            .map(|c| {
                let (x, z) = ((c % self.nx) as f64, (c / self.nx) as f64);
                let mut best = (f64::INFINITY, 0u16);
                for (i, (s, (sin, cos))) in sites.iter().zip(&turned).enumerate() {
                    let (dx, dz) = (x - s.x, z - s.z);
                    let (along, across) = (dx * cos + dz * sin, dz * cos - dx * sin);
                    let distance = (along * along / s.stretch + across * across * s.stretch) / (s.radius * s.radius);
                    if distance < best.0 {
                        best = (distance, i as u16);
                    }
                }
                (best.0.sqrt() as f32, best.1)
            })
            .unzip()
    }
}

/// Edges of the periodic tile of [`Texture`], voxels: x, y, z.
const TILE: [usize; 3] = [128, 64, 128];

/// How pores are spread: a periodic tile of positive weights about 1.
pub struct Texture {
    weights: Vec<f32>,
}

impl Texture {
    /// Weights 1 + 0.9 tanh-like(noise), the noise smooth over about `sigma` voxels.
    ///
    /// # Errors
    /// Those of the plan: none.
    pub fn new(seed: u64, stream: u32, sigma: f64, isa: Isa) -> Result<Texture> {
        let [nx, ny, nz] = TILE;
        let s = Stream::new(seed, stream);
        let n = nx * ny * nz;
        let mut noise: Vec<f32> = (0..n as u64).into_par_iter().map(|i| s.normal(i) as f32).collect();
        // Smoothed along each axis in turn by a periodic Gaussian; along z and x in one plane transform per y.
        let plans = [Direction::Forward, Direction::Inverse].map(|d| PlanePlan::new(nz, nx, d));
        let [forward, inverse] = plans;
        let (forward, inverse) = (forward?, inverse?);
        let gauss = |k: usize, n: usize| {
            let nu = k.min(n - k) as f64 / n as f64;
            exp(-2.0 * PI * PI * sigma * sigma * nu * nu) as f32
        };
        for plane in noise.chunks_exact_mut(nx * nz) {
            let mut im = vec![0.0; nx * nz];
            forward.run(isa, plane, &mut im);
            for (i, (re, im)) in plane.iter_mut().zip(&mut im).enumerate() {
                let g = gauss(i % nx, nx) * gauss(i / nx, nz) / (nx * nz) as f32;
                *re *= g;
                *im *= g;
            }
            inverse.run(isa, plane, &mut im);
        }
        // Along y: the sum over the few neighbours that count, periodic.
        let kernel: Vec<f32> = (0..ny)
            .map(|j| {
                let sum: f64 = (0..ny).map(|k| f64::from(gauss(k, ny)) * root_of_unity(j * k, ny)[0]).sum();
                (sum / ny as f64) as f32
            })
            .collect();
        let smooth: Vec<f32> = (0..n)
            .into_par_iter()
            .map(|i| {
                let (y, rest) = (i / (nx * nz), i % (nx * nz));
                (0..ny).map(|j| kernel[j] * noise[(y + j) % ny * nx * nz + rest]).sum::<f32>()
            })
            .collect();
        let squares: Vec<f32> = smooth.iter().map(|v| v * v).collect();
        let deviation = (sum_wide(&squares) / n as f64).sqrt() as f32;
        let weights = smooth
            .iter()
            .map(|v| {
                let v = 1.5 * v / deviation;
                1.0 + 0.9 * v / (1.0 + v * v).sqrt()
            })
            .collect();
        Ok(Texture { weights })
    }

    /// The weight below which this part of the tile's voxels lies; infinite for all of them.
    pub fn quantile(&self, part: f64) -> f32 {
        let rank = (part.clamp(0.0, 1.0) * self.weights.len() as f64).round() as usize;
        if rank == self.weights.len() {
            return f32::INFINITY;
        }
        let mut sorted = self.weights.clone();
        *sorted.select_nth_unstable_by(rank, f32::total_cmp).1
    }

    /// The weight of a voxel.
    pub fn at(&self, x: usize, y: usize, z: usize) -> f32 {
        let [nx, ny, nz] = TILE;
        self.weights[(y % ny * nz + z % nz) * nx + x % nx]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(nx: usize, nz: usize) -> Field {
        Field { nx, nz, voxel: 1.33, seed: 5, isa: Isa::detect() }
    }

    #[test]
    fn a_rough_surface_has_its_deviation_and_its_correlation_length() {
        let f = field(300, 200);
        let sigma = 10.0;
        let map = f.rough(1, sigma).unwrap();
        let mean = map.iter().sum::<f32>() / map.len() as f32;
        assert!(mean.abs() < 1e-4, "{mean}");
        // Autocorrelation of smoothed white noise: e^(−d²/4σ²), here at d = σ√2 in columns; the field holds about a
        // hundred independent pieces.
        let d = (sigma * 2f64.sqrt() / 1.33).round() as usize;
        let pairs = (0..f.nz).flat_map(|z| (0..f.nx - d).map(move |x| z * 300 + x));
        let products: Vec<f32> = pairs.map(|c| map[c] * map[c + d]).collect();
        let r = products.iter().sum::<f32>() / products.len() as f32;
        assert!((r - (-0.5f32).exp()).abs() < 0.15, "{r}");
        assert_eq!(map, Field { isa: Isa::scalar(), ..f }.rough(1, sigma).unwrap());
        assert_ne!(map, f.rough(2, sigma).unwrap());
    }

    #[test]
    fn sites_cluster_and_reach_is_one_on_the_rim() {
        let f = field(400, 300);
        let density = f.rough(3, 40.0).unwrap();
        let sites = f.sites(4, &density, 1000.0, 3, 12.0, (0.0, &[]));
        assert_eq!(sites.len(), (1000.0 * f.area()).round() as usize);
        let at = |s: &Site| density[s.z.max(0.0).round() as usize * 400 + s.x.max(0.0).round() as usize];
        let mean = sites.iter().map(|s| at(s).min(3.0)).sum::<f32>() / sites.len() as f32;
        // With weights e^(0.8 g) the mean of g moves by 0.8, less what a finite field holds.
        assert!(mean > 0.3, "sites do not cluster: {mean}");
        let one = [Site { x: 100.0, z: 100.0, radius: 20.0, height: 1.0, stretch: 4.0, turn: 0.0, fate: 0.0 }];
        let (reach, owner) = f.reach(&one);
        assert!((reach[100 * 400 + 140] - 1.0).abs() < 1e-6 && (reach[110 * 400 + 100] - 1.0).abs() < 1e-6);
        assert!(owner.iter().all(|&o| o == 0));
        let all = f.sites(6, &density, 1000.0, 3, 12.0, (1.0, &sites));
        assert!(all.iter().all(|s| sites.iter().any(|o| (o.x, o.z) == (s.x, s.z))));
    }

    #[test]
    fn waves_are_long_and_textures_positive_about_one() {
        let f = field(64, 48);
        let map = f.wavy(7, 8.0);
        assert!(map.iter().all(|v| v.abs() <= 16.0));
        assert!((map.iter().sum::<f32>() / map.len() as f32).abs() < 1e-3);
        let t = Texture::new(1, 8, 1.5, Isa::detect()).unwrap();
        let mean = t.weights.iter().sum::<f32>() / t.weights.len() as f32;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!(t.weights.iter().all(|&w| w > 0.05 && w < 1.95));
        assert_eq!(t.at(3, 4, 5), t.at(3 + 128, 4 + 64, 5 + 128));
        assert_eq!(t.weights, Texture::new(1, 8, 1.5, Isa::scalar()).unwrap().weights);
    }
}
