//! Work that goes on when nobody waits for it any more.

use std::future::Future;

use crate::task::{Task, spawn};

/// Let `future` go on to its end even if the waiting for it is given up: `asyncio.shield`.
///
/// It is started as a task at once, and awaiting that is what may be given up, by a time-out or a `select!`: a task
/// whose handle is dropped goes on. So this is [`spawn`](crate::spawn()), under the name that says what for.
///
/// **Cancel safety**: dropping it stops nothing; the output is lost then.
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use velodrome::{shield, sleep, timeout};
///
/// velodrome::run(async {
///     let saved = Rc::new(Cell::new(false));
///     let told = Rc::clone(&saved);
///     let save = async move {
///         sleep(Duration::from_millis(5)).await;
///         told.set(true);
///     };
///     assert!(timeout(Duration::from_millis(1), shield(save)).await.is_err());
///     sleep(Duration::from_millis(10)).await;
///     assert!(saved.get());
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn shield<F>(future: F) -> Task<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    spawn(future)
}
