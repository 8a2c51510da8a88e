//! Waiting for time to pass, and for something else no longer than that.

mod alarm;
mod elsewhere;
pub(crate) mod instant;
pub(crate) mod interval;
pub(crate) mod scope;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) use self::alarm::Alarm;
use self::elsewhere::Elsewhere;
use self::instant::Instant;
use crate::local;

/// Wait for `duration`: `asyncio.sleep`. It counts from the first poll, and never ends early.
///
/// **Cancel safety**: may be dropped at any time, which takes the timer back. Where more than a thousand timers wait, it
/// may end a millisecond late, as any of tokio's may; else as late as the kernel wakes.
///
/// Polled where no Velodrome loop runs, by another executor, it is kept by a thread
/// of its own.
///
/// ```
/// use std::time::Duration;
/// velodrome::run(velodrome::sleep(Duration::from_millis(1)))?;
/// # std::io::Result::Ok(())
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep(State::New(duration))
}

/// Wait until `deadline`.
///
/// **Cancel safety**: as [`sleep`]. Polled where no Velodrome loop runs, it is kept by a thread of its own.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{Instant, sleep_until};
///
/// velodrome::run(async {
///     let deadline = Instant::now() + Duration::from_millis(1);
///     sleep_until(deadline).await;
///     assert!(Instant::now() >= deadline);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep(State::Until(deadline))
}

/// What [`sleep`] and [`sleep_until`] return.
///
/// ```
/// use std::time::Duration;
///
/// let mut nap: velodrome::Sleep = velodrome::sleep(Duration::from_millis(1));
/// velodrome::run(&mut nap)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Sleep(State);

#[derive(Debug)]
enum State {
    New(Duration),
    Until(Instant),
    Here(Alarm),
    Elsewhere(Elsewhere),
    Over,
}

impl Sleep {
    /// Let it end at another time, whether or not it has begun, or is over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::{Instant, sleep};
    ///
    /// velodrome::run(async {
    ///     let mut nap = sleep(Duration::from_secs(3600));
    ///     nap.reset(Instant::now());
    ///     nap.await;
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        self.0 = State::Until(deadline);
    }

    /// When it ends, if that is known: a [`sleep`] counts from its first poll.
    ///
    /// ```
    /// use velodrome::{Instant, sleep_until};
    /// let now = Instant::now();
    /// assert_eq!(sleep_until(now).deadline(), Some(now));
    /// ```
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.0 {
            State::Until(deadline) => Some(*deadline),
            State::Here(alarm) => Some(Instant::from_nanos(alarm.deadline())),
            State::New(_) | State::Elsewhere(_) | State::Over => None,
        }
    }
}

impl State {
    fn begin(duration: Duration) -> Self {
        match local::current() {
            Some(local) => Self::Here(Alarm::after(local.hub(), duration)),
            None => Self::Elsewhere(Elsewhere::begin(duration)),
        }
    }

    fn begin_until(deadline: Instant) -> Self {
        match local::current() {
            Some(local) => Self::Here(Alarm::at(local.hub(), deadline.nanos())),
            None => Self::Elsewhere(Elsewhere::begin(deadline - Instant::now())),
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Self::Here(alarm) => alarm.poll(cx),
            Self::Elsewhere(thread) => thread.poll(cx),
            Self::New(_) | Self::Until(_) | Self::Over => Poll::Ready(()),
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0 {
            State::New(duration) => self.0 = State::begin(duration),
            State::Until(deadline) => self.0 = State::begin_until(deadline),
            _ => {}
        }
        let poll = self.0.poll(cx);
        if poll.is_ready() {
            self.0 = State::Over;
        }
        poll
    }
}

/// Await `future` for `duration` at most: `asyncio.wait_for`. If it is not done by then, it is dropped. A future that
/// is done just when time is up has its output returned.
///
/// **Cancel safety**: dropping it drops `future`; it is as safe as that.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{sleep, timeout};
///
/// velodrome::run(async {
///     let in_time = timeout(Duration::from_secs(60), async { 7 }).await;
///     assert_eq!(in_time.unwrap(), 7);
///     let late = timeout(Duration::from_millis(1), sleep(Duration::from_secs(60))).await;
///     assert_eq!(late.unwrap_err().to_string(), "timed out after 1ms");
/// })?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// [`Elapsed`] if time was up.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    limited(sleep(duration), future).await.ok_or(Elapsed(duration))
}

/// Await `future` until `deadline` at most: `asyncio.timeout_at`. Otherwise as [`timeout`].
///
/// **Cancel safety**: as [`timeout`].
///
/// ```
/// use std::time::Duration;
/// use velodrome::{Instant, sleep, timeout_at};
///
/// velodrome::run(async {
///     let deadline = Instant::now() + Duration::from_millis(1);
///     assert!(timeout_at(deadline, sleep(Duration::from_secs(60))).await.is_err());
/// })?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// [`Elapsed`] if time was up; it says how long it was waited.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let begin = Instant::now();
    limited(sleep_until(deadline), future).await.ok_or_else(|| Elapsed(begin.elapsed()))
}

async fn limited<F: Future>(mut limit: Sleep, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| None),
    })
    .await
}

/// Time was up before a [`timeout`]'s future was done. As an `io::Error` its kind is `TimedOut`.
///
/// ```
/// use std::time::Duration;
///
/// velodrome::run(async {
///     let never = std::future::pending::<()>();
///     let elapsed = velodrome::timeout(Duration::from_millis(1), never).await.unwrap_err();
///     assert_eq!(std::io::Error::from(elapsed).kind(), std::io::ErrorKind::TimedOut);
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Elapsed(Duration);

impl Elapsed {
    /// How long it was waited.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// velodrome::run(async {
    ///     let never = std::future::pending::<()>();
    ///     let elapsed = velodrome::timeout(Duration::from_millis(1), never).await.unwrap_err();
    ///     assert_eq!(elapsed.after(), Duration::from_millis(1));
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn after(&self) -> Duration {
        self.0
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.0)
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(error: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, error)
    }
}
