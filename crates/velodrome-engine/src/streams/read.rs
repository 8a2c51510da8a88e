//! One attempt of each of asyncio's reads on a [`ByteBuffer`].
//!
//! Each either says how much of what is kept is the answer, which whoever called then takes to where it is wanted, or says
//! [`Read::NeedMore`]; then whoever called waits for bytes, or for their end, and tries again. None of them waits by
//! itself, which is what lets a future, an awaitable and a test share them.

use super::buffer::ByteBuffer;
use super::until::{Found, Overrun, ReadUntil, line_overrun};

/// How an attempt to read ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// The first so many bytes are what was asked for, to be taken from the buffer.
    Done(usize),
    /// Not enough has arrived; try again after more has, or after the end.
    NeedMore,
    /// The stream ended before enough had arrived: what there is, to be taken from the buffer, is all there will be.
    Incomplete,
    /// The message is longer than the limit allows; see [`Found::TooLong`].
    TooLong {
        /// How many bytes certainly belong to the message, not counting its separator.
        consumed: usize,
        /// Whether its end is known.
        overrun: Overrun,
    },
}

/// Up to `most` bytes as soon as there is one; none only at the end of the stream, or if none are wanted.
pub fn some(buffer: &ByteBuffer, most: usize, ended: bool) -> Read {
    if buffer.is_empty() && !ended && most > 0 {
        return Read::NeedMore;
    }
    Read::Done(most.min(buffer.len()))
}

/// Exactly `count` bytes. No limit applies.
pub fn exactly(buffer: &ByteBuffer, count: usize, ended: bool) -> Read {
    if buffer.len() >= count { Read::Done(count) } else { at_end(ended) }
}

/// Up to and including a separator. When the message is too long, it stays in the buffer.
pub fn until(buffer: &ByteBuffer, until: &mut ReadUntil, limit: usize, ended: bool) -> Read {
    match until.search(buffer.as_slice(), limit) {
        Found::At(end) => Read::Done(end),
        Found::NeedMore => at_end(ended),
        Found::TooLong { consumed, overrun } => Read::TooLong { consumed, overrun },
    }
}

/// A line, with its end; at the end of the stream, what is left. `line` must come from [`ReadUntil::line`]. When the
/// line is too long, what is known of it leaves the buffer.
pub fn line(buffer: &mut ByteBuffer, line: &mut ReadUntil, limit: usize, ended: bool) -> Read {
    match until(buffer, line, limit, ended) {
        Read::Incomplete => Read::Done(buffer.len()),
        Read::TooLong { consumed, overrun } => {
            buffer.consume(line_overrun(buffer.as_slice(), consumed));
            Read::TooLong { consumed, overrun }
        }
        complete => complete,
    }
}

fn at_end(ended: bool) -> Read {
    if ended { Read::Incomplete } else { Read::NeedMore }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(bytes: &[u8]) -> ByteBuffer {
        let mut buffer = ByteBuffer::new();
        buffer.feed(bytes);
        buffer
    }

    #[test]
    fn some_waits_only_for_the_first_byte() {
        assert_eq!(some(&holding(b""), 4, false), Read::NeedMore);
        assert_eq!(some(&holding(b""), 0, false), Read::Done(0));
        assert_eq!(some(&holding(b""), 4, true), Read::Done(0));
        assert_eq!(some(&holding(b"abcdef"), 4, false), Read::Done(4));
        assert_eq!(some(&holding(b"ab"), 4, false), Read::Done(2));
    }

    #[test]
    fn exactly_is_all_or_an_incomplete_end() {
        assert_eq!(exactly(&holding(b"abc"), 4, false), Read::NeedMore);
        assert_eq!(exactly(&holding(b"abc"), 4, true), Read::Incomplete);
        assert_eq!(exactly(&holding(b"abcde"), 4, true), Read::Done(4));
    }

    #[test]
    fn until_leaves_a_message_that_is_too_long() {
        let buffer = holding(b"too long\n");
        let read = until(&buffer, &mut ReadUntil::line(), 3, false);
        assert_eq!(read, Read::TooLong { consumed: 8, overrun: Overrun::SeparatorFound });
        assert_eq!(buffer.len(), 9);
    }

    #[test]
    fn a_separator_that_came_with_the_end_is_found() {
        assert_eq!(until(&holding(b"one\ntwo"), &mut ReadUntil::line(), 99, true), Read::Done(4));
        assert_eq!(until(&holding(b"two"), &mut ReadUntil::line(), 99, true), Read::Incomplete);
    }

    #[test]
    fn line_gives_the_rest_at_the_end() {
        assert_eq!(line(&mut holding(b"one\ntwo"), &mut ReadUntil::line(), 99, true), Read::Done(4));
        assert_eq!(line(&mut holding(b"two"), &mut ReadUntil::line(), 99, true), Read::Done(3));
        assert_eq!(line(&mut holding(b""), &mut ReadUntil::line(), 99, true), Read::Done(0));
    }

    #[test]
    fn line_drops_what_is_too_long() {
        let mut buffer = holding(b"too long\nshort\n");
        assert!(matches!(line(&mut buffer, &mut ReadUntil::line(), 5, false), Read::TooLong { .. }));
        assert_eq!(buffer.as_slice(), b"short\n");
        let mut endless = holding(b"endless");
        assert!(matches!(line(&mut endless, &mut ReadUntil::line(), 5, false), Read::TooLong { .. }));
        assert!(endless.is_empty());
    }
}
