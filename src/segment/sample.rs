//! Patches as a network sees them: grey values scaled, labels beside them, both disturbed alike, several of them a batch.
//!
//! ```text
//! sample    image [row][column] of 0 … 1, label [row][column] of classes and 255
//! batch     (n, 1, rows, columns), and labels with −1 where there is none
//! ```
//!
//! A patch is read a slice of z at a time, so that one of plane `yz`, whose columns are y, holds no more than a band of
//! the volume's rows. Whoever reads patches again and again keeps them: 209 of 512 × 512 are 270 MB.

use super::UNLABELLED;
use super::augment::Options;
use super::patches::Patch;
use super::predict::Grey;
use crate::error::{Error, Result};
use crate::kernels::cross_entropy;
use crate::kernels::maps::{Maps, Shape};
use crate::volume::Source;

/// A patch with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Rows and columns.
    pub size: usize,
    /// Grey values, 0 … 1.
    pub image: Vec<f32>,
    /// Labels.
    pub labels: Vec<u8>,
}

/// Values of a patch, `[row][column]`.
///
/// # Errors
/// Data: a patch that is not in the volume. Those of reading.
pub fn values(patch: &Patch, size: usize, volume: &dyn Source) -> Result<Vec<f32>> {
    let d = volume.dims();
    let [xs, ys, zs] = patch.voxels(size);
    if xs.end > d.nx || ys.end > d.ny || zs.end > d.nz {
        return Err(Error::data(format!("a patch at x {xs:?}, y {ys:?}, z {zs:?} of a volume {d:?}"))
            .help("the list of patches is of another volume"));
    }
    let mut out = Vec::with_capacity(size * size);
    let mut rows = vec![0f32; ys.len() * d.nx];
    // z, y, x ascending is row, column ascending in every plane.
    for z in zs {
        volume.read(z..z + 1, ys.clone(), &mut rows)?;
        rows.chunks_exact(d.nx).for_each(|row| out.extend_from_slice(&row[xs.clone()]));
    }
    Ok(out)
}

impl Sample {
    /// Reads a patch of a grey volume and of its labels.
    ///
    /// # Errors
    /// Data: a grey value that is not finite, a label that is none, a patch that is not in the volumes.
    pub fn read(patch: &Patch, size: usize, grey: &dyn Source, labels: &dyn Source, scale: Grey) -> Result<Sample> {
        let mut image = values(patch, size, grey)?;
        let place = |i: usize| {
            let [x, y, z] = patch.plane.place(patch.slice, patch.row + i / size, patch.column + i % size);
            format!("x {x}, y {y}, z {z}")
        };
        if let Some(i) = image.iter().position(|v| !v.is_finite()) {
            return Err(Error::data(format!("the grey value at {} is {}", place(i), image[i])));
        }
        image.iter_mut().for_each(|v| *v = scale.scale(*v));
        let said = values(patch, size, labels)?;
        let mut labels = vec![0u8; said.len()];
        super::ledger::to_u8(&said, &mut labels)
            .map_err(|i| Error::data(format!("the label at {} is {}", place(i), said[i])))?;
        Ok(Sample { size, image, labels })
    }

    /// What it is in an epoch: `patch` is its number in the list.
    #[must_use]
    pub fn augmented(&self, options: Options, seed: u64, patch: u32, epoch: u32) -> Sample {
        let mut other = self.clone();
        options.draw(seed, patch, epoch).apply(self.size, self.size, &mut other.image, &mut other.labels);
        other
    }
}

/// Samples as a batch for [`crate::nn::train::Trainer::step`].
///
/// # Errors
/// Bug: no sample, or samples of several sizes.
pub fn batch(samples: &[Sample]) -> Result<(Maps<f32>, Vec<i16>)> {
    let size = samples.first().map_or(0, |s| s.size);
    if size == 0 || samples.iter().any(|s| s.size != size) {
        return Err(Error::bug(format!("a batch of {} samples, the first of side {size}", samples.len())));
    }
    let image: Vec<f32> = samples.iter().flat_map(|s| s.image.iter().copied()).collect();
    let target = |&l: &u8| if l == UNLABELLED { cross_entropy::UNLABELLED } else { i16::from(l) };
    let labels = samples.iter().flat_map(|s| s.labels.iter().map(target)).collect();
    Ok((Maps::from_nchw(Shape::new(samples.len(), 1, size, size), &image), labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::orient::PLANES;
    use crate::volume::{Dims, Memory};

    #[test]
    fn patches_of_every_plane_are_read_where_they_are() {
        let dims = Dims::new(5, 6, 7).unwrap();
        let grey: Vec<f32> = (0..210).map(|i| i as f32).collect();
        let labels: Vec<f32> = (0..210).map(|i| if i % 4 == 0 { 255.0 } else { (i % 3) as f32 }).collect();
        let (grey, labels) = (Memory::new(dims, grey).unwrap(), Memory::new(dims, labels).unwrap());
        let scale = Grey { low: 0.0, high: 420.0 };
        for plane in PLANES {
            let patch = Patch { scan: 0, plane, slice: 3, row: 1, column: 2, labels: vec![] };
            let sample = Sample::read(&patch, 3, &grey, &labels, scale).unwrap();
            for i in 0..9 {
                let [x, y, z] = plane.place(3, 1 + i / 3, 2 + i % 3);
                let at = (z * 6 + y) * 7 + x;
                let label = if at % 4 == 0 { 255 } else { at % 3 };
                assert_eq!(
                    (sample.image[i], usize::from(sample.labels[i])),
                    (at as f32 / 420.0, label),
                    "{}",
                    plane.name()
                );
            }
            let (maps, targets) = batch(&[sample.clone(), sample.clone()]).unwrap();
            assert_eq!((maps.shape(), maps.at(1, 0, 2, 1)), (Shape::new(2, 1, 3, 3), sample.image[7]));
            let want: Vec<i16> = sample.labels.iter().map(|&l| if l == 255 { -1 } else { i16::from(l) }).collect();
            assert_eq!(targets, [want.clone(), want].concat());
            let outside = Patch { row: 4, ..patch };
            assert!(
                Sample::read(&outside, 3, &grey, &labels, scale).unwrap_err().to_string().contains("another volume")
            );
        }
        let patch = Patch { scan: 0, plane: PLANES[0], slice: 0, row: 0, column: 0, labels: vec![] };
        let odd = Memory::new(dims, (0..210).map(|i| if i == 8 { f32::NAN } else { 0.5 }).collect()).unwrap();
        let e = Sample::read(&patch, 3, &odd, &labels, scale).unwrap_err().to_string();
        assert!(e.contains("at x 1, y 1, z 0 is NaN"), "{e}");
        let e = Sample::read(&patch, 3, &grey, &odd, scale).unwrap_err().to_string();
        assert!(e.contains("the label at x 0, y 0, z 0 is 0.5"), "{e}");
    }

    #[test]
    fn samples_are_augmented_alike_in_any_order() {
        let sample = Sample { size: 8, image: (0..64).map(|i| i as f32 / 64.0).collect(), labels: vec![1; 64] };
        let options = Options::parse("authors,noise=0.1").unwrap();
        let of = |patch: u32, epoch: u32| sample.augmented(options, 4, patch, epoch);
        let forward: Vec<Sample> = (0..4).map(|p| of(p, 2)).collect();
        let mut backward: Vec<Sample> = (0..4).rev().map(|p| of(p, 2)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert!(forward.iter().all(|s| *s != sample) && forward[0] != forward[1] && of(0, 3) != forward[0]);
        assert!(batch(&[]).is_err());
        let other = Sample { size: 4, image: vec![0.0; 16], labels: vec![0; 16] };
        assert!(batch(&[sample, other]).is_err());
    }
}
