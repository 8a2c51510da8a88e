//! Closed-loop load generator: a fixed number of connections, each of which sends its next message only when an
//! answer has come back, so that a slow server is asked less and never drowned.
//!
//! It must stay cheaper than the server it measures: one thread, one buffer, three system calls per message.

mod answer;
mod args;
mod budget;
mod client;
mod drive;
mod report;
mod wire;

use std::io::{self, BufRead};
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::drive::Drive;

/// With `--gate` the caller reads the kernel's counters while nothing is in flight, then lets us go on.
fn gate(args: &Args, line: &str) -> io::Result<()> {
    println!("{line}");
    if args.gate {
        io::stdin().lock().read_line(&mut String::new())?;
    }
    Ok(())
}

fn run(args: &Args) -> io::Result<()> {
    let mut drive = Drive::connect(args)?;
    drive.phase(args.warm_up())?;
    if args.gate {
        gate(args, "ready")?;
    }
    let run = drive.phase(args.measured())?;
    gate(args, &run.to_json(args))
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("velodrome-load: {error}");
            ExitCode::FAILURE
        }
    }
}
