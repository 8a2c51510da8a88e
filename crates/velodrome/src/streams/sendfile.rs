//! Files to sockets, without their bytes coming by here.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use velodrome_engine::sys;

use super::writer::StreamWriter;
use crate::descriptor::AsyncFd;

/// The most that is asked for by one call. Linux gives up to 2 GiB; a socket's buffer takes far less.
const MOST: u64 = 1 << 30;

/// What is read and written at a time where the kernel cannot do it by itself.
const COPIED: usize = 64 * 1024;

impl StreamWriter {
    /// Send `count` bytes of `file` from `offset` on, or all that there are: `loop.sendfile`. Returns how many were sent,
    /// which is less where the file is shorter.
    ///
    /// What was written before leaves before. Nothing else is to be written meanwhile: it would arrive in between. The
    /// kernel sends by itself (`sendfile(2)`); where it cannot, or the connection is encrypted, the file is read and
    /// written. Reading a file blocks the loop while the disk is waited for, as it does in asyncio.
    ///
    /// **Cancel safety**: dropping it leaves a part of the file sent, and does not tell how much.
    ///
    /// ```
    /// # use std::io;
    /// # velodrome::run(async {
    /// # let say = |_, writer: velodrome::StreamWriter| async move {
    /// #     let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    /// let file = std::fs::File::open(path)?;
    /// writer.write("HTTP/1.0 200 OK\r\n\r\n");
    /// writer.sendfile(&file, 0, None).await?;
    /// # io::Result::Ok(()) };
    /// # let server = velodrome::start_server(say, "127.0.0.1", 0).await?;
    /// # let (mut reader, _writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
    /// # assert!(reader.read_to_end().await?.starts_with(b"HTTP/1.0 200 OK\r\n\r\n[package]"));
    /// # io::Result::Ok(()) })??;
    /// # io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What the file or the connection says.
    pub async fn sendfile(&self, file: &File, offset: u64, count: Option<u64>) -> io::Result<u64> {
        self.flush().await?;
        let wanted = offset..offset.saturating_add(count.unwrap_or(u64::MAX - offset));
        let Some(socket) = self.plain_socket()? else { return self.copy(file, wanted).await };
        match by_kernel(socket, file, wanted.clone()).await {
            Err(error) if is_unable(&error) => self.copy(file, wanted).await,
            sent => sent,
        }
    }

    async fn copy(&self, file: &File, wanted: std::ops::Range<u64>) -> io::Result<u64> {
        let (mut at, mut buffer) = (wanted.start, vec![0; COPIED]);
        while at < wanted.end {
            let most = usize::try_from(wanted.end - at).map_or(COPIED, |left| left.min(COPIED));
            let count = file.read_at(&mut buffer[..most], at)?;
            if count == 0 {
                break;
            }
            self.write(&buffer[..count]);
            self.drain().await?;
            at += count as u64;
        }
        Ok(at - wanted.start)
    }

    /// A descriptor of its own for the socket, which the transport watches under its own number; none if it is
    /// encrypted.
    fn plain_socket(&self) -> io::Result<Option<OwnedFd>> {
        self.open_channel()?.plain().map(|stream| sys::dup(stream.fd())).transpose()
    }
}

async fn by_kernel(socket: OwnedFd, file: &File, wanted: std::ops::Range<u64>) -> io::Result<u64> {
    let (socket, mut at) = (AsyncFd::new(socket)?, wanted.start);
    while at < wanted.end {
        let most = usize::try_from((wanted.end - at).min(MOST)).unwrap_or(usize::MAX);
        let (from, to) = (file.as_raw_fd(), socket.as_fd().as_raw_fd());
        let sent = socket.write_with(|_| sys::sendfile(to, from, &mut at, most)).await;
        match sent {
            Ok(0) => break,
            Ok(_) => {}
            // What was sent already cannot be sent again by copying.
            Err(error) if is_unable(&error) && at > wanted.start => {
                return Err(io::Error::other(error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(at - wanted.start)
}

/// Whether the kernel says that it does not do this for such a file: a pipe, or no `sendfile` at all.
fn is_unable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
