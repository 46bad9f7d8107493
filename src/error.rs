//! L0. One error type, sorted by whose fault it is.
//!
//! An [`Error`] says *what* is wrong, *where* (a file, and the place in it), and *what to do*.
//! Its [`Fault`] decides the exit code of the program:
//!
//! | code | fault | whose |
//! |---|---|---|
//! | 1 | [`Fault::Bug`] | ours: please report |
//! | 2 | [`Fault::Usage`] | the caller: a flag, a name, a value |
//! | 3 | [`Fault::Mismatch`] | the file: `verify` found other bytes than the manifest promises |
//! | 65 | [`Fault::Data`] | the file: malformed, truncated, inconsistent |
//! | 66 | [`Fault::Missing`] | the file: not there, or not readable |
//! | 69 | [`Fault::Device`] | the device, or a feature this build lacks |
//! | 73 | [`Fault::CannotCreate`] | the world: output exists or its folder cannot be written |
//! | 74 | [`Fault::Io`] | the world: reading or writing failed, disk full |
//! | 75 | [`Fault::Again`] | the world: interrupted or locked; run the same command again |
//! | 77 | [`Fault::Policy`] | the caller: a path outside the input's folder |

use std::fmt;
use std::path::{Path, PathBuf};

/// `Result` with the project's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an error is; see the table in the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Our own bug.
    Bug,
    /// A wrong flag, name or value.
    Usage,
    /// `verify` found a difference.
    Mismatch,
    /// Bad data in a file.
    Data,
    /// A file that is not there.
    Missing,
    /// A device or build feature that is not there.
    Device,
    /// An output that cannot be created.
    CannotCreate,
    /// Reading or writing failed.
    Io,
    /// Interrupted or locked: run again.
    Again,
    /// A path that policy forbids.
    Policy,
}

impl Fault {
    /// The exit code of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Fault::Bug => 1,
            Fault::Usage => 2,
            Fault::Mismatch => 3,
            Fault::Data => 65,
            Fault::Missing => 66,
            Fault::Device => 69,
            Fault::CannotCreate => 73,
            Fault::Io => 74,
            Fault::Again => 75,
            Fault::Policy => 77,
        }
    }
}

/// What went wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub struct Error {
    fault: Fault,
    what: String,
    path: Option<PathBuf>,
    help: Option<String>,
}

impl Error {
    /// An error of a given fault; prefer the named constructors.
    pub fn new(fault: Fault, what: impl Into<String>) -> Self {
        Error { fault, what: what.into(), path: None, help: None }
    }
    /// Our own bug: a broken invariant.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(Fault::Bug, what).help("this is a bug in tomolith; please report it with the command line")
    }
    /// A wrong flag, name or value.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Fault::Usage, what)
    }
    /// Bytes differ from the manifest.
    pub fn mismatch(what: impl Into<String>) -> Self {
        Self::new(Fault::Mismatch, what)
    }
    /// Bad data in a file.
    pub fn data(what: impl Into<String>) -> Self {
        Self::new(Fault::Data, what)
    }
    /// A file that is not there.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::new(Fault::Missing, what)
    }
    /// A device or build feature that is not there.
    pub fn device(what: impl Into<String>) -> Self {
        Self::new(Fault::Device, what)
    }
    /// An output that cannot be created.
    pub fn cannot_create(what: impl Into<String>) -> Self {
        Self::new(Fault::CannotCreate, what)
    }
    /// Reading or writing failed.
    pub fn io(what: impl Into<String>) -> Self {
        Self::new(Fault::Io, what)
    }
    /// Interrupted or locked.
    pub fn again(what: impl Into<String>) -> Self {
        Self::new(Fault::Again, what)
    }
    /// A path that policy forbids.
    pub fn policy(what: impl Into<String>) -> Self {
        Self::new(Fault::Policy, what)
    }

    /// An operating-system error while reading `path`.
    pub fn reading(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let e = match error.kind() {
            K::NotFound => Self::missing("no such file").help("check the path"),
            K::PermissionDenied => Self::missing("permission denied").help("check who may read the file"),
            K::IsADirectory => Self::missing("is a folder, not a file").help("name a file in it"),
            _ => Self::io(format!("cannot read: {error}")).help("check the disk or the network mount, then run again"),
        };
        e.at(path)
    }

    /// An operating-system error while creating or writing `path`.
    pub fn writing(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let e = match error.kind() {
            K::AlreadyExists => Self::cannot_create("already exists").help("choose another name, or remove it"),
            K::NotFound => {
                Self::cannot_create("its folder does not exist").help("create the folder, or check the path")
            }
            K::PermissionDenied | K::ReadOnlyFilesystem => {
                Self::cannot_create(format!("cannot create: {error}")).help("choose a folder that you may write to")
            }
            K::NotADirectory => {
                Self::cannot_create("a part of its path is a file, not a folder").help("check the path")
            }
            K::StorageFull | K::QuotaExceeded => {
                Self::io("no space left on the disk").help("free some space, then run the same command again")
            }
            _ => Self::io(format!("cannot write: {error}")).help("check the disk or the network mount, then run again"),
        };
        e.at(path)
    }

    /// Names the file (kept if one is named already).
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.path.get_or_insert_with(|| path.as_ref().to_path_buf());
        self
    }
    /// Says what to do (kept if it is said already).
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }
    /// Whose fault.
    pub fn fault(&self) -> Fault {
        self.fault
    }
    /// The file it is about.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
    /// What is wrong, without the file and the advice.
    pub fn what(&self) -> &str {
        &self.what
    }
    /// The advice.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Error {
    /// `path: what` and, on a second line, `help: what to do`. Control characters are escaped, so that a
    /// hostile file name cannot drive a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = |s: &str| -> String {
            s.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
        };
        if let Some(path) = &self.path {
            write!(f, "{}: ", clean(&path.to_string_lossy()))?;
        }
        write!(f, "{}", clean(&self.what))?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", clean(help))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The nearest of `known` to `given` by edit distance, if it is near enough to be a typing error.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (edit_distance(&given.to_lowercase(), &k.to_lowercase()), k))
        .filter(|&(d, k)| d <= 1 + k.len().max(given.len()) / 3)
        .min()
        .map(|(_, k)| k)
}

/// Levenshtein distance: insertions, deletions and substitutions that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_typing_errors_and_nothing_else() {
        let known = ["ramlak", "shepp", "cosine", "hann"];
        assert_eq!(nearest("ram-lak", known), Some("ramlak"));
        assert_eq!(nearest("Shep", known), Some("shepp"));
        assert_eq!(nearest("zzzzzzzz", known), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn hostile_names_are_escaped() {
        let text = Error::data("bad").at("a\u{1b}[31m\n.mhd").to_string();
        assert!(!text.contains('\u{1b}') && text.lines().count() == 1, "{text}");
    }
}
