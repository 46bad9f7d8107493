//! Which options mean something: one that does not, but was given, is refused, or it would seem to work; and within
//! which bounds.

use super::cell::Mode;
use crate::cli::options::Settings;
use crate::cli::values;
use crate::error::{Error, Result};

/// Options, and the modes in which they mean something.
const MEANING: [(&[&str], &[Mode]); 4] = [
    (
        &["still", "shift", "turn", "tilt", "relative", "warp", "motion-seed", "untruncated"],
        &[Mode::Volume, Mode::Radiographs, Mode::Phase],
    ),
    (
        &["scan-drift", "columns", "projections", "dose", "detector", "dead-pixels", "fields"],
        &[Mode::Radiographs, Mode::Phase],
    ),
    (&["distance", "propagation", "bandwidth"], &[Mode::Phase]),
    (&["cnr", "rings", "blur"], &[Mode::Volume]),
];

/// Refuses options that mean nothing beside the others.
///
/// # Errors
/// Usage: the option, and what it means nothing with.
pub fn check(settings: &Settings, mode: Mode) -> Result<()> {
    let refuse =
        |names: &[&str], beside: &str| match names.iter().find(|n| settings.is_given(n).unwrap_or(false)) {
            Some(name) => Err(settings
                .blame(name, Error::usage(format!("means nothing with {beside}")).help("leave one of the two out"))),
            None => Ok(()),
        };
    for (names, modes) in MEANING {
        if !modes.contains(&mode) {
            refuse(names, &format!("--mode {}", mode.name()))?;
        }
    }
    if settings.is_on("still")? {
        refuse(&["shift", "turn", "tilt", "relative", "warp", "scan-drift"], "--still")?;
    }
    if settings.text("propagation")? == Some("tie") {
        refuse(&["bandwidth"], "--propagation tie")?;
    }
    match settings.text("annotate")?.unwrap_or_default() {
        "none" => refuse(&["boundary", "confusion", "every"], "--annotate none"),
        "dense" => refuse(&["every"], "--annotate dense"),
        _ => Ok(()),
    }
}

/// The number of an option.
///
/// # Errors
/// Usage: it is outside `low` … `high`.
pub fn within(settings: &Settings, name: &str, low: f64, high: f64) -> Result<f64> {
    let inside = |text: &str| {
        values::number(text).and_then(|v| match (low..=high).contains(&v) {
            true => Ok(v),
            false => Err(Error::usage(format!("{text} is out of range")).help(format!("from {low} to {high}"))),
        })
    };
    settings.parsed(name, inside)
}
