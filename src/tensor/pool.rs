//! L3. Memory for feature maps, used again: a network asks for the same shapes at every step, and asking the system for
//! fresh pages costs as much as filling them.

use crate::kernels::maps::{Maps, Pixel, Shape};
use crate::num::lanes::Lane;
use std::collections::BTreeMap;

/// Maps that nobody needs, by shape. Their borders and idle lanes are zero, their inside is anything.
pub struct Pool<P: Pixel = Lane> {
    free: BTreeMap<Shape, Vec<Maps<P>>>,
}

impl<P: Pixel> Default for Pool<P> {
    fn default() -> Self {
        Pool { free: BTreeMap::new() }
    }
}

impl<P: Pixel> Pool<P> {
    /// Maps of a shape.
    pub fn take(&mut self, shape: Shape) -> Maps<P> {
        self.free.get_mut(&shape).and_then(Vec::pop).unwrap_or_else(|| Maps::zeros(shape))
    }
    /// Bytes of what nobody needs.
    #[cfg(test)]
    pub fn held(&self) -> u64 {
        self.free.values().flatten().fold(0, |sum, m| sum + m.room() as u64)
    }
    /// Gives maps back.
    pub fn give(&mut self, maps: Maps<P>) {
        self.free.entry(maps.shape()).or_default().push(maps);
    }
}
