//! Values as people write them: lengths with their unit, ranges of rows, windows, the rotation axis.
//!
//! Every parser takes the text of one option and says in its error what it wanted. Nothing is guessed: a length
//! without a unit is refused, because a bare 1.33 has been micrometres in one laboratory and millimetres in another.

use crate::error::{Error, Result};
use crate::units::{KiloElectronVolt, Micrometre};
use std::ops::Range;
use std::path::PathBuf;

/// Length units with their size in micrometres. Both code points of µ are accepted: keyboards differ.
const LENGTH_UNITS: [(&str, f64); 7] =
    [("nm", 1e-3), ("um", 1.0), ("µm", 1.0), ("μm", 1.0), ("mm", 1e3), ("cm", 1e4), ("m", 1e6)];

/// Believable lengths in micrometres: 1 nm to 1 km.
const LENGTHS: std::ops::RangeInclusive<f64> = 1e-3..=1e9;

/// A length with its unit: `1.33um`, `0.5mm`, `6cm`. Positive and finite.
pub fn length(text: &str) -> Result<Micrometre> {
    let example = "write a number and its unit without a comma: 1.33um, 650nm, 0.5mm, 6cm";
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = &text[digits.len()..];
    // `1e3` ends in a digit, `nan` and `inf` leave no digits: both are caught below.
    if unit.is_empty() {
        let micrometres = text.parse::<f64>().is_ok();
        let what = if micrometres { "has no unit" } else { "is not a length" };
        let advice = if micrometres { format!("did you mean {text}um? {example}") } else { example.to_string() };
        return Err(Error::usage(format!("'{text}' {what}")).help(advice));
    }
    let Some(&(_, scale)) = LENGTH_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(Error::usage(format!("'{text}' has an unknown unit '{unit}'")).help(example));
    };
    let number: f64 =
        digits.trim_end().parse().map_err(|_| Error::usage(format!("'{text}' is not a length")).help(example))?;
    let micrometres = number * scale;
    if !(micrometres > 0.0 && micrometres.is_finite()) {
        return Err(Error::usage(format!("'{text}' is not a positive length")).help(example));
    }
    if !LENGTHS.contains(&micrometres) {
        return Err(Error::usage(format!("'{text}' is no length that a detector or a beamline has")).help(example));
    }
    Ok(Micrometre(micrometres))
}

/// Ranges along x, y and z, in any order: `x=100:500,z=0:300`; an axis that is not named is `whole`.
pub fn along_axes(text: &str, whole: &[Range<usize>; 3]) -> Result<[Range<usize>; 3]> {
    let (mut ranges, mut given) = (whole.clone(), [false; 3]);
    for part in text.split(',') {
        let wrong = || Error::usage(format!("'{part}' is no range")).help("write x=A:B, such as x=100:500,z=0:300");
        let (axis, range) = part.split_once('=').ok_or_else(wrong)?;
        let (a, b) = range.split_once(':').ok_or_else(wrong)?;
        let at = ["x", "y", "z"].iter().position(|name| *name == axis.trim()).ok_or_else(wrong)?;
        if std::mem::replace(&mut given[at], true) {
            return Err(Error::usage(format!("{axis} is given twice")).help("write one range for each axis"));
        }
        ranges[at] = index(a.trim())?..index(b.trim())?;
    }
    Ok(ranges)
}

/// A photon energy with its unit: `27.5keV`, `13500eV`, `1MeV`. Positive and finite.
pub fn energy(text: &str) -> Result<KiloElectronVolt> {
    const UNITS: [(&str, f64); 3] = [("keV", 1.0), ("MeV", 1e3), ("eV", 1e-3)];
    let wrong =
        |what: &str| Error::usage(format!("'{text}' {what}")).help("write a number and its unit: 27.5keV, 13500eV");
    let Some((digits, scale)) = UNITS.iter().find_map(|(unit, scale)| Some((text.trim().strip_suffix(unit)?, scale)))
    else {
        return Err(wrong("has no unit of energy"));
    };
    match digits.trim_end().parse::<f64>() {
        Ok(v) if v > 0.0 && v.is_finite() => Ok(KiloElectronVolt(v * scale)),
        _ => Err(wrong("is not an energy")),
    }
}

/// An amount of memory with its unit: `4GiB`, `800MB`.
pub fn bytes(text: &str) -> Result<u64> {
    const UNITS: [(&str, f64); 8] = [
        ("KiB", 1024.0),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("TiB", 1099511627776.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
    ];
    let wrong = || Error::usage(format!("'{text}' is not an amount of memory")).help("write 4GiB, 800MB …");
    let (digits, scale) =
        UNITS.iter().find_map(|(unit, scale)| Some((text.trim().strip_suffix(unit)?, scale))).ok_or_else(wrong)?;
    match digits.trim_end().parse::<f64>() {
        Ok(v) if v > 0.0 && v * scale < 1e18 => Ok((v * scale) as u64),
        _ => Err(wrong()),
    }
}

/// Ranges of numbers: `30:40`, `30:40,120:125.5`; the first of each is the lesser.
pub fn ranges(text: &str) -> Result<Vec<[f64; 2]>> {
    text.split(',')
        .map(|range| {
            let parsed = range.split_once(':').and_then(|(a, b)| Some([number(a).ok()?, number(b).ok()?]));
            parsed.filter(|[a, b]| a < b).ok_or_else(|| {
                Error::usage(format!("'{range}' is not a range"))
                    .help("write from:to, several with commas: 30:40,120:125.5")
            })
        })
        .collect()
}

/// A finite number.
pub fn number(text: &str) -> Result<f64> {
    text.trim().parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(|| {
        Error::usage(format!("'{text}' is not a number")).help("write a plain number such as 0.5 or 1e-3")
    })
}

/// A finite number above zero.
pub fn positive(text: &str) -> Result<f64> {
    number(text).and_then(|v| match v > 0.0 {
        true => Ok(v),
        false => Err(Error::usage(format!("'{text}' is not above zero")).help("write a positive number")),
    })
}

/// Numbers separated by commas.
pub fn numbers(text: &str) -> Result<Vec<f64>> {
    text.split(',').map(number).collect()
}

/// A seed.
pub fn seed(text: &str) -> Result<u64> {
    text.trim()
        .parse()
        .map_err(|_| Error::usage(format!("'{text}' is no seed")).help("a seed is a whole number from 0 on"))
}

/// A whole number from 0.
pub fn index(text: &str) -> Result<usize> {
    text.trim().parse().map_err(|_| {
        Error::usage(format!("'{text}' is not a whole number from 0")).help("the first one has the number 0")
    })
}

/// A whole number from 1.
pub fn count(text: &str) -> Result<usize> {
    match text.trim().parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Error::usage(format!("'{text}' is not a whole number from 1")).help("write 1, 2, 3 …")),
    }
}

/// A number of threads: `auto` (as many as this process may use) or a whole number from 1.
pub fn threads(text: &str) -> Result<usize> {
    /// More threads than any machine of today has processors is a typing error.
    const MOST: usize = 4096;
    if text == "auto" {
        return Ok(std::thread::available_parallelism().map_or(1, usize::from));
    }
    count(text).ok().filter(|&n| n <= MOST).ok_or_else(|| {
        Error::usage(format!("'{text}' is not a number of threads")).help(format!("write 1 to {MOST}, or auto"))
    })
}

/// `A:B` voxels of the n of an axis; the end is not included.
pub fn range(text: &str, n: usize) -> Result<Range<usize>> {
    let ends = text.split_once(':').and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
    let range: Range<usize> =
        ends.ok_or_else(|| Error::usage(format!("'{text}' is no range")).help("write A:B, such as 0:180"))?;
    if range.is_empty() || range.end > n {
        return Err(Error::usage(format!("the range '{text}' is empty or leaves the volume"))
            .help(format!("the volume has 0 to {n} there")));
    }
    Ok(range)
}

/// A half-open range `a:b`: a is in it, b is not. Either end may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    first: usize,
    end: Option<usize>,
}

impl Rows {
    /// Parses `a:b`, `a:`, `:b`.
    pub fn parse(text: &str) -> Result<Rows> {
        let wrong = || {
            Error::usage(format!("'{text}' is not a range of rows"))
                .help("write first:end, the end not included: 0:64 are the rows 0 to 63")
        };
        let (a, b) = text.split_once(':').ok_or_else(wrong)?;
        let end_of = |s: &str| if s.is_empty() { Ok(None) } else { s.parse().map(Some).map_err(|_| wrong()) };
        let (first, end) = (end_of(a.trim())?.unwrap_or(0), end_of(b.trim())?);
        if end.is_some_and(|end| end <= first) {
            return Err(Error::usage(format!("'{text}' holds nothing"))
                .help("the end is not included: write 5:6 for the one at 5"));
        }
        Ok(Rows { first, end })
    }

    /// The range on a detector of `height` rows; an error if it leaves it.
    pub fn within(self, height: usize) -> Result<Range<usize>> {
        let end = self.end.unwrap_or(height);
        if self.first >= end || end > height {
            return Err(Error::usage(format!("rows {}:{end} leave the detector", self.first))
                .help(format!("the scan has the rows 0:{height}")));
        }
        Ok(self.first..end)
    }
}

/// Grey window of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GreyWindow {
    /// From the slice itself.
    Auto,
    /// This value is black, that one white.
    Values(f64, f64),
}

impl GreyWindow {
    /// Parses `auto` or `low,high`.
    pub fn parse(text: &str) -> Result<GreyWindow> {
        if text == "auto" {
            return Ok(GreyWindow::Auto);
        }
        let help = "write auto, or the values that shall be black and white: 0,0.02";
        match numbers(text).map_err(|_| Error::usage(format!("'{text}' is not a window")).help(help))?[..] {
            [low, high] if low < high => Ok(GreyWindow::Values(low, high)),
            [_, _] => Err(Error::usage(format!("'{text}' is an empty window")).help("the first value must be smaller")),
            _ => Err(Error::usage(format!("'{text}' is not a window")).help(help)),
        }
    }
}

/// Where the rotation axis comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Center {
    /// Found by Vo's method, or what bands of rows agree on.
    Auto,
    /// Found by Vo's method.
    Vo,
    /// Found from opposite views.
    Correlation,
    /// Found by the entropy of the slice.
    Entropy,
    /// A line through the axes of bands of rows.
    Tilt,
    /// This pixel index, the first pixel being 0, for every row.
    Pixel(f64),
    /// A file with one pixel index per row.
    File(PathBuf),
}

impl Center {
    /// Parses `auto`, `vo`, `correlation`, `entropy`, `tilt`, a pixel index or the name of a file.
    pub fn parse(text: &str) -> Result<Center> {
        const METHODS: [(&str, Center); 5] = [
            ("auto", Center::Auto),
            ("vo", Center::Vo),
            ("correlation", Center::Correlation),
            ("entropy", Center::Entropy),
            ("tilt", Center::Tilt),
        ];
        if let Some((_, method)) = METHODS.iter().find(|(name, _)| *name == text) {
            return Ok(method.clone());
        }
        if let Ok(pixel) = text.trim().parse::<f64>() {
            return match pixel.is_finite() {
                true => Ok(Center::Pixel(pixel)),
                false => Err(Error::usage(format!("'{text}' is no place on the detector")).help("write a pixel index")),
            };
        }
        let is_file = text.contains(['.', '/']);
        if is_file {
            return Ok(Center::File(PathBuf::from(text)));
        }
        let hint = crate::error::nearest(text, METHODS.iter().map(|m| m.0))
            .map_or(String::new(), |n| format!("did you mean '{n}'? "));
        Err(Error::usage(format!("'{text}' is neither a method nor a pixel nor a file")).help(format!(
            "{hint}write auto, vo, correlation, entropy, tilt, a pixel index such as 295.5, or a file of one index per row"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_memory_and_ranges_are_read_as_people_write_them() {
        assert_eq!(energy("27.5keV").unwrap().0, 27.5);
        assert_eq!(energy(" 13500 eV").unwrap().0, 13.5);
        assert_eq!((bytes("4GiB").unwrap(), bytes("1.5 kB").unwrap()), (4 << 30, 1500));
        assert_eq!(ranges("30:40,120:125.5").unwrap(), [[30.0, 40.0], [120.0, 125.5]]);
        for text in ["27.5", "keV", "-1keV", "nankeV", "1 J"] {
            assert_eq!(energy(text).unwrap_err().fault().exit_code(), 2, "{text}");
        }
        for text in ["4", "4G", "-1GiB", "GiB", "1e30GiB"] {
            assert_eq!(bytes(text).unwrap_err().fault().exit_code(), 2, "{text}");
        }
        for text in ["30", "40:30", "a:b", "1:2,", "1:nan"] {
            assert_eq!(ranges(text).unwrap_err().fault().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn lengths_need_a_unit() {
        for (text, micrometres) in
            [("1.33um", 1.33), ("1.33 µm", 1.33), ("0.5mm", 500.0), ("6cm", 6e4), ("650nm", 0.65)]
        {
            let got = length(text).unwrap().0;
            // One multiplication by the unit: at most one rounding away.
            assert!((got - micrometres).abs() <= f64::EPSILON * micrometres, "{text}: {got}");
        }
        for text in ["1.33", "um", "", "-1um", "0mm", "nanum", "inf", "1,33um", "1.33 parsec", "1e400m"] {
            assert_eq!(length(text).unwrap_err().fault().exit_code(), 2, "{text}");
        }
        assert!(length("1.33").unwrap_err().to_string().contains("did you mean 1.33um"));
    }

    #[test]
    fn ranges_are_half_open_and_inside() {
        assert_eq!(Rows::parse("2:5").unwrap().within(5).unwrap(), 2..5);
        assert_eq!(Rows::parse(":").unwrap().within(5).unwrap(), 0..5);
        assert_eq!(Rows::parse("3:").unwrap().within(5).unwrap(), 3..5);
        for text in ["5", "5:5", "6:5", "-1:2", "a:b", "0:1:2"] {
            assert!(Rows::parse(text).is_err(), "{text}");
        }
        assert!(Rows::parse("2:6").unwrap().within(5).is_err());
        assert!(Rows::parse("5:").unwrap().within(5).is_err());
    }

    #[test]
    fn windows_threads_and_axes() {
        assert_eq!(GreyWindow::parse("-1,2.5").unwrap(), GreyWindow::Values(-1.0, 2.5));
        assert_eq!(GreyWindow::parse("auto").unwrap(), GreyWindow::Auto);
        for text in ["1", "2,1", "1,1", "a,b", "0,nan", "1,2,3"] {
            assert!(GreyWindow::parse(text).is_err(), "{text}");
        }
        assert_eq!(threads("3").unwrap(), 3);
        for text in ["0", "-1", "two", "1000000"] {
            assert!(threads(text).is_err(), "{text}");
        }
        assert_eq!(Center::parse("295.5").unwrap(), Center::Pixel(295.5));
        assert_eq!(Center::parse("auto").unwrap(), Center::Auto);
        assert_eq!(Center::parse("tilt").unwrap(), Center::Tilt);
        assert_eq!(Center::parse("axis.npy").unwrap(), Center::File("axis.npy".into()));
        for text in ["nan", "inf", "vu", "center"] {
            assert!(Center::parse(text).is_err(), "{text}");
        }
    }
}
