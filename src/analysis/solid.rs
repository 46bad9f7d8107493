//! How much of a porous class is solid lithium, from grey values: labels alone cannot close the balance.
//!
//! ```text
//! f_c = (g_c − g_fill) / (g_Li − g_fill)          g_c the mean grey value of class c, g_Li of dense lithium
//! T_c^dense = f_c T_c
//! ```
//!
//! What fills the pores is an assumption, and is stated: with void and with electrolyte the same grey value means other
//! fractions. g_Li is given, or the mean over the electrodes, which are then taken as dense. f is not clamped: below 0 or
//! above 1 it says that an assumption is wrong.
//!
//! With its interface h further out a layer T has taken in a shell that may be anything; h further in it has lost one that was
//! as dense as the layer allows. With D = f T, for 0 ≤ f ≤ 1 and h < T,
//!
//! ```text
//! least     min(D / (T + h), max(D − h, 0) / (T − h))
//! greatest  max((D + h) / (T + h), min(D / (T − h), 1))
//! ```
//!
//! Dense lithium itself is given the shell as dense as its layer: f (T ± h).
//!
//! A mean is Σ / n: within a slice in f64 in the order of the voxels, slices in ascending z.

use super::labels::Labels;
use crate::error::Result;
use crate::volume::Source;
use rayon::prelude::*;

/// What grey values mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grey {
    /// g_Li; none: the mean over the electrodes.
    pub lithium: Option<f64>,
    /// g_fill.
    pub fill: f64,
}

/// Mean grey value of every class; none of a class that does not occur.
///
/// # Errors
/// Data: another shape; those of reading.
pub fn means(labels: &Labels, grey: &dyn Source, classes: usize) -> Result<Vec<Option<f64>>> {
    labels.beside(grey)?;
    let d = labels.grid().dims;
    let (mut sums, mut counts) = (vec![0.0f64; classes], vec![0u64; classes]);
    let mut values = Vec::new();
    labels.slabs(|z, of| {
        let part = z..z + of.len() / d.slice();
        labels.will_read(grey, &(part.end..(part.end + part.len()).min(d.nz)));
        labels.read_beside(grey, part, &mut values)?;
        let slices: Vec<(Vec<f64>, Vec<u64>)> = of
            .par_chunks(d.slice())
            .zip(values.par_chunks(d.slice()))
            .map(|(of, values)| {
                let (mut sums, mut counts) = (vec![0.0; classes], vec![0; classes]);
                for (&class, &value) in of.iter().zip(values) {
                    sums[usize::from(class)] += f64::from(value);
                    counts[usize::from(class)] += 1;
                }
                (sums, counts)
            })
            .collect();
        for (s, n) in slices {
            sums.iter_mut().zip(s).for_each(|(a, b)| *a += b);
            counts.iter_mut().zip(n).for_each(|(a, b)| *a += b);
        }
        Ok(())
    })?;
    Ok(sums.into_iter().zip(counts).map(|(s, n)| (n > 0).then(|| s / n as f64)).collect())
}

/// f of a mean grey value; none where lithium looks like what fills the pores.
pub fn fraction(mean: f64, lithium: f64, fill: f64) -> Option<f64> {
    let contrast = lithium - fill;
    (contrast.abs() > 1e-9 * lithium.abs().max(fill.abs())).then(|| (mean - fill) / contrast)
}

/// What f of a layer may be, whose thickness may be off by `half`; none where the layer may be none, or f is no part (by
/// more than rounding).
pub fn band(fraction: f64, thick: f64, half: f64) -> Option<[f64; 2]> {
    let whole = fraction.clamp(0.0, 1.0);
    let (dense, more, less) = (whole * thick, thick + half, thick - half);
    let least = (dense / more).min((dense - half).max(0.0) / less);
    let greatest = ((dense + half) / more).max((dense / less).min(1.0));
    (less > 0.0 && (whole - fraction).abs() < 1e-9).then_some([least.min(fraction), greatest.max(fraction)])
}

#[cfg(test)]
mod tests {
    use super::super::labels::tests::cell;
    use super::*;
    use crate::volume::{Dims, Memory};

    #[test]
    fn means_and_fractions_by_hand() {
        let labels = cell((2, 1, 3), &[4, 3, 3, 4, 3, 0]);
        let grey = |nx: usize, v: Vec<f32>| Memory::new(Dims::new(2, 1, nx).unwrap(), v).unwrap();
        let m = means(&labels, &grey(3, vec![10.0, 2.0, 4.0, 12.0, 9.0, 1.0]), 7).unwrap();
        assert_eq!((m[0], m[3], m[4], m[5]), (Some(1.0), Some(5.0), Some(11.0), None));
        assert_eq!((fraction(5.0, 11.0, 1.0), fraction(5.0, 11.0, 5.0)), (Some(0.4), Some(0.0)));
        assert_eq!((fraction(5.0, 3.0, 3.0), fraction(12.0, 11.0, 1.0)), (None, Some(1.1)));
        // Half of ten is dense, two may be wrong: 5 to 7 of 12, 3 to 5 of 8. A dense layer can take in pores, and lose none.
        assert_eq!(band(0.5, 10.0, 2.0), Some([3.0 / 8.0, 5.0 / 8.0]));
        assert_eq!((band(1.0, 10.0, 2.0), band(0.0, 10.0, 2.0)), (Some([10.0 / 12.0, 1.0]), Some([0.0, 2.0 / 12.0])));
        assert_eq!((band(0.5, 2.0, 2.0), band(1.1, 10.0, 2.0)), (None, None));
        for (f, thick) in [(0.1, 3.3), (1.0 / 3.0, 0.7), (1.0 + 1e-15, 3.0), (-1e-15, 3.0)] {
            let [low, high] = band(f, thick, 0.0).unwrap();
            assert!(low <= f && f <= high && high - low < 1e-14, "{f} {thick}: {low} {high}");
        }
        assert!(means(&labels, &grey(2, vec![0.0; 4]), 7).is_err());
    }
}
