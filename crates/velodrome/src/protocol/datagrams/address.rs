//! What an address of datagrams is: one of the internet, or a path.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use velodrome_engine::sys::Peer;

use crate::channel;
use crate::net::options::unix_name;

/// A [`SocketAddr`], or a [`PathBuf`] for a Unix socket: an abstract name begins with a zero byte, as asyncio has it, and
/// a sender without a name has an empty path.
///
/// ```
/// use velodrome::{DatagramAddress, DatagramProtocol};
///
/// /// Counts the datagrams of either kind of socket.
/// struct Count(usize);
///
/// impl<A: DatagramAddress> DatagramProtocol<A> for Count {
///     fn datagram_received(&mut self, _: &[u8], _: A) {
///         self.0 += 1;
///     }
/// }
/// ```
pub trait DatagramAddress: sealed::Sealed + 'static {
    #[doc(hidden)]
    fn of(peer: &Peer) -> Option<Self>
    where
        Self: Sized;
    #[doc(hidden)]
    fn peer(&self) -> io::Result<Peer>;
}

impl DatagramAddress for SocketAddr {
    fn of(peer: &Peer) -> Option<Self> {
        peer.as_socket_addr()
    }

    fn peer(&self) -> io::Result<Peer> {
        Ok((*self).into())
    }
}

impl DatagramAddress for PathBuf {
    fn of(peer: &Peer) -> Option<Self> {
        let internet = peer.as_socket_addr().is_some();
        (!internet).then(|| channel::unix_path(peer).unwrap_or_default())
    }

    fn peer(&self) -> io::Result<Peer> {
        unix_name(self)
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for std::net::SocketAddr {}
    impl Sealed for std::path::PathBuf {}
}
