//! Where versions differ, as Python 3.12 and later do it: taking the pending exception, and a quirk.

use pyo3::ffi;

use super::object::{Raised, Ref};

/// `writelines` asks for the truth of its argument first, so None is no lines (3.11 joins it and raises).
pub(crate) const FALSY_LINES_ARE_NONE: bool = true;

/// Take the exception out of the error indicator, complete with its traceback.
pub(crate) fn take_raised() -> Option<Ref> {
    // SAFETY: attached; owned, or NULL when nothing is pending.
    unsafe { Ref::from_owned(ffi::PyErr_GetRaisedException()) }.ok()
}

/// Raise an exception object as it is: no context is added to it.
pub(super) fn raise_taken(exception: Ref) -> Raised {
    // SAFETY: attached; the count is taken over.
    unsafe { ffi::PyErr_SetRaisedException(exception.into_ptr()) }
    Raised
}
