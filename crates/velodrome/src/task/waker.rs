//! The part of a task that other threads may hold: a number, and the way back to its loop.
//!
//! On the loop's own thread a waker puts its task into the ready queue, and no atomic is written. From another thread
//! it sends itself through the loop's inbox. Why no wake-up is lost on that way:
//!
//! * `travelling` means: *this waker is in the inbox or about to be, and will arrive*. Only who turns it from false to
//!   true sends, so it is in there once at most.
//! * It is cleared on arrival **before** the task is polled. A wake-up that still found it set came before that, in the
//!   order of the swaps, which all acquire and release: so what its thread had written is seen by the poll. One that
//!   finds it cleared sends again.
//!
//! An inbox that is closed gives the waker back, and nobody is left to be woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use velodrome_engine::ready::{RunShared, SendRunnable};
use velodrome_engine::wakeup::Inbox;

use crate::local;

/// Stands for the future given to `block_on`, which is in no table.
pub(crate) const MAIN: usize = usize::MAX;

pub(crate) struct TaskWaker {
    /// Where the loop hears other threads. Which one it is also says which loop.
    inbox: Arc<Inbox<SendRunnable>>,
    index: usize,
    travelling: AtomicBool,
}

impl TaskWaker {
    pub(crate) fn new(inbox: Arc<Inbox<SendRunnable>>, index: usize) -> Arc<Self> {
        Arc::new(Self { inbox, index, travelling: AtomicBool::new(false) })
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn is_of(&self, inbox: &Arc<Inbox<SendRunnable>>) -> bool {
        Arc::ptr_eq(&self.inbox, inbox)
    }

    fn send(self: Arc<Self>) {
        if !self.travelling.swap(true, Ordering::AcqRel) {
            let inbox = Arc::clone(&self.inbox);
            drop(inbox.push(SendRunnable::from_arc(self)));
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !local::wake_here(&self) {
            self.send();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !local::wake_here(self) {
            Arc::clone(self).send();
        }
    }
}

impl RunShared for TaskWaker {
    fn run(self: Arc<Self>) {
        self.travelling.swap(false, Ordering::AcqRel);
        local::arrive(&self);
    }
}
