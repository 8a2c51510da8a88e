//! Going on together.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::line::{Line, Place};

/// Where tasks wait until so many have come, and then go on together; it can be used again at once: `asyncio.Barrier`.
///
/// There is nothing to `reset` or `abort`: who gives up has not come, and the others wait for somebody else.
///
/// ```
/// use std::rc::Rc;
/// use velodrome::sync::Barrier;
///
/// velodrome::run(async {
///     let ready = Rc::new(Barrier::new(3));
///     let workers = [(); 2].map(|()| {
///         let ready = Rc::clone(&ready);
///         velodrome::spawn(async move { ready.wait().await })
///     });
///     velodrome::yield_now().await;
///     assert_eq!(ready.waiting(), 2);
///     assert!(ready.wait().await, "the last to come");
///     for worker in workers {
///         assert!(!worker.await.unwrap());
///     }
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct Barrier {
    parties: usize,
    waiting: Cell<usize>,
    line: Line,
}

impl Barrier {
    /// A barrier for so many; one alone never waits, and nor does nobody.
    ///
    /// ```
    /// assert!(velodrome::run(velodrome::sync::Barrier::new(1).wait())?);
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn new(parties: usize) -> Self {
        Self { parties, waiting: Cell::new(0), line: Line::default() }
    }

    /// Wait until all have come. True for exactly one of them, the last to come: for what is to be done once.
    ///
    /// **Cancel safety**: may be dropped at any time; it has not come then, unless all had, who go on without it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// velodrome::run(async {
    ///     let barrier = velodrome::sync::Barrier::new(2);
    ///     assert!(velodrome::timeout(Duration::from_millis(1), barrier.wait()).await.is_err());
    ///     assert_eq!(barrier.waiting(), 0);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn wait(&self) -> BarrierWait<'_> {
        BarrierWait { barrier: self, place: Place::default() }
    }

    /// How many wait now: asyncio's `n_waiting`.
    ///
    /// ```
    /// assert_eq!(velodrome::sync::Barrier::new(2).waiting(), 0);
    /// ```
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// For how many it is.
    ///
    /// ```
    /// assert_eq!(velodrome::sync::Barrier::new(2).parties(), 2);
    /// ```
    #[must_use]
    pub fn parties(&self) -> usize {
        self.parties
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parties, waiting) = (&self.parties, &self.waiting);
        f.debug_struct("Barrier").field("parties", parties).field("waiting", waiting).finish_non_exhaustive()
    }
}

/// What [`Barrier::wait`] returns.
///
/// ```
/// let barrier = velodrome::sync::Barrier::new(1);
/// let waiting: velodrome::sync::BarrierWait<'_> = barrier.wait();
/// assert!(velodrome::run(waiting)?);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct BarrierWait<'a> {
    barrier: &'a Barrier,
    place: Place,
}

impl Future for BarrierWait<'_> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let barrier = self.barrier;
        if self.place.is_taken() {
            return self.place.poll(&barrier.line, cx).map(|()| false);
        }
        let come = barrier.waiting.get() + 1;
        if come >= barrier.parties {
            // Who is woken may come again at once: that is the next time.
            barrier.waiting.set(0);
            barrier.line.serve_all();
            return Poll::Ready(true);
        }
        barrier.waiting.set(come);
        self.place.poll(&barrier.line, cx).map(|()| false)
    }
}

impl Drop for BarrierWait<'_> {
    fn drop(&mut self) {
        if self.place.is_taken() && !self.place.give_up(&self.barrier.line) {
            self.barrier.waiting.set(self.barrier.waiting.get() - 1);
        }
    }
}
