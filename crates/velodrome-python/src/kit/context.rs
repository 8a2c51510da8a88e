//! contextvars: every callback runs in the context it was scheduled with.

use pyo3::ffi;

use super::object::{Obj, Ref, Result, status};

/// `contextvars.copy_context()`.
pub(crate) fn copy_current() -> Result<Ref> {
    // SAFETY: attached; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyContext_CopyCurrent()) }
}

/// `context.copy()`.
pub(crate) fn copy(context: &Obj) -> Result<Ref> {
    // SAFETY: attached; anything but a Context raises; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyContext_Copy(context.as_ptr())) }
}

/// Whether this is a real Context, which C can enter; anything else is called through its `run`.
pub(crate) fn is_context(object: &Obj) -> bool {
    // SAFETY: alive; looks only at the type.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}

/// Run `body` inside `context`. Raises if the context is entered already.
pub(crate) fn within<R>(context: &Obj, body: impl FnOnce() -> Result<R>) -> Result<R> {
    // SAFETY: checked to be a Context by who stored it, or refused by Enter with a TypeError.
    status(unsafe { ffi::PyContext_Enter(context.as_ptr()) })?;
    let result = body();
    // SAFETY: entered above. Exit fails only for a context that is not the current one, and body restored it.
    let exited = unsafe { ffi::PyContext_Exit(context.as_ptr()) };
    if result.is_ok() {
        status(exited)?;
    }
    result
}
