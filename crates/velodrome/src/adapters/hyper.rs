//! What hyper asks of a runtime: connections (a [`Duplex`] is one), an [`Executor`], and a [`Timer`].
//!
//! ```
//! # use std::{convert::Infallible, io};
//! use http_body_util::{BodyExt, Empty};
//! use hyper::{Request, Response, service::service_fn};
//! use velodrome::adapters::{Duplex, hyper::Timer};
//! use velodrome::{StreamReader, StreamWriter};
//!
//! async fn serve(reader: StreamReader, writer: StreamWriter) -> hyper::Result<()> {
//!     let greet = service_fn(|request: Request<hyper::body::Incoming>| async move {
//!         Ok::<_, Infallible>(Response::new(format!("hello {}", request.uri().path())))
//!     });
//!     let http = hyper::server::conn::http1::Builder::new().timer(Timer).clone();
//!     http.serve_connection(Duplex::new(reader, writer), greet).await
//! }
//!
//! velodrome::run(async {
//!     let server = velodrome::start_server(serve, "127.0.0.1", 0).await?;
//!     let port = server.local_addr()?.port();
//!
//!     let connection = Duplex::from(velodrome::open_connection("127.0.0.1", port).await?);
//!     let (mut client, driving) = hyper::client::conn::http1::handshake(connection).await?;
//!     velodrome::spawn(driving);
//!     let request = Request::get("/world").body(Empty::<bytes::Bytes>::new())?;
//!     let answer = client.send_request(request).await?;
//!     assert_eq!(answer.into_body().collect().await?.to_bytes(), "hello /world");
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?.unwrap();
//! # io::Result::Ok(())
//! ```

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Sleep, Write};
use velodrome_engine::ready::{Run, Runnable};
use velodrome_engine::timers::TimerKey;

use super::Duplex;
use crate::atomics::{Mutex, MutexGuard, PoisonError, thread};
use crate::local::{self, Local};
use crate::task::Door;

/// Spawns what hyper wants to have run beside, as [`spawn`](crate::spawn) does. Futures need not be `Send`.
///
/// ```
/// use hyper::rt::Executor as _;
/// use velodrome::adapters::hyper::Executor;
///
/// # velodrome::run(async {
/// let (sender, receiver) = velodrome::sync::oneshot::channel();
/// Executor.execute(async { sender.send("done") });
/// assert_eq!(receiver.await, Ok("done"));
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, Debug, Default)]
pub struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(crate::spawn(future));
    }
}

impl Read for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.reader.poll_take(cx, |bytes| {
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..count]);
            count
        })
    }
}

impl Write for Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.writer.poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_finish(cx)
    }
}

/// The loop's timers, for hyper's time-outs.
///
/// ```
/// use std::time::Duration;
/// use hyper::rt::Timer as _;
/// use velodrome::adapters::hyper::Timer;
///
/// velodrome::run(async { Timer.sleep(Duration::from_millis(1)).await })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, Debug, Default)]
pub struct Timer;

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Nap::new(duration))
    }

    #[allow(clippy::disallowed_methods, reason = "hyper counts in the standard library's instants")]
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}

/// A sleep that may travel between threads, as hyper demands of it, though it never does here. The timer stays with its
/// loop, which is all that knows it; the two share a flag.
struct Nap {
    duration: Duration,
    /// When it is over: hyper makes them long before they are polled.
    deadline: crate::Instant,
    /// Whose clock that is on, if it is moved by hand; else it is the system's.
    hand: Option<Door>,
    shared: Arc<Shared>,
    /// While it is set: on which loop, and which.
    timer: Option<(Door, TimerKey)>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    begun: bool,
    over: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let mut state = self.state();
        state.over = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn keep(&self, duration: Duration) {
        thread::sleep(duration);
        self.ring();
    }
}

struct Bell(Arc<Shared>);

impl Run for Bell {
    fn run(self: Rc<Self>, _: usize) {
        self.0.ring();
    }
}

/// The loop that runs here, if its clock is moved by hand.
fn hand_here() -> Option<Door> {
    let local = local::current().filter(|local| local.hub().clock.is_manual());
    local.map(|local| Arc::clone(local.door()))
}

impl Nap {
    fn new(duration: Duration) -> Self {
        let deadline = crate::Instant::now() + duration;
        Self { duration, deadline, hand: hand_here(), shared: Arc::default(), timer: None }
    }

    fn begin(&mut self) {
        // Between two clocks there is no telling what has passed.
        let same = hand_here().as_ref().map(Arc::as_ptr) == self.hand.as_ref().map(Arc::as_ptr);
        let left = if same { self.deadline - crate::Instant::now() } else { self.duration };
        match local::current() {
            Some(local) => self.begin_on(&local, left),
            None => self.begin_elsewhere(left),
        }
    }

    fn begin_on(&mut self, local: &Local, left: Duration) {
        let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        let (hub, bell) = (local.hub(), Rc::new(Bell(Arc::clone(&self.shared))));
        let key = hub.call_at(hub.clock.now().saturating_add(nanos), Runnable::from_rc(bell, 0));
        self.timer = Some((Arc::clone(local.door()), key));
    }

    /// Where no loop of ours runs, a thread keeps it: dear, but right.
    fn begin_elsewhere(&self, left: Duration) {
        let keeper = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("velodrome-sleep".into()).spawn(move || keeper.keep(left));
        if thread.is_err() {
            // No thread to be had: the time passes here, or it would never be over.
            self.shared.keep(left);
        }
    }
}

impl Future for Nap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.state();
        if state.over {
            return Poll::Ready(());
        }
        let begun = std::mem::replace(&mut state.begun, true);
        // The one it replaces is dropped when the lock is open again.
        let _last = state.waker.replace(cx.waker().clone());
        drop(state);
        if !begun {
            self.begin();
        }
        Poll::Pending
    }
}

impl Drop for Nap {
    /// On another thread than its loop's the timer stays, and rings for nobody.
    fn drop(&mut self) {
        if let Some((door, key)) = self.timer.take()
            && let Some(local) = local::current().filter(|local| Arc::ptr_eq(local.door(), &door))
        {
            drop(local.hub().cancel_timer(key));
        }
    }
}

impl Sleep for Nap {}

#[cfg(test)]
#[cfg(loom)]
#[path = "hyper_model.rs"]
mod model;

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::task::Wake;

    use super::*;

    /// Comes back when it is dropped.
    struct Curious(Weak<Shared>);

    impl Wake for Curious {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Curious {
        fn drop(&mut self) {
            let Some(shared) = self.0.upgrade() else { return };
            assert!(shared.0.try_lock().is_ok(), "dropped with the lock held");
        }
    }

    #[test]
    fn a_waker_that_is_replaced_is_dropped_with_the_lock_open() {
        let mut nap = Nap::new(Duration::ZERO);
        nap.shared.state().begun = true;
        let shared = Arc::clone(&nap.shared);
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Curious(Arc::downgrade(&shared))));
            assert!(Pin::new(&mut nap).poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }
}
