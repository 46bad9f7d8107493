//! The page: headline numbers, figures, tables, definitions, what was left out, and from what all was made.

use super::chart::{Chart, Line, Point};
use super::figures::{CURVES, Curves, DISAGREEMENTS, MAPS, OTHERS, PANELS, ROLES};
use super::map::{Map, bar, base64, limits, scale_bar};
use super::sections::{Shown, evenly, grey, key};
use super::{DRAWING, drawings, escape, short};
use crate::analysis::quantity::{Value, values};
use crate::analysis::view::across;
use crate::error::Result;
use crate::json::Json;
use crate::num::CONTRACT;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the page is made of.
pub struct Sources {
    /// `results.json`.
    pub results: Json,
    /// `analysis.json`, from what the numbers were made, and its SHA-256; none if it is not there.
    pub provenance: Option<(Json, String)>,
    /// Maps by kind and step.
    pub maps: BTreeMap<(String, usize), Map>,
    /// Pictures (PNG) by kind, `view` or `section`, and step.
    pub pictures: BTreeMap<(String, usize), Vec<u8>>,
    /// Grey volumes.
    pub volumes: Vec<Shown>,
    /// The section that [`quality`](super::quality) makes.
    pub quality: Option<String>,
}

/// Definitions whose last values stand first.
const HEADLINES: &[&str] = &[
    "thickness.side",
    "net_lithium",
    "faraday.thickness",
    "ratio.per_area",
    "ratio.whole_cell",
    "remaining.volume",
    "dead.volume",
    "void.area",
    "gap",
    "swelling.inner",
    "dendrites",
    "change_correlation",
    "rate.end_points",
    "rate.fitted",
    "knee.at",
    "decay.time",
];
const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}\
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #ccc}h3{margin:1.2em 0 .3em;font-size:1.05em}\
svg{max-width:100%;height:auto}svg.bar,figure img+svg{display:block;margin:.3em 0}.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(26em,1fr));gap:1.5em}\
.maps{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-size:.85em;color:#555}\
table{border-collapse:collapse;font-size:.88em}td,th{padding:.15em .7em;border-bottom:1px solid #e6e6e6;text-align:left;vertical-align:top}\
td.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.92em}.warn{background:#fff4d6;padding:.4em .8em;border-left:4px solid #e69f00}\
.key{display:inline-block;width:.9em;height:.9em;margin:0 .3em 0 .9em;vertical-align:-1px}figure img{max-width:100%;image-rendering:auto}\
details{margin:.5em 0}summary{cursor:pointer}";

/// What stands along x: minutes of current where all scans tell them, else steps.
struct Axis {
    label: &'static str,
    of_step: BTreeMap<usize, f64>,
    /// Hours on the log's clock at which scans begin, where they are known.
    hours: Vec<f64>,
    /// Where charge becomes discharge.
    turn: Option<f64>,
}

impl Axis {
    fn new(results: &Json) -> Result<Axis> {
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

/// Colour of what a number is of: by its role in the cell, else by its place among the others.
fn colour(results: &Json, of: &str, place: usize) -> String {
    let roles = results.get("parameters").and_then(|p| p.get("roles"));
    let is = |role: &str| {
        let class = roles.and_then(|r| r.get(role)).and_then(Json::as_str);
        class == Some(of) || of.strip_suffix(" side") == Some(role)
    };
    let list = |key: &str| results.get("parameters").and_then(|p| p.get(key)?.as_arr()).unwrap_or_default();
    let own = list("classes").iter().position(|name| name.as_str() == Some(of));
    let own = own.and_then(|k| list("colours").get(k)?.as_str());
    let found = ROLES.iter().find(|(role, _)| is(role)).map(|r| r.1).or(own);
    found.unwrap_or(OTHERS[place % OTHERS.len()]).to_string()
}

fn chart(figure: &Curves, results: &Json, all: &[Value], axis: &Axis) -> Option<String> {
    let mut lines: Vec<Line> = Vec::new();
    for definition in figure.definitions {
        let of_it = || all.iter().filter(|v| v.definition == *definition);
        let mut names: Vec<&str> = Vec::new();
        of_it().for_each(|v| {
            if !names.contains(&v.of) && v.of != "background" {
                names.push(v.of);
            }
        });
        for of in names {
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
            let colour = match figure.definitions.len() {
                1 => colour(results, of, lines.len()),
                _ => OTHERS[lines.len() % OTHERS.len()].to_string(),
            };
            lines.push(Line { name, colour, points, apart: false });
        }
    }
    let mark = axis.turn.map(|at| (at, "turn".to_string()));
    Chart { x: axis.label.into(), y: figure.y.into(), lines, mark, equal: false }.svg()
}

fn interval(v: Option<[f64; 2]>) -> String {
    v.map_or("–".into(), |[a, b]| format!("{} to {}", short(a), short(b)))
}

fn table(rows: &[&Value], s: &mut String) {
    *s += "<table><tr><th>what</th><th>of</th><th>step</th><th>value</th><th>corrected</th><th>unit</th><th>95 %: this field</th>\
           <th>95 %: another field</th><th>from</th></tr>";
    for v in rows {
        let _ = write!(
            s,
            "<tr><td><a href=\"#d-{0}\">{0}</a></td><td>{1}</td><td class=\"n\">{2}</td><td class=\"n\">{3}</td><td class=\"n\">{4}</td>\
             <td>{5}</td><td class=\"n\">{6}</td><td class=\"n\">{7}</td><td>{8}</td></tr>",
            escape(v.definition),
            escape(v.of),
            v.step.map_or("–".into(), |k| k.to_string()),
            v.value.map_or("–".into(), short),
            v.corrected.map_or(String::new(), short),
            escape(v.unit),
            interval(v.interval),
            interval(v.sampling),
            escape(v.from)
        );
    }
    *s += "</table>";
}

/// A member of a JSON object as a row of text.
fn plain(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_line(), String::from)
}

/// Views and sections of the labels, with the colours of the classes.
fn pictures(sources: &Sources, shown: &mut Vec<&str>, s: &mut String) -> Result<()> {
    let parameters = sources.results.get("parameters");
    let kinds = [
        ("view", "views", "Classes in three dimensions"),
        ("section", "label-sections", "Classes in the middle slice"),
    ];
    for (kind, id, title) in kinds {
        let of_kind: Vec<_> = sources.pictures.iter().filter(|((k, _), _)| k == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        if shown.is_empty() {
            *s += "<h2>Classes</h2><p>The depth goes down, the plating side is above; electrodes can be looked through.</p>";
            let roles = parameters.and_then(|p| p.get("roles"));
            let part = |(role, colour): &(&str, &str)| Some((roles?.get(role)?.as_str()?, colour.to_string()));
            key(ROLES.iter().filter_map(part), s);
        }
        shown.push(id);
        let _ = write!(s, "<section id=\"{id}\"><h3>{title}</h3><div class=\"maps\">");
        let length = |axis: usize| {
            let number = |key: &str, k: usize| parameters?.get(key)?.as_arr()?.get(k)?.as_f64();
            Some(number("dims_zyx", axis)? * number("voxel_um", 2 - axis)?)
        };
        let whole = length(2).zip(length(0)).map(|(x, z)| if kind == "view" { across([x, z]) } else { x });
        let bar = whole.map(|whole| scale_bar(whole, 240.0, 8.0, true)).transpose()?;
        let bar = bar.map_or(String::new(), |bar| format!("<svg viewBox=\"0 0 240 16\" width=\"240\">{bar}</svg>"));
        for ((_, step), png) in of_kind {
            let _ = write!(
                s,
                "<figure><img alt=\"{kind} of step {step}\" width=\"240\" src=\"data:image/png;base64,{}\"/>{bar}\
                 <figcaption>step {step}</figcaption></figure>",
                base64(png)
            );
        }
        *s += "</div></section>";
    }
    Ok(())
}

/// Maps of the parts of a cell, of what happened to them, and of classes that play no part.
fn maps(sources: &Sources, shown: &mut Vec<&str>, s: &mut String) -> Result<()> {
    if sources.maps.is_empty() {
        return Ok(());
    }
    *s += "<h2>Maps</h2><p>Each seen along the depth, edges of electrodes in cross-section; all maps of a kind have one scale.</p>";
    let mut one = |kind: &str, id: &str, title: &str, unit: &str| -> Result<bool> {
        let of_kind: Vec<&Map> = sources.maps.iter().filter(|((k, _), _)| k == kind).map(|(_, m)| m).collect();
        if of_kind.is_empty() {
            return Ok(false);
        }
        let (range, scale) = limits(of_kind.iter().copied());
        let _ =
            write!(s, "<section id=\"{id}\"><h3>{}</h3>{}<div class=\"maps\">", escape(title), bar(range, scale, unit));
        for k in evenly(of_kind.len()) {
            *s += &of_kind[k].svg(range, scale)?;
        }
        *s += "</div></section>";
        Ok(true)
    };
    let parameter = |key: &str| sources.results.get("parameters").and_then(|p| p.get(key));
    for figure in MAPS {
        // A class may have a name of its own.
        let name = parameter("roles").and_then(|r| r.get(figure.kind)?.as_str()).filter(|name| *name != figure.kind);
        let title = name.map_or(figure.title.to_string(), |name| format!("{}: {name}", figure.title));
        if one(figure.kind, figure.id, &title, figure.unit)? {
            shown.push(figure.id);
        }
    }
    for (k, name) in parameter("classes").and_then(Json::as_arr).unwrap_or_default().iter().enumerate() {
        one(&format!("class_{k}"), &format!("map-class-{k}"), &plain(name), "µm")?;
    }
    Ok(())
}

/// Current, voltage and impedance: anchor, heading, diagram.
fn electric(results: &Json, axis: &Axis) -> Vec<(&'static str, &'static str, String)> {
    let rows = |list: Option<&Json>| -> Vec<Vec<f64>> {
        let row = |r: &Json| r.as_arr().unwrap_or_default().iter().filter_map(Json::as_f64).collect();
        list.and_then(Json::as_arr).unwrap_or_default().iter().map(row).collect()
    };
    let line = |name: &str, k: usize, points: Vec<[f64; 2]>| Line {
        name: name.into(),
        colour: OTHERS[k % OTHERS.len()].into(),
        points: points.into_iter().map(|[x, y]| Point { x, y, interval: None }).collect(),
        apart: false,
    };
    let course = rows(results.get("course"));
    let column = |k: usize| course.iter().filter_map(|r| Some([*r.first()?, *r.get(k)?])).collect::<Vec<_>>();
    let scans = axis.hours.iter().map(|h| [*h, 0.0]).collect::<Vec<_>>();
    let chart = |x: &str, y: &str, lines: Vec<Line>, equal: bool| {
        let lines = lines.into_iter().filter(|l| !l.points.is_empty()).collect();
        Chart { x: x.into(), y: y.into(), lines, mark: None, equal }.svg()
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
    let svg = chart("Re Z, ohm", "−Im Z, ohm", spectra.iter().enumerate().map(nyquist).collect(), true);
    found.extend(svg.map(|svg| ("nyquist", "Impedance", svg)));
    found
}

/// All diagrams in the order of the page: anchor, heading, drawing.
fn diagrams(results: &Json, all: &[Value], axis: &Axis) -> Vec<(&'static str, &'static str, String)> {
    let curves = CURVES.iter().filter_map(|f| Some((f.id, f.title, chart(f, results, all, axis)?)));
    electric(results, axis).into_iter().chain(curves).collect()
}

/// Every figure of the page as a file: its name and bytes.
///
/// # Errors
/// Those of [`page`].
pub fn figures(sources: &Sources) -> Result<Vec<(String, Vec<u8>)>> {
    let all = values(&sources.results)?;
    let axis = Axis::new(&sources.results)?;
    let mut files = Vec::new();
    for (id, _, html) in diagrams(&sources.results, &all, &axis) {
        for (k, svg) in drawings(&html).into_iter().enumerate() {
            let more = if k > 0 { format!("_{}", k + 1) } else { String::new() };
            files.push((format!("{id}{more}.svg"), svg.into_bytes()));
        }
    }
    for (kind, step) in sources.maps.keys() {
        let (range, scale) = limits(sources.maps.iter().filter(|((k, _), _)| k == kind).map(|m| m.1));
        let map = &sources.maps[&(kind.clone(), *step)];
        let name = format!("map_{kind}.step_{step:02}");
        files
            .extend(drawings(&map.svg(range, scale)?).into_iter().map(|svg| (format!("{name}.svg"), svg.into_bytes())));
        files.push((format!("{name}.png"), map.png(range, scale)?));
    }
    Ok(files)
}

/// Tables of all numbers, definitions and parameters.
fn numbers(results: &Json, all: &[Value], s: &mut String) -> Result<()> {
    *s += "<h2>All numbers</h2>";
    let definitions = results.need("definitions")?.as_obj().cloned().unwrap_or_default();
    let table_of =
        |name: &str| definitions.get(name).and_then(|d| d.get("table")).and_then(Json::as_str).unwrap_or("other");
    let mut tables: Vec<&str> = Vec::new();
    for v in all {
        if !tables.contains(&table_of(v.definition)) {
            tables.push(table_of(v.definition));
        }
    }
    for name in tables {
        let rows: Vec<&Value> = all.iter().filter(|v| table_of(v.definition) == name).collect();
        let _ = write!(s, "<details><summary>{} ({} numbers)</summary>", escape(name), rows.len());
        table(&rows, s);
        *s += "</details>";
    }
    *s += "<h2 id=\"definitions\">Definitions</h2><table><tr><th>name</th><th>unit</th><th>panel</th><th>what it is</th></tr>";
    for (name, d) in &definitions {
        let text = |key: &str| escape(d.get(key).and_then(Json::as_str).unwrap_or(""));
        let _ = write!(
            s,
            "<tr id=\"d-{0}\"><td><code>{0}</code></td><td>{1}</td><td>{2}</td><td>{3}</td></tr>",
            escape(name),
            text("unit"),
            text("panel"),
            text("text")
        );
    }
    *s += "</table><h2>From what</h2><h3>Parameters</h3><table>";
    for (key, value) in results.need("parameters")?.as_obj().into_iter().flatten() {
        let _ = write!(s, "<tr><td>{}</td><td><code>{}</code></td></tr>", escape(key), escape(&plain(value)));
    }
    *s += "</table>";
    Ok(())
}

/// The page.
///
/// # Errors
/// Data: results of another kind.
pub fn page(title: &str, sources: &Sources) -> Result<String> {
    let results = &sources.results;
    let all = values(results)?;
    let axis = Axis::new(results)?;
    let mut s = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{DRAWING}{STYLE}</style></head><body><h1>{0}</h1>",
        escape(title)
    );
    let of = |n: usize, what: &str| if n > 0 { format!("{n} {what}. ") } else { String::new() };
    let (scans, shown) = (results.need_arr("scans")?.len(), sources.volumes.len());
    let _ = write!(s, "<p>{}{}{}", of(scans, "scans"), of(shown, "grey volumes"), of(all.len(), "numbers"));
    s += "Hover over a point for its value. Bars are 95 % intervals, of correlations what chance gives. Numbers are defined <a href=\"#definitions\">below</a>; \
          what was left out, and why, stands <a href=\"#left-out\">there</a>.</p>";
    for note in results.get("notes").and_then(Json::as_arr).unwrap_or_default() {
        let _ = write!(s, "<p class=\"warn\">{}</p>", escape(&plain(note)));
    }

    let last = axis.of_step.keys().next_back().copied();
    let rows: Vec<&Value> = HEADLINES
        .iter()
        .flat_map(|name| all.iter().filter(move |v| v.definition == *name))
        .filter(|v| v.step == last || v.step.is_none())
        .collect();
    if !rows.is_empty() {
        s += "<h2>At the end</h2>";
        table(&rows, &mut s);
    }
    let mut shown: Vec<&str> = Vec::new();
    pictures(sources, &mut shown, &mut s)?;
    grey(sources, &mut shown, &mut s)?;

    if !all.is_empty() {
        s += "<h2>Over the series</h2>";
    }
    s += "<div class=\"charts\">";
    for (id, title, svg) in diagrams(results, &all, &axis) {
        shown.push(id);
        let _ = write!(s, "<section id=\"{id}\"><h3>{}</h3>{svg}</section>", escape(title));
    }
    s += "</div>";
    maps(sources, &mut shown, &mut s)?;

    if let Some(section) = &sources.quality {
        s += section;
        shown.push("quality");
    }
    s += "<h2 id=\"panels\">The paper's panels</h2><table><tr><th>panel</th><th>what</th><th>here</th></tr>";
    for (panel, what, place) in PANELS {
        let here = match place {
            Ok(id) if shown.contains(id) => format!("<a href=\"#{id}\">{id}</a>"),
            // What is read from elsewhere is no part of the numbers, which say what they left out.
            Ok("quality") => {
                "quality: no figures of the segmentation were given, which <code>seg eval</code> makes".into()
            }
            Ok("nyquist") => "nyquist: no spectra of the impedance were given".into(),
            Ok(id) => format!("{id}: these numbers have none of it, see <a href=\"#left-out\">what was left out</a>"),
            Err(why) => format!("not here: {}", escape(why)),
        };
        let _ = write!(s, "<tr><td>{}</td><td>{}</td><td>{here}</td></tr>", escape(panel), escape(what));
    }
    s += "</table><h3>Where its text and numbers disagree</h3><table><tr><th>what</th><th>printed</th><th>recomputed</th><th>by</th></tr>";
    for row in DISAGREEMENTS {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let _ = write!(s, "<tr>{cells}</tr>");
    }
    s += "</table><h2 id=\"left-out\">Left out</h2>";
    let left = results.get("left_out").and_then(Json::as_arr).unwrap_or_default();
    if left.is_empty() {
        s += "<p>Nothing.</p>";
    }
    for item in left {
        let text = |key: &str| escape(item.get(key).and_then(Json::as_str).unwrap_or(""));
        let _ = write!(s, "<p><b>{}</b>: {}</p>", text("what"), text("why"));
    }

    if !all.is_empty() {
        numbers(results, &all, &mut s)?;
    }
    if let Some((made, digest)) = &sources.provenance {
        s += "<h3>Files read</h3><details><summary>names and SHA-256</summary><table>";
        for input in made.get("inputs").and_then(Json::as_arr).unwrap_or_default() {
            let text = |key: &str| escape(&input.get(key).map(plain).unwrap_or_default());
            let _ = write!(
                s,
                "<tr><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
                text("role"),
                text("name"),
                text("sha256")
            );
        }
        s += "</table></details>";
        let text = |key: &str| escape(&made.get(key).map(plain).unwrap_or_default());
        let tool = made.get("tool").map(|t| {
            let part = |key: &str| t.get(key).and_then(Json::as_str).unwrap_or("").to_string();
            format!("{} {}", part("name"), part("version"))
        });
        let _ = write!(
            s,
            "<p>Made by {}, arithmetic contract {}; SHA-256 of analysis.json <code>{digest}</code>.</p>",
            escape(&tool.unwrap_or_default()),
            text("contract")
        );
    }
    let _ = writeln!(s, "<p>This page: tomolith {}, contract {CONTRACT}.</p></body></html>", env!("CARGO_PKG_VERSION"));
    Ok(s)
}

#[cfg(test)]
mod tests {
    use super::super::map::Scale;
    use super::*;

    const RESULTS: &str = r##"{"definitions":{"volume":{"panel":"3b","table":"volumes","text":"a < b","unit":"um3"}},
        "left_out":[{"what":"solid fraction","why":"no grey values"}],"notes":["apparent & porous"],
        "parameters":{"classes":["none","needles"],"colours":[null,"#009e73"],"roles":{"dendrite":"needles"},"seed":"1","turn_used":0},
        "quantities":[{"definition":"volume","of":"needles","step":0,"unit":"um3","value":1.5,"interval95":[1,2]},
        {"definition":"volume","of":"needles","step":8,"unit":"um3","value":null,"interval95":null}],
        "course":[[0,1,3.5],[0.5,2,3.6]],"impedance":[{"name":"a.mpt","hz_re_minus_im":[[100,10,3],[1,20,0]]}],
        "scans":[{"step":0,"minutes_on":0,"start_s":900},{"step":8,"minutes_on":80}],"schema":"tomolith-results-1"}"##;

    #[test]
    fn the_page_holds_the_numbers_and_says_what_it_does_not() {
        let map = Map { title: "step 0".into(), width: 2, values: vec![0.0, 1.0, 2.0, 3.0], pixel: Some(1.33) };
        let maps = BTreeMap::from([(("dendrite".to_string(), 0), map)]);
        let pictures = BTreeMap::from([(("view".to_string(), 8), vec![1, 2, 3])]);
        let grey = Map { title: "z 4".into(), width: 2, values: vec![1.0; 4], pixel: None };
        let classes = vec![Map { values: vec![0.0, 1.0, 0.0, f32::NAN], ..grey.clone() }];
        let volumes = vec![Shown {
            name: "s00 < 1".into(),
            facts: vec![("axis".into(), "3.5".into())],
            sections: vec![grey],
            classes,
        }];
        let sources = Sources {
            results: Json::parse(RESULTS).unwrap(),
            provenance: None,
            maps,
            pictures,
            volumes,
            quality: None,
        };
        let text = page("A < cell", &sources).unwrap();
        assert_eq!(page("A < cell", &sources).unwrap(), text);
        for part in [
            "A &lt; cell",
            "apparent &amp; porous",
            "solid fraction</b>: no grey values",
            "needles: 1.5 at 0, 95 %: 1 to 2",
            "#009e73",
            "map-dendrite",
            "a &lt; b",
            "minutes of current",
            "not here: drawings",
            "AQID",
            " voxels</text>",
            "s00 &lt; 1",
            "current: 2 at 0.5",
            "a.mpt: 3 at 10",
            "<a href=\"#nyquist\">",
            ">turn</text>",
        ] {
            assert!(text.contains(part), "{part}");
        }
        // Half of the colour of needles, #009e73, where they are.
        let own = Scale::Grey.colour(0.5);
        let over: [u8; 3] = std::array::from_fn(|k| own[k] / 2 + [0u8, 0x9e, 0x73][k] / 2);
        let png = crate::exchange::png::encode_rgb8(2, 2, &[own, over, own, own].concat()).unwrap();
        assert!(text.contains(&base64(&png)) && text.contains("<figcaption>z 4, classes</figcaption>"));
        // Nothing is fetched from anywhere.
        assert!(!text.contains("http") && !text.contains("<script") && !text.contains("NaN"));
        assert!(page("x", &Sources { results: Json::parse("{}").unwrap(), volumes: Vec::new(), ..sources }).is_err());
    }

    #[test]
    fn a_line_is_corrected_as_a_whole_or_not_at_all() {
        let page_of = |second: &str| {
            let with = RESULTS.replacen("\"value\":1.5,", "\"value\":1.5,\"corrected\":1.25,", 1).replacen(
                "\"value\":null,\"interval95\":null",
                &format!("\"value\":2.5,{second}\"interval95\":[2,3]"),
                1,
            );
            let (maps, pictures) = (BTreeMap::new(), BTreeMap::new());
            let results = Json::parse(&with).unwrap();
            page("c", &Sources { results, provenance: None, maps, pictures, volumes: Vec::new(), quality: None })
                .unwrap()
        };
        let (whole, part) = (page_of("\"corrected\":2.25,"), page_of(""));
        for text in ["needles: 1.25 at 0, 95 %: 1 to 2", "needles: 2.25 at 80, 95 %: 2 to 3"] {
            assert!(whole.contains(text), "{text}");
        }
        for text in ["needles: 1.5 at 0<", "needles: 2.5 at 80, 95 %: 2 to 3"] {
            assert!(part.contains(text), "{text}");
        }
    }
}
