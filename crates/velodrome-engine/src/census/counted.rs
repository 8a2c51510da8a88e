//! Counts by name.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Counts = BTreeMap<&'static str, usize>;

static ALIVE: Mutex<Counts> = Mutex::new(BTreeMap::new());

fn counts() -> MutexGuard<'static, Counts> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One more of this kind is alive.
pub fn born(kind: &'static str) {
    *counts().entry(kind).or_default() += 1;
}

/// One less.
pub fn died(kind: &'static str) {
    let mut counts = counts();
    let count = counts.entry(kind).or_default();
    *count = count.saturating_sub(1);
}

/// What is alive now, by kind; kinds of which none is left are not listed.
#[must_use]
pub fn alive() -> Vec<(&'static str, usize)> {
    counts().iter().map(|(kind, count)| (*kind, *count)).filter(|(_, count)| *count > 0).collect()
}

/// Counts what holds it for as long as it lives.
#[derive(Debug)]
pub struct Member(&'static str);

impl Member {
    /// A member of this kind.
    #[must_use]
    pub fn of(kind: &'static str) -> Self {
        born(kind);
        Self(kind)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        died(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> usize {
        alive().iter().find(|(kind, _)| *kind == "test").map_or(0, |(_, count)| *count)
    }

    #[test]
    fn members_are_counted_while_they_live() {
        assert_eq!(here(), 0);
        let both = [Member::of("test"), Member::of("test")];
        assert_eq!(here(), 2);
        drop(both);
        assert_eq!(here(), 0);
        died("test");
        assert_eq!(here(), 0);
    }
}
