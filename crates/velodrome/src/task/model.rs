//! Task cells under loom, which runs every interleaving: `make loom`.
//!
//! The loop is the thread that begins: it gives the task its turns by hand, and takes what comes through the door. The
//! door itself is the real one; loom has tried it in the engine (`wakeup_model.rs`).

use std::sync::{Arc, Mutex};

use loom::sync::atomic::AtomicUsize;
use loom::thread;
use velodrome_engine::ready::ReadyQueue;
use velodrome_engine::wakeup::Inbox;

use super::*;
use crate::atomics::set_here;

/// A loop that consists of its door.
struct Loop {
    door: Door,
}

impl Loop {
    fn new() -> Self {
        let door: Door = Inbox::new(false).unwrap();
        set_here(Arc::as_ptr(&door).cast());
        Self { door }
    }

    /// A task that waits until `level` is reached, and the waker that it waits by.
    fn start(&self, level: &Arc<AtomicUsize>, until: usize) -> (Typed<()>, TaskRef, Waker) {
        let left: Arc<Mutex<Option<Waker>>> = Arc::default();
        let (level, place) = (Arc::clone(level), Arc::clone(&left));
        let future = std::future::poll_fn(move |cx| {
            if level.load(Ordering::Relaxed) >= until {
                return Poll::Ready(());
            }
            place.lock().unwrap().replace(cx.waker().clone());
            Poll::Pending
        });
        let (task, kept, queued) = Typed::start(future, Door::clone(&self.door), 0, 1);
        queued.run();
        let waker = left.lock().unwrap().take().unwrap();
        (task, kept, waker)
    }

    fn turn(&self) {
        let mut arrivals = Vec::new();
        self.door.drain(&mut arrivals);
        arrivals.into_iter().for_each(|arrival| arrival.into_inner().run());
    }

    /// Nobody holds the door but this loop: so every task's memory was freed.
    fn assert_alone(&self) {
        assert_eq!(Arc::strong_count(&self.door), 1, "a task was not freed");
    }
}

#[test]
fn no_wake_up_is_lost_and_what_was_written_before_it_is_seen() {
    loom::model(|| {
        let (here, level) = (Loop::new(), Arc::new(AtomicUsize::new(0)));
        let (task, kept, waker) = here.start(&level, 2);
        let wakers = [waker.clone(), waker];
        // Loom does not see the door; it sees this, and so tries turns before, between and after the wake-ups.
        let sent = Arc::new(AtomicUsize::new(0));
        let threads = wakers.map(|waker| {
            let (level, sent) = (Arc::clone(&level), Arc::clone(&sent));
            thread::spawn(move || {
                level.fetch_add(1, Ordering::Relaxed);
                waker.wake();
                sent.fetch_add(1, Ordering::Relaxed);
            })
        });
        if sent.load(Ordering::Relaxed) > 0 {
            here.turn();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        here.turn();
        here.turn();
        assert!(task.task().head().is_finished(), "a wake-up was lost");
        drop((task, kept));
        drop(here.door.close());
        here.assert_alone();
    });
}

#[test]
fn wakers_made_here_and_dropped_there_are_counted_once() {
    loom::model(|| {
        let (here, level) = (Loop::new(), Arc::new(AtomicUsize::new(0)));
        let (task, kept, waker) = here.start(&level, 1);
        let other = waker.clone();
        let one = thread::spawn(move || drop(other));
        let two = thread::spawn(move || {
            let made_there = waker.clone();
            drop(waker);
            drop(made_there);
        });
        // The task ends meanwhile, and its counts are merged.
        kept.abort();
        drop((task, kept));
        one.join().unwrap();
        two.join().unwrap();
        drop(here.door.close());
        here.assert_alone();
    });
}

#[test]
fn a_waker_made_there_and_dropped_here_is_counted_once() {
    loom::model(|| {
        let (here, level) = (Loop::new(), Arc::new(AtomicUsize::new(0)));
        let (task, kept, waker) = here.start(&level, 1);
        let maker = thread::spawn(move || (waker.clone(), waker));
        let (made_there, first) = maker.join().unwrap();
        let dropper = thread::spawn(move || drop(first));
        drop(made_there);
        kept.abort();
        drop((task, kept));
        dropper.join().unwrap();
        here.assert_alone();
    });
}

#[test]
fn a_wake_up_may_meet_the_end_of_its_task_and_of_its_loop() {
    loom::model(|| {
        let (here, level) = (Loop::new(), Arc::new(AtomicUsize::new(0)));
        let (task, kept, waker) = here.start(&level, 1);
        let thread = thread::spawn(move || {
            waker.wake_by_ref();
            waker.wake();
        });
        assert!(task.task().cancel());
        kept.abort();
        drop((task, kept));
        drop(here.door.close());
        thread.join().unwrap();
        here.assert_alone();
    });
}

/// An event has the waker of who waits stand in the queue, as the turn it would ask for.
#[test]
fn a_turn_that_a_waker_takes_may_meet_a_wake_up_from_elsewhere() {
    loom::model(|| {
        let (here, level) = (Loop::new(), Arc::new(AtomicUsize::new(0)));
        let (task, kept, waker) = here.start(&level, 1);
        let (other, sent) = (waker.clone(), Arc::new(AtomicUsize::new(0)));
        let thread = {
            let (level, sent) = (Arc::clone(&level), Arc::clone(&sent));
            thread::spawn(move || {
                level.fetch_add(1, Ordering::Relaxed);
                other.wake();
                sent.fetch_add(1, Ordering::Relaxed);
            })
        };
        let event = turn_of(waker);
        if sent.load(Ordering::Relaxed) > 0 {
            here.turn();
        }
        event.run();
        thread.join().unwrap();
        here.turn();
        assert!(task.task().head().is_finished(), "a wake-up was lost");
        drop((task, kept));
        drop(here.door.close());
        here.assert_alone();
    });
}

#[test]
fn a_turn_in_the_queue_may_outlive_its_task_run_or_dropped() {
    loom::model(|| {
        let (here, level) = (Loop::new(), Arc::new(AtomicUsize::new(0)));
        let (task, kept, waker) = here.start(&level, 1);
        let (run, dropped, other) = (turn_of(waker.clone()), turn_of(waker.clone()), waker);
        let thread = thread::spawn(move || drop(other));
        kept.abort();
        drop((task, kept));
        run.run();
        drop(dropped);
        thread.join().unwrap();
        drop(here.door.close());
        here.assert_alone();
    });
}

/// What the reactor puts into the queue for a waker.
fn turn_of(waker: Waker) -> Runnable {
    let queue = ReadyQueue::new();
    queue.set_turns(TURNS);
    queue.push_waker(waker);
    queue.pop().unwrap()
}
