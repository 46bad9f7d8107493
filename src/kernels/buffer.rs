//! L2. Numbers where they are needed: in the memory of this process, on a device, or on both.
//!
//! ```text
//! here   there
//!  —      —      zeros that nobody has asked for yet
//!  ×      —      as a vector; who borrows it to write takes `there` away
//!  —      ×      a device has written it; who reads it here has it copied, once
//!  ×      ×      both, alike
//! ```
//!
//! So the network's code is one for all devices: what a device computes stays there until somebody looks at it, and what
//! is only looked at by the device never leaves it. On the CPU there is nothing but a vector. (Caffe's SyncedMemory does
//! the same.) A type parameter for the place would find a needless copy when compiled; here a device counts what it
//! copies, and a test knows how much a training step may.

use crate::error::Result;
use crate::num::lanes::Lane;
use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, OnceLock};

/// What is kept: a number, or several side by side.
pub trait Number: Copy + Send + Sync + 'static {
    /// Zero.
    const ZERO: Self;
}

impl Number for Lane {
    const ZERO: Lane = Lane::ZERO;
}

impl Number for f32 {
    const ZERO: f32 = 0.0;
}

impl Number for i16 {
    const ZERO: i16 = 0;
}

impl Number for u8 {
    const ZERO: u8 = 0;
}

/// Numbers in the memory of a device.
pub trait There<P>: Send + Sync {
    /// Copies them here. A device that fails gives NaN and remembers its failure.
    fn read(&self) -> Vec<P>;
    /// Whether the device has failed, as far as is known.
    ///
    /// # Errors
    /// The first failure.
    fn so_far(&self) -> Result<()> {
        Ok(())
    }
    /// For the device to recognise its own.
    fn any(&self) -> &dyn Any;
}

/// Numbers; see the [module](self).
pub struct Buffer<P> {
    len: usize,
    room: usize,
    here: OnceLock<Vec<P>>,
    there: OnceLock<Arc<dyn There<P>>>,
}

impl<P: Number> Buffer<P> {
    /// Zeros, which take memory when they are asked for.
    pub fn zeros(len: usize) -> Buffer<P> {
        Buffer::with_room(len, len)
    }
    /// Zeros with room for `room` to grow into.
    pub fn with_room(len: usize, room: usize) -> Buffer<P> {
        Buffer { len, room: room.max(len), here: OnceLock::new(), there: OnceLock::new() }
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Numbers that the memory here holds or may grow to hold.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.here.get().map_or(0, Vec::capacity)
    }
    #[inline]
    fn vector(&self) -> &Vec<P> {
        self.here.get_or_init(|| {
            if let Some(there) = self.there.get() {
                return there.read();
            }
            let mut zeros = Vec::with_capacity(self.room);
            zeros.resize(self.len, P::ZERO);
            zeros
        })
    }
    /// Cuts off or appends zeros; a device's copy is given up.
    pub fn resize(&mut self, len: usize) {
        let room = self.room;
        self.len = len;
        match self.here.get_mut() {
            Some(here) if self.there.take().is_none() => here.resize(len, P::ZERO),
            // What a device had is not worth a copy: nobody keeps what was in resized maps.
            _ => *self = Buffer::with_room(len, room),
        }
    }
    /// The device's copy, made of what is here if there is none.
    pub fn there(&self, make: impl FnOnce(&[P]) -> Arc<dyn There<P>>) -> &Arc<dyn There<P>> {
        self.there.get_or_init(|| make(self.vector()))
    }
    /// The device's copy if there is one.
    pub fn on_device(&self) -> Option<&Arc<dyn There<P>>> {
        self.there.get()
    }
    /// Whether the numbers are in this process' memory.
    pub fn is_here(&self) -> bool {
        self.here.get().is_some()
    }
    /// The device has the numbers, or is about to write them, and nobody else has.
    pub fn only_there(&mut self, there: Arc<dyn There<P>>) {
        self.here.take();
        self.there.take();
        let _ = self.there.set(there);
    }
    /// The numbers, here, unless the device that was to write them has failed.
    ///
    /// # Errors
    /// As [`There::so_far`].
    pub fn look(&self) -> Result<&[P]> {
        let numbers = self.vector();
        self.there.get().map_or(Ok(()), |there| there.so_far())?;
        Ok(numbers)
    }
    /// Some of the numbers.
    pub fn view(&self, range: Range<usize>) -> View<'_, P> {
        View(Of::Buffer(self, range.start, range.end))
    }
}

impl<P: Number> Deref for Buffer<P> {
    type Target = [P];
    #[inline(always)]
    fn deref(&self) -> &[P] {
        self.vector()
    }
}

impl<P: Number> DerefMut for Buffer<P> {
    fn deref_mut(&mut self) -> &mut [P] {
        self.vector();
        self.there.take();
        self.here.get_mut().map_or(&mut [], |here| &mut here[..])
    }
}

impl<P: Number> From<Vec<P>> for Buffer<P> {
    fn from(numbers: Vec<P>) -> Buffer<P> {
        let buffer = Buffer { len: numbers.len(), room: numbers.len(), here: OnceLock::new(), there: OnceLock::new() };
        let _ = buffer.here.set(numbers);
        buffer
    }
}

impl<P: Number> Default for Buffer<P> {
    fn default() -> Buffer<P> {
        Buffer::zeros(0)
    }
}

impl<P: Number> Clone for Buffer<P> {
    fn clone(&self) -> Buffer<P> {
        if self.here.get().is_none() && self.there.get().is_none() {
            return Buffer::with_room(self.len, self.room);
        }
        Buffer::from(self.vector().clone())
    }
}

impl<P: Number + PartialEq> PartialEq for Buffer<P> {
    fn eq(&self, other: &Buffer<P>) -> bool {
        self[..] == other[..]
    }
}

impl<P: Number + fmt::Debug> fmt::Debug for Buffer<P> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self[..].fmt(f)
    }
}

impl<'a, P: Number> IntoIterator for &'a Buffer<P> {
    type Item = &'a P;
    type IntoIter = std::slice::Iter<'a, P>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Some numbers of a buffer, or of a vector that no device has.
pub struct View<'a, P = Lane>(Of<'a, P>);

enum Of<'a, P> {
    Slice(&'a [P]),
    Buffer(&'a Buffer<P>, usize, usize),
}

impl<P> Clone for View<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for View<'_, P> {}

impl<P> Clone for Of<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Of<'_, P> {}

impl<'a, P: Number> View<'a, P> {
    /// None.
    pub fn nothing() -> View<'a, P> {
        View(Of::Slice(&[]))
    }
    /// How many, without looking at them.
    pub fn len(self) -> usize {
        match self.0 {
            Of::Slice(s) => s.len(),
            Of::Buffer(_, first, last) => last - first,
        }
    }
    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
    /// The buffer and the first number's place in it.
    pub fn buffer(self) -> Option<(&'a Buffer<P>, usize)> {
        match self.0 {
            Of::Slice(_) => None,
            Of::Buffer(buffer, first, _) => Some((buffer, first)),
        }
    }
    /// The numbers, here.
    pub fn slice(self) -> &'a [P] {
        match self.0 {
            Of::Slice(s) => s,
            Of::Buffer(buffer, first, last) => &buffer[first..last],
        }
    }
}

impl<'a, P: Number> From<&'a [P]> for View<'a, P> {
    fn from(slice: &'a [P]) -> Self {
        View(Of::Slice(slice))
    }
}

impl<'a, P: Number> From<&'a Vec<P>> for View<'a, P> {
    fn from(numbers: &'a Vec<P>) -> Self {
        View(Of::Slice(numbers))
    }
}

impl<'a, P: Number> From<&'a Buffer<P>> for View<'a, P> {
    fn from(buffer: &'a Buffer<P>) -> Self {
        buffer.view(0..buffer.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A device that holds sevens, and counts its copies.
    struct Sevens(Arc<AtomicUsize>);

    impl There<f32> for Sevens {
        fn read(&self) -> Vec<f32> {
            self.0.fetch_add(1, Ordering::SeqCst);
            vec![7.0; 3]
        }
        fn any(&self) -> &dyn Any {
            self
        }
    }

    #[test]
    fn numbers_are_copied_when_they_are_looked_at_and_once() {
        let copies = Arc::new(AtomicUsize::new(0));
        let sevens = || Arc::new(Sevens(copies.clone()));
        let mut b = Buffer::<f32>::zeros(3);
        assert!(!b.is_here() && b[..] == [0.0; 3] && b.is_here());
        b.only_there(sevens());
        assert!(!b.is_here() && b.len() == 3 && copies.load(Ordering::SeqCst) == 0);
        assert!(b[..] == [7.0; 3] && b[1] == 7.0 && copies.load(Ordering::SeqCst) == 1);
        assert!(b.on_device().is_some(), "reading keeps the device's copy");
        b[2] = 1.0;
        assert!(b.on_device().is_none(), "writing gives it up");
        assert_eq!(b[..], [7.0, 7.0, 1.0]);
        // What a view of a device's numbers says without a copy.
        b.only_there(sevens());
        let view = b.view(1..3);
        assert_eq!((view.len(), copies.load(Ordering::SeqCst)), (2, 1));
        assert_eq!((view.slice(), copies.load(Ordering::SeqCst)), (&[7.0, 7.0][..], 2));
        // Resized: nothing is copied, and zeros begin anew.
        b.only_there(sevens());
        b.resize(4);
        assert!(b[..] == [0.0; 4] && copies.load(Ordering::SeqCst) == 2);
    }
}
