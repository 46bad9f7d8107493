//! `tomolith plan`: what a reconstruction will read, write, hold and take, before it runs.

use crate::cli::output::{bytes_for_people, seconds_for_people};
use crate::cli::passes::Course;
use crate::cli::recon::{GROUPS, ReconArgs};
use crate::cli::reconstruct::{Geometry, LOOKED_AT, chain, geometry};
use crate::cli::scan::OpenScan;
use crate::cli::{Command, Context, axis};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::recon::phase::PhasePlan;
use crate::recon::prepare::{Steps, Until};
use crate::recon::scan::Plan;
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
    if context.settings.is_given("fields")? {
        return Err(Error::usage("--fields: one field is planned at a time").help(
            "leave it out: every field costs what SCAN costs, stitching then reads the slices twice and writes them once",
        ));
    }
    let args = ReconArgs::of(&context.settings, "plan".into())?;
    let scan = args.how.open(&args.scan, args.rows, context)?;
    let geometry = geometry(context, &args.how, &scan)?;
    let course = Course::new(context, &args, &scan, &geometry)?;
    if let Some(what) = course.warning() {
        context.talk.warn(what);
    }
    let times = trial(context, &args, &scan, &geometry, &course)?;
    let whole = |source: &dyn crate::volume::Source| source.cost(0..source.dims().nz, 0..source.dims().ny);
    let frames = [&scan.scan.flats, &scan.scan.darks].iter().filter_map(|f| f.as_deref()).map(whole).sum::<u64>();
    let hashed = whole(scan.scan.projections.as_ref()) + frames;
    context.out.line(format!("{:<11} {:>12} {:>12} {:>12} {:>14}", "pass", "reads", "writes", "memory", "about"))?;
    let line = |name: &str, reads: u64, writes: u64, memory: Option<u64>, time: Option<f64>| {
        context.out.line(format!(
            "{name:<11} {:>12} {:>12} {:>12} {:>14}",
            bytes_for_people(reads),
            bytes_for_people(writes),
            memory.map_or(String::new(), bytes_for_people),
            time.map_or(String::new(), seconds_for_people)
        ))
    };
    // The rows from which axis and truncation are told: of compressed pieces all that they touch.
    let source = scan.scan.projections.as_ref();
    let row = source.cost(0..source.dims().nz, scan.rows.start..scan.rows.start + 1);
    let band = source.cost(0..source.dims().nz, axis::middle_band(source.dims().ny));
    let for_axis = if geometry.axis_found == Json::Null { 0 } else { band };
    let looks = for_axis + if geometry.truncated.is_some() { row * LOOKED_AT.len() as u64 } else { 0 };
    line("digests", hashed, 0, None, None)?;
    line("looks", looks, 0, None, None)?;
    for (pass, &time) in course.passes.iter().zip(&times) {
        line(pass.name, pass.reads, pass.writes, Some(pass.memory), Some(time))?;
    }
    let sum = |of: fn(&crate::cli::passes::Pass) -> u64| course.passes.iter().map(of).sum::<u64>();
    let (reads, writes) = (hashed + looks + sum(|p| p.reads), sum(|p| p.writes));
    line("in all", reads, writes, Some(course.peak()), Some(times.iter().sum()))?;
    // For who adds up: the same, the slices, what finding the axis by itself reads, and what of it is among the reads.
    let (n, rows, of_axis) = (geometry.field.image, scan.rows.len(), band + frames);
    context.out.line(format!(
        "{:<11} {reads:>12} {writes:>12}  slices of {n} x {n} x {rows}; the axis {of_axis} or {for_axis}",
        "in bytes"
    ))?;
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
    Ok(())
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
                let slab = course.slab.min(scan.rows.len());
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
