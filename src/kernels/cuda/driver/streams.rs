//! Streams beside the one that computes, so that copies pass while kernels run; events, by which a stream or this program
//! waits for another; and memory of this machine that the device copies from and to by itself.
//!
//! ```text
//! in        image j to its slot  ·  image j + 1 …            after the kernels that read image j − 2 in the same slot
//! compute   kernels of j  ·  kernels of j + 1 …              each after its image is there
//! out       what was made of j  ·  of j + 1 …                each after its kernels
//! ```
#![allow(unsafe_code)]

use super::{Device, Memory, Plain, Shared, State, check};
use crate::error::{Error, Result};
use crate::kernels::buffer::There;
use cudarc::driver::sys;
use std::ffi::c_void;
use std::sync::{Arc, PoisonError};

/// Images that may be on their way or computed with at a time.
const SLOTS: usize = 2;
/// CU_STREAM_NON_BLOCKING.
const NON_BLOCKING: u32 = 1;
/// CU_EVENT_DISABLE_TIMING.
const NO_TIMING: u32 = 2;
/// Memory of this machine is asked for in multiples of this.
const PAGE: usize = 4096;

/// Streams that copy, and what is used again; all is kept until the process ends.
#[derive(Default)]
pub(super) struct Copies {
    /// To the device and from it; made when they are first wanted.
    pub streams: Option<[usize; 2]>,
    pub slots: [Option<Slot>; SLOTS],
    /// The slot of the last image.
    turn: usize,
    /// Memory of this machine that nobody uses, with its bytes; and events.
    pinned: Vec<(usize, usize)>,
    events: Vec<usize>,
}

/// Where an image lies for the kernels.
pub(super) struct Slot {
    memory: Arc<Memory<f32>>,
    /// Where it is copied from, and its bytes.
    from: (usize, usize),
    /// The copy is done.
    sent: usize,
    /// The kernels that read it are done.
    used: usize,
    /// Nobody has said so yet.
    open: bool,
}

/// Numbers on their way from the device.
pub(super) struct Fetched {
    to: (usize, usize),
    event: usize,
}

impl Device {
    /// Begins to copy an image to the device while it computes; kernels that are started from now on wait for it. It is there
    /// until the second image after it is sent. None after a failure.
    pub fn send(&self, numbers: &[f32]) -> Option<Arc<dyn There<f32>>> {
        let at = {
            let mut state = self.0.state();
            state.copies.turn = (state.copies.turn + 1) % SLOTS;
            state.copies.turn
        };
        let fits = |slot: &Slot| slot.memory.count() >= numbers.len();
        let fits = self.0.state().copies.slots[at].as_ref().is_some_and(fits);
        let (mut memory, mut old) = ((!fits).then(|| Arc::new(self.memory::<f32>(numbers.len()))), None);
        let mut sent = None;
        // What was copied from here before is on the device; others go on meanwhile.
        let before = self.0.state().copies.slots[at].as_ref().filter(|_| fits).map(|slot| slot.sent);
        before.into_iter().for_each(|event| self.0.await_event(event));
        self.0.attempt(|shared, state| {
            let [inward, _] = shared.streams(state)?;
            if memory.is_some() {
                let from = shared.pinned(state, size_of_val(numbers))?;
                let [sent, used] = [shared.idle_event(state)?, shared.idle_event(state)?];
                // Given back by somebody whose kernels may still run: open.
                let slot = memory.take().map(|memory| Slot { memory, from, sent, used, open: true });
                old = std::mem::replace(&mut state.copies.slots[at], slot);
            }
            let Some(slot) = &mut state.copies.slots[at] else { return Err(Error::bug("an image without a slot")) };
            if std::mem::replace(&mut slot.open, true) {
                shared.mark(slot.used, shared.stream)?;
            }
            // At once, unless somebody has sent another one meanwhile.
            shared.wait_for(slot.sent)?;
            // SAFETY: `from` is memory of no fewer bytes, which no copy reads, as was waited for.
            let to = unsafe { std::slice::from_raw_parts_mut(slot.from.0 as *mut f32, numbers.len()) };
            to.copy_from_slice(numbers);
            shared.after(inward, slot.used)?;
            let (to, from, bytes) = (slot.memory.at, slot.from.0 as *const c_void, size_of_val(numbers));
            // SAFETY: `to` is an allocation of no fewer bytes, whose kernels the stream waits for; `from` is written again after
            // `sent` alone.
            let code = unsafe { (shared.entries.cuMemcpyHtoDAsync_v2)(to, from, bytes, inward as sys::CUstream) };
            check(code, "copying to the device")?;
            shared.mark(slot.sent, inward)?;
            shared.after(shared.stream, slot.sent)?;
            sent = Some(slot.memory.clone() as Arc<dyn There<f32>>);
            state.traffic.sent += bytes as u64;
            Ok(())
        });
        if let Some(old) = old {
            self.0.attempt(|shared, state| {
                shared.wait_for(old.sent)?;
                state.copies.pinned.push(old.from);
                state.copies.events.extend([old.sent, old.used]);
                Ok(())
            });
        }
        sent
    }
    /// All kernels that read the image that was sent last are started: its slot is free once they are done.
    pub fn sent_is_read(&self) {
        self.0.attempt(|shared, state| {
            let at = state.copies.turn;
            if let Some(slot) = state.copies.slots[at].as_mut().filter(|slot| slot.open) {
                shared.mark(slot.used, shared.stream)?;
                slot.open = false;
            }
            Ok(())
        });
    }
    /// What `work` gives, and the milliseconds that the device takes for what it starts.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> Result<(R, f32)> {
        let (done, laps) = self.laps(|lap| {
            let done = work();
            lap();
            done
        })?;
        Ok((done, laps[0]))
    }
    /// The same, and the milliseconds from each call of what `work` is given to the next: nobody waits between them.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn laps<R>(&self, work: impl FnOnce(&mut dyn FnMut()) -> R) -> Result<(R, Vec<f32>)> {
        let mark = || -> Result<usize> {
            self.0.enter()?;
            let event = self.0.event(0)?;
            self.0.mark(event, self.0.stream).map(|()| event)
        };
        let mut marks = vec![mark()];
        let done = work(&mut || marks.push(mark()));
        let marks: Vec<usize> = marks.into_iter().collect::<Result<_>>()?;
        self.check()?;
        let between = |pair: &[usize]| {
            let mut ms = 0.0;
            // SAFETY: both were recorded, and the stream has passed them.
            let code = unsafe {
                (self.0.entries.cuEventElapsedTime)(&mut ms, pair[0] as sys::CUevent, pair[1] as sys::CUevent)
            };
            check(code, "timing").map(|()| ms)
        };
        Ok((done, marks.windows(2).map(between).collect::<Result<_>>()?))
    }
}

impl<T: Plain> Memory<T> {
    /// Begins to copy the numbers here, when everything before is computed, while the device goes on computing; who reads
    /// them waits for them alone.
    pub fn fetch(&self) {
        let bytes = self.len * size_of::<T>();
        self.await_fetched();
        self.device.attempt(|shared, state| {
            let [_, outward] = shared.streams(state)?;
            let (to, event) = (shared.pinned(state, bytes)?, shared.idle_event(state)?);
            shared.mark(event, shared.stream)?;
            shared.after(outward, event)?;
            let (to_here, stream) = (to.0 as *mut c_void, outward as sys::CUstream);
            // SAFETY: `to` has no fewer bytes and nobody reads it before the event; what is copied is an allocation of as many,
            // which is neither changed nor given back before: `changes` and `drop` wait.
            let code = unsafe { (shared.entries.cuMemcpyDtoHAsync_v2)(to_here, self.at, bytes, stream) };
            check(code, "copying from the device")?;
            shared.mark(event, outward)?;
            state.traffic.received += bytes as u64;
            *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Fetched { to, event });
            Ok(())
        });
    }
    /// What was fetched, if anything was.
    pub(super) fn take_fetched(&self) -> Option<Vec<T>> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.device.await_event(fetched.event);
        if self.device.state().failure.is_some() {
            return Some(vec![T::FAILED; self.len]);
        }
        // SAFETY: as many numbers, every pattern of bits one, written by a copy that was waited for.
        let numbers = unsafe { std::slice::from_raw_parts(fetched.to.0 as *const T, self.len) }.to_vec();
        self.device.attempt(|_, state| {
            state.copies.give_back(fetched);
            Ok(())
        });
        Some(numbers)
    }
}

impl<T> Memory<T> {
    /// Waits for numbers that nobody wants any more.
    pub(super) fn await_fetched(&self) {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(fetched) = fetched {
            self.device.await_event(fetched.event);
            self.device.attempt(|_, state| {
                state.copies.give_back(fetched);
                Ok(())
            });
        }
    }
}

impl Copies {
    fn give_back(&mut self, fetched: Fetched) {
        self.pinned.push(fetched.to);
        self.events.push(fetched.event);
    }
}

impl Shared {
    /// To the device and from it.
    fn streams(&self, state: &mut State) -> Result<[usize; 2]> {
        if let Some(streams) = state.copies.streams {
            return Ok(streams);
        }
        let mut made = [0; 2];
        for to in &mut made {
            let mut stream = std::ptr::null_mut();
            // SAFETY: writes one handle.
            check(unsafe { (self.entries.cuStreamCreate)(&mut stream, NON_BLOCKING) }, "making a stream")?;
            *to = stream as usize;
        }
        Ok(*state.copies.streams.insert(made))
    }
    /// Memory of this machine of no fewer bytes, and no more than twice as many.
    fn pinned(&self, state: &mut State, bytes: usize) -> Result<(usize, usize)> {
        let rounded = bytes.max(1).next_multiple_of(PAGE);
        let free = &mut state.copies.pinned;
        if let Some(at) = free.iter().position(|&(_, room)| room >= rounded && room / 2 <= rounded) {
            return Ok(free.swap_remove(at));
        }
        let mut at = std::ptr::null_mut();
        // SAFETY: writes one address.
        let code = unsafe { (self.entries.cuMemHostAlloc)(&mut at, rounded, 0) };
        check(code, &format!("asking for {rounded} bytes of this machine")).map(|()| (at as usize, rounded))
    }
    fn idle_event(&self, state: &mut State) -> Result<usize> {
        state.copies.events.pop().map_or_else(|| self.event(NO_TIMING), Ok)
    }
    fn event(&self, flags: u32) -> Result<usize> {
        let mut event = std::ptr::null_mut();
        // SAFETY: writes one handle; it is kept until the process ends, which has few.
        check(unsafe { (self.entries.cuEventCreate)(&mut event, flags) }, "making an event").map(|()| event as usize)
    }
    /// The event is when a stream has done what it was given until now.
    fn mark(&self, event: usize, stream: usize) -> Result<()> {
        // SAFETY: event and stream are of this context, and never given back.
        check(
            unsafe { (self.entries.cuEventRecord)(event as sys::CUevent, stream as sys::CUstream) },
            "marking a stream",
        )
    }
    /// A stream goes on after an event.
    fn after(&self, stream: usize, event: usize) -> Result<()> {
        // SAFETY: event and stream are of this context, and never given back.
        let code = unsafe { (self.entries.cuStreamWaitEvent)(stream as sys::CUstream, event as sys::CUevent, 0) };
        check(code, "letting a stream wait")
    }
    /// This thread goes on after an event, and others meanwhile: the device is asked for nothing. A failure is remembered.
    fn await_event(&self, event: usize) {
        if self.state().failure.is_some() {
            return;
        }
        if let Err(why) = self.enter().and_then(|()| self.wait_for(event)) {
            self.attempt(|_, _| Err(why));
        }
    }
    /// This program goes on after an event.
    fn wait_for(&self, event: usize) -> Result<()> {
        // SAFETY: the event is of this context, and never given back.
        check(unsafe { (self.entries.cuEventSynchronize)(event as sys::CUevent) }, "computing")
    }
}
