//! L2. What a training step computes between its passes over pixels: of the moments of a batch the numbers of an
//! activation, of the sums of its gradient those by γ, β, slope and x. Who computes on the CPU does it here; a device that
//! does it by itself ([`Steps`]) computes a whole step without being looked at, which may be recorded and started again.
//!
//! ```text
//! scale = γ/√(var + ε),  shift = β − mean·scale                            [`super::batchnorm`]
//! dβ = Σ g,  dγ = Σ g·(x − mean)/√(var + ε),  da = Σ over channels, ascending
//! running mean      ← 0.9·running + 0.1·mean
//! running variance  ← 0.9·running + 0.1·variance by n − 1
//! ```
//!
//! in f64, rounded once.

use super::Kernels;
use super::adam::Adam;
use super::batchnorm::{Activation, Backward, EPSILON, Moments};
use super::buffer::{Buffer, There};
use super::cross_entropy::Loss;
use super::dropout::Dropout;
use super::labels::Labels;
use super::maps::{Maps, Shape};
use crate::error::Result;
use crate::num::lanes::{LANES, Lane};
use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

/// Part of the running statistics that a batch replaces.
pub const MOMENTUM: f64 = 0.1;

/// What an activation is made of: parameters where they are, and its dropout.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// γ and β; none does not normalise.
    pub norm: Option<[&'a Buffer<Lane>; 2]>,
    /// a; none is 1.
    pub slope: Option<&'a Buffer<Lane>>,
    /// Dropout.
    pub dropout: Option<Dropout>,
}

impl Given<'_> {
    /// Its numbers, with the moments of what is normalised.
    fn numbers(&self, channels: usize, moments: &[Moments]) -> Activation {
        let slope = self.slope.map_or(1.0, |s| s[0].0[0]);
        match self.norm {
            Some([gamma, beta]) => Activation::of_moments(moments, gamma, beta, slope, self.dropout),
            None => Activation::identity(channels, slope, self.dropout),
        }
    }
}

/// What a batch made of it, which its gradient takes.
#[derive(Clone)]
pub enum Normalised {
    /// Numbers, and the moments of the batch if there are any.
    Here(Activation, Vec<Moments>),
    /// A device has them.
    There(Arc<dyn Statistics>),
}

/// The statistics of a batch in a device's memory.
pub trait Statistics: Send + Sync {
    /// Copies the moments here, if there are any.
    fn moments(&self) -> Vec<Moments>;
    /// For the device to recognise its own.
    fn any(&self) -> &dyn Any;
}

impl Normalised {
    /// The moments of the batch.
    pub fn moments(&self) -> Vec<Moments> {
        match self {
            Normalised::Here(_, moments) => moments.clone(),
            Normalised::There(statistics) => statistics.moments(),
        }
    }
}

/// The gradients that an activation's parameters get.
pub struct ByParameters<'a> {
    /// By γ and β.
    pub norm: Option<[&'a mut Buffer<Lane>; 2]>,
    /// By the slope.
    pub slope: Option<&'a mut Buffer<Lane>>,
}

/// Numbers per channel, rounded to f32.
pub fn put_channels(to: &mut [Lane], values: impl Iterator<Item = f64>) {
    values.enumerate().for_each(|(c, v)| to[c / LANES].0[c % LANES] = v as f32);
}

/// The definition of [`Kernels::normalise`].
pub(super) fn normalise<K: Kernels + ?Sized>(
    k: &K,
    given: &Given,
    x: &Maps<Lane>,
    residual: Option<&Maps<Lane>>,
    z: &mut Maps<Lane>,
) -> Normalised {
    let moments = if given.norm.is_some() { k.moments(x) } else { Vec::new() };
    let numbers = given.numbers(x.shape().c, &moments);
    k.activate(&numbers, x, residual, z);
    Normalised::Here(numbers, moments)
}

/// The definition of [`Kernels::normalise_gradient`].
pub(super) fn gradient<K: Kernels + ?Sized>(
    k: &K,
    given: &Given,
    made: &Normalised,
    [x, dz]: [&Maps<Lane>; 2],
    to: ByParameters,
    dx: &mut Maps<Lane>,
) {
    let (numbers, moments) = match made {
        Normalised::Here(numbers, moments) => (Cow::Borrowed(numbers), Cow::Borrowed(&moments[..])),
        Normalised::There(statistics) => {
            let moments = statistics.moments();
            (Cow::Owned(given.numbers(x.shape().c, &moments)), Cow::Owned(moments))
        }
    };
    let sums = k.gradient_sums(&numbers, x, dz);
    let backward = match to.norm {
        Some([gamma, beta]) => {
            put_channels(beta, sums.iter().map(|s| s[0]));
            let deviation = |c: usize| (moments[c].variance() + EPSILON).sqrt();
            put_channels(gamma, sums.iter().enumerate().map(|(c, s)| s[1] / deviation(c)));
            Backward::new(&numbers, &sums, &moments)
        }
        None => Backward::fixed(x.shape().c),
    };
    if let Some(slope) = to.slope {
        // Channels in order.
        put_channels(slope, std::iter::once(sums.iter().fold(0.0, |sum, s| sum + s[2])));
    }
    k.activation_gradient(&numbers, &backward, x, dz, dx);
}

/// Running mean and variance after a batch.
pub fn track(moments: &[Moments], [mean, variance]: [&mut Buffer<Lane>; 2]) {
    let after = |running: f32, batch: f64| ((1.0 - MOMENTUM) * f64::from(running) + MOMENTUM * batch) as f32;
    for (c, moments) in moments.iter().enumerate() {
        let (group, lane) = (c / LANES, c % LANES);
        mean[group].0[lane] = after(mean[group].0[lane], moments.mean);
        variance[group].0[lane] = after(variance[group].0[lane], moments.unbiased());
    }
}

/// What is new at every step. What is recorded reads it from the device's memory.
pub struct Dial<'a> {
    /// Draw of the dropouts ([`Dropout::counted`]).
    pub draw: u32,
    /// The optimizer's numbers.
    pub adam: Adam,
    /// What gradients are multiplied by before the optimizer sees them.
    pub back: f32,
    /// Weight of each class in the loss, times its scale.
    pub weights: &'a [f32],
    /// W of the batch.
    pub total: f64,
    /// Labels of the batch.
    pub labels: &'a Labels,
    /// Shapes of the logits of its leaves.
    pub leaves: &'a [Shape],
    /// Parameters of the network.
    pub tensors: usize,
}

/// What became of a step.
pub struct Report {
    /// Of each leaf, times the scale.
    pub losses: Vec<Loss>,
    /// The first tensor whose gradient is not finite: then nothing was changed.
    pub gradient: Option<usize>,
    /// The first tensor that is not finite after the step.
    pub stepped: Option<usize>,
}

/// Steps without a look at their numbers. Calls between [`Steps::begin`] and [`Steps::report`] are only started, and those
/// of [`Kernels`] with them.
pub trait Steps {
    /// Writes what is new.
    fn begin(&self, dial: &Dial);
    /// Sees to it that numbers are on the device, and that what was made of them is made again; where they are.
    fn settle(&self, x: &Buffer<Lane>) -> Option<Arc<dyn There<Lane>>>;
    /// Samples of an image from `first` on, in the memory of another, as many as it has.
    fn refill(&self, to: &mut Maps<f32>, from: &Maps<f32>, first: usize);
    /// Loss of a leaf, and its gradient by the logits. A loss that is not finite is seen, if it counts, and stops the step.
    fn loss(&self, leaf: usize, counts: bool, logits: &Maps<Lane>, dx: &mut Maps<Lane>);
    /// Looks at a tensor's gradient, which stops the step if it is not finite; or at the tensor after the step.
    fn watch(&self, tensor: usize, x: &Buffer<Lane>, stepped: bool);
    /// g ← back·g and the optimizer's step, unless the step is stopped.
    fn update(&self, p: &mut Buffer<Lane>, g: &mut Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>);
    /// Running mean and variance, unless the step is stopped.
    fn track(&self, made: &Normalised, statistics: [&mut Buffer<Lane>; 2]);
    /// Waits for the step.
    fn report(&self, dial: &Dial) -> Report;
    /// Whether it records, as far as it knows.
    fn records(&self) -> bool;
    /// Records what `work` starts instead of starting it; none where that is not possible, and then nothing was started.
    ///
    /// # Errors
    /// Those of `work`.
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recorded>>>;
}

/// What was recorded.
pub trait Recorded: Send + Sync {
    /// Starts it; false where it cannot be, because the step's memory is another by now or the device does not.
    fn start(&self) -> bool;
}
