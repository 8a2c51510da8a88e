//! Giving way: the one future that waits for nothing.

use std::future::{Future, poll_fn};
use std::task::Poll;

/// Let everything else that is due run first: asyncio's `sleep(0)`. For a task that computes at length and waits for
/// nothing, which would otherwise keep the whole loop waiting. However many tasks do so all the time, events and timers
/// have their turn: after some dozens of turns of theirs, and where there are more such tasks, after about three of each.
///
/// **Cancel safety**: may be dropped at any time; the task that awaited it has its turn all the same.
///
/// ```
/// # use std::{cell::RefCell, rc::Rc};
/// velodrome::run(async {
///     let log = Rc::new(RefCell::new(Vec::new()));
///     let other = Rc::clone(&log);
///     velodrome::spawn(async move { other.borrow_mut().push("task") });
///     velodrome::yield_now().await;
///     log.borrow_mut().push("main");
///     assert_eq!(*log.borrow(), ["task", "main"]);
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn yield_now() -> impl Future<Output = ()> {
    let mut gave_way = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
