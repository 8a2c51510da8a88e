//! A result on its way from one thread to another.
//!
//! One side keeps the promise, the other waits for that, or takes it back. Whichever comes first decides, under one
//! lock: a result that comes too late is dropped by who brought it, and a promise that is dropped unkept counts as
//! cancelled. Wakers are woken and dropped with the lock open, for they may be anybody's.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use crate::atomics::{Mutex, MutexGuard, PoisonError};
use crate::task::discard;
use crate::task::error::Ending;

/// The side that gives the result.
pub(crate) struct Promise<T>(Arc<Shared<T>>);

/// The side that waits for it.
pub(crate) struct Promised<T>(Arc<Shared<T>>);

struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    outcome: Outcome<T>,
    /// Who waits for the result.
    waiting: Option<Waker>,
    /// Who works on it, to be told that it need not.
    working: Option<Waker>,
}

enum Outcome<T> {
    Open,
    Known(Result<T, Ending>),
    Taken,
}

impl<T> Drop for State<T> {
    /// Whichever side is the last, on either thread, drops a result that it did not ask for.
    fn drop(&mut self) {
        discard(std::mem::replace(&mut self.outcome, Outcome::Taken));
    }
}

pub(crate) fn promise<T>() -> (Promise<T>, Promised<T>) {
    let state = State { outcome: Outcome::Open, waiting: None, working: None };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Promise(Arc::clone(&shared)), Promised(shared))
}

impl<T> Shared<T> {
    /// A thread that died while it held the lock was moving a result; nothing is broken by that.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_settled(&self) -> bool {
        !matches!(self.lock().outcome, Outcome::Open)
    }

    /// Decide what became of it, if that is open. True if it was.
    fn settle(&self, result: Result<T, Ending>) -> bool {
        let mut state = self.lock();
        if !matches!(state.outcome, Outcome::Open) {
            // The guard goes first, then the result that came too late.
            drop(state);
            return false;
        }
        state.outcome = Outcome::Known(result);
        let (waiting, working) = (state.waiting.take(), state.working.take());
        drop(state);
        [waiting, working].into_iter().flatten().for_each(Waker::wake);
        true
    }
}

impl<T> Promise<T> {
    pub(crate) fn keep(self, result: Result<T, Ending>) {
        self.0.settle(result);
    }

    /// Whether nobody wants the result any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.0.is_settled()
    }

    /// Ready once nobody wants the result any more.
    pub(crate) fn poll_settled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if !matches!(state.outcome, Outcome::Open) {
            return Poll::Ready(());
        }
        if !state.working.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            // The one it replaces is dropped when the lock is open again.
            let _last = state.working.replace(cx.waker().clone());
            drop(state);
        }
        Poll::Pending
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.settle(Err(Ending::Cancelled));
    }
}

/// A promise of whatever kind, to one who wants nothing of the result.
pub(crate) trait Settles: Send + Sync {
    /// As [`Promised::take_back`].
    fn take_back(&self) -> bool;

    fn is_settled(&self) -> bool;
}

impl<T: Send> Settles for Shared<T> {
    fn take_back(&self) -> bool {
        self.settle(Err(Ending::Cancelled))
    }

    fn is_settled(&self) -> bool {
        Self::is_settled(self)
    }
}

impl<T> Promised<T> {
    pub(crate) fn watch(&self) -> Weak<dyn Settles>
    where
        T: Send + 'static,
    {
        let shared: Weak<Shared<T>> = Arc::downgrade(&self.0);
        shared
    }

    /// False if there was a result already.
    pub(crate) fn take_back(&self) -> bool {
        self.0.settle(Err(Ending::Cancelled))
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.0.is_settled()
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<T, Ending>> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut state.outcome, Outcome::Taken) {
            Outcome::Known(result) => Poll::Ready(result),
            Outcome::Taken => Poll::Ready(Err(Ending::Taken)),
            Outcome::Open => {
                state.outcome = Outcome::Open;
                let _last = state.waiting.replace(cx.waker().clone());
                drop(state);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
#[cfg(loom)]
#[path = "promise_model.rs"]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(promised: &Promised<T>) -> Poll<Result<T, Ending>> {
        promised.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_first_to_decide_decides() {
        let (promise, promised) = promise();
        assert!(poll(&promised).is_pending() && !promised.is_settled() && !promise.is_settled());
        assert!(promised.take_back() && !promised.take_back());
        promise.keep(Ok(1));
        assert!(matches!(poll(&promised), Poll::Ready(Err(Ending::Cancelled))));
        assert!(matches!(poll(&promised), Poll::Ready(Err(Ending::Taken))));
    }

    #[test]
    fn a_promise_that_is_dropped_is_a_cancellation() {
        let (promise, promised) = promise::<u8>();
        drop(promise);
        assert!(matches!(poll(&promised), Poll::Ready(Err(Ending::Cancelled))));
    }
}
