//! What a server's listeners tell: connections, and troubles.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};

use velodrome_engine::sys::Peer;
use velodrome_engine::transport::listener::Acceptor;
use velodrome_engine::transport::nodelay::Nodelay;

use super::options::Setup;
use super::server::Shared;
use crate::clients::Client;
use crate::local::Local;
use crate::unhandled::Unhandled;

/// What to do with a connection.
pub(crate) type Serve = dyn Fn(&Rc<Local>, OwnedFd, Peer, Client) -> io::Result<()>;

/// Who is told of connections. It holds neither loop nor server: both hold it.
pub(super) struct Door {
    pub(super) local: Weak<Local>,
    pub(super) server: Weak<Shared>,
    pub(super) setup: Setup,
    /// None for what is not TCP, or shall not have it.
    pub(super) nodelay: Option<Nodelay>,
    pub(super) serve: Rc<Serve>,
}

impl Door {
    fn open(&self, socket: OwnedFd, peer: Peer) -> io::Result<()> {
        let (Some(local), Some(server)) = (self.local.upgrade(), self.server.upgrade()) else {
            return Ok(());
        };
        self.nodelay.as_ref().map_or(Ok(()), |nodelay| nodelay.apply(socket.as_raw_fd()))?;
        self.setup.apply_accepted(&socket, &peer)?;
        (self.serve)(&local, socket, peer, server.clients.enter())
    }

    fn report(&self, doing: &str, error: io::Error) {
        if let Some(local) = self.local.upgrade() {
            local.report(&Unhandled::new(doing, error));
        }
    }
}

impl Acceptor for Door {
    fn accepted(&self, socket: OwnedFd, peer: Peer) {
        if let Err(error) = self.open(socket, peer) {
            self.report("a connection was accepted and then lost", error);
        }
    }

    fn exhausted(&self, error: io::Error) {
        self.report("no connections are accepted for a second", error);
    }

    fn failed(&self, error: io::Error) {
        if let Some(server) = self.server.upgrade() {
            server.fail(error);
        }
    }

    /// The server may live on, and would be waited for in vain; nobody accepts what its socket lets in.
    fn abandon(&self) {
        self.failed(io::Error::other("the event loop of this server has ended"));
    }
}
