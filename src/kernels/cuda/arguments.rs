//! What kernels are given, field by field as `kernels/*.cu` declare it. A launch compares sizes with the image.

use super::driver::{Address, Argument};
use crate::kernels::conv::Convolution;
use crate::kernels::dropout::Dropout;
use crate::kernels::maps::{Blocked, Pixel, Shape};
use crate::kernels::stencil::Stencil;

/// Most taps of a stencil: 3×3.
pub const TAPS: usize = 9;

/// `Shape` of kernels/maps.cuh.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Extent {
    n: i32,
    c: i32,
    h: i32,
    w: i32,
}

impl From<Shape> for Extent {
    fn from(s: Shape) -> Extent {
        let [n, c, h, w] = [s.n, s.c, s.h, s.w].map(|v| v as i32);
        Extent { n, c, h, w }
    }
}

/// `Source` of kernels/conv.cuh.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Source {
    pub data: Address,
    pub channels: i32,
    pub planes: i32,
}

/// `Convolution` of kernels/conv.cuh.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Stencilled {
    sources: [Source; 2],
    input: Extent,
    output: Extent,
    planes: i32,
    stride: i32,
    step: i32,
    phase: [i32; 2],
    taps: i32,
    weight: [i32; TAPS],
    row: [i32; TAPS],
    column: [i32; TAPS],
    per_group: i32,
    weights: Address,
    bias: Address,
    has_slope: i32,
    slope: f32,
    add: Address,
    y: Address,
}

/// Where the numbers of a convolution are.
pub struct Places {
    pub sources: [Source; 2],
    pub weights: Address,
    pub bias: Address,
    pub add: Address,
    pub y: Address,
}

impl Stencilled {
    /// One stencil of a convolution.
    pub fn new<P: Pixel, A: Blocked>(call: &Convolution<P, A>, s: &Stencil, out: Shape, at: &Places) -> Stencilled {
        let mut taps = [[0; TAPS]; 3];
        for (i, tap) in s.taps.iter().enumerate() {
            [taps[0][i], taps[1][i], taps[2][i]] = [tap.weight, tap.offset[0], tap.offset[1]].map(|v| v as i32);
        }
        Stencilled {
            sources: at.sources,
            input: call.sources[0].shape().into(),
            output: out.into(),
            planes: at.sources.iter().map(|s| s.planes).sum(),
            stride: s.stride as i32,
            step: s.step as i32,
            phase: s.phase.map(|v| v as i32),
            taps: s.taps.len() as i32,
            weight: taps[0],
            row: taps[1],
            column: taps[2],
            per_group: call.per_group() as i32,
            weights: at.weights,
            bias: at.bias,
            has_slope: i32::from(call.slope.is_some()),
            slope: call.slope.unwrap_or(0.0),
            add: at.add,
            y: at.y,
        }
    }
}

/// `Walk` of kernels/weight_gradient.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Walk {
    pub data: Address,
    pub shape: Extent,
    pub planes: i32,
    pub step: i32,
    pub row: [i32; TAPS],
    pub column: [i32; TAPS],
}

/// `Gradient` of kernels/weight_gradient.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Chunks {
    pub x: [Walk; 2],
    pub dy: Walk,
    pub h: i32,
    pub w: i32,
    pub chunk_rows: i32,
    pub chunks: i32,
    pub taps: i32,
    pub slots: i32,
    pub groups: i32,
    pub first_chunk: i32,
    pub parts: Address,
}

/// `Dropout` of kernels/dropout.cu; all 0 drops nothing.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Drops {
    threshold: u32,
    keep: f32,
    key: [u32; 2],
    stream: u32,
    draw: u32,
    before: i64,
    pub counter: Address,
}

impl Default for Drops {
    fn default() -> Drops {
        Drops { threshold: 0, keep: 0.0, key: [0; 2], stream: 0, draw: 0, before: 0, counter: Address::NONE }
    }
}

impl From<Option<Dropout>> for Drops {
    fn from(dropout: Option<Dropout>) -> Drops {
        dropout.map_or(Drops::default(), |d| Drops {
            threshold: d.threshold,
            keep: d.keep,
            key: d.key,
            stream: d.stream,
            draw: d.draw,
            before: d.before as i64,
            counter: Address::NONE,
        })
    }
}

/// `Activation` of kernels/batchnorm.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Activated {
    pub scale: Address,
    pub shift: Address,
    pub mean: Address,
    pub slope: f32,
    pub dropout: Drops,
}

/// `Activation` of kernels/fast_batchnorm.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FastActivated {
    pub scale: Address,
    pub shift: Address,
    pub mean: Address,
    pub slope: Address,
    pub dropout: Drops,
}

/// `Adam` of kernels/adam.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Step {
    pub one_minus_beta1: f32,
    pub one_minus_beta2: f32,
    pub beta2: f32,
    pub epsilon: f32,
    pub step: f32,
    pub root: f32,
}

/// `Betas` of kernels/step.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Betas {
    pub one_minus_beta1: f32,
    pub one_minus_beta2: f32,
    pub beta2: f32,
    pub epsilon: f32,
}

/// `FastSource` of kernels/fast_conv.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FastSource {
    pub data: Address,
    pub units: i32,
}

/// `FastConvolution` of kernels/fast_conv.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FastConvolution {
    pub sources: [FastSource; 2],
    pub input: Extent,
    pub output: Extent,
    pub stride: i32,
    pub step: i32,
    pub phase: [i32; 2],
    pub taps: i32,
    pub offsets: [[i32; TAPS]; 2],
    pub chunks: i32,
    pub weights: Address,
    pub bias: Address,
    pub has_slope: i32,
    pub slope: f32,
    pub add: Address,
    pub y: Address,
}

/// `FastFilter` of kernels/fast_filter.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FastFilter {
    pub weights: Address,
    pub to: Address,
    pub taps: i32,
    pub weight: [i32; TAPS],
    pub per_group: i32,
    pub slots: i32,
    pub channels: [i32; 2],
    pub groups: i32,
    pub depth: i32,
}

/// `FastWalk` of kernels/fast_weight_gradient.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FastWalk {
    pub data: Address,
    pub units: i32,
    pub size: [i32; 2],
    pub step: i32,
    pub offsets: [[i32; TAPS]; 2],
}

/// `FastGradient` of kernels/fast_weight_gradient.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FastGradient {
    pub x: [FastWalk; 2],
    pub dy: FastWalk,
    pub extent: [i32; 3],
    pub chunk: i32,
    pub taps: i32,
    pub slots: i32,
    pub groups: i32,
    pub first_slots: i32,
    pub parts: Address,
}

impl Argument for Extent {}
impl Argument for Stencilled {}
impl Argument for Chunks {}
impl Argument for Activated {}
impl Argument for Step {}
impl Argument for Betas {}
impl Argument for FastActivated {}
impl Argument for FastConvolution {}
impl Argument for FastFilter {}
impl Argument for FastGradient {}
