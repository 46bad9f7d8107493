//! `tomolith trace conv`: one convolution, number by number, for teaching.

use crate::cli::net::SEED;
use crate::cli::options::{Opt, Takes};
use crate::cli::picture::Picture;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::npy::{read_array, write_array};
use crate::exchange::write_text;
use crate::kernels::buffer::View;
use crate::kernels::conv::{Add, Convolution};
use crate::kernels::filter::FilterShape;
use crate::kernels::maps::{BORDER, Maps, Shape};
use crate::kernels::stencil::{Stencil, Window};
use crate::kernels::{Cpu, Kernels, Reference};
use crate::num::lanes::Lane;
use crate::num::philox::Stream;
use std::fmt::Write as _;
use std::path::Path;

/// The command.
pub const COMMAND: Command = Command {
    path: &["trace", "conv"],
    about: "Compute one convolution and show where one of its numbers comes from",
    details: "Writes into DIR input, filter and output of a layer as .png and .npy, the output by the definition and by the fast \
              kernel, which must agree in every bit, how far both are from the same sum in f64, and in README.txt every term of \
              one output's sum. Without --input it takes a picture of a disc, without --filter four 3 x 3 filters: a mean, the \
              slopes along rows and columns, and a Laplacian.",
    examples: "  tomolith trace conv -o layer\n  tomolith trace conv --filter w.npy --input x.npy --stride 2 --at 3,4 -o layer",
    groups: &[(
        "",
        &[
            Opt::new("input", Takes::Value("FILE.npy"), "Input, f32 of shape (C, H, W) [default: a disc]"),
            Opt::new(
                "filter",
                Takes::Value("FILE.npy"),
                "Filter, f32 of shape (K, C, 3, 3) or (K, C, 1, 1); with --transposed (C, K, …) [default: four known ones]",
            ),
            Opt::new("stride", Takes::Choice(&["1", "2"]), "Stride").default("1"),
            Opt::new("transposed", Takes::Switch, "Transposed, from coarse to fine, of stride 2"),
            Opt::new("at", Takes::Value("Y,X"), "Output pixel whose sum is told [default: the middle]"),
            SEED,
            Opt::new("output", Takes::Value("DIR"), "Folder to write to; it is created").short('o'),
            Opt::new("overwrite", Takes::Switch, "Replace existing files"),
        ],
    )],
    run,
};

/// Side of the picture of a disc.
const SIDE: usize = 32;
/// Mean, slope along rows, slope along columns, Laplacian.
const FILTERS: [[f32; 9]; 4] = [
    [1.0 / 9.0; 9],
    [-0.125, 0.0, 0.125, -0.25, 0.0, 0.25, -0.125, 0.0, 0.125],
    [-0.125, -0.25, -0.125, 0.0, 0.0, 0.0, 0.125, 0.25, 0.125],
    [0.0, 1.0, 0.0, 1.0, -4.0, 1.0, 0.0, 1.0, 0.0],
];
const NOISE: u32 = 0x636f_6e76;

/// Input and filter in PyTorch's order.
struct Layer {
    x: (Vec<usize>, Vec<f32>),
    w: (Vec<usize>, Vec<f32>),
    window: Window,
}

fn layer(c: &Context) -> Result<Layer> {
    let s = &c.settings;
    let x = match s.path("input")? {
        Some(path) => read_array(&path)?,
        None => {
            let noise = Stream::new(s.parsed("seed", values::seed)?, NOISE);
            let disc = |i: usize| {
                let [y, x] = [i / SIDE, i % SIDE].map(|v| v as f64 - (SIDE / 2) as f64);
                f32::from(u8::from(y * y + x * x < 100.0)) + 0.05 * noise.normal(i as u64) as f32
            };
            (vec![1, SIDE, SIDE], (0..SIDE * SIDE).map(disc).collect())
        }
    };
    let w = match s.path("filter")? {
        Some(path) => read_array(&path)?,
        None => (vec![FILTERS.len(), 1, 3, 3], FILTERS.concat()),
    };
    let transposed = s.is_on("transposed")?;
    let (&[_, h, width], &[a, b, k, k2]) = (x.0.as_slice(), w.0.as_slice()) else {
        return Err(Error::data(format!("an input of shape {:?} and a filter of shape {:?}", x.0, w.0))
            .help("an input has 3 axes (C, H, W), a filter 4"));
    };
    let inputs = if transposed { a } else { b };
    let known = if transposed { [2, 3] } else { [1, 3] };
    if k != k2 || !known.contains(&k) || inputs != x.0[0] || a * b * h * width == 0 {
        return Err(Error::data(format!("a filter of shape {:?} for an input of shape {:?}", w.0, x.0)).help(format!(
            "filters here are {0} x {0} or {1} x {1}, with a channel for each of the input's",
            known[0], known[1]
        )));
    }
    let stride = if s.text("stride")? == Some("2") { 2 } else { 1 };
    let window = if transposed { Window::transposed(k) } else { Window::convolution(k, stride) };
    Ok(Layer { x, w, window })
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (folder, overwrite) = (s.required_path("output")?, s.is_on("overwrite")?);
    let Layer { x: (x_shape, x), w: (w_shape, w), window } = layer(c)?;
    let outputs = if window.transposed { w_shape[1] } else { w_shape[0] };
    let input = Maps::<Lane>::from_nchw(Shape::new(1, x_shape[0], x_shape[1], x_shape[2]), &x);
    let filter = FilterShape::new::<Lane>(window, &[x_shape[0]], outputs);
    let (packed, stencils) = (filter.pack(&w), window.forward());
    let call = Convolution {
        sources: &[&input],
        stencils: &stencils,
        weights: (&packed).into(),
        bias: View::nothing(),
        slope: None,
        add: Add::Nothing,
    };
    let out = Shape::new(1, outputs, window.output(x_shape[1]), window.output(x_shape[2]));
    let at = match s.parse("at", values::numbers)?.as_deref() {
        None => [out.h / 2, out.w / 2],
        Some(&[y, x]) if y >= 0.0 && x >= 0.0 && y < out.h as f64 && x < out.w as f64 => [y as usize, x as usize],
        Some(_) => {
            return Err(Error::usage(format!("--at is no pixel of the output of {} x {}", out.h, out.w))
                .help("give row and column, the first being 0"));
        }
    };
    let readme = folder.join("README.txt");
    if readme.exists() && !overwrite {
        return Err(Error::writing(&readme, &std::io::ErrorKind::AlreadyExists.into()));
    }
    let [mut naive, mut fast] = [Maps::zeros(out), Maps::zeros(out)];
    Reference.convolve(&call, &mut naive);
    Cpu { isa: c.isa }.convolve(&call, &mut fast);
    let (naive, fast) = (naive.to_nchw(), fast.to_nchw());
    let differing = naive.iter().zip(&fast).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    let mut text = format!(
        "y[k, p] = sum over taps and channels of w[k, c, tap] x[c, s p + offset(tap)]\n\n\
         input {x_shape:?}, filter {w_shape:?}, stride {}{}, output [{outputs}, {}, {}]\n\n",
        window.stride,
        if window.transposed { ", transposed" } else { "" },
        out.h,
        out.w
    );
    let terms = terms(&input, &stencils, at);
    let mut worst = (0f64, 0f64);
    for k in 0..outputs {
        let exact: f64 =
            terms.iter().map(|t| f64::from(t.x) * f64::from(t.weight(&w, &w_shape, k, window))).fold(0.0, |a, b| a + b);
        let found = f64::from(naive[(k * out.h + at[0]) * out.w + at[1]]);
        worst = (worst.0.max((found - exact).abs()), worst.1.max(exact.abs()));
    }
    let _ = writeln!(
        text,
        "output 0 at row {}, column {}:\n\ntap row col  channel            x            w      product          sum",
        at[0], at[1]
    );
    let mut sum = 0f32;
    for t in &terms {
        let weight = t.weight(&w, &w_shape, 0, window);
        sum = t.x.mul_add(weight, sum);
        let _ = writeln!(
            text,
            "{:3} {:3} {:3}  {:7} {:12.6} {weight:12.6} {:12.6} {sum:12.6}",
            t.tap,
            t.at[0],
            t.at[1],
            t.channel,
            t.x,
            t.x * weight
        );
    }
    let _ = writeln!(
        text,
        "\nEach line is one fused multiply-add: product and sum are rounded once, together. Rows and columns of -1 or of the \
         input's extent\nare its border of zeros.\n\n{} numbers by the definition and by the fast kernel: {differing} differ.\n\
         Here, all outputs: at most {:.2e} from the sum in f64, of {:.2e}.",
        naive.len(),
        worst.0,
        worst.1
    );
    std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    let picture = |name: &str, shape: &[usize], values: &[f32], caption: &str| -> Result<()> {
        write_array(&folder.join(format!("{name}.npy")), shape, values, overwrite)?;
        let &[.., h, w] = shape else { return Ok(()) };
        let planes = (values.len() / (h * w)).min(MOST_PLANES);
        let beside = side_by_side(&values[..planes * h * w], h, w);
        Picture::linear(&beside, planes * (w + 1) - 1, caption)?.write(&folder.join(format!("{name}.png")), overwrite)
    };
    picture("0_input", &x_shape, &x, "INPUT")?;
    picture("1_filter", &w_shape, &w, "FILTER")?;
    let shape = [outputs, out.h, out.w];
    picture("2_output_by_definition", &shape, &naive, "OUTPUT BY DEFINITION")?;
    picture("3_output_fast", &shape, &fast, "OUTPUT OF THE FAST KERNEL")?;
    write_text(Path::new(&readme), &text, overwrite)?;
    c.out.text(&text)?;
    if differing > 0 {
        return Err(Error::mismatch(format!("{differing} numbers of the fast kernel differ from the definition")));
    }
    Ok(())
}

/// Planes of a picture, at most.
const MOST_PLANES: usize = 16;

/// Planes beside one another, with a column between them.
fn side_by_side(values: &[f32], h: usize, w: usize) -> Vec<f32> {
    let planes: Vec<&[f32]> = values.chunks(h * w).collect();
    let mean = values.iter().fold(0.0, |sum, &v| sum + f64::from(v)) / values.len().max(1) as f64;
    let mut all = Vec::new();
    for y in 0..h {
        for (i, plane) in planes.iter().enumerate() {
            if i > 0 {
                all.push(mean as f32);
            }
            all.extend(&plane[y * w..][..w]);
        }
    }
    all
}

/// One term of an output's sum.
struct Term {
    tap: usize,
    at: [isize; 2],
    channel: usize,
    x: f32,
}

impl Term {
    /// Its weight for output `k`, in PyTorch's order.
    fn weight(&self, w: &[f32], shape: &[usize], k: usize, window: Window) -> f32 {
        let pair = if window.transposed { self.channel * shape[1] + k } else { k * shape[1] + self.channel };
        w[pair * shape[2] * shape[3] + self.tap]
    }
}

/// The terms of an output pixel, in the order of the sum.
fn terms(input: &Maps<Lane>, stencils: &[Stencil], [y, x]: [usize; 2]) -> Vec<Term> {
    let s = input.shape();
    let mut all = Vec::new();
    for stencil in stencils.iter().filter(|s| y % s.step == s.phase[0] && x % s.step == s.phase[1]) {
        for tap in &stencil.taps {
            let place = [
                stencil.stride * (y / stencil.step) + tap.offset[0],
                stencil.stride * (x / stencil.step) + tap.offset[1],
            ];
            for channel in 0..s.c {
                let plane = input.plane(0, channel / 16);
                let value = plane[place[0] * s.pitch() + place[1]].0[channel % 16];
                let at = place.map(|v| v as isize - BORDER as isize);
                all.push(Term { tap: tap.weight, at, channel, x: value });
            }
        }
    }
    all
}
