//! A small series for the tests of the whole way.

#![allow(clippy::print_stdout)] // What was skipped is said.

use super::{Scratch, expect, run, stdout};
use std::path::Path;
use std::process::Command;

/// A series of three scans at which nothing moved, a network that has learnt nothing, and rules.
pub fn cell(folder: &Scratch) {
    let words = "phantom cell -o scans --preset tiny --mode radiographs --steps 3 --seed 5 --still --detector ideal --untruncated -q";
    expect(&run(&folder.0, words), 0, &[], words);
    expect(&run(&folder.0, "net init -o w.safetensors --channels 4,8 --classes 5"), 0, &[], "init");
    folder.write(
        "rules.toml",
        "axis = \"y\"\n[[split]]\nclass = \"plating electrode\"\nat = 160\nbecomes = \"stripping electrode\"\n",
    );
    expect(&run(&folder.0, "init scans --weights w.safetensors -o cell.toml"), 0, &["3 scans"], "init");
    let text = std::fs::read_to_string(folder.0.join("cell.toml")).unwrap();
    let text = text
        .replace("weights = \"w.safetensors\"", "weights = \"w.safetensors\"\ngrey = \"0,1.2\"\nroi = \"64\"")
        .replace("# rules", "rules")
        .replace("[run]\n", "[run]\nstill = true\n")
        .replace("[analyze]\n", "[analyze]\ncell-area = 0.5\nmaps = \"none\"\n");
    folder.write("cell.toml", text);
}

/// The seal that a run ends with.
#[track_caller]
pub fn seal(folder: &Path, words: &str) -> String {
    let output = run(folder, words);
    expect(&output, 0, &["run cell "], words);
    stdout(&output).trim().rsplit(' ').next().unwrap().to_string()
}

/// Makes the run of `cell.toml` whole, and then again from what is removed on, on a disk with so many KiB left: it ends with
/// 74 and says where; with room again it ends as the whole one. Of each stage what is removed, what is said, and the
/// KiB.
#[track_caller]
pub fn full_disk(there: &Path, stages: &[(&str, &str, usize)]) {
    let probe = Command::new("unshare").args(["-rm", "sh", "-c"]).arg("mount -t tmpfs none \"$0\"").arg(there).output();
    if !probe.is_ok_and(|o| o.status.success()) {
        assert!(
            std::env::var_os("TOMOLITH_REQUIRE_DATA").is_none_or(|v| v != "1"),
            "no small disk can be mounted here"
        );
        println!("SKIPPED: no small disk can be mounted here");
        return;
    }
    let whole = seal(there, "run cell.toml -o whole");
    std::fs::create_dir(there.join("disk")).unwrap();
    let script = "mount -t tmpfs -o size=2g none disk && \
        for stage; do file=${stage%:*}; \
            mount -o remount,size=2g disk && rm -rf disk/cell && cp -r whole disk/cell && rm -rf disk/cell/$file* && \
            used=$(df -k --output=used disk | tail -1) && mount -o remount,size=$((used + ${stage#*:}))k disk && \
            \"$0\" run cell.toml -o disk/cell 2>said >/dev/null; echo \"$file $? $(grep '^error' said)\" && \
            mount -o remount,size=2g disk && echo \"$file $(\"$0\" run cell.toml -o disk/cell -q)\" && \
            \"$0\" verify disk/cell >/dev/null && echo \"$file sound\"; done";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_tomolith")])
        .args(stages.iter().map(|(file, _, left)| format!("{file}:{left}")))
        .current_dir(there)
        .output()
        .unwrap();
    let text = stdout(&output);
    for (file, says, _) in stages {
        let full = text.lines().find(|l| l.starts_with(&format!("{file} 74 "))).unwrap_or_else(|| panic!("{text}"));
        assert!(full.contains(says), "{full}");
        assert!(text.contains(&format!("{file} run cell {whole}")), "{text}");
        assert!(text.contains(&format!("{file} sound")), "{text}");
    }
}

/// Reads and writes within this part of what was planned.
const PLANNED: f64 = 0.1;

/// A run, of which nothing is there, whose reads and writes are counted by the system, where it is Linux: the seal, and both
/// beside what `--plan`, which says `says`, said of them.
#[track_caller]
pub fn as_planned(there: &Path, words: &str, says: &[&str]) -> String {
    if !cfg!(target_os = "linux") {
        return seal(there, words);
    }
    let plan = run(there, &format!("{words} --plan"));
    expect(&plan, 0, says, "plan");
    let folder = words.rsplit(' ').next().unwrap();
    assert!(!there.join(folder).exists(), "a plan makes nothing");
    let plan = stdout(&plan);
    let planned: Vec<f64> = plan.lines().last().unwrap().split_whitespace().filter_map(|w| w.parse().ok()).collect();
    // Reads by maps are not counted: by calls. A shell's counts hold those of what it waited for.
    let script = format!("\"$0\" {words} --io pread && cat /proc/$$/io");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &script, env!("CARGO_BIN_EXE_tomolith")]).current_dir(there).output().unwrap();
    expect(&output, 0, &["run cell "], words);
    let said = stdout(&output);
    for (name, planned) in ["rchar: ", "wchar: "].into_iter().zip(planned) {
        let line = said.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        let done: f64 = line.parse().unwrap();
        assert!((done / planned - 1.0).abs() < PLANNED, "{name} {done}, planned {planned}\n{plan}");
    }
    expect(&run(there, &format!("{words} --plan")), 0, &["0 steps"], "plan of what is done");
    said.lines().find(|l| l.starts_with("run cell ")).unwrap().rsplit(' ').next().unwrap().to_string()
}
