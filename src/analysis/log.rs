//! What a potentiostat wrote: current and voltage over time, and the charge up to a moment.
//!
//! ```text
//! Q(t) = ∫ I dt,  Q₊ and Q₋ its parts with I > 0 and I < 0          trapezoids between lines, mAh
//! ```
//!
//! Two forms are read. CSV: a line of names, then numbers with commas or semicolons. BioLogic's `.mpt`: `EC-Lab ASCII FILE`,
//! `Nb header lines : N`, names with tabs, numbers with a point or a comma. Columns are found by their names:
//!
//! | quantity | names | unit |
//! |---|---|---|
//! | time | `time_s`, `time/s`, `t_s`, `time_min`, `time_h`, `time/h` | s, min, h |
//! | current | `current_mA`, `I/mA`, `<I>/mA`, `current_A`, `I/A` | mA, A |
//! | voltage | `voltage_V`, `Ewe/V`, `<Ewe>/V`, `Ewe-Ece/V` | V |
//!
//! Another name, another order of time and a cell that is no number are refused with their line.
//! Impedance is read by [`impedance`](super::impedance).

use crate::error::{Error, Result};
use crate::os::open_regular;
use crate::provenance::{Digest, InputFile};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// Longest log that is read.
const LARGEST: u64 = 1 << 30;
const TIME: &[(&str, f64)] =
    &[("time_s", 1.0), ("time/s", 1.0), ("t_s", 1.0), ("time_min", 60.0), ("time_h", 3600.0), ("time/h", 3600.0)];
const CURRENT: &[(&str, f64)] =
    &[("current_ma", 1.0), ("i/ma", 1.0), ("<i>/ma", 1.0), ("current_a", 1000.0), ("i/a", 1000.0)];
const VOLTAGE: &[(&str, f64)] = &[("voltage_v", 1.0), ("ewe/v", 1.0), ("<ewe>/v", 1.0), ("ewe-ece/v", 1.0)];

/// A log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Seconds, never falling.
    pub time: Vec<f64>,
    /// mA of the whole cell.
    pub current: Vec<f64>,
    /// V; empty where the file has none.
    pub voltage: Vec<f64>,
    /// Q₊ and Q₋ up to each line, mAh.
    charge: Vec<[f64; 2]>,
}

impl Log {
    /// Reads a file, and says what it is for a manifest.
    ///
    /// # Errors
    /// Missing; data with the line.
    pub fn read(path: &Path) -> Result<(Log, InputFile)> {
        let (text, input) = read(path, "log")?;
        Ok((Log::parse(&text).map_err(|e| e.at(path))?, input))
    }

    /// Parses a text.
    ///
    /// # Errors
    /// Data with the line.
    pub fn parse(text: &str) -> Result<Log> {
        let mut log = Log::default();
        let wanted = [("time", TIME, true), ("current", CURRENT, true), ("voltage", VOLTAGE, false)];
        for_lines(text, &wanted, &mut |line, values| {
            let t = values[0];
            if log.time.last().is_some_and(|&last| t < last) {
                return Err(Error::data(format!("line {line}: time goes back, to {t} s"))
                    .help("give one log in the order of time"));
            }
            log.time.push(t);
            log.current.push(values[1]);
            log.voltage.extend(values.get(2));
            Ok(())
        })?;
        if log.time.len() < 2 {
            return Err(Error::data("has no two lines of numbers").help("give the log of the whole experiment"));
        }
        log.charge = Vec::with_capacity(log.time.len());
        let mut sum = [0.0; 2];
        for i in 0..log.time.len() {
            if i > 0 {
                let part = log.part(i - 1, log.time[i]);
                sum = [sum[0] + part[0], sum[1] + part[1]];
            }
            log.charge.push(sum);
        }
        Ok(log)
    }

    /// Q₊ and Q₋ from line `i` to the moment `t` before the next line, mAh.
    fn part(&self, i: usize, t: f64) -> [f64; 2] {
        let (t0, t1, a) = (self.time[i], self.time[i + 1], self.current[i]);
        let step = t1 - t0;
        if step <= 0.0 {
            return [0.0; 2];
        }
        let b = a + (self.current[i + 1] - a) * ((t - t0) / step);
        let hours = (t - t0) / 3600.0;
        let (positive, negative) = match (a >= 0.0, b >= 0.0) {
            (true, true) => (0.5 * (a + b), 0.0),
            (false, false) => (0.0, 0.5 * (a + b)),
            // Two triangles that meet where the current is zero.
            (true, false) => (0.5 * a * a / (a - b), -0.5 * b * b / (a - b)),
            (false, true) => (0.5 * b * b / (b - a), -0.5 * a * a / (b - a)),
        };
        [hours * positive, hours * negative]
    }

    /// Q₊ and Q₋ up to a moment, mAh; before the first line nothing, after the last one all of it.
    pub fn charge(&self, t: f64) -> [f64; 2] {
        let after = self.time.partition_point(|&x| x <= t);
        if after == 0 {
            return [0.0; 2];
        }
        let [mut plus, mut minus] = self.charge[after - 1];
        if after < self.time.len() {
            let part = self.part(after - 1, t);
            (plus, minus) = (plus + part[0], minus + part[1]);
        }
        [plus, minus]
    }

    /// First and last moment.
    pub fn span(&self) -> [f64; 2] {
        [self.time[0], self.time[self.time.len() - 1]]
    }

    /// Whether current flows at a moment: its interval of lines has some.
    pub fn is_on(&self, t: f64) -> bool {
        let after = self.time.partition_point(|&x| x <= t);
        after > 0 && after < self.time.len() && self.current[after - 1] != 0.0
    }

    /// Minutes before a moment in which current flows: those of intervals that begin with some.
    pub fn minutes_on(&self, t: f64) -> f64 {
        let on = (1..self.time.len()).filter(|&i| self.current[i - 1] != 0.0 && self.time[i - 1] < t);
        on.fold(0.0, |s, i| s + self.time[i].min(t) - self.time[i - 1]) / 60.0
    }

    /// Lines that tell the course of current and voltage, at most `most` + 2, `most` from 4: all if there are no more; else
    /// the first, the last, and of each of `most` / 4 runs of equally many lines those of the least and the greatest current
    /// and voltage. Of equals the outermost, so that a run without change is drawn from end to end.
    pub fn course(&self, most: usize) -> Vec<usize> {
        let n = self.time.len();
        if n <= most {
            return (0..n).collect();
        }
        let run = n.div_ceil((most / 4).max(1));
        let mut kept = BTreeSet::from([0, n - 1]);
        for column in [&self.current, &self.voltage].into_iter().filter(|column| column.len() == n) {
            for first in (0..n).step_by(run) {
                let lines = || first..n.min(first + run);
                let by = |a: &usize, b: &usize| column[*a].total_cmp(&column[*b]);
                // Of equals `min_by` takes the first, `max_by` the last.
                kept.extend(lines().min_by(by).into_iter().chain(lines().max_by(by)));
            }
        }
        kept.into_iter().collect()
    }

    /// Least and greatest voltage between two moments: the envelope of a segment.
    pub fn voltages(&self, from: f64, to: f64) -> Option<[f64; 2]> {
        let inside = self.time.iter().zip(&self.voltage).filter(|(t, _)| (from..=to).contains(*t)).map(|(_, v)| *v);
        let (low, high) = inside.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        (low <= high).then_some([low, high])
    }
}

/// What a column tells, the names that it may have with the unit of each, and whether it must be there.
pub(super) type Wanted<'a> = (&'a str, &'a [(&'a str, f64)], bool);

/// Calls `each` with the number of every line and the wanted numbers in it, those that there are.
///
/// # Errors
/// Data: a column that is missing, a cell that is no number, with its line; those of `each`.
pub(super) fn for_lines(
    text: &str,
    wanted: &[Wanted],
    each: &mut dyn FnMut(usize, &[f64]) -> Result<()>,
) -> Result<()> {
    let text = text.trim_start_matches('\u{feff}');
    let mpt = text.starts_with("EC-Lab ASCII FILE");
    let skip = if mpt { header_lines(text)? - 1 } else { 0 };
    let mut lines = text.lines().enumerate().skip(skip);
    let (_, names) = lines.next().ok_or_else(|| Error::data("is empty: no line of names"))?;
    let separator = if mpt {
        '\t'
    } else if names.contains(';') {
        ';'
    } else {
        ','
    };
    let names: Vec<String> = names.split(separator).map(|n| n.trim().trim_matches('"').to_lowercase()).collect();
    let mut columns = Vec::new();
    for (what, known, must) in wanted {
        let found = known.iter().find_map(|(name, unit)| Some((names.iter().position(|n| n == name)?, *unit)));
        if found.is_none() && *must {
            let list: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            return Err(Error::data(format!("has no column of {what}: {}", names.join(", ")))
                .help(format!("name one of its columns {}", list.join(" or "))));
        }
        columns.extend(found);
    }
    let mut values = Vec::new();
    for (i, line) in lines.filter(|(_, l)| !l.trim().is_empty()) {
        let cells: Vec<&str> = line.split(separator).collect();
        values.clear();
        for &(column, unit) in &columns {
            let text = cells.get(column).map_or("", |c| c.trim());
            // A decimal comma is one only where commas separate nothing.
            let number = if separator == ',' { text.parse::<f64>() } else { text.replace(',', ".").parse() };
            let number = number.ok().filter(|v| v.is_finite()).ok_or_else(|| {
                Error::data(format!("line {}: '{text}' is no number in the column {}", i + 1, names[column]))
            })?;
            values.push(number * unit);
        }
        each(i + 1, &values)?;
    }
    Ok(())
}

/// A file of bounded length as text, and what it is for a manifest.
///
/// # Errors
/// Missing; data: too long.
pub(super) fn read(path: &Path, role: &str) -> Result<(String, InputFile)> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| Error::reading(path, &e))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::data(format!("is longer than {LARGEST} bytes")).at(path));
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let input = InputFile { role: role.into(), name, bytes: bytes.len() as u64, digest: Digest::of(&bytes) };
    // EC-Lab writes Latin-1: only names and numbers are looked at, which are ASCII.
    Ok((String::from_utf8_lossy(&bytes).into_owned(), input))
}

fn header_lines(text: &str) -> Result<usize> {
    let said = text
        .lines()
        .take(5)
        .find_map(|l| l.to_lowercase().strip_prefix("nb header lines")?.split(':').nth(1)?.trim().parse().ok());
    said.filter(|n| (2..=10_000usize).contains(n))
        .ok_or_else(|| Error::data("an EC-Lab file that does not say how long its header is ('Nb header lines : N')"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charge_by_hand() {
        // 0, 2, 2, −2, 0 mA at 0, 1, 2, 3, 4 h: triangles 1, square 2, two triangles ½ and −½, −1.
        let log = Log::parse("time_h,current_mA\n0,0\n1,2\n2,2\n3,-2\n4,0\n").unwrap();
        let at = |hours: f64| log.charge(3600.0 * hours);
        assert_eq!((at(-1.0), at(0.0), at(1.0), at(2.0)), ([0.0; 2], [0.0; 2], [1.0, 0.0], [3.0, 0.0]));
        assert_eq!((at(3.0), at(4.0), at(9.0)), ([3.5, -0.5], [3.5, -1.5], [3.5, -1.5]));
        assert_eq!((at(1.5), at(2.5)), ([2.0, 0.0], [3.5, 0.0]));
        assert_eq!((log.minutes_on(3600.0), log.minutes_on(9000.0), log.minutes_on(9e9)), (0.0, 90.0, 180.0));
        assert_eq!(log.span(), [0.0, 4.0 * 3600.0]);
        assert!(log.is_on(3600.0) && !log.is_on(1.0) && !log.is_on(5.0 * 3600.0));
        // A jump: two lines at one time.
        let jump = Log::parse("time_s;current_A;voltage_V\n0;0;0,5\n0;1;0,25\n3600;1;-0,75\n").unwrap();
        assert_eq!(jump.charge(1800.0), [500.0, 0.0]);
        assert_eq!((jump.voltages(0.0, 9e9), jump.voltages(1.0, 2.0)), (Some([-0.75, 0.5]), None));
    }

    #[test]
    fn the_course_is_bounded_and_keeps_extremes() {
        use crate::num::philox::Stream;
        let (n, most, noise) = (100_000, 1000, Stream::new(5, 1));
        let value = |i: usize| if i == 54_321 { 99.0 } else { noise.normal(i as u64) };
        let lines: String = (0..n).map(|i| format!("{i},{},{}\n", value(i), noise.normal((n + i) as u64))).collect();
        let log = Log::parse(&format!("time_s,current_mA,voltage_V\n{lines}")).unwrap();
        let course = log.course(most);
        assert!((most / 2..=most + 2).contains(&course.len()), "{}", course.len());
        assert!(course.windows(2).all(|w| w[0] < w[1]) && course[0] == 0 && *course.last().unwrap() == n - 1);
        assert!(course.contains(&54_321));
        // Without voltage, a jump keeps a line on each of its sides; few lines are kept all.
        let log = Log::parse("time_s,current_mA\n0,1\n1,1\n2,1\n3,1\n4,-1\n5,-1\n6,-1\n7,-1\n8,-1\n9,-1\n").unwrap();
        assert_eq!(log.course(8), [0, 3, 4, 5, 9]);
        assert_eq!(log.course(4), [0, 3, 4, 9]);
        assert_eq!(log.course(10), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn ec_lab_files_and_faults() {
        let text = "EC-Lab ASCII FILE\r\nNb header lines : 5                          \r\n\r\nDevice : SP\r\n\
                    mode\ttime/s\tEwe/V\tI/mA\r\n1\t0,0E+00\t3,1\t7,5E-01\r\n1\t3,6E+03\t3,2\t7,5E-01\r\n";
        let log = Log::parse(text).unwrap();
        assert_eq!(
            (log.time.clone(), log.current.clone(), log.voltage.clone()),
            (vec![0.0, 3600.0], vec![0.75; 2], vec![3.1, 3.2])
        );
        assert_eq!(log.charge(3600.0), [0.75, 0.0]);
        for (text, says) in [
            ("", "no line of names"),
            ("time,current_mA\n0,1\n", "no column of time"),
            ("time_s,amps\n0,1\n", "no column of current"),
            ("time_s,current_mA\n0,1\n", "no two lines"),
            ("time_s,current_mA\n1,1\n0,1\n", "line 3: time goes back"),
            ("time_s,current_mA\n0,1\n1,x\n", "line 3: 'x' is no number"),
            ("time_s,current_mA\n0,1\n1\n", "line 3: '' is no number"),
            ("time_s,current_mA\n0,1\n1,inf\n", "line 3"),
            ("EC-Lab ASCII FILE\nfoo\n", "how long its header"),
        ] {
            let e = Log::parse(text).unwrap_err().to_string();
            assert!(e.contains(says), "{text:?}: {e}");
        }
    }
}
