//! One workload on one runtime: `velodrome-bench RUNTIME ROW COUNT` does it `COUNT` times and prints what that cost.
//!
//! The workloads are one text (`workloads.rs`), compiled once for each runtime over the five functions that
//! `runtimes/` gives it, so that what is measured is the runtime and nothing else. Rows and goals are in `run.py`.

mod cost;
mod runtimes;

use std::process::ExitCode;

use runtimes::{on_compio, on_smol, on_tokio, on_velodrome};

fn measure(runtime: &str, row: &str, count: usize) -> Option<cost::Cost> {
    match runtime {
        "velodrome" => on_velodrome::workloads::measure(row, count),
        "tokio" => on_tokio::workloads::measure(row, count),
        "compio" => on_compio::workloads::measure(row, count),
        "smol" => on_smol::workloads::measure(row, count),
        _ => None,
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, runtime, row, count] = arguments.as_slice() else {
        eprintln!("velodrome-bench RUNTIME ROW COUNT");
        return ExitCode::FAILURE;
    };
    let Some(cost) = count.parse().ok().and_then(|count| measure(runtime, row, count)) else {
        eprintln!("there is no row {row} on {runtime}, or {count} is no number");
        return ExitCode::FAILURE;
    };
    println!("{{\"nanoseconds\": {}, \"bytes\": {}}}", cost.nanoseconds, cost.bytes);
    ExitCode::SUCCESS
}
