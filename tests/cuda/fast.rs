//! The fast kernels on a device, real or emulated: each against f64 within its bound (src/kernels/cuda/fast.rs), whole
//! networks, and trainings beside strict ones.
//!
//! What is multiplied are numbers that fp16 holds, so the bound of an output of n terms is that of its additions,
//! 9/8·n·2⁻²³·(Σ |x|·|w| + |b|), a residual's, and u·|y| + 2⁻²⁵ where it is stored as fp16, u = 2⁻¹¹: half of its last bit.

use super::device::{batch, cuda, maps, numbers, options, poisoned};
use half::f16;
use std::sync::Mutex;
use tomolith::kernels::adam::Adam;
use tomolith::kernels::batchnorm::{self, Activation, Backward, GradientSums, Moments};
use tomolith::kernels::buffer::{Buffer, View};
use tomolith::kernels::conv::{Add, Convolution};
use tomolith::kernels::cross_entropy::Loss;
use tomolith::kernels::cuda::fast::Fast;
use tomolith::kernels::dropout::Dropout;
use tomolith::kernels::filter::FilterShape;
use tomolith::kernels::labels::{Labels, Part};
use tomolith::kernels::maps::{Maps, Pixel, Shape};
use tomolith::kernels::stencil::{Stencil, Window};
use tomolith::kernels::weight_gradient::WeightGradient;
use tomolith::kernels::{Cpu, Kernels, Reference};
use tomolith::nn::config::Config;
use tomolith::nn::infer::{Call, Plan, What, Workspace};
use tomolith::nn::network::Network;
use tomolith::nn::train::Trainer;
use tomolith::num::lanes::{Isa, Lane};
use tomolith::provenance::Digest;

/// Of one addition in f32, as a tensor core makes it: 18 cuts for sixteen terms.
pub const ADDING: f64 = 9.0 / 8.0 / 8_388_608.0;
/// Of one rounding to fp16, of the number and where numbers are least.
const STORING: [f64; 2] = [1.0 / 2048.0, 1.0 / 33_554_432.0];

pub fn fast() -> Fast {
    Fast::new(cuda())
}

/// Maps of numbers that fp16 holds.
fn halves<P: Pixel>(maps: &Maps<P>) -> Maps<P> {
    let half = |v: &f32| f16::from_f32_const(*v).to_f32_const();
    Maps::from_nchw(maps.shape(), &maps.to_nchw().iter().map(half).collect::<Vec<_>>())
}

/// An exact sum of products, and that of their magnitudes.
#[derive(Clone, Copy, Default)]
struct Sum {
    exact: f64,
    size: f64,
    terms: f64,
}

impl Sum {
    fn add(&mut self, a: f64, b: f64) {
        self.exact += a * b;
        self.size += (a * b).abs();
        self.terms += 1.0;
    }
}

/// Checks numbers, and says how much of the bound the worst of them takes.
fn within(what: &str, found: &[f32], sums: &[Sum], stored: bool) -> f64 {
    assert_eq!(found.len(), sums.len(), "{what}");
    let mut worst = 0f64;
    for (i, (&v, s)) in found.iter().zip(sums).enumerate() {
        let mut bound = (s.terms + 1.0) * ADDING * s.size;
        if stored {
            bound += STORING[0] * (s.exact.abs() + bound) + STORING[1];
        }
        let error = (f64::from(v) - s.exact).abs();
        assert!(error <= bound, "{what}: number {i} is {v}, exactly {}: {error:e} of {bound:e}", s.exact);
        worst = worst.max(if bound > 0.0 { error / bound } else { 0.0 });
    }
    worst
}

/// What an output pixel sees of maps of a shape: the tap's weight, and row and column, but for those that lie outside.
pub fn inputs(s: &Stencil, of: Shape, [y, x]: [usize; 2]) -> impl Iterator<Item = (usize, [usize; 2])> {
    s.taps.iter().filter_map(move |tap| {
        let row = (s.stride * (y / s.step) + tap.offset[0]).wrapping_sub(1);
        let column = (s.stride * (x / s.step) + tap.offset[1]).wrapping_sub(1);
        (row < of.h && column < of.w).then_some((tap.weight, [row, column]))
    })
}

/// What a convolution is exactly, NCHW: of the numbers that are multiplied, weights of halves unless they keep f32.
/// A slope below 1 makes no error larger; what is added is one more term.
fn exact<P: Pixel>(call: &Convolution<P>, out: Shape, before: &Maps<Lane>, keeps: bool) -> Vec<Sum> {
    let slots: usize = call.sources.iter().map(|s| s.shape().groups::<P>() * P::CHANNELS).sum();
    let per_group = call.stencils.iter().map(|s| s.taps.len()).sum::<usize>() * slots;
    let (weights, bias, from) = (call.weights.slice(), call.bias.slice(), call.sources[0].shape());
    let round = |w: f32| f64::from(if keeps { w } else { f16::from_f32_const(w).to_f32_const() });
    let mut sums = vec![Sum::default(); out.len()];
    for s in call.stencils {
        for (n, co) in (0..out.n).flat_map(|n| (0..out.c).map(move |co| (n, co))) {
            for y in (s.phase[0]..out.h).step_by(s.step) {
                for x in (s.phase[1]..out.w).step_by(s.step) {
                    let sum = &mut sums[((n * out.c + co) * out.h + y) * out.w + x];
                    sum.add(bias.get(co / 16).map_or(0.0, |b| f64::from(b.0[co % 16])), 1.0);
                    for (weight, [row, column]) in inputs(s, from, [y, x]) {
                        let mut first = co / 16 * per_group + weight * slots;
                        for source in call.sources {
                            let c = source.shape().c;
                            for (ci, w) in weights[first..first + c].iter().enumerate() {
                                sum.add(f64::from(source.at(n, ci, row, column)), round(w.0[co % 16]));
                            }
                            first += c.next_multiple_of(P::CHANNELS);
                        }
                    }
                    if let Some(slope) = call.slope {
                        sum.exact *= if sum.exact < 0.0 { f64::from(slope) } else { 1.0 };
                        sum.terms += 1.0;
                    }
                    match call.add {
                        Add::Nothing => {}
                        Add::Maps(r) => sum.add(f64::from(r.at(n, co, y, x)), 1.0),
                        Add::Output => sum.add(f64::from(before.at(n, co, y, x)), 1.0),
                    }
                }
            }
        }
    }
    sums
}

/// Says what numbers are, for tests/cuda.rs to compare between orders of threads.
fn digest(numbers: impl Iterator<Item = f32>) {
    println!("\ndigest {}", Digest::of(&numbers.flat_map(f32::to_le_bytes).collect::<Vec<_>>()).hex());
}

/// The fast kernels, each of whose convolutions and gradients is checked.
pub struct Checked {
    pub fast: Fast,
    checks: bool,
    /// Of what keeps f32 and of what is stored as fp16, and how many calls there were.
    worst: Mutex<([f64; 2], usize)>,
}

impl Checked {
    fn new() -> Checked {
        Checked { fast: fast(), checks: true, worst: Mutex::default() }
    }
    /// Nothing is checked; but who computes with it looks at what every kernel made.
    pub fn unchecked() -> Checked {
        Checked { checks: false, ..Checked::new() }
    }
    fn see(&self, worst: f64, stored: bool) {
        let mut all = self.worst.lock().unwrap();
        all.0[usize::from(stored)] = all.0[usize::from(stored)].max(worst);
        all.1 += 1;
    }
    fn say(&self, what: &str) {
        let (worst, calls) = *self.worst.lock().unwrap();
        let [kept, stored] = worst.map(|w| 100.0 * w);
        println!(
            "{what}: {calls} convolutions and gradients take {kept:.1} % of their bounds in f32, {stored:.1} % stored"
        );
        // Half a last bit is what rounding to fp16 takes: the bound is no looser than it must be.
        assert!(calls > 0 && kept > 0.0 && stored > 50.0);
    }
    fn convolution<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>, last: bool) {
        if !self.checks {
            return if last { self.fast.logits(call, y) } else { self.fast.convolve(call, y) };
        }
        let before = if matches!(call.add, Add::Output) { y.clone() } else { Maps::zeros(Shape::new(0, 1, 1, 1)) };
        if last {
            self.fast.logits(call, y);
        } else {
            self.fast.convolve(call, y);
        }
        self.fast.check().unwrap();
        let (out, keeps) = (y.shape(), last || P::CHANNELS == 1);
        self.see(within("a convolution", &y.to_nchw(), &exact(call, out, &before, keeps), !last), !last);
        // Lanes of no channel stay zero, and so does the border.
        let idle = |l: &Lane| (out.c % 16..16).all(|c| out.c % 16 == 0 || l.0[c] == 0.0);
        assert!(y.row(0, out.groups::<Lane>() - 1, 0).iter().all(idle) && y.data()[0] == Lane::ZERO);
    }
}

impl Kernels for Checked {
    fn convolve<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        self.convolution(call, y, false);
    }
    fn logits<P: Pixel>(&self, call: &Convolution<P>, y: &mut Maps<Lane>) {
        self.convolution(call, y, true);
    }
    fn weight_gradient<P: Pixel>(&self, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) {
        if !self.checks {
            return self.fast.weight_gradient(call, dw);
        }
        self.see(weight_gradient(&self.fast, call, dw), false);
    }
    fn sums(&self, x: &Maps<Lane>) -> Vec<f64> {
        self.fast.sums(x)
    }
    fn moments(&self, x: &Maps<Lane>) -> Vec<Moments> {
        self.fast.moments(x)
    }
    fn activate(&self, a: &Activation, x: &Maps<Lane>, residual: Option<&Maps<Lane>>, z: &mut Maps<Lane>) {
        self.fast.activate(a, x, residual, z);
    }
    fn gradient_sums(&self, a: &Activation, x: &Maps<Lane>, dz: &Maps<Lane>) -> Vec<GradientSums> {
        self.fast.gradient_sums(a, x, dz)
    }
    fn activation_gradient(&self, a: &Activation, b: &Backward, x: &Maps<Lane>, dz: &Maps<Lane>, dx: &mut Maps<Lane>) {
        self.fast.activation_gradient(a, b, x, dz, dx);
    }
    fn max_pool(&self, x: &Maps<Lane>, y: &mut Maps<Lane>) {
        self.fast.max_pool(x, y);
    }
    fn max_pool_gradient(&self, x: &Maps<Lane>, dy: &Maps<Lane>, dx: &mut Maps<Lane>) {
        self.fast.max_pool_gradient(x, dy, dx);
    }
    fn cross_entropy(&self, x: &Maps<Lane>, labels: Part, weights: &[f32], total: f64, dx: &mut Maps<Lane>) -> Loss {
        self.fast.cross_entropy(x, labels, weights, total, dx)
    }
    fn adam(&self, adam: Adam, p: &mut Buffer<Lane>, g: &Buffer<Lane>, m: &mut Buffer<Lane>, v: &mut Buffer<Lane>) {
        self.fast.adam(adam, p, g, m, v);
    }
    fn swap(&self, filter: &FilterShape, from: &Buffer<Lane>, to: &mut Buffer<Lane>) {
        self.fast.swap(filter, from, to);
    }
    fn lanes_are_outputs(&self) -> bool {
        false
    }
    fn sixteen_bits(&self) -> bool {
        true
    }
}

/// y in all its ways, dw, and dx of each source, of numbers that are no halves.
fn convolution<P: Pixel>(
    kernels: &Checked,
    window: Window,
    inputs: &[usize],
    outputs: usize,
    n: usize,
    size: [usize; 2],
) {
    let of = |(i, &c): (usize, &usize)| maps::<P>(Shape::new(n, c, size[0], size[1]), i as u32);
    let sources: Vec<Maps<P>> = inputs.iter().enumerate().map(of).collect();
    // As they are after a device has rounded them, which an image is not.
    let rounded = |m: &Maps<P>| if P::CHANNELS == 1 { m.clone() } else { halves(m) };
    let sources: Vec<Maps<P>> = sources.iter().map(rounded).collect();
    let sources: Vec<&Maps<P>> = sources.iter().collect();
    let filter = FilterShape::new::<P>(window, inputs, outputs);
    let weights = Buffer::from(filter.pack(&numbers(filter.torch().iter().product(), 7)));
    let out = Shape::new(n, outputs, window.output(size[0]), window.output(size[1]));
    let bias = batchnorm::lanes_of(numbers(outputs, 8).into_iter().map(f64::from));
    let (residual, stencils) = (halves(&maps::<Lane>(out, 9)), window.forward());
    let mut call = Convolution {
        sources: &sources,
        stencils: &stencils,
        weights: (&weights).into(),
        bias: View::nothing(),
        slope: None,
        add: Add::Nothing,
    };
    kernels.convolve(&call, &mut poisoned(out));
    call = Convolution { bias: View::from(&bias), slope: Some(0.25), add: Add::Maps(&residual), ..call };
    kernels.convolve(&call, &mut poisoned(out));
    if P::CHANNELS > 1 {
        kernels.logits(&call, &mut poisoned(out));
        kernels.convolve(&Convolution { add: Add::Output, ..call }, &mut residual.clone());
    }
    let mut dw = Buffer::from(vec![Lane([f32::NAN; 16]); filter.len()]);
    kernels.weight_gradient(&WeightGradient { sources: &sources, dy: &residual, filter: &filter }, &mut dw);
    if P::CHANNELS == 1 {
        return;
    }
    let (stencils, mut swapped, mut first) = (window.backward(), Buffer::default(), 0);
    kernels.swap(&filter, &weights, &mut swapped);
    for x in &sources {
        let lanes = x.shape().groups::<Lane>() * filter.taps() * filter.groups() * 16;
        let call = Convolution {
            sources: &[&residual],
            stencils: &stencils,
            weights: swapped.view(first..first + lanes),
            bias: View::nothing(),
            slope: None,
            add: Add::Nothing,
        };
        kernels.convolve(&call, &mut poisoned(x.shape()));
        first += lanes;
    }
}

/// dw within the bound: every weight is the sum over all pixels, in chunks.
fn weight_gradient<P: Pixel>(fast: &Fast, call: &WeightGradient<P>, dw: &mut Buffer<Lane>) -> f64 {
    let WeightGradient { sources, dy, filter: f } = *call;
    let (window, (x, s)) = (f.window, (sources[0].shape(), dy.shape()));
    let coarse = if window.transposed { x } else { s };
    let inputs: usize = f.inputs.iter().sum();
    let mut sums = vec![Sum::default(); f.torch().iter().product()];
    let first = 1 - (window.k - 1) / 2;
    let mut base = 0;
    for source in sources {
        for (co, ci, tap) in (0..f.outputs)
            .flat_map(|co| (0..source.shape().c).map(move |ci| (co, ci)))
            .flat_map(|(co, ci)| (0..f.taps()).map(move |tap| (co, ci, tap)))
        {
            let all = base + ci;
            let pair = if window.transposed { all * f.outputs + co } else { co * inputs + all };
            let sum = &mut sums[pair * f.taps() + tap];
            for (n, y, column) in (0..coarse.n)
                .flat_map(|n| (0..coarse.h).map(move |y| (n, y)))
                .flat_map(|(n, y)| (0..coarse.w).map(move |x| (n, y, x)))
            {
                let at = |o: usize, t: usize| (window.stride * o + first + t).wrapping_sub(1);
                let far = [at(y, tap / window.k), at(column, tap % window.k)];
                let fine = if window.transposed { s } else { x };
                if far[0] >= fine.h || far[1] >= fine.w {
                    continue;
                }
                let (of_x, of_dy) = if window.transposed { ([y, column], far) } else { (far, [y, column]) };
                sum.add(f64::from(source.at(n, ci, of_x[0], of_x[1])), f64::from(dy.at(n, co, of_dy[0], of_dy[1])));
            }
        }
        base += source.shape().c;
    }
    fast.weight_gradient(call, dw);
    fast.check().unwrap();
    assert!(dw.iter().all(|l| l.0.iter().all(|v| v.is_finite())), "idle weights of {window:?}");
    within("a gradient by weights", &f.unpack(dw), &sums, false)
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn fast_convolutions_are_within_their_bound() {
    let k = Checked::new();
    let windows = [Window::convolution(3, 1), Window::convolution(3, 2), Window::convolution(1, 1)];
    for window in windows.into_iter().chain([Window::transposed(3), Window::transposed(2)]) {
        convolution::<Lane>(&k, window, &[5], 3, 1, [1, 1]);
        convolution::<Lane>(&k, window, &[16], 40, 1, [6, 10]);
        convolution::<Lane>(&k, window, &[24, 9], 70, 2, [4, 6]);
        if !window.transposed {
            convolution::<f32>(&k, window, &[1], 33, 2, [6, 14]);
        }
    }
    // Odd sizes; sources whose last unit is not full, in front of another.
    convolution::<Lane>(&k, Window::convolution(3, 1), &[7], 20, 1, [5, 13]);
    convolution::<Lane>(&k, Window::convolution(3, 2), &[7, 18], 8, 1, [5, 13]);
    convolution::<f32>(&k, Window::convolution(3, 1), &[3], 20, 1, [5, 13]);
    // The large tiles of gradients, and more than one chunk of pixels.
    convolution::<Lane>(&k, Window::convolution(1, 1), &[72], 130, 1, [5, 7]);
    convolution::<Lane>(&k, Window::convolution(1, 1), &[40], 50, 1, [37, 70]);
    // The large tiles of products: enough pixels that a large device is full.
    for (inputs, outputs) in [(4, 60), (9, 70)] {
        let x = halves(&maps::<Lane>(Shape::new(1, inputs, 188, 181), 1));
        let filter = FilterShape::new::<Lane>(Window::convolution(1, 1), &[inputs], outputs);
        let weights = filter.pack(&numbers(filter.torch().iter().product(), 7));
        let stencils = Window::convolution(1, 1).forward();
        let call = Convolution {
            sources: &[&x],
            stencils: &stencils,
            weights: (&weights).into(),
            bias: View::nothing(),
            slope: Some(0.25),
            add: Add::Nothing,
        };
        k.convolve(&call, &mut poisoned(x.shape().with_channels(outputs)));
    }
    k.say("all shapes");
}

/// Everything that is no convolution: what the strict definition makes of the same halves, rounded when it is stored.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn fast_passes_are_those_of_strict_mode_rounded() {
    let fast = fast();
    // Two roundings of f32 of numbers of this size before the one that is stored.
    let near = |what: &str, a: &Maps<Lane>, b: &Maps<Lane>, size: f64| {
        for (a, b) in a.to_nchw().iter().zip(b.to_nchw()) {
            let (a, b) = (f64::from(*a), f64::from(b));
            assert!((a - b).abs() <= STORING[0] * b.abs() + STORING[1] + 4.0 * ADDING * size, "{what}: {a} {b}");
        }
    };
    for shape in [Shape::new(2, 5, 18, 9), Shape::new(1, 33, 1, 1), Shape::new(3, 16, 8, 40), Shape::new(1, 20, 3, 7)] {
        let [x, dz, r] = [1, 2, 3].map(|p| halves(&maps::<Lane>(shape, p)));
        let pixels = (shape.n * shape.h * shape.w) as f64;
        let close =
            |a: f64, b: f64, what: &str| assert!((a - b).abs() <= 8.0 * ADDING * 8.0 * pixels, "{what}: {a} {b}");
        let zip = |a: Vec<f64>, b: Vec<f64>, what: &str| {
            assert_eq!(a.len(), b.len());
            a.iter().zip(&b).for_each(|(a, b)| close(*a, *b, what));
        };
        zip(fast.sums(&x), Reference.sums(&x), "sums");
        let moments = Reference.moments(&x);
        let found = fast.moments(&x);
        zip(found.iter().map(|m| m.m2).collect(), moments.iter().map(|m| m.m2).collect(), "squares");
        found.iter().zip(&moments).for_each(|(a, b)| close(a.mean * a.n, b.mean * b.n, "mean"));
        let channels = |purpose| batchnorm::lanes_of(numbers(shape.c, purpose).into_iter().map(f64::from));
        let statistics: Vec<_> = moments.iter().map(|m| (m.mean, m.variance())).collect();
        for dropout in [None, Dropout::new(0.3, 5 << 32 | 9, 6, 7).map(|d| d.after(3))] {
            let a = Activation::new(&statistics, &channels(21), &channels(22), 0.25, dropout);
            let (mut strict, mut z) = (poisoned(shape), poisoned(shape));
            for residual in [None, Some(&r)] {
                Reference.activate(&a, &x, residual, &mut strict);
                fast.activate(&a, &x, residual, &mut z);
                near("activation", &z, &strict, 16.0);
            }
            let (sums, of_fast) = (Reference.gradient_sums(&a, &x, &dz), fast.gradient_sums(&a, &x, &dz));
            zip(of_fast.into_iter().flatten().collect(), sums.iter().copied().flatten().collect(), "gradient sums");
            let b = Backward::new(&a, &sums, &moments);
            Reference.activation_gradient(&a, &b, &x, &dz, &mut strict);
            fast.activation_gradient(&a, &b, &x, &dz, &mut z);
            // The one pixel of a channel is divided by √ε.
            near("gradient of an activation", &z, &strict, if pixels > 1.0 { 16.0 } else { 4e4 });
        }
        let double = Shape { h: 2 * shape.h, w: 2 * shape.w, ..shape };
        let wide =
            Maps::<Lane>::from_nchw(double, &numbers(double.len(), 4).iter().map(|v| v.round()).collect::<Vec<_>>());
        let (mut strict, mut y, mut dx, mut strict_dx) =
            (poisoned(shape), poisoned(shape), poisoned(double), poisoned(double));
        Reference.max_pool(&wide, &mut strict);
        fast.max_pool(&wide, &mut y);
        Reference.max_pool_gradient(&wide, &dz, &mut strict_dx);
        fast.max_pool_gradient(&wide, &dz, &mut dx);
        assert!(y.to_nchw() == strict.to_nchw() && dx.to_nchw() == strict_dx.to_nchw(), "max-pooling of {shape:?}");
        let labels: Vec<i16> = (0..shape.n * shape.h * shape.w).map(|i| (i * 7 % (shape.c + 1)) as i16 - 1).collect();
        let weights: Vec<f32> = (0..shape.c).map(|c| 0.5 + c as f32).collect();
        // Logits keep f32.
        let labels = Labels::new(labels, shape.h * shape.w, shape.c).unwrap();
        let (logits, total) = (maps::<Lane>(shape, 6), labels.weigh(&weights));
        let loss = Reference.cross_entropy(&logits, labels.all(), &weights, total, &mut strict);
        assert_eq!(fast.cross_entropy(&logits, labels.all(), &weights, total, &mut y), loss, "{shape:?}");
        near("gradient of the loss", &y, &strict, 0.0);
        fast.check().unwrap();
    }
}

/// Every convolution of an inference and of a training step, of the very numbers that flow through it.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn fast_networks_are_within_their_bound_at_every_step() {
    for (config, size) in [(Config::monai(&[8, 24, 20], 5), 16), (Config::paper(&[8, 20], 3), 12)] {
        let (checked, classes) = (Checked::new(), config.classes);
        let (image, labels) = batch(2, size, classes);
        let mut trainer = Trainer::new(Network::new(config, 1));
        Plan::new(&trainer.network).run(&checked, &image, &mut Workspace::default(), |_| ());
        for _ in 0..2 {
            trainer.step(&checked, &image, &labels, &options(classes, None)).unwrap();
        }
        assert_eq!((trainer.steps, trainer.scale.skipped), (2, 0));
        checked.say("networks");
    }
}

/// Logits of small networks against strict ones, which are within 10⁻⁶ of f64. Each of the ~20 roundings that a value
/// passes is of u = 2⁻¹¹, and most average out: 2.3·u of the largest logit is seen, 8·u allowed, far less than a wrong tap
/// would make.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn fast_logits_are_near_strict_ones_and_alone_come_back() {
    let cpu = Cpu { isa: Isa::detect() };
    for (config, size) in [(Config::monai(&[8, 24, 20], 5), 32), (Config::paper(&[8, 20, 33], 3), 24)] {
        let (classes, fast) = (config.classes, fast());
        let plan = Plan::new(&Network::new(config, 1));
        let (mut here, mut there) = (Workspace::default(), Workspace::default());
        let mut first = Vec::new();
        for (round, size) in [size, 2 * size, size].into_iter().enumerate() {
            let (image, _) = batch(2, size, classes);
            let before = fast.device().traffic();
            let expected = plan.run(&cpu, &image, &mut here, |_| ());
            let found = plan.run(&fast, &image, &mut there, |_| ());
            let (a, b) = (found.to_nchw(), expected.to_nchw());
            fast.check().unwrap();
            let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
            let far = a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            println!("logits of {size}: {far:.2e} from strict ones of up to {largest:.2}");
            assert!(far <= 8.0 / 2048.0 * largest && far > 0.0, "{far} of {largest}");
            let now = fast.device().traffic();
            assert_eq!(now.received - before.received, 4 * a.len() as u64, "logits come back, and nothing else");
            digest(a.iter().copied());
            if round == 0 {
                first = a;
            } else if round == 2 {
                assert!(a == first, "the same bits again");
                let sent = now.sent - before.sent;
                // Three numbers a channel of each activation that no convolution takes along, and its slope.
                let numbers = |call: &Call| match &call.what {
                    What::Activation { numbers, .. } => 64 * (1 + 3 * numbers.scale.len()) as u64,
                    _ => 0,
                };
                let small: u64 = plan.calls.iter().map(numbers).sum();
                assert_eq!(sent, 4 * image.data().len() as u64 + small, "weights are there, and packed");
            }
            here.give(expected);
            there.give(found);
        }
    }
}

/// A few steps beside strict ones, and an overflow.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn fast_trainings_follow_strict_ones_and_skip_what_overflows() {
    let cpu = Cpu { isa: Isa::detect() };
    for (config, size) in [(Config::monai(&[8, 24, 20], 5), 16), (Config::paper(&[8, 20], 3), 12)] {
        let (classes, start, device) = (config.classes, Network::new(config, 1), fast());
        let (image, labels) = batch(3, size, classes);
        let (mut strict, mut fast) = (Trainer::new(start.clone()), Trainer::new(start.clone()));
        for step in 0..4 {
            let o = options(classes, Some(2).filter(|_| step < 2));
            let expected = strict.step(&cpu, &image, &labels, &o).unwrap();
            let loss = fast.step(&device, &image, &labels, &o).unwrap();
            println!("step {step}: loss {:.6}, strict {:.6}", loss.loss, expected.loss);
            // Logits differ by a few u of themselves; after steps, by what Adam makes of gradients near 0: at most twice the
            // rate in each weight, of which there are some hundred a path.
            assert!((loss.loss - expected.loss).abs() <= 0.01 * expected.loss, "{} {}", loss.loss, expected.loss);
            if step == 0 {
                let all = strict.network.parameters.iter().zip(strict.gradients()).zip(fast.gradients());
                // Those of filters; what is one number a channel is a sum of all pixels, most of which cancel.
                for ((p, a), b) in all.filter(|((p, _), _)| p.kind.torch().len() == 4) {
                    let dot = |a: &[Lane], b: &[Lane]| -> f64 {
                        a.iter()
                            .zip(b)
                            .flat_map(|(a, b)| a.0.into_iter().zip(b.0))
                            .map(|(a, b)| f64::from(a) * f64::from(b))
                            .sum()
                    };
                    let (aa, ab, bb) = (dot(a, a), dot(a, b), dot(b, b));
                    // Some forty roundings of 2⁻¹¹ on the way, and PReLUs that bend on the other side for them: 3 % of the
                    // gradient's length is seen, a wrong term is more than 10 %.
                    assert!(aa - 2.0 * ab + bb <= 0.01 * aa, "{}: {aa} {ab} {bb}", p.name);
                }
            }
        }
        assert_eq!((fast.steps, fast.scale.skipped, fast.scale.good), (4, 0, 4));
        // One pixel has all the weight, and its gradient leaves fp16: steps are skipped until the scale is small enough.
        let before: Vec<_> = fast.network.parameters.iter().map(|p| p.values.to_vec()).collect();
        let mut heavy = options(classes, None);
        let few: Vec<i16> = labels.iter().enumerate().map(|(i, &t)| if i == 100 { t.max(0) } else { -1 }).collect();
        heavy.dropout = 0.0;
        fast.scale.exponent = 17;
        fast.step(&device, &image, &few, &heavy).unwrap();
        assert_eq!((fast.steps, fast.scale.skipped, fast.scale.factor()), (4, 1, 65536.0), "2¹⁷ leaves fp16");
        let same = fast.network.parameters.iter().zip(&before).all(|(p, b)| p.values[..] == b[..]);
        assert!(same, "a skipped step changes nothing");
        while fast.steps == 4 {
            fast.step(&device, &image, &few, &heavy).unwrap();
        }
        assert!(
            fast.scale.exponent >= 8 && fast.network.parameters.iter().zip(&before).any(|(p, b)| p.values[..] != b[..])
        );
        // The same again, to the bit.
        let mut again = Trainer::new(start);
        let (mut losses, mut bits) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            again = Trainer::new(again.network);
            again.network = Network::new(again.network.config.clone(), 1);
            losses.push(
                (0..2)
                    .map(|_| again.step(&device, &image, &labels, &options(classes, None)).unwrap().loss)
                    .collect::<Vec<_>>(),
            );
            bits.push(again.network.parameters.iter().map(|p| p.values.to_vec()).collect::<Vec<_>>());
        }
        assert!(losses[0] == losses[1] && bits[0] == bits[1], "two trainings differ");
        digest(bits[0].iter().flatten().flat_map(|l| l.0));
    }
}
