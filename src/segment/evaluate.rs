//! A prediction against a truth, slice by slice, from volumes of any size: what [`super::confusion`],
//! [`super::boundary`] and [`super::calibration`] count.
//!
//! Slices of a plane are read in bands; a band's slices are counted side by side and joined in order. All counts are
//! integers.

use super::UNLABELLED;
use super::boundary::Outlines;
use super::calibration::{BINS, Calibration, Errors};
use super::classes::Mapping;
use super::confusion::Confusion;
use super::import::other_shape;
use super::orient::{Plane, Turned};
use crate::error::{Error, Result};
use crate::os::check_interrupt;
use crate::volume::Source;
use rayon::prelude::*;

/// Bytes that a band of each volume takes.
const BAND: u64 = 64 << 20;

/// What is compared.
pub struct Pair<'a> {
    /// Prediction, and what its values mean.
    pub prediction: (&'a dyn Source, &'a Mapping),
    /// Truth, and what its values mean.
    pub truth: (&'a dyn Source, &'a Mapping),
    /// Only where this is not 0.
    pub mask: Option<&'a dyn Source>,
    /// Confidence of the prediction, 0 … 1.
    pub confidence: Option<&'a dyn Source>,
}

/// How.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Classes.
    pub classes: usize,
    /// Plane of the slices.
    pub plane: Plane,
    /// d of the boundary IoU; 0 leaves it out.
    pub boundary: usize,
}

/// What was counted in one slice or several.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Voxels by truth and prediction.
    pub confusion: Confusion,
    /// Outlines.
    pub outlines: Outlines,
    /// If there is a confidence.
    pub calibration: Option<Calibration>,
}

impl Counts {
    /// Nothing counted yet.
    pub fn new(classes: usize, calibrated: bool) -> Counts {
        let calibration = calibrated.then(|| Calibration::new(BINS));
        Counts { confusion: Confusion::new(classes), outlines: Outlines::new(classes), calibration }
    }

    /// The same, of the same classes.
    pub fn nothing(&self) -> Counts {
        Counts::new(self.confusion.classes(), self.calibration.is_some())
    }

    /// With others.
    pub fn and<'a>(mut self, others: impl Iterator<Item = &'a Counts>) -> Counts {
        others.for_each(|other| self.add_times(other, 1));
        self
    }

    /// Adds another's counts `n` times.
    pub fn add_times(&mut self, other: &Counts, n: u64) {
        self.confusion.add_times(&other.confusion, n);
        self.outlines.add_times(&other.outlines, n);
        // What has no confidence adds none.
        if let (Some(own), Some(other)) = (&mut self.calibration, &other.calibration) {
            own.add_times(other, n);
        }
    }

    /// Errors of the confidence, if there is one.
    pub fn errors(&self) -> Option<Errors> {
        self.calibration.as_ref().and_then(Calibration::errors)
    }
}

/// Counts a pair, by slice.
///
/// # Errors
/// Data: shapes that differ, values that are no class, a confidence outside of 0 … 1. Those of reading.
pub fn evaluate(pair: &Pair, how: How, progress: &dyn Fn(usize, usize)) -> Result<Vec<Counts>> {
    let dims = pair.truth.0.dims();
    for (name, other) in [("prediction", Some(pair.prediction.0)), ("mask", pair.mask), ("confidence", pair.confidence)]
    {
        if let Some(other) = other.map(Source::dims).filter(|&d| d != dims) {
            return Err(other_shape((name, other), ("truth", dims)));
        }
    }
    let view = |source| Turned::slices(source, how.plane);
    let (truth, prediction) = (view(pair.truth.0)?, view(pair.prediction.0)?);
    let [mask, confidence] = [pair.mask, pair.confidence].map(|s| s.map(view).transpose());
    let (mask, confidence) = (mask?, confidence?);
    let d = truth.dims();
    let band = (BAND / (4 * d.slice() as u64)).clamp(1, d.nz as u64) as usize;
    let mut counted = Vec::with_capacity(d.nz);
    for first in (0..d.nz).step_by(band) {
        check_interrupt()?;
        let z = first..(first + band).min(d.nz);
        let read = |source: &Turned| -> Result<Vec<f32>> {
            let mut values = vec![0f32; z.len() * d.slice()];
            source.read(z.clone(), 0..d.ny, &mut values)?;
            Ok(values)
        };
        let place = |i: usize| {
            let [x, y, z] = how.plane.place(first + i / d.slice(), i / d.nx % d.ny, i % d.nx);
            format!("x {x}, y {y}, z {z}")
        };
        let labels = |source: &Turned, mapping: &Mapping, name: &str| -> Result<Vec<u8>> {
            let values = read(source)?;
            let each = values.iter().enumerate().map(|(i, &v)| {
                mapping.label(v).ok_or_else(|| {
                    Error::data(format!("the {name} is {v} at {}, which is no class", place(i)))
                        .help(format!("the mapping knows {}", mapping.to_text()))
                })
            });
            each.collect()
        };
        let mut t = labels(&truth, pair.truth.1, "truth")?;
        let p = labels(&prediction, pair.prediction.1, "prediction")?;
        if let Some(mask) = &mask {
            t.iter_mut().zip(read(mask)?).filter(|(_, m)| *m == 0.0).for_each(|(t, _)| *t = UNLABELLED);
        }
        let c = confidence.as_ref().map(read).transpose()?;
        let each: Vec<Result<Counts>> = t
            .par_chunks_exact(d.slice())
            .zip(p.par_chunks_exact(d.slice()))
            .enumerate()
            .map(|(k, (t, p))| {
                let mut counts = Counts::new(how.classes, c.is_some());
                // Mappings make classes of the table alone.
                let _ = counts.confusion.add(t, p);
                if how.boundary > 0 && counts.confusion.total() > 0 {
                    counts.outlines = Outlines::of_slice(how.classes, t, p, d.nx, how.boundary);
                }
                if let (Some(c), Some(calibration)) = (&c, &mut counts.calibration) {
                    let c = &c[k * d.slice()..][..d.slice()];
                    calibration.add(t, p, c).map_err(|i| {
                        let at = place(k * d.slice() + i);
                        Error::data(format!("a confidence of {} at {at}", c[i])).help("confidences are 0 to 1")
                    })?;
                }
                Ok(counts)
            })
            .collect();
        each.into_iter().try_for_each(|counts| counts.map(|counts| counted.push(counts)))?;
        progress(z.end, d.nz);
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::classes::Classes;
    use crate::segment::orient::PLANES;
    use crate::volume::{Dims, Memory};

    fn memory(values: Vec<f32>) -> Memory {
        Memory::new(Dims::new(2, 3, 4).unwrap(), values).unwrap()
    }

    #[test]
    fn planes_cut_differently_and_count_the_same() {
        let classes = Classes::cell();
        let (cell, plain) =
            (Mapping::parse("from-0", &classes).unwrap(), Mapping::parse("cell-to-network", &classes).unwrap());
        let truth = memory((0..24).map(|i| (i % 7) as f32).collect());
        let prediction = memory((0..24).map(|i| [0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 0.0][i % 7]).collect());
        let confidence = memory((0..24).map(|i| if i % 7 == 6 { 0.25 } else { 1.0 }).collect());
        let mask = memory((0..24).map(|i| if i < 3 { 0.0 } else { 2.0 }).collect());
        for plane in PLANES {
            let how = How { classes: 7, plane, boundary: 1 };
            let pair = Pair {
                prediction: (&prediction, &cell),
                truth: (&truth, &plain),
                mask: Some(&mask),
                confidence: Some(&confidence),
            };
            let counted = evaluate(&pair, how, &|_, _| ()).unwrap();
            assert_eq!(counted.len(), plane.dims(truth.dims()).nz);
            let all = counted[0].nothing().and(counted.iter());
            let sum = &all.confusion;
            // 21 voxels are looked at; of 6, 13 and 20, truth 4, the prediction is 0.
            assert_eq!((sum.total(), sum.count(4, 0), sum.figures().accuracy), (21, 3, Some(18.0 / 21.0)));
            let errors = all.errors().unwrap();
            assert!((errors.expected - 3.0 / 21.0 * 0.25).abs() < 1e-15);
            // Every voxel is at the end of one of these small slices.
            assert!(all.outlines.either.iter().sum::<u64>() > 0);
        }
        let other = Memory::new(Dims::new(2, 4, 3).unwrap(), vec![0.0; 24]).unwrap();
        let how = How { classes: 7, plane: Plane::Xy, boundary: 0 };
        let refused = |prediction: (&dyn Source, &Mapping), confidence: Option<&dyn Source>| {
            let pair = Pair { prediction, truth: (&truth, &plain), mask: None, confidence };
            evaluate(&pair, how, &|_, _| ()).err().unwrap().to_string()
        };
        assert!(refused((&other, &cell), None).contains("the prediction has 2 x 4 x 3"));
        let strange = memory(vec![9.0; 24]);
        assert!(refused((&strange, &cell), None).contains("the prediction is 9 at x 0, y 0, z 0"));
        assert!(refused((&prediction, &cell), Some(&strange)).contains("a confidence of 9 at x 0, y 0, z 0"));
    }
}
