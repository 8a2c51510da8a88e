//! What tasks wait for each other with: asyncio's primitives, and three channels.
//!
//! | asyncio | here |
//! |---|---|
//! | `Event` | [`Event`] |
//! | `Lock` | [`Lock`], with the value it protects |
//! | `Semaphore`, `BoundedSemaphore` | [`Semaphore::new`], [`Semaphore::bounded`] |
//! | `Condition` | [`Condition`] |
//! | `Barrier` | [`Barrier`] |
//! | `Queue`, `LifoQueue`, `PriorityQueue` | [`Queue::new`], [`Queue::lifo`], [`Queue::priority`] |
//! | `loop.create_future()` | [`oneshot::channel`] |
//! | `call_soon_threadsafe(queue.put_nowait, item)` | [`mpsc::channel`], [`mpsc::bounded`] |
//!
//! All but `mpsc` stay on one thread and cost neither an atomic nor a lock. Everywhere the first to come is the first to
//! be served, and a future that is dropped while it waits takes nothing with it: what was meant for it goes to the next
//! (each says so under *cancel safety*). So all of them may stand in a [`timeout`](crate::timeout()) or a `select!`.

mod barrier;
mod closed;
mod condition;
mod event;
pub(crate) mod line;
mod lock;
pub mod mpsc;
pub mod oneshot;
mod queue;
mod semaphore;
mod shelf;
pub mod watch;

pub use barrier::{Barrier, BarrierWait};
pub use closed::Closed;
pub use condition::Condition;
pub use event::{Event, EventWait};
pub use lock::{Lock, LockGuard, OwnedLockGuard};
pub use queue::{Get, GetError, LifoQueue, PriorityQueue, Put, PutError, Queue};
pub use semaphore::{Acquire, OwnedPermit, Permit, ReleasedTooOften, Semaphore};
pub use shelf::{Fifo, Lifo, Priority, Shelf};
