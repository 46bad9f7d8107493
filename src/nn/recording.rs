//! L4. A training step that a device computes by itself: forward, loss, backward, Adam and running statistics are started
//! one after the other and looked at once, when all is done. What is started is the same at every step of a shape, so it is
//! recorded, and from then on started as one.
//!
//! ```text
//! before     image, labels, learning rate, draw of the dropouts, scale of the loss: into the device's memory
//! the step   reads them there; a loss or gradient that is not finite stops it before anything is changed
//! after      losses, and which tensor was not finite
//! ```
//!
//! The first two steps of a shape are started kernel by kernel, and ask for the memory that all need: maps that stay, then
//! what is between them. The third is recorded.
//! What is recorded knows addresses, so they must stay: the maps of a recording are its own, and parameters, gradients and
//! moments are kept where they are. If one of them was written meanwhile, and so lies elsewhere, it is recorded anew.
//! Whatever the device does not let itself be recorded is started kernel by kernel: the bits are the same.

use super::network::Step;
use super::train::{self, Options, TOO_FAST, Trainer, forward, of_leaf};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::adam::Adam;
use crate::kernels::buffer::{Buffer, There};
use crate::kernels::cross_entropy::Loss;
use crate::kernels::dropout::Dropout;
use crate::kernels::labels::Labels;
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::step::{Dial, Recorded, Steps};
use crate::num::lanes::Lane;
use crate::os::check_interrupt;
use crate::tensor::pool::Pool;
use crate::tensor::tape::Tape;
use std::sync::Arc;

/// Steps that are started kernel by kernel before one is recorded.
const PLAIN: u32 = 2;
/// Recordings that may fail, each of which is tried again after a step that is not recorded.
const TRIES: u32 = 3;

/// What must stay for a recording to be of use.
#[derive(Clone, PartialEq)]
struct Key {
    image: Shape,
    leaf: usize,
    dropout: f64,
    seed: u64,
    /// Whether a pixel has a label that weighs something.
    counts: bool,
}

/// A step's memory, and the step itself once it is recorded.
pub struct Recording {
    key: Key,
    images: Vec<Maps<f32>>,
    pool: Pool,
    /// Steps started kernel by kernel.
    plain: u32,
    failed: u32,
    recorded: Option<Box<dyn Recorded>>,
    /// Where the numbers lie that the recorded step reads and writes.
    places: Vec<Arc<dyn There<Lane>>>,
}

impl Trainer {
    /// The step on a device that computes it by itself; none where there is no such device, and where somebody has to look
    /// what is wrong, before anything is changed.
    pub(super) fn at_once<K: Kernels>(
        &mut self,
        kernels: &K,
        image: &Maps<f32>,
        labels: &Labels,
        o: &Options,
        total: f64,
    ) -> Result<Option<Loss>> {
        let s = image.shape();
        let leaf = of_leaf(s.n, o.leaf);
        let firsts: Vec<usize> = (0..s.n).step_by(leaf).collect();
        let leaves: Vec<Shape> = firsts.iter().map(|&first| Shape { n: leaf.min(s.n - first), ..s }).collect();
        let Some(steps) = kernels.steps().filter(|_| leaves.iter().all(|&leaf| self.normalises(leaf))) else {
            return Ok(None);
        };
        check_interrupt()?;
        let key = Key { image: s, leaf, dropout: o.dropout, seed: o.seed, counts: total > 0.0 };
        // Taken, so that an error leaves none. What another shape held is given up before more is asked for.
        let mut r = match self.recording.take() {
            Some(recording) if recording.key == key => recording,
            other => {
                drop(other);
                self.pool = Pool::default();
                Recording::new(key, &leaves)
            }
        };
        if leaves.len() > 1 && self.of_leaf.is_empty() {
            self.of_leaf = self.gradients.iter().map(|g| Buffer::zeros(g.len())).collect();
        }
        let places: Vec<_> = self.numbers().filter_map(|b| steps.settle(b)).collect();
        let scale = self.scale.factor();
        let weights: Vec<f32> = o.class_weights.iter().map(|w| scale * w).collect();
        let logits: Vec<Shape> = leaves.iter().map(|&s| s.with_channels(self.network.config.classes)).collect();
        let dial = Dial {
            draw: self.steps,
            adam: Adam::new(o.rate, self.steps + 1),
            back: 1.0 / scale,
            weights: &weights,
            total,
            labels,
            leaves: &logits,
            tensors: self.network.parameters.len(),
        };
        steps.begin(&dial);
        r.images.iter_mut().zip(&firsts).for_each(|(to, &first)| steps.refill(to, image, first));
        let stayed = r.places.len() == places.len() && r.places.iter().zip(&places).all(|(a, b)| Arc::ptr_eq(a, b));
        if stayed && r.recorded.as_ref().is_some_and(|recorded| recorded.start()) {
            let mut places = places.into_iter();
            self.numbers_mut().for_each(|b| places.next().into_iter().for_each(|place| b.only_there(place)));
        } else {
            r.recorded = None;
            let mut started = false;
            if r.plain >= PLAIN && r.failed < TRIES && steps.records() {
                r.recorded = steps.record(&mut || self.launch(kernels, steps, &mut r, o, &firsts))?;
                started = r.recorded.as_ref().is_some_and(|recorded| recorded.start());
                r.places = places;
                if !started {
                    // What it made was never computed, and may lie nowhere.
                    (r.recorded, r.pool, r.failed) = (None, Pool::default(), r.failed + 1);
                    self.numbers().for_each(|b| drop(steps.settle(b)));
                }
            }
            if !started {
                r.plain = r.plain.saturating_add(1);
                self.launch(kernels, steps, &mut r, o, &firsts)?;
            }
        }
        let report = steps.report(&dial);
        kernels.check()?;
        let mut all = Loss { loss: 0.0, labelled: 0, correct: 0 };
        for loss in &report.losses {
            all.loss += loss.loss / f64::from(scale);
            all.labelled += loss.labelled;
            all.correct += loss.correct;
        }
        if !all.loss.is_finite() {
            return Ok(None);
        }
        self.recording = Some(r);
        let name = |tensor: usize| self.network.parameters[tensor].name.clone();
        let [gradient, stepped] = [report.gradient, report.stepped].map(|tensor| tensor.map(name));
        if let Some(name) = gradient {
            let what = format!("the gradient of {name} is not finite");
            return if self.scale.skip() { Ok(Some(all)) } else { Err(Error::data(what).help(TOO_FAST)) };
        }
        self.scale.done();
        self.steps += 1;
        self.network.batches.iter_mut().for_each(|n| *n += leaves.len() as u64);
        match stepped {
            Some(name) => Err(Error::data(format!("{name} is not finite after the step")).help(TOO_FAST)),
            None => Ok(Some(all)),
        }
    }

    /// Whether every BatchNorm has more than one value per channel.
    fn normalises(&self, leaf: Shape) -> bool {
        let shapes = self.network.shapes(leaf);
        self.network.steps.iter().all(|step| match step {
            Step::Activation { from, norm: Some(_), .. } => shapes[*from].n * shapes[*from].h * shapes[*from].w > 1,
            _ => true,
        })
    }

    /// All that a step reads and writes beside its maps, in one order; what is empty is nowhere.
    fn numbers(&self) -> impl Iterator<Item = &Buffer<Lane>> {
        let parameters = self.network.parameters.iter().map(|p| &p.values);
        let all = parameters.chain(&self.gradients).chain(self.moments.iter().flatten()).chain(&self.of_leaf);
        all.filter(|b| !b.is_empty())
    }
    fn numbers_mut(&mut self) -> impl Iterator<Item = &mut Buffer<Lane>> {
        let parameters = self.network.parameters.iter_mut().map(|p| &mut p.values);
        let moments = self.moments.iter_mut().flatten();
        let all = parameters.chain(&mut self.gradients).chain(moments).chain(&mut self.of_leaf);
        all.filter(|b| !b.is_empty())
    }

    /// Starts everything.
    fn launch<K: Kernels>(
        &mut self,
        kernels: &K,
        steps: &dyn Steps,
        r: &mut Recording,
        o: &Options,
        firsts: &[usize],
    ) -> Result<()> {
        let mut made = Vec::new();
        for (leaf, (image, &first)) in r.images.iter().zip(firsts).enumerate() {
            let mut tape = Tape::new(kernels, &self.network.parameters, image, &mut r.pool);
            let dropout = |layer| Dropout::new(o.dropout, o.seed, layer, 0).map(|d| d.after(first).counted());
            let vars = forward(&self.network, &mut tape, dropout)?;
            let logits = vars[vars.len() - 1];
            let mut gradient = tape.take(tape.value(logits).shape());
            steps.loss(leaf, r.key.counts, tape.value(logits), &mut gradient);
            made.extend(tape.normalised());
            if leaf == 0 {
                tape.backward(gradient, &mut self.gradients)?;
            } else {
                tape.backward(gradient, &mut self.of_leaf)?;
                self.gradients.iter_mut().zip(&self.of_leaf).for_each(|(sum, x)| kernels.accumulate(sum, x));
            }
        }
        let [m, v] = &mut self.moments;
        let trained = || self.network.parameters.iter().enumerate().filter(|(_, p)| p.trained).map(|(i, _)| i);
        trained().for_each(|i| steps.watch(i, &self.gradients[i], false));
        for i in trained().collect::<Vec<_>>() {
            steps.update(&mut self.network.parameters[i].values, &mut self.gradients[i], &mut m[i], &mut v[i]);
        }
        for (gamma, made) in &made {
            steps.track(made, train::running(&mut self.network, *gamma));
        }
        self.network.parameters.iter().enumerate().for_each(|(i, p)| steps.watch(i, &p.values, true));
        Ok(())
    }
}

impl Recording {
    fn new(key: Key, leaves: &[Shape]) -> Recording {
        let images = leaves.iter().map(|&s| Maps::zeros(s)).collect();
        let (pool, places) = (Pool::default(), Vec::new());
        Recording { key, images, pool, plain: 0, failed: 0, recorded: None, places }
    }
}
