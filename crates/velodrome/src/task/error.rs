//! Why a task has no output.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::local::CALL_RUN;

/// Why awaiting a [`Task`](crate::Task) gave no output. What it displays is a sentence with the task's name.
///
/// ```
/// velodrome::run(async {
///     let task = velodrome::spawn(async { sleepless().await }).named("fetch");
///     task.cancel();
///     assert_eq!(task.await.unwrap_err().to_string(), "task fetch was cancelled");
/// })?;
/// # async fn sleepless() {}
/// # std::io::Result::Ok(())
/// ```
pub struct TaskError(Box<Inner>);

struct Inner {
    task: String,
    reason: Reason,
}

/// Why a task ended without an output, as the task keeps it: small, and bound to its thread.
pub(crate) enum Ending {
    Cancelled,
    Panicked(Box<dyn Any + Send>),
    NoLoop,
    NoPool,
    NoThread,
    Taken,
    WouldBlock,
}

enum Reason {
    Cancelled,
    /// What it panicked with. The mutex is there for `Sync`, which error types of other crates ask for.
    Panicked(Mutex<Box<dyn Any + Send>>),
    NoLoop,
    NoPool,
    NoThread,
    Taken,
    WouldBlock,
}

impl From<Ending> for Reason {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Cancelled => Self::Cancelled,
            Ending::Panicked(payload) => Self::Panicked(Mutex::new(payload)),
            Ending::NoLoop => Self::NoLoop,
            Ending::NoPool => Self::NoPool,
            Ending::NoThread => Self::NoThread,
            Ending::Taken => Self::Taken,
            Ending::WouldBlock => Self::WouldBlock,
        }
    }
}

impl TaskError {
    pub(crate) fn new(task: String, ending: Ending) -> Self {
        Self(Box::new(Inner { task, reason: ending.into() }))
    }

    /// Whether the task was cancelled: by [`Task::cancel`](crate::Task::cancel), or because its loop ended.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(std::future::pending::<()>());
    ///     task.cancel();
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.reason, Reason::Cancelled)
    }

    /// Whether the task panicked.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let task = velodrome::spawn(async { panic!("no more") });
    ///     assert!(task.await.unwrap_err().is_panic());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.0.reason, Reason::Panicked(_))
    }

    /// What the task panicked with, for [`std::panic::resume_unwind`]; or this error again.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let error = velodrome::spawn(async { panic!("no more") }).await.unwrap_err();
    ///     assert!(error.is_panic() && !error.is_cancelled());
    ///     assert_eq!(*error.into_panic().unwrap().downcast::<&str>().unwrap(), "no more");
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// This error, if the task did not panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        let Inner { task, reason } = *self.0;
        match reason {
            Reason::Panicked(payload) => Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            reason => Err(Self(Box::new(Inner { task, reason }))),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = &self.0.task;
        match &self.0.reason {
            Reason::Cancelled => write!(f, "task {task} was cancelled"),
            Reason::Taken => write!(f, "the result of task {task} has been taken already"),
            Reason::WouldBlock => {
                write!(f, "joining task {task} would stop the event loop of this thread: await it instead")
            }
            Reason::NoLoop => write!(f, "spawn needs a running event loop: {CALL_RUN}"),
            Reason::NoPool => write!(f, "spawn_blocking needs a running event loop: {CALL_RUN}"),
            Reason::NoThread => write!(
                f,
                "task {task} was not begun, because the system starts no thread for it: raise the limit (ulimit -u), \
                 or have fewer threads (Builder::blocking_threads)"
            ),
            Reason::Panicked(payload) => {
                let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
                write!(f, "task {task} panicked: {}", message(&**payload))
            }
        }
    }
}

/// What `panic!` was given, as far as it was text.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskError({self})")
    }
}

impl std::error::Error for TaskError {}

impl From<TaskError> for io::Error {
    fn from(error: TaskError) -> Self {
        Self::other(error)
    }
}
