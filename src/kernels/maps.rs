//! L2. Feature maps: the numbers that flow through the network, as they lie in memory.
//!
//! ```text
//! Maps<Lane>   [sample][channel / 16][y + 1][x + 1][channel % 16]     between the layers: lanes are channels
//! Maps<f32>    [sample][channel][y + 1][x + 1]                        the grey image
//! ```
//!
//! Every plane has a border of one pixel, and lanes above the last channel, which are +0 and stay +0: a 3×3 convolution
//! reads its padding there and has no edges to look after. What is written is the inside.

use super::buffer::{Buffer, Number};
use crate::num::lanes::{LANES, Lane};

/// What stands at one position of a plane: one channel, or sixteen.
pub trait Pixel: Number {
    /// Channels of a position.
    const CHANNELS: usize;
    /// Numbers of 32 bits that a convolution multiplies one after the other.
    const WORDS: usize = Self::CHANNELS;
    /// Channel `c` of the position.
    fn channel(&self, c: usize) -> f32;
    /// Writes channel `c`.
    fn set(&mut self, c: usize, value: f32);
    /// The k-th word.
    #[inline(always)]
    fn word(&self, k: usize) -> f32 {
        self.channel(k)
    }
    /// Positions as lanes, if that is what they are.
    fn lanes(_: &[Self]) -> Option<&[Lane]> {
        None
    }
}

/// Sixteen channels at a position.
pub trait Blocked: Pixel {
    /// Rounds sixteen numbers to what is kept.
    fn keep(numbers: &Lane) -> Self;
    /// What is kept.
    fn widen(&self) -> Lane;
}

impl Pixel for Lane {
    const CHANNELS: usize = LANES;
    #[inline(always)]
    fn channel(&self, c: usize) -> f32 {
        self.0[c]
    }
    fn set(&mut self, c: usize, value: f32) {
        self.0[c] = value;
    }
    fn lanes(positions: &[Lane]) -> Option<&[Lane]> {
        Some(positions)
    }
}

impl Blocked for Lane {
    #[inline(always)]
    fn keep(numbers: &Lane) -> Lane {
        *numbers
    }
    #[inline(always)]
    fn widen(&self) -> Lane {
        *self
    }
}

impl Pixel for f32 {
    const CHANNELS: usize = 1;
    #[inline(always)]
    fn channel(&self, _: usize) -> f32 {
        *self
    }
    fn set(&mut self, _: usize, value: f32) {
        *self = value;
    }
}

/// Pixels of the border on each side.
pub const BORDER: usize = 1;

/// Samples, channels, rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Samples.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Shape {
    /// Samples, channels, rows, columns.
    pub const fn new(n: usize, c: usize, h: usize, w: usize) -> Shape {
        Shape { n, c, h, w }
    }
    /// The same samples and pixels with `c` channels.
    pub const fn with_channels(self, c: usize) -> Shape {
        Shape { c, ..self }
    }
    /// Numbers, without border and idle lanes.
    pub const fn len(self) -> usize {
        self.n * self.c * self.h * self.w
    }
    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
    /// Groups of channels of a sample.
    pub const fn groups<P: Pixel>(self) -> usize {
        self.c.div_ceil(P::CHANNELS)
    }
    /// Positions from a row to the next.
    pub const fn pitch(self) -> usize {
        self.w + 2 * BORDER
    }
    /// Positions of a plane.
    pub const fn plane(self) -> usize {
        (self.h + 2 * BORDER) * self.pitch()
    }
}

/// Feature maps of some samples; see the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Maps<P: Pixel> {
    shape: Shape,
    data: Buffer<P>,
}

impl<P: Pixel> Maps<P> {
    /// Maps of zeros.
    pub fn zeros(shape: Shape) -> Maps<P> {
        Maps { shape, data: Buffer::zeros(Self::positions(shape)) }
    }
    /// Positions of maps of a shape, with their borders.
    pub const fn positions(shape: Shape) -> usize {
        shape.n * shape.groups::<P>() * shape.plane()
    }
    /// Maps of zeros with room for `positions` to grow into.
    pub fn with_room(shape: Shape, positions: usize) -> Maps<P> {
        Maps { shape, data: Buffer::with_room(Self::positions(shape), positions) }
    }
    /// The same memory for another shape: borders are zero, the inside is anything and is to be overwritten, idle lanes
    /// too.
    pub fn reshaped(mut self, shape: Shape) -> Maps<P> {
        if shape == self.shape {
            return self;
        }
        self.data.resize(Self::positions(shape));
        self.shape = shape;
        // Zeros that nobody has asked for have their borders.
        if !self.data.is_here() {
            return self;
        }
        let pitch = shape.pitch();
        for plane in self.data.chunks_mut(shape.plane().max(1)) {
            let inside = BORDER * pitch..(BORDER + shape.h) * pitch;
            plane[..inside.start].fill(P::ZERO);
            plane[inside.end..].fill(P::ZERO);
            for row in plane[inside].chunks_mut(pitch) {
                row[..BORDER].fill(P::ZERO);
                row[BORDER + shape.w..].fill(P::ZERO);
            }
        }
        self
    }
    /// Bytes that are held, and those that it may grow into.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.data.capacity() * size_of::<P>()
    }
    /// Maps of NCHW numbers.
    ///
    /// # Panics
    /// If there are not `shape.len()` of them.
    pub fn from_nchw(shape: Shape, values: &[f32]) -> Maps<P> {
        assert_eq!(values.len(), shape.len(), "numbers of {shape:?}");
        let mut maps = Self::zeros(shape);
        maps.fill_by(|n, c, y, x| values[((n * shape.c + c) * shape.h + y) * shape.w + x]);
        maps
    }
    /// The numbers in NCHW order.
    pub fn to_nchw(&self) -> Vec<f32> {
        let s = self.shape;
        let mut values = Vec::with_capacity(s.len());
        for n in 0..s.n {
            for c in 0..s.c {
                for y in 0..s.h {
                    values.extend(self.row(n, c / P::CHANNELS, y).iter().map(|p| p.channel(c % P::CHANNELS)));
                }
            }
        }
        values
    }
    /// Some of the samples.
    pub fn samples(&self, range: std::ops::Range<usize>) -> Maps<P> {
        let size = self.shape.groups::<P>() * self.shape.plane();
        Maps {
            shape: Shape { n: range.len(), ..self.shape },
            data: self.data[range.start * size..range.end * size].to_vec().into(),
        }
    }
    /// Samples, channels, rows, columns.
    pub fn shape(&self) -> Shape {
        self.shape
    }
    /// All planes with their borders.
    pub fn data(&self) -> &[P] {
        &self.data
    }
    /// All planes with their borders, wherever they are.
    #[cfg(any(test, feature = "cuda"))]
    pub(super) fn buffer(&self) -> &Buffer<P> {
        &self.data
    }
    /// The same, for a device to write.
    #[cfg(feature = "cuda")]
    pub(super) fn buffer_mut(&mut self) -> &mut Buffer<P> {
        &mut self.data
    }
    /// All planes with their borders, which stay zero.
    pub(super) fn data_mut(&mut self) -> &mut [P] {
        &mut self.data
    }
    /// Plane of channel group `g` of sample `n`, with its border.
    #[inline(always)]
    pub fn plane(&self, n: usize, g: usize) -> &[P] {
        let size = self.shape.plane();
        &self.data[(n * self.shape.groups::<P>() + g) * size..][..size]
    }
    /// Row `y` inside.
    pub fn row(&self, n: usize, g: usize, y: usize) -> &[P] {
        &self.plane(n, g)[(y + BORDER) * self.shape.pitch() + BORDER..][..self.shape.w]
    }
    /// Row `y` inside.
    pub fn row_mut(&mut self, n: usize, g: usize, y: usize) -> &mut [P] {
        let s = self.shape;
        let start = (n * s.groups::<P>() + g) * s.plane() + (y + BORDER) * s.pitch() + BORDER;
        &mut self.data[start..start + s.w]
    }
    /// The number at a position.
    pub fn at(&self, n: usize, c: usize, y: usize, x: usize) -> f32 {
        self.row(n, c / P::CHANNELS, y)[x].channel(c % P::CHANNELS)
    }

    /// Writes every number inside, by sample, channel, row, column; idle lanes become zero.
    pub fn fill_by(&mut self, value: impl Fn(usize, usize, usize, usize) -> f32) {
        let s = self.shape;
        for (n, c, y) in (0..s.n).flat_map(|n| (0..s.c).flat_map(move |c| (0..s.h).map(move |y| (n, c, y)))) {
            let row = self.row_mut(n, c / P::CHANNELS, y);
            if c % P::CHANNELS == 0 {
                row.fill(P::ZERO);
            }
            row.iter_mut().enumerate().for_each(|(x, to)| to.set(c % P::CHANNELS, value(n, c, y, x)));
        }
    }
    /// Bands of `rows` rows, each with the columns of its border: sample, group, first row, positions.
    pub(super) fn bands_mut(&mut self, rows: usize) -> Vec<(Band, &mut [P])> {
        let s = self.shape;
        let inside = BORDER * s.pitch()..(BORDER + s.h) * s.pitch();
        let planes =
            self.data.chunks_mut(s.plane().max(1)).flat_map(|p| p[inside.clone()].chunks_mut(rows * s.pitch()));
        s.bands::<P>(rows).into_iter().zip(planes).collect()
    }
}

/// Some rows of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Sample.
    pub n: usize,
    /// Group of channels.
    pub g: usize,
    /// First row.
    pub first: usize,
    /// Row after the last.
    pub last: usize,
}

impl Shape {
    /// Bands of `rows` rows, in the order of memory.
    pub fn bands<P: Pixel>(self, rows: usize) -> Vec<Band> {
        let planes = (0..self.n).flat_map(|n| (0..self.groups::<P>()).map(move |g| (n, g)));
        let bands =
            |(n, g)| (0..self.h).step_by(rows).map(move |first| Band { n, g, first, last: self.h.min(first + rows) });
        planes.flat_map(bands).collect()
    }
}
