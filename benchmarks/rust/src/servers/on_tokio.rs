//! tokio, on one thread.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Kind, announce, anywhere};
use crate::runtimes::on_tokio::block_on;

pub(super) fn serve(kind: Kind) -> io::Result<()> {
    block_on(async move {
        let listener = TcpListener::bind(anywhere()).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match kind {
                Kind::Echo(size) | Kind::Read(size) => drop(tokio::spawn(echo(stream, size))),
                Kind::Line | Kind::Readline => drop(tokio::spawn(line(stream))),
                Kind::Idle => drop(tokio::spawn(idle(stream))),
            }
        }
    })
}

async fn echo(mut stream: TcpStream, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn line(mut stream: TcpStream) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let (mut reader, mut line) = (BufReader::new(reader), Vec::new());
    while reader.read_until(b'\n', &mut line).await? > 0 {
        writer.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}

async fn idle(mut stream: TcpStream) -> io::Result<()> {
    stream.read(&mut [0]).await.map(drop)
}
