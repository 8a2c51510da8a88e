//! What tasks wait for each other with: no item, permit, notification or turn is lost.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use velodrome::sync::{Barrier, Condition, Event, Lock, Queue, Semaphore, mpsc, oneshot, watch};
use velodrome::{sleep, spawn, yield_now};

use crate::chance::give_up;

/// Does `act` in a task of its own, after some turns.
fn soon(act: impl FnOnce() + 'static) {
    spawn(async {
        yield_now().await;
        yield_now().await;
        act();
    })
    .detach();
}

/// Long enough for everything that waits for nobody.
async fn settle() {
    for _ in 0..10 {
        sleep(Duration::ZERO).await;
    }
}

/// `Event::wait`, `EventWait`
#[test]
fn an_event_is_there_for_all() {
    give_up(async |chance| {
        let event = Rc::new(Event::new());
        let (ours, theirs) = (Rc::clone(&event), Rc::clone(&event));
        soon(move || ours.set());
        let other = spawn(async move { theirs.wait().await });
        chance.take(event.wait()).await;
        other.await.unwrap();
        event.wait().await;
    });
}

/// `Lock::lock`
#[test]
fn a_lock_goes_to_the_next() {
    give_up(async |chance| {
        let lock = Rc::new(Lock::new(()));
        let (held, theirs) = (Rc::clone(&lock), Rc::clone(&lock));
        spawn(async move {
            let _guard = held.lock().await;
            yield_now().await;
        })
        .detach();
        yield_now().await;
        let other = spawn(async move {
            yield_now().await;
            let _guard = theirs.lock().await;
        });
        drop(chance.take(lock.lock()).await);
        other.await.unwrap();
        assert!(!lock.is_locked());
    });
}

/// `Semaphore::acquire`, `Acquire`
#[test]
fn a_permit_goes_to_the_next() {
    give_up(async |chance| {
        let semaphore = Rc::new(Semaphore::new(0));
        let (given, theirs) = (Rc::clone(&semaphore), Rc::clone(&semaphore));
        soon(move || given.release().unwrap());
        let other = spawn(async move {
            yield_now().await;
            drop(theirs.acquire().await);
        });
        drop(chance.take(semaphore.acquire()).await);
        other.await.unwrap();
        assert_eq!(semaphore.available(), 1);
    });
}

/// `Semaphore::acquire_owned`
#[test]
fn a_permit_of_ones_own_goes_to_the_next() {
    give_up(async |chance| {
        let semaphore = Rc::new(Semaphore::new(0));
        let (given, theirs) = (Rc::clone(&semaphore), Rc::clone(&semaphore));
        soon(move || given.release().unwrap());
        let other = spawn(async move {
            yield_now().await;
            drop(theirs.acquire_owned().await);
        });
        drop(chance.take(Rc::clone(&semaphore).acquire_owned()).await);
        other.await.unwrap();
        assert_eq!((semaphore.available(), Rc::strong_count(&semaphore)), (1, 1));
    });
}

/// `Semaphore::acquire_many_owned`
#[test]
fn many_permits_of_ones_own_go_to_the_next() {
    give_up(async |chance| {
        let semaphore = Rc::new(Semaphore::new(1));
        let (given, theirs) = (Rc::clone(&semaphore), Rc::clone(&semaphore));
        soon(move || given.release().unwrap());
        let other = spawn(async move {
            yield_now().await;
            drop(theirs.acquire_many_owned(2).await);
        });
        drop(chance.take(Rc::clone(&semaphore).acquire_many_owned(2)).await);
        other.await.unwrap();
        assert_eq!((semaphore.available(), Rc::strong_count(&semaphore)), (2, 1));
    });
}

/// Notifies one of those who wait. The lock is held meanwhile, so that the first of them has to wait for it as well.
fn notify_later<T: 'static>(lock: Rc<Lock<T>>, condition: Rc<Condition>) {
    spawn(async move {
        for _ in 0..4 {
            yield_now().await;
        }
        let _guard = lock.lock().await;
        condition.notify_one();
        yield_now().await;
    })
    .detach();
}

/// `Condition::wait`
#[test]
fn a_notification_goes_to_the_next() {
    give_up(async |chance| {
        let (lock, condition) = (Rc::new(Lock::new(())), Rc::new(Condition::new()));
        let (told, by) = (Rc::clone(&lock), Rc::clone(&condition));
        let guard = lock.lock().await;
        let other = spawn(async move {
            let guard = told.lock().await;
            drop(by.wait(guard).await);
        });
        notify_later(Rc::clone(&lock), Rc::clone(&condition));
        let done = chance.take(condition.wait(guard)).await.is_some();
        settle().await;
        if done {
            condition.notify_one();
        }
        other.await.unwrap();
        assert!(!lock.is_locked());
    });
}

/// `Condition::wait_owned`, `Condition::wait_until_owned`
#[test]
fn a_notification_goes_to_the_next_whose_guard_owns_its_lock() {
    give_up(async |chance| {
        let (lock, condition) = (Rc::new(Lock::new(false)), Rc::new(Condition::new()));
        let (told, by) = (Rc::clone(&lock), Rc::clone(&condition));
        let guard = Rc::clone(&lock).lock_owned().await;
        let other = spawn(async move {
            let guard = told.lock_owned().await;
            drop(by.wait_owned(guard).await);
        });
        notify_later(Rc::clone(&lock), Rc::clone(&condition));
        let done = chance
            .take(condition.wait_until_owned(guard, |told| std::mem::replace(told, true)))
            .await
            .is_some();
        settle().await;
        if done {
            condition.notify_one();
        }
        other.await.unwrap();
        assert!(!lock.is_locked());
    });
}

/// `Condition::wait_until`
#[test]
fn what_a_condition_waits_for_is_seen_by_the_next() {
    give_up(async |chance| {
        let (lock, condition) = (Rc::new(Lock::new(0)), Rc::new(Condition::new()));
        let (counted, by) = (Rc::clone(&lock), Rc::clone(&condition));
        spawn(async move {
            for _ in 0..3 {
                *counted.lock().await += 1;
                by.notify_all();
                yield_now().await;
                yield_now().await;
            }
        })
        .detach();
        let guard = lock.lock().await;
        drop(chance.take(condition.wait_until(guard, |count| *count == 3)).await);
        drop(condition.wait_until(lock.lock().await, |count| *count == 3).await);
        assert!(!lock.is_locked());
    });
}

/// `Barrier::wait`, `BarrierWait`
#[test]
fn who_has_left_a_barrier_has_not_come() {
    give_up(async |chance| {
        let barrier = Rc::new(Barrier::new(2));
        let passed = Rc::new(Cell::new(0));
        for _ in 0..2 {
            let (barrier, passed) = (Rc::clone(&barrier), Rc::clone(&passed));
            spawn(async move {
                yield_now().await;
                yield_now().await;
                barrier.wait().await;
                passed.set(passed.get() + 1);
            })
            .detach();
        }
        let came = chance.take(barrier.wait()).await.is_some();
        settle().await;
        // The first of the others met us, who may have left without seeing that; or nobody, and then the second.
        let met = came || chance.was_woken();
        assert_eq!(passed.get(), if met { 1 } else { 2 });
        if met {
            barrier.wait().await;
        }
        settle().await;
        assert_eq!((passed.get(), barrier.waiting()), (2, 0));
    });
}

/// `Queue::get`, `Get`
#[test]
fn an_item_goes_to_the_next_or_stays() {
    give_up(async |chance| {
        let queue = Rc::new(Queue::new(0));
        let (filled, theirs) = (Rc::clone(&queue), Rc::clone(&queue));
        let other = spawn(async move {
            yield_now().await;
            theirs.get().await.unwrap()
        });
        soon(move || filled.put_nowait(1).unwrap());
        if chance.take(queue.get()).await.is_some() {
            queue.put_nowait(1).unwrap();
        }
        assert_eq!(other.await.unwrap(), 1);
        assert!(queue.is_empty());
    });
}

/// `Queue::put`, `Put`
#[test]
fn room_goes_to_the_next_and_the_item_with_the_future() {
    give_up(async |chance| {
        let (queue, ours) = (Rc::new(Queue::new(1)), Rc::new(()));
        queue.put_nowait(Rc::default()).unwrap();
        let (emptied, theirs) = (Rc::clone(&queue), Rc::clone(&queue));
        let other = spawn(async move {
            yield_now().await;
            theirs.put(Rc::default()).await.unwrap();
        });
        spawn(async move {
            yield_now().await;
            yield_now().await;
            emptied.get().await.unwrap();
            yield_now().await;
            yield_now().await;
            yield_now().await;
            emptied.get().await.unwrap();
        })
        .detach();
        let put = chance.take(queue.put(Rc::clone(&ours))).await.is_some();
        other.await.unwrap();
        settle().await;
        assert_eq!(queue.len(), usize::from(put));
        queue.shutdown_now();
        assert_eq!(Rc::strong_count(&ours), 1);
    });
}

/// `Queue::join`
#[test]
fn work_that_is_waited_for_is_done_all_the_same() {
    give_up(async |chance| {
        let queue = Rc::new(Queue::new(0));
        queue.put_nowait(1).unwrap();
        queue.put_nowait(2).unwrap();
        let done = Rc::clone(&queue);
        spawn(async move {
            for _ in 0..2 {
                yield_now().await;
                done.get().await.unwrap();
                assert!(done.task_done());
            }
        })
        .detach();
        chance.take(queue.join()).await;
        queue.join().await;
    });
}

/// `oneshot::Receiver`
#[test]
fn the_one_value_stays() {
    give_up(async |chance| {
        let (sender, mut receiver) = oneshot::channel();
        soon(move || sender.send(7).unwrap());
        if chance.take(&mut receiver).await.is_none() {
            assert_eq!(receiver.await, Ok(7));
        }
    });
}

/// `oneshot::Sender::closed`
#[test]
fn that_nobody_receives_is_told_again() {
    give_up(async |chance| {
        let (mut sender, receiver) = oneshot::channel::<()>();
        soon(move || drop(receiver));
        chance.take(sender.closed()).await;
        sender.closed().await;
    });
}

/// `mpsc::Receiver::receive`
#[test]
fn what_other_threads_send_stays() {
    give_up(async |chance| {
        let (sender, mut receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || (1..=2).for_each(|item| sender.send(item).unwrap()));
        let mut items = Vec::from_iter(chance.take(receiver.receive()).await.flatten());
        while let Some(item) = receiver.receive().await {
            items.push(item);
        }
        assert_eq!(items, [1, 2]);
        thread.join().unwrap();
    });
}

/// `mpsc::BoundedSender::send`
#[test]
fn room_between_threads_goes_to_the_next() {
    give_up(async |chance| {
        let ((sender, mut receiver), ours) = (mpsc::bounded(1), Rc::new(7));
        sender.try_send(Rc::new(1)).unwrap();
        let theirs = sender.clone();
        let other = spawn(async move {
            yield_now().await;
            theirs.send(Rc::new(2)).await.unwrap();
        });
        let received = spawn(async move {
            yield_now().await;
            yield_now().await;
            let mut items = Vec::new();
            while let Some(item) = receiver.receive().await {
                items.push(*item);
                yield_now().await;
            }
            items
        });
        let sent = chance.take(sender.send(Rc::clone(&ours))).await.is_some();
        other.await.unwrap();
        drop(sender);
        let expected: &[i32] = if sent { &[1, 7, 2] } else { &[1, 2] };
        assert_eq!(received.await.unwrap(), expected);
        assert_eq!(Rc::strong_count(&ours), 1);
    });
}

/// `watch::Receiver::changed`, `Changed`
#[test]
fn a_change_is_unseen_until_it_was_told() {
    give_up(async |chance| {
        let (sender, mut receiver) = watch::channel(1);
        soon(move || drop(sender.send(2)));
        if chance.take(receiver.changed()).await.is_none() {
            receiver.changed().await.unwrap();
        }
        assert_eq!(*receiver.get(), 2);
        assert!(receiver.changed().await.is_err(), "seen once");
    });
}

/// `Semaphore::acquire_many`
#[test]
fn many_permits_go_to_those_behind() {
    give_up(async |chance| {
        let semaphore = Rc::new(Semaphore::new(1));
        let (given, theirs) = (Rc::clone(&semaphore), Rc::clone(&semaphore));
        soon(move || given.release().unwrap());
        let other = spawn(async move {
            yield_now().await;
            drop(theirs.acquire().await);
        });
        drop(chance.take(semaphore.acquire_many(2)).await);
        other.await.unwrap();
        settle().await;
        assert_eq!(semaphore.available(), 2);
    });
}

/// `Lock::lock_owned`
#[test]
fn a_lock_of_ones_own_goes_to_the_next() {
    give_up(async |chance| {
        let lock = Rc::new(Lock::new(()));
        let (held, theirs) = (Rc::clone(&lock).lock_owned().await, Rc::clone(&lock));
        soon(move || drop(held));
        let other = spawn(async move {
            yield_now().await;
            drop(theirs.lock_owned().await);
        });
        drop(chance.take(Rc::clone(&lock).lock_owned()).await);
        other.await.unwrap();
        assert!(!lock.is_locked() && Rc::strong_count(&lock) == 1);
    });
}

/// `watch::Receiver::wait_for`
#[test]
fn a_value_that_was_wanted_is_there_for_who_asks_again() {
    give_up(async |chance| {
        let (sender, mut receiver) = watch::channel(1);
        let keep = sender.clone();
        soon(move || drop(sender.send(2)));
        chance.take(receiver.wait_for(|&value| value == 2)).await;
        assert_eq!(*receiver.wait_for(|&value| value == 2).await.unwrap(), 2);
        drop(keep);
    });
}

/// `watch::Sender::closed`
#[test]
fn the_end_of_all_receivers_is_there_for_who_asks_again() {
    give_up(async |chance| {
        let (sender, receiver) = watch::channel(1);
        soon(move || drop(receiver));
        chance.take(sender.closed()).await;
        sender.closed().await;
        assert!(sender.is_closed());
    });
}
