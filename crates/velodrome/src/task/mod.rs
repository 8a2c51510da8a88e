//! Tasks: futures that run by themselves, beside the one that started them.
//!
//! A task is three things. Its [`core`](mod@core) keeps the future and, afterwards, what became of it; the loop's
//! [`table`] gives it a number and decides whether it is to run; its [`waker`] is the part that may travel to other
//! threads, and knows nothing but the number and the way back. Only the waker has atomics in it.

mod core;
pub(crate) mod error;
mod joint;
pub(crate) mod table;
pub(crate) mod waker;
pub(crate) mod yielding;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use self::core::{Core, Join, Unborn};
use self::error::{Reason, TaskError};
use self::joint::Joint;
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
    let Some(local) = local::current() else { return Task::unborn(Reason::NoLoop) };
    if local.tasks.is_closed() {
        return Task::unborn(Reason::Cancelled);
    }
    let index = local.tasks.reserve(&local);
    let core = Rc::new(Core::new(future, Joint::new(&local, index)));
    local.tasks.occupy(index, Rc::clone(&core) as Rc<dyn self::core::Step>);
    local.queue(index);
    Task(core)
}

/// A task that was [spawned](spawn), to be awaited, cancelled or forgotten.
///
/// **Dropping it detaches**: the task goes on by itself, as asyncio's and tokio's do. Were it to cancel, then
/// `spawn(work());` alone on its line would start nothing, and the compiler could not tell that from what was meant.
/// Who wants a task to end with its owner calls [`cancel`](Self::cancel), or does without a task and awaits the future
/// itself, which ends when it is dropped.
///
/// Awaiting gives the future's output, or a [`TaskError`] if it was cancelled or panicked. Awaiting `&mut task` is safe
/// to give up: the result stays with the task.
pub struct Task<T>(Rc<dyn Join<T>>);

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
        self.0.joint().cancel()
    }

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
        self.0.joint().is_finished()
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
        self.0.joint().name()
    }

    /// Call the task by another name; see [`named`](Self::named).
    pub fn set_name(&self, name: impl Into<String>) {
        self.0.joint().set_name(name.into());
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

impl<T: 'static> Task<T> {
    fn unborn(reason: Reason) -> Self {
        Self(Rc::new(Unborn(Joint::ended(reason))))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.joint().poll(cx)
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("Task").field("name", &self.name()).field("finished", &finished).finish()
    }
}
