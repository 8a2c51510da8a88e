//! What one phase measured, and its JSON.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::args::Args;
use crate::budget::now;

pub(crate) struct Run {
    /// In nanoseconds, to three digits.
    latencies: Histogram<u64>,
    began: Instant,
    took: Duration,
    /// Datagrams that were never answered.
    pub lost: u64,
}

impl Run {
    pub(crate) fn begin() -> Self {
        let latencies = Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are within 0..=5"));
        Self { latencies, began: now(), took: Duration::ZERO, lost: 0 }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.latencies += u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    }

    pub(crate) fn end(&mut self) {
        self.took = now() - self.began;
    }

    pub(crate) fn to_json(&self, args: &Args) -> String {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let seconds = self.took.as_secs_f64();
        json!({
            "messages": self.latencies.len(),
            "lost": self.lost,
            "seconds": seconds,
            "per_second": self.latencies.len() as f64 / seconds,
            "p50_us": micros(self.latencies.value_at_quantile(0.5)),
            "p99_us": micros(self.latencies.value_at_quantile(0.99)),
            "max_us": micros(self.latencies.max()),
            "connections": args.connections,
            "size": args.size,
            "depth": args.depth,
        })
        .to_string()
    }
}
