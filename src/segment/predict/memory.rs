//! What a prediction holds, told before it runs: the blocks, images and maps of [`super`], the largest they become. Of a
//! volume of more than one block, two: one that is looked at, one that is read.

use super::{BAND, images};
use crate::segment::orient::Plane;
use crate::volume::Dims;

/// Bytes of an f32.
const VALUE: u64 = 4;

/// Bytes that slices of a view of a plane take on their way to `maps` maps, by a network that sees `inputs` of them: the block that is
/// read at once, the image that is made of it, and a slice of each map.
pub fn of_slices(view: Dims, plane: Plane, inputs: usize, maps: usize) -> u64 {
    let slice = view.slice() as u64;
    let (band, beside, all) = (images::block(view, plane) as u64, inputs as u64 - 1, view.nz as u64);
    let (block, next) = ((band + beside).min(all), if band < all { (all - band).min(band) + beside } else { 0 });
    // An image of one slice is looked at where it was read.
    let image = if inputs > 1 { inputs as u64 } else { 0 };
    VALUE * slice * (block + next.min(all) + image + maps as u64)
}

/// Bytes that [`super::average`] takes for `logits` volumes and `maps` maps.
pub fn of_average(volume: Dims, logits: usize, maps: usize) -> u64 {
    let slice = volume.slice() as u64;
    let band = (BAND / (VALUE * slice * logits as u64)).max(1).min(volume.nz as u64);
    VALUE * slice * (band * logits as u64 + maps as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_bounded_and_no_larger_than_the_volume() {
        let mib = |bytes: u64| bytes >> 20;
        let large = Dims::new(4000, 1024, 1024).unwrap();
        // A slice is 4 MiB: 64 of them, two beside for a network of three, twice; an image of three, two maps.
        assert_eq!(mib(of_slices(large, Plane::Xz, 3, 2)), 2 * (256 + 8) + 12 + 8);
        assert_eq!(mib(of_slices(large, Plane::Xy, 3, 2)), 2 * (128 + 8) + 12 + 8);
        assert_eq!(mib(of_slices(Dims::new(70, 1024, 1024).unwrap(), Plane::Xz, 1, 2)), 256 + 24 + 8);
        assert_eq!(mib(of_slices(Dims::new(10, 1024, 1024).unwrap(), Plane::Xy, 1, 1)), 40 + 4);
        // Sixteen blocks of four slices; of a hundred one slice each.
        assert_eq!(mib(of_average(large, 16, 1)), 256 + 4);
        assert_eq!(mib(of_average(large, 100, 1)), 400 + 4);
    }
}
