//! What other threads may touch is built of these when loom tries all interleavings: see `task/model.rs`.

pub(crate) use std::sync::PoisonError;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
pub(crate) use loom::sync::{Mutex, MutexGuard};
