//! Promises under loom, which runs every interleaving: `RUSTFLAGS="--cfg loom" cargo test -p velodrome --lib model`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use loom::thread;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Who waited before the result came is woken; who came later finds it.
#[test]
fn a_result_is_found_or_wakes() {
    loom::model(|| {
        let ((promise, promised), count) = (promise(), Arc::new(Count::default()));
        let keeper = thread::spawn(move || promise.keep(Ok(7)));
        let waker = Waker::from(Arc::clone(&count));
        let first = promised.poll(&Context::from_waker(&waker));
        keeper.join().unwrap();
        if first.is_pending() {
            assert_eq!(count.0.load(Ordering::SeqCst), 1, "a wake-up was lost");
            assert!(matches!(promised.poll(&Context::from_waker(&waker)), Poll::Ready(Ok(7))));
        }
    });
}

/// Kept on one thread, taken back on another, awaited on a third: there is one outcome.
#[test]
fn one_of_them_decides() {
    loom::model(|| {
        let (promise, promised) = promise();
        let promised = Arc::new(promised);
        let keeper = thread::spawn(move || promise.keep(Ok(7)));
        let other = Arc::clone(&promised);
        let taker = thread::spawn(move || other.take_back());
        keeper.join().unwrap();
        let taken = taker.join().unwrap();
        match promised.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(7)) => assert!(!taken),
            Poll::Ready(Err(Ending::Cancelled)) => assert!(taken),
            _ => unreachable!("it is settled, by one of the two"),
        }
    });
}

/// Who works is told that nobody wants the result any more.
#[test]
fn who_works_hears_that_it_is_taken_back() {
    loom::model(|| {
        let ((promise, promised), count) = (promise::<u8>(), Arc::new(Count::default()));
        let taker = thread::spawn(move || assert!(promised.take_back()));
        let waker = Waker::from(Arc::clone(&count));
        let first = promise.poll_settled(&Context::from_waker(&waker));
        taker.join().unwrap();
        assert!(first.is_ready() || count.0.load(Ordering::SeqCst) == 1, "a wake-up was lost");
        assert!(promise.is_settled());
    });
}
