//! Where a datagram socket of the internet is, and whom it talks to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use velodrome_engine::sys::{self, Peer, SocketType};

use crate::advice;
use crate::local::Local;
use crate::net::listening::every_interface;
use crate::net::lookup;

/// Where a datagram socket is, and whom it talks to: the arguments of asyncio's `create_datagram_endpoint`.
///
/// ```
/// let server = velodrome::DatagramOptions::new().local_addr("127.0.0.1", 9999);
/// let client = velodrome::DatagramOptions::new().remote_addr("127.0.0.1", 9999);
/// ```
#[derive(Clone, Debug, Default)]
pub struct DatagramOptions {
    local: Option<(String, u16)>,
    remote: Option<(String, u16)>,
    reuse_port: bool,
    broadcast: bool,
}

impl DatagramOptions {
    /// Anywhere, and for anybody.
    ///
    /// ```
    /// let options = velodrome::DatagramOptions::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Receive at this address; port 0 is any that is free, and an empty host every address of this machine: of IPv6
    /// only where it is to talk to one of that family.
    ///
    /// ```
    /// let options = velodrome::DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// ```
    #[must_use]
    pub fn local_addr(mut self, host: &str, port: u16) -> Self {
        self.local = Some((host.to_owned(), port));
        self
    }

    /// Talk to this address only: nobody else is heard, and [`sendto`](crate::DatagramTransport::sendto) needs no address.
    ///
    /// ```
    /// let options = velodrome::DatagramOptions::new().remote_addr("127.0.0.1", 9999);
    /// ```
    #[must_use]
    pub fn remote_addr(mut self, host: &str, port: u16) -> Self {
        self.remote = Some((host.to_owned(), port));
        self
    }

    /// Whether others may have the same address (`SO_REUSEPORT`). They may not unless this says so.
    ///
    /// ```
    /// let options = velodrome::DatagramOptions::new().local_addr("127.0.0.1", 9999).reuse_port(true);
    /// ```
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether datagrams may go to everybody on the link (`SO_BROADCAST`). They may not unless this says so.
    ///
    /// ```
    /// let options = velodrome::DatagramOptions::new().local_addr("", 0).allow_broadcast(true);
    /// ```
    #[must_use]
    pub fn allow_broadcast(mut self, on: bool) -> Self {
        self.broadcast = on;
        self
    }

    /// A socket for the first pair of addresses that will do.
    pub(super) async fn open(&self, local: &Local) -> io::Result<OwnedFd> {
        let here = match &self.local {
            Some((host, port)) if host.is_empty() => every_interface(*port),
            named => addresses(local, named.as_ref()).await?,
        };
        let there = addresses(local, self.remote.as_ref()).await?;
        let mut failure = no_address();
        for (here, there) in pairs(&here, &there) {
            match self.try_open(here, there) {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn try_open(&self, here: Option<SocketAddr>, there: Option<SocketAddr>) -> io::Result<OwnedFd> {
        let any = here.or(there).ok_or_else(no_address)?;
        let socket = sys::socket(Peer::from(any).family(), SocketType::DGRAM)?;
        let fd = socket.as_raw_fd();
        if self.reuse_port {
            sys::set_reuseport(fd, true)?;
        }
        if self.broadcast {
            sys::set_broadcast(fd, true)?;
        }
        if let Some(here) = here {
            sys::bind(fd, &here.into()).map_err(|error| advice::cannot(format!("bind to {here}"), error))?;
        }
        if let Some(there) = there {
            sys::connect(fd, &there.into())
                .map_err(|error| advice::cannot(format!("connect to {there}"), error))?;
        }
        Ok(socket)
    }
}

fn no_address() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "a datagram endpoint needs a local or a remote address, and both of one family",
    )
}

async fn addresses(local: &Local, name: Option<&(String, u16)>) -> io::Result<Vec<SocketAddr>> {
    match name {
        Some((host, port)) => lookup::look_up(local, host, *port).await,
        None => Ok(Vec::new()),
    }
}

/// Each address here with each there of its family; each alone, where there are no others.
fn pairs(here: &[SocketAddr], there: &[SocketAddr]) -> Vec<(Option<SocketAddr>, Option<SocketAddr>)> {
    if here.is_empty() {
        return there.iter().map(|there| (None, Some(*there))).collect();
    }
    if there.is_empty() {
        return here.iter().map(|here| (Some(*here), None)).collect();
    }
    let both = here.iter().flat_map(|here| there.iter().map(move |there| (*here, *there)));
    both.filter(|(here, there)| here.is_ipv4() == there.is_ipv4())
        .map(|(here, there)| (Some(here), Some(there)))
        .collect()
}
