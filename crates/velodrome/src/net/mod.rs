//! From a name and a port to streams: looking up, connecting, listening.

mod attempt;
pub(crate) mod connect;
mod listening;
mod lookup;
mod racing;
pub(crate) mod server;
