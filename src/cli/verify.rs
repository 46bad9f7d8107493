//! `tomolith verify`: are the bytes what the manifest says they were?

use crate::cli::analyze::folder::verify as analysis;
use crate::cli::open::is_native;
use crate::cli::options::{Opt, Takes};
use crate::cli::output::{bytes_for_people, printable};
use crate::cli::{Command, Context};
use crate::error::{Error, Fault, Result};
use crate::os::check_interrupt;
use crate::pipeline::record::RECORD;
use crate::volume::reader::{Reader, base_of, with_suffix};
use crate::volume::verify::{VerifyReport, examine};
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["verify"],
    about: "Check that volumes are complete and unchanged since they were written",
    details: "Checks headers, lengths, and the SHA-256 of every slab against the manifest NAME.json, and names the \
              first slab that differs. A folder stands for all volumes in it, or for the analysis that it holds; the folder of a \
              run (`run`) for every file that a step made, which is compared with the run's record, too. What bytes cannot show, that they can be made again, `run CELL.toml --again N` \
              does: N steps once more, of scans a few slices that are drawn, or the whole run. One line per volume, with \
              its digest; \
              exit code 0 when all are intact, 3 when bytes differ, otherwise that of the first error.",
    examples: "  tomolith verify out/tooth.mhd\n  tomolith verify out",
    groups: &[("", &[Opt::new("file", Takes::Arguments("FILE|DIR"), "Volumes, or folders of volumes")])],
    run,
};

fn run(context: &Context) -> Result<()> {
    let mut errors: Vec<Error> = Vec::new();
    for path in context.settings.required_paths("file")? {
        if path.join(RECORD).is_file() {
            errors.extend(verify_run(context, &path)?);
            continue;
        }
        if let Some(checked) = analysis(&path) {
            match checked {
                Ok(line) => context.out.line(format!("ok    {}", printable(&line)))?,
                Err(e) => {
                    let place = e.path().unwrap_or(&path).to_string_lossy().into_owned();
                    context.out.line(format!("FAIL  {}  {}", printable(&place), printable(e.what())))?;
                    errors.push(e);
                }
            }
            continue;
        }
        let report = match examine_or_explain(&path, context) {
            Ok(report) => report,
            Err(e) if e.fault() == Fault::Again => return Err(e),
            Err(e) => VerifyReport { failures: vec![e.at(&path)], ..VerifyReport::default() },
        };
        for note in &report.notes {
            context.talk.note(format!("{}: {note}", path.display()));
        }
        for volume in &report.volumes {
            context.out.line(format!(
                "ok    {}  {} slabs, {}, {}",
                printable(&volume.manifest.to_string_lossy()),
                volume.slabs,
                bytes_for_people(volume.bytes),
                volume.digest.hex()
            ))?;
        }
        for failure in &report.failures {
            let place = failure.path().unwrap_or(&path).to_string_lossy();
            context.out.line(format!("FAIL  {}  {}", printable(&place), printable(failure.what())))?;
        }
        errors.extend(report.failures);
    }
    // One error is itself; of several, a difference outweighs the rest, and all stand in the lines above.
    let count = errors.len();
    let worst = errors.iter().position(|e| e.fault() == Fault::Mismatch).unwrap_or(0);
    match errors.into_iter().nth(worst) {
        None => Ok(()),
        Some(e) => {
            if count > 1 {
                context.talk.warn(format!("{count} faults in all; the first that matters:"));
            }
            Err(e)
        }
    }
}

/// Every file of a run beside its record, which is sealed.
fn verify_run(context: &Context, folder: &Path) -> Result<Vec<Error>> {
    let record = crate::cli::run::record_of(folder)?;
    let mut errors = Vec::new();
    for (step, done) in &record.steps {
        for (file, recorded) in &done.made {
            check_interrupt()?;
            let path = folder.join(file);
            // Voxels first: the digest in a manifest is only what it says.
            let voxels = if file.ends_with(".mhd") { examine(&path).and_then(|r| r.check()) } else { Ok(()) };
            let found = voxels.and_then(|()| crate::cli::run::digest_of_made(context, &path));
            let outcome = match found {
                Ok(digest) if digest == *recorded => Ok(()),
                Ok(_) => Err(Error::mismatch("is not what the run's record says").at(&path)),
                Err(e) => Err(e.at(&path)),
            };
            let name = printable(file);
            match outcome {
                Ok(()) => context.out.line(format!("ok    {name}  {step}, {recorded}"))?,
                Err(e) => {
                    context.out.line(format!("FAIL  {name}  {step}: {}", printable(e.what())))?;
                    errors.push(e);
                }
            }
        }
    }
    Ok(errors)
}

/// A volume without manifest cannot be verified; if it is not even a sound volume, that is the better answer.
fn examine_or_explain(path: &Path, context: &Context) -> Result<VerifyReport> {
    let unfinished = with_suffix(&base_of(path), ".raw.part");
    examine(path).map_err(|e| match e.fault() {
        Fault::Missing if unfinished.exists() => Error::again("is unfinished: a run was interrupted or is at work")
            .help("wait for it, or run the command that wrote it again")
            .at(&unfinished),
        Fault::Missing if is_native(path) => Reader::open(path, context.io).err().unwrap_or(e),
        _ => e,
    })
}
