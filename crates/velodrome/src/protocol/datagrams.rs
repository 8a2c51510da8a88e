//! Datagrams: the protocol, the transport, and the socket under them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use velodrome_engine::sys::{self, Peer, SocketType};
use velodrome_engine::transport::datagram::{Datagram, DatagramProtocol as EngineProtocol, Doing};
use velodrome_engine::transport::stream::Descriptor;
use velodrome_engine::transport::write_queue::Chunk;

use super::host::{Lend, ProtocolRef};
use super::lender::{Called, Lender};
use crate::channel;
use crate::local::{self, Local};
use crate::net::lookup;
use crate::unhandled::Unhandled;
use crate::waiting::Waiter;

/// What a datagram that waits to be sent counts beside its own bytes, so that a queue of empty ones has an end: UDP's
/// header, as asyncio counts.
const HEADER: usize = 8;

/// What a datagram socket tells: `asyncio.DatagramProtocol`, with its names and its order. A callback that panics aborts the
/// socket, and [`Builder::on_error`](crate::Builder::on_error) is told.
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
pub trait DatagramProtocol: 'static {
    /// The socket is open, and this is what to send by.
    fn connection_made(&mut self, _transport: DatagramTransport) {}

    /// A datagram has come. The bytes are the loop's own buffer, and gone afterwards.
    fn datagram_received(&mut self, data: &[u8], sender: SocketAddr);

    /// The kernel refused something: an earlier datagram found nobody, say. The socket goes on.
    fn error_received(&mut self, _error: io::Error) {}

    /// More is waiting to be sent than is good to keep.
    fn pause_writing(&mut self) {}

    /// What was waiting has been sent, or nearly.
    fn resume_writing(&mut self) {}

    /// The socket is closed.
    fn connection_lost(&mut self, _error: Option<io::Error>) {}
}

/// Where a datagram socket is, and whom it talks to: the arguments of asyncio's `create_datagram_endpoint`.
#[derive(Clone, Debug, Default)]
pub struct DatagramOptions {
    local: Option<(String, u16)>,
    remote: Option<(String, u16)>,
    reuse_port: bool,
    broadcast: bool,
}

impl DatagramOptions {
    /// Anywhere, and for anybody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Receive at this address; port 0 is any that is free.
    #[must_use]
    pub fn local_addr(mut self, host: &str, port: u16) -> Self {
        self.local = Some((host.to_owned(), port));
        self
    }

    /// Talk to this address only: nobody else is heard, and [`sendto`](DatagramTransport::sendto) needs no address.
    #[must_use]
    pub fn remote_addr(mut self, host: &str, port: u16) -> Self {
        self.remote = Some((host.to_owned(), port));
        self
    }

    /// Whether others may have the same address (`SO_REUSEPORT`). They may not unless this says so.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether datagrams may go to everybody on the link (`SO_BROADCAST`). They may not unless this says so.
    #[must_use]
    pub fn allow_broadcast(mut self, on: bool) -> Self {
        self.broadcast = on;
        self
    }

    /// A socket for the first pair of addresses that will do.
    async fn open(&self, local: &Local) -> io::Result<OwnedFd> {
        let here = addresses(local, self.local.as_ref()).await?;
        let there = addresses(local, self.remote.as_ref()).await?;
        let mut failure = io::Error::new(
            io::ErrorKind::InvalidInput,
            "a datagram endpoint needs a local or a remote address, and both of one family",
        );
        for (here, there) in pairs(&here, &there) {
            match self.try_open(here, there) {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn try_open(&self, here: Option<SocketAddr>, there: Option<SocketAddr>) -> io::Result<OwnedFd> {
        let any = here.or(there).ok_or(io::ErrorKind::InvalidInput)?;
        let socket = sys::socket(Peer::from(any).family(), SocketType::DGRAM)?;
        let fd = socket.as_raw_fd();
        if self.reuse_port {
            sys::set_reuseport(fd, true)?;
        }
        if self.broadcast {
            sys::set_broadcast(fd, true)?;
        }
        if let Some(here) = here {
            sys::bind(fd, &here.into()).map_err(|error| about("bind to", here, &error))?;
        }
        if let Some(there) = there {
            sys::connect(fd, &there.into()).map_err(|error| about("connect to", there, &error))?;
        }
        Ok(socket)
    }
}

fn about(what: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {address}: {error}"))
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

/// Open a datagram socket, and tell the protocol that `factory` makes: `loop.create_datagram_endpoint`. Its
/// `connection_made` has been called when this returns. See [`DatagramProtocol`] for an example.
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
    let host = Rc::new(DatagramHost {
        local: Rc::downgrade(&local),
        lender: Lender::new(factory()),
        datagram: RefCell::default(),
        made: Cell::new(false),
        waiter: Waiter::default(),
    });
    let datagram = Datagram::new(local.hub(), Descriptor::Owned(socket), HEADER, Rc::clone(&host) as Rc<_>);
    host.datagram.replace(Some(Rc::clone(&datagram)));
    let opening = Opening(Some(datagram));
    opening.0.as_ref().map_or(Ok(()), Datagram::start)?;
    poll_fn(|cx| host.poll_made(cx)).await;
    let datagram = opening.keep().ok_or(io::ErrorKind::NotConnected)?;
    Ok((DatagramTransport(datagram), ProtocolRef::over(host)))
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

/// A datagram socket, for who sends by it: `asyncio.DatagramTransport`. Clones are the same socket. Dropping it closes
/// nothing.
#[derive(Clone)]
pub struct DatagramTransport(Rc<Datagram>);

impl DatagramTransport {
    /// Send one datagram to `address`, or to the remote address of the endpoint; keep it if the kernel has no room now. What
    /// the kernel says against it is told by `error_received`, or by [`Builder::on_error`](crate::Builder::on_error) when
    /// it was sent from within a callback.
    pub fn sendto(&self, data: impl AsRef<[u8]>, address: Option<SocketAddr>) {
        let (data, to) = (data.as_ref(), address.map(Peer::from));
        let sent = self.0.send(data, to.as_ref(), || Chunk::Owned(data.to_vec()));
        if let Err(error) = sent
            && let Some(local) = local::current()
        {
            local.report(&Unhandled::new("a datagram was not sent", error));
        }
    }

    /// Receive no more, send what is kept, then close: `connection_lost` tells when that is done.
    pub fn close(&self) {
        self.0.close();
    }

    /// Close at once, and drop what was not sent.
    pub fn abort(&self) {
        self.0.abort(None);
    }

    /// Whether the socket is closed, or about to be.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    /// How many bytes are kept to be sent, each datagram's header included.
    #[must_use]
    pub fn write_buffer_size(&self) -> usize {
        self.0.buffered()
    }

    /// Low and high-water mark, in bytes.
    #[must_use]
    pub fn write_buffer_limits(&self) -> (usize, usize) {
        self.0.write_limits()
    }

    /// Set the marks between which writing is paused and resumed; one that is not given follows from the other.
    ///
    /// # Errors
    /// `InvalidInput` if the high mark is below the low one.
    pub fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> io::Result<()> {
        let set = self.0.set_write_limits(high, low);
        set.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// The address at which it receives.
    ///
    /// # Errors
    /// `NotConnected` if it is closed.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        if self.0.is_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        channel::internet(&sys::getsockname(self.0.fd())?)
    }
}

impl fmt::Debug for DatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramTransport")
            .field("closing", &self.is_closing())
            .field("buffered", &self.write_buffer_size())
            .finish()
    }
}

/// Who stands between the engine and a user's datagram protocol.
struct DatagramHost<P> {
    local: Weak<Local>,
    lender: Lender<P>,
    /// None once it is lost. Until then the two hold each other.
    datagram: RefCell<Option<Rc<Datagram>>>,
    made: Cell<bool>,
    waiter: Waiter,
}

impl<P: DatagramProtocol> DatagramHost<P> {
    fn poll_made(&self, cx: &Context<'_>) -> Poll<()> {
        if self.made.get() {
            return Poll::Ready(());
        }
        self.waiter.wait(cx);
        Poll::Pending
    }

    fn datagram(&self) -> Option<Rc<Datagram>> {
        self.datagram.borrow().clone()
    }

    fn call(&self, name: &str, callback: impl FnOnce(&mut P)) {
        match self.lender.call(callback) {
            Called::Returned(()) => self.settle(),
            Called::Panicked => self.fail(name),
            Called::Busy => {}
        }
    }

    fn settle(&self) {
        if let Some(pause) = self.lender.take_owed() {
            self.tell(pause);
        }
    }

    fn tell(&self, pause: bool) {
        if self.lender.may_tell(pause) {
            match pause {
                true => self.call("pause_writing", P::pause_writing),
                false => self.call("resume_writing", P::resume_writing),
            }
        }
    }

    fn fail(&self, name: &str) {
        let error = || io::Error::other(format!("{name} panicked"));
        if let Some(local) = self.local.upgrade() {
            local.report(&Unhandled::new("a datagram socket is aborted", error()));
        }
        if let Some(datagram) = self.datagram() {
            datagram.abort(Some(error()));
        }
    }

    fn end(&self, error: Option<io::Error>) {
        let datagram = self.datagram.take();
        self.made.set(true);
        self.waiter.wake();
        self.call("connection_lost", |protocol| protocol.connection_lost(error));
        drop(datagram);
    }
}

impl<P: DatagramProtocol> EngineProtocol for DatagramHost<P> {
    fn connection_made(&self) {
        let Some(datagram) = self.datagram() else { return };
        self.call("connection_made", |protocol| protocol.connection_made(DatagramTransport(datagram)));
        self.made.set(true);
        self.waiter.wake();
    }

    fn datagram_received(&self, data: &[u8], sender: &Peer) {
        // Every socket opened here is of the internet, and so is who sends to it.
        if let Some(sender) = sender.as_socket_addr() {
            self.call("datagram_received", |protocol| protocol.datagram_received(data, sender));
        }
    }

    fn error_received(&self, error: io::Error, _doing: Doing) {
        self.call("error_received", |protocol| protocol.error_received(error));
    }

    fn pause_writing(&self) {
        self.tell(true);
    }

    fn resume_writing(&self) {
        self.tell(false);
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        self.end(error);
    }

    fn abandon(&self) {
        self.end(Some(io::Error::other("the event loop of this socket has ended")));
    }
}

impl<P: DatagramProtocol> Lend<P> for DatagramHost<P> {
    fn lend(&self, borrower: &mut dyn FnMut(&mut P)) -> bool {
        let lent = self.lender.lend(borrower);
        if lent {
            self.settle();
        }
        lent
    }
}
