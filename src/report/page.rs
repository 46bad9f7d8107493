//! The page: headline numbers, figures, tables, definitions, what was left out, and from what all was made.

use super::choice::{Choice, Chosen};
use super::diagrams::{Axis, diagrams};
use super::figures::{DISAGREEMENTS, FIGURES, PANELS};
use super::map::Map;
use super::pictures::{boards, maps, pictures};
use super::sections::{Shown, grey};
use super::{draw, escape, short};
use crate::analysis::quantity::{Value, values};
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
    /// Checkerboards (PNG) that `register` made, by the names of the scans.
    pub boards: Vec<(String, Vec<u8>)>,
    /// Which figures are asked for.
    pub chosen: Chosen,
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}\
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #ccc}h3{margin:1.2em 0 .3em;font-size:1.05em}\
svg{max-width:100%;height:auto}.bar svg{display:block;margin:.3em 0}.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26em,100%),1fr));gap:1.5em}\
.maps{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-size:.85em;color:#555}\
table{display:block;overflow-x:auto;border-collapse:collapse;font-size:.88em}td,th{padding:.15em .7em;border-bottom:1px solid #e6e6e6;text-align:left;vertical-align:top}\
td.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.92em}.warn{background:#fff4d6;padding:.4em .8em;border-left:4px solid #e69f00}\
.key{display:inline-block;width:.9em;height:.9em;margin:0 .3em 0 .9em;vertical-align:-1px}figure img{max-width:100%;image-rendering:auto}\
details{margin:.5em 0}summary{cursor:pointer}";

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

/// Where an anchor is, or why it is not there.
fn place(id: &str, shown: &[&str]) -> String {
    match id {
        id if shown.contains(&id) => format!("<a href=\"#{id}\">{id}</a>"),
        // What is read from elsewhere is no part of the numbers, which say what they left out.
        "quality" => "quality: no figures of the segmentation were given, which <code>seg eval</code> makes".into(),
        "nyquist" => "nyquist: no spectra of the impedance were given".into(),
        "checkerboards" => "checkerboards: none were given, which <code>register</code> makes".into(),
        "sections" => "sections: no grey volumes were given".into(),
        id => format!("{id}: these numbers have none of it, see <a href=\"#left-out\">what was left out</a>"),
    }
}

/// Where every figure is, or why it is not there; of a sample that is no cell, only what there is.
fn index(choice: &Choice, shown: &[&str], s: &mut String) {
    *s += "<h2 id=\"figures\">Figures</h2><table><tr><th>figure</th><th>what</th><th>here</th></tr>";
    for (k, (what, ids)) in FIGURES.iter().enumerate() {
        let wanted = ids.iter().filter(|id| choice.is_cell || shown.contains(id));
        let here: Vec<String> = wanted.map(|id| place(id, shown)).collect();
        if !here.is_empty() {
            let _ = write!(s, "<tr><td>F{}</td><td>{what}</td><td>{}</td></tr>", k + 1, here.join("<br/>"));
        }
    }
    *s += "</table>";
    if !choice.panels {
        return;
    }
    *s += "<h2 id=\"panels\">The paper's panels</h2><table><tr><th>panel</th><th>what</th><th>here</th></tr>";
    for (panel, what, home) in PANELS {
        let here = home.map_or_else(|why| format!("not here: {}", escape(why)), |id| place(id, shown));
        let _ = write!(s, "<tr><td>{}</td><td>{}</td><td>{here}</td></tr>", escape(panel), escape(what));
    }
    *s += "</table><h3>Where its text and numbers disagree</h3><table><tr><th>what</th><th>printed</th><th>recomputed</th><th>by</th></tr>";
    for row in DISAGREEMENTS {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let _ = write!(s, "<tr>{cells}</tr>");
    }
    *s += "</table>";
}

/// The page.
///
/// # Errors
/// Data: results of another kind.
pub fn page(title: &str, sources: &Sources) -> Result<String> {
    let results = &sources.results;
    let all = values(results)?;
    let axis = Axis::new(results)?;
    let choice = Choice::of(results, &sources.chosen)?;
    let mut s = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{1}{STYLE}</style></head><body><h1>{0}</h1>",
        escape(title),
        draw::STYLE
    );
    let of = |n: usize, what: &str| if n > 0 { format!("{n} {what}. ") } else { String::new() };
    let (scans, shown) = (results.need_arr("scans")?.len(), sources.volumes.len());
    let _ = write!(s, "<p>{}{}{}", of(scans, "scans"), of(shown, "grey volumes"), of(all.len(), "numbers"));
    s += "Hover over a point for its value. Bars are 95 % intervals, of correlations what chance gives. Numbers are defined <a href=\"#definitions\">below</a>; \
          <a href=\"#figures\">figures</a> are listed, and what was <a href=\"#left-out\">left out</a>, and why.</p>";
    for note in results.get("notes").and_then(Json::as_arr).unwrap_or_default() {
        let _ = write!(s, "<p class=\"warn\">{}</p>", escape(&plain(note)));
    }

    let last = axis.of_step.keys().next_back().copied();
    let rows: Vec<&Value> = choice
        .headlines
        .iter()
        .flat_map(|name| all.iter().filter(move |v| v.definition == *name))
        .filter(|v| v.step == last || v.step.is_none())
        .collect();
    if !rows.is_empty() {
        s += "<h2>At the end</h2>";
        table(&rows, &mut s);
    }
    let mut shown: Vec<&str> = Vec::new();
    pictures(sources, &mut shown, &mut s);
    grey(sources, &mut shown, &mut s)?;
    boards(sources, &mut shown, &mut s);

    if !all.is_empty() {
        s += "<h2>Over the series</h2>";
    }
    s += "<div class=\"charts\">";
    for (id, title, drawings) in diagrams(results, &choice, &all, &axis) {
        shown.push(id);
        let _ = write!(s, "<section id=\"{id}\"><h3>{}</h3>", escape(title));
        for drawing in drawings {
            s += &drawing.svg()?;
        }
        s += "</section>";
    }
    s += "</div>";
    maps(sources, &choice, &mut shown, &mut s)?;

    if let Some(section) = &sources.quality {
        s += section;
        shown.push("quality");
    }
    index(&choice, &shown, &mut s);
    s += "<h2 id=\"left-out\">Left out</h2>";
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
    use super::super::map::{Scale, base64};
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
            boards: vec![("s < 0".into(), vec![9])],
            chosen: Chosen::default(),
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
            let (boards, chosen) = (Vec::new(), Chosen::default());
            let volumes = Vec::new();
            page("c", &Sources { results, provenance: None, maps, pictures, volumes, quality: None, boards, chosen })
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
