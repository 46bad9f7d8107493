//! The network beside MONAI and PyTorch, from the files of `testdata/net`; and state dicts that are refused.

use super::checkpoint;
use super::infer::{Plan, Workspace};
use super::state::{load, save, save_like};
use super::train::{Options, Trainer};
use super::weights::{self, Dtype, NamedTensor, StateDict};
use crate::exchange::npy::read_array;
use crate::json::Json;
use crate::kernels::Cpu;
use crate::kernels::maps::{Maps, Shape};
use crate::num::lanes::Isa;
use crate::testing::Scratch;
use std::path::PathBuf;

const NETWORKS: [&str; 3] = ["narrow", "deep", "paper"];

fn file(name: &str, what: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/net/{name}.{what}"))
}

fn images(name: &str) -> Maps<f32> {
    let (shape, values) = read_array(&file(name, "x.npy")).unwrap();
    Maps::from_nchw(Shape::new(shape[0], shape[1], shape[2], shape[3]), &values)
}

/// The largest difference, over the largest of `b`.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let most = |v: &mut dyn Iterator<Item = f32>| v.fold(0f32, |most, v| most.max(v.abs()));
    most(&mut a.iter().zip(b).map(|(a, b)| a - b)) / most(&mut b.iter().copied())
}

#[test]
fn logits_are_torchs() {
    for name in NETWORKS {
        let network = load(&weights::read(&file(name, "safetensors")).unwrap()).unwrap().network;
        let logits =
            Plan::new(&network).run(&Cpu { isa: Isa::detect() }, &images(name), &mut Workspace::default(), |_| ());
        let (shape, expected) = read_array(&file(name, "logits.npy")).unwrap();
        assert_eq!(shape, [2, network.config.classes, 32, 32]);
        // f32 against f64, some hundred additions deep: measured 5e-7.
        let far = apart(&logits.to_nchw(), &expected);
        assert!(far < 1e-5, "{name}: {far}");
    }
}

#[test]
fn gradients_are_those_of_autograd() {
    for name in NETWORKS {
        let network = load(&weights::read(&file(name, "safetensors")).unwrap()).unwrap().network;
        let classes = network.config.classes;
        let labels: Vec<i16> = read_array(&file(name, "y.npy")).unwrap().1.iter().map(|&v| v as i16).collect();
        let options = Options { rate: 3e-4, dropout: 0.0, seed: 0, class_weights: vec![1.0; classes], leaf: None };
        let (mut trainer, isa) = (Trainer::new(network), Isa::detect());
        trainer.step(&Cpu { isa }, &images(name), &labels, &options).unwrap();
        let expected = weights::read(&file(name, "gradients.safetensors")).unwrap();
        let mut compared = 0;
        for (p, gradient) in trainer.network.parameters.iter().zip(trainer.gradients()).filter(|(p, _)| p.trained) {
            // A bias in front of a BatchNorm has none; in the text's order there is none.
            let Some(expected) = expected.get(&p.name) else { continue };
            let far = apart(&p.unpack(gradient), &expected.f32s().unwrap());
            // A slope's is one sum of thousands of terms of both signs.
            let bound = if p.name.ends_with("A.weight") { 1e-4 } else { 1e-5 };
            assert!(far < bound, "{name}, {}: {far}", p.name);
            compared += 1;
        }
        assert_eq!(compared, expected.tensors.len());
    }
}

#[test]
fn ten_steps_are_torchs() {
    for name in NETWORKS {
        let network = load(&weights::read(&file(name, "safetensors")).unwrap()).unwrap().network;
        let classes = network.config.classes;
        let labels: Vec<i16> = read_array(&file(name, "y.npy")).unwrap().1.iter().map(|&v| v as i16).collect();
        let options = Options { rate: 3e-4, dropout: 0.0, seed: 0, class_weights: vec![1.0; classes], leaf: None };
        let (mut trainer, isa, image) = (Trainer::new(network), Isa::detect(), images(name));
        let losses = Json::parse(&std::fs::read_to_string(file(name, "losses.json")).unwrap()).unwrap();
        for (step, expected) in losses.need_arr("losses").unwrap().iter().enumerate() {
            let loss = trainer.step(&Cpu { isa }, &image, &labels, &options).unwrap().loss;
            let expected = expected.as_f64().unwrap();
            assert!((loss / expected - 1.0).abs() < 1e-5, "{name}, step {step}: {loss} {expected}");
        }
        let after = load(&weights::read(&file(name, "after.safetensors")).unwrap()).unwrap().network;
        assert_eq!(trainer.network.batches, after.batches);
        let gradients = weights::read(&file(name, "gradients.safetensors")).unwrap();
        for (mine, theirs) in trainer.network.parameters.iter().zip(&after.parameters) {
            // A bias in front of a BatchNorm: its true gradient is 0, torch steps of rounding, and the mean takes it
            // along.
            let head = mine.name == "model.2.1.conv.unit0.conv.bias" || mine.name.contains("residual");
            let normalised = mine.name.ends_with("running_mean") || mine.name.ends_with("conv.bias") && !head;
            if mine.name.starts_with("model") && normalised {
                continue;
            }
            // The text's order: the bias of a channel that is on one side of its bend everywhere has no gradient either, and the mean takes
            // it along.
            let (mut found, expected) = (mine.get(), theirs.get());
            let bias = mine.name.replace("adn.N.running_mean", "conv.bias");
            if let Some(g) = gradients.get(&bias).filter(|_| bias.ends_with("conv.bias")) {
                let g = g.f32s().unwrap();
                (0..g.len()).filter(|&i| g[i].abs() < 1e-9).for_each(|i| found[i] = expected[i]);
            }
            let far = apart(&found, &expected);
            assert!(far < 1e-3, "{name}, {}: {far}", mine.name);
        }
    }
}

#[test]
fn a_state_dict_comes_back_as_it_was() {
    let dict = weights::read(&file("narrow", "safetensors")).unwrap();
    let loaded = load(&dict).unwrap();
    assert_eq!(save_like(&loaded.network, &dict, loaded.prefix).unwrap(), dict);
    // As Lightning names it, in another order, of other types, with what is no part of it.
    let mut other = StateDict::default();
    for t in dict.tensors.iter().rev() {
        let mut t = NamedTensor { name: format!("model.{}", t.name), ..t.clone() };
        if t.name.ends_with("running_var") {
            t.data = t.f32s().unwrap().iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
            t.dtype = Dtype::F64;
        }
        other.tensors.push(t);
    }
    other.tensors.push(NamedTensor::from_f32("cross_entropy_loss.weight", &[3], &[1.0, 2.0, 3.0]));
    let again = load(&other).unwrap();
    assert_eq!(again.prefix, "model.");
    assert!(again.network.parameters == loaded.network.parameters);
    assert_eq!(save_like(&again.network, &other, again.prefix).unwrap(), other);
    assert_eq!(save(&loaded.network, "").tensors[0].name, "model.0.conv.unit0.conv.weight");
}

#[test]
fn state_dicts_that_do_not_fit_are_refused_by_name() {
    let dict = weights::read(&file("narrow", "safetensors")).unwrap();
    let refused = |change: &dyn Fn(&mut StateDict), says: &str| {
        let mut dict = dict.clone();
        change(&mut dict);
        let error = load(&dict).err().unwrap();
        assert_eq!(error.fault().exit_code(), 65);
        assert!(error.to_string().contains(says), "{says}: {error}");
    };
    fn of<'a>(d: &'a mut StateDict, name: &str) -> &'a mut NamedTensor {
        d.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }
    refused(&|d| d.tensors.clear(), "it is empty");
    refused(&|d| d.tensors.retain(|t| t.name != "model.0.residual.bias"), "no tensor `model.0.residual.bias`");
    refused(&|d| of(d, "model.2.0.adn.N.bias").name += "s", "there is `model.2.0.adn.N.biass`");
    refused(
        &|d| d.tensors.push(NamedTensor::from_f32("model.3", &[1], &[0.0])),
        "1 tensors too many, the first is `model.3`",
    );
    refused(&|d| of(d, "model.2.0.adn.A.weight").shape = vec![1, 1], "has shape [1, 1], the network needs [1]");
    refused(&|d| of(d, "model.2.0.adn.A.weight").data = f32::NAN.to_le_bytes().to_vec(), "is NaN at element 0");
    refused(
        &|d| of(d, "model.0.conv.unit0.adn.N.num_batches_tracked").data = vec![0xff; 8],
        "num_batches_tracked` is -1",
    );
    // Channels without numbers: nothing is allocated for them.
    refused(
        &|d| {
            *of(d, "model.0.conv.unit0.conv.weight") =
                NamedTensor { shape: vec![8000, 0, 3, 3], data: Vec::new(), ..d.tensors[0].clone() };
        },
        "",
    );
    refused(&|d| of(d, "model.0.conv.unit0.conv.weight").shape[0] = usize::MAX, "channels");
}

#[test]
fn a_training_taken_up_from_its_file_ends_where_the_uninterrupted_does() {
    let labels: Vec<i16> = read_array(&file("narrow", "y.npy")).unwrap().1.iter().map(|&v| v as i16).collect();
    let options = Options { rate: 3e-4, dropout: 0.2, seed: 9, class_weights: vec![1.0; 3], leaf: None };
    let (isa, image) = (Isa::detect(), images("narrow"));
    let steps = |mut trainer: Trainer, n: u32| {
        for _ in 0..n {
            trainer.step(&Cpu { isa }, &image, &labels, &options).unwrap();
        }
        trainer
    };
    let start = || Trainer::new(load(&weights::read(&file("narrow", "safetensors")).unwrap()).unwrap().network);
    let whole = steps(start(), 7);
    let folder = Scratch::new("checkpoint");
    let path = folder.join("c.safetensors");
    let more = [("epoch".to_string(), "1".to_string())].into();
    checkpoint::write(&path, &steps(start(), 3), 9, &more).unwrap();
    let (taken_up, metadata) = checkpoint::read(&path).unwrap();
    assert_eq!((taken_up.steps, metadata["seed"].as_str(), metadata["epoch"].as_str()), (3, "9", "1"));
    let end = steps(taken_up, 4);
    assert!(end.network.parameters == whole.network.parameters && end.network.batches == whole.network.batches);
    // Weights alone are no training.
    let error = checkpoint::read(&file("narrow", "safetensors")).err().unwrap();
    assert!(error.to_string().contains("not a training"), "{error}");
}
