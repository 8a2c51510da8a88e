//! Other threads: into the loop by a handle, out of it onto the pool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use support::{OnDrop, panics_on_drop, quietly, really};
use velodrome::{
    Builder, Handle, ManualClock, Runtime, block_on, sleep, spawn, spawn_blocking, sync, timeout, to_thread,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `outside` on another thread while a loop runs here, and gives what it returned.
fn beside<T: Send + 'static>(outside: impl FnOnce(Handle) -> T + Send + 'static) -> T {
    really(async {
        let handle = Handle::current().unwrap();
        timeout(PATIENCE, to_thread(move || outside(handle))).await.expect("it hangs").unwrap()
    })
}

#[test]
fn a_thread_starts_tasks_and_waits_for_them() {
    let sum = beside(|handle| {
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                handle.spawn_with(move || async move {
                    sleep(Duration::from_micros(number)).await;
                    number
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum::<u64>()
    });
    assert_eq!(sum, 4950);
}

#[test]
fn what_is_not_send_is_made_on_the_loop() {
    let where_it_ran = beside(|handle| {
        let task = handle.spawn_with(|| async {
            let local = Rc::new(thread::current().id());
            velodrome::yield_now().await;
            *local
        });
        block_on(task).unwrap().unwrap()
    });
    assert_eq!(where_it_ran, thread::current().id());
}

#[test]
fn a_panic_goes_to_who_waits_and_the_loop_goes_on() {
    quietly(|| {
        let messages = beside(|handle| {
            assert!(handle.call_soon(|| panic!("on purpose")));
            let polled = handle.spawn(async { panic!("on purpose, polled") }).join().map(|(): ()| ());
            let made = handle.spawn_with(|| -> std::future::Ready<()> { panic!("on purpose, made") }).join();
            [polled, made].map(|result| result.unwrap_err().to_string())
        });
        assert_eq!(
            messages,
            [
                "task of another thread panicked: on purpose, polled",
                "task of another thread panicked: on purpose, made"
            ]
        );
    });
}

#[test]
fn a_destructor_that_panics_goes_to_who_waits_too() {
    quietly(|| {
        let message = beside(|handle| {
            let held = panics_on_drop();
            let done = poll_fn(move |_| {
                let _held = &held;
                Poll::Ready(())
            });
            handle.spawn(done).join().unwrap_err().to_string()
        });
        assert_eq!(message, "task of another thread panicked: on purpose");
    });
}

#[test]
fn a_task_that_is_cancelled_from_afar_is_dropped_on_its_loop() {
    let dropped_on = beside(|handle| {
        let (sender, receiver) = mpsc::channel();
        struct Tell(mpsc::Sender<thread::ThreadId>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.send(thread::current().id()).unwrap();
            }
        }
        let (tell, (begun, has_begun)) = (Tell(sender), mpsc::channel());
        let task = handle.spawn(async move {
            let _tell = tell;
            begun.send(()).unwrap();
            pending::<()>().await
        });
        has_begun.recv().unwrap();
        assert!(task.cancel() && !task.cancel() && task.is_finished());
        assert!(task.join().unwrap_err().is_cancelled());
        receiver.recv().unwrap()
    });
    assert_eq!(dropped_on, thread::current().id());
}

#[test]
fn a_loop_that_is_over_takes_nothing() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let waiting = handle.spawn(pending::<()>());
    drop(runtime);
    assert!(waiting.join().unwrap_err().is_cancelled());
    assert!(!handle.call_soon(|| ()));
    assert!(handle.spawn(async {}).join().unwrap_err().is_cancelled());
}

#[test]
fn destructors_that_panic_of_what_never_began_harm_nobody() {
    quietly(|| {
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle();
        let start = || {
            let held = panics_on_drop();
            handle.spawn(async { drop(held) })
        };
        let call = || {
            let held = panics_on_drop();
            handle.call_soon(|| drop(held))
        };
        let waiting = [start(), start()];
        assert!(call());
        drop(runtime);
        assert!(!call(), "it is over");
        for task in waiting.into_iter().chain([start()]) {
            assert!(task.join().unwrap_err().is_cancelled());
        }
    });
}

#[test]
fn a_runtime_that_is_kept_for_its_thread_ends_with_it() {
    thread_local!(static KEPT: Runtime = Runtime::new().unwrap());
    let (sender, receiver) = mpsc::channel();
    let works = thread::spawn(|| {
        KEPT.with(|runtime| {
            runtime.block_on(async {
                let waits = spawn(async move {
                    let ((_reader, _writer), _others) = (support::pair(), sleep(PATIENCE));
                    let _tells = OnDrop(move || sender.send(()).unwrap());
                    pending::<()>().await
                });
                waits.detach();
                spawn_blocking(|| 7).await.unwrap()
            })
        })
    });
    assert_eq!(works.join().unwrap().unwrap(), 7);
    assert!(receiver.try_recv().is_ok(), "the task was dropped");
}

/// Kept by a thread, it tries to run a loop when that ends.
struct RunsLate(mpsc::Sender<io::Result<()>>);

impl Drop for RunsLate {
    fn drop(&mut self) {
        self.0.send(velodrome::run(async {})).unwrap();
    }
}

#[test]
fn a_thread_that_ends_runs_no_loop_and_says_so() {
    thread_local!(static LATE: RefCell<Option<RunsLate>> = const { RefCell::new(None) });
    let (sender, receiver) = mpsc::channel();
    let works = thread::spawn(|| {
        LATE.with(|late| late.replace(Some(RunsLate(sender))));
        velodrome::run(async {})
    });
    works.join().unwrap().unwrap();
    let error = receiver.recv().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "an event loop cannot run on a thread that is ending");
}

#[test]
fn waiting_on_a_loops_own_thread_is_refused() {
    really(async {
        assert_eq!(block_on(async {}).unwrap_err().kind(), io::ErrorKind::Deadlock);
        let task = Handle::current().unwrap().spawn(async {});
        let error = task.join().unwrap_err();
        assert!(error.to_string().contains("await it instead"), "{error}");
    });
}

#[test]
fn another_thread_has_functions_run_though_the_loop_stands_still() {
    let (runtime, (stop, stopped)) = (Runtime::new().unwrap(), mpsc::channel());
    let handle = runtime.handle();
    let outside = thread::spawn(move || {
        let answer = handle.spawn_blocking(|| 6 * 7).join().unwrap();
        let panicked = handle.spawn_blocking(|| panic!("no")).join().unwrap_err();
        stop.send(answer).unwrap();
        panicked.to_string()
    });
    assert_eq!(runtime.block_on(async move { stopped.recv_timeout(PATIENCE).unwrap() }).unwrap(), 42);
    let panicked = outside.join().unwrap();
    assert!(panicked.contains("on a blocking thread") && panicked.contains("no"), "{panicked}");
}

#[test]
fn functions_for_a_loop_that_is_over_never_run() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    drop(runtime);
    assert!(handle.spawn_blocking(|| ()).join().unwrap_err().is_cancelled());
}

#[test]
fn a_task_elsewhere_is_cancelled_by_whoever_has_its_abort_handle() {
    beside(|handle| {
        let task = handle.spawn(pending::<()>());
        let (abort, other) = (task.abort_handle(), task.abort_handle());
        let aborter = thread::spawn(move || (abort.is_finished(), abort.cancel(), abort.cancel()));
        assert!(task.join().unwrap_err().is_cancelled());
        assert_eq!(aborter.join().unwrap(), (false, true, false));
        assert!(other.is_finished() && !other.cancel());
        let output = Arc::new(());
        let theirs = Arc::clone(&output);
        let task = handle.spawn(async move { theirs });
        let abort = task.abort_handle();
        while !abort.is_finished() {
            thread::yield_now();
        }
        task.detach();
        // The loop's thread may be about to let go of its side.
        let let_go = (0..2000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            Arc::strong_count(&output) == 1
        });
        assert!(let_go, "nothing is kept by a handle");
        assert!(abort.is_finished());
    });
}

#[test]
fn functions_that_block_run_side_by_side_up_to_the_bound() {
    let runtime = Builder::new().blocking_threads(3).build().unwrap();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    runtime
        .block_on(async {
            let barrier = Arc::new(Barrier::new(3));
            let tasks: Vec<_> = (0..9)
                .map(|_| {
                    let (running, most, barrier) =
                        (Arc::clone(&running), Arc::clone(&most), Arc::clone(&barrier));
                    spawn_blocking(move || {
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        // Only three at a time come past this, and no fewer.
                        barrier.wait();
                        running.fetch_sub(1, Ordering::SeqCst);
                    })
                })
                .collect();
            for task in tasks {
                timeout(PATIENCE, task).await.expect("fewer than three threads").unwrap();
            }
        })
        .unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn a_function_that_panics_is_its_tasks_error_and_the_thread_goes_on() {
    quietly(|| {
        let runtime = Builder::new().blocking_threads(1).build().unwrap();
        runtime
            .block_on(async {
                let error = spawn_blocking(|| panic!("on purpose")).await.map(|(): ()| ()).unwrap_err();
                assert_eq!(error.to_string(), "task on a blocking thread panicked: on purpose");
                assert_eq!(spawn_blocking(|| 7).await.unwrap(), 7);
            })
            .unwrap();
    });
}

#[test]
fn destructors_that_panic_cost_the_pool_no_thread() {
    quietly(|| {
        let runtime = Builder::new().blocking_threads(1).build().unwrap();
        let next = runtime.block_on(async {
            let (release, held) = mpsc::channel();
            spawn_blocking(move || (held.recv().unwrap(), panics_on_drop())).detach();
            let unused = panics_on_drop();
            let cancelled = spawn_blocking(|| drop(unused));
            assert!(cancelled.cancel() && cancelled.await.unwrap_err().is_cancelled());
            release.send(()).unwrap();
            timeout(PATIENCE, spawn_blocking(|| 7)).await
        });
        // A thread that is counted and gone would be waited for, for minutes.
        runtime.shutdown_background();
        assert_eq!(next.unwrap().expect("the thread has gone").unwrap(), 7);
    });
}

#[test]
fn a_result_that_nobody_takes_may_panic_when_it_is_dropped() {
    quietly(|| {
        really(async {
            let task = spawn_blocking(panics_on_drop);
            while !task.is_finished() {
                sleep(Duration::from_millis(1)).await;
            }
            task.detach();
        });
    });
}

#[test]
fn destructors_that_panic_of_what_is_left_undone_harm_nobody() {
    quietly(|| {
        let runtime = Builder::new().blocking_threads(1).build().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let undone = runtime.block_on(async {
            spawn_blocking(move || held.recv()).detach();
            [(); 2].map(|()| {
                let unused = panics_on_drop();
                spawn_blocking(|| drop(unused))
            })
        });
        runtime.shutdown_background();
        for task in undone.unwrap() {
            assert!(task.join().unwrap_err().is_cancelled());
        }
        drop(release);
    });
}

#[test]
fn the_end_of_a_runtime_waits_for_what_blocks() {
    let done = Arc::new(AtomicUsize::new(0));
    let runtime = Builder::new().blocking_threads(1).build().unwrap();
    runtime
        .block_on(async {
            for _ in 0..3 {
                let done = Arc::clone(&done);
                spawn_blocking(move || {
                    thread::sleep(Duration::from_millis(2));
                    done.fetch_add(1, Ordering::SeqCst);
                })
                .detach();
            }
        })
        .unwrap();
    drop(runtime);
    assert_eq!(done.load(Ordering::SeqCst), 3, "what was queued was done too");
}

#[test]
fn what_blocks_and_waits_for_the_loop_does_not_hang_its_end() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let (sender, receiver) = mpsc::channel();
    runtime
        .block_on(async {
            spawn_blocking(move || sender.send(handle.spawn(pending::<()>()).join().is_err())).detach();
        })
        .unwrap();
    drop(runtime);
    assert!(receiver.recv().unwrap());
}

#[test]
fn a_function_that_is_given_up_before_it_began_never_does() {
    let runtime = Builder::new().blocking_threads(1).build().unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    runtime
        .block_on(async {
            let (release, held) = mpsc::channel::<()>();
            let first = spawn_blocking(move || held.recv());
            let counts = [Arc::clone(&begun), Arc::clone(&begun)];
            let [one, two] = counts.map(|begun| move || begun.fetch_add(1, Ordering::SeqCst));
            assert!(timeout(Duration::from_millis(1), to_thread(one)).await.is_err());
            let cancelled = spawn_blocking(two);
            assert!(cancelled.cancel() && cancelled.await.unwrap_err().is_cancelled());
            release.send(()).unwrap();
            first.await.unwrap().unwrap();
        })
        .unwrap();
    drop(runtime);
    assert_eq!(begun.load(Ordering::SeqCst), 0);
}

#[test]
fn where_no_loop_runs_nothing_blocks() {
    let error = spawn_blocking(|| ()).join().unwrap_err();
    assert!(error.to_string().contains("needs a running event loop"), "{error}");
}

#[test]
fn paused_time_moves_by_itself_and_waits_for_what_blocks() {
    let hand = ManualClock::default();
    let runtime = Builder::new().paused(&hand).build().unwrap();
    runtime
        .block_on(async {
            let nap = spawn(sleep(Duration::from_secs(3600)));
            spawn_blocking(|| thread::sleep(Duration::from_millis(5))).await.unwrap();
            assert_eq!(hand.now(), 0, "what blocks takes no time");
            nap.await.unwrap();
            assert_eq!(hand.now(), 3_600_000_000_000);
            spawn_blocking(|| thread::sleep(Duration::from_millis(5))).detach();
            sleep(Duration::from_secs(1)).await;
            let ((mut reader, _w), (_r, writer)) = support::pair();
            writer.write("x");
            assert_eq!(timeout(Duration::from_secs(1), reader.read(1)).await.unwrap().unwrap(), b"x");
        })
        .unwrap();
}

#[test]
fn items_from_many_threads_all_arrive_and_each_threads_in_order() {
    const THREADS: usize = 4;
    const EACH: usize = 5000;
    really(async {
        let (sender, mut receiver) = sync::mpsc::channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let sender = sender.clone();
                thread::spawn(move || (0..EACH).for_each(|item| sender.send((thread, item)).unwrap()))
            })
            .collect();
        drop(sender);
        let mut next = [0; THREADS];
        while let Some((thread, item)) = timeout(PATIENCE, receiver.receive()).await.expect("one was lost") {
            assert_eq!(next[thread], item);
            next[thread] += 1;
        }
        assert_eq!(next, [EACH; THREADS]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// How long `end` takes on a runtime with one thread, which sleeps; whether the function behind that ever ran; and what
/// became of it.
fn ended_by(end: impl FnOnce(Runtime), nap: Duration) -> (Duration, bool, String) {
    let runtime = Builder::new().blocking_threads(1).build().unwrap();
    let (ran, (begun, has_begun)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel());
    let counter = Arc::clone(&ran);
    let behind = runtime.block_on(async move {
        spawn_blocking(move || {
            begun.send(()).unwrap();
            thread::sleep(nap);
        })
        .detach();
        [spawn_blocking(move || counter.fetch_add(1, Ordering::SeqCst))]
    });
    has_begun.recv().unwrap();
    let begin = velodrome::Instant::now();
    end(runtime);
    let (took, [behind]) = (begin.elapsed(), behind.unwrap());
    let outcome = behind.join().map_or_else(|error| error.to_string(), |_| "done".to_owned());
    (took, ran.load(Ordering::SeqCst) == 1, outcome)
}

#[test]
fn who_ends_a_runtime_says_how_long_it_may_wait_for_threads() {
    const LONG: Duration = Duration::from_secs(3600);
    let cancelled = "task on a blocking thread was cancelled";
    let (took, ran, outcome) = ended_by(Runtime::shutdown_background, LONG);
    assert!(took < PATIENCE && !ran, "{took:?}");
    assert_eq!(outcome, cancelled);
    let short = Duration::from_millis(20);
    let (took, ran, outcome) = ended_by(|runtime| runtime.shutdown_timeout(short), LONG);
    assert!(took >= short && took < PATIENCE && !ran, "{took:?}");
    assert_eq!(outcome, cancelled);
    let (took, ran, outcome) = ended_by(|runtime| runtime.shutdown_timeout(LONG), short);
    assert!(took < PATIENCE && ran && outcome == "done", "{took:?}");
}
