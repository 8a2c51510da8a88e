//! When to keep the interpreter's lock for a little while although there is nothing to do.
//!
//! A thread that computes gives the lock back only when it has had it for the switch interval, 5 ms. A loop that lets
//! go of it between a question and the next, which comes microseconds later, then answers 200 times a second. So once
//! taking the lock back was slow, the next wait begins with the lock held: what comes soon is answered without having
//! let go. Nothing is burnt, the wait sleeps in the kernel. Others do not starve: callbacks in Python give the lock up
//! when another thread has waited for the switch interval, as all Python code does, a wait in which nothing came ends
//! this mode, and it is left for one wait every 50 ms in any case, for callbacks that run no Python code.

use std::cell::Cell;

use velodrome_engine::clock::Clock;
use velodrome_engine::driver::Timeout;

/// A lock that nobody wants is taken in less than a microsecond, one that is handed over in tens of them; a thread that
/// computes keeps it for thousands.
const SLOW: u64 = 100_000;

/// How long a wait keeps the lock: a client on this machine or in its rack answers within this. At most a twentieth of
/// what a thread that computes gets.
const PATIENCE: u64 = 200_000;

/// How long the lock may be kept over many waits: ten switch intervals.
const LONGEST: u64 = 50_000_000;

#[derive(Default)]
pub(crate) struct Contention {
    /// Until when waits begin with the lock held; 0 when nobody else wants it.
    until: Cell<u64>,
}

impl Contention {
    /// How long the wait may keep the lock at first; None if it shall let go at once.
    pub(crate) fn patience(&self, clock: &Clock, timeout: Timeout) -> Option<Timeout> {
        if self.until.get() == 0 || clock.now() >= self.until.get() {
            return None;
        }
        Some(match timeout {
            Timeout::After(nanos) => Timeout::After(nanos.min(PATIENCE)),
            Timeout::Never => Timeout::After(PATIENCE),
            Timeout::Zero => Timeout::Zero,
        })
    }

    /// A wait that kept the lock was in vain.
    pub(crate) fn disappointed(&self) {
        self.until.set(0);
    }

    /// The lock was wanted back at the first time, and taken at the second.
    pub(crate) fn note(&self, wanted: u64, taken: u64) {
        let slow = taken.saturating_sub(wanted) > SLOW;
        self.until.set(if slow { taken.saturating_add(LONGEST) } else { 0 });
    }
}
