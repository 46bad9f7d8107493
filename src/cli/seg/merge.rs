//! `tomolith seg merge`: several predictions become one set of labels.

use crate::cli::labels::{CLASSES, OUTPUT, OVERWRITE, classes, counts, written};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::stitch::{output, with_role};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::open_stack;
use crate::json::Json;
use crate::os::check_interrupt;
use crate::segment::UNLABELLED;
use crate::segment::import::other_shape;
use crate::segment::ledger::{LedgerWriter, Making, Origin};
use crate::segment::merge::{Case, Claim, Merge};
use crate::volume::{Dims, Source};
use std::collections::BTreeMap;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "merge"],
    about: "Make one set of labels of several predictions",
    details: "RULES is a .toml file: conflict = \"unlabelled\", \"priority\" or \"margin\"; nothing = a class or \
              \"unlabelled\"; and for each prediction [[source]] with labels, map (0=-,1=electrode: - says nothing), and \
              where wanted margin, threshold and priority. Where sources disagree the voxel is unlabelled unless a rule \
              decides. Written is a ledger whose labels have the origin --origin, and counts of every case.",
    examples: "  tomolith seg merge merge.toml --origin draft:1 -o labels/draft_1\n  \
               tomolith labels import labels/draft_1.mhd --onto labels/human.mhd --keep --origin draft:1 -o labels/round_2",
    groups: &[(
        "",
        &[
            Opt::new("rules", Takes::Argument("RULES.toml"), "What to merge, and how"),
            Opt::new("origin", Takes::Value("NAME"), "Who said it: rule or draft:ROUND").default("rule"),
            CLASSES,
            OUTPUT,
            OVERWRITE,
        ],
    )],
    run,
};

/// Labels of a source, and its margin.
type Opened = (Box<dyn Source>, Option<Box<dyn Source>>);

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (base, overwrite) = output(c)?;
    let (classes, table) = classes(s)?;
    let (merge, rules) = Merge::read(&s.required_path("rules")?, &classes)?;
    let origin = s.parsed("origin", Origin::parse)?;
    let mut inputs = vec![rules];
    inputs.extend(table);
    let mut sources: Vec<Opened> = Vec::new();
    for source in &merge.sources {
        let labels = open_stack(&source.labels, c.io)?;
        inputs.extend(with_role(labels.inputs()?, "labels"));
        let margin = source.margin.as_ref().map(|path| open_stack(path, c.io)).transpose()?;
        if let Some(margin) = &margin {
            inputs.extend(with_role(margin.inputs()?, "margin"));
        }
        let first = sources.first().map_or(labels.dims(), |(l, _): &Opened| l.dims());
        let of = |name| move |path: &Path, d: Dims| other_shape((name, d), ("first source", first)).at(path);
        if labels.dims() != first {
            return Err(of("source")(&source.labels, labels.dims()));
        }
        if let (Some(path), Some(d)) = (&source.margin, margin.as_ref().map(|m| m.dims()).filter(|&d| d != first)) {
            return Err(of("margin")(path, d));
        }
        sources.push((labels, margin));
    }
    let dims = sources[0].0.dims();
    let params = Json::obj([("merge", merge.to_json(&classes)), ("origin", origin.name().into())]);
    let making = Making { dims, spacing: sources[0].0.spacing(), stage: "merge", params, inputs, origins: true };
    let mut writer = LedgerWriter::create(&base, making, &classes, overwrite)?;
    let progress = Progress::new(&c.talk, "merge", "slices");
    let n = dims.slice();
    let (mut labels, mut origins) = (vec![0u8; n], vec![0u8; n]);
    let mut said: Vec<Vec<f32>> = sources.iter().map(|_| vec![0f32; n]).collect();
    // Where there is no margin a source is sure.
    let mut sure: Vec<Vec<f32>> = sources.iter().map(|_| vec![1f32; n]).collect();
    while writer.next_slice() < dims.nz {
        check_interrupt()?;
        let z = writer.next_slice();
        for (i, (source, margin)) in sources.iter().enumerate() {
            source.read(z..z + 1, 0..dims.ny, &mut said[i])?;
            if let Some(margin) = margin {
                margin.read(z..z + 1, 0..dims.ny, &mut sure[i])?;
            }
        }
        let mut cases: BTreeMap<Case, u64> = BTreeMap::new();
        let mut claims: Vec<Claim> = Vec::new();
        for at in 0..n {
            claims.clear();
            for (i, source) in merge.sources.iter().enumerate() {
                let value = said[i][at];
                let class = source.mapping.label(value).ok_or_else(|| {
                    Error::data(format!("the value {value} at x {}, y {}, z {z}", at % dims.nx, at / dims.nx))
                        .help(format!("the source's map knows {}", source.mapping.to_text()))
                        .at(&source.labels)
                })?;
                claims.extend(merge.claim(i, class, sure[i][at]));
            }
            let (label, case) = merge.voxel(&claims);
            *cases.entry(case).or_default() += 1;
            (labels[at], origins[at]) = (label, if label == UNLABELLED { 0 } else { origin.0 });
        }
        for (case, n) in cases {
            writer.count(&case.name(&classes), n)?;
        }
        writer.write(&labels, &origins)?;
        progress.update(z as u64 + 1, dims.nz as u64, ((z + 1) * n) as u64);
    }
    progress.finish();
    let manifest = writer.finish(Vec::new(), c.run_record())?;
    counts(c, &manifest)?;
    written(c, &base, &manifest)
}
