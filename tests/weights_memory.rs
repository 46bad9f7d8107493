//! What a file of weights can cost at the worst: its own length and 64 MiB, whatever it says. Each is read in a process
//! of its own, whose peak tells.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::{Duration, Instant};
use tomolith::nn::weights;
use tomolith::testing::Scratch;

/// What reading may take beyond the file, KiB.
const SLACK: u64 = 64 << 10;

/// Names the file to the process that reads it.
const FILE: &str = "TOMOLITH_TEST_WEIGHTS";
/// Before the peak that it tells, KiB.
const PEAK: &str = "peak of reading: ";

/// A figure of this process, KiB.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A zip archive, checksums switched off.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in members {
        let length = (data.len() as u32).to_le_bytes();
        let fields = [&[0; 4][..], &length, &length, &[name.len() as u8, 0, 0, 0]].concat();
        let place = (file.len() as u32).to_le_bytes();
        directory.extend([b"PK\x01\x02", &[0; 12][..], &fields, &[0; 10], &place, name.as_bytes()].concat());
        file.extend([b"PK\x03\x04", &[0; 10][..], &fields, name.as_bytes(), data].concat());
    }
    let [size, place] = [directory.len(), file.len()].map(|n| (n as u32).to_le_bytes());
    let count = (members.len() as u16).to_le_bytes();
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &size, &place, &[0; 2]].concat()
}

fn safetensors(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

/// A tensor of bytes in storage 0.
fn tensor(elements: usize, size: [usize; 2], stride: [usize; 2]) -> Vec<u8> {
    let int = |n: usize| [&b"J"[..], &(n as u32).to_le_bytes()].concat();
    let two = |[a, b]: [usize; 2]| [int(a), int(b), b"\x86".to_vec()].concat();
    let storage = b"((U\x07storagectorch\nByteStorage\nU\x010U\x03cpu";
    let place = [int(elements), b"tQ".to_vec(), int(0), two(size), two(stride)].concat();
    [&b"ctorch._utils\n_rebuild_tensor_v2\n"[..], storage, &place, b"\x89)tR"].concat()
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    [&[b'U', name.len() as u8][..], name.as_bytes(), value].concat()
}

/// A checkpoint whose state dict has these items, with values beside it.
fn checkpoint(beside: &[u8], items: &[u8], storage: usize, names: &[String]) -> Vec<u8> {
    let pickle = [b"\x80\x02", beside, b"}(", items, b"u."].concat();
    let storage = vec![7; storage];
    let mut members = vec![("r/data.pkl", &pickle[..]), ("r/data/0", &storage)];
    members.extend(names.iter().map(|name| (name.as_str(), &[][..])));
    archive(&members)
}

#[test]
fn the_worst_files_cost_their_length_and_64_mib() {
    const MIB: usize = 1 << 20;
    let numbered = |n: usize, entry: &str| (0..n).map(|i| format!("\"{i}\":{entry}")).collect::<Vec<_>>().join(",");
    let names: Vec<String> = (0..18_000).map(|i| i.to_string()).collect();
    let many: Vec<u8> = (0..21_000).flat_map(|i| named(&i.to_string(), b"h\0")).collect();
    let one = named("a", &tensor(64, [8, 8], [8, 1]));
    let wide = named("a", &tensor(64, [12 * MIB, 1], [0, 0]));
    let turned = named("b", &tensor(16 * MIB, [4096, 4096], [1, 4096]));
    let turned_wide = [turned.clone(), named("c", &tensor(16 * MIB, [2, 6 * MIB], [MIB, 2]))].concat();
    let blob = [&b"B"[..], &(6 * MIB as u32).to_le_bytes(), &vec![1; 6 * MIB], b"0"].concat();
    let memo: Vec<u8> = (0..230_000u32).flat_map(|i| [&b"r"[..], &i.to_le_bytes()].concat()).collect();
    let growing = [&b"]q\0"[..], &[b"(", &b"N".repeat(200_000)[..], b"e"].concat().repeat(8), b"0"].concat();
    let lists = [&b"("[..], &b"(Nl".repeat(78_000), b"1"].concat();
    let full = [blob.clone(), lists.clone()].concat();
    let cases = [
        ("lists in a header", safetensors(&format!("{{\"a\":[{}0]}}", "[0],".repeat(MIB / 4 - 10)))),
        ("members of a header", safetensors(&format!("{{\"a\":{{{}}}}}", numbered(MIB / 13, "[0]")))),
        (
            "tensors of a header",
            safetensors(&format!(
                "{{{}}}",
                numbered(17_000, "{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}")
            )),
        ),
        ("names in a directory", checkpoint(b"", &one, 64, &names)),
        ("a memo", checkpoint(&[b"N", &memo[..], b"0"].concat(), &one, 64, &[])),
        ("a growing list", checkpoint(&growing, &one, 64, &[])),
        ("many lists", checkpoint(&lists, &one, 64, &[])),
        ("many tensors", checkpoint(&[tensor(64, [1, 1], [1, 1]), b"q\x000".to_vec()].concat(), &many, 64, &[])),
        ("a tensor of one element many times", checkpoint(b"", &wide, 64, &[])),
        ("a turned tensor", checkpoint(b"", &turned, 16 * MIB, &[])),
        ("everything at once", checkpoint(&full, &turned_wide, 16 * MIB, &names)),
    ];
    let folder = Scratch::new("weights-memory");
    for (name, bytes) in &cases {
        let path = folder.join("w");
        std::fs::write(&path, bytes).unwrap();
        let start = Instant::now();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "reads_one_file", "--ignored", "--nocapture"])
            .env(FILE, &path)
            .output()
            .unwrap();
        let (time, text) = (start.elapsed(), String::from_utf8(child.stdout).unwrap());
        let line = text.lines().find_map(|l| l.split_once(PEAK)).unwrap_or_else(|| panic!("{name}: {text}")).1;
        let (peak, told) = line.split_once(' ').unwrap();
        let length = bytes.len() as u64 >> 10;
        println!("{name}: file {length} KiB, peak {peak} KiB, {time:?}: {told}");
        assert!(peak.parse::<u64>().unwrap() <= length + SLACK, "{name}: {peak} KiB for a file of {length} KiB");
        assert!(time < Duration::from_secs(5), "{name}: {time:?}");
    }
}

#[test]
#[ignore = "the other side of the test above, which starts it"]
fn reads_one_file() {
    let path = std::env::var_os(FILE).expect("the name of a file");
    let before = status("VmRSS:");
    let result = weights::read(path.as_ref());
    let peak = status("VmHWM:") - before;
    let told = match &result {
        Ok(dict) => format!("{} tensors", dict.tensors.len()),
        Err(e) => e.what().chars().take(60).collect(),
    };
    println!("{PEAK}{peak} {told}");
}
