//! `tomolith net bench`: how long inference and a training step take, layer by layer.

use super::{CHANNELS, CLASSES, FAST, SEED, VARIANT};
use crate::cli::device::{DEVICE, Device, GRAPHS};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context, values};
use crate::error::Result;
use crate::kernels::Kernels;
use crate::kernels::augment::{Drawn, Seen};
use crate::kernels::maps::Shape;
use crate::nn::fast::Ready;
use crate::nn::infer::What;
use crate::nn::network::Network;
use crate::nn::train::{Options, Trainer};
use crate::os::check_interrupt;

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "bench"],
    about: "Time the network, layer by layer",
    details: "Inference of a batch, several times: the median, and for each layer its least time, GFLOP/s, and the bytes \
              that it reads and writes at least. Then training \
              steps without and with dropout. Numbers of the digest are the same for any threads and instruction set.",
    examples: "  tomolith net bench --threads 1\n  tomolith net bench --size 512 --batch 4 --repeat 10 --train",
    groups: &[(
        "",
        &[
            VARIANT,
            CHANNELS,
            CLASSES,
            SEED,
            Opt::new("size", Takes::Number("N"), "Rows and columns of the images").default("512"),
            Opt::new("batch", Takes::Number("N"), "Images").default("1"),
            Opt::new("repeat", Takes::Number("N"), "Repetitions").default("7"),
            FAST,
            DEVICE,
            GRAPHS,
            Opt::new("train", Takes::Switch, "Time training steps instead of inference"),
            Opt::new("dropout", Takes::Number("P"), "Dropout of the training steps").default("0"),
        ],
    )],
    run,
};

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let config = super::config(s, None)?;
    let (size, batch) = (s.parsed("size", values::count)?, s.parsed("batch", values::count)?);
    config.check_size(size, size)?;
    let (seed, repeat) = (s.parsed("seed", values::seed)?, s.parsed("repeat", values::count)?);
    let network = Network::new(config.clone(), seed);
    let fast = s.is_on("fast")?;
    let (shape, train) = (Shape::new(batch, 1, size, size), s.is_on("train")?);
    let device = if train { Device::open_to_train(c, fast)? } else { Device::open_as(c, fast)? };
    device.check_real()?;
    let mut ready = (!train).then(|| Ready::new(&network, fast && device.is_cpu()));
    super::check_memory(shape, || {
        ready.as_ref().map_or_else(|| Trainer::memory(&network, shape, None), |r| r.memory(shape))
    })?;
    let (image, labels) = super::audit::batch_of(batch, size, config.classes, seed);
    let flops = super::info::flops(&network, batch, size);
    let total: f64 = flops.iter().sum::<f64>() / 1e9;
    let mut times = Vec::new();
    let Some(ready) = &mut ready else {
        let dropout = s.parsed("dropout", super::probability)?;
        let options = Options { rate: 3e-4, dropout, seed, class_weights: vec![1.0; config.classes], leaf: None };
        // As in a training, they lie on the device.
        let seen: Vec<Seen> = (0..batch).map(|patch| Seen { patch, drawn: Drawn::NOTHING }).collect();
        let labels = device.label(&labels.into(), &seen, [size; 2], config.classes)?;
        let mut trainer = Trainer::new(network);
        while times.len() <= repeat {
            check_interrupt()?;
            let before = trainer.steps;
            let (loss, time) = device.time(|| trainer.step_by(&device, &image, &labels, &options))?;
            loss?;
            // A step that is skipped, because the loss is scaled too far, does less.
            if trainer.steps > before {
                times.push(time);
            }
        }
        device.tell(c);
        // The first step asks for its memory, and what comes next may be recorded.
        let time = median(&times[1..]);
        c.out.line(format!("training step {time:.4} s, {:.1} GFLOP/s", 3.0 * total / time))?;
        return c.out.line(format!("weights {}", super::digest(&trainer.network).hex()));
    };
    let mut least = vec![f64::MAX; ready.calls().len()];
    let mut digest = String::new();
    for _ in 0..=repeat {
        check_interrupt()?;
        let (logits, laps) = device.laps(|lap| ready.run(&device, c.isa, &image, |_| lap()))?;
        least.iter_mut().zip(&laps).for_each(|(least, lap)| *least = least.min(*lap));
        times.push(laps.iter().sum());
        digest = super::lanes_digest(logits.data().iter()).hex();
        ready.give(logits);
    }
    let (shapes, number) = (network.shapes(shape), if fast { 2 } else { 4 });
    for (call, least) in ready.calls().iter().zip(&least) {
        let (name, flop) = match &call.what {
            What::Convolution { filter, .. } => {
                let step = network.steps.iter().position(|s| s.filter() == Some(*filter)).unwrap_or(0);
                (network.parameters[*filter].name.replace(".weight", ""), flops[step])
            }
            What::Activation { .. } => ("activation".to_string(), 0.0),
            What::MaxPool { .. } => ("max-pool".to_string(), 0.0),
        };
        let short = name.replace("submodule", "s").replace("1.s.", "^");
        // What is read and written once, at least; image and logits have 32 bits.
        let bytes = |v: usize| shapes[v].len() * if v == 0 || v + 1 == shapes.len() { 4 } else { number };
        let moved: usize = call.what.reads().into_iter().chain([call.to]).map(bytes).sum();
        let weights = match &call.what {
            What::Convolution { filter, .. } => {
                network.parameters[*filter].kind.torch().iter().product::<usize>() * number
            }
            _ => 0,
        };
        let megabytes = (moved + weights) as f64 / 1e6;
        c.out.line(format!(
            "{short:36} {:8.3} ms {:7.1} GFLOP/s {megabytes:8.2} MB",
            1e3 * least,
            flop / least / 1e9
        ))?;
    }
    let time = median(&times[1..]);
    c.out.line(format!("inference {time:.4} s, {:.1} GFLOP/s", total / time))?;
    c.out.line(format!("logits {digest}"))
}
