//! Pictures of arrays and curves, with a caption: large enough to be looked at.

use crate::error::Result;
use crate::exchange::window::{DEFAULT_PERCENTILES, Window, to_grey};
use crate::exchange::{font, png};
use crate::num::elementary::ln;
use std::path::Path;

/// Small pictures are enlarged by whole factors, to at most this many pixels along their longer side.
const SIDE: usize = 640;
/// Size of a plot.
const PLOT: [usize; 2] = [800, 320];
/// Pixels of one font pixel.
const FONT_SCALE: usize = 2;
/// Free pixels around captions and plots.
const MARGIN: usize = 8;
/// Magnitudes more decades below the largest one are drawn as if they were so many below: zeros have no logarithm.
const DECADES: f64 = 8.0;
/// Percentiles of the magnitudes above zero that are black and white.
const LOG_PERCENTILES: (f64, f64) = (5.0, 100.0);

const WHITE: u8 = 255;
const GREY: u8 = 200;
const BLACK: u8 = 0;

/// A grey picture.
pub struct Picture {
    width: usize,
    height: usize,
    grey: Vec<u8>,
}

impl Picture {
    /// Writes it as PNG.
    pub fn write(&self, path: &Path, overwrite: bool) -> Result<()> {
        png::write_grey8(path, self.width, self.height, &self.grey, overwrite)
    }

    /// `values` `[row][column]`, black to white between percentiles, with a caption that says which values those are.
    pub fn linear(values: &[f32], width: usize, caption: &str) -> Result<Picture> {
        let window = Window::of_percentiles(values, DEFAULT_PERCENTILES.0, DEFAULT_PERCENTILES.1)?;
        Picture::of(values, width, window, caption)
    }

    /// The same for log10 of magnitudes; zeros are black.
    pub fn logarithmic(magnitudes: &[f64], width: usize, caption: &str) -> Result<Picture> {
        // A plane is empty beyond the spokes: those zeros say nothing about the window.
        let above: Vec<f64> = magnitudes.iter().copied().filter(|&v| v > 0.0).collect();
        let window = Window::of_percentiles(&decades(&above), LOG_PERCENTILES.0, LOG_PERCENTILES.1)?;
        Picture::of(&decades(magnitudes), width, window, caption)
    }

    fn of(values: &[f32], width: usize, window: Option<Window>, caption: &str) -> Result<Picture> {
        let height = values.len() / width;
        let Some(window) = window else {
            return Ok(Picture::blank(width, height).captioned(&format!("{caption}: nothing to show")));
        };
        let small = to_grey(values, width, height, window)?;
        let factor = (SIDE / width.max(height)).max(1);
        let grey = small.grey().chunks_exact(width).flat_map(|row| {
            let line: Vec<u8> = row.iter().flat_map(|&g| std::iter::repeat_n(g, factor)).collect();
            std::iter::repeat_n(line, factor).flatten()
        });
        let picture = Picture { width: width * factor, height: height * factor, grey: grey.collect() };
        Ok(picture.captioned(&format!("{caption}: {} TO {}", short(window.low()), short(window.high()))))
    }

    /// A curve over its index: from its least to its largest value, 0 included, which is a grey line.
    pub fn curve(values: &[f32], caption: &str) -> Picture {
        let finite = || values.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite());
        let (low, high) = (finite().fold(0.0, f64::min), finite().fold(0.0, f64::max));
        Picture::plot(values, low, high, true).captioned(&format!("{caption}: {} TO {}", short(low), short(high)))
    }

    /// A curve of log10 of magnitudes.
    pub fn logarithmic_curve(magnitudes: &[f64], caption: &str) -> Picture {
        let values = decades(magnitudes);
        let finite = || values.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite());
        let (low, high) = (finite().fold(f64::MAX, f64::min), finite().fold(f64::MIN, f64::max));
        Picture::plot(&values, low, high, false).captioned(&format!("{caption}: {} TO {}", short(low), short(high)))
    }

    fn plot(values: &[f32], low: f64, high: f64, zero: bool) -> Picture {
        let [width, height] = PLOT;
        let mut picture = Picture::blank(width, height);
        let span = if high > low { high - low } else { 1.0 };
        let inner = [width - 2 * MARGIN, height - 2 * MARGIN];
        let y_of = |v: f64| MARGIN + ((high - v) / span * (inner[1] - 1) as f64 + 0.5) as usize;
        if zero {
            let y = y_of(0.0);
            picture.grey[y * width + MARGIN..(y + 1) * width - MARGIN].fill(GREY);
        }
        let last = values.len().saturating_sub(1).max(1);
        let x_of = |i: usize| MARGIN + i * (inner[0] - 1) / last;
        // A vertical stroke from each point to the next one's height, at the steps between pixels a slanted one.
        for (i, pair) in values.windows(2).enumerate() {
            let (a, b) = (f64::from(pair[0]), f64::from(pair[1]));
            if !(a.is_finite() && b.is_finite()) {
                continue;
            }
            let (x0, x1) = (x_of(i), x_of(i + 1));
            let steps = (x1 - x0).max(1);
            for s in 0..steps {
                let at = |s: usize| y_of(a + (b - a) * s as f64 / steps as f64);
                let (y0, y1) = (at(s).min(at(s + 1)), at(s).max(at(s + 1)));
                for y in y0..=y1 {
                    picture.grey[y * width + x0 + s] = BLACK;
                }
            }
        }
        picture
    }

    fn blank(width: usize, height: usize) -> Picture {
        Picture { width, height, grey: vec![WHITE; width * height] }
    }

    /// The picture with a line of text below it, white where neither is.
    fn captioned(self, caption: &str) -> Picture {
        let width = self.width.max(font::width(caption, FONT_SCALE) + 2 * MARGIN);
        let height = self.height + font::HEIGHT * FONT_SCALE + 2 * MARGIN;
        let mut whole = Picture::blank(width, height);
        let left = (width - self.width) / 2;
        for (to, from) in whole.grey.chunks_exact_mut(width).zip(self.grey.chunks_exact(self.width)) {
            to[left..left + self.width].copy_from_slice(from);
        }
        font::draw(&mut whole.grey, width, (MARGIN, self.height + MARGIN), caption, FONT_SCALE, BLACK);
        whole
    }
}

/// log10 of magnitudes.
fn decades(magnitudes: &[f64]) -> Vec<f32> {
    let log10 = |v: f64| ln(v) / std::f64::consts::LN_10;
    let largest = magnitudes.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    let floor = if largest > 0.0 { log10(largest) - DECADES } else { 0.0 };
    magnitudes
        .iter()
        .map(|&v| if v.is_nan() { f32::NAN } else { (if v > 0.0 { log10(v) } else { floor }).max(floor) as f32 })
        .collect()
}

/// A number in a caption: three digits.
fn short(value: impl Into<f64>) -> String {
    let value = value.into();
    if value == 0.0 || (0.01..1000.0).contains(&value.abs()) { format!("{value:.3}") } else { format!("{value:.2E}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_grow_and_captions_fit() {
        let picture = Picture::linear(
            &[0.0, 1.0],
            2,
            "a caption that is far longer than the picture would be wide if it were not enlarged",
        )
        .unwrap();
        assert_eq!(picture.grey.len(), picture.width * picture.height);
        assert!(picture.width > SIDE && picture.height > SIDE / 2);
        let dark = picture.grey.iter().filter(|&&g| g == BLACK).count();
        assert!(dark >= SIDE / 2 * SIDE / 2, "one half is black: {dark}");
    }

    #[test]
    fn curves_reach_from_low_to_high() {
        let picture = Picture::curve(&[0.0, 1.0, 0.0], "c");
        let row = |y: usize| &picture.grey[y * picture.width..(y + 1) * picture.width];
        assert!(row(MARGIN).contains(&BLACK) && row(PLOT[1] - MARGIN - 1).contains(&BLACK));
        assert!(!row(MARGIN - 1).contains(&BLACK) && !row(PLOT[1] - MARGIN).contains(&BLACK));
        for constant in [&[0.0f32; 4][..], &[f32::NAN; 4], &[1.0], &[]] {
            assert_eq!(Picture::curve(constant, "c").grey.len(), picture.grey.len());
        }
    }

    #[test]
    fn zeros_have_a_place_on_a_logarithmic_scale() {
        assert_eq!(decades(&[100.0, 0.0]), [2.0, -6.0]);
        assert_eq!(decades(&[0.0, 0.0]), [0.0, 0.0]);
        assert!(decades(&[1.0, f64::NAN])[1].is_nan());
    }
}
