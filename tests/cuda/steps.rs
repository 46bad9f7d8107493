//! Training steps that a device computes by itself, started kernel by kernel or recorded, against steps where every number
//! per channel is looked at and made on the CPU: the same bits.

use super::device::{batch, cuda, options};
use super::fast::{Checked, fast};
use tomolith::error::Result;
use tomolith::kernels::Kernels;
use tomolith::kernels::augment::{Drawn, Seen};
use tomolith::kernels::cuda::driver::Device;
use tomolith::kernels::cuda::fast::Fast;
use tomolith::kernels::maps::Maps;
use tomolith::nn::config::Config;
use tomolith::nn::infer::{Plan, Workspace};
use tomolith::nn::network::Network;
use tomolith::nn::train::{Options, Trainer};
use tomolith::num::lanes::Lane;
use tomolith::provenance::Digest;

/// All numbers that a training goes on with, and the gradients of its last step.
fn numbers(t: &Trainer) -> Vec<(String, Vec<Lane>)> {
    let named = |what: &str, all: Vec<Vec<Lane>>| -> Vec<(String, Vec<Lane>)> {
        let names = t.network.parameters.iter().map(|p| format!("{what} of {}", p.name));
        names.zip(all).collect()
    };
    let lists = [&t.moments[0], &t.moments[1], t.gradients()].map(|list| list.iter().map(|b| b.to_vec()).collect());
    let [m, v, g] = lists;
    let p = t.network.parameters.iter().map(|p| p.values.to_vec()).collect();
    [named("value", p), named("m", m), named("v", v), named("gradient", g)].concat()
}

fn bits(lanes: &[Lane]) -> Vec<u32> {
    lanes.iter().flat_map(|l| l.0).map(f32::to_bits).collect()
}

/// Another batch at every step.
fn of_step(step: usize, n: usize, size: usize, classes: usize) -> (Maps<f32>, Vec<i16>) {
    let (image, mut labels) = batch(n, size, classes);
    let values: Vec<f32> = image.to_nchw().iter().map(|v| v * (1.0 + step as f32 / 10.0)).collect();
    labels.rotate_left(step);
    (Maps::from_nchw(image.shape(), &values), labels)
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn fast_steps_are_those_that_are_looked_at() {
    for (config, size) in [(Config::monai(&[8, 24, 20], 5), 16), (Config::paper(&[8, 20], 3), 12)] {
        let classes = config.classes;
        let (looked, plain, recorded) = (Checked::unchecked(), fast().recording(false), fast());
        let mut trainers = [0; 3].map(|_| Trainer::new(Network::new(config.clone(), 1)));
        for step in 0..16 {
            // Smaller at the end of an epoch; then in leaves; and back.
            let (n, leaf) = match step {
                7 => (2, None),
                8..12 => (3, Some(2)),
                _ => (3, None),
            };
            let (image, mut labels) = of_step(step, n, size, classes);
            let o = Options { rate: 1e-3 / (1 + step) as f64, ..options(classes, leaf) };
            for t in &mut trainers {
                t.scale.exponent = 16;
                if step == 4 {
                    t.network.parameters[0].values[0].0[0] += 0.5;
                }
                if step == 6 || step == 11 {
                    // One pixel has all the weight: its gradient leaves fp16.
                    labels.fill(-1);
                    labels[100] = 1;
                    t.scale.exponent = 24;
                }
            }
            let before = recorded.device().traffic();
            // Labels from here, and in every other step from the device.
            let of_recorded = |t: &mut Trainer| {
                if step % 2 == 1 {
                    return t.step(&recorded, &image, &labels, &o).unwrap();
                }
                let seen: Vec<Seen> = (0..n).map(|patch| Seen { patch, drawn: Drawn::NOTHING }).collect();
                let labels = recorded.label(&labels.clone().into(), &seen, [size; 2], classes).unwrap();
                let loss = t.step_by(&recorded, &image, &labels, &o).unwrap();
                assert!(!labels.numbers().is_here(), "step {step}: labels are looked at");
                loss
            };
            let losses = [
                trainers[0].step(&looked, &image, &labels, &o).unwrap(),
                trainers[1].step(&plain, &image, &labels, &o).unwrap(),
                of_recorded(&mut trainers[2]),
            ];
            let now = recorded.device().traffic();
            assert!(losses[1] == losses[0] && losses[2] == losses[0], "step {step}: {losses:?}");
            if step == 3 {
                assert_eq!(now.launches - before.launches, 1, "a recorded step is started as one");
                // The dial: eight words, two flags a tensor, and little more; and the losses of rows.
                let words = 8 + 2 * trainers[2].network.parameters.len() + 2 + 2 * classes;
                assert_eq!(now.received - before.received, 4 * (words + n * size) as u64, "all that is looked at");
            }
            assert_eq!(trainers[2].scale.skipped, u32::from(step >= 6) + u32::from(step >= 11), "step {step}");
            let expected = numbers(&trainers[0]);
            for t in &trainers[1..] {
                assert_eq!((t.steps, t.scale), (trainers[0].steps, trainers[0].scale), "step {step}");
                assert_eq!(t.network.batches, trainers[0].network.batches);
                for ((name, a), (_, b)) in expected.iter().zip(numbers(t)) {
                    assert!(bits(a) == bits(&b), "step {step}: {name}");
                }
            }
            if step % 3 == 1 {
                // Somebody else takes memory that nobody uses, and writes there.
                let plan = Plan::new(&trainers[2].network);
                plan.run(&recorded, &image.clone(), &mut Workspace::default(), |_| ());
                recorded.check().unwrap();
            }
        }
        assert_eq!(plain.device().traffic().graphs, 0);
        assert_eq!(recorded.device().traffic().graphs, 9, "the third step of a shape is recorded");
        assert_eq!(recorded.device().notes(), [""; 0]);
        // What is not finite is named alike, changes nothing, and is no matter to the next step.
        let (image, labels) = of_step(1, 3, size, classes);
        let mut bad = image.to_nchw();
        bad[7] = f32::NAN;
        let bad = Maps::from_nchw(image.shape(), &bad);
        let o = options(classes, None);
        let errors = [
            trainers[0].step(&looked, &bad, &labels, &o).unwrap_err(),
            trainers[1].step(&plain, &bad.clone(), &labels, &o).unwrap_err(),
            trainers[2].step(&recorded, &bad.clone(), &labels, &o).unwrap_err(),
        ];
        assert!(errors.iter().all(|e| e.to_string() == errors[0].to_string()), "{errors:?}");
        assert!(errors[0].to_string().contains("is not finite"), "{}", errors[0]);
        let expected = trainers[0].step(&looked, &image, &labels, &o).unwrap();
        assert_eq!(trainers[1].step(&plain, &image, &labels, &o).unwrap(), expected);
        assert_eq!(trainers[2].step(&recorded, &image, &labels, &o).unwrap(), expected);
    }
}

/// The bits of a short training, whose steps are recorded from the third on.
pub fn recorded(fast: &Fast, steps: usize) -> Result<Vec<u32>> {
    let (mut trainer, mut losses) = (Trainer::new(Network::new(Config::monai(&[8, 20], 3), 1)), Vec::new());
    for step in 0..steps {
        let (image, labels) = of_step(step, 2, 8, 3);
        losses.push(trainer.step(fast, &image, &labels, &options(3, None))?.loss.to_bits());
    }
    let bits = numbers(&trainer).iter().flat_map(|(_, lanes)| bits(lanes)).collect::<Vec<_>>();
    fast.device().check()?;
    Ok(losses.into_iter().flat_map(|l| [l as u32, (l >> 32) as u32]).chain(bits).collect())
}

/// They and their recordings are compared by tests/cuda.rs between drivers.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn fast_recordings_say_their_bits() {
    let fast = fast();
    let bytes: Vec<u8> = recorded(&fast, 7).unwrap().into_iter().flat_map(u32::to_le_bytes).collect();
    println!("\ndigest {}", Digest::of(&bytes).hex());
    println!("graphs {}\nnotes {:?}", fast.device().traffic().graphs, fast.device().notes());
}

/// What a device cannot do while it records spoils the recording, and nothing else.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn fast_recordings_are_spoilt_by_copies_waiting_and_memory() {
    type Spoil = fn(&Device);
    let spoils: [(&str, Spoil); 4] = [
        ("a copy to the device", |d| drop(d.upload(&[1f32; 4]))),
        ("a copy from the device", |d| {
            d.memory::<f32>(4).read();
        }),
        ("found no memory", |d| drop(d.memory::<f32>(123_456))),
        // Refused by the mock itself; a driver may let the event be and be asked to wait.
        ("ending a recording: stream capture invalidated", |d| drop(d.time(|| ()))),
    ];
    for (why, work) in spoils {
        let device = cuda().device().clone();
        // Memory of the size that is asked for first.
        drop(device.upload(&[1f32; 4]));
        let mut calls = 0;
        let graph = device.record(|| {
            calls += 1;
            work(&device);
            Ok(())
        });
        let notes = device.notes();
        assert!(matches!(graph, Ok(None)) && calls == 1, "{why}: {notes:?}");
        let of_driver = why.starts_with("ending") && !device.found().name.contains("emulation");
        assert!(notes.len() == 1 && (of_driver || notes[0].contains(why)), "{why}: {notes:?}");
        device.check().unwrap();
        assert_eq!(device.upload(&[3f32; 4]).read(), [3.0; 4], "{why}: the device goes on");
    }
}
