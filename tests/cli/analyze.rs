//! `analyze`, through the program: every number against the truth by independent counting, the same bits in every way, and
//! what is refused.

use crate::common::numbers::Numbers;
use crate::common::{Scratch, expect, json, npy, npy_of, run, stderr};
use std::path::Path;

const NAMES: [&str; 7] =
    ["background", "dendrite", "pit", "deposited", "plating electrode", "redeposited", "stripping electrode"];
const NX: usize = 64;
const NY: usize = 288;
const NZ: usize = 48;
const V: f64 = 1.33;
const COLUMNS: f64 = (NX * NZ) as f64;

/// Labels of a step, read as bytes.
fn labels(folder: &Path, k: usize) -> Vec<u8> {
    let bytes = std::fs::read(folder.join(format!("cell/truth/step_{k:02}/label.raw"))).unwrap();
    assert_eq!(bytes.len(), NX * NY * NZ);
    bytes
}

/// Voxels, first and last y of both electrodes in a column.
type Ends = [(usize, usize, usize); 2];

/// What a stranger counts in a column: voxels of each class, first and last of each.
fn column(labels: &[u8], c: usize) -> [Option<(usize, usize, usize)>; 7] {
    let (x, z) = (c % NX, c / NX);
    let mut seen = [None; 7];
    for y in 0..NY {
        let one = &mut seen[labels[(z * NY + y) * NX + x] as usize];
        *one = one.map_or(Some((1, y, y)), |(n, first, _)| Some((n + 1, first, y)));
    }
    seen
}

fn made(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    expect(&run(&folder.0, "phantom cell -o cell --preset tiny --mode labels --seed 2 -q"), 0, &[], "cell");
    folder
}

#[test]
fn every_number_is_the_truth_by_independent_counting() {
    let folder = made("analyze-truth");
    expect(&run(&folder.0, "analyze cell -o out"), 0, &["void.area"], "analyze");
    let numbers = Numbers::of(&folder.0.join("out/results.json"));
    let told = json(&folder.0.join("out/results.json"));
    assert_eq!(told.get("parameters").unwrap().need_u64("turn_used").unwrap(), 12);
    let truth = json(&folder.0.join("cell/truth/truth.json"));
    let steps = truth.need_arr("steps").unwrap();
    let counts = |labels: &[u8], class: usize| -> Vec<f64> {
        (0..NX * NZ).map(|c| column(labels, c)[class].map_or(0.0, |(n, _, _)| n as f64)).collect()
    };
    let sum = |v: &[f64]| v.iter().sum::<f64>();
    let all: Vec<Vec<u8>> = (0..25).map(|k| labels(&folder.0, k)).collect();
    let pits: Vec<f64> = counts(&all[12], 2);
    let thickness =
        |k: usize, class: usize| all[k].iter().filter(|l| **l as usize == class).count() as f64 * V / COLUMNS;
    for k in 0..25 {
        let (l, step) = (&all[k], Some(k));
        let counted = steps[k].get("counted").unwrap();
        for (class, name) in NAMES.iter().enumerate() {
            let n = l.iter().filter(|l| **l as usize == class).count() as f64;
            numbers.is("voxels", name, step, n);
            numbers.is("volume", name, step, n * V * V * V);
            numbers.is("thickness", name, step, n * V / COLUMNS);
            let area = counts(l, class).iter().filter(|n| **n > 0.0).count() as f64 / COLUMNS;
            numbers.is("occupied", name, step, area);
            let said = counted.get(name).unwrap();
            numbers.is("voxels", name, step, said.need_f64("voxels").unwrap());
            numbers.is("thickness", name, step, said.need_f64("thickness_um").unwrap());
            numbers.is("occupied", name, step, said.need_f64("area").unwrap());
        }
        let of = |classes: &[usize]| classes.iter().map(|&c| thickness(k, c)).sum::<f64>();
        numbers.is("thickness.side", "plating side", step, of(&[4, 3]));
        numbers.is("thickness.side", "stripping side", step, of(&[6, 5]));
        numbers.is("thickness.lithium", "lithium", step, of(&[1, 3, 4, 5, 6]));
        // Geometry: every column has both electrodes.
        let ends: Vec<Ends> = (0..NX * NZ).map(|c| [4, 6].map(|class| column(l, c)[class].unwrap())).collect();
        let mean = |f: &dyn Fn(&Ends) -> f64| ends.iter().map(f).sum::<f64>() / COLUMNS * V;
        numbers.is("gap", "electrodes", step, mean(&|[p, s]| (s.1 - p.2 - 1) as f64));
        numbers.is("outer", "electrodes", step, mean(&|[p, s]| (s.2 - p.1 + 1) as f64));
        if k > 0 {
            let moved = steps[k].get("step").unwrap().need_f64("plating_side_moved_voxels").unwrap();
            numbers.is("displacement", "plating electrode", step, -moved * V);
            numbers.is("displacement", "stripping electrode", step, 0.0);
            numbers.is("swelling.outer", "electrodes", step, moved * V);
        }
        // Charge: 0.125 mAh a segment; a scan begins after its segment.
        let (plus, minus) = (0.125 * k.min(12) as f64, 0.125 * k.saturating_sub(12) as f64);
        numbers.is("charge.positive", "cell", step, plus);
        numbers.is("charge.negative", "cell", step, minus);
        numbers.is("charge.per_area", "cell", step, (plus - minus) / 0.5);
        numbers.is("charge.in_field", "cell", step, (plus - minus) / 0.5e8 * COLUMNS * V * V);
        numbers.is("faraday.mass_per_area", "cell", step, (plus - minus) / 0.5 / 3860.0);
        numbers.is("faraday.mass_in_field", "cell", step, (plus - minus) / 0.5e8 * COLUMNS * V * V / 3860.0);
        let h = 1.5 / 6.0 / 3860.0 / 0.534 * 1e4;
        numbers.is("faraday.thickness", "cell", step, h * (plus - minus) / 0.125);
        numbers.is("faraday.volume_in_field", "cell", step, h * (plus - minus) / 0.125 * COLUMNS * V * V);
        if (1..=12).contains(&k) {
            let ratio = (of(&[4, 3]) - thickness(0, 4)) / (h * k as f64);
            numbers.is("ratio.per_area", "plated", step, ratio);
            numbers.is("ratio.whole_cell", "plated", step, ratio * COLUMNS * V * V / 0.5e8);
            // What the timetable strips is what the current moved, but for a part of a voxel in the field.
            assert!((numbers.get("ratio.per_area", "stripped", step) - 1.0).abs() < 1e-3);
        }
        if k > 12 {
            let now = counts(l, 5);
            let unfilled: Vec<f64> = pits.iter().zip(&now).map(|(p, r)| (p - r).max(0.0)).collect();
            let area = unfilled.iter().filter(|u| **u > 0.0).count() as f64 / COLUMNS;
            numbers.is("unfilled.area", "pits", step, area);
            numbers.is("pit_fill.thickness", "pits", step, 1.0 - sum(&unfilled) / sum(&pits));
            let pit_area = pits.iter().filter(|p| **p > 0.0).count() as f64 / COLUMNS;
            numbers.is("pit_fill.area", "pits", step, 1.0 - area / pit_area);
            let mut void = vec![0.0; NX * NZ];
            for (i, (a, b)) in all[12].iter().zip(l).enumerate() {
                void[i / (NX * NY) * NX + i % NX] += f64::from(u8::from(*a == 2 && *b != 5));
            }
            let area = void.iter().filter(|v| **v > 0.0).count() as f64 / COLUMNS;
            numbers.is("void.area", "pits", step, area);
            numbers.is("void.contact", "pits", step, 1.0 - area);
            numbers.is("pit_fill.voxels", "pits", step, 1.0 - sum(&void) / sum(&pits));
            let side = |k: usize, c: usize| (counts(&all[k], 3)[c] + counts(&all[k], 1)[c]) * V;
            if k == 24 {
                let (a, b): (Vec<f64>, Vec<f64>) = {
                    let before: Vec<f64> =
                        counts(&all[12], 3).iter().zip(counts(&all[12], 1)).map(|(a, b)| a + b).collect();
                    let after: Vec<f64> = counts(l, 3).iter().zip(counts(l, 1)).map(|(a, b)| a + b).collect();
                    (before, after)
                };
                assert_eq!(side(24, 0), b[0] * V);
                let decrease = a.iter().zip(&b).map(|(a, b)| (a - b).max(0.0)).sum::<f64>() * V / COLUMNS;
                numbers.is("decrease", "plating side", step, decrease);
                assert!((area - 0.539).abs() < 1e-3, "the phantom plans 0.539, counted are {area}");
            }
        }
        let (a, b) = (counts(l, 2), counts(l, 1));
        if k > 0 {
            numbers.is("pearson", "pit - dendrite", step, naive_pearson(&a, &b));
        }
        let m1 = a.iter().zip(&b).filter(|(_, b)| **b > 0.0).map(|(a, _)| a).sum::<f64>() / sum(&a);
        if k > 0 {
            numbers.is("coloc2.m1", "pit - dendrite", step, m1);
            let of = |name: &str| numbers.get(name, "pit - dendrite", step);
            let mean = |v: &[f64]| sum(v) / COLUMNS;
            assert!((of("coloc2.intercept") - (mean(&b) - of("coloc2.slope") * mean(&a))).abs() < 1e-9);
            assert!(of("coloc2.threshold1") >= 0.0 && of("coloc2.threshold2") >= 0.0);
        }
        if [6, 18, 24].contains(&k) {
            let grades = flooded(l);
            let whole = l.iter().filter(|l| **l == 1).count() as f64;
            numbers.is("grade.volume", "connected", step, grades[0] as f64 * V * V * V);
            numbers.is("grade.volume", "fragile", step, grades[1] as f64 * V * V * V);
            let rest: f64 =
                ["bridged 1", "bridged 2", "isolated"].iter().map(|g| numbers.get("grade.part", g, step)).sum();
            assert!((rest * whole - grades[2] as f64).abs() < 1e-6);
        }
    }
    let side = |k: usize| thickness(k, 6) + thickness(k, 5);
    numbers.is("rate.end_points", "stripping side, charge", None, (side(12) - side(0)) / 12.0);
    numbers.is("rate.end_points", "stripping side, discharge", None, (side(24) - side(12)) / 12.0);
    // The timetable's decay has a time of 3 steps; the layer is at least a voxel thick where it is.
    assert!((numbers.get("decay.time", "deposited", None) - 3.0).abs() < 0.05);
    assert_eq!(numbers.get("remaining.volume", "dendrite", Some(24)), numbers.get("volume", "dendrite", Some(24)));
    assert!(numbers.get("volume", "dendrite", Some(13)) > numbers.get("volume", "dendrite", Some(12)));
    // Maps and tables are those numbers.
    let map = |words: &str, file: &str| -> Vec<f64> {
        expect(&run(&folder.0, &format!("convert {words} {file}")), 0, &[], words);
        let bytes = std::fs::read(folder.0.join(file)).unwrap();
        let values = bytes[bytes.len() - 4 * NX * NZ..].chunks_exact(4);
        values.map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
    };
    let void = map("out/maps/step_24.void.tif", "void.npy");
    numbers.is("void.area", "pits", Some(24), void.iter().filter(|v| **v > 0.0).count() as f64 / COLUMNS);
    let gap = sum(&map("out/maps/step_24.gap.tif", "gap.npy")) / COLUMNS;
    assert!((gap / numbers.get("gap", "electrodes", Some(24)) - 1.0).abs() < 1e-6, "{gap}");
    // The deepest class of a column, as Fiji's Z Project takes it.
    let deepest = map("cell/truth/step_24/label.mhd --project max --along y", "max.npy");
    let counted = (0..NX * NZ).map(|c| (0..7).rev().find(|&k| column(&all[24], c)[k].is_some()).unwrap() as f64);
    assert!(deepest.iter().copied().eq(counted), "a projection");
    let table = std::fs::read_to_string(folder.0.join("out/tables/pits.csv")).unwrap();
    assert!(table.lines().all(|l| l.split(',').count() == 11), "{table}");
}

fn naive_pearson(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let dot = |x: &[f64], mx: f64, y: &[f64], my: f64| x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>();
    dot(a, ma, b, mb) / (dot(a, ma, a, ma) * dot(b, mb, b, mb)).sqrt()
}

/// Dendritic voxels that a flood from the electrodes through lithium reaches at 6 neighbours, at 26 only, not at all.
fn flooded(labels: &[u8]) -> [usize; 3] {
    let reach = |six: bool| {
        let mut reached = vec![false; labels.len()];
        let mut open: Vec<usize> = (0..labels.len()).filter(|&i| [4, 6].contains(&labels[i])).collect();
        open.iter().for_each(|&i| reached[i] = true);
        while let Some(i) = open.pop() {
            let at = [i / (NX * NY), i / NX % NY, i % NX].map(|v| v as i64);
            for k in 0..27 {
                let d = [k / 9 - 1, k / 3 % 3 - 1, k % 3 - 1];
                let to = [at[0] + d[0], at[1] + d[1], at[2] + d[2]];
                let inside = (0..3).all(|a| (0..[NZ, NY, NX][a] as i64).contains(&to[a]));
                if !inside || six && d.iter().map(|v| v.abs()).sum::<i64>() != 1 {
                    continue;
                }
                let j = (to[0] as usize * NY + to[1] as usize) * NX + to[2] as usize;
                if !reached[j] && [1, 3, 4, 5, 6].contains(&labels[j]) {
                    reached[j] = true;
                    open.push(j);
                }
            }
        }
        reached
    };
    let (six, all) = (reach(true), reach(false));
    let count = |keep: &dyn Fn(usize) -> bool| (0..labels.len()).filter(|&i| labels[i] == 1 && keep(i)).count();
    [count(&|i| six[i]), count(&|i| !six[i] && all[i]), count(&|i| !all[i])]
}

#[test]
fn bits_are_the_same_in_every_way_and_a_folder_is_not_taken_twice() {
    let folder = made("analyze-bits");
    let at = |words: &str| run(&folder.0, words);
    expect(&at("analyze cell -o one --threads 1 --io pread --isa scalar -q"), 0, &[], "one");
    expect(&at("analyze cell -o three --threads 3 -q"), 0, &[], "three");
    // analysis.json has the digests of everything else.
    for name in ["analysis.json", "results.json", "tables/dendrite_list.csv", "maps/step_24.void.tif"] {
        let [a, b] = ["one", "three"].map(|d| std::fs::read(folder.0.join(d).join(name)).unwrap());
        assert!(a == b, "{name}");
    }
    expect(&at("verify one three/analysis.json"), 0, &["ok    one/analysis.json  320 files"], "verify");
    let text = std::fs::read_to_string(folder.0.join("one/results.json")).unwrap();
    folder.write("three/results.json", text.replacen("1.", "2.", 1));
    expect(&at("verify three"), 3, &["three/results.json", "is not what was written"], "changed");
    assert!(!text.contains(&*folder.0.to_string_lossy()) && !text.contains("threads"));
    expect(&at("analyze cell -o one"), 73, &["finished analysis"], "twice");
    folder.write("one/tables/mine.txt", "kept");
    expect(&at("analyze cell -o one --seed 5 --maps none --overwrite -q"), 0, &[], "replaced");
    assert!(!folder.0.join("one/maps").exists(), "maps of the analysis before");
    assert!(folder.0.join("one/tables/mine.txt").exists(), "somebody's own file");
    assert_ne!(std::fs::read(folder.0.join("one/results.json")).unwrap(), text.as_bytes());
    // Begun by another one.
    std::fs::remove_file(folder.0.join("one/analysis.json")).unwrap();
    expect(&at("analyze cell -o one --seed 6"), 73, &["beginning of another"], "other");
    expect(&at("analyze cell -o one --seed 5 --maps none -q"), 0, &[], "taken up");
    expect(&at("analyze cell -o cell"), 73, &["something else"], "a series");
}

#[test]
fn anyones_tiffs_are_analysed_with_a_table_and_a_voxel_size() {
    let folder = made("analyze-tiff");
    let at = |words: &str| run(&folder.0, words);
    std::fs::create_dir(folder.0.join("t")).unwrap();
    for k in [0, 6, 12, 18, 24] {
        let words = format!("convert cell/truth/step_{k:02}/label.mhd t/scan_{k:02}.tif");
        expect(&at(&words), 0, &[], "convert");
    }
    let mut table = String::new();
    for (id, name) in NAMES.iter().enumerate() {
        table += &format!("[[class]]\nid = {id}\nname = \"my {name}\"\n");
    }
    folder.write("mine.toml", table);
    expect(&at("analyze cell -o whole -q"), 0, &[], "whole");
    let mine = "analyze t --classes mine.toml --voxel 1.33um --turn 12 --roles plating=4,deposited=3,dendrite=1,\
                stripping=6,redeposited=5,pit=2";
    let done = at(&format!("{mine} -o mine"));
    expect(&done, 0, &["left out: charge, Faraday, capacity ratios: no current log"], "tiff");
    let (a, b) = (Numbers::of(&folder.0.join("whole/results.json")), Numbers::of(&folder.0.join("mine/results.json")));
    for k in [0, 6, 12, 18, 24] {
        b.is("volume", "my deposited", Some(k), a.get("volume", "deposited", Some(k)));
        b.is("gap", "electrodes", Some(k), a.get("gap", "electrodes", Some(k)));
        b.is("dead.volume", "dendrite", Some(k), a.get("dead.volume", "dendrite", Some(k)));
    }
    b.is("void.area", "pits", Some(24), a.get("void.area", "pits", Some(24)));
    // Maps are those of the parts whatever their classes are called, and the page has them.
    for name in ["dendrite", "void"] {
        let [one, other] =
            ["whole", "mine"].map(|d| std::fs::read(folder.0.join(format!("{d}/maps/step_24.{name}.tif"))).unwrap());
        assert!(one == other, "{name}");
    }
    expect(&at("report mine -o mine.html --figures figures"), 0, &[], "report");
    let page = std::fs::read_to_string(folder.0.join("mine.html")).unwrap();
    for text in ["Dendrites: thickness along the depth: my dendrite", "href=\"#map-dendrite\"", "1.65e9 is a total"] {
        assert!(page.contains(text), "{text}");
    }
    for name in ["volumes.svg", "volumes.png", "map_dendrite.step_24.svg", "map_dendrite.step_24.png"] {
        let bytes = std::fs::read(folder.0.join("figures").join(name)).unwrap();
        assert!(bytes.starts_with(b"<svg xmlns=") || bytes.starts_with(b"\x89PNG"), "{name}");
    }
    b.is("rate.end_points", "plating side, charge", None, a.get("rate.end_points", "plating side, charge", None));
    assert!(!b.0.keys().any(|(d, _, _)| d.starts_with("charge") || d.starts_with("ratio")));
    // A box, given with commas, through other axes: x and z exchanged, depth from the other side.
    let boxed = "analyze t/scan_00.tif,t/scan_24.tif --voxel 1.33um --turn 0 --region x=10:30,z=5:40 -q -o boxed";
    expect(&at(boxed), 0, &[], "box");
    let b = Numbers::of(&folder.0.join("boxed/results.json"));
    let l = labels(&folder.0, 24);
    let inside = |i: usize| (10..30).contains(&(i % NX)) && (5..40).contains(&(i / NX / NY));
    let n = (0..l.len()).filter(|&i| l[i] == 6 && inside(i)).count() as f64;
    b.is("voxels", "stripping electrode", Some(1), n);
    b.is("thickness", "stripping electrode", Some(1), n * V / (20.0 * 35.0));
    let turned = "analyze t/scan_00.tif,t/scan_24.tif --voxel 1.33um --turn 0 --axes x-yz -q \
                  --roles plating=6,stripping=4,deposited=5,redeposited=3 -o turned";
    expect(&at(turned), 0, &[], "turned");
    let t = Numbers::of(&folder.0.join("turned/results.json"));
    t.is("gap", "electrodes", Some(1), a.get("gap", "electrodes", Some(24)));
    // Labels that say of which table they are are not taken for those of another.
    folder.write(
        "none.toml",
        "axis = \"y\"\n[[window]]\nclass = \"my pit\"\nfrom = 0\nto = 288\nbecomes = \"my background\"\n",
    );
    let after = "seg after cell/truth/step_00/label.mhd --rules none.toml --classes mine.toml -o after -q";
    expect(&at(after), 0, &[], after);
    let other = "class 0 is 'my background' in these labels, and 'background' in the table";
    expect(&at("analyze after.mhd -o no"), 65, &[other, "--classes"], "another table");
    expect(&at("analyze after.mhd --map 0=0,1=1,2=2,3=3,4=4,5=5,6=6 -q -o said"), 0, &[], "said what values mean");
    // A list with times and a log gives charges.
    let mut list =
        String::from("voxel_um = 1.33\nlog = \"cell/potentiostat.csv\"\nclock_offset_s = 0\ncell_area_cm2 = 0.5\n");
    for k in [0, 12, 24] {
        let start = if k == 0 { 0 } else { 60 * (20 + 30 * (k - 1) + 15) };
        list += &format!("[[scan]]\nlabels = \"t/scan_{k:02}.tif\"\nstep = {k}\nstart_s = {start}\n");
    }
    folder.write("list.toml", list);
    expect(&at("analyze list.toml -q -o listed"), 0, &[], "list");
    let c = Numbers::of(&folder.0.join("listed/results.json"));
    c.is("ratio.per_area", "redeposited", Some(24), a.get("ratio.per_area", "redeposited", Some(24)));
    c.is(
        "current.mean",
        "plating side",
        Some(12),
        (a.get("thickness.side", "plating side", Some(12)) - a.get("thickness.side", "plating side", Some(0)))
            * 0.534e-4
            * 3860.0
            / 2.0,
    );
}

#[test]
fn grey_values_close_the_balance_and_a_known_confusion_is_undone() {
    let folder = made("analyze-grey");
    let at = |words: &str| run(&folder.0, words);
    // The truth's solid lithium as grey values: 1 is lithium, 0 what fills the pores.
    let grey = "analyze cell --grey truth/step_#/li_frac.mhd --grey-lithium 1 --grey-fill 0 --maps none -q -o grey";
    expect(&at(grey), 0, &[], "grey");
    let numbers = Numbers::of(&folder.0.join("grey/results.json"));
    let levels = |k: usize| {
        let bytes = std::fs::read(folder.0.join(format!("cell/truth/step_{k:02}/li_frac.raw"))).unwrap();
        bytes.iter().map(|&b| f64::from(b)).sum::<f64>()
    };
    let total = levels(0);
    for k in 0..25 {
        assert_eq!(levels(k), total, "lithium is kept");
        let got = numbers.get("solid.total", "lithium", Some(k));
        // f32 holds a level's 255th to 6e-8.
        assert!((got / (total / 255.0 * V / COLUMNS) - 1.0).abs() < 1e-7, "step {k}: {got}");
    }
    for (of, step) in [("stripped", 12), ("redeposited", 24), ("plated + dendrites", 12)] {
        let ratio = numbers.get("solid.ratio_per_area", of, Some(step));
        assert!((ratio - 1.0).abs() < 1e-3, "{of}: {ratio}");
        // Where pores take lithium's place, less of a voxel at an interface is lithium.
        let [solid, labels] = ["solid.ratio_per_area", "ratio.per_area"].map(|name| numbers.half(name, of, step));
        assert!(solid > 0.0 && solid <= labels * (1.0 + 1e-9), "{of}: {solid} {labels}");
    }
    let porous = numbers.get("solid.fraction", "redeposited", Some(24));
    // Its layer's interface off by a part r of it: a shell of lithium alone, or of pores.
    let r = numbers.half("thickness", "redeposited", 24) / numbers.get("thickness", "redeposited", Some(24));
    let ends = [(porous / (1.0 + r)).min((porous - r) / (1.0 - r)), ((porous + r) / (1.0 + r)).max(porous / (1.0 - r))];
    let half = numbers.half("solid.fraction", "redeposited", 24);
    assert!(porous > r && porous < 1.0 - r && (half - (ends[1] - ends[0]) / 2.0).abs() < 1e-9, "{half} {ends:?}");
    assert!((porous - 1.0 + numbers.get("apparent_porosity", "redeposited", Some(24))).abs() < 1e-3);
    let unsaid = "analyze cell --grey truth/step_#/li_frac.mhd -o no";
    expect(&at(unsaid), 2, &["--grey-fill"], "unsaid");
    let gone = "analyze cell --grey truth/step_#/grey.mhd --grey-fill 0 -o no";
    expect(&at(gone), 66, &["step 0 is missing"], "no grey");

    // Step 11 stands for a prediction of step 12: its confusion, undone, turns its volumes into those of step 12.
    let eval = "seg eval --prediction cell/truth/step_11/label.mhd --truth cell/truth/step_12/label.mhd --classes cell \
                --draws 0 --boundary 0 -q -o m.json";
    expect(&at(eval), 0, &[], "eval");
    expect(&at("analyze cell/truth/step_11/label.mhd --confusion m.json --maps none -q -o one"), 0, &[], "one");
    // The page shows grey values with the classes over them, and how good the classes are.
    let page = "report one --volumes cell/truth/step_11/li_frac.mhd --labels cell/truth/step_11/label.mhd";
    expect(&at(&format!("{page} --quality m.json -o page.html")), 0, &[], "page");
    let text = std::fs::read_to_string(folder.0.join("page.html")).unwrap();
    for part in ["z 24, classes", "y 144, classes", "<section id=\"quality\">", "m.json, SHA-256", "href=\"#quality\""]
    {
        assert!(text.contains(part), "{part}");
    }
    let refused =
        |words: &str, code: i32, says: &str| expect(&at(&format!("{words} -o no.html")), code, &[says], words);
    refused(&page.replace("report one", "report"), 2, "nobody says what the --labels mean");
    refused(&page.replace("label.mhd", "label.mhd,cell/truth/step_12/label.mhd"), 2, "--labels names 2 volumes");
    refused(
        &page.replace("step_11/label.mhd", "step_11/li_frac.mhd"),
        65,
        "is no class: the numbers are of labels with 0=0",
    );
    refused("report one --quality cell/series.json", 65, "is not what `seg eval` of this version writes");
    // Pixels of both sections with classes.
    let painted = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(folder.0.join(file)).unwrap();
        let png = |title: &str| {
            let picture = text.split_once(title).unwrap().1.split_once("base64,").unwrap().1;
            picture.split_once('"').unwrap().0.to_string()
        };
        ["<title>z 24, classes", "<title>y 144, classes"].map(png).to_vec()
    };
    let analyzed = |labels: &str, how: &str| {
        expect(&at(&format!("analyze {labels} {how} --maps none -q -o of_it --overwrite")), 0, &[], how);
    };
    let page_of = |labels: &str| -> Vec<String> {
        let page = page.replace("report one", "report of_it").replace("cell/truth/step_11/label.mhd", labels);
        expect(&at(&format!("{page} -o of_it.html --overwrite")), 0, &[], labels);
        painted("of_it.html")
    };
    // A box that is the whole leaves all of it; outside of a smaller one nothing is painted, as if it were background.
    let (label, whole) = ("cell/truth/step_11/label.mhd", painted("page.html"));
    analyzed(label, "--region z=0:48,x=0:64,y=0:288");
    assert!(page_of(label) == whole);
    analyzed(label, "--region x=10:30,y=0:140");
    let boxed = page_of(label);
    let bytes = std::fs::read(folder.0.join("cell/truth/step_11/label.raw")).unwrap();
    let inside = |i: usize| (10..30).contains(&(i % 64)) && i / 64 % 288 < 140;
    let cut: Vec<u8> = bytes.iter().enumerate().map(|(i, &l)| if inside(i) { l } else { 0 }).collect();
    folder.write("cut.npy", npy_of("|u1", &[48, 288, 64], &cut));
    expect(&at("convert cut.npy cut.mhd"), 0, &[], "cut");
    assert!(page_of("cut.mhd") == boxed && boxed[0] != whole[0] && boxed[1] != whole[1]);
    // Labels from 1, analysed as such, are painted as what they are.
    let shifted = "labels export cell/truth/step_11/label.mhd one.npy --classes cell --map from-1";
    expect(&at(shifted), 0, &[], "shifted");
    expect(&at("convert one.npy from_1.mhd"), 0, &[], "native");
    analyzed("from_1.mhd", "--map from-1 --voxel 1.33um");
    assert!(page_of("from_1.mhd") == whole);
    let c = Numbers::of(&folder.0.join("one/results.json"));
    for name in NAMES {
        c.is("corrected.volume", name, Some(0), numbers.get("volume", name, Some(12)));
    }
    assert!(c.get("volume", "pit", Some(0)) < c.get("corrected.volume", "pit", Some(0)));
    expect(&at("analyze cell --confusion cell/series.json -o no"), 65, &["another table"], "no confusion");
}

#[test]
fn bad_input_is_refused_with_its_reason() {
    let folder = made("analyze-refused");
    let at = |words: &str| run(&folder.0, words);
    let refused = |words: &str, code: i32, says: &[&str]| {
        expect(&at(&format!("analyze {words} -o no")), code, says, words);
        assert!(!folder.0.join("no/analysis.json").exists(), "{words}");
        let _ = std::fs::remove_dir_all(folder.0.join("no"));
    };
    refused("nothing", 66, &["step 0 is missing"]);
    refused(
        "cell --classes network",
        65,
        &["class 4 is 'plating electrode' in the series, and 'electrode' in the table"],
    );
    refused("cell --region x=5:5", 65, &["not empty"]);
    refused("cell --region x=0:65", 65, &["within the volume"]);
    refused("cell --voxel 1um", 65, &["--voxel says"]);
    refused("cell --turn 30", 2, &["no step 30"]);
    refused("cell --roles plating=dendrit", 2, &["did you mean 'dendrite'"]);
    refused("cell --map 0=0,1=1,2=2,3=3,4=4,5=5", 65, &["the value 6", "is no class"]);
    refused("cell --map 0=-,1=1,2=2,3=3,4=4,5=5,6=6", 65, &["nobody says"]);
    refused("cell --log cell/classes.csv", 65, &["no column of time"]);
    refused("cell --interface -1", 2, &["below zero"]);
    refused("cell/truth/step_00/label.mhd --cell-area 0.5", 2, &["--cell-area is given, and no log"]);
    // A log of another time; one that ends early; one scan outside of it is said, and no charge turns nothing.
    refused("cell --clock-offset 1000000", 65, &["25 scans begin before the log's first line", "--clock-offset"]);
    let log = std::fs::read_to_string(folder.0.join("cell/potentiostat.csv")).unwrap();
    let lines = |keep: &dyn Fn(f64) -> bool| -> String {
        let time = |l: &str| l.split(',').next().and_then(|t| t.parse().ok());
        log.lines().filter(|l| time(l).is_none_or(keep)).map(|l| format!("{l}\n")).collect()
    };
    folder.write("early.csv", lines(&|t| t < 3000.0));
    refused("cell --log early.csv", 65, &["scans begin after the log's last line", "a line of 0 mA"]);
    folder.write("late.csv", lines(&|t| t > 0.0));
    expect(&at("analyze cell --log late.csv --maps none -q -o late"), 0, &[], "late");
    let said = json(&folder.0.join("late/results.json")).get("notes").unwrap().to_line();
    assert!(said.contains("step 0 begins before the log's first line: its charge is 0"), "{said}");
    folder.write("rest.csv", "time_s,current_mA\n-100,0\n1e6,0\n");
    let rest = at("analyze cell --log rest.csv --maps none -o rest");
    expect(&rest, 0, &["left out: charge, Faraday, capacity ratios: no current flows in the log"], "rest");
    assert!(!stderr(&rest).contains("unfilled"));
    // Labels of a larger table.
    folder.write("two.toml", "[[class]]\nid = 0\nname = \"a\"\n[[class]]\nid = 1\nname = \"b\"\n");
    let six = "cell/truth/step_00/label.mhd";
    refused(&format!("{six} --classes two.toml"), 65, &["is no class"]);
    // Another shape, another voxel size.
    let other = "phantom cell -o small --preset small --mode labels --only 0 -q";
    expect(&at(other), 0, &[], "small");
    refused(&format!("{six},small/truth/step_00/label.mhd"), 65, &["register the scans onto one grid"]);
    expect(&at(&format!("convert {six} a.npy")), 0, &[], "npy");
    expect(&at("convert a.npy b.mhd --pixel 2um"), 0, &[], "mhd");
    refused(&format!("{six},b.mhd"), 65, &["one voxel size"]);
    refused("a.npy", 65, &["tells no voxel size"]);
    folder.write("flat.toml", "voxel_um = 0\n[[scan]]\nlabels = \"a.npy\"\n");
    refused("flat.toml", 65, &["a voxel of 0 is none"]);
    folder.write("typo.toml", "voxel = 1\n[[scan]]\nlabels = \"a.npy\"\n");
    refused("typo.toml", 65, &["did you mean 'voxel_um'"]);
    // A scan that is not there: in the series, in a folder.
    std::fs::rename(folder.0.join("cell/truth/step_07"), folder.0.join("away")).unwrap();
    refused("cell", 66, &["step 7 is missing", "not whole"]);
    std::fs::create_dir(folder.0.join("t")).unwrap();
    for k in [1, 2, 4] {
        std::fs::copy(folder.0.join("a.npy"), folder.0.join(format!("t/s{k}.npy"))).unwrap();
    }
    refused("t --voxel 1um", 65, &["step 3 is missing"]);
    std::fs::copy(folder.0.join("a.npy"), folder.0.join("t/s3.npy")).unwrap();
    std::fs::copy(folder.0.join("a.npy"), folder.0.join("t/fixed.npy")).unwrap();
    refused("t --voxel 1um", 65, &["has no number in its name"]);
    std::fs::remove_file(folder.0.join("t/fixed.npy")).unwrap();
    let done = at("analyze t --voxel 1um -o yes");
    expect(&done, 0, &["no current log, and no --turn"], "whole again");
    assert!(stderr(&done).contains("left out"));
}

/// A small cell in a `.npy` file: 6 deep of electrode on either side of 12, of which `layer` are deposited, and a dendrite.
fn small(folder: &Scratch, name: &str, layer: usize) {
    let one = |i: usize| match (i / 8 % 24, i % 8) {
        (y, _) if y < 6 => 4,
        (y, _) if y < 6 + layer => 3,
        (y, 3) if y < 9 + layer => 1,
        (y, _) if y < 18 => 0,
        _ => 6,
    };
    folder.write(name, npy_of("|u1", &[6, 24, 8], &(0..6 * 24 * 8).map(one).collect::<Vec<u8>>()));
}

#[test]
fn what_would_go_unnoticed_is_refused_or_said() {
    let folder = Scratch::new("analyze-unnoticed");
    let at = |words: &str| run(&folder.0, words);
    std::fs::create_dir(folder.0.join("t")).unwrap();
    ["t/s_00.npy", "t/s_01.npy", "t/s_02.npy"].iter().enumerate().for_each(|(k, name)| small(&folder, name, k));
    let refused = |words: &str, says: &[&str]| {
        expect(&at(&format!("analyze {words} --voxel 1um -o no --overwrite")), 65, says, words)
    };
    refused("t --axes z-yx", &["lies above the plating electrode", "exchange the electrodes"]);
    refused("t --region y=12:16", &["no scan has a voxel of lithium", "--region"]);
    refused("t/s_00.npy,t/s_01.npy,t/s_00.npy", &["step 2 is a file that another scan is"]);
    folder.write(
        "fall.toml",
        "[[scan]]\nlabels = \"t/s_00.npy\"\nminutes = 300\n[[scan]]\nlabels = \"t/s_01.npy\"\nminutes = 10\n",
    );
    refused("fall.toml", &["step 0 has 300 minutes", "never fall"]);
    std::fs::create_dir(folder.0.join("flat")).unwrap();
    for k in 0..3 {
        folder.write(&format!("flat/slice_{k}.npy"), npy_of("|u1", &[1, 24, 8], &[4; 192]));
    }
    refused("flat", &["slices of one scan", "folder of folders"]);
    // Classes that play no part have maps, too, whatever they are called.
    let names = ["background", "Li 0.5", "a b", "void", "a_b", "e", "f"];
    let table = names.iter().enumerate().map(|(id, name)| format!("[[class]]\nid = {id}\nname = \"{name}\"\n"));
    folder.write("odd.toml", table.collect::<String>());
    expect(&at("analyze t --voxel 1um --classes odd.toml -q -o odd"), 0, &[], "odd names");
    for k in 1..7 {
        assert!(folder.0.join(format!("odd/maps/step_00.class_{k}.tif")).is_file(), "class {k}");
    }
    expect(&at("report odd -o odd.html"), 0, &[], "odd report");
    let page = std::fs::read_to_string(folder.0.join("odd.html")).unwrap();
    assert!(page.contains("<h3>Li 0.5</h3>") && page.contains("<h3>a_b</h3>") && page.contains("<title>step 0: 0 to "));
    // A dendrite's place is that in the volume.
    expect(&at("analyze t --voxel 1um --region x=2:8,z=1:6 --maps none -q -o part"), 0, &[], "part");
    let list = std::fs::read_to_string(folder.0.join("part/tables/dendrite_list.csv")).unwrap();
    assert!(list.lines().nth(1).unwrap().contains(",3,8,1,"), "{list}");
    // A box without an electrode tells nothing of it, and says so.
    let half = at("analyze t --voxel 1um --region y=0:16 --turn 1 -o half");
    expect(&half, 0, &["left out: everything of stripping electrode: no voxel of it"], "half");
    let numbers = Numbers::of(&folder.0.join("half/results.json"));
    numbers.is("thickness.side", "plating side", Some(2), 8.0);
    assert!(!numbers.0.keys().any(|(d, of, _)| of.contains("stripping side") || d == "gap"));
    // Grey values lie beside the first of volumes with commas.
    let grey: Vec<f32> = (0..6 * 24 * 8).map(|i| if i / 8 % 24 < 12 { 1.0 } else { 0.5 }).collect();
    (0..2).for_each(|k| drop(folder.write(&format!("t/g_{k:02}.npy"), npy(&[6, 24, 8], &grey))));
    let dense = "analyze t/s_00.npy,t/s_01.npy --voxel 1um --grey g_#.npy --grey-fill 0 --grey-lithium 1 --maps none -q -o dense";
    expect(&at(dense), 0, &[], "grey");
    Numbers::of(&folder.0.join("dense/results.json")).is("solid.fraction", "stripping electrode", Some(1), 0.5);
    // The page names the record that it is of, and is of no other; what was warned of stands on it.
    folder.write("log.csv", "time_s,current_mA\n0,1\n1000,1\n2000,-1\n3000,-1\n");
    let list: String =
        (0..3).map(|k| format!("[[scan]]\nlabels = \"t/s_0{k}.npy\"\nstart_s = {}\n", 1200 * k)).collect();
    folder.write("list.toml", format!("voxel_um = 1\nlog = \"log.csv\"\n{list}"));
    let done = at("analyze list.toml -o out");
    expect(&done, 0, &["step 1 begins while current flows", "out/analysis.json: "], "list");
    let said = String::from_utf8_lossy(&done.stdout).trim().rsplit(' ').next().unwrap().to_string();
    expect(&at("report out -o out.html"), 0, &[], "report");
    let page = std::fs::read_to_string(folder.0.join("out.html")).unwrap();
    for text in ["taken as 0; see --clock-offset", "step 1 begins while current flows", &said] {
        assert!(page.contains(text), "{text}");
    }
    let text = std::fs::read_to_string(folder.0.join("out/results.json")).unwrap();
    folder.write("out/results.json", text.replacen("\"value\": 1", "\"value\": 2", 1));
    expect(&at("report out -o no.html"), 3, &["results.json", "is not what was written"], "tampered");
}
