//! L4. Inference that may differ from the definition: feature maps and weights as bf16, sums in f32. It is meant for
//! machines that multiply pairs of bf16 ([`Isa::has_halves`]); how far each convolution is from the exact one is
//! bounded in [`crate::kernels::halves`]. The first convolution, of the grey image, is computed in f32; logits are f32.

use super::infer::{Call, Plan, What, Workspace};
use super::network::{Network, Value};
use crate::kernels::Kernels;
use crate::kernels::buffer::View;
use crate::kernels::conv::{Add, Convolution};
use crate::kernels::halves::{self, Half};
use crate::kernels::maps::{Maps, Shape};
use crate::num::lanes::{Isa, Lane};

/// A network made ready.
pub struct FastPlan {
    /// Calls; weights in f32 are there for the image's convolution alone.
    pub plan: Plan,
    /// Weights of each call that reads feature maps, in pairs.
    pairs: Vec<Vec<Lane>>,
}

/// Memory that a plan uses again from image to image.
#[derive(Default)]
pub struct FastWorkspace {
    halves: Workspace<Half>,
    logits: Option<Maps<Lane>>,
}

impl FastWorkspace {
    /// Gives logits back, to be used again.
    pub fn give(&mut self, logits: Maps<Lane>) {
        self.logits = Some(logits);
    }
}

impl FastPlan {
    /// Rounds the weights of a plan; those in f32 are given up.
    pub fn new(mut plan: Plan) -> FastPlan {
        let pairs = plan.calls.iter_mut().map(|call| match &mut call.what {
            What::Convolution { from, weights, .. } if from[0] > 0 => halves::pairs(&std::mem::take(weights)),
            _ => Vec::new(),
        });
        FastPlan { pairs: pairs.collect(), plan }
    }

    /// Logits of images whose rows and columns are multiples of [`super::config::Config::multiple`]. `seen` is called
    /// after each call with its number.
    pub fn run(
        &self,
        isa: Isa,
        image: &Maps<f32>,
        memory: &mut FastWorkspace,
        mut seen: impl FnMut(usize),
    ) -> Maps<Lane> {
        let mut values: Vec<Option<Maps<Half>>> = self.plan.channels.iter().map(|_| None).collect();
        let mut logits = None;
        memory.halves.plan(&self.plan, image.shape());
        for (number, call) in self.plan.calls.iter().enumerate() {
            let shape = self.plan.shape_of(call, |v| values[v].as_ref().map_or(image.shape(), Maps::shape));
            let value = |v: Value| values[v].as_ref().expect("a value is made before it is read");
            let mut out = memory.halves.take(call.to, shape);
            match &call.what {
                What::Convolution { from, weights, bias, stencils, slope, add, .. } => {
                    let (weights, bias) = (weights.into(), bias.into());
                    let (slope, add) = (*slope, add.map_or(Add::Nothing, |v| Add::Maps(value(v))));
                    if from[0] == 0 {
                        let call = Convolution { sources: &[image], stencils, weights, bias, slope, add };
                        call.run_to_halves(isa, &mut out);
                    } else {
                        let sources: Vec<_> = from.iter().map(|&v| value(v)).collect();
                        let weights = View::from(&self.pairs[number]);
                        let call = Convolution { sources: &sources, stencils, weights, bias, slope, add };
                        if number + 1 < self.plan.calls.len() {
                            call.run_halves(isa, &mut out);
                        } else {
                            let mut wide = match memory.logits.take() {
                                Some(maps) => maps.reshaped(shape),
                                None => Maps::zeros(shape),
                            };
                            call.run_halves(isa, &mut wide);
                            logits = Some(wide);
                        }
                    }
                }
                What::Activation { from, numbers, add, .. } => {
                    halves::each(value(*from), add.map(value), &mut out, |g, x, r| {
                        let (scale, shift) = (&numbers.scale[g], &numbers.shift[g]);
                        let of = |l: usize| {
                            let u = x.0[l].mul_add(scale.0[l], shift.0[l]);
                            (if u < 0.0 { numbers.slope * u } else { u }) + r.0[l]
                        };
                        Lane(std::array::from_fn(of))
                    });
                }
                What::MaxPool { from } => halves::max_pool(value(*from), &mut out),
            }
            for &v in &call.last_read {
                if let Some(maps) = values[v].take() {
                    memory.halves.put(v, maps);
                }
            }
            values[call.to] = Some(out);
            seen(number);
        }
        for (v, maps) in values.into_iter().enumerate() {
            if let Some(maps) = maps {
                memory.halves.put(v, maps);
            }
        }
        logits.expect("a network ends with a convolution of feature maps")
    }
}

/// A network made ready for inference in either way, with its memory.
pub enum Ready {
    /// To the bit.
    Strict(Plan, Workspace),
    /// Near it.
    Fast(FastPlan, FastWorkspace),
}

impl Ready {
    /// A network made ready.
    pub fn new(network: &Network, fast: bool) -> Ready {
        let plan = Plan::new(network);
        if fast {
            Ready::Fast(FastPlan::new(plan), FastWorkspace::default())
        } else {
            Ready::Strict(plan, Workspace::default())
        }
    }
    /// Bytes of all values for images of a shape.
    pub fn memory(&self, image: Shape) -> u64 {
        match self {
            Ready::Strict(plan, _) => plan.memory::<Lane>(image),
            Ready::Fast(fast, _) => fast.plan.memory::<Half>(image),
        }
    }
    /// The calls of its plan.
    pub fn calls(&self) -> &[Call] {
        match self {
            Ready::Strict(plan, _) => &plan.calls,
            Ready::Fast(fast, _) => &fast.plan.calls,
        }
    }
    /// Logits of images; see [`Plan::run`], which takes the kernels, and [`FastPlan::run`], which is of the CPU.
    pub fn run<K: Kernels>(&mut self, kernels: &K, isa: Isa, image: &Maps<f32>, seen: impl FnMut(usize)) -> Maps<Lane> {
        match self {
            Ready::Strict(plan, memory) => plan.run(kernels, image, memory, seen),
            Ready::Fast(fast, memory) => fast.run(isa, image, memory, seen),
        }
    }
    /// Gives logits back, to be used again.
    pub fn give(&mut self, logits: Maps<Lane>) {
        match self {
            Ready::Strict(_, memory) => memory.give(logits),
            Ready::Fast(_, memory) => memory.give(logits),
        }
    }
}
