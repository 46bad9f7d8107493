//! Sliding windows: an image of any size through a network that takes squares.
//!
//! ```text
//! windows     where they lie, and their sums: crate::kernels::windows
//! weight      1, or Gaussian: max(e^(−y²/2σ²)·e^(−x²/2σ²), least), y and x from the middle, σ = 0.125·roi,
//!             least = max(the least of the map, 0.001)
//! logits      Σ w·l / Σ w over the windows that hold the pixel; softmax comes after
//! ```
//!
//! **Order.** Windows by rows, then columns, image after image; per pixel and class one f32 sum, product and sum rounded
//! apart, one quotient. A batch is as many windows as come next, whatever row or image they are of, and changes no bit.
//!
//! **Memory.** Rows above the next row of windows are finished: they are handed on and their memory used again. Held are
//! roi rows of the image's width, K + 1 numbers each, and a batch, where the network computes; and at most three bands of
//! finished rows: one that is made, one that waits, one that is taken by a thread of its own, while the network goes on. So a
//! device that computes behind our back is given the windows of the next rows before anybody looks at the last, from image to
//! image without a halt; what it is asked for before somebody waits is as much as makes three bands.
//!
//! **Errors.** Of two the one that is told is that of the rows that come first: taking a band, then computing the next, then
//! reading the image after it.
//!
//! Source: MONAI's `sliding_window_inference`, `dense_patch_slices`, `_get_scan_interval`, `compute_importance_map`.

use crate::error::{Error, Result};
use crate::kernels::buffer::{Buffer, View};
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::uncertainty::Map;
use crate::kernels::windows::{Axis, Band, Grid, Here, Part, Sliding, Told};
use crate::num::elementary::exp;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Who takes the logits of some windows of a batch, with who adds them up.
pub type Add<'a> = dyn FnMut(&dyn Sliding, Part) -> Result<()> + 'a;

/// A network as windows see it.
pub trait Logits {
    /// K, of all passes.
    fn classes(&self) -> usize;
    /// Channels of the images.
    fn inputs(&self) -> usize {
        1
    }
    /// Passes whose logits stand one behind the other.
    fn passes(&self) -> usize {
        1
    }
    /// Hands on the logits of windows, samples ascending, and of each all classes before the next, in one part or in several.
    /// A device may still compute them.
    ///
    /// # Errors
    /// What the network says, and `add`.
    fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()>;
    /// Who cuts windows, and adds up what is made of them: where the network computes.
    fn sliding(&self) -> &dyn Sliding {
        &Here
    }
}

/// Takes finished rows of an image, the number of which comes first, and what is told of their pixels.
pub type Rows<'a, T> = dyn FnMut(usize, Range<usize>, &[T]) -> Result<()> + Send + 'a;

/// Who takes finished rows, in a thread of its own.
pub enum Take<'a> {
    /// Their averaged logits `[row][column][class]`.
    Logits(&'a mut Rows<'a, f32>),
    /// What [`tell`](crate::kernels::uncertainty::tell) tells of these maps, `[row][column][class, map …]`.
    Maps(&'a [Map], &'a mut Rows<'a, u8>),
}

/// Images of one size, one after the other.
pub trait Series {
    /// How many are left, at most.
    fn left(&self) -> usize;
    /// The next one, `[channel][row][column]`; none after the last.
    ///
    /// # Errors
    /// What reading it says.
    fn next(&mut self) -> Result<Option<&[f32]>>;
}

/// Finished rows of an image.
type Finished = (usize, Range<usize>, Band);

/// Bands that wait for who takes them, and all that are held: one that is made, one that is taken.
const WAITING: usize = 1;
const BANDS: u64 = WAITING as u64 + 2;

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

/// Sliding windows of a shape.
#[derive(Clone, Debug)]
pub struct Windows {
    roi: [usize; 2],
    overlap: f64,
    weights: Buffer<f32>,
    batch: usize,
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
        Ok(Windows { roi, overlap, weights: importance.map(roi).into(), batch })
    }

    fn grid(&self, [height, width]: [usize; 2], classes: usize) -> Grid {
        let [rows, columns] = [(height, self.roi[0]), (width, self.roi[1])].map(|(n, r)| Axis::new(n, r, self.overlap));
        Grid { rows, columns, classes }
    }

    /// Windows of an image.
    pub fn count(&self, height: usize, width: usize) -> usize {
        self.grid([height, width], 0).count()
    }

    /// Windows that go at a time, of `images` images.
    pub fn batch(&self, size: [usize; 2], images: usize) -> usize {
        self.batch.min(self.grid(size, 0).count().saturating_mul(images)).max(1)
    }

    /// Bytes that are held for images of this size, beside the network's own: sums, windows of `inputs` channels, and bands of
    /// `told` bytes a pixel.
    pub fn memory(&self, size: [usize; 2], images: usize, inputs: usize, classes: usize, told: usize) -> u64 {
        let (grid, weights) = (self.grid(size, classes), self.roi[0] * self.roi[1]);
        let batch = Maps::<f32>::positions(Shape::new(self.batch(size, images), inputs, self.roi[0], self.roi[1]));
        4 * (grid.sums() + weights + batch) as u64 + BANDS * (self.roi[0].min(size[0]) * size[1] * told) as u64
    }

    /// What is told of images, handed to `take` in bands from the top.
    ///
    /// # Errors
    /// Those of the images, the network and `take`; bug: an image that is not `height` × `width`.
    pub fn run(&self, images: &mut dyn Series, size: [usize; 2], network: &mut dyn Logits, take: Take) -> Result<()> {
        let grid = self.grid(size, network.classes());
        let told = match &take {
            Take::Logits(_) => Told::Logits,
            Take::Maps(maps, _) => Told::Maps(network.passes(), maps),
        };
        let (finished, bands) = sync_channel(WAITING);
        std::thread::scope(|scope| {
            let taking = scope.spawn(move || taken(&bands, take));
            let sums = Buffer::zeros(grid.sums());
            let mut sums = Sums { grid, weights: &self.weights, told, sums, pieces: Vec::new(), finished };
            let computed = self.compute(images, size, network, &mut sums);
            drop(sums);
            // What was taken comes before what was computed after it.
            taking.join().unwrap_or_else(|_| Err(Error::bug("the thread that takes bands panicked"))).and(computed)
        })
    }

    fn compute(
        &self,
        images: &mut dyn Series,
        size: [usize; 2],
        network: &mut dyn Logits,
        sums: &mut Sums,
    ) -> Result<()> {
        let (inputs, count) = (network.inputs(), sums.grid.count());
        let all = self.batch(size, images.left());
        let mut windows = Maps::zeros(Shape::new(all, inputs, self.roi[0], self.roi[1]));
        let (mut filled, mut number) = (0, 0);
        let ended = loop {
            let image = match images.next() {
                Ok(Some(image)) => image,
                Ok(None) => break Ok(()),
                // What is on its way comes down first.
                Err(e) => break Err(e),
            };
            if image.len() != inputs * size[0] * size[1] || image.is_empty() {
                let [height, width] = size;
                return Err(Error::bug(format!("{} pixels for an image of {height} x {width}", image.len())));
            }
            let sent = network.sliding().send(image);
            let mut done = 0;
            while done < count {
                let next = done..count.min(done + all - filled);
                let image = sent.as_ref().map_or(View::from(image), View::from);
                network.sliding().cut(&sums.grid, image, next.clone(), filled, &mut windows);
                if next.end == count {
                    network.sliding().is_cut();
                }
                (filled, done) = (filled + next.len(), next.end);
                sums.pieces.push((number, next));
                if filled == all {
                    sums.batch(&windows, network)?;
                    filled = 0;
                }
            }
            number += 1;
        };
        if filled > 0 {
            let windows = network.sliding().head(&windows, filled);
            sums.batch(&windows, network)?;
        }
        ended
    }
}

/// Sums of the rows that are not finished.
struct Sums<'a> {
    grid: Grid,
    weights: &'a Buffer<f32>,
    told: Told<'a>,
    sums: Buffer<f32>,
    /// Windows of the batch under way: which image's, and which of them.
    pieces: Vec<(usize, Range<usize>)>,
    finished: SyncSender<Finished>,
}

impl Sums<'_> {
    /// A batch through the network.
    fn batch(&mut self, windows: &Maps<f32>, network: &mut dyn Logits) -> Result<()> {
        let (shape, mut added) = (windows.shape(), 0);
        network.run(windows, &mut |sliding, part| {
            let of = part.logits.shape();
            if of.n == 0 || part.sample + of.n > shape.n || [of.h, of.w] != [shape.h, shape.w] {
                return Err(Error::bug(format!("logits of {of:?} for windows of {shape:?}")));
            }
            added += of.n * of.c;
            self.add(sliding, part)
        })?;
        if added != shape.n * self.grid.classes {
            return Err(Error::bug(format!("{added} maps of logits for windows of {shape:?}")));
        }
        self.pieces.clear();
        Ok(())
    }

    /// Adds logits row of windows by row of windows; hands on the rows that no later window holds.
    fn add(&mut self, sliding: &dyn Sliding, part: Part) -> Result<()> {
        let (columns, samples) = (self.grid.columns.count(), part.sample..part.sample + part.logits.shape().n);
        let all_classes = part.first + part.logits.shape().c == self.grid.classes;
        let mut before = 0;
        for (image, piece) in &self.pieces {
            // Which windows of the piece are among these samples.
            let first = piece.start + samples.start.saturating_sub(before).min(piece.len());
            let end = piece.start + samples.end.saturating_sub(before).min(piece.len());
            let mut window = first;
            while window < end {
                let row = window / columns;
                let windows = window..end.min((row + 1) * columns);
                let sample = before + window - piece.start - part.sample;
                sliding.add_up(&self.grid, part, sample, windows.clone(), self.weights, &mut self.sums);
                window = windows.end;
                if all_classes && window == (row + 1) * columns {
                    let rows = self.grid.finished(row);
                    let in_image = self.grid.of_image(&rows);
                    let band = sliding.finish(&self.grid, rows, self.told, &mut self.sums);
                    // Nobody takes it any more: why is told by who did.
                    let gone = |_| Error::bug("the thread that takes bands ended early");
                    if !in_image.is_empty() {
                        self.finished.send((*image, in_image, band)).map_err(gone)?;
                    }
                }
            }
            before += piece.len();
        }
        Ok(())
    }
}

/// Hands bands on as they come.
fn taken(bands: &Receiver<Finished>, mut take: Take) -> Result<()> {
    for (image, rows, band) in bands {
        match (&mut take, band) {
            (Take::Logits(take), Band::Logits(logits)) => take(image, rows, logits.look()?)?,
            (Take::Maps(_, take), Band::Maps(codes)) => take(image, rows, codes.look()?)?,
            _ => return Err(Error::bug("a band of another kind")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
