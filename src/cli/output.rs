//! stdout is data, stderr is talk. Both may be closed under us (`| head`): that is no panic and no noise.

use crate::error::{Error, Result};
use crate::json::Json;
use std::fmt::Display;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// Exit code when the reader of our stdout went away: 128 + SIGPIPE, as every filter of a shell ends.
pub const PIPE_CLOSED: u8 = 141;

/// Standard output.
#[derive(Default)]
pub struct Output {
    closed: Mutex<bool>,
}

impl Output {
    /// Writes a line of data. After the reader went away it does nothing.
    pub fn line(&self, line: impl Display) -> Result<()> {
        self.text(&format!("{line}\n"))
    }

    /// Writes text of data as it is.
    pub fn text(&self, text: &str) -> Result<()> {
        let mut closed = self.closed.lock().unwrap_or_else(|e| e.into_inner());
        if *closed {
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => *closed = true,
            Err(e) => {
                return Err(Error::io(format!("cannot write to standard output: {e}"))
                    .help("check the disk that it is redirected to"));
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Exit code of a command that succeeded: 0, or [`PIPE_CLOSED`].
    pub fn exit_code(&self) -> u8 {
        if *self.closed.lock().unwrap_or_else(|e| e.into_inner()) { PIPE_CLOSED } else { 0 }
    }
}

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loudness {
    /// Errors only.
    Quiet,
    /// Warnings, notes and progress.
    Normal,
    /// Also details.
    Verbose,
}

/// Standard error, and the log file if one is wanted.
pub struct Talk {
    loudness: Loudness,
    log: Option<Mutex<File>>,
}

impl Talk {
    /// Talks as loud as asked; `log` is appended to, one JSON object per line.
    pub fn new(loudness: Loudness, log: Option<&Path>) -> Result<Talk> {
        let log = match log {
            None => None,
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                Some(Mutex::new(file.map_err(|e| Error::writing(path, &e))?))
            }
        };
        Ok(Talk { loudness, log })
    }

    /// How loud.
    pub fn loudness(&self) -> Loudness {
        self.loudness
    }

    /// Something to beware of.
    pub fn warn(&self, message: impl Display) {
        self.say(Loudness::Normal, "warning", message);
    }
    /// Something worth knowing.
    pub fn note(&self, message: impl Display) {
        self.say(Loudness::Normal, "note", message);
    }
    /// Something for `-v`.
    pub fn detail(&self, message: impl Display) {
        self.say(Loudness::Verbose, "detail", message);
    }

    fn say(&self, from: Loudness, kind: &str, message: impl Display) {
        let message = printable(&message.to_string());
        if self.loudness >= from {
            to_stderr(&format!("{kind}: {message}\n"));
        }
        self.log(kind, &[("message", Json::Str(message.clone()))]);
    }

    /// An error, on stderr whatever the loudness.
    pub fn error(&self, error: &Error) {
        print_error(error);
        let code = Json::Int(i64::from(error.fault().exit_code()));
        self.log("error", &[("message", Json::Str(error.to_string())), ("exit", code)]);
    }

    /// Appends one event to the log file. A log that cannot be written does not stop the work.
    pub fn log(&self, event: &str, fields: &[(&str, Json)]) {
        let Some(log) = &self.log else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = [("t", Json::Num(now.as_secs_f64())), ("event", Json::Str(event.to_string()))];
        let line = Json::obj(head.into_iter().chain(fields.iter().cloned())).to_line() + "\n";
        // One write per line: several processes may append to one log.
        let _ = log.lock().unwrap_or_else(|e| e.into_inner()).write_all(line.as_bytes());
    }
}

/// Writes to stderr and does not care whether anybody listens.
pub fn to_stderr(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints an error as `error: …` with its advice.
pub fn print_error(error: &Error) {
    to_stderr(&format!("error: {error}\n"));
}

/// Text that came from a file, without control characters: it cannot drive a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Text in lines of at most `width` characters, broken at blanks.
pub fn wrap(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines.join("\n")
}

/// A number of bytes for people, in powers of 1000 as disks are sold.
pub fn bytes_for_people(bytes: u64) -> String {
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, scale)| bytes as f64 >= *scale) {
        Some((unit, scale)) => format!("{:.3} {unit}", bytes as f64 / scale),
        None => format!("{bytes} B"),
    }
}

/// A duration for people: `4 s`, `3 min 20 s`, `2 h 5 min`.
pub fn seconds_for_people(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_bytes_and_seconds() {
        assert_eq!(bytes_for_people(999), "999 B");
        assert_eq!(bytes_for_people(9_280_000_000), "9.280 GB");
        assert_eq!(seconds_for_people(59.4), "59 s");
        assert_eq!(seconds_for_people(200.0), "3 min 20 s");
        assert_eq!(seconds_for_people(7500.0), "2 h 5 min");
    }

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(wrap("one two  three", 7), "one two\nthree");
        assert_eq!(wrap("unbreakable", 3), "unbreakable");
        assert_eq!(wrap("", 3), "");
    }

    #[test]
    fn text_from_files_cannot_drive_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
    }
}
