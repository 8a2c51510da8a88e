//! The kernel as it is: no faults without the feature `instruments`.

use rustix::io::Result;

/// Lets the call be made.
#[inline]
pub(super) const fn interrupt() -> Result<()> {
    Ok(())
}

/// As much as was asked for.
#[inline]
pub(super) const fn length(asked: usize) -> usize {
    asked
}
