//! A time-out that what it limits can move.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::instant::Instant;
use super::{Elapsed, Sleep, sleep_until};

/// Run `body` for `duration` at most, unless it says otherwise on the way: `async with asyncio.timeout(…) as limit`, with
/// `limit.reschedule`. If it is not done by then, it is dropped. Where nothing is moved, [`timeout`](crate::timeout()) does.
///
/// **Cancel safety**: dropping it drops what `body` does; it is as safe as that.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{Instant, sleep, timeout_scope};
///
/// const PATIENCE: Duration = Duration::from_millis(50);
///
/// velodrome::run(async {
///     // Each piece has that long, however many there are.
///     let pieces = timeout_scope(PATIENCE, async |limit| {
///         for _piece in 0..3 {
///             sleep(PATIENCE / 2).await;
///             limit.reschedule(Some(Instant::now() + PATIENCE));
///         }
///     });
///     assert!(pieces.await.is_ok());
/// })?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// [`Elapsed`] if time was up; it says how long it was waited.
pub async fn timeout_scope<T, B>(duration: Duration, body: B) -> Result<T, Elapsed>
where
    B: AsyncFnOnce(&Timeout) -> T,
{
    let begin = Instant::now();
    let limit = Timeout { when: Cell::new(Some(begin + duration)), moved: Cell::new(true) };
    let (mut body, mut sleep) = (pin!(body(&limit)), None::<Sleep>);
    let output = poll_fn(|cx| {
        if let Poll::Ready(output) = body.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if limit.moved.take() {
            sleep = limit.when.get().map(sleep_until);
        }
        sleep.as_mut().map_or(Poll::Pending, |sleep| Pin::new(sleep).poll(cx).map(|()| None))
    });
    output.await.ok_or_else(|| Elapsed(begin.elapsed()))
}

/// When a [`timeout_scope`] ends, as its body sees it: `asyncio.Timeout`.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{Timeout, timeout_scope};
///
/// /// What takes its time once it has begun.
/// fn commit(limit: &Timeout) {
///     limit.reschedule(None);
/// }
/// velodrome::run(timeout_scope(Duration::from_millis(1), async |limit| commit(limit)))?.unwrap();
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Timeout {
    when: Cell<Option<Instant>>,
    /// It was set since the timer was.
    moved: Cell<bool>,
}

impl Timeout {
    /// When time is up; none for never.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use velodrome::{Instant, timeout_scope};
    /// # velodrome::run(timeout_scope(Duration::from_secs(9), async |limit| {
    /// assert!(limit.when().unwrap() > Instant::now());
    /// # }))?.unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn when(&self) -> Option<Instant> {
        self.when.get()
    }

    /// Let time be up then, or never.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use velodrome::{Instant, timeout_scope};
    /// # let late = velodrome::run(timeout_scope(Duration::from_secs(3600), async |limit| {
    /// limit.reschedule(Some(Instant::now()));
    /// # std::future::pending::<()>().await
    /// # }))?;
    /// # assert!(late.is_err());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reschedule(&self, when: Option<Instant>) {
        self.when.set(when);
        self.moved.set(true);
    }
}
