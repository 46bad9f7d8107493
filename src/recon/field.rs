//! Where a detector's columns lie in the reconstruction, and what stands where the detector saw nothing.
//!
//! ```text
//! columns   0 ……… lead ……… lead + measured ……… columns
//!             fill     w_j · p[j]          fill              the row that is reconstructed
//! ```
//!
//! | field | lead | fill | w | image |
//! |---|---|---|---|---|
//! | [`Field::plain`] | 0 | | 1 | measured² |
//! | [`Field::padded`] | N/4, rounded up | the row's own first and last value | 1 | measured² |
//! | [`Field::off_axis`] | what puts the axis in the middle | 0 | a ramp across the overlap | columns² |
//!
//! **Padding.** A sample wider than the detector leaves rows that end above zero. The step to zero is amplified by the
//! ramp filter into a bright rim; rows that go on with their end values have no step. What lies outside stays unknown:
//! values in the field are right up to a smooth offset, that is, relative (interior tomography).
//!
//! **Off axis** (half acquisition). In a full turn each line is seen twice where the detector reaches across the axis,
//! once elsewhere. With h the half width of the overlap and s the coordinate from the axis, positive on the far side,
//!
//! ```text
//! w(s) = 2 S((s + h) / 2h),   S(t) = t⁵ (126 − 420 t + 540 t² − 315 t³ + 70 t⁴),  0 below −h, 2 above h
//! ```
//!
//! and w(s) + w(−s) = 2: the two views of a direction, which share its weight, add to the whole. No interpolation, any
//! sub-pixel axis. S is the smoothest step of degree 9 (as in tomocupy's double field of view); the filter acts on
//! each view alone, so what the ramp cuts off in one is what it adds in the other.

use crate::error::{Error, Result};

/// What stands outside the measured columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Air.
    Zero,
    /// The row's first value on its left, its last on its right.
    Edge,
}

/// The columns of a reconstruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Columns that the detector measured.
    pub measured: usize,
    /// Columns before the first measured one.
    pub lead: usize,
    /// Columns in all.
    pub columns: usize,
    /// Side of the image.
    pub image: usize,
    /// What stands in the others.
    pub fill: Fill,
    /// Factors of the measured columns; all 1 if `None`.
    pub weights: Option<Vec<f32>>,
}

/// Fewer columns than this across the axis do not join two halves.
const LEAST_OVERLAP: f64 = 4.0;

impl Field {
    /// The detector's own columns.
    pub fn plain(measured: usize) -> Field {
        Field { measured, lead: 0, columns: measured, image: measured, fill: Fill::Zero, weights: None }
    }

    /// A quarter of the detector on either side, filled with the rows' ends; see the [module](self).
    pub fn padded(measured: usize) -> Field {
        let lead = measured.div_ceil(4);
        Field { lead, columns: measured + 2 * lead, fill: Fill::Edge, ..Field::plain(measured) }
    }

    /// A full turn with the axis `axis` (pixel index) off the middle; see the [module](self).
    ///
    /// # Errors
    /// If the axis lies outside the detector, or so near its edge that the two halves do not overlap.
    pub fn off_axis(measured: usize, axis: f64) -> Result<Field> {
        let last = measured as f64 - 1.0;
        let near = axis.min(last - axis);
        if near.is_nan() || near < LEAST_OVERLAP / 2.0 {
            return Err(Error::data(format!(
                "the rotation axis at {axis} is too near the edge of {measured} columns: the two half turns need \
                 {LEAST_OVERLAP} columns that both have seen"
            ))
            .help("check the axis with `tomolith center`"));
        }
        let reach = axis.max(last - axis);
        let columns = 2 * reach.ceil() as usize + 1;
        // The axis goes to the middle, but for its fraction of a pixel.
        let far_right = last - axis >= axis;
        let lead = if far_right { columns - measured } else { 0 };
        let side = if far_right { 1.0 } else { -1.0 };
        let weights = (0..measured)
            .map(|j| {
                let t = (((j as f64 - axis) * side + near) / (2.0 * near)).clamp(0.0, 1.0);
                let t5 = t * t * t * t * t;
                let step = t5 * (126.0 - 420.0 * t + 540.0 * t * t - 315.0 * t * t * t + 70.0 * t * t * t * t);
                (2.0 * step) as f32
            })
            .collect();
        Ok(Field { measured, lead, columns, image: columns, fill: Fill::Zero, weights: Some(weights) })
    }

    /// The axis of the detector in the columns of the reconstruction.
    pub fn axis(&self, detector: f64) -> f64 {
        detector + self.lead as f64
    }

    /// Whether the detector's columns are all there is.
    pub fn is_plain(&self) -> bool {
        self.columns == self.measured && self.weights.is_none()
    }

    /// The value of column `column` of the reconstruction from a measured row: the definition.
    pub fn at(&self, row: &[f32], column: usize) -> f32 {
        match column.checked_sub(self.lead) {
            Some(j) if j < self.measured => self.weights.as_ref().map_or(row[j], |w| w[j] * row[j]),
            _ if self.fill == Fill::Zero => 0.0,
            None => row[0],
            Some(_) => row[self.measured - 1],
        }
    }

    /// Columns `first …` of the reconstruction, as many as `out` holds; zero beyond the last.
    #[inline(always)]
    pub(super) fn copy(&self, row: &[f32], first: usize, out: &mut [f32]) {
        if first >= self.lead && first + out.len() <= self.lead + self.measured {
            let j = first - self.lead;
            out.copy_from_slice(&row[j..j + out.len()]);
            if let Some(weights) = &self.weights {
                for (value, w) in out.iter_mut().zip(&weights[j..]) {
                    *value *= w;
                }
            }
            return;
        }
        for (i, value) in out.iter_mut().enumerate() {
            *value = if first + i < self.columns { self.at(row, first + i) } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_axis_weights_of_opposite_views_add_to_two() {
        for (measured, axis) in [(64, 12.0), (64, 50.3), (65, 31.75), (640, 17.5)] {
            let field = Field::off_axis(measured, axis).unwrap();
            let weights = field.weights.as_ref().unwrap();
            let at = |s: f64| {
                let j = (axis + s).round();
                ((axis + s - j).abs() < 1e-9 && j >= 0.0 && j < measured as f64).then(|| f64::from(weights[j as usize]))
            };
            for j in 0..measured {
                let s = j as f64 - axis;
                if let (Some(a), Some(b)) = (at(s), at(-s)) {
                    assert!((a + b - 2.0).abs() < 1e-6, "{measured} {axis}: {a} + {b} at {s}");
                }
            }
            let far = axis.min(measured as f64 - 1.0 - axis) + 1.0;
            let sides = [at_column(&field, axis + far), at_column(&field, axis - far)];
            // An axis less than a pixel off the middle leaves no column that only one half turn sees.
            assert_eq!(sides.contains(&Some(2.0)), measured != 65, "{sides:?}");
            let middle = (field.columns as f64 - 1.0) / 2.0;
            assert!((field.axis(axis) - middle).abs() <= 1.0, "the axis lands in the middle");
        }
        assert!(Field::off_axis(64, 1.0).is_err() && Field::off_axis(64, f64::NAN).is_err());
        assert!(Field::off_axis(64, 80.0).is_err());
    }

    fn at_column(field: &Field, column: f64) -> Option<f32> {
        (column >= 0.0 && column.round() < field.measured as f64)
            .then(|| field.weights.as_ref().unwrap()[column.round() as usize])
    }

    #[test]
    fn copies_are_the_definition() {
        let row: Vec<f32> = (0..21).map(|j| 1.0 + j as f32).collect();
        for field in [Field::plain(21), Field::padded(21), Field::off_axis(21, 4.25).unwrap()] {
            for length in [1, 16] {
                for first in 0..field.columns {
                    let mut out = vec![f32::NAN; length];
                    field.copy(&row, first, &mut out);
                    for (i, &value) in out.iter().enumerate() {
                        let want = if first + i < field.columns { field.at(&row, first + i) } else { 0.0 };
                        assert_eq!(value, want);
                    }
                }
            }
        }
        let padded = Field::padded(21);
        assert_eq!((padded.at(&row, 0), padded.at(&row, 5), padded.at(&row, 32)), (1.0, 1.0, 21.0));
    }
}
