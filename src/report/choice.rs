//! Which figures a page has: what is asked for, else what the parts of the sample call for.
//!
//! | what | names | if nothing is said |
//! |---|---|---|
//! | panels | [`PANELS_OF`] | those of the paper where a class plays a part of its cell |
//! | curves | anchors of [`CURVES`], definitions of numbers | all of [`CURVES`] |
//! | maps | kinds of [`MAPS`], classes | all |
//! | headlines | definitions of numbers | those of a cell where a class plays a part of it, else of any sample |

use super::figures::{CURVES, Curves, GENERAL, HEADLINES, MAPS};
use crate::analysis::quantity::DEFINITIONS;
use crate::error::{Error, Result, nearest};
use crate::json::Json;

/// What panels may be of: the paper of Huang, Perlmutter et al. (2023), or nothing.
pub const PANELS_OF: [&str; 2] = ["huang2023", "none"];

/// What is asked for, in words; none where nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// One of [`PANELS_OF`].
    pub panels: Option<String>,
    /// Diagrams, with commas.
    pub curves: Option<String>,
    /// Maps, with commas.
    pub maps: Option<String>,
    /// Numbers that stand first, with commas.
    pub headlines: Option<String>,
}

/// A kind of map on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFigure {
    /// Its anchor.
    pub id: String,
    /// Heading.
    pub title: String,
    /// The part of the files' names behind the step.
    pub kind: String,
    /// Unit.
    pub unit: &'static str,
}

/// The figures of a page.
pub struct Choice {
    /// Whether a class plays a part of a lithium cell.
    pub is_cell: bool,
    /// Whether the panels of the paper are listed.
    pub panels: bool,
    /// Diagrams.
    pub curves: Vec<Curves>,
    /// Maps.
    pub maps: Vec<MapFigure>,
    /// Definitions of the numbers that stand first.
    pub headlines: Vec<&'static str>,
}

/// Those of `known` that a text names, in its order.
fn named<T: Clone>(what: &str, text: &str, known: &[(&str, T)]) -> Result<Vec<T>> {
    let one = |name: &str| {
        let found = known.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
        found.ok_or_else(|| {
            let mut names: Vec<&str> = known.iter().map(|(own, _)| *own).collect();
            names.dedup();
            let near = nearest(name, names.iter().copied()).map_or(String::new(), |n| format!("did you mean '{n}'? "));
            Error::usage(format!("no {what} is called '{name}'")).help(format!("{near}known are {}", names.join(", ")))
        })
    };
    text.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "none").map(one).collect()
}

impl Choice {
    /// The figures of a page of `results`.
    ///
    /// # Errors
    /// Usage: a name that is not known, with those that are.
    pub fn of(results: &Json, chosen: &Chosen) -> Result<Choice> {
        let parameter = |key: &str| results.get("parameters").and_then(|p| p.get(key));
        let roles = parameter("roles").and_then(Json::as_obj);
        let is_cell = roles.is_some_and(|roles| roles.values().any(|class| *class != Json::Null));
        let panels = match chosen.panels.as_deref() {
            None => is_cell,
            Some(text) => {
                let found = named("list of panels", text, &PANELS_OF.map(|name| (name, name)))?;
                found.contains(&PANELS_OF[0])
            }
        };
        let curves = match &chosen.curves {
            None => CURVES.to_vec(),
            Some(text) => {
                let alone = |d: &'static crate::analysis::quantity::Definition| {
                    let names = std::slice::from_ref(&d.name);
                    (d.name, Curves { id: d.name, title: d.text, definitions: names, y: d.unit })
                };
                let known = CURVES.iter().map(|c| (c.id, c.clone())).chain(DEFINITIONS.iter().map(alone));
                named("diagram", text, &known.collect::<Vec<_>>())?
            }
        };
        // A class may have a name of its own.
        let title = |kind: &str, title: &str| {
            let name = roles.and_then(|r| r.get(kind)?.as_str()).filter(|name| *name != kind);
            name.map_or(title.to_string(), |name| format!("{title}: {name}"))
        };
        let of_part = |m: &super::figures::Maps| MapFigure {
            id: m.id.into(),
            title: title(m.kind, m.title),
            kind: m.kind.into(),
            unit: m.unit,
        };
        let of_class = |(k, name): (usize, &str)| MapFigure {
            id: format!("map-class-{k}"),
            title: name.into(),
            kind: format!("class_{k}"),
            unit: "µm",
        };
        let classes = parameter("classes").and_then(Json::as_arr).unwrap_or_default();
        let classes: Vec<&str> = classes.iter().map(|c| c.as_str().unwrap_or_default()).collect();
        let known = MAPS.iter().map(|m| (m.kind, of_part(m)));
        let known: Vec<_> = known.chain(classes.iter().enumerate().map(|(k, c)| (*c, of_class((k, c))))).collect();
        let maps = match &chosen.maps {
            None => known.into_iter().map(|(_, map)| map).collect(),
            Some(text) => named("map", text, &known)?,
        };
        let headlines = match &chosen.headlines {
            None => (if is_cell { HEADLINES } else { GENERAL }).to_vec(),
            Some(text) => named("number", text, &DEFINITIONS.iter().map(|d| (d.name, d.name)).collect::<Vec<_>>())?,
        };
        Ok(Choice { is_cell, panels, curves, maps, headlines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(roles: &str, chosen: Chosen) -> Result<Choice> {
        let text = format!("{{\"parameters\":{{\"classes\":[\"air\",\"grain\"],\"roles\":{{{roles}}}}}}}");
        Choice::of(&Json::parse(&text).unwrap(), &chosen)
    }

    #[test]
    fn parts_of_a_cell_call_for_its_figures_and_what_is_asked_for_comes_first() {
        let cell = of("\"pit\":\"grain\"", Chosen::default()).unwrap();
        assert!(cell.panels && cell.headlines == HEADLINES && cell.curves.len() == CURVES.len());
        assert!(cell.maps.iter().any(|m| m.title == "Pits: grain") && cell.maps.len() == MAPS.len() + 2);
        let other = of("\"pit\":null", Chosen::default()).unwrap();
        assert!(!other.panels && other.headlines == GENERAL);
        let text = |text: &str| Some(text.to_string());
        let (curves, maps) = (text("surface_faces, volumes"), text("grain,gap"));
        let chosen = Chosen { panels: text("huang2023"), curves, maps, headlines: text("none") };
        let found = of("", chosen).unwrap();
        let curves: Vec<_> = found.curves.iter().map(|c| (c.id, c.definitions, c.y)).collect();
        assert_eq!(curves, [("surface_faces", &["surface_faces"][..], "um2"), ("volumes", &["volume"][..], "µm³")]);
        assert_eq!(found.maps.iter().map(|m| &m.kind[..]).collect::<Vec<_>>(), ["class_1", "gap"]);
        assert!(found.panels && found.headlines.is_empty());
    }

    #[test]
    fn a_name_that_is_not_known_is_refused_with_those_that_are() {
        let text = |text: &str| Some(text.to_string());
        for (chosen, what, known) in [
            (
                Chosen { panels: text("huang"), ..Chosen::default() },
                "no list of panels is called 'huang'",
                "huang2023, none",
            ),
            (Chosen { curves: text("volume,voids"), ..Chosen::default() }, "no diagram is called 'voids'", "roughness"),
            (Chosen { maps: text("grane"), ..Chosen::default() }, "no map is called 'grane'", "did you mean 'grain'"),
            (
                Chosen { headlines: text("gap,thick"), ..Chosen::default() },
                "no number is called 'thick'",
                "net_lithium",
            ),
        ] {
            let e = of("", chosen).err().unwrap();
            assert!(e.what().contains(what) && e.advice().unwrap().contains(known), "{e}");
        }
    }
}
