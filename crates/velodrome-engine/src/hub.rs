//! What a transport may know of the loop it lives on: the ready queue, the timers, the reactor, the clock.
//!
//! It exists so that transports need not know the event loop, which knows the order of a turn's phases and nothing
//! else. One hub belongs to one thread; all its state sits in cells, and no borrow outlives a method of this file.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::Waker;

use crate::clock::Clock;
use crate::putting_off::PuttingOff;
use crate::reactor::Reactor;
use crate::ready::{Flow, ReadyQueue, Run, Runnable, Visitor};
use crate::sys::Batch;
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
    put_off: PuttingOff,
    scratch: Cell<Option<Box<[u8]>>>,
    batch: Cell<Option<Rc<Batch>>>,
    turn: Cell<u64>,
    in_batch: Cell<bool>,
    /// A transport is telling its protocol what the kernel said.
    in_event: Cell<bool>,
    /// What was put off is not to be done: another process does it.
    forgets: Cell<bool>,
    /// Set by a face that lends what it writes.
    gathers: Cell<bool>,
    closed: Cell<bool>,
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
            put_off: PuttingOff::default(),
            scratch: Cell::new(None),
            batch: Cell::new(None),
            turn: Cell::new(0),
            in_batch: Cell::new(false),
            in_event: Cell::new(false),
            forgets: Cell::new(false),
            gathers: Cell::new(false),
            closed: Cell::new(false),
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

    /// Let the timer of `key` wake `waker`, if it does not already. False if it is no longer pending.
    #[inline]
    pub fn rearm(&self, key: TimerKey, waker: &Waker) -> bool {
        match self.timers.borrow().get(key) {
            None => return false,
            Some(there) if there.will_wake(waker) => return true,
            Some(_) => {}
        }
        // Foreign code runs when a waker is cloned, and when the old one is dropped: nothing is borrowed then.
        let runnable = Runnable::from_waker(waker.clone());
        let replaced = self.timers.borrow_mut().replace(key, runnable);
        replaced.is_ok()
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

    /// Let each waiting timer be exchanged, in no order. Neither this nor [`Self::with_timer`] may run foreign code.
    pub fn for_each_timer_mut(&self, mut change: impl FnMut(TimerKey, &mut Runnable)) {
        self.timers.borrow_mut().iter_mut().for_each(|(key, runnable)| change(key, runnable));
    }

    /// Let the timer of `key` be exchanged, if it is still pending.
    #[inline]
    pub fn with_timer<R>(&self, key: TimerKey, change: impl FnOnce(&mut Runnable) -> R) -> Option<R> {
        self.timers.borrow_mut().get_mut(key).map(change)
    }

    /// Queue the timers that are due at `now`, in the order of their deadlines.
    pub fn expire(&self, now: u64) {
        let mut timers = self.timers.borrow_mut();
        while let Some(runnable) = timers.pop_due(now) {
            self.ready.push(runnable);
        }
    }

    /// Run `runnable` when the present batch of callbacks has run, before the loop asks the kernel again, or a little
    /// sooner: where gathered writes leave.
    pub fn at_turn_end(&self, runnable: Runnable) {
        if !self.put_off.push(runnable, || self.clock.now()) {
            self.ready.pause();
        }
    }

    /// Let writes of different transports wait for each other: for a face that can lend what it writes, so that
    /// waiting copies nothing.
    pub fn gather_writes(&self) {
        self.gathers.set(true);
    }

    /// Whether writes wait for each other.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers.get()
    }

    /// Whether a write made now had better wait for others. It joins those that wait. Otherwise not when it answers
    /// what has just arrived: no other callback runs before the answer is there, and to keep it would cost more than is
    /// gained. Nor when nothing else is due, or few write.
    #[inline]
    #[must_use]
    pub fn expects_writes(&self) -> bool {
        if !self.gathers.get() {
            return false;
        }
        // Who joins is counted too: the next turn expects as many.
        let has_company = !self.in_event.get() && self.put_off.has_company(self.turn.get());
        (self.put_off.is_waiting() || has_company && self.ready.has_more()) && self.put_off.may_wait()
    }

    /// Tell a protocol what the kernel said.
    pub fn in_event(&self, tell: impl FnOnce()) {
        let outer = self.in_event.replace(true);
        tell();
        self.in_event.set(outer);
    }

    /// One batch of what is due, then what was put off to its end.
    pub fn run_batch(&self) -> Flow {
        self.run_batch_each(|| ())
    }

    /// The same, calling `before` ahead of each callback of the batch.
    #[inline]
    pub fn run_batch_each(&self, before: impl Fn()) -> Flow {
        self.turn.set(self.turn.get().wrapping_add(1));
        let was_in_batch = self.in_batch.replace(true);
        let flow = self.ready.run_batch_each(before, || self.end_turn());
        self.in_batch.set(was_in_batch);
        self.end_turn();
        if self.ready.take_leave() { Flow::Leave } else { flow }
    }

    /// Let go what was put off without doing it: in the child of a fork it is the parent's.
    pub fn forget_put_off(&self) {
        self.forgets.set(true);
        self.end_turn();
        self.forgets.set(false);
    }

    /// Whether what was put off, and runs now, is only to be forgotten.
    pub(crate) fn forgets(&self) -> bool {
        self.forgets.get()
    }

    /// Let go what was put off. A turn that begins within another, or after a switch out of one, may find something, and
    /// is about to sleep.
    pub fn end_turn(&self) {
        self.put_off.run(|| self.clock.now());
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
        if !self.closed.get() {
            self.scratch.set(Some(buffer));
        }
        result
    }

    /// The loop's memory for several datagrams, to be filled by `receive`. One per loop, as the read buffer is, and made
    /// when somebody first needs it.
    ///
    /// # Errors
    /// What `receive` says.
    pub fn receive_batch(&self, receive: impl FnOnce(&mut Batch) -> io::Result<()>) -> io::Result<Rc<Batch>> {
        let mut batch = self.batch.take().unwrap_or_default();
        // Somebody may still look into what was given back, further up the stack.
        let received = match Rc::get_mut(&mut batch) {
            Some(batch) => receive(batch),
            None => {
                batch = Rc::default();
                Rc::get_mut(&mut batch).map_or(Ok(()), receive)
            }
        };
        if let Err(error) = received {
            self.return_batch(batch);
            return Err(error);
        }
        Ok(batch)
    }

    /// Give the memory back for the next one who needs it.
    pub fn return_batch(&self, batch: Rc<Batch>) {
        if !self.closed.get() {
            self.batch.set(Some(batch));
        }
    }

    /// Show the host objects that the loop keeps alive.
    pub fn visit(&self, visitor: Visitor<'_>) {
        self.ready.for_each(|runnable| runnable.visit(&mut *visitor));
        self.for_each_timer(|_, runnable| runnable.visit(&mut *visitor));
        self.put_off.visit(&mut *visitor);
        self.reactor.visit(visitor);
    }

    /// Whether the loop was closed: what is queued now will never run.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Drop everything that waits, unrun, and stop listening to everything. Nothing is borrowed while foreign code is
    /// dropped. Transports may go on knowing of this for as long as they live, so nothing that is large or the kernel's
    /// is kept for that.
    pub fn clear(&self) {
        self.closed.set(true);
        drop(self.ready.take());
        drop(self.put_off.take());
        let timers = self.timers.borrow_mut().clear();
        drop(timers);
        for registration in self.reactor.registrations() {
            if let Some(source) = self.reactor.deregister(&registration) {
                source.abandon();
            }
        }
        self.reactor.close();
        drop(self.scratch.take());
        drop(self.batch.take());
    }
}

/// In the ready queue it is the place where callbacks end and events begin.
impl Run for Hub {
    fn run(self: Rc<Self>, _: usize) {
        self.end_turn();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::driver::Interest;
    use crate::testing::world::{Listens, Log, World, once};

    fn says(log: &Log, what: &'static str) -> Runnable {
        let log = log.clone();
        once(move || log.add(what))
    }

    #[test]
    fn due_timers_are_queued_in_the_order_of_their_deadlines() {
        let (world, log) = (World::new(), Log::default());
        let hub = world.hub();
        for (deadline, what) in [(30, "30"), (10, "10a"), (20, "20"), (10, "10b")] {
            hub.call_at(deadline, says(&log, what));
        }
        assert_eq!((hub.next_deadline(), hub.timer_count()), (Some(10), 4));
        hub.expire(9);
        assert!(hub.ready.is_empty());
        hub.expire(20);
        assert!(log.take().is_empty(), "queued, and not run");
        let _ = hub.run_batch();
        assert_eq!((log.take(), hub.timer_count()), (["10a", "10b", "20"].map(String::from).into(), 1));
    }

    #[test]
    fn a_cancelled_timer_comes_back_unrun() {
        let (world, log) = (World::new(), Log::default());
        let key = world.hub().call_at(10, says(&log, "never"));
        assert!(world.hub().cancel_timer(key).is_some() && world.hub().cancel_timer(key).is_none());
        world.hand.set(10);
        world.settle();
        assert!(log.take().is_empty());
    }

    #[test]
    fn a_timer_may_be_exchanged_while_it_waits() {
        let (world, log) = (World::new(), Log::default());
        let keys = ["a", "b", "c"].map(|what| world.hub().call_at(10, says(&log, what)));
        assert!(world.hub().cancel_timer(keys[1]).is_some());
        assert!(world.hub().with_timer(keys[1], |_| ()).is_none());
        world.hub().with_timer(keys[0], |timer| *timer = says(&log, "A")).unwrap();
        let mut seen = Vec::new();
        world.hub().for_each_timer_mut(|key, timer| {
            seen.push(key);
            if key == keys[2] {
                *timer = says(&log, "C");
            }
        });
        assert_eq!(seen, [keys[0], keys[2]]);
        world.hand.set(10);
        world.settle();
        assert_eq!(log.take(), ["A", "C"]);
    }

    #[test]
    fn what_outlives_the_loop_keeps_none_of_its_memory() {
        let world = World::new();
        let hub = world.hub();
        let use_it = || {
            hub.with_scratch(|buffer| buffer[0] = 1);
            hub.return_batch(hub.receive_batch(|_| Ok(())).unwrap());
            [hub.scratch.take().is_some(), hub.batch.take().is_some()]
        };
        assert_eq!(use_it(), [true, true]);
        hub.with_scratch(|_| ());
        hub.return_batch(Rc::default());
        world.engine.close();
        assert!(hub.scratch.take().is_none() && hub.batch.take().is_none());
        assert_eq!(use_it(), [false, false]);
    }

    #[test]
    fn a_timer_wakes_the_last_waker_it_was_given() {
        let (world, log) = (World::new(), Log::default());
        let key = world.hub().call_at(10, says(&log, "not any more"));
        assert!(world.hub().rearm(key, Waker::noop()) && world.hub().rearm(key, Waker::noop()));
        world.hand.set(10);
        world.settle();
        assert!(log.take().is_empty());
        assert!(!world.hub().rearm(key, Waker::noop()), "it has rung");
    }

    #[test]
    fn the_end_of_a_turn_comes_after_its_callbacks_and_before_the_next_ones() {
        let (world, log) = (World::new(), Log::default());
        let (hub, told) = (Rc::clone(world.hub()), log.clone());
        world.soon(move || {
            assert!(hub.in_batch());
            let (inner, late) = (Rc::clone(&hub), told.clone());
            hub.at_turn_end(once(move || {
                late.add("end");
                let later = late.clone();
                inner.at_turn_end(once(move || later.add("the next end")));
            }));
            hub.ready.push(says(&told, "next turn"));
            told.add("callback");
        });
        let turn = world.hub().turn();
        world.turn();
        assert_eq!(
            (log.take(), world.hub().turn()),
            (["callback", "end"].map(String::from).into(), turn + 1)
        );
        assert!(!world.hub().in_batch());
        world.turn();
        assert_eq!(log.take(), ["next turn", "the next end"]);
    }

    #[test]
    fn the_end_of_a_turn_comes_even_when_the_batch_is_left() {
        let (world, log) = (World::new(), Log::default());
        let hub = Rc::clone(world.hub());
        let end = says(&log, "end");
        world.soon(move || {
            hub.at_turn_end(end);
            hub.ready.leave();
        });
        world.soon(|| ());
        assert_eq!((world.hub().run_batch(), log.take()), (Flow::Leave, vec!["end".into()]));
        assert_eq!(world.hub().ready.len(), 1);
    }

    #[test]
    fn a_batch_may_run_within_a_batch() {
        let (world, log) = (World::new(), Log::default());
        let hub = Rc::clone(world.hub());
        let inner = says(&log, "inner");
        world.soon(move || {
            hub.ready.push(inner);
            let _ = hub.run_batch();
            assert!(hub.in_batch(), "the outer one has not ended");
        });
        world.turn();
        assert_eq!(log.take(), ["inner"]);
    }

    #[test]
    fn who_reads_while_another_reads_has_a_buffer_of_its_own() {
        let world = World::new();
        let hub = world.hub();
        hub.with_scratch(|outer| {
            outer[0] = 1;
            hub.with_scratch(|inner| {
                assert_eq!((inner.len(), inner[0]), (SCRATCH, 0));
                inner[0] = 2;
            });
            assert_eq!(outer[0], 1);
        });
        let address = hub.with_scratch(|buffer| buffer.as_ptr());
        assert_eq!(hub.with_scratch(|buffer| buffer.as_ptr()), address, "one is kept");
    }

    /// Schedules another callback when it is dropped, as a face's object may.
    struct Stubborn(Rc<Hub>, Log);

    impl Drop for Stubborn {
        fn drop(&mut self) {
            self.1.add("dropped");
            self.0.ready.push(says(&self.1, "never"));
            self.0.call_at(0, says(&self.1, "never"));
        }
    }

    #[test]
    fn clearing_drops_everything_unrun_and_finds_no_borrow() {
        let (world, log) = (World::new(), Log::default());
        let hub = world.hub();
        let holds = || {
            let stubborn = Stubborn(Rc::clone(hub), log.clone());
            once(move || drop(stubborn))
        };
        hub.ready.push(holds());
        hub.call_at(10, holds());
        hub.at_turn_end(holds());
        let (end, _peer) = crate::sys::pipe().unwrap();
        let source = Rc::new(Listens(log.clone()));
        drop(hub.reactor.register(end.as_raw_fd(), source, Interest::READ).unwrap());
        hub.clear();
        assert_eq!(log.take(), ["dropped", "dropped", "dropped", "abandoned"]);
        assert!(hub.reactor.is_empty());
        hub.clear();
    }
}
