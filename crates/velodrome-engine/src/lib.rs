//! The event loop under Velodrome: one engine for Python's asyncio and for Rust's async/await.
//!
//! It knows no Python and no `Future`. A face (the Python binding, the Rust crate) drives it turn by turn and hands it
//! [`ready::Runnable`]s; [`event_loop::EventLoop`] is the front door. The modules below are listed from the kernel up;
//! each may use only what stands above it in the list (`crates/tidy` checks that).

pub mod census;
pub mod clock;
pub mod sys;

pub mod driver;

pub mod ready;
pub mod timers;
pub mod wakeup;

pub mod reactor;

mod putting_off;

pub mod hub;

pub mod net;
pub mod process;
pub mod streams;
pub mod transport;

pub mod event_loop;

pub mod testing;
