//! What the manifests of reconstructions say that would be taken for a motion: axes that differ, and too few views.
//!
//! A scan over half a turn that is reconstructed e pixels beside its axis shows the sample about 1.3 e voxels aside: as if it
//! had moved. So volumes of one run should have one axis, which `center` finds from all of their scans.
//!
//! Views π/n apart leave streaks that are as strong as the sample where the arc between two views is several voxels,
//! n < (π/8) columns: a quarter of what would show every voxel of the rim. They turn with the views and not with the sample,
//! and fit better than it does: nothing in the volumes tells. So a whole volume of so few views is refused, and one of which
//! a region is named is warned of.

use crate::cli::Context;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::volume::reader::Reader;
use std::f64::consts::PI;
use std::path::{Path, PathBuf};

/// Axes farther apart than this are told, pixels: 0.07 voxel.
const APART: f64 = 0.05;
/// Voxels that the sample is shown aside for a pixel of the axis.
const ASIDE: f64 = 1.3;
/// Views are few below this part of the columns.
const FEW: f64 = PI / 8.0;

/// The axis on the stored detector, views, and columns of a reconstruction.
struct Made {
    axis: f64,
    views: f64,
    columns: f64,
}

/// `None` where the manifest, or the volume, is not that of a reconstruction.
fn made(context: &Context, path: &Path) -> Option<Made> {
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
    Some(Made {
        axis: axis * bin + (bin - 1.0) / 2.0 + first,
        views: params.get("angles")?.as_f64()?,
        columns: params.get("field")?.get("columns")?.as_f64()?,
    })
}

/// Warns of what would be taken for a motion; `is_named`: whether the user has said where to look.
///
/// # Errors
/// Data: whole volumes of too few views.
pub fn check(context: &Context, fixed: &Path, moving: &[PathBuf], is_named: bool) -> Result<()> {
    let Some(own) = made(context, fixed) else { return Ok(()) };
    let mut few = (own.views < FEW * own.columns).then(|| (fixed.to_path_buf(), own.views, own.columns));
    let mut far = 0;
    for path in moving {
        let Some(other) = made(context, path) else { continue };
        let off = other.axis - own.axis;
        if off.abs() > APART {
            far += 1;
            context.talk.warn(format!(
                "{} is reconstructed about the axis {:.3}, the fixed volume about {:.3}: {off:+.3} pixel, which shows the \
                 sample about {:.2} voxels aside and is found as its motion",
                path.display(),
                other.axis,
                own.axis,
                ASIDE * off.abs()
            ));
        }
        if other.views < FEW * other.columns {
            few.get_or_insert((path.clone(), other.views, other.columns));
        }
    }
    if far > 0 {
        context.talk.warn(format!(
            "{far} of {} volumes have an axis of their own: if the stage stayed, `tomolith center SCAN SCAN ..` finds one for \
             all, and `recon --center` takes it",
            moving.len()
        ));
    }
    let Some((path, views, columns)) = few else { return Ok(()) };
    let what = format!(
        "{views} views for {columns} columns: streaks may be stronger than the sample, and turn with the views, {:.1} degrees \
         from one to the next",
        180.0 / views
    );
    if !is_named {
        return Err(Error::data(what)
            .help("name the region around what is dense: --columns, --bodies; and look at the checkerboards that are written")
            .at(path));
    }
    context.talk.warn(format!("{}: {what}", path.display()));
    Ok(())
}
