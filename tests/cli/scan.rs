//! `recon`, `trace` and `demo` before they compute: options, and files checked against each other.

use crate::common::{Scratch, expect, npy, run};

/// A tiny scan: 6 projections of 2 rows and 5 columns, with everything beside it that can be wrong.
fn scan(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    let flat = |n: usize, value: f32| vec![value; n];
    folder.write("proj.npy", npy(&[6, 2, 5], &flat(60, 50.0)));
    folder.write("flats.npy", npy(&[1, 2, 5], &flat(10, 100.0)));
    folder.write("darks.npy", npy(&[1, 2, 5], &flat(10, 1.0)));
    folder.write("wide.npy", npy(&[1, 2, 6], &flat(12, 100.0)));
    let degrees: Vec<String> = (0..6).map(|i| format!("{}\n", 30 * i)).collect();
    let radians: Vec<String> = (0..6).map(|i| format!("{}\n", 0.5 * i as f64)).collect();
    folder.write("deg.txt", degrees.concat());
    folder.write("rad.txt", radians.concat());
    folder.write("five.txt", degrees[..5].concat());
    folder.write("nan.txt", "0\n30\nnan\n90\n120\n150\n");
    folder.write("words.txt", "zero one two\n");
    folder.write("axis.npy", npy(&[2], &[2.0, 2.5]));
    folder.write("axis3.npy", npy(&[3], &[2.0, 2.0, 2.0]));
    folder.write("axis_out.npy", npy(&[2], &[2.0, 7.0]));
    folder.write("trunc.npy", &npy(&[6, 2, 5], &flat(60, 50.0))[..200]);
    folder.write("noise.h5", "no HDF5 at all");
    folder.write("empty.h5", "");
    folder.write("scan.toml", "[recon]\nscan = \"proj.npy\"\noutput = \"out/x\"\nfliter = \"hann\"\n");
    folder.write(
        "good.toml",
        "[recon]\nscan = \"proj.npy\"\noutput = \"out/x\"\nfilter = \"butterworth\"\nfilter-par = [0.4, 2]\n",
    );
    folder
}

#[test]
fn recon_refuses_what_it_cannot_mean() {
    let folder = scan("recon");
    let counts = "--flats flats.npy --darks darks.npy";
    let theta = "--theta deg.txt --theta-unit deg";
    let absorption = format!("recon proj.npy -o out/x --input absorption {theta}");
    #[rustfmt::skip]
    let cases: &[(String, i32, &[&str])] = &[
        ("recon --help".into(), 0, &["Examples:", "--flats", "--pixel", "1.33um"]),
        ("recon".into(), 2, &["--output"]),
        ("recon -o out/x".into(), 2, &["SCAN"]),
        ("recon proj.npy".into(), 2, &["--output"]),
        ("recon none.h5 -o out/x".into(), 66, &["none.h5", "no such file"]),
        ("recon noise.h5 -o out/x".into(), 65, &["noise.h5"]),
        ("recon empty.h5 -o out/x".into(), 65, &["empty.h5"]),
        ("recon . -o out/x".into(), 66, &["folder"]),
        ("recon trunc.npy -o out/x --input absorption".into(), 65, &["trunc.npy", "truncated"]),
        ("recon proj.npy -o out/x.mhd".into(), 2, &["extension", "out/x"]),
        ("recon proj.npy -o out/".into(), 2, &["names no file"]),
        ("recon proj.npy -o ..".into(), 2, &["names no file"]),
        // Counts or not is never guessed.
        (format!("recon proj.npy -o out/x {theta}"), 2, &["counts", "transmission", "absorption"]),
        (format!("recon proj.npy -o out/x {theta} --input counts"), 2, &["--flats"]),
        (format!("recon proj.npy -o out/x {theta} --flats flats.npy"), 2, &["no darks"]),
        (format!("{absorption} --flats flats.npy"), 2, &["--flats", "counts"]),
        (format!("recon proj.npy -o out/x {theta} --input absorbtion"), 2, &["did you mean 'absorption'"]),
        (format!("recon proj.npy -o out/x {theta} --flats wide.npy --darks darks.npy"), 65, &["wide.npy", "6 x 2"]),
        (format!("recon proj.npy -o out/x {theta} --flats none.npy --darks darks.npy"), 66, &["--flats", "none.npy"]),
        // Angles.
        (format!("recon proj.npy -o out/x {counts}"), 2, &["proj.npy", "--theta"]),
        (format!("recon proj.npy -o out/x {counts} --theta five.txt --theta-unit deg"), 65, &["five.txt", "5 angles", "6 projections"]),
        (format!("recon proj.npy -o out/x {counts} --theta nan.txt --theta-unit deg"), 65, &["nan.txt"]),
        (format!("recon proj.npy -o out/x {counts} --theta words.txt"), 65, &["words.txt"]),
        (format!("recon proj.npy -o out/x {counts} --theta deg.txt --theta-unit rad"), 2, &["--theta-unit", "deg"]),
        (format!("recon proj.npy -o out/x {counts} --theta rad.txt --theta-unit deg"), 2, &["--theta-unit", "rad"]),
        (format!("recon proj.npy -o out/x {counts} --theta deg.txt --theta-unit gon"), 2, &["known: deg, rad"]),
        // Everything else.
        (format!("{absorption} --filter ram-lak"), 2, &["--filter", "did you mean 'ramlak'"]),
        (format!("{absorption} --filter hann --filter-par 0.5,2"), 2, &["--filter"]),
        (format!("{absorption} --filter-par a"), 2, &["--filter-par", "'a'"]),
        (format!("{absorption} --filter-file axis.npy"), 2, &["--filter custom"]),
        (format!("{absorption} --filter custom"), 2, &["custom"]),
        (format!("{absorption} --algorithm gridrek"), 2, &["did you mean 'gridrec'"]),
        (format!("{absorption} --algorithm fbp --gridding-error 1e-4"), 2, &["--gridding-error", "fbp"]),
        (format!("{absorption} --gridding-error 0"), 2, &["--gridding-error"]),
        (format!("{absorption} --center 5.1"), 2, &["--center", "outside"]),
        (format!("{absorption} --center -3"), 2, &["--center", "outside"]),
        (format!("{absorption} --center axis3.npy"), 65, &["axis3.npy", "3 rotation axes", "2 detector rows"]),
        (format!("{absorption} --center axis_out.npy"), 65, &["axis_out.npy", "row 1"]),
        (format!("{absorption} --center none.npy"), 66, &["none.npy"]),
        (format!("{absorption} --center vu"), 2, &["did you mean 'vo'"]),
        (format!("{absorption} --rows 0:3"), 2, &["--rows", "0:2"]),
        (format!("{absorption} --rows 1:1"), 2, &["--rows", "holds nothing"]),
        (format!("{absorption} --rows 1"), 2, &["--rows", "first:end"]),
        (format!("{absorption} --pixel 1.33"), 2, &["--pixel", "did you mean 1.33um"]),
        (format!("{absorption} --pixel -1um"), 2, &["--pixel", "positive"]),
        (format!("{absorption} --slab 0"), 2, &["--slab"]),
        (format!("{absorption} --nonfinite ignore"), 2, &["--nonfinite", "known: error, zero, keep"]),
        (format!("{absorption} --fliter hann"), 2, &["--fliter", "--filter"]),
        ("recon --config scan.toml".into(), 2, &["scan.toml", "line 4", "did you mean 'filter'"]),
        ("recon --config good.toml --show-config".into(), 0, &["filter = \"butterworth\"", "good.toml line 4", "filter-par = \"0.4,2\""]),
        // What is done before.
        (format!("{absorption} --center 2 --stripe fv"), 2, &["--stripe", "did you mean 'fw'"]),
        (format!("{absorption} --center 2 --stripe fw --stripe-par levle=3"), 2, &["--stripe-par", "did you mean 'level'"]),
        (format!("{absorption} --center 2 --stripe-par level=3"), 2, &["without --stripe"]),
        (format!("{absorption} --center 2 --zinger 5 --zinger-size 4"), 2, &["--zinger-size", "odd"]),
        (format!("{absorption} --center 2 --air 2"), 2, &["--air", "absorption"]),
        (format!("recon proj.npy -o out/x {counts} {theta} --air 3 --center 2"), 2, &["--air"]),
        (format!("{absorption} --center 2 --delta-beta 500"), 2, &["--energy", "--distance"]),
        (format!("{absorption} --center 2 --delta-beta 500 --energy 27.5 --distance 6cm"), 2, &["--energy", "27.5keV"]),
        (format!("recon proj.npy -o out/x {counts} {theta} --delta-beta 500 --energy 27.5keV --distance 6cm"), 2, &["--pixel"]),
        (format!("{absorption} --center 2 --bin 3"), 2, &["bins of 3"]),
        (format!("{absorption} --center 2 --bin 0"), 2, &["--bin"]),
        (format!("{absorption} --center 2 --columns 3:9"), 2, &["--columns", "0:5"]),
        (format!("{absorption} --center 2 --blocked 0:170"), 2, &["--blocked"]),
        (format!("{absorption} --center 2 --blocked 40:30"), 2, &["--blocked", "from:to"]),
        (format!("{absorption} --center 2 --flats-after flats.npy"), 2, &["--flats-after"]),
        (format!("recon proj.npy -o out/x {counts} {theta} --flats-after wide.npy"), 65, &["--flats-after"]),
        (format!("recon proj.npy -o out/x {counts} {theta} --flat-blend linear --center 2"), 2, &["--flat-blend"]),
        (format!("{absorption} --center 2 --exposure-ratio 0"), 2, &["--exposure-ratio"]),
        (format!("{absorption} --center 2 --exposure-ratio 2"), 2, &["--exposure-ratio", "absorption"]),
        (format!("{absorption} --center 2 --zinger 5"), 2, &["--zinger", "absorption"]),
        (
            format!("{absorption} --center 2 --delta-beta 500 --energy 27.5keV --distance 6cm --pixel 1um"),
            2,
            &["--delta-beta", "absorption"],
        ),
        (format!("{absorption} --center 2 --theta-range 0:9"), 2, &["--theta-range", "0:6"]),
        (format!("{absorption} --center 2 --half-acquisition --padding edge"), 2, &["--half-acquisition"]),
        (format!("{absorption} --center 2 --memory 1MiB"), 2, &["MiB", "--memory"]),
        (format!("{absorption} --center 2 --memory 4"), 2, &["--memory", "4GiB"]),
        (format!("{absorption} --center-range 5"), 2, &["--center-range"]),
        ("recon none_*.tiff -o out/x".into(), 66, &["none_*.tiff", "no TIFF"]),
        ("plan proj.npy".into(), 2, &["counts"]),
        ("stitch vertical proj.npy -o out/x --offset 1".into(), 2, &["one volume"]),
        ("stitch vertical proj.npy wide.npy -o out/x".into(), 2, &["--offset"]),
        ("stitch vertical proj.npy proj.npy -o out/x --offset 1,2".into(), 2, &["--offset"]),
        ("stitch vertical proj.npy wide.npy -o out/x --offset 1".into(), 65, &["slices of 6 x 2"]),
        ("stitch side proj.npy wide.npy -o out/x --flats flats.npy --darks darks.npy".into(), 2, &["--flats", "LEFT,RIGHT"]),
        ("stitch side proj.npy wide.npy -o out/x".into(), 65, &["projections"]),
        ("center none.h5".into(), 66, &["none.h5"]),
        (format!("center proj.npy --input absorption {theta} --sheet a.png --sheet-range 3:1:1"), 2, &["--sheet-range"]),
        ("trace gridrec --help".into(), 0, &["Examples:", "--row"]),
        ("trace gridrek".into(), 2, &["gridrec"]),
        ("trace gridrec proj.npy".into(), 2, &["--output"]),
        ("trace gridrec proj.npy -o steps --algorithm fbp".into(), 2, &["--algorithm"]),
        ("demo --help".into(), 0, &["Examples:"]),
        ("demo surplus".into(), 2, &["surplus"]),
        ("demo --discs --train".into(), 2, &["--train is of a cell"]),
    ];
    for (words, code, says) in cases {
        expect(&run(&folder.0, words), *code, says, words);
    }
    assert!(!folder.0.join("out").exists(), "a refused command leaves nothing behind");
}
