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
pub struct TaskError {
    task: String,
    reason: Reason,
}

pub(crate) enum Reason {
    Cancelled,
    /// What it panicked with. The mutex is there for `Sync`, which error types of other crates ask for.
    Panicked(Mutex<Box<dyn Any + Send>>),
    NoLoop,
    Taken,
}

impl Reason {
    pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        Self::Panicked(Mutex::new(payload))
    }
}

impl TaskError {
    pub(super) fn new(task: String, reason: Reason) -> Self {
        Self { task, reason }
    }

    /// Whether the task was cancelled: by [`Task::cancel`](crate::Task::cancel), or because its loop ended.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.reason, Reason::Cancelled)
    }

    /// Whether the task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.reason, Reason::Panicked(_))
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
        match self.reason {
            Reason::Panicked(payload) => Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            reason => Err(Self { reason, ..self }),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = &self.task;
        match &self.reason {
            Reason::Cancelled => write!(f, "task {task} was cancelled"),
            Reason::Taken => write!(f, "the result of task {task} has been taken already"),
            Reason::NoLoop => write!(f, "spawn needs a running event loop: {CALL_RUN}"),
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
