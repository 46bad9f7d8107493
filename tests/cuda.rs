//! CUDA where no GPU is: kernels run on the CPU, fiber by fiber, behind a mock of the driver (tests/cuda). The compiler
//! g++ is needed; without it these tests fail, because a test that is skipped shows nothing.

#![allow(clippy::print_stdout)] // What a device is asked and says is read by who runs it.

#[path = "cuda/mock.rs"]
mod mock;

use std::process::Command;

/// The emulation multiplies as f64 does, in any order of threads, and finds what is planted.
#[test]
fn the_emulation_computes_and_finds_misuse() {
    let program = mock::emulation_test();
    let run = |plant: &str| {
        let done = Command::new(&program).arg(plant).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).trim().to_string();
        (said, String::from_utf8_lossy(&done.stderr).to_string())
    };
    assert_eq!(run("").0, "same");
    for plant in ["barrier", "wait", "unwritten"] {
        assert_eq!(run(plant).0, "differs", "{plant}");
    }
    for (plant, found) in [
        ("divergent", "only part of a warp reached a collective"),
        ("part", "only part of a block reached a barrier"),
        ("misaligned", "no multiple of 16"),
        ("flight", "a thread ended with copies under way"),
    ] {
        let (said, error) = run(plant);
        assert!(said.is_empty() && error.contains(found), "{plant}: {said} {error}");
    }
}

/// Fast kernels are within their bound in all orders of threads, and none of their barriers and waits is idle.
#[test]
fn fast_kernels_compute_and_need_every_barrier() {
    let (program, variants) = mock::fast_test();
    for name in &variants {
        let done = Command::new(&program).arg(name).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).trim().to_string();
        let error = String::from_utf8_lossy(&done.stderr);
        // What a wait that is put off leaves behind is the last chunk's copy.
        let left = name.contains("_wait_") && error.contains("a thread ended with copies under way");
        let planted = name.contains("_barrier_") || name.contains("_wait_");
        assert!(left || said == if planted { "differs" } else { "same" }, "{name}: {said} {error}");
    }
    assert!(variants.len() >= 16, "{variants:?}");
}

/// While a library is built again, as by two programs of tests at once, whoever opens it finds the whole of it.
#[test]
fn a_library_is_whole_while_it_is_built_again() {
    let path = mock::old_driver().join("libcuda.so.1");
    let whole = std::fs::read(&path).unwrap();
    let seen = std::thread::scope(|scope| {
        let builders = [0, 1].map(|_| scope.spawn(mock::old_driver));
        let mut seen = 0;
        while builders.iter().any(|builder| !builder.is_finished()) {
            assert!(std::fs::read(&path).is_ok_and(|now| now == whole), "a part of it, or none");
            seen += 1;
        }
        seen
    });
    assert!(seen > 100, "it was looked at {seen} times");
}

/// The tests of `cuda/device.rs`, which need a device.
#[cfg(feature = "cuda")]
#[path = "cuda/device.rs"]
mod device;
#[cfg(feature = "cuda")]
#[path = "cuda/exact.rs"]
mod exact;
#[cfg(feature = "cuda")]
#[path = "cuda/failures.rs"]
mod failures;
#[cfg(feature = "cuda")]
#[path = "cuda/fast.rs"]
mod fast;
#[cfg(feature = "cuda")]
#[path = "cuda/flow.rs"]
mod flow;
#[cfg(feature = "cuda")]
#[path = "cuda/patches.rs"]
mod patches;
#[cfg(feature = "cuda")]
#[path = "cuda/steps.rs"]
mod steps;
#[cfg(feature = "cuda")]
#[path = "cuda/windows.rs"]
mod windows;

#[cfg(feature = "cuda")]
mod emulated {
    use super::mock;
    use std::path::Path;
    use std::process::{Command, Output};

    /// This program's tests of the device, on the mock driver.
    pub fn run(test: &str, driver: &Path, environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--test-threads=1", "--nocapture", test]).env("LD_LIBRARY_PATH", driver);
        command.envs(environment.iter().copied()).output().unwrap()
    }
    /// Passes, with tests in it; what it says.
    fn passes(test: &str, driver: &Path, environment: &[(&str, &str)]) -> String {
        let done = run(test, driver, environment);
        let (said, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && !said.contains("ok. 0 passed"), "{test} {environment:?}\n{said}\n{error}");
        print!("{said}");
        said.into_owned()
    }

    /// Tests of all strict kernels but of the large tiles.
    const STRICT: [&str; 6] = [
        "device_passes",
        "device_convolutions_are",
        "device_memory",
        "device_batches",
        "device_trainings",
        "device_windows",
    ];

    /// A new file for the names of the kernels that tests start.
    fn launched(name: &str) -> String {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("launched-{name}"));
        std::fs::write(&path, "").unwrap();
        path.to_str().unwrap().to_string()
    }
    fn is_fast(file: &str) -> bool {
        file.starts_with("fast_") || file == "step"
    }
    /// All kernels of some files were started.
    fn every_kernel(log: &str, of: impl Fn(&str) -> bool) {
        let started = std::fs::read_to_string(log).unwrap();
        let entries: Vec<mock::Entry> = mock::entries().into_iter().filter(|e| of(&e.file)).collect();
        let missing: Vec<&str> =
            entries.iter().map(|e| &e.name[..]).filter(|name| !started.lines().any(|line| line == *name)).collect();
        assert!(entries.len() > 10 && missing.is_empty(), "never started: {missing:?}");
    }

    /// Every kernel, in all orders of threads: as its definition, to the bit.
    #[test]
    fn strict_kernels_are_their_definitions() {
        let driver = mock::driver(false);
        let log = launched("strict");
        for order in ["0", "1", "2"] {
            for test in STRICT.into_iter().chain(["device_convolutions_in_large"]) {
                passes(test, &driver, &[("EMULATION_ORDER", order), ("EMULATION_LAUNCHED", &log)]);
            }
        }
        every_kernel(&log, |file| !is_fast(file));
    }

    /// Every fast kernel within its bound, in all orders of threads; networks whole.
    #[test]
    fn fast_kernels_are_within_their_bounds() {
        let driver = mock::driver(false);
        let log = launched("fast");
        let tests = [
            "fast_convolutions_are",
            "fast_networks_are",
            "fast_steps_are",
            "fast_passes",
            "fast_logits",
            "fast_trainings",
            "fast_recordings",
        ];
        let digests = ["0", "1", "2"].map(|order| {
            let environment = [("EMULATION_ORDER", order), ("EMULATION_LAUNCHED", &log)];
            let said = tests.map(|test| passes(test, &driver, &environment));
            said.concat().lines().filter(|l| l.starts_with("digest ")).map(str::to_string).collect::<Vec<_>>()
        });
        assert!(digests[0].len() >= 8, "{digests:?}");
        assert!(digests.iter().all(|d| *d == digests[0]), "other bits in other orders of threads: {digests:?}");
        every_kernel(&log, is_fast);
    }

    /// Whole networks in fp16 are as far from f64 as their roundings make them.
    #[test]
    fn fast_networks_are_within_their_bound_of_f64() {
        let said = passes("whole_networks_are", &mock::driver(false), &[]);
        assert_eq!(said.lines().filter(|l| l.contains("sigma in the mean square")).count(), 3, "{said}");
    }

    /// The same once more where what lies outside an allocation is found: every kernel, on what is small, because it is slow.
    #[test]
    fn kernels_touch_only_what_is_theirs() {
        let driver = mock::driver(true);
        let library = mock::sanitizer();
        let (preload, log) = (library.to_str().unwrap(), launched("sanitized"));
        // This program is not sanitized itself: its memory is its own, and what it leaks is the driver's.
        let environment = [
            ("LD_PRELOAD", preload),
            ("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0"),
            ("EMULATION_ORDER", "2"),
            ("EMULATION_LAUNCHED", &log),
        ];
        let all = |tests: &[&str]| {
            tests.iter().for_each(|test| drop(passes(test, &driver, &environment)));
        };
        // Each runs for a minute, on one core.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                all(&["fast_convolutions_are", "fast_passes", "fast_trainings", "fast_recordings", "flow_of"])
            });
            all(&STRICT);
            all(&["device_convolutions_in_large"]);
        });
        every_kernel(&log, |_| true);
    }

    /// Where patches have room on the device, they cross the bus once; where they have none, in every batch. The same bits.
    #[test]
    fn patches_stay_on_the_device() {
        let driver = mock::driver(false);
        let sent = |environment: &[(&str, &str)]| -> [u64; 2] {
            let said = passes("device_trainings_on_kept_patches", &driver, environment);
            ["an epoch sends ", "a fast epoch sends "].map(|words| {
                let rest = said.split(words).nth(1).unwrap_or_else(|| panic!("{words}: {said}"));
                rest.split(' ').next().unwrap().parse().unwrap()
            })
        };
        let (kept, copied) = (sent(&[]), sent(&[("EMULATION_MEMORY", "15000000")]));
        // An epoch sees each of nine patches of 8 × 8, and validation again.
        assert_eq!([0, 1].map(|i| copied[i] - kept[i]), [2 * 9 * 64 * 4; 2], "{kept:?} {copied:?}");
    }

    /// Copies beside the kernels, as late and as early as they may be; and no wait is idle: without it numbers are others.
    #[test]
    fn copies_pass_beside_kernels_and_every_wait_is_needed() {
        let driver = mock::driver(false);
        for eager in ["0", "1"] {
            passes("flow_of", &driver, &[("EMULATION_EAGER", eager)]);
        }
        for (test, eager, forgotten, says) in [
            // An image before the kernels that read the slot's last one are done; and kernels before the image is there.
            ("flow_of_images", "1", "cuStreamWaitEvent:10", "other logits of image 1"),
            ("flow_of_images", "0", "cuStreamWaitEvent:23", "other logits of image 7"),
            // What is told before the kernels are done, and before it is here.
            ("flow_of_a_volume", "0", "cuStreamWaitEvent:4", ""),
            ("flow_of_a_volume", "1", "cuStreamWaitEvent:4", ""),
            ("flow_of_a_volume", "1", "cuStreamWaitEvent:8", ""),
            ("flow_of_a_volume", "0", "cuEventSynchronize:2", ""),
            ("flow_of_a_volume", "1", "cuEventSynchronize:2", ""),
        ] {
            let done = run(test, &driver, &[("EMULATION_EAGER", eager), ("EMULATION_FORGET", forgotten)]);
            let said = String::from_utf8_lossy(&done.stderr).to_string() + &String::from_utf8_lossy(&done.stdout);
            let found = ["another volume", "is not finite", says].iter().any(|w| !w.is_empty() && said.contains(w));
            assert!(!done.status.success() && found, "{test} without {forgotten}: {said}");
        }
    }

    /// A driver that does not record, or not always: the same bits, and it is said why.
    #[test]
    fn what_cannot_be_recorded_is_started_kernel_by_kernel() {
        let driver = mock::driver(false);
        let says = |driver: &Path, environment: &[(&str, &str)]| -> [String; 3] {
            let said = passes("fast_recordings_say", driver, environment);
            let line = |word: &str| said.lines().find(|l| l.starts_with(word)).unwrap_or_default().to_string();
            ["digest ", "graphs ", "notes "].map(line)
        };
        let [digest, graphs, notes] = says(&driver, &[]);
        assert!(digest.len() > 64 && graphs == "graphs 5" && notes == "notes []", "{digest} {graphs} {notes}");
        for (fails, started, note) in [
            ("cuStreamBeginCapture_v2:1", "graphs 4", "recording: unknown"),
            ("cuStreamEndCapture:1", "graphs 4", "ending a recording: unknown"),
            ("cuGraphInstantiateWithFlags:1", "graphs 4", "preparing a recording: unknown"),
            ("cuGraphLaunch:1", "graphs 4", "starting a recording: unknown"),
            ("cuGraphLaunch:3", "graphs 5", "starting a recording: unknown"),
        ] {
            let found = says(&driver, &[("EMULATION_FAIL", fails)]);
            assert!(found[0] == digest && found[1] == started && found[2].contains(note), "{fails}: {found:?}");
        }
        let [without, graphs, notes] = says(&mock::without("cuGraphLaunch"), &[]);
        assert!(
            without == digest && graphs == "graphs 0" && notes.contains("has no cuGraphLaunch"),
            "{graphs} {notes}"
        );
    }

    /// What a driver may do to a program, and what is said about it: never a panic, never a number that is not computed.
    #[test]
    fn failures_are_told_in_one_line() {
        let driver = mock::driver(false);
        let fails = |environment: &[(&str, &str)], said: &str| {
            let done = run("failing_device", &driver, environment);
            let text = String::from_utf8_lossy(&done.stdout);
            assert!(done.status.success(), "{environment:?}: {text} {}", String::from_utf8_lossy(&done.stderr));
            assert!(text.contains("FAILED ") && text.contains(said), "{environment:?} does not say '{said}': {text}");
        };
        // Unbroken, it works, and is what it is: not the driver of a GPU that this machine may have.
        let fine = run("failing_device", &driver, &[]);
        let said = String::from_utf8_lossy(&fine.stdout).to_string();
        assert!(fine.status.success() && said.contains("FINE emulation on the CPU"), "{said}");
        fails(&[("EMULATION_DEVICES", "0")], "no GPU: the driver finds no device");
        fails(&[("EMULATION_STUB", "1")], "the library is the toolkit's stub");
        fails(&[("EMULATION_VERSION", "11080")], "speaks CUDA 11.8, which is too old");
        fails(&[("EMULATION_CAPABILITY", "75")], "is of compute capability 7.5");
        fails(&[("EMULATION_MEMORY", "30000")], "out of memory");
        fails(&[("EMULATION_HIDE", "convolve_image")], "looking for the kernel convolve_image: not found");
        // A driver without an entry point, and none at all.
        let old = mock::old_driver();
        let done = run("failing_device", &old, &[]);
        let said = String::from_utf8_lossy(&done.stdout).to_string();
        assert!(done.status.success() && said.contains("too old: it has no cuEventElapsedTime"), "{said}");
        let none = std::env::temp_dir();
        let done = run("failing_device", &none, &[]);
        let said = String::from_utf8_lossy(&done.stdout).to_string();
        // Where this machine has a driver, it is found.
        assert!(
            done.status.success() && (said.contains("libcuda.so.1 is not found") || said.contains("FINE")),
            "{said}"
        );
    }
}

/// The images that the program carries are of these sources; `.ci/kernels check` compiles them again.
#[test]
fn images_are_of_the_sources() {
    let manifest = std::fs::read_to_string(mock::root().join("kernels/prebuilt/manifest.toml")).unwrap();
    let mut section = "";
    let (mut sources, mut images) = (0, 0);
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
        }
        let Some((key, value)) = line.split_once(" = \"") else { continue };
        let file = match key {
            "source" => format!("kernels/{section}.cu"),
            "ptx" => format!("kernels/prebuilt/{section}.ptx"),
            _ if section == "headers" => format!("kernels/{key}"),
            _ => continue,
        };
        let bytes = std::fs::read(mock::root().join(&file)).unwrap();
        let found = tomolith::provenance::Digest::of(&bytes).hex();
        assert_eq!(found, value.trim_end_matches('"'), "{file} is not that of the manifest: run .ci/kernels update");
        if key == "ptx" { images += 1 } else { sources += 1 }
    }
    let mut files: Vec<String> = mock::entries().into_iter().map(|e| e.file).collect();
    files.dedup();
    assert!(images == files.len() && sources > images, "{images} images of {} files", files.len());
}
