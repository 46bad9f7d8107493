//! What a blind series keeps in truth/ alone: its seed, and the salt of what is published about its parameters.
//!
//! The digest of the parameters would be an oracle: who guesses the seed computes it and compares. A seed that nobody
//! gave is drawn from 2⁶³ numbers, which nobody tries; one that was given may be short, and can be found by trying. The
//! salt is a function of the seed, so that a series stays reproducible.

use crate::cli::options::Settings;
use crate::cli::values;
use crate::error::{Error, Result};
use crate::provenance::Digest;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where the system's random numbers come from.
const RANDOM: &str = "/dev/urandom";

/// The file in a blind series' folder that keeps a drawn seed, so that the series can be taken up.
pub const SEED_FILE: &str = "truth/seed.txt";

/// The seed: the given one; of a blind series that was begun without one, the kept one; of a new one, one drawn now.
///
/// # Errors
/// Usage: no number. I/O: the system has no random numbers.
pub fn seed(settings: &Settings, folder: &Path, blind: bool) -> Result<u64> {
    if !blind || settings.is_given("seed")? {
        return Ok(settings.parsed("seed", values::index)? as u64);
    }
    let kept = std::fs::read_to_string(folder.join(SEED_FILE)).ok();
    if let Some(seed) = kept.and_then(|text| text.trim().parse().ok()) {
        return Ok(seed);
    }
    let mut bytes = [0u8; 8];
    let random = PathBuf::from(RANDOM);
    let read = std::fs::File::open(&random).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| Error::reading(&random, &e).help("give a long --seed"))?;
    // A whole number in JSON has 63 bits and a sign.
    Ok(u64::from_le_bytes(bytes) >> 1)
}

/// 32 bytes that belong to a seed, in hexadecimal.
pub fn salt(seed: u64) -> String {
    Digest::of(format!("salt of the blind series {seed}").as_bytes()).hex()
}
