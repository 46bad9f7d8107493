//! The 2-D transform of one complex image of any size, `X[ky][kx] = Σ_y Σ_x x[y][x] e^(∓2πi (xkx/nx + yky/ny))`.
//!
//! Lanes run across sixteen rows for the transform along x, then across sixteen neighbouring columns for the one
//! along y; threads take groups of sixteen. Each output has one order of operations, whatever the number of threads.

use super::bluestein::AnyPlan;
use super::complex::Direction;
use crate::error::Result;
use crate::num::lanes::{ComplexLane, F32x16, Isa, Kernel, LANES, Lane};
use rayon::prelude::*;

/// A planned 2-D transform.
pub struct PlanePlan {
    along_x: AnyPlan,
    along_y: AnyPlan,
}

impl PlanePlan {
    /// Plans transforms of images of `ny` rows and `nx` columns.
    ///
    /// # Errors
    /// If an extent is zero.
    pub fn new(ny: usize, nx: usize, direction: Direction) -> Result<PlanePlan> {
        Ok(PlanePlan { along_x: AnyPlan::new(nx, direction)?, along_y: AnyPlan::new(ny, direction)? })
    }

    /// Transforms the image `re + i·im` (`[y][x]`, ny·nx each) in place.
    ///
    /// # Panics
    /// If an array has another length.
    pub fn run(&self, isa: Isa, re: &mut [f32], im: &mut [f32]) {
        rows(&self.along_x, isa, re, im);
        self.columns(re, im, |_, cells, scratch| self.along_y.run(isa, cells, scratch));
    }

    /// `F⁻¹[h F[x]]` in place, with `inverse` of the same size (neither transform is scaled). `h` is given sixteen columns of
    /// the transform, `[ky]`, from a column kx on; they stay in lanes between the two transforms along y.
    ///
    /// # Panics
    /// If an array has another length, or the inverse another size.
    pub fn filter(
        &self,
        inverse: &PlanePlan,
        isa: Isa,
        re: &mut [f32],
        im: &mut [f32],
        h: impl Fn(usize, &mut [ComplexLane]) + Sync,
    ) {
        let of = |plan: &PlanePlan| (plan.along_y.len(), plan.along_x.len(), plan.along_y.scratch_len());
        assert_eq!(of(inverse), of(self), "an inverse of this size");
        rows(&self.along_x, isa, re, im);
        self.columns(re, im, |first, cells, scratch| {
            self.along_y.run(isa, cells, scratch);
            h(first, cells);
            inverse.along_y.run(isa, cells, scratch);
        });
        rows(&inverse.along_x, isa, re, im);
    }

    /// Groups of sixteen columns, `[y]`, from column `first` on, as `work` leaves them; it is given scratch of [`PlanePlan::along_y`].
    fn columns(
        &self,
        re: &mut [f32],
        im: &mut [f32],
        work: impl Fn(usize, &mut [ComplexLane], &mut [ComplexLane]) + Sync,
    ) {
        let (ny, nx) = (self.along_y.len(), self.along_x.len());
        let mut columns = vec![ComplexLane::ZERO; nx.div_ceil(LANES) * ny];
        let scratch = || vec![ComplexLane::ZERO; self.along_y.scratch_len()];
        columns.par_chunks_mut(ny).enumerate().for_each_init(scratch, |scratch, (group, cells)| {
            let first = group * LANES;
            let width = LANES.min(nx - first);
            for (y, cell) in cells.iter_mut().enumerate() {
                copy(&mut cell.re.0[..width], &re[y * nx + first..][..width]);
                copy(&mut cell.im.0[..width], &im[y * nx + first..][..width]);
            }
            work(first, cells, scratch);
        });
        re.par_chunks_mut(nx).zip(im.par_chunks_mut(nx)).enumerate().for_each(|(y, (re, im))| {
            for (group, (re, im)) in re.chunks_mut(LANES).zip(im.chunks_mut(LANES)).enumerate() {
                let cell = &columns[group * ny + y];
                let width = re.len();
                copy(re, &cell.re.0[..width]);
                copy(im, &cell.im.0[..width]);
            }
        });
    }
}

/// Transforms along x, sixteen rows at a time.
///
/// # Panics
/// If an array is not whole rows, or the two differ.
fn rows(plan: &AnyPlan, isa: Isa, re: &mut [f32], im: &mut [f32]) {
    let nx = plan.len();
    assert!(re.len() == im.len() && re.len().is_multiple_of(nx), "an image of {nx} columns");
    let work = || (vec![ComplexLane::ZERO; nx], vec![ComplexLane::ZERO; plan.scratch_len()]);
    let groups = re.par_chunks_mut(LANES * nx).zip(im.par_chunks_mut(LANES * nx));
    groups.for_each_init(work, |(cells, scratch), (re, im)| {
        isa.run(Rows { re, im, cells, nx, gather: true });
        plan.run(isa, cells, scratch);
        isa.run(Rows { re, im, cells, nx, gather: false });
    });
}

/// Copies sixteen numbers or fewer: sixteen, the usual case, without a call.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    match (to.first_chunk_mut::<LANES>(), from.first_chunk::<LANES>()) {
        (Some(to), Some(from)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

/// Sixteen rows (fewer at the end) to cells, or cells to rows.
struct Rows<'a> {
    re: &'a mut [f32],
    im: &'a mut [f32],
    cells: &'a mut [ComplexLane],
    nx: usize,
    gather: bool,
}

impl Kernel for Rows<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let (nx, rows) = (self.nx, self.re.len() / self.nx);
        for first in (0..nx).step_by(LANES) {
            let width = LANES.min(nx - first);
            for (plane, imaginary) in [(&mut *self.re, false), (&mut *self.im, true)] {
                let mut block = [Lane::ZERO; LANES];
                if self.gather {
                    for (row, lane) in block.iter_mut().enumerate().take(rows) {
                        copy(&mut lane.0[..width], &plane[row * nx + first..][..width]);
                    }
                    V::transpose(&mut block);
                }
                for (cell, lane) in self.cells[first..first + width].iter_mut().zip(&mut block) {
                    let half = if imaginary { &mut cell.im } else { &mut cell.re };
                    if self.gather {
                        *half = *lane;
                    } else {
                        *lane = *half;
                    }
                }
                if !self.gather {
                    V::transpose(&mut block);
                    for (row, lane) in block.iter().enumerate().take(rows) {
                        copy(&mut plane[row * nx + first..][..width], &lane.0[..width]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dft::dft;
    use super::*;

    /// Between the transforms every bin once: times its own index it is what a product of whole transforms is.
    #[test]
    fn a_filter_is_a_product_of_transforms() {
        for (ny, nx) in [(1, 1), (6, 35), (32, 16), (45, 50)] {
            let plans = [Direction::Forward, Direction::Inverse].map(|d| PlanePlan::new(ny, nx, d).unwrap());
            let value = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0;
            let response = |ky: usize, kx: usize| 1.0 / (1 + ky * nx + kx) as f32;
            let image = || (0..ny * nx).map(value).collect::<Vec<f32>>();
            let (mut re, mut im) = (image(), vec![0.5; ny * nx]);
            plans[0].filter(&plans[1], Isa::detect(), &mut re, &mut im, |first, cells| {
                for (ky, cell) in cells.iter_mut().enumerate() {
                    for lane in 0..LANES {
                        cell.re.0[lane] *= response(ky, first + lane);
                        cell.im.0[lane] *= response(ky, first + lane);
                    }
                }
            });
            let (mut want_re, mut want_im) = (image(), vec![0.5; ny * nx]);
            plans[0].run(Isa::detect(), &mut want_re, &mut want_im);
            for (i, (re, im)) in want_re.iter_mut().zip(&mut want_im).enumerate() {
                let h = response(i / nx, i % nx);
                (*re, *im) = (*re * h, *im * h);
            }
            plans[1].run(Isa::detect(), &mut want_re, &mut want_im);
            let far = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            // Rows first or columns first: sums of the size of the first bins.
            let size = 1e-6 * (ny * nx) as f32;
            assert!(far(&re, &want_re) <= size && far(&im, &want_im) <= size, "{ny} x {nx}");
        }
    }

    #[test]
    fn a_plane_is_rows_then_columns_of_the_definition() {
        for (ny, nx) in [(1, 1), (3, 5), (7, 33), (32, 17), (40, 64)] {
            let value = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0;
            let mut re: Vec<f32> = (0..ny * nx).map(value).collect();
            let mut im: Vec<f32> = (0..ny * nx).map(|i| value(i + 5000)).collect();
            let rows: Vec<Vec<[f64; 2]>> = (0..ny)
                .map(|y| {
                    let row: Vec<_> = (0..nx).map(|x| [re[y * nx + x] as f64, im[y * nx + x] as f64]).collect();
                    dft(&row, Direction::Forward)
                })
                .collect();
            PlanePlan::new(ny, nx, Direction::Forward).unwrap().run(Isa::detect(), &mut re, &mut im);
            for x in 0..nx {
                let column: Vec<_> = rows.iter().map(|row| row[x]).collect();
                for (y, want) in dft(&column, Direction::Forward).iter().enumerate() {
                    let error = (re[y * nx + x] as f64 - want[0]).hypot(im[y * nx + x] as f64 - want[1]);
                    // Sums of ny·nx terms of size 1 have size √(ny·nx).
                    assert!(error < 1e-5 * ((ny * nx) as f64).sqrt(), "{ny} x {nx} at {y} {x}: {error:.2e}");
                }
            }
        }
    }
}
