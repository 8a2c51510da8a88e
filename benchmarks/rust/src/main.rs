//! One workload on one runtime: `velodrome-bench RUNTIME ROW COUNT` does it `COUNT` times and prints what that cost.
//! `velodrome-bench serve RUNTIME KIND SIZE` serves for `../load` until it is killed.
//!
//! The workloads are one text (`workloads.rs`), compiled once for each runtime over the five functions that
//! `runtimes/` gives it, so that what is measured is the runtime and nothing else. Rows and goals are in `rows.py`.

mod cost;
mod runtimes;
mod servers;

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", runtime, kind, size] => serve(runtime, kind, size),
        [runtime, row, count] => run(runtime, row, count),
        _ => {
            eprintln!("velodrome-bench RUNTIME ROW COUNT, or velodrome-bench serve RUNTIME KIND SIZE");
            ExitCode::FAILURE
        }
    }
}

fn serve(runtime: &str, kind: &str, size: &str) -> ExitCode {
    match servers::serve(runtime, kind, size) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{runtime}: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("nobody serves {kind} on {runtime}, or {size} is no number");
            ExitCode::FAILURE
        }
    }
}

fn run(runtime: &str, row: &str, count: &str) -> ExitCode {
    let Some(cost) = count.parse().ok().and_then(|count| measure(runtime, row, count)) else {
        eprintln!("there is no row {row} on {runtime}, or {count} is no number");
        return ExitCode::FAILURE;
    };
    println!("{{\"nanoseconds\": {}, \"bytes\": {}}}", cost.nanoseconds, cost.bytes);
    ExitCode::SUCCESS
}
