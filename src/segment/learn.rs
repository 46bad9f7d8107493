//! Patches in memory, to learn from: cut from grey values and labels once, disturbed anew in every epoch.

use super::UNLABELLED;
use super::augment::Options;
use super::ledger::read_u8;
use super::orient::Axes;
use super::patches::{List, Patch};
use super::predict::Grey;
use super::scale::{Clipped, Moments};
use crate::error::{Error, Result};
use crate::kernels::augment::{Drawn, Seen};
use crate::kernels::buffer::Buffer;
use crate::kernels::cross_entropy;
use crate::nn::fit::{Patches, Turn};
use crate::os::check_interrupt;
use crate::volume::{Dims, Source};

/// Patches of a list.
pub struct Cuts {
    size: usize,
    channels: usize,
    /// Numbers of the patches in their list.
    numbers: Vec<u32>,
    /// Grey values from 0 to 1, and labels.
    grey: Buffer<f32>,
    labels: Buffer<i16>,
    /// Of each scan of the list.
    clipped: Vec<Clipped>,
    disturbed: Option<(Options, u64)>,
}

impl Cuts {
    /// Cuts the patches `which` of a list; per scan its grey values and its labels. Each volume is read once, slice by
    /// slice. The channels of a patch are its slice and `context` slices on each side, the last one again where the volume
    /// ends.
    ///
    /// # Errors
    /// Data: a scan of another shape than the list says, grey values that are not finite. Those of reading.
    pub fn of(list: &List, which: &[usize], scans: &[[&dyn Source; 2]], grey: Grey, context: usize) -> Result<Cuts> {
        let (size, channels) = (list.size, 2 * context + 1);
        let pixels = size * size;
        let mut cut = vec![0f32; which.len() * channels * pixels];
        let mut of_cut = vec![cross_entropy::UNLABELLED; which.len() * pixels];
        let mut clipped = vec![Clipped::default(); list.scans.len()];
        for (number, ([values, labels], scan)) in scans.iter().zip(&list.scans).enumerate() {
            let dims = values.dims();
            if [dims, labels.dims()] != [scan.dims; 2] {
                let text = |d: Dims| format!("{} x {} x {}", d.nz, d.ny, d.nx);
                let what =
                    format!("scan {}: grey values of {}, labels of {}", scan.name, text(dims), text(labels.dims()));
                let fit: Vec<String> = match dims == scan.dims {
                    true => Vec::new(),
                    false => Axes::that_fit(dims, scan.dims).iter().map(Axes::name).collect(),
                };
                let more = if fit.is_empty() {
                    String::new()
                } else {
                    format!("; grey values with the axes {} would fit", fit.join(", "))
                };
                return Err(Error::data(what).help(format!("the list was made of {} (z, y, x){more}", text(scan.dims))));
            }
            let mut mine = Vec::new();
            for (at, patch) in which.iter().map(|&i| &list.patches[i]).enumerate().filter(|(_, p)| p.scan == number) {
                let last = patch.plane.dims(dims).nz - 1;
                mine.extend((0..channels).map(|c| {
                    let slice = (patch.slice + c).saturating_sub(context).min(last);
                    (at, c, Patch { slice, ..patch.clone() }.voxels(size))
                }));
            }
            let (mut slice, mut classes) = (vec![0f32; dims.slice()], vec![0u8; dims.slice()]);
            for z in 0..dims.nz {
                check_interrupt()?;
                let mut touched = mine.iter().filter(|(_, _, [_, _, zs])| zs.contains(&z)).peekable();
                if touched.peek().is_none() {
                    continue;
                }
                values.read(z..z + 1, 0..dims.ny, &mut slice)?;
                read_u8(*labels, z..z + 1, &mut classes)?;
                for (at, c, [xs, ys, zs]) in touched {
                    let patch = &list.patches[which[*at]];
                    for (y, x) in ys.clone().flat_map(|y| xs.clone().map(move |x| (y, x))) {
                        let [row, column] = patch.plane.within([x - xs.start, y - ys.start, z - zs.start]);
                        let v = slice[y * dims.nx + x];
                        if !v.is_finite() {
                            return Err(Error::data(format!("scan {}: {v} at x {x}, y {y}, z {z}", scan.name))
                                .help("reconstruct without it, or label nothing there"));
                        }
                        cut[((at * channels + c) * size + row) * size + column] = grey.scale(v);
                        let label = Some(classes[y * dims.nx + x]).filter(|&label| label != UNLABELLED);
                        if *c == context {
                            clipped[number].add(grey, v, label);
                            of_cut[at * pixels + row * size + column] =
                                label.map_or(cross_entropy::UNLABELLED, i16::from);
                        }
                    }
                }
            }
        }
        let numbers = which.iter().map(|&i| i as u32).collect();
        Ok(Cuts { size, channels, numbers, grey: cut.into(), labels: of_cut.into(), clipped, disturbed: None })
    }

    /// The same, disturbed in every epoch.
    #[must_use]
    pub fn disturbed(self, options: Options, seed: u64) -> Cuts {
        Cuts { disturbed: Some((options, seed)), ..self }
    }

    /// Values that are clipped in the patches of each scan of the list.
    pub fn clipped(&self) -> &[Clipped] {
        &self.clipped
    }

    /// Mean and standard deviation of all grey values.
    pub fn moments(&self) -> Moments {
        Moments::of(&self.grey)
    }

    /// Labelled pixels of each class.
    pub fn labelled(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = usize::try_from(label).ok().and_then(|k| counts.get_mut(k)) {
                *count += 1;
            }
        }
        counts
    }
}

impl Patches for Cuts {
    fn len(&self) -> usize {
        self.numbers.len()
    }
    fn size(&self) -> [usize; 2] {
        [self.size; 2]
    }
    fn channels(&self) -> usize {
        self.channels
    }
    fn grey(&self) -> &Buffer<f32> {
        &self.grey
    }
    fn seen(&self, i: usize, turn: Turn) -> Seen {
        let drawn = self.disturbed.map_or(Drawn::NOTHING, |(options, seed)| options.draw(seed, self.numbers[i], turn));
        Seen { patch: i, drawn }
    }
    fn labels(&self) -> &Buffer<i16> {
        &self.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;
    use crate::provenance::Digest;
    use crate::segment::classes::Classes;
    use crate::segment::orient::VIEWS;
    use crate::segment::patches::{Making, Scan, Stride};
    use crate::volume::Memory;

    const SIZE: usize = 4;

    /// Two scans of 7 × 5 × 6 (x, y, z) whose grey values say where they are, with labels in every second voxel.
    fn scans() -> (List, Vec<[Memory; 2]>) {
        let dims = Dims::new(6, 5, 7).unwrap();
        let n = 210;
        let volumes: Vec<[Memory; 2]> = (0..2)
            .map(|s| {
                let grey = (0..n).map(|i| (1000 * s + i) as f32).collect();
                let labels = (0..n).map(|i| if i % 2 == 0 { (i / 2 % 3) as f32 } else { 255.0 }).collect();
                [grey, labels].map(|v| Memory::new(dims, v).unwrap())
            })
            .collect();
        let making = Making {
            planes: VIEWS.to_vec(),
            slices: Stride::parse("::").unwrap(),
            size: SIZE,
            step: 1,
            least: 0.0,
            z: None,
        };
        let scan = |i: usize| Scan { name: format!("s{i}"), cell: None, dims, labels: Digest::of(&[i as u8]) };
        let sources: Vec<(Scan, &dyn Source)> =
            volumes.iter().enumerate().map(|(i, v)| (scan(i), &v[1] as &dyn Source)).collect();
        let list = List::of(&making, &Classes::network(), &sources, &|_, _| ()).unwrap();
        (list, volumes)
    }

    #[test]
    fn patches_are_cut_where_the_list_says_in_every_plane() {
        let (list, volumes) = scans();
        let which: Vec<usize> = (0..list.patches.len()).rev().step_by(3).collect();
        let sources: Vec<[&dyn Source; 2]> = volumes.iter().map(|[g, l]| [g as &dyn Source, l]).collect();
        let grey = Grey { low: 0.0, high: 2000.0 };
        let cuts = Cuts::of(&list, &which, &sources, grey, 0).unwrap();
        let of = |cuts: &Cuts, at: usize, epoch: u32| {
            let seen = cuts.seen(at, Turn { epoch, ..Turn::default() });
            let mut image = cuts.grey()[seen.patch * SIZE * SIZE..][..SIZE * SIZE].to_vec();
            seen.drawn.image(SIZE, SIZE, &mut image);
            let labels = kernels::augment::labels(cuts.labels(), &[seen], [SIZE; 2], 5).unwrap();
            (image, labels.numbers().to_vec())
        };
        for (at, &i) in which.iter().enumerate() {
            let patch = &list.patches[i];
            let (image, labels) = of(&cuts, at, 7);
            for (row, column) in (0..SIZE).flat_map(|r| (0..SIZE).map(move |c| (r, c))) {
                let [x, y, z] = patch.plane.place(patch.slice, patch.row + row, patch.column + column);
                let place = (z * 5 + y) * 7 + x;
                assert_eq!(image[row * SIZE + column], grey.scale((1000 * patch.scan + place) as f32), "{patch:?}");
                let label = if place % 2 == 0 { (place / 2 % 3) as i16 } else { -1 };
                assert_eq!(labels[row * SIZE + column], label);
            }
        }
        assert!(cuts.labelled(5)[..3].iter().all(|&n| n > 0) && cuts.labelled(5)[3..] == [0, 0]);
        // Disturbed by epoch and by the number in the list, not by the place among those that were cut.
        let options = Options::parse("none,noise=0.1,flip-rows=0.5").unwrap();
        let disturbed = |which: &[usize]| Cuts::of(&list, which, &sources, grey, 0).unwrap().disturbed(options, 5);
        let (two, one) = (disturbed(&[3, 9]), disturbed(&[9]));
        assert_eq!(of(&two, 1, 2), of(&one, 0, 2));
        assert_ne!(of(&one, 0, 2), of(&one, 0, 3));
    }

    #[test]
    fn volumes_that_do_not_fit_are_refused() {
        let (list, volumes) = scans();
        let small = Memory::new(Dims::new(2, 2, 2).unwrap(), vec![0.0; 8]).unwrap();
        let nan = Memory::new(list.scans[0].dims, vec![f32::NAN; 210]).unwrap();
        for (grey, says) in [(&small, "scan s0: grey values of"), (&nan, "NaN at x")] {
            let sources: Vec<[&dyn Source; 2]> = volumes.iter().map(|[_, l]| [grey as &dyn Source, l]).collect();
            let Err(error) = Cuts::of(&list, &[0], &sources, Grey { low: 0.0, high: 1.0 }, 0) else { panic!("{says}") };
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
