//! stdout is data, stderr is talk. Both may be closed under us (`| head`): that is no panic and no noise.

use crate::error::{Error, Result};
use crate::json::Json;
use std::fmt::Display;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    status: Option<Status>,
}

/// A small file that says how far a job is, for whoever waits for it; replaced as a whole.
struct Status {
    path: PathBuf,
    last: Mutex<Option<Instant>>,
}

/// The status file is replaced at most this often, but for the last time.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

impl Talk {
    /// Talks as loud as asked; `log` is appended to, one JSON object per line; `status` is replaced.
    pub fn new(loudness: Loudness, log: Option<&Path>, status: Option<&Path>) -> Result<Talk> {
        let log = match log {
            None => None,
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                Some(Mutex::new(file.map_err(|e| Error::writing(path, &e))?))
            }
        };
        let status = status.map(|path| Status { path: path.to_path_buf(), last: Mutex::default() });
        let talk = Talk { loudness, log, status };
        // A place that cannot be written shows at once.
        talk.write_status("started", &[]).map_or(Ok(()), |result| result)?;
        Ok(talk)
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
        self.status("failed", &[("message", Json::Str(error.to_string())), ("exit", code.clone())]);
        self.log("error", &[("message", Json::Str(error.to_string())), ("exit", code)]);
    }

    /// Replaces the status file, if there is one and its time has come: `running`, or the end, which always counts.
    /// One that cannot be written does not stop the work.
    pub fn status(&self, state: &str, fields: &[(&str, Json)]) {
        let Some(status) = &self.status else { return };
        let mut last = status.last.lock().unwrap_or_else(|e| e.into_inner());
        if state == "running" && last.is_some_and(|at| at.elapsed() < STATUS_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        let _ = self.write_status(state, fields);
    }

    fn write_status(&self, state: &str, fields: &[(&str, Json)]) -> Option<Result<()>> {
        let path = &self.status.as_ref()?.path;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = [
            ("state", Json::Str(state.to_string())),
            ("pid", Json::Int(i64::from(std::process::id()))),
            ("t", Json::Num(now.as_secs_f64())),
        ];
        let text = Json::obj(head.into_iter().chain(fields.iter().cloned())).to_line() + "\n";
        let temporary = crate::volume::reader::with_suffix(path, ".tmp");
        let written = std::fs::write(&temporary, &text).and_then(|()| std::fs::rename(&temporary, path));
        Some(written.map_err(|e| {
            let _ = std::fs::remove_file(&temporary);
            crate::os::write_error(path, text.len() as u64, &e)
        }))
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
