//! Cancelling a task that somebody else has.

use std::fmt;

use super::cell::{TaskRef, WeakRef};

/// Cancels a [`Task`](crate::Task) that somebody else awaits, in [`join_all`](crate::join_all()) or
/// [`wait`](crate::wait()): what [`Task::abort_handle`](crate::Task::abort_handle) gives. Any number of them may be
/// kept, for any time: neither the task's future nor its output lives longer for that, though the memory where they were
/// does, and dropping one cancels nothing.
///
/// ```
/// use velodrome::AbortHandle;
///
/// velodrome::run(async {
///     let task = velodrome::spawn(std::future::pending::<()>());
///     let (handle, other): (AbortHandle, AbortHandle) = (task.abort_handle(), task.abort_handle());
///     velodrome::spawn(async move { handle.cancel() });
///     assert!(task.await.unwrap_err().is_cancelled());
///     assert!(other.is_finished());
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct AbortHandle(WeakRef);

impl AbortHandle {
    pub(super) fn new(task: &TaskRef) -> Self {
        Self(task.downgrade())
    }

    /// Cancel the task, as [`Task::cancel`](crate::Task::cancel) does. False if it is done already.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(std::future::pending::<()>());
    ///     assert!(task.abort_handle().cancel());
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// Whether the task is done, was cancelled, or panicked.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(async {});
    ///     let handle = task.abort_handle();
    ///     assert!(!handle.is_finished());
    ///     task.await.unwrap();
    ///     assert!(handle.is_finished() && !handle.cancel());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.head().is_finished()
    }

    /// The task's name, also when it is over.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let handle = velodrome::spawn(async {}).named("worker").abort_handle();
    ///     assert_eq!(handle.name(), "worker");
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn name(&self) -> String {
        self.0.head().name()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("AbortHandle").field("name", &self.name()).field("finished", &finished).finish()
    }
}
