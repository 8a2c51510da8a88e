//! A datagram socket: receives what comes, sends what is given, closes once.
//!
//! The states and their order are those of asyncio's datagram transport: `close` lets the queue drain and then reports
//! `connection_lost(None)` from the loop; what the kernel says of one datagram is told and ends nothing.
//!
//! A visit receives one datagram by a plain receive, which is what a lone datagram costs. A socket on which several
//! wait is received from by the batch (see `habit.rs`), and what a batch has brought is delivered under asyncio's rules:
//! nothing after `close`, nothing while reading is paused, the rest in the next turn if a callback leaves the loop.

mod habit;
mod queue;
mod sending;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use self::habit::Habit;
use self::queue::Queue;
use super::Cause;
use super::flow_control::FlowControl;
use super::stream::Descriptor;
use crate::driver::{Driver, Interest, Readiness};
use crate::hub::Hub;
use crate::reactor::{Registration, Source};
use crate::ready::{Run, Runnable, Visitor};
use crate::sys::{Batch, Peer};

/// What a queued runnable of a datagram transport is for.
const OPEN: usize = 0;
const LOST: usize = 1;
const REST: usize = 2;

/// What the kernel says of a datagram that is larger than the room there is for it.
const EMSGSIZE: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// What the transport was doing when the kernel refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Receiving: an earlier datagram was refused by its receiver, for instance.
    Receiving,
    /// Sending what had been queued.
    Sending,
}

/// What came of a datagram that a face was to send.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel has it.
    Yes,
    /// The kernel has no room.
    NotYet,
    /// It could not be sent, of which the face has told whom it concerns.
    Refused,
}

/// Who is told what happens on a datagram socket, with asyncio's names and order of events
/// (<https://docs.python.org/3/library/asyncio-protocol.html#datagram-protocols>).
pub trait DatagramProtocol {
    /// The transport is open. Once, first.
    fn connection_made(&self);
    /// A datagram came. The bytes are the loop's, and gone when this returns.
    fn datagram_received(&self, data: &[u8], sender: &Peer);
    /// The kernel refused something; the transport goes on.
    fn error_received(&self, error: io::Error, doing: Doing);
    /// Send what was queued by [`Datagram::send_later`], the oldest of what was.
    fn send(&self, _data: &[u8]) -> Sent {
        Sent::Refused
    }
    /// More is buffered than the high-water mark allows.
    fn pause_writing(&self);
    /// No more is buffered than the low-water mark.
    fn resume_writing(&self);
    /// [`Self::connection_lost`] has been queued: the moment to remember the caller's surroundings.
    fn losing(&self, _cause: Cause) {}
    /// The transport is closed; its descriptor is closed after this returns. Once.
    fn connection_lost(&self, error: Option<io::Error>);
    /// Whether the loop has, from now on, a reason to keep the transport alive: see [`super::Protocol::hold`].
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

/// A datagram transport. Shared by the loop (through its registration) and by the face.
pub struct Datagram {
    hub: Rc<Hub>,
    fd: RawFd,
    descriptor: RefCell<Option<Descriptor>>,
    protocol: RefCell<Option<Rc<dyn DatagramProtocol>>>,
    registration: RefCell<Option<Rc<Registration>>>,
    queue: RefCell<Queue>,
    flow: FlowControl,
    error: Cell<Option<io::Error>>,
    /// Set by close and abort: no more is received.
    closing: Cell<bool>,
    /// Callbacks of this transport in the ready queue that the protocol is to hear of: opening and losing.
    pending: Cell<u32>,
    /// What the protocol was last told by `hold`.
    held: Cell<bool>,
    /// The report of the loss is due or done.
    lost: Cell<bool>,
    /// Receiving was stopped by the user.
    paused: Cell<bool>,
    /// Receiving began, after `connection_made`.
    reading: Cell<bool>,
    /// The kernel had no room for a datagram; we wait until it has.
    blocked: Cell<bool>,
    habit: Cell<Habit>,
    /// What a batch has brought, and which of it is to be delivered next.
    arrived: RefCell<Option<Rc<Batch>>>,
    next: Cell<usize>,
    /// A callback that delivers the rest is queued.
    rest_queued: Cell<bool>,
}

impl Datagram {
    /// A transport that tells `protocol`, not yet open: see [`Self::start`]. A queued datagram counts `header` bytes
    /// beside its own, so that a queue of empty ones has an end.
    #[must_use]
    pub fn new(
        hub: &Rc<Hub>,
        descriptor: Descriptor,
        header: usize,
        protocol: Rc<dyn DatagramProtocol>,
    ) -> Rc<Self> {
        Rc::new(Self {
            hub: Rc::clone(hub),
            fd: descriptor.number(),
            descriptor: RefCell::new(Some(descriptor)),
            protocol: RefCell::new(Some(protocol)),
            registration: RefCell::default(),
            queue: RefCell::new(Queue::new(header)),
            flow: FlowControl::new(),
            error: Cell::default(),
            closing: Cell::default(),
            pending: Cell::default(),
            held: Cell::default(),
            lost: Cell::default(),
            paused: Cell::default(),
            reading: Cell::default(),
            blocked: Cell::default(),
            habit: Cell::default(),
            arrived: RefCell::default(),
            next: Cell::default(),
            rest_queued: Cell::default(),
        })
    }

    /// Register with the loop, and queue `connection_made` and the begin of receiving.
    ///
    /// # Errors
    /// AlreadyExists if somebody listens to this descriptor already.
    pub fn start(self: &Rc<Self>) -> io::Result<()> {
        let source: Rc<dyn Source> = Rc::clone(self) as Rc<dyn Source>;
        let registration = self.hub.reactor.register(self.fd, source, Interest::NONE)?;
        self.registration.replace(Some(registration));
        self.queue_callback(OPEN);
        Ok(())
    }

    /// The descriptor's number; of a closed transport, what it was.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Whether `close` or `abort` has begun the end.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Whether the descriptor is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.descriptor.borrow().is_none()
    }

    /// Whether the report of the end is due or done.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Whether the user stopped receiving.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Whether datagrams would be delivered if they came.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        !self.closing.get() && !self.paused.get()
    }

    /// Whether the loop listens for something to receive.
    #[must_use]
    pub fn polls_read(&self) -> bool {
        !self.lost.get() && self.interest().contains(Interest::READ)
    }

    /// Deliver nothing. Costs no system call unless something arrives.
    pub fn pause_reading(self: &Rc<Self>) {
        self.paused.set(true);
        self.update_interest();
    }

    /// Deliver again, first what had been received before the pause.
    pub fn resume_reading(self: &Rc<Self>) {
        self.paused.set(false);
        self.update_interest();
        self.queue_rest();
    }

    /// The loop is closed: nobody will send what is queued, or report an end. It is closing all the same, and lost unless
    /// something is queued; the descriptor stays until [`Self::discard`].
    pub fn strand(&self) {
        self.closing.set(true);
        if self.queue.borrow().is_empty() {
            self.lost.set(true);
        }
    }

    /// As [`Self::strand`], dropping what is queued.
    pub fn strand_now(&self) {
        self.drop_queue();
        self.strand();
    }

    /// Receive no more, send what is queued, then close.
    pub fn close(self: &Rc<Self>) {
        if self.closing.replace(true) {
            return;
        }
        if !self.lost.get() && self.queue.borrow().is_empty() {
            self.lose(None, Cause::Caller);
        } else {
            self.update_interest();
        }
    }

    /// Drop what is queued and close, reporting `error`.
    pub fn abort(self: &Rc<Self>, error: Option<io::Error>) {
        self.give_up(error, Cause::Caller);
    }

    fn give_up(self: &Rc<Self>, error: Option<io::Error>, cause: Cause) {
        if self.lost.get() {
            return;
        }
        self.drop_queue();
        self.closing.set(true);
        self.lose(error, cause);
    }

    /// The report becomes due; from here on the kernel is not listened to.
    fn lose(self: &Rc<Self>, error: Option<io::Error>, cause: Cause) {
        if self.hub.is_closed() {
            // Nobody will run the report.
            return self.discard();
        }
        self.lost.set(true);
        self.blocked.set(false);
        self.error.set(error);
        if let Some(registration) = self.registration() {
            let _ = self.hub.reactor.set_interest_now(&registration, Interest::NONE);
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
        self.descriptor.replace(None);
        self.drop_arrived();
        self.pending.set(self.pending.get() - 1);
        if let Some(protocol) = protocol {
            self.hold(&*protocol);
        }
    }

    /// The face is gone without closing: stop listening, close what is ours, tell nobody.
    pub fn discard(&self) {
        self.closing.set(true);
        self.lost.set(true);
        self.deregister();
        self.drop_queue();
        self.drop_arrived();
        self.protocol.replace(None);
        self.descriptor.replace(None);
    }

    /// Listen to the descriptor no more, because its owner is about to close it.
    pub fn stop_listening(&self) {
        self.deregister();
    }

    fn deregister(&self) {
        if let Some(registration) = self.registration.take() {
            drop(self.hub.reactor.deregister(&registration));
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
    fn hold(&self, protocol: &dyn DatagramProtocol) {
        let listening = !self.lost.get() && !self.interest().is_none();
        let held = self.pending.get() > 0 || listening;
        if self.held.replace(held) != held {
            protocol.hold(held);
        }
    }

    fn opened(self: &Rc<Self>) {
        self.pending.set(self.pending.get() - 1);
        let Some(protocol) = self.protocol() else { return };
        protocol.connection_made();
        self.reading.set(true);
        self.update_interest();
        self.hold(&*protocol);
    }

    fn readable(self: &Rc<Self>) {
        let Some(protocol) = self.protocol().filter(|_| self.is_reading()) else { return };
        let received = if self.arrived.borrow().is_some() {
            self.deliver();
            Ok(())
        } else if self.expects_several() {
            self.receive_several()
        } else {
            self.receive_one(&*protocol)
        };
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                protocol.error_received(error, Doing::Receiving);
            }
            _ => {}
        }
    }

    fn receive_one(&self, protocol: &dyn DatagramProtocol) -> io::Result<()> {
        self.hub.with_scratch(|buffer| {
            let (length, sender) = self.driver().recv_from(self.fd, buffer)?;
            if sender.as_socket_addr().is_none() {
                self.change_habit(Habit::never);
            }
            // Cut: half a datagram is worse than none.
            let data = buffer.get(..length).ok_or_else(|| io::Error::from_raw_os_error(EMSGSIZE))?;
            protocol.datagram_received(data, &sender);
            Ok(())
        })
    }

    fn expects_several(&self) -> bool {
        self.change_habit(Habit::expects_several)
    }

    fn change_habit<R>(&self, change: impl FnOnce(&mut Habit) -> R) -> R {
        let mut habit = self.habit.get();
        let result = change(&mut habit);
        self.habit.set(habit);
        result
    }

    fn receive_several(self: &Rc<Self>) -> io::Result<()> {
        let received = self.hub.receive_batch(|batch| self.driver().recv_batch(self.fd, batch));
        self.change_habit(|habit| habit.note(received.as_ref().map_or(0, |batch| batch.len())));
        self.arrived.replace(Some(received?));
        self.next.set(0);
        self.deliver();
        Ok(())
    }

    /// Deliver what a batch has brought, for as long as somebody wants it.
    fn deliver(self: &Rc<Self>) {
        while let Some((batch, index)) = self.next_arrival() {
            let (Some(protocol), Some((data, arrival))) = (self.protocol(), batch.get(index)) else { break };
            if arrival.truncated {
                protocol.error_received(io::Error::from_raw_os_error(EMSGSIZE), Doing::Receiving);
            } else {
                protocol.datagram_received(data, &arrival.sender);
            }
            if self.hub.ready.is_leaving() {
                break;
            }
        }
        self.queue_rest();
    }

    /// What is to be delivered now. The place moves on before anybody is called: a loop that is run from within a
    /// callback goes on where this one stands.
    fn next_arrival(&self) -> Option<(Rc<Batch>, usize)> {
        if self.closing.get() {
            self.drop_arrived();
        }
        if self.paused.get() {
            return None;
        }
        let batch = self.arrived.borrow().clone()?;
        let index = self.next.get();
        if index == batch.len() {
            drop(batch);
            self.drop_arrived();
            return None;
        }
        self.next.set(index + 1);
        Some((batch, index))
    }

    fn drop_arrived(&self) {
        if let Some(batch) = self.arrived.take() {
            self.hub.return_batch(batch);
        }
    }

    /// What is left of a batch is news that the kernel will not tell again.
    fn queue_rest(self: &Rc<Self>) {
        if self.arrived.borrow().is_some() && self.is_reading() && !self.rest_queued.replace(true) {
            self.hub.ready.push(Runnable::from_rc(Rc::clone(self), REST));
        }
    }

    fn deliver_rest(self: &Rc<Self>) {
        self.rest_queued.set(false);
        self.deliver();
    }

    fn interest(&self) -> Interest {
        let read = self.reading.get() && self.is_reading();
        let wanted = if read { Interest::READ } else { Interest::NONE };
        if self.blocked.get() { wanted.union(Interest::WRITE) } else { wanted }
    }

    fn update_interest(self: &Rc<Self>) {
        if self.lost.get() {
            return;
        }
        if let Some(protocol) = self.protocol() {
            self.hold(&*protocol);
        }
        let Some(registration) = self.registration() else { return };
        if let Err(error) = self.hub.reactor.set_interest(&registration, self.interest()) {
            self.give_up(Some(error), Cause::Transport);
        }
    }

    fn driver(&self) -> &Driver {
        self.hub.reactor.driver()
    }

    fn protocol(&self) -> Option<Rc<dyn DatagramProtocol>> {
        self.protocol.borrow().clone()
    }

    fn registration(&self) -> Option<Rc<Registration>> {
        self.registration.borrow().clone()
    }
}

impl Source for Datagram {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        if readiness.contains(Readiness::READ) {
            self.readable();
        }
        if readiness.contains(Readiness::WRITE) && self.blocked.get() && !self.hub.ready.is_leaving() {
            self.writable();
        }
    }

    fn visit(&self, visitor: Visitor<'_>) {
        if let Some(protocol) = &*self.protocol.borrow() {
            protocol.visit(visitor);
        }
    }

    fn owner(&self, visitor: Visitor<'_>) {
        if let Some(protocol) = self.protocol() {
            protocol.owner(visitor);
        }
    }

    fn abandon(&self) {
        self.registration.replace(None);
        if let Some(protocol) = self.protocol.take() {
            protocol.abandon();
        }
    }
}

impl Run for Datagram {
    fn run(self: Rc<Self>, arg: usize) {
        match arg {
            OPEN => self.opened(),
            REST => self.deliver_rest(),
            _ => self.report(),
        }
    }
}

#[cfg(test)]
mod tests;
