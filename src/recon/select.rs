//! Parts of a stack of projections, seen through the stack itself: binned, cropped, or with views left out.
//!
//! ```text
//! Binned    (b²)⁻¹ Σ over b × b pixels, rows first; what is left over at the end is dropped      c′ = (c − (b − 1)/2) / b
//! Columns   columns first … end                                                                  c′ = c − first
//! Views     some of the projections
//! Joined    stacks one behind the other
//! Turned    (row, angle, column) as (angle, row, column)
//! ```
//!
//! c is the axis as a pixel index. Sums in f32, in the order of rows, then columns; bins are means, so that counts,
//! thresholds and transmissions keep their scale.

use crate::error::{Error, Result};
use crate::provenance::InputFile;
use crate::units::Micrometre;
use crate::volume::{Dims, Dtype, Source, Spacing};
use std::ops::Range;

/// Numbers read at a time.
const BLOCK: usize = 1 << 22;

/// A stack in bins of `factor` × `factor` pixels.
pub struct Binned {
    inner: Box<dyn Source>,
    factor: usize,
    dims: Dims,
}

impl Binned {
    /// Bins of `factor` × `factor` pixels.
    ///
    /// # Errors
    /// If not one whole bin is left.
    pub fn new(inner: Box<dyn Source>, factor: usize) -> Result<Binned> {
        let d = inner.dims();
        if factor == 0 || d.ny < factor || d.nx < factor {
            return Err(
                Error::usage(format!("bins of {factor} pixels on {} x {} pixels", d.nx, d.ny)).help("bin by less")
            );
        }
        let dims = Dims::new(d.nz, d.ny / factor, d.nx / factor)?;
        Ok(Binned { inner, factor, dims })
    }
}

/// The axis in bins of `factor` columns.
pub fn binned_axis(axis: f64, factor: usize) -> f64 {
    (axis - (factor as f64 - 1.0) / 2.0) / factor as f64
}

impl Source for Binned {
    fn dims(&self) -> Dims {
        self.dims
    }
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn spacing(&self) -> Spacing {
        self.inner.spacing().map(|s| s.map(|Micrometre(v)| Micrometre(v * self.factor as f64)))
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        let (b, wide, nx) = (self.factor, self.inner.dims().nx, self.dims.nx);
        let rows = y.start * b..y.end * b;
        let frame = rows.len() * wide;
        let depth = (BLOCK / frame).clamp(1, z.len());
        let mut block = vec![0.0f32; depth * frame];
        let scale = 1.0 / (b * b) as f32;
        for (first, out) in z.clone().step_by(depth).zip(out.chunks_mut(depth * y.len() * nx)) {
            let some = first..(first + depth).min(z.end);
            let block = &mut block[..some.len() * frame];
            self.inner.read(some, rows.clone(), block)?;
            for (line, bins) in block.chunks_exact(b * wide).zip(out.chunks_exact_mut(nx)) {
                for (x, bin) in bins.iter_mut().enumerate() {
                    let mut sum = 0.0f32;
                    for row in line.chunks_exact(wide) {
                        row[x * b..(x + 1) * b].iter().for_each(|v| sum += v);
                    }
                    *bin = sum * scale;
                }
            }
        }
        Ok(())
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.inner.cost(z, y.start * self.factor..y.end * self.factor)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        self.inner.inputs()
    }
}

/// Some columns of a stack.
pub struct Columns {
    inner: Box<dyn Source>,
    columns: Range<usize>,
    dims: Dims,
}

impl Columns {
    /// The columns `columns`.
    ///
    /// # Errors
    /// If they are not on the detector.
    pub fn new(inner: Box<dyn Source>, columns: Range<usize>) -> Result<Columns> {
        let d = inner.dims();
        if columns.is_empty() || columns.end > d.nx {
            return Err(Error::usage(format!("columns {}:{} of {}", columns.start, columns.end, d.nx))
                .help(format!("columns are counted from 0, the end is not included: at most --columns 0:{}", d.nx)));
        }
        let dims = Dims::new(d.nz, d.ny, columns.len())?;
        Ok(Columns { inner, columns, dims })
    }
}

impl Source for Columns {
    fn dims(&self) -> Dims {
        self.dims
    }
    fn dtype(&self) -> Dtype {
        self.inner.dtype()
    }
    fn spacing(&self) -> Spacing {
        self.inner.spacing()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        let wide = self.inner.dims().nx;
        let frame = y.len() * wide;
        let depth = (BLOCK / frame).clamp(1, z.len());
        let mut block = vec![0.0f32; depth * frame];
        for (first, out) in z.clone().step_by(depth).zip(out.chunks_mut(depth * y.len() * self.dims.nx)) {
            let some = first..(first + depth).min(z.end);
            let block = &mut block[..some.len() * frame];
            self.inner.read(some, y.clone(), block)?;
            for (row, part) in block.chunks_exact(wide).zip(out.chunks_exact_mut(self.dims.nx)) {
                part.copy_from_slice(&row[self.columns.clone()]);
            }
        }
        Ok(())
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.inner.cost(z, y)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        self.inner.inputs()
    }
}

/// Some projections of a stack.
pub struct Views {
    inner: Box<dyn Source>,
    /// Runs of neighbouring projections, and how many come before each.
    runs: Vec<(usize, Range<usize>)>,
    dims: Dims,
}

impl Views {
    /// The projections `views`, ascending.
    ///
    /// # Errors
    /// If there are none, or they are not in order or not in the stack.
    pub fn new(inner: Box<dyn Source>, views: &[usize]) -> Result<Views> {
        let d = inner.dims();
        if views.is_empty() || views.windows(2).any(|w| w[0] >= w[1]) || views.last() >= Some(&d.nz) {
            return Err(Error::usage(format!("{} views of {} projections, or not in order", views.len(), d.nz)));
        }
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        for (place, &view) in views.iter().enumerate() {
            match runs.last_mut() {
                Some((_, run)) if run.end == view => run.end += 1,
                _ => runs.push((place, view..view + 1)),
            }
        }
        Ok(Views { inner, runs, dims: Dims::new(views.len(), d.ny, d.nx)? })
    }

    /// The parts of the runs that lie in `z`.
    fn parts(&self, z: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        self.runs.iter().filter_map(move |(place, run)| {
            let from = z.start.max(*place);
            let to = z.end.min(place + run.len());
            (from < to).then(|| run.start + from - place..run.start + to - place)
        })
    }
}

impl Source for Views {
    fn dims(&self) -> Dims {
        self.dims
    }
    fn dtype(&self) -> Dtype {
        self.inner.dtype()
    }
    fn spacing(&self) -> Spacing {
        self.inner.spacing()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, mut out: &mut [f32]) -> Result<()> {
        let frame = y.len() * self.dims.nx;
        for part in self.parts(z) {
            let (here, rest) = out.split_at_mut(part.len() * frame);
            self.inner.read(part, y.clone(), here)?;
            out = rest;
        }
        Ok(())
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.parts(z).map(|part| self.inner.cost(part, y.clone())).sum()
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        self.inner.inputs()
    }
}

/// Stacks one behind the other.
pub struct Joined {
    parts: Vec<Box<dyn Source>>,
    dims: Dims,
}

impl Joined {
    /// `parts` in their order; one at least.
    ///
    /// # Errors
    /// If their pixels differ in number, or there is no part.
    pub fn new(parts: Vec<Box<dyn Source>>) -> Result<Joined> {
        let sizes: Vec<Dims> = parts.iter().map(|p| p.dims()).collect();
        let Some(first) = sizes.first() else { return Err(Error::bug("no stacks to join")) };
        if let Some(other) = sizes.iter().find(|d| (d.ny, d.nx) != (first.ny, first.nx)) {
            return Err(Error::data(format!(
                "stacks of {} x {} and of {} x {} pixels",
                first.nx, first.ny, other.nx, other.ny
            )));
        }
        let dims = Dims::new(sizes.iter().map(|d| d.nz).sum(), first.ny, first.nx)?;
        Ok(Joined { parts, dims })
    }

    /// Nothing: what stands in a place whose stack was taken out.
    pub fn empty() -> Joined {
        Joined { parts: Vec::new(), dims: Dims { nz: 0, ny: 0, nx: 0 } }
    }

    /// The parts that `z` touches, and what of each.
    fn touched(&self, z: Range<usize>) -> Vec<(&dyn Source, Range<usize>)> {
        let mut begin = 0;
        let mut touched = Vec::new();
        for part in &self.parts {
            let n = part.dims().nz;
            let (from, to) = (z.start.max(begin), z.end.min(begin + n));
            if from < to {
                touched.push((part.as_ref(), from - begin..to - begin));
            }
            begin += n;
        }
        touched
    }
}

impl Source for Joined {
    fn dims(&self) -> Dims {
        self.dims
    }
    fn dtype(&self) -> Dtype {
        self.parts.first().map_or(Dtype::F32, |part| part.dtype())
    }
    fn spacing(&self) -> Spacing {
        self.parts.first().and_then(|part| part.spacing())
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, mut out: &mut [f32]) -> Result<()> {
        for (part, z) in self.touched(z) {
            let (here, rest) = out.split_at_mut(z.len() * y.len() * self.dims.nx);
            part.read(z, y.clone(), here)?;
            out = rest;
        }
        Ok(())
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.touched(z).into_iter().map(|(part, z)| part.cost(z, y.clone())).sum()
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        let mut inputs = Vec::new();
        for part in &self.parts {
            inputs.extend(part.inputs()?);
        }
        Ok(inputs)
    }
}

/// A volume (row, angle, column) seen as projections (angle, row, column).
pub struct Turned<S>(pub S);

impl<S: Source> Source for Turned<S> {
    fn dims(&self) -> Dims {
        let d = self.0.dims();
        Dims { nz: d.ny, ny: d.nz, nx: d.nx }
    }
    fn dtype(&self) -> Dtype {
        self.0.dtype()
    }
    fn spacing(&self) -> Spacing {
        self.0.spacing()
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        let (nx, rows) = (self.0.dims().nx, y.len());
        let mut row = vec![0.0f32; z.len() * nx];
        for (place, y) in y.enumerate() {
            self.0.read(y..y + 1, z.clone(), &mut row)?;
            for (i, values) in row.chunks_exact(nx).enumerate() {
                out[(i * rows + place) * nx..][..nx].copy_from_slice(values);
            }
        }
        Ok(())
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.0.cost(y, z)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        self.0.inputs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Memory;

    fn stack() -> Box<dyn Source> {
        let values = (0..6 * 5 * 7).map(|i| i as f32).collect();
        Box::new(Memory::new(Dims::new(6, 5, 7).unwrap(), values).unwrap())
    }
    fn all(source: &dyn Source) -> Vec<f32> {
        let d = source.dims();
        let mut whole = vec![f32::NAN; d.voxels()];
        source.read(0..d.nz, 0..d.ny, &mut whole).unwrap();
        // Any block is the same part of the whole.
        for (z, y) in [(0..1, 0..d.ny), (d.nz - 1..d.nz, d.ny - 1..d.ny), (0..d.nz, 1..2)] {
            let mut part = vec![f32::NAN; z.len() * y.len() * d.nx];
            source.read(z.clone(), y.clone(), &mut part).unwrap();
            for (i, line) in part.chunks(d.nx).enumerate() {
                let at = (z.start + i / y.len()) * d.ny + y.start + i % y.len();
                assert_eq!(line, &whole[at * d.nx..][..d.nx]);
            }
        }
        whole
    }

    #[test]
    fn bins_are_means_and_the_axis_goes_along() {
        let binned = Binned::new(stack(), 2).unwrap();
        assert_eq!((binned.dims().nz, binned.dims().ny, binned.dims().nx), (6, 2, 3));
        // Pixels 0, 1, 7, 8.
        assert_eq!(all(&binned)[..2], [4.0, 6.0]);
        assert_eq!((binned_axis(10.5, 2), binned_axis(3.0, 1)), (5.0, 3.0));
        assert!(Binned::new(stack(), 6).is_err() && Binned::new(stack(), 0).is_err());
    }

    #[test]
    fn columns_views_and_turned_stacks_are_parts_of_the_stack() {
        let columns = Columns::new(stack(), 2..5).unwrap();
        assert_eq!(all(&columns)[..4], [2.0, 3.0, 4.0, 9.0]);
        assert!(Columns::new(stack(), 5..8).is_err());
        let views = Views::new(stack(), &[0, 1, 4, 5]).unwrap();
        let got = all(&views);
        assert_eq!((got[0], got[35], got[70], got[105]), (0.0, 35.0, 140.0, 175.0));
        assert_eq!(views.cost(0..4, 0..5), stack().cost(0..4, 0..5));
        assert!(Views::new(stack(), &[0, 6]).is_err() && Views::new(stack(), &[1, 1]).is_err());
        let joined = Joined::new(vec![stack(), stack()]).unwrap();
        let got = all(&joined);
        assert_eq!((got[0], got[209], got[210], got[419]), (0.0, 209.0, 0.0, 209.0));
        assert!(Joined::new(vec![stack(), Box::new(Columns::new(stack(), 1..3).unwrap())]).is_err());
        let turned = Turned(Memory::new(Dims::new(6, 5, 7).unwrap(), all(&*stack())).unwrap());
        let got = all(&turned);
        for (i, value) in got.iter().enumerate() {
            let (z, y, x) = (i / 42, i / 7 % 6, i % 7);
            assert_eq!(*value, (y * 35 + z * 7 + x) as f32);
        }
    }
}
