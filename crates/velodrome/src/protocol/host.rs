//! Who stands between the engine and a user's protocol: it lends the protocol out, one callback at a time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use velodrome_engine::sys::Peer;
use velodrome_engine::transport::{Protocol as EngineProtocol, Received, Recv};

use super::far_end::{FarEnd, Wire};
use super::kinds::AnyProtocol;
use super::lender::{Called, Lender};
use super::transport::Transport;
use crate::channel::Channel;
use crate::clients::{Client, Endpoint};
use crate::local::Local;
use crate::unhandled::Unhandled;
use crate::waiting::Waiter;

/// Owns a protocol for as long as its connection, or somebody with a [`ProtocolRef`], lives.
pub(super) struct Host<P, K> {
    local: Weak<Local>,
    lender: Lender<P>,
    /// None once the connection is lost. Until then the two hold each other.
    wire: RefCell<Option<Rc<Wire>>>,
    far_end: Rc<FarEnd>,
    made: Cell<bool>,
    /// Who waits until it is.
    waiter: Waiter,
    client: Cell<Option<Client>>,
    kind: PhantomData<K>,
}

impl<P: AnyProtocol<K>, K: 'static> Host<P, K> {
    pub(super) fn new(local: &Rc<Local>, protocol: P, peer: Peer, client: Option<Client>) -> Rc<Self> {
        Rc::new_cyclic(|weak: &Weak<Self>| {
            if let Some(client) = &client {
                client.attach(weak.clone());
            }
            Self {
                local: Rc::downgrade(local),
                lender: Lender::new(protocol),
                wire: RefCell::default(),
                far_end: FarEnd::new(peer),
                made: Cell::new(false),
                waiter: Waiter::default(),
                client: Cell::new(client),
                kind: PhantomData,
            }
        })
    }

    pub(super) fn attach(&self, wire: Rc<Wire>) {
        self.wire.replace(Some(wire));
    }

    /// Until `connection_made` has been called.
    pub(super) fn poll_made(&self, cx: &Context<'_>) -> Poll<()> {
        if self.made.get() {
            return Poll::Ready(());
        }
        self.waiter.wait(cx);
        Poll::Pending
    }

    /// A handle on the connection that `wire` carries.
    pub(super) fn transport(&self, wire: Rc<Wire>) -> Transport {
        Transport::new(wire, Rc::clone(&self.far_end))
    }

    fn channel(&self) -> Option<Rc<dyn Channel>> {
        self.wire.borrow().as_ref().map(|wire| wire.channel())
    }

    /// Call the protocol, and afterwards tell it what came up meanwhile. None if it is being called already, or
    /// panicked.
    fn call<R>(&self, name: &str, callback: impl FnOnce(&mut P) -> R) -> Option<R> {
        match self.lender.call(callback) {
            Called::Returned(result) => {
                self.settle();
                Some(result)
            }
            Called::Panicked => {
                self.fail(name);
                None
            }
            Called::Busy => None,
        }
    }

    /// The panic hook has told of the panic itself.
    fn fail(&self, name: &str) {
        let error = || io::Error::other(format!("{name} panicked"));
        if let Some(local) = self.local.upgrade() {
            local.report(&Unhandled::new("a protocol's connection is aborted", error()));
        }
        if let Some(channel) = self.channel() {
            channel.abort(Some(error()));
        }
    }

    /// Tell of writing what could not be told before.
    fn settle(&self) {
        if let Some(pause) = self.lender.take_owed() {
            self.tell(pause);
        }
    }

    fn tell(&self, pause: bool) {
        if self.lender.may_tell(pause) {
            match pause {
                true => self.call("pause_writing", P::pause),
                false => self.call("resume_writing", P::resume),
            };
        }
    }

    fn end(&self, error: Option<io::Error>) {
        let wire = self.wire.take();
        self.far_end.wake();
        self.lender.take_owed();
        if self.made.replace(true) {
            self.call("connection_lost", |protocol| protocol.lost(error));
        } else {
            // It was never told of the connection: a handshake failed, or the loop ended.
            self.waiter.wake();
        }
        drop((wire, self.client.take()));
    }
}

impl<P, K> Drop for Host<P, K> {
    fn drop(&mut self) {
        self.lender.drop_protocol(&self.local);
    }
}

impl<P: AnyProtocol<K>, K: 'static> EngineProtocol for Host<P, K> {
    fn connection_made(&self) {
        let Some(wire) = self.wire.borrow().clone() else { return };
        let transport = self.transport(wire);
        self.call("connection_made", |protocol| protocol.made(transport));
        self.made.set(true);
        self.waiter.wake();
    }

    fn data_ready(&self, recv: Recv<'_>) -> Received {
        let Some(local) = self.local.upgrade() else { return Received::Nothing };
        let receive =
            |scratch: &mut [u8]| self.call("data_received", |protocol| protocol.receive(scratch, recv));
        local.hub().with_scratch(receive).map_or(Received::Nothing, Received::from_io)
    }

    fn eof_received(&self) -> bool {
        self.call("eof_received", P::eof).unwrap_or(false)
    }

    fn pause_writing(&self) {
        self.tell(true);
    }

    fn resume_writing(&self) {
        self.tell(false);
    }

    fn drained(&self) {
        self.far_end.wake();
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        self.end(error);
    }

    fn abandon(&self) {
        self.end(Some(io::Error::other("the event loop of this connection has ended")));
    }
}

impl<P: AnyProtocol<K>, K: 'static> Endpoint for Host<P, K> {
    fn close(&self) {
        if let Some(channel) = self.channel() {
            channel.close();
        }
    }

    fn abort(&self) {
        if let Some(channel) = self.channel() {
            channel.abort(None);
        }
    }
}

/// A host, whatever kind its protocol is.
pub(super) trait Lend<P> {
    /// False if the protocol is being called.
    fn lend(&self, borrower: &mut dyn FnMut(&mut P)) -> bool;
}

impl<P: AnyProtocol<K>, K: 'static> Lend<P> for Host<P, K> {
    fn lend(&self, borrower: &mut dyn FnMut(&mut P)) -> bool {
        let lent = self.lender.lend(borrower);
        if lent {
            self.settle();
        }
        lent
    }
}

/// A protocol at work, for the rest of the program to look at: what [`create_connection`](crate::create_connection)
/// returns beside the transport. It stays when the connection is lost.
///
/// ```
/// use std::io;
/// use velodrome::{Protocol, create_connection, sleep, start_server};
///
/// #[derive(Default)]
/// struct Count(usize);
///
/// impl Protocol for Count {
///     fn data_received(&mut self, data: &[u8]) {
///         self.0 += data.len();
///     }
/// }
///
/// velodrome::run(async {
///     let greet = |_, writer: velodrome::StreamWriter| async move { writer.write("hello") };
///     let server = start_server(greet, "127.0.0.1", 0).await?;
///     let (_transport, count) = create_connection(Count::default, "127.0.0.1", server.local_addr()?.port()).await?;
///     while count.with(|count| count.0) != Some(5) {
///         sleep(std::time::Duration::from_millis(1)).await;
///     }
///     io::Result::Ok(())
/// })??;
/// # io::Result::Ok(())
/// ```
pub struct ProtocolRef<P>(Rc<dyn Lend<P>>);

impl<P: 'static> ProtocolRef<P> {
    pub(super) fn new<K: 'static>(host: Rc<Host<P, K>>) -> Self
    where
        P: AnyProtocol<K>,
    {
        Self::over(host)
    }

    pub(super) fn over(host: Rc<dyn Lend<P>>) -> Self {
        Self(host)
    }

    /// Look at the protocol, or change it. None from within one of its own callbacks, which has it already.
    ///
    /// ```
    /// # #[derive(Default)]
    /// # struct Count(usize);
    /// # impl velodrome::Protocol for Count { fn data_received(&mut self, data: &[u8]) { self.0 += data.len() } }
    /// # velodrome::run(async {
    /// # let server = velodrome::start_server(|_, _| async {}, "127.0.0.1", 0).await?;
    /// # let port = server.local_addr()?.port();
    /// let (_transport, count) = velodrome::create_connection(Count::default, "127.0.0.1", port).await?;
    /// count.with(|count| count.0 = 7);
    /// assert_eq!(count.with(|count| count.0), Some(7));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn with<R>(&self, look: impl FnOnce(&mut P) -> R) -> Option<R> {
        let (mut look, mut seen) = (Some(look), None);
        self.0.lend(&mut |protocol| seen = look.take().map(|look| look(protocol)));
        seen
    }
}

impl<P> Clone for ProtocolRef<P> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<P> fmt::Debug for ProtocolRef<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtocolRef").finish_non_exhaustive()
    }
}
