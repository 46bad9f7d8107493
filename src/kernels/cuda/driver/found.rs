//! Which driver and devices there are.
#![allow(unsafe_code)]

use super::entries::Entries;
use super::{check, no_gpu};
use crate::error::{Error, Result};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use std::ffi::{CStr, c_char, c_int};

/// The oldest version of the driver's interface, CUDA 12.0: driver 525 and later.
pub const OLDEST_DRIVER: i32 = 12_000;
/// The oldest devices that the kernels run on: compute capability 8.0.
pub const OLDEST_DEVICE: [i32; 2] = [8, 0];

/// What is known of a device before it is used.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Compute capability.
    pub capability: [i32; 2],
    /// Bytes of memory.
    pub memory: u64,
}

/// The driver's version and the devices that it shows.
#[derive(Clone, Debug)]
pub struct Driver {
    /// 1000·major + 10·minor of the CUDA that it speaks.
    pub version: i32,
    /// Devices.
    pub devices: Vec<Found>,
}

/// Finds the driver, and what it shows.
///
/// # Errors
/// [`Fault::Device`](crate::error::Fault::Device): no library, an old one, no device.
pub fn find() -> Result<Driver> {
    look().map(|(_, driver)| driver)
}

/// The same, and its entry points.
pub(super) fn look() -> Result<(Entries, Driver)> {
    // SAFETY: opens the driver's library, whose constructors are NVIDIA's, and closes it.
    let present = unsafe { sys::is_culib_present() };
    if !present {
        return Err(no_gpu(&why_not()));
    }
    let entries = Entries::of_library().map_err(|name| {
        Error::device(format!("the GPU's driver is too old: it has no {name}"))
            .help("CUDA 12.0 (driver 525) or later is needed; --device cpu computes the same bits")
    })?;
    // SAFETY: entry points were found; no arguments but flags.
    check(unsafe { (entries.cuInit)(0) }, "starting the driver")?;
    let (mut version, mut count) = (0, 0);
    // SAFETY: writes one integer.
    check(unsafe { (entries.cuDriverGetVersion)(&mut version) }, "asking for its version")?;
    if version < OLDEST_DRIVER {
        return Err(Error::device(format!(
            "the GPU's driver speaks CUDA {}.{}, which is too old",
            version / 1000,
            version % 1000 / 10
        ))
        .help("CUDA 12.0 (driver 525) or later is needed; --device cpu computes the same bits"));
    }
    // SAFETY: writes one integer.
    check(unsafe { (entries.cuDeviceGetCount)(&mut count) }, "counting devices")?;
    let devices = (0..count).map(|ordinal| found(&entries, ordinal)).collect::<Result<Vec<_>>>()?;
    if devices.is_empty() {
        Err(no_gpu("the driver shows no device"))
    } else {
        Ok((entries, Driver { version, devices }))
    }
}

/// Why the library cannot be opened: it is not there, or it is and this is what the system's loader says of it.
fn why_not() -> String {
    // SAFETY: the name ends in a zero; what it opens, if anything, is never closed.
    let opened = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_LAZY) };
    // SAFETY: this thread's last error, which stays until its next call of the loader.
    let why = if opened.is_null() { unsafe { libc::dlerror() } } else { std::ptr::null_mut() };
    // SAFETY: where it is not null it is text that ends in a zero.
    let why = (!why.is_null()).then(|| unsafe { CStr::from_ptr(why) }.to_string_lossy());
    match why {
        Some(why) if !(why.starts_with("libcuda.so.1: ") && why.contains("No such file")) => {
            format!("the driver's library cannot be loaded: {why}")
        }
        _ => "the driver's library libcuda.so.1 is not found".into(),
    }
}

/// The device of a number.
pub(super) fn handle(entries: &Entries, ordinal: i32) -> Result<sys::CUdevice> {
    let mut device = 0;
    // SAFETY: writes one handle.
    check(unsafe { (entries.cuDeviceGet)(&mut device, ordinal) }, "asking for a device")?;
    Ok(device)
}

fn found(entries: &Entries, ordinal: i32) -> Result<Found> {
    let device = handle(entries, ordinal)?;
    let (mut name, mut memory) = ([0 as c_char; 128], 0usize);
    // SAFETY: writes at most the length given, with the zero at its end.
    let code = unsafe { (entries.cuDeviceGetName)(name.as_mut_ptr(), name.len() as c_int, device) };
    check(code, "asking for a device's name")?;
    // SAFETY: writes one number.
    check(unsafe { (entries.cuDeviceTotalMem_v2)(&mut memory, device) }, "asking for a device's memory")?;
    let attribute = |which: Attribute| {
        let mut value = 0;
        // SAFETY: writes one integer.
        let code = unsafe { (entries.cuDeviceGetAttribute)(&mut value, which, device) };
        check(code, "asking for a device's capability").map(|()| value)
    };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let name: Vec<u8> = name.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    Ok(Found {
        ordinal: ordinal as usize,
        name: String::from_utf8_lossy(&name).into_owned(),
        capability: [major, minor],
        memory: memory as u64,
    })
}
