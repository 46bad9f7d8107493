//! `tomolith evaluate`, and what `analyze --evaluated` reads: series whose predicted and true labels are both known.

use super::given::read_json;
use crate::analysis::evaluated::{Evaluated, FEWEST};
use crate::analysis::quantity::SCHEMA as RESULTS;
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use crate::provenance::{Digest, InputFile};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["evaluate"],
    about: "Keep what a segmentation does to every number, of series whose truth is known, in one small file",
    details: "Of three or more series that were labelled by one network and whose true labels are known, drawn or synthetic: give what \
              `analyze` wrote of the predicted labels and of the true ones, of the same voxels, field, classes, roles, turn, cell area and least dendrite. Kept are \
              the pairs of numbers, predicted and true, and what they are numbers of. `analyze --evaluated FILE.json` corrects the \
              numbers of another such series by them, and its intervals hold one more series; the results themselves are not needed there. \
              `run` refuses those of another file of weights than its own; what labels that are given to `analyze` are of nothing tells.",
    examples: "  tomolith evaluate --predicted a/results.json,b/results.json,c/results.json \\\n    --truth \
               a.truth/results.json,b.truth/results.json,c.truth/results.json --network best.safetensors -o errors.json\n  \
               tomolith analyze d.toml --evaluated errors.json -o d",
    groups: &[(
        "",
        &[
            Opt::new("predicted", Takes::Value("FILE.json,…"), "results.json of predicted labels, one of each series"),
            Opt::new("truth", Takes::Value("FILE.json,…"), "results.json of their true labels, in the same order"),
            Opt::new("network", Takes::Value("FILE"), "Weights that predicted them: their digest is kept"),
            Opt::new("output", Takes::Value("FILE.json"), "Where to write").short('o'),
            Opt::new("overwrite", Takes::Switch, "Replace an existing file"),
        ],
    )],
    run,
};

/// Schema of what is kept.
const SCHEMA: &str = "tomolith-evaluated-2";
/// What those of all versions begin with.
const SCHEMAS: &str = "tomolith-evaluated-";
/// Role of the results of predicted labels.
const PREDICTED: &str = "evaluated";
/// Parameters in which evaluated series, their truth and what is corrected by them must be equal: other voxels, fields, classes,
/// turns, cells or least dendrites make other numbers.
pub(super) const ABOUT: [&str; 7] =
    ["classes", "roles", "voxel_um", "dims_zyx", "turn", "cell_area_cm2", "least_voxels"];

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (output, overwrite) = (s.required_path("output")?, s.is_on("overwrite")?);
    let (predicted, truth) = (list(s.text("predicted")?), list(s.text("truth")?));
    let Some(first) = predicted.first() else {
        return Err(Error::usage("--predicted is missing").help("name what `analyze` wrote of each series; see --help"));
    };
    let parameters = read_json(first)?.0.get("parameters").cloned().unwrap_or(Json::Null);
    let about = ABOUT.map(|key| (key, parameters.get(key).cloned().unwrap_or(Json::Null)));
    let mut inputs = Vec::new();
    let kept = series(&predicted, &truth, &about, &mut inputs)?;
    let network = match s.path("network")? {
        Some(path) => Some(Digest::of_file(&path)?.0.hex()),
        None => None,
    };
    let members = [
        ("schema", SCHEMA.into()),
        ("analyze", super::VERSION.into()),
        ("parameters", Json::obj(about)),
        ("network", network.as_deref().into()),
        ("results", Json::Arr(inputs.iter().map(|i| i.digest.hex().as_str().into()).collect())),
    ];
    write_text(&output, &text(&members, &kept.to_json()), overwrite)?;
    c.out.line(format!("{}: {} series", output.display(), kept.count()))
}

/// One number of a series on a line: JSON that is small, and can be looked at.
fn text(members: &[(&str, Json)], series: &Json) -> String {
    let mut text = String::from("{\n");
    for (key, value) in members {
        let _ = writeln!(text, "\"{key}\": {},", value.to_line());
    }
    let series: Vec<String> = series
        .as_arr()
        .unwrap_or(&[])
        .iter()
        .map(|one| {
            let numbers = one.get("numbers").and_then(Json::as_arr).unwrap_or(&[]).iter().map(Json::to_line);
            let steps = one.get("steps").unwrap_or(&Json::Null).to_line();
            format!("{{\"steps\": {steps}, \"numbers\": [\n{}\n]}}", numbers.collect::<Vec<_>>().join(",\n"))
        })
        .collect();
    let _ = writeln!(text, "\"series\": [{}]\n}}", series.join(",\n"));
    text
}

/// Whether this is what [`COMMAND`] writes.
///
/// # Errors
/// Data: it is what another version of it wrote.
fn is_kept(json: &Json) -> Result<bool> {
    let schema = json.get("schema").and_then(Json::as_str).unwrap_or("");
    match schema != SCHEMA && schema.starts_with(SCHEMAS) {
        true => Err(Error::data(format!("is of the schema {schema}, not {SCHEMA}"))
            .help("make it again by `tomolith evaluate`")),
        false => Ok(schema == SCHEMA),
    }
}

/// Digest of the weights whose errors a file keeps, if it is such a file and tells.
///
/// # Errors
/// Data: no JSON, or of another version.
pub fn network_of(kept: &str) -> Result<Option<String>> {
    let json = Json::parse(kept)?;
    Ok(if is_kept(&json)? { json.get("network").and_then(Json::as_str).map(String::from) } else { None })
}

/// Series whose true labels are known: one file that [`COMMAND`] wrote, or results of the predicted labels, and of the true ones. `own`
/// are the parameters [`ABOUT`] of this analysis, which theirs must equal.
///
/// # Errors
/// Usage: one list without the other; fewer than [`FEWEST`]. Missing; data: no results, the same twice, another parameter.
pub fn evaluated(
    predicted: Option<&str>,
    truth: Option<&str>,
    own: &[(&str, Json)],
    inputs: &mut Vec<InputFile>,
) -> Result<Option<Evaluated>> {
    let (predicted, truth) = (list(predicted), list(truth));
    if let ([kept], []) = (&predicted[..], &truth[..]) {
        let (json, input) = read_json(kept)?;
        if is_kept(&json).map_err(|e| e.at(kept))? {
            is_alike(own, &json).map_err(|e| e.at(kept))?;
            let all = json.need("series").and_then(Evaluated::from_json).map_err(|e| e.at(kept))?;
            inputs.push(InputFile { role: PREDICTED.into(), ..input });
            return Ok(Some(all));
        }
    }
    match predicted.is_empty() && truth.is_empty() {
        true => Ok(None),
        false => series(&predicted, &truth, own, inputs).map(Some),
    }
}

/// Results of predicted and of true labels, each series once.
fn series(
    predicted: &[PathBuf],
    truth: &[PathBuf],
    own: &[(&str, Json)],
    inputs: &mut Vec<InputFile>,
) -> Result<Evaluated> {
    if predicted.len() != truth.len() {
        return Err(Error::usage(format!("{} results of predicted labels, {} of true ones", predicted.len(), truth.len()))
            .help("give for each evaluated series what `analyze` wrote of its predicted and, with --truth, of its true labels"));
    }
    if predicted.len() < FEWEST {
        return Err(Error::usage(format!("{} evaluated series tell no spread", predicted.len()))
            .help(format!("give {FEWEST} or more")));
    }
    let mut read = |path: &Path, role: &str| -> Result<Json> {
        let (json, input) = read_json(path)?;
        if json.get("schema").and_then(Json::as_str) != Some(RESULTS) {
            return Err(Error::data("is not what `analyze` writes").at(path));
        }
        is_alike(own, &json).map_err(|e| e.at(path))?;
        let input = InputFile { role: role.into(), ..input };
        if role == PREDICTED && inputs.iter().any(|i| i.role == role && i.digest == input.digest) {
            return Err(Error::data("the same evaluated series a second time: it tells no spread")
                .help("give each series once")
                .at(path));
        }
        inputs.push(input);
        Ok(json)
    };
    let mut all = Evaluated::default();
    for (p, t) in predicted.iter().zip(truth) {
        all.add(&read(p, PREDICTED)?, &read(t, "truth of evaluated")?).map_err(|e| e.at(p))?;
    }
    Ok(all)
}

fn list(text: Option<&str>) -> Vec<PathBuf> {
    text.into_iter().flat_map(|t| t.split(',')).map(|p| PathBuf::from(p.trim())).collect()
}

/// Refuses results of other parameters.
fn is_alike(own: &[(&str, Json)], results: &Json) -> Result<()> {
    let differs = own.iter().find_map(|(key, own)| {
        let other = results.get("parameters").and_then(|p| p.get(key)).unwrap_or(&Json::Null);
        (!alike(own, other)).then_some((key, other.to_line()))
    });
    match differs {
        None => Ok(()),
        Some((key, other)) => Err(Error::data(format!("its {key} is {other}, and another in this analysis"))
            .help("give evaluated series that were analysed as this one is, and their truth alike")),
    }
}

/// Whether two parameters are one: numbers within rounding, as 1.33 um and 0.00133 mm are.
fn alike(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Arr(a), Json::Arr(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        _ => match a.as_f64().zip(b.as_f64()) {
            Some((a, b)) => (a - b).abs() <= 1e-9 * a.abs(),
            None => a.to_line() == b.to_line(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluated_series_are_as_this_one_and_each_is_given_once() {
        let folder = std::env::temp_dir().join(format!("tomolith-evaluated-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let own = |voxel: f64, turn: Option<usize>| {
            let voxel = Json::Arr([voxel, 1.33].map(Json::from).to_vec());
            [("voxel_um", voxel), ("turn", turn.into())]
        };
        let name = |k: usize| folder.join(format!("{k}.json")).to_string_lossy().into_owned();
        let list = |all: &[usize]| all.iter().map(|k| name(*k)).collect::<Vec<_>>().join(",");
        for (k, (voxel, turn)) in
            [(1.33, Some(12)), (1.0 + 0.33, Some(12)), (1.33, Some(12)), (1.34, Some(12)), (1.33, None)]
                .into_iter()
                .enumerate()
        {
            let json = Json::obj([
                ("schema", RESULTS.into()),
                ("parameters", Json::obj(own(voxel, turn))),
                ("quantities", Json::Arr(Vec::new())),
                ("scans", Json::Arr(Vec::new())),
                ("notes", k.into()),
            ]);
            std::fs::write(name(k), json.to_canonical()).unwrap();
        }
        let read = |all: &[usize], truth: &[usize]| {
            evaluated(Some(&list(all)), Some(&list(truth)), &own(1.33, Some(12)), &mut Vec::new())
        };
        assert_eq!(read(&[0, 1, 2], &[2, 2, 2]).unwrap().unwrap().count(), 3);
        let says = |all: &[usize], truth: &[usize]| read(all, truth).err().unwrap().to_string();
        assert!(says(&[0, 1, 0], &[2, 2, 2]).contains("a second time"));
        assert!(says(&[0, 1, 3], &[2, 2, 2]).contains("voxel_um is [1.34"), "{}", says(&[0, 1, 3], &[2, 2, 2]));
        assert!(says(&[0, 1, 2], &[2, 2, 4]).contains("turn is null"));
        // What was kept of them, and of a series that is analysed otherwise.
        let kept = read(&[0, 1, 2], &[2, 2, 2]).unwrap().unwrap();
        let members =
            [("schema", SCHEMA.into()), ("parameters", Json::obj(own(1.33, Some(12)))), ("network", "ab".into())];
        std::fs::write(name(9), text(&members, &kept.to_json())).unwrap();
        assert_eq!(network_of(&std::fs::read_to_string(name(9)).unwrap()).unwrap().as_deref(), Some("ab"));
        let with = |voxel: f64| evaluated(Some(&name(9)), None, &own(voxel, Some(12)), &mut Vec::new());
        assert_eq!(with(1.33).unwrap().unwrap(), kept);
        assert!(with(1.34).unwrap_err().to_string().contains("voxel_um"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
