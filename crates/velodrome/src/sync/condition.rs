//! Waiting for something to become true of what a lock protects.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use super::line::{Line, Place};
use super::lock::{LockGuard, OwnedLockGuard};

/// Where tasks wait until something is true of a [`Lock`](super::Lock)'s value: `asyncio.Condition`.
///
/// ```
/// use std::rc::Rc;
/// use velodrome::sync::{Condition, Lock};
///
/// velodrome::run(async {
///     let (stock, changed) = (Rc::new(Lock::new(0)), Rc::new(Condition::new()));
///     let (theirs, tell) = (Rc::clone(&stock), Rc::clone(&changed));
///     velodrome::spawn(async move {
///         *theirs.lock().await = 3;
///         tell.notify_all();
///     });
///     let stock = changed.wait_until(stock.lock().await, |stock| *stock >= 2).await;
///     assert_eq!(*stock, 3);
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Default)]
pub struct Condition(Line);

impl Condition {
    /// A condition that nobody waits for. It belongs to no lock in particular; use it with one.
    ///
    /// ```
    /// let condition = velodrome::sync::Condition::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Open the lock, wait to be notified, and lock it again: `asyncio.Condition.wait`.
    ///
    /// Somebody may have had the lock between the notification and its return, so ask again whether what you wait for
    /// is true; [`wait_until`](Self::wait_until) does.
    ///
    /// **Cancel safety**: may be dropped at any time. The lock is open then, and a notification that had reached this
    /// task goes to the next.
    ///
    /// ```
    /// # use std::{rc::Rc, time::Duration};
    /// # use velodrome::{sync::{Condition, Lock}, timeout};
    /// velodrome::run(async {
    ///     let (lock, never) = (Lock::new(()), Condition::new());
    ///     let waiting = never.wait(lock.lock().await);
    ///     assert!(timeout(Duration::from_millis(1), waiting).await.is_err());
    ///     assert!(!lock.is_locked());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn wait<'a, T: ?Sized>(&self, guard: LockGuard<'a, T>) -> LockGuard<'a, T> {
        let lock = guard.lock();
        let turn = self.notified(guard).await;
        let guard = lock.lock().await;
        turn.over();
        guard
    }

    /// As [`wait`](Self::wait), with a guard that owns a share in its lock.
    ///
    /// **Cancel safety**: as [`wait`](Self::wait).
    ///
    /// ```
    /// # use std::rc::Rc;
    /// # use velodrome::sync::{Condition, Lock};
    /// velodrome::run(async {
    ///     let (stock, changed) = (Rc::new(Lock::new(0)), Rc::new(Condition::new()));
    ///     let (theirs, tell) = (Rc::clone(&stock), Rc::clone(&changed));
    ///     velodrome::spawn(async move {
    ///         *theirs.lock().await = 3;
    ///         tell.notify_one();
    ///     });
    ///     let guard = changed.wait_owned(stock.lock_owned().await).await;
    ///     assert_eq!(*guard.get(), 3);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn wait_owned<T: ?Sized>(&self, guard: OwnedLockGuard<T>) -> OwnedLockGuard<T> {
        let lock = guard.lock();
        let turn = self.notified(guard).await;
        let guard = lock.lock_owned().await;
        turn.over();
        guard
    }

    /// Take a place in the line, open the lock, and wait to be notified.
    async fn notified<G>(&self, guard: G) -> Turn<'_> {
        let (mut turn, mut guard) = (Turn::new(&self.0), Some(guard));
        poll_fn(|cx| {
            let poll = turn.poll(cx);
            // Only now, with a place in the line: what is notified from now on is meant for us too.
            guard = None;
            poll
        })
        .await;
        turn
    }

    /// Wait until `holds` is true of the value; at once, if it is: `asyncio.Condition.wait_for`.
    ///
    /// **Cancel safety**: as [`wait`](Self::wait).
    ///
    /// ```
    /// # use velodrome::sync::{Condition, Lock};
    /// velodrome::run(async {
    ///     let lock = Lock::new(1);
    ///     let guard = Condition::new().wait_until(lock.lock().await, |value| *value == 1).await;
    ///     assert_eq!(*guard, 1);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn wait_until<'a, T: ?Sized>(
        &self,
        mut guard: LockGuard<'a, T>,
        mut holds: impl FnMut(&mut T) -> bool,
    ) -> LockGuard<'a, T> {
        while !holds(&mut guard) {
            guard = self.wait(guard).await;
        }
        guard
    }

    /// As [`wait_until`](Self::wait_until), with a guard that owns a share in its lock.
    ///
    /// **Cancel safety**: as [`wait`](Self::wait).
    ///
    /// ```
    /// # use std::rc::Rc;
    /// # use velodrome::sync::{Condition, Lock};
    /// velodrome::run(async {
    ///     let guard = Rc::new(Lock::new(1)).lock_owned().await;
    ///     let guard = Condition::new().wait_until_owned(guard, |value| *value == 1).await;
    ///     assert_eq!(*guard.get(), 1);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn wait_until_owned<T: ?Sized>(
        &self,
        mut guard: OwnedLockGuard<T>,
        mut holds: impl FnMut(&mut T) -> bool,
    ) -> OwnedLockGuard<T> {
        while !holds(&mut guard.get_mut()) {
            guard = self.wait_owned(guard).await;
        }
        guard
    }

    /// Wake one who waits; the first to have come. asyncio wants the lock to be held for this; here it need not be.
    ///
    /// ```
    /// velodrome::sync::Condition::new().notify_one();
    /// ```
    pub fn notify_one(&self) {
        self.0.serve_first();
    }

    /// Wake as many as `count`.
    ///
    /// ```
    /// velodrome::sync::Condition::new().notify(2);
    /// ```
    pub fn notify(&self, count: usize) {
        (0..count).take_while(|_| self.0.serve_first()).for_each(drop);
    }

    /// Wake all who wait.
    ///
    /// ```
    /// velodrome::sync::Condition::new().notify_all();
    /// ```
    pub fn notify_all(&self) {
        self.0.serve_all();
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("awaited", &!self.0.is_empty()).finish_non_exhaustive()
    }
}

/// A notification on its way: until it is over, it is passed on by who gives up.
struct Turn<'a> {
    line: &'a Line,
    place: Place,
    notified: bool,
}

impl<'a> Turn<'a> {
    fn new(line: &'a Line) -> Self {
        Self { line, place: Place::default(), notified: false }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.place.poll(self.line, cx).map(|()| self.notified = true)
    }

    fn over(mut self) {
        self.notified = false;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.place.give_up(self.line) || self.notified {
            self.line.serve_first();
        }
    }
}
