//! A point in time of the loop's clock.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use velodrome_engine::clock::Clock;

use crate::local;

/// A point in time, on the clock of the loop that runs here: `loop.time()`. Where none runs it is the system's monotonic
/// clock, which a loop has too unless it was built with another.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{Instant, sleep};
///
/// velodrome::run(async {
///     let begin = Instant::now();
///     sleep(Duration::from_millis(2)).await;
///     assert!(begin.elapsed() >= Duration::from_millis(2));
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    ///
    /// ```
    /// use velodrome::Instant;
    /// assert!(Instant::now() <= Instant::now());
    /// ```
    #[must_use]
    pub fn now() -> Self {
        Self(local::current().map_or_else(|| Clock::monotonic().now(), |local| local.hub().clock.now()))
    }

    /// How long ago it was; zero, if it is to come.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::Instant;
    /// assert_eq!((Instant::now() + Duration::from_secs(9)).elapsed(), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now() - *self
    }

    /// How long after `earlier` it is; zero, if it is before. The same as `-`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::Instant;
    /// let (now, wait) = (Instant::now(), Duration::from_secs(9));
    /// assert_eq!((now + wait).duration_since(now), wait);
    /// assert_eq!(now.duration_since(now + wait), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn duration_since(&self, earlier: Self) -> Duration {
        *self - earlier
    }

    /// So long after, unless that is beyond the clock's time, at whose end `+` stops.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::Instant;
    /// let now = Instant::now();
    /// assert_eq!(now.checked_add(Duration::from_secs(1)), Some(now + Duration::from_secs(1)));
    /// assert_eq!(now.checked_add(Duration::MAX), None);
    /// ```
    #[must_use]
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }

    /// So long before, unless that is before the clock's time, at whose beginning `-` stops.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::Instant;
    /// let now = Instant::now();
    /// assert_eq!((now + Duration::from_secs(1)).checked_sub(Duration::from_secs(1)), Some(now));
    /// assert_eq!(now.checked_sub(Duration::MAX), None);
    /// ```
    #[must_use]
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_sub(nanos).map(Self)
    }

    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) fn nanos(self) -> u64 {
        self.0
    }
}

/// It ends with the clock's time, in 584 years.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// It begins with the clock's time.
impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

/// How long after the other it is; zero, if it is before.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({:?})", Duration::from_nanos(self.0))
    }
}

/// A duration as the clock counts.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
