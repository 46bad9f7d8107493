//! Projections side by side: two detectors, or two positions of one, that see one wide scan.
//!
//! The right stack lies `d` columns to the right of the left one and may be shifted along the rows; both are transmission.
//! The offset is searched among whole columns by the correlation of the overlap of some
//! projections, each row less its mean, and refined
//! with the rows and the gain ([`super::fit`]); one offset and one gain for all projections.
//!
//! ```text
//! T(x) = (1 − w) L(x) + w g R(x − d),    w linear across the overlap
//! ```

use super::{BELIEVABLE, Block, Fit, correlation, fit};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::os::check_interrupt;
use crate::provenance::InputFile;
use crate::volume::{Dims, Dtype, Source};
use std::ops::Range;

/// Projections that are compared.
const SAMPLES: usize = 12;
/// Least columns of overlap.
pub const LEAST_OVERLAP: usize = super::LEAST;

/// Two stacks as one wide one.
pub struct Wide<L, R> {
    isa: Isa,
    left: L,
    right: R,
    dims: Dims,
    shift: [f64; 3],
    gain: f32,
}

/// Fits `right` to `left`; their overlap has `overlap` columns.
///
/// # Errors
/// Data: stacks that do not fit each other, or are not alike in any overlap.
pub fn place<L: Source, R: Source>(isa: Isa, left: L, right: R, overlap: Range<usize>) -> Result<(Wide<L, R>, Fit)> {
    let (dl, dr) = (left.dims(), right.dims());
    if (dl.nz, dl.ny) != (dr.nz, dr.ny) {
        return Err(Error::data(format!(
            "{} projections of {} rows on the left, {} of {} on the right",
            dl.nz, dl.ny, dr.nz, dr.ny
        ))
        .help("both sides have the same projections and rows"));
    }
    let most = dl.nx.min(dr.nx);
    let range = overlap.start.max(LEAST_OVERLAP)..overlap.end.min(most + 1);
    if range.is_empty() {
        return Err(Error::usage(format!("an overlap of {}:{} columns", overlap.start, overlap.end))
            .help(format!("it has {LEAST_OVERLAP} to {most} columns")));
    }
    let step = dl.nz.div_ceil(SAMPLES);
    let samples: Vec<usize> = (0..dl.nz).step_by(step).collect();
    let read = |source: &dyn Source| -> Result<Vec<Vec<f32>>> {
        let d = source.dims();
        samples
            .iter()
            .map(|&z| {
                let mut view = vec![0.0f32; d.slice()];
                source.read(z..z + 1, 0..d.ny, &mut view)?;
                Ok(view)
            })
            .collect()
    };
    let (views_l, views_r) = (read(&left)?, read(&right)?);
    let strip = |views: &[Vec<f32>], nx: usize, columns: Range<usize>| -> Vec<f32> {
        views.iter().flat_map(|v| v.chunks_exact(nx).flat_map(|line| line[columns.clone()].to_vec())).collect()
    };
    // What a row has in all of its columns tells nothing about their offset.
    let varying = |mut values: Vec<f32>, overlap: usize| -> Vec<f32> {
        for line in values.chunks_exact_mut(overlap) {
            let mean = line.iter().sum::<f32>() / overlap as f32;
            line.iter_mut().for_each(|v| *v -= mean);
        }
        values
    };
    let mut best = (f64::NEG_INFINITY, 0);
    for overlap in range.clone() {
        check_interrupt()?;
        let a = varying(strip(&views_l, dl.nx, dl.nx - overlap..dl.nx), overlap);
        let alike = correlation(&a, &varying(strip(&views_r, dr.nx, 0..overlap), overlap));
        if alike > best.0 {
            best = (alike, overlap);
        }
    }
    let (alike, overlap) = best;
    let at_end = range.len() > 1 && (overlap == range.start || overlap + 1 == range.end);
    if alike.is_nan() || alike < BELIEVABLE || at_end {
        return Err(Error::data(format!(
            "no overlap of {} to {} columns: the best, {overlap}, has a correlation of {alike:.2}",
            range.start,
            range.end - 1
        ))
        .help("check which side is left, or give another range with --overlap"));
    }
    let size = [samples.len(), dl.ny, overlap];
    let a = Block { size, values: strip(&views_l, dl.nx, dl.nx - overlap..dl.nx) };
    let b = Block { size, values: strip(&views_r, dr.nx, 0..overlap) };
    // Few rows tell no shift along them.
    let rows = dl.ny >= LEAST_OVERLAP;
    let mut fit = fit(isa, &a, &b, [false, rows, true])?;
    fit.shift[2] += (dl.nx - overlap) as f64;
    let dims = Dims::new(dl.nz, dl.ny, (fit.shift[2] + dr.nx as f64).floor() as usize)?;
    let wide = Wide { isa, left, right, dims, shift: fit.shift, gain: fit.gain as f32 };
    Ok((wide, fit))
}

impl<L: Source, R: Source> Source for Wide<L, R> {
    fn dims(&self) -> Dims {
        self.dims
    }
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn read(&self, z: Range<usize>, y: Range<usize>, out: &mut [f32]) -> Result<()> {
        let (nl, nr, nx) = (self.left.dims().nx, self.right.dims().nx, self.dims.nx);
        let ny = self.dims.ny;
        // Rows shifted by a fraction need their neighbours.
        let halo = if self.shift[1] == 0.0 { 0 } else { super::TAPS + self.shift[1].abs() as usize };
        let span = y.start.saturating_sub(halo)..(y.end + halo).min(ny);
        for (z, out) in z.zip(out.chunks_exact_mut(y.len() * nx)) {
            let mut left = vec![0.0f32; y.len() * nl];
            self.left.read(z..z + 1, y.clone(), &mut left)?;
            let mut right = vec![0.0f32; span.len() * nr];
            self.right.read(z..z + 1, span.clone(), &mut right)?;
            let whole = self.shift[2].floor();
            let block = Block { size: [1, span.len(), nr], values: right };
            let right =
                block.shifted(self.isa, [0.0, self.shift[1], self.shift[2] - whole], [false, halo > 0, true]).values;
            let first = whole as usize;
            for (i, line) in out.chunks_exact_mut(nx).enumerate() {
                let of_left = &left[i * nl..][..nl];
                let of_right = &right[(y.start + i - span.start) * nr..][..nr];
                let overlap = (nl - first) as f32;
                for (x, value) in line.iter_mut().enumerate() {
                    *value = if x < first {
                        of_left[x]
                    } else {
                        let v = self.gain * of_right[(x - first).min(nr - 1)];
                        let w = ((x - first) as f32 + 1.0) / (overlap + 1.0);
                        if x < nl { w.mul_add(v - of_left[x], of_left[x]) } else { v }
                    };
                }
            }
        }
        Ok(())
    }
    fn cost(&self, z: Range<usize>, y: Range<usize>) -> u64 {
        self.left.cost(z.clone(), y.clone()) + self.right.cost(z, y)
    }
    fn inputs(&self) -> Result<Vec<InputFile>> {
        let mut inputs = self.left.inputs()?;
        inputs.extend(self.right.inputs()?);
        Ok(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::field;
    use super::*;
    use crate::num::philox::Stream;
    use crate::volume::Memory;

    fn view(seed: u64, columns: Range<f64>, dy: f64, gain: f64) -> Memory {
        let (nz, ny, nx) = (20, 32, (columns.end - columns.start) as usize);
        let random = Stream::new(seed, 8);
        let values = (0..nz * ny * nx)
            .map(|i| {
                let (z, y, x) = (i / (ny * nx), i / nx % ny, i % nx);
                let truth = 1.0 + 0.1 * field(4, 3.0 * z as f64, y as f64 + dy, x as f64 + columns.start);
                (truth * gain + 0.01 * random.normal(i as u64)) as f32
            })
            .collect();
        Memory::new(Dims::new(nz, ny, nx).unwrap(), values).unwrap()
    }

    #[test]
    fn two_halves_become_one_row() {
        let (offset, dy) = (45.3, 0.4);
        let left = view(1, 0.0..80.0, 0.0, 1.0);
        let right = view(2, offset..offset + 70.0, dy, 0.9);
        let (wide, fit) = place(Isa::detect(), left, right, 24..60).unwrap();
        assert!((fit.shift[2] - offset).abs() < 0.05 && (fit.shift[1] - dy).abs() < 0.05, "{fit:?}");
        assert!((fit.gain - 1.0 / 0.9).abs() < 0.02, "{fit:?}");
        let d = wide.dims();
        assert_eq!(d.nx, 115);
        let mut all = vec![0.0f32; d.voxels()];
        wide.read(0..d.nz, 0..d.ny, &mut all).unwrap();
        for x in (0..d.nx - 5).step_by(7) {
            let mut sum = 0.0;
            for z in 0..d.nz {
                for y in 8..24 {
                    let truth = 1.0 + 0.1 * field(4, 3.0 * z as f64, y as f64, x as f64);
                    sum += f64::from(all[(z * d.ny + y) * d.nx + x]) - truth;
                }
            }
            // 320 values of noise 0.02, and the gain's error of 1 %.
            assert!((sum / 320.0).abs() < 0.015, "column {x}: {}", sum / 320.0);
        }
        // Rows alone are the rows of the whole.
        let mut part = vec![0.0f32; 3 * d.nx];
        wide.read(4..5, 20..23, &mut part).unwrap();
        assert_eq!(part, all[(4 * d.ny + 20) * d.nx..][..3 * d.nx]);
    }

    #[test]
    fn sides_that_do_not_fit_are_refused() {
        let left = || view(1, 0.0..60.0, 0.0, 1.0);
        assert!(place(Isa::detect(), left(), view(2, 700.0..760.0, 0.0, 1.0), 24..60).is_err());
        assert!(place(Isa::detect(), left(), view(2, 30.0..90.0, 0.0, 1.0), 40..60).is_err(), "outside the range");
        assert!(place(Isa::detect(), left(), view(2, 30.0..90.0, 0.0, 1.0), 2..9).is_err());
        let other = Memory::new(Dims::new(3, 32, 60).unwrap(), vec![1.0; 3 * 32 * 60]).unwrap();
        assert!(place(Isa::detect(), left(), other, 24..60).is_err());
    }
}
