//! A child process by descriptor: a pidfd names one process for ever, where a number is given to the next one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::{Ending, lend, retry};

/// A process, named so that no other can be meant. Readable once the process has ended
/// (<https://man7.org/linux/man-pages/man2/pidfd_open.2.html>).
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// Names the process `pid`. It is the one the caller means as long as nobody has reaped it.
    pub fn open(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(Errno::INVAL)?;
        retry(|| rustix::process::pidfd_open(pid, PidfdFlags::empty())).map(Self)
    }

    /// The descriptor, to wait for.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The same process by another descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends a signal. ESRCH if the process is gone and reaped, EINVAL if there is no such signal.
    pub fn send_signal(&self, number: i32) -> io::Result<()> {
        if number <= 0 {
            return Err(Errno::INVAL.into());
        }
        // SAFETY: nothing is read or written on the strength of the number: the kernel refuses one that it does not
        // know, and the C library's own signals are as good a reason to end as any.
        let signal = unsafe { Signal::from_raw_unchecked(number) };
        let fd = lend(self.fd())?;
        retry(|| rustix::process::pidfd_send_signal(fd, signal))
    }

    /// How the process ended, or None if it runs. Its number is free for others after this. ECHILD if it is no child
    /// of ours, or reaped already.
    pub fn reap(&self) -> io::Result<Option<Ending>> {
        self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    /// As [`Self::reap`], but leaves the process to be reaped.
    pub fn peek(&self) -> io::Result<Option<Ending>> {
        self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
    }

    fn wait(&self, options: WaitIdOptions) -> io::Result<Option<Ending>> {
        let fd = lend(self.fd())?;
        let status = retry(|| rustix::process::waitid(WaitId::PidFd(fd), options))?;
        Ok(status.as_ref().and_then(ending))
    }
}

fn ending(status: &WaitIdStatus) -> Option<Ending> {
    let signal = || status.terminating_signal().map(Ending::Signal);
    status.exit_status().map(Ending::Code).or_else(signal)
}
