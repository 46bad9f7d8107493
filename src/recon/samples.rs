//! Where the samples of the projections' spectra lie on the grid, and with which weights: computed once per geometry.
//!
//! Sample k of the projection at angle θ lies at (U, V) = ρk·(cos θ, sin θ) grid cells, ρ = M/P (grid length over
//! padded length). A real image has H(−u,−v) = H*(u,v), so only the half plane u = 0 … M/2 is kept; a projection
//! whose cos θ is negative is used reversed, as its conjugate at −(U, V), so that U ≥ 0 always.
//!
//! A cell of the half plane receives from three images of a ray, in this order for each angle, k ascending:
//!
//! | image | cells | value |
//! |---|---|---|
//! | direct | (u, v) | F |
//! | mirrored | (−u, −v) | F*: matters where U < W/2 |
//! | wrapped | (M − u, −v) | F*: matters where U > M/2 − W/2, periodic grids only |

use std::ops::Range;

/// Columns of the half plane that are gridded together; small enough for the cache, wide enough that a sample
/// (W cells wide) is visited (STRIP + W − 1)/STRIP times only.
pub const STRIP: usize = 8;

/// Which image of a ray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// The sample itself.
    Direct,
    /// Its conjugate at the opposite frequency.
    Mirrored,
    /// The conjugate's periodic copy beyond M/2.
    Wrapped,
}

/// Samples `samples` of angle `angle` touch a strip.
#[derive(Clone, Debug)]
pub struct Run {
    /// Index of the projection.
    pub angle: u32,
    /// Which image of the ray.
    pub image: Image,
    /// Range of k.
    pub samples: Range<u32>,
}

/// The taps of one sample: cells `first_u .. first_u + W` × `first_v .. first_v + W`.
pub struct Taps {
    /// First column; may be negative.
    pub first_u: i32,
    /// First row; may be negative.
    pub first_v: i32,
    /// Weights along u, then along v.
    pub weights: Vec<f32>,
}

/// All samples of a geometry.
pub struct Samples {
    /// Grid length M.
    pub grid: usize,
    /// Range of k that is used, the same for every angle.
    pub used: Range<usize>,
    /// Whether the projection is used reversed (conjugated).
    pub reversed: Vec<bool>,
    /// Width W of the angle's taps.
    pub width: Vec<u8>,
    /// Offset of the angle's weights in `weights`.
    offset: Vec<usize>,
    /// [angle][k]: first column and first row.
    first: Vec<[i32; 2]>,
    /// [angle][k][u taps, v taps].
    weights: Vec<f32>,
    /// Runs of every strip, in the order in which they are added.
    pub runs: Vec<Vec<Run>>,
}

impl Samples {
    /// Builds the table. `direction[i]` = (cos θ, sin θ); `taps(angle, reversed, k)` gives the taps of a sample whose
    /// U is not negative, all of one angle equally wide. `periodic`: whether the grid wraps around (the alternative
    /// is that its taps stay inside).
    pub fn new(
        grid: usize,
        used: Range<usize>,
        direction: &[[f64; 2]],
        periodic: bool,
        width: impl Fn(usize) -> usize,
        taps: impl Fn(usize, bool, usize, &mut Taps),
    ) -> Samples {
        let count = used.len();
        let reversed: Vec<bool> = direction.iter().map(|d| d[0] < 0.0).collect();
        let (mut first, mut weights) = (Vec::with_capacity(direction.len() * count), Vec::new());
        let (mut offset, mut widths) = (Vec::new(), Vec::new());
        let mut one = Taps { first_u: 0, first_v: 0, weights: Vec::new() };
        for angle in 0..direction.len() {
            offset.push(weights.len());
            widths.push(width(angle) as u8);
            for k in used.clone() {
                one.weights.clear();
                taps(angle, reversed[angle], k, &mut one);
                first.push([one.first_u, one.first_v]);
                weights.extend_from_slice(&one.weights);
            }
        }
        let mut samples = Samples { grid, used, reversed, width: widths, offset, first, weights, runs: Vec::new() };
        let columns = grid / 2 + 1;
        samples.runs = (0..columns.div_ceil(STRIP))
            .map(|s| samples.runs_of(s * STRIP..((s + 1) * STRIP).min(columns), periodic))
            .collect();
        samples
    }

    /// First column and row of sample `k`.
    #[inline(always)]
    pub fn first(&self, angle: usize, k: usize) -> [i32; 2] {
        self.first[angle * self.used.len() + k - self.used.start]
    }

    /// Weights along u and along v of sample `k`, `W` each.
    #[inline(always)]
    pub fn weights<const W: usize>(&self, angle: usize, k: usize) -> (&[f32; W], &[f32; W]) {
        let start = self.offset[angle] + (k - self.used.start) * 2 * W;
        let both = &self.weights[start..start + 2 * W];
        let (u, v) = both.split_at(W);
        // Both halves have W elements by construction; the fallback is never taken.
        (u.try_into().unwrap_or(&[0.0; W]), v.try_into().unwrap_or(&[0.0; W]))
    }

    /// The stored rows of a run: positions and weights, for prefetching.
    #[inline(always)]
    pub fn stored(&self, run: &Run) -> (&[[i32; 2]], &[f32]) {
        let angle = run.angle as usize;
        let taps = 2 * self.width[angle] as usize;
        let (from, to) = (run.samples.start as usize - self.used.start, run.samples.end as usize - self.used.start);
        let row = angle * self.used.len();
        let start = self.offset[angle];
        (&self.first[row + from..row + to], &self.weights[start + from * taps..start + to * taps])
    }

    /// Which samples touch the columns `strip`. Columns grow with k along a ray, so each image is one range.
    fn runs_of(&self, strip: Range<usize>, periodic: bool) -> Vec<Run> {
        let (low, high) = (strip.start as i32, strip.end as i32 - 1);
        let count = self.used.len();
        let mut runs = Vec::new();
        for angle in 0..self.reversed.len() {
            let first = &self.first[angle * count..(angle + 1) * count];
            let reach = self.width[angle] as i32 - 1;
            let mut push = |image, from: usize, to: usize| {
                if from < to {
                    let at = |i: usize| (self.used.start + i) as u32;
                    runs.push(Run { angle: angle as u32, image, samples: at(from)..at(to) });
                }
            };
            // Direct: first ≤ high and first + reach ≥ low.
            push(Image::Direct, first.partition_point(|f| f[0] + reach < low), first.partition_point(|f| f[0] <= high));
            // Mirrored: −(first + reach) ≤ high always holds here or not at all for large k; −first ≥ low.
            push(
                Image::Mirrored,
                first.partition_point(|f| f[0] + reach < -high),
                first.partition_point(|f| f[0] <= -low),
            );
            if periodic {
                let m = self.grid as i32;
                // Wrapped: M − (first + reach) ≤ high and M − first ≥ low.
                push(
                    Image::Wrapped,
                    first.partition_point(|f| f[0] + reach < m - high),
                    first.partition_point(|f| f[0] <= m - low),
                );
            }
        }
        runs
    }

    /// Bytes that the table holds.
    pub fn bytes(&self) -> usize {
        self.first.len() * 8 + self.weights.len() * 4 + self.runs.iter().map(|r| r.len() * 16).sum::<usize>()
    }
}
