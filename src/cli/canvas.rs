//! Coloured pictures of lines, squares and text.

use crate::error::Result;
use crate::exchange::{font, png};
use crate::report::figures::OTHERS;
use std::path::Path;

/// Colours of things in their order: those of diagrams, and Okabe and Ito's yellow.
pub const COLOURS: [[u8; 3]; 8] = {
    let [blue, vermilion, green, purple, orange, sky, black, _] = OTHERS;
    [blue, vermilion, green, purple, orange, sky, [240, 228, 66], black]
};
/// Axes and text.
pub const BLACK: [u8; 3] = [0; 3];
/// What is to be seen through.
pub const GREY: [u8; 3] = [190; 3];

/// A coloured picture.
pub struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// White.
    pub fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, rgb: vec![255; 3 * width * height] }
    }

    /// A pixel; none outside.
    pub fn dot(&mut self, x: f64, y: f64, colour: [u8; 3]) {
        if x >= 0.0 && y >= 0.0 && (x as usize) < self.width && (y as usize) < self.height {
            let at = 3 * (y as usize * self.width + x as usize);
            self.rgb[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// A line.
    pub fn line(&mut self, [x0, y0]: [f64; 2], [x1, y1]: [f64; 2], colour: [u8; 3]) {
        let steps = (x1 - x0).abs().max((y1 - y0).abs()).ceil().max(1.0) as usize;
        for k in 0..=steps {
            let t = k as f64 / steps as f64;
            self.dot(x0 + t * (x1 - x0), y0 + t * (y1 - y0), colour);
        }
    }

    /// A square about a place.
    pub fn square(&mut self, [x, y]: [f64; 2], half: i32, colour: [u8; 3]) {
        for v in -half..=half {
            (-half..=half).for_each(|u| self.dot(x + f64::from(u), y + f64::from(v), colour));
        }
    }

    /// Text whose corner is at a place.
    pub fn text(&mut self, (x, y): (usize, usize), text: &str, colour: [u8; 3]) {
        let (width, height) = (font::width(text, 1) + 1, font::HEIGHT);
        let mut grey = vec![255u8; width * height];
        font::draw(&mut grey, width, (0, 0), text, 1, 0);
        for i in (0..grey.len()).filter(|&i| grey[i] == 0) {
            self.dot((x + i % width) as f64, (y + i / width) as f64, colour);
        }
    }

    /// A grey picture, every pixel a square of `factor`.
    pub fn image(&mut self, (x, y): (usize, usize), grey: &[u8], width: usize, factor: usize) {
        for (i, &v) in grey.iter().enumerate() {
            for k in 0..factor * factor {
                let (u, w) = (i % width * factor + k % factor, i / width * factor + k / factor);
                self.dot((x + u) as f64, (y + w) as f64, [v; 3]);
            }
        }
    }

    /// Writes it as PNG.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, path: &Path, overwrite: bool) -> Result<()> {
        png::write_rgb8(path, self.width, self.height, &self.rgb, overwrite)
    }
}
