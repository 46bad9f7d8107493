//! Whether labels lie as the grey values do: turned wrongly they fit a volume of the same shape, but explain nothing of it.
//!
//! ```text
//! η² = Σ_k n_k·(m_k − m)² / Σ_i (v_i − m)²        of the variance of the grey values the part between the classes, 0 … 1
//! ```
//!
//! over a sample of the labelled voxels, each put where an order and direction of the axes puts it, for all of them that
//! fit the shape: up to 48. Sums in f64, in the order of the places.
//!
//! **Margin.** Of n voxels that lie by themselves η² of labels that mean nothing is (K − 1)/n, give or take √(2K)/n: nothing
//! beside [`MARGIN`] from [`LEAST`] voxels on. But neighbours are alike: a few large patches count as few voxels, and the
//! best of 48 ways to lay them may explain a tenth by chance. Left out: layers that lie alike both ways cannot be told.

use super::orient::Axes;
use crate::volume::Dims;

/// Most voxels of a sample.
const MOST: usize = 1 << 14;
/// Fewer voxels tell nothing.
const LEAST: usize = 500;
/// What other axes must explain more, so that it is no chance.
const MARGIN: f64 = 0.2;
/// Ways that explain as much as the best but for this are as good, and the simplest is told.
const ALIKE: f64 = 0.02;

/// Labelled voxels, drawn evenly from all.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    voxels: Vec<([usize; 3], u8)>,
    /// Voxels whose number is drawn below it are kept.
    below: u32,
}

impl Default for Sample {
    fn default() -> Sample {
        Sample { voxels: Vec::new(), below: u32::MAX }
    }
}

impl Sample {
    /// A number for a place: multiples of the golden ratio, which fall evenly whatever the length of the rows.
    fn drawn([x, y, z]: [usize; 3]) -> u32 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (z as u64).wrapping_mul(GOLDEN).rotate_left(21) ^ (y as u64).wrapping_mul(GOLDEN).rotate_left(42);
        ((mixed ^ x as u64).wrapping_mul(GOLDEN) >> 32) as u32
    }

    /// Takes the label of a voxel, or does not.
    pub fn add(&mut self, place: [usize; 3], label: u8) {
        if Sample::drawn(place) > self.below {
            return;
        }
        self.voxels.push((place, label));
        while self.voxels.len() > MOST {
            self.below /= 2;
            let below = self.below;
            self.voxels.retain(|(place, _)| Sample::drawn(*place) <= below);
        }
    }
}

/// Sums of the grey values of a class.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f64,
    sum: f64,
    squares: f64,
}

/// A sample laid onto grey values in all ways that fit, which come slice by slice.
pub struct Laid {
    axes: Vec<Axes>,
    /// z, place in the slice, which axes, label: in this order.
    places: Vec<(usize, usize, u8, u8)>,
    next: usize,
    /// By axes and label.
    sums: Vec<Vec<Sums>>,
    voxels: usize,
}

/// What explains more than the labels as they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Better {
    /// What the labels explain.
    pub own: f64,
    /// What they would explain.
    pub other: f64,
    /// With these axes.
    pub axes: Axes,
}

impl Better {
    /// For people.
    pub fn text(&self) -> String {
        let ([own, other], axes) = ([self.own, self.other].map(|share| 100.0 * share), self.axes.name());
        format!(
            "the classes explain {own:.0} % of the variance of the grey values, with axes {axes} {other:.0} %: the labels \
             seem to lie otherwise than the volume; if so, `labels import --axes {axes}` turns them"
        )
    }
}

impl Laid {
    /// Lays a sample of labels of the shape `d` onto grey values of the same shape.
    pub fn new(sample: &Sample, d: Dims) -> Laid {
        let axes: Vec<Axes> = Axes::that_fit(d, d).into_iter().flat_map(Axes::directions).collect();
        let mut places = Vec::with_capacity(axes.len() * sample.voxels.len());
        for (&([x, y, z], label), (which, axes)) in
            sample.voxels.iter().flat_map(|v| axes.iter().enumerate().map(move |a| (v, a)))
        {
            let [z, y, x] = axes.place([z, y, x], d);
            places.push((z, y * d.nx + x, which as u8, label));
        }
        places.sort_unstable();
        Laid { sums: vec![vec![Sums::default(); 256]; axes.len()], axes, places, next: 0, voxels: sample.voxels.len() }
    }

    /// The next slice of the grey values; what is not finite says nothing.
    pub fn slice(&mut self, z: usize, values: &[f32]) {
        while let Some(&(_, at, axes, label)) = self.places.get(self.next).filter(|p| p.0 <= z) {
            let v = f64::from(values[at]);
            if v.is_finite() {
                let sums = &mut self.sums[usize::from(axes)][usize::from(label)];
                (sums.n, sums.sum, sums.squares) = (sums.n + 1.0, sums.sum + v, sums.squares + v * v);
            }
            self.next += 1;
        }
    }

    /// Axes that explain clearly more, after the last slice.
    pub fn better(&self) -> Option<Better> {
        if self.voxels < LEAST {
            return None;
        }
        let shares: Vec<f64> = self.sums.iter().map(|classes| share(classes)).collect();
        let most = shares.iter().fold(0.0, |a: f64, &b| a.max(b));
        let own = self.axes.iter().position(|a| *a == Axes::NATIVE).map(|i| shares[i])?;
        let first = shares.iter().position(|&s| s >= most - ALIKE)?;
        (most > own + MARGIN).then(|| Better { own, other: shares[first], axes: self.axes[first] })
    }
}

/// η².
fn share(classes: &[Sums]) -> f64 {
    let of = |what: fn(&Sums) -> f64| classes.iter().fold(0.0, |sum, c| sum + what(c));
    let (n, sum, squares) = (of(|c| c.n), of(|c| c.sum), of(|c| c.squares));
    if n == 0.0 {
        return 0.0;
    }
    let mean = sum / n;
    let (all, between) =
        (squares - n * mean * mean, of(|c| if c.n > 0.0 { c.sum * c.sum / c.n } else { 0.0 }) - n * mean * mean);
    // Values that are all alike differ by rounding alone.
    if all <= f64::EPSILON * squares * n { 0.0 } else { (between / all).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::philox::Stream;

    const SIDE: usize = 16;

    /// What is told of labels and grey values of a cube.
    fn told(label: impl Fn([usize; 3]) -> Option<u8>, grey: impl Fn([usize; 3]) -> f32) -> Option<Better> {
        let d = Dims::new(SIDE, SIDE, SIDE).unwrap();
        let mut sample = Sample::default();
        let places = || (0..d.voxels()).map(|i| [i % SIDE, i / SIDE % SIDE, i / SIDE / SIDE]);
        places().for_each(|p| label(p).into_iter().for_each(|l| sample.add(p, l)));
        let mut laid = Laid::new(&sample, d);
        let values: Vec<f32> = places().map(grey).collect();
        values.chunks(SIDE * SIDE).enumerate().for_each(|(z, slice)| laid.slice(z, slice));
        laid.better()
    }

    fn noise([x, y, z]: [usize; 3]) -> f32 {
        Stream::new(7, 1).normal(((z * SIDE + y) * SIDE + x) as u64) as f32
    }

    #[test]
    fn layers_that_lie_along_another_axis_or_the_other_way_are_told() {
        let layer = |v: usize| u8::from(v >= 5) + u8::from(v >= 12);
        let grey = |[x, y, z]: [usize; 3]| [0.0, 2.0, 1.0][usize::from(layer(y))] + 0.3 * noise([x, y, z]);
        assert_eq!(told(|[_, y, _]| Some(layer(y)), grey), None, "as they should be");
        let turned = told(|[_, _, z]| Some(layer(z)), grey).unwrap();
        assert_eq!(turned.axes.name(), "yzx");
        assert!(turned.own < 0.05 && turned.other > 0.8, "{turned:?}");
        let backwards = told(|[_, y, _]| Some(layer(SIDE - 1 - y)), grey).unwrap();
        assert_eq!(backwards.axes.name(), "z-yx");
        assert!(backwards.other > backwards.own + 0.2, "{backwards:?}");
        // A few labels tell nothing.
        assert_eq!(told(|[x, y, z]| (x == 3 && z < 9).then(|| layer(y)).filter(|_| z == 1), grey), None);
    }

    #[test]
    fn noise_is_no_reason_to_turn_labels() {
        for seed in 0..20u64 {
            let patch =
                |[x, y, z]: [usize; 3]| (Stream::new(seed, 2).below((z / 4 * 16 + y / 4 * 4 + x / 4) as u64, 5)) as u8;
            // Labels that mean nothing, in patches, on noise; and on grey values of patches of their own.
            assert_eq!(told(|p| Some(patch(p)), noise), None, "{seed}");
            let other =
                |[x, y, z]: [usize; 3]| Stream::new(seed, 3).below((z / 2 * 64 + y / 2 * 8 + x / 2) as u64, 3) as f32;
            assert_eq!(told(|p| Some(patch(p)), other), None, "{seed}");
            // Labels that are right, under noise of twice their contrast.
            let layers = |[x, y, z]: [usize; 3]| f32::from(u8::from(y >= 6)) + 2.0 * noise([x, y, z]);
            assert_eq!(told(|[_, y, _]| Some(u8::from(y >= 6)), layers), None, "{seed}");
        }
        assert_eq!(told(|_| Some(1), |_| 5.0), None, "nothing varies");
    }

    #[test]
    fn samples_are_bounded_and_even() {
        let mut sample = Sample::default();
        for i in 0..1_000_000 {
            sample.add([i % 128, i / 128 % 64, i / 8192], 0);
        }
        assert!((MOST / 3..=MOST).contains(&sample.voxels.len()), "{}", sample.voxels.len());
        let low = sample.voxels.iter().filter(|([x, ..], _)| *x < 32).count() as f64 / sample.voxels.len() as f64;
        assert!((low - 0.25).abs() < 0.02, "{low}");
    }
}
