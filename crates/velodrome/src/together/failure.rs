//! What failed in a group of tasks.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;

use crate::task::error::TaskError;

/// One thing that failed in a [`task_group`](crate::task_group()).
///
/// ```
/// use velodrome::{Failure, task_group};
///
/// velodrome::run(async {
///     let body = task_group::<(), &str, _>(async |_| Err("no thanks"));
///     match body.await.unwrap_err().failures() {
///         [Failure::Error(error)] => assert_eq!(*error, "no thanks"),
///         others => println!("{others:?}"),
///     }
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub enum Failure<E> {
    /// A task, or the body, gave this.
    Error(E),
    /// A task panicked.
    Panicked(TaskError),
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Panicked(error) => error.fmt(f),
        }
    }
}

/// Everything that failed in a [`task_group`](crate::task_group()), first to last: asyncio's `ExceptionGroup`. There is at
/// least one. There are seldom more: who is cancelled is dropped, and has no say any more; what can fail then is a destructor,
/// by a panic.
///
/// ```
/// use velodrome::{Failure, task_group};
///
/// velodrome::run(async {
///     let error = task_group(async |group| {
///         group.spawn(async { Err::<(), _>("one") });
///         Ok(())
///     })
///     .await
///     .unwrap_err();
///     assert_eq!(error.to_string(), "a task of the group failed: one");
///     assert!(matches!(error.failures()[0], Failure::Error("one")));
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct GroupError<E>(Vec<Failure<E>>);

impl<E> GroupError<E> {
    pub(super) fn new(failures: Vec<Failure<E>>) -> Self {
        Self(failures)
    }

    /// What failed.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let error = velodrome::task_group(async |_| Err::<(), _>("no thanks")).await.unwrap_err();
    /// assert_eq!(error.failures().len(), 1);
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn failures(&self) -> &[Failure<E>] {
        &self.0
    }

    /// What failed, to keep.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let error = velodrome::task_group(async |_| Err::<(), _>("no thanks")).await.unwrap_err();
    /// assert_eq!(error.into_failures().len(), 1);
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn into_failures(self) -> Vec<Failure<E>> {
        self.0
    }
}

impl<E: fmt::Display> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "a task of the group failed: {one}"),
            all => {
                write!(f, "{} tasks of the group failed", all.len())?;
                let mut before = ": ";
                all.iter()
                    .try_for_each(|failure| write!(f, "{}{failure}", std::mem::replace(&mut before, "; ")))
            }
        }
    }
}

impl<E: fmt::Display> fmt::Debug for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupError({self})")
    }
}

impl<E: fmt::Display + 'static> Error for GroupError<E> {
    /// What is behind the first failure, whose own text this one's has told already. Known of errors of the standard library
    /// and of boxed ones.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.first()?.as_error()?.source()
    }
}

impl<E: 'static> Failure<E> {
    /// As an error, if it is known to be one: `E` may be a text.
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        let error: &dyn Any = match self {
            Self::Panicked(error) => return Some(error),
            Self::Error(error) => error,
        };
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        if let Some(error) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
            return Some(&**error);
        }
        error.downcast_ref::<Box<dyn Error>>().map(|error| &**error)
    }

    fn kind(&self) -> Option<io::ErrorKind> {
        self.as_error()?.downcast_ref().map(io::Error::kind)
    }
}

/// It has the kind that all failures have together, if they have one: then what retries after `ConnectionReset`, or looks
/// for `NotFound`, need not know of groups.
impl<E: fmt::Display + Send + Sync + 'static> From<GroupError<E>> for io::Error {
    fn from(error: GroupError<E>) -> Self {
        let mut kinds = error.0.iter().map(Failure::kind);
        let first = kinds.next().flatten().filter(|&first| kinds.all(|kind| kind == Some(first)));
        Self::new(first.unwrap_or(io::ErrorKind::Other), error)
    }
}
