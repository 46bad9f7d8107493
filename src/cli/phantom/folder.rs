//! The folder of a synthetic series: what it will hold, whether it fits, what of it is there already.
//!
//! `phantom.json` is written first and says what the folder is for, `series.json` last: a folder without it is not
//! finished, and the same command goes on with it. Volumes that are finished are kept, others are taken up where they
//! stopped; nothing of anybody's is replaced.

use crate::cli::Context;
use crate::cli::output::bytes_for_people;
use crate::cli::progress::Progress;
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use crate::num::CONTRACT;
use crate::os;
use crate::units::Micrometre;
use crate::volume::manifest::Manifest;
use crate::volume::reader::with_suffix;
use crate::volume::writer::{Job, Writer};
use crate::volume::{Dims, Dtype, Sink};
use std::path::{Path, PathBuf};

/// Version of the stage: raised when its output bits change.
pub const STAGE_VERSION: u32 = 4;
/// Bytes of headers, manifests, tables and pictures beside a volume, generously.
const BESIDE: u64 = 1 << 20;

/// One volume of the series.
#[derive(Clone, Debug)]
pub struct Output {
    /// Where, without extension.
    pub base: PathBuf,
    /// Shape.
    pub dims: Dims,
    /// Stored type.
    pub dtype: Dtype,
    /// value = stored · slope.
    pub slope: f64,
    /// Unit of its values.
    pub unit: &'static str,
    /// Whether its axes are those of the cell, with its voxels.
    pub spatial: bool,
    /// What it is, and everything that decides its bytes.
    pub params: Json,
}

impl Output {
    fn job(&self, voxel: f64) -> Job {
        Job {
            dims: self.dims,
            dtype: self.dtype,
            spacing: Some([Micrometre(voxel); 3]),
            slope: self.slope,
            intercept: 0.0,
            value_unit: self.unit.to_string(),
            stage: "phantom".into(),
            stage_version: STAGE_VERSION,
            params: self.params.clone(),
            inputs: Vec::new(),
            contract: CONTRACT,
        }
    }

    /// Its manifest, if an earlier run came so far.
    fn manifest(&self, voxel: f64) -> Option<Manifest> {
        let key = self.job(voxel).key();
        Manifest::read(&with_suffix(&self.base, ".json")).ok().filter(|m| m.job_key().is_ok_and(|k| k == key))
    }

    /// Its manifest, if it is finished and its bytes are still there.
    fn finished(&self, voxel: f64) -> Option<Manifest> {
        let raw = std::fs::metadata(with_suffix(&self.base, ".raw"));
        let whole = raw.is_ok_and(|raw| raw.is_file() && raw.len() == self.dims.bytes(self.dtype));
        self.manifest(voxel).filter(|_| whole)
    }
}

/// Refuses what does not fit on the disk where `path` will be.
///
/// # Errors
/// I/O: `need` bytes are not free.
pub fn check_space(what: &str, need: u64, path: &Path, help: &str) -> Result<()> {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let free = os::free_space(existing).map_err(|e| Error::reading(existing, &e))?;
    if need > free {
        let (need, free) = (bytes_for_people(need), bytes_for_people(free));
        return Err(Error::io(format!("{what} needs {need} and the disk has {free}")).help(help).at(path));
    }
    Ok(())
}

/// The folder being filled.
#[derive(Clone)]
pub struct Folder<'a> {
    /// The call.
    pub context: &'a Context,
    /// Where.
    pub path: PathBuf,
    /// Edge of a voxel, µm.
    pub voxel: f64,
    /// Whether run records leave out the command line, which names the seed.
    pub blind: bool,
    /// Whether nothing is said of how far a volume is.
    pub is_silent: bool,
}

impl Folder<'_> {
    /// What says what the folder is for.
    fn plan_path(&self) -> PathBuf {
        self.path.join("phantom.json")
    }

    /// Whether the folder is free for `plan` or begun by it, and what is missing of `outputs` fits on the disk. Writes
    /// nothing.
    ///
    /// # Errors
    /// Cannot create: a folder that is finished, or is something else. I/O: what is missing does not fit on the disk.
    pub fn check(&self, plan: &str, outputs: &[Output]) -> Result<()> {
        let series = self.path.join("series.json");
        if series.exists() {
            return Err(Error::cannot_create("already holds a finished series, which is never overwritten")
                .help("choose another folder with -o")
                .at(&self.path));
        }
        match std::fs::read_dir(&self.path) {
            Ok(mut entries) => {
                let ours = std::fs::read_to_string(self.plan_path()).is_ok_and(|text| text == plan);
                if !ours && entries.next().is_some() {
                    return Err(Error::cannot_create("exists and holds something else")
                        .help("choose another folder with -o; a series is taken up only by the command that began it")
                        .at(&self.path));
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::writing(&self.path, &e)),
        }
        let missing = outputs.iter().filter(|o| o.finished(self.voxel).is_none());
        // What an interrupted volume has already reserved is not needed again.
        let reserved = |o: &Output| {
            std::fs::metadata(with_suffix(&o.base, ".raw.part"))
                .map_or(0, |m| std::os::unix::fs::MetadataExt::blocks(&m) * 512)
        };
        let need: u64 = missing.map(|o| (o.dims.bytes(o.dtype) + BESIDE).saturating_sub(reserved(o))).sum();
        let help = "free some space, choose another folder, or make fewer steps with --steps or --only";
        check_space("the series", need, &self.path, help)
    }

    /// Claims the folder for `plan`, after [`Folder::check`].
    ///
    /// # Errors
    /// What the disk says.
    pub fn claim(&self, plan: &str) -> Result<()> {
        std::fs::create_dir_all(&self.path).map_err(|e| Error::writing(&self.path, &e))?;
        let path = self.plan_path();
        if !path.exists() {
            write_text(&path, plan, false)?;
        }
        Ok(())
    }

    /// Makes an output by `work`, or takes what an earlier run left.
    ///
    /// # Errors
    /// Those of the work and of the disk.
    pub fn make(&self, output: &Output, what: &'static str, work: Work) -> Result<Manifest> {
        let mut made = self.make_all(&[output], what, &mut |sinks, progress| match sinks {
            [Some(sink)] => work(*sink, progress),
            _ => Ok(()),
        })?;
        made.pop().ok_or_else(|| Error::bug("an output that was not made"))
    }

    /// Makes outputs that come of one `work`, which gets no sink for those that an earlier run finished.
    ///
    /// # Errors
    /// Those of the work and of the disk.
    pub fn make_all(&self, outputs: &[&Output], what: &'static str, work: WorkOfAll) -> Result<Vec<Manifest>> {
        let mut finished: Vec<Option<Manifest>> = outputs.iter().map(|output| output.finished(self.voxel)).collect();
        let mut writers = Vec::new();
        for (output, _) in outputs.iter().zip(&finished).filter(|(_, finished)| finished.is_none()) {
            let folder = output.base.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
            // A manifest of ours whose bytes somebody took away is no output: it is replaced.
            let lost = output.manifest(self.voxel).is_some();
            writers.push(Writer::create(&output.base, output.job(self.voxel), lost)?);
        }
        if !writers.is_empty() {
            let progress = (!self.is_silent).then(|| Progress::new(&self.context.talk, what, "slices"));
            let missing = outputs.iter().zip(&finished).filter(|(_, finished)| finished.is_none());
            let slice: u64 = missing.map(|(o, _)| o.dims.slice() as u64 * o.dtype.size() as u64).sum();
            let mut open = writers.iter_mut();
            let sinks = finished.iter().map(|finished| match finished {
                None => open.next().map(|writer| writer as &mut dyn Sink),
                Some(_) => None,
            });
            work(&mut sinks.collect::<Vec<_>>(), &|done, total| {
                progress.iter().for_each(|progress| progress.update(done, total, done * slice));
            })?;
            progress.into_iter().for_each(Progress::finish);
        }
        let mut written = writers.into_iter();
        for manifest in finished.iter_mut().filter(|manifest| manifest.is_none()) {
            let record = if self.blind { Json::Obj(Default::default()) } else { self.context.run_record() };
            let writer = written.next().ok_or_else(|| Error::bug("a volume that nobody wrote"))?;
            *manifest = Some(writer.finish(Json::Obj(Default::default()), record)?);
        }
        Ok(finished.into_iter().flatten().collect())
    }

    /// Writes a text that an earlier run may have left.
    ///
    /// # Errors
    /// What the disk says.
    pub fn text(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
        }
        write_text(&path, text, true)
    }
}

/// Fills a sink; the second argument takes how many of how many slices are done.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn Sink, &(dyn Fn(u64, u64) + Sync)) -> Result<()>;
/// Fills those sinks that are there, likewise.
pub type WorkOfAll<'a> = &'a mut dyn FnMut(&mut [Option<&mut dyn Sink>], &(dyn Fn(u64, u64) + Sync)) -> Result<()>;

/// Writes slices that a function makes, `step` at a time, from where the sink stands.
///
/// # Errors
/// Those of the sink; an interrupt.
pub fn by_slabs(
    sink: &mut dyn Sink,
    dims: Dims,
    step: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
    mut make: impl FnMut(std::ops::Range<usize>, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let mut values = vec![0.0f32; step.min(dims.nz) * dims.slice()];
    while sink.next_slice() < dims.nz {
        os::check_interrupt()?;
        let first = sink.next_slice();
        let slices = first..(first + step).min(dims.nz);
        let out = &mut values[..slices.len() * dims.slice()];
        make(slices.clone(), out)?;
        sink.write(out)?;
        progress(slices.end as u64, dims.nz as u64);
    }
    Ok(())
}
