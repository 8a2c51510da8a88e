//! Tasks: their order, their ends, and what is left when a loop goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use support::{
    Flag, Log, OnDrop, imagine, kind, pair, quietly, really, settle, time_of, unreal, wait_until_dropped,
};
use velodrome::{Runtime, Task, join_all, sleep, spawn, yield_now};

#[test]
fn tasks_take_turns_in_the_order_in_which_they_were_started() {
    let log = Log::default();
    imagine(async {
        for name in ["a", "b", "c"] {
            let log = log.clone();
            drop(spawn(async move {
                for round in 0..2 {
                    log.add(format!("{name}{round}"));
                    yield_now().await;
                }
            }));
        }
        settle().await;
    });
    assert_eq!(log.take(), ["a0", "b0", "c0", "a1", "b1", "c1"]);
}

#[test]
fn a_task_begins_in_the_next_turn_and_not_before() {
    imagine(async {
        let begun = Rc::new(Cell::new(false));
        let sees = Rc::clone(&begun);
        let task = spawn(async move { sees.set(true) });
        assert!(!begun.get());
        task.await.unwrap();
        assert!(begun.get());
    });
}

#[test]
fn awaiting_through_a_reference_can_be_given_up_and_the_result_is_had_once() {
    imagine(async {
        let mut task = spawn(async { 7 });
        let first = poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut task).poll(cx))).await;
        assert!(first.is_pending());
        assert_eq!((&mut task).await.unwrap(), 7);
        let error = task.await.unwrap_err();
        assert_eq!(error.to_string(), "the result of task Task-1 has been taken already");
        assert!(!error.is_cancelled() && !error.is_panic());
    });
}

#[test]
fn a_cancelled_task_is_dropped_at_its_next_turn() {
    imagine(async {
        let dropped = Flag::default();
        let task = spawn(wait_until_dropped(dropped.clone()));
        yield_now().await;
        assert!(task.cancel());
        assert!(!dropped.is_set() && !task.is_finished(), "not from within cancel");
        let error = task.await.unwrap_err();
        assert!(dropped.is_set() && error.is_cancelled());
        assert_eq!(io::Error::from(error).to_string(), "task Task-1 was cancelled");
    });
}

#[test]
fn a_task_cancelled_before_its_first_turn_never_begins() {
    imagine(async {
        let begun = Rc::new(Cell::new(false));
        let sees = Rc::clone(&begun);
        let task = spawn(async move { sees.set(true) });
        assert!(task.cancel() && task.cancel());
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(!begun.get());
    });
}

#[test]
fn cancelling_what_is_finished_changes_nothing() {
    imagine(async {
        let task = spawn(ready(7));
        settle().await;
        assert!(!task.cancel());
        assert_eq!(task.await.unwrap(), 7);
    });
}

/// A task that holds its own handle.
fn self_aware<F: Future<Output = u8> + 'static>(
    body: impl FnOnce(Rc<RefCell<Option<Task<u8>>>>) -> F,
) -> Rc<RefCell<Option<Task<u8>>>> {
    let handle = Rc::new(RefCell::new(None));
    let task = spawn(body(Rc::clone(&handle)));
    handle.replace(Some(task));
    handle
}

#[test]
fn a_task_that_cancels_itself_ends_where_it_waits_next() {
    imagine(async {
        let waits = self_aware(|own| async move {
            assert!(own.borrow().as_ref().unwrap().cancel());
            pending().await
        });
        let ends = self_aware(|own| async move {
            assert!(own.borrow().as_ref().unwrap().cancel());
            7
        });
        settle().await;
        let (waits, ends) = (waits.take().unwrap(), ends.take().unwrap());
        assert!(waits.await.unwrap_err().is_cancelled());
        assert_eq!(ends.await.unwrap(), 7);
    });
}

#[test]
fn dropping_the_handle_detaches() {
    let (log, told) = (Log::default(), Log::default());
    imagine(async {
        let log = log.clone();
        drop(spawn(async move {
            yield_now().await;
            log.add("done");
        }));
        settle().await;
        told.add("settled");
    });
    assert_eq!((log.take(), told.take()), (vec!["done".to_owned()], vec!["settled".to_owned()]));
}

#[test]
fn a_panic_is_its_tasks_result_and_nobody_elses() {
    quietly(|| {
        imagine(async {
            let bad = spawn(async { panic!("on purpose, {}", std::hint::black_box(7)) });
            let good = spawn(ready(1));
            let error = bad.await.unwrap_err();
            assert_eq!(error.to_string(), "task Task-1 panicked: on purpose, 7");
            assert_eq!(*error.into_panic().unwrap().downcast::<String>().unwrap(), "on purpose, 7");
            assert_eq!(good.await.unwrap(), 1);
            let cancelled = spawn(pending::<()>());
            cancelled.cancel();
            assert!(cancelled.await.unwrap_err().into_panic().unwrap_err().is_cancelled());
        });
    });
}

#[test]
fn a_destructor_that_panics_is_its_tasks_result() {
    quietly(|| {
        imagine(async {
            let task = spawn(async {
                let _guard = OnDrop(|| panic!("on purpose"));
                pending::<()>().await;
            });
            yield_now().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_panic());
        });
    });
}

#[test]
fn a_detached_output_whose_destructor_panics_harms_nobody() {
    quietly(|| {
        imagine(async {
            drop(spawn(async { OnDrop(|| panic!("on purpose")) }));
            settle().await;
            assert_eq!(spawn(ready(1)).await.unwrap(), 1);
        });
    });
}

#[test]
fn names() {
    imagine(async {
        let (first, second) = (spawn(ready(())), spawn(ready(())).named("second"));
        assert_eq!((first.name(), second.name()), ("Task-1".into(), "second".into()));
        first.set_name("first");
        assert_eq!(format!("{first:?}"), r#"Task { name: "first", finished: false }"#);
    });
}

#[test]
fn where_no_loop_runs_a_task_says_so() {
    let dropped = Flag::default();
    let guard = dropped.on_drop();
    let task = spawn(async move { drop(guard) });
    assert!(dropped.is_set() && task.is_finished() && !task.cancel());
    let error = imagine(task).unwrap_err();
    assert!(error.to_string().starts_with("spawn needs a running event loop"), "{error}");
}

#[test]
fn what_is_left_when_run_ends_is_dropped_there() {
    let (dropped, never_begun) = (Flag::default(), Flag::default());
    let (task,) = imagine(async {
        let task = spawn(wait_until_dropped(dropped.clone()));
        yield_now().await;
        drop(spawn(wait_until_dropped(never_begun.clone())));
        (task,)
    });
    assert!(dropped.is_set());
    assert!(!never_begun.is_set(), "a future that was never polled has no guard yet");
    assert!(imagine(task).unwrap_err().is_cancelled(), "a handle may outlive its loop");
}

#[test]
fn destructors_that_run_at_the_end_find_a_loop_that_starts_nothing() {
    let outcome = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&outcome);
    imagine(async move {
        drop(spawn(async move {
            let _guard = OnDrop(move || drop(seen.replace(Some(spawn(ready(7))))));
            pending::<()>().await;
        }));
        yield_now().await;
    });
    let task = outcome.take().unwrap();
    assert!(imagine(task).unwrap_err().is_cancelled());
}

#[test]
fn tasks_that_hold_each_other_are_freed_at_the_end() {
    let dropped = Flag::default();
    imagine(async {
        let handle = self_aware(|own| {
            let guard = dropped.on_drop();
            async move {
                let _keeps = (own, guard);
                pending().await
            }
        });
        yield_now().await;
        drop(handle);
    });
    assert!(dropped.is_set());
}

#[test]
fn a_runtime_goes_on_where_it_stopped() {
    let (runtime, _) = unreal();
    let log = Log::default();
    let other = log.clone();
    let task = async {
        let task = spawn(async move {
            other.add("begun");
            yield_now().await;
            other.add("done");
            7
        });
        (task,)
    };
    let (task,) = runtime.block_on(task).unwrap();
    assert!(log.take().is_empty());
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 7);
    assert_eq!(log.take(), ["begun", "done"]);
}

#[test]
fn a_loop_in_a_loop_is_refused() {
    imagine(async {
        assert_eq!(kind(velodrome::run(async {})), Some(io::ErrorKind::Deadlock));
        let inner = Runtime::new().unwrap();
        let error = inner.block_on(async {}).unwrap_err();
        assert!(error.to_string().contains("await the future instead"), "{error}");
        drop(inner);
        assert_eq!(spawn(ready(7)).await.unwrap(), 7, "the outer loop is the thread's again");
    });
    imagine(async {});
}

#[test]
fn a_panic_of_the_main_future_comes_out_and_leaves_the_thread_clean() {
    quietly(|| {
        let dropped = Flag::default();
        let result = catch_unwind(AssertUnwindSafe(|| {
            imagine(async {
                drop(spawn(wait_until_dropped(dropped.clone())));
                yield_now().await;
                panic!("on purpose");
            })
        }));
        assert!(result.is_err() && dropped.is_set());
        imagine(async {});
    });
}

#[test]
fn the_main_future_may_borrow() {
    let text = String::from("borrowed");
    assert_eq!(imagine(async { text.as_str() }), "borrowed");
}

#[test]
fn tasks_that_always_give_way_keep_no_event_and_no_timer_waiting() {
    for busy in [1, 500] {
        really(async {
            for _ in 0..busy {
                drop(spawn(async {
                    loop {
                        yield_now().await;
                    }
                }));
            }
            let ((mut reader, _writer), (_reader, writer)) = pair();
            let reading = spawn(async move { reader.read(1).await });
            sleep(Duration::from_millis(1)).await;
            writer.write("x");
            assert_eq!(reading.await.unwrap().unwrap(), b"x");
        });
    }
}

#[test]
fn a_main_future_gives_way_to_nobody_too() {
    assert_eq!(time_of(yield_now()), Duration::ZERO);
}

#[test]
fn a_main_future_that_always_gives_way_keeps_no_event_waiting() {
    really(async {
        let ((mut reader, _writer), (_reader, writer)) = pair();
        let reading = spawn(async move { reader.read(1).await });
        writer.write("x");
        while !reading.is_finished() {
            yield_now().await;
        }
    });
}

/// A task that counts how often it is polled, and leaves its waker.
fn counted(polls: &Rc<Cell<usize>>, waker: &Rc<RefCell<Option<Waker>>>, end_at: usize) -> Task<()> {
    let (polls, waker) = (Rc::clone(polls), Rc::clone(waker));
    spawn(poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        waker.replace(Some(cx.waker().clone()));
        if polls.get() == end_at { Poll::Ready(()) } else { Poll::Pending }
    }))
}

#[test]
fn however_often_it_is_woken_a_task_is_polled_once() {
    imagine(async {
        let (polls, waker) = Default::default();
        let _task = counted(&polls, &waker, usize::MAX);
        settle().await;
        assert_eq!(polls.get(), 1);
        let left = waker.borrow().clone().unwrap();
        for _ in 0..10 {
            left.wake_by_ref();
        }
        settle().await;
        assert_eq!(polls.get(), 2);
    });
}

#[test]
fn a_task_woken_while_it_runs_runs_again() {
    imagine(async {
        let mut polls = 0;
        let task = spawn(poll_fn(move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(polls) } else { Poll::Pending }
        }));
        assert_eq!(task.await.unwrap(), 3);
    });
}

#[test]
fn a_late_waker_does_not_wake_the_task_that_has_the_place_now() {
    imagine(async {
        let (polls, waker) = Default::default();
        counted(&polls, &waker, 1).await.unwrap();
        let late = waker.borrow().clone().unwrap();
        let (polls, waker) = Default::default();
        let _next = counted(&polls, &waker, usize::MAX);
        settle().await;
        late.wake_by_ref();
        settle().await;
        assert_eq!(polls.get(), 1);
        assert!(!late.will_wake(waker.borrow().as_ref().unwrap()));
    });
}

#[test]
fn two_loops_one_after_the_other_do_not_mix() {
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    let left = Rc::clone(&waker);
    imagine(async move {
        drop(spawn(poll_fn(move |cx| {
            left.replace(Some(cx.waker().clone()));
            Poll::<()>::Pending
        })));
        settle().await;
    });
    imagine(async {
        let (polls, own) = Default::default();
        let _task = counted(&polls, &own, usize::MAX);
        settle().await;
        waker.take().unwrap().wake();
        settle().await;
        assert_eq!(polls.get(), 1);
    });
}

#[test]
fn errors_may_go_to_other_threads() {
    fn portable<T: Send + Sync + std::error::Error + 'static>() {}
    portable::<velodrome::TaskError>();
    portable::<velodrome::ReadError>();
    portable::<velodrome::Elapsed>();
}

#[test]
fn a_task_that_is_joined_is_cancelled_by_its_handle() {
    let dropped = Flag::default();
    imagine(async {
        let tasks = [spawn(wait_until_dropped(dropped.clone())), spawn(async {})];
        let handles = tasks.each_ref().map(|task| task.abort_handle());
        let joined = spawn(join_all(tasks));
        settle().await;
        assert!(!handles[0].is_finished() && handles[0].clone().cancel());
        assert!(!dropped.is_set(), "not from within cancel");
        let [first, second] = &joined.await.unwrap()[..] else { panic!("two") };
        assert!(first.as_ref().is_err_and(|error| error.is_cancelled()) && second.is_ok());
        assert!(dropped.is_set() && handles.iter().all(|handle| handle.is_finished() && !handle.cancel()));
    });
}

#[test]
fn an_abort_handle_keeps_neither_future_nor_output() {
    imagine(async {
        let (future, output) = (Flag::default(), Flag::default());
        let (kept, given) = (future.on_drop(), output.on_drop());
        let handle = spawn(async move {
            let _kept = kept;
            yield_now().await;
            given
        })
        .named("worker")
        .abort_handle();
        settle().await;
        assert!(future.is_set() && output.is_set());
        assert!(handle.is_finished() && !handle.cancel());
        assert_eq!(format!("{handle:?}"), r#"AbortHandle { name: "worker", finished: true }"#);
    });
}

#[test]
fn an_abort_handle_cancels_nothing_when_it_is_dropped_and_may_outlive_its_loop() {
    let runtime = Runtime::new().unwrap();
    let dropped = Flag::default();
    let handle = runtime
        .block_on(async {
            let task = spawn(wait_until_dropped(dropped.clone()));
            settle().await;
            drop(task.abort_handle());
            settle().await;
            task.abort_handle()
        })
        .unwrap();
    assert!(!dropped.is_set() && !handle.is_finished());
    // From outside of the loop, it is heard of at the loop's next turn.
    let other = runtime.block_on(async { spawn(pending::<()>()).abort_handle() }).unwrap();
    assert!(other.cancel() && !other.is_finished());
    runtime.block_on(settle()).unwrap();
    assert!(other.is_finished() && !dropped.is_set());
    drop(runtime);
    assert!(dropped.is_set() && handle.is_finished() && !handle.cancel());
    let nowhere = spawn(async {}).abort_handle();
    assert!(nowhere.is_finished() && !nowhere.cancel());
}
