//! Waiting for some of several tasks, and keeping all of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::task::Task;
use crate::time::{Sleep, sleep};

/// When [`wait`] is over: [`FirstCompleted`], [`FirstError`] or [`All`]; asyncio's `return_when`.
///
/// ```
/// use velodrome::{ReturnWhen, Task, wait};
///
/// /// How many are done, when it is enough.
/// async fn count<T>(tasks: Vec<Task<T>>, when: impl ReturnWhen<T>) -> usize {
///     wait(tasks, when).await.done.len()
/// }
/// # velodrome::run(async { assert_eq!(count(vec![velodrome::spawn(async {})], velodrome::All).await, 1) })?;
/// # std::io::Result::Ok(())
/// ```
pub trait ReturnWhen<T>: sealed::Sealed {
    #[doc(hidden)]
    fn is_enough(&self, done: &Task<T>) -> bool;
}

/// As soon as one of the tasks is done.
///
/// ```
/// velodrome::run(async {
///     let tasks = [velodrome::spawn(async {}), velodrome::spawn(std::future::pending())];
///     assert_eq!(velodrome::wait(tasks, velodrome::FirstCompleted).await.done.len(), 1);
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FirstCompleted;

/// As soon as one of the tasks has given an error, has panicked, or was cancelled; or all are done. For tasks that give a
/// `Result`.
///
/// ```
/// velodrome::run(async {
///     let tasks = [velodrome::spawn(async { Err("no") }), velodrome::spawn(std::future::pending::<Result<(), _>>())];
///     assert_eq!(velodrome::wait(tasks, velodrome::FirstError).await.done.len(), 1);
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FirstError;

/// When all are done.
///
/// ```
/// velodrome::run(async {
///     let tasks = [1, 2].map(|number| velodrome::spawn(async move { number }));
///     assert!(velodrome::wait(tasks, velodrome::All).await.pending.is_empty());
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct All;

impl<T> ReturnWhen<T> for FirstCompleted {
    fn is_enough(&self, _: &Task<T>) -> bool {
        true
    }
}

impl<T, E> ReturnWhen<Result<T, E>> for FirstError {
    fn is_enough(&self, done: &Task<Result<T, E>>) -> bool {
        !done.has_output(Result::is_ok)
    }
}

impl<T> ReturnWhen<T> for All {
    fn is_enough(&self, _: &Task<T>) -> bool {
        false
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::FirstCompleted {}
    impl Sealed for super::FirstError {}
    impl Sealed for super::All {}
}

/// Wait until some of `tasks` are done, and get all of them back: `asyncio.wait`. It cancels none.
///
/// **Cancel safety**: dropping it drops the tasks' handles, so they go on by themselves. To keep them, await it by reference
/// and ask for [`into_tasks`](Wait::into_tasks); to give up after a while, say so by [`timeout`](Wait::timeout).
///
/// ```
/// use std::time::Duration;
/// use velodrome::{FirstCompleted, sleep, spawn, wait};
///
/// velodrome::run(async {
///     let naps = [30_000, 1, 20_000].map(|millis| {
///         spawn(async move {
///             sleep(Duration::from_millis(millis)).await;
///             millis
///         })
///     });
///     let waited = wait(naps, FirstCompleted).await;
///     assert_eq!((waited.done.len(), waited.pending.len()), (1, 2));
///     for task in waited.done {
///         assert_eq!(task.await.unwrap(), 1);
///     }
///     for task in waited.pending {
///         task.cancel();
///     }
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn wait<T, W: ReturnWhen<T>>(tasks: impl IntoIterator<Item = Task<T>>, when: W) -> Wait<T, W> {
    Wait { tasks: tasks.into_iter().collect(), when, limit: None }
}

/// What [`wait`] returns.
///
/// ```
/// velodrome::run(async {
///     let mut waiting: velodrome::Wait<_, _> = velodrome::wait([velodrome::spawn(async {})], velodrome::All);
///     // By reference, so that giving up keeps the tasks.
///     assert_eq!((&mut waiting).await.done.len(), 1);
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct Wait<T, W> {
    tasks: Vec<Task<T>>,
    when: W,
    limit: Option<Sleep>,
}

impl<T, W> Wait<T, W> {
    /// Wait for so long at most, and give back what is done by then and what is not: `asyncio.wait(…, timeout=…)`. It counts
    /// from the first poll.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::{All, sleep, spawn, wait};
    ///
    /// velodrome::run(async {
    ///     let naps = [30_000, 1].map(|millis| spawn(sleep(Duration::from_millis(millis))));
    ///     let waited = wait(naps, All).timeout(Duration::from_millis(10)).await;
    ///     assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn timeout(mut self, duration: Duration) -> Self {
        self.limit = Some(sleep(duration));
        self
    }

    /// The tasks, in the order in which they were given, for who gave up waiting. None once it is over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::{All, spawn, timeout, wait};
    ///
    /// velodrome::run(async {
    ///     let mut waiting = wait([spawn(std::future::pending::<()>())], All);
    ///     assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_err());
    ///     for task in waiting.into_tasks() {
    ///         task.cancel();
    ///     }
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn into_tasks(self) -> Vec<Task<T>> {
        self.tasks
    }
}

impl<T, W> Unpin for Wait<T, W> {}

impl<T, W: ReturnWhen<T>> Future for Wait<T, W> {
    type Output = Waited<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited<T>> {
        let this = &mut *self;
        let (mut open, mut enough) = (0, this.tasks.is_empty());
        for task in &this.tasks {
            if task.is_finished() {
                enough |= this.when.is_enough(task);
            } else {
                open += 1;
                task.wait(cx);
            }
        }
        let is_late = |limit: &mut Sleep| Pin::new(limit).poll(cx).is_ready();
        if !enough && open > 0 && !this.limit.as_mut().is_some_and(is_late) {
            return Poll::Pending;
        }
        let (done, pending) = this.tasks.drain(..).partition(Task::is_finished);
        Poll::Ready(Waited { done, pending })
    }
}

impl<T, W> fmt::Debug for Wait<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

/// What [`wait`] found. Both are in the order in which the tasks were given.
///
/// ```
/// velodrome::run(async {
///     let tasks = [velodrome::spawn(async {}), velodrome::spawn(std::future::pending())];
///     let waited = velodrome::wait(tasks, velodrome::FirstCompleted).await;
///     for task in waited.pending {
///         task.cancel();
///     }
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Waited<T> {
    /// Awaiting one of these gives its output at once.
    pub done: Vec<Task<T>>,
    /// These go on.
    pub pending: Vec<Task<T>>,
}
