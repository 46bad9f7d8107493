//! L2. Every kernel of the network: its definition and its fast version, which give the same bits.
//!
//! | file | what |
//! |---|---|
//! | [`buffer`] | where numbers are: here, on a device, or both |
//! | [`labels`] | labels of a batch, and how many pixels carry each |
//! | [`maps`] | how feature maps lie in memory: sixteen channels side by side, planes with a border of zeros |
//! | [`filter`] | how weights lie in memory |
//! | [`stencil`] | which inputs an output of a convolution sees |
//! | [`conv`] | convolution, strided and transposed: y, gradient by x |
//! | [`narrow`] | the same for few outputs |
//! | [`halves`] | the same of numbers of 16 bits: fast, and not identical to the bit |
//! | [`weight_gradient`] | its gradient by the weights |
//! | [`batchnorm`] | BatchNorm, dropout, PReLU and residual in one pass, and backward in two |
//! | [`dropout`] | the mask as a function of seed, layer, step and place |
//! | [`pool`] | max-pooling |
//! | [`cross_entropy`] | softmax cross-entropy with class weights and unlabelled pixels |
//! | [`adam`] | the optimizer |
//! | [`augment`] | patches disturbed, a batch of them |
//! | [`windows`] | sliding windows: cut, their logits added up, what is told of the sums |
//! | [`uncertainty`] | what is told of a pixel: its class, and how sure it is |
//! | [`step`] | what stands between passes over pixels, and steps that a device computes by itself |
//!
//! [`Kernels`] lists them. [`Reference`] is the definition, one number after the other; [`Cpu`] uses lanes and
//! threads; `cuda::Cuda` (feature `cuda`) a GPU, with the kernels of `kernels/*.cu`; and [`Twin`] runs two of them and keeps the first bit in which they differ: the tool of an audit.
//!
//! Kernels know no network and no file; what shapes fit together is checked by who calls them.

pub mod adam;
pub mod augment;
pub mod batchnorm;
pub mod buffer;
pub mod conv;
pub mod cross_entropy;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod dropout;
pub mod filter;
pub mod halves;
pub mod labels;
pub mod maps;
mod narrow;
pub mod pool;
pub mod stencil;
pub mod step;
#[cfg(test)]
mod tests;
mod twin;
pub mod uncertainty;
pub mod weight_gradient;
pub mod windows;

use crate::error::Result;
use crate::num::lanes::{Isa, LANES, Lane};
use adam::Adam;
use augment::Seen;
use batchnorm::{Activation, Backward, GradientSums, Moments};
use buffer::Buffer;
use conv::Convolution;
use cross_entropy::Loss;
use filter::FilterShape;
use labels::{Labels, Part};
use maps::{Maps, Pixel};
use rayon::prelude::*;
use std::ops::Range;
use step::{ByParameters, Given, Normalised, Steps};
pub use twin::Twin;
use weight_gradient::WeightGradient;
use windows::{Here, Sliding};

/// Every computation of the network. Outputs are overwritten, but for [`conv::Add::Output`].
pub trait Kernels: Sync {
    /// y, or the gradient by x: [`conv`].
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>);
    /// The same of the network's last convolution: its outputs are logits, which keep f32 on every device.
    fn logits<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        self.convolve(call, y);
    }
    /// Gradient by the weights: [`conv`].
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>);
    /// Σ x per channel.
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64>;
    /// Count, mean and squares per channel: [`batchnorm`].
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments>;
    /// Normalised, dropped, activated, added to a residual: [`batchnorm`].
    fn activate(&self, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>);
    /// The sums that its gradients take.
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums>;
    /// Its gradient by x.
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>);
    /// An activation with the statistics of the batch: z, and what its gradient takes.
    fn normalise(
        &self,
        given: &Given,
        x: &Maps<Lane>,
        residual: Option<&Maps<Lane>>,
        z: &mut Maps<Lane>,
    ) -> Normalised {
        step::normalise(self, given, x, residual, z)
    }
    /// Its gradient by x and by its parameters.
    fn normalise_gradient(
        &self,
        given: &Given,
        made: &Normalised,
        x_dz: [&Maps<Lane>; 2],
        to: ByParameters,
        dx: &mut Maps<Lane>,
    ) {
        step::gradient(self, given, made, x_dz, to, dx);
    }
    /// Σ dy per channel: gradient by a bias.
    fn bias_gradient(&self, dy: &Maps<Lane>, db: &mut Buffer<Lane>) {
        step::put_channels(db, self.sums(dy).into_iter());
    }
    /// sum = a + b.
    fn add(&self, a: &Maps<Lane>, b: &Maps<Lane>, sum: &mut Maps<Lane>) {
        self.activate(&Activation::identity(a.shape().c, 1.0, None), a, Some(b), sum);
    }
    /// The largest of 2×2: [`pool`].
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>);
    /// Its gradient.
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>);
    /// Loss and its gradient by the logits: [`cross_entropy`].
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss;
    /// One step of one tensor: [`adam`].
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>);
    /// A filter with its roles exchanged: [`FilterShape::swapped`]. Moves numbers and changes none.
    fn swap(&self, filter: &FilterShape, from: &Buffer<Lane>, to: &mut Buffer<Lane>) {
        filter.swapped(Isa::scalar(), from, to);
    }
    /// sum + x, number by number: gradients of leaves.
    fn accumulate(&self, sum: &mut Buffer<Lane>, x: &Buffer<Lane>) {
        for (sum, x) in sum.iter_mut().zip(x) {
            (0..LANES).for_each(|l| sum.0[l] += x.0[l]);
        }
    }
    /// x ← 0.
    fn clear(&self, x: &mut Buffer<Lane>) {
        x.fill(Lane::ZERO);
    }
    /// Whether no number is NaN or infinite.
    fn all_finite(&self, x: &Buffer<Lane>) -> bool {
        x.par_iter().all(|x| x.0.iter().all(|v| v.is_finite()))
    }
    /// Whether lanes are output channels, so that a gradient by the weights of few outputs is better made by its adjoint.
    fn lanes_are_outputs(&self) -> bool {
        true
    }
    /// Whether maps keep 16 bits, in which small gradients vanish unless the loss is scaled.
    fn sixteen_bits(&self) -> bool {
        false
    }
    /// x ← factor·x: gradients of a loss that was scaled.
    fn scale(&self, x: &mut Buffer<Lane>, factor: f32) {
        x.iter_mut().for_each(|x| x.0.iter_mut().for_each(|v| *v *= factor));
    }
    /// A batch of patches \[patch\]\[channel\]\[row\]\[column\], each with what happens to it: [`augment`].
    fn disturb(&self, patches: &Buffer<f32>, seen: &[Seen], image: &mut Maps<f32>) {
        augment::disturb(patches, seen, image);
    }
    /// Labels of the same batch, from those of all patches \[patch\]\[row\]\[column\].
    ///
    /// # Errors
    /// Data: a label that is none of the classes.
    fn label(&self, patches: &Buffer<i16>, seen: &[Seen], size: [usize; 2], classes: usize) -> Result<Labels> {
        augment::labels(patches, seen, size, classes)
    }
    /// Some samples of an image.
    fn samples(&self, image: &Maps<f32>, range: Range<usize>) -> Maps<f32> {
        image.samples(range)
    }
    /// Who cuts windows of an image and adds up their logits: [`windows`].
    fn sliding(&self) -> &dyn Sliding {
        &Here
    }
    /// Whether a device has failed, as far as is known without waiting.
    ///
    /// # Errors
    /// As [`Kernels::check`].
    fn so_far(&self) -> Result<()> {
        Ok(())
    }
    /// A device that computes whole steps by itself, if it is one.
    fn steps(&self) -> Option<&dyn Steps> {
        None
    }
    /// Whether everything that was asked for was computed; until here a device may have failed silently.
    ///
    /// # Errors
    /// [`Fault::Device`](crate::error::Fault::Device): the first failure.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The definitions.
pub struct Reference;

/// Lanes and the threads of the current pool.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// Instruction set.
    pub isa: Isa,
}

impl Kernels for Reference {
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        call.reference(y);
    }
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) {
        call.reference(dw);
    }
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64> {
        batchnorm::sums_reference(x)
    }
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments> {
        batchnorm::moments_reference(x)
    }
    fn activate(&self, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
        batchnorm::activate_reference(a, x, residual, z);
    }
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
        batchnorm::gradient_sums_reference(a, x, dz)
    }
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
        batchnorm::gradient_reference(a, b, x, dz, dx);
    }
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>) {
        pool::max_pool_reference(x, y);
    }
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
        pool::gradient_reference(x, dy, dx);
    }
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss {
        cross_entropy::cross_entropy_reference(x, labels, weights, total, dx)
    }
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        adam.reference(p, g, m, v);
    }
}

impl Kernels for Cpu {
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        call.run(self.isa, y);
    }
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) {
        call.run(self.isa, dw);
    }
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64> {
        batchnorm::sums(self.isa, x)
    }
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments> {
        batchnorm::moments(self.isa, x)
    }
    fn activate(&self, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
        batchnorm::activate(self.isa, a, x, residual, z);
    }
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
        batchnorm::gradient_sums(self.isa, a, x, dz)
    }
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
        batchnorm::gradient(self.isa, a, b, x, dz, dx);
    }
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>) {
        pool::max_pool(self.isa, x, y);
    }
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
        pool::gradient(self.isa, x, dy, dx);
    }
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss {
        cross_entropy::cross_entropy(self.isa, x, labels, weights, total, dx)
    }
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        adam.run(self.isa, p, g, m, v);
    }
    fn swap(&self, filter: &FilterShape, from: &Buffer<Lane>, to: &mut Buffer<Lane>) {
        filter.swapped(self.isa, from, to);
    }
}
