//! TLS where the clock ticks: records in, data out, and back.
//!
//! asyncio's `SSLProtocol` stays what it is: handshake, shutdown, time-outs, the order of events and every message are
//! its inherited Python code, and so those of the version that runs. `velodrome._tls.SSLProtocol` derives from it and
//! from [`protocol::SslProtocol`], which stands first: it keeps that code's state in native fields, under the same names,
//! and does natively what happens for every message. Whatever is not ordinary goes to the inherited method.
//!
//! A native transport below hands its ciphertext over without asking for a buffer ([`reading`]), so the 256 KiB that
//! asyncio gives each connection are one buffer per loop here. Records are counted as they come in ([`records`]):
//! nobody asks OpenSSL for what cannot be there yet.

pub(crate) mod app_transport;
pub(crate) mod protocol;
pub(super) mod reading;
mod records;
pub(crate) mod session;
mod state;
mod writing;
