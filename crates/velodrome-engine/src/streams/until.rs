//! Where a message ends: a resumable search for one separator, or for the earliest of several.
//!
//! The semantics are those of asyncio's `StreamReader.readuntil`, to the byte: the match that ends first wins; of
//! those that end at one place, the shortest separator counts as the one that matched; and the limit is compared
//! with what lies before it. What it adds is that a feed is searched once and not again.

use std::fmt;

/// What a search found in the bytes so far.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// The message is the bytes up to here, separator included.
    At(usize),
    /// No separator yet, and the limit has not been reached.
    NeedMore,
    /// The message is longer than the limit allows.
    TooLong {
        /// How many bytes certainly belong to the message, not counting its separator.
        consumed: usize,
        /// Whether its end is known.
        overrun: Overrun,
    },
}

/// The two ways to exceed a limit. What it displays is asyncio's wording.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Overrun {
    /// The separator is there, but too far away.
    SeparatorFound,
    /// The limit is exceeded and no separator is in sight.
    SeparatorNotFound,
}

impl Overrun {
    /// The text of asyncio's `LimitOverrunError`.
    pub fn message(self) -> &'static str {
        match self {
            Self::SeparatorFound => "Separator is found, but chunk is longer than limit",
            Self::SeparatorNotFound => "Separator is not found, and chunk exceed the limit",
        }
    }
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Overrun {}

/// There was nothing to search for. What it displays is asyncio's wording.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum NoSeparator {
    /// The list of separators is empty.
    None,
    /// One of the separators has no bytes.
    Empty,
}

impl fmt::Display for NoSeparator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "Separator should contain at least one element",
            Self::Empty => "Separator should be at least one-byte string",
        })
    }
}

impl std::error::Error for NoSeparator {}

/// A search for the end of one message, to be continued whenever bytes have been added at the end.
#[derive(Clone, Debug)]
pub struct ReadUntil {
    separators: Separators,
    /// No separator begins before this.
    searched: usize,
}

#[derive(Clone, Debug)]
enum Separators {
    /// Nearly every search of a real program is for the end of a line: it shall not allocate.
    Byte(u8),
    /// By length, the shortest first.
    Several(Box<[Box<[u8]>]>),
}

impl ReadUntil {
    /// A search for whichever of `separators` ends first.
    pub fn new<S: Into<Box<[u8]>>>(separators: impl IntoIterator<Item = S>) -> Result<Self, NoSeparator> {
        let mut several: Box<[Box<[u8]>]> = separators.into_iter().map(Into::into).collect();
        several.sort_by_key(|separator| separator.len());
        match several.first().ok_or(NoSeparator::None)?.as_ref() {
            [] => Err(NoSeparator::Empty),
            &[byte] if several.len() == 1 => Ok(Self::byte(byte)),
            _ => Ok(Self { separators: Separators::Several(several), searched: 0 }),
        }
    }

    /// A search for one byte; allocates nothing.
    pub const fn byte(separator: u8) -> Self {
        Self { separators: Separators::Byte(separator), searched: 0 }
    }

    /// A search for the end of a line; allocates nothing.
    pub const fn line() -> Self {
        Self::byte(b'\n')
    }

    /// Searches what has been added since the last time. `bytes` is everything from the start of the message.
    pub fn search(&mut self, bytes: &[u8], limit: usize) -> Found {
        let (shortest, longest) = self.separators.lengths();
        let unseen = bytes.get(self.searched..).unwrap_or_default();
        if unseen.len() < shortest {
            return Found::NeedMore;
        }
        if let Some((start, end)) = self.separators.find(unseen) {
            return within_limit(self.searched + start, self.searched + end, limit);
        }
        self.searched = (bytes.len() + 1).saturating_sub(longest);
        if self.searched > limit {
            return Found::TooLong { consumed: self.searched, overrun: Overrun::SeparatorNotFound };
        }
        Found::NeedMore
    }

    /// Where the message ends that begins `bytes`, if it is all there and within the limit. Remembers nothing.
    #[inline]
    pub fn find(&self, bytes: &[u8], limit: usize) -> Option<usize> {
        let (start, end) = self.separators.find(bytes)?;
        (start <= limit).then_some(end)
    }

    /// Forgets what has been searched: the next search is for another message.
    pub fn restart(&mut self) {
        self.searched = 0;
    }
}

fn within_limit(start: usize, end: usize, limit: usize) -> Found {
    if start > limit {
        return Found::TooLong { consumed: start, overrun: Overrun::SeparatorFound };
    }
    Found::At(end)
}

impl Separators {
    fn lengths(&self) -> (usize, usize) {
        match self {
            Self::Byte(_) => (1, 1),
            Self::Several(several) => {
                (several.first().map_or(0, |first| first.len()), several.last().map_or(0, |last| last.len()))
            }
        }
    }

    /// Start and end of the match that ends first.
    #[inline]
    fn find(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        match self {
            Self::Byte(byte) => memchr::memchr(*byte, bytes).map(|start| (start, start + 1)),
            Self::Several(several) => first_of(several, bytes),
        }
    }
}

fn first_of(separators: &[Box<[u8]>], bytes: &[u8]) -> Option<(usize, usize)> {
    separators.iter().fold(None, |best, separator| {
        // Only a match that ends earlier than the best is of interest, so what lies beyond is not searched.
        let within = best.map_or(bytes, |(_, end)| &bytes[..end - 1]);
        let start = memchr::memmem::find(within, separator);
        start.map(|start| (start, start + separator.len())).or(best)
    })
}

/// How many bytes to drop from the buffer when a line was [`Found::TooLong`]: the line, if its end is known, and
/// otherwise everything. (asyncio's `readline`; its `readuntil` drops nothing.)
pub fn line_overrun(bytes: &[u8], consumed: usize) -> usize {
    if bytes.get(consumed) == Some(&b'\n') { consumed + 1 } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn separators(several: &[&str]) -> ReadUntil {
        ReadUntil::new(several.iter().map(|separator| separator.as_bytes())).unwrap()
    }

    #[track_caller]
    fn finds(several: &[&str], bytes: &str, limit: usize, expected: Found) {
        assert_eq!(separators(several).search(bytes.as_bytes(), limit), expected);
    }

    #[test]
    fn the_match_that_ends_first_wins() {
        finds(&["\n"], "one\ntwo\n", 99, Found::At(4));
        finds(&["END", "\r\n"], "aEND\r\n", 99, Found::At(4));
        finds(&["\r\n", "END"], "a\r\nEND", 99, Found::At(3));
        finds(&["abcd", "bc"], "abcd", 99, Found::At(3));
        finds(&["abcd", "d"], "abcd", 99, Found::At(4));
    }

    #[test]
    fn the_limit_is_compared_with_what_lies_before_the_shortest_separator() {
        let found = |consumed| Found::TooLong { consumed, overrun: Overrun::SeparatorFound };
        finds(&["\n"], "abc\n", 3, Found::At(4));
        finds(&["\n"], "abcd\n", 3, found(4));
        finds(&["-END", "D"], "ab-END", 3, found(5));
        finds(&["-END"], "ab-END", 3, Found::At(6));
    }

    #[test]
    fn without_a_separator_the_limit_allows_for_a_partial_one() {
        let missing = |consumed| Found::TooLong { consumed, overrun: Overrun::SeparatorNotFound };
        finds(&["\n"], "abc", 3, Found::NeedMore);
        finds(&["\n"], "abcd", 3, missing(4));
        finds(&["END"], "abcEN", 3, Found::NeedMore);
        finds(&["END"], "abcxEN", 3, missing(4));
    }

    #[test]
    fn there_must_be_something_to_search_for() {
        assert_eq!(ReadUntil::new::<&[u8]>([]).unwrap_err(), NoSeparator::None);
        assert_eq!(ReadUntil::new([&b"a"[..], b""]).unwrap_err(), NoSeparator::Empty);
    }

    #[test]
    fn a_buffer_that_shrank_meanwhile_is_waited_for() {
        let mut until = ReadUntil::line();
        assert_eq!(until.search(b"abcdef", 99), Found::NeedMore);
        assert_eq!(until.search(b"ab", 99), Found::NeedMore);
        until.restart();
        assert_eq!(until.search(b"a\n", 99), Found::At(2));
    }

    #[test]
    fn an_overrun_line_is_dropped_up_to_its_end_if_that_is_known() {
        assert_eq!(line_overrun(b"abcd\nnext", 4), 5);
        assert_eq!(line_overrun(b"abcdefgh", 6), 8);
        assert_eq!(line_overrun(b"abcd", 4), 4);
    }

    /// The definition, without a memory: looks at every place.
    fn naive(several: &[Vec<u8>], bytes: &[u8]) -> Option<usize> {
        (1..=bytes.len()).find(|&end| several.iter().any(|separator| bytes[..end].ends_with(separator)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 512 }))]

        #[test]
        fn feeding_piece_by_piece_finds_what_looking_at_every_place_finds(
            several in prop::collection::vec(prop::collection::vec(0..3u8, 1..5), 1..4),
            pieces in prop::collection::vec(prop::collection::vec(0..4u8, 0..8), 0..12),
        ) {
            let mut until = ReadUntil::new(several.clone()).unwrap();
            let mut bytes = Vec::new();
            for piece in pieces {
                bytes.extend(piece);
                let expected = naive(&several, &bytes).map_or(Found::NeedMore, Found::At);
                prop_assert_eq!(until.search(&bytes, usize::MAX), expected);
                if expected != Found::NeedMore {
                    break;
                }
            }
        }
    }
}
