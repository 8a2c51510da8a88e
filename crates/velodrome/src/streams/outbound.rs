//! Whether a writer should wait, and what became of the connection it writes to.

use std::cell::{Cell, OnceCell};
use std::io;
use std::task::Poll;

use super::connection::same_error;
use crate::advice::lost;
use crate::waiting::Waiters;

#[derive(Default)]
pub(crate) struct Outbound {
    /// More is buffered than the high-water mark allows.
    paused: Cell<bool>,
    /// Something was written after `write_eof`, and was dropped.
    written_late: Cell<bool>,
    lost: Cell<bool>,
    /// Why it was lost, if it was not closed.
    error: OnceCell<io::Error>,
    pub(super) waiters: Waiters,
}

impl Outbound {
    pub(super) fn pause(&self) {
        self.paused.set(true);
    }

    pub(super) fn resume(&self) {
        self.paused.set(false);
        self.waiters.wake();
    }

    pub(super) fn note_late_write(&self) {
        self.written_late.set(true);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.get()
    }

    pub(super) fn lose(&self, error: Option<&io::Error>) {
        self.lost.set(true);
        if let Some(error) = error {
            let _ = self.error.set(same_error(error));
        }
        self.waiters.wake();
    }

    /// Nothing is kept any more.
    pub(super) fn resume_flushing(&self) {
        self.waiters.wake();
    }

    /// Until what is buffered is little enough.
    #[inline]
    pub(super) fn drained(&self) -> Poll<io::Result<()>> {
        if !self.paused.get() && !self.lost.get() && !self.written_late.get() {
            return Poll::Ready(Ok(()));
        }
        self.done_if(!self.paused.get())
    }

    /// Until nothing is kept, of which there is `kept` now.
    pub(super) fn flushed(&self, kept: usize) -> Poll<io::Result<()>> {
        self.done_if(kept == 0)
    }

    #[cold]
    fn done_if(&self, done: bool) -> Poll<io::Result<()>> {
        self.told()?;
        if self.lost.get() {
            return Poll::Ready(Err(lost()));
        }
        if done { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Until the connection is lost.
    pub(super) fn closed(&self) -> Poll<io::Result<()>> {
        if self.lost.get() { Poll::Ready(self.told()) } else { Poll::Pending }
    }

    /// Until the connection is lost, or `closing`; then an error that says so.
    pub(super) fn lost(&self, closing: bool) -> Poll<io::Error> {
        if closing || self.lost.get() {
            return Poll::Ready(self.told().err().unwrap_or_else(lost));
        }
        Poll::Pending
    }

    /// What `write`, which cannot fail, would have had to say.
    fn told(&self) -> io::Result<()> {
        if let Some(error) = self.error.get() {
            return Err(same_error(error));
        }
        if self.written_late.get() {
            return Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "something was written after write_eof, and dropped",
            ));
        }
        Ok(())
    }
}
