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

use super::{Digests, Run, State, of_step};
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
use crate::volume::{Dims, Dtype, Source};
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
    dims: Dims,
    bytes: u64,
}

impl Volume {
    fn of(dims: Dims, dtype: Dtype) -> Volume {
        Volume { dims, bytes: dims.bytes(dtype) }
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
    let line = |name: &str, bytes: [u64; 2]| {
        let [reads, writes] = bytes.map(bytes_for_people);
        c.out.line(format!("{name:16} {reads:>12} {writes:>12}"))
    };
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
            let own = ahead.cost(step).map_err(|e| of_step(&step.name, e))?;
            cost = Cost { reads: cost.reads + own.reads, writes: own.writes };
            line(&step.name, [cost.reads, cost.writes])?;
        }
        sum = Cost { reads: sum.reads + cost.reads, writes: sum.writes + cost.writes };
    }
    line(&format!("{open} steps"), [sum.reads, sum.writes])?;
    let own = digests.read + looked_at + ahead.tried;
    line("this plan", [own, 0])?;
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
            bytes += self.numbers.writes;
        }
        for name in step.makes.iter().filter(|n| n.ends_with(".mhd")) {
            let volume = Reader::open(&self.run.folder.join(name), self.c.io)?;
            self.made.insert(name, Volume::of(volume.dims(), volume.dtype()));
        }
        Ok(bytes)
    }

    fn makes(&mut self, step: &'a Step, volume: Volume) {
        step.makes.iter().filter(|n| n.ends_with(".mhd")).for_each(|name| {
            self.made.insert(name, volume);
        });
    }

    fn cost(&mut self, step: &'a Step) -> Result<Cost> {
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
                let others = step.needs().filter(|n| *n != name).map(|n| Ok(self.volume(n)?.dims));
                let (others, options) = (others.collect::<Result<Vec<_>>>()?, self.options(step)?);
                let ([reads, writes], d) = register::ahead::cost(&options, self.volume(name)?.dims, &others)?;
                self.makes(step, Volume::of(d, Dtype::F32));
                Ok(Cost { reads, writes })
            }
            "seg predict" => {
                let Some(Word::Made(input)) = after(step, "--input") else { return Err(Error::bug("no volume")) };
                let input = self.volume(input)?;
                let n = input.dims.voxels() as u64;
                let planes: Vec<&str> = text(step, "--plane").unwrap_or("xy").split(',').collect();
                let flags = ["--entropy", "--margin", "--confidence", "--mutual"];
                let maps = 1 + flags.iter().filter(|f| step.words().contains(&Word::text(**f))).count() as u64;
                // A few slices are looked at first.
                let look = input.bytes / input.dims.nz as u64 * input.dims.nz.min(LOOKED_AT) as u64;
                let mut cost = Cost { reads: (1 + planes.len() as u64) * input.bytes + look, writes: maps * n };
                if let Some(Word::Inputs(files)) = after(step, "--weights") {
                    for file in files {
                        cost.reads += 2 * file.metadata().map_err(|e| Error::reading(file, &e))?.len();
                        if planes.len() > 1 {
                            let classes = state::load(&weights::read(file)?)?.network.config.classes as u64;
                            let logits = 2 * n * planes.len() as u64 * classes;
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
                let labels = self.volume(step.needs().next().ok_or_else(|| Error::bug("no labels"))?)?;
                self.makes(step, labels);
                Ok(Cost { reads: 2 * labels.bytes, writes: labels.bytes })
            }
            "analyze" => {
                self.numbers = self.analyze(step)?;
                let Made { reads, writes, .. } = self.numbers;
                Ok(Cost { reads: reads + 2 * writes, writes })
            }
            "report" => {
                let (mut reads, mut page) = (2 * self.numbers.writes, self.numbers.page);
                // Of those that are seen a section across x, too.
                for flag in ["--volumes", "--labels"] {
                    let Some(Word::List(names)) = after(step, flag) else { continue };
                    let seen: Vec<usize> = evenly(names.len()).collect();
                    for (k, name) in names.iter().enumerate() {
                        let v = self.volume(name)?;
                        let Dims { nz, ny, nx } = v.dims;
                        let pixels = |a: usize, b: usize| rows_across_x([a, b]).1 as u64;
                        reads += v.bytes / nz as u64 + v.bytes / ny as u64;
                        if seen.contains(&k) {
                            // Half of three bytes a pixel, of which a page makes four.
                            page += 2 * (pixels(nz, ny) + pixels(nz, nx) + pixels(ny, nx));
                            reads += v.bytes / (nz * ny) as u64 * pixels(nz, ny);
                        }
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
        let is_grey = |name: &str| self.made.get(name).is_some_and(|v| v.bytes > v.dims.voxels() as u64);
        let labels: Vec<&String> = volumes.iter().filter(|n| !is_grey(n)).copied().collect();
        let Some(first) = labels.first() else { return Err(Error::bug("numbers of nothing")) };
        // All lie on one grid.
        let file = self.volume(first)?.dims;
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
                let [nz, ny, nx] = [nz, ny, nx].map(|n| n as usize);
                Ok((Cost { reads, writes }, Volume::of(Dims::new(nz, ny, nx)?, Dtype::F32), axis))
            }
            _ => Err(Error::bug(format!("`plan` says nothing of use of {}", step.name))),
        }
    }
}
