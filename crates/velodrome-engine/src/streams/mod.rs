//! Read-until, read-exactly and read-line over bytes that have arrived: no sockets, no clock, no waiting.
//!
//! Both faces offer asyncio's stream readers, and the rules of those readers (which separator wins, what a limit
//! means, what is left in the buffer after an error) are worth having once. Where the bytes live is left open:
//! [`ReadUntil`] and [`line_overrun`] work on any slice, because a face may be obliged to keep its bytes in an
//! object of its own; [`ByteBuffer`] and the functions in [`read`] are for one that is not.

mod buffer;
pub mod read;
mod until;

pub use self::buffer::ByteBuffer;
pub use self::until::{Found, NoSeparator, Overrun, ReadUntil, line_overrun};
