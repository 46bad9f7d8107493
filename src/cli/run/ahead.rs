//! `tomolith run --plan`: what the steps that are not done will read and write, before they run.
//!
//! ```text
//! step       reads                                                              writes
//! axis       of every scan the middle rows, flats and darks                     –
//! recon      what `plan` says of it                                             what `plan` says
//! register   F, M for digests; blocks of both; M for the grid                   F, M and their masks of a quarter
//! classes    V for the digest and for each plane; weights twice;                N for each map, twice if its slices are
//!            of p > 1 planes their logits                                       turned; logits of 2 bytes
//! rules      2 N                                                                N
//! numbers    N for the digest; of the region: columns, dendrites twice, view,   results
//!            of a scan of the discharge the pair
//! report     middle slices, rows across x, results                              its page
//! ```
//!
//! F fixed, M moving, V any volume, f32; N its voxels, u8. Each step also reads what its key tells of files from outside,
//! and once every volume that an earlier step made, to see that it is whole. Results are small beside volumes, and not
//! counted; how much the blocks of a registration read depends on its bodies, and is a rough guess. What is read twice may
//! come from memory the second time: these are bytes asked for.

use super::{Digests, Run, State};
use crate::analysis::labels::Region;
use crate::cli::analyze::region;
use crate::cli::output::bytes_for_people;
use crate::cli::report::rows_across_x;
use crate::cli::{Context, child};
use crate::error::{Error, Result};
use crate::nn::{state, weights};
use crate::pipeline::record::Record;
use crate::pipeline::{Does, Step, Word};
use crate::report::sections::evenly;
use crate::segment::orient::Axes;
use crate::volume::reader::Reader;
use crate::volume::{Dims, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How often the blocks of a registration read both volumes, about: measured with two bodies of a fifth of the depth each.
const BLOCKS: f64 = 5.0;

/// Bytes.
#[derive(Clone, Copy, Default)]
struct Cost {
    reads: u64,
    writes: u64,
}

/// Voxels of a volume in a run folder, and its bytes.
#[derive(Clone, Copy)]
struct Volume {
    dims: [u64; 3],
    bytes: u64,
}

struct Ahead<'a> {
    c: &'a Context,
    run: &'a Run,
    made: BTreeMap<&'a str, Volume>,
    /// What `plan` said of reconstructions.
    planned: BTreeMap<&'a str, (Cost, Volume, u64)>,
}

/// Prints a line for each step that is not done, and the sums.
pub fn print(c: &Context, run: &Run, record: &Record) -> Result<()> {
    let mut ahead = Ahead { c, run, made: BTreeMap::new(), planned: BTreeMap::new() };
    let (mut digests, mut sound) = (Digests::default(), BTreeSet::new());
    let (mut sum, mut open, mut new) = (Cost::default(), 0, BTreeSet::new());
    c.out.line(format!("{:16} {:>12} {:>12}", "step", "reads", "writes"))?;
    for step in &run.steps {
        // A key that waits for an earlier step will tell these files all the same.
        let before = digests.read;
        for path in outside(step) {
            digests.outside(c, path)?;
        }
        let mut cost = Cost { reads: digests.read - before, writes: 0 };
        let key = run.key(c, step, record, &mut digests)?;
        // What is made anew may be what it was: nobody knows before.
        let same = !step.needs().any(|n| new.contains(n));
        if same && run.state(c, step, key.as_ref(), record) == State::Done {
            ahead.known(step)?;
        } else {
            new.extend(&step.makes);
            open += 1;
            let needed = step.needs().filter(|n| n.ends_with(".mhd"));
            for name in needed.filter(|n| sound.insert((*n).clone())) {
                cost.reads += ahead.volume(name)?.bytes;
            }
            let own = ahead.cost(step)?;
            cost = Cost { reads: cost.reads + own.reads, writes: own.writes };
            let text = [cost.reads, cost.writes].map(bytes_for_people);
            c.out.line(format!("{:16} {:>12} {:>12}", step.name, text[0], text[1]))?;
        }
        sum = Cost { reads: sum.reads + cost.reads, writes: sum.writes + cost.writes };
    }
    let text = [sum.reads, sum.writes].map(bytes_for_people);
    c.out.line(format!("{:16} {:>12} {:>12}", format!("{open} steps"), text[0], text[1]))?;
    c.out.line(format!("{:16} {:>12} {:>12}", "in bytes", sum.reads, sum.writes))
}

/// Files from outside that a step's key tells.
fn outside(step: &Step) -> impl Iterator<Item = &Path> {
    let named = step.words().iter().flat_map(|w| if let Word::Inputs(paths) = w { &paths[..] } else { &[] });
    named.chain(&step.reads).map(|p| p.as_path())
}

/// What follows an option of a step.
pub(super) fn after<'a>(step: &'a Step, flag: &str) -> Option<&'a Word> {
    let at = step.words().iter().position(|w| matches!(w, Word::Text(t) | Word::Free(t) if t == flag))?;
    step.words().get(at + 1)
}

/// The text that follows one.
fn text<'a>(step: &'a Step, flag: &str) -> Option<&'a str> {
    match after(step, flag)? {
        Word::Text(text) | Word::Free(text) => Some(text),
        _ => None,
    }
}

/// What the step of the numbers looks at of volumes of some shape.
///
/// # Errors
/// Data: nothing of them, or more.
pub(super) fn looked_at(numbers: &Step, file: Dims) -> Result<Region> {
    let axes = text(numbers, "--axes").map_or(Ok(Axes::NATIVE), Axes::parse)?;
    let dims = axes.volume(file)?;
    let whole = Region::whole(dims);
    let asked = text(numbers, "--region").map_or(Ok(whole.clone()), |asked| region(asked, &whole))?;
    asked.within(dims).map(|_| asked)
}

impl<'a> Ahead<'a> {
    fn volume(&self, name: &str) -> Result<Volume> {
        self.made.get(name).copied().ok_or_else(|| Error::bug(format!("nothing makes {name}")))
    }

    /// Takes down the volumes of a step that is done.
    fn known(&mut self, step: &'a Step) -> Result<()> {
        for name in step.makes.iter().filter(|n| n.ends_with(".mhd")) {
            let volume = Reader::open(&self.run.folder.join(name), self.c.io)?;
            let d = volume.dims();
            let dims = [d.nx, d.ny, d.nz].map(|n| n as u64);
            let bytes = (d.voxels() * volume.dtype().size()) as u64;
            self.made.insert(name, Volume { dims, bytes });
        }
        Ok(())
    }

    fn makes(&mut self, step: &'a Step, volume: Volume) {
        step.makes.iter().filter(|n| n.ends_with(".mhd")).for_each(|name| {
            self.made.insert(name, volume);
        });
    }

    fn cost(&mut self, step: &'a Step) -> Result<Cost> {
        let of = |volume: Volume| volume.dims.iter().product::<u64>();
        match step.stage {
            "center" => {
                // Every scan's own is found as its reconstruction would find it.
                let mut reads = 0;
                for scan in self.run.steps.iter().filter(|s| s.stage == "recon") {
                    let said = self.recon(scan)?;
                    reads += said.2;
                    self.planned.insert(&scan.name, said);
                }
                Ok(Cost { reads, writes: 0 })
            }
            "recon" => {
                let (cost, volume, _) = match self.planned.get(step.name.as_str()) {
                    Some(said) => *said,
                    None => self.recon(step)?,
                };
                self.makes(step, volume);
                Ok(cost)
            }
            "register" => {
                let Some(Word::Made(name)) = after(step, "--fixed") else { return Err(Error::bug("no fixed volume")) };
                let fixed = self.volume(name)?;
                let own = fixed.bytes + fixed.bytes / 4;
                let mut cost = Cost { reads: fixed.bytes, writes: own };
                for name in step.needs().filter(|n| *n != name) {
                    let moving = self.volume(name)?;
                    let blocks = BLOCKS * (fixed.bytes + moving.bytes) as f64;
                    cost = Cost { reads: cost.reads + 2 * moving.bytes + blocks as u64, writes: cost.writes + own };
                }
                self.makes(step, fixed);
                Ok(cost)
            }
            "seg predict" => {
                let Some(Word::Made(input)) = after(step, "--input") else { return Err(Error::bug("no volume")) };
                let input = self.volume(input)?;
                let n = of(input);
                let planes: Vec<&str> = text(step, "--plane").unwrap_or("xy").split(',').collect();
                let flags = ["--entropy", "--margin", "--confidence", "--mutual"];
                let maps =
                    1 + step.words().iter().filter(|w| flags.iter().any(|f| **w == Word::text(*f))).count() as u64;
                let mut cost = Cost { reads: (1 + planes.len() as u64) * input.bytes, writes: maps * n };
                if let Some(Word::Inputs(files)) = after(step, "--weights") {
                    for file in files {
                        let bytes = file.metadata().map_err(|e| Error::reading(file, &e))?.len();
                        cost.reads += 2 * bytes;
                        if planes.len() > 1 {
                            let logits = planes.len() as u64
                                * 2
                                * n
                                * state::load(&weights::read(file)?)?.network.config.classes as u64;
                            cost = Cost { reads: cost.reads + logits, writes: cost.writes + logits };
                        }
                    }
                }
                if planes != ["xy"] && planes.len() == 1 {
                    cost = Cost { reads: cost.reads + maps * n, writes: cost.writes + maps * n };
                }
                self.makes(step, Volume { bytes: n, ..input });
                Ok(cost)
            }
            "seg after" => {
                let Some(Word::Made(labels)) = step.words().iter().find(|w| matches!(w, Word::Made(_))) else {
                    return Err(Error::bug("no labels"));
                };
                let labels = self.volume(labels)?;
                self.makes(step, labels);
                Ok(Cost { reads: 2 * labels.bytes, writes: labels.bytes })
            }
            "analyze" => self.analyze(step),
            "report" => {
                // Of those that are seen a section across x, too.
                let mut reads = 0;
                for flag in ["--volumes", "--labels"] {
                    let Some(Word::List(names)) = after(step, flag) else { continue };
                    let seen: Vec<usize> = evenly(names.len()).collect();
                    for (k, name) in names.iter().enumerate() {
                        let v = self.volume(name)?;
                        let [_, ny, nz] = v.dims.map(|n| n.max(1));
                        let rows =
                            if seen.contains(&k) { rows_across_x([nz as usize, ny as usize]).1 as u64 } else { 0 };
                        reads += v.bytes / nz + v.bytes / ny + v.bytes / (nz * ny) * rows;
                    }
                }
                Ok(Cost { reads, writes: 0 })
            }
            _ => Ok(Cost::default()),
        }
    }

    fn analyze(&self, step: &Step) -> Result<Cost> {
        let volumes: Vec<&String> = step.uses.iter().filter(|n| n.ends_with(".mhd")).collect();
        // Classes are bytes; what is more are the grey values beside them.
        let is_grey = |name: &str| self.made.get(name).is_some_and(|v| v.bytes > v.dims.iter().product());
        let labels: Vec<&String> = volumes.iter().filter(|n| !is_grey(n)).copied().collect();
        let views = if text(step, "--maps") == Some("none") { 0 } else { 1 };
        let mut cost = Cost::default();
        for (k, name) in labels.iter().enumerate() {
            let volume = self.volume(name)?;
            let [nx, ny, nz] = volume.dims.map(|n| n as usize);
            let looked_at = looked_at(step, Dims { nz, ny, nx })?;
            // Whole rows are read: along x nothing is saved.
            let part = (looked_at.y.len() * looked_at.z.len()) as f64 / (ny * nz) as f64;
            let seen = volume.bytes as f64 * part;
            // Where the log turns is not known before: half of a series is its discharge.
            let pairs = if 2 * k > labels.len() { 2 } else { 0 };
            let grey = u32::from(labels.len() < volumes.len());
            cost.reads += volume.bytes + (seen * f64::from(3 + views + pairs + grey)) as u64;
            // Means, and two projections.
            cost.reads += u64::from(grey) * (4 * volume.bytes + (3.0 * 4.0 * seen) as u64);
        }
        Ok(cost)
    }

    /// What `plan` says of a reconstruction, and what finding its axis reads, which is the step's before.
    fn recon(&self, step: &Step) -> Result<(Cost, Volume, u64)> {
        let mut step = step.clone();
        let Does::Command(own, folder) = &mut step.does else {
            return Err(Error::bug("a reconstruction without words"));
        };
        // An axis that is not found yet is found by the plan itself.
        let open = own.iter().position(|w| matches!(w, Word::Value(f) if !self.run.folder.join(f).is_file()));
        if let Some(at) = open {
            own.drain(at - 1..=at);
        }
        let folder = folder.clone();
        let mut words = self.run.words(&step, &self.run.folder, 1)?;
        words[0] = "plan".into();
        let said = child::run(self.c, &words, folder.as_deref())?;
        // Of several fields of view the last line is of all.
        let line = said.lines().rev().find_map(|l| l.strip_prefix("in bytes")).unwrap_or_default();
        let numbers: Vec<u64> = line.split([' ', ';']).filter_map(|w| w.parse().ok()).collect();
        match numbers[..] {
            [reads, writes, nx, ny, nz, axis, here] => {
                let reads = reads - if open.is_some() { here } else { 0 };
                Ok((Cost { reads, writes }, Volume { dims: [nx, ny, nz], bytes: 4 * nx * ny * nz }, axis))
            }
            _ => Err(Error::bug(format!("`plan` says nothing of use of {}", step.name))),
        }
    }
}
