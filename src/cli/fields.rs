//! `recon --fields`: fields of view above one another, each reconstructed about its own axis, then joined by the code of
//! `stitch vertical`.
//!
//! Field k is the output `NAME.field<k>` until the whole is there. What an interrupted run left of them is taken up.

use crate::cli::recon::ReconArgs;
use crate::cli::{Context, passes, reconstruct, stitch};
use crate::error::{Error, Result};
use crate::volume::reader::with_suffix;
use std::ffi::OsString;

/// Options that may have a value for each field.
const LISTED: [&str; 5] = ["center", "theta", "flats", "darks", "flats-after"];

/// Reconstructs the option `scan` and the scans `above` it, and joins them.
pub fn run(context: &Context, above: &str) -> Result<()> {
    let settings = &context.settings;
    let (base, overwrite) = stitch::output(context)?;
    let mut scans = vec![settings.required_path("scan")?.into_os_string()];
    scans.extend(above.split(',').map(OsString::from));
    let count = scans.len();
    // What can be wrong with any of them shows before hours of work on the first.
    let mut fields = Vec::new();
    for (k, scan) in scans.iter().enumerate() {
        let own = settings.of_field(scan, k, count, &LISTED);
        let output = with_suffix(&base, &format!(".field{k}"));
        let args = ReconArgs { is_part: true, ..ReconArgs::of(&own, output)? };
        let scan = args.how.open(&args.scan, args.rows, context)?;
        fields.push((args, scan));
    }
    stitch::nominal(settings, count, fields[0].1.pixel.map(|p| [p; 3]))?;
    let width = fields[0].1.scan.projections.dims().nx;
    if let Some((args, scan)) = fields.iter().find(|(_, scan)| scan.scan.projections.dims().nx != width) {
        let have = scan.scan.projections.dims().nx;
        return Err(Error::data(format!("has {have} columns, the first field has {width}"))
            .help("fields of one sample come from one detector window")
            .at(&args.scan));
    }
    let mut bases = Vec::new();
    for (k, (args, scan)) in fields.into_iter().enumerate() {
        context.talk.note(format!("field {k} of {count}: {}", args.scan.display()));
        reconstruct::run(context, &args, scan)?;
        bases.push(args.output);
    }
    let volumes: Vec<_> = bases.iter().map(|base| with_suffix(base, ".mhd")).collect();
    stitch::join(context, &base, overwrite, &volumes)?;
    if !settings.is_on("keep-intermediate")? {
        passes::remove(&bases);
    }
    Ok(())
}
