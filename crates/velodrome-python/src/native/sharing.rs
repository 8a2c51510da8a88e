//! When to let go of the interpreter's lock although there is work: for threads that the loop waits for.
//!
//! A wait that blocks lets go of the lock, and a loop that always has something due never blocks. A thread that wants
//! the lock then gets it by force only, after the switch interval of 5 ms: an executor would do 200 jobs a second. To
//! let go in each turn, as asyncio's `select` does, costs as much as a callback, and 5 ms where a thread computes. So it
//! is done only after a sign that there is somebody: a job was given to an executor, or a thread woke the loop. The next
//! time is after 50 µs, and then each time after twice as long. A thread that comes back late thus waits about as long
//! again as it was away, and once it would wait longer than for the force, the loop takes itself to be alone.
//!
//! The lock has to be free until a thread that sleeps has woken up. To let go of it and take it back is worse than
//! nothing: the thread finds it taken, and begins anew to wait for the switch interval. So the loop sleeps meanwhile, in
//! the kernel, where the thread's answer ends that.

use std::cell::Cell;

use velodrome_engine::clock::Clock;
use velodrome_engine::driver::Timeout;

/// The pause between a sign and the first time.
const SHORTEST: u64 = 50_000;

/// The switch interval.
const FORCE: u64 = 5_000_000;

/// How long the lock stays free; the kernel adds 50 µs.
pub(crate) const OPENING: Timeout = Timeout::After(20_000);

/// A thread that computes keeps the lock for the switch interval, one that does a job for less.
const SLOW: u64 = 3_000_000;

/// How long the lock is then kept, whatever the signs.
const PENANCE: u64 = 50_000_000;

#[derive(Default)]
pub(crate) struct Sharing {
    /// Whether the lock is let go of from time to time.
    expects: Cell<bool>,
    /// Whether there was a sign since the last look.
    is_news: Cell<bool>,
    next: Cell<u64>,
    pause: Cell<u64>,
    penance: Cell<u64>,
}

impl Sharing {
    /// A sign: another thread will want the lock.
    #[inline]
    pub(crate) fn expect(&self) {
        if !self.expects.replace(true) {
            self.next.set(u64::MAX);
        }
        self.is_news.set(true);
    }

    /// Whether it is time to let go of the lock.
    #[inline]
    pub(crate) fn is_due(&self, clock: &Clock) -> bool {
        self.expects.get() && self.is_due_at(clock.now())
    }

    #[cold]
    #[inline(never)]
    fn is_due_at(&self, now: u64) -> bool {
        if self.is_news.take() {
            let soon = now.saturating_add(SHORTEST);
            // What is planned sooner stays so: signs may come faster than the shortest pause.
            self.next.set(self.next.get().min(soon).max(self.penance.get()));
            self.pause.set(SHORTEST);
        }
        now >= self.next.get()
    }

    /// It was let go of, wanted back at the first time, and taken at the second.
    pub(crate) fn note(&self, wanted: u64, taken: u64) {
        if taken.saturating_sub(wanted) > SLOW {
            self.penance.set(taken.saturating_add(PENANCE));
        }
        let pause = self.pause.get().saturating_mul(2);
        self.pause.set(pause);
        self.next.set(taken.saturating_add(pause).max(self.penance.get()));
        self.expects.set(self.is_news.get() || pause < FORCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the lock is let go of after a sign at 0, until the loop takes itself to be alone.
    fn times(sharing: &Sharing, taking: u64) -> Vec<u64> {
        sharing.expect();
        let (mut now, mut times) = (0, Vec::new());
        while sharing.expects.get() {
            if sharing.is_due_at(now) {
                times.push(now / 1000);
                sharing.note(now, now + taking);
            }
            now += 10_000;
        }
        times
    }

    #[test]
    fn the_longer_ago_a_sign_was_the_rarer_it_is() {
        assert_eq!(times(&Sharing::default(), 0), [50, 150, 350, 750, 1550, 3150, 6350]);
    }

    #[test]
    fn nothing_is_due_without_a_sign() {
        let sharing = Sharing::default();
        assert!(!sharing.is_due(&Clock::monotonic()));
    }

    #[test]
    fn signs_that_come_all_the_time_put_nothing_off() {
        let sharing = Sharing::default();
        let due = |now| {
            sharing.expect();
            sharing.is_due_at(now)
        };
        assert_eq!([0, 20_000, 40_000, 60_000].map(due), [false, false, false, true]);
    }

    #[test]
    fn a_thread_that_computes_gets_it_every_50_milliseconds() {
        let times = times(&Sharing::default(), FORCE);
        assert_eq!(times[..3], [50, 55_050, 110_050]);
    }
}
