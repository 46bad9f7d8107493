//! `tomolith run --again N`: steps of a finished run, made again beside it from what they were made of, bit by bit the same?

use super::{Run, digest_of_made, of_step};
use crate::cli::Context;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::philox::Stream;
use crate::os::check_interrupt;
use crate::pipeline::record::Record;
use crate::pipeline::{Does, Step, Word};
use crate::volume::Source;
use crate::volume::reader::Reader;
use std::collections::BTreeSet;
use std::path::Path;

/// Slices of a reconstruction that are made again.
const SLICES: usize = 8;
const STREAM: u32 = 0x7275_0001;

/// Makes `count` steps again, of reconstructions a few slices; all of them, and all slices, if there are no more.
///
/// # Errors
/// Mismatch: the first that is another now; those of the steps.
pub fn check(c: &Context, run: &Run, record: &Record, count: usize) -> Result<()> {
    let draw = Stream::new(c.settings.parsed("seed", crate::cli::values::seed)?, STREAM);
    let n = run.steps.len();
    let all = count >= n;
    let mut drawn: Vec<usize> = (0..n).collect();
    // Fisher and Yates from the front, and then in the order of the way.
    (0..count.min(n)).for_each(|i| drawn.swap(i, i + draw.below(i as u64, (n - i) as u32) as usize));
    drawn.truncate(count);
    drawn.sort_unstable();
    // The run is locked: what is there was left by one that was killed.
    let beside = run.folder.join("again");
    let removed = |folder: &Path| match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::writing(folder, &e)),
        _ => Ok(()),
    };
    removed(&beside)?;
    let mut sound = BTreeSet::new();
    for k in drawn {
        check_interrupt()?;
        let step = &run.steps[k];
        // Rows of fields that are joined are no slices of one reconstruction.
        let is_joined = || -> Result<bool> {
            let there = Reader::open(&run.folder.join(&step.makes[0]), c.io)?;
            let Some(manifest) = there.manifest() else { return Ok(false) };
            let before = manifest.get("params").is_some_and(|params| params.get("fields").is_some());
            Ok(before || manifest.get("stage").and_then(Json::as_str) == Some("stitch vertical"))
        };
        if step.stage == "recon" && !all && is_joined()? {
            c.talk.warn(format!("{}: not made again: of joined fields no slices can be made alone", step.name));
            continue;
        }
        run.check_inputs(step, &mut sound).map_err(|e| of_step(&step.name, e))?;
        let outcome = match step.stage {
            "recon" if !all => slices(c, run, step, &|m| draw.below((n + k) as u64, m), &beside),
            _ => whole(c, run, step, record, &beside),
        };
        let what = match outcome {
            Ok(what) => what,
            Err(e) => {
                removed(&beside)?;
                return Err(of_step(&step.name, e));
            }
        };
        removed(&beside)?;
        c.out.line(format!("again {}: {what}, identical", step.name))?;
    }
    Ok(())
}

fn differs(file: &str) -> Error {
    Error::mismatch(format!("made again, {file} is another"))
        .help("the program, the machine or the files changed since; `verify` says whether the files did")
}

/// A whole step.
fn whole(c: &Context, run: &Run, step: &Step, record: &Record, beside: &Path) -> Result<String> {
    run.execute(c, step, beside, 1)?;
    for file in &step.makes {
        let found = digest_of_made(c, &beside.join(file))?;
        if record.digest_of(file) != Some(&found) {
            return Err(differs(file));
        }
    }
    Ok(format!("{} files", step.makes.len()))
}

/// Some slices of a reconstruction.
fn slices(c: &Context, run: &Run, step: &Step, draw: &dyn Fn(u32) -> u32, beside: &Path) -> Result<String> {
    let file = &step.makes[0];
    let there = Reader::open(&run.folder.join(file), c.io)?;
    let d = there.dims();
    let rows = SLICES.min(d.nz);
    let first = draw((d.nz - rows + 1) as u32) as usize;
    let mut some = step.clone();
    if let Does::Command(words, _) = &mut some.does {
        words.extend([Word::text("--rows"), Word::text(format!("{first}:{}", first + rows))]);
        // Whether the sample is wider than the detector was told from other rows.
        let told = there.manifest().and_then(|m| m.get("results")?.get("truncated")?.as_bool());
        let given = |flag: &str| words.iter().position(|w| *w == Word::text(flag));
        if let (Some(truncated), None) = (told, given("--half-acquisition")) {
            let padding = Word::text(if truncated { "edge" } else { "none" });
            match given("--padding") {
                Some(at) => words[at + 1] = padding,
                None => words.extend([Word::text("--padding"), padding]),
            }
        }
    }
    run.execute(c, &some, beside, 1)?;
    let again = Reader::open(&beside.join(file), c.io)?;
    let mut values = [vec![0.0f32; rows * d.slice()], vec![0.0f32; rows * d.slice()]];
    if again.dims() != (crate::volume::Dims { nz: rows, ..d }) {
        return Err(differs(file));
    }
    there.read(first..first + rows, 0..d.ny, &mut values[0])?;
    again.read(0..rows, 0..d.ny, &mut values[1])?;
    match values[0].iter().zip(&values[1]).all(|(a, b)| a.to_bits() == b.to_bits()) {
        true => Ok(format!("slices {first} to {}", first + rows - 1)),
        false => Err(differs(file)),
    }
}
