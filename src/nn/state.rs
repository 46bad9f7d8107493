//! L4. The network from a state dict and back. The architecture is read from the names and shapes; then every tensor
//! must be there, of the right shape, finite, and none may be left over.
//!
//! Names are those of [`super::network`]; what trainers put in front (`model.`, `module.` …) is found and kept. A
//! Lightning checkpoint's `cross_entropy_loss.weight` and the moments of our own checkpoints are no part of the network
//! and are passed over.

use super::config::Config;
use super::network::Network;
use super::weights::{Dtype, NamedTensor, StateDict};
use crate::error::{Error, Result, nearest};
use std::collections::BTreeMap;

/// What trainers put in front of the names.
const PREFIXES: [&str; 6] = ["", "model.", "module.", "net.", "_model.", "model.module."];
/// Tensors of a checkpoint that are no part of the network.
const FOREIGN: [&str; 1] = ["cross_entropy_loss.weight"];
/// What the names of an optimizer's tensors begin with.
const OPTIMIZER: &str = "optimizer.";

/// Everything a state dict says about a network.
pub struct Loaded {
    /// The network.
    pub network: Network,
    /// What stands in front of its names.
    pub prefix: &'static str,
}

/// The network of a state dict.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data) names the first tensor that is missing, left over, of another shape, or
/// not finite.
pub fn load(dict: &StateDict) -> Result<Loaded> {
    let tensors: BTreeMap<&str, &NamedTensor> = dict.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let starts = ["model.0.conv.unit0.conv.weight", "encoder.0.conv.unit0.conv.weight"];
    // The longest first: `model.model.0` begins with `model.`, too.
    let found = PREFIXES.into_iter().rev().find_map(|prefix| {
        starts.into_iter().find(|name| tensors.contains_key(format!("{prefix}{name}").as_str())).map(|s| (prefix, s))
    });
    let Some((prefix, start)) = found else {
        let first =
            dict.tensors.first().map_or("it is empty".to_string(), |t| format!("its first tensor is `{}`", t.name));
        return Err(Error::data(format!("holds no residual U-Net that this program knows: {first}"))
            .help("it reads MONAI's UNet (2-D, num_res_units=2) and networks that it wrote itself"));
    };
    let extent = |name: &str, axis: usize| -> Option<usize> {
        tensors.get(format!("{prefix}{name}").as_str()).and_then(|t| t.shape.get(axis).copied())
    };
    let (mut channels, missing) = (Vec::new(), |name: &str| Error::data(format!("no tensor `{prefix}{name}`")));
    let config = if start == starts[0] {
        let level = |l: usize| format!("model{}", ".1.submodule".repeat(l));
        while let Some(c) = extent(&format!("{}.0.conv.unit0.conv.weight", level(channels.len())), 0) {
            channels.push(c);
        }
        let bottom = format!("{}.conv.unit0.conv.weight", level(channels.len()));
        channels.push(extent(&bottom, 0).ok_or_else(|| missing(&bottom))?);
        let up = "model.2.0.conv.weight";
        Config::monai(&channels, extent(up, 1).ok_or_else(|| missing(up))?)
    } else {
        while let Some(c) = extent(&format!("encoder.{}.conv.unit0.conv.weight", channels.len()), 0) {
            channels.push(c);
        }
        Config::paper(&channels, extent("head.weight", 0).ok_or_else(|| missing("head.weight"))?)
    };
    let config = config.with_inputs(extent(start, 1).unwrap_or(1));
    config.check().map_err(|e| Error::data(e.what()).help("the file is damaged"))?;
    // A unit has at least a convolution of as many channels to as many: who names channels without numbers gets no
    // memory.
    let least = config.channels.iter().chain([&config.classes]).map(|c| c * c).sum::<usize>();
    if least > dict.tensors.iter().map(|t| t.data.len()).sum() {
        return Err(Error::data(format!("channels {:?} need more numbers than there are", config.channels)));
    }
    let mut network = Network::new(config, 0);
    let mut left: Vec<&str> =
        tensors.keys().copied().filter(|name| !FOREIGN.contains(name) && !name.starts_with(OPTIMIZER)).collect();
    let mut take = |name: &str, shape: &[usize]| -> Result<&NamedTensor> {
        let name = format!("{prefix}{name}");
        let Some(tensor) = tensors.get(name.as_str()) else {
            let near = nearest(&name, left.iter().copied()).unwrap_or_default();
            let e = Error::data(format!("no tensor `{name}`"));
            return Err(if near.is_empty() { e } else { e.help(format!("there is `{near}`")) });
        };
        left.retain(|&n| n != name);
        if tensor.shape != shape {
            return Err(Error::data(format!("`{name}` has shape {:?}, the network needs {shape:?}", tensor.shape)));
        }
        Ok(tensor)
    };
    for parameter in &mut network.parameters {
        let tensor = take(&parameter.name, &parameter.kind.torch())?;
        let values = tensor.f32s()?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::data(format!("`{}` is {} at element {at}", tensor.name, values[at]))
                .help("the training that wrote it diverged; take an earlier checkpoint"));
        }
        if parameter.name.ends_with("running_var")
            && let Some(at) = values.iter().position(|&v| v < 0.0)
        {
            return Err(Error::data(format!("`{}` is {} at element {at}: no variance", tensor.name, values[at])));
        }
        parameter.set(&values);
    }
    for (i, (name, _)) in network.counters().iter().enumerate() {
        let tensor = take(name, &[])?;
        let count = match tensor.dtype {
            Dtype::I64 => tensor.data.as_chunks::<8>().0.first().map_or(-1, |b| i64::from_le_bytes(*b)),
            _ => tensor.f32s()?.first().map_or(-1, |&v| v as i64),
        };
        network.batches[i] = u64::try_from(count).map_err(|_| Error::data(format!("`{}` is {count}", tensor.name)))?;
    }
    match left.first() {
        None => Ok(Loaded { network, prefix }),
        Some(extra) => Err(Error::data(format!("{} tensors too many, the first is `{extra}`", left.len()))
            .help("the network is another one, or the file holds more than a network")),
    }
}

/// The state dict of a network in PyTorch's order, all of f32 but for the counters.
pub fn save(network: &Network, prefix: &str) -> StateDict {
    let mut tensors = Vec::new();
    let counters = network.counters();
    for (i, parameter) in network.parameters.iter().enumerate() {
        let shape = parameter.kind.torch();
        tensors.push(NamedTensor::from_f32(format!("{prefix}{}", parameter.name), &shape, &parameter.get()));
        if let Some(at) = counters.iter().position(|(_, after)| *after == i) {
            let count = i64::try_from(network.batches[at]).unwrap_or(i64::MAX);
            tensors.push(NamedTensor::from_i64(format!("{prefix}{}", counters[at].0), &[], &[count]));
        }
    }
    StateDict { tensors, metadata: BTreeMap::new() }
}

/// The state dict of a network with the names, order, types and metadata of another that [`load`] accepted; what is
/// no part of the network stays as it is there.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data) where a tensor's type holds no weights.
pub fn save_like(network: &Network, like: &StateDict, prefix: &str) -> Result<StateDict> {
    let new = save(network, prefix);
    let new: BTreeMap<&str, &NamedTensor> = new.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let convert = |old: &NamedTensor| -> Result<NamedTensor> {
        let Some(&tensor) = new.get(old.name.as_str()) else { return Ok(old.clone()) };
        if tensor.dtype == old.dtype {
            return Ok(tensor.clone());
        }
        let values = tensor.f32s()?;
        let data: Vec<u8> = match old.dtype {
            Dtype::F64 => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
            Dtype::F16 => values.iter().flat_map(|&v| half::f16::from_f32_const(v).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|&v| half::bf16::from_f32_const(v).to_le_bytes()).collect(),
            Dtype::I32 => values.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect(),
            _ => return Err(Error::data(format!("`{}` is of {}, which holds no weights", old.name, old.dtype.name()))),
        };
        Ok(NamedTensor { dtype: old.dtype, data, ..tensor.clone() })
    };
    Ok(StateDict { tensors: like.tensors.iter().map(convert).collect::<Result<_>>()?, metadata: like.metadata.clone() })
}
