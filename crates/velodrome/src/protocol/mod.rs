//! Callbacks instead of streams: asyncio's protocols, for who wants no task for each connection and no copy of what
//! arrives.
//!
//! The engine tells a [`host`], which owns the user's protocol, lends it out for each callback, and catches its panics.
//! A callback may call its transport, whose answer may be another callback (`pause_writing`): that one waits until the
//! first has returned, so a protocol is `&mut self` to itself and nobody is ever called twice at a time.

mod connect;
mod datagrams;
mod far_end;
mod host;
mod kinds;
mod lender;
#[cfg(feature = "tls")]
pub(crate) mod securing;
mod sendfile;
mod transport;

use std::io;

pub use self::connect::{
    create_connection, create_connection_on, create_server, create_unix_connection, create_unix_server,
};
pub use self::datagrams::{
    DatagramAddress, DatagramOptions, DatagramProtocol, DatagramTransport, UnixDatagramOptions,
    create_datagram_endpoint, create_datagram_endpoint_on, create_unix_datagram_endpoint,
};
pub use self::host::ProtocolRef;
pub use self::kinds::AnyProtocol;
pub use self::transport::Transport;

/// What a connection tells: `asyncio.Protocol`, with its names and its order.
///
/// First [`connection_made`](Self::connection_made), then any number of [`data_received`](Self::data_received), then
/// perhaps [`eof_received`](Self::eof_received), and at the end, once,
/// [`connection_lost`](Self::connection_lost). [`pause_writing`](Self::pause_writing) and
/// [`resume_writing`](Self::resume_writing) come in pairs, in between.
///
/// A callback that panics costs its connection, not the loop: the connection is aborted, and
/// [`Builder::on_error`](crate::Builder::on_error) is told.
///
/// ```
/// use std::io;
/// use velodrome::{Protocol, Transport};
///
/// #[derive(Default)]
/// struct Echo(Option<Transport>);
///
/// impl Protocol for Echo {
///     fn connection_made(&mut self, transport: Transport) {
///         self.0 = Some(transport);
///     }
///
///     fn data_received(&mut self, data: &[u8]) {
///         if let Some(transport) = &self.0 {
///             transport.write(data);
///         }
///     }
/// }
///
/// velodrome::run(async {
///     let server = velodrome::create_server(Echo::default, "127.0.0.1", 0).await?;
///     let (mut reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
///     writer.write("hello\n");
///     assert_eq!(reader.readline().await?, b"hello\n");
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
pub trait Protocol: 'static {
    /// The connection is open, and this is what to write to.
    ///
    /// ```
    /// # struct Greet;
    /// # impl velodrome::Protocol for Greet {
    /// fn connection_made(&mut self, transport: velodrome::Transport) {
    ///     transport.write("220 ready\r\n");
    /// }
    /// # fn data_received(&mut self, _: &[u8]) {}
    /// # }
    /// ```
    fn connection_made(&mut self, _transport: Transport) {}

    /// Some bytes have arrived; how they are cut means nothing. They are the loop's own buffer, and gone afterwards.
    ///
    /// ```
    /// # struct Count(usize);
    /// # impl velodrome::Protocol for Count {
    /// fn data_received(&mut self, data: &[u8]) {
    ///     self.0 += data.len();
    /// }
    /// # }
    /// ```
    fn data_received(&mut self, data: &[u8]);

    /// The peer will send no more. The connection is closed then, once what was written has left, unless this returns
    /// true.
    ///
    /// ```
    /// # struct HalfOpen;
    /// # impl velodrome::Protocol for HalfOpen {
    /// # fn data_received(&mut self, _: &[u8]) {}
    /// fn eof_received(&mut self) -> bool {
    ///     // There is an answer to be sent: the connection is closed when that is done.
    ///     true
    /// }
    /// # }
    /// ```
    fn eof_received(&mut self) -> bool {
        false
    }

    /// More was written than is good to keep: [write no more](Transport::set_write_buffer_limits) for now.
    ///
    /// ```
    /// # struct Feed { paused: bool }
    /// # impl velodrome::Protocol for Feed {
    /// # fn data_received(&mut self, _: &[u8]) {}
    /// fn pause_writing(&mut self) {
    ///     self.paused = true;
    /// }
    /// # }
    /// ```
    fn pause_writing(&mut self) {}

    /// What was written has left, or nearly.
    ///
    /// ```
    /// # struct Feed { paused: bool }
    /// # impl Feed { fn send_more(&self) {} }
    /// # impl velodrome::Protocol for Feed {
    /// # fn data_received(&mut self, _: &[u8]) {}
    /// fn resume_writing(&mut self) {
    ///     self.paused = false;
    ///     self.send_more();
    /// }
    /// # }
    /// ```
    fn resume_writing(&mut self) {}

    /// The connection is over: closed by either side, or lost to an error.
    ///
    /// ```
    /// # struct Log;
    /// # impl velodrome::Protocol for Log {
    /// # fn data_received(&mut self, _: &[u8]) {}
    /// fn connection_lost(&mut self, error: Option<std::io::Error>) {
    ///     match error {
    ///         None => println!("closed"),
    ///         Some(error) => println!("lost: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    fn connection_lost(&mut self, _error: Option<io::Error>) {}
}

/// A protocol that says where bytes are to be put, so that nobody copies them: `asyncio.BufferedProtocol`.
///
/// As [`Protocol`], but for [`get_buffer`](Self::get_buffer) and [`buffer_updated`](Self::buffer_updated) in the place
/// of `data_received`.
///
/// ```
/// use std::io;
/// use velodrome::{BufferedProtocol, Transport};
///
/// /// Tells how many frames of 16 bytes have come.
/// struct Frames { frame: [u8; 16], filled: usize, transport: Option<Transport> }
///
/// impl BufferedProtocol for Frames {
///     fn connection_made(&mut self, transport: Transport) {
///         self.transport = Some(transport);
///     }
///
///     fn get_buffer(&mut self, _size_hint: usize) -> &mut [u8] {
///         &mut self.frame[self.filled..]
///     }
///
///     fn buffer_updated(&mut self, count: usize) {
///         self.filled += count;
///         if self.filled == self.frame.len() {
///             self.filled = 0;
///             self.transport.iter().for_each(|transport| transport.write(self.frame));
///         }
///     }
/// }
///
/// velodrome::run(async {
///     let frames = || Frames { frame: [0; 16], filled: 0, transport: None };
///     let server = velodrome::create_server(frames, "127.0.0.1", 0).await?;
///     let (mut reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
///     writer.write([7; 20]);
///     assert_eq!(reader.read(100).await?, [7; 16]);
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
pub trait BufferedProtocol: 'static {
    /// As [`Protocol::connection_made`].
    ///
    /// ```
    /// # struct Fill { buffer: [u8; 64], transport: Option<velodrome::Transport> }
    /// # impl velodrome::BufferedProtocol for Fill {
    /// fn connection_made(&mut self, transport: velodrome::Transport) {
    ///     self.transport = Some(transport);
    /// }
    /// # fn get_buffer(&mut self, _: usize) -> &mut [u8] { &mut self.buffer }
    /// # fn buffer_updated(&mut self, _: usize) {}
    /// # }
    /// ```
    fn connection_made(&mut self, _transport: Transport) {}

    /// Where to put what has arrived. `size_hint` is what the loop would take; an empty buffer is an error, and loses
    /// the connection.
    ///
    /// ```
    /// # struct Fill { buffer: Vec<u8>, filled: usize }
    /// # impl velodrome::BufferedProtocol for Fill {
    /// fn get_buffer(&mut self, size_hint: usize) -> &mut [u8] {
    ///     self.buffer.resize(self.filled + size_hint, 0);
    ///     &mut self.buffer[self.filled..]
    /// }
    /// # fn buffer_updated(&mut self, count: usize) { self.filled += count }
    /// # }
    /// ```
    fn get_buffer(&mut self, size_hint: usize) -> &mut [u8];

    /// So many bytes were put into the buffer.
    ///
    /// ```
    /// # struct Fill { buffer: [u8; 64], filled: usize }
    /// # impl velodrome::BufferedProtocol for Fill {
    /// # fn get_buffer(&mut self, _: usize) -> &mut [u8] { &mut self.buffer[self.filled..] }
    /// fn buffer_updated(&mut self, count: usize) {
    ///     self.filled += count;
    /// }
    /// # }
    /// ```
    fn buffer_updated(&mut self, count: usize);

    /// As [`Protocol::eof_received`].
    ///
    /// ```
    /// # struct Fill { buffer: [u8; 64] }
    /// # impl velodrome::BufferedProtocol for Fill {
    /// # fn get_buffer(&mut self, _: usize) -> &mut [u8] { &mut self.buffer }
    /// # fn buffer_updated(&mut self, _: usize) {}
    /// fn eof_received(&mut self) -> bool {
    ///     true
    /// }
    /// # }
    /// ```
    fn eof_received(&mut self) -> bool {
        false
    }

    /// As [`Protocol::pause_writing`].
    ///
    /// ```
    /// # struct Fill { buffer: [u8; 64], paused: bool }
    /// # impl velodrome::BufferedProtocol for Fill {
    /// # fn get_buffer(&mut self, _: usize) -> &mut [u8] { &mut self.buffer }
    /// # fn buffer_updated(&mut self, _: usize) {}
    /// fn pause_writing(&mut self) {
    ///     self.paused = true;
    /// }
    /// # }
    /// ```
    fn pause_writing(&mut self) {}

    /// As [`Protocol::resume_writing`].
    ///
    /// ```
    /// # struct Fill { buffer: [u8; 64], paused: bool }
    /// # impl velodrome::BufferedProtocol for Fill {
    /// # fn get_buffer(&mut self, _: usize) -> &mut [u8] { &mut self.buffer }
    /// # fn buffer_updated(&mut self, _: usize) {}
    /// fn resume_writing(&mut self) {
    ///     self.paused = false;
    /// }
    /// # }
    /// ```
    fn resume_writing(&mut self) {}

    /// As [`Protocol::connection_lost`].
    ///
    /// ```
    /// # struct Fill { buffer: [u8; 64] }
    /// # impl velodrome::BufferedProtocol for Fill {
    /// # fn get_buffer(&mut self, _: usize) -> &mut [u8] { &mut self.buffer }
    /// # fn buffer_updated(&mut self, _: usize) {}
    /// fn connection_lost(&mut self, error: Option<std::io::Error>) {
    ///     println!("over: {error:?}");
    /// }
    /// # }
    /// ```
    fn connection_lost(&mut self, _error: Option<io::Error>) {}
}
