//! Fast training steps that nobody looks at until they are done (`kernels/step.cu`): what a channel's numbers are made of
//! stays on the device, and what is new at every step is read from one place, the dial:
//!
//! ```text
//! draw, step, root, back, stop, –, –, – | gradients that are not finite, losses | stepped tensors that are not
//! | correct pixels of each leaf | weights | factors                             words of 32 bits
//! ```

use super::arguments::{Betas, Drops, Extent, FastActivated};
use super::driver::graph::Graph;
use super::driver::{Address, Argument, Memory};
use super::fast::Fast;
use super::pixels::Number;
use super::{JOIN, ROWS, THREADS};
use crate::error::{Error, Result};
use crate::kernels::adam;
use crate::kernels::batchnorm::Moments;
use crate::kernels::buffer::{Buffer, There};
use crate::kernels::cross_entropy;
use crate::kernels::dropout::Dropout;
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::step::{self, ByParameters, Dial, Given, Normalised, Recorded, Report, Statistics, Steps};
use crate::num::lanes::{LANES, Lane};
use std::any::Any;
use std::sync::{Arc, PoisonError};

/// Words in front of the flags, and which of them stops a step.
const HEAD: usize = 8;
const STOP: usize = 4;

/// What a step reads that is new, and writes that is looked at.
pub struct Dialled {
    tensors: usize,
    classes: usize,
    /// Logits of each leaf.
    leaves: Vec<Shape>,
    words: Memory<u32>,
    labels: Memory<i16>,
    /// Losses of rows.
    rows: Memory<f32>,
}

/// Pixels and rows of the leaves before one.
fn before(leaves: &[Shape], leaf: usize) -> [usize; 2] {
    leaves[..leaf].iter().fold([0, 0], |[pixels, rows], s| [pixels + s.n * s.h * s.w, rows + s.n * s.h])
}

impl Dialled {
    fn gradients(&self) -> usize {
        HEAD
    }
    fn losses(&self) -> usize {
        HEAD + self.tensors
    }
    fn stepped(&self) -> usize {
        self.losses() + 1
    }
    fn correct(&self) -> usize {
        self.stepped() + self.tensors
    }
    fn weights(&self) -> usize {
        self.correct() + self.leaves.len()
    }
}

/// What a batch made of an activation, on the device.
struct OnDevice {
    /// Scale, shift and mean; of what does not normalise, constants.
    numbers: Option<Memory<Lane>>,
    moments: Option<Memory<Moments>>,
    channels: usize,
}

impl Statistics for OnDevice {
    fn moments(&self) -> Vec<Moments> {
        let mut moments = self.moments.as_ref().map_or_else(Vec::new, Memory::read);
        moments.truncate(self.channels);
        moments
    }
    fn any(&self) -> &dyn Any {
        self
    }
}

impl Fast {
    fn dialled(&self) -> Option<Arc<Dialled>> {
        self.dialled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// What is dropped, whose draw the dial may know.
    fn drops(&self, dropout: Option<Dropout>) -> Drops {
        let no_dial = || self.device().fail(Error::bug("a dropout of a step that has not begun"));
        let counter = match dropout {
            Some(d) if d.counted => self.dialled().map_or_else(no_dial, |d| d.words.at(0)),
            _ => Address::NONE,
        };
        let mut drops = Drops::from(dropout);
        drops.counter = counter;
        drops
    }
    /// The numbers of an activation that does not normalise.
    pub(super) fn constant_activation(
        &self,
        shape: Shape,
        slope: Option<&Buffer<Lane>>,
        dropout: Option<Dropout>,
    ) -> FastActivated {
        let groups = shape.groups::<Lane>();
        let constants = self.constants(groups);
        let slope = slope.map_or(constants.at(0), |s| self.cuda.at(s));
        let [scale, shift, mean] = [0, 1, 2].map(|part| constants.at(part * groups));
        FastActivated { scale, shift, mean, slope, dropout: self.drops(dropout) }
    }
    fn activated(&self, given: &Given, shape: Shape, numbers: Option<&Memory<Lane>>) -> FastActivated {
        let constant = self.constant_activation(shape, given.slope, given.dropout);
        let Some(numbers) = numbers else { return constant };
        let [scale, shift, mean] = [0, 1, 2].map(|part| numbers.at(part * shape.groups::<Lane>()));
        FastActivated { scale, shift, mean, ..constant }
    }
    pub(super) fn normalise_there(
        &self,
        given: &Given,
        x: &Maps<Lane>,
        residual: Option<&Maps<Lane>>,
        z: &mut Maps<Lane>,
    ) -> Normalised {
        let (d, shape) = (self.device(), x.shape());
        let (groups, channels) = (shape.groups::<Lane>(), shape.c);
        let mut made = OnDevice { numbers: None, moments: None, channels };
        if let Some(norm) = given.norm {
            let (moments, numbers) = (self.moments_there(x), d.memory::<Lane>(3 * groups));
            let ([gamma, beta], lanes) = (norm.map(|b| self.cuda.at(b)), groups * LANES);
            let (from, to) = (moments.at(0), numbers.at(0));
            let arguments: [&dyn Argument; 6] = [&from, &gamma, &beta, &(channels as i32), &(lanes as i32), &to];
            d.launch("step_normalise", [lanes.div_ceil(JOIN) as u32, 1], JOIN as u32, &arguments);
            (made.numbers, made.moments) = (Some(numbers), Some(moments));
        }
        self.activate_by(&self.activated(given, shape, made.numbers.as_ref()), x, residual, z);
        Normalised::There(Arc::new(made))
    }
    pub(super) fn gradient_there(
        &self,
        given: &Given,
        made: &Normalised,
        x_dz: [&Maps<Lane>; 2],
        to: ByParameters,
        dx: &mut Maps<Lane>,
    ) {
        let Normalised::There(statistics) = made else { return step::gradient(self, given, made, x_dz, to, dx) };
        let Some(made) = statistics.any().downcast_ref::<OnDevice>() else {
            self.device().fail(Error::bug("statistics of another device"));
            return;
        };
        let (d, shape) = (self.device(), x_dz[0].shape());
        let (groups, rows) = (shape.groups::<Lane>(), u16::width(shape.c));
        let activated = self.activated(given, shape, made.numbers.as_ref());
        let sums = self.gradient_sums_there(&activated, x_dz);
        let by = d.memory::<Lane>(2 * groups);
        let [gamma, beta] = to.norm.map_or([Address::NONE; 2], |n| n.map(|b| self.cuda.output(b).0));
        let slope = to.slope.map_or(Address::NONE, |s| self.cuda.output(s).0);
        let moments = made.moments.as_ref().map_or(Address::NONE, |m| m.at(0));
        let (channels, lanes) = (shape.c as i32, (groups * LANES) as i32);
        let arguments: [&dyn Argument; 10] = [
            &sums.at(0),
            &(rows as i32),
            &moments,
            &activated.scale,
            &channels,
            &lanes,
            &by.at(0),
            &beta,
            &gamma,
            &slope,
        ];
        d.launch("step_gradients", [1, 1], THREADS as u32, &arguments);
        let constants = self.constants(groups);
        let more = [0, 1].map(|part| match made.moments {
            Some(_) => by.at(part * groups),
            None => constants.at((3 + part) * groups),
        });
        self.gradient_by(&activated, more, x_dz, dx);
    }
    pub(super) fn bias_there(&self, dy: &Maps<Lane>, db: &mut Buffer<Lane>) {
        let (sums, lanes) = (self.sums_there(dy), db.len() * LANES);
        let to = self.cuda.output(db).0;
        let arguments: [&dyn Argument; 4] = [&sums.at(0), &(dy.shape().c as i32), &(lanes as i32), &to];
        self.device().launch("step_bias", [lanes.div_ceil(JOIN) as u32, 1], JOIN as u32, &arguments);
    }
    /// The place of a word, for a kernel.
    fn word(&self, of: impl Fn(&Dialled) -> usize) -> Address {
        let dialled = self.dialled();
        dialled.map_or_else(|| self.device().fail(Error::bug("a step that has not begun")), |d| d.words.at(of(&d)))
    }
}

impl Steps for Fast {
    fn begin(&self, dial: &Dial) {
        let (d, classes) = (self.device(), dial.weights.len());
        let mut dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |d: &&Arc<Dialled>| (d.tensors, d.classes, &d.leaves[..]) == (dial.tensors, classes, dial.leaves);
        let now = match dialled.as_ref().filter(same) {
            Some(now) => now.clone(),
            None => {
                let [pixels, rows] = before(dial.leaves, dial.leaves.len());
                let words = HEAD + 2 * dial.tensors + 1 + dial.leaves.len() + 2 * classes;
                Arc::new(Dialled {
                    tensors: dial.tensors,
                    classes,
                    leaves: dial.leaves.to_vec(),
                    words: d.memory(words),
                    labels: d.memory(pixels),
                    rows: d.memory(rows),
                })
            }
        };
        let mut words = vec![0u32; now.words.count()];
        let head = [dial.adam.step, dial.adam.root, dial.back].map(f32::to_bits);
        words[0] = dial.draw;
        words[1..4].copy_from_slice(&head);
        let factor = |k: usize| cross_entropy::factor(k as i16, dial.weights, dial.total);
        let numbers = dial.weights.iter().copied().chain((0..classes).map(factor));
        words[now.weights()..].iter_mut().zip(numbers).for_each(|(to, v)| *to = v.to_bits());
        d.write(&now.words, &words);
        let labels = dial.labels.numbers();
        match labels.on_device().and_then(|there| self.cuda.own(there)) {
            Some(there) => {
                let count = labels.len();
                self.cuda.each("augment_copy_labels", count, &[&there.at(0), &(count as i64), &now.labels.at(0)]);
            }
            None => d.write(&now.labels, labels),
        }
        *dialled = Some(now);
    }
    fn settle(&self, x: &Buffer<Lane>) -> Option<Arc<dyn There<Lane>>> {
        self.cuda.at(x);
        let there = x.on_device().cloned();
        there.iter().filter_map(|there| self.cuda.own(there)).for_each(Memory::changes);
        there
    }
    fn refill(&self, to: &mut Maps<f32>, from: &Maps<f32>, first: usize) {
        self.cuda.copy_samples(from, first, to);
    }
    fn loss(&self, leaf: usize, counts: bool, logits: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let Some(now) = self.dialled() else {
            self.device().fail(Error::bug("a loss of a step that has not begun"));
            return;
        };
        let (d, s, [pixels, first]) = (self.device(), logits.shape(), before(&now.leaves, leaf));
        let (x_at, dx_at) = (self.at::<f32>(logits), self.output::<u16>(dx));
        let (count, rows) = (s.n * s.h * s.w, s.n * s.h);
        let losses = d.memory::<f32>(count);
        let [weights, factors] = [0, 1].map(|part| now.words.at(now.weights() + part * now.classes));
        let (labels, correct) = (now.labels.at(pixels), now.words.at(now.correct() + leaf));
        let (classes, extent) = (now.classes as i32, Extent::from(s));
        let arguments: [&dyn Argument; 9] =
            [&x_at, &labels, &weights, &factors, &classes, &extent, &dx_at, &losses.at(0), &correct];
        d.launch("fast_cross_entropy", [count.div_ceil(128) as u32, 1], 128, &arguments);
        let (grid, sums) = ([rows.div_ceil(ROWS) as u32, 1], now.rows.at(first));
        d.launch("row_losses", grid, 128, &[&losses.at(0), &(rows as i32), &(s.w as i32), &sums]);
        if counts {
            self.look(rows, sums, now.words.at(now.losses()), now.words.at(STOP));
        }
    }
    fn watch(&self, tensor: usize, x: &Buffer<Lane>, stepped: bool) {
        let flag = self.word(|d| if stepped { d.stepped() } else { d.gradients() } + tensor);
        let stop = if stepped { Address::NONE } else { self.word(|_| STOP) };
        self.look(x.len() * LANES, self.cuda.at(x), flag, stop);
    }
    fn update(&self, p: &mut Buffer<Lane>, g: &mut Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        let betas = Betas {
            one_minus_beta1: (1.0 - adam::BETA1) as f32,
            one_minus_beta2: (1.0 - adam::BETA2) as f32,
            beta2: adam::BETA2 as f32,
            epsilon: adam::EPSILON,
        };
        let (count, dial) = (p.len() * LANES, self.word(|_| 0));
        let [p, g, m, v] = [p, g, m, v].map(|b| self.cuda.changed(b));
        self.cuda.each("step_adam", count, &[&dial, &betas, &p, &g, &m, &v, &(count as i64)]);
    }
    fn track(&self, made: &Normalised, statistics: [&mut Buffer<Lane>; 2]) {
        let made = match made {
            Normalised::There(made) => {
                made.any().downcast_ref::<OnDevice>().and_then(|m| Some((m, m.moments.as_ref()?)))
            }
            Normalised::Here(..) => None,
        };
        let Some((made, moments)) = made else {
            self.device().fail(Error::bug("statistics of another device"));
            return;
        };
        let ([mean, variance], dial) = (statistics.map(|b| self.cuda.changed(b)), self.word(|_| 0));
        let arguments: [&dyn Argument; 5] = [&dial, &moments.at(0), &(made.channels as i32), &mean, &variance];
        self.device().launch("step_track", [made.channels.div_ceil(JOIN) as u32, 1], JOIN as u32, &arguments);
    }
    fn report(&self, dial: &Dial) -> Report {
        let Some(now) = self.dialled() else { return Report { losses: Vec::new(), gradient: None, stepped: None } };
        let (words, rows) = (now.words.read(), now.rows.read());
        let loss = |leaf: usize| {
            let [[.., first], [.., last]] = [leaf, leaf + 1].map(|leaf| before(&now.leaves, leaf));
            let [from, to] = [leaf, leaf + 1].map(|leaf| now.leaves[..leaf].iter().map(|s| s.n).sum());
            let rows = rows[first..last].iter().copied().map(f64::from).collect();
            let correct = u64::from(words[now.correct() + leaf]);
            cross_entropy::join(vec![(rows, correct)], dial.labels.samples(from..to).labelled, dial.total)
        };
        let first = |from: usize| words[from..from + now.tensors].iter().position(|&word| word != 0);
        Report {
            losses: (0..now.leaves.len()).map(loss).collect(),
            gradient: first(now.gradients()),
            stepped: first(now.stepped()),
        }
    }
    fn records(&self) -> bool {
        self.records
    }
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recorded>>> {
        let Some(dialled) = self.dialled() else { return Ok(None) };
        let graph = self.device().record(work)?;
        Ok(graph.map(|graph| Box::new(Step { graph, dialled, fast: self.clone() }) as Box<dyn Recorded>))
    }
}

impl Fast {
    /// Sets flags where a number is not finite.
    fn look(&self, count: usize, x: Address, flag: Address, stop: Address) {
        let grid = [count.div_ceil(THREADS).clamp(1, 1024) as u32, 1];
        self.device().launch("step_watch", grid, THREADS as u32, &[&x, &(count as i64), &flag, &stop]);
    }
}

/// A recorded step, and the dial that it reads.
struct Step {
    graph: Graph,
    dialled: Arc<Dialled>,
    fast: Fast,
}

impl Recorded for Step {
    fn start(&self) -> bool {
        self.fast.dialled().is_some_and(|now| Arc::ptr_eq(&now, &self.dialled)) && self.graph.start()
    }
}
