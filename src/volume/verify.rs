//! Checks that a volume's five files are, to the last bit, what its manifest says.
//!
//! | file | proof |
//! |---|---|
//! | `NAME.json` | canonical text, sealed by its own digest; does not contradict itself |
//! | `NAME.mhd`, `NAME.nhdr` | digests of their texts in the manifest, and what they say is what it says |
//! | `NAME.raw` | exact length; SHA-256 of every slab in the manifest |
//! | `NAME.run.json` | canonical text, sealed by its own digest; names this manifest |
//!
//! Recomputing a volume from its inputs is another, stronger check, and not done here.

use super::header::{self, Header, Offset};
use super::manifest::{self, Manifest, RUN_SEAL, SEAL};
use super::reader::{base_of, check_committed, check_length, resolve, with_suffix};
use super::slabs::digest_range;
use crate::error::{Error, Fault, Result};
use crate::os;
use crate::provenance::Digest;
use rayon::prelude::*;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A volume that is what its manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The manifest.
    pub manifest: PathBuf,
    /// The volume's digest.
    pub digest: Digest,
    /// Bytes of the raw file.
    pub bytes: u64,
    /// Slabs that were hashed.
    pub slabs: usize,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Volumes that are right.
    pub volumes: Vec<Verified>,
    /// What is wrong, in the order of the files' names.
    pub failures: Vec<Error>,
    /// What was passed over, and why.
    pub notes: Vec<String>,
}

impl VerifyReport {
    /// The first failure as an error, with the number of the others.
    ///
    /// # Errors
    /// When there is a failure; [`Fault::Mismatch`] when bytes differ.
    pub fn check(&self) -> Result<()> {
        let Some(first) = self.failures.first() else { return Ok(()) };
        let others = self.failures.len() - 1;
        if others == 0 {
            return Err(first.clone());
        }
        let mut error = Error::new(first.fault(), format!("{} (and {others} more)", first.what()));
        if let Some(path) = first.path() {
            error = error.at(path);
        }
        Err(match first.advice() {
            Some(advice) => error.help(advice),
            None => error,
        })
    }
}

/// Verifies `path`: a file of a volume, its base, or a folder with all volumes in it (not those in folders below).
///
/// # Errors
/// The first failure, as [`VerifyReport::check`] words it: [`Fault::Mismatch`] naming the file, and for voxels the
/// first bad slab and its slices; [`Fault::Missing`] where there is nothing to verify.
pub fn verify(path: &Path) -> Result<VerifyReport> {
    let report = examine(path)?;
    report.check()?;
    Ok(report)
}

/// As [`verify`], but failures of volumes are in the report, all of them.
///
/// # Errors
/// [`Fault::Missing`] where there is nothing to verify, [`Fault::Again`] when interrupted.
pub fn examine(path: &Path) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let bases = if path.is_dir() { bases_in(path, &mut report)? } else { vec![base_for(path)?] };
    for base in bases {
        os::check_interrupt()?;
        examine_volume(&base, &mut report)?;
    }
    Ok(report)
}

/// The base of the volume that a file belongs to.
fn base_for(path: &Path) -> Result<PathBuf> {
    let run = path.to_str().and_then(|p| p.strip_suffix(".run.json")).map(PathBuf::from);
    let base = run.unwrap_or_else(|| base_of(path));
    if !with_suffix(&base, ".json").exists() {
        let what = if path.exists() { "has no manifest (.json) beside it" } else { "no such file" };
        return Err(Error::missing(what).at(path).help("name a volume that tomolith wrote, or its folder"));
    }
    Ok(base)
}

/// Bases of the volumes in a folder, sorted by name.
fn bases_in(folder: &Path, report: &mut VerifyReport) -> Result<Vec<PathBuf>> {
    let reading = |e: std::io::Error| Error::reading(folder, &e);
    let mut names: Vec<OsString> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(reading)? {
        names.push(entry.map_err(reading)?.file_name());
    }
    names.sort();
    let mut bases = Vec::new();
    for name in &names {
        let path = folder.join(name);
        let name = name.to_string_lossy();
        let base = base_of(&path);
        let beside = |suffix| with_suffix(&base, suffix).exists();
        if name.ends_with(".run.json") {
            continue;
        }
        if name.ends_with(".json") {
            if [".mhd", ".nhdr", ".raw"].into_iter().any(beside) || is_manifest(&path) {
                bases.push(base);
            } else {
                report.notes.push(format!("{name}: not the manifest of a volume"));
            }
        } else if name.ends_with(".part") {
            report.notes.push(format!("{name}: an unfinished output"));
        } else if name.ends_with(".mhd") && !beside(".json") {
            match Header::read(&path) {
                Ok(header) if header.native.is_none() => {
                    report.notes.push(format!("{name}: of another program, without a manifest"));
                }
                Ok(_) => report.failures.push(
                    Error::missing("the volume has no manifest (.json)")
                        .at(&path)
                        .help("copy all five files of the volume, or run the command that wrote it again"),
                ),
                Err(error) => report.failures.push(error),
            }
        }
    }
    if bases.is_empty() && report.failures.is_empty() {
        return Err(Error::missing("no volume with a manifest in this folder").at(folder).help("name another folder"));
    }
    Ok(bases)
}

/// Whether a JSON file without its volume claims to be a manifest.
fn is_manifest(path: &Path) -> bool {
    manifest::read_text(path).is_ok_and(|text| text.contains(manifest::SCHEMA))
}

/// Changed bytes are a mismatch; what the world does to files keeps its own fault.
fn mismatch(error: Error, path: &Path) -> Error {
    if error.fault() != Fault::Data {
        return error.at(path);
    }
    Error::mismatch(error.what()).at(error.path().unwrap_or(path)).help("the file was changed after it was written")
}

fn examine_volume(base: &Path, report: &mut VerifyReport) -> Result<()> {
    let json = with_suffix(base, ".json");
    let manifest = match Manifest::read(&json) {
        Ok(manifest) => manifest,
        Err(error) => {
            report.failures.push(mismatch(error, &json));
            return Ok(());
        }
    };
    if let Err(error) = check_committed(base, Some(&manifest)) {
        report.failures.push(error);
        return Ok(());
    }
    let before = report.failures.len();
    let raw_name = format!("{}.raw", base.file_name().unwrap_or_default().to_string_lossy());
    for (suffix, digest) in [".mhd", ".nhdr"].into_iter().zip(manifest.header_digests()?) {
        let path = with_suffix(base, suffix);
        if let Err(error) = examine_header(&path, &raw_name, &manifest, digest) {
            report.failures.push(mismatch(error, &path));
        }
    }
    let run = with_suffix(base, ".run.json");
    if let Err(error) = examine_run(&run, &manifest) {
        report.failures.push(mismatch(error, &run));
    }
    // With both headers damaged the raw file is still checked: where it is follows from the name.
    match resolve(&json, &raw_name) {
        Ok(raw) => examine_raw(&raw, &manifest, report)?,
        Err(error) => report.failures.push(error),
    }
    if report.failures.len() == before {
        let layout = manifest.layout();
        let (digest, bytes) = (manifest.digest(), layout.dims.bytes(layout.dtype));
        report.volumes.push(Verified { manifest: json, digest, bytes, slabs: layout.slabs() });
    }
    Ok(())
}

fn examine_header(path: &Path, raw_name: &str, manifest: &Manifest, digest: Digest) -> Result<()> {
    let text = header::read_text(path)?;
    if Digest::of(text.as_bytes()) != digest {
        return Err(Error::data("the header's text is not the one whose digest the manifest holds"));
    }
    let header = Header::parse(path, &text)?;
    if header.data_file != raw_name {
        return Err(Error::data(format!("its voxels are in `{}`, not in `{raw_name}`", header.data_file)));
    }
    manifest.check_header(&header)
}

fn examine_run(path: &Path, manifest: &Manifest) -> Result<()> {
    let run = manifest::unseal(&manifest::read_text(path)?, RUN_SEAL)?;
    if run.need_str(SEAL)? != manifest.seal() {
        return Err(Error::data("it belongs to another manifest"));
    }
    Ok(())
}

/// Length and slabs of the raw file; slabs are hashed side by side.
fn examine_raw(path: &Path, manifest: &Manifest, report: &mut VerifyReport) -> Result<()> {
    let layout = manifest.layout();
    let opened = os::open_regular(path).and_then(|file| {
        let actual = file.metadata().map_err(|e| Error::reading(path, &e))?.len();
        check_length(layout.dims, layout.dtype, Offset::Bytes(0), actual).map_err(|e| mismatch(e, path))?;
        Ok(file)
    });
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            report.failures.push(error);
            return Ok(());
        }
    };
    let digests: Vec<std::io::Result<Digest>> = (0..layout.slabs())
        .into_par_iter()
        .map(|slab| {
            os::check_interrupt()?;
            Ok(digest_range(&file, layout.offset(slab), layout.length(slab)))
        })
        .collect::<Result<_>>()?;
    let mut bad = Vec::new();
    for (slab, (actual, expected)) in digests.into_iter().zip(manifest.slabs()).enumerate() {
        match actual {
            Ok(actual) if actual == *expected => {}
            Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
                report.failures.push(Error::reading(path, &e));
                return Ok(());
            }
            _ => bad.push(slab),
        }
    }
    if let Some(&first) = bad.first() {
        let slices = layout.slices(first);
        report.failures.push(
            Error::mismatch(format!(
                "slab {first} (slices {} to {}) is not what was written; {} of {} slabs differ",
                slices.start,
                slices.end - 1,
                bad.len(),
                layout.slabs()
            ))
            .at(path)
            .help("restore the file from a copy, or compute the volume again"),
        );
    }
    Ok(())
}
