//! A file by a protocol's transport, as `loop.sendfile` takes one.

use std::fs::File;
use std::io;
use std::rc::Rc;

use super::transport::Transport;
use crate::advice;
use crate::channel::Channel;
use crate::sendfile::{self, Sender};

impl Transport {
    /// Send `count` bytes of `file` from `offset` on, or all that there are: `loop.sendfile`. Returns how many were sent,
    /// which is less where the file is shorter. All is as for [`StreamWriter::sendfile`](crate::StreamWriter::sendfile);
    /// the protocol goes on being told what arrives.
    ///
    /// **Cancel safety**: dropping it leaves a part of the file sent, and does not tell how much.
    ///
    /// ```
    /// # struct Silent;
    /// # impl velodrome::Protocol for Silent { fn data_received(&mut self, _: &[u8]) {} }
    /// # velodrome::run(async {
    /// # let accepted = std::rc::Rc::new(velodrome::sync::Queue::new(0));
    /// # let keep = std::rc::Rc::clone(&accepted);
    /// # let accept = move |reader, writer| { let _ = keep.put_nowait((reader, writer)); async {} };
    /// # let server = velodrome::start_server(accept, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// # let (transport, _) = velodrome::create_connection(|| Silent, "127.0.0.1", port).await?;
    /// # let (mut their_reader, their_writer) = accepted.get().await.map_err(std::io::Error::other)?;
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    /// let file = std::fs::File::open(path)?;
    /// transport.write("here it comes: ");
    /// assert_eq!(transport.sendfile(&file, 0, Some(9)).await?, 9);
    /// # assert_eq!(their_reader.readexactly(24).await?, b"here it comes: [package]");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What the file or the connection says; `ConnectionReset` if it is closed meanwhile, by whomever.
    pub async fn sendfile(&self, file: &File, offset: u64, count: Option<u64>) -> io::Result<u64> {
        sendfile::send(self, file, offset, count).await
    }
}

impl Sender for Transport {
    fn open_channel(&self) -> io::Result<Rc<dyn Channel>> {
        let channel = self.channel();
        if channel.is_closed() { Err(advice::closed()) } else { Ok(channel) }
    }

    async fn flushed(&self) -> io::Result<()> {
        self.far_end.flushed(&self.channel()).await
    }

    async fn put(&self, data: &[u8]) -> io::Result<()> {
        self.write(data);
        self.flushed().await
    }

    async fn lost(&self) -> io::Error {
        self.far_end.lost(&self.channel()).await
    }
}
