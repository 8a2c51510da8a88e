//! Batches where the kernel has no call for several datagrams: made of the calls for one.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Arrival, LARGEST, Outgoing, recv_from, send_to};

/// Receives one: the error of a second would be told here and nowhere else, and would be lost. Readiness is a level,
/// so the next one is told of again.
pub(super) fn receive(fd: BorrowedFd<'_>, memory: &mut [u8], arrivals: &mut Vec<Arrival>) -> io::Result<()> {
    let row = memory.get_mut(..LARGEST).unwrap_or_default();
    let (length, sender) = recv_from(fd.as_raw_fd(), row)?;
    arrivals.push(Arrival { length: length.min(LARGEST), truncated: length > LARGEST, sender });
    Ok(())
}

/// Sends until one fails; that one fails again when it is the first, which is when its error is told.
pub(super) fn send(fd: BorrowedFd<'_>, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    for (sent, (data, to)) in datagrams.iter().enumerate() {
        match send_to(fd.as_raw_fd(), data, *to) {
            Err(error) if sent == 0 => return Err(error),
            Err(_) => return Ok(sent),
            Ok(_) => {}
        }
    }
    Ok(datagrams.len())
}
