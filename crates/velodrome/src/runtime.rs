//! Running a future to its end: `run`, and the two steps it consists of for who wants to choose driver and clock.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use velodrome_engine::clock::{Clock, ManualClock};
use velodrome_engine::driver::Driver;
use velodrome_engine::event_loop::EventLoop;

use crate::local::{Entered, Local, Settings};
use crate::orphans;
use crate::threads::handle::Handle;
use crate::unhandled::{OnError, Unhandled, to_stderr};

/// Run `future` on a new event loop until it is done, then cancel what it left behind: `asyncio.run`.
///
/// The future may borrow, and a panic in it comes out here, since both happen on the caller's own stack. Tasks that are
/// not done by then are dropped where they wait, and so is what transports have not yet sent: await
/// [`StreamWriter::drain`](crate::StreamWriter::drain) or [`wait_closed`](crate::StreamWriter::wait_closed) for what
/// must arrive.
///
/// ```
/// let name = String::from("world");
/// let greeting = velodrome::run(async { format!("hello {}", &name) })?;
/// assert_eq!(greeting, "hello world");
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// What the kernel says if it has no descriptor for a loop; `InvalidInput` if `VELODROME_DRIVER` names no driver;
/// `Deadlock` from within a running loop. The future's own result, errors included, is the value.
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    Runtime::new()?.block_on(future)
}

/// An event loop that can run several futures, one after the other: `asyncio.Runner`.
///
/// Tasks go on with the next [`block_on`](Self::block_on) where the last one left them; dropping the runtime cancels
/// them.
///
/// ```
/// let runtime = velodrome::Runtime::new()?;
/// let task = runtime.block_on(async { velodrome::spawn(async { 7 }) })?;
/// assert_eq!(runtime.block_on(task)?.unwrap(), 7);
/// # std::io::Result::Ok(())
/// ```
pub struct Runtime {
    local: Rc<Local>,
    /// How long its end waits for threads that block, if the program has said so.
    patience: Option<Duration>,
}

impl Runtime {
    /// A loop over the driver that `VELODROME_DRIVER` asks for, or the platform's best.
    ///
    /// ```
    /// let runtime = velodrome::Runtime::new()?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`run`], but for the last.
    pub fn new() -> io::Result<Self> {
        Builder::new().build()
    }

    /// Run `future` until it is done.
    ///
    /// ```
    /// let runtime = velodrome::Runtime::new()?;
    /// assert_eq!(runtime.block_on(async { 7 })?, 7);
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `Deadlock` from within a running loop; what the kernel says should waiting fail.
    pub fn block_on<F: Future>(&self, future: F) -> io::Result<F::Output> {
        let _entered = Entered::run(Rc::clone(&self.local))?;
        let waker = Waker::from(self.local.new_main_waker());
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        self.local.wake_main();
        loop {
            if self.local.take_main_due()
                && let Poll::Ready(output) = future.as_mut().poll(&mut context)
            {
                return Ok(output);
            }
            self.local.turn()?;
        }
    }
}

impl Runtime {
    /// This loop, for other threads.
    ///
    /// ```
    /// let runtime = velodrome::Runtime::new()?;
    /// let handle = runtime.handle();
    /// drop(runtime);
    /// assert!(!handle.call_soon(|| ()), "it is over");
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(&self.local)
    }

    /// End the runtime, and wait for what [`spawn_blocking`](crate::spawn_blocking) was given no longer than `duration`, where
    /// dropping would wait for five minutes. What has not begun by then never will, and what has goes on, unheard: a thread
    /// cannot be stopped. One that reads the standard input is the usual case: it comes back when somebody presses a key.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = velodrome::Runtime::new()?;
    /// runtime.block_on(async {
    ///     // It waits for a line that may never come.
    ///     velodrome::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).detach();
    /// })?;
    /// runtime.shutdown_timeout(Duration::from_millis(1));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown_timeout(mut self, duration: Duration) {
        self.patience = Some(duration);
    }

    /// End the runtime, and wait for no thread: [`shutdown_timeout`](Self::shutdown_timeout) of zero.
    ///
    /// ```
    /// let runtime = velodrome::Runtime::new()?;
    /// runtime.block_on(async {
    ///     velodrome::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_secs(3600))).detach();
    /// })?;
    /// runtime.shutdown_background();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown_background(self) {
        self.shutdown_timeout(Duration::ZERO);
    }

    /// What it is called: see [`Builder::name`].
    ///
    /// ```
    /// assert_eq!(velodrome::Runtime::new()?.name(), "velodrome");
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.local.name()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.local.shut_down(self.patience);
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("tasks", &self.local.tasks.len()).finish_non_exhaustive()
    }
}

/// Choices for a [`Runtime`].
///
/// ```
/// use std::time::Duration;
/// use velodrome::{Builder, Clock, Driver};
///
/// // No kernel and no time: waiting moves the clock, so an hour is over at once.
/// let (clock, hand) = Clock::manual();
/// let (driver, _script) = Driver::fake(hand.clone());
/// let runtime = Builder::new().driver(driver).clock(clock).build()?;
/// runtime.block_on(velodrome::sleep(Duration::from_secs(3600)))?;
/// assert_eq!(Duration::from_nanos(hand.now()), Duration::from_secs(3600));
/// # std::io::Result::Ok(())
/// ```
#[derive(Default)]
pub struct Builder {
    driver: Option<Driver>,
    clock: Option<Clock>,
    on_error: Option<OnError>,
    name: Option<String>,
    blocking_threads: Option<usize>,
    paused: Option<ManualClock>,
}

impl Builder {
    /// The environment's driver, the system's clock, and errors to the standard error stream.
    ///
    /// ```
    /// let runtime = velodrome::Builder::new().build()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Use this driver.
    ///
    /// ```
    /// use velodrome::{Builder, Driver};
    ///
    /// // The platform's best, whatever the environment says.
    /// let runtime = Builder::new().driver(Driver::new()?).build()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = Some(driver);
        self
    }

    /// Use this clock. One set by hand belongs with [`Driver::fake`], which moves it: a kernel would sleep as long as
    /// that clock says, and find that no time has passed.
    ///
    /// ```
    /// use velodrome::{Builder, Clock, Driver};
    ///
    /// let (clock, hand) = Clock::manual();
    /// let (driver, _script) = Driver::fake(hand);
    /// let runtime = Builder::new().driver(driver).clock(clock).build()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Let time stand still, and move to the next deadline by itself whenever there is nothing else to do: for tests, in
    /// which an hour is over at once and no sleep is inexact. `hand` moves it besides.
    ///
    /// The kernel is asked as ever, so streams work. What it takes for something to arrive from outside the process is no
    /// time on this clock, so a time-out beside it comes at once; waiting for [`spawn_blocking`](crate::spawn_blocking)
    /// keeps time from moving.
    ///
    /// ```
    /// use std::time::Duration;
    /// use velodrome::{Builder, ManualClock};
    ///
    /// let hand = ManualClock::default();
    /// let runtime = Builder::new().paused(&hand).build()?;
    /// runtime.block_on(velodrome::sleep(Duration::from_secs(3600)))?;
    /// assert_eq!(Duration::from_nanos(hand.now()), Duration::from_secs(3600));
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn paused(mut self, hand: &ManualClock) -> Self {
        self.clock = Some(hand.clock());
        self.paused = Some(hand.clone());
        self
    }

    /// Call the runtime so, instead of `velodrome`, and the threads of [`spawn_blocking`](crate::spawn_blocking) with it.
    /// Those that look up names are called `velodrome-resolver` everywhere, and those that keep a [`sleep`](crate::sleep)
    /// where no loop runs `velodrome-sleep`.
    ///
    /// ```
    /// let runtime = velodrome::Builder::new().name("crawler").build()?;
    /// assert_eq!(runtime.name(), "crawler");
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// So many threads at most for [`spawn_blocking`](crate::spawn_blocking), instead of asyncio's number: four more
    /// than there are processors, but no more than 32. They are started when they are needed.
    ///
    /// ```
    /// let runtime = velodrome::Builder::new().blocking_threads(1).build()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = Some(threads);
        self
    }

    /// Tell `report` of errors that have no caller, as those of a server's connections, instead of the standard error
    /// stream: asyncio's `set_exception_handler`. A panic goes to the panic hook, as ever, and so does one in `report`.
    ///
    /// ```
    /// let runtime = velodrome::Builder::new().on_error(|error| eprintln!("while {}: {error}", error.doing())).build()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn on_error(mut self, report: impl Fn(&Unhandled) + 'static) -> Self {
        self.on_error = Some(Rc::new(report));
        self
    }

    /// Make the loop.
    ///
    /// ```
    /// let runtime = velodrome::Builder::new().name("tests").build()?;
    /// assert_eq!(runtime.block_on(async { 7 })?, 7);
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn build(self) -> io::Result<Runtime> {
        orphans::reap();
        let driver = self.driver.map_or_else(Driver::from_env, Ok)?;
        let engine = EventLoop::with(driver, self.clock.unwrap_or_else(Clock::monotonic))?;
        let settings = Settings {
            on_error: self.on_error.unwrap_or_else(to_stderr),
            name: self.name.unwrap_or_else(|| "velodrome".into()),
            blocking_threads: self.blocking_threads,
            paused: self.paused,
        };
        Ok(Runtime { local: Local::new(Rc::new(engine), settings), patience: None })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { driver, clock, .. } = self;
        f.debug_struct("Builder").field("driver", driver).field("clock", clock).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::time::Duration;

    use super::*;
    use crate::{Server, StreamWriter, open_connection, sleep, spawn, start_server, yield_now};

    /// Everything that knows its loop, left where it waits.
    async fn litter() -> io::Result<(Server, StreamWriter)> {
        let handler = |reader, writer| async move {
            let _kept: (crate::StreamReader, StreamWriter) = (reader, writer);
            pending::<()>().await;
        };
        let server = start_server(handler, "127.0.0.1", 0).await?;
        let (mut reader, writer) = open_connection("127.0.0.1", server.local_addr()?.port()).await?;
        drop(spawn(async move { reader.read(1).await }));
        drop(spawn(sleep(Duration::from_secs(3600))));
        drop(spawn(async { open_connection("localhost", 1).await.map(drop) }));
        let waits = spawn(pending::<()>());
        drop(spawn(waits));
        yield_now().await;
        let _queued = spawn(async {});
        Ok((server, writer))
    }

    #[test]
    fn a_task_stands_in_the_queue_once_however_often_it_is_woken() {
        let runtime = Runtime::new().unwrap();
        let queued = runtime.block_on(async {
            let wakers = Rc::new(std::cell::RefCell::new(Vec::new()));
            let left = Rc::clone(&wakers);
            drop(spawn(poll_fn(move |cx| {
                // Twice while it runs, for the queue it joins afterwards.
                (0..2).for_each(|_| cx.waker().wake_by_ref());
                left.borrow_mut().push(cx.waker().clone());
                Poll::<()>::Pending
            })));
            yield_now().await;
            (0..10).for_each(|_| wakers.borrow()[0].wake_by_ref());
            runtime.local.hub().ready.len()
        });
        assert_eq!(queued.unwrap(), 1);
    }

    #[test]
    fn nothing_keeps_a_loop_that_is_over() {
        let runtime = Runtime::new().unwrap();
        let left = Rc::downgrade(&runtime.local);
        let litter = runtime.block_on(litter()).unwrap().unwrap();
        assert!(runtime.local.tasks.len() >= 6);
        drop(runtime);
        assert!(left.upgrade().is_none());
        assert!(litter.1.is_closing());
    }
}
