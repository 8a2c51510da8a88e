//! The pool under loom, which runs every interleaving: `make loom`. A job that nobody comes to do leaves somebody waiting,
//! which loom reports; threads never tire of waiting here, as time does not pass.

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::*;

/// What jobs have done, for who waits until they have.
#[derive(Default)]
struct Done {
    count: Mutex<usize>,
    more: Condvar,
}

impl Done {
    fn job(self: &Arc<Self>) -> Job {
        let done = Arc::clone(self);
        Box::new(move |_| {
            *done.count.lock().unwrap() += 1;
            done.more.notify_all();
        })
    }

    /// Wait until so many jobs are done.
    fn wait(&self, count: usize) {
        let guard = self.count.lock().unwrap();
        drop(self.more.wait_timeout_while(guard, RUN_DOWN, |done| *done < count));
    }

    fn count(&self) -> usize {
        *self.count.lock().unwrap()
    }
}

/// So many interruptions of a thread are enough to find what these tests have been seen to find.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

/// The second finds a thread at work, or about to wait, or waiting; it is done without the end of the pool.
#[test]
fn each_job_is_done_by_whom_it_finds() {
    model(|| {
        let (pool, done) = (Pool::new(Some(2), "loom"), Arc::new(Done::default()));
        pool.submit(done.job());
        pool.submit(done.job());
        done.wait(2);
        pool.shut_down(None);
        assert!(!pool.is_busy());
    });
}

#[test]
fn jobs_from_two_threads_are_done_by_as_many_as_there_may_be() {
    model(|| {
        let (pool, done) = (Arc::new(Pool::new(Some(1), "loom")), Arc::new(Done::default()));
        let other = {
            let (pool, job) = (Arc::clone(&pool), done.job());
            thread::spawn(move || pool.submit(job))
        };
        pool.submit(done.job());
        done.wait(2);
        other.join().unwrap();
        assert_eq!(pool.0.lock().threads, 1);
        pool.shut_down(None);
        assert_eq!(pool.0.lock().threads, 0, "the end waits for all of them");
    });
}

/// What was taken before the end is done before the end has passed; what came later is dropped, and its waiter hears so.
#[test]
fn a_job_that_meets_the_end_is_done_or_dropped_and_never_both() {
    model(|| {
        let (pool, done) = (Arc::new(Pool::new(Some(1), "loom")), Arc::new(Done::default()));
        let dropped = Arc::new(AtomicUsize::new(0));
        let other = {
            let (pool, job, canary) = (Arc::clone(&pool), done.job(), Canary(Arc::clone(&dropped), true));
            thread::spawn(move || {
                pool.submit(Box::new(move |thread| {
                    canary.fly();
                    job(thread);
                }));
            })
        };
        pool.submit(done.job());
        pool.shut_down(None);
        let done_in_time = done.count();
        other.join().unwrap();
        assert_eq!(done.count(), done_in_time, "nothing is begun after the end");
        assert_eq!(done_in_time + dropped.load(Ordering::SeqCst), 2);
    });
}

/// Counts itself if it is dropped in its cage.
struct Canary(Arc<AtomicUsize>, bool);

impl Canary {
    fn fly(mut self) {
        self.1 = false;
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.0.fetch_add(usize::from(self.1), Ordering::SeqCst);
    }
}
