//! Many futures of one kind, all of them.
//!
//! Each has a waker of its own, so that when one is woken, one is polled: with a thousand that wake one after the other,
//! polling all of them each time would be a million polls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Await all of `futures` at once; their outputs come in the order in which the futures were given. `asyncio.gather` for
/// a list; for futures of several kinds there is [`gather!`](crate::gather!).
///
/// They run within the task that awaits this, so they may borrow from it. (For tasks of their own, give it
/// [`Task`](crate::Task)s.) An output that is an error stops none of the others: see [`task_group`](crate::task_group).
///
/// **Cancel safety**: dropping it drops the futures, and the outputs that were there.
///
/// ```
/// velodrome::run(async {
///     let doubled = velodrome::join_all((1..4).map(|number| async move { number * 2 })).await;
///     assert_eq!(doubled, [2, 4, 6]);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn join_all<I>(futures: I) -> JoinAll<I::Item>
where
    I: IntoIterator<Item: Future>,
{
    let (shares, bell) = share(futures);
    JoinAll { open: shares.len(), shares, bell }
}

/// A share for each of the futures, and the bell that they ring, which says that all of them are to be polled once.
pub(super) fn share<I>(futures: I) -> (Vec<Share<I::Item>>, Arc<Bell>)
where
    I: IntoIterator<Item: Future>,
{
    let bell = Arc::new(Bell::default());
    let shares: Vec<_> =
        futures.into_iter().enumerate().map(|(n, future)| Share::new(n, future, &bell)).collect();
    bell.lock().due.extend(0..shares.len());
    (shares, bell)
}

/// What [`join_all`] returns.
///
/// ```
/// let all: velodrome::JoinAll<_> = velodrome::join_all([async { 1 }]);
/// assert_eq!(velodrome::run(all)?, [1]);
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct JoinAll<F: Future> {
    shares: Vec<Share<F>>,
    open: usize,
    bell: Arc<Bell>,
}

pub(super) struct Share<F: Future> {
    /// None when it is done.
    future: Option<Pin<Box<F>>>,
    pub(super) output: Option<F::Output>,
    rope: Arc<Rope>,
}

/// Which of the futures are to be polled, and who is to be woken for that.
#[derive(Default)]
pub(super) struct Bell(Mutex<Rung>);

#[derive(Default)]
struct Rung {
    due: Vec<usize>,
    waiting: Option<Waker>,
}

/// One future's way to the bell.
struct Rope {
    number: usize,
    /// It is among those that are due.
    pulled: AtomicBool,
    bell: Arc<Bell>,
}

impl Bell {
    /// Which of the futures are to be polled now. Who comes after that wakes `cx`.
    pub(super) fn answer(&self, cx: &Context<'_>) -> Vec<usize> {
        let mut rung = self.lock();
        let due = std::mem::take(&mut rung.due);
        // Dropped when the lock is open again.
        let _last = rung.waiting.replace(cx.waker().clone());
        drop(rung);
        due
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.pulled.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut rung = self.bell.lock();
        rung.due.push(self.number);
        let waiting = rung.waiting.take();
        drop(rung);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<F: Future> Share<F> {
    fn new(number: usize, future: F, bell: &Arc<Bell>) -> Self {
        let rope = Rope { number, pulled: AtomicBool::new(true), bell: Arc::clone(bell) };
        Self { future: Some(Box::pin(future)), output: None, rope: Arc::new(rope) }
    }

    /// True if it is done now.
    pub(super) fn poll(&mut self) -> bool {
        let Some(future) = &mut self.future else { return false };
        // Cleared before the poll: who wakes it from now on is heard.
        self.rope.pulled.swap(false, Ordering::AcqRel);
        let waker = Waker::from(Arc::clone(&self.rope));
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => false,
            Poll::Ready(output) => {
                (self.future, self.output) = (None, Some(output));
                true
            }
        }
    }
}

/// The futures are boxed, and outputs are never pinned.
impl<F: Future> Unpin for JoinAll<F> {}

impl<F: Future> Future for JoinAll<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.open -= this.bell.answer(cx).into_iter().filter(|&number| this.shares[number].poll()).count();
        if this.open > 0 {
            return Poll::Pending;
        }
        Poll::Ready(this.shares.drain(..).filter_map(|share| share.output).collect())
    }
}

impl<F: Future> fmt::Debug for JoinAll<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinAll").field("open", &self.open).finish_non_exhaustive()
    }
}
