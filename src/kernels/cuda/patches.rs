//! Patches that the device keeps, and batches of them (`kernels/augment.cu`).

use super::arguments::Extent;
use super::driver::{Address, Argument, Memory, Plain};
use super::{Cuda, MOST_BLOCKS, THREADS};
use crate::error::{Error, Result};
use crate::kernels::augment::{self, Affine, Drawn, Rings, Seen, taps};
use crate::kernels::buffer::{Buffer, Number};
use crate::kernels::labels::Labels;
use crate::kernels::maps::{Maps, Shape};
use std::ops::Range;
use std::sync::atomic::Ordering::SeqCst;

/// Patches are kept where they take no more than one part of so many of the memory that is free beside what training steps
/// have asked for: after so many batches, which are sent.
const PART: u64 = 4;
const SENT: u32 = 3;
/// Blocks of a sample's labels, each of which adds its counts once.
const LABEL_BLOCKS: usize = 64;

/// `Disturbed` of kernels/augment.cu.
#[derive(Clone, Copy)]
#[repr(C)]
struct Disturbed {
    m: [[f64; 3]; 2],
    gain: f64,
    offset: f64,
    centre: [f64; 2],
    noise: f64,
    patch: i64,
    key: [u32; 2],
    flips: [i32; 2],
    warped: i32,
    clipped: i32,
    reach: i32,
    taps: i32,
    profile: i32,
    least: i32,
}

impl Plain for Disturbed {
    const FAILED: Disturbed = Disturbed {
        m: [[f64::NAN; 3]; 2],
        gain: f64::NAN,
        offset: f64::NAN,
        centre: [f64::NAN; 2],
        noise: f64::NAN,
        patch: 0,
        key: [0; 2],
        flips: [0; 2],
        warped: 0,
        clipped: 0,
        reach: 0,
        taps: 0,
        profile: -1,
        least: 0,
    };
}

impl Disturbed {
    /// Where the pixels of the patch at a place go.
    fn placed(drawn: &Drawn, patch: usize, h: usize, w: usize) -> Disturbed {
        Disturbed {
            m: drawn.affine.matrix(h, w),
            patch: patch as i64,
            flips: drawn.flips().map(i32::from),
            warped: i32::from(drawn.affine != Affine::IDENTITY),
            ..Disturbed::FAILED
        }
    }
    /// What happens to the patch at a place; taps and profiles go behind those in the table.
    fn new(drawn: &Drawn, patch: usize, h: usize, w: usize, table: &mut Vec<f64>) -> Disturbed {
        let mut put = |numbers: &[f64]| {
            table.extend_from_slice(numbers);
            (table.len() - numbers.len()) as i32
        };
        let blur = if drawn.blur > 0.0 { taps(drawn.blur) } else { Vec::new() };
        let of_blur = put(&blur);
        let rings = (drawn.rings > 0.0).then(|| Rings::new(drawn, h, w));
        Disturbed {
            gain: drawn.gain,
            offset: drawn.offset,
            centre: rings.as_ref().map_or([0.0; 2], |r| r.centre),
            noise: drawn.noise,
            key: [drawn.pixels as u32, (drawn.pixels >> 32) as u32],
            clipped: i32::from(drawn.clipped),
            reach: (blur.len() / 2) as i32,
            taps: of_blur,
            profile: rings.as_ref().map_or(-1, |r| put(&r.profile)),
            least: rings.as_ref().map_or(0, |r| r.least as i32),
            ..Disturbed::placed(drawn, patch, h, w)
        }
    }
}

impl Cuda {
    /// Patches on the device, and where those that are seen are among them: all, once and for all, or where there is no room
    /// these.
    fn kept<P: Number + Plain>(
        &self,
        patches: &Buffer<P>,
        seen: &[Seen],
        size: usize,
    ) -> (Address, Vec<usize>, Option<Memory<P>>) {
        let bytes = (patches.len() * size_of::<P>()) as u64;
        let room = || {
            let failed = |why: &Error| _ = self.device().fail(why.clone());
            let free = || self.device().free_memory().inspect_err(failed);
            self.sent.load(SeqCst) > SENT && free().is_ok_and(|free| bytes <= free / PART)
        };
        // What another device has stays there.
        if patches.on_device().map_or_else(room, |there| self.own(there).is_some()) {
            return (self.at(patches), seen.iter().map(|seen| seen.patch).collect(), None);
        }
        let some: Vec<P> = seen.iter().flat_map(|s| &patches[s.patch * size..][..size]).copied().collect();
        let memory = self.device().upload(&some);
        (memory.at(0), (0..seen.len()).collect(), Some(memory))
    }
    /// A batch; see [`crate::kernels::augment::disturb`].
    pub(super) fn batch(&self, patches: &Buffer<f32>, seen: &[Seen], image: &mut Maps<f32>) {
        let (d, s) = (self.device(), image.shape());
        let (planes, pixels) = (s.n * s.c, s.h * s.w);
        let count = patches.len() / (s.c * pixels).max(1);
        if seen.len() != s.n || seen.iter().any(|seen| seen.patch >= count) {
            d.fail(Error::bug("a batch of patches that are not there"));
            return;
        }
        if patches.on_device().is_none() {
            let _ = self.sent.fetch_update(SeqCst, SeqCst, |sent| Some(sent.saturating_add(1)));
        }
        let (from, places, some) = self.kept(patches, seen, s.c * pixels);
        let mut table = vec![0.0];
        let each = seen.iter().zip(places);
        let all: Vec<Disturbed> =
            each.map(|(seen, at)| Disturbed::new(&seen.drawn, at, s.h, s.w, &mut table)).collect();
        let (there, table) = (d.upload(&all), d.upload(&table));
        let (all_at, table_at, extent) = (there.at(0), table.at(0), Extent::from(s));
        let grid = |count: usize| [count.div_ceil(THREADS) as u32, planes.min(MOST_BLOCKS) as u32];
        let launch = |kernel, count, arguments: &[&dyn Argument]| {
            d.launch(kernel, grid(count), THREADS as u32, arguments);
        };
        let mut between = [d.memory::<f32>(planes * pixels), d.memory::<f32>(planes * pixels)];
        launch("augment_place", pixels, &[&from, &all_at, &extent, &between[0].at(0)]);
        if all.iter().any(|d| d.reach > 0) {
            for columns in [0, 1] {
                let [a, b] = [0, 1].map(|k| between[k].at(0));
                launch("augment_blur", pixels, &[&a, &all_at, &table_at, &extent, &columns, &b]);
                between.swap(0, 1);
            }
        }
        let (to, _) = self.output(image.buffer_mut());
        launch("augment_finish", s.plane(), &[&between[0].at(0), &all_at, &table_at, &extent, &to]);
        drop(some);
    }
    /// Labels of a batch; see [`crate::kernels::augment::labels`], which is asked where a label is no class, and says which.
    pub(super) fn labels(
        &self,
        patches: &Buffer<i16>,
        seen: &[Seen],
        [h, w]: [usize; 2],
        classes: usize,
    ) -> Result<Labels> {
        let (d, pixels, slots) = (self.device(), h * w, classes + 1);
        let count = patches.len() / pixels.max(1);
        if seen.is_empty() || slots > THREADS || seen.iter().any(|seen| seen.patch >= count) {
            return augment::labels(patches, seen, [h, w], classes);
        }
        let (from, places, some) = self.kept(patches, seen, pixels);
        let each = seen.iter().zip(places);
        let all: Vec<Disturbed> = each.map(|(seen, at)| Disturbed::placed(&seen.drawn, at, h, w)).collect();
        let (there, counts) = (d.upload(&all), d.upload(&vec![0u32; slots * seen.len()]));
        let mut numbers = Buffer::zeros(pixels * seen.len());
        let (to, _) = self.output(&mut numbers);
        let extent = Extent::from(Shape::new(seen.len(), 1, h, w));
        let grid = [pixels.div_ceil(THREADS).min(LABEL_BLOCKS) as u32, seen.len().min(MOST_BLOCKS) as u32];
        let arguments: [&dyn Argument; 6] = [&from, &there.at(0), &extent, &(classes as i32), &to, &counts.at(0)];
        d.launch("augment_labels", grid, THREADS as u32, &arguments);
        let counts = counts.read();
        d.check()?;
        drop(some);
        if counts.iter().skip(classes).step_by(slots).any(|&none| none > 0) {
            return augment::labels(patches, seen, [h, w], classes);
        }
        let counts = counts.chunks_exact(slots).flat_map(|of| &of[..classes]).map(|&n| u64::from(n)).collect();
        Ok(Labels::counted(numbers, pixels, classes, counts))
    }
    /// The memory of an image here.
    fn image_there<'a>(&self, image: &'a Maps<f32>) -> Option<&'a Memory<f32>> {
        image.buffer().on_device().and_then(|there| self.own(there))
    }
    /// Some samples of an image, in another's memory here.
    pub(super) fn copy_samples(&self, image: &Maps<f32>, first: usize, to: &mut Maps<f32>) {
        let of_sample = image.shape().c * image.shape().plane();
        let (first, count) = (first * of_sample, to.shape().n * of_sample);
        let (to_at, _) = self.output(to.buffer_mut());
        let Some(from) = self.image_there(image) else {
            // It comes from here.
            if let Some(memory) = self.image_there(to) {
                self.device().write(memory, &image.data()[first..first + count]);
            }
            return;
        };
        let (from, to) = (from.at(first), to_at);
        let grid = [count.div_ceil(THREADS).clamp(1, MOST_BLOCKS) as u32, 1];
        self.device().launch("augment_copy", grid, THREADS as u32, &[&from, &(count as i64), &to]);
    }
    /// Some samples of an image, on the device where it is there.
    pub(super) fn some_samples(&self, image: &Maps<f32>, range: Range<usize>) -> Maps<f32> {
        if image.buffer().is_here() || self.image_there(image).is_none() {
            return image.samples(range);
        }
        let mut to = Maps::zeros(Shape { n: range.len(), ..image.shape() });
        self.copy_samples(image, range.start, &mut to);
        to
    }
}
