//! L3. A named tensor of a network: weights, or one number per channel.

use crate::kernels::buffer::Buffer;
use crate::kernels::filter::FilterShape;
use crate::num::lanes::{LANES, Lane};

/// What a parameter's numbers mean, and so how they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Weights of a convolution: [`crate::kernels::filter`].
    Filter(FilterShape),
    /// One number per channel, lanes are channels.
    Channels(usize),
}

impl Kind {
    /// The shape that PyTorch gives.
    pub fn torch(&self) -> Vec<usize> {
        match self {
            Kind::Filter(filter) => filter.torch(),
            Kind::Channels(c) => vec![*c],
        }
    }
    /// Lanes in memory.
    pub fn lanes(&self) -> usize {
        match self {
            Kind::Filter(filter) => filter.len(),
            Kind::Channels(c) => c.div_ceil(LANES),
        }
    }
}

/// A named tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in a state dict.
    pub name: String,
    /// What its numbers mean.
    pub kind: Kind,
    /// Its numbers in the kernels' order; idle lanes are +0.
    pub values: Buffer<Lane>,
    /// Whether it has a gradient; running statistics have none.
    pub trained: bool,
}

impl Parameter {
    /// Numbers of PyTorch's tensor of shape [`Kind::torch`], row-major.
    ///
    /// # Panics
    /// If their count is another.
    pub fn set(&mut self, values: &[f32]) {
        self.values = self.pack(values).into();
    }
    /// Numbers as PyTorch orders them, in the parameter's order.
    ///
    /// # Panics
    /// If their count is another.
    pub fn pack(&self, values: &[f32]) -> Vec<Lane> {
        assert_eq!(values.len(), self.kind.torch().iter().product::<usize>(), "numbers of {}", self.name);
        match &self.kind {
            Kind::Filter(filter) => filter.pack(values),
            Kind::Channels(_) => {
                values.chunks(LANES).map(|c| Lane(std::array::from_fn(|l| c.get(l).copied().unwrap_or(0.0)))).collect()
            }
        }
    }
    /// The numbers as PyTorch orders them.
    pub fn get(&self) -> Vec<f32> {
        self.unpack(&self.values)
    }
    /// Numbers in the parameter's order, its gradient perhaps, as PyTorch orders them.
    pub fn unpack(&self, values: &[Lane]) -> Vec<f32> {
        match &self.kind {
            Kind::Filter(filter) => filter.unpack(values),
            Kind::Channels(c) => values.iter().flat_map(|l| l.0).take(*c).collect(),
        }
    }
    /// The filter of a convolution.
    ///
    /// # Panics
    /// If it is none.
    pub fn filter(&self) -> &FilterShape {
        match &self.kind {
            Kind::Filter(filter) => filter,
            Kind::Channels(_) => panic!("{} is no filter", self.name),
        }
    }
}
