//! The end that bytes come out of.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;

use velodrome_engine::streams::ReadUntil;

use super::connection::Connection;
use super::error::ReadError;
use super::wanted::{Apart, Behind, Exactly, Line, Until, UpTo};

/// The reading end of a connection: `asyncio.StreamReader`.
///
/// A method that waits takes what it wants of what comes, and the rest is kept; what nobody waits for the loop reads ahead,
/// up to about twice the reader's limit. No buffer has to be handed in. What was received before the connection failed can
/// be read before the failure is told.
///
/// **To give up a read is safe**: bytes leave the stream only together with the method's result, so a read that is
/// dropped, by a [`timeout`](crate::timeout) say, has taken nothing.
///
/// ```
/// async fn count_lines(mut reader: velodrome::StreamReader) -> std::io::Result<usize> {
///     let mut lines = 0;
///     while !reader.readline().await?.is_empty() {
///         lines += 1;
///     }
///     Ok(lines)
/// }
/// ```
pub struct StreamReader(pub(crate) Rc<Connection>);

impl StreamReader {
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        Self(connection)
    }

    /// Up to `most` bytes, as soon as there is one; empty at the end of the stream, and if none are wanted.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is taken from the stream then.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, _writer) = velodrome::open_socket(ours)?;
    /// velodrome::open_socket(theirs)?.1.write("hello");
    /// assert_eq!(reader.read(4).await?, b"hell");
    /// assert_eq!(reader.read(4).await?, b"o");
    /// assert_eq!(reader.read(4).await?, b"");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If the connection failed.
    pub async fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        poll_fn(move |cx| self.0.poll_read(cx, &mut UpTo(most), &mut Apart).map_err(io::Error::from)).await
    }

    /// As many bytes as `buffer` has room for, as soon as there is one; 0 at the end of the stream, and if there is no
    /// room. For who reads much and has a buffer already: [`read`](Self::read) makes one each time.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is taken from the stream then.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, _writer) = velodrome::open_socket(ours)?;
    /// velodrome::open_socket(theirs)?.1.write("hello");
    /// let mut buffer = [0; 4];
    /// assert_eq!(reader.read_into(&mut buffer).await?, 4);
    /// assert_eq!(&buffer, b"hell");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If the connection failed.
    pub async fn read_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| self.0.poll_receive(cx, buffer)).await
    }

    /// Everything up to the end of the stream: asyncio's `read(-1)`. No limit applies.
    ///
    /// **Cancel safety**: may be dropped at any time; what has arrived stays in the stream.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// their_writer.writelines(["one\n", "two\n"]);
    /// their_writer.write_eof();
    /// assert_eq!(reader.read_to_end().await?, b"one\ntwo\n");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If the connection failed.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        match self.readexactly(usize::MAX).await {
            Err(ReadError::Incomplete { partial, .. }) => Ok(partial),
            read => Ok(read?),
        }
    }

    /// A line, with its `\n`; at the end of the stream what is left, without one, and then empty.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is taken from the stream then.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, _writer) = velodrome::open_socket(ours)?;
    /// velodrome::open_socket(theirs)?.1.write("one\ntwo");
    /// assert_eq!(reader.readline().await?, b"one\n");
    /// assert_eq!(reader.readline().await?, b"two");
    /// assert_eq!(reader.readline().await?, b"");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError::LimitOverrun`] if the line is longer than the limit; what is known of it is dropped. Or if the
    /// connection failed.
    pub async fn readline(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut line = Line(ReadUntil::line());
        poll_fn(|cx| self.0.poll_read(cx, &mut line, &mut Apart)).await
    }

    /// As [`readline`](Self::readline), and append the line to `buffer`; tell its length, 0 at the end of the stream. For
    /// who reads many lines: `readline` makes a vector for each. It is std's and tokio's `read_until`, but that a line comes
    /// whole or not at all: `buffer` is as it was until the method returns `Ok`.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is taken from the stream then, nor appended.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, _writer) = velodrome::open_socket(ours)?;
    /// velodrome::open_socket(theirs)?.1.write("one\ntwo\n");
    /// let mut line = Vec::new();
    /// while reader.readline_into(&mut line).await? > 0 {
    ///     assert_eq!(line.len(), 4);
    ///     line.clear();
    /// }
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`readline`](Self::readline).
    pub async fn readline_into(&mut self, buffer: &mut Vec<u8>) -> Result<usize, ReadError> {
        let mut line = Line(ReadUntil::line());
        poll_fn(|cx| self.0.poll_read(cx, &mut line, &mut Behind(buffer))).await
    }

    /// Exactly `count` bytes. No limit applies.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is taken from the stream then.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// their_writer.write("length: 5\n12345rest");
    /// assert_eq!(reader.readline().await?, b"length: 5\n");
    /// assert_eq!(reader.readexactly(5).await?, b"12345");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError::Incomplete`] if the stream ends before, with what there was. Or if the connection failed.
    pub async fn readexactly(&mut self, count: usize) -> Result<Vec<u8>, ReadError> {
        poll_fn(move |cx| self.0.poll_read(cx, &mut Exactly(count), &mut Apart)).await
    }

    /// Everything up to `separator`, with it.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is taken from the stream then.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, _writer) = velodrome::open_socket(ours)?;
    /// velodrome::open_socket(theirs)?.1.write("GET / HTTP/1.1\r\n\r\nbody");
    /// assert_eq!(reader.readuntil(b"\r\n\r\n").await?, b"GET / HTTP/1.1\r\n\r\n");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError::LimitOverrun`] if it is too far away; the message stays in the stream, to be read in pieces.
    /// [`ReadError::Incomplete`] if the stream ends before. [`ReadError::Separator`] if it is empty. Or if the
    /// connection failed.
    pub async fn readuntil(&mut self, separator: &[u8]) -> Result<Vec<u8>, ReadError> {
        let mut until = Until(ReadUntil::new([separator]).map_err(ReadError::Separator)?);
        poll_fn(|cx| self.0.poll_read(cx, &mut until, &mut Apart)).await
    }

    /// Everything up to whichever of `separators` ends first, with it: asyncio's `readuntil` with a tuple. Of two that end at
    /// the same place, one the other's end, it does not matter which.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is taken from the stream then.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, _writer) = velodrome::open_socket(ours)?;
    /// velodrome::open_socket(theirs)?.1.write("one;two\nthree");
    /// assert_eq!(reader.readuntil_any(&[b"\n", b";"]).await?, b"one;");
    /// assert_eq!(reader.readuntil_any(&[b"\n", b";"]).await?, b"two\n");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`readuntil`](Self::readuntil), and [`ReadError::Separator`] if there are none.
    pub async fn readuntil_any(&mut self, separators: &[&[u8]]) -> Result<Vec<u8>, ReadError> {
        let mut until = Until(ReadUntil::new(separators.iter().copied()).map_err(ReadError::Separator)?);
        poll_fn(|cx| self.0.poll_read(cx, &mut until, &mut Apart)).await
    }

    /// As [`readuntil`](Self::readuntil), and append what was read to `buffer`; tell its length, which is never 0. Where the
    /// stream ends too early, what there was comes with the error, and `buffer` is as it was.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is taken from the stream then, nor appended.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, _writer) = velodrome::open_socket(ours)?;
    /// velodrome::open_socket(theirs)?.1.write("key=value;");
    /// let mut pair = Vec::new();
    /// assert_eq!(reader.readuntil_into(b"=", &mut pair).await?, 4);
    /// assert_eq!(reader.readuntil_into(b";", &mut pair).await?, 6);
    /// assert_eq!(pair, b"key=value;");
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`readuntil`](Self::readuntil).
    pub async fn readuntil_into(
        &mut self,
        separator: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<usize, ReadError> {
        let mut until = Until(ReadUntil::new([separator]).map_err(ReadError::Separator)?);
        poll_fn(|cx| self.0.poll_read(cx, &mut until, &mut Behind(buffer))).await
    }

    /// Whether the stream has ended and everything was read.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// their_writer.write("x");
    /// their_writer.close();
    /// while !reader.at_eof() {
    ///     reader.read(100).await?;
    /// }
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn at_eof(&self) -> bool {
        self.0.at_eof()
    }

    /// Let lines, and what is found by [`readuntil`](Self::readuntil), be `limit` bytes long, and twice as many be read
    /// ahead. 64 KiB unless set.
    ///
    /// ```
    /// # use std::{io, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// reader.set_limit(3);
    /// their_writer.write("too long\n");
    /// assert!(reader.readline().await.is_err());
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    pub fn set_limit(&mut self, limit: usize) {
        self.0.set_limit(limit);
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.0.reader_dropped();
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").field("peer", self.0.peer()).field("at_eof", &self.at_eof()).finish()
    }
}
