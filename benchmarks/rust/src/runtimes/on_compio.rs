//! compio, whose tasks stay on their thread as ours do. It has no channel of its own.

use super::{Duration, Future};
pub(crate) use super::{channel, give_way as yield_now, receive, send};

#[path = "../workloads.rs"]
pub(crate) mod workloads;

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    compio::runtime::Runtime::new().expect("a runtime").block_on(future)
}

pub(crate) fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future<Output = F::Output> {
    let task = compio::runtime::spawn(future);
    async move { task.await.expect("nobody cancels") }
}

pub(crate) fn sleep(duration: Duration) -> impl Future<Output = ()> {
    compio::time::sleep(duration)
}
