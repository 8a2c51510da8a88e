//! How a kernel is asked which descriptors are ready: the contract every driver keeps, and the one place that
//! chooses between them.
//!
//! A driver watches descriptors and waits. It owns none of them, knows nothing of what is behind them, and calls
//! nobody back. There is one file for each driver, all of one shape; `testing` has the conformance suite that each
//! must pass.
//!
//! # Registration
//!
//! * [`Driver::add`] begins to watch a descriptor, [`Driver::modify`] changes what is watched for, [`Driver::delete`]
//!   ends it. A second `add` is `EEXIST`; `modify` or `delete` of what is not registered is `ENOENT`; a number that
//!   names nothing is `EBADF`. What cannot be waited for, a regular file on Linux, is refused by `add` with `EPERM`.
//!   These come back at once, with their number in `raw_os_error()`.
//! * The [`Key`] is the caller's, and comes back with each event. It should be used once and never again, for the
//!   reason told in `epoll.rs`. [`Key::RESERVED`] is not to be had (`InvalidInput`).
//! * With [`Interest::NONE`] a descriptor stays registered and rests. It may report one event that it hung up; after
//!   that it is silent until the next `modify`, and so a peer that left cannot keep a loop busy that is not reading.
//!
//! # Waiting
//!
//! * Readiness is **level-triggered**: what is ready is reported by every wait until it is read, written or no longer
//!   watched. A bell is the exception, where [`Driver::tells_rings_once`]: what is registered with [`Interest::RING`] is
//!   reported again only when it was rung again, and need not be read.
//! * A hang-up or an error is reported as readable *and* writable, whatever was asked for, because whoever tries will
//!   be told the reason. The caller keeps of it what it cares about.
//! * One wait may tell about one descriptor by two events (kqueue does). It reports at most [`MOST_EVENTS`]; the next
//!   wait has the rest.
//! * A time-out never ends **early**, as `CLOCK_MONOTONIC` counts. It may end late by what the kernel needs; by up to
//!   a millisecond where it counts in those. More than [`LONGEST_WAIT`] is cut to that, which is an early end: see
//!   below.
//! * A wait may return with **no event before its time**: after a signal (EINTR), or because it was cut. The caller
//!   must look at its signals, its clock, and wait again. A signal is not promised to end a wait: the portable driver
//!   goes on waiting, so a signal that must be noticed has to ring a [`Bell`](crate::sys::Bell) too.
//!
//! # Closing
//!
//! **Whoever registers a descriptor deletes it before closing it.** Not doing so is safe, and wrong: events may come
//! for an open file that nobody has a number for any more.
//!
//! # Reading and writing
//!
//! Transports read and write through the driver. Today every driver passes that on to [`sys`], whose
//! documentation holds; the fake one has bytes of its own. A driver for io_uring may answer from what it has already
//! received. Nothing here blocks on a descriptor that is non-blocking.

use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};

use crate::sys::{self, Batch, Outgoing, Peer};

mod choice;
mod readiness;

#[cfg(epoll)]
mod epoll;
#[cfg(not(epoll))]
#[path = "epoll_absent.rs"]
mod epoll;
mod fake;
#[cfg(portable)]
mod portable;
#[cfg(not(portable))]
#[path = "portable_absent.rs"]
mod portable;

pub use choice::{DriverKind, UnknownDriver};
pub use fake::Script;
pub use readiness::{Event, Interest, Key, LONGEST_WAIT, MOST_EVENTS, Readiness, Timeout};

use crate::clock::ManualClock;

/// One of the ways to ask a kernel. See the module's documentation for what all of them promise.
#[derive(Debug)]
pub struct Driver {
    backend: Backend,
    reason: &'static str,
}

/// An enum and not a trait object: which one it is, is known once, and every `recv` goes through here.
#[derive(Debug)]
enum Backend {
    Epoll(epoll::Epoll),
    Portable(portable::Portable),
    Fake(fake::Fake),
}

macro_rules! each {
    ($driver:expr, $backend:ident => $call:expr) => {
        match &$driver.backend {
            Backend::Epoll($backend) => $call,
            Backend::Portable($backend) => $call,
            Backend::Fake($backend) => $call,
        }
    };
}

/// Reading and writing: the fake has its own, all others ask the kernel.
macro_rules! transfer {
    ($driver:expr, $call:ident($($argument:expr),*)) => {
        match &$driver.backend {
            Backend::Fake(fake) => fake.$call($($argument),*),
            _ => sys::$call($($argument),*),
        }
    };
}

impl Driver {
    /// The best driver this platform has.
    pub fn new() -> io::Result<Self> {
        Self::build(DriverKind::BEST, "the platform's best")
    }

    /// The driver asked for; `Unsupported` where the platform does not have it, or it was not built in: the portable driver
    /// is where there is no epoll, and elsewhere with the feature `portable`.
    pub fn with_kind(kind: DriverKind) -> io::Result<Self> {
        Self::build(kind, "the program asked for it")
    }

    /// The driver that the environment variable `VELODROME_DRIVER` names (`epoll`, `portable`), or the platform's
    /// best where it is `auto`, empty or absent. Any other value is `InvalidInput`, in a sentence; one that is not to be
    /// had here `Unsupported`, as in [`with_kind`](Self::with_kind).
    pub fn from_env() -> io::Result<Self> {
        match choice::from_environment()? {
            Some(kind) => Self::build(kind, "VELODROME_DRIVER asked for it"),
            None => Self::new(),
        }
    }

    /// A driver with no kernel, and the script by which a test decides what is ready. Time passes on `clock`.
    pub fn fake(clock: ManualClock) -> (Self, Script) {
        let (fake, script) = fake::Fake::new(clock);
        (Self { backend: Backend::Fake(fake), reason: "a test asked for it" }, script)
    }

    fn build(kind: DriverKind, reason: &'static str) -> io::Result<Self> {
        let backend = match kind {
            DriverKind::Epoll => Backend::Epoll(epoll::Epoll::new()?),
            DriverKind::Portable => Backend::Portable(portable::Portable::new()?),
        };
        Ok(Self { backend, reason })
    }

    /// What the driver is called: `epoll`, `portable` or `fake`.
    pub fn name(&self) -> &'static str {
        each!(self, backend => backend.name())
    }

    /// Why it is this one, as the end of a sentence.
    pub fn reason(&self) -> &str {
        self.reason
    }

    /// Whether [`Interest::RING`] is told once for each ring, so that a bell need not be silenced by a system call.
    pub fn tells_rings_once(&self) -> bool {
        matches!(self.backend, Backend::Epoll(_))
    }

    /// Gives back what it has of the kernel. What is asked of it from then on is `EBADF`, but reading and writing, which
    /// need nothing of that.
    pub fn close(&self) {
        each!(self, backend => backend.close());
    }

    /// Begins to watch `fd`.
    pub fn add(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        let key = key.checked()?;
        each!(self, backend => backend.add(fd, key, interest))
    }

    /// Whether there is such a descriptor at all: `EBADF` if not, as [`Self::add`] would say.
    pub fn check(&self, fd: RawFd) -> io::Result<()> {
        transfer!(self, check(fd))
    }

    /// Watches `fd` for something else, or under another key.
    pub fn modify(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        let key = key.checked()?;
        each!(self, backend => backend.modify(fd, key, interest))
    }

    /// No longer watches `fd`. To be done before closing it.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        each!(self, backend => backend.delete(fd))
    }

    /// Begins again with a queue of the kernel that knows of `watched` and nothing else: the only cure for events of a
    /// file whose descriptor was closed here and lives on elsewhere. What cannot be watched is left out.
    pub fn renew(&self, watched: &[(RawFd, Key, Interest)]) -> io::Result<()> {
        each!(self, backend => backend.renew(watched))
    }

    /// Waits until something is ready or time is up, and puts what is ready into `events`, in place of what was
    /// there.
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Timeout) -> io::Result<()> {
        events.clear();
        each!(self, backend => backend.wait(events, timeout.clamped()))
    }

    /// Receives from a connected socket; see [`sys::recv`].
    #[inline]
    pub fn recv(&self, fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
        transfer!(self, recv(fd, buf))
    }

    /// Receives behind what is in a buffer already; see [`sys::recv_append`].
    #[inline]
    pub fn recv_append(&self, fd: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
        transfer!(self, recv_append(fd, buffer))
    }

    /// Sends on a connected socket; see [`sys::send`].
    #[inline]
    pub fn send(&self, fd: RawFd, buf: &[u8]) -> io::Result<usize> {
        transfer!(self, send(fd, buf))
    }

    /// Sends several buffers by one call; see [`sys::send_vectored`].
    #[inline]
    pub fn send_vectored(&self, fd: RawFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        transfer!(self, send_vectored(fd, bufs))
    }

    /// Receives one datagram; see [`sys::recv_from`].
    #[inline]
    pub fn recv_from(&self, fd: RawFd, buf: &mut [u8]) -> io::Result<(usize, Peer)> {
        transfer!(self, recv_from(fd, buf))
    }

    /// Receives several datagrams by one call; see [`sys::recv_batch`].
    pub fn recv_batch(&self, fd: RawFd, batch: &mut Batch) -> io::Result<()> {
        transfer!(self, recv_batch(fd, batch))
    }

    /// Sends one datagram; see [`sys::send_to`].
    #[inline]
    pub fn send_to(&self, fd: RawFd, buf: &[u8], peer: Option<&Peer>) -> io::Result<usize> {
        transfer!(self, send_to(fd, buf, peer))
    }

    /// Sends several datagrams by one call; see [`sys::send_batch`].
    pub fn send_batch(&self, fd: RawFd, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        transfer!(self, send_batch(fd, datagrams))
    }

    /// Takes one waiting connection; see [`sys::accept`].
    pub fn accept(&self, fd: RawFd) -> io::Result<(OwnedFd, Peer)> {
        transfer!(self, accept(fd))
    }

    /// Reads from a pipe; see [`sys::read`].
    #[inline]
    pub fn read(&self, fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
        transfer!(self, read(fd, buf))
    }

    /// Reads from a pipe behind what is in a buffer already; see [`sys::read_append`].
    #[inline]
    pub fn read_append(&self, fd: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
        transfer!(self, read_append(fd, buffer))
    }

    /// Writes to a pipe; see [`sys::write`].
    #[inline]
    pub fn write(&self, fd: RawFd, buf: &[u8]) -> io::Result<usize> {
        transfer!(self, write(fd, buf))
    }

    /// Writes several buffers to a pipe by one call; see [`sys::write_vectored`].
    #[inline]
    pub fn write_vectored(&self, fd: RawFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        transfer!(self, write_vectored(fd, bufs))
    }
}
