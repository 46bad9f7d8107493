//! When a stream comes where: events, and the time between them.
#![allow(unsafe_code)]

use super::{Device, Shared, check};
use crate::error::Result;
use cudarc::driver::sys;

impl Device {
    /// What `work` gives, and the milliseconds that the device takes for what it starts.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> Result<(R, f32)> {
        let (first, last) = (self.0.event()?, self.0.event()?);
        // SAFETY: event and stream are of this context.
        check(unsafe { sys::cuEventRecord(first as sys::CUevent, self.0.stream()) }, "timing")?;
        let done = work();
        self.0.enter()?;
        // SAFETY: event and stream are of this context.
        check(unsafe { sys::cuEventRecord(last as sys::CUevent, self.0.stream()) }, "timing")?;
        self.check()?;
        let mut ms = 0.0;
        // SAFETY: both were recorded, and the stream has passed them.
        let code = unsafe { sys::cuEventElapsedTime(&mut ms, first as sys::CUevent, last as sys::CUevent) };
        check(code, "timing").map(|()| (done, ms))
    }
}

impl Shared {
    fn event(&self) -> Result<usize> {
        self.enter()?;
        let mut event = std::ptr::null_mut();
        // SAFETY: writes one handle; it is kept until the process ends, which times little.
        check(unsafe { sys::cuEventCreate(&mut event, 0) }, "timing").map(|()| event as usize)
    }
}
