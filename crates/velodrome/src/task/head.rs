//! What is known of a task whatever its future is: whether it is to run, who waits for it, what it is called.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Waker};

use velodrome_engine::ready::SendRunnable;
use velodrome_engine::wakeup::Inbox;

use super::cell::VTable;
use crate::atomics::{AtomicBool, AtomicU32, Ordering, here};

/// The way to a loop from other threads; which one it is also says which loop.
pub(crate) type Door = Arc<Inbox<SendRunnable>>;

/// The beginning of every task. Other threads touch the first four fields and no other.
pub(super) struct Head {
    pub(super) vtable: &'static VTable,
    /// None of a task that never was.
    pub(super) door: Option<Door>,
    /// Counts the wakers that were made on other threads, less those that were dropped there, from [`BIAS`] on.
    pub(super) shared: AtomicU32,
    /// This task's wake-up is in the inbox, or about to be, and will arrive.
    pub(super) travelling: AtomicBool,
    pub(super) state: Cell<State>,
    cancelled: Cell<bool>,
    /// Counts who holds the task on its own thread: handle, table, ready queue.
    pub(super) local: Cell<u32>,
    /// Counts the wakers that were made on the loop's thread, less those that were dropped there; may be negative.
    pub(super) wakers: Cell<i32>,
    /// Its place in the loop's table.
    index: u32,
    /// Who waits for the end.
    waiter: Cell<Option<Waker>>,
    /// What the default name is made of, when somebody asks.
    number: u64,
    #[allow(clippy::box_collection, reason = "one word in every task, for what few have")]
    name: Cell<Option<Box<String>>>,
}

/// What `shared` counts from while the task's thread counts beside it: so far away from zero that wakers which are
/// dropped on other threads do not bring it there.
pub(super) const BIAS: u32 = 1 << 30;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Waits for its waker.
    Idle,
    /// Stands in the ready queue.
    Queued,
    /// Is being polled, or dropped.
    Running,
    /// Is being polled, and was woken meanwhile.
    Woken,
    /// Its future is gone.
    Finished,
}

impl Head {
    /// Of a task that stands in the ready queue, held by `holders` on its own thread.
    pub(super) fn new(
        vtable: &'static VTable,
        door: Option<Door>,
        index: u32,
        number: u64,
        holders: u32,
    ) -> Self {
        Self {
            vtable,
            door,
            shared: AtomicU32::new(BIAS),
            travelling: AtomicBool::new(false),
            state: Cell::new(State::Queued),
            cancelled: Cell::new(false),
            local: Cell::new(holders),
            wakers: Cell::new(0),
            index,
            waiter: Cell::default(),
            number,
            name: Cell::default(),
        }
    }

    /// True if the task must now be put into the queue.
    pub(super) fn mark_woken(&self) -> bool {
        let state = self.state.get();
        self.state.set(match state {
            State::Idle => State::Queued,
            State::Running => State::Woken,
            state => state,
        });
        state == State::Idle
    }

    /// True if this is a turn: it was queued, and is not over.
    pub(super) fn begin_turn(&self) -> bool {
        let queued = self.state.get() == State::Queued;
        if queued {
            self.state.set(State::Running);
        }
        queued
    }

    /// True if it may be ended from outside: it is neither over nor in the middle of a turn, which ends it then.
    pub(super) fn begin_end(&self) -> bool {
        self.mark_cancelled();
        let waits = matches!(self.state.get(), State::Idle | State::Queued);
        if waits {
            self.state.set(State::Running);
        }
        waits
    }

    /// The task waits. True if it has been woken already, and must be queued again.
    pub(super) fn end_turn(&self) -> bool {
        let again = self.state.get() == State::Woken;
        self.state.set(if again { State::Queued } else { State::Idle });
        again
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.get() == State::Finished
    }

    /// The future is gone: who waits may know.
    pub(super) fn finish(&self) {
        self.state.set(State::Finished);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// False if it is too late.
    pub(super) fn mark_cancelled(&self) -> bool {
        let early = !self.is_finished();
        if early {
            self.cancelled.set(true);
        }
        early
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Whether its loop runs on this thread now. Then nobody else touches what is not atomic.
    #[inline]
    pub(super) fn is_here(&self) -> bool {
        self.door.as_ref().is_some_and(|door| ptr::eq(Arc::as_ptr(door).cast(), here()))
    }

    /// Whether wakers are counted without atomics: here, and as long as somebody holds the task here.
    #[inline]
    pub(super) fn counts_here(&self) -> bool {
        self.is_here() && self.local.get() > 0
    }

    /// What `shared` must be changed by to count everything from now on.
    pub(super) fn merger(&self) -> u32 {
        self.wakers.get().cast_unsigned().wrapping_sub(BIAS)
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn wait(&self, cx: &Context<'_>) {
        let waiter = match self.waiter.take() {
            Some(waiter) if waiter.will_wake(cx.waker()) => waiter,
            _ => cx.waker().clone(),
        };
        self.waiter.set(Some(waiter));
    }

    /// Only who turns this from false to true sends the wake-up, so it is in the inbox once at most.
    pub(super) fn begin_travel(&self) -> bool {
        !self.travelling.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_travel(&self) {
        self.travelling.swap(false, Ordering::AcqRel);
    }

    pub(super) fn name(&self) -> String {
        let name = self.name.take();
        let text = name.as_ref().map_or_else(|| format!("Task-{}", self.number), |name| (**name).clone());
        self.name.set(name);
        text
    }

    pub(super) fn set_name(&self, name: String) {
        self.name.set(Some(Box::new(name)));
    }

    /// Drop what belongs to this thread, in a task that nobody holds here any more. The name does not: who may cancel the
    /// task may ask for it still.
    pub(super) fn empty(&self) {
        self.waiter.take();
    }
}
