//! L4. A training that can be taken up again: weights, Adam's moments and the count of steps in one safetensors file. A
//! dropout mask is a function of seed and step, so the count is the whole state of the random numbers.
//!
//! | tensor | what |
//! |---|---|
//! | names of the state dict | weights: the file is read wherever weights are |
//! | `optimizer.m.NAME`, `optimizer.v.NAME` | Adam's moments of a parameter, in its shape |
//!
//! The metadata holds `steps`, `seed`, the scale of the loss where it was scaled ([`super::scale`]), and what the caller
//! adds. The file has its name only when it is complete: a crash leaves the one before.

use super::scale::LossScale;
use super::state;
use super::train::Trainer;
use super::weights::{self, NamedTensor, StateDict};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// What stands in front of the moments' names.
const MOMENTS: [&str; 2] = ["optimizer.m.", "optimizer.v."];

/// Writes a training, in place of the file that is there.
///
/// # Errors
/// As [`weights::write_safetensors`].
pub fn write(path: &Path, trainer: &Trainer, seed: u64, more: &BTreeMap<String, String>) -> Result<()> {
    let mut dict = state::save(&trainer.network, "");
    for (prefix, moments) in MOMENTS.iter().zip(&trainer.moments) {
        for (parameter, values) in trainer.network.parameters.iter().zip(moments).filter(|(p, _)| p.trained) {
            let name = format!("{prefix}{}", parameter.name);
            dict.tensors.push(NamedTensor::from_f32(name, &parameter.kind.torch(), &parameter.unpack(values)));
        }
    }
    dict.metadata = more.clone();
    dict.metadata.insert("steps".into(), trainer.steps.to_string());
    dict.metadata.insert("seed".into(), seed.to_string());
    if trainer.scale != LossScale::default() {
        dict.metadata.insert("loss_scale".into(), trainer.scale.text());
    }
    weights::write_safetensors(path, &dict, true)
}

/// Reads a training and its metadata.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data) where the file is no checkpoint of this program, or damaged.
pub fn read(path: &Path) -> Result<(Trainer, BTreeMap<String, String>)> {
    let dict = weights::read(path)?;
    parse(dict).map_err(|e| e.at(path))
}

fn parse(dict: StateDict) -> Result<(Trainer, BTreeMap<String, String>)> {
    let steps = dict.metadata.get("steps").and_then(|s| s.parse().ok());
    let steps = steps.ok_or_else(|| {
        Error::data("says no number of steps: it holds weights, not a training")
            .help("start a training from it instead")
    })?;
    let moments = |t: &NamedTensor| MOMENTS.iter().any(|prefix| t.name.starts_with(prefix));
    let (optimizer, tensors): (Vec<_>, Vec<_>) = dict.tensors.into_iter().partition(moments);
    let mut trainer = Trainer::new(state::load(&StateDict { tensors, metadata: BTreeMap::new() })?.network);
    let optimizer: BTreeMap<&str, &NamedTensor> = optimizer.iter().map(|t| (t.name.as_str(), t)).collect();
    for (prefix, moments) in MOMENTS.iter().zip(&mut trainer.moments) {
        for (parameter, values) in trainer.network.parameters.iter().zip(moments).filter(|(p, _)| p.trained) {
            let name = format!("{prefix}{}", parameter.name);
            let tensor = optimizer.get(name.as_str()).ok_or_else(|| Error::data(format!("no tensor `{name}`")))?;
            if tensor.shape != parameter.kind.torch() {
                return Err(Error::data(format!("`{name}` has shape {:?}", tensor.shape)));
            }
            *values = parameter.pack(&tensor.f32s()?).into();
        }
    }
    trainer.steps = steps;
    if let Some(text) = dict.metadata.get("loss_scale") {
        trainer.scale =
            LossScale::parse(text).ok_or_else(|| Error::data(format!("the scale of the loss is `{text}`")))?;
    }
    Ok((trainer, dict.metadata))
}
