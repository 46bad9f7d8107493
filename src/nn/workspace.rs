//! L4. Memory of an inference, planned once for a shape of images.
//!
//! A value lives from the call that makes it to the last that reads it. Values that do not live together share a slot;
//! a value takes the smallest free slot that is large enough, else the largest free one, which grows, else a new one. So
//! what is held is known before anything is computed ([`Plan::memory`]), and from the second image on nothing is asked of
//! the system.

use super::infer::Plan;
use super::network::Value;
use crate::kernels::maps::{Maps, Pixel, Shape};
use crate::num::lanes::Lane;

/// Slots of a plan's values for images of one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slots {
    image: Shape,
    /// Slot of each value.
    of: Vec<usize>,
    /// Positions of each slot.
    lengths: Vec<usize>,
}

impl Slots {
    fn new<P: Pixel>(plan: &Plan, image: Shape) -> Slots {
        let mut shapes = vec![image; plan.channels.len()];
        let (mut of, mut lengths) = (vec![usize::MAX; shapes.len()], Vec::<usize>::new());
        let mut free: Vec<usize> = Vec::new();
        for call in &plan.calls {
            let shape = plan.shape_of(call, |v| shapes[v]);
            shapes[call.to] = shape;
            let need = Maps::<P>::positions(shape);
            let fits = |&at: &usize| lengths[free[at]] >= need;
            let smallest = (0..free.len()).filter(fits).min_by_key(|&at| lengths[free[at]]);
            let slot = match smallest.or_else(|| (0..free.len()).max_by_key(|&at| lengths[free[at]])) {
                Some(at) => free.remove(at),
                None => {
                    lengths.push(0);
                    lengths.len() - 1
                }
            };
            lengths[slot] = lengths[slot].max(need);
            of[call.to] = slot;
            free.extend(call.last_read.iter().map(|&v| of[v]));
        }
        Slots { image, of, lengths }
    }
}

impl Plan {
    /// Bytes of all values of an inference of images of a shape, in positions of P.
    pub fn memory<P: Pixel>(&self, image: Shape) -> u64 {
        Slots::new::<P>(self, image).lengths.iter().fold(0, |sum, &n| sum + (n * size_of::<P>()) as u64)
    }
}

/// Memory that a plan uses again from image to image.
pub struct Workspace<P: Pixel = Lane> {
    slots: Option<Slots>,
    maps: Vec<Option<Maps<P>>>,
}

impl<P: Pixel> Default for Workspace<P> {
    fn default() -> Self {
        Workspace { slots: None, maps: Vec::new() }
    }
}

impl<P: Pixel> Workspace<P> {
    /// Makes room for images of a shape; of the same shape as before, it is there.
    pub(super) fn plan(&mut self, plan: &Plan, image: Shape) {
        if self.slots.as_ref().is_none_or(|s| s.image != image || s.of.len() != plan.channels.len()) {
            let slots = Slots::new::<P>(plan, image);
            self.maps = slots.lengths.iter().map(|_| None).collect();
            self.slots = Some(slots);
        }
    }
    /// Maps for a value; what is inside them is anything.
    pub(super) fn take(&mut self, value: Value, shape: Shape) -> Maps<P> {
        let slots = self.slots.as_ref().expect("a workspace is planned before it is used");
        let slot = slots.of[value];
        match self.maps[slot].take() {
            Some(maps) => maps.reshaped(shape),
            None => Maps::with_room(shape, slots.lengths[slot]),
        }
    }
    /// The value is not read any more.
    pub(super) fn put(&mut self, value: Value, maps: Maps<P>) {
        if let Some(slots) = &self.slots {
            self.maps[slots.of[value]] = Some(maps);
        }
    }
    /// Gives logits back, to be used again.
    pub fn give(&mut self, logits: Maps<P>) {
        if let Some(&slot) = self.slots.as_ref().and_then(|s| s.of.last()) {
            self.maps[slot] = Some(logits);
        }
    }
    /// Bytes held.
    #[cfg(test)]
    fn held(&self) -> u64 {
        self.maps.iter().flatten().fold(0, |sum, m| sum + m.room() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Cpu, Kernels, Reference};
    use crate::nn::config::Config;
    use crate::nn::network::Network;
    use crate::num::lanes::Isa;

    fn image(size: usize, seed: f32) -> Maps<f32> {
        let mut image = Maps::zeros(Shape::new(1, 1, size, size));
        image.fill_by(|_, _, y, x| ((y * 7 + x * 13) % 29) as f32 / 29.0 * seed);
        image
    }

    #[test]
    fn what_is_held_is_what_was_planned_and_less_than_a_slot_for_each() {
        for config in [Config::monai(&[32, 48, 64], 5), Config::paper(&[16, 40, 48], 3)] {
            let plan = Plan::new(&Network::new(config, 1));
            let (x, mut workspace) = (image(64, 1.0), Workspace::default());
            for _ in 0..3 {
                let logits = plan.run(&Cpu { isa: Isa::detect() }, &x, &mut workspace, |_| ());
                workspace.give(logits);
                assert_eq!(workspace.held(), plan.memory::<Lane>(x.shape()));
            }
            let mut shapes = vec![x.shape(); plan.channels.len()];
            let mut all = 0;
            for call in &plan.calls {
                shapes[call.to] = plan.shape_of(call, |v| shapes[v]);
                all += Maps::<Lane>::positions(shapes[call.to]) * size_of::<Lane>();
            }
            assert!(2 * plan.memory::<Lane>(x.shape()) < all as u64);
        }
    }

    /// Slots change their shape from value to value: nothing of the value before may be seen.
    #[test]
    fn what_lay_in_a_slot_is_not_seen() {
        fn same<K: Kernels>(kernels: &K, config: Config) {
            let plan = Plan::new(&Network::new(config, 1));
            let x = image(32, 1.0);
            let fresh = plan.run(kernels, &x, &mut Workspace::default(), |_| ());
            let mut workspace = Workspace::default();
            workspace.plan(&plan, x.shape());
            let lengths = workspace.slots.clone().unwrap().lengths;
            // NaN in every lane, nearly to the edge.
            let nan = |&n: &usize| {
                let side = n.isqrt() - 2;
                let mut maps = Maps::with_room(Shape::new(1, 16, side, side), n);
                maps.fill_by(|_, _, _, _| f32::NAN);
                Some(maps)
            };
            workspace.maps = lengths.iter().map(nan).collect();
            assert!(plan.run(kernels, &x, &mut workspace, |_| ()) == fresh);
            // Another shape of images, and back.
            let small = image(16, 0.5);
            let expected = plan.run(kernels, &small, &mut Workspace::default(), |_| ());
            assert!(plan.run(kernels, &small, &mut workspace, |_| ()) == expected);
            assert!(plan.run(kernels, &x, &mut workspace, |_| ()) == fresh);
        }
        for config in [Config::monai(&[8, 24, 20], 5), Config::paper(&[8, 24, 20], 3)] {
            for isa in Isa::available() {
                same(&Cpu { isa }, config.clone());
            }
            same(&Reference, config);
        }
    }
}
