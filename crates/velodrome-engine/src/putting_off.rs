//! What is put off to the end of a turn, and for how long at most.
//!
//! Writes that leave together cost the kernel less than writes between which other callbacks run: the first wakes the
//! peer, and the others find it awake. But who waits does so for code that the loop knows nothing of, so the wait is
//! bounded twice: by company, and by what the last wait cost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::ready::{Runnable, Visitor};

/// When so many wait, they leave: the first one waits for all of them. With 16 an aiohttp server with 64 connections
/// keeps two thirds of the gain, with 32 four fifths.
const COMPANY: usize = 64;

/// A wait that somebody may notice, in nanoseconds for each that waits: a callback blocked, or computed. Ten times what
/// a request to aiohttp takes, so where as many wait as there can, the turn may lose its processor for a time slice.
const LONG: u64 = 250_000;

/// After a long wait so many go without, so that in a program whose callbacks block one write in a thousand is late.
const WARY: u32 = 1_000;

/// So many writes of callbacks in one turn are a busy server's.
const BUSY: u8 = 4;

/// How many writes a turn has, and had before: what is done once more is expected again.
#[derive(Debug, Default)]
pub(crate) struct PerTurn {
    /// The turn of the last write, as far as it tells turns apart that are near to each other: each connection has room
    /// for this. Who writes again after just so many turns is taken to have written twice, and waits once.
    turn: Cell<u16>,
    writes: Cell<u8>,
    before: Cell<u8>,
}

impl PerTurn {
    /// There is a write in this turn.
    pub(crate) fn count(&self, turn: u64) {
        let turn = turn as u16;
        if self.turn.replace(turn) != turn {
            self.before.set(self.writes.replace(0));
        }
        self.writes.set(self.writes.get().saturating_add(1));
    }

    /// How many there were in the last turn that had any, before that of the last write.
    pub(crate) fn before(&self) -> u8 {
        self.before.get()
    }
}

/// The list of what is put off.
#[derive(Debug, Default)]
pub(crate) struct PuttingOff {
    list: RefCell<VecDeque<Runnable>>,
    /// When the first of them was put off.
    since: Cell<u64>,
    /// How many are still to go without.
    wary: Cell<u32>,
    by_callbacks: PerTurn,
}

impl PuttingOff {
    /// Whether what need not wait may. Each question counts as one that went without.
    pub(crate) fn may_wait(&self) -> bool {
        let wary = self.wary.get();
        self.wary.set(wary.saturating_sub(1));
        wary == 0
    }

    /// Whether a callback that writes in `turn` is one of many. A program that only talks to itself, or to one peer for
    /// which a callback then waits, is not kept waiting.
    pub(crate) fn has_company(&self, turn: u64) -> bool {
        self.by_callbacks.count(turn);
        self.by_callbacks.before() >= BUSY
    }

    /// Whether there is something that waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.list.borrow().is_empty()
    }

    /// Put off `runnable`. False if all of them had better leave as soon as the present callback has returned.
    pub(crate) fn push(&self, runnable: Runnable, now: impl FnOnce() -> u64) -> bool {
        let mut list = self.list.borrow_mut();
        if list.is_empty() {
            self.since.set(now());
        }
        list.push_back(runnable);
        list.len() < COMPANY && self.may_wait()
    }

    /// Run what was put off; what that puts off in its turn waits for the next time. Each is taken out when it runs: a
    /// turn within what runs finds the others, and so does the child if it forks.
    pub(crate) fn run(&self, now: impl FnOnce() -> u64) {
        let due = self.list.borrow().len();
        if due == 0 {
            return;
        }
        let now = now();
        if now.saturating_sub(self.since.get()) > LONG * due as u64 {
            self.wary.set(WARY);
        }
        for _ in 0..due {
            let Some(next) = self.next() else { break };
            next.run();
        }
        self.since.set(now);
    }

    fn next(&self) -> Option<Runnable> {
        self.list.borrow_mut().pop_front()
    }

    /// Take everything out, for the caller to drop.
    pub(crate) fn take(&self) -> VecDeque<Runnable> {
        self.list.take()
    }

    /// Show the host objects that are kept alive.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) {
        self.list.borrow().iter().for_each(|runnable| runnable.visit(&mut *visitor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::world::{Log, once};

    fn put_off(putting: &PuttingOff, log: &Log, now: u64) -> bool {
        let log = log.clone();
        putting.push(once(move || log.add("ran")), || now)
    }

    #[test]
    fn what_counts_is_the_last_turn_that_had_writes() {
        let writes = PerTurn::default();
        let before = |turn| {
            writes.count(turn);
            writes.before()
        };
        assert_eq!([before(1), before(1), before(5), before(5), before(6)], [0, 0, 2, 2, 2]);
        assert_eq!([before(7), before(u64::MAX), before(0)], [1, 1, 1]);
    }

    #[test]
    fn company_is_limited() {
        let (putting, log) = (PuttingOff::default(), Log::default());
        let answers: Vec<bool> = (0..COMPANY).map(|_| put_off(&putting, &log, 0)).collect();
        assert!(answers[..COMPANY - 1].iter().all(|wait| *wait) && !answers[COMPANY - 1]);
        putting.run(|| 0);
        assert_eq!(log.take().len(), COMPANY);
        assert!(put_off(&putting, &log, 0));
    }

    #[test]
    fn after_a_long_wait_a_thousand_go_without() {
        let (putting, log) = (PuttingOff::default(), Log::default());
        assert!(put_off(&putting, &log, 5));
        assert!(put_off(&putting, &log, LONG), "the first one waits longest");
        putting.run(|| 5 + 2 * LONG);
        assert!(putting.may_wait(), "that is not too long for two");
        assert!(put_off(&putting, &log, 5));
        putting.run(|| 6 + LONG);
        for _ in 0..WARY / 2 {
            assert!(!putting.may_wait() && !put_off(&putting, &log, 0));
            putting.run(|| 0);
        }
        assert!(putting.may_wait() && put_off(&putting, &log, 0));
    }
}
