//! Bytes in and out: the calls a transport makes once per message.
//!
//! Nothing here loops, buffers or allocates. A short count and `EWOULDBLOCK` go to the caller as they are, because
//! what to do about them is the transport's whole business.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use super::{faults, lend, native, retry};

/// The most slices one gathered write may carry: the kernel's `UIO_MAXIOV`, the same on Linux, macOS and the BSDs.
pub const IOV_MAX: usize = 1024;

/// Receives from a connected socket; 0 means the peer has finished, unless `buf` is empty.
#[inline]
pub fn recv(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let fd = lend(fd)?;
    let length = faults::length(buf.len());
    let buf = &mut buf[..length];
    retry(|| rustix::net::recv(fd, &mut *buf, RecvFlags::empty())).map(|(filled, _)| filled)
}

/// As [`recv`], behind what is in `buffer` already, and no more than it has room for as it is. 0 means the peer has
/// finished, unless there is no room.
#[inline]
pub fn recv_append(fd: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let fd = lend(fd)?;
    append(buffer, |spare| {
        let received = rustix::net::recv(fd, spare, RecvFlags::empty());
        received.map(|((filled, _), _)| filled.len())
    })
}

/// As [`recv`], and never blocks, whatever mode the socket is in: a face's user may have left it blocking.
#[inline]
pub fn recv_now(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let fd = lend(fd)?;
    let length = faults::length(buf.len());
    let buf = &mut buf[..length];
    retry(|| rustix::net::recv(fd, &mut *buf, RecvFlags::DONTWAIT)).map(|(filled, _)| filled)
}

/// Sends on a connected socket. A closed peer is `EPIPE`, never a signal.
#[inline]
pub fn send(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    let fd = lend(fd)?;
    let buf = &buf[..faults::length(buf.len())];
    retry(|| rustix::net::send(fd, buf, native::SEND_FLAGS))
}

/// As [`send`], and never blocks, whatever mode the socket is in.
#[inline]
pub fn send_now(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    let fd = lend(fd)?;
    let buf = &buf[..faults::length(buf.len())];
    retry(|| rustix::net::send(fd, buf, native::SEND_FLAGS.union(SendFlags::DONTWAIT)))
}

/// Sends several buffers by one call, at most [`IOV_MAX`] of them; the count says how far it came.
#[inline]
pub fn send_vectored(fd: RawFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let fd = lend(fd)?;
    let bufs = at_most_iov_max(bufs);
    retry(|| rustix::net::sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), native::SEND_FLAGS))
}

/// Reads from a pipe, a terminal, an eventfd; 0 is the end of the file, unless `buf` is empty.
#[inline]
pub fn read(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let fd = lend(fd)?;
    let length = faults::length(buf.len());
    let buf = &mut buf[..length];
    retry(|| rustix::io::read(fd, &mut *buf))
}

/// As [`read()`], behind what is in `buffer` already, and no more than it has room for as it is.
#[inline]
pub fn read_append(fd: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let fd = lend(fd)?;
    append(buffer, |spare| rustix::io::read(fd, spare).map(|(filled, _)| filled.len()))
}

/// Lets `fill` write into the room of `buffer`, and say how much it wrote.
#[inline]
fn append(
    buffer: &mut Vec<u8>,
    mut fill: impl FnMut(&mut [MaybeUninit<u8>]) -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let length = faults::length(spare.len());
    let spare = &mut spare[..length];
    let count = retry(|| fill(&mut *spare))?;
    // SAFETY: `fill`, of which there are two above, gives the length of the part that rustix has seen the kernel write.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

/// Writes to a pipe or a terminal. Without readers this is `EPIPE`, provided that the process ignores SIGPIPE, as
/// Rust's and Python's start-up code both see to: `write` has no flag to say so for one call.
#[inline]
pub fn write(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    let fd = lend(fd)?;
    let buf = &buf[..faults::length(buf.len())];
    retry(|| rustix::io::write(fd, buf))
}

/// Writes several buffers by one call, at most [`IOV_MAX`] of them; for SIGPIPE see [`write()`].
#[inline]
pub fn write_vectored(fd: RawFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let fd = lend(fd)?;
    let bufs = at_most_iov_max(bufs);
    retry(|| rustix::io::writev(fd, bufs))
}

/// Sends up to `count` bytes of the file `from`, beginning at `offset`, which moves on, by the socket `to`; 0 is the end
/// of the file. `Unsupported` where the kernel has no such call, `InvalidInput` where it does not do it for such files.
pub fn sendfile(to: RawFd, from: RawFd, offset: &mut u64, count: usize) -> io::Result<usize> {
    native::sendfile(lend(to)?, lend(from)?, offset, count)
}

/// More than `IOV_MAX` would be refused as a whole (EMSGSIZE), where a short count is what the caller can handle.
fn at_most_iov_max<'a, 'b>(bufs: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
    &bufs[..faults::length(bufs.len().min(IOV_MAX))]
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::sys;

    #[test]
    fn a_gathered_send_arrives_in_order() {
        let (left, right) = sys::socketpair().unwrap();
        let bufs = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"body")];
        assert_eq!(send_vectored(left.as_raw_fd(), &bufs).unwrap(), 8);
        let mut buf = [0; 16];
        assert_eq!(recv(right.as_raw_fd(), &mut buf).unwrap(), 8);
        assert_eq!(&buf[..8], b"headbody");
    }

    #[test]
    fn what_is_appended_fills_the_room_there_is() {
        let (left, right) = sys::socketpair().unwrap();
        let (reader, writer) = sys::pipe().unwrap();
        send(left.as_raw_fd(), b"abcdef").unwrap();
        write(writer.as_raw_fd(), b"ghi").unwrap();
        let mut buffer = Vec::with_capacity(8);
        buffer.extend(b"1234");
        let room = buffer.capacity() - buffer.len();
        let count = recv_append(right.as_raw_fd(), &mut buffer).unwrap();
        assert_eq!((count, &*buffer), (room.min(6), &b"1234abcdef"[..4 + room.min(6)]));
        buffer.reserve(16);
        assert_eq!(recv_append(right.as_raw_fd(), &mut buffer).unwrap(), 6 - room.min(6));
        assert_eq!(read_append(reader.as_raw_fd(), &mut buffer).unwrap(), 3);
        assert_eq!(buffer, b"1234abcdefghi");
        let error = recv_append(right.as_raw_fd(), &mut buffer).unwrap_err();
        assert_eq!((error.kind(), buffer.len()), (io::ErrorKind::WouldBlock, 13));
    }

    #[test]
    fn more_slices_than_the_kernel_takes_are_a_short_count() {
        let (left, right) = sys::socketpair().unwrap();
        let (reader, writer) = sys::pipe().unwrap();
        let bufs = vec![IoSlice::new(b"x"); IOV_MAX + 5];
        assert_eq!(send_vectored(left.as_raw_fd(), &bufs).unwrap(), IOV_MAX);
        assert_eq!(write_vectored(writer.as_raw_fd(), &bufs).unwrap(), IOV_MAX);
        assert_eq!(recv(right.as_raw_fd(), &mut [0; 4096]).unwrap(), IOV_MAX);
        assert_eq!(read(reader.as_raw_fd(), &mut [0; 4096]).unwrap(), IOV_MAX);
    }

    #[test]
    fn a_file_goes_by_the_kernel() {
        let path = std::env::temp_dir().join(format!("velodrome-sendfile-{}", std::process::id()));
        std::fs::write(&path, b"0123456789").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (left, right) = sys::socketpair().unwrap();
        let mut offset = 3;
        let sent = sendfile(left.as_raw_fd(), file.as_raw_fd(), &mut offset, 4);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            return;
        }
        assert_eq!((sent.unwrap(), offset), (4, 7));
        let mut buf = [0; 16];
        assert_eq!(recv(right.as_raw_fd(), &mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"3456");
        offset = 10;
        assert_eq!(sendfile(left.as_raw_fd(), file.as_raw_fd(), &mut offset, 4).unwrap(), 0);
    }

    #[test]
    fn a_peer_that_left_is_an_error_and_no_signal() {
        let (left, right) = sys::socketpair().unwrap();
        drop(right);
        for result in [send(left.as_raw_fd(), b"x"), send_vectored(left.as_raw_fd(), &[IoSlice::new(b"x")])] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
        assert_eq!(recv(left.as_raw_fd(), &mut [0; 4]).unwrap(), 0);
    }

    #[test]
    fn nothing_to_read_would_block() {
        let (left, _right) = sys::socketpair().unwrap();
        assert_eq!(recv(left.as_raw_fd(), &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_to_be_now_blocks_not_even_on_a_blocking_socket() {
        let (left, right) = sys::socketpair().unwrap();
        sys::set_nonblocking(left.as_raw_fd(), false).unwrap();
        let would_block = io::ErrorKind::WouldBlock;
        assert_eq!(recv_now(left.as_raw_fd(), &mut [0; 4]).unwrap_err().kind(), would_block);
        assert_eq!(send_now(left.as_raw_fd(), b"abc").unwrap(), 3);
        assert_eq!(recv_now(right.as_raw_fd(), &mut [0; 4]).unwrap(), 3);
        while send_now(left.as_raw_fd(), &[0; 4096]).is_ok() {}
        assert_eq!(send_now(left.as_raw_fd(), b"x").unwrap_err().kind(), would_block);
    }
}
