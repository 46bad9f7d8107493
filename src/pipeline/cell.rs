//! The way of a cell: scans ─ axis ─ slices ─ one grid ─ classes ─ numbers ─ report.
//!
//! It reads as it runs: [`steps`] is a list of lines, each a stage that takes what the lines above made. What a stage is
//! given beyond that, its options, comes from the table of its command in the configuration.

use super::{Does, Step, Word};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A scan as it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The scan, or its configuration (.toml), whose files lie beside it.
    pub path: PathBuf,
    /// Files that its configuration names.
    pub files: Vec<PathBuf>,
    /// Its step, the minutes of current before it and the second at which it begins, as the table of times has them.
    pub times: Option<[String; 3]>,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Scans in the order of time.
    pub scans: Vec<Scan>,
    /// Which of them the others are brought onto.
    pub fixed: usize,
    /// Where a scan seems to be missing.
    pub gap: Option<String>,
    /// Whether all scans are reconstructed about one axis.
    pub one_axis: bool,
    /// Options of the stages: words that follow a command's own.
    pub options: BTreeMap<&'static str, Vec<Word>>,
    /// Whether scans are registered.
    pub registers: bool,
    /// Whether classes are told apart; without weights they are not.
    pub segments: bool,
    /// Whether rules follow the network.
    pub rules: bool,
    /// Whether numbers are made of the classes.
    pub analyses: bool,
    /// Whether there is a report.
    pub reports: bool,
    /// The folder of its figures as files, if there are to be any.
    pub figures: Option<String>,
}

/// The rotation axis of all scans, a text file with its pixel.
struct AxisFile(String);
/// A reconstructed volume.
struct Slices(String);
/// A volume on the grid of all, and how it came there, if it was moved.
struct OnGrid(String, Option<String>);
/// A volume of classes.
struct Classes(String);
/// A list of classes and times.
struct Series(String);
/// The folder of numbers.
struct Numbers(String);

/// Name of a scan in the run folder.
pub fn name_of(number: usize) -> String {
    format!("s{number:02}")
}

/// The checkerboards of a scan before and after it was moved.
fn board(number: usize) -> String {
    format!("registered/{}.audit.png", name_of(number))
}

/// The steps of a cell, each after those whose results it takes.
pub fn steps(cell: &Cell) -> Vec<Step> {
    let mut way = Way { cell, steps: Vec::new() };
    let axis = cell.one_axis.then(|| way.center());
    let slices: Vec<Slices> = (0..cell.scans.len()).map(|k| way.recon(k, axis.as_ref())).collect();
    let volumes: Vec<OnGrid> =
        if cell.registers { way.register(&slices) } else { slices.into_iter().map(|s| OnGrid(s.0, None)).collect() };
    if cell.segments {
        let found: Vec<Classes> = volumes.iter().enumerate().map(|(k, v)| way.classes(k, v)).collect();
        // Stage by stage: scans of one may be made at a time.
        let classes = if cell.rules { (0..).zip(&found).map(|(k, c)| way.rules(k, c)).collect() } else { found };
        if cell.analyses {
            let series = way.series(&classes, &volumes);
            let numbers = way.analyze(&series, &classes, &volumes);
            way.report(Some((&numbers, &classes)), &volumes);
        }
    } else if cell.reports {
        way.report(None, &volumes);
    }
    way.steps
}

/// Steps under way.
struct Way<'a> {
    cell: &'a Cell,
    steps: Vec<Step>,
}

impl Way<'_> {
    /// Adds a step that runs a command.
    fn command(&mut self, name: String, stage: &'static str, own: Vec<Word>, makes: Vec<String>) {
        let mut words: Vec<Word> = stage.split(' ').map(Word::text).collect();
        words.extend(own);
        words.extend(self.cell.options.get(stage).into_iter().flatten().cloned());
        self.steps.push(Step {
            name,
            stage,
            does: Does::Command(words, None),
            reads: Vec::new(),
            uses: Vec::new(),
            makes,
        });
    }

    fn center(&mut self) -> AxisFile {
        let file = "axis.txt".to_string();
        let mut words = vec![Word::text("center")];
        words.extend(self.cell.scans.iter().map(|s| Word::Inputs(vec![s.path.clone()])));
        words.extend(self.cell.options.get("center").into_iter().flatten().cloned());
        self.steps.push(Step {
            name: "axis".into(),
            stage: "center",
            does: Does::Says(words, common_axis),
            reads: self.cell.scans.iter().flat_map(|s| s.files.clone()).collect(),
            uses: Vec::new(),
            makes: vec![file.clone()],
        });
        AxisFile(file)
    }

    fn recon(&mut self, number: usize, axis: Option<&AxisFile>) -> Slices {
        let (scan, base) = (&self.cell.scans[number], format!("slices/{}", name_of(number)));
        let configured = scan.path.extension().is_some_and(|e| e == "toml");
        let mut own = if configured {
            vec![Word::text("--config"), Word::Inputs(vec![scan.path.clone()])]
        } else {
            vec![Word::Inputs(vec![scan.path.clone()])]
        };
        own.extend([Word::text("-o"), Word::Output(base.clone())]);
        if let Some(axis) = axis {
            own.extend([Word::text("--center"), Word::Value(axis.0.clone())]);
        }
        let made = format!("{base}.mhd");
        self.command(format!("recon {}", name_of(number)), "recon", own, vec![made.clone()]);
        // A configuration's files lie beside it.
        if let Some(step) = self.steps.last_mut() {
            step.reads.clone_from(&scan.files);
            if let (true, Does::Command(_, folder)) = (configured, &mut step.does) {
                *folder = scan.path.parent().map(Path::to_path_buf);
            }
        }
        Slices(made)
    }

    fn register(&mut self, slices: &[Slices]) -> Vec<OnGrid> {
        let fixed = self.cell.fixed;
        let others: Vec<usize> = (0..slices.len()).filter(|&k| k != fixed).collect();
        let own = vec![
            Word::text("--fixed"),
            Word::Made(slices[fixed].0.clone()),
            Word::text("--moving"),
            Word::List(others.iter().map(|&k| slices[k].0.clone()).collect()),
            Word::text("-o"),
            Word::Output("registered".into()),
        ];
        let volume = |k: usize| match k == fixed {
            true => "registered/fixed.mhd".to_string(),
            false => format!("registered/{}.mhd", name_of(k)),
        };
        let transforms = others.iter().map(|&k| format!("registered/{}.transform.json", name_of(k)));
        let makes = (0..slices.len()).map(volume).chain(transforms).chain(others.iter().map(|k| board(*k))).collect();
        self.command("register".into(), "register", own, makes);
        let transform = |k: usize| (k != fixed).then(|| format!("registered/{}.transform.json", name_of(k)));
        (0..slices.len()).map(|k| OnGrid(volume(k), transform(k))).collect()
    }

    fn classes(&mut self, number: usize, volume: &OnGrid) -> Classes {
        let name = name_of(number);
        let base = format!("classes/{name}");
        let own =
            vec![Word::text("--input"), Word::Made(volume.0.clone()), Word::text("-o"), Word::Output(base.clone())];
        let found = format!("{base}.mhd");
        self.command(format!("classes {name}"), "seg predict", own, vec![found.clone()]);
        Classes(found)
    }

    fn rules(&mut self, number: usize, found: &Classes) -> Classes {
        let name = name_of(number);
        let base = format!("labels/{name}");
        let own = vec![Word::Made(found.0.clone()), Word::text("-o"), Word::Output(base.clone())];
        let made = format!("{base}.mhd");
        self.command(format!("rules {name}"), "seg after", own, vec![made.clone()]);
        Classes(made)
    }

    /// Whether grey values are looked at: it is said what fills pores.
    fn has_grey(&self) -> bool {
        self.cell.options.get("analyze").is_some_and(|words| words.contains(&Word::text("--grey-fill")))
    }

    fn series(&mut self, classes: &[Classes], volumes: &[OnGrid]) -> Series {
        let file = "series.toml".to_string();
        let mut text = String::from("# What was segmented, in the order of time.\n");
        let with_grey = self.has_grey();
        for (k, (classes, scan)) in classes.iter().zip(&self.cell.scans).enumerate() {
            text += &format!("\n[[scan]]\nlabels = \"{}\"\n", classes.0);
            text += &match &scan.times {
                Some([step, minutes, start]) => format!("step = {step}\nminutes = {minutes}\nstart_s = {start}\n"),
                None => format!("step = {k}\n"),
            };
            if with_grey {
                text += &format!("grey = \"{}\"\n", volumes[k].0);
            }
            match &volumes[k].1 {
                Some(transform) => text += &format!("transform = \"{transform}\"\n"),
                // The one that the others are brought onto is where it is.
                None if self.cell.registers => text += "sigma = 0.0\n",
                None => (),
            }
        }
        let does = Does::Text(text);
        self.steps.push(Step {
            name: "series".into(),
            stage: "series",
            does,
            reads: Vec::new(),
            uses: Vec::new(),
            makes: vec![file.clone()],
        });
        Series(file)
    }

    fn analyze(&mut self, series: &Series, classes: &[Classes], volumes: &[OnGrid]) -> Numbers {
        let own = vec![Word::Made(series.0.clone()), Word::text("-o"), Word::Output("numbers".into())];
        let makes = ["numbers/results.json", "numbers/analysis.json"].map(String::from).to_vec();
        self.command("numbers".into(), "analyze", own, makes);
        // What the series names.
        let with_grey = self.has_grey();
        if let Some(step) = self.steps.last_mut() {
            step.uses = classes.iter().map(|c| c.0.clone()).collect();
            step.uses.extend(volumes.iter().filter_map(|v| v.1.clone()));
            if with_grey {
                step.uses.extend(volumes.iter().map(|v| v.0.clone()));
            }
        }
        Numbers("numbers".into())
    }

    fn report(&mut self, numbers: Option<(&Numbers, &[Classes])>, volumes: &[OnGrid]) {
        let mut own = Vec::new();
        if let Some((numbers, classes)) = numbers {
            let classes = classes.iter().map(|c| c.0.clone()).collect();
            own.extend([
                Word::Made(format!("{}/results.json", numbers.0)),
                Word::text("--labels"),
                Word::List(classes),
            ]);
        }
        own.extend([
            Word::text("--volumes"),
            Word::List(volumes.iter().map(|v| v.0.clone()).collect()),
            Word::text("-o"),
            Word::Output("report.html".into()),
        ]);
        if self.cell.registers {
            let others = (0..volumes.len()).filter(|k| *k != self.cell.fixed);
            own.extend([Word::text("--boards"), Word::List(others.map(board).collect())]);
        }
        let mut makes = vec!["report.html".to_string()];
        if let Some(folder) = &self.cell.figures {
            own.extend([Word::text("--figures"), Word::Output(folder.clone())]);
            makes.push(format!("{folder}/figures.sha256"));
        }
        let one = self.cell.scans.len() == 1;
        let without = [
            (
                !self.cell.segments,
                "classes and every number of them: no weights of a network are given, see [seg.predict]",
            ),
            (one, "what changes over time: there is one scan"),
            (!one && !self.cell.registers, "registration: the scans are said to stand still"),
        ];
        let mut without: Vec<String> = without.into_iter().filter(|w| w.0).map(|w| w.1.to_string()).collect();
        without
            .extend(self.cell.gap.iter().map(|gap| format!("a scan that may be missing: {}", gap.replace(';', " "))));
        if !without.is_empty() {
            own.extend([Word::text("--without"), Word::text(without.join(";"))]);
        }
        self.command("report".into(), "report", own, makes);
        // Tables, maps and pictures lie beside; this names them with their digests.
        if let (Some(step), Some((numbers, _))) = (self.steps.last_mut(), numbers) {
            step.uses = vec![format!("{}/analysis.json", numbers.0)];
        }
    }
}

/// The axis in what `center` says of a series.
fn common_axis(said: &str) -> Option<String> {
    let line = said.lines().find_map(|line| line.strip_prefix("common"))?;
    let axis = line.split_whitespace().next()?;
    axis.parse::<f64>().ok().map(|_| axis.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Digest;

    fn cell() -> Cell {
        let scan = |k: usize| Scan { path: format!("/scans/{k}/scan.toml").into(), files: Vec::new(), times: None };
        Cell {
            scans: (0..3).map(scan).collect(),
            fixed: 2,
            one_axis: true,
            registers: true,
            segments: true,
            rules: true,
            analyses: true,
            reports: true,
            ..Cell::default()
        }
    }

    #[test]
    fn every_step_takes_what_an_earlier_one_made() {
        let steps = steps(&cell());
        let mut made: Vec<&str> = Vec::new();
        for step in &steps {
            for needed in step.needs() {
                assert!(made.contains(&needed.as_str()), "{}: {needed}", step.name);
            }
            made.extend(step.makes.iter().map(String::as_str));
        }
        let names: Vec<&str> = steps.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names[..5], ["axis", "recon s00", "recon s01", "recon s02", "register"]);
        assert_eq!(names[names.len() - 3..], ["series", "numbers", "report"]);
        // What is not asked for is not done.
        let short = super::steps(&Cell { segments: false, registers: false, one_axis: false, ..cell() });
        let names: Vec<&str> = short.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["recon s00", "recon s01", "recon s02", "report"]);
    }

    #[test]
    fn a_key_depends_on_contents_and_options_and_not_on_places() {
        let key = |cell: &Cell, content: &str| -> Vec<String> {
            let mut outside = |_: &PathBuf| Ok(Digest::of(content.as_bytes()));
            let made = |_: &str| Some("made");
            steps(cell).iter().map(|s| s.key(&mut outside, &made).unwrap().unwrap()).collect()
        };
        let before = key(&cell(), "a");
        let mut moved = cell();
        moved.scans.iter_mut().for_each(|s| s.path = Path::new("/elsewhere").join(s.path.file_name().unwrap()));
        assert_eq!(key(&moved, "a"), before);
        let other = key(&cell(), "b");
        assert!(other[0] != before[0] && other[1] != before[1] && other[4] == before[4]);
        let mut options = cell();
        options.options.insert("recon", vec![Word::text("--filter"), Word::text("hann")]);
        let changed = key(&options, "a");
        let differ: Vec<usize> = (0..before.len()).filter(|&i| changed[i] != before[i]).collect();
        assert_eq!(differ, [1, 2, 3]);
        let mut free = cell();
        free.options.insert("recon", vec![Word::Free("--memory".into()), Word::Free("4GiB".into())]);
        assert_eq!(key(&free, "a"), before, "no bit depends on it");
        // No two steps have one key.
        assert!((1..before.len()).all(|i| !before[..i].contains(&before[i])));
    }

    #[test]
    fn grey_values_are_those_of_the_volumes_where_it_is_said_what_fills_pores() {
        let mut with = cell();
        with.options.insert("analyze", ["--grey-fill", "0"].map(Word::text).to_vec());
        for (cell, there) in [(with, true), (cell(), false)] {
            let steps = steps(&cell);
            let of = |name: &str| steps.iter().find(|s| s.name == name).unwrap();
            let Does::Text(text) = &of("series").does else { panic!("no text") };
            assert_eq!(text.contains("grey = \"registered/s00.mhd\"\n"), there, "{text}");
            assert_eq!(of("numbers").uses.contains(&"registered/fixed.mhd".to_string()), there);
        }
    }

    #[test]
    fn the_axis_is_read_from_what_center_says() {
        assert_eq!(
            common_axis("a.toml  31.5  +0.1\ncommon  31.412  median distance 0.1, 0 of 2 far off\n").as_deref(),
            Some("31.412")
        );
        assert_eq!(common_axis("common  no\n"), None);
    }
}
