//! What something cost: time on a processor, all threads together, and memory that is still held at its end.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// The cost of a workload.
pub(crate) struct Cost {
    pub(crate) nanoseconds: u64,
    pub(crate) bytes: u64,
}

/// What was spent when a workload began.
pub(crate) struct Meter {
    nanoseconds: u64,
    bytes: u64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { nanoseconds: processor_time(), bytes: resident() }
    }

    pub(crate) fn stop(&self) -> Cost {
        Cost {
            nanoseconds: processor_time() - self.nanoseconds,
            bytes: resident().saturating_sub(self.bytes),
        }
    }
}

fn processor_time() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// The second number of statm, in pages of 4 KiB.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
