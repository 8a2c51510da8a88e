//! Where a task and its handle meet: what became of it, who waits for that, and what it is called.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use super::error::{Reason, TaskError};
use crate::local::Local;
use crate::waiting::Waiter;

enum Outcome<T> {
    Open,
    Known(Result<T, TaskError>),
    Taken,
}

pub(super) struct Joint<T> {
    outcome: Cell<Outcome<T>>,
    /// The future is gone.
    finished: Cell<bool>,
    /// To be dropped at its next turn.
    cancelled: Cell<bool>,
    waiter: Waiter,
    local: Weak<Local>,
    /// The task's place in the loop's table, as long as it is not finished.
    index: usize,
    /// What the default name is made of, when somebody asks.
    number: u64,
    name: RefCell<Option<String>>,
}

impl<T> Joint<T> {
    pub(super) fn new(local: &Rc<Local>, index: usize) -> Self {
        Self::build(Outcome::Open, Rc::downgrade(local), index, local.tasks.next_number())
    }

    /// Of a task that never was.
    pub(super) fn ended(reason: Reason) -> Self {
        let joint = Self::build(Outcome::Open, Weak::new(), 0, 0);
        joint.finish(Err(reason));
        joint
    }

    fn build(outcome: Outcome<T>, local: Weak<Local>, index: usize, number: u64) -> Self {
        Self {
            outcome: Cell::new(outcome),
            finished: Cell::new(false),
            cancelled: Cell::new(false),
            waiter: Waiter::default(),
            local,
            index,
            number,
            name: RefCell::default(),
        }
    }

    pub(super) fn cancel(&self) -> bool {
        if self.finished.get() {
            return false;
        }
        self.cancelled.set(true);
        if let Some(local) = self.local.upgrade() {
            local.tasks.wake_index(&local, self.index);
        }
        true
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    pub(super) fn name(&self) -> String {
        self.name.borrow().clone().unwrap_or_else(|| format!("Task-{}", self.number))
    }

    pub(super) fn set_name(&self, name: String) {
        self.name.replace(Some(name));
    }

    /// The task is over; who waits may know.
    pub(super) fn finish(&self, result: Result<T, Reason>) {
        let result = result.map_err(|reason| TaskError::new(self.name(), reason));
        self.outcome.set(Outcome::Known(result));
        self.finished.set(true);
        self.waiter.wake();
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<T, TaskError>> {
        match self.outcome.replace(Outcome::Taken) {
            Outcome::Known(result) => Poll::Ready(result),
            Outcome::Taken => Poll::Ready(Err(TaskError::new(self.name(), Reason::Taken))),
            Outcome::Open => {
                self.outcome.set(Outcome::Open);
                self.waiter.wait(cx);
                Poll::Pending
            }
        }
    }
}
