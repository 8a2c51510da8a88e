//! The only place where time is read, so that a test can own it.
//!
//! An instant is a `u64`: nanoseconds since an arbitrary epoch, which lasts for 584 years. Deadlines are compared
//! by the million, and a plain number is what a heap of timers likes best. Nothing else in the engine may ask the
//! system what time it is; clippy refuses `Instant::now`.

use std::cell::Cell;
use std::rc::Rc;

use rustix::time::{ClockId, clock_gettime};

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A source of instants that never go back.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Monotonic,
    Manual(ManualClock),
}

impl Clock {
    /// The system's `CLOCK_MONOTONIC`: the one Python's `time.monotonic()` and the kernel's time-outs go by.
    pub fn monotonic() -> Self {
        Self(Source::Monotonic)
    }

    /// A clock that stands still at zero until its other half moves it.
    pub fn manual() -> (Self, ManualClock) {
        let hand = ManualClock::default();
        (hand.clock(), hand)
    }

    /// Whether somebody moves it by hand, so that waiting in the kernel makes no time pass.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Nanoseconds since this clock's epoch.
    #[inline]
    pub fn now(&self) -> u64 {
        match &self.0 {
            Source::Monotonic => monotonic_nanos(),
            Source::Manual(hand) => hand.now(),
        }
    }
}

/// The hand that moves a manual [`Clock`]; clones move the same one.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Rc<Cell<u64>>);

impl ManualClock {
    /// Puts the clock at `ns`. A clock never goes back: an earlier instant is ignored.
    pub fn set(&self, ns: u64) {
        self.0.set(self.0.get().max(ns));
    }

    /// Moves the clock on by `ns`; it stops at the end of time instead of beginning anew.
    pub fn advance(&self, ns: u64) {
        self.0.set(self.0.get().saturating_add(ns));
    }

    /// The clock that it moves.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(self.clone()))
    }

    /// What the clock shows.
    pub fn now(&self) -> u64 {
        self.0.get()
    }
}

fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // CLOCK_MONOTONIC counts up from boot and is never negative; `unsigned_abs` spares a branch that cannot be taken.
    now.tv_sec.unsigned_abs() * NANOS_PER_SEC + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_never_goes_back() {
        let clock = Clock::monotonic();
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual();
        assert!(clock.is_manual() && !Clock::monotonic().is_manual());
        assert_eq!(clock.now(), 0);
        hand.set(40);
        hand.advance(2);
        assert_eq!((clock.now(), clock.clone().now()), (42, 42));
        hand.set(1);
        assert_eq!(clock.now(), 42, "a clock does not go back");
        hand.advance(u64::MAX);
        assert_eq!(clock.now(), u64::MAX);
    }
}
