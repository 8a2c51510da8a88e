//! smol: its executor for one thread, and the reactor it shares with the process.

use std::io;

use smol::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use smol::net::{TcpListener, TcpStream};

use super::{Kind, announce, anywhere};
use crate::runtimes::on_smol::{block_on, detach};

pub(super) fn serve(kind: Kind) -> io::Result<()> {
    block_on(async move {
        let listener = TcpListener::bind(anywhere()).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match kind {
                Kind::Echo(size) | Kind::Read(size) => detach(echo(stream, size)),
                Kind::Line | Kind::Readline => detach(line(stream)),
                Kind::Idle => detach(idle(stream)),
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

async fn line(stream: TcpStream) -> io::Result<()> {
    // A clone is a count of the same socket.
    let (mut reader, mut writer, mut line) = (BufReader::new(stream.clone()), stream, Vec::new());
    while reader.read_until(b'\n', &mut line).await? > 0 {
        writer.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}

async fn idle(mut stream: TcpStream) -> io::Result<()> {
    stream.read(&mut [0]).await.map(drop)
}
