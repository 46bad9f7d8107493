//! `tomolith seg split`: which patches train, validate and test, and what leaks.

use super::read_text;
use crate::cli::labels::OVERWRITE;
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::segment::patches::List;
use crate::segment::split::{By, Dealing, FOLDS, Ratios, deal, text};

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "split"],
    about: "Deal patches to training, validation and test, and say what leaks between them",
    details: "By patch is the authors' way (85/15 in their rounds, 72.25/12.75/15 in the last): their patches overlap by half, \
              so most of what validates was trained on. By slice, scan or cell whole groups are dealt; --validation and --test \
              name scans or cells instead. The report says which part of the validation and test pixels lies in a training \
              patch, within --near voxels of one, and in one of another scan of the same cell.",
    examples: "  tomolith seg split patches.json --by patch --ratios 85/15 -o split.json\n  \
               tomolith seg split patches.json --by slice --ratios 72/13/15 --seed 1 -o split.json\n  \
               tomolith seg split patches.json --by cell --validation cell3 --test cell4,cell5 -o split.json",
    groups: &[(
        "",
        &[
            Opt::new("patches", Takes::Argument("PATCHES.json"), "What `seg patches` wrote"),
            Opt::new("by", Takes::Choice(&["patch", "slice", "scan", "cell"]), "What stays together").default("slice"),
            Opt::new("ratios", Takes::Value("A/B[/C]"), "Percent that train, validate and test").default("85/15"),
            Opt::new("validation", Takes::Value("NAME,…"), "Scans or cells that validate"),
            Opt::new("test", Takes::Value("NAME,…"), "Scans or cells that test"),
            Opt::new("near", Takes::Number("N"), "Voxels from a training patch that the report calls near")
                .default("8"),
            Opt::new("seed", Takes::Number("N"), "Seed of the shuffle").default("0"),
            Opt::new("output", Takes::Value("FILE.json"), "Where to write").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (path, out) = (s.required_path("patches")?, s.required_path("output")?);
    let list = List::parse(&read_text(&path)?).map_err(|e| e.at(&path))?;
    let names = |name: &str| -> Result<Vec<String>> {
        Ok(s.text(name)?.into_iter().flat_map(|t| t.split(',')).map(|n| n.trim().to_string()).collect())
    };
    let named = [names("validation")?, names("test")?];
    let given = named.iter().any(|n| !n.is_empty());
    if given && s.is_given("ratios")? {
        return Err(Error::usage("--ratios and names exclude each other").help("leave one of them out"));
    }
    let dealing = Dealing {
        by: s.parsed("by", By::parse)?,
        ratios: s.parsed("ratios", Ratios::parse)?,
        seed: s.parsed("seed", values::seed)?,
        named: given.then_some(named),
    };
    let folds = deal(&list, &dealing).map_err(|e| e.at(&path))?;
    let (text, leaks) = text(&list, &dealing, &folds, s.parsed("near", values::index)?);
    write_text(&out, &text, s.is_on("overwrite")?)?;
    for fold in FOLDS {
        let n = folds.iter().filter(|f| **f == fold).count();
        c.out.line(format!("{:12} {n:>8} patches {:6.2} %", fold.name(), 100.0 * n as f64 / folds.len() as f64))?;
    }
    for (fold, leak) in FOLDS[1..].iter().zip(&leaks).filter(|(_, l)| l.patches > 0) {
        let [same, near, cell] = leak.parts().map(|p| p.map_or("unknown".into(), |p| format!("{:.2} %", 100.0 * p)));
        c.out.line(format!(
            "{:12} trained on {same}, near training {near}, trained on in another scan of the cell or this one {cell}",
            fold.name()
        ))?;
        if leak.same > 0 {
            c.talk.warn(format!(
                "{} of the pixels of {} were trained on: its figures will be too good",
                leak.parts()[0].map_or(String::new(), |p| format!("{:.1} %", 100.0 * p)),
                fold.name()
            ));
        }
    }
    Ok(())
}
