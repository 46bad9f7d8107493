//! `tomolith doctor`: is this machine fit, and does it compute the right bits?
//!
//! Each check is one line on stdout: `ok`, `note` (works, but know this) or `FAIL` with what to do. What is looked
//! at: instruction sets and fused multiply-add, subnormal numbers, threads, cgroup and process limits, the working
//! folder's file system and free space, mapped against plain reading, a digest of a small computation on every
//! instruction set, and the features of this build.

use crate::cli::output::bytes_for_people;
use crate::cli::{Command, Context};
use crate::error::{Error, Fault, Result};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use crate::os::free_space;
use crate::provenance::Digest;
use crate::volume::reader::{IoMode, Reader};
use crate::volume::writer::{Job, Writer};
use crate::volume::{Dims, Dtype, Sink, Source};
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["doctor"],
    about: "Check this machine: instruction sets, limits, disk, and a self-test of the arithmetic",
    details: "Prints one line per check and changes nothing but a small scratch folder in the working folder, which \
              it removes. Exit code 0 when all is fine; 1 when the arithmetic self-test fails; 69 when the machine \
              lacks something.",
    examples: "  tomolith doctor\n  cd /scratch/me && tomolith doctor      # about that disk",
    groups: &[],
    run,
};

/// Outcome of a check.
enum Verdict {
    Fine(String),
    Note(String),
    Bad(Fault, String),
}
use Verdict::{Bad, Fine, Note};

fn run(context: &Context) -> Result<()> {
    let folder = std::env::current_dir().map_err(|e| Error::reading(Path::new("."), &e))?;
    let checks: [(&str, Verdict); 10] = [
        ("instruction sets", instruction_sets()),
        ("subnormals", subnormals()),
        ("threads", threads(context)),
        ("memory", memory()),
        ("limits", limits()),
        ("disk", disk(&folder)),
        ("reading", reading(&folder)),
        ("self-test", self_test()),
        ("formats", formats()),
        ("GPU", gpu()),
    ];
    let mut worst: Option<Fault> = None;
    for (name, verdict) in checks {
        let (mark, text) = match verdict {
            Fine(text) => ("ok", text),
            Note(text) => ("note", text),
            Bad(fault, text) => {
                // A bug outweighs a missing device: its results cannot be trusted.
                worst = Some(if worst == Some(Fault::Bug) { Fault::Bug } else { fault });
                ("FAIL", text)
            }
        };
        context.out.line(format!("{mark:<5} {name:<17} {}", crate::cli::output::printable(&text)))?;
    }
    match worst {
        None => Ok(()),
        Some(fault) => Err(Error::new(fault, "this machine has a problem").help("see the lines marked FAIL")),
    }
}

/// The driver, its devices, and what would be loaded.
#[cfg(feature = "cuda")]
fn gpu() -> Verdict {
    use crate::cli::device::version;
    use crate::kernels::cuda::{driver, images};
    match driver::find() {
        Err(e) => Note(format!("{}; networks are computed on the CPU, with the same bits", e.what())),
        Ok(found) => {
            let device = |d: &driver::Found| {
                let ([major, minor], old) = (d.capability, d.capability < driver::OLDEST_DEVICE);
                let fit = if old { ", too old: 8.0 is needed" } else { "" };
                format!("cuda:{} {}, {major}.{minor}, {}{fit}", d.ordinal, d.name, bytes_for_people(d.memory))
            };
            let devices: Vec<String> = found.devices.iter().map(device).collect();
            let (version, image) = (version(found.version), &images::digest().hex()[..12]);
            Fine(format!("driver of CUDA {version}: {}; would load {} ({image})", devices.join("; "), images::KIND))
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> Verdict {
    Fine("not built in (feature cuda): networks are computed on the CPU".into())
}

fn instruction_sets() -> Verdict {
    let names: Vec<&str> = Isa::available().iter().map(|isa| isa.name()).collect();
    let text = format!("{} (auto is {})", names.join(", "), Isa::detect().name());
    match names.len() {
        1 => Note(format!("{text}; no fused multiply-add in hardware: the same bits, about 20 times slower")),
        _ => Fine(format!("{text}; fused multiply-add present")),
    }
}

/// A library that sets flush-to-zero changes results silently; IEEE subnormals must survive.
fn subnormals() -> Verdict {
    let half = std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5);
    match half.to_bits() {
        0x0040_0000 => Fine("kept (no flush-to-zero)".into()),
        _ => Bad(Fault::Device, "flushed to zero: results would differ; find who sets FTZ or DAZ".into()),
    }
}

fn threads(context: &Context) -> Verdict {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let text = format!("{} in the pool, {usable} usable by this process{}", context.threads, processor_quota());
    match context.threads > usable {
        true => Note(format!("{text}; more than usable is slower")),
        false => Fine(text),
    }
}

/// The processor quota of the cgroup, in words.
fn processor_quota() -> String {
    let Some((folder, text)) = cgroup_file("cpu.max", |t| !t.starts_with("max")) else { return String::new() };
    let mut words = text.split_whitespace().filter_map(|w| w.parse::<f64>().ok());
    match (words.next(), words.next()) {
        (Some(quota), Some(period)) if period > 0.0 => {
            format!(", cgroup {} allows {:.2} processors", folder.display(), quota / period)
        }
        _ => String::new(),
    }
}

fn memory() -> Verdict {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else {
        return Note("unknown: there is no /proc/meminfo".into());
    };
    let kib = |key: &str| -> Option<u64> {
        text.lines().find_map(|l| l.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse().ok())
    };
    let (total, free) = (kib("MemTotal:").unwrap_or(0) * 1024, kib("MemAvailable:").unwrap_or(0) * 1024);
    let mut line = format!("{} available of {}", bytes_for_people(free), bytes_for_people(total));
    match cgroup_file("memory.max", |t| t.trim() != "max") {
        Some((folder, limit)) => {
            let limit: u64 = limit.trim().parse().unwrap_or(0);
            line += &format!(", cgroup {} allows {}", folder.display(), bytes_for_people(limit));
        }
        None => line += ", no cgroup limit",
    }
    Fine(line)
}

/// The nearest file `name` on the way up from our cgroup whose content `limits`.
fn cgroup_file(name: &str, limits: impl Fn(&str) -> bool) -> Option<(PathBuf, String)> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|l| l.strip_prefix("0::"))?.trim_start_matches('/').to_string();
    let root = Path::new("/sys/fs/cgroup");
    let mut folder = root.join(path);
    loop {
        if let Ok(text) = std::fs::read_to_string(folder.join(name))
            && limits(&text)
        {
            return Some((folder, text));
        }
        if folder == root || !folder.pop() {
            return None;
        }
    }
}

/// Fewer open files than this and a time series of scans runs out of them.
const ENOUGH_OPEN_FILES: u64 = 256;

fn limits() -> Verdict {
    let Ok(text) = std::fs::read_to_string("/proc/self/limits") else {
        return Note("unknown: there is no /proc/self/limits".into());
    };
    let soft =
        |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.split_whitespace().next().map(str::to_string));
    let names =
        [("open files", "Max open files"), ("file size", "Max file size"), ("address space", "Max address space")];
    let shown: Vec<String> =
        names.iter().map(|(name, key)| format!("{name} {}", soft(key).unwrap_or_else(|| "unknown".into()))).collect();
    let number = |key: &str| soft(key).and_then(|v| v.parse::<u64>().ok());
    let line = shown.join(", ");
    if number("Max open files").is_some_and(|n| n < ENOUGH_OPEN_FILES) {
        return Note(format!("{line}; few open files: raise with ulimit -n 1024"));
    }
    match number("Max file size").or(number("Max address space")) {
        Some(_) => Note(format!("{line}; a limited file size or address space stops large volumes: see ulimit -a")),
        None => Fine(line),
    }
}

fn disk(folder: &Path) -> Verdict {
    let kind = file_system(folder).unwrap_or_else(|| "unknown".into());
    let space = match free_space(folder) {
        Ok(bytes) => format!("{} free", bytes_for_people(bytes)),
        Err(e) => return Bad(Fault::Device, format!("cannot ask for free space: {e}")),
    };
    let line = format!("{space} on {kind} in {}", folder.display());
    match kind.as_str() {
        "tmpfs" | "ramfs" => Note(format!("{line}; this is memory: it is gone after a reboot")),
        "nfs" | "nfs4" | "cifs" | "smb3" | "fuse.sshfs" => {
            Note(format!("{line}; a network disk: --io pread is the safer way to read"))
        }
        _ => Fine(line),
    }
}

/// Writes a tiny volume into the working folder, reads it both ways, and removes it.
fn reading(folder: &Path) -> Verdict {
    let scratch = folder.join(format!(".tomolith-doctor-{}", std::process::id()));
    if let Err(e) = std::fs::create_dir(&scratch) {
        return Note(format!("not tried: no folder can be created in {} ({e})", folder.display()));
    }
    let outcome = both_ways(&scratch);
    let removed = std::fs::remove_dir_all(&scratch);
    match (outcome, removed) {
        (Err(e), _) => Bad(Fault::Device, format!("{}; {}", e.what(), e.advice().unwrap_or("use another disk"))),
        (Ok(false), _) => {
            Bad(Fault::Device, "a mapped file and a read one differ: use --io pread, or another disk".into())
        }
        (Ok(true), Err(e)) => Note(format!("mapped and plain reading agree; {} stays behind ({e})", scratch.display())),
        (Ok(true), Ok(())) => Fine("mapped and plain reading agree".into()),
    }
}

/// Whether a volume reads back the same mapped, read, and as it was written.
fn both_ways(folder: &Path) -> Result<bool> {
    let dims = Dims::new(3, 5, 7)?;
    let values: Vec<f32> = (0..dims.voxels()).map(|i| i as f32 / 3.0).collect();
    let job = Job {
        dims,
        dtype: Dtype::F32,
        spacing: None,
        slope: 1.0,
        intercept: 0.0,
        value_unit: "1".into(),
        stage: "doctor".into(),
        stage_version: 1,
        params: Json::obj::<&str>([]),
        inputs: Vec::new(),
        contract: CONTRACT,
    };
    let base = folder.join("volume");
    let mut writer = Writer::create(&base, job, false)?;
    writer.write(&values)?;
    writer.finish(Json::obj::<&str>([]), Json::obj::<&str>([]))?;
    for mode in [IoMode::Mmap, IoMode::Pread] {
        let mut read = vec![0.0; dims.voxels()];
        Reader::open(&base.with_extension("mhd"), mode)?.read(0..dims.nz, 0..dims.ny, &mut read)?;
        if read.iter().zip(&values).any(|(a, b)| a.to_bits() != b.to_bits()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Type of the file system that holds `folder`: the longest mount point that is a prefix of it.
fn file_system(folder: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        // `36 35 98:0 /root /mount/point options… - type source …`; a space in a path is written \040.
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        let length = point.len();
        // Of two mounts on one point the later hides the earlier.
        if folder.starts_with(&point) && best.as_ref().is_none_or(|(n, _)| length >= *n) {
            best = Some((length, right.split(' ').next()?.to_string()));
        }
    }
    best.map(|(_, kind)| kind)
}

fn formats() -> Verdict {
    let hdf5 = if cfg!(feature = "hdf5") { "HDF5 (Data Exchange)" } else { "no HDF5 (built without it)" };
    Fine(format!("native .mhd/.nhdr, .npy, {hdf5}"))
}

/// Steps of the self-test.
const SELF_TEST_STEPS: usize = 4096;

/// The logistic map x ← r (x − x²) in every lane: chaotic, so that one differently rounded bit, a lost fusion or a
/// flushed subnormal anywhere changes everything after it. Every lane operation is on the way.
struct SelfTest;

impl Kernel for SelfTest {
    type Out = Vec<u8>;
    #[inline(always)]
    fn run<V: F32x16>(self) -> Vec<u8> {
        let start = Lane(std::array::from_fn(|i| (i + 1) as f32 / 17.0));
        let (mut x, r, tiny) = (V::load(&start), V::splat(3.99), V::splat(1e-39));
        let mut bytes = Vec::with_capacity(SELF_TEST_STEPS * 2 * LANES * 4);
        for _ in 0..SELF_TEST_STEPS {
            x = x.neg_mul_add(x, x).mul(r);
            // What the rounding of r·x lost, and a subnormal number.
            let lost = x.mul_add(r, x.mul(r).neg());
            let small = lost.mul(tiny).add(x.mul(tiny)).sub(tiny);
            for v in [x.add(lost), small] {
                let mut out = Lane::ZERO;
                v.store(&mut out);
                bytes.extend(out.0.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
        bytes
    }
}

/// SHA-256 of what [`SelfTest`] computes, recorded once: the same on every machine.
const SELF_TEST_DIGEST: &str = "88474dd79373a66cdde84b1abc3205bd9ec07bb2a1597f3c24749e4d3569c9a0";

fn self_test() -> Verdict {
    let mut lines = Vec::new();
    for isa in Isa::available() {
        let digest = Digest::of(&isa.run(SelfTest)).hex();
        if digest != SELF_TEST_DIGEST {
            return Bad(
                Fault::Bug,
                format!(
                    "{} computes {digest}, expected {SELF_TEST_DIGEST}: do not trust results of this machine",
                    isa.name()
                ),
            );
        }
        lines.push(isa.name());
    }
    Fine(format!("{} give the digest {}…", lines.join(", "), &SELF_TEST_DIGEST[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A digest proves nothing if the numbers behind it have died out.
    #[test]
    fn the_self_test_computes_living_numbers() {
        let bytes = Isa::scalar().run(SelfTest);
        let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert!(values.iter().all(|v| v.is_finite()));
        let rows: Vec<&[f32]> = values.chunks_exact(LANES).collect();
        let last_quarter = &rows[rows.len() * 3 / 4..];
        let mut distinct: Vec<u32> = last_quarter.iter().step_by(2).map(|r| r[0].to_bits()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 100, "only {} different numbers", distinct.len());
        let subnormal = last_quarter.iter().skip(1).step_by(2).flat_map(|r| r.iter());
        let kept = subnormal.filter(|v| **v != 0.0 && v.abs() < f32::MIN_POSITIVE).count();
        assert!(kept > SELF_TEST_STEPS, "only {kept} subnormal numbers");
    }
}
