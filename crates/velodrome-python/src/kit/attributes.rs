//! Attributes of Python's own objects, read from the dict of the instance.
//!
//! A look-up in a dict whose keys are shared between instances compares its way to the key, 110 instructions, and a
//! message through a stream makes some twenty of them. Instances of one class mostly have their attributes in one
//! order, though: the place at which the last dict had the name is looked at first, with `PyDict_Next`, which shows the
//! key that is there. A name is interned, so the same key is the same object, and what stands beside it is the value.

use std::cell::Cell;
use std::ptr;

use pyo3::ffi;

use super::names::Name;
use super::object::{Obj, Ref, Result, dict_get, dict_set};

/// The name of an attribute, and where it was found last.
pub(crate) struct Attribute {
    name: Name,
    /// A position of `PyDict_Next`, whatever that counts.
    place: Cell<isize>,
    /// How often it was not there.
    missed: Cell<u32>,
}

// SAFETY: touched attached to the interpreter only, whose lock serialises that.
unsafe impl Sync for Attribute {}

/// Where instances have no order in common, to look for the place each time would cost more than it saves.
const PATIENCE: u32 = 16;

impl Attribute {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name: Name::new(name), place: Cell::new(0), missed: Cell::new(0) }
    }

    pub(crate) fn name(&self) -> Result<&Obj> {
        self.name.get()
    }

    /// `vars(object).get(name)`
    #[inline]
    pub(crate) fn of(&self, dict: &Obj) -> Result<Option<Ref>> {
        let name = self.name.get()?;
        let mut place = self.place.get();
        match next(dict, &mut place) {
            Some((key, value)) if key == name.as_ptr() => {
                // SAFETY: the dict holds it, and nothing has run since.
                Ok(Some(unsafe { Obj::from_ptr(value) }.to_ref()))
            }
            _ => self.look_up(dict, name),
        }
    }

    #[cold]
    fn look_up(&self, dict: &Obj, name: &Obj) -> Result<Option<Ref>> {
        let missed = self.missed.get();
        self.missed.set(missed.wrapping_add(1));
        if missed.is_multiple_of(PATIENCE) {
            self.learn(dict, name);
        }
        dict_get(dict, name)
    }

    fn learn(&self, dict: &Obj, name: &Obj) {
        let (mut place, mut following) = (0, 0);
        while let Some((key, _)) = next(dict, &mut following) {
            if key == name.as_ptr() {
                return self.place.set(place);
            }
            place = following;
        }
    }
}

/// An object's own attributes, read from its dict: to ask the object is to ask its classes first.
pub(crate) struct Attributes<'a> {
    object: &'a Obj,
    dict: Ref,
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(object: &'a Obj) -> Result<Self> {
        Ok(Self { object, dict: object.instance_dict()? })
    }

    pub(crate) fn object(&self) -> &'a Obj {
        self.object
    }

    pub(crate) fn get(&self, attribute: &Attribute) -> Result<Ref> {
        match attribute.of(&self.dict)? {
            Some(found) => Ok(found),
            // Missing, or a class attribute: asyncio would say so.
            None => self.object.getattr(attribute.name()?),
        }
    }

    pub(crate) fn set(&self, attribute: &Attribute, value: &Obj) -> Result<()> {
        dict_set(&self.dict, attribute.name()?, value)
    }

    pub(crate) fn has(&self, name: &Obj) -> Result<bool> {
        Ok(dict_get(&self.dict, name)?.is_some())
    }
}

/// The entry at a place, which moves on to the next; None behind the last.
#[inline]
fn next(dict: &Obj, place: &mut isize) -> Option<(*mut ffi::PyObject, *mut ffi::PyObject)> {
    let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: alive, and if it is no dict there is no entry; any place will do; borrowed references.
    let more = unsafe { ffi::PyDict_Next(dict.as_ptr(), place, &raw mut key, &raw mut value) };
    (more != 0).then_some((key, value))
}
