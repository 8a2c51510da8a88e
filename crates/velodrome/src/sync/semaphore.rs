//! So many at a time.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::line::{Line, Place};

/// So many at a time, in the order in which they came: `asyncio.Semaphore`, and with [`bounded`](Self::bounded)
/// `asyncio.BoundedSemaphore`.
///
/// ```
/// use std::rc::Rc;
/// use velodrome::sync::Semaphore;
///
/// velodrome::run(async {
///     let two_at_a_time = Rc::new(Semaphore::new(2));
///     let downloads = (0..10).map(|_| {
///         let semaphore = Rc::clone(&two_at_a_time);
///         velodrome::spawn(async move {
///             let _permit = semaphore.acquire().await;
///             velodrome::yield_now().await;
///         })
///     });
///     for download in downloads.collect::<Vec<_>>() {
///         download.await.unwrap();
///     }
///     assert_eq!(two_at_a_time.available(), 2);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct Semaphore {
    /// Permits that nobody has. Nobody waits for fewer than there are.
    free: Cell<usize>,
    /// Those, and the ones that somebody has and will give back.
    all: Cell<usize>,
    bound: usize,
    line: Line,
}

impl Semaphore {
    /// A semaphore of `permits`, to which [`release`](Self::release) may add.
    ///
    /// ```
    /// assert_eq!(velodrome::sync::Semaphore::new(2).available(), 2);
    /// ```
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self::with(permits, usize::MAX)
    }

    /// One that never has more than `permits`: [`release`](Self::release) says so when it is called too often, as
    /// `asyncio.BoundedSemaphore` does.
    ///
    /// ```
    /// let semaphore = velodrome::sync::Semaphore::bounded(1);
    /// let error = semaphore.release().unwrap_err();
    /// assert_eq!(error.to_string(), "released more often than acquired: each permit gives itself back when it is dropped");
    /// ```
    #[must_use]
    pub fn bounded(permits: usize) -> Self {
        Self::with(permits, permits)
    }

    fn with(permits: usize, bound: usize) -> Self {
        Self { free: Cell::new(permits), all: Cell::new(permits), bound, line: Line::default() }
    }

    /// Wait for a permit, which gives itself back when it is dropped.
    ///
    /// **Cancel safety**: may be dropped at any time; a permit that it had just been given goes to the next in the line.
    /// Its place in the line is lost.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let semaphore = velodrome::sync::Semaphore::new(1);
    ///     let permit = semaphore.acquire().await;
    ///     assert!(semaphore.try_acquire().is_none());
    ///     drop(permit);
    ///     assert!(semaphore.try_acquire().is_some());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn acquire(&self) -> Acquire<'_> {
        self.acquire_many(1)
    }

    /// Wait for `permits` at once, for work that counts for several: all of them, or none. Who waits for many is overtaken by
    /// nobody who waits for few; for more than there ever are it waits for ever.
    ///
    /// **Cancel safety**: as [`acquire`](Self::acquire).
    ///
    /// ```
    /// velodrome::run(async {
    ///     let megabytes = velodrome::sync::Semaphore::new(100);
    ///     let held = megabytes.acquire_many(70).await;
    ///     assert_eq!(megabytes.available(), 30);
    ///     drop(held);
    ///     assert_eq!(megabytes.available(), 100);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn acquire_many(&self, permits: u32) -> Acquire<'_> {
        Acquire { semaphore: self, wanted: permits, place: Place::default() }
    }

    /// As [`acquire`](Self::acquire), for a permit that goes on living somewhere else: in a task, in a connection.
    ///
    /// **Cancel safety**: may be dropped at any time; a permit that it had just been given goes to the next in the
    /// line. Its place in the line is lost.
    ///
    /// ```
    /// # use std::rc::Rc;
    /// velodrome::run(async {
    ///     let semaphore = Rc::new(velodrome::sync::Semaphore::new(1));
    ///     let permit = Rc::clone(&semaphore).acquire_owned().await;
    ///     let task = velodrome::spawn(async move { drop(permit) });
    ///     task.await.unwrap();
    ///     assert_eq!(semaphore.available(), 1);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn acquire_owned(self: Rc<Self>) -> OwnedPermit {
        self.acquire_many_owned(1).await
    }

    /// As [`acquire_many`](Self::acquire_many), for permits that go on living somewhere else.
    ///
    /// **Cancel safety**: as [`acquire`](Self::acquire).
    ///
    /// ```
    /// # use std::rc::Rc;
    /// velodrome::run(async {
    ///     let megabytes = Rc::new(velodrome::sync::Semaphore::new(100));
    ///     let held = Rc::clone(&megabytes).acquire_many_owned(70).await;
    ///     let upload = velodrome::spawn(async move { drop(held) });
    ///     assert_eq!(megabytes.available(), 30);
    ///     upload.await.unwrap();
    ///     assert_eq!(megabytes.available(), 100);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn acquire_many_owned(self: Rc<Self>, permits: u32) -> OwnedPermit {
        std::mem::forget(self.acquire_many(permits).await);
        OwnedPermit { semaphore: Some(self), count: permits }
    }

    /// A permit that goes on living somewhere else, if there is one now.
    ///
    /// ```
    /// # use std::rc::Rc;
    /// let semaphore = Rc::new(velodrome::sync::Semaphore::new(1));
    /// let permit = Rc::clone(&semaphore).try_acquire_owned();
    /// assert!(permit.is_some() && semaphore.try_acquire().is_none());
    /// ```
    #[must_use]
    pub fn try_acquire_owned(self: Rc<Self>) -> Option<OwnedPermit> {
        self.try_acquire_many_owned(1)
    }

    /// So many permits that go on living somewhere else, if there are as many now.
    ///
    /// ```
    /// # use std::rc::Rc;
    /// let semaphore = Rc::new(velodrome::sync::Semaphore::new(3));
    /// let permits = Rc::clone(&semaphore).try_acquire_many_owned(2);
    /// assert!(permits.is_some() && Rc::clone(&semaphore).try_acquire_many_owned(2).is_none());
    /// ```
    #[must_use]
    pub fn try_acquire_many_owned(self: Rc<Self>, permits: u32) -> Option<OwnedPermit> {
        self.take(permits).then(|| OwnedPermit { semaphore: Some(self), count: permits })
    }

    /// A permit, if there is one now.
    ///
    /// ```
    /// let semaphore = velodrome::sync::Semaphore::new(0);
    /// assert!(semaphore.try_acquire().is_none());
    /// ```
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(1)
    }

    /// So many permits, if there are as many now.
    ///
    /// ```
    /// let semaphore = velodrome::sync::Semaphore::new(3);
    /// let permits = semaphore.try_acquire_many(2);
    /// assert!(permits.is_some() && semaphore.try_acquire_many(2).is_none());
    /// ```
    #[must_use]
    pub fn try_acquire_many(&self, permits: u32) -> Option<Permit<'_>> {
        // Not `then_some`: a permit that is made in vain would give back what nobody took.
        self.take(permits).then(|| Permit { semaphore: self, count: permits })
    }

    /// Add a permit: for one that was [forgotten](Permit::forget), or to begin with.
    ///
    /// ```
    /// let semaphore = velodrome::sync::Semaphore::new(0);
    /// semaphore.release()?;
    /// assert_eq!(semaphore.available(), 1);
    /// # Ok::<(), velodrome::sync::ReleasedTooOften>(())
    /// ```
    ///
    /// # Errors
    /// [`ReleasedTooOften`], if the semaphore is [bounded](Self::bounded) and has all its permits, free or
    /// held by somebody who did not [forget](Permit::forget) them.
    pub fn release(&self) -> Result<(), ReleasedTooOften> {
        if self.all.get() >= self.bound {
            return Err(ReleasedTooOften);
        }
        self.all.set(self.all.get() + 1);
        self.give_back(1);
        Ok(())
    }

    /// How many permits there are now.
    ///
    /// ```
    /// assert_eq!(velodrome::sync::Semaphore::new(3).available(), 3);
    /// ```
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.get()
    }

    fn take(&self, wanted: u32) -> bool {
        let left = self.free.get().checked_sub(wanted as usize);
        // Where permits are left over though somebody waits, it is for more than these.
        let taken = left.filter(|_| self.line.is_empty());
        taken.inspect(|&left| self.free.set(left)).is_some()
    }

    /// So many will not be given back.
    fn lose(&self, count: u32) {
        self.all.set(self.all.get() - count as usize);
    }

    fn give_back(&self, count: u32) {
        self.free.set(self.free.get().saturating_add(count as usize));
        self.serve();
    }

    /// Let in whoever is first, as long as there are permits enough.
    fn serve(&self) {
        while let Some(wanted) = self.line.first_wants()
            && let Some(left) = self.free.get().checked_sub(wanted as usize)
        {
            // Before it is woken: whoever that is may come straight back here.
            self.free.set(left);
            self.line.serve_first();
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.free).finish_non_exhaustive()
    }
}

/// What [`Semaphore::acquire`] returns.
///
/// ```
/// let semaphore = velodrome::sync::Semaphore::new(1);
/// let acquiring: velodrome::sync::Acquire<'_> = semaphore.acquire();
/// let permit = velodrome::run(acquiring)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    wanted: u32,
    place: Place,
}

impl<'a> Future for Acquire<'a> {
    type Output = Permit<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<'a>> {
        let (semaphore, wanted) = (self.semaphore, self.wanted);
        let permit = || Permit { semaphore, count: wanted };
        if !self.place.is_taken() && semaphore.take(wanted) {
            return Poll::Ready(permit());
        }
        self.place.poll_for(wanted, &semaphore.line, cx).map(|()| permit())
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if !self.place.is_taken() {
            return;
        }
        if self.place.give_up(&self.semaphore.line) {
            self.semaphore.give_back(self.wanted);
        } else {
            // Those behind may wait for less.
            self.semaphore.serve();
        }
    }
}

/// One of a [`Semaphore`]'s permits, or several. They give themselves back when this is dropped.
///
/// ```
/// let semaphore = velodrome::sync::Semaphore::new(1);
/// let permit = semaphore.try_acquire();
/// assert_eq!(semaphore.available(), 0);
/// drop(permit);
/// assert_eq!(semaphore.available(), 1);
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped at once keeps nobody out"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: u32,
}

impl Permit<'_> {
    /// Keep the permit for good, or until somebody calls [`Semaphore::release`].
    ///
    /// ```
    /// let semaphore = velodrome::sync::Semaphore::new(1);
    /// semaphore.try_acquire().unwrap().forget();
    /// assert_eq!(semaphore.available(), 0);
    /// ```
    pub fn forget(self) {
        self.semaphore.lose(self.count);
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.give_back(self.count);
    }
}

/// As [`Permit`], with a share in its semaphore: see [`Semaphore::acquire_owned`].
///
/// ```
/// use std::rc::Rc;
/// use velodrome::sync::{OwnedPermit, Semaphore};
///
/// velodrome::run(async {
///     let semaphore = Rc::new(Semaphore::new(1));
///     let permit: OwnedPermit = Rc::clone(&semaphore).acquire_owned().await;
///     // It may go with a task, which a borrowed one could not.
///     velodrome::spawn(async move { drop(permit) });
///     semaphore.acquire().await;
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped at once keeps nobody out"]
pub struct OwnedPermit {
    /// None once it is forgotten.
    semaphore: Option<Rc<Semaphore>>,
    count: u32,
}

impl OwnedPermit {
    /// Keep the permit for good, or until somebody calls [`Semaphore::release`].
    ///
    /// ```
    /// # use std::rc::Rc;
    /// let semaphore = Rc::new(velodrome::sync::Semaphore::new(1));
    /// Rc::clone(&semaphore).try_acquire_owned().unwrap().forget();
    /// assert_eq!((semaphore.available(), Rc::strong_count(&semaphore)), (0, 1));
    /// ```
    pub fn forget(mut self) {
        if let Some(semaphore) = self.semaphore.take() {
            semaphore.lose(self.count);
        }
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        if let Some(semaphore) = &self.semaphore {
            semaphore.give_back(self.count);
        }
    }
}

/// A [bounded](Semaphore::bounded) semaphore had all its permits, and was to be given one more.
///
/// ```
/// let error = velodrome::sync::Semaphore::bounded(1).release();
/// assert_eq!(error, Err(velodrome::sync::ReleasedTooOften));
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ReleasedTooOften;

impl fmt::Display for ReleasedTooOften {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("released more often than acquired: each permit gives itself back when it is dropped")
    }
}

impl std::error::Error for ReleasedTooOften {}
