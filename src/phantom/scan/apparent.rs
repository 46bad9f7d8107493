//! Where a reconstruction shows an object that moves while it is scanned.
//!
//! At time τ = t − ½ of a scan (t as in [`detector`](super::detector)) everything is seen σ columns to the right,
//!
//! ```text
//! σ(θ) = τ (axis drift + d_X cos θ + d_Y sin θ)                                   columns, and τ d_z rows
//! ```
//!
//! and an object that lies (a, b) farther along x and y (downward) is seen a cos θ − b sin θ columns to the right. To first
//! order the object appears where the two are most alike, summed over the projections:
//!
//! ```text
//! Σ (σ − a cos θ + b sin θ)² least:    a Σ cos² − b Σ sin cos = Σ σ cos,    a Σ sin cos − b Σ sin² = Σ σ sin
//! half a turn, many projections:       a = −4/π² axis drift − d_Y/2π,       b = d_X/2π
//! ```
//!
//! along z by the mean of τ d_z, which is 0. What the shift does not explain blurs. Left out: second order, filters, weights.

use super::detector::Field;
use crate::num::elementary::sincos;

impl Field {
    /// The shift (x, y downward, z), voxels, with which a reconstruction about [`Field::center`] shows the pose of the
    /// middle of the scan; `theta` in radians, evenly spread over the time of the scan.
    pub fn apparent_shift(&self, theta: &[f64]) -> [f64; 3] {
        let n = theta.len() as f64;
        let [mut cc, mut cs, mut ss, mut along, mut across] = [0.0; 5];
        for (i, &theta) in theta.iter().enumerate() {
            let tau = (i as f64 + 0.5) / n - 0.5;
            let (sin, cos) = sincos(theta);
            let shift = tau * (self.axis_drift + self.drift[0] * cos + self.drift[1] * sin);
            cc += cos * cos;
            cs += sin * cos;
            ss += sin * sin;
            along += shift * cos;
            across += shift * sin;
        }
        let determinant = cs * cs - cc * ss;
        if determinant == 0.0 {
            return [0.0; 3];
        }
        [(cs * across - ss * along) / determinant, (cc * across - cs * along) / determinant, 0.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn the_closed_form() {
        let theta: Vec<f64> = (0..20_000).map(|i| f64::from(i) * PI / 20_000.0).collect();
        let field = Field { axis_drift: 0.5, drift: [0.3, -0.2, 0.7], ..Field::new(4, 10, 5.0) };
        let got = field.apparent_shift(&theta);
        let want = [-4.0 / (PI * PI) * 0.5 + 0.2 / (2.0 * PI), 0.3 / (2.0 * PI), 0.0];
        assert!((0..3).all(|i| (got[i] - want[i]).abs() < 1e-3 * 0.1), "{got:?} {want:?}");
        assert_eq!(Field::new(4, 10, 5.0).apparent_shift(&theta), [0.0; 3]);
    }

    /// The definition: no shift nearby explains the columns better.
    #[test]
    fn it_is_the_least() {
        let theta: Vec<f64> = (0..37).map(|i| f64::from(i) * PI / 37.0).collect();
        let field = Field { axis_drift: -0.4, drift: [0.1, 0.6, 0.0], ..Field::new(4, 10, 5.0) };
        let [a, b, _] = field.apparent_shift(&theta);
        let rest = |a: f64, b: f64| -> f64 {
            let one = |(i, t): (usize, &f64)| {
                let tau = (i as f64 + 0.5) / 37.0 - 0.5;
                (tau * (-0.4 + 0.1 * t.cos() + 0.6 * t.sin()) - a * t.cos() + b * t.sin()).powi(2)
            };
            theta.iter().enumerate().map(one).sum()
        };
        for (da, db) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)] {
            assert!(rest(a + da, b + db) > rest(a, b));
        }
    }
}
