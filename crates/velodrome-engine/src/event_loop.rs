//! One turn of the loop: the only file that knows the order of its phases.
//!
//! The face drives: it calls [`EventLoop::timeout`], [`EventLoop::wait`], [`EventLoop::dispatch`],
//! [`EventLoop::expire`], [`EventLoop::run_ready`], in this order, which is asyncio's. So it alone decides when an
//! interpreter's lock is released (around a wait that blocks), what the time is, and how an exception leaves.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Clock;
use crate::driver::{Driver, Interest, Key, Timeout};
use crate::hub::Hub;
use crate::reactor::Reactor;
use crate::ready::{Flow, SendRunnable, Visitor};
use crate::wakeup::Inbox;

/// Of no registration: those count from zero, and their generations have 31 bits.
const INBOX_KEY: Key = Key(u64::MAX - 1);

/// A loop: a hub, and the door through which other threads reach it.
pub struct EventLoop {
    hub: Rc<Hub>,
    inbox: Arc<Inbox<SendRunnable>>,
    arrivals: RefCell<Vec<SendRunnable>>,
    stopping: Cell<bool>,
}

impl EventLoop {
    /// A loop over the driver that the environment asks for, or the platform's best.
    ///
    /// # Errors
    /// What the kernel says when a descriptor is not to be had, or InvalidInput for an unknown `VELODROME_DRIVER`.
    pub fn new() -> io::Result<Self> {
        Self::with(Driver::from_env()?, Clock::monotonic())
    }

    /// A loop over a driver and a clock of one's own.
    ///
    /// # Errors
    /// What the kernel says when a descriptor is not to be had.
    pub fn with(driver: Driver, clock: Clock) -> io::Result<Self> {
        let inbox = Inbox::new()?;
        driver.add(inbox.fd(), INBOX_KEY, Interest::READ)?;
        let hub = Hub::new(Reactor::new(driver), clock);
        Ok(Self { hub, inbox, arrivals: RefCell::default(), stopping: Cell::new(false) })
    }

    /// What transports know of this loop.
    #[must_use]
    pub fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    /// The door for other threads.
    #[must_use]
    pub fn inbox(&self) -> &Arc<Inbox<SendRunnable>> {
        &self.inbox
    }

    /// Ask the loop to end after the batch that is running: asyncio's `stop`, which cuts no batch short.
    pub fn set_stopping(&self, stopping: bool) {
        self.stopping.set(stopping);
    }

    /// Whether the loop was asked to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Phase 1: how long the wait may last.
    #[must_use]
    pub fn timeout(&self, now: u64) -> Timeout {
        if self.stopping.get() || !self.hub.ready.is_empty() {
            return Timeout::Zero;
        }
        match self.hub.next_deadline() {
            None => Timeout::Never,
            Some(deadline) if deadline <= now => Timeout::Zero,
            Some(deadline) => Timeout::After(deadline - now),
        }
    }

    /// Phase 2: ask the kernel. Touches nothing that another thread may reach.
    ///
    /// # Errors
    /// What the driver says; an interrupted wait is no error, so that the face can look at its signals.
    pub fn wait(&self, timeout: Timeout) -> io::Result<()> {
        self.hub.reactor.wait(timeout)
    }

    /// Phase 3: queue what other threads sent, then what the wait found.
    pub fn dispatch(&self) {
        let mut arrivals = self.arrivals.take();
        self.inbox.drain(&mut arrivals);
        arrivals.drain(..).for_each(|arrival| self.hub.ready.push(arrival.into_inner()));
        self.arrivals.replace(arrivals);
        self.hub.reactor.dispatch(&self.hub.ready);
    }

    /// Phase 4: queue the timers that are due.
    pub fn expire(&self, now: u64) {
        self.hub.expire(now);
    }

    /// Phase 5: run what is queued now, then the gathered writes.
    pub fn run_ready(&self) -> Flow {
        self.hub.run_batch()
    }

    /// A whole turn, for a face that has no lock to release.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn turn(&self) -> io::Result<Flow> {
        let timeout = self.timeout(self.hub.clock.now());
        self.wait(timeout)?;
        self.dispatch();
        self.expire(self.hub.clock.now());
        Ok(self.run_ready())
    }

    /// Show the host objects that the loop keeps alive.
    pub fn visit(&self, visitor: Visitor<'_>) {
        self.hub.visit(visitor);
    }

    /// Drop all that waits and stop listening. The loop can be used no more by other threads.
    pub fn close(&self) {
        drop(self.inbox.close());
        self.hub.clear();
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.close();
    }
}
