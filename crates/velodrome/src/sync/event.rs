//! A flag that tasks wait for.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::line::{Line, Place};

/// A flag that is set once or cleared and set again, and that any number of tasks wait for: `asyncio.Event`.
///
/// It stays on its thread; share it by `Rc` or by reference.
///
/// ```
/// use std::rc::Rc;
/// use velodrome::sync::Event;
///
/// velodrome::run(async {
///     let started = Rc::new(Event::new());
///     let waits = Rc::clone(&started);
///     let task = velodrome::spawn(async move { waits.wait().await });
///     started.set();
///     task.await.unwrap();
///     assert!(started.is_set());
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Default)]
pub struct Event {
    set: Cell<bool>,
    line: Line,
}

impl Event {
    /// An event that is not set.
    ///
    /// ```
    /// assert!(!velodrome::sync::Event::new().is_set());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it is set.
    ///
    /// ```
    /// let event = velodrome::sync::Event::new();
    /// assert!(!event.is_set());
    /// ```
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Set it, and wake all who wait. Who waits now is let through even if the event is cleared before its turn comes.
    ///
    /// ```
    /// let event = velodrome::sync::Event::new();
    /// event.set();
    /// assert!(event.is_set());
    /// ```
    pub fn set(&self) {
        if !self.set.replace(true) {
            self.line.serve_all();
        }
    }

    /// Clear it: who comes from now on waits for the next [`set`](Self::set).
    ///
    /// ```
    /// let event = velodrome::sync::Event::new();
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    pub fn clear(&self) {
        self.set.set(false);
    }

    /// Wait until it is set; at once, if it is.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is consumed.
    ///
    /// ```
    /// velodrome::run(async {
    ///     let event = velodrome::sync::Event::new();
    ///     event.set();
    ///     event.wait().await;
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn wait(&self) -> EventWait<'_> {
        EventWait { event: self, place: Place::default() }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.set).finish_non_exhaustive()
    }
}

/// What [`Event::wait`] returns.
///
/// ```
/// let event = velodrome::sync::Event::new();
/// let waiting: velodrome::sync::EventWait<'_> = event.wait();
/// event.set();
/// velodrome::run(waiting)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct EventWait<'a> {
    event: &'a Event,
    place: Place,
}

impl Future for EventWait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.place.is_taken() && self.event.is_set() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        this.place.poll(&this.event.line, cx)
    }
}

impl Drop for EventWait<'_> {
    fn drop(&mut self) {
        // All were served, so there is nobody to pass it on to.
        let _ = self.place.give_up(&self.event.line);
    }
}
