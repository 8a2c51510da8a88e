//! Pipes as streams: one end each.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use velodrome_engine::driver::Interest;
use velodrome_engine::hub::Hub;
use velodrome_engine::sys::{self, Peer};
use velodrome_engine::transport::stream::{Descriptor, Kind, Stream};

use super::connection::Connection;
use super::reader::StreamReader;
use super::writer::StreamWriter;
use crate::{advice, local};

/// A reader over the end of a pipe that bytes come out of, or a terminal: `loop.connect_read_pipe`. It is closed when they
/// end, or the reader is dropped.
///
/// The descriptor does not block from now on, nor do its duplicates in other programs: the terminal of the shell that
/// started this one, say.
///
/// ```
/// use std::io::Write;
///
/// velodrome::run(async {
///     let (ours, mut theirs) = std::io::pipe()?;
///     let mut reader = velodrome::open_read_pipe(ours)?;
///     theirs.write_all(b"hello\n")?;
///     assert_eq!(reader.readline().await?, b"hello\n");
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// `PermissionDenied` for a regular file or a device that cannot be waited for; `AlreadyExists` if the loop watches it already. If no
/// loop runs on this thread.
pub fn open_read_pipe(pipe: impl Into<OwnedFd>) -> io::Result<StreamReader> {
    let connection = open("open_read_pipe", pipe.into(), Kind::Reader)?;
    connection.close_with_reader();
    Ok(StreamReader::new(connection))
}

/// A writer over the end of a pipe that bytes go into, or a terminal: `loop.connect_write_pipe`. That nobody reads a pipe any
/// more is told as a lost connection. It does not block from now on, see [`open_read_pipe`].
///
/// ```
/// use std::io::Read;
///
/// velodrome::run(async {
///     let (mut theirs, ours) = std::io::pipe()?;
///     let writer = velodrome::open_write_pipe(ours)?;
///     writer.write("hello");
///     writer.close();
///     writer.wait_closed().await?;
///     let mut all = String::new();
///     theirs.read_to_string(&mut all)?;
///     assert_eq!(all, "hello");
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// As [`open_read_pipe`], but that a device need not be one that can be waited for, as long as it takes what is written.
pub fn open_write_pipe(pipe: impl Into<OwnedFd>) -> io::Result<StreamWriter> {
    let pipe = pipe.into();
    let kind = if sys::is_character_device(pipe.as_raw_fd())? { Kind::Device } else { Kind::Writer };
    open("open_write_pipe", pipe, kind).map(StreamWriter::new)
}

fn open(what: &str, pipe: OwnedFd, kind: Kind) -> io::Result<Rc<Connection>> {
    let local = local::require(what)?;
    sys::set_nonblocking(pipe.as_raw_fd(), true)?;
    // The other end has no name.
    let connection = Rc::new(Connection::new(Peer::unix(b"")?, None));
    let protocol = Rc::clone(&connection) as Rc<_>;
    let stream = Stream::with_kind(local.hub(), Descriptor::Owned(pipe), kind, protocol);
    let wanted = if kind == Kind::Device { Interest::NONE } else { Interest::READ };
    if let Err(error) = stream.start().and_then(|()| listen(local.hub(), stream.fd(), wanted)) {
        let fd = stream.fd();
        stream.discard();
        return Err(advice::unwatched(fd, error));
    }
    connection.attach(stream);
    Ok(connection)
}

/// What the stream would ask for in its first turn, asked now: a file that the kernel does not wait for is an error here,
/// and not a connection that is lost.
fn listen(hub: &Hub, fd: RawFd, wanted: Interest) -> io::Result<()> {
    let registration = hub.reactor.registration_of(fd);
    registration.map_or(Ok(()), |registration| hub.reactor.set_interest(&registration, wanted))
}
