//! Files to sockets, without their bytes coming by here.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use velodrome_engine::sys;

use crate::channel::Channel;
use crate::descriptor::AsyncFd;

/// The most that is asked for by one call. Linux gives up to 2 GiB; a socket's buffer takes far less.
const MOST: u64 = 1 << 30;

/// What is read and written at a time where the kernel cannot do it by itself.
const COPIED: usize = 64 * 1024;

/// Who sends a file: the writer of a stream, or a protocol's transport.
pub(crate) trait Sender {
    /// The connection, if it is open.
    fn open_channel(&self) -> io::Result<Rc<dyn Channel>>;
    /// Until all that was written has left.
    async fn flushed(&self) -> io::Result<()>;
    /// Write, and wait until there is room for more.
    async fn put(&self, data: &[u8]) -> io::Result<()>;
    /// Until the connection is lost, or about to be closed; then an error that says so.
    async fn lost(&self) -> io::Error;
}

/// Send `count` bytes of `file` from `offset` on, or all that there are; gives how many there were.
pub(crate) async fn send(
    sender: &impl Sender,
    file: &File,
    offset: u64,
    count: Option<u64>,
) -> io::Result<u64> {
    sender.flushed().await?;
    let wanted = offset..offset.saturating_add(count.unwrap_or(u64::MAX - offset));
    let Some(socket) = plain_socket(sender)? else { return copy(sender, file, wanted).await };
    match by_kernel(sender, socket, file, wanted.clone()).await {
        Err(error) if is_unable(&error) => copy(sender, file, wanted).await,
        sent => sent,
    }
}

async fn copy(sender: &impl Sender, file: &File, wanted: Range<u64>) -> io::Result<u64> {
    let (mut at, mut buffer) = (wanted.start, vec![0; COPIED]);
    while at < wanted.end {
        let most = usize::try_from(wanted.end - at).map_or(COPIED, |left| left.min(COPIED));
        let count = file.read_at(&mut buffer[..most], at)?;
        if count == 0 {
            break;
        }
        sender.put(&buffer[..count]).await?;
        at += count as u64;
    }
    Ok(at - wanted.start)
}

/// A descriptor of its own for the socket, which the transport watches under its own number; none if it is encrypted.
fn plain_socket(sender: &impl Sender) -> io::Result<Option<OwnedFd>> {
    sender.open_channel()?.plain().map(|stream| sys::dup(stream.fd())).transpose()
}

async fn by_kernel(
    sender: &impl Sender,
    socket: OwnedFd,
    file: &File,
    wanted: Range<u64>,
) -> io::Result<u64> {
    let (socket, mut at) = (AsyncFd::new(socket)?, wanted.start);
    while at < wanted.end {
        let most = usize::try_from((wanted.end - at).min(MOST)).unwrap_or(usize::MAX);
        let (from, to) = (file.as_raw_fd(), socket.as_fd().as_raw_fd());
        let sending = socket.write_with(|_| sys::sendfile(to, from, &mut at, most));
        match unless_lost(sender, sending).await {
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

/// The descriptor is one of its own, which stays open when the connection's is closed: the end has to be looked for.
async fn unless_lost<T>(sender: &impl Sender, sending: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let (mut lost, mut sending) = (pin!(sender.lost()), pin!(sending));
    poll_fn(|cx| match lost.as_mut().poll(cx) {
        Poll::Ready(error) => Poll::Ready(Err(error)),
        Poll::Pending => sending.as_mut().poll(cx),
    })
    .await
}

/// Whether the kernel says that it does not do this for such a file: a pipe, or no `sendfile` at all.
fn is_unable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
