//! Bytes are offered to the task that waits for them, which receives by itself: whoever that is by then, and whether or
//! not it comes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use support::{pair, really, settle};
use velodrome::sync::Lock;
use velodrome::{Task, gather, spawn, timeout};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(task: Task<T>) -> T {
    timeout(PATIENCE, task).await.expect("it was not woken").unwrap()
}

/// Begin to await `read`, which is told that bytes have come and is given up before it can look.
async fn give_up(read: impl Future<Output: Debug>, come: impl AsyncFnOnce()) {
    let mut read = pin!(read);
    poll_fn(|cx| {
        assert!(read.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    come().await;
}

#[test]
fn what_a_read_was_offered_and_did_not_take_is_there_for_the_next() {
    really(async {
        for looks in 0..4 {
            let ((mut reader, _writer), (_reader, theirs)) = pair();
            give_up(reader.read(9), async || {
                theirs.write("one ");
                look(looks).await;
            })
            .await;
            assert_eq!(reader.read(9).await.unwrap(), b"one ", "{looks} looks at the kernel");
        }
    });
}

#[test]
fn what_came_first_is_read_first_whoever_was_offered_the_rest() {
    really(async {
        for looks in 0..4 {
            let ((mut reader, _writer), (_reader, theirs)) = pair();
            theirs.write("one ");
            let given_up = timeout(Duration::from_millis(1), reader.readexactly(99)).await;
            assert!(given_up.is_err());
            give_up(reader.readexactly(99), async || {
                theirs.write("two");
                look(looks).await;
            })
            .await;
            let (mut all, mut buffer) = (Vec::new(), [0; 9]);
            while all.len() < 7 {
                let count = reader.read_into(&mut buffer).await.unwrap();
                all.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(all, b"one two", "{looks} looks at the kernel");
        }
    });
}

async fn look(times: usize) {
    for _ in 0..times {
        velodrome::sleep(Duration::ZERO).await;
    }
}

#[test]
fn what_comes_behind_an_answer_is_kept_for_the_next_read() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        let reading = spawn(async move {
            let line = reader.readline().await.unwrap();
            let (four, until) =
                (reader.readexactly(4).await.unwrap(), reader.readuntil(b"--").await.unwrap());
            let mut buffer = [0; 9];
            let count = reader.read_into(&mut buffer).await.unwrap();
            [line, four, until, reader.read(1).await.unwrap(), buffer[..count].to_vec()].concat()
        });
        settle().await;
        writer.write("line\n");
        settle().await;
        writer.write("fourun");
        settle().await;
        writer.write("til--");
        settle().await;
        writer.write("buffered ");
        settle().await;
        writer.write("z");
        assert_eq!(soon(reading).await, b"line\nfouruntil--zbuffered ");
    });
}

#[test]
fn a_read_that_moves_to_another_task_is_woken_there() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        let mut read = Box::pin(async move { reader.read(9).await });
        poll_fn(|cx| {
            assert!(read.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let reading = spawn(read);
        settle().await;
        writer.write("here");
        assert_eq!(soon(reading).await.unwrap(), b"here");
    });
}

/// A waker as combinators have them: of its own kind, and behind it the task's.
struct Behind(Waker);

impl Wake for Behind {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// Await `future` by a waker that is not the task's.
async fn indirectly<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let waker = Waker::from(Arc::new(Behind(cx.waker().clone())));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

#[test]
fn readers_of_one_task_are_told_one_by_one_and_together() {
    really(async {
        for apart in [false, true] {
            let (((mut one, _w), (_r, first)), ((mut two, _v), (_q, second))) = (pair(), pair());
            let reading = spawn(async move { gather!(one.read(9), indirectly(two.read(9))).await });
            settle().await;
            second.write("two");
            if apart {
                settle().await;
            }
            first.write("one");
            let (one, two) = soon(reading).await;
            assert_eq!((one.unwrap(), two.unwrap()), (b"one".to_vec(), b"two".to_vec()));
        }
    });
}

#[test]
fn who_is_cancelled_when_told_of_bytes_leaves_them() {
    really(async {
        let mut cancelled = 0;
        for looks in 0..4 {
            let ((reader, _w), (_r, writer)) = pair();
            let reader = Rc::new(Lock::new(reader));
            let shared = Rc::clone(&reader);
            let reading = spawn(async move { shared.lock().await.read(9).await });
            settle().await;
            writer.write("bytes");
            look(looks).await;
            reading.cancel();
            let read = match reading.await {
                Ok(read) => read,
                Err(_) => {
                    cancelled += 1;
                    let mut reader = reader.lock().await;
                    timeout(PATIENCE, reader.read(9)).await.expect("it was not woken")
                }
            };
            assert_eq!(read.unwrap(), b"bytes", "{looks} looks at the kernel");
        }
        assert_ne!(cancelled, 0);
    });
}

#[test]
fn who_begins_to_wait_when_the_bytes_are_already_being_read_ahead_is_woken() {
    really(async {
        for end in [false, true] {
            let (((mut one, _w), (_r, first)), ((mut two, _v), (_q, second))) = (pair(), pair());
            // In the turn that the first message gives it, with the second event behind it in the queue.
            let reading = spawn(async move { [one.read(9).await, two.read(9).await] });
            settle().await;
            first.write("one");
            if end {
                second.write_eof();
            } else {
                second.write("two");
            }
            let [one, two] = soon(reading).await;
            assert_eq!((one.unwrap(), two.unwrap().len()), (b"one".to_vec(), if end { 0 } else { 3 }));
        }
    });
}
