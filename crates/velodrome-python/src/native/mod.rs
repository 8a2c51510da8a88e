//! The native types: handles, the loop, transports. No `unsafe` here: that is the kit's.

pub(crate) mod addresses;
pub(crate) mod child;
pub(crate) mod datagram;
pub(crate) mod datagram_host;
pub(crate) mod dispatch;
pub(crate) mod event_loop;
pub(crate) mod extra;
pub(crate) mod fairness;
pub(crate) mod handle;
pub(crate) mod listener;
pub(crate) mod reader;
pub(crate) mod readiness;
pub(crate) mod reading;
pub(crate) mod running;
pub(crate) mod scheduling;
pub(crate) mod socket_calls;
pub(crate) mod sockets;
pub(crate) mod stream_host;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod watches;
pub(crate) mod watching;
pub(crate) mod writer;
