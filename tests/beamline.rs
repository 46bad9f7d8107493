//! Scans as beamlines give them, through the program: real TIFF scans, options that change values, memory, interruption.

mod common;
use common::{Scratch, expect, json, npy, npy_of, run, stdout, tomolith};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tomolith::json::Json;
use tomolith::num::elementary::exp;
use tomolith::num::philox::Stream;
use tomolith::phantom::discs::{Disc, Sampling, sinogram};
use tomolith::testing;

/// Counts of a scan of discs: `rows` rows, a flat of 20 000 above a dark of 100; `angles` over `turn` degrees.
fn write_scan(folder: &Scratch, [angles, rows, columns]: [usize; 3], axis: f64, turn: f64, discs: &[Disc]) {
    let theta: Vec<f64> = (0..angles).map(|i| (i as f64 * turn / angles as f64).to_radians()).collect();
    let one = sinogram(discs, &theta, columns, axis, Sampling::Pixel);
    let random = Stream::new(1, 1);
    let mut counts = Vec::with_capacity(2 * angles * rows * columns);
    for (angle, line) in one.chunks_exact(columns).enumerate() {
        for row in 0..rows {
            for (x, p) in line.iter().enumerate() {
                let noise = f64::from(random.below(((angle * rows + row) * columns + x) as u64, 61)) - 30.0;
                counts.extend(((100.0 + 20_000.0 * exp(-p) + noise) as u16).to_le_bytes());
            }
        }
    }
    folder.write("p.npy", npy_of("<u2", &[angles, rows, columns], &counts));
    folder.write("f.npy", npy(&[1, rows, columns], &vec![20_100.0; rows * columns]));
    folder.write("d.npy", npy(&[1, rows, columns], &vec![100.0; rows * columns]));
    let text: String = theta.iter().map(|t| format!("{}\n", t.to_degrees())).collect();
    folder.write("t.txt", text);
}

const SCAN: &str = "p.npy --flats f.npy --darks d.npy --theta t.txt --theta-unit deg";
const DISCS: [Disc; 2] =
    [Disc { x: 6.0, y: -4.0, radius: 12.0, mu: 0.01 }, Disc { x: -14.0, y: 9.0, radius: 6.0, mu: 0.02 }];

fn manifest(folder: &Path, name: &str) -> Json {
    json(&folder.join(format!("{name}.json")))
}

fn digest(folder: &Path, name: &str) -> String {
    manifest(folder, name).need("volume").unwrap().need_str("digest").unwrap().to_string()
}

fn slice(folder: &Path, name: &str, side: usize, z: usize) -> Vec<f32> {
    slice_of(folder, name, side * side, z)
}

fn slice_of(folder: &Path, name: &str, pixels: usize, z: usize) -> Vec<f32> {
    let bytes = std::fs::read(folder.join(format!("{name}.raw"))).unwrap();
    bytes[4 * z * pixels..4 * (z + 1) * pixels]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

/// Mean over the inner part of a disc, the axis on column n/2, row n/2 − 1.
fn mean_in(image: &[f32], side: usize, disc: &Disc, scale: f64) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (i, &v) in image.iter().enumerate() {
        let x = (i % side) as f64 - side.div_ceil(2) as f64;
        let y = (side - 1 - side.div_ceil(2)) as f64 - (i / side) as f64;
        if (x - disc.x / scale).hypot(y - disc.y / scale) < 0.6 * disc.radius / scale {
            (sum, count) = (sum + f64::from(v), count + 1.0);
        }
    }
    sum / count
}

#[test]
fn a_measured_tiff_scan_becomes_slices() {
    let Some(data) = testing::data("savu/image_test") else { return };
    let folder = Scratch::new("savu");
    let data = data.display();
    let words = format!(
        "recon {data}/tiffs --flats {data}/flat_00001.tiff --darks {data}/dark_00001.tiff --theta {data}/angles.txt \
         --theta-range 10:101 --theta-unit deg --air 8 --nonfinite zero -o out/savu --rows 80:112"
    );
    // The middle rows lie in the surface of a liquid and tell no axis: other rows do.
    expect(&run(&folder.0, &words), 0, &["other bands of rows agree on 85.5"], &words);
    // A bright rod in a liquid in air: the rod within three pixels of its place, ten times the liquid.
    let image = slice(&folder.0.join("out"), "savu", 160, 20);
    let bright: Vec<usize> = (0..image.len()).filter(|&i| image[i] > 0.06).collect();
    let mean = |of: fn(usize) -> usize| bright.iter().map(|&i| of(i) as f64).sum::<f64>() / bright.len() as f64;
    assert!((150..600).contains(&bright.len()), "{} bright pixels", bright.len());
    assert!((mean(|i| i % 160) - 70.0).abs() < 4.0 && (mean(|i| i / 160) - 68.0).abs() < 4.0);
    let files = run(&folder.0, "convert out/savu.mhd out/tiff/recon_#.tiff");
    expect(&files, 0, &[], "one file per slice");
    // Numbered by detector row.
    assert!(folder.0.join("out/tiff/recon_00080.tiff").exists() && folder.0.join("out/tiff/recon_00111.tiff").exists());
}

#[test]
fn options_before_change_what_they_should() {
    let folder = Scratch::new("before");
    write_scan(&folder, [90, 4, 64], 31.5, 180.0, &DISCS);
    let recon = |name: &str, options: &str| {
        let words = format!("recon {SCAN} -o out/{name} {options}");
        expect(&run(&folder.0, &words), 0, &[], &words);
        manifest(&folder.0.join("out"), name)
    };
    recon("plain", "--center 31.5");
    let plain = slice(&folder.0.join("out"), "plain", 64, 2);
    for disc in &DISCS {
        assert!((mean_in(&plain, 64, disc, 1.0) / disc.mu - 1.0).abs() < 0.03);
    }
    // Bins: half the size, twice the attenuation per pixel, the axis goes along.
    let m = recon("bin", "--center 31.5 --bin 2");
    assert_eq!(m.need("params").unwrap().need_f64("axis_pixel").unwrap(), 15.5);
    let image = slice(&folder.0.join("out"), "bin", 32, 1);
    assert!((mean_in(&image, 32, &DISCS[0], 2.0) / 0.02 - 1.0).abs() < 0.05);
    // A crop that keeps the sample, and its own axis.
    let m = recon("crop", "--center 31.5 --columns 4:60");
    assert_eq!(m.need("params").unwrap().need_f64("axis_pixel").unwrap(), 27.5);
    assert!((mean_in(&slice(&folder.0.join("out"), "crop", 56, 2), 56, &DISCS[0], 1.0) / 0.01 - 1.0).abs() < 0.03);
    // A part of the slices: their bits, and the box stands in the manifest.
    let m = recon("part", "--center 31.5 --crop x=20:50,y=4:30");
    assert_eq!(m.need("params").unwrap().need_str("crop").unwrap(), "x=20:50,y=4:30");
    let words = format!("recon {SCAN} -o out/part -q");
    for z in [0, 2] {
        let part = slice_of(&folder.0.join("out"), "part", 30 * 26, z);
        let whole = slice(&folder.0.join("out"), "plain", 64, z);
        let want: Vec<f32> = (4..30).flat_map(|y| whole[y * 64 + 20..y * 64 + 50].to_vec()).collect();
        assert!(part == want, "slice {z}");
    }
    for (crop, says) in [
        ("x=20:20", "holds nothing"),
        ("y=60:65 --center 31.5", "64 columns and rows"),
        ("z=0:1", "--rows"),
        ("x=1:9,x=2:9", "given twice"),
        ("x=a:2", "not a whole number"),
        ("w=1:2", "x=A:B"),
    ] {
        expect(&run(&folder.0, &format!("{words} --overwrite --crop {crop}")), 2, &[says], crop);
    }
    // Blocked views change the noise, not the scale.
    recon("blocked", "--center 31.5 --blocked 30:40");
    let image = slice(&folder.0.join("out"), "blocked", 64, 2);
    assert!((mean_in(&image, 64, &DISCS[0], 1.0) / 0.01 - 1.0).abs() < 0.1);
    // Flats exposed twice as long count half.
    recon("exposure", "--center 31.5 --exposure-ratio 2 --rows 0:1 --padding none");
    let image = slice(&folder.0.join("out"), "exposure", 64, 0);
    assert!(image[32 + 31 * 64] < plain[32 + 31 * 64], "−ln 2 everywhere");
    // A truncated scan is said to be one.
    let m = recon("cut", "--center 31.5 --columns 24:48");
    let volume = m.need("volume").unwrap();
    assert_eq!(volume.need_str("unit").unwrap(), "relative 1/pixel");
    assert!(m.need("results").unwrap().need("truncated").unwrap() == &Json::Bool(true));
    let m = recon("whole", "--center 31.5");
    assert!(m.need("results").unwrap().need("truncated").unwrap() == &Json::Bool(false));
    // Stripes: a column whose gain is wrong.
    let mut counts = std::fs::read(folder.0.join("p.npy")).unwrap();
    let head = counts.len() - 2 * 90 * 4 * 64;
    for i in 0..90 * 4 {
        let at = head + 2 * (i * 64 + 40);
        let v = u16::from_le_bytes([counts[at], counts[at + 1]]);
        counts[at..at + 2].copy_from_slice(&((f64::from(v) * 0.9) as u16).to_le_bytes());
    }
    folder.write("p.npy", counts);
    let ring = |name: &str| {
        let image = slice(&folder.0.join("out"), name, 64, 2);
        image.iter().zip(&plain).map(|(a, b)| f64::from((a - b) * (a - b))).sum::<f64>().sqrt()
    };
    recon("ring", "--center 31.5");
    for method in ["fw", "sf"] {
        recon(method, &format!("--center 31.5 --stripe {method}"));
        assert!(ring(method) < 0.7 * ring("ring"), "{method}: {} of {}", ring(method), ring("ring"));
    }
}

#[test]
fn half_acquisition_is_one_wide_slice() {
    let folder = Scratch::new("half");
    // A sample wider than the detector on one side: the axis ten columns from the edge.
    let discs = [Disc { x: 25.0, y: 10.0, radius: 8.0, mu: 0.01 }, Disc { x: -20.0, y: -18.0, radius: 7.0, mu: 0.02 }];
    write_scan(&folder, [240, 2, 64], 12.3, 180.0, &discs);
    let words = format!("recon {SCAN} -o out/half --half-acquisition --center 12.3");
    expect(&run(&folder.0, &words), 2, &["span 179.2 degrees"], &words);
    write_scan(&folder, [240, 2, 64], 12.3, 360.0, &discs);
    for center in ["12.3", "auto"] {
        let words = format!("recon {SCAN} -o out/{center} --half-acquisition --center {center} --overwrite");
        expect(&run(&folder.0, &words), 0, &[], &words);
        let m = manifest(&folder.0.join("out"), center);
        let axis = m.need("params").unwrap().need_f64("axis_pixel").unwrap();
        assert!((axis - 12.3).abs() < 0.2, "{axis}");
        let side = m.need("volume").unwrap().need("dims").unwrap().need_u64("nx").unwrap() as usize;
        assert_eq!(side, 2 * (63.0 - axis).ceil() as usize + 1);
        let image = slice(&folder.0.join("out"), center, side, 0);
        for disc in &discs {
            let gain = mean_in(&image, side, disc, 1.0) / disc.mu;
            assert!((gain - 1.0).abs() < 0.03, "{center}: {gain}");
        }
    }
}

#[test]
fn one_digest_for_threads_instruction_sets_slabs_reading_and_memory() {
    let folder = Scratch::new("one-digest");
    write_scan(&folder, [60, 21, 48], 23.7, 180.0, &DISCS);
    let steps =
        "--center 23.7 --zinger 4000 --air 2 --stripe fw --energy 20keV --distance 1cm --delta-beta 50 --pixel 2um";
    let mut digests = Vec::new();
    for ways in [
        "",
        "--threads 1 --isa scalar",
        "--threads 2 --isa auto --slab 1",
        "--threads 5 --slab 7 --io pread",
        "--slab 64 --memory 1GiB",
        "--memory 64MiB",
    ] {
        let words = format!("recon {SCAN} {steps} -o out/x --overwrite {ways}");
        expect(&run(&folder.0, &words), 0, &[], &words);
        digests.push(digest(&folder.0.join("out"), "x"));
    }
    assert!(digests.iter().all(|d| *d == digests[0]), "{digests:?}");
    let left: Vec<_> = std::fs::read_dir(folder.0.join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 6, "nothing lies between the passes any more: {left:?}");
}

/// A TIFF image of u16, packed as one strip: its rows cannot be read one by one.
fn packed_tiff(values: &[u16], columns: usize) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    // PackBits: literal runs.
    let strip: Vec<u8> = bytes.chunks(128).flat_map(|run| [&[run.len() as u8 - 1][..], run].concat()).collect();
    let rows = (values.len() / columns) as u32;
    let entries: [(u16, u16, u32); 8] = [
        (256, 4, columns as u32),
        (257, 4, rows),
        (258, 3, 16),
        (259, 3, 32_773),
        (262, 3, 1),
        (273, 4, 110),
        (278, 4, rows),
        (279, 4, strip.len() as u32),
    ];
    let mut out = b"II*\0\x08\0\0\0\x08\0".to_vec();
    for (tag, kind, value) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    out.extend([0; 4]);
    out.extend(strip);
    out
}

#[test]
fn packed_projections_are_unpacked_once() {
    let folder = Scratch::new("unpack");
    write_scan(&folder, [40, 9, 32], 15.5, 180.0, &DISCS[..1]);
    let raw = std::fs::read(folder.0.join("p.npy")).unwrap();
    let counts: Vec<u16> =
        raw[raw.len() - 2 * 40 * 9 * 32..].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    std::fs::create_dir(folder.0.join("tiffs")).unwrap();
    for (i, view) in counts.chunks_exact(9 * 32).enumerate() {
        folder.write(&format!("tiffs/p_{i}.tif"), packed_tiff(view, 32));
    }
    let rest = "--flats f.npy --darks d.npy --theta t.txt --theta-unit deg --center 15.5";
    for (input, name) in [("p.npy", "plain"), ("tiffs", "packed")] {
        let words = format!("recon {input} {rest} --slab 1 -o out/{name} --keep-intermediate");
        expect(&run(&folder.0, &words), 0, &[], &words);
    }
    let out = folder.0.join("out");
    assert_eq!(digest(&out, "plain"), digest(&out, "packed"));
    assert!(out.join("packed.unpacked.raw").exists() && !out.join("plain.unpacked.raw").exists());
    let plan = run(&folder.0, &format!("plan tiffs {rest} --slab 1"));
    expect(&plan, 0, &["unpacked"], "plan");
}

/// Anonymous memory of a process, and whether it lives.
fn anonymous(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|l| l.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[test]
fn memory_is_what_plan_says() {
    let folder = Scratch::new("memory");
    write_scan(&folder, [600, 48, 800], 399.5, 180.0, &DISCS);
    let log = folder.0.join("plan.jsonl");
    let words = format!("plan {SCAN} --center 399.5 --threads 2 --log-json plan.jsonl");
    expect(&run(&folder.0, &words), 0, &["slices", "in all"], &words);
    let text = std::fs::read_to_string(&log).unwrap();
    let line = text.lines().find(|l| l.contains("\"memory\"")).expect("the plan is logged");
    let plan = Json::parse(line).unwrap();
    let number = |key: &str| plan.need_u64(key).unwrap();
    assert!(number("memory") > 256 << 20, "{line}");
    let mut child = tomolith(&folder.0)
        .args(format!("recon {SCAN} --center 399.5 --threads 2 -o out/x -q").split_whitespace())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut peak, mut read, mut written) = (0, 0, 0);
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(anonymous(child.id()).unwrap_or(0));
        let io = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
        for (name, to) in [("rchar: ", &mut read), ("wchar: ", &mut written)] {
            if let Some(n) = io.lines().find_map(|l| l.strip_prefix(name)?.parse::<u64>().ok()) {
                *to = n;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    let within = |what: &str, got: u64, plan: u64| {
        assert!(got as f64 <= 1.1 * plan as f64 && got as f64 >= 0.9 * plan as f64, "{what}: {got}, planned {plan}");
    };
    within("peak of anonymous memory", peak, number("memory"));
    within("bytes read", read, number("reads"));
    within("bytes written", written, number("writes"));
}

/// A control group of version 1 or 2 with this limit, if this process may make one.
fn limited(bytes: u64) -> Option<std::path::PathBuf> {
    for (root, file) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
        let group = Path::new(root).join(format!("tomolith-test-{}", std::process::id()));
        if Path::new(root).join("cgroup.procs").exists() && std::fs::create_dir(&group).is_ok() {
            if std::fs::write(group.join(file), bytes.to_string()).is_ok() {
                return Some(group);
            }
            let _ = std::fs::remove_dir(&group);
        }
    }
    None
}

#[test]
fn a_job_fits_a_control_group_of_its_plan_and_a_tenth() {
    let folder = Scratch::new("cgroup");
    write_scan(&folder, [600, 32, 800], 399.5, 180.0, &DISCS);
    let words = format!("plan {SCAN} --center 399.5 --threads 2 --log-json plan.jsonl -q");
    expect(&run(&folder.0, &words), 0, &[], &words);
    let text = std::fs::read_to_string(folder.0.join("plan.jsonl")).unwrap();
    let plan = Json::parse(text.lines().find(|l| l.contains("\"memory\"")).unwrap()).unwrap();
    let Some(group) = limited(plan.need_u64("memory").unwrap() * 11 / 10) else {
        eprintln!("SKIPPED: no control group can be made here");
        return;
    };
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec {} recon {SCAN} --center 399.5 --threads 2 --memory 8GiB -o out/x -q",
        group.display(),
        env!("CARGO_BIN_EXE_tomolith")
    );
    let output = std::process::Command::new("sh").arg("-c").arg(script).current_dir(&folder.0).output().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let _ = std::fs::remove_dir(&group);
    expect(&output, 0, &[], "under a limit");
}

#[test]
fn a_hundred_kills_end_in_the_same_digest() {
    let folder = Scratch::new("kills");
    write_scan(&folder, [90, 160, 96], 47.5, 180.0, &DISCS);
    let steps = "--center 47.5 --stripe fw --energy 20keV --distance 1cm --delta-beta 50 --pixel 2um";
    let start = Instant::now();
    let words = format!("recon {SCAN} {steps} -o out/whole -q");
    expect(&run(&folder.0, &words), 0, &[], &words);
    let alone = start.elapsed();
    let random = Stream::new(99, 1);
    let mut finished = 0;
    for i in 0..100u64 {
        let threads = 1 + i % 3;
        let mut child = tomolith(&folder.0)
            .args(format!("recon {SCAN} {steps} -o out/x -q --threads {threads}").split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(alone.mul_f64(random.uniform_f64(i)));
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        // A finished name is a finished volume.
        if folder.0.join("out/x.json").exists() {
            assert_eq!(digest(&folder.0.join("out"), "x"), digest(&folder.0.join("out"), "whole"));
            expect(&run(&folder.0, "verify out/x.json"), 0, &["ok"], "after a kill");
            finished += 1;
            // The chain goes on from nothing.
            for entry in std::fs::read_dir(folder.0.join("out")).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_string_lossy().starts_with("x.") {
                    std::fs::remove_file(path).unwrap();
                }
            }
        } else if let Some(code) = output.status.code() {
            panic!("kill {i}: exit {code}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let last = format!("recon {SCAN} {steps} -o out/x -q");
    if !folder.0.join("out/x.json").exists() {
        expect(&run(&folder.0, &last), 0, &[], &last);
    }
    assert_eq!(digest(&folder.0.join("out"), "x"), digest(&folder.0.join("out"), "whole"));
    assert!(finished < 100, "some were killed in their work");
}

#[test]
fn a_thousand_flipped_bits_are_found() {
    let folder = Scratch::new("flips");
    write_scan(&folder, [30, 3, 32], 15.5, 180.0, &DISCS[..1]);
    let words = format!("recon {SCAN} --center 15.5 -o out/x -q");
    expect(&run(&folder.0, &words), 0, &[], &words);
    let random = Stream::new(7, 7);
    let names = ["x.raw", "x.mhd", "x.nhdr", "x.json", "x.run.json"];
    let whole: Vec<Vec<u8>> = names.iter().map(|n| std::fs::read(folder.0.join("out").join(n)).unwrap()).collect();
    for i in 0..1000u64 {
        let which = random.below(3 * i, names.len() as u32) as usize;
        let mut bytes = whole[which].clone();
        let at = random.below(3 * i + 1, bytes.len() as u32) as usize;
        bytes[at] ^= 1 << random.below(3 * i + 2, 8);
        let path = folder.0.join("out").join(names[which]);
        std::fs::write(&path, &bytes).unwrap();
        let report = tomolith::volume::verify::examine(&folder.0.join("out/x.json"));
        let found = report.is_err() || report.is_ok_and(|r| r.check().is_err());
        assert!(found, "bit flip {i} in {} at byte {at}", names[which]);
        std::fs::write(&path, &whole[which]).unwrap();
    }
    expect(&run(&folder.0, "verify out/x.json"), 0, &["ok"], "as it was");
    assert!(stdout(&run(&folder.0, "verify out/x.json")).contains("ok"));
}
