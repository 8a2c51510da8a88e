//! Being the server: a task for every connection.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use velodrome_engine::hub::Hub;
use velodrome_engine::sys::{self, AddressFamily, Peer, SocketType};
use velodrome_engine::transport::listener::{Acceptor, Listener};

use super::listening::{BACKLOG, listen};
use super::lookup;
use crate::local::{self, Local};
use crate::streams::reader::StreamReader;
use crate::streams::writer::StreamWriter;
use crate::streams::{self, Attachment};
use crate::task::spawn;
use crate::unhandled::Unhandled;
use crate::waiting::Waiters;

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
/// If the name has no address, or one of them cannot be listened on. If no loop runs on this thread.
pub async fn start_server<H, F>(handler: H, host: &str, port: u16) -> io::Result<Server>
where
    H: Fn(StreamReader, StreamWriter) -> F + 'static,
    F: Future<Output: Outcome> + 'static,
{
    let local = local::require("start_server")?;
    let addresses = match host {
        "" => every_interface(port),
        host => lookup::look_up(&local, host, port).await?,
    };
    let handler = Rc::new(handler);
    let serve = move |reader, writer, peer| {
        let handler = Rc::clone(&handler);
        drop(spawn(async move { conclude(handler(reader, writer).await, &peer) }));
    };
    Server::start(&local, &addresses, Rc::new(serve))
}

/// Of both families, unless the kernel was built without one.
fn every_interface(port: u16) -> Vec<SocketAddr> {
    let v6 = sys::socket(AddressFamily::INET6, SocketType::STREAM).is_ok();
    let v6 = v6.then(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))].into_iter().chain(v6).collect()
}

/// What a connection's handler may return: nothing, or a `Result` whose error is reported.
///
/// ```
/// # use velodrome::Outcome;
/// assert!(().into_error().is_none());
/// assert!(Ok::<(), std::io::Error>(()).into_error().is_none());
/// assert_eq!(Err::<(), _>("no thanks").into_error().unwrap().to_string(), "no thanks");
/// ```
pub trait Outcome {
    /// The error, if there is one.
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

fn conclude(outcome: impl Outcome, peer: &Peer) {
    if let Some(error) = outcome.into_error()
        && let Some(local) = local::current()
    {
        let who = peer.as_socket_addr().map_or_else(String::new, |address| format!(" from {address}"));
        local.report(&Unhandled::new(format!("the connection{who}"), error));
    }
}

/// A server that listens: `asyncio.Server`.
///
/// Dropping it stops the listening, as [`close`](Self::close) does. Connections that were accepted go on.
///
/// ```
/// # use std::{io, rc::Rc};
/// velodrome::run(async {
///     let server = Rc::new(velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?);
///     println!("Serving on {:?}", server.local_addrs());
///
///     let serving = Rc::clone(&server);
///     let task = velodrome::spawn(async move { serving.serve_forever().await });
///     server.close();
///     task.await??;
///     server.wait_closed().await;
///     assert!(!server.is_serving());
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
pub struct Server(Rc<Shared>);

type Serve = dyn Fn(StreamReader, StreamWriter, Peer);

struct Shared {
    /// Empty once it is closed.
    sockets: RefCell<Vec<Listening>>,
    addresses: Vec<SocketAddr>,
    /// Connections that are not lost yet.
    connections: Cell<usize>,
    closed: Cell<bool>,
    /// Why it closed by itself.
    error: Cell<Option<io::Error>>,
    waiters: Waiters,
}

/// The listener is stopped before its socket is closed.
struct Listening {
    listener: Rc<Listener>,
    _socket: OwnedFd,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listener.stop();
    }
}

impl Server {
    fn start(local: &Rc<Local>, addresses: &[SocketAddr], serve: Rc<Serve>) -> io::Result<Self> {
        let bound = addresses.iter().map(|address| listen(*address)).collect::<io::Result<Vec<_>>>()?;
        let server = Self(Rc::new(Shared {
            sockets: RefCell::default(),
            addresses: bound.iter().map(|(_, address)| *address).collect(),
            connections: Cell::new(0),
            closed: Cell::new(false),
            error: Cell::new(None),
            waiters: Waiters::default(),
        }));
        for (socket, _) in bound {
            let door = Door {
                local: Rc::downgrade(local),
                server: Rc::downgrade(&server.0),
                serve: Rc::clone(&serve),
            };
            server.0.listen(local.hub(), socket, Rc::new(door))?;
        }
        Ok(server)
    }

    /// Wait until the server is closed, by [`close`](Self::close) in another task or by an error. Safe to give up: the
    /// server goes on then, until it is dropped.
    ///
    /// # Errors
    /// What befell the listening socket.
    pub async fn serve_forever(&self) -> io::Result<()> {
        poll_fn(|cx| self.0.poll_until(cx, |shared| shared.closed.get())).await;
        self.0.error.take().map_or(Ok(()), Err)
    }

    /// Stop listening. Connections that were accepted go on.
    pub fn close(&self) {
        self.0.close();
    }

    /// Wait until the server is closed and so are its connections. Closes neither. Safe to give up.
    pub async fn wait_closed(&self) {
        poll_fn(|cx| self.0.poll_until(cx, |shared| shared.closed.get() && shared.connections.get() == 0))
            .await;
    }

    /// Whether it listens.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        !self.0.closed.get()
    }

    /// The addresses it listens on, or did.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// The first of [`local_addrs`](Self::local_addrs).
    ///
    /// # Errors
    /// `Unsupported` if it has none.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.addresses.first().copied().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.0.addresses)
            .field("serving", &self.is_serving())
            .field("connections", &self.0.connections.get())
            .finish()
    }
}

impl Shared {
    fn listen(&self, hub: &Rc<Hub>, socket: OwnedFd, door: Rc<Door>) -> io::Result<()> {
        let listener = Listener::start(hub, socket.as_raw_fd(), usize::from(BACKLOG), door)?;
        self.sockets.borrow_mut().push(Listening { listener, _socket: socket });
        Ok(())
    }

    fn close(&self) {
        self.closed.set(true);
        drop(self.sockets.take());
        self.waiters.wake();
    }

    fn poll_until(&self, cx: &Context<'_>, condition: impl Fn(&Self) -> bool) -> Poll<()> {
        if condition(self) {
            return Poll::Ready(());
        }
        self.waiters.wait(cx);
        Poll::Pending
    }
}

/// Counts one connection for as long as it is not lost.
struct Counted(Rc<Shared>);

impl Counted {
    fn new(server: Rc<Shared>) -> Self {
        server.connections.set(server.connections.get() + 1);
        Self(server)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.waiters.wake();
    }
}

/// Who is told of connections. It holds neither loop nor server: both hold it.
struct Door {
    local: Weak<Local>,
    server: Weak<Shared>,
    serve: Rc<Serve>,
}

impl Door {
    fn open(&self, socket: OwnedFd, peer: Peer) -> io::Result<()> {
        let (Some(local), Some(server)) = (self.local.upgrade(), self.server.upgrade()) else {
            return Ok(());
        };
        sys::set_nodelay(socket.as_raw_fd(), true)?;
        let counted: Attachment = Box::new(Counted::new(server));
        let (reader, writer) = streams::open(local.hub(), socket, peer.clone(), Some(counted))?;
        (self.serve)(reader, writer, peer);
        Ok(())
    }

    fn report(&self, doing: &str, error: io::Error) {
        if let Some(local) = self.local.upgrade() {
            local.report(&Unhandled::new(doing, error));
        }
    }
}

impl Acceptor for Door {
    fn accepted(&self, socket: OwnedFd, peer: Peer) {
        if let Err(error) = self.open(socket, peer) {
            self.report("a connection was accepted and then lost", error);
        }
    }

    fn exhausted(&self, error: io::Error) {
        self.report("no connections are accepted for a second", error);
    }

    fn failed(&self, error: io::Error) {
        if let Some(server) = self.server.upgrade() {
            server.error.set(Some(error));
            server.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builder;

    /// The error goes where the program wants it.
    #[track_caller]
    fn told(about: impl Fn(&Door)) -> (Vec<String>, io::Result<()>) {
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let log = Rc::clone(&seen);
        let runtime = Builder::new().on_error(move |error| log.borrow_mut().push(error.to_string())).build();
        let served = runtime.unwrap().block_on(async {
            let server = start_server(|_, _| async {}, "127.0.0.1", 0).await.unwrap();
            let local = Rc::downgrade(&local::current().unwrap());
            about(&Door { local, server: Rc::downgrade(&server.0), serve: Rc::new(|_, _, _| ()) });
            if !server.is_serving() {
                return server.serve_forever().await;
            }
            Ok(())
        });
        (seen.take(), served.unwrap())
    }

    #[test]
    fn a_server_out_of_descriptors_says_so_and_goes_on() {
        let (seen, served) = told(|door| door.exhausted(io::Error::other("too many open files")));
        assert_eq!(seen, ["no connections are accepted for a second: too many open files"]);
        assert!(served.is_ok());
    }

    #[test]
    fn a_listener_that_failed_ends_serve_forever() {
        let (seen, served) = told(|door| door.failed(io::Error::other("broken")));
        assert_eq!((seen.len(), served.unwrap_err().to_string()), (0, "broken".to_owned()));
    }
}
