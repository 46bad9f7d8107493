//! L4. Inference: logits of images, with the running statistics.
//!
//! A BatchNorm behind a convolution disappears into it, its PReLU and the unit's shortcut into the convolution's end:
//!
//! ```text
//! w' = scale·w,  b' = (b − mean)·scale + β,  scale = γ/√(var + ε)       per output channel, scale and b' rounded once
//! z  = PReLU(w' ∗ x + b') + r
//! ```
//!
//! Where values lie is planned once, see [`super::workspace`].

use super::network::{Network, Step, Value};
pub use super::workspace::Workspace;
use crate::kernels::Kernels;
use crate::kernels::batchnorm::Activation;
use crate::kernels::buffer::Buffer;
use crate::kernels::conv::{Add, Convolution};
use crate::kernels::dropout::Dropout;
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::stencil::{Stencil, Window};
use crate::num::lanes::{LANES, Lane};

/// One call of a kernel, and the value that it makes.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it computes.
    pub what: What,
    /// The value.
    pub to: Value,
    /// Values that nobody reads later.
    pub(super) last_read: Vec<Value>,
}

/// What a call computes.
#[derive(Clone, Debug)]
pub enum What {
    /// Convolution, activation and shortcut.
    Convolution {
        /// Sources.
        from: Vec<Value>,
        /// Index of the filter's parameter.
        filter: usize,
        /// Folded weights.
        weights: Buffer<Lane>,
        /// Folded bias.
        bias: Buffer<Lane>,
        /// Geometry.
        window: Window,
        /// Which inputs an output sees.
        stencils: Vec<Stencil>,
        /// Slope of the PReLU.
        slope: Option<f32>,
        /// Added last.
        add: Option<Value>,
    },
    /// An activation that no convolution takes along.
    Activation {
        /// x.
        from: Value,
        /// Its numbers.
        numbers: Activation,
        /// Its layer of dropout, which [`Plan::drop`] sets.
        layer: Option<u32>,
        /// γ, β and the slope, where the moments are those of x itself and `numbers` holds its dropout alone.
        of_batch: Option<Box<OfBatch>>,
        /// Added last.
        add: Option<Value>,
    },
    /// The largest of 2×2.
    MaxPool {
        /// x.
        from: Value,
    },
}

/// A BatchNorm and its PReLU, whose moments are not known before.
#[derive(Clone, Debug)]
pub struct OfBatch {
    gamma: Vec<Lane>,
    beta: Vec<Lane>,
    slope: f32,
}

/// A network made ready for inference.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In order.
    pub calls: Vec<Call>,
    /// Channels of each value.
    pub(super) channels: Vec<usize>,
}

impl Plan {
    /// Folds a network.
    pub fn new(network: &Network) -> Plan {
        Plan::of(network, false, false)
    }

    /// The same, but that what dropout stands in front of is a call of its own, so that numbers can be dropped
    /// ([`Plan::drop`]) while BatchNorm keeps its running statistics; or, as the authors' prediction has it, takes those of
    /// the images that it is given (`of_batch`).
    pub fn with_dropout(network: &Network, of_batch: bool) -> Plan {
        Plan::of(network, true, of_batch)
    }

    /// Drops numbers with probability p, by the masks of `pass`.
    pub fn drop(&mut self, p: f64, seed: u64, pass: u32) {
        for call in &mut self.calls {
            if let What::Activation { numbers, layer: Some(layer), .. } = &mut call.what {
                numbers.dropout = Dropout::new(p, seed, *layer, pass);
            }
        }
    }

    fn of(network: &Network, drops: bool, of_batch: bool) -> Plan {
        let values = |p: usize| &network.parameters[p].values[..];
        let slope_of = |slope: &Option<usize>| slope.map_or(1.0, |s| values(s)[0].0[0]);
        let mut calls: Vec<Call> = Vec::new();
        for (i, step) in network.steps.iter().enumerate() {
            let what = match step {
                // Folded where its activation stands.
                Step::Convolution { normalised: true, .. } => continue,
                Step::Convolution { from, filter, add, .. } => {
                    let bias = values(filter + 1).to_vec();
                    convolution(network, from, *filter, values(*filter).to_vec(), bias, None, *add)
                }
                Step::MaxPool { from } => What::MaxPool { from: *from },
                Step::Activation { from, norm, slope, add, dropout } => {
                    let (slope, layer) = (slope_of(slope), dropout.filter(|_| drops));
                    let c = network.channels(*from);
                    let numbers = norm.map_or(Activation::identity(c, slope, None), |n| {
                        let of = |p: usize, c: usize| f64::from(values(p)[c / LANES].0[c % LANES]);
                        let statistics: Vec<_> = (0..c).map(|c| (of(n.mean(), c), of(n.variance(), c))).collect();
                        Activation::new(&statistics, values(n.gamma), values(n.beta()), slope, None)
                    });
                    // Values count from the image, steps from the first.
                    let x = *from;
                    let own = norm.filter(|_| of_batch);
                    let own = own.map(|n| {
                        let (gamma, beta) = (values(n.gamma).to_vec(), values(n.beta()).to_vec());
                        Box::new(OfBatch { gamma, beta, slope })
                    });
                    match &network.steps[x - 1] {
                        Step::Convolution { from, filter, normalised: true, .. } => {
                            let mut weights = values(*filter).to_vec();
                            let mut bias = values(filter + 1).to_vec();
                            if own.is_some() {
                                let what = convolution(network, from, *filter, weights, bias, None, None);
                                calls.push(Call { what, to: x, last_read: Vec::new() });
                                let what = What::Activation { from: x, numbers, layer, of_batch: own, add: *add };
                                calls.push(Call { what, to: i + 1, last_read: Vec::new() });
                                continue;
                            }
                            let shape = network.parameters[*filter].filter();
                            for (group, weights) in weights.chunks_mut(shape.per_group()).enumerate() {
                                let scale = numbers.scale[group];
                                weights.iter_mut().for_each(|w| (0..LANES).for_each(|l| w.0[l] *= scale.0[l]));
                            }
                            for (g, b) in bias.iter_mut().enumerate() {
                                let (scale, shift) = (numbers.scale[g], numbers.shift[g]);
                                (0..LANES).for_each(|l| b.0[l] = b.0[l].mul_add(scale.0[l], shift.0[l]));
                            }
                            if layer.is_none() {
                                convolution(network, from, *filter, weights, bias, Some(slope), *add)
                            } else {
                                let what = convolution(network, from, *filter, weights, bias, None, None);
                                // The convolution's own value, between which and this one the mask stands.
                                calls.push(Call { what, to: x, last_read: Vec::new() });
                                What::Activation {
                                    from: x,
                                    numbers: Activation::identity(c, slope, None),
                                    layer,
                                    of_batch: None,
                                    add: *add,
                                }
                            }
                        }
                        _ => What::Activation { from: x, numbers, layer, of_batch: own, add: *add },
                    }
                }
            };
            calls.push(Call { what, to: i + 1, last_read: Vec::new() });
        }
        let mut seen = vec![false; network.steps.len() + 1];
        for call in calls.iter_mut().rev() {
            let reads = call.what.reads();
            call.last_read = reads.into_iter().filter(|&v| v > 0 && !std::mem::replace(&mut seen[v], true)).collect();
        }
        Plan { calls, channels: (0..=network.steps.len()).map(|v| network.channels(v)).collect() }
    }

    /// Shape of what a call makes, from those of what it reads.
    pub(super) fn shape_of(&self, call: &Call, of: impl Fn(Value) -> Shape) -> Shape {
        match &call.what {
            What::Convolution { from, window, .. } => {
                let s = of(from[0]);
                Shape { c: self.channels[call.to], h: window.output(s.h), w: window.output(s.w), ..s }
            }
            What::Activation { from, .. } => of(*from),
            What::MaxPool { from } => {
                let s = of(*from);
                Shape { h: s.h / 2, w: s.w / 2, ..s }
            }
        }
    }

    /// Logits of images whose rows and columns are multiples of [`super::config::Config::multiple`]. `seen` is called
    /// after each call with its number.
    pub fn run<K: Kernels>(
        &self,
        kernels: &K,
        image: &Maps<f32>,
        workspace: &mut Workspace,
        mut seen: impl FnMut(usize),
    ) -> Maps<Lane> {
        workspace.plan(self, image.shape());
        let mut values: Vec<Option<Maps<Lane>>> = self.channels.iter().map(|_| None).collect();
        let shape_of = |values: &[Option<Maps<Lane>>], v: Value| values[v].as_ref().map_or(image.shape(), Maps::shape);
        let mut last = 0;
        for (number, call) in self.calls.iter().enumerate() {
            let value = |v: Value| values[v].as_ref().expect("a value is made before it is read");
            let mut out = workspace.take(call.to, self.shape_of(call, |v| shape_of(&values, v)));
            match &call.what {
                What::Convolution { from, weights, bias, stencils, slope, add, .. } => {
                    let add = add.map_or(Add::Nothing, |v| Add::Maps(value(v)));
                    let (weights, bias) = (weights.into(), bias.into());
                    if from[0] == 0 {
                        let call = Convolution { sources: &[image], stencils, weights, bias, slope: *slope, add };
                        kernels.convolve(&call, &mut out);
                    } else {
                        let sources: Vec<_> = from.iter().map(|&v| value(v)).collect();
                        let call = Convolution { sources: &sources, stencils, weights, bias, slope: *slope, add };
                        if number + 1 == self.calls.len() {
                            kernels.logits(&call, &mut out);
                        } else {
                            kernels.convolve(&call, &mut out);
                        }
                    }
                }
                What::Activation { from, numbers, of_batch, add, .. } => {
                    let own = of_batch.as_ref().map(|of| {
                        let moments = kernels.moments(value(*from));
                        Activation::of_moments(&moments, &of.gamma, &of.beta, of.slope, numbers.dropout)
                    });
                    kernels.activate(own.as_ref().unwrap_or(numbers), value(*from), add.map(value), &mut out);
                }
                What::MaxPool { from } => kernels.max_pool(value(*from), &mut out),
            }
            for &v in &call.last_read {
                if let Some(maps) = values[v].take() {
                    workspace.put(v, maps);
                }
            }
            values[call.to] = Some(out);
            last = call.to;
            seen(number);
        }
        values[last].take().expect("the last call left the logits")
    }
}

fn convolution(
    network: &Network,
    from: &[Value],
    filter: usize,
    weights: Vec<Lane>,
    bias: Vec<Lane>,
    slope: Option<f32>,
    add: Option<Value>,
) -> What {
    let window = network.parameters[filter].filter().window;
    let (weights, bias) = (weights.into(), bias.into());
    What::Convolution { from: from.to_vec(), filter, weights, bias, window, stencils: window.forward(), slope, add }
}

impl What {
    /// The values that it takes.
    pub fn reads(&self) -> Vec<Value> {
        match self {
            What::Convolution { from, add, .. } => from.iter().chain(add).copied().collect(),
            What::Activation { from, add, .. } => [Some(*from), *add].into_iter().flatten().collect(),
            What::MaxPool { from } => vec![*from],
        }
    }
}
