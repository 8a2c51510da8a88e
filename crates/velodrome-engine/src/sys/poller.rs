//! The `polling` crate behind descriptors' numbers.
//!
//! Its `add` is unsafe because a source must be removed before it is closed. Here numbers are lent for one call only,
//! so the promise is passed on in prose: see "Closing" in the driver's contract.

use std::io;
use std::os::fd::RawFd;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller as Kernel};
use rustix::io::Errno;

use super::lend;

/// One of the kernel's event queues, whichever kernel it is; none once closed. A lock, because a face lets other threads
/// run during a wait.
pub(crate) struct Poller {
    kernel: RwLock<Option<Kernel>>,
    supports_level: bool,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let kernel = Kernel::new()?;
        Ok(Self { supports_level: kernel.supports_level(), kernel: RwLock::new(Some(kernel)) })
    }

    /// Does nothing while somebody waits; then it is closed when it is dropped.
    pub(crate) fn close(&self) {
        if let Ok(mut kernel) = self.kernel.try_write() {
            drop(kernel.take());
        }
    }

    fn with<R>(&self, call: impl FnOnce(&Kernel) -> io::Result<R>) -> io::Result<R> {
        let kernel = self.kernel.read().unwrap_or_else(PoisonError::into_inner);
        kernel.as_ref().map_or(Err(Errno::BADF.into()), call)
    }

    pub(crate) fn supports_level(&self) -> bool {
        self.supports_level
    }

    pub(crate) fn add(&self, fd: RawFd, interest: Event, mode: PollMode) -> io::Result<()> {
        let source = lend(fd)?;
        // SAFETY: `polling` asks that a source be deleted before it is closed. Whoever registers a descriptor with a
        // driver promises that by the driver's contract. Broken, it costs memory safety nothing: every backend keeps
        // numbers, not references, and the kernels answer EBADF or forget a closed descriptor by themselves; keys are
        // generational for the one that does not.
        self.with(|kernel| unsafe { kernel.add_with_mode(&source, interest, mode) })
    }

    pub(crate) fn modify(&self, fd: RawFd, interest: Event, mode: PollMode) -> io::Result<()> {
        let source = lend(fd)?;
        self.with(|kernel| kernel.modify_with_mode(source, interest, mode))
    }

    pub(crate) fn delete(&self, fd: RawFd) -> io::Result<()> {
        let source = lend(fd)?;
        self.with(|kernel| kernel.delete(source))
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.with(|kernel| kernel.wait(events, timeout).map(drop))
    }
}
