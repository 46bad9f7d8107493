//! What a segmentation does to each number, measured on series whose true labels are known.
//!
//! ```text
//! e_s       = q̂_s − q_s          q̂_s the number of the predicted labels of evaluated series s, q_s that of its true ones;
//!                                of its scans the nearest one (of several: their mean)
//! nearest   : |Δq̂| / R + |Δk| / D least; R range of q̂ over the evaluated scans, Δk steps between the scans, D from the first
//!             to the last step; where time tells nothing |Δq̂| alone
//! corrected = q̂ − ē              ē the mean of the n series
//! half      = √( t² (1 + 1/n) (s² + w²) + h² )
//!             s² variance of e over the series, t of n − 1 degrees of freedom, w² mean variance among scans equally near,
//!             h half of the interval that the true labels would have: interfaces and registration
//! interval  = corrected − half − b … corrected + half     if q̂ of a scan is above all evaluated q̂ by b; below them, the other way
//! ```
//!
//! It is the interval of one more series that is segmented as the evaluated ones were: bias and scatter of every number
//! itself, areas and voids included, which no confusion matrix tells. What a segmentation does to a number depends on how
//! much of it there is, and on what else there is, which of one cycle the time tells: growing and shrinking differ. So time
//! counts for a number where [`FEWEST`] evaluated series or more have the steps of the one at hand, and correct each other
//! better, by the mean square of what is left, with it than without; for those of them that have these steps.
//!
//! A series counts once, as its scans share what is wrong with them. Outside of what was evaluated all of what lies beyond may be wrong, or
//! none of it. A number of a whole series counts only of series of the same scans. Of fewer than [`FEWEST`] series no error is known; then a
//! number has no interval, as that of its labels knows nothing of what a segmentation confuses, and that is said.
//!
//! What is measured can be kept without the results that it is from ([`Evaluated::to_json`]): per series the steps of its scans,
//! and the pairs q̂, q of each number and scan, to [`DIGITS`].
//!
//! Source: limits of agreement (Bland and Altman 1986) with the prediction interval of Student's t.

use super::fit::student;
use super::quantity::{Quantity, Results, definition, paired};
use crate::error::{Error, Result};
use crate::json::Json;
use std::collections::BTreeMap;

/// Fewer series say nothing about their spread.
pub const FEWEST: usize = 3;
/// Tables of numbers that no label changes, or whose interval is something else.
const NOT_OF_LABELS: [&str; 4] = ["faraday", "impedance", "corrected", "colocalisation"];
/// Numbers that are counts, or whose interval is the band of what has nothing in common.
const NOT_CORRECTED: [&str; 2] = ["voxels", "change_correlation"];
/// Numbers of a scan that depend on which scan is before it, or the last.
const OF_SCANS: [&str; 3] = ["dead.persistent", "dendrite.matched", "remaining.volume"];
/// Numbers that may be below zero.
const SIGNED: [&str; 11] = [
    "net_lithium",
    "rate.",
    "decay.",
    "knee.",
    "swelling.",
    "displacement",
    "ratio.",
    "roughness.",
    "current.",
    "apparent_porosity",
    "solid.",
];
/// Parts of a whole.
const PARTS: [&str; 8] = [
    "occupied",
    "pit_fill.thickness",
    "pit_fill.area",
    "pit_fill.voxels",
    "unfilled.area",
    "void.area",
    "void.contact",
    "grade.part",
];

/// A number of the predicted and of the true labels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    /// Step of its scan; of a number of the whole series none.
    step: Option<u64>,
    found: f64,
    truth: f64,
}

/// Those of every scan, by definition and object.
type Pairs = BTreeMap<Key, Vec<Pair>>;
/// Name of a definition, and of its object.
type Key = (String, String);

/// Significant digits of a number that is kept: errors of labels are in the first three.
const DIGITS: usize = 6;
/// By which part numbers that are alike differ when they are kept: 10^(1 - [`DIGITS`]).
const EXACT: f64 = 1e-5;

/// An evaluated series.
#[derive(Clone, Debug, Default, PartialEq)]
struct Series {
    /// Steps of its scans.
    steps: Vec<u64>,
    /// Its numbers.
    numbers: Pairs,
}

/// Numbers of predicted and of true labels, by definition and object, of each series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluated {
    series: Vec<Series>,
}

/// What is known of a number's error.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bias {
    mean: f64,
    half: f64,
    /// How far the number is above (more than 0) or below what was evaluated, by more than what is kept can tell.
    beyond: f64,
}

impl Evaluated {
    /// Adds a series: what `analyze` wrote of its predicted and of its true labels.
    ///
    /// # Errors
    /// Data: results of another kind.
    pub fn add(&mut self, predicted: &Json, truth: &Json) -> Result<()> {
        let steps =
            |r: &Json| -> Result<Vec<u64>> { r.need_arr("scans")?.iter().map(|s| s.need_u64("step")).collect() };
        let (steps, of_truth) = (steps(predicted)?, steps(truth)?);
        if steps != of_truth {
            return Err(Error::data(format!("predicted labels of the steps {steps:?}, true ones of {of_truth:?}"))
                .help("analyse the same scans of both"));
        }
        let mut numbers = Pairs::new();
        for (v, found, truth) in paired(predicted, truth)?.iter().filter(|(v, ..)| is_corrected(v.definition)) {
            let pair = Pair { step: v.step.map(|k| k as u64), found: *found, truth: *truth };
            numbers.entry(key(v.definition, v.of)).or_default().push(pair);
        }
        let strange = |p: &Pair| p.step.is_some_and(|k| !steps.contains(&k));
        let mixed = |list: &[Pair]| list.len() > 1 && list.iter().any(|p| p.step.is_none());
        if let Some(((name, of), _)) = numbers.iter().find(|(_, list)| mixed(list) || list.iter().any(strange)) {
            return Err(Error::data(format!("{name} of {of} is of scans that are not there")));
        }
        self.series.push(Series { steps, numbers });
        Ok(())
    }

    /// The series as they are kept: of a number one pair for each of its series' steps, null where a scan has none; of a number of the whole
    /// series one pair alone.
    pub fn to_json(&self) -> Json {
        let kept = |v: f64| format!("{v:.*e}", DIGITS - 1).parse().map_or(Json::Null, Json::Num);
        let pair = |p: &Pair| Json::Arr([p.found, p.truth].map(kept).to_vec());
        let series = self.series.iter().map(|s| {
            let numbers = s.numbers.iter().map(|((definition, of), pairs)| {
                let at = |step: Option<u64>| pairs.iter().find(|p| p.step == step).map(pair);
                let (name, list) = match at(None) {
                    Some(whole) => ("of_series", whole),
                    None => {
                        let all = s.steps.iter().map(|&k| at(Some(k)).unwrap_or(Json::Null));
                        ("of_scans", Json::Arr(all.collect()))
                    }
                };
                Json::obj([("definition", definition.as_str().into()), ("of", of.as_str().into()), (name, list)])
            });
            Json::obj([
                ("steps", Json::Arr(s.steps.iter().map(|&k| k.into()).collect())),
                ("numbers", Json::Arr(numbers.collect())),
            ])
        });
        Json::Arr(series.collect())
    }

    /// What [`Evaluated::to_json`] has written.
    ///
    /// # Errors
    /// Data: something else; fewer than [`FEWEST`] series.
    pub fn from_json(json: &Json) -> Result<Evaluated> {
        let pair = |step: Option<u64>, p: &Json| -> Result<Pair> {
            match p.as_arr().unwrap_or(&[]) {
                [q, truth] => q.as_f64().zip(truth.as_f64()).map(|(found, truth)| Pair { step, found, truth }),
                _ => None,
            }
            .ok_or_else(|| Error::data("a pair that is no two numbers"))
        };
        let of = |n: &Json, steps: &[u64]| -> Result<(Key, Vec<Pair>)> {
            let name = |key: &str| Ok::<_, Error>(n.need_str(key)?.to_string());
            let pairs = match n.get("of_series") {
                Some(whole) => vec![pair(None, whole)?],
                None => {
                    let list = n.need_arr("of_scans")?;
                    if list.len() != steps.len() {
                        return Err(Error::data(format!("{} pairs of {} scans", list.len(), steps.len())));
                    }
                    let there = steps.iter().zip(list).filter(|(_, p)| **p != Json::Null);
                    there.map(|(&k, p)| pair(Some(k), p)).collect::<Result<_>>()?
                }
            };
            match pairs.is_empty() {
                false => Ok(((name("definition")?, name("of")?), pairs)),
                true => Err(Error::data("a number of no scan")),
            }
        };
        let one = |s: &Json| -> Result<Series> {
            let step = |k: &Json| k.as_u64().ok_or_else(|| Error::data("a step that is no whole number"));
            let steps = s.need_arr("steps")?.iter().map(step).collect::<Result<Vec<u64>>>()?;
            let numbers = s.need_arr("numbers")?.iter().map(|n| of(n, &steps)).collect::<Result<_>>()?;
            Ok(Series { steps, numbers })
        };
        let series: Vec<Series> = json.as_arr().unwrap_or(&[]).iter().map(one).collect::<Result<_>>()?;
        match series.len() >= FEWEST {
            true => Ok(Evaluated { series }),
            false => Err(Error::data(format!("{} evaluated series tell no spread", series.len()))
                .help(format!("give {FEWEST} or more"))),
        }
    }

    /// Number of series.
    pub fn count(&self) -> usize {
        self.series.len()
    }

    /// Whether series of these steps tell the error of a number better if time counts: by the squares of what is left of each of them if the
    /// others correct it.
    fn time_tells(&self, key: &Key, steps: &[u64]) -> bool {
        let same = self.series.iter().filter(|s| s.steps == steps);
        let all: Vec<&Vec<Pair>> = same.filter_map(|s| s.numbers.get(key)).collect();
        if all.len() < FEWEST {
            return false;
        }
        let size = size_of(range(all.iter().copied().flatten()));
        let left = |duration: Option<f64>| {
            let near = Near { size, duration };
            let mut sum = 0.0;
            for (own, scans) in all.iter().enumerate() {
                for p in *scans {
                    let others = all.iter().enumerate().filter(|(other, _)| *other != own);
                    let errors = others.fold(0.0, |sum, (_, o)| sum + nearest(o, p.found, p.step, &near)[0]);
                    let left = p.found - p.truth - errors / (all.len() - 1) as f64;
                    sum += left * left;
                }
            }
            sum
        };
        left(duration(steps)) < left(None)
    }

    /// The error of a number of a series of scans, told by value, or by time, too; why none is known.
    fn bias(&self, q: &Quantity, value: f64, steps: &[u64], in_time: bool) -> std::result::Result<Bias, &'static str> {
        let key = key(q.definition, &q.of);
        let having: Vec<&Series> = self.series.iter().filter(|s| s.numbers.contains_key(&key)).collect();
        if having.len() < FEWEST {
            return Err("fewer than three evaluated series have it");
        }
        let whole = q.step.is_none() || OF_SCANS.contains(&q.definition) || definition(q.definition).table == "current";
        let of_scans = having.iter().filter(|s| !whole || s.steps == steps);
        let all: Vec<(&Series, &Vec<Pair>)> = of_scans.filter_map(|s| Some((*s, s.numbers.get(&key)?))).collect();
        if all.len() < FEWEST {
            return Err("fewer than three evaluated series have the same scans");
        }
        let [low, high] = range(all.iter().flat_map(|(_, scans)| scans.iter()));
        // Of the whole series there is one number each, and no range to lie in.
        let outside = (value - high).max(0.0) + (value - low).min(0.0);
        let is_beyond = q.step.is_some() && outside.abs() > EXACT * low.abs().max(high.abs());
        let beyond = if is_beyond { outside } else { 0.0 };
        let (n, size) = (all.len(), size_of([low, high]));
        let nearest = |(series, scans): &(&Series, &Vec<Pair>)| {
            let timed = in_time && series.steps == steps;
            nearest(scans, value, q.step.map(|k| k as u64), &Near { size, duration: duration(steps).filter(|_| timed) })
        };
        let errors: Vec<[f64; 2]> = all.iter().map(nearest).collect();
        let [mean, between] = mean_and_variance(&errors.iter().map(|e| e[0]).collect::<Vec<_>>(), 1);
        let within = errors.iter().fold(0.0, |s, e| s + e[1]) / n as f64;
        let half = student(n - 1) * ((1.0 + 1.0 / n as f64) * (between + within)).sqrt();
        Ok(Bias { mean, half, beyond })
    }

    /// Corrects the numbers of labels and widens their intervals by what is measured; where nothing is, there is none.
    pub fn correct(&self, results: &mut Results) {
        let mut missing: BTreeMap<(&'static str, &'static str), usize> = BTreeMap::new();
        let mut outside: BTreeMap<&'static str, usize> = BTreeMap::new();
        let steps: Vec<u64> = results.scans.iter().map(|s| s.step as u64).collect();
        let mut timed: BTreeMap<Key, bool> = BTreeMap::new();
        for q in results.quantities.iter_mut().filter(|q| is_corrected(q.definition)) {
            let Some(value) = q.value.filter(|v| v.is_finite()) else { continue };
            let in_time = *timed.entry(key(q.definition, &q.of)).or_insert_with_key(|key| self.time_tells(key, &steps));
            match self.bias(q, value, &steps, in_time) {
                Ok(bias) => {
                    if bias.beyond != 0.0 {
                        *outside.entry(q.definition).or_default() += 1;
                    }
                    let own = q.interval.map_or(0.0, |[low, high]| 0.5 * (high - low));
                    let half = (bias.half * bias.half + own * own).sqrt();
                    let (down, up) = (half + bias.beyond.max(0.0), half - bias.beyond.min(0.0));
                    // Errors that are all alike tell no interval.
                    let known = down + up > 0.0;
                    let [least, most] = limits(q.definition);
                    let corrected = (value - bias.mean).clamp(least, most);
                    q.corrected = Some(corrected);
                    q.sampling = q.sampling.map(|ends| ends.map(|v| (v - bias.mean).clamp(least, most)));
                    q.interval = known.then(|| [(corrected - down).max(least), (corrected + up).min(most)]);
                    q.from = match q.from {
                        _ if !known => "",
                        "interface" => "evaluated series + interface",
                        "interface + registration" => "evaluated series + interface + registration",
                        "residuals" => "evaluated series + residuals",
                        "connectivity" => "evaluated series + connectivity",
                        _ => "evaluated series",
                    };
                }
                Err(why) => {
                    (q.interval, q.from, q.sampling) = (None, "", None);
                    *missing.entry((q.definition, why)).or_default() += 1;
                }
            }
        }
        if !outside.is_empty() {
            let of: Vec<String> = outside.iter().map(|(definition, n)| format!("{definition} ({n})")).collect();
            results.notes.push(format!(
                "numbers outside of what is evaluated, corrected as the nearest; their intervals reach as far again as they lie outside: {}",
                of.join(", ")
            ));
        }
        for ((definition, why), n) in missing {
            results.leave_out(&format!("measured error of {definition} ({n} numbers)"), why);
        }
    }
}

fn key(definition: &str, of: &str) -> Key {
    (definition.to_string(), of.to_string())
}

/// How far two scans are apart: by what, and how long, one is.
struct Near {
    /// Difference of values that is 1.
    size: f64,
    /// Difference of steps that is 1; none if time does not count.
    duration: Option<f64>,
}

/// Error of the scan of a series that is nearest in value, and in time if that counts; of several their mean, and variance.
fn nearest(scans: &[Pair], value: f64, step: Option<u64>, near: &Near) -> [f64; 2] {
    let apart = |p: &Pair| {
        let steps = step.zip(p.step).map(|(own, k)| k.abs_diff(own) as f64);
        let in_time = steps.zip(near.duration).map_or(0.0, |(steps, duration)| steps / duration);
        (p.found - value).abs() / near.size + in_time
    };
    let least = scans.iter().map(apart).fold(f64::MAX, f64::min);
    let errors: Vec<f64> = scans.iter().filter(|p| apart(p) <= least).map(|p| p.found - p.truth).collect();
    mean_and_variance(&errors, 0)
}

/// Least and greatest number of predicted labels.
fn range<'a>(pairs: impl Iterator<Item = &'a Pair>) -> [f64; 2] {
    pairs.fold([f64::MAX, f64::MIN], |[low, high], p| [low.min(p.found), high.max(p.found)])
}

/// What values are measured by; what differs by rounding alone does not differ.
fn size_of([low, high]: [f64; 2]) -> f64 {
    let size = (high - low).max(1e-9 * high.abs());
    if size > 0.0 { size } else { 1.0 }
}

/// From the first to the last step.
fn duration(steps: &[u64]) -> Option<f64> {
    match steps {
        [first, .., last] => Some(last.abs_diff(*first) as f64).filter(|d| *d > 0.0),
        _ => None,
    }
}

/// Whether labels change it, and its interval is what they leave open.
fn is_corrected(name: &str) -> bool {
    !NOT_OF_LABELS.contains(&definition(name).table) && !NOT_CORRECTED.contains(&name)
}

/// What a number can be at all.
fn limits(definition: &str) -> [f64; 2] {
    if PARTS.contains(&definition) {
        [0.0, 1.0]
    } else if SIGNED.iter().any(|s| definition.starts_with(s)) {
        [f64::NEG_INFINITY, f64::INFINITY]
    } else {
        [0.0, f64::INFINITY]
    }
}

/// Mean, and Σ (v − mean)² / (n − `less`).
fn mean_and_variance(values: &[f64], less: usize) -> [f64; 2] {
    let n = values.len() as f64;
    let mean = values.iter().fold(0.0, |s, v| s + v) / n;
    let squares = values.iter().fold(0.0, |s, v| s + (v - mean) * (v - mean));
    [mean, squares / (n - less as f64)]
}

#[cfg(test)]
mod tests;
