//! The end that bytes go into.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use velodrome_engine::sys;
use velodrome_engine::transport::flow_control::FlowControl;
use velodrome_engine::transport::stream::Refused;
use velodrome_engine::transport::write_queue::Chunk;

use super::connection::Connection;
use crate::advice;
use crate::channel::{self, Channel};
use crate::sendfile::{self, Sender};

/// The writing end of a connection: `asyncio.StreamWriter`.
///
/// [`write`](Self::write) never waits and never fails: what the kernel does not take at once is kept.
/// [`drain`](Self::drain) waits until that is little enough, and tells of failures, so it belongs after every write
/// that a peer could let grow.
///
/// **Dropping the writer closes the connection**, once what was written has left: the reader gets no more then. To say
/// that no more will be written, and go on reading, there is [`write_eof`](Self::write_eof).
///
/// ```
/// async fn count(writer: velodrome::StreamWriter) -> std::io::Result<()> {
///     for number in 0..1000 {
///         writer.write(format!("{number}\n"));
///         writer.drain().await?;
///     }
///     writer.close();
///     writer.wait_closed().await
/// }
/// ```
pub struct StreamWriter(pub(crate) Rc<Connection>);

impl StreamWriter {
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        Self(connection)
    }

    /// Send `data`, or keep what the kernel does not take now. On a connection that is lost it does
    /// nothing; nor on one that was closed, unless something that was written before is still on its way.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, _writer) = velodrome::open_socket(ours)?;
    /// # let (_reader, writer) = velodrome::open_socket(theirs)?;
    /// writer.write("hello ");
    /// writer.write([119, 111, 114, 108, 100]);
    /// writer.drain().await?;
    /// assert_eq!(reader.readexactly(11).await?, b"hello world");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    #[inline]
    pub fn write(&self, data: impl AsRef<[u8]>) {
        self.note(self.try_write(data.as_ref()));
    }

    #[inline]
    pub(super) fn try_write(&self, data: &[u8]) -> Result<(), Refused> {
        match self.0.plain() {
            Some(socket) => socket.write(data, || Chunk::Owned(data.to_vec())),
            None => self.0.channel().map_or(Ok(()), |channel| channel.write(data)),
        }
    }

    /// Send several pieces, with as few system calls as may be.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// writer.writelines(["HTTP/1.1 200 OK\r\n", "\r\n"]);
    /// assert_eq!(their_reader.readline().await?, b"HTTP/1.1 200 OK\r\n");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    pub fn writelines<D: AsRef<[u8]>>(&self, pieces: impl IntoIterator<Item = D>) {
        let mut pieces = pieces.into_iter().map(|piece| piece.as_ref().to_vec());
        self.note(self.0.channel().map_or(Ok(()), |channel| channel.write_all(&mut pieces)));
    }

    #[inline]
    fn note(&self, written: Result<(), Refused>) {
        if written == Err(Refused::AfterEof) {
            self.0.outbound.note_late_write();
        }
    }

    /// Wait until what was written and is kept is little enough; at once, if it is. Above 64 KiB it begins to wait, at
    /// 16 KiB it goes on.
    ///
    /// **Cancel safety**: may be dropped at any time; what was written leaves all the same.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// # velodrome::spawn(async move { their_reader.read_to_end().await });
    /// for _ in 0..100 {
    ///     writer.write([0; 10_000]);
    ///     writer.drain().await?;
    ///     assert!(writer.buffered() <= 64 * 1024);
    /// }
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What befell the connection; `ConnectionReset` if it is closed; `BrokenPipe` if something was written after
    /// [`write_eof`](Self::write_eof).
    pub fn drain(&self) -> impl Future<Output = io::Result<()>> {
        // Not an async function, whose future would be of 40 bytes, in the memory of every handler.
        self.0.outbound.waiters.until(|| self.0.outbound.drained())
    }

    /// Wait until the kernel has taken all that was written; [`drain`](Self::drain) waits for less.
    ///
    /// **Cancel safety**: may be dropped at any time; what was written leaves all the same.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// # velodrome::spawn(async move { their_reader.read_to_end().await });
    /// writer.write(vec![0; 1_000_000]);
    /// writer.flush().await?;
    /// assert_eq!(writer.buffered(), 0);
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`drain`](Self::drain).
    pub fn flush(&self) -> impl Future<Output = io::Result<()>> {
        self.0.outbound.waiters.until(|| self.0.flushed())
    }

    /// Say that no more will be written; the peer reads the end of the stream after what was. Reading goes on.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// writer.write("question");
    /// writer.write_eof();
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// # assert_eq!(their_reader.read_to_end().await?, b"question");
    /// # their_writer.write("answer");
    /// # drop(their_writer);
    /// assert_eq!(reader.read_to_end().await?, b"answer");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    pub fn write_eof(&self) {
        if let Some(channel) = self.0.channel() {
            channel.write_eof();
        }
    }

    /// Read no more, send what was written, then close. [`wait_closed`](Self::wait_closed) tells when that is done.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// writer.write("last words");
    /// writer.close();
    /// assert!(writer.is_closing());
    /// writer.wait_closed().await?;
    /// assert_eq!(their_reader.read_to_end().await?, b"last words");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    pub fn close(&self) {
        if let Some(channel) = self.0.channel() {
            channel.close();
        }
    }

    /// Close at once, and drop what was not sent.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// writer.abort();
    /// assert_eq!(reader.read(1).await?, b"");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    pub fn abort(&self) {
        if let Some(channel) = self.0.channel() {
            channel.abort(None);
        }
    }

    /// Whether the connection is closed, or about to be.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// assert!(!writer.is_closing());
    /// writer.close();
    /// assert!(writer.is_closing());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.channel().is_none_or(|channel| channel.is_closing())
    }

    /// Wait until the connection is closed. Does not close it.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is closed by that.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// writer.write("last words");
    /// writer.close();
    /// writer.wait_closed().await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What befell the connection, if it was not closed by either side.
    pub fn wait_closed(&self) -> impl Future<Output = io::Result<()>> {
        self.0.outbound.waiters.until(|| self.0.outbound.closed())
    }

    /// How many bytes that were written are kept, because the kernel has not taken them: asyncio's
    /// `get_write_buffer_size`.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// writer.write(vec![0; 10_000_000]);
    /// assert!(writer.buffered() > 0, "more than the kernel takes at once");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.0.channel().map_or(0, |channel| channel.buffered())
    }

    /// Low and high-water mark of [`drain`](Self::drain), in bytes: asyncio's `get_write_buffer_limits`.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// assert_eq!(writer.write_buffer_limits(), (16 * 1024, 64 * 1024));
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn write_buffer_limits(&self) -> (usize, usize) {
        self.0.socket().map_or_else(|| FlowControl::new().limits(), |socket| socket.write_limits())
    }

    /// Set above how many bytes [`drain`](Self::drain) begins to wait, and at how many it goes on; one that is not given
    /// follows from the other (four times, a quarter). 64 KiB and 16 KiB unless set.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// # velodrome::spawn(async move { their_reader.read_to_end().await });
    /// // For messages that are old when the next one is there: none is written before the last one has left.
    /// writer.set_write_buffer_limits(Some(0), None)?;
    /// writer.write(vec![0; 1_000_000]);
    /// writer.drain().await?;
    /// assert_eq!(writer.buffered(), 0);
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if the high mark is below the low one.
    pub fn set_write_buffer_limits(&self, high: Option<usize>, low: Option<usize>) -> io::Result<()> {
        let set = self.0.socket().map_or(Ok(()), |socket| socket.set_write_limits(high, low));
        set.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// The address of the other end. Known even when the connection is closed.
    ///
    /// ```
    /// # use std::io;
    /// # use velodrome::{StreamReader, StreamWriter};
    /// async fn greet(_reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    ///     writer.write(format!("hello {}", writer.peer_addr()?));
    ///     Ok(())
    /// }
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(greet, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (mut reader, writer) = velodrome::open_connection("127.0.0.1", port).await?;
    /// # let expected = format!("hello {}", writer.local_addr()?);
    /// # assert_eq!(reader.read_to_end().await?, expected.as_bytes());
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported` if it has none: the socket is no internet socket.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        channel::internet(self.0.peer())
    }

    /// The path of the Unix socket at the other end; none for a socket of another family, and none for a client's end,
    /// which has no name.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// assert_eq!(writer.peer_unix_path(), None, "a pair has no names");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn peer_unix_path(&self) -> Option<PathBuf> {
        channel::unix_path(self.0.peer())
    }

    /// The address of this end.
    ///
    /// ```
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// let (_reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// assert!(writer.local_addr()?.ip().is_loopback());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if the connection is closed; `Unsupported` as for [`peer_addr`](Self::peer_addr).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        channel::internet(&sys::getsockname(self.open_channel()?.fd())?)
    }

    /// Whether small writes leave at once (`TCP_NODELAY`). They do, unless
    /// [`ConnectOptions`](crate::ConnectOptions) or [`ListenOptions`](crate::ListenOptions) said otherwise.
    ///
    /// ```
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// let (_reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// writer.set_nodelay(false)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if the connection is closed; what the kernel says if it is no TCP connection.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        sys::set_nodelay(self.open_channel()?.fd(), on)
    }

    /// Whether the kernel asks a silent peer if it still lives (`SO_KEEPALIVE`).
    ///
    /// ```
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// let (_reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// writer.set_keepalive(true)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if the connection is closed.
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        sys::set_keepalive(self.open_channel()?.fd(), on)
    }

    /// Another descriptor of the socket, to do with it what there is no method for: asyncio's `get_extra_info("socket")`.
    ///
    /// It is a duplicate and not the connection's own: anybody who can reach this writer can close the connection, and a
    /// borrowed number would be a stranger's from then on. It shares all with the connection, options and `O_NONBLOCK`
    /// too. **Drop it soon**: as long as it is open the connection is, and the peer is not told of a
    /// [`close`](Self::close). Bytes that are read or written by it miss their place in the stream.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// let (_reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// // SO_LINGER of nothing: closing resets the connection.
    /// rustix::net::sockopt::set_socket_linger(writer.duplicate_fd()?, Some(Duration::ZERO))?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotConnected` if the connection is closed; if the process has no descriptor left.
    pub fn duplicate_fd(&self) -> io::Result<OwnedFd> {
        sys::dup(self.open_channel()?.fd())
    }

    /// Send `count` bytes of `file` from `offset` on, or all that there are: `loop.sendfile`. Returns how many were sent,
    /// which is less where the file is shorter.
    ///
    /// What was written before leaves before. Nothing else is to be written meanwhile: it would arrive in between. The
    /// kernel sends by itself (`sendfile(2)`); where it cannot, or the connection is encrypted, the file is read and
    /// written. Reading a file blocks the loop while the disk is waited for, as it does in asyncio.
    ///
    /// **Cancel safety**: dropping it leaves a part of the file sent, and does not tell how much.
    ///
    /// ```
    /// # use std::io;
    /// # velodrome::run(async {
    /// # let say = |_, writer: velodrome::StreamWriter| async move {
    /// #     let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    /// let file = std::fs::File::open(path)?;
    /// writer.write("HTTP/1.0 200 OK\r\n\r\n");
    /// writer.sendfile(&file, 0, None).await?;
    /// # io::Result::Ok(()) };
    /// # let server = velodrome::start_server(say, "127.0.0.1", 0).await?;
    /// # let (mut reader, _writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// # assert!(reader.read_to_end().await?.starts_with(b"HTTP/1.0 200 OK\r\n\r\n[package]"));
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What the file or the connection says; `ConnectionReset` if it is closed meanwhile, by whomever.
    pub async fn sendfile(&self, file: &File, offset: u64, count: Option<u64>) -> io::Result<u64> {
        sendfile::send(self, file, offset, count).await
    }

    pub(crate) fn open_channel(&self) -> io::Result<Rc<dyn Channel>> {
        let channel = self.0.channel().filter(|_| !self.0.outbound.is_lost());
        channel.ok_or_else(advice::closed)
    }
}

impl Sender for StreamWriter {
    fn open_channel(&self) -> io::Result<Rc<dyn Channel>> {
        self.open_channel()
    }

    async fn flushed(&self) -> io::Result<()> {
        self.flush().await
    }

    async fn put(&self, data: &[u8]) -> io::Result<()> {
        self.write(data);
        self.drain().await
    }

    async fn lost(&self) -> io::Error {
        self.0.outbound.waiters.until(|| self.0.outbound.lost(self.is_closing())).await
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter")
            .field("peer", self.0.peer())
            .field("closing", &self.is_closing())
            .field("buffered", &self.buffered())
            .finish()
    }
}
