//! Maps of fast kernels: as they lie on the device, and to and from lanes.

use super::driver::{Memory, Plain};
use crate::kernels::buffer::There;
use crate::kernels::maps::{BORDER, Maps, Shape};
use crate::num::lanes::{LANES, Lane};
use half::f16;
use std::any::Any;

/// Channels that are copied at once.
pub const UNIT: usize = 8;

/// A number of maps on the device.
pub trait Number: Plain {
    /// Numbers of a pixel of c channels.
    fn width(c: usize) -> usize;
    /// As f32.
    fn wide(self) -> f32;
    /// Rounded once.
    fn of(v: f32) -> Self;
}
/// fp16, in units of eight channels.
impl Number for u16 {
    fn width(c: usize) -> usize {
        c.next_multiple_of(UNIT)
    }
    /// As f32.
    fn wide(self) -> f32 {
        f16::from_bits(self).to_f32_const()
    }
    fn of(v: f32) -> u16 {
        f16::from_f32_const(v).to_bits()
    }
}
/// Logits, as many as there are.
impl Number for f32 {
    fn width(c: usize) -> usize {
        c
    }
    /// As f32.
    fn wide(self) -> f32 {
        self
    }
    fn of(v: f32) -> f32 {
        v
    }
}

/// Maps on the device: \[sample\]\[row\]\[column\]\[channel\].
pub struct Pixels<T> {
    pub memory: Memory<T>,
    pub shape: Shape,
}

impl<T: Number> Pixels<T> {
    /// Numbers of maps of a shape.
    pub fn count(s: Shape) -> usize {
        s.n * s.h * s.w * T::width(s.c)
    }
    /// Places of a pixel's sixteen channels in lanes, and of their first in pixels.
    fn places(s: Shape) -> impl Iterator<Item = (usize, usize, usize)> {
        let rows = (0..s.n).flat_map(move |n| (0..s.h).map(move |y| (n, y)));
        let groups = rows.flat_map(move |(n, y)| (0..s.groups::<Lane>()).map(move |g| (n, y, g)));
        groups.flat_map(move |(n, y, g)| {
            let plane = (n * s.groups::<Lane>() + g) * s.plane() + (y + BORDER) * s.pitch() + BORDER;
            let pixel = (n * s.h + y) * s.w;
            (0..s.w).map(move |x| (plane + x, (pixel + x) * T::width(s.c) + g * LANES, (s.c - g * LANES).min(LANES)))
        })
    }
    /// Maps as the device wants them.
    pub fn of_lanes(lanes: &[Lane], s: Shape) -> Vec<T> {
        let mut numbers = vec![T::of(0.0); Self::count(s)];
        for (from, to, c) in Self::places(s) {
            numbers[to..to + c].iter_mut().zip(&lanes[from].0).for_each(|(to, &v)| *to = T::of(v));
        }
        numbers
    }
}

impl<T: Number> There<Lane> for Pixels<T> {
    fn read(&self) -> Vec<Lane> {
        let numbers = self.memory.read();
        let mut lanes = vec![Lane::ZERO; Maps::<Lane>::positions(self.shape)];
        for (to, from, c) in Self::places(self.shape) {
            lanes[to].0.iter_mut().zip(&numbers[from..from + c]).for_each(|(to, v)| *to = v.wide());
        }
        lanes
    }
    fn any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_go_to_units_and_back() {
        for s in [Shape::new(2, 5, 3, 4), Shape::new(1, 33, 2, 1), Shape::new(1, 16, 1, 3)] {
            let values: Vec<f32> = (0..s.len()).map(|i| i as f32 - 7.5).collect();
            let maps = Maps::<Lane>::from_nchw(s, &values);
            let numbers = Pixels::<u16>::of_lanes(maps.data(), s);
            assert_eq!(numbers.len(), s.n * s.h * s.w * s.c.next_multiple_of(8));
            let at = |n: usize, c: usize, y: usize, x: usize| {
                numbers[((n * s.h + y) * s.w + x) * s.c.next_multiple_of(8) + c].wide()
            };
            assert_eq!(at(s.n - 1, s.c - 1, s.h - 1, s.w - 1), maps.at(s.n - 1, s.c - 1, s.h - 1, s.w - 1));
            assert_eq!(at(0, 1, s.h - 1, 0), maps.at(0, 1, s.h - 1, 0));
            assert_eq!(Pixels::<f32>::of_lanes(maps.data(), s).len(), s.len());
        }
        // Eleven bits, to even; beyond the largest, infinite.
        let rounded = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65519.0, 65520.0].map(|v| u16::of(v).wide());
        assert_eq!(rounded, [1.0, 1.0 + 2.0 / 1024.0, 65504.0, f32::INFINITY]);
    }
}
