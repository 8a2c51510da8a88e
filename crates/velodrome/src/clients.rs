//! Who is connected to a server: counted, so that it can be waited for the last one, and known, so that all can be
//! closed. Streams and protocols are clients alike; all that is asked of them is to close.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Poll;

use crate::waiting::Waiters;

/// What a server can do to a connection of its own.
pub(crate) trait Endpoint {
    /// Send what was written, then close.
    fn close(&self);
    /// Close at once.
    fn abort(&self);
}

/// The connections of one server that are not lost yet.
#[derive(Default)]
pub(crate) struct Clients {
    /// None where nobody is, or nobody who can be closed yet.
    slots: RefCell<Vec<Option<Weak<dyn Endpoint>>>>,
    vacant: RefCell<Vec<usize>>,
    /// Nobody else comes.
    closed: Cell<bool>,
    /// Woken when nobody else comes, and when the last one has left then.
    waiters: Waiters,
}

impl Clients {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.waiters.wake();
    }

    /// Until it is so, of which there is news when this is closed and when the last one has left then.
    pub(crate) async fn until(&self, is_so: impl Fn(&Self) -> bool + Unpin) {
        let poll = || if is_so(self) { Poll::Ready(()) } else { Poll::Pending };
        self.waiters.until(poll).await;
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len() - self.vacant.borrow().len()
    }

    /// One more, until what is returned is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Client {
        let index = self.vacant.borrow_mut().pop().unwrap_or_else(|| {
            let mut slots = self.slots.borrow_mut();
            slots.push(None);
            slots.len() - 1
        });
        Client { clients: Rc::clone(self), index }
    }

    /// Nothing is borrowed while `act` runs: it may end the connection, which leaves then.
    pub(crate) fn for_each(&self, act: impl Fn(&dyn Endpoint)) {
        let present: Vec<_> = self.slots.borrow().iter().flatten().filter_map(Weak::upgrade).collect();
        present.iter().for_each(|endpoint| act(&**endpoint));
    }
}

/// One connection's place; dropped when it is lost.
pub(crate) struct Client {
    clients: Rc<Clients>,
    index: usize,
}

impl Client {
    /// This is what to close.
    pub(crate) fn attach(&self, endpoint: Weak<dyn Endpoint>) {
        self.clients.slots.borrow_mut()[self.index] = Some(endpoint);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.slots.borrow_mut()[self.index] = None;
        self.clients.vacant.borrow_mut().push(self.index);
        // A server that goes on is waited for by its main future, often the whole program: each client that leaves
        // would cost it a turn.
        if self.clients.is_closed() && self.clients.len() == 0 {
            self.clients.waiters.wake();
        }
    }
}
