//! What `register` will read and write, from the shapes of its volumes alone.
//!
//! ```text
//! of every moving volume M   reads F, M for digests; F, M for its blocks (`body::voxels_read`), of each body; M for a digest, and
//!                            M again for the grid
//! of the fixed one F         reads F for a digest, F for the grid; to level it its bodies, and F for a digest
//! of all                     writes the grid in f32, and its mask in u8
//! ```
//!
//! How the volumes lie is not known before: they are taken to lie where the fixed one does. What all of them see, which is the
//! grid unless --crop says otherwise, is then all of it: what is written is as much at most. Tables, pictures, the few slices
//! of a checkerboard, and those that two slabs of the grid look into are small beside volumes, and not counted.

use super::{how, kept};
use crate::cli::options::Settings as Options;
use crate::error::Result;
use crate::register::body::voxels_read;
use crate::register::resample::Grid;
use crate::volume::{Dims, Dtype};

/// Bytes read and written, and the grid, of volumes of f32.
///
/// # Errors
/// What the options are wrong in.
pub fn cost(options: &Options, fixed: Dims, moving: &[Dims]) -> Result<([u64; 2], Dims)> {
    let (bodies, settings) = how(options, fixed)?;
    let kept = kept(options.text("crop")?.unwrap_or("common"), fixed)?;
    let grid = kept.map_or(Ok(Grid::whole(fixed)), |kept| Grid::whole(fixed).within(&kept))?.dims;
    let blocks = |pair: [Dims; 2]| -> Result<f64> {
        bodies.iter().map(|(named, cut)| voxels_read(pair, &named.region, *cut, &settings)).sum()
    };
    let mut voxels = (fixed.voxels() + grid.nz * fixed.slice()) as f64;
    for (k, &m) in moving.iter().enumerate() {
        let whole = fixed.voxels() + 2 * m.voxels() + grid.nz.min(m.nz) * m.slice();
        voxels += whole as f64 + blocks([fixed, m])?;
        if k > 0 && options.is_on("closure")? {
            voxels += blocks([moving[k - 1], m])?;
        }
    }
    if options.text("orient")? == Some("auto") {
        let depths = bodies.iter().map(|(named, _)| named.region[1].len()).sum::<usize>();
        voxels += (fixed.nz * depths * fixed.nx + fixed.voxels()) as f64;
    }
    let size = Dtype::F32.size() + Dtype::U8.size();
    Ok(([4 * voxels as u64, ((moving.len() + 1) * grid.voxels() * size) as u64], grid))
}
