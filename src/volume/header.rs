//! Detached headers: MetaImage (`.mhd`, the primary one) and NRRD (`.nhdr`, a twin over the same bytes).
//!
//! Accepted: one image of 2 or 3 axes, one channel, u8, u16 or f32, not compressed, either byte order, data in one
//! file beside the header that is named without any folder, a start offset of at most [`MAX_OFFSET`]. A header is at
//! most [`MAX_TEXT`] bytes and [`MAX_KEYS`] keys, none of them twice. What would have to be guessed is refused.
//!
//! Own volumes carry `Tomolith…` keys in both headers (all of [`TAGS`] or none): what MetaImage has no field for.
//! A voxel size that is not known is written as 1 1 1, because other readers need numbers, and
//! `TomolithSpacing = unknown` says so. In foreign headers a spacing counts only when its unit is stated.
//!
//! Left out: orientation other than the identity, position in the laboratory (read over), files in several parts.

use super::{Dims, Dtype, Spacing, nrrd};
use crate::error::{Error, Result};
use crate::provenance::Digest;
use crate::units::Micrometre;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

/// Longest header that is read.
pub const MAX_TEXT: u64 = 64 << 10;
/// Most keys of a header.
pub const MAX_KEYS: usize = 256;
/// Largest start offset of the data in their file.
pub const MAX_OFFSET: u64 = 1 << 20;
/// Longest file name that common file systems can hold.
const MAX_NAME: usize = 255;

/// The keys of an own volume, in the order in which they are written.
pub const TAGS: [&str; 8] = [
    "TomolithSchema",
    "TomolithUnit",
    "TomolithSpacing",
    "TomolithValueUnit",
    "TomolithStage",
    "TomolithScaleSlope",
    "TomolithScaleIntercept",
    "TomolithDigest",
];
/// Version of the keys' meaning.
const SCHEMA: &str = "1";

/// Where the voxels start in the data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// Behind this many bytes.
    Bytes(u64),
    /// They are the last bytes of the file (written as -1).
    FromEnd,
}

/// What an own header says beyond a foreign one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// Stage that made the volume.
    pub stage: String,
    /// The volume's digest, as in its manifest.
    pub digest: Digest,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Shape.
    pub dims: Dims,
    /// Stored type.
    pub dtype: Dtype,
    /// Most significant byte first; own volumes are little-endian.
    pub big_endian: bool,
    /// Voxel size.
    pub spacing: Spacing,
    /// physical value = stored value · slope + intercept.
    pub slope: f64,
    /// See `slope`.
    pub intercept: f64,
    /// Unit of the physical values; empty when it is not stated.
    pub unit: String,
    /// Start of the voxels.
    pub offset: Offset,
    /// Name of the data file, beside the header.
    pub data_file: String,
    /// What an own volume says in addition.
    pub native: Option<Native>,
}

impl Header {
    /// Reads the header at `path`, by its extension: `.mhd` or `.nhdr`.
    ///
    /// # Errors
    /// What [`parse_mhd`] and [`parse_nhdr`] refuse, naming the file; files that cannot be read.
    pub fn read(path: &Path) -> Result<Header> {
        Header::parse(path, &read_text(path)?)
    }

    /// As [`Header::read`], from the text of the file at `path`.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Header> {
        let nhdr = path.extension().is_some_and(|e| e == "nhdr");
        if nhdr { parse_nhdr(text) } else { parse_mhd(text) }
            .map_err(|e| e.at(path).help("correct the header, or restore it from a copy"))
    }

    /// The `.mhd` text of the volume `name`. Keys stand in the order that SimpleITK, VTK and Fiji were seen to read,
    /// `ElementDataFile` last.
    pub fn to_mhd(&self, name: &str) -> String {
        let Dims { nz, ny, nx } = self.dims;
        let spacing = triple(self.spacing);
        let kind = match self.dtype {
            Dtype::U8 => "MET_UCHAR",
            Dtype::U16 => "MET_USHORT",
            Dtype::F32 => "MET_FLOAT",
        };
        let mut out = String::new();
        let mut put = |key: &str, value: &str| {
            let _ = writeln!(out, "{key} = {value}");
        };
        put("Comment", &comment(name));
        put("ObjectType", "Image");
        put("NDims", "3");
        put("BinaryData", "True");
        put("BinaryDataByteOrderMSB", if self.big_endian { "True" } else { "False" });
        put("CompressedData", "False");
        put("TransformMatrix", IDENTITY);
        put("Offset", "0 0 0");
        put("CenterOfRotation", "0 0 0");
        put("AnatomicalOrientation", "RAI");
        put("ElementSpacing", &spacing.join(" "));
        put("ElementSize", &spacing.join(" "));
        put("DimSize", &format!("{nx} {ny} {nz}"));
        put("ElementNumberOfChannels", "1");
        put("ElementType", kind);
        match self.offset {
            Offset::Bytes(0) => {}
            Offset::Bytes(n) => put("HeaderSize", &n.to_string()),
            Offset::FromEnd => put("HeaderSize", "-1"),
        }
        for (key, value) in self.tags() {
            put(key, &value);
        }
        put("ElementDataFile", &self.data_file);
        out
    }

    /// The `.nhdr` text of the volume `name`.
    pub fn to_nhdr(&self, name: &str) -> String {
        let Dims { nz, ny, nx } = self.dims;
        let [x, y, z] = triple(self.spacing);
        let kind = match self.dtype {
            Dtype::U8 => "uint8",
            Dtype::U16 => "uint16",
            Dtype::F32 => "float",
        };
        let mut out = format!("NRRD0005\n# {}\n", comment(name));
        let mut put = |key: &str, value: &str| {
            let _ = writeln!(out, "{key}: {value}");
        };
        put("type", kind);
        put("dimension", "3");
        put("space dimension", "3");
        put("sizes", &format!("{nx} {ny} {nz}"));
        put("space directions", &format!("({x},0,0) (0,{y},0) (0,0,{z})"));
        if self.spacing.is_some() {
            put("space units", "\"um\" \"um\" \"um\"");
        }
        put("space origin", "(0,0,0)");
        put("kinds", "domain domain domain");
        put("endian", if self.big_endian { "big" } else { "little" });
        put("encoding", "raw");
        match self.offset {
            Offset::Bytes(0) => {}
            Offset::Bytes(n) => put("byte skip", &n.to_string()),
            Offset::FromEnd => put("byte skip", "-1"),
        }
        put("data file", &self.data_file);
        for (key, value) in self.tags() {
            let _ = writeln!(out, "{key}:={value}");
        }
        out.push('\n');
        out
    }

    /// Keys and values of an own volume; nothing for a foreign one.
    fn tags(&self) -> Vec<(&'static str, String)> {
        let Some(native) = &self.native else { return Vec::new() };
        let values = [
            SCHEMA.to_owned(),
            "um".to_owned(),
            if self.spacing.is_some() { "known" } else { "unknown" }.to_owned(),
            self.unit.clone(),
            native.stage.clone(),
            shortest(self.slope),
            shortest(self.intercept),
            native.digest.hex(),
        ];
        TAGS.into_iter().zip(values).collect()
    }
}

/// The identity as MetaImage writes it.
const IDENTITY: &str = "1 0 0 0 1 0 0 0 1";

fn comment(name: &str) -> String {
    format!("tomolith {}; unit um; authoritative metadata in {name}.json", env!("CARGO_PKG_VERSION"))
}

fn triple(spacing: Spacing) -> [String; 3] {
    spacing.map_or_else(|| ["1", "1", "1"].map(str::to_owned), |s| s.map(|Micrometre(v)| shortest(v)))
}

/// The shortest text that reads back as the same f64; plain digits within the range that people write by hand.
fn shortest(v: f64) -> String {
    if v == 0.0 || (1e-5..1e15).contains(&v.abs()) { format!("{v}") } else { format!("{v:e}") }
}

/// Reads a header's text, at most [`MAX_TEXT`] bytes of printable UTF-8.
///
/// # Errors
/// Files that cannot be read or are not regular; [`Fault::Data`](crate::error::Fault::Data) for the rest.
pub fn read_text(path: &Path) -> Result<String> {
    let file = crate::os::open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|e| Error::reading(path, &e))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Error::data(format!("a header longer than {MAX_TEXT} bytes"))
            .at(path)
            .help("is this a header? Name the .mhd or .nhdr file"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::data("the header is not text").at(path).help("name the .mhd or .nhdr file"))?;
    match text.chars().find(|&c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        Some(c) => Err(Error::data(format!("the header holds the control character {c:?}"))
            .at(path)
            .help("restore the header from a copy")),
        None => Ok(text),
    }
}

/// Keys and values of a header, each key once.
pub(super) type Fields<'a> = BTreeMap<&'a str, &'a str>;

/// Adds a field, which must not be there yet.
pub(super) fn insert<'a>(fields: &mut Fields<'a>, key: &'a str, value: &'a str) -> Result<()> {
    if fields.len() == MAX_KEYS {
        return Err(Error::data(format!("a header of more than {MAX_KEYS} keys")));
    }
    if fields.insert(key, value).is_some() {
        return Err(Error::data(format!("the key `{key}` stands twice")).help("remove one of the two lines"));
    }
    Ok(())
}

/// Field `key`, which must be there.
pub(super) fn need<'a>(fields: &Fields<'a>, key: &str) -> Result<&'a str> {
    fields.get(key).copied().ok_or_else(|| Error::data(format!("`{key}` is missing")))
}

/// A fault of one field.
pub(super) fn fault(key: &str, value: &str, why: &str) -> Error {
    let short: String = value.chars().take(80).collect();
    Error::data(format!("`{key}` is `{short}`: {why}"))
}

/// Reads a MetaImage header.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data), or [`Fault::Policy`](crate::error::Fault::Policy) for a data file
/// outside the header's folder; see the [module](self).
pub fn parse_mhd(text: &str) -> Result<Header> {
    let mut fields = Fields::new();
    let mut last = "";
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) =
            line.split_once('=').ok_or_else(|| Error::data(format!("line {}: expected `Key = Value`", i + 1)))?;
        (last, _) = (key.trim(), insert(&mut fields, key.trim(), value.trim())?);
    }
    // Readers take what follows this line for voxels.
    if fields.contains_key("ElementDataFile") && last != "ElementDataFile" {
        return Err(Error::data("`ElementDataFile` is not the last line"));
    }
    let only = |key: &str, accepted: &str| match fields.get(key) {
        Some(&v) if !v.eq_ignore_ascii_case(accepted) => Err(fault(key, v, &format!("only `{accepted}` is read"))),
        found => Ok(found.is_some()),
    };
    only("ObjectType", "Image")?;
    if !only("BinaryData", "True")? {
        return Err(Error::data("`BinaryData = True` is missing: without it MetaImage means numbers as text"));
    }
    only("CompressedData", "False")?;
    only("ElementNumberOfChannels", "1")?;

    let axes = axes("NDims", need(&fields, "NDims")?)?;
    let dims = dims("DimSize", need(&fields, "DimSize")?, axes)?;
    if let Some(&matrix) = fields.get("TransformMatrix") {
        let identity = (0..axes * axes).map(|i| if i % (axes + 1) == 0 { 1.0 } else { 0.0 });
        let words = matrix.split_whitespace().map(|w| w.parse::<f64>().ok());
        if !words.eq(identity.map(Some)) {
            return Err(fault("TransformMatrix", matrix, "only the identity is read"));
        }
    }
    let dtype = match need(&fields, "ElementType")? {
        "MET_UCHAR" => Dtype::U8,
        "MET_USHORT" => Dtype::U16,
        "MET_FLOAT" => Dtype::F32,
        other => return Err(fault("ElementType", other, "MET_UCHAR, MET_USHORT and MET_FLOAT are read")),
    };
    let mut big_endian = None;
    for key in ["BinaryDataByteOrderMSB", "ElementByteOrderMSB"] {
        let Some(&value) = fields.get(key) else { continue };
        let big = match value.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(fault(key, value, "True or False is expected")),
        };
        if big_endian.is_some_and(|other| other != big) {
            return Err(Error::data("`BinaryDataByteOrderMSB` and `ElementByteOrderMSB` disagree"));
        }
        big_endian = Some(big);
    }
    let mut sizes: Option<[f64; 3]> = None;
    for key in ["ElementSpacing", "ElementSize"] {
        let Some(&value) = fields.get(key) else { continue };
        let words: Vec<&str> = value.split_whitespace().collect();
        let size = spacing(key, value, &words, axes)?;
        if sizes.is_some_and(|other| other != size) {
            return Err(Error::data("`ElementSpacing` and `ElementSize` disagree"));
        }
        sizes = Some(size);
    }
    let unit = fields.get("DistanceUnits").and_then(|u| micrometres(u)).map(|u| [u; 3]);
    let offset = match fields.get("HeaderSize") {
        None => Offset::Bytes(0),
        Some(value) => offset("HeaderSize", value)?,
    };
    let data_file = need(&fields, "ElementDataFile")?;
    check_data_file(data_file)?;
    let header = Header {
        dims,
        dtype,
        big_endian: big_endian.unwrap_or(false),
        spacing: in_micrometres(sizes, unit)?,
        slope: 1.0,
        intercept: 0.0,
        unit: String::new(),
        offset,
        data_file: data_file.to_owned(),
        native: None,
    };
    apply_tags(header, &fields, sizes)
}

/// Reads a NRRD header.
///
/// # Errors
/// As [`parse_mhd`].
pub fn parse_nhdr(text: &str) -> Result<Header> {
    nrrd::parse(text)
}

/// Puts the own keys, if there are any, into a header whose `sizes` are the spacing as it is written.
pub(super) fn apply_tags(mut header: Header, fields: &Fields, sizes: Option<[f64; 3]>) -> Result<Header> {
    let own: Vec<&str> = fields.keys().copied().filter(|k| k.starts_with("Tomolith")).collect();
    if own.is_empty() {
        return Ok(header);
    }
    if let Some(unknown) = own.iter().find(|k| !TAGS.contains(k)) {
        return Err(Error::data(format!("`{unknown}` is not a known key"))
            .help("the volume was written by a newer version, or the header is damaged"));
    }
    let tag = |key: &str| need(fields, key);
    let number = |key: &str| {
        let value = tag(key)?;
        value.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(|| fault(key, value, "not a finite number"))
    };
    if tag("TomolithSchema")? != SCHEMA {
        return Err(fault("TomolithSchema", tag("TomolithSchema")?, "this version reads schema 1")
            .help("use the version of tomolith that wrote the volume"));
    }
    if tag("TomolithUnit")? != "um" {
        return Err(fault("TomolithUnit", tag("TomolithUnit")?, "only `um` is written"));
    }
    header.spacing = match (tag("TomolithSpacing")?, sizes) {
        ("known", Some(s)) => Some(s.map(Micrometre)),
        ("unknown", Some([1.0, 1.0, 1.0])) => None,
        (other, _) => return Err(fault("TomolithSpacing", other, "it does not agree with the spacing")),
    };
    (header.slope, header.intercept) = (number("TomolithScaleSlope")?, number("TomolithScaleIntercept")?);
    if header.slope == 0.0 {
        return Err(fault("TomolithScaleSlope", "0", "every voxel would have the same value"));
    }
    header.unit = tag("TomolithValueUnit")?.to_owned();
    let (stage, digest) = (tag("TomolithStage")?.to_owned(), Digest::parse(tag("TomolithDigest")?)?);
    header.native = Some(Native { stage, digest });
    Ok(header)
}

/// Number of axes: 2 or 3.
pub(super) fn axes(key: &str, value: &str) -> Result<usize> {
    match value {
        "2" => Ok(2),
        "3" => Ok(3),
        _ => Err(fault(key, value, "images of 2 or 3 axes are read")),
    }
}

/// Shape, written x first.
pub(super) fn dims(key: &str, value: &str, axes: usize) -> Result<Dims> {
    let word = |w: &str| -> Option<usize> { if w.bytes().all(|b| b.is_ascii_digit()) { w.parse().ok() } else { None } };
    let extents: Option<Vec<usize>> = value.split_whitespace().map(word).collect();
    match extents.as_deref() {
        Some(&[nx, ny]) if axes == 2 => Dims::new(1, ny, nx),
        Some(&[nx, ny, nz]) if axes == 3 => Dims::new(nz, ny, nx),
        _ => Err(fault(key, value, &format!("{axes} whole numbers of at least 1 are expected"))),
    }
    .map_err(|e| e.help("the header is damaged, or it is not one of a volume"))
}

/// Voxel size along x, y, z from the words of field `key`; one slice alone is as thick as its pixels are high.
pub(super) fn spacing(key: &str, value: &str, words: &[&str], axes: usize) -> Result<[f64; 3]> {
    let positive = |w: &&str| w.parse::<f64>().ok().filter(|v| v.is_finite() && *v > 0.0);
    let sizes: Option<Vec<f64>> = words.iter().map(positive).collect();
    match sizes.as_deref() {
        Some(&[x, y]) if axes == 2 => Ok([x, y, y]),
        Some(&[x, y, z]) if axes == 3 => Ok([x, y, z]),
        _ => Err(fault(key, value, &format!("{axes} numbers greater than 0 are expected"))),
    }
}

/// Micrometres in one unit of length, by its symbol.
pub(super) fn micrometres(unit: &str) -> Option<f64> {
    match unit {
        "nm" => Some(1e-3),
        "um" | "µm" | "μm" => Some(1.0),
        "mm" => Some(1e3),
        "cm" => Some(1e4),
        "m" => Some(1e6),
        _ => None,
    }
}

/// The voxel size, unless size or unit are not stated.
pub(super) fn in_micrometres(sizes: Option<[f64; 3]>, units: Option<[f64; 3]>) -> Result<Spacing> {
    let Some((sizes, units)) = sizes.zip(units) else { return Ok(None) };
    let spacing = [0, 1, 2].map(|i| sizes[i] * units[i]);
    if !spacing.iter().all(|v| v.is_finite() && *v > 0.0) {
        return Err(Error::data("the voxel size in micrometres is beyond the range of numbers"));
    }
    Ok(Some(spacing.map(Micrometre)))
}

/// Start of the data: -1 or 0..=[`MAX_OFFSET`].
pub(super) fn offset(key: &str, value: &str) -> Result<Offset> {
    if value == "-1" {
        return Ok(Offset::FromEnd);
    }
    let bytes = value.parse().ok().filter(|&n: &u64| n <= MAX_OFFSET);
    bytes.map(Offset::Bytes).ok_or_else(|| fault(key, value, &format!("-1 or 0 to {MAX_OFFSET} is expected")))
}

/// Lets pass a plain file name; anything that could lead elsewhere is refused.
///
/// # Errors
/// [`Fault::Policy`](crate::error::Fault::Policy) for folders, [`Fault::Data`](crate::error::Fault::Data) for lists,
/// patterns, attached data and names that no file can have.
pub fn check_data_file(name: &str) -> Result<()> {
    let first = name.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
    if name.contains(['/', '\\']) || name == "." || name == ".." {
        return Err(Error::policy(format!("the data file `{name}` is not beside its header"))
            .help("put the data file into the header's folder and name it without any folder"));
    }
    let why = match first.as_str() {
        "" => "no name",
        "LIST" | "SKIPLIST" => "a list of files is not read",
        // Other readers look at these four letters only.
        _ if name.starts_with("LIST") => "a list of files is not read",
        "LOCAL" => "data behind their header are not read",
        _ if name.contains('%') => "a pattern of file names is not read",
        _ if name.len() > MAX_NAME => "longer than a file name can be",
        _ if name.chars().any(char::is_control) => "a control character in a file name",
        _ => return Ok(()),
    };
    Err(fault("data file", name, why).help("one headerless file with all voxels is expected"))
}
