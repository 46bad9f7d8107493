//! `tomolith seg eval`: predictions against truths.

use crate::cli::labels::{CLASSES, OVERWRITE, classes};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::seg::OTHER_TABLE;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::{open_stack, write_text};
use crate::json::Json;
use crate::provenance::InputFile;
use crate::report::quality::SCHEMA;
use crate::segment::bootstrap::{Draws, Interval, intervals, units};
use crate::segment::calibration::Calibration;
use crate::segment::classes::{Classes, Mapping};
use crate::segment::evaluate::{Counts, How, Pair, evaluate};
use crate::segment::ledger::check_classes;
use crate::segment::orient::Plane;
use crate::volume::Source;
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "eval"],
    about: "Compare predictions with truths: accuracy, IoU, precision, recall, outlines, calibration, intervals",
    details: "Voxels without truth (255) are left out, those without prediction count as wrong. Several scans are given with \
              commas, in the same order, and pooled. foreground_iou is the authors' total: right foreground voxels over all but \
              the true background. Intervals: 95 %, slices of --plane drawn again (--units of them together: neighbours are \
              alike, so 1 makes intervals too narrow). Boundary IoU looks at what lies within --boundary pixels of an outline. \
              metrics.json has every figure, by scan and together, and the confusion matrix in whole numbers.",
    examples: "  tomolith seg eval --prediction out/seg.mhd --truth labels.mhd -o metrics.json\n  \
               tomolith seg eval --prediction a.mhd,b.mhd --truth ta.mhd,tb.mhd --truth-map cell-to-network --units 8",
    groups: &[(
        "",
        &[
            Opt::new("prediction", Takes::Value("VOLUME,…"), "Predicted classes"),
            Opt::new("truth", Takes::Value("VOLUME,…"), "True classes"),
            Opt::new("mask", Takes::Value("VOLUME,…"), "Only where these are not 0"),
            Opt::new(
                "confidence",
                Takes::Value("VOLUME,…"),
                "Confidence of the predicted class, 0 to 1, for calibration",
            ),
            Opt::new("prediction-map", Takes::Value("NAME|RULES"), "What values of the prediction mean")
                .default("from-0"),
            Opt::new("truth-map", Takes::Value("NAME|RULES"), "What values of the truth mean").default("from-0"),
            CLASSES,
            Opt::new("plane", Takes::Choice(&["xy", "xz", "yz"]), "Slices of which plane").default("xy"),
            Opt::new("boundary", Takes::Number("N"), "Pixels from an outline; 0 leaves it out").default("2"),
            Opt::new("draws", Takes::Number("N"), "How often slices are drawn again; 0 leaves intervals out")
                .default("1000"),
            Opt::new("units", Takes::Number("N"), "Neighbouring slices that are drawn together").default("1"),
            Opt::new("seed", Takes::Number("N"), "Seed of the draws").default("0"),
            Opt::new("output", Takes::Value("FILE.json"), "Write metrics.json").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

/// Part that lies outside of the intervals.
const ALPHA: f64 = 0.05;

fn list(c: &Context, name: &str) -> Result<Vec<PathBuf>> {
    Ok(c.settings.text(name)?.into_iter().flat_map(|text| text.split(',')).map(|p| PathBuf::from(p.trim())).collect())
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (classes, table) = classes(s)?;
    let map = |name: &str| s.parsed(name, |text| Mapping::parse(text, &classes));
    let (of_prediction, of_truth) = (map("prediction-map")?, map("truth-map")?);
    let [predictions, truths, masks, confidences] =
        ["prediction", "truth", "mask", "confidence"].map(|name| list(c, name));
    let (predictions, truths, masks, confidences) = (predictions?, truths?, masks?, confidences?);
    if predictions.is_empty() || truths.is_empty() {
        return Err(Error::usage("what is compared with what?").help("give --prediction and --truth"));
    }
    for (name, other) in [("truth", &truths), ("mask", &masks), ("confidence", &confidences)] {
        if !other.is_empty() && other.len() != predictions.len() {
            return Err(Error::usage(format!("--{name} names {} volumes for {}", other.len(), predictions.len()))
                .help("give one for each prediction, in the same order"));
        }
    }
    let how = How {
        classes: classes.len(),
        plane: s.parsed("plane", Plane::parse)?,
        boundary: s.parsed("boundary", values::index)?,
    };
    let draws = Draws { count: s.parsed("draws", values::index)?, seed: s.parsed("seed", values::seed)?, alpha: ALPHA };
    let together = s.parsed("units", values::count)?;
    let mut inputs: Vec<InputFile> = table.into_iter().collect();
    let open = |path: &Path, role: &str, inputs: &mut Vec<InputFile>| -> Result<Box<dyn Source>> {
        let source = open_stack(path, c.io)?;
        inputs.extend(source.inputs()?.into_iter().map(|i| InputFile { role: format!("{role} {}", i.role), ..i }));
        Ok(source)
    };
    let mut scans: Vec<(String, Vec<Counts>)> = Vec::new();
    for (i, (prediction, truth)) in predictions.iter().zip(&truths).enumerate() {
        // Who says what values mean says it of any table.
        for (path, map) in [(prediction, "prediction-map"), (truth, "truth-map")] {
            if !s.is_given(map)? {
                check_classes(path, &classes)
                    .map_err(|e| e.help(format!("{OTHER_TABLE}, or say with --{map} what values are in it")))?;
            }
        }
        let p = open(prediction, "prediction", &mut inputs)?;
        let t = open(truth, "truth", &mut inputs)?;
        let mask = masks.get(i).map(|path| open(path, "mask", &mut inputs)).transpose()?;
        let confidence = confidences.get(i).map(|path| open(path, "confidence", &mut inputs)).transpose()?;
        let pair = Pair {
            prediction: (p.as_ref(), &of_prediction),
            truth: (t.as_ref(), &of_truth),
            mask: mask.as_deref(),
            confidence: confidence.as_deref(),
        };
        let progress = Progress::new(&c.talk, "eval", "slices");
        let bytes = p.dims().slice() as u64;
        let counted =
            evaluate(&pair, how, &|done, total| progress.update(done as u64, total as u64, done as u64 * bytes))
                .map_err(|e| e.at(prediction))?;
        progress.finish();
        if counted.iter().all(|c| c.confusion.total() == 0) {
            return Err(Error::data("no voxel has a truth")
                .help("look at the mask and at what is unlabelled")
                .at(truth));
        }
        scans.push((prediction.display().to_string(), counted));
    }

    let nothing = Counts::new(how.classes, !confidences.is_empty());
    let all = nothing.clone().and(scans.iter().flat_map(|(_, counted)| counted));
    let units = units(scans.iter().map(|(_, counted)| counted.as_slice()), together);
    if units.len() < 2 && draws.count > 0 {
        c.talk.note(format!(
            "no intervals: {} unit of {together} slices, and two are needed; lower --units",
            units.len()
        ));
    }
    let named = |counts: &Counts| -> [Vec<(String, Option<f64>)>; 3] {
        let outline = counts.outlines.iou().into_iter().filter(|_| how.boundary > 0).enumerate();
        let errors = counts.calibration.iter().flat_map(|c| {
            let errors = c.errors();
            [("ece", errors.map(|e| e.expected)), ("mce", errors.map(|e| e.most))]
        });
        [
            counts.confusion.figures().named(&classes),
            outline.map(|(k, v)| (classes.name(k as u8).to_string(), v)).collect(),
            errors.map(|(name, v)| (name.to_string(), v)).collect(),
        ]
    };
    let found = intervals(&units, draws, |counts| named(counts).into_iter().flatten().map(|(_, v)| v).collect());
    let [figures, outlines, errors] = named(&all);
    let (n, k) = (figures.len(), figures.len() + outlines.len());
    let found = found.as_deref();
    let (of_figures, of_outlines, of_errors) =
        (found.map(|f| &f[..n]), found.map(|f| &f[n..k]), found.map(|f| &f[k..]));
    table_of(c, &classes, &all, how, &figures, of_figures)?;
    if let [(_, Some(expected)), (_, Some(most))] = errors[..] {
        let (expected, most) = (100.0 * expected, 100.0 * most);
        c.out.line(format!("\ncalibration error {expected:.2} expected, {most:.2} at most"))?;
    }

    let with = |figures: &[(String, Option<f64>)], intervals: Option<&[Interval]>| {
        let one = |(i, (name, v)): (usize, &(String, Option<f64>))| {
            let interval =
                intervals.and_then(|list| list[i]).map_or(Json::Null, |v| Json::Arr(vec![v[0].into(), v[1].into()]));
            let members = match intervals {
                Some(_) => vec![("value", (*v).into()), ("interval", interval)],
                None => vec![("value", (*v).into())],
            };
            (name.clone(), Json::obj(members))
        };
        Json::obj(figures.iter().enumerate().map(one))
    };
    let or_null = |list: &[(String, Option<f64>)], intervals: Option<&[Interval]>| match list {
        [] => Json::Null,
        list => with(list, intervals),
    };
    let bins = |counts: &Counts| counts.calibration.as_ref().map_or(Json::Null, Calibration::to_json);
    let scan_json = |(name, counted): &(String, Vec<Counts>)| {
        let sum = nothing.clone().and(counted.iter());
        let [figures, outlines, _] = named(&sum);
        Json::obj([
            ("name", Path::new(name).file_name().map_or(Json::Null, |n| n.to_string_lossy().into_owned().into())),
            ("figures", with(&figures, None)),
            ("boundary_iou", or_null(&outlines, None)),
            ("confusion", sum.confusion.to_json()),
            ("calibration", bins(&sum)),
        ])
    };
    let json = Json::obj([
        ("schema", SCHEMA.into()),
        ("classes", classes.to_json()),
        ("plane", how.plane.name().into()),
        ("boundary_pixels", how.boundary.into()),
        ("prediction_map", of_prediction.to_text().into()),
        ("truth_map", of_truth.to_text().into()),
        (
            "intervals",
            Json::obj([
                ("level", (1.0 - ALPHA).into()),
                ("draws", draws.count.into()),
                ("seed", Json::Str(draws.seed.to_string())),
                ("slices_together", together.into()),
                ("units", units.len().into()),
            ]),
        ),
        ("inputs", Json::Arr(inputs.iter().map(InputFile::to_json).collect())),
        ("figures", with(&figures, of_figures)),
        ("boundary_iou", or_null(&outlines, of_outlines)),
        ("confusion", all.confusion.to_json()),
        ("calibration", bins(&all)),
        ("calibration_errors", or_null(&errors, of_errors)),
        ("scans", Json::Arr(scans.iter().map(scan_json).collect())),
    ]);
    match s.path("output")? {
        Some(path) => write_text(&path, &json.to_canonical(), s.is_on("overwrite")?),
        None => Ok(()),
    }
}

/// The figures for people.
fn table_of(
    c: &Context,
    classes: &Classes,
    all: &Counts,
    how: How,
    figures: &[(String, Option<f64>)],
    intervals: Option<&[Interval]>,
) -> Result<()> {
    let text = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{:.2}", 100.0 * v));
    let between = |i: usize| match intervals.and_then(|list| list[i]) {
        Some([a, b]) => format!("{:.2} … {:.2}", 100.0 * a, 100.0 * b),
        None => "-".to_string(),
    };
    c.out.line(format!("{:22} {:>8}   95 % interval", "percent", "value"))?;
    for (i, (name, v)) in figures.iter().enumerate().take(6) {
        c.out.line(format!("{name:22} {:>8}   {}", text(*v), between(i)))?;
    }
    let k = classes.len();
    c.out.line(format!(
        "\n{:22} {:>12} {:>8} {:>17} {:>9} {:>8} {:>9}",
        "class", "voxels", "IoU", "interval", "precision", "recall", "outline"
    ))?;
    let outline = all.outlines.iou();
    for class in 0..k {
        let at = |group: usize| 6 + group * k + class;
        let outline = if how.boundary == 0 { None } else { outline[class] };
        c.out.line(format!(
            "{:22} {:>12} {:>8} {:>17} {:>9} {:>8} {:>9}",
            classes.name(class as u8),
            all.confusion.truth(class),
            text(figures[at(0)].1),
            between(at(0)),
            text(figures[at(1)].1),
            text(figures[at(2)].1),
            text(outline)
        ))?;
    }
    Ok(())
}
