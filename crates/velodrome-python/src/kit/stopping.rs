//! The `StopIteration` by which a coroutine returns its value to an `await`, used again.
//!
//! An interpreter that awaits takes the value out of the exception and drops it: to make one by calling its class, and
//! to free it, costs 900 instructions of every `await`. Who has the only reference to an exception may change it, so the
//! last one is filled anew when nobody has kept it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{mem, ptr};

use pyo3::ffi;

use super::buffer::exact_bytes;
use super::names::Name;
use super::object::{Obj, Raised, Ref, Result, Slot, bytes, handles_one, raise_exception, tuple, went_well};
use super::taking::raise_taken;

/// What the loops of the process share.
struct Spare(Slot);

// SAFETY: touched attached to the interpreter only, whose lock serialises that.
unsafe impl Sync for Spare {}

static SPARE: Spare = Spare(Slot::empty());

/// Whether this interpreter's exceptions were seen to bear it.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// The exception keeps its value until the next one is raised: bytes, of which nobody can tell, and not many.
const LARGEST: usize = 64 * 1024;

/// Raise StopIteration with a value, which may be a tuple or an exception.
pub(super) fn stop_with(value: &Obj) -> Raised {
    match exception(value) {
        Ok(exception) => raise_exception(&exception),
        Err(raised) => raised,
    }
}

/// The same for an interpreter that is about to take the value out.
pub(super) fn stop_briefly(value: &Obj) -> Raised {
    let may_be_kept = exact_bytes(value).is_some_and(|bytes| bytes.len() <= LARGEST);
    // What is raised while another exception is handled has that one as its context.
    if !may_be_kept || !KNOWN.load(Ordering::Relaxed) || handles_one() {
        return stop_with(value);
    }
    if let Some(spare) = SPARE.0.take()
        && is_free(&spare)
    {
        refill(&spare, value);
        SPARE.0.set(spare.clone());
        return raise_taken(spare);
    }
    match exception(value) {
        Ok(exception) => {
            SPARE.0.set(exception.clone());
            raise_taken(exception)
        }
        Err(raised) => raised,
    }
}

fn exception(value: &Obj) -> Result<Ref> {
    // SAFETY: exception types live for ever; attached.
    unsafe { Obj::from_ptr(ffi::PyExc_StopIteration) }.call(&[value])
}

/// Nobody else has it or its arguments, and it is as new: it was raised to nobody who left a trace.
fn is_free(spare: &Obj) -> bool {
    let object = spare.as_ptr().cast::<ffi::PyStopIterationObject>();
    // SAFETY: a StopIteration made by `exception`, alive.
    unsafe {
        let added =
            [(*object).dict, (*object).notes, (*object).traceback, (*object).context, (*object).cause];
        // A char of C, which the bindings take for one of Rust.
        let suppressed = (&raw const (*object).suppress_context).cast::<u8>().read() != 0;
        spare.count() == 1
            && added.iter().all(|part| part.is_null())
            && !suppressed
            && ffi::PyTuple_CheckExact((*object).args) != 0
            && ffi::PyTuple_GET_SIZE((*object).args) == 1
            && ffi::Py_REFCNT((*object).args) == 1
            && !was_hashed((*object).args)
    }
}

/// Whether a tuple knows its hash, which it would keep.
///
/// # Safety
/// A live tuple.
unsafe fn was_hashed(args: *mut ffi::PyObject) -> bool {
    #[cfg(Py_3_14)]
    // SAFETY: the caller's promise.
    return unsafe { (*args.cast::<ffi::PyTupleObject>()).ob_hash } != -1;
    #[cfg(not(Py_3_14))]
    {
        let _ = args;
        false
    }
}

/// Put a value in the place of the last one.
fn refill(spare: &Obj, value: &Obj) {
    let object = spare.as_ptr().cast::<ffi::PyStopIterationObject>();
    // SAFETY: `is_free`: the exception and its tuple of one are the caller's alone. Each place owns a count of what it
    // has; the old ones are dropped when both are filled.
    unsafe {
        let old = Ref::from_owned(mem::replace(&mut (*object).value, value.to_ref().into_ptr()));
        let args = (*object).args.cast::<ffi::PyTupleObject>();
        let item = (&raw mut (*args).ob_item).cast::<*mut ffi::PyObject>();
        let old_argument = Ref::from_owned(ptr::replace(item, value.to_ref().into_ptr()));
        drop((old, old_argument));
    }
}

/// As if exceptions were built otherwise.
pub(crate) fn unlearn() {
    KNOWN.store(false, Ordering::Relaxed);
    drop(SPARE.0.take());
}

/// See it work once.
pub(crate) fn learn() {
    KNOWN.store(went_well(tried()), Ordering::Relaxed);
}

fn tried() -> Result<bool> {
    static VALUE: Name = Name::new("value");
    static ARGS: Name = Name::new("args");
    if cfg!(Py_GIL_DISABLED) {
        // There a count of one says less.
        return Ok(false);
    }
    let (first, second) = (bytes(b"a sample of bytes")?, bytes(b"another of them")?);
    let sample = exception(&first)?;
    // SAFETY: a live type.
    let size = unsafe { (*sample.type_ptr()).tp_basicsize };
    if size.cast_unsigned() != size_of::<ffi::PyStopIterationObject>() || !is_free(&sample) {
        return Ok(false);
    }
    refill(&sample, &second);
    let value = sample.getattr(VALUE.get()?)?;
    let args = sample.getattr(ARGS.get()?)?;
    Ok(value.is(&second) && args.equals(&*tuple(&[second.as_ptr()])?)? && first.count() == 1)
}
