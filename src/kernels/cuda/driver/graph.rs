//! Launches recorded once and started as one: CUDA graphs.
//!
//! While a stream records, nothing is computed, and nobody may wait, copy or ask for memory. What is given back meanwhile is
//! used again by the recording alone, and stays its own: the recorded launches go on writing there.
#![allow(unsafe_code)]

use super::{Device, Graphs, Shared, check};
use crate::error::{Error, Result};
use cudarc::driver::sys::{self, CUstreamCaptureMode_enum as Mode};
use std::collections::BTreeMap;

/// A recording under way.
#[derive(Default)]
pub(super) struct Recording {
    /// Memory that nobody uses, by bytes.
    pub free: BTreeMap<usize, Vec<u64>>,
    /// Why it is of no use.
    pub spoilt: Option<Error>,
}

/// Recorded launches.
pub struct Graph {
    device: Device,
    handle: usize,
    memory: BTreeMap<usize, Vec<u64>>,
}

impl Device {
    /// Records what `work` launches instead of starting it; none where that is not possible, and then nothing was started,
    /// and [`Device::notes`] say why.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn record(&self, work: impl FnOnce() -> Result<()>) -> Result<Option<Graph>> {
        let shared = &self.0;
        {
            let mut state = shared.state();
            if state.failure.is_some() || state.recording.is_some() {
                return Ok(None);
            }
            if let Err(e) = shared.enter().and_then(|()| shared.begin()) {
                state.note(&e);
                return Ok(None);
            }
            state.recording = Some(Recording::default());
        }
        let done = work();
        let mut state = shared.state();
        let Recording { free, spoilt } = state.recording.take().unwrap_or_default();
        let ended = shared.enter().and_then(|()| shared.end());
        let why = match (done, spoilt, ended) {
            (Ok(()), None, Ok(handle)) => return Ok(Some(Graph { device: self.clone(), handle, memory: free })),
            (done, spoilt, ended) => {
                state.give_back(free);
                if let (Ok(handle), Ok(graphs)) = (&ended, shared.graphs()) {
                    // SAFETY: made by `end`, and never launched.
                    let _ = unsafe { (graphs.cuGraphExecDestroy)(*handle as sys::CUgraphExec) };
                }
                done?;
                spoilt.or(ended.err())
            }
        };
        if let Some(why) = &why {
            state.note(why);
        }
        Ok(None)
    }
    /// What did not work and was done otherwise.
    pub fn notes(&self) -> Vec<String> {
        self.0.state().notes.clone()
    }
}

impl Shared {
    /// What records.
    fn graphs(&self) -> Result<&Graphs> {
        self.graphs.as_ref().map_err(|name| Error::device(format!("GPU: its driver has no {name}")))
    }
    fn begin(&self) -> Result<()> {
        let mode = Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: entry points were found; the stream is never given back.
        check(unsafe { (self.graphs()?.cuStreamBeginCapture_v2)(self.stream(), mode) }, "recording")
    }
    /// Ends a recording, well or not.
    fn end(&self) -> Result<usize> {
        let (graphs, mut graph) = (self.graphs()?, std::ptr::null_mut());
        // SAFETY: `begin` has found the entry point and begun; writes one handle, or none.
        let ended = check(unsafe { (graphs.cuStreamEndCapture)(self.stream(), &mut graph) }, "ending a recording");
        if graph.is_null() {
            return Err(ended.err().unwrap_or_else(|| Error::device("GPU: a recording is empty")));
        }
        let mut handle = std::ptr::null_mut();
        // SAFETY: the graph was made above; writes one handle.
        let code = unsafe { (graphs.cuGraphInstantiateWithFlags)(&mut handle, graph, 0) };
        let made = ended.and_then(|()| check(code, "preparing a recording"));
        // SAFETY: what was instantiated does not need the graph, which nobody else knows.
        let _ = unsafe { (graphs.cuGraphDestroy)(graph) };
        made.map(|()| handle as usize)
    }
}

impl Graph {
    /// Starts it, behind everything that was started before; false where the driver does not, and then nothing was started.
    pub fn start(&self) -> bool {
        let mut started = false;
        self.device.0.attempt(|shared, state| {
            // SAFETY: the handle is given back by `drop` alone. What it reads and writes is its own or kept by who recorded.
            let code = unsafe { (shared.graphs()?.cuGraphLaunch)(self.handle as sys::CUgraphExec, shared.stream()) };
            match check(code, "starting a recording") {
                Ok(()) => {
                    state.traffic.launches += 1;
                    state.traffic.graphs += 1;
                    started = true;
                }
                Err(why) => state.note(&why),
            }
            Ok(())
        });
        started
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // After a failure nobody knows what still runs: it is kept until the process ends, its memory until all is waited for.
        self.device.0.attempt(|shared, state| {
            shared.wait(state)?;
            // SAFETY: made by `end`, and not running.
            let code = unsafe { (shared.graphs()?.cuGraphExecDestroy)(self.handle as sys::CUgraphExec) };
            check(code, "giving a recording back").unwrap_or_else(|why| state.note(&why));
            Ok(())
        });
        self.device.0.state().give_back(std::mem::take(&mut self.memory));
    }
}
