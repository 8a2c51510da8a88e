//! A kernel in a bad mood: with `VELODROME_FAULTS=seed`, three in ten reads and writes move fewer bytes than asked, and
//! one in ten calls is interrupted by a signal first. Only with the feature `instruments`, for `make torture`.

use std::cell::Cell;
use std::sync::OnceLock;

use rustix::io::{Errno, Result};

/// The seed from the environment; 0, or none, is the kernel as it is.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        std::env::var("VELODROME_FAULTS").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
    })
}

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

/// The next number of Marsaglia's xorshift: equal seeds make equal faults in each thread. `None` without a seed.
fn next() -> Option<u64> {
    STATE.with(|state| {
        let mut word = state.get();
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        state.set(word);
        (word != 0).then_some(word >> 16)
    })
}

/// One call in ten finds that a signal came first.
pub(super) fn interrupt() -> Result<()> {
    match next() {
        Some(number) if number % 10 == 0 => Err(Errno::INTR),
        _ => Ok(()),
    }
}

/// An eventfd takes and gives its eight bytes as a whole.
const WHOLE: usize = 8;

/// Three in ten move a part only, at least one byte.
pub(super) fn length(asked: usize) -> usize {
    match next() {
        Some(number) if asked > WHOLE && number % 10 < 3 => 1 + (number / 10) as usize % (asked - 1),
        _ => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_seed_nothing_happens() {
        STATE.set(0);
        assert!((0..1000).all(|n| interrupt().is_ok() && length(n) == n));
    }

    #[test]
    fn with_one_calls_are_interrupted_and_short() {
        STATE.set(7);
        let interrupted = (0..10_000).filter(|_| interrupt().is_err()).count();
        let lengths: Vec<usize> = (0..10_000).map(|_| length(100)).collect();
        assert!((800..1200).contains(&interrupted), "{interrupted}");
        assert!((2500..3500).contains(&lengths.iter().filter(|&&length| length < 100).count()));
        assert!(lengths.iter().all(|length| (1..=100).contains(length)));
    }
}
