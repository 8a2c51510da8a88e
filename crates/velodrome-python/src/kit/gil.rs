//! The one place where the interpreter's lock is let go.

use std::cell::Cell;

use pyo3::ffi;

use super::calls;
use super::object::{Result, status};

/// Run `wait`, which must touch no Python object, while other Python threads run.
pub(crate) fn detached<R>(wait: impl FnOnce() -> R) -> R {
    // SAFETY: attached here, and attached again with the same thread state below; `wait` is the engine's wait, which
    // reaches no Python object and does not unwind (it returns io::Result).
    unsafe {
        let state = ffi::PyEval_SaveThread();
        let result = wait();
        calls::restore_thread(state);
        result
    }
}

/// Run the Python handlers of signals that have come in; only the main thread does.
pub(crate) fn check_signals() -> Result<()> {
    // SAFETY: attached.
    status(unsafe { ffi::PyErr_CheckSignals() })
}

/// `threading.get_ident()` of this thread.
pub(crate) fn thread_ident() -> std::ffi::c_ulong {
    // SAFETY: needs nothing.
    unsafe { ffi::PyThread_get_thread_ident() }
}

/// A number shared by all that runs under the interpreter's lock.
pub(crate) struct Counter(Cell<u32>);

// SAFETY: touched attached to the interpreter only, whose lock serialises that.
unsafe impl Sync for Counter {}

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(0))
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.get()
    }

    pub(crate) fn set(&self, value: u32) {
        self.0.set(value);
    }
}
