//! Who waits for room in a bounded channel.

use std::collections::BTreeMap;
use std::task::Waker;

/// What one who waits is known by; the smallest has come first.
pub(super) type Ticket = u64;

/// Room for so many items, and the senders that wait for it. Whoever comes first is the first to get some: a place that
/// becomes free is promised to it before it is woken, and who comes in between finds none.
///
/// In a map, so that to give up costs the same wherever one stands.
pub(super) struct Room {
    limit: usize,
    promised: usize,
    waiting: BTreeMap<Ticket, Waker>,
    next: Ticket,
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, promised: 0, waiting: BTreeMap::new(), next: 0 }
    }

    /// Whether one who has not waited may put an item beside so many.
    pub(super) fn is_free(&self, items: usize) -> bool {
        self.waiting.is_empty() && items + self.promised < self.limit
    }

    /// Wait, in a place at the end or in the one that it has. Gives the waker that was there.
    pub(super) fn wait(&mut self, ticket: &mut Option<Ticket>, waker: Waker) -> Option<Waker> {
        let ticket = *ticket.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.waiting.insert(ticket, waker)
    }

    /// Whether it has been promised room.
    pub(super) fn is_promised(&self, ticket: Ticket) -> bool {
        !self.waiting.contains_key(&ticket)
    }

    /// What was promised is made use of, or given up.
    pub(super) fn settle(&mut self) {
        self.promised -= 1;
    }

    /// It waits no more. Gives its waker, if it had been promised nothing.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        self.waiting.remove(&ticket)
    }

    /// With so many items there, promise what room there may be to whoever is first. That is to be woken.
    pub(super) fn promise(&mut self, items: usize) -> Option<Waker> {
        if items + self.promised >= self.limit {
            return None;
        }
        let (_, waker) = self.waiting.pop_first()?;
        self.promised += 1;
        Some(waker)
    }

    /// There will never be any: all are to be woken.
    pub(super) fn close(&mut self) -> BTreeMap<Ticket, Waker> {
        std::mem::take(&mut self.waiting)
    }
}
