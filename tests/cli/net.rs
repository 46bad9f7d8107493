//! `net …`: weights, logits and training steps through the program.

use crate::common::{Scratch, expect, images, npy, npy_of, run, stdout};

/// A small network and a batch of it in a folder.
fn folder(name: &str) -> Scratch {
    let folder = images(name);
    expect(&run(&folder.0, "net init --channels 6,16,20 --classes 3 -o w.safetensors"), 0, &["parameters"], "init");
    folder
}

#[test]
fn bits_do_not_depend_on_threads_or_instruction_set() {
    let folder = folder("net-bits");
    let info = stdout(&run(&folder.0, "net info w.safetensors --verbose"));
    assert!(info.contains("variant       monai") && info.contains("channels      6, 16, 20"), "{info}");
    let forward = "net forward --weights w.safetensors --input x.npy --output l.npy --overwrite";
    let step = "net step --weights w.safetensors --input x.npy --labels y.npy --steps 3 --output-weights v.safetensors --overwrite";
    let one = [forward, step].map(|words| stdout(&run(&folder.0, &format!("{words} --threads 1"))));
    assert!(one[0].starts_with("logits ") && one[1].contains("losses ["), "{one:?}");
    for how in ["--threads 2", "--threads 3 --isa scalar", "--threads 8"] {
        let other = [forward, step].map(|words| stdout(&run(&folder.0, &format!("{words} {how}"))));
        assert_eq!(other, one, "{how}");
    }
    // Trained weights are read again.
    expect(&run(&folder.0, "net info v.safetensors"), 0, &["batches seen  3"], "trained");
}

#[test]
fn an_audit_finds_nothing() {
    let folder = Scratch::new("net-audit");
    for variant in ["monai", "paper"] {
        let words = format!("net audit --variant {variant} --channels 4,8,12 --classes 3 --size 8 --steps 3");
        expect(&run(&folder.0, &words), 0, &["identical\n"], variant);
    }
    expect(
        &run(&folder.0, "net audit --channels 4,8 --classes 3 --size 8 --batch 5 --leaf 2 --steps 2"),
        0,
        &["scalar   1 threads", "identical\n"],
        "leaves",
    );
    for words in ["net bench --size 1000000", "net audit --batch 99999999999", "net bench --size 18446744073709551552"]
    {
        expect(&run(&folder.0, &format!("{words} --channels 4,4")), 69, &["are free"], words);
    }
    let bench = "net bench --channels 4,8 --size 16 --repeat 1";
    expect(&run(&folder.0, bench), 0, &["model.0.conv.unit0.conv", "inference"], "bench");
    expect(&run(&folder.0, &format!("{bench} --train --dropout 0.2")), 0, &["training step"], "bench");
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = folder("net-refused");
    let forward = "net forward --weights w.safetensors --output l.npy --input";
    folder.write("odd.npy", npy(&[1, 1, 10, 16], &[0.0; 160]));
    folder.write("flat.npy", npy(&[16, 16], &[0.0; 256]));
    folder.write("nan.npy", npy(&[2, 1, 16, 16], &[f32::NAN; 512]));
    folder.write("none.npy", npy(&[0, 1, 16, 16], &[]));
    folder.write("huge.npy", npy(&[1, 1, 16, 16], &[3.4e38; 256]));
    folder.write("bad.npy", npy_of("<i2", &[2, 16, 16], &[7; 1024]));
    expect(
        &run(&folder.0, &format!("{forward} odd.npy")),
        65,
        &["multiples of 4", "8 or 12 rows and 16 columns"],
        "odd",
    );
    expect(&run(&folder.0, &format!("{forward} flat.npy")), 65, &["(N, 1, H, W)"], "flat");
    expect(&run(&folder.0, &format!("{forward} w.safetensors")), 65, &[".npy"], "no array");
    let step = "net step --weights w.safetensors --output-weights v.safetensors";
    expect(&run(&folder.0, &format!("{step} --input x.npy --labels bad.npy")), 65, &["label 1799", "0 to 2"], "label");
    expect(
        &run(&folder.0, &format!("{step} --input nan.npy --labels y.npy")),
        65,
        &["512 values are NaN", "in image 0 at row 0, column 0"],
        "NaN",
    );
    expect(&run(&folder.0, &format!("{step} --input x.npy --labels x.npy")), 65, &["(N, H, W)"], "shape");
    assert!(!folder.0.join("v.safetensors").exists());
    expect(&run(&folder.0, &format!("{forward} none.npy")), 65, &["no image"], "no image");
    expect(&run(&folder.0, &format!("{forward} nan.npy")), 65, &["512 values are NaN"], "NaN");
    expect(&run(&folder.0, &format!("{forward} huge.npy")), 65, &["not finite"], "overflow");
    folder.write("tiny.npy", npy(&[1, 1, 4, 4], &[0.5; 16]));
    folder.write("tiny_y.npy", npy_of("<i2", &[1, 4, 4], &[0; 32]));
    expect(
        &run(&folder.0, &format!("{step} --input tiny.npy --labels tiny_y.npy")),
        65,
        &["one value per channel"],
        "a map of one pixel",
    );
    expect(&run(&folder.0, "net info x.npy"), 65, &["safetensors"], "not weights");
    expect(&run(&folder.0, "net init --variant monia -o v.safetensors"), 2, &["monai"], "variant");
    expect(&run(&folder.0, "net init -o w.safetensors"), 73, &["exists"], "exists");
}

/// The lines of a training's output that are about what it computed.
fn trained(folder: &Scratch, words: &str) -> String {
    let output = run(&folder.0, &format!("net train --input x.npy --labels y.npy --channels 6,8 --classes 3 {words}"));
    expect(&output, 0, &["best epoch"], words);
    stdout(&output)
}

#[test]
fn a_training_is_resumed_to_the_same_bits_and_guards_its_folder() {
    let folder = folder("net-train");
    let validation = "--validation-input x.npy --validation-labels y.npy";
    let through = trained(&folder, &format!("{validation} --batch 1 --epochs 4 -o a --threads 1"));
    assert!(through.contains("epochs 4, 8 steps") && through.contains("IoU"), "{through}");
    let half = trained(&folder, &format!("{validation} --batch 1 --epochs 2 -o b"));
    assert_ne!(through, half);
    let resumed = trained(&folder, &format!("{validation} --batch 1 --epochs 4 -o b --resume --isa scalar"));
    assert_eq!(through, resumed);
    let read = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
    for name in ["last.safetensors", "best.safetensors", "epochs.csv", "curve.png"] {
        assert!(read(&format!("a/{name}")) == read(&format!("b/{name}")), "{name}");
    }
    let table = String::from_utf8(read("a/epochs.csv")).unwrap();
    assert!(table.lines().count() == 5 && table.starts_with("epoch,steps,rate,loss"), "{table}");
    // What was learnt is a network that other commands take; so is a training's state.
    expect(&run(&folder.0, "net info a/last.safetensors"), 0, &["batches seen  8"], "last");
    expect(&run(&folder.0, "net forward --weights a/best.safetensors --input x.npy --output l.npy"), 0, &[], "best");
    expect(&run(&folder.0, "net convert a/best.safetensors -o best.onnx"), 0, &[], "onnx");
    // A leaf is another training.
    assert_ne!(trained(&folder, &format!("{validation} --epochs 4 -o c --batch 2 --leaf 1")), through);

    folder.write("odd.npy", npy(&[2, 8, 8], &[0.0; 128]));
    folder.write("nan.npy", npy(&[2, 16, 16], &[f32::NAN; 512]));
    folder.write("none.npy", npy_of("<i2", &[2, 16, 16], &[255; 1024]));
    let words = "net train --input x.npy --labels y.npy --channels 6,8 --classes 3 --batch 1";
    for (more, code, says) in [
        ("-o a", 73, &["already"][..]),
        ("-o a --resume --lr 1e-3 --validation-input x.npy --validation-labels y.npy", 65, &["lr 0.0003", "lr 0.001"]),
        ("-o new --resume", 66, &["last.safetensors"]),
        ("-o new --classes 2", 65, &["label 2", "0 to 1"]),
        ("-o new --validation-input x.npy", 2, &["--validation-labels"]),
        ("-o new --validation-input odd.npy --validation-labels y.npy", 65, &["labels of shape"]),
        ("-o new --input nan.npy", 65, &["NaN in image 0"]),
        ("-o new --labels none.npy", 65, &["no pixel", "--unlabelled"]),
        ("-o new --class-weights 1,1", 2, &["2 class weights for 3"]),
        ("-o new --class-weights 1,-1,1", 2, &["-1"]),
        ("-o new --weights w.safetensors --channels 4,4", 2, &["--channels"]),
        ("-o new --dropout 1", 2, &["probability"]),
        ("-o new --lr 1e39 --epochs 9", 65, &["is not finite"]),
        ("-o new --epochs 4294967296", 2, &["more than"]),
        ("-o new --class-weights 0,0,0", 2, &["all class weights"]),
        ("-o a --resume --epochs 9", 65, &["was made with", "nothing"]),
    ] {
        let last = [("--input", "--input x.npy"), ("--labels", "--labels y.npy"), ("--classes", "--classes 3")];
        let given = last.iter().filter(|(name, _)| more.split(' ').any(|w| w == *name));
        let words = given.fold(words.to_string(), |words, (_, text)| words.replace(text, ""));
        let words = if more.contains("--weights") { words.replace("--channels 6,8 --classes 3", "") } else { words };
        expect(&run(&folder.0, &format!("{words} {more}")), code, says, more);
    }
}

#[test]
fn fast_inference_is_near_or_refused() {
    let folder = folder("net-fast");
    let forward = "net forward --weights w.safetensors --input x.npy --output l.npy --overwrite";
    let strict = run(&folder.0, forward);
    expect(&strict, 0, &["logits"], "strict");
    let exact = std::fs::read(folder.0.join("l.npy")).unwrap();
    expect(&run(&folder.0, &format!("{forward} --fast --isa scalar")), 69, &["bf16", "scalar"], "no bf16");
    let fast = run(&folder.0, &format!("{forward} --fast"));
    if tomolith::num::lanes::Isa::detect().has_halves() {
        expect(&fast, 0, &["logits"], "fast");
        let of = |bytes: &[u8]| -> Vec<f32> {
            bytes[128..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let (exact, found) = (of(&exact), of(&std::fs::read(folder.0.join("l.npy")).unwrap()));
        let most = exact.iter().fold(0f32, |most, v| most.max(v.abs()));
        let far = exact.iter().zip(&found).fold(0f32, |far, (a, b)| far.max((a - b).abs()));
        assert!(far > 0.0 && far < 0.03 * most, "{far} of {most}");
    } else {
        expect(&fast, 69, &["bf16"], "fast");
    }
}
