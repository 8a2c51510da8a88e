//! From a name and a port, or a path, to connections: looking up, connecting, listening.

mod attempt;
pub(crate) mod door;
pub(crate) mod hints;
pub(crate) mod listening;
pub(crate) mod lookup;
pub(crate) mod options;
pub(crate) mod racing;
pub(crate) mod server;
pub(crate) mod stale;
pub(crate) mod streams;
