//! Whether grey values are of the scale that a network learns from, or has learnt from.
//!
//! ```text
//! image        clamp((grey − low)/(high − low), 0, 1)         what a network sees
//! clipped      grey < low, or grey > high
//! learnt       mean m and standard deviation s of the image over all training patches; they go with the weights
//! far          |image − m| > 3 s, and below the 1st or above the 99th hundredth of that image
//! ```
//!
//! A training refuses a scan of which 9 in 10 values of its patches are clipped, and more than half of each labelled class
//! to one and the same end, so that classes look alike; it tells where one of both is so, or half of all is clipped. So a
//! scan that is mostly void, which may well lie beyond an end, is learnt from as long as what is no void is seen, and so is
//! one where two kinds of void are labelled.
//!
//! A prediction looks at some slices of the volume ([`LOOKED_AT`]) before anything is computed. It refuses a volume of which
//! 9 in 10 values are far, or that varies by less than an eighth of s; and tells where the mean is 2 s away, or the
//! variation a quarter or four times of s. Void moves the mean, but not all values; it takes 99.6 % of it to bring two
//! materials as frequent as each other to an eighth. Of weights that do not say what they learnt from, it refuses a volume
//! of which 9 in 10 values are clipped. Who insists is told instead of refused.
//!
//! Values in other units (1/mm for 1/cm) or bytes instead of numbers are found so; a gain of a few per cent is not, and a
//! network learns to bear that by `--augment gain=…`.

use super::predict::Grey;
use crate::error::Result;
use crate::json::Json;
use crate::os::check_interrupt;
use crate::volume::Source;
use std::collections::BTreeMap;

/// Grey values beyond the network's scale that are no mistake: metal, air, noise.
const MOST_OUTSIDE: f64 = 0.9;
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
/// Bins of a histogram from 0 to 1, and the parts of the values below and above which few are.
const BINS: usize = 256;
const FEW: [f64; 2] = [0.01, 0.99];

/// What a network has learnt from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub sd: f64,
    /// The 1st and the 99th hundredth, to the ends of their bins; none are known of weights that do not say.
    pub known: Option<[f64; 2]>,
}

impl Moments {
    /// Of images.
    pub fn of(image: &[f32]) -> Moments {
        let sums = image.iter().fold([0f64; 2], |sums, &v| more(sums, v));
        let mut counts = [0u64; BINS];
        image.iter().for_each(|&v| counts[((v * BINS as f32) as usize).min(BINS - 1)] += 1);
        // The bin in which so many are reached.
        let bin = |part: f64| {
            let (wanted, mut sum) = (part * image.len() as f64, 0);
            let reaches = |n: &u64| {
                sum += n;
                sum as f64 >= wanted
            };
            counts.iter().position(reaches).unwrap_or(BINS - 1)
        };
        let ends = [bin(FEW[0]), bin(FEW[1]) + 1].map(|bin| bin as f64 / BINS as f64);
        Moments { known: (!image.is_empty()).then_some(ends), ..Moments::of_sums(image.len() as u64, sums) }
    }

    /// Of so many values, from their sum and that of their squares.
    fn of_sums(n: u64, sums: [f64; 2]) -> Moments {
        let [mean, square] = sums.map(|sum| sum / n.max(1) as f64);
        Moments { mean, sd: (square - mean * mean).max(0.0).sqrt(), known: None }
    }

    /// Whether a value is far from all that was learnt.
    fn is_far(self, v: f64) -> bool {
        (v - self.mean).abs() > FAR * self.sd.max(LEAST_SD) && self.known.is_none_or(|[low, high]| v < low || v > high)
    }

    /// For the metadata of weights.
    pub fn metadata(self) -> Vec<(String, String)> {
        let ends = self.known.map(|[low, high]| [("grey_p01", low), ("grey_p99", high)]);
        let all = [("grey_mean", self.mean), ("grey_sd", self.sd)].into_iter().chain(ends.into_iter().flatten());
        all.map(|(key, v)| (key.to_string(), v.to_string())).collect()
    }

    /// From there, if it says so.
    pub fn parse(metadata: &BTreeMap<String, String>) -> Option<Moments> {
        let of = |key: &str| metadata.get(key)?.parse::<f64>().ok().filter(|v| (0.0..=1.0).contains(v));
        let known = of("grey_p01").zip(of("grey_p99")).map(|(low, high)| [low, high]);
        Some(Moments { mean: of("grey_mean")?, sd: of("grey_sd")?, known })
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

    /// With those of other patches of the scan.
    #[must_use]
    pub fn and(mut self, other: &Clipped) -> Clipped {
        let add = |to: &mut [u64; 3], from: &[u64; 3]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.all, &other.all);
        other.classes.iter().for_each(|(class, counts)| add(self.classes.entry(*class).or_default(), counts));
        self
    }

    /// What is to be told of the scan `name`, and whether it should be refused: nothing can be learnt from it.
    pub fn check(&self, name: &str, grey: Grey) -> (bool, Option<String>) {
        let [n, below, above] = self.all;
        let clipped = (below + above) as f64 / n.max(1) as f64;
        let Grey { low, high } = grey;
        let all_at = |end: usize| self.classes.len() > 1 && self.classes.values().all(|c| 2 * c[end] > c[0]);
        let alike = [1, 2].into_iter().find(|&end| all_at(end));
        let percent = 100.0 * clipped;
        let mut text =
            format!("scan {name}: {percent:.0} % of the grey values of its patches lie outside of {low} to {high}");
        if let Some(end) = alike {
            let side = if end == 1 { format!("below {low}") } else { format!("above {high}") };
            text += &format!("; most of every labelled class are {side}: all look alike");
        }
        (clipped > MOST_OUTSIDE && alike.is_some(), (clipped > HALF || alike.is_some()).then_some(text))
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
                far += u64::from(learnt.is_some_and(|l| l.is_far(f64::from(seen))));
                sums = more(sums, seen);
                n += 1;
            }
        }
        let part = |some: u64| some as f64 / n.max(1) as f64;
        Ok(Look { moments: Moments::of_sums(n, sums), clipped: part(clipped), far: part(far), slices })
    }

    /// What is told of it, with the reason why it should be refused if it should.
    pub fn check(&self, grey: Grey, learnt: Option<Moments>) -> (bool, Option<String>) {
        let Some(learnt) = learnt else {
            let (percent, slices, Grey { low, high }) = (100.0 * self.clipped, self.slices, grey);
            let text =
                || format!("{percent:.0} % of the grey values of {slices} slices lie outside of {low} to {high}");
            let refused = self.clipped > MOST_OUTSIDE;
            return (refused, refused.then(text));
        };
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
        let (refused, text) = clipped(&[(70, 3.0, void), (30, 12.0, metal)]);
        assert!(refused && text.unwrap().starts_with("scan a: 100 % of the grey values"));
        // Half of the patches is unlabelled, and the rest looks alike: told.
        let (refused, text) = clipped(&[(50, 0.5, None), (30, 1.5, void), (20, 4.0, metal)]);
        assert!(!refused && text.unwrap().contains("of every labelled class are above 1"));
        // Void and pit, both of gas about 0; a scan that is void but for a little that is seen.
        assert!(!clipped(&[(60, -0.01, void), (40, 0.01, void), (30, -0.01, metal), (20, 0.01, metal)]).0);
        assert!(!clipped(&[(91, -0.1, void), (9, 0.9, metal)]).0);
        // Void beyond the end is void; two ends are two classes; one class alone says nothing.
        let told = |parts: &[(usize, f32, Option<u8>)]| {
            let (refused, text) = clipped(parts);
            assert!(!refused);
            text
        };
        assert!(told(&[(80, -0.1, void), (20, 0.9, metal)]).unwrap().contains("80 %"));
        assert!(told(&[(40, -0.1, void), (45, 1.1, metal), (15, 0.5, None)]).is_some());
        assert!(told(&[(60, 1.5, metal), (40, 0.5, None)]).is_some());
        assert_eq!(told(&[(50, -0.1, void), (50, 1.0, metal)]), None);
        // Of two folds.
        let (mut a, mut b) = (Clipped::default(), Clipped::default());
        a.add(GREY, 3.0, void);
        b.add(GREY, 3.0, metal);
        assert!(!a.check("a", GREY).0 && !b.check("a", GREY).0 && a.and(&b).check("a", GREY).0);
    }

    #[test]
    fn a_volume_of_another_scale_is_refused_and_one_of_void_is_not() {
        let learnt = Moments::of(&scan(&[(50, 0.1), (50, 0.7)]));
        assert!((learnt.mean - 0.4).abs() < 1e-6 && (learnt.sd - 0.3).abs() < 1e-6);
        let metadata = learnt.metadata().into_iter().collect();
        assert_eq!(Moments::parse(&metadata), Some(learnt));
        assert_eq!(Moments::parse(&BTreeMap::new()), None);
        let look = |values: Vec<f32>| {
            let volume = Memory::new(Dims::new(values.len() / 10, 2, 5).unwrap(), values).unwrap();
            let look = Look::at(&volume, GREY, Some(learnt)).unwrap();
            (look, look.check(GREY, Some(learnt)))
        };
        assert_eq!(look(scan(&[(50, 0.1), (50, 0.7)])).1, (false, None));
        // A tenth, and one that nothing varies in.
        let (seen, (refused, told)) = look(scan(&[(50, 0.01), (50, 0.07)]));
        assert!(refused && told.unwrap().contains("learnt from 0.400 ± 0.300"), "{seen:?}");
        // Nearly all void: told, no more.
        let (seen, (refused, _)) = look(scan(&[(90, 0.1), (10, 0.7)]));
        assert!(!refused && seen.clipped == 0.0);
        // What a narrow network never saw: far, all of it.
        let narrow = Moments { mean: 0.4, sd: 0.02, known: None };
        let volume = Memory::new(Dims::new(3, 1, 2).unwrap(), vec![0.9, 0.95, 1.2, f32::NAN, 0.8, 0.9]).unwrap();
        let look = Look::at(&volume, GREY, Some(narrow)).unwrap();
        assert_eq!((look.far, look.clipped, look.check(GREY, Some(narrow)).0), (1.0, 0.2, true));
        // What is rare in the training is known all the same: a crop of metal where little of it was seen.
        let rare = Moments::of(&scan(&[(94, 0.1), (6, 0.72)]));
        assert!((rare.known.unwrap()[0] - 0.098).abs() < 0.002 && (rare.known.unwrap()[1] - 0.723).abs() < 0.002);
        let crop = Memory::new(Dims::new(10, 2, 5).unwrap(), scan(&[(6, 0.1), (94, 0.72)])).unwrap();
        let look = Look::at(&crop, GREY, Some(rare)).unwrap();
        assert!(look.far == 0.0 && !look.check(GREY, Some(rare)).0, "{look:?}");
        // Weights that say nothing: what is clipped.
        let bytes = Memory::new(Dims::new(10, 2, 5).unwrap(), scan(&[(5, 0.5), (95, 70.0)])).unwrap();
        let (refused, text) = Look::at(&bytes, GREY, None).unwrap().check(GREY, None);
        assert!(refused && text.unwrap().contains("of 9 slices lie outside of 0 to 1"));
    }
}
