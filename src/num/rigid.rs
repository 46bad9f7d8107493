//! Rigid motions: a rotation about a centre, and a shift.
//!
//! ```text
//! y = R (x − c) + c + t          R = exp [ω]×
//! ```
//!
//! The same map has many centres: R is the same for all, t is not, so that t means nothing without c ([`Rigid::about`]).
//!
//! **Rotation vectors.** ω is axis times angle in radians. Rodrigues, with θ = |ω| and K = [ω/θ]×:
//!
//! ```text
//! R = 1 + sin θ K + (1 − cos θ) K²
//! ω = 2 atan2(|v|, w) v/|v|       (w, v) the unit quaternion of R with w ≥ 0
//! ```

use super::elementary::{atan2, sincos};
use super::linalg::{Matrix, apply, cross, dot, identity, product, transpose};
use crate::units::{Degree, Radian};
use std::array::from_fn;

/// A point or a vector (x, y, z).
pub type Point = [f64; 3];

/// A rotation about a centre, and a shift; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rigid {
    /// R, rows first.
    pub rotation: Matrix<3>,
    /// c.
    pub centre: Point,
    /// t.
    pub translation: Point,
}

/// R of a rotation vector in radians.
pub fn rotation(vector: Point) -> Matrix<3> {
    let angle = length(&vector);
    if angle == 0.0 {
        return identity();
    }
    let n = vector.map(|x| x / angle);
    let (sin, cos) = sincos(angle);
    let columns = identity::<3>().map(|e| {
        let (k, along) = (cross(&n, &e), dot(&n, &e));
        from_fn(|i| cos * e[i] + sin * k[i] + (1.0 - cos) * along * n[i])
    });
    transpose(&columns)
}

/// The rotation vector of R in radians, at most π long.
pub fn rotation_vector(r: &Matrix<3>) -> Point {
    let q = quaternion(r);
    let q = if q[0] < 0.0 { q.map(|v| -v) } else { q };
    let v = [q[1], q[2], q[3]];
    let length = dot(&v, &v).sqrt();
    // 2 atan2(|v|, w) / |v| tends to 2 / w.
    let factor = if length == 0.0 { 2.0 } else { 2.0 * atan2(length, q[0]) / length };
    v.map(|v| factor * v)
}

/// The unit quaternion (w, x, y, z) of R, from the largest of the four (Shepperd, J. Guidance and Control 1, 223, 1978).
fn quaternion(r: &Matrix<3>) -> [f64; 4] {
    let trace = r[0][0] + r[1][1] + r[2][2];
    let squares = [1.0 + trace, 1.0 + 2.0 * r[0][0] - trace, 1.0 + 2.0 * r[1][1] - trace, 1.0 + 2.0 * r[2][2] - trace];
    let k = (1..4).fold(0, |m, i| if squares[i] > squares[m] { i } else { m });
    let (a, b, c) = (r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]);
    let (d, e, f) = (r[1][0] + r[0][1], r[0][2] + r[2][0], r[2][1] + r[1][2]);
    let q = match k {
        0 => [squares[0], a, b, c],
        1 => [a, squares[1], d, e],
        2 => [b, d, squares[2], f],
        _ => [c, e, f, squares[3]],
    };
    let norm = dot(&q, &q).sqrt();
    q.map(|v| v / norm)
}

/// R of a unit quaternion (w, x, y, z).
pub fn of_quaternion([w, x, y, z]: [f64; 4]) -> Matrix<3> {
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

/// a + b.
pub fn add(a: &Point, b: &Point) -> Point {
    from_fn(|i| a[i] + b[i])
}

/// a − b.
pub fn sub(a: &Point, b: &Point) -> Point {
    from_fn(|i| a[i] - b[i])
}

/// |a|.
pub fn length(a: &Point) -> f64 {
    dot(a, a).sqrt()
}

impl Rigid {
    /// Nothing moves.
    pub fn identity(centre: Point) -> Rigid {
        Rigid { rotation: identity(), centre, translation: [0.0; 3] }
    }

    /// Of a rotation vector in radians about `centre`, then a shift.
    pub fn new(vector: Point, centre: Point, translation: Point) -> Rigid {
        Rigid { rotation: rotation(vector), centre, translation }
    }

    /// Where a point goes.
    pub fn apply(&self, p: &Point) -> Point {
        let turned = apply(&self.rotation, &sub(p, &self.centre));
        from_fn(|i| turned[i] + self.centre[i] + self.translation[i])
    }

    /// b of y = R x + b.
    pub fn origin(&self) -> Point {
        self.apply(&[0.0; 3])
    }

    /// The same map about another centre.
    pub fn about(&self, centre: Point) -> Rigid {
        Rigid { rotation: self.rotation, centre, translation: sub(&self.apply(&centre), &centre) }
    }

    /// First `self`, then `next`; about the centre of `self`.
    pub fn then(&self, next: &Rigid) -> Rigid {
        let image = next.apply(&self.apply(&self.centre));
        Rigid {
            rotation: product(&next.rotation, &self.rotation),
            centre: self.centre,
            translation: sub(&image, &self.centre),
        }
    }

    /// The map back, about the same centre.
    pub fn inverse(&self) -> Rigid {
        let rotation = transpose(&self.rotation);
        let translation = apply(&rotation, &self.translation).map(|v| -v);
        Rigid { rotation, centre: self.centre, translation }
    }

    /// ω, radians.
    pub fn rotation_vector(&self) -> Point {
        rotation_vector(&self.rotation)
    }

    /// |ω|.
    pub fn angle(&self) -> Degree {
        Radian(length(&self.rotation_vector())).into()
    }

    /// On column vectors (x, y, z, 1), rows first.
    pub fn matrix(&self) -> Matrix<4> {
        let origin = self.origin();
        let row = |i: usize| [self.rotation[i][0], self.rotation[i][1], self.rotation[i][2], origin[i]];
        [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::num::philox::Stream;

    pub(crate) fn random(seed: u64, size: f64) -> Point {
        let s = Stream::new(seed, 1);
        from_fn(|i| size * (2.0 * s.uniform_f64(i as u64) - 1.0))
    }

    pub(crate) fn motion(seed: u64) -> Rigid {
        Rigid::new(random(seed, 1.7), random(seed + 1000, 200.0), random(seed + 2000, 30.0))
    }

    pub(crate) fn near(a: &Point, b: &Point, tolerance: f64) {
        assert!(length(&sub(a, b)) <= tolerance, "{a:?} is not {b:?}");
    }

    #[test]
    fn a_rotation_vector_comes_back() {
        for seed in 0..200 {
            // Up to √3 · 1.8 = 3.1 < π, and tiny ones.
            for size in [1.8, 1e-3, 1e-9] {
                let vector = random(seed, size);
                let r = rotation(vector);
                near(&rotation_vector(&r), &vector, 4e-15 * size.max(1e-3) / 1e-3);
                let unit = product(&r, &transpose(&r));
                for i in 0..3 {
                    near(&unit[i], &identity::<3>()[i], 1e-14);
                }
            }
        }
        assert_eq!(rotation_vector(&rotation([0.0; 3])), [0.0; 3]);
        // A quarter turn about z takes x to y; half turns about each axis have w = 0.
        let quarter = rotation([0.0, 0.0, std::f64::consts::FRAC_PI_2]);
        near(&apply(&quarter, &[1.0, 0.0, 0.0]), &[0.0, 1.0, 0.0], 1e-15);
        for axis in 0..3 {
            let half: Point = from_fn(|i| if i == axis { std::f64::consts::PI } else { 0.0 });
            near(&rotation_vector(&rotation(half)), &half, 1e-14);
        }
    }

    #[test]
    fn maps_compose_and_invert_as_maps_do() {
        for seed in 0..100 {
            let (a, b, p) = (motion(seed), motion(seed + 500), random(seed + 7, 300.0));
            let at = b.apply(&a.apply(&p));
            near(&a.then(&b).apply(&p), &at, 1e-11);
            near(&a.inverse().apply(&a.apply(&p)), &p, 1e-11);
            near(&a.about([3.0, 4.0, 5.0]).apply(&p), &a.apply(&p), 1e-11);
            let m = product(&b.matrix(), &a.matrix());
            near(&from_fn(|i| dot(&m[i], &[p[0], p[1], p[2], 1.0])), &at, 1e-11);
            assert_eq!(a.inverse().centre, a.centre);
        }
    }
}
