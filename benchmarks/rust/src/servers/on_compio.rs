//! compio, which is handed the buffer and hands it back. It finds no lines by itself.

use std::io;

use compio::BufResult;
use compio::io::{AsyncBufRead, AsyncRead, AsyncWriteExt, BufReader};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::spawn;

use super::{Kind, announce, anywhere};
use crate::runtimes::on_compio::block_on;

pub(super) fn serve(kind: Kind) -> io::Result<()> {
    block_on(async move {
        let listener = TcpListener::bind(anywhere()).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match kind {
                Kind::Echo(size) | Kind::Read(size) => spawn(echo(stream, size)).detach(),
                Kind::Line | Kind::Readline => spawn(line(stream)).detach(),
                Kind::Idle => spawn(idle(stream)).detach(),
            }
        }
    })
}

async fn echo(mut stream: TcpStream, size: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(size);
    loop {
        let BufResult(count, filled) = stream.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        let BufResult(written, sent) = stream.write_all(filled).await;
        written?;
        buffer = sent;
        buffer.clear();
    }
}

async fn line(stream: TcpStream) -> io::Result<()> {
    let (mut reader, mut line) = (BufReader::new(&stream), Vec::new());
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let count = end.unwrap_or(bytes.len());
        line.extend_from_slice(&bytes[..count]);
        reader.consume(count);
        if end.is_some() {
            let BufResult(written, sent) = (&stream).write_all(line).await;
            written?;
            line = sent;
            line.clear();
        }
    }
}

async fn idle(mut stream: TcpStream) -> io::Result<()> {
    let BufResult(count, _) = stream.read([0]).await;
    count.map(drop)
}
