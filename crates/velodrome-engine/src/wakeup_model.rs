//! The inbox under loom, which runs every interleaving of a few threads: `RUSTFLAGS="--cfg loom" cargo test model`.
//!
//! Loom cannot sleep on an eventfd, so a sleep is put as a question: when all pushing threads are done, and the loop
//! has drained for as long as the bell rang, is anything left in the queue?

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool as Flag, Ordering as Order};
use loom::thread;

use super::*;

fn settle(inbox: &Inbox<u32>, items: &mut Vec<u32>) {
    while inbox.bell.rings() > 0 {
        inbox.drain(items);
    }
}

#[test]
fn no_item_stays_behind_a_silent_bell() {
    loom::model(|| {
        let inbox = Inbox::new().unwrap();
        let threads: Vec<_> = [1, 2]
            .into_iter()
            .map(|item| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || inbox.push(item).unwrap())
            })
            .collect();
        let mut items = Vec::new();
        inbox.drain(&mut items);
        inbox.drain(&mut items);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        settle(&inbox, &mut items);
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
        assert!(
            !inbox.signalled.load(Ordering::Relaxed),
            "a flag without a ring would be an inbox gone deaf"
        );
    });
}

#[test]
fn the_bell_is_never_rung_twice() {
    loom::model(|| {
        let inbox = Inbox::new().unwrap();
        let threads: Vec<_> = [1, 2]
            .into_iter()
            .map(|item| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || inbox.push(item).unwrap())
            })
            .collect();
        inbox.drain(&mut Vec::new());
        assert!(inbox.bell.rings() <= 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(inbox.bell.rings() <= 1);
    });
}

#[test]
fn what_was_written_before_a_wake_is_seen_after_the_drain() {
    loom::model(|| {
        let inbox = Inbox::<u32>::new().unwrap();
        let written: Arc<[Flag; 2]> = Arc::new([Flag::new(false), Flag::new(false)]);
        let threads: Vec<_> = [0, 1]
            .into_iter()
            .map(|which| {
                let (inbox, written) = (Arc::clone(&inbox), Arc::clone(&written));
                thread::spawn(move || {
                    written[which].store(true, Order::Relaxed);
                    inbox.wake();
                })
            })
            .collect();
        let mut seen = [false; 2];
        let mut look = || {
            inbox.drain(&mut Vec::new());
            seen = [0, 1].map(|which| seen[which] || written[which].load(Order::Relaxed));
        };
        // As long as not both are seen, a ring must be there or come: loom calls a loop that cannot end an error.
        look();
        while inbox.bell.rings() == 0 && inbox.signalled.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        look();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        while inbox.bell.rings() > 0 {
            look();
        }
        assert_eq!(seen, [true, true]);
    });
}
