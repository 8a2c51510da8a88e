//! A value that changes, and those who want to know the last of it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::closed::Closed;
use super::line::{Line, Place};
use crate::waiting::Waiters;

/// A value that one side changes and any number of receivers watch. A receiver sees the last value, and not
/// necessarily each: for settings, states, a signal to stop.
///
/// ```
/// use velodrome::sync::watch;
///
/// velodrome::run(async {
///     let (sender, mut receiver) = watch::channel("starting");
///     velodrome::spawn(async move {
///         sender.send("running");
///         velodrome::yield_now().await;
///         sender.send("stopping");
///     });
///     assert_eq!(*receiver.get(), "starting");
///     while receiver.changed().await.is_ok() {
///         println!("{}", receiver.get());
///     }
///     assert_eq!(*receiver.get(), "stopping");
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared {
        value: RefCell::new(Rc::new(value)),
        version: Cell::new(0),
        senders: Cell::new(1),
        receivers: Cell::new(1),
        gone: Waiters::default(),
        line: Line::default(),
    });
    (Sender(Rc::clone(&shared)), Receiver { shared, seen: 0 })
}

struct Shared<T> {
    /// Shared with who looks at it, so that a look is no borrow that could be in the way of a change.
    value: RefCell<Rc<T>>,
    version: Cell<u64>,
    senders: Cell<usize>,
    receivers: Cell<usize>,
    /// Told that the last receiver was dropped.
    gone: Waiters,
    line: Line,
}

impl<T> Shared<T> {
    fn get(&self) -> Rc<T> {
        Rc::clone(&self.value.borrow())
    }
}

/// The end that changes the value; see [`channel`]. Clones change the same one.
///
/// ```
/// let (level, watcher) = velodrome::sync::watch::channel(1);
/// level.clone().send(2);
/// assert_eq!(*watcher.get(), 2);
/// ```
pub struct Sender<T>(Rc<Shared<T>>);

impl<T> Sender<T> {
    /// Put another value in the place of the last one, and wake who waits for that. Returns the last one.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::watch::channel(1);
    /// assert_eq!(*sender.send(2), 1);
    /// assert_eq!(*receiver.get(), 2);
    /// ```
    pub fn send(&self, value: T) -> Rc<T> {
        let last = self.0.value.replace(Rc::new(value));
        self.0.version.set(self.0.version.get() + 1);
        self.0.line.serve_all();
        last
    }

    /// The value as it is now.
    ///
    /// ```
    /// let (sender, _) = velodrome::sync::watch::channel(1);
    /// sender.send(*sender.get() + 1);
    /// assert_eq!(*sender.get(), 2);
    /// ```
    #[must_use]
    pub fn get(&self) -> Rc<T> {
        self.0.get()
    }

    /// Another receiver, which has seen the value as it is now.
    ///
    /// ```
    /// let (sender, _) = velodrome::sync::watch::channel(1);
    /// assert!(!sender.subscribe().has_changed());
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::new(&self.0, self.0.version.get())
    }

    /// Change the value as `modify` does, and wake who waits for that if it says that it did. It is given a copy, so who
    /// looks meanwhile sees the last value.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::watch::channel(1);
    /// let raise_to = |level: i32| {
    ///     sender.send_if_modified(|value| {
    ///         let higher = level > *value;
    ///         *value = level.max(*value);
    ///         higher
    ///     })
    /// };
    /// assert!(!raise_to(1) && !receiver.has_changed());
    /// assert!(raise_to(2) && receiver.has_changed());
    /// ```
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool
    where
        T: Clone,
    {
        let mut value = T::clone(&self.get());
        let modified = modify(&mut value);
        if modified {
            self.send(value);
        }
        modified
    }

    /// How many receivers there are.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::watch::channel(1);
    /// let other = receiver.clone();
    /// assert_eq!(sender.receiver_count(), 2);
    /// ```
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.0.receivers.get()
    }

    /// Whether there is no receiver; one may [come](Self::subscribe) again.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::watch::channel(1);
    /// assert!(!sender.is_closed());
    /// drop(receiver);
    /// assert!(sender.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.receiver_count() == 0
    }

    /// Wait until there is no receiver, to stop making what nobody looks at.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is consumed.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let (sender, receiver) = velodrome::sync::watch::channel(1);
    ///     velodrome::spawn(async move { drop(receiver) });
    ///     sender.closed().await;
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn closed(&self) {
        let poll = || if self.is_closed() { Poll::Ready(()) } else { Poll::Pending };
        self.0.gone.until(poll).await;
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        if self.0.senders.get() == 0 {
            self.0.line.serve_all();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.get()).finish()
    }
}

/// The end that watches; see [`channel`]. A clone has seen what this one has.
///
/// ```
/// let (level, watcher) = velodrome::sync::watch::channel(1);
/// let other = watcher.clone();
/// level.send(2);
/// assert!(watcher.has_changed() && other.has_changed());
/// ```
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    seen: u64,
}

impl<T> Receiver<T> {
    fn new(shared: &Rc<Shared<T>>, seen: u64) -> Self {
        shared.receivers.set(shared.receivers.get() + 1);
        Self { shared: Rc::clone(shared), seen }
    }

    /// The value as it is now. Does not count as having seen it.
    ///
    /// ```
    /// let (_sender, receiver) = velodrome::sync::watch::channel(1);
    /// assert_eq!(*receiver.get(), 1);
    /// ```
    #[must_use]
    pub fn get(&self) -> Rc<T> {
        self.shared.get()
    }

    /// Whether the value was changed since [`changed`](Self::changed) last returned.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::watch::channel(1);
    /// sender.send(2);
    /// assert!(receiver.has_changed());
    /// ```
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.seen != self.shared.version.get()
    }

    /// Wait until the value was changed since this last returned; at once, if it was.
    ///
    /// **Cancel safety**: may be dropped at any time; the change is then still unseen.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let (sender, mut receiver) = velodrome::sync::watch::channel(1);
    ///     sender.send(2);
    ///     assert!(receiver.changed().await.is_ok());
    ///     drop(sender);
    ///     assert!(receiver.changed().await.is_err());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// [`Closed`], if it was not and there is no sender any more.
    pub fn changed(&mut self) -> Changed<'_, T> {
        Changed { receiver: self, place: Place::default() }
    }

    /// Wait for a value that `wanted` approves of; at once, if it is so now. What it was asked about counts as seen.
    ///
    /// **Cancel safety**: may be dropped at any time; values that were not wanted are seen then.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let (sender, mut receiver) = velodrome::sync::watch::channel("starting");
    ///     velodrome::spawn(async move {
    ///         sender.send("almost");
    ///         velodrome::yield_now().await;
    ///         sender.send("running");
    ///     });
    ///     assert_eq!(*receiver.wait_for(|state| *state == "running").await.unwrap(), "running");
    ///     assert!(receiver.wait_for(|state| *state == "starting").await.is_err());
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// [`Closed`], if it is not and there is no sender any more.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<Rc<T>, Closed> {
        loop {
            let value = self.get();
            self.seen = self.shared.version.get();
            if wanted(&value) {
                return Ok(value);
            }
            drop(value);
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(&self.shared, self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.set(self.shared.receivers.get() - 1);
        if self.shared.receivers.get() == 0 {
            self.shared.gone.wake();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.get()).finish()
    }
}

/// What [`Receiver::changed`] returns.
///
/// ```
/// let (level, mut watcher) = velodrome::sync::watch::channel(1);
/// let changing: velodrome::sync::watch::Changed<'_, _> = watcher.changed();
/// level.send(2);
/// assert!(velodrome::run(changing)?.is_ok());
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct Changed<'a, T> {
    receiver: &'a mut Receiver<T>,
    place: Place,
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let shared = &this.receiver.shared;
        if this.receiver.has_changed() {
            this.receiver.seen = shared.version.get();
            return Poll::Ready(Ok(()));
        }
        if shared.senders.get() == 0 {
            return Poll::Ready(Err(Closed));
        }
        // Served without a change or an end: neither can be.
        this.place.poll(&shared.line, cx).map(Ok)
    }
}

impl<T> Drop for Changed<'_, T> {
    fn drop(&mut self) {
        // All were served, so there is nobody to pass it on to.
        let _ = self.place.give_up(&self.receiver.shared.line);
    }
}

impl<T> fmt::Debug for Changed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changed").finish_non_exhaustive()
    }
}
