//! The sending half of a datagram transport: at once if the kernel has room, and otherwise when it has.
//!
//! Nothing is gathered, unlike a stream's writes: sixteen datagrams by one `sendmmsg` cost the kernel what sixteen
//! `sendto` do (2.49 µs each over loopback), and whoever sends may rely on what was sent being gone.

use std::io;
use std::rc::Rc;

use super::queue::Way;
use super::{Datagram, Doing, Sent};
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
        self.enqueue(keep(), Way::Kernel(to.cloned()));
        Ok(())
    }

    /// Queue a datagram whose address only the face understands: when its turn comes [`DatagramProtocol::send`] is
    /// asked. Whether it waits, which after the end nothing does.
    ///
    /// [`DatagramProtocol::send`]: super::DatagramProtocol::send
    pub fn send_later(self: &Rc<Self>, chunk: Chunk) -> bool {
        let waits = !self.lost.get();
        self.enqueue(chunk, Way::Face);
        waits
    }

    /// Send this when what is queued has been sent.
    fn enqueue(self: &Rc<Self>, chunk: Chunk, way: Way) {
        if self.lost.get() {
            // Nobody listens for room any more.
            return;
        }
        self.queue.borrow_mut().push(chunk, way);
        if !self.blocked.replace(true) {
            self.update_interest();
        }
        self.pause_if_due();
    }

    pub(super) fn writable(self: &Rc<Self>) {
        if self.lost.get() {
            return;
        }
        // What is left after an error is sent in the next turn, in which the kernel still has room.
        match self.send_front() {
            Ok(Sent::Refused) => return,
            Ok(_) => {}
            Err(error) => {
                if let Some(protocol) = self.protocol() {
                    protocol.error_received(error, Doing::Sending);
                }
                return;
            }
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
    fn send_front(&self) -> io::Result<Sent> {
        if self.queue.borrow().is_empty() {
            return Ok(Sent::Yes);
        }
        // Two statements, here and below: nothing is borrowed when a face is called or what it has lent is dropped.
        let faces = self.queue.borrow_mut().take_faces();
        if let Some(chunk) = faces {
            return Ok(self.send_by_face(chunk));
        }
        let sent = self.queue.borrow().with_front(|front| match front {
            [(data, to)] => self.driver().send_to(self.fd, data, *to).map(|_| 1),
            several => self.driver().send_batch(self.fd, several),
        });
        let (count, result) = match sent {
            Ok(count) => (count, Ok(Sent::Yes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, Ok(Sent::NotYet)),
            Err(error) => (1, Err(error)),
        };
        let done = self.queue.borrow_mut().consume(count);
        drop(done);
        result
    }

    fn send_by_face(&self, chunk: Chunk) -> Sent {
        let Some(protocol) = self.protocol() else { return Sent::Refused };
        let sent = protocol.send(chunk.bytes());
        if sent == Sent::NotYet && !self.lost.get() {
            self.queue.borrow_mut().put_back(chunk);
        }
        sent
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
