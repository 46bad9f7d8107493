//! State dicts in PyTorch's archives, read without Python and without carrying out anything that they say.
//!
//! ```text
//! ROOT/data.pkl      a pickle; a tensor in it is _rebuild_tensor_v2(storage, offset, size, stride, …), counted in elements,
//!                    a storage ("storage", torch.FloatStorage, KEY, device, number of elements)
//! ROOT/data/KEY      the elements of a storage
//! ROOT/byteorder     little, or not there (before 2.1)
//! ```
//!
//! The state dict is looked for under the keys [`PLACES`], then as the whole. Everything beside it (hyperparameters,
//! optimizers, callbacks) is passed over; an entry of it that is no tensor is refused. Tensors may share a storage and lie in it by
//! strides of at least 0; they are written out row-major, whole.
//!
//! Left out: what was saved before version 1.6, whole modules, TorchScript, sparse and quantized tensors, big-endian
//! files.
//!
//! Source: PyTorch 2, `torch/serialization.py`, `torch/_utils.py`.

use super::pickle::{Id, Node, Pickle};
use super::zip::Archive;
use super::{Dtype, NamedTensor, StateDict};
use crate::error::{Error, Result};
use crate::exchange::file::OpenFile;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Where a checkpoint holds its state dict, if not as the whole.
pub const PLACES: [&str; 3] = ["state_dict", "model", "model_state_dict"];
/// Longest pickle that is read.
const MAX_PICKLE: u64 = 8 << 20;
/// What tensors may take beyond the length of the file: some share storages, and each has a name and a shape.
const SLACK: u64 = 16 << 20;
/// What a tensor takes beside its elements, bytes, with as many axes as PyTorch computes with.
const TENSOR: u64 = 768;
const MAX_AXES: usize = 64;
/// Bytes of a storage that are read at a time where elements are picked out of it.
const WINDOW: usize = 8 << 20;
const CLONES: &str = "tensors share storages; save copies: {k: v.clone() for k, v in state_dict.items()}";
/// How often all bytes that there can be may be looked at: overlapping members and sparse tensors ask for more.
const MOST_LOOKS: u64 = 32;
const ALONE: &str = "save the weights alone: torch.save(model.state_dict(), NEW)";

pub(super) fn read(file: &OpenFile) -> Result<StateDict> {
    let archive = Archive::open(file)?;
    let roots: Vec<&str> = archive.names().filter_map(|n| n.strip_suffix("/data.pkl")).collect();
    let &[root] = roots.as_slice() else {
        return Err(Error::data(format!("is a zip archive with {} data.pkl, where PyTorch writes one", roots.len()))
            .help(ALONE));
    };
    if archive.names().any(|n| n.strip_prefix(root) == Some("/constants.pkl")) {
        return Err(Error::data("is a TorchScript archive, a program rather than weights")
            .help("in Python: torch.save(torch.jit.load(OLD).state_dict(), NEW)"));
    }
    // Longer than any word that may stand in it.
    const MAX_WORD: u64 = 16;
    match archive.read(&format!("{root}/byteorder"), MAX_WORD)?.as_deref() {
        None | Some(b"little") => {}
        Some(other) => {
            let word = String::from_utf8_lossy(other).into_owned();
            return Err(Error::data(format!("its byte order is `{word}`; only little is read"))
                .help("save it again on a little-endian machine"));
        }
    }
    let bytes = archive.read(&format!("{root}/data.pkl"), MAX_PICKLE)?.unwrap_or_default();
    let pickle = Pickle::parse(&bytes)?;
    let mut reader =
        Reader { file, archive: &archive, root, pickle: &pickle, storages: BTreeMap::new(), taken: 0, work: 0 };
    let mut dict = StateDict::default();
    let mut names = BTreeSet::new();
    for &(key, value) in pickle.dict(state_dict(&pickle)?) {
        let Some(name) = pickle.text(key) else {
            return Err(Error::data(format!("its state dict has {} for a name", pickle.describe(key))).help(ALONE));
        };
        let place = |e: Error| Error::data(format!("tensor `{name}`: {}", e.what())).help(e.advice().unwrap_or(ALONE));
        if !names.insert(name) {
            return Err(place(Error::data("stands twice")));
        }
        dict.tensors.push(reader.tensor(name, value).map_err(place)?);
    }
    Ok(dict)
}

/// The dict of tensors in a checkpoint.
fn state_dict(pickle: &Pickle) -> Result<Id> {
    let root = pickle.dict(pickle.root());
    let holds_tensors = |id: &Id| pickle.dict(*id).iter().any(|&(_, value)| rebuilt(pickle, value).is_some());
    let at = |place: &&str| root.iter().find(|pair| pickle.text(pair.0) == Some(*place)).map(|pair| pair.1);
    let found: Vec<(&str, Id)> =
        PLACES.iter().filter_map(|place| Some((*place, at(place).filter(holds_tensors)?))).collect();
    match found.as_slice() {
        [(_, id)] => return Ok(*id),
        [] => {}
        [(a, _), (b, _), ..] => {
            return Err(Error::data(format!("has two state dicts, `{a}` and `{b}`"))
                .help("save the one that is meant: torch.save(torch.load(OLD)['KEY'], NEW)"));
        }
    }
    if holds_tensors(&pickle.root()) {
        return Ok(pickle.root());
    }
    const SHOWN: usize = 8;
    let keys: Vec<&str> = root.iter().filter_map(|&(key, _)| pickle.text(key)).take(SHOWN).collect();
    Err(Error::data(match pickle.node(pickle.root()) {
        Node::Dict(_) => format!("holds no state dict as the whole or under {}; its keys: {keys:?}", PLACES.join(", ")),
        _ => format!("is {}, not a state dict", pickle.describe(pickle.root())),
    })
    .help(ALONE))
}

/// The arguments from which a tensor would be made, if the value is one; a parameter is its tensor.
fn rebuilt<'p>(pickle: &'p Pickle, mut id: Id) -> Option<&'p [Id]> {
    /// A parameter of a subclass of tensors.
    const WRAPPERS: usize = 3;
    for _ in 0..WRAPPERS {
        let Node::Call(mut function, mut arguments) = *pickle.node(id) else { return None };
        if pickle.global(function) == ("torch._tensor", "_rebuild_from_type_v2") {
            [function, _, arguments, _] = pickle.tuple(arguments).try_into().ok()?;
        }
        let arguments = pickle.tuple(arguments);
        match pickle.global(function) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => return Some(arguments),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => id = *arguments.first()?,
            _ => return None,
        }
    }
    None
}

struct Reader<'a> {
    file: &'a OpenFile,
    archive: &'a Archive<'a>,
    root: &'a str,
    pickle: &'a Pickle<'a>,
    /// Where the storages lie that were compared with their CRC.
    storages: BTreeMap<&'a str, Range<u64>>,
    /// Bytes of the tensors so far.
    taken: u64,
    /// Bytes that were looked at for them, each as often as it was.
    work: u64,
}

impl Reader<'_> {
    fn tensor(&mut self, name: &str, id: Id) -> Result<NamedTensor> {
        let p = self.pickle;
        let what = || Error::data(format!("is {}, which is not read", p.describe(id)));
        let &[storage, offset, size, stride, ..] = rebuilt(p, id).ok_or_else(what)? else { return Err(what()) };
        let lengths = [size, stride].map(|id| p.tuple(id).len());
        if lengths[0] != lengths[1] || lengths[0] > MAX_AXES {
            return Err(Error::data(format!("has {} extents and {} strides", lengths[0], lengths[1])));
        }
        let naturals = |id: Id| p.tuple(id).iter().map(|&n| p.natural(n)).collect::<Option<Vec<u64>>>();
        let (Node::Tuple(_), Node::Tuple(_)) = (p.node(size), p.node(stride)) else { return Err(what()) };
        let (Some(offset), Some(size), Some(stride)) = (p.natural(offset), naturals(size), naturals(stride)) else {
            return Err(Error::data("its offset, size or stride is no whole number of at least 0"));
        };
        let (dtype, elements, place) = self.storage(storage)?;
        let shape = size.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>();
        let bytes = shape.as_ref().and_then(|shape| dtype.bytes(shape));
        let (Some(shape), Some(bytes)) = (shape, bytes) else {
            return Err(Error::data(format!("its size {size:?} is too large to address")));
        };
        self.taken = self.taken.saturating_add(bytes as u64).saturating_add(TENSOR);
        let most = self.file.bytes() + SLACK;
        if self.taken > most {
            return Err(Error::data(format!("the tensors up to it take more than {most} bytes")).help(CLONES));
        }
        let mut data = vec![0; bytes];
        if bytes > 0 {
            // The element farthest from the first one.
            let far =
                (size.iter().zip(&stride)).try_fold(0u64, |sum, (n, s)| sum.checked_add((n - 1).checked_mul(*s)?));
            let end = far.and_then(|far| far.checked_add(offset)).filter(|&last| last < elements);
            if end.is_none() {
                let what = format!("size {size:?} and stride {stride:?} at element {offset}");
                return Err(Error::data(format!("{what} leave its storage of {elements} elements")));
            }
            let start = place.start + offset * dtype.size() as u64;
            let span = far.unwrap_or(0) as usize + 1;
            if row_major(&size, &stride) {
                self.file.read_at(start, &mut data)?;
            } else {
                // Every element is looked for in every window.
                let windows = span.div_ceil(WINDOW / dtype.size());
                self.work((span * dtype.size()) as u64, (bytes * windows) as u64)?;
                gather(self.file, start, span, &size, &stride, dtype.size(), &mut data)?;
            }
        }
        Ok(NamedTensor { name: name.to_owned(), dtype, shape, data })
    }

    fn work(&mut self, bytes: u64, more: u64) -> Result<()> {
        self.work = self.work.saturating_add(bytes).saturating_add(more);
        if self.work / MOST_LOOKS <= self.file.bytes() + SLACK {
            return Ok(());
        }
        Err(Error::data("its elements and those before it lie too far apart in their storages").help(CLONES))
    }

    /// Type, number of elements and place of a storage.
    fn storage(&mut self, id: Id) -> Result<(Dtype, u64, Range<u64>)> {
        let p = self.pickle;
        let bad = || Error::data(format!("its storage is {}, which is not read", p.describe(id)));
        let Node::Persistent(id) = *p.node(id) else { return Err(bad()) };
        let &[kind, class, key, _, elements] = p.tuple(id) else { return Err(bad()) };
        let (Some("storage"), Some(key), Some(elements)) = (p.text(kind), p.text(key), p.natural(elements)) else {
            return Err(bad());
        };
        let dtype = match p.global(class) {
            ("torch", "FloatStorage") => Dtype::F32,
            ("torch", "DoubleStorage") => Dtype::F64,
            ("torch", "HalfStorage") => Dtype::F16,
            ("torch", "BFloat16Storage") => Dtype::BF16,
            ("torch", "LongStorage") => Dtype::I64,
            ("torch", "IntStorage") => Dtype::I32,
            ("torch", "ShortStorage") => Dtype::I16,
            ("torch", "CharStorage") => Dtype::I8,
            ("torch", "ByteStorage") => Dtype::U8,
            ("torch", "BoolStorage") => Dtype::Bool,
            (module, name) => return Err(Error::data(format!("its type {module}.{name} is not read"))),
        };
        if !self.storages.contains_key(key) {
            let place = self.archive.find(&format!("{}/data/{key}", self.root))?;
            let place = place.ok_or_else(|| Error::data(format!("the archive has no storage `{key}`")))?;
            self.work(place.end - place.start, 0)?;
            self.storages.insert(key, place);
        }
        let place = self.storages[key].clone();
        let bytes = place.end - place.start;
        if elements.checked_mul(dtype.size() as u64) != Some(bytes) {
            let what = format!("storage `{key}` of {elements} {} has {bytes} bytes", dtype.name());
            return Err(Error::data(what).help("copy the file again"));
        }
        Ok((dtype, elements, place))
    }
}

/// Whether elements lie as they are written out. Axes of one element have any stride.
fn row_major(size: &[u64], stride: &[u64]) -> bool {
    let mut expected = 1;
    size.iter().zip(stride).rev().filter(|(n, _)| **n > 1).all(|(n, s)| {
        let fits = *s == expected;
        expected *= n;
        fits
    })
}

/// Reads the elements of a tensor, `item` bytes each, from a storage in which element (i, j, …) lies `i s₀ + j s₁ + …`
/// elements after byte `start`, the farthest `span` − 1; no extent is 0.
fn gather(
    file: &OpenFile,
    start: u64,
    span: usize,
    size: &[u64],
    stride: &[u64],
    item: usize,
    out: &mut [u8],
) -> Result<()> {
    let axes: Vec<(usize, usize)> = size.iter().zip(stride).map(|(n, s)| (*n as usize, *s as usize)).collect();
    let (&(row, step), outer) = axes.split_last().unwrap_or((&(1, 0), &[]));
    let per_window = WINDOW / item;
    let mut window = vec![0; span.min(per_window) * item];
    for first in (0..span).step_by(per_window) {
        let here = first..(first + per_window).min(span);
        let window = &mut window[..here.len() * item];
        file.read_at(start + (first * item) as u64, window)?;
        let mut index = vec![0; outer.len()];
        for row_out in out.chunks_exact_mut(row * item) {
            let origin: usize = index.iter().zip(outer).map(|(i, (_, s))| i * s).sum();
            if origin < here.end && origin + (row - 1) * step >= here.start {
                for (k, element) in row_out.chunks_exact_mut(item).enumerate() {
                    let at = origin + k * step;
                    if here.contains(&at) {
                        element.copy_from_slice(&window[(at - first) * item..][..item]);
                    }
                }
            }
            // The next row: the last axis that is not at its end moves on, those after it begin again.
            for (i, (n, _)) in index.iter_mut().zip(outer).rev() {
                *i += 1;
                if *i < *n {
                    break;
                }
                *i = 0;
            }
        }
    }
    Ok(())
}
