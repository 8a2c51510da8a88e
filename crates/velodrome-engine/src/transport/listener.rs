//! A listening socket: accepts what waits, and survives a process that is out of descriptors.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;

use crate::census::Member;
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
    /// The system is out of descriptors or memory, or forbids every connection; the listener tries again in [`RETRY_DELAY`].
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

/// Errors that concern one connection that is gone already, and not the listener: ECONNABORTED, EPROTO, the network
/// errors that accept(2) passes on from the new socket (ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
/// EOPNOTSUPP, ENETUNREACH, ECONNRESET), to be treated like EAGAIN as its page says, and what the page knows of various
/// kernels (ETIMEDOUT, ENOSR, ESOCKTNOSUPPORT, EPROTONOSUPPORT).
const PASSING: [i32; 14] = [103, 71, 100, 92, 112, 64, 113, 95, 101, 104, 110, 63, 94, 93];

/// Errors that say that somebody forbids the connection, a firewall or a security module: EPERM, EACCES. Some take it out
/// of the queue, and the next one may come; others leave it there, and accept would say the same for ever.
const FORBIDDEN: [i32; 2] = [1, 13];

/// So many connections that are forbidden one after the other are taken for one that stays in the queue: then a
/// listener rests. As many as asyncio lets wait.
const FORBEARANCE: usize = 100;

/// A descriptor that listens. It is lent: whoever made it closes it, after [`Listener::stop`].
pub struct Listener {
    hub: Rc<Hub>,
    fd: RawFd,
    backlog: usize,
    acceptor: RefCell<Option<Rc<dyn Acceptor>>>,
    registration: RefCell<Option<Rc<Registration>>>,
    retry: Cell<Option<TimerKey>>,
    /// How many have been forbidden since there was another answer.
    forbidden: Cell<usize>,
    _member: Member,
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
            forbidden: Cell::default(),
            _member: Member::of("listener"),
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
                self.forbidden.set(0);
                acceptor.accepted(socket, peer);
                true
            }
            Err(error) => self.stumbled(acceptor, error),
        }
    }

    /// Whether to go on accepting after `error`.
    fn stumbled(self: &Rc<Self>, acceptor: &dyn Acceptor, error: io::Error) -> bool {
        let code = error.raw_os_error().unwrap_or(0);
        let forbidden = FORBIDDEN.contains(&code);
        self.forbidden.set(if forbidden { self.forbidden.get() + 1 } else { 0 });
        if EXHAUSTED.contains(&code) || self.forbidden.get() > FORBEARANCE {
            self.rest();
            acceptor.exhausted(error);
            return false;
        }
        let passing = forbidden || PASSING.contains(&code);
        if error.kind() != io::ErrorKind::WouldBlock && !passing {
            acceptor.failed(error);
        }
        passing
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::sys;
    use crate::testing::world::{FD, Log, World};

    /// Writes down what it is told, and stops its listener when it has accepted `stop_after`.
    struct Counts {
        log: Log,
        stop_after: Cell<usize>,
        listener: RefCell<Option<Rc<Listener>>>,
    }

    impl Acceptor for Counts {
        fn accepted(&self, _socket: OwnedFd, peer: Peer) {
            self.log.add(peer.as_socket_addr().unwrap().port());
            self.stop_after.set(self.stop_after.get() - 1);
            if self.stop_after.get() == 0 {
                self.listener.take().unwrap().stop();
            }
        }

        fn exhausted(&self, error: io::Error) {
            self.log.add(format!("exhausted {}", error.raw_os_error().unwrap()));
        }

        fn failed(&self, error: io::Error) {
            self.log.add(format!("failed {}", error.raw_os_error().unwrap()));
        }

        fn abandon(&self) {
            self.log.add("abandoned");
            self.listener.replace(None);
        }
    }

    fn listening(world: &World, backlog: usize) -> (Rc<Listener>, Rc<Counts>) {
        let counts = Rc::new(Counts {
            log: Log::default(),
            stop_after: Cell::new(usize::MAX),
            listener: RefCell::default(),
        });
        let listener = Listener::start(world.hub(), FD, backlog, Rc::clone(&counts) as Rc<_>).unwrap();
        counts.listener.replace(Some(Rc::clone(&listener)));
        (listener, counts)
    }

    fn arrive(world: &World, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            let peer = SocketAddr::from(([192, 0, 2, 1], port)).into();
            world.script.arrive(FD, sys::socketpair().unwrap().0, peer);
        }
    }

    #[test]
    fn accepts_what_waits_up_to_the_backlog_in_a_turn() {
        let world = World::new();
        let (_listener, counts) = listening(&world, 3);
        arrive(&world, 1..=4);
        world.turn();
        assert_eq!(counts.log.take(), ["1", "2", "3"]);
        world.turn();
        assert_eq!(counts.log.take(), ["4"]);
        world.turn();
        assert!(counts.log.take().is_empty());
    }

    #[test]
    fn may_be_stopped_by_its_acceptor() {
        let world = World::new();
        let (_listener, counts) = listening(&world, 9);
        counts.stop_after.set(2);
        arrive(&world, 1..=4);
        world.settle();
        assert_eq!(counts.log.take(), ["1", "2"]);
        assert_eq!((world.script.interest(FD), world.hub().reactor.len()), (None, 0));
    }

    #[test]
    fn rests_when_descriptors_run_out_and_comes_back() {
        for errno in EXHAUSTED {
            let world = World::new();
            let (_listener, counts) = listening(&world, 9);
            world.script.fail(FD, errno);
            arrive(&world, [1]);
            world.turn();
            assert_eq!(counts.log.take(), [format!("exhausted {errno}")]);
            assert_eq!(world.script.interest(FD), None, "or the loop would spin");
            world.settle();
            world.hand.advance(RETRY_DELAY - 1);
            world.settle();
            assert!(counts.log.take().is_empty());
            world.hand.advance(1);
            world.settle();
            assert_eq!(counts.log.take(), ["1"]);
        }
    }

    #[test]
    fn does_not_come_back_from_its_rest_once_it_is_stopped() {
        let world = World::new();
        let (listener, counts) = listening(&world, 9);
        world.script.fail(FD, EXHAUSTED[0]);
        world.turn();
        listener.stop();
        listener.stop();
        assert_eq!(world.hub().timer_count(), 0);
        world.hand.advance(RETRY_DELAY * 2);
        arrive(&world, [1]);
        world.settle();
        assert_eq!((counts.log.take().len(), world.script.interest(FD)), (1, None));
    }

    #[test]
    fn a_connection_that_went_before_it_came_is_passed_over() {
        for errno in PASSING.into_iter().chain(FORBIDDEN) {
            let world = World::new();
            let (_listener, counts) = listening(&world, 9);
            world.script.fail(FD, errno);
            arrive(&world, [1]);
            world.turn();
            assert_eq!(counts.log.take(), ["1"], "after {errno}");
        }
    }

    #[test]
    fn rests_when_every_connection_is_forbidden() {
        for errno in FORBIDDEN {
            let world = World::new();
            // One is accepted in a turn.
            let (_listener, counts) = listening(&world, 1);
            let forbid = |times| {
                for _ in 0..times {
                    world.script.fail(FD, errno);
                    world.turn();
                }
            };
            for _ in 0..2 {
                forbid(FORBEARANCE);
                arrive(&world, [1]);
                world.turn();
                assert_eq!(counts.log.take(), ["1"], "others are served");
            }
            forbid(FORBEARANCE + 1);
            assert_eq!(counts.log.take(), [format!("exhausted {errno}")]);
            assert_eq!(world.script.interest(FD), None, "or the loop would spin");
            arrive(&world, [2]);
            world.hand.advance(RETRY_DELAY);
            world.settle();
            assert_eq!(counts.log.take(), ["2"]);
        }
    }

    #[test]
    fn an_error_of_its_own_is_told_and_it_goes_on_listening() {
        let world = World::new();
        let (_listener, counts) = listening(&world, 9);
        world.script.fail(FD, 22);
        arrive(&world, [1]);
        world.turn();
        assert_eq!(counts.log.take(), ["failed 22"]);
        world.turn();
        assert_eq!(counts.log.take(), ["1"]);
    }

    #[test]
    fn a_descriptor_is_listened_to_once() {
        let world = World::new();
        let (_listener, counts) = listening(&world, 9);
        let again = Listener::start(world.hub(), FD, 9, Rc::clone(&counts) as Rc<_>);
        assert_eq!(again.err().map(|error| error.kind()), Some(io::ErrorKind::AlreadyExists));
    }

    #[test]
    fn is_abandoned_with_its_loop() {
        let world = World::new();
        let (listener, counts) = listening(&world, 9);
        arrive(&world, [1]);
        world.engine.close();
        world.settle();
        assert_eq!(counts.log.take(), ["abandoned"]);
        assert_eq!((Rc::strong_count(&listener), Rc::strong_count(&counts)), (1, 1));
    }
}
