//! One value, from one task to another: asyncio's bare `Future`, with its two ends apart.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::closed::Closed;
use crate::waiting::Waiter;

/// Two ends of a way for one value: `loop.create_future()`, of which one side sets the result and the other awaits it.
///
/// Both stay on their thread. From another thread use [`Handle`](crate::Handle) or [`mpsc`](super::mpsc).
///
/// ```
/// use velodrome::sync::oneshot;
///
/// velodrome::run(async {
///     let (sender, receiver) = oneshot::channel();
///     velodrome::spawn(async move { sender.send("hello") });
///     assert_eq!(receiver.await, Ok("hello"));
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared {
        value: Cell::new(None),
        sender: Cell::new(true),
        receiver: Cell::new(true),
        arrival: Waiter::default(),
        departure: Waiter::default(),
    });
    (Sender(Rc::clone(&shared)), Receiver(shared))
}

struct Shared<T> {
    value: Cell<Option<T>>,
    /// Whether there is somebody at this end.
    sender: Cell<bool>,
    receiver: Cell<bool>,
    arrival: Waiter,
    departure: Waiter,
}

/// The end into which the value goes; see [`channel`].
///
/// ```
/// let (sender, receiver) = velodrome::sync::oneshot::channel();
/// sender.send("hello")?;
/// assert_eq!(velodrome::run(receiver).unwrap(), Ok("hello"));
/// # Ok::<(), &str>(())
/// ```
pub struct Sender<T>(Rc<Shared<T>>);

impl<T> Sender<T> {
    /// Send the value; whoever awaits the other end is woken.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::oneshot::channel();
    /// drop(receiver);
    /// assert_eq!(sender.send(7), Err(7));
    /// ```
    ///
    /// # Errors
    /// The value, if the receiver was dropped.
    pub fn send(self, value: T) -> Result<(), T> {
        if !self.0.receiver.get() {
            return Err(value);
        }
        self.0.value.set(Some(value));
        // Dropping the sender wakes.
        Ok(())
    }

    /// Whether the receiver was dropped, so that there is nobody to send to.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::oneshot::channel::<u8>();
    /// assert!(!sender.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.0.receiver.get()
    }

    /// Wait until the receiver is dropped: a reason to stop working for it.
    ///
    /// **Cancel safety**: may be dropped at any time.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let (mut sender, receiver) = velodrome::sync::oneshot::channel::<u8>();
    ///     drop(receiver);
    ///     sender.closed().await;
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn closed(&mut self) {
        poll_fn(|cx| {
            if self.is_closed() {
                return Poll::Ready(());
            }
            self.0.departure.wait(cx);
            Poll::Pending
        })
        .await;
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.sender.set(false);
        self.0.arrival.wake();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

/// The end at which the value is awaited; see [`channel`].
///
/// **Cancel safety**: awaiting `&mut receiver` may be given up at any time; the value stays.
///
/// ```
/// use std::time::Duration;
/// use velodrome::sync::oneshot;
///
/// velodrome::run(async {
///     let (sender, mut receiver) = oneshot::channel();
///     assert!(velodrome::timeout(Duration::from_millis(1), &mut receiver).await.is_err());
///     sender.send(7).unwrap();
///     assert_eq!(receiver.await, Ok(7), "it was waited for once more");
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct Receiver<T>(Rc<Shared<T>>);

impl<T> Receiver<T> {
    /// The value, if it is there.
    ///
    /// ```
    /// let (sender, mut receiver) = velodrome::sync::oneshot::channel();
    /// assert_eq!(receiver.try_receive(), Ok(None));
    /// sender.send(7).unwrap();
    /// assert_eq!(receiver.try_receive(), Ok(Some(7)));
    /// ```
    ///
    /// # Errors
    /// [`Closed`], if it will never be.
    pub fn try_receive(&mut self) -> Result<Option<T>, Closed> {
        match self.0.value.take() {
            None if !self.0.sender.get() => Err(Closed),
            value => Ok(value),
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.try_receive() {
            Ok(Some(value)) => Poll::Ready(Ok(value)),
            Ok(None) => {
                self.0.arrival.wait(cx);
                Poll::Pending
            }
            Err(closed) => Poll::Ready(Err(closed)),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver.set(false);
        self.0.departure.wake();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("sender", &self.0.sender).finish_non_exhaustive()
    }
}
