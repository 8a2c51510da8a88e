//! contextvars: every callback runs in the context it was scheduled with.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;

use super::object::{Obj, Raised, Ref, Result, clear_raised, none, status};

/// Where in a Context the pointer to its variables lies, in bytes; 0 when not known.
static VARIABLES: AtomicUsize = AtomicUsize::new(0);

/// Where in a thread's state the pointer to its current Context lies, in bytes; 0 when not known.
static CURRENT: AtomicUsize = AtomicUsize::new(0);

/// How much of a thread's state is looked through. The pointer is 208 to 232 bytes in, from Python 3.11 to 3.15; the
/// smallest of these states is 300.
const LOOKED_THROUGH: usize = 256;

/// What a context's variables are kept in: an immutable mapping, which another takes the place of when one is set. Two
/// contexts with the same have the same variables with the same values. None if this interpreter keeps them otherwise.
pub(crate) fn variables(context: &Obj) -> Option<usize> {
    let offset = VARIABLES.load(Ordering::Relaxed);
    // SAFETY: `learn` found the offset within the basicsize of contexts, all of which are of one exact type.
    (offset != 0 && is_context(context)).then(|| unsafe { read(context, offset) })
}

/// The [`variables`] of the context that this thread is in; None if that is not known, or it is in none yet.
pub(crate) fn current_variables() -> Option<usize> {
    let offset = CURRENT.load(Ordering::Relaxed);
    if offset == 0 {
        return None;
    }
    // SAFETY: attached, so there is a state; `learn` found the offset in one, and it holds NULL or a Context, which the
    // state owns.
    let context = unsafe { thread_state(offset).cast::<ffi::PyObject>() };
    let variables = VARIABLES.load(Ordering::Relaxed);
    // SAFETY: as above; `learn` found the second offset in contexts.
    (!context.is_null() && variables != 0).then(|| unsafe { read(Obj::from_ptr(context), variables) })
}

/// A word of this thread's state.
///
/// # Safety
/// Attached; the state is larger than `offset` and a word.
unsafe fn thread_state(offset: usize) -> *mut () {
    // SAFETY: the caller's promise.
    unsafe { ffi::PyThreadState_Get().byte_add(offset).cast::<*mut ()>().read() }
}

/// Forget it, as if this interpreter kept them otherwise.
pub(crate) fn unlearn() {
    VARIABLES.store(0, Ordering::Relaxed);
    CURRENT.store(0, Ordering::Relaxed);
}

/// Find out by looking at contexts how this interpreter keeps their variables, and the current one.
pub(crate) fn learn() {
    for (place, found) in [(&VARIABLES, find_variables()), (&CURRENT, find_current())] {
        match found {
            Ok(found) => place.store(found.unwrap_or(0), Ordering::Relaxed),
            Err(Raised) => clear_raised(),
        }
    }
}

/// The word of the thread's state that points to one context while the thread is in that, and to another one while it
/// is in that.
fn find_current() -> Result<Option<usize>> {
    let (outer, inner) = (copy_current()?, copy_current()?);
    let holding = |context: &Obj| {
        let words = (0..LOOKED_THROUGH).step_by(size_of::<usize>());
        // SAFETY: attached; LOOKED_THROUGH says why that much is there.
        let found = words.filter(|&offset| unsafe { thread_state(offset) } == context.as_ptr().cast());
        found.collect::<Vec<_>>()
    };
    within(&outer, || {
        let before = holding(&outer);
        let nested = within(&inner, || Ok(holding(&inner)))?;
        let known = before.len() == 1 && before == nested && before == holding(&outer);
        Ok(known.then(|| before[0]))
    })
}

/// A word of an object.
///
/// # Safety
/// The object is larger than `offset` and a word.
unsafe fn read(object: &Obj, offset: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { object.as_ptr().byte_add(offset).cast::<usize>().read() }
}

/// The word that is the only thing the collector sees in a context, that changes when a variable is set, and that a
/// copy has in common with its original.
fn find_variables() -> Result<Option<usize>> {
    let context = copy_current()?;
    let Some(offset) = offset_of_only_referent(&context) else { return Ok(None) };
    // SAFETY: offset_of_only_referent returns one within the object; so below, for objects of the same type.
    let word = |context: &Obj| unsafe { read(context, offset) };
    let before = word(&context);
    // SAFETY: attached; owned or NULL.
    let variable =
        unsafe { Ref::from_owned(ffi::PyContextVar_New(c"probe".as_ptr(), std::ptr::null_mut()))? };
    within(&context, || {
        // SAFETY: both are alive; attached; owned or NULL.
        unsafe { Ref::from_owned(ffi::PyContextVar_Set(variable.as_ptr(), none().as_ptr())) }
    })?;
    let known = word(&context) != before
        && offset_of_only_referent(&context) == Some(offset)
        && word(&*copy(&context)?) == word(&context);
    Ok(known.then_some(offset))
}

fn offset_of_only_referent(context: &Obj) -> Option<usize> {
    let referents = referents(context);
    let [only] = referents.as_slice() else { return None };
    // SAFETY: alive; contexts are not of variable size, so basicsize is what they have.
    let size = unsafe { (*context.type_ptr()).tp_basicsize }.cast_unsigned();
    let words = (size_of::<ffi::PyObject>()..size).step_by(size_of::<usize>());
    // SAFETY: within the size.
    let mut found = words.filter(|&offset| unsafe { read(context, offset) } == *only);
    found.next().filter(|_| found.next().is_none())
}

/// The addresses of what an object shows to the collector, as `gc.get_referents`.
fn referents(object: &Obj) -> Vec<usize> {
    unsafe extern "C" fn note(referent: *mut ffi::PyObject, into: *mut c_void) -> c_int {
        // SAFETY: called below with the vector.
        unsafe { (*into.cast::<Vec<usize>>()).push(referent as usize) };
        0
    }
    let mut all = Vec::new();
    // SAFETY: alive; a type's traverse shows each referent to the function, which keeps none.
    unsafe {
        if let Some(traverse) = (*object.type_ptr()).tp_traverse {
            traverse(object.as_ptr(), note, (&raw mut all).cast());
        }
    }
    all
}

/// `contextvars.copy_context()`.
pub(crate) fn copy_current() -> Result<Ref> {
    // SAFETY: attached; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyContext_CopyCurrent()) }
}

/// `context.copy()`.
pub(crate) fn copy(context: &Obj) -> Result<Ref> {
    // SAFETY: attached; anything but a Context raises; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyContext_Copy(context.as_ptr())) }
}

/// Whether this is a real Context, which C can enter; anything else is called through its `run`.
pub(crate) fn is_context(object: &Obj) -> bool {
    // SAFETY: alive; looks only at the type.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}

/// Run `body` inside `context`. Raises if the context is entered already.
pub(crate) fn within<R>(context: &Obj, body: impl FnOnce() -> Result<R>) -> Result<R> {
    // SAFETY: checked to be a Context by who stored it, or refused by Enter with a TypeError.
    status(unsafe { ffi::PyContext_Enter(context.as_ptr()) })?;
    let result = body();
    // SAFETY: entered above. Exit fails only for a context that is not the current one, and body restored it.
    let exited = unsafe { ffi::PyContext_Exit(context.as_ptr()) };
    if result.is_ok() {
        status(exited)?;
    }
    result
}
