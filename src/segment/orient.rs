//! Axes: a volume whose file has them in another order or direction, and the three planes in which slices are cut.
//!
//! | plane | slice | row | column | in the cell |
//! |---|---|---|---|---|
//! | `xy` | z | y | x | a slice of the reconstruction |
//! | `xz` | y | z | x | |
//! | `yz` | x | z | y | |
//! | `zy` | x | y | z | the slices of `yz`, lying as those of `xy` |
//!
//! Which of them is *in-plane* and which *cross-sectional* depends on how the cell stood; the authors call their slices
//! `vol[i]` in-plane, and `vol[:, i, :]` and `vol[:, :, i]` cross-sectional: `xy`, `xz`, `yz` of a volume stored as theirs.

use crate::error::{Error, Result};
use crate::provenance::InputFile;
use crate::volume::{Dims, Dtype, Source, Spacing};
use std::ops::Range;

/// Values that are held at once while a volume is turned: 64 MiB.
const BLOCK: usize = 16 << 20;
const NAMES: [char; 3] = ['z', 'y', 'x'];

/// Which axis of the volume each axis of a file is, slowest first, and which of the volume's axes run backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes {
    of: [usize; 3],
    flipped: [bool; 3],
}

impl Axes {
    /// z, y, x: as native volumes are stored.
    pub const NATIVE: Axes = Axes { of: [0, 1, 2], flipped: [false; 3] };

    /// Parses three letters, slowest axis of the file first, a minus before one that runs backwards: `zyx`, `xyz`, `z-yx`.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(text: &str) -> Result<Axes> {
        let wrong = || {
            Error::usage(format!("'{text}' is no order of axes"))
                .help("write z, y and x, the file's slowest axis first: zyx, xyz, yzx; -y runs backwards")
        };
        let (mut axes, mut n, mut minus) = (Axes { of: [3; 3], flipped: [false; 3] }, 0, false);
        for c in text.trim().chars() {
            if c == '-' && !minus {
                minus = true;
                continue;
            }
            let axis = NAMES.iter().position(|&name| name == c).ok_or_else(wrong)?;
            if n == 3 || axes.of.contains(&axis) {
                return Err(wrong());
            }
            axes.of[n] = axis;
            axes.flipped[axis] = minus;
            (n, minus) = (n + 1, false);
        }
        if n == 3 && !minus { Ok(axes) } else { Err(wrong()) }
    }

    /// As it is parsed.
    pub fn name(&self) -> String {
        self.of.iter().map(|&a| format!("{}{}", if self.flipped[a] { "-" } else { "" }, NAMES[a])).collect()
    }

    /// Shape of the volume whose file has the shape `file`.
    ///
    /// # Errors
    /// None for a shape that is one.
    pub fn volume(&self, file: Dims) -> Result<Dims> {
        let mut volume = [0; 3];
        self.of.iter().zip([file.nz, file.ny, file.nx]).for_each(|(&axis, n)| volume[axis] = n);
        Dims::new(volume[0], volume[1], volume[2])
    }

    /// The axes that turn the volume back into the file.
    #[must_use]
    pub fn inverse(&self) -> Axes {
        let mut inverse = Axes::NATIVE;
        for (slot, &axis) in self.of.iter().enumerate() {
            inverse.of[axis] = slot;
            inverse.flipped[slot] = self.flipped[axis];
        }
        inverse
    }

    /// The same order in every direction, this one first.
    pub fn directions(self) -> [Axes; 8] {
        std::array::from_fn(|k| Axes {
            flipped: [0, 1, 2].map(|axis| self.flipped[axis] != (k >> axis & 1 == 1)),
            ..self
        })
    }

    /// z, y, x in the volume, of the shape `volume`, of a place of the file.
    pub fn place(&self, file: [usize; 3], volume: Dims) -> [usize; 3] {
        let extents = [volume.nz, volume.ny, volume.nx];
        let mut place = [0; 3];
        for (&axis, i) in self.of.iter().zip(file) {
            place[axis] = if self.flipped[axis] { extents[axis] - 1 - i } else { i };
        }
        place
    }

    /// The orders of axes in which a file of the shape `file` is a volume of the shape `wanted`.
    pub fn that_fit(file: Dims, wanted: Dims) -> Vec<Axes> {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let axes = orders.map(|of| Axes { of, flipped: [false; 3] });
        axes.into_iter().filter(|a| a.volume(file).is_ok_and(|d| d == wanted)).collect()
    }
}

/// Bytes that reading from a file of the shape `file` takes beside what is read, where its axes are turned.
pub fn turning(file: Dims, axes: Axes) -> u64 {
    if axes == Axes::NATIVE { 0 } else { 4 * BLOCK.max(file.slice()).min(file.voxels()) as u64 }
}

/// A plane in which slices are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    /// Slices are z.
    Xy,
    /// Slices are y.
    Xz,
    /// Slices are x, rows are z.
    Yz,
    /// The slices of `Yz`, rows and columns exchanged: y goes down as it does in `Xy`, so that a network that learns from
    /// both cross sections of layers along y sees the layers lie in one way.
    Zy,
}

/// Planes in the order of their numbers.
pub const PLANES: [Plane; 3] = [Plane::Xy, Plane::Xz, Plane::Yz];
/// The ways in which slices of them are seen.
pub const VIEWS: [Plane; 4] = [Plane::Xy, Plane::Xz, Plane::Yz, Plane::Zy];

impl Plane {
    /// `xy`, `xz`, `yz` or `zy`: columns, then rows.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(text: &str) -> Result<Plane> {
        let found = VIEWS.into_iter().find(|p| p.name() == text.trim());
        found.ok_or_else(|| Error::usage(format!("'{text}' is no plane")).help("planes are xy, xz, yz and zy"))
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        ["xy", "xz", "yz", "zy"][self as usize]
    }
    /// The plane whose slices these are.
    pub fn plane(self) -> Plane {
        if self == Plane::Zy { Plane::Yz } else { self }
    }
    /// Order in which a volume's z, y, x become slice, row, column.
    pub fn cut(self) -> Axes {
        Axes { of: [[0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 1, 0]][self as usize], flipped: [false; 3] }
    }
    /// Order in which slice, row, column become z, y, x again.
    pub fn back(self) -> Axes {
        Axes { of: [[0, 1, 2], [1, 0, 2], [2, 0, 1], [2, 1, 0]][self as usize], flipped: [false; 3] }
    }
    /// Slices, rows, columns of a volume.
    pub fn dims(self, volume: Dims) -> Dims {
        let Dims { nz, ny, nx } = volume;
        let [xy, xz] = [Dims { nz, ny, nx }, Dims { nz: ny, ny: nz, nx }];
        [xy, xz, Dims { nz: nx, ny: nz, nx: ny }, Dims { nz: nx, ny, nx: nz }][self as usize]
    }
    /// Rows and columns, of those of slices, that lie in `z`; all of them where slices are z.
    pub fn in_z(self, slices: Dims, z: Range<usize>) -> [Range<usize>; 2] {
        match self {
            Plane::Xy => [0..slices.ny, 0..slices.nx],
            Plane::Xz | Plane::Yz => [z, 0..slices.nx],
            Plane::Zy => [0..slices.ny, z],
        }
    }
    /// x, y, z of a place in a slice.
    pub fn place(self, slice: usize, row: usize, column: usize) -> [usize; 3] {
        [[column, row, slice], [column, slice, row], [slice, column, row], [slice, row, column]][self as usize]
    }
    /// Row and column of the place x, y, z.
    pub fn within(self, [x, y, z]: [usize; 3]) -> [usize; 2] {
        [[y, x], [z, x], [z, y], [y, z]][self as usize]
    }
}

/// A volume seen through [`Axes`].
pub struct Turned<'a> {
    source: &'a dyn Source,
    axes: Axes,
    dims: Dims,
}

impl<'a> Turned<'a> {
    /// The view; its z, y, x are those that the axes name.
    ///
    /// # Errors
    /// As [`Axes::volume`].
    pub fn new(source: &'a dyn Source, axes: Axes) -> Result<Turned<'a>> {
        Ok(Turned { source, axes, dims: axes.volume(source.dims())? })
    }

    /// Slices of a plane: z of the view is the slice.
    ///
    /// # Errors
    /// As [`Axes::volume`].
    pub fn slices(source: &'a dyn Source, plane: Plane) -> Result<Turned<'a>> {
        Turned::new(source, plane.cut())
    }
}

impl Source for Turned<'_> {
    fn dims(&self) -> Dims {
        self.dims
    }
    fn dtype(&self) -> Dtype {
        self.source.dtype()
    }
    fn spacing(&self) -> Spacing {
        // Spacing is x, y, z; axes count z, y, x.
        let file = self.source.spacing()?;
        let mut turned = file;
        self.axes.of.iter().enumerate().for_each(|(i, &axis)| turned[2 - axis] = file[2 - i]);
        Some(turned)
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        if self.axes == Axes::NATIVE {
            return self.source.read(z, y, out);
        }
        let d = self.dims;
        if z.end > d.nz || y.end > d.ny || out.len() != z.len() * y.len() * d.nx {
            return Err(Error::bug(format!("block z {z:?}, y {y:?} of a turned volume {d:?}")));
        }
        let (extents, wanted) = ([d.nz, d.ny, d.nx], [z.clone(), y.clone(), 0..d.nx]);
        // What of the file's axes is read.
        let range = |axis: usize| -> Range<usize> {
            let (w, n) = (&wanted[axis], extents[axis]);
            if self.axes.flipped[axis] { n - w.end..n - w.start } else { w.clone() }
        };
        let of = self.axes.of;
        let (first, second, fast) = (range(of[0]), range(of[1]), range(of[2]));
        let length = extents[of[2]];
        let strides = [y.len() * d.nx, d.nx, 1];
        // Offset in `out` of each index along an axis of the file.
        let offsets = |axis: usize, range: &Range<usize>| -> Vec<usize> {
            let (w, n) = (&wanted[axis], extents[axis]);
            range
                .clone()
                .map(|i| (if self.axes.flipped[axis] { n - 1 - i } else { i } - w.start) * strides[axis])
                .collect()
        };
        let (rows, columns) = (offsets(of[1], &second), offsets(of[2], &fast));
        let plane = second.len() * length;
        let planes = (BLOCK / plane.max(1)).clamp(1, first.len().max(1));
        let mut block = vec![0f32; planes * plane];
        let mut at = first.start;
        while at < first.end {
            let part = at..(at + planes).min(first.end);
            let block = &mut block[..part.len() * plane];
            self.source.read(part.clone(), second.clone(), block)?;
            let starts = offsets(of[0], &part);
            for (start, plane) in starts.iter().zip(block.chunks_exact(plane.max(1))) {
                for (row, values) in rows.iter().zip(plane.chunks_exact(length)) {
                    for (column, value) in columns.iter().zip(&values[fast.clone()]) {
                        out[start + row + column] = *value;
                    }
                }
            }
            at = part.end;
        }
        Ok(())
    }
    fn cost(&self, _: Range<usize>, _: Range<usize>) -> u64 {
        // A turned slab may take a pass over the whole.
        let d = self.source.dims();
        self.source.cost(0..d.nz, 0..d.ny)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        self.source.inputs()
    }
}

/// Calls `each` with every slice of a source from `first` on, read in bands of at most `memory` bytes.
///
/// # Errors
/// Those of reading and of `each`.
pub fn each_slice(
    source: &dyn Source,
    slices: Range<usize>,
    memory: u64,
    mut each: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let d = source.dims();
    let band = (memory / (4 * d.slice() as u64)).clamp(1, slices.len().max(1) as u64) as usize;
    let mut block = Vec::new();
    let mut at = slices.start;
    while at < slices.end {
        crate::os::check_interrupt()?;
        let part = at..(at + band).min(slices.end);
        block.resize(part.len() * d.slice(), 0.0);
        source.read(part.clone(), 0..d.ny, &mut block)?;
        for (z, slice) in part.clone().zip(block.chunks_exact(d.slice())) {
            each(z, slice)?;
        }
        at = part.end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Memory;

    fn counted(nz: usize, ny: usize, nx: usize) -> Memory {
        Memory::new(Dims::new(nz, ny, nx).unwrap(), (0..nz * ny * nx).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn every_order_and_direction_puts_each_voxel_where_it_belongs() {
        let file = counted(2, 3, 4);
        let n = [2, 3, 4];
        for text in ["zyx", "zxy", "yzx", "yxz", "xzy", "xyz", "-zyx", "z-y-x", "-x-yz", "y-zx"] {
            let axes = Axes::parse(text).unwrap();
            assert_eq!(axes.name(), text);
            let view = Turned::new(&file, axes).unwrap();
            let d = view.dims();
            let extents = [d.nz, d.ny, d.nx];
            for (z, y) in [(0..d.nz, 0..d.ny), (1..d.nz, 0..1), (0..1, 1..d.ny)] {
                let mut out = vec![-1.0; z.len() * y.len() * d.nx];
                view.read(z.clone(), y.clone(), &mut out).unwrap();
                let places = z.flat_map(|z| y.clone().flat_map(move |y| (0..d.nx).map(move |x| [z, y, x])));
                for (k, place) in places.enumerate() {
                    let i = axes.of.map(|a| if axes.flipped[a] { extents[a] - 1 - place[a] } else { place[a] });
                    assert_eq!(out[k], ((i[0] * n[1] + i[1]) * n[2] + i[2]) as f32, "{text} {place:?}");
                }
            }
        }
        for text in ["zyx", "yzx", "-xyz", "y-z-x", "-x-z-y", "x-yz"] {
            let axes = Axes::parse(text).unwrap();
            let mut seen = vec![0.0; 24];
            let turned = Turned::new(&file, axes).unwrap();
            turned.read(0..turned.dims.nz, 0..turned.dims.ny, &mut seen).unwrap();
            for (i, v) in file.values().iter().enumerate() {
                let [z, y, x] = axes.place([i / 12, i / 4 % 3, i % 4], turned.dims);
                assert_eq!(seen[(z * turned.dims.ny + y) * turned.dims.nx + x], *v, "{text}");
            }
            let view = Turned::new(&file, axes.inverse()).unwrap();
            let d = view.dims();
            let mut stored = vec![0.0; 24];
            view.read(0..d.nz, 0..d.ny, &mut stored).unwrap();
            let stored = Memory::new(d, stored).unwrap();
            let mut back = vec![0.0; 24];
            Turned::new(&stored, axes).unwrap().read(0..2, 0..3, &mut back).unwrap();
            assert_eq!(back, file.values(), "what is written with axes is read with the same: {text}");
        }
        for text in ["", "zy", "zyxz", "zzx", "z--yx", "zyx-", "abc"] {
            assert!(Axes::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn planes_cut_and_come_back() {
        let volume = counted(2, 3, 4);
        for plane in VIEWS {
            let cut = Turned::slices(&volume, plane).unwrap();
            assert_eq!(cut.dims(), plane.dims(volume.dims()));
            let d = cut.dims();
            let mut slices = vec![0.0; d.voxels()];
            cut.read(0..d.nz, 0..d.ny, &mut slices).unwrap();
            for (i, v) in slices.iter().enumerate() {
                let [x, y, z] = plane.place(i / d.slice(), i / d.nx % d.ny, i % d.nx);
                assert_eq!(*v, ((z * 3 + y) * 4 + x) as f32);
            }
            let stored = Memory::new(d, slices).unwrap();
            let mut back = vec![0.0; 24];
            Turned::new(&stored, plane.back()).unwrap().read(0..2, 0..3, &mut back).unwrap();
            assert_eq!(back, volume.values(), "{}", plane.name());
            assert_eq!(Plane::parse(plane.name()).unwrap(), plane);
            let mut seen = 0;
            each_slice(&cut, 1..d.nz, 1, |z, slice| {
                seen += 1;
                assert_eq!((z, slice.len()), (seen, d.slice()));
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, d.nz - 1);
        }
    }

    #[test]
    fn every_order_has_eight_directions() {
        let names = Axes::NATIVE.directions().map(|a| a.name());
        assert_eq!(names, ["zyx", "-zyx", "z-yx", "-z-yx", "zy-x", "-zy-x", "z-y-x", "-z-y-x"]);
    }

    #[test]
    fn orders_that_fit_are_found() {
        let names = |file: [usize; 3], wanted: [usize; 3]| -> Vec<String> {
            let dims = |d: [usize; 3]| Dims::new(d[0], d[1], d[2]).unwrap();
            Axes::that_fit(dims(file), dims(wanted)).iter().map(Axes::name).collect()
        };
        assert_eq!(names([5, 3, 4], [3, 4, 5]), ["xzy"]);
        assert_eq!(names([4, 4, 3], [3, 4, 4]), ["yxz", "xyz"]);
        assert!(names([5, 3, 4], [3, 4, 6]).is_empty());
    }
}
