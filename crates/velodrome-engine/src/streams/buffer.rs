//! Bytes on their way from a socket to a reader.
//!
//! A reader takes small pieces from the front while large ones arrive at the end. Moving the rest forward on every
//! read would make a buffer of many lines quadratic, so the front is only an index, and bytes move when room runs
//! out: either no more than have been taken since they last did, or into an allocation twice as large.

use std::ops::Range;

/// The least room that is allocated: below this, many small feeds would each reallocate.
const LEAST_ROOM: usize = 4096;

/// Room an empty buffer keeps. A larger one served an unusual message, and idle connections are many.
const KEPT_ROOM: usize = 256 * 1024;

/// A sliding buffer: bytes are added at the end and taken from the front.
#[derive(Debug, Default)]
pub struct ByteBuffer {
    /// Initialised throughout, so that a read may go straight into what is not occupied; zeroed once, when it grows.
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl ByteBuffer {
    /// An empty buffer; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes can be taken.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there is nothing to take.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// All that can be taken.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.storage.get(self.occupied()).unwrap_or_default()
    }

    /// Adds bytes at the end. The first ones get exactly the room they need: mostly they are a message, which is taken as
    /// a whole, and then nothing is copied again, and nothing kept for a connection that is idle.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.storage.is_empty() {
            self.storage = bytes.to_vec();
            self.end = bytes.len();
            return;
        }
        self.reserve(bytes.len());
        self.storage[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Makes sure that at least `room` bytes can be added without another move or allocation.
    #[inline]
    pub fn reserve(&mut self, room: usize) {
        if self.storage.len() - self.end < room {
            self.make_room(room);
        }
    }

    /// All the room there is at the end, at least `room` bytes, for a read to go into. What it contains is of no
    /// meaning; [`commit`](Self::commit) says how much of it has become data.
    pub fn spare(&mut self, room: usize) -> &mut [u8] {
        self.reserve(room);
        &mut self.storage[self.end..]
    }

    /// Declares the first `count` bytes of the spare room to be data.
    pub fn commit(&mut self, count: usize) {
        self.end = self.storage.len().min(self.end + count);
    }

    /// Takes up to `count` bytes from the front.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        if self.hands_over(count) {
            return self.hand_over();
        }
        let taken = self.as_slice()[..count.min(self.len())].to_vec();
        self.consume(count);
        taken
    }

    /// Drops up to `count` bytes from the front.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        if count >= self.len() {
            self.clear();
        } else {
            self.start += count;
        }
    }

    /// Drops everything.
    #[inline]
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
        if self.storage.len() > KEPT_ROOM {
            self.storage = Vec::new();
        }
    }

    #[inline]
    fn occupied(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Copying is spared where everything is wanted and the allocation is not mostly empty.
    fn hands_over(&self, count: usize) -> bool {
        self.start == 0 && count >= self.end && self.end * 2 >= self.storage.len()
    }

    fn hand_over(&mut self) -> Vec<u8> {
        let mut taken = std::mem::take(&mut self.storage);
        taken.truncate(self.end);
        self.end = 0;
        taken
    }

    #[cold]
    fn make_room(&mut self, room: usize) {
        let needed = self.len() + room;
        if needed <= self.storage.len() && self.start >= self.len() {
            let occupied = self.occupied();
            self.storage.copy_within(occupied, 0);
        } else {
            let mut larger = vec![0; needed.max(self.len() * 2).max(LEAST_ROOM)];
            larger[..self.len()].copy_from_slice(self.as_slice());
            self.storage = larger;
        }
        (self.start, self.end) = (0, self.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Action {
        Feed(Vec<u8>),
        Read(Vec<u8>),
        Take(usize),
        Consume(usize),
        Clear,
    }

    fn action() -> impl Strategy<Value = Action> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..3000);
        prop_oneof![
            8 => bytes().prop_map(Action::Feed),
            8 => bytes().prop_map(Action::Read),
            8 => (0..5000usize).prop_map(Action::Take),
            8 => (0..2000usize).prop_map(Action::Consume),
            1 => Just(Action::Clear),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        #[test]
        fn agrees_with_a_vector(actions in prop::collection::vec(action(), 1..40)) {
            let (mut buffer, mut model) = (ByteBuffer::new(), Vec::new());
            for action in actions {
                match action {
                    Action::Feed(bytes) => {
                        buffer.feed(&bytes);
                        model.extend(bytes);
                    }
                    Action::Read(bytes) => {
                        buffer.spare(bytes.len())[..bytes.len()].copy_from_slice(&bytes);
                        buffer.commit(bytes.len());
                        model.extend(bytes);
                    }
                    Action::Take(count) => {
                        let expected: Vec<u8> = model.drain(..count.min(model.len())).collect();
                        prop_assert_eq!(buffer.take(count), expected);
                    }
                    Action::Consume(count) => {
                        buffer.consume(count);
                        model.drain(..count.min(model.len()));
                    }
                    Action::Clear => {
                        buffer.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(buffer.as_slice(), model.as_slice());
                prop_assert_eq!((buffer.len(), buffer.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }

    #[test]
    fn a_stream_that_is_never_drained_completely_does_not_grow() {
        let mut buffer = ByteBuffer::new();
        buffer.feed(b"rest");
        for _ in 0..10_000 {
            buffer.feed(&[7; 100]);
            buffer.consume(100);
        }
        assert_eq!((buffer.len(), buffer.storage.len()), (4, LEAST_ROOM));
    }

    #[test]
    fn a_message_that_is_taken_as_a_whole_is_copied_once_and_leaves_nothing() {
        let mut buffer = ByteBuffer::new();
        buffer.feed(&[7; 100]);
        let there = buffer.as_slice().as_ptr();
        let taken = buffer.take(1000);
        assert_eq!((taken.as_ptr(), taken.len(), buffer.storage.capacity()), (there, 100, 0));
    }

    #[test]
    fn room_for_an_unusual_message_is_not_kept() {
        let mut buffer = ByteBuffer::new();
        buffer.feed(&vec![1; KEPT_ROOM + 1]);
        buffer.consume(usize::MAX);
        assert!(buffer.storage.is_empty());
    }
}
