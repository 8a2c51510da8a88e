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
/// use velodrome::{shield, sleep, sync::Event, timeout};
///
/// velodrome::run(async {
///     let (written, saved) = (Rc::new(Event::new()), Rc::new(Cell::new(false)));
///     let (disk, told) = (Rc::clone(&written), Rc::clone(&saved));
///     let save = async move {
///         disk.wait().await;
///         told.set(true);
///     };
///     assert!(timeout(Duration::from_millis(1), shield(save)).await.is_err());
///     written.set();
///     sleep(Duration::from_millis(1)).await;
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
