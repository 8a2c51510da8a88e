//! Bound methods, taken apart: what nearly every callback is.

use pyo3::ffi;

use super::object::Obj;

// The crate of declarations leaves these out: https://docs.python.org/3/c-api/method.html
unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Function(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
    fn PyMethod_Self(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// The function and the object of a bound method, borrowed from it; None for anything else.
#[inline]
pub(super) fn parts(object: &Obj) -> Option<(*mut ffi::PyObject, *mut ffi::PyObject)> {
    if object.type_ptr() != &raw mut PyMethod_Type {
        return None;
    }
    // SAFETY: an exact bound method, alive; both are set when it is made and never changed.
    Some(unsafe { (PyMethod_Function(object.as_ptr()), PyMethod_Self(object.as_ptr())) })
}
