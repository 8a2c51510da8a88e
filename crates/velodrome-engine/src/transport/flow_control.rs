//! When a writer should pause, and when it may go on: asyncio's high and low water marks.
//!
//! Pure, because three kinds of transport and their tests need the same answer. It decides and remembers; telling
//! the protocol is the transport's part, since that call may come back and write.

use std::cell::{Cell, OnceCell};
use std::fmt;

/// asyncio's default: enough to keep a fast peer busy between two turns, little enough for thousands of
/// slow ones.
const DEFAULT_HIGH: usize = 64 * 1024;

/// How many times the high mark is above the low one, unless both are given. asyncio's choice.
const HIGH_PER_LOW: usize = 4;

/// The marks of one transport, and on which side of them its protocol believes to be.
#[derive(Debug, Default)]
pub struct FlowControl {
    /// Unless they are the default, as nearly all are: every connection has room for this.
    marks: OnceCell<Box<Marks>>,
    paused: Cell<bool>,
}

#[derive(Debug)]
struct Marks {
    low: Cell<usize>,
    high: Cell<usize>,
}

/// The marks do not stand in order. Displays asyncio's wording.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LimitsError {
    /// The high mark asked for, or derived from the low one.
    pub high: usize,
    /// The low mark asked for.
    pub low: usize,
}

impl FlowControl {
    /// Default marks, not paused.
    pub const fn new() -> Self {
        Self { marks: OnceCell::new(), paused: Cell::new(false) }
    }

    /// The marks: low, high.
    pub fn limits(&self) -> (usize, usize) {
        self.marks
            .get()
            .map_or((DEFAULT_HIGH / HIGH_PER_LOW, DEFAULT_HIGH), |marks| (marks.low.get(), marks.high.get()))
    }

    /// Moves the marks; one that is not given follows from the other. Pauses and resumes nothing by itself.
    pub fn set_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<(), LimitsError> {
        let high = high.unwrap_or_else(|| low.map_or(DEFAULT_HIGH, |low| low.saturating_mul(HIGH_PER_LOW)));
        let low = low.unwrap_or(high / HIGH_PER_LOW);
        if low > high {
            return Err(LimitsError { high, low });
        }
        let marks =
            self.marks.get_or_init(|| Box::new(Marks { low: Cell::default(), high: Cell::default() }));
        marks.low.set(low);
        marks.high.set(high);
        Ok(())
    }

    /// To be asked after the buffer grew: whether the protocol must now be told to pause. True once per pause.
    #[inline]
    #[must_use]
    pub fn pause_due(&self, buffered: usize) -> bool {
        let due = !self.paused.get() && buffered > self.limits().1;
        if due {
            self.paused.set(true);
        }
        due
    }

    /// To be asked after the buffer shrank: whether the protocol may now be told to go on. True once per pause.
    #[inline]
    #[must_use]
    pub fn resume_due(&self, buffered: usize) -> bool {
        let due = self.paused.get() && buffered <= self.limits().0;
        if due {
            self.paused.set(false);
        }
        due
    }

    /// Whether the protocol was told to pause, and not yet to go on.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.paused.get()
    }
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "high ({}) must be >= low ({}) must be >= 0", self.high, self.low)
    }
}

impl std::error::Error for LimitsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn sets(high: Option<usize>, low: Option<usize>, expected: (usize, usize)) {
        let flow = FlowControl::new();
        assert_eq!(flow.set_limits(high, low), Ok(()));
        assert_eq!(flow.limits(), expected);
    }

    #[test]
    fn a_mark_that_is_not_given_follows_from_the_other() {
        assert_eq!(FlowControl::new().limits(), (16 * 1024, 64 * 1024));
        sets(None, None, (16 * 1024, 64 * 1024));
        sets(Some(100), None, (25, 100));
        sets(None, Some(100), (100, 400));
        sets(Some(0), None, (0, 0));
        sets(None, Some(usize::MAX), (usize::MAX, usize::MAX));
    }

    #[test]
    fn marks_out_of_order_are_refused_and_change_nothing() {
        let flow = FlowControl::new();
        let refused = flow.set_limits(Some(1), Some(2)).unwrap_err();
        assert_eq!(refused.to_string(), "high (1) must be >= low (2) must be >= 0");
        assert_eq!(flow.limits(), FlowControl::new().limits());
    }

    #[test]
    fn each_crossing_is_reported_once() {
        let flow = FlowControl::new();
        flow.set_limits(Some(10), Some(4)).unwrap();
        assert!(!flow.resume_due(0));
        assert!(!flow.pause_due(10));
        assert!(flow.pause_due(11));
        assert!(flow.is_paused());
        assert!(!flow.pause_due(12));
        assert!(!flow.resume_due(5));
        assert!(flow.resume_due(4));
        assert!(!flow.resume_due(4));
        assert!(!flow.is_paused());
    }
}
