//! Batches that a device makes of patches that it keeps: the definition, to the bit; trainings on them.

use super::device::{cuda, numbers};
use super::fast::fast;
use tomolith::error::Result;
use tomolith::kernels::augment::{Affine, Drawn, Seen};
use tomolith::kernels::buffer::Buffer;
use tomolith::kernels::cuda::Cuda;
use tomolith::kernels::maps::{Maps, Shape};
use tomolith::kernels::{Cpu, Kernels, Reference, Twin};
use tomolith::nn::config::Config;
use tomolith::nn::fit::{Course, Ended, Patches, Recipe, Turn, Watch};
use tomolith::nn::network::Network;
use tomolith::nn::schedule::Schedule;
use tomolith::nn::train::Options;
use tomolith::num::lanes::Isa;

/// All that may happen, and each by itself.
fn drawn() -> Vec<Drawn> {
    let none = Drawn::NOTHING;
    let affine = Affine { rotate: 0.04, shear: [0.2, -0.1], translate: [0.1, -0.15], scale: [1.2, 0.85] };
    let far = Affine { translate: [1.5, 0.0], ..Affine::IDENTITY };
    let pixels = 7 << 40 | 5;
    vec![
        none,
        Drawn { flip_rows: true, ..none },
        Drawn { flip_columns: true, clipped: true, ..none },
        Drawn { half_turn: true, flip_rows: true, ..none },
        Drawn { affine, flip_rows: true, ..none },
        Drawn { affine: far, ..none },
        Drawn { blur: 0.3, ..none },
        Drawn { blur: 5.0, ..none },
        Drawn { gain: 1.25, offset: -0.1, ..none },
        Drawn { rings: 0.1, centre: [0.3, 0.2], pixels, ..none },
        Drawn { rings: 0.1, centre: [1.8, 3.9], pixels, ..none },
        Drawn { noise: 0.2, pixels, ..none },
        Drawn {
            half_turn: true,
            affine,
            gain: 0.9,
            offset: 0.2,
            blur: 1.1,
            rings: 0.05,
            centre: [1.1, 1.0],
            noise: 0.1,
            pixels: pixels + 1,
            clipped: true,
            ..none
        },
    ]
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_batches_are_their_definition() {
    let twin = Twin::new(Reference, cuda());
    for (c, h, w) in [(1, 16, 16), (3, 13, 22), (2, 1, 9), (1, 7, 1)] {
        let mut grey = numbers(4 * c * h * w, 41);
        // Zeros keep their signs.
        grey.iter_mut().step_by(5).for_each(|v| *v = -0.0);
        let labels: Vec<i16> = grey.iter().take(4 * h * w).map(|v| ((v.abs() * 4.0) as i16).min(3) - 1).collect();
        let (patches, labels, drawn) = (Buffer::from(grey), Buffer::from(labels), drawn());
        let seen: Vec<Seen> =
            drawn.into_iter().enumerate().map(|(i, drawn)| Seen { patch: i * 7 % 4, drawn }).collect();
        // Together, and each by itself: a batch without a blur takes another way.
        for batch in std::iter::once(&seen[..]).chain(seen.chunks(1)) {
            let mut image = Maps::zeros(Shape::new(batch.len(), c, h, w));
            image.fill_by(|_, _, _, _| f32::NAN);
            twin.disturb(&patches, batch, &mut image);
            let made = twin.label(&labels, batch, [h, w], CLASSES).unwrap();
            assert_eq!(made.numbers().len(), batch.len() * h * w);
            twin.check().unwrap();
            assert_eq!(twin.record().difference, None, "{c} x {h} x {w}: {batch:?}");
        }
    }
    assert!(twin.record().numbers > 0);
    // Parts of an image that is there, and of one that is here.
    let (cuda, s) = (cuda(), Shape::new(4, 2, 5, 6));
    let patches = Buffer::from(numbers(s.len(), 42));
    let seen: Vec<Seen> = (0..4).map(|patch| Seen { patch, drawn: Drawn::NOTHING }).collect();
    let mut image = Maps::zeros(s);
    cuda.disturb(&patches, &seen, &mut image);
    let before = cuda.device().traffic().received;
    let part = cuda.samples(&image, 1..3);
    cuda.check().unwrap();
    assert_eq!(cuda.device().traffic().received, before, "nothing is looked at");
    let expected = Maps::<f32>::from_nchw(s, &patches).samples(1..3);
    assert!(part == expected && cuda.samples(&image.clone(), 1..3) == expected);
}

/// Labels are made where they stay, counted there, and a label that is no class is named as on the CPU.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_labels_stay_there() {
    let (cuda, size) = (cuda(), [9, 11]);
    let labels = |wrong: i16| -> Buffer<i16> {
        let numbers = (0..2 * 99).map(|i| if i == 150 { wrong } else { (i * 5 % 4) as i16 - 1 });
        numbers.collect::<Vec<_>>().into()
    };
    let seen: Vec<Seen> = drawn().into_iter().enumerate().map(|(i, drawn)| Seen { patch: i % 2, drawn }).collect();
    let (good, traffic) = (labels(0), cuda.device().traffic());
    let made = cuda.label(&good, &seen, size, 3).unwrap();
    assert!(made.numbers().on_device().is_some() && !made.numbers().is_here());
    let now = cuda.device().traffic();
    assert_eq!(now.received - traffic.received, 4 * 4 * seen.len() as u64, "counts alone come back");
    assert!(made == Reference.label(&good, &seen, size, 3).unwrap());
    for wrong in [3, -2, i16::MAX, i16::MIN] {
        let bad = labels(wrong);
        let errors = [cuda.label(&bad, &seen, size, 3), Reference.label(&bad, &seen, size, 3)].map(Result::unwrap_err);
        assert_eq!(errors[0].to_string(), errors[1].to_string());
        assert!(errors[0].to_string().contains(&format!("label {wrong} at pixel")), "{}", errors[0]);
    }
    // More classes than a block counts.
    let many = cuda.label(&labels(299), &seen, size, 300).unwrap();
    assert!(many == Reference.label(&labels(299), &seen, size, 300).unwrap() && many.classes() == 300);
}

/// Patches of noise with labels, disturbed; and many that nobody sees, 4 MB together.
struct Noise {
    grey: Buffer<f32>,
    labels: Buffer<i16>,
}

const SIZE: usize = 8;
const COUNT: usize = 9;
const CLASSES: usize = 3;

impl Noise {
    fn new() -> Noise {
        let mut grey = numbers(COUNT * SIZE * SIZE, 43);
        let labels: Vec<i16> = grey.iter().map(|v| ((v.abs() * 3.0) as i16).min(CLASSES as i16) - 1).collect();
        grey.resize(1_000_000, f32::NAN);
        Noise { grey: grey.into(), labels: labels.into() }
    }
}

impl Patches for Noise {
    fn len(&self) -> usize {
        COUNT
    }
    fn size(&self) -> [usize; 2] {
        [SIZE; 2]
    }
    fn grey(&self) -> &Buffer<f32> {
        &self.grey
    }
    fn seen(&self, patch: usize, turn: Turn) -> Seen {
        let all = drawn();
        Seen { patch, drawn: all[(patch + 3 * turn.epoch as usize + turn.place as usize) % all.len()] }
    }
    fn labels(&self) -> &Buffer<i16> {
        &self.labels
    }
}

/// Some epochs; the weights' bits, and bytes sent in the last epoch.
pub fn trained<K: Kernels>(kernels: &K, epochs: u32, sent: impl Fn() -> u64) -> Result<(Vec<u32>, u64)> {
    let options = Options { rate: 1e-3, dropout: 0.2, seed: 3, class_weights: vec![1.0; CLASSES], leaf: Some(2) };
    let schedule = Schedule::Constant;
    let recipe = Recipe { epochs, batch: 4, options, schedule, steps: None, patience: None, watch: Watch::Loss };
    let (patches, config) = (Noise::new(), Config::monai(&[8, 20], CLASSES));
    let mut course = Course::new(Network::new(config, 1), &recipe);
    let mut before = Vec::new();
    let ended = course.run(&recipe, &patches, Some(&patches), kernels, |course, _| {
        if course.epochs.len() + 1 == epochs as usize {
            before.push(sent());
        }
        Ok(true)
    });
    assert_eq!(ended?, Ended::Done);
    let numbers = course.trainer.network.parameters.iter().flat_map(|p| p.values.to_vec());
    let bits = numbers.flat_map(|l| l.0).map(f32::to_bits).collect();
    kernels.check()?;
    Ok((bits, sent() - before[0]))
}

/// The same weights whoever makes the batches, and where patches have room on a device they cross the bus once.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_trainings_on_kept_patches_are_those_of_the_cpu() {
    let of = |cuda: &Cuda| {
        let device = cuda.device().clone();
        trained(cuda, 3, || device.traffic().sent).unwrap()
    };
    let cpu = trained(&Cpu { isa: Isa::detect() }, 3, || 0).unwrap().0;
    let (bits, sent) = of(&cuda());
    assert!(bits == cpu, "other weights");
    println!("an epoch sends {sent} bytes");
    // Fast: recorded or not.
    let (recorded, plain) = (fast(), fast().recording(false));
    let [a, b] = [&recorded, &plain].map(|fast| {
        let device = fast.device().clone();
        trained(fast, 3, || device.traffic().sent).unwrap()
    });
    assert!(a.0 == b.0 && a.0 != cpu, "other weights");
    println!("a fast epoch sends {} bytes", a.1);
}
