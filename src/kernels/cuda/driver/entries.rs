//! The driver's entry points, and the names of its errors.
//!
//! They are looked up by name, all before the first is called, and give their code as a number: cudarc's bindings give an
//! enumeration, of which a driver that is newer than they are may give none of the values, which Rust does not define; and
//! they end the program where an entry point is missing. The arguments are compared with those of the bindings when this is
//! compiled.
#![allow(unsafe_code)]

use cudarc::driver::sys::{self, CUresult};
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

/// What a call gives: a value of [`CUresult`], or one that is newer.
pub(super) type Code = c_uint;

/// Declares entry points by their arguments.
macro_rules! entries {
    ($(#[$about:meta])* $name:ident { $($entry:ident($($argument:ty),*);)* }) => {
        $(#[$about])*
        #[allow(non_snake_case)] // The driver's names.
        pub(super) struct $name {
            // SAFETY: who calls one says what makes its arguments right.
            $(pub $entry: unsafe extern "C" fn($($argument),*) -> Code,)*
        }
        impl $name {
            /// Looks them up in the library, which is there; the name of one that is missing.
            pub fn of_library() -> Result<$name, &'static str> {
                // SAFETY: compared, not called.
                $(const _: unsafe fn($($argument),*) -> CUresult = sys::$entry;)*
                // SAFETY: who calls this has found that the library can be opened.
                let library = unsafe { sys::culib() };
                Ok($name {
                    $($entry: {
                        // SAFETY: of the type that the bindings declare, but for the code, which is a number of 32 bits.
                        *unsafe { library.get(stringify!($entry).as_bytes()) }.map_err(|_| stringify!($entry))?
                    },)*
                })
            }
        }
    };
}

entries! {
    /// What is called by every program that uses a device.
    Entries {
        cuInit(c_uint);
        cuDriverGetVersion(*mut c_int);
        cuDeviceGetCount(*mut c_int);
        cuDeviceGet(*mut sys::CUdevice, c_int);
        cuDeviceGetName(*mut c_char, c_int, sys::CUdevice);
        cuDeviceGetAttribute(*mut c_int, sys::CUdevice_attribute, sys::CUdevice);
        cuDeviceTotalMem_v2(*mut usize, sys::CUdevice);
        cuDevicePrimaryCtxRetain(*mut sys::CUcontext, sys::CUdevice);
        cuCtxSetCurrent(sys::CUcontext);
        cuMemGetInfo_v2(*mut usize, *mut usize);
        cuStreamCreate(*mut sys::CUstream, c_uint);
        cuStreamSynchronize(sys::CUstream);
        cuStreamWaitEvent(sys::CUstream, sys::CUevent, c_uint);
        cuMemAlloc_v2(*mut sys::CUdeviceptr, usize);
        cuMemFree_v2(sys::CUdeviceptr);
        cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
        cuMemcpyHtoDAsync_v2(sys::CUdeviceptr, *const c_void, usize, sys::CUstream);
        cuMemcpyDtoHAsync_v2(*mut c_void, sys::CUdeviceptr, usize, sys::CUstream);
        cuModuleLoadData(*mut sys::CUmodule, *const c_void);
        cuModuleGetFunction(*mut sys::CUfunction, sys::CUmodule, *const c_char);
        cuLaunchKernel(
            sys::CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, sys::CUstream, *mut *mut c_void,
            *mut *mut c_void
        );
        cuEventCreate(*mut sys::CUevent, c_uint);
        cuEventRecord(sys::CUevent, sys::CUstream);
        cuEventSynchronize(sys::CUevent);
        cuEventElapsedTime(*mut f32, sys::CUevent, sys::CUevent);
    }
}

entries! {
    /// What records; a driver without it computes launch by launch.
    Graphs {
        cuStreamBeginCapture_v2(sys::CUstream, sys::CUstreamCaptureMode);
        cuStreamEndCapture(sys::CUstream, *mut sys::CUgraph);
        cuGraphInstantiateWithFlags(*mut sys::CUgraphExec, sys::CUgraph, c_ulonglong);
        cuGraphLaunch(sys::CUgraphExec, sys::CUstream);
        cuGraphExecDestroy(sys::CUgraphExec);
        cuGraphDestroy(sys::CUgraph);
    }
}

/// A code in words, as the driver names it, or its number. The library is there: it gave the code.
pub(super) fn name(code: Code) -> String {
    // SAFETY: called below, with a place for one address.
    type Name = unsafe extern "C" fn(Code, *mut *const c_char) -> Code;
    // SAFETY: the library was opened before the call that failed.
    let library = unsafe { sys::culib() };
    let mut name = std::ptr::null();
    // SAFETY: of the type that the bindings declare, but for the codes, which are numbers of 32 bits.
    if let Ok(ask) = unsafe { library.get::<Name>(b"cuGetErrorName") } {
        // SAFETY: writes one address: of text that is never given back, or none.
        unsafe { ask(code, &mut name) };
    }
    if name.is_null() {
        return format!("error {code}");
    }
    // SAFETY: the driver's text ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    name.replace("CUDA_ERROR_", "").to_lowercase().replace('_', " ")
}
