//! `net …`: weights, logits and training steps through the program.

mod common;
use common::{Scratch, expect, npy, npy_of, run, stdout};

/// A small network and a batch of it in a folder.
fn folder(name: &str) -> Scratch {
    let folder = Scratch::new(name);
    expect(&run(&folder.0, "net init --channels 6,16,20 --classes 3 -o w.safetensors"), 0, &["parameters"], "init");
    let x: Vec<f32> = (0..2 * 16 * 16).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let y: Vec<u8> =
        x.iter().enumerate().flat_map(|(i, v)| if i % 9 == 0 { -1 } else { (3.0 * v) as i16 }.to_le_bytes()).collect();
    folder.write("x.npy", npy(&[2, 1, 16, 16], &x));
    folder.write("y.npy", npy_of("<i2", &[2, 16, 16], &y));
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
        &["unit0.conv.weight is not finite"],
        "NaN",
    );
    expect(&run(&folder.0, &format!("{step} --input x.npy --labels x.npy")), 65, &["(N, H, W)"], "shape");
    assert!(!folder.0.join("v.safetensors").exists());
    expect(&run(&folder.0, "net info x.npy"), 65, &["safetensors"], "not weights");
    expect(&run(&folder.0, "net init --variant monia -o v.safetensors"), 2, &["monai"], "variant");
    expect(&run(&folder.0, "net init -o w.safetensors"), 73, &["exists"], "exists");
}
