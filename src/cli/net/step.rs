//! `tomolith net step`: training steps on one batch, to be compared with another program's.

use super::{DROPOUT, FAST, INPUT, OVERWRITE, RATE, SEED, WEIGHTS};
use crate::cli::device::{DEVICE, Device, GRAPHS};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Fault, Result};
use crate::exchange::write_text;
use crate::json::Json;
use crate::kernels::cross_entropy::UNLABELLED;
use crate::nn::train::{Options, Trainer};
use crate::nn::weights::{NamedTensor, StateDict};
use crate::nn::{state, weights};
use std::collections::BTreeMap;

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "step"],
    about: "Take training steps on one batch",
    details: "Each step: forward with the statistics of the whole batch, cross-entropy over labelled pixels (all classes weigh \
              1), backward, Adam. Losses are those before each step. The weights written have the names, shapes and types of \
              those read.",
    examples: "  tomolith net step --weights w.safetensors --input x.npy --labels y.npy --steps 10 \\\n    \
               --output-weights w10.safetensors --losses losses.json",
    groups: &[(
        "",
        &[
            WEIGHTS,
            INPUT,
            Opt::new("labels", Takes::Value("FILE.npy"), "Labels, int16 of shape (N, H, W); -1 is no label"),
            Opt::new("steps", Takes::Number("N"), "Steps").default("1"),
            RATE,
            DROPOUT,
            SEED,
            FAST,
            DEVICE,
            GRAPHS,
            Opt::new("output-weights", Takes::Value("FILE"), "Weights to write, .safetensors"),
            Opt::new("losses", Takes::Value("FILE.json"), "Losses to write"),
            Opt::new("gradients", Takes::Value("FILE"), "Gradients of the last step to write, .safetensors"),
            OVERWRITE,
        ],
    )],
    run,
};

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (loaded, dict) = super::open(&s.required_path("weights")?)?;
    let (input, labels) = (s.required_path("input")?, s.required_path("labels")?);
    let image = super::images(&input, loaded.network.config.inputs)?;
    let shape = image.shape();
    loaded.network.config.check_size(shape.h, shape.w).map_err(|e| e.at(&input))?;
    let numbers = super::labels(&labels, shape, UNLABELLED)?;
    let options = Options {
        rate: s.parsed("lr", values::positive)?,
        dropout: s.parsed("dropout", super::probability)?,
        seed: s.parsed("seed", values::seed)?,
        class_weights: vec![1.0; loaded.network.config.classes],
        leaf: None,
    };
    let steps = s.parsed("steps", values::count)?;
    let overwrite = s.is_on("overwrite")?;
    let outputs = [s.path("output-weights")?, s.path("losses")?, s.path("gradients")?];
    outputs.iter().flatten().try_for_each(|path| super::check_output(path, overwrite))?;
    let named: Vec<_> = outputs.iter().flatten().collect();
    if named.iter().enumerate().any(|(i, path)| named[..i].contains(path)) {
        return Err(Error::usage("two outputs are one file").help("give each a name of its own"));
    }
    super::check_memory(shape, || Trainer::memory(&loaded.network, shape, None))?;
    let fast = s.is_on("fast")?;
    let device = Device::open_to_train(c, fast)?;
    let mut trainer = Trainer::new(loaded.network);
    let (mut losses, mut skipped) = (Vec::new(), 0);
    let progress = Progress::new(&c.talk, "train", "steps");
    for step in 0..steps {
        let loss = trainer.step(&device, &image, &numbers, &options).map_err(|e| {
            if e.fault() == Fault::Again {
                return Error::again(format!("interrupted after {step} steps"))
                    .help("nothing is kept; `net train` keeps what it did");
            }
            if e.fault() == Fault::Device {
                return e;
            }
            let at = if e.what().starts_with("label") { &labels } else { &input };
            e.at(at)
        })?;
        if trainer.scale.skipped > skipped {
            skipped = trainer.scale.skipped;
            let now = trainer.scale.factor();
            c.talk.warn(format!("step {step} is skipped: a gradient is not finite; the loss is scaled by {now} now"));
        }
        if loss.labelled == 0 {
            c.talk.warn("no pixel has a label: the loss is 0 and nothing is learnt");
        }
        losses.push(Json::Num(loss.loss));
        progress.update(step as u64 + 1, steps as u64, 0);
    }
    progress.finish();
    device.tell(c);
    if let Some(path) = &outputs[0] {
        weights::write_safetensors(path, &state::save_like(&trainer.network, &dict, loaded.prefix)?, overwrite)?;
    }
    if let Some(path) = &outputs[1] {
        write_text(path, &Json::obj([("losses", Json::Arr(losses.clone()))]).to_canonical(), overwrite)?;
    }
    if let Some(path) = &outputs[2] {
        let all = trainer.network.parameters.iter().zip(trainer.gradients()).filter(|(p, _)| p.trained);
        let tensors = all
            .map(|(p, g)| NamedTensor::from_f32(format!("{}{}", loaded.prefix, p.name), &p.kind.torch(), &p.unpack(g)));
        let dict = StateDict { tensors: tensors.collect(), metadata: BTreeMap::new() };
        weights::write_safetensors(path, &dict, overwrite)?;
    }
    c.out.line(format!("losses {}", Json::Arr(losses).to_line()))?;
    c.out.line(format!("weights {}", super::digest(&trainer.network).hex()))
}
