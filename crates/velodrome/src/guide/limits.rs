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
//! * **No macros** for `main`, `select` or tests. `run` is a function.
//! * **No TLS by OpenSSL.** The Rust face has rustls; the Python face uses the interpreter's `ssl` module, so neither
//!   links a second OpenSSL. A protocol is encrypted
//!   from the beginning; `start_tls` in the middle is for streams.
//! * **A handler is not asked to stop.** [`Server::close_clients`](crate::Server::close_clients) closes connections; what
//!   their handlers do then is theirs. Cancelling drops.
//! * **An unencrypted connection's `close` does not linger.** Bytes that the peer has sent and nobody read make the kernel
//!   reset the connection, as everywhere; read to the end first if the last word matters.
