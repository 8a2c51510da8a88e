//! Names to addresses, without blocking the loop.
//!
//! Numbers are recognised here and now. For names the system's resolver is asked, which blocks, on threads that the
//! engine keeps for it; the answer comes back as any wake-up from another thread does.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use velodrome_engine::net::address::numeric;

use crate::advice;
use crate::atomics::{Mutex, MutexGuard, PoisonError};
use crate::local::{self, Local};

struct Answer<T> {
    found: Option<io::Result<T>>,
    waker: Option<Waker>,
}

struct Lookup<T>(Mutex<Answer<T>>);

impl<T> Lookup<T> {
    fn new() -> Self {
        Self(Mutex::new(Answer { found: None, waker: None }))
    }

    fn answer(&self) -> MutexGuard<'_, Answer<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a thread of the resolver.
    fn found(&self, found: io::Result<T>) {
        let mut answer = self.answer();
        answer.found = Some(found);
        let waker = answer.waker.take();
        drop(answer);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<T>> {
        let mut answer = self.answer();
        if let Some(found) = answer.found.take() {
            return Poll::Ready(found);
        }
        // The one it replaces is dropped when the lock is open again.
        let _last = answer.waker.replace(cx.waker().clone());
        drop(answer);
        Poll::Pending
    }
}

/// The addresses of `host`, with `port`: `loop.getaddrinfo`, as far as a stream socket cares. [`LookupOptions`] asks for
/// more.
///
/// [`LookupOptions`]: crate::LookupOptions
///
/// A number is answered at once. A name is looked up by the system's resolver, on a thread that the loop keeps for
/// that.
///
/// **Cancel safety**: may be dropped at any time; a lookup that has begun goes on on its thread, and its answer is
/// dropped.
///
/// ```
/// # use std::io;
/// velodrome::run(async {
///     let addresses = velodrome::getaddrinfo("localhost", 80).await?;
///     assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
///
/// # Errors
/// `NotFound` if there is no such name, or it has no address; what the resolver says. If no loop runs on this thread.
pub async fn getaddrinfo(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    look_up(&*local::require("getaddrinfo")?, host, port).await
}

pub(super) type Done<T> = Box<dyn FnOnce(io::Result<T>) + Send>;

/// What a thread of the resolver tells, which `ask` sets to work.
pub(super) async fn answer_to<T: Send + 'static>(
    ask: impl FnOnce(Done<T>) -> io::Result<()>,
) -> io::Result<T> {
    let lookup = Arc::new(Lookup::new());
    let asked = Arc::clone(&lookup);
    ask(Box::new(move |found| asked.found(found)))?;
    poll_fn(|cx| lookup.poll(cx)).await
}

/// The addresses of `host`: one at least.
pub(crate) async fn look_up(local: &Local, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = numeric(host, port) {
        return Ok(vec![address]);
    }
    let ask = |done| {
        local.resolver().resolve(host.to_owned(), port, done);
        Ok(())
    };
    let found =
        answer_to(ask).await.and_then(|found| if found.is_empty() { Err(no_address()) } else { Ok(found) });
    found.map_err(|error| advice::unknown(format!("look up {host:?}"), error))
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it has no address")
}

#[cfg(test)]
#[cfg(loom)]
#[path = "lookup_model.rs"]
mod model;

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::task::Wake;

    use super::*;

    /// Comes back when it is dropped.
    struct Curious(Weak<Lookup<()>>);

    impl Wake for Curious {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Curious {
        fn drop(&mut self) {
            let Some(lookup) = self.0.upgrade() else { return };
            assert!(lookup.0.try_lock().is_ok(), "dropped with the lock held");
        }
    }

    #[test]
    fn a_waker_that_is_replaced_is_dropped_with_the_lock_open() {
        let lookup = Arc::new(Lookup::new());
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Curious(Arc::downgrade(&lookup))));
            assert!(lookup.poll(&Context::from_waker(&waker)).is_pending());
        }
    }
}
