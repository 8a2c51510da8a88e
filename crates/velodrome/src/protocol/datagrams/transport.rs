//! The handle by which a protocol, or anybody else, sends datagrams.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use velodrome_engine::sys::{self, Peer};
use velodrome_engine::transport::datagram::Datagram;
use velodrome_engine::transport::write_queue::Chunk;

use super::address::DatagramAddress;
use crate::unhandled::Unhandled;
use crate::{advice, channel, local};

/// A datagram socket, for who sends by it: `asyncio.DatagramTransport`. Clones are the same socket. Dropping it closes
/// nothing.
///
/// ```
/// # use std::net::{SocketAddr, UdpSocket};
/// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
/// # struct Silent;
/// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
/// # velodrome::run(async {
/// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
/// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// transport.sendto("hello", Some(client.local_addr()?));
/// let (size, sender) = client.recv_from(&mut [0; 16])?;
/// assert_eq!((size, sender), (5, transport.local_addr()?));
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
pub struct DatagramTransport<A: DatagramAddress = SocketAddr>(Rc<Datagram>, PhantomData<fn(A)>);

impl<A: DatagramAddress> DatagramTransport<A> {
    pub(super) fn new(datagram: Rc<Datagram>) -> Self {
        Self(datagram, PhantomData)
    }

    /// Send one datagram to `address`, or to the remote address of the endpoint; keep it if the kernel has no room now. What
    /// the kernel says against it is told by `error_received`, or by [`Builder::on_error`](crate::Builder::on_error) when
    /// it was sent from within a callback.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// transport.sendto("hello", Some(peer.local_addr()?));
    /// assert_eq!(peer.recv(&mut [0; 16])?, 5);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn sendto(&self, data: impl AsRef<[u8]>, address: Option<A>) {
        if let Err(error) = self.send(data.as_ref(), address)
            && let Some(local) = local::current()
        {
            local.report(&Unhandled::new("a datagram was not sent", error));
        }
    }

    /// Receive no more, send what is kept, then close: `connection_lost` tells when that is done.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// transport.close();
    /// assert!(transport.is_closing());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn close(&self) {
        self.0.close();
    }

    /// Close at once, and drop what was not sent.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// transport.abort();
    /// assert!(transport.is_closing());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn abort(&self) {
        self.0.abort(None);
    }

    /// Whether the socket is closed, or about to be.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// assert!(!transport.is_closing());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    /// How many bytes are kept to be sent, each datagram's header included.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// assert_eq!(transport.write_buffer_size(), 0);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn write_buffer_size(&self) -> usize {
        self.0.buffered()
    }

    /// Low and high-water mark, in bytes.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// assert_eq!(transport.write_buffer_limits(), (16 * 1024, 64 * 1024));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn write_buffer_limits(&self) -> (usize, usize) {
        self.0.write_limits()
    }

    /// Set the marks between which writing is paused and resumed; one that is not given follows from the other.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// transport.set_write_buffer_limits(Some(4096), Some(1024))?;
    /// assert_eq!(transport.write_buffer_limits(), (1024, 4096));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if the high mark is below the low one.
    pub fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> io::Result<()> {
        let set = self.0.set_write_limits(high, low);
        set.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn send(&self, data: &[u8], address: Option<A>) -> io::Result<()> {
        let to = address.map(|address| address.peer()).transpose()?;
        self.0.send(data, to.as_ref(), || Chunk::Owned(data.to_vec()))
    }

    /// Another descriptor of the socket, to do with it what there is no method for: asyncio's `get_extra_info("socket")`.
    ///
    /// It is a duplicate and not the endpoint's own: anybody who can reach this transport can close it, and a borrowed
    /// number would be a stranger's from then on. As long as it is open, so is the socket.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// let socket = UdpSocket::from(transport.duplicate_fd()?);
    /// socket.set_multicast_ttl_v4(4)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if it is closed; if the process has no descriptor left.
    pub fn duplicate_fd(&self) -> io::Result<OwnedFd> {
        sys::dup(self.open_fd()?)
    }

    fn name(&self) -> io::Result<Peer> {
        sys::getsockname(self.open_fd()?)
    }

    fn open_fd(&self) -> io::Result<RawFd> {
        if self.0.is_closed() {
            return Err(advice::closed());
        }
        Ok(self.0.fd())
    }
}

impl DatagramTransport {
    /// The address at which it receives.
    ///
    /// ```
    /// # use std::net::{SocketAddr, UdpSocket};
    /// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
    /// # struct Silent;
    /// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
    /// # velodrome::run(async {
    /// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
    /// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
    /// assert_ne!(transport.local_addr()?.port(), 0);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if it is closed.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        channel::internet(&self.name()?)
    }
}

impl DatagramTransport<PathBuf> {
    /// The path at which it receives; none if it has no name, so that nobody can answer it.
    ///
    /// ```
    /// # use std::path::PathBuf;
    /// # struct Silent;
    /// # impl velodrome::DatagramProtocol<PathBuf> for Silent { fn datagram_received(&mut self, _: &[u8], _: PathBuf) {} }
    /// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-datagram-path", std::process::id()));
    /// # velodrome::run(async {
    /// let options = velodrome::UnixDatagramOptions::new().local_path(&path);
    /// let (transport, _) = velodrome::create_unix_datagram_endpoint(|| Silent, &options).await?;
    /// assert_eq!(transport.local_path()?, Some(path));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if it is closed.
    pub fn local_path(&self) -> io::Result<Option<PathBuf>> {
        self.name().map(|name| channel::unix_path(&name))
    }
}

impl<A: DatagramAddress> Clone for DatagramTransport<A> {
    fn clone(&self) -> Self {
        Self::new(Rc::clone(&self.0))
    }
}

impl<A: DatagramAddress> fmt::Debug for DatagramTransport<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramTransport")
            .field("closing", &self.is_closing())
            .field("buffered", &self.write_buffer_size())
            .finish()
    }
}
