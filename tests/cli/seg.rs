//! `seg …`: patches, splits, predictions and their figures, through the program.

use crate::common::{expect, json, labelled as folder, npy, run, stdout};
use tomolith::json::Json;

#[test]
fn patches_are_listed_and_dealt_and_leaks_are_told() {
    let folder = folder("seg-patches");
    let at = |words: &str| run(&folder.0, words);
    let patches = "seg patches c1:a=l/a.mhd c2:b=l/a.mhd --planes xy,xz,yz --slices ::4 --size 8 --step 4 \
                   --classes two.toml -o p.json";
    // xy: 3 slices of 4 · 3; xz: 5 of 2 · 3; yz: 4 of 2 · 4; twice. zy: those of yz, lying otherwise.
    expect(
        &at(patches),
        0,
        &[
            "xy                             72",
            "xz                             60",
            "yz                             64",
        ],
        "list",
    );
    let both = patches.replace("xy,xz,yz", "yz,zy").replace("p.json", "both.json");
    expect(&at(&both), 0, &["yz                             64", "zy                             64"], "two ways");
    // A slice is in one fold, whichever way it is seen.
    expect(
        &at("seg split both.json --by slice --ratios 50/50 -o both_split.json"),
        0,
        &["trained on 0.00 %"],
        "slices",
    );
    let by_patch = "seg split p.json --by patch --ratios 72/13/15 -o s.json";
    let says = ["train             142", "validation         25", "test               29", "were trained on"];
    expect(&at(by_patch), 0, &says, "split");
    let first = std::fs::read(folder.0.join("s.json")).unwrap();
    expect(&at(&format!("{by_patch} --overwrite --threads 3")), 0, &[], "again");
    assert_eq!(std::fs::read(folder.0.join("s.json")).unwrap(), first);
    let leak = |name: &str| {
        let split = json(&folder.0.join("s.json"));
        let leak = split.get("leaks").unwrap().get("validation").unwrap().get(name).cloned();
        leak.as_ref().and_then(Json::as_f64).unwrap()
    };
    assert!(leak("trained_on") > 0.5 && leak("near_training") >= leak("trained_on"));
    expect(&at("seg split p.json --by cell --validation c2 -o s.json --overwrite"), 0, &["trained on 0.00 %"], "cell");
    assert_eq!(leak("near_training"), 0.0);
    expect(&at("seg split p.json --by scan --ratios 50/50 --validation a -o t.json"), 2, &["exclude"], "both");
    expect(&at("seg split p.json --by scan --test d -o t.json"), 2, &["there are a, b"], "name");
    expect(
        &at("seg patches l/a.mhd --classes two.toml --slices :: --size 64 -o q.json"),
        65,
        &["no square of 64 fits"],
        "size",
    );
    expect(
        &at("seg patches c:a=l/a.mhd a=l/a.mhd --classes two.toml --slices :: --size 8 -o q.json"),
        2,
        &["two scans"],
        "names",
    );
    let changed =
        String::from_utf8(std::fs::read(folder.0.join("p.json")).unwrap()).unwrap().replace("\"c1\"", "\"c3\"");
    folder.write("changed.json", changed);
    expect(&at("seg split changed.json -o t.json"), 65, &["the file was changed"], "changed");
}

#[test]
fn predictions_have_the_same_bits_in_every_way_and_figures_follow() {
    let folder = folder("seg-predict");
    let at = |words: &str| run(&folder.0, words);
    let predict = "seg predict --weights w.safetensors --input grey.npy --grey 0,1 --classes two.toml --roi 8";
    for plane in ["xy", "xz", "yz", "zy"] {
        let base = format!("{predict} --plane {plane} --entropy --margin --confidence -o out/{plane}");
        expect(&at(&base), 0, &["16 x 20 x 12 u8 class"], plane);
        let digests = || {
            ["", ".entropy", ".margin", ".confidence"]
                .map(|m| std::fs::read(folder.0.join(format!("out/{plane}{m}.json"))).unwrap())
        };
        let first = digests();
        for how in ["--batch 3 --threads 3", "--isa scalar --threads 1"] {
            expect(&at(&format!("{base} --overwrite {how}")), 0, &[], how);
            assert_eq!(digests(), first, "{plane} {how}");
        }
        assert!(!folder.0.join(format!("out/{plane}.slices.raw")).exists());
    }
    expect(&at("verify out"), 0, &[], "verify");
    // A run that was stopped when all but the classes were finished.
    let class = || std::fs::read(folder.0.join("out/xy.json")).unwrap();
    let whole = class();
    for suffix in ["raw", "mhd", "nhdr", "json", "run.json"] {
        std::fs::remove_file(folder.0.join(format!("out/xy.{suffix}"))).unwrap();
    }
    let again = format!("{predict} --plane xy --entropy --margin --confidence -o out/xy");
    expect(&at(&again), 0, &[], "taken up");
    assert_eq!(class(), whole);
    expect(&at(&again), 73, &["exists"], "finished");
    let eval = "seg eval --prediction out/xy.mhd,out/xz.mhd --truth l/a.mhd,l/a.mhd --confidence out/xy.confidence.mhd,out/xz.confidence.mhd \
                --classes two.toml --units 2 --draws 50 -o metrics.json";
    let table = stdout(&at(eval));
    assert!(
        table.contains("foreground_iou") && table.contains("bright") && table.contains("calibration error"),
        "{table}"
    );
    let metrics = json(&folder.0.join("metrics.json"));
    let confusion = metrics.get("confusion").unwrap();
    assert_eq!(confusion.need_u64("voxels").unwrap(), 2 * 12 * 20 * 16);
    assert_eq!(metrics.need_arr("scans").unwrap().len(), 2);
    let first = std::fs::read(folder.0.join("metrics.json")).unwrap();
    expect(&at(&format!("{eval} --overwrite --threads 3")), 0, &[], "again");
    assert_eq!(std::fs::read(folder.0.join("metrics.json")).unwrap(), first);
    // A truth against itself.
    expect(
        &at("seg eval --prediction l/a.mhd --truth l/a.mhd --classes two.toml"),
        0,
        &["accuracy                 100.00"],
        "itself",
    );

    let propose =
        "seg propose a=out/xy.entropy.mhd b=out/xz.entropy.mhd,l/a.mhd --planes xy -n 3 --apart 2 -o next.json";
    // b is labelled wholly, so all of them are of a.
    let proposed = stdout(&at(propose));
    assert_eq!(proposed.lines().filter(|l| l.starts_with("a ")).count(), 3, "{proposed}");

    let source = |path: &str, more: &str| format!("[[source]]\nlabels = \"{path}\"\nmap = \"0=-,1=bright\"\n{more}");
    let rules = source("out/xy.mhd", "margin = \"out/xy.margin.mhd\"\nthreshold = 0.99\n") + &source("l/a.mhd", "");
    folder.write("merge.toml", format!("nothing = \"dark\"\n{rules}"));
    expect(
        &at("seg merge merge.toml --classes two.toml --origin draft:1 -o out/merged"),
        0,
        &["one source", "nothing said"],
        "merge",
    );
    expect(&at("labels stats out/merged.mhd"), 0, &["draft of round 1"], "merged");
    folder.write("bad.toml", rules.replace("threshold", "treshold"));
    expect(&at("seg merge bad.toml --classes two.toml -o out/m"), 65, &["did you mean 'threshold'"], "rules");

    folder.write(
        "after.toml",
        "axis = \"z\"\n[[edge]]\naxis = \"x\"\nwidth = 2\nbecomes = \"dark\"\n[[window]]\nclass = \"bright\"\nfrom = 3\nto = 12\nbecomes = \"dark\"\n",
    );
    expect(
        &at("seg after l/a.mhd --rules after.toml --classes two.toml -o out/after"),
        0,
        &["00 edge x 2", "01 window bright 3:12"],
        "after",
    );
    let stats = stdout(&at("labels stats out/after.mhd --classes two.toml"));
    assert!(stats.contains("x 2:14") && stats.contains("z 3:12"), "{stats}");
    // What a rule changed is the rule's, the rest is whose it was; of a prediction nobody knows.
    assert!(["rule", "human"].iter().all(|who| stats.contains(who)), "{stats}");
    let of_draft = "seg after out/xy.mhd --rules after.toml --classes two.toml -o out/xy_after";
    expect(&at(of_draft), 0, &["00 edge x 2"], "after a prediction");
    assert!(folder.0.join("out/after.origin.mhd").exists() && !folder.0.join("out/xy_after.origin.mhd").exists());
    // A draft stays one.
    expect(&at("seg after out/merged.mhd --rules after.toml --classes two.toml -o out/drafted"), 0, &[], "drafted");
    let stats = stdout(&at("labels stats out/drafted.mhd --classes two.toml"));
    assert!(stats.contains("draft of round 1") && !stats.contains("rule"), "{stats}");
    // Origins are no scans of a series; and none are left where labels come that have none.
    for k in [1, 2] {
        expect(
            &at(&format!("seg after l/a.mhd --rules after.toml --classes two.toml -o series/s{k}")),
            0,
            &[],
            "series",
        );
    }
    expect(&at("analyze series --voxel 1um --classes two.toml --maps none -q -o numbers"), 0, &[], "analyze");
    for suffix in ["mhd", "nhdr", "raw", "json", "run.json"] {
        std::fs::remove_file(folder.0.join(format!("out/after.{suffix}"))).unwrap();
    }
    let bare = of_draft.replace("xy_after", "after");
    expect(&at(&bare), 73, &["origins of other labels"], "origins of others");
    expect(&at(&format!("{bare} --overwrite")), 0, &[], "over");
    expect(&at("labels stats out/after.mhd --classes two.toml"), 0, &[], "no origins");
    assert!(!folder.0.join("out/after.origin.mhd").exists());
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = folder("seg-bad");
    let at = |words: &str| run(&folder.0, words);
    let predict = "seg predict --weights w.safetensors --input grey.npy --classes two.toml --roi 8 -o out/p";
    expect(&at(predict), 2, &["--grey is missing"], "grey");
    expect(&at(&format!("{predict} --grey 1,0")), 2, &["no pair"], "order");
    // A map in bytes with a slope is no picture in bytes.
    expect(&at(&format!("{predict} --grey 0,1 --entropy").replace("out/p", "out/e")), 0, &[], "map");
    let sloped = predict.replace("grey.npy", "out/e.entropy.mhd");
    expect(&at(&sloped), 2, &["--grey is missing"], "slope");
    expect(&at(&sloped.replace("out/e.entropy.mhd", "out/e.mhd").replace("-o out/p", "-o out/u")), 0, &[], "bytes");
    expect(&at(&predict.replace("--roi 8", "--roi 7 --grey 0,1")), 2, &["multiples of 2"], "roi");
    expect(
        &at(&predict.replace("--classes two.toml", "--grey 0,1")),
        65,
        &["2 classes apart, the table has 5"],
        "classes",
    );
    expect(&at(&format!("{predict} --grey 0,1 --overlap 1")), 2, &["overlap by 1"], "overlap");
    let mut nan = vec![0.5f32; 12 * 20 * 16];
    (nan[3 * 320 + 18], nan[3 * 320 + 19]) = (f32::NAN, f32::INFINITY);
    folder.write("nan.npy", npy(&[12, 20, 16], &nan));
    let says = ["2 grey values of slice 3 (xy) are NaN or infinite, first at x 2, y 1, z 3"];
    expect(&at(&predict.replace("grey.npy", "nan.npy --grey 0,1")), 65, &says, "nan");
    // What was begun goes on when the volume is another: it is another job, and is told.
    expect(&at(&format!("{predict} --grey 0,1")), 73, &[], "left over");
    expect(&at(&format!("{predict} --grey 0,1 --overwrite")), 0, &[], "over");
    folder.write("small.npy", npy(&[2, 2, 2], &[0.0; 8]));
    expect(
        &at("seg eval --prediction small.npy --truth l/a.mhd --classes two.toml"),
        65,
        &["the prediction has 2 x 2 x 2"],
        "shape",
    );
    expect(&at("seg eval --prediction out/p.mhd,out/p.mhd --truth l/a.mhd"), 2, &["names 1 volumes for 2"], "count");
    folder.write("zero.npy", npy(&[12, 20, 16], &[0.0; 3840]));
    expect(
        &at("seg eval --prediction out/p.mhd --truth l/a.mhd --mask zero.npy --classes two.toml"),
        65,
        &["no voxel has a truth"],
        "mask",
    );
    folder.write("rules.toml", "[[split]]\nclass = \"bright\"\nat = 99\nbecomes = \"dark\"\n");
    expect(
        &at("seg after l/a.mhd --rules rules.toml --classes two.toml -o out/a"),
        65,
        &["beyond the volume"],
        "after",
    );
}

#[test]
fn passes_with_dropout_have_the_same_bits_and_need_to_be_several() {
    let folder = folder("seg-passes");
    let at = |words: &str| run(&folder.0, words);
    let predict =
        "seg predict --weights w.safetensors --input grey.npy --grey 0,1 --classes two.toml --roi 8 --overwrite";
    let passes = format!("{predict} --passes 5 --entropy --mutual -o out/mc");
    expect(&at(&passes), 0, &[], "passes");
    let read = || ["", ".entropy", ".mutual"].map(|m| std::fs::read(folder.0.join(format!("out/mc{m}.raw"))).unwrap());
    let first = read();
    assert!(first[2].iter().any(|&v| v > 0), "passes differ somewhere");
    assert!(first[1].iter().zip(&first[2]).all(|(entropy, mutual)| mutual <= entropy));
    for how in ["--batch 3 --threads 3", "--isa scalar --threads 1"] {
        expect(&at(&format!("{passes} {how}")), 0, &[], how);
        assert!(read() == first, "{how}");
    }
    expect(&at(&format!("{passes} --seed 1")), 0, &[], "seed");
    assert!(read() != first);
    // As the authors' code has it: BatchNorm by each window's own moments, of which there must be some.
    expect(&at(&format!("{passes} --batchnorm batch")), 0, &[], "moments of the window");
    assert!(read() != first);
    expect(&at(&format!("{predict} --batchnorm batch -o out/x")), 2, &["--batchnorm without --passes"], "one pass");
    expect(&at(&format!("{predict} --mutual -o out/x")), 2, &["--mutual without --passes"], "one pass");
    expect(&at(&format!("{predict} --average logits -o out/x")), 2, &["--average without --passes"], "one pass");
    // And logits averaged instead of probabilities: the passes of one seed, of other entropy, and no mutual information.
    let mean = format!("{predict} --passes 5 --entropy --average logits -o out/mean");
    let read = || ["", ".entropy"].map(|m| std::fs::read(folder.0.join(format!("out/mean{m}.raw"))).unwrap());
    expect(&at(&mean), 0, &[], "logits");
    let logits = read();
    expect(&at(&format!("{mean} --batch 3 --threads 3 --isa scalar")), 0, &[], "logits");
    assert!(read() == logits);
    assert!(logits[1] != first[1] && logits[0].len() == first[0].len());
    expect(&at(&format!("{mean} --mutual")), 2, &["--mutual with --average logits"], "nothing mutual");
    expect(&at(&format!("{predict} --passes 5 --dropout 1 -o out/x")), 2, &["probability"], "all dropped");
}

#[test]
fn a_network_is_trained_on_patches_and_segments_the_volume() {
    let folder = folder("seg-train");
    let at = |words: &str| run(&folder.0, words);
    expect(
        &at(
            "seg patches c1:a=l/a.mhd c2:b=l/a.mhd --planes xy,xz --slices ::2 --size 8 --step 4 --classes two.toml -o p.json",
        ),
        0,
        &[],
        "list",
    );
    expect(&at("seg split p.json --by cell --validation c2 -o s.json"), 0, &[], "split");
    let data = "a=grey.npy,l/a.mhd b=grey.npy,l/a.mhd --patches p.json --classes two.toml --grey 0,1";
    let train = format!(
        "seg train {data} --split s.json --channels 8,8 --lr 1e-2 --dropout 0 --batch 8 --augment none,flip-rows=0.5,noise=0.01"
    );
    let through = at(&format!("{train} --epochs 6 -o run --threads 1"));
    expect(&through, 0, &["epochs 6", "validation loss"], "train");
    // Stopped after the second epoch and taken up on other threads: the same bits.
    expect(&at(&format!("{train} --epochs 2 -o again --threads 3")), 0, &[], "begin");
    let again = at(&format!("{train} --epochs 6 -o again --resume"));
    assert_eq!(stdout(&again), stdout(&through));
    // A threshold is easily learnt, and the weights know their grey scale.
    let predict = "seg predict --weights run/best.safetensors --input grey.npy --classes two.toml --roi 8 -o out/seg";
    expect(&at(&format!("{predict} --grey 0,2")), 2, &["trained with 0,1"], "scale");
    expect(&at(predict), 0, &[], "predict");
    let two = std::fs::read_to_string(folder.0.join("two.toml")).unwrap();
    folder.write("swapped.toml", two.replace("dark", "one").replace("bright", "dark").replace("one", "bright"));
    let swapped = predict.replace("two.toml", "swapped.toml").replace("out/seg", "out/no");
    expect(&at(&swapped), 65, &["class 0 is 'dark' in the weights, and 'bright' in the table"], "another table");
    let eval = "seg eval --prediction out/seg.mhd --truth l/a.mhd --classes two.toml -o m.json";
    expect(&at(eval), 0, &[], "eval");
    let figures = json(&folder.0.join("m.json"));
    let accuracy = figures.get("figures").and_then(|f| f.get("accuracy")?.get("value")).and_then(Json::as_f64);
    assert!(accuracy.is_some_and(|a| a > 0.95), "{figures:?}");
    // Outlines have intervals, too; what has no confidence has no calibration.
    let outline = figures.get("boundary_iou").and_then(|o| o.get("dark")).unwrap();
    let [value, low, high] = [
        outline.get("value").and_then(Json::as_f64),
        outline.need_arr("interval").unwrap()[0].as_f64(),
        outline.need_arr("interval").unwrap()[1].as_f64(),
    ]
    .map(Option::unwrap);
    assert!(low <= value && value <= high && (0.5..=1.0).contains(&value), "{outline:?}");
    assert_eq!(figures.get("calibration_errors"), Some(&Json::Null));

    let refused = format!("seg train {data} --channels 8,8 -o x");
    folder.write("other.npy", npy(&[12, 20, 16], &[1.0; 12 * 20 * 16]));
    expect(&at("labels import other.npy --map from-0 --like grey.npy -o l/b"), 0, &[], "other labels");
    for (words, code, says) in [
        (format!("{train} --epochs 6 -o run"), 73, "already"),
        (refused.replace("b=grey.npy,l/a.mhd", ""), 2, "scan b is missing"),
        (refused.replace("b=grey.npy,l/a.mhd", "b=grey.npy,l/b.mhd"), 65, "labels have changed"),
        (refused.replace("--classes two.toml", ""), 65, "patches of the classes dark, bright"),
        (refused.replace("--grey 0,1", ""), 2, "--grey is missing"),
        (refused.replace("8,8", "8,8,8,8,8"), 65, "multiples of 16"),
        (format!("{refused} c=grey.npy,l/a.mhd"), 2, "no scan c"),
        (format!("{refused} --augment authors,tilt=3"), 2, "tilt"),
    ] {
        expect(&at(&words), code, &[says], &words);
    }
    assert!(!folder.0.join("x").exists());
}

#[test]
fn planes_are_averaged_and_slices_beside_are_seen_with_the_same_bits() {
    let folder = folder("seg-planes");
    let at = |words: &str| run(&folder.0, words);
    expect(
        &at("seg patches a=l/a.mhd --planes xy,yz --slices ::3 --size 8 --step 8 --classes two.toml -o p.json"),
        0,
        &[],
        "",
    );
    let train =
        "seg train a=grey.npy,l/a.mhd --patches p.json --classes two.toml --grey 0,1 --lr 1e-2 --batch 8 --epochs 2";
    let beside = format!("{train} --channels 4,8 --context 1");
    let first = at(&format!("{beside} -o run --threads 1"));
    expect(&first, 0, &["epochs 2"], "context");
    assert_eq!(stdout(&at(&format!("{beside} -o again --threads 3 --isa scalar"))), stdout(&first));
    expect(&at("net info run/best.safetensors"), 0, &["inputs        3"], "info");
    expect(&at(&format!("{train} --channels 4,8 --context 32 -o x")), 2, &["takes 1 to 64"], "too many");
    let other = format!("{train} --weights run/best.safetensors");
    expect(&at(&format!("{other} --context 2 -o x")), 2, &["the weights take 3 slices"], "other context");
    expect(&at(&format!("{other} -o refined")), 0, &["epochs 2"], "the weights say how many");

    let predict = "seg predict --weights run/best.safetensors --input grey.npy --classes two.toml --roi 8 --entropy";
    let planes = format!("{predict} --plane yz,xy,xz,zy -o out/all");
    expect(&at(&planes), 0, &["16 x 20 x 12 u8 class"], "planes");
    let read =
        |name: &str| ["", ".entropy"].map(|m| std::fs::read(folder.0.join(format!("out/{name}{m}.raw"))).unwrap());
    let all = read("all");
    for how in ["--batch 3 --threads 3", "--isa scalar --threads 1"] {
        expect(&at(&format!("{planes} --overwrite {how}")), 0, &[], how);
        assert!(read("all") == all, "{how}");
    }
    for plane in ["xy", "yz"] {
        expect(&at(&format!("{predict} --plane {plane} -o out/{plane}")), 0, &[], plane);
        assert!(read(plane) != all, "{plane}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.0.join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("logit")), "{left:?}");
    expect(&at(&format!("{predict} --plane xy,xy -o out/x")), 2, &["a plane twice"], "twice");
    expect(&at(&format!("{predict} --plane xy,yz --passes 3 -o out/x")), 2, &["--passes of several planes"], "passes");
}

#[test]
fn seeds_budgets_and_what_is_kept() {
    let folder = folder("seg-seeds");
    let at = |words: &str| run(&folder.0, words);
    expect(
        &at("seg patches a=l/a.mhd --planes xy --slices ::2 --size 8 --step 8 --classes two.toml -o p.json"),
        0,
        &[],
        "",
    );
    let train = "seg train a=grey.npy,l/a.mhd --patches p.json --classes two.toml --grey 0,1 --channels 4,8 --batch 4";
    let file = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
    expect(&at(&format!("{train} --seeds 3,5 --epochs 2 -o many")), 0, &["epochs 2"], "seeds");
    expect(&at(&format!("{train} --seed 5 --epochs 2 -o one")), 0, &["epochs 2"], "one");
    assert!(file("many/seed_5/best.safetensors") == file("one/best.safetensors"));
    let table = String::from_utf8(file("many/seeds.csv")).unwrap();
    assert!(table.starts_with("seed,epoch,") && table.lines().count() == 3 && table.contains("\n5,"), "{table}");
    // One of them was not begun.
    std::fs::remove_dir_all(folder.0.join("many/seed_5")).unwrap();
    expect(&at(&format!("{train} --seeds 3,5 --epochs 2 -o many --resume")), 0, &[], "resume");
    assert!(file("many/seed_5/best.safetensors") == file("one/best.safetensors"));
    expect(&at(&format!("{train} --seeds 3,3 -o x")), 2, &["twice"], "twice");
    expect(&at(&format!("{train} --seeds 3 --seed 3 -o x")), 2, &["--seed with --seeds"], "both");

    let stopped = at(&format!("{train} --seed 5 --epochs 2 -o slow --stop-after 0.000001s"));
    expect(&stopped, 75, &["the time of --stop-after is over; step 1 is kept"], "stopped");
    expect(&at(&format!("{train} --seed 5 --epochs 2 -o slow --resume --stop-after 1h")), 0, &["epochs 2"], "goes on");
    assert!(file("slow/best.safetensors") == file("one/best.safetensors"));
    expect(&at(&format!("{train} -o x --stop-after 50")), 2, &["is no time"], "unit");

    let last = |epochs: u32| {
        let name = format!("last_{epochs}");
        expect(
            &at(&format!("{train} --epochs {epochs} --lr 0.3 --keep last -o {name}")),
            0,
            &[&format!("best epoch {epochs}")],
            "last",
        );
        file(&format!("{name}/best.safetensors"))
    };
    assert!(last(1) != last(3));
    expect(&at(&format!("{train} --epochs 3 --lr 0.3 --keep accuracy -o accurate")), 0, &["best epoch"], "accuracy");
}

#[test]
fn sheets_show_and_depths_follow_the_electrodes() {
    let folder = folder("seg-sheet");
    let at = |words: &str| run(&folder.0, words);
    let sheet = "seg sheet --input grey.npy --grey 0,1 --labels l/a.mhd --prediction l/a.mhd --classes two.toml";
    expect(&at(&format!("{sheet} --plane xy,yz --at 2,5 -o s.png")), 0, &["s.png"], "sheet");
    let png = std::fs::read(folder.0.join("s.png")).unwrap();
    // Four columns: grey, labels, prediction, error.
    let width = u32::from_be_bytes(png[16..20].try_into().unwrap());
    assert_eq!((&png[1..4], width), (&b"PNG"[..], 6 + 4 * 86));
    expect(&at(&format!("{sheet} --at 12 -o t.png")), 2, &["slices 0 to 11"], "outside");
    expect(&at("seg sheet --at 1 -o t.png"), 2, &["nothing to show"], "nothing");
    folder.write("small.npy", npy(&[2, 2, 2], &[0.0; 8]));
    expect(
        &at(&format!("{sheet} --uncertainty small.npy --at 1 -o t.png")),
        65,
        &["the volume of --uncertainty has 2 x 2 x 2 (z, y, x), the one of --input 12 x 20 x 16"],
        "shape",
    );

    // Electrodes at y 2 to 5 and 12 to 17 of 20.
    let cell: Vec<f32> =
        (0..12 * 20 * 16).map(|i| if matches!(i / 16 % 20, 2..=5 | 12..=17) { 4.0 } else { 0.0 }).collect();
    folder.write("cell.npy", npy(&[12, 20, 16], &cell));
    expect(&at("labels import cell.npy --map from-0 --like grey.npy -o l/cell"), 0, &[], "cell");
    let fit = "seg after l/cell.mhd --fit fit.toml";
    expect(&at(&format!("{fit} --margin 1")), 0, &["plating", "2 to 6", "12 to 18"], "fit");
    expect(&at("seg after l/cell.mhd --rules fit.toml -o out/after"), 0, &["split plating electrode 9"], "rules");
    expect(&at("labels stats out/after.mhd --classes cell"), 0, &["stripping electrode"], "split");
    expect(&at(&format!("{fit} --axis z --overwrite")), 65, &["of two electrodes"], "axis");
    expect(&at(&format!("{fit} -o out/x")), 2, &["--output with --fit"], "both");
}
