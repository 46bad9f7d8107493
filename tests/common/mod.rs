//! What the tests of the program share.
#![allow(dead_code)]

pub mod numbers;
pub mod series;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use tomolith::json::Json;

/// A folder of this test alone, removed at its end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tomolith-cli-{name}-{}-{made}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, without the environment of whoever runs the tests.
pub fn tomolith(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomolith"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("TOMOLITH_")) {
        command.env_remove(name);
    }
    command
}

pub fn run(folder: &Path, words: &str) -> Output {
    tomolith(folder).args(words.split_whitespace()).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What every failure owes: its code, no panic, nothing on stdout that could be taken for data, one error.
#[track_caller]
pub fn expect(output: &Output, code: i32, says: &[&str], case: &str) {
    let (out, err) = (stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "{case}: stdout {out:?} stderr {err:?}");
    assert!(!err.contains("panicked") && !err.contains("internal error"), "{case}: {err}");
    if code != 0 {
        assert_eq!(err.lines().filter(|l| l.starts_with("error: ")).count(), 1, "{case}: {err}");
    }
    let both = format!("{out}{err}");
    for text in says {
        assert!(both.contains(text), "{case}: no {text:?} in {both:?}");
    }
}

/// A JSON file.
#[track_caller]
pub fn json(path: &Path) -> Json {
    Json::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Where the axis of step `k` of a synthetic cell is, detector columns: scans of `tiny` are too small to find it.
#[track_caller]
pub fn axis_of(cell: &Path, k: usize) -> f64 {
    let truth = json(&cell.join("truth/truth.json"));
    let steps = truth.need_arr("steps").unwrap();
    let step = steps.iter().find(|s| s.need("step").unwrap().need_u64("step").is_ok_and(|n| n == k as u64)).unwrap();
    step.need_arr("fields").unwrap()[0].need_f64("axis_pixel").unwrap()
}

/// A `.npy` file of f32.
pub fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    npy_of("<f4", shape, &bytes)
}

/// A `.npy` file of any type.
pub fn npy_of(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    // As NumPy writes it: a tuple of one has a comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", extents.join(", "));
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.bytes());
    file.extend(data);
    file
}

/// A folder with grey values and labels of 12 × 20 × 16, a table of two classes and a network: class 1 where it is bright,
/// every voxel labelled.
pub fn labelled(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    let grey: Vec<f32> = (0..12 * 20 * 16).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let labels: Vec<f32> = grey.iter().map(|&v| if v > 0.5 { 1.0 } else { 0.0 }).collect();
    folder.write("grey.npy", npy(&[12, 20, 16], &grey));
    folder.write("labels.npy", npy(&[12, 20, 16], &labels));
    folder.write("two.toml", "[[class]]\nid = 0\nname = \"dark\"\n[[class]]\nid = 1\nname = \"bright\"\n");
    let at = |words: &str| run(&folder.0, words);
    expect(&at("labels import labels.npy --map from-0 --classes two.toml --like grey.npy -o l/a"), 0, &[], "labels");
    expect(&at("net init --channels 4,8 --classes 2 --seed 3 -o w.safetensors"), 0, &[], "weights");
    folder
}

/// Two images of 16 × 16 and their labels of three classes, a ninth without one.
pub fn images(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    let x: Vec<f32> = (0..2 * 16 * 16).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let y: Vec<u8> =
        x.iter().enumerate().flat_map(|(i, v)| if i % 9 == 0 { -1 } else { (3.0 * v) as i16 }.to_le_bytes()).collect();
    folder.write("x.npy", npy(&[2, 1, 16, 16], &x));
    folder.write("y.npy", npy_of("<i2", &[2, 16, 16], &y));
    folder
}
