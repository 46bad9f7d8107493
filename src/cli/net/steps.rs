//! `steps.csv`: what every step of a training did; where the loss is scaled, every try of one.
//!
//! | column | what |
//! |---|---|
//! | `step` | steps done so far |
//! | `epoch` | the epoch that it is of, the first is 1 |
//! | `rate` | learning rate |
//! | `loss` | of its batch, before the step |
//! | `labelled` | labelled pixels of its batch |
//! | `try`, `skipped`, `next_loss_scale` | with `--fast`: tries and skipped ones so far, and the scale that the next has |
//!
//! It is a log and nothing depends on it: a training whose log is lost goes on, and its log begins there.

use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::nn::fit::Course;
use crate::nn::train::Trainer;
use crate::os::open_regular;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longest line that is read back.
const LONGEST: u64 = 256;

/// The log of a training under way.
pub struct Log {
    path: PathBuf,
    text: String,
    fast: bool,
    /// Steps, or tries, that a training did which goes on, and of which the log says nothing.
    pub lost: u32,
}

impl Log {
    /// That of a training that begins or, as far as the training had come when it was written, goes on.
    ///
    /// # Errors
    /// What the disk says, but for a log that is not there.
    pub fn open(path: &Path, trainer: &Trainer, fast: bool) -> Result<Log> {
        let tries = trainer.steps + trainer.scale.skipped;
        let scale = if fast { ",try,skipped,next_loss_scale" } else { "" };
        let header = format!("step,epoch,rate,loss,labelled{scale}");
        let before = if tries > 0 { read(path, u64::from(tries))? } else { String::new() };
        // Lines of a log with other columns are no lines of this one.
        let ours = before.lines().next() == Some(header.as_str());
        let number = |line: &&str| line.split(',').nth(if fast { 5 } else { 0 })?.parse::<u32>().ok();
        let lines: Vec<&str> =
            before.lines().skip(1).filter(|l| ours && number(l).is_some_and(|n| n <= tries)).collect();
        let lost = tries.saturating_sub(lines.len() as u32);
        let text = lines.iter().fold(header + "\n", |text, line| text + line + "\n");
        Ok(Log { path: path.into(), text, fast, lost })
    }

    /// A step that was just done.
    pub fn add(&mut self, course: &Course, rate: f64, loss: f64, labelled: u64) {
        let (steps, scale) = (course.trainer.steps, &course.trainer.scale);
        let _ = write!(self.text, "{steps},{},{rate},{loss},{labelled}", course.epochs.len() + 1);
        if self.fast {
            let _ = write!(self.text, ",{},{},{}", steps + scale.skipped, scale.skipped, scale.factor());
        }
        self.text.push('\n');
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self) -> Result<()> {
        write_text(&self.path, &self.text, true)
    }
}

/// A log of so many tries; nothing where there is none.
fn read(path: &Path, tries: u64) -> Result<String> {
    let mut bytes = Vec::new();
    if path.exists() {
        let limit = LONGEST * (tries + 1);
        open_regular(path)?.take(limit).read_to_end(&mut bytes).map_err(|e| Error::reading(path, &e))?;
    }
    Ok(String::from_utf8(bytes).unwrap_or_default())
}
