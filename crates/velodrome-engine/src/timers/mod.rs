//! Deadlines: schedule, cancel, and take what is due.
//!
//! This exists apart from any clock and any driver, so that the order in which timers fire is a property of a
//! pure structure and can be tested against a naive model. A deadline is a number of nanoseconds; what it is
//! counted from is the caller's affair. Nothing here ever runs, or drops, what it keeps: every item goes back to
//! the caller, because an item may belong to a face whose destructors call back into the loop.
//!
//! # How it is built, and why
//!
//! Most timers of a network program are timeouts, and most timeouts are cancelled. So cancelling must not search:
//!
//! * A slab holds the items. A key names a slot of it and the generation that lived there; generations are never
//!   used twice, so a key that outlived its timer finds nothing.
//! * A 4-ary heap holds one small entry per slot: deadline, sequence, slot. Cancelling empties the slot and leaves
//!   the entry behind as a tombstone; the slot itself is not reused before its entry has left the heap, which is
//!   why an entry needs no generation of its own.
//! * The newest entry is often the last of the heap's array, and the last can be removed from any heap at no cost.
//!   A timeout that is set and cancelled at once therefore leaves no tombstone at all.
//! * When tombstones are the majority, and more than a handful, the heap is rebuilt without them. The rebuild is
//!   linear and at least half of what it visits was cancelled since the last one: constant time per cancellation.
//!
//! Memory follows the number of live timers: downwards with the rebuilds, and by halves whenever the heap has run
//! empty. The slab cannot move what lives, so it follows more slowly: its length is held by the highest live slot,
//! and after a burst the low slots are filled first, so that the high ones come to an end.

mod heap;
mod slab;

use self::heap::{Entry, Heap};
use self::slab::Slab;

/// Below this many tombstones a rebuild saves less memory than it is worth.
const TOLERATED_TOMBSTONES: usize = 64;

/// Capacity, in timers, that is kept however few are live: about 300 KiB, which a busy server regains at once.
const KEPT_CAPACITY: usize = 4096;

/// Names one timer, for as long as it is neither fired nor cancelled.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TimerKey {
    slot: u32,
    generation: slab::Generation,
}

/// Pending timers, each with an item that is handed back when it is due or cancelled.
#[derive(Debug)]
pub struct Timers<T> {
    heap: Heap,
    slab: Slab<T>,
    live: usize,
}

impl<T> Timers<T> {
    /// An empty set of timers; allocates nothing.
    pub fn new() -> Self {
        Self { heap: Heap::new(), slab: Slab::new(), live: 0 }
    }

    /// Schedules `item` for `deadline`. Among equal deadlines, the one inserted first is due first.
    #[inline]
    pub fn insert(&mut self, deadline: u64, item: T) -> TimerKey {
        let key = self.slab.insert(item);
        self.heap.push(deadline, key.slot);
        self.live += 1;
        key
    }

    /// Takes the timer back before it is due. `None` if it has fired or was cancelled already.
    #[inline]
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let item = self.slab.take(key)?;
        self.live -= 1;
        if self.heap.pop_last_if(key.slot) {
            self.slab.release(key.slot);
        }
        self.keep_tombstones_few();
        Some(item)
    }

    /// The item of a timer that is still pending.
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        self.slab.get(key)
    }

    /// The same, to be exchanged in its place.
    #[inline]
    pub fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        self.slab.get_mut(key)
    }

    /// Every pending timer's key and item, in no particular order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (TimerKey, &mut T)> {
        self.slab.iter_mut()
    }

    /// Puts another item in the place of the one that is pending, which comes back.
    pub fn replace(&mut self, key: TimerKey, item: T) -> Result<T, T> {
        match self.slab.get_mut(key) {
            Some(place) => Ok(std::mem::replace(place, item)),
            None => Err(item),
        }
    }

    /// When the next live timer is due. Cancelled ones that stand before it are forgotten on the way.
    #[inline]
    pub fn next_deadline(&mut self) -> Option<u64> {
        loop {
            let first = self.heap.first()?;
            if self.slab.is_live(first.slot()) {
                return Some(first.deadline());
            }
            self.remove_first(first);
        }
    }

    /// Takes the next timer whose deadline is not after `now`, in the order of deadline, then of insertion.
    #[inline]
    pub fn pop_due(&mut self, now: u64) -> Option<T> {
        loop {
            let first = self.heap.first().filter(|first| first.deadline() <= now)?;
            if let Some(item) = self.remove_first(first) {
                self.live -= 1;
                self.keep_tombstones_few();
                return Some(item);
            }
        }
    }

    /// How many timers are pending; cancelled ones do not count.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no timer is pending.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Every pending timer with its deadline, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.heap.iter().filter_map(|entry| Some((entry.deadline(), self.slab.item(entry.slot())?)))
    }

    /// Forgets every timer and hands their items back, in no particular order.
    pub fn clear(&mut self) -> Vec<T> {
        self.live = 0;
        self.heap.clear();
        let items = self.slab.drain();
        self.halve_capacity();
        items
    }

    #[inline]
    fn remove_first(&mut self, first: Entry) -> Option<T> {
        self.heap.pop_first();
        let item = self.slab.take_slot(first.slot());
        self.slab.release(first.slot());
        if self.heap.is_empty() && self.slab.capacity() > KEPT_CAPACITY {
            self.halve_capacity();
        }
        item
    }

    #[inline]
    fn keep_tombstones_few(&mut self) {
        let tombstones = self.heap.len() - self.live;
        let majority = tombstones > TOLERATED_TOMBSTONES && tombstones > self.live;
        if majority || (self.live == 0 && self.slab.capacity() > KEPT_CAPACITY * 4) {
            self.compact();
        }
    }

    #[cold]
    fn compact(&mut self) {
        let slab = &mut self.slab;
        self.heap.retain(|entry| {
            let live = slab.is_live(entry.slot());
            if !live {
                slab.release(entry.slot());
            }
            live
        });
        self.slab.trim(self.live);
        self.shrink_after_burst();
    }

    /// A factor of eight between shrinking and what is live keeps a burst that recurs from reallocating each time.
    fn shrink_after_burst(&mut self) {
        let kept = (self.live * 2).max(KEPT_CAPACITY);
        if self.heap.capacity() > kept * 4 {
            self.heap.shrink_to(kept);
        }
        if self.slab.capacity() > kept * 4 {
            self.slab.shrink_to(kept);
        }
    }

    /// Halving, not freeing: a burst that recurs finds half of its room, and one that does not is soon forgotten.
    #[cold]
    fn halve_capacity(&mut self) {
        self.slab.trim(0);
        self.heap.shrink_to((self.heap.capacity() / 2).max(KEPT_CAPACITY));
        self.slab.shrink_to((self.slab.capacity() / 2).max(KEPT_CAPACITY));
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Action {
        Insert(u64),
        Cancel(prop::sample::Index),
        Advance(u64),
        Peek,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            5 => (0..40u64).prop_map(Action::Insert),
            4 => any::<prop::sample::Index>().prop_map(Action::Cancel),
            1 => (0..10u64).prop_map(Action::Advance),
            1 => Just(Action::Peek),
        ]
    }

    /// What the structure must be indistinguishable from: a list that is sorted whenever it is asked.
    #[derive(Default)]
    struct Model {
        pending: Vec<(u64, usize)>,
    }

    impl Model {
        fn remove(&mut self, id: usize) -> Option<usize> {
            let at = self.pending.iter().position(|&(_, pending)| pending == id)?;
            Some(self.pending.remove(at).1)
        }

        fn pop_due(&mut self, now: u64) -> Option<usize> {
            let &(deadline, id) = self.pending.iter().min()?;
            (deadline <= now).then(|| self.remove(id)).flatten()
        }
    }

    fn check(actions: Vec<Action>) {
        let (mut timers, mut model) = (Timers::new(), Model::default());
        let (mut keys, mut now) = (Vec::new(), 0);
        for action in actions {
            match action {
                Action::Insert(delay) => {
                    model.pending.push((now + delay, keys.len()));
                    keys.push(timers.insert(now + delay, keys.len()));
                }
                Action::Cancel(index) if !keys.is_empty() => {
                    let id = index.index(keys.len());
                    let expected = model.remove(id);
                    assert_eq!(timers.get(keys[id]).copied(), expected);
                    assert_eq!(timers.cancel(keys[id]), expected);
                }
                Action::Cancel(_) => {}
                Action::Advance(by) => {
                    now += by;
                    while let Some(id) = model.pop_due(now) {
                        assert_eq!(timers.pop_due(now), Some(id));
                    }
                    assert_eq!(timers.pop_due(now), None);
                }
                Action::Peek => {
                    assert_eq!(timers.next_deadline(), model.pending.iter().map(|p| p.0).min());
                }
            }
            assert_eq!(timers.len(), model.pending.len());
            assert!(timers.heap.len() <= 2 * timers.len() + TOLERATED_TOMBSTONES);
        }
        let mut left: Vec<_> = timers.iter().map(|(deadline, &id)| (deadline, id)).collect();
        left.sort_unstable();
        model.pending.sort_unstable();
        assert_eq!(left, model.pending);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        #[test]
        fn agrees_with_a_sorted_list(actions in prop::collection::vec(action(), 1..600)) {
            check(actions);
        }
    }

    #[test]
    fn equal_deadlines_fire_in_insertion_order() {
        let mut timers = Timers::new();
        for id in 0..100 {
            timers.insert(7, id);
        }
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop_due(7)).collect();
        assert_eq!(fired, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn insertion_order_survives_the_end_of_the_sequence_numbers() {
        let mut timers = Timers::new();
        timers.heap.set_sequence(u32::MAX - 50);
        for id in 0..100 {
            timers.insert(7, id);
        }
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop_due(7)).collect();
        assert_eq!(fired, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_due_before_its_deadline() {
        let mut timers = Timers::new();
        timers.insert(10, ());
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(10), Some(()));
        assert!(timers.is_empty());
    }

    #[test]
    fn a_stale_key_finds_nothing_even_when_its_slot_lives_again() {
        let mut timers = Timers::new();
        let old = timers.insert(1, "old");
        assert_eq!(timers.cancel(old), Some("old"));
        let new = timers.insert(1, "new");
        assert_eq!(old.slot, new.slot);
        assert_eq!(timers.get(old), None);
        assert_eq!(timers.cancel(old), None);
        assert_eq!(timers.clear(), ["new"]);
        let next = timers.insert(1, "next");
        assert_eq!(timers.cancel(new), None);
        assert_eq!(timers.cancel(next), Some("next"));
    }

    #[test]
    fn a_timeout_set_and_cancelled_at_once_leaves_nothing_behind() {
        let mut timers = Timers::new();
        timers.insert(0, 0);
        for deadline in 1..10_000 {
            let key = timers.insert(deadline, 1);
            assert_eq!(timers.cancel(key), Some(1));
            assert_eq!(timers.heap.len(), 1);
        }
        assert_eq!(timers.slab.len(), 2);
    }

    #[test]
    fn memory_returns_after_a_burst_that_is_cancelled() {
        let count: u64 = if cfg!(miri) { 20_000 } else { 1_000_000 };
        let mut timers = Timers::new();
        let keys: Vec<_> = (0..count).map(|deadline| timers.insert(deadline, deadline)).collect();
        for (key, id) in keys.into_iter().zip(0..) {
            assert_eq!(timers.cancel(key), Some(id));
        }
        assert!(timers.is_empty());
        assert_eq!(timers.next_deadline(), None);
        let most = 4 * KEPT_CAPACITY;
        assert!(timers.heap.capacity() <= most, "heap keeps {}", timers.heap.capacity());
        assert!(timers.slab.capacity() <= most, "slab keeps {}", timers.slab.capacity());
    }

    #[test]
    fn memory_returns_step_by_step_after_a_burst_that_fires() {
        let mut timers = Timers::new();
        for deadline in 0..20_000 {
            timers.insert(deadline, deadline);
        }
        for round in 0..8 {
            timers.insert(0, round);
            while timers.pop_due(u64::MAX).is_some() {}
        }
        assert!(timers.slab.capacity() <= KEPT_CAPACITY);
        assert!(timers.heap.capacity() <= KEPT_CAPACITY);
    }

    #[test]
    fn memory_returns_after_a_burst_though_some_timers_always_live() {
        let mut timers = Timers::new();
        let burst: Vec<_> = (0..40_000).map(|deadline| timers.insert(deadline, ())).collect();
        let mut living: VecDeque<_> = (0..100).map(|deadline| timers.insert(deadline, ())).collect();
        assert!(burst.into_iter().all(|key| timers.cancel(key).is_some()));
        for deadline in 0..40_000 {
            living.push_back(timers.insert(deadline, ()));
            assert_eq!(living.pop_front().and_then(|oldest| timers.cancel(oldest)), Some(()));
        }
        assert_eq!(timers.len(), 100);
        assert!(timers.slab.len() <= KEPT_CAPACITY + 200, "slab keeps {}", timers.slab.len());
    }

    #[test]
    fn slots_given_up_by_the_slab_are_not_used_from_the_free_list() {
        let mut timers = Timers::new();
        let keys: Vec<_> = (0..1000).map(|deadline| timers.insert(deadline, deadline)).collect();
        for key in &keys[300..] {
            timers.cancel(*key);
        }
        let again: Vec<_> = (0..1000).map(|id| timers.insert(id, id + 5000)).collect();
        for (key, id) in again.iter().zip(0..) {
            assert_eq!(timers.get(*key), Some(&(id + 5000)));
        }
        assert_eq!(timers.len(), 1300);
        assert!(keys[..300].iter().all(|key| timers.get(*key).is_some()));
    }
}
