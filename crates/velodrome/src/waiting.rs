//! Where futures of one thread leave their wakers: a place for one, and a list for many.
//!
//! Nothing here is shared between threads, so there are cells and no locks. A waker may be anybody's, and waking it may
//! come straight back here: nothing is borrowed meanwhile.

use std::cell::{Cell, OnceCell, RefCell};
use std::task::{Context, Waker};

/// A place for one who waits. A second one takes the place of the first.
#[derive(Default)]
pub(crate) struct Waiter {
    /// Stays after waking, so that a task that waits here again and again does not count its waker up and down.
    waker: Cell<Option<Waker>>,
    /// Set: somebody waits, and has not been woken since.
    waiting: Cell<bool>,
}

impl Waiter {
    /// Leave the waker of `cx`, to be woken once.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        let waker = match self.waker.take() {
            Some(waker) if waker.will_wake(cx.waker()) => waker,
            _ => cx.waker().clone(),
        };
        self.waker.set(Some(waker));
        self.waiting.set(true);
    }

    /// Wake who waits.
    pub(crate) fn wake(&self) {
        if !self.waiting.replace(false) {
            return;
        }
        let Some(waker) = self.waker.take() else { return };
        waker.wake_by_ref();
        if !self.waiting.get() {
            self.waker.set(Some(waker));
        }
    }
}

/// A place for any number. It is made when the first one comes: most connections never see one.
#[derive(Default)]
#[allow(clippy::box_collection, reason = "one word in every connection, for what few have")]
pub(crate) struct Waiters(OnceCell<Box<RefCell<Vec<Waker>>>>);

impl Waiters {
    /// Leave the waker of `cx`, to be woken once.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        let mut wakers = self.0.get_or_init(Box::default).borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
    }

    /// Wake all who wait.
    pub(crate) fn wake(&self) {
        let Some(wakers) = self.0.get() else { return };
        wakers.take().into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn count(count: &Count) -> usize {
        count.0.load(Ordering::Relaxed)
    }

    #[test]
    fn one_who_waits_is_woken_once_and_the_last_to_come_has_the_place() {
        let (waiter, (first, one), (second, other)) = (Waiter::default(), counted(), counted());
        waiter.wake();
        waiter.wait(&Context::from_waker(&one));
        waiter.wake();
        waiter.wake();
        assert_eq!(count(&first), 1);
        waiter.wait(&Context::from_waker(&one));
        waiter.wait(&Context::from_waker(&other));
        waiter.wake();
        assert_eq!((count(&first), count(&second)), (1, 1));
    }

    #[test]
    fn many_are_woken_once_each() {
        let (waiters, (first, one), (second, other)) = (Waiters::default(), counted(), counted());
        for waker in [&one, &other, &one] {
            waiters.wait(&Context::from_waker(waker));
        }
        waiters.wake();
        waiters.wake();
        assert_eq!((count(&first), count(&second)), (1, 1));
    }
}
