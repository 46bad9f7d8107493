//! `tomolith seg patches`: which squares of which slices are learnt from.

use crate::cli::labels::{CLASSES, OVERWRITE, classes};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::seg::OTHER_TABLE;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::segment::ledger::{Ledger, check_classes};
use crate::segment::orient::Plane;
use crate::segment::patches::{List, Making, Scan, Stride};
use crate::volume::Source;
use crate::volume::reader::base_of;
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "patches"],
    about: "List the patches that are labelled enough to learn from",
    details: "SCAN is [[CELL:]NAME=]LABELS.mhd; without a name the path as it is typed is the name. Squares of --size pixels, \
              every --step, of the slices --slices of each plane, are kept where more than --least-labelled of their pixels \
              have a label. The defaults are the authors' cross-sectional rules. patches.json names each as scan, plane, \
              slice, row, column and labelled pixels by class, with the digests of the labels.",
    examples: "  tomolith seg patches cell1:a=labels/a.mhd cell2:b=labels/b.mhd --z 100:612 -o patches.json\n  \
               tomolith seg patches labels/a.mhd --planes xy --slices :: --size 64 --step 32 --least-labelled 0.01 -o p.json",
    groups: &[(
        "",
        &[
            Opt::new("scans", Takes::Arguments("SCAN"), "Labels, with their names and cells"),
            Opt::new("planes", Takes::Value("PLANE,…"), "Planes of the slices").default("xz,yz"),
            Opt::new("slices", Takes::Number("A:B:STEP"), "Slices of each plane, as Python counts")
                .default("100:-100:10"),
            Opt::new("size", Takes::Number("N"), "Rows and columns of a patch").default("512"),
            Opt::new("step", Takes::Number("N"), "From one patch to the next").default("256"),
            Opt::new("least-labelled", Takes::Number("PART"), "Part of a patch that must be exceeded").default("0.2"),
            Opt::new("z", Takes::Value("A:B"), "Only these slices z, the end not included"),
            CLASSES,
            Opt::new("output", Takes::Value("FILE.json"), "Where to write").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

/// Name, cell and file of a scan.
fn scan(text: &Path) -> Result<(String, Option<String>, PathBuf)> {
    let text = text.to_str().ok_or_else(|| Error::usage("SCAN: not valid UTF-8 text"))?;
    let Some((name, file)) = text.split_once('=') else {
        return Ok((base_of(Path::new(text)).display().to_string(), None, text.into()));
    };
    let (cell, name) = match name.split_once(':') {
        Some((cell, name)) => (Some(cell.to_string()), name),
        None => (None, name),
    };
    if name.is_empty() || file.is_empty() || cell.as_deref() == Some("") {
        return Err(Error::usage(format!("'{text}' is no scan")).help("write CELL:NAME=FILE, NAME=FILE or FILE"));
    }
    Ok((name.to_string(), cell, file.into()))
}

/// Planes with commas.
pub fn planes(text: &str) -> Result<Vec<Plane>> {
    text.split(',').map(Plane::parse).collect()
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let out = s.required_path("output")?;
    let (classes, _) = classes(s)?;
    let mut making = Making {
        planes: s.parsed("planes", planes)?,
        slices: s.parsed("slices", Stride::parse)?,
        size: s.parsed("size", values::count)?,
        step: s.parsed("step", values::count)?,
        least: s.parsed("least-labelled", values::number)?,
        z: None,
    };
    making.check()?;
    let mut scans = Vec::new();
    for path in s.required_paths("scans")? {
        let (name, cell, file) = scan(&path)?;
        let ledger = Ledger::open(&file, c.io)?;
        check_classes(&file, &classes).map_err(|e| e.help(OTHER_TABLE))?;
        let dims = ledger.dims();
        let labels = ledger.labels.digest()?;
        scans.push((Scan { name, cell, dims, labels }, ledger));
    }
    if let Some((first, _)) = scans.first() {
        making.z = s.parse("z", |text| values::range(text, first.dims.nz))?;
    }
    let sources: Vec<(Scan, &dyn Source)> = scans.iter().map(|(s, l)| (s.clone(), &l.labels as &dyn Source)).collect();
    let progress = Progress::new(&c.talk, "patches", "slices");
    let list = List::of(&making, &classes, &sources, &|done, total| progress.update(done as u64, total as u64, 0))?;
    progress.finish();
    write_text(&out, &list.text(), s.is_on("overwrite")?)?;
    for (plane, n) in list.by_plane() {
        c.out.line(format!("{:22} {n:>10} patches", plane.name()))?;
    }
    for class in classes.list() {
        let pixels: u64 = list.patches.iter().map(|p| p.labels[usize::from(class.id)]).sum();
        let patches = list.patches.iter().filter(|p| p.labels[usize::from(class.id)] > 0).count();
        c.out.line(format!("{:22} {pixels:>10} labelled pixels in {patches} patches", class.name))?;
        if pixels == 0 {
            c.talk.warn(format!("no patch has a pixel of class {} ({})", class.id, class.name));
        }
    }
    c.out.line(format!("patches {}", list.digest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_have_names_and_cells() {
        let of = |text: &str| scan(Path::new(text)).unwrap();
        assert_eq!(of("c1:a=x/l.mhd"), ("a".into(), Some("c1".into()), "x/l.mhd".into()));
        assert_eq!(of("a=l.mhd"), ("a".into(), None, "l.mhd".into()));
        assert_eq!(of("x/l.mhd"), ("x/l".into(), None, "x/l.mhd".into()));
        for text in ["=l.mhd", "a=", ":a=l.mhd"] {
            assert!(scan(Path::new(text)).is_err(), "{text}");
        }
    }
}
