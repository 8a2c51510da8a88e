//! Bytes that were written and that the kernel has not taken yet.
//!
//! Pure, so that the arithmetic of partial writes is tested without a socket. It must never drop a chunk that a
//! face has lent while it is itself borrowed: letting go of a face's object may run the face's code, and that code
//! may write to this very transport. So whatever was lent is handed back, for the caller to drop when it is free to.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::Range;

use crate::census::Member;

/// Most chunks that leave in one system call. The kernel would take 1024, but that is 16 KiB of stack to fill in
/// before every write; with 64 it is one, and the cost of the call is spread thinly enough.
pub const MAX_SLICES: usize = 64;

/// A response is a head and a body, and filling in 64 slices takes 130 instructions.
const FEW_SLICES: usize = 4;

/// Small writes are joined up to this many bytes: a page, so that joining copies less than a system call costs.
pub(super) const JOINED: usize = 4096;

/// Bytes of one write.
pub enum Chunk {
    /// Bytes that the queue may keep, and add to.
    Owned(Vec<u8>),
    /// Bytes that somebody lends, an object of a face for instance, so that they need not be copied. They must not
    /// change while they are lent.
    Shared(Box<dyn AsRef<[u8]>>),
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(lent) => (**lent).as_ref(),
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Owned(_) => "Owned",
            Self::Shared(_) => "Shared",
        };
        write!(f, "{kind}({} bytes)", self.bytes().len())
    }
}

/// A chunk, and which part of it is still to be sent.
#[derive(Debug)]
struct Pending {
    chunk: Chunk,
    unsent: Range<usize>,
    _member: Member,
}

impl Pending {
    /// Nothing, should something lent have become shorter against its promise.
    fn bytes(&self) -> &[u8] {
        self.chunk.bytes().get(self.unsent.clone()).unwrap_or_default()
    }
}

/// What is still to be sent, in the order in which it was written. Never holds an empty chunk.
#[derive(Debug, Default)]
pub struct WriteQueue {
    /// Made when a first chunk must wait, and kept: most connections are never written to faster than they take it.
    #[allow(clippy::box_collection, reason = "one word in every connection, for what few have")]
    pending: OnceCell<Box<RefCell<VecDeque<Pending>>>>,
    /// The sum of all that is unsent, kept so that flow control can ask after every write.
    unsent: Cell<usize>,
}

impl WriteQueue {
    /// An empty queue; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes are still to be sent.
    #[inline]
    pub fn len(&self) -> usize {
        self.unsent.get()
    }

    /// Whether everything has been sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.unsent.get() == 0
    }

    /// Adds a chunk of which the first `skip` bytes have been sent already. One with nothing left to send is dropped
    /// at once, so a caller that lends should not pass such a one while it holds a borrow.
    pub fn push(&self, chunk: Chunk, skip: usize) {
        let end = chunk.bytes().len();
        if skip >= end {
            return;
        }
        self.unsent.set(self.unsent.get() + end - skip);
        let mut pending = self.pending.get_or_init(Box::default).borrow_mut();
        if !joins_tail(&mut pending, &chunk, skip) {
            pending.push_back(Pending { chunk, unsent: skip..end, _member: Member::of("write") });
        }
    }

    /// Shows what is to be sent next, as much as fits one system call, to `write`, which must not come back here.
    pub fn with_slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let Some(pending) = self.pending.get() else { return write(&[]) };
        let pending = pending.borrow();
        if pending.len() <= FEW_SLICES {
            write_first::<FEW_SLICES, _>(&pending, write)
        } else {
            write_first::<MAX_SLICES, _>(&pending, write)
        }
    }

    /// Records that the next `sent` bytes have been sent. Returns the lent chunks that are done with.
    #[must_use = "what a face has lent must be dropped when nothing is borrowed"]
    pub fn consume(&self, mut sent: usize) -> Vec<Chunk> {
        let mut done = Vec::new();
        let Some(pending) = self.pending.get() else { return done };
        let mut pending = pending.borrow_mut();
        while let Some(first) = pending.front_mut() {
            let step = sent.min(first.unsent.len());
            first.unsent.start += step;
            self.unsent.set(self.unsent.get() - step);
            sent -= step;
            if !first.unsent.is_empty() {
                break;
            }
            let first = pending.pop_front();
            done.extend(first.map(|first| first.chunk).filter(|chunk| matches!(chunk, Chunk::Shared(_))));
        }
        done
    }

    /// Forgets everything. Returns what was pending.
    #[must_use = "what a face has lent must be dropped when nothing is borrowed"]
    pub fn clear(&self) -> Vec<Chunk> {
        self.unsent.set(0);
        let pending = self.pending.get().map(|pending| pending.take());
        pending.into_iter().flatten().map(|pending| pending.chunk).collect()
    }

    /// Visits everything lent, for a host that traces the references between its objects.
    pub fn for_each_shared(&self, visit: &mut dyn FnMut(&dyn AsRef<[u8]>)) {
        let Some(pending) = self.pending.get() else { return };
        for pending in &*pending.borrow() {
            if let Chunk::Shared(lent) = &pending.chunk {
                visit(&**lent);
            }
        }
    }
}

/// Shows the first chunks, `N` at most.
fn write_first<const N: usize, R>(pending: &VecDeque<Pending>, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
    let mut slices = [IoSlice::new(&[]); N];
    for (slice, pending) in slices.iter_mut().zip(pending) {
        *slice = IoSlice::new(pending.bytes());
    }
    write(&slices[..pending.len().min(N)])
}

/// Whether `chunk` was added to the last one's bytes.
fn joins_tail(pending: &mut VecDeque<Pending>, chunk: &Chunk, skip: usize) -> bool {
    let Chunk::Owned(bytes) = chunk else { return false };
    let Some(Pending { chunk: Chunk::Owned(tail), unsent, .. }) = pending.back_mut() else {
        return false;
    };
    let fits = tail.len() + bytes.len() - skip <= JOINED;
    if fits {
        tail.extend_from_slice(&bytes[skip..]);
        unsent.end = tail.len();
    }
    fits
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    struct Lent(Rc<Vec<u8>>);

    impl AsRef<[u8]> for Lent {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    fn lent(bytes: &[u8]) -> Chunk {
        Chunk::Shared(Box::new(Lent(Rc::new(bytes.to_vec()))))
    }

    fn shown(queue: &WriteQueue) -> Vec<u8> {
        queue.with_slices(|slices| slices.iter().flat_map(|slice| slice.iter().copied()).collect())
    }

    fn count(queue: &WriteQueue) -> usize {
        queue.with_slices(|slices| slices.len())
    }

    #[test]
    fn small_owned_writes_are_joined_and_others_are_not() {
        let queue = WriteQueue::new();
        queue.push(Chunk::Owned(b"head".to_vec()), 0);
        queue.push(Chunk::Owned(b"xbody".to_vec()), 1);
        assert_eq!((count(&queue), shown(&queue)), (1, b"headbody".to_vec()));
        queue.push(lent(b"lent"), 0);
        queue.push(Chunk::Owned(vec![0; JOINED]), 0);
        queue.push(Chunk::Owned(vec![0; 1]), 0);
        assert_eq!((count(&queue), queue.len()), (4, 8 + 4 + JOINED + 1));
    }

    #[test]
    fn what_is_sent_already_is_not_stored() {
        let queue = WriteQueue::new();
        queue.push(Chunk::Owned(Vec::new()), 0);
        queue.push(lent(b"abc"), 3);
        assert_eq!((count(&queue), queue.is_empty()), (0, true));
    }

    #[test]
    fn what_was_lent_is_handed_back_once_it_is_sent() {
        let kept = Rc::new(b"abc".to_vec());
        let queue = WriteQueue::new();
        queue.push(Chunk::Shared(Box::new(Lent(Rc::clone(&kept)))), 1);
        queue.push(Chunk::Owned(b"d".to_vec()), 0);
        let mut seen = 0;
        queue.for_each_shared(&mut |lent| seen += lent.as_ref().len());
        assert_eq!(seen, 3);
        assert!(queue.consume(1).is_empty());
        let done = queue.consume(1);
        assert_eq!((done.len(), Rc::strong_count(&kept)), (1, 2));
        drop(done);
        assert_eq!((shown(&queue), Rc::strong_count(&kept)), (b"d".to_vec(), 1));
        assert_eq!(queue.clear().len(), 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_call_shows_no_more_than_fits() {
        let queue = WriteQueue::new();
        for byte in 0..100 {
            queue.push(lent(&[byte]), 0);
        }
        assert_eq!(count(&queue), MAX_SLICES);
        assert_eq!(queue.consume(MAX_SLICES).len(), MAX_SLICES);
        assert_eq!(shown(&queue), (64..100).collect::<Vec<u8>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        #[test]
        fn every_byte_leaves_once_and_in_order(
            writes in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..900), 0..9usize), 0..40),
            sent in prop::collection::vec(0..2000usize, 0..40),
        ) {
            let (queue, mut expected, mut left) = (WriteQueue::new(), Vec::new(), Vec::new());
            let mut sent = sent.into_iter();
            for (share, bytes, skip) in writes {
                expected.extend(bytes.iter().skip(skip));
                queue.push(if share { lent(&bytes) } else { Chunk::Owned(bytes) }, skip);
                let now = shown(&queue);
                let step = sent.next().unwrap_or(0).min(now.len());
                left.extend_from_slice(&now[..step]);
                drop(queue.consume(step));
                prop_assert_eq!(queue.len(), expected.len() - left.len());
            }
            left.extend(shown(&queue));
            prop_assert_eq!(left, expected);
        }
    }
}
