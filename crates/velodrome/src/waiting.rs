//! Where futures of one thread leave their wakers: a place for one, and a list for many.
//!
//! Nothing here is shared between threads, so there are cells and no locks. A waker may be anybody's, and waking it may
//! come straight back here: nothing is borrowed meanwhile.

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::line::{Line, Place};

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
pub(crate) struct Waiters(OnceCell<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// Futures, which take leave when they are dropped.
    line: Line,
    /// Who only polls, and has nothing that could take leave: what other crates' traits ask for.
    last: Waiter,
}

impl Waiters {
    /// Leave the waker of `cx`, to be woken once. It takes the place of the last one that was left so.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        self.0.get_or_init(Box::default).last.wait(cx);
    }

    /// Ask `poll` now and whenever those who wait are woken, until it is ready. Nothing is left here when the future is
    /// dropped: a waker keeps the memory of its whole task.
    #[inline]
    pub(crate) fn until<T, F>(&self, poll: F) -> Until<'_, F>
    where
        F: FnMut() -> Poll<T> + Unpin,
    {
        Until { waiters: self, place: Place::default(), poll }
    }

    /// Wake all who wait.
    pub(crate) fn wake(&self) {
        if let Some(waiting) = self.0.get() {
            waiting.line.serve_all();
            waiting.last.wake();
        }
    }

    #[cold]
    fn take_place(&self, place: &mut Place, cx: &Context<'_>) {
        let waiting = self.0.get_or_init(Box::default);
        // Who was woken for nothing gets up, and takes a place again.
        if place.poll(&waiting.line, cx).is_ready() {
            let _ = place.poll(&waiting.line, cx);
        }
    }

    #[cold]
    fn give_up(&self, place: &mut Place) {
        if let Some(waiting) = self.0.get() {
            place.vacate(&waiting.line);
        }
    }
}

/// What [`Waiters::until`] returns.
pub(crate) struct Until<'a, F> {
    waiters: &'a Waiters,
    place: Place,
    poll: F,
}

impl<T, F: FnMut() -> Poll<T> + Unpin> Future for Until<'_, F> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let poll = (this.poll)();
        if poll.is_pending() {
            this.waiters.take_place(&mut this.place, cx);
        }
        poll
    }
}

impl<F> Drop for Until<'_, F> {
    #[inline]
    fn drop(&mut self) {
        if self.place.is_taken() {
            self.waiters.give_up(&mut self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
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
        let mut never = [(); 2].map(|()| waiters.until(|| Poll::<()>::Pending));
        for (future, waker) in never.iter_mut().zip([&one, &one]) {
            assert!(pin!(future).poll(&mut Context::from_waker(waker)).is_pending());
        }
        waiters.wait(&Context::from_waker(&other));
        waiters.wake();
        waiters.wake();
        assert_eq!((count(&first), count(&second)), (2, 1));
        // Woken for nothing, it waits again.
        assert!(pin!(&mut never[1]).poll(&mut Context::from_waker(&one)).is_pending());
        waiters.wake();
        assert_eq!(count(&first), 3);
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind() {
        let (waiters, (kept, waker)) = (Waiters::default(), counted());
        let mut never: Vec<_> = (0..1000).map(|_| waiters.until(|| Poll::<()>::Pending)).collect();
        for future in &mut never {
            assert!(pin!(future).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&kept), 1002);
        never.truncate(500);
        assert_eq!(Arc::strong_count(&kept), 502);
        waiters.wake();
        drop(never);
        assert_eq!((Arc::strong_count(&kept), count(&kept)), (2, 500));
    }
}
