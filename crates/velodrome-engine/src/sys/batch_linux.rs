//! `recvmmsg` and `sendmmsg`: several datagrams by one system call.
//!
//! rustix has only the second, and not on Android; so both are the C library's here, and its structures are `libc`'s.

use std::ffi::{c_int, c_uint};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{iovec, mmsghdr, sockaddr_storage, socklen_t};
use rustix::net::SocketAddrAny;

use super::datagrams::PITCH;
use super::{Arrival, BATCH, LARGEST, Outgoing, Peer};

/// Room for any address.
const ADDRESS: socklen_t = size_of::<sockaddr_storage>() as socklen_t;

/// Less than the family is no address: what the kernel says of a sender without a name.
const FAMILY: usize = size_of::<libc::sa_family_t>();

/// A header that points nowhere.
fn header() -> mmsghdr {
    // SAFETY: integers and pointers only (padding in some C libraries): all zero is a value of it.
    unsafe { mem::zeroed() }
}

/// Receives into the rows of `memory` and notes what came.
pub(super) fn receive(fd: BorrowedFd<'_>, memory: &mut [u8], arrivals: &mut Vec<Arrival>) -> io::Result<()> {
    let mut addresses = [const { MaybeUninit::<sockaddr_storage>::uninit() }; BATCH];
    let mut rows = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers: [mmsghdr; BATCH] = std::array::from_fn(|_| header());
    let parts = memory.chunks_exact_mut(PITCH).zip(&mut rows).zip(&mut headers).zip(&mut addresses);
    let mut room: c_uint = 0;
    for (((part, row), header), address) in parts {
        *row = iovec { iov_base: part.as_mut_ptr().cast(), iov_len: LARGEST };
        header.msg_hdr.msg_iov = row;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = address.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = ADDRESS;
        room += 1;
    }
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: the first `room` headers point to a row of `memory` and to an address each, which live until the call
    // returns and which nobody else looks at; the time-out may be absent.
    let count = again(|| unsafe {
        libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), room, flags as _, ptr::null_mut())
    })?;
    arrivals.extend(headers.iter().zip(&addresses).take(count).map(|(header, address)| Arrival {
        length: (header.msg_len as usize).min(LARGEST),
        truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        sender: sender(address, header.msg_hdr.msg_namelen),
    }));
    Ok(())
}

fn sender(address: &MaybeUninit<sockaddr_storage>, length: socklen_t) -> Peer {
    // The kernel tells how long the address would be, had there been room; there is room for any.
    let length = length.min(ADDRESS);
    if (length as usize) < FAMILY {
        return Peer::from_kernel(None);
    }
    // SAFETY: the kernel wrote an address of `length` bytes, at least a family and at most what there is room for,
    // which is what `read` asks for; rustix's storage has the layout of the C library's.
    Peer::from_kernel(Some(unsafe { SocketAddrAny::read(address.as_ptr().cast(), length) }))
}

/// Sends what there is, at most [`BATCH`].
pub(super) fn send(fd: BorrowedFd<'_>, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut rows = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers: [mmsghdr; BATCH] = std::array::from_fn(|_| header());
    let mut addresses = [const { None::<SocketAddrAny> }; BATCH];
    let parts = datagrams.iter().zip(&mut rows).zip(&mut headers).zip(&mut addresses);
    let mut count: c_uint = 0;
    for ((((data, to), row), header), address) in parts {
        *row = iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        header.msg_hdr.msg_iov = row;
        header.msg_hdr.msg_iovlen = 1;
        if let Some(to) = to {
            let address = address.insert(to.sockaddr()?);
            header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = address.addr_len();
        }
        count += 1;
    }
    // A send to a closed peer is an error, not a signal, whatever the process does about SIGPIPE.
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: the first `count` headers point to the bytes of `datagrams` and into `addresses`, which live until the call
    // returns and which the kernel only reads.
    again(|| unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, flags as _) })
}

/// As `retry` for calls of the C library, which tell their error by `errno`.
fn again(mut call: impl FnMut() -> c_int) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}
