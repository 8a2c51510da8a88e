//! The primitives, by programs of chance: whatever is given up in between, nothing is lost and nobody overtakes.
//!
//! Everything runs without a kernel, so a wake-up that is lost shows as a wait for ever, which is an error there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use support::{imagine, settle, time_of};
use velodrome::sync::{
    Barrier, Closed, Condition, Event, GetError, Lock, PutError, Queue, Semaphore, mpsc, oneshot, watch,
};
use velodrome::{Task, join_all, sleep, spawn, timeout, yield_now};

const SECOND: Duration = Duration::from_secs(1);

/// When a step begins, how long it waits at most (0 is for ever), and how long it keeps what it got.
type Step = (u64, u64, u64);

fn programs() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0..4u64, prop_oneof![2 => Just(0), 3 => 1..5u64], 0..4u64);
    prop::collection::vec(prop::collection::vec(step, 0..6), 1..6)
}

async fn pause(ticks: u64) {
    if ticks > 0 {
        sleep(Duration::from_millis(ticks)).await;
    } else {
        yield_now().await;
    }
}

/// Awaits `future`, for so many ticks if that is not 0.
async fn patiently<F: Future>(ticks: u64, future: F) -> Option<F::Output> {
    match ticks {
        0 => Some(future.await),
        ticks => timeout(Duration::from_millis(ticks), future).await.ok(),
    }
}

async fn all(tasks: Vec<Task<()>>) {
    for result in join_all(tasks).await {
        result.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_semaphore_has_all_its_permits_in_the_end(programs in programs(), permits in 1..3usize) {
        imagine(async {
            let semaphore = Rc::new(Semaphore::bounded(permits));
            let holders = Rc::new(Cell::new(0));
            let tasks = programs.into_iter().map(|steps| {
                let (semaphore, holders) = (Rc::clone(&semaphore), Rc::clone(&holders));
                spawn(async move {
                    for (before, patience, keeping) in steps {
                        pause(before).await;
                        if let Some(permit) = patiently(patience, semaphore.acquire()).await {
                            holders.set(holders.get() + 1);
                            assert!(holders.get() <= permits);
                            pause(keeping).await;
                            holders.set(holders.get() - 1);
                            drop(permit);
                        }
                    }
                })
            });
            all(tasks.collect()).await;
            assert_eq!(semaphore.available(), permits);
            assert!(semaphore.release().is_err());
        });
    }

    #[test]
    fn a_queue_loses_nothing_and_keeps_its_order(
        putters in programs(), getters in programs(), capacity in 0..3usize
    ) {
        imagine(async {
            let queue = Rc::new(Queue::new(capacity));
            let [put, got] = [(); 2].map(|()| Rc::new(RefCell::new(Vec::new())));
            let number = Rc::new(Cell::new(0));
            let putting = putters.into_iter().map(|steps| {
                let (queue, put, number) = (Rc::clone(&queue), Rc::clone(&put), Rc::clone(&number));
                spawn(async move {
                    for (before, patience, _) in steps {
                        pause(before).await;
                        let item = number.replace(number.get() + 1);
                        if let Some(result) = patiently(patience, queue.put(item)).await {
                            result.unwrap();
                            put.borrow_mut().push(item);
                        }
                        assert!(capacity == 0 || queue.len() <= capacity);
                    }
                })
            });
            let putting: Vec<_> = putting.collect();
            let getting = getters.into_iter().map(|steps| {
                let (queue, got) = (Rc::clone(&queue), Rc::clone(&got));
                spawn(async move {
                    for (before, patience, _) in steps {
                        pause(before).await;
                        // For ever would be too long: there may be fewer items than getters.
                        if let Some(Ok(item)) = patiently(patience + 1, queue.get()).await {
                            got.borrow_mut().push(item);
                            queue.task_done();
                        }
                    }
                })
            });
            let getting: Vec<_> = getting.collect();
            let (last, rest) = (Rc::clone(&queue), Rc::clone(&got));
            let drain = spawn(async move {
                // Comes when some have given up; takes what is left.
                while let Ok(item) = last.get().await {
                    rest.borrow_mut().push(item);
                    last.task_done();
                }
            });
            all(putting).await;
            all(getting).await;
            queue.join().await;
            queue.shutdown();
            drain.await.unwrap();
            assert_eq!(*put.borrow(), *got.borrow());
            assert!(queue.is_empty());
        });
    }

    #[test]
    fn a_condition_loses_no_notification(programs in programs()) {
        imagine(async {
            let (stock, changed) = (Rc::new(Lock::new(0u32)), Rc::new(Condition::new()));
            let steps = programs.iter().map(Vec::len).sum::<usize>();
            let takers = programs.into_iter().map(|steps| {
                let (stock, changed) = (Rc::clone(&stock), Rc::clone(&changed));
                spawn(async move {
                    for (before, patience, keeping) in steps {
                        pause(before).await;
                        let taken = async {
                            let guard = stock.lock().await;
                            let mut guard = changed.wait_until(guard, |stock| *stock > 0).await;
                            *guard -= 1;
                            pause(keeping).await;
                        };
                        let _ = patiently(patience, taken).await;
                    }
                })
            });
            let takers: Vec<_> = takers.collect();
            // One for each who might take one, each told to one only.
            for _ in 0..steps {
                pause(1).await;
                *stock.lock().await += 1;
                changed.notify_one();
            }
            all(takers).await;
            assert!(!stock.is_locked());
        });
    }

    #[test]
    fn a_lock_keeps_what_it_protects_to_one_at_a_time(programs in programs()) {
        imagine(async {
            let lock = Rc::new(Lock::new(0u32));
            let tasks = programs.into_iter().map(|steps| {
                let lock = Rc::clone(&lock);
                spawn(async move {
                    for (before, patience, keeping) in steps {
                        pause(before).await;
                        let _ = patiently(patience, async {
                            let mut value = lock.lock().await;
                            let seen = *value;
                            pause(keeping).await;
                            assert_eq!(*value, seen);
                            *value += 1;
                        })
                        .await;
                    }
                })
            });
            all(tasks.collect()).await;
            assert!(lock.try_lock().is_some());
        });
    }
}

#[test]
fn a_permit_goes_to_who_waits_longest_and_nobody_overtakes() {
    imagine(async {
        let (semaphore, order) = (Rc::new(Semaphore::new(1)), Rc::new(RefCell::new(Vec::new())));
        let held = semaphore.acquire().await;
        for name in ["a", "b"] {
            let (semaphore, order) = (Rc::clone(&semaphore), Rc::clone(&order));
            spawn(async move {
                let _permit = semaphore.acquire().await;
                order.borrow_mut().push(name);
            })
            .detach();
        }
        settle().await;
        drop(held);
        assert!(semaphore.try_acquire().is_none(), "it is a's already");
        settle().await;
        assert_eq!((order.borrow().as_slice(), semaphore.available()), (&["a", "b"][..], 1));
    });
}

#[test]
fn a_bounded_semaphore_never_has_more_permits_than_its_bound() {
    imagine(async {
        let semaphore = Rc::new(Semaphore::bounded(2));
        let (one, other) = (semaphore.acquire().await, Rc::clone(&semaphore).acquire_owned().await);
        assert!(semaphore.release().is_err(), "both are held");
        // What one who waits has been given and has not taken yet is held too.
        let mut waits = Box::pin(semaphore.acquire());
        assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
        drop(one);
        assert!(semaphore.release().is_err());
        other.forget();
        waits.await.forget();
        assert_eq!([(); 3].map(|()| semaphore.release().is_ok()), [true, true, false]);
        semaphore.acquire_many(2).await.forget();
        assert_eq!([(); 3].map(|()| semaphore.release().is_ok()), [true, true, false]);
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn a_permit_for_one_who_left_goes_to_the_next() {
    imagine(async {
        let semaphore = Semaphore::new(0);
        let (mut first, mut second) = (Box::pin(semaphore.acquire()), Box::pin(semaphore.acquire()));
        for waiting in [&mut first, &mut second] {
            assert!(timeout(Duration::ZERO, waiting).await.is_err());
        }
        semaphore.release().unwrap();
        drop(first);
        assert_eq!(semaphore.available(), 0);
        drop(timeout(SECOND, second).await.expect("the permit was lost"));
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn who_waits_for_an_event_is_let_through_though_it_is_cleared() {
    imagine(async {
        let event = Rc::new(Event::new());
        let waits = Rc::clone(&event);
        let task = spawn(async move { waits.wait().await });
        yield_now().await;
        event.set();
        event.clear();
        task.await.unwrap();
        assert!(timeout(SECOND, event.wait()).await.is_err());
    });
}

#[test]
fn an_item_for_one_who_left_goes_to_the_next() {
    imagine(async {
        let queue = Queue::new(0);
        let (mut first, mut second) = (Box::pin(queue.get()), Box::pin(queue.get()));
        assert!(timeout(Duration::ZERO, &mut first).await.is_err());
        assert!(timeout(Duration::ZERO, &mut second).await.is_err());
        queue.put(1).await.unwrap();
        assert_eq!(queue.get_nowait(), Err(GetError::Empty), "it is promised");
        drop(first);
        assert_eq!(timeout(SECOND, second).await.expect("the item was lost"), Ok(1));
    });
}

#[test]
fn room_for_one_who_left_goes_to_the_next() {
    imagine(async {
        let queue = Queue::new(1);
        queue.put(1).await.unwrap();
        let (mut first, mut second) = (Box::pin(queue.put(2)), Box::pin(queue.put(3)));
        assert!(timeout(Duration::ZERO, &mut first).await.is_err());
        assert!(timeout(Duration::ZERO, &mut second).await.is_err());
        assert_eq!(queue.get_nowait(), Ok(1));
        assert_eq!(queue.put_nowait(4), Err(PutError::Full(4)), "the room is promised");
        drop(first);
        timeout(SECOND, second).await.expect("the room was lost").unwrap();
        assert_eq!(queue.get_nowait(), Ok(3));
    });
}

#[test]
fn a_shutdown_reaches_all_who_wait() {
    imagine(async {
        let full = Rc::new(Queue::new(1));
        full.put(1).await.unwrap();
        let (puts, empty) = (Rc::clone(&full), Rc::new(Queue::<u8>::new(1)));
        let gets = Rc::clone(&empty);
        let (put, got) = (spawn(async move { puts.put(2).await }), spawn(async move { gets.get().await }));
        settle().await;
        full.shutdown();
        empty.shutdown();
        assert_eq!(put.await.unwrap(), Err(PutError::ShutDown(2)));
        assert_eq!(got.await.unwrap(), Err(GetError::ShutDown));
        assert_eq!((full.get_nowait(), full.get_nowait()), (Ok(1), Err(GetError::ShutDown)));
    });
}

/// Two wait, one item comes, and then the shutdown.
async fn promised_to_the_first(queue: &Queue<u8>) -> [impl Future<Output = Result<u8, GetError>>; 2] {
    let mut waiting = [Box::pin(queue.get()), Box::pin(queue.get())];
    for get in &mut waiting {
        assert!(timeout(Duration::ZERO, get).await.is_err());
    }
    queue.put_nowait(1).unwrap();
    queue.shutdown();
    waiting
}

#[test]
fn a_shutdown_takes_no_item_from_who_waited_for_it() {
    imagine(async {
        let queue = Queue::new(0);
        let [first, second] = promised_to_the_first(&queue).await;
        assert_eq!(queue.get_nowait(), Err(GetError::ShutDown), "it is promised");
        assert_eq!(second.await, Err(GetError::ShutDown));
        assert_eq!(first.await, Ok(1));
    });
}

#[test]
fn who_leaves_after_a_shutdown_gives_nobodys_item_away() {
    imagine(async {
        let queue = Queue::new(0);
        let [first, second] = promised_to_the_first(&queue).await;
        drop(second);
        assert_eq!(queue.get_nowait(), Err(GetError::ShutDown), "it is the first one's");
        assert_eq!(first.await, Ok(1));

        let queue = Queue::new(0);
        let [first, second] = promised_to_the_first(&queue).await;
        drop(first);
        assert_eq!(second.await, Ok(1), "what is in it can still be got");
    });
}

#[test]
fn an_immediate_shutdown_ends_the_waiting_for_what_was_left() {
    imagine(async {
        let queue = Rc::new(Queue::lifo(0));
        queue.put(1).await.unwrap();
        queue.put(2).await.unwrap();
        let joins = Rc::clone(&queue);
        let joined = spawn(async move { joins.join().await });
        settle().await;
        assert!(!joined.is_finished());
        assert_eq!(queue.shutdown_now(), [2, 1]);
        joined.await.unwrap();
    });
}

#[test]
fn the_smallest_comes_first() {
    let queue = Queue::priority(3);
    [3, 1, 2].into_iter().for_each(|item| queue.put_nowait(item).unwrap());
    assert!(queue.is_full());
    assert_eq!([(); 3].map(|()| queue.get_nowait().unwrap()), [1, 2, 3]);
}

#[test]
fn a_value_is_sent_once_and_a_sender_hears_that_nobody_waits() {
    imagine(async {
        let (sender, mut receiver) = oneshot::channel();
        assert!(timeout(SECOND, &mut receiver).await.is_err());
        sender.send(7).unwrap();
        assert_eq!(receiver.await, Ok(7));
        let (mut sender, receiver) = oneshot::channel::<u8>();
        spawn(async move { drop(receiver) }).detach();
        sender.closed().await;
        assert!(sender.is_closed());
        let (sender, receiver) = oneshot::channel::<u8>();
        spawn(async move { drop(sender) }).detach();
        assert_eq!(receiver.await, Err(Closed));
    });
}

#[test]
fn a_watcher_sees_the_last_value_and_the_end() {
    let took = time_of(async {
        let (sender, mut receiver) = watch::channel(0);
        let watching = spawn(async move {
            let mut seen = Vec::new();
            while receiver.changed().await.is_ok() {
                seen.push(*receiver.get());
            }
            seen
        });
        for value in [1, 2, 3] {
            sleep(SECOND).await;
            sender.send(value);
            sender.send(value * 10);
        }
        yield_now().await;
        yield_now().await;
        drop(sender);
        assert_eq!(watching.await.unwrap(), [10, 20, 30]);
    });
    assert_eq!(took, SECOND * 3);
}

#[test]
fn a_barrier_lets_all_through_together_and_one_of_them_knows() {
    imagine(async {
        let (barrier, through) = (Rc::new(Barrier::new(3)), Rc::new(Cell::new(0)));
        let come = |rounds: usize| {
            let (barrier, through) = (Rc::clone(&barrier), Rc::clone(&through));
            spawn(async move {
                let mut last = 0;
                for round in 0..rounds {
                    last += usize::from(barrier.wait().await);
                    through.set(through.get() + 1);
                    assert!(through.get() > 3 * round && through.get() <= 3 * (round + 1), "together");
                }
                last
            })
        };
        let tasks = [(); 3].map(|()| come(4));
        let lasts = join_all(tasks).await.into_iter().map(Result::unwrap);
        assert_eq!((lasts.sum::<usize>(), through.get(), barrier.waiting()), (4, 12, 0));
    });
}

#[test]
fn who_gives_up_has_not_come_to_a_barrier() {
    imagine(async {
        let barrier = Rc::new(Barrier::new(3));
        let come = || {
            let barrier = Rc::clone(&barrier);
            spawn(async move { barrier.wait().await })
        };
        let (gives_up, stays) = (come(), come());
        settle().await;
        assert_eq!(barrier.waiting(), 2);
        gives_up.cancel();
        settle().await;
        let third = come();
        settle().await;
        assert!(barrier.waiting() == 2 && !stays.is_finished() && !third.is_finished());
        // All have come now; one is dropped before its turn, and nobody else is held up by that.
        assert!(barrier.wait().await);
        third.cancel();
        assert!(!stays.await.unwrap());
        assert!(third.await.unwrap_err().is_cancelled());
        assert_eq!(barrier.waiting(), 0);
    });
}

/// Tasks that each take so many permits, say so, and give them back.
fn take_permits(semaphore: &Rc<Semaphore>, wanted: &[u32], order: &Rc<RefCell<Vec<u32>>>) -> Vec<Task<()>> {
    let take = |&count: &u32| {
        let (semaphore, order) = (Rc::clone(semaphore), Rc::clone(order));
        spawn(async move {
            let _permits = semaphore.acquire_many(count).await;
            order.borrow_mut().push(count);
            yield_now().await;
        })
    };
    wanted.iter().map(take).collect()
}

#[test]
fn who_waits_for_many_permits_is_not_overtaken() {
    imagine(async {
        let (semaphore, order) = (Rc::new(Semaphore::new(3)), Rc::default());
        let held = semaphore.acquire().await;
        let tasks = take_permits(&semaphore, &[3, 1, 2], &order);
        settle().await;
        assert!(order.borrow().is_empty() && semaphore.available() == 2);
        assert!(semaphore.try_acquire().is_none(), "two are left for who waits for three");
        drop(held);
        assert_eq!(semaphore.available(), 0, "they are the first one's already");
        for task in join_all(tasks).await {
            task.unwrap();
        }
        assert_eq!((order.take(), semaphore.available()), (vec![3, 1, 2], 3));
    });
}

#[test]
fn who_gives_up_waiting_for_many_lets_those_behind_through() {
    imagine(async {
        let (semaphore, order) = (Rc::new(Semaphore::new(2)), Rc::default());
        let tasks = take_permits(&semaphore, &[9, 2, 1], &order);
        settle().await;
        assert!(order.borrow().is_empty());
        tasks[0].cancel();
        settle().await;
        assert_eq!((order.take(), semaphore.available()), (vec![2, 1], 2));
        // Served and dropped before its turn: all of them go back.
        let held = semaphore.acquire_many(2).await;
        let mut waiting = Box::pin(semaphore.acquire_many(2));
        assert!(timeout(Duration::ZERO, &mut waiting).await.is_err());
        drop(held);
        drop(waiting);
        assert_eq!(semaphore.available(), 2);
        Rc::clone(&semaphore).try_acquire_owned().unwrap().forget();
        drop(Rc::clone(&semaphore).try_acquire_owned());
        assert_eq!((semaphore.available(), Rc::strong_count(&semaphore)), (1, 1));
    });
}

#[test]
fn an_owned_guard_keeps_the_lock_until_it_is_dropped() {
    imagine(async {
        let lock: Rc<Lock<u8>> = Rc::new(7.into());
        let mut guard = Rc::clone(&lock).lock_owned().await;
        assert_eq!((*guard.get(), lock.is_locked()), (7, true));
        *guard.get_mut() = 8;
        let task = spawn(async move {
            yield_now().await;
            drop(guard);
        });
        assert!(lock.try_lock().is_none());
        assert_eq!(*lock.lock().await, 8);
        task.await.unwrap();
        assert_eq!(Lock::<u8>::default().into_inner(), 0);
    });
}

#[test]
fn what_is_received_now_is_an_item_or_says_why_not() {
    let (sender, mut receiver) = mpsc::channel();
    assert_eq!(receiver.try_receive(), Err(mpsc::TryReceiveError::Empty));
    sender.send(7).unwrap();
    drop(sender);
    assert_eq!(receiver.try_receive(), Ok(7));
    assert_eq!(receiver.try_receive(), Err(mpsc::TryReceiveError::Closed));
}

#[test]
fn a_bounded_channel_gives_room_to_the_first_who_waits() {
    imagine(async {
        let (sender, mut receiver) = mpsc::bounded(2);
        let waiting: Vec<_> = (0..6)
            .map(|number| {
                let sender = sender.clone();
                spawn(async move { sender.send(number).await })
            })
            .collect();
        yield_now().await;
        assert_eq!(sender.try_send(9), Err(mpsc::TrySendError::Full(9)));
        assert_eq!(receiver.try_receive(), Ok(0));
        assert_eq!(sender.try_send(9), Err(mpsc::TrySendError::Full(9)), "it is promised");
        let mut received = Vec::new();
        for _ in 1..6 {
            received.push(receiver.receive().await.unwrap());
        }
        assert_eq!(received, [1, 2, 3, 4, 5]);
        assert!(join_all(waiting).await.into_iter().all(|sent| sent.unwrap().is_ok()));
        sender.try_send(6).unwrap();
        drop(sender);
        assert_eq!((receiver.receive().await, receiver.receive().await), (Some(6), None));
    });
}

#[test]
fn who_waits_for_room_hears_that_there_will_be_none() {
    imagine(async {
        let (sender, receiver) = mpsc::bounded(0);
        sender.try_send(1).unwrap();
        let waiting = [2, 3].map(|number| {
            let sender = sender.clone();
            spawn(async move { sender.send(number).await })
        });
        yield_now().await;
        drop(receiver);
        let sent: Vec<_> = join_all(waiting).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(sent, [Err(2), Err(3)]);
        assert_eq!(sender.try_send(4), Err(mpsc::TrySendError::Closed(4)));
    });
}

#[test]
fn where_a_loop_runs_no_thread_waits_for_room() {
    imagine(async {
        let (sender, _receiver) = mpsc::bounded(1);
        assert_eq!(sender.blocking_send(1), Ok(()));
        assert_eq!(sender.blocking_send(2), Err(mpsc::TrySendError::Full(2)));
    });
}

#[test]
fn a_watched_senders_last_receiver_is_heard_of() {
    imagine(async {
        let (sender, first) = watch::channel(1);
        let second = sender.subscribe();
        assert!(timeout(SECOND, sender.closed()).await.is_err());
        let third = second.clone();
        assert_eq!((sender.receiver_count(), sender.is_closed()), (3, false));
        drop((first, second));
        spawn(async move { drop(third) }).detach();
        sender.closed().await;
        assert!(sender.is_closed() && !sender.subscribe().has_changed() && sender.is_closed());
    });
}

#[test]
fn what_is_not_modified_wakes_nobody() {
    imagine(async {
        let (sender, mut receiver) = watch::channel(vec![1]);
        let before = receiver.get();
        assert!(!sender.send_if_modified(|_| false) && !receiver.has_changed());
        let looked = sender.send_if_modified(|value| {
            value.push(2);
            *receiver.get() == [1]
        });
        assert!(looked && receiver.has_changed());
        assert_eq!((&*before, &*receiver.get()), (&vec![1], &vec![1, 2]));
        let waits =
            spawn(async move { receiver.wait_for(|value| value.len() == 4).await.map(|value| value[3]) });
        for number in 3..5 {
            settle().await;
            assert!(!waits.is_finished());
            sender.send_if_modified(|value| {
                value.push(number);
                true
            });
        }
        assert_eq!(waits.await.unwrap(), Ok(4));
        let mut receiver = sender.subscribe();
        sender.send(vec![0; 4]);
        assert_eq!(receiver.wait_for(|value| value.len() == 4).await.unwrap().len(), 4);
        assert!(!receiver.has_changed(), "it was told of");
        drop(sender);
        assert_eq!(receiver.wait_for(|value| value.is_empty()).await, Err(Closed));
    });
}
