//! The whole way of a sample that moves between its scans: they are registered, and what is told of them is told on one
//! grid; after kills and on a full disk the same.

use crate::common::series::{full_disk, seal};
use crate::common::{Scratch, expect, json, npy, run, stderr, tomolith};
use std::f64::consts::PI;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;
use tomolith::json::Json;
use tomolith::num::philox::Stream;
use tomolith::register::Rigid;

/// Pixels of a row, and rows, of the scans here; angles.
const N: usize = 80;
const ROWS: usize = 40;
const VIEWS: usize = 120;
/// Columns that the axis lies before the middle.
const OFF: f64 = 1.4;
/// Grains of a sample of [`N`] pixels and [`ROWS`] rows, and the radius of the cylinder that they lie in, in pixels of a row.
const GRAINS: usize = 160;
const RADIUS: f64 = 0.35;

/// Motions of the scans: rotation vector, shift in voxels, about the middle of the sample.
const MOTIONS: [([f64; 3], [f64; 3]); 3] =
    [([0.0; 3], [0.0; 3]), ([0.0, 0.0, 0.02], [1.4, -0.8, 0.6]), ([0.01, -0.015, 0.0], [-1.2, 1.7, -0.9])];

fn motion(scan: usize, rows: usize) -> Rigid {
    let (turn, shift) = MOTIONS[scan];
    Rigid::new(turn, [0.0, 0.0, rows as f64 / 2.0], shift)
}

/// −ln T of grains whose density falls off as a Gaussian: so do their projections, a²√(2π)σ exp(−(s² + t²) / 2σ²).
fn projections(scan: usize, [n, rows]: [usize; 2]) -> Vec<f32> {
    let s = Stream::new(9, 0);
    let motion = motion(scan, rows);
    let count = GRAINS * n * n * rows / (N * N * ROWS);
    let grains: Vec<([f64; 3], f64, f64)> = (0..count as u64)
        .map(|g| {
            let u = |i: u64| s.uniform_f64(8 * g + i);
            let (r, angle) = (RADIUS * n as f64 * u(0).sqrt(), 2.0 * PI * u(1));
            let p = [r * angle.cos(), r * angle.sin(), -4.0 + (rows as f64 + 8.0) * u(2)];
            (motion.apply(&p), 1.8 + 1.6 * u(3), 0.01 + 0.03 * u(4))
        })
        .collect();
    let mut out = vec![0f32; VIEWS * rows * n];
    for (k, view) in out.chunks_exact_mut(rows * n).enumerate() {
        let (sin, cos) = (PI * k as f64 / VIEWS as f64).sin_cos();
        for ([x, y, z], sigma, density) in &grains {
            let (at, reach) = (n as f64 / 2.0 - OFF + x * cos + y * sin, 5.0 * sigma);
            let range = |c: f64, n: usize| (c - reach).max(0.0) as usize..((c + reach + 1.0).max(0.0) as usize).min(n);
            for row in range(*z, rows) {
                for column in range(at, n) {
                    let d2 = (column as f64 - at).powi(2) + (row as f64 - z).powi(2);
                    let value = density * (2.0 * PI).sqrt() * sigma * (-d2 / (2.0 * sigma * sigma)).exp();
                    view[row * n + column] += value as f32;
                }
            }
        }
    }
    out
}

/// Three scans of so many pixels of a row and rows, a network that has learnt nothing, a configuration.
pub fn sample(folder: &Scratch, [n, rows]: [usize; 2]) {
    let there = &folder.0;
    let theta: String = (0..VIEWS).fold(String::new(), |mut text, k| {
        let _ = writeln!(text, "{}", 180.0 * k as f64 / VIEWS as f64);
        text
    });
    for scan in 0..MOTIONS.len() {
        std::fs::create_dir_all(there.join(format!("scans/t_{scan}"))).unwrap();
        folder.write(&format!("scans/t_{scan}/p.npy"), npy(&[VIEWS, rows, n], &projections(scan, [n, rows])));
        folder.write(&format!("scans/t_{scan}/theta.txt"), &theta);
        folder.write(
            &format!("scans/t_{scan}/scan.toml"),
            "[recon]\nscan = \"p.npy\"\ninput = \"absorption\"\ntheta = \"theta.txt\"\ntheta-unit = \"deg\"\npixel = \"2um\"\n",
        );
    }
    folder.write(
        "table.toml",
        "[[class]]\nid = 0\nname = \"air\"\n[[class]]\nid = 1\nname = \"grain\"\n[[class]]\nid = 2\nname = \"core\"\n",
    );
    expect(&run(there, "net init -o w.safetensors --channels 4,8 --classes 3"), 0, &[], "net");
    expect(&run(there, "init scans --weights w.safetensors -o cell.toml"), 0, &["3 scans"], "init");
    let text = std::fs::read_to_string(there.join("cell.toml")).unwrap();
    let text = text
        .replace(
            "w.safetensors\"",
            "w.safetensors\"\ngrey = \"0,300\"\nroi = \"64\"\nbatch = \"2\"\nclasses = \"table.toml\"",
        )
        .replace("[recon]\n", &format!("[recon]\ncenter = {}\n", n as f64 / 2.0 - OFF))
        .replace("[register]\n", "[register]\ncapture = \"6\"\n")
        .replace("[analyze]\n", "[analyze]\nclasses = \"table.toml\"\nmaps = \"none\"\n");
    folder.write("cell.toml", text);
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_arr().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn scans_of_a_sample_that_moves_are_told_on_one_grid() {
    let folder = Scratch::new("pipeline-moved");
    let there = &folder.0;
    sample(&folder, [N, ROWS]);
    let whole = seal(there, "run cell.toml -o out");
    // The last scan is the fixed one. A slice has its axis at column N/2 and row N/2 - 1, and its rows go against y.
    let to_sample = |p: [f64; 3]| [p[0] - (N / 2) as f64, (N / 2 - 1) as f64 - p[1], p[2]];
    let to_slices = |p: [f64; 3]| [p[0] + (N / 2) as f64, (N / 2 - 1) as f64 - p[1], p[2]];
    let fixed = MOTIONS.len() - 1;
    for scan in 0..fixed {
        let found = json(&there.join(format!("out/registered/s{scan:02}.transform.json")));
        let body = &found.need_arr("bodies").unwrap()[0];
        let matrix: Vec<Vec<f64>> = body.need_arr("matrix").unwrap().iter().map(numbers).collect();
        for p in [[25.0, 30.0, 12.0], [55.0, 45.0, 28.0], [40.0, 20.0, 20.0]] {
            let planted = to_slices(motion(scan, ROWS).apply(&motion(fixed, ROWS).inverse().apply(&to_sample(p))));
            for (k, row) in matrix.iter().take(3).enumerate() {
                let got = row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + row[3];
                assert!((got - planted[k]).abs() < 0.1, "scan {scan}, {p:?} along {k}: {got} for {}", planted[k]);
            }
        }
    }
    // What moved is among the numbers and on the page, and the volumes of the page are those on the one grid.
    let page = std::fs::read_to_string(there.join("out/report.html")).unwrap();
    assert!(
        ["registration", "checkerboards"].iter().all(|id| page.contains(&format!("<section id=\"{id}\">")))
            && !page.contains("are said to stand still")
    );
    let series = std::fs::read_to_string(there.join("out/series.toml")).unwrap();
    assert!(
        series.contains("transform = \"registered/s00.transform.json\"") && series.contains("sigma = 0.0"),
        "{series}"
    );

    // Killed again and again, each time a little later, it ends as the whole one.
    let mut kills = 0;
    for wait in (1..).map(|k| Duration::from_millis(60 * k)) {
        let mut child = tomolith(there)
            .args(["run", "cell.toml", "-o", "killed", "-q"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(wait);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "after {kills} kills it ends with {status}");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(kills < 100, "it never ends");
    }
    assert!(kills >= 2, "{kills} kills");
    assert_eq!(seal(there, "run cell.toml -o killed -q"), whole);
    // One scan by itself is done again as it was, and so is the motion of both.
    let again = run(there, "run cell.toml -o out --again 99");
    expect(&again, 0, &["again register: ", "again numbers", "identical"], "again");
    assert!(!stderr(&again).contains("differ"), "{}", stderr(&again));
    full_disk(there, &[("registered", "error: register", 40)]);
}
