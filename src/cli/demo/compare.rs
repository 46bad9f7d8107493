//! Numbers of a cell beside the planted ones: a table, what of it is printed, and how many intervals hold.

use crate::analysis::quantity::{Value, paired, quoted, values};
use crate::cli::Context;
use crate::cli::seg::read_json;
use crate::error::{Error, Result};
use crate::exchange::write_text;
use crate::json::Json;
use crate::num::sum::median;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Write as _};
use std::path::Path;

/// Definitions that are headlines: printed of the last scan.
const HEADLINES: [&str; 12] = [
    "thickness.side",
    "thickness.lithium",
    "gap",
    "outer",
    "swelling.inner",
    "volume",
    "occupied",
    "ratio.per_area",
    "faraday.thickness",
    "remaining.volume",
    "dendrites",
    "void.area",
];
/// How far a side's thickness may be from the planted one, µm, in the mean over sides and scans.
const THICKNESS: f64 = 10.0;
/// Columns of a table, after what names the cell.
const COLUMNS: &str = "definition,of,step,measured,corrected,lo95,hi95,interval_from,planted,unit";

/// A number that is measured and planted.
struct Compared<'a> {
    found: Value<'a>,
    /// The measured number.
    value: f64,
    /// The planted one.
    truth: f64,
}

impl Compared<'_> {
    /// Its interval; a band of what has nothing in common is no interval of the number.
    fn interval(&self) -> Option<[f64; 2]> {
        self.found.interval.filter(|_| self.found.from != "shifts")
    }

    /// Whether its interval holds what is planted.
    fn holds(&self) -> Option<bool> {
        self.interval().map(|[low, high]| (low..=high).contains(&self.truth))
    }

    fn is_headline(&self) -> bool {
        HEADLINES.contains(&self.found.definition)
    }

    /// Its line of a table, [`COLUMNS`].
    fn row(&self) -> String {
        let Value { definition, of, unit, .. } = self.found;
        let text = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
        let step = self.found.step.map_or(String::new(), |k| k.to_string());
        let [low, high] = self.found.interval.map_or([None, None], |i| i.map(Some)).map(text);
        let (of, better) = (quoted(of), text(self.found.corrected));
        let from = self.found.from;
        format!("{definition},{of},{step},{},{better},{low},{high},{from},{},{unit}", self.value, self.truth)
    }
}

/// Numbers of a cell, measured and planted.
struct Cell {
    measured: Json,
    truth: Json,
}

impl Cell {
    /// What a demo wrote in a folder, the measured ones in `numbers`.
    fn of(folder: &Path, numbers: &str) -> Result<Cell> {
        let read = |name: &str| read_json(&folder.join(name).join("results.json"));
        Ok(Cell { measured: read(numbers)?, truth: read("truth")? })
    }

    /// Numbers that both have, by definition, object and step.
    fn pairs(&self) -> Result<Vec<Compared<'_>>> {
        let all = paired(&self.measured, &self.truth)?.into_iter().filter(|(found, ..)| found.of != "background");
        let mut pairs: Vec<_> = all.map(|(found, value, truth)| Compared { found, value, truth }).collect();
        pairs.sort_by_key(|p| (p.found.definition, p.found.of, p.found.step));
        Ok(pairs)
    }
}

/// Intervals that hold, and all.
#[derive(Clone, Copy, Default)]
struct Held([u32; 2]);

impl Held {
    fn add(&mut self, holds: Option<bool>) {
        let [held, all] = self.0;
        self.0 = [held + u32::from(holds == Some(true)), all + u32::from(holds.is_some())];
    }

    fn percent(&self) -> f64 {
        100.0 * f64::from(self.0[0]) / f64::from(self.0[1])
    }
}

impl Display for Held {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let [held, all] = self.0;
        match all {
            0 => write!(f, "0 of 0"),
            _ => write!(f, "{held} of {all} ({:.1} %)", self.percent()),
        }
    }
}

/// Prints measured and planted side by side, and writes the table `measured_and_planted.csv`, with what the phantom counted if that is of
/// the same voxels.
///
/// # Errors
/// Mismatch: thicknesses that are far off.
pub fn print(c: &Context, folder: &Path, is_counted: bool) -> Result<()> {
    let cell = Cell::of(folder, "cell/numbers")?;
    let pairs = cell.pairs()?;
    let counted = if is_counted { counted(&folder.join("scans/truth/truth.json"))? } else { BTreeMap::new() };
    c.out.line(format!(
        "{:18} {:20} {:>5} {:>12} {:>12} {:>12}  {:4} {}",
        "at the end", "of", "step", "measured", "corrected", "planted", "unit", "95 %"
    ))?;
    let mut table = format!("{COLUMNS},counted_by_the_phantom\n");
    let last = values(&cell.truth)?.iter().filter_map(|v| v.step).max();
    let (mut sides, mut corrected) = (Off::default(), Off::default());
    let (mut few, mut all) = (Held::default(), Held::default());
    for p in &pairs {
        let Value { definition, of, step, unit, corrected: better, .. } = p.found;
        let own = step.and_then(|k| counted.get(&(definition, of.to_string(), k)));
        let _ = writeln!(table, "{},{}", p.row(), own.map_or(String::new(), f64::to_string));
        if definition == "thickness.side" {
            sides.add(p.value - p.truth);
            corrected.add(better.unwrap_or(p.value) - p.truth);
        }
        all.add(p.holds());
        if p.is_headline() && (step == last || step.is_none()) {
            few.add(p.holds());
            let inside = p.holds().map_or("no interval", |holds| if holds { "holds it" } else { "misses it" });
            let (better, step) = (better.map_or(String::new(), |v| format!("{v:.4}")), step.map(|k| k.to_string()));
            c.out.line(format!(
                "{definition:18} {of:20} {:>5} {:12.4} {better:>12} {:12.4}  {unit:4} {inside}",
                step.unwrap_or_default(),
                p.value,
                p.truth
            ))?;
        }
    }
    write_text(&folder.join("measured_and_planted.csv"), &table, true)?;
    c.out.line(format!("intervals of 95 %: here {few} hold what is planted, of everything {all}"))?;
    let mean = sides.mean();
    c.out.line(format!(
        "thickness of a side: {mean:.1} um off in the mean of {}, {:.1} at most",
        sides.count, sides.most
    ))?;
    if corrected != sides {
        c.out.line(format!("corrected: {:.1} um off in the mean, {:.1} at most", corrected.mean(), corrected.most))?;
    }
    c.out.line(format!("report: {}", folder.join("cell/report.html").display()))?;
    match mean <= THICKNESS {
        true => Ok(()),
        false => Err(Error::mismatch(format!("thicknesses are {mean:.1} um off in the mean, at most {THICKNESS}"))),
    }
}

/// What intervals of several cells are worth.
#[derive(Default)]
pub struct Scores {
    rows: String,
    all: Held,
    /// Of headlines, of all scans and cells: half an interval, what is planted, and whether it holds that.
    headlines: BTreeMap<[String; 2], Vec<(f64, f64, bool)>>,
}

impl Scores {
    /// Adds the cell of a seed, in its folder.
    ///
    /// # Errors
    /// Missing; data: results of another kind.
    pub fn add(&mut self, seed: u64, folder: &Path) -> Result<()> {
        self.add_cell(seed, &Cell::of(folder, "left_out")?)
    }

    fn add_cell(&mut self, seed: u64, cell: &Cell) -> Result<()> {
        for p in cell.pairs()? {
            let _ = writeln!(self.rows, "{seed},{}", p.row());
            self.all.add(p.holds());
            let Some((holds, [low, high])) = p.holds().zip(p.interval()).filter(|_| p.is_headline()) else { continue };
            let key = [p.found.definition, p.found.of].map(String::from);
            self.headlines.entry(key).or_default().push((0.5 * (high - low), p.truth, holds));
        }
        Ok(())
    }

    /// Every number of every cell.
    pub fn table(&self) -> String {
        format!("cell,{COLUMNS}\n{}", self.rows)
    }

    /// How many hold, how wide they are, and which headlines hold least.
    pub fn lines(&self) -> Vec<String> {
        let held_of = |of: &[(f64, f64, bool)]| {
            let mut held = Held::default();
            of.iter().for_each(|(_, _, holds)| held.add(Some(*holds)));
            held
        };
        // A number that hardly differs is measured by its size; one that is nothing in all cells has none.
        let wide = |of: &Vec<(f64, f64, bool)>| {
            let [low, high] = of.iter().fold([f64::MAX, f64::MIN], |[a, b], (_, t, _)| [a.min(*t), b.max(*t)]);
            let size = low.abs().max(high.abs());
            let range = if high - low < 0.1 * size { size } else { high - low };
            (range > 0.0).then(|| median(of.iter().map(|(half, _, _)| half / range).collect()))
        };
        let mut lines = vec![format!(
            "each cell corrected by the others: of all intervals of 95 % {} hold what is planted",
            self.all
        )];
        if self.headlines.is_empty() {
            return lines;
        }
        let flat: Vec<_> = self.headlines.values().flatten().copied().collect();
        lines.push(format!("of headlines {}", held_of(&flat)));
        let widths: Vec<f64> = self.headlines.values().filter_map(wide).collect();
        if !widths.is_empty() {
            let (half, n) = (100.0 * median(widths.clone()), widths.len());
            lines.push(format!(
                "half of an interval is {half:.1} % of the number's range, in the median of {n} headlines"
            ));
        }
        let mut least: Vec<_> = self.headlines.iter().map(|(key, of)| (held_of(of), key)).collect();
        least.sort_by(|a, b| a.0.percent().total_cmp(&b.0.percent()));
        let least: Vec<_> = least.iter().take(3).map(|(held, [what, of])| format!("{what} {of} {held}")).collect();
        lines.push(format!("least: {}", least.join(", ")));
        lines
    }
}

/// How far numbers are off.
#[derive(Default, PartialEq)]
struct Off {
    sum: f64,
    most: f64,
    count: u32,
}

impl Off {
    fn add(&mut self, off: f64) {
        (self.sum, self.most, self.count) = (self.sum + off.abs(), self.most.max(off.abs()), self.count + 1);
    }

    /// Nothing compared is not right.
    fn mean(&self) -> f64 {
        if self.count > 0 { self.sum / f64::from(self.count) } else { f64::INFINITY }
    }
}

/// What the phantom counted of each class and step in its own voxels, by definition.
fn counted(path: &Path) -> Result<BTreeMap<(&'static str, String, usize), f64>> {
    let json = read_json(path)?;
    let mut found = BTreeMap::new();
    for step in json.need_arr("steps")? {
        let k = step.need("step")?.need_u64("step")? as usize;
        for (class, of) in step.need("counted")?.as_obj().into_iter().flatten() {
            for (definition, key) in [("voxels", "voxels"), ("thickness", "thickness_um"), ("occupied", "area")] {
                found.insert((definition, class.clone(), k), of.need_f64(key)?);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::quantity::Results;

    /// Of one cell numbers with intervals around what is measured, and what is planted.
    fn cell(found: &[f64], half: f64, planted: &[f64]) -> Cell {
        let (mut measured, mut truth) = (Results::default(), Results::default());
        for (k, (found, planted)) in found.iter().zip(planted).enumerate() {
            let interval = Some([found - half, found + half]);
            measured.put_with("gap", "a, b", Some(k), Some(*found), (interval, "interface"), None);
            truth.put("gap", "a, b", Some(k), Some(*planted));
        }
        // A band that is no interval, and what only one of them has.
        measured.put_with("volume", "pit", Some(0), Some(1.0), (Some([0.0, 2.0]), "shifts"), None);
        truth.put("volume", "pit", Some(0), Some(1.0));
        measured.put("volume", "dendrite", Some(0), Some(1.0));
        Cell { measured: measured.to_json(), truth: truth.to_json() }
    }

    #[test]
    fn what_holds_and_how_wide_it_is_by_hand() {
        let mut scores = Scores::default();
        scores.add_cell(3, &cell(&[1.0, 2.0, 3.0], 0.5, &[1.25, 2.75, 3.0])).unwrap();
        scores.add_cell(4, &cell(&[4.0, 5.0], 1.0, &[4.0, 5.25])).unwrap();
        // Half-widths 0.5, 0.5, 0.5, 1, 1 over a range from 1.25 to 5.25.
        let says = [
            "each cell corrected by the others: of all intervals of 95 % 4 of 5 (80.0 %) hold what is planted",
            "of headlines 4 of 5 (80.0 %)",
            "half of an interval is 12.5 % of the number's range, in the median of 1 headlines",
            "least: gap a, b 4 of 5 (80.0 %)",
        ];
        assert_eq!(scores.lines(), says);
        let table = scores.table();
        assert_eq!(table.lines().count(), 8, "{table}");
        assert!(table.contains("\n3,gap,\"a, b\",1,2,,1.5,2.5,interface,2.75,um\n"), "{table}");
        assert!(table.contains("\n4,volume,pit,0,1,,0,2,shifts,1,"), "{table}");
        // What is nothing in all cells has no range, and still counts.
        let mut nothing = Scores::default();
        nothing.add_cell(5, &cell(&[0.0, 0.0], 1.0, &[0.0, 0.0])).unwrap();
        assert_eq!(nothing.lines()[1..], ["of headlines 2 of 2 (100.0 %)", "least: gap a, b 2 of 2 (100.0 %)"]);
        // No interval at all is nothing, not everything.
        let empty = Scores::default().lines();
        assert!(empty.len() == 1 && empty[0].contains("0 of 0 hold"), "{empty:?}");
    }
}
