//! An input file that is opened once: every byte that is parsed, decoded or hashed comes through the same handle,
//! so a file that is swapped under its name cannot give the data of one and the digest of another.

use crate::error::{Error, Result};
use crate::os;
use crate::provenance::{Digest, Hasher, InputFile};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Bytes that are hashed at a time.
const HASH_PIECE: usize = 1 << 20;

/// A regular file, open for positioned reads from any thread.
pub(crate) struct OpenFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    digest: OnceLock<Digest>,
}

impl OpenFile {
    /// Opens `path`, which must lead to a regular file (a symbolic link that the caller names is followed).
    pub(crate) fn open(path: &Path) -> Result<OpenFile> {
        let file = os::open_regular(path)?;
        let bytes = file.metadata().map_err(|e| Error::reading(path, &e))?.len();
        Ok(OpenFile { file, path: path.to_path_buf(), bytes, digest: OnceLock::new() })
    }

    /// Where it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `out` from byte `offset` on.
    pub(crate) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(out, offset).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => Error::io(format!(
                "ends before byte {}: it was {} bytes long when it was opened",
                offset + out.len() as u64,
                self.bytes
            ))
            .help("the file was cut while it was read; let its writer finish, then run again")
            .at(&self.path),
            _ => Error::reading(&self.path, &e),
        })
    }

    /// Its first bytes, at most `n`.
    pub(crate) fn head(&self, n: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes.min(n as u64) as usize];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// The file as an input of a result. It is hashed on the first call; later calls answer from memory.
    pub(crate) fn input(&self, role: &str) -> Result<InputFile> {
        let digest = match self.digest.get() {
            Some(digest) => *digest,
            None => {
                let digest = self.hash()?;
                *self.digest.get_or_init(|| digest)
            }
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(InputFile { role: role.to_string(), name, bytes: self.bytes, digest })
    }

    fn hash(&self) -> Result<Digest> {
        let mut hasher = Hasher::new();
        let mut piece = vec![0; HASH_PIECE.min(self.bytes as usize)];
        let mut offset = 0;
        while offset < self.bytes {
            let n = (self.bytes - offset).min(piece.len() as u64) as usize;
            self.read_at(offset, &mut piece[..n])?;
            hasher.update(&piece[..n]);
            offset += n as u64;
        }
        Ok(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::exchange::put;
    use crate::testing::Scratch;

    #[test]
    fn digest_is_sha256_of_the_bytes_and_pieces_do_not_show() {
        let dir = Scratch::new("file-digest");
        // FIPS 180-2, B.3: one million times "a"; here it spans no piece, the second file spans three.
        let path = put(&dir, "a", &vec![b'a'; 1_000_000]);
        let input = OpenFile::open(&path).unwrap().input("volume").unwrap();
        assert_eq!(input.digest.hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
        assert_eq!((input.role.as_str(), input.name.as_str(), input.bytes), ("volume", "a", 1_000_000));
        let long = vec![7u8; 2 * HASH_PIECE + 5];
        let path = put(&dir, "long", &long);
        let input = OpenFile::open(&path).unwrap().input("flats").unwrap();
        assert_eq!(input.digest, Digest::of(&long));
    }

    #[test]
    fn folders_devices_and_missing_files_are_refused_at_once() {
        let dir = Scratch::new("file-kinds");
        let fault = |path: &Path| OpenFile::open(path).err().unwrap().fault();
        assert_eq!(fault(dir.path()), Fault::Missing);
        assert_eq!(fault(&dir.join("none")), Fault::Missing);
        assert_eq!(fault(Path::new("/dev/zero")), Fault::Data);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let dir = Scratch::new("file-shrinks");
        let path = put(&dir, "a", &[1; 100]);
        let file = OpenFile::open(&path).unwrap();
        put(&dir, "a", &[1; 50]);
        let e = file.read_at(40, &mut [0; 20]).unwrap_err();
        assert_eq!(e.fault(), Fault::Io);
        assert!(e.what().contains("100 bytes"), "{e}");
    }
}
