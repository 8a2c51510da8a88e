//! Who stands between the engine and a user's datagram protocol.

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use velodrome_engine::sys::Peer;
use velodrome_engine::transport::datagram::{Datagram, DatagramProtocol as EngineProtocol, Doing};

use super::DatagramProtocol;
use super::address::DatagramAddress;
use super::transport::DatagramTransport;
use crate::local::Local;
use crate::net::stale::Leftover;
use crate::protocol::host::Lend;
use crate::protocol::lender::{Called, Lender};
use crate::unhandled::Unhandled;
use crate::waiting::Waiter;

pub(super) struct DatagramHost<P, A> {
    local: Weak<Local>,
    lender: Lender<P>,
    /// None once it is lost. Until then the two hold each other.
    datagram: RefCell<Option<Rc<Datagram>>>,
    made: Cell<bool>,
    waiter: Waiter,
    /// The file of a Unix socket, which goes with it.
    leftover: Cell<Option<Leftover>>,
    address: PhantomData<fn(A)>,
}

impl<P: DatagramProtocol<A>, A: DatagramAddress> DatagramHost<P, A> {
    pub(super) fn new(local: &Rc<Local>, protocol: P, leftover: Option<Leftover>) -> Rc<Self> {
        Rc::new(Self {
            local: Rc::downgrade(local),
            lender: Lender::new(protocol),
            datagram: RefCell::default(),
            made: Cell::new(false),
            waiter: Waiter::default(),
            leftover: Cell::new(leftover),
            address: PhantomData,
        })
    }

    pub(super) fn attach(&self, datagram: Rc<Datagram>) {
        self.datagram.replace(Some(datagram));
    }

    pub(super) fn poll_made(&self, cx: &Context<'_>) -> Poll<()> {
        if self.made.get() {
            return Poll::Ready(());
        }
        self.waiter.wait(cx);
        Poll::Pending
    }

    fn datagram(&self) -> Option<Rc<Datagram>> {
        self.datagram.borrow().clone()
    }

    fn call(&self, name: &str, callback: impl FnOnce(&mut P)) {
        match self.lender.call(callback) {
            Called::Returned(()) => self.settle(),
            Called::Panicked => self.fail(name),
            Called::Busy => {}
        }
    }

    fn settle(&self) {
        if let Some(pause) = self.lender.take_owed() {
            self.tell(pause);
        }
    }

    fn tell(&self, pause: bool) {
        if self.lender.may_tell(pause) {
            match pause {
                true => self.call("pause_writing", P::pause_writing),
                false => self.call("resume_writing", P::resume_writing),
            }
        }
    }

    fn fail(&self, name: &str) {
        let error = || io::Error::other(format!("{name} panicked"));
        if let Some(local) = self.local.upgrade() {
            local.report(&Unhandled::new("a datagram socket is aborted", error()));
        }
        if let Some(datagram) = self.datagram() {
            datagram.abort(Some(error()));
        }
    }

    fn end(&self, error: Option<io::Error>) {
        let datagram = self.datagram.take();
        drop(self.leftover.take());
        if self.made.replace(true) {
            self.call("connection_lost", |protocol| protocol.connection_lost(error));
        } else {
            // It was never told of the socket: the loop ended before.
            self.waiter.wake();
        }
        drop(datagram);
    }
}

impl<P, A> Drop for DatagramHost<P, A> {
    fn drop(&mut self) {
        self.lender.drop_protocol(&self.local);
    }
}

impl<P: DatagramProtocol<A>, A: DatagramAddress> EngineProtocol for DatagramHost<P, A> {
    fn connection_made(&self) {
        let Some(datagram) = self.datagram() else { return };
        self.call("connection_made", |protocol| protocol.connection_made(DatagramTransport::new(datagram)));
        self.made.set(true);
        self.waiter.wake();
    }

    fn datagram_received(&self, data: &[u8], sender: &Peer) {
        // Who sends to a socket is of its own family.
        if let Some(sender) = A::of(sender) {
            self.call("datagram_received", |protocol| protocol.datagram_received(data, sender));
        }
    }

    fn error_received(&self, error: io::Error, _doing: Doing) {
        self.call("error_received", |protocol| protocol.error_received(error));
    }

    fn pause_writing(&self) {
        self.tell(true);
    }

    fn resume_writing(&self) {
        self.tell(false);
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        self.end(error);
    }

    fn abandon(&self) {
        self.end(Some(io::Error::other("the event loop of this socket has ended")));
    }
}

impl<P: DatagramProtocol<A>, A: DatagramAddress> Lend<P> for DatagramHost<P, A> {
    fn lend(&self, borrower: &mut dyn FnMut(&mut P)) -> bool {
        let lent = self.lender.lend(borrower);
        if lent {
            self.settle();
        }
        lent
    }
}
