//! The words of the contract: what is watched for, what was found, for how long.

use std::io;

const READ: u8 = 1;
const WRITE: u8 = 2;
const ONCE: u8 = 4;
const MASK: usize = (READ | WRITE) as usize;

/// The most events one wait reports. More means fewer calls for a loop with thousands of busy sockets; the price is
/// the buffer, 12 bytes each. Today's number, not promised.
pub const MOST_EVENTS: usize = 1024;

/// The longest a wait lasts, in nanoseconds: 24 hours. The kernels' limits differ (`epoll_wait`: 24 days) and so do
/// their ways of overflowing; to wake once a day costs nothing, and no sum with this number comes near a limit.
pub const LONGEST_WAIT: u64 = 24 * 60 * 60 * 1_000_000_000;

/// What the caller knows a registration by; it should never be used twice.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub struct Key(pub u64);

impl Key {
    /// The key that no registration can have: the portable driver's own.
    pub const RESERVED: Self = Self(u64::MAX);

    pub(super) fn checked(self) -> io::Result<Self> {
        if self == Self::RESERVED {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the key u64::MAX is reserved"));
        }
        Ok(self)
    }
}

/// What a descriptor is watched for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct Interest(u8);

impl Interest {
    /// Nothing: the registration rests.
    pub const NONE: Self = Self(0);
    /// That a read would not block.
    pub const READ: Self = Self(READ);
    /// That a write would not block.
    pub const WRITE: Self = Self(WRITE);
    /// Either.
    pub const BOTH: Self = Self(READ | WRITE);
    /// That a bell is rung; each ring is told once where [`Driver::tells_rings_once`](super::Driver::tells_rings_once).
    pub const RING: Self = Self(READ | ONCE);

    /// Whether all of `other` is wanted.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both interests together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This interest, less `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is wanted.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The same bits as [`Readiness::bits`], so that the one masks the other.
    pub const fn bits(self) -> usize {
        self.0 as usize
    }
}

/// What a descriptor is ready for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A read would not block.
    pub const READ: Self = Self(READ);
    /// A write would not block.
    pub const WRITE: Self = Self(WRITE);
    /// Neither would block; also what a hang-up or an error looks like.
    pub const BOTH: Self = Self(READ | WRITE);

    /// Whether all of `other` is ready.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of this the interest asked for.
    #[must_use]
    pub const fn wanted_by(self, interest: Interest) -> Self {
        Self(self.0 & interest.0)
    }

    /// Whether nothing is ready.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// A number that fits into one word of a runnable.
    pub const fn bits(self) -> usize {
        self.0 as usize
    }

    /// The readiness that [`bits`](Self::bits) came from; bits without a meaning are dropped.
    pub const fn from_bits(bits: usize) -> Self {
        Self((bits & MASK) as u8)
    }
}

/// Something is ready.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The registration's key.
    pub key: Key,
    /// What for.
    pub readiness: Readiness,
}

/// How long to wait if nothing is ready.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Timeout {
    /// Not at all.
    Zero,
    /// This many nanoseconds.
    After(u64),
    /// Until something is.
    Never,
}

impl Timeout {
    pub(super) fn clamped(self) -> Self {
        match self {
            Self::After(0) => Self::Zero,
            Self::After(nanos) => Self::After(nanos.min(LONGEST_WAIT)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_is_a_set() {
        assert_eq!(Interest::READ.union(Interest::WRITE), Interest::BOTH);
        assert_eq!(Interest::BOTH.without(Interest::READ), Interest::WRITE);
        assert!(Interest::BOTH.contains(Interest::WRITE) && !Interest::READ.contains(Interest::BOTH));
        assert!(Interest::READ.without(Interest::BOTH).is_none() && Interest::READ.contains(Interest::NONE));
    }

    #[test]
    fn interest_masks_readiness() {
        assert_eq!(Readiness::BOTH.bits() & Interest::WRITE.bits(), Readiness::WRITE.bits());
        assert_eq!(Readiness::BOTH.wanted_by(Interest::READ), Readiness::READ);
        assert_eq!(Readiness::from_bits(usize::MAX), Readiness::BOTH);
        assert_eq!(Readiness::from_bits(Readiness::READ.bits()), Readiness::READ);
        assert!(Readiness::from_bits(4).is_none());
    }

    #[test]
    fn time_outs_stay_within_limits() {
        assert_eq!(Timeout::After(0).clamped(), Timeout::Zero);
        assert_eq!(Timeout::After(u64::MAX).clamped(), Timeout::After(LONGEST_WAIT));
        assert_eq!(Timeout::Never.clamped(), Timeout::Never);
    }
}
