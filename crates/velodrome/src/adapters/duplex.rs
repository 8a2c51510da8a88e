//! Both ends of a connection in one hand, as most other crates want them.

use crate::streams::reader::StreamReader;
use crate::streams::writer::StreamWriter;

/// A connection that is read and written by the traits of other crates. Dropping it closes the connection, once what was
/// written has left.
///
/// ```
/// # use std::io;
/// use velodrome::adapters::Duplex;
///
/// # velodrome::run(async {
/// # let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
/// # let port = server.local_addr()?.port();
/// let connection = Duplex::from(velodrome::open_connection("127.0.0.1", port).await?);
/// let (mut reader, writer) = connection.into_parts();
/// # assert_eq!(reader.read(1).await?, b"");
/// # io::Result::Ok(()) })??;
/// # io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Duplex {
    pub(super) reader: StreamReader,
    pub(super) writer: StreamWriter,
}

impl Duplex {
    /// Both ends, which must be of one connection for most purposes.
    ///
    /// ```
    /// # use velodrome::{StreamReader, StreamWriter, adapters::Duplex};
    /// async fn handler(reader: StreamReader, writer: StreamWriter) {
    ///     let connection = Duplex::new(reader, writer);
    ///     // Hand it to a crate that wants `AsyncRead + AsyncWrite` or hyper's traits.
    /// }
    /// ```
    #[must_use]
    pub fn new(reader: StreamReader, writer: StreamWriter) -> Self {
        Self { reader, writer }
    }

    /// Reader and writer again.
    ///
    /// ```
    /// # use velodrome::adapters::Duplex;
    /// # use std::os::unix::net::UnixStream;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # let (mut reader, writer) = velodrome::open_socket(ours)?;
    /// # let (mut their_reader, their_writer) = velodrome::open_socket(theirs)?;
    /// let connection = Duplex::new(reader, writer);
    /// let (mut reader, writer) = connection.into_parts();
    /// writer.write("hello");
    /// # assert_eq!(their_reader.readexactly(5).await?, b"hello");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn into_parts(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }
}

impl From<(StreamReader, StreamWriter)> for Duplex {
    fn from((reader, writer): (StreamReader, StreamWriter)) -> Self {
        Self::new(reader, writer)
    }
}
