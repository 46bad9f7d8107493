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
    let folder = words.rsplit(' ').next().unwrap();
    let (plan, planned) = planned(there, words, says);
    assert!(!there.join(folder).exists(), "a plan makes nothing");
    let (said, moved) = counted(there, words);
    for ((name, done), planned) in ["reads", "writes"].into_iter().zip(moved).zip(planned) {
        assert!((done / planned - 1.0).abs() < PLANNED, "{name} {done}, planned {planned}\n{plan}");
    }
    expect(&run(there, &format!("{words} --plan")), 0, &["0 steps"], "plan of what is done");
    said.lines().find(|l| l.starts_with("run cell ")).unwrap().rsplit(' ').next().unwrap().to_string()
}

/// What `--plan` says of a run, and its reads, its writes, and what it says that it read itself.
#[track_caller]
fn planned(there: &Path, words: &str, says: &[&str]) -> (String, [f64; 3]) {
    let (plan, _) = counted(there, &format!("{words} --plan"));
    says.iter().for_each(|says| assert!(plan.contains(says), "{says}: {plan}"));
    let line = plan.lines().find(|l| l.starts_with("in bytes")).unwrap();
    let numbers: Vec<f64> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    (plan, numbers.try_into().unwrap())
}

/// What a command says, and the bytes that it read and wrote, as the system counts them.
#[track_caller]
fn counted(there: &Path, words: &str) -> (String, [f64; 2]) {
    // Reads by maps are not counted: by calls. A shell's counts hold those of what it waited for.
    let script = format!("\"$0\" {words} --io pread && cat /proc/$$/io");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &script, env!("CARGO_BIN_EXE_tomolith")]).current_dir(there).output().unwrap();
    expect(&output, 0, &[], words);
    let said = stdout(&output);
    let number = |name: &str| said.lines().find_map(|l| l.strip_prefix(name)).unwrap().parse().unwrap();
    let moved = ["rchar: ", "wchar: "].map(number);
    (said, moved)
}

/// From this on bytes of a stage are held against its plan: of less the texts beside volumes are a large part.
const MOVED: f64 = 1e6;

/// The run of `cell.toml`, one stage after the other, where it is Linux: what each reads and writes, what each plan reads, and
/// the sums of all, beside what was planned. How small pictures become is known when they are drawn: `drawn` stages write
/// as much as planned at most.
#[track_caller]
pub fn stages_as_planned(there: &Path, stages: &[&str], drawn: &[&str]) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let mut sums = [[0.0; 2]; 2];
    for stage in stages {
        // The page alone is what is left when it is removed.
        let words =
            if *stage == "page" { "run cell.toml -o s".into() } else { format!("run cell.toml --until {stage} -o s") };
        if *stage == "page" {
            std::fs::remove_file(there.join("s/report.html")).unwrap();
        }
        let own = counted(there, &format!("{words} --plan")).1[0];
        let (plan, [reads, writes, tried]) = planned(there, &words, &["this plan"]);
        assert!((own / tried - 1.0).abs() < PLANNED, "the plan of {stage} reads {own}, and says {tried}\n{plan}");
        let (_, moved) = counted(there, &words);
        for (k, (name, planned)) in [("reads", reads), ("writes", writes)].into_iter().enumerate() {
            let (done, is_drawn) = (moved[k], k == 1 && drawn.contains(stage));
            println!("{stage} {name}: planned {planned}, done {done}");
            let is_near = (done / planned - 1.0).abs() < PLANNED || (is_drawn && done <= planned);
            assert!(done < MOVED || is_near, "{stage} {name} {done}, planned {planned}\n{plan}");
            sums[k] = [sums[k][0] + done, sums[k][1] + planned];
        }
    }
    for ([done, planned], name) in sums.into_iter().zip(["reads", "writes"]) {
        assert!((done / planned - 1.0).abs() < PLANNED, "all {name} {done}, planned {planned}");
    }
}
