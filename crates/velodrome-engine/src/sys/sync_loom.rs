//! What `wakeup` is built of when loom explores it: loom's primitives, and a bell that is a counter in its model.

use std::io;
use std::os::fd::RawFd;

pub(crate) use std::sync::PoisonError;

pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
pub(crate) use loom::sync::{Mutex, MutexGuard};

use loom::sync::atomic::AtomicU64;

/// An eventfd as its manual page describes it. Reading it is relaxed, because that promises nobody an ordering; who is
/// told of a ring by epoll has taken a lock of the kernel's after who rang.
#[derive(Debug)]
pub(crate) struct Bell(AtomicU64);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(AtomicU64::new(0)))
    }

    pub(crate) fn fd(&self) -> RawFd {
        -1
    }

    pub(crate) fn ring(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn silence(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) > 0
    }

    /// How often it was rung since it was last silenced.
    pub(crate) fn rings(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
