//! Coming from tokio.
//!
//! This is a runtime for one thread, like tokio's `current_thread` with a `LocalSet` around everything. Nothing has to be
//! `Send`, nothing has to be `'static` in [`run`](crate::run) itself, and there is no `rt` feature to choose: a `spawn` that
//! takes any future is the only one there is.
//!
//! | tokio | here | |
//! |---|---|---|
//! | `#[tokio::main(flavor = "current_thread")]` | [`run`](crate::run)`(main())?` | no macro |
//! | `Runtime::block_on`, `Builder` | [`Runtime`](crate::Runtime), [`Builder`](crate::Builder) | |
//! | `Runtime::shutdown_timeout`, `shutdown_background` | [the](crate::Runtime::shutdown_timeout) [same](crate::Runtime::shutdown_background) | |
//! | `task::spawn_local`, `LocalSet` | [`spawn`](crate::spawn) | |
//! | `JoinHandle`, `abort()` | [`Task`](crate::Task), [`cancel`](crate::Task::cancel) | dropping it detaches, as there |
//! | `AbortHandle` | [`Task::abort_handle`](crate::Task::abort_handle), [`RemoteTask::abort_handle`](crate::RemoteTask::abort_handle) | the first stays on its thread |
//! | `JoinError` | [`TaskError`](crate::TaskError) | says the task's name |
//! | `task::JoinSet`, `join!` | [`TaskGroup`](crate::TaskGroup), [`gather!`](crate::gather), [`join_all`](crate::join_all) | |
//! | `JoinSet::join_next` | [`as_completed`](crate::as_completed)`(tasks).next()` | of tasks that are there; more are started by a [`TaskGroup`](crate::TaskGroup), and send what they have by a [`Queue`](crate::sync::Queue) |
//! | `CancellationToken` (tokio-util) | [`TaskGroup::cancel_all`](crate::TaskGroup::cancel_all), [`AbortHandle`](crate::AbortHandle); [`Event`](crate::sync::Event) | see [below](#what-has-no-counterpart) |
//! | `sync::OnceCell` | `std::cell::OnceCell`; with an `await` [`Lock`](crate::sync::Lock)`<Option<T>>` | see [below](#what-has-no-counterpart) |
//! | `sync::oneshot`, `watch`, `Mutex`, `Semaphore`, `Barrier` | [`sync`](crate::sync): `Mutex` is [`Lock`](crate::sync::Lock) | no atomics: they stay on one thread |
//! | `sync::mpsc::unbounded_channel` | [`sync::mpsc`](crate::sync::mpsc) | from any thread, so it has a mutex |
//! | `sync::mpsc::channel(n)` | [`Queue::new(n)`](crate::sync::Queue::new), [`mpsc::bounded(n)`](crate::sync::mpsc::bounded) | on one thread; from any thread |
//! | `sync::broadcast` | [`watch`](crate::sync::watch), or a [`Queue`](crate::sync::Queue) for each receiver | see [below](#what-has-no-counterpart) |
//! | `sync::Notify` | [`Event`](crate::sync::Event); for `notify_one` a [`Semaphore::new(0)`](crate::sync::Semaphore::new) and its `release` | an event stays set until it is cleared; the semaphore remembers every release that nobody waited for, tokio's `Notify` one |
//! | `sync::RwLock` | [`Lock`](crate::sync::Lock), or a `RefCell` | see [below](#what-has-no-counterpart) |
//! | `select!` | [`wait`](crate::wait)`(tasks, `[`FirstCompleted`](crate::FirstCompleted)`)`, [`timeout`](crate::timeout) | or the `select!` of the crate `futures`: see [`limits`](super::limits) |
//! | `task_local!` | an argument | see [below](#what-has-no-counterpart) |
//! | `task::spawn_blocking` | [`spawn_blocking`](crate::spawn_blocking), [`Handle::spawn_blocking`](crate::Handle::spawn_blocking) | the second from any thread |
//! | `runtime::Handle` | [`Handle`](crate::Handle) | |
//! | `task::yield_now` | [`yield_now`](crate::yield_now) | |
//! | `time::sleep`, `timeout` | [`sleep`](crate::sleep), [`timeout`](crate::timeout) | nanoseconds, where the kernel has them; a sleep counts from when it is first awaited, [`sleep_until`](crate::sleep_until) from whenever you say |
//! | `time::interval`, `interval_at` | [`interval`](crate::interval), [`interval_at`](crate::interval_at) | `Burst`, `Skip`, `Delay`: [`MissedTicks`](crate::MissedTicks) |
//! | `time::pause()`, `advance` | [`Builder::paused`](crate::Builder::paused), [`ManualClock::advance`](crate::ManualClock::advance) | for the whole runtime, from its beginning |
//! | `TcpStream::connect`, `into_split` | [`open_connection`](crate::open_connection) | happy eyeballs, and already split |
//! | `TcpSocket` | [`ConnectOptions`](crate::ConnectOptions), [`ListenOptions`](crate::ListenOptions) | a socket that was made by others: [`open_socket`](crate::open_socket) |
//! | `TcpListener::accept` in a loop | [`start_server`](crate::start_server) | survives a process out of descriptors |
//! | `UnixStream`, `UnixListener` | [`open_unix_connection`](crate::open_unix_connection), [`start_unix_server`](crate::start_unix_server) | |
//! | `BufReader::read_until`, `read_line` | [`readuntil_into`](crate::StreamReader::readuntil_into), [`readline_into`](crate::StreamReader::readline_into); [`readuntil`](crate::StreamReader::readuntil), [`readline`](crate::StreamReader::readline) | may be given up; have a limit; the last two make a `Vec` |
//! | `read(&mut buf)` | [`read_into`](crate::StreamReader::read_into), or [`read`](crate::StreamReader::read) | the second makes a `Vec` |
//! | `write_all` | [`write`](crate::StreamWriter::write), then [`drain`](crate::StreamWriter::drain) | |
//! | `AsFd`, `SockRef::from(&stream)` | [`duplicate_fd`](crate::StreamWriter::duplicate_fd) | a connection can be closed while it is shared, so its own is not lent |
//! | `shutdown` | [`write_eof`](crate::StreamWriter::write_eof) | |
//! | `io::unix::AsyncFd` | [`AsyncFd`](crate::AsyncFd) | level-triggered: no `clear_ready` |
//! | `process::Command` | [`create_subprocess`](crate::create_subprocess) | |
//! | `signal::ctrl_c`, `signal::unix::signal` | [`ctrl_c`](crate::signals::ctrl_c), [`signal`](crate::signals::signal) | what was there before comes back |
//! | `UdpSocket` | [`create_datagram_endpoint`](crate::create_datagram_endpoint), or [`AsyncFd`](crate::AsyncFd) over the standard library's | see [below](#what-is-written-differently) |
//! | `UnixDatagram` | [`create_unix_datagram_endpoint`](crate::create_unix_datagram_endpoint) | |
//! | `io::copy` | a loop: [`read_into`](crate::StreamReader::read_into), `write`, `drain` | it is in the example `tcp_proxy`; of a file: [`sendfile`](crate::StreamWriter::sendfile) |
//! | `io::copy_bidirectional` | two such loops | see [below](#what-is-written-differently) |
//! | `io::stdout()` | `print!`; [`open_write_pipe`](crate::open_write_pipe) for a pipe | see [below](#what-has-no-counterpart) |
//! | `io::stdin()` | [`open_read_pipe`](crate::open_read_pipe), or [`spawn_blocking`](crate::spawn_blocking) | see [below](#what-has-no-counterpart) |
//! | `net::lookup_host` | [`getaddrinfo`](crate::getaddrinfo) | |
//! | `tokio-rustls` | feature `tls` | |
//! | `AsyncRead`, `AsyncWrite` | feature `tokio` | for [`StreamReader`](crate::StreamReader), [`StreamWriter`](crate::StreamWriter), and both in one |
//!
//! # What is different
//!
//! **Streams have a buffer.** A task that waits for bytes receives them by itself when they come, as in tokio: `read_into`
//! into your buffer, the other reads into the loop's, from which the answer is copied; what comes behind the answer is
//! kept for the next read. What nobody waits for the loop reads ahead, up to about twice the reader's limit (64 KiB unless
//! set). That is what makes `readline` safe to give up, and a server's handler need no `BufReader`. `readline_into` appends to
//! your vector, and where lines come one by one has the kernel write into it. What has been kept is
//! copied once more when it is read; a [`Protocol`](crate::Protocol) sees the loop's own buffer, and a
//! [`BufferedProtocol`](crate::BufferedProtocol) has the kernel write into yours.
//!
//! **Writes do not wait.** `write` sends at once what the kernel takes, and keeps the rest; `drain` waits if that is too
//! much. So a message may be written from a function that is not async, and from several tasks without being torn apart.
//!
//! **A wake-up costs no atomic.** Wakers may travel to other threads, and then do what they must; on the loop's own thread
//! they put the task's turn into the queue of what is due, once however often it is woken before that.
//!
//! **No cooperative budget.** A task that never waits for anything keeps the loop, as it does in asyncio; `yield_now` is
//! what it should call.
//!
//! # What is written differently
//!
//! **`UdpSocket::recv_from`, `send_to`** are the standard library's, awaited:
//!
//! ```
//! use std::net::UdpSocket;
//! use velodrome::AsyncFd;
//!
//! # velodrome::run(async {
//! let socket = UdpSocket::bind("127.0.0.1:0")?;
//! socket.set_nonblocking(true)?;
//! let (socket, mut buffer) = (AsyncFd::new(socket)?, [0; 1500]);
//! # socket.get_ref().send_to(b"hello", socket.get_ref().local_addr()?)?;
//! let (count, from) = socket.read_with(|socket| socket.recv_from(&mut buffer)).await?;
//! socket.write_with(|socket| socket.send_to(&buffer[..count], from)).await?;
//! # std::io::Result::Ok(()) })??;
//! # std::io::Result::Ok(())
//! ```
//!
//! **`copy_bidirectional`** is one loop for each direction, which ends with `write_eof`:
//!
//! ```
//! # use std::io;
//! use velodrome::{StreamReader, StreamWriter, gather};
//!
//! async fn copy(reader: &mut StreamReader, writer: &StreamWriter) -> io::Result<u64> {
//!     let (mut buffer, mut copied) = (vec![0; 16 * 1024], 0);
//!     loop {
//!         let count = reader.read_into(&mut buffer).await?;
//!         if count == 0 {
//!             writer.write_eof();
//!             return Ok(copied);
//!         }
//!         writer.write(&buffer[..count]);
//!         writer.drain().await?;
//!         copied += count as u64;
//!     }
//! }
//!
//! type Ends = (StreamReader, StreamWriter);
//!
//! async fn copy_bidirectional(a: &mut Ends, b: &mut Ends) -> io::Result<(u64, u64)> {
//!     let (there, back) = gather!(copy(&mut a.0, &b.1), copy(&mut b.0, &a.1)).await;
//!     Ok((there?, back?))
//! }
//! # velodrome::run(async {
//! # let pair = || std::os::unix::net::UnixStream::pair();
//! # let ((left, one), (other, right)) = (pair()?, pair()?);
//! # let (mut left, mut right) = (velodrome::open_socket(left)?, velodrome::open_socket(right)?);
//! # let (mut one, mut other) = (velodrome::open_socket(one)?, velodrome::open_socket(other)?);
//! # left.1.write("question");
//! # left.1.write_eof();
//! # right.1.write("answer");
//! # right.1.write_eof();
//! # assert_eq!(copy_bidirectional(&mut one, &mut other).await?, (8, 6));
//! # assert_eq!((left.0.read_to_end().await?, right.0.read_to_end().await?), (b"answer".into(), b"question".into()));
//! # io::Result::Ok(()) })??;
//! # io::Result::Ok(())
//! ```
//!
//! # What has no counterpart
//!
//! **`broadcast`.** Either only the newest value matters, and [`watch`](crate::sync::watch) has it, or each receiver has to
//! see every one. Then somebody must decide what a slow one costs: with a [`Queue`](crate::sync::Queue) for each, `put` waits
//! for it, and `put_nowait` tells that it is full, where `broadcast` would drop the oldest.
//!
//! **`RwLock`.** Only a task that holds it across an `await` keeps others out; all that happens between two of them needs a
//! `RefCell` and nothing to wait for. What is left is rare enough for a [`Lock`](crate::sync::Lock).
//!
//! **`task_local!`.** A task is started with what it needs: move an `Rc` into its future. asyncio's context variables are
//! not there either.
//!
//! **`CancellationToken`.** To stop tasks from outside is to cancel them, each by its handle or all by their group, and a task
//! cannot refuse. One that is to come to an end of its own waits for an [`Event`](crate::sync::Event) beside its work, by the
//! `select!` of `futures`; clones of an `Rc` of it are the token's.
//!
//! **`OnceCell`.** Where the value is made without waiting, the standard library's does. Where it is awaited, whoever comes
//! first makes it, and the others wait for the lock:
//!
//! ```
//! use velodrome::sync::Lock;
//!
//! # async fn connect() -> std::io::Result<u8> { Ok(7) }
//! async fn connected(cell: &Lock<Option<u8>>) -> std::io::Result<u8> {
//!     let mut cell = cell.lock().await;
//!     match *cell {
//!         Some(value) => Ok(value),
//!         None => Ok(*cell.insert(connect().await?)),
//!     }
//! }
//! # velodrome::run(async { connected(&Lock::default()).await })??;
//! # std::io::Result::Ok(())
//! ```
//!
//! **`io::stdout`.** tokio writes it on a thread. `print!` blocks only where a terminal or a pipe takes no more, which for a
//! program that talks to people is short. A pipe to a slow reader can be a stream, as below: [`open_write_pipe`](crate::open_write_pipe).
//!
//! **`io::stdin`.** tokio reads it on a thread, which can be done by `spawn_blocking` here too, and cannot be given up: the
//! thread goes on waiting for the line, and [`Runtime::shutdown_background`](crate::Runtime::shutdown_background) does not
//! wait for it. A pipe or a terminal can be a stream; it does not block from then on in any program
//! that shares it.
//!
//! ```
//! use std::os::fd::AsFd;
//!
//! async fn first_line() -> std::io::Result<Vec<u8>> {
//!     let mut stdin = velodrome::open_read_pipe(std::io::stdin().as_fd().try_clone_to_owned()?)?;
//!     Ok(stdin.readline().await?)
//! }
//! ```
//!
//! # Crates of tokio's world
//!
//! What only asks for tokio's I/O traits runs here with the feature `tokio`, as tokio-tungstenite does in this crate's
//! tests. What calls `tokio::spawn`, `tokio::time` or opens sockets by itself needs tokio's runtime: it can have
//! one on a thread of its own, and the two talk by channels that wake across threads. hyper asks for a runtime by traits,
//! which the feature `hyper` has.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # fn main() -> std::io::Result<()> {
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use velodrome::adapters::Duplex;
//!
//! # velodrome::run(async {
//! # let echo = |mut reader: velodrome::StreamReader, writer: velodrome::StreamWriter| async move {
//! #     writer.write(reader.read(100).await?);
//! #     std::io::Result::Ok(())
//! # };
//! # let server = velodrome::start_server(echo, "127.0.0.1", 0).await?;
//! # let port = server.local_addr()?.port();
//! let mut connection = Duplex::from(velodrome::open_connection("127.0.0.1", port).await?);
//! connection.write_all(b"hello").await?;
//! let mut answer = String::new();
//! connection.read_to_string(&mut answer).await?;
//! # assert_eq!(answer, "hello");
//! # std::io::Result::Ok(()) })?
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
