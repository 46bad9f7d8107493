//! `tomolith seg after`: edges, depth windows and splits by depth.

use crate::cli::labels::{LABELS, OUTPUT, OVERWRITE, classes, counts, written};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::stitch::output;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use crate::os::check_interrupt;
use crate::segment::UNLABELLED;
use crate::segment::after::After;
use crate::segment::classes::Classes;
use crate::segment::depths::Depths;
use crate::segment::ledger::{Ledger, LedgerWriter, Making, Origin};
use crate::volume::Source;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "after"],
    about: "Take off edges, keep classes within their depths, tell them apart by depth",
    details: "RULES is a .toml file: axis = \"y\" along which depth counts, then [[edge]] axis, width, becomes; [[window]] class, \
              from, to, becomes; [[split]] class, at, becomes; in this order. Classes are those of the result, cell by default: \
              what the network calls electrode is the plating electrode until a split says otherwise. The manifest holds the \
              rules and how many voxels each of them changed; of labels whose origins are known, what a rule changed has the origin \
              rule, or stays a draft. --fit writes such a file instead: windows and splits from the two \
              electrodes of the scan, the plating side first along --axis.",
    examples: "  tomolith seg after out/seg.mhd --fit scan_07.toml\n  tomolith seg after out/seg.mhd --rules scan_07.toml -o out/final",
    groups: &[(
        "",
        &[
            LABELS,
            Opt::new("rules", Takes::Value("FILE.toml"), "The rules"),
            Opt::new("fit", Takes::Value("FILE.toml"), "Write rules that follow the electrodes, and nothing else"),
            Opt::new("axis", Takes::Choice(&["z", "y", "x"]), "--fit: along which depth counts").default("y"),
            Opt::new("margin", Takes::Number("N"), "--fit: voxels beyond the faces").default("8"),
            Opt::new("electrode", Takes::Value("CLASS"), "--fit: the class of both electrodes").default("4"),
            Opt::new("classes", Takes::Value("TABLE"), "Classes of the result").default("cell"),
            OUTPUT,
            OVERWRITE,
        ],
    )],
    run,
};

/// Writes rules that follow the electrodes.
fn fit(c: &Context, rules: &Path) -> Result<()> {
    let s = &c.settings;
    if let Some(name) = ["rules", "output"].into_iter().find(|name| s.is_given(name).unwrap_or(false)) {
        return Err(
            Error::usage(format!("--{name} with --fit")).help("--fit writes rules; apply them with --rules and -o")
        );
    }
    let path = s.required_path("labels")?;
    let ledger = Ledger::open(&path, c.io)?;
    let axis = ["z", "y", "x"].iter().position(|a| Some(*a) == s.text("axis").ok().flatten()).unwrap_or(1);
    let electrode = s.parsed("electrode", |text| Classes::cell().find(text))?;
    let depths = Depths::of(&ledger.labels, axis, electrode).map_err(|e| e.at(&path))?;
    let text = depths.rules(axis, ledger.dims(), s.parsed("margin", values::index)?);
    write_text(rules, &text, s.is_on("overwrite")?)?;
    for (name, slab, face) in
        [("plating", 0, 0), ("stripping", 1, 1)].map(|(n, i, k)| (n, &depths.slabs[i], depths.faces[k]))
    {
        let [a, b, d] = face.plane;
        c.out.line(format!(
            "{name:22} {:>5} to {:<5} face {a:.2} {b:+.5} u {d:+.5} v, {:.2} voxels rms",
            slab.start, slab.end, face.rms
        ))?;
    }
    c.out.line(format!("rules {}", rules.display()))
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    if let Some(rules) = s.path("fit")? {
        return fit(c, &rules);
    }
    let (base, overwrite) = output(c)?;
    let (classes, table) = classes(s)?;
    let path = s.required_path("labels")?;
    let (after, rules) = After::read(&s.required_path("rules")?, &classes)?;
    let ledger = Ledger::open(&path, c.io)?;
    let dims = ledger.dims();
    after.check(dims)?;
    let mut inputs = ledger.inputs()?;
    inputs.push(rules);
    inputs.extend(table);
    let making = Making {
        dims,
        spacing: ledger.labels.spacing(),
        stage: "after",
        params: Json::obj([("rules", after.to_json(&classes))]),
        inputs,
        origins: ledger.origins.is_some(),
    };
    let mut writer = LedgerWriter::create(&base, making, &classes, overwrite)?;
    let names = after.names(&classes);
    let progress = Progress::new(&c.talk, "after", "slices");
    let [mut before, mut labels, mut origins] = std::array::from_fn(|_| vec![0u8; dims.slice()]);
    while writer.next_slice() < dims.nz {
        check_interrupt()?;
        let z = writer.next_slice();
        ledger.read(z..z + 1, &mut labels, &mut origins)?;
        if let Some(i) = labels.iter().position(|&l| l != UNLABELLED && usize::from(l) >= classes.len()) {
            let (x, y) = (i % dims.nx, i / dims.nx);
            return Err(Error::data(format!("the label {} at x {x}, y {y}, z {z} is no class", labels[i])).at(&path));
        }
        let mut changed = vec![0u64; names.len()];
        before.copy_from_slice(&labels);
        after.slice(dims, z, &mut labels, &mut changed);
        for (name, n) in names.iter().zip(&changed) {
            writer.count(name, *n)?;
        }
        // Of what a rule changed nobody else said what it is; of a draft it is still the draft that does.
        for (i, origin) in origins.iter_mut().enumerate().filter(|(i, _)| labels[*i] != before[*i]) {
            *origin = match labels[i] {
                UNLABELLED => Origin::UNLABELLED.0,
                _ => {
                    if *origin < Origin::DRAFT {
                        Origin::RULE.0
                    } else {
                        *origin
                    }
                }
            };
        }
        writer.write(&labels, &origins)?;
        progress.update(z as u64 + 1, dims.nz as u64, ((z + 1) * dims.slice()) as u64);
    }
    progress.finish();
    let manifest = writer.finish(Vec::new(), c.run_record())?;
    counts(c, &manifest)?;
    written(c, &base, &manifest)
}
