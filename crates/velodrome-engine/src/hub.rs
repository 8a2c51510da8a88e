//! What a transport may know of the loop it lives on: the ready queue, the timers, the reactor, the clock.
//!
//! It exists so that transports need not know the event loop, which knows the order of a turn's phases and nothing
//! else. One hub belongs to one thread; all its state sits in cells, and no borrow outlives a method of this file.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::clock::Clock;
use crate::reactor::Reactor;
use crate::ready::{Flow, ReadyQueue, Runnable, Visitor};
use crate::timers::{TimerKey, Timers};

/// The buffer that all transports of a loop read into before the face copies out what arrived. As asyncio's max_size:
/// a whole socket buffer in one call. One per loop, because 256 KiB allocated per message is above malloc's mmap
/// threshold and would cost three system calls and its page faults every time.
pub const SCRATCH: usize = 256 * 1024;

/// The parts of a loop that transports share.
pub struct Hub {
    /// What is due now.
    pub ready: ReadyQueue,
    /// Who listens to which descriptor.
    pub reactor: Reactor,
    /// Where time comes from.
    pub clock: Clock,
    timers: RefCell<Timers<Runnable>>,
    turn_end: RefCell<Vec<Runnable>>,
    scratch: Cell<Option<Box<[u8]>>>,
    turn: Cell<u64>,
    in_batch: Cell<bool>,
}

impl Hub {
    /// A hub over a reactor and a clock.
    #[must_use]
    pub fn new(reactor: Reactor, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            ready: ReadyQueue::new(),
            reactor,
            clock,
            timers: RefCell::new(Timers::new()),
            turn_end: RefCell::default(),
            scratch: Cell::new(None),
            turn: Cell::new(0),
            in_batch: Cell::new(false),
        })
    }

    /// Let `runnable` become due at `deadline`, in nanoseconds of the clock.
    pub fn call_at(&self, deadline: u64, runnable: Runnable) -> TimerKey {
        self.timers.borrow_mut().insert(deadline, runnable)
    }

    /// Take back what has not become due. The caller drops it: its drop may run foreign code.
    pub fn cancel_timer(&self, key: TimerKey) -> Option<Runnable> {
        self.timers.borrow_mut().cancel(key)
    }

    /// The deadline of the timer that is due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.borrow_mut().next_deadline()
    }

    /// How many timers wait.
    #[must_use]
    pub fn timer_count(&self) -> usize {
        self.timers.borrow().len()
    }

    /// Look at each waiting timer, in no order.
    pub fn for_each_timer(&self, mut look: impl FnMut(u64, &Runnable)) {
        self.timers.borrow().iter().for_each(|(deadline, runnable)| look(deadline, runnable));
    }

    /// Queue the timers that are due at `now`, in the order of their deadlines.
    pub fn expire(&self, now: u64) {
        let mut timers = self.timers.borrow_mut();
        while let Some(runnable) = timers.pop_due(now) {
            self.ready.push(runnable);
        }
    }

    /// Run `runnable` when the present batch of callbacks has run, before the loop asks the kernel again: where
    /// gathered writes leave.
    pub fn at_turn_end(&self, runnable: Runnable) {
        self.turn_end.borrow_mut().push(runnable);
    }

    /// One batch of what is due, then what was put off to its end.
    pub fn run_batch(&self) -> Flow {
        self.turn.set(self.turn.get().wrapping_add(1));
        let was_in_batch = self.in_batch.replace(true);
        let flow = self.ready.run_batch();
        self.in_batch.set(was_in_batch);
        self.end_turn();
        flow
    }

    /// Run what was put off; what that puts off in its turn waits for the next batch.
    fn end_turn(&self) {
        if self.turn_end.borrow().is_empty() {
            return;
        }
        let mut deferred = self.turn_end.take();
        deferred.drain(..).for_each(Runnable::run);
        let mut list = self.turn_end.borrow_mut();
        if list.is_empty() {
            // Keeps the vector's memory: a busy server defers in every turn.
            *list = deferred;
        }
    }

    /// The number of the present turn; wraps around.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.turn.get()
    }

    /// Whether a batch of callbacks is running, so that [`Self::at_turn_end`] will come soon.
    #[must_use]
    pub fn in_batch(&self) -> bool {
        self.in_batch.get()
    }

    /// Use the shared read buffer. It is taken out meanwhile, not borrowed: a face that re-enters (a greenlet switch in
    /// the middle of a callback) gets another one.
    pub fn with_scratch<R>(&self, use_it: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut buffer = self.scratch.take().unwrap_or_else(|| vec![0; SCRATCH].into_boxed_slice());
        let result = use_it(&mut buffer);
        self.scratch.set(Some(buffer));
        result
    }

    /// Show the host objects that the loop keeps alive.
    pub fn visit(&self, visitor: Visitor<'_>) {
        self.ready.for_each(|runnable| runnable.visit(&mut *visitor));
        self.for_each_timer(|_, runnable| runnable.visit(&mut *visitor));
        self.turn_end.borrow().iter().for_each(|runnable| runnable.visit(&mut *visitor));
        self.reactor.visit(visitor);
    }

    /// Drop everything that waits, unrun, and stop listening to everything. Nothing is borrowed while foreign code is
    /// dropped.
    pub fn clear(&self) {
        drop(self.ready.take());
        drop(self.turn_end.take());
        let timers = self.timers.borrow_mut().clear();
        drop(timers);
        for registration in self.reactor.registrations() {
            if let Some(source) = self.reactor.deregister(&registration) {
                source.abandon();
            }
        }
    }
}
