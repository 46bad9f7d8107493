//! `tomolith net audit`: every kernel against its definition, bit by bit, and training on every instruction set and
//! many numbers of threads.

use super::{CHANNELS, CLASSES, SEED, VARIANT};
use crate::cli::device::{DEVICE, Device};
use crate::cli::options::{Opt, Takes};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::{Cpu, Kernels, Reference, Twin};
use crate::nn::infer::{Plan, Workspace};
use crate::nn::network::Network;
use crate::nn::train::{Options, Trainer};
use crate::num::lanes::Isa;
use crate::num::philox::Stream;
use crate::os::check_interrupt;

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "audit"],
    about: "Check the network against its definition, bit by bit",
    details: "First, for every instruction set, a training step and an inference are computed by the fast kernels and by their \
              definitions in lock-step; the first differing bit is named. Then some steps with dropout are trained on every \
              instruction set and on 1, 2, 3 and 8 threads, in leaves of --leaf: the digest of all weights is to be the same. Scalar is slow: \
              fewer --channels or --steps make it short. With --device cuda, the CPU and the GPU compute in lock-step \
              instead, --steps training steps and an inference; then the GPU trains alone to the CPU's digest.",
    examples: "  tomolith net audit\n  tomolith net audit --variant paper --channels 8,16,32 --size 32 --steps 20",
    groups: &[(
        "",
        &[
            VARIANT,
            CHANNELS,
            CLASSES,
            SEED,
            Opt::new("size", Takes::Number("N"), "Rows and columns of the images").default("64"),
            Opt::new("batch", Takes::Number("N"), "Images").default("2"),
            Opt::new("leaf", Takes::Number("N"), "Images that BatchNorm takes together [default: the batch]"),
            Opt::new("steps", Takes::Number("N"), "Training steps for each instruction set and number of threads")
                .default("20"),
            DEVICE,
        ],
    )],
    run,
};

/// Numbers of threads to train on.
const THREADS: [usize; 4] = [1, 2, 3, 8];
/// Stream of the images' numbers.
const STREAM: u32 = 0x6175;

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let config = super::config(s, None)?;
    let (size, batch) = (s.parsed("size", values::count)?, s.parsed("batch", values::count)?);
    config.check_size(size, size)?;
    let (seed, steps) = (s.parsed("seed", values::seed)?, s.parsed("steps", values::count)?);
    let start = Network::new(config.clone(), seed);
    let (shape, leaf) = (Shape::new(batch, 1, size, size), s.parse("leaf", values::count)?);
    // Two trainings at a time: the kernels' and the definitions'.
    super::check_memory(shape, || 2 * Trainer::memory(&start, shape, leaf))?;
    let (image, labels) = batch_of(batch, size, config.classes, seed);
    let options = Options { rate: 3e-4, dropout: 0.2, seed, class_weights: vec![1.0; config.classes], leaf };

    let device = Device::open(c)?;
    if !device.is_cpu() {
        return of_device(c, &device, &start, &image, &labels, &options, steps);
    }
    for isa in Isa::available() {
        check_interrupt()?;
        let twin = Twin::new(Cpu { isa }, Reference);
        let mut trainer = Trainer::new(start.clone());
        trainer.step(&twin, &image, &labels, &options)?;
        let plan = Plan::new(&trainer.network);
        let together = plan.run(&twin, &image, &mut Workspace::default(), |_| ()).to_nchw();
        // Images one by one.
        let alone = (0..batch).flat_map(|n| {
            plan.run(&Cpu { isa }, &image.samples(n..n + 1), &mut Workspace::default(), |_| ()).to_nchw()
        });
        if let Some(at) = alone.zip(&together).position(|(a, b)| a.to_bits() != b.to_bits()) {
            return Err(Error::mismatch(format!("{}: logit {at} differs with one image at a time", isa.name())));
        }
        let log = twin.record();
        if let Some(difference) = log.difference {
            return Err(Error::mismatch(format!("{} differs from the definition: {difference}", isa.name())));
        }
        let (calls, numbers) = (log.calls, log.numbers);
        c.out.line(format!("{:8} and definition: {calls} calls, {numbers} numbers identical", isa.name()))?;
    }
    let mut first: Option<String> = None;
    let all = Isa::available();
    for (threads, isa) in THREADS.iter().flat_map(|&t| all.iter().map(move |&isa| (t, isa))) {
        check_interrupt()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Error::device(format!("cannot start {threads} threads: {e}")))?;
        let digest = pool.install(|| -> Result<String> {
            let mut trainer = Trainer::new(start.clone());
            for _ in 0..steps {
                trainer.step(&Cpu { isa }, &image, &labels, &options)?;
            }
            Ok(super::digest(&trainer.network).hex())
        })?;
        c.out.line(format!("{:8} {threads} threads, {steps} steps: {digest}", isa.name()))?;
        if first.get_or_insert_with(|| digest.clone()) != &digest {
            return Err(Error::mismatch(format!("{} on {threads} threads trains other weights", isa.name())));
        }
    }
    c.out.line("identical")
}

/// The CPU and a device: every kernel of a training and of an inference on the same numbers, bit by bit; then the device
/// alone, whose numbers stay on it.
fn of_device(
    c: &Context,
    device: &Device,
    start: &Network,
    image: &Maps<f32>,
    labels: &[i16],
    options: &Options,
    steps: usize,
) -> Result<()> {
    let twin = Twin::new(Cpu { isa: c.isa }, device.clone());
    let mut trainer = Trainer::new(start.clone());
    for _ in 0..steps {
        trainer.step(&twin, image, labels, options)?;
    }
    let plan = Plan::new(&trainer.network);
    let together = plan.run(&twin, image, &mut Workspace::default(), |_| ());
    twin.check()?;
    let log = twin.record();
    if let Some(difference) = log.difference {
        return Err(Error::mismatch(format!("the device differs from the CPU: {difference}")));
    }
    c.out.line(format!("CPU and device: {} calls, {} numbers identical", log.calls, log.numbers))?;
    let mut alone = Trainer::new(start.clone());
    for _ in 0..steps {
        alone.step(device, image, labels, options)?;
    }
    let plan = Plan::new(&alone.network);
    let logits = plan.run(device, image, &mut Workspace::default(), |_| ());
    device.check()?;
    let [ours, theirs] = [&trainer, &alone].map(|t| super::digest(&t.network).hex());
    c.out.line(format!("CPU             {steps} steps: {ours}"))?;
    c.out.line(format!("device alone    {steps} steps: {theirs}"))?;
    if ours != theirs || logits != together {
        return Err(Error::mismatch("the device alone computes other numbers"));
    }
    c.out.line("identical")
}

/// Images of random numbers, and labels that depend on them.
pub(super) fn batch_of(batch: usize, size: usize, classes: usize, seed: u64) -> (Maps<f32>, Vec<i16>) {
    let stream = Stream::new(seed, STREAM);
    let shape = Shape::new(batch, 1, size, size);
    let values: Vec<f32> = (0..shape.len() as u64).map(|i| stream.uniform_f32(i)).collect();
    // Every eighth pixel has no label.
    let label = |(i, v): (usize, &f32)| if i % 8 == 0 { -1 } else { (v * classes as f32) as i16 };
    let labels = values.iter().enumerate().map(label).collect();
    (Maps::from_nchw(shape, &values), labels)
}
