//! Sleeping and timeouts, on a clock that waits for nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use support::{Flag, Log, imagine, really, settle, time_of, unreal, wait_until_dropped};
use velodrome::{
    Elapsed, Instant, MissedTicks, interval, interval_at, sleep, spawn, timeout, timeout_at, timeout_scope,
};

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

#[test]
fn ticks_are_a_period_apart_however_long_the_work_takes() {
    imagine(async {
        let (begin, mut ticks) = (Instant::now(), interval(SECOND));
        for number in 0..4 {
            assert_eq!(ticks.tick().await - begin, SECOND * number);
            sleep(Duration::from_millis(300)).await;
        }
    });
}

/// When ticks come (in tenths of a second) if the first is worked on for three and a half periods.
fn after_a_long_job(missed: MissedTicks) -> Vec<u128> {
    imagine(async {
        let (begin, mut ticks) = (Instant::now(), interval(SECOND).on_missed(missed));
        ticks.tick().await;
        sleep(Duration::from_millis(3500)).await;
        let mut came = Vec::new();
        for _ in 0..5 {
            ticks.tick().await;
            came.push(begin.elapsed().as_millis() / 100);
        }
        came
    })
}

#[test]
fn missed_ticks_come_at_once_or_not_at_all_or_late() {
    assert_eq!(after_a_long_job(MissedTicks::Burst), [35, 35, 35, 40, 50]);
    assert_eq!(after_a_long_job(MissedTicks::Skip), [35, 40, 50, 60, 70]);
    assert_eq!(after_a_long_job(MissedTicks::Delay), [35, 45, 55, 65, 75]);
}

#[test]
fn a_tick_that_was_given_up_is_the_next_ones() {
    imagine(async {
        let (begin, mut ticks) = (Instant::now(), interval(SECOND * 2));
        ticks.tick().await;
        assert!(timeout(SECOND, ticks.tick()).await.is_err());
        assert_eq!(ticks.tick().await - begin, SECOND * 2);
        ticks.reset();
        assert_eq!(ticks.tick().await - begin, SECOND * 4);
    });
}

#[test]
fn a_sleep_that_is_reset_ends_then_and_may_begin_again() {
    let took = time_of(async {
        let begin = Instant::now();
        let mut nap = sleep(SECOND * 100);
        assert!(timeout(SECOND, &mut nap).await.is_err());
        assert_eq!(nap.deadline(), Some(begin + SECOND * 100));
        nap.reset(begin + SECOND * 3);
        (&mut nap).await;
        assert_eq!(begin.elapsed(), SECOND * 3);
        nap.reset(begin + SECOND * 5);
        nap.await;
        assert_eq!(timeout_at(begin + SECOND * 6, pending::<()>()).await.unwrap_err().after(), SECOND);
    });
    assert_eq!(took, SECOND * 6);
}

#[test]
fn a_sleep_wakes_the_task_that_polled_it_last() {
    imagine(async {
        let mut nap = Box::pin(sleep(SECOND));
        poll_fn(|cx| {
            assert!(nap.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        spawn(nap).await.unwrap();
    });
}

#[test]
fn a_thousand_timers_are_late_by_a_millisecond_at_most_and_never_early() {
    really(async {
        for number in 0..2000u64 {
            spawn(sleep(SECOND + Duration::from_micros(number))).detach();
        }
        let (begin, nap) = (Instant::now(), Duration::from_millis(2));
        sleep(nap).await;
        assert!(begin.elapsed() >= nap);
    });
}

#[test]
fn a_limit_is_moved_by_what_it_limits() {
    let dropped = Flag::default();
    let took = time_of(async {
        let later = timeout_scope(SECOND, async |limit| {
            let begin = Instant::now();
            assert_eq!(limit.when(), Some(begin + SECOND));
            limit.reschedule(Some(begin + SECOND * 5));
            sleep(SECOND * 3).await;
            limit.reschedule(None);
            sleep(SECOND * 7).await;
            7
        });
        assert_eq!(later.await.unwrap(), 7);
    });
    assert_eq!(took, SECOND * 10);
    let took = time_of(async {
        let sooner = timeout_scope(SECOND * 9, async |limit| {
            sleep(SECOND).await;
            limit.reschedule(Some(Instant::now() + SECOND));
            wait_until_dropped(dropped.clone()).await;
        });
        assert_eq!(sooner.await.unwrap_err().after(), SECOND * 2);
    });
    assert!(dropped.is_set());
    assert_eq!(took, SECOND * 2);
    assert!(imagine(timeout_scope(SECOND, async |_| pending::<()>().await)).is_err());
}

#[test]
fn ticks_begin_when_they_are_told_to() {
    imagine(async {
        let begin = Instant::now();
        let mut ticks = interval_at(begin + SECOND * 5, SECOND);
        assert_eq!([ticks.tick().await - begin, ticks.tick().await - begin], [SECOND * 5, SECOND * 6]);
        assert!(timeout(SECOND / 2, poll_fn(|cx| ticks.poll_tick(cx))).await.is_err());
        ticks.reset_at(begin + SECOND * 9);
        assert_eq!([ticks.tick().await - begin, ticks.tick().await - begin], [SECOND * 9, SECOND * 10]);
    });
}

#[test]
fn instants_end_with_the_clocks_time_or_say_so() {
    imagine(async {
        let now = Instant::now();
        let mut later = now + SECOND * 2;
        later -= SECOND;
        assert_eq!((later.duration_since(now), now.duration_since(later)), (SECOND, Duration::ZERO));
        assert_eq!((later.checked_sub(SECOND), now.checked_sub(SECOND)), (Some(now), None));
        assert_eq!(
            (now.checked_add(SECOND), later.checked_add(Duration::from_nanos(u64::MAX))),
            (Some(later), None)
        );
        assert_eq!((now.checked_add(Duration::MAX), later.checked_sub(Duration::MAX)), (None, None));
    });
}
