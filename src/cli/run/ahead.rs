//! `tomolith run --plan`: what the steps that are not done will read and write, before they run.
//!
//! ```text
//! step       reads                                                              writes
//! axis       of every scan the middle rows, of flats and darks, too             –
//! recon      what `plan` says of it                                             what `plan` says
//! register   what `register::ahead` says                                      the grid, and its masks of a quarter
//! classes    V for the digest and for each plane; nine slices of V;             N for each map, twice if its slices are
//!            weights twice; of p > 1 planes their logits                        turned; logits of 2 bytes
//! rules      2 N                                                                N
//! numbers    what `analyze::ahead` says, and twice what it writes: for        maps, pictures, tables: what it says
//!            its list of digests, and to see that it is as listed
//! report     middle slices, rows across x; the numbers' folder, and once        its page
//!            more what it shows of it; its page, as the run's record has it
//! ```
//!
//! V any volume, f32; N its voxels, u8. Each step also reads what its key tells of files from outside, and once every volume
//! that an earlier step made, to see that it is whole; of a step that is done, what it made is looked at but for volumes.
//! Records and transforms are small beside volumes, and not counted. How small a picture becomes is known when it is drawn: the
//! page is reckoned as if sections were noise, half of their pixels' bytes, and is smaller than that. What is read twice may
//! come from memory the second time: these are bytes asked for. What this plan itself reads stands in a line of its own:
//! files from outside, what is done, and of each scan what `plan` tries.

use super::{Digests, Run, State};
use crate::analysis::labels::Region;
use crate::cli::analyze::ahead::{Made, made};
use crate::cli::analyze::region;
use crate::cli::output::bytes_for_people;
use crate::cli::report::rows_across_x;
use crate::cli::{Context, child, register, settings_of};
use crate::error::{Error, Result};
use crate::nn::{state, weights};
use crate::pipeline::record::Record;
use crate::pipeline::{Does, Step, Word};
use crate::report::sections::evenly;
use crate::segment::orient::Axes;
use crate::segment::scale::LOOKED_AT;
use crate::volume::reader::Reader;
use crate::volume::{Dims, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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

impl Volume {
    fn shape(&self) -> Result<Dims> {
        let [nx, ny, nz] = self.dims.map(|n| n as usize);
        Dims::new(nz, ny, nx)
    }
}

struct Ahead<'a> {
    c: &'a Context,
    run: &'a Run,
    made: BTreeMap<&'a str, Volume>,
    /// What `plan` said of reconstructions.
    planned: BTreeMap<&'a str, (Cost, Volume, u64)>,
    /// What the numbers are made of, and take.
    numbers: Made,
    /// What `plan` read to say it.
    tried: u64,
}

/// Prints a line for each step that is not done, and the sums.
pub fn print(c: &Context, run: &Run, record: &Record) -> Result<()> {
    let mut ahead =
        Ahead { c, run, made: BTreeMap::new(), planned: BTreeMap::new(), numbers: Made::default(), tried: 0 };
    let (mut digests, mut sound) = (Digests::default(), BTreeSet::new());
    let (mut sum, mut open, mut new, mut looked_at) = (Cost::default(), 0, BTreeSet::new(), 0);
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
            let done = ahead.known(step)?;
            (looked_at, cost.reads) = (looked_at + done, cost.reads + done);
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
    let own = digests.read + looked_at + ahead.tried;
    c.out.line(format!("{:16} {:>12} {:>12}", "this plan", bytes_for_people(own), bytes_for_people(0)))?;
    c.out.line(format!("{:16} {:>12} {:>12}  this plan {own}", "in bytes", sum.reads, sum.writes))
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

    /// Takes down the volumes of a step that is done; bytes of its other files, which are looked at.
    fn known(&mut self, step: &'a Step) -> Result<u64> {
        let mut bytes = 0;
        for name in step.makes.iter().filter(|n| !n.ends_with(".mhd")) {
            let file = self.run.folder.join(name);
            bytes += file.metadata().map_err(|e| Error::reading(&file, &e))?.len();
        }
        if step.stage == "analyze" {
            self.numbers = self.analyze(step)?;
            bytes += self.numbers.writes();
        }
        for name in step.makes.iter().filter(|n| n.ends_with(".mhd")) {
            let volume = Reader::open(&self.run.folder.join(name), self.c.io)?;
            let d = volume.dims();
            let dims = [d.nx, d.ny, d.nz].map(|n| n as u64);
            let bytes = (d.voxels() * volume.dtype().size()) as u64;
            self.made.insert(name, Volume { dims, bytes });
        }
        Ok(bytes)
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
                let others = step.needs().filter(|n| *n != name).map(|n| self.volume(n)?.shape());
                let (others, options) = (others.collect::<Result<Vec<_>>>()?, self.options(step)?);
                let ([reads, writes], d) = register::ahead::cost(&options, self.volume(name)?.shape()?, &others)?;
                let dims = [d.nx, d.ny, d.nz].map(|n| n as u64);
                self.makes(step, Volume { dims, bytes: 4 * d.voxels() as u64 });
                Ok(Cost { reads, writes })
            }
            "seg predict" => {
                let Some(Word::Made(input)) = after(step, "--input") else { return Err(Error::bug("no volume")) };
                let input = self.volume(input)?;
                let n = of(input);
                let planes: Vec<&str> = text(step, "--plane").unwrap_or("xy").split(',').collect();
                let flags = ["--entropy", "--margin", "--confidence", "--mutual"];
                let maps =
                    1 + step.words().iter().filter(|w| flags.iter().any(|f| **w == Word::text(*f))).count() as u64;
                // A few slices are looked at first.
                let look = input.bytes / input.dims[2] * input.dims[2].min(LOOKED_AT as u64);
                let mut cost = Cost { reads: (1 + planes.len() as u64) * input.bytes + look, writes: maps * n };
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
            "analyze" => {
                self.numbers = self.analyze(step)?;
                let writes = self.numbers.writes();
                Ok(Cost { reads: self.numbers.reads + 2 * writes, writes })
            }
            "report" => {
                let numbers = self.numbers;
                let mut reads = 2 * numbers.writes();
                // Bytes of a page are four for three of a picture; it has the numbers in its diagrams, in its tables and in the
                // words about both.
                let mut page = 3 * numbers.text + (numbers.pictures + numbers.drawn) * 4 / 3;
                // Of those that are seen a section across x, too.
                for flag in ["--volumes", "--labels"] {
                    let Some(Word::List(names)) = after(step, flag) else { continue };
                    let seen: Vec<usize> = evenly(names.len()).collect();
                    for (k, name) in names.iter().enumerate() {
                        let v = self.volume(name)?;
                        let [nx, ny, nz] = v.dims.map(|n| n.max(1));
                        let pixels = |a: u64, b: u64| rows_across_x([a as usize, b as usize]).1 as u64;
                        let rows = if seen.contains(&k) { pixels(nz, ny) } else { 0 };
                        // Half of three bytes a pixel, as of a page.
                        page += if rows > 0 { 2 * (rows + pixels(nz, nx) + pixels(ny, nx)) } else { 0 };
                        reads += v.bytes / nz + v.bytes / ny + v.bytes / (nz * ny) * rows;
                    }
                }
                // Figures as files are about as much once more.
                let writes = page * step.makes.len() as u64;
                Ok(Cost { reads: reads + writes, writes })
            }
            _ => Ok(Cost::default()),
        }
    }

    /// The options of a step, as it will see them.
    fn options(&self, step: &Step) -> Result<crate::cli::options::Settings> {
        settings_of(&self.run.words(step, &self.run.folder, 1)?)
    }

    fn analyze(&self, step: &Step) -> Result<Made> {
        let volumes: Vec<&String> = step.uses.iter().filter(|n| n.ends_with(".mhd")).collect();
        // Classes are bytes; what is more are the grey values beside them.
        let is_grey = |name: &str| self.made.get(name).is_some_and(|v| v.bytes > v.dims.iter().product());
        let labels: Vec<&String> = volumes.iter().filter(|n| !is_grey(n)).copied().collect();
        let Some(first) = labels.first() else { return Err(Error::bug("numbers of nothing")) };
        // All lie on one grid.
        let file = self.volume(first)?.shape()?;
        made(&self.options(step)?, file, &looked_at(step, file)?, labels.len(), labels.len() < volumes.len())
    }

    /// What `plan` says of a reconstruction, and what finding its axis reads, which is the step's before.
    fn recon(&mut self, step: &Step) -> Result<(Cost, Volume, u64)> {
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
            [reads, writes, nx, ny, nz, axis, here, tried] => {
                self.tried += tried;
                let reads = reads - if open.is_some() { here } else { 0 };
                Ok((Cost { reads, writes }, Volume { dims: [nx, ny, nz], bytes: 4 * nx * ny * nz }, axis))
            }
            _ => Err(Error::bug(format!("`plan` says nothing of use of {}", step.name))),
        }
    }
}
