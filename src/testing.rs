//! For tests only: where measured data lies, and folders that vanish. Not part of the library's interface.
#![allow(clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder of measured data; by default `../shared/data` beside the checkout.
const DATA: &str = "TOMOLITH_TEST_DATA";
/// Set to `1`, it turns a test that would be skipped for want of data into a failure.
const REQUIRE: &str = "TOMOLITH_REQUIRE_DATA";

/// The path of a file or folder of measured data, or `None` after saying that the test is skipped and why.
///
/// # Panics
/// If the file is absent and `TOMOLITH_REQUIRE_DATA` is `1`.
pub fn data(name: &str) -> Option<PathBuf> {
    // Cargo runs tests in the package's root.
    let root = std::env::var_os(DATA).map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let required = std::env::var_os(REQUIRE).is_some_and(|v| v == "1");
    find(&root, name, required)
}

fn find(root: &Path, name: &str, required: bool) -> Option<PathBuf> {
    let path = root.join(name);
    // Absolute, because programs under test run in folders of their own.
    if let Ok(path) = std::fs::canonicalize(&path) {
        return Some(path);
    }
    let why = format!("no {name} in {}; set {DATA} to the folder of measured data", root.display());
    assert!(!required, "{REQUIRE}=1, but {why}");
    eprintln!("SKIPPED: {why}");
    None
}

/// The numbers of one of TomoPy's fixtures, whatever their type, in the order of the file; `None` as [`data`].
///
/// # Panics
/// If it is no such file.
pub fn fixture(name: &str) -> Option<Vec<f32>> {
    let bytes = std::fs::read(data("tomopy-fixtures")?.join(name)).expect("a fixture is readable");
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[..header]);
    let numbers = &bytes[header..];
    let four = numbers.as_chunks::<4>().0;
    Some(match text.split('\'').nth(3) {
        Some("<f4") => four.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Some("<i4") => four.iter().map(|b| i32::from_le_bytes(*b) as f32).collect(),
        Some("<f8") => numbers.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        other => panic!("{name}: numbers of type {other:?}"),
    })
}

/// An empty folder of its own, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder; `name` says whose it is when a test leaves it behind.
    pub fn new(name: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tomolith-{name}-{}-{number}", std::process::id()));
        // A folder left by an ended process of the same id is replaced.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Scratch(path)
    }
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// A path in the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_data_is_skipped_or_refused() {
        let folder = Scratch::new("data");
        std::fs::write(folder.join("there"), b"x").unwrap();
        assert_eq!(find(folder.path(), "there", true), Some(folder.join("there")));
        assert_eq!(find(folder.path(), "absent", false), None);
        assert!(std::panic::catch_unwind(|| find(folder.path(), "absent", true)).is_err());
        let path = folder.path().to_path_buf();
        drop(folder);
        assert!(!path.exists());
    }
}
