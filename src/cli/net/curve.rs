//! A training as a picture: losses, accuracies and intersections over union, epoch by epoch.

use crate::cli::canvas::{BLACK, COLOURS, Canvas, GREY};
use crate::error::Result;
use crate::nn::fit::Epoch;
use crate::num::elementary::ln;
use std::path::Path;

/// Size of a panel, and the space around it.
const PANEL: [usize; 2] = [520, 150];
const SPACE: usize = 32;
/// Least of the loss's logarithmic scale.
const LEAST: f64 = 1e-6;

/// A curve: name, and a value for each epoch that has one.
type Curve = (String, Vec<Option<f64>>);

/// Draws epochs: losses on a logarithmic scale, accuracies, IoU of each class; a grey line where the rate changes.
///
/// # Errors
/// What the disk says.
pub fn write(path: &Path, epochs: &[Epoch], overwrite: bool) -> Result<()> {
    let [width, height] = PANEL;
    let validation = |of: &dyn Fn(&crate::nn::fit::Score) -> Option<f64>| -> Vec<Option<f64>> {
        epochs.iter().map(|e| e.validation.as_ref().and_then(of)).collect()
    };
    let training = |of: fn(&Epoch) -> f64| epochs.iter().map(|e| Some(of(e))).collect::<Vec<_>>();
    let classes = epochs.iter().filter_map(|e| e.validation.as_ref()).map(|v| v.iou.len()).max().unwrap_or(0);
    let log = |v: Vec<Option<f64>>| {
        v.into_iter().map(|v| v.map(|v| ln(v.max(LEAST)) / std::f64::consts::LN_10)).collect::<Vec<_>>()
    };
    let pair = |a, b| vec![("TRAINING".to_string(), a), ("VALIDATION".to_string(), b)];
    let iou = (0..classes).map(|k| (format!("CLASS {k}"), validation(&|v| v.iou.get(k).copied().flatten())));
    let losses: Vec<Curve> = pair(log(training(|e| e.loss)), log(validation(&|v| Some(v.loss))));
    let panels: [(&str, Vec<Curve>, [f64; 2]); 3] = [
        ("LOSS", losses.clone(), decades(&losses)),
        ("ACCURACY", pair(training(|e| e.accuracy), validation(&|v| Some(v.accuracy))), [0.0, 1.0]),
        ("VALIDATION IOU", iou.collect(), [0.0, 1.0]),
    ];
    let mut canvas = Canvas::new(width + 2 * SPACE, SPACE + panels.len() * (height + 2 * SPACE));
    for (number, (title, curves, [low, high])) in panels.iter().enumerate() {
        let (left, top) = (SPACE as f64, (SPACE + number * (height + 2 * SPACE)) as f64);
        let (right, bottom) = (left + width as f64, top + height as f64);
        let place = |epoch: usize, v: f64| {
            let x = left + (epoch as f64 + 0.5) / epochs.len().max(1) as f64 * width as f64;
            [x, bottom - (v.clamp(*low, *high) - low) / (high - low) * height as f64]
        };
        for e in (1..epochs.len()).filter(|&e| epochs[e].rate != epochs[e - 1].rate) {
            canvas.line([place(e, *low)[0], top], [place(e, *low)[0], bottom], GREY);
        }
        for (from, to) in [([left, top], [left, bottom]), ([left, bottom], [right, bottom])] {
            canvas.line(from, to, BLACK);
        }
        let ends =
            if number == 0 { [low, high].map(|v| format!("1E{:.0}", v + 0.0)) } else { ["0".into(), "1".into()] };
        canvas.text((4, bottom as usize - 8), &ends[0], BLACK);
        canvas.text((4, top as usize), &ends[1], BLACK);
        canvas.text((left as usize, top as usize - 14), title, BLACK);
        canvas.text((left as usize, bottom as usize + 6), "1", BLACK);
        let last = format!("EPOCH {}", epochs.len());
        canvas.text((right as usize - 60, bottom as usize + 6), &last, BLACK);
        for (k, (name, values)) in curves.iter().enumerate() {
            let colour = COLOURS[k % COLOURS.len()];
            canvas.text((left as usize + 110 + 80 * k, top as usize - 14), name, colour);
            let known: Vec<[f64; 2]> = values.iter().enumerate().filter_map(|(e, v)| Some(place(e, (*v)?))).collect();
            known.iter().for_each(|&at| canvas.square(at, 1, colour));
            known.windows(2).for_each(|w| canvas.line(w[0], w[1], colour));
        }
    }
    canvas.write(path, overwrite)
}

/// Whole decades around all values.
fn decades(curves: &[Curve]) -> [f64; 2] {
    let values = || curves.iter().flat_map(|c| c.1.iter().flatten());
    let low = values().fold(0.0, |low: f64, &v| low.min(v)).floor();
    [low, values().fold(low + 1.0, |high: f64, &v| high.max(v)).ceil()]
}
