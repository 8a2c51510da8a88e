//! The driver of Linux.
//!
//! # Stale descriptors
//!
//! Three facts about epoll decide how this driver must be used.
//!
//! **A registration belongs to an open file, not to a number.** The kernel files it under the pair of the number and
//! the open file description behind it. It disappears when the *description* is closed, that is, when the last
//! descriptor for it is: one that was duplicated, inherited by a child process or passed over a socket keeps it alive
//! after our number is gone. Then events go on arriving for a number that is closed, and that may by now belong to
//! another connection.
//!
//! **Nobody can remove such a registration any more.** `EPOLL_CTL_DEL` looks up the number; closed it is `EBADF`,
//! reused it is `ENOENT`. A level-triggered event then comes back at every wait, and the loop takes all the processor
//! there is. So a descriptor is deleted *before* it is closed, at once, and never in a batch afterwards; then the
//! duplicates of others do no harm. Where a user closed it without a word, `renew` makes a queue
//! that has never heard of it.
//!
//! **The kernel tells apart only what we tell it.** An event carries 64 bits of our choice. If they were the number,
//! an event of the old connection would be taken for one of the new. They are the registration's [`Key`], which the
//! caller never uses twice, so that a late event finds nobody. This matters without any mistake, too: the events of
//! one wait are worked off one after the other, and the first may close what the second is about.
//!
//! # Hang-ups
//!
//! `EPOLLHUP` and `EPOLLERR` are reported whether asked for or not. A registration without interest would therefore
//! wake the loop for ever once its peer has gone. It is made with `EPOLLONESHOT`, by which the kernel itself silences
//! it after the first report. Without `EPOLLRDHUP`: that a peer will send no more is seen by reading, after what it
//! did send.
//!
//! # Bells
//!
//! `EPOLLET` on an eventfd reports each write to it once, read or not; so nobody reads a loop's own.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self as kernel, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::{Event, Interest, Key, MOST_EVENTS, Readiness, Timeout};
use crate::sys::{self, epoll_pwait2};

const NANOS_PER_MILLI: u64 = 1_000_000;
const MILLIS_PER_SEC: u64 = 1_000;

/// No descriptor's number.
const CLOSED: RawFd = -1;

const TROUBLE: EventFlags = EventFlags::HUP.union(EventFlags::ERR);
const READABLE: EventFlags = EventFlags::IN.union(TROUBLE);
const WRITABLE: EventFlags = EventFlags::OUT.union(TROUBLE);

pub(super) struct Epoll {
    /// A number that names nothing once this is closed: another thread may be about to read it for a wait.
    queue: Cell<RawFd>,
    owned: Cell<Option<OwnedFd>>,
    /// Whether the kernel waits by the nanosecond.
    precise: bool,
    /// Where the kernel puts its events. It is taken out for the length of a wait, so that there is no borrow that
    /// could be found taken.
    buffer: Cell<Vec<kernel::Event>>,
}

impl Epoll {
    pub(super) const EXISTS: bool = true;

    pub(super) fn new() -> io::Result<Self> {
        let queue = kernel::create(CreateFlags::CLOEXEC)?;
        let precise = epoll_pwait2::works(queue.as_fd());
        Ok(Self {
            queue: Cell::new(queue.as_raw_fd()),
            owned: Cell::new(Some(queue)),
            precise,
            buffer: Cell::new(Vec::with_capacity(MOST_EVENTS)),
        })
    }

    /// As if on a kernel before 5.11.
    #[cfg(test)]
    fn imprecise() -> io::Result<Self> {
        Ok(Self { precise: false, ..Self::new()? })
    }

    pub(super) fn name(&self) -> &'static str {
        "epoll"
    }

    pub(super) fn close(&self) {
        self.queue.set(CLOSED);
        drop(self.owned.take());
        drop(self.buffer.take());
    }

    fn queue(&self) -> io::Result<BorrowedFd<'_>> {
        sys::lend(self.queue.get())
    }

    pub(super) fn add(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        Ok(kernel::add(self.queue()?, sys::lend(fd)?, data(key), flags(interest))?)
    }

    pub(super) fn modify(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        Ok(kernel::modify(self.queue()?, sys::lend(fd)?, data(key), flags(interest))?)
    }

    pub(super) fn delete(&self, fd: RawFd) -> io::Result<()> {
        Ok(kernel::delete(self.queue()?, sys::lend(fd)?)?)
    }

    /// The new queue takes the old one's number, so that whoever holds that sees no difference.
    pub(super) fn renew(&self, watched: &[(RawFd, Key, Interest)]) -> io::Result<()> {
        let old = self.queue()?;
        let queue = kernel::create(CreateFlags::CLOEXEC)?;
        for &(fd, key, interest) in watched {
            // What is closed is left out.
            let _ = kernel::add(&queue, sys::lend(fd)?, data(key), flags(interest));
        }
        sys::take_place(queue, old)
    }

    pub(super) fn wait(&self, events: &mut Vec<Event>, timeout: Timeout) -> io::Result<()> {
        let mut buffer = self.buffer.take();
        let waited = self.fill(&mut buffer, timeout);
        events.extend(buffer.iter().map(event));
        buffer.clear();
        self.buffer.set(buffer);
        waited
    }

    fn fill(&self, buffer: &mut Vec<kernel::Event>, timeout: Timeout) -> io::Result<()> {
        let queue = self.queue()?;
        let waited = match timeout {
            Timeout::After(nanos) if self.precise => epoll_pwait2::wait(queue, buffer, nanos),
            Timeout::After(nanos) => coarse(queue, buffer, Some(round_up(nanos))),
            Timeout::Zero => coarse(queue, buffer, Some(Timespec::default())),
            Timeout::Never => coarse(queue, buffer, None),
        };
        waited.or_else(|error| match error.raw_os_error() {
            Some(number) if number == Errno::INTR.raw_os_error() => Ok(()),
            _ => Err(error),
        })
    }
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll").field("queue", &self.queue.get()).field("precise", &self.precise).finish()
    }
}

fn coarse(
    queue: BorrowedFd<'_>,
    buffer: &mut Vec<kernel::Event>,
    timeout: Option<Timespec>,
) -> io::Result<()> {
    kernel::wait(queue, spare_capacity(buffer), timeout.as_ref())?;
    Ok(())
}

/// A whole number of milliseconds, and never fewer than asked for: rustix rounds the same way today without promising
/// it, and a time-out cut short would make the loop spin through the last millisecond.
fn round_up(nanos: u64) -> Timespec {
    let millis = nanos.div_ceil(NANOS_PER_MILLI);
    let rest = (millis % MILLIS_PER_SEC) * NANOS_PER_MILLI;
    Timespec { tv_sec: (millis / MILLIS_PER_SEC).cast_signed(), tv_nsec: rest.cast_signed() }
}

fn data(key: Key) -> EventData {
    EventData::new_u64(key.0)
}

fn flags(interest: Interest) -> EventFlags {
    if interest.is_none() {
        return EventFlags::ONESHOT;
    }
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.contains(Interest::READ));
    flags.set(EventFlags::OUT, interest.contains(Interest::WRITE));
    flags.set(EventFlags::ET, interest.contains(Interest::RING));
    flags
}

fn event(raw: &kernel::Event) -> Event {
    let (flags, data) = (raw.flags, raw.data);
    let read = if flags.intersects(READABLE) { Readiness::READ } else { Readiness::NONE };
    let write = if flags.intersects(WRITABLE) { Readiness::WRITE } else { Readiness::NONE };
    Event { key: Key(data.u64()), readiness: read.union(write) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Backend, Driver, DriverKind, LONGEST_WAIT};
    use crate::testing::suite::{driver_suite, signal_suite};

    #[test]
    fn conforms() {
        driver_suite(|| Driver::with_kind(DriverKind::Epoll).unwrap());
    }

    fn older_kernel() -> Driver {
        Driver { backend: Backend::Epoll(Epoll::imprecise().unwrap()), reason: "a test" }
    }

    #[test]
    fn conforms_on_an_older_kernel() {
        driver_suite(older_kernel);
    }

    #[test]
    fn survives_signals() {
        let name = concat!(module_path!(), "::survives_signals");
        signal_suite(name, || Driver::with_kind(DriverKind::Epoll).unwrap());
    }

    #[test]
    fn survives_signals_on_an_older_kernel() {
        signal_suite(concat!(module_path!(), "::survives_signals_on_an_older_kernel"), older_kernel);
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        let millis = |nanos| round_up(nanos).tv_nsec / NANOS_PER_MILLI.cast_signed();
        assert_eq!([1, 999_999, 1_000_000, 1_000_001].map(millis), [1, 1, 1, 2]);
        assert_eq!(round_up(1_999_000_001), Timespec { tv_sec: 2, tv_nsec: 0 });
        assert_eq!(round_up(LONGEST_WAIT).tv_sec, 86_400);
    }
}
