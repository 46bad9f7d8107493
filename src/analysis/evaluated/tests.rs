//! Errors by hand, what is kept, and how often intervals hold.

use super::*;
use crate::analysis::quantity::ScanInfo;
use crate::num::philox::Stream;

fn results(of: &str, values: &[f64]) -> Results {
    let mut r = Results::default();
    for (k, v) in values.iter().enumerate() {
        r.scans.push(ScanInfo { step: k, time: None, minutes: None });
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
    // 40 more than any evaluated: corrected as the nearest, and all of it may be wrong.
    assert_eq!((q[2].corrected, q[2].from), (Some(90.0), "evaluated series + interface"));
    assert_eq!(q[2].interval, Some([49.5, 90.5]));
    assert!(found.left_out.is_empty() && found.notes.len() == 1, "{:?}", found.notes);
    assert!(found.notes[0].ends_with(": thickness (1)"), "{:?}", found.notes);
    // Scans that cannot be told apart differ by what the truth differs.
    let mut same = Evaluated::default();
    for _ in 0..3 {
        same.add(&results("pit", &[1.0, 1.0]).to_json(), &results("pit", &[0.2, 0.8]).to_json()).unwrap();
    }
    let bias = same.bias(&results("pit", &[1.0]).quantities[0], 1.0, &[], false).unwrap();
    assert!((bias.mean - 0.5).abs() < 1e-12 && (bias.half - student(2) * (4.0f64 / 3.0).sqrt() * 0.3).abs() < 1e-12);
    // Below what was evaluated; at its end it is not outside.
    let at = |value: f64| same.bias(&results("pit", &[value]).quantities[0], value, &[], false).unwrap();
    let bias = at(0.25);
    assert_eq!((bias.beyond, at(1.0).beyond, at(1.0 + 1e-7).beyond), (-0.75, 0.0, 0.0));
    assert!((bias.half - student(2) * (4.0f64 / 3.0).sqrt() * 0.3).abs() < 1e-12, "{bias:?}");
    let mut low = results("pit", &[0.25]);
    same.correct(&mut low);
    let half = (bias.half * bias.half + 0.25).sqrt();
    // 0.25 less the mean error of 0.5 is none of it, and at most what lies below is missing.
    assert_eq!((low.quantities[0].corrected, low.quantities[0].interval), (Some(0.0), Some([0.0, half + 0.75])));
    // What is no number stays as it is.
    let mut strange = results("pit", &[f64::NAN]);
    same.correct(&mut strange);
    assert_eq!((strange.quantities[0].corrected, strange.quantities[0].from), (None, "interface"));
    // Too few series, and another object.
    same.series.pop();
    assert!(same.bias(&results("pit", &[1.0]).quantities[0], 1.0, &[], false).is_err());
}

#[test]
fn what_is_kept_says_the_same() {
    let mut e = Evaluated::default();
    for error in [1.0 / 3.0, 2.0, 3.0] {
        let mut of = [[10.0, 1e-9 + 1.0 / 7.0], [10.0 - error, 0.0]].map(|values| {
            let scans = [4, 8].map(|step| ScanInfo { step, time: None, minutes: None }).to_vec();
            let mut r = Results { scans, ..Results::default() };
            r.put("thickness", "a, \"b\"", Some(4), Some(values[0]));
            r.put("thickness", "a, \"b\"", Some(8), Some(values[1]));
            r.put("gap", "", Some(8), Some(values[0]));
            r.put("rate.fitted", "pit", None, Some(values[1]));
            r
        });
        for r in &mut of {
            // Neither is a number of labels that is corrected.
            r.put("voxels", "pit", None, Some(7.0));
            r.put("faraday.mass", "", None, Some(7.0));
        }
        e.add(&of[0].to_json(), &of[1].to_json()).unwrap();
    }
    let kept = Evaluated::from_json(&Json::parse(&e.to_json().to_canonical()).unwrap()).unwrap();
    assert_eq!(kept.series.len(), 3);
    for (a, b) in e.series.iter().zip(&kept.series) {
        assert_eq!((&a.steps, a.numbers.len(), b.numbers.len()), (&b.steps, 3, 3));
        for (a, b) in a.numbers.iter().zip(&b.numbers) {
            let close = |a: f64, b: f64| (a - b).abs() <= 5e-6 * a.abs();
            let alike = |(a, b): (&Pair, &Pair)| a.step == b.step && close(a.found, b.found) && close(a.truth, b.truth);
            assert!(a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(b.1).all(alike), "{a:?} {b:?}");
        }
    }
    assert_eq!(Evaluated::from_json(&kept.to_json()).unwrap(), kept);
    let broken = [("[]", "0 evaluated series"), ("[1]", "steps"), ("{}", "0 evaluated")];
    let pairs = [
        ("\"of_scans\":[[1]]", "no two numbers"),
        ("\"of_series\":[]", "no two numbers"),
        ("\"of_scans\":[[1,2],[1,2]]", "2 pairs of 1 scans"),
        ("\"of_scans\":[null]", "of no scan"),
        ("\"pairs\":[[1,2]]", "of_scans"),
    ];
    let pairs = pairs.map(|(list, says)| {
        (format!("[{{\"steps\":[1],\"numbers\":[{{\"definition\":\"gap\",\"of\":\"\",{list}}}]}}]"), says)
    });
    for (text, says) in broken.map(|(t, s)| (t.to_string(), s)).into_iter().chain(pairs) {
        let error = Evaluated::from_json(&Json::parse(&text).unwrap()).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn numbers_of_a_series_are_told_by_series_of_the_same_scans() {
    let scans = |steps: &[usize], rate: f64| {
        let mut r = results("pit", &[1.0]);
        r.scans = steps.iter().map(|&step| ScanInfo { step, time: None, minutes: None }).collect();
        let around = |by: f64| Some([rate - by, rate + by]);
        r.put_with("rate.fitted", "pit", None, Some(rate), (around(1.0), "residuals"), around(2.0));
        r
    };
    let mut e = Evaluated::default();
    for error in [1.0, 2.0, 3.0] {
        e.add(&scans(&[0, 12, 24], 5.0).to_json(), &scans(&[0, 12, 24], 5.0 - error).to_json()).unwrap();
    }
    let corrected = |steps: &[usize]| {
        let mut found = scans(steps, 5.0);
        e.correct(&mut found);
        let rate = &found.quantities[1];
        let known = [rate.interval.is_some(), rate.sampling.is_some(), !rate.from.is_empty()];
        (found.quantities.iter().map(|q| q.corrected).collect::<Vec<_>>(), known, found.left_out)
    };
    assert_eq!(corrected(&[0, 12, 24]), (vec![Some(1.0), Some(3.0)], [true; 3], vec![]));
    // What is not known is not said.
    let (values, known, left_out) = corrected(&[0, 6, 12, 18, 24]);
    assert_eq!((values, known), (vec![Some(1.0), None], [false; 3]));
    assert!(left_out[0].1.contains("the same scans"), "{left_out:?}");
}

#[test]
fn going_up_and_coming_down_are_told_apart_by_series_of_the_same_steps() {
    let of = |steps: &[usize], values: &[Option<f64>]| {
        let scans = steps.iter().map(|&step| ScanInfo { step, time: None, minutes: None }).collect();
        let mut r = Results { scans, ..Results::default() };
        for (&k, value) in steps.iter().zip(values) {
            r.put("thickness", "pit", Some(k), *value);
        }
        r
    };
    // Growing, 1 too much is found; shrinking, 3, and as much as before.
    let series = |steps: &[usize; 5], more: f64| {
        let truth = [0.0, 10.0, 20.0, 8.0, 0.0];
        let errors = [1.0, 1.0, 2.0, 3.0, 3.0];
        let found: Vec<_> = truth.iter().zip(errors).map(|(t, e)| Some(t + e + more)).collect();
        (of(steps, &found).to_json(), of(steps, &truth.map(Some)).to_json())
    };
    let evaluated = |all: &[[usize; 5]]| {
        let mut e = Evaluated::default();
        for (steps, more) in all.iter().zip([0.0, 0.1, 0.2]) {
            let (predicted, truth) = series(steps, more);
            e.add(&predicted, &truth).unwrap();
        }
        e
    };
    let key = ("thickness".to_string(), "pit".to_string());
    let error = |e: &Evaluated, steps: &[u64], at: usize, value: f64| {
        let found = of(&steps.iter().map(|&k| k as usize).collect::<Vec<_>>(), &vec![Some(value); steps.len()]);
        let bias = e.bias(&found.quantities[at], value, steps, e.time_tells(&key, steps));
        (bias.unwrap().mean * 1e6).round() / 1e6
    };
    let (same, other) = ([0, 6, 12, 18, 24], [0, 6, 12, 18, 23]);
    let e = evaluated(&[same; 3]);
    let steps = same.map(|k| k as u64);
    assert!(e.time_tells(&key, &steps));
    assert_eq!((error(&e, &steps, 1, 11.1), error(&e, &steps, 3, 11.1)), (1.1, 3.1));
    // Much more of it than at that time in any series is like what there is as much of.
    assert_eq!((error(&e, &steps, 1, 21.9), error(&e, &steps, 4, 21.9)), (2.1, 2.1));
    // Of other steps, and of too few of the same, value tells alone: both halves alike.
    let others = other.map(|k| k as u64);
    assert_eq!((error(&e, &others, 1, 11.1), error(&e, &others, 3, 11.1)), (2.1, 2.1));
    assert_eq!(error(&evaluated(&[same, other, other]), &steps, 3, 11.1), 2.1);
    // Errors that the value tells, of cells that are not equally fast: the scan of the same time is the wrong one.
    let mut by_value = Evaluated::default();
    for values in
        [[1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 3.0, 4.0, 6.0, 7.0], [1.0, 2.0, 4.0, 5.0, 7.0]]
    {
        let truth = values.map(|v: f64| Some(v - 0.1 * v * v));
        by_value.add(&of(&same, &values.map(Some)).to_json(), &of(&same, &truth).to_json()).unwrap();
    }
    assert!(!by_value.time_tells(&key, &steps));
    // One scan has no time.
    let mut one = Evaluated::default();
    for more in [0.0, 1.0, 2.0] {
        one.add(&of(&[4], &[Some(5.0 + more)]).to_json(), &of(&[4], &[Some(5.0)]).to_json()).unwrap();
    }
    assert_eq!(error(&one, &[4], 0, 6.0), 1.0);
    // Scans as near before as after: their mean, and what they differ by is part of the interval.
    let mut between = Evaluated::default();
    for _ in 0..3 {
        let (found, truth) = ([Some(5.0), None, Some(5.0)], [Some(4.0), Some(4.0), Some(2.0)]);
        between.add(&of(&[0, 1, 2], &found).to_json(), &of(&[0, 1, 2], &truth).to_json()).unwrap();
    }
    let found = of(&[0, 1, 2], &[Some(5.0); 3]);
    let bias = between.bias(&found.quantities[1], 5.0, &[0, 1, 2], true).unwrap();
    assert_eq!((bias.mean, bias.half), (2.0, student(2) * (4.0f64 / 3.0).sqrt()));
    // What is of scans that are not there is refused.
    let strange = Results { scans: Vec::new(), ..of(&[0], &[Some(1.0)]) };
    assert!(Evaluated::default().add(&strange.to_json(), &strange.to_json()).is_err());
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
