//! The items of the timers, each in a slot that keeps its number while the timer lives.
//!
//! It is separate from the heap because the two are asked different questions: a key finds its item here in one
//! step, wherever the heap has moved the entry meanwhile. A slot is in one of three states: live (it has an item),
//! cancelled (no item, but the heap still has its entry), or vacant (no item, no entry, number on a free list).

use std::num::NonZeroU64;

use super::{KEPT_CAPACITY, TimerKey};

/// The number of an insertion. Never repeated in the life of a slab, not even for a slot that was given up and
/// grown again; not zero, so that an optional key is no larger than a key.
pub(super) type Generation = NonZeroU64;

#[derive(Debug)]
struct Slot<T> {
    generation: Generation,
    item: Option<T>,
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// Vacant slots below the ceiling. The last is used next: it was released last, and is likely in the cache.
    low: Vec<u32>,
    /// Vacant slots from the ceiling on, left alone while there is a low one, so that the slab can become shorter.
    high: Vec<u32>,
    /// Slots from here on are more than the timers needed at the last trimming.
    ceiling: u32,
    /// Slots released since the last trimming, which pay for the next.
    released: usize,
    next_generation: Generation,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            low: Vec::new(),
            high: Vec::new(),
            ceiling: u32::MAX,
            released: 0,
            next_generation: Generation::MIN,
        }
    }

    #[inline]
    pub(super) fn insert(&mut self, item: T) -> TimerKey {
        let generation = self.next_generation;
        self.next_generation = generation.saturating_add(1);
        let filled = Slot { generation, item: Some(item) };
        if let Some(slot) = self.low.pop().or_else(|| self.high.pop()) {
            self.slots[slot as usize] = filled;
            return TimerKey { slot, generation };
        }
        self.slots.push(filled);
        TimerKey { slot: (self.slots.len() - 1) as u32, generation }
    }

    /// The item of a live timer; its slot becomes cancelled, and is not reused before [`release`](Self::release).
    #[inline]
    pub(super) fn take(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.item.take()
    }

    #[inline]
    pub(super) fn take_slot(&mut self, slot: u32) -> Option<T> {
        self.slots.get_mut(slot as usize)?.item.take()
    }

    /// Makes a cancelled slot vacant: its entry has left the heap.
    #[inline]
    pub(super) fn release(&mut self, slot: u32) {
        self.released += 1;
        self.list_vacant(slot);
    }

    pub(super) fn get(&self, key: TimerKey) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.item.as_ref().filter(|_| slot.generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        slot.item.as_mut().filter(|_| slot.generation == key.generation)
    }

    pub(super) fn item(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.item.as_ref()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (TimerKey, &mut T)> {
        let slots = self.slots.iter_mut().zip(0..);
        slots.filter_map(|(Slot { generation, item }, slot)| {
            Some((TimerKey { slot, generation: *generation }, item.as_mut()?))
        })
    }

    #[inline]
    pub(super) fn is_live(&self, slot: u32) -> bool {
        self.item(slot).is_some()
    }

    /// Takes every item and forgets every slot.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.low.clear();
        self.high.clear();
        self.slots.drain(..).filter_map(|slot| slot.item).collect()
    }

    /// Gives up the vacant slots at the end, and finds a new ceiling for the others. Only for when no slot is
    /// cancelled: those look vacant from here. It visits all slots, so it does nothing until a good part of them has
    /// been released; if none is `live`, all of them go, which their insertion has paid for.
    pub(super) fn trim(&mut self, live: usize) {
        if live > 0 && self.released < self.slots.len() / 4 {
            return;
        }
        while self.slots.pop_if(|last| last.item.is_none()).is_some() {}
        self.released = 0;
        self.ceiling = u32::try_from(live * 2 + KEPT_CAPACITY).unwrap_or(u32::MAX);
        self.low.clear();
        self.high.clear();
        for slot in (0..self.slots.len() as u32).rev() {
            if !self.is_live(slot) {
                self.list_vacant(slot);
            }
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    pub(super) fn shrink_to(&mut self, capacity: usize) {
        self.slots.shrink_to(capacity);
        self.low.shrink_to(capacity);
        self.high.shrink_to(capacity);
    }

    #[inline]
    fn list_vacant(&mut self, slot: u32) {
        let list = if slot < self.ceiling { &mut self.low } else { &mut self.high };
        list.push(slot);
    }
}

#[cfg(test)]
impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_slot_is_not_reused_before_its_release() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.take(first), Some('a'));
        assert_ne!(slab.insert('b').slot, first.slot);
        slab.release(first.slot);
        assert_eq!(slab.insert('c').slot, first.slot);
    }

    #[test]
    fn an_optional_key_is_as_small_as_a_key() {
        assert_eq!(size_of::<Option<TimerKey>>(), size_of::<TimerKey>());
    }
}
