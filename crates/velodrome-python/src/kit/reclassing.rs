//! Objects become instances of a subclass that adds methods and nothing else.
//!
//! `object.__class__ = …` does it, at a price on Python 3.13 and later: since another class has other keys for its
//! instances, the attributes move from the object into a dict of their own, and from then on the interpreter looks into
//! that dict for the name of each method that is called: 260 instructions instead of 30. Where both classes have the same
//! keys nothing needs to move.

use std::ffi::c_ulong;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;

use super::names::{Name, Once};
use super::object::{Obj, Ref, Result, none, string, went_well};
use super::shared_keys::{Keys, Values, is_as_known, make_class};

/// Whether it is to be done as it was tried: not in a test of what happens elsewhere.
static KNOWN: AtomicBool = AtomicBool::new(false);

static CLASS: Name = Name::new("__class__");

/// Let the instances of `subclass` have the keys of `base`, before there is one, where that is known to work. Both classes
/// live for ever.
pub(super) fn share_keys(subclass: &Obj, base: &Obj) {
    static WORKS: Once<bool> = Once::new();
    if WORKS.get().is_none() {
        WORKS.set(cfg!(all(Py_3_13, not(Py_GIL_DISABLED))) && went_well(tried()));
    }
    if WORKS.get() == Some(&true) {
        give_keys(subclass, base);
    }
}

fn give_keys(subclass: &Obj, base: &Obj) {
    let keys = Keys::of_class(base);
    if let Some(count) = keys.count().filter(|_| keep_attributes_alike(subclass, base)) {
        // SAFETY: `count` is that of the keys' owners, of whom there is one more now; both are heap types with keys. Those
        // that the subclass had are left alone: nothing public lets go of them.
        unsafe {
            *count += 1;
            (*subclass.as_ptr().cast::<ffi::PyHeapTypeObject>()).ht_cached_keys = keys.as_ptr();
        }
    }
}

/// Whether two classes have keys, and instances that have everything in one place: the same size and, by their flags,
/// dicts, values and weak references kept in the same way.
fn keep_attributes_alike(one: &Obj, other: &Obj) -> bool {
    if [one, other].map(Keys::of_class).contains(&Keys::NONE) {
        return false;
    }
    let kept = |class: &Obj| {
        let class = class.as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: what has keys is a live type.
        unsafe { ((*class).tp_basicsize, (*class).tp_flags & KEPT) }
    };
    kept(one) == kept(other)
}

/// `Py_TPFLAGS_INLINE_VALUES`, `Py_TPFLAGS_MANAGED_WEAKREF` and `Py_TPFLAGS_MANAGED_DICT`.
const KEPT: c_ulong = 0b1_1100;

/// `object.__class__ = subclass`
pub(crate) fn become_instance(object: &Obj, subclass: &Obj) -> Result<()> {
    if KNOWN.load(Ordering::Relaxed) && shares_keys(subclass, object.type_ptr()) {
        set_class(object, subclass);
        return Ok(());
    }
    object.set_plainly(CLASS.get()?, subclass)
}

/// Whether a class is a direct subclass with the same keys.
fn shares_keys(subclass: &Obj, base: *mut ffi::PyTypeObject) -> bool {
    let keys = Keys::of_class(subclass);
    // SAFETY: classes with keys are types; the base of one that is alive is alive.
    keys != Keys::NONE
        && unsafe {
            (*subclass.as_ptr().cast::<ffi::PyTypeObject>()).tp_base == base
                && Keys::of_class(Obj::from_ptr(base.cast())) == keys
        }
}

fn set_class(object: &Obj, subclass: &Obj) {
    let subclass = subclass.to_ref();
    // SAFETY: a live object and a live heap type of the same layout. Each instance owns a count of its class: the one
    // taken here goes to the object, and the object's of its old class is dropped.
    let before = unsafe {
        let before = Ref::from_owned((*object.as_ptr()).ob_type.cast());
        (*object.as_ptr()).ob_type = subclass.into_ptr().cast();
        before
    };
    drop(before);
}

/// As if classes were built otherwise.
pub(crate) fn unlearn() {
    KNOWN.store(false, Ordering::Relaxed);
}

/// Believe it: only classes for which [`share_keys`] saw it work are affected.
pub(crate) fn learn() {
    KNOWN.store(true, Ordering::Relaxed);
}

/// A class, a subclass, and an instance of the one that becomes one of the other.
fn tried() -> Result<bool> {
    let (base, other) = (make_class(None)?, string("other")?);
    let subclass = make_class(Some(&base))?;
    let (moved, stays, name) = (base.call(&[])?, base.call(&[])?, string("name")?);
    moved.setattr(&name, &base)?;
    stays.setattr(&name, &subclass)?;
    if !counts_owners(&Keys::of_class(&base), &stays)? {
        return Ok(false);
    }
    give_keys(&subclass, &base);
    if !shares_keys(&subclass, base.as_ptr().cast()) {
        return Ok(false);
    }
    set_class(&moved, &subclass);
    moved.setattr(&other, &none())?;
    let dict = moved.instance_dict()?;
    // SAFETY: a dict, whose fields were found in their places.
    let values = unsafe { is_as_known(&dict, 2).then(|| Values::of_known(&dict)).flatten() };
    Ok(moved.type_ptr() == subclass.as_ptr().cast()
        && moved.getattr(&name)?.is(&base)
        && moved.getattr(&other)?.is_none()
        && stays.getattr(&name)?.is(&subclass)
        && !stays.has_attribute(&other)
        && values.is_some_and(|values| values.keys() == Keys::of_class(&base)))
}

/// Whether the keys' first word counts who has them: a dict made for an instance is one more.
fn counts_owners(keys: &Keys, instance: &Obj) -> Result<bool> {
    let Some(count) = keys.count() else { return Ok(false) };
    // SAFETY: keys of a live class, whose first word is only read.
    let before = unsafe { count.read() };
    let _dict = instance.instance_dict()?;
    // SAFETY: as above.
    Ok(unsafe { count.read() } == before + 1)
}
