//! L4. When to learn slower, and when to stop, once an epoch; but for the cosine, both watch the validation.
//!
//! ```text
//! plateau   better: loss < best·(1 − 1e-4), relative; after more than 10 epochs in a row that are not, rate ← max(rate/5, 1e-6)
//! cosine    rate of epoch e of E = max(rate·(1 + cos(π·e/E))/2, min(rate, 1e-6))
//! stop      better: loss < best − 1e-3, absolute; stops at the 10th epoch in a row that is not
//!           or, as the paper says it, the same of what is wrong, 1 − accuracy
//! ```
//!
//! These are the numbers of the authors' code (PyTorch's `ReduceLROnPlateau` and Lightning's `EarlyStopping`); there,
//! early stopping was made but never asked. With these numbers it stops before the rate is ever lowered, so whoever
//! wants both gives it more patience.

use crate::num::elementary::cos_pi;

/// How the learning rate goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// When the loss stays: [`Plateau`].
    Plateau,
    /// From the first epoch on, to next to nothing at the end; Loshchilov and Hutter 2017, without restarts.
    Cosine,
}

/// Rate of epoch `e` of `epochs` along a cosine.
pub fn cosine(rate: f64, e: u32, epochs: u32) -> f64 {
    (rate * (1.0 + cos_pi(f64::from(e) / f64::from(epochs.max(1)))) / 2.0).max(LEAST_RATE.min(rate))
}

/// Lowers the learning rate when the loss stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Plateau {
    /// Learning rate.
    pub rate: f64,
    /// The best loss.
    pub best: f64,
    /// Epochs since.
    pub bad: u32,
}

/// Factor of the rate, epochs that are waited, part of the loss that counts as better, least rate, least change of
/// the rate.
const FACTOR: f64 = 0.2;
const PATIENCE: u32 = 10;
const RELATIVE: f64 = 1e-4;
const LEAST_RATE: f64 = 1e-6;
const LEAST_CHANGE: f64 = 1e-8;

impl Plateau {
    /// Starts at `rate`.
    pub fn new(rate: f64) -> Plateau {
        Plateau { rate, best: f64::INFINITY, bad: 0 }
    }
    /// An epoch's loss; the rate of the next.
    pub fn epoch(&mut self, loss: f64) -> f64 {
        if loss < self.best * (1.0 - RELATIVE) {
            (self.best, self.bad) = (loss, 0);
        } else {
            self.bad += 1;
        }
        if self.bad > PATIENCE {
            let rate = (self.rate * FACTOR).max(LEAST_RATE);
            self.rate = if self.rate - rate > LEAST_CHANGE { rate } else { self.rate };
            self.bad = 0;
        }
        self.rate
    }
}

/// What early stopping watches: of the validation, or of the training where nothing validates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// The loss.
    #[default]
    Loss,
    /// The part of the labelled pixels that is right.
    Accuracy,
}

/// Stops when the loss stays.
#[derive(Clone, Debug, PartialEq)]
pub struct EarlyStop {
    /// Epochs that are waited.
    pub patience: u32,
    /// What counts as better.
    pub least: f64,
    /// The best loss.
    pub best: f64,
    /// Epochs since.
    pub bad: u32,
}

impl EarlyStop {
    /// With the numbers of the authors' code.
    pub fn new() -> EarlyStop {
        EarlyStop { patience: 10, least: 1e-3, best: f64::INFINITY, bad: 0 }
    }
    /// An epoch's loss; whether to stop.
    pub fn epoch(&mut self, loss: f64) -> bool {
        if loss < self.best - self.least {
            (self.best, self.bad) = (loss, 0);
        } else {
            self.bad += 1;
        }
        self.bad >= self.patience
    }
}

impl Default for EarlyStop {
    fn default() -> EarlyStop {
        EarlyStop::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_at_the_eleventh_bad_epoch() {
        let mut plateau = Plateau::new(3e-4);
        let mut rates = vec![plateau.epoch(1.0)];
        // Better by less than a part in 10⁴ is not better.
        rates.extend((0..60).map(|_| plateau.epoch(0.99995)));
        let changes: Vec<usize> = (1..rates.len()).filter(|&i| rates[i] != rates[i - 1]).collect();
        assert_eq!(changes, [11, 22, 33, 44]);
        for (at, rate) in [(11, 6e-5), (22, 1.2e-5), (33, 2.4e-6), (44, 1e-6), (60, 1e-6)] {
            assert!((rates[at] / rate - 1.0).abs() < 1e-12);
        }
        plateau.bad = 10;
        assert_eq!((plateau.epoch(0.5), plateau.bad, plateau.best), (1e-6, 0, 0.5));
    }

    #[test]
    fn a_cosine_goes_from_the_rate_to_nothing() {
        let rates: Vec<f64> = (0..4).map(|e| cosine(0.8, e, 4)).collect();
        for (rate, want) in rates.iter().zip([0.8, 0.4 + 0.4 * 0.5f64.sqrt(), 0.4, 0.4 - 0.4 * 0.5f64.sqrt()]) {
            assert!((rate - want).abs() < 1e-15, "{rates:?}");
        }
        assert_eq!(cosine(0.8, 4, 4), 1e-6);
        assert_eq!(cosine(1e-7, 1, 4), 1e-7, "never more than what is asked");
    }

    #[test]
    fn training_stops_at_the_tenth_bad_epoch() {
        let mut stop = EarlyStop::new();
        assert!(!stop.epoch(1.0) && !stop.epoch(0.998));
        assert_eq!((0..10).map(|_| stop.epoch(0.9975)).collect::<Vec<_>>(), [vec![false; 9], vec![true]].concat());
    }
}
