//! Which figure shows which numbers, and where each panel of the paper is.

/// Numbers of some definitions over the series, in one diagram.
pub struct Curves {
    /// Its anchor on the page.
    pub id: &'static str,
    /// Heading.
    pub title: &'static str,
    /// Definitions of its lines: a line for each thing that they are of.
    pub definitions: &'static [&'static str],
    /// Label of y.
    pub y: &'static str,
}

/// Maps of some kinds over the series, with one scale.
pub struct Maps {
    /// Its anchor on the page.
    pub id: &'static str,
    /// Heading.
    pub title: &'static str,
    /// Kind: the part of the file's name behind the step.
    pub kind: &'static str,
    /// Unit.
    pub unit: &'static str,
}

const fn curves(
    id: &'static str,
    title: &'static str,
    definitions: &'static [&'static str],
    y: &'static str,
) -> Curves {
    Curves { id, title, definitions, y }
}

/// All diagrams in the order of the page.
pub const CURVES: &[Curves] = &[
    curves("charge", "Charge", &["charge.net", "charge.positive", "charge.negative"], "mAh, whole cell"),
    curves("voltage", "Voltage between scans", &["voltage.low", "voltage.high"], "V"),
    curves("volumes", "Volumes of the classes", &["volume"], "µm³"),
    curves("effective", "Effective thickness of the classes", &["thickness"], "µm"),
    curves("thickness", "Thickness of both sides, dendrites not counted", &["thickness.side"], "µm"),
    curves(
        "inventory",
        "Lithium gained since the first scan, and the thickness that the charge makes",
        &["net_lithium", "faraday.thickness"],
        "µm",
    ),
    curves("ratio-area", "Seen over charge, per area", &["ratio.per_area"], "ratio"),
    curves("ratio-cell", "Seen in the field over charge of the whole cell", &["ratio.whole_cell"], "ratio"),
    curves("occupied", "Part of the field in which a class occurs", &["occupied"], "part of the field"),
    curves(
        "pits",
        "Filling of the pits, by three definitions",
        &["pit_fill.thickness", "pit_fill.area", "pit_fill.voxels"],
        "part filled",
    ),
    curves("unfilled", "Unfilled pits and voids", &["unfilled.area", "void.area"], "part of the field"),
    curves("geometry", "Gap between the electrodes and distance of their outer faces", &["gap", "outer"], "µm"),
    curves("swelling", "Swelling since the first scan", &["swelling.inner", "swelling.outer", "displacement"], "µm"),
    curves(
        "changes",
        "Decrease on the plating side, increase on the stripping side",
        &["decrease", "increase"],
        "µm, mean",
    ),
    curves(
        "colocalisation",
        "Pits and what lies opposite: Pearson's r, bars: what chance gives",
        &["pearson", "change_correlation"],
        "r",
    ),
    curves("grades", "Dendrites by how they hang on an electrode", &["grade.volume"], "µm³"),
    curves("dead", "Lithium that hangs on nothing", &["dead.volume", "dead.persistent"], "µm³"),
    curves("dendrites", "Number of dendrites", &["dendrites"], "dendrites"),
    curves("heights", "Height of dendrites", &["dendrite.height"], "µm"),
    curves("local-thickness", "Local thickness", &["local_thickness.mean", "local_thickness.p95"], "µm"),
    curves("roughness", "Roughness of the inner faces", &["roughness.sa", "roughness.sq"], "µm"),
    curves("current", "Apparent local current density", &["current.mean"], "mA/cm²"),
    curves("porosity", "Apparent porosity, if all charge were in the layer", &["apparent_porosity"], "part"),
    curves("solid", "Dense lithium from grey values", &["solid.thickness", "solid.total"], "µm"),
];

const fn maps(id: &'static str, title: &'static str, kind: &'static str, unit: &'static str) -> Maps {
    Maps { id, title, kind, unit }
}

/// All maps in the order of the page.
pub const MAPS: &[Maps] = &[
    maps("map-dendrite", "Dendrites: thickness along the depth", "dendrite", "µm"),
    maps("map-deposited", "Deposited lithium", "deposited", "µm"),
    maps("map-pit", "Pits", "pit", "µm"),
    maps("map-redeposited", "Redeposited lithium", "redeposited", "µm"),
    maps("map-unfilled", "Unfilled pits", "unfilled", "µm"),
    maps("map-void", "Voids", "void", "µm"),
    maps("map-decrease", "Decrease of layer and dendrites since half", "decrease", "µm"),
    maps("map-increase", "Increase of the layer since half", "increase", "µm"),
    maps("map-plating", "Edges of the plating electrode", "edges_plating", "part of the depth"),
    maps("map-stripping", "Edges of the stripping electrode", "edges_stripping", "part of the depth"),
    maps("map-displacement", "Displacement of the outer face since the first scan", "displacement", "µm"),
    maps("map-current", "Apparent local current density", "current_density", "mA/cm²"),
];

/// Anchors of what is neither.
pub const OTHER_FIGURES: [&str; 5] = ["cycling", "nyquist", "views", "label-sections", "sections"];

/// Panels of the paper (Huang, Perlmutter et al. 2023) and where this page has them, or why not.
pub const PANELS: &[(&str, &str, Result<&str, &str>)] = &[
    ("1a, S1", "drawings of set-up and cell", Err("drawings, not made from data")),
    (
        "1b",
        "grey volumes in three dimensions",
        Err("grey values alone have no surface: the classes are shown so, and grey values in sections"),
    ),
    ("1c", "current and voltage with the scans", Ok("cycling")),
    ("1d, S11", "grey sections", Ok("sections")),
    ("2a, 2b", "drawings of the pipeline", Err("drawings; the run folder's run.json names the steps")),
    ("2c, S4, S5, S12", "labels in sections", Ok("label-sections")),
    ("2d, 3a", "labels in three dimensions", Ok("views")),
    ("3b, S6", "volumes of the classes", Ok("volumes")),
    ("3c", "thickness of both sides", Ok("thickness")),
    ("3d", "all lithium and Faraday's volume", Ok("inventory")),
    ("4a", "map of dendrites", Ok("map-dendrite")),
    ("4b", "map of deposited lithium", Ok("map-deposited")),
    ("4c", "map of unfilled pits", Ok("map-unfilled")),
    ("4d", "occupied area", Ok("occupied")),
    ("4e", "area of pits and their filling", Ok("pits")),
    ("5a", "voids", Ok("map-void")),
    ("5b, S10", "edges of the electrodes, gap", Ok("swelling")),
    ("5c", "decrease and increase", Ok("map-decrease")),
    ("S2", "Nyquist plot", Ok("nyquist")),
    ("S3", "envelope of the voltage", Ok("voltage")),
    ("S7", "thickness of the electrodes alone", Ok("effective")),
    ("S8", "seen over charge", Ok("ratio-area")),
    ("S9", "correlation of pits with deposits and dendrites", Ok("colocalisation")),
    ("Table S1", "quality of the segmentation", Err("needs labels drawn by hand: `seg eval`")),
];

/// Colours of the parts of a cell (Okabe and Ito's, told apart by colour-blind eyes), by role.
pub const ROLES: &[(&str, &str)] = &[
    ("plating", "#0072b2"),
    ("stripping", "#56b4e9"),
    ("deposited", "#cc79a7"),
    ("redeposited", "#d55e00"),
    ("dendrite", "#009e73"),
    ("pit", "#e69f00"),
];
/// Colours of what has no role.
pub const OTHERS: &[&str] = &["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::quantity::DEFINITIONS;

    #[test]
    fn figures_show_what_there_is_and_panels_lead_to_figures() {
        for figure in CURVES {
            for name in figure.definitions {
                assert!(DEFINITIONS.iter().any(|d| d.name == *name), "{name}");
            }
        }
        let ids: Vec<&str> =
            CURVES.iter().map(|c| c.id).chain(MAPS.iter().map(|m| m.id)).chain(OTHER_FIGURES).collect();
        assert!((1..ids.len()).all(|i| !ids[..i].contains(&ids[i])));
        for (panel, _, place) in PANELS {
            assert!(place.map_or(true, |id| ids.contains(&id)), "{panel}");
        }
        // Every panel that a definition names has its row.
        let listed = PANELS.iter().flat_map(|p| p.0.split(", ")).collect::<Vec<_>>();
        for panel in DEFINITIONS.iter().flat_map(|d| d.panel.split(", ")).filter(|p| !p.is_empty()) {
            assert!(listed.contains(&panel), "{panel}");
        }
    }
}
