//! Queues between tasks: first in first out, last in first out, or the smallest first.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::line::{Line, Place};
use super::shelf::{Fifo, Lifo, Priority, Shelf};

/// Items that some tasks put and others get: `asyncio.Queue`.
///
/// It stays on its thread, with any number of tasks at both ends; share it by `Rc` or by reference. With a capacity
/// (0 is none) [`put`](Self::put) waits while the queue is full. Whoever waits longest is served first, at both ends:
/// an item belongs to the one who waited for it from the moment in which it is put, and nobody who comes later takes it
/// away.
///
/// ```
/// use std::rc::Rc;
/// use velodrome::sync::Queue;
///
/// velodrome::run(async {
///     let queue = Rc::new(Queue::new(10));
///     let work = Rc::clone(&queue);
///     let worker = velodrome::spawn(async move {
///         while let Ok(item) = work.get().await {
///             println!("working on {item}");
///             work.task_done();
///         }
///     });
///     for item in 0..20 {
///         queue.put(item).await.unwrap();
///     }
///     queue.join().await;
///     queue.shutdown();
///     worker.await.unwrap();
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct Queue<T, S: Shelf<T> = Fifo<T>> {
    items: RefCell<S>,
    capacity: usize,
    getters: Line,
    /// Items that belong to getters who have not run since.
    promised: Cell<usize>,
    putters: Line,
    /// Room that belongs to putters who have not run since.
    reserved: Cell<usize>,
    unfinished: Cell<usize>,
    joiners: Line,
    shut: Cell<bool>,
    item: std::marker::PhantomData<T>,
}

/// The last item that was put comes first: `asyncio.LifoQueue`; see [`Queue::lifo`].
///
/// ```
/// let queue: velodrome::sync::LifoQueue<u8> = velodrome::sync::Queue::lifo(0);
/// ```
pub type LifoQueue<T> = Queue<T, Lifo<T>>;

/// The smallest item comes first: `asyncio.PriorityQueue`; see [`Queue::priority`].
///
/// ```
/// let queue: velodrome::sync::PriorityQueue<u8> = velodrome::sync::Queue::priority(0);
/// ```
pub type PriorityQueue<T> = Queue<T, Priority<T>>;

impl<T> Queue<T> {
    /// First in, first out, and no more than `capacity` items; as many as there are, if that is 0.
    ///
    /// ```
    /// let queue = velodrome::sync::Queue::new(1);
    /// queue.put_nowait("first").unwrap();
    /// assert!(queue.put_nowait("second").is_err(), "it is full");
    /// ```
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::with(capacity)
    }
}

impl<T> LifoQueue<T> {
    /// Last in, first out.
    ///
    /// ```
    /// let queue = velodrome::sync::Queue::lifo(0);
    /// queue.put_nowait(1).unwrap();
    /// queue.put_nowait(2).unwrap();
    /// assert_eq!(queue.get_nowait(), Ok(2));
    /// ```
    #[must_use]
    pub fn lifo(capacity: usize) -> Self {
        Self::with(capacity)
    }
}

impl<T: Ord> PriorityQueue<T> {
    /// The smallest first; among equals any.
    ///
    /// ```
    /// let queue = velodrome::sync::Queue::priority(0);
    /// for item in [(2, "later"), (1, "now")] {
    ///     queue.put_nowait(item).unwrap();
    /// }
    /// assert_eq!(queue.get_nowait(), Ok((1, "now")));
    /// ```
    #[must_use]
    pub fn priority(capacity: usize) -> Self {
        Self::with(capacity)
    }
}

impl<T, S: Shelf<T>> Queue<T, S> {
    fn with(capacity: usize) -> Self {
        Self {
            items: RefCell::default(),
            capacity: if capacity == 0 { usize::MAX } else { capacity },
            getters: Line::default(),
            promised: Cell::new(0),
            putters: Line::default(),
            reserved: Cell::new(0),
            unfinished: Cell::new(0),
            joiners: Line::default(),
            shut: Cell::new(false),
            item: std::marker::PhantomData,
        }
    }

    /// Put an item in, as soon as there is room.
    ///
    /// **Cancel safety**: may be dropped at any time. The item is dropped with it, and never in the queue then; room
    /// that had been kept for it goes to the next.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let queue = velodrome::sync::Queue::new(1);
    ///     queue.put("hello").await.unwrap();
    ///     assert_eq!(queue.get().await, Ok("hello"));
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// [`PutError::ShutDown`], with the item, if the queue [is shut down](Self::shutdown).
    pub fn put(&self, item: T) -> Put<'_, T, S> {
        Put { queue: self, item: Some(item), place: Place::default() }
    }

    /// Take an item out, as soon as there is one.
    ///
    /// **Cancel safety**: may be dropped at any time. An item that was meant for it goes to the next, or stays.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let queue = velodrome::sync::Queue::<u8>::new(0);
    ///     queue.shutdown();
    ///     assert_eq!(queue.get().await, Err(velodrome::sync::GetError::ShutDown));
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// [`GetError::ShutDown`], if the queue is shut down and empty.
    pub fn get(&self) -> Get<'_, T, S> {
        Get { queue: self, place: Place::default() }
    }

    /// Put an item in, if there is room now.
    ///
    /// ```
    /// let queue = velodrome::sync::Queue::new(1);
    /// queue.put_nowait(1).unwrap();
    /// assert_eq!(queue.put_nowait(2).unwrap_err().into_item(), 2);
    /// ```
    ///
    /// # Errors
    /// [`PutError::Full`] or [`PutError::ShutDown`], with the item.
    pub fn put_nowait(&self, item: T) -> Result<(), PutError<T>> {
        if self.shut.get() {
            Err(PutError::ShutDown(item))
        } else if self.has_room() {
            self.add(item);
            Ok(())
        } else {
            Err(PutError::Full(item))
        }
    }

    /// Take an item out, if there is one that is meant for nobody else.
    ///
    /// ```
    /// let queue = velodrome::sync::Queue::<u8>::new(0);
    /// assert_eq!(queue.get_nowait(), Err(velodrome::sync::GetError::Empty));
    /// ```
    ///
    /// # Errors
    /// [`GetError::Empty`], or [`GetError::ShutDown`] if there will never be one.
    pub fn get_nowait(&self) -> Result<T, GetError> {
        if self.len() > self.promised.get()
            && let Some(item) = self.remove()
        {
            return Ok(item);
        }
        Err(if self.shut.get() { GetError::ShutDown } else { GetError::Empty })
    }

    /// How many items are in it.
    ///
    /// ```
    /// assert_eq!(velodrome::sync::Queue::<u8>::new(0).len(), 0);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.borrow().len()
    }

    /// Whether there is none.
    ///
    /// ```
    /// assert!(velodrome::sync::Queue::<u8>::new(0).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room.
    ///
    /// ```
    /// assert!(!velodrome::sync::Queue::<u8>::new(0).is_full());
    /// ```
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.has_room()
    }

    /// Say that an item that was got is dealt with, so that [`join`](Self::join) need not wait for it any more. False
    /// if that was said of all of them already.
    ///
    /// ```
    /// let queue = velodrome::sync::Queue::new(0);
    /// queue.put_nowait(1).unwrap();
    /// queue.get_nowait().unwrap();
    /// assert!(queue.task_done() && !queue.task_done());
    /// ```
    pub fn task_done(&self) -> bool {
        let unfinished = self.unfinished.get();
        self.finish(unfinished.min(1));
        unfinished > 0
    }

    /// Wait until every item that was put is [done](Self::task_done).
    ///
    /// **Cancel safety**: may be dropped at any time.
    ///
    /// ```
    /// velodrome::run(velodrome::sync::Queue::<u8>::new(0).join())?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn join(&self) {
        while self.unfinished.get() > 0 {
            let mut waiting = Joining { line: &self.joiners, place: Place::default() };
            poll_fn(|cx| waiting.place.poll(waiting.line, cx)).await;
        }
    }

    /// Let nothing more in: `Queue.shutdown()` of Python 3.13. What is in it can still be got; who waits in vain gets an
    /// error.
    ///
    /// ```
    /// let queue = velodrome::sync::Queue::new(0);
    /// queue.put_nowait(1).unwrap();
    /// queue.shutdown();
    /// assert!(queue.put_nowait(2).is_err());
    /// assert_eq!(queue.get_nowait(), Ok(1));
    /// ```
    pub fn shutdown(&self) {
        self.shut.set(true);
        self.putters.dismiss_all();
        self.getters.dismiss_all();
    }

    /// As [`shutdown`](Self::shutdown), and what is in it comes back: it counts as [done](Self::task_done). This is
    /// `Queue.shutdown(immediate=True)`.
    ///
    /// ```
    /// let queue = velodrome::sync::Queue::new(0);
    /// queue.put_nowait(1).unwrap();
    /// assert_eq!(queue.shutdown_now(), [1]);
    /// ```
    pub fn shutdown_now(&self) -> Vec<T> {
        self.shutdown();
        let items: Vec<T> = std::iter::from_fn(|| self.items.borrow_mut().pop()).collect();
        self.promised.set(0);
        self.finish(items.len());
        items
    }

    fn finish(&self, count: usize) {
        self.unfinished.set(self.unfinished.get().saturating_sub(count));
        if self.unfinished.get() == 0 && count > 0 {
            self.joiners.serve_all();
        }
    }

    fn has_room(&self) -> bool {
        self.len().saturating_add(self.reserved.get()) < self.capacity
    }

    fn add(&self, item: T) {
        self.items.borrow_mut().push(item);
        self.unfinished.set(self.unfinished.get() + 1);
        self.promise();
    }

    /// An item is nobody's: it is for the first who waits.
    fn promise(&self) {
        if self.len() > self.promised.get() && self.getters.serve_first() {
            self.promised.set(self.promised.get() + 1);
        }
    }

    fn remove(&self) -> Option<T> {
        let item = self.items.borrow_mut().pop();
        self.reserve();
        item
    }

    /// There may be room: it is for the first who waits.
    fn reserve(&self) {
        if self.has_room() && self.putters.serve_first() {
            self.reserved.set(self.reserved.get() + 1);
        }
    }

    /// Wait for an item, or for the end.
    fn wait(&self, place: &mut Place, cx: &Context<'_>) -> Poll<Result<T, GetError>> {
        place.poll_served(&self.getters, cx).map(|served| {
            if !served {
                // One that was given up meanwhile is left to whoever comes.
                return self.get_nowait();
            }
            self.break_promise();
            self.remove().ok_or(GetError::ShutDown)
        })
    }

    /// A getter who was served takes its item, or leaves it. After [`Self::shutdown_now`] there is none.
    fn break_promise(&self) {
        self.promised.set(self.promised.get().saturating_sub(1));
    }

    fn is_over(&self) -> bool {
        self.shut.get() && self.len() <= self.promised.get()
    }
}

impl<T, S: Shelf<T>> fmt::Debug for Queue<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, shut) = (self.len(), &self.shut);
        f.debug_struct("Queue").field("len", &len).field("shut_down", shut).finish_non_exhaustive()
    }
}

/// What [`Queue::get`] returns.
///
/// ```
/// let queue = velodrome::sync::Queue::new(0);
/// let getting: velodrome::sync::Get<'_, _, _> = queue.get();
/// queue.put_nowait(7).unwrap();
/// assert_eq!(velodrome::run(getting)?, Ok(7));
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct Get<'a, T, S: Shelf<T>> {
    queue: &'a Queue<T, S>,
    place: Place,
}

impl<T, S: Shelf<T>> Future for Get<'_, T, S> {
    type Output = Result<T, GetError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let queue = self.queue;
        if self.place.is_taken() {
            return queue.wait(&mut self.place, cx);
        }
        match queue.get_nowait() {
            Err(GetError::Empty) => queue.wait(&mut self.place, cx),
            result => Poll::Ready(result),
        }
    }
}

impl<T, S: Shelf<T>> Drop for Get<'_, T, S> {
    fn drop(&mut self) {
        if self.place.give_up(&self.queue.getters) {
            self.queue.break_promise();
            self.queue.promise();
        }
    }
}

impl<T, S: Shelf<T>> fmt::Debug for Get<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("over", &self.queue.is_over()).finish_non_exhaustive()
    }
}

/// What [`Queue::put`] returns.
///
/// ```
/// let queue = velodrome::sync::Queue::new(1);
/// let putting: velodrome::sync::Put<'_, _, _> = queue.put(7);
/// assert!(velodrome::run(putting)?.is_ok());
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct Put<'a, T, S: Shelf<T>> {
    queue: &'a Queue<T, S>,
    /// None once it is in the queue, or given back.
    item: Option<T>,
    place: Place,
}

/// The item is moved in and out and never pinned.
impl<T, S: Shelf<T>> Unpin for Put<'_, T, S> {}

impl<T, S: Shelf<T>> Put<'_, T, S> {
    fn wait(&mut self, cx: &Context<'_>) -> Poll<()> {
        let queue = self.queue;
        self.place.poll_served(&queue.putters, cx).map(|served| {
            // Who was sent away by a shutdown had none.
            queue.reserved.set(queue.reserved.get().saturating_sub(usize::from(served)));
        })
    }
}

impl<T, S: Shelf<T>> Future for Put<'_, T, S> {
    type Output = Result<(), PutError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.place.is_taken() && self.wait(cx).is_pending() {
            return Poll::Pending;
        }
        let Some(item) = self.item.take() else { return Poll::Pending };
        match self.queue.put_nowait(item) {
            Err(PutError::Full(item)) => {
                self.item = Some(item);
                self.wait(cx).map(|()| Ok(()))
            }
            result => Poll::Ready(result),
        }
    }
}

impl<T, S: Shelf<T>> Drop for Put<'_, T, S> {
    fn drop(&mut self) {
        if self.place.give_up(&self.queue.putters) {
            self.queue.reserved.set(self.queue.reserved.get().saturating_sub(1));
            self.queue.reserve();
        }
    }
}

impl<T, S: Shelf<T>> fmt::Debug for Put<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").field("done", &self.item.is_none()).finish_non_exhaustive()
    }
}

struct Joining<'a> {
    line: &'a Line,
    place: Place,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        // All were served, so there is nobody to pass it on to.
        let _ = self.place.give_up(self.line);
    }
}

/// Why there was no item.
///
/// ```
/// use velodrome::sync::{GetError, Queue};
/// let error = Queue::<u8>::new(0).get_nowait().unwrap_err();
/// assert_eq!(error, GetError::Empty);
/// assert_eq!(error.to_string(), "the queue is empty: await get() to wait for an item");
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum GetError {
    /// There is none now that is meant for nobody else.
    Empty,
    /// There is none, and will be none: the queue was shut down.
    ShutDown,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty: await get() to wait for an item",
            Self::ShutDown => "the queue was shut down, and nothing is left in it",
        })
    }
}

impl std::error::Error for GetError {}

/// Why an item was not put; it is in here.
///
/// ```
/// use velodrome::sync::{PutError, Queue};
/// let queue = Queue::new(0);
/// queue.shutdown();
/// let error = queue.put_nowait(7).unwrap_err();
/// assert_eq!(error, PutError::ShutDown(7));
/// assert_eq!(error.to_string(), "the queue was shut down and takes nothing more");
/// ```
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum PutError<T> {
    /// There is no room now.
    Full(T),
    /// The queue was shut down.
    ShutDown(T),
}

impl<T> PutError<T> {
    /// The item.
    ///
    /// ```
    /// assert_eq!(velodrome::sync::PutError::Full(7).into_item(), 7);
    /// ```
    pub fn into_item(self) -> T {
        match self {
            Self::Full(item) | Self::ShutDown(item) => item,
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full: await put() to wait for room",
            Self::ShutDown(_) => "the queue was shut down and takes nothing more",
        })
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::ShutDown(_) => "ShutDown(..)",
        })
    }
}

impl<T> std::error::Error for PutError<T> {}
