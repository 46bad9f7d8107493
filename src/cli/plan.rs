//! `tomolith plan`: what a reconstruction will read, write, hold and take, before it runs.

use crate::cli::fields::transmissions;
use crate::cli::output::{bytes_for_people, seconds_for_people};
use crate::cli::passes::Course;
use crate::cli::prepare::Padding;
use crate::cli::recon::{GROUPS, ReconArgs, Role};
use crate::cli::reconstruct::{Geometry, LOOKED_AT, chain, geometry};
use crate::cli::scan::OpenScan;
use crate::cli::{Command, Context, axis, fields, stitch};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::recon::phase::PhasePlan;
use crate::recon::prepare::{Steps, Until};
use crate::recon::scan::Plan;
use crate::recon::stitch::{rows, vertical};
use crate::volume::{Dims, Dtype};
use std::time::Instant;

/// The command.
pub const COMMAND: Command = Command {
    path: &["plan"],
    about: "Say what a reconstruction will read, write, hold in memory and take, and do nothing else",
    details: "Takes the options of `recon`, and of --config its table [recon]. Prints one line per pass: bytes read and written, the peak of its memory, and \
              an estimate of its time from a trial of one block; then the sums as one JSON line with -v. The axis is found \
              and the scan's edges are looked at as in the run itself. Inputs are read once more for their digests.",
    examples: "  tomolith plan tooth.h5\n  tomolith plan scan.nxs --memory 4GiB --stripe vo --energy 27.5keV --distance 6cm --delta-beta 500",
    groups: GROUPS,
    run,
};

fn run(context: &Context) -> Result<()> {
    let Some(above) = context.settings.text("fields")? else {
        let args = ReconArgs::of(&context.settings, "plan".into())?;
        let scan = args.how.open(&args.scan, args.rows, context)?;
        return one(context, &args, &scan).map(drop);
    };
    // Each field, and what joins them.
    let scans = fields::scans(context, above)?;
    let mut opened = Vec::new();
    for (k, scan) in scans.iter().enumerate() {
        // They are compared whole, and what is cropped is cropped at the end.
        let args = ReconArgs::of(&fields::settings(context, scan, k, scans.len()), "plan".into())?;
        let args = ReconArgs { crop: None, ..args };
        let scan = args.how.open(&args.scan, args.rows, context)?;
        opened.push((args, scan));
    }
    let joined = transmissions::apart(&opened).is_none();
    let (mut cost, mut dims, mut tried) = ([0; 2], Vec::new(), 0);
    for (k, (args, scan)) in opened.iter().enumerate() {
        context.out.line(format!("field {k} of {}: {}", opened.len(), args.scan.display()))?;
        let args = ReconArgs { role: if joined { Role::Joined } else { Role::Whole }, ..args.clone() };
        let (own, d, now) = one(context, &args, scan)?;
        tried += now;
        cost = [0, 1].map(|i| cost[i] + own[i]);
        dims.push(d);
    }
    let spacing = opened.iter().find_map(|(_, scan)| scan.pixel).map(|p| [p; 3]);
    let (offsets, search) = stitch::nominal(&context.settings, opened.len(), spacing)?;
    let (mut reads, whole) = vertical::cost(&dims, &offsets, search)?;
    let args = ReconArgs::of(&fields::settings(context, &scans[0], 0, scans.len()), "plan".into())?;
    let [x, y] = args.cropped(whole.nx)?;
    let mut writes = Dims::new(whole.nz, y.len(), x.len())?.bytes(Dtype::F32);
    if joined {
        // Transmissions are joined, retrieved and reconstructed, and a few rows of them looked at.
        let first = args.how.open(&args.scan, None, context)?;
        let views = first.scan.projections.dims().nz;
        let stacks: Vec<Dims> = dims.iter().map(|d| Dims { ny: views, ..*d }).collect();
        let looked = if args.how.prepare.padding == Padding::Auto { LOOKED_AT.len() } else { 0 };
        let looks = (4 * looked * views * whole.nx) as u64;
        let mut course = transmissions::course(context, &args, first, whole.nz)?;
        course.passes[0].reads = rows::cost(&stacks, &offsets, search);
        context.out.line("the whole")?;
        line(context, "looks", [looks, 0], None, None)?;
        for pass in &course.passes {
            line(context, pass.name, [pass.reads, pass.writes], Some(pass.memory), None)?;
        }
        reads = looks + course.passes.iter().map(|p| p.reads).sum::<u64>();
        writes = course.passes.iter().map(|p| p.writes).sum();
    }
    let whole = Dims::new(whole.nz, y.len(), x.len())?;
    let (reads, writes) = (cost[0] + reads, cost[1] + writes);
    context.out.line(format!("joined: {} x {} x {}, about", whole.nx, whole.ny, whole.nz))?;
    line(context, "in all", [reads, writes], None, None)?;
    in_bytes(context, [reads, writes], whole, [0, 0, tried])
}

/// A line of the table.
fn line(c: &Context, name: &str, [reads, writes]: [u64; 2], memory: Option<u64>, time: Option<f64>) -> Result<()> {
    c.out.line(format!(
        "{name:<11} {:>12} {:>12} {:>12} {:>14}",
        bytes_for_people(reads),
        bytes_for_people(writes),
        memory.map_or(String::new(), bytes_for_people),
        time.map_or(String::new(), seconds_for_people)
    ))
}

/// For who adds up: the same, the slices, what finding the axis by itself reads, what of it is among the reads, and what was
/// read to plan.
fn in_bytes(c: &Context, [reads, writes]: [u64; 2], d: Dims, [of_axis, for_axis, tried]: [u64; 3]) -> Result<()> {
    c.out.line(format!(
        "{:<11} {reads:>12} {writes:>12}  slices of {} x {} x {}; the axis {of_axis} or {for_axis}; this plan {tried}",
        "in bytes", d.nx, d.ny, d.nz
    ))
}

/// Plans one field of view: bytes read and written, its slices, and the bytes that were read to plan it.
fn one(context: &Context, args: &ReconArgs, scan: &OpenScan) -> Result<([u64; 2], Dims, u64)> {
    let geometry = match args.role {
        Role::Joined => transmissions::geometry(context, args, scan)?,
        _ => geometry(context, &args.how, scan)?,
    };
    let course = Course::new(context, args, scan, &geometry)?;
    if let Some(what) = course.warning() {
        context.talk.warn(what);
    }
    let times = trial(context, args, scan, &geometry, &course)?;
    let source = scan.scan.projections.as_ref();
    let d = source.dims();
    let images = [Some(source), scan.scan.flats.as_deref(), scan.scan.darks.as_deref()];
    // Rows of all images: of compressed pieces all that they touch.
    let rows =
        |y: std::ops::Range<usize>| images.iter().flatten().map(|i| i.cost(0..i.dims().nz, y.clone())).sum::<u64>();
    let hashed = rows(0..d.ny);
    context.out.line(format!("{:<11} {:>12} {:>12} {:>12} {:>14}", "pass", "reads", "writes", "memory", "about"))?;
    // The rows from which axis and truncation are told.
    let (row, band) = (rows(scan.rows.start..scan.rows.start + 1), rows(axis::middle_band(d.ny)));
    let for_axis = if geometry.axis_found == Json::Null { 0 } else { band };
    let looks = for_axis + if geometry.truncated.is_some() { row * LOOKED_AT.len() as u64 } else { 0 };
    // The block of each pass by which it was timed: as `trial` reads it.
    let tried = |pass: &crate::cli::passes::Pass| match pass.name {
        "unpacked" => source.cost(0..4.min(d.nz), 0..d.ny),
        "retrieved" => source.cost(0..2.min(d.nz), 0..d.ny) + hashed - source.cost(0..d.nz, 0..d.ny),
        _ => rows(scan.rows.start..scan.rows.start + course.slab.clamp(1, scan.rows.len())),
    };
    let tried = looks + course.passes.iter().map(tried).sum::<u64>();
    line(context, "digests", [hashed, 0], None, None)?;
    line(context, "looks", [looks, 0], None, None)?;
    for (pass, &time) in course.passes.iter().zip(&times) {
        line(context, pass.name, [pass.reads, pass.writes], Some(pass.memory), Some(time))?;
    }
    let sum = |of: fn(&crate::cli::passes::Pass) -> u64| course.passes.iter().map(of).sum::<u64>();
    let (reads, writes) = (hashed + looks + sum(|p| p.reads), sum(|p| p.writes));
    line(context, "in all", [reads, writes], Some(course.peak()), Some(times.iter().sum()))?;
    let [x, y] = args.cropped(geometry.field.image)?;
    let d = Dims::new(scan.rows.len(), y.len(), x.len())?;
    in_bytes(context, [reads, writes], d, [band, for_axis, tried])?;
    context.talk.log(
        "plan",
        &[
            ("reads", reads.into()),
            ("writes", writes.into()),
            ("memory", course.peak().into()),
            ("slab", course.slab.into()),
            ("seconds", Json::Num(times.iter().sum())),
        ],
    );
    Ok(([reads, writes], d, tried))
}

/// Seconds of every pass, from one block of each: the larger of reading and computing, as they overlap.
fn trial(
    context: &Context,
    args: &ReconArgs,
    scan: &OpenScan,
    geometry: &Geometry,
    course: &Course,
) -> Result<Vec<f64>> {
    let source = scan.scan.projections.as_ref();
    let d = source.dims();
    let how = &args.how;
    let quick = Steps { phase: None, ..scan.prepared.steps.clone() };
    let mut times = Vec::new();
    for pass in &course.passes {
        let seconds = match pass.name {
            "unpacked" => {
                let count = 4.min(d.nz);
                let mut block = vec![0.0f32; count * d.slice()];
                let start = Instant::now();
                source.read(0..count, 0..d.ny, &mut block)?;
                start.elapsed().as_secs_f64() * d.nz as f64 / count as f64
            }
            "retrieved" => {
                let Some(paganin) = &scan.prepared.steps.phase else {
                    return Err(Error::bug("a pass for a step that is not there"));
                };
                let steps = quick.quick();
                let chain = chain(how, scan, source, how.nonfinite, 0..d.ny, &steps, Until::Transmission)?;
                let plan = PhasePlan::new(paganin, d.ny, d.nx)?;
                let (pair, mut work) = (2.min(d.nz), plan.work());
                let mut block = vec![0.0f32; chain.length(pair, d.ny)];
                chain.read(0..pair, 0..d.ny, &mut block)?;
                let start = Instant::now();
                chain.finish(context.isa, 0..pair, 0..d.ny, &mut block)?;
                let (first, second) = block[..pair * d.slice()].split_at_mut(d.slice());
                plan.run(context.isa, &mut work, first, (!second.is_empty()).then_some(second));
                start.elapsed().as_secs_f64() * d.nz as f64 / pair as f64
            }
            name => {
                let last = name == "slices";
                let steps = if last && scan.prepared.steps.phase.is_some() { Steps::default() } else { quick.clone() };
                let slab = course.slab.clamp(1, scan.rows.len());
                let rows = scan.rows.start..scan.rows.start + slab;
                let chain = chain(how, scan, source, how.nonfinite, rows.clone(), &steps, Until::Absorption)?;
                let mut block = vec![0.0f32; chain.length(d.nz, slab)];
                let start = Instant::now();
                chain.read(0..d.nz, rows.clone(), &mut block)?;
                let reading = start.elapsed().as_secs_f64();
                let start = Instant::now();
                chain.finish(context.isa, 0..d.nz, rows.clone(), &mut block)?;
                if last {
                    let plan = Plan::new(&geometry.field, &scan.angles, &scan.filter, how.algorithm, scan.pixel)?;
                    let n = geometry.field.image;
                    let mut images = vec![0.0f32; slab * n * n];
                    let (mut work, first) = (plan.workspace(), rows.start);
                    plan.slices(context.isa, &mut work, &geometry.axis, first, slab, &block, &mut images);
                }
                let computing = start.elapsed().as_secs_f64();
                let of = if last { scan.rows.len() } else { d.ny };
                reading.max(computing) * of as f64 / slab as f64
            }
        };
        times.push(seconds);
    }
    Ok(times)
}
