//! The `bytes` object of the last message, filled anew for the next one when nobody has kept it.
//!
//! A protocol nearly always looks at what it is given and lets go of it. To free 1 KiB and ask for it again is a quarter
//! of what a message costs in user space (malloc and free take 500 instructions for blocks beyond CPython's own 512
//! bytes), and a larger one may come back from the kernel a page fault at a time.
//!
//! Nobody can tell: who has the only reference to an object may change it, as `_PyBytes_Resize` does. The object is of the
//! length of its content, as ever, and is never larger than what it was made for.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;

use super::buffer::exact_bytes;
use super::object::{self, Obj, Ref, Result, Slot, went_well};
use super::roomy;

/// What the loops of the process share.
struct Spare(Slot);

// SAFETY: touched attached to the interpreter only, whose lock serialises that.
unsafe impl Sync for Spare {}

static SPARE: Spare = Spare(Slot::empty());

/// Whether this interpreter's bytes objects were seen to bear it.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// As large as the buffer that is read into.
const LARGEST: usize = 256 * 1024;

/// The single bytes and the empty object are shared by everybody.
const SMALLEST: usize = 2;

/// A bytes object with this content.
pub(crate) fn bytes(data: &[u8]) -> Result<Ref> {
    match SPARE.0.take() {
        Some(spare) if spare.count() == 1 && fits(&spare, data.len()) => {
            refill(&spare, data);
            Ok(spare)
        }
        _ => object::bytes(data),
    }
}

/// Whoever was shown the object has returned.
#[inline]
pub(crate) fn give_back(bytes: Ref) {
    if KNOWN.load(Ordering::Relaxed) {
        keep(bytes);
    }
}

/// What a program's own `SSLObject.read` returned comes here, too.
#[inline]
fn keep(bytes: Ref) {
    let size = exact_bytes(&bytes).map_or(0, <[u8]>::len);
    let free = bytes.count() == 1;
    if !roomy::returned(&bytes, size, free) && free && (SMALLEST..=LARGEST).contains(&size) {
        SPARE.0.set(bytes);
    }
}

/// Three quarters full at least: the program may keep this one for ever.
fn fits(spare: &Obj, length: usize) -> bool {
    let size = exact_bytes(spare).map_or(0, <[u8]>::len);
    length <= size && length >= size - size / 4 && length >= SMALLEST
}

/// The object has room for the content, and nobody else has it.
fn refill(spare: &Obj, data: &[u8]) {
    let object = spare.as_ptr().cast::<ffi::PyBytesObject>();
    // SAFETY: an exact bytes object with room for data and the zero behind it; the only reference is the caller's.
    unsafe {
        (&raw mut (*object).ob_sval).cast::<u8>().copy_from_nonoverlapping(data.as_ptr(), data.len());
        set_length(spare, data.len());
    }
}

/// The bytes are in their place: make the object one of that length.
///
/// # Safety
/// An exact bytes object that is nobody else's, with room for so much and the zero behind it.
pub(super) unsafe fn set_length(bytes: &Obj, length: usize) {
    let object = bytes.as_ptr().cast::<ffi::PyBytesObject>();
    // SAFETY: the caller's promise.
    unsafe {
        (*object).ob_base.ob_size = length.cast_signed();
        (&raw mut (*object).ob_sval).cast::<u8>().add(length).write(0);
        forget_hash(object);
    }
}

/// # Safety
/// An exact bytes object that is nobody else's.
#[expect(
    deprecated,
    reason = "the field is deprecated since 3.11 and still there in 3.15; `learn` sees whether it works"
)]
unsafe fn forget_hash(object: *mut ffi::PyBytesObject) {
    // SAFETY: the caller's promise.
    unsafe { (*object).ob_shash = -1 }
}

/// As if bytes objects were built otherwise.
pub(crate) fn unlearn() {
    KNOWN.store(false, Ordering::Relaxed);
    drop(SPARE.0.take());
    roomy::forget();
}

/// See it work once, on an object whose old hash is known.
pub(crate) fn learn() {
    KNOWN.store(went_well(tried()), Ordering::Relaxed);
}

fn tried() -> Result<bool> {
    if cfg!(Py_GIL_DISABLED) {
        // There a count of one says less.
        return Ok(false);
    }
    let (sample, wanted) = (object::bytes(b"a sample of bytes")?, object::bytes(b"another of them")?);
    if sample.count() != 1 || sample.hash()? == wanted.hash()? {
        return Ok(false);
    }
    refill(&sample, b"another of them");
    Ok(sample.hash()? == wanted.hash()? && sample.equals(&wanted)?)
}
