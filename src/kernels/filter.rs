//! L2. The weights of a convolution, as the kernels read them.
//!
//! ```text
//! [output channel / 16][tap kh·k + kw][input slot][output channel % 16]
//! ```
//!
//! Input slots are the channels of all sources in their order, each source filled up to whole positions
//! ([`super::maps::Pixel::CHANNELS`]); idle slots and lanes are +0. Gradients, moments and the optimizer keep this
//! order, so nothing is packed between two steps but [`Filter::swapped`].

use super::buffer::Buffer;
use super::maps::Pixel;
use super::stencil::Window;
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use rayon::prelude::*;

/// What a filter's numbers mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterShape {
    /// Kernel, stride, direction.
    pub window: Window,
    /// Channels of each source.
    pub inputs: Vec<usize>,
    /// Output channels.
    pub outputs: usize,
    /// Channels of a position of the input: 1 or 16.
    pub position: usize,
}

impl FilterShape {
    /// A filter of maps of `P`.
    pub fn new<P: Pixel>(window: Window, inputs: &[usize], outputs: usize) -> FilterShape {
        FilterShape { window, inputs: inputs.to_vec(), outputs, position: P::CHANNELS }
    }
    /// k².
    pub fn taps(&self) -> usize {
        self.window.k * self.window.k
    }
    /// Input slots.
    pub fn slots(&self) -> usize {
        self.inputs.iter().map(|c| c.next_multiple_of(self.position)).sum()
    }
    /// Groups of sixteen output channels.
    pub fn groups(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }
    /// Lanes of a filter.
    pub fn len(&self) -> usize {
        self.groups() * self.per_group()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Lanes of a group of output channels.
    pub fn per_group(&self) -> usize {
        self.taps() * self.slots()
    }
    /// The shape that PyTorch gives: \[out, in, k, k\], of a transposed convolution \[in, out, k, k\].
    pub fn torch(&self) -> Vec<usize> {
        let (i, o, k) = (self.inputs.iter().sum(), self.outputs, self.window.k);
        if self.window.transposed { vec![i, o, k, k] } else { vec![o, i, k, k] }
    }
    /// Where PyTorch's number `index` stands: lane vector, lane.
    fn place(&self, index: usize) -> (usize, usize) {
        let inputs: usize = self.inputs.iter().sum();
        let (tap, pair) = (index % self.taps(), index / self.taps());
        let (output, mut input) = match self.window.transposed {
            true => (pair % self.outputs, pair / self.outputs),
            false => (pair / inputs, pair % inputs),
        };
        let mut slot = 0;
        for &c in &self.inputs {
            if input < c {
                break;
            }
            input -= c;
            slot += c.next_multiple_of(self.position);
        }
        ((output / LANES * self.taps() + tap) * self.slots() + slot + input, output % LANES)
    }
    /// Packs PyTorch's numbers.
    pub fn pack(&self, values: &[f32]) -> Vec<Lane> {
        let mut data = vec![Lane::ZERO; self.len()];
        for (index, &v) in values.iter().enumerate() {
            let (at, lane) = self.place(index);
            data[at].0[lane] = v;
        }
        data
    }
    /// PyTorch's numbers, of which there are the product of [`FilterShape::torch`].
    pub fn unpack(&self, data: &[Lane]) -> Vec<f32> {
        let place = |index| {
            let (at, lane) = self.place(index);
            data[at].0[lane]
        };
        (0..self.torch().iter().product()).into_par_iter().map(place).collect()
    }
    /// The filter with inputs and outputs exchanged, for the gradient by x: \[input slot / 16\]\[tap\]\[output
    /// channel\] \[input slot % 16\].
    ///
    /// # Panics
    /// Unless the input's positions are [`Lane`]s.
    pub fn swapped(&self, isa: Isa, data: &[Lane], to: &mut Buffer<Lane>) {
        assert_eq!(self.position, LANES, "only blocked inputs have a gradient");
        let (taps, groups, outputs) = (self.taps(), self.groups(), self.groups() * LANES);
        to.resize(data.len());
        to.par_chunks_mut(outputs).enumerate().for_each(|(row, to)| {
            let (slots, tap) = (row / taps, row % taps);
            for group in 0..groups {
                let from = (group * taps + tap) * self.slots() + slots * LANES;
                if let ([block], _) = to[group * LANES..].as_chunks_mut::<LANES>().0.split_at_mut(1) {
                    block.copy_from_slice(&data[from..from + LANES]);
                    isa.run(Turn(block));
                }
            }
        });
    }
}

struct Turn<'a>(&'a mut [Lane; LANES]);

impl Kernel for Turn<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        V::transpose(self.0);
    }
}
