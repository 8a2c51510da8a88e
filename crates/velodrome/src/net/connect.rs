//! Being the client.

use std::io;

use velodrome_engine::sys::Peer;

use super::{lookup, racing};
use crate::local;
use crate::streams;
use crate::streams::reader::StreamReader;
use crate::streams::writer::StreamWriter;

/// Connect to `host`, a name or a number, by TCP: `asyncio.open_connection`.
///
/// A number needs no thread and no lookup. Of several addresses the first to answer is taken (RFC 8305). `TCP_NODELAY`
/// is set. Dropped before it is done, it leaves nothing open.
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
/// If the name has no address, or no address answers; the message tells of each. If no loop runs on this thread.
pub async fn open_connection(host: &str, port: u16) -> io::Result<(StreamReader, StreamWriter)> {
    let local = local::require("open_connection")?;
    let addresses = lookup::look_up(&local, host, port).await?;
    let (socket, address) = racing::connect(local.hub(), addresses).await?;
    streams::open(local.hub(), socket, Peer::from(address), None)
}
