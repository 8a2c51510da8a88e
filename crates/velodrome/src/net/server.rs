//! A server: the sockets that listen, whoever is connected to them, and the end of both.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use velodrome_engine::hub::Hub;
use velodrome_engine::sys;
use velodrome_engine::transport::listener::Listener;

use super::door::{Door, Serve};
use super::options::ListenOptions;
use super::stale::Leftover;
use crate::channel;
use crate::clients::Clients;
use crate::local::Local;

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

pub(super) struct Shared {
    /// Empty once it is closed.
    sockets: RefCell<Vec<Listening>>,
    addresses: Vec<SocketAddr>,
    unix_path: Option<PathBuf>,
    /// Removed with the sockets.
    leftover: Cell<Option<Leftover>>,
    pub(super) clients: Rc<Clients>,
    /// Why it closed by itself.
    error: Cell<Option<io::Error>>,
}

/// The listener is stopped before its socket is closed.
struct Listening {
    listener: Rc<Listener>,
    socket: OwnedFd,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listener.stop();
    }
}

impl Server {
    pub(super) fn start(
        local: &Rc<Local>,
        sockets: Vec<OwnedFd>,
        unix: Option<(PathBuf, Option<Leftover>)>,
        options: &ListenOptions,
        serve: Rc<Serve>,
    ) -> io::Result<Self> {
        let (unix_path, leftover) = unix.map_or((None, None), |(path, leftover)| (Some(path), leftover));
        let server = Self(Rc::new(Shared {
            sockets: RefCell::default(),
            addresses: sockets.iter().filter_map(address_of).collect(),
            unix_path,
            leftover: Cell::new(leftover),
            clients: Rc::default(),
            error: Cell::new(None),
        }));
        for socket in sockets {
            let door = Door {
                local: Rc::downgrade(local),
                server: Rc::downgrade(&server.0),
                nodelay: options.setup.nodelay_of(&socket),
                setup: options.setup.clone(),
                serve: Rc::clone(&serve),
            };
            server.0.listen(local.hub(), socket, options.backlog, Rc::new(door))?;
        }
        Ok(server)
    }

    /// Wait until the server is closed, by [`close`](Self::close) in another task or by an error.
    ///
    /// **Cancel safety**: may be dropped at any time; the server goes on then, until it is dropped itself.
    ///
    /// ```
    /// # async fn echo(_: velodrome::StreamReader, _: velodrome::StreamWriter) {}
    /// # velodrome::run(async {
    /// # let work = async {
    /// let server = velodrome::start_server(echo, "127.0.0.1", 0).await?;
    /// server.serve_forever().await
    /// # };
    /// # velodrome::timeout(std::time::Duration::from_millis(1), work).await.unwrap_or(std::io::Result::Ok(()))?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What befell the listening socket; if its loop has ended.
    pub async fn serve_forever(&self) -> io::Result<()> {
        self.0.clients.until(Clients::is_closed).await;
        self.0.error.take().map_or(Ok(()), Err)
    }

    /// Stop listening. Connections that were accepted go on.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// server.close();
    /// assert!(velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await.is_err());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn close(&self) {
        self.0.close();
    }

    /// Close every connection, once what was written to it has left: `asyncio.Server.close_clients`. The server goes on
    /// listening, unless it is [closed](Self::close).
    ///
    /// ```
    /// # use std::io;
    /// # use velodrome::{StreamReader, StreamWriter};
    /// async fn answer(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    ///     while let line @ [_, ..] = &*reader.readline().await? {
    ///         writer.write(line);
    ///     }
    ///     Ok(())
    /// }
    ///
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(answer, "127.0.0.1", 0).await?;
    /// # let (mut reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// # writer.write("hello\n");
    /// # assert_eq!(reader.readline().await?, b"hello\n");
    /// server.close();
    /// server.close_clients();
    /// server.wait_closed().await;
    /// # assert_eq!(reader.read_to_end().await?, b"");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    pub fn close_clients(&self) {
        self.0.clients.for_each(|client| client.close());
    }

    /// Close every connection at once, and drop what was not sent: `asyncio.Server.abort_clients`.
    ///
    /// ```
    /// # async fn wait(mut reader: velodrome::StreamReader, _: velodrome::StreamWriter) { let _ = reader.read(1).await; }
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(wait, "127.0.0.1", 0).await?;
    /// let (mut reader, _writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// # while server.client_count() == 0 { velodrome::yield_now().await }
    /// server.abort_clients();
    /// assert_eq!(reader.read(1).await?, b"");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn abort_clients(&self) {
        self.0.clients.for_each(|client| client.abort());
    }

    /// How many connections there are that are not lost yet.
    ///
    /// ```
    /// # async fn wait(mut reader: velodrome::StreamReader, _: velodrome::StreamWriter) { let _ = reader.read(1).await; }
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(wait, "127.0.0.1", 0).await?;
    /// let _connection = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// while server.client_count() == 0 {
    ///     velodrome::yield_now().await;
    /// }
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.0.clients.len()
    }

    /// Wait until the server is closed and so are its connections. Closes neither.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is closed by that.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// server.close();
    /// server.wait_closed().await;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn wait_closed(&self) {
        self.0.clients.until(|clients| clients.is_closed() && clients.len() == 0).await;
    }

    /// Whether it listens.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// assert!(server.is_serving());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_serving(&self) -> bool {
        !self.0.clients.is_closed()
    }

    /// The internet addresses it listens on, or did.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(|_, _| async {}, "", 0).await?;
    /// for address in server.local_addrs() {
    ///     println!("Serving on {address}");
    /// }
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// The first of [`local_addrs`](Self::local_addrs).
    ///
    /// ```
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// assert_ne!(server.local_addr()?.port(), 0);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported` if it has none: it listens on a Unix socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.addresses.first().copied().ok_or_else(channel::no_address)
    }

    /// Another descriptor for each socket that it listens on: asyncio's `Server.sockets`. None when it is closed.
    ///
    /// They are duplicates, because the server can be closed by anybody who can reach it. As long as one is open the
    /// address is taken, and clients wait there for nobody.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// for socket in server.duplicate_fds()? {
    ///     assert!(rustix::net::sockopt::socket_reuseaddr(&socket)?);
    /// }
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If the process has no descriptor left.
    pub fn duplicate_fds(&self) -> io::Result<Vec<OwnedFd>> {
        self.0.sockets.borrow().iter().map(|listening| sys::dup(listening.socket.as_raw_fd())).collect()
    }

    /// The path of the Unix socket it listens on, or did; an abstract name begins with a zero byte.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("velodrome-doc-{}-path", std::process::id()));
    /// # velodrome::run(async {
    /// let server = velodrome::start_unix_server(|_, _| async {}, &path).await?;
    /// assert_eq!(server.unix_path(), Some(&*path));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.0.unix_path.as_deref()
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
            .field("unix_path", &self.0.unix_path)
            .field("serving", &self.is_serving())
            .field("clients", &self.client_count())
            .finish()
    }
}

impl Shared {
    fn listen(&self, hub: &Rc<Hub>, socket: OwnedFd, backlog: u16, door: Rc<Door>) -> io::Result<()> {
        let listener = Listener::start(hub, socket.as_raw_fd(), usize::from(backlog), door)?;
        self.sockets.borrow_mut().push(Listening { listener, socket });
        Ok(())
    }

    fn close(&self) {
        drop((self.sockets.take(), self.leftover.take()));
        self.clients.close();
    }

    /// It closes by itself.
    pub(super) fn fail(&self, error: io::Error) {
        self.error.set(Some(error));
        self.close();
    }
}

fn address_of(socket: &OwnedFd) -> Option<SocketAddr> {
    sys::getsockname(socket.as_raw_fd()).ok()?.as_socket_addr()
}

#[cfg(test)]
mod tests {
    use velodrome_engine::transport::listener::Acceptor;

    use super::super::options::Setup;
    use super::*;
    use crate::local;
    use crate::{Builder, start_server};

    /// The error goes where the program wants it.
    #[track_caller]
    fn told(about: impl Fn(&Door)) -> (Vec<String>, io::Result<()>) {
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let log = Rc::clone(&seen);
        let runtime = Builder::new().on_error(move |error| log.borrow_mut().push(error.to_string())).build();
        let served = runtime.unwrap().block_on(async {
            let server = start_server(|_, _| async {}, "127.0.0.1", 0).await.unwrap();
            let local = Rc::downgrade(&local::current().unwrap());
            let (server_of, serve) = (Rc::downgrade(&server.0), Rc::new(|_: &_, _, _, _| Ok(())));
            about(&Door { local, server: server_of, setup: Setup::default(), nodelay: None, serve });
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
