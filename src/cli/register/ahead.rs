//! What `register` will read and write, from the shapes of its volumes alone.
//!
//! ```text
//! of every moving volume M   reads F, M for digests; F, M for its blocks (`body::voxels_read`), of each body; a slice of F and
//!                            a few of M, twice, for its checkerboard; M for a digest, and M again for the grid
//! of the fixed one F         reads F for a digest, F for the grid
//! of all                     writes the grid in f32, and its mask in u8
//! ```
//!
//! How the volumes lie is not known before: they are taken to lie where the fixed one does. What all of them see, which is the
//! grid unless --crop says otherwise, is then all of it: what is written is as much at most. Tables and pictures are small
//! beside volumes, and not counted.

use super::{how, kept};
use crate::cli::options::Settings as Options;
use crate::cli::resample;
use crate::error::Result;
use crate::register::Rigid;
use crate::register::body::voxels_read;
use crate::register::interpolate::Interpolation;
use crate::register::orient::CELL;
use crate::register::resample::{Grid, Plan};
use crate::volume::{Dims, Dtype};

/// Bytes read and written, and the grid, of volumes of f32.
///
/// # Errors
/// What the options are wrong in; too little memory.
pub fn cost(options: &Options, fixed: Dims, moving: &[Dims]) -> Result<([u64; 2], Dims)> {
    let (bodies, settings) = how(options, fixed)?;
    let grid = match kept(options.text("crop")?.unwrap_or("common"), fixed)? {
        None => Grid::whole(fixed),
        Some(kept) => Grid::whole(fixed).within(&kept)?,
    };
    let motion = Rigid::identity([0.0; 3]);
    let plan = Plan {
        motion,
        grid,
        how: options.parsed("interpolation", Interpolation::parse)?,
        memory: resample::memory(options)?,
    };
    let middle = Grid { first: [0, 0, fixed.nz / 2], dims: Dims { nz: 1, ..fixed } };
    let board = Plan { grid: middle, how: Interpolation::Linear, memory: u64::MAX / 4, ..plan };
    let blocks = |pair: [Dims; 2]| -> Result<f64> {
        bodies.iter().map(|(named, cut)| voxels_read(pair, &named.region, *cut, &settings)).sum()
    };
    let closes = options.is_on("closure")?;
    let levels = options.text("orient")?.is_some();
    let own = Plan { how: if levels { plan.how } else { Interpolation::Nearest }, ..plan };
    let mut voxels = (fixed.voxels() + own.slices_read(fixed)? * fixed.slice()) as f64;
    for (k, &m) in moving.iter().enumerate() {
        let slices = 2 * board.slices_read(m)? + plan.slices_read(m)?;
        voxels += (fixed.voxels() + fixed.slice() + 2 * m.voxels() + slices * m.slice()) as f64 + blocks([fixed, m])?;
        if closes && k > 0 {
            voxels += blocks([moving[k - 1], m])?;
        }
    }
    if options.text("orient")? == Some("auto") {
        let depths = bodies.iter().map(|(named, _)| named.region[1].len()).sum::<usize>();
        voxels += (fixed.nz / CELL * CELL * depths * fixed.nx + fixed.voxels()) as f64;
    }
    let size = Dtype::F32.size() + Dtype::U8.size();
    Ok(([4 * voxels as u64, ((moving.len() + 1) * grid.dims.voxels() * size) as u64], grid.dims))
}
