//! Sliding windows on the device (`kernels/windows.cu`): images go up once, and what is told comes back alone.

use super::arguments::Extent;
use super::driver::{Address, Argument, Plain};
use super::fast::Fast;
use super::pixels::Pixels;
use super::{Cuda, MOST_BLOCKS, THREADS};
use crate::kernels::buffer::{Buffer, Number, View};
use crate::kernels::maps::{BORDER, Maps};
use crate::kernels::windows::{Band, Grid, Part, Sliding, Told};
use crate::num::lanes::{LANES, Lane};
use std::ops::Range;

/// `Grid` of kernels/windows.cu.
#[derive(Clone, Copy)]
#[repr(C)]
struct Places {
    size: [i32; 2],
    roi: [i32; 2],
    interval: [i32; 2],
    last: [i32; 2],
    before: [i32; 2],
    columns: i32,
    classes: i32,
}

impl From<&Grid> for Places {
    fn from(grid: &Grid) -> Places {
        let axes = [grid.rows, grid.columns];
        Places {
            size: axes.map(|a| a.pixels as i32),
            roi: axes.map(|a| a.roi as i32),
            interval: axes.map(|a| a.interval as i32),
            last: axes.map(|a| (a.padded() - a.roi) as i32),
            before: axes.map(|a| a.before() as i32),
            columns: grid.columns.count() as i32,
            classes: grid.classes as i32,
        }
    }
}

/// `Logits` of kernels/windows.cu.
#[derive(Clone, Copy)]
#[repr(C)]
struct Strided {
    data: Address,
    sample: i64,
    row: i64,
    column: i64,
    group: i64,
    channels: i32,
    first: i32,
}

impl Argument for Places {}
impl Argument for Strided {}

/// The address of a number of f32 behind another.
fn behind(at: Address, numbers: i64) -> Address {
    Address(at.0 + 4 * numbers as u64)
}

/// Bits of a map's number in the list of them.
const MAP_BITS: usize = 4;

impl Cuda {
    fn add_windows(
        &self,
        grid: &Grid,
        logits: &Strided,
        windows: Range<usize>,
        weights: &Buffer<f32>,
        sums: &mut Buffer<f32>,
    ) {
        let (columns, count) = (grid.columns.count(), windows.len());
        let first = windows.start % columns;
        let span = grid.columns.start(first + count - 1) + grid.columns.roi - grid.columns.start(first);
        let numbers = logits.channels as usize + usize::from(logits.first == 0);
        let (weights, sums, places) = (self.at(weights), self.changed(sums), Places::from(grid));
        let arguments: [&dyn Argument; 6] =
            [logits, &weights, &places, &(windows.start as i32), &(count as i32), &sums];
        self.each("windows_add", grid.rows.roi * span * numbers, &arguments);
    }
    fn mean_of(&self, x: Address, count: usize, pass: usize, passes: usize, mean: Address) {
        self.each("windows_mean", count, &[&x, &(count as i64), &(pass as i32), &(passes as i32), &mean]);
    }
    /// New numbers that a kernel writes and that come back by themselves.
    fn told<T: Number + Plain>(&self, count: usize, launch: impl FnOnce(Address)) -> Buffer<T> {
        let mut to = Buffer::zeros(count);
        launch(self.output(&mut to).0);
        let there = to.on_device().filter(|_| count > 0);
        there.and_then(|there| self.own(there)).into_iter().for_each(super::driver::Memory::fetch);
        to
    }
}

impl Sliding for Cuda {
    fn send(&self, image: &[f32]) -> Option<Buffer<f32>> {
        let mut sent = Buffer::zeros(image.len());
        sent.only_there(self.device.send(image)?);
        Some(sent)
    }
    fn is_cut(&self) {
        self.device.sent_is_read();
    }
    fn cut(&self, grid: &Grid, image: View<f32>, windows: Range<usize>, sample: usize, to: &mut Maps<f32>) {
        let all = to.shape();
        let shape = crate::kernels::maps::Shape { n: windows.len(), ..all };
        let image = self.view(image);
        let to = behind(self.output(to.buffer_mut()).0, (sample * all.c * all.plane()) as i64);
        let blocks = [shape.plane().div_ceil(THREADS), (shape.n * shape.c).min(MOST_BLOCKS)];
        let (places, extent) = (Places::from(grid), Extent::from(shape));
        let arguments: [&dyn Argument; 5] = [&image.at, &places, &(windows.start as i32), &extent, &to];
        self.device.launch("windows_cut", blocks.map(|n| n as u32), THREADS as u32, &arguments);
        drop(image.kept);
    }
    fn head(&self, windows: &Maps<f32>, count: usize) -> Maps<f32> {
        self.some_samples(windows, 0..count)
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
        let s = part.logits.shape();
        let [plane, pitch] = [s.plane(), s.pitch()].map(|positions| (positions * LANES) as i64);
        let of_sample = plane * s.groups::<Lane>() as i64;
        let inside = BORDER as i64 * (pitch + LANES as i64);
        let logits = Strided {
            data: behind(self.at(part.logits.buffer()), sample as i64 * of_sample + inside),
            sample: of_sample,
            row: pitch,
            column: LANES as i64,
            group: plane,
            channels: s.c as i32,
            first: part.first as i32,
        };
        self.add_windows(grid, &logits, windows, weights, sums);
    }
    fn mean(&self, logits: &Maps<Lane>, pass: usize, passes: usize, mean: &mut Maps<Lane>) {
        let (x, count) = (self.at(logits.buffer()), Maps::<Lane>::positions(logits.shape()) * LANES);
        let to = if pass == 0 { self.output(mean.buffer_mut()).0 } else { self.changed(mean.buffer_mut()) };
        self.mean_of(x, count, pass, passes, to);
    }
    fn finish(&self, grid: &Grid, rows: Range<usize>, told: Told, sums: &mut Buffer<f32>) -> Band {
        let (places, sums) = (Places::from(grid), self.changed(sums));
        let (pixels, all) = (grid.of_image(&rows).len() * grid.columns.pixels, rows.len() * grid.columns.padded());
        let (top, end) = (rows.start as i32, rows.end as i32);
        match told {
            Told::Logits => Band::Logits(self.told(pixels * grid.classes, |to| {
                self.each("windows_finish", all, &[&sums, &places, &top, &end, &to]);
            })),
            Told::Maps(passes, maps) => Band::Maps(self.told(pixels * (maps.len() + 1), |to| {
                let which = maps.iter().rev().fold(0, |which, &map| which << MAP_BITS | map as i32);
                let (passes, count) = (passes.max(1) as i32, maps.len() as i32);
                let arguments: [&dyn Argument; 8] = [&sums, &places, &top, &end, &passes, &count, &which, &to];
                self.each("windows_tell", all, &arguments);
            })),
        }
    }
}

impl Sliding for Fast {
    fn send(&self, image: &[f32]) -> Option<Buffer<f32>> {
        Sliding::send(&self.cuda, image)
    }
    fn is_cut(&self) {
        self.cuda.is_cut();
    }
    fn cut(&self, grid: &Grid, image: View<f32>, windows: Range<usize>, sample: usize, to: &mut Maps<f32>) {
        self.cuda.cut(grid, image, windows, sample, to);
    }
    fn head(&self, windows: &Maps<f32>, count: usize) -> Maps<f32> {
        self.cuda.head(windows, count)
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
        let s = part.logits.shape();
        let [sample_size, row, column] = [s.h * s.w * s.c, s.w * s.c, s.c].map(|n| n as i64);
        let logits = Strided {
            data: behind(self.at::<f32>(part.logits), sample as i64 * sample_size),
            sample: sample_size,
            row,
            column,
            group: LANES as i64,
            channels: s.c as i32,
            first: part.first as i32,
        };
        self.cuda.add_windows(grid, &logits, windows, weights, sums);
    }
    fn mean(&self, logits: &Maps<Lane>, pass: usize, passes: usize, mean: &mut Maps<Lane>) {
        let (x, count) = (self.at::<f32>(logits), Pixels::<f32>::count(logits.shape()));
        let to = if pass == 0 { self.output::<f32>(mean) } else { self.at::<f32>(mean) };
        self.cuda.mean_of(x, count, pass, passes, to);
    }
    fn finish(&self, grid: &Grid, rows: Range<usize>, told: Told, sums: &mut Buffer<f32>) -> Band {
        self.cuda.finish(grid, rows, told, sums)
    }
}
