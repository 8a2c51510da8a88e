//! asyncio's transports as state machines over the driver.
//!
//! A transport owns what happens to a descriptor and tells a [`Protocol`] about it; it never waits, and holds no borrow
//! of its own state while it calls the protocol, which may write, close or stop the loop from any callback. What is
//! pure stands apart: [`write_queue`] and [`flow_control`].

pub mod datagram;
pub mod flow_control;
pub mod listener;
pub mod nodelay;
pub mod stream;
pub mod write_queue;

use std::io;

use crate::ready::Visitor;

/// What a call of [`Protocol::data_ready`] got from the socket.
#[derive(Debug)]
pub enum Received {
    /// Bytes, which the protocol has dealt with already.
    Bytes,
    /// The peer will send no more.
    Eof,
    /// Nothing: the socket had nothing after all, or the protocol failed before it read and has dealt with that.
    Nothing,
    /// The socket failed.
    Failed(io::Error),
}

impl Received {
    /// What a receive on a non-blocking socket returned, in these terms.
    #[must_use]
    pub fn from_io(result: io::Result<usize>) -> Self {
        match result {
            Ok(0) => Self::Eof,
            Ok(_) => Self::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Self::Nothing,
            Err(error) => Self::Failed(error),
        }
    }
}

/// Who began the end of a transport.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The face, by a call of `close` or `abort`.
    Caller,
    /// The transport: the peer ended the connection, or the socket failed.
    Transport,
}

/// One receive from the transport's socket into a buffer of the protocol's choice.
pub type Recv<'a> = &'a mut dyn FnMut(&mut [u8]) -> io::Result<usize>;

/// Who is told what happens on a stream: the seam between engine and faces, with asyncio's names and order of events
/// (<https://docs.python.org/3/library/asyncio-protocol.html>).
pub trait Protocol {
    /// The transport is open. Once, first.
    fn connection_made(&self);
    /// Bytes are waiting: call `recv` once, with a buffer of your own or the loop's, and deal with what it brought. Or
    /// say that there was [`Nothing`](Received::Nothing): they go on waiting, for
    /// [`Stream::receive`](stream::Stream::receive), or to be announced again when the kernel is next asked.
    fn data_ready(&self, recv: Recv<'_>) -> Received;
    /// The peer will send no more. True keeps the transport open for writing.
    fn eof_received(&self) -> bool;
    /// More is buffered than the high-water mark allows.
    fn pause_writing(&self);
    /// No more is buffered than the low-water mark.
    fn resume_writing(&self);
    /// The write queue has become empty.
    fn drained(&self) {}
    /// A system call failed and the transport is about to be closed for it; `doing` says what it was doing.
    fn failed(&self, _error: &io::Error, _doing: &'static str) {}
    /// [`Self::connection_lost`] has been queued: the moment to remember the caller's surroundings.
    fn losing(&self, _cause: Cause) {}
    /// The transport is closed; its descriptor is closed after this returns. Once.
    fn connection_lost(&self, error: Option<io::Error>);
    /// Whether the loop has, from now on, a reason to keep the transport alive: it listens to it, or a callback of it
    /// is queued. A transport that is not held lives as long as the face refers to it; asyncio's do the same.
    fn hold(&self, _held: bool) {}
    /// The loop is going away without closing its transports: let go of everything, call no one.
    fn abandon(&self) {}
    /// Show the host object that the transport belongs to, whether or not the loop keeps it alive.
    fn owner(&self, visitor: Visitor<'_>) {
        self.visit(visitor);
    }
    /// Show the host objects that the transport's registration keeps alive.
    fn visit(&self, _visitor: Visitor<'_>) {}
}
