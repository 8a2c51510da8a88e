//! What other threads may touch is built of these: the standard library's.

use std::cell::Cell;

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread;

thread_local! {
    /// Which loop runs on this thread: the address of its door, or null.
    static HERE: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

/// The address of the door of the loop that runs on this thread.
#[inline]
pub(crate) fn here() -> *const () {
    HERE.get()
}

/// Another loop runs here now, or none.
pub(crate) fn set_here(door: *const ()) {
    HERE.set(door);
}
