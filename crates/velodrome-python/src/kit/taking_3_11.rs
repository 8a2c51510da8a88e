//! Taking the pending exception in Python 3.11, which keeps it in three parts.

use std::ptr;

use pyo3::ffi;

use super::object::{Raised, Ref};

/// See the other file.
pub(crate) const FALSY_LINES_ARE_NONE: bool = false;

/// Take the exception out of the error indicator, complete with its traceback.
pub(crate) fn take_raised() -> Option<Ref> {
    let (mut kind, mut value, mut traceback) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: attached; Fetch gives three owned references or NULLs, Normalize replaces them in place.
    unsafe {
        ffi::PyErr_Fetch(&raw mut kind, &raw mut value, &raw mut traceback);
        if kind.is_null() {
            return None;
        }
        ffi::PyErr_NormalizeException(&raw mut kind, &raw mut value, &raw mut traceback);
        if !traceback.is_null() && !value.is_null() {
            ffi::PyException_SetTraceback(value, traceback);
        }
        ffi::Py_XDECREF(kind);
        ffi::Py_XDECREF(traceback);
        Ref::from_owned(value).ok()
    }
}

/// See the other file.
pub(super) fn raise_taken(exception: Ref) -> Raised {
    let kind = exception.type_ptr();
    // SAFETY: attached; both counts are taken over, the type's is made here.
    unsafe {
        ffi::Py_INCREF(kind.cast());
        ffi::PyErr_Restore(kind.cast(), exception.into_ptr(), ptr::null_mut());
    }
    Raised
}
