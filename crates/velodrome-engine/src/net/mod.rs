//! From a name to a connection, up to where sockets begin: addresses, name resolution, and address racing.
//!
//! What can block (the system's resolver) has threads of its own here; what cannot is pure. Sockets belong to the
//! driver and to the transports, so nothing here opens one.

pub mod address;
pub mod racing;
pub mod resolver;

pub use self::racing::Race;
pub use self::resolver::Resolver;
