//! `tomolith stitch`: fields of view above one another, or side by side, as one volume.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::progress::Progress;
use crate::cli::recon::{ReconArgs, check_base};
use crate::cli::reconstruct::{Cropped, refuse_outputs, summary, with_crop};
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange;
use crate::json::Json;
use crate::num::CONTRACT;
use crate::provenance::InputFile;
use crate::recon::flat::{Average, Frames};
use crate::recon::normalize::{Input, InputKind, NonFinite};
use crate::recon::passes;
use crate::recon::prepare::{Chain, Steps, Until};
use crate::recon::stitch::{Fit, side, vertical};
use crate::volume::manifest::Job;
use crate::volume::reader::{Reader, with_suffix};
use crate::volume::writer::Writer;
use crate::volume::{Dims, Dtype, Sink, Source, Spacing};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// `stitch vertical`.
pub const VERTICAL: Command = Command {
    path: &["stitch", "vertical"],
    about: "Join volumes above one another: the fields of view of a tall sample",
    details: "Each volume is nominally --offset slices above the one before it (or --step micrometres, by the volumes' \
              voxel size). The offset is searched within --search slices of that, refined to a part of a voxel in z, y \
              and x together with gain and offset of the grey values, and printed with standard errors. The overlap is \
              blended; values are on the first volume's scale. Volumes of one frame come from `recon`, which puts every \
              axis on the same pixel.",
    examples: "  tomolith stitch vertical out/low.mhd out/mid.mhd out/high.mhd --offset 1900 -o out/all\n  \
               tomolith stitch vertical a.mhd b.mhd --step 2.5mm --search 40 -o ab",
    groups: &[(
        "",
        &[
            Opt::new("volumes", Takes::Arguments("VOLUME"), "The volumes from the lowest slices up: .mhd, .npy, .tiff"),
            Opt::new("output", Takes::Value("DIR/NAME"), "Where to write, without extension").short('o'),
            OFFSET,
            STEP,
            SEARCH,
            Opt::new("overwrite", Takes::Switch, "Replace an existing output"),
        ],
    )],
    run: run_vertical,
};

/// Where the next field nominally lies, in slices.
pub const OFFSET: Opt = Opt::new("offset", Takes::Number("N[,N]"), "Slices from each field's begin to the next one's");
/// The same, as a length.
pub const STEP: Opt = Opt::new("step", Takes::Number("LENGTH"), "The same as a length, such as 2.5mm");
/// How far it may be off.
pub const SEARCH: Opt = Opt::new("search", Takes::Number("N"), "Slices that the offset may be off").default("20");

/// `stitch side`.
pub const SIDE: Command = Command {
    path: &["stitch", "side"],
    about: "Join projections side by side: two detectors, or two positions of one, that see one wide scan",
    details: "LEFT and RIGHT are stacks of projections of the same angles, counts with --flats and --darks (one file for \
              each side, separated by a comma), else transmission. A stack in an HDF5 file is FILE.h5:/path/to/data. \
              Offset, row shift and gain are found in the overlap; written is transmission, for `recon --input \
              transmission`.",
    examples: "  tomolith stitch side l.tiff r.tiff --flats fl.tiff,fr.tiff --darks dl.tiff,dr.tiff -o out/wide\n  \
               tomolith recon out/wide.mhd --input transmission --theta theta.txt --theta-unit deg -o out/slices",
    groups: &[(
        "",
        &[
            Opt::new("left", Takes::Argument("LEFT"), "Projections on the left"),
            Opt::new("right", Takes::Argument("RIGHT"), "Projections on the right"),
            Opt::new("output", Takes::Value("DIR/NAME"), "Where to write, without extension").short('o'),
            Opt::new("flats", Takes::Value("LEFT,RIGHT"), "Flat fields of either side"),
            Opt::new("darks", Takes::Value("LEFT,RIGHT"), "Dark fields of either side"),
            Opt::new("overlap", Takes::Number("A:B"), "Columns that both see, from A to B [default: all that can be]"),
            Opt::new(
                "nonfinite",
                Takes::Choice(&["error", "zero"]),
                "What to do with dead pixels: stop, or make them air",
            )
            .default("error"),
            Opt::new("overwrite", Takes::Switch, "Replace an existing output"),
        ],
    )],
    run: run_side,
};

/// Versions of the stages in manifests.
pub const VERTICAL_VERSION: u32 = 3;
const SIDE_VERSION: u32 = 2;

/// A fit in a manifest.
pub fn fit_json(fit: &Fit) -> Json {
    Json::obj([
        ("shift_zyx", Json::from(fit.shift)),
        ("standard_errors_zyx", Json::from(fit.errors)),
        ("gain", fit.gain.into()),
        ("offset", fit.offset.into()),
        ("correlation", fit.correlation.into()),
    ])
}

/// A fit in words.
pub fn fit_text(fit: &Fit) -> String {
    let [z, y, x] = fit.shift;
    let [ez, ey, ex] = fit.errors;
    format!(
        "z {z:.3} +- {ez:.3}, y {y:.3} +- {ey:.3}, x {x:.3} +- {ex:.3}; gain {:.5}, offset {:.3e}; correlation {:.4}",
        fit.gain, fit.offset, fit.correlation
    )
}

/// The output and whether it may be replaced; what stands in its way is refused.
pub fn output(context: &Context) -> Result<(PathBuf, bool)> {
    let base = context.settings.required_path("output")?;
    check_base(&base).map_err(|e| context.settings.blame("output", e))?;
    let overwrite = context.settings.is_on("overwrite")?;
    refuse_outputs(&base, overwrite)?;
    Ok((base, overwrite))
}

/// Input files by what they are for.
pub fn with_role(inputs: Vec<InputFile>, role: &str) -> Vec<InputFile> {
    inputs.into_iter().map(|input| InputFile { role: role.to_string(), ..input }).collect()
}

/// Nominal slices from each of `count` fields to the next, and how many they may be off. `spacing` is the first one's.
pub fn nominal(settings: &Settings, count: usize, spacing: Spacing) -> Result<(Vec<f64>, usize)> {
    let between = count - 1;
    let offsets = match (settings.parse("offset", values::numbers)?, settings.parse("step", values::length)?) {
        (Some(list), None) if list.len() == between => list,
        (Some(list), None) if list.len() == 1 => vec![list[0]; between],
        (Some(list), None) => {
            return Err(Error::usage(format!("--offset has {} numbers for {count} fields", list.len()))
                .help("give one for all, or one for each but the first"));
        }
        (None, Some(step)) => {
            let Some([_, _, z]) = spacing else {
                return Err(Error::usage("--step: the first field does not state its voxel size")
                    .help("give the offset in slices with --offset"));
            };
            vec![step.0 / z.0; between]
        }
        _ => {
            return Err(Error::usage("the nominal offset is given by one of --offset and --step")
                .help("write --offset SLICES or --step LENGTH"));
        }
    };
    if let Some(offset) = offsets.iter().find(|&&offset| offset < 1.0) {
        return Err(Error::usage(format!("an offset of {offset} slices")).help("name the fields from the lowest up"));
    }
    Ok((offsets, settings.parsed("search", values::index)?))
}

fn run_vertical(context: &Context) -> Result<()> {
    let (base, overwrite) = output(context)?;
    let paths = context.settings.required_paths("volumes")?;
    if paths.len() < 2 {
        return Err(Error::usage("one volume: there is nothing to stitch").help("name two or more, from the lowest up"));
    }
    join(context, &base, overwrite, &paths, None)
}

/// Joins the volumes `paths`, from the lowest up; of a reconstruction what it crops.
pub fn join(context: &Context, base: &Path, overwrite: bool, paths: &[PathBuf], of: Option<&ReconArgs>) -> Result<()> {
    let sources: Vec<Box<dyn Source>> =
        paths.iter().map(|path| exchange::open_stack(path, context.io)).collect::<Result<_>>()?;
    let (offsets, search) = nominal(&context.settings, paths.len(), sources[0].spacing())?;
    let fields: Vec<&dyn Source> = sources.iter().map(AsRef::as_ref).collect();
    let (stacked, fits) = vertical::place(context.isa, &fields, &offsets, search)?;
    for (k, fit) in fits.iter().enumerate() {
        context.talk.note(format!("{} lies on {}: {}", paths[k + 1].display(), paths[k].display(), fit_text(fit)));
    }
    let mut inputs = Vec::new();
    for (k, source) in sources.iter().enumerate() {
        inputs.extend(with_role(source.inputs()?, &format!("field {k}")));
    }
    let places = stacked.places().into_iter().zip(paths).map(|((at, gain, offset), path)| {
        let at = at.iter().map(|&v| v.into()).collect();
        // The volume may not outlive the whole: how it was made is told here, too.
        let reader = Reader::open(path, context.io).ok();
        let manifest = reader.as_ref().and_then(Reader::manifest);
        let made = ["stage", "params", "inputs"].map(|key| (key, manifest.and_then(|m| m.get(key)).cloned()));
        let made = Json::obj(made.map(|(key, value)| (key, value.unwrap_or(Json::Null))));
        Json::obj([("at_zyx", Json::Arr(at)), ("gain", gain.into()), ("offset", offset.into()), ("made", made)])
    });
    let d = stacked.dims();
    let [x, y] = of.map_or(Ok([0..d.nx, 0..d.ny]), |args| args.cropped(d.nx))?;
    let job = Job {
        dims: Dims::new(d.nz, y.len(), x.len())?,
        dtype: Dtype::F32,
        spacing: sources[0].spacing(),
        slope: 1.0,
        intercept: 0.0,
        value_unit: Reader::open(&paths[0], context.io).map_or("unknown".into(), |r| r.header().unit.clone()),
        stage: "stitch vertical".into(),
        stage_version: VERTICAL_VERSION,
        params: with_crop(
            Json::obj([
                ("nominal_offsets", Json::from(&offsets[..])),
                ("search", search.into()),
                ("fields", Json::Arr(places.collect())),
            ]),
            of,
        ),
        inputs,
        contract: CONTRACT,
    };
    let results = Json::obj([("fits", Json::Arr(fits.iter().map(fit_json).collect()))]);
    write(context, base, job, overwrite, results, |sink, progress| {
        stacked.write(&mut Cropped { sink, size: [d.nx, d.ny], x, y }, progress)
    })
}

fn run_side(context: &Context) -> Result<()> {
    let settings = &context.settings;
    let (base, overwrite) = output(context)?;
    let sides = [settings.required_path("left")?, settings.required_path("right")?];
    let pair = |name: &str| -> Result<Option<[PathBuf; 2]>> {
        let Some(text) = settings.text(name)? else { return Ok(None) };
        match text.split(',').collect::<Vec<_>>().as_slice() {
            [left, right] => Ok(Some([PathBuf::from(left), PathBuf::from(right)])),
            _ => Err(Error::usage(format!("--{name}: one file for each side")).help("write LEFT,RIGHT")),
        }
    };
    let frames = match (pair("flats")?, pair("darks")?) {
        (None, None) => None,
        (Some(flats), Some(darks)) => Some((flats, darks)),
        _ => return Err(Error::usage("counts need --flats and --darks").help("give both, or neither for transmission")),
    };
    let non_finite = settings.parsed("nonfinite", NonFinite::parse)?;
    let overlap = match settings.parse("overlap", values::ranges)?.as_deref() {
        None => side::LEAST_OVERLAP..usize::MAX,
        Some([[a, b]]) if *a >= 0.0 => *a as usize..(*b as usize).saturating_add(1),
        Some(_) => return Err(Error::usage("--overlap: one range of columns").help("write 30:60")),
    };
    let open = |path: &Path| exchange::open_stack(path, context.io);
    let mut transmissions = Vec::new();
    let mut inputs = Vec::new();
    for (k, path) in sides.iter().enumerate() {
        let name = ["left", "right"][k];
        let projections = open(path)?;
        inputs.extend(with_role(projections.inputs()?, name));
        let fields = match &frames {
            Some((flats, darks)) => {
                let (flats, darks) = (open(&flats[k])?, open(&darks[k])?);
                inputs.extend(with_role(flats.inputs()?, &format!("{name} flats")));
                inputs.extend(with_role(darks.inputs()?, &format!("{name} darks")));
                Some((flats, darks))
            }
            None => None,
        };
        transmissions.push(Transmission { projections, fields, non_finite, isa: context.isa });
    }
    let [left, right] = <[Transmission; 2]>::try_from(transmissions).map_err(|_| Error::bug("two sides"))?;
    for side in [&left, &right] {
        // What is wrong with the flats shows before the work begins.
        side.check()?;
    }
    let (wide, fit) = side::place(context.isa, left, right, overlap)?;
    context.talk.note(format!("the right side lies at {}", fit_text(&fit)));
    let dims: Dims = wide.dims();
    let job = Job {
        dims,
        dtype: Dtype::F32,
        spacing: None,
        slope: 1.0,
        intercept: 0.0,
        value_unit: "transmission".into(),
        stage: "stitch side".into(),
        stage_version: SIDE_VERSION,
        params: Json::obj([
            ("shift_zyx", Json::from(fit.shift)),
            ("gain", fit.gain.into()),
            ("input", Json::from(if frames.is_some() { "counts" } else { "transmission" })),
            ("nonfinite", non_finite.name().into()),
        ]),
        inputs,
        contract: CONTRACT,
    };
    let results = Json::obj([("fit", fit_json(&fit))]);
    write(context, &base, job, overwrite, results, |sink, progress| passes::copy(&wide, sink, progress))
}

/// Writes a volume and says what it is.
fn write(
    context: &Context,
    base: &Path,
    job: Job,
    overwrite: bool,
    results: Json,
    work: impl FnOnce(&mut dyn Sink, passes::Progress) -> Result<()>,
) -> Result<()> {
    let slice = (job.dims.slice() * Dtype::F32.size()) as u64;
    let mut writer = Writer::create(base, job, overwrite)?;
    if writer.next_slice() > 0 {
        context.talk.note(format!("resumes at slice {}", writer.next_slice()));
    }
    let progress = Progress::new(&context.talk, "stitch", "slices");
    work(&mut writer, &mut |done, total| progress.update(done as u64, total as u64, done as u64 * slice))?;
    progress.finish();
    let manifest = writer.finish(results, context.run_record())?;
    context.talk.note(format!("{} is the record", with_suffix(base, ".json").display()));
    context.out.line(summary(base, &manifest)?)
}

/// Projections divided by their flats as they are read.
struct Transmission {
    projections: Box<dyn Source>,
    fields: Option<(Box<dyn Source>, Box<dyn Source>)>,
    non_finite: NonFinite,
    isa: crate::num::lanes::Isa,
}

impl Transmission {
    fn chain(&self, rows: Range<usize>) -> Result<Chain<'_>> {
        let frames =
            self.fields.as_ref().map(|(flats, darks)| Frames::new(flats.as_ref(), darks.as_ref(), Average::Mean));
        let kind = if frames.is_some() { InputKind::Counts } else { InputKind::Transmission };
        let input = Input::new(self.projections.as_ref(), kind, frames, self.non_finite, rows)?;
        Chain::new(input, &Steps::default(), Until::Transmission)
    }
    fn check(&self) -> Result<()> {
        self.chain(0..self.projections.dims().ny).map(|_| ())
    }
}

impl Source for Transmission {
    fn dims(&self) -> Dims {
        self.projections.dims()
    }
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        let chain = self.chain(y.clone())?;
        chain.read(z.clone(), y.clone(), out)?;
        chain.finish(self.isa, z, y, out).map(|_| ())
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.projections.cost(z, y)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        self.projections.inputs()
    }
}
