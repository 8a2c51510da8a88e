//! Encryption between a socket and whoever uses it: `asyncio.sslproto`, with rustls in the middle.
//!
//! The session is borrowed for one call of rustls at a time, and for none while anybody else is called: what a read
//! brings may be answered by a write in the same breath.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use rustls::Connection as Session;
use velodrome_engine::ready::{Run, Runnable};
use velodrome_engine::timers::TimerKey;
use velodrome_engine::transport::flow_control::LimitsError;
use velodrome_engine::transport::stream::{Refused, Stream};
use velodrome_engine::transport::write_queue::Chunk;
use velodrome_engine::transport::{Protocol, Received, Recv};

use super::handshake::Handshake;
use crate::channel::Channel;
use crate::streams::connection::same_error;
use crate::waiting::Waiter;

/// What is read at once: four of TLS's records, the largest.
const ROOM: usize = 64 * 1024;

/// How long the peer may take nothing of what was written before a close, in nanoseconds: asyncio's `SSL_SHUTDOWN_TIMEOUT`,
/// which is for all of it.
const PATIENCE: u64 = 30_000_000_000;

/// What a runnable of a layer is for.
const CATCH_UP: usize = 0;
const GIVE_UP: usize = 1;

thread_local! {
    /// Where ciphertext is read to. Not the hub's buffer: what is deciphered goes there while this is still in use, and a
    /// second one of that size would be allocated for each read.
    static CIPHERTEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

pub(crate) struct Layer {
    myself: Weak<Self>,
    stream: Rc<Stream>,
    session: RefCell<Session>,
    /// None once the connection is lost.
    inner: RefCell<Option<Rc<dyn Protocol>>>,
    /// It is still to be told of the connection, when hands are shaken, and of nothing before.
    unannounced: Cell<bool>,
    handshake: RefCell<Progress>,
    /// Who waits for the handshake.
    waiter: Waiter,
    /// The peer has said that it sends no more.
    ended: Cell<bool>,
    /// We have.
    finished: Cell<bool>,
    /// Ciphertext on its way to the socket; kept for its memory.
    outgoing: Cell<Vec<u8>>,
    /// The protocol paused before it had all that had arrived: the session may have more for it, and then comes what is
    /// `unread`.
    held: Cell<bool>,
    /// Ciphertext.
    unread: Cell<Vec<u8>>,
    /// The peer has ended, and all that was written has left but for our own end, which it need not wait for.
    parting: Cell<bool>,
    /// When the end will not be waited for any longer.
    deadline: Cell<Option<TimerKey>>,
    /// What was still to be sent when that was set.
    left: Cell<usize>,
}

enum Progress {
    UnderWay,
    Done,
    Failed(io::Error),
}

impl Layer {
    /// Encryption over `stream` for `inner`, which is told of what arrives from now on.
    pub(crate) fn new(stream: Rc<Stream>, session: Session, inner: Rc<dyn Protocol>) -> Rc<Self> {
        let layer = Rc::new_cyclic(|myself| Self {
            myself: Weak::clone(myself),
            stream,
            session: RefCell::new(session),
            inner: RefCell::new(Some(inner)),
            unannounced: Cell::new(false),
            handshake: RefCell::new(Progress::UnderWay),
            waiter: Waiter::default(),
            ended: Cell::new(false),
            finished: Cell::new(false),
            outgoing: Cell::default(),
            held: Cell::default(),
            unread: Cell::default(),
            parting: Cell::default(),
            deadline: Cell::default(),
            left: Cell::default(),
        });
        layer.stream.set_protocol(Rc::clone(&layer) as Rc<_>);
        layer
    }

    /// As [`new`](Self::new), over a stream that has not started: the handshake begins with it, and `inner` is told of
    /// the connection when it has succeeded.
    pub(crate) fn announcing(stream: Rc<Stream>, session: Session, inner: Rc<dyn Protocol>) -> Rc<Self> {
        let layer = Self::new(stream, session, inner);
        layer.unannounced.set(true);
        layer
    }

    /// Begin the handshake; `early` has arrived already, unread.
    pub(crate) fn begin(&self, early: &[u8]) {
        self.send();
        if !early.is_empty()
            && let Err(error) = self.take(early)
        {
            Stream::abort(&self.stream, Some(error));
        }
    }

    /// Until the handshake is over.
    pub(crate) fn poll_handshake(&self, cx: &Context<'_>) -> Poll<io::Result<Handshake>> {
        match &*self.handshake.borrow() {
            Progress::UnderWay => self.waiter.wait(cx),
            Progress::Done => return Poll::Ready(Ok(Handshake::of(&self.session.borrow()))),
            Progress::Failed(error) => return Poll::Ready(Err(same_error(error))),
        }
        Poll::Pending
    }

    /// The layer that `channel` is, if it is one.
    pub(crate) fn under(channel: &dyn Channel) -> Option<&Self> {
        (channel as &dyn Any).downcast_ref()
    }

    /// What the two sides have agreed upon, once they have.
    pub(crate) fn agreed(&self) -> Option<Handshake> {
        let done = matches!(*self.handshake.borrow(), Progress::Done);
        done.then(|| Handshake::of(&self.session.borrow()))
    }

    fn inner(&self) -> Option<Rc<dyn Protocol>> {
        self.inner.borrow().clone().filter(|_| !self.unannounced.get())
    }

    fn announce(&self) {
        if !self.is_shaking_hands()
            && self.unannounced.replace(false)
            && let Some(inner) = self.inner()
        {
            inner.connection_made();
        }
    }

    fn is_shaking_hands(&self) -> bool {
        matches!(*self.handshake.borrow(), Progress::UnderWay)
    }

    /// What the socket has brought.
    fn take(&self, mut arrived: &[u8]) -> io::Result<()> {
        // What comes behind the peer's end, or when we have closed, is nobody's.
        while !arrived.is_empty() && !self.ended.get() && !self.stream.is_closing() {
            if self.held.get() {
                self.put_aside(arrived);
                break;
            }
            let processed = self.process(&mut arrived);
            // An error has an alert to be sent, too.
            self.send();
            processed?;
            self.announce();
            self.deliver();
        }
        Ok(())
    }

    /// One step of rustls. It takes no more than it has room for, and needs what it has taken to be read in between.
    fn process(&self, arrived: &mut &[u8]) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        session.read_tls(arrived)?;
        let state = session
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}")))?;
        let (done, closed) = (!session.is_handshaking(), state.peer_has_closed());
        drop(session);
        if done && self.is_shaking_hands() {
            self.handshake.replace(Progress::Done);
            self.waiter.wake();
        }
        self.ended.set(closed);
        Ok(())
    }

    fn put_aside(&self, arrived: &[u8]) {
        let mut unread = self.unread.take();
        unread.extend_from_slice(arrived);
        self.unread.set(unread);
    }

    /// Hand on what has been deciphered, and at last that it was all.
    fn deliver(&self) {
        while let Some(inner) = self.inner().filter(|_| !self.stream.is_closing()) {
            if self.stream.is_paused() {
                return self.held.set(true);
            }
            let received = inner.data_ready(&mut |buffer| self.session.borrow_mut().reader().read(buffer));
            match received {
                Received::Bytes => {}
                Received::Nothing => return,
                Received::Failed(error) => return Stream::abort(&self.stream, Some(error)),
                Received::Eof => return self.tell_end(&*inner),
            }
        }
    }

    fn tell_end(&self, inner: &dyn Protocol) {
        if !inner.eof_received() {
            self.parting.set(self.stream.buffered() == 0);
            self.end();
        }
    }

    /// Go on where the protocol paused, if it wants to. Before anything else that arrives, which comes behind.
    fn catch_up(&self) {
        if self.stream.is_paused() || !self.held.replace(false) {
            return;
        }
        self.deliver();
        let unread = self.unread.take();
        if let Err(error) = self.take(&unread) {
            Stream::abort(&self.stream, Some(error));
        }
    }

    /// Send what rustls has to say.
    fn send(&self) {
        let mut outgoing = self.outgoing.take();
        while self.cipher(&mut outgoing) {
            // What is refused is dropped, as what is written to a lost connection always is.
            let _ = Stream::write(&self.stream, &outgoing, || Chunk::Owned(outgoing.clone()));
            outgoing.clear();
        }
        self.outgoing.set(outgoing);
    }

    fn cipher(&self, into: &mut Vec<u8>) -> bool {
        let mut session = self.session.borrow_mut();
        // Writing to a vector does not fail.
        while session.wants_write() && session.write_tls(into).is_ok() {}
        !into.is_empty()
    }

    fn admit(&self) -> Result<(), Refused> {
        match self.finished.get() {
            false => Ok(()),
            // No mistake: a plain connection drops it, too.
            true if self.stream.is_closing() => Err(Refused::Lost(1)),
            true => Err(Refused::AfterEof),
        }
    }

    fn put(&self, data: &[u8]) {
        // Without a limit to its buffer, which is emptied at once, it takes everything.
        let _ = self.session.borrow_mut().writer().write_all(data);
    }

    /// Say that no more will be sent; once.
    fn finish(&self) {
        if !self.finished.replace(true) {
            self.session.borrow_mut().send_close_notify();
            self.send();
        }
    }

    /// Say that it was all, and close when that has left.
    fn end(&self) {
        if !self.stream.is_closing() {
            self.finish();
            Stream::close(&self.stream);
            self.limit_end();
        }
    }

    /// Let a peer that takes nothing not keep the connection for ever.
    fn limit_end(&self) {
        if let Some(myself) = self.myself.upgrade().filter(|_| !self.stream.is_lost()) {
            self.left.set(self.stream.buffered());
            let hub = self.stream.hub();
            let deadline = hub.clock.now().saturating_add(PATIENCE);
            self.deadline.set(Some(hub.call_at(deadline, Runnable::from_rc(myself, GIVE_UP))));
        }
    }

    fn give_up(&self) {
        self.deadline.set(None);
        if self.stream.buffered() < self.left.get() {
            // Slowly, but it takes.
            return self.limit_end();
        }
        let what = "the peer did not take what was written before the connection was closed";
        Stream::abort(&self.stream, Some(io::Error::new(io::ErrorKind::TimedOut, what)));
    }

    /// Nothing is to come any more.
    fn forget(&self) {
        self.unread.take();
        if let Some(key) = self.deadline.take() {
            drop(self.stream.hub().cancel_timer(key));
        }
    }

    fn fail_handshake(&self, error: io::Error) {
        if self.is_shaking_hands() {
            self.handshake.replace(Progress::Failed(error));
            self.waiter.wake();
        }
    }
}

impl Protocol for Layer {
    fn connection_made(&self) {
        self.begin(&[]);
    }

    fn data_ready(&self, recv: Recv<'_>) -> Received {
        self.catch_up();
        if self.held.get() {
            // It paused again; the kernel will tell again, in particular of an end, which comes behind what is held.
            return Received::Nothing;
        }
        // Taken out, not borrowed: whoever is told below may read another connection.
        let mut ciphertext = CIPHERTEXT.take();
        ciphertext.resize(ROOM, 0);
        let taken = recv(&mut ciphertext).and_then(|count| self.take(&ciphertext[..count]).map(|()| count));
        CIPHERTEXT.set(ciphertext);
        Received::from_io(taken)
    }

    /// The socket's end. What TLS has to say about its own end came before, or never will.
    fn eof_received(&self) -> bool {
        self.catch_up();
        if !self.ended.get() {
            let what = "the connection ended without TLS's close_notify: something may be missing";
            Stream::abort(&self.stream, Some(io::Error::new(io::ErrorKind::UnexpectedEof, what)));
        }
        true
    }

    fn pause_writing(&self) {
        if let Some(inner) = self.inner() {
            inner.pause_writing();
        }
    }

    fn resume_writing(&self) {
        if let Some(inner) = self.inner() {
            inner.resume_writing();
        }
    }

    fn drained(&self) {
        if let Some(inner) = self.inner() {
            inner.drained();
        }
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        let error = error.filter(|_| !self.parting.get());
        let why = error.as_ref().map_or_else(given_up, same_error);
        self.fail_handshake(why);
        self.forget();
        if let Some(inner) = self.inner.take() {
            inner.connection_lost(error);
        }
    }

    fn abandon(&self) {
        self.fail_handshake(io::Error::other("the event loop of this connection has ended"));
        self.forget();
        if let Some(inner) = self.inner.take() {
            inner.abandon();
        }
    }
}

impl Run for Layer {
    fn run(self: Rc<Self>, arg: usize) {
        match arg {
            CATCH_UP => self.catch_up(),
            _ => self.give_up(),
        }
    }
}

/// Closed from this side, before the other had said that it trusts it.
fn given_up() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the connection was closed during the TLS handshake: await that first",
    )
}

impl Channel for Layer {
    fn write(self: Rc<Self>, data: &[u8]) -> Result<(), Refused> {
        self.admit()?;
        self.put(data);
        self.send();
        Ok(())
    }

    fn write_all(self: Rc<Self>, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), Refused> {
        self.admit()?;
        pieces.for_each(|piece| self.put(&piece));
        self.send();
        Ok(())
    }

    fn flush(self: Rc<Self>) {
        Stream::flush_gathered(&self.stream);
    }

    fn write_eof(self: Rc<Self>) {
        self.finish();
        Stream::write_eof(&self.stream);
    }

    fn close(self: Rc<Self>) {
        self.end();
    }

    fn abort(self: Rc<Self>, error: Option<io::Error>) {
        Stream::abort(&self.stream, error);
    }

    fn pause_reading(self: Rc<Self>) {
        Stream::pause_reading(&self.stream);
    }

    fn resume_reading(self: Rc<Self>) {
        Stream::resume_reading(&self.stream);
        if self.held.get() {
            let hub = Rc::clone(self.stream.hub());
            hub.ready.push(Runnable::from_rc(self, CATCH_UP));
        }
    }

    fn plain(self: Rc<Self>) -> Option<Rc<Stream>> {
        None
    }

    fn is_closing(&self) -> bool {
        self.stream.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.stream.is_lost()
    }

    fn is_reading(&self) -> bool {
        self.stream.is_reading()
    }

    fn is_writing_paused(&self) -> bool {
        self.stream.writing_paused()
    }

    fn buffered(&self) -> usize {
        self.stream.buffered()
    }

    fn write_limits(&self) -> (usize, usize) {
        self.stream.write_limits()
    }

    fn set_write_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<(), LimitsError> {
        self.stream.set_write_limits(high, low)
    }

    fn fd(&self) -> RawFd {
        self.stream.fd()
    }
}
