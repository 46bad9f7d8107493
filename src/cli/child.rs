//! A command of this program that another one runs: the same program once more, which ends with it.

use crate::cli::Context;
use crate::cli::options::ENVIRONMENT_PREFIX;
use crate::error::{Error, Fault, Result};
use crate::os::{ask_to_end, check_interrupt, ends_with_us, interrupted};
use crate::segment::round::written;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A command that runs beside others.
pub struct Share<'a> {
    /// How many they are: each has its part of the threads.
    pub of: usize,
    /// Stands before what it says.
    pub name: &'a str,
}

/// Runs a command by its words in a folder, and gives what it wrote on standard output. What it says is said once more.
///
/// # Errors
/// The command's, with its kind; again when interrupted.
pub fn run(c: &Context, words: &[String], folder: Option<&Path>) -> Result<String> {
    share(c, &Share { of: 1, name: "" }, words, folder)
}

/// [`run`] beside others.
///
/// # Errors
/// See [`run`].
pub fn share(c: &Context, share: &Share, words: &[String], folder: Option<&Path>) -> Result<String> {
    let threads = (c.threads / share.of).max(1).to_string();
    let who = if share.of > 1 { format!("{}: ", share.name) } else { String::new() };
    let program = std::env::current_exe().map_err(|e| Error::missing(format!("where this program lies: {e}")))?;
    let mut child = std::process::Command::new(program);
    child.args(words).args(["--threads", &threads, "--isa", c.isa.name(), "--io", c.io.name()]);
    // What is said by the environment is no part of a step: the words say all.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX)) {
        child.env_remove(name);
    }
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(folder) = folder {
        child.current_dir(folder);
    }
    let cannot = |e: std::io::Error| Error::device(format!("cannot run a step: {e}"));
    let mut child = ends_with_us(&mut child).spawn().map_err(cannot)?;
    let (said, talked) = (child.stdout.take(), child.stderr.take());
    let (mut why, mut advice) = (None, None);
    let text = std::thread::scope(|scope| -> Result<String> {
        // Its end, with or without an error, drops `_runs`.
        let (_runs, over) = channel();
        let child = &child;
        scope.spawn(move || pass_on(child, &over));
        // Both at once: a pipe that nobody reads would stop it.
        let text = scope.spawn(move || {
            let mut text = String::new();
            said.map_or(Ok(0), |mut said| said.read_to_string(&mut text)).map(|_| text)
        });
        for line in talked.into_iter().flat_map(|t| BufReader::new(t).lines()) {
            let line = line.map_err(cannot)?;
            match (line.strip_prefix("error: "), line.strip_prefix("  help: ")) {
                (Some(error), _) => why = Some(error.to_string()),
                (None, Some(help)) if why.is_some() => advice = Some(help.to_string()),
                _ => c.talk.note(format!("{who}{}", line.trim_start_matches("note: "))),
            }
        }
        text.join().unwrap_or(Ok(String::new())).map_err(cannot)
    })?;
    let status = child.wait().map_err(cannot)?;
    if status.success() {
        return Ok(text);
    }
    check_interrupt()?;
    let why = why.unwrap_or_else(|| "it was killed".into());
    const FAULTS: [Fault; 9] = [
        Fault::Bug,
        Fault::Usage,
        Fault::Mismatch,
        Fault::Data,
        Fault::Missing,
        Fault::CannotCreate,
        Fault::Io,
        Fault::Again,
        Fault::Policy,
    ];
    let is = |fault: &Fault| status.code() == Some(fault.exit_code().into());
    // One that was killed has no code.
    let fault = FAULTS.into_iter().find(is).unwrap_or(Fault::Device);
    let step = format!("the step was: tomolith {}", written(words));
    let fault = Error::new(fault, why).help(advice.map_or(step.clone(), |advice| format!("{advice}; {step}")));
    Err(match folder {
        Some(folder) => fault.at(folder),
        None => fault,
    })
}

/// Passes an interrupt on: a terminal sends it to both, who ends this process by its number does not.
fn pass_on(child: &Child, over: &Receiver<()>) {
    while over.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        if interrupted() {
            return ask_to_end(child);
        }
    }
}
