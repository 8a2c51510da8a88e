//! The life of a socket but for its bytes: made, named, connected, asked, shut down.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketType, sockopt};

use super::{Peer, lend, native, retry};

/// A socket that does not block and is not inherited.
pub fn socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    native::socket(family, kind)
}

/// Two connected Unix stream sockets that do not block and are not inherited.
pub fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    native::socketpair()
}

/// Gives the socket its own address.
pub fn bind(fd: RawFd, address: &Peer) -> io::Result<()> {
    let (fd, address) = (lend(fd)?, address.sockaddr()?);
    retry(|| rustix::net::bind(fd, &address))
}

/// Whether what [`socket`] or [`bind`] said is that this machine does not have the family, or the address.
pub fn is_unavailable(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::PFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

/// Makes the socket a listener.
pub fn listen(fd: RawFd, backlog: i32) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| rustix::net::listen(fd, backlog))
}

/// Begins to connect. A socket that does not block answers `EINPROGRESS`, and becomes writable when it is decided;
/// then [`take_error`] says how it went.
///
/// EINTR is not retried here: the attempt is under way then, and a second call would only be told `EALREADY`.
pub fn connect(fd: RawFd, address: &Peer) -> io::Result<()> {
    let (fd, address) = (lend(fd)?, address.sockaddr()?);
    rustix::net::connect(fd, &address).map_err(io::Error::from)
}

/// Whether what [`connect`] said is no failure: the attempt is under way.
pub fn is_connecting(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INPROGRESS | Errno::INTR))
}

/// Takes one waiting connection; the new socket does not block and is not inherited.
#[inline]
pub fn accept(fd: RawFd) -> io::Result<(OwnedFd, Peer)> {
    native::accept(lend(fd)?).map(|(connection, peer)| (connection, Peer::from_kernel(peer)))
}

/// Tells the peer that nothing more will come, and goes on receiving.
pub fn shutdown_write(fd: RawFd) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| rustix::net::shutdown(fd, Shutdown::Write))
}

/// The socket's own address.
pub fn getsockname(fd: RawFd) -> io::Result<Peer> {
    let fd = lend(fd)?;
    retry(|| rustix::net::getsockname(fd)).map(|address| Peer::from_kernel(Some(address)))
}

/// The address of the other end.
pub fn getpeername(fd: RawFd) -> io::Result<Peer> {
    let fd = lend(fd)?;
    retry(|| rustix::net::getpeername(fd)).map(Peer::from_kernel)
}

/// Takes the error the socket has been keeping (`SO_ERROR`), as the error it stands for: `Ok` if there is none.
/// Asking clears it.
pub fn take_error(fd: RawFd) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| sockopt::socket_error(fd))?.map_err(io::Error::from)
}

/// Stream, datagram or another.
pub fn socket_type(fd: RawFd) -> io::Result<SocketType> {
    let fd = lend(fd)?;
    retry(|| sockopt::socket_type(fd))
}

/// `TCP_NODELAY`: small writes leave at once.
pub fn set_nodelay(fd: RawFd, on: bool) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| sockopt::set_tcp_nodelay(fd, on))
}

/// Whether `TCP_NODELAY` is on.
pub fn nodelay(fd: RawFd) -> io::Result<bool> {
    let fd = lend(fd)?;
    retry(|| sockopt::tcp_nodelay(fd))
}

/// `SO_KEEPALIVE`: a silent peer is asked whether it still lives.
pub fn set_keepalive(fd: RawFd, on: bool) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| sockopt::set_socket_keepalive(fd, on))
}

/// `SO_REUSEADDR`: a listener may take an address that is still winding down.
pub fn set_reuseaddr(fd: RawFd, on: bool) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| sockopt::set_socket_reuseaddr(fd, on))
}

/// `SO_REUSEPORT`: several sockets share one address.
pub fn set_reuseport(fd: RawFd, on: bool) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| sockopt::set_socket_reuseport(fd, on))
}

/// `SO_BROADCAST`: datagrams may go to everybody on the link.
pub fn set_broadcast(fd: RawFd, on: bool) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| sockopt::set_socket_broadcast(fd, on))
}

/// `IPV6_V6ONLY`: an IPv6 listener leaves IPv4 to others.
pub fn set_v6only(fd: RawFd, on: bool) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| sockopt::set_ipv6_v6only(fd, on))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::sys;

    fn listener() -> (OwnedFd, Peer) {
        let listener = socket(AddressFamily::INET, SocketType::STREAM).unwrap();
        set_reuseaddr(listener.as_raw_fd(), true).unwrap();
        bind(listener.as_raw_fd(), &Peer::from(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        listen(listener.as_raw_fd(), 8).unwrap();
        let address = getsockname(listener.as_raw_fd()).unwrap();
        (listener, address)
    }

    /// Loopback connections are decided at once on Linux, but nothing promises it.
    fn settled(fd: RawFd) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        let borrowed = lend(fd)?;
        poll(&mut [PollFd::new(&borrowed, PollFlags::OUT)], None)?;
        take_error(fd)
    }

    #[test]
    fn a_connection_from_beginning_to_end() {
        let (listener, address) = listener();
        assert_eq!(accept(listener.as_raw_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);

        let client = socket(AddressFamily::INET, SocketType::STREAM).unwrap();
        let begun = connect(client.as_raw_fd(), &address).unwrap_err();
        assert_eq!(begun.raw_os_error(), Some(Errno::INPROGRESS.raw_os_error()));
        assert!(is_connecting(&begun));
        settled(client.as_raw_fd()).unwrap();
        set_nodelay(client.as_raw_fd(), true).unwrap();
        set_keepalive(client.as_raw_fd(), true).unwrap();

        let (server, peer) = accept(listener.as_raw_fd()).unwrap();
        assert!(sys::is_nonblocking(server.as_raw_fd()).unwrap());
        assert_eq!(peer, getsockname(client.as_raw_fd()).unwrap());
        assert_eq!(getpeername(client.as_raw_fd()).unwrap(), address);
        assert_eq!(socket_type(server.as_raw_fd()).unwrap(), SocketType::STREAM);

        shutdown_write(client.as_raw_fd()).unwrap();
        assert_eq!(sys::recv(server.as_raw_fd(), &mut [0; 1]).unwrap(), 0);
        assert_eq!(sys::send(server.as_raw_fd(), b"bye").unwrap(), 3);
    }

    #[test]
    fn a_refused_connection_is_told_by_so_error() {
        let (listener, address) = listener();
        drop(listener);
        let client = socket(AddressFamily::INET, SocketType::STREAM).unwrap();
        connect(client.as_raw_fd(), &address).unwrap_err();
        let error = settled(client.as_raw_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::CONNREFUSED.raw_os_error()));
        assert!(!is_connecting(&error));
        take_error(client.as_raw_fd()).unwrap();
    }

    #[test]
    fn the_ends_of_a_socketpair_have_no_name() {
        let (left, _right) = socketpair().unwrap();
        assert_eq!(getpeername(left.as_raw_fd()).unwrap().as_socket_addr(), None);
        assert!(getpeername(left.as_raw_fd()).unwrap().unix_path().unwrap_or_default().is_empty());
    }

    #[test]
    fn unix_names_survive_the_kernel() {
        // 108 bytes is the longest path there is room for, and leaves none for a zero behind it.
        let start = std::env::temp_dir().join(format!("velodrome-{}-", std::process::id()));
        for length in [60, 107, 108] {
            let path = format!("{:x<length$}", start.to_str().unwrap());
            let unix = socket(AddressFamily::UNIX, SocketType::STREAM).unwrap();
            bind(unix.as_raw_fd(), &Peer::unix(path.as_bytes()).unwrap()).unwrap();
            let name = getsockname(unix.as_raw_fd());
            std::fs::remove_file(&path).unwrap();
            assert_eq!(name.unwrap().unix_path(), Some(path.as_bytes()));
        }
    }

    #[test]
    fn abstract_names_survive_the_kernel() {
        if !native::ABSTRACT_NAMES {
            return;
        }
        let name = format!("\0velodrome\0{}", std::process::id());
        let unix = socket(AddressFamily::UNIX, SocketType::DGRAM).unwrap();
        bind(unix.as_raw_fd(), &Peer::unix(name.as_bytes()).unwrap()).unwrap();
        assert_eq!(getsockname(unix.as_raw_fd()).unwrap().unix_path(), Some(name.as_bytes()));
    }

    #[test]
    fn options_of_the_other_families() {
        let v6 = socket(AddressFamily::INET6, SocketType::STREAM).unwrap();
        set_v6only(v6.as_raw_fd(), true).unwrap();
        set_reuseport(v6.as_raw_fd(), true).unwrap();
        let udp = socket(AddressFamily::INET, SocketType::DGRAM).unwrap();
        set_broadcast(udp.as_raw_fd(), true).unwrap();
        assert!(set_nodelay(udp.as_raw_fd(), true).is_err());
    }
}
