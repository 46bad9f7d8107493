//! `--device`: what the kernels of a network run on. In strict mode it changes no bit; `--fast` is near it, and other
//! numbers on each kind of device.

use super::Context;
use super::options::{Opt, Takes};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::kernels::adam::Adam;
use crate::kernels::augment::Seen;
use crate::kernels::batchnorm::{Activation, Backward, GradientSums, Moments};
use crate::kernels::buffer::Buffer;
use crate::kernels::conv::Convolution;
use crate::kernels::cross_entropy::Loss;
#[cfg(feature = "cuda")]
use crate::kernels::cuda::{self, Cuda, fast::Fast};
use crate::kernels::filter::FilterShape;
use crate::kernels::labels::{Labels, Part};
use crate::kernels::maps::{Maps, Pixel};
use crate::kernels::step::{ByParameters, Given, Normalised, Steps};
use crate::kernels::weight_gradient::WeightGradient;
use crate::kernels::windows::Sliding;
use crate::kernels::{Cpu, Kernels};
use crate::num::lanes::Lane;
use std::ops::Range;
use std::time::Instant;

/// The option of every command that runs a network.
pub const DEVICE: Opt = Opt::new(
    "device",
    Takes::Value("cpu|cuda[:N]|auto"),
    "Device to compute with: the CPU, GPU number N, or a GPU where there is one; the results are the same",
)
.default("cpu");

/// Whether a GPU's fast steps are recorded.
pub const GRAPHS: Opt = Opt::new(
    "graphs",
    Takes::Choice(&["on", "off"]),
    "Whether a GPU records a step of --fast and starts it as one, or kernel by kernel; the results are the same",
)
.default("on");

/// A device.
#[derive(Clone)]
pub enum Device {
    /// Lanes and threads.
    Cpu(Cpu),
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
    /// Its tensor cores.
    #[cfg(feature = "cuda")]
    Fast(Fast),
}

impl Device {
    /// The device that [`DEVICE`] names; the run's record will say which.
    ///
    /// # Errors
    /// [`Fault::Usage`](crate::error::Fault::Usage) where it is none; [`Fault::Device`](crate::error::Fault::Device) where
    /// it is not there, is too old, or its driver is.
    pub fn open(c: &Context) -> Result<Device> {
        Device::open_as(c, false)
    }
    /// The same; in 16 bits if it is to be fast, which of CPUs only some are, and none in training.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_as(c: &Context, fast: bool) -> Result<Device> {
        let name = c.settings.text("device")?.unwrap_or("cpu");
        let device = match name.split_once(':').map_or((name, None), |(kind, number)| (kind, Some(number))) {
            ("cpu", None) => Device::Cpu(Cpu { isa: c.isa }),
            ("auto", None) => gpu(c, None).unwrap_or_else(|why| {
                c.talk.note(format!("computed on the CPU: {}", why.what()));
                Device::Cpu(Cpu { isa: c.isa })
            }),
            ("cuda", number) => gpu(c, number)?,
            _ => {
                return Err(Error::usage(format!("no device '{name}'"))
                    .help("there are cpu, cuda, cuda:N for GPU number N, and auto"));
            }
        };
        #[cfg(feature = "cuda")]
        let device = match device {
            Device::Cuda(cuda) if fast => Device::Fast(Fast::new(cuda)),
            device => device,
        };
        if fast && device.is_cpu() && !c.isa.has_halves() {
            let what =
                format!("--fast needs a GPU, or for inference a CPU with AVX-512 and bf16, not {}", c.isa.name());
            return Err(Error::device(what).help("without --fast it is faster here"));
        }
        let _ = c.device.set(device.record());
        Ok(device)
    }
    /// The same, to train: in 16 bits on a GPU alone, whose steps are recorded or not as [`GRAPHS`] says.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_to_train(c: &Context, fast: bool) -> Result<Device> {
        let device = Device::open_as(c, fast)?;
        if fast {
            device.only_gpu("training in 16 bits")?;
        }
        #[cfg(feature = "cuda")]
        if let Device::Fast(fast) = device {
            return Ok(Device::Fast(fast.recording(c.settings.text(GRAPHS.name)? == Some("on"))));
        }
        Ok(device)
    }
    /// Tells what did not work and was done otherwise.
    pub fn tell(&self, c: &Context) {
        #[cfg(feature = "cuda")]
        for note in self.gpu().map(|gpu| gpu.notes()).unwrap_or_default() {
            c.talk.note(format!("some steps were started kernel by kernel: {note}"));
        }
        #[cfg(not(feature = "cuda"))]
        let _ = c;
    }
    /// Its model and the image of its kernels: what is fast has the same bits on one model alone, and of one image.
    pub fn model(&self) -> String {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = self.gpu() {
            return format!("{}, kernels {}", gpu.found().name, cuda::images::digest().hex());
        }
        "cpu".into()
    }
    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Device::Cpu(_))
    }
    /// Refuses what no CPU does.
    pub fn only_gpu(&self, what: &str) -> Result<()> {
        if !self.is_cpu() {
            return Ok(());
        }
        Err(Error::usage(format!("{what} is of a GPU alone")).help("leave it out, or take --device cuda"))
    }
    /// The GPU, if it is one.
    #[cfg(feature = "cuda")]
    fn gpu(&self) -> Option<&cuda::driver::Device> {
        match self {
            Device::Cpu(_) => None,
            Device::Cuda(cuda) => Some(cuda.device()),
            Device::Fast(fast) => Some(fast.device()),
        }
    }
    /// What `work` gives, and its seconds: of the clock, or by the events of a GPU.
    ///
    /// # Errors
    /// [`Fault::Device`](crate::error::Fault::Device) where the device fails.
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> Result<(R, f64)> {
        let (done, laps) = self.laps(|lap| {
            let done = work();
            lap();
            done
        })?;
        Ok((done, laps.iter().sum()))
    }
    /// The same, and the seconds from each call of what `work` is given to the next.
    ///
    /// # Errors
    /// As [`Device::time`].
    pub fn laps<R>(&self, work: impl FnOnce(&mut dyn FnMut()) -> R) -> Result<(R, Vec<f64>)> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = self.gpu() {
            let (done, ms) = gpu.laps(work)?;
            return Ok((done, ms.into_iter().map(|ms| f64::from(ms) / 1e3).collect()));
        }
        let (mut last, mut laps) = (Instant::now(), Vec::new());
        let done = work(&mut || {
            laps.push(last.elapsed().as_secs_f64());
            last = Instant::now();
        });
        Ok((done, laps))
    }
    /// Refuses to time an emulation.
    pub fn check_real(&self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.gpu().is_some_and(|gpu| gpu.found().name.contains("emulation")) {
            return Err(Error::device("this GPU is an emulation: its times mean nothing"));
        }
        Ok(())
    }
    /// What it is, for records.
    fn record(&self) -> Json {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = self.gpu() {
            let (text, found, [major, minor]) = (|s: String| Json::Str(s), gpu.found(), gpu.found().capability);
            let sums = if matches!(self, Device::Fast(_)) { "fp16, sums in f32" } else { "f32" };
            return Json::obj([
                ("name", text(found.name.clone())),
                ("ordinal", Json::Int(found.ordinal as i64)),
                ("compute_capability", text(format!("{major}.{minor}"))),
                ("driver_cuda", text(version(gpu.version()))),
                ("arithmetic", text(sums.into())),
                ("image", text(cuda::images::KIND.into())),
                ("image_sha256", text(cuda::images::digest().hex())),
            ]);
        }
        Json::Str("cpu".into())
    }
}

/// Major and minor of a driver's version.
#[cfg(feature = "cuda")]
pub fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

#[cfg(feature = "cuda")]
fn gpu(c: &Context, number: Option<&str>) -> Result<Device> {
    Ok(Device::Cuda(Cuda::open(cuda::ordinal(number)?, c.isa)?))
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: &Context, _: Option<&str>) -> Result<Device> {
    Err(Error::device("this build computes on the CPU alone")
        .help("build it with the feature `cuda`, one of the default ones"))
}

/// The same call on whichever device it is.
macro_rules! on {
    ($device:ident, $kernels:ident => $call:expr) => {
        match $device {
            Device::Cpu($kernels) => $call,
            #[cfg(feature = "cuda")]
            Device::Cuda($kernels) => $call,
            #[cfg(feature = "cuda")]
            Device::Fast($kernels) => $call,
        }
    };
}

impl Kernels for Device {
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        on!(self, k => k.convolve(call, y));
    }
    fn logits<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        on!(self, k => k.logits(call, y));
    }
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) {
        on!(self, k => k.weight_gradient(call, dw));
    }
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64> {
        on!(self, k => k.sums(x))
    }
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments> {
        on!(self, k => k.moments(x))
    }
    fn activate(&self, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
        on!(self, k => k.activate(a, x, residual, z));
    }
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
        on!(self, k => k.gradient_sums(a, x, dz))
    }
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
        on!(self, k => k.activation_gradient(a, b, x, dz, dx));
    }
    fn normalise(
        &self,
        given: &Given,
        x: &Maps<Lane>,
        residual: Option<&Maps<Lane>>,
        z: &mut Maps<Lane>,
    ) -> Normalised {
        on!(self, k => k.normalise(given, x, residual, z))
    }
    fn normalise_gradient(
        &self,
        given: &Given,
        made: &Normalised,
        x_dz: [&Maps<Lane>; 2],
        to: ByParameters,
        dx: &mut Maps<Lane>,
    ) {
        on!(self, k => k.normalise_gradient(given, made, x_dz, to, dx));
    }
    fn bias_gradient(&self, dy: &Maps<Lane>, db: &mut Buffer<Lane>) {
        on!(self, k => k.bias_gradient(dy, db));
    }
    fn add(&self, a: &Maps<Lane>, b: &Maps<Lane>, sum: &mut Maps<Lane>) {
        on!(self, k => k.add(a, b, sum));
    }
    fn clear(&self, x: &mut Buffer<Lane>) {
        on!(self, k => k.clear(x));
    }
    fn disturb(&self, patches: &Buffer<f32>, seen: &[Seen], image: &mut Maps<f32>) {
        on!(self, k => k.disturb(patches, seen, image));
    }
    fn label(&self, patches: &Buffer<i16>, seen: &[Seen], size: [usize; 2], classes: usize) -> Result<Labels> {
        on!(self, k => k.label(patches, seen, size, classes))
    }
    fn samples(&self, image: &Maps<f32>, range: Range<usize>) -> Maps<f32> {
        on!(self, k => k.samples(image, range))
    }
    fn sliding(&self) -> &dyn Sliding {
        on!(self, k => k.sliding())
    }
    fn so_far(&self) -> Result<()> {
        on!(self, k => k.so_far())
    }
    fn steps(&self) -> Option<&dyn Steps> {
        on!(self, k => k.steps())
    }
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>) {
        on!(self, k => k.max_pool(x, y));
    }
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
        on!(self, k => k.max_pool_gradient(x, dy, dx));
    }
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss {
        on!(self, k => k.cross_entropy(x, labels, weights, total, dx))
    }
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        on!(self, k => k.adam(adam, p, g, m, v));
    }
    fn swap(&self, filter: &FilterShape, from: &Buffer<Lane>, to: &mut Buffer<Lane>) {
        on!(self, k => k.swap(filter, from, to));
    }
    fn accumulate(&self, sum: &mut Buffer<Lane>, x: &Buffer<Lane>) {
        on!(self, k => k.accumulate(sum, x));
    }
    fn all_finite(&self, x: &Buffer<Lane>) -> bool {
        on!(self, k => k.all_finite(x))
    }
    fn lanes_are_outputs(&self) -> bool {
        on!(self, k => k.lanes_are_outputs())
    }
    fn sixteen_bits(&self) -> bool {
        on!(self, k => k.sixteen_bits())
    }
    fn scale(&self, x: &mut Buffer<Lane>, factor: f32) {
        on!(self, k => k.scale(x, factor));
    }
    fn check(&self) -> Result<()> {
        on!(self, k => k.check())
    }
}
