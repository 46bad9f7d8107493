//! The network as a whole: its numbers, its names, its gradient, its bits.

use super::config::{CHANNELS, Config};
use super::fast::{FastPlan, FastWorkspace};
use super::infer::{Plan, Workspace};
use super::network::Network;
use super::train::{Options, Trainer};
use crate::kernels::maps::{Maps, Shape};
use crate::kernels::{Cpu, Reference, Twin};
use crate::num::lanes::Isa;
use crate::num::philox::Stream;

fn image(n: usize, size: usize) -> Maps<f32> {
    let stream = Stream::new(3, 1);
    let shape = Shape::new(n, 1, size, size);
    Maps::from_nchw(shape, &(0..shape.len() as u64).map(|i| stream.uniform_f32(i)).collect::<Vec<_>>())
}

/// A label for each pixel: the image's brightness in steps, some without.
fn labels(image: &Maps<f32>, classes: usize) -> Vec<i16> {
    let of = |(i, v): (usize, f32)| if i % 7 == 0 { -1 } else { (v * classes as f32) as i16 };
    image.to_nchw().into_iter().enumerate().map(of).collect()
}

fn options(classes: usize, dropout: f64) -> Options {
    Options { rate: 1e-3, dropout, seed: 5, class_weights: vec![1.0; classes], leaf: None }
}

#[test]
fn the_variants_have_the_papers_numbers() {
    let monai = |k| Network::new(Config::monai(&CHANNELS, k), 0);
    for (classes, count) in [(5, 29_090_542), (2, 29_088_613), (3, 29_089_238), (10, 29_094_117)] {
        assert_eq!(monai(classes).parameter_count(), count, "{classes} classes");
    }
    let network = monai(5);
    assert_eq!(network.parameters.len() + network.batches.len(), 214);
    assert_eq!(network.config.name(), Some("monai"));
    let paper = Network::new(Config::paper(&CHANNELS, 5), 0);
    assert_eq!(paper.parameter_count(), 34_868_255);
    assert_eq!(paper.config.name(), Some("paper"));
}

/// Small networks of both variants, with channels that fill no group of sixteen.
fn small() -> [Config; 2] {
    [Config::monai(&[5, 20, 8], 3), Config::paper(&[5, 20, 8], 3)]
}

#[test]
fn names_are_those_of_monai() {
    let network = Network::new(Config::monai(&[8, 16, 16], 3), 0);
    let names: Vec<&str> = network.parameters.iter().map(|p| p.name.as_str()).collect();
    let unit = |name: &str| {
        let adn = ["N.weight", "N.bias", "N.running_mean", "N.running_var", "A.weight"];
        let mut all = vec![format!("{name}.conv.weight"), format!("{name}.conv.bias")];
        all.extend(adn.map(|a| format!("{name}.adn.{a}")));
        all
    };
    let residual = |name: &str| ["weight", "bias"].map(|w| format!("{name}.residual.{w}")).to_vec();
    let (inner, bottom) = ("model.1.submodule", "model.1.submodule.1.submodule");
    let mut expected = Vec::new();
    for level in ["model.0", &format!("{inner}.0")] {
        expected.extend([unit(&format!("{level}.conv.unit0")), unit(&format!("{level}.conv.unit1")), residual(level)]);
    }
    expected.extend(["0", "1"].map(|u| unit(&format!("{bottom}.conv.unit{u}"))));
    expected.extend([unit(&format!("{inner}.2.0")), unit(&format!("{inner}.2.1.conv.unit0"))]);
    expected.extend([unit("model.2.0"), unit("model.2.1.conv.unit0")[..2].to_vec()]);
    assert_eq!(names, expected.concat());
    assert_eq!(network.counters()[0].0, "model.0.conv.unit0.adn.N.num_batches_tracked");
}

#[test]
fn initial_weights_keep_pytorchs_bounds() {
    let network = Network::new(Config::monai(&[8, 16, 24], 3), 1);
    for p in &network.parameters {
        let torch = p.kind.torch();
        if torch.len() == 4 {
            let bound = 1.0 / ((torch[1] * torch[2] * torch[3]) as f32).sqrt();
            let most = p.get().iter().fold(0f32, |most, v| most.max(v.abs()));
            assert!(most <= bound && most > 0.9 * bound, "{}: {most} of {bound}", p.name);
        }
    }
    // The transposed convolution from 16 + 24 to 8 channels: its second axis has 8.
    let up = network.parameters.iter().find(|p| p.name == "model.1.submodule.2.0.conv.weight").unwrap();
    assert_eq!(up.kind.torch(), [40, 8, 3, 3]);
}

#[test]
fn sizes_that_cannot_be_halved_are_refused() {
    let config = Config::monai(&CHANNELS, 5);
    assert!(config.check_size(512, 64).is_ok());
    let error = config.check_size(500, 64).unwrap_err();
    assert_eq!(error.fault().exit_code(), 65);
    assert!(error.to_string().contains("448 or 512 rows and 64 columns"), "{error}");
    assert!(Config::variant("monia", &CHANNELS, 5).unwrap_err().to_string().contains("'monai'"));
}

#[test]
fn training_and_inference_are_their_definition_to_the_bit() {
    for config in small() {
        for isa in Isa::available() {
            let mut trainer = Trainer::new(Network::new(config.clone(), 2));
            let twin = Twin::new(Cpu { isa }, Reference);
            let x = image(2, 8);
            for _ in 0..2 {
                trainer.step(&twin, &x, &labels(&x, 3), &options(3, 0.2)).unwrap();
            }
            Plan::new(&trainer.network).run(&twin, &x, &mut Workspace::default(), |_| ());
            let log = twin.record();
            assert!(log.difference.is_none() && log.calls > 50, "{config:?} {}: {log:?}", isa.name());
        }
    }
}

#[test]
fn training_holds_what_was_reckoned() {
    for config in [Config::monai(&[16, 24, 40, 48], 5), Config::paper(&[16, 24, 40], 3)] {
        let network = Network::new(config.clone(), 1);
        let numbers = network.parameters.iter().map(|p| 16 * p.values.len() as u64).sum::<u64>();
        let most = config.numbers_at_most();
        assert!(numbers < most && most < 3 * numbers, "{config:?}: {numbers} {most}");
        let (isa, classes) = (Isa::detect(), config.classes);
        let x = image(2, 64);
        let reckoned = Trainer::memory(&network, x.shape(), None);
        let mut trainer = Trainer::new(network);
        // A smaller leaf takes the place of the larger.
        for images in [2, 2, 1, 2] {
            let x = x.samples(0..images);
            trainer.step(&Cpu { isa }, &x, &labels(&x, classes), &options(classes, 0.2)).unwrap();
            let held = trainer.held() + 4 * 4 * numbers;
            let part = if images == 2 { 3 } else { 6 };
            assert!(held <= reckoned && part * held > 2 * reckoned, "{held} {reckoned}");
        }
    }
}

/// Weights after some steps, from a state.
fn trained(mut trainer: Trainer, steps: u32, threads: usize, isa: Isa) -> Trainer {
    let x = image(3, 32);
    let work = || {
        for _ in 0..steps {
            trainer.step(&Cpu { isa }, &x, &labels(&x, 3), &options(3, 0.2)).unwrap();
        }
        trainer
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn twenty_steps_have_the_same_bits_on_any_threads_and_instruction_set() {
    for config in small() {
        let start = || Trainer::new(Network::new(config.clone(), 4));
        let expected = trained(start(), 20, 1, Isa::detect()).network.parameters;
        for (threads, isa) in
            [2, 3, 8].map(|t| (t, Isa::detect())).into_iter().chain(Isa::available().into_iter().map(|i| (2, i)))
        {
            assert!(trained(start(), 20, threads, isa).network.parameters == expected, "{threads} {}", isa.name());
        }
        // Stopped in between, and taken up from what a checkpoint holds.
        let stopped = trained(start(), 7, 2, Isa::detect());
        let mut resumed = Trainer::new(stopped.network);
        (resumed.moments, resumed.steps) = (stopped.moments, stopped.steps);
        assert!(trained(resumed, 13, 1, Isa::detect()).network.parameters == expected);
    }
}

#[test]
fn a_leaf_is_normalised_by_itself_and_counts_in_the_batchs_loss() {
    let isa = Isa::detect();
    for config in small() {
        let one = image(1, 16);
        let twice = Maps::from_nchw(Shape { n: 2, ..one.shape() }, &one.to_nchw().repeat(2));
        let step = |x: &Maps<f32>, labels: &[i16], leaf: Option<usize>, dropout: f64| {
            let mut trainer = Trainer::new(Network::new(config.clone(), 2));
            let options = Options { leaf, ..options(3, dropout) };
            let loss = trainer.step(&Cpu { isa }, x, labels, &options).unwrap();
            (loss, trainer)
        };
        let labels_one = labels(&one, 3);
        let labels_two = labels_one.repeat(2);
        // Two equal leaves give half the gradient each, to the bit: the halves of a power of two lose nothing.
        let (loss, alone) = step(&one, &labels_one, None, 0.0);
        let (both_loss, both) = step(&twice, &labels_two, Some(1), 0.0);
        assert!(alone.gradients() == both.gradients());
        assert_eq!((loss.loss, 2 * loss.correct), (both_loss.loss, both_loss.correct));
        assert_eq!((alone.network.batches[0], both.network.batches[0]), (1, 2));
        // Masks are those of the samples of the batch.
        let (_, dropped) = step(&twice, &labels_two, Some(1), 0.5);
        assert!(step(&one, &labels_one, None, 0.5).1.gradients() != dropped.gradients());
        // A leaf of the whole batch is the batch; leaves of different samples are not.
        let x = image(5, 16);
        let labels = labels(&x, 3);
        let whole = step(&x, &labels, None, 0.3).1;
        assert!(step(&x, &labels, Some(9), 0.3).1.network.parameters == whole.network.parameters);
        let (cut, trainer) = step(&x, &labels, Some(2), 0.3);
        assert!(trainer.network.parameters != whole.network.parameters);
        assert_eq!((cut.labelled, trainer.network.batches[0]), (labels.iter().filter(|&&t| t >= 0).count() as u64, 3));
    }
}

#[test]
fn the_whole_networks_gradient_is_a_difference_quotient() {
    for config in small() {
        let mut network = Network::new(config.clone(), 6);
        // Slopes near 1: the bend of the PReLU, where there is no derivative, is slight.
        network.parameters.iter_mut().filter(|p| p.name.ends_with("A.weight")).for_each(|p| p.set(&[0.9]));
        let (x, isa) = (image(2, 16), Isa::detect());
        let labels = labels(&x, 3);
        let step = |network: Network| {
            let mut trainer = Trainer::new(network);
            let loss = trainer.step(&Cpu { isa }, &x, &labels, &options(3, 0.0)).unwrap().loss;
            (loss, trainer)
        };
        let (_, trainer) = step(network.clone());
        for (p, parameter) in network.parameters.iter().enumerate().filter(|(_, p)| p.trained) {
            // All numbers of a parameter along the gradient: the quotient is the gradient's norm.
            let g: Vec<f64> = parameter.unpack(&trainer.gradients()[p]).iter().map(|&v| f64::from(v)).collect();
            let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt();
            if norm == 0.0 {
                continue;
            }
            let moved = |by: f64| {
                let mut network = network.clone();
                let values = parameter.get();
                let to: Vec<f32> = values.iter().zip(&g).map(|(&v, g)| (f64::from(v) + by * g / norm) as f32).collect();
                network.parameters[p].set(&to);
                step(network).0
            };
            // The loss is known to about 1e-7.
            let h = 1e-3;
            let quotient = (moved(h) - moved(-h)) / (2.0 * h);
            assert!((quotient - norm).abs() < 0.01 * norm + 2e-4, "{}: {quotient} {norm}", parameter.name);
        }
    }
}

#[test]
fn folding_changes_little_and_a_bias_before_a_norm_nothing() {
    // A network that has learnt, so that running statistics are not those of the beginning.
    for config in small() {
        let trained = trained(Trainer::new(Network::new(config.clone(), 4)), 3, 2, Isa::detect());
        let mut plan = Plan::new(&trained.network);
        let x = image(1, 32);
        let cpu = Cpu { isa: Isa::detect() };
        let mut workspace = Workspace::default();
        let first = plan.run(&cpu, &x, &mut workspace, |_| ());
        let again = plan.run(&cpu, &x, &mut workspace, |_| ());
        assert!(first == again);
        let mut moved = trained.network.clone();
        for i in 0..moved.steps.len() {
            if let super::network::Step::Convolution { filter, normalised: true, .. } = moved.steps[i] {
                let one: Vec<f32> = moved.parameters[filter + 1].get().iter().map(|b| b + 1.0).collect();
                moved.parameters[filter + 1].set(&one);
                let mean = moved.parameters.iter().skip(filter).position(|p| p.name.ends_with("running_mean")).unwrap()
                    + filter;
                let one: Vec<f32> = moved.parameters[mean].get().iter().map(|b| b + 1.0).collect();
                moved.parameters[mean].set(&one);
            }
        }
        plan = Plan::new(&moved);
        let same = plan.run(&cpu, &x, &mut workspace, |_| ()).to_nchw();
        let most = first.to_nchw().iter().fold(0f32, |most, v| most.max(v.abs()));
        assert!(first.to_nchw().iter().zip(&same).all(|(a, b)| (a - b).abs() <= 1e-5 * most));
    }
}

#[test]
fn dropout_in_inference_keeps_the_running_statistics() {
    for config in small() {
        let trained = trained(Trainer::new(Network::new(config.clone(), 4)), 5, 2, Isa::detect());
        let (isa, x) = (Isa::detect(), image(1, 32));
        let run = |plan: &Plan, x: &Maps<f32>| plan.run(&Cpu { isa }, x, &mut Workspace::default(), |_| ()).to_nchw();
        let folded = run(&Plan::new(&trained.network), &x);
        let mut plan = Plan::with_dropout(&trained.network, false);
        // Without a mask the same numbers: a slope of its own changes no bit.
        assert!(run(&plan, &x) == folded, "{config:?}");
        let mut passes = Vec::new();
        for pass in 0..40 {
            plan.drop(0.2, 7, pass);
            passes.push(run(&plan, &x));
        }
        plan.drop(0.2, 7, 3);
        assert!(run(&plan, &x) == passes[3] && passes[3] != passes[4]);
        // An image alone or beside another: the mask of its place is the same, and no statistics are of the batch.
        let pair = Maps::from_nchw(Shape { n: 2, ..x.shape() }, &[x.to_nchw(), vec![0.5; 32 * 32]].concat());
        assert!(run(&plan, &pair)[..passes[3].len()] == passes[3]);
        // What is dropped is made up for by what stays: the mean over passes is near, a pass is not.
        let rms = |a: &dyn Fn(usize) -> f32| {
            (folded.iter().enumerate().fold(0.0, |s, (i, v)| s + f64::from(a(i) - v).powi(2)) / folded.len() as f64)
                .sqrt()
        };
        let mean = rms(&|i| passes.iter().map(|p| p[i]).fold(0.0, |s, v| s + v) / passes.len() as f32);
        let one = rms(&|i| passes[0][i]);
        assert!(one > 0.0 && mean < 0.6 * one, "{config:?}: {mean} {one}");
    }
}

/// Logits of BatchNorm by the images' own moments are those of which training takes its loss, with and without dropout.
#[test]
fn moments_of_the_images_themselves_are_those_of_training() {
    for config in small() {
        let (isa, x) = (Isa::detect(), image(2, 32));
        let trained = trained(Trainer::new(Network::new(config.clone(), 4)), 5, 2, isa);
        let mut plan = Plan::with_dropout(&trained.network, true);
        let labels = labels(&x, 3);
        for p in [0.0, 0.2] {
            let (mut trainer, options) = (Trainer::new(trained.network.clone()), options(3, p));
            plan.drop(p, options.seed, trainer.steps);
            let logits = plan.run(&Cpu { isa }, &x, &mut Workspace::default(), |_| ()).to_nchw();
            let (mut sum, mut n) = (0.0, 0.0);
            for (i, &label) in labels.iter().enumerate().filter(|(_, l)| **l >= 0) {
                let (image, pixel) = (i / 1024, i % 1024);
                let of = |k: usize| f64::from(logits[(image * 3 + k) * 1024 + pixel]);
                sum += (0..3).map(|k| of(k).exp()).sum::<f64>().ln() - of(label as usize);
                n += 1.0;
            }
            let loss = trainer.step(&Cpu { isa }, &x, &labels, &options).unwrap().loss;
            assert!((loss - sum / n).abs() < 1e-5 * loss, "{config:?}: {loss}, {}", sum / n);
        }
        // An image beside another is seen otherwise than alone.
        plan.drop(0.0, 0, 0);
        let run = |x: &Maps<f32>| plan.run(&Cpu { isa }, x, &mut Workspace::default(), |_| ()).to_nchw();
        assert!(run(&x)[..3 * 1024] != run(&x.samples(0..1)));
    }
}

#[test]
fn fast_inference_is_near_the_definition_and_the_same_on_any_threads() {
    for config in small() {
        let trained = trained(Trainer::new(Network::new(config.clone(), 4)), 5, 2, Isa::detect());
        let (plan, isa, x) = (Plan::new(&trained.network), Isa::detect(), image(2, 32));
        let exact = plan.run(&Cpu { isa }, &x, &mut Workspace::default(), |_| ()).to_nchw();
        let most = exact.iter().fold(0f32, |most, v| most.max(v.abs()));
        let fast = FastPlan::new(plan);
        let mut memory = FastWorkspace::default();
        let found = fast.run(isa, &x, &mut memory, |_| ());
        let far = exact.iter().zip(found.to_nchw()).fold(0f32, |far, (a, b)| far.max((a - b).abs()));
        // Some ten layers, each rounded to 8 bits.
        assert!(far < 0.03 * most && far > 1e-4 * most, "{config:?}: {far} of {most}");
        let again = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(|| {
            let first = fast.run(isa, &x, &mut memory, |_| ());
            memory.give(first);
            fast.run(isa, &x, &mut memory, |_| ())
        });
        assert!(again == found);
    }
}

#[test]
fn what_is_not_finite_or_no_class_stops_the_training_and_changes_nothing() {
    let mut trainer = Trainer::new(Network::new(small()[0].clone(), 1));
    let (x, isa) = (image(1, 8), Isa::detect());
    let cpu = Cpu { isa };
    let before = trainer.network.parameters.clone();
    let mut bad = labels(&x, 3);
    bad[5] = 3;
    let error = trainer.step(&cpu, &x, &bad, &options(3, 0.0)).unwrap_err();
    assert!(error.to_string().contains("label 3 at pixel 5"), "{error}");
    let mut nan = x.to_nchw();
    nan[9] = f32::NAN;
    let nan = Maps::from_nchw(x.shape(), &nan);
    let error = trainer.step(&cpu, &nan, &labels(&x, 3), &options(3, 0.0)).unwrap_err();
    assert!(error.to_string().contains("model.0.conv.unit0.conv.weight is not finite"), "{error}");
    assert!(trainer.network.parameters == before && trainer.steps == 0);
    let loss = trainer.step(&cpu, &x, &[-1; 64], &options(3, 0.0)).unwrap();
    assert_eq!((loss.loss, loss.labelled), (0.0, 0));
}
