//! Maps: a number per column, `[z][x]`; projections of a stack; tiles and what they say of a mean's interval.
//!
//! ```text
//! sum      v Σ_y f          mean     Σ_y f / n          max      max_y f          min, sd (n − 1), median       over a stack
//! occupied 1 − mean[M > 0]… the part of the columns with M > 0 is mean[M > 0]
//! tiles    T × T columns, the last of a row or column narrower; interval of a mean: tiles drawn again with replacement,
//!          Σ sums / Σ areas, its 2.5 and 97.5 % quantiles
//! ```
//!
//! Fiji's Z Project takes sum, mean, maximum, minimum, standard deviation and median over the slices of a stack, 32-bit
//! for sum and mean: the same numbers here, along any axis, in f64 and rounded once. On a 0/255 stack Fiji's sum is 255 n.
//! Tiles must be longer than what is alike in the map, or the interval is too narrow.

use super::labels::Grid;
use crate::error::{Error, Result};
use crate::num::philox::Stream;
use crate::num::sum::{median, sum_f64};
use crate::segment::bootstrap::quantile;
use crate::volume::Source;
use rayon::prelude::*;

/// A number per column.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Rows.
    pub nz: usize,
    /// Columns of a row.
    pub nx: usize,
    /// Values, `[z][x]`.
    pub values: Vec<f64>,
}

impl Map {
    /// Wraps values of a grid.
    pub fn new(grid: &Grid, values: Vec<f64>) -> Map {
        debug_assert_eq!(values.len(), grid.columns());
        Map { nz: grid.dims.nz, nx: grid.dims.nx, values }
    }
    /// Counts of voxels as thickness.
    pub fn thickness(grid: &Grid, counts: &[u16]) -> Map {
        Map::new(grid, counts.iter().map(|&n| f64::from(n) * grid.depth()).collect())
    }
    /// Mean over all columns.
    pub fn mean(&self) -> f64 {
        sum_f64(&self.values) / self.values.len() as f64
    }
    /// 1 where the value is above 0, else 0.
    pub fn indicator(&self) -> Map {
        Map { values: self.values.iter().map(|&v| f64::from(u8::from(v > 0.0))).collect(), ..*self }
    }
    /// Part of the columns with a value above 0.
    pub fn occupied(&self) -> f64 {
        self.values.iter().filter(|&&v| v > 0.0).count() as f64 / self.values.len() as f64
    }
    /// f of the values of two maps.
    pub fn with(&self, other: &Map, f: impl Fn(f64, f64) -> f64) -> Map {
        Map { values: self.values.iter().zip(&other.values).map(|(&a, &b)| f(a, b)).collect(), ..*self }
    }
    /// As f32, for files.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|&v| v as f32).collect()
    }

    /// Sum and number of columns of each tile, NaN left out.
    fn tiles(&self, edge: usize) -> Vec<[f64; 2]> {
        let (rows, columns) = (self.nz.div_ceil(edge), self.nx.div_ceil(edge));
        let mut tiles = vec![[0.0; 2]; rows * columns];
        for (z, row) in self.values.chunks_exact(self.nx).enumerate() {
            for (x, &v) in row.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                let tile = &mut tiles[z / edge * columns + x / edge];
                *tile = [tile[0] + v, tile[1] + 1.0];
            }
        }
        tiles.retain(|t| t[1] > 0.0);
        tiles
    }

    /// The 95 % interval of the mean from tiles drawn again; none with fewer than eight tiles.
    pub fn interval(&self, how: Tiles) -> Option<[f64; 2]> {
        /// Fewer say nothing about their spread.
        const FEWEST: usize = 8;
        let tiles = self.tiles(how.edge);
        let n = tiles.len();
        if n < FEWEST || how.draws == 0 {
            return None;
        }
        let stream = Stream::new(how.seed, STREAM);
        let draw = |b: usize| {
            let [sum, area] = (0..n).fold([0.0; 2], |s, j| {
                let tile = tiles[stream.below((b * n + j) as u64, n as u32) as usize];
                [s[0] + tile[0], s[1] + tile[1]]
            });
            sum / area
        };
        let mut means: Vec<f64> = (0..how.draws).into_par_iter().map(draw).collect();
        means.sort_by(f64::total_cmp);
        Some([quantile(&means, 0.025), quantile(&means, 0.975)])
    }

    /// Columns over which the map is alike: the first lag along x or z, the longer, at which its autocorrelation is below
    /// 1/e; 1 for a map without variation, at most a quarter of the shorter side.
    pub fn correlation_length(&self) -> usize {
        let mean = self.mean();
        let d: Vec<f64> = self.values.iter().map(|v| v - mean).collect();
        let variance = sum_f64(&d.iter().map(|v| v * v).collect::<Vec<_>>()) / d.len() as f64;
        if variance <= 0.0 {
            return 1;
        }
        let most = (self.nx.min(self.nz) / 4).max(1);
        let along = |dz: usize, dx: usize| {
            let products: Vec<f64> = (0..self.nz - dz)
                .map(|z| (0..self.nx - dx).fold(0.0, |s, x| s + d[z * self.nx + x] * d[(z + dz) * self.nx + x + dx]))
                .collect();
            sum_f64(&products) / ((self.nz - dz) * (self.nx - dx)) as f64 / variance
        };
        let first = |of: &dyn Fn(usize) -> f64| (1..most).find(|&lag| of(lag) < exp_minus_1()).unwrap_or(most);
        first(&|lag| along(0, lag)).max(first(&|lag| along(lag, 0)))
    }
}

fn exp_minus_1() -> f64 {
    1.0 / std::f64::consts::E
}

const STREAM: u32 = 0x616e_0001;

/// How tiles are drawn again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiles {
    /// T, columns.
    pub edge: usize,
    /// How often.
    pub draws: usize,
    /// Seed.
    pub seed: u64,
}

/// What is taken over the slices of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Σ.
    Sum,
    /// Σ / n.
    Mean,
    /// Greatest.
    Max,
    /// Least.
    Min,
    /// √(Σ (f − mean)² / (n − 1)); 0 for one slice.
    Deviation,
    /// The middle value, of an even number the mean of the two in the middle.
    Median,
}

impl Projection {
    /// Its name.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(text: &str) -> Result<Projection> {
        use Projection::{Deviation, Max, Mean, Median, Min, Sum};
        let known = [("sum", Sum), ("mean", Mean), ("max", Max), ("min", Min), ("sd", Deviation), ("median", Median)];
        known.into_iter().find(|(name, _)| *name == text).map(|(_, p)| p).ok_or_else(|| {
            Error::usage(format!("no projection '{text}'")).help("there are sum, mean, max, min, sd and median")
        })
    }
}

/// A projection over the slices (z) of a source, `[y][x]`; along another axis through [`Turned`](crate::segment::orient::Turned).
///
/// # Errors
/// Those of reading.
pub fn project(source: &dyn Source, how: Projection) -> Result<Vec<f32>> {
    let d = source.dims();
    let mut out = Vec::with_capacity(d.slice());
    let mut row = vec![0f32; d.nz * d.nx];
    // Row by row: all slices of a row are held, never the stack.
    for y in 0..d.ny {
        crate::os::check_interrupt()?;
        source.read(0..d.nz, y..y + 1, &mut row)?;
        out.extend(along(&row, d.nx, how));
    }
    Ok(out)
}

/// The projection of rows of `nx` values, one below the other, onto one.
pub fn along(rows: &[f32], nx: usize, how: Projection) -> Vec<f32> {
    let of = |x: usize| rows[x..].iter().step_by(nx).map(|&v| f64::from(v)).collect::<Vec<f64>>();
    (0..nx).into_par_iter().map(|x| one(&of(x), how) as f32).collect()
}

fn one(values: &[f64], how: Projection) -> f64 {
    let n = values.len() as f64;
    match how {
        Projection::Sum => sum_f64(values),
        Projection::Mean => sum_f64(values) / n,
        Projection::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Projection::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Projection::Deviation => {
            let mean = sum_f64(values) / n;
            let squares: Vec<f64> = values.iter().map(|v| (v - mean) * (v - mean)).collect();
            (sum_f64(&squares) / (n - 1.0).max(1.0)).sqrt()
        }
        Projection::Median => median(values.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Dims, Memory};

    fn map(nz: usize, nx: usize, values: Vec<f64>) -> Map {
        Map { nz, nx, values }
    }

    #[test]
    fn projections_by_hand() {
        let dims = Dims::new(3, 1, 2).unwrap();
        let stack = Memory::new(dims, vec![1.0, 255.0, 2.0, 0.0, 6.0, 255.0]).unwrap();
        for (name, want) in [
            ("sum", [9.0, 510.0]),
            ("mean", [3.0, 170.0]),
            ("max", [6.0, 255.0]),
            ("min", [1.0, 0.0]),
            ("sd", [7f64.sqrt() as f32, 21675f64.sqrt() as f32]),
            ("median", [2.0, 255.0]),
        ] {
            assert_eq!(project(&stack, Projection::parse(name).unwrap()).unwrap(), want, "{name}");
        }
        assert!(Projection::parse("average").is_err());
    }

    #[test]
    fn an_interval_covers_the_mean_of_independent_tiles_as_often_as_it_says() {
        let stream = Stream::new(5, 9);
        let covered = (0..400u64)
            .filter(|&i| {
                // Tiles of 2 x 2 equal columns: 100 independent values, mean 0.
                let value = |k: usize| stream.normal(i * 100 + k as u64);
                let values = (0..400).map(|c| value(c / 20 / 2 * 10 + c % 20 / 2)).collect();
                let [low, high] = map(20, 20, values).interval(Tiles { edge: 2, draws: 300, seed: i }).unwrap();
                low <= 0.0 && 0.0 <= high
            })
            .count();
        // 95 % of 400 is 380; the standard deviation is 4.4, and quantiles of 100 values are a little narrow.
        assert!((362..=392).contains(&covered), "{covered}");
        let flat = map(4, 4, vec![1.0; 16]);
        assert_eq!(flat.interval(Tiles { edge: 2, draws: 10, seed: 0 }), None, "four tiles");
        assert_eq!(flat.interval(Tiles { edge: 1, draws: 10, seed: 0 }), Some([1.0, 1.0]));
    }

    #[test]
    fn what_is_alike_over_eight_columns_is_found_so() {
        let stream = Stream::new(1, 1);
        let values = (0..64 * 64).map(|c| stream.normal((c / 64 / 8 * 8 + c % 64 / 8) as u64)).collect();
        let length = map(64, 64, values).correlation_length();
        assert!((4..=8).contains(&length), "{length}");
        assert_eq!(map(8, 8, vec![2.0; 64]).correlation_length(), 1);
    }
}
