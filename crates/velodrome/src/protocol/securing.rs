//! Protocols over TLS: `create_connection` and `create_server` with `ssl=context`. A protocol hears of its connection when
//! hands are shaken, and of none whose handshake failed.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use velodrome_engine::sys::Peer;

use super::connect::{call_factory, open_over};
use super::host::{Host, ProtocolRef};
use super::kinds::AnyProtocol;
use super::transport::Transport;
use crate::clients::Client;
use crate::local::{self, Local};
use crate::net::options::{ConnectOptions, ListenOptions};
use crate::net::server::Server;
use crate::net::streams::conclude;
use crate::task::spawn;
use crate::tls::handshake::Tls;
use crate::tls::layer::Layer;
use crate::tls::streams::shake;

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
        let (layer, host) = open_secured(&local, factory(), socket, peer, None, tls)?;
        shake(&layer).await?;
        poll_fn(|cx| host.poll_made(cx)).await;
        Ok((host.transport(layer), ProtocolRef::new(host)))
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
        let (local, tls) = (local::require("create_tls_server")?, Tls::server(config));
        let serve = move |local: &Rc<Local>, socket, peer: Peer, client| {
            let protocol = call_factory(&factory)?;
            let (layer, _host) =
                open_secured(local, protocol, socket, peer.clone(), Some(client), tls.clone())?;
            drop(spawn(async move { conclude(shake(&layer).await.map(drop), &peer) }));
            Ok(())
        };
        self.listen(&local, host, port, Rc::new(serve)).await
    }
}

type Secured<P, K> = (Rc<Layer>, Rc<Host<P, K>>);

fn open_secured<P: AnyProtocol<K>, K: 'static>(
    local: &Rc<Local>,
    protocol: P,
    socket: OwnedFd,
    peer: Peer,
    client: Option<Client>,
    tls: Tls,
) -> io::Result<Secured<P, K>> {
    let session = tls.session()?;
    open_over(local, protocol, socket, peer, client, |stream, host| Layer::announcing(stream, session, host))
}
