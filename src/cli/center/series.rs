//! One axis for all scans of a series.
//!
//! What a scan by itself tells is a tenth of a pixel off, more where little is in view, and an axis e pixels off shows the
//! sample about 1.3 e voxels aside: as much as a segment of current moves a face. The stage's axis is one, so the median
//! of what the scans tell is better than each.
//!
//! ```text
//! c = median c_k          outlier: |c_k − c| > max(0.25 pixel, 4.5 median |c_k − c|)
//! ```

use crate::cli::axis::find;
use crate::cli::config::Config;
use crate::cli::options::Settings;
use crate::cli::prepare::PrepareArgs;
use crate::cli::scan::ScanArgs;
use crate::cli::values::Center;
use crate::cli::{COMMANDS, Context, GLOBAL, recon};
use crate::error::{Error, Fault, Result};
use crate::json::Json;
use crate::num::sum::median;
use std::path::{Path, PathBuf};

/// Options of a scan's configuration that name files beside it.
const FILES: [&str; 6] = ["scan", "flats", "flats-after", "darks", "theta", "filter-file"];
/// Pixels that scans may differ by.
const NEAR: f64 = 0.25;
/// Medians of the distances beyond which an axis is an outlier: three deviations of a normal one.
const FAR: f64 = 4.5;

/// The settings for one of the scans: with those of its configuration, if that is what is named.
pub fn settings_of(settings: &Settings, path: &Path) -> Result<Settings> {
    if path.extension().is_none_or(|e| e != "toml") {
        return Ok(settings.of_field(path.as_os_str(), 0, 1, &[]));
    }
    let config = Config::read(path, GLOBAL, COMMANDS, &recon::COMMAND)?;
    if !config.entries.contains_key("scan") {
        return Err(Error::usage("names no scan").help("write  scan = \"FILE\"  into its [recon]").at(path));
    }
    Ok(settings.of_scan(&config, &FILES))
}

/// What one scan tells: the axis on the stored detector, and the detector's columns and bins that were used.
fn axis(context: &Context, settings: &Settings) -> Result<(f64, (usize, usize))> {
    let path = settings.required_path("scan")?;
    let how =
        ScanArgs { prepare: PrepareArgs::from_settings(settings)?, ..ScanArgs::from_settings(settings, "gridrec")? };
    if matches!(how.center, Center::Pixel(_) | Center::File(_)) {
        return Err(Error::usage("the axis is given, and there is none to find")
            .help("leave --center out, or name a method: auto, vo, tilt, correlation, entropy"));
    }
    let scan = how.open(&path, None, context)?;
    let (axis, found) =
        find(context, &how, &scan).map_err(|e| if e.fault() == Fault::Data { e.at(&path) } else { e })?;
    let dims = scan.scan.projections.dims();
    // Vo's method steps by a quarter of a pixel, and knows more.
    let axis = found.get("refined").and_then(Json::as_f64).unwrap_or(axis.at(dims.ny / 2));
    Ok((scan.prepared.stored_axis(axis, how.prepare.bin), (dims.nx * how.prepare.bin, scan.prepared.columns.start)))
}

/// Prints the axis of each scan, and that of all.
pub fn run(context: &Context, paths: &[PathBuf]) -> Result<()> {
    let settings = &context.settings;
    for name in ["sheet", "sheet-range", "row"] {
        if settings.is_given(name)? {
            return Err(Error::usage(format!("--{name} is for one scan")).help("leave it out, or name one scan"));
        }
    }
    let (mut found, mut detector) = (Vec::new(), None);
    for path in paths {
        let own = settings_of(settings, path)?;
        match axis(context, &own) {
            Ok((axis, seen)) if seen == *detector.get_or_insert(seen) => found.push((path, axis)),
            Ok((_, (columns, first))) => {
                let (all, from) = detector.unwrap_or_default();
                return Err(Error::data(format!(
                    "has {columns} columns from {first} on, and the scans before it have {all} from {from} on"
                ))
                .help("scans of one detector window have an axis in common, others have none")
                .at(path));
            }
            Err(e) if e.fault() == Fault::Data => {
                context.talk.warn(format!("{} tells no axis: {}", path.display(), e.what()));
            }
            Err(e) => return Err(e),
        }
    }
    if 2 * found.len() <= paths.len() {
        return Err(Error::data(format!("{} of {} scans tell an axis", found.len(), paths.len())).help(
            "give it with --center PIXELS; `tomolith center SCAN --sheet FILE.png` shows slices to choose from",
        ));
    }
    let common = median(found.iter().map(|f| f.1).collect());
    let spread = median(found.iter().map(|f| (f.1 - common).abs()).collect());
    let is_far = |axis: f64| (axis - common).abs() > NEAR.max(FAR * spread);
    for (path, axis) in &found {
        let far = if is_far(*axis) { "  outlier" } else { "" };
        context.out.line(format!("{}  {axis:.3}  {:+.3}{far}", path.display(), axis - common))?;
    }
    let far = found.iter().filter(|f| is_far(f.1)).count();
    if spread > NEAR {
        return Err(Error::data(format!(
            "half of the scans are {spread:.2} pixel and more from {common:.3}: the method does not tell their axes, or they \
             have none in common"
        ))
        .help("try another --center METHOD; `tomolith center SCAN --sheet FILE.png` shows slices to choose from"));
    }
    context.out.line(format!("common  {common:.3}  median distance {spread:.3}, {far} of {} far off", found.len()))?;
    context.talk.note(format!("reconstruct all of them with --center {common:.3}"));
    Ok(())
}
