//! The workloads, for whichever runtime stands above this module: see `main.rs`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::{block_on, channel, receive, send, sleep, spawn, yield_now};
use crate::cost::{Cost, Meter};

thread_local! {
    /// Whose turn it is, and who waits for it. Not shared between threads, and yet a future may be Send with it.
    static TURN: Cell<usize> = const { Cell::new(0) };
    static WAITS: RefCell<[Option<Waker>; 2]> = const { RefCell::new([None, None]) };
}

/// Sleepers end within half a second, spread as connections' time-outs are.
const SPREAD: u64 = 500_000_000;

pub(crate) fn measure(row: &str, count: usize) -> Option<Cost> {
    Some(match row {
        "spawn" => block_on(async move { spawn(metered(spawning(count))).await }),
        "spawn-many" => block_on(async move { spawn(metered(spawning_many(count))).await }),
        "yield" => block_on(async move { spawn(metered(yielding(count))).await }),
        "wake" => block_on(async move { spawn(metered(waking(count))).await }),
        "wake-thread" => block_on(async move { spawn(metered(waking_from_a_thread(count))).await }),
        "sleep-drop" => block_on(async move { spawn(metered(sleeping_and_dropping(count))).await }),
        "sleeping" => block_on(async move { spawn(metered(sleeping(count))).await }),
        "memory" => block_on(asleep(count)),
        "queue-1" => block_on(async move { spawn(metered(handing_over(count, 1))).await }),
        "queue-64" => block_on(async move { spawn(metered(handing_over(count, 64))).await }),
        _ => return None,
    })
}

/// All rows run in a task: `block_on` has a waker of its own, which in some runtimes is another one.
async fn metered(work: impl Future<Output = ()>) -> Cost {
    let meter = Meter::start();
    work.await;
    meter.stop()
}

async fn spawning(count: usize) {
    for number in 0..count {
        assert_eq!(spawn(async move { number }).await, number);
    }
}

async fn spawning_many(count: usize) {
    for _ in 0..count / 100 {
        let tasks: Vec<_> = (0..100).map(|number| spawn(async move { number })).collect();
        for task in tasks {
            task.await;
        }
    }
}

async fn yielding(count: usize) {
    spawn(async move {
        for _ in 0..count {
            yield_now().await;
        }
    })
    .await;
}

/// Two tasks that wake each other in turn, as any primitive would: the waker is cloned, kept, and woken by value.
async fn waking(count: usize) {
    let other = spawn(turns(1, count / 2));
    spawn(turns(0, count / 2)).await;
    other.await;
}

async fn turns(own: usize, count: usize) {
    for _ in 0..count {
        poll_fn(|cx| wait_for_turn(own, cx)).await;
        TURN.set(1 - own);
        let other = WAITS.with_borrow_mut(|waits| waits[1 - own].take());
        if let Some(waker) = other {
            waker.wake();
        }
    }
}

fn wait_for_turn(own: usize, cx: &Context<'_>) -> Poll<()> {
    if TURN.get() == own {
        return Poll::Ready(());
    }
    WAITS.with_borrow_mut(|waits| waits[own] = Some(cx.waker().clone()));
    Poll::Pending
}

/// A task sends its waker to a thread, which wakes it.
async fn waking_from_a_thread(count: usize) {
    let (to_thread, wakers) = mpsc::channel::<Waker>();
    let thread = thread::spawn(move || wakers.iter().for_each(Waker::wake));
    spawn(async move {
        for _ in 0..count {
            let mut sent = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut sent, true) {
                    return Poll::Ready(());
                }
                let _ = to_thread.send(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    })
    .await;
    let _ = thread.join();
}

/// A time-out that does not come: polled once, then dropped.
async fn sleeping_and_dropping(count: usize) {
    spawn(async move {
        for _ in 0..count {
            let mut nap = pin!(sleep(Duration::from_secs(30)));
            poll_fn(|cx| {
                let _ = nap.as_mut().poll(cx);
                Poll::Ready(())
            })
            .await;
        }
    })
    .await;
}

async fn sleeping(count: usize) {
    let mut tasks = Vec::with_capacity(count);
    for number in 0..count as u64 {
        // A multiplication by a large odd number scatters them.
        let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % SPREAD;
        tasks.push(spawn(sleep(Duration::from_nanos(SPREAD + scattered))));
    }
    for task in tasks {
        task.await;
    }
}

async fn asleep(count: usize) -> Cost {
    // What a runtime makes once belongs to none of the tasks.
    spawn(sleep(Duration::from_millis(1))).await;
    let mut tasks = Vec::with_capacity(count);
    let meter = Meter::start();
    for _ in 0..count {
        tasks.push(spawn(sleep(Duration::from_secs(3600))));
    }
    // Until all of them have begun to sleep.
    sleep(Duration::from_millis(300)).await;
    meter.stop()
}

async fn handing_over(count: usize, capacity: usize) {
    let (mut sender, mut receiver) = channel(capacity);
    let sending = spawn(async move {
        for number in 0..count {
            send(&mut sender, number).await;
        }
    });
    spawn(async move {
        for number in 0..count {
            assert_eq!(receive(&mut receiver).await, number);
        }
    })
    .await;
    sending.await;
}
