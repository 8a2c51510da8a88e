//! The runtimes, each by the same functions under the same names; the workloads are compiled against each.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

/// For runtimes that have none: what all of theirs are.
pub(crate) fn give_way() -> impl Future<Output = ()> + Send {
    let mut gave_way = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

pub(crate) mod on_compio;
pub(crate) mod on_smol;
pub(crate) mod on_tokio;
pub(crate) mod on_velodrome;

/// The channel of those who bring none: smol's.
pub(crate) fn channel(capacity: usize) -> (smol::channel::Sender<usize>, smol::channel::Receiver<usize>) {
    smol::channel::bounded(capacity)
}

pub(crate) async fn send(sender: &mut smol::channel::Sender<usize>, item: usize) {
    sender.send(item).await.expect("the receiver lives");
}

pub(crate) async fn receive(receiver: &mut smol::channel::Receiver<usize>) -> usize {
    receiver.recv().await.expect("the sender lives")
}
