//! Lists of numbers: the angles of a scan, an axis per row. From `.npy` or from text.
//!
//! A text has one number per line, or several separated by commas or blanks; `#` starts a comment. Every number must
//! be finite: a NaN among the angles is how other programs come to reconstruct garbage without a word.

use super::file::OpenFile;
use super::{npy, npy_header};
use crate::error::{Error, Result};
use crate::provenance::InputFile;
use crate::units::AngleUnit;
use std::path::Path;
use std::sync::Arc;

/// Most numbers of a list: a hundred times the projections of the longest scans.
pub(super) const MAX_NUMBERS: usize = 1 << 24;

/// Longest text that is read.
const MAX_TEXT: u64 = 256 << 20;

/// The angles of a scan as they were found: in the file's unit, not checked against the projections.
#[derive(Clone, Debug, PartialEq)]
pub struct Theta {
    /// One angle per projection, in `unit`.
    pub values: Vec<f64>,
    /// Unit of the values; `None` where the file does not say, which is never guessed here.
    pub unit: Option<AngleUnit>,
    /// Where they are from, for messages and records: `exchange/theta`, a file's name.
    pub origin: String,
}

/// The finite numbers in the `.npy` (1-D, any type of number) or text file `path`.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data) with the line or the index of what is not a finite number.
pub fn open_vector(path: &Path) -> Result<Vec<f64>> {
    read_vector(&Arc::new(OpenFile::open(path)?))
}

/// The angles in the file `path`, as [`open_vector`] reads it, with the file as an input of a result.
///
/// # Errors
/// As [`open_vector`].
pub fn open_theta(path: &Path, unit: Option<AngleUnit>) -> Result<(Theta, InputFile)> {
    let file = Arc::new(OpenFile::open(path)?);
    let values = read_vector(&file)?;
    let input = file.input("theta")?;
    Ok((Theta { values, unit, origin: input.name.clone() }, input))
}

fn read_vector(file: &Arc<OpenFile>) -> Result<Vec<f64>> {
    if file.head(npy_header::MAGIC.len())? == npy_header::MAGIC {
        let values = npy::read_vector(file, MAX_NUMBERS)?;
        return match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(i) => Err(Error::data(format!("number {i} (counted from 0) is {}", values[i]))
                .help("every number of the list must be finite")
                .at(file.path())),
        };
    }
    if file.bytes() > MAX_TEXT {
        return Err(Error::data(format!("{} bytes are too many for a list of numbers", file.bytes()))
            .help("name a text file of numbers, or a 1-D .npy")
            .at(file.path()));
    }
    let bytes = file.head(MAX_TEXT as usize)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        Error::data(format!("is neither .npy nor text: byte {} is not UTF-8", e.valid_up_to()))
            .help("name a text file of numbers, or a 1-D .npy")
            .at(file.path())
    })?;
    parse_text(text).map_err(|e| e.at(file.path()))
}

/// The numbers of a text; see the [module](self).
fn parse_text(text: &str) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    // A byte-order mark at the beginning is how some editors sign UTF-8.
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let refuse =
            |what: String| Err(Error::data(format!("line {}: {what}", i + 1)).help("give one finite number per line"));
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let fields: Vec<&str> = line.strip_suffix(',').unwrap_or(line).split(',').collect();
        for field in &fields {
            if field.trim().is_empty() {
                return refuse("a number is missing at a comma".to_string());
            }
            for word in field.split_whitespace() {
                match word.parse::<f64>() {
                    Ok(v) if v.is_finite() => values.push(v),
                    Ok(v) => return refuse(format!("'{}' is {v}", clip(word))),
                    Err(_) => return refuse(format!("'{}' is not a number", clip(word))),
                }
            }
        }
        if values.len() > MAX_NUMBERS {
            return refuse(format!("more than {MAX_NUMBERS} numbers"));
        }
    }
    if values.is_empty() {
        return Err(Error::data("holds no number").help("give one finite number per line"));
    }
    Ok(values)
}

/// At most the first 40 characters, for messages.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::exchange::put;
    use crate::testing::Scratch;

    #[test]
    fn texts_of_every_habit_are_read() {
        let table: [(&str, &[f64]); 6] = [
            ("0\n0.5\n1\n", &[0.0, 0.5, 1.0]),
            ("\u{feff}0\r\n-0.5\r\n", &[0.0, -0.5]),
            ("# theta\n\n 1e0 2 # two\n3,4, 5,\n", &[1.0, 2.0, 3.0, 4.0, 5.0]),
            ("1\t2", &[1.0, 2.0]),
            ("+.5", &[0.5]),
            ("7 # unfinished line", &[7.0]),
        ];
        for (text, expected) in table {
            assert_eq!(parse_text(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_finite_number_is_refused_with_its_line() {
        let table = [
            ("0\nnan\n", "line 2: 'nan' is NaN"),
            ("0 1 inf", "line 1: 'inf' is inf"),
            ("# a\n\n1e999", "line 3: '1e999' is inf"),
            ("theta\n0", "line 1: 'theta' is not a number"),
            ("1,,2", "line 1: a number is missing"),
            (",1", "line 1: a number is missing"),
            (",", "line 1: a number is missing"),
            ("1_000", "not a number"),
            ("0x10", "not a number"),
            ("1;2", "not a number"),
            ("", "no number"),
            ("# only\n", "no number"),
        ];
        for (text, why) in table {
            let e = parse_text(text).expect_err(text);
            assert_eq!(e.fault(), Fault::Data);
            assert!(e.what().contains(why) && e.advice().is_some(), "{text:?}: {e}");
        }
    }

    #[test]
    fn arrays_of_any_number_are_read_and_other_files_refused() {
        let dir = Scratch::new("theta");
        let data: Vec<u8> = [0i64, 90, 180].iter().flat_map(|v| v.to_le_bytes()).collect();
        let path = put(&dir, "a.npy", &npy::bytes_of("<i8", "(3,)", &data));
        assert_eq!(open_vector(&path).unwrap(), [0.0, 90.0, 180.0]);
        let (theta, input) = open_theta(&path, Some(AngleUnit::Degree)).unwrap();
        assert_eq!((theta.origin.as_str(), theta.unit), ("a.npy", Some(AngleUnit::Degree)));
        assert_eq!((input.role.as_str(), input.bytes), ("theta", std::fs::metadata(&path).unwrap().len()));
        let data: Vec<u8> = [0.1, f64::NAN].iter().flat_map(|v: &f64| v.to_be_bytes()).collect();
        let path = put(&dir, "b.npy", &npy::bytes_of(">f8", "(2,)", &data));
        assert!(open_vector(&path).unwrap_err().what().contains("number 1"));
        let path = put(&dir, "c.npy", &npy::bytes_of("<f4", "(2, 1)", &[0; 8]));
        assert!(open_vector(&path).unwrap_err().what().contains("[2, 1]"));
        let path = put(&dir, "d.npy", &npy::bytes_of("<f4", "(0,)", &[]));
        assert!(open_vector(&path).unwrap_err().what().contains("0 numbers"));
        let path = put(&dir, "e", b"\x00\xff\xfe");
        assert!(open_vector(&path).unwrap_err().what().contains("not UTF-8"));
        assert_eq!(open_vector(&dir.join("none")).unwrap_err().fault(), Fault::Missing);
    }

    #[test]
    fn units_have_the_names_that_files_use() {
        for name in ["degrees", "deg", "Degree", " DEG ", "°"] {
            assert_eq!(AngleUnit::from_name(name), Some(AngleUnit::Degree));
        }
        for name in ["radians", "rad"] {
            assert_eq!(AngleUnit::from_name(name), Some(AngleUnit::Radian));
        }
        for name in ["", "mrad", "grad", "turn"] {
            assert_eq!(AngleUnit::from_name(name), None);
        }
    }
}
