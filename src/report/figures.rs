//! Which figure shows which numbers, where what a report should show is, and where each panel of the paper.

/// Numbers of some definitions over the series, in one diagram.
#[derive(Clone, Debug)]
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
    curves(
        "lithium",
        "Volume of all lithium, and of what the charge moved, both in the field",
        &["volume.lithium", "faraday.volume_in_field"],
        "µm³",
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
    curves("tracks", "Dendrites that lie on one of the scan before", &["dendrite.matched"], "part of the dendrites"),
    curves("heights", "Height of dendrites", &["dendrite.height"], "µm"),
    curves("local-thickness", "Local thickness", &["local_thickness.mean", "local_thickness.p95"], "µm"),
    curves("roughness", "Roughness of the inner faces", &["roughness.sa", "roughness.sq"], "µm"),
    curves("current", "Apparent local current density", &["current.mean"], "mA/cm²"),
    curves("porosity", "Apparent porosity, if all charge were in the layer", &["apparent_porosity"], "part"),
    curves("solid", "Dense lithium from grey values", &["solid.thickness", "solid.total"], "µm"),
    curves("registration", "Motion of the bodies that registration took away", &["registration.shift"], "voxels"),
    curves("registration-turn", "Rotation that registration took away", &["registration.turn"], "degrees"),
    curves("registration-residual", "What registration left at the blocks", &["registration.residual"], "voxels, rms"),
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
    maps("map-decrease-across", "Decrease since half, seen across the slices", "decrease_across", "µm"),
    maps("map-increase-across", "Increase since half, seen across the slices", "increase_across", "µm"),
    maps("map-plating", "Edges of the plating electrode, in cross-section", "edges_plating", "part of the slices"),
    maps(
        "map-stripping",
        "Edges of the stripping electrode, in cross-section",
        "edges_stripping",
        "part of the slices",
    ),
    maps("map-gap", "Gap between the electrodes", "gap", "µm"),
    maps(
        "map-displacement",
        "Displacement of the plating electrode's outer face since the first scan",
        "displacement",
        "µm",
    ),
    maps(
        "map-displacement-stripping",
        "Displacement of the stripping electrode's outer face since the first scan",
        "displacement_stripping",
        "µm",
    ),
    maps("map-current", "Apparent local current density", "current_density", "mA/cm²"),
];

/// Anchors of what is neither.
pub const OTHER_FIGURES: [&str; 7] =
    ["cycling", "nyquist", "views", "label-sections", "sections", "checkerboards", "quality"];

/// What a report of a lithium cell should show, and the anchors under which this page shows it.
pub const FIGURES: [(&str, &[&str]); 20] = [
    ("current, voltage and scans", &["cycling"]),
    ("registration", &["registration", "registration-turn", "registration-residual", "checkerboards"]),
    ("sections with the classes over them", &["sections", "label-sections"]),
    ("volumes of the classes", &["volumes", "effective"]),
    ("thickness of both sides", &["thickness"]),
    ("lithium and charge", &["inventory", "lithium"]),
    ("seen over charge", &["ratio-area", "ratio-cell"]),
    ("maps of dendrites", &["map-dendrite"]),
    ("maps of deposited lithium", &["map-deposited"]),
    ("filling of the pits", &["pits", "unfilled", "map-pit", "map-unfilled"]),
    ("occupied area", &["occupied"]),
    ("voids", &["map-void"]),
    (
        "edges, displacement and gap",
        &["map-plating", "map-stripping", "map-gap", "map-displacement", "geometry", "swelling"],
    ),
    (
        "decrease and increase",
        &["changes", "map-decrease", "map-increase", "map-decrease-across", "map-increase-across"],
    ),
    ("correlation, with what chance gives", &["colocalisation"]),
    ("lithium that hangs on nothing", &["grades", "dead"]),
    ("dendrites, counted and followed", &["dendrites", "heights", "tracks"]),
    ("roughness", &["roughness"]),
    ("quality of the segmentation", &["quality"]),
    ("classes in three dimensions", &["views"]),
];

/// Definitions whose last values stand first, of a cell.
pub const HEADLINES: &[&str] = &[
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
/// And of any sample.
pub const GENERAL: &[&str] = &["volume", "thickness", "occupied"];

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
    ("3d", "all lithium and Faraday's volume", Ok("lithium")),
    ("4a", "map of dendrites", Ok("map-dendrite")),
    ("4b", "map of deposited lithium", Ok("map-deposited")),
    ("4c", "map of unfilled pits", Ok("map-unfilled")),
    ("4d", "occupied area", Ok("occupied")),
    ("4e", "area of pits and their filling", Ok("pits")),
    ("5a", "voids", Ok("map-void")),
    ("5b", "edges of the electrodes, gap", Ok("swelling")),
    ("S10", "edges of the electrodes in cross-section", Ok("map-plating")),
    ("5c", "decrease and increase", Ok("map-decrease")),
    ("S2", "Nyquist plot", Ok("nyquist")),
    ("S3", "envelope of the voltage", Ok("voltage")),
    ("S7", "thickness of the electrodes alone", Ok("effective")),
    ("S8", "seen over charge", Ok("ratio-area")),
    ("S9", "correlation of pits with deposits and dendrites", Ok("colocalisation")),
    ("Table S1", "quality of the segmentation", Ok("quality")),
];

/// What the paper's text and numbers do not agree about: what, printed, recomputed here, and how sure that is. Arithmetic
/// follows from printed numbers; an inference is ours, and its authors may have meant something else.
pub const DISAGREEMENTS: &[[&str; 4]] = &[
    [
        "change of all lithium (3d)",
        "net change 1.65e9 µm³, variation 1.94e8",
        "pristine 1.519e9, half cycle 1.665e9 µm³ from the printed thicknesses: 1.65e9 is a total and no change",
        "arithmetic",
    ],
    [
        "capacity that is missing (S8)",
        "more than 70 %",
        "per area the scans show 223 % (plated), 77 % (stripped), 198 % (redeposited), 121 % (net) of the charge; only the field's \
         volume over the whole cell's charge, 30.7, 10.6, 27.2 and 16.7 %, leaves that much out",
        "inference",
    ],
    [
        "porous lithium (3c, 3d)",
        "porous, without a number",
        "if all charge is in the layer: 55 % pores in deposited, 49 % in redeposited lithium; a total of labels that grows is no gain",
        "arithmetic",
    ],
    [
        "thickness of the cell (5b)",
        "gap +39.3 µm",
        "layers between the faces change by 43.6 µm, so it is a gap between electrodes; the cell's own thickness is another number",
        "inference",
    ],
    [
        "rate of redeposition (3c)",
        "2.47 µm a segment",
        "2.40 from the end points: a fitted slope is printed, beside an end-point rate of 0.93 for stripping",
        "inference",
    ],
    [
        "filling of the pits (4, 5a)",
        "almost all filled; voids in 53.9 %",
        "the first compares thicknesses of columns, the second voxels: two definitions, pit_fill and void here",
        "inference",
    ],
    [
        "dead lithium (3b)",
        "all dendrites left; without contact; attached to the electrode",
        "three meanings, and no connectivity was computed: remaining.volume, dead.volume and grade.volume here",
        "reading",
    ],
    [
        "bias of volumes (Table S1)",
        "IoU of dendrites 69.4 %, of electrodes 97.0 %",
        "errors of one kind alone make dendrites 31 % too few to 44 % too many, electrodes 3 %: 6.6 of 220 µm, where the charge is 14.55 µm",
        "arithmetic",
    ],
    [
        "test set (Table S1)",
        "31 test patches, 42 slices, 15 %",
        "15 % of about 207 patches: patches, and not slices, were drawn",
        "inference",
    ],
    ["call-outs (1, 4)", "1b and 1c, 4c and 4d", "text and captions have them exchanged", "reading"],
    [
        "plane of the network (2)",
        "slices of 3896 × 1707",
        "in the plane; the authors' last network takes cross-sections of 698 × 1707",
        "reading",
    ],
    [
        "correlation (S9)",
        "none",
        "r of 3.9 million columns that are alike says nothing without a null; there is no r of constant maps, as at the start",
        "reading",
    ],
];

/// Colours of what is no class (Okabe and Ito's, told apart by colour-blind eyes).
pub const OTHERS: [[u8; 3]; 8] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [0, 0, 0],
    [127, 127, 127],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::quantity::DEFINITIONS;

    /// The numbers of the table from the printed thicknesses.
    #[test]
    fn disagreements_are_recomputed() {
        use crate::analysis::faraday::{apparent_porosity, ratio, thickness};
        let (charge, field) = (12.0 * 0.125, 1707.0 * 2280.0 * 1.33 * 1.33);
        let row = |what: &str| DISAGREEMENTS.iter().find(|r| r[0].starts_with(what)).unwrap()[2];
        let says = |what: &str, text: String| assert!(row(what).contains(&text), "{what}: {text} in {}", row(what));
        for thick in [140.1 - 107.7, 112.9 - 101.7, 130.5 - 101.7, 130.5 - 112.9] {
            let r = ratio(thick, field, charge, 0.5);
            says("capacity", format!("{:.0} %", 100.0 * r.per_area.unwrap()));
            says("capacity", format!("{:.1}", 100.0 * r.whole_cell.unwrap()));
        }
        for layer in [32.4, 28.8] {
            says("porous", format!("{:.0} %", 100.0 * apparent_porosity(layer, charge, 0.5).unwrap()));
        }
        says("change", format!("{:.3}e9", (107.7 + 112.9) * field / 1e9));
        says("change", format!("{:.3}e9", (140.1 + 101.7) * field / 1e9));
        says("thickness", format!("{:.1}", 32.4 + 11.2));
        says("rate", format!("{:.2}", (130.5 - 101.7) / 12.0));
        says(
            "bias",
            format!("{:.0} % too few to {:.0} % too many", 100.0 * (1.0 - 0.694), 100.0 * (1.0 / 0.694 - 1.0)),
        );
        says("bias", format!("{:.1} of 220 µm, where the charge is {:.2}", 0.03 * 220.0, thickness(charge, 0.5)));
        assert!(DISAGREEMENTS.iter().all(|r| ["arithmetic", "inference", "reading"].contains(&r[3])));
    }

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
        for (what, places) in FIGURES {
            assert!(places.iter().all(|id| ids.contains(id)), "{what}");
        }
        for name in HEADLINES.iter().chain(GENERAL) {
            assert!(DEFINITIONS.iter().any(|d| d.name == *name), "{name}");
        }
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
