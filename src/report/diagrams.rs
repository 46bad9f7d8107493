//! Diagrams of numbers over the series, of current and impedance; and every figure of the page as a file.

use super::chart::{Chart, Line, Point};
use super::choice::Choice;
use super::draw::Drawing;
use super::figures::{Curves, OTHERS};
use super::map::{Map, Scale, grey_limits, limits};
use super::page::Sources;
use super::sections::{evenly, paints};
use crate::analysis::quantity::{Value, values};
use crate::error::Result;
use crate::json::Json;
use crate::segment::classes::colour as parsed;
use std::collections::BTreeMap;

/// What stands along x: minutes of current where all scans tell them, else steps.
pub(super) struct Axis {
    label: &'static str,
    pub of_step: BTreeMap<usize, f64>,
    /// Hours on the log's clock at which scans begin, where they are known.
    hours: Vec<f64>,
    /// Where charge becomes discharge.
    turn: Option<f64>,
}

impl Axis {
    pub fn new(results: &Json) -> Result<Axis> {
        let scans = results.need_arr("scans")?;
        let mut steps = Vec::new();
        let hours = |s: &Json| s.get("start_s").and_then(Json::as_f64).map(|s| s / 3600.0);
        for scan in scans {
            steps.push((scan.need_u64("step")? as usize, scan.get("minutes_on").and_then(Json::as_f64)));
        }
        let minutes = steps.iter().all(|s| s.1.is_some());
        let place = |(step, on): &(usize, Option<f64>)| (*step, if minutes { on.unwrap_or(0.0) } else { *step as f64 });
        let of_step: BTreeMap<usize, f64> = steps.iter().map(place).collect();
        let turn = results.get("parameters").and_then(|p| p.get("turn_used")?.as_u64()).map(|step| step as usize);
        // At the last scan nothing has turned yet.
        let last = of_step.keys().next_back().copied();
        let turn = turn.filter(|step| Some(*step) != last).and_then(|step| of_step.get(&step).copied());
        Ok(Axis {
            label: if minutes { "minutes of current" } else { "step" },
            of_step,
            hours: scans.iter().filter_map(hours).collect(),
            turn,
        })
    }
}

/// Colour of what a number is of: that of its class or of the class of its part.
fn colour(results: &Json, of: &str) -> Option<[u8; 3]> {
    let parameter = |key: &str| results.get("parameters").and_then(|p| p.get(key));
    let list = |key: &str| parameter(key).and_then(Json::as_arr).unwrap_or_default();
    let part = of.strip_suffix(" side").unwrap_or(of);
    let class = parameter("roles").and_then(|r| r.get(part)?.as_str()).unwrap_or(part);
    let own = list("classes").iter().position(|name| name.as_str() == Some(class));
    own.and_then(|k| parsed(list("colours").get(k)?.as_str()?))
}

fn chart(figure: &Curves, results: &Json, all: &[Value], axis: &Axis) -> Option<Drawing> {
    let mut lines: Vec<Line> = Vec::new();
    for definition in figure.definitions {
        let of_it = || all.iter().filter(|v| v.definition == *definition);
        let mut names: Vec<&str> = Vec::new();
        of_it().for_each(|v| {
            if !names.contains(&v.of) && v.of != "background" {
                names.push(v.of);
            }
        });
        for &of in &names {
            // One kind of number along a line; an interval is about the corrected one where there is one.
            let is_corrected = of_it().filter(|v| v.of == of && v.value.is_some()).all(|v| v.corrected.is_some());
            let point = |v: &Value| {
                let x = *axis.of_step.get(&v.step?)?;
                let interval = v.interval.filter(|_| is_corrected || v.corrected.is_none());
                Some(Point { x, y: if is_corrected { v.corrected } else { v.value }?, interval })
            };
            let points: Vec<Point> = of_it().filter(|v| v.of == of).filter_map(point).collect();
            if points.is_empty() {
                continue;
            }
            let name = if figure.definitions.len() > 1 { format!("{definition}: {of}") } else { of.to_string() };
            // What is no class takes none of the colours that classes have here.
            let alone = figure.definitions.len() == 1;
            let taken = |c: &[u8; 3]| {
                lines.iter().any(|l| l.colour == *c) || alone && names.iter().any(|n| colour(results, n) == Some(*c))
            };
            let free = || OTHERS.iter().copied().find(|c| !taken(c)).unwrap_or(OTHERS[lines.len() % OTHERS.len()]);
            let colour = if alone { colour(results, of).unwrap_or_else(free) } else { free() };
            lines.push(Line { name, colour, points, apart: false });
        }
    }
    let mark = axis.turn.map(|at| (at, "turn".to_string()));
    Chart { x: axis.label.into(), y: figure.y.into(), lines, mark, equal: false }.drawing()
}

/// A figure of diagrams: anchor, heading, drawings.
pub(super) type Figure = (&'static str, &'static str, Vec<Drawing>);

/// Current, voltage and impedance: anchor, heading, diagram.
fn electric(results: &Json, axis: &Axis) -> Vec<Figure> {
    let rows = |list: Option<&Json>| -> Vec<Vec<f64>> {
        let row = |r: &Json| r.as_arr().unwrap_or_default().iter().filter_map(Json::as_f64).collect();
        list.and_then(Json::as_arr).unwrap_or_default().iter().map(row).collect()
    };
    let line = |name: &str, k: usize, points: Vec<[f64; 2]>| Line {
        name: name.into(),
        colour: OTHERS[k % OTHERS.len()],
        points: points.into_iter().map(|[x, y]| Point { x, y, interval: None }).collect(),
        apart: false,
    };
    let course = rows(results.get("course"));
    let column = |k: usize| course.iter().filter_map(|r| Some([*r.first()?, *r.get(k)?])).collect::<Vec<_>>();
    let scans = axis.hours.iter().map(|h| [*h, 0.0]).collect::<Vec<_>>();
    let chart = |x: &str, y: &str, lines: Vec<Line>, equal: bool| {
        let lines = lines.into_iter().filter(|l| !l.points.is_empty()).collect();
        Chart { x: x.into(), y: y.into(), lines, mark: None, equal }.drawing()
    };
    let mut found = Vec::new();
    if !course.is_empty() {
        let begin = Line { apart: true, ..line("scans begin", 1, scans) };
        let both = [
            chart("hours", "current, mA", vec![line("current", 0, column(1)), begin], false),
            chart("hours", "voltage, V", vec![line("voltage", 2, column(2))], false),
        ];
        found.push(("cycling", "Current, voltage and scans", both.into_iter().flatten().collect()));
    }
    let spectra = results.get("impedance").and_then(Json::as_arr).unwrap_or_default();
    let nyquist = |(k, spectrum): (usize, &Json)| {
        let points =
            rows(spectrum.get("hz_re_minus_im")).iter().filter_map(|p| Some([*p.get(1)?, *p.get(2)?])).collect();
        line(spectrum.get("name").and_then(Json::as_str).unwrap_or(""), k, points)
    };
    let drawing = chart("Re Z, ohm", "−Im Z, ohm", spectra.iter().enumerate().map(nyquist).collect(), true);
    found.extend(drawing.map(|drawing| ("nyquist", "Impedance", vec![drawing])));
    found
}

/// All diagrams in the order of the page.
pub(super) fn diagrams(results: &Json, choice: &Choice, all: &[Value], axis: &Axis) -> Vec<Figure> {
    let curves = choice.curves.iter().filter_map(|f| Some((f.id, f.title, vec![chart(f, results, all, axis)?])));
    electric(results, axis).into_iter().chain(curves).collect()
}

/// Every figure of the page as files, SVG and PNG: names and bytes.
///
/// # Errors
/// Those of [`page`](super::page::page).
pub fn figures(sources: &Sources) -> Result<Vec<(String, Vec<u8>)>> {
    let all = values(&sources.results)?;
    let axis = Axis::new(&sources.results)?;
    let choice = Choice::of(&sources.results, &sources.chosen)?;
    let mut files = Vec::new();
    for (id, _, drawings) in diagrams(&sources.results, &choice, &all, &axis) {
        for (k, drawing) in drawings.iter().enumerate() {
            let more = if k > 0 { format!("_{}", k + 1) } else { String::new() };
            files.extend(drawing.files(&format!("{id}{more}"))?);
        }
    }
    for figure in &choice.maps {
        let of_kind = || sources.maps.iter().filter(|((kind, _), _)| *kind == figure.kind);
        let (range, scale) = limits(of_kind().map(|m| m.1));
        for ((kind, step), map) in of_kind() {
            let drawing = map.alone(&figure.title, figure.unit, range, scale, &|_| None)?;
            files.extend(drawing.files(&format!("map_{kind}.step_{step:02}"))?);
        }
    }
    let range = grey_limits(sources.volumes.iter().flat_map(|v| &v.sections));
    let paints = paints(&sources.results);
    for volume in evenly(sources.volumes.len()).map(|k| &sources.volumes[k]) {
        for (k, section) in volume.sections.iter().enumerate() {
            let name = format!("section_{}.{}", volume.name, ["z", "y", "x"][k % 3]);
            let alone =
                |paint: &super::map::Paint| section.alone(&volume.name, "grey value", range, Scale::Grey, paint);
            files.extend(alone(&|_| None)?.files(&name)?);
            if let Some(classes) = volume.classes.get(k) {
                files.extend(alone(&|i| painted(classes, i, &paints))?.files(&format!("{name}.classes"))?);
            }
        }
    }
    Ok(files)
}

/// The colour of the class at a place of a section.
pub(super) fn painted(classes: &Map, place: usize, paints: &[Option<[u8; 3]>]) -> Option<[u8; 3]> {
    let class = *classes.values.get(place)?;
    if class.is_nan() { None } else { *paints.get(class as usize)? }
}
