//! The engine stage by stage, for one slice: what [`Engine::run`] computes and throws away, kept for teaching.
//!
//! The kernels are those of the run; only the loops that copy what they leave behind are this file's.

use super::{Engine, Field, GatherKernel, STRIP, Sinograms, Workspace, load_rows, unwrap_column};
use crate::fft::cells;
use crate::num::lanes::{ComplexLane, F32x16, Isa, Kernel, LANES, Lane};
use rayon::prelude::*;

/// What lies between the stages, for one slice; complex values are (real, imaginary).
pub struct Stages {
    /// Padded projections, `[angle][P]`.
    pub rows: Vec<f32>,
    /// F, conjugated where the projection is used reversed, `[angle][k]`.
    pub spectra: Vec<[f32; 2]>,
    /// H if every F were 1, real parts, `[u][v]`.
    pub density: Vec<f32>,
    /// H, `[u][v]`.
    pub grid: Vec<[f32; 2]>,
    /// R, `[u][image row]`.
    pub columns: Vec<[f32; 2]>,
    /// The image if every d were 1.
    pub inverse: Vec<f32>,
    /// The image.
    pub image: Vec<f32>,
}

impl Engine {
    /// Reconstructs one slice stage by stage, with the kernels of [`run`](Self::run), and keeps what is between them.
    pub(in crate::recon) fn run_stages(&self, isa: Isa, sinogram: Sinograms, center: f64) -> Stages {
        let (n, m) = (self.field.image, self.grid());
        let first_lane = |cells: &[ComplexLane]| cells.iter().map(|c| [c.re.0[0], c.im.0[0]]).collect();
        let mut workspace = self.workspace();

        let mut packed = cells(self.padded() / 2);
        let rows = (0..self.angles)
            .flat_map(|angle| {
                isa.run(LoadKernel { sinogram, angle, field: &self.field, packed: &mut packed });
                packed.iter().flat_map(|pair| [pair.re.0[0], pair.im.0[0]]).collect::<Vec<f32>>()
            })
            .collect();
        self.prepare_phase(&mut workspace, &[center]);
        self.transform_projections(isa, &mut workspace, sinogram);

        let grid = self.gridded(isa, &workspace, &workspace.spectra);
        let one = ComplexLane { re: Lane([1.0; LANES]), im: Lane::ZERO };
        let density = self.gridded(isa, &workspace, &vec![one; workspace.spectra.len()]);

        let uncorrected = vec![1.0; n];
        let mut inverse = vec![0.0; n * n];
        self.grid_and_transform_columns(isa, &mut workspace, &uncorrected);
        self.transform_rows(isa, &mut workspace, &uncorrected, 1, &mut inverse);

        let mut image = vec![0.0; n * n];
        self.grid_and_transform_columns(isa, &mut workspace, &self.correction_y);
        self.transform_rows(isa, &mut workspace, &self.correction_x, 1, &mut image);
        let columns = workspace.half_plane.chunks_exact(self.row_stride());
        Stages {
            rows,
            spectra: first_lane(&workspace.spectra),
            density: density.iter().map(|cell| cell[0]).collect(),
            columns: columns.take(m / 2 + 1).flat_map(|column| first_lane(&column[..n])).collect(),
            grid,
            inverse,
            image,
        }
    }

    /// The half plane of the first slice before its transform, `[u][v]`.
    fn gridded(&self, isa: Isa, workspace: &Workspace, spectra: &[ComplexLane]) -> Vec<[f32; 2]> {
        let m = self.grid();
        let mut cells = vec![[0.0; 2]; (m / 2 + 1) * m];
        cells.par_chunks_mut(STRIP * m).enumerate().for_each(|(strip, cells)| {
            let mut scratch = Workspace::mine(&workspace.scratch);
            isa.run(GridKernel { engine: self, strip, spectra, grid: &mut scratch, cells });
        });
        cells
    }
}

/// The beginning of the first stage alone.
struct LoadKernel<'a> {
    sinogram: Sinograms<'a>,
    angle: usize,
    field: &'a Field,
    packed: &'a mut [ComplexLane],
}

impl Kernel for LoadKernel<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        load_rows::<V>(&self.sinogram, self.angle, self.field, self.packed);
    }
}

/// Second stage without the transform: the gridded cells of the first slice.
struct GridKernel<'a> {
    engine: &'a Engine,
    strip: usize,
    spectra: &'a [ComplexLane],
    grid: &'a mut [ComplexLane],
    cells: &'a mut [[f32; 2]],
}

impl Kernel for GridKernel<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let (m, stride) = (self.engine.grid(), self.engine.column_stride());
        let grid = &mut self.grid[..self.cells.len() / m * stride];
        V::call(GatherKernel { engine: self.engine, strip: self.strip, spectra: self.spectra, grid: &mut *grid });
        for (column, cells) in grid.chunks_exact_mut(stride).zip(self.cells.chunks_exact_mut(m)) {
            for (cell, value) in unwrap_column::<V>(column, m).iter().zip(cells) {
                *value = [cell.re.0[0], cell.im.0[0]];
            }
        }
    }
}
