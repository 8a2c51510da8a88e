//! Every future of the crate, given up at each point at which it can be: before it was polled, each time that it waits,
//! and each time that it has been woken and not polled again. Nothing may be lost by that: no byte, item, permit or turn,
//! no task that it had, and no descriptor.
//!
//! Above each row stands what it gives up: a new future wants a new row. Compiled with `--all-features`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod chance;
mod net;
mod streams;
mod sync;
mod system;
mod tasks;
mod tls;
