//! NXtomo, the NeXus layout of Diamond, ESRF, PSI and others: projections, flats and darks are frames of one stack, told
//! apart by `image_key`.
//!
//! ```text
//! ENTRY/definition = "NXtomo"                                  ENTRY one or two groups deep, of any name
//! ENTRY/instrument/detector/data, or ENTRY/data/data           (frame, row, column)
//! ENTRY/instrument/detector/image_key, or ENTRY/data/image_key 0 projection, 1 flat, 2 dark, 3 invalid
//! ENTRY/sample/rotation_angle, or ENTRY/data/rotation_angle    one per frame
//! ENTRY/instrument/detector/x_pixel_size                       used where it has a unit
//! ```
//!
//! The order of the frames tells how many projections were taken before each flat ([`Scan::flat_positions`]).
//! Source: manual.nexusformat.org, NXtomo.

use super::super::Scan;
use super::super::file::OpenFile;
use super::tree::Tree;
use super::{Stack, length, numbers, stack, unit_of};
use crate::error::{Error, Result};
use crate::exchange::Theta;
use crate::provenance::InputFile;
use crate::volume::{Dims, Dtype, Source};
use std::ops::Range;
use std::sync::Arc;

/// Some frames of a stack, in their order.
struct Frames {
    stack: Arc<Stack>,
    role: &'static str,
    /// Runs of neighbouring frames, and how many come before each.
    runs: Vec<(usize, Range<usize>)>,
    count: usize,
}

impl Frames {
    /// The frames with the key `key`; `None` if there is none.
    fn new(stack: &Arc<Stack>, keys: &[u8], key: u8, role: &'static str) -> Option<Frames> {
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        let mut count = 0;
        for (frame, _) in keys.iter().enumerate().filter(|(_, k)| **k == key) {
            match runs.last_mut() {
                Some((_, run)) if run.end == frame => run.end += 1,
                _ => runs.push((count, frame..frame + 1)),
            }
            count += 1;
        }
        (count > 0).then(|| Frames { stack: stack.clone(), role, runs, count })
    }

    fn parts(&self, z: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        self.runs.iter().filter_map(move |(place, run)| {
            let (from, to) = (z.start.max(*place), z.end.min(place + run.len()));
            (from < to).then(|| run.start + from - place..run.start + to - place)
        })
    }
}

impl Source for Frames {
    fn dims(&self) -> Dims {
        Dims { nz: self.count, ..self.stack.dims() }
    }
    fn dtype(&self) -> Dtype {
        self.stack.dtype()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, mut out: &mut [f32]) -> Result<()> {
        let frame = y.len() * self.dims().nx;
        for part in self.parts(z) {
            let (here, rest) = out.split_at_mut(part.len() * frame);
            self.stack.read(part, y.clone(), here)?;
            out = rest;
        }
        Ok(())
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.parts(z).map(|part| self.stack.cost(part, y.clone())).sum()
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        let named = |input: InputFile| InputFile { role: self.role.into(), ..input };
        Ok(self.stack.inputs()?.into_iter().map(named).collect())
    }
}

/// Reads the scan in the group `entry`.
pub(super) fn read(tree: &Tree, file: &Arc<OpenFile>, entry: &str) -> Result<Scan> {
    let mut notes = Vec::new();
    let among = |names: [&str; 2]| names.map(|name| format!("{entry}/{name}"));
    let first = |names: &[String; 2]| -> Result<Option<String>> {
        for name in names {
            if tree.dataset(name)?.is_some() {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    };
    let needed = |names: [String; 2]| -> Result<String> {
        first(&names)?.ok_or_else(|| {
            Error::data(format!("is NXtomo without {} or {}", names[0], names[1]))
                .help("export the scan again, or convert it to .npy")
        })
    };
    let data = needed(among(["instrument/detector/data", "data/data"]))?;
    let images = stack(tree, file, &data, "projections", &mut notes)?
        .ok_or_else(|| Error::data(format!("{data} is not there")))?;
    let images = Arc::new(images);
    let key_path = needed(among(["instrument/detector/image_key", "data/image_key"]))?;
    let keys = list(tree, &key_path)?;
    let frames = images.dims().nz;
    if keys.len() != frames {
        return Err(Error::data(format!("{key_path} has {} keys for {frames} frames", keys.len()))
            .help("the file is inconsistent: export the scan again"));
    }
    let keys: Vec<u8> = keys
        .iter()
        .enumerate()
        .map(|(i, &k)| match k {
            k if k == 0.0 || k == 1.0 || k == 2.0 || k == 3.0 => Ok(k as u8),
            other => Err(Error::data(format!("{key_path} is {other} for frame {i}: 0, 1, 2 and 3 are known"))
                .help("export the scan again")),
        })
        .collect::<Result<_>>()?;
    let projections = Frames::new(&images, &keys, 0, "projections").ok_or_else(|| {
        Error::data(format!("no frame is a projection: {key_path} is nowhere 0")).help("is this a scan of flats only?")
    })?;
    let flats = Frames::new(&images, &keys, 1, "flats");
    let darks = Frames::new(&images, &keys, 2, "darks");
    let invalid = keys.iter().filter(|&&k| k == 3).count();
    let number = |frames: &Option<Frames>| frames.as_ref().map_or(0, |f| f.count);
    notes.push(format!(
        "NXtomo {entry}: {} projections, {} flats, {} darks, {invalid} frames marked invalid",
        projections.count,
        number(&flats),
        number(&darks)
    ));
    let theta = match first(&among(["sample/rotation_angle", "data/rotation_angle"]))? {
        None => {
            notes.push(format!("{entry} has no rotation_angle: the angles must be given"));
            None
        }
        Some(path) => {
            let all = list(tree, &path)?;
            if all.len() != frames {
                return Err(Error::data(format!("{path} has {} angles for {frames} frames", all.len()))
                    .help("give one angle per projection with --theta FILE"));
            }
            let unit = tree.dataset(&path)?.and_then(|d| unit_of(tree, &d, &path, &mut notes));
            let values = all.iter().zip(&keys).filter(|(_, k)| **k == 0).map(|(a, _)| *a).collect();
            Some(Theta { values, unit, origin: path })
        }
    };
    let mut before = 0.0;
    let mut positions = Vec::new();
    for key in &keys {
        match key {
            0 => before += 1.0,
            1 => positions.push(before),
            _ => {}
        }
    }
    let pixel = length(tree, &format!("{entry}/instrument/detector/x_pixel_size"), &mut notes)?;
    let boxed = |frames: Frames| -> Box<dyn Source> { Box::new(frames) };
    Ok(Scan {
        projections: Box::new(projections),
        flat_positions: flats.as_ref().map(|_| positions),
        flats: flats.map(boxed),
        darks: darks.map(boxed),
        theta,
        pixel,
        notes,
    })
}

fn list(tree: &Tree, path: &str) -> Result<Vec<f64>> {
    match tree.dataset(path)? {
        Some(dataset) => numbers(tree, &dataset, path),
        None => Err(Error::data(format!("{path} is not there"))),
    }
}
