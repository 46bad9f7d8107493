//! What a step of a round reads: files that its words name, and those that its rules name, with their digests.
//!
//! Nobody declares them: every part of a word, at `=` and `,`, that is a file there is one. What the round itself makes is
//! not, nor what stands behind an option that says where to write: those change.

use super::read_text;
use crate::cli::Context;
use crate::error::Result;
use crate::exchange::open_stack;
use crate::provenance::Digest;
use crate::segment::ledger::ORIGIN;
use crate::segment::round::{Round, Step};
use crate::volume::reader::{Reader, base_of, with_suffix};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Options whose value is a file that is written.
const WRITTEN: [&str; 6] = ["-o", "--output", "--fit", "--output-weights", "--losses", "--gradients"];

/// Digest of a file; of a volume, that of its voxels as they lie there; of a stack of images or what lies in another
/// file, that of all that it is read from. None where there is no such thing.
///
/// # Errors
/// What the disk says.
pub fn digest(c: &Context, path: &Path) -> Result<Option<Digest>> {
    if path.is_file() {
        let volume = path.extension().is_some_and(|e| e == "mhd" || e == "nhdr");
        // A volume that cannot be opened is a file; who reads it says what is wrong.
        return match volume.then(|| Reader::open(path, c.io)) {
            Some(Ok(volume)) => of_volume(&volume).map(Some),
            _ => Ok(Some(Digest::of_file(path)?.0)),
        };
    }
    let inside = path.to_string_lossy().contains(":/");
    match (path.is_dir() || inside).then(|| open_stack(path, c.io)) {
        Some(Ok(stack)) => {
            let files = stack.inputs()?;
            Ok(Some(Digest::root(&files.iter().map(|file| file.digest).collect::<Vec<_>>())))
        }
        _ => Ok(None),
    }
}

/// That of its voxels, and of what says how they are read where that is not in a manifest or no matter of course.
fn of_volume(volume: &Reader) -> Result<Digest> {
    let (voxels, header) = (volume.digest()?, volume.header());
    if volume.manifest().is_some() && (header.slope, header.intercept) == (1.0, 0.0) {
        return Ok(voxels);
    }
    Ok(Digest::root(&[voxels, Digest::of_file(volume.header_path())?.0]))
}

/// Parts of a word that may be paths.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    word.split(['=', ',']).map(str::trim).filter(|part| !part.is_empty())
}

/// A path without steps that lead nowhere.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|c| *c != Component::CurDir).collect()
}

/// Whether what a round read is of somebody else: another round, or no round.
pub fn is_from_outside(name: &str) -> bool {
    let path = plain(name);
    path.is_absolute() || path.starts_with("..")
}

/// What a step reads in the folder of its round, as its words name it, with digests.
///
/// # Errors
/// What the disk says.
pub fn of_step(c: &Context, folder: &Path, round: &Round, step: &Step) -> Result<BTreeMap<String, String>> {
    let made: BTreeSet<PathBuf> = round.steps.iter().flat_map(|s| &s.makes).map(|name| plain(name)).collect();
    let (mut names, mut written) = (Vec::new(), false);
    for word in &step.run {
        let output = std::mem::replace(&mut written, WRITTEN.contains(&word.as_str()));
        names.extend(parts(word).filter(|_| !output).map(String::from));
    }
    for rules in names.clone().iter().filter(|name| name.ends_with(".toml")) {
        // One that cannot be read is the step's to tell.
        let text = read_text(&folder.join(rules)).unwrap_or_default();
        let quoted = text.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
        names.extend(quoted.flat_map(parts).map(String::from));
    }
    names.retain(|name| !made.contains(&plain(name)));
    for labels in names.clone().iter().filter(|name| name.ends_with(".mhd")) {
        names.push(with_suffix(&base_of(Path::new(labels)), &format!("{ORIGIN}.mhd")).to_string_lossy().into_owned());
    }
    let mut found = BTreeMap::new();
    for name in names {
        if !found.contains_key(&name)
            && let Some(digest) = digest(c, &folder.join(&name))?
        {
            found.insert(name, digest.hex());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_apart() {
        let of = |word: &str| parts(word).map(String::from).collect::<Vec<_>>();
        assert_eq!(of("c1:a=../l/a.mhd"), ["c1:a", "../l/a.mhd"]);
        assert_eq!(of("a=g.npy,l/a.mhd"), ["a", "g.npy", "l/a.mhd"]);
        assert_eq!(of("--weights=w.safetensors,"), ["--weights", "w.safetensors"]);
        assert_eq!(plain("./run/./best"), plain("run/best"));
        assert!(is_from_outside("../r0/p.json") && is_from_outside("/data/a.mhd") && is_from_outside("./../a"));
        assert!(!is_from_outside("run/best") && !is_from_outside("./p.json"));
    }
}
