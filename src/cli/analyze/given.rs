//! What a series is made of: a folder of `phantom cell`, a list in a `.toml` file, a folder of volumes, or their names.

use crate::analysis::confusion::Counts;
use crate::cli::Context;
use crate::cli::resample::{Moved, depth_sigma};
use crate::error::{Error, Result};
use crate::exchange;
use crate::json::Json;
use crate::provenance::{Digest, InputFile};
use crate::segment::classes::Classes;
use crate::segment::ledger::ORIGIN;
use crate::segment::rules::{Rules, Schema};
use crate::volume::reader::IoMode;
use std::path::{Path, PathBuf};

/// What helps where labels are of another table.
pub const OTHER_CLASSES: &str = "give the table that belongs to them with --classes; electrodes are told apart by `seg after`; \
                                 what values mean in a table of your own is said by --map 0=…,1=…";

const SCHEMA: Schema = &[
    ("", &["voxel_um", "log", "clock_offset_s", "cell_area_cm2"]),
    ("scan", &["labels", "grey", "step", "start_s", "minutes", "sigma", "transform"]),
];
/// Where the labels of a synthetic series lie, # being the step.
const TRUTH: &str = "truth/step_#/label.mhd";
/// A folder holds no more scans.
const MOST: usize = 10_000;

/// A scan as it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenScan {
    /// Its labels.
    pub labels: PathBuf,
    /// Its grey values, if any.
    pub grey: Option<PathBuf>,
    /// Its number.
    pub step: usize,
    /// When it began, s.
    pub start: Option<f64>,
    /// Minutes of current before it.
    pub minutes: Option<f64>,
    /// Standard deviation of its depth, voxels.
    pub sigma: Option<f64>,
    /// What registration says of its bodies.
    pub moved: Vec<Moved>,
}

/// A series as it is given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Scans in order.
    pub scans: Vec<GivenScan>,
    /// Voxel size, µm.
    pub voxel: Option<f64>,
    /// Log of the potentiostat.
    pub log: Option<PathBuf>,
    /// Seconds by which the clock of `start` is ahead of the log's; none if unknown.
    pub clock_offset: Option<f64>,
    /// Area of the cell's electrodes, cm².
    pub cell_area: Option<f64>,
    /// Names of the classes, where the series tells.
    pub classes: Option<Vec<String>>,
    /// Files that say all this.
    pub inputs: Vec<InputFile>,
}

impl Given {
    /// Finds out what `text` names; `labels` and `grey` are patterns in which # is the step.
    ///
    /// # Errors
    /// Missing: no such series, a scan of it is not there. Data: a file that is none.
    pub fn open(context: &Context, text: &str, labels: Option<&str>, grey: Option<&str>) -> Result<Given> {
        let path = Path::new(text);
        let mut given = match () {
            () if path.join("series.json").is_file() => {
                Given::synthetic(path, labels.unwrap_or(TRUTH), labels.is_some())?
            }
            () if path.extension().is_some_and(|e| e == "toml") => Given::listed(path)?,
            () if path.is_dir() && !text.contains(',') => Given::folder(path, labels)?,
            () => Given {
                scans: numbered(text.split(',').map(|p| PathBuf::from(p.trim())).collect()),
                ..Given::default()
            },
        };
        if let Some(pattern) = grey {
            let is_list = !path.exists();
            for scan in &mut given.scans {
                let beside = if is_list { &scan.labels } else { path };
                let folder = if path.is_dir() { path } else { beside.parent().unwrap_or(Path::new("")) };
                scan.grey = Some(folder.join(of_step(pattern, scan.step)));
            }
        }
        for scan in &given.scans {
            for path in std::iter::once(&scan.labels).chain(&scan.grey) {
                if !path.exists() && !exchange::tiff::is_stack(path) {
                    return Err(Error::missing(format!("step {} is missing: the series is not whole", scan.step))
                        .help("bring the scan back, or take it out of the list of scans")
                        .at(path));
                }
            }
        }
        let places: Vec<_> = given.scans.iter().map(|s| s.labels.canonicalize().ok()).collect();
        if let Some(i) = (0..places.len()).find(|&i| places[i].is_some() && places[..i].contains(&places[i])) {
            return Err(Error::data(format!("step {} is a file that another scan is, too", given.scans[i].step))
                .help("give each scan once")
                .at(&given.scans[i].labels));
        }
        for (what, value) in [("a voxel", given.voxel), ("the cell's area", given.cell_area)] {
            if value.is_some_and(|v| !(v > 0.0 && v.is_finite())) {
                return Err(Error::data(format!("{what} of {} is none", value.unwrap_or_default())).at(path));
            }
        }
        if given.scans.len() < 2 {
            context.talk.warn("a series of one scan: nothing is compared between scans");
        }
        Ok(given)
    }

    fn synthetic(folder: &Path, pattern: &str, other_labels: bool) -> Result<Given> {
        let path = folder.join("series.json");
        let (json, input) = read_json(&path)?;
        let read = || -> Result<Given> {
            let number = |group: &str, key: &str| json.need(group)?.need_f64(key);
            let offset = json.get("clock_offset_s").and_then(Json::as_f64);
            let mut scans = Vec::new();
            for step in json.need_arr("steps")? {
                let k = step.need_u64("step")? as usize;
                scans.push(GivenScan {
                    labels: folder.join(of_step(pattern, k)),
                    grey: None,
                    step: k,
                    start: Some(step.need_f64("scan_start_scanner_s")?),
                    minutes: Some(step.need_f64("current_minutes")?),
                    sigma: None,
                    moved: Vec::new(),
                });
            }
            let names = json.need_arr("classes")?.iter().map(|c| Ok(c.need_str("name")?.to_string()));
            let log = folder.join("potentiostat.csv");
            Ok(Given {
                scans,
                voxel: Some(number("geometry", "voxel_um")?),
                log: log.is_file().then_some(log),
                clock_offset: offset,
                cell_area: Some(number("faraday", "cell_area_cm2")?),
                // Other labels than the truth may have classes of their own.
                classes: if other_labels { None } else { Some(names.collect::<Result<_>>()?) },
                inputs: vec![input.clone()],
            })
        };
        read().map_err(|e| e.at(&path))
    }

    fn listed(path: &Path) -> Result<Given> {
        let (rules, input) = Rules::read(path, "series", SCHEMA)?;
        let read = || -> Result<Given> {
            let folder = path.parent().unwrap_or(Path::new(""));
            let own = rules.own();
            let (mut scans, mut inputs) = (Vec::new(), vec![input.clone()]);
            for (i, item) in rules.all("scan").iter().enumerate() {
                let mut moved = Vec::new();
                scans.push(GivenScan {
                    labels: folder.join(item.need_text("labels")?),
                    grey: item.text("grey")?.map(|g| folder.join(g)),
                    step: item.index("step")?.unwrap_or(i),
                    start: item.number("start_s")?,
                    minutes: item.number("minutes")?,
                    sigma: match (item.number("sigma")?, item.text("transform")?) {
                        (Some(_), Some(_)) => {
                            return Err(Error::data("a scan with sigma and transform: one tells the other"));
                        }
                        (sigma, None) => sigma,
                        (None, Some(name)) => {
                            let path = folder.join(name);
                            let sigma;
                            (sigma, moved) = depth_sigma(&path).map_err(|e| e.at(&path))?;
                            inputs.push(InputFile::of("transform", &path)?);
                            Some(sigma)
                        }
                    },
                    moved,
                });
            }
            if scans.is_empty() {
                return Err(Error::data("lists no scan").help("write [[scan]], labels = \"…\" for each"));
            }
            Ok(Given {
                scans,
                voxel: own.number("voxel_um")?,
                log: own.text("log")?.map(|l| folder.join(l)),
                clock_offset: own.number("clock_offset_s")?,
                cell_area: own.number("cell_area_cm2")?,
                classes: None,
                inputs,
            })
        };
        read().map_err(|e| e.at(path))
    }

    /// Volumes or folders of images, in the order of the numbers in their names, which go up in equal steps.
    fn folder(folder: &Path, pattern: Option<&str>) -> Result<Given> {
        let entries = std::fs::read_dir(folder).map_err(|e| Error::reading(folder, &e))?;
        let mut found: Vec<(usize, PathBuf)> = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| Error::reading(folder, &e))?.path();
            let known = ["mhd", "npy", "tif", "tiff", "mrc"];
            let is_file = path.extension().and_then(|e| e.to_str()).is_some_and(|e| known.contains(&e));
            let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if name.ends_with(ORIGIN) {
                // Beside labels, who said what they are.
                continue;
            }
            match (is_file || path.is_dir(), last_number(&name)) {
                (true, Some(number)) => found.push((number, path)),
                (true, None) if is_file => {
                    return Err(Error::data("has no number in its name, so that its place in the series is not known")
                        .help("rename it, take it away, or list the scans in a .toml file")
                        .at(path));
                }
                _ => {}
            }
        }
        if found.len() > MOST {
            return Err(Error::data(format!("holds more than {MOST} scans")).at(folder));
        }
        found.sort();
        let numbers: Vec<usize> = found.iter().map(|f| f.0).collect();
        if let Some(twice) = numbers.windows(2).find(|w| w[0] == w[1]) {
            return Err(Error::data(format!("two scans have the number {}", twice[0]))
                .help("list the scans in a .toml file")
                .at(folder));
        }
        let steps = || numbers.windows(2).map(|w| w[1] - w[0]);
        if let Some(step) = steps().min()
            && let Some(w) = numbers.windows(2).find(|w| w[1] - w[0] != step)
        {
            return Err(Error::data(format!("step {} is missing: the series is not whole", w[0] + step))
                .help("bring the scan back, or list those that there are in a .toml file")
                .at(folder));
        }
        if found.is_empty() {
            return Err(Error::missing("holds no series: no volume with a number in its name, no series.json")
                .help("name the volumes with commas, or list them in a .toml file")
                .at(folder));
        }
        let flat = |path: &PathBuf| exchange::open_stack(path, IoMode::Pread).is_ok_and(|v| v.dims().nz == 1);
        if pattern.is_none() && found.len() > 1 && found.iter().all(|f| flat(&f.1)) {
            return Err(Error::data(format!(
                "its {} volumes have one slice each: they are slices of one scan",
                found.len()
            ))
            .help("name the folder of folders, one for each scan, or list volumes of one slice in a .toml file")
            .at(folder));
        }
        let scan = |(step, path): (usize, PathBuf)| GivenScan {
            labels: pattern.map_or(path, |p| folder.join(of_step(p, step))),
            grey: None,
            step,
            start: None,
            minutes: None,
            sigma: None,
            moved: Vec::new(),
        };
        Ok(Given { scans: found.into_iter().map(scan).collect(), ..Given::default() })
    }

    /// Refuses another table of classes than the series has.
    ///
    /// # Errors
    /// Data: the first class that differs.
    pub fn check_classes(&self, classes: &Classes) -> Result<()> {
        let same = |names: &Vec<String>| classes.check_names(names, "the series").map_err(|e| e.help(OTHER_CLASSES));
        self.classes.as_ref().map_or(Ok(()), same)
    }
}

/// Confusion of each scan that `seg eval` compared, rows truth.
///
/// # Errors
/// Data: no such file, or one of other classes.
pub fn confusion(path: &Path, classes: &Classes) -> Result<(Counts, InputFile)> {
    let (json, input) = read_json(path)?;
    let input = InputFile { role: "confusion".into(), ..input };
    let read = || -> Result<Counts> {
        let names = json.need_arr("classes")?;
        let own = classes.list();
        if names.len() != own.len() || names.iter().zip(own).any(|(n, c)| n.as_str() != Some(c.name.as_str())) {
            return Err(Error::data("was evaluated with another table of classes")
                .help("evaluate with the table of the labels that are analysed"));
        }
        let whole = |v: &Json| v.as_u64().ok_or_else(|| Error::data("a count that is no whole number"));
        let row = |r: &Json| -> Result<Vec<u64>> {
            let row = r.as_arr().unwrap_or(&[]).iter().map(whole).collect::<Result<Vec<_>>>()?;
            if row.len() == own.len() { Ok(row) } else { Err(Error::data("a confusion matrix that is not square")) }
        };
        let one = |scan: &Json| -> Result<Vec<Vec<u64>>> {
            let rows = scan.need("confusion")?.need_arr("rows_truth_columns_prediction")?;
            let rows = rows.iter().map(row).collect::<Result<Vec<_>>>()?;
            if rows.len() == own.len() { Ok(rows) } else { Err(Error::data("a confusion matrix that is not square")) }
        };
        json.need_arr("scans")?.iter().map(one).collect()
    };
    Ok((read().map_err(|e| e.at(path))?, input))
}

fn numbered(paths: Vec<PathBuf>) -> Vec<GivenScan> {
    let scan = |(step, labels): (usize, PathBuf)| GivenScan {
        labels,
        grey: None,
        step,
        start: None,
        minutes: None,
        sigma: None,
        moved: Vec::new(),
    };
    paths.into_iter().enumerate().map(scan).collect()
}

/// The step in two digits for #.
fn of_step(pattern: &str, step: usize) -> String {
    pattern.replace('#', &format!("{step:02}"))
}

/// The last run of digits in a name.
pub fn last_number(name: &str) -> Option<usize> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |i| i + 1);
    name.get(start..end)?.parse().ok()
}

/// JSON of bounded length, and what it is for a manifest.
pub(super) fn read_json(path: &Path) -> Result<(Json, InputFile)> {
    let (text, input) = read_text(path)?;
    Ok((Json::parse(&text).map_err(|e| e.at(path))?, input))
}

/// A text of bounded length, and what it is for a manifest.
pub fn read_text(path: &Path) -> Result<(String, InputFile)> {
    let text = crate::cli::seg::read_text(path)?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let (role, bytes, digest) = ("series".into(), text.len() as u64, Digest::of(text.as_bytes()));
    Ok((text, InputFile { role, name, bytes, digest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_last_in_a_name() {
        let of = ["step_07", "cell2_scan_130_seg", "130", "seg", "a-12.crop"].map(last_number);
        assert_eq!(of, [Some(7), Some(130), Some(130), None, Some(12)]);
        assert_eq!(of_step("a/step_#/b", 7), "a/step_07/b");
    }
}
