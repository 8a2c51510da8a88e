//! Sockets that the program has already, made by itself or handed down by another program: asyncio's `sock=`.
//!
//! Each is looked at before it is used, because the kernel tells of a wrong kind late, or not at all: a datagram socket
//! that is connected reads and writes as a stream would, and loses what a stream keeps.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use velodrome_engine::sys::{self, Peer, SocketType};

use crate::advice;

/// A stream socket that is connected, and to whom. Over the internet small writes leave at once from now on, as asyncio has
/// it for every connection.
pub(crate) fn connection(socket: OwnedFd) -> io::Result<(OwnedFd, Peer)> {
    adopt(&socket, SocketType::STREAM)
        .and_then(|()| sys::getpeername(socket.as_raw_fd()))
        .and_then(|peer| hurry(&socket, &peer).map(|()| peer))
        .map(|peer| (socket, peer))
        .map_err(advice::no_stream)
}

fn hurry(socket: &OwnedFd, peer: &Peer) -> io::Result<()> {
    match peer.as_socket_addr() {
        Some(_) => sys::set_nodelay(socket.as_raw_fd(), true),
        None => Ok(()),
    }
}

/// A stream socket that listens from now on.
pub(crate) fn listener(socket: OwnedFd, backlog: u16) -> io::Result<OwnedFd> {
    adopt(&socket, SocketType::STREAM)
        .and_then(|()| sys::listen(socket.as_raw_fd(), i32::from(backlog)))
        .map(|()| socket)
        .map_err(advice::no_listener)
}

/// A datagram socket, and its own address.
pub(crate) fn endpoint(socket: OwnedFd) -> io::Result<(OwnedFd, Peer)> {
    adopt(&socket, SocketType::DGRAM)
        .and_then(|()| sys::getsockname(socket.as_raw_fd()))
        .map(|name| (socket, name))
        .map_err(advice::no_endpoint)
}

/// It is of that kind; it does not block from now on, and programs that are started do not inherit it.
fn adopt(socket: &OwnedFd, kind: SocketType) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    match sys::socket_type(fd)? {
        found if found == kind => {}
        SocketType::STREAM => return Err(wrong("a stream socket")),
        SocketType::DGRAM => return Err(wrong("a datagram socket")),
        _ => return Err(wrong("neither a stream nor a datagram socket")),
    }
    sys::set_nonblocking(fd, true)?;
    sys::set_cloexec(fd)
}

fn wrong(kind: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}"))
}
