//! What other threads may touch is built of these when loom tries all interleavings: see `task/model.rs`.

use std::cell::Cell;
use std::sync::LockResult;
use std::time::Duration;

pub(crate) use std::sync::PoisonError;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Loom's threads; how many processors there are, which it does not say; and sleep, which takes no time.
pub(crate) mod thread {
    pub(crate) use std::thread::available_parallelism;

    pub(crate) use loom::thread::Builder;

    #[allow(dead_code, reason = "a feature's adapter sleeps")]
    pub(crate) fn sleep(_: std::time::Duration) {}
}

/// Time does not pass: who waits is told, or waits for ever, which loom reports.
#[derive(Debug, Default)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        _: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        while condition(&mut guard) {
            guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((guard, ()))
    }
}

loom::thread_local! {
    static HERE: Cell<*const ()> = Cell::new(std::ptr::null());
}

pub(crate) fn here() -> *const () {
    HERE.with(Cell::get)
}

pub(crate) fn set_here(door: *const ()) {
    HERE.with(|here| here.set(door));
}
