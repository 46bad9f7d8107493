//! From the intensity behind the sample to the counts that a camera writes: u16, as f32.
//!
//! ```text
//! λ(pixel, t)  = N₀ · ripple(frame) · beam(row, t) · pixel gain · [blurred intensity · (1 + column error(t))]
//! counts       = offset + g · Poisson(λ) + read noise,      g = (level − offset) / N₀,     rounded, 0 … 65535
//! beam(row, t) = profile(row) · (1 + Σ_b a_b cos 2π((row + drift·t)/P_b + φ_b))            multilayer bands
//! ```
//!
//! t runs from 0 to 1 over the projections ((i + ½)/n for the i-th); flats and darks before them have t = 0, behind 1.
//! The bracket is 1 for flats and 0 for darks: column errors are what the flats do not see, hence rings. The blur acts
//! on the intensity, not on the photons, so the noise of neighbouring pixels is independent.
//!
//! **Where a pixel looks.** Detector pixel (row y, column x), turned by the tilt φ about the detector's middle:
//!
//! ```text
//! s = (x − x_m) cos φ − (y − y_m) sin φ + x_m − center − axis drift·(t − ½) − (D_X cos θ + D_Y sin θ)
//! z = (x − x_m) sin φ + (y − y_m) cos φ + y_m + first row − D_z         slices of the object;   D = m + d (t − ½)
//! ```
//!
//! so the axis crosses row y at center + (y − y_m) tan φ, and the mean pose over the scan is the stated one, moved by m. A pixel is
//! the mean of four points a quarter of a pixel off its middle along s and z, bilinear in the fine picture; beyond its rim
//! the picture goes on unchanged.
//!
//! **Photons.** Below [`EXACT_BELOW`] expected quanta a Poisson number and a normal one for the reading; above, one
//! normal number z through Cornish and Fisher's expansion of the sum's quantiles, with variance σ² = g²λ + r²:
//!
//! ```text
//! gλ + σz + g³λ/(6σ²) (z² − 1) + g⁴λ/(24σ³) (z³ − 3z) − g⁶λ²/(36σ⁵) (2z³ − 5z)
//! ```
//!
//! The next term is (3z⁴ + 7z² − 16)/1620λ quanta: at λ = 100 less than 0.0013 σ for |z| < 5. Every number is a function
//! of (seed, step, field, frame, pixel): any frame can be made alone.
//!
//! **Cost**, one core at 2.8 GHz: 130 ns a pixel to look, 110 ns for its counts (185 ns below [`EXACT_BELOW`]).

use super::project::FINE;
use crate::error::{Error, Result};
use crate::num::elementary::{cos_pi, exp, ln, sincos};
use crate::num::lanes::{F32x16, Isa, Kernel};
use crate::num::philox::Stream;
use crate::num::sum::AddLines;
use rayon::prelude::*;
use std::ops::Range;

#[cfg(test)]
mod tests;

/// Expected quanta below which photons are counted one by one.
pub const EXACT_BELOW: f64 = 100.0;
/// Largest count.
const WHITE: f64 = 65_535.0;
/// Most quanta per pixel.
pub const MOST_QUANTA: f64 = 1e9;
/// Bands of the multilayer.
const BANDS: u64 = 6;
/// Rim of fine pixels that is computed beyond what a field of view sees.
const RIM: f64 = 6.0;

/// What the camera and the beam do. Zero switches an effect off (`profile`: 1).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// N₀, quanta detected in a pixel of the beam's middle.
    pub quanta: f64,
    /// Counts there.
    pub level: f64,
    /// Counts without light.
    pub offset: f64,
    /// Standard deviation of the reading, counts.
    pub read_noise: f64,
    /// Standard deviation of the blur, pixels.
    pub blur: f64,
    /// Modulation by the bands: the largest Σ a_b.
    pub bands: f64,
    /// Their drift over the scan, pixels.
    pub band_drift: f64,
    /// Intensity at top and bottom, relative to the middle.
    pub profile: f64,
    /// Standard deviation of the pixels' gains.
    pub fixed_pattern: f64,
    /// Number of dust spots.
    pub dust: usize,
    /// Standard deviation of the exposure from frame to frame.
    pub ripple: f64,
    /// Standard deviations of the columns' errors: constant, and drifting over the scan.
    pub column_errors: [f64; 2],
    /// Columns that are 1 to 2 % off.
    pub stripes: usize,
    /// Dead and hot pixels.
    pub bad_pixels: usize,
    /// Share of a frame's pixels that are hit.
    pub zingers: f64,
    /// Flats, and as many darks, before and again behind the projections.
    pub references: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            quanta: 1e4,
            level: 40_000.0,
            offset: 100.0,
            read_noise: 2.0,
            blur: 0.6,
            bands: 0.1,
            band_drift: 1.0,
            profile: 0.7,
            fixed_pattern: 0.005,
            dust: 12,
            ripple: 0.003,
            column_errors: [0.002, 0.0005],
            stripes: 2,
            bad_pixels: 0,
            zingers: 1e-5,
            references: 20,
        }
    }
}

impl Settings {
    /// Photon and read noise as given, nothing else: neither structure of the beam nor faults.
    pub fn plain(quanta: f64) -> Settings {
        Settings {
            quanta,
            blur: 0.0,
            bands: 0.0,
            band_drift: 0.0,
            profile: 1.0,
            fixed_pattern: 0.0,
            dust: 0,
            ripple: 0.0,
            column_errors: [0.0; 2],
            stripes: 0,
            zingers: 0.0,
            ..Settings::default()
        }
    }
}

/// What one field of view sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Detector rows.
    pub rows: usize,
    /// Detector columns.
    pub columns: usize,
    /// Slice of the object on detector row 0.
    pub first_row: f64,
    /// Column of the rotation axis, as `recon --center`.
    pub center: f64,
    /// Its drift over the scan, pixels.
    pub axis_drift: f64,
    /// Tilt of the axis plus roll of the camera, radians.
    pub tilt: f64,
    /// The object's drift over the scan: X, Y (upward), z, voxels.
    pub drift: [f64; 3],
    /// How far it has moved in the middle of the scan from where the object has it, likewise.
    pub moved: [f64; 3],
    /// Gain relative to other fields.
    pub gain: f64,
}

impl Field {
    /// A field without faults whose first row is the object's.
    pub fn new(rows: usize, columns: usize, center: f64) -> Field {
        Field {
            rows,
            columns,
            first_row: 0.0,
            center,
            axis_drift: 0.0,
            tilt: 0.0,
            drift: [0.0; 3],
            moved: [0.0; 3],
            gain: 1.0,
        }
    }

    /// Fine columns, the axis in their middle, that this field may look at.
    pub fn fine_columns(&self) -> usize {
        let side = (self.center + 0.5).max(self.columns as f64 - 0.5 - self.center);
        let along = |i: usize| self.drift[i].abs() + self.moved[i].abs();
        let moved = self.axis_drift.abs() + along(0) + along(1);
        let turned = self.tilt.abs() * self.rows as f64;
        2 * (FINE as f64 * (side + moved + turned) + RIM).ceil() as usize
    }

    /// The fine rows, of `all` that the object has, that this field may look at; at least one.
    pub fn fine_rows(&self, all: usize) -> Range<usize> {
        let slack = self.drift[2].abs() + self.moved[2].abs() + self.tilt.abs() * self.columns as f64;
        let at = |slice: f64| FINE as f64 * (slice + self.first_row);
        let last = all.saturating_sub(1);
        let low = (at(-slack) - RIM).max(0.0) as usize;
        let high = (at(self.rows as f64 + slack) + RIM).max(0.0).ceil() as usize;
        low.min(last)..high.clamp(low.min(last) + 1, last + 1)
    }
}

/// Which frame of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A projection.
    Projection(usize),
    /// A flat: those before, then those behind the projections.
    Flat(usize),
    /// A dark, likewise.
    Dark(usize),
}

/// Streams, in the upper eight bits of a stream's number; below them field and step.
#[derive(Clone, Copy)]
enum Purpose {
    Photons = 0xf0,
    Normal = 0xf1,
    Ripple = 0xf2,
    Zinger = 0xf3,
    Columns = 0xf4,
    Stripes = 0xf5,
    // What stays the same from scan to scan: step and field 0.
    Bands = 0xf6,
    Pattern = 0xf7,
    Dust = 0xf8,
    Bad = 0xf9,
}

/// The camera during one scan.
pub struct Camera {
    settings: Settings,
    field: Field,
    projections: usize,
    seed: u64,
    /// Step and field in the lower bits of a stream.
    place: u32,
    /// a_b, P_b, φ_b (turns).
    bands: Vec<[f64; 3]>,
    pixels: Vec<f32>,
    columns: Vec<[f64; 2]>,
    bad: Vec<(usize, f32)>,
    blur: Vec<f32>,
}

impl Camera {
    /// For field `number` (< 256) of step `step` (< 65536) of the series `seed`, with `projections` frames.
    ///
    /// # Errors
    /// Usage: settings out of range, an empty field.
    pub fn new(
        settings: &Settings,
        field: &Field,
        projections: usize,
        [seed, step, number]: [u64; 3],
    ) -> Result<Camera> {
        let s = settings;
        let shares = [s.bands, s.profile, s.zingers].iter().all(|v| (0.0..=1.0).contains(v)) && s.profile > 0.0;
        let sizes = [s.read_noise, s.fixed_pattern, s.ripple, s.column_errors[0], s.column_errors[1]];
        let counts = s.offset >= 0.0 && s.level > s.offset && s.level <= WHITE && (0.0..=100.0).contains(&s.blur);
        if !(s.quanta > 0.0 && s.quanta <= MOST_QUANTA && shares && counts && sizes.iter().all(|v| *v >= 0.0)) {
            return Err(Error::usage(format!("a camera that sees {} quanta as {} counts", s.quanta, s.level))
                .help("quanta are above 0 and at most 1e9, counts at most 65535, shares between 0 and 1"));
        }
        let geometry = [field.first_row, field.center, field.axis_drift, field.tilt, field.gain];
        let finite = geometry.iter().chain(&field.drift).chain(&field.moved).all(|v| v.abs() < 1e6) && field.gain > 0.0;
        if !(field.rows > 0 && field.columns > 0 && finite && step < 1 << 16 && number < 1 << 8) {
            return Err(Error::usage(format!("field {number} of step {step}: {field:?}")));
        }
        let mut camera = Camera {
            settings: s.clone(),
            field: field.clone(),
            projections,
            seed,
            place: (number as u32) << 16 | step as u32,
            bands: Vec::new(),
            pixels: Vec::new(),
            columns: Vec::new(),
            bad: Vec::new(),
            blur: gaussian(s.blur * FINE as f64),
        };
        camera.draw();
        Ok(camera)
    }

    fn stream(&self, purpose: Purpose) -> Stream {
        let fixed = purpose as u32 >= Purpose::Bands as u32;
        Stream::new(self.seed, (purpose as u32) << 24 | if fixed { 0 } else { self.place })
    }

    /// Draws what does not change from frame to frame.
    fn draw(&mut self) {
        let (s, rows, columns) = (self.settings.clone(), self.field.rows, self.field.columns);
        let bands = self.stream(Purpose::Bands);
        // Periods of 20 to 200 pixels, evenly in the logarithm.
        let band =
            |b| [s.bands / BANDS as f64, 20.0 * exp(ln(10.0) * bands.uniform_f64(2 * b)), bands.uniform_f64(2 * b + 1)];
        self.bands = if s.bands > 0.0 { (0..BANDS).map(band).collect() } else { Vec::new() };
        let (pattern, gain) = (self.stream(Purpose::Pattern), self.field.gain);
        self.pixels = (0..rows * columns)
            .into_par_iter()
            .map(|i| {
                (gain * if s.fixed_pattern > 0.0 { 1.0 + s.fixed_pattern * pattern.normal(i as u64) } else { 1.0 })
                    as f32
            })
            .collect();
        let dust = self.stream(Purpose::Dust);
        for spot in 0..s.dust as u64 {
            let [x, y, size, depth] = std::array::from_fn(|i| dust.uniform_f64(4 * spot + i as u64));
            let (x, y, size, depth) = (x * columns as f64, y * rows as f64, 1.0 + 3.0 * size, 0.05 + 0.15 * depth);
            let span = |middle: f64, n: usize| {
                (middle - 4.0 * size).max(0.0) as usize..((middle + 4.0 * size) as usize + 1).min(n)
            };
            for row in span(y, rows) {
                for column in span(x, columns) {
                    let (dy, dx) = ((row as f64 - y) / size, (column as f64 - x) / size);
                    self.pixels[row * columns + column] *= (1.0 - depth * exp(-0.5 * (dy * dy + dx * dx))) as f32;
                }
            }
        }
        let errors = self.stream(Purpose::Columns);
        self.columns = (0..columns as u64)
            .map(|c| {
                let (constant, drifting) = errors.normal_pair(c);
                [1.0 + s.column_errors[0] * constant, s.column_errors[1] * drifting]
            })
            .collect();
        let stripes = self.stream(Purpose::Stripes);
        for i in 0..s.stripes as u64 {
            let place = stripes.below(2 * i, columns as u32) as usize;
            let size = 2.0 * stripes.uniform_f64(2 * i + 1) - 1.0;
            self.columns[place][0] += size.signum() * 0.01 + 0.01 * size;
        }
        let bad = self.stream(Purpose::Bad);
        let value = |i: u64| if i.is_multiple_of(2) { s.offset as f32 } else { WHITE as f32 };
        self.bad =
            (0..s.bad_pixels as u64).map(|i| (bad.below(i, (rows * columns) as u32) as usize, value(i))).collect();
    }

    /// What it looks at.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// Number of projections.
    pub fn projections(&self) -> usize {
        self.projections
    }

    /// The time of a frame.
    pub fn time(&self, frame: Frame) -> f64 {
        match frame {
            Frame::Projection(i) => (i as f64 + 0.5) / self.projections as f64,
            Frame::Flat(i) | Frame::Dark(i) => f64::from(u8::from(i >= self.settings.references)),
        }
    }

    /// The intensity in every pixel (`[row][column]`) of projection `i` at angle `theta` (radians), from a picture
    /// `[fine row][fine column]` of `width` columns, the axis in their middle, whose first row is `first`; see the module.
    pub fn look(&self, isa: Isa, picture: &[f32], width: usize, first: usize, i: usize, theta: f64) -> Vec<f32> {
        let field = &self.field;
        let blurred = if self.blur.len() > 1 { self.blurred(isa, picture, width) } else { Vec::new() };
        let picture = if self.blur.len() > 1 { &blurred } else { picture };
        let since = self.time(Frame::Projection(i)) - 0.5;
        let (sin, cos) = sincos(theta);
        let (d, m) = (field.drift, field.moved);
        let look = Look {
            field,
            picture,
            size: [picture.len() / width, width],
            first: first as f64,
            shift: [
                since * (field.axis_drift + d[0] * cos + d[1] * sin) + (m[0] * cos + m[1] * sin),
                since * d[2] + m[2],
            ],
            tilt: sincos(field.tilt),
        };
        let mut out = vec![0.0f32; field.rows * field.columns];
        out.par_chunks_mut(field.columns).enumerate().for_each(|(y, out)| isa.run(Row { frame: &look, y, out }));
        out
    }

    /// A fine picture, blurred along rows, then along columns, its rim continued; taps in ascending order.
    fn blurred(&self, isa: Isa, picture: &[f32], width: usize) -> Vec<f32> {
        let (reach, height) = (self.blur.len() / 2, picture.len() / width);
        let mut along = vec![0.0f32; picture.len()];
        along.par_chunks_mut(width).zip(picture.par_chunks(width)).for_each(|(out, line)| {
            let mut long = vec![line[0]; reach];
            long.extend_from_slice(line);
            long.resize(width + 2 * reach, line[width - 1]);
            let taps = self.blur.iter().enumerate().map(|(k, &weight)| (weight, &long[k..k + width]));
            isa.run(AddLines { terms: &taps.collect::<Vec<_>>(), out });
        });
        let mut across = vec![0.0f32; picture.len()];
        across.par_chunks_mut(width).enumerate().for_each(|(y, out)| {
            let row = |k: usize| (y + k).saturating_sub(reach).min(height - 1);
            let taps = self.blur.iter().enumerate().map(|(k, &weight)| (weight, &along[row(k) * width..][..width]));
            isa.run(AddLines { terms: &taps.collect::<Vec<_>>(), out });
        });
        across
    }

    /// The counts of a frame, `[row][column]`; `intensity` (as [`Camera::look`]) is taken by projections only.
    ///
    /// # Panics
    /// If a projection has no intensity of the field's size.
    pub fn counts(&self, isa: Isa, frame: Frame, intensity: &[f32]) -> Vec<f32> {
        let (s, field, t) = (&self.settings, &self.field, self.time(frame));
        let (rows, columns) = (field.rows, field.columns);
        let (kind, number) = match frame {
            Frame::Projection(i) => (0u64, i),
            Frame::Flat(i) => (1, i),
            Frame::Dark(i) => (2, i),
        };
        assert!(kind != 0 || intensity.len() == rows * columns, "a projection of the field's size");
        let key = (kind << 24 | number as u64) << 32;
        let exposure = s.quanta * (1.0 + s.ripple * self.stream(Purpose::Ripple).normal(key)).max(0.0);
        let gain = (s.level - s.offset) / s.quanta;
        let [photons, normal] = [Purpose::Photons, Purpose::Normal].map(|p| self.stream(p));
        let mut out = vec![0.0f32; rows * columns];
        let count = Count { camera: self, t, kind, key, exposure, gain, photons, normal, intensity };
        out.par_chunks_mut(columns).enumerate().for_each(|(y, out)| isa.run(Row { frame: &count, y, out }));
        let zinger = self.stream(Purpose::Zinger);
        let hits = if s.zingers > 0.0 { zinger.poisson(key, s.zingers * (rows * columns) as f64) } else { 0 };
        for hit in 1..=hits {
            let place = zinger.below(key | (2 * hit), (rows * columns) as u32) as usize;
            let size = (2000.0 + 58_000.0 * zinger.uniform_f64(key | (2 * hit + 1))).floor();
            out[place] = (f64::from(out[place]) + size).min(WHITE) as f32;
        }
        self.bad.iter().for_each(|&(place, value)| out[place] = value);
        out
    }

    /// The beam in a row at a time, 1 in the middle without bands.
    fn beam(&self, row: usize, t: f64) -> f64 {
        let half = (self.field.rows as f64 / 2.0).max(0.5);
        let from_middle = (row as f64 + 0.5) / half - 1.0;
        let place = row as f64 + self.settings.band_drift * t;
        let bands: f64 = self.bands.iter().map(|[a, period, turn]| a * cos_pi(2.0 * (place / period + turn))).sum();
        exp(ln(self.settings.profile) * from_middle * from_middle) * (1.0 + bands)
    }
}

/// Counts above the offset for `quanta` expected, a gain, a read noise and a normal number; see the module.
#[inline(always)]
fn quantile(quanta: f64, gain: f64, read_noise: f64, z: f64) -> f64 {
    let variance = gain * gain * quanta + read_noise * read_noise;
    let (sigma, third) = (variance.sqrt(), gain * gain * gain * quanta);
    let skew = third / (6.0 * variance) * (z * z - 1.0);
    let excess = gain * third / (24.0 * variance) * (z * z - 3.0) * z;
    let skew_squared = third * third / (36.0 * variance * variance) * (2.0 * z * z - 5.0) * z;
    gain * quanta + sigma * z + skew + (excess - skew_squared) / sigma
}

/// A Gaussian's values at whole steps up to four standard deviations, of sum 1; one tap for 0.
fn gaussian(sigma: f64) -> Vec<f32> {
    let reach = (4.0 * sigma).ceil() as i32;
    let values: Vec<f64> =
        (-reach..=reach).map(|i| if i == 0 { 1.0 } else { exp(-0.5 * f64::from(i * i) / (sigma * sigma)) }).collect();
    let sum: f64 = values.iter().sum();
    values.iter().map(|v| (v / sum) as f32).collect()
}

/// The mean of a picture, bilinear, at the four points half a fine pixel from (row, column): nine pixels with weights
/// 1 − f, 1, f along either axis. Beyond its rim the picture goes on unchanged.
#[inline(always)]
fn four_points(picture: &[f32], [height, width]: [usize; 2], row: f64, column: f64) -> f32 {
    let split = |v: f64, n: usize| {
        let v = (v - 0.5).clamp(-1.5, n as f64 - 0.5);
        let low = v.floor();
        (low as isize, (v - low) as f32)
    };
    let ((y, b), (x, a)) = (split(row, height), split(column, width));
    let line = |y: isize| {
        let start = y.clamp(0, height as isize - 1) as usize * width;
        let [left, middle, right] = if x >= 0 && x + 2 < width as isize {
            let three = &picture[start + x as usize..][..3];
            [three[0], three[1], three[2]]
        } else {
            [0, 1, 2].map(|k| picture[start + (x + k).clamp(0, width as isize - 1) as usize])
        };
        (left + middle) + a * (right - left)
    };
    let [above, here, below] = [0, 1, 2].map(|k| line(y + k));
    0.25 * ((above + here) + b * (below - above))
}

/// What gives a frame row by row.
trait Rows {
    /// The frame's row `y`.
    fn row(&self, y: usize, out: &mut [f32]);
}

/// One row of a frame, with an instruction set.
struct Row<'a, F> {
    frame: &'a F,
    y: usize,
    out: &'a mut [f32],
}

impl<F: Rows> Kernel for Row<'_, F> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        self.frame.row(self.y, self.out);
    }
}

/// See [`Camera::look`].
struct Look<'a> {
    field: &'a Field,
    /// `[fine row][fine column]` and its size, from fine row `first` on.
    picture: &'a [f32],
    size: [usize; 2],
    first: f64,
    /// How far the sample has moved, along s and z.
    shift: [f64; 2],
    /// Sine and cosine.
    tilt: (f64, f64),
}

impl Rows for Look<'_> {
    #[inline(always)]
    fn row(&self, y: usize, out: &mut [f32]) {
        let (field, (tilt_sin, tilt_cos)) = (self.field, self.tilt);
        let middle = [field.rows, field.columns].map(|n| (n as f64 - 1.0) / 2.0);
        let fine = FINE as f64;
        let v = y as f64 - middle[0];
        for (x, out) in out.iter_mut().enumerate() {
            let u = x as f64 - middle[1];
            let s = u * tilt_cos - v * tilt_sin + middle[1] - field.center - self.shift[0];
            let z = u * tilt_sin + v * tilt_cos + middle[0] + field.first_row - self.shift[1];
            let column = fine * s + self.size[1] as f64 / 2.0 - 0.5;
            let row = fine * (z + 0.5) - 0.5 - self.first;
            *out = four_points(self.picture, self.size, row, column);
        }
    }
}

/// See [`Camera::counts`].
struct Count<'a> {
    camera: &'a Camera,
    t: f64,
    /// 0 for a projection, 1 for a flat, 2 for a dark frame.
    kind: u64,
    key: u64,
    /// Quanta where the beam is 1, and grey values per quantum.
    exposure: f64,
    gain: f64,
    photons: Stream,
    normal: Stream,
    intensity: &'a [f32],
}

impl Rows for Count<'_> {
    #[inline(always)]
    fn row(&self, y: usize, out: &mut [f32]) {
        let (camera, s, columns) = (self.camera, &self.camera.settings, out.len());
        let beam = self.exposure * camera.beam(y, self.t);
        let mut pair = (0.0, 0.0);
        for (x, out) in out.iter_mut().enumerate() {
            let pixel = y * columns + x;
            let light = match self.kind {
                0 => {
                    let [level, change] = camera.columns[x];
                    f64::from(self.intensity[pixel]) * (level + (self.t - 0.5) * change)
                }
                1 => 1.0,
                _ => 0.0,
            };
            let quanta = (beam * f64::from(camera.pixels[pixel]) * light).max(0.0);
            if x % 2 == 0 {
                pair = self.normal.normal_pair(self.key | (y * columns.div_ceil(2) + x / 2) as u64);
            }
            let z = if x % 2 == 0 { pair.0 } else { pair.1 };
            let seen = if quanta < EXACT_BELOW {
                self.gain * self.photons.poisson(self.key | pixel as u64, quanta) as f64 + s.read_noise * z
            } else {
                quantile(quanta, self.gain, s.read_noise, z)
            };
            *out = (s.offset + seen + 0.5).floor().clamp(0.0, WHITE) as f32;
        }
    }
}
