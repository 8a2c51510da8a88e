//! A value that changes, and those who want to know the last of it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::closed::Closed;
use super::line::{Line, Place};

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
        line: Line::default(),
    });
    (Sender(Rc::clone(&shared)), Receiver { shared, seen: 0 })
}

struct Shared<T> {
    /// Shared with who looks at it, so that a look is no borrow that could be in the way of a change.
    value: RefCell<Rc<T>>,
    version: Cell<u64>,
    senders: Cell<usize>,
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
        Receiver { shared: Rc::clone(&self.0), seen: self.0.version.get() }
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
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Rc::clone(&self.shared), seen: self.seen }
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
