//! Labels as a person would draw them: boundaries off by a voxel or two, classes confused, or only strokes.
//!
//! ```text
//! drawn(x, y) = confuse( class(x + a n₁(x, y, z), y + a n₂(x, y, z)) )      n₁, n₂ smooth noise in −1 … 1, a in voxels
//! confuse     where a third noise is highest, on the stated part of all voxels of lithium or pit, the class becomes
//!             the one that it is taken for: dendrite ↔ deposited, pit → background, electrode → deposited
//! strokes     in every n-th slice, a few lines two voxels thick through each class; everything else is unlabelled
//! ```
//!
//! Slices are x-y and drawn one by one, so a slice is the same whichever others are drawn.

use super::cell::surface::Texture;
use super::matter::LABELS;
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::num::philox::Stream;

/// The number of a voxel that nobody labelled.
pub const UNLABELLED: u8 = 255;
/// Classes of the network: background, dendrite, pit, deposited, electrode.
pub const CLASSES: usize = 5;
/// What a class is taken for.
const TAKEN_FOR: [u8; CLASSES] = [0, 3, 0, 1, 3];
/// Strokes through a class in a slice, their length and thickness in voxels.
const STROKES: u64 = 5;
const LENGTH: usize = 24;
const THICKNESS: usize = 2;
const STREAM: u32 = 0x616e_6e00;
/// Noise is smooth over this many voxels.
const SMOOTH: f64 = 4.0;

/// How somebody draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habits {
    /// Voxels by which boundaries are off.
    pub boundary: f64,
    /// Part of the voxels of lithium or pit whose class is confused.
    pub confusion: f64,
    /// Strokes only, in every n-th slice; `None` labels everything.
    pub strokes: Option<usize>,
}

/// Somebody who draws.
pub struct Annotator {
    seed: u64,
    habits: Habits,
    noise: [Texture; 3],
    /// Above this value of the third noise classes are confused.
    threshold: f32,
}

impl Annotator {
    /// An annotator of a seed: not the cell's, or labels and cell would share their random numbers.
    ///
    /// # Errors
    /// Usage: a habit out of range.
    pub fn new(seed: u64, habits: Habits, isa: Isa) -> Result<Annotator> {
        if !(0.0..=8.0).contains(&habits.boundary) || !(0.0..=0.5).contains(&habits.confusion) {
            return Err(Error::usage(format!(
                "an annotator whose boundaries are off by {} voxels and who confuses {} of the classes",
                habits.boundary, habits.confusion
            ))
            .help("boundaries from 0 to 8 voxels, confusion from 0 to 0.5"));
        }
        let noise = |i: u32| Texture::new(seed, STREAM + i, SMOOTH, isa);
        let noise = [noise(0)?, noise(1)?, noise(2)?];
        let threshold = noise[2].quantile(1.0 - habits.confusion);
        Ok(Annotator { seed, habits, noise, threshold })
    }

    /// Draws slice `z` of `nx` columns: `truth` holds [labels](LABELS) `[y][x]`, `drawn` becomes network classes.
    ///
    /// # Panics
    /// If the lengths differ or are not whole rows.
    pub fn draw(&self, z: usize, nx: usize, truth: &[u8], drawn: &mut [u8]) {
        assert_eq!(truth.len(), drawn.len());
        let ny = truth.len() / nx;
        let class = |label: u8| LABELS.get(usize::from(label)).map_or(0, |l| l.network_class());
        for y in 0..ny {
            for x in 0..nx {
                // The noise lies within 1 ± 0.9.
                let off = |n: &Texture| self.habits.boundary / 0.9 * (f64::from(n.at(x, y, z)) - 1.0);
                let place = |i: usize, n: &Texture, end: usize| {
                    (i as f64 + off(n)).round().clamp(0.0, end as f64 - 1.0) as usize
                };
                let from = place(y, &self.noise[1], ny) * nx + place(x, &self.noise[0], nx);
                let seen = class(truth[from]);
                let confused = self.noise[2].at(x, y, z) > self.threshold;
                drawn[y * nx + x] = if confused { TAKEN_FOR[usize::from(seen)] } else { seen };
            }
        }
        if let Some(every) = self.habits.strokes {
            let whole = drawn.to_vec();
            drawn.fill(UNLABELLED);
            if z.is_multiple_of(every.max(1)) {
                (0..CLASSES).for_each(|class| self.strokes(z, nx, class as u8, &whole, drawn));
            }
        }
    }

    fn strokes(&self, z: usize, nx: usize, class: u8, whole: &[u8], drawn: &mut [u8]) {
        let ny = whole.len() / nx;
        let s = Stream::new(self.seed, STREAM + 8 + u32::from(class));
        for stroke in 0..STROKES {
            let at = (z as u64 * STROKES + stroke) * 4;
            let start = s.below(at, nx as u32) as usize;
            let column: Vec<usize> = (0..ny).filter(|&y| whole[y * nx + start] == class).collect();
            if column.is_empty() {
                continue;
            }
            let mut y = column[s.below(at + 1, column.len() as u32) as usize];
            for x in start..(start + LENGTH).min(nx) {
                // Follows its class up or down by a voxel, and ends where the class does.
                let Some(next) =
                    [y, y + 1, y.saturating_sub(1)].into_iter().find(|&y| y < ny && whole[y * nx + x] == class)
                else {
                    break;
                };
                y = next;
                for y in y..(y + THICKNESS).min(ny) {
                    if whole[y * nx + x] == class {
                        drawn[y * nx + x] = class;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::matter::Label;

    /// Three flat layers: background, dendrite, stripping electrode.
    fn layers(nx: usize, ny: usize) -> Vec<u8> {
        let label = |y: usize| [Label::Background, Label::Dendrite, Label::StrippingElectrode][3 * y / ny] as u8;
        (0..nx * ny).map(|i| label(i / nx)).collect()
    }

    fn draw(habits: Habits, z: usize) -> Vec<u8> {
        let truth = layers(128, 96);
        let mut drawn = vec![7; truth.len()];
        Annotator::new(9, habits, Isa::detect()).unwrap().draw(z, 128, &truth, &mut drawn);
        drawn
    }

    #[test]
    fn a_perfect_annotator_draws_the_truth_in_network_classes() {
        let drawn = draw(Habits { boundary: 0.0, confusion: 0.0, strokes: None }, 3);
        let want: Vec<u8> = layers(128, 96).iter().map(|&l| LABELS[usize::from(l)].network_class()).collect();
        assert_eq!(drawn, want);
    }

    #[test]
    fn boundaries_are_off_by_what_is_said_and_nowhere_else() {
        let perfect = draw(Habits { boundary: 0.0, confusion: 0.0, strokes: None }, 0);
        let drawn = draw(Habits { boundary: 2.0, confusion: 0.0, strokes: None }, 0);
        let mut wrong = 0;
        for (i, (d, p)) in drawn.iter().zip(&perfect).enumerate() {
            if d != p {
                wrong += 1;
                let y = i / 128;
                // Boundaries lie between rows 31 and 32 and between 63 and 64.
                assert!([31.5f64, 63.5].iter().any(|b| (y as f64 - b).abs() <= 2.0), "row {y}");
            }
        }
        // Two boundaries of 128 columns, about a voxel on average.
        assert!((64..512).contains(&wrong), "{wrong}");
    }

    #[test]
    fn confusion_takes_its_part_and_strokes_are_sparse_and_right() {
        let perfect = draw(Habits { boundary: 0.0, confusion: 0.0, strokes: None }, 0);
        let (mut wrong, mut all) = (0, 0);
        for z in (0..128).step_by(8) {
            let drawn = draw(Habits { boundary: 0.0, confusion: 0.03, strokes: None }, z);
            let lithium = drawn.iter().zip(&perfect).filter(|(_, p)| **p != 0);
            wrong += lithium.clone().filter(|(d, p)| d != p).count();
            all += lithium.count();
        }
        let part = wrong as f64 / all as f64;
        // Blobs of about 10³ voxels: some 400 of them in the tile, 3 % of which is 12 and its root a third of it.
        assert!((0.02..0.05).contains(&part), "{part}");
        let strokes = draw(Habits { boundary: 0.0, confusion: 0.0, strokes: Some(4) }, 8);
        let labelled = strokes.iter().filter(|&&d| d != UNLABELLED).count();
        assert!(labelled > 300 && labelled < strokes.len() / 10, "{labelled}");
        assert!(strokes.iter().zip(&perfect).all(|(s, p)| s == p || *s == UNLABELLED));
        for class in [0, 1, 4] {
            assert!(strokes.contains(&class));
        }
        assert!(draw(Habits { boundary: 0.0, confusion: 0.0, strokes: Some(4) }, 9).iter().all(|&d| d == UNLABELLED));
        assert!(Annotator::new(1, Habits { boundary: 99.0, confusion: 0.0, strokes: None }, Isa::detect()).is_err());
    }
}
