//! The writing half of a stream: sending at once, gathering, queueing, and what happens when the queue is empty.

use std::io::{self, IoSlice};
use std::rc::Rc;

use super::{FLUSH, GATHER, Refused, Stream};
use crate::ready::Runnable;
use crate::transport::flow_control::LimitsError;
use crate::transport::write_queue::{Chunk, JOINED};

impl Stream {
    /// Whether the protocol was told to pause writing.
    #[must_use]
    pub fn writing_paused(&self) -> bool {
        self.flow.is_paused()
    }

    /// Whether the loop listens for room to write.
    #[must_use]
    pub fn polls_write(&self) -> bool {
        self.blocked.get()
    }

    /// Whether `write_eof` was called.
    #[must_use]
    pub fn eof_written(&self) -> bool {
        self.eof.get()
    }

    /// Bytes not yet taken by the kernel.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.queue.len()
    }

    /// Low and high-water mark of the write queue, in bytes.
    #[must_use]
    pub fn write_limits(&self) -> (usize, usize) {
        self.flow.limits()
    }

    /// Set the marks; `None` derives one from the other, as asyncio does.
    ///
    /// # Errors
    /// If high is below low.
    pub fn set_write_limits(&self, high: Option<usize>, low: Option<usize>) -> Result<(), LimitsError> {
        self.flow.set_limits(high, low)?;
        self.pause_if_due();
        Ok(())
    }

    /// Send `data`, or queue what the kernel does not take. `keep` makes the chunk to be queued, if one must be.
    ///
    /// # Errors
    /// [`Refused`] says why nothing was sent. What the socket says becomes the transport's `connection_lost`.
    pub fn write(self: &Rc<Self>, data: &[u8], keep: impl FnOnce() -> Chunk) -> Result<(), Refused> {
        self.admit()?;
        if data.is_empty() {
            return Ok(());
        }
        self.writes.count(self.hub.turn());
        let mut sent = 0;
        if self.queue.is_empty() && !self.put_off(data.len()) {
            match settle(self.send(data)) {
                Ok(taken) if taken == data.len() => return Ok(()),
                Ok(taken) => sent = taken,
                Err(error) => {
                    self.fail(error, "Fatal write error on socket transport");
                    return Ok(());
                }
            }
        }
        self.queue.push(keep(), sent);
        self.after_queueing();
        Ok(())
    }

    /// Send `slices` by one system call, or queue what the kernel does not take of them, which is copied. So are those that
    /// are small together: with hyper an answer of 16 bytes and its head took 5.55 us so, and 6.02 by a gathered send; one
    /// of 100 KB took 16.9, and 19.2 when hyper copied it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_vectored(self: &Rc<Self>, slices: &[IoSlice<'_>]) -> Result<(), Refused> {
        self.admit()?;
        let size = slices.iter().map(|slice| slice.len()).sum();
        if size <= JOINED {
            let joined = joined(slices, size);
            return self.write(&joined, || Chunk::Owned(joined.clone()));
        }
        self.writes.count(self.hub.turn());
        let mut sent = 0;
        if self.queue.is_empty() && !self.put_off(size) {
            match settle(self.send_vectored(slices)) {
                Ok(taken) if taken == size => return Ok(()),
                Ok(taken) => sent = taken,
                Err(error) => {
                    self.fail(error, "Fatal write error on socket transport");
                    return Ok(());
                }
            }
        }
        self.keep(slices, sent);
        self.after_queueing();
        Ok(())
    }

    /// Queue all of `slices` but the first `sent` bytes.
    fn keep(&self, slices: &[IoSlice<'_>], mut sent: usize) {
        for slice in slices {
            let skipped = sent.min(slice.len());
            sent -= skipped;
            self.queue.push(Chunk::Owned(slice[skipped..].to_vec()), 0);
        }
    }

    /// Send all `chunks` in as few system calls as may be.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_all(self: &Rc<Self>, chunks: impl IntoIterator<Item = Chunk>) -> Result<(), Refused> {
        self.admit()?;
        let first = self.queue.is_empty();
        for chunk in chunks {
            self.queue.push(chunk, 0);
        }
        if self.buffered() > 0 {
            self.writes.count(self.hub.turn());
            self.send_or_put_off(first);
        }
        self.pause_if_due();
        Ok(())
    }

    /// What was just queued leaves now, unless it is to wait for more of this turn, or for room.
    fn send_or_put_off(self: &Rc<Self>, first: bool) {
        let size = self.buffered();
        let waits =
            if first { self.put_off(size) } else { self.deferred.get() && size <= self.gather_room() };
        if !waits && !self.blocked.get() {
            self.flush();
        }
    }

    fn admit(&self) -> Result<(), Refused> {
        if self.eof.get() {
            return Err(Refused::AfterEof);
        }
        if self.lost.get() > 0 {
            self.lost.set(self.lost.get().saturating_add(1));
            return Err(Refused::Lost(self.lost.get() as usize - 1));
        }
        Ok(())
    }

    /// Whether a first write of `size` bytes had better wait for others, its own transport's or the loop's, and if so
    /// sees to its leaving.
    #[inline]
    fn put_off(self: &Rc<Self>, size: usize) -> bool {
        (self.writes.before() > 1 || self.hub.expects_writes()) && self.put_off_now(size)
    }

    #[inline(never)]
    fn put_off_now(self: &Rc<Self>, size: usize) -> bool {
        if size > self.gather_room() || !self.hub.in_batch() {
            return false;
        }
        if !self.deferred.replace(true) {
            self.hub.at_turn_end(Runnable::from_rc(Rc::clone(self), FLUSH));
        }
        true
    }

    /// Beyond the high-water mark asyncio would have sent before it paused anyone.
    fn gather_room(&self) -> usize {
        self.flow.limits().1.min(GATHER)
    }

    fn after_queueing(self: &Rc<Self>) {
        if self.deferred.get() {
            if self.buffered() <= self.gather_room() {
                return;
            }
            self.flush();
        } else if !self.blocked.get() {
            self.block();
        }
        self.pause_if_due();
    }

    /// No more will be written; the peer is told when the queue is empty.
    pub fn write_eof(self: &Rc<Self>) {
        if self.closing.get() || self.eof.replace(true) {
            return;
        }
        self.flush_gathered();
        if self.queue.is_empty() {
            self.shutdown_write();
        }
    }

    /// Call [`Protocol::drained`](crate::transport::Protocol::drained) once the kernel takes more, though nothing is
    /// queued: somebody else, who sends a file, writes to the descriptor.
    pub fn wait_for_room(self: &Rc<Self>) {
        if self.lost.get() == 0 && !self.blocked.get() {
            self.block();
        }
    }

    pub(super) fn writable(self: &Rc<Self>) {
        if self.lost.get() > 0 {
            return;
        }
        if self.queue.is_empty() {
            return self.emptied();
        }
        if !self.send_queue() {
            return;
        }
        self.resume_if_due();
        // The protocol may have written again, closed or aborted.
        if self.lost.get() == 0 && self.queue.is_empty() {
            self.emptied();
        }
    }

    fn emptied(self: &Rc<Self>) {
        self.unblock();
        if let Some(protocol) = self.protocol() {
            protocol.drained();
        }
        if self.lost.get() > 0 || !self.queue.is_empty() {
            return;
        }
        if self.closing.get() {
            self.lost.set(1);
            self.pending.set(self.pending.get() + 1);
            self.report();
        } else if self.eof.get() {
            self.shutdown_write();
        }
    }

    /// One gathered send of what is queued. False if the socket failed.
    fn send_queue(self: &Rc<Self>) -> bool {
        let sent = self.queue.with_slices(|slices| self.send_vectored(slices));
        match settle(sent) {
            Ok(sent) => {
                drop(self.queue.consume(sent));
                true
            }
            Err(error) => {
                self.fail(error, "Fatal write error on socket transport");
                false
            }
        }
    }

    /// Send what is queued, and listen for room if some of it stays.
    fn flush(self: &Rc<Self>) {
        self.deferred.set(false);
        if !self.send_queue() {
            return;
        }
        if self.buffered() > 0 {
            self.block();
        }
        // New marks may have paused the protocol for what only waited.
        self.resume_if_due();
    }

    pub(super) fn flush_at_turn_end(self: &Rc<Self>) {
        if self.deferred.get() && self.lost.get() == 0 && self.buffered() > 0 {
            if self.hub.forgets() {
                drop(self.queue.clear());
            } else {
                self.flush();
                self.pause_if_due();
            }
        }
        self.deferred.set(false);
    }

    /// Send now what was put off to the end of the turn.
    pub fn flush_gathered(self: &Rc<Self>) {
        if self.deferred.get() && self.lost.get() == 0 {
            self.flush();
        }
    }

    /// As [`Self::flush_gathered`], when there is nobody left to be told how it went.
    pub(super) fn offer_gathered(&self) {
        if self.deferred.replace(false) && self.lost.get() == 0 {
            let _ = self.queue.with_slices(|slices| self.send_vectored(slices));
        }
    }

    pub(super) fn block(self: &Rc<Self>) {
        self.blocked.set(true);
        self.update_interest();
    }

    /// Room to write is nearly always there, so this narrowing cannot be lazy.
    pub(super) fn unblock(&self) {
        if self.blocked.replace(false)
            && let Some(registration) = self.registration()
        {
            let _ = self.hub.reactor.set_interest_now(registration, self.interest());
        }
    }

    fn pause_if_due(&self) {
        if self.flow.pause_due(self.buffered())
            && let Some(protocol) = self.protocol()
        {
            protocol.pause_writing();
        }
    }

    fn resume_if_due(&self) {
        if self.flow.resume_due(self.buffered())
            && let Some(protocol) = self.protocol()
        {
            protocol.resume_writing();
        }
    }
}

fn joined(slices: &[IoSlice<'_>], size: usize) -> Vec<u8> {
    let mut joined = Vec::with_capacity(size);
    slices.iter().for_each(|slice| joined.extend_from_slice(slice));
    joined
}

/// A socket that would block took nothing.
#[inline]
fn settle(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
