//! L4. A training step: forward with the statistics of the batch, loss, backward, Adam.
//!
//! ```text
//! running mean      ← 0.9·running + 0.1·mean
//! running variance  ← 0.9·running + 0.1·variance by n − 1
//! ```
//!
//! in f64, rounded once. A *leaf* is a group of samples that BatchNorm takes together: the whole batch, or so many
//! samples. Leaves are worked on one after the other; each has its moments, the loss is divided by the labelled pixels of
//! the batch, gradients of the leaves are added in f32 in their order, and running statistics take one leaf after the
//! other. So what a batch of 64 does as four leaves of 16 is the same whoever computes a leaf, and its memory is that of
//! one.
//!
//! A loss or gradient that is not finite ends the training before anything is changed, and the first tensor that is not
//! finite is named. Where maps keep 16 bits the loss is scaled, and such a gradient only skips the step:
//! [`super::scale`].
//!
//! Where a device computes whole steps by itself, [`super::recording`] has them done so.

use super::network::{Network, Step};
use super::recording::Recording;
use super::scale::LossScale;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::adam::Adam;
use crate::kernels::batchnorm::Moments;
use crate::kernels::buffer::Buffer;
use crate::kernels::cross_entropy::Loss;
use crate::kernels::dropout::Dropout;
use crate::kernels::labels::{Labels, Part};
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::step;
pub use crate::kernels::step::MOMENTUM;
use crate::num::lanes::Lane;
use crate::os::check_interrupt;
use crate::tensor::parameter::Parameter;
use crate::tensor::pool::Pool;
use crate::tensor::tape::{Layer, Source, Tape, Var, Weights};
use std::collections::BTreeSet;

/// What a step depends on beside weights and data.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Learning rate.
    pub rate: f64,
    /// Probability that dropout drops a number.
    pub dropout: f64,
    /// Seed of the dropout.
    pub seed: u64,
    /// Weight of each class in the loss.
    pub class_weights: Vec<f32>,
    /// Samples of a leaf; none is the whole batch.
    pub leaf: Option<usize>,
}

/// Moments of each BatchNorm in a leaf, by the index of its γ.
type BatchMoments = Vec<(usize, Vec<Moments>)>;

/// A network in training.
pub struct Trainer {
    /// The network.
    pub network: Network,
    /// First and second moments of Adam, in the order of the parameters; of what is not trained, nothing.
    pub moments: [Vec<Buffer<Lane>>; 2],
    /// Steps done.
    pub steps: u32,
    /// Of the loss, where maps keep 16 bits.
    pub scale: LossScale,
    pub(super) gradients: Vec<Buffer<Lane>>,
    /// Those of a leaf that is not the first.
    pub(super) of_leaf: Vec<Buffer<Lane>>,
    pub(super) pool: Pool,
    /// Shape of the leaves whose maps the pool holds.
    held: Option<Shape>,
    /// What a device does at every step.
    pub(super) recording: Option<Recording>,
}

impl Trainer {
    /// Training from these weights, Adam at rest.
    pub fn new(network: Network) -> Trainer {
        let zeros = || -> Vec<Buffer<Lane>> {
            network.parameters.iter().map(|p| Buffer::zeros(if p.trained { p.values.len() } else { 0 })).collect()
        };
        Trainer {
            moments: [zeros(), zeros()],
            gradients: zeros(),
            of_leaf: Vec::new(),
            steps: 0,
            scale: LossScale::default(),
            pool: Pool::default(),
            held: None,
            recording: None,
            network,
        }
    }

    /// Bytes that a training on batches of this shape holds at most, its data aside: the parameters, two moments, gradients
    /// of a leaf and of all; every value of a leaf; and at a time no more than three gradients of values of a shape.
    pub fn memory(network: &Network, batch: Shape, leaf: Option<usize>) -> u64 {
        let bytes = |s: Shape| (Maps::<Lane>::positions(s) * size_of::<Lane>()) as u64;
        let numbers: usize = network.parameters.iter().map(|p| p.values.len() * size_of::<Lane>()).sum();
        let shapes = network.shapes(Shape { n: of_leaf(batch.n, leaf), ..batch });
        let values = shapes[1..].iter().fold(0, |sum, &s| sum + bytes(s));
        let distinct: BTreeSet<Shape> = shapes[1..].iter().copied().collect();
        5 * numbers as u64 + values + 3 * distinct.into_iter().fold(0, |sum, s| sum + bytes(s))
    }

    /// Bytes of feature maps that it holds between steps.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.pool.held()
    }

    /// The gradients of the last step, in the order of the parameters.
    pub fn gradients(&self) -> &[Buffer<Lane>] {
        &self.gradients
    }

    /// One step on a batch; the loss is that before it. Labels are \[sample\]\[row\]\[column\]: −1, or a class. A step
    /// that is skipped ([`super::scale`]) counts in [`LossScale::skipped`] and not in [`Trainer::steps`].
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) where a label is no class, the image does not fit the network, a
    /// BatchNorm has one value per channel, or a number is not finite: the network is unchanged then, unless it is the
    /// step itself that is too large, after which the trainer is of no use. [`Fault::Again`](crate::error::Fault::Again)
    /// when interrupted before the network is changed. [`Fault::Device`](crate::error::Fault::Device) where a device
    /// fails; if it fails in the step itself, the trainer is of no use.
    pub fn step<K: Kernels>(&mut self, kernels: &K, image: &Maps<f32>, labels: &[i16], o: &Options) -> Result<Loss> {
        let s = image.shape();
        let labels = Labels::new(labels.to_vec(), s.h * s.w, self.network.config.classes)?;
        self.step_by(kernels, image, &labels, o)
    }

    /// The same with labels that are counted, and may lie on the device.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn step_by<K: Kernels>(
        &mut self,
        kernels: &K,
        image: &Maps<f32>,
        labels: &Labels,
        o: &Options,
    ) -> Result<Loss> {
        let s = image.shape();
        self.network.config.check_size(s.h, s.w)?;
        if labels.numbers().len() != s.n * s.h * s.w || labels.classes() != self.network.config.classes {
            let what = format!("{} labels for {} pixels", labels.numbers().len(), s.n * s.h * s.w);
            return Err(Error::data(what));
        }
        let total = labels.weigh(&o.class_weights);
        let leaf = of_leaf(s.n, o.leaf);
        if let Some(loss) = self.at_once(kernels, image, labels, o, total)? {
            return Ok(loss);
        }
        let mut all = Loss { loss: 0.0, labelled: 0, correct: 0 };
        let mut batch = Vec::new();
        for first in (0..s.n).step_by(leaf) {
            let last = s.n.min(first + leaf);
            let labels = labels.samples(first..last);
            let part = (leaf < s.n).then(|| kernels.samples(image, first..last));
            let (loss, moments) =
                self.leaf(kernels, part.as_ref().unwrap_or(image), labels, o, Place { first, total })?;
            all.loss += loss.loss;
            all.labelled += loss.labelled;
            all.correct += loss.correct;
            batch.push(moments);
        }
        kernels.check()?;
        for (p, g) in self.network.parameters.iter().zip(&self.gradients) {
            if !kernels.all_finite(g) {
                // A device that failed meanwhile is no fault of the data.
                kernels.check()?;
                if kernels.sixteen_bits() && self.scale.skip() {
                    return Ok(all);
                }
                return Err(Error::data(format!("the gradient of {} is not finite", p.name)).help(TOO_FAST));
            }
        }

        if kernels.sixteen_bits() {
            let back = 1.0 / self.scale.factor();
            self.gradients.iter_mut().for_each(|g| kernels.scale(g, back));
            self.scale.done();
        }
        self.steps += 1;
        let adam = Adam::new(o.rate, self.steps);
        let [m, v] = &mut self.moments;
        for (i, p) in self.network.parameters.iter_mut().enumerate().filter(|(_, p)| p.trained) {
            kernels.adam(adam, &mut p.values, &self.gradients[i], &mut m[i], &mut v[i]);
        }
        for (gamma, moments) in batch.iter().flatten() {
            step::track(moments, running(&mut self.network, *gamma));
        }
        self.network.batches.iter_mut().for_each(|n| *n += batch.len() as u64);
        let bad = |p: &&Parameter| !kernels.all_finite(&p.values);
        let bad = self.network.parameters.iter().find(bad);
        kernels.check()?;
        match bad {
            Some(p) => Err(Error::data(format!("{} is not finite after the step", p.name)).help(TOO_FAST)),
            None => Ok(all),
        }
    }

    /// Forward and backward of one leaf; its gradients are added to those of the leaves before it.
    fn leaf<K: Kernels>(
        &mut self,
        kernels: &K,
        image: &Maps<f32>,
        labels: Part,
        o: &Options,
        place: Place,
    ) -> Result<(Loss, BatchMoments)> {
        let network = &self.network;
        // Maps for leaves of another shape, a last one that is smaller, are of no use: one set is held.
        if self.held.replace(image.shape()).is_some_and(|held| held != image.shape()) {
            self.pool = Pool::default();
        }
        let mut tape = Tape::new(kernels, &network.parameters, image, &mut self.pool);
        let steps = self.steps;
        let dropout = |layer| Dropout::new(o.dropout, o.seed, layer, steps).map(|d| d.after(place.first));
        let vars = forward(network, &mut tape, dropout)?;
        let shape = tape.value(vars[vars.len() - 1]).shape();
        let mut gradient = tape.take(shape);
        let logits = tape.value(vars[vars.len() - 1]);
        let scale = if kernels.sixteen_bits() { self.scale.factor() } else { 1.0 };
        let weights: Vec<f32> = o.class_weights.iter().map(|w| scale * w).collect();
        let mut loss = kernels.cross_entropy(logits, labels, &weights, place.total, &mut gradient);
        loss.loss /= f64::from(scale);
        kernels.check()?;
        if !loss.loss.is_finite() {
            return Err(not_finite(network, |v| tape.value(vars[v])));
        }
        let moments: BatchMoments = tape.normalised().iter().map(|(gamma, made)| (*gamma, made.moments())).collect();
        if let Some((gamma, _)) = moments.iter().find(|(_, m)| m.iter().any(|m| m.n < 2.0)) {
            let name = &network.parameters[*gamma].name;
            return Err(Error::data(format!("{name} normalises one value per channel, which makes it 0"))
                .help("take larger images, more of them in a batch, or a larger --leaf"));
        }
        if place.first == 0 {
            tape.backward(gradient, &mut self.gradients)?;
        } else {
            if self.of_leaf.is_empty() {
                self.of_leaf.clone_from(&self.gradients);
            }
            tape.backward(gradient, &mut self.of_leaf)?;
            for (sums, of_leaf) in self.gradients.iter_mut().zip(&self.of_leaf) {
                kernels.accumulate(sums, of_leaf);
            }
        }
        Ok((loss, moments))
    }
}

/// Forward of a leaf: its values.
pub(super) fn forward<K: Kernels>(
    network: &Network,
    tape: &mut Tape<K>,
    dropout_of: impl Fn(u32) -> Option<Dropout>,
) -> Result<Vec<Var>> {
    let mut vars = Vec::new();
    for (number, step) in network.steps.iter().enumerate() {
        check_interrupt()?;
        // Values count from the image.
        let var = |v: usize| vars[v - 1];
        let made = match step {
            Step::Convolution { from, filter, normalised, add } => {
                let source = match from[..] {
                    [0] => Source::Image,
                    _ => Source::Vars(from.iter().map(|&v| var(v)).collect()),
                };
                let weights = Weights { filter: *filter, bias: filter + 1, normalised: *normalised };
                tape.convolution(source, weights, add.map(var), number + 1 == network.steps.len())
            }
            Step::Activation { from, norm, slope, dropout, add } => {
                let dropout = dropout.and_then(&dropout_of);
                let layer = Layer { norm: norm.map(|n| [n.gamma, n.beta()]), slope: *slope, dropout };
                tape.activation(var(*from), layer, add.map(var))
            }
            Step::MaxPool { from } => tape.max_pool(var(*from)),
        };
        vars.push(made);
    }
    Ok(vars)
}

/// Running mean and variance of the BatchNorm of a γ.
pub(super) fn running(network: &mut Network, gamma: usize) -> [&mut Buffer<Lane>; 2] {
    let [mean, variance, ..] = &mut network.parameters[gamma + 2..] else { panic!("{gamma} is no BatchNorm's") };
    [&mut mean.values, &mut variance.values]
}

/// Samples of a leaf in a batch of n.
pub(super) fn of_leaf(n: usize, leaf: Option<usize>) -> usize {
    leaf.unwrap_or(n).clamp(1, n.max(1))
}

/// Where a leaf stands in its batch.
#[derive(Clone, Copy)]
struct Place {
    /// Its first sample.
    first: usize,
    /// W of the batch.
    total: f64,
}

pub(super) const TOO_FAST: &str =
    "lower the learning rate, and look for numbers in the input that are not finite; fp16 (--fast) ends at 65504";

/// The first value of the forward pass that is not finite.
fn not_finite<'a>(network: &Network, value: impl Fn(usize) -> &'a Maps<Lane>) -> Error {
    let bad = |&i: &usize| value(i).data().iter().any(|l| l.0.iter().any(|v| !v.is_finite()));
    let name = (0..network.steps.len()).find(bad).map_or("the loss".to_string(), |i| match &network.steps[i] {
        Step::Convolution { filter, .. } => format!("the output of {}", network.parameters[*filter].name),
        Step::Activation { norm: Some(n), .. } => format!("the output of {}", network.parameters[n.gamma].name),
        Step::Activation { .. } | Step::MaxPool { .. } => format!("value {}", i + 1),
    });
    Error::data(format!("{name} is not finite")).help(TOO_FAST)
}
