//! The dict of an instance whose class keeps the keys for all its instances (PEP 412): the values stand in an array, in
//! the order of those keys, which never changes. Who knows a name's index needs no look-up.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;

use super::object::{Obj, Ref, Result, dict_get, none, string, tuple, went_well};

/// Whether this interpreter's dicts were seen to be what they are taken for.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// Where a `PyDictValues` has its values: since Python 3.13 they stand behind four numbers of a byte each, of which the first
/// is how many there is room for, the second how many there are.
const VALUES_AT: usize = if cfg!(Py_3_13) { size_of::<*mut ffi::PyObject>() } else { 0 };

/// No class keeps more keys (`SHARED_KEYS_MAX_SIZE`).
const MOST: usize = 30;

/// What a class keeps for its instances. Nobody needs to know what is in it, but for [`Self::count`].
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct Keys(*mut c_void);

impl Keys {
    /// What no dict has.
    pub(crate) const NONE: Self = Self(std::ptr::null_mut());

    /// Of the instances of a class that was made at run time; any other has none.
    pub(crate) fn of_class(class: &Obj) -> Self {
        // SAFETY: alive; the flags say whether it is a type, and of which kind.
        let is_heap_type = unsafe {
            ffi::PyType_Check(class.as_ptr()) != 0
                && ffi::PyType_HasFeature(class.as_ptr().cast(), ffi::Py_TPFLAGS_HEAPTYPE) != 0
        };
        if !is_heap_type {
            return Self::NONE;
        }
        // SAFETY: a live heap type.
        Self(unsafe { (*class.as_ptr().cast::<ffi::PyHeapTypeObject>()).ht_cached_keys })
    }

    pub(super) fn as_ptr(self) -> *mut c_void {
        self.0
    }

    /// Where it is counted who has them, on Python 3.13 and later: in their first word. None if there are no keys.
    pub(super) fn count(self) -> Option<*mut ffi::Py_ssize_t> {
        (self != Self::NONE).then_some(self.0.cast())
    }
}

/// The values of such a dict.
pub(crate) struct Values<'a> {
    dict: &'a Obj,
    keys: Keys,
    first: *mut *mut ffi::PyObject,
}

impl<'a> Values<'a> {
    /// None for a dict that has keys of its own, or if nothing is known of dicts here.
    ///
    /// # Safety
    /// `dict` is a dict.
    #[inline]
    pub(super) unsafe fn of(dict: &'a Obj) -> Option<Self> {
        if !KNOWN.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the caller's promise; the layout was tried.
        unsafe { Self::of_known(dict) }
    }

    /// # Safety
    /// `dict` is a dict, of the layout that is known.
    #[inline]
    pub(super) unsafe fn of_known(dict: &'a Obj) -> Option<Self> {
        let object = dict.as_ptr().cast::<ffi::PyDictObject>();
        // SAFETY: the caller's promise.
        let (keys, values) = unsafe { ((*object).ma_keys, (*object).ma_values) };
        let first = values.cast::<u8>().wrapping_add(VALUES_AT).cast();
        (!values.is_null()).then_some(Self { dict, keys: Keys(keys.cast()), first })
    }

    #[inline]
    pub(crate) fn keys(&self) -> Keys {
        self.keys
    }

    /// The value at an index; None if this instance lacks the attribute.
    ///
    /// # Safety
    /// The index came from [`Self::index_of`] a dict with the same keys, which have lived since.
    #[inline]
    pub(crate) unsafe fn get(&self, index: usize) -> Option<Ref> {
        // SAFETY: the caller's promise; the dict holds what is in it, and nothing runs before it is counted.
        unsafe { self.peek(index) }.map(|value| unsafe { Obj::from_ptr(value) }.to_ref())
    }

    /// The same, not counted: it is there until the dict changes.
    ///
    /// # Safety
    /// As for [`Self::get`].
    #[inline]
    pub(crate) unsafe fn peek(&self, index: usize) -> Option<*mut ffi::PyObject> {
        // SAFETY: an array has room for all names that its keys have or will get, when it is made and ever after.
        let value = unsafe { self.first.add(index).read() };
        (!value.is_null()).then_some(value)
    }

    /// Up to where values stand. Before Python 3.13 nothing says how much room there is, so some may stand behind: where
    /// other instances have more attributes.
    fn room(&self) -> usize {
        if cfg!(Py_3_13) {
            return usize::from(self.numbers()[0]);
        }
        // SAFETY: a live dict.
        unsafe { (*self.dict.as_ptr().cast::<ffi::PyDictObject>()).ma_used }.cast_unsigned()
    }

    /// Of room and of values, on Python 3.13 and later.
    fn numbers(&self) -> [u8; 2] {
        // SAFETY: there are values, and these stand before the first.
        unsafe { self.first.cast::<u8>().sub(VALUES_AT).cast::<[u8; 2]>().read() }
    }

    /// Whether the numbers are what they should be where so many values were set.
    fn is_counted(&self, set: u8) -> bool {
        !cfg!(Py_3_13) || (self.numbers()[1] == set && (usize::from(set)..=MOST).contains(&self.room()))
    }

    /// Where the value of `name` stands. One value may stand in several places, so each is exchanged in turn, to see
    /// whether a look-up meets what was put there.
    pub(crate) fn index_of(&self, name: &Obj) -> Result<Option<usize>> {
        let Some(value) = dict_get(self.dict, name)?.filter(|value| !value.is(self.dict)) else {
            return Ok(None);
        };
        for index in 0..self.room() {
            // SAFETY: not more than there are. The look-up compares strings, so nothing runs that could see the dict in
            // between; who is put there is alive, and not counted.
            let found = unsafe {
                let place = self.first.add(index);
                if place.read() != value.as_ptr() {
                    continue;
                }
                place.write(self.dict.as_ptr());
                let found = dict_get(self.dict, name);
                place.write(value.as_ptr());
                found?
            };
            if found.is_some_and(|found| found.is(self.dict)) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

/// As if dicts were built otherwise.
pub(crate) fn unlearn() {
    KNOWN.store(false, Ordering::Relaxed);
}

/// See it work once. Without the GIL others may change a dict meanwhile.
pub(crate) fn learn() {
    KNOWN.store(!cfg!(Py_GIL_DISABLED) && went_well(tried()), Ordering::Relaxed);
}

/// A class, two instances that got the same attributes in a different order, and all that is believed of them.
fn tried() -> Result<bool> {
    let class = make_class(None)?;
    let (one, other) = (string("one")?, string("other")?);
    let (first, second) = (class.call(&[])?, class.call(&[])?);
    first.setattr(&one, &none())?;
    first.setattr(&other, &none())?;
    second.setattr(&other, &class)?;
    second.setattr(&one, &one)?;
    let (first, second) = (first.instance_dict()?, second.instance_dict()?);
    Ok(is_as_known(&first, 2)
        && is_as_known(&second, 2)
        && holds(&class, &first, &second, &one, &one)?
        && holds(&class, &first, &second, &other, &class)?)
}

/// `type("Sample", bases, {})`
pub(super) fn make_class(base: Option<&Obj>) -> Result<Ref> {
    // SAFETY: the type of all types, which is never freed.
    let type_of_types = unsafe { Obj::from_ptr((&raw mut ffi::PyType_Type).cast()) };
    let bases: Vec<_> = base.iter().map(|base| base.as_ptr()).collect();
    // SAFETY: attached; owned or NULL.
    let namespace = unsafe { Ref::from_owned(ffi::PyDict_New())? };
    type_of_types.call(&[&*string("Sample")?, &*tuple(&bases)?, &*namespace])
}

/// Of a dict with so many entries: whether what is not to be followed is in its place.
pub(super) fn is_as_known(dict: &Obj, entries: ffi::Py_ssize_t) -> bool {
    let object = dict.as_ptr().cast::<ffi::PyDictObject>();
    // SAFETY: a live dict; the size of its type says whether it has the fields, before one is read.
    unsafe {
        (*dict.type_ptr()).tp_basicsize.cast_unsigned() == size_of::<ffi::PyDictObject>()
            && (*object).ma_used == entries
    }
}

/// Whether the index of `name` in the one dict is that of `value` in the other.
fn holds(class: &Obj, learnt: &Obj, asked: &Obj, name: &Obj, value: &Obj) -> Result<bool> {
    // SAFETY: dicts with these fields. That there are values is believed when the keys are the class's.
    let (Some(learnt), Some(asked)) = (unsafe { (Values::of_known(learnt), Values::of_known(asked)) }) else {
        return Ok(false);
    };
    if learnt.keys != asked.keys || learnt.keys != Keys::of_class(class) || !learnt.is_counted(2) {
        return Ok(false);
    }
    // SAFETY: learnt from a dict with the same keys, of a class that is alive.
    Ok(learnt
        .index_of(name)?
        .is_some_and(|index| unsafe { asked.get(index) }.is_some_and(|found| found.is(value))))
}
