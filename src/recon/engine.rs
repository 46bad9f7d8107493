//! Direct Fourier reconstruction of up to sixteen slices at a time: the machine behind `gridrec` and `gridrec-compat`.
//!
//! ```text
//! spectra   F[θ][k]   = B_k e^(2πi kc/P) · Σ_j p[θ][j] e^(−2πi jk/P)                   one projection at a time
//! grid      H[u][v]   = Σ_θ Σ_k F[θ][k] a_u(θ,k) b_v(θ,k)                              one strip of columns at a time
//! columns   R[u][y]   = d_y Σ_v H[u][v] e^(2πi vy/M)       rows y of the image only    while the strip is in cache
//! rows      g[y][x]   = d_x Σ_u R[u][y] e^(2πi ux/M)       R[−u] = R*[u]: real output  a few rows at a time
//! ```
//!
//! p: sinogram; P: padded length; B: filter and scale; c: the slice's own axis; a, b: gridding weights ([`Samples`]);
//! M: grid length; d: deapodisation. Each cell of H is owned by its strip and adds in order of angle, image and k.
//! Slices run along the lanes and never meet, so a slice's bits do not depend on what it is computed with, and a NaN
//! stays in its slice. Threads share one group: projections, strips and rows are dealt out.
//!
//! Which columns a row of the detector fills, and with which weights, the [`Field`] says.
//!
//! **Memory.** 128 bytes for every spectral sample and every (column, image row) of the half plane: 16 slices of
//! 2048 columns × 1500 angles take 0.4 + 0.35 GB, whatever the number of threads.
//!
//! **Orientation** (TomoPy's): detector coordinate s − c = X cos θ + Y sin θ, Y upward, image column = X + ⌈N/2⌉,
//! image row = N − 1 − ⌈N/2⌉ − Y: the axis lands on column N/2, row N/2 − 1 for even N.

mod stages;

use super::field::Field;
use super::geometry::axis_pixel;
use super::samples::{Image, Run, STRIP, Samples};
use crate::error::Result;
use crate::fft::{ComplexPlan, Direction, RealPlan, cells};
use crate::num::elementary::sincos;
use crate::num::lanes::{Complex, ComplexLane, F32x16, Isa, Kernel, LANES, Lane};
use rayon::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows of the image that are transformed together: their cells lie side by side in memory.
const ROWS: usize = 4;
/// How many runs ahead of the one being added are fetched.
const RUNS_AHEAD: usize = 2;
/// Rows beyond the grid that collect what wraps around; at least the widest kernel less one.
const WRAP_ROWS: usize = 8;
/// Cells between the rows of the half plane beyond its length, so that columns do not share cache sets.
const ROW_PADDING: usize = 3;

/// Sinograms of up to sixteen slices in memory: `data[angle·angle_stride + slice·slice_stride + column]`.
#[derive(Clone, Copy)]
pub struct Sinograms<'a> {
    /// The values.
    pub data: &'a [f32],
    /// Distance of two angles.
    pub angle_stride: usize,
    /// Distance of two slices.
    pub slice_stride: usize,
    /// Number of slices, 1 … 16.
    pub slices: usize,
}

/// Everything that depends on the geometry only.
pub struct Engine {
    field: Field,
    angles: usize,
    padded: RealPlan,
    grid_columns: ComplexPlan,
    grid_rows: RealPlan,
    samples: Samples,
    response: Vec<f32>,
    correction_x: Vec<f32>,
    correction_y: Vec<f32>,
}

/// Buffers of one group of slices.
pub struct Workspace {
    spectra: Vec<ComplexLane>,
    half_plane: Vec<ComplexLane>,
    phase: Vec<ComplexLane>,
    phase_of: Option<[f64; LANES]>,
    scratch: Vec<Mutex<Vec<ComplexLane>>>,
}

impl Workspace {
    /// The calling thread's scratch cells.
    fn mine(scratch: &[Mutex<Vec<ComplexLane>>]) -> MutexGuard<'_, Vec<ComplexLane>> {
        let thread = rayon::current_thread_index().unwrap_or(0) % scratch.len();
        scratch[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Puts the tables together. `response[k]`, k = 0 … P/2, is B_k; the corrections are d by image column and by
    /// image row.
    pub(super) fn new(
        columns: usize,
        padded: usize,
        samples: Samples,
        response: Vec<f32>,
        correction_x: Vec<f32>,
        correction_y: Vec<f32>,
    ) -> Result<Engine> {
        Ok(Engine {
            field: Field::plain(columns),
            angles: samples.reversed.len(),
            padded: RealPlan::new(padded)?,
            grid_columns: ComplexPlan::new(samples.grid, Direction::Inverse)?,
            grid_rows: RealPlan::new(samples.grid)?,
            samples,
            response,
            correction_x,
            correction_y,
        })
    }

    /// Multiplies all values by `factor`: a change of unit, at no cost.
    pub(super) fn scale(&mut self, factor: f64) {
        self.correction_x.iter_mut().for_each(|d| *d = (f64::from(*d) * factor) as f32);
    }

    /// Takes rows as `field` says, which has as many columns as were planned for.
    ///
    /// # Panics
    /// If it has not: a caller's bug.
    pub(super) fn see(&mut self, field: &Field) {
        assert_eq!(field.columns, self.field.columns, "a field of the columns planned for");
        // The axis pixel of the smaller image is that of the larger one.
        let [full, cut] = [self.field.image, field.image].map(axis_pixel);
        self.correction_y = self.correction_y[full.0 - cut.0..][..field.image].to_vec();
        self.correction_x = self.correction_x[full.1 - cut.1..][..field.image].to_vec();
        self.field = field.clone();
    }

    /// Columns of the detector.
    pub fn columns(&self) -> usize {
        let Field { measured, .. } = &self.field;
        *measured
    }
    /// Side N of the image.
    pub fn image(&self) -> usize {
        self.field.image
    }
    /// Number of projections.
    pub fn angles(&self) -> usize {
        self.angles
    }
    /// Padded length P of a projection.
    pub fn padded(&self) -> usize {
        self.padded.len()
    }
    /// Grid length M.
    pub fn grid(&self) -> usize {
        self.samples.grid
    }
    /// The sample table.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }
    /// B_k.
    pub fn response(&self) -> &[f32] {
        &self.response
    }
    /// Deapodisation by image column and by image row.
    pub fn corrections(&self) -> [&[f32]; 2] {
        [&self.correction_x, &self.correction_y]
    }

    fn row_stride(&self) -> usize {
        self.field.image + ROW_PADDING
    }
    fn column_stride(&self) -> usize {
        self.grid() + WRAP_ROWS
    }
    fn scratch_cells(&self) -> usize {
        (self.padded() / 2).max(STRIP * self.column_stride()).max(ROWS * self.grid() / 2)
    }

    /// Bytes of tables and of one workspace for `threads` threads.
    pub fn bytes(&self, threads: usize) -> [usize; 2] {
        let cell = size_of::<ComplexLane>();
        let group = self.angles * self.samples.used.len()
            + (self.grid() / 2 + 1) * self.row_stride()
            + self.padded() / 2
            + 1
            + threads * self.scratch_cells();
        [self.samples.bytes(), group * cell]
    }

    /// Buffers for [`run`](Self::run), for as many threads as the current pool has.
    pub fn workspace(&self) -> Workspace {
        let threads = rayon::current_num_threads().max(1);
        Workspace {
            spectra: cells(self.angles * self.samples.used.len()),
            half_plane: cells((self.grid() / 2 + 1) * self.row_stride()),
            phase: vec![ComplexLane::ZERO; self.padded() / 2 + 1],
            phase_of: None,
            scratch: (0..threads).map(|_| Mutex::new(cells(self.scratch_cells()))).collect(),
        }
    }

    /// Reconstructs `sinograms.slices` slices with the axes `centers` (pixel index) into `images`
    /// (slices × N × N, row-major).
    ///
    /// # Panics
    /// If a slice or a length does not fit the geometry: a caller's bug.
    pub fn run(&self, isa: Isa, workspace: &mut Workspace, sinograms: Sinograms, centers: &[f64], images: &mut [f32]) {
        let n = self.field.image;
        assert!((1..=LANES).contains(&sinograms.slices), "1 to 16 slices at a time");
        assert_eq!(centers.len(), sinograms.slices, "one axis per slice");
        assert_eq!(images.len(), sinograms.slices * n * n, "one image per slice");
        let last = (self.angles - 1) * sinograms.angle_stride
            + (sinograms.slices - 1) * sinograms.slice_stride
            + self.field.measured;
        assert!(sinograms.data.len() >= last, "sinogram of {} values, {last} needed", sinograms.data.len());
        self.prepare_phase(workspace, centers);
        self.transform_projections(isa, workspace, sinograms);
        self.grid_and_transform_columns(isa, workspace, &self.correction_y);
        self.transform_rows(isa, workspace, &self.correction_x, sinograms.slices, images);
    }

    /// First stage: spectra of all projections.
    fn transform_projections(&self, isa: Isa, workspace: &mut Workspace, sinograms: Sinograms) {
        let Workspace { spectra, phase, scratch, .. } = workspace;
        let count = self.samples.used.len();
        spectra.par_chunks_mut(count).enumerate().for_each(|(angle, spectrum)| {
            let mut scratch = Workspace::mine(scratch);
            isa.run(SpectrumKernel { engine: self, angle, sinograms, phase, packed: &mut scratch, spectrum });
        });
    }

    /// Second stage: the half plane, transformed along v. `correction` is d by image row.
    fn grid_and_transform_columns(&self, isa: Isa, workspace: &mut Workspace, correction: &[f32]) {
        let Workspace { spectra, half_plane, scratch, .. } = workspace;
        let spectra: &[ComplexLane] = spectra;
        half_plane.par_chunks_mut(STRIP * self.row_stride()).enumerate().for_each(|(strip, columns)| {
            let mut scratch = Workspace::mine(scratch);
            isa.run(StripKernel { engine: self, strip, spectra, correction, grid: &mut scratch, columns });
        });
    }

    /// Third stage: the images. `correction` is d by image column.
    fn transform_rows(
        &self,
        isa: Isa,
        workspace: &mut Workspace,
        correction: &[f32],
        slices: usize,
        images: &mut [f32],
    ) {
        let n = self.field.image;
        let Workspace { half_plane, scratch, .. } = workspace;
        let half_plane: &[ComplexLane] = half_plane;
        // Row r of every slice, side by side: the rows that one task owns.
        let mut whole: Vec<_> = images.chunks_exact_mut(n * n).map(|image| image.chunks_exact_mut(n)).collect();
        let mut rows: Vec<&mut [f32]> = Vec::with_capacity(n * slices);
        for _ in 0..n {
            rows.extend(whole.iter_mut().filter_map(Iterator::next));
        }
        rows.par_chunks_mut(ROWS * slices).enumerate().for_each(|(block, rows)| {
            let mut scratch = Workspace::mine(scratch);
            isa.run(RowKernel {
                engine: self,
                first: block * ROWS,
                half_plane,
                correction,
                packed: &mut scratch,
                rows,
            });
        });
    }

    /// B_k e^(2πi kc/P) for the axes of this group; kept when the axes are those of the last group.
    fn prepare_phase(&self, workspace: &mut Workspace, centers: &[f64]) {
        let all: [f64; LANES] = std::array::from_fn(|lane| self.field.axis(centers[lane.min(centers.len() - 1)]));
        if workspace.phase_of == Some(all) {
            return;
        }
        let period = self.padded() as f64;
        for (k, cell) in workspace.phase.iter_mut().enumerate() {
            for lane in 0..LANES {
                if lane > 0 && all[lane] == all[lane - 1] {
                    (cell.re.0[lane], cell.im.0[lane]) = (cell.re.0[lane - 1], cell.im.0[lane - 1]);
                    continue;
                }
                let turns = k as f64 * all[lane] / period;
                let (sin, cos) = sincos(2.0 * std::f64::consts::PI * (turns - turns.round()));
                let scale = self.response[k] as f64;
                (cell.re.0[lane], cell.im.0[lane]) = ((scale * cos) as f32, (scale * sin) as f32);
            }
        }
        workspace.phase_of = Some(all);
    }
}

/// First stage, one projection.
struct SpectrumKernel<'a> {
    engine: &'a Engine,
    angle: usize,
    sinograms: Sinograms<'a>,
    phase: &'a [ComplexLane],
    packed: &'a mut [ComplexLane],
    spectrum: &'a mut [ComplexLane],
}

impl Kernel for SpectrumKernel<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let plan = &self.engine.padded;
        let h = plan.len() / 2;
        let packed = &mut self.packed[..h];
        load_rows::<V>(&self.sinograms, self.angle, &self.engine.field, packed);
        plan.forward_packed::<V>(packed);
        let used = &self.engine.samples.used;
        let reversed = self.engine.samples.reversed[self.angle];
        for k in 0..=h / 2 {
            let [x_k, x_hk] = plan.spectrum_pair::<V>(packed, k);
            if used.contains(&k) {
                place::<V>(x_k, &self.phase[k], reversed, &mut self.spectrum[k - used.start]);
            }
            if used.contains(&(h - k)) {
                place::<V>(x_hk, &self.phase[h - k], reversed, &mut self.spectrum[h - k - used.start]);
            }
        }
    }
}

#[inline(always)]
fn place<V: F32x16>(x: Complex<V>, phase: &ComplexLane, reversed: bool, to: &mut ComplexLane) {
    let f = x.mul(Complex::load(phase));
    if reversed { f.conj().store(to) } else { f.store(to) }
}

/// The rows of one projection, lane by slice, as packed pairs, zero beyond the last column and in unused lanes.
#[inline(always)]
fn load_rows<V: F32x16>(sinograms: &Sinograms, angle: usize, field: &Field, packed: &mut [ComplexLane]) {
    let mut block = [Lane::ZERO; LANES];
    let held = field.columns.div_ceil(LANES) * LANES;
    for first in (0..held).step_by(LANES) {
        for lane in 0..sinograms.slices {
            let start = angle * sinograms.angle_stride + lane * sinograms.slice_stride;
            field.copy(&sinograms.data[start..start + field.measured], first, &mut block[lane].0);
        }
        for lane in sinograms.slices..LANES {
            block[lane] = Lane::ZERO;
        }
        V::transpose(&mut block);
        // The last pairs may lie beyond the padded length; they are zero.
        for (pair, cell) in block.chunks_exact(2).zip(packed.iter_mut().skip(first / 2)) {
            (cell.re, cell.im) = (pair[0], pair[1]);
        }
    }
    if held / 2 < packed.len() {
        packed[held / 2..].fill(ComplexLane::ZERO);
    }
}

/// Second stage, one strip of grid columns: gridding, then the transform along v, image rows only.
struct StripKernel<'a> {
    engine: &'a Engine,
    strip: usize,
    spectra: &'a [ComplexLane],
    correction: &'a [f32],
    grid: &'a mut [ComplexLane],
    columns: &'a mut [ComplexLane],
}

impl Kernel for StripKernel<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let engine = self.engine;
        let (m, stride, row_stride) = (engine.grid(), engine.column_stride(), engine.row_stride());
        let grid = &mut self.grid[..self.columns.len() / row_stride * stride];
        V::call(GatherKernel { engine, strip: self.strip, spectra: self.spectra, grid: &mut *grid });
        let places = engine.grid_columns.positions();
        let n = engine.field.image;
        let (axis_row, _) = axis_pixel(n);
        for (column, rows) in grid.chunks_exact_mut(stride).zip(self.columns.chunks_exact_mut(row_stride)) {
            let column = unwrap_column::<V>(column, m);
            engine.grid_columns.run_scrambled::<V>(column);
            for r in 0..n {
                // Y = axis_row − r, modulo M.
                let y = if r <= axis_row { axis_row - r } else { m + axis_row - r };
                let d = V::splat(self.correction[r]);
                let value = Complex::<V>::load(&column[places[y] as usize]);
                Complex { re: value.re.mul(d), im: value.im.mul(d) }.store(&mut rows[r]);
            }
        }
    }
}

/// Adds all samples that touch a strip into its columns, `grid`.
struct GatherKernel<'a> {
    engine: &'a Engine,
    strip: usize,
    spectra: &'a [ComplexLane],
    grid: &'a mut [ComplexLane],
}

impl Kernel for GatherKernel<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let GatherKernel { engine, spectra, grid, .. } = self;
        let (m, stride) = (engine.grid(), engine.column_stride());
        let held = grid.len() / stride;
        grid.fill(ComplexLane::ZERO);
        let mut strip = Strip { first: (self.strip * STRIP) as i32, held: held as i32, stride, m: m as i32, grid };
        let runs = &engine.samples.runs[self.strip];
        for (i, run) in runs.iter().enumerate() {
            // A run is a few kilobytes at a new place for every angle: too short for the hardware to notice.
            if let Some(ahead) = runs.get(i + RUNS_AHEAD) {
                let row = ahead.angle as usize * engine.samples.used.len();
                let at = |k: u32| row + k as usize - engine.samples.used.start;
                V::prefetch(&spectra[at(ahead.samples.start)..at(ahead.samples.end)]);
                let (first, weights) = engine.samples.stored(ahead);
                V::prefetch(first);
                V::prefetch(weights);
            }
            match engine.samples.width[run.angle as usize] {
                4 => V::call(AddRun::<4> { strip: &mut strip, samples: &engine.samples, run, spectra }),
                5 => V::call(AddRun::<5> { strip: &mut strip, samples: &engine.samples, run, spectra }),
                6 => V::call(AddRun::<6> { strip: &mut strip, samples: &engine.samples, run, spectra }),
                7 => V::call(AddRun::<7> { strip: &mut strip, samples: &engine.samples, run, spectra }),
                _ => V::call(AddRun::<8> { strip: &mut strip, samples: &engine.samples, run, spectra }),
            }
        }
    }
}

/// The M cells of a column, after what wraps around has been added to its begin.
#[inline(always)]
fn unwrap_column<V: F32x16>(column: &mut [ComplexLane], m: usize) -> &mut [ComplexLane] {
    let (column, wrapped) = column.split_at_mut(m);
    for (cell, extra) in column.iter_mut().zip(wrapped) {
        Complex::<V>::load(cell).add(Complex::load(extra)).store(cell);
    }
    column
}

/// Columns `first .. first + held` of the half plane, each `m` rows and [`WRAP_ROWS`] that wrap around.
struct Strip<'a> {
    first: i32,
    held: i32,
    stride: usize,
    m: i32,
    grid: &'a mut [ComplexLane],
}

/// Adds one run to a strip. A kernel of its own, called and not inlined: one width at a time gets all registers.
struct AddRun<'a, 'b, const W: usize> {
    strip: &'a mut Strip<'b>,
    samples: &'a Samples,
    run: &'a Run,
    spectra: &'a [ComplexLane],
}

impl<const W: usize> Kernel for AddRun<'_, '_, W> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        self.strip.add::<V, W>(self.samples, self.run, self.spectra);
    }
}

impl Strip<'_> {
    #[inline(always)]
    fn add<V: F32x16, const W: usize>(&mut self, samples: &Samples, run: &Run, spectra: &[ComplexLane]) {
        let angle = run.angle as usize;
        let row = &spectra[angle * samples.used.len()..(angle + 1) * samples.used.len()];
        let range = run.samples.start as usize..run.samples.end as usize;
        match run.image {
            Image::Direct => {
                for k in range {
                    let [u, v] = samples.first(angle, k);
                    let (a, b) = samples.weights::<W>(angle, k);
                    let start = if v < 0 { v + self.m } else { v } as usize;
                    let from = (self.first - u).max(0) as usize;
                    let to = ((self.first + self.held - u).max(0) as usize).min(W);
                    let f = Complex::<V>::load(&row[k - samples.used.start]);
                    for i in from..to {
                        let column = (u + i as i32 - self.first) as usize;
                        self.add_column::<V, W>(column * self.stride + start, f, a[i], b);
                    }
                }
            }
            Image::Mirrored | Image::Wrapped => {
                let turn = if run.image == Image::Wrapped { self.m } else { 0 };
                for k in range {
                    let [u, v] = samples.first(angle, k);
                    let (a, b) = samples.weights::<W>(angle, k);
                    let mut reversed = *b;
                    reversed.reverse();
                    let last = -(v + W as i32 - 1);
                    let start = if last < 0 { last + self.m } else { last } as usize;
                    let f = Complex::<V>::load(&row[k - samples.used.start]).conj();
                    for i in 0..W {
                        let column = turn - (u + i as i32) - self.first;
                        if (0..self.held).contains(&column) {
                            self.add_column::<V, W>(column as usize * self.stride + start, f, a[i], &reversed);
                        }
                    }
                }
            }
        }
    }

    /// W cells of one column: `cell_j += (f·a)·b_j`, fused.
    #[inline(always)]
    fn add_column<V: F32x16, const W: usize>(&mut self, at: usize, f: Complex<V>, a: f32, b: &[f32; W]) {
        let a = V::splat(a);
        let (re, im) = (f.re.mul(a), f.im.mul(a));
        for (cell, &b) in self.grid[at..at + W].iter_mut().zip(b) {
            let b = V::splat(b);
            re.mul_add(b, V::load(&cell.re)).store(&mut cell.re);
            im.mul_add(b, V::load(&cell.im)).store(&mut cell.im);
        }
    }
}

/// Third stage, up to [`ROWS`] rows of the images.
struct RowKernel<'a, 'b> {
    engine: &'a Engine,
    first: usize,
    half_plane: &'a [ComplexLane],
    correction: &'a [f32],
    packed: &'a mut [ComplexLane],
    rows: &'a mut [&'b mut [f32]],
}

impl Kernel for RowKernel<'_, '_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        let engine = self.engine;
        let (n, m, row_stride) = (engine.field.image, engine.grid(), engine.row_stride());
        let h = m / 2;
        let held = ROWS.min(n - self.first);
        let slices = self.rows.len() / held;
        let (_, axis_column) = axis_pixel(n);
        for k in 0..=h / 2 {
            let low = &self.half_plane[k * row_stride + self.first..][..held];
            let high = &self.half_plane[(h - k) * row_stride + self.first..][..held];
            for r in 0..held {
                let z = &mut self.packed[r * h..(r + 1) * h];
                engine.grid_rows.pack_pair::<V>(z, k, Complex::load(&low[r]), Complex::load(&high[r]));
            }
        }
        for r in 0..held {
            let z = &mut self.packed[r * h..(r + 1) * h];
            engine.grid_rows.inverse_packed::<V>(z);
            let mut block = [Lane::ZERO; LANES];
            for first in (0..n).step_by(LANES) {
                let width = LANES.min(n - first);
                for c in 0..width {
                    // X = column − axis, modulo M; pairs are (even, odd).
                    let column = first + c;
                    let x = if column >= axis_column { column - axis_column } else { m + column - axis_column };
                    let pair = &z[engine.grid_rows.pair_position(x / 2)];
                    let value = V::load(if x % 2 == 0 { &pair.re } else { &pair.im });
                    value.mul(V::splat(self.correction[column])).store(&mut block[c]);
                }
                V::transpose(&mut block);
                for (lane, row) in self.rows[r * slices..(r + 1) * slices].iter_mut().enumerate() {
                    row[first..first + width].copy_from_slice(&block[lane].0[..width]);
                }
            }
        }
    }
}
