//! L2. Sliding windows around a network: cut from an image, their logits added up, and what is told of the sums.
//!
//! ```text
//! interval    roi where the image is as large, else max(⌊roi·(1 − overlap)⌋, 1)
//! starts      d·interval for d = 0, 1, … until the image is covered; the last one shifted back to end with the image
//! image       smaller than the roi: zeros around it, half before (the smaller half) and half after
//! sums        [row mod roi][column][class, weight]      of the padded image; rows above the next row of windows are finished
//! add         sum_k ← sum_k + l_k·w,  sum_K ← sum_K + w
//! finish      l_k = sum_k / sum_K, and the sums are 0 again
//! ```
//!
//! **Order.** Windows by rows, then columns, one f32 sum each; product and sum rounded apart, one quotient. Who adds owns
//! numbers or rows of them, so threads change nothing.
//!
//! [`Here`] is the definition, by the threads of the current pool; a device does the same where the image, the logits and the
//! sums are (`kernels/windows.cu`), and what is told comes back alone.

use super::buffer::{Buffer, View};
use super::maps::{BORDER, Maps};
use super::uncertainty::{Map, tell};
use crate::num::lanes::{LANES, Lane};
use rayon::prelude::*;
use std::ops::Range;

/// Fewest rows that a thread takes at a time.
const GRAIN: usize = 16;

/// An axis of an image, and windows along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Pixels of the image.
    pub pixels: usize,
    /// Pixels of a window.
    pub roi: usize,
    /// From the start of a window to that of the next.
    pub interval: usize,
}

impl Axis {
    /// Windows of `roi` pixels that overlap by a part of them, 0 ≤ `overlap` < 1.
    pub fn new(pixels: usize, roi: usize, overlap: f64) -> Axis {
        let padded = pixels.max(roi);
        let interval = if roi == padded { roi } else { ((roi as f64 * (1.0 - overlap)) as usize).max(1) };
        Axis { pixels, roi, interval }
    }
    /// Pixels with the zeros around a short image.
    pub fn padded(self) -> usize {
        self.pixels.max(self.roi)
    }
    /// Zeros before the image.
    pub fn before(self) -> usize {
        (self.padded() - self.pixels) / 2
    }
    /// How many windows there are.
    pub fn count(self) -> usize {
        (self.padded() - self.roi).div_ceil(self.interval) + 1
    }
    /// Where one starts.
    pub fn start(self, window: usize) -> usize {
        (window * self.interval).min(self.padded() - self.roi)
    }
}

/// Windows of an image, counted by rows, then columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// From top to bottom.
    pub rows: Axis,
    /// From left to right.
    pub columns: Axis,
    /// Numbers that are added up of a pixel, beside its weight.
    pub classes: usize,
}

impl Grid {
    /// How many windows there are.
    pub fn count(&self) -> usize {
        self.rows.count() * self.columns.count()
    }
    /// Top and left of a window.
    pub fn place(&self, window: usize) -> [usize; 2] {
        let columns = self.columns.count();
        [self.rows.start(window / columns), self.columns.start(window % columns)]
    }
    /// Numbers of the sums.
    pub fn sums(&self) -> usize {
        self.rows.roi * self.row_of_sums()
    }
    /// Rows of the padded image that no window holds after a row of windows, and some before did not.
    pub fn finished(&self, row: usize) -> Range<usize> {
        let end = if row + 1 < self.rows.count() { self.rows.start(row + 1) } else { self.rows.padded() };
        self.rows.start(row)..end
    }
    /// Which rows of the image these are.
    pub fn of_image(&self, rows: &Range<usize>) -> Range<usize> {
        let in_image = |row: usize| row.saturating_sub(self.rows.before()).min(self.rows.pixels);
        in_image(rows.start)..in_image(rows.end)
    }
    fn row_of_sums(&self) -> usize {
        self.columns.padded() * (self.classes + 1)
    }
}

/// Logits of some windows of a batch.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Logits of the windows, and their channels.
    pub logits: &'a Maps<Lane>,
    /// Which window of the batch the first sample is.
    pub sample: usize,
    /// Which number of a pixel the first channel is added to.
    pub first: usize,
}

/// What is told of finished pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// The averaged logits `[row][column][class]`.
    Logits,
    /// What [`tell`] tells of so many passes: `[row][column][class, map …]`.
    Maps(usize, &'a [Map]),
}

/// What is told of some rows, wherever it is.
pub enum Band {
    /// Logits.
    Logits(Buffer<f32>),
    /// Codes.
    Maps(Buffer<u8>),
}

/// The steps around a network, where the network computes.
pub trait Sliding {
    /// An image sets out for where windows are cut, `[channel][row][column]`; none where they are cut from it as it is. It is
    /// there until the second image after it is sent.
    fn send(&self, _: &[f32]) -> Option<Buffer<f32>> {
        None
    }
    /// All windows of the image that was sent last are cut.
    fn is_cut(&self) {}
    /// Windows of an image become the samples from `sample` on of `to`, zeros around the image.
    fn cut(&self, grid: &Grid, image: View<f32>, windows: Range<usize>, sample: usize, to: &mut Maps<f32>);
    /// The first samples.
    fn head(&self, windows: &Maps<f32>, count: usize) -> Maps<f32> {
        windows.samples(0..count)
    }
    /// Adds logits of windows that lie in one row of them, those of the first being sample `sample` of the part.
    fn add_up(
        &self,
        grid: &Grid,
        part: Part,
        sample: usize,
        windows: Range<usize>,
        weights: &Buffer<f32>,
        sums: &mut Buffer<f32>,
    );
    /// Adds the logits of a pass to those before, and divides by how many there are after the last: their mean.
    fn mean(&self, logits: &Maps<Lane>, pass: usize, passes: usize, mean: &mut Maps<Lane>);
    /// What is told of rows of the padded image, which are finished; their sums become 0. It comes back while who told it goes
    /// on.
    fn finish(&self, grid: &Grid, rows: Range<usize>, told: Told, sums: &mut Buffer<f32>) -> Band;
}

/// In the memory of this process.
pub struct Here;

impl Here {
    /// Rows of an image made of their quotients.
    fn rows<T: Copy + Default + Send + Sync>(
        grid: &Grid,
        rows: &Range<usize>,
        per_pixel: usize,
        sums: &Buffer<f32>,
        of: impl Fn(&[f32], &mut [T]) + Sync,
    ) -> Vec<T> {
        let (Grid { rows: axis, columns, classes }, in_image) = (grid, grid.of_image(rows));
        let mut all = vec![T::default(); in_image.len() * columns.pixels * per_pixel];
        let of_rows = all.par_chunks_exact_mut((columns.pixels * per_pixel).max(1)).with_min_len(GRAIN).enumerate();
        of_rows.for_each(|(i, to)| {
            let at = (in_image.start + i + axis.before()) % axis.roi * grid.row_of_sums();
            let from = &sums[at + columns.before() * (classes + 1)..][..columns.pixels * (classes + 1)];
            let mut logits = vec![0f32; *classes];
            for (pixel, to) in from.chunks_exact(classes + 1).zip(to.chunks_exact_mut(per_pixel)) {
                logits.iter_mut().zip(pixel).for_each(|(l, sum)| *l = sum / pixel[*classes]);
                of(&logits, to);
            }
        });
        all
    }
}

impl Sliding for Here {
    fn cut(&self, grid: &Grid, image: View<f32>, windows: Range<usize>, sample: usize, to: &mut Maps<f32>) {
        let (shape, image, Grid { rows, columns, .. }) = (to.shape(), image.slice(), grid);
        let all = to.bands_mut(1).into_par_iter().with_min_len(GRAIN);
        all.filter(|(band, _)| (sample..sample + windows.len()).contains(&band.n)).for_each(|(band, to)| {
            let [top, left] = grid.place(windows.start + band.n - sample);
            let to = &mut to[BORDER..][..shape.w];
            to.fill(0.0);
            let row = (top + band.first).checked_sub(rows.before()).filter(|&row| row < rows.pixels);
            let first = columns.before().saturating_sub(left).min(shape.w);
            let last = (columns.pixels + columns.before()).saturating_sub(left).min(shape.w);
            if let Some(row) = row.filter(|_| first < last) {
                let from = (band.g * rows.pixels + row) * columns.pixels + left + first - columns.before();
                to[first..last].copy_from_slice(&image[from..][..last - first]);
            }
        });
    }
    fn add_up(
        &self,
        grid: &Grid,
        part: Part,
        sample: usize,
        windows: Range<usize>,
        weights: &Buffer<f32>,
        sums: &mut Buffer<f32>,
    ) {
        let (numbers, w, c) = (grid.classes + 1, grid.columns.roi, part.logits.shape().c);
        let (h, top) = (grid.rows.roi, grid.place(windows.start)[0]);
        let (logits, weights) = (part.logits, &weights[..]);
        // Somebody may have to wait for them: before threads do.
        logits.data();
        let rings = sums.par_chunks_exact_mut(grid.row_of_sums().max(1)).with_min_len(GRAIN).enumerate();
        rings.for_each(|(ring, sums)| {
            let y = (ring + h - top % h) % h;
            let of_row = &weights[y * w..][..w];
            for (i, window) in windows.clone().enumerate() {
                let left = grid.place(window)[1];
                let pixels = &mut sums[left * numbers..(left + w) * numbers];
                for group in 0..c.div_ceil(LANES) {
                    let from = logits.row(sample + i, group, y);
                    let first = part.first + group * LANES;
                    let channels = first..first + (c - group * LANES).min(LANES);
                    for ((pixel, lane), weight) in pixels.chunks_exact_mut(numbers).zip(from).zip(of_row) {
                        let pixel = &mut pixel[channels.clone()];
                        pixel.iter_mut().zip(&lane.0).for_each(|(sum, l)| *sum += l * weight);
                    }
                }
                if part.first == 0 {
                    pixels.chunks_exact_mut(numbers).zip(of_row).for_each(|(pixel, w)| pixel[numbers - 1] += w);
                }
            }
        });
    }
    fn mean(&self, logits: &Maps<Lane>, pass: usize, passes: usize, mean: &mut Maps<Lane>) {
        let from = logits.data();
        mean.data_mut().par_iter_mut().with_min_len(1 << 12).zip(from).for_each(|(mean, x)| {
            for (mean, x) in mean.0.iter_mut().zip(x.0) {
                let sum = if pass > 0 { *mean } else { 0.0 } + x;
                *mean = if pass + 1 == passes { sum / passes as f32 } else { sum };
            }
        });
    }
    fn finish(&self, grid: &Grid, rows: Range<usize>, told: Told, sums: &mut Buffer<f32>) -> Band {
        let band = match told {
            Told::Logits => {
                let copy = |logits: &[f32], to: &mut [f32]| to.copy_from_slice(logits);
                Band::Logits(Here::rows(grid, &rows, grid.classes, sums, copy).into())
            }
            Told::Maps(passes, maps) => {
                let of = |logits: &[f32], to: &mut [u8]| tell(logits, passes, maps, to);
                Band::Maps(Here::rows(grid, &rows, maps.len() + 1, sums, of).into())
            }
        };
        for row in rows {
            sums[row % grid.rows.roi * grid.row_of_sums()..][..grid.row_of_sums()].fill(0.0);
        }
        band
    }
}

#[cfg(test)]
mod tests {
    use super::super::maps::Shape;
    use super::*;
    use crate::num::philox::Stream;

    fn numbers(count: usize, purpose: u32) -> Vec<f32> {
        let stream = Stream::new(23, purpose);
        (0..count as u64).map(|i| stream.normal(i) as f32).collect()
    }

    /// Pixel by pixel over all windows, as the module says it.
    fn definition(grid: &Grid, logits: &Maps<Lane>, weights: &[f32]) -> Vec<f32> {
        let Grid { rows, columns, classes } = *grid;
        let mut all = Vec::new();
        for (row, column) in (0..rows.pixels).flat_map(|y| (0..columns.pixels).map(move |x| (y, x))) {
            let (y, x) = (row + rows.before(), column + columns.before());
            let (mut sums, mut weight) = (vec![0f32; classes], 0f32);
            for window in 0..grid.count() {
                let [top, left] = grid.place(window);
                if !(top..top + rows.roi).contains(&y) || !(left..left + columns.roi).contains(&x) {
                    continue;
                }
                let w = weights[(y - top) * columns.roi + x - left];
                weight += w;
                let of = |k: usize| logits.at(window, k, y - top, x - left);
                sums.iter_mut().enumerate().for_each(|(k, sum)| *sum += of(k) * w);
            }
            all.extend(sums.iter().map(|sum| sum / weight));
        }
        all
    }

    #[test]
    fn sums_are_those_of_every_pixel_whatever_is_added_together() {
        for (h, w, roi, overlap) in [(23, 40, [8, 12], 0.4), (5, 9, [8, 12], 0.25), (16, 5, [8, 12], 0.0)] {
            let (rows, columns) = (Axis::new(h, roi[0], overlap), Axis::new(w, roi[1], overlap));
            let grid = Grid { rows, columns, classes: 19 };
            let weights = Buffer::from(numbers(roi[0] * roi[1], 1).iter().map(|v| v.abs() + 0.1).collect::<Vec<_>>());
            let s = Shape::new(grid.count(), 19, roi[0], roi[1]);
            let logits = Maps::<Lane>::from_nchw(s, &numbers(s.len(), 2));
            // Channels apart as passes are: the first seven, and the others.
            let all = logits.to_nchw();
            let some = |channels: Range<usize>| {
                let plane = roi[0] * roi[1];
                let of_samples = all.chunks_exact(19 * plane);
                let of = of_samples.flat_map(|of| &of[channels.start * plane..channels.end * plane]).copied();
                Maps::<Lane>::from_nchw(s.with_channels(channels.len()), &of.collect::<Vec<_>>())
            };
            let [head, tail] = [some(0..7), some(7..19)];
            let want = definition(&grid, &logits, &weights);
            for step in [1, 2, columns.count()] {
                let (mut sums, mut found) = (Buffer::zeros(grid.sums()), Vec::new());
                for row in 0..rows.count() {
                    let of_row = row * columns.count()..(row + 1) * columns.count();
                    for start in of_row.clone().step_by(step) {
                        let windows = start..(start + step).min(of_row.end);
                        for (logits, first) in [(&head, 0), (&tail, 7)] {
                            let part = Part { logits, sample: 0, first };
                            Here.add_up(&grid, part, start, windows.clone(), &weights, &mut sums);
                        }
                    }
                    let Band::Logits(band) = Here.finish(&grid, grid.finished(row), Told::Logits, &mut sums) else {
                        panic!("logits were asked for");
                    };
                    found.extend_from_slice(&band);
                }
                assert_eq!(found, want, "{h} x {w}, {step} together");
                assert!(sums.iter().all(|v| *v == 0.0));
            }
        }
    }

    #[test]
    fn windows_are_cut_where_they_lie_with_zeros_around() {
        for (h, w) in [(20, 31), (5, 7), (9, 6)] {
            let (rows, columns) = (Axis::new(h, 8, 0.25), Axis::new(w, 12, 0.25));
            let grid = Grid { rows, columns, classes: 1 };
            let image: Vec<f32> = (1..=2 * h * w).map(|i| i as f32).collect();
            let mut maps = Maps::<f32>::zeros(Shape::new(grid.count() + 1, 2, 8, 12));
            maps.fill_by(|_, _, _, _| f32::NAN);
            Here.cut(&grid, View::from(&image), 0..grid.count(), 1, &mut maps);
            assert!(maps.at(0, 0, 0, 0).is_nan(), "another's sample");
            for (n, c, y, x) in (0..grid.count()).flat_map(|n| (0..192).map(move |i| (n, i / 96, i / 12 % 8, i % 12))) {
                let [top, left] = grid.place(n);
                let place = [top + y, left + x].map(|v| v as i64);
                let (row, column) = (place[0] - rows.before() as i64, place[1] - columns.before() as i64);
                let inside = (0..h as i64).contains(&row) && (0..w as i64).contains(&column);
                let want = if inside { image[(c * h + row as usize) * w + column as usize] } else { 0.0 };
                assert_eq!(maps.at(n + 1, c, y, x), want, "{h} x {w}: {n} {c} {y} {x}");
            }
        }
    }
}
