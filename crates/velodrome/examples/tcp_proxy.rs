//! A proxy: what comes to its port goes to another, and back. Each direction ends by itself, as TCP's do.
//!
//!     cargo run -p velodrome --example tcp_proxy PORT TARGET_HOST TARGET_PORT

use std::error::Error;
use std::io;

use velodrome::{StreamReader, StreamWriter, open_connection, run, spawn, start_server};

/// Passes on what comes, and its end. A peer that does not read slows the other one down.
async fn pass_on(reader: &mut StreamReader, writer: &StreamWriter) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = reader.read_into(&mut buffer).await?;
        if count == 0 {
            writer.write_eof();
            return Ok(());
        }
        writer.write(&buffer[..count]);
        writer.drain().await?;
    }
}

async fn proxy(host: &str, port: u16, mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let (mut target_reader, target_writer) = open_connection(host, port).await?;
    let there = spawn(async move { pass_on(&mut reader, &target_writer).await.map(|()| target_writer) });
    let back = pass_on(&mut target_reader, &writer).await;
    if back.is_err() {
        there.cancel();
    }
    let _target_writer = there.await?;
    back
}

async fn serve(port: u16, host: String, target: u16) -> io::Result<()> {
    let handler = move |reader, writer| {
        let host = host.clone();
        async move { proxy(&host, target, reader, writer).await }
    };
    let server = start_server(handler, "127.0.0.1", port).await?;
    println!("Serving on {}", server.local_addr()?);
    server.serve_forever().await
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, host, target] = &args[..] else {
        return Err("usage: tcp_proxy PORT TARGET_HOST TARGET_PORT".into());
    };
    Ok(run(serve(port.parse()?, host.clone(), target.parse()?))??)
}
