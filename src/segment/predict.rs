//! A network over a volume, slice by slice: what [`super::windows`] averages becomes classes and maps of uncertainty.
//!
//! ```text
//! image = clamp((grey − low)/(high − low), 0, 1)          f32, one difference, one quotient
//! ```
//!
//! Grey values that are not finite are refused with their place: a network makes something of them, and nobody would know.

use super::orient::Plane;
use super::uncertainty::{Pixel, pixel_of_passes, stored};
use super::windows::{Logits, Windows};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::maps::Maps;
use crate::nn::infer::{Plan, Workspace};
use crate::nn::network::Network;
use crate::num::lanes::{LANES, Lane};
use crate::os::check_interrupt;
use crate::volume::{Sink, Source};

/// Bytes of the slices that are read together.
const BAND: u64 = 256 << 20;

/// A network ready for windows.
pub struct Net<K> {
    plan: Plan,
    kernels: K,
    workspace: Workspace,
    classes: usize,
    inputs: usize,
}

impl<K: Kernels> Net<K> {
    /// Folds a network.
    pub fn new(network: &Network, kernels: K) -> Net<K> {
        let (classes, inputs) = (network.config.classes, network.config.inputs);
        Net { plan: Plan::new(network), kernels, workspace: Workspace::default(), classes, inputs }
    }
}

/// A network of which numbers are dropped, pass after pass; its logits are those of all passes, one behind the other. The
/// masks of a pass are the same in every window: it is one network, drawn at random, over the whole volume.
pub struct Dropping<K> {
    plan: Plan,
    kernels: K,
    workspace: Workspace,
    classes: usize,
    inputs: usize,
    passes: usize,
    p: f64,
    seed: u64,
}

impl<K: Kernels> Dropping<K> {
    /// A network ready for `passes` passes with dropout `p`.
    pub fn new(network: &Network, kernels: K, passes: usize, p: f64, seed: u64) -> Dropping<K> {
        let (classes, inputs) = (network.config.classes, network.config.inputs);
        let (plan, workspace) = (Plan::with_dropout(network), Workspace::default());
        Dropping { plan, kernels, workspace, classes, inputs, passes, p, seed }
    }
}

impl<K: Kernels> Logits for Dropping<K> {
    fn classes(&self) -> usize {
        self.classes * self.passes
    }
    fn inputs(&self) -> usize {
        self.inputs
    }
    fn logits(&mut self, windows: &Maps<f32>) -> Result<Maps<Lane>> {
        let shape = windows.shape();
        let mut all: Maps<Lane> = Maps::zeros(shape.with_channels(self.classes()));
        // A window alone, so that its masks do not depend on what it is computed with.
        for n in 0..shape.n {
            let window = windows.samples(n..n + 1);
            for pass in 0..self.passes {
                self.plan.drop(self.p, self.seed, pass as u32);
                let logits = self.plan.run(&self.kernels, &window, &mut self.workspace, |_| ());
                for (k, y) in (0..self.classes).flat_map(|k| (0..shape.h).map(move |y| (k, y))) {
                    let (from, c) = (logits.row(0, k / LANES, y), pass * self.classes + k);
                    for (to, from) in all.row_mut(n, c / LANES, y).iter_mut().zip(from) {
                        to.0[c % LANES] = from.0[k % LANES];
                    }
                }
                self.workspace.give(logits);
            }
        }
        Ok(all)
    }
    fn passes(&self) -> usize {
        self.passes
    }
}

impl<K: Kernels> Logits for Net<K> {
    fn classes(&self) -> usize {
        self.classes
    }
    fn inputs(&self) -> usize {
        self.inputs
    }
    fn logits(&mut self, windows: &Maps<f32>) -> Result<Maps<Lane>> {
        Ok(self.plan.run(&self.kernels, windows, &mut self.workspace, |_| ()))
    }
    fn give(&mut self, logits: Maps<Lane>) {
        self.workspace.give(logits);
    }
}

/// Grey values that become 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grey {
    /// Becomes 0, as all below.
    pub low: f32,
    /// Becomes 1, as all above.
    pub high: f32,
}

impl Grey {
    /// A grey value as the network sees it.
    #[inline]
    pub fn scale(self, v: f32) -> f32 {
        ((v - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// What is written of each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// Its class.
    Class,
    /// Of its class.
    Confidence,
    /// To the next class.
    Margin,
    /// Of all classes.
    Entropy,
    /// Mutual information of class and dropout.
    Mutual,
}

impl Map {
    /// Its name in files; the class has none.
    pub fn name(self) -> &'static str {
        ["class", "confidence", "margin", "entropy", "mutual"][self as usize]
    }
    fn of(self, p: Pixel) -> f32 {
        match self {
            Map::Class => f32::from(p.class),
            Map::Confidence => stored(p.confidence),
            Map::Margin => stored(p.margin),
            Map::Entropy => stored(p.entropy),
            Map::Mutual => stored(p.mutual),
        }
    }
}

/// Predicts the slices of a volume that the sinks still want; slices of `view` are those of `plane`.
///
/// # Errors
/// Data: grey values or logits that are not finite. Those of reading and writing.
pub fn predict(
    view: &dyn Source,
    plane: Plane,
    grey: Grey,
    windows: &Windows,
    network: &mut dyn Logits,
    sinks: &mut [(Map, &mut dyn Sink)],
    progress: &dyn Fn(usize, usize),
) -> Result<()> {
    let d = view.dims();
    let next = |sinks: &[(Map, &mut dyn Sink)]| sinks.iter().map(|(_, s)| s.next_slice()).min().unwrap_or(d.nz);
    let (mut block, mut block_from, mut image) = (Vec::new(), 0, Vec::new());
    let mut maps: Vec<Vec<f32>> = sinks.iter().map(|_| vec![0f32; d.slice()]).collect();
    let place = |slice: usize, i: usize| {
        let [x, y, z] = plane.place(slice, i / d.nx, i % d.nx);
        format!("x {x}, y {y}, z {z}")
    };
    // A slice of another plane takes a pass over the volume, and so does a band of them. The network sees `reach` slices
    // on each side, too.
    let reach = network.inputs() / 2;
    let band = (BAND / (4 * d.slice() as u64)).max(1) as usize;
    let first = next(sinks);
    for slice in first..d.nz {
        check_interrupt()?;
        progress(slice, d.nz);
        let d_slice = d.slice();
        if (slice - first).is_multiple_of(band) {
            block_from = slice.saturating_sub(reach);
            let end = (slice + band + reach).min(d.nz);
            block.resize((end - block_from) * d_slice, 0f32);
            view.read(block_from..end, 0..d.ny, &mut block)?;
            for (slice, values) in (block_from..end).zip(block.chunks_exact_mut(d_slice)) {
                let n = values.iter().filter(|v| !v.is_finite()).count();
                if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                    return Err(Error::data(format!(
                        "{n} grey values of slice {slice} ({}) are NaN or infinite, first at {}",
                        plane.name(),
                        place(slice, i)
                    ))
                    .help("find out where they come from; a network would make something of them"));
                }
                values.iter_mut().for_each(|v| *v = grey.scale(*v));
            }
        }
        image.clear();
        for c in 0..network.inputs() {
            let at = (slice + c).saturating_sub(reach).min(d.nz - 1) - block_from;
            image.extend_from_slice(&block[at * d_slice..(at + 1) * d_slice]);
        }
        let (k, passes) = (network.classes(), network.passes());
        windows.run(&image, [d.ny, d.nx], network, &mut |rows, logits| {
            for (i, logits) in logits.chunks_exact(k).enumerate() {
                let at = rows.start * d.nx + i;
                let p = pixel_of_passes(logits, passes).ok_or_else(|| {
                    Error::data(format!("a logit at {} is not finite", place(slice, at)))
                        .help("the weights are damaged, or of a training that diverged")
                })?;
                sinks.iter().zip(&mut maps).for_each(|((map, _), values)| values[at] = map.of(p));
            }
            Ok(())
        })?;
        for ((map, sink), values) in sinks.iter_mut().zip(&maps) {
            if sink.next_slice() == slice {
                if *map == Map::Class {
                    let mut counts = vec![0u64; k / passes];
                    values.iter().for_each(|&v| counts[v as usize] += 1);
                    for (class, n) in counts.into_iter().enumerate() {
                        sink.count(slice, &format!("class {class:03}"), n)?;
                    }
                }
                sink.write(values)?;
            }
        }
    }
    progress(d.nz, d.nz);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::maps::Maps;
    use crate::segment::orient::{PLANES, Turned};
    use crate::segment::windows::Importance;
    use crate::volume::{Collect, Dims, Memory};

    /// Class 1 where the image is above one half.
    struct Threshold;

    impl Logits for Threshold {
        fn classes(&self) -> usize {
            2
        }
        fn logits(&mut self, windows: &Maps<f32>) -> Result<Maps<Lane>> {
            let mut out = Maps::zeros(windows.shape().with_channels(2));
            out.fill_by(|n, k, y, x| if k == 1 { 8.0 * (windows.at(n, 0, y, x) - 0.5) } else { 0.0 });
            Ok(out)
        }
    }

    #[test]
    fn every_plane_gives_the_same_volume_and_stopped_runs_go_on() {
        let dims = Dims::new(5, 6, 7).unwrap();
        let values: Vec<f32> = (0..dims.voxels()).map(|i| (i * 37 % 200) as f32 - 50.0).collect();
        let volume = Memory::new(dims, values.clone()).unwrap();
        let grey = Grey { low: -50.0, high: 150.0 };
        let want: Vec<f32> = values.iter().map(|&v| f32::from(u8::from(grey.scale(v) > 0.5))).collect();
        let windows = Windows::new([4; 2], 0.25, Importance::Constant, 2).unwrap();
        for plane in PLANES {
            let view = Turned::slices(&volume, plane).unwrap();
            let d = view.dims();
            let (mut class, mut entropy) = (Collect::new(d), Collect::new(d));
            // One of the two has a slice already.
            entropy.values = vec![0.25; d.slice()];
            let mut sinks: [(Map, &mut dyn Sink); 2] = [(Map::Class, &mut class), (Map::Entropy, &mut entropy)];
            predict(&view, plane, grey, &windows, &mut Threshold, &mut sinks, &|_, _| ()).unwrap();
            let stored = Memory::new(d, class.values).unwrap();
            let mut back = vec![0.0; dims.voxels()];
            Turned::new(&stored, plane.back()).unwrap().read(0..5, 0..6, &mut back).unwrap();
            assert_eq!(back, want, "{}", plane.name());
            assert_eq!((entropy.values.len(), entropy.values[0]), (d.voxels(), 0.25));
            assert!(entropy.values[d.slice()..].iter().all(|v| (0.0..=1.0).contains(v)));
        }
        let mut odd = values;
        (odd[43], odd[44]) = (f32::NAN, f32::INFINITY);
        let odd = Memory::new(dims, odd).unwrap();
        let mut class = Collect::new(dims);
        let mut sinks: [(Map, &mut dyn Sink); 1] = [(Map::Class, &mut class)];
        let e =
            predict(&odd, Plane::Xy, grey, &windows, &mut Threshold, &mut sinks, &|_, _| ()).unwrap_err().to_string();
        assert!(e.contains("2 grey values of slice 1 (xy)") && e.contains("x 1, y 0, z 1"), "{e}");
    }
}
