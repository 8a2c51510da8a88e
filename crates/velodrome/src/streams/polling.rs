//! Reading and writing by poll and into buffers of the caller's, for traits of other crates that are made so.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use velodrome_engine::transport::stream::Refused;

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
        ready!(self.poll_room(cx))?;
        let data = &data[..data.len().min(MOST)];
        Poll::Ready(admitted(self.try_write(data)).map(|()| data.len()))
    }

    /// As [`Self::poll_write`], all or several of `slices`.
    pub(crate) fn poll_write_vectored(
        &self,
        cx: &Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (some, size) = some_of(slices);
        let Some(socket) = self.0.plain().filter(|_| size > 0) else {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, first.map_or(&[], |slice| slice));
        };
        ready!(self.poll_room(cx))?;
        Poll::Ready(admitted(socket.write_vectored(some)).map(|()| size))
    }

    /// Whether several slices are better than one: a layer of encryption has to copy them all the same.
    #[allow(dead_code, reason = "the traits of futures-io do not ask")]
    pub(crate) fn is_write_vectored(&self) -> bool {
        self.0.plain().is_some()
    }

    /// Until little enough is kept, on a connection that is not closed.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.or_wait(cx, self.0.outbound.drained()))?;
        if self.is_closing() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the connection is closed")));
        }
        Poll::Ready(Ok(()))
    }

    /// Wait until the kernel has taken everything.
    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.or_wait(cx, self.0.flushed())
    }

    fn or_wait(&self, cx: &Context<'_>, done: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if done.is_pending() {
            self.0.outbound.waiters.wait(cx);
        }
        done
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

/// Who writes by these traits is told at once what a plain `write`, which cannot fail, keeps for `drain`.
fn admitted(written: Result<(), Refused>) -> io::Result<()> {
    if written == Err(Refused::AfterEof) {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "no more is to be written after a shutdown"));
    }
    Ok(())
}

/// As many of the first slices as one write takes, and how many bytes they are: none if the first one is too large.
fn some_of<'a, 'b>(slices: &'a [IoSlice<'b>]) -> (&'a [IoSlice<'b>], usize) {
    let mut size = 0;
    for (count, slice) in slices.iter().enumerate() {
        if size + slice.len() > MOST {
            return (&slices[..count], size);
        }
        size += slice.len();
    }
    (slices, size)
}
