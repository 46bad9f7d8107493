//! A labelled volume as analysis sees it: a class per voxel in a box, `[z][y][x]`, y from the plating side inwards.
//!
//! ```text
//! file ── axes ── z, y, x ── region ── box ── mapping ── class
//! column (x, z): the voxels along y        map [z][x]        A = n_x n_z v_x v_z
//! ```
//!
//! Nothing is skipped: a value that the mapping does not know, a label outside the table of classes and a voxel that
//! nobody labelled are refused with their place.

use crate::error::{Error, Result};
use crate::json::Json;
use crate::os::check_interrupt;
use crate::segment::UNLABELLED;
use crate::segment::classes::Mapping;
use crate::segment::orient::{Axes, Turned};
use crate::units::Micrometre;
use crate::volume::{Dims, Source};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::mpsc::{channel, sync_channel};

/// Voxels of a slab that are held as they are read.
const SLAB: usize = 8 << 20;
/// Columns are counted in u16, and the largest stands for none.
const DEEPEST: usize = u16::MAX as usize - 1;

/// Shape of the box and size of its voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Voxels.
    pub dims: Dims,
    /// Size of a voxel along x, y, z, µm.
    pub voxel: [f64; 3],
}

impl Grid {
    /// n_x n_z.
    pub fn columns(&self) -> usize {
        self.dims.nx * self.dims.nz
    }
    /// v_x v_y v_z, µm³.
    pub fn voxel_volume(&self) -> f64 {
        self.voxel[0] * self.voxel[1] * self.voxel[2]
    }
    /// v_y, µm.
    pub fn depth(&self) -> f64 {
        self.voxel[1]
    }
    /// v_x v_z, µm².
    pub fn column_area(&self) -> f64 {
        self.voxel[0] * self.voxel[2]
    }
    /// A, µm².
    pub fn area(&self) -> f64 {
        self.columns() as f64 * self.column_area()
    }
    /// Whether voxels are cubes, to a part in a million.
    pub fn is_cubic(&self) -> bool {
        self.voxel.iter().all(|v| (v / self.voxel[0] - 1.0).abs() < 1e-6)
    }
}

/// A box within a volume: ranges of z, y, x.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Slices.
    pub z: Range<usize>,
    /// Depths.
    pub y: Range<usize>,
    /// Columns of a slice.
    pub x: Range<usize>,
}

impl Region {
    /// All of a volume.
    pub fn whole(dims: Dims) -> Region {
        Region { z: 0..dims.nz, y: 0..dims.ny, x: 0..dims.nx }
    }
    /// Its shape.
    ///
    /// # Errors
    /// Data: nothing lies in it, or it is not within `dims`.
    pub fn within(&self, dims: Dims) -> Result<Dims> {
        for (name, range, n) in [("z", &self.z, dims.nz), ("y", &self.y, dims.ny), ("x", &self.x, dims.nx)] {
            if range.is_empty() || range.end > n {
                let what = format!("the region has {name} {}:{}, and the volume 0:{n}", range.start, range.end);
                return Err(Error::data(what).help("name a region that is not empty and lies within the volume"));
            }
        }
        Dims::new(self.z.len(), self.y.len(), self.x.len())
    }
    /// For manifests.
    pub fn to_json(&self) -> Json {
        let pair = |r: &Range<usize>| Json::Arr(vec![r.start.into(), r.end.into()]);
        Json::obj([("z", pair(&self.z)), ("y", pair(&self.y)), ("x", pair(&self.x))])
    }
}

/// A labelled volume.
pub struct Labels {
    /// What it is called in errors.
    pub name: String,
    source: Box<dyn Source>,
    axes: Axes,
    region: Region,
    grid: Grid,
    /// Class of the values 0 … 255; [`UNKNOWN`] where there is none.
    table: [u16; 256],
    /// All values below are the class of their number.
    as_they_are: u8,
    mapping: Mapping,
    classes: usize,
}

/// Stands in the table for a value without a class.
const UNKNOWN: u16 = u16::MAX;

impl Labels {
    /// Looks at `source` through `axes`, in `region` (everything, if none), with the voxel size `voxel` where the file
    /// tells none.
    ///
    /// # Errors
    /// Data: an empty region, too deep a volume, no voxel size, or another one than the file's.
    pub fn new(
        name: &str,
        source: Box<dyn Source>,
        axes: Axes,
        region: Option<&Region>,
        voxel: Option<Micrometre>,
        (mapping, classes): (&Mapping, usize),
    ) -> Result<Labels> {
        let view = Turned::new(source.as_ref(), axes)?;
        let (whole, spacing) = (view.dims(), view.spacing());
        let region = region.cloned().unwrap_or_else(|| Region::whole(whole));
        let dims = region.within(whole).map_err(|e| e.at(name))?;
        if dims.ny > DEEPEST {
            return Err(Error::data(format!("{} voxels deep; at most {DEEPEST} are counted", dims.ny)).at(name));
        }
        let voxel = match (spacing, voxel) {
            (None, None) => {
                return Err(Error::data("tells no voxel size").help("give it: --voxel 1.33um").at(name));
            }
            (Some(s), Some(v)) if s.iter().any(|a| (a.0 / v.0 - 1.0).abs() > 1e-6) => {
                let what = format!("has voxels of {:?} um, and --voxel says {} um", s.map(|a| a.0), v.0);
                return Err(Error::data(what).help("leave --voxel out, or correct the header").at(name));
            }
            (Some(s), _) => s.map(|a| a.0),
            (None, Some(v)) => [v.0; 3],
        };
        let class = |v: usize| mapping.label(v as f32).map_or(UNKNOWN, u16::from);
        let table: [u16; 256] = std::array::from_fn(class);
        let as_they_are = (0..classes.min(255)).take_while(|&v| usize::from(table[v]) == v).count() as u8;
        let (grid, mapping) = (Grid { dims, voxel }, mapping.clone());
        Ok(Labels { name: name.into(), source, axes, region, grid, table, as_they_are, mapping, classes })
    }

    /// Shape and voxels.
    pub fn grid(&self) -> Grid {
        self.grid
    }
    /// First voxel of the box in the volume as it is turned: x, y, z.
    pub fn origin(&self) -> [usize; 3] {
        [self.region.x.start, self.region.y.start, self.region.z.start]
    }
    /// The volume behind it.
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// Another volume of this shape, such as grey values, in the same box.
    ///
    /// # Errors
    /// Data: it has another shape.
    pub fn beside(&self, source: &dyn Source) -> Result<()> {
        let (own, other) = (self.source.dims(), source.dims());
        if own == other {
            return Ok(());
        }
        let shape = |d: Dims| format!("{} x {} x {}", d.nx, d.ny, d.nz);
        Err(Error::data(format!("has {} voxels, and its labels {}", shape(other), shape(own)))
            .help("give grey values on the grid of the labels"))
    }

    /// Says that slices `z` of the box are read next of `source`, this volume or one [`beside`](Self::beside) it.
    pub fn will_read(&self, source: &dyn Source, z: &Range<usize>) {
        if self.axes == Axes::NATIVE {
            source.will_read(self.region.z.start + z.start..self.region.z.start + z.end);
        }
    }

    /// Values of `source`, a volume [`beside`](Self::beside) this one, in the slices `z` of the box.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_beside(&self, source: &dyn Source, z: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let (d, r) = (self.grid.dims, &self.region);
        let view = Turned::new(source, self.axes)?;
        let whole = view.dims();
        out.resize(z.len() * d.ny * whole.nx, 0.0);
        view.read(r.z.start + z.start..r.z.start + z.end, r.y.clone(), out)?;
        if d.nx < whole.nx {
            for row in 0..z.len() * d.ny {
                out.copy_within(row * whole.nx + r.x.start..row * whole.nx + r.x.end, row * d.nx);
            }
            out.truncate(z.len() * d.slice());
        }
        Ok(())
    }

    /// Classes of the slices `z` of the box.
    ///
    /// # Errors
    /// Those of reading; data: a voxel without a class, with its place in the volume.
    pub fn read(&self, z: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        let (d, r) = (self.grid.dims, &self.region);
        let stray = |k: usize, value: f32| {
            let at = [r.x.start + k % d.nx, r.y.start + k / d.nx % d.ny, r.z.start + z.start + k / d.slice()];
            self.stray(value, self.class(value), at)
        };
        // Bytes in our own order need no detour through f32.
        if self.axes == Axes::NATIVE && d.slice() == self.source.dims().slice() {
            out.resize(z.len() * d.slice(), 0);
            if let Some(read) = self.source.read_bytes(r.z.start + z.start..r.z.start + z.end, out) {
                read?;
                let plain = |s: &[u8]| s.iter().fold(0, |m, &v| m.max(v)) < self.as_they_are;
                if out.par_chunks(d.slice()).all(plain) {
                    return Ok(());
                }
                let unknown = |&v: &u8| usize::from(self.table[usize::from(v)]) >= self.classes;
                let strays = out.par_chunks(d.slice()).enumerate();
                let strays: Vec<usize> =
                    strays.filter_map(|(i, s)| Some(i * d.slice() + s.iter().position(unknown)?)).collect();
                if let Some(&k) = strays.first() {
                    return Err(stray(k, f32::from(out[k])));
                }
                out.par_iter_mut().for_each(|v| *v = self.table[usize::from(*v)] as u8);
                return Ok(());
            }
        }
        let mut values = Vec::new();
        self.read_beside(self.source.as_ref(), z.clone(), &mut values)?;
        out.resize(values.len(), 0);
        let strays: Vec<usize> = values
            .par_chunks(d.slice())
            .zip(out.par_chunks_mut(d.slice()))
            .enumerate()
            .filter_map(|(i, (values, out))| Some(i * d.slice() + self.classify(values, out).err()?))
            .collect();
        strays.first().map_or(Ok(()), |&k| Err(stray(k, values[k])))
    }

    fn class(&self, value: f32) -> u16 {
        let whole = value as u8;
        match f32::from(whole) == value {
            true => self.table[usize::from(whole)],
            false => self.mapping.label(value).map_or(UNKNOWN, u16::from),
        }
    }

    /// Values as classes, or the place of the first that is none.
    fn classify(&self, values: &[f32], out: &mut [u8]) -> std::result::Result<(), usize> {
        for (i, (&value, out)) in values.iter().zip(out).enumerate() {
            let class = self.class(value);
            if usize::from(class) >= self.classes {
                return Err(i);
            }
            *out = class as u8;
        }
        Ok(())
    }

    fn stray(&self, value: f32, class: u16, [x, y, z]: [usize; 3]) -> Error {
        let place = format!("at x {x}, y {y}, z {z}");
        let error = match class {
            UNKNOWN => Error::data(format!("the value {value} {place} is no class"))
                .help(format!("the map knows {}; give another with --map", self.mapping.to_text())),
            c if c == u16::from(UNLABELLED) => Error::data(format!("{place} nobody says what the voxel is"))
                .help("label everything, or say what it counts as, such as --map 0=0,1=1,255=0"),
            c => Error::data(format!("the label {c} {place} is outside the table of {} classes", self.classes))
                .help("give the table that belongs to these labels with --classes"),
        };
        error.at(&self.name)
    }

    /// [`slabs_of`] of this volume alone.
    ///
    /// # Errors
    /// Those of reading and of `each`; an interrupt.
    pub fn slabs(&self, mut each: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        slabs_of([self], |z, [slab]| each(z, slab))
    }
}

/// Calls `each` with slabs of whole slices of volumes of one shape in ascending z: the first slice, and the classes of
/// each volume. Every volume has a thread that reads what comes next: a disk is slower when it is asked in turns.
///
/// # Errors
/// Those of reading and of `each`; an interrupt.
pub fn slabs_of<const N: usize>(of: [&Labels; N], mut each: impl FnMut(usize, [&[u8]; N]) -> Result<()>) -> Result<()> {
    let Some(first) = of.first() else { return Ok(()) };
    let parts: Vec<Range<usize>> = slab_ranges(first.grid.dims).collect();
    std::thread::scope(|scope| {
        let readers = of.map(|labels| {
            let (full, slabs) = sync_channel::<Result<Vec<u8>>>(1);
            let (back, empty) = channel::<Vec<u8>>();
            let parts = &parts;
            scope.spawn(move || {
                for (i, part) in parts.iter().enumerate() {
                    // The disk goes on while what it brought is copied and looked through.
                    if let Some(next) = parts.get(i + 1) {
                        labels.will_read(labels.source(), next);
                    }
                    let mut slab = empty.try_recv().unwrap_or_default();
                    let read = labels.read(part.clone(), &mut slab).map(|()| slab);
                    let last = read.is_err();
                    // Nobody waits for more when `each` has failed.
                    if full.send(read).is_err() || last {
                        return;
                    }
                }
            });
            (slabs, back)
        });
        for part in &parts {
            check_interrupt()?;
            let mut held = [const { Vec::new() }; N];
            for ((slabs, _), held) in readers.iter().zip(&mut held) {
                *held = slabs.recv().map_err(|_| Error::bug("the reading thread panicked"))??;
            }
            each(part.start, held.each_ref().map(Vec::as_slice))?;
            for ((_, back), slab) in readers.iter().zip(held) {
                // A reader that is done takes none back.
                let _ = back.send(slab);
            }
        }
        Ok(())
    })
}

/// Slices that are looked at together.
pub fn slab_ranges(dims: Dims) -> impl Iterator<Item = Range<usize>> {
    let height = (SLAB / dims.slice()).clamp(1, dims.nz);
    (0..dims.nz).step_by(height).map(move |z| z..(z + height).min(dims.nz))
}

/// Refuses scans of different shapes or voxels.
///
/// # Errors
/// Data: the first that differs.
pub fn same_grid(scans: &[&Labels]) -> Result<Grid> {
    let first = scans.first().ok_or_else(|| Error::usage("no scan to analyse").help("name a series"))?;
    let (a, shape) = (first.grid(), |d: Dims| format!("{} x {} x {}", d.nx, d.ny, d.nz));
    for scan in &scans[1..] {
        let b = scan.grid();
        if b.dims != a.dims {
            let what = format!("has {} voxels, and {} has {}", shape(b.dims), first.name, shape(a.dims));
            return Err(Error::data(what).help("register the scans onto one grid first").at(&scan.name));
        }
        if (0..3).any(|i| (b.voxel[i] / a.voxel[i] - 1.0).abs() > 1e-6) {
            let what = format!("has voxels of {:?} um, and {} of {:?} um", b.voxel, first.name, a.voxel);
            return Err(Error::data(what).help("bring all scans to one voxel size first").at(&scan.name));
        }
    }
    Ok(a)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::segment::classes::Classes;
    use crate::volume::Memory;

    /// Labels of the seven classes of a cell with voxels of 2 µm, `[z][y][x]`.
    pub fn cell(dims: (usize, usize, usize), labels: &[u8]) -> Labels {
        let dims = Dims::new(dims.0, dims.1, dims.2).unwrap();
        let values = labels.iter().map(|&l| f32::from(l)).collect();
        let mapping = Mapping::parse("from-0", &Classes::cell()).unwrap();
        let source = Box::new(Memory::new(dims, values).unwrap());
        Labels::new("scan", source, Axes::NATIVE, None, Some(Micrometre(2.0)), (&mapping, 7)).unwrap()
    }

    #[test]
    fn a_box_of_a_turned_volume_is_read_and_strays_are_told_with_their_place() {
        let dims = Dims::new(2, 3, 4).unwrap();
        let classes = Classes::parse("[[class]]\nid=0\nname=\"a\"\n[[class]]\nid=1\nname=\"b\"").unwrap();
        let mapping = Mapping::parse("10=0,20=1,30=-", &classes).unwrap();
        let open = |values: Vec<f32>, axes: &str, region: Option<Region>, voxel: Option<f64>| {
            let source = Box::new(Memory::new(dims, values).unwrap());
            let axes = Axes::parse(axes).unwrap();
            Labels::new("s", source, axes, region.as_ref(), voxel.map(Micrometre), (&mapping, 2))
        };
        let mut values = vec![10.0; 24];
        values[(4 + 2) + 12] = 20.0; // z 1, y 1, x 2
        let region = Region { z: 1..3, y: 1..2, x: 0..2 };
        // Stored y x z: a file of 2 x 3 x 4 has y 2, x 3, z 4.
        let labels = open(values.clone(), "yxz", Some(region), Some(1.0)).unwrap();
        assert_eq!(labels.grid().dims, Dims { nz: 2, ny: 1, nx: 2 });
        let mut out = Vec::new();
        labels.read(0..2, &mut out).unwrap();
        assert_eq!(out, [0, 0, 0, 1]);
        let fails = |value: f32, says: &str| {
            let mut values = values.clone();
            values[5] = value;
            let labels = open(values, "zyx", None, Some(1.0)).unwrap();
            let e = labels.read(0..2, &mut Vec::new()).unwrap_err().to_string();
            assert!(e.contains(says) && e.contains("x 1, y 1, z 0"), "{e}");
        };
        fails(7.0, "the value 7");
        fails(10.5, "the value 10.5");
        fails(30.0, "nobody says");
        let e = open(values.clone(), "zyx", None, None).err().unwrap().to_string();
        assert!(e.contains("no voxel size"), "{e}");
        for region in [Region { z: 1..1, y: 0..3, x: 0..4 }, Region { z: 0..2, y: 0..4, x: 0..4 }] {
            assert_eq!(open(values.clone(), "zyx", Some(region), Some(1.0)).err().unwrap().fault().exit_code(), 65);
        }
        let [a, b] = [1.0, 1.5].map(|v| open(values.clone(), "zyx", None, Some(v)).unwrap());
        assert!(same_grid(&[&a, &b]).unwrap_err().to_string().contains("voxels of"));
    }
}
