//! Maps: a number per column, `[z][x]`; projections of a stack; tiles and what they say of a mean's interval.
//!
//! ```text
//! sum      v Σ_y f          mean     Σ_y f / n          max      max_y f          min, sd (n − 1), median       over a stack
//! occupied 1 − mean[M > 0]… the part of the columns with M > 0 is mean[M > 0]
//! tiles    T × T columns, the last of a row or column narrower; interval of a number that is made of sums over columns (a
//!          mean, a part, Pearson's r, a fit of means of many scans): tiles drawn again with replacement, the number of
//!          their sums, its 2.5 and 97.5 % quantiles
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
    /// Sums over squares of so many columns; the last of a row or column may be narrower.
    pub fn sums(&self, edge: usize) -> Map {
        let (nz, nx) = (self.nz.div_ceil(edge), self.nx.div_ceil(edge));
        let mut values = vec![0.0; nz * nx];
        for (c, v) in self.values.iter().enumerate() {
            values[self.tile_of(c, edge)] += v;
        }
        Map { nz, nx, values }
    }
    /// Which tile a column is in, `[z][x]`.
    fn tile_of(&self, column: usize, edge: usize) -> usize {
        column / self.nx / edge * self.nx.div_ceil(edge) + column % self.nx / edge
    }
    /// As f32, for files.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|&v| v as f32).collect()
    }

    /// The 95 % interval of the mean over the columns that are no NaN; none with too few tiles.
    pub fn interval(&self, how: Tiles) -> Option<[f64; 2]> {
        let values = |c: usize| Some(self.values[c]).filter(|v| !v.is_nan()).map(|v| [v, 1.0]);
        Sums::of(self, how.edge, values).interval(how, |s| Some(s[0] / s[1]))
    }

    /// That of Σ of this map over Σ of another.
    pub fn interval_of_part(&self, whole: &Map, how: Tiles) -> Option<[f64; 2]> {
        let both = Sums::of(self, how.edge, |c| Some([self.values[c], whole.values[c]]));
        both.interval(how, |s| (s[1] > 0.0).then(|| s[0] / s[1]))
    }

    /// That of Pearson's r of two maps, of tiles as long as what is alike in either.
    pub fn interval_of_correlation(&self, other: &Map, [own, others]: [Tiles; 2]) -> Option<[f64; 2]> {
        let how = Tiles { edge: own.edge.max(others.edge), ..own };
        // About the means, or squares drown what differs.
        let means = [self.mean(), other.mean()];
        let moments = Sums::of(self, how.edge, |c| {
            let [a, b] = [self.values[c] - means[0], other.values[c] - means[1]];
            Some([1.0, a, b, a * a, b * b, a * b])
        });
        moments.interval(how, |s| {
            let [va, vb] = [s[3] - s[1] * s[1] / s[0], s[4] - s[2] * s[2] / s[0]];
            (va > 0.0 && vb > 0.0).then(|| (s[5] - s[1] * s[2] / s[0]) / (va * vb).sqrt())
        })
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
/// Fewer tiles say nothing about their spread.
const FEWEST: usize = 8;
/// Part of the draws in which a number may be unknown.
const UNKNOWN: f64 = 0.05;

/// What each tile adds to some sums.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// Sums of a tile.
    width: usize,
    /// `[tile][sum]`.
    values: Vec<f64>,
}

impl Sums {
    /// `width` sums of each tile, one behind the other.
    pub fn new(width: usize, values: Vec<f64>) -> Sums {
        debug_assert!(width > 0 && values.len().is_multiple_of(width));
        Sums { width, values }
    }

    /// Sums over the columns of each tile of the size of a map; columns that add nothing are left out, and tiles without others.
    fn of<const N: usize>(size: &Map, edge: usize, of: impl Fn(usize) -> Option<[f64; N]>) -> Sums {
        let mut tiles = vec![None; size.nz.div_ceil(edge) * size.nx.div_ceil(edge)];
        for c in 0..size.values.len() {
            if let Some(more) = of(c) {
                let tile = tiles[size.tile_of(c, edge)].get_or_insert([0.0; N]);
                tile.iter_mut().zip(more).for_each(|(sum, v)| *sum += v);
            }
        }
        Sums::new(N, tiles.into_iter().flatten().flatten().collect())
    }

    /// 95 % intervals of K numbers that are made of the sums over tiles drawn again, each with its quantiles; none with too few tiles, or where
    /// too many draws tell no numbers.
    pub fn intervals<const K: usize>(
        &self,
        how: Tiles,
        of: impl Fn(&[f64]) -> Option<[f64; K]> + Sync,
    ) -> Option<[[f64; 2]; K]> {
        let n = self.values.len() / self.width;
        if n < FEWEST || how.draws == 0 {
            return None;
        }
        let stream = Stream::new(how.seed, STREAM);
        let draw = |b: usize| {
            let mut sums = vec![0.0; self.width];
            for j in 0..n {
                let tile = stream.below((b * n + j) as u64, n as u32) as usize * self.width;
                sums.iter_mut().zip(&self.values[tile..]).for_each(|(sum, v)| *sum += v);
            }
            of(&sums)
        };
        let drawn: Vec<[f64; K]> = (0..how.draws).into_par_iter().filter_map(draw).collect();
        if drawn.is_empty() || ((how.draws - drawn.len()) as f64) > UNKNOWN * how.draws as f64 {
            return None;
        }
        Some(std::array::from_fn(|k| {
            let mut values: Vec<f64> = drawn.iter().map(|d| d[k]).collect();
            values.sort_by(f64::total_cmp);
            [quantile(&values, 0.025), quantile(&values, 0.975)]
        }))
    }

    /// That of one number.
    fn interval(&self, how: Tiles, of: impl Fn(&[f64]) -> Option<f64> + Sync) -> Option<[f64; 2]> {
        self.intervals(how, |sums| of(sums).map(|v| [v])).map(|[ends]| ends)
    }
}

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
    fn parts_and_correlations_of_other_fields_are_about_theirs() {
        let stream = Stream::new(6, 9);
        let (part, r, mut held) = (0.25, 0.6f64, [0; 2]);
        for i in 0..400u64 {
            // Tiles of 2 x 2 equal columns: a whole, a quarter of it but for noise, and what goes with it.
            let of =
                |k: usize, which: u64| stream.normal((i * 100 + (k / 20 / 2 * 10 + k % 20 / 2) as u64) * 3 + which);
            let of_columns = |f: &dyn Fn(usize) -> f64| map(20, 20, (0..400).map(f).collect());
            let whole = of_columns(&|c| 10.0 + of(c, 0));
            let quarter = of_columns(&|c| part * (10.0 + of(c, 0)) + of(c, 1));
            let with = of_columns(&|c| r * of(c, 0) + (1.0 - r * r).sqrt() * of(c, 2));
            let how = Tiles { edge: 2, draws: 300, seed: i };
            let ends = [quarter.interval_of_part(&whole, how), whole.interval_of_correlation(&with, [how; 2])];
            for ((held, ends), truth) in held.iter_mut().zip(ends).zip([part, r]) {
                let [low, high] = ends.unwrap();
                *held += usize::from(low <= truth && truth <= high);
            }
        }
        assert!(held.iter().all(|n| (360..=392).contains(n)), "{held:?}");
        let nothing = map(4, 4, vec![0.0; 16]);
        let how = Tiles { edge: 1, draws: 10, seed: 0 };
        assert_eq!(nothing.interval_of_part(&nothing, how), None);
        assert_eq!(nothing.interval_of_correlation(&nothing, [how; 2]), None);
        // In more than one draw of twenty the one column with something is not there.
        let one = map(4, 4, (0..16).map(|c| f64::from(u8::from(c == 5))).collect());
        assert_eq!(nothing.interval_of_part(&one, Tiles { draws: 100, ..how }), None);
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
