//! `TCP_NODELAY` for what a listener accepts, without a system call for each connection.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;

use crate::sys;

/// Lets small writes of accepted connections leave at once.
///
/// A connection begins with its listener's options on Linux, on the BSDs and on macOS, but tcp(7) promises it nowhere. So
/// the option is set on the listener, and its first connection is asked whether it came along. That is the oldest in the
/// listener's queue: if it arrived after the option was set, so did all that follow, but for microseconds in which one
/// processor has made a connection that it has not queued yet.
#[derive(Debug)]
pub struct Nodelay(Cell<Option<bool>>);

impl Nodelay {
    /// For the connections of `listener`; None if that is no internet socket. Where the listener cannot have the option
    /// (MPTCP's of before Linux 5.17), its connections may: they are told one by one.
    #[must_use]
    pub fn of_listener(listener: RawFd) -> Option<Self> {
        // Asked of others, TIPC says yes to whatever is TCP's, and answers with nothing.
        sys::getsockname(listener).ok()?.as_socket_addr()?;
        let refused = sys::set_nodelay(listener, true).is_err();
        Some(Self(Cell::new(refused.then_some(false))))
    }

    /// Each connection accepted is to be shown here, the first one first.
    ///
    /// # Errors
    /// What the kernel says of `connection`.
    pub fn apply(&self, connection: RawFd) -> io::Result<()> {
        if self.0.get().is_none() {
            self.0.set(Some(sys::nodelay(connection)?));
        }
        if self.0.get() == Some(true) { Ok(()) } else { sys::set_nodelay(connection, true) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::*;
    use crate::sys::{AddressFamily, SocketType};

    fn listener() -> OwnedFd {
        let listener = sys::socket(AddressFamily::INET, SocketType::STREAM).unwrap();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        sys::bind(listener.as_raw_fd(), &anywhere.into()).unwrap();
        sys::listen(listener.as_raw_fd(), 8).unwrap();
        listener
    }

    fn client_of(listener: &OwnedFd) -> OwnedFd {
        let client = sys::socket(AddressFamily::INET, SocketType::STREAM).unwrap();
        let address = sys::getsockname(listener.as_raw_fd()).unwrap();
        let begun = sys::connect(client.as_raw_fd(), &address);
        assert!(begun.is_ok() || begun.is_err_and(|error| sys::is_connecting(&error)));
        client
    }

    fn accept_from(listener: &OwnedFd) -> OwnedFd {
        loop {
            match sys::accept(listener.as_raw_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                accepted => return accepted.unwrap().0,
            }
        }
    }

    fn shown_to(nodelay: &Nodelay, listener: &OwnedFd) -> bool {
        let accepted = accept_from(listener);
        nodelay.apply(accepted.as_raw_fd()).unwrap();
        sys::nodelay(accepted.as_raw_fd()).unwrap()
    }

    #[test]
    fn connections_have_it_from_their_listener_or_get_it() {
        let listener = listener();
        let _early = client_of(&listener);
        let early = accept_from(&listener);
        assert!(!sys::nodelay(early.as_raw_fd()).unwrap(), "else there would be nothing to do");
        let nodelay = Nodelay::of_listener(listener.as_raw_fd()).unwrap();
        let _clients = [client_of(&listener), client_of(&listener)];
        assert!(shown_to(&nodelay, &listener) && shown_to(&nodelay, &listener));
        nodelay.apply(early.as_raw_fd()).unwrap();
        let inherits = !sys::nodelay(early.as_raw_fd()).unwrap();
        assert!(inherits || !cfg!(target_os = "linux"), "what follows is neither asked nor told");
    }

    #[test]
    fn connections_from_before_the_listener_had_it_get_it() {
        let listener = listener();
        let _early = [client_of(&listener), client_of(&listener)];
        // Accepted, they are there for sure: the kernel makes them when the handshake ends.
        let waiting = [accept_from(&listener), accept_from(&listener)];
        let nodelay = Nodelay::of_listener(listener.as_raw_fd()).unwrap();
        for connection in &waiting {
            nodelay.apply(connection.as_raw_fd()).unwrap();
            assert!(sys::nodelay(connection.as_raw_fd()).unwrap());
        }
        let _late = client_of(&listener);
        assert!(shown_to(&nodelay, &listener));
    }

    #[test]
    fn it_is_for_internet_sockets() {
        let (ours, _theirs) = sys::socketpair().unwrap();
        assert!(Nodelay::of_listener(ours.as_raw_fd()).is_none());
    }

    /// A datagram socket stands for a listener that cannot have it.
    #[test]
    fn connections_of_a_listener_that_cannot_have_it_get_it() {
        let refusing = sys::socket(AddressFamily::INET, SocketType::DGRAM).unwrap();
        let nodelay = Nodelay::of_listener(refusing.as_raw_fd()).unwrap();
        let listener = listener();
        let _client = client_of(&listener);
        assert!(shown_to(&nodelay, &listener));
    }
}
