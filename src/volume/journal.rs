//! `NAME.raw.journal`: which slabs of an unfinished output are on the disk.
//!
//! Every line is one JSON object, a space and the CRC-32 of the object's text in eight hexadecimal digits. The first
//! line names the job by its key, each following one a slab: `index`, `offset`, `length`, `sha256`, and `counts`, the
//! integers that the stage counted in the slab's slices. A line is appended after the slab's bytes were synced. What
//! stands behind the first line that is not whole counts for nothing.

use super::disk::Disk;
use super::slabs::Layout;
use crate::error::Result;
use crate::json::Json;
use crate::os::{self, LockedFile};
use crate::provenance::{Digest, crc32};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Behind the base of an output.
pub const SUFFIX: &str = ".raw.journal";
/// Name and version of the format, in the first line.
const FORMAT: &str = "tomolith-journal-1";
/// Longest journal that is read: 300,000 slabs of 64 MiB are 20 TB.
const MAX_BYTES: u64 = 64 << 20;
/// Longest first line.
const MAX_KEY_LINE: u64 = 512;

/// Integers that a stage counts, by name.
pub(super) type Counts = BTreeMap<String, u64>;

/// One journalled slab.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub digest: Digest,
    pub counts: Counts,
}

/// What a journal holds.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// Nothing, or a first line that was cut off while it was written.
    Empty,
    /// The text of some other program.
    Foreign,
    /// Of the job `key`: its slabs 0, 1, 2 …; `ends[n]` is the journal's length with n slabs.
    Job { key: Digest, entries: Vec<Entry>, ends: Vec<u64> },
}

/// A journal that is appended to.
pub(super) struct Journal {
    pub file: LockedFile,
    pub length: u64,
}

impl Journal {
    /// Empties the file and writes the first line.
    pub fn start(disk: &Disk, file: LockedFile, key: Digest) -> io::Result<Journal> {
        let mut journal = Journal { file, length: 0 };
        disk.set_len(&journal.file, 0)?;
        journal.append(disk, &key_json(key))?;
        disk.sync_all(&journal.file)?;
        Ok(journal)
    }

    /// Goes on behind the lines that are whole.
    pub fn resume(disk: &Disk, file: LockedFile, length: u64) -> io::Result<Journal> {
        disk.set_len(&file, length)?;
        Ok(Journal { file, length })
    }

    /// Appends the line of slab `index`.
    pub fn slab(&mut self, disk: &Disk, layout: &Layout, index: usize, entry: &Entry) -> io::Result<()> {
        self.append(disk, &entry_json(layout, index, entry))
    }

    fn append(&mut self, disk: &Disk, json: &Json) -> io::Result<()> {
        let text = line(json);
        disk.write_at(&self.file, text.as_bytes(), self.length)?;
        self.length += text.len() as u64;
        Ok(())
    }
}

/// Reads an open journal as far as it is whole and describes slabs of `layout` in order.
pub(super) fn read(file: &File, layout: &Layout) -> io::Result<Found> {
    use std::io::Seek as _;
    let mut bytes = Vec::new();
    let mut from_start = file;
    from_start.rewind()?;
    from_start.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let mut lines = bytes.split_inclusive(|&b| b == b'\n');
    let first = lines.next().unwrap_or(b"");
    let Some(key) = whole(first).as_ref().and_then(key_in) else {
        // Ours is a first line that was cut off, or that a power loss left as zeros; nothing follows it.
        let alone = first.len() as u64 <= MAX_KEY_LINE && lines.next().is_none();
        let head = format!("{{\"format\":\"{FORMAT}\",");
        let begun = head.bytes().zip(first).all(|(a, &b)| a == b) || first.iter().all(|&b| b == 0);
        return Ok(if alone && begun { Found::Empty } else { Found::Foreign });
    };
    let mut entries = Vec::new();
    let mut ends = vec![first.len() as u64];
    for text in lines {
        let index = entries.len();
        let entry = whole(text).filter(|_| index < layout.slabs()).and_then(|json| entry_in(&json, layout, index));
        let Some(entry) = entry else { break };
        entries.push(entry);
        ends.push(ends[index] + text.len() as u64);
    }
    Ok(Found::Job { key, entries, ends })
}

/// The job of the journal at `path`, if there is one.
pub(super) fn key_of(path: &Path) -> Option<Digest> {
    let read = || -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = os::open_regular(path)?;
        file.take(MAX_KEY_LINE).read_to_end(&mut bytes).map_err(|e| crate::error::Error::reading(path, &e))?;
        Ok(bytes)
    };
    let bytes = read().ok()?;
    key_in(&whole(bytes.split_inclusive(|&b| b == b'\n').next()?)?)
}

fn key_json(key: Digest) -> Json {
    Json::obj([("format", FORMAT.into()), ("job", key.hex().into())])
}

fn key_in(json: &Json) -> Option<Digest> {
    let key = Digest::parse(json.get("job")?.as_str()?).ok()?;
    (*json == key_json(key)).then_some(key)
}

fn entry_json(layout: &Layout, index: usize, entry: &Entry) -> Json {
    let counts = entry.counts.iter().map(|(name, &n)| (name.as_str(), n.into()));
    Json::obj([
        ("index", index.into()),
        ("offset", layout.offset(index).into()),
        ("length", layout.length(index).into()),
        ("sha256", entry.digest.hex().into()),
        ("counts", Json::obj(counts)),
    ])
}

fn entry_in(json: &Json, layout: &Layout, index: usize) -> Option<Entry> {
    let digest = Digest::parse(json.get("sha256")?.as_str()?).ok()?;
    let counts = json.get("counts")?.as_obj()?.iter();
    let counts = counts.map(|(name, n)| Some((name.clone(), n.as_u64()?))).collect::<Option<Counts>>()?;
    let entry = Entry { digest, counts };
    // Whatever else the line says must be what it has to say.
    (*json == entry_json(layout, index, &entry)).then_some(entry)
}

fn line(json: &Json) -> String {
    let text = json.to_line();
    format!("{text} {:08x}\n", crc32(0, text.as_bytes()))
}

/// The object of a line, if the line is whole.
fn whole(bytes: &[u8]) -> Option<Json> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (object, crc) = text.rsplit_once(' ')?;
    if crc != format!("{:08x}", crc32(0, object.as_bytes())) {
        return None;
    }
    Json::parse(object).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Dims, Dtype};
    use super::*;
    use crate::testing::Scratch;

    fn sample() -> (Scratch, Layout, Vec<Entry>) {
        let layout = Layout::with_slab_bytes(Dims::new(5, 4, 4).unwrap(), Dtype::U8, 32);
        let entries = (0..3u8)
            .map(|i| Entry {
                digest: Digest::of(&[i]),
                counts: Counts::from([("clipped".to_owned(), i.into()), ("dead".to_owned(), 0)]),
            })
            .collect();
        (Scratch::new("volume"), layout, entries)
    }

    fn written(scratch: &Scratch, layout: &Layout, entries: &[Entry]) -> Journal {
        let disk = Disk::default();
        let file = os::lock_exclusive(os::create_new(&scratch.join("j")).unwrap()).unwrap().unwrap();
        let mut journal = Journal::start(&disk, file, Digest::of(b"job")).unwrap();
        for (i, entry) in entries.iter().enumerate() {
            journal.slab(&disk, layout, i, entry).unwrap();
        }
        journal
    }

    #[test]
    fn what_is_written_is_read() {
        let (scratch, layout, entries) = sample();
        let journal = written(&scratch, &layout, &entries);
        let found = read(&journal.file, &layout).unwrap();
        let Found::Job { key, entries: found, ends } = found else { panic!("{found:?}") };
        assert_eq!((key, found, ends.len(), ends[3]), (Digest::of(b"job"), entries, 4, journal.length));
        assert_eq!(key_of(&scratch.join("j")), Some(Digest::of(b"job")));
        assert_eq!(key_of(&scratch.join("none")), None);
    }

    #[test]
    fn cut_anywhere_the_whole_lines_before_count() {
        let (scratch, layout, entries) = sample();
        let journal = written(&scratch, &layout, &entries);
        let bytes = std::fs::read(scratch.join("j")).unwrap();
        for cut in 0..bytes.len() {
            journal.file.set_len(0).unwrap();
            std::fs::write(scratch.join("j"), &bytes[..cut]).unwrap();
            let lines = bytes[..cut].iter().filter(|&&b| b == b'\n').count();
            match read(&journal.file, &layout).unwrap() {
                Found::Empty => assert_eq!(lines, 0, "{cut}"),
                Found::Job { entries: found, .. } => assert_eq!(found, entries[..lines - 1], "{cut}"),
                Found::Foreign => panic!("cut at {cut} looks foreign"),
            }
        }
    }

    #[test]
    fn a_changed_bit_ends_what_counts() {
        let (scratch, layout, entries) = sample();
        let journal = written(&scratch, &layout, &entries);
        let bytes = std::fs::read(scratch.join("j")).unwrap();
        for byte in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[byte] ^= 1 << (byte % 8);
            std::fs::write(scratch.join("j"), &changed).unwrap();
            let line = bytes[..byte].iter().filter(|&&b| b == b'\n').count();
            match read(&journal.file, &layout).unwrap() {
                Found::Job { entries: found, .. } => assert!(line > 0 && found == entries[..line - 1], "{byte}"),
                _ => assert_eq!(line, 0, "{byte}"),
            }
        }
    }

    #[test]
    fn slabs_of_another_layout_or_out_of_order_do_not_count() {
        let (scratch, layout, mut entries) = sample();
        entries.push(entries[0].clone());
        let journal = written(&scratch, &Layout::with_slab_bytes(layout.dims, layout.dtype, 16), &entries);
        let claims = |layout: &Layout| match read(&journal.file, layout).unwrap() {
            Found::Job { entries, .. } => entries.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(claims(&layout), 0);
        // A layout of the same slabs but fewer of them.
        assert_eq!(claims(&Layout::with_slab_bytes(Dims::new(2, 4, 4).unwrap(), Dtype::U8, 16)), 2);
        std::fs::write(scratch.join("j"), "something else\nof two lines\n").unwrap();
        assert_eq!(read(&journal.file, &layout).unwrap(), Found::Foreign);
    }
}
