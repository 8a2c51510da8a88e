//! Protocols over TLS: `create_connection` and `create_server` with `ssl=context`. A protocol hears of its connection when
//! hands are shaken, and of none whose handshake failed.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use velodrome_engine::sys::Peer;
use velodrome_engine::transport::Protocol as _;
use velodrome_engine::transport::stream::Stream;

use super::connect::{Opened, call_factory, open_over};
use super::host::ProtocolRef;
use super::kinds::AnyProtocol;
use super::transport::Transport;
use crate::advice;
use crate::clients::Client;
use crate::existing;
use crate::local::{self, Local};
use crate::net::door::Serve;
use crate::net::options::{ConnectOptions, ListenOptions};
use crate::net::server::Server;
use crate::net::streams::conclude;
use crate::task::spawn;
use crate::tls::handshake::{Handshake, Tls};
use crate::tls::layer::Layer;
use crate::tls::streams::{encrypted_already, shake};

/// Connect to `host` by TLS over TCP, and tell the protocol that `factory` makes: asyncio's
/// `loop.create_connection(Factory, host, port, ssl=context)`. The server must prove to be `host`.
///
/// **Cancel safety**: may be dropped at any time; nothing stays open.
///
/// ```no_run
/// # use std::{io, sync::Arc};
/// # use velodrome::tls::{create_tls_connection, rustls};
/// # struct Print;
/// # impl velodrome::Protocol for Print { fn data_received(&mut self, _: &[u8]) {} }
/// # fn config() -> Arc<rustls::ClientConfig> { todo!() }
/// # velodrome::run(async {
/// let (transport, _print) = create_tls_connection(|| Print, "example.org", 443, config()).await?;
/// transport.write("GET / HTTP/1.0\r\nHost: example.org\r\n\r\n");
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`create_connection`](crate::create_connection) and [`StreamWriter::start_tls`](crate::StreamWriter::start_tls).
pub async fn create_tls_connection<P: AnyProtocol<K>, K: 'static>(
    factory: impl FnOnce() -> P,
    host: &str,
    port: u16,
    config: Arc<ClientConfig>,
) -> io::Result<(Transport, ProtocolRef<P>)> {
    ConnectOptions::new().create_tls_connection(factory, host, port, config).await
}

/// Speak TLS over a stream socket that is connected already, and tell the protocol that `factory` makes once hands are
/// shaken: asyncio's `create_connection(Factory, sock=…, ssl=context, server_hostname=…)`. The server must prove to be
/// `server_name`. Reader and writer over a socket are had by [`open_socket`](crate::open_socket) and
/// [`start_tls`](crate::StreamWriter::start_tls).
///
/// **Cancel safety**: may be dropped at any time; the socket is closed then.
///
/// ```no_run
/// # use std::{io, sync::Arc};
/// # use velodrome::tls::{create_tls_connection_on, rustls};
/// # struct Print;
/// # impl velodrome::Protocol for Print { fn data_received(&mut self, _: &[u8]) {} }
/// # fn config() -> Arc<rustls::ClientConfig> { todo!() }
/// # velodrome::run(async {
/// let socket = std::net::TcpStream::connect("example.org:443")?;
/// let (transport, _print) = create_tls_connection_on(|| Print, socket, "example.org", config()).await?;
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`open_socket`](crate::open_socket) and [`StreamWriter::start_tls`](crate::StreamWriter::start_tls).
pub async fn create_tls_connection_on<P: AnyProtocol<K>, K: 'static>(
    factory: impl FnOnce() -> P,
    socket: impl Into<OwnedFd>,
    server_name: &str,
    config: Arc<ClientConfig>,
) -> io::Result<(Transport, ProtocolRef<P>)> {
    let (local, tls) = (local::require("create_tls_connection_on")?, Tls::client(config, server_name)?);
    let (socket, peer) = existing::connection(socket.into())?;
    made(&local, factory(), socket, peer, tls).await
}

/// Listen on `host` and `port` by TLS over TCP, and let `factory` make a protocol for each connection, which is told of it
/// once hands are shaken: asyncio's `loop.create_server(Factory, host, port, ssl=context)`. A handshake that fails is one
/// connection's affair, and told to [`Builder::on_error`](crate::Builder::on_error).
///
/// **Cancel safety**: may be dropped at any time; nobody listens then.
///
/// ```
/// # use std::{io, sync::Arc};
/// use velodrome::tls::{create_tls_server, open_tls_connection, rustls};
/// use velodrome::{Protocol, Transport};
///
/// struct Greet;
///
/// impl Protocol for Greet {
///     fn connection_made(&mut self, transport: Transport) {
///         transport.write("hello\n");
///     }
///
///     fn data_received(&mut self, _: &[u8]) {}
/// }
/// # use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
/// # let certificate = CertificateDer::from_pem_slice(include_bytes!("../../examples/localhost.pem")).unwrap();
/// # let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../examples/localhost.key")).unwrap();
/// # let mut roots = rustls::RootCertStore::empty();
/// # roots.add(certificate.clone()).unwrap();
/// # let server_config =
/// #     rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
/// # let client_config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
/// # velodrome::run(async {
/// let server = create_tls_server(|| Greet, "127.0.0.1", 0, Arc::new(server_config)).await?;
/// # let port = server.local_addr()?.port();
/// # let (mut reader, _writer) = open_tls_connection("localhost", port, Arc::new(client_config)).await?;
/// # assert_eq!(reader.readline().await?, b"hello\n");
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`create_server`](crate::create_server).
pub async fn create_tls_server<P: AnyProtocol<K>, K: 'static>(
    factory: impl Fn() -> P + 'static,
    host: &str,
    port: u16,
    config: Arc<ServerConfig>,
) -> io::Result<Server> {
    ListenOptions::new().create_tls_server(factory, host, port, config).await
}

impl ConnectOptions {
    /// As [`create_tls_connection`](crate::tls::create_tls_connection), with these choices. Feature `tls`.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing stays open.
    ///
    /// ```no_run
    /// # use std::{io, sync::Arc};
    /// # struct Print;
    /// # impl velodrome::Protocol for Print { fn data_received(&mut self, _: &[u8]) {} }
    /// # fn config() -> Arc<velodrome::tls::rustls::ClientConfig> { todo!() }
    /// # velodrome::run(async {
    /// let options = velodrome::ConnectOptions::new().keepalive(true);
    /// let (transport, _print) = options.create_tls_connection(|| Print, "example.org", 443, config()).await?;
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn create_tls_connection<P: AnyProtocol<K>, K: 'static>(
        &self,
        factory: impl FnOnce() -> P,
        host: &str,
        port: u16,
        config: Arc<ClientConfig>,
    ) -> io::Result<(Transport, ProtocolRef<P>)> {
        let (local, tls) = (local::require("create_tls_connection")?, Tls::client(config, host)?);
        let (socket, peer) = self.connect(&local, host, port).await?;
        made(&local, factory(), socket, peer, tls).await
    }
}

impl ListenOptions {
    /// As [`create_tls_server`](crate::tls::create_tls_server), with these choices. Feature `tls`.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```no_run
    /// # use std::{io, sync::Arc};
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # fn config() -> Arc<velodrome::tls::rustls::ServerConfig> { todo!() }
    /// # velodrome::run(async {
    /// let options = velodrome::ListenOptions::new().backlog(1024);
    /// let server = options.create_tls_server(|| Silent, "", 443, config()).await?;
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn create_tls_server<P: AnyProtocol<K>, K: 'static>(
        &self,
        factory: impl Fn() -> P + 'static,
        host: &str,
        port: u16,
        config: Arc<ServerConfig>,
    ) -> io::Result<Server> {
        let local = local::require("create_tls_server")?;
        self.listen(&local, host, port, serve(factory, config)).await
    }

    /// As [`create_tls_server`](crate::tls::create_tls_server) with these choices, on a socket that is bound already, or
    /// listens: asyncio's `create_server(Factory, sock=…, ssl=context)`. All else is as for
    /// [`start_server_on`](Self::start_server_on). Feature `tls`.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```no_run
    /// # use std::{io, sync::Arc};
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # fn config() -> Arc<velodrome::tls::rustls::ServerConfig> { todo!() }
    /// # velodrome::run(async {
    /// let (options, socket) = (velodrome::ListenOptions::new(), std::net::TcpListener::bind("0.0.0.0:443")?);
    /// let server = options.create_tls_server_on(|| Silent, socket, config()).await?;
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn create_tls_server_on<P: AnyProtocol<K>, K: 'static>(
        &self,
        factory: impl Fn() -> P + 'static,
        socket: impl Into<OwnedFd>,
        config: Arc<ServerConfig>,
    ) -> io::Result<Server> {
        // Nothing is awaited today; asyncio's is a coroutine, and so are its sisters.
        let local = local::require("create_tls_server_on")?;
        self.listen_to(&local, socket.into(), serve(factory, config))
    }
}

fn serve<P: AnyProtocol<K>, K: 'static>(
    factory: impl Fn() -> P + 'static,
    config: Arc<ServerConfig>,
) -> Rc<Serve> {
    let tls = Tls::server(config);
    Rc::new(move |local: &Rc<Local>, socket, peer: Peer, client| {
        let protocol = call_factory(&factory)?;
        let opened = open_secured(local, protocol, socket, peer.clone(), Some(client), tls.clone())?;
        drop(spawn(async move { conclude(shake(&opened.channel).await.map(drop), &peer) }));
        Ok(())
    })
}

/// The connection of a client, once hands are shaken and its protocol knows.
async fn made<P: AnyProtocol<K>, K: 'static>(
    local: &Rc<Local>,
    protocol: P,
    socket: OwnedFd,
    peer: Peer,
    tls: Tls,
) -> io::Result<(Transport, ProtocolRef<P>)> {
    let Opened { channel, wire, host } = open_secured(local, protocol, socket, peer, None, tls)?;
    shake(&channel).await?;
    poll_fn(|cx| host.poll_made(cx)).await;
    Ok((host.transport(wire), ProtocolRef::new(host)))
}

impl Transport {
    /// Encrypt the connection from now on: `loop.start_tls`. Feature `tls`.
    ///
    /// To be called when both sides know that TLS comes next. The protocol stays the same and hears of deciphered bytes
    /// only; so do this transport and its clones, where asyncio has a second one. What they write before the handshake is
    /// over leaves behind it. A handshake may take 60 s.
    ///
    /// **Cancel safety**: dropping it aborts the connection, once it has begun.
    ///
    /// ```
    /// # use std::{io, sync::Arc};
    /// # use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    /// # use velodrome::tls::rustls;
    /// use velodrome::tls::Tls;
    /// use velodrome::{Protocol, Transport, spawn};
    ///
    /// struct Mail(Arc<rustls::ServerConfig>, Option<Transport>);
    ///
    /// impl Protocol for Mail {
    ///     fn connection_made(&mut self, transport: Transport) {
    ///         self.1 = Some(transport);
    ///     }
    ///
    ///     fn data_received(&mut self, data: &[u8]) {
    ///         let Some(transport) = self.1.clone() else { return };
    ///         if data == b"STARTTLS\n" {
    ///             transport.write("220 go ahead\n");
    ///             let tls = Tls::server(Arc::clone(&self.0));
    ///             spawn(async move { transport.start_tls(tls).await }).detach();
    ///         } else {
    ///             transport.write(data);
    ///         }
    ///     }
    /// }
    /// # let certificate = CertificateDer::from_pem_slice(include_bytes!("../../examples/localhost.pem")).unwrap();
    /// # let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../examples/localhost.key")).unwrap();
    /// # let mut roots = rustls::RootCertStore::empty();
    /// # roots.add(certificate.clone()).unwrap();
    /// # let server_config =
    /// #     Arc::new(rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    /// # let client_config = Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    /// # velodrome::run(async {
    /// # let mail = move || Mail(Arc::clone(&server_config), None);
    /// # let server = velodrome::create_server(mail, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (mut reader, writer) = velodrome::open_connection("127.0.0.1", port).await?;
    /// # writer.write("STARTTLS\n");
    /// # assert_eq!(reader.readline().await?, b"220 go ahead\n");
    /// # writer.start_tls(Tls::client(client_config, "localhost")?).await?;
    /// # writer.write("secret\n");
    /// # assert_eq!(reader.readline().await?, b"secret\n");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`StreamWriter::start_tls`](crate::StreamWriter::start_tls).
    pub async fn start_tls(&self, tls: Tls) -> io::Result<Handshake> {
        let stream = self.channel().plain().ok_or_else(encrypted_already)?;
        let protocol = stream.protocol().ok_or_else(advice::closed)?;
        let layer = Layer::new(Rc::clone(&stream), tls.session()?, protocol);
        drop(self.wire.0.replace(Rc::clone(&layer) as Rc<_>));
        begin(&stream, &layer);
        shake(&layer).await
    }

    /// What the handshake has found out, if the connection is encrypted and it is over: asyncio's
    /// `get_extra_info("ssl_object")`. Feature `tls`.
    ///
    /// ```
    /// use velodrome::{Protocol, Transport};
    ///
    /// struct Greet;
    ///
    /// impl Protocol for Greet {
    ///     fn connection_made(&mut self, transport: Transport) {
    ///         match transport.tls() {
    ///             Some(tls) => transport.write(format!("hello, by {:?}\n", tls.protocol_version)),
    ///             None => transport.write("hello, world that listens\n"),
    ///         }
    ///     }
    ///
    ///     fn data_received(&mut self, _: &[u8]) {}
    /// }
    /// ```
    #[must_use]
    pub fn tls(&self) -> Option<Handshake> {
        Layer::under(&*self.channel())?.agreed()
    }
}

/// Handshakes need what arrives, whether or not the protocol had wanted it.
fn begin(stream: &Rc<Stream>, layer: &Layer) {
    stream.resume_reading();
    layer.begin(&[]);
    if !stream.polls_read() {
        // The peer has ended before, of which the layer has not heard; and nothing else will come.
        layer.eof_received();
    }
}

fn open_secured<P: AnyProtocol<K>, K: 'static>(
    local: &Rc<Local>,
    protocol: P,
    socket: OwnedFd,
    peer: Peer,
    client: Option<Client>,
    tls: Tls,
) -> io::Result<Opened<Layer, P, K>> {
    let session = tls.session()?;
    open_over(local, protocol, socket, peer, client, |stream, host| Layer::announcing(stream, session, host))
}
