//! What a series holds of memory at its peak, reckoned before anything is written. No bit depends on it.
//!
//! V voxels and S of a slice of the box, C = nx nz its columns along y, T threads; N columns of the detector, of the
//! fine picture P = rows · columns, q quantities (µ, with refraction δ):
//!
//! ```text
//! cell           256 C                      maps of 1 to 4 bytes: ~30 that stay, as many while one is made, those of a step
//! slabs          16 · 7 S                   voxels, numbers and labels of sixteen slices; two slabs of the writer beside
//! specimen       2 V + V/8                  in every mode but `labels`, which is streamed
//! volume         64 nx (ny + 12 blur) + 28 M                 rows of sixteen slices; noise, M ≈ S · 1.1
//! radiographs    2 · g · 64 (2N)²           cells of g = 2 or 4 grids of sixteen fine rows, and their padded copies
//!                4 q P + 272 · 2N           one projection's line integrals; more of them in what is left
//!                T (waves + 12 P + 8 rows N)                 pictures in work, see `Waves::bytes`; rows of all fields of view
//!                and the writers' two slabs for each field
//! ```
//!
//! Where there is room for 2 V, 256 C and a writer more, the next step is made while one is scanned ([`step`]).

use super::cell::{CellArgs, Mode, Run};
use super::folder::Output;
use super::radiographs;
use crate::cli::output::bytes_for_people;
use crate::error::{Error, Result};
use crate::os;
use crate::volume::slabs::Layout;

/// Bytes of the program itself.
const BASE: u64 = 24 << 20;
/// Bytes that a column of the cell takes.
const COLUMN: u64 = 256;

/// Bytes at the peak.
///
/// # Errors
/// Those of free space.
pub fn peak(run: &Run, outputs: &[Output], threads: usize) -> Result<u64> {
    let CellArgs { cell, mode, scan, steps, .. } = run.args;
    let [nx, ny, nz] = cell.preset.size.map(|n| n as u64);
    let slice = nx * ny;
    let writers = writer(outputs);
    let common = BASE + COLUMN * nx * nz + 16.min(nz) * 7 * slice + writers;
    let specimen = 2 * slice * nz + (slice * nz).div_ceil(8);
    Ok(match mode {
        Mode::Labels => common,
        Mode::Volume => {
            let rows = 64 * nx * (ny + (12.0 * scan.grey.blur).ceil() as u64);
            common + specimen + rows + 31 * slice
        }
        Mode::Radiographs | Mode::Phase => {
            let [fixed, one] = radiographs::bytes(run, steps[0], threads)?;
            common + specimen + fixed + one + (scan.taking.fields as u64 - 1) * writers
        }
    })
}

/// Bytes of a step that is made while another one is scanned.
pub fn step(run: &Run, outputs: &[Output]) -> u64 {
    let [nx, ny, nz] = run.args.cell.preset.size.map(|n| n as u64);
    let specimen = if run.args.mode == Mode::Labels { 0 } else { 2 * nx * ny * nz };
    specimen + COLUMN * nx * nz + 16.min(nz) * 7 * nx * ny + writer(outputs)
}

/// Bytes of the slabs of the largest output's writer.
fn writer(outputs: &[Output]) -> u64 {
    let of = |o: &Output| {
        let layout = Layout::new(o.dims, o.dtype);
        layout.length(0) * 2u64.min(layout.slabs() as u64)
    };
    outputs.iter().map(of).max().unwrap_or(0)
}

/// Refuses what does not fit.
///
/// # Errors
/// Usage: `need` bytes are not free.
pub fn check(what: &str, need: u64) -> Result<()> {
    let free = os::free_memory();
    if need <= free {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{what} needs {} of memory at its peak, and {} is free",
        bytes_for_people(need),
        bytes_for_people(free)
    ))
    .help("make something smaller: a smaller preset, fewer columns, rows or projections, or --mode labels"))
}
