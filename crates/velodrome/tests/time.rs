//! Sleeping and timeouts, on a clock that waits for nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use support::{Flag, Log, imagine, really, settle, time_of, unreal, wait_until_dropped};
use velodrome::{Elapsed, sleep, spawn, timeout};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_sleep_lasts_as_long_as_it_says() {
    for nanos in [0, 1, 999, 1_000_000, 86_400_000_000_000 * 3] {
        let nap = Duration::from_nanos(nanos);
        assert_eq!(time_of(sleep(nap)), nap);
    }
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines_and_side_by_side() {
    let log = Log::default();
    let elapsed = time_of(async {
        let tasks: Vec<_> = [3, 1, 2, 1]
            .into_iter()
            .enumerate()
            .map(|(number, seconds)| {
                let log = log.clone();
                spawn(async move {
                    sleep(SECOND * seconds).await;
                    log.add(format!("{number}:{seconds}"));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(log.take(), ["1:1", "3:1", "2:2", "0:3"]);
    assert_eq!(elapsed, SECOND * 3);
}

#[test]
fn a_sleep_counts_from_when_it_is_awaited() {
    let elapsed = time_of(async {
        let later = sleep(SECOND);
        sleep(SECOND).await;
        later.await;
    });
    assert_eq!(elapsed, SECOND * 2);
}

#[test]
fn a_real_sleep_is_not_early() {
    really(async {
        let (clock, nap) = (velodrome::Clock::monotonic(), Duration::from_micros(1500));
        let begin = clock.now();
        sleep(nap).await;
        assert!(u128::from(clock.now() - begin) >= nap.as_nanos());
    });
}

#[test]
fn dropping_a_sleep_takes_its_timer_back() {
    let (runtime, hand) = unreal();
    let stuck = runtime.block_on(async {
        let mut long = sleep(SECOND * 3600);
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut long).poll(cx))).await.is_pending());
        drop(long);
        pending::<()>().await;
    });
    assert!(stuck.is_err(), "there is nothing to wait for");
    assert_eq!(hand.now(), 0);
}

#[test]
fn a_cancelled_sleeper_takes_its_timer_back() {
    let elapsed = time_of(async {
        let task = spawn(sleep(SECOND * 3600));
        sleep(SECOND).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(elapsed, SECOND);
}

#[test]
fn the_longest_sleep_does_not_overflow() {
    let elapsed = time_of(async { timeout(SECOND, sleep(Duration::MAX)).await.unwrap_err() });
    assert_eq!(elapsed, SECOND);
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    imagine(async {
        let mut nap = sleep(SECOND);
        assert!(Pin::new(&mut nap).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        nap.await;
    });
}

#[test]
fn a_timeout_gives_the_output_or_drops_the_future() {
    let dropped = Flag::default();
    let elapsed = time_of(async {
        assert_eq!(timeout(SECOND, ready(7)).await, Ok(7));
        let error = timeout(SECOND, wait_until_dropped(dropped.clone())).await.unwrap_err();
        assert!(dropped.is_set());
        assert_eq!(error.after(), SECOND);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    });
    assert_eq!(elapsed, SECOND);
}

#[test]
fn who_is_done_just_in_time_is_in_time() {
    imagine(async {
        assert_eq!(timeout(SECOND, sleep(SECOND)).await, Ok(()));
        assert!(timeout(Duration::ZERO, ready(())).await.is_ok());
    });
}

#[test]
fn of_timeouts_in_each_other_the_shorter_is_told() {
    imagine(async {
        let inner = timeout(SECOND, timeout(SECOND * 2, pending::<()>())).await;
        assert_eq!(inner.unwrap_err().after(), SECOND);
        let outer: Result<Result<(), Elapsed>, _> = timeout(SECOND * 2, timeout(SECOND, pending())).await;
        assert_eq!(outer.unwrap().unwrap_err().after(), SECOND);
    });
}

#[test]
fn a_hundred_thousand_sleepers() {
    let elapsed = time_of(async {
        let tasks: Vec<_> = (0..100_000).map(|n| spawn(sleep(Duration::from_micros(n % 1000)))).collect();
        settle().await;
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(elapsed, Duration::from_micros(999));
}
