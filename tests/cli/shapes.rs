//! Volumes that belong together and have other shapes: every command that is given two says how they would fit; and which
//! slices count as labelled where some are proposed.

use crate::common::{Scratch, expect, npy, run, stderr, stdout};

#[test]
fn volumes_of_another_shape_are_told_how_they_would_fit() {
    let folder = Scratch::new("shapes");
    let at = |words: &str| run(&folder.0, words);
    let values: Vec<f32> = (0..60).map(|i| (i % 2) as f32).collect();
    for (name, shape) in [("a", [3, 4, 5]), ("turned", [5, 4, 3]), ("part", [3, 4, 4])] {
        let n = shape.iter().product();
        folder.write(&format!("{name}.npy"), npy(&shape, &values[..n]));
        expect(&at(&format!("labels import {name}.npy --map from-0 -o l/{name}")), 0, &[], name);
    }
    let source = |name: &str, more: &str| format!("[[source]]\nlabels = \"{name}.npy\"\nmap = \"from-0\"\n{more}");
    for name in ["turned", "part"] {
        folder.write(&format!("{name}.toml"), source("a", "") + &source(name, ""));
        folder.write(&format!("{name}_margin.toml"), source("a", &format!("margin = \"{name}.npy\"\n")));
        let fits = if name == "turned" { "with axes xyz it would fit" } else { "no order of axes fits" };
        let shape = if name == "turned" { "5 x 4 x 3 (z, y, x)" } else { "3 x 4 x 4 (z, y, x)" };
        for words in [
            format!("seg eval --prediction {name}.npy --truth a.npy"),
            format!("seg eval --prediction a.npy --truth a.npy --mask {name}.npy"),
            format!("seg merge {name}.toml -o out/m"),
            format!("seg merge {name}_margin.toml -o out/m"),
            format!("seg propose s=a.npy,{name}.npy"),
            format!("seg sheet --input a.npy --grey 0,1 --labels {name}.npy --at 0 -o s.png"),
            format!("labels diff l/a.mhd l/{name}.mhd"),
        ] {
            expect(&at(&words), 65, &[fits, shape, "3 x 4 x 5"], &words);
        }
    }
    assert!(!folder.0.join("out/m.mhd").exists() && !folder.0.join("s.png").exists());
}

/// One labelled xy slice of fifty crosses every slice of the other planes, and makes none of them labelled.
#[test]
fn slices_that_labels_only_cross_are_proposed() {
    let folder = Scratch::new("propose");
    let at = |words: &str| run(&folder.0, words);
    let (nz, ny, nx) = (50, 12, 10);
    let map: Vec<f32> = (0..nz * ny * nx).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    folder.write("map.npy", npy(&[nz, ny, nx], &map));
    let labels = |name: &str, of: &dyn Fn(usize) -> bool| {
        let values: Vec<f32> = (0..nz * ny * nx).map(|i| if of(i / ny / nx) { 1.0 } else { 255.0 }).collect();
        folder.write(name, npy(&[nz, ny, nx], &values));
    };
    labels("one.npy", &|z| z == 20);
    labels("all.npy", &|_| true);
    let of = |output: &std::process::Output| stdout(output).lines().filter(|l| l.starts_with("s ")).count();
    let propose = |words: &str| at(&format!("seg propose s=map.npy,{words}"));
    let crossed = propose("one.npy --planes xz -n 3 --apart 2");
    expect(&crossed, 0, &["xz"], "crossed");
    assert_eq!((of(&crossed), stderr(&crossed).contains("warning")), (3, false), "{}", stderr(&crossed));
    let own = propose("one.npy --planes xy -n 50 --apart 1");
    expect(&own, 0, &["warning: 49 slices of 50"], "own");
    assert!(!stdout(&own).contains(" 20 "), "the labelled slice is not asked for again");
    let few = propose("one.npy --planes xz -n 9 --apart 4");
    expect(&few, 0, &["warning: "], "few");
    assert!((1..9).contains(&of(&few)));
    let says = ["no slice to propose", "of 12 slices 12 are labelled", "--labelled-part"];
    expect(&propose("all.npy --planes xz -n 3 -o next.json"), 65, &says, "all");
    expect(&propose("one.npy --planes xz -n 3 --edge 6 -o next.json"), 65, &["--edge 6"], "ends");
    assert!(!folder.0.join("next.json").exists());
}
