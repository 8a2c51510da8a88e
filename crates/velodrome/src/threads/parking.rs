//! Waiting for a future on a thread that runs no loop: it sleeps until the future's waker is woken.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::local;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Let this thread wait until `future` is done, without a loop: for a thread that has to do with tasks of another one,
/// by a [`Handle`](crate::Handle) or a channel. To run tasks, timers and streams here, use [`run`](crate::run()).
///
/// ```
/// use velodrome::sync::mpsc;
///
/// let (sender, mut receiver) = mpsc::channel();
/// std::thread::spawn(move || sender.send("hello"));
/// assert_eq!(velodrome::block_on(receiver.receive())?, Some("hello"));
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// `Deadlock` where a loop runs on this thread: it would stand still, and might be what is waited for.
pub fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    local::refuse_within()?;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
        // An unpark that came before makes this return at once.
        thread::park();
    }
}
