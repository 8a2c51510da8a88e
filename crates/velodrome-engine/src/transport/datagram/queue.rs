//! Datagrams that were sent and that the kernel has not taken yet.
//!
//! Pure. A datagram leaves whole, so there is no arithmetic of parts as in `write_queue`; what was lent is handed back
//! here too, for the caller to drop when nothing is borrowed.

use std::collections::VecDeque;

use crate::sys::{BATCH, Outgoing, Peer};
use crate::transport::write_queue::Chunk;

#[derive(Debug)]
struct Pending {
    chunk: Chunk,
    to: Option<Peer>,
}

/// What is still to be sent, in the order in which it was given.
#[derive(Debug)]
pub(super) struct Queue {
    pending: VecDeque<Pending>,
    /// What a datagram counts beside its bytes.
    header: usize,
    /// The sum of all that is pending, headers included.
    size: usize,
}

impl Queue {
    pub(super) fn new(header: usize) -> Self {
        Self { pending: VecDeque::new(), header, size: 0 }
    }

    /// What flow control counts.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn push(&mut self, chunk: Chunk, to: Option<Peer>) {
        self.size += chunk.bytes().len() + self.header;
        self.pending.push_back(Pending { chunk, to });
    }

    /// Shows what is to be sent next, as much as one call takes, to `send`.
    pub(super) fn with_front<R>(&self, send: impl FnOnce(&[Outgoing<'_>]) -> R) -> R {
        let mut front: [Outgoing<'_>; BATCH] = [(&[], None); BATCH];
        for (place, pending) in front.iter_mut().zip(&self.pending) {
            *place = (pending.chunk.bytes(), pending.to.as_ref());
        }
        send(&front[..self.pending.len().min(BATCH)])
    }

    /// The next `count` are done with. Returns their bytes, which may be lent.
    #[must_use = "what a face has lent must be dropped when nothing is borrowed"]
    pub(super) fn consume(&mut self, count: usize) -> Vec<Chunk> {
        let done: Vec<Chunk> =
            self.pending.drain(..count.min(self.pending.len())).map(|pending| pending.chunk).collect();
        self.size -= done.iter().map(|chunk| chunk.bytes().len() + self.header).sum::<usize>();
        done
    }

    /// Forgets everything. Returns what was pending.
    #[must_use = "what a face has lent must be dropped when nothing is borrowed"]
    pub(super) fn clear(&mut self) -> Vec<Chunk> {
        self.consume(self.pending.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(queue: &Queue) -> Vec<Vec<u8>> {
        queue.with_front(|all| all.iter().map(|(data, _)| data.to_vec()).collect())
    }

    #[test]
    fn datagrams_leave_whole_and_in_order() {
        let mut queue = Queue::new(8);
        for data in ["one", "", "three"] {
            queue.push(Chunk::Owned(data.into()), Peer::unix(b"x").ok());
        }
        assert_eq!((queue.size(), shown(&queue).len()), (8 + 24, 3));
        assert_eq!(queue.consume(2).len(), 2);
        assert_eq!((queue.size(), shown(&queue)), (5 + 8, vec![b"three".to_vec()]));
        assert_eq!(queue.clear().len(), 1);
        assert!(queue.is_empty() && queue.size() == 0);
    }

    #[test]
    fn one_call_shows_no_more_than_fits() {
        let mut queue = Queue::new(0);
        for byte in 0..BATCH as u8 + 2 {
            queue.push(Chunk::Owned(vec![byte]), None);
        }
        assert_eq!(shown(&queue).len(), BATCH);
        drop(queue.consume(BATCH));
        assert_eq!(shown(&queue), [[BATCH as u8], [BATCH as u8 + 1]]);
    }
}
