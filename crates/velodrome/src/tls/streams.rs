//! Streams that are encrypted: from their beginning, or from now on.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use velodrome_engine::transport::Protocol;

use super::handshake::{Handshake, Tls};
use super::layer::Layer;
use crate::channel::Channel;
use crate::local;
use crate::net::door::Serve;
use crate::net::options::{ConnectOptions, ListenOptions};
use crate::net::server::Server;
use crate::net::streams::Outcome;
use crate::streams::reader::StreamReader;
use crate::streams::writer::StreamWriter;
use crate::time::timeout;

/// How long a handshake may take: asyncio's, as nginx's.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connect to `host` by TLS over TCP: asyncio's `open_connection(host, port, ssl=context)`. The server must prove to be
/// `host`.
///
/// **Cancel safety**: may be dropped at any time; nothing stays open.
///
/// ```no_run
/// # use std::{io, sync::Arc};
/// # use velodrome::tls::{open_tls_connection, rustls};
/// # fn config() -> Arc<rustls::ClientConfig> { todo!() }
/// # velodrome::run(async {
/// let (mut reader, writer) = open_tls_connection("example.org", 443, config()).await?;
/// writer.write("GET / HTTP/1.0\r\nHost: example.org\r\n\r\n");
/// let status = reader.readline().await?;
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`open_connection`](crate::open_connection) and [`StreamWriter::start_tls`].
pub async fn open_tls_connection(
    host: &str,
    port: u16,
    config: Arc<ClientConfig>,
) -> io::Result<(StreamReader, StreamWriter)> {
    ConnectOptions::new().open_tls_connection(host, port, config).await
}

/// Listen on `host` and `port` by TLS over TCP, and give each connection to `handler` once hands are shaken: asyncio's
/// `start_server(handler, host, port, ssl=context)`. A handshake that fails is one connection's affair, and told as its
/// handler's error would be.
///
/// **Cancel safety**: may be dropped at any time; nobody listens then.
///
/// ```
/// # use std::{io, sync::Arc};
/// use velodrome::tls::{open_tls_connection, rustls, start_tls_server};
/// use velodrome::{StreamReader, StreamWriter};
///
/// async fn shout(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     writer.write(reader.readline().await?.to_ascii_uppercase());
///     Ok(())
/// }
/// # use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
/// # let certificate = CertificateDer::from_pem_slice(include_bytes!("../../examples/localhost.pem")).unwrap();
/// # let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../examples/localhost.key")).unwrap();
/// # let mut roots = rustls::RootCertStore::empty();
/// # roots.add(certificate.clone()).unwrap();
/// let server_config = rustls::ServerConfig::builder()
///     .with_no_client_auth()
///     .with_single_cert(vec![certificate], key)
///     .unwrap();
/// let client_config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
///
/// velodrome::run(async {
///     let server = start_tls_server(shout, "127.0.0.1", 0, Arc::new(server_config)).await?;
///     let port = server.local_addr()?.port();
///     let (mut reader, writer) = open_tls_connection("localhost", port, Arc::new(client_config)).await?;
///     writer.write("hello\n");
///     assert_eq!(reader.read_to_end().await?, b"HELLO\n");
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`start_server`](crate::start_server).
pub async fn start_tls_server<H, F, K>(
    handler: H,
    host: &str,
    port: u16,
    config: Arc<ServerConfig>,
) -> io::Result<Server>
where
    H: Fn(StreamReader, StreamWriter) -> F + 'static,
    F: Future<Output: Outcome<K>> + 'static,
{
    ListenOptions::new().start_tls_server(handler, host, port, config).await
}

impl ConnectOptions {
    /// As [`open_tls_connection`], with these choices. Feature `tls`.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing stays open.
    ///
    /// ```no_run
    /// # use std::{io, sync::Arc};
    /// # fn config() -> Arc<velodrome::tls::rustls::ClientConfig> { todo!() }
    /// # velodrome::run(async {
    /// let options = velodrome::ConnectOptions::new().keepalive(true);
    /// let (reader, writer) = options.open_tls_connection("example.org", 443, config()).await?;
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn open_tls_connection(
        &self,
        host: &str,
        port: u16,
        config: Arc<ClientConfig>,
    ) -> io::Result<(StreamReader, StreamWriter)> {
        let tls = Tls::client(config, host)?;
        let (reader, writer) = self.open_connection(host, port).await?;
        writer.start_tls(tls).await?;
        Ok((reader, writer))
    }
}

impl ListenOptions {
    /// As [`start_tls_server`], with these choices. Feature `tls`.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```no_run
    /// # use std::{io, sync::Arc};
    /// # fn config() -> Arc<velodrome::tls::rustls::ServerConfig> { todo!() }
    /// # velodrome::run(async {
    /// let options = velodrome::ListenOptions::new().backlog(1024);
    /// let server = options.start_tls_server(|_, _| async {}, "", 443, config()).await?;
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn start_tls_server<H, F, K>(
        &self,
        handler: H,
        host: &str,
        port: u16,
        config: Arc<ServerConfig>,
    ) -> io::Result<Server>
    where
        H: Fn(StreamReader, StreamWriter) -> F + 'static,
        F: Future<Output: Outcome<K>> + 'static,
    {
        let local = local::require("start_tls_server")?;
        self.listen(&local, host, port, self.serve_secured(handler, config)).await
    }

    /// As [`start_tls_server`] with these choices, on a socket that is bound already, or listens: asyncio's
    /// `start_server(handler, sock=…, ssl=context)`. All else is as for [`start_server_on`](Self::start_server_on). Feature
    /// `tls`.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```no_run
    /// # use std::{io, sync::Arc};
    /// # fn config() -> Arc<velodrome::tls::rustls::ServerConfig> { todo!() }
    /// # velodrome::run(async {
    /// let (options, socket) = (velodrome::ListenOptions::new(), std::net::TcpListener::bind("0.0.0.0:443")?);
    /// let server = options.start_tls_server_on(|_, _| async {}, socket, config()).await?;
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn start_tls_server_on<H, F, K>(
        &self,
        handler: H,
        socket: impl Into<OwnedFd>,
        config: Arc<ServerConfig>,
    ) -> io::Result<Server>
    where
        H: Fn(StreamReader, StreamWriter) -> F + 'static,
        F: Future<Output: Outcome<K>> + 'static,
    {
        // Nothing is awaited today; asyncio's is a coroutine, and so are its sisters.
        let local = local::require("start_tls_server_on")?;
        self.listen_to(&local, socket.into(), self.serve_secured(handler, config))
    }

    /// Give each connection to `handler` once hands are shaken.
    fn serve_secured<H, F, K>(&self, handler: H, config: Arc<ServerConfig>) -> Rc<Serve>
    where
        H: Fn(StreamReader, StreamWriter) -> F + 'static,
        F: Future<Output: Outcome<K>> + 'static,
    {
        let (handler, tls) = (Rc::new(handler), Tls::server(config));
        self.serve(move |reader, writer: StreamWriter| {
            let (handler, tls) = (Rc::clone(&handler), tls.clone());
            async move {
                writer.start_tls(tls).await?;
                match handler(reader, writer).await.into_error() {
                    Some(error) => Err(error),
                    None => Ok(()),
                }
            }
        })
    }
}

impl StreamWriter {
    /// Encrypt the connection from now on: asyncio's `StreamWriter.start_tls`. Feature `tls`.
    ///
    /// To be called when both sides know that TLS comes next, with nothing being read or written meanwhile: a read that
    /// is under way would wait for deciphered bytes. What has arrived and was not read is taken for the beginning of the
    /// handshake, so nothing that came before can pass for encrypted. Reader and writer stay the same. A handshake may
    /// take 60 s.
    ///
    /// **Cancel safety**: dropping it aborts the connection, once it has begun.
    ///
    /// ```
    /// # use std::{io, sync::Arc};
    /// # use velodrome::tls::{Tls, rustls};
    /// # use velodrome::{StreamReader, StreamWriter};
    /// # use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    /// # let certificate = CertificateDer::from_pem_slice(include_bytes!("../../examples/localhost.pem")).unwrap();
    /// # let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../examples/localhost.key")).unwrap();
    /// # let mut roots = rustls::RootCertStore::empty();
    /// # roots.add(certificate.clone()).unwrap();
    /// # let server_config =
    /// #     Arc::new(rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    /// # let client_config = Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    /// # let mail = move |mut reader: StreamReader, writer: StreamWriter| {
    /// #     let server_config = Arc::clone(&server_config);
    /// #     async move {
    /// #         assert_eq!(reader.readline().await?, b"STARTTLS\n");
    /// #         writer.write("220 go ahead\n");
    /// #         writer.start_tls(Tls::server(server_config)).await?;
    /// #         writer.write(reader.readline().await?);
    /// #         io::Result::Ok(())
    /// #     }
    /// # };
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(mail, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// let (mut reader, writer) = velodrome::open_connection("127.0.0.1", port).await?;
    /// writer.write("STARTTLS\n");
    /// assert_eq!(reader.readline().await?, b"220 go ahead\n");
    /// let handshake = writer.start_tls(Tls::client(client_config, "localhost")?).await?;
    /// assert_eq!(handshake.protocol_version, Some(rustls::ProtocolVersion::TLSv1_3));
    /// writer.write("secret\n");
    /// # assert_eq!(reader.readline().await?, b"secret\n");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `InvalidData` if the two cannot agree, or the peer cannot prove to be who it should be; `TimedOut`; `Unsupported`
    /// if the connection is encrypted already; or what befell the connection.
    pub async fn start_tls(&self, tls: Tls) -> io::Result<Handshake> {
        let stream = self.open_channel()?.plain().ok_or_else(encrypted_already)?;
        let connection = Rc::clone(&self.0);
        let layer = Layer::new(stream, tls.session()?, Rc::clone(&connection) as Rc<_>);
        connection.attach_layer(Rc::clone(&layer) as Rc<_>);
        let shaking = Shaking(Some(Rc::clone(&layer)));
        layer.begin(&connection.take_unread());
        if connection.at_eof() {
            // The layer has not heard of it, and nothing else will come.
            layer.eof_received();
        }
        shaking.shake(&layer).await
    }

    /// What the handshake has found out, if the connection is encrypted and it is over: asyncio's
    /// `get_extra_info("ssl_object")`. None once the connection is lost. Feature `tls`.
    ///
    /// ```
    /// # use std::io;
    /// # use velodrome::{StreamReader, StreamWriter};
    /// async fn handle(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    ///     match writer.tls().and_then(|tls| tls.alpn_protocol) {
    ///         Some(protocol) if protocol == b"h2" => writer.write("PRI"),
    ///         _ => writer.write("HTTP/1.1 200 OK\r\n"),
    ///     }
    ///     writer.drain().await
    /// }
    /// ```
    #[must_use]
    pub fn tls(&self) -> Option<Handshake> {
        Layer::under(&*self.0.channel()?)?.agreed()
    }
}

pub(crate) fn encrypted_already() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the connection is encrypted already")
}

/// Until the handshake is over, which has begun or will by itself. Given up, or failed, the connection ends.
pub(crate) async fn shake(layer: &Rc<Layer>) -> io::Result<Handshake> {
    Shaking(Some(Rc::clone(layer))).shake(layer).await
}

/// A handshake that has not succeeded; the connection ends with it.
struct Shaking(Option<Rc<Layer>>);

impl Shaking {
    async fn shake(mut self, layer: &Layer) -> io::Result<Handshake> {
        let shaken = timeout(PATIENCE, poll_fn(|cx| layer.poll_handshake(cx))).await?;
        if shaken.is_ok() {
            self.0 = None;
        }
        shaken
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        if let Some(layer) = self.0.take() {
            layer.abort(None);
        }
    }
}
