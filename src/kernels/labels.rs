//! L2. Labels of a batch, here or on a device, and how many pixels of each sample carry each: integers, so that whoever
//! counts them finds the same.
//!
//! ```text
//! labels   [sample][row][column]    a class, or −1 where there is none
//! counts   [sample][class]
//! ```

use super::buffer::{Buffer, View};
use super::cross_entropy::UNLABELLED;
use crate::error::{Error, Result};
use std::ops::Range;

/// Labels of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    numbers: Buffer<i16>,
    pixels: usize,
    classes: usize,
    counts: Vec<u64>,
}

/// Labels of some samples, and how many of their pixels have one.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// The labels.
    pub numbers: View<'a, i16>,
    /// Pixels with a label.
    pub labelled: u64,
}

impl Labels {
    /// Counts the labels of samples of `pixels` pixels.
    ///
    /// # Errors
    /// Data: other than whole samples, a label that is no class.
    pub fn new(numbers: impl Into<Buffer<i16>>, pixels: usize, classes: usize) -> Result<Labels> {
        let numbers = numbers.into();
        if !numbers.len().is_multiple_of(pixels.max(1)) {
            return Err(Error::data(format!("{} labels for samples of {pixels} pixels", numbers.len())));
        }
        let no_class = |t: i16| t != UNLABELLED && usize::try_from(t).map_or(true, |t| t >= classes);
        if let Some(at) = numbers.iter().position(|&t| no_class(t)) {
            return Err(Error::data(format!("label {} at pixel {at} of the batch", numbers[at]))
                .help(format!("labels are 0 to {}, or -1 where there is none", classes.saturating_sub(1))));
        }
        let mut counts = vec![0; numbers.len() / pixels.max(1) * classes];
        for (labels, counts) in numbers.chunks_exact(pixels.max(1)).zip(counts.chunks_exact_mut(classes.max(1))) {
            labels.iter().filter(|&&t| t != UNLABELLED).for_each(|&t| counts[t as usize] += 1);
        }
        Ok(Labels { numbers, pixels, classes, counts })
    }
    /// Labels that a device has made and counted.
    #[cfg(feature = "cuda")]
    pub(super) fn counted(numbers: Buffer<i16>, pixels: usize, classes: usize, counts: Vec<u64>) -> Labels {
        Labels { numbers, pixels, classes, counts }
    }
    /// All labels.
    pub fn numbers(&self) -> &Buffer<i16> {
        &self.numbers
    }
    /// How many pixels carry each class, sample by sample.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
    /// Classes that a label may be.
    pub fn classes(&self) -> usize {
        self.classes
    }
    /// W: pixels of each class times its weight, added in f64, classes ascending.
    pub fn weigh(&self, weights: &[f32]) -> f64 {
        let of_class = |k: usize| self.counts.iter().skip(k).step_by(self.classes.max(1)).sum::<u64>();
        weights.iter().enumerate().fold(0.0, |total, (k, &w)| total + of_class(k) as f64 * f64::from(w))
    }
    /// Those of all samples.
    pub fn all(&self) -> Part<'_> {
        Part { numbers: (&self.numbers).into(), labelled: self.counts.iter().sum() }
    }
    /// Those of some samples.
    pub fn samples(&self, range: Range<usize>) -> Part<'_> {
        let [pixels, classes] = [self.pixels, self.classes].map(|each| each * range.start..each * range.end);
        Part { numbers: self.numbers.view(pixels), labelled: self.counts[classes].iter().sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_counted_sample_by_sample() {
        let labels = Labels::new(vec![0, 2, -1, 2, 1, -1, -1, -1, 0, 0, 0, 2], 4, 3).unwrap();
        assert_eq!(labels.counts(), [1, 0, 2, 0, 1, 0, 3, 0, 1]);
        assert_eq!((labels.all().labelled, labels.weigh(&[0.5, 10.0, 2.0])), (8, 18.0));
        let part = labels.samples(1..3);
        assert_eq!((part.numbers.slice(), part.labelled), (&[1, -1, -1, -1, 0, 0, 0, 2][..], 5));
        assert_eq!(Labels::new(vec![], 4, 3).unwrap().weigh(&[1.0; 3]), 0.0);
    }

    #[test]
    fn what_is_no_class_is_refused() {
        for (numbers, says) in [
            (vec![0, 3, 0], "label 3 at pixel 1"),
            (vec![-2, 0, 0], "label -2 at pixel 0"),
            (vec![0, 0], "2 labels for samples of 3"),
        ] {
            let error = Labels::new(numbers, 3, 3).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
