//! Datagrams in and out, one by one or several by one call.
//!
//! A stream's bytes can be counted and continued; a datagram comes whole or not at all, and with an address. What is
//! cut off because it found no room is lost for good, so every receive here says whether that happened.

use std::io;
use std::os::fd::RawFd;

use super::{Peer, batch, lend, native, retry};

/// Most datagrams that one call receives or sends. Sixteen spread the cost of the call so thinly that more would save
/// next to nothing, and are few enough that one busy socket does not hold the others up.
pub const BATCH: usize = 16;

/// Room for each datagram of a batch: UDP counts a length in 16 bits, header included, so none is larger. Only sockets of
/// the internet are received from by the batch.
pub const LARGEST: usize = 64 * 1024;

/// From the beginning of one datagram's room to the next one's. Not a power of two, after which a processor's cache
/// would put the beginnings of all into the same few places.
pub(super) const PITCH: usize = LARGEST + 1024 + 64;

/// One datagram that a batch has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// How many bytes of it there are.
    pub length: usize,
    /// It was larger than [`LARGEST`], and what did not fit is lost.
    pub truncated: bool,
    /// Who sent it.
    pub sender: Peer,
}

/// The memory into which several datagrams are received, and what came last time. A megabyte of addresses, of which
/// only the pages that a datagram has touched take memory.
#[derive(Debug)]
pub struct Batch {
    memory: Box<[u8]>,
    arrivals: Vec<Arrival>,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { memory: vec![0; BATCH * PITCH].into_boxed_slice(), arrivals: Vec::with_capacity(BATCH) }
    }

    /// How many datagrams came.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether none came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// The bytes of a datagram, and what is known of it.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(&[u8], &Arrival)> {
        let arrival = self.arrivals.get(index)?;
        let room = self.memory.chunks_exact(PITCH).nth(index)?;
        Some((room.get(..arrival.length)?, arrival))
    }

    /// Put a datagram in behind the others: for a driver without a kernel. False if there is no room for it.
    pub fn push(&mut self, data: &[u8], sender: Peer) -> bool {
        let room = self.memory.chunks_exact_mut(PITCH).nth(self.arrivals.len());
        let room = room.and_then(|room| room[..LARGEST].get_mut(..data.len()));
        let Some(room) = room else { return false };
        room.copy_from_slice(data);
        self.arrivals.push(Arrival { length: data.len(), truncated: false, sender });
        true
    }

    /// Forget what came.
    pub fn clear(&mut self) {
        self.arrivals.clear();
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// One datagram to be sent: its bytes, and its address unless the socket is connected.
pub type Outgoing<'a> = (&'a [u8], Option<&'a Peer>);

/// Receives one datagram and says who sent it; 0 is an empty one. A count beyond `buf` means that it was larger, and
/// the rest is lost (Linux says so; other kernels cut silently).
#[inline]
pub fn recv_from(fd: RawFd, buf: &mut [u8]) -> io::Result<(usize, Peer)> {
    let fd = lend(fd)?;
    let (_, length, sender) = retry(|| rustix::net::recvfrom(fd, &mut *buf, native::WHOLE_LENGTH))?;
    Ok((length, Peer::from_kernel(sender)))
}

/// Receives up to [`BATCH`] datagrams into `batch`, in place of what was there, by one call where the kernel has one
/// (`recvmmsg`). Does not wait for more than there are.
pub fn recv_batch(fd: RawFd, batch: &mut Batch) -> io::Result<()> {
    let fd = lend(fd)?;
    batch.arrivals.clear();
    batch::receive(fd, &mut batch.memory, &mut batch.arrivals)
}

/// Sends one datagram to `peer`; without one, to the address that the socket is connected to.
#[inline]
pub fn send_to(fd: RawFd, buf: &[u8], peer: Option<&Peer>) -> io::Result<usize> {
    let fd = lend(fd)?;
    match peer {
        None => retry(|| rustix::net::send(fd, buf, native::SEND_FLAGS)),
        Some(peer) => match peer.as_socket_addr() {
            // Spelled in the call, in the 16 or 28 bytes of its family and not in room for any.
            Some(address) => retry(|| rustix::net::sendto(fd, buf, native::SEND_FLAGS, &address)),
            None => {
                let address = peer.sockaddr()?;
                retry(|| rustix::net::sendto(fd, buf, native::SEND_FLAGS, &address))
            }
        },
    }
}

/// Sends up to [`BATCH`] datagrams by one call where the kernel has one (`sendmmsg`), and says how many went. An error
/// is the first one's; that of a later one is told when it is the first.
pub fn send_batch(fd: RawFd, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    let datagrams = &datagrams[..datagrams.len().min(BATCH)];
    batch::send(lend(fd)?, datagrams)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    /// Two sockets that do not block, and the address of the second.
    fn pair() -> (UdpSocket, UdpSocket, Peer) {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        there.set_nonblocking(true).unwrap();
        here.set_nonblocking(true).unwrap();
        let address = Peer::from(there.local_addr().unwrap());
        (here, there, address)
    }

    fn received(batch: &Batch) -> Vec<&[u8]> {
        (0..batch.len()).map(|index| batch.get(index).unwrap().0).collect()
    }

    #[test]
    fn an_empty_datagram_is_a_datagram() {
        let (here, there, address) = pair();
        assert_eq!(send_to(here.as_raw_fd(), b"", Some(&address)).unwrap(), 0);
        assert_eq!(send_to(here.as_raw_fd(), b"abc", Some(&address)).unwrap(), 3);
        let (first, sender) = recv_from(there.as_raw_fd(), &mut [0; 8]).unwrap();
        assert_eq!((first, sender.as_socket_addr()), (0, here.local_addr().ok()));
        let told = if native::TELLS_WHOLE_LENGTH { 3 } else { 2 };
        assert_eq!(recv_from(there.as_raw_fd(), &mut [0; 2]).unwrap().0, told, "the rest of it is lost");
    }

    #[test]
    fn several_leave_and_arrive_together() {
        let (here, there, address) = pair();
        let all: Vec<Vec<u8>> = (0..BATCH + 3).map(|n| vec![b'a'; n]).collect();
        let outgoing: Vec<Outgoing<'_>> = all.iter().map(|data| (&**data, Some(&address))).collect();
        assert_eq!(send_batch(here.as_raw_fd(), &outgoing).unwrap(), BATCH, "no more than a batch");
        assert_eq!(send_batch(here.as_raw_fd(), &outgoing[BATCH..]).unwrap(), 3);
        let (mut batch, mut arrived) = (Batch::new(), Vec::new());
        while recv_batch(there.as_raw_fd(), &mut batch).is_ok() {
            arrived.extend(received(&batch).into_iter().map(<[u8]>::to_vec));
            let sender = &batch.get(0).unwrap().1.sender;
            assert_eq!(sender.as_socket_addr(), here.local_addr().ok());
        }
        assert_eq!(arrived, all);
        assert!(batch.is_empty(), "what came before is not told again");
        let nothing = recv_batch(there.as_raw_fd(), &mut batch).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_largest_of_all_fits() {
        let (here, there, address) = pair();
        let largest = vec![7; 65_507];
        assert_eq!(send_to(here.as_raw_fd(), &largest, Some(&address)).unwrap(), largest.len());
        let mut batch = Batch::new();
        recv_batch(there.as_raw_fd(), &mut batch).unwrap();
        assert_eq!(received(&batch), [&*largest]);
        assert!(!batch.get(0).unwrap().1.truncated);
    }

    #[test]
    fn a_connected_socket_needs_no_address() {
        let (here, there, _) = pair();
        here.connect(there.local_addr().unwrap()).unwrap();
        assert_eq!(send_batch(here.as_raw_fd(), &[(b"a", None), (b"", None)]).unwrap(), 2);
        assert_eq!(send_to(here.as_raw_fd(), b"c", None).unwrap(), 1);
        let mut batch = Batch::new();
        recv_batch(there.as_raw_fd(), &mut batch).unwrap();
        assert_eq!(received(&batch)[0], b"a");
        assert!(send_batch(there.as_raw_fd(), &[(b"a", None)]).is_err(), "this one is not connected");
    }

    #[test]
    fn a_sender_without_a_name_is_nobody() {
        let (left, right) = std::os::unix::net::UnixDatagram::pair().unwrap();
        left.send(b"x").unwrap();
        let (_, sender) = recv_from(right.as_raw_fd(), &mut [0; 1]).unwrap();
        assert_eq!((sender.unix_path().unwrap_or_default(), sender.as_socket_addr()), (&b""[..], None));
        left.send(b"y").unwrap();
        let mut batch = Batch::new();
        recv_batch(right.as_raw_fd(), &mut batch).unwrap();
        assert_eq!(batch.get(0).unwrap().1.sender, sender);
    }

    #[test]
    fn what_a_driver_puts_in_comes_out() {
        let mut batch = Batch::new();
        assert!(!batch.push(&[0; LARGEST + 1], Peer::unix(b"x").unwrap()));
        while batch.push(&[batch.len() as u8], Peer::unix(b"x").unwrap()) {}
        assert_eq!((batch.len(), batch.get(BATCH - 1).unwrap().0), (BATCH, &[BATCH as u8 - 1][..]));
        batch.clear();
        assert_eq!((batch.len(), batch.get(0)), (0, None));
    }
}
