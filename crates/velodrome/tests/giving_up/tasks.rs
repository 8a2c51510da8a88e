//! Tasks, time, and what puts futures together: what they had is dropped or goes on, as each says.

use std::cell::Cell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use velodrome::sync::oneshot;
use velodrome::{
    All, Handle, Instant, as_completed, gather, interval, join_all, shield, sleep, sleep_until, spawn,
    spawn_blocking, task_group, timeout, timeout_at, timeout_scope, to_thread, wait, yield_now,
};

use crate::chance::give_up;

const SHORT: Duration = Duration::from_millis(2);
/// The most that a pool has unless it is told otherwise.
const MOST_THREADS: usize = 32;
const LONG: Duration = Duration::from_secs(3600);

/// Something that is to be gone at the end: held by whoever has the second.
fn held() -> (Rc<()>, Rc<()>) {
    let one = Rc::new(());
    (Rc::clone(&one), one)
}

async fn settle() {
    for _ in 0..10 {
        sleep(Duration::ZERO).await;
    }
}

/// Some turns, and `value`.
async fn slowly<T>(value: T) -> T {
    yield_now().await;
    yield_now().await;
    value
}

/// Ready with the number of polls that a future which sleeps for `SHORT` takes while nothing else is due: a timer that
/// was left behind would wake it once more.
async fn polls_of_a_sleep() -> usize {
    let (mut nap, mut polls) = (std::pin::pin!(sleep(SHORT * 4)), 0);
    std::future::poll_fn(|cx| {
        polls += 1;
        nap.as_mut().poll(cx)
    })
    .await;
    polls
}

/// `Task`
#[test]
fn a_result_stays_with_its_task() {
    give_up(async |chance| {
        let mut task = spawn(slowly(7));
        if chance.take(&mut task).await.is_none() {
            assert_eq!(task.await.unwrap(), 7);
        }
    });
}

/// `RemoteTask` of a pool's thread
#[test]
fn a_result_of_another_thread_stays_with_its_task() {
    give_up(async |chance| {
        let mut task = spawn_blocking(|| {
            std::thread::sleep(SHORT);
            7
        });
        if chance.take(&mut task).await.is_none() {
            assert_eq!(task.await.unwrap(), 7);
        }
    });
}

/// `RemoteTask` of a loop
#[test]
fn a_task_of_another_thread_goes_on() {
    give_up(async |chance| {
        let mut task = Handle::current().unwrap().spawn(async { 7 });
        if chance.take(&mut task).await.is_none() {
            assert_eq!(task.await.unwrap(), 7);
        }
    });
}

/// `to_thread`
#[test]
fn a_function_runs_to_its_end_or_not_at_all() {
    give_up(async |chance| {
        // Every thread of the pool is busy, so that it is waited for before it begins.
        let ((open, shut), begun) = (mpsc::channel::<()>(), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Mutex::new(shut));
        let busy: Vec<_> = (0..MOST_THREADS)
            .map(|_| Arc::clone(&gate))
            .map(|gate| spawn_blocking(move || assert!(gate.lock().unwrap().recv().is_err())))
            .collect();
        let counted = Arc::clone(&begun);
        let work = to_thread(move || counted.fetch_add(1, Ordering::SeqCst));
        spawn(async move {
            yield_now().await;
            drop(open);
        })
        .detach();
        let done = chance.take(work).await;
        for task in busy {
            task.await.unwrap();
        }
        // A function that is not wanted any more is dropped when it would have its turn.
        while Arc::strong_count(&begun) > 1 {
            sleep(SHORT).await;
        }
        let runs = done.is_some() || chance.was_woken();
        assert_eq!(begun.load(Ordering::SeqCst), usize::from(runs));
    });
}

/// `yield_now`
#[test]
fn to_give_way_is_nothing_to_lose() {
    give_up(async |chance| {
        chance.take(yield_now()).await;
    });
}

/// `sleep`, `Sleep`
#[test]
fn a_timer_goes_with_its_sleep() {
    give_up(async |chance| {
        chance.take(sleep(SHORT)).await;
        assert!(polls_of_a_sleep().await <= 2);
    });
}

/// `sleep_until`
#[test]
fn a_timer_goes_with_its_sleep_until_then() {
    give_up(async |chance| {
        chance.take(sleep_until(Instant::now() + SHORT)).await;
        assert!(polls_of_a_sleep().await <= 2);
    });
}

/// `Interval::tick`
#[test]
fn a_tick_is_the_next_ones() {
    give_up(async |chance| {
        let mut ticks = interval(SHORT);
        let first = ticks.tick().await;
        let second = chance.take(ticks.tick()).await;
        let next = ticks.tick().await;
        assert_eq!(next - first, if second.is_some() { SHORT * 2 } else { SHORT });
    });
}

/// `timeout`
#[test]
fn what_had_a_time_out_is_dropped_with_it() {
    give_up(async |chance| {
        let (ours, theirs) = held();
        chance.take(timeout(LONG, slowly(theirs))).await;
        assert_eq!(Rc::strong_count(&ours), 1);
    });
}

/// `timeout_at`
#[test]
fn what_had_a_deadline_is_dropped_with_it() {
    give_up(async |chance| {
        let (ours, theirs) = held();
        let never = async move {
            let _held = theirs;
            pending::<()>().await;
        };
        chance.take(timeout_at(Instant::now() + SHORT, never)).await;
        assert_eq!(Rc::strong_count(&ours), 1);
    });
}

/// `timeout_scope`
#[test]
fn what_moves_its_time_out_is_dropped_with_it() {
    give_up(async |chance| {
        let (ours, theirs) = held();
        let limited = timeout_scope(LONG, async |limit| {
            limit.reschedule(Some(Instant::now() + LONG));
            slowly(theirs).await
        });
        chance.take(limited).await;
        assert_eq!(Rc::strong_count(&ours), 1);
    });
}

/// `join_all`, `JoinAll`
#[test]
fn what_was_joined_is_dropped_with_its_outputs() {
    give_up(async |chance| {
        let (ours, theirs) = held();
        let both = (1..=2).map(|turns| {
            let held = Rc::clone(&theirs);
            async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                held
            }
        });
        chance.take(join_all(both)).await;
        drop(theirs);
        assert_eq!(Rc::strong_count(&ours), 1);
    });
}

/// `gather!`, `Gather`
#[test]
fn what_was_gathered_is_dropped_with_its_outputs() {
    give_up(async |chance| {
        let (ours, theirs) = held();
        chance.take(gather!(async { Rc::clone(&theirs) }, slowly(Rc::clone(&theirs)))).await;
        drop(theirs);
        assert_eq!(Rc::strong_count(&ours), 1);
    });
}

/// `wait`, `Wait`
#[test]
fn tasks_that_were_waited_for_by_reference_are_kept() {
    give_up(async |chance| {
        let mut waiting = wait([spawn(slowly(1)), spawn(slowly(2))], All);
        let waited = match chance.take(&mut waiting).await {
            Some(waited) => waited,
            None => waiting.await,
        };
        let mut outputs = Vec::new();
        for task in waited.done {
            outputs.push(task.await.unwrap());
        }
        assert_eq!(outputs, [1, 2]);
    });
}

/// `wait`, dropped with its tasks
#[test]
fn tasks_that_were_waited_for_go_on() {
    give_up(async |chance| {
        let (sender, receiver) = oneshot::channel();
        let task = spawn(async {
            slowly(()).await;
            sender.send(7).unwrap();
        });
        chance.take(wait([task], All)).await;
        assert_eq!(receiver.await, Ok(7));
    });
}

/// `Wait::timeout`
#[test]
fn tasks_that_were_waited_for_a_while_are_kept() {
    give_up(async |chance| {
        let mut waiting = wait([spawn(slowly(1)), spawn(pending())], All).timeout(SHORT);
        let tasks = match chance.take(&mut waiting).await {
            Some(waited) => waited.done.into_iter().chain(waited.pending).collect(),
            None => waiting.into_tasks(),
        };
        let [first, second] = <[_; 2]>::try_from(tasks).unwrap();
        assert_eq!(first.await.unwrap(), 1);
        assert!(second.cancel());
    });
}

/// `AsCompleted::next`
#[test]
fn no_output_is_lost_between_two() {
    give_up(async |chance| {
        let mut outputs = as_completed([slowly(1), slowly(2)]);
        let first = chance.take(outputs.next()).await;
        let mut found: Vec<_> = first.flatten().into_iter().collect();
        while let Some(output) = outputs.next().await {
            found.push(output);
        }
        assert_eq!(found, [1, 2]);
    });
}

/// `shield`
#[test]
fn what_is_shielded_goes_on() {
    give_up(async |chance| {
        let (sender, receiver) = oneshot::channel();
        let work = shield(async {
            slowly(()).await;
            sender.send(7).unwrap();
        });
        chance.take(work).await;
        assert_eq!(receiver.await, Ok(7));
    });
}

/// `task_group`
#[test]
fn no_task_outlives_its_group() {
    give_up(async |chance| {
        let (ours, theirs) = held();
        let ended = Rc::new(Cell::new(false));
        let group = task_group(async |group| {
            let held = Rc::clone(&theirs);
            group.spawn(async {
                slowly(held).await;
                Ok(())
            });
            ended.set(true);
            slowly(()).await;
            Ok::<(), std::io::Error>(())
        });
        chance.take(group).await;
        settle().await;
        drop(theirs);
        assert_eq!(Rc::strong_count(&ours), 1);
    });
}
