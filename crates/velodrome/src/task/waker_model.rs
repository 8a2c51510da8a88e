//! The waker of the main future under loom, which runs every interleaving: `make loom`. What it makes due is a look at
//! what other threads have written; the loop is as in `model.rs`.

use std::task::Waker;

use loom::sync::atomic::AtomicUsize;
use loom::thread;
use velodrome_engine::wakeup::Inbox;

use super::*;

/// Takes what has come, and looks after each.
fn turn(door: &Door, level: &AtomicUsize) -> Option<usize> {
    let mut arrivals = Vec::new();
    door.drain(&mut arrivals);
    assert!(arrivals.len() < 2, "it travels twice at a time");
    let arrival = arrivals.pop()?;
    arrival.into_inner().run();
    Some(level.load(Ordering::Relaxed))
}

#[test]
fn no_wake_up_is_lost_and_what_was_written_before_it_is_seen() {
    loom::model(|| {
        let door: Door = Inbox::new(false).unwrap();
        let waker = Waker::from(MainWaker::new(Arc::clone(&door)));
        // Loom does not see the door; it sees `sent`, and so tries turns before, between and after the wake-ups.
        let [level, sent] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let threads = [waker.clone(), waker].map(|waker| {
            let (level, sent) = (Arc::clone(&level), Arc::clone(&sent));
            thread::spawn(move || {
                level.fetch_add(1, Ordering::Relaxed);
                waker.wake();
                sent.fetch_add(1, Ordering::Relaxed);
            })
        });
        let mut seen = None;
        if sent.load(Ordering::Relaxed) > 0 {
            seen = turn(&door, &level);
        }
        // The wake-ups are over, but what their threads wrote is seen by way of the waker alone.
        while sent.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
        seen = turn(&door, &level).or(seen);
        assert_eq!(seen, Some(2), "a wake-up was lost, or what came before it");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(door.close());
        assert_eq!(Arc::strong_count(&door), 1, "a waker was not freed");
    });
}
