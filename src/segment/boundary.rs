//! Boundary IoU: how well outlines agree, whatever the size of what they enclose.
//!
//! ```text
//! B_d(M) = voxels of M that see a voxel outside M, or the end of the slice, within d rows and columns (Chebyshev)
//! boundary IoU of class k = |B_d(T_k) ∩ B_d(P_k)| / |B_d(T_k) ∪ B_d(P_k)|          sums over slices, then one quotient
//! ```
//!
//! B_d is M without its erosion by a square of 2d + 1, as in the authors' program, which erodes d times by one of 3. All
//! classes are seen at once: a voxel is on its class's outline where the least and the greatest label around it differ.
//! A voxel within d of an unlabelled one is left out: nobody knows whether an outline passes there. Without a prediction
//! is not in any class.
//!
//! Source: Cheng, Girshick, Dollár, Berg, Kirillov, "Boundary IoU", CVPR 2021.

use super::UNLABELLED;

/// Sums of one or several slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlines {
    /// |∩| by class.
    pub both: Vec<u64>,
    /// |∪| by class.
    pub either: Vec<u64>,
}

impl Outlines {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Outlines {
        Outlines { both: vec![0; classes], either: vec![0; classes] }
    }

    /// Outlines of a slice of `width` columns; labels above the classes are passed over.
    pub fn of_slice(classes: usize, truth: &[u8], prediction: &[u8], width: usize, d: usize) -> Outlines {
        let (t, p) = (around(truth, width, d), around(prediction, width, d));
        let mut sums = Outlines::new(classes);
        for i in 0..truth.len() {
            // 255 is the greatest label: where it is seen, the greatest is it.
            if t[i].1 == UNLABELLED {
                continue;
            }
            let edge = |labels: &[u8], (least, most, end): (u8, u8, bool)| {
                (least != most || end).then_some(usize::from(labels[i])).filter(|&k| k < classes)
            };
            let (a, b) = (edge(truth, t[i]), edge(prediction, p[i]));
            a.iter().for_each(|&k| sums.either[k] += 1);
            b.iter().filter(|_| a != b).for_each(|&k| sums.either[k] += 1);
            a.iter().filter(|_| a == b).for_each(|&k| sums.both[k] += 1);
        }
        sums
    }

    /// Adds another's sums `n` times.
    pub fn add_times(&mut self, other: &Outlines, n: u64) {
        self.both.iter_mut().zip(&other.both).for_each(|(a, b)| *a += n * b);
        self.either.iter_mut().zip(&other.either).for_each(|(a, b)| *a += n * b);
    }

    /// Boundary IoU by class, unknown where neither has an outline.
    pub fn iou(&self) -> Vec<Option<f64>> {
        let one = |(&b, &e): (&u64, &u64)| (e > 0).then(|| b as f64 / e as f64);
        self.both.iter().zip(&self.either).map(one).collect()
    }
}

/// Least and greatest label within d rows and columns, and whether the slice ends there.
fn around(labels: &[u8], width: usize, d: usize) -> Vec<(u8, u8, bool)> {
    let height = labels.len() / width.max(1);
    // Along rows first, then along columns of that.
    let mut rows = vec![(0u8, 0u8); labels.len()];
    for (y, row) in labels.chunks_exact(width).enumerate() {
        for x in 0..width {
            let near = &row[x.saturating_sub(d)..(x + d + 1).min(width)];
            let ends = near.iter().fold((u8::MAX, 0), |(a, b), &l| (a.min(l), b.max(l)));
            rows[y * width + x] = ends;
        }
    }
    let mut out = vec![(0, 0, false); labels.len()];
    for y in 0..height {
        let end_y = y < d || y + d >= height;
        for x in 0..width {
            let (mut least, mut most) = (u8::MAX, 0);
            for near in y.saturating_sub(d)..(y + d + 1).min(height) {
                let (a, b) = rows[near * width + x];
                (least, most) = (least.min(a), most.max(b));
            }
            out[y * width + x] = (least, most, end_y || x < d || x + d >= width);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_squares_by_hand() {
        // A square of 4 × 4 and the same one column to the right, in 8 × 8, d = 1: outlines of 12 voxels each.
        let square = |x0: usize| -> Vec<u8> {
            (0..64).map(|i| u8::from((2..6).contains(&(i / 8)) && (x0..x0 + 4).contains(&(i % 8)))).collect()
        };
        let same = Outlines::of_slice(2, &square(2), &square(2), 8, 1);
        assert_eq!((same.both[1], same.either[1]), (12, 12));
        assert_eq!(same.iou()[1], Some(1.0));
        // In common: the 3 voxels of the upper and of the lower edge that both have, less none; and no vertical edge.
        let moved = Outlines::of_slice(2, &square(2), &square(3), 8, 1);
        assert_eq!((moved.both[1], moved.either[1]), (6, 18));
        // A wholly labelled slice of one class has its outline at the end of the slice.
        let flat = Outlines::of_slice(2, &[0; 64], &[0; 64], 8, 1);
        assert_eq!((flat.both[0], flat.either[0], flat.iou()[1]), (28, 28, None));
    }

    #[test]
    fn unlabelled_neighbourhoods_are_left_out_and_silence_is_no_class() {
        let mut truth = vec![0u8; 25];
        truth[12] = 255;
        // Every voxel of 5 × 5 but its rim sees the middle within 1; the rim is at the end of the slice.
        let o = Outlines::of_slice(2, &truth, &[0; 25], 5, 1);
        assert_eq!((o.both[0], o.either[0]), (16, 16));
        let silent = Outlines::of_slice(2, &[0; 25], &[255; 25], 5, 1);
        assert_eq!((silent.both[0], silent.either[0]), (0, 16));
    }

    /// Against SciPy 1.17.1, class by class:
    ///
    /// ```text
    /// t = (i*i//90 + i//40) % 3, p = (i*i//95 + i//40) % 3 of i in 0..1200, 40 columns; d = 2
    /// and t = ((i//40)//9 + (i%40)//11) % 3, p = ((i//40+1)//9 + (i%40+1)//11) % 3
    /// b = lambda m: m & ~scipy.ndimage.binary_erosion(m, np.ones((3, 3)), iterations=2, border_value=0)
    /// [(b(t == k) & b(p == k)).sum() for k in range(3)], [(b(t == k) | b(p == k)).sum() for k in range(3)]
    /// ```
    #[test]
    fn outlines_are_those_of_repeated_erosion() {
        let make = |q: u64| -> Vec<u8> { (0..1200u64).map(|i| ((i * i / q + i / 40) % 3) as u8).collect() };
        let o = Outlines::of_slice(3, &make(90), &make(95), 40, 2);
        assert_eq!((o.both, o.either), (GOLDEN.0.to_vec(), GOLDEN.1.to_vec()));
        let blocks = |shift: u64| -> Vec<u8> {
            (0..1200u64).map(|i| (((i / 40 + shift) / 9 + (i % 40 + shift) / 11) % 3) as u8).collect()
        };
        let o = Outlines::of_slice(3, &blocks(0), &blocks(1), 40, 2);
        assert_eq!((o.both, o.either), (BLOCKS.0.to_vec(), BLOCKS.1.to_vec()));
    }
    const GOLDEN: ([u64; 3], [u64; 3]) = ([138, 135, 136], [668, 669, 654]);
    const BLOCKS: ([u64; 3], [u64; 3]) = ([201, 177, 177], [397, 376, 376]);
}
