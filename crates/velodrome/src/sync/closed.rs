//! The error of all channels.

use std::fmt;

/// Nothing more can come: the other end was dropped.
///
/// ```
/// use velodrome::sync::{Closed, oneshot};
///
/// let (sender, receiver) = oneshot::channel::<u8>();
/// drop(sender);
/// let error = velodrome::run(receiver)?.unwrap_err();
/// assert_eq!(error, Closed);
/// assert_eq!(error.to_string(), "the other end of the channel was dropped");
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other end of the channel was dropped")
    }
}

impl std::error::Error for Closed {}
