//! The driver of NVIDIA's GPUs: everything that is `unsafe` about it, and all that is said about its errors.
//!
//! The library is looked for when it is asked for ([`Device::open`]); then every entry point that is called is looked up
//! before the first is called (`entries`). One stream of each device computes in
//! the order of the calls, and copies stand in it, but for those that pass beside it (`streams`). What is given back is kept
//! for the next who wants as much, and returned to the driver when memory runs out.
//!
//! A call that fails is remembered, and nothing is computed after it: [`Device::check`] tells. So kernels need no
//! `Result` each, as they need none on the CPU.
#![allow(unsafe_code)]

mod entries;
mod found;
pub mod graph;
mod streams;

use super::images::{self, Kernel};
use crate::error::{Error, Result};
use crate::kernels::batchnorm::Moments;
use crate::num::lanes::Lane;
use cudarc::driver::sys::{self, CUresult};
use entries::{Code, Entries, Graphs};
pub use found::{Driver, Found, OLDEST_DEVICE, OLDEST_DRIVER, find};
use graph::Recording;
use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use streams::{Copies, Fetched};

/// Numbers that a device has as they are here: fixed size, every pattern of bits a number, no padding.
pub trait Plain: Copy + Send + Sync + 'static {
    /// What a reading that fails gives.
    const FAILED: Self;
}
impl Plain for Lane {
    const FAILED: Lane = Lane([f32::NAN; 16]);
}
impl Plain for f32 {
    const FAILED: f32 = f32::NAN;
}
impl Plain for f64 {
    const FAILED: f64 = f64::NAN;
}
impl Plain for u16 {
    // NaN as fp16.
    const FAILED: u16 = 0x7e00;
}
impl Plain for i16 {
    const FAILED: i16 = 0;
}
impl Plain for u8 {
    const FAILED: u8 = u8::MAX;
}
impl Plain for u32 {
    const FAILED: u32 = u32::MAX;
}
impl Plain for Moments {
    const FAILED: Moments = Moments { n: f64::NAN, mean: f64::NAN, m2: f64::NAN };
}

/// Whether a call succeeded.
fn check(code: Code, doing: &str) -> Result<()> {
    let is = |known: CUresult| code == known as Code;
    let help = match code {
        0 => return Ok(()),
        _ if is(CUresult::CUDA_ERROR_NO_DEVICE) => return Err(no_gpu("the driver finds no device")),
        _ if is(CUresult::CUDA_ERROR_STUB_LIBRARY) => {
            return Err(no_gpu(
                "the library is the toolkit's stub, not a driver; take its folder out of LD_LIBRARY_PATH",
            ));
        }
        _ if is(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
            "take smaller images, fewer in a batch, or smaller leaves; or --device cpu"
        }
        _ if is(CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
            || is(CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE) =>
        {
            "driver and kernel module do not fit together; restart the machine after an update of the driver"
        }
        _ => "see `tomolith doctor`; --device cpu computes the same bits",
    };
    Err(Error::device(format!("GPU: {doing}: {}", entries::name(code))).help(help))
}

fn no_gpu(why: &str) -> Error {
    Error::device(format!("no GPU: {why}")).help("--device cpu computes the same bits; see `tomolith doctor`")
}

/// A device in use; clones are the same.
#[derive(Clone)]
pub struct Device(Arc<Used>);

/// What all clones are. When the last goes, so do the places of images, which hold what is behind it.
struct Used(Arc<Shared>);

impl std::ops::Deref for Used {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        let slots = std::mem::take(&mut self.state().copies.slots);
        drop(slots); // Not before the state is free again: their memory goes back to it.
    }
}

struct Shared {
    found: Found,
    version: i32,
    entries: Entries,
    /// Or which of them is missing.
    graphs: std::result::Result<Graphs, &'static str>,
    kernels: BTreeMap<&'static str, Kernel>,
    // Handles of the driver, which are addresses that only it looks at.
    context: usize,
    stream: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Modules by the file of their kernels, functions by name.
    modules: BTreeMap<&'static str, usize>,
    functions: BTreeMap<&'static str, usize>,
    /// Memory that nobody uses, by bytes.
    free: BTreeMap<usize, Vec<u64>>,
    /// What copies to the device may still read, and its bytes: kept until the stream has been waited for.
    staged: Vec<Box<dyn Any + Send>>,
    staged_bytes: usize,
    failure: Option<Error>,
    recording: Option<Recording>,
    copies: Copies,
    notes: Vec<String>,
    traffic: Traffic,
}

impl State {
    /// Memory that nobody uses.
    fn take(&mut self, bytes: usize) -> Option<u64> {
        let own = self.recording.as_mut().and_then(|r| r.free.get_mut(&bytes)?.pop());
        own.or_else(|| self.free.get_mut(&bytes)?.pop())
    }
    fn give_back(&mut self, memory: BTreeMap<usize, Vec<u64>>) {
        memory.into_iter().for_each(|(bytes, list)| self.free.entry(bytes).or_default().extend(list));
    }
    fn note(&mut self, why: &Error) {
        let text = why.what().to_string();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }
}

/// What crossed the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes to the device.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
    /// Kernels started, and recordings, each of which counts once.
    pub launches: u64,
    /// Recordings started.
    pub graphs: u64,
}

impl Device {
    /// Takes a device into use.
    ///
    /// # Errors
    /// [`Fault::Device`](crate::error::Fault::Device): no driver, no such device, one that is too old.
    pub fn open(ordinal: usize) -> Result<Device> {
        let (entries, driver) = found::look()?;
        let count = driver.devices.len();
        let Some(found) = driver.devices.into_iter().nth(ordinal) else {
            return Err(Error::device(format!("no GPU {ordinal}: there are {count}, counted from 0"))
                .help("see `tomolith doctor`"));
        };
        if found.capability < OLDEST_DEVICE {
            let [major, minor] = found.capability;
            return Err(Error::device(format!(
                "GPU {ordinal} ({}) is of compute capability {major}.{minor}",
                found.name
            ))
            .help("8.0 or later is needed; --device cpu computes the same bits"));
        }
        let device = found::handle(&entries, ordinal as i32)?;
        let (mut context, mut stream) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: writes one handle of a device that exists. The context is kept until the process ends.
        check(unsafe { (entries.cuDevicePrimaryCtxRetain)(&mut context, device) }, "opening the device")?;
        // SAFETY: the context was made above.
        check(unsafe { (entries.cuCtxSetCurrent)(context) }, "choosing the device")?;
        // SAFETY: writes one handle; 1 is CU_STREAM_NON_BLOCKING. It is kept until the process ends.
        check(unsafe { (entries.cuStreamCreate)(&mut stream, 1) }, "making a stream")?;
        let (context, stream) = (context as usize, stream as usize);
        let (version, kernels, state) = (driver.version, images::kernels(), Mutex::default());
        let graphs = Graphs::of_library();
        let shared = Shared { found, version, entries, graphs, kernels, context, stream, state };
        Ok(Device(Arc::new(Used(Arc::new(shared)))))
    }
    /// Which it is.
    pub fn found(&self) -> &Found {
        &self.0.found
    }
    /// The driver's version.
    pub fn version(&self) -> i32 {
        self.0.version
    }
    /// What crossed the bus until now.
    pub fn traffic(&self) -> Traffic {
        self.0.state().traffic
    }
    /// Waits for everything.
    ///
    /// # Errors
    /// The first failure of all calls so far; it stays.
    pub fn check(&self) -> Result<()> {
        self.0.attempt(Shared::wait);
        self.so_far()
    }
    /// Whether something has failed, as far as is known.
    ///
    /// # Errors
    /// The first failure.
    pub fn so_far(&self) -> Result<()> {
        self.0.so_far()
    }
    /// Remembers a failure that is none of the driver's.
    pub fn fail(&self, error: Error) -> Address {
        self.0.attempt(|_, _| Err(error));
        Address::NONE
    }
    /// Bytes of the device that are free for everybody: what nobody uses here is not among them.
    ///
    /// # Errors
    /// As the driver says.
    pub fn free_memory(&self) -> Result<u64> {
        self.0.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        check(unsafe { (self.0.entries.cuMemGetInfo_v2)(&mut free, &mut total) }, "asking for free memory")?;
        Ok(free as u64)
    }

    /// Memory for `len` numbers, which are anything.
    pub fn memory<T: Plain>(&self, len: usize) -> Memory<T> {
        let bytes = (len * size_of::<T>()).max(1).next_multiple_of(ALIGNMENT);
        let mut at = 0;
        self.0.attempt(|shared, state| {
            at = match state.take(bytes) {
                Some(at) => at,
                None => shared.allocate(bytes, state)?,
            };
            Ok(())
        });
        Memory {
            device: self.0.0.clone(),
            at,
            len,
            bytes,
            made: Mutex::default(),
            fetched: Mutex::default(),
            of: std::marker::PhantomData,
        }
    }
    /// Numbers copied to the device.
    pub fn upload<T: Plain>(&self, numbers: &[T]) -> Memory<T> {
        let memory = self.memory(numbers.len());
        self.write(&memory, numbers);
        memory
    }
    /// Numbers copied to where others were, of which there are no fewer.
    pub fn write<T: Plain>(&self, memory: &Memory<T>, numbers: &[T]) {
        // Piece by piece: what is under way is kept here, too.
        let piece = MOST_STAGED / size_of::<T>();
        numbers.chunks(piece).enumerate().for_each(|(i, part)| self.write_at(memory, i * piece, part));
    }
    fn write_at<T: Plain>(&self, memory: &Memory<T>, first: usize, numbers: &[T]) {
        let bytes = size_of_val(numbers);
        self.0.attempt(|shared, state| {
            if bytes == 0 {
                return Ok(());
            }
            if first + numbers.len() > memory.len || state.recording.is_some() {
                return Err(Error::bug("a copy to the device that is too long, or in a recording"));
            }
            state.traffic.sent += bytes as u64;
            if state.staged_bytes + bytes > MOST_STAGED {
                shared.wait(state)?;
            }
            let kept = numbers.to_vec();
            let (to, from) = (memory.at(first).0, kept.as_ptr().cast());
            // The vector moves, its numbers do not.
            state.staged.push(Box::new(kept));
            state.staged_bytes += bytes;
            // SAFETY: `to` is an allocation of at least `bytes`, since no call failed. `from` has as many, which nobody
            // changes and which are kept until the stream has been waited for: the driver may read them until then.
            check(
                unsafe { (shared.entries.cuMemcpyHtoDAsync_v2)(to, from, bytes, shared.stream()) },
                "copying to the device",
            )
        });
    }
    /// Starts a kernel of `threads` threads a block. What the kernel wants is compared with its image.
    pub fn launch(&self, kernel: &'static str, grid: [u32; 2], threads: u32, arguments: &[&dyn Argument]) {
        if grid.contains(&0) {
            return;
        }
        self.0.attempt(|shared, state| {
            let Some(Kernel { file, parameters }) = shared.kernels.get(kernel) else {
                return Err(Error::bug(format!("no kernel {kernel} in the images of this program")));
            };
            let sizes: Vec<usize> = arguments.iter().map(|a| a.bytes()).collect();
            if sizes != *parameters {
                return Err(Error::bug(format!("{kernel} takes arguments of {parameters:?} bytes, not {sizes:?}")));
            }
            let function = shared.function(kernel, file, state)? as sys::CUfunction;
            let mut pointers: Vec<*mut c_void> = arguments.iter().map(|a| a.pointer().cast_mut()).collect();
            state.traffic.launches += 1;
            let ([x, y], stream, none) = (grid, shared.stream(), std::ptr::null_mut());
            let (pointers, doing) = (pointers.as_mut_ptr(), format!("starting the kernel {kernel}"));
            // SAFETY: the function is of this context; number and sizes of its arguments are those of its image, and the
            // driver has copied them when this returns. What they point to on the device is kept by the caller until the
            // stream has passed: memory is given back to the same stream's next user.
            check(
                unsafe { (shared.entries.cuLaunchKernel)(function, x, y, 1, threads, 1, 1, 0, stream, pointers, none) },
                &doing,
            )
        });
    }
}

/// Allocations are multiples of this, so that nearly equal ones are exchanged.
const ALIGNMENT: usize = 256;
/// Bytes kept for copies to the device, at most, unless one copy has more.
const MOST_STAGED: usize = 256 << 20;

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn stream(&self) -> sys::CUstream {
        self.stream as sys::CUstream
    }
    fn so_far(&self) -> Result<()> {
        self.state().failure.clone().map_or(Ok(()), Err)
    }
    /// Makes the context this thread's.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context is never given back.
        check(unsafe { (self.entries.cuCtxSetCurrent)(self.context as sys::CUcontext) }, "choosing the device")
    }
    /// Does something unless something failed before; remembers whether it fails, which in a recording spoils no more than
    /// that.
    fn attempt(&self, work: impl FnOnce(&Shared, &mut State) -> Result<()>) {
        let mut state = self.state();
        if state.failure.is_some() || state.recording.as_ref().is_some_and(|r| r.spoilt.is_some()) {
            return;
        }
        let failed = self.enter().and_then(|()| work(self, &mut state)).err();
        match &mut state.recording {
            Some(recording) => recording.spoilt = failed,
            None => state.failure = failed,
        }
    }
    /// Waits for everything; then no copy reads what was kept for it.
    fn wait(&self, state: &mut State) -> Result<()> {
        if state.recording.is_some() {
            return Err(Error::bug("a recording that is waited for"));
        }
        self.wait_for_stream(self.stream)?;
        (state.staged, state.staged_bytes) = (Vec::new(), 0);
        Ok(())
    }
    fn wait_for_stream(&self, stream: usize) -> Result<()> {
        // SAFETY: the stream is never given back.
        check(unsafe { (self.entries.cuStreamSynchronize)(stream as sys::CUstream) }, "computing")
    }
    fn allocate(&self, bytes: usize, state: &mut State) -> Result<u64> {
        let mut at = 0;
        if state.recording.is_some() {
            return Err(Error::device("GPU: a recording found no memory"));
        }
        let doing = format!("asking for {bytes} bytes");
        // SAFETY: writes one address.
        let code = unsafe { (self.entries.cuMemAlloc_v2)(&mut at, bytes) };
        if code != CUresult::CUDA_ERROR_OUT_OF_MEMORY as Code {
            return check(code, &doing).map(|()| at);
        }
        self.free(state)?;
        // SAFETY: writes one address.
        check(unsafe { (self.entries.cuMemAlloc_v2)(&mut at, bytes) }, &doing).map(|()| at)
    }
    /// Gives back what nobody uses, once nobody computes with it; what the driver does not take stays in the list.
    fn free(&self, state: &mut State) -> Result<()> {
        self.wait(state)?;
        for list in state.free.values_mut() {
            while let Some(&at) = list.last() {
                // SAFETY: the list holds it, so it was allocated, has no user, and the stream has passed.
                check(unsafe { (self.entries.cuMemFree_v2)(at) }, "giving memory back")?;
                list.pop();
            }
        }
        Ok(())
    }
    fn function(&self, kernel: &'static str, file: &'static str, state: &mut State) -> Result<usize> {
        if let Some(&function) = state.functions.get(kernel) {
            return Ok(function);
        }
        let module = match state.modules.get(file) {
            Some(&module) => module,
            None => {
                let image = CString::new(images::ptx(file)).map_err(|_| Error::bug("an image with a zero in it"))?;
                let mut module = std::ptr::null_mut();
                // SAFETY: the image is text that ends with a zero; the module is kept until the process ends.
                let code = unsafe { (self.entries.cuModuleLoadData)(&mut module, image.as_ptr().cast()) };
                check(code, &format!("loading the kernels of {file}"))?;
                state.modules.insert(file, module as usize);
                module as usize
            }
        };
        let name = CString::new(kernel).map_err(|_| Error::bug("a name with a zero in it"))?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is of this context, the name ends with a zero.
        let code = unsafe { (self.entries.cuModuleGetFunction)(&mut function, module as sys::CUmodule, name.as_ptr()) };
        check(code, &format!("looking for the kernel {kernel}"))?;
        state.functions.insert(kernel, function as usize);
        Ok(function as usize)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // After a failure, too: who has waited for all streams knows that nothing is read any more.
        let mut state = std::mem::take(&mut *self.state());
        let mut copies = state.copies.streams.into_iter().flatten();
        let waited = self.enter().and_then(|()| copies.try_for_each(|stream| self.wait_for_stream(stream)));
        if waited.and_then(|()| self.free(&mut state)).is_err() {
            // Nobody knows: it is kept until the process ends.
            std::mem::forget(state.staged);
        }
    }
}

/// Numbers in a device's memory.
pub struct Memory<T> {
    device: Arc<Shared>,
    at: u64,
    len: usize,
    bytes: usize,
    /// What was made of the numbers, by a key, until they change.
    made: Mutex<BTreeMap<usize, Arc<dyn Any + Send + Sync>>>,
    /// Numbers on their way here.
    fetched: Mutex<Option<Fetched>>,
    of: std::marker::PhantomData<T>,
}

impl<T: Plain> Memory<T> {
    /// How many.
    pub fn count(&self) -> usize {
        self.len
    }
    /// Whether it is memory of this device.
    pub fn is_of(&self, device: &Device) -> bool {
        Arc::ptr_eq(&self.device, &device.0.0)
    }
    /// As [`Device::so_far`].
    ///
    /// # Errors
    /// The first failure.
    pub fn so_far(&self) -> Result<()> {
        self.device.so_far()
    }
    /// The address of a number, for a kernel.
    pub fn at(&self, index: usize) -> Address {
        Address(self.at + (index * size_of::<T>()) as u64)
    }
    /// What `make` makes of the numbers: once, until they change.
    pub fn made<M: Any + Send + Sync>(&self, key: usize, make: impl FnOnce() -> M) -> Arc<M> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = made.get(&key).and_then(|there| there.clone().downcast::<M>().ok()) {
            return there;
        }
        let new = Arc::new(make());
        made.insert(key, new.clone());
        new
    }
    /// The numbers are about to change.
    pub fn changes(&self) {
        drop(self.take_fetched());
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    /// Copies the numbers here, when everything before is computed.
    pub fn read(&self) -> Vec<T> {
        if let Some(numbers) = self.take_fetched() {
            return numbers;
        }
        let (mut numbers, mut lost) = (vec![T::FAILED; self.len], false);
        let bytes = size_of_val(&numbers[..]);
        self.device.attempt(|shared, state| {
            if bytes == 0 {
                return Ok(());
            }
            if state.recording.is_some() {
                return Err(Error::bug("a copy from the device in a recording"));
            }
            state.traffic.received += bytes as u64;
            let (to, from) = (numbers.as_mut_ptr().cast(), self.at);
            // SAFETY: `to` has `bytes`, `from` is an allocation of at least as many; every pattern of bits is a number. The
            // vector outlives the copy: the stream is waited for below, or it is kept.
            let code = unsafe { (shared.entries.cuMemcpyDtoHAsync_v2)(to, from, bytes, shared.stream()) };
            let waited = shared.wait(state);
            lost = waited.is_err();
            check(code, "copying from the device").and(waited)
        });
        if lost {
            // The copy may still write there: it is kept until the process ends.
            std::mem::forget(std::mem::take(&mut numbers));
            numbers.resize(self.len, T::FAILED);
        }
        if self.device.state().failure.is_some() {
            numbers.fill(T::FAILED);
        }
        numbers
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        self.await_fetched();
        if self.at != 0 {
            let mut state = self.device.state();
            let state = &mut *state;
            let free = state.recording.as_mut().map_or(&mut state.free, |r| &mut r.free);
            free.entry(self.bytes).or_default().push(self.at);
        }
    }
}

/// An address on a device, or none.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Address(pub(super) u64);

impl Address {
    /// None.
    pub const NONE: Address = Address(0);
}

/// What a kernel is given: as many bytes as its image says.
pub trait Argument {
    /// Where they are.
    fn pointer(&self) -> *const c_void {
        std::ptr::from_ref(self).cast()
    }
    /// How many.
    fn bytes(&self) -> usize {
        size_of_val(self)
    }
}
impl Argument for Address {}
impl Argument for i32 {}
impl Argument for f32 {}
impl Argument for i64 {}
