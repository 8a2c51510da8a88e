//! System calls with types: the one place of the engine where `unsafe` is allowed.
//!
//! Everything above names a descriptor by its number, because a descriptor given to the loop may belong to somebody
//! else (a Python socket, a file the user opened). So the functions here take a `RawFd`, and a number that names
//! nothing comes back as `EBADF`, never as undefined behaviour. What the engine opens itself it gets as an
//! [`OwnedFd`](std::os::fd::OwnedFd), which closes exactly once.
//!
//! Two policies hold for every function in this directory, and live in this file:
//!
//! * **Errors** are `io::Error` made from the kernel's number, so that `raw_os_error()` is always there for a face
//!   to translate.
//! * **EINTR** is retried: these calls do not block, so there is no wait that a signal would have to cut short. The
//!   one call that waits belongs to the driver, and answers EINTR with "nothing happened". `connect` is the other
//!   exception, see [`connect`].
//!
//! This file is also the only one of its directory with a `cfg`: `native` is what differs between kernels, `sync`
//! what differs when loom explores the interleavings of `wakeup`, `faults` what `make torture` does to the calls.

#![allow(
    unsafe_code,
    reason = "this directory is where the engine's unsafe code lives, each block with its argument"
)]

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::Errno;

mod datagrams;
#[cfg(feature = "instruments")]
mod faults;
#[cfg(not(feature = "instruments"))]
#[path = "faults_absent.rs"]
mod faults;
mod fd;
pub mod names;
mod peer;
pub mod signals;
mod socket;
mod transfer;

#[cfg(epoll)]
#[path = "batch_linux.rs"]
mod batch;
#[cfg(not(epoll))]
#[path = "batch_posix.rs"]
mod batch;
#[cfg(epoll)]
pub(crate) mod epoll_pwait2;
#[cfg(epoll)]
#[path = "native_linux.rs"]
mod native;
#[cfg(not(epoll))]
#[path = "native_posix.rs"]
mod native;

#[cfg(epoll)]
#[path = "pidfd_linux.rs"]
mod pidfd;
#[cfg(not(epoll))]
#[path = "pidfd_absent.rs"]
mod pidfd;

#[cfg(portable)]
pub(crate) mod poller;

#[cfg(not(all(loom, test)))]
#[path = "sync_std.rs"]
pub(crate) mod sync;
#[cfg(all(loom, test))]
#[path = "sync_loom.rs"]
pub(crate) mod sync;

pub use datagrams::{Arrival, BATCH, Batch, LARGEST, Outgoing, recv_batch, recv_from, send_batch, send_to};
pub use fd::{check, dup, is_character_device, is_nonblocking, pipe, set_cloexec, set_nonblocking};
pub use native::Bell;
#[cfg(epoll)]
pub(crate) use native::take_place;
pub use peer::Peer;
pub use pidfd::Pidfd;
pub use rustix::net::{AddressFamily, SocketType};
pub use socket::{
    accept, bind, connect, getpeername, getsockname, is_connecting, is_unavailable, listen, nodelay,
    set_broadcast, set_keepalive, set_nodelay, set_reuseaddr, set_reuseport, set_v6only, shutdown_write,
    socket, socket_type, socketpair, take_error,
};
pub use transfer::{
    IOV_MAX, read, read_append, recv, recv_append, recv_now, send, send_now, send_vectored, sendfile, write,
    write_vectored,
};

/// How a process ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited, with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Lends a descriptor to one system call.
///
/// The lifetime is free, so whoever borrows keeps nothing: a borrow ends with the call it was made for.
pub(crate) fn lend<'call>(fd: RawFd) -> io::Result<BorrowedFd<'call>> {
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the one value a `BorrowedFd` must never hold, -1, was refused above. That the number is open for the
    // length of the call is the caller's promise, who owns it or was lent it; where the promise is broken the kernel
    // answers EBADF, because no code in `sys` reads or writes memory on the strength of a number.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Makes a call until no signal interrupts it, and puts its error into the form used everywhere else.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    rustix::io::retry_on_intr(|| faults::interrupt().and_then(|()| call())).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_names_nothing_is_ebadf() {
        let badf = Some(Errno::BADF.raw_os_error());
        let mut buf = [0; 1];
        for fd in [-1, RawFd::MIN, RawFd::MAX] {
            assert_eq!(recv(fd, &mut buf).unwrap_err().raw_os_error(), badf);
            assert_eq!(send(fd, b"x").unwrap_err().raw_os_error(), badf);
            assert_eq!(read(fd, &mut buf).unwrap_err().raw_os_error(), badf);
            assert_eq!(accept(fd).unwrap_err().raw_os_error(), badf);
            assert_eq!(set_nonblocking(fd, true).unwrap_err().raw_os_error(), badf);
            assert_eq!(getsockname(fd).unwrap_err().raw_os_error(), badf);
        }
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut answers = [Ok(7), Err(Errno::INTR), Err(Errno::INTR)].to_vec();
        assert_eq!(retry(|| answers.pop().unwrap()).unwrap(), 7);
        assert!(answers.is_empty());
    }
}
