//! L4. A training from its first batch to its last: epochs in shuffled order, validation, schedule, and a state that a
//! checkpoint holds, so that a run taken up again ends with the bits of one that was never stopped.
//!
//! ```text
//! epoch e     patches in the order of a Fisher-Yates shuffle: for i = N−1 … 1 swap i with below(e·2³² + i, i + 1)
//! batch       the next `batch` of them; the last batch of an epoch may be smaller
//! loss, accuracy of an epoch      means over its labelled pixels, each with the weights its batch met
//! validation  in evaluation mode, patch by patch: loss and accuracy over all labelled pixels, IoU per class
//! ```
//!
//! The schedule watches the validation loss, or the training's where there is no validation. The best epoch is that of
//! the least watched loss, the first of equals. A budget of steps that ends within an epoch ends the epoch there: it is
//! validated and counted like every other. Nothing depends on the time of day; who wants to stop after an hour
//! pauses, and goes on later.

use super::checkpoint;
pub use super::epoch::{Epoch, Score};
use super::infer::{Plan, Workspace};
use super::network::Network;
pub use super::schedule::Watch;
use super::schedule::{EarlyStop, Plateau, Schedule, cosine};
use super::train::{Options, Trainer};
use crate::error::{Error, Fault, Result};
use crate::kernels::Kernels;
use crate::kernels::augment::Seen;
use crate::kernels::buffer::Buffer;
use crate::kernels::labels::Labels;
use crate::kernels::maps::{Maps, Shape};
use crate::num::lanes::Lane;
use crate::num::philox::Stream;
use crate::os::check_interrupt;
use std::collections::BTreeMap;
use std::path::Path;

/// Stream of the shuffles; layers of dropout and parameters have small numbers.
const SHUFFLE: u32 = 0x7368_7566;

/// Patches to learn from.
pub trait Patches: Sync {
    /// How many.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Rows and columns of each.
    fn size(&self) -> [usize; 2];
    /// Channels of each.
    fn channels(&self) -> usize {
        1
    }
    /// Grey values of all that is seen, \[patch\]\[channel\]\[row\]\[column\]. A device keeps them.
    fn grey(&self) -> &Buffer<f32>;
    /// Patch `i` at a turn: where its grey values are, and what happens to them.
    fn seen(&self, i: usize, turn: Turn) -> Seen;
    /// Labels of all that is seen, from −1 on, \[patch\]\[row\]\[column\]. A device keeps them.
    fn labels(&self) -> &Buffer<i16>;
}

/// When a patch is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The epoch.
    pub epoch: u32,
    /// Which batch of it.
    pub batch: u32,
    /// Where in the batch.
    pub place: u32,
}

/// What a training does, beside its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Epochs, at most.
    pub epochs: u32,
    /// Patches of a batch.
    pub batch: usize,
    /// Of each step; its learning rate is that of the beginning.
    pub options: Options,
    /// How the learning rate goes down.
    pub schedule: Schedule,
    /// Steps, at most.
    pub steps: Option<u32>,
    /// Epochs that are no better after which training stops.
    pub patience: Option<u32>,
    /// What is no better then.
    pub watch: Watch,
}

/// Sums over labelled pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    loss: f64,
    labelled: u64,
    correct: u64,
}

impl Sums {
    fn add(&mut self, loss: f64, labelled: u64, correct: u64) {
        self.loss += loss * labelled as f64;
        self.labelled += labelled;
        self.correct += correct;
    }
    /// Loss and accuracy; 0 without a labelled pixel.
    fn means(&self) -> (f64, f64) {
        let n = (self.labelled as f64).max(1.0);
        (self.loss / n, self.correct as f64 / n)
    }
}

/// A training under way.
pub struct Course {
    /// Network and optimizer.
    pub trainer: Trainer,
    /// Epochs done.
    pub epochs: Vec<Epoch>,
    /// Batches done of the epoch that is under way.
    batches: usize,
    sums: Sums,
    plateau: Plateau,
    stop: EarlyStop,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All epochs or steps are done.
    Done,
    /// What is watched stayed.
    Stayed,
    /// It was asked to pause.
    Paused,
}

/// What has just happened.
pub enum Event<'a> {
    /// A step, or a try of one that was skipped.
    Step {
        /// Its learning rate.
        rate: f64,
        /// Its loss.
        loss: f64,
        /// Labelled pixels of its batch.
        labelled: u64,
    },
    /// An epoch, and whether it is the best so far.
    Epoch(&'a Epoch, bool),
}

impl Course {
    /// A training that begins.
    pub fn new(network: Network, recipe: &Recipe) -> Course {
        let stop = EarlyStop { patience: recipe.patience.unwrap_or(u32::MAX), ..EarlyStop::new() };
        let plateau = Plateau::new(recipe.options.rate);
        let trainer = Trainer::new(network);
        Course { trainer, epochs: Vec::new(), batches: 0, sums: Sums::default(), plateau, stop }
    }

    /// Learning rate of the epoch at work.
    fn rate(&self, recipe: &Recipe) -> f64 {
        match recipe.schedule {
            Schedule::Cosine => cosine(recipe.options.rate, self.epochs.len() as u32, recipe.epochs),
            Schedule::Constant | Schedule::Plateau => self.plateau.rate,
        }
    }

    /// Whether the budget of steps is used up.
    fn spent(&self, recipe: &Recipe) -> bool {
        recipe.steps.is_some_and(|most| self.trainer.steps >= most)
    }

    /// Number of the best epoch.
    pub fn best(&self) -> Option<usize> {
        (0..self.epochs.len()).reduce(
            |best, e| {
                if self.epochs[e].watched() < self.epochs[best].watched() { e } else { best }
            },
        )
    }

    /// Steps of an epoch of `patches` patches.
    pub fn steps_of_an_epoch(patches: usize, recipe: &Recipe) -> usize {
        patches.div_ceil(recipe.batch.max(1))
    }

    /// Trains until the recipe ends or `go_on` says no; it is asked after every step and every epoch, and a training may
    /// be written and taken up again at each of these points.
    ///
    /// # Errors
    /// As [`Trainer::step`], and what `go_on` says; the course is that of the last step.
    pub fn run<K: Kernels>(
        &mut self,
        recipe: &Recipe,
        training: &dyn Patches,
        validation: Option<&dyn Patches>,
        kernels: &K,
        mut go_on: impl FnMut(&Course, Event) -> Result<bool>,
    ) -> Result<Ended> {
        let steps = Self::steps_of_an_epoch(training.len(), recipe);
        if steps == 0 {
            return Err(Error::data("no patches to learn from"));
        }
        loop {
            // An epoch that the budget cut short still has to be validated.
            if self.epochs.len() >= recipe.epochs as usize || self.batches == 0 && self.spent(recipe) {
                return Ok(Ended::Done);
            }
            if self.stop.bad >= self.stop.patience {
                return Ok(Ended::Stayed);
            }
            if self.batches > steps {
                return Err(Error::data(format!(
                    "{} batches of {steps} are done: the training is damaged",
                    self.batches
                )));
            }
            let epoch = self.epochs.len() as u32;
            let order = shuffled(training.len(), recipe.options.seed, epoch);
            for batch in order.chunks(recipe.batch.max(1)).skip(self.batches) {
                if self.spent(recipe) {
                    break;
                }
                let turn = Turn { epoch, batch: self.batches as u32, place: 0 };
                let (image, labels) = gather(kernels, training, batch, turn, self.trainer.network.config.classes)?;
                let rate = self.rate(recipe);
                let options = Options { rate, ..recipe.options.clone() };
                let loss = match self.trainer.step_by(kernels, &image, &labels, &options) {
                    Ok(loss) => loss,
                    // Nothing of the step is done.
                    Err(e) if e.fault() == Fault::Again => return Ok(Ended::Paused),
                    Err(e) => return Err(e),
                };
                self.sums.add(loss.loss, loss.labelled, loss.correct);
                self.batches += 1;
                if !go_on(self, Event::Step { rate, loss: loss.loss, labelled: loss.labelled })? {
                    return Ok(Ended::Paused);
                }
            }
            let score = match validation {
                Some(patches) => {
                    match validate(&self.trainer.network, patches, &recipe.options.class_weights, kernels) {
                        Ok(score) => Some(score),
                        // All batches are done, and validation begins anew.
                        Err(e) if e.fault() == Fault::Again => return Ok(Ended::Paused),
                        Err(e) => return Err(e),
                    }
                }
                None => None,
            };
            let (loss, accuracy) = self.sums.means();
            let (steps, rate) = (self.trainer.steps, self.rate(recipe));
            let done = Epoch { steps, rate, loss, accuracy, validation: score };
            if recipe.schedule == Schedule::Plateau {
                self.plateau.epoch(done.watched());
            }
            self.stop.epoch(match recipe.watch {
                Watch::Loss => done.watched(),
                Watch::Accuracy => done.errors(),
            });
            self.epochs.push(done);
            (self.batches, self.sums) = (0, Sums::default());
            let last = self.epochs.len() - 1;
            if !go_on(self, Event::Epoch(&self.epochs[last], self.best() == Some(last)))? {
                return Ok(Ended::Paused);
            }
        }
    }

    /// Writes everything that going on takes, in place of the file that is there. `about` names recipe and data, for
    /// [`Course::read`] to compare.
    ///
    /// # Errors
    /// As [`checkpoint::write`].
    pub fn write(&self, path: &Path, seed: u64, about: &str) -> Result<()> {
        let lines: Vec<String> = self.epochs.iter().enumerate().map(|(i, e)| e.line(i + 1)).collect();
        let (s, p, stop) = (&self.sums, &self.plateau, &self.stop);
        let more = [
            ("about", about.to_string()),
            ("epochs", lines.join("\n")),
            ("batches", self.batches.to_string()),
            ("sums", format!("{},{},{}", s.loss, s.labelled, s.correct)),
            ("plateau", format!("{},{},{}", p.rate, p.best, p.bad)),
            ("stop", format!("{},{}", stop.best, stop.bad)),
        ];
        checkpoint::write(path, &self.trainer, seed, &more.map(|(k, v)| (k.to_string(), v)).into())
    }

    /// Takes up a training that [`Course::write`] wrote.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) where the file is none, is damaged, or was of another recipe or other
    /// data.
    pub fn read(path: &Path, recipe: &Recipe, about: &str) -> Result<Course> {
        let (trainer, more) = checkpoint::read(path)?;
        let written = more.get("about").map_or("", String::as_str);
        let line = |text: &'_ str, i: usize| text.lines().nth(i).unwrap_or("nothing").to_string();
        let differs = (0..about.lines().count().max(written.lines().count()))
            .map(|i| (line(about, i), line(written, i)))
            .find(|(new, old)| new != old);
        if let Some((new, old)) = differs {
            return Err(Error::data(format!("was made with `{old}`, not `{new}`"))
                .help("go on with the same data and options, or train into another folder")
                .at(path));
        }
        let course = parse(trainer, &more, recipe);
        course.ok_or_else(|| Error::data("is no training that can be taken up").at(path))
    }
}

fn parse(trainer: Trainer, more: &BTreeMap<String, String>, recipe: &Recipe) -> Option<Course> {
    let epochs: Option<Vec<Epoch>> =
        more.get("epochs")?.lines().filter(|line| !line.is_empty()).map(Epoch::parse).collect();
    let cells = |name: &str| more.get(name).map(|text| text.split(',').collect::<Vec<_>>()).unwrap_or_default();
    let [loss, labelled, correct] = cells("sums")[..] else { return None };
    let [rate, best, bad] = cells("plateau")[..] else { return None };
    let [stop_best, stop_bad] = cells("stop")[..] else { return None };
    let mut course = Course::new(trainer.network.clone(), recipe);
    course.trainer = trainer;
    course.epochs = epochs?;
    course.batches = more.get("batches")?.parse().ok()?;
    // What no training leaves.
    let rate = rate.parse().ok().filter(|r| (0.0..=recipe.options.rate).contains(r) && *r > 0.0)?;
    course.sums = Sums { loss: loss.parse().ok()?, labelled: labelled.parse().ok()?, correct: correct.parse().ok()? };
    course.plateau = Plateau { rate, best: best.parse().ok()?, bad: bad.parse().ok()? };
    if !course.sums.loss.is_finite() || course.epochs.iter().any(|e| e.steps > course.trainer.steps) {
        return None;
    }
    (course.stop.best, course.stop.bad) = (stop_best.parse().ok()?, stop_bad.parse().ok()?);
    Some(course)
}

/// The order of an epoch.
fn shuffled(n: usize, seed: u64, epoch: u32) -> Vec<usize> {
    let stream = Stream::new(seed, SHUFFLE);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, stream.below((u64::from(epoch) << 32) + i as u64, i as u32 + 1) as usize);
    }
    order
}

/// Some patches as a batch.
fn gather<K: Kernels>(
    kernels: &K,
    patches: &dyn Patches,
    which: &[usize],
    turn: Turn,
    classes: usize,
) -> Result<(Maps<f32>, Labels)> {
    let ([h, w], c) = (patches.size(), patches.channels());
    let places = which.iter().zip(0..);
    let seen: Vec<Seen> = places.map(|(&i, place)| patches.seen(i, Turn { place, ..turn })).collect();
    let mut image = Maps::zeros(Shape::new(which.len(), c, h, w));
    kernels.disturb(patches.grey(), &seen, &mut image);
    let labels = kernels.label(patches.labels(), &seen, [h, w], classes)?;
    Ok((image, labels))
}

/// The score of a network on patches, in evaluation mode.
///
/// # Errors
/// What patches say; data: a loss that is not finite; again where it is interrupted.
pub fn validate<K: Kernels>(
    network: &Network,
    patches: &dyn Patches,
    class_weights: &[f32],
    kernels: &K,
) -> Result<Score> {
    let (plan, mut workspace, classes) = (Plan::new(network), Workspace::default(), network.config.classes);
    let [h, w] = patches.size();
    let mut gradient: Maps<Lane> = Maps::zeros(Shape::new(1, classes, h, w));
    let (mut loss, mut weight, mut labelled, mut correct) = (0.0, 0.0, 0, 0);
    // Pixels of a class in the labels, in the prediction, in both.
    let mut pixels = vec![[0u64; 3]; classes];
    for i in 0..patches.len() {
        check_interrupt()?;
        let (image, labels) = gather(kernels, patches, &[i], Turn::default(), classes)?;
        let logits = plan.run(kernels, &image, &mut workspace, |_| ());
        let total = labels.weigh(class_weights);
        let found = kernels.cross_entropy(&logits, labels.all(), class_weights, total, &mut gradient);
        kernels.check()?;
        if !found.loss.is_finite() {
            return Err(Error::data(format!("the loss of validation patch {i} is not finite"))
                .help("the weights have grown too large, or the patch's grey values are far from those of training"));
        }
        loss += found.loss * total;
        weight += total;
        labelled += found.labelled;
        correct += found.correct;
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            let Ok(label) = usize::try_from(labels.numbers()[y * w + x]) else { continue };
            let most =
                (1..classes).fold(0, |most, k| if logits.at(0, k, y, x) > logits.at(0, most, y, x) { k } else { most });
            pixels[label][0] += 1;
            pixels[most][1] += 1;
            pixels[label][2] += u64::from(label == most);
        }
        workspace.give(logits);
    }
    let iou = |[label, found, both]: &[u64; 3]| {
        let union = label + found - both;
        (union > 0).then(|| *both as f64 / union as f64)
    };
    Ok(Score {
        loss: if weight > 0.0 { loss / weight } else { 0.0 },
        accuracy: correct as f64 / (labelled as f64).max(1.0),
        iou: pixels.iter().map(iou).collect(),
    })
}

#[cfg(test)]
mod tests;
