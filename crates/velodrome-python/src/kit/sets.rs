//! `set` objects of Python.

use pyo3::ffi;

use super::object::{Obj, Result, status};

/// Whether this is a `set` itself: no code of a subclass is passed by.
pub(crate) fn is_exact_set(object: &Obj) -> bool {
    // SAFETY: alive; looks only at the type.
    unsafe { ffi::PySet_CheckExact(object.as_ptr()) != 0 }
}

/// `set.add(item)`.
pub(crate) fn add(set: &Obj, item: &Obj) -> Result<()> {
    // SAFETY: both are alive; anything but a set raises; attached.
    status(unsafe { ffi::PySet_Add(set.as_ptr(), item.as_ptr()) })
}

/// `set.discard(item)`.
pub(crate) fn discard(set: &Obj, item: &Obj) -> Result<()> {
    // SAFETY: both are alive; anything but a set raises; attached.
    status(unsafe { ffi::PySet_Discard(set.as_ptr(), item.as_ptr()) })
}
