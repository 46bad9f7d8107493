//! `tomolith seg predict`: a network over a volume.

use super::cost::{Asked, parts, peak};
use super::patches::planes;
use crate::cli::device::{DEVICE, Device};
use crate::cli::labels::{CLASSES, OVERWRITE, classes, written};
use crate::cli::net::FAST;
use crate::cli::net::probability;
use crate::cli::options::{Opt, Takes};
use crate::cli::output::bytes_for_people;
use crate::cli::passes::{made, remove};
use crate::cli::progress::Parts;
use crate::cli::seg::OTHER_TABLE;
use crate::cli::stitch::{output, with_role};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::open_stack;
use crate::json::Json;
use crate::kernels::uncertainty::SLOPE;
use crate::nn::{state, weights};
use crate::num::CONTRACT;
use crate::os::check_interrupt;
use crate::provenance::InputFile;
use crate::segment::classes::Classes;
use crate::segment::orient::{Plane, Turned};
use crate::segment::predict::{Dropping, Grey, LOGIT, Map, Net, average, predict, predict_logits};
use crate::segment::scale::{Look, Moments};
use crate::segment::windows::{Importance, Logits, Windows};
use crate::volume::manifest::{Job, Manifest};
use crate::volume::reader::{IoMode, Reader, with_suffix};
use crate::volume::writer::Writer;
use crate::volume::{Dims, Dtype, Sink, Source, Spacing};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["seg", "predict"],
    about: "Segment a volume with a network, slice by slice",
    details: "Windows of --roi pixels that overlap by a quarter, logits averaged before softmax: MONAI's sliding windows, the \
              authors' defaults. Grey values are scaled so that --grey LOW,HIGH become 0 and 1 (u8 volumes: 0,255); what the \
              weights were trained with stands in their metadata (grey_low, grey_high), and other values are refused; so are \
               volumes whose grey values are far from those of the training (grey_mean, grey_sd), as nine slices tell, whose \
               figures stand in the manifest. Written \
               are NAME (class, u8) and on request NAME.entropy, NAME.margin and NAME.confidence, 0 to 1 in steps of 1/255, the \
               same scale for every volume. Memory is that of one band of windows, 256 MiB of slices and two slabs of each map, whatever the volume's \
               size: --plan says how much it will be and predicts nothing (what --io mmap maps comes on top until the system wants \
               it back). An \
              interrupted run goes on where it was; planes other than xy are predicted into NAME.slices first, then turned. Of several \
              planes (--plane xy,yz) the logits are averaged; until then they lie on disk, 2 bytes per voxel, class and plane. \
              With --passes 20 --batchnorm batch --average logits passes are those of the authors' code.",
    examples: "  tomolith seg predict --weights model.safetensors --input recon.mhd --grey 0,1.2 -o out/seg\n  \
               tomolith seg predict --weights ckpt.pt --input recon_u8.mhd --plane xz --entropy --margin -o out/seg",
    groups: &[(
        "",
        &[
            Opt::new("weights", Takes::Value("FILE"), "Weights: .safetensors, or PyTorch's .pt or .ckpt"),
            Opt::new("input", Takes::Value("VOLUME"), "Volume to segment"),
            Opt::new("plane", Takes::Value("PLANE,…"), "Slices of which plane: xy, xz, yz, zy, or several")
                .default("xy"),
            Opt::new("grey", Takes::Number("LOW,HIGH"), "Grey values that become 0 and 1"),
            OTHER_GREY,
            Opt::new("roi", Takes::Number("N"), "Rows and columns of a window").default("512"),
            Opt::new("overlap", Takes::Number("PART"), "Part by which windows overlap").default("0.25"),
            Opt::new("blend", Takes::Choice(&["constant", "gaussian"]), "Weight of a window's pixels")
                .default("constant"),
            Opt::new("batch", Takes::Number("N"), "Windows at a time; the results are the same").default("1"),
            Opt::new("entropy", Takes::Switch, "Write the entropy of the classes"),
            Opt::new("margin", Takes::Switch, "Write how far the next class is"),
            Opt::new("confidence", Takes::Switch, "Write the probability of the class"),
            Opt::new("mutual", Takes::Switch, "Write what the passes of --passes differ about"),
            Opt::new("passes", Takes::Number("T"), "Predict T times with dropout, and average").default("1"),
            Opt::new("dropout", Takes::Number("P"), "Probability that a number is dropped, with --passes")
                .default("0.2"),
            Opt::new("seed", Takes::Number("N"), "Seed of what is dropped").default("0"),
            Opt::new(
                "batchnorm",
                Takes::Choice(&["running", "batch"]),
                "Moments of BatchNorm with --passes; batch: each window's own",
            )
            .default("running"),
            Opt::new(
                "average",
                Takes::Choice(&["probability", "logits"]),
                "What --passes average; of logits nobody knows what the passes differ about",
            )
            .default("probability"),
            Opt::new("plan", Takes::Switch, "Say what it would hold in memory, and do nothing else"),
            FAST,
            DEVICE,
            CLASSES,
            Opt::new("output", Takes::Value("DIR/NAME"), "Where to write, without extension").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

/// Insists.
pub const OTHER_GREY: Opt =
    Opt::new("other-grey", Takes::Switch, "Take grey values of another scale than the weights learnt from");

/// Version of the stage in manifests.
pub const VERSION: u32 = 1;
/// Bytes of a turned volume that are moved at once.
pub(super) const BAND: u64 = 256 << 20;

/// Passes with dropout, at most.
const MOST_PASSES: usize = 10_000;

/// Two grey values.
pub fn grey(text: &str) -> Result<Grey> {
    match values::numbers(text)?[..] {
        [low, high] if low < high => Ok(Grey { low: low as f32, high: high as f32 }),
        _ => Err(Error::usage(format!("'{text}' is no pair of grey values")).help("write low,high such as 0,1.2")),
    }
}

/// The grey values that are 0 and 1 to a network, where its weights say so.
///
/// # Errors
/// Data: they are no pair.
pub fn grey_of(metadata: &BTreeMap<String, String>) -> Result<Option<Grey>> {
    let of = |key: &str| metadata.get(key).and_then(|v| v.parse::<f32>().ok());
    let trained = of("grey_low").zip(of("grey_high")).map(|(low, high)| Grey { low, high });
    match trained.filter(|g| !(g.low.is_finite() && g.high.is_finite() && g.low < g.high)) {
        Some(g) => Err(Error::data(format!("the weights say that grey values {} and {} are 0 and 1", g.low, g.high))),
        None => Ok(trained),
    }
}

/// Refuses a volume that looks like nothing that the network has learnt from, or says that it does.
fn looked_at(c: &Context, volume: &dyn Source, grey: Grey, learnt: Option<Moments>) -> Result<Json> {
    let look = Look::at(volume, grey, learnt)?;
    refuse_or_warn(c, look.check(grey, learnt), "the volume to the grey scale of the network")?;
    Ok(Json::obj([("grey", look.to_json())]))
}

/// Tells what is odd about grey values; where they should be refused, only to who insists.
pub fn refuse_or_warn(c: &Context, (refused, told): (bool, Option<String>), bring: &str) -> Result<()> {
    let Some(text) = told else { return Ok(()) };
    if refused && !c.settings.is_on(OTHER_GREY.name)? {
        let help = format!("bring {bring}, say which values are 0 and 1 (--grey), or insist with --other-grey");
        return Err(Error::data(text).help(help));
    }
    c.talk.warn(text);
    Ok(())
}

/// The grey scale: what is asked for, what the weights say, what u8 means; two that differ are refused.
fn scale(c: &Context, metadata: &BTreeMap<String, String>, dtype: Dtype) -> Result<Grey> {
    let trained = grey_of(metadata)?;
    match (c.settings.parse("grey", grey)?, trained) {
        (Some(asked), Some(trained)) if asked != trained && !c.settings.is_on("other-grey")? => Err(Error::usage(
            format!(
                "--grey {},{}: the weights were trained with {},{}",
                asked.low, asked.high, trained.low, trained.high
            ),
        )
        .help("bring the volume to the scale that the network knows, leave --grey out, or insist with --other-grey")),
        (Some(grey), _) | (None, Some(grey)) => Ok(grey),
        (None, None) if dtype == Dtype::U8 => Ok(Grey { low: 0.0, high: 255.0 }),
        (None, None) => {
            Err(Error::usage("--grey is missing: neither the weights nor the volume say what is 0 and what 1")
                .help("give the grey values that became 0 and 1 when the network was trained: --grey 0,1.2"))
        }
    }
}

/// What is written.
struct Outputs<'a> {
    base: PathBuf,
    maps: Vec<Map>,
    classes: &'a Classes,
    params: Json,
    inputs: Vec<InputFile>,
    /// What is known of the volume before.
    results: Json,
    overwrite: bool,
}

impl Outputs<'_> {
    fn base_of(&self, map: Map, between: bool) -> PathBuf {
        let middle = if between { ".slices" } else { "" };
        let end = if map == Map::Class { String::new() } else { format!(".{}", map.name()) };
        with_suffix(&self.base, &format!("{middle}{end}"))
    }

    /// A volume of this prediction: its parameters with what it is a map of.
    fn job(&self, map: &str, stage: &str, dims: Dims, spacing: Spacing) -> Job {
        let mut members = self.params.as_obj().cloned().unwrap_or_default();
        members.insert("classes".into(), self.classes.to_json());
        members.insert("map".into(), map.into());
        Job {
            dims,
            dtype: Dtype::U8,
            spacing,
            slope: 1.0,
            intercept: 0.0,
            value_unit: map.into(),
            stage: stage.into(),
            stage_version: VERSION,
            params: Json::Obj(members),
            inputs: self.inputs.clone(),
            contract: CONTRACT,
        }
    }

    /// A writer of a map; none where an earlier run of this job finished it.
    fn writer(&self, map: Map, between: bool, dims: Dims, spacing: Spacing) -> Result<Option<Writer>> {
        let class = map == Map::Class;
        let stage = if between { "segment-slices" } else { "segment" };
        let job = Job { slope: if class { 1.0 } else { SLOPE }, ..self.job(map.name(), stage, dims, spacing) };
        let base = self.base_of(map, between);
        // The classes are finished last: what stands without them is of a run that was stopped.
        let ours = (between || !class && !self.overwrite) && made(&base, job.key()).is_some();
        if ours { Ok(None) } else { Writer::create(&base, job, self.overwrite || between).map(Some) }
    }

    /// The logits of a class in a plane.
    fn logit(&self, plane: Plane, class: usize, dims: Dims) -> Job {
        let [slope, intercept] = LOGIT;
        let map = format!("logit {class} {}", plane.name());
        Job { dtype: Dtype::U16, slope, intercept, ..self.job(&map, "segment-logits", dims, None) }
    }

    /// Writers of the maps that are not made yet.
    fn writers(&self, between: bool, dims: Dims, spacing: Spacing) -> Result<Vec<(Map, Writer)>> {
        let mut writers = Vec::new();
        for &map in &self.maps {
            writers.extend(self.writer(map, between, dims, spacing)?.map(|w| (map, w)));
        }
        Ok(writers)
    }
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    // Who plans need not know where it will be written.
    let planned = s.is_on("plan")?;
    let (base, overwrite) = if planned { (PathBuf::new(), false) } else { output(c)? };
    let (weights_path, input) = (s.required_path("weights")?, s.required_path("input")?);
    let planes = s.parsed("plane", planes)?;
    if planes.iter().enumerate().any(|(i, p)| planes[..i].contains(p)) {
        return Err(Error::usage("--plane names a plane twice"));
    }
    let (classes, table) = classes(s)?;
    let dict = weights::read(&weights_path)?;
    let network = state::load(&dict).map_err(|e| e.at(&weights_path))?.network;
    let other = |e: Error| e.help(OTHER_TABLE).at(&weights_path);
    if let Some(text) = dict.metadata.get("classes") {
        let names: Vec<String> = text.split(',').map(String::from).collect();
        classes.check_names(&names, "the weights").map_err(other)?;
    }
    let (told, listed) = (network.config.classes, classes.len());
    if told != listed {
        return Err(other(Error::data(format!("the network tells {told} classes apart, the table has {listed}"))));
    }
    if network.config.inputs.is_multiple_of(2) {
        return Err(Error::usage(format!("the network takes {} slices: none is in the middle", network.config.inputs)));
    }
    let source = open_stack(&input, c.io)?;
    // Bytes with a slope are no bytes: 0 and 255 mean nothing there.
    let sloped = Reader::open(&input, c.io).is_ok_and(|r| (r.header().slope, r.header().intercept) != (1.0, 0.0));
    let grey = scale(c, &dict.metadata, if sloped { Dtype::F32 } else { source.dtype() })?;
    let learnt = Moments::parse(&dict.metadata);
    drop(dict);
    let roi = s.parsed("roi", values::count)?;
    network.config.check_size(roi, roi).map_err(|e| {
        Error::usage(format!("--roi: {}", e.what()))
            .help(format!("windows are multiples of {}", network.config.multiple()))
    })?;
    let overlap = s.parsed("overlap", values::number)?;
    let blend = s.parsed("blend", Importance::parse)?;
    let windows = Windows::new([roi; 2], overlap, blend, s.parsed("batch", values::count)?)?;
    let mut maps = vec![Map::Class];
    for map in [Map::Entropy, Map::Margin, Map::Confidence, Map::Mutual] {
        if s.is_on(map.name())? {
            maps.push(map);
        }
    }
    let passes = s.parsed("passes", values::count)?;
    if passes > MOST_PASSES {
        return Err(Error::usage(format!("{passes} passes")).help(format!("at most {MOST_PASSES}")));
    }
    let (dropout, seed) = (s.parsed("dropout", probability)?, s.parsed("seed", values::seed)?);
    let of_batch = s.text("batchnorm")? == Some("batch");
    let mean = s.text("average")? == Some("logits");
    if of_batch && roi == network.config.multiple() {
        return Err(Error::usage("--batchnorm batch: the deepest maps have one value a channel, and no moments")
            .help(format!("take a larger --roi, such as {}", 2 * roi)));
    }
    if passes == 1 {
        let idle = ["mutual", "dropout", "seed", "batchnorm", "average"]
            .into_iter()
            .find(|name| s.is_given(name).unwrap_or(false));
        if let Some(name) = idle {
            return Err(Error::usage(format!("--{name} without --passes")).help("several passes differ: --passes 20"));
        }
    }
    if mean && maps.contains(&Map::Mutual) {
        return Err(Error::usage("--mutual with --average logits: what the passes differ about is gone then")
            .help("leave one of the two out"));
    }
    if planes.len() > 1 && passes > 1 {
        return Err(Error::usage("--passes of several planes").help("give one plane, or leave --passes out"));
    }
    let fast = s.is_on("fast")?;
    let device = Device::open_as(c, fast)?;
    if fast && passes > 1 {
        device.only_gpu("dropout in 16 bits")?;
    }
    let halves = (fast && device.is_cpu()).then_some(c.isa);
    let asked = Asked {
        network: &network,
        halves: halves.is_some(),
        windows: &windows,
        roi,
        passes,
        mean,
        of_batch,
        maps: maps.len(),
        planes: &planes,
        volume: source.dims(),
    };
    let phases = asked.phases();
    let (most, at) = peak(&phases);
    if planned {
        for phase in &phases {
            c.out.line(format!("{:<8} {:>12} held", phase.name, bytes_for_people(phase.memory)))?;
        }
        return c.out.line(format!("{:<8} {most:>12} bytes at most", "in all"));
    }
    let view = planes[0].dims(source.dims());
    c.talk.detail(format!(
        "{} windows a slice; at most {} held ({at})",
        windows.count(view.ny, view.nx),
        bytes_for_people(most)
    ));
    let mut inputs = vec![InputFile::of("weights", &weights_path)?];
    inputs.extend(with_role(source.inputs()?, "volume"));
    inputs.extend(table);
    let results = looked_at(c, source.as_ref(), grey, learnt).map_err(|e| e.at(&input))?;
    let progress = Parts::new(&c.talk, "segment", "slices", parts(&phases, view.nz));
    let mut params = vec![
        ("plane", planes.iter().map(|p| p.name()).collect::<Vec<_>>().join(",").into()),
        ("grey_low", grey.low.into()),
        ("grey_high", grey.high.into()),
        ("roi", roi.into()),
        ("overlap", overlap.into()),
        ("blend", blend.name().into()),
        ("passes", passes.into()),
        ("dropout", if passes > 1 { dropout.into() } else { Json::Null }),
        ("seed", if passes > 1 { Json::Str(seed.to_string()) } else { Json::Null }),
    ];
    if of_batch {
        params.push(("batchnorm", "batch".into()));
    }
    if mean {
        params.push(("average", "logits".into()));
    }
    // What strict mode computes has the same name on every device.
    if fast {
        params.push(("arithmetic", if device.is_cpu() { "bf16" } else { "fp16" }.into()));
        params.push(("device", device.model().into()));
    }
    let params = Json::obj(params);
    let outputs = Outputs { base: base.clone(), maps, classes: &classes, params, inputs, results, overwrite };
    if let [_, _, ..] = planes[..] {
        let mut net = Net::new(&network, device.clone(), halves);
        let manifest = several(c, &outputs, (&planes, &progress), grey, &windows, &mut net, source.as_ref())
            .map_err(|e| e.at(&input))?;
        progress.finish();
        return written(c, &base, &manifest);
    }
    let plane = planes[0];
    let view = Turned::slices(source.as_ref(), plane)?;
    let between = plane != Plane::Xy;
    let mut writers = outputs.writers(between, view.dims(), source.spacing().filter(|_| !between))?;
    let resumed = writers.iter().map(|(_, w)| w.next_slice()).min().unwrap_or(view.dims().nz);
    if resumed > 0 {
        c.talk.note(format!("goes on at slice {resumed} of {}", view.dims().nz));
    }
    if resumed < view.dims().nz {
        let mut sinks: Vec<(Map, &mut dyn Sink)> =
            writers.iter_mut().map(|(map, w)| (*map, w as &mut dyn Sink)).collect();
        let kernels = device.clone();
        let mut net: Box<dyn Logits> = match passes {
            1 => Box::new(Net::new(&network, kernels, halves)),
            _ => {
                let net = Dropping::new(&network, kernels, passes, dropout, seed, of_batch);
                Box::new(if mean { net.of_mean_logits() } else { net })
            }
        };
        let shown = |done, total| progress.update(0, done, total);
        predict(&view, plane, grey, &windows, net.as_mut(), &mut sinks, &shown).map_err(|e| e.at(&input))?;
    }
    let mut manifest = finish(c, &outputs, writers)?;
    if between {
        manifest = turn(c, &outputs, (plane, &progress), source.dims(), source.spacing())?;
    }
    progress.finish();
    written(c, &base, &manifest.ok_or_else(|| Error::bug("nothing was written"))?)
}

/// Predicts several planes one after the other, each class of each a volume of logits, and averages them.
fn several(
    c: &Context,
    outputs: &Outputs,
    (planes, progress): (&[Plane], &Parts),
    grey: Grey,
    windows: &Windows,
    net: &mut Net<Device>,
    source: &dyn Source,
) -> Result<Manifest> {
    let dims = source.dims();
    let base = |plane: Plane, k: usize| with_suffix(&outputs.base, &format!(".{}.logit{k}", plane.name()));
    let classes = 0..outputs.classes.len();
    for (part, &plane) in planes.iter().enumerate() {
        let view = Turned::slices(source, plane)?;
        let jobs: Vec<(PathBuf, Job)> =
            classes.clone().map(|k| (base(plane, k), outputs.logit(plane, k, view.dims()))).collect();
        if jobs.iter().all(|(base, job)| made(base, job.key()).is_some()) {
            continue;
        }
        // What was finished before the others were is made again.
        let mut writers: Vec<Writer> =
            jobs.into_iter().map(|(base, job)| Writer::create(&base, job, true)).collect::<Result<_>>()?;
        let mut sinks: Vec<&mut dyn Sink> = writers.iter_mut().map(|w| w as &mut dyn Sink).collect();
        let shown = |done, total| progress.update(part, done, total);
        predict_logits(&view, plane, grey, windows, net, &mut sinks, &shown)?;
        for writer in writers {
            writer.finish(Json::obj::<&str>([]), c.run_record())?;
        }
    }
    let bases: Vec<PathBuf> = planes.iter().flat_map(|&p| classes.clone().map(move |k| base(p, k))).collect();
    let stored: Vec<Reader> = bases.iter().map(|base| open(base, c.io)).collect::<Result<_>>()?;
    let turned: Vec<Turned> = stored
        .iter()
        .zip(planes.iter().flat_map(|plane| classes.clone().map(move |_| plane)))
        .map(|(reader, plane)| Turned::new(reader, plane.back()))
        .collect::<Result<_>>()?;
    let sources: Vec<&dyn Source> = turned.iter().map(|t| t as &dyn Source).collect();
    let of_planes: Vec<Vec<&dyn Source>> = sources.chunks_exact(classes.len()).map(<[_]>::to_vec).collect();
    let mut writers = outputs.writers(false, dims, source.spacing())?;
    let mut sinks: Vec<(Map, &mut dyn Sink)> = writers.iter_mut().map(|(map, w)| (*map, w as &mut dyn Sink)).collect();
    average(&of_planes, &mut sinks, &|done, total| progress.update(planes.len(), done, total))?;
    let manifest = finish(c, outputs, writers)?;
    remove(&bases);
    manifest.ok_or_else(|| Error::bug("nothing was written"))
}

/// Finishes the maps, the classes last; theirs is the manifest.
fn finish(c: &Context, outputs: &Outputs, writers: Vec<(Map, Writer)>) -> Result<Option<Manifest>> {
    let mut last = None;
    for (_, writer) in writers.into_iter().rev() {
        last = Some(writer.finish(outputs.results.clone(), c.run_record())?);
    }
    Ok(last)
}

/// Brings slices of another plane back to z, y, x, and removes them.
fn turn(
    c: &Context,
    outputs: &Outputs,
    (plane, progress): (Plane, &Parts),
    dims: Dims,
    spacing: Spacing,
) -> Result<Option<Manifest>> {
    let mut writers = outputs.writers(false, dims, spacing)?;
    let maps = writers.len();
    let band = (BAND / (4 * dims.slice() as u64)).clamp(1, dims.nz as u64) as usize;
    for (i, (map, writer)) in writers.iter_mut().enumerate() {
        let slices = open(&outputs.base_of(*map, true), c.io)?;
        let view = Turned::new(&slices, plane.back())?;
        let mut block = Vec::new();
        while writer.next_slice() < dims.nz {
            check_interrupt()?;
            let z = writer.next_slice()..(writer.next_slice() + band).min(dims.nz);
            block.resize(z.len() * dims.slice(), 0.0);
            view.read(z.clone(), 0..dims.ny, &mut block)?;
            writer.write(&block)?;
            progress.update(1, i * dims.nz + z.end, maps * dims.nz);
        }
    }
    let manifest = finish(c, outputs, writers)?;
    let bases: Vec<PathBuf> = outputs.maps.iter().map(|&m| outputs.base_of(m, true)).collect();
    remove(&bases);
    Ok(manifest)
}

fn open(base: &Path, io: IoMode) -> Result<Reader> {
    Reader::open(&with_suffix(base, ".mhd"), io)
}
