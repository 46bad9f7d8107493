//! How good the segmentation is, from what `seg eval` wrote: figures with intervals, the matrix of truth and prediction, and
//! how right the network is where it is how sure.

use super::chart::{Chart, Line, Point};
use super::figures::OTHERS;
use super::{escape, short};
use crate::error::{Error, Result};
use crate::json::Json;
use std::fmt::Write as _;

/// Groups of figures in the file, and what is said of each.
const GROUPS: [(&str, &str); 3] =
    [("figures", ""), ("boundary_iou", "outline, IoU "), ("calibration_errors", "calibration ")];

/// Schema of what `seg eval` writes.
pub const SCHEMA: &str = "tomolith-metrics-2";

/// The section of the page; `file` and `digest` are the name and the SHA-256 of what is shown.
///
/// # Errors
/// Data: what `seg eval` did not write.
pub fn quality(metrics: &Json, file: &str, digest: &str) -> Result<String> {
    if metrics.get("schema").and_then(Json::as_str) != Some(SCHEMA) {
        return Err(Error::data("is not what `seg eval` of this version writes"));
    }
    let mut s = String::from(
        "<section id=\"quality\"><h2>Quality of the segmentation</h2><p>Against labels that are held for the truth, percent; \
         95 % by drawing slices again; \
         errors of the calibration are sums of distances, and larger when drawn again.</p><table><tr><th>what</th><th>value</th><th>95 %</th></tr>",
    );
    let percent = |json: Option<&Json>| json.and_then(Json::as_f64).map_or("–".to_string(), |v| short(100.0 * v));
    for (group, before) in GROUPS {
        for (name, one) in metrics.get(group).and_then(Json::as_obj).into_iter().flatten() {
            let ends = one.get("interval").and_then(Json::as_arr).unwrap_or_default();
            let interval = match ends {
                [low, high] => format!("{} to {}", percent(Some(low)), percent(Some(high))),
                _ => "–".into(),
            };
            let (name, value) = (escape(&format!("{before}{name}")), percent(one.get("value")));
            let _ = write!(s, "<tr><td>{name}</td><td class=\"n\">{value}</td><td class=\"n\">{interval}</td></tr>");
        }
    }
    let names: Vec<&str> = metrics.need_arr("classes")?.iter().filter_map(Json::as_str).collect();
    s += "</table><h3>Truth in rows, prediction in columns: percent of the truth</h3><table><tr><th></th>";
    names.iter().for_each(|name| s += &format!("<th>{}</th>", escape(name)));
    s += "<th>no prediction</th></tr>";
    let confusion = metrics.need("confusion")?;
    let (rows, silent) =
        (confusion.need_arr("rows_truth_columns_prediction")?, confusion.need_arr("without_prediction")?);
    for ((name, row), silent) in names.iter().zip(rows).zip(silent) {
        let counts = row.as_arr().unwrap_or_default().iter().chain([silent]);
        let counts: Vec<f64> = counts.filter_map(Json::as_f64).collect();
        let all = counts.iter().fold(0.0, |s, n| s + n);
        let _ = write!(s, "<tr><th>{}</th>", escape(name));
        for n in counts {
            let part = if all > 0.0 { n / all } else { 0.0 };
            let _ = write!(
                s,
                "<td class=\"n\" style=\"background:rgba(0,114,178,{:.3})\" title=\"{n} voxels\">{}</td>",
                0.6 * part,
                short(100.0 * part)
            );
        }
        s += "</tr>";
    }
    s += "</table>";
    let bins = metrics.get("calibration").and_then(|c| c.get("bins")?.as_arr()).unwrap_or_default();
    let point = |bin: &Json| {
        Some(Point { x: bin.get("confidence")?.as_f64()?, y: bin.get("accuracy")?.as_f64()?, interval: None })
    };
    let points: Vec<Point> = bins.iter().filter_map(point).collect();
    if !points.is_empty() {
        let ends = [0.0, 1.0].map(|v| Point { x: v, y: v, interval: None }).to_vec();
        let line = |name: &str, colour, points| Line { name: name.into(), colour, points, apart: false };
        let lines = vec![line("of voxels", OTHERS[0], points), line("as sure as right", [127; 3], ends)];
        let chart = Chart { x: "confidence".into(), y: "part that is right".into(), lines, mark: None, equal: false };
        if let Some(drawing) = chart.drawing() {
            let _ = write!(s, "<h3>Confidence</h3><div class=\"charts\">{}</div>", drawing.svg()?);
        }
    }
    let _ = write!(s, "<p>{}, SHA-256 <code>{digest}</code></p></section>", escape(file));
    Ok(s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_matrix_and_confidence_are_shown() {
        let text = r#"{"schema":"tomolith-metrics-2","classes":["none","a < b"],"figures":{"accuracy":{"value":0.75,"interval":[0.7,0.8]},"iou none":{"value":null,"interval":null}},
            "boundary_iou":{"a < b":{"value":0.5,"interval":[0.25,0.625]}},"confusion":{"rows_truth_columns_prediction":[[30,10],[0,0]],"without_prediction":[10,0]},
            "calibration":{"bins":[{"voxels":0,"accuracy":null,"confidence":null},{"voxels":4,"accuracy":0.5,"confidence":0.875}]}}"#;
        let page = quality(&Json::parse(text).unwrap(), "m.json", "aa").unwrap();
        for part in [
            "accuracy</td><td class=\"n\">75</td><td class=\"n\">70 to 80<",
            "iou none</td><td class=\"n\">–</td><td class=\"n\">–<",
            "outline, IoU a &lt; b</td><td class=\"n\">50</td><td class=\"n\">25 to 62.5<",
            "0.360)\" title=\"30 voxels\">60<",
            "0.120)\" title=\"10 voxels\">20</td></tr>",
            "title=\"0 voxels\">0<",
            "of voxels: 0.5 at 0.875",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(quality(&Json::parse("{}").unwrap(), "m.json", "aa").is_err());
    }
}
