//! Attributes of Python's own objects, read from the dict of the instance.
//!
//! A look-up in a dict whose keys are shared between instances compares its way to the key, 110 instructions, and a
//! message through a stream makes some twenty of them. Where the keys are those that a class keeps for its instances, the
//! value is read by its index ([`shared_keys`](super::shared_keys)). Else instances of one class mostly have their
//! attributes in one order: the place at which the last dict had the name is looked at first, with `PyDict_Next`, which
//! shows the key that is there. A name is interned, so the same key is the same object, and what stands beside it is the
//! value.

use std::cell::Cell;
use std::ptr;

use pyo3::ffi;

use super::names::{Imported, Name};
use super::object::{Obj, Ref, Result, dict_get, dict_set};
use super::shared_keys::{Keys, Values};

/// The name of an attribute, and where it was found last.
pub(crate) struct Attribute {
    name: Name,
    /// Whose instances mostly have it.
    class: &'static Imported,
    /// The class's keys, if the index is known.
    keys: Cell<Keys>,
    index: Cell<usize>,
    /// A position of `PyDict_Next`, whatever that counts.
    place: Cell<isize>,
    /// How often it had to be searched for.
    searched: Cell<u32>,
    /// How often it was not in its place.
    missed: Cell<u32>,
}

// SAFETY: touched attached to the interpreter only, whose lock serialises that.
unsafe impl Sync for Attribute {}

/// Where instances have no order in common, to look for the place each time would cost more than it saves.
const PATIENCE: u32 = 16;

impl Attribute {
    pub(crate) const fn new(class: &'static Imported, name: &'static str) -> Self {
        Self {
            name: Name::new(name),
            class,
            keys: Cell::new(Keys::NONE),
            index: Cell::new(0),
            place: Cell::new(0),
            searched: Cell::new(0),
            missed: Cell::new(0),
        }
    }

    pub(crate) fn name(&self) -> Result<&Obj> {
        self.name.get()
    }

    /// `vars(object).get(name)`
    #[inline]
    pub(crate) fn of(&self, dict: &InstanceDict) -> Result<Option<Ref>> {
        match self.by_index(dict) {
            Some(found) => Ok(Some(found)),
            None => self.search(dict),
        }
    }

    #[inline]
    fn by_index(&self, dict: &InstanceDict) -> Option<Ref> {
        // SAFETY: the index is that of these keys, which live as long as the class: for ever, `Imported` keeps it.
        unsafe { self.values(dict)?.get(self.index.get()) }
    }

    /// What is to be recognized and not to be kept: None, True, False.
    #[inline]
    fn peek(&self, dict: &InstanceDict) -> Option<*mut ffi::PyObject> {
        // SAFETY: as above.
        unsafe { self.values(dict)?.peek(self.index.get()) }
    }

    #[inline]
    fn values<'a>(&self, dict: &'a InstanceDict) -> Option<Values<'a>> {
        dict.values().filter(|values| values.keys() == self.keys.get())
    }

    #[inline(never)]
    fn search(&self, dict: &InstanceDict) -> Result<Option<Ref>> {
        let searched = self.searched.get();
        self.searched.set(searched.wrapping_add(1));
        if searched.is_multiple_of(PATIENCE) {
            self.learn_index(dict)?;
        }
        let (dict, name) = (&*dict.0, self.name.get()?);
        let mut place = self.place.get();
        match next(dict, &mut place) {
            Some((key, value)) if key == name.as_ptr() => {
                // SAFETY: the dict holds it, and nothing has run since.
                Ok(Some(unsafe { Obj::from_ptr(value) }.to_ref()))
            }
            _ => self.look_up(dict, name),
        }
    }

    fn learn_index(&self, dict: &InstanceDict) -> Result<()> {
        let keys = Keys::of_class(self.class.get()?);
        let Some(values) = dict.values().filter(|values| values.keys() == keys) else { return Ok(()) };
        if let Some(index) = values.index_of(self.name.get()?)? {
            self.index.set(index);
            self.keys.set(keys);
        }
        Ok(())
    }

    #[cold]
    fn look_up(&self, dict: &Obj, name: &Obj) -> Result<Option<Ref>> {
        let missed = self.missed.get();
        self.missed.set(missed.wrapping_add(1));
        if missed.is_multiple_of(PATIENCE) {
            self.learn_place(dict, name);
        }
        dict_get(dict, name)
    }

    fn learn_place(&self, dict: &Obj, name: &Obj) {
        let (mut place, mut following) = (0, 0);
        while let Some((key, _)) = next(dict, &mut following) {
            if key == name.as_ptr() {
                return self.place.set(place);
            }
            place = following;
        }
    }
}

/// `vars(object)`
pub(crate) struct InstanceDict(Ref);

impl InstanceDict {
    /// TypeError if it has none.
    pub(crate) fn of(object: &Obj) -> Result<Self> {
        object.instance_dict().map(Self)
    }

    #[inline]
    fn values(&self) -> Option<Values<'_>> {
        // SAFETY: what an object has for this is a dict, or of a subclass.
        unsafe { Values::of(&self.0) }
    }
}

/// An object's own attributes, read from its dict: to ask the object is to ask its classes first.
pub(crate) struct Attributes<'a> {
    object: &'a Obj,
    dict: InstanceDict,
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(object: &'a Obj) -> Result<Self> {
        Ok(Self { object, dict: InstanceDict::of(object)? })
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

    /// None for Python's None, too.
    #[inline]
    pub(crate) fn get_unless_none(&self, attribute: &Attribute) -> Result<Option<Ref>> {
        // SAFETY: a constant of the interpreter.
        if attribute.peek(&self.dict) == Some(unsafe { ffi::Py_None() }) {
            return Ok(None);
        }
        self.get(attribute).map(|value| (!value.is_none()).then_some(value))
    }

    /// `bool(object.name)`
    #[inline]
    pub(crate) fn is_true(&self, attribute: &Attribute) -> Result<bool> {
        // SAFETY: constants of the interpreter.
        let (no, yes) = unsafe { (ffi::Py_False(), ffi::Py_True()) };
        match attribute.peek(&self.dict) {
            Some(value) if value == no => Ok(false),
            Some(value) if value == yes => Ok(true),
            _ => self.get(attribute)?.is_true(),
        }
    }

    pub(crate) fn set(&self, attribute: &Attribute, value: &Obj) -> Result<()> {
        dict_set(&self.dict.0, attribute.name()?, value)
    }

    pub(crate) fn has(&self, name: &Obj) -> Result<bool> {
        Ok(dict_get(&self.dict.0, name)?.is_some())
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
