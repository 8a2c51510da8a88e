//! Groups, gathering, waiting for some.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use support::{
    Flag, Log, OnDrop, Outer, imagine, panics_on_drop, quietly, settle, time_of, wait_until_dropped,
};
use velodrome::{
    All, Failure, FirstCompleted, FirstError, Task, as_completed, gather, join_all, shield, sleep, spawn,
    task_group, timeout, wait, yield_now,
};

const SECOND: Duration = Duration::from_secs(1);

async fn fail_after(seconds: u32) -> Result<(), &'static str> {
    sleep(SECOND * seconds).await;
    Err("on purpose")
}

#[test]
fn a_group_waits_for_all_its_tasks() {
    let log = Log::default();
    let took = time_of(async {
        let value = task_group(async |group| {
            for seconds in [3, 1, 2] {
                let log = log.clone();
                group.spawn(async move {
                    sleep(SECOND * seconds).await;
                    log.add(seconds);
                    Ok::<(), io::Error>(())
                });
            }
            assert_eq!((group.len(), group.is_empty()), (3, false));
            Ok("value")
        });
        assert_eq!(value.await.unwrap(), "value");
    });
    assert_eq!((log.take(), took), (["1", "2", "3"].map(String::from).into(), SECOND * 3));
}

#[test]
fn the_first_error_cancels_the_others_and_the_body() {
    let (other, body) = (Flag::default(), Flag::default());
    let took = time_of(async {
        let group = task_group(async |group| {
            let failing = group.spawn(fail_after(1));
            let waits = wait_until_dropped(other.clone());
            group.spawn(async move {
                waits.await;
                Ok(())
            });
            let _guard = body.on_drop();
            assert!(failing.await.unwrap_err().is_cancelled());
            assert!(
                group.spawn(ready(Ok(()))).await.unwrap_err().is_cancelled(),
                "it starts nothing any more"
            );
            pending::<Result<(), &str>>().await
        });
        let error = group.await.unwrap_err();
        assert_eq!(error.to_string(), "a task of the group failed: on purpose");
        assert!(matches!(error.into_failures()[..], [Failure::Error("on purpose")]));
        assert!(other.is_set() && body.is_set(), "nothing outlives the group");
    });
    assert_eq!(took, SECOND);
}

#[test]
fn an_error_of_the_body_cancels_the_tasks_and_is_waited_for() {
    let dropped = Flag::default();
    imagine(async {
        let group = task_group(async |group| {
            let waits = wait_until_dropped(dropped.clone());
            group.spawn(async move {
                waits.await;
                Ok(())
            });
            yield_now().await;
            Err::<(), _>("on purpose")
        });
        assert_eq!(group.await.unwrap_err().failures().len(), 1);
        assert!(dropped.is_set());
    });
}

#[test]
fn a_panic_fails_the_group_and_so_does_a_destructor_of_one_that_is_cancelled() {
    quietly(|| {
        imagine(async {
            let group = task_group(async |group| {
                group.spawn(async {
                    let _guard = OnDrop(|| panic!("on purpose"));
                    pending::<Result<(), io::Error>>().await
                });
                group.spawn(async {
                    yield_now().await;
                    if std::hint::black_box(true) {
                        panic!("on purpose, first")
                    }
                    Ok(())
                });
                Ok(())
            });
            let error = group.await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "2 tasks of the group failed: task Task-2 panicked: on purpose, first; \
                 task Task-1 panicked: in a destructor, when it was cancelled"
            );
            assert!(io::Error::from(error).to_string().starts_with("2 tasks"));
        });
    });
}

/// What a group fails with whose body and other task wait for ever, when one of its tasks is `future` and `then` is done
/// with it.
async fn failed_beside<F>(future: F, then: impl FnOnce(&Task<()>)) -> String
where
    F: Future<Output = Result<(), &'static str>> + 'static,
{
    let dropped = Flag::default();
    let group = task_group(async |group| {
        let waits = wait_until_dropped(dropped.clone());
        group.spawn(async {
            waits.await;
            Ok(())
        });
        let task = group.spawn(future).named("bad");
        yield_now().await;
        then(&task);
        pending::<Result<(), _>>().await
    });
    let error = group.await.unwrap_err().to_string();
    assert!(dropped.is_set(), "the other task is cancelled");
    error
}

#[test]
fn a_destructor_that_panics_fails_the_group_at_once() {
    quietly(|| {
        let held = panics_on_drop();
        let waits = async move {
            let _held = held;
            pending().await
        };
        assert_eq!(
            imagine(failed_beside(waits, |task| assert!(task.cancel()))),
            "a task of the group failed: task bad panicked: in a destructor, when it was cancelled"
        );
        let held = panics_on_drop();
        let done = poll_fn(move |_| {
            let _held = &held;
            Poll::Ready(Ok(()))
        });
        assert_eq!(
            imagine(failed_beside(done, |_| ())),
            "a task of the group failed: task bad panicked: on purpose"
        );
    });
}

#[test]
fn dropping_a_group_cancels_its_tasks() {
    imagine(async {
        let dropped = Flag::default();
        let group = task_group(async |group| {
            let waits = wait_until_dropped(dropped.clone());
            group.spawn(async move {
                waits.await;
                Ok::<(), io::Error>(())
            });
            pending::<Result<(), io::Error>>().await
        });
        assert!(timeout(SECOND, group).await.is_err());
        settle().await;
        assert!(dropped.is_set());
    });
}

#[test]
fn a_group_may_have_thousands_one_after_the_other() {
    imagine(async {
        let count = Rc::new(Cell::new(0));
        let group = task_group(async |group| {
            for _ in 0..5000 {
                let count = Rc::clone(&count);
                let task = group.spawn(async move {
                    count.set(count.get() + 1);
                    Ok::<(), io::Error>(())
                });
                task.await.unwrap();
                assert_eq!(group.len(), 0);
            }
            Ok(())
        });
        group.await.unwrap();
        assert_eq!(count.get(), 5000);
    });
}

#[test]
fn gathered_futures_run_side_by_side_and_keep_their_places() {
    let took = time_of(async {
        let text = String::from("borrowed");
        let late = async {
            sleep(SECOND * 2).await;
            text.len()
        };
        let (first, second, third) = gather!(late, async { sleep(SECOND).await }, ready(Some(1u8))).await;
        assert_eq!((first, second, third), (8, (), Some(1)));
    });
    assert_eq!(took, SECOND * 2);
}

#[test]
fn join_all_polls_only_who_was_woken() {
    let polls = Rc::new(Cell::new(0));
    imagine(async {
        let futures = (0..100u32).map(|number| {
            let polls = Rc::clone(&polls);
            let mut nap = Box::pin(sleep(SECOND * number));
            std::future::poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                nap.as_mut().poll(cx).map(|()| number)
            })
        });
        assert_eq!(join_all(futures).await, (0..100).collect::<Vec<_>>());
        assert!(join_all(Vec::<std::future::Ready<()>>::new()).await.is_empty());
    });
    assert_eq!(polls.get(), 200, "once to begin with, and once when it was woken");
}

async fn after(seconds: u32, result: Result<u32, u32>) -> Result<u32, u32> {
    sleep(SECOND * seconds).await;
    result
}

#[test]
fn waiting_for_the_first_for_an_error_for_all() {
    let tasks = || [after(3, Ok(3)), after(1, Ok(1)), after(2, Err(2))].map(spawn);
    let took = time_of(async {
        let first = wait(tasks(), FirstCompleted).await;
        assert_eq!((first.done.len(), first.pending.len()), (1, 2));
        let error = wait(first.pending, FirstError).await;
        let [done] = <[_; 1]>::try_from(error.done).unwrap();
        assert_eq!(done.await.unwrap(), Err(2));
        let [pending] = <[_; 1]>::try_from(error.pending).unwrap();
        assert_eq!(pending.await.unwrap(), Ok(3));
    });
    assert_eq!(took, SECOND * 3);
    assert_eq!(time_of(async { assert_eq!(wait(tasks(), All).await.done.len(), 3) }), SECOND * 3);
    assert_eq!(time_of(async { drop(wait(tasks(), FirstError).await) }), SECOND * 2);
    assert_eq!(time_of(async { drop(wait(Vec::<velodrome::Task<()>>::new(), All).await) }), Duration::ZERO);
}

#[test]
fn what_is_cancelled_counts_as_an_error_and_results_stay() {
    imagine(async {
        let tasks = [spawn(after(5, Ok(5))), spawn(after(1, Ok(1)))];
        tasks[0].cancel();
        let waited = wait(tasks, FirstError).await;
        assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
        let ended = spawn(ready(Ok::<_, u32>(7)));
        settle().await;
        let again = wait([ended], FirstError).await;
        let [task] = <[_; 1]>::try_from(again.done).unwrap();
        assert_eq!(task.await.unwrap(), Ok(7), "looking at it did not take it");
    });
}

#[test]
fn a_shielded_task_survives_its_timeout() {
    imagine(async {
        let saved = Rc::new(Cell::new(false));
        let told = Rc::clone(&saved);
        let save = async move {
            sleep(SECOND * 2).await;
            told.set(true);
        };
        assert!(timeout(SECOND, shield(save)).await.is_err());
        sleep(SECOND * 2).await;
        assert!(saved.get());
    });
}

#[test]
fn a_task_starts_siblings_that_the_group_waits_for() {
    let log = Log::default();
    let took = time_of(async {
        let group = task_group(async |group| {
            let (handle, log) = (group.handle(), log.clone());
            group.spawn(async move {
                sleep(SECOND).await;
                // The body is over by now, and this task ends at once.
                handle.spawn(async move {
                    sleep(SECOND).await;
                    log.add("sibling");
                    Ok(())
                });
                Ok::<(), io::Error>(())
            });
            Ok(())
        });
        group.await.unwrap();
    });
    assert_eq!((log.take(), took), (vec!["sibling".to_owned()], SECOND * 2));
}

#[test]
fn what_a_sibling_started_falls_with_the_group() {
    let dropped = Flag::default();
    imagine(async {
        let group = task_group(async |group| {
            let (handle, waits) = (group.handle(), wait_until_dropped(dropped.clone()));
            group.spawn(async move {
                handle.spawn(async move {
                    waits.await;
                    Ok(())
                });
                sleep(SECOND).await;
                Err::<(), _>("on purpose")
            });
            Ok(())
        });
        assert_eq!(group.await.unwrap_err().failures().len(), 1);
        assert!(dropped.is_set());
    });
}

#[test]
fn a_group_that_is_over_or_was_dropped_starts_nothing() {
    imagine(async {
        let kept = Rc::new(std::cell::RefCell::new(Vec::new()));
        let begin = async |ends: bool| {
            let (keep, ran) = (Rc::clone(&kept), Flag::default());
            let group = task_group(async |group| {
                keep.borrow_mut().push(group.handle());
                let (handle, late) = (group.handle(), ran.clone());
                // Where the group is dropped, a member's destructor tries.
                let _guard = OnDrop(move || {
                    let late = late.on_drop();
                    drop(handle.spawn(async move {
                        drop(late);
                        Ok(())
                    }));
                });
                if !ends {
                    pending::<()>().await;
                }
                Ok::<(), io::Error>(())
            });
            let _ = timeout(SECOND, group).await;
            settle().await;
        };
        begin(true).await;
        begin(false).await;
        for handle in kept.take() {
            let late = handle.spawn(async { Ok(()) });
            assert!(late.is_finished() && late.await.unwrap_err().is_cancelled());
            assert_eq!(format!("{handle:?}"), "TaskGroupHandle { tasks: 0, over: true }");
        }
    });
}

#[test]
fn an_io_error_of_a_group_has_the_kind_of_all_its_failures() {
    use std::error::Error;
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    imagine(async {
        let failed = task_group(async |_| Err::<(), _>(reset())).await.unwrap_err();
        assert_eq!(io::Error::from(failed).kind(), io::ErrorKind::ConnectionReset);
        let boxed = || Box::<dyn Error + Send + Sync>::from(reset());
        let failed = task_group(async |_| Err::<(), _>(boxed())).await.unwrap_err();
        assert_eq!(io::Error::from(failed).kind(), io::ErrorKind::ConnectionReset);
        let failed = task_group(async |_| Err::<(), _>("on purpose")).await.unwrap_err();
        assert_eq!(io::Error::from(failed).kind(), io::ErrorKind::Other);
        // A destructor that panics beside it is of another kind.
        let failed = quietly(|| {
            task_group(async |group| {
                let guard = OnDrop(|| panic!("on purpose"));
                group.spawn(async move {
                    let _guard = guard;
                    pending::<Result<(), _>>().await
                });
                yield_now().await;
                Err::<(), _>(reset())
            })
        });
        let failed = failed.await.unwrap_err();
        assert_eq!(failed.failures().len(), 2);
        assert_eq!(io::Error::from(failed).kind(), io::ErrorKind::Other);
    });
}

#[test]
fn what_is_behind_the_first_failure_is_the_source() {
    use std::error::Error;
    imagine(async {
        let outer = || Outer(io::Error::other("inner"));
        let failed = task_group(async |_| Err::<(), Box<dyn Error>>(outer().into())).await.unwrap_err();
        assert_eq!(failed.to_string(), "a task of the group failed: outer");
        assert_eq!(failed.source().unwrap().to_string(), "inner");
        let failed = task_group(async |_| Err::<(), _>(io::Error::other(outer()))).await.unwrap_err();
        assert_eq!(failed.source().unwrap().to_string(), "inner");
        let failed = task_group(async |_| Err::<(), _>("on purpose")).await.unwrap_err();
        assert!(failed.source().is_none());
    });
}

#[test]
fn who_waits_for_a_time_gets_all_tasks_back() {
    let took = time_of(async {
        let naps = [9, 1].map(|seconds| spawn(sleep(SECOND * seconds)));
        let waited = wait(naps, All).timeout(SECOND * 2).await;
        assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
        assert!(!waited.pending[0].is_finished(), "it cancels none");
    });
    assert_eq!(took, SECOND * 2);
    let took = time_of(async {
        let waited = wait([spawn(sleep(SECOND))], All).timeout(SECOND * 2).await;
        assert_eq!((waited.done.len(), waited.pending.len()), (1, 0));
    });
    assert_eq!(took, SECOND);
}

#[test]
fn who_gave_up_waiting_gets_the_tasks_out() {
    imagine(async {
        let naps = [9, 1].map(|seconds| spawn(sleep(SECOND * seconds)).named(seconds.to_string()));
        let mut waiting = wait(naps, All);
        assert!(timeout(SECOND * 2, &mut waiting).await.is_err());
        let tasks = waiting.into_tasks();
        let found: Vec<_> = tasks.iter().map(|task| (task.name(), task.is_finished())).collect();
        assert_eq!(found, [("9".to_owned(), false), ("1".to_owned(), true)]);
    });
}

#[test]
fn outputs_come_as_the_futures_are_done() {
    let took = time_of(async {
        let mut outputs = as_completed([3, 1, 2].map(|seconds| async move {
            sleep(SECOND * seconds).await;
            seconds
        }));
        let mut order = Vec::new();
        while let Some(seconds) = outputs.next().await {
            order.push(seconds);
        }
        assert_eq!((order, outputs.next().await), (vec![1, 2, 3], None));
    });
    assert_eq!(took, SECOND * 3);
}

#[test]
fn as_completed_polls_only_what_was_woken() {
    const MANY: u32 = 1000;
    let polls = Cell::new(0);
    imagine(async {
        let mut outputs = as_completed((0..MANY).map(|at| {
            let (polls, mut nap) = (&polls, Box::pin(sleep(SECOND * (MANY - at))));
            std::future::poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                nap.as_mut().poll(cx).map(|()| at)
            })
        }));
        for expected in (0..MANY).rev() {
            assert_eq!(outputs.next().await, Some(expected));
        }
    });
    assert_eq!(polls.get(), MANY * 2, "once to begin, once to end");
}

#[test]
fn what_wakes_itself_does_not_keep_the_others_from_their_turn() {
    imagine(async {
        let restless = async {
            loop {
                yield_now().await;
            }
        };
        let mut outputs = as_completed([restless]);
        let task = spawn(async move { outputs.next().await });
        settle().await;
        assert!(task.cancel());
    });
}
