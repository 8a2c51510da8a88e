//! Between the engine's transport and the two handles: asyncio's `StreamReaderProtocol`.

use std::cell::{Cell, OnceCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use velodrome_engine::sys::Peer;
use velodrome_engine::transport::stream::Stream;
use velodrome_engine::transport::{Protocol, Received, Recv};

use super::error::ReadError;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::wanted::{Destination, Wanted};
use crate::channel::Channel;
use crate::clients::{Client, Endpoint};

pub(crate) struct Connection {
    /// The socket, once attached; it and the connection hold each other until that is lost.
    stream: OnceCell<Rc<Stream>>,
    /// Nothing lies over the socket, which is not lost: a reader that waits takes from it what has come.
    pub(super) plain: Cell<bool>,
    /// What lies over the socket, until the connection is lost.
    #[allow(clippy::redundant_allocation, reason = "one word in every connection, for what few have")]
    pub(super) layer: Cell<Option<Box<Rc<dyn Channel>>>>,
    peer: Peer,
    pub(super) inbound: Inbound,
    pub(crate) outbound: Outbound,
    client: Cell<Option<Client>>,
    /// There is no writer: the reader's end is the connection's.
    closes_with_reader: Cell<bool>,
}

impl Connection {
    pub(super) fn new(peer: Peer, client: Option<Client>) -> Self {
        Self {
            stream: OnceCell::new(),
            plain: Cell::new(false),
            layer: Cell::default(),
            peer,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            client: Cell::new(client),
            closes_with_reader: Cell::new(false),
        }
    }

    /// Carry the bytes by `stream`.
    pub(super) fn attach(&self, stream: Rc<Stream>) {
        self.plain.set(self.stream.set(stream).is_ok());
    }

    /// What carries the bytes, until the connection is lost.
    pub(crate) fn channel(&self) -> Option<Rc<dyn Channel>> {
        match self.plain() {
            Some(stream) => Some(Rc::clone(stream) as Rc<_>),
            None => {
                let layer = self.layer.take();
                let channel = layer.as_deref().cloned();
                self.layer.set(layer);
                channel
            }
        }
    }

    /// The socket, as long as it carries the bytes by itself. What it is asked to do may lose it, which drops nothing.
    #[inline]
    pub(super) fn plain(&self) -> Option<&Rc<Stream>> {
        if self.plain.get() { self.stream.get() } else { None }
    }

    /// The socket, whatever lies over it, also when it is lost.
    pub(super) fn socket(&self) -> Option<&Rc<Stream>> {
        self.stream.get()
    }

    pub(super) fn close_with_reader(&self) {
        self.closes_with_reader.set(true);
    }

    pub(super) fn reader_dropped(&self) {
        if self.closes_with_reader.get() {
            self.close();
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn at_eof(&self) -> bool {
        self.inbound.at_eof()
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.inbound.set_limit(limit);
        self.keep_up();
    }

    /// Try to read, and wait for more if that is not enough. What comes from the socket when nothing is kept, and has all
    /// that is wanted, is copied once, to where it goes; only the rest is kept.
    #[inline]
    pub(super) fn poll_read<D: Destination>(
        &self,
        cx: &Context<'_>,
        wanted: &mut impl Wanted,
        to: &mut D,
    ) -> Poll<Result<D::Answer, ReadError>> {
        if let Some(socket) = self.offered()
            && let Some(answer) = to.receive(self, socket, wanted)
        {
            if !self.inbound.is_empty() {
                self.keep_up();
            }
            return Poll::Ready(Ok(answer));
        }
        if self.inbound.starves() && !wanted.is_nothing() {
            self.wait(cx);
            return Poll::Pending;
        }
        self.poll_what_is_kept(cx, wanted, to)
    }

    /// Receive by way of the loop's buffer. The answer, if it begins what came, is copied; the rest is kept.
    #[inline]
    pub(super) fn receive_apart<D: Destination>(
        &self,
        socket: &Rc<Stream>,
        wanted: &impl Wanted,
        to: &mut D,
    ) -> Option<D::Answer> {
        let limit = self.inbound.limit();
        let received = self.receive(socket, |bytes| {
            let end = wanted.direct(bytes, limit);
            self.inbound.note_alone(end == Some(bytes.len()));
            (end.unwrap_or(0), end.map(|end| to.copy(&bytes[..end])))
        });
        received.flatten()
    }

    /// Receive straight to where the answer is to be, behind what is in `buffer` already; what is not the answer is taken
    /// out again and kept. That spares copying where messages come one by one. Where they come together, one receive by way
    /// of the loop's buffer, which is larger, brings more of them: so it is done if the last one came alone, and not again
    /// after one that leaves no room, because more may lie behind it.
    #[inline]
    pub(super) fn receive_behind(
        &self,
        socket: &Rc<Stream>,
        wanted: &impl Wanted,
        buffer: &mut Vec<u8>,
    ) -> Option<usize> {
        let begin = buffer.len();
        let end = begin + socket.receive_append(buffer);
        let answer = wanted.direct(&buffer[begin..], self.inbound.limit());
        let taken = begin + answer.unwrap_or(0);
        self.inbound.note_alone(taken == end && end < buffer.capacity());
        if taken < end {
            self.inbound.feed(&buffer[taken..]);
            buffer.truncate(taken);
        }
        answer
    }

    /// Whether a message that is on its way may be received to where it is to be.
    #[inline]
    pub(super) fn expects_one(&self) -> bool {
        self.inbound.is_alone()
    }

    #[inline(never)]
    fn poll_what_is_kept<D: Destination>(
        &self,
        cx: &Context<'_>,
        wanted: &mut impl Wanted,
        to: &mut D,
    ) -> Poll<Result<D::Answer, ReadError>> {
        let poll = self.inbound.poll(wanted, to);
        self.keep_up();
        if poll.is_pending() {
            self.wait(cx);
        }
        poll
    }

    /// Wait for bytes that are kept, and let `take` say how many of them it took.
    #[inline]
    pub(super) fn poll_kept(
        &self,
        cx: &Context<'_>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<()>> {
        if self.inbound.starves() {
            self.wait(cx);
            return Poll::Pending;
        }
        let poll = self.inbound.poll_take(take);
        self.keep_up();
        if poll.is_pending() {
            self.wait(cx);
        }
        poll
    }

    /// Wait for bytes, and receive them into `buffer`: straight from the socket, where none are kept. 0 at the end.
    #[inline]
    pub(super) fn poll_receive(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(socket) = self.offered() {
            let count = socket.receive(buffer);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
        let mut count = 0;
        let poll = self.poll_kept(cx, |bytes| {
            count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            count
        });
        poll.map_ok(|()| count)
    }

    /// The socket, if it has bytes that were offered and nothing is kept that comes before them. The offer is for whoever
    /// comes.
    #[inline]
    pub(super) fn offered(&self) -> Option<&Rc<Stream>> {
        let socket = self.plain().filter(|socket| socket.take_offer())?;
        if self.inbound.is_empty() {
            return Some(socket);
        }
        self.receive_more(socket);
        None
    }

    /// Receive what comes behind what is kept: a reader that needs more than there is would else be offered the same bytes
    /// again, and for ever.
    #[cold]
    #[inline(never)]
    fn receive_more(&self, socket: &Rc<Stream>) {
        self.receive(socket, |_| (0, ()));
    }

    /// Receive into the loop's buffer and let `take` have it; what it did not take is kept. None if nothing came.
    #[inline]
    pub(super) fn receive<R>(
        &self,
        socket: &Rc<Stream>,
        take: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Option<R> {
        socket.hub().with_scratch(|scratch| {
            let count = socket.receive(scratch);
            if count == 0 {
                return None;
            }
            let (taken, result) = take(&scratch[..count]);
            if taken < count {
                self.inbound.feed(&scratch[taken..count]);
            }
            Some(result)
        })
    }

    /// Be told when there is more to read.
    #[inline]
    fn wait(&self, cx: &Context<'_>) {
        let refused = match self.plain() {
            Some(socket) => socket.offer_to(cx.waker().clone()).is_err(),
            None => true,
        };
        if refused {
            self.inbound.wait(cx);
        }
    }

    pub(super) fn wake_reader(&self) {
        if let Some(socket) = self.plain() {
            socket.wake_reader();
        }
        self.inbound.wake();
    }

    /// Until the kernel has taken all that was written.
    pub(super) fn flushed(&self) -> Poll<io::Result<()>> {
        if let Some(channel) = self.channel() {
            channel.flush();
        }
        // Flushing may have lost it.
        let kept = self.channel().map_or(0, |channel| channel.buffered());
        self.outbound.flushed(kept)
    }

    /// Have the transport read or pause as the buffer demands.
    #[inline]
    pub(super) fn keep_up(&self) {
        if let Some(paused) = self.inbound.pause_changed() {
            self.pause(paused);
        }
    }

    #[cold]
    fn pause(&self, paused: bool) {
        let Some(channel) = self.channel() else { return };
        if paused { channel.pause_reading() } else { channel.resume_reading() }
    }

    fn end(&self, error: Option<&io::Error>) {
        self.inbound.end(error);
        self.plain.set(false);
        self.outbound.lose(error);
        drop((self.layer.take(), self.client.take()));
    }
}

impl Endpoint for Connection {
    fn close(&self) {
        if let Some(channel) = self.channel() {
            channel.close();
        }
    }

    fn abort(&self) {
        if let Some(channel) = self.channel() {
            channel.abort(None);
        }
    }
}

impl Protocol for Connection {
    fn connection_made(&self) {}

    /// A reader that waits was offered these bytes, to receive by itself into memory of its own. It has not come before
    /// the kernel told of them again, or nobody waits: they are read ahead for whoever reads next.
    fn data_ready(&self, recv: Recv<'_>) -> Received {
        let Some(stream) = self.stream.get() else { return Received::Nothing };
        let received = stream.hub().with_scratch(|scratch| {
            let received = recv(scratch)?;
            self.inbound.feed(&scratch[..received]);
            Ok(received)
        });
        if received.as_ref().is_ok_and(|received| *received > 0) {
            self.wake_reader();
            self.keep_up();
        }
        Received::from_io(received)
    }

    /// Keeps the connection open: the writer decides when it has said all.
    fn eof_received(&self) -> bool {
        self.inbound.end(None);
        self.wake_reader();
        true
    }

    fn pause_writing(&self) {
        self.outbound.pause();
    }

    fn resume_writing(&self) {
        self.outbound.resume();
    }

    fn drained(&self) {
        self.outbound.resume_flushing();
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        self.end(error.as_ref());
    }

    fn abandon(&self) {
        self.end(Some(&io::Error::other("the event loop of this connection has ended")));
        // The handles may live on, and the socket with them: its descriptor does not.
        if let Some(stream) = self.stream.get() {
            stream.discard();
        }
    }
}

/// The same again for another who is to have it: errors of the standard library cannot be cloned.
pub(crate) fn same_error(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the two counts of an `Rc` it is 152 bytes, the most that fits into one of malloc's chunks of 160.
    #[test]
    fn a_connection_is_small() {
        assert_eq!(size_of::<Connection>(), 136);
    }
}
