//! Many futures of one kind, one after the other as they are done.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::join_all::{Bell, Share, share};

/// Await `futures` at once, and get the output of each when it is done: `asyncio.as_completed`.
///
/// They run within the task that awaits [`next`](AsCompleted::next), as those of [`join_all`](crate::join_all()) do: only
/// while somebody awaits that. [`Task`](crate::Task)s go on in between.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{as_completed, sleep, spawn};
///
/// velodrome::run(async {
///     let mut naps = as_completed([3, 1, 2].map(|millis| {
///         spawn(async move {
///             sleep(Duration::from_millis(millis)).await;
///             millis
///         })
///     }));
///     let mut order = Vec::new();
///     while let Some(nap) = naps.next().await {
///         order.push(nap.unwrap());
///     }
///     assert_eq!(order, [1, 2, 3]);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn as_completed<I>(futures: I) -> AsCompleted<I::Item>
where
    I: IntoIterator<Item: Future>,
{
    let (shares, bell) = share(futures);
    AsCompleted { open: shares.len(), shares, due: VecDeque::new(), bell }
}

/// What [`as_completed`] returns. Dropping it drops the futures that are not done; tasks among them go on by themselves.
///
/// ```
/// # velodrome::run(async {
/// let mut outputs: velodrome::AsCompleted<_> = velodrome::as_completed([async { 7 }]);
/// assert_eq!(outputs.next().await, Some(7));
/// assert_eq!(outputs.next().await, None);
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "the futures do nothing until next() is awaited"]
pub struct AsCompleted<F: Future> {
    shares: Vec<Share<F>>,
    open: usize,
    /// What is to be polled before the bell is asked again.
    due: VecDeque<usize>,
    bell: Arc<Bell>,
}

impl<F: Future> AsCompleted<F> {
    /// The output of the next future that is done; none when all outputs were given.
    ///
    /// **Cancel safety**: may be dropped at any time; the futures stay, and no output is lost.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let mut outputs = velodrome::as_completed((1..4).map(|number| async move { number * 2 }));
    /// let mut sum = 0;
    /// while let Some(output) = outputs.next().await {
    ///     sum += output;
    /// }
    /// assert_eq!(sum, 12);
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn next(&mut self) -> Option<F::Output> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<F::Output>> {
        if self.open == 0 {
            return Poll::Ready(None);
        }
        // Once for each poll, or a future that wakes itself would never let others have their turn.
        self.due.extend(self.bell.answer(cx));
        while let Some(number) = self.due.pop_front() {
            if self.shares[number].poll() {
                self.open -= 1;
                return Poll::Ready(self.shares[number].output.take());
            }
        }
        Poll::Pending
    }
}

impl<F: Future> fmt::Debug for AsCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("open", &self.open).finish_non_exhaustive()
    }
}
