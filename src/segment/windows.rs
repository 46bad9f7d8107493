//! Sliding windows: an image of any size through a network that takes squares.
//!
//! ```text
//! interval    roi where the image is as large, else max(⌊roi·(1 − overlap)⌋, 1)
//! starts      d·interval for d = 0, 1, … until the image is covered; the last one shifted back to end with the image
//! image       smaller than the roi: zeros around it, half before (the smaller half) and half after, cropped at the end
//! weight      1, or Gaussian: max(e^(−y²/2σ²)·e^(−x²/2σ²), least), y and x from the middle, σ = 0.125·roi,
//!             least = max(the least of the map, 0.001)
//! logits      Σ w·l / Σ w over the windows that hold the pixel; softmax comes after
//! ```
//!
//! **Order.** Windows by rows, then columns, whatever the batches; per pixel and class one f32 sum, product and sum rounded
//! apart, one quotient.
//!
//! **Memory.** Rows above the next row of windows are finished: they are handed on and their memory used again. Held are
//! roi rows of the image's width, K + 1 numbers each, and a batch. Of a network that computes behind our back a second batch:
//! while it computes one, the next is cut and the logits of the one before are added up, from image to image without a halt.
//!
//! Source: MONAI's `sliding_window_inference`, `dense_patch_slices`, `_get_scan_interval`, `compute_importance_map`.

use crate::error::{Error, Result};
use crate::kernels::maps::{Maps, Shape};
use crate::num::elementary::exp;
use crate::num::lanes::{LANES, Lane};
use std::collections::VecDeque;
use std::ops::Range;

/// A network as windows see it.
pub trait Logits {
    /// K.
    fn classes(&self) -> usize;
    /// Channels of the images.
    fn inputs(&self) -> usize {
        1
    }
    /// Logits of windows, of their rows and columns.
    ///
    /// # Errors
    /// What the network says.
    fn logits(&mut self, windows: &Maps<f32>) -> Result<Maps<Lane>>;
    /// Batches that are asked for before the logits of one are looked at.
    fn ahead(&self) -> usize {
        0
    }
    /// Waits for logits that are looked at next.
    ///
    /// # Errors
    /// What the network says of them.
    fn wait(&mut self, _: &Maps<Lane>) -> Result<()> {
        Ok(())
    }
    /// Passes whose logits stand one behind the other.
    fn passes(&self) -> usize {
        1
    }
    /// Takes logits back, to use their memory again.
    fn give(&mut self, logits: Maps<Lane>) {
        drop(logits);
    }
}

/// What takes finished rows of an image, the number of which comes first, and their logits `[row][column][class]`.
pub type Take<'a> = dyn FnMut(usize, Range<usize>, &[f32]) -> Result<()> + 'a;

/// Images of one size, one after the other.
pub trait Series {
    /// The next one, `[channel][row][column]`; none after the last.
    ///
    /// # Errors
    /// What reading it says.
    fn next(&mut self) -> Result<Option<&[f32]>>;
}

/// Windows of an image on their way through the network.
struct Batch<'a> {
    image: usize,
    /// Which row of windows, and whether none of it comes after these.
    row: usize,
    last: bool,
    lefts: &'a [usize],
    logits: Maps<Lane>,
}

/// Logits of the rows that are not finished.
struct Sums<'a> {
    windows: &'a Windows,
    height: usize,
    width: usize,
    rows: &'a Axis,
    columns: &'a Axis,
    k: usize,
    /// Of a ring of h rows, row y lies at y mod h.
    sums: Vec<f32>,
    weights: Vec<f32>,
    band: Vec<f32>,
}

/// How windows that overlap are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// All alike: the authors' way.
    Constant,
    /// Less at their edges.
    Gaussian,
}

impl Importance {
    /// `constant` or `gaussian`.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(text: &str) -> Result<Importance> {
        match text {
            "constant" => Ok(Importance::Constant),
            "gaussian" => Ok(Importance::Gaussian),
            _ => Err(Error::usage(format!("'{text}' is no weight of windows")).help("constant or gaussian")),
        }
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        ["constant", "gaussian"][self as usize]
    }

    /// Weights of a window, `[row][column]`.
    pub fn map(self, [height, width]: [usize; 2]) -> Vec<f32> {
        if self == Importance::Constant {
            return vec![1.0; height * width];
        }
        let along = |n: usize| -> Vec<f32> {
            let sigma = n as f64 * SIGMA;
            let at = |i: usize| i as f64 - (n - 1) as f64 / 2.0;
            (0..n).map(|i| exp(-at(i) * at(i) / (2.0 * sigma * sigma)) as f32).collect()
        };
        let (rows, columns) = (along(height), along(width));
        let mut map: Vec<f32> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect();
        let least = map.iter().fold(f32::INFINITY, |a, &b| a.min(b)).max(LEAST);
        map.iter_mut().for_each(|w| *w = w.max(least));
        map
    }
}

/// σ of the Gaussian in sides of a window.
const SIGMA: f64 = 0.125;
/// Least weight.
const LEAST: f32 = 1e-3;

/// Where windows of `roi` start along an axis of `n` pixels, `roi ≤ n`.
pub fn starts(n: usize, roi: usize, overlap: f64) -> Vec<usize> {
    let interval = if roi == n { roi } else { ((roi as f64 * (1.0 - overlap)) as usize).max(1) };
    let mut starts = Vec::new();
    for d in 0.. {
        let start = d * interval;
        starts.push(start.min(n - roi.min(n)));
        if start + roi >= n {
            break;
        }
    }
    starts
}

/// Sliding windows of a shape.
#[derive(Clone, Debug)]
pub struct Windows {
    roi: [usize; 2],
    overlap: f64,
    weights: Vec<f32>,
    batch: usize,
}

/// An axis of an image, padded if it is short.
struct Axis {
    /// Pixels with padding.
    padded: usize,
    /// Zeros before the image.
    before: usize,
    starts: Vec<usize>,
}

impl Windows {
    /// Windows of `roi` rows and columns, `batch` of them at a time.
    ///
    /// # Errors
    /// Usage: an overlap outside of 0 ≤ o < 1, nothing.
    pub fn new(roi: [usize; 2], overlap: f64, importance: Importance, batch: usize) -> Result<Windows> {
        if !(0.0..1.0).contains(&overlap) {
            return Err(Error::usage(format!("windows that overlap by {overlap}")).help("0 to below 1, such as 0.25"));
        }
        if roi.contains(&0) || batch == 0 {
            return Err(Error::usage("windows without pixels, or none at a time"));
        }
        Ok(Windows { roi, overlap, weights: importance.map(roi), batch })
    }

    fn axis(&self, n: usize, which: usize) -> Axis {
        let roi = self.roi[which];
        let missing = roi.saturating_sub(n);
        Axis { padded: n.max(roi), before: missing / 2, starts: starts(n.max(roi), roi, self.overlap) }
    }

    /// Windows of an image.
    pub fn count(&self, height: usize, width: usize) -> usize {
        self.axis(height, 0).starts.len() * self.axis(width, 1).starts.len()
    }

    /// Bytes that are held for an image of this width, beside the network's own.
    pub fn memory(&self, width: usize, classes: usize) -> u64 {
        let row = self.axis(width, 1);
        let (window, batch) = ((self.roi[0] * self.roi[1]) as u64, self.batch.min(row.starts.len()) as u64);
        4 * (row.padded as u64 * self.roi[0] as u64 * (classes as u64 + 1) + window * (1 + batch))
    }

    /// Averaged logits of images, handed to `take` in bands from the top: rows, and their logits `[row][column][class]`.
    ///
    /// # Errors
    /// Those of the images, the network and `take`; bug: an image that is not `height` × `width`.
    pub fn run(
        &self,
        images: &mut dyn Series,
        [height, width]: [usize; 2],
        network: &mut dyn Logits,
        take: &mut Take,
    ) -> Result<()> {
        let (rows, columns, k) = (&self.axis(height, 0), &self.axis(width, 1), network.classes());
        let mut sums = Sums {
            windows: self,
            height,
            width,
            rows,
            columns,
            k,
            sums: vec![0f32; self.roi[0] * columns.padded * k],
            weights: vec![0f32; self.roi[0] * columns.padded],
            band: Vec::new(),
        };
        let (mut flying, mut number) = (VecDeque::new(), 0);
        let ended = loop {
            let image = match images.next() {
                Ok(Some(image)) => image,
                Ok(None) => break Ok(()),
                // What is on its way comes down first.
                Err(e) => break Err(e),
            };
            if image.len() != network.inputs() * height * width || image.is_empty() {
                return Err(Error::bug(format!("{} pixels for an image of {height} x {width}", image.len())));
            }
            for (row, &top) in rows.starts.iter().enumerate() {
                for (chunk, lefts) in columns.starts.chunks(self.batch).enumerate() {
                    let maps = sums.cut(image, network.inputs(), top, lefts);
                    let logits = network.logits(&maps)?;
                    if logits.shape() != maps.shape().with_channels(k) {
                        let (of, got) = (maps.shape(), logits.shape());
                        return Err(Error::bug(format!("logits of {got:?} for windows of {of:?}")));
                    }
                    let last = (chunk + 1) * self.batch >= columns.starts.len();
                    flying.push_back(Batch { image: number, row, last, lefts, logits });
                    while flying.len() > network.ahead() {
                        flying.pop_front().map_or(Ok(()), |batch| sums.land(batch, network, take))?;
                    }
                }
            }
            number += 1;
        };
        flying.into_iter().try_for_each(|batch| sums.land(batch, network, take))?;
        ended
    }
}

impl Sums<'_> {
    /// Windows of an image, zeros around it.
    fn cut(&self, image: &[f32], inputs: usize, top: usize, lefts: &[usize]) -> Maps<f32> {
        let (Sums { height, width, rows, columns, .. }, [h, w]) = (self, self.windows.roi);
        let mut maps = Maps::zeros(Shape::new(lefts.len(), inputs, h, w));
        for (n, &left) in lefts.iter().enumerate() {
            for (c, y) in (0..inputs).flat_map(|c| (0..h).map(move |y| (c, y))) {
                let Some(row) = (top + y).checked_sub(rows.before).filter(|r| r < height) else { continue };
                let to = maps.row_mut(n, c, y);
                let (first, last) = (columns.before.saturating_sub(left), (width + columns.before - left).min(w));
                let from = left + first - columns.before;
                to[first..last].copy_from_slice(&image[(c * height + row) * width + from..][..last - first]);
            }
        }
        maps
    }

    /// Adds the logits of windows; hands on the rows that no later window holds.
    fn land(&mut self, batch: Batch, network: &mut dyn Logits, take: &mut Take) -> Result<()> {
        let Batch { image, row, last, lefts, logits } = batch;
        network.wait(&logits)?;
        let (&Sums { height, width, rows, columns, k, .. }, [h, w]) = (&*self, self.windows.roi);
        let (sums, weights, top) = (&mut self.sums, &mut self.weights, rows.starts[row]);
        for (n, &left) in lefts.iter().enumerate() {
            for y in 0..h {
                let at = (top + y) % h * columns.padded + left;
                let of_row = &self.windows.weights[y * w..][..w];
                weights[at..at + w].iter_mut().zip(of_row).for_each(|(a, b)| *a += b);
                let sums = &mut sums[at * k..(at + w) * k];
                for group in 0..k.div_ceil(LANES) {
                    let channels = group * LANES..k.min((group + 1) * LANES);
                    let from = logits.row(n, group, y);
                    for ((pixel, lane), weight) in sums.chunks_exact_mut(k).zip(from).zip(of_row) {
                        let pixel = &mut pixel[channels.clone()];
                        pixel.iter_mut().zip(&lane.0).for_each(|(sum, l)| *sum += l * weight);
                    }
                }
            }
        }
        network.give(logits);
        if !last {
            return Ok(());
        }
        let end = rows.starts.get(row + 1).copied().unwrap_or(rows.padded);
        let (first, last) = (top.max(rows.before), end.min(rows.before + height));
        self.band.clear();
        for row in first..last {
            let at = row % h * columns.padded + columns.before;
            let pixels = sums[at * k..(at + width) * k].chunks_exact(k).zip(&weights[at..at + width]);
            for (pixel, weight) in pixels {
                self.band.extend(pixel.iter().map(|sum| sum / weight));
            }
        }
        if first < last {
            take(image, first - rows.before..last - rows.before, &self.band)?;
        }
        for row in top..end {
            let at = row % h * columns.padded;
            sums[at * k..(at + columns.padded) * k].fill(0.0);
            weights[at..at + columns.padded].fill(0.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::npy::read_array;
    use crate::kernels::Cpu;
    use crate::nn::{state, weights};
    use crate::num::lanes::Isa;
    use crate::segment::predict::Net;
    use std::path::{Path, PathBuf};

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
    }

    fn image(h: usize, w: usize) -> Vec<f32> {
        (0..h * w).map(|i| ((i * 7919 % 1009) as f64 / 1009.0) as f32).collect()
    }

    /// An image so many times; where ten are left, it cannot be read.
    struct Same<'a>(&'a [f32], usize);

    impl Series for Same<'_> {
        fn next(&mut self) -> Result<Option<&[f32]>> {
            if self.1 == 0 {
                return Ok(None);
            }
            self.1 -= 1;
            if self.1 == 10 { Err(Error::data("unreadable")) } else { Ok(Some(self.0)) }
        }
    }

    /// What `ramp` is in testdata/segment/make.py.
    struct Ramp(usize);

    impl Logits for Ramp {
        fn classes(&self) -> usize {
            self.0
        }
        fn logits(&mut self, windows: &Maps<f32>) -> Result<Maps<Lane>> {
            let mut out = Maps::zeros(windows.shape().with_channels(self.0));
            out.fill_by(|n, k, y, x| {
                let k = k as f32;
                windows.at(n, 0, y, x) * (k + 1.0) + k * 0.125 * y as f32 - 0.0625 * x as f32
            });
            Ok(out)
        }
    }

    /// All logits in the order of MONAI, \[class\]\[row\]\[column\].
    fn logits(windows: &Windows, h: usize, w: usize, network: &mut dyn Logits) -> Vec<f32> {
        let k = network.classes();
        let mut out = vec![f32::NAN; k * h * w];
        let mut next = 0;
        windows
            .run(&mut Same(&image(h, w), 1), [h, w], network, &mut |_, rows, logits| {
                assert_eq!(rows.start, next, "bands come in order and leave nothing out");
                next = rows.end;
                assert_eq!(logits.len(), rows.len() * w * k);
                for (i, &l) in logits.iter().enumerate() {
                    out[i % k * h * w + rows.start * w + i / k] = l;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(next, h);
        out
    }

    #[test]
    fn starts_are_monais() {
        for (n, roi, overlap, want) in [
            (698, 512, 0.25, vec![0, 186]),
            (1707, 512, 0.25, vec![0, 384, 768, 1152, 1195]),
            (512, 512, 0.25, vec![0]),
            (896, 512, 0.25, vec![0, 384]),
            (10, 4, 0.0, vec![0, 4, 6]),
            (5, 1, 0.9, vec![0, 1, 2, 3, 4]),
        ] {
            assert_eq!(starts(n, roi, overlap), want, "{n}");
        }
        assert_eq!(starts(3896, 512, 0.25).len(), 10);
        assert_eq!(Windows::new([512; 2], 0.25, Importance::Constant, 1).unwrap().count(698, 3896), 20);
    }

    #[test]
    fn logits_are_monais() {
        for (name, h, w, overlap, importance) in [
            ("constant", 40, 57, 0.25, Importance::Constant),
            ("gaussian", 40, 57, 0.25, Importance::Gaussian),
            ("half", 33, 16, 0.5, Importance::Gaussian),
            ("small", 10, 41, 0.25, Importance::Constant),
        ] {
            let (shape, want) = read_array(&file(&format!("segment/windows.{name}.npy"))).unwrap();
            assert_eq!(shape, [3, h, w]);
            for batch in [1, 3] {
                let windows = Windows::new([16; 2], overlap, importance, batch).unwrap();
                let got = logits(&windows, h, w, &mut Ramp(3));
                let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                // Logits are below 8; the maps' exponentials differ by an ulp.
                assert!(worst <= 2e-6, "{name} {batch}: {worst}");
            }
        }
    }

    #[test]
    fn logits_of_a_network_are_monais_whatever_the_batch_and_the_threads() {
        let dict = weights::read(&file("net/narrow.safetensors")).unwrap();
        let network = state::load(&dict).unwrap().network;
        let want = read_array(&file("segment/windows.network.npy")).unwrap().1;
        let run = |batch: usize, isa: Isa| {
            let windows = Windows::new([32; 2], 0.25, Importance::Constant, batch).unwrap();
            logits(&windows, 40, 57, &mut Net::new(&network, Cpu { isa }, None))
        };
        let first = run(1, Isa::detect());
        let worst = first.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-5, "{worst}");
        assert_eq!(run(2, Isa::scalar()), first);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| run(4, Isa::detect())), first);
    }

    #[test]
    fn more_classes_than_lanes_and_narrow_images() {
        let windows = Windows::new([8, 12], 0.3, Importance::Gaussian, 2).unwrap();
        for (h, w) in [(1, 1), (8, 12), (9, 5), (21, 30)] {
            let got = logits(&windows, h, w, &mut Ramp(18));
            // The part that does not depend on the window is x·(k + 1); class 0 less its ramp shows it.
            assert!(got.iter().all(|v| v.is_finite()), "{h} {w}");
        }
        // One window: nothing is averaged.
        let got = logits(&windows, 8, 12, &mut Ramp(2));
        let want: Vec<f32> = image(8, 12).iter().enumerate().map(|(i, v)| v - 0.0625 * (i % 12) as f32).collect();
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() <= 1e-6);
        }
        for (overlap, roi, batch) in [(1.0, 8, 1), (-0.1, 8, 1), (f64::NAN, 8, 1), (0.5, 0, 1), (0.5, 8, 0)] {
            assert!(Windows::new([roi; 2], overlap, Importance::Constant, batch).is_err());
        }
        assert!(windows.run(&mut Same(&[0.0; 3], 1), [2, 2], &mut Ramp(1), &mut |_, _, _| Ok(())).is_err());
    }

    /// A network that is asked for so many batches before one is looked at, and what it is asked.
    struct Behind(Ramp, usize, Vec<String>, usize);

    impl Logits for Behind {
        fn classes(&self) -> usize {
            self.0.classes()
        }
        fn logits(&mut self, windows: &Maps<f32>) -> Result<Maps<Lane>> {
            self.2.push(format!("batch {}", self.2.iter().filter(|t| t.starts_with("batch")).count()));
            self.0.logits(windows)
        }
        fn ahead(&self) -> usize {
            self.1
        }
        fn wait(&mut self, _: &Maps<Lane>) -> Result<()> {
            self.2.push(format!("wait {}", self.3));
            self.3 += 1;
            Ok(())
        }
    }

    /// The next batch is under way when one is looked at, also where an image ends; numbers are the same.
    #[test]
    fn batches_fly_one_ahead_from_image_to_image() {
        let windows = Windows::new([8, 8], 0.25, Importance::Gaussian, 2).unwrap();
        let run = |ahead: usize, images: usize| {
            let (mut network, mut all) = (Behind(Ramp(3), ahead, Vec::new(), 0), vec![Vec::new(); 3]);
            let mut series = Same(&image(9, 20), images);
            let ended = windows.run(&mut series, [9, 20], &mut network, &mut |i, rows, logits| {
                assert_eq!(all[i].len(), rows.start * 20 * 3);
                all[i].extend_from_slice(logits);
                Ok(())
            });
            (all, network.2, ended)
        };
        let (all, calls, ended) = run(0, 3);
        // Two rows of three windows an image.
        assert!(ended.is_ok() && all.iter().all(|a| a.len() == 9 * 20 * 3 && a == &all[0]), "{calls:?}");
        assert_eq!(calls[..4], ["batch 0", "wait 0", "batch 1", "wait 1"]);
        let (ahead, calls, ended) = run(1, 3);
        assert!(ended.is_ok() && ahead == all);
        let want: Vec<String> = (0..12).flat_map(|i| [format!("batch {i}"), format!("wait {i}")]).collect();
        let mut sorted = calls.clone();
        sorted.sort();
        let mut expected = want.clone();
        expected.sort();
        assert_eq!(sorted, expected);
        for i in 0..11 {
            let at = |text: String| calls.iter().position(|c| *c == text).unwrap();
            assert!(at(format!("batch {}", i + 1)) < at(format!("wait {i}")), "{calls:?}");
        }
        // An image that cannot be read: those before it are finished.
        let (before, _, ended) = run(1, 14);
        assert!(ended.is_err() && before == all);
    }
}
