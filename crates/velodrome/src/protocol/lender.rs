//! A protocol that is lent out for one callback at a time, and told afterwards what came up meanwhile.

use std::cell::{Cell, RefCell, RefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Weak;

use crate::local::Local;
use crate::task::caught;
use crate::unhandled::Unhandled;

pub(super) struct Lender<P> {
    /// Borrowed while it is called; there until its host is dropped.
    protocol: RefCell<Option<P>>,
    /// What the protocol is still to be told of writing: true to pause, false to resume.
    owed: Cell<Option<bool>>,
}

/// What became of a callback.
pub(super) enum Called<R> {
    Returned(R),
    Panicked,
    /// It was not called: another callback is at work.
    Busy,
}

impl<P> Lender<P> {
    pub(super) fn new(protocol: P) -> Self {
        Self { protocol: RefCell::new(Some(protocol)), owed: Cell::new(None) }
    }

    fn borrow(&self) -> Option<RefMut<'_, P>> {
        RefMut::filter_map(self.protocol.try_borrow_mut().ok()?, Option::as_mut).ok()
    }

    /// Drop the protocol, whose destructor is one more of its callbacks: who holds it last may be the engine, which no panic
    /// is to reach.
    pub(super) fn drop_protocol(&mut self, local: &Weak<Local>) {
        let protocol = self.protocol.get_mut().take();
        if caught(|| drop(protocol)).is_err()
            && let Some(local) = local.upgrade()
        {
            local.report(&Unhandled::new("a protocol was dropped", "its destructor panicked"));
        }
    }

    /// Call the protocol. The caller settles afterwards.
    pub(super) fn call<R>(&self, callback: impl FnOnce(&mut P) -> R) -> Called<R> {
        let Some(mut protocol) = self.borrow() else { return Called::Busy };
        match catch_unwind(AssertUnwindSafe(|| callback(&mut protocol))) {
            Ok(result) => Called::Returned(result),
            Err(_told_by_the_panic_hook) => Called::Panicked,
        }
    }

    /// As [`call`](Self::call), for who is to have the panic itself.
    pub(super) fn lend(&self, borrower: &mut dyn FnMut(&mut P)) -> bool {
        let Some(mut protocol) = self.borrow() else { return false };
        borrower(&mut protocol);
        true
    }

    /// Note what is to be told of writing if it cannot be told now. True if it can.
    pub(super) fn may_tell(&self, pause: bool) -> bool {
        if self.protocol.try_borrow_mut().is_ok() {
            return true;
        }
        // A pause and a resume of which neither was told are nothing.
        let opposite = self.owed.get() == Some(!pause);
        self.owed.set((!opposite).then_some(pause));
        false
    }

    pub(super) fn take_owed(&self) -> Option<bool> {
        self.owed.take()
    }
}
