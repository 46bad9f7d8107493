//! What a training logs, when it ends, and what it refuses to learn from, through the program.

use crate::common::{expect, images, json, labelled, npy, npy_of, run, stderr, stdout};
use tomolith::nn::weights;

const TRAIN: &str = "net train --input x.npy --labels y.npy --channels 6,8 --classes 3 --batch 1";

#[test]
fn every_step_is_logged_and_a_lost_log_stops_nothing() {
    let folder = images("train-log");
    let at = |words: &str| run(&folder.0, &format!("{TRAIN} {words}"));
    let read = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
    expect(&at("--epochs 3 -o whole"), 0, &["6 steps"], "whole");
    let whole = String::from_utf8(read("whole/steps.csv")).unwrap();
    let lines: Vec<Vec<&str>> = whole.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["step", "epoch", "rate", "loss", "labelled"]);
    let column = |i: usize| lines[1..].iter().map(|line| line[i]).collect::<Vec<_>>();
    assert_eq!(column(0), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(column(1), ["1", "1", "2", "2", "3", "3"]);
    assert_eq!(column(2), ["0.0003"; 6]);
    assert!(column(3).iter().all(|loss| (0.1..10.0).contains(&loss.parse::<f64>().unwrap())));
    // Of the 512 pixels 57 have no label, 29 of them in the first image.
    let mut labelled = column(4);
    labelled[..2].sort_unstable();
    assert_eq!(labelled[..2], ["227", "228"]);

    // Stopped and taken up; with lines of steps behind what was kept, as a kill leaves them; and with none.
    let weights = read("whole/last.safetensors");
    for (name, log) in [("stopped", None), ("killed", Some(whole.clone())), ("lost", Some(String::new()))] {
        expect(&at(&format!("--epochs 1 -o {name}")), 0, &["2 steps"], name);
        let path = folder.0.join(name).join("steps.csv");
        match log {
            Some(log) if log.is_empty() => std::fs::remove_file(&path).unwrap(),
            Some(log) => std::fs::write(&path, log).unwrap(),
            None => (),
        }
        let resumed = at(&format!("--epochs 3 -o {name} --resume"));
        expect(&resumed, 0, &["6 steps"], name);
        assert!(read(&format!("{name}/last.safetensors")) == weights, "{name}");
        let log = String::from_utf8(read(&format!("{name}/steps.csv"))).unwrap();
        if name == "lost" {
            assert!(stderr(&resumed).contains("steps.csv says nothing of 2 steps"), "{}", stderr(&resumed));
            let rest: Vec<&str> = whole.lines().skip(3).collect();
            assert_eq!(log.lines().skip(1).collect::<Vec<_>>(), rest);
        } else {
            assert_eq!(log, whole, "{name}");
            assert!(!stderr(&resumed).contains("steps.csv"));
        }
    }
}

#[test]
fn a_budget_of_steps_ends_a_training_and_stops_lead_to_the_same_bits() {
    let folder = images("train-steps");
    let at = |words: &str| run(&folder.0, &format!("{TRAIN} {words}"));
    let read = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
    // Two steps an epoch: the third ends in its middle. 100 epochs, the default, would end it otherwise.
    expect(&at("--steps 5 -o whole"), 0, &["epochs 3, 5 steps", "best epoch"], "whole");
    expect(&at("--steps 203 -o long -q"), 0, &["epochs 102, 203 steps"], "beyond the default of --epochs");
    expect(&at("--steps 5 --epochs 2 -o short"), 0, &["epochs 2, 4 steps"], "whichever comes first");
    let mut resume = "";
    for _ in 0..5 {
        let stopped = at(&format!("--steps 5 -o parts --stop-after 0.000001s {resume}"));
        expect(&stopped, 75, &["--stop-after is over"], "parts");
        resume = "--resume";
    }
    expect(&at("--steps 5 -o parts --resume"), 0, &["epochs 3, 5 steps"], "parts");
    for name in ["last.safetensors", "best.safetensors", "epochs.csv", "steps.csv"] {
        assert!(read(&format!("whole/{name}")) == read(&format!("parts/{name}")), "{name}");
    }
    expect(&at("--steps 7 -o whole --resume"), 65, &["`steps 5`", "`steps 7`"], "an epoch that was cut is done");
    expect(&at("--steps 5 -o x --schedule cosine"), 2, &["--steps with --schedule cosine"], "cosine");
    expect(&at("--steps 0 -o x"), 2, &[], "none");
    assert!(!folder.0.join("x").exists());
}

#[test]
fn stopping_watches_what_it_is_told_to() {
    let folder = images("train-patience");
    // One class everywhere: soon nothing is wrong, and the loss goes on falling.
    folder.write("one.npy", npy_of("<i2", &[2, 16, 16], &[1, 0].repeat(512)));
    let train = TRAIN.replace("y.npy", "one.npy");
    let at = |words: &str| run(&folder.0, &format!("{train} --dropout 0 --epochs 40 {words}"));
    let accuracy = at("--patience 2 --patience-of accuracy -o a");
    expect(&accuracy, 0, &["the accuracy stays"], "accuracy");
    let epochs = |text: &str| text.split(['\n', ' ', ',']).nth(1).unwrap().parse::<u32>().unwrap();
    let loss = stdout(&at("--patience 2 -o b"));
    assert!(epochs(&stdout(&accuracy)) < epochs(&loss), "{loss}");
    expect(&at("--patience 2 -o a --resume"), 65, &["patience of accuracy"], "another watch");
    expect(&at("--patience-of accuracy -o c"), 2, &["without --patience"], "no patience");
    expect(&at("--patience 2 --patience-of iou -o c"), 2, &["accuracy"], "no such");
}

#[test]
fn a_training_says_where_nothing_validates() {
    let folder = images("train-silent");
    let told = |words: &str| {
        let output = run(&folder.0, &format!("{TRAIN} --epochs 1 {words}"));
        expect(&output, 0, &[], words);
        stderr(&output).contains("nothing validates")
    };
    assert!(told("-o a") && told("--schedule cosine -o b") && told("--schedule cosine --keep accuracy -o c"));
    // Who keeps the last epoch of a cosine chooses nothing by the training.
    assert!(!told("--schedule cosine --keep last -o d"));
    assert!(!told("--validation-input x.npy --validation-labels y.npy -o e"));
}

#[test]
fn networks_know_the_grey_scale_that_they_learnt_from() {
    let folder = labelled("train-grey");
    let at = |words: &str| run(&folder.0, words);
    let values: Vec<f32> = (0..12 * 20 * 16).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let scaled = |name: &str, by: f32| {
        folder.write(name, npy(&[12, 20, 16], &values.iter().map(|v| v * by).collect::<Vec<_>>()));
    };
    scaled("tenth.npy", 0.1);
    scaled("large.npy", 100.0);
    let patches = "seg patches a=l/a.mhd --planes xy --slices ::3 --size 8 --step 8 --classes two.toml -o p.json";
    expect(&at(patches), 0, &[], "patches");
    let data = "seg train a=grey.npy,l/a.mhd --patches p.json --classes two.toml --batch 4 --epochs 1";
    let train = format!("{data} --grey 0,1 --channels 4,8");
    expect(&at(&format!("{train} -o run")), 0, &["epochs 1"], "train");
    let known = weights::read(&folder.0.join("run/best.safetensors")).unwrap().metadata;
    let number = |key: &str| known.get(key).and_then(|v| v.parse::<f64>().ok()).unwrap_or(f64::NAN);
    // Evenly from 0 to 1.
    assert!((number("grey_mean") - 0.5).abs() < 0.05 && (number("grey_sd") - 0.29).abs() < 0.03, "{known:?}");

    // Another picture under the same labels is another training.
    let mut other = std::fs::read(folder.0.join("grey.npy")).unwrap();
    *other.last_mut().unwrap() ^= 1;
    folder.write("other.npy", other);
    let more = format!("{train} --epochs 2 -o run --resume").replace("--epochs 1 ", "");
    expect(&at(&more.replace("grey.npy", "other.npy")), 65, &["was made with `grey of a "], "other grey values");
    expect(&at(&more), 0, &["epochs 2"], "the same");

    // A scan of another unit is nearly white.
    let says = ["scan a: 98 % of the grey values of its patches lie outside of 0 to 1"];
    expect(&at(&format!("{train} -o x").replace("grey.npy", "large.npy")), 65, &says, "clipped");
    assert!(!folder.0.join("x").exists());
    let insisted = format!("{train} --other-grey -o white").replace("grey.npy", "large.npy");
    expect(&at(&insisted), 0, &["warning: scan a: 98 % of the grey values"], "insisted");
    // Weights know their scale; another one is another question.
    let refine = format!("{data} --weights run/best.safetensors");
    expect(&at(&format!("{refine} -o refined")), 0, &["epochs 1"], "their own");
    expect(
        &at(&format!("{refine} --grey 0,2 -o x")),
        2,
        &["--grey 0,2: the weights know 0,1", "--other-grey"],
        "other",
    );
    expect(&at(&format!("{refine} --grey 0,2 --other-grey -o wide")), 0, &["epochs 1"], "asked for");

    let predict = "seg predict --weights run/best.safetensors --classes two.toml --roi 8";
    let tenth = format!("{predict} --input tenth.npy -o out/t");
    expect(&at(&tenth), 65, &["tenth.npy", "which learnt from 0.", "--other-grey"], "a tenth");
    expect(&at(&format!("{tenth} --other-grey")), 0, &["warning: grey values are 0.0"], "insisted");
    let wide = format!("{predict} --input grey.npy --grey 0,2 -o out/w");
    expect(&at(&wide), 2, &["the weights were trained with 0,1", "--other-grey"], "another scale");
    expect(&at(&format!("{wide} --other-grey")), 0, &[], "another scale, insisted");
    expect(&at(&format!("{predict} --input grey.npy --passes 99999999 -o out/p")), 2, &["at most 10000"], "passes");
    let seen = at(&format!("{predict} --input grey.npy --plane xy,yz -o out/g"));
    expect(&seen, 0, &[], "as learnt");
    assert!(!stderr(&seen).contains("warning"), "{}", stderr(&seen));
    let manifest = json(&folder.0.join("out/g.json"));
    let grey = manifest.need("results").unwrap().need("grey").unwrap();
    assert_eq!((grey.need_u64("slices").unwrap(), grey.need_f64("outside").unwrap()), (9, 0.0));
    assert!((grey.need_f64("mean").unwrap() - 0.5).abs() < 0.05);
}
