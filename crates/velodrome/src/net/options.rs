//! What asyncio takes as keyword arguments: choices for connecting and for listening, each with a default.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use velodrome_engine::sys::{self, Peer};
use velodrome_engine::transport::nodelay::Nodelay;

use super::door::Serve;
use super::server::Server;
use super::{listening, lookup, racing};
use crate::local::Local;
use crate::{advice, channel, existing};

/// How long an address may be silent before the next one is tried too: what RFC 8305 recommends.
const PATIENCE: Duration = Duration::from_millis(250);

/// How many connections may wait to be accepted, and how many are accepted in one turn. asyncio's.
const BACKLOG: u16 = 100;

/// Choices for a connection; [`open_connection`](crate::open_connection) and
/// [`create_connection`](crate::create_connection) take the defaults.
///
/// ```
/// use std::io;
/// use velodrome::ConnectOptions;
///
/// velodrome::run(async {
///     let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
///     let port = server.local_addr()?.port();
///     let options = ConnectOptions::new().keepalive(true).local_addr(([127, 0, 0, 2], 0).into());
///     let (_reader, writer) = options.open_connection("127.0.0.1", port).await?;
///     assert_eq!(writer.local_addr()?.ip().to_string(), "127.0.0.2");
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub(super) setup: Setup,
    patience: Option<Duration>,
    pub(super) limit: Option<usize>,
}

/// What is done to a socket before it connects, or after it was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    nodelay: bool,
    keepalive: bool,
    local: Option<SocketAddr>,
}

impl Default for Setup {
    fn default() -> Self {
        // Whoever writes headers, then a body, must not wait for the peer's acknowledgement in between.
        Self { nodelay: true, keepalive: false, local: None }
    }
}

impl Setup {
    /// Prepare a socket that connects to `peer`.
    pub(super) fn apply(&self, socket: &OwnedFd, peer: &Peer) -> io::Result<()> {
        let fd = socket.as_raw_fd();
        if self.nodelay && peer.as_socket_addr().is_some() {
            sys::set_nodelay(fd, true)?;
        }
        self.apply_accepted(socket, peer)?;
        self.local.map_or(Ok(()), |local| sys::bind(fd, &local.into()))
    }

    /// Prepare a socket that came from `peer`, but for what [`Self::nodelay_of`] its listener does.
    pub(super) fn apply_accepted(&self, socket: &OwnedFd, peer: &Peer) -> io::Result<()> {
        if self.keepalive && peer.as_socket_addr().is_some() {
            sys::set_keepalive(socket.as_raw_fd(), true)?;
        }
        Ok(())
    }

    /// For a listener of TCP whose connections shall have it.
    pub(super) fn nodelay_of(&self, listener: &OwnedFd) -> Option<Nodelay> {
        if self.nodelay { Nodelay::of_listener(listener.as_raw_fd()) } else { None }
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { setup: Setup::default(), patience: Some(PATIENCE), limit: None }
    }
}

impl ConnectOptions {
    /// What the plain functions do.
    ///
    /// ```
    /// # async fn greet(_: velodrome::StreamReader, writer: velodrome::StreamWriter) { writer.write("hello\n") }
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(greet, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// let (mut reader, writer) = velodrome::ConnectOptions::new().open_connection("127.0.0.1", port).await?;
    /// assert_eq!(reader.readline().await?, b"hello\n");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether small writes leave at once (`TCP_NODELAY`). They do unless this says otherwise.
    ///
    /// ```
    /// // For bulk data in small writes: the kernel may gather them while it waits for an acknowledgement.
    /// let options = velodrome::ConnectOptions::new().nodelay(false);
    /// ```
    #[must_use]
    pub fn nodelay(mut self, on: bool) -> Self {
        self.setup.nodelay = on;
        self
    }

    /// Whether the kernel asks a silent peer if it still lives (`SO_KEEPALIVE`). It does not unless this says so.
    ///
    /// ```
    /// let options = velodrome::ConnectOptions::new().keepalive(true);
    /// ```
    #[must_use]
    pub fn keepalive(mut self, on: bool) -> Self {
        self.setup.keepalive = on;
        self
    }

    /// Connect from this address: asyncio's `local_addr`. Addresses of the other family fail then.
    ///
    /// ```
    /// let options = velodrome::ConnectOptions::new().local_addr(([127, 0, 0, 2], 0).into());
    /// ```
    #[must_use]
    pub fn local_addr(mut self, address: SocketAddr) -> Self {
        self.setup.local = Some(address);
        self
    }

    /// How long an address may be silent before the next one is tried beside it; none: until it has failed. 250 ms
    /// unless set, as RFC 8305 recommends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::ConnectOptions;
    ///
    /// let impatient = ConnectOptions::new().happy_eyeballs_delay(Some(Duration::from_millis(50)));
    /// let one_after_the_other = ConnectOptions::new().happy_eyeballs_delay(None);
    /// ```
    #[must_use]
    pub fn happy_eyeballs_delay(mut self, delay: Option<Duration>) -> Self {
        self.patience = delay;
        self
    }

    /// The [limit](crate::StreamReader::set_limit) of the reader.
    ///
    /// ```
    /// // Lines of up to a megabyte.
    /// let options = velodrome::ConnectOptions::new().limit(1 << 20);
    /// ```
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// A socket that is connected to `host`, and the address that answered.
    pub(crate) async fn connect(&self, local: &Local, host: &str, port: u16) -> io::Result<(OwnedFd, Peer)> {
        let addresses = lookup::look_up(local, host, port).await?;
        let patience = self.patience.map(|delay| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
        let (socket, address) = racing::connect(local.hub(), addresses, self.setup.clone(), patience).await?;
        Ok((socket, address.into()))
    }

    /// A socket that is connected to the Unix socket at `path`.
    pub(crate) async fn connect_unix(&self, local: &Local, path: &Path) -> io::Result<(OwnedFd, Peer)> {
        let peer = unix_name(path)?;
        let cannot = |error| advice::cannot(format!("connect to {}", shown(path)), error);
        let socket = racing::connect_one(local.hub(), &peer, &Setup::default()).await.map_err(cannot)?;
        Ok((socket, peer))
    }
}

/// Choices for a server; [`start_server`](crate::start_server) and [`create_server`](crate::create_server) take the
/// defaults.
///
/// ```
/// use std::io;
/// use velodrome::ListenOptions;
///
/// velodrome::run(async {
///     // Two servers, as of two processes, share a port; the kernel spreads connections over them.
///     let options = ListenOptions::new().reuse_port(true).backlog(1024);
///     let one = options.start_server(|_, _| async {}, "127.0.0.1", 0).await?;
///     let port = one.local_addr()?.port();
///     let other = options.start_server(|_, _| async {}, "127.0.0.1", port).await?;
///     assert_eq!(one.local_addrs(), other.local_addrs());
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    pub(super) setup: Setup,
    pub(super) limit: Option<usize>,
    pub(super) backlog: u16,
    pub(super) reuse_address: bool,
    pub(super) reuse_port: bool,
    pub(super) cleanup_socket: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            setup: Setup::default(),
            limit: None,
            backlog: BACKLOG,
            // A server that is started again must not wait until the last one's connections are forgotten.
            reuse_address: true,
            reuse_port: false,
            cleanup_socket: true,
        }
    }
}

impl ListenOptions {
    /// What the plain functions do.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let server = velodrome::ListenOptions::new().start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// assert!(server.is_serving());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether small writes of the server's connections leave at once (`TCP_NODELAY`). They do unless this says
    /// otherwise.
    ///
    /// ```
    /// let options = velodrome::ListenOptions::new().nodelay(false);
    /// ```
    #[must_use]
    pub fn nodelay(mut self, on: bool) -> Self {
        self.setup.nodelay = on;
        self
    }

    /// Whether the kernel asks silent clients if they still live (`SO_KEEPALIVE`). It does not unless this says so.
    ///
    /// ```
    /// let options = velodrome::ListenOptions::new().keepalive(true);
    /// ```
    #[must_use]
    pub fn keepalive(mut self, on: bool) -> Self {
        self.setup.keepalive = on;
        self
    }

    /// The [limit](crate::StreamReader::set_limit) of the readers.
    ///
    /// ```
    /// // A line of more than 4 KiB is an error of the reader's.
    /// let options = velodrome::ListenOptions::new().limit(4096);
    /// ```
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How many connections may wait to be accepted, and how many are accepted before others have their turn: 100
    /// unless set.
    ///
    /// ```
    /// let options = velodrome::ListenOptions::new().backlog(1024);
    /// ```
    #[must_use]
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog;
        self
    }

    /// Whether an address may be taken that is still winding down (`SO_REUSEADDR`). It may unless this says otherwise.
    ///
    /// ```
    /// let options = velodrome::ListenOptions::new().reuse_address(false);
    /// ```
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Whether others may listen on the same address (`SO_REUSEPORT`). They may not unless this says so.
    ///
    /// ```
    /// // In each of several processes; the kernel spreads the connections.
    /// let options = velodrome::ListenOptions::new().reuse_port(true);
    /// ```
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether the file of a Unix socket is removed when the server closes: asyncio's `cleanup_socket`. It is unless
    /// this says otherwise, or the file has become another.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-cleanup", std::process::id()));
    /// # velodrome::run(async {
    /// let options = velodrome::ListenOptions::new().cleanup_socket(false);
    /// drop(options.start_unix_server(|_, _| async {}, &path).await?);
    /// assert!(path.exists(), "for whoever inspects it");
    /// # std::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn cleanup_socket(mut self, on: bool) -> Self {
        self.cleanup_socket = on;
        self
    }

    pub(crate) async fn listen(
        &self,
        local: &Rc<Local>,
        host: &str,
        port: u16,
        serve: Rc<Serve>,
    ) -> io::Result<Server> {
        let addresses = match host {
            "" => listening::every_interface(port),
            host => lookup::look_up(local, host, port).await?,
        };
        Server::start(local, self.listen_on(addresses)?, None, self, serve)
    }

    /// On a socket that the program has already. Its file, if it is a Unix socket, is left to whoever made it.
    pub(crate) fn listen_to(
        &self,
        local: &Rc<Local>,
        socket: OwnedFd,
        serve: Rc<Serve>,
    ) -> io::Result<Server> {
        let socket = existing::listener(socket, self.backlog)?;
        let path = channel::unix_path(&sys::getsockname(socket.as_raw_fd())?);
        Server::start(local, vec![socket], path.map(|path| (path, None)), self, serve)
    }

    pub(crate) fn listen_at(&self, local: &Rc<Local>, path: &Path, serve: Rc<Serve>) -> io::Result<Server> {
        let (socket, leftover) = self.listen_unix(path)?;
        Server::start(local, vec![socket], Some((path.to_owned(), leftover)), self, serve)
    }
}

/// The address that `path` stands for; one that begins with a zero byte is an abstract name, as in asyncio.
pub(crate) fn unix_name(path: &Path) -> io::Result<Peer> {
    use std::os::unix::ffi::OsStrExt;
    match path.as_os_str().as_bytes() {
        [] => Err(io::Error::new(io::ErrorKind::InvalidInput, "a Unix socket needs a path")),
        name => Peer::unix(name).map_err(|error| {
            io::Error::new(error.kind(), format!("{} cannot be a Unix socket's path: {error}", shown(path)))
        }),
    }
}

/// A path as a person may read it, abstract names with an `@` as netstat shows them.
pub(crate) fn shown(path: &Path) -> String {
    path.to_string_lossy().replace('\0', "@")
}
