//! What `wakeup` is built of, outside of loom: the standard library's, and the real bell.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use super::native::Bell;
