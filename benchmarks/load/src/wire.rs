//! The three kinds of socket behind one pair of calls, so that a client need not know what it speaks over.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::event::Source;
use mio::net::{TcpStream, UdpSocket};

use crate::args::{Args, Mode};

pub(crate) enum Wire {
    Tcp(TcpStream),
    Udp(UdpSocket),
    #[cfg(feature = "tls")]
    Tls(Box<tls::Stream>),
}

impl Wire {
    pub(crate) fn open(args: &Args) -> io::Result<Self> {
        #[cfg(feature = "tls")]
        if let Some(certificate) = &args.tls {
            return Ok(Self::Tls(Box::new(tls::connect(args.address, certificate)?)));
        }
        if args.mode == Mode::Udp { udp(args.address) } else { tcp(args.address) }
    }

    pub(crate) fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Udp(socket) => socket.recv(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Udp(socket) => socket.send(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// After a short read the kernel holds nothing more, and the next arrival is a new edge. A TLS session may
    /// hold more than the kernel.
    pub(crate) fn is_drained_by_short_read(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Udp(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<Wire> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(Wire::Tcp(stream))
}

fn udp(address: SocketAddr) -> io::Result<Wire> {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.connect(address)?;
    Ok(Wire::Udp(socket))
}

#[cfg(feature = "tls")]
mod tls {
    //! The handshake is made before the socket joins the poller, in blocking calls: it is not what is measured.

    use std::fs;
    use std::io;
    use std::net::{SocketAddr, TcpStream as Blocking};
    use std::path::Path;
    use std::sync::Arc;

    use mio::net::TcpStream;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    pub(super) type Stream = StreamOwned<ClientConnection, TcpStream>;

    pub(super) fn connect(address: SocketAddr, certificate: &Path) -> io::Result<Stream> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut session = ClientConnection::new(config(certificate)?, name).map_err(io::Error::other)?;
        let mut socket = Blocking::connect(address)?;
        socket.set_nodelay(true)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        socket.set_nonblocking(true)?;
        Ok(StreamOwned::new(session, TcpStream::from_std(socket)))
    }

    fn config(certificate: &Path) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(fs::read(certificate)?)).map_err(io::Error::other)?;
        Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
    }
}
