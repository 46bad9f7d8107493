//! What a step of a round reads: files that its words name, and those that its rules name, with their digests.
//!
//! Nobody declares them: every word behind the command's that is a file there is one, or every part of it, at `=` and `,`.
//! What the round itself makes is not, nor what stands behind an option that says where to write: those change.

use super::read_text;
use crate::cli::{COMMANDS, Command, Context};
use crate::error::{Error, Result};
use crate::exchange::open_labels;
use crate::exchange::tiff::is_stack;
use crate::provenance::Digest;
use crate::segment::ledger::origins_of;
use crate::segment::round::{RECORD, Round, Step};
use crate::volume::reader::Reader;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Options whose value is a file that is written.
const WRITTEN: [&str; 8] =
    ["-o", "--output", "--fit", "--output-weights", "--losses", "--gradients", "--log-json", "--status"];

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
    // Images may be labels with a palette.
    match (is_stack(path) || inside).then(|| open_labels(path, c.io)) {
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

/// The command of a step, the longest whose words it begins with.
pub fn command_of(step: &Step) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .filter(|known| known.path.iter().eq(step.run.iter().take(known.path.len())))
        .max_by_key(|known| known.path.len())
}

/// Parts of a word that may be paths: the word itself where it is one, as names of files may have the signs that part words.
fn parts(word: &str, is_path: &dyn Fn(&str) -> bool) -> Vec<String> {
    let word = word.trim();
    if word.is_empty() {
        return Vec::new();
    }
    if !word.contains(['=', ',']) || is_path(word) {
        return vec![word.to_string()];
    }
    match word.split_once('=') {
        Some((name, value)) if !word.contains(',') || is_path(value.trim()) => {
            [parts(name, is_path), parts(value, is_path)].concat()
        }
        _ => word.split(',').flat_map(|part| parts(part, is_path)).collect(),
    }
}

/// Where a path from the folder of a round leads, seen from the folder of all rounds.
pub fn place(round: &str, path: &str) -> PathBuf {
    let mut place = PathBuf::from(round);
    for step in Path::new(path).components() {
        match step {
            Component::CurDir => (),
            // Above the folder of all rounds there is nothing to take back.
            Component::ParentDir if place.file_name().is_none() => place.push(".."),
            Component::ParentDir => {
                place.pop();
            }
            // The root of an absolute path replaces all.
            step => place.push(step),
        }
    }
    place
}

/// Whether what a round reads is of somebody else: another round, or no round.
pub fn is_from_outside(round: &str, path: &str) -> bool {
    !place(round, path).starts_with(round)
}

/// Whether a path is that of a file, or of a folder that it lies in, or a pattern of images like it.
pub fn covers(path: &Path, file: &Path) -> bool {
    let pattern = path.file_name().is_some_and(|name| name.to_string_lossy().contains(['*', '?']));
    file.starts_with(path) || pattern && file.parent() == path.parent() && file.extension() == path.extension()
}

/// Paths that the words of a step and its rules name, whether they are there or not, but for what the round itself makes.
pub fn named(c: &Context, folder: &Path, round: &Round, step: &Step) -> Vec<String> {
    let at_home = |path: &str| place(&round.name, path);
    let made: Vec<PathBuf> = round.steps.iter().flat_map(|s| &s.makes).map(|file| at_home(file)).collect();
    let at = |path: &str| match folder.parent() {
        // No path leads out of a folder that is not there yet.
        Some(rounds) if !folder.is_dir() => rounds.join(at_home(path)),
        _ => folder.join(path),
    };
    let is_path =
        |path: &str| made.contains(&at_home(path)) || at(path).exists() || open_labels(&at(path), c.io).is_ok();
    let (mut names, mut written) = (Vec::new(), false);
    for word in step.run.iter().skip(command_of(step).map_or(1, |command| command.path.len())) {
        let option = word.split_once('=').map_or(word.as_str(), |(option, _)| option);
        let writes = WRITTEN.contains(&option);
        let output = std::mem::replace(&mut written, writes && option.len() == word.len());
        if !output && !writes {
            names.extend(parts(word, &is_path));
        }
    }
    for rules in names.clone().iter().filter(|name| name.ends_with(".toml")) {
        // One that cannot be read is the step's to tell.
        let text = read_text(&at(rules)).unwrap_or_default();
        let quoted = text.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
        names.extend(quoted.flat_map(|word| parts(word, &is_path)));
    }
    names.retain(|name| !made.iter().any(|file| covers(&at_home(name), file)));
    for labels in names.clone().iter().filter(|name| name.ends_with(".mhd")) {
        names.push(origins_of(Path::new(labels)).to_string_lossy().into_owned());
    }
    names
}

/// What a step reads in the folder of its round, as its words name it, with digests. `homes` are the folders of rounds in
/// which nothing may be read but what is the round's or a parent's, and is named from the round's folder.
///
/// # Errors
/// Data where something else of a round is read; what the disk says.
pub fn of_step(
    c: &Context,
    homes: [&Path; 2],
    folder: &Path,
    round: &Round,
    step: &Step,
) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for name in named(c, folder, round, step) {
        if !found.contains_key(&name)
            && let Some(digest) = digest(c, &folder.join(&name))?
        {
            check_spelling(homes, folder, round, &name)?;
            found.insert(name, digest.hex());
        }
    }
    Ok(found)
}

/// Refuses what lies in a round and is not named so that it is the new one's where the rounds are made again.
fn check_spelling(homes: [&Path; 2], folder: &Path, round: &Round, name: &str) -> Result<()> {
    let place = place(&round.name, name);
    if place.starts_with(&round.name) || round.parents.iter().any(|parent| place.starts_with(parent)) {
        return Ok(());
    }
    let path = folder.join(name);
    // A pattern or a path within a file is there in part.
    let real = path.ancestors().find_map(|there| {
        let rest = path.strip_prefix(there).ok()?;
        Some(there.canonicalize().ok()?.join(rest).components().collect::<PathBuf>())
    });
    let Some(real) = real else { return Ok(()) };
    for home in homes.iter().filter_map(|home| home.canonicalize().ok()) {
        let Ok(below) = real.strip_prefix(&home) else { continue };
        let Some(owner) = below.iter().next().filter(|owner| home.join(owner).join(RECORD).exists()) else { continue };
        let owner = owner.to_string_lossy();
        let help = if owner == round.name {
            format!("write {}", below.iter().skip(1).collect::<PathBuf>().display())
        } else {
            format!("write ../{}, and name '{owner}' among the parents", below.display())
        };
        let what = format!("is read by the round '{}' as '{name}', which stays where it is in a replay", round.name);
        return Err(Error::data(what).help(help).at(path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_apart() {
        let of = |word: &str, there: &[&str]| parts(word, &|path| there.contains(&path));
        assert_eq!(of("c1:a=../l/a.mhd", &[]), ["c1:a", "../l/a.mhd"]);
        assert_eq!(of("a=g.npy,l/a.mhd", &[]), ["a", "g.npy", "l/a.mhd"]);
        assert_eq!(of("--weights=w.safetensors,", &[]), ["--weights", "w.safetensors"]);
        // Names of files with the signs that part words.
        assert_eq!(of("a=1.mhd", &["a=1.mhd"]), ["a=1.mhd"]);
        assert_eq!(of("--input=a,b=1.mhd", &["a,b=1.mhd"]), ["--input", "a,b=1.mhd"]);
        assert_eq!(of("a=g=1.npy,l/a.mhd", &["g=1.npy"]), ["a", "g=1.npy", "l/a.mhd"]);
    }

    #[test]
    fn paths_are_placed_among_the_rounds() {
        for (path, leads) in [
            ("./run/./best", "r1/run/best"),
            ("../r1/p.json", "r1/p.json"),
            ("../r0/p.json", "r0/p.json"),
            ("run/../../a", "a"),
            ("../../l/a.mhd", "../l/a.mhd"),
            ("../../../a", "../../a"),
            ("/data/a.mhd", "/data/a.mhd"),
        ] {
            assert_eq!(place("r1", path), Path::new(leads), "{path}");
            assert_eq!(is_from_outside("r1", path), !leads.starts_with("r1/"), "{path}");
        }
        let covers = |path: &str, file: &str| covers(Path::new(path), Path::new(file));
        assert!(covers("r1/a.mhd", "r1/a.mhd") && covers("r1/labels", "r1/labels/a.mhd") && covers("", "r1/a"));
        assert!(covers("r1/s/a_*.tif", "r1/s/a_1.tif") && !covers("r1/s/a_*.tif", "r1/s/p.json"));
        assert!(!covers("r1/a", "r1/a.mhd") && !covers("../l", "r1/l/a.mhd"));
    }
}
