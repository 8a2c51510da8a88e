//! What other threads may touch is built of these when loom tries all interleavings: see `task/model.rs`.

use std::cell::Cell;

pub(crate) use std::sync::PoisonError;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
pub(crate) use loom::sync::{Mutex, MutexGuard};

loom::thread_local! {
    static HERE: Cell<*const ()> = Cell::new(std::ptr::null());
}

pub(crate) fn here() -> *const () {
    HERE.with(Cell::get)
}

pub(crate) fn set_here(door: *const ()) {
    HERE.with(|here| here.set(door));
}
