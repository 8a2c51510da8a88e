//! Velodrome.

use std::rc::Rc;

use velodrome::sync::Queue;

use super::{Duration, Future};

#[path = "../workloads.rs"]
pub(crate) mod workloads;

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    velodrome::run(future).expect("the kernel gives a loop")
}

pub(crate) fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future<Output = F::Output> {
    let task = velodrome::spawn(future);
    async move { task.await.expect("nobody cancels") }
}

pub(crate) fn sleep(duration: Duration) -> velodrome::Sleep {
    velodrome::sleep(duration)
}

pub(crate) fn yield_now() -> impl Future<Output = ()> {
    velodrome::yield_now()
}

pub(crate) fn channel(capacity: usize) -> (Rc<Queue<usize>>, Rc<Queue<usize>>) {
    let queue = Rc::new(Queue::new(capacity));
    (Rc::clone(&queue), queue)
}

pub(crate) async fn send(queue: &mut Rc<Queue<usize>>, item: usize) {
    queue.put(item).await.expect("nobody shuts down");
}

pub(crate) async fn receive(queue: &mut Rc<Queue<usize>>) -> usize {
    queue.get().await.expect("nobody shuts down")
}
