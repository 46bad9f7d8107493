//! Surfaces of electrodes and layers: gaps, how faces moved, how rough they are, and what current grew a layer.
//!
//! ```text
//! gap            v (first_S − last_P − 1), mean over the columns that have both     inner: between the electrodes
//! outer          v (last_S − first_P + 1), mean                                      across both electrodes
//! swelling       of either: less that of the first scan
//! displacement   v (first(t) − first(0)) per column                                  positive towards larger y
//!
//! h              height of a surface less its best plane, over the columns where it is known
//! Sa, Sq         mean |h|, √mean h²          Ssk, Sku    mean h³ / Sq³, mean h⁴ / Sq⁴
//! Sdr            mean √(1 + h_x² + h_z²) − 1, forward differences within the field
//!
//! j(x, z)        ρ q ΔM / Δt, mA/cm²: the current density that thickens a column by ΔM of dense lithium in Δt
//! hotspot        99th percentile of j over its mean
//! ```
//!
//! j from labels is *apparent*: a porous layer counts as solid. Source: ISO 25178-2 for the S parameters.

use super::columns::NONE;
use super::faraday::areal_charge;
use super::labels::Grid;
use super::map::Map;
use crate::num::linalg::solve_positive;
use crate::num::sum::sum_f64;
use crate::segment::bootstrap::quantile;

/// A height per column in voxels, NaN where there is none.
pub fn heights(grid: &Grid, depth: &[u16]) -> Map {
    Map::new(grid, depth.iter().map(|&y| if y == NONE { f64::NAN } else { f64::from(y) }).collect())
}

/// The mean of what is known of a map; none if nothing is.
pub fn mean(map: &Map) -> Option<f64> {
    let known: Vec<f64> = map.values.iter().copied().filter(|v| !v.is_nan()).collect();
    (!known.is_empty()).then(|| sum_f64(&known) / known.len() as f64)
}

/// Inner gap and outer distance per column, µm, from `[first, last]` of the plating and of the stripping electrode.
pub fn gaps(grid: &Grid, plating: [&[u16]; 2], stripping: [&[u16]; 2]) -> [Map; 2] {
    let (v, of) = (grid.depth(), |d: &[u16]| heights(grid, d));
    let inner = of(stripping[0]).with(&of(plating[1]), |s, p| v * (s - p - 1.0));
    let outer = of(stripping[1]).with(&of(plating[0]), |s, p| v * (s - p + 1.0));
    [inner, outer]
}

/// What a surface is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roughness {
    /// Sa, µm.
    pub sa: f64,
    /// Sq, µm.
    pub sq: f64,
    /// Ssk; none for a plane.
    pub skew: Option<f64>,
    /// Sku; none for a plane.
    pub kurtosis: Option<f64>,
    /// Sdr.
    pub developed: f64,
}

/// Roughness of a surface whose heights are in voxels; none where fewer than four columns are known, or all lie on a line.
pub fn roughness(grid: &Grid, surface: &Map) -> Option<Roughness> {
    let (nx, [vx, vy, vz]) = (surface.nx, grid.voxel);
    let known: Vec<usize> = (0..surface.values.len()).filter(|&c| !surface.values[c].is_nan()).collect();
    let n = known.len() as f64;
    let place = |c: usize| [1.0, (c % nx) as f64 - 0.5 * nx as f64, (c / nx) as f64 - 0.5 * surface.nz as f64];
    let (mut normal, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for &c in &known {
        let row = place(c);
        for i in 0..3 {
            right[i] += row[i] * surface.values[c];
            (0..3).for_each(|j| normal[i][j] += row[i] * row[j]);
        }
    }
    let plane = if known.len() < 4 { None } else { solve_positive(&normal, &right) }?;
    let mut h = vec![f64::NAN; surface.values.len()];
    for &c in &known {
        let row = place(c);
        h[c] = vy * (surface.values[c] - row.iter().zip(plane).fold(0.0, |s, (r, p)| s + r * p));
    }
    let moment = |power: i32| {
        let values: Vec<f64> = known.iter().map(|&c| (0..power).fold(1.0, |p, _| p * h[c])).collect();
        sum_f64(&values) / n
    };
    let absolute: Vec<f64> = known.iter().map(|&c| h[c].abs()).collect();
    let sq = moment(2).sqrt();
    let shape = |power: i32| (sq > 1e-9 * vy).then(|| moment(power) / (0..power).fold(1.0, |p, _| p * sq));
    let slopes: Vec<f64> = known
        .iter()
        .filter(|&&c| c % nx + 1 < nx && c + nx < h.len() && !h[c + 1].is_nan() && !h[c + nx].is_nan())
        .map(|&c| {
            let (sx, sz) = ((h[c + 1] - h[c]) / vx, (h[c + nx] - h[c]) / vz);
            (1.0 + sx * sx + sz * sz).sqrt() - 1.0
        })
        .collect();
    Some(Roughness {
        sa: sum_f64(&absolute) / n,
        sq,
        skew: shape(3),
        kurtosis: shape(4),
        developed: sum_f64(&slopes) / slopes.len().max(1) as f64,
    })
}

/// Of the greatest of some numbers, what their mean may be by rounding: less than a voxel in one of all columns is.
const ROUNDING: f64 = 1e-12;

/// j of a change of thickness in µm within some hours, mA/cm²; and the hotspot factor, none without a mean above 0.
pub fn current_density(change: &Map, hours: f64) -> (Map, Option<f64>) {
    let j = Map { values: change.values.iter().map(|&d| areal_charge(d) / hours).collect(), ..*change };
    let mut sorted = j.values.clone();
    sorted.sort_by(f64::total_cmp);
    let mean = j.mean();
    // What grows here and goes there by as much leaves a mean of rounding.
    let most = sorted.iter().fold(0.0, |most, j| f64::max(most, j.abs()));
    let factor = (mean > ROUNDING * most).then(|| quantile(&sorted, 0.99) / mean);
    (j, factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Dims;

    fn grid(nz: usize, nx: usize) -> Grid {
        Grid { dims: Dims::new(nz, 9, nx).unwrap(), voxel: [2.0; 3] }
    }

    #[test]
    fn gaps_are_counted_between_faces() {
        // Electrodes at 1..=2 and 6..=8 of 9: three voxels between, eight across.
        let g = grid(1, 2);
        let [inner, outer] = gaps(&g, [&[1, NONE], &[2, NONE]], [&[6, 6], &[8, 8]]);
        assert_eq!((inner.values[0], outer.values[0], mean(&inner)), (6.0, 16.0, Some(6.0)));
        assert!(inner.values[1].is_nan());
        assert_eq!(mean(&Map { nz: 1, nx: 1, values: vec![f64::NAN] }), None);
    }

    #[test]
    fn a_tilted_plane_is_smooth_and_a_comb_is_not() {
        let g = grid(8, 8);
        let tilted: Vec<u16> = (0..64).map(|c| (c % 8 + 2 * (c / 8)) as u16).collect();
        let flat = roughness(&g, &heights(&g, &tilted)).unwrap();
        assert!(flat.sa < 1e-9 && flat.skew.is_none() && flat.developed < 1e-9, "{flat:?}");
        // Rows of 0 and 2 voxels in pairs: h = ±2 µm but for what the plane takes.
        let comb: Vec<f64> = (0..64).map(|c| if c / 8 % 4 == 1 || c / 8 % 4 == 2 { 2.0 } else { 0.0 }).collect();
        let r = roughness(&g, &Map { nz: 8, nx: 8, values: comb }).unwrap();
        assert!((r.sa - 2.0).abs() < 1e-12 && (r.sq - 2.0).abs() < 1e-12, "{r:?}");
        assert!(r.skew.unwrap().abs() < 1e-12 && (r.kurtosis.unwrap() - 1.0).abs() < 1e-12);
        // A step of 4 µm over 2 µm in 4 of the 7 rows that have a next one.
        assert!((r.developed - 4.0 / 7.0 * (5f64.sqrt() - 1.0)).abs() < 1e-12, "{r:?}");
        assert_eq!(roughness(&g, &Map { nz: 8, nx: 8, values: vec![f64::NAN; 64] }), None);
    }

    #[test]
    fn a_segment_of_current_grows_its_thickness() {
        let change = Map { nz: 1, nx: 4, values: vec![0.0, 0.0, 0.0, 4.0 * 1.2128621606] };
        let (j, factor) = current_density(&change, 1.0 / 6.0);
        assert!((j.values[3] - 6.0).abs() < 1e-8 && (j.mean() - 1.5).abs() < 1e-8);
        assert!((factor.unwrap() - 0.97 * 4.0).abs() < 1e-9, "{factor:?}");
        // 0.1 + 0.2 - 0.3 is above 0.
        let (_, factor) = current_density(&Map { nz: 1, nx: 3, values: vec![0.1, 0.2, -0.3] }, 1.0);
        assert_eq!(factor, None);
    }
}
