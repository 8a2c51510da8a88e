//! Between the engine's transport and the two handles: asyncio's `StreamReaderProtocol`.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use velodrome_engine::hub::Hub;
use velodrome_engine::streams::ByteBuffer;
use velodrome_engine::streams::read::Read;
use velodrome_engine::sys::Peer;
use velodrome_engine::transport::stream::Stream;
use velodrome_engine::transport::{Protocol, Received, Recv};

use super::error::ReadError;
use super::inbound::Inbound;
use super::outbound::Outbound;
use crate::channel::Channel;
use crate::clients::{Client, Endpoint};

pub(crate) struct Connection {
    hub: Rc<Hub>,
    /// None once the connection is lost. Until then the two hold each other.
    channel: RefCell<Option<Rc<dyn Channel>>>,
    /// What the channel is, while that is the socket itself: a reader that waits takes from it what has come.
    socket: RefCell<Option<Rc<Stream>>>,
    peer: Peer,
    pub(super) inbound: Inbound,
    pub(crate) outbound: Outbound,
    client: Cell<Option<Client>>,
    /// There is no writer: the reader's end is the connection's.
    closes_with_reader: Cell<bool>,
}

impl Connection {
    pub(super) fn new(hub: &Rc<Hub>, peer: Peer, client: Option<Client>) -> Self {
        Self {
            hub: Rc::clone(hub),
            channel: RefCell::default(),
            socket: RefCell::default(),
            peer,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            client: Cell::new(client),
            closes_with_reader: Cell::new(false),
        }
    }

    pub(crate) fn attach(&self, channel: Rc<dyn Channel>) {
        self.socket.replace(Rc::clone(&channel).plain());
        self.channel.replace(Some(channel));
    }

    /// What carries the bytes, until the connection is lost.
    pub(crate) fn channel(&self) -> Option<Rc<dyn Channel>> {
        self.channel.borrow().clone()
    }

    pub(super) fn close_with_reader(&self) {
        self.closes_with_reader.set(true);
    }

    pub(super) fn reader_dropped(&self) {
        if self.closes_with_reader.get() {
            self.close();
        }
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(super) fn at_eof(&self) -> bool {
        self.inbound.at_eof()
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.inbound.set_limit(limit);
        self.keep_up();
    }

    /// Try to read, and wait for more if that is not enough.
    pub(super) fn poll_read(
        &self,
        cx: &Context<'_>,
        attempt: impl FnOnce(&mut ByteBuffer, usize, bool) -> Read,
        expected: Option<usize>,
    ) -> Poll<Result<Vec<u8>, ReadError>> {
        if self.inbound.take_offer() {
            self.receive_ahead();
        }
        let poll = self.inbound.poll(cx, attempt, expected);
        self.keep_up();
        poll
    }

    /// Wait for bytes, and let `take` say how many of them it took.
    pub(crate) fn poll_take(
        &self,
        cx: &Context<'_>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<()>> {
        if self.inbound.take_offer() {
            self.receive_ahead();
        }
        let poll = self.inbound.poll_take(cx, take);
        self.keep_up();
        poll
    }

    /// Wait for bytes, and receive them into `buffer`: straight from the socket, where none are kept. 0 at the end.
    pub(super) fn poll_receive(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.inbound.is_empty()
            && self.inbound.take_offer()
            && let Some(socket) = self.socket()
        {
            let count = socket.receive(buffer);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
        let mut count = 0;
        let poll = self.poll_take(cx, |bytes| {
            count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            count
        });
        poll.map_ok(|()| count)
    }

    /// Receive what the kernel has for this reader, by way of the loop's buffer.
    fn receive_ahead(&self) {
        let Some(socket) = self.socket() else { return };
        self.hub.with_scratch(|scratch| {
            let count = socket.receive(scratch);
            self.inbound.feed(&scratch[..count]);
        });
    }

    fn socket(&self) -> Option<Rc<Stream>> {
        self.socket.borrow().clone()
    }

    /// Until the kernel has taken all that was written.
    pub(crate) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if let Some(channel) = self.channel() {
            channel.flush();
        }
        // Flushing may have lost it.
        let kept = self.channel().map_or(0, |channel| channel.buffered());
        self.outbound.poll_flushed(kept, cx)
    }

    /// Have the transport read or pause as the buffer demands.
    pub(super) fn keep_up(&self) {
        let Some(paused) = self.inbound.pause_changed() else { return };
        let Some(channel) = self.channel() else { return };
        if paused { channel.pause_reading() } else { channel.resume_reading() }
    }

    fn end(&self, error: Option<&io::Error>) {
        let (channel, socket) = (self.channel.take(), self.socket.take());
        self.inbound.end(error);
        self.outbound.lose(error);
        drop((channel, socket, self.client.take()));
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

    /// A reader that waits is woken and receives by itself, into memory of its own. Should it not come before the
    /// kernel tells of these bytes again, they are read ahead for whoever reads next.
    fn data_ready(&self, recv: Recv<'_>) -> Received {
        if self.socket.borrow().is_some() && self.inbound.offer() {
            return Received::Nothing;
        }
        let received = self.hub.with_scratch(|scratch| {
            let received = recv(scratch)?;
            self.inbound.feed(&scratch[..received]);
            Ok(received)
        });
        if received.as_ref().is_ok_and(|received| *received > 0) {
            self.inbound.wake();
            self.keep_up();
        }
        Received::from_io(received)
    }

    /// Keeps the connection open: the writer decides when it has said all.
    fn eof_received(&self) -> bool {
        self.inbound.end(None);
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
    }
}

/// The same again for another who is to have it: errors of the standard library cannot be cloned.
pub(crate) fn same_error(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}
