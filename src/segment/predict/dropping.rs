//! A network of which numbers are dropped: what it says differs from pass to pass, by as much as it is unsure.
//!
//! ```text
//! passes one behind the other     their probabilities are averaged: super::super::uncertainty
//! mean of logits                  l_k = Σ_t l_k,t / T, t ascending, f32: the authors' way
//! ```

use crate::error::Result;
use crate::kernels::Kernels;
use crate::kernels::maps::Maps;
use crate::nn::infer::{Plan, Workspace};
use crate::nn::network::Network;
use crate::num::lanes::{LANES, Lane};
use crate::segment::windows::Logits;

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
    mean: bool,
}

impl<K: Kernels> Dropping<K> {
    /// A network ready for `passes` passes with dropout `p`; BatchNorm takes the moments of the window itself where `of_batch`
    /// says so, see [`Plan::with_dropout`].
    pub fn new(network: &Network, kernels: K, passes: usize, p: f64, seed: u64, of_batch: bool) -> Dropping<K> {
        let (classes, inputs) = (network.config.classes, network.config.inputs);
        let (plan, workspace) = (Plan::with_dropout(network, of_batch), Workspace::default());
        Dropping { plan, kernels, workspace, classes, inputs, passes, p, seed, mean: false }
    }

    /// The same, but that its logits are the means of the passes' logits, summed in their order: one set, as the authors'
    /// code has it, of which nobody can tell what the passes differ about.
    #[must_use]
    pub fn of_mean_logits(self) -> Dropping<K> {
        Dropping { mean: true, ..self }
    }
}

impl<K: Kernels> Logits for Dropping<K> {
    fn classes(&self) -> usize {
        self.classes * Logits::passes(self)
    }
    fn inputs(&self) -> usize {
        self.inputs
    }
    fn logits(&mut self, windows: &Maps<f32>) -> Result<Maps<Lane>> {
        let shape = windows.shape();
        let mut all: Maps<Lane> = Maps::zeros(shape.with_channels(self.classes()));
        // A window alone, so that its masks do not depend on what it is computed with.
        for n in 0..shape.n {
            let window = windows.samples(n..n + 1);
            for pass in 0..self.passes {
                self.plan.drop(self.p, self.seed, pass as u32);
                let logits = self.plan.run(&self.kernels, &window, &mut self.workspace, |_| ());
                self.kernels.check()?;
                let first = if self.mean { 0 } else { pass * self.classes };
                for (k, y) in (0..self.classes).flat_map(|k| (0..shape.h).map(move |y| (k, y))) {
                    let (from, c) = (logits.row(0, k / LANES, y), first + k);
                    for (to, from) in all.row_mut(n, c / LANES, y).iter_mut().zip(from) {
                        let (to, from) = (&mut to.0[c % LANES], from.0[k % LANES]);
                        *to = match self.mean {
                            false => from,
                            true if pass + 1 == self.passes => (*to + from) / self.passes as f32,
                            true => *to + from,
                        };
                    }
                }
                self.workspace.give(logits);
            }
        }
        Ok(all)
    }
    fn passes(&self) -> usize {
        if self.mean { 1 } else { self.passes }
    }
}
