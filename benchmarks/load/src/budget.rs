//! How much of a phase is left, and the only place that reads the clock.

use std::time::{Duration, Instant};

/// When a phase ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Messages(u64),
    Time(Duration),
}

/// Hands out permissions to send, until the limit is reached.
pub(crate) struct Budget {
    messages: u64,
    until: Option<Instant>,
}

impl Budget {
    pub(crate) fn new(limit: Limit) -> Self {
        match limit {
            Limit::Messages(messages) => Self { messages, until: None },
            Limit::Time(time) => Self { messages: u64::MAX, until: Some(now() + time) },
        }
    }

    /// May one more message be sent?
    pub(crate) fn take(&mut self) -> bool {
        let granted = self.messages > 0;
        self.messages = self.messages.saturating_sub(1);
        granted
    }

    /// Called once a turn, which is often enough for a phase of seconds.
    pub(crate) fn look_at_clock(&mut self) {
        if self.until.is_some_and(|until| now() >= until) {
            self.messages = 0;
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a load generator measures true time; nothing here is to be faked"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
