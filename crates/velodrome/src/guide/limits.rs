//! What this crate does not do, and why.
//!
//! * **No second thread for tasks, and no work stealing.** One loop is one thread. That is what makes `Rc` and `RefCell`
//!   enough, and a wake-up cheap. A program that needs more cores runs one loop on each
//!   ([`ListenOptions::reuse_port`](crate::ListenOptions::reuse_port) spreads connections over them), as servers in
//!   Python do with processes.
//! * **No files.** Kernels have no readiness for them: a regular file is always "ready", and then waits for the disk.
//!   Read them on a thread. [`sendfile`](crate::StreamWriter::sendfile) is the exception, and blocks as asyncio's does.
//! * **No io_uring.** Containers block it by default, and the engine's contract is readiness. A driver for it has its place
//!   in the engine; it is not written.
//! * **No Windows.** The engine speaks epoll, and kqueue by the crate `polling`; Windows's completion ports would need
//!   another engine.
//! * **No fork.** A child that was forked must not go on with its parent's loop. Start programs, not forks.
//! * **No processes without pidfds**: Linux 5.4 and later. Elsewhere [`create_subprocess`](crate::create_subprocess) says
//!   `Unsupported`.
//! * **No macros** for `main`, `select` or tests. [`run`](crate::run) is a function, which a `main` or a test calls in one
//!   line, and [`Builder`](crate::Builder) has as methods what would be the macro's arguments. A `select!` is no part of a
//!   runtime: that of the crate `futures` works on every future here; [below](#instead-of-select) are two ways without.
//! * **No TLS by OpenSSL.** The Rust face has rustls; the Python face uses the interpreter's `ssl` module, so neither
//!   links a second OpenSSL.
//! * **A handler is not asked to stop.** [`Server::close_clients`](crate::Server::close_clients) closes connections; what
//!   their handlers do then is theirs. Cancelling drops.
//! * **An unencrypted connection's `close` does not linger.** Bytes that the peer has sent and nobody read make the kernel
//!   reset the connection, as everywhere; read to the end first if the last word matters.
//!
//! # Instead of `select!`
//!
//! [`wait`](crate::wait) takes tasks and gives all of them back, so nothing is lost that has not been chosen. To wait with a
//! limit of time there is [`timeout`](crate::timeout).
//!
//! ```
//! use std::time::Duration;
//! use velodrome::{FirstCompleted, sleep, spawn, wait};
//!
//! async fn ask(mirror: &'static str, answers_in: u64) -> &'static str {
//!     sleep(Duration::from_millis(answers_in)).await;
//!     mirror
//! }
//!
//! velodrome::run(async {
//!     let asked = wait([spawn(ask("near", 1)), spawn(ask("far", 60_000))], FirstCompleted).await;
//!     for task in asked.done {
//!         assert_eq!(task.await.unwrap(), "near");
//!     }
//!     for task in asked.pending {
//!         task.cancel();
//!     }
//! })?;
//! # std::io::Result::Ok(())
//! ```
//!
//! Two futures of different kinds, which need not be tasks and may borrow, can be given to the `select` of `futures`: the
//! slower one comes back with the answer, to be awaited again or dropped. What is lost by dropping it stands on its
//! function's page under *Cancel safety*.
//!
//! ```
//! use futures_util::future::{Either, select};
//! use std::pin::pin;
//! use std::time::Duration;
//!
//! velodrome::run(async {
//!     let queue = velodrome::sync::Queue::new(1);
//!     queue.put_nowait("work").unwrap();
//!     match select(pin!(queue.get()), pin!(velodrome::sleep(Duration::from_secs(60)))).await {
//!         Either::Left((item, _sleep)) => assert_eq!(item, Ok("work")),
//!         Either::Right(((), _get)) => panic!("nothing to do for a minute"),
//!     }
//! })?;
//! # std::io::Result::Ok(())
//! ```
