//! In which order a queue gives out what was put into it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What a [`Queue`](super::Queue) keeps its items in. There are three, and no more.
///
/// ```
/// use velodrome::sync::{LifoQueue, Queue, Shelf};
///
/// /// Takes a queue of any order.
/// fn is_idle<T, S: Shelf<T>>(queue: &Queue<T, S>) -> bool {
///     queue.is_empty()
/// }
/// assert!(is_idle(&LifoQueue::<u8>::lifo(0)));
/// ```
pub trait Shelf<T>: Default + sealed::Sealed {
    #[doc(hidden)]
    fn push(&mut self, item: T);
    #[doc(hidden)]
    fn pop(&mut self) -> Option<T>;
    #[doc(hidden)]
    fn len(&self) -> usize;
    #[doc(hidden)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// First in, first out.
///
/// ```
/// use velodrome::sync::{Fifo, Queue};
/// let queue: Queue<u8, Fifo<u8>> = Queue::new(0);
/// ```
#[derive(Debug)]
pub struct Fifo<T>(VecDeque<T>);

/// Last in, first out.
///
/// ```
/// use velodrome::sync::{Lifo, Queue};
/// let queue: Queue<u8, Lifo<u8>> = Queue::lifo(0);
/// ```
#[derive(Debug)]
pub struct Lifo<T>(Vec<T>);

/// The smallest first.
///
/// ```
/// use velodrome::sync::{Priority, Queue};
/// let queue: Queue<u8, Priority<u8>> = Queue::priority(0);
/// ```
#[derive(Debug)]
pub struct Priority<T>(BinaryHeap<Reverse<T>>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Default for Priority<T> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<T> Shelf<T> for Fifo<T> {
    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Shelf<T> for Lifo<T> {
    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Ord> Shelf<T> for Priority<T> {
    fn push(&mut self, item: T) {
        self.0.push(Reverse(item));
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop().map(|Reverse(item)| item)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

mod sealed {
    use super::{Fifo, Lifo, Priority};

    pub trait Sealed {}

    impl<T> Sealed for Fifo<T> {}
    impl<T> Sealed for Lifo<T> {}
    impl<T> Sealed for Priority<T> {}
}
