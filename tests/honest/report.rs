//! The table: methods by class, with intervals.

use super::Place;
use super::cells::CLASSES;
use crate::common::json;
use tomolith::json::Json;

/// IoU of the classes in the paper's Supplementary Table 1, for context: other cells, other labels, a split by patch.
const PAPER: [Option<f64>; 5] = [None, Some(0.694), Some(0.865), Some(0.788), Some(0.970)];

/// A method's figures.
struct Row {
    name: String,
    /// IoU by class, and its 95 % interval.
    iou: Vec<(Option<f64>, Option<[f64; 2]>)>,
    /// Accuracy, foreground IoU (the authors' total), mean of the classes but background.
    more: [Option<f64>; 3],
    seconds: Option<f64>,
}

/// Rows in the order of work.
pub(crate) struct Table {
    notes: Vec<String>,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new() -> Table {
        let iou = PAPER.map(|v| (v, None)).to_vec();
        let paper =
            Row { name: "the paper, its own cell".into(), iou, more: [Some(0.988), Some(0.955), None], seconds: None };
        Table { notes: Vec::new(), rows: vec![paper] }
    }
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// A row of what `seg eval` wrote.
    pub(crate) fn metrics(&mut self, place: &Place, name: &str, file: &str, seconds: Option<f64>) {
        let metrics = json(&place.at(file));
        let figures = metrics.need("figures").unwrap();
        let value = |name: &str| figures.get(name).and_then(|f| f.get("value")).and_then(Json::as_f64);
        let interval = |name: &str| {
            let list = figures.get(name)?.get("interval")?.as_arr()?;
            Some([list.first()?.as_f64()?, list.get(1)?.as_f64()?])
        };
        let iou = CLASSES.map(|c| format!("iou {c}")).map(|n| (value(&n), interval(&n))).to_vec();
        let more = ["accuracy", "foreground_iou", "macro_iou_foreground"].map(value);
        self.rows.push(Row { name: name.into(), iou, more, seconds });
    }

    /// A row of numbers alone.
    pub(crate) fn numbers(&mut self, name: &str, iou: Vec<Option<f64>>, seconds: Option<f64>) {
        let iou = iou.into_iter().map(|v| (v, None)).collect();
        self.rows.push(Row { name: name.into(), iou, more: [None; 3], seconds });
    }

    /// IoU of a class in a row.
    pub(crate) fn value(&self, row: &str, class: &str) -> Option<f64> {
        let at = CLASSES.iter().position(|c| *c == class)?;
        self.rows.iter().find(|r| r.name == row)?.iou.get(at)?.0
    }

    /// Least, mean and greatest of a class over the rows whose names begin so.
    fn spread(&self, start: &str, class: usize) -> Option<[f64; 3]> {
        let of = self.rows.iter().filter(|r| r.name.starts_with(start)).filter_map(|r| r.iou[class].0);
        let values: Vec<f64> = of.collect();
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        (!values.is_empty()).then(|| [low, values.iter().sum::<f64>() / values.len() as f64, high])
    }

    pub(crate) fn text(&self) -> String {
        let percent = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{:.1}", 100.0 * v));
        let mut text = self.notes.join("\n") + &format!("\n{:44}", "IoU, percent (95 % interval)");
        CLASSES.iter().for_each(|c| text += &format!(" {c:>20}"));
        text += "  accuracy foreground  mean  seconds\n";
        for row in &self.rows {
            text += &format!("{:44}", row.name);
            for (v, interval) in &row.iou {
                let of = |[a, b]: [f64; 2]| format!(" ({:.1} … {:.1})", 100.0 * a, 100.0 * b);
                text += &format!(" {:>20}", percent(*v) + &interval.map_or(String::new(), of));
            }
            let [accuracy, foreground, mean] = row.more.map(percent);
            let seconds = row.seconds.map_or("-".into(), |s| format!("{s:.0}"));
            text += &format!("  {accuracy:>8} {foreground:>10} {mean:>5} {seconds:>8}\n");
        }
        for name in ["ours, seed", "ours, planes averaged", "torch, seed"] {
            let of = |k| self.spread(name, k).map_or("-".into(), |[a, m, b]| format!("{a:.3} {m:.3} {b:.3}"));
            text += &format!("{name}: least, mean, greatest of the seeds");
            (0..CLASSES.len()).for_each(|k| text += &format!("   {} {}", CLASSES[k], of(k)));
            text += "\n";
        }
        text
    }

    pub(crate) fn csv(&self) -> String {
        let mut text = String::from("method");
        CLASSES.iter().for_each(|c| text += &format!(",iou {c},low,high"));
        text += ",accuracy,foreground_iou,macro_iou_foreground,seconds\n";
        let cell = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.6}"));
        for row in &self.rows {
            text += &format!("\"{}\"", row.name);
            for (v, i) in &row.iou {
                text += &format!(",{},{},{}", cell(*v), cell(i.map(|i| i[0])), cell(i.map(|i| i[1])));
            }
            row.more.iter().chain([&row.seconds]).for_each(|v| text += &format!(",{}", cell(*v)));
            text += "\n";
        }
        text
    }

    /// Ours is within the spread of torch's seeds or above, above the forest in every class, faster, and all within two hours.
    pub(crate) fn judge(&self, seeds: &[u32], total: f64) {
        let text = self.text();
        println!("{total:.0} s");
        for (k, class) in CLASSES.iter().enumerate() {
            let [_, ours, _] = self.spread("ours, seed", k).expect("ours");
            let [low, theirs, high] = self.spread("torch, seed", k).expect("torch");
            let forest = self.value("forest", class).expect("the forest");
            assert!(
                ours >= theirs - (high - low),
                "{class}: ours {ours:.3}, torch {theirs:.3}, its seeds {low:.3} to {high:.3}\n{text}"
            );
            assert!(ours > forest, "{class}: ours {ours:.3}, the forest {forest:.3}\n{text}");
        }
        // Of seeds that nobody stopped.
        let of = |name: String| self.rows.iter().find(|r| r.name == name).and_then(|r| r.seconds).unwrap_or(f64::NAN);
        let times = seeds.iter().map(|seed| [of(format!("ours, seed {seed}")), of(format!("torch, seed {seed}"))]);
        let times: Vec<[f64; 2]> = times.filter(|[a, b]| (a + b).is_finite()).collect();
        assert!(!times.is_empty() && times.iter().all(|[ours, torch]| ours < torch), "seconds {times:?}\n{text}");
        if total.is_nan() {
            println!("two hours: not judged, because a training was ended and taken up again");
        } else {
            assert!(total < 7200.0, "{total:.0} s\n{text}");
        }
    }
}
