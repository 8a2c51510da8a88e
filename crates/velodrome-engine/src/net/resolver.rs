//! Name resolution on threads of its own.
//!
//! The system's resolver blocks, for seconds when a name server is silent, and offers no way to stop it. So lookups
//! get threads that nothing else depends on: a pool shared with other work would stand still behind a few dead name
//! servers. Threads are started when there is work, end when there is none, and are never waited for: dropping the
//! resolver abandons what is under way. After a fork the child must make a resolver of its own.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::sys::{SocketType, names};

/// Most threads at a time. They sleep rather than compute, so the number of processors is no measure; sixteen keeps
/// a dozen names with dead servers from delaying the others, and is few enough for any limit on threads.
const MAX_THREADS: usize = 16;

/// How long a thread waits for more work. Names are asked in bursts, and starting a thread costs about what a cached
/// answer does; an idle program should soon be one thread again.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// Linux shows fifteen bytes of it.
const THREAD_NAME: &str = "velodrome-resolver";

/// Work for the pool.
pub type Job = Box<dyn FnOnce() + Send>;

/// Takes the answer to a query; called on a thread of the pool.
pub type Done = Box<dyn FnOnce(io::Result<Vec<SocketAddr>>) + Send>;

type Query = (String, u16);
type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Resolves names on threads that exist only while they are needed.
pub struct Resolver {
    pool: Arc<Pool>,
    lookup: Arc<Lookup>,
}

struct Pool {
    state: Mutex<State>,
    /// Signalled once for every job, and to all when the resolver is dropped.
    changed: Condvar,
    idle_time: Duration,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Threads that have no job: waiting, or just started. While jobs are no more than these, all are in good hands.
    idle: usize,
    /// The resolver is gone: threads end as soon as they are idle.
    closed: bool,
    /// Who waits for each query that is queued or being looked up. They stand here and not in the job, so that those
    /// who outlive the resolver are dropped by whoever drops it, and not at any time by a stuck thread.
    waiting: HashMap<Query, Vec<Done>>,
}

impl Resolver {
    /// A resolver that asks the system. Starts no thread yet.
    pub fn new() -> Self {
        Self::with_lookup(ask_system)
    }

    /// A resolver that asks `lookup`, which may block: for tests, and for programs with a name service of their own.
    pub fn with_lookup(
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { pool: Arc::new(Pool::new(IDLE_TIME)), lookup: Arc::new(lookup) }
    }

    /// Looks up `host` and calls `done` on another thread. A query that is under way already is not made again. If no
    /// thread can be started at all, `done` is called here, with that error.
    pub fn resolve(&self, host: String, port: u16, done: Done) {
        let query = (host, port);
        match self.pool.state().waiting.entry(query.clone()) {
            Entry::Occupied(mut waiting) => return waiting.get_mut().push(done),
            Entry::Vacant(place) => drop(place.insert(vec![done])),
        }
        let (pool, lookup, asked) = (Arc::clone(&self.pool), Arc::clone(&self.lookup), query.clone());
        if let Err(error) = self.submit(Box::new(move || pool.answer(&asked, &look_up(&*lookup, &asked)))) {
            self.pool.answer(&query, &Err(error));
        }
    }

    /// Runs any blocking `job` on a thread of the pool. A panic in it is reported by the panic hook and ends nothing
    /// else. An error means that no thread could be started and that the job was dropped.
    pub fn submit(&self, job: Job) -> io::Result<()> {
        Pool::submit(&self.pool, job)
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.closed = true;
        let abandoned = (std::mem::take(&mut state.jobs), std::mem::take(&mut state.waiting));
        drop(state);
        self.pool.changed.notify_all();
        // Outside the lock: what they own may have a destructor that asks for something.
        drop(abandoned);
    }
}

impl Pool {
    fn new(idle_time: Duration) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), idle_time }
    }

    /// Nothing of ours panics while it holds the lock, so a poisoned one is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut state = self.state();
        if state.jobs.len() >= state.idle && state.threads < MAX_THREADS {
            self.start_thread(&mut state)?;
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Fails only if there is no thread at all; otherwise those that there are will come to the new job in time.
    fn start_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let pool = Arc::clone(self);
        match thread::Builder::new().name(THREAD_NAME.into()).spawn(move || pool.work()) {
            Ok(_) => {
                state.threads += 1;
                state.idle += 1;
                Ok(())
            }
            Err(error) if state.threads == 0 => Err(error),
            Err(_) => Ok(()),
        }
    }

    fn work(&self) {
        while let Some(job) = self.next_job() {
            // The hook has reported a panic by now, and whoever waited for the job has been told by its destructor.
            drop(catch_unwind(AssertUnwindSafe(job)));
            self.state().idle += 1;
        }
    }

    /// A job, for which the thread is no longer idle; or none, after which the thread no longer counts.
    fn next_job(&self) -> Option<Job> {
        let nothing_to_do = |state: &mut State| state.jobs.is_empty() && !state.closed;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.state(), self.idle_time, nothing_to_do)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        let job = state.jobs.pop_front();
        if job.is_none() {
            state.threads -= 1;
        }
        job
    }

    /// Tells everyone who waits for `query`. One who panics does not keep the others from their answer.
    fn answer(&self, query: &Query, answer: &io::Result<Vec<SocketAddr>>) {
        let waiting = self.state().waiting.remove(query).unwrap_or_default();
        for done in waiting {
            let answer =
                answer.as_ref().map_or_else(|error| Err(same_error(error)), |found| Ok(found.clone()));
            drop(catch_unwind(AssertUnwindSafe(|| done(answer))));
        }
    }
}

/// The addresses for stream sockets. The standard library asks for the same, and does not tell a name that there is not
/// from a name server that is silent.
fn ask_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let hints = names::Hints { kind: Some(SocketType::STREAM), ..names::Hints::default() };
    let mut found: Vec<_> =
        names::getaddrinfo(Some(host), None, hints)?.into_iter().map(|info| info.address).collect();
    found.iter_mut().for_each(|address| address.set_port(port));
    Ok(found)
}

fn look_up(lookup: &Lookup, (host, port): &Query) -> io::Result<Vec<SocketAddr>> {
    catch_unwind(AssertUnwindSafe(|| lookup(host, *port)))
        .unwrap_or_else(|_| Err(io::Error::other("the lookup of a name panicked")))
}

/// Errors of the standard library cannot be cloned, but everyone who asked is to have one.
fn same_error(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    type Answer = io::Result<Vec<SocketAddr>>;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn ask(resolver: &Resolver, host: &str, sender: &Sender<Answer>) {
        let sender = sender.clone();
        resolver.resolve(host.into(), 7, Box::new(move |answer| drop(sender.send(answer))));
    }

    #[track_caller]
    fn answered<T>(receiver: &Receiver<T>) -> T {
        receiver.recv_timeout(PATIENCE).expect("an answer")
    }

    /// A resolver whose lookups wait until they are let go, and the sender that lets one go.
    fn held() -> (Resolver, Sender<()>, Arc<AtomicUsize>) {
        let (release, gate) = mpsc::channel();
        let (gate, lookups) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&lookups);
        let resolver = Resolver::with_lookup(move |_, port| {
            counter.fetch_add(1, Ordering::SeqCst);
            gate.lock().unwrap().recv().map_err(io::Error::other)?;
            Ok(vec![address(port)])
        });
        (resolver, release, lookups)
    }

    #[test]
    fn the_system_knows_numbers_and_refuses_nonsense() {
        let (sender, receiver) = mpsc::channel();
        let resolver = Resolver::new();
        ask(&resolver, "127.0.0.1", &sender);
        assert_eq!(answered(&receiver).unwrap(), [SocketAddr::from(([127, 0, 0, 1], 7))]);
        ask(&resolver, "not a name\0", &sender);
        assert!(answered(&receiver).is_err());
    }

    #[test]
    fn identical_queries_under_way_are_one_lookup() {
        let (resolver, release, lookups) = held();
        let (sender, receiver) = mpsc::channel();
        for _ in 0..5 {
            ask(&resolver, "one", &sender);
        }
        release.send(()).unwrap();
        for _ in 0..5 {
            assert_eq!(answered(&receiver).unwrap(), [address(7)]);
        }
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
        release.send(()).unwrap();
        ask(&resolver, "one", &sender);
        answered(&receiver).unwrap();
        assert_eq!(lookups.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_lookup_that_panics_is_an_error_for_all_who_asked() {
        let resolver = Resolver::with_lookup(|_, _| panic!("planted"));
        let (sender, receiver) = mpsc::channel();
        ask(&resolver, "a", &sender);
        assert!(answered(&receiver).unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn threads_grow_with_the_work_up_to_the_bound() {
        let resolver = Resolver::new();
        let (all_at_once, (sender, receiver)) = (Arc::new(Barrier::new(MAX_THREADS)), mpsc::channel());
        for _ in 0..MAX_THREADS * 3 {
            let (barrier, sender) = (Arc::clone(&all_at_once), sender.clone());
            resolver
                .submit(Box::new(move || {
                    barrier.wait();
                    sender.send(()).unwrap();
                }))
                .unwrap();
        }
        for _ in 0..MAX_THREADS * 3 {
            answered(&receiver);
        }
        assert_eq!(resolver.pool.state().threads, MAX_THREADS);
    }

    #[test]
    fn panics_neither_end_threads_nor_lose_count_of_them() {
        let resolver = Resolver::new();
        for _ in 0..MAX_THREADS * 2 {
            resolver.submit(Box::new(|| panic!("planted"))).unwrap();
        }
        let (sender, receiver) = mpsc::channel();
        ask(&resolver, "127.0.0.1", &sender);
        answered(&receiver).unwrap();
        let mut state = resolver.pool.state();
        while state.idle < state.threads || !state.jobs.is_empty() {
            drop(state);
            thread::yield_now();
            state = resolver.pool.state();
        }
        assert!((1..=MAX_THREADS).contains(&state.threads));
    }

    #[test]
    fn idle_threads_end() {
        let mut resolver = Resolver::new();
        resolver.pool = Arc::new(Pool::new(Duration::from_millis(1)));
        resolver.submit(Box::new(|| ())).unwrap();
        while resolver.pool.state().threads > 0 {
            thread::yield_now();
        }
        let (sender, receiver) = mpsc::channel();
        ask(&resolver, "127.0.0.1", &sender);
        answered(&receiver).unwrap();
    }

    #[test]
    fn dropping_does_not_wait_for_a_stuck_lookup_and_abandons_those_who_asked() {
        let (resolver, release, lookups) = held();
        let (sender, receiver) = mpsc::channel();
        ask(&resolver, "stuck", &sender);
        drop(sender);
        while lookups.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let pool = Arc::clone(&resolver.pool);
        drop(resolver);
        assert!(
            receiver.recv_timeout(PATIENCE).is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected)
        );
        release.send(()).unwrap();
        while pool.state().threads > 0 {
            thread::yield_now();
        }
    }
}
