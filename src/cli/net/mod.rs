//! `tomolith net …`: the network by itself, for people who compare it with another.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::values;
use crate::error::{Error, Result};
use crate::exchange::npy;
use crate::kernels::cross_entropy::UNLABELLED;
use crate::kernels::maps::{Maps, Shape};
use crate::nn::config::Config;
use crate::nn::network::Network;
use crate::nn::state::{self, Loaded};
use crate::nn::weights::{self, StateDict};
use crate::num::lanes::Lane;
use crate::os::free_memory;
use crate::provenance::Digest;
use std::path::Path;

pub mod audit;
pub mod bench;
pub mod convert;
pub mod curve;
pub mod forward;
pub mod info;
pub mod init;
pub mod step;
pub mod steps;
pub mod train;

/// Weights to read.
pub const WEIGHTS: Opt = Opt::new("weights", Takes::Value("FILE"), "Weights: .safetensors, or PyTorch's .pt or .ckpt");
/// Images.
pub const INPUT: Opt = Opt::new("input", Takes::Value("FILE.npy"), "Images, f32 of shape (N, 1, H, W)");
/// Architecture by name.
pub const VARIANT: Opt = Opt::new("variant", Takes::Choice(&Config::VARIANTS), "Architecture").default("monai");
/// Channels of the levels.
pub const CHANNELS: Opt = Opt::new("channels", Takes::Value("C0,C1,…"), "Channels of each level, the deepest last")
    .default("32,64,128,256,512,512,512");
/// Classes.
pub const CLASSES: Opt = Opt::new("classes", Takes::Number("K"), "Classes to tell apart").default("5");
/// Seed of the initial weights.
pub const SEED: Opt = Opt::new("seed", Takes::Number("N"), "Seed of the initial weights and of dropout").default("0");
/// 16 bits.
pub const FAST: Opt = Opt::new(
    "fast",
    Takes::Switch,
    "In 16 bits: bf16 where the CPU multiplies it, fp16 on a GPU; near the definition, not identical to it",
);
/// Replaces an output.
pub const OVERWRITE: Opt = Opt::new("overwrite", Takes::Switch, "Replace the output if it exists");

/// The network in a file, and the file's tensors.
fn open(path: &Path) -> Result<(Loaded, StateDict)> {
    let dict = weights::read(path)?;
    Ok((state::load(&dict).map_err(|e| e.at(path))?, dict))
}

/// Learning rate.
pub const RATE: Opt = Opt::new("lr", Takes::Number("RATE"), "Learning rate of Adam").default("3e-4");
/// Dropout.
pub const DROPOUT: Opt = Opt::new("dropout", Takes::Number("P"), "Probability that a number is dropped").default("0.2");

/// Images of a file for a network of `c` channels: (N, c, H, W), or slices (N, H, W) where that is one.
fn images(path: &Path, c: usize) -> Result<Maps<f32>> {
    let (shape, values) = npy::read_array(path)?;
    let (n, h, w) = match *shape.as_slice() {
        [n, channels, h, w] if channels == c => (n, h, w),
        [n, h, w] if c == 1 => (n, h, w),
        _ => {
            return Err(Error::data(format!("an array of shape {shape:?} is no batch of grey images"))
                .help(format!("save it as (N, {c}, H, W)"))
                .at(path));
        }
    };
    if values.is_empty() {
        return Err(Error::data(format!("an array of shape {shape:?} holds no image")).at(path));
    }
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        let bad = values.iter().filter(|v| !v.is_finite()).count();
        let (image, y, x) = (at / (c * h * w), at / w % h, at % w);
        return Err(Error::data(format!(
            "{bad} values are NaN or infinite, the first is {} in image {image} at row {y}, column {x}",
            values[at]
        ))
        .help("find out where they come from; a network would make something of them")
        .at(path));
    }
    Ok(Maps::from_nchw(Shape::new(n, c, h, w), &values))
}

/// Refuses to replace what is there, before any work.
pub(super) fn check_output(path: &Path, overwrite: bool) -> Result<()> {
    if !overwrite && std::fs::symlink_metadata(path).is_ok() {
        return Err(Error::cannot_create("already exists").help("replace it with --overwrite").at(path));
    }
    Ok(())
}

/// Labels of a file for images of a shape; `none` says that a pixel has no label.
fn labels(path: &Path, image: Shape, none: i16) -> Result<Vec<i16>> {
    let (shape, numbers) = npy::read_array(path)?;
    if shape != [image.n, image.h, image.w] {
        let what = format!("labels of shape {shape:?} for images of {} x {} x {}", image.n, image.h, image.w);
        return Err(Error::data(what).help("save them as (N, H, W)").at(path));
    }
    if let Some(bad) = numbers.iter().find(|&&v| f32::from(v as i16) != v) {
        return Err(Error::data(format!("the label {bad} is no int16")).at(path));
    }
    Ok(numbers.iter().map(|&v| if v as i16 == none { UNLABELLED } else { v as i16 }).collect())
}

/// A probability below 1.
pub(super) fn probability(text: &str) -> Result<f64> {
    let p = values::number(text)?;
    if (0.0..1.0).contains(&p) { Ok(p) } else { Err(Error::usage(format!("{p} is no probability below 1"))) }
}

/// Refuses what does not fit into memory before it is asked for: images of a shape, which are not there yet, and the bytes
/// that are held beside them.
pub(super) fn check_memory(image: Shape, held: impl FnOnce() -> u64) -> Result<()> {
    let (large, free) = (1u128 << 44, free_memory());
    let pixels = [image.n, image.h, image.w]
        .map(|v| (v as u128 + 2).min(large))
        .iter()
        .fold(1, |product: u128, &v| product.saturating_mul(v));
    // What is larger than this does not fit, and sums of what is smaller do not overflow.
    let bytes = (pixels < large).then(|| held().saturating_add(4 * pixels as u64));
    match bytes {
        Some(bytes) if bytes <= free => Ok(()),
        _ => {
            let need = bytes.map_or("more memory than any machine has".to_string(), |b| format!("{b} bytes"));
            let Shape { n, h, w, .. } = image;
            Err(Error::device(format!("{n} images of {h} x {w} take {need}, {free} are free"))
                .help("take fewer, smaller ones, or smaller leaves"))
        }
    }
}

/// Weights to begin with.
pub const BEGIN: Opt = Opt::new("weights", Takes::Value("FILE"), "Begin with these weights instead of random ones");
/// Folder of a training.
pub const FOLDER: Opt = Opt::new("output", Takes::Value("DIR"), "Folder to write to").short('o');
/// Goes on with it.
pub const RESUME: Opt = Opt::new("resume", Takes::Switch, "Go on with the training in DIR");

/// Channels from text.
fn channels(text: &str) -> Result<Vec<usize>> {
    text.split(',').map(|c| values::count(c.trim())).collect()
}

/// The architecture that [`VARIANT`], [`CHANNELS`] and, where `classes` says nothing, [`CLASSES`] name.
pub(super) fn config(s: &Settings, classes: Option<usize>) -> Result<Config> {
    let channels = s.parsed("channels", channels)?;
    let classes = classes.map_or_else(|| s.parsed("classes", values::count), Ok)?;
    let config = Config::variant(s.text("variant")?.unwrap_or_default(), &channels, classes)?;
    let (bytes, free) = (4 * config.numbers_at_most(), free_memory());
    if bytes > free {
        return Err(
            Error::device(format!("a network of {bytes} bytes, {free} are free")).help("give it fewer channels")
        );
    }
    Ok(config)
}

/// Digest of every number of a network.
fn digest(network: &Network) -> Digest {
    lanes_digest(network.parameters.iter().flat_map(|p| &p.values))
}

fn lanes_digest<'a>(lanes: impl Iterator<Item = &'a Lane>) -> Digest {
    Digest::of(&lanes.flat_map(|l| l.0).flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
}
