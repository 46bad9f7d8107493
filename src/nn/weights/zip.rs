//! The members of a zip archive, as PyTorch writes it: stored, not deflated, none encrypted.
//!
//! ```text
//! PK 3 4   method, name, extra field … then the bytes         a member; its lengths are believed to the directory only
//! PK 1 2   flags, method, CRC-32, lengths, name, where …      the directory: one record for each member
//! PK 6 6, PK 6 7                                              counts and places in 64 bits, and where they stand
//! PK 5 6   counts, place of the directory, comment            the end of the file
//! ```
//!
//! Names are keys and nothing else: no path is made of them. Left out: deflate, encryption, archives of several files.
//!
//! Source: PKWARE, APPNOTE.TXT 6.3.

use crate::error::{Error, Result};
use crate::exchange::file::OpenFile;
use crate::provenance::crc32;
use std::collections::BTreeMap;
use std::ops::Range;

/// How an archive begins that has members.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
const LOCAL_LEN: usize = 30;
const RECORD: &[u8] = b"PK\x01\x02";
const RECORD_LEN: usize = 46;
const END: &[u8] = b"PK\x05\x06";
const END_LEN: usize = 22;
const LONGEST_COMMENT: u64 = 0xffff;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_LEN: u64 = 20;
const END_64: &[u8] = b"PK\x06\x06";
const END_64_LEN: u64 = 56;
/// Encrypted, patched, encrypted strongly, directory encrypted.
const REFUSED_FLAGS: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 13;
/// Extra field with lengths and places of 64 bits.
const EXTRA_64: u64 = 1;
/// Longest directory that is read: some 15 000 members.
const MAX_DIRECTORY: u64 = 1 << 20;
/// Bytes that are checked at a time.
const PIECE: u64 = 1 << 20;

/// Where a member stands.
struct Member {
    local: u64,
    size: u64,
    packed: u64,
    crc: u32,
    flags: u64,
    method: u64,
}

/// An archive, its directory read.
pub(super) struct Archive<'a> {
    file: &'a OpenFile,
    members: BTreeMap<String, Member>,
    /// Where the directory begins, which all members lie in front of.
    end: u64,
}

/// A little-endian number of `n` bytes.
fn number(bytes: &[u8], at: usize, n: usize) -> u64 {
    bytes[at..at + n].iter().rev().fold(0, |v, &b| v << 8 | u64::from(b))
}

fn bad(what: &str) -> Error {
    Error::data(format!("its zip archive is damaged: {what}"))
        .help("copy the file again, or save it again with torch.save")
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub(super) fn open(file: &'a OpenFile) -> Result<Archive<'a>> {
        let (count, directory) = find_directory(file)?;
        let size = directory.end - directory.start;
        if size > MAX_DIRECTORY {
            return Err(bad(&format!("a directory of {size} bytes; at most {MAX_DIRECTORY} are read")));
        }
        let mut bytes = vec![0; size as usize];
        file.read_at(directory.start, &mut bytes)?;
        let mut archive = Archive { file, members: BTreeMap::new(), end: directory.start };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (name, member, used) = record(rest)
                .map_err(|what| bad(&format!("{what} (byte {} of the file)", directory.end - rest.len() as u64)))?;
            rest = &rest[used..];
            if archive.members.contains_key(name) {
                return Err(bad(&format!("two members have the name `{name}`")));
            }
            archive.members.insert(name.to_owned(), member);
        }
        let found = archive.members.len() as u64;
        if found == count { Ok(archive) } else { Err(bad(&format!("{found} members, its end says {count}"))) }
    }

    /// The names of the members, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Where in the file the bytes of a member lie, after they were compared with their CRC; `None` if there is no such
    /// member. A CRC of 0 is not compared: PyTorch writes it where its user has switched it off.
    pub(super) fn find(&self, name: &str) -> Result<Option<Range<u64>>> {
        let Some(member) = self.members.get(name) else { return Ok(None) };
        let wrong = |what: &str| bad(&format!("member `{name}` {what}"));
        if member.flags & REFUSED_FLAGS != 0 {
            return Err(wrong("is encrypted"));
        }
        if member.method != 0 || member.packed != member.size {
            return Err(wrong("is compressed, which torch.save never does"));
        }
        let mut local = [0; LOCAL_LEN];
        if member.local.checked_add(LOCAL_LEN as u64).is_none_or(|end| end > self.end) {
            return Err(wrong("lies behind the directory"));
        }
        self.file.read_at(member.local, &mut local)?;
        let (name_len, extra_len) = (number(&local, 26, 2), number(&local, 28, 2));
        let start = member.local + LOCAL_LEN as u64 + name_len + extra_len;
        let end = start.checked_add(member.size).filter(|&end| end <= self.end);
        let Some(end) = end else { return Err(wrong("reaches into the directory")) };
        let mut own_name = vec![0; name_len as usize];
        self.file.read_at(member.local + LOCAL_LEN as u64, &mut own_name)?;
        if !local.starts_with(MAGIC) || number(&local, 8, 2) != 0 || own_name != name.as_bytes() {
            return Err(wrong("is not what the directory says"));
        }
        if member.crc != 0 {
            let mut piece = vec![0; member.size.min(PIECE) as usize];
            let (mut at, mut crc) = (start, 0);
            while at < end {
                let piece = &mut piece[..(end - at).min(PIECE) as usize];
                self.file.read_at(at, piece)?;
                crc = crc32(crc, piece);
                at += piece.len() as u64;
            }
            if crc != member.crc {
                return Err(wrong(&format!("has CRC-32 {crc:08x}, the directory says {:08x}", member.crc)));
            }
        }
        Ok(Some(start..end))
    }

    /// The bytes of a member of at most `limit`.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        if let Some(Member { size, .. }) = self.members.get(name).filter(|m| m.size > limit) {
            return Err(Error::data(format!("its `{name}` has {size} bytes; at most {limit} are read"))
                .help("save the weights alone: torch.save(model.state_dict(), NEW)"));
        }
        let Some(place) = self.find(name)? else { return Ok(None) };
        let mut bytes = vec![0; (place.end - place.start) as usize];
        self.file.read_at(place.start, &mut bytes)?;
        Ok(Some(bytes))
    }
}

/// How many members there are, and where the directory lies: it ends where the first of the final records begins.
fn find_directory(file: &OpenFile) -> Result<(u64, Range<u64>)> {
    let tail_len = file.bytes().min(END_LEN as u64 + LONGEST_COMMENT);
    let mut tail = vec![0; tail_len as usize];
    file.read_at(file.bytes() - tail_len, &mut tail)?;
    let ends =
        |at: &usize| tail[*at..].starts_with(END) && number(&tail, at + 20, 2) as usize == tail.len() - at - END_LEN;
    let at = (0..(tail.len() + 1).saturating_sub(END_LEN)).rev().find(ends);
    let at = at.ok_or_else(|| bad("it does not end as one; truncated"))?;
    let mut end = file.bytes() - tail_len + at as u64;
    let short = [number(&tail, at + 10, 2), number(&tail, at + 12, 4), number(&tail, at + 16, 4)];
    if [number(&tail, at + 4, 2), number(&tail, at + 6, 2), number(&tail, at + 8, 2)] != [0, 0, short[0]] {
        return Err(bad("it is one of several files"));
    }
    let mut numbers = short;
    let mut locator = [0; LOCATOR_LEN as usize];
    if end >= LOCATOR_LEN {
        file.read_at(end - LOCATOR_LEN, &mut locator)?;
    }
    if locator.starts_with(LOCATOR) {
        let place = number(&locator, 8, 8);
        if end.checked_sub(LOCATOR_LEN + END_64_LEN) != Some(place) {
            return Err(bad(&format!("its 64-bit end is not at byte {place}")));
        }
        let mut record = [0; END_64_LEN as usize];
        file.read_at(place, &mut record)?;
        numbers = [number(&record, 32, 8), number(&record, 40, 8), number(&record, 48, 8)];
        let agrees = (0..3).all(|i| short[i] == numbers[i] || short[i] == [0xffff, 0xffff_ffff, 0xffff_ffff][i]);
        if !record.starts_with(END_64) || !agrees {
            return Err(bad(&format!("its two ends disagree (byte {place})")));
        }
        end = place;
    }
    let [count, size, start] = numbers;
    if start.checked_add(size) != Some(end) {
        return Err(bad(&format!("its directory of {size} bytes at byte {start} does not end at byte {end}")));
    }
    Ok((count, start..end))
}

/// The record that `bytes` begin with: name, member, length; or what is wrong.
fn record(bytes: &[u8]) -> std::result::Result<(&str, Member, usize), String> {
    if bytes.len() < RECORD_LEN || !bytes.starts_with(RECORD) {
        return Err("no record of the directory".into());
    }
    let [name_len, extra_len, comment_len] = [28, 30, 32].map(|at| number(bytes, at, 2) as usize);
    let used = RECORD_LEN + name_len + extra_len + comment_len;
    let text = bytes.get(RECORD_LEN..RECORD_LEN + name_len).filter(|_| used <= bytes.len());
    let name = text.and_then(|t| std::str::from_utf8(t).ok()).ok_or("a record without a readable name")?;
    // Length unpacked, length packed, place: where 32 bits are full, the next 64 of the extra field hold it.
    let mut numbers = [24, 20, 42].map(|at| number(bytes, at, 4));
    let mut extra = &bytes[RECORD_LEN + name_len..RECORD_LEN + name_len + extra_len];
    while extra.len() >= 4 {
        let (id, length) = (number(extra, 0, 2), number(extra, 2, 2) as usize);
        let mut field = extra.get(4..4 + length).ok_or_else(|| format!("member `{name}`: an extra field is cut"))?;
        if id == EXTRA_64 {
            for n in numbers.iter_mut().filter(|n| **n == 0xffff_ffff && field.len() >= 8) {
                *n = number(field, 0, 8);
                field = &field[8..];
            }
        }
        extra = &extra[4 + length..];
    }
    let [size, packed, local] = numbers;
    let (flags, method, crc) = (number(bytes, 8, 2), number(bytes, 10, 2), number(bytes, 16, 4) as u32);
    Ok((name, Member { local, size, packed, crc, flags, method }, used))
}
