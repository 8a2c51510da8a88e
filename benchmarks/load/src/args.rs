//! The command line.

use std::net::SocketAddr;
#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::budget::Limit;

/// What is said over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The server returns what it got.
    Echo,
    /// As `echo`, and each message ends in a newline.
    Line,
    /// One datagram out, one back.
    Udp,
    /// A connection for every message: connect, echo, close.
    Connect,
    /// HTTP/1.1 GET on connections kept alive.
    Http,
}

/// Closed-loop load generator.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Address of the server
    pub address: SocketAddr,
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub mode: Mode,
    /// Connections, all driven by one thread
    #[arg(long, short, default_value_t = 64)]
    pub connections: usize,
    /// Bytes of a message
    #[arg(long, short, default_value_t = 1024)]
    pub size: usize,
    /// Messages in flight on each connection
    #[arg(long, short, default_value_t = 1)]
    pub depth: usize,
    /// Length of the measured part
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Measure so many messages, instead of so many seconds
    #[arg(long)]
    pub messages: Option<u64>,
    /// Messages before the measured part
    #[arg(long, default_value_t = 1000)]
    pub warm_up: u64,
    /// Print `ready` after the warm-up and wait for a line on stdin; wait again before closing the connections
    #[arg(long)]
    pub gate: bool,
    /// Path of the GET request
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Speak TLS 1.3 and trust this certificate (DER)
    #[cfg(feature = "tls")]
    #[arg(long)]
    pub tls: Option<PathBuf>,
}

impl Args {
    pub(crate) fn warm_up(&self) -> Limit {
        Limit::Messages(self.warm_up)
    }

    pub(crate) fn measured(&self) -> Limit {
        self.messages.map_or(Limit::Time(Duration::from_secs_f64(self.seconds)), Limit::Messages)
    }

    /// The bytes that every connection sends, again and again.
    pub(crate) fn message(&self) -> Vec<u8> {
        if self.mode == Mode::Http {
            return format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.path, self.address).into_bytes();
        }
        let mut message: Vec<u8> = (b'a'..=b'z').cycle().take(self.size).collect();
        if let (Mode::Line, Some(last)) = (self.mode, message.last_mut()) {
            *last = b'\n';
        }
        message
    }
}
