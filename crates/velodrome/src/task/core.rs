//! A task's future until it is done, and how it is polled, cancelled and caught when it panics.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::error::Reason;
use super::joint::Joint;

/// What the loop knows of a task: that it can be polled, whatever it will give.
pub(crate) trait Step {
    /// Poll, or cancel if that was asked for. Ready when the task is over, one way or another. Never panics.
    fn step(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// Cancel now: the loop ends.
    fn abort(&self);
}

/// What a handle knows of a task: what became of it, whatever did.
pub(super) trait Join<T> {
    fn joint(&self) -> &Joint<T>;
}

/// A task.
pub(super) struct Core<F: Future> {
    /// None while it is being polled, so that nothing is borrowed meanwhile, and when it is over.
    future: Cell<Option<Pin<Box<F>>>>,
    joint: Joint<F::Output>,
}

impl<F: Future> Core<F> {
    pub(super) fn new(future: F, joint: Joint<F::Output>) -> Self {
        Self { future: Cell::new(Some(Box::pin(future))), joint }
    }

    /// Let go of the future, then of those who wait for `result`. A destructor that panics is what became of the task.
    fn end(&self, future: Pin<Box<F>>, result: Result<F::Output, Reason>) {
        let result = caught(|| drop(future)).and(result);
        // A detached task has nobody to take the output: it is dropped with the task, by `discard`.
        self.joint.finish(result);
    }
}

impl<F: Future> Step for Core<F> {
    fn step(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut future) = self.future.take() else { return Poll::Ready(()) };
        if self.joint.is_cancelled() {
            self.end(future, Err(Reason::Cancelled));
            return Poll::Ready(());
        }
        match caught(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => {
                self.future.set(Some(future));
                return Poll::Pending;
            }
            Ok(Poll::Ready(output)) => self.end(future, Ok(output)),
            Err(panic) => self.end(future, Err(panic)),
        }
        Poll::Ready(())
    }

    fn abort(&self) {
        if let Some(future) = self.future.take() {
            self.end(future, Err(Reason::Cancelled));
        }
    }
}

impl<F: Future> Join<F::Output> for Core<F> {
    fn joint(&self) -> &Joint<F::Output> {
        &self.joint
    }
}

/// What stands for a task where none could be started.
pub(super) struct Unborn<T>(pub(super) Joint<T>);

impl<T> Join<T> for Unborn<T> {
    fn joint(&self) -> &Joint<T> {
        &self.0
    }
}

/// Drop what belongs to the user, whose destructor may panic; the panic hook has told of it then.
pub(super) fn discard<T>(value: T) {
    let _ = caught(|| drop(value));
}

fn caught<R>(act: impl FnOnce() -> R) -> Result<R, Reason> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|payload: Box<dyn Any + Send>| Reason::panicked(payload))
}
