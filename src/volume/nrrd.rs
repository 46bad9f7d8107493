//! NRRD headers (`.nhdr`), read for [`header`](super::header), which also writes them.
//!
//! `field: value` lines and `key:=value` lines behind the magic `NRRD000n`, up to an empty line. A field that the
//! format does not know is an error there, and here.

use super::Dtype;
use super::header::{self, Fields, Header, Offset, fault, insert, need};
use crate::error::{Error, Result};

/// Fields that do not change how the voxels are read.
const READ_OVER: [&str; 14] = [
    "content",
    "number",
    "min",
    "max",
    "old min",
    "old max",
    "sample units",
    "space",
    "space origin",
    "kinds",
    "labels",
    "centers",
    "centerings",
    "thicknesses",
];
/// Fields that are understood.
const UNDERSTOOD: [&str; 13] = [
    "type",
    "dimension",
    "space dimension",
    "sizes",
    "spacings",
    "space directions",
    "space units",
    "units",
    "endian",
    "encoding",
    "byte skip",
    "line skip",
    "data file",
];

/// Reads a NRRD header; see [`header::parse_nhdr`].
pub(super) fn parse(text: &str) -> Result<Header> {
    let mut lines = text.lines();
    let magic = lines.next().unwrap_or("");
    if !matches!(magic, "NRRD0001" | "NRRD0002" | "NRRD0003" | "NRRD0004" | "NRRD0005") {
        return Err(Error::data("the first line is not `NRRD0001` to `NRRD0005`"));
    }
    let (mut fields, mut tags) = (Fields::new(), Fields::new());
    for line in lines.by_ref().take_while(|l| !l.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((key, value)) if value.starts_with('=') => insert(&mut tags, key.trim(), value[1..].trim())?,
            Some((field, value)) => insert(&mut fields, name_of(field)?, value.trim())?,
            None => return Err(fault("line", line, "`field: value` or `key:=value` is expected")),
        }
    }
    if lines.any(|l| !l.is_empty()) {
        return Err(Error::data("more text behind the empty line that ends the header"));
    }

    let axes = header::axes("dimension", need(&fields, "dimension")?)?;
    if let Some(&value) = fields.get("space dimension")
        && value.parse() != Ok(axes)
    {
        return Err(fault("space dimension", value, "it is not the dimension"));
    }
    let dims = header::dims("sizes", need(&fields, "sizes")?, axes)?;
    let dtype = match need(&fields, "type")?.to_ascii_lowercase().as_str() {
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => Dtype::U8,
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Dtype::U16,
        "float" => Dtype::F32,
        other => return Err(fault("type", other, "uint8, uint16 and float are read")),
    };
    let encoding = need(&fields, "encoding")?;
    if !encoding.eq_ignore_ascii_case("raw") {
        return Err(fault("encoding", encoding, "only `raw` is read"));
    }
    let big_endian = match fields.get("endian").map(|v| v.to_ascii_lowercase()).as_deref() {
        Some("big") => true,
        Some("little") => false,
        None if dtype.size() == 1 => false,
        Some(other) => return Err(fault("endian", other, "`little` or `big` is expected")),
        None => return Err(Error::data("`endian` is missing")),
    };
    if let Some(&value) = fields.get("line skip").filter(|v| **v != "0") {
        return Err(fault("line skip", value, "only 0 is read"));
    }
    let offset = fields.get("byte skip").map_or(Ok(Offset::Bytes(0)), |v| header::offset("byte skip", v))?;
    let sizes = sizes(&fields, axes)?;
    let data_file = need(&fields, "data file")?;
    header::check_data_file(data_file)?;
    let header = Header {
        dims,
        dtype,
        big_endian,
        spacing: header::in_micrometres(sizes, units(&fields, axes)?)?,
        slope: 1.0,
        intercept: 0.0,
        unit: String::new(),
        offset,
        data_file: data_file.to_owned(),
        native: None,
    };
    header::apply_tags(header, &tags, sizes)
}

/// The one spelling of a field's name; upper case and the names without a space are accepted too.
fn name_of(field: &str) -> Result<&'static str> {
    let lower = field.to_ascii_lowercase();
    let alias = match lower.as_str() {
        "datafile" => "data file",
        "byteskip" => "byte skip",
        "lineskip" => "line skip",
        "oldmin" => "old min",
        "oldmax" => "old max",
        "sampleunits" => "sample units",
        other => other,
    };
    UNDERSTOOD.into_iter().chain(READ_OVER).find(|&known| known == alias).ok_or_else(|| {
        Error::data(format!("the field `{}` is not read", field.chars().take(80).collect::<String>()))
            .help("remove the line if it does not matter")
    })
}

/// The voxel size as it is written, in whatever unit.
fn sizes(fields: &Fields, axes: usize) -> Result<Option<[f64; 3]>> {
    match (fields.get("spacings"), fields.get("space directions")) {
        (Some(_), Some(_)) => Err(Error::data("`spacings` and `space directions` exclude each other")),
        (Some(&value), None) => {
            let words: Vec<&str> = value.split_whitespace().collect();
            header::spacing("spacings", value, &words, axes).map(Some)
        }
        (None, Some(&value)) => {
            let bad = |why: &str| fault("space directions", value, why);
            let shape = "one vector like (1.5,0,0) per axis is expected";
            let mut diagonal = Vec::new();
            for (axis, vector) in value.split_terminator(')').enumerate() {
                let inner = vector.trim_start().strip_prefix('(').ok_or_else(|| bad(shape))?;
                let words: Vec<&str> = inner.split(',').map(str::trim).collect();
                if words.len() != axes || axis >= axes {
                    return Err(bad(shape));
                }
                if words.iter().enumerate().any(|(i, w)| i != axis && w.parse() != Ok(0.0)) {
                    return Err(bad("only axes parallel to x, y, z are read"));
                }
                diagonal.push(words[axis]);
            }
            header::spacing("space directions", value, &diagonal, axes).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// Micrometres in the unit of each axis; `None` when it is not stated, or is not a length.
fn units(fields: &Fields, axes: usize) -> Result<Option<[f64; 3]>> {
    let key = if fields.contains_key("space directions") { "space units" } else { "units" };
    let Some(&value) = fields.get(key) else { return Ok(None) };
    let bad = || fault(key, value, "one unit in quotes per axis is expected");
    // "um" "um" "um" between quotes: nothing, um, space, um, space, um, nothing.
    let parts: Vec<&str> = value.split('"').collect();
    if parts.len() != 2 * axes + 1 || parts.iter().step_by(2).any(|gap| !gap.trim().is_empty()) {
        return Err(bad());
    }
    let units: Option<Vec<f64>> = parts.iter().skip(1).step_by(2).map(|u| header::micrometres(u)).collect();
    Ok(units.and_then(|u| match u[..] {
        [x, y] => Some([x, y, y]),
        [x, y, z] => Some([x, y, z]),
        _ => None,
    }))
}
