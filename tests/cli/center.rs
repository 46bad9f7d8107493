//! `center` on a series of scans, and what `register` says of volumes that have axes of their own.

use crate::common::{Scratch, expect, run, stderr, stdout};
use std::path::Path;

const COLUMNS: usize = 128;
const SCAN: &str = "[recon]\nscan = \"projections.npy\"\nflats = \"flats.npy\"\ndarks = \"darks.npy\"\n\
                    theta = \"theta_degrees.npy\"\ntheta-unit = \"deg\"\n";

/// Scans of discs in folders of their own, each with its configuration.
fn scans(s: &Scratch) {
    for seed in 1..=4 {
        let words = format!(
            "phantom discs -q -o d{seed} --columns {COLUMNS} --rows 24 --projections 160 --discs 8 --seed {seed}"
        );
        expect(&run(&s.0, &words), 0, &[], &words);
        s.write(&format!("d{seed}/scan.toml"), SCAN);
    }
}

/// Every row of an array moved by so many columns, those that leave at one end coming in at the other.
fn roll(path: &Path, by: usize) {
    let bytes = std::fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let mut out = bytes[..header].to_vec();
    for row in bytes[header..].chunks_exact(4 * COLUMNS) {
        out.extend_from_slice(&row[4 * (COLUMNS - by)..]);
        out.extend_from_slice(&row[..4 * (COLUMNS - by)]);
    }
    std::fs::write(path, out).unwrap();
}

fn number(line: &str, k: usize) -> f64 {
    line.split_whitespace().nth(k).unwrap().parse().unwrap()
}

#[test]
fn scans_of_one_stage_have_one_axis_and_the_one_that_is_off_is_named() {
    let s = Scratch::new("center-series");
    scans(&s);
    for name in ["projections", "flats", "darks"] {
        roll(&s.0.join(format!("d4/{name}.npy")), 3);
    }
    let words = "center --center correlation d1/scan.toml d2/scan.toml d3/scan.toml d4/scan.toml";
    let output = run(&s.0, words);
    expect(&output, 0, &["1 of 4 far off", "--center 68."], words);
    let said = stdout(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    // The axis of the discs, as discs.json has it.
    const AXIS: f64 = 68.25;
    for (k, line) in lines[..4].iter().enumerate() {
        let planted = if k == 3 { AXIS + 3.0 } else { AXIS };
        assert!((number(line, 1) - planted).abs() < 0.15, "{line}");
        assert!((number(line, 1) - number(line, 2) - number(lines[4], 1)).abs() < 2e-3, "{line}");
        assert_eq!(line.ends_with("outlier"), k == 3, "{line}");
    }
    assert!((number(lines[4], 1) - AXIS).abs() < 0.15, "{said}");
    // One scan by its configuration, as by its options.
    let one = stdout(&run(&s.0, "center d1/scan.toml"));
    assert!(one.starts_with("vo ") && one.contains("\nopposite "), "{one}");
    // The files of a configuration lie beside it; options of the command line stand above it.
    let words = "center --center correlation d1/scan.toml d2/scan.toml --darks absent.npy";
    expect(&run(&s.0, words), 66, &["absent.npy"], words);
    s.write("d2/narrow.toml", SCAN.to_string() + "columns = \"10:100\"\n");
    s.write("d2/none.toml", "[recon]\nfilter = \"hann\"\n");
    for (words, code, says) in [
        ("center d1/scan.toml d2/scan.toml --center 64", 2, "the axis is given"),
        ("center d1/scan.toml d2/scan.toml --sheet x.png", 2, "--sheet is for one scan"),
        ("center d1/scan.toml d2/none.toml", 2, "names no scan"),
        ("center d1/scan.toml d9/scan.toml", 66, "d9/scan.toml"),
        (
            "center d1/scan.toml d2/narrow.toml",
            65,
            "has 90 columns from 10 on, and the scans before it have 128 from 0 on",
        ),
        ("center d1/scan.toml d2/scan.toml --center vo --center-range -9:-8", 65, "of 2 scans tell an axis"),
    ] {
        expect(&run(&s.0, words), code, &[says], words);
    }
    // Two that have nothing in common have no axis in common.
    for name in ["projections", "flats", "darks"] {
        roll(&s.0.join(format!("d3/{name}.npy")), 9);
    }
    let words = "center -q --center correlation d3/scan.toml d1/scan.toml";
    expect(&run(&s.0, words), 65, &["none in common"], words);
}

#[test]
fn axes_that_differ_are_told_before_they_are_taken_for_motions() {
    let s = Scratch::new("register-axes");
    scans(&s);
    let recon = |output: &str, more: &str| {
        let words = format!(
            "recon d1/projections.npy --flats d1/flats.npy --darks d1/darks.npy --theta d1/theta_degrees.npy --theta-unit deg \
             -q -o {output} {more}"
        );
        expect(&run(&s.0, &words), 0, &[], &words);
    };
    recon("a", "--center 68.25");
    recon("b", "--center 68.27");
    recon("c", "--center 68.75");
    recon("binned", "--center 68.25 --bin 2 --columns 8:120");
    recon("few", "--center 68.25 --blocked 3:160");
    // Discs are the same in four rows at a time: whether they can be registered is another matter.
    let said = |moving: &str| {
        stderr(&run(
            &s.0,
            &format!("register --fixed a.mhd --moving {moving} --capture 2 --transform-only -o out/{moving}"),
        ))
    };
    let text = said("c.mhd");
    let warned = |text: &str, what: &str| text.lines().any(|l| l.starts_with("warning: ") && l.contains(what));
    assert!(warned(&text, "about the axis 68.750, the fixed volume about 68.250: +0.500 pixel"), "{text}");
    assert!(warned(&text, "0.65 voxels aside") && warned(&text, "1 of 1 volumes"), "{text}");
    for near in ["b.mhd", "binned.mhd"] {
        let text = said(near);
        assert!(!text.contains("axis") && !text.contains("views"), "{near}: {text}");
    }
    // What few views show is no motion, by whatever reason.
    let words = "register --fixed a.mhd --moving few.mhd --capture 2 --transform-only -o out/few";
    expect(&run(&s.0, words), 65, &["few.mhd: body all"], words);
}
