//! Sleeping where no loop of ours runs: under another executor, or a plain `block_on`.
//!
//! A future that waits for time has no way to report that there is nobody to keep it. Rather than fail, or block a
//! thread that is not ours, it is kept by a thread that does nothing else. That is dear, but it is right, and nobody
//! comes here who runs Velodrome.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Elsewhere(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when nobody waits any more, so that the thread need not last as long as the sleep.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    over: bool,
    given_up: bool,
    waker: Option<Waker>,
}

impl Elsewhere {
    pub(super) fn begin(duration: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let keeper = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("velodrome-sleep".into()).spawn(move || keeper.keep(duration));
        if thread.is_err() {
            // No thread to be had: the time passes here, or it would never be over.
            shared.keep(duration);
        }
        Self(shared)
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        if state.over {
            return Poll::Ready(());
        }
        // The one it replaces is dropped when the lock is open again.
        let _last = state.waker.replace(cx.waker().clone());
        drop(state);
        Poll::Pending
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.0.state().given_up = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, duration: Duration) {
        let waited = self.changed.wait_timeout_while(self.state(), duration, |state| !state.given_up);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.over = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Weak;
    use std::task::Wake;
    use std::thread::Thread;

    use velodrome_engine::clock::Clock;

    use super::*;
    use crate::{sleep, timeout};

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// An executor that is not ours.
    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            thread::park();
        }
    }

    #[test]
    fn a_sleep_lasts_as_long_as_it_says_under_any_executor() {
        let (clock, nap) = (Clock::monotonic(), Duration::from_millis(20));
        let begin = clock.now();
        block_on(sleep(nap));
        assert!(u128::from(clock.now() - begin) >= nap.as_nanos());
    }

    /// Comes back when it is dropped.
    struct Curious(Weak<Shared>);

    impl Wake for Curious {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Curious {
        fn drop(&mut self) {
            let Some(shared) = self.0.upgrade() else { return };
            assert!(shared.state.try_lock().is_ok(), "dropped with the lock held");
        }
    }

    #[test]
    fn a_waker_that_is_replaced_is_dropped_with_the_lock_open() {
        let elsewhere = Elsewhere(Arc::default());
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Curious(Arc::downgrade(&elsewhere.0))));
            assert!(elsewhere.poll(&Context::from_waker(&waker)).is_pending());
        }
    }

    #[test]
    fn one_given_up_does_not_keep_its_thread() {
        let mut long = Box::pin(sleep(Duration::from_secs(3600)));
        let shared = {
            assert!(long.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let super::super::State::Elsewhere(elsewhere) = &long.0 else { panic!("a thread keeps it") };
            Arc::downgrade(&elsewhere.0)
        };
        drop(long);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_timeout_there_is_not_late_for_its_future() {
        let soon = async {
            sleep(Duration::from_millis(1)).await;
            7
        };
        assert_eq!(block_on(timeout(Duration::from_secs(3600), soon)), Ok(7));
    }
}
