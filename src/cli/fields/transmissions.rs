//! Fields of which transmissions are joined, before the phase is retrieved: see [`crate::recon::stitch::rows`].

use super::settings;
use crate::cli::passes::{BASE, Course, Shared};
use crate::cli::prepare::Padding;
use crate::cli::recon::{ReconArgs, Role};
use crate::cli::reconstruct::{Geometry, inputs};
use crate::cli::scan::OpenScan;
use crate::cli::values::Center;
use crate::cli::{Context, axis, passes, reconstruct, stitch};
use crate::error::{Error, Fault, Result};
use crate::json::Json;
use crate::provenance::InputFile;
use crate::recon::field::Field;
use crate::recon::geometry::Axis;
use crate::recon::normalize::InputKind;
use crate::recon::prepare::Steps;
use crate::recon::select::Turned;
use crate::recon::stitch::rows;
use crate::volume::reader::{Reader, with_suffix};
use crate::volume::{Dims, Dtype, Source, Spacing};
use std::ops::Range;
use std::path::Path;

/// Version of the bits of joined transmissions, and of the axis about which they are reconstructed.
pub const ROWS_VERSION: u32 = 2;
/// Angles of two fields are the same if a pixel at the detector's edge moves by less, pixels.
const SAME: f64 = 0.05;

/// A field: its options, and its scan.
pub type Opened = (ReconArgs, OpenScan);

/// Why transmissions cannot be joined; none if they can.
pub fn apart(fields: &[Opened]) -> Option<&'static str> {
    let (_, first) = fields.first()?;
    let edge = first.scan.projections.dims().nx as f64 / 2.0;
    let (theta, phase) = (first.angles.radians(), &first.prepared.steps.phase);
    let any = |differs: &dyn Fn(&Opened) -> bool| fields.iter().any(differs);
    let same = |scan: &OpenScan| {
        let own = scan.angles.radians();
        own.len() == theta.len() && own.iter().zip(theta).all(|(a, b)| (a - b).abs() * edge < SAME)
    };
    let of_rows = |(args, scan): &Opened| {
        matches!(scan.axis, Some(Axis::PerRow(_))) || scan.axis.is_none() && args.how.center == Center::Tilt
    };
    match () {
        () if any(&|(_, scan)| scan.prepared.steps.phase.is_none()) => Some("no phase is retrieved"),
        () if any(&|(_, scan)| scan.prepared.steps.phase != *phase) => Some("the phase is retrieved in several ways"),
        () if any(&|(_, scan)| !same(scan)) => Some("fields were taken at other angles"),
        () if any(&of_rows) => Some("the axis is another in every row"),
        () if any(&|(args, _)| args.rows.is_some()) => Some("rows are chosen"),
        () if any(&|(args, _)| args.how.prepare.half_acquisition) => Some("the axis is far off the middle"),
        () => None,
    }
}

/// What is known of a field that ends as transmissions: its axis.
pub fn geometry(context: &Context, args: &ReconArgs, scan: &OpenScan) -> Result<Geometry> {
    let (axis, axis_found) = match &scan.axis {
        Some(axis) => (axis.clone(), Json::Null),
        None => axis::find(context, &args.how, scan)?,
    };
    let field = Field::plain(scan.scan.projections.dims().nx);
    Ok(Geometry { axis, axis_found, truncated: None, field })
}

/// The scan that fields become: that of the first with other projections, from `inputs`, about the axis on column `axis`, of
/// which only the phase is still to be retrieved.
fn together(first: OpenScan, projections: impl Source + 'static, inputs: Vec<InputFile>, axis: f64) -> OpenScan {
    let mut scan = first;
    let phase = scan.prepared.steps.phase;
    scan.prepared.steps = Steps { phase, ..Steps::default() };
    (scan.rows, scan.axis) = (0..projections.dims().ny, Some(Axis::Fixed(axis)));
    scan.scan.projections = Box::new(Told { source: projections, inputs });
    (scan.scan.flats, scan.scan.darks, scan.kind) = (None, None, InputKind::Transmission);
    scan.side_files.clear();
    scan
}

/// The course of the joined scan of `rows` rows, with what joining takes before it: what it reads is for who knows all fields.
///
/// # Errors
/// Usage: memory in which joining or what follows does not fit.
pub fn course(context: &Context, args: &ReconArgs, first: OpenScan, rows: usize) -> Result<Course> {
    let Dims { nz, nx, .. } = first.scan.projections.dims();
    let memory = BASE + rows::bytes(nz, nx);
    if args.memory.is_some_and(|most| memory > most) {
        return Err(Error::usage(format!("joining fields needs {} MiB", memory.div_ceil(1 << 20)))
            .help("give more with --memory, crop with --columns, or bin with --bin 2"));
    }
    let scan = together(first, Absent(Dims::new(nz, rows, nx)?), Vec::new(), nx as f64 / 2.0);
    // The wider one of those that it can have.
    let field = if args.how.prepare.padding == Padding::None { Field::plain(nx) } else { Field::padded(nx) };
    let geometry = Geometry { axis: Axis::Fixed(0.0), axis_found: Json::Null, truncated: None, field };
    let mut course = Course::new(context, args, &scan, &geometry)?;
    let writes = Dims::new(nz, rows, nx)?.bytes(Dtype::F32);
    course.passes.insert(0, passes::Pass { name: "joined", reads: 0, writes, memory });
    Ok(course)
}

/// What each field tells of the axis of the whole, on the columns of the first one, and the axis: that of the first if it is given,
/// otherwise the mean of those that are given or that opposite views tell, of all if there are none; where these differ, that of the
/// first. `apart`: by how many columns the axis of a field lies right of that of the field above it.
fn common(axes: &[(f64, Json)], apart: impl Iterator<Item = f64>) -> (Vec<f64>, f64) {
    let sure = |how: &Json| how.get("method").is_none_or(|method| method.as_str() == Some("correlation"));
    let any = axes.iter().any(|(_, how)| sure(how));
    let mut carried = 0.0;
    let apart = [0.0].into_iter().chain(apart);
    let told: Vec<f64> = axes.iter().zip(apart).map(|((axis, _), by)| (carried += by, axis + carried).1).collect();
    let believed = || told.iter().zip(axes).filter(|(_, (_, how))| !any || sure(how)).map(|(axis, _)| *axis);
    let mean = believed().sum::<f64>() / believed().count() as f64;
    let agree = any || told.iter().all(|axis| (axis - mean).abs() <= axis::APART);
    // What is given is what is wanted; of several that nothing supports the first is as good as any, and a mean of them none.
    let axis = if axes[0].1 == Json::Null || !agree { told[0] } else { mean };
    (told, axis)
}

/// Joins transmissions, then reconstructs them as one scan about the axis that its fields tell.
pub fn run(context: &Context, base: &Path, fields: Vec<Opened>, offsets: &[f64], search: usize) -> Result<()> {
    let count = fields.len();
    let whole = ReconArgs::of(&settings(context, fields[0].0.scan.as_os_str(), 0, count), base.to_path_buf())?;
    // What cannot be shows before any work.
    let tall = fields[count - 1].1.rows.len() + offsets.iter().sum::<f64>() as usize;
    let (args, _) = &fields[0];
    course(context, &whole, args.how.open(&args.scan, None, context)?, tall)?;
    let (mut files, mut made, mut counts, mut axes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut between, mut sinograms) = (Vec::new(), Vec::new());
    for (k, (args, scan)) in fields.iter().enumerate() {
        context.talk.note(format!("field {k} of {count}: {}", args.scan.display()));
        let of_scan = |e: Error| if e.fault() == Fault::Data { e.at(&args.scan) } else { e };
        let args = ReconArgs { role: Role::Joined, ..args.clone() };
        let geometry = geometry(context, &args, scan).map_err(of_scan)?;
        let Axis::Fixed(pixel) = geometry.axis else {
            return Err(Error::bug("an axis of its own in every row").at(&args.scan));
        };
        let course = Course::new(context, &args, scan, &geometry)?;
        let own = inputs(scan)?;
        let shared = Shared { context, args: &args, scan, inputs: &own };
        let done = shared.by_rows(&course).map_err(of_scan)?;
        let last = done.bases().last().ok_or_else(|| Error::bug("no sinograms"))?;
        sinograms.push(Reader::open(&with_suffix(last, ".mhd"), context.io)?);
        made.push(Json::obj([
            ("axis_pixel", Json::from(pixel)),
            ("axis", geometry.axis_found.clone()),
            ("transmissions", shared.params(None)),
        ]));
        counts.push(done.counts()?);
        axes.push((pixel, geometry.axis_found));
        between.extend_from_slice(done.bases());
        files.extend(own.into_iter().map(|f| InputFile { role: format!("field {k} {}", f.role), ..f }));
    }
    let sources: Vec<&dyn Source> = sinograms.iter().map(|r| r as &dyn Source).collect();
    let told: Vec<f64> = axes.iter().map(|(pixel, _)| *pixel).collect();
    let (stacked, lying) = rows::place(context.isa, &sources, offsets, search, &told, fields[0].1.angles.radians())?;
    for (k, own) in lying.iter().enumerate() {
        let axis = own.lines[0];
        let text = stitch::fit_text(&own.fit);
        context.talk.note(format!("field {} lies on {k}: {text}; its axis {axis:.3} columns left", k + 1));
    }
    let (told, axis) = common(&axes, lying.iter().map(|l| l.lines[0]));
    let text = told.iter().map(|axis| format!("{axis:.2}")).collect::<Vec<_>>().join(", ");
    let what = format!("rotation axis of the whole at {axis:.3}: on its columns the fields tell {text}");
    match told.iter().any(|own| (own - axis).abs() > axis::APART) {
        true => context.talk.warn(what + "; look at `tomolith center --sheet`, and give --center if it is another"),
        false => context.talk.note(what),
    }
    let lines = [[0.0; 3]].into_iter().chain(lying.iter().map(|l| l.lines));
    let places = stacked.places().into_iter().zip(lines).zip(made).map(|(((at, gain, _), lines), made)| {
        let told = [("at_zyx", Json::from(at)), ("lines_moved", lines.into()), ("gain", gain.into()), ("made", made)];
        Json::obj(told)
    });
    let params = Json::obj([
        ("nominal_offsets", Json::from(offsets)),
        ("search", search.into()),
        ("version", ROWS_VERSION.into()),
        ("fields", Json::Arr(places.collect())),
    ]);
    let fits = lying.iter().map(|l| stitch::fit_json(&l.fit)).collect();
    let results = Json::obj([("fits", Json::Arr(fits)), ("counts", Json::Arr(counts))]);
    let args = ReconArgs { joined: Some([params.clone(), results]), ..whole };
    let shared = Shared { context, args: &args, scan: &fields[0].1, inputs: &files };
    let (joined, reader) =
        shared.pass("joined", stacked.dims(), Dtype::F32, params, |sink, told| stacked.write(sink, told))?;
    between.push(joined.clone());
    // What is wrong from here on is wrong with the whole.
    let args = ReconArgs { scan: with_suffix(&joined, ".mhd"), ..args };
    let (_, first) = fields.into_iter().next().ok_or_else(|| Error::bug("no field"))?;
    let manifest = reconstruct::run(context, &args, together(first, Turned(reader), files, axis))?;
    if !args.keep {
        passes::remove(&between);
    }
    context.out.line(reconstruct::summary(base, &manifest)?)
}

/// A volume that came from files that are told, not from its own.
struct Told<S> {
    source: S,
    inputs: Vec<InputFile>,
}

impl<S: Source> Source for Told<S> {
    fn dims(&self) -> Dims {
        self.source.dims()
    }
    fn dtype(&self) -> Dtype {
        self.source.dtype()
    }
    fn spacing(&self) -> Spacing {
        self.source.spacing()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.source.read(z, y, out)
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.source.cost(z, y)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        Ok(self.inputs.clone())
    }
}

/// Transmissions that are not there yet.
struct Absent(Dims);

impl Source for Absent {
    fn dims(&self) -> Dims {
        self.0
    }
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn read(&self, _: Range<usize>, _: Range<usize>, _: &mut [f32]) -> Result<()> {
        Err(Error::bug("a volume that is not made yet is read"))
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_has_the_axis_that_its_fields_tell() {
        let how = |method: &str| Json::obj([("method", method.into())]);
        let mean = |axes: &[(f64, Json)]| common(axes, [-0.5, 2.0].into_iter()).1;
        let (opposite, vo) = (|| how("correlation"), || how("vo"));
        // On the columns of the first: 100, 100.2 and 100.4.
        assert!((mean(&[(100.0, opposite()), (100.7, opposite()), (98.9, opposite())]) - 100.2).abs() < 1e-12);
        assert!((mean(&[(104.0, vo()), (100.7, opposite()), (98.9, opposite())]) - 100.3).abs() < 1e-12);
        assert!((mean(&[(100.0, vo()), (100.7, vo()), (98.9, vo())]) - 100.2).abs() < 1e-12);
        assert_eq!(mean(&[(104.0, vo()), (100.7, vo()), (98.9, vo())]), 104.0);
        // What is given is known.
        assert!((mean(&[(104.0, vo()), (100.7, Json::Null), (98.0, vo())]) - 100.2).abs() < 1e-12);
        let (told, axis) = common(&[(7.0, Json::Null), (9.0, Json::Null)], [-1.0].into_iter());
        assert_eq!((told, axis), (vec![7.0, 8.0], 7.0));
    }
}
