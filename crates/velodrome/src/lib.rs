//! asyncio's vocabulary for Rust: an event loop for one thread, with tasks, timeouts and streams.
//!
//! Who knows asyncio finds its names here, and who knows Rust its manners: a future does nothing until it is awaited,
//! what is dropped is cancelled, what fails is a `Result`. Everything happens on the thread that called [`run`], so no
//! future has to be `Send` and no lock is needed between two tasks; [`Waker`](std::task::Waker)s may travel to any
//! thread. The loop itself is the crate `velodrome-engine`, the one that Python's asyncio runs on as well.
//!
//! The [`guide`] leads from a coroutine to a chat server, and says what is different for who comes from asyncio or from
//! tokio.
//!
//! ```
//! use std::io;
//! use velodrome::{StreamReader, StreamWriter};
//!
//! async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
//!     let line = reader.readline().await?;
//!     writer.write(line);
//!     writer.drain().await
//! }
//!
//! fn main() -> io::Result<()> {
//!     velodrome::run(async {
//!         let server = velodrome::start_server(echo, "127.0.0.1", 0).await?;
//!         let port = server.local_addr()?.port();
//!
//!         let (mut reader, writer) = velodrome::open_connection("127.0.0.1", port).await?;
//!         writer.write("hello\n");
//!         assert_eq!(reader.readline().await?, b"hello\n");
//!         Ok(())
//!     })?
//! }
//! ```
//!
//! | asyncio | here |
//! |---|---|
//! | `asyncio.run(main())` | [`run`]`(main())?` |
//! | `asyncio.create_task(work())` | [`spawn`]`(work())` |
//! | `task.cancel()`, `CancelledError` | [`Task::cancel`], [`TaskError`] |
//! | `asyncio.sleep(0.5)` | [`sleep`]`(Duration::from_millis(500))` |
//! | `asyncio.sleep(0)` | [`yield_now`]`()` |
//! | `async with asyncio.TaskGroup() as group` | [`task_group`]`(async \|group\| …)` |
//! | `asyncio.gather(a, b)` | [`gather!`]`(a, b)`, [`join_all`]`(list)` |
//! | `asyncio.wait(tasks, return_when=FIRST_COMPLETED)` | [`wait`]`(tasks, `[`FirstCompleted`]`)` |
//! | `asyncio.shield(work())` | [`shield`]`(work())` |
//! | `asyncio.to_thread(work)` | [`to_thread`]`(work)`, [`spawn_blocking`]`(work)` |
//! | `asyncio.run_coroutine_threadsafe(work(), loop)` | [`Handle::spawn`]`(work())` |
//! | `loop.call_soon_threadsafe(work)` | [`Handle::call_soon`]`(work)` |
//! | `asyncio.timeout_at(when)`, `loop.time()` | [`timeout_at`]`(when, work())`, [`Instant::now`]`()` |
//! | `Event`, `Lock`, `Semaphore`, `Condition`, `Barrier`, `Queue` | the same in [`sync`] |
//! | `asyncio.wait_for(work(), 5)` | [`timeout`]`(Duration::from_secs(5), work())` |
//! | `asyncio.open_connection(host, port)` | [`open_connection`]`(host, port)` |
//! | `asyncio.start_server(handler, host, port)` | [`start_server`]`(handler, host, port)` |
//! | `asyncio.open_unix_connection(path)` | [`open_unix_connection`]`(path)` |
//! | `asyncio.start_unix_server(handler, path)` | [`start_unix_server`]`(handler, path)` |
//! | the same with `sock=sock` | [`open_socket`]`(socket)`, [`ListenOptions::start_server_on`]`(handler, socket)` |
//! | `loop.create_connection(Factory, host, port)` | [`create_connection`]`(factory, host, port)` |
//! | `loop.create_server(Factory, host, port)` | [`create_server`]`(factory, host, port)` |
//! | `loop.create_datagram_endpoint(…)` | [`create_datagram_endpoint`]`(factory, &options)` |
//! | the three with `sock=sock` | [`create_connection_on`], [`ListenOptions::create_server_on`], [`create_datagram_endpoint_on`] |
//! | the last with `family=AF_UNIX` | [`create_unix_datagram_endpoint`]`(factory, &options)` |
//! | `loop.add_reader(fd, …)`, `add_writer` | [`AsyncFd`] |
//! | `loop.connect_read_pipe`, `connect_write_pipe` | [`open_read_pipe`], [`open_write_pipe`] |
//! | `asyncio.create_subprocess_exec(…)` | [`create_subprocess`]`(&mut Command::new(…))` |
//! | `loop.add_signal_handler(number, …)` | [`signals::signal`]`(number)?.recv().await` |
//! | `loop.sendfile(transport, file)` | [`StreamWriter::sendfile`]`(&file, 0, None)`, [`Transport::sendfile`] |
//! | `loop.getaddrinfo(host, port)` | [`getaddrinfo`]`(host, port)`, [`LookupOptions`] |
//! | `loop.set_exception_handler(report)` | [`Builder::on_error`] |

#[cfg(any(feature = "futures-io", feature = "hyper", feature = "tokio"))]
pub mod adapters;
mod advice;
#[cfg(not(all(loom, test)))]
#[path = "atomics_std.rs"]
mod atomics;
#[cfg(all(loom, test))]
#[path = "atomics_loom.rs"]
mod atomics;
mod channel;
mod clients;
mod descriptor;
mod existing;
pub mod guide;
mod local;
mod net;
mod orphans;
mod process;
mod protocol;
mod runtime;
mod sendfile;
pub mod signals;
mod streams;
pub mod sync;
mod task;
mod threads;
mod time;
#[cfg(feature = "tls")]
pub mod tls;
mod together;
mod unhandled;
mod waiting;

/// Time for [`Builder::clock`]: the system's, or one that a test moves.
///
/// ```
/// let clock = velodrome::Clock::monotonic();
/// let before = clock.now();
/// assert!(clock.now() >= before, "nanoseconds, which never go back");
/// ```
pub use velodrome_engine::clock::Clock;
/// The hand for [`Builder::paused`], which moves the time besides.
///
/// ```
/// use std::time::Duration;
/// use velodrome::{Builder, Instant, ManualClock};
///
/// let hand = ManualClock::default();
/// let moved = Builder::new().paused(&hand).build()?.block_on(async {
///     let before = Instant::now();
///     hand.advance(1_000_000_000);
///     Instant::now() - before
/// })?;
/// assert_eq!(moved, Duration::from_secs(1));
/// # std::io::Result::Ok(())
/// ```
pub use velodrome_engine::clock::ManualClock;
/// How a runtime asks the kernel, for [`Builder::driver`]. What it does for a loop is the engine's affair.
///
/// ```
/// use velodrome::{Driver, DriverKind};
///
/// // Where there is epoll, the other one comes with the feature `portable`.
/// match Driver::with_kind(DriverKind::Portable) {
///     Ok(driver) => assert_eq!((driver.name(), driver.reason()), ("portable", "the program asked for it")),
///     Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
/// }
/// ```
pub use velodrome_engine::driver::Driver;
/// The drivers that can be asked for, by [`Driver::with_kind`].
///
/// ```
/// use velodrome::DriverKind;
///
/// assert_eq!("epoll".parse(), Ok(DriverKind::Epoll));
/// assert_eq!(DriverKind::Portable.to_string(), "portable");
/// ```
pub use velodrome_engine::driver::DriverKind;
/// What a test has beside [`Driver::fake`]: it decides what that kernel tells.
///
/// ```
/// use velodrome::{Builder, Clock, Driver, Script};
///
/// let (clock, hand) = Clock::manual();
/// let (driver, script): (Driver, Script) = Driver::fake(hand);
/// let runtime = Builder::new().driver(driver).clock(clock).build()?;
/// script.interrupt();
/// assert_eq!(runtime.block_on(async { 7 })?, 7, "a signal in between changes nothing");
/// # std::io::Result::Ok(())
/// ```
pub use velodrome_engine::driver::Script;
/// Why there was nothing to look for: of [`ReadError::Separator`].
///
/// ```
/// # velodrome::run(async {
/// # let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
/// use velodrome::{NoSeparator, ReadError};
///
/// let (mut reader, _writer) = velodrome::open_socket(ours)?;
/// let read = reader.readuntil(b"").await;
/// assert!(matches!(read, Err(ReadError::Separator(NoSeparator::Empty))));
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
pub use velodrome_engine::streams::NoSeparator;
/// What is known of a message that is too long: of [`ReadError::LimitOverrun`].
///
/// ```
/// # velodrome::run(async {
/// # let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
/// use velodrome::{Overrun, ReadError};
///
/// let (mut reader, _writer) = velodrome::open_socket(ours)?;
/// reader.set_limit(3);
/// # let (_reader, their_writer) = velodrome::open_socket(theirs)?;
/// their_writer.write("too long");
/// let read = reader.readuntil(b"\n").await;
/// assert!(matches!(read, Err(ReadError::LimitOverrun { overrun: Overrun::SeparatorNotFound, .. })));
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
pub use velodrome_engine::streams::Overrun;

pub use descriptor::{AsyncFd, ReadyGuard};
pub use net::hints::{AddressFamily, AddressInfo, LookupOptions, SocketType};
pub use net::lookup::getaddrinfo;
pub use net::options::{ConnectOptions, ListenOptions};
pub use net::server::Server;
pub use net::streams::{Outcome, open_connection, open_unix_connection, start_server, start_unix_server};
pub use process::{Process, create_subprocess};
pub use protocol::{
    AnyProtocol, BufferedProtocol, DatagramAddress, DatagramOptions, DatagramProtocol, DatagramTransport,
    Protocol, ProtocolRef, Transport, UnixDatagramOptions, create_connection, create_connection_on,
    create_datagram_endpoint, create_datagram_endpoint_on, create_server, create_unix_connection,
    create_unix_datagram_endpoint, create_unix_server,
};
pub use runtime::{Builder, Runtime, run};
pub use streams::error::ReadError;
pub use streams::open_socket;
pub use streams::pipes::{open_read_pipe, open_write_pipe};
pub use streams::reader::StreamReader;
pub use streams::writer::StreamWriter;
pub use task::abort::AbortHandle;
pub use task::error::TaskError;
pub use task::yielding::yield_now;
pub use task::{Task, spawn};
pub use threads::handle::Handle;
pub use threads::parking::block_on;
pub use threads::pool::{spawn_blocking, to_thread};
pub use threads::remote::{RemoteAbortHandle, RemoteTask};
pub use time::instant::Instant;
pub use time::interval::{Interval, MissedTicks, interval, interval_at};
pub use time::scope::{Timeout, timeout_scope};
pub use time::{Elapsed, Sleep, sleep, sleep_until, timeout, timeout_at};
pub use together::as_completed::{AsCompleted, as_completed};
pub use together::failure::{Failure, GroupError};
pub use together::gather::Gather;
pub use together::group::{TaskGroup, TaskGroupHandle, task_group};
pub use together::join_all::{JoinAll, join_all};
pub use together::shield::shield;
pub use together::wait::{All, FirstCompleted, FirstError, ReturnWhen, Wait, Waited, wait};
pub use unhandled::Unhandled;

/// The project's README, whose Rust example is compiled and run with the other tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// This crate's README, likewise.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
