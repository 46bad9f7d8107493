//! `tomolith net train`: a training on images and labels, that can be stopped and taken up again.

use super::steps::Log;
use super::{BEGIN, CHANNELS, CLASSES, DROPOUT, FAST, FOLDER, RATE, RESUME, SEED, VARIANT, curve};
use crate::cli::device::{DEVICE, Device, GRAPHS};
use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::own::own;
use crate::cli::progress::Progress;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use crate::kernels::augment::{Drawn, Seen};
use crate::kernels::buffer::Buffer;
use crate::kernels::maps::Shape;
use crate::nn::fit::{Course, Ended, Epoch, Event, Patches, Recipe, Turn, Watch};
use crate::nn::network::Network;
use crate::nn::schedule::Schedule;
use crate::nn::train::{Options, Trainer};
use crate::nn::weights::StateDict;
use crate::nn::{state, weights};
use crate::os::interrupted;
use crate::provenance::Digest;
use crate::volume::manifest::{RUN_SEAL, seal};
use crate::volume::writer::unix_seconds;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The command.
pub const COMMAND: Command = Command {
    path: &["net", "train"],
    about: "Train the network on images and their labels",
    details: "Every epoch goes once through the images in an order of its own, in batches; then the network is tried on the \
              validation images. DIR holds best.safetensors (the epoch of least validation loss; of training loss where \
              nothing validates), last.safetensors (everything that going on takes), epochs.csv, curve.png and steps.csv: \
              step, epoch, learning rate, loss and labelled pixels of every batch, with --fast the scale of the loss, too; and \
              training.run.json: what may differ between two trainings with the same weights, as the device. \
              After Ctrl-C or a crash, --resume goes on from last.safetensors and ends with the same bits as if nothing had happened; \
              --epochs may be raised then.",
    examples: "  tomolith net train --input x.npy --labels y.npy --validation-input vx.npy --validation-labels vy.npy \\\n    \
               --channels 16,32,64 --epochs 40 -o run\n  tomolith net train … -o run --resume",
    groups: &[
        (
            "Data",
            &[
                Opt::new("input", Takes::Value("FILE.npy,…"), "Images, f32 of shape (N, 1, H, W) or (N, H, W)"),
                Opt::new("labels", Takes::Value("FILE.npy,…"), "Labels, whole numbers of shape (N, H, W)"),
                Opt::new("validation-input", Takes::Value("FILE.npy,…"), "Images to validate with"),
                Opt::new("validation-labels", Takes::Value("FILE.npy,…"), "Their labels"),
                Opt::new("unlabelled", Takes::Number("N"), "The label that says: no label").default("-1"),
                FOLDER,
                RESUME,
            ],
        ),
        ("Network", &[BEGIN, VARIANT, CHANNELS, CLASSES, SEED]),
        ("Training", TRAINING),
    ],
    run,
};

/// What a training does, beside its data.
pub const TRAINING: &[Opt] = &[
    Opt::new("epochs", Takes::Number("N"), "Epochs, at most; without end where --steps says how long").default("100"),
    Opt::new("steps", Takes::Number("N"), "Steps, at most: the epoch under way ends with the last [default: no limit]"),
    Opt::new("batch", Takes::Number("N"), "Images of a batch").default("16"),
    Opt::new("leaf", Takes::Number("N"), "Images that BatchNorm takes together [default: the batch]"),
    RATE,
    DROPOUT,
    Opt::new("class-weights", Takes::Value("W0,W1,…"), "Weight of each class in the loss [default: 1]"),
    Opt::new(
        "schedule",
        Takes::Choice(&["plateau", "cosine", "constant"]),
        "Learning rate: a fifth after 10 epochs that are no better, down along a cosine, or always the same",
    )
    .default("plateau"),
    Opt::new(
        "patience",
        Takes::Number("N"),
        "Stop after N epochs in a row that are no better by 0.001 [default: never]",
    ),
    Opt::new(
        "patience-of",
        Takes::Choice(&["loss", "accuracy"]),
        "What is no better then, of the validation; the paper stopped after 10 of no better accuracy",
    )
    .default("loss"),
    Opt::new(
        "keep",
        Takes::Choice(&["loss", "accuracy", "last"]),
        "best.safetensors is the epoch of least loss; of greatest accuracy, or the last: what the authors kept and used",
    )
    .default("loss"),
    FAST,
    DEVICE,
    GRAPHS,
    Opt::new("stop-after", Takes::Number("TIME"), "Save and stop after this time, such as 50min; --resume goes on"),
];

/// Images and labels in memory.
struct Stack {
    /// Of all images.
    shape: Shape,
    grey: Buffer<f32>,
    labels: Buffer<i16>,
}

impl Patches for Stack {
    fn len(&self) -> usize {
        self.shape.n
    }
    fn size(&self) -> [usize; 2] {
        [self.shape.h, self.shape.w]
    }
    fn channels(&self) -> usize {
        self.shape.c
    }
    fn grey(&self) -> &Buffer<f32> {
        &self.grey
    }
    fn seen(&self, patch: usize, _: Turn) -> Seen {
        Seen { patch, drawn: Drawn::NOTHING }
    }
    fn labels(&self) -> &Buffer<i16> {
        &self.labels
    }
}

impl Stack {
    /// Images and labels of two lists of files, or nothing where both are not given.
    fn open(s: &Settings, input: &str, labels: &str, network: &Network, about: &mut String) -> Result<Option<Stack>> {
        let (Some(images), Some(of_images)) = (s.text(input)?, s.text(labels)?) else {
            let one = if s.text(input)?.is_some() { labels } else { input };
            let both = s.text(input)?.is_none() && s.text(labels)?.is_none();
            return if both { Ok(None) } else { Err(Error::usage(format!("--{one} is missing"))) };
        };
        let (images, of_images): (Vec<_>, Vec<_>) = (images.split(',').collect(), of_images.split(',').collect());
        if images.len() != of_images.len() {
            let what = format!("--{input} names {} files, --{labels} {}", images.len(), of_images.len());
            return Err(Error::usage(what).help("give each file of images its file of labels"));
        }
        let unlabelled = s.parsed("unlabelled", int16)?;
        let (mut grey_values, mut all_labels, mut shape) = (Vec::new(), Vec::new(), None::<Shape>);
        for (image_path, label_path) in images.iter().map(Path::new).zip(of_images.iter().map(Path::new)) {
            let image = super::images(image_path, network.config.inputs)?;
            let s = image.shape();
            network.config.check_size(s.h, s.w).map_err(|e| e.at(image_path))?;
            if let Some(first) = shape
                && (first.h, first.w) != (s.h, s.w)
            {
                let what = format!("images of {} x {}, those before are {} x {}", s.h, s.w, first.h, first.w);
                return Err(Error::data(what).help("cut all patches to one size").at(image_path));
            }
            let labels = super::labels(label_path, s, unlabelled)?;
            let classes = network.config.classes;
            if let Some(at) = labels.iter().position(|&t| t < -1 || t as i64 >= classes as i64) {
                let what = format!(
                    "label {} in image {}: there are classes 0 to {}",
                    labels[at],
                    at / (s.h * s.w),
                    classes - 1
                );
                return Err(Error::data(what)
                    .help("give --classes, or --unlabelled for the label of pixels without one")
                    .at(label_path));
            }
            let of_image = Digest::of(&image.data().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
            let of_labels = Digest::of(&labels.iter().flat_map(|t| t.to_le_bytes()).collect::<Vec<u8>>());
            let _ = writeln!(about, "{input} {} {}", of_image.hex(), of_labels.hex());
            shape = Some(Shape { n: s.n + shape.map_or(0, |first| first.n), ..s });
            grey_values.extend(image.to_nchw());
            all_labels.extend(labels);
        }
        if all_labels.iter().all(|&t| t < 0) {
            return Err(Error::data(format!("no pixel of --{labels} has a label")).help("see --unlabelled"));
        }
        let shape = shape.unwrap_or(Shape::new(0, 1, 0, 0));
        Ok(Some(Stack { shape, grey: grey_values.into(), labels: all_labels.into() }))
    }
}

/// A number from 1 on that is counted in 32 bits.
fn whole(text: &str) -> Result<u32> {
    let n = values::count(text)?;
    u32::try_from(n).map_err(|_| Error::usage(format!("{n} is more than {}", u32::MAX)))
}

fn int16(text: &str) -> Result<i16> {
    text.parse().map_err(|_| Error::usage(format!("'{text}' is no whole number of 16 bits")))
}

fn class_weights(text: &str) -> Result<Vec<f32>> {
    let weights = values::numbers(text)?;
    match weights.iter().find(|w| !(0.0..=1e6).contains(*w)) {
        Some(bad) => Err(Error::usage(format!("the class weight {bad}")).help("weights are from 0 to a million")),
        None if weights.iter().all(|&w| w == 0.0) => {
            Err(Error::usage("all class weights are 0").help("nothing would be learnt"))
        }
        None => Ok(weights.iter().map(|&w| w as f32).collect()),
    }
}

/// The recipe of [`TRAINING`], and what a training that goes on must have in common with its beginning: all but the
/// number of epochs.
pub fn recipe(s: &Settings, network: &Network, seed: u64) -> Result<(Recipe, String)> {
    let classes = network.config.classes;
    let class_weights = s.parse("class-weights", class_weights)?.unwrap_or(vec![1.0; classes]);
    if class_weights.len() != classes {
        return Err(Error::usage(format!("{} class weights for {classes} classes", class_weights.len())));
    }
    let steps = s.parse("steps", whole)?;
    let watch = if s.text("patience-of")? == Some("accuracy") { Watch::Accuracy } else { Watch::Loss };
    if watch != Watch::Loss && s.text("patience")?.is_none() {
        return Err(Error::usage("--patience-of without --patience").help("say after how many epochs: --patience 10"));
    }
    let recipe = Recipe {
        // A budget of steps is one by itself.
        epochs: if steps.is_some() && !s.is_given("epochs")? { u32::MAX } else { s.parsed("epochs", whole)? },
        batch: s.parsed("batch", values::count)?,
        options: Options {
            rate: s.parsed("lr", values::positive)?,
            dropout: s.parsed("dropout", super::probability)?,
            seed,
            class_weights,
            leaf: s.parse("leaf", values::count)?,
        },
        schedule: match s.text("schedule")? {
            Some("cosine") => Schedule::Cosine,
            Some("constant") => Schedule::Constant,
            _ => Schedule::Plateau,
        },
        steps,
        patience: s.parse("patience", whole)?,
        watch,
    };
    if recipe.schedule == Schedule::Cosine && steps.is_some() {
        return Err(Error::usage("--steps with --schedule cosine: the rate goes down from epoch to epoch to the last")
            .help("say how many: --epochs"));
    }
    let o = &recipe.options;
    let mut about = format!(
        "network {}\nbatch {}\nleaf {:?}\nlr {}\ndropout {}\nseed {}\nclass-weights {:?}\nplateau {}\npatience {:?}\n",
        super::digest(network).hex(),
        recipe.batch,
        o.leaf,
        o.rate,
        o.dropout,
        o.seed,
        o.class_weights,
        recipe.schedule == Schedule::Plateau,
        recipe.patience
    );
    if recipe.schedule == Schedule::Cosine {
        // The way down depends on where it ends.
        about += &format!("cosine {}\n", recipe.epochs);
    }
    if recipe.watch == Watch::Accuracy {
        about += "patience of accuracy\n";
    }
    if let Some(steps) = recipe.steps {
        // An epoch that was cut short is done: more steps would not go on with it.
        about += &format!("steps {steps}\n");
    }
    if let Some(keep) = s.text("keep")?.filter(|keep| *keep != "loss") {
        about += &format!("keep {keep}\n");
    }
    if s.is_on("fast")? {
        about += "fast\n";
    }
    Ok((recipe, about))
}

/// The network that a training begins with: `--weights`, or random ones of so many classes, else of `--classes`, for
/// images of so many channels.
pub fn begin(s: &Settings, classes: Option<usize>, inputs: usize, seed: u64) -> Result<Network> {
    match s.path("weights")? {
        Some(path) => {
            let given = ["variant", "channels", "classes"]
                .into_iter()
                .take(if classes.is_some() { 2 } else { 3 })
                .find(|name| s.is_given(name).unwrap_or(false));
            if let Some(name) = given {
                return Err(
                    Error::usage(format!("--{name} with --weights")).help("the weights say what the network is")
                );
            }
            Ok(super::open(&path)?.0.network)
        }
        None => {
            let config = super::config(s, classes)?.with_inputs(inputs);
            config.check()?;
            Ok(Network::new(config, seed))
        }
    }
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let seed = s.parsed("seed", values::seed)?;
    let network = begin(s, None, 1, seed)?;
    let (recipe, mut about) = recipe(s, &network, seed)?;
    let training = Stack::open(s, "input", "labels", &network, &mut about)?
        .ok_or_else(|| Error::usage("--input is missing").help("name the images to learn from"))?;
    let validation = Stack::open(s, "validation-input", "validation-labels", &network, &mut about)?;
    let (folder, resume) = (s.required_path("output")?, s.is_on("resume")?);
    let validation = validation.as_ref().map(|v| v as &dyn Patches);
    let device = Device::open_to_train(c, s.is_on("fast")?)?;
    train(c, &device, &folder, resume, network, &recipe, &training, validation, &about, &BTreeMap::new()).map(|_| ())
}

/// The epoch that is kept: of least loss, greatest accuracy, or the last.
fn kept(course: &Course, keep: &str) -> Option<usize> {
    let accuracy = |e: &Epoch| e.validation.as_ref().map_or(e.accuracy, |v| v.accuracy);
    match keep {
        "last" => course.epochs.len().checked_sub(1),
        "accuracy" => (0..course.epochs.len())
            .reduce(|best, e| if accuracy(&course.epochs[e]) > accuracy(&course.epochs[best]) { e } else { best }),
        _ => course.best(),
    }
}

/// Seconds of `50min`, `1.5h`, `90s`.
fn seconds(text: &str) -> Result<f64> {
    let units = [("min", 60.0), ("h", 3600.0), ("s", 1.0)];
    let found = units.into_iter().find_map(|(unit, s)| Some((text.trim().strip_suffix(unit)?, s)));
    let Some((number, unit)) = found else {
        return Err(Error::usage(format!("'{text}' is no time")).help("write 90s, 50min or 1.5h"));
    };
    Ok(values::positive(number.trim())? * unit)
}

/// The record of the sessions of a training: of the last one program, command line, device and times as in every
/// `NAME.run.json`, and those before it.
struct Sessions {
    path: PathBuf,
    earlier: Vec<Json>,
    first_step: u32,
    started: u64,
}

impl Sessions {
    /// A session begins after so many steps; to resume, those before it stay.
    fn begin(path: PathBuf, resume: bool, first_step: u32) -> Sessions {
        let before = if resume { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let mut earlier = Vec::new();
        // Trainings were begun that have no record; none goes on with other bits for want of one.
        if let Ok(Json::Obj(mut last)) = Json::parse(&before) {
            last.remove(RUN_SEAL);
            if let Some(Json::Arr(list)) = last.remove("earlier") {
                earlier = list;
            }
            earlier.push(Json::Obj(last));
        }
        Sessions { path, earlier, first_step, started: unix_seconds() }
    }
    fn write(&self, c: &Context) -> Result<()> {
        let writing = Json::obj([
            ("resumed_at_step", self.first_step.into()),
            ("started_unix_s", self.started.into()),
            ("finished_unix_s", unix_seconds().into()),
        ]);
        let members = [
            ("tool", Json::obj([("name", "tomolith".into()), ("version", env!("CARGO_PKG_VERSION").into())])),
            ("run", c.run_record()),
            ("writing", writing),
            ("earlier", Json::Arr(self.earlier.clone())),
        ];
        write_text(&self.path, &seal(members.map(|(k, v)| (k.to_string(), v)).into(), RUN_SEAL), true)
    }
}

/// Trains in a folder, from the beginning or, to resume, from where it stopped; `metadata` goes with the weights. The
/// epoch that was kept, and its number.
pub fn train(
    c: &Context,
    device: &Device,
    folder: &Path,
    resume: bool,
    network: Network,
    recipe: &Recipe,
    training: &dyn Patches,
    validation: Option<&dyn Patches>,
    about: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<Option<(usize, Epoch)>> {
    let s = &c.settings;
    let keep = s.text("keep")?.unwrap_or("loss").to_string();
    let limit = s.parse("stop-after", seconds)?;
    if let Some(v) = validation
        && v.size() != training.size()
    {
        return Err(Error::data(format!(
            "validation images are {:?}, training images {:?}",
            v.size(),
            training.size()
        )));
    }
    // A cosine watches nothing, and who keeps the last epoch does not choose one.
    if validation.is_none() && (recipe.schedule != Schedule::Cosine || keep != "last" || recipe.patience.is_some()) {
        c.talk.warn(
            "nothing validates: the training itself decides, which gets better also when nothing general is learnt",
        );
    }
    let fast = s.is_on("fast")?;
    let (mut metadata, mut about) = (metadata.clone(), about.to_string());
    if fast {
        metadata.extend([("arithmetic".into(), "fp16".into()), ("device".into(), device.model())]);
        let _ = write!(about, "\ndevice {}", device.model());
    }
    let about = &about;
    let classes = network.config.classes;
    let [h, w] = training.size();
    let shape = Shape::new(recipe.batch.min(training.len()), 1, h, w);
    super::check_memory(shape, || Trainer::memory(&network, shape, recipe.options.leaf))?;
    let [last, best, table, picture, log] =
        ["last.safetensors", "best.safetensors", "epochs.csv", "curve.png", "steps.csv"].map(|name| folder.join(name));
    std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
    let _lock = own(folder, "training")?;
    let mut course = if resume {
        Course::read(&last, recipe, about)?
    } else if last.exists() {
        return Err(Error::cannot_create("there is a training already")
            .help("go on with --resume, or name another folder")
            .at(&last));
    } else {
        Course::new(network, recipe)
    };
    let steps = Course::steps_of_an_epoch(training.len(), recipe);
    let most = u64::from(recipe.steps.unwrap_or(u32::MAX));
    let total = (steps as u64).saturating_mul(u64::from(recipe.epochs)).min(most);
    let epochs = total.div_ceil((steps as u64).max(1));
    let progress = Progress::new(&c.talk, "train", "steps");
    let (start, before) = (Instant::now(), course.trainer.steps);
    let sessions = Sessions::begin(folder.join("training.run.json"), resume, before);
    let mut silent = false;
    let log = Log::open(&log, &course.trainer, fast)?;
    if log.lost > 0 {
        c.talk.warn(format!(
            "steps.csv says nothing of {} steps before this one: the training goes on without",
            log.lost
        ));
    }
    let log = RefCell::new(log);
    let event = |course: &Course, event: Event| -> Result<bool> {
        match event {
            Event::Step { rate, loss, labelled } => {
                silent |= loss == 0.0;
                log.borrow_mut().add(course, rate, loss, labelled);
                progress.update(u64::from(course.trainer.steps), total, 0);
            }
            Event::Epoch(epoch, _) => {
                // The state that goes on is written last: whatever is missing of the rest is made again.
                if kept(course, &keep) == course.epochs.len().checked_sub(1) {
                    weights::write_safetensors(
                        &best,
                        &StateDict { metadata: metadata.clone(), ..state::save(&course.trainer.network, "") },
                        true,
                    )?;
                }
                write_text(&table, &table_of(&course.epochs, classes), true)?;
                curve::write(&picture, &course.epochs, true)?;
                log.borrow().write()?;
                sessions.write(c)?;
                course.write(&last, recipe.options.seed, about)?;
                let done = (course.trainer.steps - before) as f64 / steps as f64 * training.len() as f64;
                let rate = done / start.elapsed().as_secs_f64().max(1e-9);
                c.talk.note(format!(
                    "epoch {} of {epochs}: {}, {rate:.1} patches/s",
                    course.epochs.len(),
                    text_of(epoch)
                ));
            }
        }
        Ok(!interrupted() && limit.is_none_or(|limit| start.elapsed().as_secs_f64() < limit))
    };
    let ended = course.run(recipe, training, validation, device, event);
    progress.finish();
    device.tell(c);
    if silent {
        c.talk.warn("some batches had no label: they taught nothing");
    }
    let ended = ended.map_err(|e| {
        // What came before a failure is what somebody looks for; that it was not written is the lesser one.
        let _ = log.borrow().write();
        if last.exists() { e.help(format!("the last whole epoch is in {}", last.display())) } else { e }
    })?;
    if ended == Ended::Paused {
        log.borrow().write()?;
        sessions.write(c)?;
        course.write(&last, recipe.options.seed, about)?;
        let why = if interrupted() { "interrupted" } else { "the time of --stop-after is over" };
        let what = format!("{why}; step {} is kept", course.trainer.steps);
        return Err(Error::again(what).help("the same command with --resume goes on").at(folder));
    }
    let n = kept(&course, &keep).unwrap_or(0);
    let why = match (ended, recipe.watch) {
        (Ended::Stayed, Watch::Loss) => ", the loss stays",
        (Ended::Stayed, Watch::Accuracy) => ", the accuracy stays",
        _ => "",
    };
    c.out.line(format!("epochs {}, {} steps{why}", course.epochs.len(), course.trainer.steps))?;
    if let Some(epoch) = course.epochs.get(n) {
        c.out.line(format!("best epoch {}: {}", n + 1, text_of(epoch)))?;
    }
    c.out.line(format!("weights {}", super::digest(&course.trainer.network).hex()))?;
    Ok(course.epochs.get(n).map(|epoch| (n + 1, epoch.clone())))
}

fn table_of(epochs: &[Epoch], classes: usize) -> String {
    let lines = epochs.iter().enumerate().map(|(i, e)| e.line(i + 1) + "\n");
    Epoch::header(classes) + "\n" + &lines.collect::<String>()
}

fn text_of(e: &Epoch) -> String {
    let mut text = format!("rate {:.1e}, loss {:.4}, accuracy {:.4}", e.rate, e.loss, e.accuracy);
    if let Some(v) = &e.validation {
        let iou: Vec<String> = v.iou.iter().map(|v| v.map_or("-".into(), |v| format!("{v:.3}"))).collect();
        let _ = write!(text, "; validation loss {:.4}, accuracy {:.4}, IoU {}", v.loss, v.accuracy, iou.join(" "));
    }
    text
}
