//! A channel between threads in which senders wait for room.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use super::super::closed::Closed;
use super::Receiver;
use super::shared::{End, Entry, Shared};
use crate::threads::parking;

/// A channel as [`channel`](super::channel), in which no more than `size` items are ever on the way (a `size` of 0 counts as
/// 1): who sends faster than the receiver receives waits. `asyncio.Queue(size)`, across threads.
///
/// A sender waits on any loop, or on a plain thread by [`blocking_send`](BoundedSender::blocking_send). The first to wait is
/// the first to get room.
///
/// ```
/// use velodrome::sync::mpsc;
///
/// velodrome::run(async {
///     let (sender, mut receiver) = mpsc::bounded(2);
///     let thread = std::thread::spawn(move || (0..1000).try_for_each(|number| sender.blocking_send(number)));
///     let mut sum = 0;
///     while let Some(number) = receiver.receive().await {
///         sum += number;
///     }
///     assert_eq!(sum, 499_500);
///     thread.join().unwrap().unwrap();
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use]
pub fn bounded<T>(size: usize) -> (BoundedSender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(size.max(1)));
    (BoundedSender(End::new(Arc::clone(&shared))), Receiver(shared))
}

/// The end into which items go as long as there is room, from any thread; see [`bounded`].
///
/// ```
/// use velodrome::sync::mpsc;
///
/// async fn produce(lines: mpsc::BoundedSender<String>) {
///     for number in 0.. {
///         if lines.send(format!("line {number}")).await.is_err() {
///             return; // Nobody listens any more.
///         }
///     }
/// }
/// # velodrome::run(async {
/// #     let (sender, mut receiver) = mpsc::bounded(1);
/// #     let producer = velodrome::spawn(produce(sender));
/// #     assert_eq!(receiver.receive().await.unwrap(), "line 0");
/// #     drop(receiver);
/// #     producer.await.unwrap();
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub struct BoundedSender<T>(End<T>);

impl<T> BoundedSender<T> {
    /// Send an item as soon as there is room for it.
    ///
    /// **Cancel safety**: may be dropped at any time; the item is dropped with it then, and room that it had just been
    /// promised goes to the next.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::{sync::mpsc, timeout};
    ///
    /// velodrome::run(async {
    ///     let (sender, mut receiver) = mpsc::bounded(1);
    ///     sender.send(1).await?;
    ///     assert!(timeout(Duration::from_millis(1), sender.send(2)).await.is_err(), "there is no room");
    ///     assert_eq!(receiver.receive().await, Some(1));
    ///     sender.send(3).await?;
    ///     drop(receiver);
    ///     assert_eq!(sender.send(4).await, Err(4));
    ///     Ok::<(), i32>(())
    /// })?.unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// The item, if the receiver was dropped, before or while it waited.
    pub async fn send(&self, item: T) -> Result<(), T> {
        let (mut item, mut entry) = (Some(item), Entry::new(&self.0));
        poll_fn(|cx| entry.poll(&mut item, cx)).await
    }

    /// Send an item, if there is room for it now.
    ///
    /// ```
    /// use velodrome::sync::mpsc::{self, TrySendError};
    ///
    /// let (sender, receiver) = mpsc::bounded(1);
    /// sender.try_send("first").unwrap();
    /// assert_eq!(sender.try_send("second"), Err(TrySendError::Full("second")));
    /// drop(receiver);
    /// assert_eq!(sender.try_send("third"), Err(TrySendError::Closed("third")));
    /// ```
    ///
    /// # Errors
    /// The item: if there is no room, or others wait for it; if the receiver was dropped.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(item)
    }

    /// Send an item, and let this thread wait until there is room for it. On a thread on which a loop runs it does not wait,
    /// and is [`try_send`](Self::try_send): that loop may be the one that is to receive.
    ///
    /// ```
    /// let (sender, mut receiver) = velodrome::sync::mpsc::bounded(1);
    /// let thread = std::thread::spawn(move || (sender.blocking_send(1), sender.blocking_send(2)));
    /// assert_eq!(velodrome::run(async { (receiver.receive().await, receiver.receive().await) })?, (Some(1), Some(2)));
    /// assert_eq!(thread.join().unwrap(), (Ok(()), Ok(())));
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// The item: if the receiver was dropped, before or while it waited; if there is no room, where a loop runs.
    pub fn blocking_send(&self, item: T) -> Result<(), TrySendError<T>> {
        match self.try_send(item) {
            Err(TrySendError::Full(item)) => self.wait_to_send(item),
            sent => sent,
        }
    }

    fn wait_to_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let (mut item, mut entry) = (Some(item), Entry::new(&self.0));
        match parking::block_on(poll_fn(|cx| entry.poll(&mut item, cx))) {
            Ok(sent) => sent.map_err(TrySendError::Closed),
            // A loop runs here: the item was not looked at.
            Err(_) => item.map_or(Ok(()), |item| Err(TrySendError::Full(item))),
        }
    }

    /// Whether the receiver was dropped.
    ///
    /// ```
    /// let (sender, receiver) = velodrome::sync::mpsc::bounded::<u8>(1);
    /// drop(receiver);
    /// assert!(sender.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<T> Clone for BoundedSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for BoundedSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSender").field("closed", &self.is_closed()).finish()
    }
}

/// Why [`BoundedSender::try_send`] did not send its item, with the item.
///
/// ```
/// use velodrome::sync::mpsc::{self, TrySendError};
///
/// let (sender, _receiver) = mpsc::bounded(1);
/// match sender.try_send(7) {
///     Ok(()) => println!("on its way"),
///     Err(TrySendError::Full(item)) => println!("{item} has to wait"),
///     Err(TrySendError::Closed(item)) => println!("nobody wants {item}"),
/// }
/// ```
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room now, or others wait for it.
    Full(T),
    /// The receiver was dropped.
    Closed(T),
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the channel is full"),
            Self::Closed(_) => Closed.fmt(f),
        }
    }
}

impl<T> std::error::Error for TrySendError<T> {}
