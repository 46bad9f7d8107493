//! What is run on a device, real or emulated: every kernel against its definition, to the bit, and whole trainings.

use tomolith::kernels::adam::Adam;
use tomolith::kernels::batchnorm::{self, Activation, Backward};
use tomolith::kernels::buffer::{Buffer, View};
use tomolith::kernels::conv::{Add, Convolution};
use tomolith::kernels::cuda::Cuda;
use tomolith::kernels::dropout::Dropout;
use tomolith::kernels::filter::FilterShape;
use tomolith::kernels::labels::Labels;
use tomolith::kernels::maps::{Maps, Pixel, Shape};
use tomolith::kernels::stencil::Window;
use tomolith::kernels::weight_gradient::WeightGradient;
use tomolith::kernels::{Cpu, Kernels, Reference, Twin};
use tomolith::nn::config::Config;
use tomolith::nn::infer::{Plan, Workspace};
use tomolith::nn::network::Network;
use tomolith::nn::train::{Options, Trainer};
use tomolith::num::lanes::{Isa, Lane};
use tomolith::num::philox::Stream;

type Pair = Twin<Reference, Cuda>;

pub fn cuda() -> Cuda {
    Cuda::open(0, Isa::detect()).expect("a device, or the mock of its driver: see tests/cuda.rs")
}

pub fn numbers(count: usize, purpose: u32) -> Vec<f32> {
    let stream = Stream::new(11, purpose);
    (0..count as u64).map(|i| stream.normal(i) as f32).collect()
}

pub fn maps<P: Pixel>(shape: Shape, purpose: u32) -> Maps<P> {
    Maps::from_nchw(shape, &numbers(shape.len(), purpose))
}

/// Maps whose inside is NaN: what is not overwritten shows.
pub fn poisoned(shape: Shape) -> Maps<Lane> {
    let mut maps = Maps::zeros(shape);
    maps.fill_by(|_, _, _, _| f32::NAN);
    maps
}

fn identical(twin: &Pair, what: &str) {
    twin.check().unwrap_or_else(|e| panic!("{what}: {e}"));
    let log = twin.record();
    assert!(log.numbers > 0, "{what}: nothing was compared");
    assert_eq!(log.difference, None, "{what}");
}

/// y in all its ways, dw, and dx of each source, which reads maps that the device has written.
fn convolution<P: Pixel>(twin: &Pair, window: Window, inputs: &[usize], outputs: usize, size: [usize; 2]) {
    let sources: Vec<Maps<P>> =
        inputs.iter().enumerate().map(|(i, &c)| maps(Shape::new(2, c, size[0], size[1]), i as u32)).collect();
    let sources: Vec<&Maps<P>> = sources.iter().collect();
    let filter = FilterShape::new::<P>(window, inputs, outputs);
    let weights = Buffer::from(filter.pack(&numbers(filter.torch().iter().product(), 7)));
    let out = Shape::new(2, outputs, window.output(size[0]), window.output(size[1]));
    let bias = batchnorm::lanes_of(numbers(outputs, 8).into_iter().map(f64::from));
    let dy = maps::<Lane>(out, 9);
    let stencils = window.forward();
    let ways = [
        (None, Add::Nothing, View::nothing()),
        (Some(0.25), Add::Maps(&dy), View::from(&bias)),
        (None, Add::Output, View::nothing()),
    ];
    for (slope, add, bias) in ways {
        let mut y = if matches!(add, Add::Output) { dy.clone() } else { poisoned(out) };
        let call = Convolution { sources: &sources, stencils: &stencils, weights: (&weights).into(), bias, slope, add };
        twin.convolve(&call, &mut y);
    }
    let mut dw = Buffer::from(vec![Lane([f32::NAN; 16]); filter.len()]);
    twin.weight_gradient(&WeightGradient { sources: &sources, dy: &dy, filter: &filter }, &mut dw);
    identical(twin, &format!("{window:?} {inputs:?} to {outputs}, {size:?}"));
    if P::CHANNELS == 1 {
        return;
    }
    let mut swapped = Buffer::default();
    twin.swap(&filter, &weights, &mut swapped);
    let (stencils, mut first) = (window.backward(), 0);
    for x in &sources {
        let lanes = x.shape().groups::<Lane>() * filter.taps() * filter.groups() * 16;
        let call = Convolution {
            sources: &[&dy],
            stencils: &stencils,
            weights: swapped.view(first..first + lanes),
            bias: View::nothing(),
            slope: None,
            add: Add::Nothing,
        };
        twin.convolve(&call, &mut poisoned(x.shape()));
        first += lanes;
    }
    identical(twin, &format!("gradient of {window:?} {inputs:?} to {outputs}, {size:?}"));
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_convolutions_are_their_definition() {
    let twin = Twin::new(Reference, cuda());
    let windows = [
        Window::convolution(3, 1),
        Window::convolution(3, 2),
        Window::convolution(1, 1),
        Window::convolution(1, 2),
        Window::transposed(3),
        Window::transposed(2),
    ];
    for window in windows {
        convolution::<Lane>(&twin, window, &[5], 3, [1, 1]);
        convolution::<Lane>(&twin, window, &[16], 48, [6, 22]);
        convolution::<Lane>(&twin, window, &[24, 8], 17, [4, 36]);
        if !window.transposed {
            convolution::<f32>(&twin, window, &[1], 33, [6, 34]);
        }
    }
    // Odd sizes; sources whose last group is not full, in front of another.
    convolution::<Lane>(&twin, Window::convolution(3, 1), &[7], 20, [5, 13]);
    convolution::<Lane>(&twin, Window::convolution(3, 2), &[7, 18], 20, [5, 13]);
    convolution::<f32>(&twin, Window::convolution(3, 1), &[3], 20, [5, 13]);
    // More than one chunk of pixels, and rows that are none of a pass.
    convolution::<Lane>(&twin, Window::convolution(3, 1), &[1], 2, [20, 256]);
    convolution::<Lane>(&twin, Window::convolution(1, 1), &[33], 70, [70, 65]);
    // Large tiles of weights.
    convolution::<Lane>(&twin, Window::convolution(3, 1), &[50, 16], 65, [3, 5]);
    // Few outputs, of a transposed convolution of two sources, too.
    (1..=9).for_each(|outputs| convolution::<Lane>(&twin, Window::convolution(3, 1), &[5], outputs, [3, 35]));
    convolution::<Lane>(&twin, Window::transposed(3), &[18, 16], 5, [10, 33]);
}

/// Sizes that take the large tiles: enough blocks for a large device.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_convolutions_in_large_tiles_are_their_definition() {
    let twin = Twin::new(Reference, cuda());
    let large = |window: Window, inputs: &[usize], outputs: usize, n: usize, [h, w]: [usize; 2]| {
        let sources: Vec<Maps<Lane>> = inputs.iter().map(|&c| maps(Shape::new(n, c, h, w), c as u32)).collect();
        let sources: Vec<&Maps<Lane>> = sources.iter().collect();
        let filter = FilterShape::new::<Lane>(window, inputs, outputs);
        let weights = Buffer::from(filter.pack(&numbers(filter.torch().iter().product(), 7)));
        let call = Convolution {
            sources: &sources,
            stencils: &window.forward(),
            weights: (&weights).into(),
            bias: View::nothing(),
            slope: Some(0.25),
            add: Add::Nothing,
        };
        twin.convolve(&call, &mut poisoned(Shape::new(n, outputs, window.output(h), window.output(w))));
        identical(&twin, &format!("{window:?} {inputs:?} to {outputs}"));
    };
    large(Window::convolution(1, 1), &[4, 17], 24, 2, [130, 131]);
    large(Window::convolution(1, 1), &[5], 60, 1, [190, 181]);
    large(Window::convolution(3, 1), &[3], 100, 1, [130, 140]);
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_passes_over_pixels_are_their_definition() {
    let cuda = cuda();
    let (device, mut on_device) = (cuda.device().clone(), 0);
    let twin = Twin::new(Reference, cuda);
    for shape in [Shape::new(2, 5, 18, 9), Shape::new(1, 33, 1, 1), Shape::new(3, 16, 8, 40), Shape::new(1, 20, 3, 7)] {
        let (x, dz, r) = (maps::<Lane>(shape, 1), maps::<Lane>(shape, 2), maps::<Lane>(shape, 3));
        twin.sums(&x);
        let moments = twin.moments(&x);
        let channels = |purpose| batchnorm::lanes_of(numbers(shape.c, purpose).into_iter().map(f64::from));
        let (gamma, beta) = (channels(21), channels(22));
        let statistics: Vec<_> = moments.iter().map(|m| (m.mean, m.variance())).collect();
        for dropout in [None, Dropout::new(0.3, 5 << 32 | 9, 6, 7).map(|d| d.after(3))] {
            let a = Activation::new(&statistics, &gamma, &beta, 0.25, dropout);
            for residual in [None, Some(&r)] {
                twin.activate(&a, &x, residual, &mut poisoned(shape));
            }
            let sums = twin.gradient_sums(&a, &x, &dz);
            twin.activation_gradient(&a, &Backward::new(&a, &sums, &moments), &x, &dz, &mut poisoned(shape));
        }
        let double = Shape { h: 2 * shape.h, w: 2 * shape.w, ..shape };
        // Equal neighbours: the first is the one.
        let mut wide = maps::<Lane>(double, 4);
        let halves = wide.to_nchw();
        wide = Maps::from_nchw(double, &halves.iter().map(|v| (2.0 * v).round() / 2.0).collect::<Vec<_>>());
        twin.max_pool(&wide, &mut poisoned(shape));
        twin.max_pool_gradient(&wide, &dz, &mut poisoned(double));
        let [mut p, mut m, g] = [&x, &dz, &r].map(|maps| Buffer::from(maps.data().to_vec()));
        let mut v = Buffer::from(x.data().iter().map(|l| Lane(l.0.map(f32::abs))).collect::<Vec<_>>());
        let before = device.traffic().launches;
        twin.adam(Adam::new(3e-4, 2), &mut p, &g, &mut m, &mut v);
        twin.accumulate(&mut m, &g);
        assert!(twin.all_finite(&g));
        // What has one number per channel is stepped on the CPU; all else is compared with what the device makes.
        if g.len() > 64 {
            assert!(device.traffic().launches >= before + 3, "{shape:?}: not on the device");
            on_device += 1;
        }
        let labels: Vec<i16> = (0..shape.n * shape.h * shape.w).map(|i| (i * 7 % (shape.c + 1)) as i16 - 1).collect();
        let weights: Vec<f32> = (0..shape.c).map(|c| 0.5 + c as f32).collect();
        let none = Labels::new(vec![-1; labels.len()], shape.h * shape.w, shape.c).unwrap();
        let labels = Labels::new(labels, shape.h * shape.w, shape.c).unwrap();
        twin.cross_entropy(&x, labels.all(), &weights, labels.weigh(&weights), &mut poisoned(shape));
        twin.cross_entropy(&x, none.all(), &weights, 0.0, &mut poisoned(shape));
        // Samples from the second on.
        if shape.n > 1 {
            let part = Shape { n: shape.n - 1, ..shape };
            twin.cross_entropy(&maps(part, 7), labels.samples(1..shape.n), &weights, 3.0, &mut poisoned(part));
        }
        identical(&twin, &format!("{shape:?}"));
    }
    assert!(on_device >= 2, "{on_device} shapes are more than a number per channel");
    // Large and small logits; a row of more than a block of the sum.
    for (shape, scale) in
        [(Shape::new(1, 3, 1, 4100), 1.0), (Shape::new(1, 4, 2, 40), 60.0), (Shape::new(1, 2, 2, 9), 1e-40)]
    {
        let values: Vec<f32> = numbers(shape.len(), 5).iter().map(|v| v * scale).collect();
        let labels: Vec<i16> = (0..shape.n * shape.h * shape.w).map(|i| (i % shape.c) as i16).collect();
        let weights = vec![1.0; shape.c];
        let x = Maps::<Lane>::from_nchw(shape, &values);
        let labels = Labels::new(labels, shape.h * shape.w, shape.c).unwrap();
        twin.cross_entropy(&x, labels.all(), &weights, labels.weigh(&weights), &mut poisoned(shape));
        identical(&twin, &format!("cross-entropy of {shape:?} by {scale}"));
    }
}

/// Numbers stay on the device from kernel to kernel; what is not finite is found there.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_memory_is_used_again_and_what_is_not_finite_is_found() {
    let (cuda, shape) = (cuda(), Shape::new(1, 20, 6, 10));
    let x = maps::<Lane>(shape, 1);
    let a = Activation::identity(shape.c, 0.25, None);
    // Begun with NaN: the border must be cleared on the device.
    let (mut y, mut expected) = (Maps::<Lane>::zeros(shape), Maps::zeros(shape));
    let mut from = x.clone();
    for _ in 0..4 {
        cuda.activate(&a, &from, Some(&x), &mut y);
        std::mem::swap(&mut from, &mut y);
    }
    let before = cuda.device().traffic();
    cuda.check().unwrap();
    assert_eq!(cuda.device().traffic(), before, "nothing is read before it is looked at");
    let mut reference = x.clone();
    for _ in 0..4 {
        Reference.activate(&a, &reference, Some(&x), &mut expected);
        std::mem::swap(&mut reference, &mut expected);
    }
    assert!(from == reference);
    assert_eq!(cuda.device().traffic().received - before.received, (x.data().len() * 64) as u64);

    let (answer, ms) = cuda.device().time(|| 42).unwrap();
    assert!(answer == 42 && ms >= 0.0);
    let laps = |lap: &mut dyn FnMut()| (0..3).for_each(|_| lap());
    assert_eq!(cuda.device().laps(laps).unwrap().1.len(), 3);

    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38] {
        let mut x = vec![Lane([0.5; 16]); 96];
        x[57].0[3] = bad;
        // Turned on the device, so that it is there alone.
        let (from, mut there) = (Buffer::from(x), Buffer::default());
        cuda.swap(&FilterShape::new::<Lane>(Window::convolution(1, 1), &[80, 16], 16), &from, &mut there);
        assert!(!there.is_here() && there.len() == 96);
        assert_eq!(cuda.all_finite(&there), bad == 1e38, "{bad}");
        // Of any thread.
        let finite = std::thread::scope(|s| s.spawn(|| cuda.all_finite(&there)).join().unwrap());
        assert_eq!(finite, bad == 1e38, "{bad} on a second thread");
        assert!(!there.is_here(), "nothing was copied");
        cuda.scale(&mut there, 0.25);
        assert!(!there.is_here());
        let scaled = there.iter().flat_map(|l| l.0).filter(|v| *v != 0.125).collect::<Vec<f32>>();
        assert!(scaled.len() == 1 && (scaled[0] == 0.25 * bad || bad.is_nan()), "{scaled:?}");
    }
}

/// Opens a device and trains a step: says FINE and its name, or FAILED and why, and whose fault it is.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn failing_device() {
    let work = || {
        let cuda = Cuda::open(0, Isa::detect())?;
        let (image, labels) = batch(2, 16, 3);
        let mut trainer = Trainer::new(Network::new(Config::monai(&[8, 20], 3), 1));
        let loss = trainer.step(&cuda, &image, &labels, &options(3, None))?;
        assert!(loss.loss.is_finite());
        cuda.check().map(|()| cuda.device().found().name.clone())
    };
    match work() {
        Ok(name) => println!("FINE {name}"),
        Err(e) => {
            println!("FAILED {e}");
            assert_eq!(e.fault().exit_code(), 69, "{e}");
        }
    }
}

pub fn batch(n: usize, size: usize, classes: usize) -> (Maps<f32>, Vec<i16>) {
    let image = maps::<f32>(Shape::new(n, 1, size, size), 31);
    let label = |(i, v): (usize, &f32)| if i % 8 == 0 { -1 } else { ((v.abs() * 3.0) as usize % classes) as i16 };
    let labels = image.to_nchw().iter().enumerate().map(label).collect();
    (image, labels)
}

pub fn options(classes: usize, leaf: Option<usize>) -> Options {
    Options { rate: 1e-3, dropout: 0.2, seed: 3, class_weights: vec![1.0; classes], leaf }
}

/// Maps that the twin's device has.
fn there(twin: &Pair) -> Maps<Lane> {
    let x = maps::<Lane>(Shape::new(1, 1, 2, 2), 1);
    twin.max_pool(&x, &mut Maps::zeros(Shape::new(1, 1, 1, 1)));
    x
}

/// A step of both networks in lock-step; then steps that stay on the device, to the same weights as the CPU's, with no
/// more over the bus than they need.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_trainings_and_inferences_are_those_of_the_cpu() {
    let cpu = Cpu { isa: Isa::detect() };
    for (config, size) in [(Config::monai(&[8, 24, 20], 5), 16), (Config::paper(&[8, 20], 3), 12)] {
        let (classes, start) = (config.classes, Network::new(config, 1));
        let (image, labels) = batch(3, size, classes);
        let twin = Twin::new(Reference, cuda());
        let mut trainer = Trainer::new(start.clone());
        trainer.step(&twin, &image, &labels, &options(classes, Some(2))).unwrap();
        let plan = Plan::new(&trainer.network);
        plan.run(&twin, &image, &mut Workspace::default(), |_| ());
        identical(&twin, "a training step in lock-step");

        // Another opened device: what the first has is none of its own.
        let foreign = cuda();
        foreign.max_pool(&there(&twin), &mut Maps::zeros(Shape::new(1, 1, 1, 1)));
        assert!(foreign.check().unwrap_err().to_string().contains("another GPU"));
        let (image, labels) = batch(3, size, classes);
        let (device, mut on_cpu, mut on_device) = (cuda(), Trainer::new(start.clone()), Trainer::new(start));
        for step in 0..4 {
            let before = device.device().traffic();
            let o = options(classes, Some(2).filter(|_| step < 2));
            let expected = on_cpu.step(&cpu, &image, &labels, &o).unwrap();
            assert_eq!(on_device.step(&device, &image, &labels, &o).unwrap(), expected, "loss of step {step}");
            let now = device.device().traffic();
            if step == 3 {
                let maps: usize = on_cpu.network.shapes(image.shape())[1..].iter().map(|s| 4 * s.len()).sum();
                let (sent, received) = (now.sent - before.sent, now.received - before.received);
                println!("a step sends {sent} and receives {received} bytes; its maps have {maps}");
                assert!(received < maps as u64 / 4, "{received} bytes read");
            }
        }
        for (a, b) in on_cpu.network.parameters.iter().zip(&on_device.network.parameters) {
            assert!(a.values == b.values, "{}", a.name);
        }
        let plan = Plan::new(&on_device.network);
        let (mut here, mut there) = (Workspace::default(), Workspace::default());
        // Another shape between, so that memory is used for what it was not made for.
        for size in [size, 2 * size, size] {
            let (image, _) = batch(1, size, classes);
            let expected = plan.run(&cpu, &image, &mut here, |_| ());
            let found = plan.run(&device, &image, &mut there, |_| ());
            device.check().unwrap();
            assert!(found == expected, "logits of {size}");
            here.give(expected);
            there.give(found);
        }
    }
}
