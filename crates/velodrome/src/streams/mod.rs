//! A connection as two ends that are awaited: bytes come out of the reader and go into the writer.
//!
//! The engine's transport does the work as it does for Python: it reads when there is something and tells
//! [`connection`], which keeps the bytes until somebody asks ([`inbound`]) and knows whether a writer should wait
//! ([`outbound`]). Reader and writer are handles on it, one each, so that they can live in different tasks.

pub(crate) mod connection;
pub(crate) mod error;
mod inbound;
mod outbound;
pub(crate) mod pipes;
#[cfg(any(feature = "futures-io", feature = "hyper", feature = "tokio"))]
mod polling;
pub(crate) mod reader;
#[cfg(feature = "tls")]
mod securing;
mod wanted;
pub(crate) mod writer;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use velodrome_engine::hub::Hub;
use velodrome_engine::sys::Peer;
use velodrome_engine::transport::stream::{Descriptor, Stream};

use self::connection::Connection;
use self::reader::StreamReader;
use self::writer::StreamWriter;
use crate::clients::Client;
use crate::{advice, existing, local};

/// Reader and writer over a stream socket that is connected already: asyncio's `open_connection(sock=…)`. It does not
/// block from now on, and programs that are started do not inherit it.
///
/// ```
/// use std::io;
/// use std::os::unix::net::UnixStream;
///
/// velodrome::run(async {
///     let (ours, theirs) = UnixStream::pair()?;
///     let (mut reader, _writer) = velodrome::open_socket(ours)?;
///     let (_reader, writer) = velodrome::open_socket(theirs)?;
///     writer.write("hello");
///     assert_eq!(reader.read(100).await?, b"hello");
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// `InvalidInput` if it is no stream socket, `NotConnected` if it is not connected. If no loop runs on this thread, or the
/// kernel will not watch this descriptor. It is closed then.
pub fn open_socket(socket: impl Into<OwnedFd>) -> io::Result<(StreamReader, StreamWriter)> {
    let local = local::require("open_socket")?;
    let (socket, peer) = existing::connection(socket.into())?;
    open(local.hub(), socket, peer, None).map(ends)
}

/// What is between the ends of a connection over `socket`, which does not block.
pub(crate) fn open(
    hub: &Rc<Hub>,
    socket: OwnedFd,
    peer: Peer,
    client: Option<Client>,
) -> io::Result<Rc<Connection>> {
    let connection = Rc::new_cyclic(|weak: &Weak<Connection>| {
        if let Some(client) = &client {
            client.attach(weak.clone());
        }
        Connection::new(peer, client)
    });
    let stream = Stream::new(hub, Descriptor::Owned(socket), Rc::clone(&connection) as Rc<_>);
    if let Err(error) = stream.start() {
        // It holds the connection, and no report of a loss will come to part them.
        let fd = stream.fd();
        stream.discard();
        return Err(advice::unwatched(fd, error));
    }
    connection.attach(stream);
    Ok(connection)
}

/// The two ends; there is one of each.
pub(crate) fn ends(connection: Rc<Connection>) -> (StreamReader, StreamWriter) {
    (StreamReader::new(Rc::clone(&connection)), StreamWriter::new(connection))
}
