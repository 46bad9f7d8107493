//! Patches shifted, turned, stretched and disturbed, so that a network learns what stays the same.
//!
//! ```text
//! flips      each by a coin of its own; `half-turn` exchanges rows and columns from both ends at once
//! affine     source = M·(i − (H−1)/2, j − (W−1)/2, 1) + ((H−1)/2, (W−1)/2)      M = R(θ)·Sh·T·S, f64
//!            R = [[c, −s], [s, c]], Sh = [[1, a], [b, 1]], T a shift in pixels, S = diag(s_i, s_j); all about the middle
//!            image bilinear, 0 outside; labels nearest (halves to even), unlabelled outside
//! blur       Gaussian of σ pixels, rows then columns, taps to ⌈3σ⌉, ends repeated
//! intensity  gain·v + offset
//! rings      profile of the distance r from a centre near or far: white noise of σ at whole r, linear between
//! noise      white, normal, of σ
//! clipped    to 0 … 1
//! ```
//!
//! in this order. `authors` is what the authors' code does: half-turn with 0.5; θ within ±0.05π, shears within ±0.25, shifts
//! within ±0.2 of the sides, scales 1 ± 0.25, independent. Everything else is off there, single-axis flips too, and on
//! only by name: `authors,noise=0.03,rings=0.02`.
//!
//! Numbers are f(seed, patch, epoch, what): any order of work, any number of threads gives the same patch.
//!
//! `loaders=W` is a defect of the authors' code, to measure what it costs: processes that load batches are copies of one
//! state, and start from it anew in every epoch. Batch b is loaded by process b mod W, so that numbers are f(seed,
//! ⌊b/W⌋, place in the batch, what): W batches are disturbed alike, in all epochs. Theirs: 4 ranks of 32, W = 128.
//!
//! Source: MONAI's RandFlip, RandAffine (AffineGrid, Resample) as the authors call them. MONAI 1.6 made Sh a product of two
//! shears, [[1, a], [b, 1 + ab]]; here it is what the authors had.

use super::UNLABELLED;
use crate::error::{Error, Result, nearest};
use crate::nn::fit::Turn;
use crate::num::elementary::{cos_pi, exp, sin_pi};
use crate::num::philox::Stream;

const STREAM: u32 = 0x6175_6700;
/// Distance of the farthest centre of rings, in sides of the patch.
const FAR: f64 = 4.0;

/// How far each disturbance may go; 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Probability of the half-turn.
    pub half_turn: f64,
    /// Probability that rows are exchanged.
    pub flip_rows: f64,
    /// Probability that columns are exchanged.
    pub flip_columns: f64,
    /// θ within ± this, in units of π.
    pub rotate: f64,
    /// a and b within ± this.
    pub shear: f64,
    /// Shifts within ± this part of the sides.
    pub translate: f64,
    /// Scales within 1 ± this.
    pub scale: f64,
    /// Gain within 1 ± this.
    pub gain: f64,
    /// Offset within ± this.
    pub offset: f64,
    /// σ of the blur up to this.
    pub blur: f64,
    /// σ of the rings up to this.
    pub rings: f64,
    /// σ of the noise up to this.
    pub noise: f64,
    /// Loaders that draw the same numbers, as the authors' did; 0: every patch has its own.
    pub loaders: f64,
}

/// A field of the options by its name, with the most it may be.
type Field = (&'static str, fn(&mut Options) -> &mut f64, f64);
const FIELDS: [Field; 13] = [
    ("half-turn", |o| &mut o.half_turn, 1.0),
    ("flip-rows", |o| &mut o.flip_rows, 1.0),
    ("flip-columns", |o| &mut o.flip_columns, 1.0),
    ("rotate", |o| &mut o.rotate, 1.0),
    ("shear", |o| &mut o.shear, 0.9),
    ("translate", |o| &mut o.translate, 1.0),
    ("scale", |o| &mut o.scale, 0.9),
    ("gain", |o| &mut o.gain, 0.9),
    ("offset", |o| &mut o.offset, 1.0),
    ("blur", |o| &mut o.blur, 16.0),
    ("rings", |o| &mut o.rings, 1.0),
    ("noise", |o| &mut o.noise, 1.0),
    (LOADERS, |o| &mut o.loaders, 1024.0),
];
/// The field that is a number of things.
const LOADERS: &str = "loaders";

impl Options {
    /// What the authors' code does.
    pub fn authors() -> Options {
        Options { half_turn: 0.5, rotate: 0.05, shear: 0.25, translate: 0.2, scale: 0.25, ..Options::default() }
    }

    /// Parses `none`, `authors`, or either with `name=value` behind it, with commas.
    ///
    /// # Errors
    /// Usage: an unknown name, a value out of range.
    pub fn parse(text: &str) -> Result<Options> {
        let mut options = Options::default();
        for (i, part) in text.split(',').map(str::trim).enumerate() {
            match part.split_once('=') {
                None if i == 0 && part == "none" => {}
                None if i == 0 && part == "authors" => options = Options::authors(),
                Some((name, value)) => {
                    let Some((_, field, most)) = FIELDS.iter().find(|(n, _, _)| *n == name.trim()) else {
                        return Err(unknown(name));
                    };
                    let whole = |v: &f64| v.fract() == 0.0 || name.trim() != LOADERS;
                    let v = value.trim().parse::<f64>().ok().filter(|v| (0.0..=*most).contains(v) && whole(v));
                    *field(&mut options) = v.ok_or_else(|| {
                        Error::usage(format!("'{part}': the value is out of range")).help(format!("0 to {most}"))
                    })?;
                }
                None => return Err(unknown(part)),
            }
        }
        Ok(options)
    }

    /// Every value, for manifests: parses to the same options.
    pub fn to_text(self) -> String {
        let mut copy = self;
        let parts: Vec<String> = FIELDS
            .iter()
            .filter_map(|(name, field, _)| {
                let v = *field(&mut copy);
                (v != 0.0).then(|| format!("{name}={v}"))
            })
            .collect();
        if parts.is_empty() { "none".into() } else { parts.join(",") }
    }

    /// What happens to a patch at a turn.
    pub fn draw(self, seed: u64, patch: u32, turn: Turn) -> Drawn {
        let [high, low] = match self.loaders as u32 {
            0 => [patch, turn.epoch],
            loaders => [turn.batch / loaders, turn.place],
        };
        let index = u64::from(high) << 32 | u64::from(low);
        let stream = Stream::new(seed, STREAM);
        // Block `what` of the index; u in [0, 1), ± in [−1, 1).
        let u = |what: u32| f64::from(stream.block(index, what)[0]) / 4_294_967_296.0;
        let either = |what: u32| 2.0 * u(what) - 1.0;
        let [.., a, b] = stream.block(index, 63);
        Drawn {
            half_turn: u(0) < self.half_turn,
            flip_rows: u(1) < self.flip_rows,
            flip_columns: u(2) < self.flip_columns,
            affine: Affine {
                rotate: self.rotate * either(3),
                shear: [self.shear * either(4), self.shear * either(5)],
                translate: [self.translate * either(6), self.translate * either(7)],
                scale: [1.0 + self.scale * either(8), 1.0 + self.scale * either(9)],
            },
            gain: 1.0 + self.gain * either(10),
            offset: self.offset * either(11),
            blur: self.blur * u(12),
            rings: self.rings * u(13),
            centre: [2.0 * u(14), FAR * u(15)],
            noise: self.noise * u(16),
            // Numbers of the pixels come from a seed that is drawn, too.
            pixels: u64::from(a) << 32 | u64::from(b),
        }
    }
}

fn unknown(name: &str) -> Error {
    let names = || FIELDS.iter().map(|f| f.0).chain(["none", "authors"]);
    let near = nearest(name, names()).map_or(String::new(), |n| format!("did you mean '{n}'? "));
    Error::usage(format!("unknown augmentation '{name}'")).help(format!(
        "{near}write none or authors, then name=value with commas; names: {}",
        names().collect::<Vec<_>>().join(", ")
    ))
}

/// An affine map from output to input, about the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// θ in units of π.
    pub rotate: f64,
    /// a, b.
    pub shear: [f64; 2],
    /// Parts of rows and columns.
    pub translate: [f64; 2],
    /// Of rows and columns; above 1 shrinks what is seen.
    pub scale: [f64; 2],
}

/// What happens to one patch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Both axes.
    pub half_turn: bool,
    /// Rows.
    pub flip_rows: bool,
    /// Columns.
    pub flip_columns: bool,
    /// Geometry.
    pub affine: Affine,
    /// Intensity.
    pub gain: f64,
    /// Intensity.
    pub offset: f64,
    /// σ.
    pub blur: f64,
    /// σ.
    pub rings: f64,
    /// Direction in units of π and distance in sides of the rings' centre.
    pub centre: [f64; 2],
    /// σ.
    pub noise: f64,
    /// Seed of rings and noise.
    pub pixels: u64,
}

impl Affine {
    /// Nothing.
    pub const IDENTITY: Affine = Affine { rotate: 0.0, shear: [0.0; 2], translate: [0.0; 2], scale: [1.0; 2] };

    /// M of a patch of `h` rows and `w` columns.
    pub fn matrix(&self, h: usize, w: usize) -> [[f64; 3]; 2] {
        let (s, c) = (sin_pi(self.rotate), cos_pi(self.rotate));
        let [a, b] = self.shear;
        // R·Sh.
        let g = [[c - s * b, c * a - s], [s + c * b, s * a + c]];
        let t = [self.translate[0] * h as f64, self.translate[1] * w as f64];
        let row = |r: [f64; 2]| [r[0] * self.scale[0], r[1] * self.scale[1], r[0] * t[0] + r[1] * t[1]];
        [row(g[0]), row(g[1])]
    }
}

impl Drawn {
    /// Disturbs a patch of `h` rows and `w` columns in place, all channels of its image alike but for the noise.
    ///
    /// # Panics
    /// If image and labels are not of this size.
    pub fn apply(&self, h: usize, w: usize, image: &mut Vec<f32>, labels: &mut Vec<u8>) {
        let n = h * w;
        assert!(image.len().is_multiple_of(n.max(1)) && labels.len() == n, "a patch of {h} x {w}");
        let rows = self.half_turn != self.flip_rows;
        let columns = self.half_turn != self.flip_columns;
        if rows || columns {
            let from = |i: usize| {
                let (y, x) = (i / w, i % w);
                (if rows { h - 1 - y } else { y }) * w + if columns { w - 1 - x } else { x }
            };
            *image = (0..image.len()).map(|i| image[i / n * n + from(i % n)]).collect();
            *labels = (0..n).map(|i| labels[from(i)]).collect();
        }
        if self.affine != Affine::IDENTITY {
            let m = self.affine.matrix(h, w);
            let channels = image.chunks_exact(n).flat_map(|channel| warp(m, h, w, channel));
            *image = channels.collect();
            *labels = warp_labels(m, h, w, labels);
        }
        if self.blur > 0.0 {
            image.chunks_exact_mut(n).for_each(|channel| blur(self.blur, h, w, channel));
        }
        if (self.gain, self.offset) != (1.0, 0.0) {
            image.iter_mut().for_each(|v| *v = (self.gain * f64::from(*v) + self.offset) as f32);
        }
        if self.rings > 0.0 {
            image.chunks_exact_mut(n).for_each(|channel| self.add_rings(h, w, channel));
        }
        if self.noise > 0.0 {
            let stream = Stream::new(self.pixels, STREAM + 2);
            for (i, pair) in image.chunks_mut(2).enumerate() {
                let (a, b) = stream.normal_pair(i as u64);
                pair.iter_mut().zip([a, b]).for_each(|(v, n)| *v += (self.noise * n) as f32);
            }
        }
        image.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
    }

    fn add_rings(&self, h: usize, w: usize, image: &mut [f32]) {
        let stream = Stream::new(self.pixels, STREAM + 1);
        let far = self.centre[1] * h.max(w) as f64;
        let (cy, cx) = (far * sin_pi(self.centre[0]) + h as f64 / 2.0, far * cos_pi(self.centre[0]) + w as f64 / 2.0);
        let radius = |i: usize| {
            let (y, x) = ((i / w) as f64 - cy, (i % w) as f64 - cx);
            (y * y + x * x).sqrt()
        };
        let least = (0..h * w).map(radius).fold(f64::INFINITY, f64::min) as usize;
        let most = (0..h * w).map(radius).fold(0.0, f64::max) as usize + 2;
        let profile: Vec<f64> = (least..=most).map(|r| self.rings * stream.normal(r as u64)).collect();
        for (i, v) in image.iter_mut().enumerate() {
            let r = radius(i);
            let (k, part) = (r as usize - least, r - r.floor());
            *v += (profile[k] + part * (profile[k + 1] - profile[k])) as f32;
        }
    }
}

/// Where output `i` of `h` × `w` comes from by M: row and column.
fn source(m: [[f64; 3]; 2], h: usize, w: usize, i: usize) -> (f64, f64) {
    let (middle_y, middle_x) = ((h - 1) as f64 / 2.0, (w - 1) as f64 / 2.0);
    let (y, x) = ((i / w) as f64 - middle_y, (i % w) as f64 - middle_x);
    let along = |row: [f64; 3]| row[0] * y + row[1] * x + row[2];
    (along(m[0]) + middle_y, along(m[1]) + middle_x)
}

fn inside(h: usize, w: usize, y: f64, x: f64) -> bool {
    y >= 0.0 && x >= 0.0 && y < h as f64 && x < w as f64
}

/// An image through M.
fn warp(m: [[f64; 3]; 2], h: usize, w: usize, image: &[f32]) -> Vec<f32> {
    let at = |y: f64, x: f64| if inside(h, w, y, x) { f64::from(image[y as usize * w + x as usize]) } else { 0.0 };
    let value = |i: usize| {
        let (y, x) = source(m, h, w, i);
        let (y0, x0) = (y.floor(), x.floor());
        let (fy, fx) = (y - y0, x - x0);
        let upper = (1.0 - fx) * at(y0, x0) + fx * at(y0, x0 + 1.0);
        let lower = (1.0 - fx) * at(y0 + 1.0, x0) + fx * at(y0 + 1.0, x0 + 1.0);
        ((1.0 - fy) * upper + fy * lower) as f32
    };
    (0..h * w).map(value).collect()
}

/// Labels through M.
fn warp_labels(m: [[f64; 3]; 2], h: usize, w: usize, labels: &[u8]) -> Vec<u8> {
    let label = |i: usize| {
        let (y, x) = source(m, h, w, i);
        let (y, x) = (y.round_ties_even(), x.round_ties_even());
        if inside(h, w, y, x) { labels[y as usize * w + x as usize] } else { UNLABELLED }
    };
    (0..h * w).map(label).collect()
}

/// Gaussian of σ pixels.
fn blur(sigma: f64, h: usize, w: usize, image: &mut [f32]) {
    let reach = (3.0 * sigma).ceil() as usize;
    let raw: Vec<f64> = (0..=2 * reach)
        .map(|i| {
            let d = i as f64 - reach as f64;
            exp(-d * d / (2.0 * sigma * sigma))
        })
        .collect();
    let sum = raw.iter().fold(0.0, |s, t| s + t);
    let taps: Vec<f64> = raw.iter().map(|t| t / sum).collect();
    for (lines, length, step, between) in [(h, w, 1, w), (w, h, w, 1)] {
        let mut line = vec![0f64; length];
        for start in (0..lines).map(|i| i * between) {
            line.iter_mut().enumerate().for_each(|(i, v)| *v = f64::from(image[start + i * step]));
            for i in 0..length {
                let near = |t: usize| line[(i + t).saturating_sub(reach).min(length - 1)];
                let v = taps.iter().enumerate().fold(0.0, |s, (t, tap)| s + tap * near(t));
                image[start + i * step] = v as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::npy::read_array;
    use std::path::Path;

    fn nothing() -> Drawn {
        Options::default().draw(1, 2, at(3))
    }

    fn patch(h: usize, w: usize) -> (Vec<f32>, Vec<u8>) {
        (
            (0..h * w).map(|i| ((i * 7919 % 1009) as f64 / 1009.0) as f32).collect(),
            (0..h * w).map(|i| (i / 5 % 4) as u8).collect(),
        )
    }

    fn applied(drawn: Drawn, h: usize, w: usize) -> (Vec<f32>, Vec<u8>) {
        let (mut image, mut labels) = patch(h, w);
        drawn.apply(h, w, &mut image, &mut labels);
        (image, labels)
    }

    #[test]
    fn nothing_changes_nothing_and_names_are_known() {
        assert_eq!(applied(nothing(), 9, 12), patch(9, 12));
        assert_eq!(Options::parse("none").unwrap(), Options::default());
        let options = Options::parse("authors,noise=0.03, flip-rows=0.5").unwrap();
        assert_eq!(options, Options { noise: 0.03, flip_rows: 0.5, ..Options::authors() });
        assert_eq!(Options::parse(&options.to_text()).unwrap(), options);
        assert_eq!(Options::parse(&Options::default().to_text()).unwrap(), Options::default());
        for (text, says) in [
            ("nosie=1", "did you mean 'noise'"),
            ("noise=2", "0 to 1"),
            ("autors", "authors"),
            ("noise=nan", "range"),
            ("loaders=1.5", "0 to 1024"),
        ] {
            assert!(Options::parse(text).unwrap_err().to_string().contains(says), "{text}");
        }
    }

    /// An epoch's first batch.
    fn at(epoch: u32) -> Turn {
        Turn { epoch, ..Turn::default() }
    }

    /// Three loaders: batches 0, 1, 2 alike and 3 not, in every epoch, whatever the patch.
    #[test]
    fn the_authors_loaders_disturb_their_batches_alike() {
        let options = Options::parse("authors,loaders=3").unwrap();
        let draw = |patch, epoch, batch, place| options.draw(7, patch, Turn { epoch, batch, place });
        let one = draw(4, 0, 0, 5);
        for (patch, epoch, batch) in [(4, 0, 1), (9, 0, 2), (4, 6, 0)] {
            assert_eq!(draw(patch, epoch, batch, 5), one);
        }
        assert_ne!(draw(4, 0, 3, 5), one);
        assert_ne!(draw(4, 0, 0, 6), one);
    }

    #[test]
    fn flips_exchange_what_their_names_say() {
        let (image, labels) = patch(3, 4);
        for (rows, columns, half) in
            [(true, false, false), (false, true, false), (true, true, false), (false, false, true)]
        {
            let drawn = Drawn { flip_rows: rows, flip_columns: columns, half_turn: half, ..nothing() };
            let (a, b) = applied(drawn, 3, 4);
            for (y, x) in (0..3).flat_map(|y| (0..4).map(move |x| (y, x))) {
                let from = (if rows || half { 2 - y } else { y }) * 4 + if columns || half { 3 - x } else { x };
                assert_eq!((a[y * 4 + x], b[y * 4 + x]), (image[from], labels[from]));
            }
        }
    }

    /// Rotation 0.12 rad, shears 0.2 and −0.1, shifts of 2.5 and −3.25 pixels, scales 1.2 and 0.85: testdata/segment/make.py.
    #[test]
    fn the_affine_map_is_monais() {
        let (h, w) = (21, 26);
        let affine = Affine {
            rotate: 0.12 / std::f64::consts::PI,
            shear: [0.2, -0.1],
            translate: [2.5 / h as f64, -3.25 / w as f64],
            scale: [1.2, 0.85],
        };
        let (image, labels) = applied(Drawn { affine, ..nothing() }, h, w);
        let golden = |name: &str| {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/segment").join(format!("affine.{name}.npy"));
            read_array(&path).unwrap().1
        };
        let worst = image.iter().zip(golden("image")).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst}");
        // MONAI's labels are one more, so that its padding, 0, is unlabelled.
        let want: Vec<u8> = golden("labels").iter().map(|&v| if v == 0.0 { UNLABELLED } else { v as u8 - 1 }).collect();
        assert_eq!(labels, want);
        assert!(labels.contains(&UNLABELLED) && labels.iter().any(|&l| l != UNLABELLED));
    }

    #[test]
    fn whole_shifts_are_exact_and_leave_nothing_known_behind() {
        let affine = Affine { translate: [1.0 / 3.0, -2.0 / 4.0], ..Affine::IDENTITY };
        let ((image, labels), (a, b)) = (patch(3, 4), applied(Drawn { affine, ..nothing() }, 3, 4));
        for (y, x) in (0..3).flat_map(|y| (0..4).map(move |x| (y, x))) {
            let want = if y + 1 < 3 && x >= 2 {
                (image[(y + 1) * 4 + x - 2], labels[(y + 1) * 4 + x - 2])
            } else {
                (0.0, UNLABELLED)
            };
            assert!((a[y * 4 + x] - want.0).abs() < 1e-6);
            assert_eq!(b[y * 4 + x], want.1);
        }
    }

    #[test]
    fn intensity_blur_rings_and_noise_are_what_is_said() {
        let (h, w) = (64, 64);
        let flat = |drawn: Drawn| {
            let (mut image, mut labels) = (vec![0.5f32; h * w], vec![1u8; h * w]);
            drawn.apply(h, w, &mut image, &mut labels);
            assert_eq!(labels, vec![1; h * w]);
            image
        };
        let image = flat(Drawn { gain: 1.5, offset: -0.1, ..nothing() });
        assert!(image.iter().all(|&v| (v - 0.65).abs() < 1e-6));
        assert!(flat(Drawn { gain: 1.9, offset: 0.5, ..nothing() }).iter().all(|&v| v == 1.0), "clipped");
        // Noise: mean and σ within five standard errors.
        let image = flat(Drawn { noise: 0.05, pixels: 9, ..nothing() });
        let n = image.len() as f64;
        let mean = image.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let sigma = (image.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(
            (mean - 0.5).abs() < 5.0 * 0.05 / n.sqrt() && (sigma - 0.05).abs() < 5.0 * 0.05 / (2.0 * n).sqrt(),
            "{mean} {sigma}"
        );
        // A blur keeps a constant and the sum of a point, and spreads it by σ.
        assert!(flat(Drawn { blur: 2.0, ..nothing() }).iter().all(|&v| (v - 0.5).abs() < 1e-6));
        let mut point = vec![0f32; h * w];
        point[32 * w + 32] = 1.0;
        Drawn { blur: 2.0, ..nothing() }.apply(h, w, &mut point, &mut vec![0; h * w]);
        let sum: f64 = point.iter().map(|&v| f64::from(v)).sum();
        let spread: f64 = point.iter().enumerate().map(|(i, &v)| f64::from(v) * ((i % w) as f64 - 32.0).powi(2)).sum();
        // Cut at 3 σ a Gaussian's variance is 0.973 of σ².
        assert!((sum - 1.0).abs() < 1e-5 && (spread / 4.0 - 0.973).abs() < 0.02, "{sum} {spread}");
        // Rings about the middle: the same at the same distance, different between.
        let image = flat(Drawn { rings: 0.05, centre: [0.0, 0.0], pixels: 5, ..nothing() });
        for (dy, dx) in [(3, 5), (10, 2), (20, 20)] {
            let at = |y: i32, x: i32| image[((32 + y) * w as i32 + 32 + x) as usize];
            assert!([at(-dy, dx), at(dy, -dx), at(-dy, -dx), at(dx, dy)].iter().all(|v| (v - at(dy, dx)).abs() < 1e-6));
        }
        let mut values: Vec<u32> = image.iter().map(|v| v.to_bits()).collect();
        values.sort_unstable();
        values.dedup();
        assert!(values.len() > 200, "{}", values.len());
        // Far away they are stripes, not nothing.
        let image = flat(Drawn { rings: 0.05, centre: [0.5, 4.0], pixels: 5, ..nothing() });
        assert!(image.iter().any(|&v| (v - 0.5).abs() > 0.02));
    }

    #[test]
    fn draws_stay_in_range_and_depend_on_seed_patch_and_epoch_alone() {
        let options =
            Options::parse("authors,gain=0.2,offset=0.1,blur=2,rings=0.02,noise=0.05,flip-rows=0.25").unwrap();
        let (mut half, mut rows, n) = (0, 0, 4000);
        for patch in 0..n {
            let d = options.draw(7, patch, at(3));
            assert!(d.affine.rotate.abs() <= 0.05 && d.affine.shear.iter().all(|v| v.abs() <= 0.25));
            assert!(
                d.affine.translate.iter().all(|v| v.abs() <= 0.2)
                    && d.affine.scale.iter().all(|v| (v - 1.0).abs() <= 0.25)
            );
            assert!((d.gain - 1.0).abs() <= 0.2 && d.offset.abs() <= 0.1 && (0.0..=2.0).contains(&d.blur));
            (half, rows) = (half + i32::from(d.half_turn), rows + i32::from(d.flip_rows));
        }
        // Five standard deviations of n coins.
        assert!((half - 2000).abs() < 160 && (rows - 1000).abs() < 140, "{half} {rows}");
        let one = options.draw(7, 11, at(3));
        assert_eq!(options.draw(7, 11, at(3)), one);
        for other in [
            options.draw(8, 11, at(3)),
            options.draw(7, 12, at(3)),
            options.draw(7, 11, at(4)),
            options.draw(7, 3, at(11)),
        ] {
            assert_ne!(other, one);
            assert_ne!(other.pixels, one.pixels);
        }
        let (a, b) = (applied(one, 16, 20), applied(options.draw(7, 11, at(3)), 16, 20));
        assert_eq!(a, b);
        assert_ne!(a, applied(options.draw(7, 11, at(4)), 16, 20));
    }
}
