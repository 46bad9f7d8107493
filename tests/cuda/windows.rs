//! Windows that a device cuts, adds up and tells of: the definition, to the bit.

use super::device::{cuda, maps, numbers};
use super::fast::fast;
use tomolith::kernels::buffer::{Buffer, View};
use tomolith::kernels::maps::{Maps, Shape};
use tomolith::kernels::uncertainty::Map;
use tomolith::kernels::windows::{Axis, Band, Grid, Here, Part, Sliding, Told};
use tomolith::num::lanes::Lane;

const ROI: [usize; 2] = [6, 9];

/// Images larger than windows, as large, and smaller; of so many classes.
fn grids() -> impl Iterator<Item = Grid> {
    [(17, 23, 0.4, 6), (6, 9, 0.25, 1), (3, 30, 0.25, 20), (4, 5, 0.0, 33), (20, 7, 0.7, 4)].into_iter().map(
        |(h, w, overlap, classes)| {
            let (rows, columns) = (Axis::new(h, ROI[0], overlap), Axis::new(w, ROI[1], overlap));
            Grid { rows, columns, classes }
        },
    )
}

fn same<T: PartialEq + Copy>(a: &[T], b: &[T], bits: impl Fn(T) -> u32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let differs = a.iter().zip(b).position(|(a, b)| bits(*a) != bits(*b));
    assert_eq!(differs, None, "{what}: of {}", a.len());
}

fn same_bands(found: &Band, wanted: &Band, what: &str) {
    match (found, wanted) {
        (Band::Logits(a), Band::Logits(b)) => same(a.look().unwrap(), b, f32::to_bits, what),
        (Band::Maps(a), Band::Maps(b)) => same(a.look().unwrap(), b, u32::from, what),
        _ => panic!("{what}: another kind of band"),
    }
}

/// All windows of an image by one who slides and by the definition: parts of `step` windows, channels at once or in two, and
/// what is told.
fn slides(sliding: &dyn Sliding, grid: &Grid, step: usize, split: bool, told: Told) {
    let what = format!("{grid:?}, {step} together, split {split}, {told:?}");
    let weights: Buffer<f32> = numbers(ROI[0] * ROI[1], 5).iter().map(|w| w.abs() + 0.01).collect::<Vec<_>>().into();
    let (mut sums, mut expected) = (Buffer::zeros(grid.sums()), Buffer::zeros(grid.sums()));
    let (rows, columns) = (grid.rows.count(), grid.columns.count());
    let middle = if split { grid.classes / 2 } else { 0 };
    let channels = [0..middle, middle..grid.classes];
    // Twice: sums begin anew.
    for row in (0..rows).chain(0..rows) {
        for first in (0..columns).step_by(step) {
            let windows = row * columns + first..row * columns + (first + step).min(columns);
            for channels in channels.iter().filter(|c| !c.is_empty()) {
                // The first sample is another's.
                let s = Shape::new(windows.len() + 1, channels.len(), ROI[0], ROI[1]);
                let logits = maps::<Lane>(s, (windows.start + 100 * channels.start) as u32);
                let part = Part { logits: &logits, sample: 0, first: channels.start };
                sliding.add_up(grid, part, 1, windows.clone(), &weights, &mut sums);
                Here.add_up(grid, part, 1, windows.clone(), &weights, &mut expected);
            }
        }
        let band = sliding.finish(grid, grid.finished(row), told, &mut sums);
        same_bands(&band, &Here.finish(grid, grid.finished(row), told, &mut expected), &what);
    }
    same(&sums, &expected, f32::to_bits, &what);
}

fn cuts(sliding: &dyn Sliding, grid: &Grid, sent: bool) {
    let (h, w, c) = (grid.rows.pixels, grid.columns.pixels, 2);
    let image = numbers(c * h * w, 6);
    let there = sent.then(|| sliding.send(&image).unwrap());
    let of = there.as_ref().map_or(View::from(&image), View::from);
    let count = grid.count();
    let mut found = Maps::<f32>::zeros(Shape::new(count + 1, c, ROI[0], ROI[1]));
    let mut wanted = found.clone();
    // The last windows first, as of the image before.
    let pieces = [(count - 1..count, 0), (0..count / 2, 1), (count / 2..count, 1 + count / 2)];
    for (windows, sample) in pieces {
        Here.cut(grid, View::from(&image), windows.clone(), sample, &mut wanted);
        if !windows.is_empty() {
            sliding.cut(grid, of, windows, sample, &mut found);
        }
    }
    sliding.is_cut();
    let head = sliding.head(&found, 1);
    same(found.data(), wanted.data(), f32::to_bits, &format!("{grid:?}"));
    same(head.data(), Here.head(&wanted, 1).data(), f32::to_bits, "the first of them");
}

fn means(sliding: &dyn Sliding) {
    let s = Shape::new(1, 19, 5, 4);
    let (mut found, mut wanted) = (Maps::<Lane>::zeros(s), Maps::<Lane>::zeros(s));
    for pass in 0..3 {
        let logits = maps::<Lane>(s, 50 + pass as u32);
        sliding.mean(&logits, pass, 3, &mut found);
        Here.mean(&logits, pass, 3, &mut wanted);
    }
    same(&found.to_nchw(), &wanted.to_nchw(), f32::to_bits, "means");
}

#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_windows_are_their_definition() {
    let (strict, fast) = (cuda(), fast());
    for sliding in [&strict as &dyn Sliding, &fast] {
        means(sliding);
        for grid in grids() {
            [true, false].into_iter().for_each(|sent| cuts(sliding, &grid, sent));
            slides(sliding, &grid, 1, false, Told::Logits);
            slides(sliding, &grid, 2, true, Told::Maps(1, &[]));
            slides(sliding, &grid, 9, false, Told::Maps(1, &[Map::Margin, Map::Entropy]));
            if grid.classes.is_multiple_of(3) {
                let maps = [Map::Entropy, Map::Class, Map::Mutual, Map::Confidence, Map::Margin];
                slides(sliding, &grid, 2, true, Told::Maps(3, &maps));
            }
        }
    }
    strict.device().check().unwrap();
}

/// Logits that are far apart, and some that are none.
#[test]
#[ignore = "needs a device or the mock driver: run by tests/cuda.rs"]
fn device_windows_tell_of_odd_logits() {
    let cuda = cuda();
    let (rows, columns) = (Axis::new(ROI[0], ROI[0], 0.0), Axis::new(ROI[1], ROI[1], 0.0));
    let grid = Grid { rows, columns, classes: 6 };
    let weights: Buffer<f32> = vec![1.0; ROI[0] * ROI[1]].into();
    let s = Shape::new(1, 6, ROI[0], ROI[1]);
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38, 90.0, -90.0, 1e-40, -0.0, 0.0, 0.5, 2.0];
    let values: Vec<f32> = numbers(s.len(), 8).iter().map(|v| odd[(v.abs() * 40.0) as usize % odd.len()]).collect();
    let finite: Vec<f32> = values.iter().map(|v| if v.is_finite() { *v } else { -104.5 }).collect();
    for values in [values, finite] {
        let logits = Maps::<Lane>::from_nchw(s, &values);
        for (passes, maps) in [(1, &[Map::Entropy, Map::Confidence][..]), (1, &[]), (2, &[Map::Mutual, Map::Margin])] {
            let told = |sliding: &dyn Sliding| {
                let mut sums = Buffer::zeros(grid.sums());
                let part = Part { logits: &logits, sample: 0, first: 0 };
                sliding.add_up(&grid, part, 0, 0..1, &weights, &mut sums);
                sliding.finish(&grid, 0..ROI[0], Told::Maps(passes, maps), &mut sums)
            };
            same_bands(&told(&cuda), &told(&Here), &format!("{passes} passes, {maps:?}"));
        }
    }
}
