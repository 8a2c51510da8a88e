//! What a protocol's host and all its transports know of the connection together: who is at the other end, by what they
//! get there, and who waits until everything written has left for there.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use velodrome_engine::sys::Peer;

use crate::advice::lost;
use crate::channel::Channel;
use crate::waiting::Waiters;

/// What carries a connection's bytes now: encryption may come in between while everybody keeps their transports.
pub(super) struct Wire(pub(super) RefCell<Rc<dyn Channel>>);

impl Wire {
    pub(super) fn new(channel: Rc<dyn Channel>) -> Rc<Self> {
        Rc::new(Self(RefCell::new(channel)))
    }

    pub(super) fn channel(&self) -> Rc<dyn Channel> {
        Rc::clone(&self.0.borrow())
    }
}

pub(super) struct FarEnd {
    pub(super) peer: Peer,
    waiters: Waiters,
}

impl FarEnd {
    pub(super) fn new(peer: Peer) -> Rc<Self> {
        Rc::new(Self { peer, waiters: Waiters::default() })
    }

    /// Until the kernel has taken all that was written.
    pub(super) async fn flushed(&self, channel: &Rc<dyn Channel>) -> io::Result<()> {
        self.waiters.until(|| Self::poll_flushed(channel)).await
    }

    fn poll_flushed(channel: &Rc<dyn Channel>) -> Poll<io::Result<()>> {
        Rc::clone(channel).flush();
        if channel.is_closed() {
            return Poll::Ready(Err(lost()));
        }
        if channel.buffered() == 0 {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Until the connection is lost, or about to be closed.
    pub(super) async fn lost(&self, channel: &Rc<dyn Channel>) -> io::Error {
        let poll = || if channel.is_closing() { Poll::Ready(lost()) } else { Poll::Pending };
        self.waiters.until(poll).await
    }

    /// It has, or never will.
    pub(super) fn wake(&self) {
        self.waiters.wake();
    }
}
