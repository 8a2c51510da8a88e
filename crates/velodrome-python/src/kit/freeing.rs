//! How objects of native types end: what they hold, their memory, and chains of them.

use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::ffi;
use velodrome_engine::census;

use super::object::Obj;
use super::types::{Native, name_of, value_ptr};

/// Deeper than this, objects wait until those that hold them are gone: a chain of handles, each the argument of the
/// next, must not exhaust the stack. CPython's own limit is of this order.
const DEEPEST: usize = 50;

/// An object whose last reference is gone, and what frees it.
type Doomed = (*mut ffi::PyObject, unsafe fn(*mut ffi::PyObject));

/// The chain that is being freed. One for all threads: another one may come in between, when freeing runs Python code,
/// and counts on; whoever is the last to leave frees what was put off.
struct Chain {
    depth: Cell<usize>,
    doomed: Cell<Vec<Doomed>>,
}

// SAFETY: touched attached to the interpreter only, whose lock serialises that.
unsafe impl Sync for Chain {}

static CHAIN: Chain = Chain { depth: Cell::new(0), doomed: Cell::new(Vec::new()) };

#[cold]
fn put_off(doomed: Doomed) {
    let mut all = CHAIN.doomed.take();
    all.push(doomed);
    CHAIN.doomed.set(all);
}

impl Chain {
    fn next_doomed(&self) -> Option<Doomed> {
        let mut all = self.doomed.take();
        let last = all.pop();
        self.doomed.set(all);
        last
    }
}

pub(super) unsafe extern "C" fn tp_dealloc<T: Native>(object: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter for the last reference; the finalizer sees the object whole.
    unsafe {
        if T::FINALIZE && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
    }
    if !T::CHAINS {
        // SAFETY: as above.
        return unsafe { free_up::<T>(object) };
    }
    if CHAIN.depth.get() >= DEEPEST {
        return put_off((object, free_up::<T>));
    }
    CHAIN.depth.set(CHAIN.depth.get() + 1);
    // SAFETY: as above; what was put off went through the same.
    unsafe {
        free_up::<T>(object);
        while CHAIN.depth.get() == 1
            && let Some((object, free)) = CHAIN.next_doomed()
        {
            free(object);
        }
    }
    CHAIN.depth.set(CHAIN.depth.get() - 1);
}

/// The order is that of CPython's subtype_dealloc: weak references, dict, value, memory, and the count that heap objects
/// hold on their type.
unsafe fn free_up<T: Native>(object: *mut ffi::PyObject) {
    // SAFETY: from tp_dealloc: the last reference is gone, and the collector has let go.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        if has_weak_references(object) {
            ffi::PyObject_ClearWeakRefs(object);
        }
        if (*kind).tp_dictoffset > 0 {
            let dict = object.byte_offset((*kind).tp_dictoffset).cast::<*mut ffi::PyObject>();
            let found = ptr::replace(dict, ptr::null_mut());
            ffi::Py_XDECREF(found);
        }
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let value = value_ptr::<T>(object);
            (*value).ends();
            ptr::drop_in_place(value);
        }));
        census::died(name_of::<T>());
        if let Some(spare) = T::spare().filter(|_| kind == T::layout().type_ptr())
            && spare.keep(object)
        {
            // `new_untracked` takes it out again.
        } else if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

/// # Safety
/// The object is alive, or on its way out.
unsafe fn has_weak_references(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's promise; the type says where the list lies.
    unsafe {
        // Negative where the interpreter manages the list (3.12 and later), as asyncio.Handle has it. NULL until used.
        let list = (*ffi::Py_TYPE(object)).tp_weaklistoffset;
        list != 0 && !(*object.byte_offset(list).cast::<*mut ffi::PyObject>()).is_null()
    }
}

/// Whether nobody but the owner of one reference can reach an object: not by a reference, not by a weak one, and not
/// through the collector. Never on a free-threaded build, where a count of one says less.
///
/// Elsewhere one is one, also since Python 3.14 has variables on its stack without a count of their own: the variable has
/// one for as long, and if it is written to meanwhile (`f_locals`), its frame keeps that.
pub(super) fn is_unreachable_but_for_one(object: &Obj) -> bool {
    // SAFETY: alive.
    unsafe {
        !cfg!(Py_GIL_DISABLED)
            && object.count() == 1
            && !has_weak_references(object.as_ptr())
            && ffi::PyObject_GC_IsTracked(object.as_ptr()) == 0
    }
}

/// Memory of objects of one type that are gone, to be used for the next ones: as CPython does for the objects that it
/// makes most. All that is kept in it is the collector's head, which says that the object is not tracked.
pub(crate) struct Spare {
    kept: UnsafeCell<[*mut ffi::PyObject; SPARE]>,
    count: Cell<usize>,
}

/// As many as are in a busy loop at a time; 64 handles are 7 KiB.
const SPARE: usize = 64;

// SAFETY: touched attached to the interpreter only, whose lock serialises that.
unsafe impl Sync for Spare {}

impl Spare {
    pub(crate) const fn new() -> Self {
        Self { kept: UnsafeCell::new([ptr::null_mut(); SPARE]), count: Cell::new(0) }
    }

    pub(super) fn take(&self) -> Option<*mut ffi::PyObject> {
        let count = self.count.get().checked_sub(1)?;
        self.count.set(count);
        // SAFETY: no reference into the array outlives a method; count is below its length.
        Some(unsafe { (*self.kept.get())[count] })
    }

    fn keep(&self, object: *mut ffi::PyObject) -> bool {
        let count = self.count.get();
        if count < SPARE {
            // SAFETY: as in take.
            unsafe { (*self.kept.get())[count] = object };
            self.count.set(count + 1);
        }
        count < SPARE
    }
}
