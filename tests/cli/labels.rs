//! `labels …`: in, looked at, out, through the program.

use crate::common::{Scratch, expect, json, npy, npy_of, run, stderr, stdout};
use tomolith::phantom::annotator::{CLASSES, UNLABELLED};
use tomolith::phantom::matter::LABELS;
use tomolith::segment::classes::{Classes, Mapping};

/// A grey volume of 3 × 4 × 5 and labels of it as napari writes them: int32, 0 unlabelled.
fn folder(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    folder.write("grey.npy", npy(&[3, 4, 5], &(0..60).map(|i| i as f32).collect::<Vec<_>>()));
    let painted: Vec<u8> = (0..60i32).flat_map(|i| if i % 3 == 0 { i % 5 + 1 } else { 0 }.to_le_bytes()).collect();
    folder.write("painted.npy", npy_of("<i4", &[3, 4, 5], &painted));
    folder
}

#[test]
fn the_tables_are_those_of_the_synthetic_cell() {
    let (cell, network) = (Classes::cell(), Classes::network());
    let mapping = Mapping::parse("cell-to-network", &network).unwrap();
    assert_eq!((cell.len(), network.len()), (LABELS.len(), CLASSES));
    for label in LABELS {
        let class = &cell.list()[label as usize];
        assert_eq!((class.name.as_str(), class.colour), (label.name(), label.colour()));
        assert_eq!(mapping.label(f32::from(label as u8)), Some(label.network_class()));
    }
    assert_eq!(tomolith::segment::UNLABELLED, UNLABELLED);
}

#[test]
fn labels_go_in_and_come_out_as_they_were() {
    let folder = folder("labels-round");
    let at = |words: &str| run(&folder.0, words);
    expect(
        &at("labels import painted.npy --map napari --like grey.npy -o l/a"),
        0,
        &["l/a.mhd  5 x 4 x 3 u8 class"],
        "in",
    );
    let stats = stdout(&at("labels stats l/a.mhd -o stats.json"));
    assert!(stats.contains("unlabelled") && stats.contains("human"), "{stats}");
    let counted = json(&folder.0.join("stats.json"));
    assert_eq!(counted.need_u64("labelled").unwrap(), 20);
    expect(&at("labels lint l/a.mhd --like grey.npy"), 0, &["fine"], "lint");
    for (out, map, axes) in [("o.npy", "napari", "zyx"), ("o.tiff", "fiji", "zyx"), ("w.npy", "webknossos", "x-yz")] {
        expect(&at(&format!("labels export l/a.mhd {out} --map {map} --axes {axes}")), 0, &[], out);
        let back = format!("labels import {out} --map {map} --axes {axes} --like grey.npy -o l/b --overwrite");
        expect(&at(&back), 0, &["labelled"], out);
        expect(&at("labels diff l/a.mhd l/b.mhd"), 0, &["0 of 60 voxels in 0 slices differ"], out);
    }
    // The same labels make the same bytes on any number of threads.
    let bytes = || std::fs::read(folder.0.join("l/b.json")).unwrap();
    let before = bytes();
    expect(
        &at("labels import w.npy --map webknossos --axes x-yz --like grey.npy -o l/b --overwrite --threads 3"),
        0,
        &[],
        "again",
    );
    assert_eq!(bytes(), before);
    expect(&at("verify l"), 0, &[], "verify");
}

#[test]
fn slices_and_corrections_go_onto_what_is_there() {
    let folder = folder("labels-onto");
    let at = |words: &str| run(&folder.0, words);
    expect(&at("labels import painted.npy --map napari --like grey.npy --origin draft:2 -o l/a"), 0, &[], "draft");
    // Two xz slices of 3 rows and 5 columns, all dendrite.
    folder.write("cut.npy", npy(&[2, 3, 5], &[1.0; 30]));
    let cut = "labels import cut.npy --map from-0 --plane xz --at 3,0 --onto l/a.mhd --origin corrected -o l/c";
    // Of 30 voxels 10 are labelled already, 2 of them as dendrite.
    expect(
        &at(cut),
        0,
        &["changed                                  8", "new                                      20"],
        "cut",
    );
    let stats = stdout(&at("labels stats l/c.mhd"));
    assert!(stats.contains("draft of round 2") && stats.contains("corrected"), "{stats}");
    expect(&at("labels diff l/a.mhd l/c.mhd"), 0, &["28 of 60 voxels in 3 slices differ"], "diff");
    let keep = "labels import cut.npy --map from-0 --plane xz --at 3,0 --onto l/a.mhd --keep -o l/k";
    expect(
        &at(keep),
        0,
        &["changed                                  0", "new                                      20"],
        "keep",
    );
    expect(&at("labels export l/c.mhd o.npy --what origin"), 0, &[], "origins");
    // Brought in again, turned and under other names, everybody keeps what is theirs; unless somebody says otherwise.
    let origins = |name: &str| {
        let stats = stdout(&at(&format!("labels stats {name}")));
        let of = |who: &str| {
            stats.lines().find(|l| l.contains(who)).map(|l| l.split_whitespace().last().unwrap().to_string())
        };
        ["draft of round 2", "corrected", "human"].map(of)
    };
    let before = origins("l/c.mhd");
    assert!(before[0].is_some() && before[1].is_some() && before[2].is_none(), "{before:?}");
    expect(&at("labels import l/c.mhd --axes xzy -o l/t"), 0, &[], "turned");
    assert_eq!(origins("l/t.mhd"), before);
    expect(&at("labels import l/c.mhd --origin human -o l/h"), 0, &[], "said");
    assert!(matches!(origins("l/h.mhd"), [None, None, Some(_)]));
}

#[test]
fn what_does_not_fit_is_told() {
    let folder = folder("labels-bad");
    let at = |words: &str| run(&folder.0, words);
    let import = "labels import painted.npy -o l/a";
    expect(&at(import), 2, &["--map is missing", "napari"], "no map");
    expect(&at(&format!("{import} --map npari")), 2, &["did you mean 'napari'"], "map");
    folder.write("turned.npy", npy(&[5, 4, 3], &[1.0; 60]));
    expect(&at("labels import turned.npy --map from-0 --like grey.npy -o l/a"), 65, &["--axes xyz"], "turned");
    folder.write("part.npy", npy(&[3, 4, 4], &[1.0; 48]));
    expect(&at("labels import part.npy --map from-0 --like grey.npy -o l/a"), 65, &["no order of axes fits"], "part");
    let mut strange = vec![0.0; 60];
    (strange[7], strange[8], strange[59]) = (9.0, 9.0, f32::NAN);
    folder.write("strange.npy", npy(&[3, 4, 5], &strange));
    let says = ["3 voxels have values that are no class", "9 (2 voxels, first at x 2, y 1, z 0)", "NaN (1 voxels"];
    expect(&at("labels import strange.npy --map from-0 --like grey.npy -o l/a"), 65, &says, "strange");
    folder.write("empty.npy", npy(&[3, 4, 5], &[0.0; 60]));
    expect(&at("labels import empty.npy --map fiji --like grey.npy -o l/a"), 65, &["no voxel has a label"], "empty");
    expect(
        &at("labels import painted.npy --map napari --plane xz --at 0 --like grey.npy -o l/a"),
        65,
        &["fit the plane xy"],
        "plane",
    );
    expect(
        &at("labels import painted.npy --map napari --plane xy --at 0,1 --like grey.npy -o l/a"),
        2,
        &["3 images"],
        "at",
    );
    expect(&at("labels import painted.npy --map napari --erase -o l/a"), 2, &["--onto"], "erase");
    let turned = "labels import painted.npy --map napari --plane xy --at 0,1,2 --axes yzx --like grey.npy -o l/a";
    expect(&at(turned), 2, &["--axes orders a whole volume"], "axes of slices");
    assert!(!folder.0.join("l/a.mhd").exists());

    expect(&at("labels import painted.npy --map napari -o l/a"), 0, &[], "good");
    folder.write("nan.npy", npy(&[3, 4, 5], &[f32::NAN; 60]));
    expect(&at("labels lint l/a.mhd --like nan.npy"), 65, &["60 grey values are NaN", "1 faults"], "nan");
    folder.write("two.toml", "[[class]]\nid = 0\nname = \"a\"\n[[class]]\nid = 1\nname = \"b\"\n");
    expect(&at("labels lint l/a.mhd --classes two.toml"), 65, &["class 2 is not in the table: 4 voxels"], "table");
    expect(&at("labels lint l/a.mhd --classes netwrk"), 2, &["did you mean 'network'"], "name");
    expect(&at("labels export l/a.mhd o.npy --map 0=0,1=1"), 65, &["has no value in the mapping"], "export");
    expect(&at("labels stats grey.npy"), 66, &["name the .mhd file"], "no labels");
    // Labels that were replaced behind the ledger's back.
    expect(&at("labels import painted.npy --map napari --origin rule -o m/a"), 0, &[], "other");
    for suffix in ["raw", "mhd", "nhdr", "json"] {
        let name = format!("a.origin.{suffix}");
        std::fs::rename(folder.0.join("m").join(&name), folder.0.join("l").join(&name)).unwrap();
    }
    expect(&at("labels stats l/a.mhd"), 65, &["not those of the labels"], "swapped");
}

#[test]
fn labels_of_other_classes_are_no_labels_of_these() {
    let folder = folder("labels-table");
    let at = |words: &str| run(&folder.0, words);
    expect(&at("labels import painted.npy --map from-1 --classes cell --like grey.npy -o l/cell"), 0, &[], "in");
    let patches = "seg patches l/cell.mhd --planes xy --slices :: --size 4 --step 1 -o p.json";
    let other =
        ["l/cell.mhd: class 4 is 'plating electrode' in these labels, and 'electrode' in the table", "--classes"];
    expect(&at(patches), 65, &other, "patches");
    assert!(!folder.0.join("p.json").exists());
    expect(&at(&format!("{patches} --classes cell")), 0, &[], "the table that they are of");
    let eval = "seg eval --prediction l/cell.mhd --truth l/cell.mhd --draws 0 -o m.json";
    expect(&at(eval), 65, &other, "eval");
    // Who says what the values are says it of any table.
    let map = "--prediction-map cell-to-network --truth-map cell-to-network";
    expect(&at(&format!("{eval} {map}")), 0, &["accuracy"], "mapped");
}

/// A cube whose layers lie along y, and labels of it with z and y exchanged: the shape says nothing.
#[test]
fn labels_that_lie_otherwise_than_the_grey_values_are_told() {
    let folder = Scratch::new("labels-lie");
    let at = |words: &str| run(&folder.0, words);
    let cube = |of: &dyn Fn([usize; 3]) -> f32| -> Vec<f32> {
        (0..4096).map(|i| of([i % 16, i / 16 % 16, i / 256])).collect()
    };
    let layer = |v: usize| (usize::from(v >= 5) + usize::from(v >= 11)) as f32;
    let grey = cube(&|[x, y, z]| layer(y) + (x * 7 + y * 13 + z * 29) as f32 % 11.0 / 22.0);
    folder.write("grey.npy", npy(&[16; 3], &grey));
    folder.write("right.npy", npy(&[16; 3], &cube(&|[_, y, _]| layer(y))));
    folder.write("turned.npy", npy(&[16; 3], &cube(&|[_, _, z]| layer(z))));
    for (name, warned) in [("right", false), ("turned", true)] {
        let output = at(&format!("labels import {name}.npy --map from-0 --like grey.npy -o l/{name}"));
        expect(&output, 0, &[], name);
        assert_eq!(stderr(&output).contains("with axes yzx 9"), warned, "{}", stderr(&output));
    }
    let right = at("labels lint l/right.mhd --like grey.npy");
    expect(&right, 0, &["fine"], "right");
    assert!(!stdout(&right).contains("warning"), "{}", stdout(&right));
    let says = ["warning: the classes explain 0 % of the variance", "with axes yzx 9", "1 warnings, no faults"];
    expect(&at("labels lint l/turned.mhd --like grey.npy"), 0, &says, "turned");
    // What it says helps.
    expect(&at("labels import l/turned.mhd --axes yzx --like grey.npy -o l/back"), 0, &[], "back");
    expect(&at("labels lint l/back.mhd --like grey.npy"), 0, &["fine"], "back");
    expect(&at("labels diff l/back.mhd l/right.mhd"), 0, &["0 of 4096 voxels"], "back");
}

/// Fiji saves labels with a lookup table as a palette.
#[test]
fn indices_of_a_palette_are_labels_and_no_grey_values() {
    let folder = folder("labels-palette");
    let at = |words: &str| run(&folder.0, words);
    expect(&at("labels import painted.npy --map napari --like grey.npy -o l/a"), 0, &[], "in");
    expect(&at("labels export l/a.mhd o.tiff --map fiji"), 0, &[], "out");
    // Every page's photometric interpretation (tag 262, one u16) from 1 to 3.
    let mut tiff = std::fs::read(folder.0.join("o.tiff")).unwrap();
    let entry = [262u16, 3, 1, 0, 1, 0].map(u16::to_le_bytes).concat();
    let places: Vec<usize> = (0..tiff.len() - entry.len()).filter(|&i| tiff[i..].starts_with(&entry)).collect();
    assert_eq!(places.len(), 3);
    places.into_iter().for_each(|i| tiff[i + 8] = 3);
    folder.write("palette.tiff", tiff);
    expect(&at("labels import palette.tiff --map fiji --like grey.npy -o l/p"), 0, &["labelled"], "palette");
    expect(&at("labels diff l/a.mhd l/p.mhd"), 0, &["0 of 60 voxels"], "palette");
    expect(&at("convert palette.tiff grey.mhd"), 65, &["not grey: a palette"], "grey");
    expect(&at("labels import painted.npy --map napari --like palette.tiff -o l/q"), 65, &["palette"], "like");
}

#[test]
fn labels_go_out_as_metaimage_and_as_single_images() {
    let folder = folder("labels-out");
    let at = |words: &str| run(&folder.0, words);
    expect(&at("labels import painted.npy --map napari --like grey.npy -o l/a"), 0, &[], "in");
    expect(&at("labels export l/a.mhd out/itk.mhd --map napari --axes x-yz"), 0, &["5 x 4 x 3 u8"], "mhd");
    expect(&at("verify out"), 0, &[], "verify");
    // Its values are those of napari, 0 for what nobody painted: nothing takes them for a ledger's.
    expect(&at("labels import out/itk.mhd -o l/b"), 2, &["--map is missing"], "not guessed");
    expect(&at("labels stats out/itk.mhd"), 65, &["exported for another program"], "no ledger");
    let back = "labels import out/itk.mhd --map napari --axes x-yz --like grey.npy -o l/b";
    expect(&at(back), 0, &[], "back");
    expect(&at("labels diff l/a.mhd l/b.mhd"), 0, &["0 of 60 voxels"], "mhd");
    expect(&at("labels export l/a.mhd out/itk.mhd --map napari"), 73, &["exists"], "there already");
    let slices = "labels export l/a.mhd cuts/slice_#.tif --map fiji --axes yzx";
    expect(&at(slices), 0, &["4 images of 3 x 5 u8"], "slices");
    assert!((0..4).all(|k| folder.0.join(format!("cuts/slice_0000{k}.tif")).is_file()));
    expect(&at("labels import cuts --map fiji --axes yzx --like grey.npy -o l/c"), 0, &[], "slices back");
    expect(&at("labels diff l/a.mhd l/c.mhd"), 0, &["0 of 60 voxels"], "slices");
    expect(&at("labels export l/a.mhd cuts/s_#.tif --map 0=0,1=1"), 65, &["has no value in the mapping"], "unnamed");
    expect(&at("labels export l/a.mhd o.png --map fiji"), 2, &["NAME_#.tiff"], "png");
}

#[test]
fn an_export_spares_ledgers_and_its_folder_may_have_any_name() {
    let folder = folder("labels-spared");
    let at = |words: &str| run(&folder.0, words);
    for name in ["a", "b"] {
        expect(&at(&format!("labels import painted.npy --map napari --like grey.npy -o l/{name}")), 0, &[], name);
    }
    let export = |out: &str| at(&format!("labels export l/a.mhd {out} --map napari --overwrite"));
    expect(&export("l/a.mhd"), 2, &["OUT is LABELS itself"], "itself");
    expect(&export("l/../l/a.mhd"), 2, &["OUT is LABELS itself"], "itself by another way");
    expect(&export("l/b.mhd"), 2, &["labels with a ledger"], "another");
    expect(&export("l/a.origin.mhd"), 2, &["labels with a ledger"], "origins");
    expect(&at("labels diff l/a.mhd l/b.mhd"), 0, &["0 of 60 voxels"], "as they were");
    std::fs::create_dir(folder.0.join("r#1")).unwrap();
    expect(&export("r#1/x.tiff"), 0, &[], "a folder with a #");
    expect(&at("convert grey.npy r#1/g.tiff"), 0, &[], "convert");
    expect(&export("r#1/s_#.tiff"), 0, &["3 images"], "slices in it");
    assert!(["x.tiff", "g.tiff", "s_00002.tiff"].iter().all(|name| folder.0.join("r#1").join(name).is_file()));
}
