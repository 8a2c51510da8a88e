//! Waiting for time to pass, and for something else no longer than that.

mod alarm;
mod elsewhere;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) use self::alarm::Alarm;
use self::elsewhere::Elsewhere;
use crate::local;

/// Wait for `duration`: `asyncio.sleep`. It counts from the first poll, and never ends early.
///
/// Dropping it takes the timer back. Polled where no Velodrome loop runs, by another executor, it is kept by a thread
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

/// What [`sleep`] returns.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Sleep(State);

#[derive(Debug)]
enum State {
    New(Duration),
    Here(Alarm),
    Elsewhere(Elsewhere),
    Over,
}

impl State {
    fn begin(duration: Duration) -> Self {
        match local::current() {
            Some(local) => Self::Here(Alarm::after(local.hub(), duration)),
            None => Self::Elsewhere(Elsewhere::begin(duration)),
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Self::Here(alarm) => alarm.poll(cx),
            Self::Elsewhere(thread) => thread.poll(cx),
            Self::New(_) | Self::Over => Poll::Ready(()),
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let State::New(duration) = self.0 {
            self.0 = State::begin(duration);
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
    let (mut future, mut limit) = (pin!(future), sleep(duration));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| Err(Elapsed(duration))),
    })
    .await
}

/// Time was up before a [`timeout`]'s future was done. As an `io::Error` its kind is `TimedOut`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Elapsed(Duration);

impl Elapsed {
    /// How long it was waited.
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
