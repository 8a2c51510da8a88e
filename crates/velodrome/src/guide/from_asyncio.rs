//! Coming from asyncio.
//!
//! The names are asyncio's, and so are the order of callbacks and the rules of the loop; it is the same engine that runs
//! Python's asyncio under `velodrome.run()`. What is different is what Rust does differently:
//!
//! | asyncio | here | |
//! |---|---|---|
//! | `asyncio.run(main())` | [`run`](crate::run)`(main())?` | |
//! | `asyncio.Runner()` | [`Runtime`](crate::Runtime), [`Builder`](crate::Builder) | tasks go on with the next `block_on` |
//! | `create_task(work())` | [`spawn`](crate::spawn)`(work())` | the loop keeps it: no reference has to be held |
//! | `await task` | `task.await?` | a panic in it is a `TaskError`, and stays there until asked for |
//! | `task.cancel()` | [`Task::cancel`](crate::Task::cancel) | the future is dropped, it is not asked |
//! | `CancelledError`, `finally` | `Drop` | |
//! | a task that several have | [`Task::abort_handle`](crate::Task::abort_handle) | one awaits it, any may cancel it |
//! | `current_task`, `all_tasks` | — | see [below](#what-has-no-counterpart) |
//! | `TaskGroup` | [`task_group`](crate::task_group), [`TaskGroup`](crate::TaskGroup) | the first error cancels the rest |
//! | `group.create_task` in a task of it | [`TaskGroup::handle`](crate::TaskGroup::handle) | |
//! | `gather`, `wait`, `shield` | [`gather!`](crate::gather), [`join_all`](crate::join_all), [`wait`](crate::wait), [`shield`](crate::shield) | |
//! | `wait(tasks, timeout=…)` | [`wait`](crate::wait)`(tasks, when).`[`timeout`](crate::Wait::timeout)`(…)` | both give all tasks back |
//! | `as_completed` | [`as_completed`](crate::as_completed)`(…).next().await` | |
//! | `loop.call_soon`, `call_later`, `call_at` | [`spawn`](crate::spawn) | see [below](#callbacks) |
//! | `loop.call_soon_threadsafe` | [`Handle::call_soon`](crate::Handle::call_soon) | |
//! | `Event`, `Lock`, `Semaphore`, `Condition`, `Barrier`, `Queue` | [`sync`](crate::sync) | |
//! | `ContextVar` | an argument | a task is started with what it needs: move an `Rc` into its future |
//! | `to_thread`, `run_in_executor` | [`to_thread`](crate::to_thread), [`spawn_blocking`](crate::spawn_blocking) | |
//! | `run_coroutine_threadsafe` | [`Handle`](crate::Handle) | |
//! | `sleep`, `wait_for` | [`sleep`](crate::sleep), [`timeout`](crate::timeout) | |
//! | `asyncio.timeout()`, `reschedule` | [`timeout_scope`](crate::timeout_scope), [`Timeout::reschedule`](crate::Timeout::reschedule) | |
//! | `loop.time` | [`Instant::now`](crate::Instant::now) | |
//! | `open_connection`, `start_server` | the same | keyword arguments: [`ConnectOptions`](crate::ConnectOptions), [`ListenOptions`](crate::ListenOptions) |
//! | `open_connection(sock=…)` | [`open_socket`](crate::open_socket) | |
//! | `start_server(sock=…)` | [`ListenOptions::start_server_on`](crate::ListenOptions::start_server_on) | |
//! | `loop.sock_recv`, `sock_sendall`, `sock_connect`, `sock_accept` | [`AsyncFd`](crate::AsyncFd) over the socket | see [below](#sockets-of-ones-own) |
//! | `open_unix_connection`, `start_unix_server` | the same | a stale socket file is asked before it is replaced |
//! | `StreamReader`, `StreamWriter` | the same | `read(-1)` is [`read_to_end`](crate::StreamReader::read_to_end) |
//! | `IncompleteReadError`, `LimitOverrunError` | [`ReadError`](crate::ReadError) | |
//! | `writer.get_extra_info("peername")` | [`peer_addr`](crate::StreamWriter::peer_addr) | |
//! | `writer.get_extra_info("socket")` | [`duplicate_fd`](crate::StreamWriter::duplicate_fd) | a descriptor of one's own for the same socket |
//! | `writer.transport.set_write_buffer_limits` | [`set_write_buffer_limits`](crate::StreamWriter::set_write_buffer_limits) | |
//! | `server.sockets` | [`duplicate_fds`](crate::Server::duplicate_fds), [`local_addrs`](crate::Server::local_addrs) | |
//! | `Server.close_clients` | [`close_clients`](crate::Server::close_clients) | |
//! | `Protocol`, `BufferedProtocol`, `Transport` | the same | [`Protocol`](crate::Protocol) is a trait, whose methods have `&mut self` |
//! | `loop.create_connection(Factory, …)` | [`create_connection`](crate::create_connection)`(factory, …)` | |
//! | `DatagramProtocol`, `create_datagram_endpoint` | [`DatagramProtocol`](crate::DatagramProtocol), [`create_datagram_endpoint`](crate::create_datagram_endpoint) | |
//! | `loop.add_reader(fd, callback)` | [`AsyncFd`](crate::AsyncFd)`::new(fd)?.readable().await` | |
//! | `loop.getaddrinfo` | [`getaddrinfo`](crate::getaddrinfo) | `family`, `type`, `proto`, `flags`: [`LookupOptions`](crate::LookupOptions) |
//! | `loop.sendfile` | [`StreamWriter::sendfile`](crate::StreamWriter::sendfile), [`Transport::sendfile`](crate::Transport::sendfile) | |
//! | `create_subprocess_exec` | [`create_subprocess`](crate::create_subprocess)`(&mut Command::new(…))` | the standard library's `Command` says all the rest |
//! | `create_subprocess_shell(line)` | [`create_subprocess`](crate::create_subprocess)`(Command::new("sh").args(["-c", line]))` | which shell it is stands there |
//! | `loop.add_signal_handler` | [`signal`](crate::signals::signal), [`ctrl_c`](crate::signals::ctrl_c) | in any loop, any thread |
//! | `ssl=context`, `writer.start_tls` | feature `tls`: `velodrome::tls` | rustls, not OpenSSL |
//! | `loop.set_exception_handler` | [`Builder::on_error`](crate::Builder::on_error) | |
//! | `loop.set_debug`, slow callbacks | — | see [below](#what-has-no-counterpart) |
//!
//! # Cancelling
//!
//! asyncio throws `CancelledError` into a coroutine, which may catch it, tidy up by awaiting, or refuse. A Rust future is
//! dropped: its destructors run, nothing can be awaited in them, and nobody can refuse. So what must be done at the end
//! goes into a `Drop`, and what must not be interrupted goes into a task of its own:
//!
//! ```
//! # use std::{rc::Rc, time::Duration};
//! # use velodrome::{sleep, spawn, sync::Event, timeout};
//! # velodrome::run(async {
//! let done = Rc::new(Event::new());
//! let told = Rc::clone(&done);
//! let important = async {
//!     // Dropping a Task lets it go on: asyncio.shield.
//!     spawn(async move {
//!         sleep(Duration::from_millis(20)).await;
//!         told.set();
//!     })
//!     .await
//! };
//! assert!(timeout(Duration::from_millis(1), important).await.is_err());
//! done.wait().await;
//! # }).unwrap();
//! ```
//!
//! # Callbacks
//!
//! The loop runs callbacks in asyncio, and tasks on top of them; here all that it is given is a task. One that waits first is
//! `call_later`, and cancelling it is `TimerHandle.cancel`:
//!
//! ```
//! # use std::{cell::Cell, rc::Rc, time::Duration};
//! use velodrome::{Instant, sleep, sleep_until, spawn};
//!
//! # velodrome::run(async {
//! # let called = Rc::new(Cell::new(0));
//! # let count = || { let called = Rc::clone(&called); move || called.set(called.get() + 1) };
//! # let (hello, later, at, never) = (count(), count(), count(), count());
//! // call_soon(hello)
//! spawn(async move { hello() });
//! // call_later(0.001, later)
//! spawn(async move {
//!     sleep(Duration::from_millis(1)).await;
//!     later();
//! });
//! // call_at(loop.time() + 0.002, at)
//! let when = Instant::now() + Duration::from_millis(2);
//! let timer = spawn(async move {
//!     sleep_until(when).await;
//!     at();
//! });
//! # timer.await.unwrap();
//! # let timer = spawn(async move { sleep(Duration::from_secs(9)).await; never() });
//! timer.cancel();
//! # assert!(timer.await.is_err());
//! # assert_eq!(called.get(), 3);
//! # }).unwrap();
//! ```
//!
//! # Sockets of one's own
//!
//! `sock_recv` and its sisters take a socket that does not block, and wait where it would. [`AsyncFd`](crate::AsyncFd) does
//! that for any call of any socket: of the standard library's, or of another crate's. A connection whose bytes are a stream
//! is better off with [`open_socket`](crate::open_socket), which has the buffers.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpListener;
//! use velodrome::AsyncFd;
//!
//! # velodrome::run(async {
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
//! # client.write_all(b"hello")?;
//! listener.set_nonblocking(true)?;
//! // sock_accept
//! let (socket, _address) = AsyncFd::new(listener)?.read_with(|listener| listener.accept()).await?;
//! socket.set_nonblocking(true)?;
//! let (socket, mut buffer) = (AsyncFd::new(socket)?, [0; 1024]);
//! // sock_recv_into
//! let mut count = socket.read_with(|mut socket| socket.read(&mut buffer)).await?;
//! # assert_eq!(&buffer[..count], b"hello");
//! // sock_sendall
//! let mut rest = &buffer[..count];
//! while !rest.is_empty() {
//!     count = socket.write_with(|mut socket| socket.write(rest)).await?;
//!     rest = &rest[count..];
//! }
//! # client.read_exact(&mut [0; 5])?;
//! # std::io::Result::Ok(()) })??;
//! # std::io::Result::Ok(())
//! ```
//!
//! # Giving up a read
//!
//! A read that is given up has taken nothing, here as there. `drain`, `flush`, `wait_closed`, `readable` can all be given up
//! and begun again; where that is not so the function's page says it.
//!
//! # Writing
//!
//! `write` takes anything that is bytes, and copies what the kernel does not take at once. Two writes in one turn of the
//! loop leave together from the second time on. Dropping the writer closes the connection after what was written has
//! left; a writer that Python forgets does so when it is collected.
//!
//! # Exceptions
//!
//! An exception that nobody awaits is logged by asyncio when its task is collected. Here a task's error is its value: a
//! [`Task`](crate::Task) whose output is a `Result` that nobody looks at is forgotten with it. A panic is told by the
//! panic hook when it happens.
//!
//! # What has no counterpart
//!
//! **`current_task`, `all_tasks`.** They are there for what a task does to itself and to others behind their backs: to be
//! cancelled from within, to be told apart, to be gone over at the end. A future ends itself by returning; who is to cancel
//! a task gets its [`AbortHandle`](crate::AbortHandle), and at the end of [`run`](crate::run) the loop cancels what is left.
//! Who wants some tasks together has a [`TaskGroup`](crate::TaskGroup), which can count and cancel them.
//!
//! **Debug mode.** Most of what it looks for cannot be written: a coroutine that was never awaited is a warning of the
//! compiler, a call from the wrong thread an error of it, and a transport that was forgotten is closed by its destructor.
//! Callbacks that take too long are not looked for: that would be two looks at the clock for each turn of a task. A
//! profiler (`perf record -g`) shows them by name, and an [`interval`](crate::interval) that ticks late shows that there are
//! any.
