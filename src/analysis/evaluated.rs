//! What a segmentation does to each number, measured on series whose true labels are known.
//!
//! ```text
//! e_s       = q̂_s − q_s          q̂_s the number of the predicted labels of evaluated series s, q_s that of its true ones;
//!                                of its scans the one whose q̂ is nearest to the q̂ at hand (of several: their mean)
//! corrected = q̂ − ē              ē the mean of the n series
//! half      = √( t² (1 + 1/n) (s² + w²) + h² )
//!             s² variance of e over the series, t of n − 1 degrees of freedom, w² mean variance among scans equally near,
//!             h half of the interval that the true labels would have: interfaces and registration
//! ```
//!
//! It is the interval of one more series that is segmented as the evaluated ones were: bias and scatter of every number
//! itself, areas and voids included, which no confusion matrix tells. A series counts once, as its scans share what is
//! wrong with them. A number outside of what was evaluated, by more than [`BEYOND`] of its range, and one of fewer than
//! [`FEWEST`] series keep the interval of their labels, and that is said. A series of [`FEWEST`] scans or more whose own
//! range is as far away does not count for that number. Where series differ by more than their scans do, it may be farther away: by
//! as much as the middles of the series are apart, the least and the greatest of them left out, less the range of a series' own scans (the
//! median), as one more series may differ as much. A number of a whole series counts only of series of the same scans.
//!
//! What is measured can be kept without the results that it is from ([`Evaluated::to_json`]): per series the steps of its scans,
//! and the pairs q̂, q of each number, to [`DIGITS`].
//!
//! Source: limits of agreement (Bland and Altman 1986) with the prediction interval of Student's t.

use super::fit::student;
use super::quantity::{Quantity, Results, Value, definition, values};
use crate::error::{Error, Result};
use crate::json::Json;
use std::collections::BTreeMap;

/// Fewer series say nothing about their spread.
pub const FEWEST: usize = 3;
/// Part of the range of evaluated numbers by which another may lie outside of it.
pub const BEYOND: f64 = 0.1;
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

/// Number of the predicted and of the true labels, of every scan, by definition and object.
type Pairs = BTreeMap<Key, Vec<[f64; 2]>>;
/// Name of a definition, and of its object.
type Key = (String, String);

/// Significant digits of a number that is kept: errors of labels are in the first three.
const DIGITS: usize = 6;

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
}

impl Evaluated {
    /// Adds a series: what `analyze` wrote of its predicted and of its true labels.
    ///
    /// # Errors
    /// Data: results of another kind.
    pub fn add(&mut self, predicted: &Json, truth: &Json) -> Result<()> {
        let key = |v: &Value| (v.definition.to_string(), v.of.to_string(), v.step);
        let steps =
            |r: &Json| -> Result<Vec<u64>> { r.need_arr("scans")?.iter().map(|s| s.need_u64("step")).collect() };
        let (steps, of_truth) = (steps(predicted)?, steps(truth)?);
        if steps != of_truth {
            return Err(Error::data(format!("predicted labels of the steps {steps:?}, true ones of {of_truth:?}"))
                .help("analyse the same scans of both"));
        }
        let known: BTreeMap<_, _> = values(truth)?.iter().filter_map(|v| Some((key(v), v.value?))).collect();
        let mut numbers = Pairs::new();
        for v in values(predicted)?.iter().filter(|v| is_corrected(v.definition)) {
            if let (Some(q), Some(&truth)) = (v.value, known.get(&key(v))) {
                numbers.entry((v.definition.to_string(), v.of.to_string())).or_default().push([q, truth]);
            }
        }
        self.series.push(Series { steps, numbers });
        Ok(())
    }

    /// The series as they are kept.
    pub fn to_json(&self) -> Json {
        let kept = |v: f64| format!("{v:.*e}", DIGITS - 1).parse().map_or(Json::Null, Json::Num);
        let pair = |p: &[f64; 2]| Json::Arr(p.map(kept).to_vec());
        let series = self.series.iter().map(|s| {
            let numbers = s.numbers.iter().map(|((definition, of), pairs)| {
                Json::obj([
                    ("definition", definition.as_str().into()),
                    ("of", of.as_str().into()),
                    ("predicted_true", Json::Arr(pairs.iter().map(pair).collect())),
                ])
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
        let pair = |p: &Json| match p.as_arr() {
            Some([q, truth]) => q.as_f64().zip(truth.as_f64()).map(|(q, t)| [q, t]),
            _ => None,
        };
        let of = |n: &Json| -> Result<(Key, Vec<[f64; 2]>)> {
            let name = |key: &str| Ok::<_, Error>(n.need_str(key)?.to_string());
            let pairs: Option<Vec<_>> = n.need_arr("predicted_true")?.iter().map(pair).collect();
            let pairs = pairs.filter(|p| !p.is_empty()).ok_or_else(|| Error::data("pairs that are no two numbers"))?;
            Ok(((name("definition")?, name("of")?), pairs))
        };
        let one = |s: &Json| -> Result<Series> {
            let step = |k: &Json| k.as_u64().ok_or_else(|| Error::data("a step that is no whole number"));
            Ok(Series {
                steps: s.need_arr("steps")?.iter().map(step).collect::<Result<_>>()?,
                numbers: s.need_arr("numbers")?.iter().map(of).collect::<Result<_>>()?,
            })
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

    /// The error of a number of a series of scans; why none is known.
    fn bias(&self, q: &Quantity, value: f64, steps: &[u64]) -> std::result::Result<Bias, &'static str> {
        let key = (q.definition.to_string(), q.of.clone());
        let having: Vec<&Series> = self.series.iter().filter(|s| s.numbers.contains_key(&key)).collect();
        if having.len() < FEWEST {
            return Err("fewer than three evaluated series have it");
        }
        let whole = q.step.is_none() || OF_SCANS.contains(&q.definition) || definition(q.definition).table == "current";
        let of_scans = having.iter().filter(|s| !whole || s.steps == steps);
        let mut all: Vec<&Vec<[f64; 2]>> = of_scans.filter_map(|s| s.numbers.get(&key)).collect();
        if all.len() < FEWEST {
            return Err("fewer than three evaluated series have the same scans");
        }
        // Of the whole series there is one number each, and no range to lie in.
        if q.step.is_some() {
            let range = |scans: &[[f64; 2]]| {
                scans.iter().fold([f64::MAX, f64::MIN], |[low, high], p| [low.min(p[0]), high.max(p[0])])
            };
            let ranges: Vec<[f64; 2]> = all.iter().map(|scans| range(scans)).collect();
            let [low, high] = ranges.iter().fold([f64::MAX, f64::MIN], |[a, b], r| [a.min(r[0]), b.max(r[1])]);
            // What differs from cell to cell more than from scan to scan may lie as far outside as cells differ, the farthest apart.
            let sorted = |of: &dyn Fn(&[f64; 2]) -> f64| {
                let scans = ranges.iter().zip(&all).filter(|(_, s)| s.len() >= FEWEST);
                let mut values: Vec<f64> = scans.map(|(r, _)| of(r)).collect();
                values.sort_by(f64::total_cmp);
                values
            };
            let (own, middles) = (sorted(&|r| r[1] - r[0]), sorted(&|r| 0.5 * (r[0] + r[1])));
            let aside = usize::from(middles.len() > FEWEST);
            let spread = middles.get(aside).zip(middles.iter().nth_back(aside)).map_or(0.0, |(a, b)| b - a);
            let of_cells = own.get(own.len() / 2).map_or(0.0, |own| (spread - own).max(0.0));
            let margin = (BEYOND * (high - low)).max(of_cells).max(1e-9 * high.abs());
            let within = |[low, high]: [f64; 2], margin: f64| (low - margin..=high + margin).contains(&value);
            if !within([low, high], margin) {
                return Err("no evaluated scan has so much or so little of it");
            }
            // Fewer scans span no range: they differ as cells do, and tell the error of all that the cells span.
            all.retain(|scans| scans.len() < FEWEST || within(range(scans), margin + of_cells));
            if all.len() < FEWEST {
                return Err("fewer than three evaluated series have so much or so little of it");
            }
        }
        let n = all.len();
        let nearest = |scans: &&Vec<[f64; 2]>| {
            let apart = |p: &[f64; 2]| (p[0] - value).abs();
            let least = scans.iter().map(apart).fold(f64::MAX, f64::min);
            let near: Vec<f64> = scans.iter().filter(|p| apart(p) <= least).map(|p| p[0] - p[1]).collect();
            mean_and_variance(&near, 0)
        };
        let errors: Vec<[f64; 2]> = all.iter().map(nearest).collect();
        let [mean, between] = mean_and_variance(&errors.iter().map(|e| e[0]).collect::<Vec<_>>(), 1);
        let within = errors.iter().fold(0.0, |s, e| s + e[1]) / n as f64;
        let half = student(n - 1) * ((1.0 + 1.0 / n as f64) * (between + within)).sqrt();
        Ok(Bias { mean, half })
    }

    /// Corrects the numbers of labels and widens their intervals by what is measured.
    pub fn correct(&self, results: &mut Results) {
        let mut missing: BTreeMap<(&'static str, &'static str), usize> = BTreeMap::new();
        let steps: Vec<u64> = results.scans.iter().map(|s| s.step as u64).collect();
        for q in results.quantities.iter_mut().filter(|q| is_corrected(q.definition)) {
            let Some(value) = q.value else { continue };
            match self.bias(q, value, &steps) {
                Ok(bias) => {
                    let own = q.interval.map_or(0.0, |[low, high]| 0.5 * (high - low));
                    let half = (bias.half * bias.half + own * own).sqrt();
                    // Errors that are all alike tell no interval.
                    let known = half > 0.0;
                    let [least, most] = limits(q.definition);
                    let corrected = (value - bias.mean).clamp(least, most);
                    q.corrected = Some(corrected);
                    q.sampling = q.sampling.map(|ends| ends.map(|v| (v - bias.mean).clamp(least, most)));
                    q.interval = known.then(|| [(corrected - half).max(least), (corrected + half).min(most)]);
                    q.from = match q.from {
                        _ if !known => "",
                        "interface" => "evaluated series + interface",
                        "interface + registration" => "evaluated series + interface + registration",
                        "residuals" => "evaluated series + residuals",
                        "connectivity" => "evaluated series + connectivity",
                        _ => "evaluated series",
                    };
                }
                Err(why) => *missing.entry((q.definition, why)).or_default() += 1,
            }
        }
        for ((definition, why), n) in missing {
            results.leave_out(&format!("measured error of {definition} ({n} numbers)"), why);
        }
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
mod tests {
    use super::super::quantity::ScanInfo;
    use super::*;
    use crate::num::philox::Stream;

    fn results(of: &str, values: &[f64]) -> Results {
        let mut r = Results::default();
        for (k, v) in values.iter().enumerate() {
            r.put_with("thickness", of, Some(k), Some(*v), (Some([v - 0.5, v + 0.5]), "interface"), None);
        }
        r
    }

    #[test]
    fn bias_and_scatter_by_hand() {
        let mut e = Evaluated::default();
        // Errors 1, 2, 3 near 10, none near 50.
        for error in [1.0, 2.0, 3.0] {
            e.add(&results("pit", &[10.0, 50.0]).to_json(), &results("pit", &[10.0 - error, 50.0]).to_json()).unwrap();
        }
        let mut found = results("pit", &[11.0, 49.0, 90.0]);
        e.correct(&mut found);
        // t of two degrees of freedom, s = 1, n = 3.
        let half = ((4.0 / 3.0) * student(2) * student(2) + 0.25).sqrt();
        let q = &found.quantities;
        assert_eq!(q[0].corrected, Some(9.0));
        let [low, high] = q[0].interval.unwrap();
        assert!((high - 9.0 - half).abs() < 1e-12 && (low - (9.0 - half)).abs() < 1e-12, "{low} {high} {half}");
        assert_eq!(
            (q[1].corrected, q[1].interval, q[1].from),
            (Some(49.0), Some([48.5, 49.5]), "evaluated series + interface")
        );
        assert_eq!((q[2].corrected, q[2].interval, q[2].from), (None, Some([89.5, 90.5]), "interface"));
        assert!(found.left_out[0].1.contains("so much"), "{:?}", found.left_out);
        // Scans that cannot be told apart differ by what the truth differs.
        let mut same = Evaluated::default();
        for _ in 0..3 {
            same.add(&results("pit", &[1.0, 1.0]).to_json(), &results("pit", &[0.2, 0.8]).to_json()).unwrap();
        }
        let bias = same.bias(&results("pit", &[1.0]).quantities[0], 1.0, &[]).unwrap();
        assert!(
            (bias.mean - 0.5).abs() < 1e-12 && (bias.half - student(2) * (4.0f64 / 3.0).sqrt() * 0.3).abs() < 1e-12
        );
        // Of three series with 10 to 50 and one with 10 to 20, the last tells nothing of 49.
        let mut far = Evaluated::default();
        for (error, top) in [(1.0, 20.0), (2.0, 50.0), (4.0, 50.0), (6.0, 50.0)] {
            let (p, t) = ([10.0, 15.0, top], [10.0 - error, 15.0 - error, top - error]);
            far.add(&results("pit", &p).to_json(), &results("pit", &t).to_json()).unwrap();
        }
        let at = |e: &Evaluated, value: f64| e.bias(&results("pit", &[value]).quantities[0], value, &[]);
        assert_eq!((at(&far, 49.0).unwrap().mean, at(&far, 15.0).unwrap().mean), (4.0, 3.25));
        far.series.pop();
        assert!(at(&far, 49.0).unwrap_err().contains("fewer than three") && at(&far, 15.0).is_ok());
        // Series that differ by more than their scans: one more may lie beside them, and all count.
        let mut apart = Evaluated::default();
        for (base, error) in [(60.0, 7.0), (66.0, 9.0), (70.0, 8.0)] {
            let p = [base, base + 1.0, base + 2.0];
            apart.add(&results("pit", &p).to_json(), &results("pit", &p.map(|v| v - error)).to_json()).unwrap();
        }
        assert_eq!(at(&apart, 78.0).unwrap().mean, 8.0);
        assert!(at(&apart, 83.0).unwrap_err().contains("so much"));
        // Too few series, and another object.
        same.series.pop();
        assert!(same.bias(&results("pit", &[1.0]).quantities[0], 1.0, &[]).is_err());
    }

    #[test]
    fn what_is_kept_says_the_same() {
        let mut e = Evaluated::default();
        for error in [1.0 / 3.0, 2.0, 3.0] {
            let mut of = [results("a, \"b\"", &[10.0, 1e-9 + 1.0 / 7.0]), results("a, \"b\"", &[10.0 - error, 0.0])];
            for r in &mut of {
                r.scans = [4, 8].map(|step| ScanInfo { step, time: None, minutes: None }).to_vec();
                // Neither is a number of labels that is corrected.
                r.put("voxels", "pit", None, Some(7.0));
                r.put("faraday.mass", "", None, Some(7.0));
            }
            e.add(&of[0].to_json(), &of[1].to_json()).unwrap();
        }
        let kept = Evaluated::from_json(&Json::parse(&e.to_json().to_canonical()).unwrap()).unwrap();
        for (a, b) in e.series.iter().zip(&kept.series) {
            assert_eq!((&a.steps, a.numbers.len()), (&b.steps, 1));
            for (a, b) in a.numbers.iter().zip(&b.numbers) {
                let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 5e-6 * a.abs();
                assert!(a.0 == b.0 && a.1.iter().flatten().zip(b.1.iter().flatten()).all(close), "{a:?} {b:?}");
            }
        }
        assert_eq!(Evaluated::from_json(&kept.to_json()).unwrap(), kept);
        let broken = [("[]", "0 evaluated series"), ("[1]", "steps"), ("{}", "0 evaluated")];
        let pair = "[{\"steps\":[1],\"numbers\":[{\"definition\":\"gap\",\"of\":\"\",\"predicted_true\":[[1]]}]}]";
        for (text, says) in broken.into_iter().chain([(pair, "no two numbers")]) {
            let error = Evaluated::from_json(&Json::parse(text).unwrap()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_of_a_series_are_told_by_series_of_the_same_scans() {
        let scans = |steps: &[usize], rate: f64| {
            let mut r = results("pit", &[1.0]);
            r.scans = steps.iter().map(|&step| ScanInfo { step, time: None, minutes: None }).collect();
            r.put("rate.fitted", "pit", None, Some(rate));
            r
        };
        let mut e = Evaluated::default();
        for error in [1.0, 2.0, 3.0] {
            e.add(&scans(&[0, 12, 24], 5.0).to_json(), &scans(&[0, 12, 24], 5.0 - error).to_json()).unwrap();
        }
        let corrected = |steps: &[usize]| {
            let mut found = scans(steps, 5.0);
            e.correct(&mut found);
            (found.quantities.iter().map(|q| q.corrected).collect::<Vec<_>>(), found.left_out)
        };
        assert_eq!(corrected(&[0, 12, 24]), (vec![Some(1.0), Some(3.0)], vec![]));
        let (values, left_out) = corrected(&[0, 6, 12, 18, 24]);
        assert_eq!(values, [Some(1.0), None]);
        assert!(left_out[0].1.contains("the same scans"), "{left_out:?}");
    }

    #[test]
    fn signs_origins_and_samples_stay() {
        let put = |value: f64| {
            let mut r = Results::default();
            let all =
                [("current.mean", ""), ("apparent_porosity", ""), ("solid.fraction", ""), ("rate.fitted", "residuals")];
            for (name, from) in all {
                let interval = Some([value - 1.0, value + 1.0]).filter(|_| !from.is_empty());
                r.put_with(name, "pit", None, Some(value), (interval, from), Some([value - 2.0, value + 3.0]));
            }
            r.put_with("change_correlation", "pit", None, Some(value), (None, ""), None);
            r.put_with("volume", "pit", None, Some(value), (None, ""), Some([value - 2.0, value + 3.0]));
            r
        };
        let mut e = Evaluated::default();
        for _ in 0..3 {
            e.add(&put(1.0).to_json(), &put(-1.0).to_json()).unwrap();
        }
        let mut found = put(1.0);
        e.correct(&mut found);
        for q in &found.quantities[..4] {
            assert_eq!((q.corrected, q.sampling), (Some(-1.0), Some([-3.0, 2.0])), "{}", q.definition);
        }
        let q = &found.quantities;
        // Errors that are all alike tell no interval by themselves.
        assert_eq!((q[0].from, q[0].interval, q[3].from), ("", None, "evaluated series + residuals"));
        assert_eq!((q[4].corrected, q[5].corrected, q[5].sampling), (None, Some(0.0), Some([0.0, 2.0])));
    }

    #[test]
    fn it_holds_one_more_series_as_often_as_it_says() {
        let stream = Stream::new(3, 7);
        let mut at = 0;
        let mut normal = || {
            at += 1;
            stream.normal(at)
        };
        let (mut held, trials) = (0, 1000);
        for _ in 0..trials {
            let mut e = Evaluated::default();
            for _ in 0..6 {
                let error = 4.0 + normal();
                let truth = Results { quantities: plain(&[20.0]), ..Results::default() };
                let predicted = Results { quantities: plain(&[20.0 + error]), ..Results::default() };
                e.add(&predicted.to_json(), &truth.to_json()).unwrap();
            }
            let mut one = Results { quantities: plain(&[25.0 + 4.0 + normal()]), ..Results::default() };
            one.quantities[0].step = None;
            e.correct(&mut one);
            let [low, high] = one.quantities[0].interval.unwrap();
            held += usize::from(low <= 25.0 && 25.0 <= high);
        }
        // 95 % of 1000 ± 3 √(1000 · 0.95 · 0.05).
        assert!((929..=971).contains(&held), "{held}");
    }

    /// Numbers of the whole series, without an interval.
    fn plain(values: &[f64]) -> Vec<Quantity> {
        let mut r = Results::default();
        values.iter().for_each(|v| r.put("thickness", "pit", None, Some(*v)));
        r.quantities
    }
}
