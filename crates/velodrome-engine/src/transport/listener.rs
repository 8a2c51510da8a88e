//! A listening socket: accepts what waits, and survives a process that is out of descriptors.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;

use crate::driver::{Interest, Readiness};
use crate::hub::Hub;
use crate::reactor::{Registration, Source};
use crate::ready::{Run, Runnable, Visitor};
use crate::sys::Peer;
use crate::timers::TimerKey;

/// Who is told of connections.
pub trait Acceptor {
    /// A connection, non-blocking and close-on-exec.
    fn accepted(&self, socket: OwnedFd, peer: Peer);
    /// The system is out of descriptors or memory; the listener tries again in [`RETRY_DELAY`].
    fn exhausted(&self, error: io::Error);
    /// The listening socket itself failed, and is still listened to.
    fn failed(&self, error: io::Error);
    /// The loop is going away: let go of everything, call no one.
    fn abandon(&self) {}
    /// Show the host objects held.
    fn visit(&self, _visitor: Visitor<'_>) {}
}

/// How long a listener rests when descriptors have run out: the kernel would go on reporting it ready, and the loop
/// would spin. asyncio's ACCEPT_RETRY_DELAY, in nanoseconds.
pub const RETRY_DELAY: u64 = 1_000_000_000;

/// Errors of accept that say the system is out of something: EMFILE, ENFILE, ENOBUFS, ENOMEM.
const EXHAUSTED: [i32; 4] = [24, 23, 105, 12];

/// Errors that concern one connection that is gone already, and not the listener: ECONNABORTED, EPROTO, and the network
/// errors that accept(2) passes on from the new socket (ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
/// EOPNOTSUPP, ENETUNREACH), to be treated like EAGAIN as its page says.
const PASSING: [i32; 9] = [103, 71, 100, 92, 112, 64, 113, 95, 101];

/// A descriptor that listens. It is lent: whoever made it closes it, after [`Listener::stop`].
pub struct Listener {
    hub: Rc<Hub>,
    fd: RawFd,
    backlog: usize,
    acceptor: RefCell<Option<Rc<dyn Acceptor>>>,
    registration: RefCell<Option<Rc<Registration>>>,
    retry: Cell<Option<TimerKey>>,
}

impl Listener {
    /// Begin to accept on `fd`, at most `backlog` connections in a turn.
    ///
    /// # Errors
    /// What the kernel says of the descriptor, or AlreadyExists if it is listened to already.
    pub fn start(
        hub: &Rc<Hub>,
        fd: RawFd,
        backlog: usize,
        acceptor: Rc<dyn Acceptor>,
    ) -> io::Result<Rc<Self>> {
        let listener = Rc::new(Self {
            hub: Rc::clone(hub),
            fd,
            backlog: backlog.max(1),
            acceptor: RefCell::new(Some(acceptor)),
            registration: RefCell::default(),
            retry: Cell::default(),
        });
        let source: Rc<dyn Source> = Rc::clone(&listener) as Rc<dyn Source>;
        let registration = hub.reactor.register(fd, source, Interest::READ)?;
        listener.registration.replace(Some(registration));
        Ok(listener)
    }

    /// The listening descriptor.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Accept no more. The descriptor may be closed afterwards.
    pub fn stop(&self) {
        if let Some(key) = self.retry.take() {
            drop(self.hub.cancel_timer(key));
        }
        if let Some(registration) = self.registration.take() {
            drop(self.hub.reactor.deregister(&registration));
        }
        drop(self.acceptor.take());
    }

    fn accept_one(self: &Rc<Self>, acceptor: &dyn Acceptor) -> bool {
        match self.hub.reactor.driver().accept(self.fd) {
            Ok((socket, peer)) => {
                acceptor.accepted(socket, peer);
                true
            }
            Err(error) => self.stumbled(acceptor, error),
        }
    }

    /// Whether to go on accepting after `error`.
    fn stumbled(self: &Rc<Self>, acceptor: &dyn Acceptor, error: io::Error) -> bool {
        let code = error.raw_os_error().unwrap_or(0);
        if EXHAUSTED.contains(&code) {
            self.rest();
            acceptor.exhausted(error);
            return false;
        }
        if error.kind() != io::ErrorKind::WouldBlock && !PASSING.contains(&code) {
            acceptor.failed(error);
            return false;
        }
        PASSING.contains(&code)
    }

    fn rest(self: &Rc<Self>) {
        let Some(registration) = self.registration.borrow().clone() else { return };
        let _ = self.hub.reactor.set_interest_now(&registration, Interest::NONE);
        let deadline = self.hub.clock.now().saturating_add(RETRY_DELAY);
        self.retry.set(Some(self.hub.call_at(deadline, Runnable::from_rc(Rc::clone(self), 0))));
    }
}

impl Source for Listener {
    fn ready(self: Rc<Self>, _readiness: Readiness) {
        for _ in 0..self.backlog {
            // The acceptor may stop us from within a call.
            let Some(acceptor) = self.acceptor.borrow().clone() else { return };
            if !self.accept_one(&*acceptor) {
                return;
            }
        }
    }

    fn visit(&self, visitor: Visitor<'_>) {
        if let Some(acceptor) = &*self.acceptor.borrow() {
            acceptor.visit(visitor);
        }
    }

    fn abandon(&self) {
        self.registration.replace(None);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.abandon();
        }
    }
}

impl Run for Listener {
    /// The rest is over.
    fn run(self: Rc<Self>, _: usize) {
        self.retry.set(None);
        let Some(registration) = self.registration.borrow().clone() else { return };
        let _ = self.hub.reactor.set_interest_now(&registration, Interest::READ);
    }
}
