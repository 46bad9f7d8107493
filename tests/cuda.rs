//! CUDA where no GPU is: kernels run on the CPU, fiber by fiber, behind a mock of the driver (tests/cuda). The compiler
//! g++ is needed; without it these tests fail, because a test that is skipped shows nothing.

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

/// The tests of `cuda/device.rs`, which need a device.
#[cfg(feature = "cuda")]
#[path = "cuda/device.rs"]
mod device;

#[cfg(feature = "cuda")]
mod emulated {
    use super::mock;
    use std::path::Path;
    use std::process::{Command, Output};

    /// This program's tests of the device, on the mock driver.
    fn run(test: &str, driver: &Path, environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--test-threads=1", "--nocapture", test]).env("LD_LIBRARY_PATH", driver);
        command.envs(environment.iter().copied()).output().unwrap()
    }
    /// Passes, with tests in it.
    fn passes(test: &str, driver: &Path, environment: &[(&str, &str)]) {
        let done = run(test, driver, environment);
        let (said, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && !said.contains("0 passed"), "{test} {environment:?}\n{said}\n{error}");
        print!("{said}");
    }

    /// Every kernel, in all orders of threads: as its definition, to the bit.
    #[test]
    fn strict_kernels_are_their_definitions() {
        let driver = mock::driver(false);
        for order in ["0", "1", "2"] {
            passes("device_", &driver, &[("EMULATION_ORDER", order)]);
        }
    }
}
