//! Datagrams between the processes of one machine, over Unix sockets.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use velodrome_engine::sys::{self, AddressFamily, SocketType};

use super::{DatagramProtocol, DatagramTransport, made};
use crate::net::options::{shown, unix_name};
use crate::net::stale::{self, Leftover};
use crate::protocol::host::ProtocolRef;
use crate::{advice, local};

/// Where a Unix datagram socket is, and whom it talks to: asyncio's `local_addr` and `remote_addr` with
/// `family=AF_UNIX`.
///
/// ```
/// let server = velodrome::UnixDatagramOptions::new().local_path("/run/log.sock");
/// let client = velodrome::UnixDatagramOptions::new().remote_path("/run/log.sock");
/// ```
#[derive(Clone, Debug, Default)]
pub struct UnixDatagramOptions {
    local: Option<PathBuf>,
    remote: Option<PathBuf>,
}

impl UnixDatagramOptions {
    /// A socket without a name, that can send and not be answered.
    ///
    /// ```
    /// let options = velodrome::UnixDatagramOptions::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Receive at this path. The file is made for it, and removed when the socket is closed; one that another process
    /// has left behind is replaced.
    ///
    /// ```
    /// let options = velodrome::UnixDatagramOptions::new().local_path("/run/log.sock");
    /// ```
    #[must_use]
    pub fn local_path(mut self, path: impl AsRef<Path>) -> Self {
        self.local = Some(path.as_ref().to_owned());
        self
    }

    /// Talk to this path only: nobody else is heard, and [`sendto`](DatagramTransport::sendto) needs no address.
    ///
    /// ```
    /// let options = velodrome::UnixDatagramOptions::new().remote_path("/run/log.sock");
    /// ```
    #[must_use]
    pub fn remote_path(mut self, path: impl AsRef<Path>) -> Self {
        self.remote = Some(path.as_ref().to_owned());
        self
    }

    fn open(&self) -> io::Result<(OwnedFd, Option<Leftover>)> {
        let socket = sys::socket(AddressFamily::UNIX, SocketType::DGRAM)?;
        let leftover = self.local.as_deref().map(|path| bind(&socket, path)).transpose()?.flatten();
        if let Some(path) = &self.remote {
            let connected = sys::connect(socket.as_raw_fd(), &unix_name(path)?);
            connected.map_err(|error| advice::cannot(format!("connect to {}", shown(path)), error))?;
        }
        Ok((socket, leftover))
    }
}

fn bind(socket: &OwnedFd, path: &Path) -> io::Result<Option<Leftover>> {
    let bound = stale::bind(socket, path, &unix_name(path)?, SocketType::DGRAM);
    bound.map_err(|error| advice::cannot(format!("bind to {}", shown(path)), error))?;
    Ok(Leftover::at(path))
}

/// Open a Unix datagram socket, and tell the protocol that `factory` makes: `loop.create_datagram_endpoint` with
/// `family=AF_UNIX`. Its `connection_made` has been called when this returns.
///
/// **Cancel safety**: may be dropped at any time; nothing stays open.
///
/// ```
/// use std::{io, path::PathBuf};
/// use velodrome::{DatagramProtocol, DatagramTransport, UnixDatagramOptions, create_unix_datagram_endpoint};
///
/// #[derive(Default)]
/// struct Echo(Option<DatagramTransport<PathBuf>>);
///
/// impl DatagramProtocol<PathBuf> for Echo {
///     fn connection_made(&mut self, transport: DatagramTransport<PathBuf>) {
///         self.0 = Some(transport);
///     }
///
///     fn datagram_received(&mut self, data: &[u8], sender: PathBuf) {
///         self.0.iter().for_each(|transport| transport.sendto(data, Some(sender.clone())));
///     }
/// }
///
/// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-datagrams", std::process::id()));
/// # let client = path.with_extension("client");
/// velodrome::run(async {
///     let here = UnixDatagramOptions::new().local_path(&path);
///     let (transport, _echo) = create_unix_datagram_endpoint(Echo::default, &here).await?;
///
///     let socket = std::os::unix::net::UnixDatagram::bind(&client)?;
///     socket.set_nonblocking(true)?;
///     socket.send_to(b"hello", &path)?;
///     let (socket, mut answer) = (velodrome::AsyncFd::new(socket)?, [0; 16]);
///     assert_eq!(socket.read_with(|socket| socket.recv(&mut answer)).await?, 5);
/// #   std::fs::remove_file(&client)?;
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// What the kernel says against a path. If no loop runs on this thread.
pub async fn create_unix_datagram_endpoint<P: DatagramProtocol<PathBuf>>(
    factory: impl FnOnce() -> P,
    options: &UnixDatagramOptions,
) -> io::Result<(DatagramTransport<PathBuf>, ProtocolRef<P>)> {
    let local = local::require("create_unix_datagram_endpoint")?;
    let (socket, leftover) = options.open()?;
    made(&local, factory(), socket, leftover).await
}
