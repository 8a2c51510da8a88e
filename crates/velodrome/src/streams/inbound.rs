//! Bytes that have arrived and were not read yet, and how many of them there may be.

use std::cell::{Cell, RefCell};
use std::io;
use std::task::{Context, Poll};

use velodrome_engine::streams::ByteBuffer;
use velodrome_engine::streams::read::Read;

use super::connection::same_error;
use super::error::ReadError;
use crate::waiting::Waiter;

/// asyncio's default: the longest line, and half of what is buffered before the transport stops reading.
const LIMIT: usize = 64 * 1024;

pub(super) struct Inbound {
    pub(super) buffer: RefCell<ByteBuffer>,
    limit: Cell<usize>,
    /// Nothing more will come.
    ended: Cell<bool>,
    /// Why it ended, if that was no proper end. Stays, for every later read.
    error: RefCell<Option<io::Error>>,
    /// A reader waits for more than there is: then there must come more, however much there is.
    starving: Cell<bool>,
    /// The transport was told to pause.
    paused: Cell<bool>,
    /// Whether a reader waits, which had better receive by itself.
    offers: Cell<Offer>,
    waiter: Waiter,
}

/// Bytes that wait in the kernel are offered to a reader once; then they are read ahead.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Offer {
    Unwanted,
    Welcome,
    Made,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            buffer: RefCell::default(),
            limit: Cell::new(LIMIT),
            ended: Cell::new(false),
            error: RefCell::default(),
            starving: Cell::new(false),
            paused: Cell::new(false),
            offers: Cell::new(Offer::Unwanted),
            waiter: Waiter::default(),
        }
    }
}

impl Inbound {
    /// Offer what the kernel has to a reader that waits for it. False if there is none.
    pub(super) fn offer(&self) -> bool {
        let welcome = self.offers.get() == Offer::Welcome;
        if welcome {
            self.offers.set(Offer::Made);
            self.waiter.wake();
        }
        welcome
    }

    /// Whether an offer stands: nothing was read ahead since it was made. It is for whoever comes.
    pub(super) fn take_offer(&self) -> bool {
        self.offers.replace(Offer::Unwanted) == Offer::Made && !self.ended.get()
    }

    pub(super) fn feed(&self, bytes: &[u8]) {
        self.buffer.borrow_mut().feed(bytes);
        self.offers.set(Offer::Unwanted);
        self.starving.set(false);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.borrow().is_empty()
    }

    pub(super) fn wake(&self) {
        self.waiter.wake();
    }

    /// Nothing more will come. What befalls the connection after a proper end is the writer's affair.
    pub(super) fn end(&self, error: Option<&io::Error>) {
        if !self.ended.replace(true) {
            self.error.replace(error.map(same_error));
        }
        self.waiter.wake();
    }

    pub(super) fn at_eof(&self) -> bool {
        self.ended.get() && self.buffer.borrow().is_empty()
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// Whether the transport is now to pause (true) or to go on (false); none if it is to do what it does. Above twice
    /// the limit and down to the limit, as asyncio: a line of that length and the beginning of the next have room.
    #[inline]
    pub(super) fn pause_changed(&self) -> Option<bool> {
        let (held, limit) = (self.buffer.borrow().len(), self.limit.get());
        let most = if self.paused.get() { limit } else { limit.saturating_mul(2) };
        let pause = held > most && !self.starving.get();
        (self.paused.replace(pause) != pause).then_some(pause)
    }

    /// What `attempt` makes of the buffer. What was received before an error can still be read; what the end cut short
    /// is `expected` bytes long.
    pub(super) fn poll(
        &self,
        cx: &Context<'_>,
        attempt: impl FnOnce(&mut ByteBuffer, usize, bool) -> Read,
        expected: Option<usize>,
    ) -> Poll<Result<Vec<u8>, ReadError>> {
        if let Some(error) = self.error() {
            // Not told that it ended: an error is no end, and leaves what is incomplete where it is.
            return Poll::Ready(match self.try_read(attempt, false) {
                Read::NeedMore => Err(error.into()),
                read => conclude(read, expected),
            });
        }
        match self.try_read(attempt, self.ended.get()) {
            Read::NeedMore => {
                self.wait(cx);
                Poll::Pending
            }
            read => Poll::Ready(conclude(read, expected)),
        }
    }

    /// Wait until there is something, and let `take` say how much of it it took; it is not called at the end.
    pub(super) fn poll_take(
        &self,
        cx: &Context<'_>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<()>> {
        let mut buffer = self.buffer.borrow_mut();
        if !buffer.is_empty() {
            self.starving.set(false);
            let taken = take(buffer.as_slice());
            buffer.consume(taken);
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = self.error() {
            return Poll::Ready(Err(error));
        }
        if self.ended.get() {
            return Poll::Ready(Ok(()));
        }
        self.wait(cx);
        Poll::Pending
    }

    fn wait(&self, cx: &Context<'_>) {
        self.starving.set(true);
        self.offers.set(Offer::Welcome);
        self.waiter.wait(cx);
    }

    fn try_read(&self, attempt: impl FnOnce(&mut ByteBuffer, usize, bool) -> Read, ended: bool) -> Read {
        self.starving.set(false);
        attempt(&mut self.buffer.borrow_mut(), self.limit.get(), ended)
    }

    fn error(&self) -> Option<io::Error> {
        self.error.borrow().as_ref().map(same_error)
    }
}

fn conclude(read: Read, expected: Option<usize>) -> Result<Vec<u8>, ReadError> {
    match read {
        Read::Done(bytes) => Ok(bytes),
        Read::Incomplete(partial) => Err(ReadError::Incomplete { partial, expected }),
        Read::TooLong { consumed, overrun } => Err(ReadError::LimitOverrun { consumed, overrun }),
        // Whoever calls has dealt with it; were it not so, the reader would be told that there was no more.
        Read::NeedMore => Err(ReadError::Incomplete { partial: Vec::new(), expected }),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_waits_in_the_kernel_is_offered_once_to_who_waits_for_it() {
        let (inbound, cx) = (Inbound::default(), Context::from_waker(Waker::noop()));
        assert!(!inbound.offer(), "nobody waits");
        assert!(inbound.poll_take(&cx, <[u8]>::len).is_pending());
        assert!(inbound.offer());
        assert!(!inbound.offer(), "a reader that does not come is not waited for");
        assert!(inbound.take_offer() && !inbound.take_offer());
        assert!(inbound.poll_take(&cx, <[u8]>::len).is_pending());
        assert!(inbound.offer());
        inbound.feed(b"read ahead");
        assert!(!inbound.take_offer());
    }
}
