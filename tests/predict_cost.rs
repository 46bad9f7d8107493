//! What `seg predict` says of itself before and while it runs: the memory that it will hold, and how long it will take.
#![cfg(target_os = "linux")]

mod common;
use common::{Scratch, expect, run, stdout, tomolith};
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;
use tomolith::json::Json;

/// Weights of a narrow network, two classes, and a volume of zeros that takes no room on the disk.
fn folder(name: &str, [nx, ny, nz]: [usize; 3]) -> Scratch {
    let folder = Scratch::new(name);
    let raw = File::create(folder.0.join("grey.raw")).unwrap();
    raw.set_len((4 * nx * ny * nz) as u64).unwrap();
    let header = format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n\
         DimSize = {nx} {ny} {nz}\nElementType = MET_FLOAT\nElementDataFile = grey.raw\n"
    );
    folder.write("grey.mhd", header);
    folder.write("two.toml", "[[class]]\nid = 0\nname = \"dark\"\n[[class]]\nid = 1\nname = \"bright\"\n");
    expect(&run(&folder.0, "net init --channels 4,8 --classes 2 -o w.safetensors"), 0, &[], "weights");
    folder
}

const PREDICT: &str = "seg predict --weights w.safetensors --input grey.mhd --grey 0,1 --classes two.toml --io pread";

/// Runs a prediction; the most that it held, bytes.
fn peak(folder: &Scratch, words: &str) -> u64 {
    let mut child = tomolith(&folder.0).args(words.split_whitespace()).stdout(Stdio::null()).spawn().unwrap();
    let path = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("VmHWM:"));
        let kib = line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse::<u64>().ok());
        most = most.max(1024 * kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success(), "{words}");
    most
}

/// What `--plan` says, bytes.
fn planned(folder: &Scratch, words: &str) -> u64 {
    let said = run(&folder.0, &format!("{words} --plan"));
    expect(&said, 0, &["bytes at most"], words);
    let text = stdout(&said);
    text.lines().last().unwrap().split_whitespace().nth(2).unwrap().parse().unwrap()
}

#[test]
fn a_volume_that_does_not_fit_into_the_plan_is_predicted_within_it() {
    // Half a GiB: more than is planned. And one that is turned, for which less would do.
    for (dims, how, larger) in [
        ([1024, 1024, 128], "--roi 512 --overlap 0 -o out/xy", true),
        ([512, 512, 96], "--roi 64 --overlap 0 --plane xz --entropy -o out/xz", false),
    ] {
        let folder = folder("cost-peak", dims);
        let volume = 4 * dims.iter().product::<usize>() as u64;
        let words = format!("{PREDICT} {how}");
        let plan = planned(&folder, &words);
        assert!(!folder.0.join("out").exists(), "{how}: a plan writes nothing");
        let held = peak(&folder, &words);
        println!("{how}: volume {} MiB, planned {} MiB, held {} MiB", volume >> 20, plan >> 20, held >> 20);
        assert!(!larger || plan < volume, "{how}: a plan of {plan} bytes holds the volume of {volume}");
        assert!(held <= plan, "{how}: {held} bytes held, {plan} planned");
        assert!(3 * held >= plan, "{how}: {held} bytes held, {plan} planned");
        // More is planned where more is held.
        assert!(planned(&folder, &format!("{words} --passes 4 --mutual")) > plan);
    }
}

/// At a fifth of the work: the time that it says, and the time that it took from there.
fn estimate(folder: &Scratch, words: &str, log: &str) -> [f64; 2] {
    expect(&run(&folder.0, &format!("{words} --log-json {log}")), 0, &[], words);
    let text = std::fs::read_to_string(folder.0.join(log)).unwrap();
    let lines: Vec<Json> = text.lines().map(|l| Json::parse(l).unwrap()).collect();
    let lines: Vec<&Json> = lines.iter().filter(|l| l.need_str("event").is_ok_and(|e| e == "progress")).collect();
    let of = |line: &Json, name: &str| line.get(name).and_then(Json::as_f64);
    let part = |line: &Json| of(line, "done").unwrap() / of(line, "total").unwrap();
    assert!(lines.windows(2).all(|w| part(w[0]) <= part(w[1])), "one progress: {text}");
    let at = lines.iter().find(|l| part(l) >= 0.2 && of(l, "eta").is_some());
    let at = at.unwrap_or_else(|| panic!("too quick to say anything: {text}"));
    assert!(part(at) < 0.6, "{text}");
    [of(at, "eta").unwrap(), of(lines.last().unwrap(), "t").unwrap() - of(at, "t").unwrap()]
}

#[test]
fn the_time_that_is_left_is_that_of_all_planes() {
    // Some seconds each: nothing is said in the first.
    for (slices, how) in [(144, "--plane xy,xz,zy"), (288, "--plane xz --entropy --margin")] {
        let folder = folder("cost-time", [256, 256, slices]);
        // Other work on the machine may come or go while it runs; three times it hardly does.
        let mut tries = Vec::new();
        let honest = (0..3).any(|k| {
            let words = format!("{PREDICT} --roi 64 --overlap 0 {how} -o out{k} --overwrite");
            let [said, took] = estimate(&folder, &words, &format!("log{k}"));
            println!("{how}: said {said:.2} s, took {took:.2} s");
            tries.push([said, took]);
            said <= 2.0 * took && took <= 2.0 * said
        });
        assert!(honest, "{how}: said and took {tries:?}");
    }
}
