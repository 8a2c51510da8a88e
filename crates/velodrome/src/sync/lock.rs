//! One at a time, for as long as it takes: what a borrow cannot be, because it must not be held over an `await`.

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::semaphore::{Permit, Semaphore};

/// A value that one task at a time has to itself, in the order in which they asked: `asyncio.Lock`, with what it
/// protects inside.
///
/// Between two awaits a task on this loop is alone anyway, so a `Cell` or a `RefCell` does for most things. A lock is
/// for what must stay as it is *over* an await: a connection on which question and answer belong together, say.
///
/// ```
/// use std::rc::Rc;
/// use velodrome::sync::Lock;
///
/// velodrome::run(async {
///     let ledger = Rc::new(Lock::new(Vec::new()));
///     let tasks = (0..3).map(|number| {
///         let ledger = Rc::clone(&ledger);
///         velodrome::spawn(async move {
///             let mut entries = ledger.lock().await;
///             entries.push(number);
///             velodrome::yield_now().await;
///             entries.push(number);
///         })
///     });
///     for task in tasks.collect::<Vec<_>>() {
///         task.await.unwrap();
///     }
///     assert_eq!(*ledger.lock().await, [0, 0, 1, 1, 2, 2]);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct Lock<T: ?Sized> {
    gate: Semaphore,
    /// Borrowed by the one who has the permit, and by nobody else.
    value: RefCell<T>,
}

impl<T> Lock<T> {
    /// A lock that is open.
    ///
    /// ```
    /// let lock = velodrome::sync::Lock::new(vec![1, 2, 3]);
    /// ```
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { gate: Semaphore::new(1), value: RefCell::new(value) }
    }

    /// The value, when nobody can lock it any more.
    ///
    /// ```
    /// assert_eq!(velodrome::sync::Lock::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Lock<T> {
    /// Wait until it is one's turn. The lock is open again when the guard is dropped.
    ///
    /// A task that locks what it has locked itself waits for ever, as in asyncio.
    ///
    /// **Cancel safety**: may be dropped at any time; the next in the line has the lock then. Its place in the line is
    /// lost.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let lock = velodrome::sync::Lock::new(1);
    ///     *lock.lock().await += 1;
    ///     assert_eq!(*lock.lock().await, 2);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn lock(&self) -> LockGuard<'_, T> {
        self.guard(self.gate.acquire().await)
    }

    /// As [`lock`](Self::lock), for a guard that goes on living somewhere else: in a task, in a struct.
    ///
    /// **Cancel safety**: as [`lock`](Self::lock).
    ///
    /// ```
    /// use std::rc::Rc;
    /// use velodrome::sync::Lock;
    ///
    /// velodrome::run(async {
    ///     let lock = Rc::new(Lock::new(1));
    ///     let mut guard = Rc::clone(&lock).lock_owned().await;
    ///     velodrome::spawn(async move { *guard.get_mut() += 1 });
    ///     assert_eq!(*lock.lock().await, 2);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn lock_owned(self: Rc<Self>) -> OwnedLockGuard<T> {
        self.gate.acquire().await.forget();
        OwnedLockGuard(self)
    }

    /// Lock it, if it is open.
    ///
    /// ```
    /// let lock = velodrome::sync::Lock::new(());
    /// let guard = lock.try_lock();
    /// assert!(guard.is_some() && lock.try_lock().is_none());
    /// ```
    #[must_use]
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        self.gate.try_acquire().map(|permit| self.guard(permit))
    }

    /// Whether somebody has it.
    ///
    /// ```
    /// assert!(!velodrome::sync::Lock::new(()).is_locked());
    /// ```
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.gate.available() == 0
    }

    /// The value, without locking: who can change the lock itself is alone with it.
    ///
    /// ```
    /// let mut lock = velodrome::sync::Lock::new(1);
    /// *lock.get_mut() = 2;
    /// assert_eq!(lock.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    fn guard<'a>(&'a self, permit: Permit<'a>) -> LockGuard<'a, T> {
        LockGuard { value: self.value.borrow_mut(), _permit: permit, lock: self }
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Lock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}

/// The value of a [`Lock`], for as long as it is locked.
///
/// ```
/// let lock = velodrome::sync::Lock::new(1);
/// if let Some(mut guard) = lock.try_lock() {
///     *guard += 1;
/// }
/// assert_eq!(lock.into_inner(), 2);
/// ```
#[must_use = "a lock whose guard is dropped at once keeps nobody out"]
pub struct LockGuard<'a, T: ?Sized> {
    // Dropped in this order: the borrow ends before the next one may borrow.
    value: RefMut<'a, T>,
    _permit: Permit<'a>,
    lock: &'a Lock<T>,
}

impl<'a, T: ?Sized> LockGuard<'a, T> {
    pub(super) fn lock(&self) -> &'a Lock<T> {
        self.lock
    }
}

impl<T: ?Sized> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// As [`LockGuard`], with a share in its lock: see [`Lock::lock_owned`]. It borrows the value for each look, because a
/// reference into what it owns itself is what Rust has no safe word for.
///
/// ```
/// use std::rc::Rc;
/// use velodrome::sync::{Lock, OwnedLockGuard};
///
/// /// Keeps everybody else out for as long as it lives.
/// struct Session(OwnedLockGuard<Vec<u8>>);
///
/// velodrome::run(async {
///     let lock = Rc::new(Lock::new(Vec::new()));
///     let mut session = Session(Rc::clone(&lock).lock_owned().await);
///     session.0.get_mut().push(7);
///     assert_eq!(*session.0.get(), [7]);
///     assert!(lock.try_lock().is_none());
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a lock whose guard is dropped at once keeps nobody out"]
pub struct OwnedLockGuard<T: ?Sized>(Rc<Lock<T>>);

impl<T: ?Sized> OwnedLockGuard<T> {
    pub(super) fn lock(&self) -> Rc<Lock<T>> {
        Rc::clone(&self.0)
    }

    /// The value.
    ///
    /// ```
    /// # use std::rc::Rc;
    /// # velodrome::run(async {
    /// let guard = Rc::new(velodrome::sync::Lock::new(7)).lock_owned().await;
    /// assert_eq!(*guard.get(), 7);
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn get(&self) -> Ref<'_, T> {
        self.0.value.borrow()
    }

    /// The value, to be changed.
    ///
    /// ```
    /// # use std::rc::Rc;
    /// # velodrome::run(async {
    /// let mut guard = Rc::new(velodrome::sync::Lock::new(7)).lock_owned().await;
    /// *guard.get_mut() = 8;
    /// assert_eq!(*guard.get(), 8);
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_mut(&mut self) -> RefMut<'_, T> {
        self.0.value.borrow_mut()
    }
}

impl<T: ?Sized> Drop for OwnedLockGuard<T> {
    fn drop(&mut self) {
        // It cannot be released too often: this has the one permit.
        let _ = self.0.gate.release();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for OwnedLockGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
