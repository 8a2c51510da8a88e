//! The driver of every platform that has no driver of its own: kqueue, event ports, poll, through the `polling`
//! crate. It runs on Linux as well, over epoll, which is how it is tested.
//!
//! Four things differ from `epoll.rs`, all within the contract:
//!
//! * `polling` retries when a signal interrupts its wait, so that EINTR never gets here and a wait just goes on.
//! * Event ports know only one report for each arming. There the registrations are remembered, and what has been
//!   reported is armed again before the next wait; see [`Rearm`].
//! * A wait costs some more calls: on Linux `polling` keeps a timer and a bell of its own in the same queue.
//! * On Linux `polling` counts urgent (out-of-band) data as readable, which epoll's driver does not.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use polling::PollMode;

use super::{Event, Interest, Key, Readiness, Timeout};
use crate::clock::Clock;
use crate::sys::poller::Poller;

pub(super) struct Portable {
    poller: Poller,
    /// Where `polling` puts its events; borrowed within `wait` and nowhere else.
    buffer: RefCell<polling::Events>,
    /// Present where the platform cannot report a level.
    rearm: Option<RefCell<Rearm>>,
}

impl Portable {
    pub(super) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let rearm = if poller.supports_level() { None } else { Some(RefCell::default()) };
        Ok(Self { poller, buffer: RefCell::new(polling::Events::new()), rearm })
    }

    /// As if on a platform that cannot report a level.
    #[cfg(test)]
    fn oneshot() -> io::Result<Self> {
        Ok(Self { rearm: Some(RefCell::default()), ..Self::new()? })
    }

    pub(super) fn name(&self) -> &'static str {
        "portable"
    }

    pub(super) fn close(&self) {
        self.poller.close();
    }

    pub(super) fn add(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        self.poller.add(fd, wish(key, interest)?, self.mode(interest))?;
        self.remember(fd, key, interest);
        Ok(())
    }

    pub(super) fn modify(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        self.poller.modify(fd, wish(key, interest)?, self.mode(interest))?;
        self.remember(fd, key, interest);
        Ok(())
    }

    pub(super) fn delete(&self, fd: RawFd) -> io::Result<()> {
        if let Some(rearm) = &self.rearm {
            rearm.borrow_mut().forget(fd);
        }
        self.poller.delete(fd)
    }

    /// Kqueue and event ports file by number, and forget a number that is closed. (On Linux, where this driver is only
    /// tested, the events that `epoll.rs` can silence go on.)
    pub(super) fn renew(&self, _watched: &[(RawFd, Key, Interest)]) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn wait(&self, events: &mut Vec<Event>, timeout: Timeout) -> io::Result<()> {
        self.arm_again()?;
        let mut buffer = self.buffer.borrow_mut();
        buffer.clear();
        match timeout {
            Timeout::Zero => self.poller.wait(&mut buffer, Some(Duration::ZERO))?,
            Timeout::Never => self.poller.wait(&mut buffer, None)?,
            Timeout::After(nanos) => self.wait_until(&mut buffer, nanos)?,
        }
        events.extend(buffer.iter().map(event));
        if let Some(rearm) = &self.rearm {
            rearm.borrow_mut().spent.extend(events.iter().map(|event| event.key));
        }
        Ok(())
    }

    /// Not every backend of `polling` promises to be late rather than early, so the clock has the last word.
    fn wait_until(&self, buffer: &mut polling::Events, nanos: u64) -> io::Result<()> {
        let clock = Clock::monotonic();
        let deadline = clock.now().saturating_add(nanos);
        let mut rest = nanos;
        while rest > 0 {
            self.poller.wait(buffer, Some(Duration::from_nanos(rest)))?;
            if !buffer.is_empty() {
                break;
            }
            rest = deadline.saturating_sub(clock.now());
        }
        Ok(())
    }

    /// Without interest a report must not be repeated, see "Hang-ups" in `epoll.rs`.
    fn mode(&self, interest: Interest) -> PollMode {
        if interest.is_none() || self.rearm.is_some() { PollMode::Oneshot } else { PollMode::Level }
    }

    fn remember(&self, fd: RawFd, key: Key, interest: Interest) {
        if let Some(rearm) = &self.rearm {
            rearm.borrow_mut().remember(fd, key, interest);
        }
    }

    fn arm_again(&self) -> io::Result<()> {
        let Some(rearm) = &self.rearm else { return Ok(()) };
        let mut rearm = rearm.borrow_mut();
        while let Some(key) = rearm.spent.pop() {
            if let Some((fd, interest)) = rearm.still_wanted(key) {
                // A descriptor closed without `delete` is gone from the kernel's table; there is nothing to arm.
                let _ = self.poller.modify(fd, wish(key, interest)?, PollMode::Oneshot);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Portable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portable").field("level", &self.rearm.is_none()).finish_non_exhaustive()
    }
}

/// What makes levels out of single reports: who is registered, and whose report has been spent.
#[derive(Default)]
struct Rearm {
    by_key: HashMap<u64, (RawFd, Interest)>,
    by_fd: HashMap<RawFd, Key>,
    spent: Vec<Key>,
}

impl Rearm {
    fn remember(&mut self, fd: RawFd, key: Key, interest: Interest) {
        self.forget(fd);
        self.by_fd.insert(fd, key);
        self.by_key.insert(key.0, (fd, interest));
    }

    fn forget(&mut self, fd: RawFd) {
        if let Some(key) = self.by_fd.remove(&fd) {
            self.by_key.remove(&key.0);
        }
    }

    fn still_wanted(&self, key: Key) -> Option<(RawFd, Interest)> {
        self.by_key.get(&key.0).copied().filter(|(_, interest)| !interest.is_none())
    }
}

fn wish(key: Key, interest: Interest) -> io::Result<polling::Event> {
    let too_wide =
        |_| io::Error::new(io::ErrorKind::InvalidInput, "the key is wider than this machine's words");
    let key = usize::try_from(key.0).map_err(too_wide)?;
    let (read, write) = (interest.contains(Interest::READ), interest.contains(Interest::WRITE));
    Ok(polling::Event::new(key, read, write))
}

fn event(raw: polling::Event) -> Event {
    let trouble = raw.is_interrupt() || raw.is_err() == Some(true);
    let read = if raw.readable || trouble { Readiness::READ } else { Readiness::NONE };
    let write = if raw.writable || trouble { Readiness::WRITE } else { Readiness::NONE };
    Event { key: Key(raw.key as u64), readiness: read.union(write) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Backend, Driver, DriverKind};
    use crate::testing::suite::{driver_suite, signal_suite};

    #[test]
    fn conforms() {
        driver_suite(|| Driver::with_kind(DriverKind::Portable).unwrap());
    }

    #[test]
    fn survives_signals() {
        let name = concat!(module_path!(), "::survives_signals");
        signal_suite(name, || Driver::with_kind(DriverKind::Portable).unwrap());
    }

    #[test]
    fn conforms_where_there_are_no_levels() {
        driver_suite(|| Driver {
            backend: Backend::Portable(Portable::oneshot().unwrap()),
            reason: "a test",
        });
    }
}
