//! The waker of the future that is given to `block_on`, which is in no table and no queue.
//!
//! On the loop's own thread it sets a flag, and no atomic is written. From another thread it sends itself through the
//! loop's door, at most once at a time; why no wake-up is lost on the way is told in [`cell`](super::cell), whose
//! wakers travel alike.

use std::sync::Arc;
use std::task::Wake;

use velodrome_engine::ready::{RunShared, SendRunnable};

use super::head::Door;
use crate::atomics::{AtomicBool, Ordering};
use crate::local;

pub(crate) struct MainWaker {
    door: Door,
    travelling: AtomicBool,
}

impl MainWaker {
    pub(crate) fn new(door: Door) -> Arc<Self> {
        Arc::new(Self { door, travelling: AtomicBool::new(false) })
    }

    fn send(self: Arc<Self>) {
        if !self.travelling.swap(true, Ordering::AcqRel) {
            let door = Arc::clone(&self.door);
            drop(door.push(SendRunnable::from_arc(self)));
        }
    }
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        if !local::wake_main_here(&self.door) {
            self.send();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !local::wake_main_here(&self.door) {
            Arc::clone(self).send();
        }
    }
}

impl RunShared for MainWaker {
    fn run(self: Arc<Self>) {
        self.travelling.swap(false, Ordering::AcqRel);
        local::wake_main_here(&self.door);
    }
}

#[cfg(test)]
#[cfg(loom)]
#[path = "waker_model.rs"]
mod model;
