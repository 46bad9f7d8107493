use super::*;
use crate::kernels::Cpu;
use crate::kernels::augment::Drawn;
use crate::nn::config::Config;
use crate::num::lanes::Isa;
use crate::testing::Scratch;

/// Squares of a grey of their own on noise; epochs see them shifted.
struct Squares {
    n: usize,
    grey: Buffer<f32>,
    labels: Buffer<i16>,
}

impl Squares {
    /// As many as are seen in 13 epochs.
    fn new(n: usize) -> Squares {
        let (mut all, mut labels) = (Vec::new(), Vec::new());
        for (epoch, i) in (0..13).flat_map(|epoch| (0..n).map(move |i| (epoch, i))) {
            let noise = Stream::new(i as u64, epoch);
            let corner = [4 + i % 5, 3 + (i / 5 + epoch as usize) % 6];
            for at in 0..256 {
                let inside = |v: usize, c: usize| (c..c + 6).contains(&v);
                let square = inside(at / 16, corner[0]) && inside(at % 16, corner[1]);
                labels.push(if at % 11 == 0 { -1 } else { i16::from(square) });
                all.push(f32::from(u8::from(square)) + 0.5 * noise.normal(at as u64) as f32);
            }
        }
        Squares { n, grey: all.into(), labels: labels.into() }
    }
}

impl Patches for Squares {
    fn len(&self) -> usize {
        self.n
    }
    fn size(&self) -> [usize; 2] {
        [16, 16]
    }
    fn grey(&self) -> &Buffer<f32> {
        &self.grey
    }
    fn seen(&self, i: usize, turn: Turn) -> Seen {
        Seen { patch: turn.epoch as usize * self.n + i, drawn: Drawn::NOTHING }
    }
    fn labels(&self) -> &Buffer<i16> {
        &self.labels
    }
}

/// Patches of one label everywhere, or none.
struct Silent(usize, Buffer<f32>, Buffer<i16>);

impl Patches for Silent {
    fn len(&self) -> usize {
        self.0
    }
    fn size(&self) -> [usize; 2] {
        [4, 4]
    }
    fn grey(&self) -> &Buffer<f32> {
        &self.1
    }
    fn seen(&self, patch: usize, _: Turn) -> Seen {
        Seen { patch, drawn: Drawn::NOTHING }
    }
    fn labels(&self) -> &Buffer<i16> {
        &self.2
    }
}

fn recipe(epochs: u32) -> Recipe {
    let options = Options { rate: 1e-2, dropout: 0.1, seed: 3, class_weights: vec![1.0; 2], leaf: Some(4) };
    let schedule = Schedule::Plateau;
    Recipe { epochs, batch: 8, options, schedule, steps: None, patience: None, watch: Watch::Loss }
}

fn start(recipe: &Recipe) -> Course {
    Course::new(Network::new(Config::monai(&[8, 12], 2), 1), recipe)
}

fn cpu() -> Cpu {
    Cpu { isa: Isa::detect() }
}

#[test]
fn squares_are_learnt_and_a_paused_training_ends_like_one_that_ran_through() {
    let (recipe, cpu, folder) = (recipe(13), cpu(), Scratch::new("fit"));
    let (training, validation) = (Squares::new(30), Squares::new(9));
    let mut through = start(&recipe);
    let ended = through.run(&recipe, &training, Some(&validation), &cpu, |_, _| Ok(true)).unwrap();
    assert_eq!((ended, through.trainer.steps), (Ended::Done, 13 * 4));
    let last = through.epochs.last().unwrap().validation.clone().unwrap();
    assert!(last.iou.iter().all(|v| v.unwrap() > 0.8) && last.accuracy > 0.95, "{last:?}");
    assert!(last.mean_iou() == last.iou[1]);
    // Paused after every third event, within epochs and between them, and taken up from the file.
    let path = folder.join("last.safetensors");
    let mut course = start(&recipe);
    let mut pauses = 0;
    loop {
        let mut events = 0;
        let step = |_: &Course, _: Event| {
            events += 1;
            Ok(events < 3)
        };
        if course.run(&recipe, &training, Some(&validation), &cpu, step).unwrap() != Ended::Paused {
            break;
        }
        course.write(&path, 3, "batch 8\nseed 3").unwrap();
        course = Course::read(&path, &recipe, "batch 8\nseed 3").unwrap();
        pauses += 1;
    }
    assert_eq!(pauses, 65 / 3);
    assert!(course.trainer.network.parameters == through.trainer.network.parameters);
    assert!(course.epochs == through.epochs && course.best() == through.best());
    let Err(error) = Course::read(&path, &recipe, "batch 9\nseed 3") else { panic!("another recipe is taken") };
    assert!(error.to_string().contains("was made with `batch 8`, not `batch 9`"), "{error}");
}

#[test]
fn the_schedule_watches_the_validation() {
    // A training without a labelled pixel stays where it is: the loss never falls.
    let silent = Silent(1, (0..16).map(|i| i as f32).collect::<Vec<_>>().into(), vec![-1; 16].into());
    let (cpu, recipe) = (cpu(), Recipe { patience: Some(13), ..recipe(40) });
    let mut course = start(&recipe);
    let ended = course.run(&recipe, &silent, Some(&silent), &cpu, |_, _| Ok(true)).unwrap();
    // The first epoch is better than nothing, the next thirteen are not; the rate falls after eleven of them.
    assert_eq!((ended, course.epochs.len(), course.best()), (Ended::Stayed, 14, Some(0)));
    let rates: Vec<f64> = course.epochs.iter().map(|e| e.rate).collect();
    assert!(rates[..12].iter().all(|&r| r == 1e-2) && (rates[12] / 2e-3 - 1.0).abs() < 1e-12, "{rates:?}");
    assert_eq!(course.epochs[0].validation.as_ref().unwrap().iou, [None, None]);
    let nothing = Silent(0, Buffer::default(), Buffer::default());
    let error = start(&recipe).run(&recipe, &nothing, None, &cpu, |_, _| Ok(true)).unwrap_err();
    assert!(error.to_string().contains("no patches"), "{error}");
}

#[test]
fn stopping_may_watch_the_accuracy() {
    // Nothing is wrong any more, and the loss goes on falling.
    let one = Silent(1, (0..16).map(|i| i as f32).collect::<Vec<_>>().into(), vec![1; 16].into());
    let ended = |watch: Watch| {
        let options = Options { dropout: 0.0, rate: 1e-3, ..recipe(0).options };
        let recipe = Recipe { patience: Some(3), watch, options, ..recipe(60) };
        let mut course = start(&recipe);
        let ended = course.run(&recipe, &one, Some(&one), &cpu(), |_, _| Ok(true)).unwrap();
        let right = course.epochs.iter().map(|e| e.errors()).collect::<Vec<_>>();
        (ended, course.epochs.len(), right)
    };
    let (why, epochs, wrong) = ended(Watch::Accuracy);
    assert_eq!(why, Ended::Stayed);
    // Three epochs behind the last that was better.
    let best = wrong.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(wrong.iter().position(|&w| w < best + 1e-3).unwrap() + 4, epochs, "{wrong:?}");
    assert!(ended(Watch::Loss).1 > epochs);
}

#[test]
fn a_budget_of_steps_ends_within_an_epoch_and_a_paused_training_ends_with_it() {
    let (cpu, folder) = (cpu(), Scratch::new("fit-steps"));
    let (training, validation) = (Squares::new(30), Squares::new(3));
    for (steps, epochs) in [(10, vec![4, 8, 10]), (8, vec![4, 8]), (1, vec![1])] {
        let recipe = Recipe { steps: Some(steps), ..recipe(13) };
        let mut through = start(&recipe);
        let ended = through.run(&recipe, &training, Some(&validation), &cpu, |_, _| Ok(true)).unwrap();
        assert_eq!((ended, through.trainer.steps), (Ended::Done, steps));
        // The epoch that was cut short is validated like the others.
        assert_eq!(through.epochs.iter().map(|e| e.steps).collect::<Vec<_>>(), epochs);
        assert!(through.epochs.iter().all(|e| e.validation.is_some()));
        // Paused after every event, so behind the last step, too.
        let path = folder.join("last.safetensors");
        let mut course = start(&recipe);
        while course.run(&recipe, &training, Some(&validation), &cpu, |_, _| Ok(false)).unwrap() == Ended::Paused {
            course.write(&path, 3, "").unwrap();
            course = Course::read(&path, &recipe, "").unwrap();
        }
        assert!(course.trainer.network.parameters == through.trainer.network.parameters);
        assert!(course.epochs == through.epochs && course.trainer.steps == steps);
    }
}

#[test]
fn orders_are_permutations() {
    let orders = [0, 1].map(|epoch| shuffled(100, 5, epoch));
    for order in &orders {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..100));
    }
    assert_ne!(orders[0], orders[1]);
}
