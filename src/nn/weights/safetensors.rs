//! The format safetensors, read strictly.
//!
//! ```text
//! N                      u64, little-endian: length of the header, at most 100 000 000
//! {"__metadata__": {"key": "text", …},
//!  "name": {"dtype": "F32", "shape": [4, 1, 3, 3], "data_offsets": [0, 144]}, …}      UTF-8, then spaces
//! the tensors            little-endian, last axis fastest; offsets count from here
//! ```
//!
//! Offsets, sorted, begin at 0, leave no hole, do not overlap and end with the file; each is a multiple of its type's
//! size. The header is read up to [`MAX_HEADER`] bytes without its padding, which bounds what a hostile one can cost.
//! Left out: the types of 4, 6 and 8 bits, unsigned integers beyond U8, complex numbers.
//!
//! Source: the reference implementation `safetensors` 0.8 (`tensor.rs`); it does not ask for alignment, but its writer
//! sorts tensors so that they have it.

use super::{Dtype, NamedTensor, StateDict};
use crate::error::{Error, Result};
use crate::exchange::file::OpenFile;
use crate::exchange::part::PartFile;
use crate::json::Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Bytes of N.
pub(super) const PREFIX: usize = 8;
/// What the header begins at and ends at are multiples of this.
const ALIGNMENT: usize = 8;
/// Longest header of the format.
const MAX_N: u64 = 100_000_000;
/// Longest header that is read, padding not counted: some 8000 tensors. As JSON it takes 32 times as much at the worst.
const MAX_HEADER: usize = 1 << 20;
/// Levels of the header: the whole, a tensor, its shape.
const LEVELS: usize = 3;
/// The one key that is no tensor.
const METADATA: &str = "__metadata__";

/// Where a tensor lies.
struct Entry {
    begin: u64,
    end: u64,
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
}

pub(super) fn read(file: &OpenFile) -> Result<StateDict> {
    let (header, start) = header(file)?;
    let Json::Obj(members) = header else { return Err(bad("its header is not an object")) };
    let mut dict = StateDict::default();
    let mut entries = Vec::new();
    for (name, value) in members {
        if name == METADATA {
            dict.metadata = metadata(value)?;
        } else {
            let place = |e: Error| bad(&format!("tensor `{name}`: {}", e.what()));
            entries.push(entry(&name, &value).map_err(place)?);
        }
    }
    entries.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    let mut at = 0;
    for Entry { begin, end, name, .. } in &entries {
        if *begin != at {
            let what = if *begin < at { "overlaps the one before it, which ends" } else { "leaves a hole after" };
            return Err(bad(&format!("tensor `{name}` begins at byte {begin} of the data and {what} at byte {at}")));
        }
        at = *end;
    }
    let present = file.bytes() - start;
    if at != present {
        let what = if at < present { "too many follow" } else { "truncated" };
        return Err(bad(&format!("its tensors take {at} bytes, the file has {present} after its header: {what}")));
    }
    for Entry { begin, end, name, dtype, shape } in entries {
        let mut data = vec![0; (end - begin) as usize];
        file.read_at(start + begin, &mut data)?;
        dict.tensors.push(NamedTensor { name, dtype, shape, data });
    }
    Ok(dict)
}

/// The header, and where the data begins.
fn header(file: &OpenFile) -> Result<(Json, u64)> {
    let mut prefix = [0; PREFIX];
    file.read_at(0, &mut prefix)?;
    let n = u64::from_le_bytes(prefix);
    let room = file.bytes() - PREFIX as u64;
    if n > MAX_N {
        return Err(bad(&format!("its header claims {n} bytes; the format allows {MAX_N}")));
    }
    if n > room {
        return Err(bad(&format!("its header claims {n} bytes, the file has {room} after the first 8: truncated")));
    }
    let mut text = vec![0; (n as usize).min(MAX_HEADER)];
    file.read_at(PREFIX as u64, &mut text)?;
    let start = PREFIX as u64 + n;
    let mut piece = [0; 4096];
    let mut at = PREFIX as u64 + text.len() as u64;
    while at < start {
        let piece = &mut piece[..(start - at).min(4096) as usize];
        file.read_at(at, piece)?;
        if piece.iter().any(|&b| b != b' ') {
            return Err(bad(&format!("its header of {n} bytes is longer than the {MAX_HEADER} that are read")));
        }
        at += piece.len() as u64;
    }
    let text = std::str::from_utf8(&text)
        .map_err(|e| bad(&format!("its header is not UTF-8 at byte {}", PREFIX + e.valid_up_to())))?;
    let header = Json::parse_shallow(text.trim_end_matches(' '), LEVELS)
        .map_err(|e| bad(&format!("its header is {}", e.what())))?;
    Ok((header, start))
}

fn metadata(value: Json) -> Result<BTreeMap<String, String>> {
    let Json::Obj(members) = value else { return Err(bad("its __metadata__ is not an object")) };
    let text = |(key, value)| match value {
        Json::Str(text) => Ok((key, text)),
        _ => Err(bad(&format!("its metadata `{key}` is not a text"))),
    };
    members.into_iter().map(text).collect()
}

fn entry(name: &str, value: &Json) -> Result<Entry> {
    let members = value.as_obj().ok_or_else(|| Error::data("is not an object"))?;
    if let Some(key) = members.keys().find(|k| !["dtype", "shape", "data_offsets"].contains(&k.as_str())) {
        return Err(Error::data(format!("has an unknown entry `{key}`")));
    }
    let word = value.need_str("dtype")?;
    let dtype = Dtype::ALL.into_iter().find(|d| d.name() == word).ok_or_else(|| {
        Error::data(format!("its type `{word}` is not read; read are {}", Dtype::ALL.map(Dtype::name).join(" ")))
    })?;
    let list = |key: &str| -> Result<Vec<u64>> {
        let numbers = value.need_arr(key)?.iter().map(Json::as_u64);
        numbers
            .collect::<Option<_>>()
            .ok_or_else(|| Error::data(format!("its `{key}` holds no whole number of at least 0")))
    };
    let shape = list("shape")?.into_iter().map(|n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
    let bytes = shape.as_ref().and_then(|shape| dtype.bytes(shape));
    let (Some(shape), Some(bytes)) = (shape, bytes) else {
        return Err(Error::data("its shape is too large to address"));
    };
    let [begin, end] = list("data_offsets")?[..] else {
        return Err(Error::data("its `data_offsets` are not two numbers"));
    };
    if end.checked_sub(begin) != Some(bytes as u64) {
        let what = format!("{} of shape {shape:?} takes {bytes} bytes", dtype.name());
        return Err(Error::data(format!("its offsets {begin} to {end} do not fit: {what}")));
    }
    if begin % dtype.size() as u64 != 0 {
        return Err(Error::data(format!("begins at byte {begin} of the data, misaligned for {}", dtype.name())));
    }
    Ok(Entry { begin, end, name: name.to_owned(), dtype, shape })
}

fn bad(what: &str) -> Error {
    Error::data(format!("is not valid safetensors: {what}"))
        .help("copy the file again, or save it again with safetensors")
}

pub(super) fn write(path: &Path, dict: &StateDict, overwrite: bool) -> Result<()> {
    let mut tensors: Vec<&NamedTensor> = dict.tensors.iter().collect();
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    let header = header_of(&tensors, &dict.metadata)?;
    let data: u64 = tensors.iter().map(|t| t.data.len() as u64).sum();
    let mut part = PartFile::create(path, overwrite, (PREFIX + header.len()) as u64 + data)?;
    part.write(&(header.len() as u64).to_le_bytes())?;
    part.write(header.as_bytes())?;
    tensors.iter().try_for_each(|t| part.write(&t.data))?;
    part.finish()
}

/// The header of tensors that lie one after the other, padded.
fn header_of(tensors: &[&NamedTensor], metadata: &BTreeMap<String, String>) -> Result<String> {
    let quoted = |text: &str| Json::from(text).to_line();
    let mut members = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        let texts = metadata.iter().map(|(k, v)| (k.as_str(), Json::from(v.as_str())));
        members.push(format!("{}:{}", quoted(METADATA), Json::obj(texts).to_line()));
    }
    let (mut names, mut at) = (BTreeSet::new(), 0);
    for tensor in tensors {
        tensor.check()?;
        let NamedTensor { name, dtype, shape, data } = tensor;
        if name == METADATA || !names.insert(name) {
            return Err(Error::data(format!("two tensors would have the name `{name}`")));
        }
        let (dtype, shape, end) = (quoted(dtype.name()), Json::from(shape.as_slice()).to_line(), at + data.len());
        members.push(format!("{}:{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":[{at},{end}]}}", quoted(name)));
        at = end;
    }
    let mut text = format!("{{{}}}", members.join(","));
    if text.len() > MAX_HEADER {
        return Err(Error::data(format!("a header of {} bytes would not be read back", text.len())));
    }
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(ALIGNMENT) - text.len()));
    Ok(text)
}
