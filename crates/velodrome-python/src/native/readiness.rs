//! An operation's wait for its socket: a future in the place of a reader or writer, and the promise to leave that
//! place however the wait ends.
//!
//! The future says only "try again"; nothing is received on behalf of somebody who may have been cancelled by the
//! time he hears of it, so no byte is lost.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::Rc;

use velodrome_engine::driver::Interest;
use velodrome_engine::hub::Hub;

use super::event_loop::Loop;
use super::handle;
use super::watches::{Entry, Watches};
use crate::kit::coroutines::{Step, advance, iterator};
use crate::kit::names::Name;
use crate::kit::object::{Obj, Ref, Result, Slot, long, raise_os_error};
use crate::kit::types::{This, Visit};

static ENSURE_FD_NO_TRANSPORT: Name = Name::new("_ensure_fd_no_transport");

/// A wait that has begun.
pub(super) struct Waiting {
    hub: Rc<Hub>,
    watches: Rc<Watches>,
    entry: Rc<Entry>,
    side: Interest,
    future: Slot,
    iterator: Ref,
    /// It ended as it should: the lease stays for the next operation.
    fulfilled: Cell<bool>,
}

impl Waiting {
    /// Wait until `socket`, whose descriptor is `fd`, is ready. Whoever waited for that before waits in vain, as with
    /// asyncio.
    pub(super) fn begin(event_loop: This<'_, Loop>, socket: &Obj, fd: RawFd, side: Interest) -> Result<Self> {
        let hub = Rc::clone(event_loop.engine()?.hub());
        let watches = Rc::clone(&event_loop.watches);
        let future = super::scheduling::new_future(event_loop)?;
        let iterator = iterator(&future)?;
        let entry = match watches.find(fd).filter(|entry| entry.is_of(socket)) {
            Some(entry) => {
                let wider = entry.watch.interest().union(side);
                hub.reactor
                    .set_interest(&entry.registration, wider)
                    .map_err(|error| raise_os_error(&error))?;
                take_place(&entry, side, &future);
                entry
            }
            None => enter(event_loop, &hub, socket, fd, side, &future)?,
        };
        let future = Slot::new(future);
        Ok(Self { hub, watches, entry, side, future, iterator, fulfilled: Cell::new(false) })
    }

    /// Go on waiting, or find that the wait is over.
    pub(super) fn poll(&self) -> Result<Step> {
        let step = advance(&self.iterator)?;
        self.fulfilled.set(matches!(step, Step::Return(_)));
        Ok(step)
    }

    pub(super) fn traverse(&self, visit: &mut Visit) {
        visit.slot(&self.future);
        visit.pointer(self.iterator.as_ptr().cast());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let place = self.entry.watch.slot(self.side);
        let mine = !place.is_empty() && place.as_ptr() == self.future.as_ptr();
        let before = if mine { place.take() } else { None };
        if !self.fulfilled.get() && (mine || self.entry.is_idle()) {
            self.watches.leave(&self.hub, &self.entry);
        }
        drop(before);
    }
}

fn take_place(entry: &Entry, side: Interest, future: &Obj) {
    let before = entry.watch.slot(side).replace(Some(future.to_ref()));
    if let Some(before) = before {
        handle::cancel(&before);
    }
}

/// A socket that has not waited here before: asyncio's checks, and the kernel is asked.
fn enter(
    event_loop: This<'_, Loop>,
    hub: &Rc<Hub>,
    socket: &Obj,
    fd: RawFd,
    side: Interest,
    future: &Obj,
) -> Result<Rc<Entry>> {
    event_loop.object().call_method(ENSURE_FD_NO_TRANSPORT.get()?, [&*long(i64::from(fd))?])?;
    let watches = &event_loop.watches;
    let entry = match watches.find(fd) {
        Some(entry) if !entry.is_idle() => {
            let wider = entry.watch.interest().union(side);
            hub.reactor
                .set_interest_now(&entry.registration, wider)
                .map_err(|error| raise_os_error(&error))?;
            take_place(&entry, side, future);
            entry
        }
        _ => {
            watches.end(hub, fd);
            watches.begin(hub, fd, side, future).map_err(|error| raise_os_error(&error))?
        }
    };
    entry.adopt(socket)?;
    Ok(entry)
}
