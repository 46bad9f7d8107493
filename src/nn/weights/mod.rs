//! L4. Files of weights: named tensors, as training left them.
//!
//! | format | in | out |
//! |---|---|---|
//! | safetensors ([`safetensors`]), the native one | [`read`] | [`write_safetensors`] |
//! | PyTorch `.pt`, `.pth`, `.ckpt` as zip ([`torch`]), nothing of it is executed | [`read`] | |
//! | ONNX ([`onnx`]): tensors and the graph that they belong to | | [`onnx::Graph`] |
//!
//! What a file is, its first bytes decide. Whatever it says, reading takes at most its length and 64 MiB of memory; what
//! a format leaves open (names, shapes) is left to the caller, who knows the network.

use crate::error::{Error, Result};
use crate::exchange::file::OpenFile;
use std::collections::BTreeMap;
use std::path::Path;

pub mod onnx;
mod pickle;
mod protobuf;
pub mod safetensors;
pub mod torch;
mod zip;

#[cfg(test)]
mod onnx_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod torch_tests;

/// Type of the elements of a tensor, in the order of the format safetensors: its writer puts later ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dtype {
    /// 0 or 1 in a byte.
    Bool,
    /// 8 bits, unsigned.
    U8,
    /// 8 bits, signed.
    I8,
    /// 16 bits, signed.
    I16,
    /// IEEE binary16.
    F16,
    /// The upper half of an f32.
    BF16,
    /// 32 bits, signed.
    I32,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// 64 bits, signed.
    I64,
}

impl Dtype {
    /// All of them, in order.
    pub const ALL: [Dtype; 10] = {
        use Dtype::*;
        [Bool, U8, I8, I16, F16, BF16, I32, F32, F64, I64]
    };

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Dtype::Bool | Dtype::U8 | Dtype::I8 => 1,
            Dtype::I16 | Dtype::F16 | Dtype::BF16 => 2,
            Dtype::I32 | Dtype::F32 => 4,
            Dtype::F64 | Dtype::I64 => 8,
        }
    }

    /// Its name in safetensors: `F32`, `BOOL` …
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Bool => "BOOL",
            Dtype::U8 => "U8",
            Dtype::I8 => "I8",
            Dtype::I16 => "I16",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::I32 => "I32",
            Dtype::F32 => "F32",
            Dtype::F64 => "F64",
            Dtype::I64 => "I64",
        }
    }

    /// Bytes of a tensor of this type and `shape`; `None` beyond the range of usize.
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        // A zero makes the tensor empty, but whatever the order, the other extents must not overflow either.
        let whole = shape.iter().try_fold(self.size(), |n, &extent| n.checked_mul(extent.max(1)))?;
        Some(if shape.contains(&0) { 0 } else { whole })
    }
}

/// A tensor and its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name, as in `model.0.conv.unit0.conv.weight`.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Extents, slowest first; none of a single number.
    pub shape: Vec<usize>,
    /// The elements, little-endian, last axis fastest.
    pub data: Vec<u8>,
}

impl NamedTensor {
    /// A tensor of f32.
    ///
    /// # Panics
    /// If `values` are not as many as `shape` has elements.
    pub fn from_f32(name: impl Into<String>, shape: &[usize], values: &[f32]) -> NamedTensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "elements of shape {shape:?}");
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        NamedTensor { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec(), data }
    }

    /// A tensor of i64.
    ///
    /// # Panics
    /// If `values` are not as many as `shape` has elements.
    pub fn from_i64(name: impl Into<String>, shape: &[usize], values: &[i64]) -> NamedTensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "elements of shape {shape:?}");
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        NamedTensor { name: name.into(), dtype: Dtype::I64, shape: shape.to_vec(), data }
    }

    /// Its elements as f32: exact from every type but F64, which is rounded to nearest, ties to even. NaN stays NaN.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) where that would change what an element means: an integer that f32
    /// does not hold, a finite F64 that would become infinite; or where the data is not as long as the shape says.
    pub fn f32s(&self) -> Result<Vec<f32>> {
        self.check()?;
        macro_rules! each {
            ($type:ty, $size:literal, $convert:expr) => {
                self.data.as_chunks::<$size>().0.iter().map(|b| $convert(<$type>::from_le_bytes(*b))).collect()
            };
        }
        let whole = |v: i64| Some(v as f32).filter(|&f| f as i128 == i128::from(v));
        let values: Option<Vec<f32>> = match self.dtype {
            Dtype::Bool | Dtype::U8 => each!(u8, 1, |v| Some(f32::from(v))),
            Dtype::I8 => each!(i8, 1, |v| Some(f32::from(v))),
            Dtype::I16 => each!(i16, 2, |v| Some(f32::from(v))),
            Dtype::F16 => each!(u16, 2, |v| Some(half::f16::from_bits(v).to_f32_const())),
            Dtype::BF16 => each!(u16, 2, |v| Some(f32::from_bits(u32::from(v) << 16))),
            Dtype::I32 => each!(i32, 4, |v| whole(i64::from(v))),
            Dtype::I64 => each!(i64, 8, whole),
            Dtype::F32 => each!(f32, 4, Some),
            Dtype::F64 => each!(f64, 8, |v: f64| Some(v as f32).filter(|f| f.is_finite() || !v.is_finite())),
        };
        values.ok_or_else(|| {
            Error::data(format!("`{}` holds {} that f32 cannot hold", self.name, self.dtype.name()))
                .help("save the weights as float32")
        })
    }

    /// Whether the data is as long as type and shape say.
    fn check(&self) -> Result<()> {
        let bytes = self.dtype.bytes(&self.shape);
        if bytes == Some(self.data.len()) {
            return Ok(());
        }
        let (name, shape, have) = (&self.name, &self.shape, self.data.len());
        Err(Error::data(format!("`{name}` of {} and shape {shape:?} has {have} bytes of data", self.dtype.name())))
    }
}

/// What a file of weights holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    /// The tensors, in the order of the file; no two of one name.
    pub tensors: Vec<NamedTensor>,
    /// What else the file says of itself; PyTorch's say nothing.
    pub metadata: BTreeMap<String, String>,
}

impl StateDict {
    /// The tensor `name`.
    pub fn get(&self, name: &str) -> Option<&NamedTensor> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// The tensors whose names begin with `prefix` (as `model.` or `module.`, which trainers put in front), without it,
    /// in order; and the names of those that are left out.
    #[must_use]
    pub fn without_prefix(self, prefix: &str) -> (StateDict, Vec<String>) {
        let (mut tensors, mut left_out) = (Vec::new(), Vec::new());
        for mut tensor in self.tensors {
            match tensor.name.strip_prefix(prefix).map(str::to_owned) {
                Some(name) => {
                    tensor.name = name;
                    tensors.push(tensor);
                }
                None => left_out.push(tensor.name),
            }
        }
        (StateDict { tensors, metadata: self.metadata }, left_out)
    }
}

/// Reads a file of weights, safetensors or PyTorch's zip.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data) where it is neither, damaged, or holds no tensors where a state dict is
/// looked for; [`Fault::Missing`](crate::error::Fault::Missing) where it is not there.
pub fn read(path: &Path) -> Result<StateDict> {
    let file = OpenFile::open(path)?;
    let parse = || -> Result<StateDict> {
        let head = file.head(safetensors::PREFIX + 1)?;
        if head.starts_with(zip::MAGIC) {
            return torch::read(&file);
        }
        if head.get(safetensors::PREFIX) == Some(&b'{') {
            return safetensors::read(&file);
        }
        const AGAIN: &str = "in Python: torch.save(torch.load(OLD, map_location='cpu')['state_dict'], NEW)";
        Err(match head.as_slice() {
            [0x80, ..] => {
                Error::data("is a pickle without archive, as torch.save wrote before version 1.6; it is not read")
                    .help("save it again with a later PyTorch: torch.save(torch.load(OLD, map_location='cpu'), NEW)")
            }
            [0x89, b'H', b'D', b'F', ..] => {
                Error::data("is an HDF5 file (weights of Keras?), which holds no state dict").help(AGAIN)
            }
            _ => {
                Error::data("is neither safetensors nor a PyTorch archive (.pt, .ckpt), by its first bytes").help(AGAIN)
            }
        })
    };
    parse().map_err(|e| e.at(path))
}

/// Writes safetensors with the bytes of the reference writer: tensors by type (the largest alignment first), then by
/// name; keys of the metadata in order, which the reference leaves to chance. The name exists only when the file is
/// complete.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data) where two tensors have one name, or data and shape disagree;
/// [`Fault::CannotCreate`](crate::error::Fault::CannotCreate) where `path` exists and `overwrite` is not set, or cannot
/// be written.
pub fn write_safetensors(path: &Path, dict: &StateDict, overwrite: bool) -> Result<()> {
    safetensors::write(path, dict, overwrite)
}

/// Reads weights in any format and writes them as safetensors: names, shapes, types, bits and metadata stay. With a
/// `prefix`, that is taken from the names, and tensors without it are left out; their names are returned.
///
/// # Errors
/// As [`read`] and [`write_safetensors`]; [`Fault::Usage`](crate::error::Fault::Usage) where no name has the prefix, or
/// `to` does not end in `.safetensors`.
pub fn convert(from: &Path, to: &Path, prefix: &str, overwrite: bool) -> Result<Vec<String>> {
    if to.extension() != Some("safetensors".as_ref()) {
        return Err(Error::usage("weights are written as .safetensors only").help("end the name so").at(to));
    }
    let (dict, left_out) = read(from)?.without_prefix(prefix);
    if let ([], [first, ..]) = (dict.tensors.as_slice(), left_out.as_slice()) {
        return Err(Error::usage(format!("no tensor's name begins with `{prefix}`"))
            .help(format!("the first one is `{first}`"))
            .at(from));
    }
    write_safetensors(to, &dict, overwrite)?;
    Ok(left_out)
}
