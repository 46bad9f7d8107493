use super::*;
use crate::exchange::npy::read_array;
use crate::kernels::Cpu;
use crate::nn::{state, weights};
use crate::num::lanes::Isa;
use crate::segment::predict::Net;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn image(h: usize, w: usize) -> Vec<f32> {
    (0..h * w).map(|i| ((i * 7919 % 1009) as f64 / 1009.0) as f32).collect()
}

/// An image so many times; where ten are left, it cannot be read.
struct Same<'a>(&'a [f32], usize);

impl Series for Same<'_> {
    fn left(&self) -> usize {
        self.1
    }
    fn next(&mut self) -> Result<Option<&[f32]>> {
        if self.1 == 0 {
            return Ok(None);
        }
        self.1 -= 1;
        if self.1 == 10 { Err(Error::data("unreadable")) } else { Ok(Some(self.0)) }
    }
}

/// What `ramp` is in testdata/segment/make.py.
struct Ramp(usize);

impl Logits for Ramp {
    fn classes(&self) -> usize {
        self.0
    }
    fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()> {
        let mut out = Maps::zeros(windows.shape().with_channels(self.0));
        out.fill_by(|n, k, y, x| {
            let k = k as f32;
            windows.at(n, 0, y, x) * (k + 1.0) + k * 0.125 * y as f32 - 0.0625 * x as f32
        });
        add(self.sliding(), Part { logits: &out, sample: 0, first: 0 })
    }
}

/// All logits in the order of MONAI, \[class\]\[row\]\[column\].
fn logits(windows: &Windows, h: usize, w: usize, network: &mut dyn Logits) -> Vec<f32> {
    let k = network.classes();
    let mut out = vec![f32::NAN; k * h * w];
    let mut next = 0;
    let mut take = |_: usize, rows: Range<usize>, logits: &[f32]| {
        assert_eq!(rows.start, next, "bands come in order and leave nothing out");
        next = rows.end;
        assert_eq!(logits.len(), rows.len() * w * k);
        for (i, &l) in logits.iter().enumerate() {
            out[i % k * h * w + rows.start * w + i / k] = l;
        }
        Ok(())
    };
    windows.run(&mut Same(&image(h, w), 1), [h, w], network, Take::Logits(&mut take)).unwrap();
    assert_eq!(next, h);
    out
}

#[test]
fn starts_are_monais() {
    for (n, roi, overlap, want) in [
        (698, 512, 0.25, vec![0, 186]),
        (1707, 512, 0.25, vec![0, 384, 768, 1152, 1195]),
        (512, 512, 0.25, vec![0]),
        (896, 512, 0.25, vec![0, 384]),
        (10, 4, 0.0, vec![0, 4, 6]),
        (5, 1, 0.9, vec![0, 1, 2, 3, 4]),
    ] {
        let axis = Axis::new(n, roi, overlap);
        assert_eq!((0..axis.count()).map(|d| axis.start(d)).collect::<Vec<_>>(), want, "{n}");
    }
    assert_eq!(Axis::new(3896, 512, 0.25).count(), 10);
    assert_eq!(Windows::new([512; 2], 0.25, Importance::Constant, 1).unwrap().count(698, 3896), 20);
}

#[test]
fn logits_are_monais() {
    for (name, h, w, overlap, importance) in [
        ("constant", 40, 57, 0.25, Importance::Constant),
        ("gaussian", 40, 57, 0.25, Importance::Gaussian),
        ("half", 33, 16, 0.5, Importance::Gaussian),
        ("small", 10, 41, 0.25, Importance::Constant),
    ] {
        let (shape, want) = read_array(&file(&format!("segment/windows.{name}.npy"))).unwrap();
        assert_eq!(shape, [3, h, w]);
        for batch in [1, 3] {
            let windows = Windows::new([16; 2], overlap, importance, batch).unwrap();
            let got = logits(&windows, h, w, &mut Ramp(3));
            let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Logits are below 8; the maps' exponentials differ by an ulp.
            assert!(worst <= 2e-6, "{name} {batch}: {worst}");
        }
    }
}

#[test]
fn logits_of_a_network_are_monais_whatever_the_batch_and_the_threads() {
    let dict = weights::read(&file("net/narrow.safetensors")).unwrap();
    let network = state::load(&dict).unwrap().network;
    let want = read_array(&file("segment/windows.network.npy")).unwrap().1;
    let run = |batch: usize, isa: Isa| {
        let windows = Windows::new([32; 2], 0.25, Importance::Constant, batch).unwrap();
        logits(&windows, 40, 57, &mut Net::new(&network, Cpu { isa }, None))
    };
    let first = run(1, Isa::detect());
    let worst = first.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-5, "{worst}");
    assert_eq!(run(2, Isa::scalar()), first);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| run(4, Isa::detect())), first);
}

#[test]
fn more_classes_than_lanes_and_narrow_images() {
    let windows = Windows::new([8, 12], 0.3, Importance::Gaussian, 2).unwrap();
    for (h, w) in [(1, 1), (8, 12), (9, 5), (21, 30)] {
        let got = logits(&windows, h, w, &mut Ramp(18));
        // The part that does not depend on the window is x·(k + 1); class 0 less its ramp shows it.
        assert!(got.iter().all(|v| v.is_finite()), "{h} {w}");
    }
    // One window: nothing is averaged.
    let got = logits(&windows, 8, 12, &mut Ramp(2));
    let want: Vec<f32> = image(8, 12).iter().enumerate().map(|(i, v)| v - 0.0625 * (i % 12) as f32).collect();
    for (a, b) in got.iter().zip(&want) {
        assert!((a - b).abs() <= 1e-6);
    }
    for (overlap, roi, batch) in [(1.0, 8, 1), (-0.1, 8, 1), (f64::NAN, 8, 1), (0.5, 0, 1), (0.5, 8, 0)] {
        assert!(Windows::new([roi; 2], overlap, Importance::Constant, batch).is_err());
    }
    let mut take = |_: usize, _: Range<usize>, _: &[f32]| Ok(());
    assert!(windows.run(&mut Same(&[0.0; 3], 1), [2, 2], &mut Ramp(1), Take::Logits(&mut take)).is_err());
}

/// All logits of images that come one after the other, and how it ended.
fn series(windows: &Windows, images: usize, network: &mut dyn Logits) -> (Vec<Vec<f32>>, Result<()>) {
    let (pixels, mut all) = (image(9, 20), vec![Vec::new(); images]);
    let mut take = |i: usize, rows: Range<usize>, logits: &[f32]| {
        assert_eq!(all[i].len(), rows.start * 20 * 3);
        all[i].extend_from_slice(logits);
        Ok(())
    };
    let ended = windows.run(&mut Same(&pixels, images), [9, 20], network, Take::Logits(&mut take));
    (all, ended)
}

/// Batches hold windows of several rows and images; numbers are the same. An image that cannot be read: those before it
/// are finished.
#[test]
fn batches_span_rows_and_images() {
    let of = |batch: usize| Windows::new([8, 8], 0.25, Importance::Gaussian, batch).unwrap();
    let (one, ended) = series(&of(1), 5, &mut Ramp(3));
    // Two rows of three windows an image.
    assert!(ended.is_ok() && one.iter().all(|a| a.len() == 9 * 20 * 3 && a == &one[0]));
    for batch in [2, 4, 7, 13, 100] {
        let (all, ended) = series(&of(batch), 5, &mut Ramp(3));
        assert!(ended.is_ok() && all == one, "{batch}");
        let (all, ended) = series(&of(batch), 14, &mut Ramp(3));
        assert!(ended.unwrap_err().to_string().contains("unreadable"));
        assert!(all[..3] == one[..3] && all[3..].iter().all(Vec::is_empty), "{batch}");
    }
    assert_eq!((of(100).batch([9, 20], 5), of(100).batch([9, 20], 50), of(1).batch([9, 20], 0)), (30, 100, 1));
}

/// Passes in parts, each of one window alone: as if they were classes of one network.
struct InParts(Ramp);

impl Logits for InParts {
    fn classes(&self) -> usize {
        self.0.classes()
    }
    fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()> {
        for sample in 0..windows.shape().n {
            self.0.run(&windows.samples(sample..sample + 1), &mut |sliding, part| {
                let (s, all) = (part.logits.shape(), part.logits.to_nchw());
                for first in 0..s.c {
                    let of = &all[first * s.h * s.w..][..s.h * s.w];
                    let logits = Maps::from_nchw(s.with_channels(1), of);
                    add(sliding, Part { logits: &logits, sample, first })?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

#[test]
fn logits_may_come_in_parts() {
    let windows = Windows::new([8, 8], 0.25, Importance::Gaussian, 4).unwrap();
    let (all, ended) = series(&windows, 3, &mut InParts(Ramp(3)));
    assert!(ended.is_ok() && all == series(&windows, 3, &mut Ramp(3)).0);
    // A part that is missing is found.
    struct Half(Ramp);
    impl Logits for Half {
        fn classes(&self) -> usize {
            2 * self.0.classes()
        }
        fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()> {
            self.0.run(windows, add)
        }
    }
    let mut take = |_: usize, _: Range<usize>, _: &[f32]| Ok(());
    let ended = windows.run(&mut Same(&image(9, 20), 2), [9, 20], &mut Half(Ramp(3)), Take::Logits(&mut take));
    assert!(ended.unwrap_err().to_string().contains("maps of logits"));
}

/// A network that fails at a batch, and says when it computes one.
struct Failing(Ramp, usize, Option<std::sync::mpsc::Sender<usize>>);

impl Logits for Failing {
    fn classes(&self) -> usize {
        self.0.classes()
    }
    fn run(&mut self, windows: &Maps<f32>, add: &mut Add) -> Result<()> {
        if self.1 == 0 {
            return Err(Error::device("no more"));
        }
        self.1 -= 1;
        if let Some(says) = &self.2 {
            let _ = says.send(self.1);
        }
        self.0.run(windows, add)
    }
}

/// While a band is taken the network computes the next; it does not run far ahead.
#[test]
fn bands_are_taken_while_the_network_goes_on() {
    let windows = Windows::new([9, 20], 0.0, Importance::Constant, 1).unwrap();
    let (says, batches) = std::sync::mpsc::channel();
    let (pixels, mut taken) = (image(9, 20), 0);
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    let mut take = move |i: usize, _: Range<usize>, _: &[f32]| {
        if i == 0 {
            // The first band is not given back before the third batch was begun: in one thread this waits for ever.
            let begun = (0..3).map(|_| batches.recv_timeout(std::time::Duration::from_secs(60)));
            assert!(begun.into_iter().all(|b| b.is_ok()));
        }
        // A band that waits, and one that is made.
        assert!(batches.try_iter().count() <= 3 && i == taken);
        taken += 1;
        counted.store(taken, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    };
    let mut network = Failing(Ramp(3), 100, Some(says));
    windows.run(&mut Same(&pixels, 9), [9, 20], &mut network, Take::Logits(&mut take)).unwrap();
    assert_eq!((count.load(std::sync::atomic::Ordering::SeqCst), network.1), (9, 91));
}

/// The error that is told is that of the rows that come first.
#[test]
fn errors_are_told_in_the_order_of_the_rows() {
    let windows = Windows::new([9, 20], 0.0, Importance::Constant, 1).unwrap();
    let pixels = image(9, 20);
    for (batches, bands, says, taken) in [(9, 9, "no more", 9), (5, 3, "disk", 3), (2, 3, "no more", 2)] {
        let mut seen = 0;
        let mut take = |_: usize, _: Range<usize>, _: &[f32]| {
            if seen == bands {
                return Err(Error::io("disk full"));
            }
            seen += 1;
            Ok(())
        };
        let mut network = Failing(Ramp(3), batches, None);
        let ended = windows.run(&mut Same(&pixels, 30), [9, 20], &mut network, Take::Logits(&mut take));
        assert!(ended.unwrap_err().to_string().contains(says), "{batches} {bands}");
        assert_eq!(seen, taken);
    }
}

/// What is told of pixels is that of their logits.
#[test]
fn maps_are_told_of_the_averaged_logits() {
    let windows = Windows::new([8, 8], 0.25, Importance::Gaussian, 5).unwrap();
    let (all, maps) = (series(&windows, 1, &mut Ramp(3)).0, [Map::Entropy, Map::Margin]);
    let (mut found, mut want) = (Vec::new(), vec![0; 9 * 20 * 3]);
    let mut take = |_: usize, _: Range<usize>, codes: &[u8]| {
        found.extend_from_slice(codes);
        Ok(())
    };
    windows.run(&mut Same(&image(9, 20), 1), [9, 20], &mut Ramp(3), Take::Maps(&maps, &mut take)).unwrap();
    let pixels = all[0].chunks_exact(3).zip(want.chunks_exact_mut(3));
    pixels.for_each(|(logits, codes)| crate::kernels::uncertainty::tell(logits, 1, &maps, codes));
    assert_eq!(found, want);
}
