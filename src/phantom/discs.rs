//! Discs of constant attenuation: the phantom whose projections and slices are known in closed form.
//!
//! A disc at (x, y), Y upward, of radius r and attenuation µ, seen at angle θ by a detector with the axis at c,
//! has its centre at s₀ = x cos θ + y sin θ + c and the line integral
//!
//! ```text
//! p(s) = 2 µ √(r² − t²),  t = s − s₀,  |t| < r
//! ```
//!
//! A detector pixel j sees its mean over j − ½ … j + ½, from the antiderivative t √(r² − t²) + r² asin(t/r);
//! asin(t/r) is the angle of the point (√(r² − t²), t).
//! Lengths are detector pixels, attenuation is per pixel.
//!
//! In a slice of n × n pixels the axis lands where the reconstructions put it: column ⌈n/2⌉, row n − 1 − ⌈n/2⌉
//! (for even n column n/2, row n/2 − 1); column = axis column + X, row = axis row − Y.

use crate::error::{Error, Result};
use crate::num::elementary::{atan2, sincos};
use crate::num::philox::Stream;
use crate::os::check_interrupt;

/// A disc: centre relative to the axis (Y upward), radius, in pixels; attenuation per pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disc {
    /// Centre, to the right of the axis.
    pub x: f64,
    /// Centre, above the axis.
    pub y: f64,
    /// Radius.
    pub radius: f64,
    /// Attenuation per pixel.
    pub mu: f64,
}

/// Stream of the random places of discs.
const PLACES: u32 = 0x6469_7363;

/// What a detector pixel measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// The mean of the line integrals over the pixel's width.
    Pixel,
    /// The line integral at the pixel's centre.
    Point,
}

/// The sinogram `[theta][column]` of `discs`, absorption (line integral, no unit), in f64.
///
/// `theta` in radians, `center` the axis in detector pixels (first pixel centre = 0).
pub fn sinogram(discs: &[Disc], theta: &[f64], columns: usize, center: f64, sampling: Sampling) -> Vec<f64> {
    let mut rows = vec![0.0; theta.len() * columns];
    for (row, &angle) in rows.chunks_exact_mut(columns.max(1)).zip(theta) {
        let (sin, cos) = sincos(angle);
        for d in discs {
            let s0 = d.x * cos + d.y * sin + center;
            let first = (s0 - d.radius - 1.0).ceil().max(0.0) as usize;
            for j in first..columns {
                let t = j as f64 - s0;
                if t > d.radius + 1.0 {
                    break;
                }
                row[j] += d.mu
                    * match sampling {
                        Sampling::Point => 2.0 * (d.radius * d.radius - t * t).max(0.0).sqrt(),
                        Sampling::Pixel => chord_area(t + 0.5, d.radius) - chord_area(t - 0.5, d.radius),
                    };
            }
        }
    }
    rows
}

/// The area of a disc of radius r left of t, up to a constant: t √(r² − t²) + r² asin(t/r), t clamped to ±r.
fn chord_area(t: f64, r: f64) -> f64 {
    let t = t.clamp(-r, r);
    let height = (r * r - t * t).sqrt();
    t * height + r * r * atan2(t, height)
}

/// The slice `[row][column]` of n × n pixels that a perfect reconstruction returns: each pixel the mean of
/// `oversampling`² points spread evenly over it.
pub fn truth(discs: &[Disc], n: usize, oversampling: usize) -> Vec<f32> {
    let mut image = vec![0.0f64; n * n];
    let points = (oversampling * oversampling) as f64;
    let offset = |i: usize| (i as f64 + 0.5) / oversampling as f64 - 0.5;
    for d in discs {
        let (rows, columns) = bounding_box(d, n, d.radius + 1.0);
        for row in rows {
            for column in columns.clone() {
                let (x, y) = position(row, column, n);
                let mut inside = 0usize;
                for i in 0..oversampling {
                    for j in 0..oversampling {
                        let distance = squared(x + offset(i) - d.x, y + offset(j) - d.y);
                        inside += usize::from(distance < d.radius * d.radius);
                    }
                }
                image[row * n + column] += d.mu * inside as f64 / points;
            }
        }
    }
    image.into_iter().map(|v| v as f32).collect()
}

/// The mean of a slice of n × n pixels over the pixels whose centres lie within `within` of the disc's centre;
/// `None` if there is no such pixel.
pub fn mean_inside(image: &[f32], n: usize, disc: &Disc, within: f64) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    let (rows, columns) = bounding_box(disc, n, within);
    for row in rows {
        for column in columns.clone() {
            let (x, y) = position(row, column, n);
            if squared(x - disc.x, y - disc.y) <= within * within {
                sum += f64::from(image[row * n + column]);
                count += 1;
            }
        }
    }
    (count > 0).then(|| sum / count as f64)
}

/// `count` discs of one radius and attenuation, at random, at least `gap` apart, all inside a circle of radius
/// `field` about the axis. The same `seed` gives the same discs everywhere.
///
/// # Errors
/// Usage: they do not fit (100,000 places tried for one of them). [`crate::error::Fault::Again`] when interrupted.
pub fn random(seed: u64, count: usize, radius: f64, mu: f64, field: f64, gap: f64) -> Result<Vec<Disc>> {
    const TRIES: u64 = 100_000;
    let uniform = Stream::new(seed, PLACES);
    let reach = field - radius;
    if !(radius > 0.0 && reach >= 0.0) {
        return Err(Error::usage(format!("discs of radius {radius} in a field of radius {field}"))
            .help("take smaller discs or a wider field"));
    }
    let mut discs: Vec<Disc> = Vec::new();
    let mut index = 0;
    while discs.len() < count {
        check_interrupt()?;
        let next = (0..TRIES).find_map(|_| {
            let x = reach * (2.0 * uniform.uniform_f64(index) - 1.0);
            let y = reach * (2.0 * uniform.uniform_f64(index + 1) - 1.0);
            index += 2;
            let far = |d: &Disc| squared(d.x - x, d.y - y) >= (2.0 * radius + gap) * (2.0 * radius + gap);
            (squared(x, y) <= reach * reach && discs.iter().all(far)).then_some(Disc { x, y, radius, mu })
        });
        discs.push(next.ok_or_else(|| {
            Error::usage(format!("only {} of {count} discs fit into the field", discs.len()))
                .help("take fewer or smaller discs, or a wider field")
        })?);
    }
    Ok(discs)
}

/// x² + y².
fn squared(x: f64, y: f64) -> f64 {
    x * x + y * y
}

/// (X, Y) of a pixel of an n × n slice; see the [module](self).
fn position(row: usize, column: usize, n: usize) -> (f64, f64) {
    let axis_column = n.div_ceil(2) as f64;
    (column as f64 - axis_column, n as f64 - 1.0 - axis_column - row as f64)
}

/// Rows and columns of an n × n slice within `reach` of the disc's centre along each axis.
fn bounding_box(disc: &Disc, n: usize, reach: f64) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let axis_column = n.div_ceil(2) as f64;
    let range = |centre: f64| {
        let clamp = |v: f64| v.clamp(0.0, n as f64) as usize;
        clamp((centre - reach).floor())..clamp((centre + reach).ceil() + 1.0)
    };
    (range(n as f64 - 1.0 - axis_column - disc.y), range(axis_column + disc.x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    const TWO: [Disc; 2] =
        [Disc { x: 7.3, y: -4.1, radius: 5.2, mu: 0.01 }, Disc { x: -11.0, y: 9.5, radius: 3.0, mu: 0.02 }];

    #[test]
    fn a_pixel_sees_the_mean_of_the_points_in_it() {
        let theta = [0.0, 0.7, 2.0, -3.0];
        // The midpoint rule with m points has an error near the square-root ends of about m^-1.5.
        let m = 1000;
        let got = sinogram(&TWO, &theta, 40, 19.25, Sampling::Pixel);
        let mut mean = vec![0.0; got.len()];
        for i in 0..m {
            let shift = (i as f64 + 0.5) / m as f64 - 0.5;
            for (sum, p) in mean.iter_mut().zip(sinogram(&TWO, &theta, 40, 19.25 - shift, Sampling::Point)) {
                *sum += p / m as f64;
            }
        }
        for (g, w) in got.iter().zip(&mean) {
            assert!((g - w).abs() < 1e-5, "{g} {w}");
        }
        assert!(got.iter().any(|&g| g > 0.09));
    }

    #[test]
    fn every_view_holds_the_whole_mass_and_its_centre() {
        let theta: Vec<f64> = (0..50).map(|i| 0.13 * f64::from(i)).collect();
        let (columns, center) = (60, 29.7);
        let mass: f64 = TWO.iter().map(|d| d.mu * PI * d.radius * d.radius).sum();
        let moment = |f: &dyn Fn(&Disc) -> f64| -> f64 {
            TWO.iter().map(|d| f(d) * d.mu * PI * d.radius * d.radius).sum::<f64>()
        };
        let (mx, my) = (moment(&|d| d.x), moment(&|d| d.y));
        let rows = sinogram(&TWO, &theta, columns, center, Sampling::Pixel);
        for (row, &t) in rows.chunks_exact(columns).zip(&theta) {
            let sum: f64 = row.iter().sum();
            assert!((sum - mass).abs() < 1e-12, "{sum} {mass}");
            // Pixel means keep the first moment up to the spread inside a pixel, which is odd and averages out.
            let first: f64 = row.iter().enumerate().map(|(j, p)| (j as f64 - center) * p).sum();
            assert!((first - (mx * t.cos() + my * t.sin())).abs() < 0.01 * mass, "{first} at {t}");
        }
    }

    #[test]
    fn the_slice_shows_each_disc_at_its_place() {
        for n in [48, 49] {
            let image = truth(&TWO, n, 8);
            let sum: f64 = image.iter().map(|&v| f64::from(v)).sum();
            let mass: f64 = TWO.iter().map(|d| d.mu * PI * d.radius * d.radius).sum();
            assert!((sum / mass - 1.0).abs() < 3e-3, "{sum} {mass}");
            for d in &TWO {
                assert!((mean_inside(&image, n, d, d.radius - 1.0).unwrap() - d.mu).abs() < 1e-8);
            }
            // Column to the right, row downward.
            let (axis_row, axis_column) = (n - 1 - n.div_ceil(2), n.div_ceil(2));
            assert!((image[(axis_row + 4) * n + axis_column + 7] - 0.01).abs() < 1e-8);
            assert_eq!(image[(axis_row - 4) * n + axis_column + 7], 0.0);
        }
        assert_eq!(mean_inside(&[0.0; 4], 2, &Disc { x: 90.0, y: 0.0, radius: 1.0, mu: 1.0 }, 1.0), None);
    }

    #[test]
    fn discs_off_the_detector_or_the_slice_are_simply_not_seen() {
        let far = [Disc { x: 100.0, y: -200.0, radius: 5.0, mu: 1.0 }];
        assert!(sinogram(&far, &[0.0, 1.0, 3.0], 16, 8.0, Sampling::Pixel).iter().all(|&v| v == 0.0));
        assert!(truth(&far, 16, 2).iter().all(|&v| v == 0.0));
        assert!(sinogram(&far, &[0.0], 0, 0.0, Sampling::Pixel).is_empty());
    }

    #[test]
    fn random_discs_keep_apart_and_inside() {
        let discs = random(7, 60, 8.0, 0.01, 290.0, 4.0).unwrap();
        assert_eq!(discs.len(), 60);
        for (i, a) in discs.iter().enumerate() {
            assert!(a.x.hypot(a.y) <= 282.0);
            for b in &discs[..i] {
                assert!((a.x - b.x).hypot(a.y - b.y) >= 20.0);
            }
        }
        assert_eq!(discs, random(7, 60, 8.0, 0.01, 290.0, 4.0).unwrap());
        assert_ne!(discs, random(8, 60, 8.0, 0.01, 290.0, 4.0).unwrap());
        assert!(random(1, 100, 8.0, 0.01, 40.0, 0.0).is_err());
        assert!(random(1, 1, 8.0, 0.01, 4.0, 0.0).is_err());
    }
}
