//! The door for other threads and for signals: the only part of the engine that more than one thread touches.
//!
//! What comes in is put into a queue, and the loop is woken by a bell it has registered with its driver. A busy door
//! must be cheap: however many items arrive between two turns, the bell is rung once. A silent door must cost
//! nothing: a turn in which nobody called pays for one atomic load.
//!
//! # Why no wake-up is lost
//!
//! The flag `signalled` means: *the bell rings, or is about to; whoever set the flag is on the way to it*. The loop
//! looks at it before it sleeps, and does not if it is set. Three rules follow.
//!
//! 1. **Only who turns the flag from false to true rings.** So there is one ring for each time it is set, and nobody
//!    rings in vain. The item was queued before, under the mutex.
//! 2. **Where the bell must be silenced, only who has heard it clears the flag.** [`Inbox::drain`] may run between
//!    another thread's setting of the flag and its ring. Were it to clear the flag then, the late ring would make the
//!    bell readable with no flag up: the cheap path would never silence it, and a level-triggered driver would report
//!    it for ever. So the flag stays up, and the ring that is on its way brings the loop back to clear it. A driver that
//!    tells each ring once reports the late one once: a turn for nothing, and otherwise a system call less each time.
//! 3. **The flag is cleared before the queue is emptied.** A push whose item comes too late for this emptying took
//!    the mutex after it; so it sees the flag cleared (or set again by somebody who will ring), and rings itself.
//!
//! The mutex alone would order items. `AcqRel` on the two swaps is for [`Inbox::wake`], which has no item: what a
//! thread wrote before `wake` is seen by the loop after `drain`. Either its swap came before ours, and ours acquires
//! from it; or it came after, found the flag cleared, and rings for another drain. The load on the cheap path decides
//! nothing but whether there is work; `Acquire` costs nothing on the machines we know and spares an argument.
//!
//! One thread drains. That is the loop's.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::sys::sync::{AtomicBool, Bell, Mutex, MutexGuard, Ordering, PoisonError};

/// A queue into a loop, from any thread.
pub struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    /// True means: the bell rings, or is about to.
    signalled: AtomicBool,
    bell: Bell,
    /// Whether the driver tells each ring once.
    told_once: bool,
}

struct Queue<T> {
    items: Vec<T>,
    open: bool,
}

impl<T: Send> Inbox<T> {
    /// An open, empty, silent inbox, whose bell is registered with a driver that tells each ring once or does not.
    pub fn new(told_once: bool) -> io::Result<Arc<Self>> {
        let queue = Mutex::new(Queue { items: Vec::new(), open: true });
        Ok(Arc::new(Self { queue, signalled: AtomicBool::new(false), bell: Bell::new()?, told_once }))
    }

    /// The descriptor to register with [`Interest::RING`](crate::driver::Interest::RING). It belongs to the inbox.
    pub fn fd(&self) -> RawFd {
        self.bell.fd()
    }

    /// Queues an item and wakes the loop; after [`close`](Self::close) the item comes back.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut queue = self.lock();
        if !queue.open {
            return Err(item);
        }
        queue.items.push(item);
        drop(queue);
        self.wake();
        Ok(())
    }

    /// Wakes the loop without an item. It takes no lock and allocates nothing, so a signal handler may call it.
    pub fn wake(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// Whether anything came since the last [`Self::drain`].
    #[inline]
    #[must_use]
    pub fn has_rung(&self) -> bool {
        self.signalled.load(Ordering::Acquire)
    }

    /// Moves all items to the end of `into`, oldest first, and silences the bell where the driver would tell of it again. For
    /// the loop's thread.
    #[inline]
    pub fn drain(&self, into: &mut Vec<T>) {
        if self.has_rung() {
            self.answer(into);
        }
    }

    /// Takes no more items; gives back those that were waiting, to be dropped where it is safe to.
    pub fn close(&self) -> Vec<T> {
        let mut queue = self.lock();
        queue.open = false;
        mem::take(&mut queue.items)
    }

    #[cold]
    fn answer(&self, into: &mut Vec<T>) {
        if self.told_once || self.bell.silence() {
            self.signalled.swap(false, Ordering::AcqRel);
        }
        let mut queue = self.lock();
        if into.is_empty() {
            // The two vectors change places for ever, and soon neither has to grow.
            mem::swap(into, &mut queue.items);
        } else {
            into.append(&mut queue.items);
        }
    }

    /// A thread that died while it held the lock was pushing; a vector survives that, and so does the loop.
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("signalled", &self.signalled)
            .field("bell", &self.bell)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(loom)]
#[path = "wakeup_model.rs"]
mod model;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::driver::{Driver, Interest, Key, Timeout};

    fn rings(driver: &Driver, timeout: Timeout) -> bool {
        let mut events = Vec::new();
        driver.wait(&mut events, timeout).unwrap();
        !events.is_empty()
    }

    fn watched_by<T: Send>(driver: Driver, interest: Interest) -> (Arc<Inbox<T>>, Driver) {
        let inbox = Inbox::new(interest == Interest::RING).unwrap();
        driver.add(inbox.fd(), Key(1), interest).unwrap();
        (inbox, driver)
    }

    fn watched<T: Send>() -> (Arc<Inbox<T>>, Driver) {
        watched_by(Driver::new().unwrap(), Interest::READ)
    }

    /// By levels, and as the platform's best driver does it.
    fn each_way<T: Send>() -> [(Arc<Inbox<T>>, Driver); 2] {
        let best = Driver::new().unwrap();
        let interest = if best.tells_rings_once() { Interest::RING } else { Interest::READ };
        [watched(), watched_by(best, interest)]
    }

    #[test]
    fn items_come_in_order_and_the_bell_falls_silent() {
        each_way().into_iter().for_each(comes_in_order);
    }

    fn comes_in_order((inbox, driver): (Arc<Inbox<i32>>, Driver)) {
        assert!(!rings(&driver, Timeout::Zero));
        inbox.push(1).unwrap();
        inbox.push(2).unwrap();
        assert!(rings(&driver, Timeout::Zero));
        let mut items = vec![0];
        inbox.drain(&mut items);
        assert_eq!(items, [0, 1, 2]);
        assert!(!rings(&driver, Timeout::Zero));
        inbox.drain(&mut items);
        assert_eq!(items.len(), 3);
    }

    #[test]
    fn many_pushes_ring_once() {
        let (inbox, _driver) = watched();
        for round in 0..3 {
            (0..100).for_each(|item| inbox.push(item).unwrap());
            // An eventfd counts in one number, a pipe in ones; the sum of the bytes is the same.
            let mut count = [0; 64];
            crate::sys::read(inbox.fd(), &mut count).unwrap();
            assert_eq!(count.iter().sum::<u8>(), 1, "round {round}");
            // Put back what was only looked at.
            inbox.bell.ring();
            let mut items = Vec::new();
            inbox.drain(&mut items);
            assert_eq!(items.len(), 100);
        }
    }

    #[test]
    fn a_wake_without_an_item() {
        each_way().into_iter().for_each(wakes);
    }

    fn wakes((inbox, driver): (Arc<Inbox<()>>, Driver)) {
        inbox.wake();
        inbox.wake();
        assert!(rings(&driver, Timeout::Zero));
        let mut items = Vec::new();
        inbox.drain(&mut items);
        assert!(items.is_empty() && !rings(&driver, Timeout::Zero));
    }

    #[test]
    fn a_closed_inbox_gives_everything_back() {
        let (inbox, _driver) = watched();
        inbox.push("early").unwrap();
        assert_eq!(inbox.close(), ["early"]);
        assert_eq!(inbox.push("late"), Err("late"));
        assert!(inbox.close().is_empty());
        inbox.wake();
    }

    #[test]
    fn a_drain_before_the_ring_keeps_the_flag_up() {
        let (inbox, driver) = watched();
        // A thread that has queued its item and set the flag, and was stopped on its way to the bell.
        inbox.lock().items.push(7);
        inbox.signalled.store(true, Ordering::Release);
        let mut items = Vec::new();
        inbox.drain(&mut items);
        assert_eq!(items, [7], "what is there is taken");
        inbox.push(8).unwrap();
        assert!(!rings(&driver, Timeout::Zero), "the one ring is the stopped thread's");
        inbox.bell.ring();
        assert!(rings(&driver, Timeout::Zero));
        inbox.drain(&mut items);
        assert_eq!(items, [7, 8]);
        assert!(!rings(&driver, Timeout::Zero));
    }

    #[test]
    fn a_drain_before_a_ring_that_is_told_once_costs_a_turn() {
        let (inbox, driver) = each_way().into_iter().next_back().unwrap();
        if !driver.tells_rings_once() {
            return;
        }
        inbox.lock().items.push(7);
        inbox.signalled.store(true, Ordering::Release);
        let mut items = Vec::new();
        inbox.drain(&mut items);
        assert!(!inbox.has_rung() && items == [7]);
        inbox.bell.ring();
        assert!(rings(&driver, Timeout::Zero) && !rings(&driver, Timeout::Zero));
        inbox.push(8).unwrap();
        assert!(rings(&driver, Timeout::Zero), "unread as it is, it tells the next ring");
        inbox.drain(&mut items);
        assert_eq!(items, [7, 8]);
    }

    #[test]
    fn a_poisoned_lock_is_no_end() {
        let (inbox, _driver) = watched();
        let other = inbox.clone();
        let died = thread::spawn(move || {
            let _guard = other.lock();
            std::panic::resume_unwind(Box::new("on purpose, without a message"));
        });
        assert!(died.join().is_err());
        inbox.push(1).unwrap();
        let mut items = Vec::new();
        inbox.drain(&mut items);
        assert_eq!((items, inbox.close()), (vec![1], vec![]));
    }

    /// Threads push in bursts while the loop sleeps until the bell rings. A lost wake-up shows as a wait that runs
    /// into its limit, an item out of order as one too.
    #[test]
    fn nothing_is_lost_under_stress() {
        each_way().into_iter().for_each(loses_nothing);
    }

    fn loses_nothing((inbox, driver): (Arc<Inbox<(usize, usize)>>, Driver)) {
        const THREADS: usize = 4;
        const EACH: usize = 20_000;
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let inbox = &inbox;
                scope.spawn(move || {
                    for item in 0..EACH {
                        inbox.push((thread, item)).unwrap();
                        if item % 64 == thread {
                            thread::yield_now();
                        }
                    }
                });
            }
            let (mut next, mut items) = ([0; THREADS], Vec::new());
            while next.iter().sum::<usize>() < THREADS * EACH {
                assert!(rings(&driver, Timeout::After(20_000_000_000)), "a wake-up was lost at {next:?}");
                inbox.drain(&mut items);
                for (thread, item) in items.drain(..) {
                    assert_eq!(item, next[thread]);
                    next[thread] += 1;
                }
            }
        });
        inbox.drain(&mut Vec::new());
        assert!(!rings(&driver, Timeout::Zero), "the bell falls silent when the last ring is answered");
    }
}
