//! Datagrams that were sent and that the kernel has not taken yet.
//!
//! Pure. A datagram leaves whole, so there is no arithmetic of parts as in `write_queue`; what was lent is handed back
//! here too, for the caller to drop when nothing is borrowed.

use std::collections::VecDeque;

use crate::sys::{BATCH, Outgoing, Peer};
use crate::transport::write_queue::Chunk;

/// How a datagram is to leave.
#[derive(Debug)]
pub(super) enum Way {
    /// By the kernel, to this address or to the one that the socket is connected to.
    Kernel(Option<Peer>),
    /// By the face, which alone understands the address.
    Face,
}

#[derive(Debug)]
struct Pending {
    chunk: Chunk,
    way: Way,
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

    pub(super) fn push(&mut self, chunk: Chunk, way: Way) {
        self.size += chunk.bytes().len() + self.header;
        self.pending.push_back(Pending { chunk, way });
    }

    /// Takes the next datagram out if it is for the face to send.
    pub(super) fn take_faces(&mut self) -> Option<Chunk> {
        let is_faces = matches!(self.pending.front(), Some(Pending { way: Way::Face, .. }));
        if is_faces { self.consume(1).pop() } else { None }
    }

    /// The face could not send it yet.
    pub(super) fn put_back(&mut self, chunk: Chunk) {
        self.size += chunk.bytes().len() + self.header;
        self.pending.push_front(Pending { chunk, way: Way::Face });
    }

    /// Shows what the kernel is to be given next, as much as one call takes, to `send`.
    pub(super) fn with_front<R>(&self, send: impl FnOnce(&[Outgoing<'_>]) -> R) -> R {
        let mut front: [Outgoing<'_>; BATCH] = [(&[], None); BATCH];
        let mut count = 0;
        for (place, pending) in front.iter_mut().zip(&self.pending) {
            let Way::Kernel(to) = &pending.way else { break };
            *place = (pending.chunk.bytes(), to.as_ref());
            count += 1;
        }
        send(&front[..count])
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
            queue.push(Chunk::Owned(data.into()), Way::Kernel(Peer::unix(b"x").ok()));
        }
        assert_eq!((queue.size(), shown(&queue).len()), (8 + 24, 3));
        assert_eq!(queue.consume(2).len(), 2);
        assert_eq!((queue.size(), shown(&queue)), (5 + 8, vec![b"three".to_vec()]));
        assert_eq!(queue.clear().len(), 1);
        assert!(queue.is_empty() && queue.size() == 0);
    }

    #[test]
    fn what_the_face_sends_waits_its_turn() {
        let mut queue = Queue::new(8);
        queue.push(Chunk::Owned(b"one".into()), Way::Kernel(None));
        queue.push(Chunk::Owned(b"face".into()), Way::Face);
        queue.push(Chunk::Owned(b"two".into()), Way::Kernel(None));
        assert_eq!((shown(&queue), queue.take_faces().is_none()), (vec![b"one".to_vec()], true));
        drop(queue.consume(1));
        assert!(shown(&queue).is_empty());
        let chunk = queue.take_faces().unwrap();
        assert_eq!((chunk.bytes(), queue.size()), (&b"face"[..], 3 + 8));
        queue.put_back(chunk);
        assert_eq!((queue.size(), shown(&queue).len()), (7 + 16, 0));
        assert!(queue.take_faces().is_some());
        assert_eq!(shown(&queue), [b"two"]);
    }

    #[test]
    fn one_call_shows_no_more_than_fits() {
        let mut queue = Queue::new(0);
        for byte in 0..BATCH as u8 + 2 {
            queue.push(Chunk::Owned(vec![byte]), Way::Kernel(None));
        }
        assert_eq!(shown(&queue).len(), BATCH);
        drop(queue.consume(BATCH));
        assert_eq!(shown(&queue), [[BATCH as u8], [BATCH as u8 + 1]]);
    }
}
