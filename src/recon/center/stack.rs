//! The metric of a candidate axis: a sinogram stacked over its mirror image, transformed, summed over the void.

use super::Options;
use super::smooth::{spline, spline_weights};
use crate::error::Result;
use crate::fft::bluestein::AnyPlan;
use crate::fft::{Direction, cells};
use crate::num::lanes::{Complex, ComplexLane, F32x16, Isa, Kernel, LANES, Lane};
use crate::os::check_interrupt;
use rayon::prelude::*;
use std::f64::consts::PI;

/// Most rows next to k_θ = 0 that are dropped, as a part of all.
const MOST_DROPPED: f64 = 0.05;
/// A shift this near to a whole number of pixels is one: steps such as 0.1 have no exact sum.
const WHOLE: f64 = 1e-6;

/// Cells of the void in k_x ≥ 0: for each group of sixteen k_x, the k_θ and how often each lane's cell counts there,
/// once or, with its mirror cell at −k, twice.
fn void(rows: usize, columns: usize, options: &Options) -> Vec<Vec<(u32, Lane)>> {
    // TomoPy's mask, in its order of operations, for an origin in the middle of the plane.
    let (du, dv) = (1.0 / columns as f64, (rows as f64 - 1.0) / (rows as f64 * 2.0 * PI));
    let radius = 0.5 * options.ratio * columns as f64;
    let (middle_row, middle_column) = ((rows.div_ceil(2) - 1) as i64, (columns.div_ceil(2) - 1) as i64);
    let drop = (options.drop as f64).min((MOST_DROPPED * rows as f64).ceil()) as i64;
    let mut count = vec![0u8; (columns / 2 + 1) * rows];
    for i in (0..rows as i64).filter(|i| (i - middle_row).abs() > drop) {
        // Saturates where the ratio is tiny; far outside is far outside.
        let reach = (((i - middle_row) as f64 * dv / radius) / du).ceil().abs().min(columns as f64) as i64;
        for j in (middle_column - reach).max(0)..=(middle_column + reach).min(columns as i64 - 1) {
            if (j - middle_column).abs() > 1 {
                let (mut y, mut x) = (i - rows as i64 / 2, j - columns as i64 / 2);
                if x < 0 {
                    (y, x) = (-y, -x);
                }
                count[x as usize * rows + y.rem_euclid(rows as i64) as usize] += 1;
            }
        }
    }
    let groups = count.chunks(LANES * rows).map(|group| {
        let lane = |y: usize| Lane(std::array::from_fn(|l| f32::from(group.get(l * rows + y).copied().unwrap_or(0))));
        (0..rows).map(|y| (y as u32, lane(y))).filter(|(_, lane)| *lane != Lane::ZERO).collect()
    });
    let mut groups: Vec<Vec<(u32, Lane)>> = groups.collect();
    let used = groups.iter().rposition(|group| !group.is_empty()).map_or(0, |last| last + 1);
    groups.truncate(used);
    groups
}

/// A sinogram, ready to be stacked over its mirror image.
pub struct Stack<'a> {
    sinogram: &'a [f32],
    angles: usize,
    columns: usize,
    along_x: AnyPlan,
    along_theta: AnyPlan,
    void: Vec<Vec<(u32, Lane)>>,
    /// Twice the transform of the upper half along x: `[group of k_x][angle]`, lanes are k_x.
    upper: Vec<ComplexLane>,
    /// Spline coefficients of the mirrored rows, columns + 2 a row.
    mirrored: Vec<f32>,
}

/// Rows of a sinogram that one transform takes: sixteen in the real parts, sixteen in the imaginary parts.
const ROWS: usize = 2 * LANES;

/// What evaluating a candidate needs of memory.
struct Workspace {
    /// [`ROWS`] rows, each padded to whole lanes.
    rows: Vec<f32>,
    /// Transform along x.
    cells: Vec<ComplexLane>,
    /// Twice the transform of the lower half along x, as [`Stack::upper`].
    lower: Vec<ComplexLane>,
    /// Transform along θ of one group.
    stack: Vec<ComplexLane>,
    scratch: Vec<ComplexLane>,
}

impl<'a> Stack<'a> {
    pub fn new(isa: Isa, sinogram: &'a [f32], angles: usize, columns: usize, options: &Options) -> Result<Stack<'a>> {
        let mut mirrored = vec![0.0f32; angles * (columns + 2)];
        if columns >= 2 {
            mirrored.par_chunks_mut(columns + 2).zip(sinogram.par_chunks(columns)).for_each(|(wide, row)| {
                let row: Vec<f32> = row.iter().rev().copied().collect();
                spline(&row, wide, &mut vec![0.0; columns]);
            });
        }
        let mut stack = Stack {
            sinogram,
            angles,
            columns,
            along_x: AnyPlan::new(columns, Direction::Forward)?,
            along_theta: AnyPlan::new(2 * angles, Direction::Forward)?,
            void: void(2 * angles, columns, options),
            upper: Vec::new(),
            mirrored,
        };
        let mut workspace = stack.workspace();
        stack.transform(isa, None, &mut workspace);
        stack.upper = workspace.lower;
        Ok(stack)
    }

    fn workspace(&self) -> Workspace {
        let (along_x, along_theta) = (&self.along_x, &self.along_theta);
        Workspace {
            rows: vec![0.0; ROWS * self.columns.next_multiple_of(LANES)],
            cells: cells(self.columns),
            lower: cells(self.void.len() * self.angles),
            stack: cells(2 * self.angles),
            scratch: cells(along_x.scratch_len().max(along_theta.scratch_len())),
        }
    }

    /// The metric of every candidate, in their order.
    pub fn metrics(&self, isa: Isa, candidates: &[f64]) -> Result<Vec<f64>> {
        candidates
            .par_iter()
            .map_init(
                || self.workspace(),
                |workspace, &axis| {
                    check_interrupt()?;
                    Ok(self.metric(isa, axis, workspace))
                },
            )
            .collect()
    }

    /// The metric of one axis; the sum runs along k_θ for each k_x, then along k_x, in f64.
    fn metric(&self, isa: Isa, axis: f64, workspace: &mut Workspace) -> f64 {
        self.transform(isa, Some(axis), workspace);
        let Workspace { lower, stack, scratch, .. } = workspace;
        let halves = self.upper.chunks_exact(self.angles).zip(lower.chunks_exact(self.angles));
        let mut sum = 0.0;
        for (void, (upper, lower)) in self.void.iter().zip(halves) {
            stack[..self.angles].copy_from_slice(upper);
            stack[self.angles..].copy_from_slice(lower);
            self.along_theta.run(isa, stack, scratch);
            isa.run(Magnitudes { cells: stack, void }).into_iter().for_each(|lane| sum += lane);
        }
        // Once for the factor 2 of the transform along x.
        0.5 * sum / (2 * self.angles * self.columns) as f64
    }

    /// Transforms the rows of the lower half for an axis, or of the upper half, along x.
    fn transform(&self, isa: Isa, axis: Option<f64>, workspace: &mut Workspace) {
        let Workspace { rows, cells, lower, scratch, .. } = workspace;
        let stride = self.columns.next_multiple_of(LANES);
        for first in (0..self.angles).step_by(ROWS) {
            let count = ROWS.min(self.angles - first);
            rows[count * stride..].fill(0.0);
            for (i, row) in rows.chunks_exact_mut(stride).take(count).enumerate() {
                let row = &mut row[..self.columns];
                match axis {
                    Some(axis) => self.lower_row(first + i, axis, row),
                    None => row.copy_from_slice(self.row(first + i)),
                }
            }
            isa.run(Pack { rows, cells });
            self.along_x.run(isa, cells, scratch);
            isa.run(Unpack { cells, spectra: lower, angles: self.angles, first, count });
        }
    }

    fn row(&self, angle: usize) -> &[f32] {
        &self.sinogram[angle * self.columns..][..self.columns]
    }

    /// One row of the stack's lower half: S(θ, 2c − x), and S(A−1−θ, x) where the detector has not seen that.
    fn lower_row(&self, angle: usize, axis: f64, out: &mut [f32]) {
        let n = self.columns;
        // Column x shows column x − shift of the mirrored row.
        let mut shift = 2.0 * axis - (n - 1) as f64;
        if (shift - shift.round()).abs() < WHOLE {
            shift = shift.round();
        }
        let whole = shift.ceil() as i64;
        let t = whole as f64 - shift;
        let seen = whole.clamp(0, n as i64) as usize..(n as i64 + shift.floor() as i64).clamp(0, n as i64) as usize;
        out.copy_from_slice(self.row(self.angles - 1 - angle));
        if t == 0.0 {
            let source = self.row(angle);
            for x in seen {
                out[x] = source[(n as i64 - 1 - (x as i64 - whole)) as usize];
            }
        } else {
            let weights = spline_weights(t);
            // Coefficient x − whole − 1 has index x − whole, for there is one before the first.
            let wide = &self.mirrored[angle * (n + 2)..][..n + 2];
            let taps = &wide[(seen.start as i64 - whole) as usize..];
            for (out, c) in out[seen].iter_mut().zip(taps.windows(4)) {
                *out = (weights[0] * c[0] + weights[1] * c[1]) + (weights[2] * c[2] + weights[3] * c[3]);
            }
        }
    }
}

/// Thirty-two rows to cells: row i is the real part of lane i, row 16 + i its imaginary part.
struct Pack<'a> {
    rows: &'a [f32],
    cells: &'a mut [ComplexLane],
}

impl Kernel for Pack<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let stride = self.rows.len() / ROWS;
        for (group, cells) in self.cells.chunks_mut(LANES).enumerate() {
            let mut blocks = [[Lane::ZERO; LANES]; 2];
            for (half, block) in blocks.iter_mut().enumerate() {
                for (i, lane) in block.iter_mut().enumerate() {
                    lane.0.copy_from_slice(&self.rows[(half * LANES + i) * stride + group * LANES..][..LANES]);
                }
                V::transpose(block);
            }
            for (i, cell) in cells.iter_mut().enumerate() {
                *cell = ComplexLane { re: blocks[0][i], im: blocks[1][i] };
            }
        }
    }
}

/// Twice the spectra of thirty-two real rows from the sixteen complex ones of [`Pack`], k_x to lanes. With Z the
/// transform of a + ib: 2A_k = Z_k + Z*_(n−k), 2B_k = −i (Z_k − Z*_(n−k)).
struct Unpack<'a> {
    cells: &'a [ComplexLane],
    spectra: &'a mut [ComplexLane],
    angles: usize,
    first: usize,
    count: usize,
}

impl Kernel for Unpack<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let n = self.cells.len();
        for (group, spectra) in self.spectra.chunks_exact_mut(self.angles).enumerate() {
            let mut blocks = [[Lane::ZERO; LANES]; 4];
            for i in 0..LANES {
                let k = group * LANES + i;
                // The void has no cell beyond n/2.
                if k <= n / 2 {
                    let (z, m) = (Complex::<V>::load(&self.cells[k]), Complex::<V>::load(&self.cells[(n - k) % n]));
                    z.re.add(m.re).store(&mut blocks[0][i]);
                    z.im.sub(m.im).store(&mut blocks[1][i]);
                    z.im.add(m.im).store(&mut blocks[2][i]);
                    m.re.sub(z.re).store(&mut blocks[3][i]);
                }
            }
            for block in &mut blocks {
                V::transpose(block);
            }
            for (i, cell) in spectra[self.first..self.first + self.count].iter_mut().enumerate() {
                let (half, lane) = (i / LANES * 2, i % LANES);
                *cell = ComplexLane { re: blocks[half][lane], im: blocks[half + 1][lane] };
            }
        }
    }
}

/// Σ count · |cell| over the void of one group, per lane.
struct Magnitudes<'a> {
    cells: &'a [ComplexLane],
    void: &'a [(u32, Lane)],
}

impl Kernel for Magnitudes<'_> {
    type Out = [f64; LANES];
    #[inline(always)]
    fn run<V: F32x16>(self) -> [f64; LANES] {
        let mut sum = [0.0f64; LANES];
        for (y, count) in self.void {
            let z = Complex::<V>::load(&self.cells[*y as usize]);
            let mut square = Lane::ZERO;
            z.re.mul_add(z.re, z.im.mul(z.im)).store(&mut square);
            for i in 0..LANES {
                sum[i] += f64::from(count.0[i] * square.0[i].sqrt());
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fft::dft::dft;

    fn noise(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5).collect()
    }

    /// The metric as its formula says, in f64; the lower half is given.
    fn definition(upper: &[f32], lower: &[f32], angles: usize, n: usize, options: &Options) -> f64 {
        let rows = 2 * angles;
        let forward = |x: &[[f64; 2]]| dft(x, Direction::Forward);
        let all: Vec<[f64; 2]> = upper.iter().chain(lower).map(|&v| [f64::from(v), 0.0]).collect();
        let along_x: Vec<Vec<[f64; 2]>> = all.chunks_exact(n).map(forward).collect();
        let columns: Vec<Vec<[f64; 2]>> =
            (0..n).map(|x| forward(&along_x.iter().map(|row| row[x]).collect::<Vec<_>>())).collect();
        let (middle_row, middle_column) = (rows.div_ceil(2) as f64 - 1.0, n.div_ceil(2) as f64 - 1.0);
        let dropped = (options.drop as f64).min((0.05 * rows as f64).ceil());
        let mut sum = 0.0;
        for i in 0..rows {
            for j in 0..n {
                // The transform with its zero frequency shifted to (rows/2, n/2).
                let [re, im] = columns[(j + n - n / 2) % n][(i + rows - rows / 2) % rows];
                let (y, x) = ((i as f64 - middle_row).abs(), (j as f64 - middle_column).abs());
                let dv = (rows as f64 - 1.0) / (rows as f64 * 2.0 * PI);
                let slope = dv / (0.5 * options.ratio * n as f64) * n as f64;
                // Rounding up is away from the origin below it and towards the origin above it.
                let reach = if i as f64 > middle_row { (y * slope).ceil() } else { (y * slope).floor() };
                if x <= reach && y > dropped && x > 1.0 {
                    sum += re.hypot(im);
                }
            }
        }
        sum / (rows * n) as f64
    }

    #[test]
    fn the_metric_is_the_mean_of_the_transform_over_the_void() {
        let options = [Options::default(), Options { ratio: 1.3, drop: 1, ..Options::default() }];
        for (angles, n) in [(7, 12), (20, 33), (41, 40), (35, 64)] {
            for options in options {
                let sinogram = noise(angles * n);
                let stack = Stack::new(Isa::detect(), &sinogram, angles, n, &options).unwrap();
                // The mirror image about c shows column 2c − x; where there is none, the sinogram from its last angle.
                for twice in [0, n / 2, n - 2, n - 1, n, n + 3, 2 * n - 2] {
                    let mirror = |i: usize| {
                        let (theta, x) = (i / n, i % n);
                        let seen = twice.checked_sub(x).filter(|&m| m < n);
                        seen.map_or(sinogram[(angles - 1 - theta) * n + x], |m| sinogram[theta * n + m])
                    };
                    let lower: Vec<f32> = (0..angles * n).map(mirror).collect();
                    let want = definition(&sinogram, &lower, angles, n, &options);
                    let got = stack.metrics(Isa::detect(), &[twice as f64 / 2.0]).unwrap()[0];
                    // Transforms of noise in f32, 1e-7 · (1 + log₂ size) of the mean each.
                    assert!(want > 0.0 && (got / want - 1.0).abs() < 2e-6, "{angles} x {n} at {twice}/2: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn between_pixels_the_mirror_image_is_the_mirrored_function() {
        // The cubic spline of a cosine of 16 samples a period is within 2e-3 of it away from the ends.
        let (n, angles) = (64, 2);
        let wave = |x: f64, theta: usize| (2.0 * PI / 16.0 * x + 1.0 + theta as f64).cos();
        let sinogram: Vec<f32> = (0..angles * n).map(|i| wave((i % n) as f64, i / n) as f32).collect();
        let stack = Stack::new(Isa::scalar(), &sinogram, angles, n, &Options::default()).unwrap();
        for axis in [20.1, 31.25, 31.6, 40.9] {
            for theta in 0..angles {
                let mut row = vec![f32::NAN; n];
                stack.lower_row(theta, axis, &mut row);
                for (x, &got) in row.iter().enumerate() {
                    let mirrored = 2.0 * axis - x as f64;
                    let seen = (0.0..=(n - 1) as f64).contains(&mirrored);
                    let inside = (8.0..=(n - 9) as f64).contains(&mirrored);
                    let (want, tolerance) = match (seen, inside) {
                        (false, _) => (f64::from(sinogram[(angles - 1 - theta) * n + x]), 0.0),
                        (_, true) => (wave(mirrored, theta), 2e-3),
                        // The spline's ends have no slope.
                        _ => (wave(mirrored, theta), 0.2),
                    };
                    assert!((f64::from(got) - want).abs() <= tolerance, "{axis}: {x} {got} {want}");
                }
            }
        }
    }

    #[test]
    fn a_step_of_a_tenth_that_lands_on_a_pixel_is_that_pixel() {
        let sinogram = noise(6 * 32);
        let stack = Stack::new(Isa::detect(), &sinogram, 6, 32, &Options::default()).unwrap();
        let metrics = stack.metrics(Isa::detect(), &[14.5, 14.2 + 3.0 * 0.1, 14.5 + 1e-13]).unwrap();
        assert!(metrics.iter().all(|m| m.to_bits() == metrics[0].to_bits()), "{metrics:?}");
    }
}
