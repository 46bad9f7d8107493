//! Whether a confidence is one: of what is said with 80 %, four fifths should be right.
//!
//! ```text
//! bin b = min(⌊B·c⌋, B − 1)        c: confidence of the predicted class, 0 … 1; B bins of equal width
//! ECE  = Σ_b n_b/N · |right_b/n_b − mean c_b|         MCE = the greatest of these differences
//! ```
//!
//! Confidences are summed as whole multiples of 2⁻³², so no order shows; the sum over bins goes from 0 up.
//!
//! Source: Naeini, Cooper, Hauskrecht, AAAI 2015; Guo et al., ICML 2017 (15 bins).

use super::UNLABELLED;
use crate::json::Json;

/// Bins of the papers.
pub const BINS: usize = 15;
const ONE: f64 = 4_294_967_296.0;

/// Counts of each bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    voxels: Vec<u64>,
    right: Vec<u64>,
    /// In 2⁻³².
    confidence: Vec<u128>,
}

/// Expected and greatest difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// ECE.
    pub expected: f64,
    /// MCE.
    pub most: f64,
}

impl Calibration {
    /// Nothing counted yet.
    pub fn new(bins: usize) -> Calibration {
        Calibration { voxels: vec![0; bins], right: vec![0; bins], confidence: vec![0; bins] }
    }

    /// Counts voxels; those without truth or prediction are left out. The place of the first confidence that is none
    /// ends it.
    ///
    /// # Errors
    /// That place.
    pub fn add(&mut self, truth: &[u8], prediction: &[u8], confidence: &[f32]) -> Result<(), usize> {
        let bins = self.voxels.len();
        for (i, ((&t, &p), &c)) in truth.iter().zip(prediction).zip(confidence).enumerate() {
            if t == UNLABELLED || p == UNLABELLED {
                continue;
            }
            if !(0.0..=1.0).contains(&c) {
                return Err(i);
            }
            let c = f64::from(c);
            let bin = ((c * bins as f64) as usize).min(bins - 1);
            self.voxels[bin] += 1;
            self.right[bin] += u64::from(t == p);
            // Rounded down to 2⁻³²: f32 above 2⁻⁸ are exact.
            self.confidence[bin] += (c * ONE) as u128;
        }
        Ok(())
    }

    /// Adds another's counts `n` times.
    pub fn add_times(&mut self, other: &Calibration, n: u64) {
        self.voxels.iter_mut().zip(&other.voxels).for_each(|(a, b)| *a += n * b);
        self.right.iter_mut().zip(&other.right).for_each(|(a, b)| *a += n * b);
        self.confidence.iter_mut().zip(&other.confidence).for_each(|(a, b)| *a += u128::from(n) * b);
    }

    fn bin(&self, b: usize) -> Option<(f64, f64)> {
        let n = self.voxels[b];
        (n > 0).then(|| (self.right[b] as f64 / n as f64, self.confidence[b] as f64 / ONE / n as f64))
    }

    /// ECE and MCE; unknown of nothing.
    pub fn errors(&self) -> Option<Errors> {
        let total: u64 = self.voxels.iter().sum();
        let mut errors = Errors { expected: 0.0, most: 0.0 };
        for b in 0..self.voxels.len() {
            let Some((right, mean)) = self.bin(b) else { continue };
            let off = (right - mean).abs();
            errors.expected += self.voxels[b] as f64 / total as f64 * off;
            errors.most = errors.most.max(off);
        }
        (total > 0).then_some(errors)
    }

    /// For files.
    pub fn to_json(&self) -> Json {
        let bin = |b: usize| {
            let of = self.bin(b);
            Json::obj([
                ("voxels", self.voxels[b].into()),
                ("accuracy", of.map(|v| v.0).into()),
                ("confidence", of.map(|v| v.1).into()),
            ])
        };
        let errors = self.errors();
        Json::obj([
            ("ece", errors.map(|e| e.expected).into()),
            ("mce", errors.map(|e| e.most).into()),
            ("bins", Json::Arr((0..self.voxels.len()).map(bin).collect())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_worked_out_by_hand() {
        let mut c = Calibration::new(4);
        // Bin 3: 0.75, 1.0, 1.0, two of three right; bin 2: 0.5 and 0.625, one right; bin 0: 0.125, right.
        let confidence = [0.75, 1.0, 1.0, 0.5, 0.625, 0.125, 0.9, f32::NAN];
        c.add(&[0, 1, 2, 0, 1, 0, 255, 0], &[0, 1, 0, 0, 0, 0, 0, 255], &confidence).unwrap();
        let bins = [(1.0 - 0.125f64).abs(), (0.5f64 - 0.5625).abs(), (2.0f64 / 3.0 - 2.75 / 3.0).abs()];
        let e = c.errors().unwrap();
        assert_eq!(e.most, bins[0]);
        assert!((e.expected - (bins[0] + 2.0 * bins[1] + 3.0 * bins[2]) / 6.0).abs() < 1e-15);
        assert_eq!(Calibration::new(4).errors(), None);
        let mut twice = c.clone();
        twice.add_times(&c, 1);
        assert!((twice.errors().unwrap().expected - e.expected).abs() < 1e-15 && twice.voxels[3] == 6);
        assert_eq!(c.add(&[0, 0], &[0, 0], &[0.5, 1.5]), Err(1));
        assert_eq!(Calibration::new(4).add(&[0], &[0], &[f32::NAN]), Err(0));
    }
}
