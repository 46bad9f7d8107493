//! `tomolith seg after`: edges, depth windows and splits by depth.

use crate::cli::labels::{LABELS, OUTPUT, OVERWRITE, classes, counts, written};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::stitch::{output, with_role};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::os::check_interrupt;
use crate::segment::UNLABELLED;
use crate::segment::after::After;
use crate::segment::ledger::{Ledger, read_u8};
use crate::volume::manifest::Job;
use crate::volume::writer::Writer;
use crate::volume::{Dtype, Sink, Source};

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "after"],
    about: "Take off edges, keep classes within their depths, tell them apart by depth",
    details: "RULES is a .toml file: axis = \"y\" along which depth counts, then [[edge]] axis, width, becomes; [[window]] class, \
              from, to, becomes; [[split]] class, at, becomes; in this order. Classes are those of the result, cell by default: \
              what the network calls electrode is the plating electrode until a split says otherwise. The manifest holds the \
              rules and how many voxels each of them changed.",
    examples: "  tomolith seg after out/seg.mhd --rules scan_07.toml -o out/final",
    groups: &[(
        "",
        &[
            LABELS,
            Opt::new("rules", Takes::Value("FILE.toml"), "The rules"),
            Opt::new("classes", Takes::Value("TABLE"), "Classes of the result").default("cell"),
            OUTPUT,
            OVERWRITE,
        ],
    )],
    run,
};

/// Version of the stage in manifests.
const VERSION: u32 = 1;

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (base, overwrite) = output(c)?;
    let (classes, table) = classes(s)?;
    let path = s.required_path("labels")?;
    let (after, rules) = After::read(&s.required_path("rules")?, &classes)?;
    let ledger = Ledger::open(&path, c.io)?;
    let dims = ledger.dims();
    after.check(dims)?;
    let mut inputs = with_role(ledger.labels.inputs()?, "labels");
    inputs.push(rules);
    inputs.extend(table);
    let job = Job {
        dims,
        dtype: Dtype::U8,
        spacing: ledger.labels.spacing(),
        slope: 1.0,
        intercept: 0.0,
        value_unit: "class".into(),
        stage: "after".into(),
        stage_version: VERSION,
        params: Json::obj([("rules", after.to_json(&classes)), ("classes", classes.to_json())]),
        inputs,
        contract: CONTRACT,
    };
    let mut writer = Writer::create(&base, job, overwrite)?;
    let names = after.names(&classes);
    let progress = Progress::new(&c.talk, "after", "slices");
    let (mut labels, mut values) = (vec![0u8; dims.slice()], vec![0f32; dims.slice()]);
    while writer.next_slice() < dims.nz {
        check_interrupt()?;
        let z = writer.next_slice();
        read_u8(&ledger.labels, z..z + 1, &mut labels)?;
        if let Some(i) = labels.iter().position(|&l| l != UNLABELLED && usize::from(l) >= classes.len()) {
            let (x, y) = (i % dims.nx, i / dims.nx);
            return Err(Error::data(format!("the label {} at x {x}, y {y}, z {z} is no class", labels[i])).at(&path));
        }
        let mut changed = vec![0u64; names.len()];
        after.slice(dims, z, &mut labels, &mut changed);
        for (name, n) in names.iter().zip(&changed) {
            writer.count(z, name, *n)?;
        }
        values.iter_mut().zip(&labels).for_each(|(v, &l)| *v = f32::from(l));
        writer.write(&values)?;
        progress.update(z as u64 + 1, dims.nz as u64, ((z + 1) * dims.slice()) as u64);
    }
    progress.finish();
    let manifest = writer.finish(Json::obj::<&str>([]), c.run_record())?;
    counts(c, &manifest)?;
    written(c, &base, &manifest)
}
