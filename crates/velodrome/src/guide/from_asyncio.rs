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
//! | `TaskGroup` | [`task_group`](crate::task_group), [`TaskGroup`](crate::TaskGroup) | the first error cancels the rest |
//! | `gather`, `wait`, `shield` | [`gather!`](crate::gather), [`join_all`](crate::join_all), [`wait`](crate::wait), [`shield`](crate::shield) | |
//! | `Event`, `Lock`, `Semaphore`, `Condition`, `Barrier`, `Queue` | [`sync`](crate::sync) | |
//! | `ContextVar` | an argument | a task is started with what it needs: move an `Rc` into its future |
//! | `to_thread`, `run_in_executor` | [`to_thread`](crate::to_thread), [`spawn_blocking`](crate::spawn_blocking) | |
//! | `run_coroutine_threadsafe` | [`Handle`](crate::Handle) | |
//! | `sleep`, `wait_for` | [`sleep`](crate::sleep), [`timeout`](crate::timeout) | |
//! | `open_connection`, `start_server` | the same | keyword arguments: [`ConnectOptions`](crate::ConnectOptions), [`ListenOptions`](crate::ListenOptions) |
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
//! | `loop.add_signal_handler` | [`signal`](crate::signals::signal), [`ctrl_c`](crate::signals::ctrl_c) | in any loop, any thread |
//! | `ssl=context`, `writer.start_tls` | feature `tls`: `velodrome::tls` | rustls, not OpenSSL |
//! | `loop.set_exception_handler` | [`Builder::on_error`](crate::Builder::on_error) | |
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
