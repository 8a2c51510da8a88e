//! The echo server on a Unix socket, whose file it removes when it ends.
//!
//!     cargo run -p velodrome --example echo_unix [PATH]

use std::io;

use velodrome::{StreamReader, StreamWriter, run, start_unix_server};

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let data @ [_, ..] = &*reader.read(64 * 1024).await? {
        writer.write(data);
        writer.drain().await?;
    }
    Ok(())
}

async fn serve(path: &str) -> io::Result<()> {
    let server = start_unix_server(echo, path).await?;
    println!("Serving on {path}");
    server.serve_forever().await
}

fn main() -> io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/velodrome-echo".into());
    run(serve(&path))?
}
