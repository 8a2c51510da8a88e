//! A loop as other threads see it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use velodrome_engine::ready::{RunShared, SendRunnable};

use super::pool::Pool;
use super::promise::{Promise, promise};
use super::remote::RemoteTask;
use crate::atomics::{Mutex, PoisonError};
use crate::local::{self, Local};
use crate::task::error::Ending;
use crate::task::{Door, caught, discard, poll_caught, spawn};

/// A loop, for other threads: they may start tasks on it and call functions there, and need not wait for it.
///
/// It keeps nothing alive. When the loop is over, what is sent to it is dropped, and tasks count as cancelled.
///
/// ```
/// velodrome::run(async {
///     let handle = velodrome::Handle::current()?;
///     let thread = std::thread::spawn(move || handle.spawn(async { 6 * 7 }));
///     let task = velodrome::to_thread(move || thread.join().unwrap()).await.unwrap();
///     assert_eq!(task.await.unwrap(), 42);
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Handle {
    door: Door,
    pool: Pool,
}

impl Handle {
    pub(crate) fn new(local: &Local) -> Self {
        Self { door: Door::clone(local.door()), pool: local.pool().clone() }
    }

    /// The handle of the loop that runs on this thread.
    ///
    /// ```
    /// assert!(velodrome::Handle::current().is_err());
    /// velodrome::run(async { assert!(velodrome::Handle::current().is_ok()) })?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If none does.
    pub fn current() -> io::Result<Self> {
        local::require("Handle::current").map(|local| Self::new(&local))
    }

    /// Start `future` as a task on the loop: `asyncio.run_coroutine_threadsafe`. It travels there, so it must be `Send`;
    /// but what waits for a timer or a stream on the way belongs to its loop and is not: see
    /// [`spawn_with`](Self::spawn_with).
    ///
    /// ```
    /// # let runtime = velodrome::Runtime::new()?;
    /// let handle = runtime.handle();
    /// let thread = std::thread::spawn(move || handle.spawn(async { "done" }).join().unwrap());
    /// let answer = velodrome::to_thread(move || thread.join().unwrap());
    /// assert_eq!(runtime.block_on(answer)?.unwrap(), "done");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spawn<F>(&self, future: F) -> RemoteTask<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_with(move || future)
    }

    /// Call `make` on the loop's thread, and start the future that it returns as a task. Only the function travels there,
    /// and the result back: the future may hold what is not `Send`.
    ///
    /// ```
    /// # let runtime = velodrome::Runtime::new()?;
    /// # let handle = runtime.handle();
    /// let task = handle.spawn_with(|| async {
    ///     let stays_there = std::rc::Rc::new(7);
    ///     velodrome::yield_now().await;
    ///     *stays_there
    /// });
    /// assert_eq!(runtime.block_on(task)?.unwrap(), 7);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spawn_with<M, F>(&self, make: M) -> RemoteTask<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output: Send + 'static> + 'static,
    {
        let (promise, promised) = promise();
        self.call_soon(move || match caught(make) {
            Ok(future) => drop(spawn(relay(future, promise))),
            Err(panic) => promise.keep(Err(panic)),
        });
        RemoteTask::new(promised, "of another thread")
    }

    /// Run `function` on one of the threads that the loop keeps for what blocks: [`spawn_blocking`](crate::spawn_blocking),
    /// for a thread on which no loop runs. It does not wait for the loop to come to it, and that does wait for it in the end.
    ///
    /// ```
    /// # let runtime = velodrome::Runtime::new()?;
    /// # let handle = runtime.handle();
    /// let thread = std::thread::spawn(move || handle.spawn_blocking(|| 6 * 7).join().unwrap());
    /// assert_eq!(thread.join().unwrap(), 42);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spawn_blocking<T, W>(&self, function: W) -> RemoteTask<T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        self.pool.run(function)
    }

    /// Call `function` on the loop's thread, in the next turn: `loop.call_soon_threadsafe`. False if the loop is over;
    /// it was dropped then. A panic in it goes to the panic hook and no further.
    ///
    /// ```
    /// # let runtime = velodrome::Runtime::new()?;
    /// # let handle = runtime.handle();
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// assert!(handle.call_soon(move || sender.send(7).unwrap()));
    /// runtime.block_on(velodrome::sleep(std::time::Duration::from_millis(1)))?;
    /// assert_eq!(receiver.recv().unwrap(), 7);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn call_soon(&self, function: impl FnOnce() + Send + 'static) -> bool {
        let call = Call(Mutex::new(Some(Box::new(function))));
        self.door.push(SendRunnable::from_arc(Arc::new(call))).is_ok()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// A function on its way. The mutex is there for `Sync`; nobody contends for it.
struct Call(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Call {
    fn take(&self) -> Option<Box<dyn FnOnce() + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl RunShared for Call {
    fn run(self: Arc<Self>) {
        if let Some(function) = self.take() {
            let _ = caught(function);
        }
    }
}

impl Drop for Call {
    /// What the loop did not come to is dropped when that ends, with others behind it.
    fn drop(&mut self) {
        discard(self.take());
    }
}

/// Run `future` on this loop until it is done, or until nobody wants its output any more.
async fn relay<F: Future>(future: F, promise: Promise<F::Output>) {
    let result = {
        let mut future = pin!(Some(future));
        poll_fn(|cx| {
            if promise.poll_settled(cx).is_ready() {
                return Poll::Ready(Err(Ending::Cancelled));
            }
            poll_caught(future.as_mut(), cx)
        })
        .await
    };
    if promise.is_settled() {
        discard(result);
    } else {
        promise.keep(result);
    }
}
