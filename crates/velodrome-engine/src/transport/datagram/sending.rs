//! The sending half of a datagram transport: at once if the kernel has room, and otherwise when it has.
//!
//! Nothing is gathered, unlike a stream's writes: sixteen datagrams by one `sendmmsg` cost the kernel what sixteen
//! `sendto` do (2.49 µs each over loopback), and whoever sends may rely on what was sent being gone.

use std::io;
use std::rc::Rc;

use super::{Datagram, Doing};
use crate::sys::Peer;
use crate::transport::flow_control::LimitsError;
use crate::transport::write_queue::Chunk;

impl Datagram {
    /// Whether the protocol was told to pause writing.
    #[must_use]
    pub fn writing_paused(&self) -> bool {
        self.flow.is_paused()
    }

    /// Whether the loop listens for room to send.
    #[must_use]
    pub fn polls_write(&self) -> bool {
        self.blocked.get()
    }

    /// Bytes not yet taken by the kernel, each datagram's header included.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.queue.borrow().size()
    }

    /// Low and high-water mark of the queue, in bytes.
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

    /// Send one datagram to `to`, or to the address that the socket is connected to; queue it if the kernel has no
    /// room. `keep` makes the chunk to be queued, if one must be.
    ///
    /// # Errors
    /// What the kernel says of it. The transport lives on; asyncio tells such errors by `error_received`.
    pub fn send(
        self: &Rc<Self>,
        data: &[u8],
        to: Option<&Peer>,
        keep: impl FnOnce() -> Chunk,
    ) -> io::Result<()> {
        if self.is_closed() {
            return Ok(());
        }
        if self.queue.borrow().is_empty() {
            match self.driver().send_to(self.fd, data, to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent.map(drop),
            }
        }
        self.enqueue(keep(), to.cloned());
        Ok(())
    }

    /// Send this when what is queued has been sent.
    fn enqueue(self: &Rc<Self>, chunk: Chunk, to: Option<Peer>) {
        if self.lost.get() {
            // Nobody listens for room any more.
            return;
        }
        self.queue.borrow_mut().push(chunk, to);
        if !self.blocked.replace(true) {
            self.update_interest();
        }
        self.pause_if_due();
    }

    pub(super) fn writable(self: &Rc<Self>) {
        if self.lost.get() {
            return;
        }
        if let Err(error) = self.send_front() {
            if let Some(protocol) = self.protocol() {
                protocol.error_received(error, Doing::Sending);
            }
            // The rest is sent in the next turn, in which the kernel still has room.
            return;
        }
        if self.flow.resume_due(self.buffered())
            && let Some(protocol) = self.protocol()
        {
            protocol.resume_writing();
        }
        // The protocol may have sent again, closed or aborted.
        if !self.lost.get() && self.queue.borrow().is_empty() {
            self.emptied();
        }
    }

    /// One call for as much of the queue as that takes. The datagram that fails is done with.
    fn send_front(&self) -> io::Result<()> {
        if self.queue.borrow().is_empty() {
            return Ok(());
        }
        let sent = self.queue.borrow().with_front(|front| match front {
            [(data, to)] => self.driver().send_to(self.fd, data, *to).map(|_| 1),
            several => self.driver().send_batch(self.fd, several),
        });
        let (count, result) = match sent {
            Ok(count) => (count, Ok(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, Ok(())),
            Err(error) => (1, Err(error)),
        };
        // Two statements: what was lent is dropped after the borrow has ended.
        let done = self.queue.borrow_mut().consume(count);
        drop(done);
        result
    }

    fn emptied(self: &Rc<Self>) {
        // Room is nearly always there, so this narrowing cannot be lazy.
        self.blocked.set(false);
        if let Some(registration) = self.registration() {
            let _ = self.hub.reactor.set_interest_now(&registration, self.interest());
        }
        if self.closing.get() {
            self.lost.set(true);
            self.pending.set(self.pending.get() + 1);
            self.report();
        } else if let Some(protocol) = self.protocol() {
            self.hold(&*protocol);
        }
    }

    fn pause_if_due(&self) {
        if self.flow.pause_due(self.buffered())
            && let Some(protocol) = self.protocol()
        {
            protocol.pause_writing();
        }
    }

    pub(super) fn drop_queue(&self) {
        let dropped = self.queue.borrow_mut().clear();
        drop(dropped);
    }
}
