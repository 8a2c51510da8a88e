//! What a read wants: how much of what has arrived, or is just arriving, is the answer.

use velodrome_engine::streams::read::{self, Read};
use velodrome_engine::streams::{ByteBuffer, ReadUntil};

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
