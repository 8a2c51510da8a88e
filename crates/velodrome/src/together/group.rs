//! Tasks that stand and fall together.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::failure::{Failure, GroupError};
use crate::task::error::{Ending, TaskError};
use crate::task::{Task, TaskRef, poll_caught, spawn};
use crate::waiting::Waiter;

/// Run `body` with a group of tasks, and wait for all of them: `async with asyncio.TaskGroup()`.
///
/// When one of them fails, by an error or a panic, or `body` does, the others are cancelled, and so is `body`. Whatever
/// failed until all of them have ended is in the error. No task outlives the group: when this future is dropped, they are
/// all cancelled, and end at their next turn.
///
/// **Cancel safety**: dropping it cancels every task of the group.
///
/// ```
/// use std::io;
///
/// async fn fetch(page: u32) -> io::Result<u32> {
///     Ok(page * 10)
/// }
///
/// velodrome::run(async {
///     let sum = velodrome::task_group(async |group| {
///         let pages = [1, 2, 3].map(|page| group.spawn(fetch(page)));
///         let mut sum = 0;
///         for page in pages {
///             sum += page.await?;
///         }
///         io::Result::Ok(sum)
///     });
///     assert_eq!(sum.await?, 60);
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// [`GroupError`], with everything that failed.
pub async fn task_group<T, E, B>(body: B) -> Result<T, GroupError<E>>
where
    B: AsyncFnOnce(&TaskGroup<E>) -> Result<T, E>,
    E: 'static,
{
    // It cancels what is left when it is dropped, however this ends.
    let group = TaskGroup(Rc::default());
    let outcome = {
        let mut body = pin!(body(&group));
        poll_fn(|cx| {
            if group.0.is_failing() {
                return Poll::Ready(None);
            }
            let poll = body.as_mut().poll(cx);
            // What failed while it was polled wakes who waits; so this comes first.
            group.0.waiter.wait(cx);
            if poll.is_pending() && group.0.is_failing() {
                return Poll::Ready(None);
            }
            poll.map(Some)
        })
        .await
    };
    let value = match outcome {
        Some(Ok(value)) => Some(value),
        Some(Err(error)) => {
            group.0.fail(Failure::Error(error));
            None
        }
        None => None,
    };
    poll_fn(|cx| {
        group.0.waiter.wait(cx);
        if group.0.members.borrow().is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let failures = group.0.failures.take();
    value.filter(|_| failures.is_empty()).ok_or(GroupError::new(failures))
}

/// A group of tasks, as the body of [`task_group`] sees it.
///
/// ```
/// use velodrome::TaskGroup;
///
/// /// A group may be handed on, so that others start tasks in it.
/// fn start_all(group: &TaskGroup<std::io::Error>) {
///     for _ in 0..3 {
///         group.spawn(async { Ok(()) });
///     }
/// }
/// velodrome::run(velodrome::task_group(async |group| {
///     start_all(group);
///     Ok(())
/// }))?.unwrap();
/// # std::io::Result::Ok(())
/// ```
pub struct TaskGroup<E: 'static>(Rc<Group<E>>);

impl<E: 'static> TaskGroup<E> {
    /// Start a task in the group: `TaskGroup.create_task`. If it gives an error, the group fails; its own handle says
    /// then that it was cancelled. In a group that is failing nothing is started, and the task is cancelled from the
    /// beginning.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let error = velodrome::task_group(async |group| {
    ///         group.spawn(async { Err::<(), _>("no thanks") });
    ///         group.spawn(std::future::pending::<Result<(), _>>());
    ///         Ok(())
    ///     })
    ///     .await
    ///     .unwrap_err();
    ///     assert_eq!(error.to_string(), "a task of the group failed: no thanks");
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spawn<T, F>(&self, future: F) -> Task<T>
    where
        T: 'static,
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.0.spawn(future)
    }

    /// A handle for tasks of the group, which start others by it: a crawler's, one for each link that they find.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use velodrome::TaskGroupHandle;
    ///
    /// async fn visit(depth: u32, seen: Rc<Cell<u32>>, group: TaskGroupHandle<std::io::Error>) -> std::io::Result<()> {
    ///     seen.set(seen.get() + 1);
    ///     for _ in 0..depth {
    ///         group.spawn(visit(depth - 1, Rc::clone(&seen), group.clone()));
    ///     }
    ///     Ok(())
    /// }
    ///
    /// velodrome::run(async {
    ///     let seen = Rc::default();
    ///     let crawl = velodrome::task_group(async |group| {
    ///         group.spawn(visit(3, Rc::clone(&seen), group.handle()));
    ///         Ok(())
    ///     });
    ///     crawl.await.unwrap();
    ///     assert_eq!(seen.get(), 16);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn handle(&self) -> TaskGroupHandle<E> {
        TaskGroupHandle(Rc::clone(&self.0))
    }

    /// Cancel every task of the group, without a failure: what they did not finish is left undone.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let done = velodrome::task_group(async |group| {
    ///         group.spawn(std::future::pending::<Result<(), std::io::Error>>());
    ///         group.cancel_all();
    ///         Ok(7)
    ///     });
    ///     assert_eq!(done.await.unwrap(), 7);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn cancel_all(&self) {
        self.0.cancel();
    }

    /// How many tasks of the group are not done.
    ///
    /// ```
    /// velodrome::run(velodrome::task_group(async |group| {
    ///     group.spawn(async { Ok::<(), std::io::Error>(()) });
    ///     assert_eq!(group.len(), 1);
    ///     Ok(())
    /// }))?
    /// .unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.members.borrow().count
    }

    /// Whether all tasks of the group are done.
    ///
    /// ```
    /// velodrome::run(velodrome::task_group(async |group| {
    ///     assert!(group.is_empty());
    ///     Ok::<(), std::io::Error>(())
    /// }))?
    /// .unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<E> Drop for TaskGroup<E> {
    fn drop(&mut self) {
        self.0.over.set(true);
        self.0.cancel();
    }
}

impl<E> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failing = self.0.is_failing();
        f.debug_struct("TaskGroup").field("tasks", &self.len()).field("failing", &failing).finish()
    }
}

/// A way into a [`TaskGroup`] from anywhere on its thread: what [`TaskGroup::handle`] gives. It keeps nothing going: the
/// group is over when its body and its tasks are.
///
/// ```
/// use velodrome::{TaskGroupHandle, task_group};
///
/// velodrome::run(async {
///     let mut kept: Option<TaskGroupHandle<std::io::Error>> = None;
///     let group = task_group(async |group| {
///         kept = Some(group.handle());
///         Ok(())
///     });
///     group.await.unwrap();
///     let late = kept.unwrap().spawn(async { Ok(()) });
///     assert!(late.await.unwrap_err().is_cancelled(), "the group is over");
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct TaskGroupHandle<E: 'static>(Rc<Group<E>>);

impl<E: 'static> TaskGroupHandle<E> {
    /// Start a task in the group, as [`TaskGroup::spawn`] does. In a group that is failing or over nothing is started,
    /// and the task is cancelled from the beginning.
    ///
    /// ```
    /// velodrome::run(velodrome::task_group(async |group| {
    ///     let handle = group.handle();
    ///     group.spawn(async move {
    ///         handle.spawn(async { Ok(()) });
    ///         Ok::<(), std::io::Error>(())
    ///     });
    ///     Ok(())
    /// }))?
    /// .unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spawn<T, F>(&self, future: F) -> Task<T>
    where
        T: 'static,
        F: Future<Output = Result<T, E>> + 'static,
    {
        self.0.spawn(future)
    }

    /// Cancel every task of the group, the one that calls this included, as [`TaskGroup::cancel_all`] does.
    ///
    /// ```
    /// velodrome::run(velodrome::task_group(async |group| {
    ///     let handle = group.handle();
    ///     group.spawn(std::future::pending::<Result<(), std::io::Error>>());
    ///     group.spawn(async move { Ok(handle.cancel_all()) });
    ///     Ok(())
    /// }))?
    /// .unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn cancel_all(&self) {
        self.0.cancel();
    }
}

impl<E> Clone for TaskGroupHandle<E> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<E> fmt::Debug for TaskGroupHandle<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.0.members.borrow().count;
        f.debug_struct("TaskGroupHandle").field("tasks", &tasks).field("over", &self.0.over.get()).finish()
    }
}

struct Group<E> {
    members: RefCell<Members>,
    failures: RefCell<Vec<Failure<E>>>,
    failing: Cell<bool>,
    /// It has ended, or was dropped.
    over: Cell<bool>,
    waiter: Waiter,
}

impl<E> Default for Group<E> {
    fn default() -> Self {
        Self {
            members: RefCell::default(),
            failures: RefCell::default(),
            failing: Cell::new(false),
            over: Cell::new(false),
            waiter: Waiter::default(),
        }
    }
}

/// Each member has a place until its future is gone. A task that is over by the time it is admitted has none any more.
#[derive(Default)]
struct Members {
    places: Vec<Place>,
    vacant: Vec<usize>,
    count: usize,
}

enum Place {
    Vacant,
    Expected,
    Taken(TaskRef),
}

impl Members {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn expect(&mut self) -> usize {
        self.count += 1;
        let place = self.vacant.pop().unwrap_or(self.places.len());
        if place == self.places.len() {
            self.places.push(Place::Expected);
        } else {
            self.places[place] = Place::Expected;
        }
        place
    }

    fn leave(&mut self, place: usize) -> Place {
        self.count -= 1;
        self.vacant.push(place);
        std::mem::replace(&mut self.places[place], Place::Vacant)
    }
}

impl<E> Group<E> {
    fn is_failing(&self) -> bool {
        self.failing.get()
    }

    fn spawn<T, F>(self: &Rc<Self>, future: F) -> Task<T>
    where
        T: 'static,
        E: 'static,
        F: Future<Output = Result<T, E>> + 'static,
    {
        if self.is_failing() || self.over.get() {
            return Task::cancelled();
        }
        let member = Member::new(self);
        let place = member.place;
        let task = spawn(belong(future, member));
        self.admit(place, task.reference());
        task
    }

    fn admit(&self, place: usize, task: TaskRef) {
        let mut members = self.members.borrow_mut();
        if matches!(members.places[place], Place::Expected) {
            members.places[place] = Place::Taken(task);
        }
    }

    fn fail(&self, failure: Failure<E>) {
        self.failures.borrow_mut().push(failure);
        self.failing.set(true);
        self.cancel();
        self.waiter.wake();
    }

    fn cancel(&self) {
        let members = self.members.borrow();
        let tasks = members.places.iter().filter_map(|place| match place {
            Place::Taken(task) => Some(task.clone()),
            _ => None,
        });
        let tasks: Vec<TaskRef> = tasks.collect();
        drop(members);
        for task in tasks {
            task.cancel();
        }
    }
}

/// Belongs to a member's future, and tells the group when that is gone.
struct Member<E> {
    group: Rc<Group<E>>,
    place: usize,
}

impl<E> Member<E> {
    fn new(group: &Rc<Group<E>>) -> Self {
        let place = group.members.borrow_mut().expect();
        Self { group: Rc::clone(group), place }
    }

    fn name(&self) -> String {
        match &self.group.members.borrow().places[self.place] {
            Place::Taken(task) => task.name(),
            _ => String::new(),
        }
    }
}

impl<E> Drop for Member<E> {
    fn drop(&mut self) {
        let name = self.name();
        // Dropped when nothing is borrowed.
        let _place = self.group.members.borrow_mut().leave(self.place);
        if std::thread::panicking() {
            let payload = Ending::Panicked(Box::new("in a destructor, when it was cancelled"));
            self.group.fail(Failure::Panicked(TaskError::new(name, payload)));
        }
        if self.group.members.borrow().is_empty() {
            self.group.waiter.wake();
        }
    }
}

/// What a member's task runs. One that failed is cancelled with the others.
async fn belong<T, E, F>(future: F, member: Member<E>) -> T
where
    F: Future<Output = Result<T, E>>,
{
    let failure = {
        let mut future = pin!(Some(future));
        match poll_fn(|cx| poll_caught(future.as_mut(), cx)).await {
            Ok(Ok(output)) => return output,
            Ok(Err(error)) => Failure::Error(error),
            Err(panic) => Failure::Panicked(TaskError::new(member.name(), panic)),
        }
    };
    member.group.fail(failure);
    pending().await
}
