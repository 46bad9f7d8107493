//! From physical values to a picture: which value is black, which is white.
//!
//! ```text
//! grey(v) = ⌊ 255 (v − low) / (high − low) + 1/2 ⌋, clipped to 0 … 255         computed in f64
//! ```
//!
//! The window is given, or taken from percentiles of the values. The percentile p of n finite values is the one of
//! rank ⌈p n / 100⌉ (at least 1) in ascending order, "nearest rank": a value that occurs, found exactly by counting
//! bit patterns, whatever outliers there are and in whatever order the values come.
//! Values that are not finite have no place on a grey scale: they are counted, and painted in colours that no grey
//! can be mistaken for.

use super::png;
use crate::error::{Error, Result};
use std::path::Path;

/// Colour of NaN: magenta.
const NAN_COLOUR: [u8; 3] = [255, 0, 255];
/// Colour of +∞: red.
const PLUS_INFINITY_COLOUR: [u8; 3] = [255, 0, 0];
/// Colour of −∞: blue.
const MINUS_INFINITY_COLOUR: [u8; 3] = [0, 0, 255];

/// The percentiles that a picture shows when nothing is asked.
pub const DEFAULT_PERCENTILES: (f64, f64) = (0.5, 99.5);

/// The values that are black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    low: f32,
    high: f32,
}

impl Window {
    /// A window from `low` (black) to `high` (white).
    ///
    /// # Errors
    /// [`Fault::Usage`](crate::error::Fault::Usage) unless both are finite and `low < high`.
    pub fn new(low: f32, high: f32) -> Result<Window> {
        if low.is_finite() && high.is_finite() && low < high {
            return Ok(Window { low, high });
        }
        Err(Error::usage(format!("a window from {low} to {high} shows nothing"))
            .help("give two numbers, the smaller one first"))
    }

    /// The window between two percentiles of the finite `values`; `None` where no value is finite. Where both
    /// percentiles are the same value, as in a constant picture, the window is empty and that value is mid-grey.
    ///
    /// # Errors
    /// [`Fault::Usage`](crate::error::Fault::Usage) unless 0 ≤ `low_percent` < `high_percent` ≤ 100.
    pub fn of_percentiles(values: &[f32], low_percent: f64, high_percent: f64) -> Result<Option<Window>> {
        if !(0.0 <= low_percent && low_percent < high_percent && high_percent <= 100.0) {
            return Err(Error::usage(format!("percentiles {low_percent} and {high_percent} make no window"))
                .help("give two percentiles from 0 to 100, the smaller one first"));
        }
        let finite = values.iter().filter(|v| v.is_finite()).count();
        if finite == 0 {
            return Ok(None);
        }
        let rank = |percent: f64| ((percent / 100.0 * finite as f64).ceil() as usize).clamp(1, finite);
        let low = order_statistic(values, rank(low_percent));
        let high = order_statistic(values, rank(high_percent));
        Ok(Some(Window { low, high }))
    }

    /// The value that is black.
    pub fn low(self) -> f32 {
        self.low
    }
    /// The value that is white.
    pub fn high(self) -> f32 {
        self.high
    }

    /// Grey of a finite value.
    fn grey(self, value: f32) -> u8 {
        let (low, width) = (f64::from(self.low), f64::from(self.high) - f64::from(self.low));
        let share = match width > 0.0 {
            true => (f64::from(value) - low) / width,
            // An empty window has one value in it.
            false if value < self.low => 0.0,
            false if value > self.high => 1.0,
            false => 0.5,
        };
        (share.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
    }
}

/// An integer that orders as the finite floats do (−0 just below +0).
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The finite value of the given rank, 1 being the smallest: counted by the upper 16 bits of the key, then by the
/// lower 16 among those that share the upper.
fn order_statistic(values: &[f32], rank: usize) -> f32 {
    let mut counts = vec![0usize; 1 << 16];
    let keys = || values.iter().filter(|v| v.is_finite()).map(|&v| key(v));
    keys().for_each(|k| counts[(k >> 16) as usize] += 1);
    let (upper, rank) = bin_of(&counts, rank);
    counts.fill(0);
    keys().filter(|k| k >> 16 == upper).for_each(|k| counts[(k & 0xffff) as usize] += 1);
    let (lower, _) = bin_of(&counts, rank);
    let k = upper << 16 | lower;
    f32::from_bits(if k >> 31 == 1 { k & !(1 << 31) } else { !k })
}

/// The bin in which the element of the given rank lies, and its rank in that bin.
fn bin_of(counts: &[usize], mut rank: usize) -> (u32, usize) {
    for (bin, &count) in counts.iter().enumerate() {
        if rank <= count {
            return (bin as u32, rank);
        }
        rank -= count;
    }
    unreachable!("a rank is at most the number of values")
}

/// A slice as a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    grey: Vec<u8>,
    rgb: Option<Vec<u8>>,
    non_finite: usize,
}

/// The picture of `values`, `[row][column]`, row 0 at the top.
///
/// # Errors
/// [`Fault::Bug`](crate::error::Fault::Bug) where the number of values is not `width · height`.
pub fn to_grey(values: &[f32], width: usize, height: usize, window: Window) -> Result<Picture> {
    if width.checked_mul(height) != Some(values.len()) {
        return Err(Error::bug(format!("{} values for a picture of {width} x {height}", values.len())));
    }
    let grey: Vec<u8> = values.iter().map(|&v| if v.is_finite() { window.grey(v) } else { 0 }).collect();
    let non_finite = values.iter().filter(|v| !v.is_finite()).count();
    let rgb = (non_finite > 0).then(|| {
        let colour = |(&v, &g): (&f32, &u8)| match v {
            v if v.is_finite() => [g; 3],
            v if v.is_nan() => NAN_COLOUR,
            v if v > 0.0 => PLUS_INFINITY_COLOUR,
            _ => MINUS_INFINITY_COLOUR,
        };
        values.iter().zip(&grey).flat_map(colour).collect()
    });
    Ok(Picture { width, height, grey, rgb, non_finite })
}

impl Picture {
    /// Values that were not finite and are painted: NaN magenta, +∞ red, −∞ blue.
    pub fn non_finite(&self) -> usize {
        self.non_finite
    }

    /// The grey values, `[row][column]`; 0 where the value was not finite.
    pub fn grey(&self) -> &[u8] {
        &self.grey
    }

    /// The bytes of a PNG file: grey, or RGB where a value was not finite.
    pub fn encode(&self) -> Result<Vec<u8>> {
        match &self.rgb {
            Some(rgb) => png::encode_rgb8(self.width, self.height, rgb),
            None => png::encode_grey8(self.width, self.height, &self.grey),
        }
    }

    /// Writes [`Picture::encode`] as the file `path`.
    ///
    /// # Errors
    /// [`Fault::CannotCreate`](crate::error::Fault::CannotCreate) where it exists and `overwrite` is not set, or its
    /// folder cannot be written.
    pub fn write(&self, path: &Path, overwrite: bool) -> Result<()> {
        match &self.rgb {
            Some(rgb) => png::write_rgb8(path, self.width, self.height, rgb, overwrite),
            None => png::write_grey8(path, self.width, self.height, &self.grey, overwrite),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of all magnitudes and both signs, in no order.
    fn values(n: usize) -> Vec<f32> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(state ^ state >> 11)
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let values = values(3001);
        let mut sorted: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
        assert!(sorted.len() < values.len(), "the sample has values that are not finite");
        sorted.sort_by(f32::total_cmp);
        for (low, high) in [(0.0, 100.0), (0.5, 99.5), (25.0, 75.0), (49.9, 50.0)] {
            let window = Window::of_percentiles(&values, low, high).unwrap().unwrap();
            let nearest = |p: f64| sorted[((p / 100.0 * sorted.len() as f64).ceil() as usize).max(1) - 1];
            assert_eq!(window.low.to_bits(), nearest(low).to_bits());
            assert_eq!(window.high.to_bits(), nearest(high).to_bits());
        }
        let mut reversed = values.clone();
        reversed.reverse();
        let of = |v: &[f32]| Window::of_percentiles(v, 0.5, 99.5).unwrap();
        assert_eq!(of(&reversed), of(&values));
    }

    #[test]
    fn one_hot_pixel_does_not_darken_the_picture() {
        let mut values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        values[500] = 1e30;
        let window = Window::of_percentiles(&values, 0.5, 99.5).unwrap().unwrap();
        assert_eq!((window.low, window.high), (4.0, 995.0));
    }

    #[test]
    fn grey_is_the_formula() {
        let window = Window::new(-1.0, 1.0).unwrap();
        let picture = to_grey(&[-2.0, -1.0, 0.0, 0.5, 1.0, 3e38], 3, 2, window).unwrap();
        // 255 · 1/2 + 1/2 = 128; 255 · 3/4 + 1/2 = 191.75.
        assert_eq!(picture.grey(), [0, 0, 128, 191, 255, 255]);
        assert_eq!(picture.non_finite(), 0);
        assert_eq!(picture.encode().unwrap(), png::encode_grey8(3, 2, picture.grey()).unwrap());
        let extreme = Window::new(-f32::MAX, f32::MAX).unwrap();
        assert_eq!(to_grey(&[f32::MAX, 0.0], 2, 1, extreme).unwrap().grey(), [255, 128]);
    }

    #[test]
    fn what_is_not_finite_is_counted_and_coloured() {
        let values = [0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
        let window = Window::of_percentiles(&values, 0.0, 100.0).unwrap().unwrap();
        let picture = to_grey(&values, 5, 1, window).unwrap();
        assert_eq!(picture.non_finite(), 3);
        let rgb = [0, 0, 0, 255, 0, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255];
        assert_eq!(picture.encode().unwrap(), png::encode_rgb8(5, 1, &rgb).unwrap());
        assert_eq!(Window::of_percentiles(&[f32::NAN], 0.0, 100.0).unwrap(), None);
    }

    #[test]
    fn a_constant_picture_is_mid_grey_and_bad_windows_are_refused() {
        let window = Window::of_percentiles(&[2.5; 10], 0.5, 99.5).unwrap().unwrap();
        assert_eq!(to_grey(&[2.0, 2.5, 3.0], 3, 1, window).unwrap().grey(), [0, 128, 255]);
        for (low, high) in [(1.0, 1.0), (2.0, 1.0), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
            assert!(Window::new(low, high).is_err());
        }
        for (low, high) in [(50.0, 50.0), (-1.0, 50.0), (0.0, 101.0), (f64::NAN, 50.0)] {
            assert!(Window::of_percentiles(&[1.0], low, high).is_err());
        }
        assert!(to_grey(&[0.0; 3], 2, 2, window).is_err());
    }
}
