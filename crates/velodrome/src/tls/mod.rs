//! TLS by [rustls](https://docs.rs/rustls), for clients and servers, from the beginning or by STARTTLS.
//!
//! Reader and writer are the same as without: what lies between them and the socket is a layer that the engine takes
//! for a protocol and the streams take for a transport. rustls is told what has arrived and says what is to be sent; it
//! does no I/O. The configuration is rustls's own, re-exported as [`rustls`], with *ring* for its cryptography.
//!
//! A peer that ends the connection without saying so by TLS (`close_notify`) may have been cut off by somebody in
//! between, so reading ends with `UnexpectedEof`, and not as if all had been said.

pub(crate) mod handshake;
pub(crate) mod layer;
pub(crate) mod streams;

pub use ::rustls;

pub use self::handshake::{Handshake, Tls};
pub use self::streams::{open_tls_connection, start_tls_server};
pub use crate::protocol::securing::{create_tls_connection, create_tls_connection_on, create_tls_server};
