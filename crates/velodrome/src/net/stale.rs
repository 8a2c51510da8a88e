//! The file of a Unix socket outlives its server, and keeps the next one from taking its place. So a server removes
//! its own file when it closes, and one that was left behind by a server that was killed when it starts.
//!
//! asyncio removes whatever socket file is in the way, that of a server that lives included. Here it is asked first.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use velodrome_engine::sys::{self, AddressFamily, Peer, SocketType};

/// The file of a server's socket: removed when this is dropped, unless it has become another by then.
#[derive(Debug)]
pub(crate) struct Leftover {
    path: PathBuf,
    /// Device and number of the file that the server made.
    identity: (u64, u64),
}

impl Leftover {
    /// The socket file at `path`; none for an abstract name, which has no file.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        Some(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            // Somebody else may have been faster; the next server copes either way.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What tells a socket's file from any other, or none if it is none.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    found.file_type().is_socket().then(|| (found.dev(), found.ino()))
}

/// Bind a socket of that kind to `path`, whose name is `peer`; a file there that nobody listens at any more gives way.
pub(crate) fn bind(socket: &OwnedFd, path: &Path, peer: &Peer, kind: SocketType) -> io::Result<()> {
    match sys::bind(socket.as_raw_fd(), peer) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && remove_stale(path, peer, kind) => {
            sys::bind(socket.as_raw_fd(), peer)
        }
        bound => bound,
    }
}

/// Remove the socket file at `path` if nobody listens there. Whether it is gone.
fn remove_stale(path: &Path, peer: &Peer, kind: SocketType) -> bool {
    identity(path).is_some() && is_deserted(peer, kind) && fs::remove_file(path).is_ok()
}

/// Only a refusal is sure: a server that is too busy to accept lives.
fn is_deserted(peer: &Peer, kind: SocketType) -> bool {
    let Ok(probe) = sys::socket(AddressFamily::UNIX, kind) else { return false };
    let answer = sys::connect(probe.as_raw_fd(), peer);
    answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
