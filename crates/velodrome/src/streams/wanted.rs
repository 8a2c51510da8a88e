//! What a read wants: how much of what has arrived, or is just arriving, is the answer, and where it goes.

use std::rc::Rc;

use velodrome_engine::streams::read::{self, Read};
use velodrome_engine::streams::{ByteBuffer, ReadUntil};
use velodrome_engine::transport::stream::Stream;

use super::connection::Connection;

/// One read, from its first attempt to its answer.
pub(super) trait Wanted {
    /// The length of the answer, if `arrived`, before which nothing is kept, begins with all of it.
    fn direct(&self, arrived: &[u8], limit: usize) -> Option<usize>;
    /// Try to take the answer from what is kept; `ended` if nothing more will come.
    fn attempt(&mut self, kept: &mut ByteBuffer, limit: usize, ended: bool) -> Read;
    /// Whether the answer is there before any byte is.
    #[inline]
    fn is_nothing(&self) -> bool {
        false
    }
    /// How long the answer is to be, if that is a number.
    fn expected(&self) -> Option<usize> {
        None
    }
}

/// Up to so many bytes.
pub(super) struct UpTo(pub(super) usize);

impl Wanted for UpTo {
    #[inline]
    fn direct(&self, arrived: &[u8], _: usize) -> Option<usize> {
        Some(arrived.len().min(self.0))
    }

    fn attempt(&mut self, kept: &mut ByteBuffer, _: usize, ended: bool) -> Read {
        read::some(kept, self.0, ended)
    }

    #[inline]
    fn is_nothing(&self) -> bool {
        self.0 == 0
    }
}

/// Neither fewer nor more.
pub(super) struct Exactly(pub(super) usize);

impl Wanted for Exactly {
    #[inline]
    fn direct(&self, arrived: &[u8], _: usize) -> Option<usize> {
        (arrived.len() >= self.0).then_some(self.0)
    }

    fn attempt(&mut self, kept: &mut ByteBuffer, _: usize, ended: bool) -> Read {
        read::exactly(kept, self.0, ended)
    }

    #[inline]
    fn is_nothing(&self) -> bool {
        self.0 == 0
    }

    fn expected(&self) -> Option<usize> {
        Some(self.0)
    }
}

/// A line, or what is left at the end.
pub(super) struct Line(pub(super) ReadUntil);

impl Wanted for Line {
    #[inline]
    fn direct(&self, arrived: &[u8], limit: usize) -> Option<usize> {
        self.0.find(arrived, limit)
    }

    fn attempt(&mut self, kept: &mut ByteBuffer, limit: usize, ended: bool) -> Read {
        read::line(kept, &mut self.0, limit, ended)
    }
}

/// Everything up to a separator.
pub(super) struct Until(pub(super) ReadUntil);

impl Wanted for Until {
    #[inline]
    fn direct(&self, arrived: &[u8], limit: usize) -> Option<usize> {
        self.0.find(arrived, limit)
    }

    fn attempt(&mut self, kept: &mut ByteBuffer, limit: usize, ended: bool) -> Read {
        read::until(kept, &mut self.0, limit, ended)
    }
}

/// Where the answer of a read goes.
pub(super) trait Destination {
    /// What the reader is told.
    type Answer;
    /// Receive what the socket has. The answer, if it begins with all of it.
    #[inline]
    fn receive(
        &mut self,
        connection: &Connection,
        socket: &Rc<Stream>,
        wanted: &impl Wanted,
    ) -> Option<Self::Answer>
    where
        Self: Sized,
    {
        connection.receive_apart(socket, wanted, self)
    }
    /// These bytes, which are on their way, are the answer.
    fn copy(&mut self, answer: &[u8]) -> Self::Answer;
    /// The first `count` bytes that are kept are the answer, and leave.
    fn take(&mut self, kept: &mut ByteBuffer, count: usize) -> Self::Answer;
}

/// Into a vector of its own.
pub(super) struct Apart;

impl Destination for Apart {
    type Answer = Vec<u8>;

    #[inline]
    fn copy(&mut self, answer: &[u8]) -> Vec<u8> {
        answer.to_vec()
    }

    fn take(&mut self, kept: &mut ByteBuffer, count: usize) -> Vec<u8> {
        kept.take(count)
    }
}

/// Behind what the reader has already.
pub(super) struct Behind<'a>(pub(super) &'a mut Vec<u8>);

impl Destination for Behind<'_> {
    type Answer = usize;

    #[inline]
    fn receive(
        &mut self,
        connection: &Connection,
        socket: &Rc<Stream>,
        wanted: &impl Wanted,
    ) -> Option<usize> {
        if connection.expects_one() && self.0.len() < self.0.capacity() {
            return connection.receive_behind(socket, wanted, self.0);
        }
        connection.receive_apart(socket, wanted, self)
    }

    #[inline]
    fn copy(&mut self, answer: &[u8]) -> usize {
        // Room for a byte more: a message that fills a vector to the brim may be followed by others.
        self.0.reserve(answer.len() + 1);
        self.0.extend_from_slice(answer);
        answer.len()
    }

    fn take(&mut self, kept: &mut ByteBuffer, count: usize) -> usize {
        let count = self.copy(&kept.as_slice()[..count.min(kept.len())]);
        kept.consume(count);
        count
    }
}
