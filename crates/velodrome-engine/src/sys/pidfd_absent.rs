//! Where there are no pidfds: to name a process by descriptor is unsupported, and faces wait on a thread instead.

use std::convert::Infallible;
use std::io;
use std::os::fd::RawFd;

use super::Ending;

/// A process, named so that no other can be meant: there is none here.
#[derive(Debug)]
pub struct Pidfd(Infallible);

impl Pidfd {
    /// ENOSYS.
    pub fn open(_pid: i32) -> io::Result<Self> {
        Err(rustix::io::Errno::NOSYS.into())
    }

    /// The descriptor, to wait for.
    pub fn fd(&self) -> RawFd {
        match self.0 {}
    }

    /// The same process by another descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self.0 {}
    }

    /// Sends a signal.
    pub fn send_signal(&self, _number: i32) -> io::Result<()> {
        match self.0 {}
    }

    /// How the process ended, or None if it runs.
    pub fn reap(&self) -> io::Result<Option<Ending>> {
        match self.0 {}
    }

    /// As [`Self::reap`], but leaves the process to be reaped.
    pub fn peek(&self) -> io::Result<Option<Ending>> {
        match self.0 {}
    }
}
