//! The labels of a volume on disk: the ledger.
//!
//! | volume | u8 per voxel |
//! |---|---|
//! | `NAME` | the class, 255 where nobody said anything |
//! | `NAME.origin` | who said it |
//!
//! | origin | meaning |
//! |---|---|
//! | 0 | unlabelled |
//! | 1 | human |
//! | 2 | corrected: a human changed what was there |
//! | 4 | rule: merged, moved or split by a rule |
//! | 16 + r | draft of a model of round r, 0 … 239 |
//!
//! Two bytes per voxel, labelled or not: sparse in meaning, dense on disk, so that every viewer shows it.
//!
//! Both are native volumes, written at once slice by slice; the class volume is finished last and its manifest names the
//! digest of the origins (`results.origin_digest`), so that two that do not belong together are told. A class volume alone,
//! as `phantom cell --annotate` writes it, is read as one whose labels have no known origin.

use super::UNLABELLED;
use super::classes::Classes;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::provenance::InputFile;
use crate::volume::journal;
use crate::volume::reader::{IoMode, Reader, base_of, with_suffix};
use crate::volume::writer::{Job, Manifest, Writer};
use crate::volume::{Dims, Dtype, Sink, Source, Spacing};
use std::path::{Path, PathBuf};

/// Version of the ledger in manifests.
pub const VERSION: u32 = 1;
/// What stands behind the name of the class volume.
pub const ORIGIN: &str = ".origin";

/// Who said what a voxel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(pub u8);

impl Origin {
    /// Nobody.
    pub const UNLABELLED: Origin = Origin(0);
    /// A human.
    pub const HUMAN: Origin = Origin(1);
    /// A human, who changed what was there.
    pub const CORRECTED: Origin = Origin(2);
    /// A rule.
    pub const RULE: Origin = Origin(4);
    /// Of the first round; later ones count up.
    pub const DRAFT: u8 = 16;

    /// A model of round `round`.
    ///
    /// # Errors
    /// Usage: more rounds than a byte can tell.
    pub fn draft(round: usize) -> Result<Origin> {
        let most = usize::from(u8::MAX - Origin::DRAFT);
        let known = u8::try_from(round).ok().filter(|_| round <= most);
        let wrong = || Error::usage(format!("round {round}")).help(format!("rounds are 0 to {most}"));
        known.map(|r| Origin(Origin::DRAFT + r)).ok_or_else(wrong)
    }

    /// Parses `human`, `corrected`, `rule` or `draft:R`.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(text: &str) -> Result<Origin> {
        match text.split_once(':') {
            None if text == "human" => Ok(Origin::HUMAN),
            None if text == "corrected" => Ok(Origin::CORRECTED),
            None if text == "rule" => Ok(Origin::RULE),
            Some(("draft", round)) if round.trim().parse::<usize>().is_ok() => {
                Origin::draft(round.trim().parse().unwrap_or(usize::MAX))
            }
            _ => {
                Err(Error::usage(format!("'{text}' is no origin")).help("write human, corrected, rule or draft:ROUND"))
            }
        }
    }

    /// Whether a ledger may hold it.
    pub fn is_known(self) -> bool {
        matches!(self.0, 0 | 1 | 2 | 4) || self.0 >= Origin::DRAFT
    }

    /// Its name.
    pub fn name(self) -> String {
        match self.0 {
            0 => "unlabelled".into(),
            1 => "human".into(),
            2 => "corrected".into(),
            4 => "rule".into(),
            r if r >= Origin::DRAFT => format!("draft of round {}", r - Origin::DRAFT),
            other => format!("unknown origin {other}"),
        }
    }
}

/// An open ledger, or a class volume alone.
pub struct Ledger {
    /// Classes.
    pub labels: Reader,
    /// Origins, if there are any.
    pub origins: Option<Reader>,
}

impl Ledger {
    /// Opens the ledger of a class volume.
    ///
    /// # Errors
    /// Data: not u8, origins of another shape or of other labels.
    pub fn open(path: &Path, io: IoMode) -> Result<Ledger> {
        let labels = Reader::open(path, io)?;
        if is_export(&labels) {
            return Err(Error::data("was exported for another program, and its values are that program's")
                .help("bring it in with `labels import --map`")
                .at(path));
        }
        if labels.dtype() != Dtype::U8 || (labels.header().slope, labels.header().intercept) != (1.0, 0.0) {
            return Err(Error::data(format!("labels are u8, this is {}", labels.dtype().name()))
                .help("bring them in with `labels import`")
                .at(path));
        }
        let beside = origins_of(path);
        if !beside.exists() {
            return Ok(Ledger { labels, origins: None });
        }
        let origins = Reader::open(&beside, io)?;
        if origins.dims() != labels.dims() || origins.dtype() != Dtype::U8 {
            return Err(Error::data("origins of another shape than the labels").at(&beside));
        }
        let promised = labels.manifest().and_then(|m| m.get("results")?.get("origin_digest")?.as_str());
        let actual = origins.manifest().and_then(|m| m.get("volume")?.get("digest")?.as_str());
        if promised.is_none() || promised != actual {
            return Err(Error::data("these origins are not those of the labels beside them")
                .help("one of the two was replaced; import the labels again, or remove the origins")
                .at(&beside));
        }
        Ok(Ledger { labels, origins: Some(origins) })
    }

    /// Shape.
    pub fn dims(&self) -> Dims {
        self.labels.dims()
    }

    /// Labels and origins of slices; a label without a known origin has origin 0.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&self, z: std::ops::Range<usize>, labels: &mut [u8], origins: &mut [u8]) -> Result<()> {
        let d = self.dims();
        read_u8(&self.labels, z.clone(), labels)?;
        match &self.origins {
            Some(source) => read_u8(source, z, origins),
            None => {
                origins[..z.len() * d.slice()].fill(0);
                Ok(())
            }
        }
    }

    /// Files for a manifest.
    ///
    /// # Errors
    /// Those of reading.
    pub fn inputs(&self) -> Result<Vec<InputFile>> {
        let role = |source: &Reader, name: &str| -> Result<Vec<InputFile>> {
            let named = |i: InputFile| InputFile { role: format!("{name} {}", i.role), ..i };
            Ok(source.inputs()?.into_iter().map(named).collect())
        };
        let mut inputs = role(&self.labels, "labels")?;
        if let Some(origins) = &self.origins {
            inputs.extend(role(origins, "origins")?);
        }
        Ok(inputs)
    }
}

/// Refuses a class volume whose manifest names other classes than the table.
///
/// # Errors
/// Data: the first class that differs.
pub fn check_classes(path: &Path, classes: &Classes) -> Result<()> {
    let Ok(volume) = Reader::open(path, IoMode::Pread) else { return Ok(()) };
    let names = volume.manifest().and_then(|m| m.get("params")?.get("classes")?.as_arr());
    let names: Option<Vec<String>> = names.map(|n| n.iter().filter_map(|n| n.as_str().map(String::from)).collect());
    names.map_or(Ok(()), |names| classes.check_names(&names, "these labels").map_err(|e| e.at(path)))
}

/// Where the origins of a class volume lie, if there are any.
pub fn origins_of(path: &Path) -> PathBuf {
    with_suffix(&base_of(path), &format!("{ORIGIN}.mhd"))
}

/// The stage of what `labels export` writes.
pub const EXPORTED: &str = "labels-export";

/// Whether a volume was made for another program, with values of its own.
pub fn is_export(volume: &Reader) -> bool {
    volume.manifest().and_then(|m| m.get("stage")?.as_str()) == Some(EXPORTED)
}

/// Whole slices of a u8 volume.
///
/// # Errors
/// Those of reading; data: a value that is no u8.
pub fn read_u8(source: &dyn Source, z: std::ops::Range<usize>, out: &mut [u8]) -> Result<()> {
    let d = source.dims();
    let mut values = vec![0f32; z.len() * d.slice()];
    source.read(z.clone(), 0..d.ny, &mut values)?;
    to_u8(&values, out).map_err(|i| {
        let [x, y, z] = [i % d.nx, i / d.nx % d.ny, z.start + i / d.slice()];
        Error::data(format!("the value {} at x {x}, y {y}, z {z} is no label", values[i]))
            .help("labels are whole numbers 0 to 254, 255 where there is none; see `labels import`")
    })
}

/// Values as u8, or the place of the first that is none.
///
/// # Errors
/// That place.
pub fn to_u8(values: &[f32], out: &mut [u8]) -> std::result::Result<(), usize> {
    for (i, (&v, o)) in values.iter().zip(out).enumerate() {
        *o = v as u8;
        if f32::from(*o) != v {
            return Err(i);
        }
    }
    Ok(())
}

/// What a ledger is made from.
pub struct Making {
    /// Shape.
    pub dims: Dims,
    /// Voxel size.
    pub spacing: Spacing,
    /// The stage that makes it.
    pub stage: &'static str,
    /// Everything that decides its bytes.
    pub params: Json,
    /// Files.
    pub inputs: Vec<InputFile>,
    /// Whether it is known who said what: without, a class volume alone is made.
    pub origins: bool,
}

/// A ledger being written.
pub struct LedgerWriter {
    base: PathBuf,
    labels: Writer,
    origins: Option<Writer>,
    slice: usize,
    buffer: Vec<f32>,
}

impl LedgerWriter {
    /// Claims `base` and `base.origin`, or goes on where an earlier run of the same job was stopped.
    ///
    /// # Errors
    /// Those of [`Writer::create`].
    pub fn create(base: &Path, making: Making, classes: &Classes, overwrite: bool) -> Result<LedgerWriter> {
        let slice = making.dims.slice();
        let params = match making.params {
            Json::Obj(mut members) => {
                members.insert("classes".into(), classes.to_json());
                members.insert("unlabelled".into(), Json::Int(i64::from(UNLABELLED)));
                Json::Obj(members)
            }
            other => other,
        };
        let job = |unit: &str| Job {
            dims: making.dims,
            dtype: Dtype::U8,
            spacing: making.spacing,
            slope: 1.0,
            intercept: 0.0,
            value_unit: unit.into(),
            stage: making.stage.into(),
            stage_version: VERSION,
            params: params.clone(),
            inputs: making.inputs.clone(),
            contract: CONTRACT,
        };
        let labels = Writer::create(base, job("class"), overwrite)?;
        if !making.origins {
            if let Some(of_others) = old_origins(base).find(|_| !overwrite) {
                return Err(Error::cannot_create("are origins of other labels")
                    .help("choose another name, or --overwrite")
                    .at(of_others));
            }
            return Ok(LedgerWriter { base: base.into(), labels, origins: None, slice, buffer: Vec::new() });
        }
        let (beside, own) = (origin_base(base), job("origin"));
        // A run that was stopped between the two left its origins finished: they are made again.
        let finished = Manifest::read(&with_suffix(&beside, ".json")).and_then(|m| m.job_key());
        let ours = finished.is_ok_and(|key| key == own.key());
        let origins = Some(Writer::create(&beside, own, overwrite || ours)?);
        Ok(LedgerWriter { base: base.into(), labels, origins, slice, buffer: Vec::new() })
    }

    /// Next slice that one of the two wants.
    pub fn next_slice(&self) -> usize {
        self.origins.iter().map(Writer::next_slice).fold(self.labels.next_slice(), usize::min)
    }

    /// Takes slice [`LedgerWriter::next_slice`].
    ///
    /// # Errors
    /// Those of writing; bug: a label without origin, or an origin without label.
    pub fn write(&mut self, labels: &[u8], origins: &[u8]) -> Result<()> {
        let z = self.next_slice();
        if labels.len() != self.slice || origins.len() != self.slice {
            return Err(Error::bug(format!("{} labels for a slice of {}", labels.len(), self.slice)));
        }
        let known = self.origins.is_some();
        if known && labels.iter().zip(origins).any(|(&l, &o)| (l == UNLABELLED) != (o == 0) || !Origin(o).is_known()) {
            return Err(Error::bug(format!("labels and origins of slice {z} disagree")));
        }
        let both = [(Some(&mut self.labels), labels), (self.origins.as_mut(), origins)];
        for (writer, values) in both.into_iter().filter_map(|(writer, values)| Some((writer?, values))) {
            if writer.next_slice() == z {
                self.buffer.clear();
                self.buffer.extend(values.iter().map(|&v| f32::from(v)));
                writer.write(&self.buffer)?;
            }
        }
        Ok(())
    }

    /// Adds to a count of the slice that comes next.
    ///
    /// # Errors
    /// Those of [`Writer::count`].
    pub fn count(&mut self, name: &str, n: u64) -> Result<()> {
        // What is counted belongs to the class volume; slices that it has already were counted then.
        let z = self.next_slice();
        if self.labels.next_slice() == z { self.labels.count(z, name, n) } else { Ok(()) }
    }

    /// Finishes the origins, then the labels.
    ///
    /// # Errors
    /// Those of [`Writer::finish`].
    pub fn finish(self, results: Vec<(&str, Json)>, run: Json) -> Result<Manifest> {
        let mut results: Vec<(&str, Json)> = results;
        if let Some(origins) = self.origins {
            let made = origins.finish(Json::obj::<&str>([]), run.clone())?;
            results.push(("origin_digest", made.digest().hex().into()));
            return self.labels.finish(Json::obj(results), run);
        }
        let made = self.labels.finish(Json::obj(results), run)?;
        // They would be taken for these labels'.
        for path in old_origins(&self.base) {
            std::fs::remove_file(&path).map_err(|e| Error::writing(&path, &e))?;
        }
        Ok(made)
    }
}

/// Origins that lie beside labels; where those have none they are of others.
fn old_origins(base: &Path) -> impl Iterator<Item = PathBuf> {
    let beside = origin_base(base);
    let suffixes = [".json", ".run.json", ".mhd", ".nhdr", ".raw", ".raw.part", journal::SUFFIX];
    suffixes.into_iter().map(move |suffix| with_suffix(&beside, suffix)).filter(|path| path.exists())
}

/// Base of the origins of labels.
pub fn origin_base(base: &Path) -> PathBuf {
    with_suffix(base, ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn making(dims: Dims) -> Making {
        let params = Json::obj([("a", Json::Int(1))]);
        Making { dims, spacing: None, stage: "labels", params, inputs: Vec::new(), origins: true }
    }

    #[test]
    fn a_ledger_is_written_read_and_taken_up_again() {
        let folder = Scratch::new("ledger");
        let (base, dims) = (folder.join("l"), Dims::new(3, 2, 2).unwrap());
        let classes = Classes::network();
        let (labels, origins) = ([[255, 0, 1, 4], [255; 4], [2, 2, 255, 3]], [[0, 1, 2, 16], [0; 4], [4, 255, 0, 17]]);
        let mut writer = LedgerWriter::create(&base, making(dims), &classes, false).unwrap();
        writer.write(&labels[0], &origins[0]).unwrap();
        assert_eq!(writer.next_slice(), 1);
        drop(writer);
        let mut writer = LedgerWriter::create(&base, making(dims), &classes, false).unwrap();
        // One slab holds everything here, so nothing was kept.
        assert_eq!(writer.next_slice(), 0);
        for (l, o) in labels.iter().zip(&origins) {
            writer.count("labelled", l.iter().filter(|&&l| l != UNLABELLED).count() as u64).unwrap();
            writer.write(l, o).unwrap();
        }
        let manifest = writer.finish(vec![], Json::obj::<&str>([])).unwrap();
        let counted = manifest.json().get("results").unwrap().get("counts").unwrap();
        assert_eq!(counted.need_u64("labelled").unwrap(), 6);
        let ledger = Ledger::open(&folder.join("l.mhd"), IoMode::Pread).unwrap();
        let (mut l, mut o) = ([0; 12], [9; 12]);
        ledger.read(0..3, &mut l, &mut o).unwrap();
        assert_eq!((l.as_slice(), o.as_slice()), (labels.as_flattened(), origins.as_flattened()));
        assert_eq!(ledger.inputs().unwrap().len(), 4);
        // Origins of other labels are told.
        let other = folder.join("m");
        let mut writer = LedgerWriter::create(&other.join("l"), making(dims), &classes, false).unwrap();
        for _ in 0..3 {
            writer.write(&[0; 4], &[1; 4]).unwrap();
        }
        writer.finish(vec![], Json::obj::<&str>([])).unwrap();
        for suffix in [".raw", ".mhd", ".nhdr", ".json"] {
            let name = format!("l.origin{suffix}");
            std::fs::rename(other.join(&name), folder.join(&name)).unwrap();
        }
        let e = Ledger::open(&folder.join("l.mhd"), IoMode::Pread).err().unwrap().to_string();
        assert!(e.contains("not those of the labels"), "{e}");
        let alone = Ledger::open(&other.join("l.mhd"), IoMode::Pread).unwrap();
        alone.read(0..3, &mut l, &mut o).unwrap();
        assert_eq!((l, o), ([0; 12], [0; 12]));
    }

    #[test]
    fn a_run_that_was_stopped_between_its_two_volumes_is_taken_up() {
        let folder = Scratch::new("ledger-stopped");
        let (base, dims) = (folder.join("l"), Dims::new(2, 1, 2).unwrap());
        let create = || LedgerWriter::create(&base, making(dims), &Classes::network(), false);
        let fill = |writer: &mut LedgerWriter| {
            while writer.next_slice() < 2 {
                writer.count("seen", 1).unwrap();
                writer.write(&[1, 255], &[1, 0]).unwrap();
            }
        };
        let mut writer = create().unwrap();
        fill(&mut writer);
        let LedgerWriter { labels, origins, .. } = writer;
        let stopped = origins.unwrap().finish(Json::obj::<&str>([]), Json::obj::<&str>([])).unwrap();
        drop(labels);
        let mut writer = create().unwrap();
        fill(&mut writer);
        let manifest = writer.finish(vec![], Json::obj::<&str>([])).unwrap();
        let results = manifest.json().get("results").unwrap();
        assert_eq!(results.need_str("origin_digest").unwrap(), stopped.digest().hex());
        assert_eq!(results.get("counts").unwrap().need_u64("seen").unwrap(), 2);
        assert!(Ledger::open(&folder.join("l.mhd"), IoMode::Pread).is_ok());
        assert!(create().is_err(), "it is finished");
    }

    #[test]
    fn labels_without_origin_are_our_bug_and_origins_have_names() {
        let folder = Scratch::new("ledger-bug");
        let dims = Dims::new(1, 1, 2).unwrap();
        let mut writer = LedgerWriter::create(&folder.join("l"), making(dims), &Classes::network(), false).unwrap();
        assert!(writer.write(&[0, 255], &[0, 0]).is_err());
        assert!(writer.write(&[0, 255], &[1, 1]).is_err());
        assert!(writer.write(&[0, 255], &[3, 0]).is_err());
        assert!(writer.write(&[0], &[1]).is_err());
        for (text, origin, name) in [
            ("human", Origin::HUMAN, "human"),
            ("draft:3", Origin(19), "draft of round 3"),
            ("draft:239", Origin(255), "draft of round 239"),
        ] {
            assert_eq!((Origin::parse(text).unwrap(), origin.name().as_str()), (origin, name));
        }
        for text in ["draft", "draft:240", "draft:-1", "humn", "draft:99999999999999999999"] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
        assert_eq!((to_u8(&[1.0, 1.5], &mut [0; 2]), to_u8(&[1.0, 256.0], &mut [0; 2])), (Err(1), Err(1)));
    }
}
