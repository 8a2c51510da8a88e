//! The door for other threads: items that any of them sends, and a task receives.

mod bounded;
mod room;
mod shared;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub use self::bounded::{BoundedSender, TrySendError, bounded};
use self::shared::{End, Shared};
use super::closed::Closed;

/// A channel whose senders may be on any thread: asyncio's `loop.call_soon_threadsafe(queue.put_nowait, item)`.
///
/// Sending never waits, so it can be done where nothing is awaited; there is no limit to what is on the way, unless
/// [`bounded`] sets one. Between tasks of one loop [`Queue`](super::Queue) is cheaper.
///
/// ```
/// use velodrome::sync::mpsc;
///
/// velodrome::run(async {
///     let (sender, mut receiver) = mpsc::channel();
///     let thread = std::thread::spawn(move || (0..3).try_for_each(|number| sender.send(number)));
///     let mut received = Vec::new();
///     while let Some(number) = receiver.receive().await {
///         received.push(number);
///     }
///     assert_eq!(received, [0, 1, 2]);
///     thread.join().unwrap().unwrap();
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(usize::MAX));
    (Sender(End::new(Arc::clone(&shared))), Receiver(shared))
}

/// The end into which items go, from any thread; see [`channel`].
///
/// ```
/// use velodrome::sync::mpsc;
///
/// fn report(progress: &mpsc::Sender<u32>) {
///     // Nobody listens any more? Then nobody needs to know.
///     let _ = progress.send(100);
/// }
/// # report(&mpsc::channel().0);
/// ```
pub struct Sender<T>(End<T>);

impl<T> Sender<T> {
    /// Send an item. The receiver's loop is woken, once for however many items it has not seen.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::mpsc::channel();
    /// drop(receiver);
    /// assert_eq!(sender.send(7), Err(7));
    /// ```
    ///
    /// # Errors
    /// The item, if the receiver was dropped.
    pub fn send(&self, item: T) -> Result<(), T> {
        // There is always room.
        self.0.try_send(item).map_err(|(TrySendError::Full(item) | TrySendError::Closed(item))| item)
    }

    /// Whether the receiver was dropped.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::mpsc::channel::<u8>();
    /// assert!(!sender.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

/// The end at which items are awaited; see [`channel`] and [`bounded`].
///
/// ```
/// use velodrome::sync::mpsc;
///
/// async fn sum(mut numbers: mpsc::Receiver<u32>) -> u32 {
///     let mut sum = 0;
///     while let Some(number) = numbers.receive().await {
///         sum += number;
///     }
///     sum
/// }
/// # let (sender, receiver) = mpsc::channel();
/// # std::thread::spawn(move || sender.send(7));
/// # assert_eq!(velodrome::run(sum(receiver))?, 7);
/// # std::io::Result::Ok(())
/// ```
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next item; none when there is none left and every sender was dropped.
    ///
    /// **Cancel safety**: may be dropped at any time; no item is lost.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let (sender, mut receiver) = velodrome::sync::mpsc::channel();
    ///     sender.send(7).unwrap();
    ///     drop(sender);
    ///     assert_eq!(receiver.receive().await, Some(7));
    ///     assert_eq!(receiver.receive().await, None);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn receive(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The next item, if there is one now.
    ///
    /// ```
    /// use velodrome::sync::mpsc::TryReceiveError;
    ///
    /// let (sender, mut receiver) = velodrome::sync::mpsc::channel();
    /// assert_eq!(receiver.try_receive(), Err(TryReceiveError::Empty));
    /// sender.send(7).unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.try_receive(), Ok(7));
    /// assert_eq!(receiver.try_receive(), Err(TryReceiveError::Closed));
    /// ```
    ///
    /// # Errors
    /// Whether one may come still.
    pub fn try_receive(&mut self) -> Result<T, TryReceiveError> {
        let state = self.0.lock();
        let none = if state.senders == 0 { TryReceiveError::Closed } else { TryReceiveError::Empty };
        self.0.take(state).ok_or(none)
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        if !state.items.is_empty() {
            return Poll::Ready(self.0.take(state));
        }
        if state.senders == 0 {
            return Poll::Ready(None);
        }
        // The one it replaces is dropped when the lock is open again.
        let _last = state.waiting.replace(cx.waker().clone());
        drop(state);
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.received = false;
        let (items, waiting) = (std::mem::take(&mut state.items), state.waiting.take());
        let senders = state.room.close();
        drop(state);
        drop((items, waiting));
        senders.into_values().for_each(Waker::wake);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("items", &self.0.lock().items.len()).finish()
    }
}

/// Why [`Receiver::try_receive`] has no item.
///
/// ```
/// use velodrome::sync::mpsc::{self, TryReceiveError};
///
/// let (sender, mut receiver) = mpsc::channel::<u8>();
/// match receiver.try_receive() {
///     Ok(item) => println!("{item}"),
///     Err(TryReceiveError::Empty) => println!("look again later"),
///     Err(TryReceiveError::Closed) => println!("that was all"),
/// }
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TryReceiveError {
    /// There is none now.
    Empty,
    /// There is none, and every sender was dropped.
    Closed,
}

impl fmt::Display for TryReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the channel is empty"),
            Self::Closed => Closed.fmt(f),
        }
    }
}

impl std::error::Error for TryReceiveError {}

#[cfg(test)]
#[cfg(loom)]
mod model;
