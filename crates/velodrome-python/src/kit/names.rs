//! Names and objects of the standard library that native code uses, looked up once per process.

use std::cell::OnceCell;

use pyo3::ffi;

use super::object::{Obj, Ref, Result};

/// An attribute name, interned, for as long as the process lives.
pub(crate) struct Name(OnceCell<Ref>, &'static str);

// SAFETY: made and read attached to the interpreter only, whose lock serialises that; the module declares that it
// needs the lock.
unsafe impl Sync for Name {}

impl Name {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self(OnceCell::new(), text)
    }

    pub(crate) fn get(&self) -> Result<&Obj> {
        if let Some(name) = self.0.get() {
            return Ok(name);
        }
        let made = super::object::interned(self.1)?;
        Ok(self.0.get_or_init(|| made))
    }
}

/// An attribute of a module, imported at first use.
pub(crate) struct Imported(OnceCell<Ref>, &'static str, &'static str);

// SAFETY: as for Name.
unsafe impl Sync for Imported {}

impl Imported {
    pub(crate) const fn new(module: &'static str, attribute: &'static str) -> Self {
        Self(OnceCell::new(), module, attribute)
    }

    pub(crate) fn get(&self) -> Result<&Obj> {
        if let Some(found) = self.0.get() {
            return Ok(found);
        }
        let module = super::object::string(self.1)?;
        // SAFETY: attached; owned or NULL.
        let module = unsafe { Ref::from_owned(ffi::PyImport_Import(module.as_ptr()))? };
        let found = module.getattr(&*super::object::string(self.2)?)?;
        Ok(self.0.get_or_init(|| found))
    }
}

/// A value that is found out once per process.
pub(crate) struct Once<T>(OnceCell<T>);

// SAFETY: as for Name.
unsafe impl<T> Sync for Once<T> {}

impl<T> Once<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceCell::new())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Only the first one counts.
    pub(crate) fn set(&self, value: T) {
        let _ = self.0.set(value);
    }
}
