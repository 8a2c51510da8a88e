//! The `polling` crate behind descriptors' numbers.
//!
//! Its `add` is unsafe because a source must be removed before it is closed. Here numbers are lent for one call only,
//! so the promise is passed on in prose: see "Closing" in the driver's contract.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller as Kernel};

use super::lend;

/// One of the kernel's event queues, whichever kernel it is.
pub(crate) struct Poller(Kernel);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Kernel::new().map(Self)
    }

    pub(crate) fn supports_level(&self) -> bool {
        self.0.supports_level()
    }

    pub(crate) fn add(&self, fd: RawFd, interest: Event, mode: PollMode) -> io::Result<()> {
        let source = lend(fd)?;
        // SAFETY: `polling` asks that a source be deleted before it is closed. Whoever registers a descriptor with a
        // driver promises that by the driver's contract. Broken, it costs memory safety nothing: every backend keeps
        // numbers, not references, and the kernels answer EBADF or forget a closed descriptor by themselves; keys are
        // generational for the one that does not.
        unsafe { self.0.add_with_mode(&source, interest, mode) }
    }

    pub(crate) fn modify(&self, fd: RawFd, interest: Event, mode: PollMode) -> io::Result<()> {
        self.0.modify_with_mode(lend(fd)?, interest, mode)
    }

    pub(crate) fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.0.delete(lend(fd)?)
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.0.wait(events, timeout).map(drop)
    }
}
