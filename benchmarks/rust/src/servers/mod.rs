//! Servers for the rows over the network, each written as users of its runtime would at their best: one task for each
//! connection, a buffer that it keeps, everything sent at once (`TCP_NODELAY`).
//!
//! They share no text, unlike the workloads: how a runtime reads and writes is what is measured.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

mod on_compio;
mod on_smol;
mod on_tokio;
mod on_velodrome;

/// What a server does with a connection.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Send back what came, read into a buffer of this size.
    Echo(usize),
    /// The same, read by the call that brings its own buffer, where a runtime has one.
    Read(usize),
    /// Send back line by line, each read into the same buffer.
    Line,
    /// The same, read by the call that brings its own buffer, where a runtime has one.
    Readline,
    /// Wait for a byte, in as little memory as may be.
    Idle,
}

impl Kind {
    fn parse(name: &str, size: &str) -> Option<Self> {
        let size = size.parse().ok()?;
        Some(match name {
            "echo" => Self::Echo(size),
            "read" => Self::Read(size),
            "line" => Self::Line,
            "readline" => Self::Readline,
            "idle" => Self::Idle,
            _ => return None,
        })
    }
}

/// Serve until killed. None if there is no such runtime or kind.
pub(crate) fn serve(runtime: &str, kind: &str, size: &str) -> Option<io::Result<()>> {
    let kind = Kind::parse(kind, size)?;
    Some(match runtime {
        "velodrome" => on_velodrome::serve(kind),
        "tokio" => on_tokio::serve(kind),
        "compio" => on_compio::serve(kind),
        "smol" => on_smol::serve(kind),
        _ => return None,
    })
}

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Tell the driver of the benchmark where.
fn announce(address: SocketAddr) -> io::Result<()> {
    println!("port {}", address.port());
    io::stdout().flush()
}
