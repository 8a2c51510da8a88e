//! The native types: handles, the loop, transports. No `unsafe` here: that is the kit's.

pub(crate) mod dispatch;
pub(crate) mod event_loop;
pub(crate) mod extra;
pub(crate) mod handle;
pub(crate) mod listener;
pub(crate) mod running;
pub(crate) mod scheduling;
pub(crate) mod stream_host;
pub(crate) mod transport;
pub(crate) mod watching;
