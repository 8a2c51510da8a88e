//! The inbox under loom, which runs every interleaving of a few threads: `RUSTFLAGS="--cfg loom" cargo test model`.
//!
//! Loom cannot sleep on an eventfd, so a sleep is put as a question: when all pushing threads are done, and the loop
//! has drained for as long as the bell woke it, is anything left in the queue? Each model is run for a bell that rings
//! until it is silenced, and for one of which each ring is told once.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool as Flag, Ordering as Order};
use loom::thread;

use super::*;

/// The loop, as far as the bell wakes it.
struct Listener {
    inbox: Arc<Inbox<u32>>,
    /// How many rings it was told of, where each is told once.
    told: u64,
    items: Vec<u32>,
}

impl Listener {
    fn new(told_once: bool) -> Self {
        Self { inbox: Inbox::new(told_once).unwrap(), told: 0, items: Vec::new() }
    }

    /// Whether a wait would end.
    fn is_called(&self) -> bool {
        if self.inbox.told_once { self.inbox.bell.rings() > self.told } else { self.inbox.bell.rings() > 0 }
    }

    /// A wait that does not block, and what follows it.
    fn turn(&mut self) {
        if self.inbox.told_once {
            self.told = self.inbox.bell.rings();
        }
        self.inbox.drain(&mut self.items);
    }

    /// All that is still to come has come: turns, if the last look said so, and as long as the bell calls.
    fn settle(&mut self, has_work: bool) {
        if has_work {
            self.turn();
        }
        while self.is_called() {
            self.turn();
        }
    }
}

/// A model for either kind of bell.
fn each_way(model: impl Fn(bool) + Clone + Send + Sync + 'static) {
    for told_once in [false, true] {
        let model = model.clone();
        loom::model(move || model(told_once));
    }
}

fn pushing(inbox: &Arc<Inbox<u32>>) -> Vec<thread::JoinHandle<()>> {
    let push = |item| {
        let inbox = Arc::clone(inbox);
        thread::spawn(move || inbox.push(item).unwrap())
    };
    [1, 2].map(push).into()
}

#[test]
fn no_item_stays_behind_a_silent_bell() {
    each_way(|told_once| {
        let mut listener = Listener::new(told_once);
        let threads = pushing(&listener.inbox);
        listener.turn();
        // One kind is told when it looks, and the other looks when it was told: enough for loom to explore.
        let has_work = told_once && listener.inbox.has_rung();
        if !told_once {
            listener.turn();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        listener.settle(has_work);
        listener.items.sort_unstable();
        assert_eq!(listener.items, [1, 2]);
        assert!(
            !listener.inbox.signalled.load(Ordering::Relaxed),
            "a flag without a ring would be an inbox gone deaf"
        );
    });
}

#[test]
fn the_bell_is_never_rung_twice() {
    loom::model(|| {
        let inbox = Inbox::new(false).unwrap();
        let threads = pushing(&inbox);
        inbox.drain(&mut Vec::new());
        assert!(inbox.bell.rings() <= 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(inbox.bell.rings() <= 1);
    });
}

#[test]
fn what_was_written_before_a_wake_is_seen_after_the_drain() {
    each_way(|told_once| {
        let mut listener = Listener::new(told_once);
        let written: Arc<[Flag; 2]> = Arc::new([Flag::new(false), Flag::new(false)]);
        let threads: Vec<_> = [0, 1]
            .into_iter()
            .map(|which| {
                let (inbox, written) = (Arc::clone(&listener.inbox), Arc::clone(&written));
                thread::spawn(move || {
                    written[which].store(true, Order::Relaxed);
                    inbox.wake();
                })
            })
            .collect();
        let mut seen = [false; 2];
        let mut look = |listener: &mut Listener| {
            listener.turn();
            seen = [0, 1].map(|which| seen[which] || written[which].load(Order::Relaxed));
        };
        look(&mut listener);
        if !told_once {
            // As long as not both are seen, a ring must be there or come: loom calls a loop that cannot end an error.
            while !listener.is_called() && listener.inbox.has_rung() {
                thread::yield_now();
            }
            look(&mut listener);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        while listener.is_called() {
            look(&mut listener);
        }
        assert_eq!(seen, [true, true]);
    });
}
