//! L1. Digests and canonical JSON: how a result proves what it was made from.

/// SHA-256 of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

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
