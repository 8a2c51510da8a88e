//! A socket that listens.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use velodrome_engine::sys::{self, AddressFamily, Peer, SocketType};

/// How many connections may wait to be accepted, and how many are accepted in one turn. asyncio's.
pub(super) const BACKLOG: u16 = 100;

/// A listener on `address`, and the address it got.
pub(super) fn listen(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    try_listen(address)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

fn try_listen(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let peer = Peer::from(address);
    let socket = sys::socket(peer.family(), SocketType::STREAM)?;
    prepare(socket.as_raw_fd(), peer.family())?;
    sys::bind(socket.as_raw_fd(), &peer)?;
    sys::listen(socket.as_raw_fd(), i32::from(BACKLOG))?;
    let bound = sys::getsockname(socket.as_raw_fd())?.as_socket_addr().unwrap_or(address);
    Ok((socket, bound))
}

fn prepare(fd: RawFd, family: AddressFamily) -> io::Result<()> {
    // A server that is started again must not wait until the last one's connections are forgotten.
    sys::set_reuseaddr(fd, true)?;
    if family == AddressFamily::INET6 {
        // Or it would take the port from the listener on the other family, which has the same.
        sys::set_v6only(fd, true)?;
    }
    Ok(())
}
