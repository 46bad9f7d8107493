//! What lies beside the volumes of a synthetic series: `series.json`, the truth, the potentiostat's log, `classes.csv`,
//! and `README.txt`.

use super::cell::{Made, Mode, Run};
use crate::error::Result;
use crate::json::Json;
use crate::phantom::cell::potentiostat;
use crate::phantom::cell::schedule::{self, SCANS, SEGMENT_MINUTES};
use crate::phantom::cell::step::Step;
use crate::phantom::cell::{Preset, VOXEL};
use crate::phantom::matter::{ENERGY_KEV, FILLS, LABELS, LITHIUM, Label};
use crate::phantom::scan::lab;
use crate::provenance::Digest;
use crate::volume::manifest::seal;

/// The schema of `series.json`.
pub const SCHEMA: &str = "tomolith-series-1";

/// Seconds on the potentiostat's clock at which scan k begins.
fn scan_start(run: &Run, k: usize) -> f64 {
    let late = if run.args.blind { potentiostat::delay(run.args.cell.seed, k) } else { 0.0 };
    potentiostat::scan_start(k) + late
}

/// The truth of a step that does not depend on a scan: its row in the timetable, and what is kept of it exactly.
pub fn step_json(run: &Run, step: &Step, k: usize) -> Json {
    let r = &step.row;
    let planned = Json::obj([
        ("stripped_um", r.stripped.into()),
        ("receded_um", r.receded.into()),
        ("returned_um", r.returned.into()),
        ("deposited_um", r.deposited.into()),
        ("dendrite_um", r.dendrite.into()),
        ("redeposited_um", r.redeposited.into()),
        ("deposited_area", r.deposited_area.into()),
        ("dendrite_area", r.dendrite_area.into()),
        ("redeposited_area", r.redeposited_area.into()),
        ("pit_area", r.pit_area.into()),
        ("gap_um", r.gap.into()),
    ]);
    Json::obj([
        ("step", k.into()),
        ("planned", planned),
        ("scan_start_potentiostat_s", scan_start(run, k).into()),
        ("plating_side_moved_voxels", step.shift.into()),
        ("solid_levels", step.balance.solid.into()),
        ("sink_levels", step.balance.sink.into()),
    ])
}

fn classes() -> Json {
    Json::Arr(
        LABELS
            .iter()
            .map(|l| {
                Json::obj([
                    ("value", u64::from(*l as u8).into()),
                    ("name", l.name().into()),
                    ("network_class", u64::from(l.network_class()).into()),
                    ("colour", Json::Arr(l.colour().iter().map(|&c| u64::from(c).into()).collect())),
                ])
            })
            .collect(),
    )
}

fn materials() -> Json {
    let one = |name: &str, mu: f64, delta: f64| {
        Json::obj([("name", name.into()), ("mu_per_cm", mu.into()), ("delta", delta.into())])
    };
    let fills = FILLS.iter().map(|f| one(f.name(), f.optical().mu, f.optical().delta));
    Json::Arr(std::iter::once(one("lithium", LITHIUM.mu, LITHIUM.delta)).chain(fills).collect())
}

fn geometry(preset: &Preset, run: &Run) -> Json {
    let dims = preset.dims();
    let [nx, ny, nz] = preset.size;
    let scan = &run.args.scan;
    let columns = scan.columns;
    let offset = lab::LabGeometry { columns, oversampling: 1, first_row: 0, surround: scan.surround }.offset(dims);
    let mut members = vec![
        ("size_xyz", Json::Arr([nx, ny, nz].map(Json::from).to_vec())),
        ("voxel_um", VOXEL.into()),
        ("energy_kev", ENERGY_KEV.into()),
    ];
    if matches!(run.args.mode, Mode::Radiographs | Mode::Phase) {
        members.extend([
            ("columns", columns.into()),
            ("projections", scan.projections.into()),
            // A slice of `recon`, cropped from this column and row on, is the grid of the labels.
            ("box_in_slice_column_row", Json::Arr(offset.map(Json::from).to_vec())),
        ]);
    }
    Json::obj(members)
}

/// Writes everything, `series.json` last.
pub fn write(run: &Run, made: &[Made]) -> Result<()> {
    let args = run.args;
    let preset = &args.cell.preset;
    let truth = Json::obj([
        ("parameters", args.params()),
        ("clock_offset_s", potentiostat::clock_offset(args.cell.seed).into()),
        ("steps", Json::Arr(made.iter().map(|m| m.truth.clone()).collect())),
    ]);
    let text = truth.to_canonical();
    run.folder.text("truth/truth.json", &text)?;
    run.folder.text("potentiostat.csv", &potentiostat::log(args.cell.seed))?;
    let mut table = String::from("value,name,network_class,red,green,blue\n");
    for l in LABELS {
        let [r, g, b] = l.colour();
        table += &format!("{},{},{},{r},{g},{b}\n", l as u8, l.name(), l.network_class());
    }
    run.folder.text("classes.csv", &table)?;
    let offset = potentiostat::clock_offset(args.cell.seed);
    let steps = made.iter().map(|m| {
        let volumes = m.volumes.iter().map(|(name, digest)| (name.clone(), Json::from(digest.as_str())));
        Json::obj([
            ("step", m.k.into()),
            ("folder", if run.has_folder() { Run::name(m.k).as_str().into() } else { Json::Null }),
            ("current_minutes", (SEGMENT_MINUTES * m.k as f64).into()),
            ("scan_start_scanner_s", (scan_start(run, m.k) + offset).into()),
            ("volume_sha256", Json::obj(volumes)),
        ])
    });
    let faraday = Json::obj([
        ("current_density_ma_per_cm2", schedule::CURRENT_DENSITY.into()),
        ("cell_area_cm2", schedule::CELL_AREA.into()),
        ("segment_minutes", SEGMENT_MINUTES.into()),
        ("segment_thickness_um", schedule::segment_thickness().into()),
        ("scans", SCANS.into()),
    ]);
    let members = [
        ("schema", SCHEMA.into()),
        ("phantom", run.recorded.clone()),
        ("geometry", geometry(preset, run)),
        ("classes", classes()),
        ("materials", materials()),
        ("faraday", faraday),
        ("clock_offset_s", if args.blind { Json::Null } else { offset.into() }),
        ("truth_sha256", Digest::of(text.as_bytes()).hex().as_str().into()),
        ("steps", Json::Arr(steps.collect())),
    ];
    run.folder.text("README.txt", &readme(run))?;
    let members = members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    run.folder.text("series.json", &seal(members, "series_sha256"))
}

fn readme(run: &Run) -> String {
    let args = run.args;
    let preset = &args.cell.preset;
    let first = Run::name(args.steps[0]);
    let [nx, ny, nz] = preset.size;
    let scan = match args.mode {
        Mode::Labels => "Nothing was scanned (--mode labels).".to_string(),
        Mode::Volume => {
            "step_KK/grey: attenuation in 1/cm on the grid of the labels, in the frame of that scan: shifted,\n\
                         turned and warped as truth/truth.json says, with noise, rings and blur.\n"
                .to_string()
        }
        _ => format!(
            "step_KK: projections, flats, darks (counts) and theta.txt (degrees) of {} columns. To reconstruct:\n\n  \
             cd {} && tomolith recon --config scan.toml -o slices\n\n\
             Cropped as series.json says (geometry, box_in_slice_column_row), a slice lies on the grid of the labels, but for\n\
             apparent_shift (x, y, z voxels; truth.json, fields): what axis and cell drift within the scan moves what is seen.\n",
            args.scan.columns, first
        ),
    };
    let or = if run.has_folder() { format!(" (or {first})") } else { String::new() };
    let sink = args.blind || args.cell.chemistry.efficiency < 1.0 || args.cell.chemistry.side_reaction > 0.0;
    let kept = match sink {
        true => {
            "its sum over the cell and what\n         reactions took (sink_levels in truth.json) are together the same in all steps"
        }
        false => "its sum over the cell is the same in all steps",
    };
    let in_scan = match args.mode {
        Mode::Labels => "parameters, and where the markers lie in the cell.",
        _ => {
            "parameters, motions (4x4 matrices from the cell to the scan, voxel-centre indices x, y, z, column vectors), warps,\n\
             where the markers lie in cell and scan. In the cell they are whole; scans may cut them at the box.\n\
             truth/step_KK/label_scan: the classes in the frame of the scan. The box cuts what moved out of it, at the end of\n\
             charge some of the plating electrode: counted_in_scan says how many voxels of each class are left of counted."
        }
    };
    let drawn = match args.habits {
        Some(_) => {
            "step_KK/drawn: labels as a person would draw them: the network's five classes, 255 where nobody drew.\n"
        }
        None => "",
    };
    let blind = match args.blind {
        true => {
            "This series is blind: give it away without the folder truth/. series.json holds the digest of truth/truth.json,\n\
                 so that it can be shown later that nothing was changed. A seed of few digits could be found by trying.\n\n"
        }
        false => "",
    };
    format!(
        "A synthetic lithium/polymer/lithium pouch cell, preset {}: {nx} x {ny} x {nz} voxels (x, y, z) of {VOXEL} um,\n\
         made by tomolith {}. y runs through the stack from the plating to the stripping side; z is the rotation axis.\n\
         Step K is the scan after K segments of 10 minutes at 1.5 mA/cm2: 0 pristine, 1 to 12 charge, 13 to 24 discharge.\n\n\
         {blind}truth/step_KK/label: a class per voxel (classes.csv), in the cell's own frame: the stripping side stays.\n\
         truth/step_KK/li_frac: solid lithium, a part of the voxel; {kept}.\n\
         truth/truth.json, per step: the row of the timetable (planned) and what the classes of label hold (counted: voxels,\n\
         mean thickness, part of the field), which differ where a layer is thinner than a voxel or a pit is filled again;\n\
         {in_scan}\n\
         potentiostat.csv: current and voltage on the potentiostat's clock; series.json: when each scan began, on the scanner's.\n\n\
         {scan}{drawn}\n\
         tomolith verify truth/{first}{or} proves every byte of the volumes in a folder.\n\
         {} is '{}' in classes.csv: lithium that was stripped out of the electrode and is not filled again.\n",
        preset.name,
        env!("CARGO_PKG_VERSION"),
        Label::Pit as u8,
        Label::Pit.name(),
    )
}
