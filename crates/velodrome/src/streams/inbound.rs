//! Bytes that have arrived and were not read yet, and how many of them there may be.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::task::{Context, Poll};

use velodrome_engine::streams::ByteBuffer;
use velodrome_engine::streams::read::Read;

use super::connection::same_error;
use super::error::ReadError;
use super::wanted::{Destination, Wanted};
use crate::waiting::Waiter;

/// asyncio's default: the longest line, and half of what is buffered before the transport stops reading.
const LIMIT: usize = 64 * 1024;

pub(super) struct Inbound {
    /// Made when something must be kept, and then it stays: a reader that waits takes what comes from the socket.
    pub(super) buffer: OnceCell<Box<RefCell<ByteBuffer>>>,
    limit: Cell<usize>,
    /// Nothing more will come.
    ended: Cell<bool>,
    /// Why it ended, if that was no proper end. Stays, for every later read.
    error: OnceCell<io::Error>,
    /// A reader waits for more than there is: then there must come more, however much there is.
    starving: Cell<bool>,
    /// The transport was told to pause.
    paused: Cell<bool>,
    /// What was received last was one message, whole, and nothing behind it. So the next one will be.
    alone: Cell<bool>,
    /// Made for who waits for a layer, or for what a reader of the socket cannot be told by that.
    waiter: OnceCell<Box<Waiter>>,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            buffer: OnceCell::new(),
            limit: Cell::new(LIMIT),
            ended: Cell::new(false),
            error: OnceCell::new(),
            starving: Cell::new(false),
            paused: Cell::new(false),
            alone: Cell::new(false),
            waiter: OnceCell::new(),
        }
    }
}

impl Inbound {
    pub(super) fn feed(&self, bytes: &[u8]) {
        self.buffer.get_or_init(Box::default).borrow_mut().feed(bytes);
        self.starving.set(false);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn len(&self) -> usize {
        self.buffer.get().map_or(0, |buffer| buffer.borrow().len())
    }

    /// Whether nothing is kept and more may come: who wants anything waits then, and the transport is not paused.
    #[inline]
    pub(super) fn starves(&self) -> bool {
        let starves = self.is_empty() && !self.ended.get();
        if starves {
            self.starving.set(true);
        }
        starves
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// Whether one message came last, alone.
    #[inline]
    pub(super) fn is_alone(&self) -> bool {
        self.alone.get()
    }

    #[inline]
    pub(super) fn note_alone(&self, alone: bool) {
        self.alone.set(alone);
    }

    /// Be woken when there is more to read.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        self.waiter.get_or_init(Box::default).wait(cx);
    }

    pub(super) fn wake(&self) {
        if let Some(waiter) = self.waiter.get() {
            waiter.wake();
        }
    }

    /// Nothing more will come. What befalls the connection after a proper end is the writer's affair.
    pub(super) fn end(&self, error: Option<&io::Error>) {
        if !self.ended.replace(true)
            && let Some(error) = error
        {
            let _ = self.error.set(same_error(error));
        }
        self.wake();
    }

    pub(super) fn at_eof(&self) -> bool {
        self.ended.get() && self.is_empty()
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// Whether the transport is now to pause (true) or to go on (false); none if it is to do what it does. Above twice
    /// the limit and down to the limit, as asyncio: a line of that length and the beginning of the next have room.
    #[inline]
    pub(super) fn pause_changed(&self) -> Option<bool> {
        let (held, limit) = (self.len(), self.limit.get());
        let most = if self.paused.get() { limit } else { limit.saturating_mul(2) };
        let pause = held > most && !self.starving.get();
        (self.paused.replace(pause) != pause).then_some(pause)
    }

    /// What `wanted` makes of the buffer. What was received before an error can still be read.
    pub(super) fn poll<D: Destination>(
        &self,
        wanted: &mut impl Wanted,
        to: &mut D,
    ) -> Poll<Result<D::Answer, ReadError>> {
        let error = if self.ended.get() { self.error() } else { None };
        // Not told that it ended by an error, which is no end, and leaves what is incomplete where it is.
        let ended = self.ended.get() && error.is_none();
        self.starving.set(false);
        let (mut kept, mut nothing) =
            (self.buffer.get().map(|buffer| buffer.borrow_mut()), ByteBuffer::new());
        let kept = kept.as_deref_mut().unwrap_or(&mut nothing);
        Poll::Ready(match (wanted.attempt(kept, self.limit.get(), ended), error) {
            (Read::Done(count), _) => Ok(to.take(kept, count)),
            (Read::NeedMore, Some(error)) => Err(error.into()),
            (Read::NeedMore, None) => {
                self.starving.set(true);
                return Poll::Pending;
            }
            (Read::Incomplete, _) => {
                Err(ReadError::Incomplete { partial: kept.take(usize::MAX), expected: wanted.expected() })
            }
            (Read::TooLong { consumed, overrun }, _) => Err(ReadError::LimitOverrun { consumed, overrun }),
        })
    }

    /// Until there is something; `take` says how much of it it took, and is not called at the end.
    pub(super) fn poll_take(&self, take: impl FnOnce(&[u8]) -> usize) -> Poll<io::Result<()>> {
        if let Some(mut buffer) = self.buffer.get().map(|buffer| buffer.borrow_mut())
            && !buffer.is_empty()
        {
            self.starving.set(false);
            let taken = take(buffer.as_slice());
            buffer.consume(taken);
            return Poll::Ready(Ok(()));
        }
        if self.ended.get() {
            return Poll::Ready(self.error().map_or(Ok(()), Err));
        }
        self.starving.set(true);
        Poll::Pending
    }

    fn error(&self) -> Option<io::Error> {
        self.error.get().map(same_error)
    }
}
