//! Reading and writing by poll and into buffers of the caller's, for traits of other crates that are made so.

use std::io;
use std::task::{Context, Poll};

use super::connection::Connection;
use super::reader::StreamReader;
use super::writer::StreamWriter;

/// The most that one write takes, so that a caller with a very large buffer is slowed down like any other: what is not
/// sent of it has to be copied. As much as the loop reads at once.
const MOST: usize = 256 * 1024;

impl Connection {
    /// Wait for bytes, and let `take` say how many of them it took.
    #[inline]
    fn poll_take(&self, cx: &Context<'_>, take: impl FnOnce(&[u8]) -> usize) -> Poll<io::Result<()>> {
        let mut take = Some(take);
        if let Some(socket) = self.offered() {
            let taken = self.receive(socket, |bytes| (take.take().map_or(0, |take| take(bytes)), ()));
            if taken.is_some() {
                self.keep_up();
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_kept(cx, |bytes| take.map_or(0, |take| take(bytes)))
    }
}

impl StreamReader {
    /// Wait for bytes, and let `take` say how many of them it took. It is not called at the end of the stream.
    pub(crate) fn poll_take(
        &mut self,
        cx: &Context<'_>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<()>> {
        self.0.poll_take(cx, take)
    }
}

impl StreamWriter {
    /// Write as soon as little enough is kept.
    pub(crate) fn poll_write(&self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.outbound.drained() {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                self.0.outbound.waiters.wait(cx);
                return Poll::Pending;
            }
        }
        if self.is_closing() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the connection is closed")));
        }
        let data = &data[..data.len().min(MOST)];
        self.write(data);
        Poll::Ready(Ok(data.len()))
    }

    /// Wait until the kernel has taken everything.
    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.0.flushed();
        if flushed.is_pending() {
            self.0.outbound.waiters.wait(cx);
        }
        flushed
    }

    /// Wait until the kernel has taken everything, and say that no more will be written.
    pub(crate) fn poll_finish(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.write_eof();
        }
        flushed
    }
}
