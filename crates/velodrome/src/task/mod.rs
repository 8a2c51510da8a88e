//! Tasks: futures that run by themselves, beside the one that started them.
//!
//! A task is one piece of memory ([`cell`]) that begins with what is known of it whatever its future is ([`head`]). The
//! loop's [`table`] has a count of it while it is not over; so has the ready queue while it stands there, and the handle
//! that [`spawn`] returns. Wakers count apart from these: only they have atomics, because only they travel.

pub(crate) mod abort;
mod cell;
pub(crate) mod error;
mod head;
pub(crate) mod table;
pub(crate) mod waker;
pub(crate) mod yielding;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use self::abort::AbortHandle;
use self::cell::Typed;
pub(crate) use self::cell::{TURNS, TaskRef, caught, discard, poll_caught};
use self::error::{Ending, TaskError};
pub(crate) use self::head::Door;
use crate::local;

/// Start `future` as a task of its own: `asyncio.create_task`. It begins in the next turn of the loop, and goes on
/// whether or not somebody awaits it, until it is done, cancelled, or the loop ends.
///
/// Where no loop runs nothing can be started: the future is dropped, and awaiting the task says so.
///
/// ```
/// velodrome::run(async {
///     let task = velodrome::spawn(async { 6 * 7 });
///     assert_eq!(task.await.unwrap(), 42);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let Some(local) = local::current() else { return Task(Typed::ended(Ending::NoLoop)) };
    if local.tasks.is_closed() {
        return Task(Typed::ended(Ending::Cancelled));
    }
    let (index, number) = (local.tasks.reserve(), local.tasks.next_number());
    let (task, kept, queued) = Typed::start(future, Door::clone(local.door()), index, number);
    local.tasks.occupy(index, kept);
    local.hub().ready.push(queued.into_runnable());
    Task(task)
}

/// A task that was [spawned](spawn), to be awaited, cancelled or forgotten.
///
/// **Dropping it detaches**: the task goes on by itself, as asyncio's and tokio's do. Were it to cancel, then
/// `spawn(work());` alone on its line would start nothing, and the compiler could not tell that from what was meant.
/// Who wants a task to end with its owner calls [`cancel`](Self::cancel), or does without a task and awaits the future
/// itself, which ends when it is dropped.
///
/// Awaiting gives the future's output, or a [`TaskError`] if it was cancelled or panicked.
///
/// **Cancel safety**: awaiting `&mut task` may be given up at any time; the result stays with the task.
///
/// ```
/// velodrome::run(async {
///     let task: velodrome::Task<u8> = velodrome::spawn(async { 7 }).named("seven");
///     assert_eq!(task.await.unwrap(), 7);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct Task<T>(Typed<T>);

impl<T> Task<T> {
    /// Cancel the task: its future is dropped where it waits, at its next turn, and who awaits it gets a [`TaskError`]
    /// that [is a cancellation](TaskError::is_cancelled). The future is not asked, as asyncio's coroutines are: to tidy
    /// up is what `Drop` is for. False if the task is done already.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(std::future::pending::<()>());
    ///     assert!(task.cancel());
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.0.task().cancel()
    }

    /// A handle that cancels the task while somebody else awaits it.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let tasks = [1, 2].map(|_| velodrome::spawn(std::future::pending::<()>()));
    ///     let handles = tasks.each_ref().map(|task| task.abort_handle());
    ///     velodrome::spawn(async move { handles.iter().for_each(|handle| drop(handle.cancel())) });
    ///     let outputs = velodrome::join_all(tasks).await;
    ///     assert!(outputs.into_iter().all(|output| output.unwrap_err().is_cancelled()));
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(self.0.task())
    }

    /// Let the task go on by itself; the same as dropping this, in a word.
    ///
    /// ```
    /// velodrome::run(async { velodrome::spawn(async { println!("by the way") }).detach() })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn detach(self) {}

    /// Whether the task is done, was cancelled, or panicked.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(async {});
    ///     assert!(!task.is_finished());
    ///     velodrome::yield_now().await;
    ///     assert!(task.is_finished());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.task().head().is_finished()
    }

    /// The task's name: `Task-7`, unless it was given another. Errors tell it.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(async {});
    ///     assert_eq!(task.name(), "Task-1");
    ///     task.set_name("first");
    ///     assert_eq!(task.name(), "first");
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn name(&self) -> String {
        self.0.task().head().name()
    }

    /// Call the task by another name; see [`named`](Self::named).
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(async {});
    ///     task.set_name("first");
    ///     assert_eq!(task.name(), "first");
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn set_name(&self, name: impl Into<String>) {
        self.0.task().head().set_name(name.into());
    }

    /// The task, under another name.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(async { panic!("no more") }).named("worker");
    ///     assert_eq!(task.await.unwrap_err().to_string(), "task worker panicked: no more");
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.set_name(name);
        self
    }
}

impl<T> Task<T> {
    /// One that was cancelled before it began.
    pub(crate) fn cancelled() -> Self {
        Self(Typed::ended(Ending::Cancelled))
    }

    pub(crate) fn reference(&self) -> TaskRef {
        self.0.task().clone()
    }

    /// Be woken when it is finished; one at a time.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        self.0.task().head().wait(cx);
    }

    /// Whether it is finished, has an output, and that is as wished. The output stays.
    pub(crate) fn has_output(&self, wished: impl FnOnce(&T) -> bool) -> bool {
        self.0.look(|result| matches!(result, Ok(output) if wished(output)))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let head = self.0.task().head();
        if !head.is_finished() {
            head.wait(cx);
            return Poll::Pending;
        }
        let result = self.0.take().unwrap_or(Err(Ending::Taken));
        Poll::Ready(result.map_err(|ending| TaskError::new(head.name(), ending)))
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("Task").field("name", &self.name()).field("finished", &finished).finish()
    }
}
