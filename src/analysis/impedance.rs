//! Spectra of an impedance, as a potentiostat wrote them: the Nyquist plot, and two numbers of each.
//!
//! ```text
//! ohmic   Re Z where −Im Z crosses zero, between the two neighbours of the highest frequencies; Re Z at the highest, if it
//!         is above zero there
//! low     Re Z at the lowest frequency
//! ```
//!
//! CSV and BioLogic's `.mpt` are read as in [`log`](super::log). Columns, by their names, in ohm of the whole cell:
//!
//! | quantity | names |
//! |---|---|
//! | frequency, Hz | `freq/Hz`, `frequency_Hz`, `f_Hz` |
//! | Re Z | `Re(Z)/Ohm`, `re_ohm` |
//! | −Im Z | `-Im(Z)/Ohm`, `minus_im_ohm`; with the other sign `Im(Z)/Ohm`, `im_ohm` |
//!
//! A sweep goes one way: where the frequency turns another spectrum begins. No circuit is fitted.

use super::log::{Wanted, for_lines, read};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::provenance::InputFile;
use std::collections::BTreeSet;
use std::path::Path;

const WANTED: [Wanted; 3] = [
    ("frequency", &[("freq/hz", 1.0), ("frequency_hz", 1.0), ("f_hz", 1.0)], true),
    ("Re Z", &[("re(z)/ohm", 1.0), ("re_ohm", 1.0)], true),
    ("-Im Z", &[("-im(z)/ohm", 1.0), ("minus_im_ohm", 1.0), ("im(z)/ohm", -1.0), ("im_ohm", -1.0)], true),
];

/// Points that results hold.
pub const MOST: usize = 20_000;

/// One sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// Its file and number.
    pub name: String,
    /// Hz, Re Z and −Im Z in ohm, from the highest frequency down.
    pub points: Vec<[f64; 3]>,
}

impl Spectrum {
    /// Re Z without a reactance.
    pub fn ohmic(&self) -> Option<f64> {
        let first = self.points.first()?;
        if first[2] >= 0.0 {
            return Some(first[1]);
        }
        let pair = self.points.windows(2).find(|w| w[0][2] < 0.0 && w[1][2] >= 0.0)?;
        let part = -pair[0][2] / (pair[1][2] - pair[0][2]);
        Some(pair[0][1] + part * (pair[1][1] - pair[0][1]))
    }
    /// For `results.json`.
    pub fn to_json(&self) -> Json {
        let points = self.points.iter().map(|p| Json::Arr(p.map(Json::from).to_vec()));
        Json::obj([("name", self.name.as_str().into()), ("hz_re_minus_im", Json::Arr(points.collect()))])
    }
}

/// The spectra of a file.
///
/// # Errors
/// Missing; data with the line: no such columns, no number, a frequency of nothing, one point alone.
pub fn spectra(path: &Path) -> Result<(Vec<Spectrum>, InputFile)> {
    let (text, input) = read(path, "impedance")?;
    Ok((parse(&text, &input.name).map_err(|e| e.at(path))?, input))
}

/// Refuses spectra that cannot be told apart, and more points than results hold.
///
/// # Errors
/// Data: two spectra of one name; more than [`MOST`] points.
pub fn check(spectra: &[Spectrum]) -> Result<()> {
    let mut names = BTreeSet::new();
    if let Some(twice) = spectra.iter().find(|s| !names.insert(s.name.as_str())) {
        return Err(Error::data(format!("two spectra are called '{}'", twice.name))
            .help("give each file once, and files of different names"));
    }
    let points = spectra.iter().map(|s| s.points.len()).sum::<usize>();
    if points > MOST {
        return Err(Error::data(format!("the spectra have {points} points, more than {MOST}"))
            .help("give spectra alone, not a log of the whole experiment, or fewer of them"));
    }
    Ok(())
}

fn parse(text: &str, name: &str) -> Result<Vec<Spectrum>> {
    let mut sweeps: Vec<Vec<[f64; 3]>> = Vec::new();
    let mut rising = None;
    for_lines(text, &WANTED, &mut |line, v| {
        let point = [v[0], v[1], v[2]];
        if point[0] <= 0.0 {
            return Err(Error::data(format!("line {line}: a frequency of {} Hz", point[0]))
                .help("give impedances alone, without the lines of a direct current"));
        }
        // A frequency that is measured twice tells no direction.
        let before = sweeps.last().and_then(|sweep| sweep.last()).map(|last| last[0]);
        let goes = before.filter(|f| *f != point[0]).map(|f| point[0] > f);
        let turned = rising.is_some() && goes.is_some_and(|g| Some(g) != rising);
        rising = if turned { None } else { goes.or(rising) };
        match sweeps.last_mut().filter(|_| !turned) {
            Some(sweep) => sweep.push(point),
            None => sweeps.push(vec![point]),
        }
        Ok(())
    })?;
    if sweeps.is_empty() {
        return Err(Error::data("holds no spectrum: fewer than two points"));
    }
    if let Some(short) = sweeps.iter().position(|s| s.len() < 2) {
        return Err(Error::data(format!("sweep {} has fewer than two points", short + 1))
            .help("give whole sweeps, each from one end of the frequencies to the other"));
    }
    let count = sweeps.len();
    let named = |(k, mut points): (usize, Vec<[f64; 3]>)| {
        points.sort_by(|a, b| b[0].total_cmp(&a[0]));
        Spectrum { name: if count == 1 { name.into() } else { format!("{name} {}", k + 1) }, points }
    };
    Ok(sweeps.into_iter().enumerate().map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resistance of 5 before one of 20 beside a capacity: a half circle from 5 to 25.
    fn circle(f: f64) -> [f64; 2] {
        let x = f / 100.0;
        [5.0 + 20.0 / (1.0 + x * x), 20.0 * x / (1.0 + x * x)]
    }

    #[test]
    fn sweeps_of_both_forms_are_told_apart_and_read() {
        let mut mpt =
            String::from("EC-Lab ASCII FILE\r\nNb header lines : 3\r\nfreq/Hz\tRe(Z)/Ohm\t-Im(Z)/Ohm\tcycle\r\n");
        for cycle in 1..3 {
            for f in [1e5, 1e3, 100.0, 10.0, 0.1] {
                let [re, im] = circle(f);
                mpt += &format!("{f:E}\t{re}\t{im}\t{cycle}\r\n").replace('.', ",");
            }
        }
        let found = parse(&mpt, "a.mpt").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[1].name.as_str()), ("a.mpt 1", "a.mpt 2"));
        assert_eq!(found[0].points, found[1].points);
        assert!((found[0].ohmic().unwrap() - 5.0).abs() < 1e-4);
        assert!((found[0].points[4][1] - 25.0).abs() < 1e-4 && found[0].points[2][2] == 10.0);
        // Upwards, with a cable's inductance at the top: the crossing lies between 6 and 5.
        let csv = "f_Hz,re_ohm,im_ohm\n1,25,0\n100,15,-10\n1000,6,-1\n10000,5,3\n";
        let up = parse(csv, "b").unwrap();
        assert_eq!((up.len(), up[0].points[0]), (1, [1e4, 5.0, -3.0]));
        assert_eq!(up[0].ohmic(), Some(5.75));
        // Sweeps of two and of three points; a frequency that is measured twice.
        for (frequencies, lengths) in [
            (&[9.0, 1.0, 9.0, 1.0][..], &[2, 2][..]),
            (&[9.0, 3.0, 1.0, 9.0, 3.0, 1.0], &[3, 3]),
            (&[1.0, 3.0, 9.0, 3.0, 1.0], &[3, 2]),
            (&[9.0, 9.0, 3.0, 1.0, 1.0, 9.0, 3.0, 3.0, 1.0], &[5, 4]),
        ] {
            let lines: String = frequencies.iter().map(|f| format!("{f},1,0\n")).collect();
            let found = parse(&format!("f_Hz,re_ohm,im_ohm\n{lines}"), "d").unwrap();
            assert_eq!(found.iter().map(|s| s.points.len()).collect::<Vec<_>>(), lengths, "{frequencies:?}");
            assert!(check(&found).is_ok());
            let twice = [found.clone(), found].concat();
            assert!(check(&twice).unwrap_err().to_string().contains("'d 1'"));
        }
        let long = Spectrum { name: "e".into(), points: vec![[1.0; 3]; MOST + 1] };
        assert!(check(&[long]).unwrap_err().to_string().contains("20001 points"));
        for (text, says) in [
            ("f_Hz,re_ohm,im_ohm\n", "fewer than two"),
            ("f_Hz,re_ohm\n1,2\n", "no column of -Im Z"),
            ("f_Hz,re_ohm,im_ohm\n0,2,1\n", "line 2: a frequency of 0"),
            ("f_Hz,re_ohm,im_ohm\n1,2,x\n", "line 2: 'x' is no number"),
            ("f_Hz,re_ohm,im_ohm\n1,2,3\n", "fewer than two"),
        ] {
            assert!(parse(text, "c").unwrap_err().to_string().contains(says), "{text}");
        }
    }
}
