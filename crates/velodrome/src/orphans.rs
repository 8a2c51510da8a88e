//! Programs that outlive their loop. Nothing waits for them any more, and each would stay a zombie until this process ends;
//! so whoever next makes a loop or starts a program asks whether one has ended meanwhile, and reaps it.
//!
//! They are known by pidfds, of which each keeps one open: numbers might be other programs' by then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use velodrome_engine::process::Child;

static ORPHANS: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// A thread that died while it held the lock was growing a list; nothing is broken by that.
fn orphans() -> MutexGuard<'static, Vec<Child>> {
    ORPHANS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `child` runs, and its loop is over.
pub(crate) fn leave(child: &Child) {
    // Where there is no descriptor left for it, it stays a zombie.
    orphans().extend(child.try_clone());
}

/// Reap those that have ended. Of one that somebody else has reaped there is nothing left to do.
pub(crate) fn reap() {
    orphans().retain(|child| matches!(child.reap(), Ok(None)));
}
