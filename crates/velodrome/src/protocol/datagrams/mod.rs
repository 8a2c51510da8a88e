//! Datagrams: the protocol, and the sockets that tell it. What sends is in `transport`, what a socket is told to be in
//! `options` and `unix`, who stands between engine and protocol in `host`.

mod address;
mod host;
mod options;
mod transport;
mod unix;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use velodrome_engine::transport::datagram::Datagram;
use velodrome_engine::transport::stream::Descriptor;

use self::host::DatagramHost;
use super::host::ProtocolRef;
use crate::local::{self, Local};
use crate::net::stale::Leftover;
use crate::{advice, existing};

pub use self::address::DatagramAddress;
pub use self::options::DatagramOptions;
pub use self::transport::DatagramTransport;
pub use self::unix::{UnixDatagramOptions, create_unix_datagram_endpoint};

/// What a datagram that waits to be sent counts beside its own bytes, so that a queue of empty ones has an end: UDP's
/// header, as asyncio counts.
const HEADER: usize = 8;

/// What a datagram socket tells: `asyncio.DatagramProtocol`, with its names and its order. A callback that panics aborts the
/// socket, and [`Builder::on_error`](crate::Builder::on_error) is told.
///
/// `A` is what an address is: a [`SocketAddr`] unless something else is said, a path for a
/// [Unix socket](crate::create_unix_datagram_endpoint).
///
/// ```
/// use std::io;
/// use std::net::SocketAddr;
/// use velodrome::{DatagramOptions, DatagramProtocol, DatagramTransport, create_datagram_endpoint};
///
/// #[derive(Default)]
/// struct Echo(Option<DatagramTransport>);
///
/// impl DatagramProtocol for Echo {
///     fn connection_made(&mut self, transport: DatagramTransport) {
///         self.0 = Some(transport);
///     }
///
///     fn datagram_received(&mut self, data: &[u8], sender: SocketAddr) {
///         if let Some(transport) = &self.0 {
///             transport.sendto(data, Some(sender));
///         }
///     }
/// }
///
/// velodrome::run(async {
///     let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
///     let (transport, _echo) = create_datagram_endpoint(Echo::default, &here).await?;
///     let client = std::net::UdpSocket::bind("127.0.0.1:0")?;
///     client.set_nonblocking(true)?;
///     client.send_to(b"hello", transport.local_addr()?)?;
///
///     // A socket without a protocol, awaited as any descriptor.
///     let (client, mut answer) = (velodrome::AsyncFd::new(client)?, [0; 16]);
///     let (size, _) = client.read_with(|client| client.recv_from(&mut answer)).await?;
///     assert_eq!(&answer[..size], b"hello");
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
pub trait DatagramProtocol<A: DatagramAddress = SocketAddr>: 'static {
    /// The socket is open, and this is what to send by.
    ///
    /// ```
    /// # struct Ping;
    /// # impl velodrome::DatagramProtocol for Ping {
    /// fn connection_made(&mut self, transport: velodrome::DatagramTransport) {
    ///     transport.sendto("ping", None);
    /// }
    /// # fn datagram_received(&mut self, _: &[u8], _: std::net::SocketAddr) {}
    /// # }
    /// ```
    fn connection_made(&mut self, _transport: DatagramTransport<A>) {}

    /// A datagram has come. The bytes are the loop's own buffer, and gone afterwards.
    ///
    /// ```
    /// # struct Log;
    /// # impl velodrome::DatagramProtocol for Log {
    /// fn datagram_received(&mut self, data: &[u8], sender: std::net::SocketAddr) {
    ///     println!("{} bytes from {sender}", data.len());
    /// }
    /// # }
    /// ```
    fn datagram_received(&mut self, data: &[u8], sender: A);

    /// The kernel refused something: an earlier datagram found nobody, say. The socket goes on.
    ///
    /// ```
    /// # struct Log;
    /// # impl velodrome::DatagramProtocol for Log {
    /// # fn datagram_received(&mut self, _: &[u8], _: std::net::SocketAddr) {}
    /// fn error_received(&mut self, error: std::io::Error) {
    ///     println!("nobody there? {error}");
    /// }
    /// # }
    /// ```
    fn error_received(&mut self, _error: io::Error) {}

    /// More is waiting to be sent than is good to keep.
    ///
    /// ```
    /// # struct Feed { paused: bool }
    /// # impl velodrome::DatagramProtocol for Feed {
    /// # fn datagram_received(&mut self, _: &[u8], _: std::net::SocketAddr) {}
    /// fn pause_writing(&mut self) {
    ///     self.paused = true;
    /// }
    /// # }
    /// ```
    fn pause_writing(&mut self) {}

    /// What was waiting has been sent, or nearly.
    ///
    /// ```
    /// # struct Feed { paused: bool }
    /// # impl velodrome::DatagramProtocol for Feed {
    /// # fn datagram_received(&mut self, _: &[u8], _: std::net::SocketAddr) {}
    /// fn resume_writing(&mut self) {
    ///     self.paused = false;
    /// }
    /// # }
    /// ```
    fn resume_writing(&mut self) {}

    /// The socket is closed.
    ///
    /// ```
    /// # struct Log;
    /// # impl velodrome::DatagramProtocol for Log {
    /// # fn datagram_received(&mut self, _: &[u8], _: std::net::SocketAddr) {}
    /// fn connection_lost(&mut self, error: Option<std::io::Error>) {
    ///     println!("closed: {error:?}");
    /// }
    /// # }
    /// ```
    fn connection_lost(&mut self, _error: Option<io::Error>) {}
}

/// Open a datagram socket, and tell the protocol that `factory` makes: `loop.create_datagram_endpoint`. Its
/// `connection_made` has been called when this returns. See [`DatagramProtocol`] for an example.
///
/// **Cancel safety**: may be dropped at any time; nothing stays open.
///
/// ```
/// # use std::net::{SocketAddr, UdpSocket};
/// # use velodrome::{DatagramOptions, DatagramProtocol, create_datagram_endpoint};
/// # struct Silent;
/// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
/// # velodrome::run(async {
/// # let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
/// # let (transport, _) = create_datagram_endpoint(|| Silent, &here).await?;
/// println!("Receiving at {}", transport.local_addr()?);
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// `InvalidInput` if neither address is given; if a name has no address, or the kernel refuses one. If no loop runs on this
/// thread.
pub async fn create_datagram_endpoint<P: DatagramProtocol>(
    factory: impl FnOnce() -> P,
    options: &DatagramOptions,
) -> io::Result<(DatagramTransport, ProtocolRef<P>)> {
    let local = local::require("create_datagram_endpoint")?;
    let socket = options.open(&local).await?;
    made(&local, factory(), socket, None).await
}

/// Tell the protocol that `factory` makes of a datagram socket that is bound or connected already: asyncio's
/// `create_datagram_endpoint(Factory, sock=…)`. Its addresses are what the protocol takes, paths for a Unix socket. It does
/// not block from now on, and programs that are started do not inherit it; a Unix socket's file stays when it is closed.
///
/// **Cancel safety**: may be dropped at any time; the socket is closed then.
///
/// ```
/// # use std::net::{SocketAddr, UdpSocket};
/// # use velodrome::{DatagramProtocol, create_datagram_endpoint_on};
/// # struct Silent;
/// # impl DatagramProtocol for Silent { fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {} }
/// # velodrome::run(async {
/// // With an option that DatagramOptions does not have.
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// socket.set_ttl(4)?;
/// let (transport, _silent) = create_datagram_endpoint_on(|| Silent, socket).await?;
/// assert!(transport.local_addr()?.ip().is_loopback());
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// `InvalidInput` if it is no datagram socket, or its addresses are not those of the protocol. If no loop runs on this
/// thread. It is closed then.
pub async fn create_datagram_endpoint_on<A: DatagramAddress, P: DatagramProtocol<A>>(
    factory: impl FnOnce() -> P,
    socket: impl Into<OwnedFd>,
) -> io::Result<(DatagramTransport<A>, ProtocolRef<P>)> {
    let local = local::require("create_datagram_endpoint_on")?;
    let (socket, name) = existing::endpoint(socket.into())?;
    if A::of(&name).is_none() {
        let stranger =
            io::Error::new(io::ErrorKind::InvalidInput, "its addresses are not those of the protocol");
        return Err(advice::no_endpoint(stranger));
    }
    made(&local, factory(), socket, None).await
}

/// The endpoint over `socket`, once its protocol knows.
async fn made<A: DatagramAddress, P: DatagramProtocol<A>>(
    local: &Rc<Local>,
    protocol: P,
    socket: OwnedFd,
    leftover: Option<Leftover>,
) -> io::Result<(DatagramTransport<A>, ProtocolRef<P>)> {
    let host = DatagramHost::new(local, protocol, leftover);
    let datagram = Datagram::new(local.hub(), Descriptor::Owned(socket), HEADER, Rc::clone(&host) as Rc<_>);
    host.attach(Rc::clone(&datagram));
    let opening = Opening(Some(datagram));
    opening.0.as_ref().map_or(Ok(()), Datagram::start)?;
    poll_fn(|cx| host.poll_made(cx)).await;
    let datagram = opening
        .keep()
        .ok_or_else(|| advice::unforeseen(io::ErrorKind::NotConnected, "an endpoint was opened twice"))?;
    Ok((DatagramTransport::new(datagram), ProtocolRef::over(host)))
}

/// A socket that nobody has been given yet, and that is closed if the one who asked for it gives up.
struct Opening(Option<Rc<Datagram>>);

impl Opening {
    fn keep(mut self) -> Option<Rc<Datagram>> {
        self.0.take()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(datagram) = self.0.take() {
            datagram.discard();
        }
    }
}
