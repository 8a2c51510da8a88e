//! What carries the bytes of a connection: a socket as it is, or a layer of encryption over one.
//!
//! Streams and protocols write and pause through this and need not know which. The engine's own seam is on the other
//! side, where bytes arrive: a layer is a protocol to the socket, and a channel to whoever uses it.

use std::any::Any;
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use velodrome_engine::sys::Peer;
use velodrome_engine::transport::flow_control::LimitsError;
use velodrome_engine::transport::stream::{Refused, Stream};
use velodrome_engine::transport::write_queue::Chunk;

/// The engine's transport, or one over it. It takes `self` by its count because a write may lose the connection, and
/// with it the last other reference.
pub(crate) trait Channel: Any {
    fn write(self: Rc<Self>, data: &[u8]) -> Result<(), Refused>;
    fn write_all(self: Rc<Self>, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), Refused>;
    /// Send what is being gathered now.
    fn flush(self: Rc<Self>);
    fn write_eof(self: Rc<Self>);
    fn close(self: Rc<Self>);
    fn abort(self: Rc<Self>, error: Option<io::Error>);
    fn pause_reading(self: Rc<Self>);
    fn resume_reading(self: Rc<Self>);
    /// The socket itself, where nothing lies over it.
    fn plain(self: Rc<Self>) -> Option<Rc<Stream>>;
    fn is_closing(&self) -> bool;
    /// Whether the descriptor is gone, or about to be.
    fn is_closed(&self) -> bool;
    fn is_reading(&self) -> bool;
    fn is_writing_paused(&self) -> bool;
    fn buffered(&self) -> usize;
    fn write_limits(&self) -> (usize, usize);
    fn set_write_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<(), LimitsError>;
    fn fd(&self) -> RawFd;
}

/// The internet address that `peer` is.
pub(crate) fn internet(peer: &Peer) -> io::Result<SocketAddr> {
    peer.as_socket_addr().ok_or_else(no_address)
}

/// What asks for an internet address where there is none.
pub(crate) fn no_address() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the socket has no internet address: ask for its path, if it is a Unix socket",
    )
}

/// The Unix path that `peer` is, if it has one.
pub(crate) fn unix_path(peer: &Peer) -> Option<PathBuf> {
    let name = peer.unix_path().filter(|name| !name.is_empty())?;
    Some(OsStr::from_bytes(name).into())
}

impl Channel for Stream {
    fn write(self: Rc<Self>, data: &[u8]) -> Result<(), Refused> {
        Self::write(&self, data, || Chunk::Owned(data.to_vec()))
    }

    fn write_all(self: Rc<Self>, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), Refused> {
        Self::write_all(&self, pieces.map(Chunk::Owned))
    }

    fn flush(self: Rc<Self>) {
        Self::flush_gathered(&self);
    }

    fn write_eof(self: Rc<Self>) {
        Self::write_eof(&self);
    }

    fn close(self: Rc<Self>) {
        Self::close(&self);
    }

    fn abort(self: Rc<Self>, error: Option<io::Error>) {
        Self::abort(&self, error);
    }

    fn pause_reading(self: Rc<Self>) {
        Self::pause_reading(&self);
    }

    fn resume_reading(self: Rc<Self>) {
        Self::resume_reading(&self);
    }

    fn plain(self: Rc<Self>) -> Option<Rc<Stream>> {
        Some(self)
    }

    fn is_closing(&self) -> bool {
        Self::is_closing(self)
    }

    fn is_closed(&self) -> bool {
        self.is_lost()
    }

    fn is_reading(&self) -> bool {
        Self::is_reading(self)
    }

    fn is_writing_paused(&self) -> bool {
        Self::writing_paused(self)
    }

    fn buffered(&self) -> usize {
        Self::buffered(self)
    }

    fn write_limits(&self) -> (usize, usize) {
        Self::write_limits(self)
    }

    fn set_write_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<(), LimitsError> {
        Self::set_write_limits(self, high, low)
    }

    fn fd(&self) -> RawFd {
        Self::fd(self)
    }
}
