//! One timer of the loop, as something that can be polled.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use velodrome_engine::hub::Hub;
use velodrome_engine::ready::Runnable;
use velodrome_engine::timers::TimerKey;

use super::instant::nanos;

/// Ready once its deadline has passed. Dropping it takes the timer back.
///
/// The timer holds the waker itself, and whether it has rung is asked of the loop: so there is nothing to allocate.
pub(crate) struct Alarm {
    hub: Rc<Hub>,
    deadline: u64,
    /// None until it is polled.
    timer: Cell<Option<TimerKey>>,
}

impl Alarm {
    /// Due `duration` from now; one too long for the clock is due at the end of its time, in 584 years.
    pub(crate) fn after(hub: &Rc<Hub>, duration: Duration) -> Self {
        Self::at(hub, hub.clock.now().saturating_add(nanos(duration)))
    }

    /// Due at `deadline`, in nanoseconds of the loop's clock.
    pub(crate) fn at(hub: &Rc<Hub>, deadline: u64) -> Self {
        Self { hub: Rc::clone(hub), deadline, timer: Cell::new(None) }
    }

    pub(crate) fn deadline(&self) -> u64 {
        self.deadline
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(key) = self.timer.get() else {
            let runnable = Runnable::from_waker(cx.waker().clone());
            self.timer.set(Some(self.hub.call_at(self.deadline, runnable)));
            return Poll::Pending;
        };
        // A loop that is over has forgotten its timers, and none of them will ring.
        if self.hub.rearm(key, cx.waker()) || self.hub.is_closed() {
            return Poll::Pending;
        }
        // It has rung, so there is nothing to take back.
        self.timer.set(None);
        Poll::Ready(())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.timer.get() {
            drop(self.hub.cancel_timer(key));
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
