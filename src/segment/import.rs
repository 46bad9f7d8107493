//! Labels of other programs become a ledger's.
//!
//! ```text
//! file  ── axes ──▶ z, y, x  ── mapping ──▶ class, 255        every voxel of the volume
//! images ── plane, numbers ──▶ some slices of the volume      everything else 255
//! ```
//!
//! Both are read twice: first everything is looked at, so that what is wrong is told as a whole (shape with the orders of
//! axes that would fit; every unknown value with its count and first place) before a byte is written.
//!
//! Put onto a ledger that is there, voxel by voxel:
//!
//! | there | comes | becomes |
//! |---|---|---|
//! | anything | unlabelled | what is there; with `erase` unlabelled |
//! | unlabelled | c | c, of the given origin |
//! | c | c | c, of the origin that is there |
//! | b | c | c, of the given origin; with `keep` what is there |

use super::UNLABELLED;
use super::classes::Mapping;
use super::ledger::Origin;
use super::orient::{Axes, Plane, Turned, VIEWS};
use crate::error::{Error, Result};
use crate::os::check_interrupt;
use crate::volume::{Dims, Source};
use std::collections::BTreeMap;
use std::ops::Range;

/// Slices that are looked at together, in bytes of f32.
pub const BAND: u64 = 64 << 20;
/// Unknown values that an error names.
const NAMED: usize = 6;
/// Different unknown values that are told apart.
const MOST_UNKNOWN: usize = 4096;

/// Labels on their way in.
pub struct Incoming<'a> {
    view: Turned<'a>,
    mapping: &'a Mapping,
    placed: Option<(Plane, Vec<usize>)>,
    dims: Dims,
}

/// What was found while looking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Voxels of each label.
    pub labels: BTreeMap<u8, u64>,
}

impl<'a> Incoming<'a> {
    /// A whole volume of labels for a volume of the shape `wanted`, if there is one.
    ///
    /// # Errors
    /// Data: another shape, with the orders of axes that would fit.
    pub fn whole(
        source: &'a dyn Source,
        axes: Axes,
        mapping: &'a Mapping,
        wanted: Option<Dims>,
    ) -> Result<Incoming<'a>> {
        let view = Turned::new(source, axes)?;
        let dims = view.dims();
        if let Some(wanted) = wanted.filter(|&w| w != dims) {
            return Err(shape_error(source.dims(), dims, axes, wanted));
        }
        Ok(Incoming { view, mapping, placed: None, dims })
    }

    /// Images that are the slices `at` of a volume of the shape `volume`.
    ///
    /// # Errors
    /// Data: images of another size, with the planes that would fit. Usage: other numbers than images, twice, or outside.
    pub fn slices(
        source: &'a dyn Source,
        mapping: &'a Mapping,
        plane: Plane,
        at: &[usize],
        volume: Dims,
    ) -> Result<Incoming<'a>> {
        let (file, want) = (source.dims(), plane.dims(volume));
        if (file.ny, file.nx) != (want.ny, want.nx) {
            let fits = |p: &Plane| (file.ny, file.nx) == (p.dims(volume).ny, p.dims(volume).nx);
            let names: Vec<&str> = VIEWS.iter().filter(|p| fits(p)).map(|p| p.name()).collect();
            let lying = VIEWS.iter().any(|p| (file.nx, file.ny) == (p.dims(volume).ny, p.dims(volume).nx));
            let help = match (names.is_empty(), lying) {
                (false, _) => format!("they fit the plane {}", names.join(" or ")),
                (true, true) => "rows and columns are exchanged: transpose them before".to_string(),
                (true, false) => "they fit no plane of this volume".to_string(),
            };
            return Err(Error::data(format!(
                "images of {} rows and {} columns for slices {} of {} rows and {} columns",
                file.ny,
                file.nx,
                plane.name(),
                want.ny,
                want.nx
            ))
            .help(help));
        }
        if at.len() != file.nz {
            return Err(Error::usage(format!("{} numbers of slices for {} images", at.len(), file.nz))
                .help("give one number for each image, in the order of the images"));
        }
        for (i, &slice) in at.iter().enumerate() {
            if slice >= want.nz || at[..i].contains(&slice) {
                let what = if slice >= want.nz { "is outside" } else { "stands twice" };
                return Err(Error::usage(format!("slice {slice} {what}")).help(format!(
                    "the plane {} has the slices 0 to {}",
                    plane.name(),
                    want.nz - 1
                )));
            }
        }
        let view = Turned::new(source, Axes::NATIVE)?;
        Ok(Incoming { view, mapping, placed: Some((plane, at.to_vec())), dims: volume })
    }

    /// Shape of the volume.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Labels of slices of the volume.
    ///
    /// # Errors
    /// Those of reading; data: a value that the mapping does not know ([`Incoming::survey`] tells all of them).
    pub fn read(&self, z: Range<usize>, out: &mut [u8]) -> Result<()> {
        let d = self.dims;
        let label = |v: f32| {
            let unknown =
                || Error::data(format!("the value {v} is no label of the mapping {}", self.mapping.to_text()));
            self.mapping.label(v).ok_or_else(unknown)
        };
        let Some((plane, at)) = &self.placed else {
            let mut values = vec![0f32; out.len()];
            self.view.read(z, 0..d.ny, &mut values)?;
            for (o, &v) in out.iter_mut().zip(&values) {
                *o = label(v)?;
            }
            return Ok(());
        };
        out.fill(UNLABELLED);
        let file = self.view.dims();
        for (image, &slice) in at.iter().enumerate() {
            if *plane == Plane::Xy && !z.contains(&slice) {
                continue;
            }
            let [rows, columns] = plane.in_z(file, z.clone());
            let mut values = vec![0f32; rows.len() * file.nx];
            self.view.read(image..image + 1, rows.clone(), &mut values)?;
            for (row, values) in rows.zip(values.chunks_exact(file.nx)) {
                for column in columns.clone() {
                    let [x, y, at_z] = plane.place(slice, row, column);
                    out[((at_z - z.start) * d.ny + y) * d.nx + x] = label(values[column])?;
                }
            }
        }
        Ok(())
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// Data: values that the mapping does not know, each with its count and first place in the file; no label at all.
    pub fn survey(&self) -> Result<Survey> {
        let d = self.view.dims();
        let band = (BAND / (4 * d.slice() as u64)).clamp(1, d.nz as u64) as usize;
        let (mut survey, mut unknown) = (Survey::default(), Unknown::default());
        let mut values = Vec::new();
        for first in (0..d.nz).step_by(band) {
            check_interrupt()?;
            let z = first..(first + band).min(d.nz);
            values.resize(z.len() * d.slice(), 0f32);
            self.view.read(z, 0..d.ny, &mut values)?;
            let mut counts = [0u64; 256];
            for (i, &v) in values.iter().enumerate() {
                match self.mapping.label(v) {
                    Some(label) => counts[usize::from(label)] += 1,
                    None => unknown.add(v, [i % d.nx, i / d.nx % d.ny, first + i / d.slice()]),
                }
            }
            for (label, n) in counts.into_iter().enumerate().filter(|(_, n)| *n > 0) {
                *survey.labels.entry(label as u8).or_default() += n;
            }
        }
        unknown.refuse(self.mapping)?;
        if survey.labels.keys().all(|&l| l == UNLABELLED) {
            return Err(Error::data("no voxel has a label").help("check which value means unlabelled"));
        }
        Ok(survey)
    }
}

/// Values that no mapping knows.
#[derive(Default)]
struct Unknown {
    of: BTreeMap<u32, (u64, [usize; 3])>,
    more: u64,
}

impl Unknown {
    fn add(&mut self, value: f32, place: [usize; 3]) {
        // All NaN are one.
        let key = if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
        if self.of.len() == MOST_UNKNOWN && !self.of.contains_key(&key) {
            self.more += 1;
            return;
        }
        self.of.entry(key).or_insert((0, place)).0 += 1;
    }

    fn refuse(self, mapping: &Mapping) -> Result<()> {
        if self.of.is_empty() {
            return Ok(());
        }
        let mut all: Vec<_> = self.of.into_iter().map(|(bits, found)| (f32::from_bits(bits), found)).collect();
        all.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.total_cmp(&b.0)));
        let (values, voxels) = (all.len(), all.iter().map(|(_, (n, _))| n).sum::<u64>() + self.more);
        let one =
            |(v, (n, [x, y, z])): &(f32, (u64, [usize; 3]))| format!("{v} ({n} voxels, first at x {x}, y {y}, z {z})");
        let named: Vec<String> = all.iter().take(NAMED).map(one).collect();
        let rest = if values > NAMED { format!(" and {} more", values - NAMED) } else { String::new() };
        Err(Error::data(format!("{voxels} voxels have values that are no class: {}{rest}", named.join(", "))).help(
            format!("the mapping knows {}; give another with --map, such as 0=-,1=background", mapping.to_text()),
        ))
    }
}

fn shape_text(d: Dims) -> String {
    format!("{} x {} x {} (z, y, x)", d.nz, d.ny, d.nx)
}

/// Labels of another shape than the volume.
pub fn shape_error(file: Dims, labels: Dims, axes: Axes, wanted: Dims) -> Error {
    let fits: Vec<String> = Axes::that_fit(file, wanted).iter().map(Axes::name).collect();
    let help = match fits.as_slice() {
        [] => "no order of axes fits: they are labels of another volume, or of a part of it".to_string(),
        [one] => format!("the file fits with --axes {one}"),
        many => format!("the file fits with --axes {}: only a look tells which is right", many.join(" or ")),
    };
    let (text, wanted) = (shape_text(labels), shape_text(wanted));
    Error::data(format!("labels of {text}, read with axes {}, for a volume of {wanted}", axes.name())).help(help)
}

/// Volumes that belong together and have other shapes, with the orders of axes in which they would fit.
pub fn other_shape((name, has): (&str, Dims), (other, wanted): (&str, Dims)) -> Error {
    let fits: Vec<String> = Axes::that_fit(has, wanted).iter().map(Axes::name).collect();
    let help = match fits.as_slice() {
        [] => "no order of axes fits: it is of another volume, or of a part of it".to_string(),
        some => format!(
            "with axes {} it would fit: `labels import --axes` brings labels into that order",
            some.join(" or ")
        ),
    };
    Error::data(format!("the {name} has {}, the {other} {}", shape_text(has), shape_text(wanted))).help(help)
}

/// How labels are put onto those that are there.
#[derive(Clone, Copy, Debug)]
pub struct Onto {
    /// Of labels that are new.
    pub origin: Origin,
    /// Whether unlabelled takes away what is there.
    pub erase: bool,
    /// Whether labels that are there stay.
    pub keep: bool,
}

/// What happened to a voxel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It had no label.
    New,
    /// It had another.
    Changed,
    /// It had one.
    Erased,
}

impl Onto {
    /// Label and origin of a voxel: see the [module](self).
    pub fn voxel(self, there: (u8, u8), comes: u8) -> ((u8, u8), Change) {
        match (there.0, comes) {
            (UNLABELLED, UNLABELLED) => ((UNLABELLED, 0), Change::None),
            (_, UNLABELLED) if self.erase => ((UNLABELLED, 0), Change::Erased),
            (_, UNLABELLED) => (there, Change::None),
            (UNLABELLED, _) => ((comes, self.origin.0), Change::New),
            (a, b) if a == b || self.keep => (there, Change::None),
            _ => ((comes, self.origin.0), Change::Changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::classes::Classes;
    use crate::volume::Memory;

    fn dims(nz: usize, ny: usize, nx: usize) -> Dims {
        Dims::new(nz, ny, nx).unwrap()
    }

    #[test]
    fn a_turned_file_is_told_how_it_fits() {
        let mapping = Mapping::parse("from-1", &Classes::network()).unwrap();
        let file = Memory::new(dims(4, 3, 2), vec![1.0; 24]).unwrap();
        let e = Incoming::whole(&file, Axes::NATIVE, &mapping, Some(dims(2, 3, 4))).err().unwrap().to_string();
        assert!(e.contains("4 x 3 x 2") && e.contains("--axes xyz"), "{e}");
        let e = Incoming::whole(&file, Axes::NATIVE, &mapping, Some(dims(2, 3, 5))).err().unwrap().to_string();
        assert!(e.contains("no order of axes fits"), "{e}");
        assert!(Incoming::whole(&file, Axes::parse("xyz").unwrap(), &mapping, Some(dims(2, 3, 4))).is_ok());
    }

    #[test]
    fn what_belongs_together_is_told_how_it_would_fit() {
        let said = |has: Dims| other_shape(("mask", has), ("truth", dims(2, 3, 4))).to_string();
        let e = said(dims(4, 3, 2));
        assert!(
            e.contains("the mask has 4 x 3 x 2 (z, y, x), the truth 2 x 3 x 4") && e.contains("with axes xyz"),
            "{e}"
        );
        assert!(said(dims(4, 3, 3)).contains("no order of axes fits"));
    }

    #[test]
    fn unknown_values_are_named_counted_and_placed() {
        let mapping = Mapping::parse("from-1", &Classes::network()).unwrap();
        let mut values = vec![1.0; 12];
        (values[5], values[7], values[11], values[2]) = (9.0, 9.0, f32::NAN, 1.5);
        let file = Memory::new(dims(2, 2, 3), values).unwrap();
        let incoming = Incoming::whole(&file, Axes::NATIVE, &mapping, None).unwrap();
        let e = incoming.survey().unwrap_err().to_string();
        for says in [
            "4 voxels",
            "9 (2 voxels, first at x 2, y 1, z 0)",
            "1.5 (1 voxels",
            "NaN (1 voxels, first at x 2, y 1, z 1)",
        ] {
            assert!(e.contains(says), "{e}");
        }
        assert!(incoming.read(0..1, &mut [0; 6]).is_err());
        let empty = Memory::new(dims(1, 1, 3), vec![0.0; 3]).unwrap();
        let e = Incoming::whole(&empty, Axes::NATIVE, &mapping, None).unwrap().survey().unwrap_err().to_string();
        assert!(e.contains("no voxel has a label"), "{e}");
        let fine = Memory::new(dims(1, 1, 3), vec![0.0, 1.0, 1.0]).unwrap();
        let survey = Incoming::whole(&fine, Axes::NATIVE, &mapping, None).unwrap().survey().unwrap();
        assert_eq!(survey.labels, BTreeMap::from([(0, 2), (255, 1)]));
    }

    #[test]
    fn images_become_slices_of_every_plane() {
        let mapping = Mapping::parse("from-0", &Classes::network()).unwrap();
        let volume = dims(2, 3, 4);
        for plane in VIEWS {
            let d = plane.dims(volume);
            // Image i holds the class (row + column + i) mod 5.
            let at = [d.nz - 1, 0];
            let values: Vec<f32> =
                (0..2 * d.slice()).map(|i| ((i / d.slice() + i / d.nx % d.ny + i % d.nx) % 5) as f32).collect();
            let file = Memory::new(dims(2, d.ny, d.nx), values).unwrap();
            let incoming = Incoming::slices(&file, &mapping, plane, &at, volume).unwrap();
            let mut got = vec![9; 24];
            incoming.read(0..1, &mut got[..12]).unwrap();
            incoming.read(1..2, &mut got[12..]).unwrap();
            let mut want = vec![UNLABELLED; 24];
            for (i, slice) in at.into_iter().enumerate() {
                for (row, column) in (0..d.ny).flat_map(|r| (0..d.nx).map(move |c| (r, c))) {
                    let [x, y, z] = plane.place(slice, row, column);
                    want[(z * 3 + y) * 4 + x] = ((i + row + column) % 5) as u8;
                }
            }
            assert_eq!(got, want, "{}", plane.name());
            for (at, says) in [(vec![0], "numbers of slices"), (vec![0, 0], "twice"), (vec![0, 99], "outside")] {
                let e = Incoming::slices(&file, &mapping, plane, &at, volume).err().unwrap().to_string();
                assert!(e.contains(says), "{e}");
            }
        }
        let file = Memory::new(dims(1, 2, 3), vec![0.0; 6]).unwrap();
        let refused = |plane| Incoming::slices(&file, &mapping, plane, &[0], volume).err().unwrap().to_string();
        assert!(refused(Plane::Xy).contains("they fit the plane yz"));
        let file = Memory::new(dims(1, 4, 3), vec![0.0; 12]).unwrap();
        assert!(
            Incoming::slices(&file, &mapping, Plane::Xy, &[0], volume).err().unwrap().to_string().contains("transpose")
        );
    }

    #[test]
    fn labels_come_onto_others_as_the_table_says() {
        let onto = Onto { origin: Origin::CORRECTED, erase: false, keep: false };
        assert_eq!(onto.voxel((UNLABELLED, 0), UNLABELLED), ((UNLABELLED, 0), Change::None));
        assert_eq!(onto.voxel((3, 16), UNLABELLED), ((3, 16), Change::None));
        assert_eq!(onto.voxel((UNLABELLED, 0), 2), ((2, 2), Change::New));
        assert_eq!(onto.voxel((3, 16), 3), ((3, 16), Change::None));
        assert_eq!(onto.voxel((3, 16), 0), ((0, 2), Change::Changed));
        assert_eq!(Onto { keep: true, ..onto }.voxel((3, 1), 0), ((3, 1), Change::None));
        assert_eq!(Onto { keep: true, ..onto }.voxel((UNLABELLED, 0), 0), ((0, 2), Change::New));
        assert_eq!(Onto { erase: true, ..onto }.voxel((3, 16), UNLABELLED), ((UNLABELLED, 0), Change::Erased));
    }
}
