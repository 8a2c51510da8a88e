//! Which ports of a host answer: five hundred connections at a time, and a bar that shows how far it is.
//!
//!     cargo run -p velodrome --example port_scanner [HOST [FIRST [LAST]]]

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use velodrome::{Task, getaddrinfo, open_connection, run, spawn, timeout};

/// How many connections are tried at a time, below what a process may usually have open.
const AT_A_TIME: usize = 500;

/// A port that says nothing for so long is filtered.
const PATIENCE: Duration = Duration::from_secs(1);

async fn is_open(host: &str, port: u16) -> bool {
    matches!(timeout(PATIENCE, open_connection(host, port)).await, Ok(Ok(_)))
}

/// Takes one port after the other from those that are left.
async fn work(host: String, ports: Rc<RefCell<impl Iterator<Item = u16>>>, bar: ProgressBar) -> Vec<u16> {
    let mut open = Vec::new();
    loop {
        let next = ports.borrow_mut().next();
        let Some(port) = next else { return open };
        if is_open(&host, port).await {
            bar.println(format!("{port} is open"));
            open.push(port);
        }
        bar.inc(1);
    }
}

async fn scan(host: &str, first: u16, last: u16) -> Result<Vec<u16>, Box<dyn Error>> {
    // Looked up once, not for each port.
    let addresses = getaddrinfo(host, 0).await?;
    let number = addresses.first().map(|address| address.ip().to_string()).ok_or("no address")?;
    let bar = ProgressBar::new(u64::from(last.saturating_sub(first)) + 1);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta}")?);

    let ports = Rc::new(RefCell::new(first..=last));
    let workers: Vec<Task<Vec<u16>>> =
        (0..AT_A_TIME).map(|_| spawn(work(number.clone(), Rc::clone(&ports), bar.clone()))).collect();
    let mut open = Vec::new();
    for worker in workers {
        open.extend(worker.await?);
    }
    bar.finish_and_clear();
    open.sort_unstable();
    Ok(open)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let host = args.next().unwrap_or_else(|| "localhost".into());
    let first = args.next().map_or(Ok(1), |port| port.parse())?;
    let last = args.next().map_or(Ok(first.max(1024)), |port| port.parse())?;
    let open = run(scan(&host, first, last))?.map_err(|error| io::Error::other(error.to_string()))?;
    println!("{host}: {} of the ports {first} to {last} are open: {open:?}", open.len());
    Ok(())
}
