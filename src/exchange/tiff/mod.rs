//! TIFF and BigTIFF: one grey image per page, pages and files stacked along the projection or slice axis.
//!
//! ```text
//! "II" 42 or "MM" 42    u32 offset of the first directory            classic
//! "II" 43 or "MM" 43    u16 8, u16 0, u64 offset                     BigTIFF
//! directory             count, entries (tag, type, count, value or its offset), offset of the next one
//! ```
//!
//! Read are grey images (one sample per pixel) of 8, 16, 32 or 64 bits, unsigned, signed or floating, in strips or tiles,
//! uncompressed, LZW, deflate or PackBits, with predictors 1 to 3, either byte order. Numbers are taken as they are stored,
//! whatever the photometric interpretation of black and white. Indices of a palette of 8 bits are read where labels are
//! asked for ([`TiffStack::open_labels`]), and are no grey values. Everything else is refused by name: several samples or
//! planes, JPEG, bits that fill no byte. ImageJ's stacks of one directory with the images behind one another
//! are read as what they are.
//!
//! The reader is written here, not taken from a crate: it reads the rows that are asked for by position, in the lean build
//! too, and nothing in it allocates by a file's word: tables are checked against the file's length, pieces against what
//! their stored bytes can possibly unpack to.
//!
//! Sources: TIFF 6.0 (Aldus 1992), its Technical Notes 1 and 3 (predictor 3), the BigTIFF design of libtiff.

mod pack;
mod stack;
#[cfg(test)]
mod tests;
pub mod write;

pub use stack::{TiffStack, is_stack};

use super::file::OpenFile;
use super::number::{Kind, Number};
use crate::error::{Error, Result};
use pack::Packing;

/// Most entries of a directory; real ones have about twenty.
const MOST_ENTRIES: u64 = 1024;
/// Most pages of a file.
const MOST_PAGES: usize = 1 << 20;
/// Largest image side.
const MOST_PIXELS: u64 = 1 << 20;
/// Longest description that is looked at.
const MOST_TEXT: u64 = 1 << 16;

/// One image.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Page {
    pub width: usize,
    pub height: usize,
    pub number: Number,
    pub packing: Packing,
    /// Columns and rows of a piece: a strip as wide as the image, or a tile.
    pub piece: [usize; 2],
    /// Tiles are whole even where they stick out of the image; the last strip is not.
    pub tiled: bool,
    pub data: Data,
    /// Images behind this one that have no directory of their own.
    pub behind: usize,
    /// Its numbers are indices of a palette.
    pub palette: bool,
}

/// Where the pieces of an image lie.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// Uncompressed rows, one after the other from here on.
    Rows(u64),
    /// Offset and length of each piece, row by row of them.
    Pieces(Vec<(u64, u64)>),
}

/// The words of a file.
struct Words<'a> {
    file: &'a OpenFile,
    big_endian: bool,
    big: bool,
}

/// An entry of a directory.
#[derive(Clone, Copy)]
struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    /// Where its value lies.
    place: u64,
}

impl Words<'_> {
    fn uint(&self, place: u64, bytes: usize) -> Result<u64> {
        let mut word = [0u8; 8];
        if place.checked_add(bytes as u64).is_none_or(|end| end > self.file.bytes()) {
            return Err(truncated(format!("a table at byte {place}"), self.file.bytes()));
        }
        self.file.read_at(place, &mut word[..bytes])?;
        Ok(match self.big_endian {
            true => word[..bytes].iter().fold(0, |v, &b| v << 8 | u64::from(b)),
            false => word[..bytes].iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)),
        })
    }

    /// Offset, count and entries: the sizes of a directory's parts.
    fn sizes(&self) -> [usize; 3] {
        if self.big { [8, 8, 20] } else { [4, 2, 12] }
    }

    /// The entries of the directory at `place`, and where the next one is.
    fn directory(&self, place: u64) -> Result<(Vec<Entry>, u64)> {
        let [offset, count_size, size] = self.sizes();
        let count = self.uint(place, count_size)?;
        if count == 0 || count > MOST_ENTRIES {
            return Err(Error::data(format!("a directory of {count} entries at byte {place}")));
        }
        let mut entries = Vec::with_capacity(count as usize);
        for i in 0..count {
            let at = place + count_size as u64 + i * size as u64;
            let mut entry = Entry {
                tag: self.uint(at, 2)? as u16,
                kind: self.uint(at + 2, 2)? as u16,
                count: self.uint(at + 4, offset)?,
                place: at + 4 + offset as u64,
            };
            if entry.bytes().is_none_or(|b| b > offset as u64) {
                entry.place = self.uint(entry.place, offset)?;
            }
            entries.push(entry);
        }
        Ok((entries, self.uint(place + count_size as u64 + count * size as u64, offset)?))
    }

    /// All values of an entry of whole numbers; the file holds them.
    fn values(&self, entry: &Entry) -> Result<Vec<u64>> {
        let Some(size) = entry.size().filter(|_| [1, 3, 4, 13, 16, 18].contains(&entry.kind)) else {
            return Err(Error::data(format!("tag {} is no whole number", entry.tag)));
        };
        let bytes = entry.count.checked_mul(size as u64);
        let end = bytes.and_then(|b| b.checked_add(entry.place));
        if entry.count == 0 || end.is_none_or(|end| end > self.file.bytes()) {
            return Err(truncated(format!("tag {} with {} values", entry.tag, entry.count), self.file.bytes()));
        }
        let mut stored = vec![0u8; bytes.unwrap_or(0) as usize];
        self.file.read_at(entry.place, &mut stored)?;
        Ok(stored
            .chunks_exact(size)
            .map(|word| match self.big_endian {
                true => word.iter().fold(0, |v, &b| v << 8 | u64::from(b)),
                false => word.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)),
            })
            .collect())
    }

    fn text(&self, entry: &Entry) -> Result<String> {
        let length = entry.count.min(MOST_TEXT);
        if entry.kind != 2 || entry.place.checked_add(length).is_none_or(|end| end > self.file.bytes()) {
            return Ok(String::new());
        }
        let mut bytes = vec![0u8; length as usize];
        self.file.read_at(entry.place, &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Entry {
    /// Bytes of one value.
    fn size(&self) -> Option<usize> {
        match self.kind {
            1 | 2 | 6 | 7 => Some(1),
            3 | 8 => Some(2),
            4 | 9 | 11 | 13 => Some(4),
            5 | 10 | 12 | 16 | 17 | 18 => Some(8),
            _ => None,
        }
    }
    fn bytes(&self) -> Option<u64> {
        self.count.checked_mul(self.size()? as u64)
    }
}

fn truncated(what: String, bytes: u64) -> Error {
    Error::data(format!("truncated or damaged: {what} does not lie in the file of {bytes} bytes"))
        .help("copy or save the file again")
}

/// The pages of a file.
///
/// # Errors
/// Data: what is damaged or not read, with what it is.
pub(super) fn pages(file: &OpenFile) -> Result<Vec<Page>> {
    parse(file).map_err(|e| e.at(file.path()))
}

fn parse(file: &OpenFile) -> Result<Vec<Page>> {
    let head = file.head(4)?;
    let (big_endian, big) = match head.as_slice() {
        b"II*\0" => (false, false),
        b"MM\0*" => (true, false),
        b"II+\0" => (false, true),
        b"MM\0+" => (true, true),
        _ => return Err(Error::data("is no TIFF image").help("a TIFF file begins with II or MM")),
    };
    let words = Words { file, big_endian, big };
    if big && words.uint(4, 4)? != if big_endian { 8 << 16 } else { 8 } {
        return Err(Error::data("is a BigTIFF whose offsets are not of 8 bytes"));
    }
    let mut next = words.uint(if big { 8 } else { 4 }, words.sizes()[0])?;
    let mut pages: Vec<Page> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    while next != 0 {
        if !seen.insert(next) || pages.len() == MOST_PAGES {
            return Err(Error::data(format!("its directories go in a circle, or are more than {MOST_PAGES}")));
        }
        let (entries, after) = words.directory(next)?;
        let page = page(&words, &entries).map_err(|e| in_page(e, pages.len()))?;
        pages.push(page);
        next = after;
    }
    // Images behind the first directory have directories of their own then.
    if pages.len() > 1 {
        pages.iter_mut().for_each(|p| p.behind = 0);
    }
    match pages.is_empty() {
        true => Err(Error::data("holds no image")),
        false => Ok(pages),
    }
}

fn in_page(error: Error, page: usize) -> Error {
    let what = Error::new(error.fault(), format!("image {page}: {}", error.what()));
    match error.advice() {
        Some(advice) => what.help(advice),
        None => what,
    }
}

/// What to do with an image that is not read.
const SAVE: &str = "save it as a grey image of 8, 16 or 32 bits, uncompressed, LZW or deflate";

/// Refuses colours.
fn not_grey() -> Error {
    Error::data("not grey: a palette or a colour space").help(SAVE)
}

fn page(words: &Words, entries: &[Entry]) -> Result<Page> {
    let find = |tag: u16| entries.iter().find(|e| e.tag == tag);
    let list = |tag: u16| find(tag).map(|e| words.values(e)).transpose();
    let number = |tag: u16, default: Option<u64>| -> Result<u64> {
        match (list(tag)?, default) {
            (Some(values), _) if values.windows(2).all(|w| w[0] == w[1]) => Ok(values[0]),
            (None, Some(default)) => Ok(default),
            _ => Err(Error::data(format!("tag {tag} is missing or has several values"))),
        }
    };
    let [width, height] = [number(256, None)?, number(257, None)?];
    if !(1..=MOST_PIXELS).contains(&width) || !(1..=MOST_PIXELS).contains(&height) {
        return Err(Error::data(format!("{width} x {height} pixels")));
    }
    let samples = number(277, Some(1))?;
    if samples != 1 {
        return Err(Error::data(format!("{samples} samples per pixel, a colour image or several channels")).help(SAVE));
    }
    let palette = match number(262, Some(1))? {
        0 | 1 => false,
        3 if (number(258, Some(1))?, number(339, Some(1))?) == (8, 1) => true,
        _ => return Err(not_grey()),
    };
    if number(266, Some(1))? != 1 {
        return Err(Error::data("bits in reverse order in their bytes").help(SAVE));
    }
    let kind = match (number(258, Some(1))?, number(339, Some(1))?) {
        (8, 1) => Kind::U8,
        (8, 2) => Kind::I8,
        (16, 1) => Kind::U16,
        (16, 2) => Kind::I16,
        (16, 3) => Kind::F16,
        (32, 1) => Kind::U32,
        (32, 2) => Kind::I32,
        (32, 3) => Kind::F32,
        (64, 1) => Kind::U64,
        (64, 2) => Kind::I64,
        (64, 3) => Kind::F64,
        (bits, format) => {
            return Err(Error::data(format!("numbers of {bits} bits in format {format}")).help(SAVE));
        }
    };
    let number_type = Number { kind, big_endian: words.big_endian };
    let packing = Packing::of(number(259, Some(1))?, number(317, Some(1))?, number_type)?;
    let tiled = find(322).is_some();
    let piece = match tiled {
        true => [number(322, None)?, number(323, None)?],
        false => [width, number(278, Some(height))?.min(height)],
    };
    if piece.iter().any(|side| !(1..=MOST_PIXELS).contains(side)) {
        return Err(Error::data(format!("pieces of {} x {} pixels", piece[0], piece[1])));
    }
    let (offsets, lengths) = if tiled { (324, 325) } else { (273, 279) };
    let offsets = list(offsets)?.ok_or_else(|| Error::data("no table of strips or tiles"))?;
    let across = width.div_ceil(piece[0]);
    let count = across * height.div_ceil(piece[1]);
    let size = number_type.size() as u64;
    let row = width * size;
    // One strip may go without its length.
    let lengths = match list(lengths)? {
        Some(lengths) => lengths,
        None if count == 1 && packing.is_plain() => vec![row * height],
        None => return Err(Error::data("no lengths of strips or tiles")),
    };
    if offsets.len() as u64 != count || lengths.len() as u64 != count {
        return Err(Error::data(format!("{} strips or tiles where the image has {count}", offsets.len())));
    }
    let bytes = words.file.bytes();
    let mut pieces = Vec::with_capacity(offsets.len());
    for (i, (&offset, &length)) in offsets.iter().zip(&lengths).enumerate() {
        if offset.checked_add(length).is_none_or(|end| end > bytes) {
            return Err(truncated(format!("strip or tile {i}"), bytes));
        }
        let rows = if tiled { piece[1] } else { piece[1].min(height - i as u64 * piece[1]) };
        let unpacked = piece[0] * rows * size;
        if packing.is_plain() && length < unpacked {
            return Err(Error::data(format!("strip or tile {i} has {length} bytes, {unpacked} are needed")));
        }
        if !packing.can_hold(length, unpacked) {
            return Err(Error::data(format!("strip or tile {i}: {length} bytes cannot unpack to {unpacked}")));
        }
        pieces.push((offset, length));
    }
    let runs_on = |i: usize| pieces[i].0 == pieces[0].0 + i as u64 * piece[1] * row;
    let in_one = packing.is_plain() && !tiled && (0..pieces.len()).all(runs_on);
    let behind = match find(270).filter(|_| in_one).map(|e| words.text(e)).transpose()? {
        Some(text) if text.starts_with("ImageJ=") => {
            let images = text.lines().find_map(|l| l.strip_prefix("images=")?.trim().parse::<u64>().ok()).unwrap_or(1);
            let held = (bytes - pieces[0].0) / (row * height);
            if images > 1 && held < images { 0 } else { images.saturating_sub(1) as usize }
        }
        _ => 0,
    };
    Ok(Page {
        width: width as usize,
        height: height as usize,
        number: number_type,
        packing,
        piece: piece.map(|p| p as usize),
        tiled,
        data: if in_one { Data::Rows(pieces[0].0) } else { Data::Pieces(pieces) },
        behind,
        palette,
    })
}
