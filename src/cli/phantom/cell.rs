//! `tomolith phantom cell`: a synthetic operando series of a lithium cell, with its truth.

use super::counts::Counted;
use super::folder::{Folder, Output, by_slabs};
use super::scan::{self, ScanSettings};
use super::{given, memory, secret, series};
use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::png::write_rgb8;
use crate::json::Json;
use crate::os::{self, give_memory_back};
use crate::phantom::annotator::{Annotator, Habits};
use crate::phantom::cell::schedule::{Chemistry, SCANS, printed_pores};
use crate::phantom::cell::step::Step;
use crate::phantom::cell::{Cell, CellSettings, Preset, VOXEL};
use crate::phantom::matter::{FILLS, FULL, Fill, LABELS, Voxel};
use crate::phantom::scan::lab;
use crate::phantom::scan::motion::Pose;
use crate::phantom::scan::radiograph::Work;
use crate::phantom::specimen::Specimen;
use crate::provenance::Digest;
use crate::volume::manifest::Manifest;
use crate::volume::{Dims, Dtype};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The command.
pub const COMMAND: Command = Command {
    path: &["phantom", "cell"],
    about: "Make a synthetic operando series: a lithium cell through one charge and discharge, with its truth",
    details: "25 scans, one before and one after each 10 minutes of current. Written are, per step, the truth (truth/step_12: \
              label with a class per voxel, li_frac with its solid lithium) and what --mode asks for (step_12): nothing \
              more, a grey volume, or a scan as a beamline records it with the recon configuration that reads it. \
              series.json holds classes, materials, geometry and timetable, truth/truth.json the true motions and markers and \
              what was planned and counted, potentiostat.csv the current and voltage. A step alone is the same as in the series. An interrupted series goes on when the same command is \
              run again; a finished folder is never overwritten.",
    examples: "  tomolith phantom cell -o out/cell --preset tiny --mode labels\n  \
               tomolith phantom cell -o out/scans --preset small --mode radiographs-phase --only 0,12,24 --seed 7\n  \
               cd out/scans/step_12 && tomolith recon --config scan.toml -o slices\n  \
               tomolith phantom cell -o out/grey --preset small --mode volume --cnr 5 --annotate strokes",
    groups: &[
        (
            "",
            &[
                Opt::new("output", Takes::Value("DIR"), "Folder to write to").short('o'),
                Opt::new(
                    "preset",
                    Takes::Value("NAME"),
                    "Size x y z in voxels of 1.33 um: tiny 64 288 48, demo 96 288 72, small 256 320 256, medium 640 448 640, full 1707 698 2280",
                )
                .default("tiny"),
                Opt::new(
                    "mode",
                    Takes::Value("NAME"),
                    "labels; volume: grey with noise and rings; radiographs: absorption at a high dose; radiographs-phase: propagation at a real one",
                )
                .default("labels"),
                Opt::new("steps", Takes::Number("N"), "Steps, spread evenly over the 25").default("25"),
                Opt::new("only", Takes::Number("K,K"), "Only these of the 25, from 0"),
                Opt::new("seed", Takes::Number("N"), "Another seed is another cell; with --blind one is drawn").default("1"),
            ],
        ),
        (
            "The cell",
            &[
                Opt::new("efficiency", Takes::Number("X"), "Part of the moved lithium that is metal again").default("1"),
                Opt::new("side-reaction", Takes::Number("X"), "Part of the charge that moves no lithium").default("0"),
                Opt::new("dead", Takes::Number("UM"), "Dendrites left at the end, micrometres over the field")
                    .default("1.612"),
                Opt::new("pit-correlation", Takes::Number("X"), "Probability that a pit lies below a dendrite").default("0"),
                Opt::new(
                    "paper-like",
                    Takes::Switch,
                    "The stripping electrode 101.7 um thick at the half cycle, as printed: what more was stripped leaves pores in it",
                ),
                Opt::new("pores", Takes::Choice(&["void", "electrolyte"]), "What fills pores").default("void"),
                Opt::new("pits", Takes::Choice(&["void", "electrolyte"]), "What fills pits").default("void"),
                Opt::new(
                    "blind",
                    Takes::Switch,
                    "Draw the first four at random from the seed, and keep values and seed in truth/ alone; a short seed can be guessed",
                ),
            ],
        ),
        ("Motion and detector", scan::OPTIONS),
        (
            "Labels as drawn by hand",
            &[
                Opt::new(
                    "annotate",
                    Takes::Choice(&["none", "dense", "strokes"]),
                    "Write drawn: labels as a person would draw them in the five classes of the network, 255 where nobody did",
                )
                .default("none"),
                Opt::new("boundary", Takes::Number("VOXELS"), "Voxels by which drawn boundaries are off").default("1.5"),
                Opt::new("confusion", Takes::Number("X"), "Part of lithium and pits that is confused").default("0.03"),
                Opt::new("every", Takes::Number("N"), "Strokes are drawn in every N-th slice").default("8"),
            ],
        ),
    ],
    run,
};

/// What is made of each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Truth alone.
    Labels,
    /// Grey volume.
    Volume,
    /// Scan, absorption.
    Radiographs,
    /// Scan, propagation.
    Phase,
}

impl Mode {
    /// The name of each.
    const NAMES: [(&'static str, Mode); 4] = [
        ("labels", Mode::Labels),
        ("volume", Mode::Volume),
        ("radiographs", Mode::Radiographs),
        ("radiographs-phase", Mode::Phase),
    ];

    fn parse(text: &str) -> Result<Mode> {
        let names = Mode::NAMES.map(|(name, _)| name);
        Mode::NAMES.iter().find(|(name, _)| *name == text).map(|&(_, mode)| mode).ok_or_else(|| {
            let near = crate::error::nearest(text, names).map_or(String::new(), |n| format!("did you mean '{n}'? "));
            Error::usage(format!("no mode '{text}'")).help(format!("{near}there are {}", names.join(", ")))
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Mode::NAMES[self as usize].0
    }
}

/// The resolved options.
pub struct CellArgs {
    /// Folder.
    pub output: PathBuf,
    /// The cell.
    pub cell: CellSettings,
    /// What is made.
    pub mode: Mode,
    /// Steps, ascending.
    pub steps: Vec<usize>,
    /// Motion, detector, grey values.
    pub scan: ScanSettings,
    /// How somebody draws, if anybody does.
    pub habits: Option<Habits>,
    /// Whether the parameters are a secret.
    pub blind: bool,
}

impl CellArgs {
    /// Parses the options.
    ///
    /// # Errors
    /// Usage.
    pub fn from_settings(settings: &Settings) -> Result<CellArgs> {
        let fill = |name: &str| -> Result<Fill> {
            let text = settings.text(name)?.unwrap_or_default();
            FILLS.into_iter().find(|f| f.name() == text).ok_or_else(|| Error::bug(format!("no fill '{text}'")))
        };
        let preset = settings.parsed("preset", Preset::parse)?;
        let number = |name: &str| settings.parsed(name, values::number);
        let output = settings.required_path("output")?;
        let blind = settings.is_on("blind")?;
        let seed = secret::seed(settings, &output, blind)?;
        let mut cell = CellSettings {
            chemistry: Chemistry {
                efficiency: number("efficiency")?,
                side_reaction: number("side-reaction")?,
                dead: number("dead")?,
                pores: 0.0,
            },
            pit_correlation: number("pit-correlation")?,
            pore_fill: fill("pores")?,
            pit_fill: fill("pits")?,
            ..CellSettings::new(preset, seed)
        };
        if blind {
            for name in ["efficiency", "side-reaction", "dead", "pit-correlation"] {
                if settings.is_given(name)? {
                    return Err(Error::usage(format!("--blind draws {name}: it cannot be given, too"))
                        .help("leave one of the two out"));
                }
            }
            cell = cell.blind();
        }
        if settings.is_on("paper-like")? {
            cell.chemistry.pores = printed_pores(cell.chemistry.side_reaction);
        }
        let mode = settings.parsed("mode", Mode::parse)?;
        given::check(settings, mode)?;
        let habits = match settings.text("annotate")?.unwrap_or_default() {
            "none" => None,
            how => Some(Habits {
                boundary: number("boundary")?,
                confusion: number("confusion")?,
                strokes: if how == "strokes" { Some(settings.parsed("every", values::count)?) } else { None },
            }),
        };
        Ok(CellArgs {
            output,
            cell,
            mode,
            steps: steps(settings)?,
            scan: ScanSettings::from_settings(settings, &preset, mode, seed)?,
            habits,
            blind,
        })
    }

    /// Everything that decides what is made.
    pub fn params(&self) -> Json {
        let CellSettings { preset, seed, chemistry, pit_correlation, pore_fill, pit_fill } = self.cell;
        let habits = self.habits.map(|h| {
            Json::obj([
                ("boundary_voxels", h.boundary.into()),
                ("confusion", h.confusion.into()),
                ("strokes_every", h.strokes.into()),
            ])
        });
        let mut members = vec![
            ("preset", preset.name.into()),
            ("seed", seed.into()),
            ("mode", self.mode.name().into()),
            ("efficiency", chemistry.efficiency.into()),
            ("side_reaction", chemistry.side_reaction.into()),
            ("dead_um", chemistry.dead.into()),
            ("stripped_pores", chemistry.pores.into()),
            ("pit_correlation", pit_correlation.into()),
            ("pores", pore_fill.name().into()),
            ("pits", pit_fill.name().into()),
            ("scan", self.scan.params(self.mode)),
            ("drawn", habits.unwrap_or(Json::Null)),
        ];
        if self.mode != Mode::Labels && self.scan.motion_seed != seed {
            members.push(("motion_seed", self.scan.motion_seed.into()));
        }
        if self.blind {
            members.push(("salt", secret::salt(seed).into()));
        }
        Json::obj(members)
    }
}

/// `--only`, or `--steps` spread evenly from the first to the last.
fn steps(settings: &Settings) -> Result<Vec<usize>> {
    let last = SCANS - 1;
    if let Some(only) = settings.parse("only", values::numbers)? {
        if settings.is_given("steps")? {
            return Err(Error::usage("--only and --steps both say which steps").help("leave one of the two out"));
        }
        let mut steps = Vec::new();
        for k in only {
            if k < 0.0 || k > last as f64 || k.fract() != 0.0 {
                return Err(
                    Error::usage(format!("--only: there is no step {k}")).help(format!("steps are 0 to {last}"))
                );
            }
            steps.push(k as usize);
        }
        steps.sort_unstable();
        steps.dedup();
        return Ok(steps);
    }
    let n = settings.parsed("steps", values::count)?;
    match n {
        1 => Ok(vec![0]),
        2..=SCANS => Ok((0..n).map(|i| (i * last + (n - 1) / 2) / (n - 1)).collect()),
        _ => Err(Error::usage(format!("--steps: {n} of {SCANS} steps")).help("one charge and discharge has 25 scans")),
    }
}

/// What one run of the command shares.
pub struct Run<'a> {
    /// The options.
    pub args: &'a CellArgs,
    /// Where it goes.
    pub folder: Folder<'a>,
    /// The parameters as volumes record them: in a blind series only their digest.
    pub recorded: Json,
    annotator: Option<Annotator>,
    /// What scans are made in.
    pub work: Mutex<Work>,
    /// Bytes that making a step takes while the one before is scanned; 0 where that is not done.
    pub ahead: u64,
}

fn run(context: &Context) -> Result<()> {
    let args = CellArgs::from_settings(&context.settings)?;
    let params = args.params();
    let recorded = match args.blind {
        true => Json::obj([("sealed_sha256", Digest::of(params.to_canonical().as_bytes()).hex().into())]),
        false => params,
    };
    let folder = Folder { context, path: args.output.clone(), voxel: VOXEL, blind: args.blind, is_silent: false };
    // The drawer's random numbers are not the cell's.
    let annotator = match args.habits {
        Some(habits) => Some(Annotator::new(args.cell.seed ^ 0x6472_6177, habits, context.isa)?),
        None => None,
    };
    let mut run = Run { args: &args, folder, recorded, annotator, work: Mutex::default(), ahead: 0 };
    let outputs: Vec<Output> = args.steps.iter().flat_map(|&k| run.outputs(k)).collect();
    let plan = Json::obj([("phantom", run.recorded.clone()), ("steps", Json::from(&args.steps[..]))]).to_canonical();
    run.folder.check(&plan, &outputs)?;
    let (peak, ahead) = (memory::peak(&run, &outputs, context.threads)?, memory::step(&run, &outputs));
    memory::check("the series", peak)?;
    if args.steps.len() > 1 && peak + ahead <= os::free_memory() {
        run.ahead = ahead;
    }
    let cell = Cell::new(args.cell, context.isa)?;
    // A chemistry that does not close and a motion that folds are refused before anything is written.
    for &k in &args.steps {
        let step = cell.step(k)?;
        if args.mode != Mode::Labels {
            run.pose(&step, k)?;
        }
    }
    run.folder.claim(&plan)?;
    if args.blind && !context.settings.is_given("seed")? {
        run.folder.text(secret::SEED_FILE, &format!("{}\n", args.cell.seed))?;
    }
    // While a step is scanned, which all threads do, the next one is made, much of which only one can, and nothing is said of it.
    let silent = Folder { is_silent: true, ..run.folder.clone() };
    let begin = |i: usize, folder: &Folder| -> Result<Option<Begun>> {
        args.steps.get(i).map(|&k| run.begin(folder, cell.step(k)?, k)).transpose()
    };
    let mut begun = None;
    let mut made = Vec::new();
    for (i, &k) in args.steps.iter().enumerate() {
        context.talk.note(format!("step {k} ({} of {})", i + 1, args.steps.len()));
        let step = match begun.take() {
            Some(step) => step,
            None => begin(i, &run.folder)?.ok_or_else(|| Error::bug("a step that is none"))?,
        };
        let next = || if run.ahead > 0 { begin(i + 1, &silent) } else { Ok(None) };
        let (done, next) = rayon::join(|| run.scan(step), next);
        made.push(done?);
        begun = next?;
        give_memory_back();
    }
    series::write(&run, &made)?;
    context.out.line(format!(
        "{}: {} steps of {}; start with {}",
        args.output.display(),
        args.steps.len(),
        args.cell.preset.name,
        args.output.join("README.txt").display()
    ))
}

/// A step whose truth is written.
struct Begun<'a> {
    k: usize,
    step: Step<'a>,
    truth: Vec<(&'static str, Json)>,
    volumes: Vec<(String, String)>,
    /// What is scanned and how it lies, where something is.
    scene: Option<(Specimen, Pose)>,
}

/// A finished step.
pub struct Made {
    /// Its number.
    pub k: usize,
    /// Its truth.
    pub truth: Json,
    /// Its volumes by name with their digests.
    pub volumes: Vec<(String, String)>,
}

impl Run<'_> {
    /// `step_07`.
    pub fn name(k: usize) -> String {
        format!("step_{k:02}")
    }

    fn output(&self, base: PathBuf, k: usize, what: &str, dims: Dims, dtype: Dtype, unit: &'static str) -> Output {
        let params = Json::obj([("phantom", self.recorded.clone()), ("step", k.into()), ("what", what.into())]);
        Output { base, dims, dtype, slope: 1.0, unit, spatial: true, params }
    }

    fn label(&self, k: usize) -> Output {
        let base = self.args.output.join("truth").join(Self::name(k)).join("label");
        self.output(base, k, "label", self.args.cell.preset.dims(), Dtype::U8, "class")
    }

    fn solid(&self, k: usize) -> Output {
        let base = self.args.output.join("truth").join(Self::name(k)).join("li_frac");
        let output = self.output(base, k, "li_frac", self.args.cell.preset.dims(), Dtype::U8, "solid lithium");
        Output { slope: 1.0 / f64::from(FULL), ..output }
    }

    fn in_scan(&self, k: usize) -> Output {
        let base = self.args.output.join("truth").join(Self::name(k)).join("label_scan");
        self.output(base, k, "label_scan", self.args.cell.preset.dims(), Dtype::U8, "class")
    }

    fn drawn(&self, k: usize) -> Output {
        let base = self.args.output.join(Self::name(k)).join("drawn");
        self.output(base, k, "drawn", self.args.cell.preset.dims(), Dtype::U8, "class")
    }

    /// How the cell lies in the scan of step k.
    fn pose(&self, step: &Step, k: usize) -> Result<Pose> {
        let (args, dims) = (self.args, self.args.cell.preset.dims());
        Pose::draw(&args.scan.motion, dims, step.bodies(), args.scan.motion_seed, k as u32).map_err(|e| {
            Error::usage(format!("step {k}: {}", e.what()))
                .help("the cell would fold: take less of --warp, --relative, --turn or --tilt, or a larger --preset")
        })
    }

    /// Whether step k has a folder beside that of its truth.
    pub fn has_folder(&self) -> bool {
        self.args.mode != Mode::Labels || self.args.habits.is_some()
    }

    /// What step k will write.
    fn outputs(&self, k: usize) -> Vec<Output> {
        let mut outputs = vec![self.label(k), self.solid(k)];
        if self.args.mode != Mode::Labels {
            outputs.push(self.in_scan(k));
        }
        outputs.extend(self.args.habits.map(|_| self.drawn(k)));
        outputs.extend(scan::outputs(self, k));
        outputs
    }

    /// Where a step's scan lies.
    pub fn base(&self, k: usize, name: &str) -> PathBuf {
        self.args.output.join(Self::name(k)).join(name)
    }

    /// A volume of the scan of step k.
    pub fn scan_output(&self, k: usize, name: &str, dims: Dims, dtype: Dtype, unit: &'static str) -> Output {
        self.output(self.base(k, name), k, name, dims, dtype, unit)
    }

    /// Writes the truth of a step.
    fn begin<'a>(&self, folder: &Folder, step: Step<'a>, k: usize) -> Result<Begun<'a>> {
        let context = self.folder.context;
        let dims = self.args.cell.preset.dims();
        let mut volumes = Vec::new();
        let mut keep = |name: &str, manifest: &Manifest| volumes.push((name.to_string(), manifest.digest().hex()));
        // Voxels are made once for both truths, sixteen slices at a time.
        const SLICES: usize = 16;
        let mut codes = vec![0u16; SLICES.min(dims.nz) * dims.slice()];
        let mut truth = |output: &Output, what: &'static str, value: &dyn Fn(Voxel) -> f32| {
            folder.make(output, what, &mut |sink, progress| {
                by_slabs(sink, dims, SLICES, progress, |z, out| {
                    let codes = &mut codes[..out.len()];
                    step.voxels(z, codes);
                    out.iter_mut().zip(codes.iter()).for_each(|(o, &c)| *o = value(Voxel(c)));
                    Ok(())
                })
            })
        };
        keep("truth/label", &truth(&self.label(k), "labels", &|v| f32::from(v.label()))?);
        let slope = 1.0 / f64::from(FULL);
        keep("truth/li_frac", &truth(&self.solid(k), "lithium", &|v| (f64::from(v.level()) * slope) as f32)?);
        let picture = self.args.output.join("truth").join(Self::name(k)).join("label.png");
        if !picture.exists() {
            let mut slice = vec![0u16; dims.slice()];
            step.voxels(dims.nz / 2..dims.nz / 2 + 1, &mut slice);
            let labels: Vec<u8> = slice.iter().map(|&c| Voxel(c).label()).collect();
            write_labels(&picture, &labels, dims)?;
        }
        let counted = Counted::read(&self.label(k).base, dims)?;
        let mut truth = vec![("step", series::step_json(self, &step, k)), ("counted", counted.to_json())];
        if self.args.mode == Mode::Labels {
            truth.push(("markers", Json::Arr(step.markers().iter().map(|m| Json::obj(m.to_json())).collect())));
            return Ok(Begun { k, step, truth, volumes, scene: None });
        }
        let (specimen, pose) = (step.specimen()?, self.pose(&step, k)?);
        truth.push(("pose", pose.to_json(step.markers())));
        let surround = self.args.scan.surround;
        let manifest = folder.make(&self.in_scan(k), "labels in the scan", &mut |sink, progress| {
            let mut labels = vec![0u8; SLICES.min(dims.nz) * dims.slice()];
            by_slabs(sink, dims, SLICES, progress, |z, out| {
                let labels = &mut labels[..out.len()];
                lab::labels(&specimen, &pose, surround, context.isa, z, labels);
                out.iter_mut().zip(labels.iter()).for_each(|(o, &l)| *o = f32::from(l));
                Ok(())
            })
        })?;
        keep("truth/label_scan", &manifest);
        truth.push(("counted_in_scan", Counted::read(&self.in_scan(k).base, dims)?.voxels()));
        Ok(Begun { k, step, truth, volumes, scene: Some((specimen, pose)) })
    }

    /// Scans a step and, if somebody is to draw it, draws it.
    fn scan(&self, begun: Begun) -> Result<Made> {
        let (context, dims) = (self.folder.context, self.args.cell.preset.dims());
        let Begun { k, step, mut truth, mut volumes, scene } = begun;
        let mut keep = |name: &str, manifest: &Manifest| volumes.push((name.to_string(), manifest.digest().hex()));
        if let Some((specimen, pose)) = &scene {
            let (scans, found) = scan::make(self, k, specimen, pose)?;
            scans.iter().for_each(|(name, manifest)| keep(name, manifest));
            truth.extend(found);
        }
        if let Some(annotator) = &self.annotator {
            let manifest = self.folder.make(&self.drawn(k), "drawn", &mut |sink, progress| {
                let mut codes = vec![0u16; dims.slice()];
                let (mut labels, mut drawn) = (vec![0u8; dims.slice()], vec![0u8; dims.slice()]);
                by_slabs(sink, dims, 1, progress, |z, out| {
                    match &scene {
                        Some((specimen, pose)) => {
                            lab::labels(specimen, pose, self.args.scan.surround, context.isa, z.clone(), &mut labels);
                        }
                        None => {
                            step.voxels(z.clone(), &mut codes);
                            labels.iter_mut().zip(&codes).for_each(|(l, &c)| *l = Voxel(c).label());
                        }
                    }
                    annotator.draw(z.start, dims.nx, &labels, &mut drawn);
                    out.iter_mut().zip(&drawn).for_each(|(o, &l)| *o = f32::from(l));
                    Ok(())
                })
            })?;
            keep("drawn", &manifest);
        }
        Ok(Made { k, truth: Json::obj(truth), volumes })
    }
}

/// A slice in the colours of its labels.
fn write_labels(path: &Path, labels: &[u8], dims: Dims) -> Result<()> {
    let pixels: Vec<u8> = labels.iter().flat_map(|&l| LABELS[usize::from(l)].colour()).collect();
    write_rgb8(path, dims.nx, dims.ny, &pixels, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::cell::PRESETS;

    #[test]
    fn every_preset_and_mode_has_a_name_that_is_read() {
        for (name, mode) in Mode::NAMES {
            assert_eq!((Mode::parse(name).unwrap(), mode.name()), (mode, name));
        }
        assert!(Mode::parse("labls").unwrap_err().to_string().contains("did you mean 'labels'"));
        assert!(PRESETS.iter().all(|p| Preset::parse(p.name).unwrap() == *p));
    }
}
