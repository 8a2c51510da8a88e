//! Connections for crates that were written for other traits: `futures-io`, tokio's, hyper's. Each has its feature.
//!
//! [`StreamReader`](crate::StreamReader) and [`StreamWriter`](crate::StreamWriter) have the traits of their direction; a
//! [`Duplex`], made of the two, has both. Nothing of tokio runs: only its two traits are used, and every future is polled
//! by this loop.
//!
//! What such a future asks of tokio's runtime (its timers, its sockets, `tokio::spawn`) is not there: a crate that only
//! reads and writes by the traits works, one that opens its own connections does not.

mod duplex;
#[cfg(feature = "futures-io")]
mod futures;
#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(feature = "tokio")]
mod tokio;

pub use self::duplex::Duplex;
