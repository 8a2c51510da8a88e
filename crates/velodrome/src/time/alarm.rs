//! One timer of the loop, as something that can be polled.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use velodrome_engine::hub::Hub;
use velodrome_engine::ready::{Run, Runnable};
use velodrome_engine::timers::TimerKey;

use crate::waiting::Waiter;

/// Ready once its deadline has passed. Dropping it takes the timer back.
pub(crate) struct Alarm {
    hub: Rc<Hub>,
    key: TimerKey,
    bell: Rc<Bell>,
}

/// What the timer runs.
#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waiter: Waiter,
}

impl Alarm {
    /// Due `duration` from now; one too long for the clock is due at the end of its time, in 584 years.
    pub(crate) fn after(hub: &Rc<Hub>, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self::at(hub, hub.clock.now().saturating_add(nanos))
    }

    /// Due at `deadline`, in nanoseconds of the loop's clock.
    pub(crate) fn at(hub: &Rc<Hub>, deadline: u64) -> Self {
        let bell = Rc::new(Bell::default());
        let key = hub.call_at(deadline, Runnable::from_rc(Rc::clone(&bell), 0));
        Self { hub: Rc::clone(hub), key, bell }
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.bell.rung.get() {
            return Poll::Ready(());
        }
        self.bell.waiter.wait(cx);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if !self.bell.rung.get() {
            drop(self.hub.cancel_timer(self.key));
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("rung", &self.bell.rung).finish_non_exhaustive()
    }
}

impl Run for Bell {
    fn run(self: Rc<Self>, _: usize) {
        self.rung.set(true);
        self.waiter.wake();
    }
}
