//! One attempt to connect a socket to one address.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use velodrome_engine::driver::{Interest, Readiness};
use velodrome_engine::hub::Hub;
use velodrome_engine::reactor::{Registration, Source};
use velodrome_engine::sys::{self, Peer, SocketType};

use super::options::Setup;
use crate::advice;
use crate::waiting::Waiter;

/// A socket that connects, and is closed if this is dropped.
pub(super) struct Attempt {
    hub: Rc<Hub>,
    watch: Rc<Watch>,
    /// While the loop listens for the outcome.
    registration: Option<Rc<Registration>>,
    /// None once it was given away.
    socket: Option<OwnedFd>,
}

/// Hears from the loop.
#[derive(Default)]
struct Watch {
    decided: Cell<bool>,
    waiter: Waiter,
}

impl Source for Watch {
    fn ready(self: Rc<Self>, _: Readiness) {
        self.decided.set(true);
        self.waiter.wake();
    }
}

impl Attempt {
    pub(super) fn begin(hub: &Rc<Hub>, peer: &Peer, setup: &Setup) -> io::Result<Self> {
        let socket = sys::socket(peer.family(), SocketType::STREAM)?;
        let fd = socket.as_raw_fd();
        setup.apply(&socket, peer)?;
        let mut attempt =
            Self { hub: Rc::clone(hub), watch: Rc::default(), registration: None, socket: Some(socket) };
        match sys::connect(fd, peer) {
            Ok(()) => attempt.watch.decided.set(true),
            Err(error) if sys::is_connecting(&error) => attempt.listen(fd)?,
            Err(error) => return Err(error),
        }
        Ok(attempt)
    }

    /// The socket becomes writable when it is decided.
    fn listen(&mut self, fd: RawFd) -> io::Result<()> {
        let watch = Rc::clone(&self.watch) as Rc<dyn Source>;
        self.registration = Some(self.hub.reactor.register(fd, watch, Interest::WRITE)?);
        Ok(())
    }

    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<io::Result<OwnedFd>> {
        if !self.watch.decided.get() {
            self.watch.waiter.wait(cx);
            return Poll::Pending;
        }
        self.unlisten();
        let socket = self.socket.take().ok_or_else(|| {
            advice::unforeseen(io::ErrorKind::NotConnected, "a connection was awaited twice")
        })?;
        Poll::Ready(sys::take_error(socket.as_raw_fd()).map(|()| socket))
    }

    fn unlisten(&mut self) {
        if let Some(registration) = self.registration.take() {
            drop(self.hub.reactor.deregister(&registration));
        }
    }
}

impl Drop for Attempt {
    /// Before the socket is closed.
    fn drop(&mut self) {
        self.unlisten();
    }
}
