//! The channel between threads under loom, which runs every interleaving: `make loom`.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use loom::thread;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls until the channel is over; each time that nothing was there, a wake-up must follow.
fn receive(receiver: &Receiver<u8>, count: &Arc<Count>, join: impl FnOnce()) -> Vec<u8> {
    let waker = Waker::from(Arc::clone(count));
    let (mut received, mut join) = (Vec::new(), Some(join));
    loop {
        match receiver.poll(&Context::from_waker(&waker)) {
            Poll::Ready(Some(item)) => received.push(item),
            Poll::Ready(None) => return received,
            Poll::Pending => {
                let join = join.take().expect("the senders are gone: something is there, or it is over");
                join();
                assert_eq!(count.0.load(Ordering::SeqCst), 1, "a wake-up was lost, or there were two");
            }
        }
    }
}

/// What two threads send is received, each thread's in its order, and then the end; nothing of it is slept through.
#[test]
fn all_that_two_threads_send_arrives_and_then_the_end() {
    loom::model(|| {
        let ((one, receiver), count) = (channel(), Arc::new(Count::default()));
        let other = one.clone();
        let first = thread::spawn(move || (one.send(1).unwrap(), one.send(2).unwrap()));
        let second = thread::spawn(move || other.send(3).unwrap());
        first.join().unwrap();
        let received = receive(&receiver, &count, || second.join().unwrap());
        let of_first: Vec<u8> = received.iter().copied().filter(|&item| item < 3).collect();
        assert_eq!((received.len(), of_first), (3, vec![1, 2]));
    });
}

/// A channel that is empty and loses its last sender says so.
#[test]
fn the_end_wakes() {
    loom::model(|| {
        let ((sender, receiver), count) = (channel::<u8>(), Arc::new(Count::default()));
        let dropper = thread::spawn(move || drop(sender));
        assert_eq!(receive(&receiver, &count, || dropper.join().unwrap()), []);
    });
}

/// An item is given back, or dropped with the channel: it never stays.
#[test]
fn what_meets_the_receivers_end_is_not_kept() {
    loom::model(|| {
        let (item, (sender, receiver)) = (Arc::new(()), channel());
        let sent = Arc::clone(&item);
        let sending = thread::spawn(move || {
            let _given_back = sender.send(sent);
            sender
        });
        drop(receiver);
        let sender = sending.join().unwrap();
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(sender.is_closed());
    });
}

/// Two threads that wait for room for one item; the receiver takes both, and the second may have been promised room that the
/// first let go of.
#[test]
fn room_is_slept_through_by_nobody() {
    let mut builder = loom::model::Builder::new();
    // All of them would take a minute.
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let ((sender, mut receiver), gives_up) = (bounded(1), Arc::new(Count::default()));
        sender.try_send(1).ok().unwrap();
        let other = sender.clone();
        let first = thread::spawn(move || loom::future::block_on(other.send(2)).unwrap());
        let second = thread::spawn(move || {
            let waker = Waker::from(gives_up);
            let mut send = std::pin::pin!(sender.send(3));
            send.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        });
        let mut received = vec![receiver.try_receive().unwrap()];
        let sent = second.join().unwrap();
        while let Some(item) = loom::future::block_on(receiver.receive()) {
            received.push(item);
        }
        first.join().unwrap();
        received.sort_unstable();
        assert_eq!(received, if sent { vec![1, 2, 3] } else { vec![1, 2] });
    });
}

/// The receiver's end, and whoever waits for room.
#[test]
fn the_receivers_end_wakes_who_waits_for_room() {
    loom::model(|| {
        let (sender, receiver) = bounded(1);
        sender.try_send(1).ok().unwrap();
        let waiting = thread::spawn(move || loom::future::block_on(sender.send(2)));
        drop(receiver);
        assert_eq!(waiting.join().unwrap(), Err(2));
    });
}
