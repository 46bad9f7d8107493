//! Progress of a long job on stderr: one line that rewrites itself on a terminal, one line per 10 % otherwise,
//! nothing with `-q`, and nothing in the first second: short jobs need no progress. Rate and remaining time appear when they mean something: after 2 % or 5 s.

use crate::cli::output::{Loudness, Talk, bytes_for_people, seconds_for_people, to_stderr};
use crate::json::Json;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Rate and remaining time are shown after this share of the work …
const SHARE_BEFORE_ETA: f64 = 0.02;
/// … or after this time.
const TIME_BEFORE_ETA: Duration = Duration::from_secs(5);
/// A job shorter than this shows nothing.
const SILENCE: Duration = Duration::from_secs(1);
/// A terminal line is rewritten at most this often.
const REWRITE: Duration = Duration::from_millis(100);

/// Progress of one stage. Shared between threads: pass `&|done, total, bytes| progress.update(done, total, bytes)`.
pub struct Progress<'a> {
    talk: &'a Talk,
    start: Instant,
    terminal: bool,
    meter: Mutex<Meter>,
}

impl<'a> Progress<'a> {
    /// Starts a stage; `unit` is what is counted: `slices`, `rows`.
    pub fn new(talk: &'a Talk, stage: &'static str, unit: &'static str) -> Progress<'a> {
        let terminal = std::io::stderr().is_terminal();
        Progress { talk, start: Instant::now(), terminal, meter: Mutex::new(Meter::new(stage, unit, terminal)) }
    }

    /// `done` of `total` units are done and `bytes` went through so far. When resuming, the first call says where.
    pub fn update(&self, done: u64, total: u64, bytes: u64) {
        let now = self.start.elapsed();
        let mut meter = self.meter.lock().unwrap_or_else(|e| e.into_inner());
        let line = meter.line(now, done, total, bytes);
        let count = |n: u64| Json::Int(i64::try_from(n).unwrap_or(i64::MAX));
        let fields = [
            ("stage", Json::Str(meter.stage.to_string())),
            ("done", count(done)),
            ("total", count(total)),
            ("bytes", count(bytes)),
            ("seconds", Json::Num(now.as_secs_f64())),
            ("eta", meter.seconds_left(now, done, total).map_or(Json::Null, Json::Num)),
        ];
        self.talk.status("running", &fields);
        let Some(line) = line else { return };
        if self.talk.loudness() > Loudness::Quiet {
            // Back to the line's start and erase it: the next text begins on a clean line.
            to_stderr(&if self.terminal { format!("\r\x1b[K{line}") } else { format!("{line}\n") });
        }
        self.talk.log("progress", &fields);
    }

    /// Ends the stage: clears the terminal's line, so that what follows starts on a clean one.
    pub fn finish(self) {
        drop(self);
    }
}

/// A part of a job.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// How much there is to do, in units that take as long in every part.
    pub work: u64,
    /// Bytes that go through.
    pub bytes: u64,
}

/// One progress over parts that come one after the other: what remains is all of them, not the rest of one.
pub struct Parts<'a> {
    progress: Progress<'a>,
    parts: Vec<Part>,
}

impl<'a> Parts<'a> {
    /// Starts a job of parts; `unit` is that of their work.
    pub fn new(talk: &'a Talk, stage: &'static str, unit: &'static str, parts: Vec<Part>) -> Parts<'a> {
        Parts { progress: Progress::new(talk, stage, unit), parts }
    }

    /// `done` of `steps` steps of a part are done, and all parts before it.
    pub fn update(&self, part: usize, done: usize, steps: usize) {
        let [work, total, bytes] = sum(&self.parts, part, done, steps);
        self.progress.update(work, total, bytes);
    }

    /// As [`Progress::finish`].
    pub fn finish(self) {
        self.progress.finish();
    }
}

/// Work done, all work, bytes done.
fn sum(parts: &[Part], part: usize, done: usize, steps: usize) -> [u64; 3] {
    let of = |n: u64| (u128::from(n) * done.min(steps) as u128 / steps.max(1) as u128) as u64;
    let sum = |parts: &[Part], what: fn(&Part) -> u64| parts.iter().map(what).sum::<u64>();
    let before = &parts[..part.min(parts.len())];
    let now = parts.get(part).copied().unwrap_or(Part { work: 0, bytes: 0 });
    [sum(before, |p| p.work) + of(now.work), sum(parts, |p| p.work), sum(before, |p| p.bytes) + of(now.bytes)]
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        let shown = self.meter.lock().unwrap_or_else(|e| e.into_inner()).shown.is_some();
        if self.terminal && shown && self.talk.loudness() > Loudness::Quiet {
            to_stderr("\r\x1b[K");
        }
    }
}

/// What to show, without clock and terminal.
struct Meter {
    stage: &'static str,
    unit: &'static str,
    terminal: bool,
    /// Time, units and bytes of the first update: what was there before is not our speed.
    first: Option<(Duration, u64, u64)>,
    /// Time and tenth of the last line.
    shown: Option<(Duration, u64)>,
}

impl Meter {
    fn new(stage: &'static str, unit: &'static str, terminal: bool) -> Meter {
        Meter { stage, unit, terminal, first: None, shown: None }
    }

    /// The line to show now, if one is due.
    fn line(&mut self, now: Duration, done: u64, total: u64, bytes: u64) -> Option<String> {
        let (start, _, bytes_before) = *self.first.get_or_insert((now, done, bytes));
        let total = total.max(1);
        let tenth = done.min(total) * 10 / total;
        let due = match self.shown {
            _ if now < SILENCE => false,
            None => self.terminal || tenth > 0,
            Some((at, last)) if self.terminal => now >= at + REWRITE || tenth > last,
            Some((_, last)) => tenth > last,
        };
        if !due {
            return None;
        }
        self.shown = Some((now, tenth));
        let mut line = format!("{} {:>3} %  {done}/{total} {}", self.stage, done.min(total) * 100 / total, self.unit);
        if let Some(left) = self.seconds_left(now, done, total) {
            let seconds = (now - start).as_secs_f64();
            if bytes > bytes_before {
                line += &format!("  {}/s", bytes_for_people(((bytes - bytes_before) as f64 / seconds) as u64));
            }
            line += &match done >= total {
                true => format!("  in {}", seconds_for_people(seconds)),
                false => format!("  {} left", seconds_for_people(left)),
            };
        }
        Some(line)
    }

    /// Remaining time at the mean speed since the first update; `None` while that means nothing.
    fn seconds_left(&self, now: Duration, done: u64, total: u64) -> Option<f64> {
        let (start, before, _) = self.first?;
        let (elapsed, ours) = (now.saturating_sub(start), done.saturating_sub(before));
        let share = ours as f64 / total.saturating_sub(before).max(1) as f64;
        if ours == 0 || elapsed.is_zero() || (share < SHARE_BEFORE_ETA && elapsed < TIME_BEFORE_ETA) {
            return None;
        }
        Some(elapsed.as_secs_f64() * total.saturating_sub(done) as f64 / ours as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn a_file_gets_one_line_per_tenth() {
        let mut meter = Meter::new("recon", "slices", false);
        let lines: Vec<_> = (0..=200).filter_map(|i| meter.line(seconds(i as f64), i, 200, i * 1_000_000)).collect();
        assert_eq!(lines.len(), 10, "{lines:#?}");
        assert_eq!(lines[0], "recon  10 %  20/200 slices  1.000 MB/s  3 min 0 s left");
        assert_eq!(lines[9], "recon 100 %  200/200 slices  1.000 MB/s  in 3 min 20 s");
    }

    #[test]
    fn a_terminal_is_rewritten_but_not_too_often() {
        let mut meter = Meter::new("recon", "slices", true);
        let lines = (0..2000).filter_map(|i| meter.line(seconds(i as f64 * 0.001), i, 100_000, 0)).count();
        assert_eq!(lines, 10, "a silent second, then one at ten lines a second");
    }

    #[test]
    fn what_was_done_before_a_resume_is_not_our_speed() {
        let mut meter = Meter::new("recon", "slices", true);
        meter.line(seconds(0.0), 900, 1000, 0);
        meter.line(seconds(10.0), 950, 1000, 0);
        assert_eq!(meter.seconds_left(seconds(10.0), 950, 1000), Some(10.0));
    }

    #[test]
    fn no_promise_before_it_means_something() {
        let mut meter = Meter::new("recon", "slices", true);
        meter.line(seconds(0.0), 0, 1000, 0);
        assert_eq!(meter.seconds_left(seconds(1.0), 10, 1000), None, "1 % after 1 s");
        assert!(meter.seconds_left(seconds(1.0), 20, 1000).is_some(), "2 %");
        assert!(meter.seconds_left(seconds(5.0), 1, 1000).is_some(), "5 s");
        assert_eq!(meter.seconds_left(seconds(9.0), 0, 1000), None, "nothing done");
        assert!(meter.line(seconds(9.0), 0, 0, 0).is_some(), "an empty job divides by nothing");
    }

    /// Two parts of a minute each and a short one: what remains after half of the first is told from all of them.
    #[test]
    fn what_remains_is_that_of_all_parts() {
        let parts = [(60, 60), (60, 60), (12, 60)].map(|(work, bytes)| Part { work, bytes });
        let mut meter = Meter::new("segment", "slices", false);
        for (part, done, left) in [(0, 15, 117.0), (0, 30, 102.0), (1, 30, 42.0), (2, 60, 0.0)] {
            let [work, total, bytes] = sum(&parts, part, done, 60);
            meter.line(seconds(0.0), 0, total, 0);
            assert_eq!(meter.seconds_left(seconds(work as f64), work, total), Some(left), "part {part}, {done}");
            assert_eq!(bytes, part as u64 * 60 + done as u64);
        }
        assert_eq!(sum(&parts, 3, 0, 0), [132, 132, 180]);
        assert_eq!(sum(&[Part { work: 0, bytes: 0 }], 0, 0, 0), [0, 0, 0]);
    }
}
