//! What Linux does in one call and other kernels in two: flags at creation, eventfd, abstract Unix names.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::EventfdFlags;
use rustix::io::DupFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
    acceptfrom_with, socket_with,
};
use rustix::pipe::PipeFlags;

use super::{read, retry, write};

/// A send to a closed peer is an error, not a signal, whatever the process does about SIGPIPE.
pub(super) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;

/// Lets a receive tell how long a datagram was, even where it was cut.
pub(super) const WHOLE_LENGTH: RecvFlags = RecvFlags::TRUNC;

/// Whether it does.
#[cfg(test)]
pub(super) const TELLS_WHOLE_LENGTH: bool = true;

const OPEN_FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

pub(super) fn socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    retry(|| socket_with(family, kind, OPEN_FLAGS, None))
}

pub(super) fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    retry(|| rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, OPEN_FLAGS, None))
}

pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    retry(|| rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK))
}

#[inline]
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    retry(|| acceptfrom_with(listener, OPEN_FLAGS))
}

/// Puts the file behind `new` under the number of `old`, whose own file is closed thereby.
pub(crate) fn take_place(new: OwnedFd, old: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the number is open for as long as it is borrowed, and not closed here: ManuallyDrop forgets it.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(old.as_raw_fd()) });
    retry(|| rustix::io::dup3(&new, &mut place, DupFlags::CLOEXEC))
}

/// Sends part of a file by a socket, within the kernel.
pub(super) fn sendfile(
    to: BorrowedFd<'_>,
    from: BorrowedFd<'_>,
    offset: &mut u64,
    count: usize,
) -> io::Result<usize> {
    retry(|| rustix::fs::sendfile(to, from, Some(&mut *offset), count))
}

/// There is such a name, and it has no address.
pub(super) const EAI_NODATA: i32 = libc::EAI_NODATA;

/// A Unix name that begins with a zero is a name, not the absence of one.
pub(super) const ABSTRACT_NAMES: bool = true;

pub(super) fn abstract_unix(name: &[u8]) -> io::Result<SocketAddrUnix> {
    SocketAddrUnix::new_abstract_name(name).map_err(io::Error::from)
}

/// Something any thread, and any signal handler, can ring, and one thread can wait for: an eventfd.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// A silent bell.
    pub fn new() -> io::Result<Self> {
        retry(|| rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)).map(Self)
    }

    /// The descriptor that is readable while the bell rings.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Makes [`fd`](Self::fd) readable. The one error there can be is a full counter, and that bell is ringing.
    pub fn ring(&self) {
        let _ = write(self.fd(), &1u64.to_ne_bytes());
    }

    /// Stops the ringing; says whether there was any.
    pub fn silence(&self) -> bool {
        read(self.fd(), &mut [0; 8]).is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
