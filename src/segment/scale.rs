//! Whether grey values are of the scale that a network learns from, or has learnt from.
//!
//! ```text
//! image        clamp((grey − low)/(high − low), 0, 1)         what a network sees
//! clipped      grey < low, or grey > high
//! learnt       mean m and standard deviation s of the image over all training patches; they go with the weights
//! far          |image − m| > 3 s
//! ```
//!
//! A training refuses a scan of which 9 in 10 values of its patches are clipped, or where more than half of each labelled
//! class is clipped to one and the same end, so that classes look alike; it tells where half of all is clipped. So a scan
//! that is mostly void, which may well lie beyond an end, is learnt from as long as what is no void is seen.
//!
//! A prediction looks at some slices of the volume ([`LOOKED_AT`]) before anything is computed. It refuses a volume of which
//! 9 in 10 values are far, or that varies by less than an eighth of s; and tells where the mean is 2 s away, or the
//! variation a quarter or four times of s. Void moves the mean, but not all values; it takes 99.6 % of it to bring two
//! materials as frequent as each other to an eighth.
//!
//! Values in other units (1/mm for 1/cm) or bytes instead of numbers are found so; a gain of a few per cent is not, and a
//! network learns to bear that by `--augment gain=…`.

use super::predict::{Grey, MOST_OUTSIDE};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::os::check_interrupt;
use crate::volume::Source;
use std::collections::BTreeMap;

/// Slices that are looked at, in the middle of as many equal parts.
pub const LOOKED_AT: usize = 9;
/// Standard deviations beyond which a value is far.
const FAR: f64 = 3.0;
/// Most values that are far, of a volume.
const MOST_FAR: f64 = 0.9;
/// Standard deviations from mean to mean that are told.
const TOLD: f64 = 2.0;
/// Least variation of a volume, in that of the training; least and most that is not told.
const LEAST_VARIATION: f64 = 0.125;
const TOLD_VARIATION: [f64; 2] = [0.25, 4.0];
/// Least standard deviation that values are measured with: a step of a picture in bytes.
const LEAST_SD: f64 = 1.0 / 255.0;
/// Part of the values that may be clipped without a word.
const HALF: f64 = 0.5;

/// Mean and standard deviation of what a network has learnt from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub sd: f64,
}

impl Moments {
    /// Of images.
    pub fn of(image: &[f32]) -> Moments {
        let sums = image.iter().fold([0f64; 2], |sums, &v| more(sums, v));
        Moments::of_sums(image.len() as u64, sums)
    }

    /// Of so many values, from their sum and that of their squares.
    fn of_sums(n: u64, sums: [f64; 2]) -> Moments {
        let [mean, square] = sums.map(|sum| sum / n.max(1) as f64);
        Moments { mean, sd: (square - mean * mean).max(0.0).sqrt() }
    }

    /// For the metadata of weights.
    pub fn metadata(self) -> [(String, String); 2] {
        [("grey_mean".into(), self.mean.to_string()), ("grey_sd".into(), self.sd.to_string())]
    }

    /// From there, if it says so.
    pub fn parse(metadata: &BTreeMap<String, String>) -> Option<Moments> {
        let of = |key: &str| metadata.get(key)?.parse::<f64>().ok().filter(|v| (0.0..=1.0).contains(v));
        Some(Moments { mean: of("grey_mean")?, sd: of("grey_sd")? })
    }
}

/// A value more in a sum and in that of squares.
fn more([sum, squares]: [f64; 2], v: f32) -> [f64; 2] {
    let v = f64::from(v);
    [sum + v, squares + v * v]
}

/// Values of a scan in the patches that are cut from it, and those that are clipped to the lower and the upper end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clipped {
    /// All, and clipped ones.
    pub all: [u64; 3],
    /// The same of each labelled class.
    pub classes: BTreeMap<u8, [u64; 3]>,
}

impl Clipped {
    /// Counts a value, with its class if somebody labelled it.
    pub fn add(&mut self, grey: Grey, v: f32, class: Option<u8>) {
        let one = [1, u64::from(v < grey.low), u64::from(v > grey.high)];
        let add = |counts: &mut [u64; 3]| counts.iter_mut().zip(one).for_each(|(n, one)| *n += one);
        add(&mut self.all);
        class.into_iter().for_each(|class| add(self.classes.entry(class).or_default()));
    }

    /// What is to be told of the scan `name`.
    ///
    /// # Errors
    /// Data: nothing can be learnt from it.
    pub fn check(&self, name: &str, grey: Grey) -> Result<Option<String>> {
        let [n, below, above] = self.all;
        let clipped = (below + above) as f64 / n.max(1) as f64;
        let (Grey { low, high }, percent) = (grey, 100.0 * clipped);
        let refused = |what: String| {
            Err(Error::data(format!("scan {name}: {what}"))
                .help("bring the scan to the grey scale of the others, or say which values are 0 and 1: --grey"))
        };
        if clipped > MOST_OUTSIDE {
            return refused(format!("{percent:.0} % of the grey values of its patches lie outside of {low} to {high}"));
        }
        let all_at = |end: usize| self.classes.len() > 1 && self.classes.values().all(|c| 2 * c[end] > c[0]);
        if let Some(end) = [1, 2].into_iter().find(|&end| all_at(end)) {
            let side = if end == 1 { format!("below {low}") } else { format!("above {high}") };
            return refused(format!("most grey values of every labelled class are {side}: all look alike"));
        }
        Ok((clipped > HALF).then(|| {
            format!("scan {name}: {percent:.0} % of the grey values of its patches lie outside of {low} to {high}")
        }))
    }
}

/// What some slices of a volume look like to a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Of the images.
    pub moments: Moments,
    /// Part of the values that is clipped.
    pub clipped: f64,
    /// Part that is far from what was learnt, where that is known.
    far: f64,
    slices: usize,
}

impl Look {
    /// Looks at a volume; values that are not finite are left to who predicts.
    ///
    /// # Errors
    /// Those of reading; again when interrupted.
    pub fn at(volume: &dyn Source, grey: Grey, learnt: Option<Moments>) -> Result<Look> {
        let d = volume.dims();
        let slices = LOOKED_AT.min(d.nz);
        let mut slice = vec![0f32; d.slice()];
        let (mut n, mut sums, mut clipped, mut far) = (0u64, [0f64; 2], 0u64, 0u64);
        for k in 0..slices {
            check_interrupt()?;
            let z = (2 * k + 1) * d.nz / (2 * slices);
            volume.read(z..z + 1, 0..d.ny, &mut slice)?;
            for v in slice.iter().copied().filter(|v| v.is_finite()) {
                let seen = grey.scale(v);
                clipped += u64::from(v < grey.low || v > grey.high);
                far += u64::from(learnt.is_some_and(|l| (f64::from(seen) - l.mean).abs() > FAR * l.sd.max(LEAST_SD)));
                sums = more(sums, seen);
                n += 1;
            }
        }
        let part = |some: u64| some as f64 / n.max(1) as f64;
        Ok(Look { moments: Moments::of_sums(n, sums), clipped: part(clipped), far: part(far), slices })
    }

    /// What is told of it, with the reason why it should be refused if it should.
    pub fn check(&self, learnt: Moments) -> (bool, Option<String>) {
        let sd = learnt.sd.max(LEAST_SD);
        let (away, variation) = ((self.moments.mean - learnt.mean).abs() / sd, self.moments.sd / sd);
        let percent = 100.0 * self.far;
        let refused = self.far > MOST_FAR || variation < LEAST_VARIATION;
        let told = away > TOLD || !(TOLD_VARIATION[0]..=TOLD_VARIATION[1]).contains(&variation);
        let text = format!(
            "grey values are {:.3} ± {:.3} on the scale of the network, which learnt from {:.3} ± {:.3}; {percent:.0} % are \
             none that it knows",
            self.moments.mean, self.moments.sd, learnt.mean, learnt.sd
        );
        (refused, (refused || told).then_some(text))
    }

    /// For a manifest.
    pub fn to_json(&self) -> Json {
        Json::obj([
            ("slices", self.slices.into()),
            ("outside", self.clipped.into()),
            ("mean", self.moments.mean.into()),
            ("sd", self.moments.sd.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Dims, Memory};

    const GREY: Grey = Grey { low: 0.0, high: 1.0 };

    /// Values by their weights of a hundred.
    fn scan(parts: &[(usize, f32)]) -> Vec<f32> {
        parts.iter().flat_map(|&(n, v)| std::iter::repeat_n(v, n)).collect()
    }

    #[test]
    fn a_scan_is_refused_where_nothing_can_be_told_apart() {
        let clipped = |parts: &[(usize, f32, Option<u8>)]| {
            let mut clipped = Clipped::default();
            for &(n, v, class) in parts {
                (0..n).for_each(|_| clipped.add(GREY, v, class));
            }
            clipped.check("a", GREY)
        };
        let (void, metal) = (Some(0), Some(1));
        // Of another unit; nine of ten beyond the ends.
        let e = clipped(&[(70, 3.0, void), (30, 12.0, metal)]).unwrap_err().to_string();
        assert!(e.contains("scan a: 100 % of the grey values"), "{e}");
        // Half of the patches is unlabelled, and the rest looks alike.
        let e = clipped(&[(50, 0.5, None), (30, 1.5, void), (20, 4.0, metal)]).unwrap_err().to_string();
        assert!(e.contains("of every labelled class are above 1"), "{e}");
        // Void beyond the end is void; two ends are two classes; one class alone says nothing.
        assert!(clipped(&[(80, -0.1, void), (20, 0.9, metal)]).unwrap().unwrap().contains("80 %"));
        assert!(clipped(&[(40, -0.1, void), (45, 1.1, metal), (15, 0.5, None)]).unwrap().is_some());
        assert!(clipped(&[(60, 1.5, metal), (40, 0.5, None)]).unwrap().is_some());
        assert_eq!(clipped(&[(50, -0.1, void), (50, 1.0, metal)]).unwrap(), None);
    }

    #[test]
    fn a_volume_of_another_scale_is_refused_and_one_of_void_is_not() {
        let learnt = Moments::of(&scan(&[(50, 0.1), (50, 0.7)]));
        assert!((learnt.mean - 0.4).abs() < 1e-6 && (learnt.sd - 0.3).abs() < 1e-6);
        let metadata = learnt.metadata().into();
        assert_eq!(Moments::parse(&metadata), Some(learnt));
        assert_eq!(Moments::parse(&BTreeMap::new()), None);
        let look = |values: Vec<f32>| {
            let volume = Memory::new(Dims::new(values.len() / 10, 2, 5).unwrap(), values).unwrap();
            let look = Look::at(&volume, GREY, Some(learnt)).unwrap();
            (look, look.check(learnt))
        };
        assert_eq!(look(scan(&[(50, 0.1), (50, 0.7)])).1, (false, None));
        // A tenth, and one that nothing varies in.
        let (seen, (refused, told)) = look(scan(&[(50, 0.01), (50, 0.07)]));
        assert!(refused && told.unwrap().contains("learnt from 0.400 ± 0.300"), "{seen:?}");
        // Nearly all void: told, no more.
        let (seen, (refused, _)) = look(scan(&[(90, 0.1), (10, 0.7)]));
        assert!(!refused && seen.clipped == 0.0);
        // What a narrow network never saw: far, all of it.
        let narrow = Moments { mean: 0.4, sd: 0.02 };
        let volume = Memory::new(Dims::new(3, 1, 2).unwrap(), vec![0.9, 0.95, 1.2, f32::NAN, 0.8, 0.9]).unwrap();
        let look = Look::at(&volume, GREY, Some(narrow)).unwrap();
        assert_eq!((look.far, look.clipped, look.check(narrow).0), (1.0, 0.2, true));
    }
}
