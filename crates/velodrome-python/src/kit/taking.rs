//! Taking the pending exception, as Python 3.12 and later do it.

use pyo3::ffi;

use super::object::Ref;

/// Take the exception out of the error indicator, complete with its traceback.
pub(crate) fn take_raised() -> Option<Ref> {
    // SAFETY: attached; owned, or NULL when nothing is pending.
    unsafe { Ref::from_owned(ffi::PyErr_GetRaisedException()) }.ok()
}
