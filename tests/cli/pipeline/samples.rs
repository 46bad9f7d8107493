//! The whole way on other things than the paper's cell: a measured scan, as far as its data allow, and a particle in a
//! binder with a table of classes of its own. And where the way ends early: a full disk at every stage, a broken record.

use crate::common::series::{as_planned, cell, full_disk, seal};
use crate::common::{Scratch, expect, json, npy, npy_of, run, stderr, stdout};
use tomolith::analysis::quantity::values;
use tomolith::provenance::Digest;
use tomolith::testing;

#[test]
fn a_measured_scan_goes_as_far_as_its_data_allow() {
    if !cfg!(feature = "hdf5") {
        println!("skipped: this build reads no HDF5");
        return;
    }
    let Some(tooth) = testing::data("tooth.h5") else { return };
    let folder = Scratch::new("pipeline-tooth");
    let there = &folder.0;
    std::fs::create_dir(there.join("scans")).unwrap();
    std::fs::copy(&tooth, there.join("scans/tooth.h5")).unwrap();
    expect(&run(there, "init scans -o cell.toml"), 0, &["1 scans; next: tomolith run"], "init");
    let output = run(there, "run cell.toml -o out");
    expect(&output, 0, &["no [seg.predict] weights: no classes and no numbers; the report shows the volumes"], "run");
    let report = std::fs::read_to_string(there.join("out/report.html")).unwrap();
    for said in [
        "640 x 640 x 2",
        "classes and every number of them</b>: no weights of a network are given",
        "what changes over time</b>: there is one scan",
        "not told: lengths are in voxels",
        "<a href=\"#sections\">sections</a>",
        "tooth.h5</td>",
        "This page: tomolith",
        "data:image/png;base64,",
    ] {
        assert!(report.contains(said), "{said}");
    }
    assert!(!report.contains("NaN") && !report.contains("http"));
    // The slices are those of `recon` alone, and the same when they are made again.
    expect(&run(there, "recon scans/tooth.h5 -o alone -q"), 0, &[], "recon");
    expect(&run(there, "diff alone.mhd out/slices/s00.mhd"), 0, &["identical"], "diff");
    let again = "run cell.toml -o out --again 2";
    expect(&run(there, again), 0, &["again recon s00: 1 files, identical", "again report: 1 files, identical"], again);
    // Where not everything is, some slices.
    let one = (0..8).map(|seed| stdout(&run(there, &format!("run cell.toml -o out --again 1 --seed {seed}"))));
    let one: Vec<String> = one.collect();
    for says in ["again recon s00: slices 0 to 1, identical", "again report: 1 files, identical"] {
        assert!(one.iter().any(|o| o.contains(says)), "{says}: {one:?}");
    }
}

/// The paper's case: every scan of a series in several fields of view, each with its own axis. One command joins and
/// reconstructs them all; a field wider than the detector makes all of them so.
#[test]
fn a_series_of_several_fields_of_view_is_joined_scan_by_scan() {
    // Slices; with two shifts in plane and one along z that are known to half a voxel.
    fields_are_joined("radiographs", 0.5);
}

/// Where the phase is retrieved fields are joined before, and found ten times better.
#[test]
fn a_series_of_several_fields_of_view_is_joined_before_the_phase_is_retrieved() {
    fields_are_joined("radiographs-phase", 0.05);
}

fn fields_are_joined(mode: &str, near: f64) {
    let folder = Scratch::new(&format!("pipeline-fields-{mode}"));
    let there = &folder.0;
    let words = format!("phantom cell -o scans --preset tiny --mode {mode} --only 0,24 --fields 2 --seed 8 -q");
    expect(&run(there, &words), 0, &[], &words);
    expect(&run(there, "init scans -o cell.toml"), 0, &["2 scans"], "init");
    let config = if mode == "radiographs" { "scan.toml" } else { "scan_phase.toml" };
    let text = std::fs::read_to_string(there.join("cell.toml")).unwrap();
    assert!(text.contains("/scan.toml\""));
    folder.write("cell.toml", text.replace("/scan.toml\"", &format!("/{config}\"")));
    let run_all = "run cell.toml --until slices -o out";
    as_planned(there, run_all, &["recon s00", "2 steps"]);
    assert!(!there.join("out/axis.txt").exists(), "each field has its own");
    let truth = json(&there.join("scans/truth/truth.json"));
    for (k, step) in truth.need_arr("steps").unwrap().iter().enumerate() {
        let fields = step.need_arr("fields").unwrap();
        let rows: Vec<f64> = fields.iter().map(|f| f.need_f64("first_row").unwrap()).collect();
        let up: Vec<f64> = fields.iter().map(|f| f.need_arr("moved_by_drift").unwrap()[2].as_f64().unwrap()).collect();
        let results = json(&there.join(format!("out/slices/s{k:02}.json"))).need("results").unwrap().clone();
        let results = if mode == "radiographs" { &results } else { results.need("fields").unwrap() };
        let fit = &results.need_arr("fits").unwrap()[0];
        let (shift, gain) = (fit.need_arr("shift_zyx").unwrap()[0].as_f64().unwrap(), fit.need_f64("gain").unwrap());
        // The cell drifts by a part of a voxel from one field to the next; noise of the second does not lessen its gain.
        let want = rows[1] - rows[0] - (up[1] - up[0]);
        assert!((shift - want).abs() < near, "{mode}, step {k}: {shift}, not {want}");
        assert!((gain - 1.0).abs() < near.min(0.05), "{mode}, step {k}: {gain}");
    }
    let before = std::fs::read(there.join("out/slices/s01.raw")).unwrap();
    let again = run(there, &format!("{run_all} --again 1"));
    expect(&again, 0, &[], "again");
    assert!(stderr(&again).contains(": not made again: of joined fields"), "{}", stderr(&again));
    let says = ["again recon s00: 1 files, identical", "again recon s01: 1 files, identical"];
    expect(&run(there, &format!("{run_all} --again 2")), 0, &says, "all again");
    assert!(std::fs::read(there.join("out/slices/s01.raw")).unwrap() == before);
    // A part of the joined slices has their bits: fields are compared whole.
    let part = format!("recon --config {config} --crop x=100:220,y=40:300 -o ../../part -q");
    expect(&run(&there.join("scans/step_24"), &part), 0, &[], &part);
    let part = std::fs::read(there.join("part.raw")).unwrap();
    let rows = part.len() / (4 * 120);
    assert!(rows == 260 * (before.len() / (4 * 320 * 320)));
    for (row, got) in part.chunks_exact(4 * 120).enumerate() {
        let first = 4 * ((row / 260 * 320 + 40 + row % 260) * 320 + 100);
        assert!(got == &before[first..first + 4 * 120], "row {row}");
    }
}

/// Pixels of a slice, angles, rows.
const N: usize = 64;
const VIEWS: usize = 96;
const ROWS: usize = 6;
/// Radius of the binder, centre of the particle.
const BINDER: f64 = 26.0;
const PARTICLE: [f64; 2] = [6.0, -4.0];

/// −ln T of a disc of binder (0.01 per pixel) with a denser particle (0.05) in it, by their chords.
fn projections(radius: f64) -> Vec<f32> {
    let chord = |r: f64, s: f64| 2.0 * (r * r - s * s).max(0.0).sqrt();
    let mut out = Vec::new();
    for k in 0..VIEWS {
        let angle = std::f64::consts::PI * k as f64 / VIEWS as f64;
        for _ in 0..ROWS {
            for column in 0..N {
                // Means over eight rays of a pixel.
                let one = |sub: usize| {
                    let s = column as f64 + (sub as f64 + 0.5) / 8.0 - 0.5 - N as f64 / 2.0;
                    let at = PARTICLE[0] * angle.cos() + PARTICLE[1] * angle.sin();
                    0.01 * chord(BINDER, s) + 0.04 * chord(radius, s - at)
                };
                out.push(((0..8).map(one).sum::<f64>() / 8.0) as f32);
            }
        }
    }
    out
}

/// Another sample: other bodies, a table of three classes, no electrode, no log. What there is of each class is told, and
/// everything that needs a cell is left out with its reason.
#[test]
fn another_sample_with_its_own_classes_takes_the_same_way() {
    let folder = Scratch::new("pipeline-particle");
    let there = &folder.0;
    let at = |words: &str| expect(&run(there, words), 0, &[], words);
    let radii = [7.0, 9.0, 12.0];
    folder.write("theta.txt", (0..VIEWS).map(|k| format!("{}\n", 180.0 * k as f64 / VIEWS as f64)).collect::<String>());
    for (k, radius) in radii.into_iter().enumerate() {
        std::fs::create_dir_all(there.join(format!("scans/t_{k}"))).unwrap();
        folder.write(&format!("scans/t_{k}/p.npy"), npy(&[VIEWS, ROWS, N], &projections(radius)));
        std::fs::copy(there.join("theta.txt"), there.join(format!("scans/t_{k}/theta.txt"))).unwrap();
        folder.write(
            &format!("scans/t_{k}/scan.toml"),
            "[recon]\nscan = \"p.npy\"\ninput = \"absorption\"\ntheta = \"theta.txt\"\ntheta-unit = \"deg\"\npixel = \"2um\"\ncenter = 32\n",
        );
    }
    // A small network, taught by a sample of other radii.
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for radius in [6.0, 8.0, 10.5, 13.0] {
        folder.write("x.npy", npy(&[VIEWS, ROWS, N], &projections(radius)));
        at(
            "recon x.npy --input absorption --theta theta.txt --theta-unit deg --pixel 2um --center 32 -o x --rows 2:3 -q --overwrite",
        );
        let raw = std::fs::read(there.join("x.raw")).unwrap();
        // Values in 1/cm: 0.01 and 0.05 per 2 µm are 50 and 250.
        let slice: Vec<f32> = raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let inside = |i: usize, [x, y]: [f64; 2], r: f64| {
            // Column N/2 and row N/2 − 1 are the axis; rows go against y.
            let (dx, dy) = ((i % N) as f64 - 32.0 - x, 31.0 - (i / N) as f64 - y);
            dx * dx + dy * dy < r * r
        };
        let class = |i: usize| if inside(i, PARTICLE, radius) { 2 } else { i64::from(inside(i, [0.0; 2], BINDER)) };
        images.extend(slice.iter().map(|v| v / 250.0));
        let drawn: Vec<i64> = (0..N * N).map(class).collect();
        // What is called particle is dense: the geometry above is that of the slices.
        let mean = |c: i64| {
            let of: Vec<f32> = slice.iter().zip(&drawn).filter(|(_, d)| **d == c).map(|(v, _)| *v).collect();
            of.iter().sum::<f32>() / of.len() as f32
        };
        assert!((mean(2) - 250.0).abs() < 12.0 && (mean(1) - 50.0).abs() < 12.0, "{} {}", mean(1), mean(2));
        labels.extend(drawn);
    }
    folder.write("x.npy", npy(&[4, N, N], &images));
    let bytes: Vec<u8> = labels.iter().flat_map(|l| l.to_le_bytes()).collect();
    folder.write("y.npy", npy_of("<i8", &[4, N, N], &bytes));
    at(
        "net train --input x.npy --labels y.npy --validation-input x.npy --validation-labels y.npy --classes 3 --channels 4,8 \
        --epochs 60 --batch 2 --lr 1e-2 --dropout 0 --schedule constant -o taught -q",
    );
    folder.write(
        "table.toml",
        "[[class]]\nid = 0\nname = \"air\"\n[[class]]\nid = 1\nname = \"binder\"\n[[class]]\nid = 2\nname = \"particle\"\n",
    );
    at("init scans --weights taught/best.safetensors -o cell.toml");
    let text = std::fs::read_to_string(there.join("cell.toml")).unwrap();
    let text = text
        .replace("[run]\n", "[run]\nstill = true\n")
        .replace("[recon]\n", "[recon]\ncenter = 32\n")
        .replace(
            "best.safetensors\"",
            "best.safetensors\"\ngrey = \"0,250\"\nroi = \"64\"\nbatch = \"2\"\nclasses = \"table.toml\"",
        )
        .replace("[analyze]\n", "[analyze]\nclasses = \"table.toml\"\n");
    folder.write("cell.toml", text);
    let first = seal(there, "run cell.toml -o out");
    let results = json(&there.join("out/numbers/results.json"));
    let found = values(&results).unwrap();
    for (k, radius) in radii.into_iter().enumerate() {
        let volume = found.iter().find(|v| (v.definition, v.of, v.step) == ("volume", "particle", Some(k))).unwrap();
        let planted = std::f64::consts::PI * radius * radius * ROWS as f64 * 8.0;
        let part = volume.value.unwrap() / planted;
        assert!((part - 1.0).abs() < 0.12, "radius {radius}: {part} of what was planted");
    }
    // Nothing is said of a cell that is not there, and why.
    assert!(!found.iter().any(|v| ["gap", "thickness.side", "ratio.per_area"].contains(&v.definition)));
    let left = results.need_arr("left_out").unwrap();
    let what: Vec<&str> = left.iter().filter_map(|l| l.get("what")?.as_str()).collect();
    for name in ["gap, swelling", "connectivity, dendrites", "charge, Faraday, capacity ratios"] {
        assert!(what.contains(&name), "{what:?}");
    }
    let report = std::fs::read_to_string(there.join("out/report.html")).unwrap();
    assert!(report.contains("particle") && report.contains("view of step 2"));
    // No part of a cell, no figure of one, and not the panels of a paper about one.
    assert!(report.contains("<a href=\"#volumes\">"));
    for of_a_cell in ["id=\"panels\"", "<td>maps of dendrites</td>", "the paper's", "no lithium gained"] {
        assert!(!report.contains(of_a_cell), "{of_a_cell}");
    }
    // Windows at a time and memory change no bit, and make nothing anew.
    let text = std::fs::read_to_string(there.join("cell.toml")).unwrap();
    folder.write(
        "cell.toml",
        text.replace("batch = \"2\"", "batch = \"1\"").replace("[recon]\n", "[recon]\nmemory = \"1GiB\"\n"),
    );
    let output = run(there, "run cell.toml -o out");
    assert_eq!(stderr(&output).matches(": done").count(), 9, "{}", stderr(&output));
    assert!(stdout(&output).contains(&first));
    // The figures that are asked for, and as files; what is not known or not a folder of figures is refused.
    let text = std::fs::read_to_string(there.join("cell.toml")).unwrap();
    let asked = |more: &str| folder.write("cell.toml", text.replace("[report]\n", &format!("[report]\n{more}\n")));
    for (more, says) in [
        ("figures = \"numbers\"", "[report] figures is the name of a folder"),
        ("figures = \"../x\"", "[report] figures is the name of a folder"),
        ("maps = [\"partikel\"]", "did you mean 'particle'"),
        ("curves = [\"volume\", \"length\"]", "no diagram is called 'length'"),
        ("panels = \"another\"", "known are huang2023, none"),
    ] {
        asked(more);
        expect(&run(there, "run cell.toml -o out"), 2, &[says], more);
    }
    asked(
        "figures = \"figures\"\ncurves = [\"surface_faces\", \"volumes\"]\nmaps = [\"particle\"]\nheadlines = [\"volume\"]\n\
         panels = \"huang2023\"",
    );
    let second = seal(there, "run cell.toml -o out");
    let report = std::fs::read_to_string(there.join("out/report.html")).unwrap();
    let at = |part: &str| report.find(part).unwrap_or_else(|| panic!("{part}"));
    assert!(
        at("<section id=\"surface_faces\">") < at("<section id=\"volumes\">")
            && at("map-class-2") < at("id=\"panels\"")
    );
    assert!(!report.contains("id=\"effective\"") && !report.contains("map-class-1"));
    let list = std::fs::read_to_string(there.join("out/figures/figures.sha256")).unwrap();
    let names: Vec<&str> = list.lines().map(|l| l.split_once("  ").unwrap().1).collect();
    for name in ["surface_faces.svg", "volumes.png", "map_class_2.step_02.png", "section_s02.x.classes.png"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    // A figure that was changed is found, and made again.
    std::fs::write(there.join("out/figures/volumes.png"), "another").unwrap();
    expect(&run(there, "verify out"), 3, &["volumes.png", "is not what was written"], "a changed figure");
    expect(&run(there, "status cell.toml -o out"), 0, &["report           damaged"], "status");
    assert_eq!(seal(there, "run cell.toml -o out"), second);
    expect(&run(there, "verify out"), 0, &["ok    figures/figures.sha256"], "verify");
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = Scratch::new("pipeline-full");
    cell(&folder);
    // The registering stage has its own in `super::moved`.
    full_disk(
        &folder.0,
        &[
            // Before the first step the record is written.
            ("axis.txt", "run.json.part: no space", 0),
            ("slices/s01", " recon s01: ", 40),
            ("classes/s01", " classes s01: ", 40),
            ("labels/s01", " rules s01: ", 40),
            ("numbers", " numbers: ", 40),
            ("report.html", " report: ", 40),
        ],
    );
}

#[test]
fn what_is_not_of_a_run_is_refused_and_steps_are_made_again() {
    let folder = Scratch::new("pipeline-again");
    let there = &folder.0;
    cell(&folder);
    let text = std::fs::read_to_string(there.join("cell.toml")).unwrap();
    folder.write("cell.toml", text.replace("[recon]\n", "[recon]\nthreads = 2\n"));
    expect(&run(there, "run cell.toml -o out"), 2, &["threads is for the whole run"], "an option of every command");
    // Two electrodes that nothing tells apart are no plating electrode.
    folder.write("cell.toml", text.replace("\nrules", "\n# rules"));
    let says = "class 4 is 'electrode' in what `seg predict` makes, and 'plating electrode' in the table";
    expect(&run(there, "run cell.toml -o out"), 65, &[says, "[seg.after] rules"], "no rules");
    // Errors of another network, or kept by another version; what says of no network, or of this one, is taken.
    folder.write("cell.toml", text.replace("[analyze]\n", "[analyze]\nevaluated = \"errors.json\"\n"));
    let own = Digest::of_file(&there.join("w.safetensors")).unwrap().0.hex();
    let kept =
        |schema: &str, network: &str| format!("{{\"schema\": \"{schema}\", \"network\": {network}, \"series\": []}}");
    for (schema, network, code, says) in [
        ("tomolith-evaluated-2", "\"00\"".to_string(), 65, "errors of another file of weights"),
        ("tomolith-evaluated-1", format!("\"{own}\""), 65, "is of the schema tomolith-evaluated-1"),
        ("tomolith-evaluated-2", format!("\"{own}\""), 0, ""),
        ("tomolith-evaluated-2", "null".to_string(), 0, ""),
        ("tomolith-results-1", "\"00\"".to_string(), 0, ""),
    ] {
        folder.write("errors.json", kept(schema, &network));
        let says = if code == 0 { vec![] } else { vec![says, "errors.json"] };
        expect(&run(there, "run cell.toml -o out --plan"), code, &says, schema);
    }
    folder.write("errors.json", kept("tomolith-evaluated-2", "\"00\""));
    expect(&run(there, "run cell.toml -o out"), 65, &["errors of another file of weights"], "errors");
    assert!(!there.join("out").exists());
    folder.write("cell.toml", &text);
    let first = seal(there, "run cell.toml -o out");
    // Another cell's run of the same name is left alone.
    std::fs::create_dir(there.join("other")).unwrap();
    folder.write("other/a.npy", npy(&[20, 3, 24], &[0.5; 20 * 3 * 24]));
    folder.write("other/cell.toml", "[run]\nscans = \"a.npy\"\n");
    expect(&run(there, "run other/cell.toml -o out"), 73, &["holds a run of other scans"], "another cell");
    // A series that tells of more scans than there are.
    std::fs::rename(there.join("scans/step_12"), there.join("away")).unwrap();
    expect(&run(there, "init scans -o no.toml"), 65, &["tells of 3 scans, and 2 lie here"], "a scan is gone");
    expect(&run(there, "run cell.toml -o out"), 65, &["3 times for 2 scans"], "a scan is gone");
    std::fs::rename(there.join("away"), there.join("scans/step_12")).unwrap();
    // Numbers of scans tell of one that is not there.
    for k in [0, 1, 2, 4] {
        folder.write(&format!("other/g_{k}.npy"), npy(&[20, 3, 24], &[0.5 + k as f32; 20 * 3 * 24]));
    }
    let says = ["a scan is missing, as their numbers have it: g_4 follows g_2", "gaps = true"];
    for (more, code, says) in [("", 65, &says[..]), ("gaps = true\n", 2, &["no projection angles"])] {
        folder
            .write("other/gap.toml", format!("[run]\nscans = \"g_*.npy\"\n{more}[recon]\ninput = \"transmission\"\n"));
        expect(&run(there, "run other/gap.toml --plan"), code, says, "a gap");
    }
    // All steps once more, and nothing is left of it.
    let output = run(there, "run cell.toml -o out --again 99");
    expect(
        &output,
        0,
        &["again axis: 1 files, identical", "again recon s02: 1 files", "again numbers", "again report"],
        "again",
    );
    assert_eq!(stdout(&output).matches("identical").count(), 13);
    expect(
        &run(there, "run cell.toml -o out --again 12"),
        0,
        &["again recon s0", ": slices"],
        "again, but for one step",
    );
    assert!(stdout(&output).contains(&first));
    let left = std::fs::read_dir(there.join("out"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("again"));
    assert_eq!(left.count(), 0);
    // What is made again is made of sound bytes only.
    let raw = there.join("out/slices/s01.raw");
    let mut bytes = std::fs::read(&raw).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&raw, bytes).unwrap();
    let output = run(there, "run cell.toml -o out --again 99");
    expect(&output, 3, &["is not what was written"], "a changed slice that is read");
    std::fs::write(there.join("out/run.json"), "{}").unwrap();
    expect(&run(there, "status cell.toml -o out"), 65, &["bring it back from a copy"], "a broken record");
}
