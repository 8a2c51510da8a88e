//! A task as it is seen from elsewhere: one that runs on a loop and is awaited on another thread, or runs on another
//! thread and is awaited on a loop.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};

use super::parking;
use super::promise::{Promised, Settles};
use crate::task::error::{Ending, TaskError};

/// A task that runs on another thread than the one that waits for it: what [`Handle::spawn`](crate::Handle::spawn) and
/// [`spawn_blocking`](crate::spawn_blocking) return. `concurrent.futures.Future`, as a Rust future.
///
/// It can be awaited on any executor, or waited for by a thread that has none ([`join`](Self::join)). Dropping it lets
/// the task go on by itself, as dropping a [`Task`](crate::Task) does.
///
/// **Cancel safety**: awaiting `&mut task` may be given up at any time; the result stays with the task.
///
/// ```
/// velodrome::run(async {
///     let task = velodrome::spawn_blocking(|| 6 * 7);
///     assert_eq!(task.await.unwrap(), 42);
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "the task goes on, and its result is lost: call detach() if that is meant"]
pub struct RemoteTask<T> {
    promised: Promised<T>,
    kind: &'static str,
}

impl<T> RemoteTask<T> {
    pub(super) fn new(promised: Promised<T>, kind: &'static str) -> Self {
        Self { promised, kind }
    }

    /// Cancel the task: who waits for it hears so at once. On a loop its future is dropped at its next turn; on a thread
    /// of the pool a function that has not begun never will, and one that has goes on to its end, unheard: a thread
    /// cannot be stopped. False if the task is done already.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_millis(5)));
    ///     assert!(task.cancel());
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.promised.take_back()
    }

    /// Whether the task is done, was cancelled, or panicked.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let mut task = velodrome::spawn_blocking(|| ());
    ///     (&mut task).await.unwrap();
    ///     assert!(task.is_finished());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.promised.is_settled()
    }

    /// What cancels the task from anywhere, while somebody else awaits it.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_millis(5)));
    ///     let abort = task.abort_handle();
    ///     std::thread::spawn(move || abort.cancel());
    ///     let _ended = task.await;
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn abort_handle(&self) -> RemoteAbortHandle
    where
        T: Send + 'static,
    {
        RemoteAbortHandle(self.promised.watch())
    }

    /// Let the task go on by itself; the same as dropping this, in a word.
    ///
    /// ```
    /// velodrome::run(async { velodrome::spawn_blocking(|| ()).detach() })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn detach(self) {}

    /// Let this thread wait until the task is done: `future.result()` of `run_coroutine_threadsafe`.
    ///
    /// ```
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let thread = std::thread::spawn(move || {
    ///     let handle: velodrome::Handle = receiver.recv().unwrap();
    ///     handle.spawn(async { 6 * 7 }).join().unwrap()
    /// });
    /// velodrome::run(async {
    ///     sender.send(velodrome::Handle::current()?).unwrap();
    ///     let answer = velodrome::to_thread(move || thread.join().unwrap()).await;
    ///     assert_eq!(answer.unwrap(), 42);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As awaiting it. And at once, on a thread on which a loop runs: that would stand still meanwhile.
    pub fn join(self) -> Result<T, TaskError> {
        let kind = self.kind;
        parking::block_on(self).unwrap_or_else(|_| Err(TaskError::new(kind.into(), Ending::WouldBlock)))
    }
}

impl<T> Future for RemoteTask<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.promised.poll(cx).map_err(|ending| TaskError::new(self.kind.into(), ending))
    }
}

impl<T> fmt::Debug for RemoteTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTask").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// Cancels a [`RemoteTask`] that somebody else awaits, from any thread: what [`RemoteTask::abort_handle`] gives. Any number
/// of them may be kept, for any time: the task's output lives no longer for that. Dropping one cancels nothing.
///
/// ```
/// use velodrome::RemoteAbortHandle;
///
/// # let runtime = velodrome::Runtime::new()?;
/// # let handle = runtime.handle();
/// let task = handle.spawn(std::future::pending::<()>());
/// let abort: RemoteAbortHandle = task.abort_handle();
/// std::thread::spawn(move || assert!(abort.cancel()));
/// assert!(runtime.block_on(task)?.unwrap_err().is_cancelled());
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct RemoteAbortHandle(Weak<dyn Settles>);

impl RemoteAbortHandle {
    /// Cancel the task, as [`RemoteTask::cancel`] does. False if it is done already.
    ///
    /// ```
    /// # let runtime = velodrome::Runtime::new()?;
    /// let task = runtime.handle().spawn(async {});
    /// let abort = task.abort_handle();
    /// runtime.block_on(task)?.unwrap();
    /// assert!(!abort.cancel());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.0.upgrade().is_some_and(|task| task.take_back())
    }

    /// Whether the task is done, was cancelled, or panicked.
    ///
    /// ```
    /// # let runtime = velodrome::Runtime::new()?;
    /// let task = runtime.handle().spawn(async {});
    /// let abort = task.abort_handle();
    /// assert!(!abort.is_finished());
    /// runtime.block_on(task)?.unwrap();
    /// assert!(abort.is_finished());
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.upgrade().is_none_or(|task| task.is_settled())
    }
}

impl fmt::Debug for RemoteAbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteAbortHandle").field("finished", &self.is_finished()).finish()
    }
}
