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
    /// Listeners on `addresses`.
    pub(super) fn listen_on(&self, addresses: Vec<SocketAddr>) -> io::Result<Vec<OwnedFd>> {
        on_each(addresses, |address| self.try_listen(address))
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

/// What `listen` makes of each address once. A name often stands for one of a family that the machine does not have,
/// and is served by the others, of which there must be one: asyncio's rule.
fn on_each<L>(
    addresses: Vec<SocketAddr>,
    listen: impl Fn(SocketAddr) -> io::Result<L>,
) -> io::Result<Vec<L>> {
    let (mut listeners, mut failures) = (Vec::new(), Vec::new());
    for address in without_repeats(addresses) {
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if sys::is_unavailable(&error) => failures.push((address, error)),
            Err(error) => return Err(advice::cannot(format!("listen on {address}"), error)),
        }
    }
    if listeners.is_empty() {
        return Err(advice::cannot_any("listen on", failures));
    }
    Ok(listeners)
}

fn without_repeats(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut once = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !once.contains(&address) {
            once.push(address);
        }
    }
    once
}

/// Of both families.
pub(crate) fn every_interface(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::error::Error;

    use rustix::io::Errno;

    use super::*;

    fn addresses() -> Vec<SocketAddr> {
        let [v4, v6] = ["127.0.0.1:80", "[::1]:80"].map(|address| address.parse().unwrap());
        vec![v6, v4, v6, v4]
    }

    /// On a machine that says `errno` against IPv6; the addresses that are listened on, and those that were asked for.
    fn without_v6(errno: Errno) -> (io::Result<Vec<SocketAddr>>, Vec<SocketAddr>) {
        let asked = RefCell::new(Vec::new());
        let listen = |address: SocketAddr| {
            asked.borrow_mut().push(address);
            if address.is_ipv6() { Err(errno.into()) } else { Ok(address) }
        };
        (on_each(addresses(), listen), asked.take())
    }

    #[test]
    fn an_address_of_a_family_that_there_is_not_is_passed_over() {
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let (listening, asked) = without_v6(errno);
            assert_eq!(listening.unwrap(), addresses()[1..2], "{errno}");
            assert_eq!(asked, addresses()[..2], "each address once");
        }
    }

    #[test]
    fn an_address_that_is_taken_is_an_error_of_the_whole() {
        let error = without_v6(Errno::ADDRINUSE).0.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with("cannot listen on [::1]:80: "), "{error}");
    }

    #[test]
    fn one_address_must_be_there() {
        let nowhere = |_| Err::<(), _>(Errno::ADDRNOTAVAIL.into());
        let error = on_each(addresses(), nowhere).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        let told = error.to_string();
        assert!(told.contains("listen on [::1]:80 (") && told.contains("127.0.0.1:80 ("), "{told}");
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.and_then(io::Error::raw_os_error), Some(Errno::ADDRNOTAVAIL.raw_os_error()));
    }

    #[test]
    fn the_kernel_says_so_of_an_address_that_is_not_this_machines() {
        let options = ListenOptions::new();
        // TEST-NET-1, which nobody has.
        let listen =
            |hosts: &[[u8; 4]]| options.listen_on(hosts.iter().map(|host| (*host, 0).into()).collect());
        assert_eq!(listen(&[[192, 0, 2, 1], [127, 0, 0, 1]]).unwrap().len(), 1);
        assert_eq!(listen(&[[192, 0, 2, 1]]).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
