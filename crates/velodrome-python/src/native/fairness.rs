//! How long a task may go on without giving way: awaitables that have their answer at once suspend nobody, so a task
//! that always finds data would keep all others waiting.

use crate::kit::gil::Counter;

/// So many operations in a row may complete within one step of a task. Enough that none but a task that is flooded
/// notices, and little enough (about 100 µs of receiving) that the others do not.
const STREAK: u32 = 64;

static IN_A_ROW: Counter = Counter::new();

/// A task begins a step: whatever ran before has given way.
pub(crate) fn step_begins() {
    IN_A_ROW.set(0);
}

/// Count an operation that may complete at once. True if it should give way first.
pub(crate) fn must_give_way() -> bool {
    let count = IN_A_ROW.get() + 1;
    IN_A_ROW.set(count % STREAK);
    count == STREAK
}
