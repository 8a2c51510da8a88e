//! Wakers on other threads: none is lost, none comes twice, none does harm when its loop is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use support::{imagine, really, settle};
use velodrome::{spawn, timeout};

/// Only a lost wake-up takes as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A value that another thread sets, and a future waits for.
#[derive(Default)]
struct Gate(Mutex<(usize, Option<Waker>)>);

impl Gate {
    fn raise(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits in vain if a wake-up is lost.
    async fn wait(&self, level: usize) {
        let reached = poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 >= level {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        });
        timeout(PATIENCE, reached).await.expect("a wake-up was lost");
    }
}

#[test]
fn another_thread_wakes_the_main_future_and_a_task() {
    really(async {
        let (main, task) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
        let gates = (Arc::clone(&main), Arc::clone(&task));
        let thread = thread::spawn(move || {
            gates.1.raise();
            gates.0.raise();
        });
        spawn(async move { task.wait(1).await }).await.unwrap();
        main.wait(1).await;
        thread.join().unwrap();
    });
}

/// Each task is raised step by step by a thread that waits for nobody, so wakers are on their way while their task
/// runs, waits, and is queued.
#[test]
fn no_wake_up_is_lost_under_stress() {
    const THREADS: usize = 4;
    const STEPS: usize = 20_000;
    really(async {
        let tasks: Vec<_> = (0..THREADS)
            .map(|_| {
                let gate = Arc::new(Gate::default());
                let raised = Arc::clone(&gate);
                let thread = thread::spawn(move || (0..STEPS).for_each(|_| raised.raise()));
                spawn(async move {
                    for level in 1..=STEPS {
                        gate.wait(level).await;
                    }
                    thread.join().unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Wakes by reference as fast as it can, from two threads: the task must see the last value that was written before
/// the last wake-up.
#[test]
fn what_was_written_before_a_wake_up_is_seen_by_the_poll() {
    really(async {
        for _ in 0..200 {
            let (count, (sender, receiver)) = (Arc::new(AtomicUsize::new(0)), channel::<Waker>());
            let receiver = Arc::new(Mutex::new(receiver));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (count, receiver) = (Arc::clone(&count), Arc::clone(&receiver));
                    thread::spawn(move || {
                        let waker = receiver.lock().unwrap().recv().unwrap();
                        for _ in 0..50 {
                            count.fetch_add(1, Ordering::Relaxed);
                            waker.wake_by_ref();
                        }
                    })
                })
                .collect();
            let mut sent = false;
            let all = poll_fn(|cx| {
                if !std::mem::replace(&mut sent, true) {
                    (0..2).for_each(|_| sender.send(cx.waker().clone()).unwrap());
                }
                if count.load(Ordering::Relaxed) == 100 { Poll::Ready(()) } else { Poll::Pending }
            });
            timeout(PATIENCE, all).await.expect("a wake-up was lost");
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
}

/// Sends its waker, then waits for ever.
fn expose(sender: &Sender<Waker>) {
    let sender = sender.clone();
    drop(spawn(poll_fn(move |cx| {
        let _ = sender.send(cx.waker().clone());
        Poll::<()>::Pending
    })));
}

fn exposed() -> Receiver<Waker> {
    let (sender, receiver) = channel();
    really(async {
        expose(&sender);
        settle().await;
    });
    receiver
}

#[test]
fn a_waker_that_outlives_its_loop_does_nothing() {
    let waker = exposed().recv().unwrap();
    waker.wake_by_ref();
    thread::spawn(move || {
        waker.wake_by_ref();
        drop(waker);
    })
    .join()
    .unwrap();
}

#[test]
fn the_thread_of_another_loop_is_another_thread() {
    let (sender, receiver) = channel::<Waker>();
    let waking = thread::spawn(move || {
        really(async move {
            let waker = receiver.recv().unwrap();
            // A task of this loop has the same number.
            let own = spawn(async {});
            waker.wake();
            own.await.unwrap();
        });
    });
    really(async {
        let mut polls = 0;
        let task = spawn(poll_fn(move |cx| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(());
            }
            sender.send(cx.waker().clone()).unwrap();
            Poll::Pending
        }));
        timeout(PATIENCE, task).await.expect("woken from the other loop").unwrap();
    });
    waking.join().unwrap();
}

#[test]
fn a_wake_up_from_afar_while_the_task_runs_is_not_lost() {
    really(async {
        let (sender, receiver) = channel();
        let mut polls = 0;
        let task = spawn(poll_fn(move |cx| {
            polls += 1;
            let waker = cx.waker().clone();
            match polls {
                1 => sender.send(waker).unwrap(),
                // This turn was brought about from afar itself, and is not over when the next one is asked for.
                2 | 3 => thread::spawn(move || waker.wake()).join().unwrap(),
                _ => return Poll::Ready(()),
            }
            Poll::Pending
        }));
        settle().await;
        let waker = receiver.recv().unwrap();
        thread::spawn(move || waker.wake()).join().unwrap();
        timeout(PATIENCE, task).await.expect("a wake-up was lost").unwrap();
    });
}

#[test]
fn however_often_it_is_woken_from_afar_a_task_is_polled_once() {
    really(async {
        let (sender, receiver) = channel();
        let polls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&polls);
        let _task = spawn(poll_fn(move |cx| {
            counter.fetch_add(1, Ordering::Relaxed);
            sender.send(cx.waker().clone()).unwrap();
            Poll::<()>::Pending
        }));
        settle().await;
        let waker = receiver.recv().unwrap();
        for expected in 2..5 {
            let waker = waker.clone();
            // The loop stands still meanwhile.
            thread::spawn(move || (0..100).for_each(|_| waker.wake_by_ref())).join().unwrap();
            settle().await;
            assert_eq!(polls.load(Ordering::Relaxed), expected);
        }
    });
}

#[test]
fn threads_that_hold_wakers_do_not_hold_tasks() {
    let receiver = exposed();
    let waker = receiver.recv().unwrap();
    // Had the task not been dropped with its loop, its sender would still be there.
    assert!(receiver.recv().is_err());
    drop(waker);
    imagine(async {});
}
