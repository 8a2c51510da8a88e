//! A connected stream socket: reads when there is something to read, writes what is given, closes once.
//!
//! The states and their order are those of asyncio's selector transport, because that is what protocols were written
//! against: `close` lets the queue drain and then reports `connection_lost(None)` from the loop, an error drops the
//! queue and reports itself, and whatever happens the report comes exactly once.
//!
//! Writes are tried at once, with two exceptions. A transport that has just shown that it writes several times in a turn
//! (headers, then a body) has its next first write put off to the end of the turn, so that both leave in one system
//! call. And where the face asks for it ([`Hub::gather_writes`]) a write made by a callback is put off while others are
//! due in the same turn, so that the writes of many transports leave one after the other; a write after which nothing
//! is due, and the answer to what has just arrived, leave at once.

mod kind;
mod writing;

use std::cell::{Cell, OnceCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::Waker;

pub use self::kind::Kind;
use super::flow_control::FlowControl;
use super::write_queue::WriteQueue;
use super::{Cause, Protocol, Received};
use crate::census::Member;
use crate::driver::{Driver, Interest, Readiness};
use crate::hub::Hub;
use crate::putting_off::PerTurn;
use crate::reactor::{Registration, Source};
use crate::ready::{Run, Runnable, Visitor};

/// Whose the descriptor is.
#[derive(Debug)]
pub enum Descriptor {
    /// The engine's, which closes it.
    Owned(OwnedFd),
    /// The face's, which closes it when it has been told of `connection_lost`.
    Lent(RawFd),
}

impl Descriptor {
    pub(super) fn number(&self) -> RawFd {
        match self {
            Self::Owned(fd) => fd.as_raw_fd(),
            Self::Lent(fd) => *fd,
        }
    }
}

/// Put off no more than this: about a socket buffer's first fill, beyond which a system call is well paid for.
const GATHER: usize = 64 * 1024;

/// What a queued runnable of a stream is for.
const OPEN: usize = 0;
const LOST: usize = 1;
const FLUSH: usize = 2;

/// Why nothing was written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `write_eof` came before.
    AfterEof,
    /// The connection is lost; this many writes have been dropped since.
    Lost(usize),
}

/// A stream transport. Shared by the loop (through its registration) and by the face.
pub struct Stream {
    hub: Rc<Hub>,
    fd: RawFd,
    kind: Kind,
    descriptor: Cell<Option<Descriptor>>,
    protocol: Cell<Option<Rc<dyn Protocol>>>,
    /// Set by `start`, and of no use any more when it is deregistered.
    registration: OnceCell<Rc<Registration>>,
    queue: WriteQueue,
    flow: FlowControl,
    error: Cell<Option<io::Error>>,
    /// Set by close, abort and errors: no more is read.
    closing: Cell<bool>,
    /// Callbacks of this transport in the ready queue that the protocol is to hear of: opening and losing.
    pending: Cell<u8>,
    /// What the protocol was last told by `hold`.
    held: Cell<bool>,
    /// Not zero once the report of the loss is due; counts writes dropped since.
    lost: Cell<u32>,
    /// Reading was stopped by the user.
    paused: Cell<bool>,
    /// Reading began (after `connection_made`), the peer has not ended it, and there is a descriptor.
    reading: Cell<bool>,
    /// write_eof was called.
    eof: Cell<bool>,
    /// The kernel took less than it was given; we wait until it takes more.
    blocked: Cell<bool>,
    /// A flush is due at the end of this turn.
    deferred: Cell<bool>,
    /// More than one in a turn, and it gathers.
    writes: PerTurn,
    _member: Member,
}

impl Stream {
    /// A transport over a socket that tells `protocol`, not yet open: see [`Self::start`].
    #[must_use]
    pub fn new(hub: &Rc<Hub>, descriptor: Descriptor, protocol: Rc<dyn Protocol>) -> Rc<Self> {
        Self::with_kind(hub, descriptor, Kind::Socket, protocol)
    }

    /// As [`Self::new`], over a descriptor of that kind.
    #[must_use]
    pub fn with_kind(
        hub: &Rc<Hub>,
        descriptor: Descriptor,
        kind: Kind,
        protocol: Rc<dyn Protocol>,
    ) -> Rc<Self> {
        Rc::new(Self {
            hub: Rc::clone(hub),
            fd: descriptor.number(),
            kind,
            descriptor: Cell::new(Some(descriptor)),
            protocol: Cell::new(Some(protocol)),
            registration: OnceCell::new(),
            queue: WriteQueue::new(),
            flow: FlowControl::new(),
            error: Cell::default(),
            closing: Cell::default(),
            pending: Cell::default(),
            held: Cell::default(),
            lost: Cell::default(),
            paused: Cell::default(),
            reading: Cell::default(),
            eof: Cell::default(),
            blocked: Cell::default(),
            deferred: Cell::default(),
            writes: PerTurn::default(),
            _member: Member::of("stream"),
        })
    }

    /// Register with the loop, and queue `connection_made` and the begin of reading.
    ///
    /// # Errors
    /// AlreadyExists if somebody listens to this descriptor already.
    pub fn start(self: &Rc<Self>) -> io::Result<()> {
        let source: Rc<dyn Source> = Rc::clone(self) as Rc<dyn Source>;
        let registration = self.hub.reactor.register(self.fd, source, Interest::NONE)?;
        // Whoever starts a transport twice is told that somebody listens already.
        let _ = self.registration.set(registration);
        self.queue_callback(OPEN);
        Ok(())
    }

    /// The descriptor's number; of a closed transport, what it was.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// The loop's hub.
    #[must_use]
    pub fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    /// Tell `protocol` from now on: how a layer of encryption comes in between while the connection lives. A transport
    /// that is lost tells nobody any more.
    pub fn set_protocol(&self, protocol: Rc<dyn Protocol>) {
        if !self.is_closed() {
            self.wake_reader();
            drop(self.protocol.replace(Some(protocol)));
        }
    }

    /// When there are bytes to receive, let `waker` have its turn in the place of [`Protocol::data_ready`]; once. Who is
    /// woken takes the offer, and receives by itself. If it does not come before the bytes are announced again, the
    /// protocol hears of them. It is woken besides when the transport or its protocol comes to an end.
    ///
    /// # Errors
    /// As [`Registration::offer_to`], which also says what is given back.
    #[inline]
    pub fn offer_to(&self, waker: Waker) -> Result<Option<Waker>, Waker> {
        match self.registration.get() {
            Some(registration) => registration.offer_to(waker),
            None => Err(waker),
        }
    }

    /// Whether bytes have been offered since [`Self::offer_to`]. From now on the protocol is told of any.
    #[inline]
    pub fn take_offer(&self) -> bool {
        self.registration.get().is_some_and(|registration| registration.take_offer())
    }

    /// Let who waits for an offer have its turn now: there will be none, or there is something else to know.
    pub fn wake_reader(&self) {
        if let Some(reader) = self.registration.get().and_then(|registration| registration.take_reader()) {
            self.hub.ready.push_waker(reader);
        }
    }

    /// Whether `close`, `abort` or an error has begun the end.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Whether the descriptor is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let descriptor = self.descriptor.take();
        let closed = descriptor.is_none();
        self.descriptor.set(descriptor);
        closed
    }

    /// Whether the report of the end is due or done: writes are dropped.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.get() > 0
    }

    /// Whether the user stopped reading.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Whether data would be delivered if it came.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        !self.closing.get() && !self.paused.get()
    }

    /// Whether the loop listens for something to read.
    #[must_use]
    pub fn polls_read(&self) -> bool {
        self.interest().contains(Interest::READ)
    }

    /// Stop delivering data. Costs no system call unless data arrives.
    pub fn pause_reading(self: &Rc<Self>) {
        self.paused.set(true);
        self.update_interest();
    }

    /// Deliver data again.
    pub fn resume_reading(self: &Rc<Self>) {
        self.paused.set(false);
        self.update_interest();
    }

    /// The loop is closed: nobody will send what is queued, or report an end. It is closing all the same, and lost unless
    /// something is queued; the descriptor stays until [`Self::discard`].
    pub fn strand(&self) {
        self.closing.set(true);
        if self.queue.is_empty() {
            self.lost.set(self.lost.get().max(1));
        }
    }

    /// As [`Self::strand`], dropping what is queued.
    pub fn strand_now(&self) {
        drop(self.queue.clear());
        self.strand();
    }

    /// Read no more, write what is queued, then close.
    pub fn close(self: &Rc<Self>) {
        self.finish(Cause::Caller);
    }

    fn finish(self: &Rc<Self>, cause: Cause) {
        if self.closing.replace(true) {
            return;
        }
        self.flush_gathered();
        if self.lost.get() == 0 && self.queue.is_empty() {
            self.lose(None, cause);
        } else {
            self.update_interest();
        }
    }

    /// Drop what is queued and close, reporting `error`. What only waits for the turn to end is offered to the kernel
    /// first: asyncio would have sent it when it was written.
    pub fn abort(self: &Rc<Self>, error: Option<io::Error>) {
        self.flush_gathered();
        self.give_up(error, Cause::Caller);
    }

    fn give_up(self: &Rc<Self>, error: Option<io::Error>, cause: Cause) {
        if self.lost.get() > 0 {
            return;
        }
        drop(self.queue.clear());
        self.closing.set(true);
        self.lose(error, cause);
    }

    fn fail(self: &Rc<Self>, error: io::Error, doing: &'static str) {
        if let Some(protocol) = self.protocol() {
            protocol.failed(&error, doing);
        }
        self.give_up(Some(error), Cause::Transport);
    }

    /// The report becomes due; from here on the kernel is not listened to.
    fn lose(self: &Rc<Self>, error: Option<io::Error>, cause: Cause) {
        if self.hub.is_closed() {
            // Nobody will run the report.
            return self.discard();
        }
        self.lost.set(1);
        self.blocked.set(false);
        self.error.set(error);
        if let Some(registration) = self.registration() {
            let _ = self.hub.reactor.set_interest_now(registration, Interest::NONE);
        }
        if let Some(protocol) = self.protocol() {
            protocol.losing(cause);
        }
        self.queue_callback(LOST);
    }

    /// Report the loss, then let go of the descriptor.
    fn report(&self) {
        let protocol = self.protocol();
        self.deregister();
        if let Some(protocol) = &protocol {
            protocol.connection_lost(self.error.take());
        }
        self.protocol.replace(None);
        self.let_go();
        self.pending.set(self.pending.get() - 1);
        if let Some(protocol) = protocol {
            self.hold(&*protocol);
        }
    }

    /// Forget the descriptor without closing it: somebody else closed it, and its number may be a stranger's by now.
    pub fn forget_descriptor(&self) {
        self.deregister();
        if let Some(Descriptor::Owned(fd)) = self.let_go() {
            let _ = std::os::fd::IntoRawFd::into_raw_fd(fd);
        }
    }

    /// The face is gone without closing: stop listening, close what is ours, tell nobody.
    pub fn discard(&self) {
        self.offer_gathered();
        self.closing.set(true);
        self.lost.set(self.lost.get().max(1));
        self.deregister();
        drop(self.queue.clear());
        self.protocol.replace(None);
        self.let_go();
    }

    fn let_go(&self) -> Option<Descriptor> {
        self.reading.set(false);
        self.descriptor.replace(None)
    }

    /// Listen to the descriptor no more, because its owner is about to close it.
    pub fn stop_listening(&self) {
        self.deregister();
    }

    fn deregister(&self) {
        if let Some(registration) = self.registration() {
            drop(self.hub.reactor.deregister(registration));
            self.wake_reader();
        }
    }

    fn queue_callback(self: &Rc<Self>, what: usize) {
        self.pending.set(self.pending.get() + 1);
        if let Some(protocol) = self.protocol() {
            self.hold(&*protocol);
        }
        self.hub.ready.push(Runnable::from_rc(Rc::clone(self), what));
    }

    /// Tell the protocol whether the loop keeps the transport, if that has changed.
    fn hold(&self, protocol: &dyn Protocol) {
        let listening = self.lost.get() == 0 && !self.interest().is_none();
        let held = self.pending.get() > 0 || listening;
        if self.held.replace(held) != held {
            protocol.hold(held);
        }
    }

    fn opened(self: &Rc<Self>) {
        self.pending.set(self.pending.get() - 1);
        let Some(protocol) = self.protocol() else { return };
        protocol.connection_made();
        self.reading.set(!self.is_closed() && self.kind != Kind::Device);
        self.update_interest();
        self.hold(&*protocol);
    }

    fn readable(self: &Rc<Self>) {
        let Some(protocol) = self.protocol().filter(|_| self.lost.get() == 0) else { return };
        match self.kind {
            Kind::Writer => return self.deserted(),
            // It was hung up while there was something to write, which will tell.
            Kind::Device => return,
            Kind::Socket | Kind::Reader => {}
        }
        match protocol.data_ready(&mut |buffer| self.recv(buffer)) {
            Received::Bytes | Received::Nothing => {}
            trouble => self.received(trouble),
        }
    }

    /// Receive into `buffer` by the protocol's own leave, in place of the receive that [`Protocol::data_ready`] offered
    /// and it did not make. How much came; 0 if nothing did, and then the protocol has been told what befell the
    /// connection, or will be told when there is something.
    #[inline]
    pub fn receive(self: &Rc<Self>, buffer: &mut [u8]) -> usize {
        // What had come before the connection was closed belongs to the reader, as long as there is a descriptor.
        if buffer.is_empty() || !self.reading.get() {
            return 0;
        }
        self.came(self.recv(buffer))
    }

    /// As [`Self::receive`], behind what is in `buffer` already, and no more than it has room for as it is.
    #[inline]
    pub fn receive_append(self: &Rc<Self>, buffer: &mut Vec<u8>) -> usize {
        if buffer.len() == buffer.capacity() || !self.reading.get() {
            return 0;
        }
        self.came(self.recv_append(buffer))
    }

    #[inline]
    fn came(self: &Rc<Self>, received: io::Result<usize>) -> usize {
        match received {
            Ok(count) if count > 0 => count,
            other => {
                self.received(Received::from_io(other));
                0
            }
        }
    }

    #[cold]
    fn received(self: &Rc<Self>, received: Received) {
        let Some(protocol) = self.protocol().filter(|_| self.lost.get() == 0) else { return };
        match received {
            Received::Bytes | Received::Nothing => {}
            Received::Eof => self.ended(&*protocol),
            Received::Failed(error) => self.fail(error, "Fatal read error on socket transport"),
        }
    }

    fn ended(self: &Rc<Self>, protocol: &dyn Protocol) {
        let stays_open = protocol.eof_received();
        if self.hub.ready.is_leaving() {
            // The telling was broken off. The end is told again when the kernel is next asked.
            return;
        }
        if stays_open && self.kind == Kind::Socket {
            self.reading.set(false);
            self.update_interest();
        } else {
            self.finish(Cause::Transport);
        }
    }

    fn interest(&self) -> Interest {
        let read = self.reading.get() && self.is_reading();
        let wanted = if read { Interest::READ } else { Interest::NONE };
        if self.blocked.get() { wanted.union(Interest::WRITE) } else { wanted }
    }

    fn update_interest(self: &Rc<Self>) {
        if self.lost.get() > 0 {
            return;
        }
        if let Some(protocol) = self.protocol() {
            self.hold(&*protocol);
        }
        let Some(registration) = self.registration() else { return };
        if let Err(error) = self.hub.reactor.set_interest(registration, self.interest()) {
            self.fail(error, "Fatal error: the kernel will not watch this descriptor");
        }
    }

    fn driver(&self) -> &Driver {
        self.hub.reactor.driver()
    }

    /// Who is told; nobody once the loss has been reported.
    #[must_use]
    pub fn protocol(&self) -> Option<Rc<dyn Protocol>> {
        let protocol = self.protocol.take();
        self.protocol.set(protocol.clone());
        protocol
    }

    fn registration(&self) -> Option<&Rc<Registration>> {
        self.registration.get().filter(|registration| registration.is_registered())
    }
}

impl Source for Stream {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        if readiness.contains(Readiness::READ) {
            self.hub.in_event(|| self.readable());
        }
        if readiness.contains(Readiness::WRITE) && self.blocked.get() {
            self.writable();
        }
    }

    fn visit(&self, visitor: Visitor<'_>) {
        if let Some(protocol) = self.protocol() {
            protocol.visit(visitor);
        }
    }

    fn owner(&self, visitor: Visitor<'_>) {
        if let Some(protocol) = self.protocol() {
            protocol.owner(visitor);
        }
    }

    fn abandon(&self) {
        // Nothing is queued any more.
        let reader = self.registration.get().and_then(|registration| registration.take_reader());
        reader.into_iter().for_each(Waker::wake);
        if let Some(protocol) = self.protocol.take() {
            protocol.abandon();
        }
    }
}

impl Run for Stream {
    fn run(self: Rc<Self>, arg: usize) {
        match arg {
            OPEN => self.opened(),
            FLUSH => self.flush_at_turn_end(),
            _ => self.report(),
        }
    }
}

#[cfg(test)]
mod tests;
