//! An echo server over streams: it says back what it was told, once, and hangs up. Line for line the Python one.
//!
//!     cargo run -p velodrome --example echo_server [PORT]

use std::io;

use velodrome::{StreamReader, StreamWriter, run};

async fn handle_client(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let data = reader.read(100).await?;
    let message = String::from_utf8_lossy(&data);
    let addr = writer.peer_addr()?;
    println!("Received {message} from {addr}");

    writer.write([b"Echo: ", &*data].concat());
    writer.drain().await?;
    writer.close();
    Ok(())
}

async fn start_server(port: u16) -> io::Result<()> {
    let server = velodrome::start_server(handle_client, "127.0.0.1", port).await?;

    let addr = server.local_addr()?;
    println!("Serving on {addr}");

    server.serve_forever().await
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(8888), |port| port.parse());
    run(start_server(port.map_err(io::Error::other)?))?
}
