//! Weak references: to know an object again without keeping it.

use std::ptr;

use pyo3::ffi;

use super::object::{Obj, Ref, Result};

/// `weakref.ref(object)`.
pub(crate) fn reference(object: &Obj) -> Result<Ref> {
    // SAFETY: alive; attached; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyWeakref_NewRef(object.as_ptr(), ptr::null_mut())) }
}

/// `weakref.ref(object, callback)`.
pub(crate) fn reference_with(object: &Obj, callback: &Obj) -> Result<Ref> {
    // SAFETY: both are alive; attached; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyWeakref_NewRef(object.as_ptr(), callback.as_ptr())) }
}

/// The object that `reference` refers to, if it lives. None as well for anything that is no weak reference.
pub(crate) fn referent(reference: &Obj) -> Option<Ref> {
    let mut found = ptr::null_mut();
    // SAFETY: alive; attached; the result is an owned reference, or NULL.
    unsafe {
        if ffi::PyWeakref_CheckRef(reference.as_ptr()) == 0 {
            return None;
        }
        ffi::compat::PyWeakref_GetRef(reference.as_ptr(), &raw mut found);
        Ref::from_owned(found).ok()
    }
}
