//! One digest for any thread count, instruction set, slab height, way of reading, and selection of rows.

use crate::common::{Scratch, expect, npy, run, stdout};
use tomolith::num::lanes::Isa;
use tomolith::phantom::discs::{self, Sampling};

/// Not multiples of sixteen, so that lanes, strips and blocks have incomplete ends.
const COLUMNS: usize = 83;
const ROWS: usize = 21;
const PROJECTIONS: usize = 70;

/// A scan of discs as native volume, every row another slice, with one axis per row.
fn scan(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    let theta: Vec<f64> = (0..PROJECTIONS).map(|i| i as f64 * std::f64::consts::PI / PROJECTIONS as f64).collect();
    let mut values = vec![0.0f32; PROJECTIONS * ROWS * COLUMNS];
    let axes: Vec<f32> = (0..ROWS).map(|row| 41.0 + 0.13 * row as f32).collect();
    for row in 0..ROWS {
        let objects = discs::random(row as u64, 6, 5.0, 0.02, 38.0, 1.0).unwrap();
        let sinogram = discs::sinogram(&objects, &theta, COLUMNS, f64::from(axes[row]), Sampling::Pixel);
        for (angle, line) in sinogram.chunks_exact(COLUMNS).enumerate() {
            let start = (angle * ROWS + row) * COLUMNS;
            values[start..start + COLUMNS].iter_mut().zip(line).for_each(|(v, &p)| *v = p as f32);
        }
    }
    folder.write("scan.npy", npy(&[PROJECTIONS, ROWS, COLUMNS], &values));
    folder.write("axes.npy", npy(&[ROWS], &axes));
    folder.write("theta.txt", theta.iter().map(|t| format!("{t}\n")).collect::<String>());
    expect(&run(&folder.0, "convert scan.npy scan.mhd"), 0, &[], "convert");
    folder
}

/// Runs `recon` and returns the digest of the voxels and their bytes.
fn recon(folder: &Scratch, name: &str, options: &str) -> (String, Vec<u8>) {
    let words = format!(
        "recon scan.mhd -o {name} --input absorption --theta theta.txt --theta-unit rad --center axes.npy {options}"
    );
    let output = run(&folder.0, &words);
    expect(&output, 0, &[], &words);
    let digest = stdout(&output).split_whitespace().last().unwrap().to_string();
    assert_eq!(digest.len(), 64, "{digest}");
    (digest, std::fs::read(folder.0.join(format!("{name}.raw"))).unwrap())
}

#[test]
fn one_digest_for_threads_instruction_sets_slabs_and_ways_of_reading() {
    let folder = scan("determinism");
    for algorithm in ["gridrec", "gridrec-compat"] {
        let (expected, voxels) = recon(&folder, algorithm, &format!("--algorithm {algorithm}"));
        assert!(voxels.chunks_exact(4).any(|v| v != [0; 4]), "an empty volume proves nothing");
        let mut runs = 0;
        for isa in Isa::available() {
            for threads in [1, 2, 3, 8] {
                for slab in [1, 7, 64] {
                    for io in ["mmap", "pread"] {
                        runs += 1;
                        let options = format!(
                            "--algorithm {algorithm} --isa {} --threads {threads} --slab {slab} --io {io}",
                            isa.name()
                        );
                        let (digest, _) = recon(&folder, &format!("{algorithm}/{runs}"), &options);
                        assert_eq!(digest, expected, "{options}");
                    }
                }
            }
        }
        // The manifest, too, is the same: it names nothing that may differ.
        let manifest = |name: &str| {
            let text = std::fs::read_to_string(folder.0.join(format!("{algorithm}/{name}.json"))).unwrap();
            // The headers hold the output's name, so their digests and the seal differ between two names.
            let names = ["\"mhd\": ", "\"nhdr\": ", "\"manifest_sha256\": "];
            text.lines().filter(|l| !names.iter().any(|n| l.contains(n))).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(manifest("1"), manifest(&runs.to_string()));
    }
}

#[test]
fn some_rows_are_the_rows_of_the_full_run() {
    let folder = scan("rows");
    for (algorithm, rows) in
        [("gridrec", 4..13), ("gridrec", 20..21), ("gridrec-compat", 5..12), ("gridrec-compat", 6..7), ("fbp", 3..5)]
    {
        let (_, all) = recon(&folder, &format!("all-{algorithm}-{}", rows.start), &format!("--algorithm {algorithm}"));
        let options = format!("--algorithm {algorithm} --rows {}:{} --slab 3", rows.start, rows.end);
        let (_, some) = recon(&folder, &format!("some-{algorithm}-{}", rows.start), &options);
        let slice = COLUMNS * COLUMNS * 4;
        assert_eq!(some, all[rows.start * slice..rows.end * slice], "{options}");
    }
}

#[test]
fn the_axis_that_is_found_does_not_depend_on_the_rows_asked_for() {
    let folder = Scratch::new("axis");
    let (projections, rows, columns, axis) = (150, 24, 256, 131.5);
    let theta: Vec<f64> = (0..projections).map(|i| i as f64 * std::f64::consts::PI / projections as f64).collect();
    let objects = discs::random(3, 12, 9.0, 0.02, 110.0, 3.0).unwrap();
    let sinogram = discs::sinogram(&objects, &theta, columns, axis, Sampling::Pixel);
    let values: Vec<f32> = sinogram
        .chunks_exact(columns)
        .flat_map(|line| {
            (0..rows).flat_map(move |row| line.iter().map(move |&p| p as f32 * (1.0 + row as f32 / 100.0)))
        })
        .collect();
    folder.write("scan.npy", npy(&[projections, rows, columns], &values));
    folder.write("theta.txt", theta.iter().map(|t| format!("{t}\n")).collect::<String>());
    let found = |name: &str, options: &str| {
        let words = format!("recon scan.npy -o {name} --input absorption --theta theta.txt --theta-unit rad {options}");
        let output = run(&folder.0, &words);
        expect(&output, 0, &[], &words);
        let text = std::fs::read_to_string(folder.0.join(format!("{name}.json"))).unwrap();
        text.lines().find(|l| l.contains("\"axis_pixel\"")).unwrap().to_string()
    };
    let all = found("all", "");
    assert_eq!(all, found("some", "--rows 17:19 --threads 3"));
    assert_eq!(all, found("scalar", "--rows 0:1 --isa scalar"));
    let pixel: f64 = all.trim().trim_end_matches(',').split(": ").nth(1).unwrap().parse().unwrap();
    assert!((pixel - axis).abs() <= 0.5, "{pixel}");
}
