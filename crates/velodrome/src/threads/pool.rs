//! Threads for what blocks: files, name look-ups of one's own, long computations. `loop.run_in_executor(None, …)`.
//!
//! A thread is started when there is work that no idle one can take, up to a bound; beyond it work waits in a queue. One
//! that has had nothing to do for a while ends. When the runtime ends, what is queued is still done and waited for, as
//! `asyncio.run` does with its default executor: a function that was promised to run may be what saves a file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::promise::promise;
use super::remote::RemoteTask;
use crate::atomics::{Condvar, Mutex, MutexGuard, PoisonError, thread};
use crate::local;
use crate::task::error::Ending;
use crate::task::{caught, discard};

/// How long a thread waits for work before it ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the end of a runtime waits for what blocks: asyncio's `THREAD_JOIN_TIMEOUT`.
const RUN_DOWN: Duration = Duration::from_secs(300);

/// As `concurrent.futures.ThreadPoolExecutor`: a few more than there are processors, because most of them wait, and no
/// more than 32, because a thread costs memory on a machine with many.
fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).saturating_add(4).min(32)
}

/// What its tasks are called where they are no longer.
const KIND: &str = "on a blocking thread";

/// It is told whether there is a thread for it.
type Job = Box<dyn FnOnce(Result<(), NoThread>) + Send>;

/// The system starts no thread, and there is none.
struct NoThread;

#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is work, or will be none.
    work: Condvar,
    /// A thread has ended.
    ended: Condvar,
    limit: usize,
    name: String,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    /// A pool of so many threads at most, none of which exists yet.
    pub(crate) fn new(limit: Option<usize>, name: &str) -> Self {
        let limit = limit.unwrap_or_else(default_threads).max(1);
        let name = format!("{name}-blocking");
        Self(Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            limit,
            name,
        }))
    }

    /// Whether anything is queued or being done.
    pub(crate) fn is_busy(&self) -> bool {
        let state = self.0.lock();
        !state.jobs.is_empty() || state.idle < state.threads
    }

    pub(super) fn run<T, W>(&self, function: W) -> RemoteTask<T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (promise, promised) = promise();
        self.submit(Box::new(move |thread| {
            if !promise.is_settled() {
                promise.keep(thread.map_err(|NoThread| Ending::NoThread).and_then(|()| caught(function)));
            }
        }));
        RemoteTask::new(promised, KIND)
    }

    fn submit(&self, job: Job) {
        let mut state = self.0.lock();
        if state.closed {
            drop(state);
            return discard(job);
        }
        state.jobs.push_back(job);
        if state.jobs.len() > state.idle && state.threads < self.0.limit {
            state.threads += 1;
            drop(state);
            self.start_thread();
        } else {
            self.0.work.notify_one();
        }
    }

    fn start_thread(&self) {
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name(self.0.name.clone()).spawn(move || shared.work());
        if thread.is_err() {
            self.do_without();
        }
    }

    /// The thread that was counted does not come. Where there is no other either, nobody would do what is queued.
    fn do_without(&self) {
        let mut state = self.0.lock();
        state.threads -= 1;
        let lost = if state.threads == 0 { std::mem::take(&mut state.jobs) } else { VecDeque::new() };
        drop(state);
        lost.into_iter().for_each(|job| carry_out(job, Err(NoThread)));
    }

    /// Do what is queued, take nothing more, and wait until all threads have ended; if somebody says so, for as long as that
    /// at most, and leave undone then what has not begun.
    pub(crate) fn shut_down(&self, patience: Option<Duration>) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.work.notify_all();
        let limit = patience.unwrap_or(RUN_DOWN);
        let waited = self.0.ended.wait_timeout_while(state, limit, |state| state.threads > 0);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if patience.is_some() {
            let undone = std::mem::take(&mut state.jobs);
            drop(state);
            undone.into_iter().for_each(discard);
        }
    }
}

impl Shared {
    /// Jobs run, and their panics are caught, with the lock open; nothing that holds it can fail.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next_job() {
            carry_out(job, Ok(()));
        }
        self.ended.notify_all();
    }

    /// None when this thread is to end; it is no longer counted then.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        if state.jobs.is_empty() && !state.closed {
            state.idle += 1;
            let wait =
                self.work.wait_timeout_while(state, PATIENCE, |state| state.jobs.is_empty() && !state.closed);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
        let job = state.jobs.pop_front();
        if job.is_none() {
            state.threads -= 1;
        }
        job
    }
}

/// A job catches what its function does, but drops what is the user's too: the result that nobody wants, or the function
/// that is not to run. A thread that ended by that would be counted, and waited for, for ever.
fn carry_out(job: Job, thread: Result<(), NoThread>) {
    let _ = caught(|| job(thread));
}

/// Run `function` on a thread of its own, beside the loop: for what would block it. It begins at once, or when one of
/// the pool's threads is free (see [`Builder::blocking_threads`](crate::Builder::blocking_threads)).
///
/// A panic in it is the task's error. When the runtime is dropped it waits for what was begun or queued, for five
/// minutes at most, or as long as [`Runtime::shutdown_timeout`](crate::Runtime::shutdown_timeout) says. Where no loop
/// runs, the function is dropped, and awaiting the task says so.
///
/// ```
/// velodrome::run(async {
///     let text = velodrome::spawn_blocking(|| std::fs::read_to_string("Cargo.toml"));
///     assert!(text.await.unwrap()?.contains("velodrome"));
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
pub fn spawn_blocking<T, W>(function: W) -> RemoteTask<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    match local::current() {
        None => nowhere(),
        Some(local) => local.pool().run(function),
    }
}

fn nowhere<T>() -> RemoteTask<T> {
    let (promise, promised) = promise();
    promise.keep(Err(Ending::NoPool));
    RemoteTask::new(promised, KIND)
}

/// Await `function` on a thread of its own: `asyncio.to_thread`. As [`spawn_blocking`], but it begins when it is awaited,
/// and is not begun any more if the waiting is given up before.
///
/// **Cancel safety**: when it is dropped, the function never runs, or runs to its end unheard.
///
/// ```
/// velodrome::run(async {
///     let sum = velodrome::to_thread(|| (1..=10).sum::<u32>()).await;
///     assert_eq!(sum.unwrap(), 55);
/// })?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// [`TaskError`](crate::TaskError), if the function panicked, or no loop runs here.
pub async fn to_thread<T, W>(function: W) -> Result<T, crate::TaskError>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let mut task = CancelOnDrop(spawn_blocking(function));
    (&mut task.0).await
}

struct CancelOnDrop<T>(RemoteTask<T>);

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_thread_comes_for_says_so() {
        let (pool, (promise, promised)) = (Pool::new(Some(1), "test"), promise::<()>());
        let job = |thread: Result<(), NoThread>| promise.keep(thread.map_err(|NoThread| Ending::NoThread));
        let mut state = pool.0.lock();
        state.jobs.push_back(Box::new(job));
        state.threads = 1;
        drop(state);
        pool.do_without();
        let error = RemoteTask::new(promised, KIND).join().unwrap_err();
        assert!(error.to_string().contains("ulimit -u") && !error.is_cancelled(), "{error}");
        assert!(!pool.is_busy());
    }
}

#[cfg(test)]
#[cfg(loom)]
#[path = "pool_model.rs"]
mod model;
