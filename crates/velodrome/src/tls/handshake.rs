//! What a handshake needs, and what it has found out.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

/// How to encrypt a connection, and on which side of it.
///
/// ```
/// use std::sync::Arc;
/// use velodrome::tls::{Tls, rustls};
///
/// // An empty store trusts nobody; a real one comes from a file, or from the crate webpki-roots.
/// let roots = rustls::RootCertStore::empty();
/// let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
/// let tls = Tls::client(Arc::new(config), "example.org")?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Tls(Side);

#[derive(Clone)]
enum Side {
    Client(Arc<ClientConfig>, ServerName<'static>),
    Server(Arc<ServerConfig>),
}

impl Tls {
    /// As the client, of a server that can prove to be `name`: a host's name or its address.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use velodrome::tls::{Tls, rustls};
    ///
    /// fn to_example(config: Arc<rustls::ClientConfig>) -> std::io::Result<Tls> {
    ///     Tls::client(config, "example.org")
    /// }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if it is neither.
    pub fn client(config: Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("no server can be called {name:?}: {error}"))
        })?;
        Ok(Self(Side::Client(config, name)))
    }

    /// As the server.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use velodrome::tls::{Tls, rustls};
    ///
    /// fn as_server(config: Arc<rustls::ServerConfig>) -> Tls {
    ///     Tls::server(config)
    /// }
    /// ```
    #[must_use]
    pub fn server(config: Arc<ServerConfig>) -> Self {
        Self(Side::Server(config))
    }

    pub(crate) fn session(self) -> io::Result<Connection> {
        let session = match self.0 {
            Side::Client(config, name) => ClientConnection::new(config, name).map(Connection::Client),
            Side::Server(config) => ServerConnection::new(config).map(Connection::Server),
        };
        let mut session = session.map_err(io::Error::other)?;
        // What is written leaves for the socket's queue at once, whose marks say when to write no more.
        session.set_buffer_limit(None);
        Ok(session)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Side::Client(_, name) => f.debug_tuple("Tls").field(name).finish(),
            Side::Server(_) => f.write_str("Tls(server)"),
        }
    }
}

/// What the two sides have agreed upon: what [`start_tls`](crate::StreamWriter::start_tls) returns, and
/// [`StreamWriter::tls`](crate::StreamWriter::tls) and [`Transport::tls`](crate::Transport::tls) tell afterwards.
///
/// ```
/// use velodrome::tls::{Handshake, Tls};
///
/// async fn secure(writer: &velodrome::StreamWriter, tls: Tls) -> std::io::Result<()> {
///     let handshake: Handshake = writer.start_tls(tls).await?;
///     println!("{:?}, {} certificates", handshake.protocol_version, handshake.peer_certificates.len());
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Handshake {
    /// The application's protocol by ALPN (`h2`, say), if one was agreed upon.
    pub alpn_protocol: Option<Vec<u8>>,
    /// TLS 1.2 or 1.3.
    pub protocol_version: Option<rustls::ProtocolVersion>,
    /// The name by which a client asked for us (SNI), if it did; none on the client's side, which knows whom it asked.
    pub server_name: Option<String>,
    /// The peer's certificates, its own first; none from a client that was not asked.
    pub peer_certificates: Vec<CertificateDer<'static>>,
}

impl Handshake {
    pub(super) fn of(session: &Connection) -> Self {
        Self {
            alpn_protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            protocol_version: session.protocol_version(),
            server_name: match session {
                Connection::Server(session) => session.server_name().map(str::to_owned),
                Connection::Client(_) => None,
            },
            peer_certificates: session.peer_certificates().unwrap_or_default().to_vec(),
        }
    }
}
