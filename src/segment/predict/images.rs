//! Slices of a volume as a network sees them, read by a thread of its own.
//!
//! Slices are read block by block. While the images of one are looked at, the next is read; no third is held. A slice of
//! another plane than the volume's takes a pass over the volume, and so does a block of them, which is twice as large then.

use super::{BAND, Grey, place};
use crate::error::{Error, Result};
use crate::os::check_interrupt;
use crate::segment::orient::Plane;
use crate::segment::windows::Series;
use crate::volume::{Dims, Source};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Slices of a block of a view of a plane.
pub fn block(view: Dims, plane: Plane) -> usize {
    let bytes = if plane == Plane::Xy { BAND / 2 } else { BAND };
    (bytes / (4 * view.slice() as u64)).max(1) as usize
}

/// Slices of a volume, made grey as a network sees it.
#[derive(Clone, Copy)]
pub struct Slices<'a> {
    /// Its z is the slice.
    pub view: &'a dyn Source,
    /// The plane that its slices are of.
    pub plane: Plane,
    /// Grey values that become 0 and 1.
    pub grey: Grey,
    /// Slices that the network sees at a time.
    pub inputs: usize,
}

impl Slices<'_> {
    /// Calls `work` with the images of some slices, one after the other, which are read meanwhile.
    ///
    /// # Errors
    /// Those of `work`, which sees those of reading: data where grey values are not finite.
    pub fn each(
        self,
        slices: Range<usize>,
        progress: &dyn Fn(usize, usize),
        work: impl FnOnce(&mut dyn Series) -> Result<()>,
    ) -> Result<()> {
        let (full, blocks) = sync_channel(0);
        let (emptied, empty) = channel();
        std::thread::scope(|scope| {
            let range = slices.clone();
            scope.spawn(move || self.read(range, &full, &empty));
            let block = Block { values: Vec::new(), from: 0, end: slices.start };
            let (slices, left, image) = (self, slices, Vec::new());
            let mut images = Images { slices, left, progress, blocks, emptied, block, image };
            // Images end, and with them the thread, before they are waited for.
            work(&mut images)
        })
    }

    /// Reads block by block until nobody wants more.
    fn read(self, slices: Range<usize>, full: &SyncSender<Result<Block>>, empty: &Receiver<Vec<f32>>) {
        for first in slices.clone().step_by(block(self.view.dims(), self.plane)) {
            let read =
                check_interrupt().and_then(|()| self.block(first, slices.end, empty.try_recv().unwrap_or_default()));
            let ended = read.is_err();
            if full.send(read).is_err() || ended {
                return;
            }
        }
    }

    /// The slices from `first` on, and those beside them.
    fn block(self, first: usize, end: usize, mut values: Vec<f32>) -> Result<Block> {
        let (d, n, reach) = (self.view.dims(), self.view.dims().slice(), self.inputs / 2);
        let (from, end) = (first.saturating_sub(reach), (first + block(d, self.plane)).min(end));
        let last = (end + reach).min(d.nz);
        values.resize((last - from) * n, 0f32);
        self.view.read(from..last, 0..d.ny, &mut values)?;
        for (slice, values) in (from..last).zip(values.chunks_exact_mut(n)) {
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                let odd = values.iter().filter(|v| !v.is_finite()).count();
                return Err(Error::data(format!(
                    "{odd} grey values of slice {slice} ({}) are NaN or infinite, first at {}",
                    self.plane.name(),
                    place(self.plane, d, slice, i)
                ))
                .help("find out where they come from; a network would make something of them"));
            }
            values.iter_mut().for_each(|v| *v = self.grey.scale(*v));
        }
        Ok(Block { values, from, end })
    }
}

/// Slices that were read together.
struct Block {
    values: Vec<f32>,
    /// The first slice, and up to which of them images are made.
    from: usize,
    end: usize,
}

/// Images of slices, one after the other.
struct Images<'a, 'b> {
    slices: Slices<'a>,
    left: Range<usize>,
    progress: &'b dyn Fn(usize, usize),
    blocks: Receiver<Result<Block>>,
    emptied: Sender<Vec<f32>>,
    block: Block,
    image: Vec<f32>,
}

impl Series for Images<'_, '_> {
    fn left(&self) -> usize {
        self.left.len()
    }
    fn next(&mut self) -> Result<Option<&[f32]>> {
        let Some(slice) = self.left.next() else { return Ok(None) };
        check_interrupt()?;
        (self.progress)(slice, self.left.end);
        let (d, n, reach) = (self.slices.view.dims(), self.slices.view.dims().slice(), self.slices.inputs / 2);
        if slice >= self.block.end {
            // Given back before the next is taken: then another may be read. Nobody may be left who wants it.
            let _ = self.emptied.send(std::mem::take(&mut self.block.values));
            self.block = self.blocks.recv().map_err(|_| Error::bug("the thread that reads slices ended early"))??;
        }
        let at = |slice: usize| (slice.min(d.nz - 1) - self.block.from) * n;
        if reach == 0 {
            return Ok(Some(&self.block.values[at(slice)..][..n]));
        }
        self.image.clear();
        for c in 0..=2 * reach {
            let at = at((slice + c).saturating_sub(reach));
            self.image.extend_from_slice(&self.block.values[at..at + n]);
        }
        Ok(Some(&self.image))
    }
}
