//! The handle by which a protocol, or anybody else, writes to a connection and ends it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use velodrome_engine::sys;
use velodrome_engine::transport::stream::Refused;

use super::far_end::{FarEnd, Wire};
use crate::channel::{self, Channel};
use crate::unhandled::Unhandled;
use crate::{advice, local};

/// A connection, for who writes to it: `asyncio.Transport`. Clones are the same connection.
///
/// Dropping it closes nothing: the loop keeps a connection until it is closed by either side.
///
/// ```
/// use std::io;
/// use velodrome::{Protocol, Transport};
///
/// /// Says what it has to say, and hangs up.
/// struct Greeting;
///
/// impl Protocol for Greeting {
///     fn connection_made(&mut self, transport: Transport) {
///         let peer = transport.peer_addr().map_or("friend".to_owned(), |address| address.to_string());
///         transport.writelines(["hello ", &peer, "\n"]);
///         transport.close();
///     }
///
///     fn data_received(&mut self, _: &[u8]) {}
/// }
///
/// velodrome::run(async {
///     let server = velodrome::create_server(|| Greeting, "127.0.0.1", 0).await?;
///     let (mut reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
///     let expected = format!("hello {}\n", writer.local_addr()?);
///     assert_eq!(reader.read_to_end().await?, expected.as_bytes());
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Transport {
    pub(super) wire: Rc<Wire>,
    pub(super) far_end: Rc<FarEnd>,
}

impl Transport {
    pub(super) fn new(wire: Rc<Wire>, far_end: Rc<FarEnd>) -> Self {
        Self { wire, far_end }
    }

    pub(super) fn channel(&self) -> Rc<dyn Channel> {
        self.wire.channel()
    }

    /// Send `data`, or keep what the kernel does not take now. On a connection that is lost it does
    /// nothing, nor on one that was closed, unless something that was written before is still on its way. After
    /// [`write_eof`](Self::write_eof) it does nothing either, and [`Builder::on_error`](crate::Builder::on_error) is told,
    /// because that is a mistake.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.write("hello ");
    /// transport.write([119, 111, 114, 108, 100]);
    /// # assert_eq!(their_reader.readexactly(11).await?, b"hello world");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn write(&self, data: impl AsRef<[u8]>) {
        admit(self.channel().write(data.as_ref()));
    }

    /// Send several pieces, with as few system calls as may be.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.writelines(["HTTP/1.1 200 OK\r\n", "\r\n"]);
    /// # assert_eq!(their_reader.readexactly(19).await?, b"HTTP/1.1 200 OK\r\n\r\n");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn writelines<D: AsRef<[u8]>>(&self, pieces: impl IntoIterator<Item = D>) {
        admit(self.channel().write_all(&mut pieces.into_iter().map(|piece| piece.as_ref().to_vec())));
    }

    /// Say that no more will be written; the peer reads the end of the stream after what was. Reading goes on.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.write("question");
    /// transport.write_eof();
    /// # assert_eq!(their_reader.read_to_end().await?, b"question");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn write_eof(&self) {
        self.channel().write_eof();
    }

    /// Read no more, send what was written, then close: `connection_lost` tells when that is done.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.write("last words");
    /// transport.close();
    /// assert!(transport.is_closing());
    /// # assert_eq!(their_reader.read_to_end().await?, b"last words");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn close(&self) {
        self.channel().close();
    }

    /// Close at once, and drop what was not sent.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.abort();
    /// assert_eq!(their_reader.read(1).await?, b"");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn abort(&self) {
        self.channel().abort(None);
    }

    /// Whether the connection is closed, or about to be.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// assert!(!transport.is_closing());
    /// transport.close();
    /// assert!(transport.is_closing());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.channel().is_closing()
    }

    /// Have no data delivered until [`resume_reading`](Self::resume_reading): the peer is slowed down, once the kernel's
    /// buffers are full.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.pause_reading();
    /// assert!(!transport.is_reading());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pause_reading(&self) {
        self.channel().pause_reading();
    }

    /// Have data delivered again.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.pause_reading();
    /// transport.resume_reading();
    /// assert!(transport.is_reading());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn resume_reading(&self) {
        self.channel().resume_reading();
    }

    /// Whether data would be delivered if it came.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// assert!(transport.is_reading());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.channel().is_reading()
    }

    /// How many bytes that were written are kept, because the kernel has not taken them: asyncio's
    /// `get_write_buffer_size`.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.write(vec![0; 100_000_000]);
    /// assert!(transport.write_buffer_size() > 0, "more than the kernel takes at once");
    /// # transport.abort();
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn write_buffer_size(&self) -> usize {
        self.channel().buffered()
    }

    /// Whether more is kept than the high-water mark, and has not yet fallen to the low one. True as soon as a `write`
    /// made it so, also within the callback that wrote, where `pause_writing` is still to come.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// while !transport.is_writing_paused() {
    ///     transport.write([0; 10_000]);
    /// }
    /// # transport.abort();
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_writing_paused(&self) -> bool {
        self.channel().is_writing_paused()
    }

    /// Low and high-water mark, in bytes: asyncio's `get_write_buffer_limits`.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// assert_eq!(transport.write_buffer_limits(), (16 * 1024, 64 * 1024));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn write_buffer_limits(&self) -> (usize, usize) {
        self.channel().write_limits()
    }

    /// Set the marks between which writing is paused and resumed; one that is not given follows from the other (a quarter,
    /// four times). 64 KiB and 16 KiB unless set.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.set_write_buffer_limits(Some(1 << 20), None)?;
    /// assert_eq!(transport.write_buffer_limits(), (1 << 18, 1 << 20));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if the high mark is below the low one.
    pub fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> io::Result<()> {
        let set = self.channel().set_write_limits(high, low);
        set.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// The address of the other end: asyncio's `get_extra_info("peername")`. Known even when the connection is closed.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// assert_eq!(transport.peer_addr()?, server.local_addr()?);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported` if it has none: the socket is no internet socket.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        channel::internet(&self.far_end.peer)
    }

    /// The path of the Unix socket at the other end; none for a socket of another family, and none for a client's end,
    /// which has no name.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// assert_eq!(transport.peer_unix_path(), None, "an internet socket");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn peer_unix_path(&self) -> Option<PathBuf> {
        channel::unix_path(&self.far_end.peer)
    }

    /// The address of this end: asyncio's `get_extra_info("sockname")`.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// assert_eq!(transport.local_addr()?, their_writer.peer_addr()?);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if the connection is closed; `Unsupported` as for [`peer_addr`](Self::peer_addr).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        channel::internet(&sys::getsockname(self.open_fd()?)?)
    }

    /// Whether small writes leave at once (`TCP_NODELAY`).
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.set_nodelay(true)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if the connection is closed; what the kernel says if it is no TCP connection.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        sys::set_nodelay(self.open_fd()?, on)
    }

    /// Whether the kernel asks a silent peer if it still lives (`SO_KEEPALIVE`).
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// transport.set_keepalive(true)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if the connection is closed.
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        sys::set_keepalive(self.open_fd()?, on)
    }

    /// Another descriptor of the socket, to do with it what there is no method for: asyncio's `get_extra_info("socket")`.
    ///
    /// It is a duplicate and not the connection's own, for the reasons that
    /// [`StreamWriter::duplicate_fd`](crate::StreamWriter::duplicate_fd) gives, and has to be dropped soon as that has.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// let socket = std::net::TcpStream::from(transport.duplicate_fd()?);
    /// socket.set_ttl(1)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if the connection is closed; if the process has no descriptor left.
    pub fn duplicate_fd(&self) -> io::Result<OwnedFd> {
        sys::dup(self.open_fd()?)
    }

    fn open_fd(&self) -> io::Result<RawFd> {
        let channel = self.channel();
        if channel.is_closed() { Err(advice::closed()) } else { Ok(channel.fd()) }
    }
}

/// What asyncio raises a RuntimeError for.
fn admit(written: Result<(), Refused>) {
    if written == Err(Refused::AfterEof)
        && let Some(local) = local::current()
    {
        local.report(&Unhandled::new("a write was dropped", "it came after write_eof"));
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("peer", &self.far_end.peer)
            .field("closing", &self.is_closing())
            .field("buffered", &self.write_buffer_size())
            .finish()
    }
}
