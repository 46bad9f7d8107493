//! A writer that dies at any of its steps, in any of three ways, leaves what a second run needs for the same bytes.

use super::disk::{Death, Disk, Fuse};
use super::reader::{IoMode, Reader};
use super::slabs::Layout;
use super::writer::{Job, Writer};
use super::{Dims, Dtype, Sink, Source};
use crate::error::{Error, Fault, Result};
use crate::json::Json;
use crate::testing::Scratch;
use crate::units::Micrometre;
use std::collections::BTreeMap;
use std::path::Path;

/// Slices of 7 x 5 voxels, two in a slab of at most 300 bytes: 3 slabs, the last lower.
fn job(seed: u32) -> (Job, Layout) {
    let dims = Dims::new(5, 5, 7).unwrap();
    let job = Job {
        dims,
        dtype: Dtype::F32,
        spacing: Some([Micrometre(1.33); 3]),
        slope: 1.0,
        intercept: 0.0,
        value_unit: "1/cm".into(),
        stage: "test".into(),
        stage_version: 1,
        params: Json::obj([("seed", seed.into())]),
        inputs: vec![],
        contract: "TL-F32-1",
    };
    (job, Layout::with_slab_bytes(dims, Dtype::F32, 300))
}

/// Steps of claiming a fresh output in a new folder, of which the last is the sync of the folder.
const CLAIM_STEPS: usize = 12;

fn values(seed: u32) -> Vec<f32> {
    (0..175u32).map(|i| (i.wrapping_mul(2_654_435_761) ^ seed) as f32 * 1e-7).collect()
}

/// One run of the program: all slices that are still wanted, `height` at a time.
fn run(base: &Path, seed: u32, height: usize, overwrite: bool, disk: Disk) -> Result<usize> {
    let (job, layout) = job(seed);
    let slice = job.dims.slice();
    let mut writer = Writer::create_on(disk, base, job, layout, overwrite)?;
    let first = writer.next_slice();
    let values = values(seed);
    while writer.next_slice() < 5 {
        let z = writer.next_slice();
        let end = (z + height).min(5);
        for z in z..end {
            writer.count(z, "odd", z as u64 % 2)?;
        }
        writer.write(&values[z * slice..end * slice])?;
    }
    writer.finish(Json::obj([("axis", 3.5.into())]), Json::obj::<&str>([]))?;
    Ok(first)
}

/// A second look at what failed while the process lived on: the error is that of a full disk, and when not even the
/// claim succeeded, nothing is left behind.
fn check_full_disk(error: &Error, base: &Path, steps_of_claim: bool) {
    assert_eq!(error.fault(), Fault::Io, "{error}");
    assert!(!steps_of_claim || !base.parent().unwrap().exists(), "{error}: files are left behind");
}

/// The files of a folder that may not differ between runs, and no other file.
fn outputs(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    outputs_and(folder, false)
}

fn outputs_and(folder: &Path, journal_too: bool) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let files = files.filter(|e| !journal_too || e.file_name() != "v.raw.journal");
    let mut files: BTreeMap<String, Vec<u8>> =
        files.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect();
    assert!(files.remove("v.run.json").is_some());
    assert_eq!(files.keys().collect::<Vec<_>>(), ["v.json", "v.mhd", "v.nhdr", "v.raw"]);
    files
}

#[test]
fn dying_at_any_step_and_running_again_gives_the_same_bytes() {
    let scratch = Scratch::new("volume");
    run(&scratch.join("whole/v"), 1, 2, false, Disk::default()).unwrap();
    let expected = outputs(&scratch.join("whole"));
    let mut resumed = 0;
    for death in [Death::Before, Death::Torn, Death::PowerLoss, Death::Full] {
        let mut steps = 0;
        loop {
            let folder = scratch.join(format!("{death:?}-{steps}"));
            let base = folder.join("v");
            let fuse = Fuse::new(steps, death);
            let first = run(&base, 1, 2, false, Disk { fuse: Some(fuse.clone()) });
            if !fuse.blown() {
                first.unwrap();
                assert_eq!(outputs(&folder), expected);
                break;
            }
            if death == Death::Full {
                check_full_disk(&first.unwrap_err(), &base, steps < CLAIM_STEPS);
            }
            // Death in the very last step, the sync behind the commit, leaves nothing to do.
            let committed = base.with_extension("json").exists() && !base.with_extension("raw.journal").exists();
            if committed {
                assert_eq!(run(&base, 1, 3, false, Disk::default()).unwrap_err().fault(), Fault::CannotCreate);
            } else {
                // The name of the manifest exists only when everything is right.
                assert!(!base.with_extension("json").exists() || outputs_and(&folder, true) == expected);
                resumed +=
                    run(&base, 1, 3, false, Disk::default()).unwrap_or_else(|e| panic!("{death:?} {steps}: {e}"));
            }
            assert_eq!(outputs(&folder), expected, "{death:?} at step {steps}");
            steps += 1;
        }
        assert!(steps > 30, "{steps} steps are fewer than the writer takes");
    }
    assert!(resumed > 0, "no run took up the work of the one before");
}

#[test]
fn overwriting_dies_at_any_step_without_a_volume_that_lies() {
    let scratch = Scratch::new("volume");
    run(&scratch.join("new/v"), 2, 5, false, Disk::default()).unwrap();
    let expected = outputs(&scratch.join("new"));
    for steps in 0.. {
        let folder = scratch.join(format!("over-{steps}"));
        let base = folder.join("v");
        run(&base, 1, 5, false, Disk::default()).unwrap();
        let old = outputs(&folder);
        let fuse = Fuse::new(steps, Death::Torn);
        let first = run(&base, 2, 5, true, Disk { fuse: Some(fuse.clone()) });
        if !fuse.blown() {
            first.unwrap();
            assert_eq!(outputs(&folder), expected);
            break;
        }
        // A reader sees the old volume, the new one, or is told to run the command again: never a mixture.
        match Reader::open(&folder.join("v.mhd"), IoMode::Pread) {
            Err(error) => assert_eq!(error.fault(), Fault::Again, "step {steps}: {error}"),
            Ok(reader) => {
                let mut seen = vec![0.0; 175];
                reader.read(0..5, 0..5, &mut seen).unwrap();
                let seed = reader.manifest().unwrap().get("params").unwrap().need_u64("seed").unwrap();
                assert_eq!(seen, values(seed as u32), "step {steps}");
                if folder.join("v.raw.part").exists() {
                    for (name, bytes) in &old {
                        assert_eq!(&std::fs::read(folder.join(name)).unwrap(), bytes, "the old {name} is gone");
                    }
                }
            }
        }
        let done = !folder.join("v.raw.journal").exists();
        run(&base, 2, 1, true, Disk::default()).unwrap_or_else(|e: Error| panic!("step {steps}: {e}"));
        assert_eq!(outputs(&folder), expected, "step {steps}, done {done}");
    }
}

#[test]
fn dying_again_and_again_still_ends() {
    let scratch = Scratch::new("volume");
    run(&scratch.join("whole/v"), 1, 1, false, Disk::default()).unwrap();
    let base = scratch.join("d/v");
    // Claiming takes five steps, a slab four: some runs get no further than that, later ones finish.
    let mut furthest = 0;
    for steps in 8.. {
        assert!(steps < 40, "no progress");
        let disk = Disk { fuse: Some(Fuse::new(steps, Death::PowerLoss)) };
        if run(&base, 1, 1 + steps % 3, false, disk).is_ok() {
            break;
        }
        if base.with_extension("json").exists() && !base.with_extension("raw.journal").exists() {
            break;
        }
        let (job, layout) = job(1);
        let reached = Writer::create_on(Disk::default(), &base, job, layout, false).unwrap().next_slice();
        assert!(reached >= furthest, "finished work was lost");
        furthest = reached;
    }
    assert_eq!(furthest, 5);
    assert_eq!(outputs(&scratch.join("d")), outputs(&scratch.join("whole")));
}

/// Writes 24 slices of one slab each, slowly; the folder comes from the parent process.
fn write_slowly(base: &Path, pause: std::time::Duration) {
    let (mut job, _) = job(1);
    job.dims = Dims::new(24, 5, 7).unwrap();
    let layout = Layout::with_slab_bytes(job.dims, Dtype::F32, 1);
    let slice = job.dims.slice();
    let mut writer = Writer::create_on(Disk::default(), base, job, layout, false).unwrap();
    for z in writer.next_slice()..24 {
        std::thread::sleep(pause);
        let values: Vec<f32> = (0..slice).map(|i| (z * slice + i) as f32).collect();
        writer.write(&values).unwrap();
    }
    writer.finish(Json::obj::<&str>([]), Json::Null).unwrap();
}

const KILL_FOLDER: &str = "TOMOLITH_TEST_KILL_FOLDER";

#[test]
#[ignore = "runs in a process of its own, which killed_processes_are_taken_up kills"]
fn child_writes_slowly() {
    let folder = std::env::var_os(KILL_FOLDER).expect("started by its parent");
    write_slowly(&Path::new(&folder).join("v"), std::time::Duration::from_millis(5));
}

#[test]
fn killed_processes_are_taken_up() {
    let scratch = Scratch::new("volume");
    write_slowly(&scratch.join("whole/v"), std::time::Duration::ZERO);
    let folder = scratch.join("killed");
    let mut kills = 0;
    for attempt in 0..40 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["volume::crash_tests::child_writes_slowly", "--exact", "--ignored"])
            .env(KILL_FOLDER, &folder)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Different moments, from before the claim to somewhere in the slabs.
        std::thread::sleep(std::time::Duration::from_millis(20 + 17 * (attempt % 5)));
        child.kill().unwrap();
        if child.wait().unwrap().success() || folder.join("v.json").exists() {
            break;
        }
        kills += 1;
    }
    if !folder.join("v.json").exists() || folder.join("v.raw.journal").exists() {
        write_slowly(&folder.join("v"), std::time::Duration::ZERO);
    }
    assert!(kills > 0, "no process was killed while it wrote");
    assert_eq!(outputs(&folder), outputs(&scratch.join("whole")));
}
