//! Any descriptor that can be waited for, as something to await: `loop.add_reader` and `add_writer`, Rust's way.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use velodrome_engine::driver::{Interest, Readiness};
use velodrome_engine::hub::Hub;
use velodrome_engine::reactor::{Registration, Source};

use crate::waiting::Waiters;
use crate::{advice, local};

/// A descriptor of any kind, awaited until it can be read or written: a pipe, a terminal, a device, another library's
/// socket.
///
/// It is **level-triggered**: [`readable`](Self::readable) asks the kernel, so it comes back at once as long as there is
/// something to read, whoever read before, and no flag has to be cleared. The descriptor must not block
/// (`O_NONBLOCK`), or who finds nothing after all will wait for it with the whole loop.
///
/// Dropping it stops the watching, then drops what was inside. A descriptor can be watched once at a time.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use velodrome::AsyncFd;
///
/// velodrome::run(async {
///     let (ours, mut theirs) = UnixStream::pair()?;
///     ours.set_nonblocking(true)?;
///     let ours = AsyncFd::new(ours)?;
///
///     let mut buffer = [0; 16];
///     let reading = ours.read_with(|mut ours| ours.read(&mut buffer));
///     theirs.write_all(b"hello")?;
///     assert_eq!(reading.await?, 5);
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
pub struct AsyncFd<T: AsFd> {
    hub: Rc<Hub>,
    registration: Rc<Registration>,
    watch: Rc<Watch>,
    /// None only while it is being taken apart.
    inner: Option<T>,
}

/// Hears from the loop.
#[derive(Default)]
struct Watch {
    /// To narrow what is listened for, once it has come.
    of: Cell<Option<(Rc<Hub>, Rc<Registration>)>>,
    reading: Direction,
    writing: Direction,
}

/// Who waits for one of the two, and how often it has come.
#[derive(Default)]
struct Direction {
    told: Cell<u64>,
    /// How often it had come when a poll last began to wait; none where it has returned since.
    polled: Cell<Option<u64>>,
    waited_for: Cell<bool>,
    waiters: Waiters,
}

impl Direction {
    fn tell(&self) {
        self.told.set(self.told.get().wrapping_add(1));
        self.waited_for.set(false);
        self.waiters.wake();
    }
}

impl Watch {
    fn interest(&self) -> Interest {
        let read = if self.reading.waited_for.get() { Interest::READ } else { Interest::NONE };
        if self.writing.waited_for.get() { read.union(Interest::WRITE) } else { read }
    }
}

impl Source for Watch {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        if readiness.contains(Readiness::READ) {
            self.reading.tell();
        }
        if readiness.contains(Readiness::WRITE) {
            self.writing.tell();
        }
        if let Some((hub, registration)) = self.of.take() {
            // Who was told asks again when it has had its turn.
            hub.reactor.rest(&registration, self.interest());
            self.of.set(Some((hub, registration)));
        }
    }

    fn abandon(&self) {
        self.of.set(None);
        self.reading.tell();
        self.writing.tell();
    }
}

impl<T: AsFd> AsyncFd<T> {
    /// Watch the descriptor of `inner`.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// # velodrome::run(async {
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let watched = velodrome::AsyncFd::new(ours)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `AlreadyExists` if somebody on this loop watches it. If no loop runs on this thread.
    pub fn new(inner: T) -> io::Result<Self> {
        let local = local::require("AsyncFd")?;
        let (hub, watch) = (Rc::clone(local.hub()), Rc::new(Watch::default()));
        let source = Rc::clone(&watch) as Rc<dyn Source>;
        let fd = inner.as_fd().as_raw_fd();
        let registration = hub.reactor.register(fd, source, Interest::NONE);
        let registration = registration.map_err(|error| advice::unwatched(fd, error))?;
        watch.of.set(Some((Rc::clone(&hub), Rc::clone(&registration))));
        Ok(Self { hub, registration, watch, inner: Some(inner) })
    }

    /// Wait until there is something to read, or the other end is gone, which a read will tell.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is consumed.
    ///
    /// ```
    /// # use std::io::Read;
    /// # use std::os::unix::net::UnixStream;
    /// # use velodrome::AsyncFd;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # ours.set_nonblocking(true)?;
    /// # std::io::Write::write_all(&mut &theirs, b"hello")?;
    /// let ours = AsyncFd::new(ours)?;
    /// let mut buffer = [0; 16];
    /// let count = loop {
    ///     let ready = ours.readable().await?;
    ///     // None if there was nothing after all: somebody else has read it.
    ///     if let Some(count) = ready.try_io(|mut ours| ours.read(&mut buffer)) {
    ///         break count?;
    ///     }
    /// };
    /// # assert_eq!(count, 5);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `PermissionDenied` for what cannot be waited for: a regular file, which is always ready. If the loop has ended.
    pub async fn readable(&self) -> io::Result<ReadyGuard<'_, T>> {
        self.wait(&self.watch.reading).await
    }

    /// Wait until there is room to write, or the other end is gone, which a write will tell.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing is consumed.
    ///
    /// ```
    /// # use std::{io::Write, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, _theirs) = UnixStream::pair()?;
    /// # ours.set_nonblocking(true)?;
    /// let ours = velodrome::AsyncFd::new(ours)?;
    /// let ready = ours.writable().await?;
    /// let sent = ready.try_io(|mut ours| ours.write(b"hello"));
    /// # assert_eq!(sent.unwrap()?, 5);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub async fn writable(&self) -> io::Result<ReadyGuard<'_, T>> {
        self.wait(&self.watch.writing).await
    }

    /// Wait as [`readable`](Self::readable) does, by poll. Only the last task that polls is woken. What is ready may be what
    /// came before, if who polled did not come back for it: whoever finds nothing polls again.
    ///
    /// ```
    /// # use std::io::Read;
    /// # use std::os::unix::net::UnixStream;
    /// use std::io;
    /// use std::task::{Context, Poll, ready};
    /// use velodrome::AsyncFd;
    ///
    /// /// What `poll_read` of other crates' traits is made of.
    /// fn poll_read(socket: &AsyncFd<UnixStream>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    ///     loop {
    ///         let ready = ready!(socket.poll_read_ready(cx))?;
    ///         if let Some(result) = ready.try_io(|mut socket| socket.read(buffer)) {
    ///             return Poll::Ready(result);
    ///         }
    ///     }
    /// }
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixStream::pair()?;
    /// # ours.set_nonblocking(true)?;
    /// # std::io::Write::write_all(&mut &theirs, b"hello")?;
    /// # let (ours, mut buffer) = (AsyncFd::new(ours)?, [0; 16]);
    /// assert_eq!(std::future::poll_fn(|cx| poll_read(&ours, cx, &mut buffer)).await?, 5);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<ReadyGuard<'_, T>>> {
        self.poll_ready(&self.watch.reading, cx)
    }

    /// Wait as [`writable`](Self::writable) does, by poll; see [`poll_read_ready`](Self::poll_read_ready).
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// # velodrome::run(async {
    /// # let (ours, _theirs) = UnixStream::pair()?;
    /// # ours.set_nonblocking(true)?;
    /// let ours = velodrome::AsyncFd::new(ours)?;
    /// std::future::poll_fn(|cx| ours.poll_write_ready(cx).map_ok(drop)).await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<ReadyGuard<'_, T>>> {
        self.poll_ready(&self.watch.writing, cx)
    }

    fn poll_ready(&self, direction: &Direction, cx: &Context<'_>) -> Poll<io::Result<ReadyGuard<'_, T>>> {
        let before = direction.polled.get().unwrap_or_else(|| direction.told.get());
        let poll = self.poll_told(direction, before).map_ok(|()| ReadyGuard(self));
        direction.polled.set(poll.is_pending().then_some(before));
        if poll.is_pending() {
            direction.waiters.wait(cx);
        }
        poll
    }

    async fn wait(&self, direction: &Direction) -> io::Result<ReadyGuard<'_, T>> {
        let told = direction.told.get();
        direction.waiters.until(|| self.poll_told(direction, told)).await?;
        Ok(ReadyGuard(self))
    }

    fn poll_told(&self, direction: &Direction, before: u64) -> Poll<io::Result<()>> {
        if direction.told.get() != before {
            return Poll::Ready(Ok(()));
        }
        if self.hub.is_closed() {
            return Poll::Ready(Err(io::Error::other("the event loop of this descriptor has ended")));
        }
        direction.waited_for.set(true);
        match self.hub.reactor.set_interest(&self.registration, self.watch.interest()) {
            Ok(()) => Poll::Pending,
            Err(error) => {
                direction.waited_for.set(false);
                Poll::Ready(Err(advice::unwatched(self.as_fd().as_raw_fd(), error)))
            }
        }
    }

    /// Do what reads, now or as soon as it does not say `WouldBlock`.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing has been read then.
    ///
    /// ```
    /// # use std::os::unix::net::UnixDatagram;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixDatagram::pair()?;
    /// # ours.set_nonblocking(true)?;
    /// # theirs.send(b"hello")?;
    /// let (ours, mut buffer) = (velodrome::AsyncFd::new(ours)?, [0; 16]);
    /// let count = ours.read_with(|ours| ours.recv(&mut buffer)).await?;
    /// assert_eq!(&buffer[..count], b"hello");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What `read` says, and as [`readable`](Self::readable).
    pub async fn read_with<R>(&self, mut read: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        loop {
            match ReadyGuard(self).try_io(&mut read) {
                Some(result) => return result,
                None => {
                    self.readable().await?;
                }
            }
        }
    }

    /// Do what writes, now or as soon as it does not say `WouldBlock`.
    ///
    /// **Cancel safety**: may be dropped at any time; nothing has been written then.
    ///
    /// ```
    /// # use std::os::unix::net::UnixDatagram;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixDatagram::pair()?;
    /// # ours.set_nonblocking(true)?;
    /// let ours = velodrome::AsyncFd::new(ours)?;
    /// assert_eq!(ours.write_with(|ours| ours.send(b"hello")).await?, 5);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What `write` says, and as [`readable`](Self::readable).
    pub async fn write_with<R>(&self, mut write: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        loop {
            match ReadyGuard(self).try_io(&mut write) {
                Some(result) => return result,
                None => {
                    self.writable().await?;
                }
            }
        }
    }

    /// What is inside.
    ///
    /// ```
    /// # use std::os::unix::net::UnixDatagram;
    /// # velodrome::run(async {
    /// # let socket = UnixDatagram::unbound()?;
    /// let socket = velodrome::AsyncFd::new(socket)?;
    /// assert!(socket.get_ref().local_addr()?.is_unnamed());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn get_ref(&self) -> &T {
        let Some(inner) = &self.inner else { unreachable!("only into_inner takes it, and self with it") };
        inner
    }

    /// What is inside, to be changed. Its descriptor must stay the same: that one is watched.
    ///
    /// ```
    /// # use std::{io::Write, os::unix::net::UnixStream};
    /// # velodrome::run(async {
    /// # let (ours, _theirs) = UnixStream::pair()?;
    /// let mut ours = velodrome::AsyncFd::new(ours)?;
    /// ours.get_mut().set_nonblocking(true)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        let Some(inner) = &mut self.inner else { unreachable!("only into_inner takes it, and self with it") };
        inner
    }

    /// What is inside, watched no more.
    ///
    /// ```
    /// # use std::os::unix::net::UnixDatagram;
    /// # velodrome::run(async {
    /// # let socket = UnixDatagram::unbound()?;
    /// let socket = velodrome::AsyncFd::new(socket)?.into_inner();
    /// // It may be watched again.
    /// let socket = velodrome::AsyncFd::new(socket)?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn into_inner(mut self) -> T {
        self.unwatch();
        let Some(inner) = self.inner.take() else {
            unreachable!("only into_inner takes it, and self with it")
        };
        inner
    }

    fn unwatch(&self) {
        drop(self.watch.of.take());
        drop(self.hub.reactor.deregister(&self.registration));
    }
}

impl<T: AsFd> Drop for AsyncFd<T> {
    /// Before what is inside is closed.
    fn drop(&mut self) {
        self.unwatch();
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A descriptor that was ready a moment ago: what [`AsyncFd::readable`] and [`AsyncFd::writable`] give.
///
/// ```
/// # use std::os::unix::net::UnixDatagram;
/// # velodrome::run(async {
/// # let (ours, theirs) = UnixDatagram::pair()?;
/// # ours.set_nonblocking(true)?;
/// # theirs.send(b"hello")?;
/// let ours = velodrome::AsyncFd::new(ours)?;
/// let ready = ours.readable().await?;
/// assert_eq!(ready.try_io(|ours| ours.recv(&mut [0; 16])).unwrap()?, 5);
/// // Nothing is left: wait again.
/// assert!(ready.try_io(|ours| ours.recv(&mut [0; 16])).is_none());
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
pub struct ReadyGuard<'a, T: AsFd>(&'a AsyncFd<T>);

impl<T: AsFd> ReadyGuard<'_, T> {
    /// Try what the descriptor is ready for. None if it would block after all: then wait again.
    ///
    /// ```
    /// # use std::os::unix::net::UnixDatagram;
    /// # velodrome::run(async {
    /// # let (ours, theirs) = UnixDatagram::pair()?;
    /// # theirs.set_nonblocking(true)?;
    /// let theirs = velodrome::AsyncFd::new(theirs)?;
    /// let ready = theirs.writable().await?;
    /// assert!(matches!(ready.try_io(|theirs| theirs.send(b"hello")), Some(Ok(5))));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_io<R>(&self, act: impl FnOnce(&T) -> io::Result<R>) -> Option<io::Result<R>> {
        match act(self.0.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            result => Some(result),
        }
    }

    /// What is inside.
    ///
    /// ```
    /// # use std::os::unix::net::UnixDatagram;
    /// # velodrome::run(async {
    /// # let (ours, _theirs) = UnixDatagram::pair()?;
    /// let ours = velodrome::AsyncFd::new(ours)?;
    /// assert!(ours.writable().await?.get_ref().local_addr()?.is_unnamed());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn get_ref(&self) -> &T {
        self.0.get_ref()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for ReadyGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadyGuard").field(self.get_ref()).finish()
    }
}
