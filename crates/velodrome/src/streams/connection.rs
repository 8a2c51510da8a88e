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

use super::Attachment;
use super::error::ReadError;
use super::inbound::Inbound;
use super::outbound::Outbound;

pub(super) struct Connection {
    hub: Rc<Hub>,
    /// None once the connection is lost. Until then the two hold each other.
    stream: RefCell<Option<Rc<Stream>>>,
    peer: Peer,
    inbound: Inbound,
    pub(super) outbound: Outbound,
    attachment: Cell<Option<Attachment>>,
}

impl Connection {
    pub(super) fn new(hub: &Rc<Hub>, peer: Peer, attachment: Option<Attachment>) -> Rc<Self> {
        Rc::new(Self {
            hub: Rc::clone(hub),
            stream: RefCell::default(),
            peer,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            attachment: Cell::new(attachment),
        })
    }

    pub(super) fn attach(&self, stream: Rc<Stream>) {
        self.stream.replace(Some(stream));
    }

    /// The transport, until the connection is lost.
    pub(super) fn stream(&self) -> Option<Rc<Stream>> {
        self.stream.borrow().clone()
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
        let poll = self.inbound.poll(cx, attempt, expected);
        self.keep_up();
        poll
    }

    /// Have the transport read or pause as the buffer demands.
    fn keep_up(&self) {
        let Some(paused) = self.inbound.pause_changed() else { return };
        let Some(stream) = self.stream() else { return };
        if paused { stream.pause_reading() } else { stream.resume_reading() }
    }

    fn end(&self, error: Option<&io::Error>) {
        let stream = self.stream.take();
        self.inbound.end(error);
        self.outbound.lose(error);
        drop((stream, self.attachment.take()));
    }
}

impl Protocol for Connection {
    fn connection_made(&self) {}

    fn data_ready(&self, recv: Recv<'_>) -> Received {
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

    fn connection_lost(&self, error: Option<io::Error>) {
        self.end(error.as_ref());
    }

    fn abandon(&self) {
        self.end(Some(&io::Error::other("the event loop of this connection has ended")));
    }
}

/// The same again for another who is to have it: errors of the standard library cannot be cloned.
pub(super) fn same_error(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}
