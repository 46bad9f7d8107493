//! Two implementations in lock-step, and the first bit in which they differ.

use super::adam::Adam;
use super::augment::Seen;
use super::batchnorm::{Activation, Backward, GradientSums, Moments};
use super::buffer::Buffer;
use super::conv::Convolution;
use super::cross_entropy::Loss;
use super::filter::FilterShape;
use super::labels::{Labels, Part};
use super::maps::{Maps, Pixel};
use super::weight_gradient::WeightGradient;
use super::{Kernels, Lane};
use crate::error::Result;
use std::sync::Mutex;

/// Runs two implementations on the same inputs and compares every bit of what they write. Results are those of the
/// first, so that a difference does not grow; calls after a difference are no longer compared.
pub struct Twin<A, B> {
    first: A,
    second: B,
    log: Mutex<Log>,
}

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Calls of kernels.
    pub calls: u64,
    /// Numbers compared.
    pub numbers: u64,
    /// The first difference: which call of which kernel, where, and both numbers.
    pub difference: Option<String>,
}

impl<A: Kernels, B: Kernels> Twin<A, B> {
    /// Two implementations.
    pub fn new(first: A, second: B) -> Twin<A, B> {
        Twin { first, second, log: Mutex::default() }
    }
    /// What was compared until now.
    pub fn record(&self) -> Log {
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
    fn compare<T: Copy + Into<f64>>(&self, kernel: &str, a: impl Iterator<Item = T>, b: impl Iterator<Item = T>) {
        let mut log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        log.calls += 1;
        let (mut a, mut b, mut numbers) = (a, b, 0);
        loop {
            // A conversion from f32 keeps all bits but those of a NaN's payload, which no kernel looks at.
            let (a, b): (Option<f64>, Option<f64>) = (a.next().map(Into::into), b.next().map(Into::into));
            let same = match (a, b) {
                (None, None) => break,
                (Some(a), Some(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
                _ => false,
            };
            if log.difference.is_none() && !same {
                let text = |v: Option<f64>| v.map_or("none".to_string(), |v| format!("{v:e}"));
                let (call, a, b) = (log.calls, text(a), text(b));
                log.difference = Some(format!("call {call} of all, {kernel}, number {numbers}: {a} and {b}"));
            }
            numbers += 1;
        }
        log.numbers += numbers;
    }
    fn compare_lanes(&self, kernel: &str, a: &[Lane], b: &[Lane]) {
        self.compare(kernel, a.iter().flat_map(|l| l.0), b.iter().flat_map(|l| l.0));
    }
}

impl<A: Kernels, B: Kernels> Kernels for Twin<A, B> {
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        let mut other = y.clone();
        self.first.convolve(call, y);
        self.second.convolve(call, &mut other);
        self.compare_lanes("convolution", y.data(), other.data());
    }
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) {
        let mut other = dw.clone();
        self.first.weight_gradient(call, dw);
        self.second.weight_gradient(call, &mut other);
        self.compare_lanes("gradient of a convolution by its weights", dw, &other);
    }
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64> {
        let (a, b) = (self.first.sums(x), self.second.sums(x));
        self.compare("sums of channels", a.iter().copied(), b.iter().copied());
        a
    }
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments> {
        let (a, b) = (self.first.moments(x), self.second.moments(x));
        let numbers = |m: &[Moments]| m.iter().flat_map(|m| [m.n, m.mean, m.m2]).collect::<Vec<_>>().into_iter();
        self.compare("moments of channels", numbers(&a), numbers(&b));
        a
    }
    fn activate(&self, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
        let mut other = z.clone();
        self.first.activate(a, x, residual, z);
        self.second.activate(a, x, residual, &mut other);
        self.compare_lanes("normalisation and activation", z.data(), other.data());
    }
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
        let (first, second) = (self.first.gradient_sums(a, x, dz), self.second.gradient_sums(a, x, dz));
        self.compare(
            "sums of an activation's gradients",
            first.iter().flatten().copied(),
            second.iter().flatten().copied(),
        );
        first
    }
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let mut other = dx.clone();
        self.first.activation_gradient(a, b, x, dz, dx);
        self.second.activation_gradient(a, b, x, dz, &mut other);
        self.compare_lanes("gradient of an activation", dx.data(), other.data());
    }
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>) {
        let mut other = y.clone();
        self.first.max_pool(x, y);
        self.second.max_pool(x, &mut other);
        self.compare_lanes("max-pooling", y.data(), other.data());
    }
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let mut other = dx.clone();
        self.first.max_pool_gradient(x, dy, dx);
        self.second.max_pool_gradient(x, dy, &mut other);
        self.compare_lanes("gradient of max-pooling", dx.data(), other.data());
    }
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss {
        let mut other = dx.clone();
        let a = self.first.cross_entropy(x, labels, weights, total, dx);
        let b = self.second.cross_entropy(x, labels, weights, total, &mut other);
        self.compare_lanes("gradient of cross-entropy", dx.data(), other.data());
        let numbers = |l: Loss| [l.loss, l.labelled as f64, l.correct as f64].into_iter();
        self.compare("cross-entropy", numbers(a), numbers(b));
        a
    }
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        let (mut p2, mut m2, mut v2) = (p.clone(), m.clone(), v.clone());
        self.first.adam(adam, p, g, m, v);
        self.second.adam(adam, &mut p2, g, &mut m2, &mut v2);
        for (a, b) in [(&*p, &p2), (&*m, &m2), (&*v, &v2)] {
            self.compare_lanes("Adam", a, b);
        }
    }
    fn swap(&self, filter: &FilterShape, from: &Buffer<Lane>, to: &mut Buffer<Lane>) {
        let mut other = Buffer::default();
        self.first.swap(filter, from, to);
        self.second.swap(filter, from, &mut other);
        self.compare_lanes("filter with its roles exchanged", to, &other);
    }
    fn accumulate(&self, sum: &mut Buffer<Lane>, x: &Buffer<Lane>) {
        let mut other = sum.clone();
        self.first.accumulate(sum, x);
        self.second.accumulate(&mut other, x);
        self.compare_lanes("sum of leaves", sum, &other);
    }
    fn all_finite(&self, x: &Buffer<Lane>) -> bool {
        let (a, b) = (self.first.all_finite(x), self.second.all_finite(x));
        self.compare("whether all is finite", [u8::from(a)].into_iter(), [u8::from(b)].into_iter());
        a
    }
    fn disturb(&self, patches: &Buffer<f32>, seen: &[Seen], image: &mut Maps<f32>) {
        let mut other = image.clone();
        self.first.disturb(patches, seen, image);
        self.second.disturb(patches, seen, &mut other);
        self.compare("patches of a batch", image.data().iter().copied(), other.data().iter().copied());
    }
    fn label(&self, patches: &Buffer<i16>, seen: &[Seen], size: [usize; 2], classes: usize) -> Result<Labels> {
        let first = self.first.label(patches, seen, size, classes)?;
        let second = self.second.label(patches, seen, size, classes)?;
        self.compare("labels of a batch", first.numbers().iter().copied(), second.numbers().iter().copied());
        let counts = |labels: &Labels| labels.counts().iter().map(|&n| n as f64).collect::<Vec<_>>();
        self.compare("labels of each class", counts(&first).into_iter(), counts(&second).into_iter());
        Ok(first)
    }
    fn lanes_are_outputs(&self) -> bool {
        self.first.lanes_are_outputs()
    }
    fn check(&self) -> Result<()> {
        self.first.check()?;
        self.second.check()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reference;
    use super::*;

    #[test]
    fn the_first_difference_is_told_and_kept() {
        let twin = Twin::new(Reference, Reference);
        let (zero, mut other) = (vec![Lane::ZERO; 2], vec![Lane::ZERO; 2]);
        twin.compare_lanes("a", &zero, &other);
        assert_eq!((twin.record().difference, twin.record().numbers), (None, 32));
        other[1].0[3] = -0.0;
        twin.compare_lanes("b", &zero, &other);
        other[0].0[0] = 1.0;
        twin.compare_lanes("c", &zero, &other);
        let log = twin.record();
        assert_eq!(log.difference.unwrap(), "call 2 of all, b, number 19: 0e0 and -0e0");
        assert_eq!(log.calls, 3);
        // More numbers than the other are a difference.
        let twin = Twin::new(Reference, Reference);
        twin.compare("d", [1.0, 2.0].into_iter(), [1.0].into_iter());
        assert_eq!(twin.record().difference.unwrap(), "call 1 of all, d, number 1: 2e0 and none");
    }
}
