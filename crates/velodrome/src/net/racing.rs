//! Several addresses, one connection: "happy eyeballs", RFC 8305.
//!
//! A name often stands for an address of each family, of which one leads nowhere. So the next address is tried when the
//! last one has not answered for a while, and the first to connect wins. Who is tried when is the engine's to say
//! (`net::racing`); here are the sockets and the clock.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use velodrome_engine::hub::Hub;
use velodrome_engine::net::Race;
use velodrome_engine::net::address::interleave;
use velodrome_engine::net::racing::Step;
use velodrome_engine::sys::Peer;

use super::attempt::Attempt;
use super::options::Setup;
use crate::advice;
use crate::time::Alarm;

/// A socket that is connected to one of `addresses`, and to which. After `patience`, in nanoseconds, the next one is
/// tried too.
pub(super) async fn connect(
    hub: &Rc<Hub>,
    addresses: Vec<SocketAddr>,
    setup: Setup,
    patience: Option<u64>,
) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut racing = Racing::new(hub, interleave(addresses, 1), setup, patience);
    poll_fn(|cx| racing.poll(cx)).await
}

/// A socket that is connected to `peer`, where there is no other to try.
pub(super) async fn connect_one(hub: &Rc<Hub>, peer: &Peer, setup: &Setup) -> io::Result<OwnedFd> {
    let mut attempt = Attempt::begin(hub, peer, setup)?;
    poll_fn(|cx| attempt.poll(cx)).await
}

struct Racing {
    hub: Rc<Hub>,
    addresses: Vec<SocketAddr>,
    setup: Setup,
    race: Race<io::Error>,
    /// In the order of the addresses; none where it failed.
    attempts: Vec<Option<Attempt>>,
    /// When the next one is to start.
    next: Option<(u64, Alarm)>,
}

impl Racing {
    fn new(hub: &Rc<Hub>, addresses: Vec<SocketAddr>, setup: Setup, patience: Option<u64>) -> Self {
        let race = Race::new(addresses.len(), patience);
        Self { hub: Rc::clone(hub), addresses, setup, race, attempts: Vec::new(), next: None }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        for candidate in 0..self.attempts.len() {
            if let Some(socket) = self.poll_attempt(candidate, cx) {
                return Poll::Ready(Ok((socket, self.addresses[candidate])));
            }
        }
        loop {
            match self.race.step(self.hub.clock.now()) {
                Step::Start(candidate) => {
                    self.start(candidate);
                    if let Some(socket) = self.poll_attempt(candidate, cx) {
                        return Poll::Ready(Ok((socket, self.addresses[candidate])));
                    }
                }
                Step::Wait(until) => {
                    self.wake_at(until, cx);
                    return Poll::Pending;
                }
                // A winner has been returned when it won; after that nobody polls.
                Step::Won(_) | Step::Lost => return Poll::Ready(Err(self.failure())),
            }
        }
    }

    fn start(&mut self, candidate: usize) {
        let attempt = Attempt::begin(&self.hub, &self.addresses[candidate].into(), &self.setup);
        let attempt = attempt.map_err(|error| self.race.failed(candidate, error)).ok();
        self.attempts.push(attempt);
    }

    /// The socket, if this attempt has won.
    fn poll_attempt(&mut self, candidate: usize, cx: &Context<'_>) -> Option<OwnedFd> {
        let Poll::Ready(outcome) = self.attempts[candidate].as_mut()?.poll(cx) else { return None };
        self.attempts[candidate] = None;
        match outcome {
            Ok(socket) => self.race.succeeded(candidate).then_some(socket),
            Err(error) => {
                self.race.failed(candidate, error);
                None
            }
        }
    }

    /// Each attempt wakes us by itself; this is for the one that is still to start.
    fn wake_at(&mut self, until: Option<u64>, cx: &Context<'_>) {
        let Some(time) = until else { return };
        if self.next.as_ref().is_none_or(|(set, _)| *set != time) {
            self.next = Some((time, Alarm::at(&self.hub, time)));
        }
        if let Some((_, alarm)) = &self.next {
            let _pending = alarm.poll(cx);
        }
    }

    fn failure(&mut self) -> io::Error {
        let errors = std::mem::replace(&mut self.race, Race::new(0, None)).into_errors();
        advice::cannot_any("connect to", self.addresses.iter().copied().zip(errors).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use velodrome_engine::clock::Clock;
    use velodrome_engine::driver::{Driver, Timeout};
    use velodrome_engine::event_loop::EventLoop;
    use velodrome_engine::sys;

    use super::*;

    /// In nanoseconds; the clock stands still unless it is moved.
    const PATIENCE: u64 = 250_000_000;

    fn race(hub: &Rc<Hub>, addresses: Vec<SocketAddr>) -> Racing {
        Racing::new(hub, addresses, Setup::default(), Some(PATIENCE))
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn deserted() -> SocketAddr {
        listener().1
    }

    fn poll(racing: &mut Racing) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        racing.poll(&Context::from_waker(Waker::noop()))
    }

    #[track_caller]
    fn decided(engine: &EventLoop, racing: &mut Racing) -> io::Result<(OwnedFd, SocketAddr)> {
        for _ in 0..10 {
            if let Poll::Ready(outcome) = poll(racing) {
                return outcome;
            }
            // A kernel decides about the loopback within any second.
            engine.wait(Timeout::After(1_000_000_000)).unwrap();
            engine.dispatch();
            let _ = engine.run_ready();
        }
        panic!("nobody connects");
    }

    #[test]
    fn the_next_address_is_tried_after_a_while_and_the_first_to_connect_wins() {
        let (clock, hand) = Clock::manual();
        let engine = EventLoop::with(Driver::new().unwrap(), clock).unwrap();
        let ((_quick, first), (slow, second)) = (listener(), listener());
        // While the loop is not asked, no address has answered.
        let mut racing = race(engine.hub(), vec![first, second]);
        assert!(poll(&mut racing).is_pending());
        hand.advance(PATIENCE - 1);
        assert!(poll(&mut racing).is_pending());
        assert_eq!((racing.attempts.len(), engine.hub().reactor.len()), (1, 1));
        hand.advance(1);
        assert!(poll(&mut racing).is_pending());
        assert_eq!((racing.attempts.len(), engine.hub().reactor.len()), (2, 2));

        let (socket, address) = decided(&engine, &mut racing).unwrap();
        assert_eq!((address, sys::getpeername(socket.as_raw_fd()).unwrap()), (first, first.into()));
        drop(racing);
        assert!(engine.hub().reactor.is_empty());
        let (mut loser, _) = slow.accept().unwrap();
        assert_eq!(loser.read(&mut [0; 1]).unwrap(), 0, "the other attempt was given up");
    }

    #[test]
    fn the_clock_wakes_who_waits_for_the_next_address() {
        let (clock, hand) = Clock::manual();
        let engine = EventLoop::with(Driver::new().unwrap(), clock).unwrap();
        let ((_quick, first), (_slow, second)) = (listener(), listener());
        let mut racing = race(engine.hub(), vec![first, second]);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(racing.poll(&Context::from_waker(&waker)).is_pending());
        hand.advance(PATIENCE);
        engine.expire(hand.now());
        let _ = engine.run_ready();
        assert!(woken.0.load(Ordering::Relaxed));
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_refuses_is_passed_over_at_once() {
        let engine = EventLoop::with(Driver::new().unwrap(), Clock::manual().0).unwrap();
        let (_listener, good) = listener();
        let mut racing = race(engine.hub(), vec![deserted(), good]);
        assert_eq!(decided(&engine, &mut racing).unwrap().1, good);
    }

    #[test]
    fn when_all_fail_each_is_told() {
        let engine = EventLoop::with(Driver::new().unwrap(), Clock::manual().0).unwrap();
        let bad = [deserted(), deserted()];
        let error = decided(&engine, &mut race(engine.hub(), bad.to_vec())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(bad.iter().all(|address| error.to_string().contains(&address.to_string())), "{error}");
        assert!(engine.hub().reactor.is_empty());
    }

    #[test]
    fn giving_up_leaves_nothing_behind() {
        let engine = EventLoop::with(Driver::new().unwrap(), Clock::manual().0).unwrap();
        let (_listener, address) = listener();
        let mut racing = race(engine.hub(), vec![address, deserted()]);
        assert!(poll(&mut racing).is_pending());
        drop(racing);
        assert!(engine.hub().reactor.is_empty());
        assert_eq!(engine.hub().timer_count(), 0);
    }
}
