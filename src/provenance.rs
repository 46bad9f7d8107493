//! L1. Digests: how a result proves what it was made from.
//!
//! Everything is SHA-256, so that anyone can check it with `sha256sum`; what formats ask for is CRC-32 ([`crc32`]). A large volume is hashed in slabs;
//! its one digest is the [`Digest::root`] of them.

use crate::error::{Error, Result};
use sha2::Digest as _;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Bytes that are read at once while a file is hashed.
const CHUNK: usize = 1 << 20;

/// SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// SHA-256 and length of a file's bytes.
    ///
    /// # Errors
    /// When the file is not there, cannot be read, or is not a regular file (a pipe would block for ever).
    pub fn of_file(path: &Path) -> Result<(Digest, u64)> {
        let reading = |e: std::io::Error| Error::reading(path, &e);
        // O_NONBLOCK: opening a pipe returns at once; regular files do not care.
        let mut file: File =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(reading)?;
        if !file.metadata().map_err(reading)?.is_file() {
            return Err(Error::data("not a regular file").at(path).help("name a regular file"));
        }
        let mut hasher = Hasher::new();
        let mut chunk = vec![0; CHUNK];
        let mut length = 0;
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return Ok((hasher.finish(), length)),
                Ok(n) => {
                    hasher.update(&chunk[..n]);
                    length += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(reading(e)),
            }
        }
    }

    /// The digest of a whole that was hashed in parts: SHA-256 of the parts' digests (32 bytes each), in order.
    pub fn root(parts: &[Digest]) -> Digest {
        let mut hasher = Hasher::new();
        for part in parts {
            hasher.update(&part.0);
        }
        hasher.finish()
    }

    /// 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Reads what [`Digest::hex`] writes, and nothing else: one digest has one text.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) for any other text.
    pub fn parse(text: &str) -> Result<Digest> {
        let nibble = |d: u8| match d {
            b'0'..=b'9' => Some(d - b'0'),
            b'a'..=b'f' => Some(d - b'a' + 10),
            _ => None,
        };
        let bad = || Error::data("a SHA-256 digest is written as 64 lower-case hexadecimal digits");
        let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| bad())?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = 16 * nibble(pair[0]).ok_or_else(bad)? + nibble(pair[1]).ok_or_else(bad)?;
        }
        Ok(Digest(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// SHA-256 of bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Nothing hashed yet.
    pub fn new() -> Hasher {
        Hasher::default()
    }
    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// The digest of everything appended.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// CRC-32 as zip, PNG, gzip and Ethernet have it, of more bytes after those of `crc`; it begins at 0.
///
/// ```text
/// x³² + x²⁶ + x²³ + x²² + x¹⁶ + x¹² + x¹¹ + x¹⁰ + x⁸ + x⁷ + x⁵ + x⁴ + x² + x + 1
/// bits reversed: 0xEDB88320; registers inverted at both ends; crc32(crc32(0, a), b) = crc32(0, a b)
/// ```
pub fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    /// `[k][b]`: what byte b does, k bytes of zero after it; eight bytes are taken at a time.
    const TABLES: [[u32; 256]; 8] = {
        let mut tables = [[0; 256]; 8];
        let mut i = 0;
        while i < 8 * 256 {
            let (k, b) = (i / 256, i % 256);
            let mut c = if k == 0 { b as u32 } else { tables[k - 1][b] };
            let mut bit = 0;
            while bit < 8 {
                c = if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 };
                bit += 1;
            }
            tables[k][b] = c;
            i += 1;
        }
        tables
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(!crc, |c, eight| {
        let mixed = (u64::from_le_bytes(*eight) ^ u64::from(c)).to_le_bytes();
        (0..8).fold(0, |c, k| c ^ TABLES[7 - k][usize::from(mixed[k])])
    });
    !rest.iter().fold(crc, |c, &b| TABLES[0][usize::from(c as u8 ^ b)] ^ (c >> 8))
}

/// A file that a result was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// What it was used for: `projections`, `flats`, `darks`, `theta`, `volume` …
    pub role: String,
    /// Its name without folders: where it lay is not part of a result.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

impl InputFile {
    /// Hashes the file at `path`, used as `role`.
    ///
    /// # Errors
    /// As [`Digest::of_file`].
    pub fn of(role: &str, path: &Path) -> Result<InputFile> {
        let (digest, bytes) = Digest::of_file(path)?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(InputFile { role: role.to_owned(), name, bytes, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_the_standard_one_and_pieces_do_not_show() {
        // The check value that every catalogue of CRCs gives for CRC-32/ISO-HDLC.
        assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
        let bytes: Vec<u8> = (0..100u8).collect();
        for cut in 0..bytes.len() {
            assert_eq!(crc32(crc32(0, &bytes[..cut]), &bytes[cut..]), crc32(0, &bytes));
        }
    }

    // FIPS 180-2, appendix B: SHA-256 of "abc" and of the empty message.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_of_the_standard() {
        assert_eq!(Digest::of(b"abc").hex(), ABC);
        assert_eq!(Digest::of(b"").hex(), EMPTY);
        let mut hasher = Hasher::new();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish().hex(), ABC);
    }

    #[test]
    fn one_digest_has_one_text() {
        assert_eq!(Digest::parse(ABC).unwrap(), Digest::of(b"abc"));
        for bad in ["", &ABC[1..], &ABC.to_uppercase(), &ABC.replace('b', "g"), &format!("{ABC}0"), &"é".repeat(32)] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_root_depends_on_order_and_is_the_hash_of_the_concatenation() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(Digest::root(&[a, b]), Digest::of(&[a.0, b.0].concat()));
        assert_ne!(Digest::root(&[a, b]), Digest::root(&[b, a]));
    }

    #[test]
    fn folders_and_missing_files_are_refused() {
        use crate::error::Fault;
        assert_eq!(Digest::of_file(Path::new("/")).unwrap_err().fault(), Fault::Data);
        assert_eq!(Digest::of_file(Path::new("/no/such/file")).unwrap_err().fault(), Fault::Missing);
        let input = InputFile::of("source", Path::new(file!())).unwrap();
        assert_eq!((input.name.as_str(), input.bytes > 0), ("provenance.rs", true));
    }
}
