//! `tomolith seg propose`: which slices to label next.

use super::patches::planes;
use crate::cli::labels::OVERWRITE;
use crate::cli::open::is_native;
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::{open_stack, write_text};
use crate::json::Json;
use crate::provenance::InputFile;
use crate::segment::import::other_shape;
use crate::segment::ledger::{Ledger, origins_of};
use crate::segment::propose::{Scan, Wanted, mostly_labelled, propose, scores};
use crate::volume::Source;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "propose"],
    about: "Propose the slices to label next: where the network is least sure, spread over scans",
    details: "SCAN is NAME=MAP.mhd or NAME=MAP.mhd,LABELS.mhd: a map that `seg predict` wrote and the labels that there are. The \
              score of a slice is the mean of the map. Slices are taken from the greatest score down, each at least --apart \
              from others of its scan and plane and from those that are labelled, and at most n / --spread of a scan. A slice is \
              labelled where --labelled-part of its pixels have a label, but those that another slice through them has more \
              densely: one labelled xy slice does not make every xz slice labelled. Fewer than N are told as a warning, none \
              are an error. The first and last slices are often the least sure, because less is \
              seen around them: --edge leaves them out.",
    examples: "  tomolith seg propose a=a.entropy.mhd,a_labels.mhd b=b.entropy.mhd --planes xz,yz -n 42 --spread 11 -o next.json",
    groups: &[(
        "",
        &[
            Opt::new("scans", Takes::Arguments("SCAN"), "Maps, with their names and labels"),
            Opt::new("count", Takes::Number("N"), "Slices").short('n').default("10"),
            Opt::new("spread", Takes::Number("N"), "Scans they are spread over, at least").default("1"),
            Opt::new("apart", Takes::Number("N"), "Slices from one to the next").default("10"),
            Opt::new("edge", Takes::Number("N"), "Slices at both ends that are not asked for").default("0"),
            Opt::new("planes", Takes::Value("PLANE,…"), "Planes of the slices").default("xz,yz"),
            Opt::new("score", Takes::Choice(&["entropy", "margin"]), "What the maps are").default("entropy"),
            Opt::new("labelled-part", Takes::Number("PART"), "Part of a slice whose labels make it labelled")
                .default("0.01"),
            Opt::new("output", Takes::Value("FILE.json"), "Write them").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let wanted = Wanted {
        count: s.parsed("count", values::count)?,
        spread: s.parsed("spread", values::count)?,
        apart: s.parsed("apart", values::count)?,
        edge: s.parsed("edge", values::index)?,
        planes: s.parsed("planes", planes)?,
        sure: s.text("score")? == Some("margin"),
    };
    let part = s.parsed("labelled-part", values::number)?;
    let (mut names, mut scans, mut inputs) = (Vec::<String>::new(), Vec::<Scan>::new(), Vec::<InputFile>::new());
    for path in s.required_paths("scans")? {
        let text = path.to_str().ok_or_else(|| Error::usage("SCAN: not valid UTF-8 text"))?.to_string();
        let (name, files) =
            text.split_once('=').filter(|(name, files)| !name.is_empty() && !files.is_empty()).ok_or_else(|| {
                Error::usage(format!("'{text}' is no scan")).help("write NAME=MAP.mhd or NAME=MAP.mhd,LABELS.mhd")
            })?;
        if names.iter().any(|n| n == name) {
            return Err(Error::usage(format!("two scans are named '{name}'")));
        }
        let (map, labels) = files.split_once(',').map_or((files, None), |(map, labels)| (map, Some(labels)));
        let open = |path: &str| open_stack(path.trim().as_ref(), c.io);
        let map_source = open(map)?;
        let have = match labels {
            Some(path) => {
                let source = open(path)?;
                if source.dims() != map_source.dims() {
                    return Err(other_shape(("volume of labels", source.dims()), ("map", map_source.dims())).at(path));
                }
                inputs.extend(source.inputs()?);
                // Who said it, where somebody wrote that down.
                let file = Path::new(path.trim());
                let origins =
                    if is_native(file) && origins_of(file).exists() { Ledger::open(file, c.io)?.origins } else { None };
                if let Some(origins) = &origins {
                    inputs.extend(origins.inputs()?);
                }
                let origins = origins.as_ref().map(|o| o as &dyn Source);
                Some(mostly_labelled(source.as_ref(), origins, part)?)
            }
            None => None,
        };
        inputs.extend(map_source.inputs()?);
        scans.push((scores(map_source.as_ref(), wanted.sure).map_err(|e| e.at(map))?, have));
        names.push(name.to_string());
    }
    let found = propose(&scans, &wanted)?;
    if found.is_empty() {
        let labelled = |(_, have): &Scan| {
            have.iter()
                .flat_map(|have| wanted.planes.iter().flat_map(|p| &have[p.plane() as usize]))
                .filter(|l| **l)
                .count()
        };
        let all: usize =
            scans.iter().flat_map(|(s, _)| wanted.planes.iter().map(|p| s[p.plane() as usize].len())).sum();
        return Err(Error::data(format!(
            "no slice to propose: of {all} slices {} are labelled, and the others are less than --apart {} from them or \
             among the --edge {} at the ends",
            scans.iter().map(labelled).sum::<usize>(),
            wanted.apart,
            wanted.edge
        ))
        .help("ask for other --planes, lower --apart or --edge, or raise --labelled-part"));
    }
    for p in &found {
        c.out.line(format!("{:24} {} {:>6}   {:.6}", names[p.scan], p.plane.name(), p.slice, p.score))?;
    }
    if found.len() < wanted.count {
        c.talk.warn(format!(
            "{} slices of {}: no others are apart enough, not labelled, and of a scan that has not its share",
            found.len(),
            wanted.count
        ));
    }
    let one = |p: &crate::segment::propose::Proposal| {
        Json::obj([
            ("scan", names[p.scan].as_str().into()),
            ("plane", p.plane.name().into()),
            ("slice", p.slice.into()),
            ("score", p.score.into()),
        ])
    };
    let mut members = vec![
        ("schema", "tomolith-proposal-1".into()),
        ("score", s.text("score")?.map_or(Json::Null, Json::from)),
        ("count", wanted.count.into()),
        ("spread", wanted.spread.into()),
        ("apart", wanted.apart.into()),
        ("labelled_part", part.into()),
        ("inputs", Json::Arr(inputs.iter().map(InputFile::to_json).collect())),
        ("slices", Json::Arr(found.iter().map(one).collect())),
    ];
    if wanted.edge > 0 {
        members.push(("edge", wanted.edge.into()));
    }
    let json = Json::obj(members);
    match s.path("output")? {
        Some(path) => write_text(&path, &json.to_canonical(), s.is_on("overwrite")?),
        None => Ok(()),
    }
}
