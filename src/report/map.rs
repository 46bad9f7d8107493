//! A map in colours: one number per column of the sample, with a bar that tells the scale and one that tells the length.

use super::{escape, short};
use crate::error::{Error, Result};
use crate::exchange::font;
use crate::exchange::png::encode_rgb8;
use std::fmt::Write as _;

/// A map.
#[derive(Clone, Debug)]
pub struct Map {
    /// What stands above it.
    pub title: String,
    /// Columns.
    pub width: usize,
    /// Values, \[row\]\[column\]; NaN where there is none.
    pub values: Vec<f32>,
    /// Micrometres from a column to the next; none where nobody tells: lengths are in voxels.
    pub pixel: Option<f64>,
}

/// Colours of a scale from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From dark to light: viridis (S. van der Walt, N. Smith), eleven of its colours.
    Sequential,
    /// Blue below the middle, white there, red above.
    Diverging,
    /// From black to white.
    Grey,
}

const VIRIDIS: [[u8; 3]; 11] = [
    [68, 1, 84],
    [72, 36, 117],
    [65, 68, 135],
    [53, 95, 141],
    [42, 120, 142],
    [33, 145, 140],
    [34, 168, 132],
    [68, 191, 112],
    [122, 209, 81],
    [189, 223, 38],
    [253, 231, 37],
];
const BLACK_WHITE: [[u8; 3]; 2] = [[0, 0, 0], [255, 255, 255]];
const BLUE_RED: [[u8; 3]; 3] = [[33, 102, 172], [247, 247, 247], [178, 24, 43]];
/// Where there is no number.
const NOTHING: [u8; 3] = [210, 210, 210];
/// Widest picture, pixels: larger maps are means of squares.
const WIDEST: usize = 400;
/// Width of a map on the page.
const SHOWN: f64 = 200.0;

impl Scale {
    /// The colour at t, 0 to 1.
    pub fn colour(self, t: f64) -> [u8; 3] {
        let table: &[[u8; 3]] = match self {
            Scale::Sequential => &VIRIDIS,
            Scale::Diverging => &BLUE_RED,
            Scale::Grey => &BLACK_WHITE,
        };
        let at = t.clamp(0.0, 1.0) * (table.len() - 1) as f64;
        let k = (at as usize).min(table.len() - 2);
        let part = at - k as f64;
        std::array::from_fn(|i| (f64::from(table[k][i]) * (1.0 - part) + f64::from(table[k + 1][i]) * part + 0.5) as u8)
    }
}

/// The colour of a value.
fn coloured(v: f32, [low, high]: [f64; 2], scale: Scale) -> [u8; 3] {
    if v.is_finite() { scale.colour((f64::from(v) - low) / (high - low)) } else { NOTHING }
}

/// Limits of several maps together: from zero, or alike on both sides of it where there are values below.
pub fn limits<'a>(maps: impl Iterator<Item = &'a Map>) -> ([f64; 2], Scale) {
    let finite = maps.flat_map(|m| &m.values).filter(|v| v.is_finite());
    let [low, high] = finite.fold([0.0f64, 0.0f64], |[a, b], &v| [a.min(f64::from(v)), b.max(f64::from(v))]);
    if low < 0.0 {
        let most = high.max(-low);
        ([-most, most], Scale::Diverging)
    } else {
        ([0.0, if high > 0.0 { high } else { 1.0 }], Scale::Sequential)
    }
}

/// Limits of grey pictures together: what all but two hundredths of their values lie within.
pub fn grey_limits<'a>(maps: impl Iterator<Item = &'a Map>) -> [f64; 2] {
    let mut values: Vec<f32> = maps.flat_map(|m| &m.values).copied().filter(|v| v.is_finite()).collect();
    values.sort_by(f32::total_cmp);
    let at = |part: usize| values.get(values.len().saturating_sub(1) * part / 100).map_or(0.0, |v| f64::from(*v));
    let [low, high] = [at(1), at(99)];
    if low < high { [low, high] } else { [low - 1.0, high + 1.0] }
}

/// Means of squares of n x n values, those that are numbers.
fn binned(map: &Map, n: usize) -> (usize, Vec<f32>) {
    let (w, h) = (map.width, map.values.len() / map.width.max(1));
    let (bw, bh) = (w.div_ceil(n), h.div_ceil(n));
    let mean = |i: usize| {
        let (y, x) = (i / bw * n, i % bw * n);
        let inside = (y..h.min(y + n)).flat_map(|y| map.values[y * w + x..y * w + w.min(x + n)].iter());
        let (sum, count) =
            inside.filter(|v| v.is_finite()).fold((0.0f64, 0u32), |(s, c), &v| (s + f64::from(v), c + 1));
        if count > 0 { (sum / f64::from(count)) as f32 } else { f32::NAN }
    };
    (bw, (0..bw * bh).map(mean).collect())
}

impl Map {
    /// Least, mean and greatest value, for who points at the map.
    fn summary(&self) -> String {
        let known = || self.values.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite());
        let (sum, n) = known().fold((0.0, 0u32), |(s, n), v| (s + v, n + 1));
        if n == 0 {
            return String::new();
        }
        let [low, high] = known().fold([f64::MAX, f64::MIN], |[low, high], v| [low.min(v), high.max(v)]);
        format!(": {} to {}, mean {}", short(low), short(high), short(sum / f64::from(n)))
    }

    /// The map as a picture of its own (PNG): a pixel per column, below it the bar of lengths.
    ///
    /// # Errors
    /// An empty map.
    pub fn png(&self, limits: [f64; 2], scale: Scale) -> Result<Vec<u8>> {
        let (width, height) = (self.width, self.values.len() / self.width.max(1));
        let whole = width as f64 * self.pixel.unwrap_or(1.0);
        let length = round_length(whole)?;
        let bar = (width as f64 * length / whole) as usize;
        let strip = font::HEIGHT + 4;
        let mut below = vec![255u8; width * strip];
        for row in below.chunks_exact_mut(width).skip(strip / 2 - 1).take(3) {
            row[..bar].fill(0);
        }
        let text = format!("{} {}", short(length), if self.pixel.is_some() { "um" } else { "voxels" });
        font::draw(&mut below, width, (bar + 4, 2), &text, 1, 0);
        let mut rgb: Vec<u8> = self.values.iter().flat_map(|v| coloured(*v, limits, scale)).collect();
        rgb.extend(below.iter().flat_map(|grey| [*grey; 3]));
        encode_rgb8(width, height + strip, &rgb)
    }

    /// The map on the page, by limits that it shares with others.
    ///
    /// # Errors
    /// An empty map.
    pub fn svg(&self, limits: [f64; 2], scale: Scale) -> Result<String> {
        self.painted(limits, scale, &self.title, &|_| None)
    }

    /// The map on the page with colours over its values: half of what `paint` has for a value's place.
    ///
    /// # Errors
    /// An empty map.
    pub fn painted(
        &self,
        limits: [f64; 2],
        scale: Scale,
        title: &str,
        paint: &dyn Fn(usize) -> Option<[u8; 3]>,
    ) -> Result<String> {
        let n = self.width.max(self.values.len() / self.width.max(1)).div_ceil(WIDEST).max(1);
        let (width, values) = binned(self, n);
        let height = values.len() / width.max(1);
        let pixel = |(i, v): (usize, &f32)| {
            let own = coloured(*v, limits, scale);
            let half = |colour: [u8; 3]| std::array::from_fn(|k| own[k] / 2 + colour[k] / 2);
            paint(i / width * n * self.width + i % width * n).map_or(own, half)
        };
        let rgb: Vec<u8> = values.iter().enumerate().flat_map(pixel).collect();
        let png = base64(&encode_rgb8(width, height, &rgb)?);
        let shown = SHOWN * height as f64 / width as f64;
        let whole = width as f64 * n as f64 * self.pixel.unwrap_or(1.0);
        let scale_bar = scale_bar(whole, SHOWN, shown + 10.0, self.pixel.is_some())?;
        let mut s = format!(
            "<figure class=\"map\"><svg viewBox=\"0 0 {SHOWN} {:.1}\" width=\"{SHOWN}\"><title>{}</title>",
            shown + 20.0,
            escape(&format!("{title}{}", self.summary()))
        );
        let _ = write!(
            s,
            "<image width=\"{SHOWN}\" height=\"{shown:.1}\" preserveAspectRatio=\"none\" href=\"data:image/png;base64,{png}\"/>"
        );
        s += &scale_bar;
        s += "</svg>";
        let _ = write!(s, "<figcaption>{}</figcaption></figure>", escape(title));
        Ok(s)
    }
}

/// A length that is round and at most a third of `whole`.
///
/// # Errors
/// Data: no such length.
fn round_length(whole: f64) -> Result<f64> {
    if !(1e-3..1e12).contains(&whole) {
        return Err(Error::data(format!("a map of {whole} µm")).help("see voxel_um in the results' parameters"));
    }
    let mut length = 1.0;
    while 10.0 * length <= whole / 3.0 {
        length *= 10.0;
    }
    Ok([5.0, 2.0, 1.0].into_iter().map(|m| m * length).find(|l| *l <= whole / 3.0).unwrap_or(length))
}

/// The bar that tells lengths of a picture `whole` wide that is shown `shown` wide, as parts of an SVG, at the height `y`.
///
/// # Errors
/// Data: a picture without a width.
pub fn scale_bar(whole: f64, shown: f64, y: f64, told: bool) -> Result<String> {
    let length = round_length(whole)?;
    let bar = shown * length / whole;
    let unit = if told { "µm" } else { "voxels" };
    Ok(format!(
        "<path class=\"b\" d=\"M2 {y:.1}h{bar:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\">{} {unit}</text>",
        bar + 8.0,
        y + 4.0,
        short(length)
    ))
}

/// The bar that tells the colours of a scale.
pub fn bar([low, high]: [f64; 2], scale: Scale, unit: &str) -> String {
    const STEPS: usize = 64;
    let mut s = String::from("<svg class=\"bar\" viewBox=\"0 0 440 34\" width=\"440\">");
    for k in 0..STEPS {
        let [r, g, b] = scale.colour((k as f64 + 0.5) / STEPS as f64);
        let _ = write!(s, "<path fill=\"#{r:02x}{g:02x}{b:02x}\" d=\"M{} 2h4.2v12h-4.2z\"/>", 32 + 4 * k);
    }
    for (at, v) in [(32, low), (160, 0.5 * (low + high)), (288, high)] {
        let _ = write!(s, "<text class=\"m\" x=\"{at}\" y=\"28\">{}</text>", short(v));
    }
    let _ = write!(s, "<text x=\"294\" y=\"13\">{}</text></svg>", escape(unit));
    s
}

/// Base64 of RFC 4648.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, &b| w << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for k in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * k) & 63) as usize];
            out.push(if k <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn colours_meet_their_table_and_maps_their_limits() {
        assert_eq!(Scale::Sequential.colour(0.0), VIRIDIS[0]);
        assert_eq!(Scale::Sequential.colour(1.0), VIRIDIS[10]);
        assert_eq!(Scale::Sequential.colour(0.1), VIRIDIS[1]);
        assert_eq!(Scale::Diverging.colour(0.5), BLUE_RED[1]);
        let map = |values: Vec<f32>| Map { title: "m".into(), width: 2, values, pixel: Some(1.33) };
        let (a, b) = (map(vec![0.0, 2.0, f32::NAN, 1.0]), map(vec![0.0, 5.0, 0.0, 0.0]));
        assert_eq!(limits([&a, &b].into_iter()), ([0.0, 5.0], Scale::Sequential));
        assert_eq!(limits([&a, &map(vec![-3.0; 4])].into_iter()), ([-3.0, 3.0], Scale::Diverging));
        assert_eq!(binned(&a, 2), (1, vec![1.0]));
        let ramp = map((0..=100u8).map(f32::from).collect());
        assert_eq!((grey_limits([&ramp].into_iter()), grey_limits([].into_iter())), ([1.0, 99.0], [-1.0, 1.0]));
        let svg = a.svg([0.0, 5.0], Scale::Sequential).unwrap();
        assert!(svg.contains("data:image/png;base64,iVBOR") && svg.contains("<title>m: 0 to 2, mean 1</title>"));
    }
}
