//! tokio, on one thread; its tasks must be `Send` all the same.

use tokio::sync::mpsc::{Receiver, Sender};

use super::{Duration, Future};

#[path = "../workloads.rs"]
pub(crate) mod workloads;

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

pub(crate) fn spawn<F>(future: F) -> impl Future<Output = F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let task = tokio::spawn(future);
    async move { task.await.expect("nobody cancels") }
}

pub(crate) fn sleep(duration: Duration) -> tokio::time::Sleep {
    tokio::time::sleep(duration)
}

pub(crate) fn yield_now() -> impl Future<Output = ()> + Send {
    tokio::task::yield_now()
}

pub(crate) fn channel(capacity: usize) -> (Sender<usize>, Receiver<usize>) {
    tokio::sync::mpsc::channel(capacity)
}

pub(crate) async fn send(sender: &mut Sender<usize>, item: usize) {
    sender.send(item).await.expect("the receiver lives");
}

pub(crate) async fn receive(receiver: &mut Receiver<usize>) -> usize {
    receiver.recv().await.expect("the sender lives")
}
