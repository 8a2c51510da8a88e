//! The error indicator: raising what Python code would see, and putting aside what is pending.

use pyo3::ffi;

use super::object::{Obj, Raised, Ref, Result, long, raised, string, take_raised, tuple};

/// Kinds of exception that native code raises by itself.
fn raise(kind: *mut ffi::PyObject, message: &str) -> Raised {
    if let Ok(message) = string(message) {
        // SAFETY: attached; both are alive.
        unsafe { ffi::PyErr_SetObject(kind, message.as_ptr()) }
    }
    Raised
}

pub(crate) fn type_error(message: &str) -> Raised {
    // SAFETY: exception types live for ever.
    raise(unsafe { ffi::PyExc_TypeError }, message)
}

pub(crate) fn value_error(message: &str) -> Raised {
    // SAFETY: exception types live for ever.
    raise(unsafe { ffi::PyExc_ValueError }, message)
}

pub(crate) fn overflow_error(message: &str) -> Raised {
    // SAFETY: exception types live for ever.
    raise(unsafe { ffi::PyExc_OverflowError }, message)
}

pub(crate) fn runtime_error(message: &str) -> Raised {
    // SAFETY: exception types live for ever.
    raise(unsafe { ffi::PyExc_RuntimeError }, message)
}

/// The OSError subclass that fits `error`, not raised.
pub(crate) fn os_error(error: &std::io::Error) -> Result<Ref> {
    raise_os_error(error);
    take_raised().ok_or(Raised)
}

/// Raise the OSError subclass that fits `error`.
pub(crate) fn raise_os_error(error: &std::io::Error) -> Raised {
    let Some(code) = error.raw_os_error() else {
        // SAFETY: exception types live for ever.
        return raise(unsafe { ffi::PyExc_OSError }, &error.to_string());
    };
    let reason = std::io::Error::from_raw_os_error(code).to_string();
    // std appends "(os error N)", which CPython says in its own way.
    let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
    let (Ok(number), Ok(reason)) = (long(i64::from(code)), string(&reason)) else { return Raised };
    if let Ok(args) = tuple(&[number.as_ptr(), reason.as_ptr()]) {
        // SAFETY: attached; called with (errno, message) OSError picks its subclass.
        unsafe { ffi::PyErr_SetObject(ffi::PyExc_OSError, args.as_ptr()) }
    }
    Raised
}

/// Run `body` with the pending exception, if there is one, put aside.
pub(crate) fn with_raised_aside<R>(body: impl FnOnce() -> R) -> R {
    let pending = if raised() { take_raised() } else { None };
    let result = body();
    if let Some(pending) = pending {
        raise_exception(&pending);
    }
    result
}

/// Forget the pending exception.
pub(crate) fn clear_raised() {
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() }
}

/// Whether a trial of what the interpreter is built like went well. One that raised did not.
pub(crate) fn went_well(trial: Result<bool>) -> bool {
    trial.unwrap_or_else(|Raised| {
        clear_raised();
        false
    })
}

/// Raise an exception object.
pub(crate) fn raise_exception(exception: &Obj) -> Raised {
    // SAFETY: attached; SetObject takes its own counts, and keeps the exception's own traceback.
    unsafe { ffi::PyErr_SetObject(exception.type_ptr().cast(), exception.as_ptr()) }
    Raised
}

/// Whether an exception is being handled: what is raised now gets it as its context.
pub(crate) fn handles_one() -> bool {
    // SAFETY: attached; owned, or NULL when nothing is handled, and then nothing is raised.
    unsafe { Ref::from_owned(ffi::PyErr_GetHandledException()) }.is_ok()
}

/// Whether the pending exception is one that must leave the loop: SystemExit or KeyboardInterrupt.
pub(crate) fn raised_to_leave() -> bool {
    // SAFETY: attached, and an exception is pending.
    unsafe {
        ffi::PyErr_ExceptionMatches(ffi::PyExc_SystemExit) != 0
            || ffi::PyErr_ExceptionMatches(ffi::PyExc_KeyboardInterrupt) != 0
    }
}

/// Whether the pending exception is NotImplementedError.
pub(crate) fn raised_not_implemented() -> bool {
    // SAFETY: attached, and an exception is pending.
    unsafe { ffi::PyErr_ExceptionMatches(ffi::PyExc_NotImplementedError) != 0 }
}

/// Report the pending exception to `sys.unraisablehook`, where there is nobody to raise it to.
pub(crate) fn write_unraisable(place: &Obj) {
    // SAFETY: attached.
    unsafe { ffi::PyErr_WriteUnraisable(place.as_ptr()) }
}

/// Whether the pending exception is of this class, or of one in this tuple.
pub(crate) fn raised_matches(kinds: &Obj) -> bool {
    // SAFETY: attached, and an exception is pending.
    unsafe { ffi::PyErr_ExceptionMatches(kinds.as_ptr()) != 0 }
}

/// Whether the pending exception is an Exception: not one of those that end tasks and programs.
pub(crate) fn raised_ordinary() -> bool {
    // SAFETY: attached, and an exception is pending.
    unsafe { ffi::PyErr_ExceptionMatches(ffi::PyExc_Exception) != 0 }
}
