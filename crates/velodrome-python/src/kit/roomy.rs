//! The `bytes` object that large messages are received into: 100 KiB that are not copied save a fifth of what the message
//! costs altogether.
//!
//! It stands in for the loop's read buffer and is as large. What was received is delivered in it if it is much, with
//! the object's length set to that; little is copied out. The object comes back when nobody has kept it (see
//! [`super::recycled`], which takes care of all the others). A program that keeps one keeps all of its room, so then
//! many have to be let go of before there is another.

use std::cell::Cell;
use std::ptr;

use pyo3::ffi;
use velodrome_engine::hub::SCRATCH;

use super::object::{self, Obj, Raised, Ref, Slot, clear_raised};
use super::recycled::set_length;

/// From where on copying costs more than it would take to keep the object.
const MUCH: usize = 32 * 1024;

/// How many large messages in a row have to be let go of, once one was kept: the room wasted is an eighth at most.
const WARY: u32 = 64;

/// What the loops of the process share.
struct Shared {
    object: Slot,
    /// The object that was delivered and is not back yet; compared only.
    lent: Cell<*const Obj>,
    /// Large messages to be let go of before there is an object.
    wary: Cell<u32>,
}

// SAFETY: touched attached to the interpreter only, whose lock serialises that.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared { object: Slot::empty(), lent: Cell::new(ptr::null()), wary: Cell::new(1) };

/// The object, for one receive. It goes back if it is not delivered.
pub(crate) struct Roomy(Option<Ref>);

impl Drop for Roomy {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(SHARED.object.replace(Some(object)));
        }
    }
}

/// The object, if large messages come in and are let go of.
#[inline]
pub(crate) fn take() -> Option<Roomy> {
    SHARED.object.take().map(|object| Roomy(Some(object)))
}

impl Roomy {
    /// Its room, with whatever was there.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        let Some(object) = &self.0 else { return &mut [] };
        // SAFETY: made by `make` with room for SCRATCH bytes, all of them written; nobody else has the object.
        unsafe {
            let content = (&raw mut (*object.as_ptr().cast::<ffi::PyBytesObject>()).ob_sval).cast::<u8>();
            std::slice::from_raw_parts_mut(content, SCRATCH)
        }
    }

    /// The first `count` bytes as an object to be delivered, if they are much.
    pub(crate) fn deliver(&mut self, count: usize) -> Option<Ref> {
        let object = self.0.take_if(|_| (MUCH..=SCRATCH).contains(&count))?;
        // SAFETY: as in memory; there is room for the zero behind the last byte, too.
        unsafe { set_length(&object, count) };
        SHARED.lent.set(&raw const *object);
        Some(object)
    }
}

/// A message of this length has been delivered; nobody has kept it if it is `free`. True if the object is taken back.
#[inline]
pub(super) fn returned(bytes: &Ref, length: usize, free: bool) -> bool {
    if length < MUCH {
        return false;
    }
    let lent = SHARED.lent.replace(ptr::null()) == &raw const **bytes;
    if !free {
        SHARED.wary.set(WARY);
        return false;
    }
    if lent {
        drop(SHARED.object.replace(Some(bytes.clone())));
        return true;
    }
    SHARED.wary.set(SHARED.wary.get().saturating_sub(1));
    if SHARED.wary.get() == 0 && SHARED.object.is_empty() {
        make();
    }
    false
}

fn make() {
    let zeros = vec![0; SCRATCH];
    match object::bytes(&zeros) {
        Ok(object) => drop(SHARED.object.replace(Some(object))),
        Err(Raised) => clear_raised(),
    }
}

/// As if there had been no large messages.
pub(super) fn forget() {
    drop(SHARED.object.take());
    SHARED.lent.set(ptr::null());
    SHARED.wary.set(1);
}
