//! A network over a volume, slice by slice: what [`super::windows`] averages becomes classes and maps of uncertainty.
//!
//! ```text
//! image = clamp((grey − low)/(high − low), 0, 1)          f32, one difference, one quotient
//! ```
//!
//! Of several planes the logits are averaged, too, each plane's after the average of its windows:
//!
//! ```text
//! stored of a plane   q = ⌊1024·clamp(l, −32, 32 − 1/1024) + ½⌋ + 32768        u16: a class of a plane is a volume
//! l_k = Σ_planes l_k / planes                                              in the order in which they are named, f32
//! ```
//!
//! Grey values that are not finite are refused with their place: a network makes something of them, and nobody would know.
//!
//! **Order.** Three things go on at a time: a thread reads the next block of slices (`images`), the network computes, and a
//! thread takes finished rows and writes finished slices ([`super::windows`]); slices are written in their order. Who stops
//! in the middle has written whole slices, and goes on behind them.

mod dropping;
mod images;
pub mod memory;

pub use crate::kernels::uncertainty::Map;
pub use dropping::Dropping;

use super::orient::Plane;
use super::windows::{Add, Logits, Take, Windows};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::maps::Maps;
use crate::kernels::uncertainty::{NOT_FINITE, tell};
use crate::kernels::windows::{Part, Sliding};
use crate::nn::fast::Ready;
use crate::nn::network::Network;
use crate::num::lanes::Isa;
use crate::os::check_interrupt;
use crate::volume::{Dims, Sink, Source};
use images::Slices;
use rayon::prelude::*;

/// Bytes of the slices that are read together, at most.
const BAND: u64 = 256 << 20;
/// Pixels whose classes are found together.
const PART: usize = 1 << 16;
/// Fewest of them that a thread takes at a time.
const GRAIN: usize = 4096;

/// A network ready for windows.
pub struct Net<K> {
    ready: Ready,
    kernels: K,
    isa: Isa,
    classes: usize,
    inputs: usize,
}

impl<K: Kernels> Net<K> {
    /// Folds a network; with `halves` it is computed in bf16 on the CPU, instead of by the kernels.
    pub fn new(network: &Network, kernels: K, halves: Option<Isa>) -> Net<K> {
        let (classes, inputs) = (network.config.classes, network.config.inputs);
        let (ready, isa) = (Ready::new(network, halves.is_some()), halves.unwrap_or(Isa::scalar()));
        Net { ready, kernels, isa, classes, inputs }
    }
}

impl<K: Kernels> Logits for Net<K> {
    fn classes(&self) -> usize {
        self.classes
    }
    fn inputs(&self) -> usize {
        self.inputs
    }
    fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()> {
        let logits = self.ready.run(&self.kernels, self.isa, windows, |_| ());
        add(self.kernels.sliding(), Part { logits: &logits, sample: 0, first: 0 })?;
        self.ready.give(logits);
        self.kernels.so_far()
    }
    fn sliding(&self) -> &dyn Sliding {
        self.kernels.sliding()
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

/// What a logit is stored as: slope and intercept of a u16.
pub const LOGIT: [f64; 2] = [1.0 / 1024.0, -32.0];

/// A logit that can be stored.
fn stored_logit(l: f32) -> f32 {
    let [slope, low] = LOGIT.map(|v| v as f32);
    let q = ((l.clamp(low, -low - slope) - low) / slope + 0.5).floor();
    q * slope + low
}

/// Pixel `i` of a slice of a view, in words.
fn place(plane: Plane, view: Dims, slice: usize, i: usize) -> String {
    let [x, y, z] = plane.place(slice, i / view.nx, i % view.nx);
    format!("x {x}, y {y}, z {z}")
}

/// The maps of a slice, under way.
struct Drawn<'a, 'b> {
    sinks: &'a mut [(Map, &'b mut dyn Sink)],
    values: Vec<Vec<f32>>,
    classes: usize,
}

impl<'a, 'b> Drawn<'a, 'b> {
    fn new(sinks: &'a mut [(Map, &'b mut dyn Sink)], pixels: usize, classes: usize) -> Drawn<'a, 'b> {
        let values = sinks.iter().map(|_| vec![0f32; pixels]).collect();
        Drawn { sinks, values, classes }
    }
    fn next(&self) -> Option<usize> {
        self.sinks.iter().map(|(_, s)| s.next_slice()).min()
    }
    /// What is told beside the class.
    fn maps(&self) -> Vec<Map> {
        self.sinks.iter().map(|(map, _)| *map).filter(|&map| map != Map::Class).collect()
    }
    /// Pixels from `first` on, of codes `[pixel][class, map …]`.
    fn set(&mut self, first: usize, codes: &[u8], place: impl Fn(usize) -> String) -> Result<()> {
        let told = self.maps().len() + 1;
        if let Some(odd) = codes.iter().step_by(told).position(|&class| class == NOT_FINITE) {
            return Err(not_finite(&place(first + odd)));
        }
        let mut which = 0;
        for ((map, _), values) in self.sinks.iter().zip(&mut self.values) {
            which += usize::from(*map != Map::Class);
            let of = codes.iter().skip(if *map == Map::Class { 0 } else { which }).step_by(told);
            values[first..].iter_mut().zip(of).for_each(|(value, &code)| *value = map.value(code));
        }
        Ok(())
    }
    /// Hands the slice to those who want it.
    fn write(&mut self, slice: usize) -> Result<()> {
        for ((map, sink), values) in self.sinks.iter_mut().zip(&self.values) {
            if sink.next_slice() != slice {
                continue;
            }
            if *map == Map::Class {
                let mut counts = vec![0u64; self.classes];
                values.iter().for_each(|&v| counts[v as usize] += 1);
                for (class, n) in counts.into_iter().enumerate() {
                    sink.count(slice, &format!("class {class:03}"), n)?;
                }
            }
            sink.write(values)?;
        }
        Ok(())
    }
}

fn not_finite(place: &str) -> Error {
    Error::data(format!("a logit at {place} is not finite"))
        .help("the weights are damaged, or of a training that diverged")
}

/// Predicts the slices of a volume that the sinks still want; slices of `view` are those of `plane`.
///
/// # Errors
/// Data: grey values or logits that are not finite. Those of reading and writing; of several the one of the first slice.
pub fn predict(
    view: &dyn Source,
    plane: Plane,
    grey: Grey,
    windows: &Windows,
    network: &mut dyn Logits,
    sinks: &mut [(Map, &mut dyn Sink)],
    progress: &dyn Fn(usize, usize),
) -> Result<()> {
    let (d, classes) = (view.dims(), network.classes() / network.passes());
    let mut drawn = Drawn::new(sinks, d.slice(), classes);
    let first = drawn.next().unwrap_or(d.nz);
    let (maps, slices) = (drawn.maps(), Slices { view, plane, grey, inputs: network.inputs() });
    slices.each(first..d.nz, progress, |images| {
        let mut take = |image: usize, rows: std::ops::Range<usize>, codes: &[u8]| {
            let slice = first + image;
            drawn.set(rows.start * d.nx, codes, |at| place(plane, d, slice, at))?;
            if rows.end == d.ny { drawn.write(slice) } else { Ok(()) }
        };
        windows.run(images, [d.ny, d.nx], network, Take::Maps(&maps, &mut take))
    })?;
    progress(d.nz, d.nz);
    Ok(())
}

/// The logits of a plane, a sink for each class.
///
/// # Errors
/// As [`predict`].
pub fn predict_logits(
    view: &dyn Source,
    plane: Plane,
    grey: Grey,
    windows: &Windows,
    network: &mut dyn Logits,
    sinks: &mut [&mut dyn Sink],
    progress: &dyn Fn(usize, usize),
) -> Result<()> {
    let (d, k) = (view.dims(), network.classes());
    let mut values = vec![vec![0f32; d.slice()]; k];
    let first = sinks.iter().map(|s| s.next_slice()).min().unwrap_or(d.nz);
    let slices = Slices { view, plane, grey, inputs: network.inputs() };
    slices.each(first..d.nz, progress, |images| {
        let mut take = |image: usize, rows: std::ops::Range<usize>, logits: &[f32]| {
            let slice = first + image;
            for (i, logits) in logits.chunks_exact(k).enumerate() {
                let at = rows.start * d.nx + i;
                if logits.iter().any(|l| !l.is_finite()) {
                    return Err(not_finite(&place(plane, d, slice, at)));
                }
                values.iter_mut().zip(logits).for_each(|(values, &l)| values[at] = stored_logit(l));
            }
            if rows.end < d.ny {
                return Ok(());
            }
            let wanted = sinks.iter_mut().zip(&values).filter(|(s, _)| s.next_slice() == slice);
            wanted.into_iter().try_for_each(|(sink, values)| sink.write(values))
        };
        windows.run(images, [d.ny, d.nx], network, Take::Logits(&mut take))
    })?;
    progress(d.nz, d.nz);
    Ok(())
}

/// The maps of logits that several planes have of a volume: `planes[p][k]` is class k of plane p, each turned back to z,
/// y, x.
///
/// # Errors
/// Data: a logit that is not finite. Those of reading and writing.
pub fn average(
    planes: &[Vec<&dyn Source>],
    sinks: &mut [(Map, &mut dyn Sink)],
    progress: &dyn Fn(usize, usize),
) -> Result<()> {
    let Some(first) = planes.first().and_then(|p| p.first()) else { return Err(Error::bug("no plane")) };
    let (d, k) = (first.dims(), planes[0].len());
    let (n, parts) = (d.slice(), planes.len() as f32);
    let band = (BAND / (4 * (n * k * planes.len()) as u64)).max(1) as usize;
    let mut drawn = Drawn::new(sinks, n, k);
    let maps = drawn.maps();
    let start = drawn.next().unwrap_or(d.nz);
    let mut blocks = vec![Vec::new(); planes.len() * k];
    let mut logits = vec![0f32; PART.min(n) * k];
    for slice in start..d.nz {
        check_interrupt()?;
        progress(slice, d.nz);
        let at = (slice - start) % band;
        if at == 0 {
            let end = (slice + band).min(d.nz);
            for (block, source) in blocks.iter_mut().zip(planes.iter().flatten()) {
                block.resize((end - slice) * n, 0f32);
                source.read(slice..end, 0..d.ny, block)?;
            }
        }
        for first in (0..n).step_by(PART) {
            let logits = &mut logits[..PART.min(n - first) * k];
            for (i, logits) in logits.chunks_exact_mut(k).enumerate() {
                for (class, l) in logits.iter_mut().enumerate() {
                    let of_planes = blocks.iter().skip(class).step_by(k);
                    *l = of_planes.fold(0f32, |sum, block| sum + block[at * n + first + i]) / parts;
                }
            }
            let mut codes = vec![0; logits.len() / k * (maps.len() + 1)];
            let pixels = codes.par_chunks_exact_mut(maps.len() + 1).zip(logits.par_chunks_exact(k));
            pixels.with_min_len(GRAIN).for_each(|(codes, logits)| tell(logits, 1, &maps, codes));
            drawn.set(first, &codes, |i| place(Plane::Xy, d, slice, i))?;
        }
        drawn.write(slice)?;
    }
    progress(d.nz, d.nz);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::maps::Maps;
    use crate::segment::orient::{Turned, VIEWS};
    use crate::segment::windows::Importance;
    use crate::volume::{Collect, Memory};

    /// Class 1 where the image is above one half.
    struct Threshold;

    impl Logits for Threshold {
        fn classes(&self) -> usize {
            2
        }
        fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()> {
            let mut out = Maps::zeros(windows.shape().with_channels(2));
            out.fill_by(|n, k, y, x| if k == 1 { 8.0 * (windows.at(n, 0, y, x) - 0.5) } else { 0.0 });
            add(self.sliding(), Part { logits: &out, sample: 0, first: 0 })
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
        for plane in VIEWS {
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

    /// Class 1 where the middle of three slices is brighter than their mean.
    struct Middle;

    impl Logits for Middle {
        fn classes(&self) -> usize {
            2
        }
        fn inputs(&self) -> usize {
            3
        }
        fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()> {
            let mut out = Maps::zeros(windows.shape().with_channels(2));
            out.fill_by(|n, k, y, x| {
                let [a, b, c] = [0, 1, 2].map(|c| windows.at(n, c, y, x));
                if k == 1 { b - (a + b + c) / 3.0 } else { 0.0 }
            });
            add(self.sliding(), Part { logits: &out, sample: 0, first: 0 })
        }
    }

    #[test]
    fn networks_see_the_slices_beside_and_ends_again() {
        let dims = Dims::new(4, 3, 5).unwrap();
        let values: Vec<f32> = (0..dims.voxels()).map(|i| (i * 37 % 41) as f32 / 41.0).collect();
        let volume = Memory::new(dims, values.clone()).unwrap();
        let windows = Windows::new([4; 2], 0.25, Importance::Constant, 2).unwrap();
        let n = dims.slice();
        let at = |z: i64, i: usize| values[z.clamp(0, 3) as usize * n + i];
        let want = (0..dims.voxels()).map(|v| (v / n, v % n)).map(|(z, i)| {
            let [a, b, c] = [-1, 0, 1].map(|d| at(z as i64 + d, i));
            f32::from(u8::from(b - (a + b + c) / 3.0 > 0.0))
        });
        let want: Vec<f32> = want.collect();
        // From the beginning, and taken up in the middle.
        for start in [0, 2] {
            let mut class = Collect::new(dims);
            class.values = want[..start * n].to_vec();
            let mut sinks: [(Map, &mut dyn Sink); 1] = [(Map::Class, &mut class)];
            let grey = Grey { low: 0.0, high: 1.0 };
            predict(&volume, Plane::Xy, grey, &windows, &mut Middle, &mut sinks, &|_, _| ()).unwrap();
            assert_eq!(class.values, want);
        }
    }

    #[test]
    fn planes_are_averaged_as_logits() {
        let dims = Dims::new(4, 6, 5).unwrap();
        let values: Vec<f32> = (0..dims.voxels()).map(|i| (i * 37 % 41) as f32 / 41.0).collect();
        let volume = Memory::new(dims, values.clone()).unwrap();
        let windows = Windows::new([4; 2], 0.25, Importance::Constant, 2).unwrap();
        let grey = Grey { low: 0.0, high: 1.0 };
        let of_plane = |plane: Plane| -> Vec<Memory> {
            let view = Turned::slices(&volume, plane).unwrap();
            let mut out = [Collect::new(view.dims()), Collect::new(view.dims())];
            let mut sinks: Vec<&mut dyn Sink> = out.iter_mut().map(|s| s as &mut dyn Sink).collect();
            predict_logits(&view, plane, grey, &windows, &mut Threshold, &mut sinks, &|_, _| ()).unwrap();
            out.into_iter().map(|s| Memory::new(view.dims(), s.values).unwrap()).collect()
        };
        let stored = VIEWS.map(of_plane);
        let turned: Vec<Vec<Turned>> = VIEWS
            .iter()
            .zip(&stored)
            .map(|(plane, of)| of.iter().map(|m| Turned::new(m, plane.back()).unwrap()).collect())
            .collect();
        let planes: Vec<Vec<&dyn Source>> =
            turned.iter().map(|of| of.iter().map(|t| t as &dyn Source).collect()).collect();
        let (mut class, mut margin) = (Collect::new(dims), Collect::new(dims));
        let mut sinks: [(Map, &mut dyn Sink); 2] = [(Map::Class, &mut class), (Map::Margin, &mut margin)];
        average(&planes, &mut sinks, &|_, _| ()).unwrap();
        // Every plane says the same here: what is averaged is what one says, but for the step of what is stored.
        for (i, &v) in values.iter().enumerate() {
            let l = 8.0 * (v - 0.5);
            assert_eq!(class.values[i], f32::from(u8::from(l > 0.0)), "{i}");
            let want = crate::kernels::uncertainty::pixel(&[0.0, l]).unwrap().margin;
            assert!((margin.values[i] - want).abs() < 0.004, "{i}: {} {want}", margin.values[i]);
        }
        assert_eq!([-99.0, 0.0, 1.0004, 99.0].map(stored_logit), [-32.0, 0.0, 1.0, 32.0 - 1.0 / 1024.0]);
    }
}
