//! smol: its executor for one thread, and the reactor it shares with the process.

use super::{Duration, Future};
pub(crate) use super::{channel, give_way as yield_now, receive, send};

#[path = "../workloads.rs"]
pub(crate) mod workloads;

thread_local! {
    static EXECUTOR: smol::LocalExecutor<'static> = const { smol::LocalExecutor::new() };
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    EXECUTOR.with(|executor| smol::block_on(executor.run(future)))
}

pub(crate) fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future<Output = F::Output> {
    EXECUTOR.with(|executor| executor.spawn(future))
}

/// A task that goes on by itself.
pub(crate) fn detach<F: Future<Output: 'static> + 'static>(future: F) {
    EXECUTOR.with(|executor| executor.spawn(future)).detach();
}

pub(crate) async fn sleep(duration: Duration) {
    smol::Timer::after(duration).await;
}
