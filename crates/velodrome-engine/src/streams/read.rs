//! One attempt of each of asyncio's reads on a [`ByteBuffer`].
//!
//! Each either completes, and takes from the buffer what asyncio would take, or says [`Read::NeedMore`]; then
//! whoever called waits for bytes, or for their end, and tries again. None of them waits by itself, which is what
//! lets a future, an awaitable and a test share them.

use super::buffer::ByteBuffer;
use super::until::{Found, Overrun, ReadUntil, line_overrun};

/// How an attempt to read ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// The bytes asked for.
    Done(Vec<u8>),
    /// Not enough has arrived; try again after more has, or after the end.
    NeedMore,
    /// The stream ended before enough had arrived. What there was has been taken.
    Incomplete(Vec<u8>),
    /// The message is longer than the limit allows; see [`Found::TooLong`].
    TooLong {
        /// How many bytes certainly belong to the message, not counting its separator.
        consumed: usize,
        /// Whether its end is known.
        overrun: Overrun,
    },
}

/// Up to `most` bytes as soon as there is one; none only at the end of the stream, or if none are wanted.
pub fn some(buffer: &mut ByteBuffer, most: usize, ended: bool) -> Read {
    if buffer.is_empty() && !ended && most > 0 {
        return Read::NeedMore;
    }
    Read::Done(buffer.take(most))
}

/// Exactly `count` bytes. No limit applies.
pub fn exactly(buffer: &mut ByteBuffer, count: usize, ended: bool) -> Read {
    if buffer.len() >= count {
        return Read::Done(buffer.take(count));
    }
    at_end(buffer, ended)
}

/// Up to and including a separator. When the message is too long, it stays in the buffer.
pub fn until(buffer: &mut ByteBuffer, until: &mut ReadUntil, limit: usize, ended: bool) -> Read {
    match until.search(buffer.as_slice(), limit) {
        Found::At(end) => Read::Done(buffer.take(end)),
        Found::NeedMore => at_end(buffer, ended),
        Found::TooLong { consumed, overrun } => Read::TooLong { consumed, overrun },
    }
}

/// A line, with its end; at the end of the stream, what is left. `line` must come from [`ReadUntil::line`]. When the
/// line is too long, what is known of it leaves the buffer.
pub fn line(buffer: &mut ByteBuffer, line: &mut ReadUntil, limit: usize, ended: bool) -> Read {
    match until(buffer, line, limit, ended) {
        Read::Incomplete(rest) => Read::Done(rest),
        Read::TooLong { consumed, overrun } => {
            buffer.consume(line_overrun(buffer.as_slice(), consumed));
            Read::TooLong { consumed, overrun }
        }
        complete => complete,
    }
}

fn at_end(buffer: &mut ByteBuffer, ended: bool) -> Read {
    if ended { Read::Incomplete(buffer.take(usize::MAX)) } else { Read::NeedMore }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(bytes: &[u8]) -> ByteBuffer {
        let mut buffer = ByteBuffer::new();
        buffer.feed(bytes);
        buffer
    }

    fn done(bytes: &[u8]) -> Read {
        Read::Done(bytes.to_vec())
    }

    #[test]
    fn some_waits_only_for_the_first_byte() {
        assert_eq!(some(&mut holding(b""), 4, false), Read::NeedMore);
        assert_eq!(some(&mut holding(b""), 0, false), done(b""));
        assert_eq!(some(&mut holding(b""), 4, true), done(b""));
        assert_eq!(some(&mut holding(b"abcdef"), 4, false), done(b"abcd"));
        assert_eq!(some(&mut holding(b"ab"), 4, false), done(b"ab"));
    }

    #[test]
    fn exactly_is_all_or_an_incomplete_end() {
        assert_eq!(exactly(&mut holding(b"abc"), 4, false), Read::NeedMore);
        assert_eq!(exactly(&mut holding(b"abc"), 4, true), Read::Incomplete(b"abc".to_vec()));
        let mut buffer = holding(b"abcde");
        assert_eq!(exactly(&mut buffer, 4, true), done(b"abcd"));
        assert_eq!(buffer.as_slice(), b"e");
    }

    #[test]
    fn until_leaves_a_message_that_is_too_long() {
        let mut buffer = holding(b"too long\n");
        let read = until(&mut buffer, &mut ReadUntil::line(), 3, false);
        assert_eq!(read, Read::TooLong { consumed: 8, overrun: Overrun::SeparatorFound });
        assert_eq!(buffer.len(), 9);
    }

    #[test]
    fn a_separator_that_came_with_the_end_is_found() {
        let mut buffer = holding(b"one\ntwo");
        assert_eq!(until(&mut buffer, &mut ReadUntil::line(), 99, true), done(b"one\n"));
        let rest = until(&mut buffer, &mut ReadUntil::line(), 99, true);
        assert_eq!(rest, Read::Incomplete(b"two".to_vec()));
    }

    #[test]
    fn line_gives_the_rest_at_the_end() {
        let mut buffer = holding(b"one\ntwo");
        assert_eq!(line(&mut buffer, &mut ReadUntil::line(), 99, true), done(b"one\n"));
        assert_eq!(line(&mut buffer, &mut ReadUntil::line(), 99, true), done(b"two"));
        assert_eq!(line(&mut buffer, &mut ReadUntil::line(), 99, true), done(b""));
    }

    #[test]
    fn line_drops_what_is_too_long() {
        let mut buffer = holding(b"too long\nshort\n");
        assert!(matches!(line(&mut buffer, &mut ReadUntil::line(), 5, false), Read::TooLong { .. }));
        assert_eq!(line(&mut buffer, &mut ReadUntil::line(), 5, false), done(b"short\n"));
        let mut endless = holding(b"endless");
        assert!(matches!(line(&mut endless, &mut ReadUntil::line(), 5, false), Read::TooLong { .. }));
        assert!(endless.is_empty());
    }
}
