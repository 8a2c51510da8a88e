//! Velodrome's streams, which set `TCP_NODELAY` by themselves.

use std::io;

use velodrome::{StreamReader, StreamWriter, run, start_server};

use super::{Kind, announce};

pub(super) fn serve(kind: Kind) -> io::Result<()> {
    run(async move {
        let server = match kind {
            Kind::Echo(size) => start_server(move |r, w| echo(r, w, size), "127.0.0.1", 0).await?,
            Kind::Read(size) => start_server(move |r, w| read(r, w, size), "127.0.0.1", 0).await?,
            Kind::Line => start_server(line, "127.0.0.1", 0).await?,
            Kind::Readline => start_server(readline, "127.0.0.1", 0).await?,
            Kind::Idle => start_server(idle, "127.0.0.1", 0).await?,
        };
        announce(server.local_addr()?)?;
        server.serve_forever().await
    })?
}

async fn echo(mut reader: StreamReader, writer: StreamWriter, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    loop {
        let count = reader.read_into(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        writer.write(&buffer[..count]);
        writer.drain().await?;
    }
}

async fn read(mut reader: StreamReader, writer: StreamWriter, size: usize) -> io::Result<()> {
    while let data @ [_, ..] = &*reader.read(size).await? {
        writer.write(data);
        writer.drain().await?;
    }
    Ok(())
}

async fn line(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let mut line = Vec::new();
    while reader.readline_into(&mut line).await? > 0 {
        writer.write(&line);
        writer.drain().await?;
        line.clear();
    }
    Ok(())
}

async fn readline(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let line @ [_, ..] = &*reader.readline().await? {
        writer.write(line);
        writer.drain().await?;
    }
    Ok(())
}

async fn idle(mut reader: StreamReader, _writer: StreamWriter) -> io::Result<()> {
    reader.read(1).await.map(drop)
}
