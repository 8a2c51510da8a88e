//! Two kinds of protocol behind one face, so that one `create_server` takes either.
//!
//! Two traits cannot both be implemented for "every type that has them" unless something tells the two apart: the
//! parameter does, and the compiler finds it by itself.

use std::io;

use velodrome_engine::transport::Recv;

use super::transport::Transport;
use super::{BufferedProtocol, Protocol};

/// Marks a [`Protocol`].
#[doc(hidden)]
#[derive(Debug)]
pub enum Plain {}

/// Marks a [`BufferedProtocol`].
#[doc(hidden)]
#[derive(Debug)]
pub enum Buffered {}

/// A [`Protocol`] or a [`BufferedProtocol`]; `Kind` says which, and is never named.
///
/// ```
/// use velodrome::{AnyProtocol, Server, create_server};
///
/// /// Serves any protocol, of either kind.
/// async fn serve<P: AnyProtocol<K>, K: 'static>(factory: impl Fn() -> P + 'static) -> std::io::Result<Server> {
///     create_server(factory, "127.0.0.1", 0).await
/// }
/// # struct Silent;
/// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
/// # velodrome::run(serve(|| Silent))??;
/// # std::io::Result::Ok(())
/// ```
pub trait AnyProtocol<Kind>: 'static {
    #[doc(hidden)]
    fn made(&mut self, transport: Transport);
    /// One receive, and what the protocol makes of it. What it returns is what `recv` did.
    #[doc(hidden)]
    fn receive(&mut self, scratch: &mut [u8], recv: Recv<'_>) -> io::Result<usize>;
    #[doc(hidden)]
    fn eof(&mut self) -> bool;
    #[doc(hidden)]
    fn pause(&mut self);
    #[doc(hidden)]
    fn resume(&mut self);
    #[doc(hidden)]
    fn lost(&mut self, error: Option<io::Error>);
}

impl<P: Protocol> AnyProtocol<Plain> for P {
    fn made(&mut self, transport: Transport) {
        self.connection_made(transport);
    }

    fn receive(&mut self, scratch: &mut [u8], recv: Recv<'_>) -> io::Result<usize> {
        let count = recv(scratch)?;
        if count > 0 {
            self.data_received(&scratch[..count]);
        }
        Ok(count)
    }

    fn eof(&mut self) -> bool {
        self.eof_received()
    }

    fn pause(&mut self) {
        self.pause_writing();
    }

    fn resume(&mut self) {
        self.resume_writing();
    }

    fn lost(&mut self, error: Option<io::Error>) {
        self.connection_lost(error);
    }
}

impl<P: BufferedProtocol> AnyProtocol<Buffered> for P {
    fn made(&mut self, transport: Transport) {
        self.connection_made(transport);
    }

    fn receive(&mut self, scratch: &mut [u8], recv: Recv<'_>) -> io::Result<usize> {
        let buffer = self.get_buffer(scratch.len());
        if buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "get_buffer returned an empty buffer"));
        }
        let count = recv(buffer)?;
        if count > 0 {
            self.buffer_updated(count);
        }
        Ok(count)
    }

    fn eof(&mut self) -> bool {
        self.eof_received()
    }

    fn pause(&mut self) {
        self.pause_writing();
    }

    fn resume(&mut self) {
        self.resume_writing();
    }

    fn lost(&mut self, error: Option<io::Error>) {
        self.connection_lost(error);
    }
}
