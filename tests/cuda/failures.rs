//! Every call of the driver, failing: never a panic, never another number; it is said what failed, and what is computed after
//! it, in the same process, is right.

use super::emulated::run;
use super::flow::volume;
use super::{mock, patches, steps};
use std::collections::BTreeMap;
use std::path::Path;
use tomolith::error::Result;
use tomolith::kernels::cuda::Cuda;
use tomolith::kernels::cuda::driver::Device;
use tomolith::kernels::cuda::fast::Fast;
use tomolith::kernels::{Cpu, Kernels};
use tomolith::nn::config::Config;
use tomolith::nn::network::Network;
use tomolith::num::lanes::Isa;
use tomolith::provenance::Digest;
use tomolith::segment::predict::{Map, Net};

/// What is computed, each several times in a process; and the environment that it needs.
const FLOWS: [(&str, &[(&str, &str)]); 4] = [
    ("breaks_in_memory", &[("EMULATION_MEMORY", "12000000")]),
    ("breaks_in_a_volume", &[]),
    ("breaks_in_steps", &[]),
    ("breaks_in_recorded_steps", &[]),
];
/// What fails in each of them; other entry points fail in the first that calls them.
const EVERYWHERE: [&str; 6] = [
    "cuCtxSetCurrent",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuStreamSynchronize",
];
/// How often.
const TIMES: usize = 2;

/// Entry points, and what is said when they fail.
const SAYS: [(&str, &str); 32] = [
    ("cuInit", "starting the driver"),
    ("cuDriverGetVersion", "asking for its version"),
    ("cuDeviceGetCount", "counting devices"),
    ("cuDeviceGet", "asking for a device"),
    ("cuDeviceGetName", "asking for a device's name"),
    ("cuDeviceGetAttribute", "asking for a device's capability"),
    ("cuDeviceTotalMem_v2", "asking for a device's memory"),
    ("cuDevicePrimaryCtxRetain", "opening the device"),
    ("cuCtxSetCurrent", "choosing the device"),
    ("cuMemGetInfo_v2", "asking for free memory"),
    ("cuStreamCreate", "making a stream"),
    ("cuStreamSynchronize", "computing"),
    ("cuStreamWaitEvent", "letting a stream wait"),
    ("cuMemAlloc_v2", "asking for"),
    ("cuMemFree_v2", "giving memory back"),
    ("cuMemHostAlloc", "bytes of this machine"),
    ("cuMemcpyHtoDAsync_v2", "copying to the device"),
    ("cuMemcpyDtoHAsync_v2", "copying from the device"),
    ("cuModuleLoadData", "loading the kernels of"),
    ("cuModuleGetFunction", "looking for the kernel"),
    ("cuLaunchKernel", "starting the kernel"),
    ("cuEventCreate", "making an event"),
    ("cuEventRecord", "marking a stream"),
    ("cuEventSynchronize", "computing"),
    ("cuEventElapsedTime", "timing"),
    // The driver says it by a name, or there is a number.
    ("cuGetErrorName", "starting the kernel"),
    // What cannot be recorded is started kernel by kernel: a note, and the same numbers.
    ("cuStreamBeginCapture_v2", "recording"),
    ("cuStreamEndCapture", "ending a recording"),
    ("cuGraphInstantiateWithFlags", "preparing a recording"),
    ("cuGraphLaunch", "starting a recording"),
    // Giving back what is of no more use.
    ("cuGraphExecDestroy", ""),
    ("cuGraphDestroy", ""),
];

/// Codes that calls fail with, in turn, and what is said of them: the last two are newer than the program.
const CODES: [(u32, &str); 6] = [
    (999, ": unknown"),
    (1, ": invalid value"),
    (700, ": illegal address"),
    (719, ": launch failed"),
    (915, ": error 915"),
    (1234, ": error 1234"),
];

/// Whether the failure that is planned has happened.
fn happened() -> bool {
    let log = std::env::var_os("EMULATION_FAILED");
    log.and_then(|log| std::fs::read_to_string(log).ok()).is_some_and(|log| !log.is_empty())
}

/// Computes several times with a device of its own each; says what comes of it, and whether a failure was passed over.
fn several(work: impl Fn(Cuda) -> Result<(Vec<u32>, Device)>) {
    for _ in 0..TIMES {
        let before = happened();
        match Cuda::open(0, Isa::detect()).and_then(&work) {
            Ok((bits, device)) => {
                let over = if happened() && !before { "PASSED OVER" } else { "" };
                println!("FINE {} {over} {:?}", digest(&bits), device.notes());
            }
            Err(e) => println!("FAILED {} {}", e.fault().exit_code(), e.to_string().replace('\n', " ")),
        }
    }
}

fn digest(bits: &[u32]) -> String {
    let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
    Digest::of(&bytes).hex()
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn breaks_in_steps() {
    several(|cuda| {
        let device = cuda.device().clone();
        let (bits, _) = device.time(|| patches::trained(&cuda, 2, || 0))?.0?;
        Ok((bits, device))
    });
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn breaks_in_recorded_steps() {
    several(|cuda| {
        let device = cuda.device().clone();
        Ok((steps::recorded(&Fast::new(cuda), 4)?, device))
    });
}

/// A small network's classes of a volume.
fn classes(kernels: impl Kernels) -> Result<Vec<u32>> {
    let network = Network::new(Config::monai(&[8, 12], 3), 1);
    let found = volume(&mut Net::new(&network, kernels, None), 2, &[Map::Class, Map::Confidence])?;
    Ok(found.concat().into_iter().map(f32::to_bits).collect())
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn breaks_in_a_volume() {
    several(|cuda| {
        let device = cuda.device().clone();
        let bits = classes(cuda)?;
        device.check()?;
        Ok((bits, device))
    });
}

/// Numbers of which not all have room at a time: what nobody uses is given back to the driver, and so is all that a device
/// has when it is given up.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn breaks_in_memory() {
    several(|cuda| {
        let (device, mut bits) = (cuda.device().clone(), Vec::new());
        for count in [1_000_000, 1_100_000, 1_200_000] {
            let numbers: Vec<u32> = (0..count).collect();
            bits.extend(device.upload(&numbers).read());
        }
        device.check()?;
        Ok((bits, device))
    });
}

/// What a flow says on the mock driver, of each time.
fn flow(name: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let done = run(name, &mock::driver(false), environment);
    let (said, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{name} {environment:?}: {:?} {said} {error}", done.status);
    let told = |line: &str| line.find("FINE ").or(line.find("FAILED ")).map(|at| line[at..].to_string());
    let said: Vec<String> = said.lines().filter_map(told).collect();
    assert_eq!(said.len(), TIMES, "{name} {environment:?}: {said:?} {error}");
    said
}

/// A new file for what the mock driver writes down.
fn log(name: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("failures-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path.to_str().unwrap().to_string()
}

fn take(log: &str) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let _ = std::fs::remove_file(log);
    text
}

/// What a flow gives when nothing fails, and how often it calls each entry point.
fn unbroken(name: &str, environment: &[(&str, &str)]) -> (String, BTreeMap<String, u64>) {
    let calls = log(&format!("{name}-calls"));
    let mut said = flow(name, &[environment, &[("EMULATION_CALLS", &calls)]].concat());
    said.dedup();
    assert!(said.len() == 1 && said[0].starts_with("FINE ") && said[0].ends_with("  []"), "{name}: {said:?}");
    let counts = take(&calls);
    let count = |line: &str| line.split_once(' ').map(|(entry, n)| (entry.to_string(), n.parse().unwrap()));
    let counts: BTreeMap<String, u64> = counts.lines().filter_map(count).collect();
    assert!(counts.len() > 10, "{name}: {counts:?}");
    (said.remove(0), counts)
}

/// One call of a flow fails: what is wrong with what comes of it.
fn breaks(
    (name, environment): (&str, &[(&str, &str)]),
    fine: &str,
    entry: &str,
    call: u64,
    which: usize,
) -> Option<String> {
    let (failed, (code, of_code)) = (log(&format!("{name}-{entry}-{call}")), CODES[which % CODES.len()]);
    let (plan, of_code) = match entry {
        // It is called when another call fails.
        "cuGetErrorName" => (format!("{entry}:1:{code},cuLaunchKernel:{call}:719"), ": error 719"),
        _ => (format!("{entry}:{call}:{code}"), of_code),
    };
    let said = flow(name, &[environment, &[("EMULATION_FAIL", &plan), ("EMULATION_FAILED", &failed)]].concat());
    let first = if entry == "cuGetErrorName" { 1 } else { call };
    let reached = take(&failed).lines().any(|line| line == format!("{entry} {first}"));
    let words = SAYS.iter().find(|(of, _)| *of == entry).unwrap_or_else(|| panic!("what is said of {entry}?")).1;
    // The same numbers every time but for one, which fails; where what was computed was told already, every time.
    let others: Vec<&String> = said.iter().filter(|line| *line != fine).collect();
    let right = match others[..] {
        [] => call > 1 || words.is_empty(),
        // What fails in a recording spoils no more than that, which is noted.
        [other] if name == "breaks_in_recorded_steps" && other.starts_with("FINE ") => {
            let same = other.starts_with(fine.trim_end_matches(" []").trim_end());
            same && (words.is_empty() || other.contains("GPU: ") && other.contains(words) && other.contains(of_code))
        }
        [other] => other.starts_with("FAILED 69 GPU: ") && [words, of_code, "help: "].iter().all(|w| other.contains(w)),
        _ => false,
    };
    (!reached || !right).then(|| format!("{name} {plan}: reached {reached}, {said:?}"))
}

/// Every entry point of the mock driver fails at its first call, in the middle, and at its last; what is called once, also
/// when all begins anew.
#[test]
fn every_call_that_fails_is_told_and_what_comes_after_is_right() {
    let (entries, mut called) = (mock::entry_points(), BTreeMap::<&str, usize>::new());
    let cpu = Cpu { isa: Isa::detect() };
    let of_cpu = [digest(&classes(cpu).unwrap()), digest(&patches::trained(&cpu, 2, || 0).unwrap().0)];
    for (number, of) in FLOWS.into_iter().enumerate() {
        let (fine, counts) = unbroken(of.0, of.1);
        assert!(![1, 2].contains(&number) || fine.contains(&of_cpu[number - 1]), "{}: not the CPU's numbers", of.0);
        let mut jobs = Vec::new();
        for entry in &entries {
            let all = counts.get(entry).copied().unwrap_or(0);
            let once = all / TIMES as u64;
            let mut calls: Vec<u64> = match entry.as_str() {
                "cuGetErrorName" => (1..=u64::from(counts.contains_key("cuLaunchKernel")) * 2).collect(),
                _ => [1, once.div_ceil(2), once].into_iter().filter(|n| (1..=all).contains(n)).collect(),
            };
            calls.dedup();
            if once == 1 {
                calls.push(2);
            }
            if called.get(&entry[..]).is_some_and(|&n| n > 1) && !EVERYWHERE.contains(&&entry[..]) {
                continue;
            }
            *called.entry(entry).or_default() += calls.len();
            jobs.extend(calls.into_iter().map(|call| (&entry[..], call)));
        }
        // Side by side.
        let jobs: Vec<_> = jobs.into_iter().enumerate().collect();
        let wrong = std::thread::scope(|scope| {
            let (fine, parts) = (&fine, jobs.chunks(jobs.len().div_ceil(2)));
            let of_part = |part: &'_ [(usize, (&str, u64))]| -> Vec<String> {
                part.iter().filter_map(|&(which, (entry, call))| breaks(of, fine, entry, call, which)).collect()
            };
            let threads: Vec<_> = parts.map(|part| scope.spawn(move || of_part(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    let never: Vec<_> = entries.iter().filter(|entry| called.get(&entry[..]).is_none_or(|&n| n < 2)).collect();
    assert!(never.is_empty() && entries.len() == SAYS.len(), "never called, or once: {never:?}");
}

/// A device that is given up leaves its memory to the next, failed or not: there is room for one at a time.
#[test]
fn memory_of_a_device_that_failed_is_the_next_ones() {
    for (of, room) in FLOWS.into_iter().zip(["5000000", "200000", "800000", "700000"]) {
        let (fine, counts) = unbroken(of.0, &[]);
        assert_eq!(flow(of.0, &[("EMULATION_MEMORY", room)]), vec![fine.clone(); TIMES], "{}", of.0);
        let last = |entry: &'static str| (entry, counts[entry] / TIMES as u64);
        let [up, down] = ["cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"].map(last);
        for (entry, call) in [("cuLaunchKernel", 1), ("cuStreamSynchronize", 1), up, down] {
            if !counts.contains_key(entry) {
                continue;
            }
            let plan = format!("{entry}:{call}");
            let said = flow(of.0, &[("EMULATION_MEMORY", room), ("EMULATION_FAIL", &plan)]);
            let failed = said[0].starts_with("FAILED 69 GPU: ") && said[0].contains(": unknown ");
            assert!(failed && said[1..].iter().all(|line| *line == fine), "{plan} of {}: {said:?}", of.0);
        }
    }
}

/// Out of memory has its own words, and once is no failure where something can be given back. A device that is lost fails from
/// then on, with what it said first; the next process knows nothing of it.
#[test]
fn no_memory_and_a_lost_device_are_told() {
    let memory = FLOWS[0];
    let (fine, _) = unbroken(memory.0, memory.1);
    let broken = |plan: &str, (name, environment): (&str, &[(&str, &str)])| {
        flow(name, &[environment, &[("EMULATION_FAIL", plan)]].concat())
    };
    assert_eq!(broken("cuMemAlloc_v2:2:2", memory), vec![fine; TIMES]);
    for (plan, of) in [
        ("cuMemAlloc_v2:2:2:2", FLOWS[0]),
        ("cuMemHostAlloc:1:2", FLOWS[1]),
        ("cuStreamCreate:2:2", FLOWS[1]),
        ("cuEventCreate:3:2", FLOWS[1]),
        ("cuModuleLoadData:2:2", FLOWS[1]),
        ("cuDevicePrimaryCtxRetain:1:2", FLOWS[1]),
        ("cuMemcpyHtoDAsync_v2:3:2", FLOWS[2]),
    ] {
        let said = broken(plan, of);
        let told = said[0].starts_with("FAILED 69 ") && said[0].contains(": out of memory   help: take smaller images");
        assert!(told && said[1..].iter().all(|line| line.starts_with("FINE ")), "{plan}: {said:?}");
    }
    for of in FLOWS {
        let (fine, counts) = unbroken(of.0, of.1);
        let enough = |entry: &&str| counts.get(*entry).is_some_and(|&n| n >= TIMES as u64 + 2);
        for entry in EVERYWHERE.into_iter().filter(enough) {
            let said = broken(&format!("{entry}:2:700:*"), of);
            let lost = |line: &String| line.starts_with("FAILED 69 GPU: ") && line.contains(": illegal address ");
            // It may be lost when it is given up: what was computed before was right.
            let before = said.iter().take_while(|line| **line == fine).count();
            assert!(before < 2 && said[before..].iter().all(lost), "{entry} of {}: {said:?}", of.0);
        }
    }
}
