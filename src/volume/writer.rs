//! Writes a volume so that its name exists only when it is complete, synced and hashed.
//!
//! ```text
//! create   lock NAME.raw.journal, its first line names the job; NAME.raw.part, all its space reserved
//! write    slab by slab: NAME.raw.part, fdatasync, one line in the journal, fdatasync
//! finish   fsync, rename to NAME.raw, then NAME.mhd, NAME.nhdr, NAME.run.json, and NAME.json last: the commit point;
//!          remove the journal
//! ```
//!
//! A process that dies anywhere leaves what the same command needs to go on, to the same bytes: the slabs that the
//! journal names are read again and kept if they are right. Hashing, statistics and writing run in a thread of their
//! own; two slabs are in flight at most, the one being filled and the one being written.

use super::claim::{Claim, Paths, Wanted};
use super::codec::Codec;
use super::disk::Disk;
use super::journal::{Counts, Entry};
use super::manifest::{self, Outcome, RUN_SEAL};
use super::slabs::{Layout, SlabRecord, Statistics};
use super::{Dtype, Sink, header};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::os;
use crate::provenance::Digest;
use crate::units::Micrometre;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

pub use super::manifest::{Job, Manifest};

/// Longest name of an output: the longest file name less the longest suffix.
const MAX_NAME: usize = 240;
/// Bytes of a manifest per slab, and for all that a stage may add at the end.
const SLAB_TEXT: usize = 80;
const RESULTS_TEXT: usize = 256 << 10;

/// An output being written. Dropping it before [`Writer::finish`] keeps what is needed to go on later.
pub struct Writer {
    paths: Paths,
    name: String,
    job: Job,
    layout: Layout,
    codec: Codec,
    disk: Disk,
    started: u64,
    resumed_at: usize,
    /// Next slice that is wanted.
    next: usize,
    /// The slab being filled, as it will stand in the file.
    filling: Option<Vec<u8>>,
    /// What was counted in slabs that are not full yet.
    counts: BTreeMap<usize, Counts>,
    store: Option<Store>,
    failed: Option<Error>,
}

/// A full slab on its way to the disk.
struct Full {
    bytes: Vec<u8>,
    counts: Counts,
}

/// The thread that stores slabs, and the two ends of the circle in which two buffers go round.
struct Store {
    full: SyncSender<Full>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Result<Claim>>,
}

impl Writer {
    /// Claims the output `base` (`DIR/NAME`, no extension) for `job`, creating DIR. What an earlier run of the same
    /// job left is taken up: [`Sink::next_slice`] says where. `overwrite` allows to replace a finished output, which
    /// stays until the new one is complete, and to discard another job's unfinished one.
    ///
    /// # Errors
    /// [`Fault::CannotCreate`](crate::error::Fault::CannotCreate) for an output that exists or belongs to another
    /// job, [`Fault::Again`](crate::error::Fault::Again) while another process writes it,
    /// [`Fault::Io`](crate::error::Fault::Io) when it does not fit on the disk,
    /// [`Fault::Usage`](crate::error::Fault::Usage) for names that no header could carry. Nothing is left behind then.
    pub fn create(base: &Path, job: Job, overwrite: bool) -> Result<Writer> {
        let layout = Layout::new(job.dims, job.dtype);
        Writer::create_on(Disk::default(), base, job, layout, overwrite)
    }

    /// As [`Writer::create`], with another disk and smaller slabs for tests.
    pub(super) fn create_on(disk: Disk, base: &Path, job: Job, layout: Layout, overwrite: bool) -> Result<Writer> {
        let name = check_name(base)?;
        check_job(&job, &layout)?;
        let codec = Codec { dtype: job.dtype, big_endian: false, slope: job.slope, intercept: job.intercept };
        let paths = Paths::of(base);
        let claim = Wanted { paths: &paths, key: job.key(), layout, codec, overwrite }.claim(&disk)?;
        let next = layout.slices(claim.done.len()).start.min(job.dims.nz);
        let part = if claim.renamed { paths.raw.clone() } else { paths.part.clone() };
        let store = Store::spawn(claim, part, disk.clone(), codec, layout)?;
        Ok(Writer {
            paths,
            name,
            job,
            layout,
            codec,
            disk,
            started: unix_seconds(),
            resumed_at: next,
            next,
            filling: None,
            counts: BTreeMap::new(),
            store: Some(store),
            failed: None,
        })
    }

    /// Adds `n` to the count `name` of slice `z`, which is not written yet. Counts are summed over the volume, survive
    /// interruption with their slices, and stand in the manifest's `results` under `counts`. Count 0, too: a name
    /// that was never counted is not listed.
    ///
    /// # Errors
    /// [`Fault::Bug`](crate::error::Fault::Bug) for a slice that is written already or is not in the volume.
    pub fn count(&mut self, z: usize, name: &str, n: u64) -> Result<()> {
        if z < self.next || z >= self.layout.dims.nz {
            return Err(Error::bug(format!("`{name}` counted in slice {z}, but slice {} is next", self.next)));
        }
        *self.counts.entry(z / self.layout.slab_slices).or_default().entry(name.to_owned()).or_default() += n;
        Ok(())
    }

    /// Slices that an earlier run of the same job had written already.
    pub fn resumed_at(&self) -> usize {
        self.resumed_at
    }

    /// Completes the output: `results` (an object: what the stage found, for example the axis) goes into the
    /// manifest, `run` (an object: command line, host, threads …) into `NAME.run.json`.
    ///
    /// # Errors
    /// [`Fault::Bug`](crate::error::Fault::Bug) when slices are missing; what the disk says, also about slabs written
    /// before. The same command can be run again.
    pub fn finish(mut self, results: Json, run: Json) -> Result<Manifest> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let nz = self.layout.dims.nz;
        if self.next != nz {
            return Err(Error::bug(format!("finished after {} of {nz} slices", self.next)).at(&self.paths.base));
        }
        let Some(store) = self.store.take() else { return Err(Error::bug("an output finished twice")) };
        let claim = store.join()?;

        let (mut statistics, mut counts, mut slabs) = (Statistics::default(), Counts::new(), Vec::new());
        for (entry, record) in &claim.done {
            statistics.append(&record.statistics);
            slabs.push(entry.digest);
            for (name, n) in &entry.counts {
                *counts.entry(name.clone()).or_default() += n;
            }
        }
        let header = self.job.header(&self.name, Digest::root(&slabs));
        let (mhd, nhdr) = (header.to_mhd(&self.name), header.to_nhdr(&self.name));
        let results = with_counts(results, counts)?;
        let outcome = Outcome { layout: self.layout, slabs: &slabs, statistics, results, mhd: &mhd, nhdr: &nhdr };
        let manifest = Manifest::of(&self.job, outcome)?;
        let run = self.run_text(run, &manifest);
        self.commit(&claim, &mhd, &nhdr, &run, manifest.text())?;
        Ok(manifest)
    }

    /// The last steps, in the order that makes the manifest the commit point.
    fn commit(&self, claim: &Claim, mhd: &str, nhdr: &str, run: &str, json: &str) -> Result<()> {
        let (disk, paths) = (&self.disk, &self.paths);
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |e: std::io::Error| Error::writing(&path, &e)
        };
        if !claim.renamed {
            disk.sync_all(&claim.raw).map_err(at(&paths.part))?;
            // The journal must outlive the name `.part`: it alone then tells whose the raw file is.
            disk.sync_all(&claim.journal.file).map_err(at(&paths.journal))?;
            disk.rename(&paths.part, &paths.raw).map_err(at(&paths.raw))?;
        }
        disk.sync_folder_of(&paths.raw).map_err(at(&paths.raw))?;
        for (path, text) in [(&paths.mhd, mhd), (&paths.nhdr, nhdr), (&paths.run, run)] {
            let temporary = super::reader::with_suffix(path, ".tmp");
            disk.replace(&temporary, path, text).map_err(|e| os::write_error(path, text.len() as u64, &e))?;
        }
        disk.sync_folder_of(&paths.raw).map_err(at(&paths.raw))?;
        let temporary = super::reader::with_suffix(&paths.json, ".tmp");
        disk.replace(&temporary, &paths.json, json).map_err(|e| os::write_error(&paths.json, json.len() as u64, &e))?;
        disk.sync_folder_of(&paths.json).map_err(at(&paths.json))?;
        disk.remove(&paths.journal).map_err(at(&paths.journal))?;
        disk.sync_folder_of(&paths.json).map_err(at(&paths.json))
    }

    fn run_text(&self, run: Json, manifest: &Manifest) -> String {
        let writing = Json::obj([
            ("resumed_at_slice", self.resumed_at.into()),
            ("started_unix_s", self.started.into()),
            ("finished_unix_s", unix_seconds().into()),
        ]);
        let members = [("run", run), ("writing", writing), (manifest::SEAL, manifest.seal().into())];
        manifest::seal(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(), RUN_SEAL)
    }

    /// Passes a full slab to the thread.
    fn send(&mut self) -> Result<()> {
        let (slab, bytes) = ((self.next - 1) / self.layout.slab_slices, self.filling.take().unwrap_or_default());
        let counts = self.counts.remove(&slab).unwrap_or_default();
        match &self.store {
            Some(store) if store.full.send(Full { bytes, counts }).is_ok() => Ok(()),
            _ => Err(self.why()),
        }
    }

    /// What ended the thread.
    fn why(&mut self) -> Error {
        match self.store.take().map(Store::join) {
            Some(Err(error)) => error,
            _ => Error::bug("the thread that writes slabs ended early"),
        }
    }

    fn append(&mut self, slices: &[f32]) -> Result<()> {
        let dims = self.layout.dims;
        if !slices.len().is_multiple_of(dims.slice()) || slices.len() / dims.slice() > dims.nz - self.next {
            let what = format!("{} voxels written behind slice {} of {}", slices.len(), self.next, dims.nz);
            return Err(Error::bug(what).at(&self.paths.base));
        }
        for slice in slices.chunks_exact(dims.slice()) {
            os::check_interrupt()?;
            if self.filling.is_none() {
                let empty = self.store.as_ref().and_then(|store| store.empty.recv().ok());
                let mut buffer = empty.ok_or_else(|| self.why())?;
                buffer.reserve_exact(self.layout.length(self.next / self.layout.slab_slices) as usize);
                self.filling = Some(buffer);
            }
            let Some(buffer) = &mut self.filling else { return Err(Error::bug("no buffer for a slab")) };
            self.codec.encode(slice, buffer).map_err(|i| self.unstorable(slice[i], i))?;
            self.next += 1;
            if self.next.is_multiple_of(self.layout.slab_slices) || self.next == dims.nz {
                self.send()?;
            }
        }
        Ok(())
    }

    fn unstorable(&self, value: f32, i: usize) -> Error {
        let (nx, dtype) = (self.layout.dims.nx, self.layout.dtype.name());
        let (x, y, z) = (i % nx, i / nx, self.next);
        let Codec { slope, intercept, .. } = self.codec;
        Error::data(format!(
            "the value {value} at x {x}, y {y}, z {z} is not one of {dtype} with slope {slope} and intercept {intercept}"
        ))
        .at(&self.paths.base)
        .help("store as f32, or choose a slope and an intercept that cover the values")
    }
}

impl Sink for Writer {
    fn next_slice(&self) -> usize {
        self.next
    }

    fn count(&mut self, z: usize, name: &str, n: u64) -> Result<()> {
        Writer::count(self, z, name, n)
    }

    /// Appends whole slices. An error of the disk may show only at a later call, or in [`Writer::finish`].
    fn write(&mut self, slices: &[f32]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.append(slices).inspect_err(|error| self.failed = Some(error.clone()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Slabs that are full still reach the disk and the journal.
        if let Some(store) = self.store.take() {
            let _ = store.join();
        }
    }
}

impl Store {
    fn spawn(claim: Claim, part: PathBuf, disk: Disk, codec: Codec, layout: Layout) -> Result<Store> {
        let (full, slabs) = sync_channel::<Full>(1);
        let (emptied, empty) = channel();
        for _ in 0..2 {
            let _ = emptied.send(Vec::new());
        }
        let thread = std::thread::Builder::new()
            .name("volume writer".into())
            .spawn(move || store(claim, &part, &disk, codec, &layout, slabs, emptied))
            .map_err(|e| Error::io(format!("cannot start a thread: {e}")))?;
        Ok(Store { full, empty, thread })
    }

    /// Waits for the slabs in flight.
    fn join(self) -> Result<Claim> {
        drop(self.full);
        self.thread.join().unwrap_or_else(|_| Err(Error::bug("the thread that writes slabs panicked")))
    }
}

/// Stores slabs as they come: bytes, sync, journal.
fn store(
    mut claim: Claim,
    part: &Path,
    disk: &Disk,
    codec: Codec,
    layout: &Layout,
    slabs: Receiver<Full>,
    emptied: Sender<Vec<u8>>,
) -> Result<Claim> {
    for Full { mut bytes, counts } in slabs {
        let failed = |e: std::io::Error| os::write_error(part, layout.dims.bytes(layout.dtype), &e);
        let slab = claim.done.len();
        let record = SlabRecord::of_bytes(codec, &bytes);
        disk.write_at(&claim.raw, &bytes, layout.offset(slab)).map_err(failed)?;
        disk.sync_data(&claim.raw).map_err(failed)?;
        let entry = Entry { digest: record.digest, counts };
        claim.journal.slab(disk, layout, slab, &entry).map_err(failed)?;
        disk.sync_data(&claim.journal.file).map_err(failed)?;
        claim.done.push((entry, record));
        bytes.clear();
        // Nobody waits for the last buffers.
        let _ = emptied.send(bytes);
    }
    Ok(claim)
}

/// `results` with the member `counts`, if anything was counted.
fn with_counts(results: Json, counts: Counts) -> Result<Json> {
    let Json::Obj(mut members) = results else { return Err(Error::bug("the results are not a JSON object")) };
    if !counts.is_empty() {
        let counts = Json::obj(counts.into_iter().map(|(name, n)| (name, n.into())));
        if members.insert("counts".to_owned(), counts).is_some() {
            return Err(Error::bug("the results have a member `counts` of their own"));
        }
    }
    Ok(Json::Obj(members))
}

/// The output's name, which stands in headers that other programs read.
fn check_name(base: &Path) -> Result<String> {
    let name = base.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let why = match name {
        "" => "the name is empty or not UTF-8",
        n if n.len() > MAX_NAME => "the name is too long",
        n if n.trim() != n || n.contains(['"', '\\']) || header::check_data_file(&format!("{n}.raw")).is_err() => {
            "headers cannot carry this name"
        }
        _ => return Ok(name.to_owned()),
    };
    Err(Error::usage(why).at(base).help("name the output as FOLDER/NAME with letters, digits, `-`, `_` and `.`"))
}

/// What the headers and the manifest could not carry.
fn check_job(job: &Job, layout: &Layout) -> Result<()> {
    let plain = |s: &str| !s.is_empty() && s.trim() == s && !s.contains('\\') && !s.chars().any(char::is_control);
    let identity = job.slope == 1.0 && job.intercept == 0.0;
    let size = |Micrometre(v): &Micrometre| v.is_finite() && *v > 0.0;
    let checks = [
        ("the stage's name is not plain text", plain(&job.stage)),
        ("the unit of the values is not plain text", plain(&job.value_unit)),
        ("slope and intercept are not finite, or the slope is 0", {
            job.slope.is_finite() && job.slope != 0.0 && job.intercept.is_finite()
        }),
        ("f32 values are stored as they are: slope 1, intercept 0", job.dtype != Dtype::F32 || identity),
        ("the voxel size is not greater than 0", job.spacing.iter().flatten().all(size)),
        ("the parameters are not a JSON object", job.params.as_obj().is_some()),
        ("the manifest would be too long", {
            let fixed = job.params.to_canonical().len() + 1024 * job.inputs.len();
            fixed + SLAB_TEXT * layout.slabs() + RESULTS_TEXT <= crate::json::MAX_TEXT
        }),
    ];
    match checks.iter().find(|(_, fine)| !fine) {
        None => Ok(()),
        Some((what, _)) => Err(Error::usage(*what)),
    }
}

/// Seconds since 1970, for run records only.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
