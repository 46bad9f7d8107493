//! What the manifests of reconstructions say that would be taken for a motion: axes that differ.
//!
//! A scan over half a turn that is reconstructed e pixels beside its axis shows the sample about 1.3 e voxels aside: as if it
//! had moved. So volumes of one run should have one axis, which `center` finds from all of their scans.

use crate::cli::Context;
use crate::json::Json;
use crate::volume::reader::Reader;
use std::path::{Path, PathBuf};

/// Axes farther apart than this are told, pixels: 0.07 voxel.
const APART: f64 = 0.05;
/// Voxels that the sample is shown aside for a pixel of the axis.
const ASIDE: f64 = 1.3;

/// The axis on the stored detector; `None` where the manifest, or the volume, is not that of a reconstruction.
fn axis(context: &Context, path: &Path) -> Option<f64> {
    let reader = Reader::open(path, context.io).ok()?;
    let manifest = reader.manifest()?;
    if manifest.get("stage")?.as_str()? != "recon" {
        return None;
    }
    let params = manifest.get("params")?;
    let axis = match params.get("axis_pixel")? {
        // One per row: their mean.
        Json::Arr(rows) if !rows.is_empty() => {
            let rows: Vec<f64> = rows.iter().map(Json::as_f64).collect::<Option<_>>()?;
            rows.iter().fold(0.0, |sum, v| sum + v) / rows.len() as f64
        }
        one => one.as_f64()?,
    };
    let bin = params.get("bin")?.as_f64()?;
    let first = params.get("columns")?.as_arr()?.first()?.as_f64()?;
    Some(axis * bin + (bin - 1.0) / 2.0 + first)
}

/// Warns of axes that differ: those of the volumes and of what they are registered to.
pub fn check(context: &Context, fixed: &Path, moving: &[PathBuf]) {
    let Some(own) = axis(context, fixed) else { return };
    let mut far = 0;
    for path in moving {
        let Some(other) = axis(context, path) else { continue };
        let off = other - own;
        if off.abs() > APART {
            far += 1;
            context.talk.warn(format!(
                "{} is reconstructed about the axis {other:.3}, the fixed volume about {own:.3}: {off:+.3} pixel, which shows \
                 the sample about {:.2} voxels aside and is found as its motion",
                path.display(),
                ASIDE * off.abs()
            ));
        }
    }
    if far > 0 {
        context.talk.warn(format!(
            "{far} of {} volumes have an axis of their own: if the stage stayed, `tomolith center SCAN SCAN ..` finds one for \
             all, and `recon --center` takes it",
            moving.len()
        ));
    }
}
