//! Sections of grey volumes, with the classes over them where they are known.

use super::diagrams::painted;
use super::escape;
use super::map::{Map, Scale, bar, grey_limits};
use super::page::Sources;
use crate::error::Result;
use crate::json::Json;
use crate::segment::classes::colour;
use std::fmt::Write as _;

/// Most maps of one kind that are shown.
const MOST_MAPS: usize = 6;

/// A grey volume as the page shows it.
pub struct Shown {
    /// Its name.
    pub name: String,
    /// What is known of it.
    pub facts: Vec<(String, String)>,
    /// Sections through its middle.
    pub sections: Vec<Map>,
    /// Classes in the same places by their numbers, NaN where there is none; empty if none are known.
    pub classes: Vec<Map>,
}

/// At most [`MOST_MAPS`] of `n`, evenly, with the first and the last.
pub fn evenly(n: usize) -> impl Iterator<Item = usize> {
    (0..n.min(MOST_MAPS)).map(move |k| if n <= MOST_MAPS { k } else { k * (n - 1) / (MOST_MAPS - 1) })
}

/// What colours mean.
pub(super) fn key<'a>(colours: impl Iterator<Item = (&'a str, String)>, s: &mut String) {
    *s += "<p>";
    for (name, colour) in colours {
        let _ = write!(s, "<span class=\"key\" style=\"background:{colour}\"></span>{} ", escape(name));
    }
    *s += "</p>";
}

fn list<'a>(results: &'a Json, key: &str) -> &'a [Json] {
    results.get("parameters").and_then(|p| p.get(key)?.as_arr()).unwrap_or_default()
}

/// Colours of the classes by their numbers; what is clear in their views has none.
pub(super) fn paints(results: &Json) -> Vec<Option<[u8; 3]>> {
    list(results, "colours").iter().map(|c| c.as_str().and_then(colour)).collect()
}

/// Names of the classes that have a colour.
pub(super) fn named(results: &Json) -> Vec<(&str, String)> {
    let both = list(results, "classes").iter().zip(list(results, "colours"));
    both.filter_map(|(name, colour)| Some((name.as_str()?, colour.as_str()?.to_string()))).collect()
}

/// Grey volumes: facts and sections, all with one scale, and with the classes over them where they are known.
pub(super) fn grey(sources: &Sources, shown: &mut Vec<&str>, s: &mut String) -> Result<()> {
    let volumes = &sources.volumes;
    if volumes.is_empty() {
        return Ok(());
    }
    shown.push("sections");
    let limits = grey_limits(volumes.iter().flat_map(|v| &v.sections));
    let _ = write!(s, "<h2 id=\"sections\">Volumes</h2>{}", bar(limits, Scale::Grey, "grey value")?);
    let paints = paints(&sources.results);
    if volumes.iter().any(|v| !v.classes.is_empty()) {
        key(named(&sources.results).into_iter(), s);
    }
    let chosen: Vec<&Shown> = evenly(volumes.len()).map(|k| &volumes[k]).collect();
    for volume in &chosen {
        let _ = write!(s, "<h3>{}</h3><div class=\"maps\">", escape(&volume.name));
        for (k, section) in volume.sections.iter().enumerate() {
            *s += &section.svg(limits, Scale::Grey)?;
            if let Some(classes) = volume.classes.get(k) {
                let paint = |i: usize| painted(classes, i, &paints);
                *s += &section.painted(limits, Scale::Grey, &format!("{}, classes", section.title), &paint)?;
            }
        }
        *s += "</div>";
    }
    *s += "<details><summary>how they were made</summary>";
    for volume in volumes {
        let _ = write!(s, "<h3>{}</h3><table>", escape(&volume.name));
        for (key, value) in &volume.facts {
            let _ = write!(s, "<tr><td>{}</td><td><code>{}</code></td></tr>", escape(key), escape(value));
        }
        *s += "</table>";
    }
    *s += "</details>";
    Ok(())
}
