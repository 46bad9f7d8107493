//! A whole network in f64, and how far fp16 is from it: the variance of what its roundings make of every number.
//!
//! A number y that is stored as fp16 is off by up to half a unit of its last place, as often by one as by another part of
//! it: σ² = ulp(y)²/12. So are weights. What is added in f32 is off by less than its bound, of which it takes the square. A
//! convolution makes Σ w²·σ²(x) + x²·σ²(w) of them, a slope its square, a sum a sum: roundings know nothing of each other.
//! Where the same rounding comes by two paths (shortcuts, and weights that all pixels share) the sum is larger or smaller;
//! that is what stands between [`WIDTH`] σ and the four of ten thousand normal numbers.

use super::device::batch;
use super::fast::{ADDING, fast, inputs};
use half::f16;
use tomolith::kernels::maps::{Maps, Shape};
use tomolith::kernels::{Cpu, Kernels};
use tomolith::nn::config::Config;
use tomolith::nn::infer::{Plan, What, Workspace};
use tomolith::nn::network::Network;
use tomolith::num::lanes::{Isa, Lane};

/// Standard deviations that a number may be off.
const WIDTH: f64 = 8.0;

/// A number, and the variance of its error.
type Number = (f64, f64);

/// Variance of the rounding of a number to fp16, whose last place is never below 2⁻²⁴.
fn rounding(v: f64) -> f64 {
    let exponent = f64::from(v.abs().max(f64::from(f16::MIN_POSITIVE.to_f32_const())).log2().floor() as i32);
    let ulp = (exponent - 10.0).exp2();
    ulp * ulp / 12.0
}

/// The logits of a network, NCHW.
fn logits(network: &Network, plan: &Plan, image: &Maps<f32>) -> Vec<Number> {
    let shapes = network.shapes(image.shape());
    let mut values: Vec<Vec<Number>> = vec![Vec::new(); shapes.len()];
    values[0] = image.to_nchw().iter().map(|&v| (f64::from(v), 0.0)).collect();
    for (k, call) in plan.calls.iter().enumerate() {
        let (out, last) = (shapes[call.to], k + 1 == plan.calls.len());
        let mut made = vec![(0.0, 0.0); out.len()];
        let at = |s: Shape, n: usize, c: usize, y: usize, x: usize| ((n * s.c + c) * s.h + y) * s.w + x;
        let prelu = |(v, variance): Number, slope: f64| {
            if v < 0.0 { (v * slope, variance * slope * slope) } else { (v, variance) }
        };
        let add = |number: &mut Number, other: Number| *number = (number.0 + other.0, number.1 + other.1);
        match &call.what {
            What::Convolution { from, weights, bias, stencils, slope, add: residual, .. } => {
                // The image has one channel in a place, and those next to it and the logits keep f32.
                let place = if from[0] == 0 { 1 } else { 16 };
                let keeps = last || from[0] == 0;
                let slots: usize = from.iter().map(|&v| shapes[v].c.next_multiple_of(place)).sum();
                let per_group = stencils.iter().map(|s| s.taps.len()).sum::<usize>() * slots;
                let input = shapes[from[0]];
                for s in stencils {
                    for (n, co) in (0..out.n).flat_map(|n| (0..out.c).map(move |co| (n, co))) {
                        for y in (s.phase[0]..out.h).step_by(s.step) {
                            for x in (s.phase[1]..out.w).step_by(s.step) {
                                let mut sum = (bias.get(co / 16).map_or(0.0, |b| f64::from(b.0[co % 16])), 0.0);
                                let (mut size, mut terms) = (f64::abs(sum.0), 1.0);
                                for (weight, [row, column]) in inputs(s, input, [y, x]) {
                                    let mut first = co / 16 * per_group + weight * slots;
                                    for &v in from {
                                        let c = shapes[v].c;
                                        for (ci, w) in weights[first..first + c].iter().enumerate() {
                                            let w = f64::from(w.0[co % 16]);
                                            let (value, variance) = values[v][at(shapes[v], n, ci, row, column)];
                                            let of_weight = if keeps { 0.0 } else { value * value * rounding(w) };
                                            add(&mut sum, (w * value, w * w * variance + of_weight));
                                            size += (w * value).abs();
                                            terms += 1.0;
                                        }
                                        first += c.next_multiple_of(place);
                                    }
                                }
                                sum.1 += (terms * ADDING * size).powi(2);
                                let mut sum = slope.map_or(sum, |slope| prelu(sum, f64::from(slope)));
                                if let Some(v) = residual {
                                    add(&mut sum, values[*v][at(out, n, co, y, x)]);
                                }
                                made[at(out, n, co, y, x)] = sum;
                            }
                        }
                    }
                }
            }
            What::Activation { from, numbers, add: residual, .. } => {
                for (i, number) in made.iter_mut().enumerate() {
                    let c = i / (out.h * out.w) % out.c;
                    let of = |lanes: &[Lane]| f64::from(lanes[c / 16].0[c % 16]);
                    let (v, variance) = values[*from][i];
                    let (scale, shift) = (of(&numbers.scale), of(&numbers.shift));
                    *number = prelu((v * scale + shift, variance * scale * scale), f64::from(numbers.slope));
                    if let Some(v) = residual {
                        add(number, values[*v][i]);
                    }
                }
            }
            What::MaxPool { from } => {
                let input = shapes[*from];
                for (i, number) in made.iter_mut().enumerate() {
                    let (plane, y, x) = (i / (out.h * out.w), i / out.w % out.h, i % out.w);
                    let four = [0, 1, input.w, input.w + 1];
                    let corner = (plane * input.h + 2 * y) * input.w + 2 * x;
                    let of = four.map(|o| values[*from][corner + o]);
                    *number = of.into_iter().fold(of[0], |a, b| if b.0 > a.0 { b } else { a });
                }
            }
        }
        if !last {
            made.iter_mut().for_each(|number| number.1 += rounding(number.0));
        }
        values[call.to] = made;
    }
    values.swap_remove(plan.calls.last().unwrap().to)
}

/// Strict logits beside it tell that it is the network; fast ones are as far from it as their roundings say, no farther and
/// no nearer.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn whole_networks_are_within_their_bound_of_f64() {
    let fast = fast();
    // The last is as deep as the one that is used.
    let deep = Config::monai(&[8, 8, 16, 16, 24, 24, 24], 5);
    for (config, size) in [(Config::monai(&[8, 24, 20], 5), 16), (Config::paper(&[8, 20, 33], 3), 16), (deep, 64)] {
        let network = Network::new(config.clone(), 3);
        let (plan, (image, _)) = (Plan::new(&network), batch(1, size, config.classes));
        let exact = logits(&network, &plan, &image);
        let strict = plan.run(&Cpu { isa: Isa::detect() }, &image, &mut Workspace::default(), |_| ()).to_nchw();
        let found = plan.run(&fast, &image, &mut Workspace::default(), |_| ()).to_nchw();
        fast.check().unwrap();
        let largest = exact.iter().fold(0f64, |m, (v, _)| m.max(v.abs()));
        let far = strict.iter().zip(&exact).fold(0f64, |m, (a, (b, _))| m.max((f64::from(*a) - b).abs()));
        assert!(far <= 2e-6 * largest, "strict: {far:e} of {largest}");
        let parts: Vec<f64> =
            found.iter().zip(&exact).map(|(a, (b, variance))| (f64::from(*a) - b).abs() / variance.sqrt()).collect();
        let worst = parts.iter().copied().fold(0.0, f64::max);
        let mean = (parts.iter().map(|p| p * p).sum::<f64>() / parts.len() as f64).sqrt();
        let sigma = exact.iter().map(|(_, variance)| variance.sqrt()).fold(0.0, f64::max);
        println!(
            "{} logits of up to {largest:.3}, sigma up to {:.1e} of it: off by {mean:.2} sigma in the mean square, {worst:.2} at most; strict {:.1e}",
            found.len(),
            sigma / largest,
            far / largest
        );
        assert!(worst <= WIDTH, "{worst} standard deviations off");
        assert!((0.7..1.5).contains(&mean), "{mean}: the bound is not what the roundings make");
    }
}
