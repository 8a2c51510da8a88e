//! How many of what are alive, for the tests that show that nothing leaks: counted with the feature `instruments` only,
//! without it all of this is compiled away.

#[cfg(not(feature = "instruments"))]
#[path = "absent.rs"]
mod counted;
#[cfg(feature = "instruments")]
mod counted;

pub use counted::{Member, alive, born, died};
