//! A socket that listens.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use velodrome_engine::sys::{self, AddressFamily, Peer, SocketType};

use super::options::{ListenOptions, shown, unix_name};
use super::stale::{self, Leftover};
use crate::advice;

impl ListenOptions {
    /// A listener on `address`.
    pub(super) fn listen_on(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        self.try_listen(address).map_err(|error| advice::cannot(format!("listen on {address}"), error))
    }

    fn try_listen(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        let peer = Peer::from(address);
        let socket = sys::socket(peer.family(), SocketType::STREAM)?;
        self.prepare(socket.as_raw_fd(), peer.family())?;
        sys::bind(socket.as_raw_fd(), &peer)?;
        sys::listen(socket.as_raw_fd(), i32::from(self.backlog))?;
        Ok(socket)
    }

    fn prepare(&self, fd: RawFd, family: AddressFamily) -> io::Result<()> {
        if self.reuse_address {
            sys::set_reuseaddr(fd, true)?;
        }
        if self.reuse_port {
            sys::set_reuseport(fd, true)?;
        }
        if family == AddressFamily::INET6 {
            // Or it would take the port from the listener on the other family, which has the same.
            sys::set_v6only(fd, true)?;
        }
        Ok(())
    }

    /// A listener on the Unix socket at `path`, and the file to remove when it closes.
    pub(super) fn listen_unix(&self, path: &Path) -> io::Result<(OwnedFd, Option<Leftover>)> {
        let peer = unix_name(path)?;
        self.try_listen_unix(path, &peer)
            .map_err(|error| advice::cannot(format!("listen on {}", shown(path)), error))
    }

    fn try_listen_unix(&self, path: &Path, peer: &Peer) -> io::Result<(OwnedFd, Option<Leftover>)> {
        let socket = sys::socket(AddressFamily::UNIX, SocketType::STREAM)?;
        stale::bind(&socket, path, peer, SocketType::STREAM)?;
        let leftover = if self.cleanup_socket { Leftover::at(path) } else { None };
        sys::listen(socket.as_raw_fd(), i32::from(self.backlog))?;
        Ok((socket, leftover))
    }
}

/// Of both families, unless the kernel was built without one.
pub(super) fn every_interface(port: u16) -> Vec<SocketAddr> {
    let v6 = sys::socket(AddressFamily::INET6, SocketType::STREAM).is_ok();
    let v6 = v6.then(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))].into_iter().chain(v6).collect()
}
