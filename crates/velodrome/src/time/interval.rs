//! Something to be done again and again.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::instant::Instant;
use super::{Sleep, sleep_until};

/// Ticks, `period` apart, of which the first comes at once.
///
/// ```
/// use std::time::Duration;
/// use velodrome::interval;
///
/// velodrome::run(async {
///     let mut ticks = interval(Duration::from_millis(2));
///     let first = ticks.tick().await;
///     let third = { ticks.tick().await; ticks.tick().await };
///     assert_eq!(third - first, Duration::from_millis(4));
/// })?;
/// # std::io::Result::Ok(())
/// ```
///
/// A period of zero ticks as often as it is asked, and gives way each time.
pub fn interval(period: Duration) -> Interval {
    Interval { period, next: None, sleep: None, missed: MissedTicks::Burst }
}

/// Ticks, `period` apart, of which the first comes at `start`; otherwise as [`interval`].
///
/// ```
/// use std::time::Duration;
/// use velodrome::{Instant, interval_at};
///
/// velodrome::run(async {
///     let start = Instant::now() + Duration::from_millis(2);
///     let mut ticks = interval_at(start, Duration::from_secs(1));
///     assert_eq!(ticks.tick().await, start);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    Interval { next: Some(start), ..interval(period) }
}

/// What [`interval`] and [`interval_at`] return.
///
/// ```
/// velodrome::run(async {
///     let mut heartbeat = velodrome::interval(std::time::Duration::from_millis(1));
///     for _ in 0..3 {
///         heartbeat.tick().await;
///     }
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "it ticks only when tick() is awaited"]
pub struct Interval {
    period: Duration,
    /// None until the first tick is awaited.
    next: Option<Instant>,
    sleep: Option<Sleep>,
    missed: MissedTicks,
}

/// What an [`Interval`] does about ticks that nobody awaited in time.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{MissedTicks, interval};
///
/// let polite = interval(Duration::from_secs(1)).on_missed(MissedTicks::Delay);
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum MissedTicks {
    /// They come at once, one after the other, until it has caught up: no tick is lost.
    #[default]
    Burst,
    /// They are left out: the next tick comes at a multiple of the period.
    Skip,
    /// The next tick comes a period after the late one: no two are closer than that.
    Delay,
}

impl Interval {
    /// Wait for the next tick; gives when it was due.
    ///
    /// **Cancel safety**: may be dropped at any time; the tick is the next one's then.
    ///
    /// ```
    /// velodrome::run(async {
    ///     velodrome::interval(std::time::Duration::from_secs(1)).tick().await;
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Do this about ticks that were missed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::{MissedTicks, interval};
    /// let ticks = interval(Duration::from_secs(1)).on_missed(MissedTicks::Skip);
    /// ```
    pub fn on_missed(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// Let the next tick come a period from now.
    ///
    /// ```
    /// use std::time::Duration;
    /// velodrome::run(async {
    ///     let (begin, mut ticks) = (velodrome::Instant::now(), velodrome::interval(Duration::from_millis(2)));
    ///     ticks.reset();
    ///     assert!(ticks.tick().await - begin >= Duration::from_millis(2));
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reset(&mut self) {
        self.reset_at(Instant::now() + self.period);
    }

    /// Let the next tick come at `deadline`, and those behind it a period apart from there.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::Instant;
    /// velodrome::run(async {
    ///     let mut ticks = velodrome::interval(Duration::from_secs(3600));
    ///     let soon = Instant::now() + Duration::from_millis(1);
    ///     ticks.reset_at(soon);
    ///     assert_eq!(ticks.tick().await, soon);
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reset_at(&mut self, deadline: Instant) {
        (self.next, self.sleep) = (Some(deadline), None);
    }

    /// How far apart the ticks are.
    ///
    /// ```
    /// use std::time::Duration;
    /// assert_eq!(velodrome::interval(Duration::from_secs(1)).period(), Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Wait for the next tick as [`tick`](Self::tick) does, by poll. Only the last task that polls is woken.
    ///
    /// ```
    /// use std::time::Duration;
    /// velodrome::run(async {
    ///     let mut ticks = velodrome::interval(Duration::from_millis(1));
    ///     std::future::poll_fn(|cx| ticks.poll_tick(cx)).await;
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        let due = *self.next.get_or_insert_with(Instant::now);
        let sleep = self.sleep.get_or_insert_with(|| sleep_until(due));
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        (self.sleep, self.next) = (None, Some(self.after(due)));
        Poll::Ready(due)
    }

    fn after(&self, due: Instant) -> Instant {
        let (now, next) = (Instant::now(), due + self.period);
        match self.missed {
            MissedTicks::Burst => next,
            MissedTicks::Delay if next < now => now + self.period,
            MissedTicks::Skip if next < now && !self.period.is_zero() => {
                let late = (now - due).as_nanos() % self.period.as_nanos();
                // The remainder is smaller than the period, so this is a moment to come.
                now + self.period - Duration::from_nanos(late as u64)
            }
            _ => next,
        }
    }
}
