//! `--device cuda` of every command that runs a network, on the mock driver (tests/cuda): the CPU's numbers, or one clear
//! error and exit code 69.

use crate::common::{Scratch, expect, json, npy_of, stderr, stdout, tomolith};
use crate::mock;
use crate::pipeline::moved::sample;
use std::process::Output;
use tomolith::exchange::npy::{read_array, write_array};
use tomolith::json::Json;
use tomolith::num::philox::Stream;
use tomolith::provenance::Digest;

/// The program on the mock driver.
fn emulated(folder: &Scratch, words: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = tomolith(&folder.0);
    command.args(words.split_whitespace()).env("LD_LIBRARY_PATH", mock::driver(false));
    command.envs(environment.iter().copied()).output().unwrap()
}

/// What it says on stdout, which must be fine.
#[track_caller]
fn said(folder: &Scratch, words: &str) -> String {
    let done = emulated(folder, words, &[]);
    assert!(done.status.success(), "{words}: {}{}", stdout(&done), stderr(&done));
    stdout(&done)
}

/// Images, labels and weights of a small network.
fn folder(name: &str) -> Scratch {
    let (folder, stream) = (Scratch::new(name), Stream::new(3, 1));
    let x: Vec<f32> = (0..4 * 16 * 16).map(|i| stream.uniform_f32(i)).collect();
    let y: Vec<f32> = x.iter().map(|v| (v * 3.0).floor() - f32::from(u8::from(*v < 0.1))).collect();
    write_array(&folder.0.join("x.npy"), &[4, 1, 16, 16], &x, false).unwrap();
    write_array(&folder.0.join("y.npy"), &[4, 16, 16], &y, false).unwrap();
    said(&folder, "net init --channels 8,12 --classes 3 -o w.safetensors");
    folder
}

#[test]
fn networks_give_the_numbers_of_the_cpu() {
    let folder = folder("cuda");
    let both = |words: &str, keep: fn(&str) -> String| {
        let of = |device: &str| keep(&said(&folder, &format!("{words} --device {device} --overwrite")));
        let (cpu, cuda) = (of("cpu"), of("cuda:0"));
        assert!(!cpu.is_empty());
        assert_eq!(cpu, cuda, "{words}");
    };
    let all = |text: &str| text.to_string();
    both("net forward --weights w.safetensors --input x.npy -o l.npy", all);
    both("net step --weights w.safetensors --input x.npy --labels y.npy --steps 3 --gradients g.safetensors", all);
    let train = "net train --channels 8,12 --classes 3 --input x.npy --labels y.npy --validation-input x.npy \
                 --validation-labels y.npy --epochs 2 --batch 3 --leaf 2 -q";
    let [cpu, cuda] = ["cpu", "cuda"].map(|device| said(&folder, &format!("{train} --device {device} -o {device}")));
    assert_eq!(cpu, cuda);
    let table = |device: &str| std::fs::read_to_string(folder.0.join(device).join("epochs.csv")).unwrap();
    assert_eq!(table("cpu"), table("cuda"));
    let weights = |of: &str| std::fs::read(folder.0.join(of).join("best.safetensors")).unwrap();
    assert!(weights("cpu") == weights("cuda"));
    // Its record says on what: nothing else of the folder does.
    let record = |of: &str| json(&folder.0.join(of).join("training.run.json"));
    let on = |record: &Json| record.need("run").unwrap().need("device").unwrap().clone();
    assert_eq!(on(&record("cpu")).as_str(), Some("cpu"));
    let device = on(&record("cuda"));
    assert!(
        device.need_str("name").unwrap().contains("emulation")
            && device.need_str("compute_capability").unwrap() == "8.0"
    );
    assert!(Digest::parse(device.need_str("image_sha256").unwrap()).is_ok(), "{}", device.to_line());
    assert_eq!(record("cuda").need("tool").unwrap().need_str("version").unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(record("cuda").need("writing").unwrap().need_u64("resumed_at_step").unwrap(), 0);
    // A training on one device goes on, on the other.
    let more = train.replace("--epochs 2", "--epochs 3");
    let [cpu, cuda] = [("cpu", "cuda"), ("cuda", "cpu")]
        .map(|(from, to)| said(&folder, &format!("{more} --device {to} -o {from} --resume")));
    assert_eq!(cpu, cuda);
    // Both sessions are known, each with its device.
    for (of, first, last) in [("cpu", "\"cpu\"", "emulation"), ("cuda", "emulation", "\"cpu\"")] {
        let (now, resumed) = (record(of), record(of).need("writing").unwrap().need_u64("resumed_at_step").unwrap());
        let earlier = now.need_arr("earlier").unwrap();
        assert!(earlier.len() == 1 && on(&earlier[0]).to_line().contains(first), "{}", now.to_line());
        assert!(on(&now).to_line().contains(last) && resumed == 4, "{}", now.to_line());
    }
    let audit = said(&folder, "net audit --channels 8,12 --classes 3 --size 16 --steps 20 --leaf 1 --device cuda");
    assert!(audit.contains("numbers identical") && audit.trim_end().ends_with("identical"), "{audit}");
}

#[test]
fn a_volume_is_segmented_alike_and_its_record_says_on_what() {
    let folder = folder("cuda-seg");
    let stream = Stream::new(4, 1);
    let grey: Vec<f32> = (0..3 * 20 * 24).map(|i| stream.uniform_f32(i)).collect();
    write_array(&folder.0.join("grey.npy"), &[3, 20, 24], &grey, false).unwrap();
    let classes = ["a", "b", "c"].iter().enumerate().map(|(i, n)| format!("[[class]]\nid = {i}\nname = \"{n}\"\n"));
    folder.write("three.toml", classes.collect::<String>());
    let words = "seg predict --weights w.safetensors --input grey.npy --grey 0,1 --classes three.toml --roi 16";
    for device in ["cpu", "cuda", "auto"] {
        said(&folder, &format!("{words} -o {device} --device {device}"));
    }
    let raw = |name: &str| std::fs::read(folder.0.join(format!("{name}.raw"))).unwrap();
    assert_eq!(raw("cpu"), raw("cuda"));
    assert_eq!(raw("cpu"), raw("auto"));
    let record = json(&folder.0.join("cuda.run.json"));
    let device = record.need("run").unwrap().need("device").unwrap();
    assert_eq!(device.need_str("compute_capability").unwrap(), "8.0");
    assert!(device.need_str("name").unwrap().contains("emulation"));
    assert_eq!(device.need_str("image_sha256").unwrap().len(), 64);
}

/// What was labelled on one device is not labelled again for another; where the numbers are the device's own, its name is
/// part of what they are.
#[test]
fn a_run_is_the_same_on_every_device() {
    let folder = Scratch::new("cuda-run");
    sample(&folder, [24, 6]);
    let text = std::fs::read_to_string(folder.0.join("cell.toml")).unwrap();
    let text = text.replace("[run]\n", "[run]\nstill = true\n").replace("roi = \"64\"", "roi = \"16\"");
    folder.write("cell.toml", &text);
    let run = "run cell.toml --until classes -o";
    let classes = |of: &str| std::fs::read(folder.0.join(of).join("classes/s01.raw")).unwrap();
    said(&folder, &format!("{run} cpu"));
    said(&folder, &format!("{run} cuda --device cuda"));
    assert!(classes("cpu") == classes("cuda") && classes("cpu").iter().any(|c| *c != classes("cpu")[0]));
    let on = |of: &str| {
        let record = json(&folder.0.join(of).join("classes/s01.run.json"));
        record.need("run").unwrap().need("device").unwrap().to_line()
    };
    assert!(on("cpu").contains("cpu") && on("cuda").contains("emulation"), "{} {}", on("cpu"), on("cuda"));
    // Three slices, three classes, three texts at most: each is done.
    let done = |of: &str| {
        let status = said(&folder, &format!("status cell.toml --until classes -o {of}"));
        assert!(status.contains("done") && !status.contains("changed") && !status.contains("open"), "{status}");
    };
    done("cuda");
    let made = |of: &str| std::fs::metadata(folder.0.join(of).join("classes/s01.raw")).unwrap().modified().unwrap();
    let before = made("cuda");
    said(&folder, &format!("{run} cuda --device cpu"));
    folder.write("cell.toml", text.replace("roi =", "device = \"cuda\"\nroi ="));
    done("cuda");
    done("cpu");
    said(&folder, &format!("{run} cuda"));
    assert_eq!(made("cuda"), before);
    // The command line's goes before the table's.
    let nowhere = emulated(&folder, &format!("{run} other --device cuda:7"), &[]);
    expect(&nowhere, 69, &["no GPU 7"], "a device that is not there");
    // In 16 bits another device has other numbers.
    folder.write("cell.toml", text.replace("roi =", "fast = true\ndevice = \"cuda\"\nroi ="));
    let status = said(&folder, "status cell.toml --until classes -o cuda");
    assert!(status.contains("changed"), "{status}");
    let both = emulated(&folder, &format!("{run} cuda --device cpu"), &[]);
    expect(&both, 2, &["the numbers are the device's own", "[seg.predict] device"], "a device for 16 bits");
}

/// A step, kernel by kernel, on the device and by its definition.
#[test]
fn a_step_is_traced_on_the_device() {
    let folder = Scratch::new("cuda-trace");
    let trace = "trace step --channels 8,12 --size 16 --overwrite -o";
    let bits = |text: &str| {
        let rows = text.lines().filter(|l| l.ends_with("same") || l.ends_with("DIFFERENT"));
        let numbers =
            |l: &str| l.split(" ms ").next().unwrap().rsplit_once(char::is_whitespace).unwrap().0.trim().to_string();
        let rows: Vec<String> = rows.map(|l| numbers(l) + &l[l.rfind("ms").unwrap() + 2..]).collect();
        (rows, text.lines().last().unwrap().to_string())
    };
    let [cpu, cuda] =
        ["cpu", "cuda"].map(|device| bits(&said(&folder, &format!("{trace} {device} --device {device}"))));
    assert!(cpu.0.len() > 20 && cpu.0.iter().all(|row| row.ends_with("same")), "{cpu:?}");
    assert_eq!(cpu, cuda);
    let picture = |of: &str| std::fs::read(folder.0.join(of).join("call_000_convolution.png")).unwrap();
    assert!(picture("cpu") == picture("cuda"));
    for broken in ["cuLaunchKernel:9", "cuEventElapsedTime:4"] {
        let done = emulated(&folder, &format!("{trace} broken --device cuda"), &[("EMULATION_FAIL", broken)]);
        expect(&done, 69, &["GPU: "], broken);
        assert!(!folder.0.join("broken").exists());
    }
}

/// Patches are disturbed on the device, seed after seed, with the bits of the CPU.
#[test]
fn trainings_on_disturbed_patches_are_those_of_the_cpu() {
    let folder = folder("cuda-seg-train");
    let stream = Stream::new(5, 1);
    let grey: Vec<f32> = (0..6 * 32 * 32).map(|i| stream.uniform_f32(i)).collect();
    write_array(&folder.0.join("grey.npy"), &[6, 32, 32], &grey, false).unwrap();
    let labels: Vec<u8> = grey.iter().map(|v| (v * 3.0) as u8).collect();
    std::fs::write(folder.0.join("drawn.npy"), npy_of("|u1", &[6, 32, 32], &labels)).unwrap();
    let classes = ["a", "b", "c"].iter().enumerate().map(|(i, n)| format!("[[class]]\nid = {i}\nname = \"{n}\"\n"));
    folder.write("three.toml", classes.collect::<String>());
    said(&folder, "labels import -q drawn.npy --map from-0 --classes three.toml --like grey.npy -o labels");
    let patches = "seg patches -q a:s=labels.mhd --planes xy --slices :: --size 16 --step 16 --classes three.toml";
    said(&folder, &format!("{patches} -o patches.json"));
    let train = "seg train -q --patches patches.json s=grey.npy,labels.mhd --grey 0,1 --classes three.toml --context 1 \
                 --augment authors,flip-rows=0.5,gain=0.1,offset=0.05,blur=1,rings=0.05,noise=0.05 --channels 8,12 \
                 --epochs 2 --batch 5 --seeds 1,2";
    for device in ["cpu", "cuda"] {
        said(&folder, &format!("{train} --device {device} -o {device}"));
    }
    let file = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
    for seed in ["seed_1", "seed_2"] {
        for name in ["best.safetensors", "epochs.csv"] {
            let [cpu, cuda] = ["cpu", "cuda"].map(|device| file(&format!("{device}/{seed}/{name}")));
            assert!(cpu == cuda, "{seed}/{name}");
        }
        let record = json(&folder.0.join("cuda").join(seed).join("training.run.json"));
        assert!(record.need("run").unwrap().need("device").unwrap().to_line().contains("emulation"), "{seed}");
    }
    assert!(file("cpu/seed_1/best.safetensors") != file("cpu/seed_2/best.safetensors"));
    said(&folder, &format!("{train} --device cuda --fast -o fast"));
    // It is the device that makes the batches.
    for kernel in ["augment_place", "augment_blur", "augment_finish"] {
        let words = format!("{train} --device cuda -o without_{kernel}");
        let done = emulated(&folder, &words, &[("EMULATION_HIDE", kernel)]);
        expect(&done, 69, &[&format!("looking for the kernel {kernel}")], kernel);
    }
}

/// Whether this machine's CPU multiplies bf16.
fn bf16() -> bool {
    tomolith::num::lanes::Isa::detect().has_halves()
}

/// Near strict mode, the same on every run, and nobody takes it for strict mode.
#[test]
fn fast_mode_is_near_strict_mode_and_recorded() {
    let folder = folder("cuda-fast");
    let forward = "net forward --weights w.safetensors --input x.npy --device cuda --overwrite";
    let strict = said(&folder, &format!("{forward} -o s.npy"));
    let fast = said(&folder, &format!("{forward} --fast -o f.npy"));
    assert!(fast != strict && said(&folder, &format!("{forward} --fast -o f.npy")) == fast);
    let [strict, fast] = ["s.npy", "f.npy"].map(|name| read_array(&folder.0.join(name)).unwrap().1);
    let largest = strict.iter().fold(0f32, |m, v| m.max(v.abs()));
    let far = strict.iter().zip(&fast).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    // Twenty roundings of 2⁻¹¹ or fewer on each path.
    assert!(far > 0.0 && far < 20.0 / 2048.0 * largest, "{far} of {largest}");

    let stream = Stream::new(4, 1);
    let grey: Vec<f32> = (0..3 * 20 * 24).map(|i| stream.uniform_f32(i)).collect();
    write_array(&folder.0.join("grey.npy"), &[3, 20, 24], &grey, false).unwrap();
    let classes = ["a", "b", "c"].iter().enumerate().map(|(i, n)| format!("[[class]]\nid = {i}\nname = \"{n}\"\n"));
    folder.write("three.toml", classes.collect::<String>());
    let words =
        "seg predict --weights w.safetensors --input grey.npy --grey 0,1 --classes three.toml --roi 16 --device cuda";
    for name in ["strict", "fast --fast"] {
        said(&folder, &format!("{words} -o {name}"));
    }
    let raw = |name: &str| std::fs::read(folder.0.join(format!("{name}.raw"))).unwrap();
    let differ = raw("strict").iter().zip(raw("fast")).filter(|(a, b)| **a != *b).count();
    assert!(differ * 20 < raw("fast").len(), "{differ} classes differ");
    let params = |name: &str| json(&folder.0.join(format!("{name}.json"))).need("params").unwrap().to_line();
    assert!(params("fast").contains("fp16") && !params("strict").contains("arithmetic"), "{}", params("fast"));
    let record = json(&folder.0.join("fast.run.json"));
    let device = record.need("run").unwrap().need("device").unwrap();
    assert_eq!(device.need_str("arithmetic").unwrap(), "fp16, sums in f32");
}

/// A training in fp16 writes what became of its loss's scale, and goes on as if it had never stopped.
#[test]
fn a_fast_training_logs_its_scale_and_goes_on() {
    let folder = folder("cuda-fast-train");
    let train =
        "net train --channels 8,12 --classes 3 --input x.npy --labels y.npy --batch 3 --leaf 2 --device cuda -q";
    let whole = said(&folder, &format!("{train} --fast --epochs 3 -o whole"));
    said(&folder, &format!("{train} --fast --epochs 1 -o parts"));
    assert_eq!(said(&folder, &format!("{train} --fast --epochs 3 -o parts --resume")), whole);
    assert_ne!(said(&folder, &format!("{train} --epochs 3 -o strict")), whole);
    let log = |name: &str| std::fs::read_to_string(folder.0.join(name).join("steps.csv")).unwrap();
    assert_eq!(log("whole"), log("parts"));
    let header = "step,epoch,rate,loss,labelled,try,skipped,next_loss_scale\n1,1,0.0003,";
    assert!(log("whole").lines().count() == 7 && log("whole").starts_with(header), "{}", log("whole"));
    assert!(log("whole").lines().nth(1).unwrap().ends_with(",1,0,65536"));
    assert!(log("strict").lines().count() == 7 && log("strict").starts_with("step,epoch,rate,loss,labelled\n"));
    // What one arithmetic began, the other does not go on with.
    let mixed = emulated(&folder, &format!("{train} --epochs 4 -o whole --resume"), &[]);
    expect(&mixed, 65, &["`fast`"], "strict after fast");
    // All the weight on one pixel: its gradient leaves fp16 on the way, and steps are skipped until the scale is small
    // enough. The log says so, and a training that goes on knows the scale.
    let mut labels = vec![-1f32; 4 * 16 * 16];
    labels[100] = 1.0;
    write_array(&folder.0.join("one.npy"), &[4, 16, 16], &labels, false).unwrap();
    let one = train.replace("y.npy", "one.npy").replace("--batch 3 --leaf 2", "--batch 4") + " --fast";
    let whole = said(&folder, &format!("{one} --epochs 8 -o one"));
    said(&folder, &format!("{one} --epochs 1 -o two"));
    assert_eq!(said(&folder, &format!("{one} --epochs 8 -o two --resume")), whole);
    let log = [log("one"), log("two")];
    let ends: Vec<&str> = log[0].lines().skip(1).map(|l| l.rsplit(',').next().unwrap()).collect();
    let first = log[0].lines().nth(1).unwrap_or_default();
    assert!(log[0] == log[1] && ends.len() == 8 && ends[0] == "32768" && first.ends_with(",1,1,32768"), "{log:?}");
    assert!(!log[0].lines().last().unwrap().starts_with("0,"), "no step was ever done: {log:?}");
}

#[test]
fn what_a_gpu_cannot_is_told() {
    let folder = folder("cuda-errors");
    let forward = "net forward --weights w.safetensors --input x.npy -o l.npy --overwrite --device";
    let refused = |words: &str, environment: &[(&str, &str)], code: i32, says: &[&str]| {
        expect(&emulated(&folder, words, environment), code, says, &format!("{words} {environment:?}"));
    };
    let cuda = format!("{forward} cuda");
    refused(&cuda, &[("EMULATION_DEVICES", "0")], 69, &["no GPU", "--device cpu"]);
    refused(&cuda, &[("EMULATION_VERSION", "11040")], 69, &["CUDA 11.4", "12.0"]);
    refused(&cuda, &[("EMULATION_CAPABILITY", "70")], 69, &["compute capability 7.0"]);
    refused(&cuda, &[("EMULATION_MEMORY", "50000")], 69, &["out of memory"]);
    refused(&cuda, &[("EMULATION_HIDE", "convolve_image")], 69, &["looking for the kernel convolve_image"]);
    refused(&cuda, &[("EMULATION_FAIL", "cuLaunchKernel:3")], 69, &["starting the kernel"]);
    refused(&format!("{forward} cuda:3"), &[], 69, &["no GPU 3: there are 1"]);
    refused(&format!("{forward} cuda:x"), &[], 2, &["no number of a GPU"]);
    refused(&format!("{forward} gpu"), &[], 2, &["no device 'gpu'"]);
    refused(&format!("{forward} cuda --fast"), &[("EMULATION_HIDE", "fast_filter")], 69, &["the kernel fast_filter"]);
    let step = "net step --weights w.safetensors --input x.npy --labels y.npy --fast";
    refused(step, &[], if bf16() { 2 } else { 69 }, &[if bf16() { "is of a GPU alone" } else { "needs a GPU" }]);
    refused("net bench --channels 8,12 --size 16 --device cuda", &[], 69, &["its times mean nothing"]);
    refused(
        "net step --weights w.safetensors --input x.npy --labels y.npy --device cuda",
        &[("EMULATION_FAIL", "cuLaunchKernel:90")],
        69,
        &["GPU: starting the kernel"],
    );
    // Where there is no GPU, auto is the CPU, and says so.
    let says = ["logits ", "note: computed on the CPU: no GPU: the driver finds no device"];
    refused(&format!("{forward} auto"), &[("EMULATION_DEVICES", "0")], 0, &says);
    // doctor tells what is there, and that nothing is; neither is a fault of the machine.
    let doctor = stdout(&emulated(&folder, "doctor", &[("EMULATION_DEVICES", "2")]));
    assert!(doctor.contains("CUDA 12.0: cuda:0 emulation") && doctor.contains("cuda:1"), "{doctor}");
    let doctor = stdout(&emulated(&folder, "doctor", &[("EMULATION_DEVICES", "0")]));
    assert!(doctor.contains("note  GPU") && doctor.contains("finds no device"), "{doctor}");
}

/// Without the driver's library, and where what has its name is text, or empty.
#[test]
fn a_library_that_is_none_is_told_and_the_cpu_computes() {
    let folder = folder("cuda-no-library");
    let words = "net forward --weights w.safetensors --input x.npy -o l.npy --overwrite --device";
    let numbers = said(&folder, &format!("{words} cpu"));
    let try_with = |place: &std::path::Path, why: &[&str]| {
        let on = |words: &str| emulated(&folder, words, &[("LD_LIBRARY_PATH", place.to_str().unwrap())]);
        let case = format!("{}", place.display());
        let told = [&["no GPU: ", "--device cpu computes the same bits"], why].concat();
        for device in ["cuda", "cuda:0", "cuda --fast"] {
            let done = on(&format!("{words} {device}"));
            expect(&done, 69, &told, &case);
            assert!(stdout(&done).is_empty(), "{case}: {}", stdout(&done));
        }
        let auto = on(&format!("{words} auto"));
        expect(&auto, 0, &[&["note: computed on the CPU: no GPU: "], why].concat(), &case);
        assert_eq!(stdout(&auto), numbers, "{case}");
        let doctor = on("doctor");
        expect(&doctor, 0, &[&["networks are computed on the CPU, with the same bits"], why].concat(), &case);
        assert!(stdout(&doctor).lines().any(|line| line.starts_with("note  GPU ")), "{case}: {}", stdout(&doctor));
    };
    for (name, text) in [("text", "no library\n".repeat(1000)), ("empty", String::new())] {
        let place = folder.0.join(name);
        std::fs::create_dir(&place).unwrap();
        // Both names that it may have, so that the driver of this machine is not found.
        ["libcuda.so", "libcuda.so.1"].iter().for_each(|name| std::fs::write(place.join(name), &text).unwrap());
        try_with(&place, &["the driver's library cannot be loaded: ", place.join("libcuda.so.1").to_str().unwrap()]);
    }
    let none = folder.0.join("none");
    std::fs::create_dir(&none).unwrap();
    // Where this machine has a driver, it is found.
    let doctor = stdout(&emulated(&folder, "doctor", &[("LD_LIBRARY_PATH", none.to_str().unwrap())]));
    if !doctor.contains("GPU               driver of CUDA") {
        try_with(&none, &["the driver's library libcuda.so.1 is not found"]);
    }
}
