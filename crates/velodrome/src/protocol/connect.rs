//! Connections that are told by callbacks: being the client, and being the server.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use velodrome_engine::sys::Peer;
use velodrome_engine::transport::stream::{Descriptor, Stream};

use super::far_end::Wire;
use super::host::{Host, ProtocolRef};
use super::kinds::AnyProtocol;
use super::transport::Transport;
use crate::channel::Channel;
use crate::clients::Client;
use crate::local::{self, Local};
use crate::net::door::Serve;
use crate::net::options::{ConnectOptions, ListenOptions};
use crate::net::server::Server;
use crate::{advice, existing};

/// Connect to `host` by TCP, and tell the protocol that `factory` makes: `loop.create_connection`.
///
/// Its `connection_made` has been called when this returns. As [`open_connection`](crate::open_connection) otherwise.
///
/// **Cancel safety**: may be dropped at any time; nothing stays open.
///
/// ```
/// use std::io;
/// use velodrome::{Protocol, create_connection};
///
/// #[derive(Default)]
/// struct Collect(Vec<u8>);
///
/// impl Protocol for Collect {
///     fn data_received(&mut self, data: &[u8]) {
///         self.0.extend_from_slice(data);
///     }
/// }
///
/// # async fn echo(mut reader: velodrome::StreamReader, writer: velodrome::StreamWriter) -> io::Result<()> {
/// #     writer.write(reader.readline().await?);
/// #     Ok(())
/// # }
/// velodrome::run(async {
/// #   let server = velodrome::start_server(echo, "127.0.0.1", 0).await?;
/// #   let port = server.local_addr()?.port();
///     let (transport, collect) = create_connection(Collect::default, "127.0.0.1", port).await?;
///     transport.write("hello\n");
/// #   while !transport.is_closing() { velodrome::sleep(std::time::Duration::from_millis(1)).await; }
/// #   assert_eq!(collect.with(|collect| collect.0.clone()).unwrap(), b"hello\n");
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`open_connection`](crate::open_connection).
pub async fn create_connection<P: AnyProtocol<K>, K: 'static>(
    factory: impl FnOnce() -> P,
    host: &str,
    port: u16,
) -> io::Result<(Transport, ProtocolRef<P>)> {
    ConnectOptions::new().create_connection(factory, host, port).await
}

/// Tell the protocol that `factory` makes of a stream socket that is connected already: asyncio's
/// `create_connection(Factory, sock=…)`. The socket does not block from now on, and programs that are started do not
/// inherit it.
///
/// **Cancel safety**: may be dropped at any time; the socket is closed then.
///
/// ```
/// # use std::{io, os::unix::net::UnixStream};
/// # struct Silent;
/// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
/// # velodrome::run(async {
/// let (ours, theirs) = UnixStream::pair()?;
/// let (transport, _silent) = velodrome::create_connection_on(|| Silent, ours).await?;
/// transport.write("hello");
/// let (mut reader, _writer) = velodrome::open_socket(theirs)?;
/// assert_eq!(reader.readexactly(5).await?, b"hello");
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`open_socket`](crate::open_socket).
pub async fn create_connection_on<P: AnyProtocol<K>, K: 'static>(
    factory: impl FnOnce() -> P,
    socket: impl Into<OwnedFd>,
) -> io::Result<(Transport, ProtocolRef<P>)> {
    let local = local::require("create_connection_on")?;
    let (socket, peer) = existing::connection(socket.into())?;
    made(&local, factory(), socket, peer).await
}

/// Connect to the Unix socket at `path`, and tell the protocol that `factory` makes: `loop.create_unix_connection`.
///
/// **Cancel safety**: may be dropped at any time; nothing stays open.
///
/// ```
/// # use std::io;
/// # struct Silent;
/// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
/// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-protocol", std::process::id()));
/// # velodrome::run(async {
/// let server = velodrome::create_unix_server(|| Silent, &path).await?;
/// let (transport, _silent) = velodrome::create_unix_connection(|| Silent, &path).await?;
/// assert_eq!(transport.peer_unix_path().as_deref(), server.unix_path());
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`open_unix_connection`](crate::open_unix_connection).
pub async fn create_unix_connection<P: AnyProtocol<K>, K: 'static>(
    factory: impl FnOnce() -> P,
    path: impl AsRef<Path>,
) -> io::Result<(Transport, ProtocolRef<P>)> {
    ConnectOptions::new().create_unix_connection(factory, path).await
}

/// Listen on `host` and `port` by TCP, and let `factory` make a protocol for each connection: `loop.create_server`. As
/// [`start_server`](crate::start_server) otherwise; see [`Protocol`](crate::Protocol) for an example.
///
/// **Cancel safety**: may be dropped at any time; nobody listens then.
///
/// ```
/// # struct Silent;
/// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
/// # velodrome::run(async {
/// let server = velodrome::create_server(|| Silent, "127.0.0.1", 0).await?;
/// let (reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`start_server`](crate::start_server).
pub async fn create_server<P: AnyProtocol<K>, K: 'static>(
    factory: impl Fn() -> P + 'static,
    host: &str,
    port: u16,
) -> io::Result<Server> {
    ListenOptions::new().create_server(factory, host, port).await
}

/// Listen on the Unix socket at `path`, and let `factory` make a protocol for each connection:
/// `loop.create_unix_server`. As [`start_unix_server`](crate::start_unix_server) otherwise; see
/// [`create_unix_connection`] for an example.
///
/// **Cancel safety**: may be dropped at any time; nobody listens then.
///
/// ```
/// # struct Silent;
/// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
/// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-protocols", std::process::id()));
/// # velodrome::run(async {
/// let server = velodrome::create_unix_server(|| Silent, &path).await?;
/// let (reader, writer) = velodrome::open_unix_connection(&path).await?;
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`start_unix_server`](crate::start_unix_server).
pub async fn create_unix_server<P: AnyProtocol<K>, K: 'static>(
    factory: impl Fn() -> P + 'static,
    path: impl AsRef<Path>,
) -> io::Result<Server> {
    ListenOptions::new().create_unix_server(factory, path).await
}

impl ConnectOptions {
    /// As [`create_connection`], with these choices.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing stays open.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// let options = velodrome::ConnectOptions::new().keepalive(true);
    /// let (transport, silent) = options.create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn create_connection<P: AnyProtocol<K>, K: 'static>(
        &self,
        factory: impl FnOnce() -> P,
        host: &str,
        port: u16,
    ) -> io::Result<(Transport, ProtocolRef<P>)> {
        let local = local::require("create_connection")?;
        let (socket, peer) = self.connect(&local, host, port).await?;
        made(&local, factory(), socket, peer).await
    }

    /// As [`create_unix_connection`], with these choices.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing stays open.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-options-protocol", std::process::id()));
    /// # velodrome::run(async {
    /// # let server = velodrome::start_unix_server(|_, _| async {}, &path).await?;
    /// let options = velodrome::ConnectOptions::new();
    /// let (transport, silent) = options.create_unix_connection(|| Silent, &path).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn create_unix_connection<P: AnyProtocol<K>, K: 'static>(
        &self,
        factory: impl FnOnce() -> P,
        path: impl AsRef<Path>,
    ) -> io::Result<(Transport, ProtocolRef<P>)> {
        let local = local::require("create_unix_connection")?;
        let (socket, peer) = self.connect_unix(&local, path.as_ref()).await?;
        made(&local, factory(), socket, peer).await
    }
}

impl ListenOptions {
    /// As [`create_server`], with these choices.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// let options = velodrome::ListenOptions::new().backlog(1024);
    /// let server = options.create_server(|| Silent, "127.0.0.1", 0).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn create_server<P: AnyProtocol<K>, K: 'static>(
        &self,
        factory: impl Fn() -> P + 'static,
        host: &str,
        port: u16,
    ) -> io::Result<Server> {
        let local = local::require("create_server")?;
        self.listen(&local, host, port, serve(factory)).await
    }

    /// As [`create_unix_server`], with these choices.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-options-server", std::process::id()));
    /// # velodrome::run(async {
    /// let options = velodrome::ListenOptions::new().cleanup_socket(true);
    /// let server = options.create_unix_server(|| Silent, &path).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn create_unix_server<P: AnyProtocol<K>, K: 'static>(
        &self,
        factory: impl Fn() -> P + 'static,
        path: impl AsRef<Path>,
    ) -> io::Result<Server> {
        // Nothing is awaited today; asyncio's is a coroutine, and so is its sister.
        let local = local::require("create_unix_server")?;
        self.listen_at(&local, path.as_ref(), serve(factory))
    }

    /// As [`create_server`] with these choices, on a socket that is bound already, or listens: asyncio's
    /// `create_server(Factory, sock=…)`. All else is as for [`start_server_on`](Self::start_server_on).
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = velodrome::ListenOptions::new().create_server_on(|| Silent, socket).await?;
    /// # let port = server.local_addr()?.port();
    /// # velodrome::open_connection("127.0.0.1", port).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn create_server_on<P: AnyProtocol<K>, K: 'static>(
        &self,
        factory: impl Fn() -> P + 'static,
        socket: impl Into<OwnedFd>,
    ) -> io::Result<Server> {
        // Nothing is awaited today; asyncio's is a coroutine, and so are its sisters.
        let local = local::require("create_server_on")?;
        self.listen_to(&local, socket.into(), serve(factory))
    }
}

fn serve<P: AnyProtocol<K>, K: 'static>(factory: impl Fn() -> P + 'static) -> Rc<Serve> {
    Rc::new(move |local, socket, peer, client| {
        let protocol = call_factory(&factory)?;
        open(local, protocol, socket, peer, Some(client)).map(drop)
    })
}

/// A panic in it is one connection's affair.
pub(super) fn call_factory<P>(factory: impl Fn() -> P) -> io::Result<P> {
    catch_unwind(AssertUnwindSafe(factory)).map_err(|_| io::Error::other("the protocol factory panicked"))
}

/// What carries the bytes, how transports find it, and whose they are.
pub(super) struct Opened<C, P, K> {
    pub(super) channel: Rc<C>,
    pub(super) wire: Rc<Wire>,
    pub(super) host: Rc<Host<P, K>>,
}

fn open<P: AnyProtocol<K>, K: 'static>(
    local: &Rc<Local>,
    protocol: P,
    socket: OwnedFd,
    peer: Peer,
    client: Option<Client>,
) -> io::Result<Opened<Stream, P, K>> {
    open_over(local, protocol, socket, peer, client, |stream, _host| stream)
}

/// A connection whose protocol writes to what `channel` makes of the stream, and perhaps puts in between.
pub(super) fn open_over<P: AnyProtocol<K>, K: 'static, C: Channel + 'static>(
    local: &Rc<Local>,
    protocol: P,
    socket: OwnedFd,
    peer: Peer,
    client: Option<Client>,
    channel: impl FnOnce(Rc<Stream>, Rc<Host<P, K>>) -> Rc<C>,
) -> io::Result<Opened<C, P, K>> {
    let host = Host::new(local, protocol, peer, client);
    let stream = Stream::new(local.hub(), Descriptor::Owned(socket), Rc::clone(&host) as Rc<_>);
    let channel = channel(Rc::clone(&stream), Rc::clone(&host));
    if let Err(error) = stream.start() {
        let fd = stream.fd();
        // It holds the host, and no report of a loss will come to part them.
        stream.discard();
        return Err(advice::unwatched(fd, error));
    }
    let wire = Wire::new(Rc::clone(&channel) as Rc<_>);
    host.attach(Rc::clone(&wire));
    Ok(Opened { channel, wire, host })
}

/// The connection of a client, once its protocol knows.
async fn made<P: AnyProtocol<K>, K: 'static>(
    local: &Rc<Local>,
    protocol: P,
    socket: OwnedFd,
    peer: Peer,
) -> io::Result<(Transport, ProtocolRef<P>)> {
    let Opened { channel, wire, host } = open(local, protocol, socket, peer, None)?;
    let opening = Opening(Some(channel));
    poll_fn(|cx| host.poll_made(cx)).await;
    opening.keep();
    Ok((host.transport(wire), ProtocolRef::new(host)))
}

/// A connection that nobody has been given yet, and that ends if the one who asked for it gives up.
struct Opening(Option<Rc<Stream>>);

impl Opening {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            stream.abort(None);
        }
    }
}
