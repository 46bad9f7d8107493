//! A network of which numbers are dropped: what it says differs from pass to pass, by as much as it is unsure.
//!
//! ```text
//! passes one behind the other     their probabilities are averaged: crate::kernels::uncertainty
//! mean of logits                  l_k = Σ_t l_k,t / T, t ascending, f32: the authors' way
//! ```
//!
//! The logits of a pass are added up where they were computed, behind those of the pass before; nobody waits between passes,
//! but where BatchNorm takes the moments of the window itself on a strict GPU, which asks for them.

use crate::error::Result;
use crate::kernels::Kernels;
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::windows::{Part, Sliding};
use crate::nn::infer::{Plan, Workspace};
use crate::nn::network::Network;
use crate::num::lanes::Lane;
use crate::segment::windows::{Add, Logits};

/// A network of which numbers are dropped, pass after pass; its logits are those of all passes, one behind the other. The
/// masks of a pass are the same in every window: it is one network, drawn at random, over the whole volume.
pub struct Dropping<K> {
    plan: Plan,
    kernels: K,
    workspace: Workspace,
    classes: usize,
    inputs: usize,
    passes: usize,
    p: f64,
    seed: u64,
    /// The mean of the passes' logits, where it is all that is told.
    mean: Option<Maps<Lane>>,
}

impl<K: Kernels> Dropping<K> {
    /// A network ready for `passes` passes with dropout `p`; BatchNorm takes the moments of the window itself where `of_batch`
    /// says so, see [`Plan::with_dropout`].
    pub fn new(network: &Network, kernels: K, passes: usize, p: f64, seed: u64, of_batch: bool) -> Dropping<K> {
        let (classes, inputs) = (network.config.classes, network.config.inputs);
        let (plan, workspace) = (Plan::with_dropout(network, of_batch), Workspace::default());
        Dropping { plan, kernels, workspace, classes, inputs, passes, p, seed, mean: None }
    }

    /// The same, but that its logits are the means of the passes' logits, summed in their order: one set, as the authors'
    /// code has it, of which nobody can tell what the passes differ about.
    #[must_use]
    pub fn of_mean_logits(self) -> Dropping<K> {
        Dropping { mean: Some(Maps::zeros(Shape::new(0, 0, 0, 0))), ..self }
    }
}

impl<K: Kernels> Logits for Dropping<K> {
    fn classes(&self) -> usize {
        self.classes * Logits::passes(self)
    }
    fn inputs(&self) -> usize {
        self.inputs
    }
    fn passes(&self) -> usize {
        if self.mean.is_some() { 1 } else { self.passes }
    }
    fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()> {
        let sliding = self.kernels.sliding();
        // A window alone, so that its masks do not depend on what it is computed with.
        for sample in 0..windows.shape().n {
            let window = self.kernels.samples(windows, sample..sample + 1);
            for pass in 0..self.passes {
                self.plan.drop(self.p, self.seed, pass as u32);
                let logits = self.plan.run(&self.kernels, &window, &mut self.workspace, |_| ());
                match &mut self.mean {
                    None => add(sliding, Part { logits: &logits, sample, first: pass * self.classes })?,
                    Some(mean) => {
                        if mean.shape() != logits.shape() {
                            *mean = Maps::zeros(logits.shape());
                        }
                        sliding.mean(&logits, pass, self.passes, mean);
                    }
                }
                self.workspace.give(logits);
            }
            if let Some(logits) = &self.mean {
                add(sliding, Part { logits, sample, first: 0 })?;
            }
            self.kernels.so_far()?;
        }
        Ok(())
    }
    fn sliding(&self) -> &dyn Sliding {
        self.kernels.sliding()
    }
}
