//! L2. Patches shifted, turned, stretched and disturbed, so that a network learns what stays the same; a batch of them.
//!
//! ```text
//! flips      rows, columns
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
//! in this order; every result is rounded to f32 once. Number i of the image \[channel\]\[row\]\[column\] has the noise
//!
//! ```text
//! σ·√(−2 ln u)·(cos 2πv, sin 2πv)      Box and Muller, the pair (i mod 4)/2 of the Philox block ⌊i/4⌋: u of its first word's
//!                                      24 leading bits, in (0, 1], v of its second word; the root and its argument in f32
//! ```
//!
//! Cost: some ten operations per number and four pixels read with an affine map; 2·(6σ + 1) with a blur; a block of random
//! bits, a logarithm and two sines per four numbers of noise. Samples side by side.
//!
//! Patches are one buffer, so that a device keeps them and makes its batches itself (`kernels/augment.cu`): only what was
//! drawn goes there. Labels are another buffer, and do the same.
//!
//! Source: MONAI's RandAffine (AffineGrid, Resample). MONAI 1.6 made Sh a product of two shears, [[1, a], [b, 1 + ab]];
//! here it is what it was before.

use super::cross_entropy::UNLABELLED;
use super::labels::Labels;
use super::maps::{BORDER, Maps};
use crate::error::Result;
use crate::num::elementary::{cos_pi, exp, ln_f32, sin_pi, sincos_pi};
use crate::num::philox::{Stream, philox4x32};
use rayon::prelude::*;

/// Which noise this is: one that is other is another number.
pub const NOISE_KIND: u32 = 2;

/// Streams of the rings and of the noise.
const RINGS: u32 = 0x6175_6701;
/// See [`RINGS`].
pub(super) const NOISE: u32 = 0x6175_6702;

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
    /// Whether grey values end in 0 … 1.
    pub clipped: bool,
}

/// Which patch, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Its place in the buffer of patches.
    pub patch: usize,
    /// What happens.
    pub drawn: Drawn,
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
    /// Nothing.
    pub const NOTHING: Drawn = Drawn {
        half_turn: false,
        flip_rows: false,
        flip_columns: false,
        affine: Affine::IDENTITY,
        gain: 1.0,
        offset: 0.0,
        blur: 0.0,
        rings: 0.0,
        centre: [0.0; 2],
        noise: 0.0,
        pixels: 0,
        clipped: false,
    };

    /// Whether rows and columns are exchanged.
    pub fn flips(&self) -> [bool; 2] {
        [self.half_turn != self.flip_rows, self.half_turn != self.flip_columns]
    }

    /// Where pixel `i` of `h` × `w` comes from by the flips.
    fn flipped(&self, h: usize, w: usize) -> impl Fn(usize) -> usize {
        let [rows, columns] = self.flips();
        move |i| {
            let (y, x) = (i / w, i % w);
            (if rows { h - 1 - y } else { y }) * w + if columns { w - 1 - x } else { x }
        }
    }

    /// The image of a patch of `h` rows and `w` columns, all channels alike but for the noise.
    ///
    /// # Panics
    /// If it has other than whole channels.
    pub fn image(&self, h: usize, w: usize, image: &mut Vec<f32>) {
        let n = h * w;
        assert!(image.len().is_multiple_of(n.max(1)), "an image of {h} x {w}");
        if self.flips() != [false; 2] {
            let from = self.flipped(h, w);
            *image = (0..image.len()).map(|i| image[i / n * n + from(i % n)]).collect();
        }
        if self.affine != Affine::IDENTITY {
            let m = self.affine.matrix(h, w);
            *image = image.chunks_exact(n).flat_map(|channel| warp(m, h, w, channel)).collect();
        }
        if self.blur > 0.0 {
            image.chunks_exact_mut(n).for_each(|channel| blur(self.blur, h, w, channel));
        }
        if (self.gain, self.offset) != (1.0, 0.0) {
            image.iter_mut().for_each(|v| *v = (self.gain * f64::from(*v) + self.offset) as f32);
        }
        if self.rings > 0.0 {
            let rings = Rings::new(self, h, w);
            image.chunks_exact_mut(n).for_each(|channel| rings.add(w, channel));
        }
        if self.noise > 0.0 {
            for (block, numbers) in image.chunks_mut(4).enumerate() {
                let normal = normals(self.pixels, block as u64);
                numbers.iter_mut().zip(normal).for_each(|(v, n)| *v += (self.noise * n) as f32);
            }
        }
        if self.clipped {
            image.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        }
    }

    /// Labels \[row\]\[column\] of the same patch; `outside` where there are none.
    ///
    /// # Panics
    /// If they are not `h`·`w`.
    pub fn labels<L: Copy>(&self, h: usize, w: usize, outside: L, labels: &[L]) -> Vec<L> {
        assert_eq!(labels.len(), h * w, "labels of {h} x {w}");
        let from = self.flipped(h, w);
        if self.affine == Affine::IDENTITY {
            return (0..h * w).map(|i| labels[from(i)]).collect();
        }
        let m = self.affine.matrix(h, w);
        let label = |i: usize| {
            let (y, x) = source(m, h, w, i);
            let (y, x) = (y.round_ties_even(), x.round_ties_even());
            if inside(h, w, y, x) { labels[from(y as usize * w + x as usize)] } else { outside }
        };
        (0..h * w).map(label).collect()
    }
}

/// Four normal numbers of a block.
fn normals(seed: u64, block: u64) -> [f64; 4] {
    let words = philox4x32([block as u32, (block >> 32) as u32, NOISE, 0], [seed as u32, (seed >> 32) as u32]);
    let pair = |a: u32, b: u32| {
        let u = ((a >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
        let radius = f64::from((-2.0 * ln_f32(u)).sqrt());
        let (sin, cos) = sincos_pi(2.0 * (f64::from(b) * (1.0 / 4_294_967_296.0)));
        [radius * cos, radius * sin]
    };
    let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
    [a, b, c, d]
}

/// Rings of a patch.
pub(super) struct Rings {
    /// Row and column of their centre.
    pub(super) centre: [f64; 2],
    /// The distance of the first number of the profile.
    pub(super) least: usize,
    /// What is added at each whole distance.
    pub(super) profile: Vec<f64>,
}

impl Rings {
    pub(super) fn new(drawn: &Drawn, h: usize, w: usize) -> Rings {
        let (stream, far) = (Stream::new(drawn.pixels, RINGS), drawn.centre[1] * h.max(w) as f64);
        let centre = [far * sin_pi(drawn.centre[0]) + h as f64 / 2.0, far * cos_pi(drawn.centre[0]) + w as f64 / 2.0];
        let [last_row, last_column] = [h, w].map(|n| n.saturating_sub(1) as f64);
        // The nearest point of the patch and the farthest corner, and a pixel for what rounding does.
        let nearest = radius(centre, centre[0].clamp(0.0, last_row), centre[1].clamp(0.0, last_column));
        let corners = [0.0, last_row].map(|y| [0.0, last_column].map(|x| radius(centre, y, x)));
        let farthest = corners.as_flattened().iter().fold(0.0, |far: f64, &r| far.max(r));
        let (least, most) = ((nearest as usize).saturating_sub(1), farthest as usize + 3);
        let profile = (least..=most).map(|r| drawn.rings * stream.normal(r as u64)).collect();
        Rings { centre, least, profile }
    }
    fn add(&self, w: usize, image: &mut [f32]) {
        for (i, v) in image.iter_mut().enumerate() {
            let r = radius(self.centre, (i / w) as f64, (i % w) as f64);
            let (k, part) = (r as usize - self.least, r - r.floor());
            *v += (self.profile[k] + part * (self.profile[k + 1] - self.profile[k])) as f32;
        }
    }
}

/// The distance of a pixel from a centre.
fn radius(centre: [f64; 2], y: f64, x: f64) -> f64 {
    let (y, x) = (y - centre[0], x - centre[1]);
    (y * y + x * x).sqrt()
}

/// A batch of patches `[patch][channel][row][column]`: the definition of [`super::Kernels::disturb`].
///
/// # Panics
/// If a patch is not there, or the image has not as many samples.
pub fn disturb(patches: &[f32], seen: &[Seen], image: &mut Maps<f32>) {
    let s = image.shape();
    assert_eq!(seen.len(), s.n, "patches of a batch");
    let (size, plane) = (s.c * s.h * s.w, s.plane());
    image.data_mut().par_chunks_mut((s.c * plane).max(1)).zip(seen).for_each(|(to, seen)| {
        let mut numbers = patches[seen.patch * size..][..size].to_vec();
        seen.drawn.image(s.h, s.w, &mut numbers);
        for (i, row) in numbers.chunks_exact(s.w).enumerate() {
            let (channel, y) = (i / s.h, i % s.h);
            to[channel * plane + (y + BORDER) * s.pitch() + BORDER..][..s.w].copy_from_slice(row);
        }
    });
}

/// Labels of the same batch, from those of all patches \[patch\]\[row\]\[column\]: the nearest, none outside.
///
/// # Errors
/// Data: a label that is none of the classes.
///
/// # Panics
/// If a patch is not there.
pub fn labels(patches: &[i16], seen: &[Seen], [h, w]: [usize; 2], classes: usize) -> Result<Labels> {
    let of = |seen: &Seen| seen.drawn.labels(h, w, UNLABELLED, &patches[seen.patch * h * w..][..h * w]);
    let all: Vec<Vec<i16>> = seen.par_iter().map(of).collect();
    Labels::new(all.concat(), h * w, classes)
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

/// Weights of the pixels within a reach of one, of a Gaussian of σ pixels.
pub(super) fn taps(sigma: f64) -> Vec<f64> {
    let reach = (3.0 * sigma).ceil() as usize;
    let raw: Vec<f64> = (0..=2 * reach)
        .map(|i| {
            let d = i as f64 - reach as f64;
            exp(-d * d / (2.0 * sigma * sigma))
        })
        .collect();
    let sum = raw.iter().fold(0.0, |s, t| s + t);
    raw.iter().map(|t| t / sum).collect()
}

/// Gaussian of σ pixels.
fn blur(sigma: f64, h: usize, w: usize, image: &mut [f32]) {
    let taps = taps(sigma);
    let reach = taps.len() / 2;
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
    use super::super::maps::Shape;
    use super::*;

    const NOTHING: Drawn = Drawn::NOTHING;

    fn patch(h: usize, w: usize) -> (Vec<f32>, Vec<u8>) {
        (
            (0..h * w).map(|i| ((i * 7919 % 1009) as f64 / 1009.0) as f32).collect(),
            (0..h * w).map(|i| (i / 5 % 4) as u8).collect(),
        )
    }

    /// With label 9 outside.
    fn applied(drawn: Drawn, h: usize, w: usize) -> (Vec<f32>, Vec<u8>) {
        let (mut image, labels) = patch(h, w);
        drawn.image(h, w, &mut image);
        (image, drawn.labels(h, w, 9, &labels))
    }

    #[test]
    fn flips_exchange_what_their_names_say() {
        let (image, labels) = patch(3, 4);
        for (rows, columns, half) in
            [(true, false, false), (false, true, false), (true, true, false), (false, false, true)]
        {
            let drawn = Drawn { flip_rows: rows, flip_columns: columns, half_turn: half, ..NOTHING };
            let (a, b) = applied(drawn, 3, 4);
            for (y, x) in (0..3).flat_map(|y| (0..4).map(move |x| (y, x))) {
                let from = (if rows || half { 2 - y } else { y }) * 4 + if columns || half { 3 - x } else { x };
                assert_eq!((a[y * 4 + x], b[y * 4 + x]), (image[from], labels[from]));
            }
        }
    }

    #[test]
    fn whole_shifts_are_exact_and_leave_nothing_known_behind() {
        let affine = Affine { translate: [1.0 / 3.0, -2.0 / 4.0], ..Affine::IDENTITY };
        let ((image, labels), (a, b)) = (patch(3, 4), applied(Drawn { affine, ..NOTHING }, 3, 4));
        for (y, x) in (0..3).flat_map(|y| (0..4).map(move |x| (y, x))) {
            let want =
                if y + 1 < 3 && x >= 2 { (image[(y + 1) * 4 + x - 2], labels[(y + 1) * 4 + x - 2]) } else { (0.0, 9) };
            assert!((a[y * 4 + x] - want.0).abs() < 1e-6);
            assert_eq!(b[y * 4 + x], want.1);
        }
    }

    #[test]
    fn intensity_blur_rings_and_noise_are_what_is_said() {
        let (h, w) = (64, 64);
        let flat = |drawn: Drawn| {
            let mut image = vec![0.5f32; h * w];
            drawn.image(h, w, &mut image);
            assert_eq!(drawn.labels(h, w, 9, &vec![1; h * w]), vec![1; h * w]);
            image
        };
        let image = flat(Drawn { gain: 1.5, offset: -0.1, ..NOTHING });
        assert!(image.iter().all(|&v| (v - 0.65).abs() < 1e-6));
        let (gain, offset) = (1.9, 0.5);
        let clipped = flat(Drawn { gain, offset, clipped: true, ..NOTHING });
        assert!(clipped.iter().all(|&v| v == 1.0));
        assert!(flat(Drawn { gain, offset, ..NOTHING }).iter().all(|&v| v > 1.4));
        // Noise: mean and σ within five standard errors.
        let image = flat(Drawn { noise: 0.05, pixels: 9, ..NOTHING });
        let n = image.len() as f64;
        let mean = image.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let sigma = (image.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(
            (mean - 0.5).abs() < 5.0 * 0.05 / n.sqrt() && (sigma - 0.05).abs() < 5.0 * 0.05 / (2.0 * n).sqrt(),
            "{mean} {sigma}"
        );
        // A blur keeps a constant and the sum of a point, and spreads it by σ.
        assert!(flat(Drawn { blur: 2.0, ..NOTHING }).iter().all(|&v| (v - 0.5).abs() < 1e-6));
        let mut point = vec![0f32; h * w];
        point[32 * w + 32] = 1.0;
        Drawn { blur: 2.0, ..NOTHING }.image(h, w, &mut point);
        let sum: f64 = point.iter().map(|&v| f64::from(v)).sum();
        let spread: f64 = point.iter().enumerate().map(|(i, &v)| f64::from(v) * ((i % w) as f64 - 32.0).powi(2)).sum();
        // Cut at 3 σ a Gaussian's variance is 0.973 of σ².
        assert!((sum - 1.0).abs() < 1e-5 && (spread / 4.0 - 0.973).abs() < 0.02, "{sum} {spread}");
        // Rings about the middle: the same at the same distance, different between.
        let image = flat(Drawn { rings: 0.05, centre: [0.0, 0.0], pixels: 5, ..NOTHING });
        for (dy, dx) in [(3, 5), (10, 2), (20, 20)] {
            let at = |y: i32, x: i32| image[((32 + y) * w as i32 + 32 + x) as usize];
            assert!([at(-dy, dx), at(dy, -dx), at(-dy, -dx), at(dx, dy)].iter().all(|v| (v - at(dy, dx)).abs() < 1e-6));
        }
        let mut values: Vec<u32> = image.iter().map(|v| v.to_bits()).collect();
        values.sort_unstable();
        values.dedup();
        assert!(values.len() > 200, "{}", values.len());
        // Far away they are stripes, not nothing.
        let image = flat(Drawn { rings: 0.05, centre: [0.5, 4.0], pixels: 5, ..NOTHING });
        assert!(image.iter().any(|&v| (v - 0.5).abs() > 0.02));
    }

    /// Correlations, moments and tails of the noise: four numbers of a block, and those of blocks.
    #[test]
    fn noise_is_white_and_normal() {
        let n = 40_000;
        let numbers: Vec<f64> = (0..n as u64 / 4).flat_map(|block| normals(77, block)).collect();
        let mean = |of: &dyn Fn(usize) -> f64| (0..n - 8).map(of).sum::<f64>() / (n - 8) as f64;
        let five = 5.0 / (n as f64).sqrt();
        assert!(mean(&|i| numbers[i]).abs() < five && (mean(&|i| numbers[i].powi(2)) - 1.0).abs() < five * 2f64.sqrt());
        assert!(mean(&|i| numbers[i].powi(3)).abs() < five * 15f64.sqrt());
        assert!((mean(&|i| numbers[i].powi(4)) - 3.0).abs() < five * 96f64.sqrt());
        for apart in 1..=8 {
            let together = mean(&|i| numbers[i] * numbers[i + apart]);
            assert!(together.abs() < five, "{apart}: {together}");
        }
        // P(|x| > 3) = 0.0027.
        let tail = numbers.iter().filter(|v| v.abs() > 3.0).count() as f64;
        assert!((tail - 0.0027 * n as f64).abs() < 5.0 * (0.0027 * n as f64).sqrt(), "{tail}");
    }

    /// A batch is its patches, each by itself, in the middle of a border of zeros; a profile of rings reaches as far as it
    /// is asked for.
    #[test]
    fn a_batch_is_its_patches() {
        let s = Shape::new(3, 2, 5, 6);
        let patches: Vec<f32> = (0..4 * s.c * s.h * s.w).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
        let drawn = Drawn { flip_rows: true, rings: 0.1, centre: [0.3, 2.0], noise: 0.1, pixels: 8, ..NOTHING };
        let far = Drawn { rings: 0.1, centre: [1.7, 4.0], blur: 1.0, pixels: 8, clipped: true, ..NOTHING };
        let seen = [(3, NOTHING), (0, drawn), (3, far)].map(|(patch, drawn)| Seen { patch, drawn });
        let mut image = Maps::zeros(s);
        disturb(&patches, &seen, &mut image);
        let expected: Vec<f32> = seen
            .iter()
            .flat_map(|seen| {
                let mut numbers = patches[seen.patch * 60..][..60].to_vec();
                seen.drawn.image(s.h, s.w, &mut numbers);
                numbers
            })
            .collect();
        assert_eq!(image, Maps::from_nchw(s, &expected));
        for turn in 0..40 {
            let (centre, rings) = ([f64::from(turn) / 20.0, f64::from(turn % 9) / 2.0], 0.1);
            let mut image = vec![0.5; 77];
            Drawn { rings, centre, ..NOTHING }.image(7, 11, &mut image);
            assert!(image.iter().any(|&v| v != 0.5));
        }
    }
}
