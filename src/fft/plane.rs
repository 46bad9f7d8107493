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
        let (ny, nx) = (self.along_y.len(), self.along_x.len());
        assert_eq!((re.len(), im.len()), (ny * nx, ny * nx), "an image of {nx} x {ny}");
        re.par_chunks_mut(LANES * nx).zip(im.par_chunks_mut(LANES * nx)).for_each(|(re, im)| {
            let mut cells = vec![ComplexLane::ZERO; nx];
            isa.run(Rows { re, im, cells: &mut cells, nx, gather: true });
            self.along_x.run(isa, &mut cells, &mut vec![ComplexLane::ZERO; self.along_x.scratch_len()]);
            isa.run(Rows { re, im, cells: &mut cells, nx, gather: false });
        });
        let groups = nx.div_ceil(LANES);
        let mut columns = vec![ComplexLane::ZERO; groups * ny];
        columns.par_chunks_mut(ny).enumerate().for_each(|(group, cells)| {
            let first = group * LANES;
            let width = LANES.min(nx - first);
            for (y, cell) in cells.iter_mut().enumerate() {
                cell.re.0[..width].copy_from_slice(&re[y * nx + first..][..width]);
                cell.im.0[..width].copy_from_slice(&im[y * nx + first..][..width]);
            }
            self.along_y.run(isa, cells, &mut vec![ComplexLane::ZERO; self.along_y.scratch_len()]);
        });
        re.par_chunks_mut(nx).zip(im.par_chunks_mut(nx)).enumerate().for_each(|(y, (re, im))| {
            for (group, (re, im)) in re.chunks_mut(LANES).zip(im.chunks_mut(LANES)).enumerate() {
                let cell = &columns[group * ny + y];
                re.copy_from_slice(&cell.re.0[..re.len()]);
                im.copy_from_slice(&cell.im.0[..im.len()]);
            }
        });
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
                        lane.0[..width].copy_from_slice(&plane[row * nx + first..][..width]);
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
                        plane[row * nx + first..][..width].copy_from_slice(&lane.0[..width]);
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
