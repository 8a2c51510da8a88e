//! What other threads may touch is built of these: the standard library's.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
