//! `tomolith seg train`: the network on patches of labelled volumes.

use super::predict::{OTHER_GREY, grey_of, refuse_or_warn};
use super::{inputs, read_text};
use crate::cli::device::Device;
use crate::cli::labels::classes;
use crate::cli::net::train::{TRAINING, begin, recipe, train};
use crate::cli::net::{BEGIN, CHANNELS, FOLDER, RESUME, SEED, VARIANT};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::{open_stack, write_text};
use crate::kernels::augment::NOISE_KIND;
use crate::nn::fit::{Epoch, Patches};
use crate::nn::weights;
use crate::provenance::Digest;
use crate::segment::augment::Options;
use crate::segment::learn::Cuts;
use crate::segment::ledger::Ledger;
use crate::segment::patches::List;
use crate::segment::predict::Grey;
use crate::segment::split::{self, Fold};
use crate::volume::{Dtype, Source};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "train"],
    about: "Train the network on patches of labelled volumes",
    details: "SCAN is NAME=GREY,LABELS for each scan of --patches. Patches of the split's training fold are learnt from, those of \
              its validation fold decide which epoch is best; its test fold is not touched. Grey values are scaled so that \
              --grey LOW,HIGH become 0 and 1, and the weights remember it, with mean and standard deviation of what was learnt \
              from; a scan whose grey values are nearly all beyond the two is refused. --augment disturbs every patch anew \
              in every epoch, \
              the same way for any number of threads (loaders=128: as the authors' data loaders did, 128 batches alike). DIR is that of `net train`, and --resume goes on in it. With --seeds there is one \
              training after the other, each in DIR/seed_N, and DIR/seeds.csv: how far they differ is how far a figure can be trusted.",
    examples: "  tomolith seg train --patches patches.json --split split.json a=a.mhd,labels/a.mhd b=b.mhd,labels/b.mhd \\\n    \
               --grey 0,1.2 --augment authors -o run",
    groups: &[
        (
            "Data",
            &[
                Opt::new("scans", Takes::Arguments("SCAN"), "Grey values and labels of each scan"),
                Opt::new("patches", Takes::Value("FILE.json"), "Patches, by `seg patches`"),
                Opt::new("split", Takes::Value("FILE.json"), "Their folds, by `seg split` [default: all train]"),
                Opt::new(
                    "grey",
                    Takes::Number("LOW,HIGH"),
                    "Grey values that become 0 and 1 [default: the weights', or those of u8]",
                ),
                OTHER_GREY,
                Opt::new("augment", Takes::Value("NAME,…"), "none, authors, or either with name=value").default("none"),
                FOLDER,
                RESUME,
            ],
        ),
        (
            "Network",
            &[
                BEGIN,
                VARIANT,
                CHANNELS,
                Opt::new("context", Takes::Number("N"), "Slices on each side that the network sees, too").default("0"),
                SEED,
                Opt::new("seeds", Takes::Value("N,N,…"), "Train once with each of these"),
                crate::cli::labels::CLASSES,
            ],
        ),
        ("Training", TRAINING),
    ],
    run,
};

/// Most slices on each side.
const MOST_CONTEXT: usize = 31;

/// Name, grey values and labels of a scan.
fn scan(text: &Path) -> Result<(String, PathBuf, PathBuf)> {
    let text = text.to_str().ok_or_else(|| Error::usage("SCAN: not valid UTF-8 text"))?;
    let parts = text.split_once('=').and_then(|(name, files)| Some((name, files.split_once(',')?)));
    match parts {
        Some((name, (grey, labels))) if ![name, grey, labels].contains(&"") => {
            Ok((name.into(), grey.into(), labels.into()))
        }
        _ => {
            Err(Error::usage(format!("'{text}' is no scan"))
                .help("write NAME=GREY,LABELS such as a=a.mhd,labels/a.mhd"))
        }
    }
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let path = s.required_path("patches")?;
    let list = List::parse(&read_text(&path)?).map_err(|e| e.at(&path))?;
    let (table, _) = classes(s)?;
    let names: Vec<&str> = table.list().iter().map(|class| class.name.as_str()).collect();
    if names != list.classes {
        return Err(Error::data(format!(
            "patches of the classes {}, not {}",
            list.classes.join(", "),
            names.join(", ")
        ))
        .help("give the --classes that the patches were listed with")
        .at(&path));
    }
    let folds = match s.path("split")? {
        Some(split) => split::parse(&read_text(&split)?, &list).map_err(|e| e.at(&split))?,
        None => vec![Fold::Train; list.patches.len()],
    };
    let context = s.parsed("context", values::index)?;
    let seeds = match s.parse("seeds", seeds)? {
        Some(_) if s.is_given("seed")? => {
            return Err(Error::usage("--seed with --seeds").help("leave one of the two out"));
        }
        given => given,
    };
    let seed = s.parsed("seed", values::seed)?;
    let first = seeds.as_ref().map_or(seed, |list| list[0]);
    let channels = 2 * context.min(MOST_CONTEXT + 1) + 1;
    let network = begin(s, Some(names.len()), channels, first)?;
    let inputs = network.config.inputs;
    if inputs.is_multiple_of(2) || s.is_given("context")? && inputs != 2 * context + 1 {
        return Err(Error::usage(format!("--context {context}: the weights take {inputs} slices"))
            .help("leave it out: the weights say how many"));
    }
    network.config.check_size(list.size, list.size).map_err(|e| e.at(&path))?;
    if network.config.classes != names.len() {
        let what = format!("the weights tell {} classes apart, there are {}", network.config.classes, names.len());
        return Err(Error::data(what).help("begin with other weights, or with --classes of their number"));
    }
    let mut about = String::new();
    let mut given = BTreeMap::new();
    for text in s.required_paths("scans")? {
        let (name, grey, labels) = scan(&text)?;
        if given.insert(name.clone(), (grey, labels)).is_some() {
            return Err(Error::usage(format!("the scan {name} is given twice")));
        }
    }
    let (mut volumes, mut all_u8) = (Vec::new(), true);
    for scan in &list.scans {
        let (grey, labels) = given.remove(&scan.name).ok_or_else(|| {
            Error::usage(format!("the scan {} is missing", scan.name))
                .help("give every scan of the list: NAME=GREY,LABELS")
        })?;
        let ledger = Ledger::open(&labels, c.io)?;
        let found = ledger.labels.digest()?;
        if found != scan.labels {
            return Err(Error::data(format!("not the labels that the patches of {} were listed from", scan.name))
                .help("list the patches again: the labels have changed")
                .at(&labels));
        }
        let values = open_stack(&grey, c.io)?;
        all_u8 &= values.dtype() == Dtype::U8;
        let _ = writeln!(about, "labels of {} {}", scan.name, found.hex());
        if let Some(found) = inputs::digest(c, &grey)? {
            let _ = writeln!(about, "grey of {} {}", scan.name, found.hex());
        }
        volumes.push((values, ledger));
    }
    if let Some(name) = given.keys().next() {
        return Err(Error::usage(format!("the list has no scan {name}")));
    }
    let known = match s.path("weights")? {
        Some(path) => grey_of(&weights::read(&path)?.metadata).map_err(|e| e.at(&path))?,
        None => None,
    };
    let grey = match (s.parse("grey", super::predict::grey)?, known) {
        (Some(asked), Some(known)) if asked != known && !s.is_on("other-grey")? => {
            let what = format!("--grey {},{}: the weights know {},{}", asked.low, asked.high, known.low, known.high);
            return Err(Error::usage(what).help("leave --grey out, or have them learn another scale: --other-grey"));
        }
        (Some(grey), _) | (None, Some(grey)) => grey,
        (None, None) if all_u8 => Grey { low: 0.0, high: 255.0 },
        (None, None) => {
            return Err(
                Error::usage("--grey is missing").help("give the grey values that become 0 and 1: --grey 0,1.2")
            );
        }
    };
    let augment = s.parsed("augment", Options::parse)?;
    let _ = writeln!(
        about,
        "patches {}\nfolds {}\ngrey {},{}\naugment {}",
        list.digest(),
        Digest::of(&folds.iter().map(|&f| f as u8).collect::<Vec<u8>>()).hex(),
        grey.low,
        grey.high,
        augment.to_text()
    );
    if augment.noise > 0.0 {
        // Another one before: what was begun with it cannot go on.
        let _ = writeln!(about, "noise {NOISE_KIND}");
    }
    let sources: Vec<[&dyn Source; 2]> =
        volumes.iter().map(|(values, ledger)| [values.as_ref(), &ledger.labels as &dyn Source]).collect();
    let of = |fold: Fold| -> Result<Cuts> {
        let which: Vec<usize> = (0..folds.len()).filter(|&i| folds[i] == fold).collect();
        Cuts::of(&list, &which, &sources, grey, inputs / 2)
    };
    let (training, validation) = (of(Fold::Train)?, of(Fold::Validation)?);
    for (scan, (a, b)) in list.scans.iter().zip(training.clipped().iter().zip(validation.clipped())) {
        refuse_or_warn(c, a.clone().and(b).check(&scan.name, grey), "the scan to the grey scale of the others")?;
    }
    for (class, pixels) in table.list().iter().zip(training.labelled(names.len())) {
        c.talk.note(format!("{:22} {pixels:>10} pixels to learn from", class.name));
        if pixels == 0 {
            c.talk.warn(format!("no pixel of {} to learn from: it will not be found", class.name));
        }
    }
    let validation = (!validation.is_empty()).then_some(&validation as &dyn Patches);
    let metadata =
        [("grey_low", grey.low.to_string()), ("grey_high", grey.high.to_string()), ("classes", names.join(","))];
    let metadata = metadata.map(|(k, v)| (k.to_string(), v)).into_iter().chain(training.moments().metadata()).collect();
    let (folder, resume) = (s.required_path("output")?, s.is_on("resume")?);
    // Of all seeds: what a GPU keeps of the patches stays.
    let device = Device::open_to_train(c, s.is_on("fast")?)?;
    let Some(seeds) = seeds else {
        let (recipe, how) = recipe(s, &network, seed)?;
        let training = training.disturbed(augment, seed);
        return train(c, &device, &folder, resume, network, &recipe, &training, validation, &(how + &about), &metadata)
            .map(|_| ());
    };
    let (mut training, mut table) = (training, String::new());
    for seed in seeds {
        let network = begin(s, Some(names.len()), channels, seed)?;
        let (recipe, how) = recipe(s, &network, seed)?;
        training = training.disturbed(augment, seed);
        let folder = folder.join(format!("seed_{seed}"));
        // A seed that was not begun is begun.
        let resume = resume && folder.join("last.safetensors").exists();
        c.talk.note(format!("seed {seed}"));
        let kept =
            train(c, &device, &folder, resume, network, &recipe, &training, validation, &(how + &about), &metadata)?;
        if let Some((number, epoch)) = kept {
            let _ = writeln!(table, "{seed},{}", epoch.line(number));
        }
    }
    write_text(&folder.join("seeds.csv"), &(format!("seed,{}\n", Epoch::header(names.len())) + &table), true)
}

/// Seeds, each once.
fn seeds(text: &str) -> Result<Vec<u64>> {
    let list: Vec<u64> = text.split(',').map(|n| values::seed(n.trim())).collect::<Result<_>>()?;
    match list.iter().enumerate().find(|(i, n)| list[..*i].contains(n)) {
        Some((_, n)) => Err(Error::usage(format!("--seeds names {n} twice"))),
        None => Ok(list),
    }
}
