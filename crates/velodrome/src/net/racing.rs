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

use super::attempt::Attempt;
use crate::time::Alarm;

/// How long an address may be silent before the next one is tried too, in nanoseconds: 250 ms, as RFC 8305 recommends.
const PATIENCE: u64 = 250_000_000;

/// A socket that is connected to one of `addresses`, and to which.
pub(super) async fn connect(hub: &Rc<Hub>, addresses: Vec<SocketAddr>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut racing = Racing::new(hub, interleave(addresses, 1));
    poll_fn(|cx| racing.poll(cx)).await
}

struct Racing {
    hub: Rc<Hub>,
    addresses: Vec<SocketAddr>,
    race: Race<io::Error>,
    /// In the order of the addresses; none where it failed.
    attempts: Vec<Option<Attempt>>,
    /// When the next one is to start.
    next: Option<(u64, Alarm)>,
}

impl Racing {
    fn new(hub: &Rc<Hub>, addresses: Vec<SocketAddr>) -> Self {
        let race = Race::new(addresses.len(), Some(PATIENCE));
        Self { hub: Rc::clone(hub), addresses, race, attempts: Vec::new(), next: None }
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
                Step::Wait(Some(time)) if self.poll_next(time, cx).is_ready() => {}
                Step::Wait(_) => return Poll::Pending,
                // A winner has been returned when it won; after that nobody polls.
                Step::Won(_) | Step::Lost => return Poll::Ready(Err(self.failure())),
            }
        }
    }

    fn start(&mut self, candidate: usize) {
        let attempt = Attempt::begin(&self.hub, self.addresses[candidate]);
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

    fn poll_next(&mut self, time: u64, cx: &Context<'_>) -> Poll<()> {
        if self.next.as_ref().is_none_or(|(set, _)| *set != time) {
            self.next = Some((time, Alarm::at(&self.hub, time)));
        }
        self.next.as_ref().map_or(Poll::Ready(()), |(_, alarm)| alarm.poll(cx))
    }

    fn failure(&mut self) -> io::Error {
        let errors = std::mem::replace(&mut self.race, Race::new(0, None)).into_errors();
        let kind = errors.last().map_or(io::ErrorKind::NotFound, io::Error::kind);
        let each = self.addresses.iter().zip(errors).map(|(address, error)| format!("{address} ({error})"));
        io::Error::new(kind, format!("cannot connect to {}", each.collect::<Vec<_>>().join(", ")))
    }
}
