//! The order of the timers: a 4-ary heap of entries that are one integer each.
//!
//! It knows deadlines and slots, not items, so that sifting moves sixteen bytes and compares them with two
//! instructions and no branch. Four children rather than two halve the depth, and their four entries are sixty-four
//! bytes that lie side by side.

/// Children per entry.
const ARITY: usize = 4;

/// Deadline, sequence and slot, from the most significant end: the order of the integers is the order of the timers.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Entry(u128);

impl Entry {
    #[inline]
    fn new(deadline: u64, sequence: u32, slot: u32) -> Self {
        Self(u128::from(deadline) << 64 | u128::from(sequence) << 32 | u128::from(slot))
    }

    #[inline]
    pub(super) fn deadline(self) -> u64 {
        (self.0 >> 64) as u64
    }

    #[inline]
    pub(super) fn slot(self) -> u32 {
        self.0 as u32
    }
}

#[derive(Debug)]
pub(super) struct Heap {
    entries: Vec<Entry>,
    sequence: u32,
}

impl Heap {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), sequence: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, deadline: u64, slot: u32) {
        if self.sequence == u32::MAX {
            self.renumber();
        }
        let entry = Entry::new(deadline, self.sequence, slot);
        self.sequence += 1;
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, entry);
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Entry> {
        self.entries.first().copied()
    }

    #[inline]
    pub(super) fn pop_first(&mut self) {
        if let Some(last) = self.entries.pop()
            && !self.entries.is_empty()
        {
            let hole = self.sink_hole(0);
            self.sift_up(hole, last);
        }
    }

    /// Removes the entry of `slot` if it happens to be where nothing needs to move.
    #[inline]
    pub(super) fn pop_last_if(&mut self, slot: u32) -> bool {
        self.entries.pop_if(|last| last.slot() == slot).is_some()
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
        for parent in (0..self.entries.len().div_ceil(ARITY)).rev() {
            let entry = self.entries[parent];
            let hole = self.sink_hole(parent);
            self.sift_up_below(parent, hole, entry);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    pub(super) fn shrink_to(&mut self, capacity: usize) {
        self.entries.shrink_to(capacity);
    }

    /// Once in four thousand million insertions: counts anew from zero. A sorted array is a heap already.
    #[cold]
    fn renumber(&mut self) {
        self.entries.sort_unstable();
        for (entry, sequence) in self.entries.iter_mut().zip(0..) {
            *entry = Entry::new(entry.deadline(), sequence, entry.slot());
        }
        self.sequence = self.entries.len() as u32;
    }

    #[inline]
    fn sift_up(&mut self, hole: usize, entry: Entry) {
        self.sift_up_below(0, hole, entry);
    }

    /// Moves the hole up while its parent is later than `entry`, but not above `top`, and fills it.
    #[inline]
    fn sift_up_below(&mut self, top: usize, mut hole: usize, entry: Entry) {
        while hole > top {
            let parent = (hole - 1) / ARITY;
            if self.entries[parent] < entry {
                break;
            }
            self.entries[hole] = self.entries[parent];
            hole = parent;
        }
        self.entries[hole] = entry;
    }

    /// Moves the hole down to a leaf along the earliest children. What fills it mostly came from a leaf and belongs
    /// near one, so asking on every level whether to stop would cost more than walking back the few steps too far.
    #[inline]
    fn sink_hole(&mut self, mut hole: usize) -> usize {
        while let Some(child) = self.earliest_child(hole) {
            self.entries[hole] = self.entries[child];
            hole = child;
        }
        hole
    }

    #[inline]
    fn earliest_child(&self, parent: usize) -> Option<usize> {
        let first = parent * ARITY + 1;
        let children = self.entries.get(first..)?;
        let Some(four) = children.first_chunk::<ARITY>() else {
            return (0..children.len()).min_by_key(|&child| children[child]).map(|child| first + child);
        };
        let left = usize::from(four[1] < four[0]);
        let right = 2 + usize::from(four[3] < four[2]);
        Some(first + if four[right] < four[left] { right } else { left })
    }
}

#[cfg(test)]
impl Heap {
    pub(super) fn set_sequence(&mut self, sequence: u32) {
        self.sequence = sequence;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(heap: &mut Heap) -> Vec<u64> {
        std::iter::from_fn(|| {
            let first = heap.first()?;
            heap.pop_first();
            Some(first.deadline())
        })
        .collect()
    }

    #[test]
    fn an_entry_gives_back_what_it_was_made_of() {
        let entry = Entry::new(u64::MAX - 1, 5, u32::MAX);
        assert_eq!((entry.deadline(), entry.slot()), (u64::MAX - 1, u32::MAX));
        assert!(Entry::new(1, 2, 9) < Entry::new(1, 3, 0));
        assert!(Entry::new(1, u32::MAX, 9) < Entry::new(2, 0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        #[test]
        fn is_a_heap_after_pushing_and_after_thinning_out(mut deadlines in prop::collection::vec(0..50u64, 0..200)) {
            let mut heap = Heap::new();
            for (&deadline, slot) in deadlines.iter().zip(0..) {
                heap.push(deadline, slot);
            }
            heap.retain(|entry| entry.deadline() % 3 != 0);
            deadlines.retain(|deadline| deadline % 3 != 0);
            deadlines.sort_unstable();
            prop_assert_eq!(drain(&mut heap), deadlines);
        }
    }
}
