//! What a read says that cannot give what was asked for.

use std::fmt;
use std::io;

use velodrome_engine::streams::{NoSeparator, Overrun};

/// Why a [`StreamReader`](crate::StreamReader) did not read what it was asked for. `?` turns it into an `io::Error`, of
/// which [`io::Error::get_ref`] gives it back.
///
/// ```
/// use std::io;
/// use std::os::unix::net::UnixStream;
/// use velodrome::ReadError;
///
/// velodrome::run(async {
///     let (ours, theirs) = UnixStream::pair()?;
///     let (mut reader, _writer) = velodrome::open_socket(ours)?;
///     velodrome::open_socket(theirs)?.1.write("half");
///
///     let Err(ReadError::Incomplete { partial, expected }) = reader.readexactly(8).await else { panic!() };
///     assert_eq!((partial, expected), (b"half".to_vec(), Some(8)));
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The stream ended too early: asyncio's `IncompleteReadError`. An `io::Error` of kind `UnexpectedEof`.
    Incomplete {
        /// What there was. It has left the stream.
        partial: Vec<u8>,
        /// How much was wanted, if that is a number.
        expected: Option<usize>,
    },
    /// A message is longer than the reader's limit: asyncio's `LimitOverrunError`. An `io::Error` of kind
    /// `InvalidData`.
    LimitOverrun {
        /// How many bytes belong to the message for certain, its separator not counted.
        consumed: usize,
        /// Whether the end of the message is known.
        overrun: Overrun,
    },
    /// There was no separator to look for. An `io::Error` of kind `InvalidInput`.
    Separator(NoSeparator),
    /// The connection failed.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { partial, expected: Some(expected) } => {
                write!(f, "the stream ended after {} bytes of {expected}", partial.len())
            }
            Self::Incomplete { partial, expected: None } => {
                write!(f, "the stream ended after {} bytes, before a separator", partial.len())
            }
            Self::LimitOverrun { consumed, overrun } => {
                write!(f, "{overrun} ({consumed} bytes): set_limit of the reader allows more")
            }
            Self::Separator(error) => write!(f, "{error}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ReadError {
    /// What is behind the connection's error, whose own text this one's has told.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => error.source(),
            _ => None,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Incomplete { .. } => io::ErrorKind::UnexpectedEof,
            ReadError::LimitOverrun { .. } => io::ErrorKind::InvalidData,
            ReadError::Separator(_) => io::ErrorKind::InvalidInput,
            ReadError::Io(_) => io::ErrorKind::Other,
        };
        match error {
            ReadError::Io(error) => error,
            error => Self::new(kind, error),
        }
    }
}
