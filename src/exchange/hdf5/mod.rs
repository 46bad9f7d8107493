//! HDF5: Data Exchange, the layout of the Advanced Photon Source, `/exchange/data` (theta, row, column) with
//! `data_white`, `data_dark` and `theta`; NXtomo ([`nexus`]); and any stack that is named, `FILE.h5:/path/to/data`.
//!
//! The crate `hdf5-reader` parses the file's structure; the elements themselves are read here ([`array`]), because
//! this program promises what a general reader does not: a block costs its own bytes only, what was never written is
//! an error and not a fill value, and a number of odd layout is refused rather than taken for its neighbour.
//!
//! Of what a file says beside the data, used are the angles' unit and the pixel size at the sample, and each use
//! leaves a note. Links to other files are followed inside the folder of the named file ([`links`]); each file that holds
//! numbers is hashed as an input of its own.
//!
//! Left out: `exchange1` and later stages, virtual datasets, data in external files, filters beside deflate, shuffle,
//! Fletcher-32, N-bit and LZ4: refused by name, with the command that rewrites them.
//!
//! Source: De Carlo et al., "Scientific data exchange: a schema for HDF5-based storage of raw and analyzed data",
//! J. Synchrotron Rad. 21 (2014) 1224; HDF5 File Format Specification 3.0.

use super::Scan;
use super::file::OpenFile;
use super::theta::{MAX_NUMBERS, Theta};
use crate::error::{Error, Result};
use crate::provenance::InputFile;
use crate::units::AngleUnit;
use crate::units::Micrometre;
use crate::volume::{Dims, Dtype, Source};
use array::Array;
use std::ops::Range;
use std::sync::Arc;
use tree::Tree;

mod array;
mod chunks;
mod links;
mod nexus;
mod tree;

/// Pixel sizes at the sample that a micro-CT can have; others are a matter of units.
const SANE_PIXELS_UM: Range<f64> = 0.001..1000.0;

/// A dataset of three axes.
struct Stack {
    file: Arc<OpenFile>,
    array: Array,
    role: String,
}

impl Source for Stack {
    fn dims(&self) -> Dims {
        self.array.dims()
    }
    fn dtype(&self) -> Dtype {
        self.array.number().dtype()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.array.read(z, y, out)
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.array.cost(z, y)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        Ok(vec![self.file.input(&self.role)?])
    }
}

/// Opens the scan in an HDF5 file.
pub(super) fn open(file: Arc<OpenFile>) -> Result<Scan> {
    let tree = Tree::open(file.clone())?;
    read_scan(&tree, &file).map_err(|e| e.at(file.path()))
}

/// Opens one stack of a file by its path in it.
pub(super) fn open_dataset(file: Arc<OpenFile>, path: &str) -> Result<Box<dyn Source>> {
    let tree = Tree::open(file.clone())?;
    let found = stack(&tree, &file, path, "stack", &mut Vec::new()).map_err(|e| e.at(file.path()))?;
    match found {
        Some(stack) => Ok(Box::new(stack)),
        None => Err(Error::data(format!("has no dataset {}; at its top are {}", tree::clip(path), tree.top()?))
            .help("list what it holds with h5ls -r")
            .at(file.path())),
    }
}

/// A length at `path` whose unit is stated; `None` where there is none.
fn length(tree: &Tree, path: &str, notes: &mut Vec<String>) -> Result<Option<Micrometre>> {
    let Some(dataset) = tree.dataset(path)? else { return Ok(None) };
    if dataset.shape().iter().any(|&extent| extent != 1) || array::number_of(&dataset).is_err() {
        return Ok(None);
    }
    let factor = tree.text_attribute(&dataset, "units").and_then(|unit| micrometres_per(&unit));
    let value = numbers(tree, &dataset, path)?[0];
    match factor.map(|f| f * value).filter(|v| SANE_PIXELS_UM.contains(v)) {
        Some(value) => {
            notes.push(format!("pixel size {value} um from {path}"));
            Ok(Some(Micrometre(value)))
        }
        None => {
            notes.push(format!("{path} is no pixel size in a known unit, so it is not used"));
            Ok(None)
        }
    }
}

fn read_scan(tree: &Tree, file: &Arc<OpenFile>) -> Result<Scan> {
    let mut notes = Vec::new();
    let Some(projections) = stack(tree, file, "exchange/data", "projections", &mut notes)? else {
        return match tree.nxtomo()?.as_slice() {
            [] => Err(not_data_exchange(tree)?),
            [entry] => nexus::read(tree, file, entry),
            many => Err(Error::data(format!("holds {} NXtomo scans: {}", many.len(), many.join(", ")))
                .help("copy one of them into a file of its own (h5copy)")),
        };
    };
    let mut other = |name: &'static str, role: &'static str| -> Result<Option<Box<dyn Source>>> {
        let Some(images) = stack(tree, file, name, role, &mut notes)? else {
            notes.push(format!("{name} is not in the file: it has no {role}"));
            return Ok(None);
        };
        let (d, p) = (images.dims(), projections.dims());
        if (d.ny, d.nx) != (p.ny, p.nx) {
            return Err(Error::data(format!(
                "{name} has images of {} x {} pixels, exchange/data of {} x {}",
                d.nx, d.ny, p.nx, p.ny
            ))
            .help("the file is inconsistent: export projections, flats and darks of one detector region"));
        }
        Ok(Some(Box::new(images)))
    };
    let flats = other("exchange/data_white", "flats")?;
    let darks = other("exchange/data_dark", "darks")?;
    let theta = theta(tree, &mut notes)?;
    let pixel = pixel(tree, &mut notes)?;
    Ok(Scan { projections: Box::new(projections), flats, darks, flat_positions: None, theta, pixel, notes })
}

/// The dataset `path` as a stack; one image of two axes is a stack of one. `None` where there is none.
fn stack(tree: &Tree, file: &Arc<OpenFile>, path: &str, role: &str, notes: &mut Vec<String>) -> Result<Option<Stack>> {
    let Some(dataset) = tree.dataset(path)? else {
        return Ok(None);
    };
    let shape = dataset.shape();
    let (home, images) = (tree.home(), path.ends_with("_white") || path.ends_with("_dark"));
    let (tree, file) = home.as_deref().map_or((tree, file), |home| (home, home.file()));
    if images && shape.contains(&0) {
        notes.push(format!("{path} is empty"));
        return Ok(None);
    }
    if !(shape.len() == 3 || images && shape.len() == 2) {
        return Err(Error::data(format!(
            "{path} has {} axes, {shape:?}, instead of (theta, row, column)",
            shape.len()
        ))
        .help("export the scan again, or convert it to .npy of shape (theta, row, column)"));
    }
    if let Some(axes) = tree.text_attribute(&dataset, "axes")
        && !axes.trim().starts_with("theta")
        && axes.contains("theta")
    {
        return Err(Error::data(format!("the axes of {path} are '{}', not theta:y:x", tree::clip(&axes)))
            .help("convert it to .npy of shape (theta, row, column)"));
    }
    let array = Array::open(tree, &dataset, path)?;
    notes.extend(array.number().rounding_note(path));
    Ok(Some(Stack { file: file.clone(), array, role: role.to_string() }))
}

/// `exchange/theta`, if it is there.
fn theta(tree: &Tree, notes: &mut Vec<String>) -> Result<Option<Theta>> {
    const PATH: &str = "exchange/theta";
    let Some(dataset) = tree.dataset(PATH)? else {
        notes.push(format!("{PATH} is not in the file: the angles must be given"));
        return Ok(None);
    };
    let values = numbers(tree, &dataset, PATH)?;
    let unit = unit_of(tree, &dataset, PATH, notes);
    Ok(Some(Theta { values, unit, origin: PATH.to_string() }))
}

/// The unit that a list of angles states.
fn unit_of(tree: &Tree, dataset: &tree::Dataset, path: &str, notes: &mut Vec<String>) -> Option<AngleUnit> {
    let text = ["units", "unit"].iter().find_map(|name| tree.text_attribute(dataset, name));
    let unit = text.as_deref().and_then(AngleUnit::from_name);
    match (&text, unit) {
        (_, Some(unit)) => {
            let count = dataset.shape().iter().product::<u64>();
            notes.push(format!("{count} angles from {path} in {}", unit.name()));
        }
        (Some(text), None) => {
            notes.push(format!("the unit of {path} is '{}', neither degrees nor radians", tree::clip(text)));
        }
        (None, None) => notes.push(format!("{path} states no unit")),
    }
    unit
}

/// A dataset that is a list of numbers, whatever axes of extent 1 it has beside.
fn numbers(tree: &Tree, dataset: &tree::Dataset, path: &str) -> Result<Vec<f64>> {
    let home = tree.home();
    let tree = home.as_deref().unwrap_or(tree);
    let shape = dataset.shape();
    let count = shape.iter().try_fold(1u64, |n, &extent| n.checked_mul(extent));
    let listed = shape.iter().filter(|&&extent| extent != 1).count() <= 1;
    let Some(n) = count.filter(|&n| listed && shape.len() <= 3 && (1..=MAX_NUMBERS as u64).contains(&n)) else {
        return Err(Error::data(format!("{path} has the shape {shape:?} instead of a list of numbers"))
            .help("export the scan again, or give the values yourself"));
    };
    let array = Array::open(tree, dataset, path)?;
    let mut values = vec![0f64; n as usize];
    let d = array.dims();
    array.read(0..d.nz, 0..d.ny, &mut values)?;
    Ok(values)
}

/// Pixel size at the sample: the objective's resolution, or the sensor's pixel divided by the magnification.
fn pixel(tree: &Tree, notes: &mut Vec<String>) -> Result<Option<Micrometre>> {
    const RESOLUTION: &str = "measurement/instrument/detection_system/objective/resolution";
    const MAGNIFICATION: &str = "measurement/instrument/detection_system/objective/magnification";
    const SENSOR: [&str; 2] =
        ["measurement/instrument/detector/pixel_size", "measurement/instrument/detector/pixel_size_x"];
    let mut scalar = |path: &'static str, length: bool| -> Result<Option<f64>> {
        let Some(dataset) = tree.dataset(path)? else { return Ok(None) };
        if dataset.shape().iter().any(|&extent| extent != 1) || array::number_of(&dataset).is_err() {
            notes.push(format!("{path} is not one number, so it is not used"));
            return Ok(None);
        }
        let value = numbers(tree, &dataset, path)?[0];
        let factor = match tree.text_attribute(&dataset, "units").filter(|_| length) {
            None => Some(1.0),
            Some(unit) => micrometres_per(&unit),
        };
        let Some(value) = factor.map(|f| f * value).filter(|v| v.is_finite() && *v > 0.0) else {
            notes.push(format!("{path} is not a length above 0 in a known unit, so it is not used"));
            return Ok(None);
        };
        Ok(Some(value))
    };
    let resolution = scalar(RESOLUTION, true)?;
    let (value, origin) = match resolution {
        Some(value) => (value, RESOLUTION.to_string()),
        None => {
            let (mut sensor, mut origin) = (None, "");
            for path in SENSOR {
                if sensor.is_none() {
                    (sensor, origin) = (scalar(path, true)?, path);
                }
            }
            let Some(sensor) = sensor else { return Ok(None) };
            let Some(magnification) = scalar(MAGNIFICATION, false)? else {
                notes.push(format!(
                    "{origin} is {sensor} um, the pixel of the sensor; without the magnification the pixel size at \
                     the sample stays unknown"
                ));
                return Ok(None);
            };
            (sensor / magnification, format!("{origin} divided by the magnification {magnification}"))
        }
    };
    if !SANE_PIXELS_UM.contains(&value) {
        notes.push(format!("{origin} makes a pixel of {value} um, which cannot be, so it is not used"));
        return Ok(None);
    }
    notes.push(format!("pixel size {value} um from {origin}"));
    Ok(Some(Micrometre(value)))
}

/// Micrometres per unit of this name; Data Exchange writes micrometres where it names no unit.
fn micrometres_per(unit: &str) -> Option<f64> {
    match unit.trim().to_lowercase().as_str() {
        "um" | "µm" | "μm" | "micron" | "microns" | "micrometer" | "micrometers" | "micrometre" | "micrometres" => {
            Some(1.0)
        }
        "nm" | "nanometer" | "nanometers" | "nanometre" | "nanometres" => Some(1e-3),
        "mm" | "millimeter" | "millimeters" | "millimetre" | "millimetres" => Some(1e3),
        "m" | "meter" | "meters" | "metre" | "metres" => Some(1e6),
        _ => None,
    }
}

/// What the file is instead.
fn not_data_exchange(tree: &Tree) -> Result<Error> {
    Ok(Error::data(format!("is HDF5 but neither Data Exchange nor NXtomo: at its top are {}", tree.top()?))
        .help("name one stack in it as FILE.h5:/path/to/data, or convert it to .npy of shape (theta, row, column)"))
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
