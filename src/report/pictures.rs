//! Pictures and maps on the page: classes, what registration left, and maps of every kind.

use super::choice::Choice;
use super::escape;
use super::map::{Map, bar, base64, limits};
use super::page::Sources;
use super::sections::{evenly, key, named};
use crate::error::Result;
use std::fmt::Write as _;

/// A picture that another stage made.
fn picture(what: &str, title: &str, width: usize, png: &[u8], s: &mut String) {
    let _ = write!(
        s,
        "<figure><img alt=\"{}\" width=\"{width}\" src=\"data:image/png;base64,{}\"/><figcaption>{}</figcaption></figure>",
        escape(what),
        base64(png),
        escape(title)
    );
}

/// Views and sections of the labels, with the colours of the classes.
pub(super) fn pictures(sources: &Sources, shown: &mut Vec<&str>, s: &mut String) {
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
            *s += "<h2>Classes</h2><p>The depth goes down, from the side at which it begins; electrodes, where there are any, can be \
                   looked through.</p>";
            key(named(&sources.results).into_iter(), s);
        }
        shown.push(id);
        let _ = write!(s, "<section id=\"{id}\"><h3>{title}</h3><div class=\"maps\">");
        for ((_, step), png) in of_kind {
            picture(&format!("{kind} of step {step}"), &format!("step {step}"), 240, png, s);
        }
        *s += "</div></section>";
    }
}

/// Squares of the fixed and of a moving volume in turn, before and after registration.
pub(super) fn boards(sources: &Sources, shown: &mut Vec<&str>, s: &mut String) {
    if sources.boards.is_empty() {
        return;
    }
    shown.push("checkerboards");
    *s += "<section id=\"checkerboards\"><h2>Registration</h2><p>Squares of the fixed volume and of the moving one in turn: edges go on \
           from square to square where both lie alike. Arrows are what is left.</p><div class=\"maps\">";
    for (name, png) in evenly(sources.boards.len()).map(|k| &sources.boards[k]) {
        picture(&format!("checkerboards of {name}"), name, 560, png, s);
    }
    *s += "</div></section>";
}

/// Maps of the parts of a cell, of what happened to them, and of classes that play no part.
///
/// # Errors
/// An empty map.
pub(super) fn maps<'a>(sources: &Sources, choice: &'a Choice, shown: &mut Vec<&'a str>, s: &mut String) -> Result<()> {
    let mut begun = false;
    for figure in &choice.maps {
        let of_kind: Vec<&Map> = sources.maps.iter().filter(|((k, _), _)| *k == figure.kind).map(|(_, m)| m).collect();
        if of_kind.is_empty() {
            continue;
        }
        if !begun {
            *s += "<h2>Maps</h2><p>Each seen along the depth, or across the slices where it says so; all maps of a kind have one \
                   scale.</p>";
            begun = true;
        }
        shown.push(&figure.id);
        let (range, scale) = limits(of_kind.iter().copied());
        let (title, bar) = (escape(&figure.title), bar(range, scale, figure.unit)?);
        let _ = write!(s, "<section id=\"{}\"><h3>{title}</h3>{bar}<div class=\"maps\">", escape(&figure.id));
        for k in evenly(of_kind.len()) {
            *s += &of_kind[k].svg(range, scale)?;
        }
        *s += "</div></section>";
    }
    Ok(())
}
