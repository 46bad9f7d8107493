//! The computing behind `recon`: an opened scan in, a volume with its manifest and a picture out.

use crate::cli::Context;
use crate::cli::axis;
use crate::cli::passes::{Course, Shared, made};
use crate::cli::prepare::Padding;
use crate::cli::progress::Progress;
use crate::cli::recon::{ReconArgs, Role};
use crate::cli::scan::{OpenScan, ScanArgs};
use crate::cli::values::Center;
use crate::error::{Error, Fault, Result};
use crate::exchange::window::{DEFAULT_PERCENTILES, Window, to_grey};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::optics;
use crate::provenance::{Digest, InputFile};
use crate::recon::field::Field;
use crate::recon::flat::Frames;
use crate::recon::geometry::Axis;
use crate::recon::normalize;
use crate::recon::normalize::{InputKind, NonFinite};
use crate::recon::prepare::{Chain, NOT_FINITE, Steps, Until};
use crate::recon::scan::{Algorithm, Job, Plan, Watch, reconstruct};
use crate::recon::truncation::{Edges, is_truncated};
use crate::volume::manifest::{self, Manifest};
use crate::volume::reader::with_suffix;
use crate::volume::writer::Writer;
use crate::volume::{Dims, Dtype, Sink, Source};
use std::ops::Range;
use std::path::Path;

/// A slice whose values are known up to a smooth offset only says so in its unit.
pub const RELATIVE: &str = "relative ";

/// Reconstructs `scan` into `args.output` and returns the manifest.
pub fn run(context: &Context, args: &ReconArgs, scan: OpenScan) -> Result<Manifest> {
    if args.role != Role::Part {
        refuse_outputs(&args.output, args.overwrite)?;
    }
    // What is wrong with the numbers is wrong with the scan.
    let of_scan = |e: Error| if e.fault() == Fault::Data { e.at(&args.scan) } else { e };
    let geometry = geometry(context, &args.how, &scan).map_err(of_scan)?;
    if let Some(paganin) = &scan.prepared.steps.phase {
        context.talk.note(format!(
            "phase retrieval: wavelength {:.4e} um, decay length {:.2} px; TomoPy's alpha would be {:.4e}",
            optics::wavelength(paganin.energy).0,
            paganin.decay(),
            optics::alpha_of(paganin.delta_beta)
        ));
    }
    let course = Course::new(context, args, &scan, &geometry)?;
    if let Some(what) = course.warning() {
        context.talk.warn(what);
    }
    let inputs = inputs(&scan)?;
    let [placed, passed] = args.joined.clone().map_or([None, None], |told| told.map(Some));
    let n = geometry.field.image;
    let rows = scan.rows.len();
    let [x, y] = args.cropped(n)?;
    let volume = Dims::new(rows, y.len(), x.len())?;
    let unit = if scan.pixel.is_some() { "1/cm" } else { "1/pixel" };
    let job = manifest::Job {
        dims: volume,
        dtype: Dtype::F32,
        spacing: scan.pixel.map(|p| [p; 3]),
        slope: 1.0,
        intercept: 0.0,
        value_unit: format!("{}{unit}", if geometry.truncated == Some(true) { RELATIVE } else { "" }),
        stage: "recon".to_string(),
        stage_version: args.how.algorithm.version(),
        params: with("fields", placed, params(args, &scan, &geometry, course.lengths)),
        inputs: inputs.clone(),
        contract: CONTRACT,
    };
    if args.role == Role::Part {
        if let Some(manifest) = made(&args.output, job.key()) {
            return Ok(manifest);
        }
        refuse_outputs(&args.output, args.overwrite)?;
    }
    let shared = Shared { context, args, scan: &scan, inputs: &inputs };
    let between = shared.before(&course).map_err(of_scan)?;
    let plan = Plan::new(&geometry.field, &scan.angles, &scan.filter, args.how.algorithm, scan.pixel)?;
    let mut writer = Writer::create(&args.output, job, args.overwrite)?;
    if writer.next_slice() > 0 {
        context.talk.note(format!("resumes at slice {} of {rows}", writer.next_slice()));
    }
    let mut watch = Show {
        context,
        picture: with_suffix(&args.output, ".png"),
        side: n,
        overwrite: args.overwrite,
        progress: Progress::new(&context.talk, "recon", "slices"),
        slice_bytes: (volume.slice() * Dtype::F32.size()) as u64,
    };
    let recon_job = Job {
        angles: scan.angles.clone(),
        axis: geometry.axis.clone(),
        filter: scan.filter.clone(),
        algorithm: args.how.algorithm,
        rows: scan.rows.clone(),
        pixel: scan.pixel,
        slab: course.slab,
    };
    let reconstructed = between.chain(&args.how, &scan, Until::Absorption).and_then(|chain| {
        let mut sink = Cropped { sink: &mut writer, size: [n, n], x, y };
        reconstruct(&chain, &recon_job, &plan, context.isa, &mut sink, &mut watch)
    });
    if let Err(e) = reconstructed {
        drop((watch, writer));
        if e.fault() == Fault::Data {
            discard(&args.output, args.overwrite);
        }
        return Err(of_scan(e));
    }
    watch.progress.finish();
    let results = Json::obj([
        ("axis", geometry.axis_found),
        ("truncated", geometry.truncated.map_or(Json::Null, Json::Bool)),
        ("before", between.counts()?),
    ]);
    let results = with("fields", passed, results);
    let manifest = writer.finish(results, context.run_record())?;
    if !args.keep {
        between.remove();
    }
    let spoiled = manifest.json().need("results")?.need("counts")?.get(NOT_FINITE).and_then(Json::as_u64).unwrap_or(0);
    if spoiled > 0 {
        let policy = args.how.nonfinite.name();
        context.talk.warn(format!("{spoiled} absorption value(s) were not finite (--nonfinite {policy})"));
    }
    Ok(manifest)
}

/// What is known of the geometry before anything is reconstructed.
pub struct Geometry {
    /// The axis on the columns in use.
    pub axis: Axis,
    /// How it was found; null if it was given.
    pub axis_found: Json,
    /// Whether the sample is wider than the detector; `None` if nobody asked.
    pub truncated: Option<bool>,
    /// The columns.
    pub field: Field,
}

/// Parts of the rows at which truncation is looked for.
pub const LOOKED_AT: [f64; 3] = [0.25, 0.5, 0.75];

/// Finds the axis, and whether the sample is wider than the detector.
pub fn geometry(context: &Context, how: &ScanArgs, scan: &OpenScan) -> Result<Geometry> {
    let dims = scan.scan.projections.dims();
    let n = dims.nx;
    let prepare = &how.prepare;
    let opposite = ScanArgs { center: Center::Correlation, ..how.clone() };
    // An axis near the detector's edge is not where Vo's method looks.
    let method = if prepare.half_acquisition && how.center == Center::Auto { &opposite } else { how };
    let (axis, axis_found) = match &scan.axis {
        Some(axis) => (axis.clone(), Json::Null),
        None => axis::find(context, method, scan)?,
    };
    if matches!(prepare.padding, Padding::None | Padding::Edge) && !prepare.half_acquisition {
        let field = if prepare.padding == Padding::Edge { Field::padded(n) } else { Field::plain(n) };
        return Ok(Geometry { axis, axis_found, truncated: None, field });
    }
    let middle = axis.at(scan.rows.start);
    let edges = match prepare.half_acquisition {
        true if middle > (n - 1) as f64 / 2.0 => Edges::Left,
        true => Edges::Right,
        false => Edges::Both,
    };
    let truncated = prepare.padding == Padding::Wide || is_wide(context, how, scan, edges)?;
    let field = match (prepare.half_acquisition, truncated) {
        (true, _) => Field::off_axis(n, middle)?,
        (false, true) if n > 1 => Field::padded(n),
        (false, _) => Field::plain(n),
    };
    if truncated {
        context.talk.warn("the sample is wider than the detector: the slices' values are relative");
    }
    Ok(Geometry { axis, axis_found, truncated: Some(truncated), field })
}

/// Whether the sample is wider than the detector, in one of the rows that are looked at.
pub fn is_wide(context: &Context, how: &ScanArgs, scan: &OpenScan, edges: Edges) -> Result<bool> {
    let dims = scan.scan.projections.dims();
    let mut wide = false;
    for part in LOOKED_AT {
        let row = scan.rows.start + ((scan.rows.len() - 1) as f64 * part) as usize;
        let chain = quick_chain(how, scan, keep_or_zero(how.nonfinite), row..row + 1)?;
        let mut block = vec![0.0f32; chain.length(dims.nz, 1)];
        chain.read(0..dims.nz, row..row + 1, &mut block)?;
        chain.finish(context.isa, 0..dims.nz, row..row + 1, &mut block)?;
        wide |= is_truncated(&block[..dims.nz * dims.nx], dims.nx, edges);
    }
    Ok(wide)
}

/// A dead pixel spoils its slice, not what is looked for in it: kept values become air here.
pub fn keep_or_zero(policy: NonFinite) -> NonFinite {
    if policy == NonFinite::Keep { NonFinite::Zero } else { policy }
}

/// Removes what a run left that cannot be taken up: its numbers are refused, and will be refused again. What cannot be
/// removed stays, and the next run says so.
fn discard(base: &Path, overwrite: bool) {
    for suffix in [".raw.part", ".raw.journal"] {
        let _ = std::fs::remove_file(with_suffix(base, suffix));
    }
    if !overwrite {
        let _ = std::fs::remove_file(with_suffix(base, ".png"));
    }
}

/// Refuses, before anything is computed, outputs that stand in the way. An unfinished run has a journal, and is the
/// writer's matter.
pub fn refuse_outputs(base: &Path, overwrite: bool) -> Result<()> {
    let unfinished = with_suffix(base, ".raw.journal").exists();
    for suffix in [".json", ".raw", ".mhd", ".nhdr", ".run.json", ".png"] {
        let path = with_suffix(base, suffix);
        if path.is_dir() {
            return Err(Error::cannot_create("is a folder, and a file of this name is to be written")
                .help("choose another output name, or remove the folder")
                .at(path));
        }
        if path.exists() && !overwrite && !unfinished {
            return Err(Error::cannot_create("already exists")
                .help("choose another output name, or replace it with --overwrite")
                .at(path));
        }
    }
    Ok(())
}

/// The projections of some rows, with what turns them into absorption one row at a time.
pub fn quick_chain<'a>(
    how: &ScanArgs,
    scan: &'a OpenScan,
    non_finite: NonFinite,
    rows: Range<usize>,
) -> Result<Chain<'a>> {
    let source = scan.scan.projections.as_ref();
    chain(how, scan, source, non_finite, rows, &scan.prepared.steps.quick(), Until::Absorption)
}

/// The projections of `source` in some rows with the steps `steps`.
pub fn chain<'a>(
    how: &ScanArgs,
    scan: &'a OpenScan,
    source: &'a dyn Source,
    non_finite: NonFinite,
    rows: Range<usize>,
    steps: &Steps,
    until: Until,
) -> Result<Chain<'a>> {
    let frames = match (&scan.scan.flats, &scan.scan.darks) {
        (Some(flats), Some(darks)) if scan.kind == InputKind::Counts => Some(Frames {
            positions: scan.prepared.positions.as_deref(),
            blend: scan.prepared.blend,
            exposure_ratio: how.prepare.exposure_ratio,
            ..Frames::new(flats.as_ref(), darks.as_ref(), how.flat_average)
        }),
        _ => None,
    };
    Chain::new(normalize::Input::new(source, scan.kind, frames, non_finite, rows)?, steps, until)
}

/// Every value that decides the bits.
fn params(args: &ReconArgs, scan: &OpenScan, geometry: &Geometry, lengths: Option<[usize; 2]>) -> Json {
    let how = &args.how;
    let compat = how.algorithm == Algorithm::GridrecCompat;
    let filter_par = if compat { scan.filter.compat_parameters() } else { scan.filter.parameters() };
    let axis = match &geometry.axis {
        Axis::Fixed(pixel) => Json::from(*pixel),
        Axis::PerRow(pixels) => Json::from(&pixels[scan.rows.clone()]),
    };
    let gridding_error = match how.algorithm {
        Algorithm::Gridrec(error) => Json::from(error),
        _ => Json::Null,
    };
    let length = |i: usize| lengths.map_or(Json::Null, |l| l[i].into());
    let angles: Vec<u8> = scan.angles.radians().iter().flat_map(|a| a.to_le_bytes()).collect();
    let counts = scan.kind == InputKind::Counts;
    let dims = scan.scan.projections.dims();
    let prepared = &scan.prepared;
    let views: Vec<u8> = prepared.views.iter().flat_map(|&v| (v as u64).to_le_bytes()).collect();
    let own = Json::obj([
        ("algorithm", Json::from(how.algorithm.name())),
        ("angles", scan.angles.len().into()),
        ("angles_sha256", Digest::of(&angles).hex().as_str().into()),
        ("angle_unit", scan.angles.unit().name().into()),
        ("axis_pixel", axis),
        ("before", prepared.steps.params(dims.nz, dims.nx)),
        ("bin", how.prepare.bin.into()),
        ("columns", Json::Arr(vec![prepared.columns.start.into(), prepared.columns.end.into()])),
        ("exposure_ratio", if counts { how.prepare.exposure_ratio.into() } else { Json::Null }),
        (
            "field",
            Json::obj([
                ("columns", Json::from(geometry.field.columns)),
                ("lead", geometry.field.lead.into()),
                ("fill", format!("{:?}", geometry.field.fill).to_lowercase().as_str().into()),
                ("half_acquisition", geometry.field.weights.is_some().into()),
            ]),
        ),
        ("filter", scan.filter.name().as_str().into()),
        ("filter_par", filter_par.into()),
        ("flat_average", if counts { how.flat_average.name().into() } else { Json::Null }),
        ("flat_blend", if counts { prepared.blend.name().into() } else { Json::Null }),
        ("grid", length(0)),
        ("gridding_error", gridding_error),
        ("input", scan.kind.name().into()),
        ("nonfinite", how.nonfinite.name().into()),
        ("padded", length(1)),
        ("pixel_um", scan.pixel.map_or(Json::Null, |p| p.0.into())),
        ("rows", Json::Arr(vec![scan.rows.start.into(), scan.rows.end.into()])),
        ("views_sha256", Digest::of(&views).hex().as_str().into()),
    ]);
    with_crop(own, Some(args))
}

/// Parameters, and what is cropped, if something is.
pub fn with_crop(params: Json, args: Option<&ReconArgs>) -> Json {
    with("crop", args.and_then(|args| args.crop.as_ref()).map(|(crop, _)| crop.as_str().into()), params)
}

/// An object with one member more, if there is one.
fn with(name: &str, value: Option<Json>, object: Json) -> Json {
    match (object, value) {
        (Json::Obj(mut members), Some(value)) => {
            members.insert(name.into(), value);
            Json::Obj(members)
        }
        (object, _) => object,
    }
}

/// Of slices, the columns `x` of the rows `y`.
pub struct Cropped<'a> {
    /// Where they go.
    pub sink: &'a mut dyn Sink,
    /// Columns and rows of a slice.
    pub size: [usize; 2],
    /// Columns that go there.
    pub x: Range<usize>,
    /// Rows.
    pub y: Range<usize>,
}

impl Sink for Cropped<'_> {
    fn next_slice(&self) -> usize {
        self.sink.next_slice()
    }
    fn write(&mut self, slices: &[f32]) -> Result<()> {
        let [nx, ny] = self.size;
        if self.x.len() == nx && self.y.len() == ny {
            return self.sink.write(slices);
        }
        // A slice at a time: what is held is no part of what was reckoned.
        let mut part = Vec::with_capacity(self.x.len() * self.y.len());
        for slice in slices.chunks_exact(nx * ny) {
            part.clear();
            let rows = slice.chunks_exact(nx).take(self.y.end).skip(self.y.start);
            rows.for_each(|row| part.extend_from_slice(&row[self.x.clone()]));
            self.sink.write(&part)?;
        }
        Ok(())
    }
    fn count(&mut self, z: usize, name: &str, n: u64) -> Result<()> {
        self.sink.count(z, name, n)
    }
}

/// All files that numbers came from, each once.
pub fn inputs(scan: &OpenScan) -> Result<Vec<InputFile>> {
    let mut files = scan.scan.projections.inputs()?;
    for (role, frames) in [("flats", &scan.scan.flats), ("darks", &scan.scan.darks)] {
        if let Some(frames) = frames {
            for file in frames.inputs()? {
                // One HDF5 file holds all three: it is named once, as the projections.
                if !files.iter().any(|f| f.digest == file.digest && f.name == file.name) {
                    files.push(InputFile { role: role.to_string(), ..file });
                }
            }
        }
    }
    for (role, path) in &scan.side_files {
        files.push(InputFile::of(role, path)?);
    }
    Ok(files)
}

/// Shows the middle slice as soon as there is one, and the progress.
struct Show<'a> {
    context: &'a Context,
    picture: std::path::PathBuf,
    side: usize,
    overwrite: bool,
    progress: Progress<'a>,
    slice_bytes: u64,
}

impl Watch for Show<'_> {
    fn middle(&mut self, row: usize, image: &[f32]) -> Result<()> {
        write_picture(&self.picture, image, self.side, self.overwrite)?;
        self.context.talk.note(format!("{} shows row {row}", self.picture.display()));
        Ok(())
    }
    fn progress(&mut self, done: usize, total: usize) {
        self.progress.update(done as u64, total as u64, done as u64 * self.slice_bytes);
    }
}

/// Writes a square image as PNG with a window from its own percentiles. A picture with the same bytes that is there
/// already is what an interrupted run of this job left, and stays.
pub fn write_picture(path: &Path, image: &[f32], side: usize, overwrite: bool) -> Result<()> {
    let (low, high) = DEFAULT_PERCENTILES;
    // An image without two different finite values has no window of its own.
    let window = match Window::of_percentiles(image, low, high)? {
        Some(window) => window,
        None => Window::new(0.0, 1.0)?,
    };
    let picture = to_grey(image, side, side, window)?;
    if !overwrite
        && path.is_file()
        && std::fs::read(path).is_ok_and(|bytes| Ok(bytes) == picture.encode().map_err(|_| ()))
    {
        return Ok(());
    }
    picture.write(path, overwrite)
}

/// One line of data for stdout: where the volume is, what it is, and the digest of its voxels.
pub fn summary(base: &Path, manifest: &Manifest) -> Result<String> {
    let volume = manifest.json().need("volume")?;
    let dims = volume.need("dims")?;
    let unit = volume.need_str("unit")?;
    Ok(format!(
        "{}  {} x {} x {} f32 {unit}  {}",
        with_suffix(base, ".mhd").display(),
        dims.need_u64("nx")?,
        dims.need_u64("ny")?,
        dims.need_u64("nz")?,
        manifest.digest().hex()
    ))
}
