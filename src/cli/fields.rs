//! `recon --fields`: fields of view above one another. Each is reconstructed about its own axis, then all are joined by the
//! code of `stitch vertical`; but where the phase is retrieved, their transmissions are joined before, and reconstructed as one:
//! retrieval mixes rows, and spoils those at the ends of a field.
//!
//! Field k is the output `NAME.field<k>` until the whole is there, or, of transmissions, `NAME.field<k>.sinograms`, and all together
//! `NAME.joined`. What an interrupted run left of them is taken up.

pub mod transmissions;

use crate::cli::options::Settings;
use crate::cli::prepare::Padding;
use crate::cli::recon::{ReconArgs, Role};
use crate::cli::reconstruct::is_wide;
use crate::cli::scan::OpenScan;
use crate::cli::{Context, passes, reconstruct, stitch};
use crate::error::{Error, Fault, Result};
use crate::recon::stitch::LEAST;
use crate::recon::truncation::Edges;
use crate::volume::reader::with_suffix;
use std::ffi::{OsStr, OsString};

/// Rows at both ends of an overlap together that the retrieval of phase spoils, decay lengths, beside
/// the [`LEAST`] that there must be. The synthetic cell, a decay length of 10.7 rows: of 14 shared rows fields came to lie up to 3.4 off, of 32
/// up to 0.9, with gains of 0.85 to 1.18 where it is 1.
const SPOILED: f64 = 4.0;
/// Options that may have a value for each field.
const LISTED: [&str; 5] = ["center", "theta", "flats", "darks", "flats-after"];

/// The option `scan` and the scans `above` it.
pub fn scans(context: &Context, above: &str) -> Result<Vec<OsString>> {
    let mut scans = vec![context.settings.required_path("scan")?.into_os_string()];
    scans.extend(above.split(',').map(OsString::from));
    Ok(scans)
}

/// The options of field k of `count`.
pub fn settings(context: &Context, scan: &OsStr, k: usize, count: usize) -> Settings {
    context.settings.of_field(scan, k, count, &LISTED)
}

/// Reconstructs the option `scan` and the scans `above` it, and joins them.
pub fn run(context: &Context, above: &str) -> Result<()> {
    let settings = &context.settings;
    let (base, overwrite) = stitch::output(context)?;
    let scans = scans(context, above)?;
    let count = scans.len();
    // What can be wrong with any of them shows before hours of work on the first.
    let mut fields = Vec::new();
    for (k, scan) in scans.iter().enumerate() {
        let own = self::settings(context, scan, k, count);
        let output = with_suffix(&base, &format!(".field{k}"));
        // They are compared whole.
        let args = ReconArgs { role: Role::Part, crop: None, ..ReconArgs::of(&own, output)? };
        let scan = args.how.open(&args.scan, args.rows, context)?;
        fields.push((args, scan));
    }
    let (offsets, search) = stitch::nominal(settings, count, fields[0].1.pixel.map(|p| [p; 3]))?;
    for ((args, scan), offset) in fields.iter().zip(&offsets) {
        let (shared, least) = (scan.rows.len() as f64 - offset, LEAST as f64);
        if shared < least {
            return Err(Error::data(format!("shares {shared:.0} rows with the field above it; {least} are needed"))
                .help("check the offset of the fields: it is counted in rows")
                .at(&args.scan));
        }
    }
    let width = fields[0].1.scan.projections.dims().nx;
    if let Some((args, scan)) = fields.iter().find(|(_, scan)| scan.scan.projections.dims().nx != width) {
        let have = scan.scan.projections.dims().nx;
        return Err(Error::data(format!("has {have} columns, the first field has {width}"))
            .help("fields of one sample come from one detector window")
            .at(&args.scan));
    }
    let whole = ReconArgs::of(settings, base.clone())?;
    if fields.iter().all(|(args, _)| !args.how.prepare.half_acquisition) {
        whole.cropped(width)?;
    }
    match transmissions::apart(&fields) {
        None => return transmissions::run(context, &base, fields, &offsets, search),
        Some(why) => spoiled(context, &fields, &offsets, why),
    }
    // One sample is wider than the detector in all fields or in none: absolute values and relative ones would not fit.
    let automatic = |args: &ReconArgs| args.how.prepare.padding == Padding::Auto && !args.how.prepare.half_acquisition;
    let mut wide = false;
    for (args, scan) in fields.iter().filter(|(args, _)| automatic(args)) {
        wide = wide
            || is_wide(context, &args.how, scan, Edges::Both).map_err(|e| match e.fault() {
                Fault::Data => e.at(&args.scan),
                _ => e,
            })?;
    }
    for (args, _) in fields.iter_mut().filter(|(args, _)| wide && automatic(args)) {
        args.how.prepare.padding = Padding::Wide;
    }
    let mut bases = Vec::new();
    for (k, (args, scan)) in fields.into_iter().enumerate() {
        context.talk.note(format!("field {k} of {count}: {}", args.scan.display()));
        reconstruct::run(context, &args, scan)?;
        bases.push(args.output);
    }
    let volumes: Vec<_> = bases.iter().map(|base| with_suffix(base, ".mhd")).collect();
    stitch::join(context, &base, overwrite, &volumes, Some(&whole))?;
    if !settings.is_on("keep-intermediate")? {
        passes::remove(&bases);
    }
    Ok(())
}

/// Where the overlap is little more than what the retrieval does not know at the ends, fields are not alike there.
fn spoiled(context: &Context, fields: &[(ReconArgs, OpenScan)], offsets: &[f64], why: &str) {
    for (k, ((_, scan), offset)) in fields.iter().zip(offsets).enumerate() {
        let Some(paganin) = &scan.prepared.steps.phase else { continue };
        if k == 0 {
            context.talk.note(format!("not transmissions are joined but slices: {why}"));
        }
        let (shared, ends) = (scan.rows.len() as f64 - offset, SPOILED * paganin.decay());
        if shared < ends + LEAST as f64 {
            context.talk.warn(format!(
                "fields {k} and {} share {shared:.0} rows, of which phase retrieval spoils {ends:.0}: {:.0} and more are needed, \
                 otherwise the second may come to lie some rows off, with another gain, whatever its error says",
                k + 1,
                ends + LEAST as f64
            ));
        }
    }
}
