//! A map in colours: one number per column of the sample, with a bar that tells the scale and one that tells the length.

use super::draw::{Anchor, Drawing, Shape, Stroke};
use super::{escape, short};
use crate::analysis::view::round_length;
use crate::error::{Error, Result};

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
pub const WIDEST: usize = 400;
/// Width of a map on the page, and in a file of its own.
const SHOWN: f64 = 200.0;
const ALONE: f64 = 480.0;
/// Width of the bar of colours, its height, and its steps.
const BAR: [f64; 2] = [256.0, 12.0];
const STEPS: usize = 64;
/// Bar of lengths.
const LENGTH: Stroke = Stroke::plain(0, 3.0);

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

    /// The map as a drawing of its own: what it is, its colours, the bar of lengths, and that of the scale.
    ///
    /// # Errors
    /// An empty map.
    pub fn alone(&self, what: &str, unit: &str, limits: [f64; 2], scale: Scale, paint: &Paint) -> Result<Drawing> {
        let mut drawing = self.drawn(limits, scale, ALONE, 1, paint)?;
        drawing.shapes.iter_mut().for_each(|shape| shape.move_down(TITLE));
        drawing.shapes.push(Shape::Text([2.0, 12.0], Anchor::Start, format!("{what}, {}", self.title)));
        drawing.height += TITLE;
        push_bar(&mut drawing, limits, scale, unit);
        Ok(drawing)
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
    pub fn painted(&self, limits: [f64; 2], scale: Scale, title: &str, paint: &Paint) -> Result<String> {
        let mut drawing = self.drawn(limits, scale, SHOWN, self.thinning(), paint)?;
        drawing.title = format!("{title}{}", self.summary());
        let svg = drawing.svg()?;
        Ok(format!("<figure class=\"map\">{svg}<figcaption>{}</figcaption></figure>", escape(title)))
    }

    /// Every how many values there is one on the page.
    pub fn thinning(&self) -> usize {
        thinning(self.width, self.values.len() / self.width.max(1))
    }

    fn drawn(&self, limits: [f64; 2], scale: Scale, shown: f64, n: usize, paint: &Paint) -> Result<Drawing> {
        let (width, values) = binned(self, n);
        let height = values.len() / width.max(1);
        let pixel = |(i, v): (usize, &f32)| {
            let own = coloured(*v, limits, scale);
            let half = |colour: [u8; 3]| std::array::from_fn(|k| own[k] / 2 + colour[k] / 2);
            paint(i / width * n * self.width + i % width * n).map_or(own, half)
        };
        let rgb: Vec<u8> = values.iter().enumerate().flat_map(pixel).collect();
        let tall = shown * height as f64 / width.max(1) as f64;
        let whole = width as f64 * n as f64 * self.pixel.unwrap_or(1.0);
        let length = round_length(whole).ok_or_else(|| {
            Error::data(format!("a map of {whole} µm")).help("see voxel_um in the results' parameters")
        })?;
        let (bar, y) = (shown * length / whole, tall + 10.0);
        let unit = if self.pixel.is_some() { "µm" } else { "voxels" };
        let shapes = vec![
            Shape::Image([0.0; 2], [shown, tall], width, rgb),
            Shape::Line(vec![[2.0, y], [2.0 + bar, y]], LENGTH),
            Shape::Text([bar + 8.0, y + 4.0], Anchor::Start, format!("{} {unit}", short(length))),
        ];
        Ok(Drawing { width: shown, height: tall + 20.0, title: String::new(), fixed: true, shapes })
    }
}

/// Colours that are laid over values, by their places.
pub type Paint<'a> = dyn Fn(usize) -> Option<[u8; 3]> + 'a;
/// Space for what a drawing is.
const TITLE: f64 = 20.0;

/// Every how many values of a map of so many columns and rows there is one on the page.
pub fn thinning(width: usize, height: usize) -> usize {
    width.max(height).div_ceil(WIDEST).max(1)
}

/// Adds the bar that tells the colours of a scale below a drawing.
fn push_bar(drawing: &mut Drawing, [low, high]: [f64; 2], scale: Scale, unit: &str) {
    let (top, wide) = (drawing.height + 4.0, BAR[0] / STEPS as f64);
    for k in 0..STEPS {
        let (left, bottom) = (32.0 + wide * k as f64, top + BAR[1]);
        // One more unit wide, under the next one: without gaps.
        let right = left + wide + if k + 1 < STEPS { 1.0 } else { 0.0 };
        let colour = scale.colour((k as f64 + 0.5) / STEPS as f64);
        drawing.shapes.push(Shape::Area(vec![[left, top], [right, top], [right, bottom], [left, bottom]], colour));
    }
    for (part, v) in [(0.0, low), (0.5, 0.5 * (low + high)), (1.0, high)] {
        let at = [32.0 + part * BAR[0], top + BAR[1] + 14.0];
        drawing.shapes.push(Shape::Text(at, Anchor::Middle, short(v)));
    }
    drawing.shapes.push(Shape::Text([40.0 + BAR[0], top + 11.0], Anchor::Start, unit.into()));
    drawing.height += BAR[1] + 22.0;
}

/// The bar that tells the colours of a scale, for a page.
///
/// # Errors
/// None.
pub fn bar(limits: [f64; 2], scale: Scale, unit: &str) -> Result<String> {
    let mut drawing = Drawing { width: 440.0, fixed: true, ..Drawing::default() };
    push_bar(&mut drawing, limits, scale, unit);
    Ok(format!("<div class=\"bar\">{}</div>", drawing.svg()?))
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
