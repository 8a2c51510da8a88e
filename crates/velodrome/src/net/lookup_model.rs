//! A look-up under loom, which runs every interleaving: `make loom`.

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

/// Who waited before the answer came is woken, by the waker that was given last; who came later finds it.
#[test]
fn an_answer_is_found_or_wakes() {
    loom::model(|| {
        let (lookup, counts) =
            (Arc::new(Lookup::<Vec<()>>::new()), [(); 2].map(|()| Arc::new(Count::default())));
        let asked = Arc::clone(&lookup);
        let resolver = thread::spawn(move || asked.found(Ok(Vec::new())));
        let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
        let polls = wakers.each_ref().map(|waker| lookup.poll(&Context::from_waker(waker)));
        resolver.join().unwrap();
        let woken = counts.map(|count| count.0.load(Ordering::SeqCst));
        match polls {
            // The second poll took it, or would have to be told.
            [Poll::Pending, Poll::Pending] => assert_eq!(woken, [0, 1], "a wake-up was lost"),
            [Poll::Pending, Poll::Ready(_)] => assert_eq!(woken, [1, 0], "the first had to be told"),
            [Poll::Ready(_), _] => return,
        }
        let found = lookup.poll(&Context::from_waker(&wakers[0]));
        assert!(found.is_ready() || woken == [1, 0]);
    });
}
