//! What Linux does in one call, done by the calls every Unix has (macOS knows neither `accept4` nor eventfd).
//!
//! Between a call that opens a descriptor and the one that marks it as not inherited, another thread may fork. That
//! gap is the platform's; Python's own socket module has it there too.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
};

use super::{read, retry, write};

/// Not every Unix has MSG_NOSIGNAL. Rust's and Python's start-up code ignore SIGPIPE for the whole process.
pub(super) const SEND_FLAGS: SendFlags = SendFlags::empty();

/// The flag that lets a receive tell how long a datagram was is Linux's alone.
pub(super) const WHOLE_LENGTH: RecvFlags = RecvFlags::empty();

/// Whether it does.
#[cfg(test)]
pub(super) const TELLS_WHOLE_LENGTH: bool = false;

pub(super) fn socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    settle(retry(|| rustix::net::socket(family, kind, None))?)
}

pub(super) fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    let make =
        || rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None);
    let (left, right) = retry(make)?;
    Ok((settle(left)?, settle(right)?))
}

pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = retry(rustix::pipe::pipe)?;
    Ok((settle(reader)?, settle(writer)?))
}

pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    let (connection, peer) = retry(|| rustix::net::acceptfrom(listener))?;
    Ok((settle(connection)?, peer))
}

/// Each kernel has another `sendfile`, and none is in POSIX; who calls copies instead.
pub(super) fn sendfile(
    _to: BorrowedFd<'_>,
    _from: BorrowedFd<'_>,
    _offset: &mut u64,
    _count: usize,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is such a name, and it has no address. Not every system has a number of its own for that.
pub(super) const EAI_NODATA: i32 = libc::EAI_NONAME;

/// A Unix name that begins with a zero is no name: some kernels pad with zeros.
pub(super) const ABSTRACT_NAMES: bool = false;

pub(super) fn abstract_unix(_name: &[u8]) -> io::Result<SocketAddrUnix> {
    Err(Errno::INVAL.into())
}

fn settle(fd: OwnedFd) -> io::Result<OwnedFd> {
    retry(|| fcntl_setfd(&fd, FdFlags::CLOEXEC))?;
    retry(|| fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK))?;
    Ok(fd)
}

/// Something any thread, and any signal handler, can ring, and one thread can wait for: a pipe.
#[derive(Debug)]
pub struct Bell {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Bell {
    /// A silent bell.
    pub fn new() -> io::Result<Self> {
        pipe().map(|(reader, writer)| Self { reader, writer })
    }

    /// The descriptor that is readable while the bell rings.
    pub fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Makes [`fd`](Self::fd) readable. The one error there can be is a full pipe, and that bell is ringing.
    pub fn ring(&self) {
        let _ = write(self.writer.as_raw_fd(), &[1]);
    }

    /// Stops the ringing; says whether there was any.
    ///
    /// One read is enough for the inbox, which rings once between two silences; what others rang more than 64 times
    /// since then makes the descriptor readable once again, and that is harmless.
    pub fn silence(&self) -> bool {
        read(self.fd(), &mut [0; 64]).is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
