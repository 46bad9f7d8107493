//! `tomolith trace step`: one training step of a small network, kernel by kernel, for teaching.

use crate::cli::device::{DEVICE, Device};
use crate::cli::net::{CLASSES, DROPOUT, RATE, SEED, VARIANT, check_memory, config, probability};
use crate::cli::options::{Opt, Takes};
use crate::cli::picture::Picture;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::kernels::adam::Adam;
use crate::kernels::batchnorm::{Activation, Backward, GradientSums, Moments};
use crate::kernels::buffer::Buffer;
use crate::kernels::conv::Convolution;
use crate::kernels::cross_entropy::Loss;
use crate::kernels::labels::Part;
use crate::kernels::maps::{Maps, Pixel, Shape};
use crate::kernels::weight_gradient::WeightGradient;
use crate::kernels::{Kernels, Reference};
use crate::nn::network::Network;
use crate::nn::train::{Options, Trainer};
use crate::num::lanes::Lane;
use crate::num::philox::Stream;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Instant;

/// The command.
pub const COMMAND: Command = Command {
    path: &["trace", "step"],
    about: "Take one training step of a small network and show every kernel of it",
    details: "A network learns to tell a disc from the ground behind it. Every kernel of one step (forward, loss, backward, Adam) is \
              computed by its definition and by the fast version, of the CPU or of --device: README.txt has their outputs' mean and deviation, both times, \
              and whether all bits agree. Pictures show image, labels, the maps on the way forward, and the gradient by the \
              logits; then the loss before and after the step.",
    examples: "  tomolith trace step -o step\n  tomolith trace step --variant paper --channels 8,16 --size 32 -o step",
    groups: &[(
        "",
        &[
            VARIANT,
            Opt::new("channels", Takes::Value("C0,C1,…"), "Channels of each level, the deepest last")
                .default("8,16,16"),
            CLASSES,
            Opt::new("size", Takes::Number("N"), "Rows and columns of the image").default("32"),
            RATE,
            DROPOUT,
            SEED,
            DEVICE,
            Opt::new("output", Takes::Value("DIR"), "Folder to write to; it is created").short('o'),
            Opt::new("overwrite", Takes::Switch, "Replace existing files"),
        ],
    )],
    run,
};

const NOISE: u32 = 0x7374_6570;

/// One kernel call.
struct Call {
    what: &'static str,
    shape: String,
    mean: f64,
    deviation: f64,
    naive: f64,
    fast: f64,
    identical: bool,
    /// The first map of the first sample, where the output is maps.
    picture: Option<(Vec<f32>, usize)>,
}

/// Computes by definition and by the fast kernels, and writes down both.
struct Recorder {
    fast: Device,
    calls: Mutex<Vec<Result<Call>>>,
}

/// What an output is, as numbers.
struct Numbers {
    shape: String,
    values: Vec<f64>,
    picture: Option<(Vec<f32>, usize)>,
}

fn of_maps(maps: &Maps<Lane>) -> Numbers {
    let (s, values) = (maps.shape(), maps.to_nchw());
    Numbers {
        shape: format!("{} x {} x {} x {}", s.n, s.c, s.h, s.w),
        picture: Some((values[..s.h * s.w].to_vec(), s.w)),
        values: values.into_iter().map(f64::from).collect(),
    }
}

fn of_lanes(lanes: &[Lane]) -> Numbers {
    let values: Vec<f64> = lanes.iter().flat_map(|l| l.0).map(f64::from).collect();
    Numbers { shape: format!("{} lanes of 16", lanes.len()), values, picture: None }
}

fn of_numbers(values: Vec<f64>) -> Numbers {
    Numbers { shape: values.len().to_string(), values, picture: None }
}

impl Recorder {
    /// Runs a kernel by its definition on a copy of `out` and then fast on `out`.
    fn both<T: Clone, R>(
        &self,
        what: &'static str,
        out: &mut T,
        run: impl Fn(bool, &mut T) -> R,
        numbers: impl Fn(&T, &R) -> Numbers,
    ) -> R {
        let mut copy = out.clone();
        let start = Instant::now();
        let by_definition = run(false, &mut copy);
        let naive = start.elapsed().as_secs_f64();
        let mut done = None;
        let timed = self.fast.time(|| done = Some(run(true, out)));
        let result = done.unwrap_or_else(|| run(true, out));
        let fast = timed.map(|((), seconds)| seconds);
        let (expected, Numbers { shape, values, picture }) = (numbers(&copy, &by_definition), numbers(out, &result));
        let n = values.len().max(1) as f64;
        let mean = values.iter().fold(0.0, |sum, v| sum + v) / n;
        let deviation = (values.iter().fold(0.0, |sum, v| sum + (v - mean) * (v - mean)) / n).sqrt();
        let identical = values.iter().map(|v| v.to_bits()).eq(expected.values.iter().map(|v| v.to_bits()));
        let call = fast.map(|fast| Call { what, shape, mean, deviation, naive, fast, identical, picture });
        self.calls.lock().unwrap_or_else(|e| e.into_inner()).push(call);
        result
    }
}

/// A call of the fast kernels or of the definitions.
macro_rules! either {
    ($self:ident, $fast:ident, $k:ident => $call:expr) => {
        if $fast {
            let $k = &$self.fast;
            $call
        } else {
            let $k = &Reference;
            $call
        }
    };
}

impl Kernels for Recorder {
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        self.both("convolution", y, |fast, y| either!(self, fast, k => k.convolve(call, y)), |y, ()| of_maps(y));
    }
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) {
        let run = |fast, dw: &mut Buffer<Lane>| either!(self, fast, k => k.weight_gradient(call, dw));
        self.both("gradient by weights", dw, run, |dw, ()| of_lanes(dw));
    }
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64> {
        let run = |fast, (): &mut ()| either!(self, fast, k => k.sums(x));
        self.both("gradient by a bias", &mut (), run, |(), sums| of_numbers(sums.clone()))
    }
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments> {
        let run = |fast, (): &mut ()| either!(self, fast, k => k.moments(x));
        let numbers = |(): &(), m: &Vec<Moments>| of_numbers(m.iter().flat_map(|m| [m.mean, m.variance()]).collect());
        self.both("mean and variance", &mut (), run, numbers)
    }
    fn activate(&self, a: &Activation, x: &Maps<Lane>, r: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
        self.both(
            "norm, activation",
            z,
            |fast, z| either!(self, fast, k => k.activate(a, x, r, z)),
            |z, ()| of_maps(z),
        );
    }
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
        let run = |fast, (): &mut ()| either!(self, fast, k => k.gradient_sums(a, x, dz));
        self.both("sums of its gradient", &mut (), run, |(), s| of_numbers(s.iter().flatten().copied().collect()))
    }
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let run = |fast, dx: &mut Maps<Lane>| either!(self, fast, k => k.activation_gradient(a, b, x, dz, dx));
        self.both("its gradient", dx, run, |dx, ()| of_maps(dx));
    }
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>) {
        self.both("max-pooling", y, |fast, y| either!(self, fast, k => k.max_pool(x, y)), |y, ()| of_maps(y));
    }
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let run = |fast, dx: &mut Maps<Lane>| either!(self, fast, k => k.max_pool_gradient(x, dy, dx));
        self.both("gradient of pooling", dx, run, |dx, ()| of_maps(dx));
    }
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss {
        let run = |fast, dx: &mut Maps<Lane>| either!(self, fast, k => k.cross_entropy(x, labels, weights, total, dx));
        self.both("cross-entropy", dx, run, |dx, _| of_maps(dx))
    }
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        let mut all = [p.clone(), m.clone(), v.clone()];
        let run = |fast, [p, m, v]: &mut [Buffer<Lane>; 3]| either!(self, fast, k => k.adam(adam, p, g, m, v));
        self.both("Adam", &mut all, run, |all, ()| of_lanes(&all.iter().flatten().copied().collect::<Vec<_>>()));
        [*p, *m, *v] = all;
    }
    fn check(&self) -> Result<()> {
        self.fast.check()
    }
}

/// A disc on a ground, both noisy, and its label; every eleventh pixel has none.
fn example(size: usize, classes: usize, seed: u64) -> (Maps<f32>, Vec<i16>) {
    let noise = Stream::new(seed, NOISE);
    let middle = size as f64 / 2.0;
    let inside = |i: usize| {
        let [y, x] = [i / size, i % size].map(|v| v as f64 - middle);
        classes > 1 && y * y + x * x < middle * middle / 3.0
    };
    let grey: Vec<f32> =
        (0..size * size).map(|i| f32::from(u8::from(inside(i))) + 0.3 * noise.normal(i as u64) as f32).collect();
    let labels = (0..size * size).map(|i| if i % 11 == 0 { -1 } else { i16::from(inside(i)) }).collect();
    (Maps::from_nchw(Shape::new(1, 1, size, size), &grey), labels)
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (folder, overwrite) = (s.required_path("output")?, s.is_on("overwrite")?);
    let config = config(s, None)?;
    let size = s.parsed("size", values::count)?;
    config.check_size(size, size)?;
    let network = Network::new(config.clone(), s.parsed("seed", values::seed)?);
    let shape = Shape::new(1, 1, size, size);
    check_memory(shape, || Trainer::memory(&network, shape, None))?;
    let options = Options {
        rate: s.parsed("lr", values::positive)?,
        dropout: s.parsed("dropout", probability)?,
        seed: s.parsed("seed", values::seed)?,
        class_weights: vec![1.0; config.classes],
        leaf: None,
    };
    let readme = folder.join("README.txt");
    if readme.exists() && !overwrite {
        return Err(Error::writing(&readme, &std::io::ErrorKind::AlreadyExists.into()));
    }
    let (image, labels) = example(size, config.classes, options.seed);
    let recorder = Recorder { fast: Device::open(c)?, calls: Mutex::new(Vec::new()) };
    let mut trainer = Trainer::new(network);
    let before = trainer.step(&recorder, &image, &labels, &options)?;
    let gradient = norm(trainer.gradients().iter().flatten());
    // The same batch and masks once more: what the step has done to its loss.
    let after = loss_again(&trainer, &recorder.fast, &image, &labels, &options)?;
    let calls = recorder.calls.into_inner().unwrap_or_else(|e| e.into_inner());
    let calls = calls.into_iter().collect::<Result<Vec<_>>>()?;

    let mut text = format!(
        "network {}, channels {:?}, {} classes, {} trained numbers; image {size} x {size}, {} labelled pixels\n\n\
         call kernel                 output             mean   deviation   definition         fast  bits\n",
        config.name().unwrap_or("mixed"),
        config.channels,
        config.classes,
        trainer.network.parameter_count(),
        before.labelled
    );
    for (i, call) in calls.iter().enumerate() {
        let bits = if call.identical { "same" } else { "DIFFERENT" };
        let _ = writeln!(
            text,
            "{i:4} {:20} {:>18} {:11.3e} {:11.3e} {:9.3} ms {:9.3} ms  {bits}",
            call.what,
            call.shape,
            call.mean,
            call.deviation,
            1e3 * call.naive,
            1e3 * call.fast
        );
    }
    let (naive, fast) = calls.iter().fold((0.0, 0.0), |s, call| (s.0 + call.naive, s.1 + call.fast));
    let _ = writeln!(
        text,
        "\n{} calls: {:.1} ms by definition, {:.1} ms fast. Norm of the gradient {gradient:.4e}.\n\
         loss before the step {:.6}, after it {after:.6}",
        calls.len(),
        1e3 * naive,
        1e3 * fast,
        before.loss
    );
    std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    let draw = |name: &str, values: &[f32], width: usize, caption: &str| {
        Picture::linear(values, width, caption)?.write(&folder.join(name), overwrite)
    };
    draw("image.png", &image.to_nchw(), size, "IMAGE")?;
    draw("labels.png", &labels.iter().map(|&t| f32::from(t)).collect::<Vec<_>>(), size, "LABELS, -1 NONE")?;
    for (i, call) in calls.iter().enumerate() {
        if let Some((values, width)) = &call.picture {
            let name = format!("call_{i:03}_{}.png", call.what.replace([' ', ','], "_").replace("__", "_"));
            draw(&name, values, *width, &format!("{i} {}", call.what.to_uppercase()))?;
        }
    }
    write_text(&readme, &text, overwrite)?;
    c.out.text(&text)?;
    match calls.iter().position(|call| !call.identical) {
        Some(i) => Err(Error::mismatch(format!("call {i}, {}, differs from its definition", calls[i].what))),
        None => Ok(()),
    }
}

/// Euclidean norm.
fn norm<'a>(lanes: impl Iterator<Item = &'a Lane>) -> f64 {
    lanes.flat_map(|l| l.0).fold(0.0, |sum, v| sum + f64::from(v) * f64::from(v)).sqrt()
}

/// The loss of the network as it is now, with the masks of the step before.
fn loss_again(trainer: &Trainer, device: &Device, image: &Maps<f32>, labels: &[i16], o: &Options) -> Result<f64> {
    let mut again = Trainer::new(trainer.network.clone());
    Ok(again.step(device, image, labels, o)?.loss)
}
