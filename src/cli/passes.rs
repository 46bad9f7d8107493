//! The course of a reconstruction: which passes it takes, how many rows at a time, and what that costs, reckoned before
//! anything runs; and the passes before the last one.
//!
//! What a pass holds is reckoned from the sizes of its buffers, each of which says its own; [`BASE`] is the program
//! itself. Slabs are as high as the memory allows, sixteen rows at most: that many slices are computed at a time anyway.

use crate::cli::Context;
use crate::cli::progress::Progress;
use crate::cli::recon::{ReconArgs, Role};
use crate::cli::reconstruct::{Geometry, chain};
use crate::cli::scan::{OpenScan, ScanArgs};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::num::lanes::LANES;
use crate::os;
use crate::provenance::{Digest, InputFile};
use crate::recon::flat::Blend;
use crate::recon::normalize::{Input, InputKind};
use crate::recon::passes;
use crate::recon::phase::{Paganin, PhasePlan};
use crate::recon::prepare::{Chain, Steps, Until};
use crate::recon::scan::Plan;
use crate::recon::select::Turned;
use crate::volume::manifest::{self, Manifest};
use crate::volume::reader::{IoMode, Reader, with_suffix};
use crate::volume::slabs::Layout;
use crate::volume::writer::Writer;
use crate::volume::{Dims, Dtype, Sink, Source};
use std::path::{Path, PathBuf};

/// Bytes of the program itself: its heap, stacks and what the allocator keeps.
pub const BASE: u64 = 12 << 20;
/// Of the memory that is free, this part is used when nobody says how much.
const SHARE: f64 = 0.8;
/// Slabs that together read more than this many times the file are worth a pass that unpacks it.
const REREAD: u64 = 2;
/// Bytes of a number.
const F32: u64 = 4;

/// One pass.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Its name.
    pub name: &'static str,
    /// Bytes that it reads.
    pub reads: u64,
    /// Bytes that it writes.
    pub writes: u64,
    /// Bytes of memory that it holds.
    pub memory: u64,
}

/// The course.
pub struct Course {
    /// Its passes in order.
    pub passes: Vec<Pass>,
    /// Slices at a time in the last pass.
    pub slab: usize,
    /// Lengths of the grid and of the padded rows, where the method has them.
    pub lengths: Option<[usize; 2]>,
    /// Rows at a time in the pass that writes sinograms.
    sinogram_slab: usize,
    unpack: bool,
    memory: u64,
    given: bool,
}

fn written(dims: Dims, dtype: Dtype) -> u64 {
    // Two slabs are in flight, of which the second may never be needed.
    let layout = Layout::new(dims, dtype);
    layout.length(0) * 2u64.min(layout.slabs() as u64)
}

impl Course {
    /// Reckons a course.
    ///
    /// # Errors
    /// Usage: memory that not even one row at a time fits in.
    pub fn new(context: &Context, args: &ReconArgs, scan: &OpenScan, geometry: &Geometry) -> Result<Course> {
        let source = scan.scan.projections.as_ref();
        let d = source.dims();
        let n = geometry.field.image;
        let (threads, steps) = (context.threads, &scan.prepared.steps);
        let memory = args.memory.unwrap_or_else(|| (os::free_memory() as f64 * SHARE) as u64);
        let counts = scan.kind == InputKind::Counts;
        let mut times = scan.prepared.positions.clone().unwrap_or_default();
        times.dedup();
        let blended = scan.prepared.blend != Blend::Mean;
        // The darks, and the flats of every time.
        let groups = if counts { 1 + if blended { times.len().max(1) } else { 1 } } else { 0 };
        let fields = |rows: usize| (groups * rows * d.nx) as u64 * F32;
        let frames = |part: Option<&dyn Source>| part.map_or(0, |s| s.cost(0..s.dims().nz, 0..d.ny));
        let flat_bytes =
            if counts { frames(scan.scan.flats.as_deref()) + frames(scan.scan.darks.as_deref()) } else { 0 };

        let plan = Plan::new(&geometry.field, &scan.angles, &scan.filter, args.how.algorithm, scan.pixel)?;
        let [tables, work] = plan.bytes(threads);
        let lengths = plan.lengths();
        drop(plan);
        let halo = if steps.phase.is_some() { 0 } else { steps.zinger.map_or(0, |z| 2 * z.halo()) };
        let stripe = match &steps.stripe {
            Some(stripe) => {
                let [tables, work] = crate::recon::stripe::StripePlan::new(stripe, d.nz, d.nx)?.bytes();
                (tables + threads * (work + d.nz * d.nx * 4)) as u64
            }
            None => 0,
        };
        let total = scan.rows.len();
        let [x, y] = args.cropped(n)?;
        let volume = Dims::new(total, y.len(), x.len())?;
        let block = |rows: usize, halo: usize| (d.nz * (rows + halo).min(d.ny) * d.nx) as u64 * F32;
        let buffers = |slab: usize, of: usize| if slab < of { 2 } else { 1 };
        let last_fields = if steps.phase.is_some() { 0 } else { fields(total) + stripe };
        let last = |slab: usize| {
            BASE + (tables + work) as u64
                + (slab * n * n) as u64 * F32
                + buffers(slab, total) * block(slab, halo)
                + last_fields
                + written(volume, Dtype::F32)
        };
        let slab = match args.role {
            Role::Joined => 0,
            _ => fit("the reconstruction", args.slab.unwrap_or(LANES).min(total), memory, &last)?,
        };

        let unpacked = |rows: usize, slab: usize, halo: usize| -> u64 {
            let step = |first: usize| {
                first.saturating_sub(halo / 2)..(first + slab + halo / 2).min(rows.max(first + slab)).min(d.ny)
            };
            (0..rows).step_by(slab).map(|first| source.cost(0..d.nz, step(first))).sum()
        };
        let whole = source.cost(0..d.nz, 0..d.ny);
        let zinger_halo = steps.zinger.map_or(0, |z| 2 * z.halo());
        let mut course = Course {
            passes: Vec::new(),
            slab,
            lengths,
            sinogram_slab: 0,
            unpack: false,
            memory,
            given: args.memory.is_some(),
        };
        let stacks = Dims::new(d.nz, d.ny, d.nx)?;
        let retrieved = stacks.bytes(Dtype::F32);
        let sinograms = steps.phase.is_some() && (steps.stripe.is_some() || args.role == Role::Joined);
        let by_rows = steps.phase.is_none() || sinograms;

        // The pass that first reads the projections, row by row.
        let (rows, row_slab) = if sinograms {
            let between = Dims::new(d.ny, d.nz, d.nx)?;
            let memory_of = |slab: usize| {
                BASE + buffers(slab, d.ny) * block(slab, zinger_halo)
                    + block(slab, 0)
                    + fields(d.ny)
                    + stripe
                    + written(between, Dtype::F32)
            };
            course.sinogram_slab = fit("making sinograms", LANES.min(d.ny), memory, &memory_of)?;
            course.passes.push(Pass {
                name: "sinograms",
                reads: 0,
                writes: retrieved,
                memory: memory_of(course.sinogram_slab),
            });
            (d.ny, course.sinogram_slab)
        } else {
            (total, slab)
        };
        let mut first_reads = flat_bytes;
        if by_rows {
            let by_slab = unpacked(rows, row_slab, zinger_halo);
            course.unpack = by_slab > REREAD * whole;
            first_reads += if course.unpack {
                let dtype = source.dtype();
                let step = (passes::COPY_BLOCK / d.slice()).max(1).min(d.nz);
                let memory = BASE + 2 * (step * d.slice()) as u64 * F32 + written(stacks, dtype);
                course.passes.insert(0, Pass { name: "unpacked", reads: whole, writes: stacks.bytes(dtype), memory });
                (rows * d.nz * d.nx * dtype.size()) as u64
            } else {
                by_slab
            };
        }
        if let Some(paganin) = steps.phase.as_ref().filter(|_| args.role != Role::Joined) {
            let [tables, work] = PhasePlan::new(paganin, d.ny, d.nx)?.bytes();
            let pair = (passes::PAIR * d.slice()) as u64 * F32;
            let memory = BASE + 2 * pair + (tables + work) as u64 + fields(d.ny) + written(stacks, Dtype::F32);
            let reads = if sinograms { retrieved } else { whole + flat_bytes };
            course.passes.push(Pass { name: "retrieved", reads, writes: retrieved, memory });
        }
        if sinograms && let Some(pass) = course.passes.iter_mut().find(|p| p.name == "sinograms") {
            pass.reads = first_reads;
        }
        if args.role == Role::Joined {
            return Ok(course);
        }
        let reads = if steps.phase.is_some() { (total * d.nz * d.nx) as u64 * F32 } else { first_reads };
        course.passes.push(Pass { name: "slices", reads, writes: volume.bytes(Dtype::F32), memory: last(slab) });
        Ok(course)
    }

    /// Bytes of the pass that needs most.
    pub fn peak(&self) -> u64 {
        self.passes.iter().map(|p| p.memory).max().unwrap_or(0)
    }

    /// What the user should know about it.
    pub fn warning(&self) -> Option<String> {
        let few = (1..LANES).contains(&self.slab) && self.passes.last().is_some_and(|p| p.writes > 0) && self.given;
        few.then(|| {
            format!(
                "--memory {} bytes leaves room for {} slices at a time, which take the time of {LANES}",
                self.memory, self.slab
            )
        })
    }
}

/// The highest slab of at most `most` that fits.
fn fit(what: &str, most: usize, memory: u64, bytes: &dyn Fn(usize) -> u64) -> Result<usize> {
    (1..=most).rev().find(|&slab| bytes(slab) <= memory).ok_or_else(|| {
        let mib = |b: u64| b.div_ceil(1 << 20);
        Error::usage(format!(
            "{what} needs {} MiB for one row at a time, and may use {} MiB",
            mib(bytes(1)),
            mib(memory)
        ))
        .help("give more with --memory, crop with --columns, or bin with --bin 2")
    })
}

/// What the passes of one reconstruction share.
pub struct Shared<'a> {
    /// The call.
    pub context: &'a Context,
    /// Its options.
    pub args: &'a ReconArgs,
    /// The scan.
    pub scan: &'a OpenScan,
    /// Every file that numbers come from.
    pub inputs: &'a [InputFile],
}

/// What lies on disk before the last pass.
#[derive(Default)]
pub struct Between {
    bases: Vec<PathBuf>,
    counts: Vec<(&'static str, Json)>,
    source: Option<Box<dyn Source>>,
    is_transmission: bool,
}

impl Shared<'_> {
    /// Runs the passes before the last one, or takes what an earlier run left of them.
    ///
    /// # Errors
    /// Those of the passes.
    pub fn before(&self, course: &Course) -> Result<Between> {
        let (scan, how) = (self.scan, &self.args.how);
        let d = scan.scan.projections.dims();
        let mut between = self.by_rows(course)?;
        let Some(paganin) = &scan.prepared.steps.phase else { return Ok(between) };
        let made = {
            let chain = if between.is_transmission {
                between.chain(how, scan, Until::Transmission)?
            } else {
                let (source, quick) = (scan.scan.projections.as_ref(), self.quick());
                chain(how, scan, source, how.nonfinite, 0..d.ny, &quick, Until::Transmission)?
            };
            let plan = PhasePlan::new(paganin, d.ny, d.nx)?;
            let dims = Dims::new(d.nz, d.ny, d.nx)?;
            self.pass("retrieved", dims, Dtype::F32, self.params(Some(paganin)), |sink, progress| {
                passes::retrieve(&chain, d.ny, &plan, self.context.isa, sink, progress)
            })?
        };
        between.add("retrieved", made, |reader| Box::new(reader));
        between.is_transmission = true;
        Ok(between)
    }

    /// The passes that go row by row: unpacks, and writes what they make of all rows, where the course has it so.
    ///
    /// # Errors
    /// Those of the passes.
    pub fn by_rows(&self, course: &Course) -> Result<Between> {
        let (scan, how) = (self.scan, &self.args.how);
        let d = scan.scan.projections.dims();
        let mut between = Between::default();
        if course.unpack {
            let source = scan.scan.projections.as_ref();
            let made = self.pass(
                "unpacked",
                Dims::new(d.nz, d.ny, d.nx)?,
                source.dtype(),
                Json::Obj(Default::default()),
                |sink, progress| passes::copy(source, sink, progress),
            )?;
            between.add("unpacked", made, |reader| Box::new(reader));
        }
        let slab = course.sinogram_slab;
        if slab > 0 {
            let made = {
                let (source, quick) = (scan.scan.projections.as_ref(), self.quick());
                let source = between.source.as_deref().unwrap_or(source);
                let chain = chain(how, scan, source, how.nonfinite, 0..d.ny, &quick, Until::Transmission)?;
                let dims = Dims::new(d.ny, d.nz, d.nx)?;
                self.pass("sinograms", dims, Dtype::F32, self.params(None), |sink, progress| {
                    passes::sinograms(&chain, d.ny, slab, self.context.isa, sink, progress)
                })?
            };
            between.add("sinograms", made, |reader| Box::new(Turned(reader)));
            between.is_transmission = true;
        }
        Ok(between)
    }

    /// The steps but phase retrieval.
    fn quick(&self) -> Steps {
        Steps { phase: None, ..self.scan.prepared.steps.clone() }
    }

    /// Every value that decides the bits of what lies between, behind the retrieval of phase or not.
    pub fn params(&self, retrieval: Option<&Paganin>) -> Json {
        let (scan, how) = (self.scan, &self.args.how);
        let (d, steps) = (scan.scan.projections.dims(), Steps { phase: retrieval.copied(), ..self.quick() });
        Json::obj([
            ("before", steps.params(d.nz, d.nx)),
            ("bin", how.prepare.bin.into()),
            ("columns", Json::Arr(vec![scan.prepared.columns.start.into(), scan.prepared.columns.end.into()])),
            ("views", Json::from(&scan.prepared.views[..])),
            ("exposure_ratio", how.prepare.exposure_ratio.into()),
            ("flat_blend", scan.prepared.blend.name().into()),
            ("flat_average", how.flat_average.name().into()),
            ("nonfinite", how.nonfinite.name().into()),
            ("input", scan.kind.name().into()),
        ])
    }

    /// One pass into `NAME.what`, unless it is there already and of this job.
    pub fn pass(
        &self,
        what: &'static str,
        dims: Dims,
        dtype: Dtype,
        params: Json,
        work: impl FnOnce(&mut dyn Sink, passes::Progress) -> Result<()>,
    ) -> Result<(PathBuf, Reader)> {
        let base = with_suffix(&self.args.output, &format!(".{what}"));
        let job = manifest::Job {
            dims,
            dtype,
            spacing: None,
            slope: 1.0,
            intercept: 0.0,
            value_unit: if what == "unpacked" { "as stored" } else { "transmission" }.to_string(),
            stage: what.to_string(),
            stage_version: 1,
            params,
            inputs: self.inputs.to_vec(),
            contract: CONTRACT,
        };
        if made(&base, job.key()).is_none() {
            // A name of ours, derived from the output's: what another job left of it goes.
            let mut writer = Writer::create(&base, job, true)?;
            if writer.next_slice() > 0 {
                self.context.talk.note(format!("{what}: resumes at {} of {}", writer.next_slice(), dims.nz));
            }
            let progress = Progress::new(&self.context.talk, what, "slices");
            let slice = dims.slice() as u64 * dtype.size() as u64;
            work(&mut writer, &mut |done, total| progress.update(done as u64, total as u64, done as u64 * slice))?;
            progress.finish();
            writer.finish(Json::Obj(Default::default()), self.context.run_record())?;
        }
        let reader = Reader::open(&with_suffix(&base, ".mhd"), IoMode::Pread)?;
        Ok((base, reader))
    }
}

impl Between {
    fn add(
        &mut self,
        what: &'static str,
        (base, reader): (PathBuf, Reader),
        source: impl FnOnce(Reader) -> Box<dyn Source>,
    ) {
        let counts = reader.manifest().and_then(|m| m.get("results")).and_then(|r| r.get("counts")).cloned();
        self.counts.push((what, counts.unwrap_or(Json::Null)));
        self.bases.push(base);
        self.source = Some(source(reader));
    }

    /// The chain of the pass that follows.
    ///
    /// # Errors
    /// Those of [`Chain::new`].
    pub fn chain<'a>(&'a self, how: &ScanArgs, scan: &'a OpenScan, until: Until) -> Result<Chain<'a>> {
        let source = self.source.as_deref().unwrap_or(scan.scan.projections.as_ref());
        if !self.is_transmission {
            return chain(how, scan, source, how.nonfinite, scan.rows.clone(), &scan.prepared.steps, until);
        }
        let kind = if scan.kind == InputKind::Absorption { InputKind::Absorption } else { InputKind::Transmission };
        let rows = 0..source.dims().ny;
        Chain::new(Input::new(source, kind, None, how.nonfinite, rows)?, &Steps::default(), until)
    }

    /// The volumes, the last of them that of [`Between::chain`].
    pub fn bases(&self) -> &[PathBuf] {
        &self.bases
    }

    /// What was counted on the way, by pass.
    pub fn counts(&self) -> Result<Json> {
        Ok(Json::obj(self.counts.iter().map(|(what, counts)| (*what, counts.clone()))))
    }

    /// Removes it. What cannot be removed stays.
    pub fn remove(self) {
        drop(self.source);
        remove(&self.bases);
    }
}

/// The manifest of the volume `base`, if it is there and of the job `key`.
pub fn made(base: &Path, key: Digest) -> Option<Manifest> {
    let manifest = Manifest::read(&with_suffix(base, ".json")).ok()?;
    manifest.job_key().is_ok_and(|k| k == key).then_some(manifest)
}

/// Removes volumes. What cannot be removed stays.
pub fn remove(bases: &[PathBuf]) {
    for base in bases {
        for suffix in [".json", ".run.json", ".mhd", ".nhdr", ".raw", ".png"] {
            let _ = std::fs::remove_file(with_suffix(base, suffix));
        }
    }
}
