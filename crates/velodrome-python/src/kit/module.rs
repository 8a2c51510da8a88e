//! Between PyO3's module set-up and the kit.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyAny;

use super::object::{Obj, Ref, Result};

impl Obj {
    /// A PyO3 reference, seen as the kit's.
    pub(crate) fn of<'a>(object: &'a Bound<'_, PyAny>) -> &'a Self {
        // SAFETY: a Bound keeps its object alive for as long as it is borrowed.
        unsafe { Self::from_ptr(object.as_ptr()) }
    }
}

/// Whether this is the interpreter that the process began with. Python 3.11 lends a module to others without asking it.
pub(crate) fn in_main_interpreter() -> bool {
    // SAFETY: attached to an interpreter.
    unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() }
}

/// A type's name in the module, and what makes it.
pub(crate) type TypeEntry = (&'static str, fn() -> Result<Ref>);

/// Make each type and add it to the module, but for those that this Python has no base for: they are None.
pub(crate) fn install<const N: usize>(module: &Bound<'_, PyModule>, types: [TypeEntry; N]) -> PyResult<()> {
    for (name, make) in types {
        let made = make().map_err(|_| PyErr::fetch(module.py()))?;
        if made.is_none() {
            continue;
        }
        // SAFETY: an owned reference, given away here.
        let made = unsafe { Bound::from_owned_ptr(module.py(), made.into_ptr()) };
        module.add(name, made)?;
    }
    Ok(())
}
