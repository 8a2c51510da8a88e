//! Child processes: watched, signalled and reaped by pidfd, so that a number which the kernel has given to the next
//! process reaches nobody.
//!
//! Spawning is the face's: the standard libraries of Python and Rust do it, each with its own options. A face opens the
//! child right after that, registers [`Child::fd`] with the reactor for reading, and reaps when it is ready. A child is
//! reaped once, and remembers how it ended; from then on signals find nobody.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;

pub use crate::sys::Ending;
use crate::sys::Pidfd;

impl Ending {
    /// As Python's `subprocess` counts: what ended by a signal has the signal's number, negative.
    #[must_use]
    pub fn returncode(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => -number,
        }
    }
}

/// A child process. Dropping it neither ends nor reaps the process.
#[derive(Debug)]
pub struct Child {
    pidfd: Pidfd,
    ended: Cell<Option<Ending>>,
}

impl Child {
    /// Take charge of the child `pid`, which nobody may have reaped.
    ///
    /// # Errors
    /// ENOSYS or EPERM where pidfds are missing or forbidden, EMFILE, and ECHILD or ESRCH if somebody else reaped the
    /// child: then the number may be a stranger's.
    pub fn open(pid: i32) -> io::Result<Self> {
        let pidfd = Pidfd::open(pid)?;
        pidfd.peek()?;
        Ok(Self { pidfd, ended: Cell::default() })
    }

    /// The descriptor that becomes readable when the process ends.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.pidfd.fd()
    }

    /// How the process ended, or None if it runs.
    ///
    /// # Errors
    /// ECHILD if somebody else reaped it: how it ended is lost.
    pub fn reap(&self) -> io::Result<Option<Ending>> {
        if self.ended.get().is_none() {
            self.ended.set(self.pidfd.reap()?);
        }
        Ok(self.ended.get())
    }

    /// Another handle of the same process, with a descriptor of its own. It does not learn what this one reaps later.
    ///
    /// # Errors
    /// EMFILE.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { pidfd: self.pidfd.try_clone()?, ended: self.ended.clone() })
    }

    /// Send a signal to the process, and to nobody else.
    ///
    /// # Errors
    /// ESRCH if it is reaped, EINVAL for what is no signal, EPERM if it runs as somebody else.
    pub fn send_signal(&self, number: i32) -> io::Result<()> {
        self.pidfd.send_signal(number)
    }
}

#[cfg(test)]
#[allow(clippy::zombie_processes, reason = "reaping is what is tested")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::driver::{Driver, Interest, Key, Timeout};

    /// Sleeps until its standard input ends.
    fn cat() -> std::process::Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn pid(child: &std::process::Child) -> i32 {
        child.id().try_into().unwrap()
    }

    /// None where the kernel knows no pidfds, and there is nothing to test.
    fn open(pid: i32) -> Option<Child> {
        match Child::open(pid) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            opened => Some(opened.unwrap()),
        }
    }

    fn wait(child: &Child) {
        let driver = Driver::from_env().unwrap();
        driver.add(child.fd(), Key(1), Interest::READ).unwrap();
        let mut events = Vec::new();
        while events.is_empty() {
            driver.wait(&mut events, Timeout::Never).unwrap();
        }
        driver.delete(child.fd()).unwrap();
    }

    #[test]
    fn a_child_is_reaped_once_and_remembers_how_it_ended() {
        let spawned = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let Some(child) = open(pid(&spawned)) else { return };
        wait(&child);
        for _ in 0..2 {
            assert_eq!(child.reap().unwrap(), Some(Ending::Code(7)));
        }
        assert!(Child::open(pid(&spawned)).is_err(), "no zombie is left");
    }

    #[test]
    fn a_signal_reaches_a_child_that_runs_and_nobody_after_it() {
        let spawned = cat();
        let Some(child) = open(pid(&spawned)) else { return };
        assert_eq!(child.reap().unwrap(), None);
        child.send_signal(9).unwrap();
        wait(&child);
        child.send_signal(9).unwrap();
        assert_eq!(child.reap().unwrap().map(Ending::returncode), Some(-9));
        assert!(child.send_signal(9).is_err(), "it is reaped");
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        let mut spawned = cat();
        let Some(child) = open(pid(&spawned)) else { return };
        for number in [i32::MIN, -1, 0, 1000] {
            assert_eq!(child.send_signal(number).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        drop(spawned.stdin.take());
        assert!(spawned.wait().unwrap().success());
    }

    #[test]
    fn a_child_that_somebody_else_reaped_is_no_child() {
        let mut spawned = cat();
        let Some(child) = open(pid(&spawned)) else { return };
        drop(spawned.stdin.take());
        spawned.wait().unwrap();
        assert!(child.reap().is_err());
        assert!(child.send_signal(9).is_err());
        let parent = std::os::unix::process::parent_id().try_into().unwrap();
        assert!(Child::open(parent).is_err(), "no child of ours");
    }
}
