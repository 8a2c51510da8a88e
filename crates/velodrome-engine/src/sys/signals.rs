//! Signals: a handler that rings a bell for whoever has asked for its signal.
//!
//! A handler runs on any thread, between any two instructions, so it may take no lock and allocate nothing. It finds its
//! listeners in a table that is never freed: a place is taken and given back, its bell is made once and stays open, or a
//! handler that is late would write into whatever file has its number by then. The one call it makes is `write`, which
//! rustix does without the C library on Linux, so `errno` is left alone.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;

use super::native::Bell;

/// The numbers of the signals that programs ask for, as this platform counts.
pub use libc::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGWINCH,
};

/// Most listeners at a time in one process. A program has a few for each loop.
const PLACES: usize = 256;

/// As the kernel's NSIG on most architectures: one more than the largest number.
const SIGNALS: usize = 65;

/// Not to be caught, or raised by what the program itself did wrong: returning from a handler would do it again.
const FORBIDDEN: [c_int; 6] =
    [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGFPE, libc::SIGILL, libc::SIGBUS];

/// One listener, or room for one.
#[derive(Debug)]
struct Place {
    /// What it listens for; 0 while nobody has it.
    signal: AtomicI32,
    bell: OnceLock<Bell>,
}

static TABLE: [Place; PLACES] =
    [const { Place { signal: AtomicI32::new(0), bell: OnceLock::new() } }; PLACES];

/// What a signal did before the first listener came, and how many there are.
struct Before {
    listeners: usize,
    action: libc::sigaction,
}

static BEFORE: Mutex<[Option<Before>; SIGNALS]> = Mutex::new([const { None }; SIGNALS]);

fn before() -> MutexGuard<'static, [Option<Before>; SIGNALS]> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn handle(number: c_int) {
    for place in &TABLE {
        if place.signal.load(Ordering::Acquire) == number
            && let Some(bell) = place.bell.get()
        {
            bell.ring();
        }
    }
}

/// Somebody who listens for one signal, readable when it has come; what it did before it does again when the last one is dropped.
#[derive(Debug)]
pub struct SignalBell {
    number: c_int,
    place: &'static Place,
    bell: &'static Bell,
}

impl SignalBell {
    /// Listen for the signal `number`.
    ///
    /// # Errors
    /// EINVAL for what is no signal, or none that can be caught; ENOSPC if 256 listen already; EMFILE.
    pub fn new(number: i32) -> io::Result<Self> {
        if FORBIDDEN.contains(&number) || !(1..SIGNALS as c_int).contains(&number) {
            return Err(Errno::INVAL.into());
        }
        let mut before = before();
        let (place, bell) = vacant()?;
        let entry = &mut before[number as usize];
        match entry {
            Some(before) => before.listeners += 1,
            None => *entry = Some(Before { listeners: 1, action: set(number, &ours())? }),
        }
        // Last: from now on the handler knows it.
        place.signal.store(number, Ordering::Release);
        Ok(Self { number, place, bell })
    }

    /// Whether the signal has come since this was last asked.
    pub fn silence(&self) -> bool {
        self.bell.silence()
    }
}

/// The descriptor that is readable when the signal has come.
impl AsFd for SignalBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for SignalBell {
    fn drop(&mut self) {
        let mut before = before();
        let entry = &mut before[self.number as usize];
        if let Some(before) = entry {
            before.listeners -= 1;
            if before.listeners == 0 {
                // There is nothing to be done should it fail, and no reason why it should.
                let _ = set(self.number, &before.action);
                *entry = None;
            }
        }
        self.place.signal.store(0, Ordering::Release);
    }
}

/// A place for one more, with a silent bell. Called with the lock held, so nobody else takes it.
fn vacant() -> io::Result<(&'static Place, &'static Bell)> {
    let free = |place: &&Place| place.signal.load(Ordering::Acquire) == 0;
    let place = TABLE.iter().find(free).ok_or(Errno::NOSPC)?;
    if place.bell.get().is_none() {
        drop(place.bell.set(Bell::new()?));
    }
    let bell = place.bell.get().ok_or(Errno::NOSPC)?;
    bell.silence();
    Ok((place, bell))
}

/// Our handler, which lets interrupted calls of other threads go on by themselves.
fn ours() -> libc::sigaction {
    // SAFETY: `sigaction` is a structure of numbers, for which zero is a value: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handle as extern "C" fn(c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    action
}

/// Says what a signal is to do; returns what it did.
fn set(number: c_int, action: &libc::sigaction) -> io::Result<libc::sigaction> {
    let mut old = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: both pointers are to structures of ours that outlive the call. `handle` is safe to run at any time, as
    // the text above says, and an action that was there before was installed by somebody who promised the same.
    let answer = unsafe { libc::sigaction(number, ptr::from_ref(action), old.as_mut_ptr()) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the C library has filled it in.
    Ok(unsafe { old.assume_init() })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::process::{Command, id};

    use super::*;

    /// One at a time: signals are the whole process's.
    static ALONE: Mutex<()> = Mutex::new(());

    fn raise(number: i32) {
        let sent = Command::new("kill").args([&format!("-{number}"), &id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// A signal to the process may be handled by another thread, a moment later.
    fn comes(bell: &SignalBell) -> bool {
        (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            bell.silence()
        })
    }

    #[test]
    fn a_signal_rings_for_all_who_listen_for_it_and_for_nobody_else() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (one, other) = (SignalBell::new(SIGUSR1).unwrap(), SignalBell::new(SIGUSR1).unwrap());
        let stranger = SignalBell::new(SIGUSR2).unwrap();
        assert!(!one.silence() && !other.silence());
        raise(SIGUSR1);
        assert!(comes(&one) && comes(&other) && !stranger.silence());
        assert!(!one.silence(), "it came once");
    }

    #[test]
    fn what_was_there_before_comes_back_with_the_last_listener() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let handler = || {
            let now = set(SIGWINCH, &ours()).unwrap();
            set(SIGWINCH, &now).unwrap();
            now.sa_sigaction
        };
        let first = handler();
        let (one, other) = (SignalBell::new(SIGWINCH).unwrap(), SignalBell::new(SIGWINCH).unwrap());
        drop(one);
        assert_ne!(handler(), first);
        drop(other);
        assert_eq!(handler(), first);
    }

    #[test]
    fn a_place_that_is_given_back_is_silent_for_the_next() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let one = SignalBell::new(SIGUSR1).unwrap();
        let fd = one.as_fd().as_raw_fd();
        raise(SIGUSR1);
        assert!(comes(&one));
        raise(SIGUSR1);
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(one);
        let next = SignalBell::new(SIGUSR1).unwrap();
        assert_eq!((next.as_fd().as_raw_fd(), next.silence()), (fd, false));
    }

    #[test]
    fn what_cannot_be_caught_is_refused() {
        for number in [0, -1, 65, SIGKILL, libc::SIGSEGV] {
            assert_eq!(SignalBell::new(number).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
