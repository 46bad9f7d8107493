//! The whole way from scans to a report: the same bytes for any number of threads and after any number of kills; done again
//! only where something changed; refused where the reason can be told.

pub mod moved;
mod planned;
mod samples;
use crate::common::series::{as_planned, cell, seal};
use crate::common::{Scratch, expect, npy, run, stderr, stdout, tomolith};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Kills of one run; `TOMOLITH_TEST_KILLS` may ask for more.
const KILLS: usize = 8;

fn change(folder: &Scratch, from: &str, to: &str) {
    let text = std::fs::read_to_string(folder.0.join("cell.toml")).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    folder.write("cell.toml", text.replacen(from, to, 1));
}

fn done_again(folder: &Path, words: &str) -> Vec<String> {
    let output = run(folder, words);
    expect(&output, 0, &[], words);
    let text = stderr(&output);
    let steps = text.lines().filter_map(|l| l.strip_prefix("note: ")?.split_once(" of 13: ").map(|s| s.1.to_string()));
    steps.filter(|s| !s.ends_with(": done")).collect()
}

#[test]
fn a_run_is_one_set_of_bytes() {
    let folder = Scratch::new("pipeline");
    let there = &folder.0;
    cell(&folder);
    change(&folder, "cell-area = 0.5\n", "cell-area = 0.5\ngrey-fill = 0\n");
    let whole = as_planned(there, "run cell.toml -o whole", &["recon s02", "13 steps"]);
    assert_eq!(seal(there, "run cell.toml -o one --threads 1 --isa scalar --jobs 2"), whole);
    expect(&run(there, "diff whole one"), 0, &["identical"], "diff");
    let report = std::fs::read_to_string(there.join("whole/report.html")).unwrap();
    assert!(report.contains("Thickness of both sides") && report.starts_with("<!doctype html>"));
    expect(&run(there, "verify whole"), 0, &["ok    slices/s00.mhd", "ok    report.html"], "verify");

    // Killed again and again, at moments that have nothing to do with its steps.
    let kills = std::env::var("TOMOLITH_TEST_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let mut killed = 0;
    for k in 0..kills {
        let mut child = tomolith(there);
        let jobs = if k % 2 == 0 { "1" } else { "3" };
        child.args(["run", "cell.toml", "-o", "killed", "-q", "--jobs", jobs]);
        child.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + (k as u64 * 397) % 900));
        killed += usize::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(killed > 0, "every run ended before its kill");
    assert_eq!(seal(there, "run cell.toml -o killed"), whole);
    expect(&run(there, "diff whole killed"), 0, &["identical"], "diff");
}

#[test]
fn what_has_changed_is_made_again_and_nothing_else() {
    let folder = Scratch::new("pipeline-changed");
    let there = &folder.0;
    cell(&folder);
    change(&folder, "cell-area = 0.5\n", "cell-area = 0.5\ngrey-fill = 0\n");
    let whole = seal(there, "run cell.toml -o whole");
    assert_eq!(seal(there, "run cell.toml -o one"), whole);
    // Nothing changed, nothing is done.
    assert!(done_again(there, "run cell.toml -o whole").is_empty());
    // What lies there counts, not what its record says.
    let page = std::fs::read(there.join("one/report.html")).unwrap();
    std::fs::write(there.join("one/report.html"), "another").unwrap();
    expect(&run(there, "diff whole one"), 3, &["one/report.html: is not what the run's record says"], "a changed page");
    std::fs::write(there.join("one/report.html"), page).unwrap();
    // A flipped bit is noticed, made good, and leads to nothing else, as the bytes are the same again.
    let path = there.join("one/slices/s01.raw");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    expect(&run(there, "verify one"), 3, &[], "verify a flipped bit");
    // Nobody who would read it believes its manifest.
    std::fs::remove_file(there.join("one/classes/s01.mhd")).unwrap();
    expect(&run(there, "run cell.toml -o one"), 3, &["is not what was written"], "a flipped bit is read");
    std::fs::remove_file(&path).unwrap();
    expect(
        &run(there, "status cell.toml -o one"),
        0,
        &["recon s01        damaged", "classes s01      damaged"],
        "status",
    );
    assert_eq!(done_again(there, "run cell.toml -o one"), ["recon s01", "classes s01"]);
    // Less of the way forgets nothing.
    expect(&run(there, "run cell.toml -o one --until slices"), 0, &[], "less of the way");
    assert!(done_again(there, "run cell.toml -o one").is_empty());
    // What the environment says is no part of a step.
    let mut child = tomolith(there);
    child.env("TOMOLITH_FILTER", "none").env("TOMOLITH_TITLE", "x").args([
        "run",
        "cell.toml",
        "-o",
        "environment",
        "-q",
    ]);
    let output = child.output().unwrap();
    expect(&output, 0, &[], "environment");
    assert!(stdout(&output).contains(&whole));
    // A table of an analysis is part of it.
    std::fs::remove_file(there.join("one/numbers/tables/volumes.csv")).unwrap();
    assert_eq!(done_again(there, "run cell.toml -o one"), ["numbers"]);
    // A voxel size moves no label and all numbers.
    change(&folder, "[recon]\n", "[recon]\npixel = \"2.66um\"\n");
    let again = done_again(there, "run cell.toml -o one");
    assert!(again.contains(&"numbers".to_string()) && again.contains(&"report".to_string()), "{again:?}");
    change(&folder, "pixel = \"2.66um\"\n", "");
    seal(there, "run cell.toml -o one");
    expect(&run(there, "verify one"), 0, &[], "verify");
    // An option of one stage: that stage, and what hangs on it where its bytes are others.
    change(&folder, "cell-area = 0.5", "cell-area = 0.4");
    assert_eq!(done_again(there, "run cell.toml -o one"), ["numbers", "report"]);
    expect(&run(there, "diff whole one"), 3, &["numbers: made of something else", "numbers/results.json"], "diff");
    // What cannot be looked at is refused before anything is labelled.
    change(&folder, "cell-area = 0.4", "cell-area = 0.4\nregion = \"y=0:1000\"");
    let output = run(there, "run cell.toml -o nowhere");
    expect(&output, 65, &["numbers", "within the volume"], "a region out of the volume");
    assert!(there.join("nowhere/slices/s00.mhd").is_file() && !there.join("nowhere/classes/s00.mhd").exists());
    change(&folder, "\nregion = \"y=0:1000\"", "");
    change(&folder, "log = \"scans/potentiostat.csv\"", "# log");
    expect(&run(there, "run cell.toml -o nowhere"), 2, &["--cell-area is given, and no log"], "no log");
    change(&folder, "# log", "log = \"scans/potentiostat.csv\"");
    // The same scans elsewhere are the same run.
    std::fs::rename(there.join("scans"), there.join("moved")).unwrap();
    change(&folder, "scans/step_", "moved/step_");
    change(&folder, "scans/potentiostat", "moved/potentiostat");
    assert!(done_again(there, "run cell.toml -o one").is_empty());
    // Of steps that are made at a time one fails: the others are done.
    let scan = there.join("moved/step_12/scan.toml");
    let text = std::fs::read_to_string(&scan).unwrap();
    std::fs::write(&scan, text.replace("ramlak", "ramlok")).unwrap();
    change(&folder, "[recon]\n", "[recon]\ncenter = 160\n");
    let output = run(there, "run cell.toml -o some --until slices --jobs 3 --threads 3");
    expect(&output, 2, &["moved/step_12: recon s01: --filter", "did you mean 'ramlak'"], "one of three fails");
    expect(
        &run(there, "status cell.toml -o some --until slices"),
        0,
        &["recon s00        done", "recon s01        open", "recon s02        done"],
        "status",
    );
}

#[test]
fn the_whole_way_is_near_what_was_planted() {
    let folder = Scratch::new("demo-cell");
    let output = run(&folder.0, "demo --still --steps 3 -o d -q");
    expect(&output, 0, &["thickness.side", "um off in the mean of 6", "d/cell/report.html"], "demo --still");
    let table = std::fs::read_to_string(folder.0.join("d/measured_and_planted.csv")).unwrap();
    assert!(table.lines().filter(|l| l.starts_with("thickness.side,")).count() == 6, "{table}");
    for definition in ["ratio.whole_cell", "pit_fill.voxels", "rate.end_points", "grade.part", "net_lithium"] {
        assert!(table.lines().any(|l| l.starts_with(&format!("{definition},"))), "{definition}");
    }
    // What `analyze` says of the planted classes is what the phantom counted.
    let mut counted = 0;
    for row in
        table.lines().skip(1).map(|l| l.split(',').collect::<Vec<_>>()).filter(|row| !row[row.len() - 1].is_empty())
    {
        let [planted, own] = [row[row.len() - 3], row[row.len() - 1]].map(|v| v.parse::<f64>().unwrap());
        assert!((planted - own).abs() <= 1e-9 * own.abs().max(1e-3), "{row:?}");
        counted += 1;
    }
    assert_eq!(counted, 3 * 6 * 3);
    // The same once more does nothing, and says the same.
    assert_eq!(stdout(&run(&folder.0, "demo --still --steps 3 -o d -q")), stdout(&output));
}

/// Who ends a demo by its number ends what it has started: nothing goes on behind it.
#[test]
fn an_interrupt_is_passed_on() {
    let folder = Scratch::new("demo-interrupt");
    let mut child = tomolith(&folder.0);
    child.args("demo --still --steps 3 -o d -q".split(' ')).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    while !folder.0.join("d/cell").exists() {
        assert!(child.try_wait().unwrap().is_none(), "ended before it ran anything");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    expect(&child.wait_with_output().unwrap(), 75, &["interrupted", "again"], "demo, interrupted");
    // It was its child that stopped; a run that went on would have made the last of its files by now.
    assert!(!folder.0.join("d/cell/report.html").exists());
}

#[test]
fn what_cannot_be_run_is_refused_with_the_reason() {
    let folder = Scratch::new("pipeline-refused");
    let there = &folder.0;
    std::fs::create_dir(there.join("scans")).unwrap();
    expect(&run(there, "init scans"), 66, &["no scans"], "an empty folder");
    folder.write("a.npy", npy(&[20, 3, 24], &[0.5; 20 * 3 * 24]));
    for (text, code, says) in [
        ("[run]\n", 2, "no scans"),
        ("[run]\nscans = \"b.npy\"\n", 66, "no such scan"),
        ("[run]\nscans = \"x*y\"\n", 66, "no scan is named"),
        ("[run]\nscans = \"a.npy\"\nfixed = 3\n", 2, "there are 1 scans"),
        ("[run]\nscans = \"a.npy\"\n[recon]\noutput = \"o\"\n", 2, "is given by `run`"),
        ("[run]\nscans = \"a.npy\"\n[recon]\nfiltre = \"hann\"\n", 2, "did you mean 'filter'"),
        ("[run]\nscans = \"a.npy\"\ntimes = \"t.csv\"\n", 65, "0 times for 1 scans"),
    ] {
        folder.write("cell.toml", text);
        folder.write("t.csv", "step,minutes,start_s\n");
        expect(&run(there, "run cell.toml -o out"), code, &[says], text);
        assert!(!there.join("out").exists(), "{text}");
    }
    // A folder of something else, and one of another run.
    folder.write("cell.toml", "[run]\nscans = \"a.npy\"\n");
    expect(
        &run(there, "run cell.toml -o scans/.."),
        73,
        &["holds something, and no run"],
        "a folder of something else",
    );
    expect(&run(there, "demo -o ."), 73, &["holds something, and no demo"], "a demo in a folder of something else");
    // Scans that are missing, given twice, of different pixels.
    for (name, pixel) in [("step_0", Some("1.33um")), ("step_1", None), ("step_2", Some("2um"))] {
        std::fs::create_dir_all(there.join("scans").join(name)).unwrap();
        let text = pixel.map(|p| format!("[recon]\nscan = \"../../a.npy\"\npixel = \"{p}\"\n"));
        text.into_iter().for_each(|t| drop(folder.write(&format!("scans/{name}/scan.toml"), t)));
    }
    expect(&run(there, "init scans -o no.toml"), 66, &["step_1: has no scan.toml", "not whole"], "init");
    for (text, code, says) in [
        ("scans/step_*/scan.toml", 66, "'step_1' is named as a scan, and has none"),
        ("a.npy,a.npy", 2, "the same scan twice"),
        ("scans/step_0/scan.toml,scans/step_2/scan.toml", 65, "has pixels of 2 um"),
    ] {
        folder.write("cell.toml", format!("[run]\nscans = \"{text}\"\nstill = true\n"));
        expect(&run(there, "run cell.toml -o out"), code, &[says], text);
        assert!(!there.join("out").exists(), "{text}");
    }
    // What is no number is no scan: notes, and what a run beside the scans makes.
    std::fs::rename(there.join("scans/step_1"), there.join("scans/step_notes")).unwrap();
    folder.write("cell.toml", "[run]\nscans = \"scans/step_*/scan.toml\"\nstill = true\n");
    expect(&run(there, "run cell.toml -o out"), 65, &["has pixels of 2 um"], "another folder");
    for (name, pixel) in [("one", 1), ("two", 2)] {
        expect(&run(there, &format!("convert a.npy {name}.mhd --pixel {pixel}um")), 0, &[], name);
    }
    expect(&run(there, "report --volumes one.mhd,two.mhd -o no.html"), 65, &["two has voxels of 2 um"], "mixed voxels");
    folder.write("cell.toml", "[run]\nscans = \"a.npy\"\n");
    // A step's own error comes through with its code; what was done before stays.
    let says = ["recon s00: ", "--input absorption; the step was: tomolith recon"];
    expect(&run(there, "run cell.toml -o out"), 2, &says, "no flats");
    std::fs::copy(there.join("cell.toml"), there.join("other.toml")).unwrap();
    folder.write("out/run.json", "{}");
    expect(&run(there, "run other.toml -o out"), 65, &[], "a record that is none");
    expect(&run(there, "diff a.npy a.npy"), 66, &["no header"], "no volumes");
}
