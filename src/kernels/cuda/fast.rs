//! L2. The kernels on tensor cores (`kernels/fast_*.cu`): maps of fp16, sums of f32; near the definition, not identical to
//! it, and the same bits on every run of one device model.
//!
//! ```text
//! y = fp16( PReLU(b + Σ x·w) + r )       x, r: fp16 of what was stored; w: fp16 of f32 weights
//! |y − exact| ≤ ( 2·u + u² + 9/8·n·2⁻²³ )·(Σ |x|·|w| + |b|) + 2⁻²⁵·(Σ |x| + Σ |w|)
//!                                         before y is stored, by u·|y| + 2⁻²⁵ at most;  u = 2⁻¹¹
//! ```
//!
//! for n terms: fp16 keeps 11 bits, so x and w are each rounded by u of themselves or less, and their product is exact in
//! f32. A tensor core lines sixteen products and the sum so far up with the largest of them and cuts each off at 2⁻²³ of it
//! or finer (Fasi et al. 2021): 17 cuts, and one of the sum, for sixteen terms. Numbers below 2⁻¹⁴ are multiples of 2⁻²⁴, so that they are off by 2⁻²⁵ at most instead of a part of themselves: the second
//! sums; those above 65504 are infinite. Two ends keep f32: the image, and the
//! logits ([`Kernels::logits`]).
//!
//! It is one more [`Kernels`]: plan, tape and optimizer are those of strict mode, and weights, their gradients and moments
//! are in f32 where they were. Who holds maps sees [`Lane`]s; on the device they are [`Pixels`].

use super::arguments::{
    Extent, FastActivated, FastConvolution, FastFilter, FastGradient, FastSource, FastWalk, Places, Source, Stencilled,
    TAPS,
};
use super::driver::{Address, Argument, Device, Memory, Plain};
use super::pixels::{Number, Pixels, UNIT};
use super::steps::Dialled;
use super::{Cuda, MOST_BLOCKS};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::adam::Adam;
use crate::kernels::augment::Seen;
use crate::kernels::batchnorm::{Activation, Backward, GradientSums, Moments};
use crate::kernels::buffer::{Buffer, There};
use crate::kernels::conv::{Add, Convolution};
use crate::kernels::cross_entropy::Loss;
use crate::kernels::filter::FilterShape;
use crate::kernels::labels::{Labels, Part};
use crate::kernels::maps::{BORDER, Maps, Pixel, Shape};
use crate::kernels::step::{ByParameters, Given, Normalised, Steps};
use crate::kernels::weight_gradient::WeightGradient;
use crate::kernels::windows::Sliding;
use crate::num::lanes::{LANES, Lane};
use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A GPU that computes in fp16.
#[derive(Clone)]
pub struct Fast {
    pub(super) cuda: Cuda,
    /// Whether steps are recorded.
    pub(super) records: bool,
    /// What the step under way reads that is new.
    pub(super) dialled: Arc<Mutex<Option<Arc<Dialled>>>>,
    /// Numbers of layers that do not normalise, by their groups of channels.
    constants: Arc<Mutex<BTreeMap<usize, Arc<Memory<Lane>>>>>,
}

/// Depth of a chunk of a product.
const CHUNK: usize = 32;
/// Threads of a block of sums.
const SUMMING: usize = 256;
/// Pixels that share a block of random bits.
const RUN: usize = super::RUN;
/// Numbers that a block joins from parts.
const JOINED: usize = 4;
/// Blocks below which a convolution takes smaller tiles.
const FEW_BLOCKS: usize = super::FEW_BLOCKS;
/// Blocks that the pixels of a gradient by weights are cut for, and least and most pixels of a chunk: what is worth a block,
/// and what a tensor core sums before f32 takes over.
const GRADIENT_BLOCKS: usize = 1024;
const LEAST_PIXELS: usize = 1024;
const MOST_PIXELS: usize = 4096;
/// Pixels that such a block multiplies at a time.
const PASS: usize = 32;

/// Units of eight channels.
pub(super) fn units(c: usize) -> usize {
    c.div_ceil(UNIT)
}

/// Runs of eight pixels of a row.
fn runs(s: Shape) -> usize {
    s.n * s.h * s.w.div_ceil(RUN)
}

impl Fast {
    /// The tensor cores of a GPU.
    pub fn new(cuda: Cuda) -> Fast {
        Fast { cuda, records: true, dialled: Arc::default(), constants: Arc::default() }
    }
    /// The same, but whether steps are recorded and started as one ([`super::steps`]), which changes no bit.
    #[must_use]
    pub fn recording(self, records: bool) -> Fast {
        Fast { records, ..self }
    }
    /// The device.
    pub fn device(&self) -> &Device {
        self.cuda.device()
    }

    /// The device's own maps behind others.
    fn own<'a, T: Number>(&self, there: &'a Arc<dyn There<Lane>>, shape: Shape) -> Option<&'a Pixels<T>> {
        let pixels = there.any().downcast_ref::<Pixels<T>>();
        pixels.filter(|p| p.memory.is_of(self.device()) && p.shape == shape)
    }
    /// Where maps are; they are rounded and copied there if need be.
    pub(super) fn at<T: Number>(&self, maps: &Maps<Lane>) -> Address {
        let shape = maps.shape();
        let copy = |lanes: &[Lane]| -> Arc<dyn There<Lane>> {
            Arc::new(Pixels { memory: self.device().upload(&Pixels::<T>::of_lanes(lanes, shape)), shape })
        };
        let foreign = || self.device().fail(Error::bug("maps of another GPU or another arithmetic"));
        self.own::<T>(maps.buffer().there(copy), shape).map_or_else(foreign, |p| p.memory.at(0))
    }
    /// Memory that a kernel is about to fill: the maps' own, or new.
    pub(super) fn output<T: Number>(&self, maps: &mut Maps<Lane>) -> Address {
        let shape = maps.shape();
        let own = maps.buffer().on_device().filter(|there| self.own::<T>(there, shape).is_some()).cloned();
        let there = own.unwrap_or_else(|| {
            Arc::new(Pixels { memory: self.device().memory::<T>(Pixels::<T>::count(shape)), shape })
        });
        let at = self.own::<T>(&there, shape).map_or(Address::NONE, |p| {
            p.memory.changes();
            p.memory.at(0)
        });
        maps.buffer_mut().only_there(there);
        at
    }
    /// Maps that a convolution reads, which are lanes unless they are the image.
    fn source<P: Pixel>(&self, maps: &Maps<P>) -> Source {
        let (any, s): (&dyn Any, Shape) = (maps, maps.shape());
        let c = s.c;
        if s.n * s.h * s.w * units(c) > i32::MAX as usize {
            self.device().fail(Error::device("maps of more than 32 GB on a GPU").help("take fewer images in a batch"));
        }
        match any.downcast_ref::<Maps<Lane>>() {
            Some(maps) => Source { data: self.at::<u16>(maps), channels: c as i32, planes: units(c) as i32 },
            None => self.cuda.source(maps),
        }
    }
    fn sources<P: Pixel>(&self, maps: &[&Maps<P>]) -> [Source; 2] {
        self.cuda.two_sources(maps.len());
        let mut sources = [self.source(maps[0]); 2];
        // Where there is no second, nothing is read; its address is one all the same, as copies want it.
        match maps.get(1) {
            Some(second) => sources[1] = self.source(second),
            None => (sources[1].channels, sources[1].planes) = (0, 0),
        }
        sources
    }
    /// Where y is, and what is added: fp16, or logits.
    fn outputs<T: Number>(&self, add: Add, y: &mut Maps<Lane>) -> (Address, Address) {
        match add {
            Add::Nothing => (self.output::<T>(y), Address::NONE),
            Add::Maps(maps) => (self.output::<T>(y), self.at::<u16>(maps)),
            Add::Output => {
                let at = self.at::<T>(y);
                let there = y.buffer().on_device().cloned();
                there.into_iter().for_each(|there| y.buffer_mut().only_there(there));
                (at, at)
            }
        }
    }

    /// The weights of each stencil as a matrix: made when they are first wanted, and again when they have changed. One set
    /// of stencils belongs to a buffer's weights: those of its convolution, or of its gradient.
    fn matrices<P: Pixel>(&self, call: &Convolution<P>, out: Shape) -> Arc<Vec<Memory<u16>>> {
        let make = |weights: Address| -> Vec<Memory<u16>> {
            call.stencils.iter().map(|s| self.matrix(call, out, s, weights)).collect()
        };
        let Some((buffer, first)) = call.weights.buffer() else {
            let numbers = self.device().upload(call.weights.slice());
            return Arc::new(make(numbers.at(0)));
        };
        let at = self.cuda.view(call.weights).at;
        let memory = buffer.on_device().and_then(|there| self.cuda.own::<Lane>(there));
        memory.map_or_else(|| Arc::new(Vec::new()), |memory| memory.made(first, || make(at)))
    }
    fn matrix<P: Pixel>(
        &self,
        call: &Convolution<P>,
        out: Shape,
        stencil: &crate::kernels::stencil::Stencil,
        weights: Address,
    ) -> Memory<u16> {
        let (groups, depth) = (out.groups::<Lane>(), depth(call, stencil.taps.len()));
        let to = self.device().memory::<u16>(groups * LANES * depth);
        let (mut weight, mut channels) = ([0; TAPS], [0; 2]);
        weight.iter_mut().zip(&stencil.taps).for_each(|(to, tap)| *to = tap.weight as i32);
        channels.iter_mut().zip(call.sources).for_each(|(to, maps)| *to = maps.shape().c as i32);
        let slots: usize = call.sources.iter().map(|s| s.shape().groups::<Lane>() * LANES).sum();
        let arguments = FastFilter {
            weights,
            to: to.at(0),
            taps: stencil.taps.len() as i32,
            weight,
            per_group: call.per_group() as i32,
            slots: slots as i32,
            channels,
            groups: groups as i32,
            depth: depth as i32,
        };
        self.device().launch("fast_filter", [depth.div_ceil(256) as u32, groups as u32], 256, &[&arguments]);
        to
    }

    /// The image's convolution, or that to the logits.
    fn end<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>, image: bool) {
        let (out, sources) = (y.shape(), self.sources(call.sources));
        let (weights, bias) = (self.cuda.view(call.weights), self.cuda.view(call.bias));
        let (y_at, add) = if image { self.outputs::<u16>(call.add, y) } else { self.outputs::<f32>(call.add, y) };
        let at = Places { sources, weights: weights.at, bias: bias.at, add, y: y_at };
        for s in call.stencils {
            let arguments = Stencilled::new(call, s, out, &at);
            let size = |size: usize, phase: usize| (size - phase.min(size)).div_ceil(s.step);
            let pixels = out.n * size(out.h, s.phase[0]) * size(out.w, s.phase[1]);
            let (kernel, grid) = if image {
                ("fast_convolve_image", [(pixels * units(out.c)).div_ceil(128), 1])
            } else {
                ("fast_convolve_logits", [pixels.div_ceil(256), units(out.c)])
            };
            self.device().launch(kernel, grid.map(|n| n as u32), 128, &[&arguments]);
        }
        drop((weights.kept, bias.kept));
    }

    /// A kernel that sums blocks of runs, K numbers a channel, and how many blocks there are: \[k\]\[channel\]\[block\].
    pub(super) fn parts<T: Plain>(
        &self,
        s: Shape,
        kernel: &'static str,
        k: usize,
        given: &[&dyn Argument],
    ) -> (Memory<T>, i32) {
        let side = units(s.c).next_power_of_two().min(4);
        let blocks = runs(s).div_ceil(SUMMING / side);
        let parts = self.device().memory::<T>(k * u16::width(s.c) * blocks);
        let (extent, beside, to) = (Extent::from(s), side as i32, parts.at(0));
        let mut arguments = given.to_vec();
        arguments.extend([&extent as &dyn Argument, &beside, &to]);
        let grid = [blocks as u32, units(s.c).div_ceil(side) as u32];
        self.device().launch(kernel, grid, SUMMING as u32, &arguments);
        (parts, blocks as i32)
    }
    /// Parts of each row joined.
    pub(super) fn joined<T: Plain>(
        &self,
        kernel: &'static str,
        rows: usize,
        (parts, blocks): (Memory<T>, i32),
    ) -> Memory<T> {
        let all = self.device().memory::<T>(rows);
        let arguments: [&dyn Argument; 4] = [&parts.at(0), &(rows as i32), &blocks, &all.at(0)];
        self.device().launch(kernel, [rows.div_ceil(JOINED) as u32, 1], 128, &arguments);
        all
    }
    /// Moments of each channel.
    pub(super) fn moments_there(&self, x: &Maps<Lane>) -> Memory<Moments> {
        let (s, at) = (x.shape(), self.at::<u16>(x));
        self.joined("fast_join_moments", u16::width(s.c), self.parts::<Moments>(s, "fast_moments", 1, &[&at]))
    }
    /// Σ x of each channel.
    pub(super) fn sums_there(&self, x: &Maps<Lane>) -> Memory<f64> {
        let (s, at) = (x.shape(), self.at::<u16>(x));
        self.joined("fast_join_sums", u16::width(s.c), self.parts::<f64>(s, "fast_sums", 1, &[&at]))
    }
    /// The three sums of a gradient, each of all channels.
    pub(super) fn gradient_sums_there(&self, a: &FastActivated, [x, dz]: [&Maps<Lane>; 2]) -> Memory<f64> {
        let (s, x_at, dz_at) = (x.shape(), self.at::<u16>(x), self.at::<u16>(dz));
        let parts = self.parts::<f64>(s, "fast_gradient_sums", 3, &[a, &x_at, &dz_at]);
        self.joined("fast_join_sums", 3 * u16::width(s.c), parts)
    }
    /// z of x.
    pub(super) fn activate_by(
        &self,
        a: &FastActivated,
        x: &Maps<Lane>,
        residual: Option<&Maps<Lane>>,
        z: &mut Maps<Lane>,
    ) {
        let residual = residual.map_or(Address::NONE, |r| self.at::<u16>(r));
        let (x_at, z_at, s) = (self.at::<u16>(x), self.output::<u16>(z), x.shape());
        self.each_run("fast_activate", s, &[a, &x_at, &residual, &z_at, &Extent::from(s)]);
    }
    /// dx of dz, with what it takes beside.
    pub(super) fn gradient_by(
        &self,
        a: &FastActivated,
        more: [Address; 2],
        [x, dz]: [&Maps<Lane>; 2],
        dx: &mut Maps<Lane>,
    ) {
        let (s, x_at, dz_at, dx_at) = (x.shape(), self.at::<u16>(x), self.at::<u16>(dz), self.output::<u16>(dx));
        let arguments: [&dyn Argument; 7] = [a, &more[0], &more[1], &x_at, &dz_at, &dx_at, &Extent::from(s)];
        self.each_run("fast_activation_gradient", s, &arguments);
    }
    /// An activation's numbers on the device, kept until the kernel is launched, and where what is more of them lies.
    fn activation(&self, a: &Activation, more: &[&[Lane]]) -> (FastActivated, Memory<Lane>, Vec<Address>) {
        let slope = [Lane([a.slope; LANES])];
        let parts: Vec<&[Lane]> =
            [&slope[..], &a.scale, &a.shift, &a.mean].into_iter().chain(more.iter().copied()).collect();
        let memory = self.device().upload(&parts.concat());
        let at = |part: usize| memory.at(1 + part * a.scale.len());
        let (slope, dropout) = (memory.at(0), a.dropout.into());
        let activated = FastActivated { scale: at(0), shift: at(1), mean: at(2), slope, dropout };
        let more = (0..more.len()).map(|i| at(3 + i)).collect();
        (activated, memory, more)
    }
    /// Scale 1, then shift, mean, and what a gradient takes beside: 0. The slope is 1, where the scale is.
    pub(super) fn constants(&self, groups: usize) -> Arc<Memory<Lane>> {
        let mut all = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let of = |i: usize| Lane([if i < groups { 1.0 } else { 0.0 }; LANES]);
            Arc::new(self.device().upload(&(0..5 * groups).map(of).collect::<Vec<_>>()))
        };
        all.entry(groups).or_insert_with(make).clone()
    }
    /// A kernel with a thread for each run and unit.
    pub(super) fn each_run(&self, kernel: &'static str, s: Shape, arguments: &[&dyn Argument]) {
        self.device().launch(kernel, [(runs(s) * units(s.c)).div_ceil(128) as u32, 1], 128, arguments);
    }
}

/// Depth of a product, in whole chunks.
fn depth<P: Pixel>(call: &Convolution<P>, taps: usize) -> usize {
    let per_tap: usize = call.sources.iter().map(|s| u16::width(s.shape().c)).sum();
    (taps * per_tap).next_multiple_of(CHUNK)
}

/// Pixels of a chunk of a gradient of so many tiles of weights.
fn chunk_of(pixels: usize, tiles: usize) -> usize {
    let most = pixels.div_ceil(LEAST_PIXELS).clamp(1, MOST_BLOCKS);
    let wanted = pixels.div_ceil((GRADIENT_BLOCKS / tiles.max(1)).clamp(1, most)).next_multiple_of(PASS);
    // But no more chunks than a grid takes.
    wanted.min(MOST_PIXELS.max(pixels.div_ceil(MOST_BLOCKS).next_multiple_of(PASS)))
}

/// Offsets from the pixel itself, which stand from the border's corner.
fn offsets(of: impl Iterator<Item = [usize; 2]>) -> [[i32; TAPS]; 2] {
    let mut to = [[0; TAPS]; 2];
    of.enumerate().for_each(|(i, o)| (0..2).for_each(|axis| to[axis][i] = o[axis] as i32 - BORDER as i32));
    to
}

impl Kernels for Fast {
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        if P::CHANNELS == 1 {
            return self.end(call, y, true);
        }
        let (out, sources) = (y.shape(), self.sources(call.sources));
        let (matrices, bias) = (self.matrices(call, out), self.cuda.view(call.bias));
        let (y_at, add) = self.outputs::<u16>(call.add, y);
        for (s, weights) in call.stencils.iter().zip(matrices.iter()) {
            let arguments = FastConvolution {
                sources: sources.map(|s| FastSource { data: s.data, units: s.planes }),
                input: call.sources[0].shape().into(),
                output: out.into(),
                stride: s.stride as i32,
                step: s.step as i32,
                phase: s.phase.map(|v| v as i32),
                taps: s.taps.len() as i32,
                offsets: offsets(s.taps.iter().map(|tap| tap.offset)),
                chunks: (depth(call, s.taps.len()) / CHUNK) as i32,
                weights: weights.at(0),
                bias: bias.at,
                has_slope: i32::from(call.slope.is_some()),
                slope: call.slope.unwrap_or(0.0),
                add,
                y: y_at,
            };
            let size = |size: usize, phase: usize| (size - phase.min(size)).div_ceil(s.step);
            let pixels = out.n * size(out.h, s.phase[0]) * size(out.w, s.phase[1]);
            let width = u16::width(out.c);
            let few = |tile: [usize; 2]| pixels.div_ceil(tile[0]) * width.div_ceil(tile[1]) < FEW_BLOCKS;
            let (kernel, tile, threads) = match width {
                0..=8 => ("fast_convolve_128x8", [128, 8], 128),
                9..=32 => ("fast_convolve_128x32", [128, 32], 128),
                33..=64 if !few([128, 64]) => ("fast_convolve_128x64", [128, 64], 128),
                65.. if !few([128, 128]) => ("fast_convolve_128x128", [128, 128], 256),
                _ => ("fast_convolve_64x64", [64, 64], 128),
            };
            let grid = [pixels.div_ceil(tile[0]) as u32, width.div_ceil(tile[1]) as u32];
            self.device().launch(kernel, grid, threads, &[&arguments]);
        }
        drop(bias.kept);
    }
    fn logits<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        if P::CHANNELS == 1 {
            self.device().fail(Error::bug("logits of an image"));
            return;
        }
        self.end(call, y, false);
    }
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) {
        let (f, (h, w), samples, image) = (call.filter, call.extent(), call.dy.shape().n, P::CHANNELS == 1);
        let (steps, pairs) = (call.steps(), call.offsets());
        let (mut of_x, of_dy) = (offsets(pairs.iter().map(|p| p.0)), offsets(pairs.iter().map(|p| p.1)));
        if image {
            // Its border is there.
            of_x.iter_mut().flatten().for_each(|o| *o += BORDER as i32);
        }
        let walk = |data, units: i32, s: Shape, step: usize, offsets| FastWalk {
            data,
            units,
            size: [s.h, s.w].map(|v| v as i32),
            step: step as i32,
            offsets,
        };
        // Refuses what is too large, as of x.
        self.source(call.dy);
        let x = self.sources(call.sources).map(|s| walk(s.data, s.planes, call.sources[0].shape(), steps[0], of_x));
        let dy = walk(self.at::<u16>(call.dy), units(f.outputs) as i32, call.dy.shape(), steps[1], of_dy);
        // As many chunks of pixels as the problem says, and no fewer pixels than are worth a block.
        let (pixels, outputs) = (samples * h * w, f.groups() * LANES);
        let (kernel, side) = match outputs.min(f.slots()) {
            _ if image => ("fast_weight_gradient_image", 1),
            0..=32 => ("fast_weight_gradient_32", 32),
            33..=64 => ("fast_weight_gradient_64", 64),
            _ => ("fast_weight_gradient_128", 128),
        };
        let tiles = match image {
            true => f.slots() * f.groups(),
            false => f.slots().div_ceil(side) * f.taps() * outputs.div_ceil(side),
        };
        let chunk = chunk_of(pixels, tiles);
        let (chunks, count) = (pixels.div_ceil(chunk), f.len() * LANES);
        let parts = self.device().memory::<f32>(chunks * count);
        let arguments = FastGradient {
            x,
            dy,
            extent: [samples, h, w].map(|v| v as i32),
            chunk: chunk as i32,
            taps: f.taps() as i32,
            slots: f.slots() as i32,
            groups: f.groups() as i32,
            first_slots: call.sources[0].shape().c.next_multiple_of(f.position) as i32,
            parts: parts.at(0),
        };
        let threads = match side {
            1 => 144,
            128 => 256,
            _ => 128,
        };
        self.device().launch(kernel, [tiles as u32, chunks as u32], threads, &[&arguments]);
        let (dw_at, _) = self.cuda.output(dw);
        let given: [&dyn Argument; 5] = [&dw_at, &parts.at(0), &(count as i64), &(chunks as i32), &1];
        self.cuda.each("add_chunks", count, &given);
    }
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64> {
        let mut sums = self.sums_there(x).read();
        sums.truncate(x.shape().c);
        sums
    }
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments> {
        let mut moments = self.moments_there(x).read();
        moments.truncate(x.shape().c);
        moments
    }
    fn activate(&self, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
        let (activated, memory, _) = self.activation(a, &[]);
        self.activate_by(&activated, x, residual, z);
        drop(memory);
    }
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
        let (activated, memory, _) = self.activation(a, &[]);
        let (rows, sums) = (u16::width(x.shape().c), self.gradient_sums_there(&activated, [x, dz]).read());
        drop(memory);
        (0..x.shape().c).map(|c| std::array::from_fn(|k| sums[k * rows + c])).collect()
    }
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let (activated, memory, more) = self.activation(a, &[&b.by_x, &b.constant]);
        self.gradient_by(&activated, [more[0], more[1]], [x, dz], dx);
        drop(memory);
    }
    fn normalise(
        &self,
        given: &Given,
        x: &Maps<Lane>,
        residual: Option<&Maps<Lane>>,
        z: &mut Maps<Lane>,
    ) -> Normalised {
        self.normalise_there(given, x, residual, z)
    }
    fn normalise_gradient(
        &self,
        given: &Given,
        made: &Normalised,
        x_dz: [&Maps<Lane>; 2],
        to: ByParameters,
        dx: &mut Maps<Lane>,
    ) {
        self.gradient_there(given, made, x_dz, to, dx);
    }
    fn bias_gradient(&self, dy: &Maps<Lane>, db: &mut Buffer<Lane>) {
        self.bias_there(dy, db);
    }
    fn add(&self, a: &Maps<Lane>, b: &Maps<Lane>, sum: &mut Maps<Lane>) {
        let activated = self.constant_activation(a.shape(), None, None);
        self.activate_by(&activated, a, Some(b), sum);
    }
    fn clear(&self, x: &mut Buffer<Lane>) {
        let count = x.len() * LANES;
        self.cuda.each("step_clear", count, &[&self.cuda.output(x).0, &(count as i64)]);
    }
    fn steps(&self) -> Option<&dyn Steps> {
        Some(self)
    }
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>) {
        let (x_at, y_at, s) = (self.at::<u16>(x), self.output::<u16>(y), y.shape());
        self.cuda.each("fast_max_pool", s.n * s.h * s.w * units(s.c), &[&x_at, &y_at, &Extent::from(s)]);
    }
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
        let (x_at, dy_at, dx_at) = (self.at::<u16>(x), self.at::<u16>(dy), self.output::<u16>(dx));
        let (s, count) = (dy.shape(), dy.shape().n * dy.shape().h * dy.shape().w * units(dy.shape().c));
        self.cuda.each("fast_max_pool_gradient", count, &[&x_at, &dy_at, &dx_at, &Extent::from(s)]);
    }
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss {
        let (x_at, dx_at) = (self.at::<f32>(x), self.output::<u16>(dx));
        self.cuda.losses("fast_cross_entropy", x.shape(), [x_at, dx_at], labels, weights, total)
    }
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        self.cuda.adam(adam, p, g, m, v);
    }
    fn swap(&self, filter: &FilterShape, from: &Buffer<Lane>, to: &mut Buffer<Lane>) {
        self.cuda.swap(filter, from, to);
    }
    fn accumulate(&self, sum: &mut Buffer<Lane>, x: &Buffer<Lane>) {
        self.cuda.accumulate(sum, x);
    }
    fn all_finite(&self, x: &Buffer<Lane>) -> bool {
        self.cuda.all_finite(x)
    }
    fn lanes_are_outputs(&self) -> bool {
        false
    }
    fn sixteen_bits(&self) -> bool {
        true
    }
    fn scale(&self, x: &mut Buffer<Lane>, factor: f32) {
        self.cuda.scale(x, factor);
    }
    fn disturb(&self, patches: &Buffer<f32>, seen: &[Seen], image: &mut Maps<f32>) {
        self.cuda.batch(patches, seen, image);
    }
    fn label(&self, patches: &Buffer<i16>, seen: &[Seen], size: [usize; 2], classes: usize) -> Result<Labels> {
        self.cuda.labels(patches, seen, size, classes)
    }
    fn samples(&self, image: &Maps<f32>, range: Range<usize>) -> Maps<f32> {
        self.cuda.some_samples(image, range)
    }
    fn sliding(&self) -> &dyn Sliding {
        self
    }
    fn so_far(&self) -> Result<()> {
        self.cuda.so_far()
    }
    fn check(&self) -> Result<()> {
        self.cuda.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_as_long_as_the_problem_says_and_short_sums() {
        for (pixels, tiles) in
            [(1, 1), (1023, 9), (4096, 1), (1 << 20, 9), (1 << 20, 4096), (1 << 30, 1), (1 << 30, 900)]
        {
            let chunk = chunk_of(pixels, tiles);
            assert!(chunk.is_multiple_of(PASS) && pixels.div_ceil(chunk) <= MOST_BLOCKS, "{pixels} {tiles}: {chunk}");
            assert!(chunk <= MOST_PIXELS || pixels > MOST_PIXELS * MOST_BLOCKS, "{pixels} {tiles}: {chunk}");
        }
        assert_eq!([chunk_of(1 << 20, 9), chunk_of(1 << 20, 4096), chunk_of(5000, 9)], [4096, 4096, 1024]);
        assert!(chunk_of(1 << 30, 1) > MOST_PIXELS);
    }
}
