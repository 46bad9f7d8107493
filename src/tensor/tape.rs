//! L3. The tape: every step of a forward pass is written down, and [`Tape::backward`] reads it from the end and
//! consumes it.
//!
//! Three steps make the network; a [`Var`] is the value that one left.
//!
//! | step | forward | gradients that it passes on |
//! |---|---|---|
//! | convolution | y = w ∗ (x₁, x₂ …) + b + r | xᵢ: wᵀ ∗ dy; w: Σ dy·x; b: Σ dy; r: dy |
//! | activation | z = PReLU(m·(scale·x + shift)) + r, scale and shift of the batch | x, γ, β, a: [`crate::kernels::batchnorm`]; r: dz |
//! | max-pooling | y = max of 2×2 | x: dy where x was the maximum |
//!
//! A value's gradient is written by the first who contributes and added to by the others, in the order of the tape
//! from its end. Concatenation is no step: a convolution takes several sources. What a step needs for its gradient it
//! keeps in its fields: dropout keeps three numbers, not a mask.
//!
//! The gradient of a bias in front of a BatchNorm is 0, because the mean takes it away again; it is not computed
//! (rounding would make noise of it, and Adam steps of the noise).

use super::parameter::Parameter;
use super::pool::Pool;
use crate::error::Result;
use crate::kernels::Kernels;
use crate::kernels::buffer::{Buffer, View};
use crate::kernels::conv::{Add, Convolution};
use crate::kernels::dropout::Dropout;
use crate::kernels::filter::FilterShape;
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::stencil::{Stencil, Window};
use crate::kernels::step::{ByParameters, Given, Normalised};
use crate::kernels::weight_gradient::WeightGradient;
use crate::num::lanes::{LANES, Lane};
use crate::os::check_interrupt;

/// A value on the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var(u32);

/// What a convolution reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The grey image.
    Image,
    /// Values, channels one after the other.
    Vars(Vec<Var>),
}

/// Numbers of a convolution: indices of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Its filter.
    pub filter: usize,
    /// Its bias.
    pub bias: usize,
    /// Whether a BatchNorm follows, so that the bias has no gradient.
    pub normalised: bool,
}

/// Numbers of an activation: indices of parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// γ, and behind it β; none does not normalise.
    pub norm: Option<[usize; 2]>,
    /// a; none is 1, the identity.
    pub slope: Option<usize>,
    /// Dropout.
    pub dropout: Option<Dropout>,
}

/// A step, with what its gradient needs.
enum Op {
    Convolution { x: Source, weights: Weights, residual: Option<Var> },
    Activation { x: Var, layer: Layer, made: Normalised, residual: Option<Var> },
    MaxPool { x: Var },
}

/// Values and the steps that made them.
pub struct Tape<'a, K> {
    kernels: &'a K,
    parameters: &'a [Parameter],
    image: &'a Maps<f32>,
    pool: &'a mut Pool,
    steps: Vec<(Op, Maps<Lane>)>,
}

/// A layer's parameters.
fn given<'a>(parameters: &'a [Parameter], layer: &Layer) -> Given<'a> {
    let of = |p: usize| &parameters[p].values;
    Given { norm: layer.norm.map(|n| n.map(of)), slope: layer.slope.map(of), dropout: layer.dropout }
}

impl<'a, K: Kernels> Tape<'a, K> {
    /// An empty tape over parameters and an image.
    pub fn new(kernels: &'a K, parameters: &'a [Parameter], image: &'a Maps<f32>, pool: &'a mut Pool) -> Self {
        Tape { kernels, parameters, image, pool, steps: Vec::new() }
    }

    /// Memory for maps, to be overwritten.
    pub fn take(&mut self, shape: Shape) -> Maps<Lane> {
        self.pool.take(shape)
    }

    /// The maps of a value.
    pub fn value(&self, v: Var) -> &Maps<Lane> {
        &self.steps[v.0 as usize].1
    }

    fn push(&mut self, op: Op, value: Maps<Lane>) -> Var {
        self.steps.push((op, value));
        Var(self.steps.len() as u32 - 1)
    }

    /// y = w ∗ x + b (+ residual); of the last of a network, y are logits.
    pub fn convolution(&mut self, x: Source, weights: Weights, residual: Option<Var>, last: bool) -> Var {
        let (filter, bias) = (&self.parameters[weights.filter], View::from(&self.parameters[weights.bias].values));
        let shape = filter.filter();
        let from = match &x {
            Source::Image => self.image.shape(),
            Source::Vars(vars) => self.value(vars[0]).shape(),
        };
        let (h, w) = (shape.window.output(from.h), shape.window.output(from.w));
        let mut y = self.pool.take(Shape::new(from.n, shape.outputs, h, w));
        let add = residual.map_or(Add::Nothing, |r| Add::Maps(self.value(r)));
        let stencils = shape.window.forward();
        let (stencils, weights_of) = (&stencils[..], View::from(&filter.values));
        match &x {
            Source::Image => {
                let sources = &[self.image][..];
                let call = Convolution { sources, stencils, weights: weights_of, bias, slope: None, add };
                self.kernels.convolve(&call, &mut y);
            }
            Source::Vars(vars) => {
                let sources: Vec<_> = vars.iter().map(|&v| self.value(v)).collect();
                let call = Convolution { sources: &sources, stencils, weights: weights_of, bias, slope: None, add };
                if last {
                    self.kernels.logits(&call, &mut y);
                } else {
                    self.kernels.convolve(&call, &mut y);
                }
            }
        }
        self.push(Op::Convolution { x, weights, residual }, y)
    }

    /// z = PReLU(dropout(BatchNorm(x))) (+ residual), with the statistics of the batch.
    pub fn activation(&mut self, x: Var, layer: Layer, residual: Option<Var>) -> Var {
        let mut z = self.pool.take(self.value(x).shape());
        let given = given(self.parameters, &layer);
        let made = self.kernels.normalise(&given, self.value(x), residual.map(|r| self.value(r)), &mut z);
        self.push(Op::Activation { x, layer, made, residual }, z)
    }

    /// The largest of 2×2.
    pub fn max_pool(&mut self, x: Var) -> Var {
        let s = self.value(x).shape();
        let mut y = self.pool.take(Shape { h: s.h / 2, w: s.w / 2, ..s });
        self.kernels.max_pool(self.value(x), &mut y);
        self.push(Op::MaxPool { x }, y)
    }

    /// What the batch made of every BatchNorm so far, by the index of its γ.
    pub fn normalised(&self) -> Vec<(usize, Normalised)> {
        let of = |(op, _): &(Op, _)| match op {
            Op::Activation { layer: Layer { norm: Some([gamma, _]), .. }, made, .. } => Some((*gamma, made.clone())),
            _ => None,
        };
        self.steps.iter().filter_map(of).collect()
    }

    /// The gradients of all parameters, in their order; of those that are not trained, nothing. `dy` is the gradient by
    /// the last value.
    ///
    /// # Errors
    /// [`Fault::Again`](crate::error::Fault::Again) when interrupted.
    pub fn backward(self, dy: Maps<Lane>, gradients: &mut [Buffer<Lane>]) -> Result<()> {
        let Tape { kernels, parameters, image, pool, mut steps } = self;
        let mut of_values: Vec<Option<Maps<Lane>>> = steps.iter().map(|_| None).collect();
        if let Some(last) = of_values.last_mut() {
            *last = Some(dy);
        }
        let mut swapped = Buffer::default();
        while let Some((op, value)) = steps.pop() {
            check_interrupt()?;
            let at = steps.len();
            // A value that nobody used has no gradient, nor has what made it.
            let Some(dy) = of_values[at].take() else {
                pool.give(value);
                continue;
            };
            match op {
                // y = w ∗ x + b + r
                Op::Convolution { x, weights, residual } => {
                    let filter = parameters[weights.filter].filter();
                    let bias = &mut gradients[weights.bias];
                    if weights.normalised {
                        kernels.clear(bias);
                    } else {
                        kernels.bias_gradient(&dy, bias);
                    }
                    match &x {
                        Source::Image => {
                            let call = WeightGradient { sources: &[image], dy: &dy, filter };
                            kernels.weight_gradient(&call, &mut gradients[weights.filter]);
                        }
                        Source::Vars(vars) => {
                            let sources: Vec<_> = vars.iter().map(|v| &steps[v.0 as usize].1).collect();
                            weight_gradient(kernels, &sources, &dy, filter, &mut gradients[weights.filter]);
                            kernels.swap(filter, &parameters[weights.filter].values, &mut swapped);
                            let stencils = filter.window.backward();
                            let mut first = 0;
                            for v in vars {
                                let shape = steps[v.0 as usize].1.shape();
                                let lanes = lanes_of_source(filter, shape.c);
                                let weights = swapped.view(first..first + lanes);
                                pass_on(kernels, pool, &mut of_values[v.0 as usize], shape, &stencils, weights, &dy);
                                first += lanes;
                            }
                        }
                    }
                    hand_over(kernels, pool, &mut of_values, residual, dy);
                }
                // z = PReLU(m·(scale·x + shift)) + r
                Op::Activation { x, layer, made, residual } => {
                    let from = &steps[x.0 as usize].1;
                    let mut dx = pool.take(from.shape());
                    // Borrowed one by one, and given back.
                    let mut take = |p: usize| std::mem::take(&mut gradients[p]);
                    let (mut norm, mut slope) = (layer.norm.map(|n| n.map(&mut take)), layer.slope.map(&mut take));
                    let to = ByParameters { norm: norm.as_mut().map(|n| n.each_mut()), slope: slope.as_mut() };
                    kernels.normalise_gradient(&given(parameters, &layer), &made, [from, &dy], to, &mut dx);
                    let taken = layer.norm.into_iter().flatten().chain(layer.slope);
                    taken.zip(norm.into_iter().flatten().chain(slope)).for_each(|(p, g)| gradients[p] = g);
                    hand_over(kernels, pool, &mut of_values, Some(x), dx);
                    hand_over(kernels, pool, &mut of_values, residual, dy);
                }
                // y = max of 2×2 of x
                Op::MaxPool { x } => {
                    let from = &steps[x.0 as usize].1;
                    let mut dx = pool.take(from.shape());
                    kernels.max_pool_gradient(from, &dy, &mut dx);
                    pool.give(dy);
                    hand_over(kernels, pool, &mut of_values, Some(x), dx);
                }
            }
            pool.give(value);
        }
        Ok(())
    }
}

/// Gradient by the weights. With few outputs most lanes would idle where they are outputs: there a transposed convolution's is that of its
/// adjoint, a strided convolution of dy to x, whose lanes are the inputs. Every weight is the same sum in the same
/// order.
fn weight_gradient<K: Kernels>(
    kernels: &K,
    sources: &[&Maps<Lane>],
    dy: &Maps<Lane>,
    filter: &FilterShape,
    dw: &mut Buffer<Lane>,
) {
    if !kernels.lanes_are_outputs() || !filter.window.transposed || filter.outputs >= LANES {
        return kernels.weight_gradient(&WeightGradient { sources, dy, filter }, dw);
    }
    let (mut turned, mut first) = (Buffer::default(), 0);
    for x in sources {
        let window = Window::convolution(filter.window.k, filter.window.stride);
        let adjoint = FilterShape::new::<Lane>(window, &[filter.outputs], x.shape().c);
        let mut dw_adjoint = Buffer::zeros(adjoint.len());
        kernels.weight_gradient(&WeightGradient { sources: &[dy], dy: x, filter: &adjoint }, &mut dw_adjoint);
        kernels.swap(&adjoint, &dw_adjoint, &mut turned);
        let slots = x.shape().c.next_multiple_of(LANES);
        for (tap, turned) in turned.chunks(slots).enumerate() {
            dw[tap * filter.slots() + first..][..slots].copy_from_slice(turned);
        }
        first += slots;
    }
}

/// Lanes of the swapped filter that give the gradient by a source of c channels.
fn lanes_of_source(filter: &FilterShape, c: usize) -> usize {
    c.div_ceil(LANES) * filter.taps() * filter.groups() * LANES
}

/// Adds wᵀ ∗ dy to a value's gradient.
fn pass_on<K: Kernels>(
    kernels: &K,
    pool: &mut Pool,
    to: &mut Option<Maps<Lane>>,
    shape: Shape,
    stencils: &[Stencil],
    weights: View,
    dy: &Maps<Lane>,
) {
    let add = if to.is_some() { Add::Output } else { Add::Nothing };
    let call = Convolution { sources: &[dy], stencils, weights, bias: View::nothing(), slope: None, add };
    kernels.convolve(&call, to.get_or_insert_with(|| pool.take(shape)));
}

/// Adds maps to a value's gradient, or makes them it.
fn hand_over<K: Kernels>(
    kernels: &K,
    pool: &mut Pool,
    of_values: &mut [Option<Maps<Lane>>],
    to: Option<Var>,
    maps: Maps<Lane>,
) {
    let Some(to) = to.map(|v| &mut of_values[v.0 as usize]) else { return pool.give(maps) };
    *to = Some(match to.take() {
        None => maps,
        Some(there) => {
            let mut sum = pool.take(maps.shape());
            kernels.add(&maps, &there, &mut sum);
            pool.give(maps);
            pool.give(there);
            sum
        }
    });
}
