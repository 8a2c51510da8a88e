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
use crate::driver::{Driver, Key, Timeout};
use crate::hub::Hub;
use crate::reactor::Reactor;
use crate::ready::{Flow, Runnable, SendRunnable, Visitor};
use crate::wakeup::Inbox;

/// Of no registration: those count from zero, and their generations have 31 bits.
const INBOX_KEY: Key = Key(u64::MAX - 1);

/// A system call costs about as much as a callback or two; one in 64 turns is nothing, and a signal waits for
/// microseconds at most.
const UNASKED: u32 = 64;

/// A loop: a hub, and the door through which other threads reach it.
pub struct EventLoop {
    hub: Rc<Hub>,
    inbox: Arc<Inbox<SendRunnable>>,
    arrivals: RefCell<Vec<SendRunnable>>,
    stopping: Cell<bool>,
    /// Turns since the kernel was last asked.
    unasked: Cell<u32>,
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
        let inbox = Inbox::new(driver.tells_rings_once())?;
        let hub = Hub::new(Reactor::new(driver), clock);
        hub.reactor.add_bell(inbox.fd(), INBOX_KEY)?;
        Ok(Self {
            hub,
            inbox,
            arrivals: RefCell::default(),
            stopping: Cell::new(false),
            unasked: Cell::new(0),
        })
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

    /// Whether callbacks are due or the end is, so that the wait must not block whatever the time is. What rang is due: the
    /// wait that heard it may have ended in an exception, and it is told once.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.stopping.get() || !self.hub.ready.is_empty() || self.inbox.has_rung()
    }

    /// Phase 1: how long the wait may last. One that will block is the time to give back the memory of a burst: the
    /// wait itself may touch nothing that another thread reaches.
    #[must_use]
    pub fn timeout(&self, now: u64) -> Timeout {
        self.hub.end_turn();
        if self.has_work() {
            return Timeout::Zero;
        }
        let timeout = match self.hub.next_deadline() {
            Some(deadline) if deadline <= now => return Timeout::Zero,
            Some(deadline) => Timeout::After(deadline - now),
            None => Timeout::Never,
        };
        self.hub.ready.shrink();
        timeout
    }

    /// Whether this turn may go without asking the kernel: callbacks are due, and no descriptor is watched but the
    /// loop's own, so there is no news that could come before them. Every 64th turn asks all the same, for
    /// signals. A loop that watches anything asks in every turn, as asyncio's does.
    #[must_use]
    pub fn skips_wait(&self) -> bool {
        let skips =
            !self.hub.ready.is_empty() && !self.hub.reactor.has_outside() && self.unasked.get() < UNASKED;
        self.unasked.set(if skips { self.unasked.get() + 1 } else { 0 });
        skips
    }

    /// Phase 2: ask the kernel. Touches nothing that another thread may reach.
    ///
    /// # Errors
    /// What the driver says; an interrupted wait is no error, so that the face can look at its signals.
    pub fn wait(&self, timeout: Timeout) -> io::Result<()> {
        self.hub.reactor.wait(timeout)
    }

    /// Phase 3: queue what other threads sent, then what the wait found. What callbacks before it put off leaves before it
    /// is looked at: its sockets are still in the processor's cache, and the peers can work meanwhile.
    pub fn dispatch(&self) {
        if self.inbox.has_rung() {
            self.queue_arrivals();
        }
        let is_border = self.hub.gathers() && !self.hub.ready.is_empty();
        let border = is_border.then(|| Runnable::from_rc(Rc::clone(&self.hub), 0));
        self.hub.reactor.dispatch(&self.hub.ready, border);
    }

    #[inline(never)]
    fn queue_arrivals(&self) {
        let mut arrivals = self.arrivals.take();
        self.inbox.drain(&mut arrivals);
        arrivals.drain(..).for_each(|arrival| self.hub.ready.push(arrival.into_inner()));
        self.arrivals.replace(arrivals);
    }

    /// Phase 4: queue the timers that are due.
    pub fn expire(&self, now: u64) {
        self.hub.expire(now);
    }

    /// Phase 5: run what is queued now, then the gathered writes.
    pub fn run_ready(&self) -> Flow {
        self.hub.run_batch()
    }

    /// The same, calling `before` ahead of each callback.
    #[inline]
    pub fn run_ready_each(&self, before: impl Fn()) -> Flow {
        self.hub.run_batch_each(before)
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::thread;

    use super::*;
    use crate::driver::Interest;
    use crate::ready::RunShared;
    use crate::testing::world::{FD, Listens, Log, Recorder, World, once, write};
    use crate::transport::stream::Descriptor;

    fn says(log: &Log, what: &'static str) -> Runnable {
        let log = log.clone();
        once(move || log.add(what))
    }

    #[test]
    fn a_turn_runs_what_was_due_then_events_then_timers() {
        let (world, log) = (World::new(), Log::default());
        world.hub().reactor.register(FD, Rc::new(Listens(log.clone())), Interest::READ).unwrap();
        world.hub().call_at(0, says(&log, "timer"));
        world.hub().ready.push(says(&log, "due"));
        world.script.feed(FD, b"x");
        world.turn();
        assert_eq!(log.take(), ["due", "read", "timer"]);
    }

    #[test]
    fn what_callbacks_put_off_leaves_before_events() {
        let (world, log) = (World::new(), Log::default());
        world.hub().reactor.register(FD, Rc::new(Listens(log.clone())), Interest::READ).unwrap();
        world.script.feed(FD, b"x");
        let put_off = || {
            let (hub, heard) = (Rc::clone(world.hub()), log.clone());
            world.soon(move || hub.at_turn_end(says(&heard, "put off")));
            world.hub().ready.push(says(&log, "due"));
            world.turn();
            log.take()
        };
        assert_eq!(put_off(), ["due", "read", "put off"], "at the end, where nobody gathers");
        world.hub().gather_writes();
        assert_eq!(put_off(), ["due", "put off", "read"]);
    }

    #[test]
    fn there_is_no_border_where_callbacks_or_events_are_missing() {
        let (world, log) = (World::new(), Log::default());
        let registration =
            world.hub().reactor.register(FD, Rc::new(Listens(log.clone())), Interest::READ).unwrap();
        world.hub().gather_writes();
        let queued = || {
            world.engine.wait(Timeout::Zero).unwrap();
            world.engine.dispatch();
            world.hub().ready.take().len()
        };
        world.script.feed(FD, b"x");
        assert_eq!(queued(), 1, "nothing but the event");
        world.soon(|| ());
        assert_eq!(queued(), 3, "callback, border, event");
        world.hub().reactor.set_interest(&registration, Interest::NONE).unwrap();
        world.soon(|| ());
        assert_eq!(queued(), 1, "of an event that nobody wants to hear of");
    }

    #[test]
    fn a_wait_lasts_until_the_next_deadline_unless_something_is_due() {
        let world = World::new();
        let engine = &world.engine;
        assert_eq!(engine.timeout(0), Timeout::Never);
        let key = world.hub().call_at(100, once(|| ()));
        assert_eq!((engine.timeout(0), engine.timeout(99)), (Timeout::After(100), Timeout::After(1)));
        assert_eq!((engine.timeout(100), engine.timeout(101)), (Timeout::Zero, Timeout::Zero));
        world.soon(|| ());
        assert_eq!(engine.timeout(0), Timeout::Zero);
        world.turn();
        engine.set_stopping(true);
        assert_eq!((engine.timeout(0), engine.is_stopping()), (Timeout::Zero, true));
        engine.set_stopping(false);
        drop(world.hub().cancel_timer(key));
        assert_eq!(engine.timeout(0), Timeout::Never);
    }

    #[test]
    fn before_a_wait_that_blocks_the_memory_of_a_burst_is_given_back() {
        let world = World::new();
        let ready = &world.hub().ready;
        (0..100_000).for_each(|_| world.soon(|| ()));
        let burst = ready.capacity();
        assert_eq!((world.engine.timeout(0), ready.capacity()), (Timeout::Zero, burst));
        let _ = world.engine.run_ready();
        assert_eq!(world.engine.timeout(0), Timeout::Never);
        assert!(ready.capacity() < burst / 8, "{} of {burst}", ready.capacity());
    }

    #[test]
    fn a_whole_turn_waits_for_the_first_thing_to_happen() {
        let (world, log) = (World::new(), Log::default());
        world.hub().reactor.register(FD, Rc::new(Listens(log.clone())), Interest::READ).unwrap();
        world.hub().call_at(100, says(&log, "timer"));
        world.script.feed_at(50, FD, b"x");
        assert_eq!(world.engine.turn().unwrap(), Flow::Continue);
        assert_eq!((world.hand.now(), log.take()), (50, vec!["read".into()]));
        drop(
            world.hub().reactor.registration_of(FD).and_then(|found| world.hub().reactor.deregister(&found)),
        );
        world.engine.turn().unwrap();
        assert_eq!((world.hand.now(), log.take()), (100, vec!["timer".into()]));
    }

    /// The state of loop and transport is in cells, and none is borrowed while a face is called.
    #[test]
    fn a_callback_may_write_close_and_stop_the_loop_that_runs_it() {
        let world = Rc::new(World::new());
        let (stream, told) = Recorder::over(&world, FD);
        let inner = Rc::clone(&world);
        told.react(move |event, stream| {
            if event == "data question" {
                write(stream, b"answer");
                stream.close();
                inner.hub().call_at(0, once(|| ()));
                inner.soon(|| ());
                inner.engine.set_stopping(true);
                inner.hub().ready.leave();
                inner.engine.visit(&mut |_| ());
            }
        });
        world.script.feed(FD, b"question");
        world.engine.wait(Timeout::Zero).unwrap();
        world.engine.dispatch();
        assert_eq!(world.engine.run_ready(), Flow::Leave);
        assert!(world.engine.is_stopping());
        assert_eq!(world.script.take_sent(FD), b"answer");
        world.engine.set_stopping(false);
        world.settle();
        assert_eq!(told.log.take(), ["data question", "losing by Caller", "lost"]);
        assert!(stream.is_closed());
    }

    #[test]
    fn a_callback_may_close_the_loop_that_runs_it() {
        let world = Rc::new(World::new());
        let (_stream, told) = Recorder::over(&world, FD);
        let inner = Rc::clone(&world);
        told.react(move |event, _| {
            if event == "data x" {
                inner.engine.close();
            }
        });
        world.script.feed(FD, b"x");
        world.soon(|| ());
        world.settle();
        assert_eq!(told.log.take(), ["data x", "abandoned"]);
        assert!(world.hub().ready.is_empty() && world.hub().reactor.is_empty());
    }

    #[test]
    fn stopping_cuts_no_batch_short() {
        let world = Rc::new(World::new());
        let (inner, log) = (Rc::clone(&world), Log::default());
        world.soon(move || inner.engine.set_stopping(true));
        world.hub().ready.push(says(&log, "still"));
        assert_eq!((world.engine.turn().unwrap(), log.take()), (Flow::Continue, vec!["still".into()]));
    }

    struct Sent;

    impl RunShared for Sent {
        fn run(self: Arc<Self>) {}
    }

    #[test]
    fn other_threads_are_heard_between_what_was_due_and_events() {
        let log = Log::default();
        let engine = EventLoop::with(Driver::new().unwrap(), Clock::manual().0).unwrap();
        let inbox = Arc::clone(engine.inbox());
        thread::spawn(move || inbox.push(SendRunnable::from_arc(Arc::new(Sent))).unwrap()).join().unwrap();
        let (reader, writer) = crate::sys::pipe().unwrap();
        crate::sys::write(writer.as_raw_fd(), b"x").unwrap();
        engine
            .hub()
            .reactor
            .register(reader.as_raw_fd(), Rc::new(Listens(log.clone())), Interest::READ)
            .unwrap();
        engine.hub().ready.push(says(&log, "due"));
        engine.wait(Timeout::Never).unwrap();
        engine.dispatch();
        assert_eq!(engine.hub().ready.len(), 3);
        let _ = engine.run_ready();
        assert_eq!(log.take(), ["due", "read"]);
        // The bell has been answered: there is no event of its own left.
        drop(
            engine
                .hub()
                .reactor
                .registration_of(reader.as_raw_fd())
                .map(|it| engine.hub().reactor.deregister(&it)),
        );
        engine.wait(Timeout::Zero).unwrap();
        engine.dispatch();
        assert!(engine.hub().ready.is_empty());
    }

    #[test]
    fn a_ring_whose_wait_ended_in_an_exception_is_heard_by_the_next() {
        let engine = EventLoop::with(Driver::new().unwrap(), Clock::manual().0).unwrap();
        engine.inbox().push(SendRunnable::from_arc(Arc::new(Sent))).unwrap();
        engine.wait(Timeout::Never).unwrap();
        assert_eq!(engine.timeout(0), Timeout::Zero, "it may not be told again");
        engine.wait(Timeout::Zero).unwrap();
        engine.dispatch();
        assert_eq!(engine.hub().ready.len(), 1);
    }

    #[test]
    fn a_closed_loop_takes_nothing_from_other_threads() {
        let world = World::new();
        let inbox = Arc::clone(world.engine.inbox());
        inbox.push(SendRunnable::from_arc(Arc::new(Sent))).unwrap();
        world.engine.close();
        world.engine.close();
        assert!(inbox.push(SendRunnable::from_arc(Arc::new(Sent))).is_err());
        world.turn();
        drop(world);
        assert!(inbox.push(SendRunnable::from_arc(Arc::new(Sent))).is_err());
    }

    #[test]
    fn dropping_the_loop_lets_go_of_what_it_held() {
        let world = World::new();
        let (ours, theirs) = crate::sys::socketpair().unwrap();
        let (stream, told) = Recorder::open(&world, Descriptor::Owned(ours));
        drop(world);
        assert_eq!((told.log.take(), Rc::strong_count(&stream)), (vec!["abandoned".into()], 1));
        drop((stream, told));
        assert_eq!(
            crate::sys::recv(theirs.as_raw_fd(), &mut [0; 1]).unwrap(),
            0,
            "closed with its transport"
        );
    }
}
