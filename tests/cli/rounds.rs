//! `seg round` and `seg replay`: what is recorded, noticed, taken up and made again.

use crate::common::{Scratch, expect, json, labelled as folder, run, stdout, tomolith};
use std::path::Path;
use std::time::Duration;
use tomolith::json::Json;

/// Two rounds: a network trained on labels, and the figures of its draft.
fn rounds(folder: &Scratch, epochs: u32) {
    let outside = "../../";
    let r0 = format!(
        "name = \"r0\"\n[[step]]\nrun = \"seg patches c1:a={outside}l/a.mhd --planes xy --slices ::2 --size 8 --step 4 \
         --classes {outside}two.toml -o p.json\"\nmakes = \"p.json\"\n[[step]]\nrun = \"seg train \
         a={outside}grey.npy,{outside}l/a.mhd --patches p.json --grey 0,1 --classes {outside}two.toml --channels 4,8 --lr 1e-2 \
         --epochs {epochs} --batch 4 -o run\"\nmakes = \"run/best.safetensors, run/epochs.csv\"\n[[step]]\nrun = \"seg predict \
         --weights run/best.safetensors --input {outside}grey.npy --classes {outside}two.toml --roi 8 -o draft\"\nmakes = \
         \"draft.mhd\"\n"
    );
    let r1 = format!(
        "name = \"r1\"\nparents = \"r0\"\n[[step]]\nrun = \"seg eval --prediction ../r0/draft.mhd --truth {outside}l/a.mhd \
         --classes {outside}two.toml -o m.json\"\nmakes = \"m.json\"\n"
    );
    folder.write("r0.toml", r0);
    folder.write("r1.toml", r1);
}

#[test]
fn rounds_are_made_taken_up_and_made_again_to_the_same_digests() {
    let folder = folder("seg-rounds");
    let at = |words: &str| run(&folder.0, words);
    rounds(&folder, 3);
    expect(&at("seg round r1.toml -o rounds"), 66, &["r0"], "no parent yet");
    let first = at("seg round r0.toml -o rounds --threads 1");
    expect(&first, 0, &["round r0 "], "r0");
    // Everything is there: nothing is done, and the digest is the same.
    assert_eq!(stdout(&at("seg round r0.toml -o rounds")), stdout(&first));
    expect(&at("seg round r1.toml -o rounds"), 0, &["round r1 "], "r1");
    let replay = at("seg replay rounds/r1 --verify --threads 3");
    expect(
        &replay,
        0,
        &["r0 step 2 run/best.safetensors same", "r1 step 1 m.json same", "2 rounds made again"],
        "replay",
    );
    assert!(!stdout(&replay).contains("DIFFERENT"));
    expect(&at("seg replay rounds/r1 --verify"), 73, &["made again before"], "twice");

    // Killed while it trains, and gone on with.
    rounds(&folder, 60);
    let mut killed = tomolith(&folder.0)
        .args("seg round r0.toml -o killed".split(' '))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let last = folder.0.join("killed/r0/run/last.safetensors");
    while !last.exists() && killed.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(json(&folder.0.join("killed/r0/round.json")).get("complete").and_then(Json::as_bool), Some(false));
    let through = at("seg round r0.toml -o through");
    expect(&through, 0, &["round r0"], "through");
    assert_eq!(stdout(&at("seg round r0.toml -o killed")), stdout(&through));

    // What changed is named.
    expect(&at("seg round r0.toml -o rounds"), 65, &["another description"], "description");
    expect(&at("seg round r1.toml -o through"), 0, &["round r1"], "r1 on another r0");
    rounds(&folder, 2);
    std::fs::remove_dir_all(folder.0.join("through/r0")).unwrap();
    expect(&at("seg round r0.toml -o through"), 0, &["round r0"], "r0 anew");
    expect(&at("seg round r1.toml -o through"), 65, &["parent 'r0' has changed"], "parent");
    let r2 = "name = \"r2\"\nparents = \"r1\"\n[[step]]\nrun = \"seg patches a=../../l/a.mhd -o p.json\"\nmakes = \"p.json\"\n";
    folder.write("r2.toml", r2);
    expect(&at("seg round r2.toml -o through"), 65, &["'r0' has changed since 'r1' was made of it"], "grandparent");
    std::fs::write(folder.0.join("through/r0/run/epochs.csv"), "").unwrap();
    expect(&at("seg round r0.toml -o through"), 65, &["has changed since the round made it"], "output");
    folder.write(
        "bad.toml",
        "name = \"bad\"\n[[step]]\nrun = \"seg patches ../../none.mhd -o p.json\"\nmakes = \"p.json\"\n",
    );
    expect(&at("seg round bad.toml -o rounds"), 66, &["the step was: tomolith seg patches"], "bad step");
}

#[test]
fn a_word_of_a_step_may_hold_blanks() {
    let folder = folder("seg-blanks");
    let at = |words: &str| run(&folder.0, words);
    std::fs::rename(folder.0.join("l"), folder.0.join("my l")).unwrap();
    let step = "seg patches 'a=../../my l/a.mhd' --planes xy --slices ::2 --size 8 --step 4 --classes ../../two.toml -o p.json";
    let round = format!("name = \"r0\"\n[[step]]\nrun = \"{step}\"\nmakes = \"p.json\"\n");
    folder.write("r0.toml", &round);
    expect(&at("seg round r0.toml -o rounds"), 0, &["round r0"], "blanks");
    let record = json(&folder.0.join("rounds/r0/round.json"));
    let inputs: Vec<&String> = record.need_arr("inputs").unwrap()[0].as_obj().unwrap().keys().collect();
    assert_eq!(inputs, ["../../my l/a.mhd", "../../my l/a.origin.mhd", "../../two.toml"]);
    expect(&at("seg replay rounds/r0 --verify"), 0, &["p.json same"], "replay");
    folder.write("r1.toml", round.replace("a.mhd'", "a.mhd"));
    expect(&at("seg round r1.toml -o rounds"), 65, &["a quote is not closed"], "quote");
}

/// Zeros instead of the voxels of a volume; what was there.
fn wiped(path: &Path) -> Vec<u8> {
    let before = std::fs::read(path).unwrap();
    std::fs::write(path, vec![0; before.len()]).unwrap();
    before
}

#[test]
fn files_that_a_round_made_or_read_are_looked_at_again() {
    let folder = folder("seg-noticed");
    let at = |words: &str| run(&folder.0, words);
    rounds(&folder, 1);
    expect(&at("seg round r0.toml -o rounds"), 0, &["round r0"], "r0");
    // The manifest still says what the voxels were.
    let draft = folder.0.join("rounds/r0/draft.raw");
    let before = wiped(&draft);
    assert!(before.iter().any(|&v| v != 0));
    let says = ["draft.mhd", "has changed since the round 'r0' made it"];
    expect(&at("seg round r1.toml -o rounds"), 65, &says, "a parent's voxels");
    assert!(!folder.0.join("rounds/r1").exists());
    expect(&at("seg round r0.toml -o rounds"), 65, &["draft.mhd", "since the round made it"], "own voxels");
    std::fs::write(&draft, before).unwrap();
    expect(&at("seg round r1.toml -o rounds"), 0, &["round r1"], "as it was");
    std::fs::write(folder.0.join("rounds/r0/run/epochs.csv"), "").unwrap();
    expect(&at("seg round r1.toml -o rounds"), 65, &["epochs.csv"], "a file that r1 does not read is of its parent");
    std::fs::remove_dir_all(folder.0.join("rounds")).unwrap();

    let both = || ["r0", "r1"].map(|r| expect(&at(&format!("seg round {r}.toml -o rounds")), 0, &[], r));
    both();
    let record = json(&folder.0.join("rounds/r0/round.json"));
    let inputs: Vec<Vec<&String>> =
        record.need_arr("inputs").unwrap().iter().map(|step| step.as_obj().unwrap().keys().collect()).collect();
    let [labels, origins, table] = ["../../l/a.mhd", "../../l/a.origin.mhd", "../../two.toml"];
    assert_eq!(inputs[0], [labels, origins, table]);
    assert_eq!(inputs[1], ["../../grey.npy", labels, origins, table]);
    // What the round itself made is no input.
    assert_eq!(inputs[2], ["../../grey.npy", table]);

    let grey = folder.0.join("grey.npy");
    let mut other = std::fs::read(&grey).unwrap();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&grey, other).unwrap();
    expect(&at("seg round r0.toml -o rounds"), 65, &["grey.npy", "has changed since the round read it"], "an input");
    let replay = at("seg replay rounds/r1 --verify");
    expect(&replay, 3, &["r0 step 2 input ../../grey.npy CHANGED", "r0, which reads ../../grey.npy"], "replay");
    assert!(!stdout(&replay).contains("a.mhd CHANGED"), "{}", stdout(&replay));
    std::fs::remove_file(&grey).unwrap();
    expect(&at("seg round r0.toml -o rounds"), 66, &["grey.npy", "no longer there"], "gone");
}

/// Every stage in two rounds, small; how many steps they have.
const STAGES: [(&str, usize); 2] = [("early", 6), ("late", 3)];

fn every_stage(folder: &Scratch) {
    let (data, classes) = ("../../", "--classes ../../two.toml");
    let steps = [
        (
            format!(
                "seg patches c1:a={data}l/a.mhd c2:b={data}l/a.mhd --planes xy,yz --slices ::2 --size 8 --step 4 {classes} -o p.json"
            ),
            "p.json",
        ),
        ("seg split p.json --by cell --validation c2 -o s.json".into(), "s.json"),
        (
            format!(
                "seg train a={data}grey.npy,{data}l/a.mhd b={data}grey.npy,{data}l/a.mhd --patches p.json --split s.json --grey 0,1 \
                  {classes} --channels 4,8 --context 1 --epochs 2 --batch 4 --seeds 1,2 -o run"
            ),
            "run/seed_1/best.safetensors, run/seed_1/steps.csv, run/seeds.csv",
        ),
        (
            format!(
                "seg predict --weights run/seed_1/best.safetensors --input {data}grey.npy {classes} --roi 8 --plane xz --entropy \
                  -o one"
            ),
            "one.mhd, one.entropy.mhd",
        ),
        (
            format!(
                "seg predict --weights run/seed_2/best.safetensors --input {data}grey.npy {classes} --roi 8 --plane xy,yz -o two"
            ),
            "two.mhd",
        ),
        (format!("seg merge ../../both.toml {classes} --origin draft:1 -o draft"), "draft.mhd"),
        ("seg propose a=../early/one.entropy.mhd --planes xy,xz -n 4 --apart 2 -o next.json".into(), "next.json"),
        (format!("seg after ../early/draft.mhd --rules ../../after.toml {classes} -o after"), "after.mhd"),
        (format!("seg eval --prediction after.mhd --truth {data}l/a.mhd {classes} -o m.json"), "m.json"),
    ];
    let text = |steps: &[(String, &str)]| -> String {
        steps.iter().map(|(run, makes)| format!("[[step]]\nrun = \"{run}\"\nmakes = \"{makes}\"\n")).collect()
    };
    folder.write("early.toml", format!("name = \"early\"\n{}", text(&steps[..6])));
    folder.write("late.toml", format!("name = \"late\"\nparents = \"early\"\n{}", text(&steps[6..])));
    let source = |name: &str| format!("[[source]]\nlabels = \"{name}.mhd\"\nmap = \"0=dark,1=bright\"\n");
    folder.write("both.toml", source("one") + &source("two"));
    folder.write("after.toml", "axis = \"z\"\n[[edge]]\naxis = \"x\"\nwidth = 2\nbecomes = \"dark\"\n");
}

/// How many steps a round says that it has done, if it says anything.
fn done(record: &Path) -> Option<usize> {
    record.exists().then(|| json(record).need_arr("steps").unwrap().len())
}

/// Kills a command a while after a round has said that `k` steps are done; how many were done then.
fn killed(folder: &Scratch, words: &str, record: &str, k: usize, wait: u64) -> usize {
    let record = folder.0.join(record);
    let mut command = tomolith(&folder.0);
    let quiet = command.args(words.split(' ')).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut running = quiet.spawn().unwrap();
    while done(&record).is_none_or(|n| n < k) && running.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(wait));
    running.kill().unwrap();
    running.wait().unwrap();
    done(&record).unwrap()
}

/// The same command once more. A command of the killed one may live for a moment, and keeps its files: 75 says that one may
/// try again.
fn again(folder: &Scratch, words: &str) -> std::process::Output {
    (0..200)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            run(&folder.0, words)
        })
        .find(|output| output.status.code() != Some(75))
        .unwrap()
}

/// Milliseconds that are waited before a kill: into the step, if it takes so long, else less.
const WAITS: [u64; 6] = [60, 15, 4, 0, 0, 0];

#[test]
fn rounds_killed_in_every_step_end_in_the_same_digests() {
    let folder = folder("seg-killed");
    every_stage(&folder);
    for (name, steps) in STAGES {
        let through = again(&folder, &format!("seg round {name}.toml -o through --threads 2"));
        expect(&through, 0, &[&format!("round {name}")], name);
        let (place, record) = (folder.0.join(format!("killed/{name}")), format!("killed/{name}/round.json"));
        for k in 0..steps {
            let in_step = |&wait: &u64| {
                // Emptied by force: a command of the killed round may still be writing.
                while place.exists() && std::fs::remove_dir_all(&place).is_err() {}
                killed(&folder, &format!("seg round {name}.toml -o killed --threads 1"), &record, k, wait) == k
            };
            assert!(WAITS.iter().any(in_step), "{name} was never cut behind {k} steps");
            let made = again(&folder, &format!("seg round {name}.toml -o killed --threads 3"));
            expect(&made, 0, &[], "again");
            assert_eq!(stdout(&made), stdout(&through), "{name} killed behind {k} of {steps}");
        }
    }
    // A replay that is killed within a round, then between two.
    let replay = "seg replay through/late --verify --threads 3";
    let (early, late) = ("through.replay/early/round.json", folder.0.join("through.replay/late/round.json"));
    assert!((3..6).contains(&killed(&folder, replay, early, 3, 0)));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(killed(&folder, replay, early, 6, 0), 6);
    assert!(done(&late).is_none_or(|n| n < 3), "the last round was made before the kill");
    let made = again(&folder, replay);
    let says = ["early step 3 run/seed_1/steps.csv same", "early step 6 draft.mhd same", "late step 3 m.json same"];
    expect(&made, 0, &says, "replay");
    assert!(
        stdout(&made)
            .ends_with(&format!("2 rounds made again in {}\n", late.parent().unwrap().parent().unwrap().display()))
    );
    expect(&run(&folder.0, replay), 73, &["made again before"], "a whole one");
}

/// Writes the description of a round, whose steps are commands with what they make.
fn describe(folder: &Scratch, name: &str, parents: &str, steps: &[(&str, &str)]) {
    let steps: String =
        steps.iter().map(|(run, makes)| format!("[[step]]\nrun = \"{run}\"\nmakes = \"{makes}\"\n")).collect();
    folder.write(&format!("{name}.toml"), format!("name = \"{name}\"\nparents = \"{parents}\"\n{steps}"));
}

/// Runs a round that a test described.
fn round(folder: &Scratch, name: &str) -> std::process::Output {
    run(&folder.0, &format!("seg round {name}.toml -o rounds"))
}

/// What each step of a round read.
fn read(folder: &Scratch, name: &str) -> Vec<Vec<String>> {
    let record = json(&folder.0.join(format!("rounds/{name}/round.json")));
    let steps = record.need_arr("inputs").unwrap();
    steps.iter().map(|step| step.as_obj().unwrap().keys().cloned().collect()).collect()
}

const PATCHES: &str = "seg patches c1:a=../../l/a.mhd c2:b=../../l/a.mhd --planes xy --slices ::2 --size 8 --step 4 \
                       --classes ../../two.toml -o p.json";

#[test]
fn what_a_step_writes_and_its_own_words_are_no_inputs() {
    let folder = folder("seg-no-inputs");
    let export = "labels export ../../l/a.mhd --map fiji --log-json log.jsonl --status=now.json labels";
    let more = "labels export ../../l/a.mhd --map fiji --log-json=log.jsonl --status now.json labels";
    let steps =
        [(format!("{export}/s_#.tif"), "labels/s_00000.tif"), (format!("{more}/t_#.tif"), "labels/t_00000.tif")];
    let steps: Vec<(&str, &str)> = steps.iter().map(|(run, makes)| (run.as_str(), *makes)).collect();
    describe(&folder, "e0", "", &steps);
    let first = round(&folder, "e0");
    expect(&first, 0, &["round e0"], "e0");
    assert_eq!(read(&folder, "e0"), [["../../l/a.mhd", "../../l/a.origin.mhd"]; 2]);
    let again = round(&folder, "e0");
    expect(&again, 0, &[], "the folder and the log grew after the second step began");
    assert_eq!(stdout(&again), stdout(&first));
    // Its own file by another way.
    let split = "seg split ../g0/p.json --by cell --validation c2 -o s.json";
    describe(&folder, "g0", "", &[(PATCHES, "p.json"), (split, "s.json")]);
    expect(&round(&folder, "g0"), 0, &[], "g0");
    assert!(read(&folder, "g0")[1].is_empty());
    expect(&run(&folder.0, "seg replay rounds/g0 --verify"), 0, &["s.json same"], "replay");
}

#[test]
fn patterns_and_names_with_signs_are_inputs() {
    let folder = folder("seg-patterns");
    expect(&run(&folder.0, "labels export l/a.mhd cuts/s_#.tif --map fiji"), 0, &[], "cuts");
    std::fs::create_dir(folder.0.join("l=1,2")).unwrap();
    for file in std::fs::read_dir(folder.0.join("l")).unwrap().flatten() {
        std::fs::copy(file.path(), folder.0.join("l=1,2").join(file.file_name())).unwrap();
    }
    let (import, stats) =
        ("labels import ../../cuts/s_*.tif --map fiji -o b", "labels stats ../../l=1,2/a.mhd -o m.json");
    describe(&folder, "i0", "", &[(import, "b.mhd"), (stats, "m.json")]);
    expect(&round(&folder, "i0"), 0, &[], "i0");
    let inputs = read(&folder, "i0");
    assert_eq!(inputs[0], ["../../cuts/s_*.tif"]);
    assert_eq!(inputs[1], ["../../l=1,2/a.mhd", "../../l=1,2/a.origin.mhd"]);
    std::fs::copy(folder.0.join("cuts/s_00001.tif"), folder.0.join("cuts/s_00000.tif")).unwrap();
    expect(&round(&folder, "i0"), 65, &["s_*.tif", "has changed since the round read it"], "an image");
}

#[test]
fn files_of_parents_are_named_so_that_a_replay_finds_its_own() {
    let folder = folder("seg-parents");
    // The second step replaces what the first made.
    let (coarse, split) =
        (PATCHES.replace("--step 4", "--step 8"), "seg split p.json --by cell --validation c2 -o s.json");
    describe(&folder, "k0", "", &[(coarse.as_str(), "p.json"), (PATCHES, "./p.json"), (split, "s.json")]);
    expect(&round(&folder, "k0"), 0, &[], "k0");
    expect(&round(&folder, "k0"), 0, &[], "k0 once more");
    let child = |name: &str, parents: &str, path: &str| {
        let split = format!("seg split {path} --by cell --validation c1 -o t.json");
        describe(&folder, name, parents, &[(split.as_str(), "t.json")]);
        round(&folder, name)
    };
    let whole = folder.0.join("rounds/k0/p.json").display().to_string();
    for (name, parents, path) in
        [("a1", "k0", "../../rounds/k0/p.json"), ("a2", "k0", whole.as_str()), ("a3", "", "../k0/p.json")]
    {
        expect(&child(name, parents, path), 65, &["write ../k0/p.json, and name 'k0' among the parents"], name);
    }
    expect(&child("k1", "k0", "../k0/p.json"), 0, &[], "k1");
    expect(&run(&folder.0, "seg replay rounds/k1 --verify"), 0, &["t.json same", "2 rounds made again"], "replay");

    // What nobody reads may go.
    std::fs::remove_file(folder.0.join("rounds/k0/s.json")).unwrap();
    expect(&child("k2", "k0", "../k0/p.json"), 0, &["s.json is no longer there; no step of 'k2' reads it"], "k2");
    std::fs::remove_file(folder.0.join("rounds/k0/p.json")).unwrap();
    expect(&child("k3", "k0", "../k0/p.json"), 66, &["p.json", "a step of the round 'k3' reads it"], "k3");
}
