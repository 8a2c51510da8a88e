//! From a coroutine to a chat server, in seven steps, each beside its Python.
//!
//! # 1. A coroutine
//!
//! ```python
//! import asyncio
//!
//! async def my_coroutine():
//!     await asyncio.sleep(1)
//!     print("Coroutine finished")
//!
//! asyncio.run(my_coroutine())
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! async fn my_coroutine() {
//!     velodrome::sleep(Duration::from_secs(1)).await;
//!     println!("Coroutine finished");
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     velodrome::run(my_coroutine())
//! }
//! ```
//!
//! [`run`](crate::run) makes an event loop, runs the future until it is done, and cancels what it has left behind. It
//! returns a `Result` because the kernel may have no descriptor left for a loop; what the future itself returns is inside.
//! As in Python, calling `my_coroutine()` does nothing yet.
//!
//! # 2. Two things at a time
//!
//! ```python
//! async def main():
//!     task = asyncio.create_task(fetch("one"))
//!     two = await fetch("two")
//!     one = await task
//! ```
//!
//! ```
//! # async fn fetch(what: &'static str) -> usize { velodrome::yield_now().await; what.len() }
//! async fn main_coroutine() {
//!     let task = velodrome::spawn(fetch("one"));
//!     let two = fetch("two").await;
//!     let one = task.await.unwrap();
//! #   assert_eq!(one, two);
//! }
//! # velodrome::run(main_coroutine()).unwrap();
//! ```
//!
//! A [`Task`](crate::Task) runs by itself. Awaiting it gives a `Result`: the output, or a
//! [`TaskError`](crate::TaskError) if it was cancelled or panicked. Everything happens on the thread that called `run`, so
//! a task may hold an `Rc`, a `RefCell`, anything.
//!
//! # 3. No longer than that
//!
//! ```python
//! try:
//!     answer = await asyncio.wait_for(fetch("one"), 5)
//! except TimeoutError:
//!     answer = None
//! ```
//!
//! ```
//! # use std::time::Duration;
//! # async fn fetch(what: &'static str) -> usize { velodrome::yield_now().await; what.len() }
//! # velodrome::run(async {
//! let answer = velodrome::timeout(Duration::from_secs(5), fetch("one")).await.ok();
//! # assert_eq!(answer, Some(3));
//! # }).unwrap();
//! ```
//!
//! When time is up the future is dropped where it waits. That is what cancelling is in Rust: no exception comes out of an
//! `await`; destructors tidy up, and code behind the `await` does not run.
//!
//! # 4. A client
//!
//! ```python
//! reader, writer = await asyncio.open_connection("example.org", 80)
//! writer.write(b"GET / HTTP/1.0\r\nHost: example.org\r\n\r\n")
//! await writer.drain()
//! status = await reader.readline()
//! ```
//!
//! ```no_run
//! # async fn client() -> std::io::Result<()> {
//! let (mut reader, writer) = velodrome::open_connection("example.org", 80).await?;
//! writer.write("GET / HTTP/1.0\r\nHost: example.org\r\n\r\n");
//! writer.drain().await?;
//! let status = reader.readline().await?;
//! # Ok(()) }
//! ```
//!
//! Errors are returned, not raised, and `?` passes them on. [`StreamWriter::write`](crate::StreamWriter::write) never
//! waits and never fails, as in Python; `drain` does both.
//!
//! # 5. A server
//!
//! ```python
//! async def handle_client(reader, writer):
//!     data = await reader.read(100)
//!     addr = writer.get_extra_info("peername")
//!     print(f"Received {data.decode()} from {addr}")
//!     writer.write(b"Echo: " + data)
//!     await writer.drain()
//!     writer.close()
//!
//! async def start_server():
//!     server = await asyncio.start_server(handle_client, "127.0.0.1", 8888)
//!     async with server:
//!         await server.serve_forever()
//!
//! asyncio.run(start_server())
//! ```
//!
//! ```
//! use std::io;
//! use velodrome::{StreamReader, StreamWriter};
//!
//! async fn handle_client(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
//!     let data = reader.read(100).await?;
//!     let addr = writer.peer_addr()?;
//!     println!("Received {} from {addr}", String::from_utf8_lossy(&data));
//!     writer.write([b"Echo: ", &*data].concat());
//!     writer.drain().await?;
//!     writer.close();
//!     Ok(())
//! }
//!
//! async fn start_server(port: u16) -> io::Result<()> {
//!     let server = velodrome::start_server(handle_client, "127.0.0.1", port).await?;
//!     server.serve_forever().await
//! }
//!
//! # fn main() -> io::Result<()> {
//! # velodrome::run(async {
//! #     let server = velodrome::start_server(handle_client, "127.0.0.1", 0).await?;
//! #     let (mut reader, writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
//! #     writer.write("hello");
//! #     assert_eq!(reader.read_to_end().await?, b"Echo: hello");
//! #     let forever = velodrome::spawn(start_server(0));
//! #     velodrome::yield_now().await;
//! #     assert!(!forever.is_finished());
//! #     io::Result::Ok(())
//! # })??;
//! # Ok(())
//! # }
//! # #[cfg(any())]
//! fn main() -> io::Result<()> {
//!     velodrome::run(start_server(8888))?
//! }
//! ```
//!
//! The handler's error goes to [`Builder::on_error`](crate::Builder::on_error), where an exception of Python's handler
//! goes to the loop's exception handler. The connection is closed when the writer is dropped, so `writer.close()` could be
//! left out.
//!
//! # 6. What connections share
//!
//! ```python
//! members: dict[str, asyncio.StreamWriter] = {}
//!
//! def say(sender, what):
//!     for name, writer in members.items():
//!         if name != sender:
//!             writer.write(what.encode())
//! ```
//!
//! ```
//! # use std::{cell::RefCell, collections::HashMap, rc::Rc};
//! # use velodrome::StreamWriter;
//! #[derive(Clone, Default)]
//! struct Room(Rc<RefCell<HashMap<String, StreamWriter>>>);
//!
//! impl Room {
//!     fn say(&self, sender: &str, what: &str) {
//!         for (_, writer) in self.0.borrow().iter().filter(|(name, _)| *name != sender) {
//!             writer.write(what);
//!         }
//!     }
//! }
//! # Room::default().say("a", "b");
//! ```
//!
//! One thread, so an `Rc` is enough to share and a `RefCell` to change: no lock, and no `Arc`. The one rule is not to hold
//! a `borrow_mut()` across an `await` (clippy's `await_holding_refcell_ref` finds it). `write` takes `&self`, and never
//! waits, so whoever sees the room can write to all who are in it.
//!
//! # 7. The chat server
//!
//! Here are the two programs whole. Both are examples of this crate, and a test holds the same conversation with each.
//!
//! ```python
#![doc = include_str!("../../examples/chat_server.py")]
//! ```
//!
//! ```no_run
#![doc = include_str!("../../examples/chat_server.rs")]
//! ```
//!
//! Python's `finally` is a `Drop` here. It comes when the handler returns, when a `?` returns an error, and also when the
//! handler is dropped where it waits, because the loop ends: no way leads past it. The writer of whoever has left goes with
//! their place in the room, and closes the connection.
//!
//! ```text
//! cargo run -p velodrome --example chat_server
//! python crates/velodrome/examples/chat_server.py
//! nc localhost 8888
//! ```
