//! L2. The kernels on a GPU: `kernels/*.cu`, each the twin of a file here, with the same bits.
//!
//! | file | what |
//! |---|---|
//! | [`driver`] | the driver's calls, its errors, memory |
//! | [`images`] | the kernels as the program carries them |
//! | `arguments` | what kernels are given |
//! | [`fast`] | the same on tensor cores, of fp16: near the definition |
//! | `patches` | patches that stay, and batches of them |
//! | `pixels` | maps of fast kernels |
//! | `steps` | its training steps, which nobody looks at until they are done |
//! | `windows` | sliding windows around a network, strict or fast |
//!
//! Numbers stay on the device ([`super::buffer`]). What crosses the bus in a strict training step: what was drawn for its patches to
//! the device; counts of their labels, moments, sums and losses, some numbers per channel or row, from it, and what is made of them for each channel
//! (in f64, here) back. Parameters with one number per channel are stepped here, weights there. In a fast step all of that
//! stays there, and counts and losses alone come back.

mod arguments;
pub mod driver;
pub mod fast;
pub mod images;
mod patches;
mod pixels;
mod steps;
mod windows;

use super::adam::{self, Adam};
use super::augment::Seen;
use super::batchnorm::{Activation, Backward, GradientSums, Moments};
use super::buffer::{Buffer, Number, There, View};
use super::conv::{Add, Convolution};
use super::cross_entropy::{self, Loss};
use super::filter::FilterShape;
use super::labels::{Labels, Part};
use super::maps::{Maps, Pixel, Shape};
use super::weight_gradient::WeightGradient;
use super::windows::Sliding;
use super::{Kernels, narrow};
use crate::error::{Error, Result};
use crate::num::lanes::{Isa, LANES, Lane};
use arguments::{Activated, Chunks, Extent, Places, Source, Stencilled, Step, TAPS, Walk};
use driver::{Address, Argument, Device, Memory, Plain};
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// A GPU.
#[derive(Clone)]
pub struct Cuda {
    device: Device,
    /// Steps what has one number per channel.
    isa: Isa,
    /// Batches of patches that were sent.
    sent: Arc<AtomicU32>,
}

impl<P: Number + Plain> There<P> for Memory<P> {
    fn read(&self) -> Vec<P> {
        Memory::read(self)
    }
    fn so_far(&self) -> Result<()> {
        Memory::so_far(self)
    }
    fn any(&self) -> &dyn Any {
        self
    }
}

/// Threads of a block that makes numbers one by one.
const THREADS: usize = 256;
/// Pixels of a block of the image's convolution.
const IMAGE_PIXELS: usize = 32;
/// Blocks below which a convolution takes smaller tiles: about two for each multiprocessor of a large device.
const FEW_BLOCKS: usize = 264;
/// Rows of a band: [`super::batchnorm`].
const ROWS: usize = 8;
/// Pixels that share a block of random bits: [`super::dropout`].
const RUN: usize = super::dropout::RUN;
/// Lanes of what has one number per channel, at most: stepped here.
const PER_CHANNEL: usize = 64;
/// Bytes for the sums of chunks of a gradient by weights, about.
const PARTS: usize = 256 << 20;

impl Cuda {
    /// GPU number `ordinal`; `isa` for what stays on the CPU, which changes no bit.
    ///
    /// # Errors
    /// [`Fault::Device`](crate::error::Fault::Device), as [`Device::open`].
    pub fn open(ordinal: usize, isa: Isa) -> Result<Cuda> {
        Ok(Cuda { device: Device::open(ordinal)?, isa, sent: Arc::default() })
    }
    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Launches a thread for each of `count` things.
    fn each(&self, kernel: &'static str, count: usize, arguments: &[&dyn Argument]) {
        self.device.launch(kernel, [count.div_ceil(THREADS) as u32, 1], THREADS as u32, arguments);
    }
    /// Where a buffer's numbers are on this device; they are copied there if need be.
    fn at<P: Number + Plain>(&self, buffer: &Buffer<P>) -> Address {
        let there = buffer.there(|numbers| Arc::new(self.device.upload(numbers)));
        self.own(there).map_or_else(|| self.device.fail(Error::bug("numbers of another GPU")), |memory| memory.at(0))
    }
    /// The device's memory behind a buffer, if it is this one's.
    fn own<'a, P: Number + Plain>(&self, there: &'a Arc<dyn There<P>>) -> Option<&'a Memory<P>> {
        there.any().downcast_ref::<Memory<P>>().filter(|memory| memory.is_of(&self.device))
    }
    /// Memory that a kernel is about to fill: the buffer's own, or new.
    fn output<P: Number + Plain>(&self, buffer: &mut Buffer<P>) -> (Address, bool) {
        let len = buffer.len();
        let there = match buffer.on_device().filter(|t| self.own(t).is_some_and(|m| m.count() == len)) {
            Some(there) => (there.clone(), false),
            None => (Arc::new(self.device.memory::<P>(len)) as Arc<dyn There<P>>, true),
        };
        let at = self.own(&there.0).map_or(Address::NONE, |memory| {
            memory.changes();
            memory.at(0)
        });
        buffer.only_there(there.0);
        (at, there.1)
    }
    /// Memory for numbers that a kernel reads and writes.
    fn changed<P: Pixel + Plain>(&self, buffer: &mut Buffer<P>) -> Address {
        let at = self.at(buffer);
        if let Some(there) = buffer.on_device().cloned() {
            self.own(&there).into_iter().for_each(Memory::changes);
            buffer.only_there(there);
        }
        at
    }
    /// Maps whose inside a kernel is about to fill; new ones get their border.
    fn output_maps(&self, maps: &mut Maps<Lane>) -> Address {
        let shape = maps.shape();
        let (at, new) = self.output(maps.buffer_mut());
        if new {
            let planes = shape.n * shape.groups::<Lane>();
            let border = 2 * shape.pitch() + 2 * shape.h;
            let grid = [(4 * border).div_ceil(THREADS) as u32, planes.min(MOST_BLOCKS) as u32];
            self.device.launch("clear_borders", grid, THREADS as u32, &[&at, &Extent::from(shape), &(planes as i32)]);
        }
        at
    }
    fn view<P: Number + Plain>(&self, view: View<P>) -> Place<P> {
        match view.buffer() {
            Some((buffer, first)) => {
                Place { at: Address(self.at(buffer).0 + (first * size_of::<P>()) as u64), kept: None }
            }
            None if view.is_empty() => Place { at: Address::NONE, kept: None },
            None => {
                let memory = self.device.upload(view.slice());
                Place { at: memory.at(0), kept: Some(memory) }
            }
        }
    }
    fn source<P: Pixel>(&self, maps: &Maps<P>) -> Source {
        let shape = maps.shape();
        Source { data: self.maps(maps), channels: shape.c as i32, planes: shape.groups::<P>() as i32 }
    }
    /// Where maps are; of numbers of 16 bits there are none here, which is a failure.
    fn maps<P: Pixel>(&self, maps: &Maps<P>) -> Address {
        let maps: &dyn Any = maps;
        match (maps.downcast_ref::<Maps<Lane>>(), maps.downcast_ref::<Maps<f32>>()) {
            (Some(maps), _) => self.at(maps.buffer()),
            (_, Some(maps)) => self.at(maps.buffer()),
            _ => self.device.fail(Error::bug("maps of 16 bits on a GPU")),
        }
    }
    /// Kernels know two sources of a convolution; a third would be a change of the network.
    fn two_sources(&self, count: usize) {
        if count > 2 {
            self.device.fail(Error::bug(format!("a convolution of {count} sources on a GPU, which knows two")));
        }
    }
    /// A convolution's activation and what it is given, kept until the kernel is launched.
    fn activation(&self, a: &Activation, more: &[&[Lane]]) -> (Activated, Memory<Lane>, Vec<Address>) {
        let parts: Vec<&[Lane]> = [&a.scale[..], &a.shift, &a.mean].into_iter().chain(more.iter().copied()).collect();
        let memory = self.device.upload(&parts.concat());
        let at = |part: usize| memory.at(part * a.scale.len());
        let activated =
            Activated { scale: at(0), shift: at(1), mean: at(2), slope: a.slope, dropout: a.dropout.into() };
        let more = (3..parts.len()).map(at).collect();
        (activated, memory, more)
    }
    /// Losses of logits at an address, by a kernel that writes their gradient to another.
    fn losses(
        &self,
        kernel: &'static str,
        s: Shape,
        [x, dx]: [Address; 2],
        labels: Part,
        weights: &[f32],
        total: f64,
    ) -> Loss {
        let d = &self.device;
        let (pixels, rows) = (s.n * s.h * s.w, s.n * s.h);
        let factors: Vec<f32> = (0..weights.len()).map(|k| cross_entropy::factor(k as i16, weights, total)).collect();
        let (labels_there, weights_there, factors_there) =
            (self.view(labels.numbers), d.upload(weights), d.upload(&factors));
        let (losses, sums, correct) = (d.memory::<f32>(pixels), d.memory::<f32>(rows), d.upload(&[0u32]));
        let (losses_at, correct_at) = (losses.at(0), correct.at(0));
        let (labels_at, weights_at, factors_at) = (labels_there.at, weights_there.at(0), factors_there.at(0));
        let (classes, extent) = (weights.len() as i32, Extent::from(s));
        let arguments: [&dyn Argument; 9] =
            [&x, &labels_at, &weights_at, &factors_at, &classes, &extent, &dx, &losses_at, &correct_at];
        d.launch(kernel, [pixels.div_ceil(128) as u32, 1], 128, &arguments);
        let grid = [rows.div_ceil(ROWS) as u32, 1];
        d.launch("row_losses", grid, 128, &[&losses_at, &(rows as i32), &(s.w as i32), &sums.at(0)]);
        let rows = sums.read().into_iter().map(f64::from).collect();
        let correct = correct.read().first().map_or(0, |&n| u64::from(n));
        drop(labels_there.kept);
        cross_entropy::join(vec![(rows, correct)], labels.labelled, total)
    }
    /// K sums per band and channel by a kernel, joined to K per channel.
    fn sums_of<const K: usize>(
        &self,
        shape: Shape,
        kernel: &'static str,
        arguments: &[&dyn Argument],
    ) -> Vec<[f64; K]> {
        let bands = bands(shape);
        let (parts, sums) = (self.device.memory::<f64>(bands * LANES * K), self.device.memory::<f64>(shape.c * K));
        let (parts_at, extent) = (parts.at(0), Extent::from(shape));
        let all: Vec<&dyn Argument> = arguments.iter().copied().chain([&parts_at as &dyn Argument]).collect();
        self.device.launch(kernel, [bands as u32, 1], (ROWS * LANES) as u32, &all);
        let grid = [(shape.c * K).div_ceil(JOIN) as u32, 1];
        self.device.launch("join_sums", grid, JOIN as u32, &[&parts_at, &extent, &(K as i32), &sums.at(0)]);
        sums.read().as_chunks::<K>().0.to_vec()
    }
}

/// Threads of a block that joins bands.
const JOIN: usize = 64;
/// Most blocks along the second axis of a grid.
const MOST_BLOCKS: usize = 65_535;

/// Bands of all planes.
fn bands(shape: Shape) -> usize {
    shape.n * shape.groups::<Lane>() * shape.h.div_ceil(ROWS)
}

/// Runs of eight pixels of all channels, idle ones too.
fn runs(shape: Shape) -> usize {
    shape.n * shape.groups::<Lane>() * shape.h * shape.w.div_ceil(RUN) * LANES
}

/// Numbers of all pixels, idle lanes too.
fn numbers(shape: Shape) -> usize {
    shape.n * shape.groups::<Lane>() * shape.h * shape.w * LANES
}

/// Whether it has one number per channel, of which the device has none: it is not worth a launch.
fn per_channel(x: &Buffer<Lane>) -> bool {
    x.len() <= PER_CHANNEL && x.is_here() && x.on_device().is_none()
}

/// An address, and what it points to if nobody else keeps it.
struct Place<P = Lane> {
    at: Address,
    kept: Option<Memory<P>>,
}

impl Kernels for Cuda {
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        let (out, none) = (y.shape(), Source { data: Address::NONE, channels: 0, planes: 0 });
        self.two_sources(call.sources.len());
        let mut sources = [none; 2];
        sources.iter_mut().zip(call.sources).for_each(|(to, maps)| *to = self.source(maps));
        let (weights, bias) = (self.view(call.weights), self.view(call.bias));
        let (y_at, add) = match call.add {
            Add::Nothing => (self.output_maps(y), Address::NONE),
            Add::Maps(maps) => (self.output_maps(y), self.at(maps.buffer())),
            Add::Output => {
                let at = self.changed(y.buffer_mut());
                (at, at)
            }
        };
        let at = Places { sources, weights: weights.at, bias: bias.at, add, y: y_at };
        for s in call.stencils {
            let arguments = Stencilled::new(call, s, out, &at);
            let size = |size: usize, phase: usize| (size - phase.min(size)).div_ceil(s.step);
            let pixels = out.n * size(out.h, s.phase[0]) * size(out.w, s.phase[1]);
            let groups = out.groups::<Lane>();
            let launch = |kernel, tile: [usize; 2], threads| {
                let grid = [pixels.div_ceil(tile[0]) as u32, groups.div_ceil(tile[1]) as u32];
                self.device.launch(kernel, grid, threads, &[&arguments]);
            };
            let few = |tile: [usize; 2]| pixels.div_ceil(tile[0]) * groups.div_ceil(tile[1]) < FEW_BLOCKS;
            match groups {
                _ if P::CHANNELS == 1 => launch("convolve_image", [IMAGE_PIXELS, 1], 128),
                _ if narrow::fits(call, out) => launch("convolve_narrow", [256, 1], 128),
                1 => launch("convolve_128x1", [128, 1], 128),
                2 if !few([128, 2]) => launch("convolve_128x2", [128, 2], 128),
                _ if few([128, 4]) => launch("convolve_32x2", [32, 2], 64),
                2 => launch("convolve_128x2", [128, 2], 128),
                _ => launch("convolve_128x4", [128, 4], 128),
            }
        }
        drop((weights.kept, bias.kept));
    }
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) {
        let (f, (h, w), samples) = (call.filter, call.extent(), call.dy.shape().n);
        let (mut offsets, steps) = ([[[0; TAPS]; 2]; 2], call.steps());
        for (i, (x, dy)) in call.offsets().into_iter().enumerate() {
            for axis in 0..2 {
                (offsets[0][axis][i], offsets[1][axis][i]) = (x[axis] as i32, dy[axis] as i32);
            }
        }
        let walk = |data, shape: Shape, planes: usize, which: usize| Walk {
            data,
            shape: shape.into(),
            planes: planes as i32,
            step: steps[which] as i32,
            row: offsets[which][0],
            column: offsets[which][1],
        };
        self.two_sources(call.sources.len());
        let none = walk(Address::NONE, Shape::new(0, 0, 0, 0), 0, 0);
        let mut x = [none; 2];
        for (to, maps) in x.iter_mut().zip(call.sources) {
            *to = walk(self.maps(maps), maps.shape(), maps.shape().groups::<P>(), 0);
        }
        let dy = walk(self.at(call.dy.buffer()), call.dy.shape(), f.groups(), 1);
        let (dw_at, _) = self.output(dw);
        let (chunk_rows, count) = (call.chunk_rows(), f.len() * LANES);
        let chunks = h.div_ceil(chunk_rows);
        // So many chunks at a time that their sums fit.
        let all = samples * chunks;
        let batch = (PARTS / (4 * count).max(1)).clamp(1, MOST_BLOCKS).min(all.max(1));
        let parts = self.device.memory::<f32>(batch * count);
        let planes = f.slots() / P::CHANNELS;
        let side = match planes.min(f.groups()) {
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        for first in (0..all).step_by(batch) {
            let now = batch.min(all - first);
            let arguments = Chunks {
                x,
                dy,
                h: h as i32,
                w: w as i32,
                chunk_rows: chunk_rows as i32,
                chunks: chunks as i32,
                taps: f.taps() as i32,
                slots: f.slots() as i32,
                groups: f.groups() as i32,
                first_chunk: first as i32,
                parts: parts.at(0),
            };
            let tiles = (planes.div_ceil(side) * f.taps() * f.groups().div_ceil(side)) as u32;
            match side {
                _ if P::CHANNELS == 1 => {
                    let grid = [(f.slots() * f.groups()) as u32, now as u32];
                    self.device.launch("weight_gradient_image", grid, 144, &[&arguments]);
                }
                1 => self.device.launch("weight_gradient_1x1", [tiles, now as u32], 64, &[&arguments]),
                2 => self.device.launch("weight_gradient_2x2", [tiles, now as u32], 64, &[&arguments]),
                _ => self.device.launch("weight_gradient_4x4", [tiles, now as u32], 64, &[&arguments]),
            }
            let first = i32::from(first == 0);
            self.each("add_chunks", count, &[&dw_at, &parts.at(0), &(count as i64), &(now as i32), &first]);
        }
    }
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64> {
        let shape = x.shape();
        let arguments: [&dyn Argument; 2] = [&self.at(x.buffer()), &Extent::from(shape)];
        self.sums_of::<1>(shape, "band_sums", &arguments).iter().map(|s| s[0]).collect()
    }
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments> {
        let (shape, bands) = (x.shape(), bands(x.shape()));
        let (parts, moments) = (self.device.memory::<Moments>(bands * LANES), self.device.memory(shape.c));
        let (at, extent) = (self.at(x.buffer()), Extent::from(shape));
        let (parts, to) = (parts.at(0), moments.at(0));
        self.device.launch("band_moments", [bands as u32, 1], (ROWS * LANES) as u32, &[&at, &extent, &parts]);
        let grid = [shape.c.div_ceil(JOIN) as u32, 1];
        self.device.launch("join_moments", grid, JOIN as u32, &[&parts, &extent, &to]);
        moments.read()
    }
    fn activate(&self, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
        let (numbers, memory, _) = self.activation(a, &[]);
        let residual = residual.map_or(Address::NONE, |r| self.at(r.buffer()));
        let (x_at, z_at, extent) = (self.at(x.buffer()), self.output_maps(z), Extent::from(x.shape()));
        self.each("activate", runs(x.shape()), &[&numbers, &x_at, &residual, &z_at, &extent]);
        drop(memory);
    }
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
        let (numbers, memory, _) = self.activation(a, &[]);
        let (x_at, dz_at, extent) = (self.at(x.buffer()), self.at(dz.buffer()), Extent::from(x.shape()));
        let sums = self.sums_of::<3>(x.shape(), "band_gradient_sums", &[&numbers, &x_at, &dz_at, &extent]);
        drop(memory);
        sums
    }
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let (numbers, memory, more) = self.activation(a, &[&b.by_x, &b.constant]);
        let (x_at, dz_at, extent) = (self.at(x.buffer()), self.at(dz.buffer()), Extent::from(x.shape()));
        let dx_at = self.output_maps(dx);
        let arguments: [&dyn Argument; 7] = [&numbers, &more[0], &more[1], &x_at, &dz_at, &dx_at, &extent];
        self.each("activation_gradient", runs(x.shape()), &arguments);
        drop(memory);
    }
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>) {
        let (x_at, y_at, s) = (self.at(x.buffer()), self.output_maps(y), y.shape());
        self.each("max_pool", numbers(s), &[&x_at, &y_at, &Extent::from(s)]);
    }
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let (x_at, dy_at, dx_at, s) = (self.at(x.buffer()), self.at(dy.buffer()), self.output_maps(dx), dy.shape());
        self.each("max_pool_gradient", numbers(s), &[&x_at, &dy_at, &dx_at, &Extent::from(s)]);
    }
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss {
        let at = [self.at(x.buffer()), self.output_maps(dx)];
        self.losses("cross_entropy", x.shape(), at, labels, weights, total)
    }
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        // What has one number per channel was put together here, and is looked at here in the next step.
        if per_channel(g) {
            return adam.run(self.isa, p, g, m, v);
        }
        let step = Step {
            one_minus_beta1: (1.0 - adam::BETA1) as f32,
            one_minus_beta2: (1.0 - adam::BETA2) as f32,
            beta2: adam::BETA2 as f32,
            epsilon: adam::EPSILON,
            step: adam.step,
            root: adam.root,
        };
        let count = p.len() * LANES;
        let (p, g, m, v) = (self.changed(p), self.at(g), self.changed(m), self.changed(v));
        self.each("adam", count, &[&step, &p, &g, &m, &v, &(count as i64)]);
    }
    fn swap(&self, filter: &FilterShape, from: &Buffer<Lane>, to: &mut Buffer<Lane>) {
        let count = from.len() * LANES;
        if to.len() != from.len() {
            *to = Buffer::zeros(from.len());
        }
        let (from, (to, _)) = (self.at(from), self.output(to));
        let [taps, slots, groups] = [filter.taps(), filter.slots(), filter.groups()].map(|v| v as i32);
        self.each("swap_filter", count, &[&to, &from, &taps, &slots, &groups, &(count as i64)]);
    }
    fn accumulate(&self, sum: &mut Buffer<Lane>, x: &Buffer<Lane>) {
        if per_channel(sum) && x.is_here() {
            for (sum, x) in sum.iter_mut().zip(x) {
                (0..LANES).for_each(|l| sum.0[l] += x.0[l]);
            }
            return;
        }
        let count = sum.len() * LANES;
        let (sum, x) = (self.changed(sum), self.at(x));
        self.each("accumulate", count, &[&sum, &x, &(count as i64)]);
    }
    fn all_finite(&self, x: &Buffer<Lane>) -> bool {
        if x.len() <= PER_CHANNEL && x.is_here() {
            return x.iter().all(|x| x.0.iter().all(|v| v.is_finite()));
        }
        let (found, count) = (self.device.upload(&[0u32]), x.len() * LANES);
        let grid = [count.div_ceil(THREADS).clamp(1, 1024) as u32, 1];
        self.device.launch("find_not_finite", grid, THREADS as u32, &[&self.at(x), &(count as i64), &found.at(0)]);
        found.read()[0] == 0
    }
    fn lanes_are_outputs(&self) -> bool {
        false
    }
    fn scale(&self, x: &mut Buffer<Lane>, factor: f32) {
        if x.is_empty() {
            return;
        }
        if per_channel(x) {
            return x.iter_mut().for_each(|x| x.0.iter_mut().for_each(|v| *v *= factor));
        }
        let count = x.len() * LANES;
        self.each("scale", count, &[&self.changed(x), &factor, &(count as i64)]);
    }
    fn disturb(&self, patches: &Buffer<f32>, seen: &[Seen], image: &mut Maps<f32>) {
        self.batch(patches, seen, image);
    }
    fn label(&self, patches: &Buffer<i16>, seen: &[Seen], size: [usize; 2], classes: usize) -> Result<Labels> {
        self.labels(patches, seen, size, classes)
    }
    fn samples(&self, image: &Maps<f32>, range: Range<usize>) -> Maps<f32> {
        self.some_samples(image, range)
    }
    fn sliding(&self) -> &dyn Sliding {
        self
    }
    fn so_far(&self) -> Result<()> {
        self.device.so_far()
    }
    fn check(&self) -> Result<()> {
        self.device.check()
    }
}

/// GPU number N of `cuda:N`, or 0.
///
/// # Errors
/// Usage, where it is no number.
pub fn ordinal(text: Option<&str>) -> Result<usize> {
    let Some(text) = text else { return Ok(0) };
    text.parse().map_err(|_| Error::usage(format!("`{text}` is no number of a GPU")).help("cuda:0 is the first"))
}
