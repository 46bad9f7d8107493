//! Every kernel against its definition, bit by bit, and against mathematics.

use super::*;
use crate::num::philox::Stream;
use buffer::View;
use conv::Add;
use dropout::Dropout;
use filter::FilterShape;
use labels::Labels;
use maps::Shape;
use stencil::Window;

/// Normal numbers, the same ones for a purpose.
fn numbers(count: usize, purpose: u32) -> Vec<f32> {
    let stream = Stream::new(11, purpose);
    (0..count as u64).map(|i| stream.normal(i) as f32).collect()
}

fn maps<P: Pixel>(shape: Shape, purpose: u32) -> Maps<P> {
    Maps::from_nchw(shape, &numbers(shape.len(), purpose))
}

/// Maps whose inside is NaN: what is not overwritten shows.
fn poisoned(shape: Shape) -> Maps<Lane> {
    let mut maps = Maps::zeros(shape);
    maps.fill_by(|_, _, _, _| f32::NAN);
    maps
}

fn twins() -> Vec<Twin<Cpu, Reference>> {
    Isa::available().into_iter().map(|isa| Twin::new(Cpu { isa }, Reference)).collect()
}

fn identical(twins: &[Twin<Cpu, Reference>]) {
    for (twin, isa) in twins.iter().zip(Isa::available()) {
        let log = twin.record();
        assert!(log.numbers > 0);
        assert_eq!(log.difference, None, "{}", isa.name());
    }
}

const WINDOWS: [Window; 6] = [
    Window::convolution(3, 1),
    Window::convolution(3, 2),
    Window::convolution(1, 1),
    Window::convolution(1, 2),
    Window::transposed(3),
    Window::transposed(2),
];

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// y, dx and dw of one convolution by all twins; the adjoint identities ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ = ⟨w, dw⟩.
fn convolution<P: Pixel>(
    twins: &[Twin<Cpu, Reference>],
    window: Window,
    inputs: &[usize],
    outputs: usize,
    size: [usize; 2],
) {
    let shapes: Vec<Shape> = inputs.iter().map(|&c| Shape::new(2, c, size[0], size[1])).collect();
    let sources: Vec<Maps<P>> = shapes.iter().enumerate().map(|(i, &s)| maps(s, i as u32)).collect();
    let sources: Vec<&Maps<P>> = sources.iter().collect();
    let filter = FilterShape::new::<P>(window, inputs, outputs);
    let torch = numbers(filter.torch().iter().product(), 7);
    let weights = filter.pack(&torch);
    assert_eq!(filter.unpack(&weights), torch);
    let out = Shape::new(2, outputs, window.output(size[0]), window.output(size[1]));
    let bias: Vec<Lane> =
        maps::<Lane>(Shape::new(1, outputs, 1, 1), 8).data().iter().copied().skip(4).step_by(9).collect();
    let dy = maps::<Lane>(out, 9);
    for twin in twins {
        for (slope, add, bias) in
            [(None, Add::Nothing, &[][..]), (Some(0.25), Add::Maps(&dy), &bias), (None, Add::Output, &[])]
        {
            let mut y = if matches!(add, Add::Output) { dy.clone() } else { poisoned(out) };
            let stencils = window.forward();
            let call = Convolution {
                sources: &sources,
                stencils: &stencils,
                weights: (&weights).into(),
                bias: bias.into(),
                slope,
                add,
            };
            twin.convolve(&call, &mut y);
            if matches!(add, Add::Nothing) {
                let mut dw = Buffer::from(vec![Lane([f32::NAN; 16]); filter.len()]);
                twin.weight_gradient(&WeightGradient { sources: &sources, dy: &dy, filter: &filter }, &mut dw);
                let (forward, by_weight) = (dot(&y.to_nchw(), &dy.to_nchw()), dot(&torch, &filter.unpack(&dw)));
                let bound = 1e-5 * dot(&y.to_nchw(), &y.to_nchw()).sqrt() * dot(&dy.to_nchw(), &dy.to_nchw()).sqrt();
                assert!((forward - by_weight).abs() < bound, "{window:?} {inputs:?} {outputs}: {forward} {by_weight}");
            }
        }
    }
    if P::CHANNELS == 1 {
        return;
    }
    for (twin, isa) in twins.iter().zip(Isa::available()) {
        let mut swapped = Buffer::default();
        filter.swapped(isa, &weights, &mut swapped);
        let stencils = window.backward();
        let (mut first, mut backward, mut forward) = (0, 0.0, 0.0);
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
            let mut dx = poisoned(x.shape());
            twin.convolve(&call, &mut dx);
            backward += dot(&dx.to_nchw(), &x.to_nchw());
            first += lanes;
        }
        let mut y = poisoned(out);
        let stencils = window.forward();
        let call = Convolution {
            sources: &sources,
            stencils: &stencils,
            weights: (&weights).into(),
            bias: View::nothing(),
            slope: None,
            add: Add::Nothing,
        };
        twin.convolve(&call, &mut y);
        forward += dot(&y.to_nchw(), &dy.to_nchw());
        let bound = 1e-5 * dot(&y.to_nchw(), &y.to_nchw()).sqrt() * dot(&dy.to_nchw(), &dy.to_nchw()).sqrt();
        assert!((forward - backward).abs() < bound, "{window:?} {inputs:?} {outputs} {size:?}: {forward} {backward}");
    }
}

#[test]
fn convolutions_are_their_definition_and_adjoint() {
    let twins = twins();
    for window in WINDOWS {
        convolution::<Lane>(&twins, window, &[5], 3, [1, 1]);
        convolution::<Lane>(&twins, window, &[16], 48, [6, 22]);
        convolution::<Lane>(&twins, window, &[24, 8], 17, [4, 36]);
        if !window.transposed {
            convolution::<f32>(&twins, window, &[1], 33, [6, 34]);
        }
    }
    // Odd sizes, where they can be: with stride 2 the transposed convolution gives the even ones.
    convolution::<Lane>(&twins, Window::convolution(3, 1), &[7], 20, [5, 13]);
    convolution::<Lane>(&twins, Window::convolution(3, 2), &[7], 20, [5, 13]);
    // More than one chunk of pixels, and more than one row of chunks.
    convolution::<Lane>(&twins, Window::convolution(3, 1), &[1], 2, [20, 256]);
    // Few outputs, whose lanes are pixels: every number of them, several tasks.
    (1..=9).for_each(|outputs| convolution::<Lane>(&twins, Window::convolution(3, 1), &[5], outputs, [3, 35]));
    convolution::<Lane>(&twins, Window::transposed(3), &[18], 5, [40, 130]);
    convolution::<Lane>(&twins, Window::convolution(1, 1), &[3, 17], 4, [70, 130]);
    // Many tasks: each adds its own chunks.
    convolution::<Lane>(&twins, Window::convolution(1, 1), &[128], 256, [2, 2]);
    identical(&twins);
}

#[test]
fn a_convolution_is_the_textbooks() {
    // 1 2 / 3 4 with a kernel whose weights are 1 … 9, worked by hand.
    let x = Maps::<Lane>::from_nchw(Shape::new(1, 1, 2, 2), &[1.0, 2.0, 3.0, 4.0]);
    let of = |window: Window, out: Shape| {
        let filter = FilterShape::new::<Lane>(window, &[1], 1);
        let weights = filter.pack(&(1..=window.k * window.k).map(|v| v as f32).collect::<Vec<_>>());
        let stencils = window.forward();
        let call = Convolution {
            sources: &[&x],
            stencils: &stencils,
            weights: (&weights).into(),
            bias: View::nothing(),
            slope: None,
            add: Add::Nothing,
        };
        let mut y = poisoned(out);
        call.reference(&mut y);
        y.to_nchw()
    };
    assert_eq!(of(Window::convolution(3, 1), Shape::new(1, 1, 2, 2)), [77.0, 67.0, 47.0, 37.0]);
    assert_eq!(of(Window::convolution(3, 2), Shape::new(1, 1, 1, 1)), [77.0]);
    let rows = [[5.0, 14.0, 10.0, 12.0], [14.0, 36.0, 24.0, 30.0], [15.0, 34.0, 20.0, 24.0], [24.0, 55.0, 32.0, 36.0]];
    assert_eq!(of(Window::transposed(3), Shape::new(1, 1, 4, 4)), rows.concat());
    assert_eq!(of(Window::transposed(2), Shape::new(1, 1, 4, 4))[..8], [1.0, 2.0, 2.0, 4.0, 3.0, 4.0, 6.0, 8.0]);
}

fn activation(shape: Shape, dropout: Option<Dropout>, x: &Maps<Lane>) -> (Activation, Vec<Moments>, [Vec<Lane>; 2]) {
    let channels = |purpose| batchnorm::lanes_of(numbers(shape.c, purpose).into_iter().map(f64::from));
    let (gamma, beta) = (channels(21), channels(22));
    let moments = Reference.moments(x);
    (Activation::of_moments(&moments, &gamma, &beta, 0.25, dropout), moments, [gamma, beta])
}

#[test]
fn passes_over_pixels_are_their_definition() {
    let twins = twins();
    for shape in [Shape::new(2, 5, 18, 9), Shape::new(1, 33, 1, 1), Shape::new(3, 16, 8, 40)] {
        let (x, dz, r) = (maps::<Lane>(shape, 1), maps::<Lane>(shape, 2), maps::<Lane>(shape, 3));
        for twin in &twins {
            twin.sums(&x);
            twin.moments(&x);
            for dropout in [None, Dropout::new(0.3, 5, 6, 7)] {
                let (a, moments, _) = activation(shape, dropout, &x);
                for residual in [None, Some(&r)] {
                    twin.activate(&a, &x, residual, &mut poisoned(shape));
                }
                let sums = twin.gradient_sums(&a, &x, &dz);
                twin.activation_gradient(&a, &Backward::new(&a, &sums, &moments), &x, &dz, &mut poisoned(shape));
            }
            let double = Shape { h: 2 * shape.h, w: 2 * shape.w, ..shape };
            let wide = maps::<Lane>(double, 4);
            twin.max_pool(&wide, &mut poisoned(shape));
            twin.max_pool_gradient(&wide, &dz, &mut poisoned(double));
            let (mut p, mut m, mut v) = (x.buffer().clone(), dz.buffer().clone(), x.buffer().clone());
            v.iter_mut().for_each(|v| v.0 = v.0.map(f32::abs));
            twin.adam(Adam::new(3e-4, 2), &mut p, r.buffer(), &mut m, &mut v);
            let labels: Vec<i16> =
                (0..shape.n * shape.h * shape.w).map(|i| (i * 7 % (shape.c + 1)) as i16 - 1).collect();
            let weights: Vec<f32> = (0..shape.c).map(|c| 0.5 + c as f32).collect();
            let labels = Labels::new(labels, shape.h * shape.w, shape.c).unwrap();
            twin.cross_entropy(&x, labels.all(), &weights, labels.weigh(&weights), &mut poisoned(shape));
        }
    }
    identical(&twins);
}

#[test]
fn moments_are_exact_far_from_zero() {
    let shape = Shape::new(2, 1, 20, 30);
    let values: Vec<f32> = numbers(shape.len(), 5).iter().map(|v| 1000.0 + v).collect();
    let m = Reference.moments(&Maps::from_nchw(shape, &values))[0];
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / m.n;
    let m2: f64 = values.iter().map(|&v| (f64::from(v) - mean) * (f64::from(v) - mean)).sum();
    assert!((m.mean - mean).abs() < 1e-4 && (m.m2 / m2 - 1.0).abs() < 1e-5, "{m:?} {mean} {m2}");
    assert_eq!(m.unbiased() * (m.n - 1.0), m.variance() * m.n);
}

/// Loss of an activation with batch statistics in f64: Σ z·t.
fn loss_of(
    x: &[f64],
    shape: Shape,
    gamma: &[Lane],
    beta: &[Lane],
    slope: f64,
    dropout: Option<Dropout>,
    t: &[f32],
) -> f64 {
    let pixels = shape.h * shape.w;
    let index = |n: usize, c: usize, p: usize| (n * shape.c + c) * pixels + p;
    let mut loss = 0.0;
    for c in 0..shape.c {
        let all = || (0..shape.n).flat_map(|n| (0..pixels).map(move |p| (n, p)));
        let count = (shape.n * pixels) as f64;
        let mean = all().map(|(n, p)| x[index(n, c, p)]).sum::<f64>() / count;
        let var = all().map(|(n, p)| (x[index(n, c, p)] - mean).powi(2)).sum::<f64>() / count;
        for (n, p) in all() {
            let factor = dropout.map_or(1.0, |d| d.factor(shape, n, c, p / shape.w, p % shape.w));
            let normal = (x[index(n, c, p)] - mean) / (var + batchnorm::EPSILON).sqrt();
            let of = |v: &[Lane]| f64::from(v[c / 16].0[c % 16]);
            let u = (normal * of(gamma) + of(beta)) * f64::from(factor);
            loss += if u < 0.0 { slope * u } else { u } * f64::from(t[index(n, c, p)]);
        }
    }
    loss
}

#[test]
fn gradients_of_the_activation_are_central_differences() {
    let shape = Shape::new(2, 3, 4, 5);
    for dropout in [None, Dropout::new(0.2, 1, 2, 3)] {
        let x = maps::<Lane>(shape, 1);
        let dz = maps::<Lane>(shape, 2);
        let (a, moments, [gamma, beta]) = activation(shape, dropout, &x);
        let sums = Reference.gradient_sums(&a, &x, &dz);
        let mut dx = poisoned(shape);
        Reference.activation_gradient(&a, &Backward::new(&a, &sums, &moments), &x, &dz, &mut dx);
        let (values, t): (Vec<f64>, _) = (x.to_nchw().iter().map(|&v| f64::from(v)).collect(), dz.to_nchw());
        let step = 1e-6;
        let at = |i: usize, d: f64| {
            let mut moved = values.clone();
            moved[i] += d;
            loss_of(&moved, shape, &gamma, &beta, 0.25, dropout, &t)
        };
        for (i, dx) in dx.to_nchw().into_iter().enumerate() {
            let difference = (at(i, step) - at(i, -step)) / (2.0 * step);
            assert!((f64::from(dx) - difference).abs() < 1e-5, "{i}: {dx} {difference}");
        }
        let slope = |d: f64| loss_of(&values, shape, &gamma, &beta, 0.25 + d, dropout, &t);
        let by_slope: f64 = sums.iter().map(|s| s[2]).sum();
        assert!((by_slope - (slope(step) - slope(-step)) / (2.0 * step)).abs() < 1e-5);
        for c in 0..shape.c {
            let moved = |which: usize, d: f32| {
                let mut both = [gamma.clone(), beta.clone()];
                both[which][0].0[c] += d;
                loss_of(&values, shape, &both[0], &both[1], 0.25, dropout, &t)
            };
            // f32 parameters: a step that they can take, and the quotient by the step that they took.
            let d = 1.0 / 4096.0;
            let by = |which| (moved(which, d) - moved(which, -d)) / (2.0 * f64::from(d));
            let gradient = sums[c][1] / (moments[c].variance() + batchnorm::EPSILON).sqrt();
            assert!((gradient - by(0)).abs() < 1e-3 && (sums[c][0] - by(1)).abs() < 1e-3);
        }
    }
}

#[test]
fn cross_entropy_is_its_formula() {
    let shape = Shape::new(1, 3, 1, 4);
    let logits = maps::<Lane>(shape, 1);
    let (labels, weights) = ([2i16, -1, 0, 1], [1.0, 2.0, 0.5]);
    let loss = |l: &[f64]| {
        let mut sum = (0.0, 0.0);
        for (x, &t) in labels.iter().enumerate().filter(|(_, t)| **t >= 0) {
            let z: f64 = (0..3).map(|k| l[k * 4 + x].exp()).sum();
            let w = f64::from(weights[t as usize]);
            sum = (sum.0 + w * (z.ln() - l[t as usize * 4 + x]), sum.1 + w);
        }
        sum.0 / sum.1
    };
    let mut dl = poisoned(shape);
    let counted = Labels::new(labels.to_vec(), 4, 3).unwrap();
    let found = Reference.cross_entropy(&logits, counted.all(), &weights, counted.weigh(&weights), &mut dl);
    let values: Vec<f64> = logits.to_nchw().iter().map(|&v| f64::from(v)).collect();
    assert!((found.loss - loss(&values)).abs() < 1e-6 && found.labelled == 3);
    for (i, d) in dl.to_nchw().into_iter().enumerate() {
        let at = |step: f64| {
            let mut moved = values.clone();
            moved[i] += step;
            loss(&moved)
        };
        assert!((f64::from(d) - (at(1e-6) - at(-1e-6)) / 2e-6).abs() < 1e-6);
    }
    // Nothing labelled: nothing learnt, and no NaN.
    let none = Labels::new(vec![-1; 4], 4, 3).unwrap();
    let none = Reference.cross_entropy(&logits, none.all(), &weights, none.weigh(&weights), &mut dl);
    assert_eq!((none.loss, none.labelled, none.correct), (0.0, 0, 0));
    assert!(dl.data().iter().all(|l| l.0 == [0.0; 16]));
}

#[test]
fn threads_change_no_bit() {
    let run = |threads: usize| {
        let work = || {
            let kernels = Cpu { isa: Isa::detect() };
            let x = maps::<Lane>(Shape::new(3, 32, 24, 40), 1);
            let filter = FilterShape::new::<Lane>(Window::convolution(3, 1), &[32], 40);
            let weights = filter.pack(&numbers(filter.torch().iter().product(), 2));
            let stencils = filter.window.forward();
            let call = Convolution {
                sources: &[&x],
                stencils: &stencils,
                weights: (&weights).into(),
                bias: View::nothing(),
                slope: None,
                add: Add::Nothing,
            };
            let mut y = poisoned(Shape::new(3, 40, 24, 40));
            kernels.convolve(&call, &mut y);
            let mut dw = Buffer::zeros(filter.len());
            kernels.weight_gradient(&WeightGradient { sources: &[&x], dy: &y, filter: &filter }, &mut dw);
            (y, dw, kernels.moments(&x))
        };
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

/// A sum of the outputs with weights of their own: its derivatives are the gradients that go back.
fn weighted(maps: &Maps<Lane>, by: &Maps<Lane>) -> f64 {
    dot(&maps.to_nchw(), &by.to_nchw())
}

#[test]
fn gradients_of_convolution_and_pooling_are_central_differences() {
    let shape = Shape::new(2, 3, 4, 6);
    let x = maps::<Lane>(shape, 40);
    // Linear in x and in w: any step is exact, and a step of one loses least.
    for window in WINDOWS {
        let filter = FilterShape::new::<Lane>(window, &[3], 4);
        let weights = numbers(filter.torch().iter().product(), 41);
        let out = Shape::new(2, 4, window.output(4), window.output(6));
        let (dy, stencils, packed) = (maps::<Lane>(out, 42), window.forward(), filter.pack(&weights));
        let value = |x: &Maps<Lane>, packed: &[Lane]| {
            let call = Convolution {
                sources: &[x],
                stencils: &stencils,
                weights: packed.into(),
                bias: View::nothing(),
                slope: None,
                add: Add::Nothing,
            };
            let mut y = poisoned(out);
            call.reference(&mut y);
            weighted(&y, &dy)
        };
        let mut dw = Buffer::zeros(filter.len());
        Reference.weight_gradient(&WeightGradient { sources: &[&x], dy: &dy, filter: &filter }, &mut dw);
        let dw = filter.unpack(&dw);
        let mut swapped = Buffer::default();
        filter.swapped(Isa::scalar(), &packed, &mut swapped);
        let backward = window.backward();
        let call = Convolution {
            sources: &[&dy],
            stencils: &backward,
            weights: (&swapped).into(),
            bias: View::nothing(),
            slope: None,
            add: Add::Nothing,
        };
        let mut dx = poisoned(shape);
        call.reference(&mut dx);
        let (dx, of_x) = (dx.to_nchw(), x.to_nchw());
        for i in (0..weights.len()).step_by(5) {
            let moved = |by: f32| {
                let mut weights = weights.clone();
                weights[i] += by;
                value(&x, &filter.pack(&weights))
            };
            let quotient = (moved(1.0) - moved(-1.0)) / 2.0;
            assert!((quotient - f64::from(dw[i])).abs() < 2e-5, "{window:?} w {i}: {quotient} {}", dw[i]);
        }
        for i in (0..of_x.len()).step_by(7) {
            let moved = |by: f32| {
                let mut of_x = of_x.clone();
                of_x[i] += by;
                value(&Maps::from_nchw(shape, &of_x), &packed)
            };
            let quotient = (moved(1.0) - moved(-1.0)) / 2.0;
            assert!((quotient - f64::from(dx[i])).abs() < 2e-5, "{window:?} x {i}: {quotient} {}", dx[i]);
        }
    }
    // Pooling: a step that changes no maximum.
    let out = Shape::new(2, 3, 2, 3);
    let dy = maps::<Lane>(out, 43);
    let value = |x: &Maps<Lane>| {
        let mut y = poisoned(out);
        Reference.max_pool(x, &mut y);
        weighted(&y, &dy)
    };
    let mut dx = poisoned(shape);
    Reference.max_pool_gradient(&x, &dy, &mut dx);
    let (dx, of_x) = (dx.to_nchw(), x.to_nchw());
    for i in 0..of_x.len() {
        let moved = |by: f32| {
            let mut of_x = of_x.clone();
            of_x[i] += by;
            value(&Maps::from_nchw(shape, &of_x))
        };
        let quotient = (moved(1e-3) - moved(-1e-3)) / 2e-3;
        assert!((quotient - f64::from(dx[i])).abs() < 1e-3, "{i}: {quotient} {}", dx[i]);
    }
}
