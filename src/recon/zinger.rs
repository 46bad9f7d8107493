//! Zingers: single pixels that a stray photon made too bright.
//!
//! ```text
//! x ← m   where m ≤ x − threshold,   m = median of the window about x in its projection, mirrored at the detector's edge
//! ```
//!
//! Bright ones only, as TomoPy's `remove_outlier`, of which this is the decision for decision the same but for one
//! rounding (there x − m ≥ threshold). Neighbours count as they were read. Whether m ≤ x − threshold is seen by
//! counting the values of the window that are: most pixels need no median. A NaN is never a zinger, and counts as
//! brighter than all.

use crate::error::{Error, Result};
use crate::recon::stripe::mirrored;
use rayon::prelude::*;
use std::ops::Range;

/// What a zinger is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zinger {
    /// Side of the window, odd.
    size: usize,
    /// How much brighter than the median, in the projections' own unit.
    threshold: f32,
}

/// Widest window.
const WIDEST: usize = 15;

impl Zinger {
    /// A window of `size` × `size` pixels and a threshold.
    ///
    /// # Errors
    /// Usage: an even or too wide window; a threshold that is not positive.
    pub fn new(size: usize, threshold: f64) -> Result<Zinger> {
        if size.is_multiple_of(2) || !(3..=WIDEST).contains(&size) {
            return Err(Error::usage(format!("a zinger window of {size} pixels"))
                .help(format!("the side is odd, 3 to {WIDEST}")));
        }
        if !(threshold > 0.0 && threshold.is_finite()) {
            return Err(Error::usage(format!("a zinger threshold of {threshold}"))
                .help("it is positive, in the unit of the projections: counts, if they are counts"));
        }
        Ok(Zinger { size, threshold: threshold as f32 })
    }

    /// Side of the window.
    pub fn size(&self) -> usize {
        self.size
    }
    /// Threshold.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }
    /// Rows that are needed on either side of those that are cleaned.
    pub fn halo(&self) -> usize {
        self.size / 2
    }

    /// Cleans the rows `inner` of `block`, `[projection][row][column]` with `rows` rows, which begin at the detector's
    /// first row or hold [`halo`](Self::halo) rows before `inner`, and likewise at the end. Returns how many pixels of
    /// each of the rows `inner` were replaced.
    pub fn clean(&self, block: &mut [f32], rows: usize, columns: usize, inner: Range<usize>) -> Vec<u64> {
        let counts: Vec<Vec<u64>> = block
            .par_chunks_mut(rows * columns)
            .map_init(
                || (Vec::new(), vec![0u8; columns], Vec::with_capacity(self.size * self.size)),
                |(before, low, window), projection| {
                    before.clear();
                    before.extend_from_slice(projection);
                    inner
                        .clone()
                        .map(|row| {
                            let line = &mut projection[row * columns..(row + 1) * columns];
                            self.clean_row(before, rows, columns, row, line, low, window)
                        })
                        .collect()
                },
            )
            .collect();
        (0..inner.len()).map(|row| counts.iter().map(|c| c[row]).sum()).collect()
    }

    fn clean_row(
        &self,
        before: &[f32],
        rows: usize,
        columns: usize,
        row: usize,
        line: &mut [f32],
        low: &mut [u8],
        window: &mut Vec<f32>,
    ) -> u64 {
        let reach = self.size as isize / 2;
        let row_at = |dy: isize| &before[mirrored(row as isize + dy, rows) * columns..][..columns];
        low.fill(0);
        for dy in -reach..=reach {
            let other = row_at(dy);
            for dx in -reach..=reach {
                let inside = dx.unsigned_abs().min(columns)..columns.saturating_sub(dx.unsigned_abs());
                if inside.start < inside.end {
                    let shifted = &other[(inside.start as isize + dx) as usize..];
                    for ((low, &x), &y) in low[inside.clone()].iter_mut().zip(&line[inside]).zip(shifted) {
                        *low += u8::from(y <= x - self.threshold);
                    }
                }
                // The columns whose window leaves the detector.
                let edge = dx.unsigned_abs().min(columns);
                for x in (0..edge).chain((columns - edge).max(edge)..columns) {
                    let y = other[mirrored(x as isize + dx, columns)];
                    low[x] += u8::from(y <= line[x] - self.threshold);
                }
            }
        }
        let half = (self.size * self.size).div_ceil(2);
        let mut found = 0;
        for x in 0..columns {
            if usize::from(low[x]) < half {
                continue;
            }
            window.clear();
            for dy in -reach..=reach {
                let other = row_at(dy);
                window.extend((-reach..=reach).map(|dx| other[mirrored(x as isize + dx, columns)]));
            }
            window.select_nth_unstable_by(half - 1, f32::total_cmp);
            line[x] = window[half - 1];
            found += 1;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;

    /// The definition, pixel by pixel.
    fn slow(image: &[f32], rows: usize, columns: usize, size: usize, threshold: f32) -> Vec<f32> {
        let reach = size as isize / 2;
        (0..rows * columns)
            .map(|i| {
                let (y, x) = ((i / columns) as isize, (i % columns) as isize);
                let mut window: Vec<f32> = (-reach..=reach)
                    .flat_map(|dy| (-reach..=reach).map(move |dx| (dy, dx)))
                    .map(|(dy, dx)| image[mirrored(y + dy, rows) * columns + mirrored(x + dx, columns)])
                    .collect();
                window.sort_by(f32::total_cmp);
                let median = window[size * size / 2];
                if median <= image[i] - threshold { median } else { image[i] }
            })
            .collect()
    }

    #[test]
    fn it_is_the_definition_however_the_rows_are_cut() {
        let random = Stream::new(11, 4);
        for (rows, columns, size) in [(9, 20, 3), (12, 17, 5), (3, 4, 5), (1, 1, 3), (7, 2, 3)] {
            let image: Vec<f32> = (0..2 * rows * columns)
                .map(|i| random.uniform_f32(i as u64) + if i % 13 == 5 { 3.0 } else { 0.0 })
                .collect();
            let zinger = Zinger::new(size, 1.5).unwrap();
            let mut whole = image.clone();
            let counts = zinger.clean(&mut whole, rows, columns, 0..rows);
            let mut changed = 0;
            for (got, from) in whole.chunks(rows * columns).zip(image.chunks(rows * columns)) {
                assert_eq!(got, slow(from, rows, columns, size, 1.5));
                changed += got.iter().zip(from).filter(|(a, b)| a != b).count() as u64;
            }
            assert_eq!(counts.iter().sum::<u64>(), changed);
            // A part of the rows with its halo.
            let inner = rows / 3..(2 * rows / 3).max(rows / 3 + 1);
            let span = inner.start.saturating_sub(zinger.halo())..(inner.end + zinger.halo()).min(rows);
            let mut part: Vec<f32> = image
                .chunks(rows * columns)
                .flat_map(|p| p[span.start * columns..span.end * columns].to_vec())
                .collect();
            if span.start > 0 || span.end < rows {
                zinger.clean(&mut part, span.len(), columns, inner.start - span.start..inner.end - span.start);
                for (got, want) in part.chunks(span.len() * columns).zip(whole.chunks(rows * columns)) {
                    let first = (inner.start - span.start) * columns;
                    let length = inner.len() * columns;
                    assert_eq!(got[first..first + length], want[inner.start * columns..][..length]);
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_left_alone() {
        let mut image = vec![1.0f32; 25];
        (image[12], image[3]) = (f32::NAN, 9.0);
        let counts = Zinger::new(3, 2.0).unwrap().clean(&mut image, 5, 5, 0..5);
        assert_eq!((counts, image[3], image[12].is_nan()), (vec![1, 0, 0, 0, 0], 1.0, true));
        for (size, threshold) in [(2, 1.0), (1, 1.0), (99, 1.0), (3, 0.0), (3, f64::NAN)] {
            assert!(Zinger::new(size, threshold).is_err());
        }
    }
}
