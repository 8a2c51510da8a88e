//! The turn of the loop: wait, read the answers, send as many messages again.

use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::args::{Args, Mode};
use crate::budget::{Budget, Limit, now};
use crate::client::Client;
use crate::report::Run;

/// A server that is silent for so long has failed (TCP) or lost a datagram (UDP).
const SILENCE: Duration = Duration::from_secs(20);
const SILENCE_UDP: Duration = Duration::from_millis(200);

pub(crate) struct Drive<'a> {
    args: &'a Args,
    message: Vec<u8>,
    buffer: Vec<u8>,
    poll: Poll,
    clients: Vec<Client>,
}

impl<'a> Drive<'a> {
    pub(crate) fn connect(args: &'a Args) -> io::Result<Self> {
        let (poll, message) = (Poll::new()?, args.message());
        let mut drive = Self { args, message, buffer: vec![0; 256 * 1024], poll, clients: Vec::new() };
        for index in 0..args.connections {
            let client = drive.open(index)?;
            drive.clients.push(client);
        }
        Ok(drive)
    }

    fn open(&self, index: usize) -> io::Result<Client> {
        let mut client = Client::open(self.args)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(client.wire.source(), Token(index), interest)?;
        Ok(client)
    }

    /// Send and receive until the limit is reached and nothing is in flight.
    pub(crate) fn phase(&mut self, limit: Limit) -> io::Result<Run> {
        let (mut budget, mut run) = (Budget::new(limit), Run::begin());
        for index in 0..self.clients.len() {
            self.refill(index, &mut budget)?;
        }
        let mut events = Events::with_capacity(1024);
        while self.clients.iter().any(|client| client.in_flight() > 0) {
            self.poll.poll(&mut events, Some(self.silence()))?;
            budget.look_at_clock();
            if events.is_empty() {
                self.silent(&mut budget, &mut run)?;
            }
            for event in &events {
                self.ready(event.token().0, event.is_readable(), &mut budget, &mut run)?;
            }
        }
        run.end();
        Ok(run)
    }

    fn silence(&self) -> Duration {
        if self.args.mode == Mode::Udp { SILENCE_UDP } else { SILENCE }
    }

    fn silent(&mut self, budget: &mut Budget, run: &mut Run) -> io::Result<()> {
        if self.args.mode != Mode::Udp {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server is silent"));
        }
        for index in 0..self.clients.len() {
            run.lost += self.clients[index].forget() as u64;
            self.refill(index, budget)?;
        }
        Ok(())
    }

    fn ready(&mut self, index: usize, readable: bool, budget: &mut Budget, run: &mut Run) -> io::Result<()> {
        let client = &mut self.clients[index];
        client.flush(&self.message)?;
        if readable && client.in_flight() > 0 {
            client.collect(&mut self.buffer, &self.message, |latency| run.record(latency))?;
            self.refill(index, budget)?;
        }
        Ok(())
    }

    /// Bring a connection back to its depth, as far as the budget goes.
    fn refill(&mut self, index: usize, budget: &mut Budget) -> io::Result<()> {
        if self.args.mode == Mode::Connect {
            return self.reconnect(index, budget);
        }
        while self.clients[index].in_flight() < self.args.depth && budget.take() {
            self.clients[index].ask(now(), &self.message)?;
        }
        Ok(())
    }

    /// The old connection closes as the new one takes its place.
    fn reconnect(&mut self, index: usize, budget: &mut Budget) -> io::Result<()> {
        if self.clients[index].in_flight() == 0 && budget.take() {
            let since = now();
            self.clients[index] = self.open(index)?;
            self.clients[index].ask(since, &self.message)?;
        }
        Ok(())
    }
}
