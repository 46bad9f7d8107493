//! `analyze` against a count in another language with other libraries: `recount.py` (NumPy, SciPy, scikit-image), whose
//! numbers are in `testdata/recount.csv`. `TOMOLITH_TEST_PEERS=python` runs it again.

use crate::common::numbers::Numbers;
use crate::common::{Scratch, expect, run};
use std::path::Path;
use std::process::Command;

const NX: usize = 64;
const NY: usize = 288;
/// Numbers that the count does not have: of `analyze.rs`, drawn, or looked for on a grid.
const ELSEWHERE: [&str; 30] = [
    "charge.in_field",
    "charge.negative",
    "charge.per_area",
    "charge.positive",
    "displacement",
    "faraday.mass_in_field",
    "faraday.mass_per_area",
    "faraday.thickness",
    "faraday.volume_in_field",
    "gap",
    "occupied",
    "outer",
    "pit_fill.area",
    "pit_fill.thickness",
    "pit_fill.voxels",
    "remaining.volume",
    "swelling.outer",
    "thickness",
    "thickness.lithium",
    "thickness.side",
    "unfilled.area",
    "void.area",
    "void.contact",
    "volume",
    "voxels",
    // Shifts that are drawn; what they are worth is tested beside `coloc::together`.
    "effective_columns",
    "pearson.p",
    // Fits of two lines, whose bend is looked for on a grid: tested beside `fit::knee`.
    "knee.after",
    "knee.at",
    "knee.before",
];

/// Cuts dendrites of a step along the depth, as `recount.py` does, by one voxel, two and three in thirds of the field.
fn cut(step: &Path) {
    let path = step.join("label.raw");
    let mut labels = std::fs::read(&path).unwrap();
    for (i, label) in labels.iter_mut().enumerate() {
        let (x, y) = (i % NX, i / NX % NY);
        if *label == 1 && y % 8 < 1 + 3 * x / NX {
            *label = 0;
        }
    }
    std::fs::write(path, labels).unwrap();
}

#[test]
fn numbers_are_those_of_another_count() {
    let folder = Scratch::new("recount");
    let at = |words: &str| expect(&run(&folder.0, words), 0, &[], words);
    at("phantom cell -o cell --preset tiny --mode labels --seed 2 -q");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut table = std::fs::read_to_string(root.join("testdata/recount.csv")).unwrap();
    if let Some(python) = std::env::var_os("TOMOLITH_TEST_PEERS") {
        let done = Command::new(python).arg(root.join("tests/cli/recount.py")).arg(folder.0.join("cell")).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        table = String::from_utf8(done.stdout).unwrap();
    }
    for k in [23, 24] {
        cut(&folder.0.join(format!("cell/truth/step_{k}")));
    }
    at("analyze cell --maps none --tile 8 -o out -q");
    let numbers = Numbers::of(&folder.0.join("out/results.json"));
    let mut compared = std::collections::BTreeSet::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split(';').collect();
        let [definition, of, step, value] = words[..] else { panic!("{line}") };
        let (step, want): (Option<usize>, f64) = (step.parse().ok(), value.parse().unwrap());
        compared.insert((definition, of, step));
        if definition.starts_with("decay.") {
            // Two searches for one minimum, flat to the square of the last digits.
            let got = numbers.get(definition, of, step);
            assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "{line}: {got}");
        } else {
            numbers.is(definition, of, step, want);
        }
    }
    // Nothing else that is told of these scans is left out.
    let steps = [None, Some(6), Some(12), Some(13), Some(18), Some(24)];
    for ((definition, of, step), told) in &numbers.0 {
        let (definition, step) = (definition.as_str(), step.map(|s| s as usize));
        let known = told.get("value").unwrap().as_f64().is_some();
        // Where a side grows in some columns as it goes in others, rounding decides whether its mean is above 0.
        let nothing = definition == "current.hotspot" && numbers.get("current.mean", of, step) < 1e-9;
        if steps.contains(&step) && known && !ELSEWHERE.contains(&definition) && !nothing {
            assert!(
                compared.contains(&(definition, of.as_str(), step)),
                "not counted: {definition} of {of} at {step:?}"
            );
        }
    }
    sampled(&numbers);
    for (grade, least) in [("connected", 0.5), ("bridged 1", 0.1), ("bridged 2", 0.1)] {
        assert!(numbers.get("grade.part", grade, Some(24)) > least, "the cuts leave no dendrite {grade}");
    }
}

/// What another field may show is said of every number of the field that a reader asks for first, and about the number.
#[track_caller]
fn sampled(numbers: &Numbers) {
    let ends = |definition: &str, of: &str, step: Option<usize>| {
        let told = &numbers.0[&(definition.to_string(), of.to_string(), step.map(|s| s as u64))];
        let pair = told.get("sampling95").unwrap().as_arr();
        let pair = pair.unwrap_or_else(|| panic!("{definition} of {of} has no sampling interval"));
        [pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap()]
    };
    let (plating, stripping) = ("plating side", "stripping side");
    let halves: Vec<String> =
        [plating, stripping].iter().flat_map(|s| ["charge", "discharge"].map(|half| format!("{s}, {half}"))).collect();
    let rates = halves.iter().flat_map(|of| ["rate.end_points", "rate.fitted"].map(|rate| (rate, of.as_str(), None)));
    let others = [
        ("thickness.side", plating, Some(12)),
        ("thickness.lithium", "lithium", Some(24)),
        ("volume.lithium", "lithium", Some(24)),
        ("net_lithium", "lithium", Some(24)),
        ("variation_lithium", "lithium", None),
        ("decay.time", "deposited", None),
        ("decay.amplitude", "deposited", None),
        ("decay.rest", "deposited", None),
        ("knee.at", plating, None),
        ("knee.before", plating, None),
        ("knee.after", plating, None),
        ("pit_fill.thickness", "pits", Some(24)),
        ("pit_fill.area", "pits", Some(24)),
        ("pit_fill.voxels", "pits", Some(24)),
        ("change_correlation", "decrease - increase", Some(24)),
        ("pearson", "pit - deposited", Some(12)),
        ("apparent_porosity", "deposited", Some(12)),
        ("ratio.per_area", "plated", Some(12)),
        ("remaining.volume", "dendrite", Some(24)),
        ("void.area", "pits", Some(24)),
        ("gap", "electrodes", Some(24)),
    ];
    for (definition, of, step) in rates.chain(others) {
        let ([low, high], value) = (ends(definition, of, step), numbers.get(definition, of, step));
        assert!(low < value && value < high, "{definition} of {of}: {value} in {low} .. {high}");
    }
    // The same change by two ways: of the series' means, and of the map of the change.
    let (rate, ratio) =
        (ends("rate.end_points", "plating side, charge", None), ends("ratio.per_area", "plated", Some(12)));
    let scale = numbers.get("rate.end_points", "plating side, charge", None)
        / numbers.get("ratio.per_area", "plated", Some(12));
    for (rate, ratio) in rate.into_iter().zip(ratio) {
        assert!((rate - ratio * scale).abs() < 1e-9 * rate.abs(), "{rate} and {}", ratio * scale);
    }
}
