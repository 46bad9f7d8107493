//! `tomolith diff`: where two volumes, or two runs, differ.

use super::{digest_of_made, record_of};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::os::check_interrupt;
use crate::pipeline::record::RECORD;
use crate::volume::Source;
use crate::volume::reader::Reader;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["diff"],
    about: "Say where two volumes, or the folders of two runs, differ",
    details: "Of volumes: how many voxels differ, the first of them (x, y, z) with both values, and the largest difference; of two \
              u8 volumes the share of voxels that agree, too. Of runs: each step whose files differ, and the same for its volumes, which are taken by their manifests' word: `verify` reads \
              every byte. \
              Exit code 3 where anything differs.",
    examples: "  tomolith diff a.mhd b.mhd\n  tomolith diff cell cell.again",
    groups: &[(
        "",
        &[
            Opt::new("first", Takes::Argument("A"), "A volume, or the folder of a run"),
            Opt::new("second", Takes::Argument("B"), "Another"),
        ],
    )],
    run,
};

/// How two volumes differ; nothing where they do not.
fn volumes(c: &Context, paths: [&Path; 2]) -> Result<Option<String>> {
    let [a, b] = [Reader::open(paths[0], c.io)?, Reader::open(paths[1], c.io)?];
    let (dims, other) = (a.dims(), b.dims());
    if dims != other {
        let text = |d: crate::volume::Dims| format!("{} x {} x {}", d.nx, d.ny, d.nz);
        return Ok(Some(format!("{} voxels and {}", text(dims), text(other))));
    }
    let mut slices = [vec![0.0f32; dims.slice()], vec![0.0f32; dims.slice()]];
    let (mut differ, mut first, mut most) = (0u64, None, 0.0f64);
    for z in 0..dims.nz {
        check_interrupt()?;
        a.read(z..z + 1, 0..dims.ny, &mut slices[0])?;
        b.read(z..z + 1, 0..dims.ny, &mut slices[1])?;
        for (i, (p, q)) in slices[0].iter().zip(&slices[1]).enumerate() {
            if p.to_bits() != q.to_bits() {
                differ += 1;
                first.get_or_insert((i % dims.nx, i / dims.nx, z, *p, *q));
                most = most.max((f64::from(*p) - f64::from(*q)).abs());
            }
        }
    }
    Ok(first.map(|(x, y, z, p, q)| {
        let share = 100.0 * (1.0 - differ as f64 / dims.voxels() as f64);
        format!("{differ} voxels differ ({share:.3} % agree), the first at x {x}, y {y}, z {z}: {p} and {q}; by {most} at most")
    }))
}

fn run(c: &Context) -> Result<()> {
    let [a, b] = [c.settings.required_path("first")?, c.settings.required_path("second")?];
    let records = [&a, &b].map(|p| p.join(RECORD));
    if !records.iter().all(|r| r.is_file()) {
        let found = volumes(c, [&a, &b])?;
        return match found {
            None => c.out.line("identical"),
            Some(how) => Err(Error::mismatch(how).at(&b)),
        };
    }
    let [one, other] = [record_of(&a)?, record_of(&b)?];
    let mut differ = 0;
    // A record is what was written, not what lies there.
    for (folder, record) in [(&a, &one), (&b, &other)] {
        for (file, digest) in record.steps.values().flat_map(|done| &done.made) {
            check_interrupt()?;
            let path = folder.join(file);
            if !digest_of_made(c, &path).is_ok_and(|found| found == *digest) {
                differ += 1;
                c.out.line(format!("{}: is not what the run's record says", path.display()))?;
            }
        }
    }
    for (name, done) in &one.steps {
        let Some(again) = other.steps.get(name) else {
            differ += 1;
            c.out.line(format!("{name}: in A only"))?;
            continue;
        };
        if done.key != again.key {
            c.out.line(format!("{name}: made of something else"))?;
        }
        for (file, digest) in &done.made {
            if again.made.get(file) == Some(digest) {
                continue;
            }
            differ += 1;
            let there = [a.join(file), b.join(file)];
            let how = match file.ends_with(".mhd") && there.iter().all(|p| p.is_file()) {
                true => volumes(c, [&there[0], &there[1]])?.unwrap_or_default(),
                false => "other bytes".to_string(),
            };
            c.out.line(format!("{name}: {file}: {how}"))?;
        }
    }
    for name in other.steps.keys().filter(|n| !one.steps.contains_key(*n)) {
        differ += 1;
        c.out.line(format!("{name}: in B only"))?;
    }
    match differ {
        0 => c.out.line("identical"),
        n => Err(Error::mismatch(format!("{n} differences"))),
    }
}
