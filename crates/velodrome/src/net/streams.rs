//! Streams of one's own: being the client, and being the server with a task for every connection.

use std::error::Error;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use velodrome_engine::sys::Peer;

use super::door::Serve;
use super::options::{ConnectOptions, ListenOptions};
use super::server::Server;
use crate::clients::Client;
use crate::local::{self, Local};
use crate::streams;
use crate::streams::connection::Connection;
use crate::streams::reader::StreamReader;
use crate::streams::writer::StreamWriter;
use crate::task::spawn;
use crate::unhandled::Unhandled;

/// Connect to `host`, a name or a number, by TCP: `asyncio.open_connection`.
///
/// A number needs no thread and no lookup. Of several addresses the first to answer is taken (RFC 8305). `TCP_NODELAY`
/// is set; [`ConnectOptions`] has other choices.
///
/// **Cancel safety**: may be dropped at any time; nothing stays open.
///
/// ```no_run
/// # use std::io;
/// # velodrome::run(async {
/// let (mut reader, writer) = velodrome::open_connection("example.org", 80).await?;
/// writer.write("GET / HTTP/1.0\r\nHost: example.org\r\n\r\n");
/// let status = reader.readline().await?;
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// `NotFound` if there is no such name, or it has no address. If no address answers: the kind is of the last to fail, and
/// the message tells of each. If no loop runs on this thread.
pub async fn open_connection(host: &str, port: u16) -> io::Result<(StreamReader, StreamWriter)> {
    ConnectOptions::new().open_connection(host, port).await
}

/// Connect to the Unix socket at `path`: `asyncio.open_unix_connection`. A path that begins with a zero byte is a name in
/// Linux's abstract namespace.
///
/// **Cancel safety**: may be dropped at any time; nothing stays open.
///
/// ```
/// # use std::io;
/// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-connect", std::process::id()));
/// # velodrome::run(async {
/// # let greet = |_, writer: velodrome::StreamWriter| async move { writer.write("hello\n") };
/// # let server = velodrome::start_unix_server(greet, &path).await?;
/// let (mut reader, _writer) = velodrome::open_unix_connection(&path).await?;
/// assert_eq!(reader.readline().await?, b"hello\n");
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// If nobody listens there; `WouldBlock` if so many wait already that the kernel takes no more. If no loop runs on this
/// thread.
pub async fn open_unix_connection(path: impl AsRef<Path>) -> io::Result<(StreamReader, StreamWriter)> {
    ConnectOptions::new().open_unix_connection(path).await
}

/// Listen on `host` and `port` by TCP, and give each connection to `handler`, in a task of its own:
/// `asyncio.start_server`.
///
/// The handler is an async function of reader and writer, that returns nothing or a `Result`; its error, should there
/// be one, goes to [`Builder::on_error`](crate::Builder::on_error). The connection is closed when the writer is
/// dropped, at the latest with the handler's end. (A closure with an `async move` block drops at once what the block
/// does not name; an `async fn` keeps its arguments.) An empty `host` is every interface, port 0 any that is free: see
/// [`Server::local_addr`]. Connections are accepted from now on, and have `TCP_NODELAY`; when the process is out of
/// descriptors they wait.
///
/// **Cancel safety**: may be dropped at any time; nobody listens then.
///
/// ```
/// # use std::io;
/// # use velodrome::{StreamReader, StreamWriter};
/// async fn shout(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     writer.write(reader.readline().await?.to_ascii_uppercase());
///     Ok(())
/// }
///
/// # velodrome::run(async {
/// let server = velodrome::start_server(shout, "127.0.0.1", 0).await?;
/// # let port = server.local_addr()?.port();
/// # velodrome::spawn(async move {
/// server.serve_forever().await
/// # });
/// # let (mut reader, writer) = velodrome::open_connection("127.0.0.1", port).await?;
/// # writer.write("hello\n");
/// # assert_eq!(reader.read_to_end().await?, b"HELLO\n");
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// `NotFound` if there is no such name. If one of its addresses is taken, or this machine has none of them: addresses of a
/// family that it does not have are passed over. If no loop runs on this thread.
pub async fn start_server<H, F, K>(handler: H, host: &str, port: u16) -> io::Result<Server>
where
    H: Fn(StreamReader, StreamWriter) -> F + 'static,
    F: Future<Output: Outcome<K>> + 'static,
{
    ListenOptions::new().start_server(handler, host, port).await
}

/// Listen on the Unix socket at `path`, and give each connection to `handler`, as [`start_server`] does:
/// `asyncio.start_unix_server`.
///
/// The file is made by this, and removed when the server closes. One that another server has left behind is replaced; if
/// a server still answers there, that is an error. A path that begins with a zero byte is a name in Linux's abstract
/// namespace, which has no file.
///
/// **Cancel safety**: may be dropped at any time; nobody listens then.
///
/// ```
/// # use std::io;
/// # use velodrome::{StreamReader, StreamWriter};
/// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-start", std::process::id()));
/// async fn shout(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     writer.write(reader.readline().await?.to_ascii_uppercase());
///     Ok(())
/// }
///
/// # velodrome::run(async {
/// let server = velodrome::start_unix_server(shout, &path).await?;
/// assert_eq!(server.unix_path(), Some(&*path));
/// let (mut reader, writer) = velodrome::open_unix_connection(&path).await?;
/// writer.write("hello\n");
/// assert_eq!(reader.readline().await?, b"HELLO\n");
/// drop(server);
/// assert!(!path.exists());
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// If the path cannot be listened on. If no loop runs on this thread.
pub async fn start_unix_server<H, F, K>(handler: H, path: impl AsRef<Path>) -> io::Result<Server>
where
    H: Fn(StreamReader, StreamWriter) -> F + 'static,
    F: Future<Output: Outcome<K>> + 'static,
{
    ListenOptions::new().start_unix_server(handler, path).await
}

impl ConnectOptions {
    /// As [`open_connection`], with these choices.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing stays open.
    ///
    /// ```
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// let options = velodrome::ConnectOptions::new().keepalive(true);
    /// let (reader, writer) = options.open_connection("127.0.0.1", port).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn open_connection(&self, host: &str, port: u16) -> io::Result<(StreamReader, StreamWriter)> {
        let local = local::require("open_connection")?;
        let (socket, peer) = self.connect(&local, host, port).await?;
        self.open(&local, socket, peer)
    }

    /// As [`open_unix_connection`], with these choices.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing stays open.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-options-connect", std::process::id()));
    /// # velodrome::run(async {
    /// # let server = velodrome::start_unix_server(|_, _| async {}, &path).await?;
    /// let options = velodrome::ConnectOptions::new().limit(1 << 20);
    /// let (reader, writer) = options.open_unix_connection(&path).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn open_unix_connection(
        &self,
        path: impl AsRef<Path>,
    ) -> io::Result<(StreamReader, StreamWriter)> {
        let local = local::require("open_unix_connection")?;
        let (socket, peer) = self.connect_unix(&local, path.as_ref()).await?;
        self.open(&local, socket, peer)
    }

    fn open(&self, local: &Local, socket: OwnedFd, peer: Peer) -> io::Result<(StreamReader, StreamWriter)> {
        let connection = streams::open(local.hub(), socket, peer, None)?;
        set_limit(&connection, self.limit);
        Ok(streams::ends(connection))
    }
}

impl ListenOptions {
    /// As [`start_server`], with these choices.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let options = velodrome::ListenOptions::new().backlog(1024);
    /// let server = options.start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn start_server<H, F, K>(&self, handler: H, host: &str, port: u16) -> io::Result<Server>
    where
        H: Fn(StreamReader, StreamWriter) -> F + 'static,
        F: Future<Output: Outcome<K>> + 'static,
    {
        let local = local::require("start_server")?;
        self.listen(&local, host, port, self.serve(handler)).await
    }

    /// As [`start_unix_server`], with these choices.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-options-start", std::process::id()));
    /// # velodrome::run(async {
    /// let options = velodrome::ListenOptions::new().backlog(1024);
    /// let server = options.start_unix_server(|_, _| async {}, &path).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn start_unix_server<H, F, K>(&self, handler: H, path: impl AsRef<Path>) -> io::Result<Server>
    where
        H: Fn(StreamReader, StreamWriter) -> F + 'static,
        F: Future<Output: Outcome<K>> + 'static,
    {
        // Nothing is awaited today; asyncio's is a coroutine, and so is its sister.
        let local = local::require("start_unix_server")?;
        self.listen_at(&local, path.as_ref(), self.serve(handler))
    }

    /// As [`start_server`] with these choices, on a stream socket of the internet or a Unix socket that is bound already,
    /// or listens: asyncio's `start_server(handler, sock=…)`. It does not block from now on, and programs that are started
    /// do not inherit it. What is chosen for binding is of no use, and a Unix socket's file stays when the server closes.
    ///
    /// **Cancel safety**: may be dropped at any time; nobody listens then.
    ///
    /// ```
    /// # velodrome::run(async {
    /// // From systemd (socket activation) it is `OwnedFd::from_raw_fd(3)`, if LISTEN_PID is this process.
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = velodrome::ListenOptions::new().start_server_on(|_, _| async {}, socket).await?;
    /// let (reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if it is no stream socket, or connected. If no loop runs on this thread. It is closed then.
    pub async fn start_server_on<H, F, K>(&self, handler: H, socket: impl Into<OwnedFd>) -> io::Result<Server>
    where
        H: Fn(StreamReader, StreamWriter) -> F + 'static,
        F: Future<Output: Outcome<K>> + 'static,
    {
        // Nothing is awaited today; asyncio's is a coroutine, and so are its sisters.
        let local = local::require("start_server_on")?;
        self.listen_to(&local, socket.into(), self.serve(handler))
    }

    /// Give each connection to `handler`, in a task of its own.
    pub(crate) fn serve<H, F, K>(&self, handler: H) -> Rc<Serve>
    where
        H: Fn(StreamReader, StreamWriter) -> F + 'static,
        F: Future<Output: Outcome<K>> + 'static,
    {
        let (handler, limit) = (Rc::new(handler), self.limit);
        Rc::new(move |local: &Rc<Local>, socket, peer: Peer, client: Client| {
            let connection = streams::open(local.hub(), socket, peer, Some(client))?;
            set_limit(&connection, limit);
            let handler = Rc::clone(&handler);
            // What this block is given takes memory beside the handler's future, for as long as that lives.
            drop(spawn(async move {
                let (reader, writer) = streams::ends(Rc::clone(&connection));
                conclude(handler(reader, writer).await, connection.peer());
            }));
            Ok(())
        })
    }
}

fn set_limit(connection: &Connection, limit: Option<usize>) {
    if let Some(limit) = limit {
        connection.set_limit(limit);
    }
}

/// What a connection's handler may return: nothing, or a `Result` whose error is reported.
///
/// ```
/// # use velodrome::Outcome;
/// assert!(().into_error().is_none());
/// assert!(Ok::<(), std::io::Error>(()).into_error().is_none());
/// assert_eq!(Err::<(), _>("no thanks").into_error().unwrap().to_string(), "no thanks");
/// ```
///
/// An error is anything that becomes a `Box<dyn Error>`: one of one's own, anyhow's, a text; or a `Box<dyn Error + Send + Sync>`,
/// which does not, so that `Kind` has to tell the two apart. It is found by the compiler, and never named.
///
/// ```
/// use std::error::Error;
/// use velodrome::{StreamReader, StreamWriter, start_server};
///
/// async fn answer(mut reader: StreamReader, writer: StreamWriter) -> Result<(), Box<dyn Error + Send + Sync>> {
///     let number: i32 = std::str::from_utf8(&reader.readline().await?)?.trim().parse()?;
///     writer.write(format!("{}\n", number + 1));
///     Ok(())
/// }
/// # velodrome::run(async {
/// let server = start_server(answer, "127.0.0.1", 0).await?;
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
pub trait Outcome<Kind = Plain> {
    /// The error, if there is one.
    ///
    /// ```
    /// # use velodrome::Outcome;
    /// assert!(Err::<(), _>("no thanks").into_error().is_some());
    /// ```
    fn into_error(self) -> Option<Box<dyn Error>>;
}

impl Outcome for () {
    fn into_error(self) -> Option<Box<dyn Error>> {
        None
    }
}

impl<E: Into<Box<dyn Error>>> Outcome for Result<(), E> {
    fn into_error(self) -> Option<Box<dyn Error>> {
        self.err().map(Into::into)
    }
}

impl Outcome<Shared> for Result<(), Box<dyn Error + Send + Sync>> {
    fn into_error(self) -> Option<Box<dyn Error>> {
        self.err().map(|error| error as Box<dyn Error>)
    }
}

/// Marks an [`Outcome`] whose error becomes a `Box<dyn Error>`.
#[doc(hidden)]
#[derive(Debug)]
pub enum Plain {}

/// Marks an [`Outcome`] whose error is a box that may go to other threads.
#[doc(hidden)]
#[derive(Debug)]
pub enum Shared {}

pub(crate) fn conclude<K>(outcome: impl Outcome<K>, peer: &Peer) {
    if let Some(error) = outcome.into_error()
        && let Some(local) = local::current()
    {
        let who = peer.as_socket_addr().map_or_else(String::new, |address| format!(" from {address}"));
        local.report(&Unhandled::new(format!("the connection{who}"), error));
    }
}
